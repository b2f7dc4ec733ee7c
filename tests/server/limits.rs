//! Every limit and every deadline of the server at 0, at 1, and at its maximum.

use core::time::Duration;
use std::io::{ErrorKind, Write};
use std::time::Instant;

use motews_std::{MessageRef, Peer, Server};
use motews_tests::raw::{REQUEST, RawPeer, frame, read_head};
use motews_tests::{ServerProcess, wait_until};

use super::{PATIENCE, counts, open, start};

/// The most that fits in the settings' type.
const MAX: &str = "18446744073709551615";

/// The status of the answer to a request; 0 if there is none.
fn status(server: &ServerProcess, request: &[u8]) -> u16 {
    let mut peer = RawPeer::connect(server.address).expect("the server listens");
    // It may answer and leave in the middle of it.
    _ = peer.stream.write_all(request);
    let head = read_head(&mut peer.stream);
    let status = head
        .strip_prefix("HTTP/1.1 ")
        .and_then(|rest| rest.get(..3));
    status.map_or(0, |status| status.parse().expect("a status"))
}

#[test]
fn max_connections() {
    // Those that are too many wait to be accepted.
    let server = start(&["max-connections=0"]);
    let mut waiting = RawPeer::connect(server.address).expect("the kernel takes it");
    waiting
        .stream
        .write_all(REQUEST)
        .expect("the kernel takes it");
    assert!(is_silent(&mut waiting));

    let server = start(&["max-connections=1"]);
    let mut first = open(&server);
    for _ in 0..3 {
        let mut waiting = RawPeer::connect(server.address).expect("the kernel takes it");
        waiting
            .stream
            .write_all(REQUEST)
            .expect("the kernel takes it");
        assert!(is_silent(&mut waiting));
        assert_eq!(first.ask("the only one"), "the only one");
        drop(first);
        assert!(read_head(&mut waiting.stream).starts_with("HTTP/1.1 101 "));
        first = waiting;
    }

    // It holds for all loops together.
    let server = start(&["max-connections=6", "loops=4"]);
    let mut peers: Vec<RawPeer> = (0..24)
        .map(|_| {
            let mut peer = RawPeer::connect(server.address).expect("the kernel takes it");
            peer.stream.write_all(REQUEST).expect("the kernel takes it");
            peer
        })
        .collect();
    while !peers.is_empty() {
        let mut served = Vec::new();
        let some = wait_until(PATIENCE, || {
            served.extend(peers.extract_if(.., |peer| !is_silent(peer)));
            served.len() == 6
        });
        assert!(some, "{} of {}", served.len(), peers.len());
        assert!(peers.iter_mut().all(is_silent), "more than six at a time");
    }

    let server = start(&[&format!("max-connections={MAX}")]);
    assert_eq!(open(&server).ask("one of many"), "one of many");
}

/// Whether nothing comes from the server, nor its end, for some milliseconds.
fn is_silent(peer: &mut RawPeer) -> bool {
    peer.stream
        .set_read_timeout(Some(Duration::from_millis(20)))
        .expect("it can");
    let silent = peer.stream.peek(&mut [0]).is_err();
    peer.stream
        .set_read_timeout(Some(PATIENCE))
        .expect("it can");
    silent
}

#[test]
fn max_head_len() {
    // A request line that is too long is a URI too long (RFC 9110 §15.5.15).
    for (length, wanted) in [
        (0, [414, 431]),
        (1, [414, 431]),
        (REQUEST.len() - 1, [431; 2]),
        (REQUEST.len(), [101; 2]),
        (u32::MAX as usize, [101; 2]),
    ] {
        let server = start(&[&format!("max-head={length}")]);
        let status = status(&server, REQUEST);
        assert!(wanted.contains(&status), "{length}: {status}");
    }
}

#[test]
fn max_headers() {
    // Five are in the request.
    for (count, wanted) in [(0, 431), (1, 431), (4, 431), (5, 101), (65_535, 101)] {
        let server = start(&[&format!("max-headers={count}")]);
        assert_eq!(status(&server, REQUEST), wanted, "{count}");
    }
}

#[test]
fn max_message_len() {
    for (limit, longest) in [("0", 0_usize), ("1", 1), (MAX, 100_000)] {
        let server = start(&[&format!("max-message={limit}")]);
        let mut peer = open(&server);
        for length in [0, longest] {
            let payload = vec![7; length];
            peer.send(0x82, &payload).expect("it is open");
            let echo = peer.read_frame().expect("an echo");
            assert_eq!((echo.first, echo.payload), (0x82, payload), "{limit}");
        }
        if limit == MAX {
            // What is announced is not what is taken: RFC 6455 §5.2 allows up to 2^63 - 1.
            let announced = frame(0x82, i64::MAX as u64, b"and no more");
            peer.stream.write_all(&announced).expect("it is open");
            assert_eq!(open(&server).ask("alive?"), "alive?");
        } else {
            peer.send(0x82, &vec![7; longest + 1]).expect("it is open");
            assert_eq!(peer.read_to_close(), 1009, "{limit}");
            // In fragments, too.
            let mut peer = open(&server);
            for _ in 0..longest {
                peer.send(0x02, b"x").expect("it is open");
            }
            peer.send(if longest == 0 { 0x02 } else { 0x00 }, b"x")
                .expect("it is open");
            assert_eq!(peer.read_to_close(), 1009, "{limit}");
        }
    }
}

