//! `deflate`: the inflater beside zlib-rs and miniz_oxide, the deflater read by all three.
//!
//! The first octet of an input chooses: an even one inflates what follows, an odd one compresses it.

use flate2::{Decompress, FlushDecompress, Status};
use miniz_oxide::inflate::TINFLStatus;
use miniz_oxide::inflate::core::inflate_flags::{
    TINFL_FLAG_HAS_MORE_INPUT, TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF,
};
use miniz_oxide::inflate::core::{DecompressorOxide, decompress};
use motews::deflate::{Deflated, Deflater, Inflated, Inflater, Level, Malformed, WindowBits};

use super::pieces;

/// The most that is inflated, in octets.
const MAX_LEN: usize = 1 << 18;

/// Any bytes as a compressed message, or as messages to be compressed.
///
/// # Panics
/// Where a property does not hold.
pub fn check(data: &[u8]) {
    match data {
        [choice, sizes @ ..] if choice & 1 == 0 => {
            if let Some((sizes, message)) = sizes.split_first_chunk::<4>() {
                inflate(message, *sizes);
            }
        }
        [_, bits, level, memory, sizes @ ..] => {
            if let Some((sizes, messages)) = sizes.split_first_chunk::<4>() {
                deflate(messages, *bits, *level, *memory, *sizes);
            }
        }
        _ => {}
    }
}

/// What came of a message, and of the bytes before the fault if there is one.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    bytes: Vec<u8>,
    verdict: Result<(), Malformed>,
    /// It is longer than [`MAX_LEN`].
    too_long: bool,
}

/// Inflates a message in pieces, into pieces of `room` bytes.
fn inflate_in(message: &[u8], sizes: &[u8], room: usize) -> Outcome {
    let window = vec![0xEE; WindowBits::MAX.size()];
    let mut inflater = Inflater::new(window, WindowBits::MAX).expect("there is room");
    let mut out = vec![0xEE; room];
    let mut bytes = Vec::new();
    for piece in pieces(message.len(), sizes) {
        let mut input = &message[piece];
        loop {
            let mut filled = 0;
            let result = inflater.inflate(&mut input, &mut out, &mut filled);
            bytes.extend_from_slice(&out[..filled]);
            let too_long = bytes.len() >= MAX_LEN;
            match result {
                Ok(Inflated::All) => break,
                Ok(Inflated::Full) if !too_long => assert_eq!(filled, room, "it was full"),
                result => {
                    bytes.truncate(MAX_LEN);
                    let verdict = result.map(|_| ());
                    return Outcome {
                        bytes,
                        verdict,
                        too_long,
                    };
                }
            }
        }
        assert!(input.is_empty(), "all of it was taken");
    }
    let verdict = inflater.finish();
    Outcome {
        bytes,
        verdict,
        too_long: false,
    }
}

