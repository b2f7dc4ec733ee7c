//! Errors: one small enum for each operation, which says who is to blame.

use core::fmt;
use std::io;
use std::sync::Arc;
use std::time::SystemTime;

use motews::handshake::{ConfigError, HandshakeError};
use motews::reconnect::Cause;
use motews::{Deadline, Ended, ProtocolViolation};
use motews_net::{ProxyError, RedirectError, TunnelError, UrlError};

use crate::message::Message;

/// Why a connection ended without a closing handshake. A clean close is no error.
#[derive(Debug)]
#[non_exhaustive]
pub enum RecvError {
    /// The transport failed.
    Io(io::Error),
    /// The peer broke the protocol, or left without a Close
    /// ([`UnexpectedEof`](ProtocolViolation::UnexpectedEof)). The peer has been told so, if it was there.
    Protocol(ProtocolViolation),
    /// The peer took too long, and the connection was given up.
    TimedOut(Deadline),
    /// No masking key could be had, so nothing can be answered.
    Entropy,
}

/// Why a message was not sent.
#[derive(Debug)]
#[non_exhaustive]
pub enum SendError {
    /// The connection is closing or closed, or the peer has left.
    Closed,
    /// The transport failed.
    Io(io::Error),
    /// The peer did not read for too long ([`Timeouts::write`](crate::Timeouts::write)), and the
    /// connection was given up.
    TimedOut,
    /// The peer does not read, and as much of what it sends is kept as may be (`max_inbound`), while this
    /// side has sent that much more than it has received: both sides might wait for each other. Nothing
    /// of the message was taken. Receive, then send it again. The halves of a [split] connection and the
    /// `Sink` wait instead, for somebody else may be receiving.
    ///
    /// [split]: crate::WebSocketStream::split
    InboundFull,
    /// What was to be sent is against the protocol: a ping or a reason that is too long, a close code
    /// that may not be sent.
    Invalid(motews::SendError),
    /// No masking key could be had.
    Entropy,
}

/// Why [`try_send`](crate::WebSocketStream::try_send) did not send. It gives the message back.
#[derive(Debug)]
#[non_exhaustive]
pub enum TrySendError {
    /// There is no room: the peer reads more slowly than this side sends.
    Full(Message),
    /// It will never be sent.
    Failed(Message, SendError),
}

impl TrySendError {
    /// Returns the message that was not sent.
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
    /// The transport failed.
    Io(io::Error),
    /// The client's request is no correct opening handshake; it has been told so.
    Handshake(HandshakeError),
    /// The request was answered with this HTTP status, and not accepted.
    Answered(u16),
    /// The response that was to be sent is against the protocol. The client was sent a 500.
    Config(ConfigError),
    /// The client did not finish its request in time
    /// ([`Timeouts::handshake`](crate::Timeouts::handshake)), or did not read the response.
    TimedOut,
    /// The server is [shutting down](crate::ServerHandle::shutdown). The client was sent a 503, unless
    /// the handshake of TLS was not done.
    ShuttingDown,
    /// TLS with the client failed: see [`Acceptor::tls`](crate::Acceptor::tls).
    #[cfg(feature = "tls")]
    Tls(rustls::Error),
}

/// Why a connection could not be opened.
#[derive(Debug)]
#[non_exhaustive]
pub enum ConnectError {
    /// The URL is none that a WebSocket can have (RFC 6455 §3).
    Url(UrlError),
    /// The URL's scheme is `wss`, and the feature `tls` is off.
    TlsNotEnabled,
    /// The proxy that is named, by the environment, cannot be.
    Proxy(ProxyError),
    /// The proxy does not lead to the server.
    Tunnel(TunnelError),
    /// TLS could not be set up, or the server's certificate is not trusted.
    #[cfg(feature = "tls")]
    Tls(rustls::Error),
    /// What is to be sent is against the protocol. Nothing was sent.
    Config(ConfigError),
    /// The transport failed, or the host's name could not be resolved.
    Io(io::Error),
    /// The server answered with a status other than 101: a redirect, a refusal, a page. The response has
    /// its headers, and of its body what came within 3 seconds, at most 16 KiB. If it is a redirect that
    /// is not followed although some are, its extensions have the
    /// [`RedirectError`](crate::RedirectError).
    Refused(Box<motews_net::http::Response<bytes::Bytes>>),
    /// What answered is no WebSocket server, or an incorrect one.
    Handshake(HandshakeError),
    /// The connection could not be made in time ([`Connector::connect_timeout`]), or the server did not
    /// answer in time ([`Timeouts::handshake`]).
    ///
    /// [`Connector::connect_timeout`]: crate::Connector::connect_timeout
    /// [`Timeouts::handshake`]: crate::Timeouts::handshake
    TimedOut,
    /// The addresses of this host, the server or the proxy, were not found in time
    /// ([`Connector::connect_timeout`](crate::Connector::connect_timeout)).
    LookUpTimedOut(String),
    /// It was given up by [`Reconnecting::close`](crate::Reconnecting::close).
    Aborted,
    /// It was to be opened over a connection of HTTP/2: by
    /// [`Connector::connect_http2`](crate::Connector::connect_http2) or
    /// [`connect_on`](crate::Connector::connect_on); or, after [`Connector::http2`](crate::Connector::http2),
    /// by any other method, which returns [`Http2Error::GoingAway`] only.
    #[cfg(all(feature = "http2", feature = "tls"))]
    Http2(Http2Error),
}

