//! The deflater: what it writes, zlib-rs, miniz_oxide and the inflater here read.
#![cfg(feature = "deflate")]
#![expect(clippy::indexing_slicing, reason = "a test may panic")]

mod deflate_support;

use flate2::{Decompress, FlushDecompress};
use motews::NoRoom;
use motews::deflate::{Deflated, Deflater, Inflated, Inflater, Level, WindowBits};
use proptest::prelude::*;

use deflate_support::sample;

const TAIL: [u8; 4] = [0x00, 0x00, 0xFF, 0xFF];
const LEVELS: [Level; 3] = [Level::Fast, Level::Default, Level::Best];

type Any = Deflater<Vec<u8>>;

fn all_bits() -> impl Iterator<Item = WindowBits> {
    (8..=15).filter_map(WindowBits::new)
}

/// A deflater in memory that something else was in before.
fn deflater(bits: WindowBits, memory: usize, level: Level) -> Any {
    Deflater::new(vec![0xA5; memory], bits, level).expect("there is room")
}

/// Memories from the least to more than enough.
fn memories(bits: WindowBits) -> [usize; 5] {
    let (least, full) = (Any::min_memory(bits), Any::full_memory(bits));
    [
        least,
        least + 301,
        least + (full - least) / 3,
        full,
        full + 99,
    ]
}

/// Compresses a message that comes in pieces of these sizes into pieces of `room` bytes.
fn deflate(deflater: &mut Any, message: &[u8], sizes: &[usize], room: usize) -> Vec<u8> {
    let mut compressed = Vec::new();
    let mut out = vec![0xEE; room];
    let mut rest = message;
    let mut sizes = sizes.iter().cycle();
    loop {
        let len = sizes
            .next()
            .map_or(rest.len(), |size| *size)
            .min(rest.len());
        let (mut piece, after) = rest.split_at(len);
        rest = after;
        loop {
            let mut filled = 0;
            let done = deflater.deflate(&mut piece, rest.is_empty(), &mut out, &mut filled);
            compressed.extend(&out[..filled]);
            if done == Deflated::All {
                break;
            }
            assert_eq!(filled, room, "the output is full");
        }
        assert!(piece.is_empty());
        if rest.is_empty() {
            return compressed;
        }
    }
}

/// Inflates messages of one stream with all three, with a window of just that size.
fn assert_inflates(bits: WindowBits, messages: &[&[u8]], compressed: &[Vec<u8>]) {
    let mut ours = Inflater::new(vec![0; bits.size()], bits).expect("there is room");
    // zlib has no window of 256 bytes.
    let mut zlib = Decompress::new_with_window_bits(false, bits.bits().max(9));
    for (message, compressed) in messages.iter().zip(compressed) {
        let mut out = vec![0; message.len() + 1];
        let mut filled = 0;
        let mut input = &compressed[..];
        let done = ours.inflate(&mut input, &mut out, &mut filled);
        assert_eq!(done, Ok(Inflated::All));
        assert_eq!(ours.finish(), Ok(()));
        assert!(&out[..filled] == *message);

        let mut out = Vec::with_capacity(message.len() + 64);
        for part in [&compressed[..], &TAIL] {
            zlib.decompress_vec(part, &mut out, FlushDecompress::Sync)
                .expect("zlib reads it");
        }
        assert!(out == *message);
    }
    let mut all = Vec::new();
    for compressed in compressed {
        all.extend(compressed);
        all.extend(TAIL);
    }
    all.extend([0x03, 0x00]);
    let inflated = miniz_oxide::inflate::decompress_to_vec(&all).expect("miniz_oxide reads it");
    assert!(inflated == messages.concat());
}

fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    core::iter::repeat_with(next).take(len).collect()
}

/// PD17, PD21, PD25: what RFC 7692 §7.2.3 shows.
#[test]
fn hello_is_compressed_as_the_rfc_shows() {
    for bits in all_bits() {
        for memory in memories(bits) {
            for level in LEVELS {
                let mut deflater = deflater(bits, memory, level);
                for size in 1..6 {
                    deflater.reset();
                    let hello = deflate(&mut deflater, b"Hello", &[size], 1);
                    assert_eq!(hello, b"\xf2\x48\xcd\xc9\xc9\x07\x00");
                    assert_eq!(deflate(&mut deflater, b"", &[], 1), b"\x00");
                    let again = deflate(&mut deflater, b"Hello", &[size], 1);
                    assert_eq!(again, b"\x02\x13\x00\x00", "it refers to the first");
                }
            }
        }
    }
}

/// PD09, PD12, PD24: every window, memory and level, streams longer than the window; others read them.
#[test]
fn streams_of_every_window_are_read_by_others() {
    let long = sample(70_000, 1);
    let messages = [
        sample(5, 1),
        sample(9_000, 2),
        vec![],
        long,
        sample(9_000, 2),
        noise(3000),
    ];
    let messages: Vec<&[u8]> = messages.iter().map(Vec::as_slice).collect();
    for bits in all_bits() {
        for memory in memories(bits) {
            for level in LEVELS {
                let mut deflater = deflater(bits, memory, level);
                let compress = |message: &&[u8]| deflate(&mut deflater, message, &[], 1 << 20);
                let compressed: Vec<Vec<u8>> = messages.iter().map(compress).collect();
                assert_inflates(bits, &messages, &compressed);
            }
        }
    }
}