#[test]
fn max_backlog() {
    for limit in ["0", "1", MAX] {
        let limit = format!("max-backlog={limit}");
        // A peer that does not read has its echoes wait, with any limit: then it is not read.
        let server = start(&[&limit, "send-buffer=8192", "slow=newest"]);
        let mut eager = open(&server);
        let message = [7; 50_000];
        for _ in 0..20 {
            eager
                .send(0x82, &message)
                .expect("it is read, or the kernel takes it");
        }
        for _ in 0..20 {
            let echo = eager.read_frame().expect("an echo");
            assert!(echo.payload == message, "{limit}");
        }
        // One message always has room; a second one has not, if the limit says so.
        let mut member = RawPeer::connect_from([127, 0, 0, 1].into(), Some(8192), server.address);
        let member = member.as_mut().expect("the server listens");
        member.stream.write_all(REQUEST).expect("it is open");
        assert!(read_head(&mut member.stream).starts_with("HTTP/1.1 101 "));
        assert_eq!(member.ask("!join"), "!ok");
        let told = eager.ask("!broadcast 10 1000000");
        if limit.ends_with(MAX) {
            assert_eq!(told, "!broadcast 10 0 0", "{limit}");
        } else {
            assert_eq!(told, "!broadcast 1 9 0", "{limit}");
        }
        let delivered = if limit.ends_with(MAX) { 10 } else { 1 };
        for _ in 0..delivered {
            let frame = member.read_frame().expect("a broadcast");
            assert_eq!(frame.payload.len(), 1_000_000, "{limit}");
        }
        assert_eq!(member.ask("nothing more"), "nothing more");
    }
}

#[test]
fn send_buffer() {
    for octets in ["0", "1", MAX] {
        let server = start(&[&format!("send-buffer={octets}")]);
        let mut peer = open(&server);
        let message = vec![7; 1 << 20];
        peer.send(0x82, &message).expect("it is open");
        let echo = peer.read_frame().expect("an echo");
        assert!(echo.payload == message, "{octets}");
    }
}

#[test]
fn threads() {
    for threads in [0, 257, usize::MAX] {
        let server = Server::bind("127.0.0.1:0").expect("a port is free");
        let echo = |peer: &mut Peer<'_>, message: MessageRef<'_>| peer.send(message);
        let ran = server.run_threads(threads, || echo);
        let error = ran.expect_err("a server has 1 to 256 threads");
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
    }
    let mut server = start(&["loops=256"]);
    for _ in 0..20 {
        assert_eq!(open(&server).ask("one of many"), "one of many");
    }
    open(&server).text("!shutdown 0").expect("it is open");
    assert!(server.process.wait(PATIENCE).success());
}

#[test]
fn deadlines_at_zero_and_one() {
    for time in [0, 1] {
        // A handshake that has begun and does not go on.
        let server = start(&[&format!("handshake={time}")]);
        let mut half = RawPeer::connect(server.address).expect("the server listens");
        _ = half.stream.write_all(&REQUEST[..50]);
        assert!(half.is_ended_within(PATIENCE), "handshake={time}");

        let server = start(&[&format!("idle={time}"), "close=100"]);
        if let Ok(mut idle) = RawPeer::open(server.address) {
            assert_ne!(idle.read_to_close(), 1005, "idle={time}");
            assert!(idle.is_ended_within(PATIENCE), "idle={time}");
        }

        let server = start(&["keepalive=100", &format!("pong={time}")]);
        let mut silent = open(&server);
        _ = silent.read_to_close();
        assert!(silent.is_ended_within(PATIENCE), "pong={time}");

        // Pings one after the other, and messages go on between them.
        let server = start(&[&format!("keepalive={time}")]);
        let mut pinged = open(&server);
        for _ in 0..3 {
            let ping = pinged.read_frame().expect("a ping");
            assert_eq!(ping.first, 0x89, "keepalive={time}");
            pinged.send(0x8a, &ping.payload).expect("it is open");
        }
        pinged.text("between").expect("it is open");
        let echoed =
            (0..1_000_000).any(|_| pinged.read_frame().expect("open").payload == b"between");
        assert!(echoed, "keepalive={time}");

        // A closing handshake without an answer.
        let server = start(&[&format!("close={time}")]);
        let mut rude = open(&server);
        rude.text("!close 4000").expect("it is open");
        assert!(rude.is_ended_within(PATIENCE), "close={time}");

        // A backlog that makes no progress.
        let server = start(&[&format!("write={time}"), "max-grace=100"]);
        let mut full = open(&server);
        _ = full.send(0x82, &vec![7; 8 << 20]);
        let mut one = open(&server);
        assert!(
            wait_until(PATIENCE, || counts(&mut one)[1] == 1),
            "write={time}"
        );
    }
}

#[test]
fn deadlines_at_the_maximum_and_never() {
    for time in [MAX, "never"] {
        let names = ["handshake", "idle", "keepalive", "pong", "close", "write"];
        let settings = names.map(|name| format!("{name}={time}"));
        let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
        let server = start(&settings);
        let mut half = RawPeer::connect(server.address).expect("the server listens");
        half.stream.write_all(&REQUEST[..50]).expect("it is open");
        let mut idle = open(&server);
        let mut closing = open(&server);
        closing.text("!close 4000").expect("it is open");
        assert_eq!(closing.read_to_close(), 4000);

        let begin = Instant::now();
        while begin.elapsed() < Duration::from_millis(300) {
            assert_eq!(idle.ask("alive?"), "alive?");
        }
        half.stream.write_all(&REQUEST[50..]).expect("it is open");
        assert!(read_head(&mut half.stream).starts_with("HTTP/1.1 101 "));
        closing.send(0x88, b"\x0f\xa0").expect("it is open");
        assert!(closing.is_ended_within(PATIENCE));
    }
}
