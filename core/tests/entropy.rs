//! Generators of `rand_core` as sources of masking keys.
#![cfg(any(feature = "rand_core_0_9", feature = "rand_core_0_10"))]

use motews::handshake::Key;
use motews::{Entropy, EntropyError};

/// The bytes 1, 2, 3, ..., and then no more.
struct Counting(u8);

impl Counting {
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), std::io::Error> {
        for byte in bytes {
            self.0 = self.0.checked_add(1).ok_or(std::io::ErrorKind::Other)?;
            *byte = self.0;
        }
        Ok(())
    }
}

/// The generator gives its own bytes, each once, and its failure is told.
fn check(mut entropy: impl Entropy) {
    let mut bytes = [0; 4];
    assert_eq!(entropy.fill(&mut bytes), Ok(()));
    assert_eq!(bytes, [1, 2, 3, 4]);
    let key = Key::new(&mut entropy).expect("it has 251 left");
    assert_eq!(key.as_bytes(), b"BQYHCAkKCwwNDg8QERITFA==");
    assert_eq!(entropy.fill(&mut [0; 240]), Err(EntropyError));
}

#[cfg(feature = "rand_core_0_9")]
mod rand_core_0_9 {
    use super::Counting;
    use ::rand_core_0_9::{TryCryptoRng, TryRngCore};

    impl TryRngCore for Counting {
        type Error = std::io::Error;

        fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
            unreachable!("bytes are wanted")
        }

        fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
            unreachable!("bytes are wanted")
        }

        fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Self::Error> {
            self.fill(bytes)
        }
    }

    impl TryCryptoRng for Counting {}
}

#[cfg(feature = "rand_core_0_9")]
#[test]
fn generator_of_rand_core_0_9_is_a_source() {
    check(motews::RandCore09(Counting(0)));
}

#[cfg(feature = "rand_core_0_10")]
mod rand_core_0_10 {
    use super::Counting;
    use ::rand_core_0_10::{TryCryptoRng, TryRng};

    impl TryRng for Counting {
        type Error = std::io::Error;

        fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
            unreachable!("bytes are wanted")
        }

        fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
            unreachable!("bytes are wanted")
        }

        fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Self::Error> {
            self.fill(bytes)
        }
    }

    impl TryCryptoRng for Counting {}
}

#[cfg(feature = "rand_core_0_10")]
#[test]
fn generator_of_rand_core_0_10_is_a_source() {
    check(motews::RandCore010(Counting(0)));
}
