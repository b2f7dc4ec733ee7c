//! Errors: one small enum for each operation, which says who is to blame.

use core::fmt;
use std::io;
use std::sync::Arc;
use std::time::SystemTime;

use motews::handshake::{ConfigError, HandshakeError};
use motews::reconnect::Cause;
use motews::{Deadline, Ended, ProtocolViolation};

use motews_net::{ProxyError, TunnelError, UrlError};

use crate::connect::dial::DialError;
use crate::connect::refused::Refused;
use crate::message::Message;

/// Why a message cannot be received any more, or not yet. A clean close is no error.
#[derive(Debug)]
#[non_exhaustive]
pub enum RecvError {
    /// The transport. [`WouldBlock`](io::ErrorKind::WouldBlock) from a non-blocking stream is
    /// passed on as it is: nothing is lost, call again.
    Io(io::Error),
    /// The peer broke the protocol, or left without a Close
    /// ([`UnexpectedEof`](ProtocolViolation::UnexpectedEof)). The fitting Close was sent, if it could be.
    Protocol(ProtocolViolation),
    /// The peer took too long, and the connection was given up: [`Deadline::Pong`] if it does not
    /// answer any more, [`Deadline::Write`] if it does not read, [`Deadline::Close`] if it did not
    /// close.
    TimedOut(Deadline),
    /// No masking key could be had, so nothing can be answered.
    Entropy,
    /// This side gave the connection up: an [`Aborter`](crate::Aborter).
    Aborted,
}

/// Why a message was not sent.
#[derive(Debug)]
#[non_exhaustive]
pub enum SendError {
    /// The connection is closing or closed, or the peer has left.
    Closed,
    /// The transport. [`WouldBlock`](io::ErrorKind::WouldBlock) from a non-blocking stream:
    /// nothing of the message was taken, send it again later.
    Io(io::Error),
    /// The peer did not read for too long ([`Timeouts::write`]), and the connection was given up.
    ///
    /// [`Timeouts::write`]: crate::Timeouts::write
    TimedOut,
    /// The peer does not read, and as much of what it sends is kept as may be
    /// ([`Acceptor::max_inbound`]), while this side has sent that much more than it has received: both
    /// sides might wait for each other. Receive, then send or flush again. A message that was to be sent
    /// was not taken; one that waited before still does.
    ///
    /// [`Acceptor::max_inbound`]: crate::Acceptor::max_inbound
    InboundFull,
    /// What was to be sent is against the protocol: a ping or a reason that is too long, a close
    /// code that may not be sent.
    Invalid(motews::SendError),
    /// No masking key could be had.
    Entropy,
}

/// What a stream returns that an [`Aborter`](crate::Aborter) has ended.
#[derive(Debug)]
struct Abort;

impl fmt::Display for Abort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the connection was aborted")
    }
}

impl core::error::Error for Abort {}

pub(crate) fn abort() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, Abort)
}

pub(crate) fn is_abort(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<Abort>())
}

/// An error of the transport that ended a connection, to be returned by each receive.
#[derive(Clone, Debug)]
pub(crate) struct Lost(Arc<io::Error>);

impl Lost {
    pub(crate) fn new(error: io::Error) -> Self {
        Self(Arc::new(error))
    }

    /// The same error once more: its kind and code, its text and its source.
    pub(crate) fn to_io(&self) -> io::Error {
        match self.0.raw_os_error() {
            Some(code) => io::Error::from_raw_os_error(code),
            None => io::Error::new(self.0.kind(), self.clone()),
        }
    }
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl core::error::Error for Lost {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self.0.get_ref() {
            Some(inner) => Some(inner),
            None => None,
        }
    }
}

/// Why [`Sender::try_send`](crate::Sender::try_send) did not send. It gives the message back.
#[derive(Debug)]
#[non_exhaustive]
pub enum TrySendError {
    /// There is no room: the peer reads more slowly than this side sends, or another thread is in
    /// the midst of a message.
    Full(Message),
    /// It will never be sent.
    Failed(Message, SendError),
}

impl TrySendError {
    /// The message that was not sent.
    #[must_use]
    pub fn into_message(self) -> Message {
        match self {
            Self::Full(message) | Self::Failed(message, _) => message,
        }
    }
}

