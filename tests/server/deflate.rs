//! Compressed messages: what they take of the server's memory, bombs, and a hub whose members have
//! agreed on different things, or on nothing.

use core::fmt::Write as _;
use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;
use std::io::{Read, Write};
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Instant;

use motews::deflate::{Inflated, WindowBits};
use motews_testkit::frame::Frame;
use motews_tests::deflate::{Deflater, Inflater, bomb};
use motews_tests::linux::{memory, peak_memory};
use motews_tests::raw::{RawPeer, frame};
use motews_tests::{ServerProcess, example};

use super::{open, start};

/// A connection that has agreed on compression after this offer.
fn open_with_deflate(server: &ServerProcess, parameters: &str) -> RawPeer {
    let peer = RawPeer::connect(server.address).expect("the server listens");
    let (peer, _) = peer
        .upgraded_with_deflate(parameters)
        .unwrap_or_else(|error| panic!("{parameters}: {error}"));
    peer
}

// ---- memory ----

/// What one connection may take that has agreed on the default windows, in bytes. That is what
/// other servers document for theirs.
const LIMIT: u64 = 64 << 10;

/// How many messages are exchanged, and of how many bytes: more than the largest window has.
const MESSAGES: usize = 12;
const MESSAGE_LEN: usize = 8 << 10;

/// A text that compresses to a third or so, different for each `number`.
fn telemetry(number: usize) -> String {
    let mut text = String::new();
    let mut random = number as u32 + 1;
    while text.len() < MESSAGE_LEN {
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let (value, sensor) = (random >> 12, random >> 28);
        _ = write!(text, "{{\"sensor\": {sensor}, \"value\": {value}}}, ");
    }
    text
}

/// What a server's connections take, in bytes each: so many connect, with this offer or none, and
/// get all their messages back.
fn each(server: &ServerProcess, count: usize, offer: Option<&str>) -> u64 {
    let texts: Vec<String> = (0..MESSAGES).map(telemetry).collect();
    let mut deflater = Deflater::new(15);
    let frames: Vec<Vec<u8>> = texts
        .iter()
        .map(|text| match offer {
            Some(_) => {
                let packed = deflater.message(text.as_bytes());
                frame(0xC1, packed.len() as u64, &packed)
            }
            None => frame(0x81, text.len() as u64, text.as_bytes()),
        })
        .collect();
    // What a server has once, it has now.
    drop(talk(server, offer, &frames));
    let before = memory(server.process.id()).private;
    let mut first: Option<Vec<Frame>> = None;
    let mut peers = Vec::new();
    for _ in 0..count {
        let (peer, answers) = talk(server, offer, &frames);
        peers.push(peer);
        // All are sent the same, and so one of them is looked at.
        let first = first.get_or_insert_with(|| {
            let mut inflater = Inflater::new(15);
            for (answer, text) in answers.iter().zip(&texts) {
                let payload = match offer {
                    Some(_) => inflater.message(&answer.payload, text.len()),
                    None => answer.payload.clone(),
                };
                assert_eq!(answer.first, if offer.is_some() { 0xC1 } else { 0x81 });
                assert!(payload == text.as_bytes());
            }
            answers.clone()
        });
        assert!(answers == *first);
    }
    let after = memory(server.process.id()).private;
    after.saturating_sub(before) / count as u64
}

/// Sends the frames, one after the other, and reads an answer to each.
fn talk(server: &ServerProcess, offer: Option<&str>, frames: &[Vec<u8>]) -> (RawPeer, Vec<Frame>) {
    let mut peer = match offer {
        Some(offer) => open_with_deflate(server, offer),
        None => open(server),
    };
    let answers = frames
        .iter()
        .map(|frame| {
            peer.stream.write_all(frame).expect("it is open");
            peer.read_frame().expect("an answer")
        })
        .collect();
    (peer, answers)
}

