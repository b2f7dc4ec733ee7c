//! A complete server: the opening handshake with its answers, good and bad, then the frames.
#![no_std]
#![no_main]

use motews::Server;
use motews::handshake::{Offers, RequestEvent, Response, ServerHandshake};
use motews_linked::frames;
use motews_linked::machine::{bytes, hand, place};

static OFFERS: Offers<'static> = Offers::new();

fn main() {
    let handshake = place::<ServerHandshake<[u8; 128]>>();
    *handshake = ServerHandshake::new([0; 128]);
    let mut found = false;
    loop {
        let mut input: &[u8] = bytes();
        loop {
            match handshake.next_event(&mut input, &OFFERS) {
                Ok(None) => break,
                Ok(Some(RequestEvent::RequestLine { target, .. })) => found = target == "/ws",
                Ok(Some(RequestEvent::Done(upgrade))) if found => {
                    hand(upgrade.emit_from(0, bytes(), &upgrade.answer(&OFFERS)));
                    return frames(Server, upgrade.agreed().config);
                }
                Ok(Some(RequestEvent::Done(_))) => {
                    if let Ok(response) = Response::new(404) {
                        hand(response.emit_from(0, bytes()));
                    }
                    return;
                }
                Ok(Some(_)) => {}
                Err(error) => return hand(error.response().emit_from(0, bytes())),
            }
        }
    }
}

motews_linked::entry!(main);
