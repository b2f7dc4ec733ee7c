//! [`Error`], by who is to blame.

use core::fmt;

use motews::handshake::{ConfigError, HandshakeError};
use motews::{Due, EntropyError, ProtocolViolation, SendError};

use crate::config::BufferTooSmall;

/// Why an operation failed.
///
/// A clean close is no error. One type serves all operations: without a heap there is no box to
/// gather several in, and a function that receives and sends wants `?` for both. Each method says
/// which of them it gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Error<E> {
    /// The transport failed. The call may be repeated, as far as the transport goes on: nothing
    /// is lost.
    Io(E),
    /// The transport ended before there was a WebSocket, or takes no more bytes.
    Lost,
    /// The peer's opening handshake is wrong, or refuses. A server has told its client so.
    Handshake(HandshakeError),
    /// The request was answered with an HTTP response, as the caller wanted.
    Answered,
    /// A client's request cannot be written: the subprotocols of its [`Config`](crate::Config) are
    /// wrong, or no key could be had.
    Config(ConfigError),
    /// The peer broke the protocol (RFC 6455 §7.1.7), or left without a Close. Where there is
    /// someone to tell, a Close with the fitting code has been written.
    Protocol(ProtocolViolation),
    /// The call cannot be done.
    Send(SendError),
    /// No masking key could be had for a frame that the protocol owes the peer. It is still owed.
    Entropy,
    /// The peer took too long: the transport is to be dropped.
    TimedOut(Due),
    /// A buffer is too small: see [`BufferTooSmall`].
    BufferTooSmall,
}

impl<E: fmt::Display> fmt::Display for Error<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => error.fmt(f),
            Self::Lost => f.write_str("the transport ended"),
            Self::Handshake(error) => error.fmt(f),
            Self::Answered => f.write_str("the request was answered with an HTTP response"),
            Self::Config(error) => error.fmt(f),
            Self::Protocol(violation) => violation.fmt(f),
            Self::Send(error) => error.fmt(f),
            Self::Entropy => EntropyError.fmt(f),
            Self::TimedOut(due) => f.write_str(match due {
                Due::Handshake => "the opening handshake took too long",
                Due::Close => "the closing handshake took too long",
                _ => "the peer is silent",
            }),
            Self::BufferTooSmall => BufferTooSmall.fmt(f),
        }
    }
}

impl<E: core::error::Error> core::error::Error for Error<E> {}

/// An [`Error`] that is not the transport's.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Failure {
    Lost,
    Handshake(HandshakeError),
    Answered,
    Config(ConfigError),
    Protocol(ProtocolViolation),
    Send(SendError),
    Entropy,
    TimedOut(Due),
}

impl<E> From<Failure> for Error<E> {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Lost => Self::Lost,
            Failure::Handshake(error) => Self::Handshake(error),
            Failure::Answered => Self::Answered,
            Failure::Config(error) => Self::Config(error),
            Failure::Protocol(violation) => Self::Protocol(violation),
            Failure::Send(error) => Self::Send(error),
            Failure::Entropy => Self::Entropy,
            Failure::TimedOut(due) => Self::TimedOut(due),
        }
    }
}

impl From<EntropyError> for Failure {
    fn from(_: EntropyError) -> Self {
        Self::Entropy
    }
}

impl From<SendError> for Failure {
    fn from(error: SendError) -> Self {
        Self::Send(error)
    }
}

impl<E> From<BufferTooSmall> for Error<E> {
    fn from(_: BufferTooSmall) -> Self {
        Self::BufferTooSmall
    }
}
