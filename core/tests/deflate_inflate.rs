//! The inflater: RFC 1951, and what RFC 7692 adds to it. zlib-rs and miniz_oxide say what is right.
#![cfg(feature = "deflate")]
#![expect(clippy::indexing_slicing, reason = "a test may panic")]

mod deflate_support;

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};
use motews::NoRoom;
use motews::deflate::{Inflated, Inflater, Malformed, WindowBits};
use proptest::prelude::*;

use deflate_support::sample;

const TAIL: [u8; 4] = [0x00, 0x00, 0xFF, 0xFF];

/// What came of a message: its bytes, or those before the fault.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Outcome {
    bytes: Vec<u8>,
    verdict: Result<(), Malformed>,
}

fn ok(bytes: &[u8]) -> Outcome {
    let bytes = bytes.to_vec();
    Outcome {
        bytes,
        verdict: Ok(()),
    }
}

/// Inflates a message that comes in pieces of these sizes, into pieces of `room` bytes.
fn inflate<W: AsRef<[u8]> + AsMut<[u8]>>(
    inflater: &mut Inflater<W>,
    message: &[u8],
    sizes: &[usize],
    room: usize,
) -> Outcome {
    let mut bytes = Vec::new();
    let mut out = vec![0xEE; room];
    let mut rest = message;
    let mut sizes = sizes.iter().cycle();
    let verdict = loop {
        let len = sizes
            .next()
            .map_or(rest.len(), |size| *size)
            .min(rest.len());
        let (mut piece, after) = rest.split_at(len);
        rest = after;
        let last = rest.is_empty();
        let step = loop {
            let mut filled = 0;
            let result = inflater.inflate(&mut piece, &mut out, &mut filled);
            bytes.extend(&out[..filled]);
            match result {
                Ok(Inflated::All) if last => break inflater.finish(),
                Ok(Inflated::All) => break Ok(()),
                Ok(Inflated::Full) => {}
                Err(error) => break Err(error),
            }
        };
        if step.is_err() || last {
            break step;
        }
    };
    Outcome { bytes, verdict }
}

fn inflater(bits: WindowBits) -> Inflater<Vec<u8>> {
    Inflater::new(vec![0xEE; bits.size()], bits).expect("there is room")
}

/// Inflates a message whole, in a stream of its own.
fn inflate_once(message: &[u8]) -> Outcome {
    inflate(&mut inflater(WindowBits::MAX), message, &[], 1 << 20)
}

/// Inflates a message without a window, into one buffer.
fn inflate_into_buffer(message: &[u8], sizes: &[usize], room: usize) -> Outcome {
    let mut inflater = Inflater::new([], WindowBits::MAX).expect("there is room");
    let mut out = vec![0xEE; room];
    let mut filled = 0;
    let mut rest = message;
    let mut sizes = sizes.iter().cycle();
    let mut verdict = Ok(Inflated::All);
    while !rest.is_empty() && verdict == Ok(Inflated::All) {
        let len = sizes
            .next()
            .map_or(rest.len(), |size| *size)
            .min(rest.len());
        let (mut piece, after) = rest.split_at(len);
        rest = after;
        verdict = inflater.inflate(&mut piece, &mut out, &mut filled);
    }
    out.truncate(filled);
    assert_ne!(verdict, Ok(Inflated::Full), "the buffer was large enough");
    Outcome {
        bytes: out,
        verdict: verdict.and_then(|_| inflater.finish()),
    }
}

/// What zlib-rs makes of it.
#[derive(Debug, PartialEq, Eq)]
enum Zlib {
    /// It ends at a block's end.
    Whole,
    /// It ends elsewhere.
    Truncated,
    Malformed,
    /// There was a block with BFINAL; zlib looks no further.
    Final,
}

