//! What was read: bytes that are not decoded, a message that arrives, and messages that wait.

use core::cell::Cell;
use core::pin::pin;
use core::task::{Context, Poll};
use std::collections::VecDeque;
use std::io;

use bytes::Bytes;
use motews::{DataKind, MessageError};
use tokio::io::{AsyncRead, AsyncReadExt as _};

use crate::message::Message;
use crate::spare;

/// From this length on, the rest of a message is read to where it is collected, in bytes.
const DIRECT: usize = 16 * 1024;

/// Reads behind what is in `buffer`.
#[inline(always)]
pub(crate) fn poll_read(
    stream: &mut (impl AsyncRead + Unpin),
    cx: &mut Context<'_>,
    buffer: &mut Vec<u8>,
) -> Poll<io::Result<usize>> {
    // It keeps nothing between two polls.
    pin!(stream.read_buf(buffer)).poll(cx)
}

/// Fewer bytes than this are copied out of the buffer that they were read to, which then serves another
/// connection; with more of them, the buffer stays until they are decoded.
const SMALL: usize = 4 * 1024;

/// A queue with room for more messages than this is freed.
const FEW: usize = 16;

thread_local! {
    /// An empty one: for whichever connection of the thread has something next.
    static SPARE: Cell<Option<Box<Held>>> = const { Cell::new(None) };
}

/// What was read. It takes room only as long as there is something in it.
#[derive(Debug, Default)]
pub(crate) struct Inbox(Option<Box<Held>>);

#[derive(Debug, Default)]
struct Held {
    /// Not decoded, from `start` on.
    bytes: Vec<u8>,
    start: usize,
    /// The message that is arriving, from `message_start` on, and what it is.
    message: Vec<u8>,
    message_start: usize,
    kind: Option<DataKind>,
    /// Whole messages, and what they cost.
    queue: VecDeque<Message>,
    cost: usize,
}

impl Inbox {
    fn held(&mut self) -> &mut Held {
        self.0.get_or_insert_with(|| {
            let spare = SPARE.try_with(Cell::take).ok().flatten();
            spare.unwrap_or_default()
        })
    }

    // ---- bytes ----

    #[inline]
    pub(crate) fn has_bytes(&self) -> bool {
        self.0.as_ref().is_some_and(|held| !held.bytes.is_empty())
    }

    /// Whether nothing is here, not even the beginning of a message.
    #[inline]
    pub(crate) fn has_nothing(&self) -> bool {
        self.0.as_ref().is_none_or(|held| held.is_empty())
    }

    /// Whether there are bytes, or messages.
    pub(crate) fn has_some(&self) -> bool {
        let held = self.0.as_ref();
        held.is_some_and(|held| !held.queue.is_empty() || !held.bytes.is_empty())
    }

    /// The bytes that were kept.
    #[inline]
    pub(crate) fn bytes(&self) -> &[u8] {
        let held = self.0.as_ref();
        held.and_then(|held| held.bytes.get(held.start..))
            .unwrap_or_default()
    }

