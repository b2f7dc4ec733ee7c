//! The size of a window: [`WindowBits`].

/// The size of a window, as its logarithm: 8 to 15, for 256 bytes to 32 KiB (RFC 7692 §7.1.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct WindowBits(pub(super) u8);

impl WindowBits {
    /// 256 bytes.
    pub const MIN: Self = Self(8);
    /// 32 KiB.
    pub const MAX: Self = Self(15);

    /// A window of 2^`bits` bytes, with 8 to 15 bits.
    // [PD04]
    #[must_use]
    pub const fn new(bits: u8) -> Option<Self> {
        match bits {
            8..=15 => Some(Self(bits)),
            _ => None,
        }
    }

    /// The bits.
    #[must_use]
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// The window's size, in bytes.
    #[must_use]
    pub const fn size(self) -> usize {
        1 << (self.0 & 15)
    }
}

impl Default for WindowBits {
    /// The largest, which is what a peer uses where nothing else was agreed.
    fn default() -> Self {
        Self::MAX
    }
}
