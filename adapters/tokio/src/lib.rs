#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod accept;
#[cfg(feature = "axum")]
mod axum;
mod chunk;
mod connect;
#[cfg(feature = "deflate")]
mod deflate;
mod engine;
mod entropy;
mod error;
mod handle;
#[cfg(all(feature = "http2", feature = "tls"))]
mod http2;
mod inbox;
mod inlined;
mod message;
mod net;
mod out;
mod pipe;
mod reader;
mod reconnect;
mod request;
mod resolve;
mod settings;
mod shared;
mod spare;
mod split;
mod sync;
mod timer;
#[cfg(feature = "tls")]
mod tls;
#[cfg(feature = "tls")]
mod tls_acceptor;
#[cfg(feature = "tls")]
mod tls_error;
mod until;
#[cfg(feature = "hyper")]
mod upgrade;
#[cfg(feature = "hyper")]
mod upgraded;
mod wakers;
mod websocket;
mod writer;

#[cfg(feature = "axum")]
pub use crate::axum::WebSocketUpgrade;
pub use accept::{Acceptor, Response, accepted};
pub use chunk::Chunk;
pub use connect::{Connector, connect};
pub use entropy::OsEntropy;
#[cfg(all(feature = "http2", feature = "tls"))]
pub use error::Http2Error;
pub use error::{AcceptError, ConnectError, RecvError, SendError, TrySendError};
pub use handle::ServerHandle;
#[cfg(all(feature = "http2", feature = "tls"))]
pub use http2::{Http2Connection, Http2Stream};
pub use message::{Message, Utf8Bytes};
#[cfg(feature = "deflate")]
pub use motews::deflate::{DeflateConfig, DeflateContext, DeflateParams, WindowBits};
pub use motews::handshake::{ConfigError, HandshakeError};
pub use motews::reconnect::{Backoff, Cause, Reconnect, Retry};
pub use motews::{
    CloseCode, DataKind, Deadline, Ended, Entropy, EntropyError, Limits, Millis, ProtocolViolation,
    Side, Timeouts, role,
};
pub use motews_net::{
    Credentials, Proxy, ProxyError, RedirectError, RedirectPolicy, TunnelError, UrlError, http,
};
pub use net::NetStream;
pub use reader::MessageReader;
pub use reconnect::{Interrupted, Interruption, NotSent, Reconnecting, Update};
pub use request::Request;
#[cfg(feature = "tls")]
pub use rustls;
pub use settings::DEFAULT_LIMITS;
pub use split::{Receiver, SendPermit, Sender};
#[cfg(motews_shuttle)]
pub use sync::seeded;
#[cfg(feature = "tls")]
pub use tls_acceptor::{TlsAcceptor, TlsStream};
#[cfg(feature = "hyper")]
pub use upgrade::{UpgradeError, Upgrading};
#[cfg(feature = "hyper")]
pub use upgraded::UpgradedStream;
pub use websocket::{Permit, WebSocketStream};
pub use writer::{BinaryWriter, TextWriter};

/// Accepts a WebSocket over a stream, with the defaults: see [`Acceptor::accept`]. If the future is dropped,
/// the stream is closed.
///
/// # Errors
/// See [`AcceptError`].
pub async fn accept<S>(stream: S) -> Result<WebSocketStream<S>, AcceptError>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    Acceptor::new().accept(stream).await
}
