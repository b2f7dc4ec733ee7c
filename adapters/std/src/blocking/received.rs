//! What a receive that does not wait for ever returns.

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