fn zlib(message: &[u8], limit: usize) -> (Vec<u8>, Zlib) {
    let mut reference = Decompress::new_with_window_bits(false, 15);
    let mut out = Vec::with_capacity(limit);
    match reference.decompress_vec(message, &mut out, FlushDecompress::Sync) {
        Err(_) => return (out, Zlib::Malformed),
        Ok(Status::StreamEnd) => return (out, Zlib::Final),
        Ok(_) => {}
    }
    let len = out.len();
    assert_eq!(
        reference.total_in(),
        message.len() as u64,
        "{limit} is enough"
    );
    // What was left out, and an empty last block, which ends the stream if it is taken for one.
    let end = [0, 0, 0xFF, 0xFF, 1, 0, 0, 0xFF, 0xFF];
    let ended = reference.decompress_vec(&end, &mut out, FlushDecompress::Sync);
    // Or the block that was left out was the last one itself.
    let taken = reference.total_in() - message.len() as u64;
    let whole =
        matches!(ended, Ok(Status::StreamEnd)) && matches!(taken, 4 | 9) && out.len() == len;
    out.truncate(len);
    (out, if whole { Zlib::Whole } else { Zlib::Truncated })
}

/// The same bytes as zlib, and the same verdict.
fn assert_same_as_zlib(message: &[u8], ours: &Outcome) {
    const LIMIT: usize = 1 << 21;
    if message.is_empty() {
        assert_eq!(*ours, ok(b""));
        return;
    }
    let (bytes, verdict) = zlib(message, LIMIT);
    match verdict {
        Zlib::Final => assert!(ours.bytes.starts_with(&bytes), "{message:02x?}"),
        Zlib::Whole => assert_eq!(*ours, ok(&bytes), "{message:02x?}"),
        Zlib::Truncated | Zlib::Malformed => {
            assert_eq!(ours.bytes, bytes, "{message:02x?}");
            assert_eq!(ours.verdict, Err(Malformed), "{message:02x?}");
        }
    }
}

/// Compresses messages as one stream; each ends with an empty stored block, whose tail is left out.
fn compress(messages: &[&[u8]], level: u32, bits: u8) -> Vec<Vec<u8>> {
    let mut compressor = Compress::new_with_window_bits(Compression::new(level), false, bits);
    let compress_one = |message: &&[u8]| {
        // RFC 7692 §7.2.3.6; zlib flushes nothing twice
        if message.is_empty() {
            return vec![0];
        }
        let mut out = Vec::with_capacity(message.len() + message.len() / 8 + 64);
        compressor
            .compress_vec(message, &mut out, FlushCompress::Sync)
            .expect("it can be compressed");
        assert!(out.ends_with(&TAIL));
        out.truncate(out.len() - TAIL.len());
        out
    };
    messages.iter().map(compress_one).collect()
}

// ------------------------------------------------------------------------------------ the examples

/// PD25, PD20, PD21: the bytes that RFC 7692 §7.2.3 shows, in each split and any output.
#[test]
fn message_of_the_rfc_gives_hello() {
    let examples: [&[u8]; 5] = [
        b"\xf2\x48\xcd\xc9\xc9\x07\x00",
        b"\x00\x05\x00\xfa\xff\x48\x65\x6c\x6c\x6f\x00",
        b"\xf3\x48\xcd\xc9\xc9\x07\x00\x00",
        b"\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00",
        b"\xf3\x48\xcd\xc9\xc9\x07\x00", // nothing after BFINAL
    ];
    for message in examples {
        for size in 1..=message.len() {
            for room in 1..6 {
                let mut inflater = inflater(WindowBits::MIN);
                assert_eq!(inflate(&mut inflater, message, &[size], room), ok(b"Hello"));
            }
            assert_eq!(inflate_into_buffer(message, &[size], 5), ok(b"Hello"));
        }
    }
}

