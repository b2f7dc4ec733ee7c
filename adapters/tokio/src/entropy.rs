//! Masking keys and nonces from the operating system.

use core::cell::RefCell;

use motews::{Entropy, EntropyError};

/// How many bytes are drawn at once: the keys of 64 frames cost one system call.
const BATCH: usize = 256;

thread_local! {
    /// What was drawn, and how much of it is used.
    static DRAWN: RefCell<([u8; BATCH], usize)> = const { RefCell::new(([0; BATCH], BATCH)) };
}

/// The operating system's source of unpredictable bytes (RFC 6455 §5.3, §10.3), which a
/// [`Client`](crate::role::Client) draws its masking keys from. The connections of a thread share
/// what was drawn ahead.
///
/// ```
/// use motews::Entropy;
/// use motews_tokio::OsEntropy;
///
/// let mut key = [0; 4];
/// OsEntropy.fill(&mut key).unwrap();
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct OsEntropy;

impl Entropy for OsEntropy {
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), EntropyError> {
        if bytes.len() > BATCH {
            return getrandom::fill(bytes).map_err(|_| EntropyError);
        }
        DRAWN.with_borrow_mut(|(drawn, used)| {
            if BATCH - *used < bytes.len() {
                getrandom::fill(drawn).map_err(|_| EntropyError)?;
                *used = 0;
            }
            let end = *used + bytes.len();
            let taken = &mut drawn[*used..end];
            bytes.copy_from_slice(taken);
            taken.fill(0); // a key is used once
            *used = end;
            Ok(())
        })
    }
}
