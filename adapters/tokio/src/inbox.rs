//! What was read: bytes that are not decoded, a message that arrives, and messages that wait.

use core::cell::Cell;
use core::pin::pin;
use core::task::{Context, Poll};
use std::collections::VecDeque;
use std::io;

use bytes::Bytes;
use motews::{Chunk, DataKind, FrameHeader, MessageError};
use tokio::io::{AsyncRead, AsyncReadExt as _};

use crate::message::Message;

/// How much is read at once, in bytes: small enough for the cache.
const READ_BUFFER: usize = 64 * 1024;

/// From this length on, the rest of a message is read to where it is collected, in bytes.
const DIRECT: usize = 16 * 1024;

thread_local! {
    /// The read buffer of all connections of a thread.
    static BUFFER: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Takes the read buffer of this thread, or a new one if a stream that is read into it has itself
/// taken it.
pub(crate) fn take_buffer() -> Vec<u8> {
    let mut buffer = BUFFER.try_with(Cell::take).unwrap_or_default();
    buffer.clear();
    buffer.reserve_exact(READ_BUFFER);
    buffer
}

/// Gives it back.
pub(crate) fn give_buffer(buffer: Vec<u8>) {
    // A thread that ends needs none.
    let _ = BUFFER.try_with(|cell| cell.set(buffer));
}

/// Reads behind what is in `buffer`.
pub(crate) fn poll_read(
    stream: &mut (impl AsyncRead + Unpin),
    cx: &mut Context<'_>,
    buffer: &mut Vec<u8>,
) -> Poll<io::Result<usize>> {
    // It keeps nothing between two polls.
    pin!(stream.read_buf(buffer)).poll(cx)
}

/// What was read.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    /// Not decoded, from `start` on.
    bytes: Vec<u8>,
    start: usize,
    /// What was decoded last is the end of a message, or a control frame behind it.
    pub(crate) is_between: bool,
    /// The message that is arriving.
    message: Vec<u8>,
    /// Whole messages, and what they cost.
    queue: VecDeque<Message>,
    cost: usize,
}

impl Inbox {
    // ---- bytes ----

    pub(crate) fn has_bytes(&self) -> bool {
        !self.bytes.is_empty()
    }

    /// Keeps bytes for later. There are none now.
    pub(crate) fn keep_bytes(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Takes the bytes that were kept, and where they begin. [`Self::put_bytes`] puts back what is left.
    pub(crate) fn take_bytes(&mut self) -> (Vec<u8>, usize) {
        (
            core::mem::take(&mut self.bytes),
            core::mem::take(&mut self.start),
        )
    }

    pub(crate) fn put_bytes(&mut self, bytes: Vec<u8>, start: usize) {
        if start < bytes.len() {
            (self.bytes, self.start) = (bytes, start);
        }
    }

    /// Takes the message that is arriving, if the rest of it is to be read right behind.
    /// [`Self::put_message`] puts it back.
    pub(crate) fn take_message(&mut self) -> Option<Vec<u8>> {
        if self.message.len() < DIRECT {
            return None;
        }
        // Grows by what has arrived [FR17].
        self.message.reserve(DIRECT);
        Some(core::mem::take(&mut self.message))
    }

    pub(crate) fn put_message(&mut self, message: Vec<u8>) {
        self.message = message;
    }

    // ---- messages ----

    /// The message that is arriving, for what is inflated.
    #[cfg(feature = "deflate")]
    pub(crate) const fn message(&mut self) -> &mut Vec<u8> {
        &mut self.message
    }

    /// Adds a part of a message.
    pub(crate) fn push(&mut self, chunk: Chunk<'_>) -> Result<(), MessageError> {
        if chunk.first && chunk.last {
            return self.push_message(chunk.kind, Bytes::copy_from_slice(chunk.bytes));
        }
        if chunk.first {
            self.message.clear();
        }
        self.message.extend_from_slice(chunk.bytes);
        match chunk.last {
            true => self.finish(chunk.kind),
            false => Ok(()),
        }
    }

    /// The message that was arriving is whole.
    pub(crate) fn finish(&mut self, kind: DataKind) -> Result<(), MessageError> {
        let mut bytes = core::mem::take(&mut self.message);
        // Whoever keeps it keeps no more than that.
        if bytes.capacity() > 2 * bytes.len() + 64 {
            bytes.shrink_to_fit();
        }
        self.push_message(kind, bytes.into())
    }

    fn push_message(&mut self, kind: DataKind, bytes: Bytes) -> Result<(), MessageError> {
        let message = Message::new(kind, bytes)?;
        self.cost += message.cost();
        self.queue.push_back(message);
        Ok(())
    }

    pub(crate) fn pop(&mut self) -> Option<Message> {
        let message = self.queue.pop_front()?;
        self.cost -= message.cost();
        Some(message)
    }

    /// Whether there is another message, whole: one that waits, or the next bytes.
    pub(crate) fn has_message(&self) -> bool {
        let bytes = self.bytes.get(self.start..).unwrap_or_default();
        !self.queue.is_empty() || (self.is_between && begins_message(bytes))
    }

    /// How many whole messages wait.
    pub(crate) fn len(&self) -> usize {
        self.queue.len()
    }

    /// What the messages cost that wait, in bytes of memory.
    pub(crate) const fn cost(&self) -> usize {
        self.cost
    }

    pub(crate) fn clear_messages(&mut self) {
        self.queue.clear();
        self.cost = 0;
    }

    /// Gives back the memory that nothing is in.
    pub(crate) fn release(&mut self) {
        if self.queue.is_empty() {
            self.queue = VecDeque::new();
        }
    }

    /// Drops everything but whole messages.
    pub(crate) fn clear_rest(&mut self) {
        self.message = Vec::new();
        self.bytes = Vec::new();
        self.start = 0;
    }
}

/// Whether a message in one frame lies here, between two messages.
fn begins_message(bytes: &[u8]) -> bool {
    match FrameHeader::parse(bytes) {
        Ok(Some((header, len))) => {
            let rest = bytes.len().saturating_sub(len) as u64;
            header.fin && !header.opcode.is_control() && header.payload_len <= rest
        }
        _ => false,
    }
}
