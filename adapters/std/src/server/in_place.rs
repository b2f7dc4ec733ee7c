//! Sends replies from where the messages lie, and has short ones wait for those of other connections.

use std::io;

use motews::{DataFrame, Message};

use super::connection::Core;
use super::context::{Context, Held};
use super::outgoing::Tail;
use super::reply::Delivered;
use crate::error::SendError;

/// Longer replies wait for nothing, in bytes: they are written while they are in the nearest cache.
const MAX_HELD: usize = 4 * 1024;

impl Core {
    /// Whether a message may be sent from where it lies: nothing else is to be sent before it.
    #[inline]
    pub(super) fn may_reply(&self, context: &Context) -> bool {
        self.is_plain() && context.cork.len() == 0 && !context.replies.is_sent()
    }

    /// Begins a reply that is sent from where the message lies.
    #[inline]
    pub(super) fn start_reply(
        &mut self,
        context: &mut Context,
        message: Message<'_>,
    ) -> Result<(), SendError> {
        let header = self.session.start_frame(DataFrame {
            kind: message.kind(),
            fin: true,
            compressed: false,
            payload_len: message.as_bytes().len() as u64,
        })?;
        context.replies.send(&header);
        Ok(())
    }

    /// Copies the replies into the cork, or writes them: something else comes behind them.
    pub(super) fn copy_replies(&mut self, context: &mut Context, delivered: &Delivered<'_>) {
        if context.replies.len() > 0 {
            context.replies.clear();
            self.put(context, delivered.replies);
        }
        let (header, len) = context.replies.take_header();
        if len > 0 {
            self.put(context, &header[..len]);
            self.put(context, delivered.message);
        }
    }

    /// Writes replies from where they lie. The cork is empty then.
    pub(super) fn write_replies(&mut self, context: &mut Context, replies: &[u8]) {
        self.write_out(context, Tail::Bytes(replies));
    }

    /// Whether what it sends may wait for the end of this round: there is nothing else to do.
    #[inline]
    pub(super) fn may_hold(&mut self, context: &Context) -> bool {
        context.may_hold
            && context.replies.len() + context.cork.len() > 0
            && self.is_plain()
            && self.is_quiet()
            && !self.is_lost()
            && !self.session.wants_transmit()
            && !self.stream().owes()
    }

    /// Has what it sends wait for the end of this round.
    #[inline]
    pub(super) fn hold(&mut self, context: &mut Context) {
        context.holds_long |= context.replies.len() + context.cork.len() > MAX_HELD;
        // One of them is empty.
        let held = if context.cork.len() > 0 {
            Held::InCork(context.cork.hold())
        } else {
            let range = context.replies.range();
            context.replies.clear();
            context.used = range.end;
            Held::InBuffer(range)
        };
        context.held.push((self.id, held));
    }

    /// Writes what was held, if nothing has come between.
    #[inline(always)] // See `socket`.
    pub(super) fn write_held(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.is_plain() && self.is_quiet() && !self.is_lost() {
            self.stream().write_plain(bytes)
        } else {
            Ok(0)
        }
    }

    /// Writes, or keeps, what is left when so much was written.
    #[cold]
    pub(super) fn write_rest_of_held(
        &mut self,
        context: &mut Context,
        buffer: &[u8],
        held: Held,
        written: io::Result<usize>,
    ) {
        let written = match written {
            Ok(written) => written,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => 0,
            Err(error) => return self.lose_output(context, error),
        };
        let (Held::InCork(range) | Held::InBuffer(range)) = &held;
        let rest = range.start + written..range.end;
        if written > 0 {
            let timeouts = &context.settings.timeouts;
            self.session
                .sent(context.now, timeouts, written, rest.len());
        }
        match held {
            Held::InCork(_) => {
                context.cork.go_back(rest);
                self.flush(context);
            }
            Held::InBuffer(_) => self.write_replies(context, &buffer[rest]),
        }
    }
}
