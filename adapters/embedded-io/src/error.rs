//! [`Error`], by who is to blame.

use core::fmt;

use embedded_io::ErrorKind;
use motews::handshake::{ConfigError, HandshakeError};
use motews::{Ended, EntropyError, ProtocolViolation, SendError};

use crate::config::BufferTooSmall;

/// Why an operation failed.
///
/// One type serves all operations: without a heap there is no box to gather several in, and a
/// function that receives and sends wants `?` for both. Each method says which of them it returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Error<E> {
    /// The transport failed. Unless it was reset or closed, the call may be repeated: nothing is
    /// lost.
    Io(E),
    /// There is no connection any more, or there never was one: how it ended. The same again with
    /// each later call. A clean close is no error for those who receive; for those who send it is.
    Ended(Ended),
    /// The call cannot be done.
    ///
    /// [`NotOpen`](SendError::NotOpen) before the opening handshake is complete, and from the first
    /// Close on, of either side, until the connection has ended: then it is [`Ended`](Self::Ended).
    /// Who receives, or calls `close`, sees it to its end.
    Send(SendError),
    /// A buffer is too small: see [`BufferTooSmall`].
    BufferTooSmall,
    /// The strings of a request or a response are wrong: a client's subprotocols in its
    /// [`Config`](crate::Config), when it connects. And it is for `?` in a function that makes a
    /// [`Request`](motews::handshake::Request).
    Config(ConfigError),
}

impl<E: fmt::Display> fmt::Display for Error<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => error.fmt(f),
            Self::Ended(ended) => ended.fmt(f),
            Self::Send(error) => error.fmt(f),
            Self::BufferTooSmall => BufferTooSmall.fmt(f),
            Self::Config(error) => error.fmt(f),
        }
    }
}

impl<E: core::error::Error> core::error::Error for Error<E> {}

/// An [`Error`] that is not the transport's.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Failure {
    Ended(Ended),
    Send(SendError),
    Config(ConfigError),
}

impl<E> From<Failure> for Error<E> {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Ended(ended) => Self::Ended(ended),
            Failure::Send(error) => Self::Send(error),
            Failure::Config(error) => Self::Config(error),
        }
    }
}

impl From<EntropyError> for Failure {
    fn from(_: EntropyError) -> Self {
        Self::Ended(Ended::NoEntropy)
    }
}

impl From<SendError> for Failure {
    fn from(error: SendError) -> Self {
        Self::Send(error)
    }
}

impl From<ProtocolViolation> for Failure {
    fn from(violation: ProtocolViolation) -> Self {
        Self::Ended(Ended::Violation(violation))
    }
}

impl<E> From<BufferTooSmall> for Error<E> {
    fn from(_: BufferTooSmall) -> Self {
        Self::BufferTooSmall
    }
}

impl<E> From<ConfigError> for Error<E> {
    fn from(error: ConfigError) -> Self {
        Self::Config(error)
    }
}

impl<E> From<HandshakeError> for Error<E> {
    fn from(error: HandshakeError) -> Self {
        Self::Ended(error.into())
    }
}

/// Whether the transport gave up for now only.
pub(crate) fn is_for_now(error: &impl embedded_io::Error) -> bool {
    matches!(error.kind(), ErrorKind::TimedOut | ErrorKind::Interrupted)
}

/// Whether the transport is gone, by its own account.
pub(crate) fn is_gone(error: &impl embedded_io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::BrokenPipe
            | ErrorKind::ConnectionReset
            | ErrorKind::ConnectionAborted
            | ErrorKind::NotConnected
    )
}
