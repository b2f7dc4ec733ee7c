//! An echo server over a blocking transport, without the transport: the adapter with all that it
//! needs of the core. It does what `size_smoltcp` does, deadlines and a page included.
#![no_std]
#![no_main]

use motews::Millis;
use motews::handshake::{HandshakeError, Response};
use motews_embedded_io::blocking::WebSocket;
use motews_embedded_io::{Buffers, Decision};
use motews_linked::machine::{any, bytes, hand, place};
use motews_linked::transport::Wire;

type Server = WebSocket<'static, Wire, motews::Server, fn() -> Millis>;

fn main() {
    let ws = place::<Server>();
    let buffers = Buffers {
        receive: bytes(),
        transmit: bytes(),
    };
    let Ok(new) = WebSocket::server(Wire::any(), buffers) else {
        return;
    };
    *ws = new.with_clock(any::<fn() -> Millis>());
    let accepted = ws.accept_with(|event| match event {
        Err(HandshakeError::NotUpgrade) => {
            let response = Response::new(200).ok()?;
            Some(Decision::Respond(response.body(b"Hello")))
        }
        _ => None,
    });
    if accepted.is_err() {
        return;
    }
    while let Ok(Some((chunk, reply))) = ws.next_chunk() {
        hand(
            reply
                .send_fragment(chunk.kind, chunk.bytes, chunk.last)
                .unwrap_or(0),
        );
    }
}

motews_linked::entry!(main);
