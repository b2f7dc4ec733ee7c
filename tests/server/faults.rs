//! Peers that vanish, trickle, flood and reset; a handler that panics; no file descriptors left.

use core::time::Duration;
use std::fs;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::thread;
use std::time::Instant;

use motews_tests::linux::{limit_files, open_files};
use motews_tests::raw::{REQUEST, RawPeer, frame, read_head};
use motews_tests::{ServerProcess, wait_until};

use super::{PATIENCE, counts, open, start, wait_for_pairs};

#[test]
fn open_handler_panics_that_connection_closes_with_1011_and_the_others_live() {
    let server = start(&["loops=2"]);
    // So many that each loop has some.
    let mut others: Vec<RawPeer> = (0..16).map(|_| open(&server)).collect();
    for _ in 0..8 {
        let mut peer = open(&server);
        peer.text("!panic").expect("it is open");
        assert_eq!(peer.read_to_close(), 1011);
        peer.send(0x88, b"\x03\xf3").expect("it is open");
        assert!(peer.is_ended_within(PATIENCE), "the server ends TCP");
    }
    for other in &mut others {
        assert_eq!(other.ask("alive?"), "alive?");
    }
    let mut one = open(&server);
    assert_eq!(one.ask("!closes"), format!("!closes{}", " 1011".repeat(8)));
    drop(others);
    wait_for_pairs(&mut one);
}

#[test]
fn open_handler_panics_amid_frames_the_closing_handshake_is_clean() {
    let server = start(&[]);
    let mut peer = open(&server);
    // In one segment with half a frame; the rest of that comes later.
    let next = frame(0x81, 10, b"0123456789");
    let (half, rest) = next.split_at(8);
    let first = [&frame(0x81, 6, b"!panic")[..], half].concat();
    peer.stream.write_all(&first).expect("it is open");
    let close = peer.read_frame().expect("a Close").close_code();
    assert_eq!(close, Some(1011));
    let last = [rest, &frame(0x88, 2, b"\x0f\xa0")[..]].concat();
    peer.stream.write_all(&last).expect("it is open");
    assert!(peer.is_ended_within(PATIENCE), "the server ends TCP");
    assert_eq!(open(&server).ask("!closes"), "!closes 4000");
}

#[test]
fn any_callback_panics_the_others_live() {
    let server = start(&["close=200"]);
    let mut one = open(&server);
    let at = |path: &str| {
        let mut peer = RawPeer::connect(server.address).expect("the server listens");
        let request = String::from_utf8_lossy(REQUEST).replace("/chat", path);
        peer.stream
            .write_all(request.as_bytes())
            .expect("it is open");
        let head = read_head(&mut peer.stream);
        (peer, head)
    };
    for _ in 0..3 {
        let (mut peer, head) = at("/on_request");
        assert!(head.starts_with("HTTP/1.1 500 "), "{head}");
        assert!(peer.is_ended_within(PATIENCE));

        let (mut peer, head) = at("/on_open");
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        assert_eq!(peer.read_to_close(), 1011);
        assert!(peer.is_ended_within(PATIENCE));

        let (mut peer, _) = at("/on_close");
        assert_eq!(peer.ask("!join"), "!ok");
        peer.send(0x88, b"\x03\xe8").expect("it is open");
        assert_eq!(peer.read_to_close(), 1000);
        assert!(peer.is_ended_within(PATIENCE));
        let (peer, _) = at("/on_close");
        peer.reset();
    }
    wait_for_pairs(&mut one);
    assert_eq!(one.ask("!counts"), "!counts 7 6 0", "six were never opened");
}

