//! The in-memory stream all contestants read from.

use std::io;
use std::rc::Rc;

use crate::frames::Frames;

/// The most that one read gives, in bytes.
pub const READ_LEN: usize = 64 * 1024;

/// An endless stream of prepared frames.
///
/// A read copies, as a socket's does: it is the refill that unmasking in place needs, and it is in
/// everybody's time. Reads end at the end of the prepared frames, so that after any number of whole
/// passes nothing is left over in anybody's buffer; within a pass they cut frames anywhere.
#[derive(Clone, Debug)]
pub struct Source {
    frames: Rc<Frames>,
    position: usize,
}

impl Source {
    /// A stream that gives `frames` again and again.
    pub fn new(frames: Rc<Frames>) -> Self {
        Self {
            frames,
            position: 0,
        }
    }

    /// The next bytes, at most `len` and at most [`READ_LEN`] of them.
    #[inline]
    pub fn take(&mut self, len: usize) -> &[u8] {
        let (start, prepared) = (self.position, self.frames.bytes.len());
        let end = prepared.min(start + len.min(READ_LEN));
        self.advance(end)
    }

    /// As [`Source::take`], but never cuts a frame that would fit into the read whole.
    #[inline]
    pub fn take_whole_frames(&mut self, len: usize) -> &[u8] {
        let limit = self.position + len.min(READ_LEN);
        let ends = &self.frames.ends;
        match ends
            .partition_point(|end| *end <= limit)
            .checked_sub(1)
            .map(|at| ends[at])
        {
            Some(end) if end > self.position => self.advance(end),
            _ => self.take(len),
        }
    }

    /// The bytes on the wire of `messages` messages, whole passes of the prepared ones.
    pub fn len_of(&self, messages: u64) -> u64 {
        let prepared = self.frames.ends.len().max(1) as u64;
        messages.div_ceil(prepared) * self.frames.bytes.len() as u64
    }

    fn advance(&mut self, end: usize) -> &[u8] {
        let start = self.position;
        self.position = if end == self.frames.bytes.len() {
            0
        } else {
            end
        };
        &self.frames.bytes[start..end]
    }
}

impl io::Read for Source {
    #[inline]
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let bytes = self.take(buf.len());
        buf[..bytes.len()].copy_from_slice(bytes);
        Ok(bytes.len())
    }
}

/// Nothing is ever written: what a contestant owes to its peer is dropped.
impl io::Write for Source {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(feature = "peers")]
mod asynchronous {
    use core::pin::Pin;
    use core::task::{Context, Poll};
    use std::io;

    use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

    use super::Source;

    /// Always ready: polling never needs a runtime.
    impl AsyncRead for Source {
        #[inline]
        fn poll_read(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            buf: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            let room = buf.remaining();
            buf.put_slice(self.take(room));
            Poll::Ready(Ok(()))
        }
    }

    impl AsyncWrite for Source {
        fn poll_write(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            buf: &[u8],
        ) -> Poll<io::Result<usize>> {
            Poll::Ready(Ok(buf.len()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }
}
