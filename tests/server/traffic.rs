//! Echoes of the largest messages, with both sides writing: nobody waits for ever, and what is
//! held is bounded.

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use core::time::Duration;
use std::io::{ErrorKind, Read, Write};
use std::thread;
use std::time::Instant;

use motews_tests::linux::memory;
use motews_tests::raw::{RawPeer, frame};

use super::{PATIENCE, open, start};

/// The largest message of the server by default.
const LARGE: usize = 16 << 20;

#[test]
fn open_both_sides_write_large_messages_all_are_echoed() {
    let server = start(&[&format!("max-message={LARGE}")]);
    echo_eagerly(open(&server), LARGE, 2);
}

#[test]
#[ignore = "sends and receives a gigabyte: run by .ci/run"]
fn open_both_sides_write_large_messages_memory_is_bounded() {
    const PEERS: usize = 4;
    let server = start(&[&format!("max-message={LARGE}"), "loops=2"]);
    let id = server.process.id();
    let before = memory(id).private;
    let mut peak = 0;
    let begin = Instant::now();
    thread::scope(|scope| {
        let peers: Vec<_> = (0..PEERS)
            .map(|_| scope.spawn(|| echo_eagerly(open(&server), LARGE, 16)))
            .collect();
        while peers.iter().any(|peer| !peer.is_finished()) {
            peak = peak.max(memory(id).private);
            thread::sleep(Duration::from_millis(5));
        }
    });
    thread::sleep(Duration::from_secs(1));
    let after = memory(id).private;
    println!(
        "echo of 16 MiB, both sides writing, {PEERS} peers: {} MiB each way in {:.1?}; server: \
         {} KiB before, {} at the peak, {} after",
        PEERS * 16 * 16,
        begin.elapsed(),
        before >> 10,
        peak >> 10,
        after >> 10
    );
    // For each: the message that arrives, and what of the last one waits to leave.
    let most = before + (PEERS * 3 * LARGE) as u64;
    assert!(peak <= most, "{peak} bytes at the peak");
}

/// While a flooder has the server work without end, another peer waits for a bounded amount of that
/// work, which is counted in bytes: time would say more of the machine than of the server.
#[test]
fn open_peers_flood_another_is_served_in_its_turn() {
    const ROUNDS: usize = 20;
    let server = start(&[]);
    let sent = AtomicU64::new(0);
    let over = AtomicBool::new(false);
    // Pongs that nobody asked for are read, and not answered.
    let pongs = frame(0x8a, 0, b"").repeat(4096);
    let mut waits = Vec::new();
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut peer = open(&server);
                while !over.load(Ordering::Relaxed) {
                    peer.stream.write_all(&pongs).expect("it is open");
                    sent.fetch_add(pongs.len() as u64, Ordering::Relaxed);
                }
            });
        }
        let mut honest = open(&server);
        for _ in 0..ROUNDS {
            let before = sent.load(Ordering::Relaxed);
            assert_eq!(honest.ask("meanwhile"), "meanwhile");
            waits.push(sent.load(Ordering::Relaxed) - before);
            thread::sleep(Duration::from_millis(10));
        }
        over.store(true, Ordering::Relaxed);
    });
    waits.sort_unstable();
    // A turn of each flooder, and what the kernel takes meanwhile.
    let median = waits[ROUNDS / 2];
    assert!(
        median <= 2 << 20,
        "{median} octets of others came first: {waits:?}"
    );
}

/// What other threads send waits before the echoes of a peer that does not read: then it is not
/// read, as it would not be without that.
#[test]
fn open_echoes_wait_behind_what_others_send_all_arrive() {
    const COUNT: u8 = 60;
    const LENGTH: usize = 50_000;
    let server = start(&["send-buffer=8192", "max-backlog=1000000"]);
    let mut other = open(&server);
    let slow = RawPeer::connect_from([127, 0, 0, 1].into(), Some(8192), server.address);
    let mut slow = slow
        .and_then(RawPeer::upgraded)
        .expect("the server listens");
    assert_eq!(slow.ask("!join"), "!ok");
    // The first one fills all but the other half of the backlog, and the second one has to wait.
    for length in ["400000", "8"] {
        let told = other.ask(&format!("!broadcast 1 {length}"));
        assert_eq!(told, "!broadcast 1 0 0");
        assert_eq!(other.ask("in between"), "in between");
    }
    let mut writer = slow.stream.try_clone().expect("there are files left");
    thread::scope(|scope| {
        scope.spawn(move || {
            for n in 0..COUNT {
                let message = frame(0x82, LENGTH as u64, &[n; LENGTH]);
                writer.write_all(&message).expect("it is open");
            }
        });
        // Time enough to fill what there is.
        thread::sleep(Duration::from_millis(300));
        for length in [400_000, 8] {
            let frame = slow.read_frame().expect("a broadcast");
            assert_eq!(frame.payload.len(), length);
        }
        for n in 0..COUNT {
            let echo = slow.read_frame().expect("an echo");
            assert_eq!(echo.close_code(), None, "instead of echo {n}");
            assert!(echo.payload == [n; LENGTH], "echo {n}");
        }
    });
}

/// Sends `count` messages of `length` bytes, and reads only when it can write no more.
fn echo_eagerly(mut peer: RawPeer, length: usize, count: usize) {
    let payload: Vec<u8> = (0..=250).cycle().take(length).collect();
    let message = frame(0x82, length as u64, &payload);
    // The answer's header has no masking key.
    let mut wanted = message[..message.len() - length - 4].to_vec();
    wanted[1] &= 0x7f;
    wanted.extend(&payload);

    peer.stream.set_nonblocking(true).expect("it can");
    let (mut sent, mut received) = (0, 0);
    let mut buffer = vec![0; 256 << 10];
    let mut progress = Instant::now();
    while received < count * wanted.len() {
        if sent < count * message.len() {
            match peer.stream.write(&message[sent % message.len()..]) {
                Ok(written) => {
                    sent += written;
                    progress = Instant::now();
                    continue;
                }
                Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock, "{error}"),
            }
        }
        let at = received % wanted.len();
        let most = buffer.len().min(wanted.len() - at);
        match peer.stream.read(&mut buffer[..most]) {
            Ok(0) => panic!("the server has left after {received} octets"),
            Ok(length) => {
                assert!(
                    buffer[..length] == wanted[at..at + length],
                    "at octet {received}"
                );
                received += length;
                progress = Instant::now();
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::WouldBlock, "{error}");
                assert!(
                    progress.elapsed() < PATIENCE,
                    "deadlock: {sent} octets sent, {received} received"
                );
                thread::sleep(Duration::from_micros(200));
            }
        }
    }
}
