//! A complete client: the opening handshake, then the frames.
#![no_std]
#![no_main]

use motews::Client;
use motews::handshake::{ClientHandshake, Request, ResponseEvent};
use motews_linked::frames;
use motews_linked::machine::{Generator, bytes, hand, place};

fn main() {
    let Ok(request) = Request::new("example.com", "/ws", &mut Generator) else {
        return;
    };
    hand(request.emit_from(0, bytes()));
    let handshake = place::<ClientHandshake<'_, [u8; 128]>>();
    *handshake = ClientHandshake::new(&request, [0; 128]);
    loop {
        let mut input: &[u8] = bytes();
        loop {
            match handshake.next_event(&mut input) {
                Ok(None) => break,
                Ok(Some(ResponseEvent::Done { .. })) => return frames(Client::new(Generator)),
                Ok(Some(_)) => {}
                Err(_) => return,
            }
        }
    }
}

motews_linked::entry!(main);
