//! Compression (RFC 1951, RFC 7692 §7.2.1).

use super::bits::BitWriter;
use super::block::{
    Block, CODES, Lengths, NO_MATCH, Token, WORDS, code, dynamic_codes, fixed_bits, literal,
};
use super::codes::{DISTANCES, LITERALS};
use super::huffman::{Word, fixed_distance};
use super::matcher::{HASHED, Index, Level, NEAR, Search};
use super::symbols::{MAX_MATCH, MIN_MATCH, ORDER, distance_symbol, length_symbol};
use super::window_bits::WindowBits;
use crate::error::NoRoom;

/// The least number of entries in the hash table, and of matches in a block.
const MIN_HEADS: usize = 64;
const MIN_TOKENS: usize = 16;
/// The most matches in a block.
const MAX_TOKENS: usize = 8192;
/// From this memory on beside the window, blocks may have codes of their own.
const MIN_DYNAMIC: usize = 2 * 4 * WORDS;
/// A block that takes fewer bits than this with the fixed codes keeps them: codes of its own take
/// nearly as much.
const MIN_DYNAMIC_BITS: u32 = 600;
/// The longest block, in bytes: so no sum of frequencies exceeds 16 bits.
const MAX_BLOCK: usize = 65_000;
/// The most bytes in a stored block (RFC 1951 §3.2.4).
const MAX_STORED: usize = 65_535;

/// Why [`Deflater::deflate`] came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Deflated {
    /// All input is consumed; if it was the last of a message, all of the message is in the output.
    All,
    /// The output is full, and there is more to come.
    Full,
}

/// How the memory is divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Layout {
    /// The farthest distance; the text takes twice as much.
    size: usize,
    /// Entries.
    heads: usize,
    chains: usize,
    tokens: usize,
    /// 0 or [`WORDS`].
    words: usize,
}

/// The greatest power of two up to `most` that is no greater than `number`.
const fn power_of_two(number: usize, most: usize) -> usize {
    let mut power = most;
    while power > number {
        power /= 2;
    }
    power
}

impl Layout {
    const fn new(bits: WindowBits, len: usize) -> Option<Self> {
        let size = bits.size();
        let Some(rest) = len.checked_sub(2 * size) else {
            return None;
        };
        if rest < 2 * MIN_HEADS + 4 * MIN_TOKENS {
            return None;
        }
        let words = if rest >= MIN_DYNAMIC { WORDS } else { 0 };
        let rest = rest.saturating_sub(4 * words);
        let mut tokens = rest / 5 / 4;
        if tokens > MAX_TOKENS {
            tokens = MAX_TOKENS;
        }
        if tokens > size / 4 {
            tokens = size / 4;
        }
        if tokens < MIN_TOKENS {
            tokens = MIN_TOKENS;
        }
        let entries = rest.saturating_sub(4 * tokens) / 2;
        let heads = power_of_two(entries, size);
        let chains = power_of_two(entries.saturating_sub(heads), size);
        Some(Self {
            size,
            heads,
            chains,
            tokens,
            words,
        })
    }
}

/// The memory, divided.
struct Parts<'a> {
    text: &'a mut [u8],
    index: Index<'a>,
    tokens: &'a mut [Word],
    words: &'a mut [Word],
}

fn parts(memory: &mut [u8], layout: Layout) -> Parts<'_> {
    let (text, rest) = cut(memory, 2 * layout.size);
    let (heads, rest) = cut(rest, 2 * layout.heads);
    let (chains, rest) = cut(rest, 2 * layout.chains);
    let (tokens, rest) = cut(rest, 4 * layout.tokens);
    let (words, _) = cut(rest, 4 * layout.words);
    Parts {
        text,
        index: Index {
            heads: heads.as_chunks_mut().0,
            chains: chains.as_chunks_mut().0,
            size: layout.size,
            // In a large window, three bytes are seldom near enough to be worth it.
            mask: if layout.size >= NEAR {
                u32::MAX
            } else {
                0x00FF_FFFF
            },
        },
        tokens: tokens.as_chunks_mut().0,
        words: words.as_chunks_mut().0,
    }
}

fn cut(memory: &mut [u8], len: usize) -> (&mut [u8], &mut [u8]) {
    memory.split_at_mut_checked(len).unwrap_or_default()
}

