//! What a connection takes from its peer at most: [`Limits`].

/// The limits on what a peer may send.
///
/// They bound the work, and for whoever collects messages the memory: neither the opening handshake
/// nor the connection itself keeps more than its buffers.
///
/// | what is made without a call of `limits` | [`message`](Self::message) |
/// |---|---|
/// | motews-std: `Server` | 16 MiB |
/// | motews-std: `WebSocket`; motews-tokio | 64 MiB: `DEFAULT_LIMITS` |
/// | motews-smoltcp, motews-embedded-io, this crate | none: messages are not collected |
///
/// ```
/// use motews::Limits;
///
/// static LIMITS: Limits = Limits { message: 64 * 1024, ..Limits::DEFAULT };
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Limits {
    /// The longest message, in bytes of payload, inflated if it is compressed. A longer one fails the
    /// connection with 1009 (§10.4). `u64::MAX`, the default, means no limit.
    // [FR17]
    pub message: u64,
    /// The longest head of the opening handshake, in bytes, from the first line to the blank line
    /// with all line ends. 64 KiB by default; 0 refuses the first byte.
    // [HS21] [HC25]
    pub head: u32,
    /// The most header lines in that head. 128 by default; 0 refuses the first one.
    // [HS21] [HC25]
    pub headers: u16,
}

impl Limits {
    /// The default of each, for a `const` or a `static`.
    pub const DEFAULT: Self = Self {
        message: u64::MAX,
        head: 64 * 1024,
        headers: 128,
    };
}

impl Default for Limits {
    fn default() -> Self {
        Self::DEFAULT
    }
}
