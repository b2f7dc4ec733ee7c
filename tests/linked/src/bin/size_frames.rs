//! A server after the opening handshake.
#![no_std]
#![no_main]

use motews::{Config, Server};
use motews_linked::frames;

fn main() {
    frames(Server, Config::default());
}

motews_linked::entry!(main);
