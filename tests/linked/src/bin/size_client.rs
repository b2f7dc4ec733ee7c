//! A complete client: the opening handshake, then the frames.
#![no_std]
#![no_main]

use motews::Client;
use motews::handshake::{ClientHandshake, Key, Offers, Request, ResponseEvent};
use motews_linked::frames;
use motews_linked::machine::{Generator, bytes, hand, place};

fn main() {
    let Ok(key) = Key::new(&mut Generator) else {
        return;
    };
    let Ok(request) = Request::new("example.com", "/ws") else {
        return;
    };
    hand(request.emit_from(0, bytes(), &key));
    let handshake = place::<ClientHandshake<[u8; 128]>>();
    *handshake = ClientHandshake::new(&key, [0; 128]);
    loop {
        let mut input: &[u8] = bytes();
        loop {
            match handshake.next_event(&mut input, &Offers::new()) {
                Ok(None) => break,
                Ok(Some(ResponseEvent::Done(agreed))) => {
                    return frames(Client::new(Generator), agreed.config);
                }
                Ok(Some(_)) => {}
                Err(_) => return,
            }
        }
    }
}

motews_linked::entry!(main);
