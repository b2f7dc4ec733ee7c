//! Sending from other threads.

use core::fmt;
use std::sync::Arc;

use motews::{Client, CloseCode, DataKind, Role, State};

use super::sending::Failure;
use super::shared::{Handle, SendMode, Shared};
use crate::connect::net::NetStream;
use crate::entropy::OsEntropy;
use crate::error::{SendError, TrySendError};
use crate::message::{AsMessage, Message};
use crate::transport::Share;

/// Sends on a [`WebSocket`](crate::WebSocket) that another thread owns, whether or not that one is
/// waiting in `recv`. Clone it for each thread; the messages of several are never mixed.
///
/// What cannot be written at once waits in a backlog of [`Acceptor::max_backlog`] bytes, and not
/// more: [`send`](Self::send) then waits until the peer reads, or until the connection ends
/// ([`Timeouts::write`]); [`try_send`](Self::try_send) gives the message back. A backlog that
/// `try_send` leaves is written by whoever sends or receives next, so an owner that waits in `recv`
/// writes it as soon as there is room.
///
/// A sender reads nothing. Keep receiving in the owner: some peers stop reading until what they send is
/// read.
///
/// The WebSocket is closed when its owner drops it; the senders' calls fail with
/// [`SendError::Closed`] then.
///
/// ```
/// # fn f(mut ws: motews_std::WebSocket) -> std::io::Result<()> {
/// let sender = ws.sender()?;
/// std::thread::spawn(move || {
///     for n in 0.. {
///         if sender.send(format!("tick {n}")).is_err() {
///             break; // the WebSocket is closed
///         }
///         std::thread::sleep(std::time::Duration::from_secs(1));
///     }
/// });
/// while let Some(message) = ws.recv()? {
///     println!("{message:?}");
/// }
/// # Ok(()) }
/// ```
///
/// [`Acceptor::max_backlog`]: crate::Acceptor::max_backlog
/// [`Timeouts::write`]: crate::Timeouts::write
pub struct Sender<S = NetStream, R = Client<OsEntropy>> {
    stream: Arc<S>,
    shared: Arc<Shared<R>>,
}

impl<S, R> Clone for Sender<S, R> {
    fn clone(&self) -> Self {
        Self {
            stream: self.stream.clone(),
            shared: self.shared.clone(),
        }
    }
}

impl<S: Share, R: Role> Sender<S, R> {
    pub(super) fn new(stream: S, shared: Arc<Shared<R>>) -> Self {
        Self {
            stream: Arc::new(stream),
            shared,
        }
    }

    /// Sends a message, and waits until the operating system has taken it.
    ///
    /// # Errors
    /// As [`WebSocket::send`](crate::WebSocket::send), without
    /// [`InboundFull`](SendError::InboundFull).
    pub fn send(&self, message: impl AsMessage) -> Result<(), SendError> {
        let message = message.as_message();
        Ok(self.send_data(message.kind(), message.as_bytes(), SendMode::default())?)
    }

    /// The same, and says whether it was taken.
    pub(crate) fn deliver(&self, message: &Message) -> Result<(), Failure> {
        self.send_data(message.kind(), message.as_bytes(), SendMode::default())
    }

    fn send_data(&self, kind: DataKind, bytes: &[u8], mode: SendMode) -> Result<(), Failure> {
        let mut writer = Handle(&*self.stream);
        let sent = self.shared.send(&mut writer, kind, bytes, true, mode);
        self.shared.leave();
        sent
    }

    /// Sends a message as it is, where others are compressed: see
    /// [`Acceptor::deflate`](crate::Acceptor::deflate).
    ///
    /// # Errors
    /// As [`send`](Self::send).
    #[cfg(feature = "deflate")]
    pub fn send_uncompressed(&self, message: impl AsMessage) -> Result<(), SendError> {
        let message = message.as_message();
        let mode = SendMode {
            plain: true,
            ..SendMode::default()
        };
        Ok(self.send_data(message.kind(), message.as_bytes(), mode)?)
    }

    /// Sends a message if there is room, without waiting.
    ///
    /// # Errors
    /// [`TrySendError::Full`] if there is no room now, [`TrySendError::Failed`] as
    /// [`send`](Self::send). Both give the message back.
    pub fn try_send(&self, message: impl Into<Message>) -> Result<(), TrySendError> {
        let message = message.into();
        let mode = SendMode {
            now: true,
            ..SendMode::default()
        };
        match self.send_data(message.kind(), message.as_bytes(), mode) {
            Ok(()) => Ok(()),
            Err(Failure { error, .. }) if error.is_would_block() => {
                Err(TrySendError::Full(message))
            }
            Err(Failure { error, .. }) => Err(TrySendError::Failed(message, error)),
        }
    }

    /// Sends a ping with at most 125 bytes of payload (§5.5.2).
    ///
    /// # Errors
    /// As [`WebSocket::ping`](crate::WebSocket::ping).
    pub fn ping(&self, payload: &[u8]) -> Result<(), SendError> {
        let mut writer = Handle(&*self.stream);
        let sent = self.shared.ping(&mut writer, payload);
        self.shared.leave();
        sent
    }

    /// Begins the closing handshake and returns. The owner's `recv` or `closed` completes it.
    ///
    /// # Errors
    /// As [`WebSocket::close`](crate::WebSocket::close).
    pub fn close(&self, code: CloseCode, reason: &str) -> Result<(), SendError> {
        let mut writer = Handle(&*self.stream);
        let closed = self.shared.close(&mut writer, code, reason);
        self.shared.leave();
        closed
    }

    /// Returns true if messages can be sent.
    #[must_use]
    pub fn is_open(&self) -> bool {
        let inner = self.shared.lock();
        !inner.lost && inner.session.connection().state() == State::Open
    }

    /// Returns how many bytes of frames wait to be written.
    #[must_use]
    pub fn buffered_amount(&self) -> usize {
        self.shared.lock().buffered_amount()
    }
}

impl<S, R> fmt::Debug for Sender<S, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sender")
    }
}