/// An error of the transport that ended a connection.
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

impl From<motews::SendError> for SendError {
    fn from(error: motews::SendError) -> Self {
        match error {
            motews::SendError::NotOpen => Self::Closed,
            motews::SendError::Entropy => Self::Entropy,
            error => Self::Invalid(error),
        }
    }
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
        }
    }
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => f.write_str("the WebSocket is closed, or the peer has left"),
            Self::Io(error) => error.fmt(f),
            Self::TimedOut => f.write_str("the peer does not read"),
            Self::InboundFull => f.write_str("the peer does not read, and sends: receive first"),
            Self::Invalid(error) => error.fmt(f),
            Self::Entropy => motews::EntropyError.fmt(f),
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

impl fmt::Display for AcceptError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => error.fmt(f),
            Self::Handshake(error) => write!(f, "the client's request was refused: {error}"),
            Self::Answered(status) => write!(f, "the request was answered with {status}"),
            Self::Config(error) => write!(f, "the response is not valid: {error}"),
            Self::TimedOut => f.write_str("the client did not finish its request in time"),
            Self::ShuttingDown => f.write_str("the server is shutting down"),
            #[cfg(feature = "tls")]
            Self::Tls(error) => crate::tls_error::explain_client(error, f),
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
            #[cfg(feature = "tls")]
            Self::Tls(error) => crate::tls_error::explain(error, f),
            Self::Config(error) => write!(f, "the request is not valid: {error}"),
            Self::Io(error) => error.fmt(f),
            Self::Refused(response) => {
                write!(f, "the server answered {}", response.status())?;
                if let Some(Ok(url)) = response.headers().get("Location").map(|url| url.to_str()) {
                    write!(f, " and points to {url}")?;
                }
                match response.extensions().get::<RedirectError>() {
                    Some(error) => write!(f, ": {error}"),
                    None => Ok(()),
                }
            }
            Self::Handshake(error) => {
                write!(f, "what answered is not a WebSocket server: {error}")
            }
            Self::TimedOut => f.write_str("the connection was not opened in time"),
            Self::Aborted => f.write_str("connecting was aborted"),
            #[cfg(all(feature = "http2", feature = "tls"))]
            Self::Http2(error) => error.fmt(f),
            Self::LookUpTimedOut(name) => {
                write!(f, "{name}: the look-up of the name took too long")
            }
        }
    }
}

/// For the views of a message as an `AsyncRead` and an `AsyncWrite`. The error is the source.
impl From<RecvError> for io::Error {
    fn from(error: RecvError) -> Self {
        let kind = match error {
            RecvError::Io(error) => return error,
            RecvError::Protocol(ProtocolViolation::UnexpectedEof) => io::ErrorKind::UnexpectedEof,
            RecvError::Protocol(_) => io::ErrorKind::InvalidData,
            RecvError::TimedOut(_) => io::ErrorKind::TimedOut,
            RecvError::Entropy => io::ErrorKind::Other,
        };
        Self::new(kind, error)
    }
}

impl From<SendError> for io::Error {
    fn from(error: SendError) -> Self {
        let kind = match error {
            SendError::Io(error) => return error,
            SendError::Closed => io::ErrorKind::BrokenPipe,
            SendError::TimedOut => io::ErrorKind::TimedOut,
            SendError::InboundFull => io::ErrorKind::WouldBlock,
            SendError::Invalid(_) => io::ErrorKind::InvalidInput,
            SendError::Entropy => io::ErrorKind::Other,
        };
        Self::new(kind, error)
    }
}

