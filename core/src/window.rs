//! The fixed buffer between a core and a byte stream.

/// A buffer that is filled at its end and emptied from its start, and begins anew when empty:
/// nothing in it is ever moved.
///
/// Between a transport and a [`Connection`](crate::Connection) it holds what was read; since the
/// connection consumes all that it is given, one byte would do. Where there is a cache, 16 KiB are the
/// fastest: what was read is still in its first level when it is unmasked. The other way it holds frames
/// that are not yet written.
///
/// ```
/// use motews::Window;
///
/// let mut window = Window::new([0; 8]);
/// window.spare()[..5].copy_from_slice(b"Hello"); // a read of five bytes
/// window.fill(5);
/// assert_eq!(window.take(2), b"He");
/// assert_eq!(window.unread(), b"llo");
/// ```
#[derive(Clone, Debug, Default)]
pub struct Window<B> {
    buffer: B,
    start: usize,
    end: usize,
}

impl<B: AsRef<[u8]> + AsMut<[u8]>> Window<B> {
    /// An empty window over `buffer`.
    pub const fn new(buffer: B) -> Self {
        Self {
            buffer,
            start: 0,
            end: 0,
        }
    }

    /// Returns the room at the end, to write to; then [`fill`](Self::fill) says how much was written.
    pub fn spare(&mut self) -> &mut [u8] {
        if self.is_empty() {
            (self.start, self.end) = (0, 0);
        }
        self.buffer.as_mut().get_mut(self.end..).unwrap_or_default()
    }

    /// Reports that the first `len` bytes of the [`spare`](Self::spare) room were written.
    pub fn fill(&mut self, len: usize) {
        self.end = self.end.saturating_add(len).min(self.buffer.as_ref().len());
    }

    /// Returns what is in the window.
    pub fn unread(&mut self) -> &mut [u8] {
        self.buffer
            .as_mut()
            .get_mut(self.start..self.end)
            .unwrap_or_default()
    }

    /// Takes the first `len` bytes out, or as many as there are.
    pub fn take(&mut self, len: usize) -> &mut [u8] {
        let start = self.start;
        self.start = start.saturating_add(len).min(self.end);
        self.buffer
            .as_mut()
            .get_mut(start..self.start)
            .unwrap_or_default()
    }

    /// Returns how many bytes are in the window.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.end.saturating_sub(self.start)
    }

    /// Returns true if the window is empty.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The buffer's size, in bytes.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.buffer.as_ref().len()
    }
}
