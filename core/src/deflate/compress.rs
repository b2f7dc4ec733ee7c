//! Compression (RFC 1951, RFC 7692 §7.2.1).

use super::WindowBits;
use super::codes::{DISTANCES, LITERALS};
use super::huffman::{self, Code, Word, fixed_distance, fixed_literal};
use super::inflate::ORDER;
use crate::error::NoRoom;

/// The shortest and the longest match (RFC 1951 §3.2.5).
const MIN_MATCH: usize = 3;
const MAX_MATCH: usize = 258;
/// How many bytes are hashed to find a match, and must be there.
const HASHED: usize = 4;
/// A match of three bytes that is farther away than this takes more bits than three literals.
const NEAR: usize = 4096;

/// The least number of entries in the hash table, and of matches in a block.
const MIN_HEADS: usize = 64;
const MIN_TOKENS: usize = 16;
/// The most matches in a block.
const MAX_TOKENS: usize = 8192;
/// Words that a block with codes of its own needs: the codes of literals, distances and code
/// lengths, and the nodes of a tree.
const CODES: usize = LITERALS + DISTANCES + 20;
const WORDS: usize = CODES + LITERALS;
/// From this memory on beside the window, blocks may have codes of their own.
const MIN_DYNAMIC: usize = 2 * 4 * WORDS;
/// A block that takes fewer bits than this with the fixed codes keeps them: codes of its own take
/// nearly as much.
const MIN_DYNAMIC_BITS: u32 = 600;
/// The longest block, in bytes: so no sum of frequencies exceeds 16 bits.
const MAX_BLOCK: usize = 65_000;
/// The most bytes in a stored block (RFC 1951 §3.2.4).
const MAX_STORED: usize = 65_535;

/// In place of a match's distance: there is no match, the literals go on. The length tells, less
/// one, how many times [`LONG_RUN`] they are.
const NO_MATCH: u16 = u16::MAX;
/// The literals of a token without a match.
const LONG_RUN: u32 = 255;

/// How hard to look for matches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Level {
    /// Takes the first good match: for throughput.
    Fast,
    /// Looks at some, and at those of the next byte: as zlib's level 6.
    #[default]
    Default,
    /// Looks at nearly all.
    Best,
}

/// What a [`Level`] means.
#[derive(Clone, Copy)]
struct Search {
    /// How many places are looked at.
    places: u32,
    /// A match of this length is long enough to stop.
    nice: usize,
    /// A match of this length is not given up for one of the next byte; 0: none is.
    lazy: usize,
    /// With a match of this length, only a quarter of the places are looked at for the next byte.
    good: usize,
}

impl Level {
    const fn search(self) -> Search {
        match self {
            Self::Fast => Search {
                places: 6,
                nice: 24,
                lazy: 0,
                good: 8,
            },
            Self::Default => Search {
                places: 48,
                nice: 128,
                lazy: 16,
                good: 8,
            },
            Self::Best => Search {
                places: 2048,
                nice: MAX_MATCH,
                lazy: MAX_MATCH,
                good: 32,
            },
        }
    }
}

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

/// Where in the text the same bytes were before. 0 stands for nowhere.
struct Index<'a> {
    /// For each hash, the newest place.
    heads: &'a mut [[u8; 2]],
    /// For each place, the next older one with the same hash; as many as there is memory for.
    chains: &'a mut [[u8; 2]],
    /// The farthest distance.
    size: usize,
    /// Which of four bytes are hashed.
    mask: u32,
}

