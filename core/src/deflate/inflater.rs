//! Decompression (RFC 1951, RFC 7692 §7.2.2).

use super::bits::{low, refill, skip};
use super::codes::{Codes, Decoded, Entry, Malformed, NoSymbol};
use super::output::{Output, copy};
use super::symbols::{MAX_MATCH, ORDER, distance, length};
use super::window_bits::WindowBits;
use crate::error::NoRoom;

/// How much a fast copy may write beyond its end.
const OVERRUN: usize = 16;

/// Why [`Inflater::inflate`] came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Inflated {
    /// All input is consumed, and all that it gives is in the output.
    All,
    /// The output is full, and at least one more byte is to come.
    Full,
}

/// What the next bits are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// A block's header, after which nothing is left over of what came before: at the start of a
    /// message, and after a block with BFINAL.
    Start,
    /// A block's header.
    Header,
    /// The length of a stored block.
    Stored,
    /// The bytes of a stored block.
    Bytes { left: u16 },
    /// The counts of a dynamic block.
    Counts,
    /// The lengths of the codes for code lengths.
    LengthCodes { sizes: Sizes, count: u8, index: u8 },
    /// The lengths of the codes.
    Lengths { sizes: Sizes, index: u16 },
    /// A literal, a length, or the end of the block.
    Symbol,
    /// A distance.
    Distance { len: u16 },
    /// Nothing: a match is to be copied.
    Match { len: u16, distance: u16 },
    /// Of no interest.
    Failed,
}

/// How many codes a dynamic block has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Sizes {
    literals: u16,
    distances: u16,
}

/// Decompresses a stream of messages (RFC 7692 §7.2.2), in memory of a fixed size.
///
/// `W` is the window: what was inflated before, in a buffer of the agreed size, an array or a
/// slice. It may be empty if the peer does not take its context over to the next message, and each
/// message is inflated into one buffer, which serves as the window: see [`inflate`](Self::inflate).
/// Beside the window it takes 2 KiB.
///
/// Nothing that was in the window's memory before ever comes out: a distance that leads to before
/// the stream's start is refused.
///
/// ```
/// use motews::deflate::{Inflated, Inflater, WindowBits};
///
/// let mut inflater = Inflater::new([0; 1 << 15], WindowBits::MAX)?;
/// let mut out = [0; 16];
/// for hello in [&b"\xf2\x48\xcd\xc9\xc9\x07\x00"[..], b"\xf2\x00\x11\x00\x00"] {
///     // RFC 7692 §7.2.3.2: the second refers to the first
///     let mut filled = 0;
///     let mut input = hello;
///     assert_eq!(inflater.inflate(&mut input, &mut out, &mut filled)?, Inflated::All);
///     inflater.finish()?;
///     assert_eq!(&out[..filled], b"Hello");
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Inflater<W> {
    window: W,
    /// The farthest distance.
    size: u32,
    /// Where in the window the next byte goes, and how many of its bytes are in use.
    next: u32,
    have: u32,
    /// Bits that were taken from the input and not used yet, and how many.
    bits: u64,
    available: u32,
    state: State,
    /// The block being read is the last one.
    last: bool,
    /// The codes are those of RFC 1951 §3.2.6.
    fixed: bool,
    codes: Codes,
}

/// The farthest distance, if it fits into this window.
const fn size(window: &[u8], bits: WindowBits) -> Result<u32, NoRoom> {
    match window.is_empty() || window.len() >= bits.size() {
        true => Ok(bits.size() as u32),
        false => Err(NoRoom),
    }
}

impl<W: AsRef<[u8]> + AsMut<[u8]>> Inflater<W> {
    /// Makes an inflater for a stream whose sender uses a window of 2^`bits` bytes at most.
    ///
    /// # Errors
    /// [`NoRoom`] if `window` is shorter than that, and not empty.
    pub fn new(window: W, bits: WindowBits) -> Result<Self, NoRoom> {
        let size = size(window.as_ref(), bits)?;
        Ok(Self {
            window,
            size,
            next: 0,
            have: 0,
            bits: 0,
            available: 0,
            state: State::Start,
            last: false,
            fixed: false,
            codes: Codes::new(),
        })
    }

    /// Begins a new stream, of a peer with another window perhaps.
    ///
    /// # Errors
    /// As [`new`](Self::new); nothing has changed then.
    pub fn reset_with(&mut self, bits: WindowBits) -> Result<(), NoRoom> {
        self.size = size(self.window.as_ref(), bits)?;
        self.reset();
        Ok(())
    }

