//! The two roles (RFC 6455 §1.3): [`Client`] and [`Server`].
//!
//! A role decides one thing on the wire: a client masks each frame it sends, a server none (§5.1).
//! So a [`Client`] cannot exist without an [`Entropy`] to draw its masking keys from.

use core::cell::RefCell;

pub use crate::error::EntropyError;

/// A source of unpredictable bytes, for masking keys (§5.3) and for the nonce of the opening
/// handshake (§4.1).
///
/// §10.3: keys must come from a strong source; whoever sees some of them must not be able to tell
/// the next. A counter or a linear congruential generator is not one. On a microcontroller use the
/// hardware's generator, or a cipher seeded by it.
///
/// ```
/// use motews::{Entropy, EntropyError};
///
/// struct Hardware; // the registers of a random number generator
///
/// impl Entropy for Hardware {
///     fn fill(&mut self, bytes: &mut [u8]) -> Result<(), EntropyError> {
///         # fn read_register() -> Option<u8> { Some(4) }
///         for byte in bytes {
///             *byte = read_register().ok_or(EntropyError)?;
///         }
///         Ok(())
///     }
/// }
/// ```
pub trait Entropy {
    /// Fills `bytes` whole.
    ///
    /// # Errors
    /// [`EntropyError`] when the source is not ready or broken. Nothing is sent then.
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), EntropyError>;
}

impl<E: Entropy + ?Sized> Entropy for &mut E {
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), EntropyError> {
        (**self).fill(bytes)
    }
}

/// A generator that several clients share, or a client that comes back and its
/// [`Reconnect`](crate::Reconnect).
impl<E: Entropy> Entropy for &RefCell<E> {
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), EntropyError> {
        let mut shared = self.try_borrow_mut().map_err(|_| EntropyError)?;
        shared.fill(bytes)
    }
}

/// Makes a cryptographic generator of rand_core 0.9 an [`Entropy`], one that may fail included.
///
/// ```
/// use motews::{Client, RandCore09};
///
/// fn client(generator: impl rand_core_0_9::TryCryptoRng) -> Client<RandCore09<impl rand_core_0_9::TryCryptoRng>> {
///     Client::new(RandCore09(generator))
/// }
/// ```
#[cfg(feature = "rand_core_0_9")]
#[derive(Clone, Debug)]
pub struct RandCore09<T>(pub T);

#[cfg(feature = "rand_core_0_9")]
impl<T: rand_core_0_9::TryCryptoRng> Entropy for RandCore09<T> {
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), EntropyError> {
        self.0.try_fill_bytes(bytes).map_err(|_| EntropyError)
    }
}

/// Makes a cryptographic generator of rand_core 0.10 an [`Entropy`], one that may fail included.
///
/// ```
/// use motews::{Client, RandCore010};
///
/// fn client(generator: impl rand_core_0_10::TryCryptoRng) -> Client<RandCore010<impl rand_core_0_10::TryCryptoRng>> {
///     Client::new(RandCore010(generator))
/// }
/// ```
#[cfg(feature = "rand_core_0_10")]
#[derive(Clone, Debug)]
pub struct RandCore010<T>(pub T);

#[cfg(feature = "rand_core_0_10")]
impl<T: rand_core_0_10::TryCryptoRng> Entropy for RandCore010<T> {
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), EntropyError> {
        self.0.try_fill_bytes(bytes).map_err(|_| EntropyError)
    }
}

mod sealed {
    use super::EntropyError;

    #[expect(
        unnameable_types,
        reason = "a role is sealed by having no other way in"
    )]
    pub trait Sealed {
        const IS_CLIENT: bool;
        fn masking_key(&mut self) -> Result<Option<[u8; 4]>, EntropyError>;
    }
}

/// A role: [`Client`] or [`Server`]. Sealed.
pub trait Role: sealed::Sealed {}

/// The role that accepted the connection. It masks nothing and has no state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Server;

/// The role that opened the connection, with its source of masking keys.
#[derive(Clone, Debug)]
pub struct Client<E>(E);

impl<E: Entropy> Client<E> {
    /// A client that draws its masking keys from `entropy`.
    pub const fn new(entropy: E) -> Self {
        Self(entropy)
    }
}

impl sealed::Sealed for Server {
    const IS_CLIENT: bool = false;

    #[inline]
    fn masking_key(&mut self) -> Result<Option<[u8; 4]>, EntropyError> {
        Ok(None) // RFC 6455 §5.1: a server masks no frame [FR02]
    }
}

/// How often in a row a key of four zeros is taken for chance: a sound source does it once in 2^32.
const ZERO_KEYS: u8 = 2;

impl<E: Entropy> sealed::Sealed for Client<E> {
    const IS_CLIENT: bool = true;

    /// RFC 6455 §5.3: a fresh key for each frame. A source that gives nothing but zeros is
    /// broken, and its keys would not mask.
    // [FR05]
    fn masking_key(&mut self) -> Result<Option<[u8; 4]>, EntropyError> {
        for _ in 0..ZERO_KEYS {
            let mut key = [0; 4];
            self.0.fill(&mut key)?;
            if key != [0; 4] {
                return Ok(Some(key));
            }
        }
        Err(EntropyError)
    }
}

impl Role for Server {}
impl<E: Entropy> Role for Client<E> {}
