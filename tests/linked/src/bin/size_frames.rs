//! A server after the opening handshake.
#![no_std]
#![no_main]

use motews::Server;
use motews_linked::frames;

fn main() {
    frames(Server);
}

motews_linked::entry!(main);