/// What is being written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Emit {
    /// Nothing.
    Idle,
    /// The header of a dynamic block: the lengths of the codes for code lengths, from this on.
    LengthCodes(u8),
    /// The lengths of the codes, from this one on.
    Lengths(u16),
    /// Literals and matches: so many literals, then the match of the token.
    Symbols { token: u16, literals: u32 },
    /// The length of a stored block.
    StoredLength,
    /// So many of its bytes.
    Stored { left: u16 },
    /// The end of a message.
    End,
}

/// Compresses a stream of messages (RFC 7692 §7.2.1), in memory that the caller gives.
///
/// `M` is the memory, an array or a slice. Twice the window and [192 bytes](Self::min_memory) are
/// the least; the more there is up to [`full_memory`](Self::full_memory), the better it compresses.
/// What does not get smaller is stored: 5 bytes more for a block, and one for the message. A block is
/// about as long as the window; with little memory a hundred bytes at least.
///
/// ```
/// use motews::deflate::{Deflated, Deflater, Level, WindowBits};
///
/// let mut deflater = Deflater::new([0; 1024], WindowBits::MIN, Level::Default)?;
/// let mut out = [0; 32];
/// let mut filled = 0;
/// let mut message: &[u8] = b"Hello";
/// let done = deflater.deflate(&mut message, true, &mut out, &mut filled);
/// assert_eq!(done, Deflated::All);
/// assert_eq!(out[..filled], *b"\xf2\x48\xcd\xc9\xc9\x07\x00"); // RFC 7692 §7.2.3.1
///
/// (message, filled) = (b"Hello", 0);
/// deflater.deflate(&mut message, true, &mut out, &mut filled);
/// assert_eq!(out[..filled], *b"\x02\x13\x00\x00"); // §7.2.3.2: it refers to the first
/// # Ok::<(), motews::NoRoom>(())
/// ```
#[derive(Clone, Debug)]
pub struct Deflater<M> {
    memory: M,
    layout: Layout,
    level: Level,
    /// In the text: where the block begins, up to where it is matched, and where the text ends.
    start: usize,
    at: usize,
    end: usize,
    /// Up to where it is in the index.
    indexed: usize,
    /// Tokens of the block, and literals after the last of them.
    tokens: u16,
    literals: u8,
    emit: Emit,
    /// The block that is written has codes of its own: so many literals, distances, code lengths.
    sizes: Option<(u16, u16, u8)>,
    /// Bits that are not written yet.
    bits: u64,
    count: u32,
}

impl<M: AsMut<[u8]>> Deflater<M> {
    /// The least memory for a window of 2^`bits` bytes, in bytes.
    #[must_use]
    pub const fn min_memory(bits: WindowBits) -> usize {
        2 * bits.size() + 2 * MIN_HEADS + 4 * MIN_TOKENS
    }

    /// The memory for a window of 2^`bits` bytes beyond which more is of no use, in bytes.
    #[must_use]
    pub const fn full_memory(bits: WindowBits) -> usize {
        let size = bits.size();
        let tokens = if size / 4 > MAX_TOKENS {
            MAX_TOKENS
        } else {
            size / 4
        };
        6 * size + 4 * (tokens + WORDS)
    }

    /// Makes a deflater that refers back 2^`bits` bytes at most.
    ///
    /// # Errors
    /// [`NoRoom`] if `memory` is shorter than [`min_memory`](Self::min_memory).
    pub fn new(mut memory: M, bits: WindowBits, level: Level) -> Result<Self, NoRoom> {
        let layout = Layout::new(bits, memory.as_mut().len()).ok_or(NoRoom)?;
        let mut deflater = Self {
            memory,
            layout,
            level,
            start: 0,
            at: 0,
            end: 0,
            indexed: 0,
            tokens: 0,
            literals: 0,
            emit: Emit::Idle,
            sizes: None,
            bits: 0,
            count: 0,
        };
        deflater.reset();
        Ok(deflater)
    }

    /// Begins a new stream, with another window perhaps. In the midst of a message, the message is
    /// lost.
    ///
    /// # Errors
    /// As [`new`](Self::new); nothing has changed then.
    pub fn reset_with(&mut self, bits: WindowBits) -> Result<(), NoRoom> {
        self.layout = Layout::new(bits, self.memory.as_mut().len()).ok_or(NoRoom)?;
        self.reset();
        Ok(())
    }

