//! An async server of motews-embedded-io, with a page.
#![no_std]
#![no_main]

use motews::handshake::{HandshakeError, Response};
use motews::{Message, MessageBuffer};
use motews_embedded_io::asynch::WebSocket;
use motews_embedded_io::{Buffers, Decision, Error};
use motews_linked::machine::{bytes, hand};
use motews_linked::transport::{Fault, Watch, Wire};
use motews_linked_peers::{ram, run, size_of_future};

async fn server() -> Result<(), Error<Fault>> {
    let buffers = Buffers {
        receive: bytes(),
        transmit: bytes(),
    };
    let mut ws = WebSocket::server(Wire::any(), buffers)?.with_clock(Watch);
    let accepted = ws.accept_with(|event| match event {
        Err(HandshakeError::NotUpgrade) => {
            let response = Response::new(200).ok()?;
            Some(Decision::Respond(response.body(b"Hello")))
        }
        _ => None,
    });
    accepted.await?;
    let mut messages = MessageBuffer::new(bytes());
    loop {
        match ws.recv(&mut messages).await? {
            Some(Message::Text(text)) => hand(text.len()),
            Some(_) => {}
            None => return Ok(()),
        }
        ws.send(Message::Text("Hello")).await?;
    }
}

fn main() {
    run(server());
}

ram!(size_of_future(&server));
motews_linked::entry!(main);
