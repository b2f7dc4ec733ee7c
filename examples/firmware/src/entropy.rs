//! Random numbers: a cipher, seeded once.

use motews::{Entropy, EntropyError};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use semihosting::fs::File;

/// ChaCha8 under a secret seed, as RFC 6455 §10.3 asks for: who sees some of its output cannot tell
/// the next. Without a seed it gives nothing.
#[derive(Clone, Debug)]
pub struct Cipher(Option<ChaCha8Rng>);

impl Cipher {
    /// A generator with this seed.
    #[must_use]
    pub fn new(seed: Option<[u8; 32]>) -> Self {
        Self(seed.map(ChaCha8Rng::from_seed))
    }

    /// Another generator, which gives other numbers.
    #[must_use]
    pub fn fork(&mut self) -> Self {
        Self(self.0.as_mut().map(ChaCha8Rng::from_rng))
    }

    /// A number for what needs no secret.
    #[must_use]
    pub fn number(&mut self) -> u64 {
        self.0.as_mut().map_or(0, RngCore::next_u64)
    }
}

impl Entropy for Cipher {
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), EntropyError> {
        if cfg!(feature = "faults") && File::open(c"no-random-numbers").is_ok() {
            return Err(EntropyError);
        }
        self.0.as_mut().ok_or(EntropyError)?.fill_bytes(bytes);
        Ok(())
    }
}
