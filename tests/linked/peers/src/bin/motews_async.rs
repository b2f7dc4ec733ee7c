//! An async client of motews-embedded-io.
#![no_std]
#![no_main]

use motews::handshake::Request;
use motews::{CloseCode, Message, MessageBuffer};
use motews_embedded_io::asynch::WebSocket;
use motews_embedded_io::{Buffers, Error};
use motews_linked::machine::{Generator, bytes, hand, happened};
use motews_linked::transport::{Fault, Wire};
use motews_linked_peers::{ram, run, size_of_future};

async fn client() -> Result<(), Error<Fault>> {
    let buffers = Buffers {
        receive: bytes(),
        transmit: bytes(),
    };
    let request = Request::new("example.com", "/chat")?;
    let mut ws = WebSocket::client(Wire::any(), buffers, request, Generator)?;
    ws.connect().await?;
    let mut messages = MessageBuffer::new(bytes());
    loop {
        ws.send(Message::Text("Hello")).await?;
        match ws.recv(&mut messages).await? {
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
    run(client());
}

ram!(size_of_future(&client));
motews_linked::entry!(main);
