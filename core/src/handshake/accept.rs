//! The proof that a server understood the handshake: `Sec-WebSocket-Key` and `Sec-WebSocket-Accept`
//! (RFC 6455 §1.3, §4.2.2).
//!
//! SHA-1 protects nothing here (§10.8), and its input always has 60 octets: that is why it is
//! written out for just this input. It costs a ninth of the flash of a general implementation, and
//! no panic path.

/// What every WebSocket server appends to the key (§1.3).
const GUID: &[u8; 36] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// A `Sec-WebSocket-Key`: 16 bytes in base64.
pub(super) type Key = [u8; 24];

/// A `Sec-WebSocket-Accept`: 20 bytes in base64.
pub(super) type Accept = [u8; 28];

/// The key that stands in a header's value, if it is the base64 of 16 bytes (§4.2.1).
pub(super) fn parse_key(value: &[u8]) -> Option<&Key> {
    let key: &Key = value.try_into().ok()?;
    let (digits, padding) = key.split_first_chunk::<22>()?;
    // The last digit's four unused bits may be set, as in the RFC's own sample [HS07].
    let is_digit = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    (digits.iter().all(is_digit) && padding == b"==").then_some(key)
}

/// The base64 of a nonce (§4.1) [HC09].
pub(super) fn key(nonce: &[u8; 16]) -> Key {
    let mut key = [0; 24];
    base64(nonce, &mut key);
    key
}

/// The one right answer to `key` (§4.2.2) [HS13].
#[inline(never)]
pub(super) fn accept(key: &Key) -> Accept {
    let mut accept = [0; 28];
    base64(&sha1(key), &mut accept);
    accept
}

/// SHA-1 (FIPS 180-4) of `key` and the GUID: 60 octets, and so two blocks.
fn sha1(key: &Key) -> [u8; 20] {
    let mut blocks = [[0; 64]; 2];
    let bytes = blocks.as_flattened_mut();
    for (to, from) in bytes.iter_mut().zip(key.iter().chain(GUID).chain(&[0x80])) {
        *to = *from;
    }
    if let Some(length) = bytes.last_chunk_mut() {
        *length = (60_u16 * 8).to_be_bytes();
    }
    let mut state = [
        0x6745_2301_u32,
        0xefcd_ab89,
        0x98ba_dcfe,
        0x1032_5476,
        0xc3d2_e1f0,
    ];
    for block in &blocks {
        compress(&mut state, block);
    }
    let mut digest = [0; 20];
    for (to, word) in digest.as_chunks_mut().0.iter_mut().zip(state) {
        *to = word.to_be_bytes();
    }
    digest
}

#[expect(
    clippy::indexing_slicing,
    reason = "each index is masked to the array's length"
)]
fn compress(state: &mut [u32; 5], block: &[u8; 64]) {
    let mut words = [0; 16];
    for (word, bytes) in words.iter_mut().zip(block.as_chunks().0) {
        *word = u32::from_be_bytes(*bytes);
    }
    let [mut a, mut b, mut c, mut d, mut e] = *state;
    for t in 0..80 {
        let (f, k) = match t {
            0..20 => ((b & c) | (!b & d), 0x5a82_7999),
            20..40 => (b ^ c ^ d, 0x6ed9_eba1),
            40..60 => ((b & c) | (b & d) | (c & d), 0x8f1b_bcdc),
            _ => (b ^ c ^ d, 0xca62_c1d6_u32),
        };
        let word = words[t & 15];
        let next = a.rotate_left(5).wrapping_add(f).wrapping_add(e);
        let next = next.wrapping_add(k).wrapping_add(word);
        (e, d, c, b, a) = (d, c, b.rotate_left(30), a, next);
        let word = word ^ words[(t + 2) & 15] ^ words[(t + 8) & 15] ^ words[(t + 13) & 15];
        words[t & 15] = word.rotate_left(1);
    }
    for (sum, word) in state.iter_mut().zip([a, b, c, d, e]) {
        *sum = sum.wrapping_add(word);
    }
}

/// Base64 with padding (RFC 4648 §4). `text` has room for all of it.
fn base64(bytes: &[u8], text: &mut [u8]) {
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