/// PD24, PD25: a message that refers to the one before it; PD05: unless the window was reset.
#[test]
fn second_message_refers_to_the_first_inflates_unless_reset() {
    for room in 1..6 {
        let mut inflater = inflater(WindowBits::MIN);
        let first = b"\xf2\x48\xcd\xc9\xc9\x07\x00";
        let second = b"\xf2\x00\x11\x00\x00";
        assert_eq!(inflate(&mut inflater, first, &[1], room), ok(b"Hello"));
        assert_eq!(inflate(&mut inflater, second, &[1], room), ok(b"Hello"));
        inflater.reset();
        let outcome = inflate(&mut inflater, second, &[1], room);
        assert_eq!(outcome.bytes, b"H");
        assert_eq!(outcome.verdict, Err(Malformed));
        // It stays so, until the next stream.
        assert_eq!(
            inflate(&mut inflater, first, &[1], room).verdict,
            Err(Malformed)
        );
        inflater.reset();
        assert_eq!(inflate(&mut inflater, first, &[1], room), ok(b"Hello"));
    }
}

/// PD21: empty, and harmless to what follows.
#[test]
fn empty_messages_between_others_change_nothing() {
    let messages = compress(&[b"one and one", b"", b"one and two"], 6, 15);
    assert_eq!(messages[1], [0x00]);
    let mut inflater = inflater(WindowBits::MAX);
    assert_eq!(inflate(&mut inflater, &[], &[], 9), ok(b""));
    assert_eq!(
        inflate(&mut inflater, &messages[0], &[3], 9),
        ok(b"one and one")
    );
    assert_eq!(inflate(&mut inflater, &[], &[], 9), ok(b""));
    assert_eq!(inflate(&mut inflater, &messages[1], &[], 9), ok(b""));
    assert_eq!(inflate(&mut inflater, &[0x02, 0x00], &[1], 9), ok(b""));
    assert_eq!(
        inflate(&mut inflater, &messages[2], &[3], 9),
        ok(b"one and two")
    );
}

/// PD20: blocks with BFINAL, in the midst of a message and at its end, keep the window.
#[test]
fn blocks_with_bfinal_are_followed_by_others() {
    let hello = b"\xf3\x48\xcd\xc9\xc9\x07\x00"; // "Hello", BFINAL
    let again = b"\xf2\x00\x11\x00\x00"; // "Hello", from the window
    let message = [&hello[..], hello, again].concat();
    let mut inflater = inflater(WindowBits::MIN);
    assert_eq!(
        inflate(&mut inflater, &message, &[1], 4),
        ok(b"HelloHelloHello")
    );
    assert_eq!(
        inflate(&mut inflater, &[&hello[..], &[0]].concat(), &[], 4),
        ok(b"Hello")
    );
    assert_eq!(inflate(&mut inflater, again, &[], 4), ok(b"Hello"));
    // A stored block with BFINAL
    assert_eq!(
        inflate(&mut inflater, b"\x01\x02\x00\xfd\xffok", &[1], 1),
        ok(b"ok")
    );
}

// ------------------------------------------------------------------------------------- the refusals

/// PD28: what ends in the midst of a block is no message, wherever it was cut.
#[test]
fn message_cut_short_is_refused() {
    let original = sample(3000, 7);
    for level in [0, 1, 6, 9] {
        let message = &compress(&[&original], level, 15)[0];
        // The first byte of a stored block is an empty message.
        let least = if level == 0 { 2 } else { 1 };
        for len in least..message.len() {
            let outcome = inflate_once(&message[..len]);
            assert_same_as_zlib(&message[..len], &outcome);
            assert_eq!(
                outcome.verdict,
                Err(Malformed),
                "{len} of {}",
                message.len()
            );
        }
    }
}

/// A block with fixed codes of one literal and one match, then the end of the message.
fn literal_and_match(distance: u32) -> Vec<u8> {
    let (mut bits, mut count) = (0_u128, 0);
    let mut put = |value: u32, len: u32| {
        bits |= u128::from(value) << count;
        count += len;
    };
    let code = |code: u32, len: u32| code.reverse_bits() >> (32 - len);
    put(0b010, 3);
    put(code(0x30 + u32::from(b'a'), 8), 8);
    put(code(1, 7), 7); // length 3
    let symbol = if distance <= 4 {
        distance - 1
    } else {
        let extra = (distance - 1).ilog2() - 1;
        2 * extra + ((distance - 1) >> extra)
    };
    put(code(symbol, 5), 5);
    if distance > 4 {
        let extra = (distance - 1).ilog2() - 1;
        put((distance - 1) & ((1 << extra) - 1), extra);
    }
    put(0, 7); // end of block
    put(0, 3); // a stored block, whose rest is left out
    bits.to_le_bytes()[..count.div_ceil(8) as usize].to_vec()
}

