//! `deflate`: the inflater beside zlib-rs and miniz_oxide, the deflater read by all three.
//!
//! The first byte of an input chooses: an even one inflates what follows, an odd one compresses it.
//! The window's size is in its next three bits, or in the second byte; what happens between messages
//! in its bits 4 and 5, and whether they are longer than the input in its bits 6 and 7.

use std::collections::HashMap;

use flate2::{Decompress, FlushDecompress, Status};
use miniz_oxide::inflate::TINFLStatus;
use miniz_oxide::inflate::core::inflate_flags::{
    TINFL_FLAG_HAS_MORE_INPUT, TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF,
};
use miniz_oxide::inflate::core::{DecompressorOxide, decompress};
use miniz_oxide::inflate::decompress_to_vec;
use motews::deflate::{Deflated, Deflater, Inflated, Inflater, Level, Malformed, WindowBits};

use super::pieces;

/// The most that is inflated, in bytes.
const MAX_LEN: usize = 1 << 18;
/// The most that is inflated as slowly as can be.
const MAX_LEN_SLOWLY: usize = 1 << 15;
/// What a sender leaves out at a message's end (RFC 7692 §7.2.1).
const TAIL: [u8; 4] = [0x00, 0x00, 0xFF, 0xFF];
/// An empty last block.
const LAST: [u8; 2] = [0x03, 0x00];

/// Any bytes as a compressed message, or as messages to be compressed.
///
/// # Panics
/// Where a property does not hold.
pub fn check(data: &[u8]) {
    match data {
        [choice, sizes @ ..] if choice & 1 == 0 => {
            if let Some((sizes, message)) = sizes.split_first_chunk::<4>() {
                inflate(message, *sizes);
                inflate_at(message, window_bits(7 - (choice >> 1 & 7)), *sizes);
            }
        }
        [choice, bits, level, memory, sizes @ ..] => {
            if let Some((sizes, messages)) = sizes.split_first_chunk::<4>() {
                let between = match choice >> 4 & 3 {
                    0 | 1 => Between::Takeover,
                    2 => Between::Reset,
                    _ => Between::Renew,
                };
                let longer = match choice >> 6 {
                    3 => Some(grown(messages)),
                    _ => None,
                };
                let messages = longer.as_deref().unwrap_or(messages);
                deflate(messages, *bits, *level, *memory, *sizes, between);
            }
        }
        _ => {}
    }
}

fn window_bits(number: u8) -> WindowBits {
    WindowBits::new(8 + number % 8).expect("8 to 15")
}

/// Many times the same, with something else each time: more than a window.
fn grown(data: &[u8]) -> Vec<u8> {
    let times = (3 << 15) / data.len().max(2000);
    let changed = |time: usize| {
        let bytes = data.iter().enumerate();
        bytes.map(move |(at, byte)| match at % 7 == time % 7 {
            true => byte.wrapping_add(time as u8),
            false => *byte,
        })
    };
    (0..times).flat_map(changed).collect()
}