#[test]
#[ignore = "measures a release build: run by .ci/run"]
fn compressed_connections_take_less_than_64_kib_each_and_others_nothing_more() {
    const COUNT: usize = 400;
    let browser = Some("; client_max_window_bits");
    let plain = each(&start(&[]), COUNT, None);
    let declined = each(&start(&["deflate"]), COUNT, None);
    let default = each(&start(&["deflate"]), COUNT, browser);
    let alone = each(&start(&["deflate=alone"]), COUNT, browser);
    let max = each(&start(&["deflate=max"]), COUNT / 4, browser);
    println!(
        "event-driven server, bytes for each connection after {MESSAGES} messages of {MESSAGE_LEN}: \
         {plain} without compression, {declined} with it where it was not asked for, {default} by \
         default, {alone} without context takeover of what is sent, {max} with DeflateConfig::MAX"
    );
    // A page here and there.
    assert!(declined <= plain + 16, "nothing more: {declined}, {plain}");
    assert!(default < LIMIT, "{default}");
    assert!(alone < default, "one compressor for all");

    let blocking = |arguments: &[&str]| {
        let mut command = Command::new(example("echo_blocking"));
        command.arg("127.0.0.1:0").args(arguments);
        // Without a heap for each core, which the allocator of glibc fills one after the other.
        command.env("MALLOC_ARENA_MAX", "1");
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
        ServerProcess::start("echo_blocking-memory", &mut command, folder)
    };
    let plain = each(&blocking(&[]), COUNT / 4, None);
    let default = each(&blocking(&["--deflate"]), COUNT / 4, browser);
    println!(
        "blocking server, with a thread for each: {plain} bytes without compression, {default} by \
         default"
    );
    // The allocator leaves gaps where messages were.
    assert!(default < plain + LIMIT + (8 << 10), "{default}");
}

// ---- bombs ----

/// A thousand and more for one.
const BOMB_LEN: usize = 64 << 20;
const BOMBS: usize = 100;
/// The longest message of the server that is bombed.
const BOMBED: u64 = 1 << 20;

/// Ends the honest peers' talk, whatever happens.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Runs `attack` while an honest peer, which is not compressed, and one that is, talk; returns how
/// much the server's memory has grown at the most since, in bytes.
fn grows_by(server: &ServerProcess, attack: impl FnOnce()) -> u64 {
    let before = memory(server.process.id()).private;
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let honest = scope.spawn(|| {
            let mut plain = open(server);
            let mut packed = open_with_deflate(server, "");
            let (mut deflater, mut inflater) = (Deflater::new(15), Inflater::new(15));
            let (mut rounds, mut slowest) = (0, Duration::ZERO);
            let text = telemetry(1);
            while !over.load(Ordering::Relaxed) || rounds < 3 {
                let begin = Instant::now();
                assert_eq!(plain.ask("alive?"), "alive?");
                packed
                    .send(0xC1, &deflater.message(text.as_bytes()))
                    .expect("it is open");
                let answer = packed.read_frame().expect("an answer");
                assert!(inflater.message(&answer.payload, text.len()) == text.as_bytes());
                slowest = slowest.max(begin.elapsed());
                rounds += 1;
            }
            println!("  meanwhile {rounds} rounds of honest peers, the slowest {slowest:.1?}");
        });
        {
            let _ends = Ends(&over);
            attack();
        }
        honest.join().expect("honest peers are served");
    });
    peak_memory(server.process.id()).saturating_sub(before)
}

/// So many connections that have agreed on compression.
fn many(server: &ServerProcess, count: usize) -> Vec<RawPeer> {
    (0..count).map(|_| open_with_deflate(server, "")).collect()
}

/// Waits until the server has decoded what was sent.
fn wait_for_pong(peer: &mut RawPeer) {
    peer.send(0x89, b"alive?").expect("it is open");
    assert_eq!(peer.read_frame().expect("a pong").first, 0x8A);
}