    /// Begins a new stream: what comes next does not refer to what came before. Between messages
    /// only; in the midst of one, the message is lost.
    // RFC 7692 §7.1.1 [PD05] [PD07] [PD29]
    pub const fn reset(&mut self) {
        // The text begins at 1, so that 0 can stand for nowhere in the index.
        (self.start, self.at, self.end, self.indexed) = (1, 1, 1, 1);
        (self.tokens, self.literals) = (0, 0);
        (self.bits, self.count) = (0, 0);
        self.emit = Emit::Idle;
    }

    /// Compresses a part of a message from `input` into `out`, from `*filled` on, and moves
    /// `*filled` behind it. `last`: the message ends with the input. If it returns
    /// [`Deflated::Full`], call it again with the rest of the input and more room.
    pub fn deflate(
        &mut self,
        input: &mut &[u8],
        last: bool,
        out: &mut [u8],
        filled: &mut usize,
    ) -> Deflated {
        let mut writer = BitWriter {
            bits: self.bits,
            count: self.count,
            out,
            at: *filled,
        };
        let done = self.run(input, last, &mut writer);
        (self.bits, self.count) = (writer.bits, writer.count);
        *filled = writer.at;
        done
    }

    fn run(&mut self, input: &mut &[u8], last: bool, writer: &mut BitWriter<'_>) -> Deflated {
        loop {
            if self.emit != Emit::Idle {
                let ends = self.emit == Emit::End;
                if !self.emit(writer) {
                    return Deflated::Full;
                }
                if ends {
                    return Deflated::All;
                }
            }
            self.fill(input);
            let flush = last && input.is_empty();
            self.parse(flush);
            let is_matched = self.end.wrapping_sub(self.at) < self.want(flush);
            if !is_matched {
                self.begin_block(writer);
            } else if !input.is_empty() {
                // The text is full. What moves out of it has been written.
                if self.start < self.layout.size {
                    self.begin_block(writer);
                }
                if self.emit == Emit::Idle {
                    self.slide();
                }
            } else if !last {
                return Deflated::All;
            } else if self.at > self.start {
                self.begin_block(writer);
            } else {
                // RFC 7692 §7.2.1: an empty stored block, of which 00 00 FF FF is left out
                // [PD17] [PD21]
                writer.push(0, 3);
                writer.align();
                self.emit = Emit::End;
            }
        }
    }

    /// Takes as much text as there is room for.
    fn fill(&mut self, input: &mut &[u8]) {
        let text = self.memory.as_mut().get_mut(..2 * self.layout.size);
        let room = text.and_then(|text| text.get_mut(self.end..));
        let room = room.unwrap_or_default();
        let (taken, rest) = input.split_at_checked(room.len()).unwrap_or((input, &[]));
        for (to, from) in room.iter_mut().zip(taken) {
            *to = *from;
        }
        self.end = self.end.wrapping_add(taken.len());
        *input = rest;
    }

    /// Makes room at the end of the text.
    fn slide(&mut self) {
        let size = self.layout.size;
        let mut parts = parts(self.memory.as_mut(), self.layout);
        let (older, newer) = cut(parts.text, size);
        for (to, from) in older.iter_mut().zip(newer) {
            *to = *from;
        }
        parts.index.slide(size);
        self.start = self.start.saturating_sub(size);
        self.at = self.at.saturating_sub(size);
        self.end = self.end.saturating_sub(size);
        self.indexed = self.indexed.saturating_sub(size);
    }

    /// How much text must be there to look for a match.
    const fn want(&self, flush: bool) -> usize {
        if flush {
            1
        } else if self.layout.size > 4 * MAX_MATCH {
            MAX_MATCH + HASHED
        } else {
            self.layout.size / 4
        }
    }