    /// Begins a new stream: of a peer that does not take its context over to the next message, or
    /// of another peer.
    // [PD05] [PD29]
    pub const fn reset(&mut self) {
        self.next = 0;
        self.have = 0;
        self.bits = 0;
        self.available = 0;
        self.state = State::Start;
    }

    /// Inflates a part of a message from `input` into `out`, from `*filled` on, and moves
    /// `*filled` behind it. What lies behind that in `out` may be overwritten.
    ///
    /// With a window, each call may have another `out`. Without one, all calls for a message have
    /// the same, with what was inflated so far in it, and `*filled` begins with 0.
    ///
    /// # Errors
    /// [`Malformed`]; what was inflated before the fault is in `out`. The same error comes from
    /// every later call.
    pub fn inflate(
        &mut self,
        input: &mut &[u8],
        out: &mut [u8],
        filled: &mut usize,
    ) -> Result<Inflated, Malformed> {
        let start = *filled;
        let mut output = Output {
            bytes: out,
            at: start,
            base: if self.has_no_window() { 0 } else { start },
        };
        let result = self.run(input, &mut output);
        if result.is_err() {
            self.state = State::Failed;
        }
        let end = output.at;
        *filled = end;
        self.remember(out.get(start..end).unwrap_or_default());
        result
    }

    /// Ends a message, once [`inflate`](Self::inflate) has returned [`Inflated::All`] for its last part.
    ///
    /// # Errors
    /// [`Malformed`], also where the message does not end with a block.
    // [PD28]
    pub const fn finish(&mut self) -> Result<(), Malformed> {
        // RFC 7692 §7.2.2: the length of an empty stored block would follow: 00 00 FF FF [PD19]
        if matches!(self.state, State::Stored) && self.available < 8 {
            self.bits = 0;
            self.available = 0;
            self.state = State::Start;
        }
        // RFC 7692 §7.2.3.6: a message may be empty, and nothing may follow a block with BFINAL
        // [PD20] [PD21]
        if matches!(self.state, State::Start) && self.available == 0 {
            return Ok(());
        }
        // A message that was cut short ends in the midst of a block [PD28]
        self.state = State::Failed;
        Err(Malformed)
    }

    pub(super) fn has_no_window(&self) -> bool {
        self.window.as_ref().is_empty()
    }

    /// RFC 7692 §7.2.2: keeps what was inflated in the window, for this message and the next ones.
    // [PD24]
    fn remember(&mut self, bytes: &[u8]) {
        let size = self.size as usize;
        let Some(window) = self.window.as_mut().get_mut(..size) else {
            return;
        };
        let kept = bytes.len().saturating_sub(size);
        let bytes = bytes.get(kept..).unwrap_or_default();
        let (start, end) = window
            .split_at_mut_checked(self.next as usize)
            .unwrap_or_default();
        let (to_end, to_start) = bytes.split_at_checked(end.len()).unwrap_or((bytes, &[]));
        copy(end, to_end);
        copy(start, to_start);
        self.next = (self.next.wrapping_add(bytes.len() as u32)) & self.size.wrapping_sub(1);
        self.have = self.size.min(self.have.wrapping_add(bytes.len() as u32));
    }

