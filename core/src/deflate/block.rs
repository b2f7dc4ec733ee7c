//! A block: its literals and matches, and the codes that take the fewest bits for them.

use super::codes::{DISTANCES, LITERALS};
use super::huffman::{self, Code, Word, fixed_literal};
use super::symbols::{MIN_MATCH, ORDER, distance_symbol, length_symbol};

/// Words that a block with codes of its own needs: the codes of literals, distances and code
/// lengths, and the nodes of a tree.
pub(super) const CODES: usize = LITERALS + DISTANCES + 20;
pub(super) const WORDS: usize = CODES + LITERALS;

/// In place of a match's distance: there is no match, the literals go on. The length, plus
/// one, is how many times [`LONG_RUN`] they are.
pub(super) const NO_MATCH: u16 = u16::MAX;
/// The literals of a token without a match.
const LONG_RUN: u32 = 255;

/// Literals and then a match, as they are kept in a [`Word`].
#[derive(Clone, Copy)]
pub(super) struct Token {
    pub(super) literals: u32,
    /// Less 3.
    pub(super) len: u8,
    /// Less 1, or [`NO_MATCH`].
    pub(super) distance: u16,
}

impl Token {
    #[inline(always)]
    pub(super) const fn from_word(word: Word) -> Self {
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
pub(super) struct Block<'a> {
    pub(super) tokens: &'a mut [Word],
    pub(super) count: usize,
    pub(super) literals: u8,
}

impl Block<'_> {
    /// For one literal and one match at least.
    #[inline(always)]
    pub(super) const fn has_room(&self) -> bool {
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
    pub(super) fn literal(&mut self) {
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
    pub(super) fn found(&mut self, len: usize, distance: usize) {
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
pub(super) fn fixed_bits(text: &[u8], tokens: &[Word]) -> u32 {
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

/// Makes a block's own codes. Returns the bits that it takes with them, and how many literals, distances
/// and code lengths there are.
pub(super) fn dynamic_codes(
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
pub(super) fn code(codes: &[Word], symbol: u16) -> Code {
    Code::from_word(codes.get(usize::from(symbol)).copied().unwrap_or_default())
}

/// The code of a literal or length: the fixed one where the block has none of its own.
#[inline(always)]
pub(super) fn literal(codes: &[Word], symbol: u16) -> Code {
    match codes {
        [] => fixed_literal(symbol),
        codes => code(codes, symbol),
    }
}

/// The lengths of a block's codes, as one list.
pub(super) struct Lengths<'a> {
    pub(super) literals: &'a [Word],
    pub(super) distances: &'a [Word],
}

/// One step in writing them (RFC 1951 §3.2.7).
pub(super) struct Item {
    pub(super) symbol: u16,
    pub(super) extra: u16,
    pub(super) extra_bits: u32,
    /// How many lengths that stands for.
    pub(super) times: u16,
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

    pub(super) fn item(&self, index: u16) -> Item {
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
