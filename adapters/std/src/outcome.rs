//! How a connection of the server ended.

use motews::{CloseCode, Ended};

/// How a connection ended (RFC 6455 §7.1.4 to §7.1.6).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The code of the Close that the peer sent; 1005 if it had none; 1006 if no Close came.
    pub code: CloseCode,
    /// The reason in it, for people who look for a fault.
    pub reason: String,
    /// How it ended, and why.
    pub ended: Ended,
}

impl Outcome {
    /// Returns whether the closing handshake was completed (§7.1.4).
    #[must_use]
    pub const fn is_clean(&self) -> bool {
        self.ended.is_clean()
    }
}
