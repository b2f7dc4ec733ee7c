//! What is gathered for one write.

/// How much is gathered for one write, in bytes.
const CORK_LEN: usize = 64 * 1024;

/// What the connection that has its turn sends, before it is written: all connections of a loop
/// share this.
#[derive(Debug)]
pub(super) struct Cork {
    bytes: Box<[u8]>,
    len: usize,
}

impl Cork {
    pub(super) fn new() -> Self {
        Self {
            bytes: vec![0; CORK_LEN].into_boxed_slice(),
            len: 0,
        }
    }

    pub(super) const fn len(&self) -> usize {
        self.len
    }

    #[inline]
    pub(super) fn spare(&mut self) -> &mut [u8] {
        &mut self.bytes[self.len..]
    }

    /// So many bytes were written into the spare part.
    #[inline]
    pub(super) const fn advance(&mut self, len: usize) {
        self.len += len;
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    /// Appends a copy. Returns false if there is no room for it.
    pub(super) fn push(&mut self, bytes: &[u8]) -> bool {
        let Some(room) = self.spare().get_mut(..bytes.len()) else {
            return false;
        };
        room.copy_from_slice(bytes);
        self.len += bytes.len();
        true
    }

    pub(super) const fn clear(&mut self) {
        self.len = 0;
    }
}
