//! A blocking client of embedded-websocket, with its framer.
#![no_std]
#![no_main]

use motews_linked::transport::Wire;
use motews_linked_peers::clients::{EMBEDDED_WEBSOCKET, Transport, embedded_websocket};
use motews_linked_peers::ram;

fn main() {
    _ = embedded_websocket(&mut Transport(Wire::any()));
}

ram!(EMBEDDED_WEBSOCKET);
motews_linked::entry!(main);