/// An inflater in memory that something else was in before.
fn inflater(bits: WindowBits) -> Inflater<Vec<u8>> {
    Inflater::new(vec![0xEE; bits.size()], bits).expect("there is room")
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
fn inflate_in(
    inflater: &mut Inflater<Vec<u8>>,
    message: &[u8],
    sizes: &[u8],
    room: usize,
) -> Outcome {
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

/// What zlib-rs makes of a message.
#[derive(Debug, PartialEq, Eq)]
enum Zlib {
    /// It ends where the empty stored block is to follow.
    Whole,
    /// It is malformed, or ends elsewhere.
    Faulty,
    /// There was a block with BFINAL; zlib looks no further.
    Final,
}

/// Inflates a message by zlib-rs, whose window is 32 KiB whatever it is told.
fn zlib(message: &[u8]) -> (Vec<u8>, Zlib) {
    let mut zlib = Decompress::new_with_window_bits(false, 15);
    let mut bytes = Vec::with_capacity(MAX_LEN + 1);
    let inflated = zlib.decompress_vec(message, &mut bytes, FlushDecompress::Sync);
    let len = bytes.len();
    let verdict = match inflated {
        Err(_) => Zlib::Faulty,
        Ok(Status::StreamEnd) => Zlib::Final,
        Ok(_) => {
            // What was left out, and an empty last block, which ends the stream if it is read as one.
            // Or the block that was left out was the last one itself.
            let end = [&TAIL[..], &[1, 0, 0, 0xFF, 0xFF]].concat();
            let ended = zlib.decompress_vec(&end, &mut bytes, FlushDecompress::Sync);
            let taken = zlib.total_in() - message.len() as u64;
            match ended {
                Ok(Status::StreamEnd) if matches!(taken, 4 | 9) && bytes.len() == len => {
                    Zlib::Whole
                }
                _ => Zlib::Faulty,
            }
        }
    };
    bytes.truncate(len);
    (bytes, verdict)
}

/// The same as zlib-rs has it.
fn assert_same_as_zlib(ours: &Outcome, (bytes, verdict): (Vec<u8>, Zlib)) {
    match verdict {
        Zlib::Final => assert!(ours.bytes.starts_with(&bytes)),
        Zlib::Whole => {
            assert_eq!(ours.bytes, bytes);
            assert_eq!(ours.verdict, Ok(()));
        }
        Zlib::Faulty => {
            assert_eq!(ours.bytes, bytes);
            assert_eq!(ours.verdict, Err(Malformed));
        }
    }
}

/// The same bytes and the same verdict in any pieces, and as zlib-rs and miniz_oxide have it.
fn inflate(message: &[u8], [a, b, room, more]: [u8; 4]) {
    let mut inflater = inflater(WindowBits::MAX);
    let whole = inflate_in(&mut inflater, message, &[], MAX_LEN + 1);
    let room = usize::from(room) + 256 * usize::from(more & 7) + 1;
    inflater.reset();
    let split = inflate_in(&mut inflater, message, &[a, b], room);
    assert_eq!(split.too_long, whole.too_long);
    if whole.too_long {
        return;
    }
    assert_eq!(split, whole);
    if message.is_empty() {
        assert_eq!(whole.verdict, Ok(()));
        return;
    }
    assert_same_as_zlib(&whole, zlib(message));

    let mut out = vec![0; MAX_LEN + 1];
    let flags = TINFL_FLAG_HAS_MORE_INPUT | TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF;
    let (status, _, len) = decompress(&mut DecompressorOxide::new(), message, &mut out, 0, flags);
    // It may hold back what it has decoded, and judges some faults later.
    assert!(whole.bytes.starts_with(&out[..len]) || whole.verdict.is_err());
    if status == TINFLStatus::Failed {
        assert_eq!(whole.verdict, Err(Malformed));
    }
    // It looks no further than a block with BFINAL, either.
    if whole.verdict.is_ok() && status != TINFLStatus::Done {
        let all = decompress_to_vec(&[message, &TAIL, &LAST].concat());
        assert_eq!(all.expect("miniz_oxide reads it"), whole.bytes);
    }
}

/// The same with a window of `bits`, in memory that another stream has used.
fn inflate_at(message: &[u8], bits: WindowBits, [a, b, room, more]: [u8; 4]) {
    let whole = inflate_in(&mut inflater(bits), message, &[], MAX_LEN + 1);
    let mut reused = inflater(WindowBits::MAX);
    let room = usize::from(room) + 256 * usize::from(more & 7) + 1;
    for _ in 0..2 {
        // The second time, the stream before ended in the midst of anything.
        inflate_in(&mut reused, message, &[a], room);
        reused.reset_with(bits).expect("there is room");
        let split = inflate_in(&mut reused, message, &[a, b], room);
        assert_eq!(split.too_long, whole.too_long);
        if !whole.too_long {
            assert_eq!(split, whole);
        }
        reused.reset();
        let half = message.len() / 2;
        inflate_in(&mut reused, &message[..half], &[b], room);
        reused.reset_with(bits).expect("there is room");
    }
    if whole.bytes.len() <= MAX_LEN_SLOWLY {
        let mut bytes = Vec::new();
        let is_right = slowly(message, bits, &mut bytes).is_some();
        assert_eq!(whole.bytes, bytes);
        assert_eq!(whole.verdict.is_ok(), is_right);
    }
}

/// Inflates as RFC 1951 and RFC 7692 have it, word for word; `None` where there is a fault.
fn slowly(message: &[u8], window: WindowBits, out: &mut Vec<u8>) -> Option<()> {
    let mut at = 0;
    let take = |at: &mut usize, count: u32| {
        (0..count).try_fold(0, |value, n| {
            let bit = message.get(*at / 8)? >> (*at % 8) & 1;
            *at += 1;
            Some(value | usize::from(bit) << n)
        })
    };
    let symbol = |at: &mut usize, codes: &Codes| {
        let mut code = 0;
        for len in 1..=15 {
            code = code << 1 | take(at, 1)?;
            if let Some(symbol) = codes.get(&(len, code)) {
                return Some(*symbol);
            }
        }
        None
    };
    let mut may_end = true;
    loop {
        if may_end && at == 8 * message.len() {
            return Some(());
        }
        let is_last = take(&mut at, 1)? == 1;
        let (literals, distances);
        match take(&mut at, 2)? {
            0 => {
                at = at.next_multiple_of(8);
                if at == 8 * message.len() {
                    return Some(()); // 00 00 FF FF is left out.
                }
                let len = take(&mut at, 16)?;
                if take(&mut at, 16)? != len ^ 0xFFFF {
                    return None;
                }
                for _ in 0..len {
                    out.push(take(&mut at, 8)? as u8);
                }
                may_end = is_last;
                continue;
            }
            1 => {
                let fixed = [(144, 8), (112, 9), (24, 7), (8, 8)];
                let lengths = fixed.map(|(times, len)| vec![len; times]).concat();
                literals = codes(&lengths, true)?;
                distances = codes(&[5; 32], true)?;
            }
            2 => {
                let literal_count = take(&mut at, 5)? + 257;
                let distance_count = take(&mut at, 5)? + 1;
                let count = take(&mut at, 4)? + 4;
                if literal_count > 286 || distance_count > 30 {
                    return None;
                }
                let order = [
                    16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15,
                ];
                let mut lengths = vec![0; 19];
                for place in &order[..count] {
                    lengths[*place] = take(&mut at, 3)?;
                }
                let of_lengths = codes(&lengths, true)?;
                lengths.clear();
                while lengths.len() < literal_count + distance_count {
                    let (value, times) = match symbol(&mut at, &of_lengths)? {
                        16 => (*lengths.last()?, 3 + take(&mut at, 2)?),
                        17 => (0, 3 + take(&mut at, 3)?),
                        18 => (0, 11 + take(&mut at, 7)?),
                        len => (len, 1),
                    };
                    lengths.extend(vec![value; times]);
                }
                if lengths.len() > literal_count + distance_count || lengths[256] == 0 {
                    return None;
                }
                literals = codes(&lengths[..literal_count], false)?;
                distances = codes(&lengths[literal_count..], false)?;
            }
            _ => return None,
        }
        loop {
            let len = match symbol(&mut at, &literals)? {
                literal @ 0..256 => {
                    out.push(literal as u8);
                    continue;
                }
                256 => break,
                symbol @ 257..265 => symbol - 254,
                symbol @ 265..285 => {
                    let extra = (symbol - 261) / 4;
                    ((4 + (symbol - 261) % 4) << extra) + 3 + take(&mut at, extra as u32)?
                }
                285 => 258,
                _ => return None,
            };
            let distance = match symbol(&mut at, &distances)? {
                symbol @ 0..4 => symbol + 1,
                symbol @ 4..30 => {
                    let extra = symbol / 2 - 1;
                    ((2 + symbol % 2) << extra) + 1 + take(&mut at, extra as u32)?
                }
                _ => return None,
            };
            if distance > out.len() || distance > window.size() {
                return None;
            }
            for _ in 0..len {
                out.push(out[out.len() - distance]);
            }
        }
        may_end = is_last;
        if is_last {
            at = at.next_multiple_of(8);
        }
    }
}

/// The symbols of codes, by their length and bits.
type Codes = HashMap<(u32, usize), usize>;

/// RFC 1951 §3.2.2. Codes that do not have to be whole may be a single one, of one bit, or none.
fn codes(lengths: &[usize], is_whole: bool) -> Option<Codes> {
    let (mut codes, mut code) = (Codes::new(), 0);
    for len in 1..=15 {
        for (symbol, _) in lengths.iter().enumerate().filter(|(_, of)| **of == len) {
            codes.insert((len as u32, code), symbol);
            code += 1;
        }
        if code > 1 << len {
            return None;
        }
        code <<= 1;
    }
    let is_complete = code == 1 << 16;
    let is_lone = !is_whole && lengths.iter().all(|len| *len <= 1);
    (is_complete || is_lone).then_some(codes)
}

/// What happens between two messages.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Between {
    Takeover,
    Reset,
    /// Another window.
    Renew,
}

/// What is compressed is read by all three, with no more window than was agreed.
fn deflate(
    data: &[u8],
    bits: u8,
    level: u8,
    memory: u8,
    [a, b, room, at]: [u8; 4],
    between: Between,
) {
    let mut bits = window_bits(bits);
    let level = [Level::Fast, Level::Default, Level::Best][usize::from(level % 3)];
    let least = Deflater::<Vec<u8>>::min_memory(bits);
    let full = Deflater::<Vec<u8>>::full_memory(bits);
    let memory = least + (full - least) * usize::from(memory) / 255;
    let mut deflater = Deflater::new(vec![0xEE; memory], bits, level).expect("there is room");
    let mut inflater = inflater(bits);
    let mut zlib = Decompress::new(false);
    let (mut all, mut expected) = (Vec::new(), Vec::new());

    // Two messages, and the first again, which refers to itself.
    let (first, second) = data.split_at(data.len() * usize::from(at) / 256);
    let mut out = vec![0xEE; usize::from(room) + 1];
    for (message, is_last) in [(first, false), (second, false), (first, true)] {
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
        // What does not get smaller is stored, in blocks of a hundred bytes at least.
        assert!(compressed.len() <= message.len() + message.len() / 20 + 7);

        let (mut inflated, mut filled) = (vec![0; message.len()], 0);
        let result = inflater.inflate(&mut &compressed[..], &mut inflated, &mut filled);
        assert_eq!(result, Ok(Inflated::All));
        assert_eq!(inflater.finish(), Ok(()));
        assert_eq!(inflated[..filled], *message);

        let mut inflated = Vec::with_capacity(message.len() + 64);
        compressed.extend(TAIL);
        let result = zlib.decompress_vec(&compressed, &mut inflated, FlushDecompress::Sync);
        assert!(result.is_ok(), "zlib reads it");
        assert_eq!(inflated, message);

        all.extend(compressed);
        expected.extend_from_slice(message);
        if is_last || between != Between::Takeover {
            all.extend(LAST);
            let inflated = decompress_to_vec(&all).expect("miniz_oxide reads it");
            assert_eq!(inflated, expected);
            all.clear();
            expected.clear();
        }
        match between {
            Between::Takeover => continue,
            Between::Reset => deflater.reset(),
            Between::Renew => {
                bits = WindowBits::new(bits.bits() - 1).unwrap_or(bits);
                deflater.reset_with(bits).expect("there is room");
            }
        }
        inflater.reset_with(bits).expect("there is room");
        zlib = Decompress::new(false);
    }
}
