//! A server after the opening handshake.
#![no_std]
#![no_main]

use motews::{ConnectionConfig, Server};
use motews_linked::frames;

fn main() {
    frames(Server, ConnectionConfig::default());
}

motews_linked::entry!(main);