/// RFC 7692 §8: a hundred connections send 64 KiB each that stand for 64 MiB.
#[test]
fn bombs_at_once_each_gets_1009_in_bounded_memory_and_others_are_served() {
    const WAVES: usize = 3;
    let payload = bomb(BOMB_LEN);
    let ratio = BOMB_LEN / payload.len();
    assert!(ratio >= 1028, "{ratio}");
    let server = start(&["deflate", &format!("max-message={BOMBED}")]);
    let grown = grows_by(&server, || {
        let bomb = frame(0xC2, payload.len() as u64, &payload);
        for _ in 0..WAVES {
            let mut peers = many(&server, BOMBS);
            for peer in &mut peers {
                // It is refused before all of it is sent.
                _ = peer.stream.write_all(&bomb);
            }
            for peer in &mut peers {
                assert_eq!(peer.read_to_close(), 1009);
            }
        }
    });
    println!(
        "{BOMBS} bombs of {ratio} : 1 in a frame each, {WAVES} times: {} KiB more at the peak",
        grown >> 10
    );
    // A bomb is defused when it comes, and so there is one at a time; what the allocator keeps of
    // those before differs with how the bytes come.
    assert!(grown <= BOMBS as u64 * LIMIT + 8 * BOMBED, "{grown}");
}

/// The same in frames of some bytes, which come by turns: so each message grows to the limit.
#[test]
fn bombs_in_small_frames_each_gets_1009_in_bounded_memory() {
    let payload = bomb(2 * BOMBED as usize);
    let server = start(&["deflate", &format!("max-message={BOMBED}")]);
    let mut peers = many(&server, BOMBS);
    let parts: Vec<&[u8]> = payload.chunks(7).collect();
    let (most, rest) = parts.split_at(parts.len() * 2 / 5);
    let grown = grows_by(&server, || {
        for (index, part) in most.iter().enumerate() {
            for peer in &mut peers {
                let first = if index == 0 { 0x42 } else { 0 };
                peer.send(first, part).expect("it is within the limit");
            }
        }
        peers.iter_mut().for_each(wait_for_pong);
        for part in rest {
            for peer in &mut peers {
                // It is refused before all of it is sent.
                _ = peer.send(0, part);
            }
        }
        for peer in &mut peers {
            assert_eq!(peer.read_to_close(), 1009);
        }
    });
    println!(
        "{BOMBS} bombs in small frames: {} KiB more at the peak",
        grown >> 10
    );
    // Twice: a buffer that grows may be copied.
    assert!(grown <= BOMBS as u64 * (LIMIT + 2 * BOMBED), "{grown}");
}

/// Messages that inflate to the limit, and do not end.
#[test]
fn bombs_that_never_end_stay_within_the_limit_until_they_are_too_long_on_the_wire() {
    const SLOW: usize = 20;
    let payload = bomb(BOMBED as usize);
    let server = start(&["deflate", &format!("max-message={BOMBED}")]);
    let mut peers = many(&server, SLOW);
    let grown = grows_by(&server, || {
        for peer in &mut peers {
            peer.send(0x42, &payload).expect("it is within the limit");
            wait_for_pong(peer);
        }
        // The rest of an empty stored block, and the header of the next: they stand for nothing.
        let nothing = [0, 0, 0xFF, 0xFF, 0].repeat(2000);
        for peer in &mut peers {
            let frames = 3 * BOMBED as usize / nothing.len();
            for _ in 0..frames {
                // It is refused before all of it is sent.
                _ = peer.send(0, &nothing);
            }
            assert_eq!(peer.read_to_close(), 1009);
        }
    });
    println!(
        "{SLOW} bombs that never end: {} KiB more at the peak",
        grown >> 10
    );
    assert!(grown <= SLOW as u64 * (LIMIT + 2 * BOMBED), "{grown}");
}

#[test]
#[ignore = "builds the echo example: run by .ci/run"]
fn blocking_server_bombs_get_1009_in_bounded_memory() {
    const COUNT: u64 = 8;
    let mut command = Command::new(example("echo_blocking"));
    command
        .args(["127.0.0.1:0", "--deflate", "--max-message", "1"])
        .env("MALLOC_ARENA_MAX", "1");
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let server = ServerProcess::start("echo_blocking-bombs", &mut command, folder);
    let payload = bomb(BOMB_LEN);
    let mut peers = many(&server, COUNT as usize);
    let grown = grows_by(&server, || {
        let bomb = frame(0xC2, payload.len() as u64, &payload);
        for peer in &mut peers {
            _ = peer.stream.write_all(&bomb);
        }
        for peer in &mut peers {
            assert_eq!(peer.read_to_close(), 1009);
        }
    });
    println!(
        "{COUNT} bombs for the blocking server: {} KiB more at the peak",
        grown >> 10
    );
    assert!(grown <= COUNT * (LIMIT + 3 * BOMBED), "{grown}");
}

