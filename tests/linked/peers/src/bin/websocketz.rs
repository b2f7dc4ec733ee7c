//! An async client of websocketz.
#![no_std]
#![no_main]

use motews_linked::machine::{bytes, hand, happened};
use motews_linked::transport::{Fault, Wire};
use motews_linked_peers::{Random, ram, run, size_of_future};
use websocketz::http::Header;
use websocketz::options::ConnectOptions;
use websocketz::{CloseCode, CloseFrame, Message, WebSocket, next, send};

async fn client() -> Result<(), websocketz::error::Error<Fault>> {
    let headers = &[Header {
        name: "Host",
        value: b"example.com",
    }];
    let mut ws = WebSocket::connect::<16>(
        ConnectOptions::new_unchecked("/chat").with_headers(headers),
        Wire::any(),
        Random,
        bytes(),
        bytes(),
        bytes(),
    )
    .await?;
    loop {
        send!(ws, Message::Text("Hello"))?;
        match next!(ws).transpose()? {
            Some(Message::Text(text)) => hand(text.len()),
            Some(_) => {}
            None => return Ok(()),
        }
        if happened() {
            ws.send(Message::Close(Some(CloseFrame::no_reason(
                CloseCode::Normal,
            ))))
            .await?;
        }
    }
}

fn main() {
    run(client());
}

ram!(size_of_future(&client));
motews_linked::entry!(main);
