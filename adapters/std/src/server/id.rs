//! The names of connections.

use core::fmt;

/// Tells the connections of a [`Server`](crate::Server) from each other, also those that are gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerId(u64);

impl PeerId {
    /// How many loops, and how many connections on each, can be told from each other.
    pub(super) const MAX_LOOPS: usize = 1 << 8;
    pub(super) const MAX_SLOTS: usize = 1 << 24;

    /// The connection in this slot of a loop; the number tells it from those before.
    pub(super) const fn new(number: u32, loop_index: usize, slot: usize) -> Self {
        Self((number as u64) << 32 | (loop_index as u64) << 24 | slot as u64)
    }

    pub(super) const fn slot(self) -> usize {
        self.0 as usize & (Self::MAX_SLOTS - 1)
    }
}

impl fmt::Display for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
