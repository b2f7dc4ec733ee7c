//! An echo server on threads: the blocking WebSocket of the embedded-io adapter over the sockets of
//! `std`.

use std::io;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::thread;

use clap::Parser;
use embedded_io_adapters::std::FromStd;
use motews::deflate::DeflateConfig;
use motews_embedded_io::blocking::WebSocket;
use motews_embedded_io::{Config, Error};
use motews_examples::embedded_io::{MAX_MESSAGE_LEN, Owned, OwnedDeflate, echo};

/// A WebSocket server that sends back what it receives, with a thread for each connection.
#[derive(Parser)]
#[command(name = "embedded_io_threads_echo")]
struct Options {
    /// Where to listen.
    #[arg(default_value = "127.0.0.1:9001")]
    address: String,

    /// Bytes of each connection's receive buffer, and of its transmit buffer.
    #[arg(long, default_value_t = 16 * 1024)]
    buffer: usize,

    /// Compress messages for clients that can inflate them. Each connection takes 69 KiB more.
    #[arg(long)]
    deflate: bool,
}

fn main() -> io::Result<()> {
    let Options {
        address,
        buffer,
        deflate,
    } = Options::parse();
    let listener = TcpListener::bind(address)?;
    println!("ws://{}", listener.local_addr()?);
    for stream in listener.incoming() {
        let stream = stream?;
        stream.set_nodelay(true)?;
        thread::spawn(move || {
            if let Err(error) = serve(stream, buffer, deflate) {
                eprintln!("{error}");
            }
        });
    }
    Ok(())
}

static CONFIG: Config<'static> = Config {
    limits: motews::Limits {
        message: MAX_MESSAGE_LEN,
        ..motews::Limits::DEFAULT
    },
    ..Config::DEFAULT
};

fn serve(stream: TcpStream, buffer: usize, deflate: bool) -> Result<(), Error<io::Error>> {
    let mut buffers = Owned::new(buffer);
    let mut memory = deflate.then(|| OwnedDeflate::new(DeflateConfig::default()));
    let mut deflate = memory.as_mut().map(OwnedDeflate::lend).transpose()?;
    let ws = WebSocket::server(FromStd::new(stream), buffers.lend())?;
    let mut ws = ws.with_config(&CONFIG);
    if let Some(deflate) = &mut deflate {
        ws = ws.with_deflate(deflate);
    }
    ws.accept()?;
    let end = echo(&mut ws);
    // RFC 6455 §7.1.1: the server ends TCP, and reads on until the client has done so, too.
    _ = ws.transport().inner().shutdown(Shutdown::Write);
    _ = ws.drain();
    end
}
