//! Prefix codes (RFC 1951 §3.2.2), decoded by a table for the short and by counting for the long.

use core::ops::Range;

use core::fmt;

/// The compressed data cannot be inflated: it is no DEFLATE, it refers to what lies before the
/// stream's start or beyond the agreed window, or a message ends in the midst of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Malformed;

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the compressed data cannot be inflated")
    }
}

impl core::error::Error for Malformed {}

/// The longest code of literals, lengths and distances, in bits.
pub(super) const MAX_BITS: usize = 15;
/// Symbols of literals and lengths, with the two that no stream has (§3.2.5).
pub(super) const LITERALS: usize = 288;
/// Symbols of distances, with the two that no stream has.
pub(super) const DISTANCES: usize = 32;
/// Code lengths that one block has at most.
pub(super) const MAX_LENGTHS: usize = LITERALS + DISTANCES;

/// The bits that index the table of literals and lengths.
const LITERAL_BITS: u32 = 9;
/// The bits that index the table of distances.
const DISTANCE_BITS: u32 = 8;

/// An entry for a literal has this bit.
const IS_LITERAL: u16 = 0x8000;
/// An entry for a code that is longer than the table's index, or that there is not.
const NO_DISTANCE: u8 = 0xFF;

/// A symbol that the next bits begin with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Decoded {
    pub(super) symbol: u16,
    /// Bits of its code.
    pub(super) len: u32,
}

/// Why there is no symbol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoSymbol {
    /// The code goes on.
    MoreBits,
    /// No code begins like that.
    Impossible,
}

/// A canonical code as its symbols in the order of their codes, and how many there are of each
/// length. That is all there is to know; the tables are for speed.
#[derive(Clone, Debug)]
struct Canonical<T, const N: usize> {
    counts: [u16; MAX_BITS + 1],
    symbols: [T; N],
}

impl<T: Copy + Into<u16> + TryFrom<u16>, const N: usize> Canonical<T, N> {
    /// RFC 1951 §3.2.2: from the length of each symbol's code. Tells whether all codes are taken.
    fn build(&mut self, lengths: &[u8]) -> Result<bool, Malformed> {
        self.counts = [0; MAX_BITS + 1];
        for len in lengths {
            if let Some(count) = self.counts.get_mut(usize::from(*len)) {
                *count = count.wrapping_add(1);
            }
        }
        if let Some(unused) = self.counts.first_mut() {
            *unused = 0;
        }
        let mut left = 1_i32;
        let mut index = 0_u16;
        let mut next = [0_u16; MAX_BITS + 1];
        for (count, next) in self.counts.iter().zip(&mut next).skip(1) {
            left = left.wrapping_mul(2).wrapping_sub(i32::from(*count));
            // More codes of this length than there are
            if left < 0 {
                return Err(Malformed);
            }
            *next = index;
            index = index.wrapping_add(*count);
        }
        for (symbol, len) in (0_u16..).zip(lengths) {
            if *len != 0
                && let Some(next) = next.get_mut(usize::from(*len))
                && let Some(place) = self.symbols.get_mut(usize::from(*next))
                && let Ok(symbol) = T::try_from(symbol)
            {
                *place = symbol;
                *next = next.wrapping_add(1);
            }
        }
        Ok(left == 0)
    }

    /// Bit by bit: a code's bits come with the most significant first.
    fn decode(&self, mut bits: u64, available: u32) -> Result<Decoded, NoSymbol> {
        let (mut code, mut first, mut index) = (0_u32, 0_u32, 0_u32);
        for (len, count) in (0_u32..).zip(&self.counts).skip(1) {
            if len > available {
                return Err(NoSymbol::MoreBits);
            }
            code |= (bits & 1) as u32;
            bits >>= 1;
            let count = u32::from(*count);
            let at = code.wrapping_sub(first);
            if at < count {
                let symbol = self.symbols.get(index.wrapping_add(at) as usize);
                let symbol = symbol.copied().map_or(u16::MAX, T::into);
                return Ok(Decoded { symbol, len });
            }
            index = index.wrapping_add(count);
            first = first.wrapping_add(count) << 1;
            code <<= 1;
        }
        Err(NoSymbol::Impossible)
    }

