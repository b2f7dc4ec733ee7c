//! A blocking client of embedded-websocket, with its framer.
#![no_std]
#![no_main]

use embedded_io::{Read, Write};
use embedded_websocket::framer::{Framer, FramerError, ReadResult, Stream};
use embedded_websocket::{
    WebSocketClient, WebSocketCloseStatusCode, WebSocketOptions, WebSocketSendMessageType,
};
use motews_linked::machine::{bytes, hand, happened, place};
use motews_linked::transport::{Fault, Wire};
use motews_linked_peers::{Random, ram};

struct Transport(Wire);

impl Stream<Fault> for Transport {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Fault> {
        self.0.read(buffer)
    }

    fn write_all(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let taken = self.0.write(rest)?;
            rest = rest.get(taken..).unwrap_or_default();
        }
        Ok(())
    }
}

fn client() -> Result<(), FramerError<Fault>> {
    let websocket = place::<WebSocketClient<Random>>();
    *websocket = WebSocketClient::new_client(Random);
    let stream = &mut Transport(Wire::any());
    let mut cursor = 0;
    let mut framer = Framer::new(bytes(), &mut cursor, bytes(), websocket);
    let options = WebSocketOptions {
        path: "/chat",
        host: "example.com",
        origin: "",
        sub_protocols: None,
        additional_headers: None,
    };
    framer.connect(stream, &options)?;
    loop {
        framer.write(stream, WebSocketSendMessageType::Text, true, b"Hello")?;
        match framer.read(stream, bytes())? {
            ReadResult::Text(text) => hand(text.len()),
            ReadResult::Closed => return Ok(()),
            _ => {}
        }
        if happened() {
            framer.close(stream, WebSocketCloseStatusCode::NormalClosure, None)?;
        }
    }
}

fn main() {
    _ = client();
}

ram!(
    size_of::<WebSocketClient<Random>>()
        + size_of::<Framer<'static, Random, embedded_websocket::Client>>()
        + size_of::<usize>()
);
motews_linked::entry!(main);
