//! Waking the thread that waits for its stream.

use std::io::{self, PipeReader, PipeWriter, Read, Write};

/// Ends a [`Transport::wait`](crate::Transport::wait) from another thread.
///
/// A [`WebSocket`](crate::WebSocket) with senders passes one along in
/// [`Interest::wake`](crate::Interest::wake). On Unix it has a file descriptor, which is readable when
/// the wait is to end. A transport only waits for it: whoever is woken clears it.
#[derive(Debug)]
pub struct Wake {
    reader: PipeReader,
    writer: PipeWriter,
}

impl Wake {
    pub(crate) fn new() -> io::Result<Self> {
        let (reader, writer) = io::pipe()?;
        Ok(Self { reader, writer })
    }

    /// Ends the wait. Once for each [`clear`](Self::clear), so that neither of the two ever waits.
    pub(crate) fn wake(&self) {
        // Both ends of the pipe are open, and it has room for a byte.
        let _ = (&self.writer).write(&[0]);
    }

    /// Takes a [`wake`](Self::wake) back.
    pub(crate) fn clear(&self) {
        let _ = (&self.reader).read(&mut [0]);
    }
}

#[cfg(unix)]
impl std::os::fd::AsFd for Wake {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.reader.as_fd()
    }
}
