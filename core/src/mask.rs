//! Masking (RFC 6455 §5.3): byte *i* of a payload is XORed with byte *i* mod 4 of the key.

/// A masking key and how far into the payload it has come, so that a payload may arrive in parts
/// of any size. Masking and unmasking are the same.
///
/// ```
/// use motews::Mask;
///
/// let mut payload = *b"Hello";
/// Mask::new([0x37, 0xfa, 0x21, 0x3d]).apply(&mut payload);
/// assert_eq!(payload, [0x7f, 0x9f, 0x4d, 0x51, 0x58]); // RFC 6455 §5.7
///
/// let mut mask = Mask::new([0x37, 0xfa, 0x21, 0x3d]);
/// let (head, tail) = payload.split_at_mut(2);
/// mask.apply(head);
/// mask.apply(tail);
/// assert_eq!(&payload, b"Hello");
/// ```
// [FR06]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mask {
    /// The key, turned so that its first byte is the next one due.
    key: [u8; 4],
}

/// From this length on it takes less time to align first, in bytes, and to what.
const LONG: usize = 2048;
const ALIGNMENT: usize = 16;

impl Mask {
    /// The mask of a payload that begins here.
    #[inline]
    #[must_use]
    pub const fn new(key: [u8; 4]) -> Self {
        Self { key }
    }

    /// Appends a byte to the key, whose first one goes.
    #[inline]
    pub(crate) const fn push(&mut self, byte: u8) {
        let [_, second, third, fourth] = self.key;
        self.key = [second, third, fourth, byte];
    }

    pub(crate) const fn key(&self) -> [u8; 4] {
        self.key
    }

    /// Masks or unmasks the next `bytes` of the payload in place. Returns true if all of them are
    /// ASCII then: such text needs no further check (§8.1).
    #[inline]
    pub fn apply(&mut self, bytes: &mut [u8]) -> bool {
        if cfg!(target_arch = "x86_64") && bytes.len() >= LONG {
            return self.apply_long(bytes);
        }
        self.apply_words(bytes)
    }

    /// The same from an aligned word on: a store that crosses two lines of the cache takes twice as long.
    #[inline(never)]
    fn apply_long(&mut self, bytes: &mut [u8]) -> bool {
        let start = bytes.as_ptr().align_offset(ALIGNMENT).min(bytes.len());
        let (start, rest) = bytes.split_at_mut_checked(start).unwrap_or_default();
        // Not `&&`: both are to be masked.
        self.apply_words(start) & self.apply_words(rest)
    }

    #[inline]
    fn apply_words(&mut self, bytes: &mut [u8]) -> bool {
        let turn = 8 * (bytes.len() as u32 & 3);
        let key = u32::from_ne_bytes(self.key);
        let key = (u64::from(key) << 32 | u64::from(key)) as usize;
        let mut seen = 0;

        let (words, tail) = bytes.as_chunks_mut();
        for word in words {
            let plain = usize::from_ne_bytes(*word) ^ key;
            seen |= plain;
            *word = plain.to_ne_bytes();
        }
        for (byte, key) in tail.iter_mut().zip(&key.to_ne_bytes()) {
            *byte ^= key;
            seen |= usize::from(*byte);
        }

        self.key = u32::from_be_bytes(self.key).rotate_left(turn).to_be_bytes();
        seen & 0x8080_8080_8080_8080_u64 as usize == 0
    }
}
