//! The server goes away: 1001 to all, a deadline, then the end.

use core::time::Duration;
use std::io::Write;
use std::time::Instant;

use motews_tests::ServerProcess;
use motews_tests::raw::{REQUEST, RawPeer};

use super::{PATIENCE, open, start};

/// RFC 6455 §7.4.1: 1001, going away.
const GOING_AWAY: &[u8] = b"\x88\x80\0\0\0\0";

/// Asks for it, with a deadline in milliseconds.
fn shut_down(server: &ServerProcess, deadline: u64) {
    let mut peer = open(server);
    peer.text(&format!("!shutdown {deadline}"))
        .expect("it is open");
    assert_eq!(peer.read_to_close(), 1001, "told to the one that asked");
    peer.stream.write_all(GOING_AWAY).expect("it is open");
    assert!(peer.is_ended_within(PATIENCE));
}

/// Waits for the server's end, and returns how long that took.
fn end(server: &mut ServerProcess) -> Duration {
    let start = Instant::now();
    let status = server.process.wait(PATIENCE);
    assert!(status.success(), "{status}\n{}", server.process.log());
    start.elapsed()
}

#[test]
fn shutting_down_peers_answer_all_get_1001_and_the_server_ends() {
    for loops in ["loops=1", "loops=2", "loops=4"] {
        let mut server = start(&["join", loops]);
        let mut peers: Vec<RawPeer> = (0..24).map(|_| open(&server)).collect();
        shut_down(&server, 60_000);
        for peer in &mut peers {
            assert_eq!(peer.read_to_close(), 1001, "{loops}");
            peer.stream.write_all(GOING_AWAY).expect("it is open");
            assert!(peer.is_ended_within(PATIENCE), "the server ends TCP first");
        }
        // A peer that does not end TCP in its turn would be waited for.
        drop(peers);
        let elapsed = end(&mut server);
        assert!(elapsed < Duration::from_secs(3), "{loops}: {elapsed:?}");
        assert!(RawPeer::connect(server.address).is_err(), "it is gone");
    }
}

#[test]
fn shutting_down_peers_do_not_answer_the_deadline_ends_them() {
    for loops in ["loops=1", "loops=2"] {
        let mut server = start(&["close=never", "handshake=never", loops]);
        let mut silent: Vec<RawPeer> = (0..8).map(|_| open(&server)).collect();
        // One that reads nothing, and for which much waits,
        let mut full = open(&server);
        full.send(0x82, &vec![7; 4 << 20]).expect("it is open");
        // and one in the middle of its request.
        let mut half = RawPeer::connect(server.address).expect("the server listens");
        half.stream.write_all(&REQUEST[..50]).expect("it is open");

        let start = Instant::now();
        shut_down(&server, 500);
        for peer in &mut silent {
            assert_eq!(peer.read_to_close(), 1001);
            assert!(peer.is_ended_within(PATIENCE));
        }
        end(&mut server);
        let elapsed = start.elapsed();
        assert!(
            elapsed >= Duration::from_millis(450),
            "{loops}: {elapsed:?}"
        );
        assert!(elapsed < PATIENCE / 2, "{loops}: {elapsed:?}");
    }
}

#[test]
fn shutting_down_deadline_is_zero_the_server_ends_at_once() {
    let mut server = start(&["close=never", "loops=2"]);
    let mut peers: Vec<RawPeer> = (0..8).map(|_| open(&server)).collect();
    let mut one = open(&server);
    one.text("!shutdown 0").expect("it is open");
    for peer in &mut peers {
        assert!(peer.is_ended_within(PATIENCE));
    }
    end(&mut server);
}

#[test]
fn shutting_down_deadline_is_the_maximum_the_server_waits_for_the_last() {
    let mut server = start(&["close=never"]);
    let mut last = open(&server);
    shut_down(&server, u64::MAX);
    assert_eq!(last.read_to_close(), 1001);
    assert!(
        !last.is_ended_within(Duration::from_millis(200)),
        "it waits"
    );
    last.stream.write_all(GOING_AWAY).expect("it is open");
    assert!(last.is_ended_within(PATIENCE));
    drop(last);
    end(&mut server);
}