    /// Fills a table that the next bits index, in the order in which they come. `entry` is what stands
    /// for a symbol and the length of its code; `none`, for a code longer than the index, or no code.
    fn fill<E: Copy>(&self, table: &mut [E], none: E, entry: impl Fn(u16, u32) -> E) {
        let mut symbols = self.symbols.iter();
        let (mut code, mut size) = (0_u32, 1);
        if let Some(first) = table.first_mut() {
            *first = none;
        }
        for (len, count) in (1_u32..).zip(self.counts.iter().skip(1)) {
            // With one bit more, what stands for the shorter codes stands there twice.
            let (shorter, rest) = table.split_at_mut_checked(size).unwrap_or_default();
            if rest.is_empty() {
                return;
            }
            for (to, from) in rest.iter_mut().zip(shorter) {
                *to = *from;
            }
            size = size.wrapping_mul(2);
            for symbol in symbols.by_ref().take(usize::from(*count)) {
                let place = code.reverse_bits() >> (32_u32.wrapping_sub(len) & 31);
                if let Some(place) = table.get_mut(place as usize) {
                    *place = entry((*symbol).into(), len);
                }
                code = code.wrapping_add(1);
            }
            code <<= 1;
        }
    }
}

/// The codes of a block. 1,952 bytes.
#[derive(Clone, Debug)]
pub(super) struct Codes {
    /// While the code lengths of a block are read they lie here, for the table is not needed then.
    literal_table: [u16; 1 << LITERAL_BITS],
    /// Distances; while the code lengths are read, their codes.
    distance_table: [u8; 1 << DISTANCE_BITS],
    literals: Canonical<u16, LITERALS>,
    distances: Canonical<u8, DISTANCES>,
}

impl Codes {
    pub(super) const fn new() -> Self {
        Self {
            literal_table: [0; 1 << LITERAL_BITS],
            distance_table: [NO_DISTANCE; 1 << DISTANCE_BITS],
            literals: Canonical {
                counts: [0; MAX_BITS + 1],
                symbols: [0; LITERALS],
            },
            distances: Canonical {
                counts: [0; MAX_BITS + 1],
                symbols: [0; DISTANCES],
            },
        }
    }

    /// Notes the length of the codes of the symbols `indices`: literals first, then distances.
    pub(super) fn set_lengths(&mut self, indices: Range<u16>, len: u8) {
        let indices = usize::from(indices.start)..usize::from(indices.end);
        if let Some(places) = self.literal_table.get_mut(indices) {
            places.fill(len.into());
        }
    }

    /// The length that was noted for `index`.
    pub(super) fn length(&self, index: u16) -> u8 {
        let length = self.literal_table.get(usize::from(index));
        length.map_or(0, |length| *length as u8)
    }

    /// The lengths that were noted for 0 to `N`.
    fn lengths<const N: usize>(&self) -> [u8; N] {
        let mut lengths = [0; N];
        for (len, noted) in lengths.iter_mut().zip(&self.literal_table) {
            *len = *noted as u8;
        }
        lengths
    }

    /// The codes of the code lengths (§3.2.7), from the lengths noted for 0..19.
    pub(super) fn build_length_codes(&mut self) -> Result<(), Malformed> {
        // RFC 1951 §3.2.7: all codes are taken, as zlib demands it
        if !self.distances.build(&self.lengths::<19>())? {
            return Err(Malformed);
        }
        self.build_distance_table();
        Ok(())
    }

