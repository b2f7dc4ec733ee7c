//! The event-driven server: replies that are written from where the messages lie, beside all that may
//! come before, between and behind them.

#[path = "support/server.rs"]
#[expect(dead_code, reason = "each test file uses a part of this")]
mod server_support;
mod support;

use core::time::Duration;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::mpsc;

use motews_std::{CloseCode, MessageRef, Peer, SendError, Server};
use motews_testkit::frame::{masked, unmasked};
use server_support::{PATIENCE, read_frame, read_to_end, start};

/// Around the lengths at which something is done otherwise.
const LENGTHS: [usize; 16] = [
    1, 2, 125, 126, 1000, 4095, 4096, 4097, 5000, 16_384, 16_385, 40_000, 65_535, 65_536, 65_537,
    90_000,
];

/// What the handler does, by the first byte of the message.
const WAYS: &[u8] = b"etbafqs";

/// Sends the message itself, other messages before and behind it, or nothing.
fn handle(peer: &mut Peer, message: MessageRef) -> Result<(), SendError> {
    match message.as_bytes()[0] {
        b'e' => peer.send(message),
        b't' => {
            peer.send(message)?;
            assert!(peer.buffered_amount() >= message.as_bytes().len() || !is_short(message));
            peer.send(message)
        }
        b'b' => {
            peer.send("before")?;
            peer.send(message)
        }
        b'a' => {
            peer.send(message)?;
            peer.send("after")
        }
        // Equal, but another.
        b'f' => peer.send(message.as_bytes().to_vec()),
        b'q' => Ok(()),
        b's' => {
            peer.send(message)?;
            peer.sender().send("by another way")?;
            peer.send(message)
        }
        b'c' => {
            peer.send(message)?;
            peer.close(CloseCode::NORMAL, "")
        }
        b'p' => {
            peer.send(message)?;
            panic!("as it was told");
        }
        other => panic!("{other}"),
    }
}

/// Whether it is gathered, and not written at once.
fn is_short(message: MessageRef) -> bool {
    message.as_bytes().len() <= 16 * 1024
}

/// What must come back.
fn replies(message: &[u8], first: u8) -> Vec<u8> {
    let own = unmasked(first, message);
    match message[0] {
        b'e' | b'c' | b'p' => own,
        b't' => own.repeat(2),
        b'b' => [unmasked(0x81, b"before"), own].concat(),
        b'a' => [own, unmasked(0x81, b"after")].concat(),
        b'f' => unmasked(0x82, message),
        b'q' => Vec::new(),
        b's' => [own.clone(), unmasked(0x81, b"by another way"), own].concat(),
        other => panic!("{other}"),
    }
}

struct Random(u32);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (self.0 >> 8) as usize % end
    }

    fn of<T: Copy>(&mut self, list: &[T]) -> T {
        list[self.below(list.len())]
    }

    /// A message that the handler deals with in one of these ways.
    fn message(&mut self, ways: &[u8], lengths: &[usize]) -> Vec<u8> {
        let mut message: Vec<u8> = (0..self.of(lengths)).map(|n| n as u8).collect();
        message[0] = self.of(ways);
        message
    }
}

/// Writes `sent` in parts, while the frames that come back are compared. If pings come faster than
/// their pongs can be written, the latest is answered (RFC 6455 §5.5.3).
fn exchange(stream: &mut TcpStream, sent: Vec<u8>, parts: &[usize], expected: &[u8]) {
    let mut writer = stream.try_clone().unwrap();
    let parts = parts.to_vec();
    let writing = std::thread::spawn(move || {
        let mut rest = &sent[..];
        for len in parts.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (part, more) = rest.split_at((*len).min(rest.len()));
            writer.write_all(part).unwrap();
            rest = more;
        }
    });
    let mut expected = expected;
    while !expected.is_empty() {
        let (first, payload) = read_frame(stream);
        if first == 0x8A {
            assert_eq!(payload, b"ping");
            continue;
        }
        let (frame, rest) = expected.split_at(unmasked(first, &payload).len());
        assert!(
            frame == unmasked(first, &payload),
            "{} bytes before the end",
            expected.len()
        );
        expected = rest;
    }
    writing.join().unwrap();
}

