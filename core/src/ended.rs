//! How a connection ended, and why: [`Ended`].

use core::fmt;

use crate::close_code::{CloseCode, Side};
use crate::error::ProtocolViolation;
use crate::handshake::HandshakeError;
use crate::pace::Deadline;

/// How a connection ended: the one answer that all adapters give.
///
/// The first cause counts. If the peer's Close came, or the peer broke the protocol, what happened to
/// the transport afterwards is no cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Ended {
    /// The peer's Close came (§7.1.5).
    Closed {
        /// The code in the peer's Close; 1005 if it had none.
        code: CloseCode,
        /// Who sent a Close first.
        by: Side,
        /// Whether the closing handshake was completed (§7.1.4): this side's Close was sent, too.
        clean: bool,
    },
    /// The peer broke the protocol, sent a message above a limit, or ended its half of the
    /// transport without a Close ([`ProtocolViolation::UnexpectedEof`]).
    Violation(ProtocolViolation),
    /// A time ran out.
    TimedOut(Deadline),
    /// The transport failed: a reset, or an error of the operating system.
    Lost,
    /// There was no upgrade, but an HTTP response with this status: of the server to this client, or
    /// of this server to the client.
    Refused(u16),
    /// The peer's opening handshake was wrong.
    Handshake(HandshakeError),
    /// This side gave the connection up without a closing handshake.
    Aborted,
    /// A client had no masking key for what the protocol owed (§10.3).
    NoEntropy,
}

const _: () = assert!(size_of::<Ended>() <= 8, "an end is at most 8 bytes");

impl Ended {
    /// Returns whether the closing handshake was completed (§7.1.4).
    #[must_use]
    pub const fn is_clean(self) -> bool {
        matches!(self, Self::Closed { clean: true, .. })
    }

    /// Returns _The WebSocket Connection Close Code_ (§7.1.5): that of the peer's Close, 1005 if it
    /// had none, and 1006 if no Close came.
    #[must_use]
    pub const fn code(self) -> CloseCode {
        match self {
            Self::Closed { code, .. } => code,
            _ => CloseCode::ABNORMAL_CLOSURE,
        }
    }
}

impl From<HandshakeError> for Ended {
    fn from(error: HandshakeError) -> Self {
        match error {
            HandshakeError::UnexpectedStatus(status) => Self::Refused(status),
            error => Self::Handshake(error),
        }
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed { code, by, clean } => {
                let by = match by {
                    Side::Local => "this side",
                    Side::Remote => "the peer",
                };
                write!(f, "closed by {by}, code {code}")?;
                match clean {
                    true => Ok(()),
                    false => f.write_str(", not cleanly"),
                }
            }
            Self::Violation(ProtocolViolation::UnexpectedEof) => {
                f.write_str("the peer left without a closing handshake")
            }
            // Of this side's making, and so is the cure.
            Self::Violation(ProtocolViolation::MessageTooBig) => f.write_str(
                "the peer sent a message that is longer than this side's limit: see Limits::message",
            ),
            Self::Violation(violation) => write!(f, "the peer broke the protocol: {violation}"),
            Self::TimedOut(deadline) => write!(f, "timed out: {deadline}"),
            Self::Lost => f.write_str("the transport was lost"),
            Self::Refused(status) => write!(f, "no upgrade, but an HTTP response: {status}"),
            Self::Handshake(error) => write!(f, "the opening handshake failed: {error}"),
            Self::Aborted => f.write_str("aborted by this side"),
            Self::NoEntropy => f.write_str("no masking key could be had"),
        }
    }
}