    /// The codes of a block, from the lengths noted for `literals` and then `distances` symbols.
    pub(super) fn build(&mut self, literals: u16, distances: u16) -> Result<(), Malformed> {
        // A block without an end has no end
        if self.length(256) == 0 {
            return Err(Malformed);
        }
        let lengths: [u8; MAX_LENGTHS] = self.lengths();
        let (of_literals, rest) = lengths
            .split_at_checked(usize::from(literals))
            .unwrap_or_default();
        let of_distances = rest.get(..usize::from(distances)).unwrap_or_default();
        // A code may lack symbols only where it has none or a single one, of one bit [PD26]
        let complete = self.literals.build(of_literals)?;
        let lone = |counts: &[u16; MAX_BITS + 1]| counts.iter().skip(2).all(|count| *count == 0);
        if !complete && !lone(&self.literals.counts) {
            return Err(Malformed);
        }
        let complete = self.distances.build(of_distances)?;
        if !complete && !lone(&self.distances.counts) {
            return Err(Malformed);
        }
        self.build_literal_table();
        self.build_distance_table();
        Ok(())
    }

    /// The codes of §3.2.6.
    pub(super) fn build_fixed(&mut self) {
        for (symbols, len) in [(0..144, 8), (144..256, 9), (256..280, 7), (280..288, 8)] {
            self.set_lengths(symbols, len);
        }
        self.set_lengths(LITERALS as u16..MAX_LENGTHS as u16, 5);
        // These lengths are right.
        let _ = self.build(LITERALS as u16, DISTANCES as u16);
    }

    fn build_literal_table(&mut self) {
        let entry = |symbol, len| match symbol {
            0..256 => IS_LITERAL | symbol << 4 | len as u16,
            _ => symbol.wrapping_sub(256) << 4 | len as u16,
        };
        self.literals.fill(&mut self.literal_table, 0, entry);
    }

    fn build_distance_table(&mut self) {
        let entry = |symbol, len: u32| (symbol as u8) << 3 | len.wrapping_sub(1) as u8;
        let table = &mut self.distance_table;
        self.distances.fill(table, NO_DISTANCE, entry);
    }

    /// The literal or length that the next bits begin with.
    #[inline]
    pub(super) fn literal(&self, bits: u64, available: u32) -> Result<Decoded, NoSymbol> {
        let entry = self.literal_entry(bits);
        let len = entry.len();
        if len == 0 {
            return self.literals.decode(bits, available);
        }
        if len > available {
            return Err(NoSymbol::MoreBits);
        }
        let symbol = entry.symbol();
        Ok(Decoded { symbol, len })
    }

    /// A distance, or the length of a code, that the next bits begin with.
    #[inline]
    pub(super) fn distance(&self, bits: u64, available: u32) -> Result<Decoded, NoSymbol> {
        let index = bits as usize & ((1 << DISTANCE_BITS) - 1);
        let entry = self.distance_table.get(index).copied();
        match entry.unwrap_or(NO_DISTANCE) {
            NO_DISTANCE => self.distances.decode(bits, available),
            entry => {
                let len = u32::from(entry & 7) + 1;
                if len > available {
                    return Err(NoSymbol::MoreBits);
                }
                let symbol = u16::from(entry >> 3);
                Ok(Decoded { symbol, len })
            }
        }
    }

    #[inline(always)]
    pub(super) fn literal_entry(&self, bits: u64) -> Entry {
        let index = bits as usize & ((1 << LITERAL_BITS) - 1);
        Entry(self.literal_table.get(index).copied().unwrap_or(0))
    }
}

/// An entry of the table of literals and lengths.
#[derive(Clone, Copy)]
pub(super) struct Entry(u16);

impl Entry {
    /// Bits of the code; 0 where it is not in the table.
    #[inline(always)]
    pub(super) const fn len(self) -> u32 {
        (self.0 & 0xF) as u32
    }

    #[inline(always)]
    pub(super) const fn literal(self) -> Option<u8> {
        if self.0 & IS_LITERAL != 0 {
            Some((self.0 >> 4) as u8)
        } else {
            None
        }
    }

    /// The symbol of a code in the table that is no literal.
    #[inline(always)]
    pub(super) const fn not_literal(self) -> u16 {
        (self.0 >> 4) | 256
    }

    #[inline(always)]
    const fn symbol(self) -> u16 {
        let symbol = (self.0 >> 4) & 0x1FF;
        if self.0 & IS_LITERAL != 0 {
            symbol & 0xFF
        } else {
            symbol | 256
        }
    }
}
