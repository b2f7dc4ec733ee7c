//! A blocking client of motews-embedded-io.
#![no_std]
#![no_main]

use motews::handshake::Request;
use motews::{Client, CloseCode, Message, MessageBuffer};
use motews_embedded_io::blocking::WebSocket;
use motews_embedded_io::{Buffers, Error, Untimed};
use motews_linked::machine::{Generator, bytes, hand, happened, place};
use motews_linked::transport::{Fault, Wire};
use motews_linked_peers::ram;

type Socket = WebSocket<'static, Wire, Client<Generator>, Untimed>;

fn client() -> Result<(), Error<Fault>> {
    let buffers = Buffers {
        receive: bytes(),
        transmit: bytes(),
    };
    let request = Request::new("example.com", "/chat")?;
    let ws = place::<Socket>();
    *ws = WebSocket::client(Wire::any(), buffers, request, Generator)?;
    ws.connect()?;
    let mut messages = MessageBuffer::new(bytes());
    loop {
        ws.send(Message::Text("Hello"))?;
        match ws.recv(&mut messages)? {
            Some(Message::Text(text)) => hand(text.len()),
            Some(_) => {}
            None => return Ok(()),
        }
        if happened() {
            ws.close(CloseCode::NORMAL, "")?;
        }
    }
}

fn main() {
    _ = client();
}

ram!(size_of::<Socket>());
motews_linked::entry!(main);
