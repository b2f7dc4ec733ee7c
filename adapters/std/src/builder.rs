//! Settings, and the ways to open a WebSocket with them.

use core::time::Duration;

#[cfg(feature = "deflate")]
use motews::deflate::{DeflateConfig, DeflateParams};
use motews::pace::Timeouts;
use motews::{Limits, Role, Server};
use motews_net::http::Response as HttpResponse;
use motews_net::{Proxy, RedirectPolicy};

use crate::connect::{Aborter, ProxyChoice};
use crate::error::{AcceptError, ConnectError};
use crate::handshake::{Accepting, Connecting};
use crate::request::{Request, Response};
use crate::socket::WebSocket;
use crate::transport::Transport;

/// The settings of a WebSocket, for both roles.
///
/// | setting | default |
/// |---|---|
/// | [`connect_timeout`](Self::connect_timeout) | 10 s |
/// | [`timeouts`](Self::timeouts): opening handshake | 10 s |
/// | idle | none |
/// | silence until a ping, then until its pong | 30 s, 10 s |
/// | closing handshake | 5 s |
/// | a peer that does not read, beyond the time that the bytes it took have bought it | 30 s |
/// | [`max_message_len`](Self::max_message_len) | 64 MiB |
/// | [`max_head_len`](Self::max_head_len), [`max_headers`](Self::max_headers) | 64 KiB, 128 |
/// | [`max_backlog`](Self::max_backlog) | 64 KiB |
/// | [`max_inbound`](Self::max_inbound) | 1 MiB |
/// | [`read_buffer`](Self::read_buffer) | 64 KiB |
/// | [`proxy`](Self::proxy), [`proxy_from_env`](Self::proxy_from_env) | none |
/// | [`redirects`](Self::redirects) | none is followed |
///
/// ```no_run
/// use motews_std::Builder;
///
/// let mut ws = Builder::new()
///     .subprotocols(["chat.v2", "chat.v1"])
///     .header("Authorization", "Bearer 42")
///     .max_message_len(1024 * 1024)
///     .connect("ws://example.com/chat")?;
/// assert!(ws.subprotocol().is_some());
/// # Ok::<(), motews_std::ConnectError>(())
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct Builder {
    pub(crate) timeouts: Timeouts,
    pub(crate) connect_timeout: Option<Duration>,
    pub(crate) max_message_len: usize,
    pub(crate) max_backlog: usize,
    pub(crate) max_inbound: usize,
    pub(crate) read_buffer: usize,
    max_head_len: u32,
    max_headers: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) origin: Option<String>,
    pub(crate) subprotocols: Vec<String>,
    pub(crate) proxy: ProxyChoice,
    pub(crate) redirects: RedirectPolicy,
    pub(crate) aborter: Option<Aborter>,
    #[cfg(feature = "deflate")]
    pub(crate) deflate: Option<DeflateConfig>,
    /// What was agreed upon, once the connection is open.
    #[cfg(feature = "deflate")]
    pub(crate) agreed: Option<DeflateParams>,
    #[cfg(feature = "tls")]
    pub(crate) tls: Option<std::sync::Arc<rustls::ClientConfig>>,
}

impl Default for Builder {
    fn default() -> Self {
        Self::new()
    }
}

impl Builder {
    /// The defaults.
    pub fn new() -> Self {
        Self {
            timeouts: Timeouts::default(),
            connect_timeout: Some(Duration::from_secs(10)),
            max_message_len: 64 * 1024 * 1024,
            max_backlog: 64 * 1024,
            max_inbound: 1024 * 1024,
            read_buffer: 64 * 1024,
            max_head_len: Limits::DEFAULT.head,
            max_headers: Limits::DEFAULT.headers,
            headers: Vec::new(),
            origin: None,
            subprotocols: Vec::new(),
            proxy: ProxyChoice::Direct,
            redirects: RedirectPolicy::NONE,
            aborter: None,
            #[cfg(feature = "deflate")]
            deflate: None,
            #[cfg(feature = "deflate")]
            agreed: None,
            #[cfg(feature = "tls")]
            tls: None,
        }
    }

    /// Adds a header to the request, or to the response that accepts. It is checked when it is
    /// used: no name or value with a CR, LF or NUL is ever sent (RFC 6455 §10.7).
    ///
    /// A client's `Host` takes the place of the URL's own, for a server that is reached by another
    /// name; TLS still checks the URL's.
    // [HC07] [HC24]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// The `Origin` header of a client that runs what a site gave it (§10.2).
    pub fn origin(mut self, origin: impl Into<String>) -> Self {
        self.origin = Some(origin.into());
        self
    }

    /// The subprotocols, the best one first (§1.9). A client offers them; a server takes the first
    /// of them that the client offers.
    pub fn subprotocols<T: Into<String>>(mut self, names: impl IntoIterator<Item = T>) -> Self {
        self.subprotocols = names.into_iter().map(Into::into).collect();
        self
    }