    /// The same, to be decoded where they are. Then [`Self::consume`] is called.
    #[inline]
    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        let held = self.0.as_mut();
        held.and_then(|held| held.bytes.get_mut(held.start..))
            .unwrap_or_default()
    }

    /// So many of the bytes that were kept are decoded.
    #[inline]
    pub(crate) fn consume(&mut self, len: usize) {
        if let Some(held) = &mut self.0 {
            held.start = held.start.saturating_add(len);
            if held.start >= held.bytes.len() {
                let (bytes, start) = self.take_bytes();
                self.put_bytes(bytes, start);
            }
        }
    }

    /// Keeps what was read for later, from `start` on. There is nothing else now.
    pub(crate) fn keep(&mut self, read: Vec<u8>, start: usize) {
        let rest = read.get(start..).unwrap_or_default();
        if (1..SMALL).contains(&rest.len()) {
            self.held().bytes.extend_from_slice(rest);
        } else if !rest.is_empty() {
            let held = self.held();
            (held.bytes, held.start) = (read, start);
            return;
        }
        spare::give(read);
    }

    /// Takes the bytes that were kept, and where they begin. [`Self::put_bytes`] puts back what is left.
    #[inline]
    pub(crate) fn take_bytes(&mut self) -> (Vec<u8>, usize) {
        match &mut self.0 {
            Some(held) => (
                core::mem::take(&mut held.bytes),
                core::mem::take(&mut held.start),
            ),
            None => (Vec::new(), 0),
        }
    }

    #[inline]
    pub(crate) fn put_bytes(&mut self, mut bytes: Vec<u8>, mut start: usize) {
        if start >= bytes.len() {
            start = 0;
            if bytes.capacity() > SMALL {
                spare::give(core::mem::take(&mut bytes));
            }
            bytes.clear();
        }
        let held = self.held();
        (held.bytes, held.start) = (bytes, start);
    }

    /// Takes the message that is arriving, with room for the rest of it to be read right behind: of its
    /// frame so many bytes are still to come. [`Self::put_message`] puts it back.
    pub(crate) fn take_message(&mut self, due: u64) -> Option<Vec<u8>> {
        let message = &mut self.0.as_mut()?.message;
        if message.len() < DIRECT {
            return None;
        }
        let room = rest_len(message.len(), due);
        if message.capacity() - message.len() < room {
            message.reserve_exact(room);
        }
        Some(core::mem::take(message))
    }

    pub(crate) fn put_message(&mut self, message: Vec<u8>) {
        self.held().message = message;
    }

    // ---- messages ----

    /// The message that is arriving, for what has come of it.
    pub(crate) fn message(&mut self, kind: DataKind) -> &mut Vec<u8> {
        let held = self.held();
        held.kind = Some(kind);
        &mut held.message
    }

    /// The message that is arriving begins with this, of which so many bytes are still to come.
    pub(crate) fn begin(&mut self, kind: DataKind, bytes: &[u8], due: u64) {
        let message = self.message(kind);
        message.reserve_exact(bytes.len() + rest_len(bytes.len(), due));
        message.extend_from_slice(bytes);
    }

    /// The same for what lies in `read` from `start` on, where it stays.
    pub(crate) fn begin_in(&mut self, kind: DataKind, read: Vec<u8>, start: usize) {
        let held = self.held();
        held.kind = Some(kind);
        (held.message, held.message_start) = (read, start);
    }

    /// How much has come of the message that is arriving, in bytes.
    pub(crate) fn arrived(&self) -> usize {
        (self.0.as_ref()).map_or(0, |held| held.message.len() - held.message_start)
    }

    /// Takes what has come of the message that is arriving, if that is anything.
    pub(crate) fn take_part(&mut self) -> Option<(DataKind, Bytes)> {
        let held = self.0.as_mut()?;
        if held.message.is_empty() {
            return None;
        }
        let bytes = held.take_message();
        Some((held.kind?, bytes))
    }

    /// Adds a whole message.
    pub(crate) fn push(&mut self, kind: DataKind, bytes: &[u8]) -> Result<(), MessageError> {
        self.push_message(kind, Bytes::copy_from_slice(bytes))
    }

    /// The message that was arriving is whole.
    pub(crate) fn finish(&mut self, kind: DataKind) -> Result<(), MessageError> {
        let bytes = self.held().take_message();
        self.push_message(kind, bytes)
    }

    /// Adds a whole message.
    pub(crate) fn push_message(
        &mut self,
        kind: DataKind,
        bytes: Bytes,
    ) -> Result<(), MessageError> {
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

    /// How many whole messages wait.
    #[inline]
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
            && held.is_empty()
            && let Some(mut held) = self.0.take()
        {
            held.kind = None;
            held.message = Vec::new();
            if held.queue.capacity() <= FEW {
                // A thread that ends needs none.
                let _ = SPARE.try_with(|spare| spare.set(Some(held)));
            }
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

impl Held {
    #[inline]
    fn is_empty(&self) -> bool {
        self.queue.is_empty() && self.message.is_empty() && self.bytes.is_empty()
    }

    fn take_message(&mut self) -> Bytes {
        let message = core::mem::take(&mut self.message);
        spare::share(message, core::mem::take(&mut self.message_start))
    }
}

/// How much room to make for the rest of a message: at most for as much as has arrived [FR17]. A read
/// that does not fill it has emptied the stream.
fn rest_len(arrived: usize, due: u64) -> usize {
    let due = usize::try_from(due).unwrap_or(usize::MAX);
    due.min(arrived.max(DIRECT)).saturating_add(1)
}
