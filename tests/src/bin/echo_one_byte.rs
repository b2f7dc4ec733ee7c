//! An echo server that gets a single byte out of every read, for the Autobahn test suite:
//! whatever the network does to the bytes, the verdicts stay the same.

use std::io::{self, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::thread;

use motews_std::Transport;

/// Gives one byte at a time. The operating system is asked for more at once.
struct OneByte(BufReader<TcpStream>);

impl Read for OneByte {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let len = buf.len().min(1);
        self.0.read(&mut buf[..len])
    }
}

impl Write for OneByte {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.0.get_mut().write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.get_mut().flush()
    }
}

impl Transport for OneByte {
    fn prepare(&mut self) -> io::Result<()> {
        self.0.get_ref().set_nodelay(true)
    }

    fn shutdown(&mut self) -> io::Result<()> {
        self.0.get_ref().shutdown(Shutdown::Write)
    }
}

fn echo(stream: TcpStream) -> io::Result<()> {
    let mut socket = motews_std::accept(OneByte(BufReader::new(stream)))?;
    while let Some(message) = socket.recv()? {
        socket.send(message)?;
    }
    Ok(())
}

fn main() -> io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    println!("ws://{}/", listener.local_addr()?);
    for stream in listener.incoming() {
        let stream = stream?;
        // A peer that breaks the protocol ends its own connection only.
        thread::spawn(move || echo(stream));
    }
    Ok(())
}