/// The same bytes and the same verdict in any pieces, and as zlib-rs and miniz_oxide have it.
fn inflate(message: &[u8], [a, b, room, more]: [u8; 4]) {
    let whole = inflate_in(message, &[], MAX_LEN + 1);
    let room = usize::from(room) + 256 * usize::from(more & 7) + 1;
    let split = inflate_in(message, &[a, b], room);
    assert_eq!(split.too_long, whole.too_long);
    if whole.too_long {
        return;
    }
    assert_eq!(split, whole);
    if message.is_empty() {
        assert_eq!(whole.verdict, Ok(()));
        return;
    }

    let mut zlib = Decompress::new_with_window_bits(false, 15);
    let mut out = Vec::with_capacity(MAX_LEN + 1);
    match zlib.decompress_vec(message, &mut out, FlushDecompress::Sync) {
        Err(_) => {
            assert_eq!(whole.bytes, out);
            assert_eq!(whole.verdict, Err(Malformed));
        }
        // zlib looks no further than a block with BFINAL.
        Ok(Status::StreamEnd) => assert!(whole.bytes.starts_with(&out)),
        Ok(_) => {
            assert_eq!(whole.bytes, out);
            // What was left out, and an empty last block, which ends the stream if it is read as one.
            let end = [0, 0, 0xFF, 0xFF, 1, 0, 0, 0xFF, 0xFF];
            let ended = zlib.decompress_vec(&end, &mut out, FlushDecompress::Sync);
            // Or the block that was left out was the last one itself.
            let taken = zlib.total_in() - message.len() as u64;
            let nothing_out = out.len() == whole.bytes.len();
            let is_whole = ended.is_ok_and(|status| status == Status::StreamEnd)
                && matches!(taken, 4 | 9)
                && nothing_out;
            assert_eq!(whole.verdict.is_ok(), is_whole);
        }
    }

    let mut out = vec![0; MAX_LEN + 1];
    let flags = TINFL_FLAG_HAS_MORE_INPUT | TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF;
    let (status, _, len) = decompress(&mut DecompressorOxide::new(), message, &mut out, 0, flags);
    // It may hold back what it has decoded, and judges some faults later.
    assert!(whole.bytes.starts_with(&out[..len]) || whole.verdict.is_err());
    if status == TINFLStatus::Failed {
        assert_eq!(whole.verdict, Err(Malformed));
    }
}

/// What is compressed is read by all three, with no more window than was agreed.
fn deflate(data: &[u8], bits: u8, level: u8, memory: u8, [a, b, room, at]: [u8; 4]) {
    let bits = WindowBits::new(8 + bits % 8).expect("8 to 15");
    let level = [Level::Fast, Level::Default, Level::Best][usize::from(level % 3)];
    let least = Deflater::<Vec<u8>>::min_memory(bits);
    let full = Deflater::<Vec<u8>>::full_memory(bits);
    let memory = least + (full - least) * usize::from(memory) / 255;
    let mut deflater = Deflater::new(vec![0xEE; memory], bits, level).expect("there is room");
    let mut inflater = Inflater::new(vec![0xEE; bits.size()], bits).expect("there is room");
    let mut zlib = Decompress::new_with_window_bits(false, bits.bits().max(9));
    let mut all = Vec::new();

    // Two messages, and the first again, which refers to itself.
    let (first, second) = data.split_at(data.len() * usize::from(at) / 256);
    let mut out = vec![0xEE; usize::from(room) + 1];
    for message in [first, second, first] {
        let mut compressed = Vec::new();
        let mut parts = pieces(message.len(), &[a, b]).into_iter().peekable();
        while let Some(part) = parts.next() {
            let mut input = &message[part];
            let last = parts.peek().is_none();
            loop {
                let mut filled = 0;
                let done = deflater.deflate(&mut input, last, &mut out, &mut filled);
                compressed.extend_from_slice(&out[..filled]);
                match done {
                    Deflated::All => break,
                    Deflated::Full => assert_eq!(filled, out.len(), "it is full"),
                }
            }
            assert!(input.is_empty(), "all of it was taken");
        }

        let (mut inflated, mut filled) = (vec![0; message.len()], 0);
        let result = inflater.inflate(&mut &compressed[..], &mut inflated, &mut filled);
        assert_eq!(result, Ok(Inflated::All));
        assert_eq!(inflater.finish(), Ok(()));
        assert_eq!(inflated[..filled], *message);

        let mut inflated = Vec::with_capacity(message.len() + 64);
        for part in [&compressed[..], &[0, 0, 0xFF, 0xFF]] {
            let result = zlib.decompress_vec(part, &mut inflated, FlushDecompress::Sync);
            assert!(result.is_ok(), "zlib reads it");
        }
        assert_eq!(inflated, message);
        all.extend(compressed);
        all.extend([0, 0, 0xFF, 0xFF]);
    }
    all.extend([0x03, 0x00]);
    let inflated = miniz_oxide::inflate::decompress_to_vec(&all).expect("miniz_oxide reads it");
    assert_eq!(inflated, [first, second, first].concat());
}