    fn run(&mut self, input: &mut &[u8], out: &mut Output<'_>) -> Result<Inflated, Malformed> {
        loop {
            match self.state {
                State::Start | State::Header => {
                    if !self.need(3, input) {
                        return Ok(Inflated::All);
                    }
                    // RFC 7692 §7.2.1: a sender may use blocks of any type, and BFINAL [PD18]
                    self.last = self.take(1) != 0;
                    self.state = match self.take(2) {
                        0 => State::Stored,
                        1 => {
                            if !self.fixed {
                                self.codes.build_fixed();
                                self.fixed = true;
                            }
                            State::Symbol
                        }
                        2 => State::Counts,
                        _ => return Err(Malformed),
                    };
                }
                State::Stored => {
                    self.align();
                    if !self.need(32, input) {
                        return Ok(Inflated::All);
                    }
                    let left = self.take(16) as u16;
                    if self.take(16) as u16 != !left {
                        return Err(Malformed);
                    }
                    self.state = State::Bytes { left };
                }
                State::Bytes { left: 0 } => self.end_block(),
                State::Bytes { left } => {
                    if out.room() == 0 {
                        return Ok(Inflated::Full);
                    }
                    let copied = if self.available > 0 {
                        out.push(self.take(8) as u8);
                        1
                    } else {
                        let len = input.len().min(left.into());
                        let (bytes, _) = input.split_at_checked(len).unwrap_or_default();
                        let copied = out.extend(bytes);
                        *input = input.get(copied..).unwrap_or_default();
                        copied
                    };
                    if copied == 0 {
                        return Ok(Inflated::All);
                    }
                    let left = left.saturating_sub(copied as u16);
                    self.state = State::Bytes { left };
                }
                State::Counts => {
                    if !self.need(14, input) {
                        return Ok(Inflated::All);
                    }
                    let literals = self.take(5) as u16 + 257;
                    let distances = self.take(5) as u16 + 1;
                    let count = self.take(4) as u8 + 4;
                    if literals > 286 || distances > 30 {
                        return Err(Malformed);
                    }
                    self.codes.set_lengths(0..19, 0);
                    self.fixed = false;
                    self.state = State::LengthCodes {
                        sizes: Sizes {
                            literals,
                            distances,
                        },
                        count,
                        index: 0,
                    };
                }
                State::LengthCodes {
                    sizes,
                    count,
                    index,
                } if index < count => {
                    if !self.need(3, input) {
                        return Ok(Inflated::All);
                    }
                    let len = self.take(3) as u8;
                    if let Some(symbol) = ORDER.get(usize::from(index)) {
                        let symbol = u16::from(*symbol);
                        self.codes.set_lengths(symbol..symbol.wrapping_add(1), len);
                    }
                    self.state = State::LengthCodes {
                        sizes,
                        count,
                        index: index.wrapping_add(1),
                    };
                }
                State::LengthCodes { sizes, .. } => {
                    self.codes.build_length_codes()?;
                    self.state = State::Lengths { sizes, index: 0 };
                }
                State::Lengths { sizes, index } => {
                    let total = sizes.literals.wrapping_add(sizes.distances);
                    if index == total {
                        self.codes.build(sizes.literals, sizes.distances)?;
                        self.state = State::Symbol;
                        continue;
                    }
                    let Some((symbol, len)) =
                        self.peek(input, |codes, bits, n| codes.distance(bits, n))?
                    else {
                        return Ok(Inflated::All);
                    };
                    let (extra, least) = match symbol {
                        16 => (2, 3),
                        17 => (3, 3),
                        18 => (7, 11),
                        _ => (0, 1),
                    };
                    if !self.need(len.wrapping_add(extra), input) {
                        return Ok(Inflated::All);
                    }
                    self.take(len);
                    let times = least + self.take(extra) as u16;
                    let value = match symbol {
                        0..16 => symbol as u8,
                        16 if index == 0 => return Err(Malformed),
                        16 => self.codes.length(index.wrapping_sub(1)),
                        _ => 0,
                    };
                    let end = index.wrapping_add(times);
                    if end > total {
                        return Err(Malformed);
                    }
                    self.codes.set_lengths(index..end, value);
                    self.state = State::Lengths { sizes, index: end };
                }
                State::Symbol => {
                    // Compiled out on 32-bit targets, to save flash.
                    if cfg!(target_pointer_width = "64") {
                        self.run_fast(input, out)?;
                        if self.state != State::Symbol {
                            continue;
                        }
                    }
                    let Some((symbol, len)) =
                        self.peek(input, |codes, bits, n| codes.literal(bits, n))?
                    else {
                        return Ok(Inflated::All);
                    };
                    if symbol < 256 {
                        if out.room() == 0 {
                            return Ok(Inflated::Full);
                        }
                        self.take(len);
                        out.push(symbol as u8);
                    } else if symbol == 256 {
                        self.take(len);
                        self.end_block();
                    } else {
                        let (least, extra) = length(symbol.wrapping_sub(257))?;
                        if !self.need(len.wrapping_add(extra), input) {
                            return Ok(Inflated::All);
                        }
                        self.take(len);
                        let len = least.wrapping_add(self.take(extra) as u16);
                        self.state = State::Distance { len };
                    }
                }
                State::Distance { len } => {
                    let Some((symbol, code_len)) =
                        self.peek(input, |codes, bits, n| codes.distance(bits, n))?
                    else {
                        return Ok(Inflated::All);
                    };
                    let (least, extra) = distance(symbol)?;
                    if !self.need(code_len.wrapping_add(extra), input) {
                        return Ok(Inflated::All);
                    }
                    self.take(code_len);
                    let distance = least.wrapping_add(self.take(extra));
                    self.check(distance, out)?;
                    self.state = State::Match {
                        len,
                        distance: distance as u16,
                    };
                }
                State::Match { len: 0, .. } => self.state = State::Symbol,
                State::Match { len, distance } => {
                    if out.room() == 0 {
                        return Ok(Inflated::Full);
                    }
                    let copied = self.copy(out, len.into(), distance.into());
                    // Without a window, `out` does not have what was inflated before.
                    if copied == 0 {
                        return Err(Malformed);
                    }
                    let len = len.saturating_sub(copied as u16);
                    self.state = State::Match { len, distance };
                }
                State::Failed => return Err(Malformed),
            }
        }
    }