/// What one connection has inflated and compressed is bounded before the others have their turn.
#[test]
fn bombs_within_the_limit_by_hundreds_others_do_not_wait_for_all_of_them() {
    let server = start(&["deflate"]);
    let (mut deflater, message) = (Deflater::new(15), vec![0; BOMBED as usize]);
    let [first, next] = [(); 2].map(|()| {
        let payload = deflater.message(&message);
        frame(0xC2, payload.len() as u64, &payload)
    });
    // All that follow another one are the same.
    let bombs = [first, next.repeat(299)].concat();
    // The fewest, for this process may be kept waiting as well.
    let answered = (0..5)
        .map(|_| answered_before_another(&server, &bombs))
        .min();
    println!("{answered:?} of 300 bombs were answered before another peer");
    // A hundred and more come in one read.
    assert!(answered < Some(30), "{answered:?}");
}

/// What inflates to nothing is work as well: the longest codes, for no byte, again and again. A
/// hundred such messages come in one read; a broadcast among their answers tells when another peer,
/// who asked for it, had its turn.
#[test]
fn empty_messages_that_take_long_to_inflate_others_do_not_wait_for_all_of_them() {
    let server = start(&["deflate"]);
    let payload = long_work(100);
    assert_eq!(Inflater::new(15).message(&payload, 0), [0; 0]);
    let all = frame(0xC2, payload.len() as u64, &payload).repeat(150);
    let bomb = bomb(16 << 20);
    // The fewest, for this process may be kept waiting as well.
    let answered = (0..5).map(|_| {
        let mut first = many(&server, 3);
        let mut other = open(&server);
        let mut attacker = open_with_deflate(&server, "");
        assert_eq!(join(&mut attacker), "!ok");
        // While the server is busy with these, the others come.
        for peer in &mut first {
            peer.send(0xC2, &bomb).expect("it is open");
        }
        attacker.stream.write_all(&all).expect("it is open");
        other.text("!broadcast 1 8").expect("it is open");
        let mut answered = 0;
        while attacker.read_frame().expect("it is open").first != 0x82 {
            answered += 1;
        }
        answered
    });
    let answered = answered.min();
    println!("{answered:?} of 150 empty messages were answered before another peer");
    assert!(answered < Some(60), "{answered:?}");
}

/// A message of so many blocks that have codes of their own, and nothing in them.
fn long_work(blocks: usize) -> Vec<u8> {
    // RFC 1951 §3.2.7: type 2, 257 literals and lengths, 1 distance, 18 lengths of code lengths,
    // of which those of 18 (the third) and 1 (the last) are 1; 138 and 118 zeros, twice a 1; the
    // end of the block.
    let lengths = "000000100000000000000000000000000000000000000000000100";
    let block = format!("0010000000000_0111_{lengths}_11111111_11101011_00_0");
    // RFC 7692 §7.2.1: then the header of an empty stored block.
    let bits = block.repeat(blocks) + "000";
    let bits: Vec<bool> = bits
        .chars()
        .filter(|c| *c != '_')
        .map(|c| c == '1')
        .collect();
    bits.chunks(8)
        .map(|octet| {
            octet
                .iter()
                .rev()
                .fold(0, |all, bit| all << 1 | u8::from(*bit))
        })
        .collect()
}

/// Sends bombs, and how many of them were answered when another peer was.
fn answered_before_another(server: &ServerProcess, bombs: &[u8]) -> usize {
    let mut other = open(server);
    let mut bomber = open_with_deflate(server, "");
    bomber.stream.write_all(bombs).expect("it is open");
    let first = bomber.read_frame().expect("an answer").payload;
    assert_eq!(other.ask("alive?"), "alive?");
    bomber.stream.set_nonblocking(true).expect("it can");
    let mut answers = Vec::new();
    _ = bomber.stream.read_to_end(&mut answers);
    // The later ones refer to the one before, and are no longer than the first.
    1 + answers.len() / (2 + first.len())
}

