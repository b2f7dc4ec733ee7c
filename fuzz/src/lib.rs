//! Properties of the core and of motews-net, each a `check` that takes any bytes and panics where it does not hold.
//!
//! The fuzz targets search for such bytes; `tests/splits.rs` includes this file, and tries bytes
//! made by proptest and the committed seeds.

pub mod connection;
pub mod deflate;
#[cfg(feature = "peers")]
pub mod differential;
pub mod frame;
pub mod handshake;
pub mod net;
pub mod session;

use core::ops::Range;

use motews::{Entropy, EntropyError};

/// Cuts an input into pieces of the given sizes, over and over. A size of 0 gives an empty piece;
/// where there is no other size, the input stays whole.
#[must_use]
pub fn pieces(len: usize, sizes: &[u8]) -> Vec<Range<usize>> {
    if sizes.iter().all(|size| *size == 0) {
        return core::iter::once(0..len).collect();
    }
    let mut pieces = Vec::new();
    let mut start = 0;
    for size in sizes.iter().cycle() {
        let end = len.min(start + usize::from(*size));
        pieces.push(start..end);
        start = end;
        if start == len {
            break;
        }
    }
    pieces
}

/// Masking keys and nonces that are the same in each run.
#[derive(Clone, Debug)]
pub struct Sequence {
    state: u64,
    /// Each fourth draw fails.
    pub is_flaky: bool,
    draws: u32,
}

impl Sequence {
    /// The sequence, from its start.
    #[must_use]
    pub fn new() -> Self {
        Self {
            state: 0x9E37_79B9_7F4A_7C15,
            is_flaky: false,
            draws: 0,
        }
    }
}

impl Default for Sequence {
    fn default() -> Self {
        Self::new()
    }
}

impl Entropy for Sequence {
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), EntropyError> {
        self.draws += 1;
        if self.is_flaky && self.draws.is_multiple_of(4) {
            return Err(EntropyError);
        }
        for byte in bytes {
            // xorshift64
            self.state ^= self.state << 13;
            self.state ^= self.state >> 7;
            self.state ^= self.state << 17;
            *byte = (self.state >> 32) as u8;
        }
        Ok(())
    }
}
