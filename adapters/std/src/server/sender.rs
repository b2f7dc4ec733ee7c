//! Sending from other threads.

use core::fmt;
use std::sync::Arc;

use motews::CloseCode;

use super::control::check_close;
use super::frame::{Frame, Packing};
use super::id::PeerId;
use super::inbox::is_in_loop;
use super::outbox::{Outbox, SlowPolicy};
use crate::error::{SendError, TrySendError};
use crate::message::{AsMessage, Message};

/// Sends on a connection of a [`Server`](crate::Server) from any thread:
/// [`Peer::sender`](crate::Peer::sender). Clone it as you like. It does not keep the connection:
/// when that is gone, the calls fail with [`SendError::Closed`].
///
/// What one thread sends arrives in that order. How much may wait has a limit
/// ([`ServerLimits::backlog`](crate::ServerLimits::backlog)); a single message may always wait, however
/// long it is.
///
/// ```no_run
/// use motews_std::{Handler, MessageRef, Peer, Request, SendError, Server};
///
/// struct Clock;
///
/// impl Handler for Clock {
///     type Data = ();
///
///     fn on_open(&mut self, peer: &mut Peer, _: &Request) -> Result<(), SendError> {
///         let sender = peer.sender();
///         std::thread::spawn(move || {
///             for n in 0.. {
///                 if sender.send(format!("tick {n}")).is_err() {
///                     break; // the connection is closed
///                 }
///                 std::thread::sleep(std::time::Duration::from_secs(1));
///             }
///         });
///         Ok(())
///     }
///
///     fn on_message(&mut self, _: &mut Peer, _: MessageRef) -> Result<(), SendError> {
///         Ok(())
///     }
/// }
///
/// Server::bind("127.0.0.1:9001")?.run(Clock)?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone)]
pub struct PeerSender(pub(super) Arc<Outbox>);

impl PeerSender {
    /// Sends a message. Waits until there is room, or the connection ends: how long a peer may
    /// take is bounded by [`ServerBuilder::timeouts`](crate::ServerBuilder::timeouts). In a
    /// [`Handler`](crate::Handler), which must not wait, it returns
    /// [`WouldBlock`](std::io::ErrorKind::WouldBlock) instead ([`SendError::is_would_block`]).
    ///
    /// # Errors
    /// [`SendError::Closed`]
    pub fn send(&self, message: impl AsMessage) -> Result<(), SendError> {
        let frame = Frame::new(message.as_message(), Packing::Allowed);
        self.0.send(frame, !is_in_loop())
    }

    /// The same as it is, where others are compressed: see
    /// [`ServerBuilder::deflate`](crate::ServerBuilder::deflate).
    ///
    /// # Errors
    /// As [`send`](Self::send).
    // [PD30]
    #[cfg(feature = "deflate")]
    pub fn send_uncompressed(&self, message: impl AsMessage) -> Result<(), SendError> {
        let frame = Frame::new(message.as_message(), Packing::Plain);
        self.0.send(frame, !is_in_loop())
    }

    /// Sends a message if there is room, without waiting.
    ///
    /// # Errors
    /// [`TrySendError::Full`] if there is no room now, [`TrySendError::Failed`] if there will never
    /// be. Both give the message back.
    pub fn try_send(&self, message: impl Into<Message>) -> Result<(), TrySendError> {
        let message = message.into();
        match self
            .0
            .send(Frame::new(message.as_message(), Packing::Allowed), false)
        {
            Ok(()) => Ok(()),
            Err(error) if error.is_would_block() => Err(TrySendError::Full(message)),
            Err(error) => Err(TrySendError::Failed(message, error)),
        }
    }

    /// Sends a message when all others are written; until then a later one takes its place. So a
    /// peer that reads slowly skips some, and what it gets is fresh: for the frames of a video. Never
    /// waits. Tells whether one that was not sent yet has been replaced.
    ///
    /// # Errors
    /// [`SendError::Closed`]
    pub fn send_latest(&self, message: impl AsMessage) -> Result<bool, SendError> {
        let frame = Frame::new(message.as_message(), Packing::Allowed);
        let offered = self.0.offer(&frame, SlowPolicy::KeepNewest);
        self.0.inbox.wake();
        match offered.delivered {
            0 => Err(SendError::Closed),
            _ => Ok(offered.dropped > 0),
        }
    }

    /// Begins the closing handshake behind all that was sent before, by this thread and others.
    ///
    /// # Errors
    /// [`SendError::Closed`], or [`SendError::Invalid`] for a code or a reason that may not be
    /// sent.
    pub fn close(&self, code: CloseCode, reason: &str) -> Result<(), SendError> {
        check_close(code, reason)?;
        self.0.send_close(code, reason)
    }

    /// The connection's id.
    #[must_use]
    pub fn id(&self) -> PeerId {
        self.0.id
    }

    /// Whether messages can be sent.
    #[must_use]
    pub fn is_open(&self) -> bool {
        !self.0.is_closing()
    }

    /// How much waits to be written, in bytes of the memory that it takes: what
    /// [`ServerLimits::backlog`](crate::ServerLimits::backlog) bounds.
    #[must_use]
    pub fn buffered_amount(&self) -> usize {
        self.0.buffered_amount()
    }
}

impl fmt::Debug for PeerSender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PeerSender({})", self.0.id)
    }
}
