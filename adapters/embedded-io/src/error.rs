//! [`Error`], by who is to blame.

use core::fmt;

use embedded_io::ErrorKind;
use motews::handshake::{ConfigError, HandshakeError};
use motews::{Ended, EntropyError, NoRoom, ProtocolViolation, SendError};

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
    /// There is no connection any more, or there never was one: how it ended. Each later call returns
    /// the same.
    ///
    /// Receiving ends a clean close with `None` instead. Sending returns
    /// [`Closed`](Ended::Closed) as soon as the peer's Close has come, while this side's answer may
    /// still wait: `closed` sees to that, and returns what became of it.
    Ended(Ended),
    /// The call cannot be done. [`NotOpen`](SendError::NotOpen) means that the opening handshake is not
    /// complete, or that this side has called `close`.
    Send(SendError),
    /// A buffer is too small: below [`MIN_BUFFER`](crate::MIN_BUFFER), or with compression, less memory
    /// than was asked for may need, or than the call needs.
    NoRoom,
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
            Self::NoRoom => NoRoom.fmt(f),
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

impl<E> From<NoRoom> for Error<E> {
    fn from(_: NoRoom) -> Self {
        Self::NoRoom
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
