//! What was read: bytes that are not decoded, a message that arrives, and messages that wait.

use core::pin::pin;
use core::task::{Context, Poll};
use std::collections::VecDeque;
use std::io;

use bytes::Bytes;
use motews::{Chunk, DataKind, FrameHeader, MessageError};
use tokio::io::{AsyncRead, AsyncReadExt as _};

use crate::message::Message;

/// From this length on, the rest of a message is read to where it is collected, in bytes.
const DIRECT: usize = 16 * 1024;

/// Reads behind what is in `buffer`.
pub(crate) fn poll_read(
    stream: &mut (impl AsyncRead + Unpin),
    cx: &mut Context<'_>,
    buffer: &mut Vec<u8>,
) -> Poll<io::Result<usize>> {
    // It keeps nothing between two polls.
    pin!(stream.read_buf(buffer)).poll(cx)
}

/// What was read. It takes room only as long as there is something in it.
#[derive(Debug, Default)]
pub(crate) struct Inbox(Option<Box<Held>>);

#[derive(Debug, Default)]
struct Held {
    /// Not decoded, from `start` on.
    bytes: Vec<u8>,
    start: usize,
    /// What was decoded last is the end of a message, or a control frame behind it.
    is_between: bool,
    /// The message that is arriving.
    message: Vec<u8>,
    /// Whole messages, and what they cost.
    queue: VecDeque<Message>,
    cost: usize,
}

impl Inbox {
    fn held(&mut self) -> &mut Held {
        self.0.get_or_insert_default()
    }

    // ---- bytes ----

    pub(crate) fn has_bytes(&self) -> bool {
        self.0.as_ref().is_some_and(|held| !held.bytes.is_empty())
    }

    /// Keeps bytes for later. There are none now.
    pub(crate) fn keep_bytes(&mut self, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.held().bytes.extend_from_slice(bytes);
        }
    }

    /// Takes the bytes that were kept, and where they begin. [`Self::put_bytes`] puts back what is left.
    pub(crate) fn take_bytes(&mut self) -> (Vec<u8>, usize) {
        let held = self.held();
        (
            core::mem::take(&mut held.bytes),
            core::mem::take(&mut held.start),
        )
    }

    pub(crate) fn put_bytes(&mut self, bytes: Vec<u8>, start: usize) {
        if start < bytes.len() {
            let held = self.held();
            (held.bytes, held.start) = (bytes, start);
        }
    }

    pub(crate) fn is_between(&self) -> bool {
        self.0.as_ref().is_some_and(|held| held.is_between)
    }

    pub(crate) fn set_between(&mut self, is_between: bool) {
        self.held().is_between = is_between;
    }

    /// Takes the message that is arriving, if the rest of it is to be read right behind.
    /// [`Self::put_message`] puts it back.
    pub(crate) fn take_message(&mut self) -> Option<Vec<u8>> {
        let message = &mut self.0.as_mut()?.message;
        if message.len() < DIRECT {
            return None;
        }
        // Grows by what has arrived [FR17].
        message.reserve(DIRECT);
        Some(core::mem::take(message))
    }

    pub(crate) fn put_message(&mut self, message: Vec<u8>) {
        self.held().message = message;
    }

    // ---- messages ----

    /// The message that is arriving, for what is inflated.
    #[cfg(feature = "deflate")]
    pub(crate) fn message(&mut self) -> &mut Vec<u8> {
        &mut self.held().message
    }

    /// Adds a part of a message.
    pub(crate) fn push(&mut self, chunk: Chunk<'_>) -> Result<(), MessageError> {
        if chunk.first && chunk.last {
            return self.push_message(chunk.kind, Bytes::copy_from_slice(chunk.bytes));
        }
        let message = &mut self.held().message;
        if chunk.first {
            message.clear();
        }
        message.extend_from_slice(chunk.bytes);
        match chunk.last {
            true => self.finish(chunk.kind),
            false => Ok(()),
        }
    }

    /// The message that was arriving is whole.
    pub(crate) fn finish(&mut self, kind: DataKind) -> Result<(), MessageError> {
        let mut bytes = core::mem::take(&mut self.held().message);
        // Whoever keeps it keeps no more than that.
        if bytes.capacity() > 2 * bytes.len() + 64 {
            bytes.shrink_to_fit();
        }
        self.push_message(kind, bytes.into())
    }

    fn push_message(&mut self, kind: DataKind, bytes: Bytes) -> Result<(), MessageError> {
        let message = Message::new(kind, bytes)?;
        let held = self.held();
        held.cost += message.cost();
        held.queue.push_back(message);
        Ok(())
    }

    pub(crate) fn pop(&mut self) -> Option<Message> {
        let held = self.0.as_mut()?;
        let message = held.queue.pop_front()?;
        held.cost -= message.cost();
        Some(message)
    }

    /// Whether there is another message, whole: one that waits, or the next bytes.
    pub(crate) fn has_message(&self) -> bool {
        self.0.as_ref().is_some_and(|held| {
            let bytes = held.bytes.get(held.start..).unwrap_or_default();
            !held.queue.is_empty() || (held.is_between && begins_message(bytes))
        })
    }

    /// How many whole messages wait.
    pub(crate) fn len(&self) -> usize {
        self.0.as_ref().map_or(0, |held| held.queue.len())
    }

    /// What the messages cost that wait, in bytes of memory.
    pub(crate) fn cost(&self) -> usize {
        self.0.as_ref().map_or(0, |held| held.cost)
    }

    pub(crate) fn clear_messages(&mut self) {
        if let Some(held) = &mut self.0 {
            held.queue.clear();
            held.cost = 0;
        }
    }

    /// Gives back the memory if there is nothing in it.
    pub(crate) fn release(&mut self) {
        if let Some(held) = &self.0
            && held.queue.is_empty()
            && held.message.is_empty()
            && held.bytes.is_empty()
        {
            self.0 = None;
        }
    }

    /// Drops everything but whole messages.
    pub(crate) fn clear_rest(&mut self) {
        if let Some(held) = &mut self.0 {
            let (queue, cost) = (core::mem::take(&mut held.queue), held.cost);
            **held = Held {
                queue,
                cost,
                ..Held::default()
            };
        }
        self.release();
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
