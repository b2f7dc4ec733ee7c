//! Messages that the application takes in parts.

use core::task::{Context, Poll};

use motews::{DataKind, Role};
use tokio::io::{AsyncRead, AsyncWrite};

use super::Engine;
use crate::chunk::Chunk;
use crate::error::RecvError;

/// From so much on a part is taken before more is decoded, in bytes.
const PART_LEN: usize = 64 * 1024;

/// How many bytes of a compressed message are inflated at once: each may stand for a thousand.
#[cfg(feature = "deflate")]
const INFLATED_AT_ONCE: usize = 256;

/// The application takes messages in parts: none has to fit into memory, so none is too long.
#[derive(Debug)]
pub(super) struct Parts {
    /// What the longest message was, on the wire.
    limit: u64,
    /// The message of which a part was taken, and not the last.
    begun: Option<DataKind>,
    /// What is left of a part that was too long for who took it.
    rest: Option<Chunk>,
    /// What is left of the message that was begun is dropped.
    skips: bool,
    /// Whole messages are wanted again, behind that.
    ends: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin, R: Role> Engine<S, R> {
    /// Returns the next part of a message, of at most so many bytes; `None` after the end.
    pub(crate) fn poll_chunk(
        &mut self,
        cx: &mut Context<'_>,
        most: usize,
    ) -> Poll<Option<Result<Chunk, RecvError>>> {
        self.begin_parts();
        self.poll_next(cx, |engine| engine.pop_chunk(most))
    }

    /// Waits for a message to begin, and returns what it is; `None` after the end. What is left of the
    /// one before is dropped.
    pub(crate) fn poll_begin(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<DataKind, RecvError>>> {
        self.skip_rest();
        self.begin_parts();
        self.poll_next(cx, |engine| {
            let chunk = engine.pop_chunk(usize::MAX)?;
            let kind = chunk.kind;
            if let Some(parts) = &mut engine.parts {
                parts.rest = Some(chunk);
            }
            Some(kind)
        })
    }

    fn begin_parts(&mut self) {
        if let Some(parts) = &mut self.parts {
            parts.ends = false;
            return;
        }
        self.parts = Some(Box::new(Parts {
            limit: self.session.set_max_message_len(u64::MAX),
            begun: None,
            rest: None,
            skips: false,
            ends: false,
        }));
        #[cfg(feature = "deflate")]
        if let Some(deflate) = &mut self.deflate {
            deflate.unlimit(true);
        }
    }

    fn pop_chunk(&mut self, most: usize) -> Option<Chunk> {
        let rest = self.parts.as_mut().and_then(|parts| parts.rest.take());
        let mut chunk = rest.or_else(|| self.pop_part())?;
        if chunk.bytes.len() > most
            && let Some(parts) = &mut self.parts
        {
            parts.rest = Some(Chunk {
                bytes: chunk.bytes.split_off(most),
                first: false,
                ..chunk
            });
            chunk.last = false;
        }
        Some(chunk)
    }

    /// Takes what there is of the next message.
    fn pop_part(&mut self) -> Option<Chunk> {
        if self.inbox.len() == 0 && self.inbox.has_bytes() {
            self.decode_kept(1);
        }
        let was_full = self.is_full();
        let parts = self.parts.as_mut().filter(|parts| !parts.skips)?;
        let begun = &mut parts.begun;
        let first = begun.is_none();
        let (chunk, cost) = if let Some(message) = self.inbox.pop() {
            let kind = begun.take().unwrap_or(message.kind());
            let cost = message.cost();
            let bytes = message.into_bytes();
            let last = true;
            (
                Chunk {
                    kind,
                    bytes,
                    first,
                    last,
                },
                cost,
            )
        } else {
            let (kind, bytes) = self.inbox.take_part()?;
            *begun = Some(kind);
            let cost = bytes.len();
            let last = false;
            (
                Chunk {
                    kind,
                    bytes,
                    first,
                    last,
                },
                cost,
            )
        };
        self.taken(was_full, cost);
        Some(chunk)
    }

    /// A message that arrives in parts takes the room of those that wait.
    pub(super) fn is_full_of_parts(&self) -> bool {
        self.parts.is_some() && self.inbox.arrived() >= self.settings.max_inbound.max(1)
    }

    /// Whether enough has arrived for a part.
    pub(super) fn is_part_ready(&self) -> bool {
        self.parts.is_some() && self.inbox.arrived() >= PART_LEN
    }

    /// How many bytes may be decoded at once: what they inflate to has to fit into memory.
    pub(super) const fn at_once(&self) -> usize {
        #[cfg(feature = "deflate")]
        if self.parts.is_some() && self.deflate.is_some() {
            return INFLATED_AT_ONCE;
        }
        usize::MAX
    }

    /// The message that was arriving is whole. Returns whether parts of it were taken before.
    pub(super) fn end_part(&self) -> bool {
        let parts = self.parts.as_ref();
        self.inbox.len() == 0 && parts.is_some_and(|parts| parts.begun.is_some())
    }

    /// The application wants whole messages: what is left of the one that it has begun is dropped.
    pub(super) fn take_whole(&mut self) {
        if let Some(parts) = &mut self.parts {
            parts.ends = true;
            self.skip_rest();
            self.end_parts();
        }
    }

    /// Drops what is left of the message that the application has begun.
    fn skip_rest(&mut self) {
        let was_full = self.is_full();
        if let Some(parts) = &mut self.parts {
            parts.rest = None;
            parts.skips = parts.begun.is_some();
            self.skip();
            self.taken(was_full, 0);
        }
    }

    /// Drops what there is of a message that the application has begun, and does not want any more.
    pub(super) fn skip(&mut self) {
        if let Some(parts) = self.parts.as_mut().filter(|parts| parts.skips) {
            // Parts of it were taken, so it is the first of those that wait.
            if self.inbox.pop().is_some() {
                (parts.begun, parts.skips) = (None, false);
                self.end_parts();
            } else {
                drop(self.inbox.take_part());
            }
        }
    }

    /// Keeps whole messages again, if that is wanted and no other has begun.
    fn end_parts(&mut self) {
        let ends = |parts: &mut Box<Parts>| parts.ends && !parts.skips;
        let Some(parts) = self.parts.take_if(ends) else {
            return;
        };
        self.session.set_max_message_len(parts.limit);
        #[cfg(feature = "deflate")]
        if let Some(deflate) = &mut self.deflate {
            deflate.unlimit(false);
        }
    }
}
