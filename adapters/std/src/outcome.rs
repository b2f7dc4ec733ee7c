//! What receiving finds, and how a connection ends.

use motews::{CloseCode, Ended};

use crate::message::Message;

/// What [`WebSocket::try_recv`](crate::WebSocket::try_recv) and
/// [`WebSocket::recv_timeout`](crate::WebSocket::recv_timeout) found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Received {
    /// A message.
    Message(Message),
    /// None yet; there may be one later.
    Nothing,
    /// None, and none will come: the WebSocket is closed.
    Closed,
}

/// How a connection ended (RFC 6455 §7.1.4 to §7.1.6).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The code of the Close that the peer sent; 1005 if it had none; 1006 if no Close came.
    pub code: CloseCode,
    /// The reason in it, for people who look for a fault.
    pub reason: String,
    /// How it ended, and why.
    pub ended: Ended,
}

impl Outcome {
    /// Returns whether the closing handshake was completed (§7.1.4).
    #[must_use]
    pub const fn is_clean(&self) -> bool {
        self.ended.is_clean()
    }
}