/// The limit is on what comes out: at 0, at 1, at the maximum, in one frame and in many.
#[test]
fn max_message_len_of_compressed_messages() {
    for (limit, longest) in [
        ("0", 0),
        ("1", 1),
        ("70000", 70_000),
        ("18446744073709551615", 1 << 20),
    ] {
        let server = start(&["deflate", &format!("max-message={limit}")]);
        for parts in [1, 5] {
            let mut peer = open_with_deflate(&server, "");
            let (mut deflater, mut inflater) = (Deflater::new(15), Inflater::new(15));
            for length in [0, longest] {
                let message = vec![7; length];
                send_in_parts(&mut peer, &deflater.message(&message), parts);
                let answer = peer.read_frame().expect("an answer");
                assert_eq!(answer.first, 0xC2, "{limit}");
                assert!(
                    inflater.message(&answer.payload, length) == message,
                    "{limit}"
                );
            }
            if longest < 1 << 20 {
                let message = vec![7; longest + 1];
                send_in_parts(&mut peer, &deflater.message(&message), parts);
                assert_eq!(peer.read_to_close(), 1009, "{limit} in {parts}");
            }
        }
    }
}

/// Sends a compressed binary message in so many frames.
fn send_in_parts(peer: &mut RawPeer, payload: &[u8], parts: usize) {
    let mut rest = payload;
    for index in 0..parts {
        let is_last = index == parts - 1;
        let (part, left) = rest.split_at(if is_last { rest.len() } else { rest.len() / 2 });
        rest = left;
        let first = if index == 0 { 0x42 } else { 0 } | if is_last { 0x80 } else { 0 };
        // It may be refused before all of it is sent.
        _ = peer.send(first, part);
    }
}

// ---- a hub ----

/// How a member reads what is broadcast.
enum Reading {
    Plain,
    /// Each message in the context of those before.
    Takeover(Inflater),
    /// Each alone.
    Alone,
    /// In a window of 256 bytes, which zlib does not have.
    Smallest(Box<motews::deflate::Inflater<[u8; 256]>>),
}

impl Reading {
    fn message(&mut self, frame: Frame) -> Vec<u8> {
        const MOST: usize = 1 << 20;
        match (frame.first, self) {
            (0x82, Self::Plain) => frame.payload,
            (0xC2, Self::Takeover(inflater)) => inflater.message(&frame.payload, MOST),
            (0xC2, Self::Alone) => Inflater::new(15).message(&frame.payload, MOST),
            (0xC2, Self::Smallest(inflater)) => {
                let (mut out, mut filled) = (vec![0; MOST], 0);
                let done = inflater.inflate(&mut &*frame.payload, &mut out, &mut filled);
                assert_eq!(done, Ok(Inflated::All));
                inflater.finish().expect("the end of a message");
                out.truncate(filled);
                out
            }
            (first, _) => panic!("a frame of {first:#x}"),
        }
    }
}

/// Reads a broadcast as its member has agreed: its number, and its length.
fn next_broadcast(peer: &mut RawPeer, reading: &mut Reading) -> (u64, usize) {
    let payload = reading.message(peer.read_frame().expect("it is open"));
    let number = payload[..8].try_into().expect("8 octets");
    (u64::from_be_bytes(number), payload.len())
}

