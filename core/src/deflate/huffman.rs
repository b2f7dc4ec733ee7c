//! Prefix codes for a block, made from how often each symbol occurs (RFC 1951 §3.2.2).

use super::codes::MAX_BITS;

/// A place for a number of up to 32 bits in memory that the caller gave as bytes.
pub(super) type Word = [u8; 4];

/// The greatest code length that is counted before it is cut to what is allowed.
const DEEPEST: usize = 31;

/// A code and its length, as they are kept in a [`Word`]: the bits in the order in which they are
/// written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Code {
    pub(super) bits: u16,
    pub(super) len: u16,
}

impl Code {
    #[inline(always)]
    pub(super) const fn from_word(word: Word) -> Self {
        let [a, b, c, d] = word;
        Self {
            bits: u16::from_le_bytes([a, b]),
            len: u16::from_le_bytes([c, d]),
        }
    }

    const fn word(self) -> Word {
        let ([a, b], [c, d]) = (self.bits.to_le_bytes(), self.len.to_le_bytes());
        [a, b, c, d]
    }

    /// RFC 1951 §3.1.1: codes are written with the most significant bit first.
    const fn reversed(code: u16, len: u16) -> Self {
        Self {
            bits: code.reverse_bits() >> (16_u16.wrapping_sub(len) & 15),
            len,
        }
    }
}

/// The code of a literal, a length or the end of a block in §3.2.6.
pub(super) const fn fixed_literal(symbol: u16) -> Code {
    match symbol {
        0..144 => Code::reversed(0x30 + symbol, 8),
        144..256 => Code::reversed(0x190 + (symbol - 144), 9),
        256..280 => Code::reversed(symbol - 256, 7),
        _ => Code::reversed(0xC0 + symbol.wrapping_sub(280), 8),
    }
}

/// The code of a distance in §3.2.6.
pub(super) const fn fixed_distance(symbol: u16) -> Code {
    Code::reversed(symbol, 5)
}

/// A symbol and a key, its frequency and later its depth.
#[derive(Clone, Copy)]
struct Node {
    key: u16,
    symbol: u16,
}

impl Node {
    const fn word(self) -> Word {
        // In the order of the words the key counts first.
        ((self.key as u32) << 16 | self.symbol as u32).to_le_bytes()
    }
}

/// The nodes, in memory that the caller gave.
struct Nodes<'a>(&'a mut [Word]);

impl Nodes<'_> {
    fn node(&self, index: usize) -> Node {
        let word = u32::from_le_bytes(self.0.get(index).copied().unwrap_or_default());
        Node {
            key: (word >> 16) as u16,
            symbol: word as u16,
        }
    }

    fn key(&self, index: usize) -> u16 {
        self.node(index).key
    }

    fn set_key(&mut self, index: usize, key: u16) {
        let symbol = self.node(index).symbol;
        if let Some(place) = self.0.get_mut(index) {
            *place = Node { key, symbol }.word();
        }
    }

    /// Shell's sort: short, and quick enough for 286.
    fn sort(&mut self) {
        let word = |nodes: &[Word], index: usize| {
            u32::from_le_bytes(nodes.get(index).copied().unwrap_or_default())
        };
        for gap in [132, 57, 23, 10, 4, 1] {
            for start in gap..self.0.len() {
                let moved = word(self.0, start);
                let mut at = start;
                while at >= gap && word(self.0, at.wrapping_sub(gap)) > moved {
                    let larger = word(self.0, at.wrapping_sub(gap));
                    if let Some(place) = self.0.get_mut(at) {
                        *place = larger.to_le_bytes();
                    }
                    at = at.wrapping_sub(gap);
                }
                if let Some(place) = self.0.get_mut(at) {
                    *place = moved.to_le_bytes();
                }
            }
        }
    }

    /// Replaces the sorted frequencies by the depths in the tree, in place (A. Moffat and
    /// J. Katajainen, "In-Place Calculation of Minimum-Redundancy Codes").
    fn depths(&mut self) {
        let count = self.0.len();
        if count < 2 {
            self.set_key(0, 1);
            return;
        }
        // Frequencies of the inner nodes, then for each its parent.
        self.set_key(0, self.key(0).wrapping_add(self.key(1)));
        let (mut root, mut leaf) = (0, 2);
        for next in 1..count.wrapping_sub(1) {
            let mut sum = 0_u16;
            for second in [false, true] {
                let inner = root < next || !second;
                if leaf >= count || (inner && self.key(root) < self.key(leaf)) {
                    sum = sum.wrapping_add(self.key(root));
                    self.set_key(root, next as u16);
                    root = root.wrapping_add(1);
                } else {
                    sum = sum.wrapping_add(self.key(leaf));
                    leaf = leaf.wrapping_add(1);
                }
            }
            self.set_key(next, sum);
        }
        // The depths of the inner nodes.
        let last = count.wrapping_sub(2);
        self.set_key(last, 0);
        for next in (0..last).rev() {
            let parent = self.key(next);
            self.set_key(next, self.key(parent.into()).wrapping_add(1));
        }
        // The depths of the leaves.
        let (mut available, mut depth) = (1_usize, 0_u16);
        let (mut inner, mut next) = (count.wrapping_sub(1), count);
        while available > 0 && next > 0 {
            let mut used = 0_usize;
            while inner > 0 && self.key(inner.wrapping_sub(1)) == depth {
                used = used.wrapping_add(1);
                inner = inner.wrapping_sub(1);
            }
            while available > used && next > 0 {
                next = next.wrapping_sub(1);
                self.set_key(next, depth);
                available = available.wrapping_sub(1);
            }
            available = used.wrapping_mul(2);
            depth = depth.wrapping_add(1);
        }
    }
}