impl Index<'_> {
    /// Enters the place `at`, and tells the newest one before with the same hash.
    #[inline(always)]
    fn insert(&mut self, text: &[u8], at: usize) -> usize {
        let bytes = word(text, at) & self.mask;
        let hash = bytes.wrapping_mul(0x9E37_79B1) as usize >> 7;
        let hash = (hash ^ hash >> 11) & self.heads.len().wrapping_sub(1);
        let Some(head) = self.heads.get_mut(hash) else {
            return 0;
        };
        let before = *head;
        *head = (at as u16).to_le_bytes();
        let place = at & self.chains.len().wrapping_sub(1);
        if let Some(place) = self.chains.get_mut(place) {
            *place = before;
        }
        u16::from_le_bytes(before).into()
    }

    #[inline(always)]
    fn older(&self, at: usize) -> Option<usize> {
        let place = at & self.chains.len().wrapping_sub(1);
        let older = self.chains.get(place)?;
        Some(u16::from_le_bytes(*older).into())
    }

    /// The text has moved to the front by `by`.
    fn slide(&mut self, by: usize) {
        let by = by as u16;
        let places = self.heads.iter_mut().chain(self.chains.iter_mut());
        places.for_each(|place| {
            *place = u16::from_le_bytes(*place).saturating_sub(by).to_le_bytes();
        });
    }

    /// The longest match for the text at `at`, if it is longer than `least`: its length (or
    /// `least`) and distance. `place` is where to look first.
    #[inline(always)]
    fn longest(
        &self,
        text: &[u8],
        at: usize,
        mut place: usize,
        mut least: usize,
        most: usize,
        search: Search,
    ) -> (usize, usize) {
        let ours = text.get(at..at.wrapping_add(most)).unwrap_or_default();
        let oldest = at.saturating_sub(self.size).max(1);
        // Beyond these the chains have been used for newer places.
        let chained = at.saturating_sub(self.chains.len());
        let mut distance = 0;
        let mut places = search.places;
        let mut newest = at;
        // What a longer match must have in the end; at first, what was hashed.
        let (mut end, mut mask) = (0, self.mask);
        if least >= MIN_MATCH {
            (end, mask) = (least.wrapping_sub(MIN_MATCH), u32::MAX);
        }
        let mut ours_end = word(text, at.wrapping_add(end)) & mask;
        // What lies in the index may be of another message: then it leads nowhere.
        while place >= oldest && place < newest {
            let theirs_end = text.get(place.wrapping_add(end)..);
            let Some(theirs_end) = theirs_end.and_then(<[u8]>::first_chunk) else {
                break;
            };
            if u32::from_le_bytes(*theirs_end) & mask == ours_end {
                let theirs = text.get(place..place.wrapping_add(most));
                let len = common(ours, theirs.unwrap_or_default());
                if len > least {
                    least = len;
                    distance = at.wrapping_sub(place);
                    if len >= search.nice || len >= most {
                        break;
                    }
                    (end, mask) = (len.saturating_sub(MIN_MATCH), u32::MAX);
                    ours_end = word(text, at.wrapping_add(end));
                }
            }
            places = places.wrapping_sub(1);
            if places == 0 || place <= chained {
                break;
            }
            newest = place;
            let Some(older) = self.older(place) else {
                break;
            };
            place = older;
        }
        (least, distance)
    }
}

/// Four bytes of the text, all of which are there.
#[inline(always)]
fn word(text: &[u8], at: usize) -> u32 {
    let bytes = text.get(at..).and_then(<[u8]>::first_chunk);
    u32::from_le_bytes(*bytes.unwrap_or(&[0; HASHED]))
}

