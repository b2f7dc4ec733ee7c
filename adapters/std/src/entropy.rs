//! Masking keys and nonces from the operating system.

use core::fmt;

use motews::{Entropy, EntropyError};

/// How many bytes are drawn at once: the keys of 64 frames cost one system call.
const BATCH: usize = 256;

/// The operating system's source of unpredictable bytes (RFC 6455 §5.3, §10.3), which a
/// [`Client`](crate::role::Client) draws its masking keys from.
///
/// ```
/// use motews::Entropy;
/// use motews_std::OsEntropy;
///
/// let mut keys = [0; 8];
/// OsEntropy::new().fill(&mut keys).unwrap();
/// ```
pub struct OsEntropy {
    bytes: [u8; BATCH],
    used: usize,
}

impl OsEntropy {
    /// Nothing is drawn before it is needed.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            bytes: [0; BATCH],
            used: BATCH,
        }
    }
}

impl Default for OsEntropy {
    fn default() -> Self {
        Self::new()
    }
}

impl Entropy for OsEntropy {
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), EntropyError> {
        if bytes.len() > BATCH {
            return getrandom::fill(bytes).map_err(|_| EntropyError);
        }
        if BATCH - self.used < bytes.len() {
            getrandom::fill(&mut self.bytes).map_err(|_| EntropyError)?;
            self.used = 0;
        }
        let end = self.used + bytes.len();
        let drawn = &mut self.bytes[self.used..end];
        bytes.copy_from_slice(drawn);
        drawn.fill(0); // a key is used once
        self.used = end;
        Ok(())
    }
}

/// Keys are not shown.
impl fmt::Debug for OsEntropy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OsEntropy")
    }
}