/// PD26, PD29: a distance to before the stream's start is refused, whatever is in the memory.
#[test]
fn distance_before_the_start_is_refused() {
    assert_eq!(inflate_once(&literal_and_match(1)), ok(b"aaaa"));
    for distance in [2, 3, 5, 100, 256, 32768] {
        let message = literal_and_match(distance);
        assert_same_as_zlib(&message, &inflate_once(&message));
        for outcome in [
            inflate_once(&message),
            inflate_into_buffer(&message, &[], 100),
        ] {
            assert_eq!(outcome.bytes, b"a");
            assert_eq!(outcome.verdict, Err(Malformed));
        }
    }
    // A reused window: what was there before the reset is out of reach.
    let mut inflater = inflater(WindowBits::MIN);
    let before = compress(&[&sample(5000, 3)], 6, 9);
    assert!(
        inflate(
            &mut Inflater::new(vec![0; 512], WindowBits::new(9).expect("9")).expect("room"),
            &before[0],
            &[],
            99
        )
        .verdict
        .is_ok()
    );
    assert_eq!(
        inflate(&mut inflater, b"\x01\x02\x00\xfd\xffok", &[], 9),
        ok(b"ok")
    );
    assert_eq!(
        inflate(&mut inflater, &literal_and_match(3), &[], 9),
        ok(b"aoka")
    );
    inflater.reset();
    assert_eq!(
        inflate(&mut inflater, &literal_and_match(3), &[], 9).verdict,
        Err(Malformed)
    );
}

/// PD26: a distance beyond the agreed window is refused, one as far as the window is not, however
/// the output is cut, with a window or without.
#[test]
fn distance_beyond_the_window_is_refused() {
    for bits in 8..=15 {
        let bits = WindowBits::new(bits).expect("8 to 15");
        let size = bits.size();
        // Stored blocks of as many bytes, then a literal and a match: the literal is in between.
        let filler = sample(size + 300, 9);
        let mut prefix = Vec::new();
        for block in filler.chunks(60_000) {
            let len = block.len() as u16;
            prefix.extend([0]);
            prefix.extend(len.to_le_bytes());
            prefix.extend((!len).to_le_bytes());
            prefix.extend(block);
        }
        for (distance, fits) in [(size, true), (size + 1, false), (size - 1, true)] {
            if distance > 1 << 15 {
                continue;
            }
            let message = [&prefix[..], &literal_and_match(distance as u32)].concat();
            let mut expected = [&filler[..], b"a"].concat();
            if fits {
                let from = expected.len() - distance;
                expected.extend_from_within(from..from + 3);
            }
            for room in [1, 7, 255, 256, 257, 5000, 100_000] {
                let mut inflater = inflater(bits);
                let outcome = inflate(&mut inflater, &message, &[1000], room);
                assert_eq!(outcome.bytes, expected, "{bits:?} {distance} {room}");
                assert_eq!(outcome.verdict.is_ok(), fits, "{bits:?} {distance} {room}");
            }
            let mut inflater = Inflater::new([], bits).expect("no window");
            let (mut out, mut filled) = (vec![0; 70_000], 0);
            let result = inflater
                .inflate(&mut &message[..], &mut out, &mut filled)
                .and_then(|_| inflater.finish());
            assert_eq!(result.is_ok(), fits, "{bits:?} {distance}, no window");
            assert_eq!(out[..filled], expected);
        }
    }
}