/// How many bytes both begin with.
#[inline(always)]
fn common(a: &[u8], b: &[u8]) -> usize {
    let ((a_words, a_rest), (b_words, b_rest)) = (a.as_chunks::<8>(), b.as_chunks::<8>());
    let mut len = 0_usize;
    for (a, b) in a_words.iter().zip(b_words) {
        let differ = u64::from_le_bytes(*a) ^ u64::from_le_bytes(*b);
        if differ != 0 {
            return len.wrapping_add((differ.trailing_zeros() / 8) as usize);
        }
        len = len.wrapping_add(8);
    }
    let same = a_rest
        .iter()
        .zip(b_rest)
        .take_while(|(a, b)| a == b)
        .count();
    len.wrapping_add(same)
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
/// What does not get smaller is stored: that is 5 bytes more for a block, and one for the message. A
/// block is about as long as the window, and where there is little memory a hundred bytes at least.
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

    /// A deflater that refers back 2^`bits` bytes at most.
    ///
    /// # Errors
    /// [`NoRoom`] where `memory` is shorter than [`min_memory`](Self::min_memory).
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
    /// `*filled` behind it. `last`: the message ends with the input. Where it gives
    /// [`Deflated::Full`], call it again with the rest of the input and more room.
    pub fn deflate(
        &mut self,
        input: &mut &[u8],
        last: bool,
        out: &mut [u8],
        filled: &mut usize,
    ) -> Deflated {
        let mut writer = Writer {
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

    fn run(&mut self, input: &mut &[u8], last: bool, writer: &mut Writer<'_>) -> Deflated {
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
    fn begin_block(&mut self, writer: &mut Writer<'_>) {
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

    /// Writes what there is room for; tells whether that was all.
    fn emit(&mut self, writer: &mut Writer<'_>) -> bool {
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

/// Literals and then a match, as they are kept in a [`Word`].
#[derive(Clone, Copy)]
struct Token {
    literals: u32,
    /// Less 3.
    len: u8,
    /// Less 1, or [`NO_MATCH`].
    distance: u16,
}

impl Token {
    #[inline(always)]
    const fn from_word(word: Word) -> Self {
        let [literals, len, a, b] = word;
        let distance = u16::from_le_bytes([a, b]);
        let literals = match distance {
            NO_MATCH => LONG_RUN * (len as u32 + 1),
            _ => literals as u32,
        };
        Self {
            literals,
            len,
            distance,
        }
    }
}

/// The matches of the block so far.
struct Block<'a> {
    tokens: &'a mut [Word],
    count: usize,
    literals: u8,
}

impl Block<'_> {
    /// For one literal and one match at least.
    #[inline(always)]
    const fn has_room(&self) -> bool {
        self.count.wrapping_add(2) <= self.tokens.len()
    }

    #[inline(always)]
    fn push(&mut self, len: u8, distance: u16) {
        let [a, b] = distance.to_le_bytes();
        if let Some(place) = self.tokens.get_mut(self.count) {
            *place = [self.literals, len, a, b];
            self.count = self.count.wrapping_add(1);
        }
        self.literals = 0;
    }

    #[inline(always)]
    fn literal(&mut self) {
        self.literals = self.literals.wrapping_add(1);
        if u32::from(self.literals) == LONG_RUN {
            self.long_run();
        }
    }

    #[inline(never)]
    fn long_run(&mut self) {
        let before = self.count.wrapping_sub(1);
        if let Some([_, times @ 0..=254, u8::MAX, u8::MAX]) = self.tokens.get_mut(before) {
            *times = times.wrapping_add(1);
            self.literals = 0;
        } else {
            self.push(0, NO_MATCH);
        }
    }

    #[inline(always)]
    fn found(&mut self, len: usize, distance: usize) {
        self.push(
            len.wrapping_sub(MIN_MATCH) as u8,
            distance.wrapping_sub(1) as u16,
        );
    }
}

/// Calls `literal` for each literal and `matched` for each match, its length less 3 and its distance
/// less 1, of a block.
#[inline(always)]
fn for_each_symbol(mut text: &[u8], tokens: &[Word], mut symbol: impl FnMut(Symbol)) {
    for token in tokens {
        let token = Token::from_word(*token);
        let (literals, rest) = text
            .split_at_checked(token.literals as usize)
            .unwrap_or_default();
        for byte in literals {
            symbol(Symbol::Literal(*byte));
        }
        text = rest;
        if token.distance != NO_MATCH {
            symbol(Symbol::Match(token.len, token.distance));
            text = rest
                .get(usize::from(token.len) + MIN_MATCH..)
                .unwrap_or_default();
        }
    }
    for byte in text {
        symbol(Symbol::Literal(*byte));
    }
}

enum Symbol {
    Literal(u8),
    Match(u8, u16),
}

/// The bits that a block takes with the codes of RFC 1951 §3.2.6, without its header.
fn fixed_bits(text: &[u8], tokens: &[Word]) -> u32 {
    let mut total = 7_u32;
    for_each_symbol(text, tokens, |symbol| {
        total = total.wrapping_add(match symbol {
            Symbol::Literal(0..144) => 8,
            Symbol::Literal(_) => 9,
            Symbol::Match(len, distance) => {
                let (symbol, _, bits) = length_symbol(len);
                let (_, _, more) = distance_symbol(distance);
                u32::from(fixed_literal(symbol).len) + bits + 5 + more
            }
        });
    });
    total
}

/// Makes a block's own codes: tells the bits that it takes with them, and how many literals,
/// distances and code lengths there are.
fn dynamic_codes(
    text: &[u8],
    tokens: &[Word],
    codes: &mut [Word],
    nodes: &mut [Word],
) -> (u32, (u16, u16, u8)) {
    codes.fill([0; 4]);
    let (literals, rest) = codes.split_at_mut_checked(LITERALS).unwrap_or_default();
    let (distances, lengths) = rest.split_at_mut_checked(DISTANCES).unwrap_or_default();
    let mut total = 3 + 5 + 5 + 4_u32;
    for_each_symbol(text, tokens, |symbol| match symbol {
        Symbol::Literal(byte) => count(literals, byte.into()),
        Symbol::Match(len, distance) => {
            let (symbol, _, bits) = length_symbol(len);
            count(literals, symbol);
            let (symbol, _, more) = distance_symbol(distance);
            count(distances, symbol);
            total = total.wrapping_add(bits).wrapping_add(more);
        }
    });
    count(literals, 256);
    total = total.wrapping_add(huffman::build(literals, nodes, 15));
    total = total.wrapping_add(huffman::build(distances, nodes, 15));

    // RFC 1951 §3.2.7: what is unused at the end is left out.
    let used = |codes: &[Word], least: usize| {
        let used = codes.iter().rposition(|word| *word != [0; 4]);
        used.map_or(0, |last| last.wrapping_add(1)).max(least) as u16
    };
    let (literal_count, distance_count) = (used(literals, 257), used(distances, 1));
    let all = Lengths {
        literals: literals.get(..literal_count.into()).unwrap_or_default(),
        distances: distances.get(..distance_count.into()).unwrap_or_default(),
    };
    let mut index = 0;
    while index < literal_count.wrapping_add(distance_count) {
        let item = all.item(index);
        count(lengths, item.symbol);
        total = total.wrapping_add(item.extra_bits);
        index = index.wrapping_add(item.times);
    }
    total = total.wrapping_add(huffman::build(lengths, nodes, 7));
    let unused = ORDER
        .iter()
        .rev()
        .take_while(|symbol| code(lengths, u16::from(**symbol)).len == 0)
        .count();
    let length_count = ORDER.len().saturating_sub(unused).max(4);
    total = total.wrapping_add(3 * length_count as u32);
    (total, (literal_count, distance_count, length_count as u8))
}

#[inline(always)]
fn count(frequencies: &mut [Word], symbol: u16) {
    if let Some(word) = frequencies.get_mut(usize::from(symbol)) {
        *word = u32::from_le_bytes(*word).wrapping_add(1).to_le_bytes();
    }
}

#[inline(always)]
fn code(codes: &[Word], symbol: u16) -> Code {
    Code::from_word(codes.get(usize::from(symbol)).copied().unwrap_or_default())
}

/// The code of a literal or length: the fixed one where the block has none of its own.
#[inline(always)]
fn literal(codes: &[Word], symbol: u16) -> Code {
    match codes {
        [] => fixed_literal(symbol),
        codes => code(codes, symbol),
    }
}

/// The symbol of a length less 3, and its extra bits and their number (RFC 1951 §3.2.5).
#[inline(always)]
const fn length_symbol(len: u8) -> (u16, u16, u32) {
    if len == u8::MAX {
        return (285, 0, 0);
    }
    let bits = if len < 8 { 0 } else { 5 - len.leading_zeros() };
    let symbol = 257 + 4 * bits as u16 + (len >> (bits & 7)) as u16;
    let extra = len as u16 & ((1_u16 << (bits & 15)).wrapping_sub(1));
    (symbol, extra, bits)
}

/// The symbol of a distance less 1, and its extra bits and their number.
#[inline(always)]
const fn distance_symbol(distance: u16) -> (u16, u16, u32) {
    if distance < 4 {
        return (distance, 0, 0);
    }
    let bits = 30_u32.wrapping_sub((distance as u32 | 1).leading_zeros()) & 15;
    let symbol = 2 * bits as u16 + (distance >> bits);
    let extra = distance & ((1_u16 << bits).wrapping_sub(1));
    (symbol, extra, bits)
}

/// The lengths of a block's codes, as one list.
struct Lengths<'a> {
    literals: &'a [Word],
    distances: &'a [Word],
}

/// One step in writing them (RFC 1951 §3.2.7).
struct Item {
    symbol: u16,
    extra: u16,
    extra_bits: u32,
    /// How many lengths that stands for.
    times: u16,
}

impl Lengths<'_> {
    fn len(&self, index: u16) -> Option<u16> {
        let index = usize::from(index);
        let word = match self.literals.get(index) {
            None => self
                .distances
                .get(index.wrapping_sub(self.literals.len()))?,
            Some(word) => word,
        };
        Some(Code::from_word(*word).len)
    }

    fn item(&self, index: u16) -> Item {
        let value = self.len(index).unwrap_or(0);
        let most = if value == 0 { 138 } else { 6 };
        let mut run = 0_u16;
        while run < most && self.len(index.wrapping_add(run)) == Some(value) {
            run = run.wrapping_add(1);
        }
        let before = index.checked_sub(1).and_then(|index| self.len(index));
        let (symbol, least, extra_bits) = match value {
            0 if run >= 11 => (18, 11, 7),
            0 if run >= 3 => (17, 3, 3),
            1.. if run >= 3 && before == Some(value) => (16, 3, 2),
            _ => {
                return Item {
                    symbol: value,
                    extra: 0,
                    extra_bits: 0,
                    times: 1,
                };
            }
        };
        Item {
            symbol,
            extra: run.wrapping_sub(least),
            extra_bits,
            times: run,
        }
    }
}

/// Writes bits.
struct Writer<'a> {
    bits: u64,
    count: u32,
    out: &'a mut [u8],
    at: usize,
}

impl Writer<'_> {
    /// Up to 48 bits may follow each [`has_room`](Self::has_room).
    #[inline(always)]
    fn push(&mut self, value: u32, count: u32) {
        self.bits |= u64::from(value) << (self.count & 63);
        self.count = self.count.wrapping_add(count);
    }

    #[inline(always)]
    fn push_code(&mut self, code: Code) {
        self.push(code.bits.into(), code.len.into());
    }

    /// Fills up the byte with zeros.
    const fn align(&mut self) {
        self.count = self.count.wrapping_add(7) & !7;
    }

    /// Writes whole bytes; tells whether no more than 15 bits are left.
    #[inline(always)]
    fn has_room(&mut self) -> bool {
        let place = self.out.get_mut(self.at..).unwrap_or_default();
        if let Some(place) = place.first_chunk_mut() {
            *place = self.bits.to_le_bytes();
            self.at = self.at.wrapping_add((self.count >> 3) as usize);
            self.bits >>= self.count & 56;
            self.count &= 7;
            return true;
        }
        self.drain() || self.count <= 15
    }

    /// Writes whole bytes; tells whether that was all of them.
    #[inline(never)]
    fn drain(&mut self) -> bool {
        while self.count >= 8 {
            let Some(place) = self.out.get_mut(self.at) else {
                return false;
            };
            *place = self.bits as u8;
            self.at = self.at.wrapping_add(1);
            self.bits >>= 8;
            self.count = self.count.wrapping_sub(8);
        }
        true
    }

    /// Writes as many of these bytes as there is room for, after whole bytes of bits; `None` where
    /// there is no room for those.
    fn put(&mut self, bytes: &[u8]) -> Option<usize> {
        if !self.drain() {
            return None;
        }
        let room = self.out.get_mut(self.at..).unwrap_or_default();
        let len = room.len().min(bytes.len());
        for (to, from) in room.iter_mut().zip(bytes) {
            *to = *from;
        }
        self.at = self.at.wrapping_add(len);
        Some(len)
    }
}