/// Makes codes of at most `max` bits from the frequencies in `table`, and puts them in their place.
/// Tells how many bits all the symbols take together. At least two symbols get a code.
pub(super) fn build(table: &mut [Word], nodes: &mut [Word], max: usize) -> u32 {
    let used = |table: &[Word]| table.iter().filter(|word| **word != [0; 4]).count();
    // One code alone, or none, is not understood by all.
    let mut index = 0;
    while used(table) < 2 && index < 2 {
        if let Some(word) = table.get_mut(index)
            && *word == [0; 4]
        {
            *word = 1_u32.to_le_bytes();
        }
        index += 1;
    }
    let mut count = 0;
    for (symbol, frequency) in (0_u16..).zip(table.iter()) {
        let key = u32::from_le_bytes(*frequency) as u16;
        if key > 0
            && let Some(place) = nodes.get_mut(count)
        {
            *place = Node { key, symbol }.word();
            count += 1;
        }
    }
    let mut nodes = Nodes(nodes.get_mut(..count).unwrap_or_default());
    nodes.sort();
    nodes.depths();

    let mut counts = [0_u16; DEEPEST + 1];
    for index in 0..count {
        let depth = usize::from(nodes.key(index)).min(DEEPEST);
        if let Some(count) = counts.get_mut(depth) {
            *count = count.wrapping_add(1);
        }
    }
    limit(&mut counts, max);

    // The most frequent get the shortest.
    let mut bits = 0_u32;
    let mut index = count;
    for (len, of_len) in (0_u16..).zip(&counts).skip(1).take(max) {
        for _ in 0..*of_len {
            index = index.saturating_sub(1);
            let symbol = nodes.node(index).symbol;
            if let Some(word) = table.get_mut(usize::from(symbol)) {
                let frequency = u32::from_le_bytes(*word);
                bits = bits.wrapping_add(frequency.wrapping_mul(len.into()));
                *word = Code { bits: 0, len }.word();
            }
        }
    }

    // RFC 1951 §3.2.2: codes of one length follow each other in the order of the symbols.
    let mut next = [0_u16; MAX_BITS + 2];
    let mut code = 0_u16;
    for (of_len, next) in counts.iter().zip(&mut next).skip(1).take(max) {
        *next = code;
        code = code.wrapping_add(*of_len) << 1;
    }
    for word in table {
        let len = Code::from_word(*word).len;
        if len > 0
            && let Some(next) = next.get_mut(usize::from(len))
        {
            *word = Code::reversed(*next, len).word();
            *next = next.wrapping_add(1);
        }
    }
    bits
}

/// Makes the tree no deeper than `max`: what is deeper moves up, and what is above makes room.
fn limit(counts: &mut [u16; DEEPEST + 1], max: usize) {
    let mut deepest = 0_u16;
    for count in counts.iter_mut().skip(max) {
        deepest = deepest.wrapping_add(core::mem::take(count));
    }
    let mut total = u32::from(deepest);
    for (len, count) in counts.iter().enumerate().take(max).skip(1) {
        total = total.wrapping_add(u32::from(*count) << (max.wrapping_sub(len) & 31));
    }
    while total > 1 << max {
        deepest = deepest.wrapping_sub(1);
        let shorter = (1..max)
            .rev()
            .find(|len| counts.get(*len).is_some_and(|count| *count > 0));
        let Some(shorter) = shorter else {
            break; // A tree always has one.
        };
        if let Some(count) = counts.get_mut(shorter) {
            *count = count.wrapping_sub(1);
        }
        match counts.get_mut(shorter.wrapping_add(1)) {
            Some(count) if shorter.wrapping_add(1) < max => *count = count.wrapping_add(2),
            _ => deepest = deepest.wrapping_add(2),
        }
        total = total.wrapping_sub(1);
    }
    if let Some(count) = counts.get_mut(max) {
        *count = deepest;
    }
}