/// Why no connection was accepted.
#[derive(Debug)]
#[non_exhaustive]
pub enum AcceptError {
    /// The transport. After [`WouldBlock`](io::ErrorKind::WouldBlock), advance the same
    /// [`Accepting`](crate::Accepting) again.
    Io(io::Error),
    /// The client's request is no correct opening handshake; the fitting response was sent.
    Handshake(HandshakeError),
    /// The callback answered with this HTTP status: a refusal, or a page for a request that was
    /// for no WebSocket.
    Answered(u16),
    /// The response that was to be sent is against the protocol. The client was sent a 500.
    Config(ConfigError),
    /// The client did not finish its request in time ([`Timeouts::handshake`]).
    ///
    /// [`Timeouts::handshake`]: motews::Timeouts::handshake
    TimedOut,
}

/// Why a connection could not be opened.
#[derive(Debug)]
#[non_exhaustive]
pub enum ConnectError {
    /// The URL is none that a WebSocket can have (RFC 6455 §3).
    Url(UrlError),
    /// The URL's scheme is `wss`, and the feature `tls` is off.
    TlsNotEnabled,
    /// What is to be sent in the request is against the protocol.
    Config(ConfigError),
    /// The host has no address, or refused the connection (see [`DialError`](crate::DialError)); or
    /// the transport failed later. After [`WouldBlock`](io::ErrorKind::WouldBlock), advance the
    /// same [`Connecting`](crate::Connecting) again.
    Io(io::Error),
    /// The proxy that is to be used, by the environment, cannot be.
    Proxy(ProxyError),
    /// The proxy does not lead to the server.
    Tunnel(TunnelError),
    /// TLS could not be set up, or the server's certificate is not trusted.
    #[cfg(feature = "tls")]
    Tls(rustls::Error),
    /// The server answered with a status other than 101: a redirect that is not followed, a refusal,
    /// a page.
    Refused(Box<Refused>),
    /// What answered is no WebSocket server, or an incorrect one.
    Handshake(HandshakeError),
    /// The server speaks TLS, and the URL's scheme is `ws`.
    SpeaksTls,
    /// The connection could not be made in time ([`Connector::connect_timeout`]), or the server did
    /// not answer in time ([`Timeouts::handshake`]).
    ///
    /// [`Connector::connect_timeout`]: crate::Connector::connect_timeout
    /// [`Timeouts::handshake`]: motews::Timeouts::handshake
    ///
    /// It has the addresses that were tried, if none of them could be connected to.
    TimedOut(Option<DialError>),
    /// The addresses of this host, the server or the proxy, were not found in time
    /// ([`Connector::connect_timeout`](crate::Connector::connect_timeout)).
    LookUpTimedOut(String),
    /// It was ended by an [`Aborter`](crate::Aborter), or given up by
    /// [`Reconnecting::close`](crate::Reconnecting::close).
    Aborted,
}

impl fmt::Display for RecvError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => error.fmt(f),
            Self::Protocol(violation) => Ended::Violation(*violation).fmt(f),
            Self::TimedOut(Deadline::Pong) => f.write_str("the peer does not answer any more"),
            Self::TimedOut(Deadline::Write) => f.write_str("the peer does not read"),
            Self::TimedOut(Deadline::Close) => f.write_str("the peer did not close in time"),
            Self::TimedOut(deadline) => write!(f, "the peer took too long: {deadline}"),
            Self::Entropy => motews::EntropyError.fmt(f),
            Self::Aborted => f.write_str("the connection was aborted"),
        }
    }
}

impl core::error::Error for RecvError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Io(error) => Some(error),
            Self::Protocol(violation) => Some(violation),
            _ => None,
        }
    }
}

impl RecvError {
    /// Whether nothing is wrong but that a non-blocking stream has nothing now.
    #[must_use]
    pub fn is_would_block(&self) -> bool {
        matches!(self, Self::Io(error) if error.kind() == io::ErrorKind::WouldBlock)
    }
}

impl SendError {
    /// Whether nothing is wrong but that a non-blocking stream has no room now.
    #[must_use]
    pub fn is_would_block(&self) -> bool {
        matches!(self, Self::Io(error) if error.kind() == io::ErrorKind::WouldBlock)
    }

    /// What an error of the transport means for one who sends.
    pub(crate) fn from_io(error: io::Error) -> Self {
        use io::ErrorKind as Kind;
        match error.kind() {
            Kind::BrokenPipe
            | Kind::ConnectionReset
            | Kind::ConnectionAborted
            | Kind::NotConnected
            | Kind::UnexpectedEof => Self::Closed,
            Kind::TimedOut => Self::TimedOut,
            _ => Self::Io(error),
        }
    }
}

impl From<motews::SendError> for SendError {
    fn from(error: motews::SendError) -> Self {
        match error {
            motews::SendError::NotOpen => Self::Closed,
            motews::SendError::Entropy => Self::Entropy,
            error => Self::Invalid(error),
        }
    }
}