    /// Finds matches in the text, until there is too little of it, or the block is long enough.
    fn parse(&mut self, flush: bool) {
        let want = self.want(flush);
        let search = self.level.search();
        let quarter = Search {
            places: (search.places / 4).max(1),
            ..search
        };
        let mut parts = parts(self.memory.as_mut(), self.layout);
        let text = parts.text.get(..self.end).unwrap_or_default();
        let mut block = Block {
            tokens: parts.tokens,
            count: self.tokens.into(),
            literals: self.literals,
        };
        let (mut at, mut indexed) = (self.at, self.indexed);
        while text.len().saturating_sub(at) >= want
            && block.has_room()
            && at.wrapping_sub(self.start) < MAX_BLOCK
        {
            let most = text.len().saturating_sub(at);
            if most < HASHED {
                block.literal();
                at = at.wrapping_add(1);
                continue;
            }
            while indexed < at {
                parts.index.insert(text, indexed);
                indexed = indexed.wrapping_add(1);
            }
            let place = parts.index.insert(text, at);
            indexed = at.wrapping_add(1);
            let least = MIN_MATCH - 1;
            let (mut len, mut distance) =
                parts
                    .index
                    .longest(text, at, place, least, most.min(MAX_MATCH), search);
            if distance == 0 || (len == MIN_MATCH && distance > NEAR) {
                block.literal();
                at = at.wrapping_add(1);
                continue;
            }
            // A longer match that begins with the next byte is worth a literal.
            while len < search.lazy && block.has_room() {
                let next = at.wrapping_add(1);
                let most = text.len().saturating_sub(next).min(MAX_MATCH);
                if most <= len || most < HASHED {
                    break;
                }
                let place = parts.index.insert(text, next);
                indexed = next.wrapping_add(1);
                let search = if len >= search.good { quarter } else { search };
                let (longer, farther) = parts.index.longest(text, next, place, len, most, search);
                if farther == 0 {
                    break;
                }
                block.literal();
                (at, len, distance) = (next, longer, farther);
            }
            block.found(len, distance);
            at = at.wrapping_add(len);
        }
        self.tokens = block.count as u16;
        self.literals = block.literals;
        (self.at, self.indexed) = (at, indexed);
    }

    /// The block ends here: decides how it is written, in the fewest bits.
    fn begin_block(&mut self, writer: &mut BitWriter<'_>) {
        let len = self.at.saturating_sub(self.start);
        if len == 0 {
            return;
        }
        let parts = parts(self.memory.as_mut(), self.layout);
        let text = parts.text.get(self.start..self.at).unwrap_or_default();
        let tokens = parts.tokens.get(..self.tokens.into()).unwrap_or_default();
        let literals = parts
            .tokens
            .first()
            .filter(|_| self.tokens > 0)
            .map_or(len as u32, |token| Token::from_word(*token).literals);
        let stored = 3 + 7 + 32 + 8 * len as u32;
        let fixed = 3 + fixed_bits(text, tokens);
        self.sizes = None;
        if fixed > MIN_DYNAMIC_BITS && !parts.words.is_empty() {
            let (codes, nodes) = parts.words.split_at_mut_checked(CODES).unwrap_or_default();
            let (bits, sizes) = dynamic_codes(text, tokens, codes, nodes);
            if bits < fixed && bits < stored {
                self.sizes = Some(sizes);
            }
        }
        let symbols = Emit::Symbols { token: 0, literals };
        self.emit = if let Some((literals, distances, lengths)) = self.sizes {
            writer.push(0b100, 3);
            writer.push(literals.wrapping_sub(257).into(), 5);
            writer.push(distances.wrapping_sub(1).into(), 5);
            writer.push(lengths.wrapping_sub(4).into(), 4);
            Emit::LengthCodes(0)
        } else if fixed <= stored {
            writer.push(0b010, 3);
            symbols
        } else {
            writer.push(0b000, 3);
            writer.align();
            Emit::StoredLength
        };
    }

