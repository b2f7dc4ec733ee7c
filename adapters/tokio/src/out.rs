//! The bytes that wait to be written.

use core::cell::Cell;
use core::pin::Pin;
use core::task::{Context, Poll};
use std::io::{self, IoSlice};

use bytes::{Buf, Bytes};
use motews::{FrameHeader, Mask};
use tokio::io::AsyncWrite;

use crate::spare;

/// Payloads of at least this length are written from where they are, and not copied behind their
/// header; unless they have to be masked. In bytes.
const LARGE: usize = 16 * 1024;

thread_local! {
    /// An empty one: for whichever connection of the thread writes next.
    static SPARE: Cell<Option<Box<Frames>>> = const { Cell::new(None) };
}

/// Whole frames that wait to be written. They take room only as long as there are any.
#[derive(Debug, Default)]
pub(crate) struct Out {
    frames: Option<Box<Frames>>,
    /// How many bytes have left in all: the stream has taken them and holds none of them back.
    flushed: u64,
}

#[derive(Debug, Default)]
struct Frames {
    /// From `start` on.
    bytes: Vec<u8>,
    start: usize,
    large: Option<Box<Large>>,
    /// What the stream took and may hold, in bytes.
    held: usize,
    /// The stream is being flushed: it gets no more until that is done, or it might never be.
    is_held: bool,
    /// How much at the end is owed to the peer, and was sent by nobody, in bytes.
    owed: usize,
    /// Where the next frame began when a sender passed the limit last, and one more: see
    /// [`Out::may_pass`].
    passed: u64,
}

/// A payload that is not copied, and what comes behind it.
#[derive(Debug)]
struct Large {
    payload: Bytes,
    behind: Vec<u8>,
}

impl Out {
    /// Bytes that were not given to the stream yet.
    #[inline]
    pub(crate) fn waiting(&self) -> usize {
        self.frames.as_ref().map_or(0, |frames| frames.waiting())
    }

    /// Bytes that are not known to have left, as the session counts them.
    #[inline]
    pub(crate) fn left(&self) -> usize {
        let frames = self.frames.as_ref();
        frames.map_or(0, |frames| frames.waiting().max(frames.is_held.into()))
    }

    /// Where the last frame that was sent ends, in bytes from the beginning of the connection.
    pub(crate) fn sent_to(&self) -> u64 {
        let frames = self.frames.as_ref();
        let left = frames.map_or(0, |frames| frames.held + frames.waiting());
        // Of what is owed some may have left.
        let left = left.saturating_sub(frames.map_or(0, |frames| frames.owed));
        self.flushed + left as u64
    }

    /// Whether everything before this place has left.
    pub(crate) const fn has_left(&self, place: u64) -> bool {
        self.flushed >= place
    }

    /// Whether a sender that waits for what is before this place may send although there is no room: one by
    /// one, each when the message of the last has begun to leave.
    pub(crate) fn may_pass(&self, place: u64) -> bool {
        let passed = self.frames.as_ref().map_or(0, |frames| frames.passed);
        self.has_left(place) && self.has_left(passed)
    }

    /// A sender does so.
    #[cold]
    pub(crate) fn pass(&mut self) {
        let passed = self.sent_to() + 1;
        self.frames().passed = passed;
    }

    /// Appends a frame that is owed.
    pub(crate) fn push_owed(&mut self, frame: &[u8]) {
        let frames = self.frames();
        frames.end().extend_from_slice(frame);
        frames.owed += frame.len();
    }

    /// Appends a frame that is written already.
    pub(crate) fn push(&mut self, frame: &[u8]) {
        self.push_owed(frame);
        self.frames().owed = 0;
    }

    /// Appends a data frame.
    #[inline(always)]
    pub(crate) fn push_frame(&mut self, header: &FrameHeader, payload: Bytes) {
        self.frames().push_frame(header, payload);
    }

    /// Writes what waits, and passes on what the stream holds. Returns how much was taken, and what
    /// stopped it.
    #[inline(always)]
    pub(crate) fn poll_write(
        &mut self,
        stream: &mut (impl AsyncWrite + Unpin),
        cx: &mut Context<'_>,
    ) -> (usize, Poll<io::Result<()>>) {
        let frames = (self.frames).get_or_insert_with(Frames::spare);
        frames.poll_write(stream, cx, &mut self.flushed)
    }

    /// Gives back the memory that nothing waits in: all of it, or what the connection need not keep
    /// while its peer takes its time.
    pub(crate) fn release(&mut self) {
        match &mut self.frames {
            Some(frames) if frames.waiting() > 0 || frames.is_held => frames.shrink(),
            _ => self.clear(),
        }
    }

    /// Drops what waits.
    pub(crate) fn clear(&mut self) {
        if let Some(mut frames) = self.frames.take() {
            spare::give(core::mem::take(&mut frames.bytes));
            *frames = Frames::default();
            // A thread that ends needs none.
            let _ = SPARE.try_with(|spare| spare.set(Some(frames)));
        }
    }