#[test]
fn hub_of_mixed_members_one_stops_reading_the_others_get_all_and_that_one_what_was_kept() {
    let server = start(&[
        "deflate",
        "slow=oldest",
        "max-backlog=100000",
        "send-buffer=8192",
        "loops=2",
    ]);
    let offers = [
        None,
        // Declined, and so not compressed.
        Some("; unknown"),
        Some("; server_max_window_bits=8"),
        Some("; server_no_context_takeover; client_max_window_bits=9"),
        Some("; client_max_window_bits"),
    ];
    let mut members: Vec<(RawPeer, Reading)> = offers
        .map(|offer| match offer {
            None => (open(&server), Reading::Plain),
            Some("; unknown") => {
                let peer = RawPeer::connect(server.address).expect("the server listens");
                let refused = peer.upgraded_with_deflate("; unknown");
                let head = refused.map(drop).expect_err("it is declined").to_string();
                assert!(head.starts_with("HTTP/1.1 101 ") && !head.contains("deflate"));
                (open(&server), Reading::Plain)
            }
            Some(offer) => {
                let reading = if offer.contains("server_max_window_bits=8") {
                    let smallest = WindowBits::new(8).expect("it is one");
                    let inflater = motews::deflate::Inflater::new([0; 256], smallest);
                    Reading::Smallest(Box::new(inflater.expect("there is room")))
                } else if offer.contains("server_no_context_takeover") {
                    Reading::Alone
                } else {
                    Reading::Takeover(Inflater::new(15))
                };
                (open_with_deflate(&server, offer), reading)
            }
        })
        .into();
    let slow = RawPeer::connect_from([127, 0, 0, 1].into(), Some(4096), server.address);
    let (mut slow, _) = slow
        .and_then(|peer| peer.upgraded_with_deflate(""))
        .expect("it is served");
    for peer in members.iter_mut().map(|(peer, _)| peer).chain([&mut slow]) {
        assert_eq!(join(peer), "!ok");
    }
    let mut control = open(&server);
    let (mut delivered, mut dropped) = (0, 0);
    let count = members.len() + 1;
    for round in 0..300 {
        let told: [usize; 3] = super::numbers(&control.ask("!broadcast 10 1000"));
        delivered += told[0];
        dropped += told[1];
        for (peer, reading) in &mut members {
            for index in 0..10 {
                let number = round * 10 + index;
                assert_eq!(next_broadcast(peer, reading), (number, 1000));
            }
        }
    }
    assert_eq!(delivered, count * 3000);
    assert!(dropped > 0, "the slow member's backlog is full");
    // No message refers to one that was dropped.
    let mut reading = Reading::Takeover(Inflater::new(15));
    let mut last = None;
    for _ in 0..3000 - dropped {
        let (number, length) = next_broadcast(&mut slow, &mut reading);
        assert!(last < Some(number) && length == 1000);
        last = Some(number);
    }
    assert_eq!(last, Some(2999), "the newest");
}

/// What would take long to compress is sent to all as it is, and the next one is compressed.
#[test]
fn hub_of_mixed_members_one_more_octet_than_is_compressed_is_sent_as_it_is() {
    let server = start(&["deflate", "max-backlog=10000000"]);
    let mut plain = open(&server);
    let mut packed = open_with_deflate(&server, "");
    for peer in [&mut plain, &mut packed] {
        assert_eq!(join(peer), "!ok");
    }
    let mut control = open(&server);
    for (length, first) in [(2 << 20, 0xC2), ((2 << 20) + 1, 0x82), (1000, 0xC2)] {
        let told = control.ask(&format!("!broadcast 1 {length}"));
        assert_eq!(told, "!broadcast 2 0 0");
        let [frame, packed] = [&mut plain, &mut packed].map(|peer| peer.read_frame());
        let (frame, packed) = (frame.expect("it is open"), packed.expect("it is open"));
        assert_eq!((frame.first, frame.payload.len()), (0x82, length));
        assert_eq!(packed.first, first, "{length}");
        if first == 0x82 {
            assert!(packed == frame);
        } else {
            let payload = Inflater::new(15).message(&packed.payload, length);
            assert!(payload == frame.payload);
        }
    }
}

/// Has a connection join the hub, and gives the answer, which is too short to be compressed where
/// no message refers to others.
fn join(peer: &mut RawPeer) -> String {
    peer.text("!join").expect("it is open");
    let answer = peer.read_frame().expect("an answer");
    let payload = match answer.first {
        0xC1 => Inflater::new(15).message(&answer.payload, 100),
        _ => answer.payload,
    };
    String::from_utf8(payload).expect("a text")
}