#[test]
fn open_messages_of_any_kind_in_any_parts_are_answered_in_order() {
    for seed in 0..24 {
        let mut random = Random(seed);
        // Without another thread's way to send, replies stay in place.
        let ways = if seed % 2 == 0 { &WAYS[..6] } else { WAYS };
        let server = start(Server::builder(), handle);
        let mut stream = server.open();
        let (mut sent, mut expected) = (Vec::new(), Vec::new());
        for _ in 0..60 {
            let first = random.of(&[0x82, 0x82, 0x82, 0x81]);
            let ways = if first == 0x81 { b"e" } else { ways };
            let lengths = if first == 0x81 {
                &LENGTHS[..3]
            } else {
                &LENGTHS[..]
            };
            let message = random.message(ways, lengths);
            match random.below(6) {
                0 => {
                    sent.extend(masked(0x89, b"ping"));
                    sent.extend(masked(first, &message));
                }
                1 => {
                    let (start, end) = message.split_at(random.below(message.len()));
                    sent.extend(masked(first & 0x0F, start));
                    sent.extend(masked(0x80, end));
                }
                _ => sent.extend(masked(first, &message)),
            }
            expected.extend(replies(&message, first));
        }
        let parts = match seed % 4 {
            0 => vec![usize::MAX],
            1 => vec![1000, 7, 65_536],
            2 => vec![16_390, 4],
            _ => (0..50).map(|_| 1 + random.below(100_000)).collect(),
        };
        exchange(&mut stream, sent, &parts, &expected);
    }
}

#[test]
fn open_messages_of_many_peers_at_once_are_answered_to_each() {
    let server = start(Server::builder(), handle);
    let mut random = Random(1);
    let mut streams: Vec<_> = (0..40).map(|_| server.open()).collect();
    for _ in 0..20 {
        let mut all = Vec::new();
        for stream in &mut streams {
            let (mut sent, mut expected) = (Vec::new(), Vec::new());
            for _ in 0..random.below(5) {
                let message = random.message(b"etbaf", &LENGTHS[..11]);
                sent.extend(masked(0x82, &message));
                expected.extend(replies(&message, 0x82));
            }
            stream.write_all(&sent).unwrap();
            all.push(expected);
        }
        for (stream, expected) in streams.iter_mut().zip(all) {
            let mut got = vec![0; expected.len()];
            stream.read_exact(&mut got).unwrap();
            assert!(got == expected);
        }
    }
}

#[test]
fn open_reply_of_the_first_does_not_wait_for_slow_handlers_or_very_many_others() {
    // The handler of the last waits for the reply to the first: behind many that are answered, and
    // behind few that take long and are not.
    for (count, pause) in [(40, 0), (4, 2)] {
        let (enters, entered) = mpsc::channel();
        let (goes_on, go_on) = mpsc::channel();
        let (handled, is_handled) = mpsc::channel();
        let (arrives, arrived) = mpsc::channel();
        let (tells, told) = mpsc::channel();
        let mut number = 0;
        let handler = move |peer: &mut Peer, message: MessageRef| {
            let message = message.as_bytes();
            if message == b"hold" {
                enters.send(()).unwrap();
                go_on.recv().unwrap();
                return Ok(());
            }
            number += 1;
            if number == 1 {
                handled.send(message[0]).unwrap();
            } else if number == count {
                let arrived: Result<(), _> = arrived.recv_timeout(Duration::from_secs(5));
                tells.send(arrived.is_ok()).unwrap();
            } else if pause > 0 {
                std::thread::sleep(Duration::from_millis(pause));
                return Ok(());
            }
            peer.send(message)
        };
        let server = start(Server::builder(), handler);
        let mut holding = server.open();
        let mut streams: Vec<_> = (0..count).map(|_| server.open()).collect();
        holding.write_all(&masked(0x82, b"hold")).unwrap();
        entered.recv_timeout(PATIENCE).unwrap();
        for (n, stream) in (0..).zip(&mut streams) {
            stream.write_all(&masked(0x82, &[n])).unwrap();
        }
        // All of them are ready when the loop looks next.
        goes_on.send(()).unwrap();
        let first = is_handled.recv_timeout(PATIENCE).unwrap();
        assert_eq!(
            read_frame(&mut streams[usize::from(first)]),
            (0x82, vec![first])
        );
        // If the last has given up, it has said so.
        let _ = arrives.send(());
        assert!(told.recv_timeout(PATIENCE).unwrap(), "{count}");
    }
}

#[test]
fn open_reply_before_a_close_or_a_panic_of_the_handler_goes_first() {
    for (way, code) in [(b'c', 1000_u16), (b'p', 1011)] {
        for len in LENGTHS {
            let server = start(Server::builder(), handle);
            let mut stream = server.open();
            let mut message = vec![7; len];
            message[0] = b'e';
            let mut sent = masked(0x82, &message);
            let mut expected = unmasked(0x82, &message);
            message[0] = way;
            sent.extend(masked(0x82, &message));
            expected.extend(unmasked(0x82, &message));
            expected.extend(unmasked(0x88, &code.to_be_bytes()));
            // What comes behind it is dropped, but for the peer's Close.
            sent.extend(masked(0x82, b"e"));
            sent.extend(masked(0x88, &code.to_be_bytes()));
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            stream.write_all(&sent).unwrap();
            assert!(read_to_end(&mut stream) == expected, "{len}");
        }
    }
}