/// The sources, and errors of the transport by `?`.
macro_rules! errors {
    ($($error:ident: $($source:ident),*;)*) => {
        $(
            impl core::error::Error for $error {
                fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
                    match self {
                        $(Self::$source(error) => Some(error),)*
                        _ => None,
                    }
                }
            }

            impl From<io::Error> for $error {
                fn from(error: io::Error) -> Self {
                    Self::Io(error)
                }
            }
        )*
    };
}

errors! {
    RecvError: Io, Protocol;
    SendError: Io, Invalid;
    AcceptError: Io, Handshake, Config;
    ConnectError: Io, Url, Config, Handshake, Proxy, Tunnel;
}

impl core::error::Error for TrySendError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Failed(_, error) => Some(error),
            Self::Full(_) => None,
        }
    }
}

impl AcceptError {
    /// Finds the errors of deadlines and of TLS among those of the transport.
    pub(crate) fn timed_out(self) -> Self {
        match self {
            Self::Io(error) if error.kind() == io::ErrorKind::TimedOut => Self::TimedOut,
            error => error,
        }
    }
}

impl ConnectError {
    /// Returns what the failure means for the next attempt: pass it to
    /// [`Reconnect::ended`](crate::Reconnect::ended).
    #[must_use]
    pub fn cause(&self) -> Cause {
        match self {
            Self::Refused(response) => Ended::Refused(response.status().as_u16()).into(),
            Self::Io(_) | Self::Tunnel(_) | Self::LookUpTimedOut(_) => Cause::Unreachable,
            #[cfg(feature = "tls")]
            Self::Tls(_) => Cause::Tls,
            Self::Handshake(error) => Ended::from(*error).into(),
            Self::TimedOut => Ended::TimedOut(Deadline::Handshake).into(),
            Self::Aborted => Ended::Aborted.into(),
            #[cfg(all(feature = "http2", feature = "tls"))]
            Self::Http2(Http2Error::GoingAway) => Cause::Unreachable,
            #[cfg(all(feature = "http2", feature = "tls"))]
            Self::Http2(_) => Cause::Local,
            Self::Url(_) | Self::TlsNotEnabled | Self::Proxy(_) | Self::Config(_) => Cause::Local,
        }
    }

    /// Finds the errors of deadlines and of TLS among those of the transport.
    pub(crate) fn from_io(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::TimedOut {
            return Self::TimedOut;
        }
        #[cfg(feature = "tls")]
        if let Some(tls) = error.get_ref().and_then(|inner| inner.downcast_ref()) {
            return Self::Tls(rustls::Error::clone(tls));
        }
        Self::Io(error)
    }

    /// Returns the `Retry-After` of the server's response, in milliseconds from now, if it has one.
    #[must_use]
    pub fn retry_after(&self) -> Option<u32> {
        match self {
            Self::Refused(response) => {
                motews_net::retry_after(response.headers(), SystemTime::now())
            }
            _ => None,
        }
    }
}

impl From<UrlError> for ConnectError {
    fn from(error: UrlError) -> Self {
        Self::Url(error)
    }
}

#[cfg(all(feature = "http2", feature = "tls"))]
impl From<Http2Error> for ConnectError {
    fn from(error: Http2Error) -> Self {
        Self::Http2(error)
    }
}

impl From<ConfigError> for ConnectError {
    fn from(error: ConfigError) -> Self {
        Self::Config(error)
    }
}

impl From<HandshakeError> for ConnectError {
    fn from(error: HandshakeError) -> Self {
        Self::Handshake(error)
    }
}

/// Why no WebSocket could be opened over a connection of HTTP/2.
#[cfg(all(feature = "http2", feature = "tls"))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Http2Error {
    /// The server does not speak HTTP/2, or takes no WebSockets there: open it by
    /// [`Connector::connect`](crate::Connector::connect).
    NotOffered,
    /// The URL leads to another server than the connection.
    OtherServer,
    /// The server has said that it will take no further stream (GOAWAY), or the connection has ended. The
    /// server has not seen the request: open another connection.
    GoingAway,
}

#[cfg(all(feature = "http2", feature = "tls"))]
impl fmt::Display for Http2Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotOffered => "the server takes no WebSockets over HTTP/2",
            Self::OtherServer => "the connection of HTTP/2 leads to another server",
            Self::GoingAway => "the connection of HTTP/2 takes no further WebSocket",
        })
    }
}

#[cfg(all(feature = "http2", feature = "tls"))]
impl core::error::Error for Http2Error {}
