//! The client that the Autobahn test suite's `fuzzingserver` tests: the blocking WebSocket over the
//! sockets of `std`.
//!
//! `threads_autobahn_client ADDRESS`

use core::error::Error as StdError;
use std::net::{Shutdown, TcpStream};

use embedded_io_adapters::std::FromStd;
use motews::handshake::Request;
use motews::{Client, CloseCode, Entropy, EntropyError, Message, MessageBuffer, SendError};
use motews_embedded_io::Error;
use motews_embedded_io::blocking::WebSocket;

type Fallible<T> = Result<T, Box<dyn StdError>>;
type Ws<'a> = WebSocket<'a, FromStd<TcpStream>, Client<Os>, Vec<u8>, Vec<u8>>;

/// The operating system's random numbers.
struct Os;

impl Entropy for Os {
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), EntropyError> {
        getrandom::fill(bytes).map_err(|_| EntropyError)
    }
}

fn main() -> Fallible<()> {
    let address = std::env::args().nth(1).ok_or("where is the server?")?;
    let address = address.trim_start_matches("ws://");
    let mut messages = MessageBuffer::new([0; 16]);
    let mut ws = connect(address, "/getCaseCount")?;
    let count: u32 = match ws.recv(&mut messages)? {
        Some(Message::Text(count)) => count.parse()?,
        _ => return Err("the server tells no number of cases".into()),
    };
    ws.close(CloseCode::NORMAL, "")?;

    for case in 1..=count {
        let target = format!("/runCase?case={case}&agent=motews");
        let mut ws = connect(address, &target)?;
        // Most cases end with a failure of the connection, which is what they test.
        if let Err(error) = echo(&mut ws) {
            println!("case {case} of {count}: {error}");
        }
        _ = ws.transport().inner().shutdown(Shutdown::Write);
        _ = ws.drain();
    }

    let mut ws = connect(address, "/updateReports?agent=motews")?;
    while ws.next_event()?.is_some() {}
    Ok(())
}

fn connect<'a>(address: &'a str, target: &'a str) -> Fallible<Ws<'a>> {
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    let request = Request::new(address, target, &mut Os)?;
    let (rx, tx) = (vec![0; 16 * 1024], vec![0; 16 * 1024]);
    let mut ws = WebSocket::client(FromStd::new(stream), rx, tx, request, Os)?;
    ws.connect()?;
    Ok(ws)
}

fn echo(ws: &mut Ws<'_>) -> Result<(), Error<std::io::Error>> {
    while let Some((chunk, reply)) = ws.next_chunk()? {
        let mut rest = &*chunk.bytes;
        loop {
            match reply.send_fragment(chunk.kind, rest, chunk.last) {
                Ok(taken) => _ = rest.split_off(..taken),
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
