//! Ten thousand connections that say nothing: what each takes of the server's memory, and that
//! one broadcast reaches them all.

use core::net::Ipv4Addr;
use std::time::Instant;

use motews_tests::linux::{Memory, limit_files, memory, open_files};
use motews_tests::raw::RawPeer;
use motews_tests::wait_until;

use super::{PATIENCE, start};

const CONNECTIONS: usize = 10_000;

/// What an idle connection may take of the server's memory, in bytes.
const LIMIT: f64 = 200.0;

/// And what it may take when it is in a hub.
const MEMBER_LIMIT: f64 = 320.0;

/// What a second ten thousand may take more than the first, in bytes: some pages, but not one for
/// each hundred connections.
const DRIFT: u64 = 128 << 10;

#[test]
#[ignore = "opens 10,000 connections and measures a release build: run by .ci/run"]
fn idle_ten_thousand_connections_are_small_and_hear_a_broadcast() {
    // Each connection has an end here and an end there.
    limit_files(std::process::id(), CONNECTIONS as u64 + 500);
    let server = start(&["max-connections=10001"]);
    let id = server.process.id();
    limit_files(id, CONNECTIONS as u64 + 500);
    // The loop opens one more when it begins, which may be after this.
    let (files, before) = (open_files(id) + 1, memory(id));

    let mut held = 0;
    for round in 1..=2 {
        let start = Instant::now();
        let mut peers: Vec<RawPeer> = (0..CONNECTIONS)
            .map(|index| {
                // A thousand from each address: the ports of one would last for 28,000.
                let source = Ipv4Addr::new(127, 0, 1, 1 + (index / 1000) as u8);
                let peer = RawPeer::connect_from(source, None, server.address);
                peer.and_then(RawPeer::upgraded)
                    .unwrap_or_else(|error| panic!("connection {index}: {error}"))
            })
            .collect();
        let opened = start.elapsed();
        println!("{CONNECTIONS} connections opened in {opened:.1?}, round {round}");
        if round == 1 {
            judge("idle", before, memory(id), LIMIT);
        }

        for peer in &mut peers {
            peer.text("!join").expect("it is open");
        }
        for peer in &mut peers {
            assert_eq!(peer.read_frame().expect("an answer").payload, b"!ok");
        }
        let now = memory(id);
        judge("in a hub", before, now, MEMBER_LIMIT);
        if round == 1 {
            held = now.private;
        }
        assert!(now.private <= held + DRIFT, "the second round takes more");

        let mut control = RawPeer::open(server.address).expect("one more connects");
        let start = Instant::now();
        control.text("!broadcast 1 64").expect("the server reads");
        for (index, peer) in peers.iter_mut().enumerate() {
            let frame = peer.read_frame();
            let frame = frame.unwrap_or_else(|error| panic!("connection {index}: {error}"));
            assert_eq!((frame.first, frame.payload.len()), (0x82, 64), "{index}");
        }
        println!(
            "  a broadcast reached the last of them in {:.1?}",
            start.elapsed()
        );
        let counts = control.read_frame().expect("the server answers").payload;
        let counts = String::from_utf8(counts).expect("a text");
        assert_eq!(
            counts,
            format!("!broadcast {CONNECTIONS} 0 0"),
            "delivered, dropped, disconnected"
        );
        judge("after it", before, memory(id), MEMBER_LIMIT);

        drop((peers, control));
        assert!(
            wait_until(PATIENCE, || open_files(id) <= files),
            "{} files are open, {files} were",
            open_files(id)
        );
    }
}

/// Prints what each connection takes, and demands that it is less than `limit` bytes.
fn judge(state: &str, before: Memory, now: Memory, limit: f64) {
    let each = |now: u64, before: u64| now.saturating_sub(before) as f64 / CONNECTIONS as f64;
    let private = each(now.private, before.private);
    println!(
        "  {state}: {private:.1} bytes each ({:.1} of them heap and stack), above {} KiB at the start",
        each(now.anonymous, before.anonymous),
        before.private >> 10
    );
    assert!(private < limit, "{state}: {private:.1} bytes each");
}