/// The same bytes come, however the output is cut; and all pieces of input give something that is
/// read as the message.
#[test]
fn pieces_of_any_size_are_the_same_message() {
    let message = sample(30_000, 5);
    for bits in [8, 11, 15].into_iter().filter_map(WindowBits::new) {
        for memory in memories(bits) {
            let mut deflater = deflater(bits, memory, Level::Default);
            let whole = deflate(&mut deflater, &message, &[], 1 << 20);
            for room in [1, 2, 7, 8, 9, 64, 1000] {
                deflater.reset();
                assert!(
                    deflate(&mut deflater, &message, &[], room) == whole,
                    "{room}"
                );
            }
            for size in [1, 2, 63, 64, 65, 257, 5000] {
                deflater.reset();
                let compressed = deflate(&mut deflater, &message, &[size], 100);
                assert_inflates(bits, &[&message], &[compressed]);
            }
        }
    }
}

/// What cannot be compressed is stored: 5 bytes a block, and one at the end.
#[test]
fn noise_does_not_grow() {
    for bits in all_bits() {
        for memory in memories(bits) {
            for level in LEVELS {
                for len in [1, 2, 10, 255, 256, 257, 1000, 70_000] {
                    let message = noise(len);
                    let mut deflater = deflater(bits, memory, level);
                    let compressed = deflate(&mut deflater, &message, &[], 1 << 20);
                    let blocks = len.div_ceil(bits.size()).max(1);
                    assert!(
                        compressed.len() <= len + 5 * blocks + 1,
                        "{} of {len}, {bits:?}, {memory}, {level:?}",
                        compressed.len()
                    );
                    assert_inflates(bits, &[&message], &[compressed]);
                }
            }
        }
    }
}

/// Matches that are hardly worth it, between bytes that have long codes: the block ends where there is
/// no memory for more matches, and is stored.
#[test]
fn short_blocks_do_not_grow_by_a_twentieth() {
    for bits in all_bits() {
        let size = bits.size();
        let mut message = noise(size.min(4096));
        message.iter_mut().for_each(|byte| *byte |= 0x80);
        let far = message.len() - 40;
        while message.len() < 3 * size {
            for byte in noise(5) {
                message.push(byte | 0x80);
            }
            let from = message.len() - far;
            message.extend_from_within(from..from + 3);
        }
        for level in LEVELS {
            let mut deflater = deflater(bits, Any::min_memory(bits), level);
            let compressed = deflate(&mut deflater, &message, &[], 1 << 20);
            assert!(compressed.len() <= message.len() + message.len() / 20 + 7);
            assert_inflates(bits, &[&message], &[compressed]);
        }
    }
}

/// PD05, PD07: after a reset nothing refers to what came before.
#[test]
fn reset_forgets_all_messages_before() {
    let message = sample(2000, 3);
    for bits in all_bits() {
        for memory in memories(bits) {
            let mut deflater = deflater(bits, memory, Level::Best);
            let first = deflate(&mut deflater, &message, &[], 1 << 20);
            let second = deflate(&mut deflater, &message, &[], 1 << 20);
            if bits.size() > 2000 && memory >= Any::full_memory(bits) {
                assert!(second.len() < first.len() / 4, "it refers to the first");
            }
            deflater.reset();
            let alone = deflate(&mut deflater, &message, &[], 1 << 20);
            assert_inflates(bits, &[&message], &[alone]);
        }
    }
}

/// The memory is as large as it must be, or refused.
#[test]
fn memory_too_small_is_refused() {
    for bits in all_bits() {
        let least = Any::min_memory(bits);
        assert_eq!(
            Deflater::new(vec![0; least - 1], bits, Level::Fast).err(),
            Some(NoRoom)
        );
        assert_eq!(Deflater::new([0; 0], bits, Level::Fast).err(), Some(NoRoom));
    }
    // As the documentation has it
    let memories = all_bits().map(|bits| (Any::min_memory(bits), Any::full_memory(bits)));
    let expected = [
        (704, 4_304),
        (1_216, 6_096),
        (2_240, 9_680),
        (4_288, 16_848),
        (8_384, 31_184),
        (16_576, 59_856),
        (32_960, 117_200),
        (65_728, 231_888),
    ];
    assert!(memories.eq(expected));
    let state = size_of::<Deflater<[u8; 0]>>();
    assert!(state <= 136, "{state}");
    assert!(size_of::<Deflater<[u8; 704]>>() <= 1024);
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 100,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    /// Any messages, memory, level and pieces.
    #[test]
    fn any_messages_are_read_by_others(
        messages in proptest::collection::vec(
            prop_oneof![
                (0_usize..6000, 1_u64..).prop_map(|(len, seed)| sample(len, seed)),
                proptest::collection::vec(any::<u8>(), 0..300),
                proptest::collection::vec(0_u8..3, 0..3000),
            ],
            1..5,
        ),
        bits in 8_u8..=15,
        more in 0_usize..20_000,
        level in 0_usize..3,
        sizes in proptest::collection::vec(1_usize..4000, 1..5),
        room in 1_usize..4000,
    ) {
        let bits = WindowBits::new(bits).expect("8 to 15");
        let mut deflater = deflater(bits, Any::min_memory(bits) + more, LEVELS[level]);
        let compress = |message: &Vec<u8>| deflate(&mut deflater, message, &sizes, room);
        let compressed: Vec<Vec<u8>> = messages.iter().map(compress).collect();
        let messages: Vec<&[u8]> = messages.iter().map(Vec::as_slice).collect();
        assert_inflates(bits, &messages, &compressed);
        for (message, compressed) in messages.iter().zip(&compressed) {
            // 5 bytes for a block of a hundred, and at the end
            prop_assert!(compressed.len() <= message.len() + message.len() / 20 + 7);
        }
    }
}
