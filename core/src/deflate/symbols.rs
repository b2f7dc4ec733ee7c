//! The symbols of lengths and distances (RFC 1951 §3.2.5), both ways.

use super::codes::{DISTANCES, Malformed};

/// The shortest and the longest match (RFC 1951 §3.2.5).
pub(super) const MIN_MATCH: usize = 3;
pub(super) const MAX_MATCH: usize = 258;

/// The order in which the lengths of the codes for code lengths come (RFC 1951 §3.2.7).
pub(super) const ORDER: [u8; 19] = [
    16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15,
];

/// The least length of each length symbol from 257 on, and in the upper 4 bits its extra bits
/// (RFC 1951 §3.2.5). 0: there is no such symbol.
#[expect(clippy::indexing_slicing, reason = "at compile time")]
const LENGTHS: [u16; 32] = {
    let mut table = [0; 32];
    let (mut symbol, mut base) = (0_u16, 3);
    while symbol < 28 {
        let extra = if symbol < 8 { 0 } else { (symbol >> 2) - 1 };
        table[symbol as usize] = extra << 12 | base;
        base += 1 << extra;
        symbol += 1;
    }
    table[28] = 258;
    table
};

/// The same for distances.
#[expect(clippy::indexing_slicing, reason = "at compile time")]
const DISTANCE_BASES: [u32; DISTANCES] = {
    let mut table = [0; DISTANCES];
    let (mut symbol, mut base) = (0_u32, 1);
    while symbol < 30 {
        let extra = if symbol < 4 { 0 } else { (symbol >> 1) - 1 };
        table[symbol as usize] = extra << 16 | base;
        base += 1 << extra;
        symbol += 1;
    }
    table
};

/// The least length of a symbol, counted from 257, and its extra bits.
#[inline(always)]
pub(super) fn length(symbol: u16) -> Result<(u16, u32), Malformed> {
    match LENGTHS.get(usize::from(symbol)) {
        None | Some(0) => Err(Malformed),
        Some(entry) => Ok((entry & 0xFFF, u32::from(entry >> 12))),
    }
}

/// The least distance of a symbol, and its extra bits.
#[inline(always)]
pub(super) fn distance(symbol: u16) -> Result<(u32, u32), Malformed> {
    match DISTANCE_BASES.get(usize::from(symbol)) {
        None | Some(0) => Err(Malformed),
        Some(entry) => Ok((entry & 0xFFFF, entry >> 16)),
    }
}

/// The symbol of a length less 3, and its extra bits and their number (RFC 1951 §3.2.5).
#[inline(always)]
pub(super) const fn length_symbol(len: u8) -> (u16, u16, u32) {
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
pub(super) const fn distance_symbol(distance: u16) -> (u16, u16, u32) {
    if distance < 4 {
        return (distance, 0, 0);
    }
    let bits = 30_u32.wrapping_sub((distance as u32 | 1).leading_zeros()) & 15;
    let symbol = 2 * bits as u16 + (distance >> bits);
    let extra = distance & ((1_u16 << bits).wrapping_sub(1));
    (symbol, extra, bits)
}
