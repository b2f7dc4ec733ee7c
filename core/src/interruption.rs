//! What a client that comes back reports: [`Update`], [`Interruption`], [`NotSent`].
//!
//! The adapters fill in their own types of messages and errors. [`Reconnect`](crate::Reconnect) decides
//! when the next attempt is due; here it is decided which messages may be lost.

use core::fmt;
use core::time::Duration;

use crate::close_code::Side;
use crate::ended::Ended;
use crate::pace::Millis;
use crate::reconnect::Retry;

/// What happened to a client that comes back: `O` is the response that opened a connection, `M` a
/// message, `I` an [`Interruption`].
#[derive(Debug)]
#[non_exhaustive]
pub enum Update<O, M, I> {
    /// A connection is open, with this response.
    Opened(O),
    /// A message has come.
    Message(M),
    /// A connection has ended, or an attempt has failed.
    Ended(I),
}

/// Why there is no connection any more, and when there is the next attempt. `C` is the error of an
/// attempt to connect, `R` the error of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Interruption<C, R> {
    /// What has ended it.
    pub reason: Interrupted<C, R>,
    /// How long it is to the next attempt; `None`: there is none, for it is likely to fail as well, or
    /// this side has closed.
    pub retry_in: Option<Duration>,
    /// How many messages were sent over this connection whose fate is unknown. 0 after a clean end that
    /// this side began: then the peer has read them all, unless it began as well, at the same moment. That
    /// looks the same here.
    pub unconfirmed: u64,
}

/// What has ended a connection or an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Interrupted<C, R> {
    /// The connection was open: how it ended, and the error if there was one.
    Connection(Ended, Option<R>),
    /// There was none.
    Attempt(C),
}

impl<C, R> Interruption<C, R> {
    /// Reports an end. `retry` is what [`Reconnect::ended`](crate::Reconnect::ended) returned at `now`,
    /// and `sent` is the number of messages that were sent over the connection.
    #[must_use]
    pub fn new(reason: Interrupted<C, R>, retry: Retry, now: Millis, sent: u64) -> Self {
        let is_read = match &reason {
            Interrupted::Attempt(_) => true,
            // A peer answers a Close when it has read what came before (RFC 6455 §5.5.1).
            Interrupted::Connection(ended, _) => {
                ended.is_clean()
                    && matches!(
                        ended,
                        Ended::Closed {
                            by: Side::Local,
                            ..
                        }
                    )
            }
        };
        Self {
            reason,
            retry_in: match retry {
                Retry::At(at) => Some(Duration::from_millis(at.since(now).into())),
                Retry::Never => None,
            },
            unconfirmed: if is_read { 0 } else { sent },
        }
    }
}

/// Why a message was not sent. `M` is the message, `S` the error that ended the connection.
#[derive(Debug)]
#[non_exhaustive]
pub enum NotSent<M, S> {
    /// There is no connection, and nothing of it has left: here it is.
    Unsent(M),
    /// The connection is open, and nothing of it has left: the peer does not read, and what it has sent
    /// takes all the room there is. Receive first, then send it again.
    InboundFull(M),
    /// It was taken, and the connection has ended while it was being written: the peer may have it.
    Unknown(S),
}

impl<C: fmt::Display, R: fmt::Display> fmt::Display for Interruption<C, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.reason {
            Interrupted::Connection(_, Some(error)) => error.fmt(f)?,
            Interrupted::Connection(ended, None) => ended.fmt(f)?,
            Interrupted::Attempt(error) => error.fmt(f)?,
        }
        match self.retry_in {
            Some(wait) => write!(f, "; next attempt in {wait:.1?}"),
            None => f.write_str("; no further attempt"),
        }
    }
}

impl<M, S: fmt::Display> fmt::Display for NotSent<M, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unsent(_) => f.write_str("there is no connection"),
            Self::InboundFull(_) => f.write_str("the peer does not read, and sends: receive first"),
            Self::Unknown(error) => write!(f, "the peer may have it or not: {error}"),
        }
    }
}

impl<M: fmt::Debug, S: core::error::Error + 'static> core::error::Error for NotSent<M, S> {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Unknown(error) => Some(error),
            Self::Unsent(_) | Self::InboundFull(_) => None,
        }
    }
}
