//! The event-driven server among peers that are slow, silent, rude, many, or gone. They are made
//! by hand, and share no code with it; those that talk properly are tungstenite's.
//!
//! The server is a process of its own, `event_server`, whose commands are told in its source, so
//! that its memory, files and limits are its own.

#[path = "server/deflate.rs"]
mod deflate;
#[path = "server/faults.rs"]
mod faults;
#[path = "server/hub.rs"]
mod hub;
#[path = "server/idle.rs"]
mod idle;
#[path = "server/limits.rs"]
mod limits;
#[path = "server/shutdown.rs"]
mod shutdown;
#[path = "server/traffic.rs"]
mod traffic;

use core::sync::atomic::{AtomicUsize, Ordering};
use std::fs;
use std::path::Path;
use std::process::Command;

use motews_tests::ServerProcess;
use motews_tests::raw::RawPeer;

pub(crate) use motews_tests::raw::PATIENCE;

/// Starts the server with these settings.
fn start(settings: &[&str]) -> ServerProcess {
    // Several run at once, and each has a log.
    static NUMBER: AtomicUsize = AtomicUsize::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("server");
    fs::create_dir_all(&folder).expect("the build folder is writable");
    let mut command = Command::new(env!("CARGO_BIN_EXE_event_server"));
    command.args(settings);
    ServerProcess::start(&format!("server-{number}"), &mut command, &folder)
}

/// A connection after its handshake.
fn open(server: &ServerProcess) -> RawPeer {
    RawPeer::open(server.address)
        .unwrap_or_else(|error| panic!("it is served: {error}\n{}", server.process.log()))
}

/// How many connections were opened, closed, and are in the hub, by a peer that is one of them.
fn counts(peer: &mut RawPeer) -> [usize; 3] {
    numbers(&peer.ask("!counts"))
}

/// The numbers in an answer.
fn numbers<const N: usize>(answer: &str) -> [usize; N] {
    let numbers = answer.split(' ').filter_map(|word| word.parse().ok());
    let numbers: Vec<usize> = numbers.collect();
    numbers
        .try_into()
        .unwrap_or_else(|_| panic!("{N} numbers in {answer:?}"))
}

/// Waits until as many connections were closed as were opened, but for the one that asks.
fn wait_for_pairs(peer: &mut RawPeer) {
    let mut last = [0; 3];
    let paired = motews_tests::wait_until(PATIENCE, || {
        last = counts(peer);
        last[0] == last[1] + 1
    });
    assert!(paired, "opened, closed, members: {last:?}");
}
