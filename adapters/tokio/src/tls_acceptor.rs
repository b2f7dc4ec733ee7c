//! TLS below a server's WebSocket, with rustls (RFC 6455 §10.6).
// [EX04]

use std::io;
use std::sync::Arc;

use motews::Server;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
pub use tokio_rustls::server::TlsStream;

use crate::accept::{Acceptor, Response, accepted};
use crate::error::AcceptError;
use crate::pipe::Pipe;
use crate::request::Request;
use crate::websocket::WebSocketStream;

/// Accepts WebSockets over TLS: see [`Acceptor::tls`].
#[derive(Clone)]
#[must_use]
pub struct TlsAcceptor {
    acceptor: Acceptor,
    tls: tokio_rustls::TlsAcceptor,
}

impl Acceptor {
    /// Serves `wss://` with this configuration: certificates, ALPN, and whether clients have to show a
    /// certificate. Its handshake is a part of the opening handshake, with the same deadline.
    ///
    /// ```no_run
    /// use std::sync::Arc;
    /// use motews_tokio::rustls::ServerConfig;
    /// use motews_tokio::{Acceptor, Request, accepted};
    ///
    /// # async fn run(listener: tokio::net::TcpListener, config: Arc<ServerConfig>)
    /// #     -> Result<(), Box<dyn std::error::Error>> {
    /// let acceptor = Acceptor::new().tls(config);
    /// let (stream, _) = listener.accept().await?;
    /// let ws = acceptor
    ///     .accept_with(stream, async |request: &Request| {
    ///         println!("{} certificates", request.peer_certificates().len());
    ///         accepted()
    ///     })
    ///     .await?;
    /// # Ok(()) }
    /// ```
    pub fn tls(self, config: Arc<ServerConfig>) -> TlsAcceptor {
        TlsAcceptor {
            acceptor: self,
            tls: config.into(),
        }
    }
}

impl TlsAcceptor {
    /// Accepts a WebSocket over TLS over a stream: as [`Acceptor::accept`]. If the future is dropped, the
    /// stream is closed.
    ///
    /// # Errors
    /// See [`AcceptError`]: [`AcceptError::Tls`] if the client speaks no TLS, or both sides do not come
    /// to terms. It has been sent the alert or the response that this calls for.
    pub async fn accept<S>(
        &self,
        stream: S,
    ) -> Result<WebSocketStream<TlsStream<S>, Server>, AcceptError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        self.accept_with(stream, async |_: &Request| accepted())
            .await
    }

    /// Accepts or refuses a WebSocket over TLS, or answers an ordinary HTTP request: as
    /// [`Acceptor::accept_with`]. If the future is dropped, the stream is closed.
    ///
    /// # Errors
    /// As [`accept`](Self::accept).
    pub async fn accept_with<S, F>(
        &self,
        stream: S,
        decide: F,
    ) -> Result<WebSocketStream<TlsStream<S>, Server>, AcceptError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
        F: AsyncFnOnce(&Request) -> Response,
    {
        let Self { acceptor, tls } = self;
        let registered = acceptor.register();
        let pipe = Pipe::new((), acceptor.common.timeouts());
        // Large, and done when the connection is open.
        let handshake = Box::pin(pipe.limit(tls.accept(stream)));
        let stream = acceptor.unless_shut_down(handshake).await?;
        let stream = stream.and_then(|opened| opened);
        let stream = stream.map_err(|error| AcceptError::from_tls(error).timed_out())?;
        let certificates = stream.get_ref().1.peer_certificates();
        let certificates = certificates.unwrap_or_default().to_vec();
        let pipe = pipe.over(stream);
        let decide = async |request: &mut Request| {
            request.peer_certificates = certificates;
            decide(request).await
        };
        acceptor.open(pipe, registered, decide).await
    }
}

impl AcceptError {
    /// Finds the error of TLS in one of its stream.
    fn from_tls(error: io::Error) -> Self {
        match error.get_ref().and_then(|inner| inner.downcast_ref()) {
            Some(tls) => Self::Tls(rustls::Error::clone(tls)),
            None => Self::Io(error),
        }
    }
}

impl core::fmt::Debug for TlsAcceptor {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let mut debug = f.debug_struct("TlsAcceptor");
        debug
            .field("acceptor", &self.acceptor)
            .finish_non_exhaustive()
    }
}