/// Each rule of RFC 1951 that a block can break.
#[test]
fn malformed_blocks_are_refused() {
    let bad: [(&str, &[u8]); 9] = [
        ("block type 3", b"\x06"),
        ("stored length", b"\x00\x05\x00\xfb\xffHello\x00"),
        ("literal symbol 286", b"\x1a\x03"),
        ("287 literals", b"\xf4\x01\x00\x00\x00\x00\x00\x00\x00\x00"),
        ("31 distances", b"\x04\x1e\x00\x00\x00\x00\x00\x00\x00\x00"),
        (
            "no code lengths at all",
            b"\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00",
        ),
        (
            "code lengths over-subscribed",
            b"\x04\xe0\xff\xff\xff\xff\xff\xff\xff\xff",
        ),
        (
            "repeat of nothing",
            b"\x04\x80\x24\x00\x00\x00\x00\x00\x00\x00\x00",
        ),
        (
            "incomplete code lengths",
            b"\x04\x00\x02\x00\x00\x00\x00\x00\x00\x00\x00\x00",
        ),
    ];
    for (what, message) in bad {
        let outcome = inflate_once(message);
        assert_same_as_zlib(message, &outcome);
        assert_eq!(outcome.verdict, Err(Malformed), "{what}");
    }
}

/// Bits in the order in which they are written.
#[derive(Default)]
struct Bits(Vec<bool>);

impl Bits {
    /// A number, its least significant bit first.
    fn put(&mut self, value: usize, count: usize) {
        self.0.extend((0..count).map(|bit| value >> bit & 1 == 1));
    }

    /// A code, its most significant bit first.
    fn code(&mut self, code: &str) {
        self.0.extend(code.bytes().map(|bit| bit == b'1'));
    }

    fn bytes(&self) -> Vec<u8> {
        let byte = |bits: &[bool]| {
            let bits = bits.iter().rev();
            bits.fold(0, |byte, bit| byte << 1 | u8::from(*bit))
        };
        self.0.chunks(8).map(byte).collect()
    }
}

/// A dynamic block with codes of these lengths for some literals and for distances, then these codes,
/// then the end of the message.
fn dynamic(literals: &[(usize, usize)], distances: &[usize], codes: &[&str]) -> Vec<u8> {
    let mut bits = Bits::default();
    bits.put(0b100, 3);
    bits.put(258 - 257, 5);
    bits.put(distances.len() - 1, 5);
    bits.put(19 - 4, 4);
    // Each length from 0 to 15 has a code of 4 bits, which is the length.
    for symbol in [
        16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15,
    ] {
        bits.put(if symbol < 16 { 4 } else { 0 }, 3);
    }
    for symbol in 0..258 {
        let of_symbol = literals.iter().find(|(of, _)| *of == symbol);
        bits.code(&format!("{:04b}", of_symbol.map_or(0, |(_, len)| *len)));
    }
    for len in distances {
        bits.code(&format!("{len:04b}"));
    }
    for code in codes {
        bits.code(code);
    }
    bits.put(0, 3);
    bits.bytes()
}

