//! The opening handshake, both roles.

/// Nothing yet.
pub fn check(_data: &[u8]) {}
