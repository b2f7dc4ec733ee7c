//! The names of connections.

use core::fmt;

/// Distinguishes the connections of a [`Server`](crate::Server), also from those that are gone.
///
/// Displayed, it is the number of the connection on its loop, and before that the loop's number
/// unless it is the first: `17` or `2:17`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerId(u64);

impl PeerId {
    /// The most loops, and the most connections on each.
    pub(super) const MAX_LOOPS: usize = 1 << 8;
    pub(super) const MAX_SLOTS: usize = 1 << 24;

    /// The connection in this slot of a loop; the number distinguishes it from those before.
    pub(super) const fn new(number: u32, loop_index: usize, slot: usize) -> Self {
        Self((number as u64) << 32 | (loop_index as u64) << 24 | slot as u64)
    }

    pub(super) const fn slot(self) -> usize {
        self.0 as usize & (Self::MAX_SLOTS - 1)
    }
}

impl fmt::Display for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = self.0 >> 32;
        match (self.0 as usize / Self::MAX_SLOTS) % Self::MAX_LOOPS {
            0 => write!(f, "{number}"),
            index => write!(f, "{index}:{number}"),
        }
    }
}

impl fmt::Debug for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PeerId({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn id_of_each_loop_is_displayed_as_short_as_it_can_be() {
        assert_eq!(PeerId::new(17, 0, 0xFF_FFFF).to_string(), "17");
        assert_eq!(PeerId::new(17, 2, 5).to_string(), "2:17");
        let last = PeerId::new(u32::MAX, 255, 0);
        assert_eq!(format!("{last:?}"), "PeerId(255:4294967295)");
    }
}
