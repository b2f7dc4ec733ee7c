//! A connection as its handler sees it.

use core::net::SocketAddr;
use core::panic::AssertUnwindSafe;
use std::io;
use std::panic::catch_unwind;

use motews::CloseCode;
use slab::Slab;

use super::connection::{Core, Slot};
use super::context::Context;
use super::frame::Packing;
use super::id::PeerId;
use super::reply::Delivered;
use super::sender::PeerSender;
use crate::error::SendError;
use crate::message::AsMessage;

/// An open connection, while a [`Handler`](crate::Handler) deals with it. `D` is
/// [`Handler::Data`](crate::Handler::Data).
#[derive(Debug)]
pub struct Peer<'a, D = ()> {
    pub(super) core: &'a mut Core,
    pub(super) context: &'a mut Context,
    pub(super) data: &'a mut D,
    /// There if replies are written from where the messages lie.
    pub(super) delivered: Option<&'a Delivered<'a>>,
}

impl<D> Peer<'_, D> {
    /// Sends a message. Never waits: what the operating system does not take now is kept.
    ///
    /// Reading from this peer pauses while more than half of
    /// [`ServerLimits::backlog`](crate::ServerLimits::backlog) waits. So a handler that sends at most
    /// half the limit for each message needs no flow control of its own. In
    /// [`on_timer`](crate::Handler::on_timer) no such pause helps: look at
    /// [`buffered_amount`](Self::buffered_amount) there. What others send to this peer, through a
    /// [`Hub`](crate::Hub) or a [`PeerSender`], does not count against the handler.
    ///
    /// # Errors
    /// [`SendError::Closed`] if the connection is closing. An error for which
    /// [`is_would_block`](SendError::is_would_block) returns true if more than the limit waits
    /// already; nothing was taken then.
    #[inline]
    pub fn send(&mut self, message: impl AsMessage) -> Result<(), SendError> {
        let message = message.as_message();
        if let Some(delivered) = self.delivered {
            if delivered.is(message.as_bytes()) && self.core.may_reply(self.context) {
                return self.core.start_reply(self.context, message);
            }
            self.core.copy_replies(self.context, delivered);
        }
        self.core.send(self.context, message, Packing::Allowed)
    }

    /// The same as it is, where others are compressed: see
    /// [`ServerBuilder::deflate`](crate::ServerBuilder::deflate).
    ///
    /// # Errors
    /// As [`send`](Self::send).
    // [PD30]
    #[cfg(feature = "deflate")]
    pub fn send_uncompressed(&mut self, message: impl AsMessage) -> Result<(), SendError> {
        if let Some(delivered) = self.delivered {
            self.core.copy_replies(self.context, delivered);
        }
        self.core
            .send(self.context, message.as_message(), Packing::Plain)
    }

    /// Begins the closing handshake, behind all that was sent before, by the handler and by others.
    /// No message can be sent any more; those of the peer that are on their way still come.
    ///
    /// # Errors
    /// [`SendError::Closed`] if the connection is closing already, [`SendError::Invalid`] for a
    /// code or a reason that may not be sent.
    pub fn close(&mut self, code: CloseCode, reason: &str) -> Result<(), SendError> {
        self.core.close(code, reason)
    }

    /// The connection's id.
    #[must_use]
    pub const fn id(&self) -> PeerId {
        self.core.id
    }

    /// The peer's address, as it was when the connection was accepted.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.context.address(self.core.id)
    }

    /// The reason in the peer's Close, for people who look for a fault: in
    /// [`Handler::on_close`](crate::Handler::on_close), and empty before.
    #[must_use]
    pub fn close_reason(&self) -> &str {
        self.core.cold.as_ref().map_or("", |cold| &cold.reason)
    }

    /// Returns the error of the operating system, or of TLS, that ended the connection: in
    /// [`Handler::on_close`](crate::Handler::on_close), after
    /// [`Ended::Lost`](crate::Ended::Lost).
    #[must_use]
    pub fn error(&self) -> Option<&io::Error> {
        self.core.cold.as_ref()?.error.as_ref()
    }

    /// The subprotocol, if there is one.
    #[must_use]
    pub fn subprotocol(&self) -> Option<&str> {
        self.core.cold.as_ref()?.subprotocol.as_deref()
    }

    /// What was received and sent so far, and what it was compressed to; `None` where nothing was
    /// agreed upon for compression.
    #[cfg(feature = "deflate")]
    #[must_use]
    pub fn traffic(&self) -> Option<crate::Traffic> {
        self.core.traffic()
    }

    /// What the application keeps for this connection.
    #[must_use]
    pub const fn data(&self) -> &D {
        self.data
    }

    /// The same, to be changed.
    pub const fn data_mut(&mut self) -> &mut D {
        self.data
    }

    /// How much waits to be written, in bytes of the memory that it takes: what
    /// [`ServerLimits::backlog`](crate::ServerLimits::backlog) bounds.
    #[must_use]
    pub fn buffered_amount(&self) -> usize {
        let replies = &self.context.replies;
        let replies = replies.len() + replies.sent_len();
        self.context.cork.len() + replies + self.core.outgoing.cost()
    }

    /// Whether messages can be sent.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.core.can_send()
    }

    /// A handle of this connection for other threads, and for later.
    pub fn sender(&mut self) -> PeerSender {
        PeerSender(self.core.outbox(self.context))
    }
}

/// The open connections of a loop: [`Handler::on_timer`](crate::Handler::on_timer).
#[derive(Debug)]
pub struct Peers<'a, D> {
    pub(super) slots: &'a mut Slab<Slot<D>>,
    pub(super) context: &'a mut Context,
}

impl<D> Peers<'_, D> {
    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        let open = self.slots.iter().filter(|(_, slot)| slot.core.is_open());
        open.count()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Calls `f` for each of them. If it panics, the connection is closed with 1011, and the next
    /// one has its turn.
    pub fn for_each(&mut self, mut f: impl FnMut(&mut Peer<'_, D>)) {
        for (_, slot) in self.slots.iter_mut() {
            let core = &mut slot.core;
            let Some(data) = slot.data.as_mut().filter(|_| core.is_open()) else {
                continue;
            };
            let called = catch_unwind(AssertUnwindSafe(|| {
                f(&mut Peer {
                    core: &mut *core,
                    context: &mut *self.context,
                    data,
                    delivered: None,
                });
            }));
            if called.is_err() {
                core.fail(CloseCode::INTERNAL_ERROR);
            }
            slot.core.flush(self.context);
            // What is left to do needs the handler, which is busy.
            if !slot.core.is_quiet() {
                slot.core.queue(self.context);
            }
        }
    }
}
