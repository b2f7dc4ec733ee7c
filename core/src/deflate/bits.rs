//! Bits, least significant first (RFC 1951 §3.1.1): the writer, and what the fast reader is made of.

use super::huffman::Code;

/// Writes bits.
pub(super) struct BitWriter<'a> {
    pub(super) bits: u64,
    pub(super) count: u32,
    pub(super) out: &'a mut [u8],
    pub(super) at: usize,
}

impl BitWriter<'_> {
    /// Up to 48 bits may follow each [`has_room`](Self::has_room).
    #[inline(always)]
    pub(super) fn push(&mut self, value: u32, count: u32) {
        self.bits |= u64::from(value) << (self.count & 63);
        self.count = self.count.wrapping_add(count);
    }

    #[inline(always)]
    pub(super) fn push_code(&mut self, code: Code) {
        self.push(code.bits.into(), code.len.into());
    }

    /// Fills up the byte with zeros.
    pub(super) const fn align(&mut self) {
        self.count = self.count.wrapping_add(7) & !7;
    }

    /// Writes whole bytes. Returns true if no more than 15 bits are left.
    #[inline(always)]
    pub(super) fn has_room(&mut self) -> bool {
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

    /// Writes whole bytes. Returns true if that was all of them.
    #[inline(never)]
    pub(super) fn drain(&mut self) -> bool {
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
    pub(super) fn put(&mut self, bytes: &[u8]) -> Option<usize> {
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

/// Fills up to 56 bits or more. Bits beyond those come again with the next word.
#[inline(always)]
pub(super) fn refill(bits: &mut u64, available: &mut u32, rest: &mut &[u8], word: [u8; 8]) {
    *bits |= u64::from_le_bytes(word) << (*available & 63);
    *rest = rest
        .get(((63 ^ *available) >> 3) as usize..)
        .unwrap_or_default();
    *available |= 56;
}

#[inline(always)]
pub(super) const fn skip(bits: u64, available: u32, count: u32) -> (u64, u32) {
    (bits >> (count & 63), available.wrapping_sub(count))
}

#[inline(always)]
pub(super) const fn low(bits: u64, count: u32) -> u32 {
    (bits & (1_u64 << (count & 63)).wrapping_sub(1)) as u32
}
