//! What is gathered for one write.

use core::ops::Range;

/// How much is gathered for one write, in bytes.
const CORK_LEN: usize = 64 * 1024;

/// How much of what is gathered may wait for other connections, in bytes.
pub(super) const HELD_LEN: usize = 64 * 1024;

/// What the connection that has its turn sends, before it is written: all connections of a loop
/// share this.
#[derive(Debug)]
pub(super) struct Cork {
    bytes: Box<[u8]>,
    /// What is before belongs to other connections, and is held.
    start: usize,
    end: usize,
}

impl Cork {
    pub(super) fn new() -> Self {
        Self {
            bytes: vec![0; HELD_LEN + CORK_LEN].into_boxed_slice(),
            start: 0,
            end: 0,
        }
    }

    #[inline]
    pub(super) const fn len(&self) -> usize {
        self.end - self.start
    }

    #[inline]
    pub(super) fn spare(&mut self) -> &mut [u8] {
        &mut self.bytes[self.end..]
    }

    /// So many bytes were written into the spare part.
    #[inline]
    pub(super) const fn advance(&mut self, len: usize) {
        self.end += len;
    }

    #[inline]
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    /// Appends a copy. Returns false if there is no room for it.
    pub(super) fn push(&mut self, bytes: &[u8]) -> bool {
        let Some(room) = self.spare().get_mut(..bytes.len()) else {
            return false;
        };
        room.copy_from_slice(bytes);
        self.end += bytes.len();
        true
    }

    #[inline]
    pub(super) const fn clear(&mut self) {
        self.end = self.start;
    }

    // ---- what is held ----

    /// What is held there.
    #[inline]
    pub(super) fn held(&self, held: &Range<usize>) -> &[u8] {
        &self.bytes[held.clone()]
    }

    /// Has what is gathered wait, and begins anew behind it. Returns where it is.
    #[inline]
    pub(super) const fn hold(&mut self) -> Range<usize> {
        let held = self.start..self.end;
        self.start = self.end;
        held
    }

    /// How much is held, in bytes.
    #[inline]
    pub(super) const fn held_len(&self) -> usize {
        self.start
    }

    /// Goes back to what was held, to be written and then cleared.
    #[inline]
    pub(super) const fn go_back(&mut self, held: Range<usize>) {
        self.start = held.start;
        self.end = held.end;
    }
}