#[test]
fn open_peers_reset_the_server_forgets_them() {
    let server = start(&[]);
    let mut one = open(&server);
    let files = open_files(server.process.id());
    for round in 0..50 {
        let mut peer = open(&server);
        match round % 5 {
            0 => {}
            // With something unread at either end,
            1 => peer.text("hello").expect("it is open"),
            // in the middle of a frame,
            2 => {
                let half = frame(0x82, 1000, &[0; 500]);
                peer.stream.write_all(&half).expect("it is open");
            }
            // of a message,
            3 => peer.send(0x01, b"and").expect("it is open"),
            // of the closing handshake.
            _ => peer.send(0x88, b"\x03\xe8").expect("it is open"),
        }
        peer.reset();
    }
    // And of the opening handshake.
    for length in [0, 1, 40, REQUEST.len()] {
        let mut peer = RawPeer::connect(server.address).expect("the server listens");
        _ = peer.stream.write_all(&REQUEST[..length]);
        peer.reset();
    }
    wait_for_pairs(&mut one);
    assert!(wait_until(PATIENCE, || {
        open_files(server.process.id()) <= files
    }));
    assert_eq!(one.ask("alive?"), "alive?");
}

#[test]
fn connecting_peers_trickle_or_say_nothing_they_are_given_up() {
    let server = start(&["handshake=800"]);
    let mut one = open(&server);
    let start = Instant::now();
    let mut peers: Vec<(RawPeer, bool)> = (0..20)
        .map(|index| {
            let peer = RawPeer::connect(server.address).expect("the server listens");
            peer.stream.set_nonblocking(true).expect("it can");
            (peer, index % 2 == 1)
        })
        .collect();
    let mut sent = 0;
    while !peers.is_empty() {
        thread::sleep(Duration::from_millis(10));
        peers.retain_mut(|(peer, trickles)| {
            if *trickles {
                _ = peer.stream.write(&REQUEST[sent..][..1]);
            }
            let mut answer = [0; 1024];
            match peer.stream.read(&mut answer) {
                Ok(0) => false,
                Ok(length) => {
                    let answer = String::from_utf8_lossy(&answer[..length]).into_owned();
                    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
                    true
                }
                Err(error) => error.kind() == std::io::ErrorKind::WouldBlock,
            }
        });
        // Never the last of it.
        sent = (sent + 1).min(REQUEST.len() - 5);
        assert_eq!(one.ask("meanwhile"), "meanwhile");
        assert!(start.elapsed() < PATIENCE, "{} are left", peers.len());
    }
    assert!(start.elapsed() >= Duration::from_millis(800), "too soon");
    assert_eq!(counts(&mut one)[..2], [1, 0], "those were never open");
}

#[test]
fn open_peer_answers_no_ping_it_is_given_up() {
    // The response has bought no time.
    let server = start(&["keepalive=200", "pong=800", "min-rate=1000000"]);
    let (mut silent, mut polite) = (open(&server), open(&server));
    thread::scope(|scope| {
        scope.spawn(|| {
            let start = Instant::now();
            let ping = silent.read_frame().expect("a ping");
            assert_eq!(ping.first, 0x89);
            // It goes on reading, and the connection ends, without a Close.
            assert_eq!(silent.read_to_close(), 1006);
            let elapsed = start.elapsed();
            assert!(elapsed >= Duration::from_millis(750), "{elapsed:?}");
        });
        // The other has as many pings to answer, and lives.
        for _ in 0..6 {
            let ping = polite.read_frame().expect("a ping");
            assert_eq!(ping.first, 0x89);
            polite.send(0x8a, &ping.payload).expect("it is open");
        }
    });
    assert_eq!(polite.ask("alive?"), "alive?");
}

#[test]
fn listening_flood_of_connects_and_disconnects_honest_peers_are_served() {
    let server = start(&["loops=2"]);
    let mut one = open(&server);
    // The other loop may not have begun yet, and opens some of its own.
    let files = open_files(server.process.id()) + 4;
    thread::scope(|scope| {
        for kind in 0..4 {
            let server = &server;
            scope.spawn(move || flood(server, kind));
        }
        for _ in 0..200 {
            assert_eq!(one.ask("meanwhile"), "meanwhile");
            let mut visitor = open(&server);
            assert_eq!(visitor.ask("a visit"), "a visit");
        }
    });
    wait_for_pairs(&mut one);
    let id = server.process.id();
    assert!(
        wait_until(PATIENCE, || open_files(id) <= files),
        "{} files are open, {files} were",
        open_files(id)
    );
}