    /// Writes what there is room for. Returns true if that was all.
    fn emit(&mut self, writer: &mut BitWriter<'_>) -> bool {
        let parts = parts(self.memory.as_mut(), self.layout);
        let (codes, _) = parts.words.split_at_checked(CODES).unwrap_or_default();
        let (literal_codes, rest) = codes.split_at_checked(LITERALS).unwrap_or_default();
        let (distance_codes, length_codes) = rest.split_at_checked(DISTANCES).unwrap_or_default();
        loop {
            if !writer.has_room() {
                return false;
            }
            self.emit = match self.emit {
                Emit::Idle => return true,
                Emit::LengthCodes(index) => {
                    let (_, _, count) = self.sizes.unwrap_or_default();
                    if index < count {
                        let symbol = ORDER.get(usize::from(index)).copied().unwrap_or(0);
                        writer.push(code(length_codes, symbol.into()).len.into(), 3);
                        Emit::LengthCodes(index.wrapping_add(1))
                    } else {
                        Emit::Lengths(0)
                    }
                }
                Emit::Lengths(index) => {
                    let (literals, distances, _) = self.sizes.unwrap_or_default();
                    if index < literals.wrapping_add(distances) {
                        let lengths = Lengths {
                            literals: literal_codes.get(..literals.into()).unwrap_or_default(),
                            distances: distance_codes.get(..distances.into()).unwrap_or_default(),
                        };
                        let item = lengths.item(index);
                        let code = code(length_codes, item.symbol);
                        writer.push_code(code);
                        writer.push(item.extra.into(), item.extra_bits);
                        Emit::Lengths(index.wrapping_add(item.times))
                    } else {
                        let first = parts.tokens.first().filter(|_| self.tokens > 0);
                        let len = self.at.saturating_sub(self.start) as u32;
                        let literals = first.map_or(len, |token| Token::from_word(*token).literals);
                        Emit::Symbols { token: 0, literals }
                    }
                }
                Emit::Symbols {
                    mut token,
                    mut literals,
                } => {
                    let tokens = parts.tokens.get(..self.tokens.into()).unwrap_or_default();
                    let (literal_codes, distance_codes) = match self.sizes {
                        Some(_) => (literal_codes, distance_codes),
                        None => (&[][..], &[][..]),
                    };
                    let text = parts.text.get(..self.at).unwrap_or_default();
                    loop {
                        // 63 bits fit, up to 15 are there: room for three literals, or a match.
                        while literals > 0 {
                            if !writer.has_room() {
                                self.emit = Emit::Symbols { token, literals };
                                return false;
                            }
                            let now = literals.min(3);
                            let bytes = text.get(self.start..).unwrap_or_default();
                            for byte in bytes.iter().take(now as usize) {
                                writer.push_code(literal(literal_codes, (*byte).into()));
                            }
                            self.start = self.start.wrapping_add(now as usize);
                            literals = literals.wrapping_sub(now);
                        }
                        if !writer.has_room() {
                            self.emit = Emit::Symbols { token, literals };
                            return false;
                        }
                        let Some(word) = tokens.get(usize::from(token)) else {
                            writer.push_code(literal(literal_codes, 256));
                            break;
                        };
                        let Token { len, distance, .. } = Token::from_word(*word);
                        if distance != NO_MATCH {
                            let (symbol, extra, bits) = length_symbol(len);
                            writer.push_code(literal(literal_codes, symbol));
                            writer.push(extra.into(), bits);
                            let (symbol, extra, bits) = distance_symbol(distance);
                            writer.push_code(match distance_codes {
                                [] => fixed_distance(symbol),
                                codes => code(codes, symbol),
                            });
                            writer.push(extra.into(), bits);
                            self.start = self.start.wrapping_add(usize::from(len) + MIN_MATCH);
                        }
                        token = token.wrapping_add(1);
                        literals = match tokens.get(usize::from(token)) {
                            Some(word) => Token::from_word(*word).literals,
                            None => self.at.saturating_sub(self.start) as u32,
                        };
                    }
                    (self.tokens, self.literals) = (0, 0);
                    Emit::Idle
                }
                Emit::StoredLength => {
                    let len = self.at.saturating_sub(self.start).min(MAX_STORED) as u16;
                    writer.push(len.into(), 16);
                    writer.push((!len).into(), 16);
                    Emit::Stored { left: len }
                }
                Emit::Stored { left } => {
                    let bytes = parts.text.get(self.start..self.at).unwrap_or_default();
                    let bytes = bytes.get(..left.into()).unwrap_or_default();
                    let Some(copied) = writer.put(bytes) else {
                        return false;
                    };
                    self.start = self.start.wrapping_add(copied);
                    if copied < left.into() {
                        self.emit = Emit::Stored {
                            left: left.saturating_sub(copied as u16),
                        };
                        return false;
                    }
                    (self.tokens, self.literals) = (0, 0);
                    Emit::Idle
                }
                Emit::End => {
                    if !writer.drain() {
                        return false;
                    }
                    Emit::Idle
                }
            };
        }
    }
}
