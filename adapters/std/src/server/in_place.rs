//! Sends replies from where the messages lie, and has short ones wait for those of other connections.

use motews::{DataFrame, Message};

use super::connection::Core;
use super::context::{Context, Held};
use super::outgoing::Tail;
use super::reply::Delivered;
use crate::error::SendError;

/// Longer replies are written at once, in bytes: while they are in the nearest cache.
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
        let len = context.replies.len() + context.cork.len();
        context.may_hold
            && (1..=MAX_HELD).contains(&len)
            && self.is_plain()
            && self.is_quiet()
            && !self.is_lost()
            && !self.session.wants_transmit()
            && !self.stream().owes()
    }

    /// Has what it sends wait for the end of this round.
    #[inline]
    pub(super) fn hold(&mut self, context: &mut Context) {
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
}
