//! WebSocket (RFC 6455) over the sockets of an operating system: an event-driven server for many
//! connections on one thread, and a blocking API for clients and for servers with a thread for each
//! connection.
//!
//! ```text
//! cargo add --path motews/adapters/std                             # ws://
//! cargo add --path motews/adapters/std --features native-roots     # and wss://, by rustls
//! ```
//!
//! | event-driven | |
//! |---|---|
//! | [`Server`], [`ServerBuilder`] | listens and runs; limits, deadlines, TLS |
//! | [`Handler`], or a closure | what your application does when something happens |
//! | [`Peer`], [`PeerSender`] | a connection: inside the handler, and for other threads |
//! | [`Hub`] | sends to many connections at once |
//!
//! | blocking | |
//! |---|---|
//! | [`connect`], [`Connector`] | a client, for `ws://`, and with the feature `tls` for `wss://`: headers, deadlines, limits, proxies, redirects |
//! | [`accept`], [`accept_with`], [`Acceptor`] | a server's connection, and who may have one |
//! | [`WebSocket`] | what both of them return: `recv`, `send`, `close` and the rest |
//! | [`Sender`] | sends from other threads |
//! | [`Reconnecting`] | a client that comes back after the end, with the fate of each message |
//! | [`Aborter`] | ends a connect, or a connection, from another thread |
//! | [`Transport`] | what all of it runs over: TCP, Unix sockets, TLS, any stream |
//!
//! # A server
//! An echo for any number of connections:
//!
#![cfg_attr(feature = "server", doc = "```no_run")]
#![cfg_attr(not(feature = "server"), doc = "```ignore")]
//! use motews_std::{MessageRef, Peer, Server};
//!
//! Server::bind("127.0.0.1:9001")?.run(|peer: &mut Peer, message: MessageRef| peer.send(message))?;
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! The same with a thread for each connection:
//!
//! ```no_run
//! use std::net::TcpListener;
//!
//! for stream in TcpListener::bind("127.0.0.1:9001")?.incoming() {
//!     std::thread::spawn(move || -> std::io::Result<()> {
//!         let mut ws = motews_std::accept(stream?)?;
//!         while let Some(message) = ws.recv()? {
//!             ws.send(message)?;
//!         }
//!         Ok(())
//!     });
//! }
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! # A client
//! ```no_run
//! use motews_std::{CloseCode, Message};
//!
//! let mut ws = motews_std::connect("ws://127.0.0.1:9001/")?;
//! ws.send("Hello")?;
//! if let Some(Message::Text(text)) = ws.recv()? {
//!     println!("{text}");
//! }
//! ws.close(CloseCode::NORMAL, "")?;
//! assert!(ws.closed()?.is_clean());
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! # Features
//! - `server` (on by default): the event-driven [`Server`], on epoll, and on [mio](https://docs.rs/mio) elsewhere.
//! - `simdutf8` (on by default): checks text with SIMD instructions.
//! - `deflate`: permessage-deflate (RFC 7692). It stays off until [`Acceptor::deflate`] or
//!   [`Connector::deflate`] is called.
//! - `tls`: `wss://` with [rustls](https://docs.rs/rustls); `webpki-roots` or `native-roots` add
//!   the roots to trust.
//! - `idna`: hosts beyond ASCII in URLs.
//! - `log`: trace points.
//!
//! # What is not here
//! **No `async`**: take motews-tokio. **No web server**: an ordinary request gets one answer, and the
//! connection is closed. **No TLS to a proxy**, no SOCKS4, no HTTP/2.
#![forbid(unsafe_code)]

mod blocking;
mod connect;
#[cfg(feature = "deflate")]
mod deflate;
mod entropy;
mod error;
mod handshake;
mod message;
mod reconnect;
#[cfg(feature = "server")]
mod server;
#[cfg(feature = "tls")]
pub mod tls;
mod transport;

