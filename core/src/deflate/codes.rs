//! Prefix codes (RFC 1951 §3.2.2), decoded by a table for the short and by counting for the long.

use super::inflate::Malformed;

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

    /// Calls `put` for each code of up to `max` bits: its first place in the table (its bits, in
    /// the order in which they come), its length, and its symbol.
    fn for_each_short(&self, max: u32, mut put: impl FnMut(usize, u32, u16)) {
        let mut symbols = self.symbols.iter();
        let mut code = 0_u32;
        for (len, count) in (1..=max).zip(self.counts.iter().skip(1)) {
            for symbol in symbols.by_ref().take(usize::from(*count)) {
                let place = code.reverse_bits() >> (32 - len);
                put(place as usize, len, (*symbol).into());
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

    /// Notes the length of the code of the symbol `index`: literals first, then distances.
    pub(super) fn set_length(&mut self, index: u16, len: u8) {
        if let Some(place) = self.literal_table.get_mut(usize::from(index)) {
            *place = len.into();
        }
    }

    /// The length that was noted for `index`.
    pub(super) fn length(&self, index: u16) -> u8 {
        let length = self.literal_table.get(usize::from(index));
        length.map_or(0, |length| *length as u8)
    }

    /// The codes of the code lengths (§3.2.7), from the lengths noted for 0..19.
    pub(super) fn build_length_codes(&mut self) -> Result<(), Malformed> {
        let mut lengths = [0; 19];
        for (index, len) in (0..).zip(&mut lengths) {
            *len = self.length(index);
        }
        // RFC 1951 §3.2.7: all codes are taken, as zlib demands it
        if !self.distances.build(&lengths)? {
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
        let mut lengths = [0; MAX_LENGTHS];
        for (index, len) in (0..).zip(&mut lengths) {
            *len = self.length(index);
        }
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
        for symbol in 0..LITERALS as u16 {
            let len = match symbol {
                0..144 => 8,
                144..256 => 9,
                256..280 => 7,
                _ => 8,
            };
            self.set_length(symbol, len);
        }
        for symbol in LITERALS..MAX_LENGTHS {
            self.set_length(symbol as u16, 5);
        }
        // These lengths are right.
        let _ = self.build(LITERALS as u16, DISTANCES as u16);
    }

    fn build_literal_table(&mut self) {
        let table = &mut self.literal_table;
        *table = [0; 1 << LITERAL_BITS];
        self.literals
            .for_each_short(LITERAL_BITS, |place, len, symbol| {
                let entry = match symbol {
                    0..256 => IS_LITERAL | symbol << 4 | len as u16,
                    _ => symbol.wrapping_sub(256) << 4 | len as u16,
                };
                let places = table.get_mut(place..).unwrap_or_default();
                for place in places.iter_mut().step_by(1 << len) {
                    *place = entry;
                }
            });
    }

    fn build_distance_table(&mut self) {
        let table = &mut self.distance_table;
        *table = [NO_DISTANCE; 1 << DISTANCE_BITS];
        self.distances
            .for_each_short(DISTANCE_BITS, |place, len, symbol| {
                let entry = (symbol as u8) << 3 | len.wrapping_sub(1) as u8;
                let places = table.get_mut(place..).unwrap_or_default();
                for place in places.iter_mut().step_by(1 << len) {
                    *place = entry;
                }
            });
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
