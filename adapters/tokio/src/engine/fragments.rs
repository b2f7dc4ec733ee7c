//! What is sent otherwise than as a whole message behind the others: a message in fragments, and a
//! message that a newer one may replace.

use core::task::{Context, Poll, ready};
use std::collections::VecDeque;

use bytes::Bytes;
use motews::{CloseCode, DataFrame, DataKind, Role};
use tokio::io::{AsyncRead, AsyncWrite};

use super::Engine;
use crate::error::SendError;
use crate::message::Message;
use crate::wakers::{Mark, Slot};

/// Messages that are not frames yet. There is at least one.
#[derive(Debug)]
pub(super) struct Behind {
    /// Where the output ended when the first of them was taken. It is never the same again.
    pub(super) since: u64,
    /// They were taken while another one is sent in fragments.
    queue: VecDeque<Message>,
    /// It leaves when what was sent before it has left, up to `before`.
    newest: Option<Message>,
    before: u64,
}

/// A frame of a message whose length is not known when it begins.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fragment {
    pub(crate) kind: DataKind,
    /// The message begins here.
    pub(crate) first: bool,
    /// The message ends here.
    pub(crate) fin: bool,
}

impl Behind {
    const fn new(since: u64) -> Self {
        Self {
            since,
            queue: VecDeque::new(),
            newest: None,
            before: since,
        }
    }

    /// How long they are together, in bytes.
    pub(super) fn len(&self) -> usize {
        let messages = self.queue.iter().chain(&self.newest);
        messages.map(Message::len).sum()
    }

    fn has_none(&self) -> bool {
        self.queue.is_empty() && self.newest.is_none()
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin, R: Role> Engine<S, R> {
    // ---- fragments ----

    /// Whether another fragment may be taken of the message that has begun.
    pub(super) fn has_room_for_fragment(&self) -> bool {
        self.out.waiting() < self.settings.max_backlog.max(1)
    }

    /// Waits for room for a fragment, and takes it: in one call, since another message may begin between
    /// two. The last one of a message that has begun needs no room. While it waits, it reads.
    pub(crate) fn poll_fragment(
        &mut self,
        cx: &mut Context<'_>,
        slot: &mut Slot,
        fragment: Fragment,
        payload: &mut Vec<u8>,
    ) -> Poll<Result<(), SendError>> {
        let Fragment { kind, first, fin } = fragment;
        if first {
            ready!(self.poll_ready(cx, slot, false))?;
        } else if !fin {
            ready!(self.poll_room(cx, slot, false, |_| true))?;
        }
        self.accept_fragment(kind, core::mem::take(payload).into(), fin)?;
        slot.mark = Mark::Sent(self.out.sent_to());
        self.write_now();
        Poll::Ready(Ok(()))
    }

    /// Waits until the fragments that were taken are written: not for what is to leave behind the message.
    pub(crate) fn poll_flush_fragments(
        &mut self,
        cx: &mut Context<'_>,
        slot: &mut Slot,
    ) -> Poll<Result<(), SendError>> {
        let place = match slot.mark {
            Mark::Sent(place) => place,
            _ => self.out.sent_to(),
        };
        slot.mark = Mark::Sent(place);
        self.poll_left(cx, slot, false, place)
    }

    /// Takes a fragment of a message. If it is the last, takes what has waited for that.
    fn accept_fragment(
        &mut self,
        kind: DataKind,
        payload: Bytes,
        fin: bool,
    ) -> Result<(), SendError> {
        self.check_open()?;
        let len = payload.len();
        #[cfg(feature = "deflate")]
        let (compressed, payload) = match &mut self.deflate {
            Some(deflate) => (true, deflate.deflate_part(&payload, fin)),
            None => (false, payload),
        };
        #[cfg(not(feature = "deflate"))]
        let compressed = false;
        if fin || !payload.is_empty() {
            let header = self.session.start_frame(DataFrame {
                kind,
                fin,
                compressed,
                payload_len: payload.len() as u64,
            })?;
            self.out.push_frame(&header, payload);
        }
        self.ahead = self.ahead.saturating_add(len);
        self.streams = !fin;
        if fin {
            let queue = self.behind.as_mut().map(|behind| &mut behind.queue);
            let queue = queue.map(core::mem::take).unwrap_or_default();
            self.forget_behind();
            for message in queue {
                self.accept(message).map_err(|(_, error)| error)?;
            }
            if let Some(behind) = &mut self.behind {
                behind.before = self.out.sent_to();
            }
            self.wake_writers();
        }
        Ok(())
    }

    /// The message that has begun will not be finished: the peer must not take what it has for a
    /// message.
    pub(crate) fn abandon_message(&mut self) {
        // If it fails, the connection is closing already.
        let _ = self.close(CloseCode::INTERNAL_ERROR, "");
    }

    /// Takes a message that leaves behind the one that is being sent in fragments.
    pub(super) fn accept_behind(&mut self, message: Message) {
        self.behind().queue.push_back(message);
    }

    fn behind(&mut self) -> &mut Behind {
        let since = self.out.sent_to();
        (self.behind).get_or_insert_with(|| Box::new(Behind::new(since)))
    }

    // ---- the newest only ----

    /// Takes a message in place of the one that was taken so before, if that still waits. Returns it then.
    pub(crate) fn send_newest(&mut self, message: Message) -> Result<Option<Message>, SendError> {
        self.check_open()?;
        let place = self.out.sent_to();
        let behind = self.behind();
        let replaced = behind.newest.replace(message);
        if replaced.is_none() {
            behind.before = place;
        }
        self.write_now();
        Ok(replaced)
    }

    /// Appends the newest message if all that was sent before it has left.
    #[inline]
    pub(super) fn promote(&mut self) {
        if let Some(behind) = &self.behind
            && self.out.has_left(behind.before)
            && !self.streams
        {
            self.accept_newest();
        }
    }

    /// Appends the newest message, if there is one.
    pub(super) fn accept_newest(&mut self) {
        let newest = self.behind.as_mut().and_then(|behind| behind.newest.take());
        self.forget_behind();
        if let Some(message) = newest {
            // If it fails, the connection is closing, and nothing can be sent.
            let _ = self.accept(message);
        }
    }

    fn forget_behind(&mut self) {
        if self.behind.as_ref().is_some_and(|behind| behind.has_none()) {
            self.behind = None;
        }
    }
}