impl From<motews::EntropyError> for SendError {
    fn from(_: motews::EntropyError) -> Self {
        Self::Entropy
    }
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => f.write_str("the WebSocket is closed, or the peer has left"),
            Self::Io(error) => error.fmt(f),
            Self::TimedOut => f.write_str("the peer does not read"),
            Self::InboundFull => f.write_str(
                "the peer does not read, and what it has sent fills max_inbound: \
                receive, then send again",
            ),
            Self::Invalid(error) => error.fmt(f),
            Self::Entropy => motews::EntropyError.fmt(f),
        }
    }
}

impl core::error::Error for SendError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Io(error) => Some(error),
            Self::Invalid(error) => Some(error),
            _ => None,
        }
    }
}

impl fmt::Display for TrySendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full(_) => f.write_str("there is no room for the message now"),
            Self::Failed(_, error) => error.fmt(f),
        }
    }
}

impl core::error::Error for TrySendError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Full(_) => None,
            Self::Failed(_, error) => Some(error),
        }
    }
}

impl fmt::Display for AcceptError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => error.fmt(f),
            Self::Handshake(error) => write!(f, "the client's request was refused: {error}"),
            Self::Answered(status) => write!(f, "the request was answered with {status}"),
            Self::Config(error) => write!(f, "the response is not valid: {error}"),
            Self::TimedOut => f.write_str("the client did not finish its request in time"),
        }
    }
}

impl core::error::Error for AcceptError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Io(error) => Some(error),
            Self::Handshake(error) => Some(error),
            Self::Config(error) => Some(error),
            _ => None,
        }
    }
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url(error) => error.fmt(f),
            Self::TlsNotEnabled => f.write_str("wss:// needs the feature `tls`"),
            Self::Proxy(error) => error.fmt(f),
            Self::Tunnel(error) => write!(f, "the proxy: {error}"),
            Self::Config(error) => write!(f, "the request is not valid: {error}"),
            Self::Io(error) => error.fmt(f),
            #[cfg(feature = "tls")]
            Self::Tls(error) => explain_tls(error, f),
            Self::Refused(refused) => refused.fmt(f),
            Self::Aborted => f.write_str("connecting was aborted"),
            Self::Handshake(error) => {
                write!(f, "what answered is not a WebSocket server: {error}")
            }
            Self::SpeaksTls => f.write_str("the server speaks TLS there: use wss://"),
            Self::TimedOut(None) => f.write_str("the connection was not opened in time"),
            Self::TimedOut(Some(failed)) => {
                write!(f, "no connection could be made in time: {failed}")
            }
            Self::LookUpTimedOut(name) => {
                write!(f, "{name}: the look-up of the name took too long")
            }
        }
    }
}

impl core::error::Error for ConnectError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Url(error) => Some(error),
            Self::Config(error) => Some(error),
            Self::Io(error) => Some(error),
            #[cfg(feature = "tls")]
            Self::Tls(error) => Some(error),
            Self::Handshake(error) => Some(error),
            Self::Proxy(error) => Some(error),
            Self::Tunnel(error) => Some(error),
            Self::Refused(refused) => Some(&**refused),
            Self::TimedOut(Some(failed)) => Some(failed),
            Self::TlsNotEnabled
            | Self::SpeaksTls
            | Self::TimedOut(None)
            | Self::LookUpTimedOut(_)
            | Self::Aborted => None,
        }
    }
}