/// Three hundred connections that come and go, in one of four ways.
fn flood(server: &ServerProcess, kind: u8) {
    for _ in 0..300 {
        let mut peer = RawPeer::connect(server.address).expect("the server listens");
        match kind {
            0 => {}
            1 => peer.reset(),
            2 => _ = peer.stream.write_all(&REQUEST[..50]),
            _ => {
                _ = peer.stream.write_all(REQUEST);
                read_head(&mut peer.stream);
                _ = peer.send(0x88, b"\x03\xe8");
            }
        }
    }
}

#[test]
fn listening_no_file_descriptors_left_accepting_pauses_and_resumes() {
    let server = start(&[]);
    let id = server.process.id();
    let mut one = open(&server);
    limit_files(id, open_files(id) as u64 + 8);

    let mut peers: Vec<RawPeer> = (0..20)
        .map(|_| {
            let mut peer = RawPeer::connect(server.address).expect("the kernel takes it");
            peer.stream.write_all(REQUEST).expect("the kernel takes it");
            peer
        })
        .collect();
    let mut served: Vec<RawPeer> = Vec::new();
    for mut peer in peers.drain(..8) {
        assert!(read_head(&mut peer.stream).starts_with("HTTP/1.1 101 "));
        served.push(peer);
    }
    // Those that have a place are served, and the others cost no processor time while they wait.
    let (since, used) = (Instant::now(), processor_time(id));
    for _ in 0..10 {
        thread::sleep(Duration::from_millis(50));
        assert_eq!(one.ask("meanwhile"), "meanwhile");
    }
    let (waited, used) = (since.elapsed(), processor_time(id) - used);
    assert!(
        used < waited / 4,
        "{used:?} of processor time in {waited:?}"
    );

    // Each that leaves makes room for one.
    for gone in served.drain(..) {
        drop(gone);
        // Which of those waiting comes next is up to nobody: they stand in line.
        let mut peer = peers.remove(0);
        assert!(read_head(&mut peer.stream).starts_with("HTTP/1.1 101 "));
        assert_eq!(peer.ask("at last"), "at last");
        peers.push(peer);
    }
    limit_files(id, 100);
    for mut peer in peers.drain(..4) {
        assert!(read_head(&mut peer.stream).starts_with("HTTP/1.1 101 "));
    }
    let mut last = open(&server);
    assert_eq!(last.ask("room enough"), "room enough");
}

/// The processor time that a process has used, in user mode and in the kernel.
fn processor_time(process: u32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).expect("it runs, on Linux");
    let (_, fields) = stat.rsplit_once(") ").expect("the name is in parentheses");
    let ticks = fields.split(' ').skip(11).take(2);
    let ticks: u64 = ticks.filter_map(|ticks| ticks.parse::<u64>().ok()).sum();
    // A tick is a hundredth of a second on every Linux of today.
    Duration::from_millis(ticks * 10)
}

/// RFC 6455 §5.5.1: the peer may end its half behind its Close, and still read what it asked for.
#[test]
fn closing_peer_ends_its_half_and_reads_late_it_gets_all_answers_and_the_close() {
    let server = start(&["send-buffer=8192"]);
    let peer = RawPeer::connect_from([127, 0, 0, 1].into(), Some(8192), server.address);
    let mut peer = peer.and_then(RawPeer::upgraded).expect("it is served");
    for number in 0..4 {
        peer.send(0x82, &[number; 100_000]).expect("it is open");
    }
    peer.send(0x88, b"\x03\xe8").expect("it is open");
    peer.stream.shutdown(Shutdown::Write).expect("it is open");
    // So that the server knows before the first answer is read.
    thread::sleep(Duration::from_millis(200));
    for number in 0..4 {
        let answer = peer.read_frame().expect("an answer").payload;
        assert!(answer == [number; 100_000], "{number}");
    }
    assert_eq!(peer.read_to_close(), 1000);
    assert!(peer.is_ended_within(PATIENCE), "the server ends TCP");
    assert_eq!(open(&server).ask("!closes"), "!closes 1000");
}