    /// RFC 7692 §7.2.3.4: after a block with BFINAL the next one begins with the next byte, with
    /// the same window. [PD20]
    fn end_block(&mut self) {
        self.state = State::Header;
        if self.last {
            self.align();
            self.state = State::Start;
        }
    }

    /// Whether there are `count` bits, with those that can be had from `input`.
    #[inline]
    fn need(&mut self, count: u32, input: &mut &[u8]) -> bool {
        while self.available < count {
            let Some((byte, rest)) = input.split_first() else {
                return false;
            };
            *input = rest;
            self.bits |= u64::from(*byte) << (self.available & 63);
            self.available = self.available.wrapping_add(8);
        }
        true
    }

    /// Takes up to 16 bits that are there.
    #[inline]
    fn take(&mut self, count: u32) -> u32 {
        let value = self.bits & (1_u64 << (count & 63)).wrapping_sub(1);
        self.bits >>= count & 63;
        self.available = self.available.wrapping_sub(count);
        value as u32
    }

    /// Leaves out what is left of a byte.
    fn align(&mut self) {
        self.take(self.available & 7);
    }

    /// The symbol that comes next, and the bits of its code; `None` where input is missing.
    #[inline]
    fn peek(
        &mut self,
        input: &mut &[u8],
        decode: impl Fn(&Codes, u64, u32) -> Result<Decoded, NoSymbol>,
    ) -> Result<Option<(u16, u32)>, Malformed> {
        loop {
            match decode(&self.codes, self.bits, self.available) {
                Ok(decoded) => return Ok(Some((decoded.symbol, decoded.len))),
                Err(NoSymbol::Impossible) => return Err(Malformed),
                Err(NoSymbol::MoreBits) => {
                    if !self.need(self.available.wrapping_add(1), input) {
                        return Ok(None);
                    }
                }
            }
        }
    }

    /// RFC 1951 §2: no distance leads to before the stream's start. RFC 7692 §7.1.2: nor beyond
    /// the agreed window. [PD26] [PD29]
    #[inline]
    fn check(&self, distance: u32, out: &Output<'_>) -> Result<(), Malformed> {
        let history = (self.have as usize).saturating_add(out.len());
        if distance > self.size || distance as usize > history {
            return Err(Malformed);
        }
        Ok(())
    }

    /// Copies a match as far as it lies in one piece and there is room. Returns how far.
    fn copy(&self, out: &mut Output<'_>, len: usize, distance: usize) -> usize {
        let len = len.min(out.room());
        let in_window = distance.saturating_sub(out.len());
        if in_window == 0 {
            out.repeat(distance, len);
            return len;
        }
        let window = self.window.as_ref();
        let from = self.next.wrapping_sub(in_window as u32) & self.size.wrapping_sub(1);
        let window = window.get(..self.size as usize).unwrap_or_default();
        let bytes = window.get(from as usize..).unwrap_or_default();
        let len = len.min(in_window).min(bytes.len());
        out.extend(bytes.get(..len).unwrap_or_default())
    }

