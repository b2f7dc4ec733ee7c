//! An echo server on threads: the blocking WebSocket over the sockets of `std`.
//!
//! `threads_echo [ADDRESS [BYTES]]`: where to listen, and the size of both buffers.

use std::io;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::thread;

use embedded_io_adapters::std::FromStd;
use motews::SendError;
use motews_embedded_io::Error;
use motews_embedded_io::blocking::WebSocket;

fn main() -> io::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let address = arguments.next().unwrap_or("127.0.0.1:9001".into());
    let size = arguments.next().map_or(Ok(16 * 1024), |size| size.parse());
    let size = size.map_err(io::Error::other)?;

    let listener = TcpListener::bind(address)?;
    println!("ws://{}", listener.local_addr()?);
    for stream in listener.incoming() {
        let stream = stream?;
        stream.set_nodelay(true)?;
        thread::spawn(move || {
            if let Err(error) = serve(stream, size) {
                eprintln!("{error}");
            }
        });
    }
    Ok(())
}

fn serve(stream: TcpStream, size: usize) -> Result<(), Error<io::Error>> {
    let transport = FromStd::new(stream);
    let mut ws = WebSocket::server(transport, vec![0; size], vec![0; size])?;
    ws.accept()?;
    let end = echo(&mut ws);
    // RFC 6455 §7.1.1: the server ends TCP, and reads on until the client has done so, too.
    _ = ws.transport().inner().shutdown(Shutdown::Write);
    _ = ws.drain();
    end
}

type Server<'a> = WebSocket<'a, FromStd<TcpStream>, motews::Server, Vec<u8>, Vec<u8>>;

fn echo(ws: &mut Server<'_>) -> Result<(), Error<io::Error>> {
    while let Some((chunk, reply)) = ws.next_chunk()? {
        let mut rest = &*chunk.bytes;
        loop {
            match reply.send_fragment(chunk.kind, rest, chunk.last) {
                Ok(taken) => _ = rest.split_off(..taken),
                // After a Close nothing is sent, but something may still be received.
                Err(Error::Send(SendError::NotOpen)) => break,
                Err(error) => return Err(error),
            }
            if rest.is_empty() {
                break;
            }
        }
    }
    Ok(())
}
