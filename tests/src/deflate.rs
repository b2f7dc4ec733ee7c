//! Compressed messages (RFC 7692) by zlib, for peers made by hand: no code is shared with motews.

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};

/// What RFC 7692 §7.2.1 takes off the end of a message.
const TAIL: [u8; 4] = [0, 0, 0xFF, 0xFF];

/// One direction of a connection that compresses, with context takeover.
#[derive(Debug)]
pub struct Deflater(Compress);

impl Deflater {
    /// With a window of 2^`window_bits` bytes, 9 to 15: zlib has no smaller one.
    #[must_use]
    pub fn new(window_bits: u8) -> Self {
        Self(Compress::new_with_window_bits(
            Compression::best(),
            false,
            window_bits,
        ))
    }

    /// The payload of a compressed message.
    ///
    /// # Panics
    /// If zlib fails.
    #[must_use]
    pub fn message(&mut self, payload: &[u8]) -> Vec<u8> {
        // In the worst case it is stored.
        let mut out = Vec::with_capacity(payload.len() + payload.len() / 1000 + 64);
        let done = self.0.compress_vec(payload, &mut out, FlushCompress::Sync);
        done.expect("zlib compresses");
        // RFC 7692 §7.2.3.6: zlib gives nothing for one empty message after another.
        if out.is_empty() {
            return vec![0];
        }
        assert!(out.ends_with(&TAIL), "all of it fits");
        out.truncate(out.len() - TAIL.len());
        out
    }
}

/// One direction of a connection whose messages are compressed.
#[derive(Debug)]
pub struct Inflater(Decompress);

impl Inflater {
    /// For a peer whose window has 2^`window_bits` bytes, 9 to 15.
    #[must_use]
    pub fn new(window_bits: u8) -> Self {
        Self(Decompress::new_with_window_bits(false, window_bits))
    }

    /// What a compressed message stands for, which is `len` bytes at most.
    ///
    /// # Panics
    /// If zlib finds it malformed, or it is longer.
    #[must_use]
    pub fn message(&mut self, payload: &[u8], len: usize) -> Vec<u8> {
        let mut out = Vec::with_capacity(len + 1);
        for part in [payload, &TAIL] {
            let before = self.0.total_in();
            let done = self.0.decompress_vec(part, &mut out, FlushDecompress::Sync);
            done.expect("it is DEFLATE");
            assert_eq!(self.0.total_in() - before, part.len() as u64, "all of it");
        }
        assert!(out.len() <= len, "{} octets", out.len());
        out
    }
}

/// So many zeros, compressed as far as DEFLATE can: 1,028 of them in a byte.
#[must_use]
pub fn bomb(len: usize) -> Vec<u8> {
    Deflater::new(15).message(&vec![0; len])
}