/// So that `?` suits a function that returns [`io::Result`]. Errors of the transport come through
/// unchanged.
macro_rules! into_io {
    ($error:ident, $($(#[$attr:meta])? $other:pat => $kind:ident,)*) => {
        impl From<$error> for io::Error {
            fn from(error: $error) -> Self {
                match error {
                    $error::Io(error) => error,
                    $($(#[$attr])? $other => Self::new(io::ErrorKind::$kind, error),)*
                }
            }
        }

        impl From<io::Error> for $error {
            fn from(error: io::Error) -> Self {
                Self::Io(error)
            }
        }
    };
}

into_io!(RecvError,
    RecvError::Protocol(ProtocolViolation::UnexpectedEof) => UnexpectedEof,
    RecvError::Protocol(_) => InvalidData,
    RecvError::TimedOut(_) => TimedOut,
    RecvError::Entropy => Other,
    RecvError::Aborted => ConnectionAborted,
);
into_io!(SendError,
    SendError::Closed => BrokenPipe,
    SendError::TimedOut => TimedOut,
    SendError::InboundFull => WouldBlock,
    SendError::Invalid(_) => InvalidInput,
    SendError::Entropy => Other,
);
into_io!(AcceptError,
    AcceptError::Handshake(_) => InvalidData,
    AcceptError::Answered(_) => ConnectionRefused,
    AcceptError::Config(_) => InvalidInput,
    AcceptError::TimedOut => TimedOut,
);
into_io!(ConnectError,
    ConnectError::Url(_) | ConnectError::Config(_) | ConnectError::Proxy(_) => InvalidInput,
    ConnectError::TlsNotEnabled => Unsupported,
    ConnectError::Tunnel(_) => ConnectionRefused,
    ConnectError::Aborted => ConnectionAborted,
    #[cfg(feature = "tls")]
    ConnectError::Tls(_) => InvalidData,
    ConnectError::Handshake(_) | ConnectError::SpeaksTls => InvalidData,
    ConnectError::Refused(_) => ConnectionRefused,
    ConnectError::TimedOut(_) | ConnectError::LookUpTimedOut(_) => TimedOut,
);

impl ConnectError {
    /// Returns what the failure means for the next attempt: pass it to
    /// [`Reconnect::ended`](crate::Reconnect::ended).
    #[must_use]
    pub fn cause(&self) -> Cause {
        match self {
            Self::Refused(refused) => Ended::Refused(refused.status.as_u16()).into(),
            Self::Io(_) | Self::Tunnel(_) | Self::LookUpTimedOut(_) => Cause::Unreachable,
            #[cfg(feature = "tls")]
            Self::Tls(_) => Cause::Tls,
            Self::Handshake(error) => Ended::from(*error).into(),
            Self::TimedOut(None) => Ended::TimedOut(Deadline::Handshake).into(),
            Self::TimedOut(Some(_)) => Cause::Unreachable,
            Self::Aborted => Ended::Aborted.into(),
            // The URL has the wrong scheme.
            Self::SpeaksTls => Cause::Local,
            Self::Url(_) | Self::TlsNotEnabled | Self::Config(_) | Self::Proxy(_) => Cause::Local,
        }
    }

    /// Returns the `Retry-After` of the server's response, in milliseconds from now, if it has one.
    #[must_use]
    pub fn retry_after(&self) -> Option<u32> {
        match self {
            Self::Refused(refused) => motews_net::retry_after(&refused.headers, SystemTime::now()),
            _ => None,
        }
    }

    /// Finds the errors of deadlines and of TLS among those of the transport.
    pub(crate) fn from_io(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::TimedOut {
            return Self::TimedOut(error.downcast().ok());
        }
        #[cfg(feature = "tls")]
        if let Some(tls) = error.get_ref().and_then(|inner| inner.downcast_ref()) {
            return Self::Tls(rustls::Error::clone(tls));
        }
        Self::Io(error)
    }
}

macro_rules! from {
    ($($from:ident => $error:ident::$kind:ident,)*) => {$(
        impl From<$from> for $error {
            fn from(error: $from) -> Self {
                Self::$kind(error)
            }
        }
    )*};
}

from! {
    UrlError => ConnectError::Url,
    ConfigError => ConnectError::Config,
    ConfigError => AcceptError::Config,
    HandshakeError => AcceptError::Handshake,
}

/// Says what is wrong in words for those who do not know rustls.
#[cfg(feature = "tls")]
fn explain_tls(error: &rustls::Error, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    use rustls::CertificateError as Certificate;
    let text = match error {
        rustls::Error::InvalidMessage(_) => {
            "what answered does not speak TLS: should the URL begin with ws://?"
        }
        rustls::Error::AlertReceived(alert) => {
            return write!(f, "TLS: the server refused with the alert {alert:?}");
        }
        rustls::Error::InvalidCertificate(certificate) => match certificate {
            Certificate::UnknownIssuer => {
                "TLS: the server's certificate is not signed by anyone who is trusted"
            }
            Certificate::BadSignature => {
                "TLS: the server's certificate is not signed by those who are trusted, but says so"
            }
            Certificate::Expired | Certificate::ExpiredContext { .. } => {
                "TLS: the server's certificate has expired"
            }
            Certificate::NotValidYet | Certificate::NotValidYetContext { .. } => {
                "TLS: the server's certificate is not valid yet"
            }
            Certificate::NotValidForName | Certificate::NotValidForNameContext { .. } => {
                "TLS: the server's certificate is for another host"
            }
            Certificate::Revoked => "TLS: the server's certificate was revoked",
            _ => return write!(f, "TLS: the server's certificate is not accepted: {error}"),
        },
        error => return write!(f, "TLS: {error}"),
    };
    f.write_str(text)
}