    /// How long to wait for what; see [`Timeouts`] for each. They hold for streams that can be
    /// waited for (see [`Transport`]).
    pub const fn timeouts(mut self, timeouts: Timeouts) -> Self {
        self.timeouts = timeouts;
        self
    }

    /// How long it may take to connect, to all addresses of the host together, and through the
    /// proxy if there is one. `None`: as long as the operating system lets it. To resolve the host's
    /// name takes as long as the operating system's resolver does, and has no limit here.
    ///
    /// An address that does not answer costs a quarter of a second before the next one is tried as
    /// well (RFC 8305).
    pub const fn connect_timeout(mut self, timeout: Option<Duration>) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// The longest message that is received, in octets of payload. A longer one fails the
    /// connection with 1009 (§10.4). With compression a thousandth of that on the
    /// wire fills it, and a peer that does not end the message has it kept: allow no more than there
    /// is memory for, for each connection.
    // [FR17]
    pub const fn max_message_len(mut self, octets: usize) -> Self {
        self.max_message_len = octets;
        self
    }

    /// How much may wait to be written before a sender waits, in octets. A single message may
    /// always wait, however long it is.
    pub const fn max_backlog(mut self, octets: usize) -> Self {
        self.max_backlog = octets;
        self
    }

    /// Sets how much is kept of what comes in while this side sends, or counts what is
    /// [`pending`](WebSocket::pending), in bytes of memory. Reading stops with the message that
    /// reaches it, so the longest message comes on top.
    ///
    /// Two peers that send to each other and do not receive would wait for each other. Up to this
    /// limit, a [`send`](WebSocket::send) that waits reads what the peer sends. Beyond it, it returns
    /// [`SendError::InboundFull`](crate::SendError::InboundFull) at once if the application has sent
    /// that much more than it has received. So one that answers each message waits for the peer, and
    /// one that sends all before it receives is told to receive.
    pub const fn max_inbound(mut self, bytes: usize) -> Self {
        self.max_inbound = bytes;
        self
    }

    /// How much is read at once, in octets. One octet is enough.
    pub const fn read_buffer(mut self, octets: usize) -> Self {
        self.read_buffer = octets;
        self
    }

    /// The longest head of the peer's opening handshake, in octets, with all line ends.
    /// A single line has 8 KiB at most, but for the values of headers.
    // [HC25] [HS21]
    pub const fn max_head_len(mut self, octets: u32) -> Self {
        self.max_head_len = octets;
        self
    }

    /// The most headers in the peer's opening handshake.
    // [HC25] [HS21]
    pub const fn max_headers(mut self, headers: u16) -> Self {
        self.max_headers = headers;
        self
    }

    /// Compresses messages, if the peer can as well (RFC 7692). Without this call nothing is offered
    /// or accepted. [`DeflateConfig::DEFAULT`] is for many connections;
    /// [`DeflateConfig::MAX`] compresses best; windows of your own take
    /// less.
    ///
    /// A connection that has agreed on it takes 2 KiB and the window of what it receives, and six
    /// to seven times the window of what it sends (and 2.5 KiB) more: 62 KB by default, 234 KB with
    /// `MAX`. One that has not takes nothing.
    ///
    /// Messages above 2 MiB, which take long to compress, and those of a stream
    /// ([`WebSocket::stream_text`]) are sent as they are. So is [`WebSocket::send_uncompressed`]: for secrets in one message with what an attacker may
    /// choose, whose length must not tell whether they are alike (RFC 7692 §8; CRIME, BREACH).
    ///
    /// For [`from_upgraded`](Self::from_upgraded) it is what was agreed upon.
    ///
    /// ```no_run
    /// use motews_std::{Builder, DeflateConfig};
    ///
    /// let ws = Builder::new().deflate(DeflateConfig::DEFAULT).connect("ws://example.com/")?;
    /// println!("{:?}", ws.deflate());
    /// # Ok::<(), motews_std::ConnectError>(())
    /// ```
    // [PD30]
    #[cfg(feature = "deflate")]
    pub const fn deflate(mut self, config: DeflateConfig) -> Self {
        self.deflate = Some(config);
        self
    }

    /// How `wss://` is encrypted and whom it trusts. Without it, the roots of the features
    /// `webpki-roots` and `native-roots` are trusted.
    #[cfg(feature = "tls")]
    pub fn tls(mut self, config: std::sync::Arc<rustls::ClientConfig>) -> Self {
        self.tls = Some(config);
        self
    }