/// PD26: a code has just as many symbols as there is room for, or a single one, of one bit (RFC 1951
/// §3.2.7), and whoever uses what is not there is refused.
#[test]
fn codes_that_are_not_complete_are_refused_but_for_a_lone_one() {
    // a, the end, and length 3
    let literals = [(97, 2), (256, 2), (257, 1)];
    let (length, a, end) = ("0", "10", "11");
    let (ok_aaaa, bad_a) = ((&b"aaaa"[..], true), (&b"a"[..], false));
    let (ok_a, ok_none, bad) = ((&b"a"[..], true), (&b""[..], true), (&b""[..], false));
    type Case<'a> = (&'a str, Vec<u8>, (&'a [u8], bool));
    let cases: [Case<'_>; 16] = [
        (
            "lone distance",
            dynamic(&literals, &[1], &[a, length, "0", end]),
            ok_aaaa,
        ),
        (
            "not the lone one",
            dynamic(&literals, &[1], &[a, length, "1", end]),
            bad_a,
        ),
        (
            "second alone",
            dynamic(&literals, &[0, 1], &[a, length, "0", end]),
            bad_a,
        ),
        ("no distance", dynamic(&literals, &[0], &[a, end]), ok_a),
        (
            "no distance, used",
            dynamic(&literals, &[0], &[a, length, "0", end]),
            bad_a,
        ),
        ("lone, 2 bits", dynamic(&literals, &[2], &[a, end]), bad),
        ("lone, 15 bits", dynamic(&literals, &[15], &[a, end]), bad),
        ("incomplete", dynamic(&literals, &[1, 2], &[a, end]), bad),
        ("complete", dynamic(&literals, &[1, 2, 2], &[a, end]), ok_a),
        ("too many", dynamic(&literals, &[1, 1, 1], &[a, end]), bad),
        (
            "too many, long",
            dynamic(&literals, &[1, 2, 15, 15, 2], &[a, end]),
            bad,
        ),
        ("only the end", dynamic(&[(256, 1)], &[0], &["0"]), ok_none),
        ("not the end", dynamic(&[(256, 1)], &[0], &["1"]), bad),
        (
            "only the end, 2 bits",
            dynamic(&[(256, 2)], &[0], &["00"]),
            bad,
        ),
        (
            "incomplete literals",
            dynamic(&[(97, 1), (256, 2)], &[0], &["0", "10"]),
            bad,
        ),
        ("no end", dynamic(&[(97, 1), (98, 1)], &[0], &["0"]), bad),
    ];
    for (what, message, (bytes, is_ok)) in cases {
        let outcome = inflate_once(&message);
        assert_same_as_zlib(&message, &outcome);
        assert_eq!(outcome.bytes, bytes, "{what}");
        assert_eq!(outcome.verdict.is_ok(), is_ok, "{what}");
        for room in [1, 300] {
            let split = inflate(&mut inflater(WindowBits::MIN), &message, &[1], room);
            assert_eq!(split, outcome, "{what}");
        }
    }
}

/// PD26: symbols that no block has, in the fixed codes; and lengths beyond the last one.
#[test]
fn symbols_and_lengths_that_are_not_there_are_refused() {
    let fixed = |codes: &[&str]| {
        let mut bits = Bits::default();
        bits.put(0b010, 3);
        bits.code("10010001"); // a
        codes.iter().for_each(|code| bits.code(code));
        bits.code("0000000");
        bits.put(0, 3);
        bits.bytes()
    };
    let length = "0000001";
    assert_eq!(inflate_once(&fixed(&[length, "00000"])), ok(b"aaaa"));
    for codes in [
        &[length, "11110"][..],
        &[length, "11111"],
        &["11000110"],
        &["11000111"],
    ] {
        // Long enough for the fast way, too
        for message in [fixed(codes), [fixed(codes), vec![0; 400]].concat()] {
            let outcome = inflate_once(&message);
            assert_same_as_zlib(&message, &outcome);
            assert_eq!(
                (&outcome.bytes[..], outcome.verdict),
                (&b"a"[..], Err(Malformed))
            );
        }
    }
    // Zeros 138 times, and so many more that they are all 258, or one more
    for (more, is_ok) in [(118, true), (119, false)] {
        let mut bits = Bits::default();
        bits.put(0b100, 3);
        bits.put(0, 5 + 5);
        bits.put(18 - 4, 4);
        for symbol in [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1] {
            bits.put(usize::from(symbol == 18 || symbol == 1), 3);
        }
        for times in [138, more] {
            bits.code("1");
            bits.put(times - 11, 7);
        }
        // The end has 1 bit, the distance too; or there is one length too many.
        bits.code("000");
        bits.put(0, 3);
        let message = bits.bytes();
        let outcome = inflate_once(&message);
        assert_same_as_zlib(&message, &outcome);
        assert_eq!(outcome.verdict.is_ok(), is_ok, "{more}");
    }
}

/// A window is as large as was agreed, or there is none.
#[test]
fn window_too_small_is_refused() {
    for bits in 8..=15 {
        let bits = WindowBits::new(bits).expect("8 to 15");
        assert!(Inflater::new(vec![0; bits.size()], bits).is_ok());
        assert!(Inflater::new(vec![0; bits.size() + 1], bits).is_ok());
        assert!(Inflater::new([], bits).is_ok());
        assert_eq!(
            Inflater::new(vec![0; bits.size() - 1], bits).err(),
            Some(NoRoom)
        );
        assert_eq!(Inflater::new([0], bits).err(), Some(NoRoom));
    }
    for bits in (0..8).chain(16..=255) {
        assert_eq!(WindowBits::new(bits), None);
    }
}

/// The state beside the window.
#[test]
fn inflater_takes_two_kib_beside_its_window() {
    assert!(
        size_of::<Inflater<[u8; 0]>>() <= 2048,
        "{}",
        size_of::<Inflater<[u8; 0]>>()
    );
}

// ------------------------------------------------------------------------------- beside the others

/// Each level and window of zlib, with context taken over; pieces of all sizes.
#[test]
fn streams_of_zlib_inflate_in_any_pieces() {
    for bits in 9..=15 {
        let messages = [
            sample(40_000, 1),
            sample(10, 2),
            sample(3_000, 1),
            vec![],
            sample(70_000, 4),
        ];
        let messages: Vec<&[u8]> = messages.iter().map(Vec::as_slice).collect();
        for level in [0, 1, 3, 6, 9] {
            let compressed = compress(&messages, level, bits);
            for (size, room) in [
                (1, 1),
                (1, 4096),
                (7, 300),
                (1000, 1),
                (100_000, 274),
                (100_000, 275),
                (333, 100_000),
            ] {
                let mut inflater = inflater(WindowBits::new(bits).expect("9 to 15"));
                for (message, compressed) in messages.iter().zip(&compressed) {
                    let outcome = inflate(&mut inflater, compressed, &[size], room);
                    assert!(
                        outcome == ok(message),
                        "{bits} bits, level {level}, {size}, {room}"
                    );
                }
            }
        }
    }
}

fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig {
        cases,
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(cases(300))]

    /// PD26: bytes that nobody compressed: zlib comes to the same bytes and the same verdict, and
    /// so do all pieces.
    #[test]
    fn any_bytes_are_judged_as_zlib_does(
        message in proptest::collection::vec(any::<u8>(), 0..200),
        sizes in proptest::collection::vec(1_usize..40, 1..5),
        room in 1_usize..400,
    ) {
        let outcome = inflate_once(&message);
        assert_same_as_zlib(&message, &outcome);
        prop_assert_eq!(&inflate(&mut inflater(WindowBits::MAX), &message, &sizes, room), &outcome);
        prop_assert_eq!(&inflate_into_buffer(&message, &sizes, 1 << 20), &outcome);
    }

    /// The same with bytes that are nearly right.
    #[test]
    fn damaged_streams_are_judged_as_zlib_does(
        len in 0_usize..5000,
        seed in 1_u64..,
        level in 0_u32..=9,
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        sizes in proptest::collection::vec(1_usize..400, 1..5),
        room in 1_usize..4000,
    ) {
        let mut message = compress(&[&sample(len, seed)], level, 15).remove(0);
        for (at, xor) in damage {
            // Damage at the start hits the codes more often.
            let at = at.index(message.len());
            message[at] ^= xor;
        }
        let outcome = inflate_once(&message);
        assert_same_as_zlib(&message, &outcome);
        prop_assert_eq!(&inflate(&mut inflater(WindowBits::MAX), &message, &sizes, room), &outcome);
        prop_assert_eq!(&inflate_into_buffer(&message, &sizes, 1 << 21), &outcome);
    }

    /// miniz_oxide inflates what zlib compressed to the same.
    #[test]
    fn sound_streams_are_inflated_as_miniz_oxide_does(
        len in 0_usize..30_000,
        seed in 1_u64..,
        level in 0_u32..=9,
    ) {
        let original = sample(len, seed);
        let message = compress(&[&original], level, 15).remove(0);
        let last = [&message[..], &TAIL, &[0x03, 0x00]].concat();
        prop_assert_eq!(miniz_oxide::inflate::decompress_to_vec(&last).ok(), Some(original.clone()));
        prop_assert_eq!(inflate_once(&message), ok(&original));
    }
}
