//! The proof that a server understood the handshake: `Sec-WebSocket-Key` and `Sec-WebSocket-Accept`
//! (RFC 6455 §1.3, §4.2.2).
//!
//! SHA-1 protects nothing here (§10.8), and its input always has 60 bytes: so a version for just this
//! input is enough where flash is short.

use crate::role::{Entropy, EntropyError};

/// What every WebSocket server appends to the key (§1.3).
const GUID: &[u8; 36] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// A client's `Sec-WebSocket-Key`: 16 random bytes in base64 (§4.1).
///
/// Draw a new one for each connection. [`Request`](super::Request) writes it, and
/// [`ClientHandshake`](super::ClientHandshake) checks that the server answers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Key([u8; 24]);

/// A `Sec-WebSocket-Accept`: 20 bytes in base64.
pub(super) type Accept = [u8; 28];

impl Key {
    /// A key from 16 bytes of `entropy`.
    ///
    /// # Errors
    /// [`EntropyError`] if `entropy` has none.
    pub fn new(entropy: &mut impl Entropy) -> Result<Self, EntropyError> {
        // RFC 6455 §4.1: 16 random bytes, new for each connection [HC09]
        let mut nonce = [0; 16];
        entropy.fill(&mut nonce)?;
        let mut key = [0; 24];
        base64(&nonce, &mut key);
        Ok(Self(key))
    }

    /// The key that stands in a header's value, if it is the base64 of 16 bytes (§4.2.1).
    pub(super) fn parse(value: &[u8]) -> Option<Self> {
        let key: &[u8; 24] = value.try_into().ok()?;
        let (digits, padding) = key.split_first_chunk::<22>()?;
        // The last digit's four unused bits may be set, as in the RFC's own sample [HS07].
        let is_digit = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
        (digits.iter().all(is_digit) && padding == b"==").then_some(Self(*key))
    }

    /// In place of one that was not sent.
    pub(super) const NONE: Self = Self([0; 24]);

    /// The value of the header.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The one right answer to it (§4.2.2) [HS13].
    #[inline]
    pub(super) fn accept(&self) -> Accept {
        let mut accept = [0; 28];
        self.accept_in(&mut accept);
        accept
    }

    #[inline(never)] // registers enough for it alone: smaller on a Cortex-M
    fn accept_in(&self, accept: &mut Accept) {
        base64(&sha1(&self.0), accept);
    }
}

/// SHA-1 (FIPS 180-4) of `key` and the GUID.
#[cfg(feature = "crates")]
fn sha1(key: &[u8; 24]) -> [u8; 20] {
    let mut sha1 = sha1_smol::Sha1::new();
    sha1.update(key);
    sha1.update(GUID);
    sha1.digest().bytes()
}

/// Base64 with padding (RFC 4648 §4). `text` has room for just that.
#[cfg(feature = "crates")]
fn base64(bytes: &[u8], text: &mut [u8]) {
    use base64::engine::{Engine, general_purpose::STANDARD};

    let written = STANDARD.encode_slice(bytes, text);
    debug_assert!(written.is_ok(), "there is room for all");
}

#[cfg(not(feature = "crates"))]
use small::{base64, sha1};

/// The same two functions for firmware: SHA-1 takes a ninth of the flash of a general implementation,
/// and neither has a panic path.
#[cfg(not(feature = "crates"))]
mod small {
    use super::GUID;

    /// SHA-1 (FIPS 180-4) of `key` and the GUID: 60 bytes, and so two blocks.
    pub(super) fn sha1(key: &[u8; 24]) -> [u8; 20] {
        let mut state = [
            0x6745_2301,
            0xefcd_ab89,
            0x98ba_dcfe,
            0x1032_5476,
            0xc3d2_e1f0,
        ];
        let mut block = FIRST_BLOCK;
        for (word, bytes) in block.iter_mut().zip(key.as_chunks().0) {
            *word = u32::from_be_bytes(*bytes);
        }
        for _ in 0..2 {
            compress(&mut state, &mut block);
            block = [0; 16];
            block[15] = 60 * 8; // the second block is the message's length in bits
        }
        let mut digest = [0; 20];
        for (to, word) in digest.as_chunks_mut().0.iter_mut().zip(&state) {
            *to = word.to_be_bytes();
        }
        digest
    }

    /// Room for the key, the GUID, and the bit that ends the message.
    #[expect(clippy::indexing_slicing, reason = "while compiling")]
    const FIRST_BLOCK: [u32; 16] = {
        let mut block = [0; 16];
        let (words, _) = GUID.as_chunks();
        let mut i = 0;
        while i < words.len() {
            block[6 + i] = u32::from_be_bytes(words[i]);
            i += 1;
        }
        block[15] = 1 << 31;
        block
    };

    #[expect(
        clippy::indexing_slicing,
        reason = "each index is masked to the array's length"
    )]
    fn compress(state: &mut [u32; 5], words: &mut [u32; 16]) {
        let [mut a, mut b, mut c, mut d, mut e] = *state;
        for t in 0..80 {
            let (f, k) = match t {
                0..20 => (d ^ (b & (c ^ d)), 0x5a82_7999),
                20..40 => (b ^ c ^ d, 0x6ed9_eba1),
                40..60 => (b ^ ((b ^ c) & (b ^ d)), 0x8f1b_bcdc),
                _ => (b ^ c ^ d, 0xca62_c1d6_u32),
            };
            let word = words[t & 15];
            let next = a.rotate_left(5).wrapping_add(f).wrapping_add(e);
            let next = next.wrapping_add(k).wrapping_add(word);
            (e, d, c, b, a) = (d, c, b.rotate_left(30), a, next);
            let word = word ^ words[(t + 2) & 15] ^ words[(t + 8) & 15] ^ words[(t + 13) & 15];
            words[t & 15] = word.rotate_left(1);
        }
        for (sum, word) in state.iter_mut().zip(&[a, b, c, d, e]) {
            *sum = sum.wrapping_add(*word);
        }
    }

    /// Base64 with padding (RFC 4648 §4). `text` has room for all of it.
    pub(super) fn base64(bytes: &[u8], text: &mut [u8]) {
        for (group, digits) in bytes.chunks(3).zip(text.as_chunks_mut::<4>().0) {
            let mut bits = 0_u32;
            for i in 0..3 {
                bits = bits << 8 | group.get(i).map_or(0, |byte| u32::from(*byte));
            }
            for (i, digit) in digits.iter_mut().enumerate() {
                *digit = match (bits >> 18 & 63) as u8 {
                    _ if i > group.len() => b'=',
                    n @ 0..26 => b'A' + n,
                    n @ 26..52 => b'a' - 26 + n,
                    n @ 52..62 => n - 4, // b'0' is 48
                    62 => b'+',
                    _ => b'/',
                };
                bits <<= 6;
            }
        }
    }
}