    /// Connects through this proxy, by [`connect`](Self::connect): HTTP CONNECT, with Basic
    /// authentication, or SOCKS5.
    ///
    /// ```no_run
    /// use motews_std::{Builder, Proxy};
    ///
    /// let proxy = Proxy::parse("socks5h://user:password@proxy.example:1080")?;
    /// let ws = Builder::new().proxy(proxy).connect("wss://example.com/")?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn proxy(mut self, proxy: Proxy) -> Self {
        self.proxy = ProxyChoice::Fixed(Box::new(proxy));
        self
    }

    /// Connects through the proxy that the environment names, if it names one for the URL:
    /// `http_proxy`, `https_proxy`, `all_proxy` and `no_proxy`, read as curl reads them. See
    /// [`Proxy::from_env`].
    pub fn proxy_from_env(mut self) -> Self {
        self.proxy = ProxyChoice::Environment;
        self
    }

    /// Which redirects [`connect`](Self::connect) follows. Each has the timeouts anew. To another
    /// host, `Authorization`, `Cookie`, `Host` and the user in the URL are not sent along: see
    /// [`Redirects`](motews_net::Redirects).
    ///
    /// ```no_run
    /// use motews_std::{Builder, RedirectPolicy};
    ///
    /// let ws = Builder::new()
    ///     .redirects(RedirectPolicy::DEFAULT)
    ///     .connect("ws://example.com/")?;
    /// # Ok::<(), motews_std::ConnectError>(())
    /// ```
    pub const fn redirects(mut self, policy: RedirectPolicy) -> Self {
        self.redirects = policy;
        self
    }

    /// Lets [`connect`](Self::connect), and the connection that it opens, be ended from another
    /// thread.
    pub fn aborter(mut self, aborter: &Aborter) -> Self {
        self.aborter = Some(aborter.clone());
        self
    }

    /// Opens a connection: see [`connect`](crate::connect).
    ///
    /// # Errors
    /// See [`ConnectError`].
    pub fn connect(self, url: &str) -> Result<WebSocket, ConnectError> {
        self.connect_with_response(url).map(|(socket, _)| socket)
    }

    /// The same, with the head of the server's response: its `Set-Cookie`, for example.
    ///
    /// # Errors
    /// See [`ConnectError`].
    ///
    /// ```no_run
    /// let (ws, response) = motews_std::Builder::new().connect_with_response("ws://example.com/")?;
    /// for cookie in response.headers().get_all("Set-Cookie") {
    ///     println!("{cookie:?}");
    /// }
    /// # Ok::<(), motews_std::ConnectError>(())
    /// ```
    pub fn connect_with_response(
        self,
        url: &str,
    ) -> Result<(WebSocket, HttpResponse<()>), ConnectError> {
        crate::connect::open(self, url)
    }

    /// Opens a connection over a stream that leads to the server already: a Unix socket, a tunnel,
    /// TLS of your own. `url` tells what to ask for, and nothing is resolved.
    ///
    /// # Errors
    /// See [`ConnectError`].
    pub fn connect_over<S: Transport>(
        self,
        stream: S,
        url: &str,
    ) -> Result<WebSocket<S>, ConnectError> {
        self.connecting(stream, url)?.advance()
    }

    /// The same, step by step, for a non-blocking stream.
    ///
    /// # Errors
    /// [`ConnectError::Url`] and [`ConnectError::Config`]; nothing was sent then.
    pub fn connecting<S: Transport>(
        self,
        stream: S,
        url: &str,
    ) -> Result<Connecting<S>, ConnectError> {
        Connecting::new(stream, url, self)
    }

    /// Accepts a connection: see [`accept`](crate::accept).
    ///
    /// # Errors
    /// See [`AcceptError`].
    pub fn accept<S: Transport>(&self, stream: S) -> Result<WebSocket<S, Server>, AcceptError> {
        self.accept_with(stream, |_| Response::accept())
    }

    /// Accepts or refuses a connection: see [`accept_with`](crate::accept_with).
    ///
    /// # Errors
    /// See [`AcceptError`].
    pub fn accept_with<S: Transport>(
        &self,
        stream: S,
        callback: impl FnMut(&Request) -> Response,
    ) -> Result<WebSocket<S, Server>, AcceptError> {
        self.accepting(stream, callback).advance()
    }

    /// The same, step by step, for a non-blocking stream.
    pub fn accepting<S: Transport, F: FnMut(&Request) -> Response>(
        &self,
        stream: S,
        callback: F,
    ) -> Accepting<S, F> {
        Accepting::new(stream, callback, self.clone())
    }

    /// Adopts a stream whose opening handshake was done elsewhere: see
    /// [`WebSocket::from_upgraded`].
    pub fn from_upgraded<S: Transport, R: Role>(
        &self,
        stream: S,
        role: R,
        leftover: &[u8],
    ) -> WebSocket<S, R> {
        #[cfg(feature = "deflate")]
        let builder = &Self {
            agreed: self
                .deflate
                .map(|DeflateConfig { send, receive }| DeflateParams { send, receive }),
            ..self.clone()
        };
        #[cfg(not(feature = "deflate"))]
        let builder = self;
        let mut socket = WebSocket::new(stream, role, leftover, None, builder);
        socket.prepare();
        socket
    }

    /// What the opening handshake takes from the peer.
    pub(crate) const fn limits(&self) -> Limits {
        Limits {
            message: self.max_message_len as u64,
            head: self.max_head_len,
            headers: self.max_headers,
        }
    }
}