pub use blocking::accepting::Accepting;
pub use blocking::acceptor::Acceptor;
pub use blocking::received::Received;
pub use blocking::sender::Sender;
pub use blocking::settings::DEFAULT_LIMITS;
pub use blocking::socket::{Messages, WebSocket};
pub use blocking::wake::Wake;
pub use blocking::writer::{BinaryWriter, TextWriter};
pub use connect::abort::Aborter;
pub use connect::connecting::Connecting;
pub use connect::connector::Connector;
pub use connect::dial::DialError;
pub use connect::net::NetStream;
pub use connect::refused::Refused;
#[cfg(feature = "deflate")]
pub use deflate::{Bytes, Traffic};
pub use entropy::OsEntropy;
pub use error::{AcceptError, ConnectError, RecvError, SendError, TrySendError};
pub use handshake::{Request, Response};
pub use message::{AsMessage, Message};
#[cfg(feature = "deflate")]
pub use motews::deflate::{DeflateConfig, DeflateContext, DeflateParams, WindowBits};
pub use motews::handshake::{Agreed, ConfigError, HandshakeError};
pub use motews::reconnect::{Backoff, Cause, Reconnect, Retry};
pub use motews::{
    CloseCode, DataKind, Deadline, Ended, Entropy, EntropyError, Limits, Millis, ProtocolViolation,
    Side, State, Timeouts, role,
};
pub use motews_net::{
    BodyError, Credentials, Proxy, ProxyError, ReasonPhrase, RedirectError, RedirectPolicy,
    SocksReply, TunnelError, UrlError, http,
};
pub use reconnect::{Interrupted, Interruption, NotSent, Reconnecting, ReconnectingSender, Update};
#[cfg(feature = "server")]
pub use server::{
    Broadcast, Handler, Hub, Membership, MessageRef, Peer, PeerId, PeerSender, Peers, Server,
    ServerBuilder, ServerHandle, ServerLimits, SlowPolicy,
};
pub use transport::{Interest, Plain, Ready, Share, Transport};

#[cfg(feature = "tls")]
pub use rustls;

/// Opens a WebSocket to a server, with the default settings: `ws://host:port/path?query`.
///
/// The port is 80, or 443 for `wss://`, if the URL has none; `http://` and `https://` mean the same
/// as `ws://` and `wss://`. An IPv6 address stands in brackets, with its zone if need be
/// (`[fe80::1%25eth0]`). Spaces and other characters that a request cannot have are percent-encoded
/// in the path and the query. `user:password@` before the host becomes an `Authorization` header
/// (HTTP's Basic authentication), unless the [`Connector`] has one. Redirects are followed, and proxies
/// used, if the [`Connector`] says so.
///
/// All addresses of the host are tried, each a quarter of a second after the one before or as soon
/// as one has failed, and the first to answer is taken (RFC 8305).
///
/// A client should have no more than one connection to a host that is being opened (§4.1).
///
/// # Errors
/// See [`ConnectError`].
///
/// ```no_run
/// let mut ws = motews_std::connect("ws://[::1]:9001/chat?room=1")?;
/// ws.send("Hello")?;
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # To connect again
/// A client that comes back waits a random time first, and longer after each failure (§7.2.3):
/// [`Reconnecting`] does. Whoever connects by other means asks [`Reconnect`].
// [HC03] [HC23]
pub fn connect(url: &str) -> Result<WebSocket, ConnectError> {
    Connector::new().connect(url)
}

/// Accepts a WebSocket from a client, with the default settings, whatever it asks for. What is no
/// correct request for a WebSocket is answered with the fitting HTTP status.
///
/// A browser lets any site connect to any server, with the cookies of its user: where that matters,
/// use [`accept_with`] and check the `Origin` (§10.2).
///
/// # Errors
/// See [`AcceptError`].
pub fn accept<S: Transport>(stream: S) -> Result<WebSocket<S, role::Server>, AcceptError> {
    Acceptor::new().accept(stream)
}

/// Accepts a WebSocket from a client, or refuses it, as `callback` decides when it has seen the
/// request. It sees ordinary HTTP requests as well, so that the same port and path can serve both;
/// those that ask for a WebSocket incorrectly are answered without it.
///
/// # Errors
/// [`AcceptError::Answered`] if the callback did not accept; see [`AcceptError`] for the rest.
///
/// ```
/// use motews_std::{AcceptError, Request, Response};
///
/// fn answer(request: &Request) -> Response {
///     match (request.path(), request.is_websocket()) {
///         ("/chat", true) if request.origin() == Some("http://example.com") => Response::accepted(),
///         ("/chat", true) => Response::new(403).body("Not from this origin\n"),
///         ("/chat", false) => Response::new(200)
///             .header("Content-Type", "text/html")
///             .body("<script>socket = new WebSocket(location)</script>"),
///         _ => Response::new(404),
///     }
/// }
///
/// # let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
/// # let addr = listener.local_addr()?;
/// # let client = std::thread::spawn(move || motews_std::connect(&format!("ws://{addr}/nothing")));
/// # let stream = listener.accept()?.0;
/// match motews_std::accept_with(stream, answer) {
///     Ok(mut ws) => ws.send("Welcome")?,
///     Err(AcceptError::Answered(status)) => println!("answered with {status}"),
///     Err(error) => eprintln!("{error}"),
/// }
/// # assert!(client.join().unwrap().is_err());
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn accept_with<S: Transport>(
    stream: S,
    callback: impl FnMut(&Request) -> Response,
) -> Result<WebSocket<S, role::Server>, AcceptError> {
    Acceptor::new().accept_with(stream, callback)
}