    #[inline]
    fn frames(&mut self) -> &mut Frames {
        self.frames.get_or_insert_with(Frames::spare)
    }
}

impl Frames {
    fn spare() -> Box<Self> {
        let spare = SPARE.try_with(Cell::take).ok().flatten();
        spare.unwrap_or_default()
    }

    /// Bytes that were not given to the stream yet.
    #[inline]
    fn waiting(&self) -> usize {
        let large = self.large.as_ref();
        let large = large.map_or(0, |large| large.payload.len() + large.behind.len());
        self.bytes.len() - self.start + large
    }

    /// Where the next frame goes.
    #[inline]
    fn end(&mut self) -> &mut Vec<u8> {
        match &mut self.large {
            Some(large) => &mut large.behind,
            None => {
                // Nothing grows at its end for ever.
                if self.start > self.bytes.len() / 2 {
                    self.bytes.drain(..self.start);
                    self.start = 0;
                }
                if self.bytes.capacity() == 0 {
                    self.bytes = spare::take();
                }
                &mut self.bytes
            }
        }
    }

    /// Keeps no buffer of a thread's for a few bytes.
    fn shrink(&mut self) {
        let waiting = &self.bytes[self.start..];
        if self.bytes.capacity() >= spare::LEN && waiting.len() < spare::LEN / 2 {
            let bytes = waiting.to_vec();
            spare::give(core::mem::replace(&mut self.bytes, bytes));
            self.start = 0;
        }
    }

    /// Appends a data frame.
    #[inline(always)]
    fn push_frame(&mut self, header: &FrameHeader, payload: Bytes) {
        let mut head = [0; FrameHeader::MAX_LEN];
        // There is always room.
        let len = header.emit(&mut head).unwrap_or_default();
        self.owed = 0;
        match header.mask {
            None if payload.len() >= LARGE && self.large.is_none() => {
                self.end().extend_from_slice(&head[..len]);
                let behind = Vec::new();
                self.large = Some(Box::new(Large { payload, behind }));
            }
            mask => {
                let end = self.end();
                end.reserve(len + payload.len());
                end.extend_from_slice(&head[..len]);
                let start = end.len();
                end.extend_from_slice(&payload);
                if let Some(key) = mask {
                    Mask::new(key).apply(&mut end[start..]);
                }
            }
        }
    }

    /// Writes what waits, and passes on what the stream holds. Returns how much was taken, and what
    /// stopped it. Adds to `flushed` what has left.
    #[inline(always)]
    fn poll_write(
        &mut self,
        stream: &mut (impl AsyncWrite + Unpin),
        cx: &mut Context<'_>,
        flushed: &mut u64,
    ) -> (usize, Poll<io::Result<()>>) {
        let mut taken = 0;
        let mut is_blocked = false;
        let stop = loop {
            let stream = Pin::new(&mut *stream);
            let bytes = &self.bytes[self.start..];
            let is_empty = bytes.is_empty() && self.large.is_none();
            if is_empty || is_blocked || self.is_held {
                // Whoever waits for some of it need not wait for what comes behind.
                let stop = stream.poll_flush(cx);
                self.is_held = stop.is_pending();
                if !matches!(stop, Poll::Ready(Ok(()))) {
                    break stop;
                }
                *flushed += core::mem::take(&mut self.held) as u64;
                match is_blocked {
                    true => break Poll::Pending,
                    false if is_empty => break stop,
                    false => continue,
                }
            }
            let written = match &self.large {
                None => stream.poll_write(cx, bytes),
                Some(large) => {
                    let parts = [bytes, &large.payload, &large.behind];
                    if stream.is_write_vectored() {
                        stream.poll_write_vectored(cx, &parts.map(IoSlice::new))
                    } else {
                        let first = parts.into_iter().find(|part| !part.is_empty());
                        stream.poll_write(cx, first.unwrap_or_default())
                    }
                }
            };
            match written {
                Poll::Ready(Ok(0)) => {
                    break Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
                }
                Poll::Ready(Ok(written)) => {
                    taken += written;
                    self.advance(written);
                }
                Poll::Ready(Err(error)) => break Poll::Ready(Err(error)),
                Poll::Pending => is_blocked = true,
            }
        };
        (taken, stop)
    }

    /// So many bytes were taken.
    #[inline]
    fn advance(&mut self, written: usize) {
        self.held += written;
        let of_bytes = written.min(self.bytes.len() - self.start);
        self.start += of_bytes;
        if self.start < self.bytes.len() {
            return;
        }
        self.bytes.clear();
        self.start = 0;
        if let Some(large) = &mut self.large {
            let rest = written - of_bytes;
            let of_payload = rest.min(large.payload.len());
            large.payload.advance(of_payload);
            if large.payload.is_empty() {
                let behind = core::mem::take(&mut large.behind);
                spare::give(core::mem::replace(&mut self.bytes, behind));
                self.start = rest - of_payload;
                self.large = None;
            }
        }
    }
}
