//! What was inflated: literals, and what is repeated.

/// The output, and what of it belongs to the stream.
pub(super) struct Output<'a> {
    pub(super) bytes: &'a mut [u8],
    pub(super) at: usize,
    /// What lies from here to `at` was inflated; what came before it is in the window.
    pub(super) base: usize,
}

impl Output<'_> {
    pub(super) const fn room(&self) -> usize {
        self.bytes.len().saturating_sub(self.at)
    }

    pub(super) const fn len(&self) -> usize {
        self.at.saturating_sub(self.base)
    }

    pub(super) fn push(&mut self, byte: u8) {
        if let Some(place) = self.bytes.get_mut(self.at) {
            *place = byte;
            self.at = self.at.wrapping_add(1);
        }
    }

    /// Appends as much of `bytes` as there is room for. Returns how much.
    pub(super) fn extend(&mut self, bytes: &[u8]) -> usize {
        let room = self.bytes.get_mut(self.at..).unwrap_or_default();
        let len = bytes.len().min(room.len());
        copy(room, bytes);
        self.at = self.at.wrapping_add(len);
        len
    }

    /// Repeats `len` bytes from `distance` back, all of them in the output, with room for them.
    pub(super) fn repeat(&mut self, distance: usize, len: usize) {
        let (before, after) = self.bytes.split_at_mut_checked(self.at).unwrap_or_default();
        let from = before.len().saturating_sub(distance);
        let before = before.get(from..).unwrap_or_default();
        let after = after.get_mut(..len).unwrap_or_default();
        self.at = self.at.wrapping_add(after.len());
        copy(after, before);
        // What is there now is repeated, each time twice as much.
        let mut done = distance.max(1);
        while let Some((before, after)) = after.split_at_mut_checked(done) {
            copy(after, before);
            done = done.wrapping_mul(2);
        }
    }
}

/// Copies as much of `from` as `to` has room for.
pub(super) fn copy(to: &mut [u8], from: &[u8]) {
    for (to, from) in to.iter_mut().zip(from) {
        *to = *from;
    }
}