    /// As much of a block as can be decoded without a look at the ends of `input` and `out`.
    #[inline]
    fn run_fast(&mut self, input: &mut &[u8], out: &mut Output<'_>) -> Result<(), Malformed> {
        let (mut bits, mut available, mut rest) = (self.bits, self.available, *input);
        let (mut end, mut ended) = (Ok(()), false);
        while let Some(word) = rest.first_chunk()
            && out.room() >= MAX_MATCH + OVERRUN
        {
            refill(&mut bits, &mut available, &mut rest, *word);
            // 56 bits or more: three short codes of literals leave 29.
            let mut entry = self.codes.literal_entry(bits);
            if let Some(byte) = entry.literal() {
                (bits, available) = skip(bits, available, entry.len());
                out.push(byte);
                entry = self.codes.literal_entry(bits);
                if let Some(byte) = entry.literal() {
                    (bits, available) = skip(bits, available, entry.len());
                    out.push(byte);
                    entry = self.codes.literal_entry(bits);
                    if let Some(byte) = entry.literal() {
                        (bits, available) = skip(bits, available, entry.len());
                        out.push(byte);
                        continue;
                    }
                }
                // A length and a distance take 48.
                let Some(word) = rest.first_chunk() else {
                    break;
                };
                refill(&mut bits, &mut available, &mut rest, *word);
            }
            let (symbol, len) = match self.symbol(entry, bits, available) {
                Ok(symbol) => symbol,
                Err(error) => {
                    end = Err(error);
                    break;
                }
            };
            (bits, available) = skip(bits, available, len);
            if symbol < 256 {
                out.push(symbol as u8);
                continue;
            }
            if symbol == 256 {
                ended = true;
                break;
            }
            let (len, distance);
            match self.length_and_distance(symbol, bits, available) {
                Ok(found) => {
                    (len, distance) = (found.len, found.distance);
                    (bits, available) = (found.bits, found.available);
                }
                Err(error) => {
                    end = Err(error);
                    break;
                }
            }
            end = self.check(distance, out);
            if end.is_err() {
                break;
            }
            self.copy_fast(out, len as usize, distance as usize);
        }
        *input = rest;
        self.available = available;
        // Bits beyond these belong to bytes that are still in the input.
        self.bits = bits & (1_u64 << (available & 63)).wrapping_sub(1);
        if ended {
            self.end_block();
        }
        end
    }

    #[inline(always)]
    fn symbol(&self, entry: Entry, bits: u64, available: u32) -> Result<(u16, u32), Malformed> {
        if entry.len() > 0 {
            return Ok((entry.not_literal(), entry.len()));
        }
        match self.codes.literal(bits, available) {
            Ok(decoded) => Ok((decoded.symbol, decoded.len)),
            Err(_) => Err(Malformed),
        }
    }

    #[inline(always)]
    fn length_and_distance(
        &self,
        symbol: u16,
        bits: u64,
        available: u32,
    ) -> Result<Found, Malformed> {
        let (least, extra) = length(symbol.wrapping_sub(257))?;
        let len = u32::from(least).wrapping_add(low(bits, extra));
        let (bits, available) = skip(bits, available, extra);
        let Ok(decoded) = self.codes.distance(bits, available) else {
            return Err(Malformed);
        };
        let (bits, available) = skip(bits, available, decoded.len);
        let (least, extra) = distance(decoded.symbol)?;
        let distance = least.wrapping_add(low(bits, extra));
        let (bits, available) = skip(bits, available, extra);
        Ok(Found {
            len,
            distance,
            bits,
            available,
        })
    }

    /// Copies a match where there is room for it and [`OVERRUN`].
    #[inline(always)]
    fn copy_fast(&self, out: &mut Output<'_>, len: usize, distance: usize) {
        let at = out.at;
        if distance < OVERRUN || distance > out.len() {
            let mut left = len;
            while left > 0 {
                let copied = self.copy(out, left, distance);
                if copied == 0 {
                    return; // There is room.
                }
                left = left.saturating_sub(copied);
            }
            return;
        }
        let (mut from, mut to) = (at.wrapping_sub(distance), at);
        let end = at.wrapping_add(len);
        while to < end {
            let bytes = out.bytes.get(from..).unwrap_or_default();
            let Some(bytes) = bytes.first_chunk::<OVERRUN>().copied() else {
                return; // There is room.
            };
            let place = out.bytes.get_mut(to..).unwrap_or_default();
            if let Some(place) = place.first_chunk_mut() {
                *place = bytes;
            }
            (from, to) = (from.wrapping_add(OVERRUN), to.wrapping_add(OVERRUN));
        }
        out.at = end;
    }
}

struct Found {
    len: u32,
    distance: u32,
    bits: u64,
    available: u32,
}
