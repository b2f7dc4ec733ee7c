//! The client's side of the opening handshake (RFC 6455 §4.1), and the way to the server.

#[cfg(all(feature = "http2", feature = "tls"))]
mod http2;

use core::future::Future;
use core::net::SocketAddr;
use core::time::Duration;
use std::borrow::Cow;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use motews::handshake::{
    Agreed, ClientHandshake, ConfigError, HandshakeError, Key, Request as CoreRequest,
    ResponseEvent,
};
use motews::role::Client;
use motews::{Limits, Timeouts};
use motews_net::http::header::{AUTHORIZATION, HOST, ORIGIN};
use motews_net::http::{self, HeaderName, HeaderValue, Method, StatusCode};
use motews_net::{
    Body, Framing, Proxy, ProxyChoice, RedirectError, RedirectPolicy, Redirects, Url,
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, timeout_at};

use crate::engine::{Agreement, Engine};
use crate::entropy::OsEntropy;
use crate::error::ConnectError;
use crate::net::{self, NetStream};
use crate::pipe::{Headers, Pipe, line, pairs, written};
use crate::resolve::Resolver;
use crate::settings::{Common, setters};
use crate::until::Until;
use crate::websocket::WebSocketStream;

/// How much of the body of a refusal is kept, in bytes.
const BODY_MAX: usize = 16 * 1024;

/// How long it is waited for: it explains, and is not worth more.
const BODY_TIMEOUT: Duration = Duration::from_secs(3);

/// A client's WebSocket over a stream.
pub(crate) type ClientStream<S> = WebSocketStream<S, Client<OsEntropy>>;

/// Opens a WebSocket, with the defaults: see [`Connector::connect`]. If the future is dropped, nothing stays
/// open.
///
/// # Errors
/// See [`ConnectError`].
pub async fn connect(url: &str) -> Result<ClientStream<NetStream>, ConnectError> {
    Connector::new().connect(url).await
}

/// Opens WebSockets: what a client sets.
///
/// ```no_run
/// use motews_tokio::Connector;
///
/// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
/// let connector = Connector::new().subprotocols(["chat.v2", "chat.v1"]);
/// let mut ws = connector.connect("ws://example.com/chat").await?;
/// ws.send("Hello").await?;
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct Connector {
    pub(super) common: Common,
    connect_timeout: Option<Duration>,
    proxy: ProxyChoice,
    redirects: RedirectPolicy,
    resolver: Resolver,
    #[cfg(feature = "tls")]
    tls: Option<Arc<rustls::ClientConfig>>,
    #[cfg(all(feature = "http2", feature = "tls"))]
    http2: bool,
}

impl Default for Connector {
    fn default() -> Self {
        Self::new()
    }
}

impl Connector {
    /// Returns the defaults.
    pub fn new() -> Self {
        Self {
            common: Common::new(),
            connect_timeout: Some(Duration::from_secs(10)),
            proxy: ProxyChoice::Direct,
            redirects: RedirectPolicy::NONE,
            resolver: Resolver::default(),
            #[cfg(feature = "tls")]
            tls: None,
            #[cfg(all(feature = "http2", feature = "tls"))]
            http2: false,
        }
    }

    setters!();

    /// Sets the `Origin` header of a client that runs what a site gave it (§10.2).
    pub fn origin(self, origin: impl TryInto<HeaderValue>) -> Self {
        self.header(ORIGIN, origin)
    }

    /// Sets how long it may take to resolve the host's name and to connect, to all of its addresses
    /// together, through the proxy, and to agree on keys; with the first attempt, to load the
    /// [roots](Self::tls) as well. `None`: as long as the operating system lets it. 10 seconds by default.
    pub const fn connect_timeout(mut self, timeout: Option<Duration>) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// Connects through this proxy: HTTP CONNECT, with Basic authentication, or SOCKS5.
    pub fn proxy(mut self, proxy: Proxy) -> Self {
        self.proxy = ProxyChoice::Fixed(Box::new(proxy));
        self
    }

    /// Connects through the proxy that the environment names, if it names one for the URL: see
    /// [`Proxy::from_env`].
    pub fn proxy_from_env(mut self) -> Self {
        self.proxy = ProxyChoice::Environment;
        self
    }

    /// Sets which redirects [`connect`](Self::connect) follows; none by default. Each has the times
    /// anew. To another server, no header of the application's is sent, unless the policy keeps them.
    pub const fn redirects(mut self, policy: RedirectPolicy) -> Self {
        self.redirects = policy;
        self
    }

    /// Resolves names of hosts with this function in place of the operating system's resolver, which takes
    /// a thread of tokio's until it answers and cannot be cancelled. It is called with the name and the
    /// port, and returns addresses in the order in which they are to be tried. Dropping its future, when
    /// the [time](Self::connect_timeout) is over for example, cancels it. It is not called for addresses.
    ///
    /// ```
    /// use motews_tokio::Connector;
    ///
    /// let connector = Connector::new().resolver(async |host: String, port| match host.as_str() {
    ///     "sensor.internal" => Ok(vec![([10, 0, 0, 7], port).into()]),
    ///     _ => Err(std::io::ErrorKind::NotFound.into()),
    /// });
    /// ```
    ///
    /// # Errors
    /// Its errors are returned as [`ConnectError::Io`]; no addresses are [`NotFound`](io::ErrorKind::NotFound),
    /// and [`TimedOut`](io::ErrorKind::TimedOut) is [`ConnectError::LookUpTimedOut`].
    pub fn resolver<F>(mut self, resolve: impl Fn(String, u16) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = io::Result<Vec<SocketAddr>>> + Send + 'static,
    {
        self.resolver = Resolver::new(resolve);
        self
    }

    /// Sets how `wss://` is encrypted, who is trusted, and with which certificate this side proves who it
    /// is. Without it, the roots of the features `webpki-roots` and `native-roots` are trusted. They are
    /// loaded once for the process, with the first attempt: the operating system's by a thread of tokio's
    /// for what blocks. If that takes too long, the attempts that follow wait for the same thread.
    #[cfg(feature = "tls")]
    pub fn tls(mut self, config: Arc<rustls::ClientConfig>) -> Self {
        self.tls = Some(config);
        self
    }

    /// Takes HTTP/2 for `wss://`, if the server offers it and takes WebSockets there (RFC 8441): one that
    /// does not is asked over HTTP/1.1, by a further connection if need be. Off by default, since it costs
    /// a round trip more and a task, and each WebSocket has a connection of its own all the same. For several
    /// over one connection, see [`connect_http2`](Self::connect_http2), and
    /// [`connect_on`](Self::connect_on) for the headers that are forbidden there.
    #[cfg(all(feature = "http2", feature = "tls"))]
    pub const fn http2(mut self) -> Self {
        self.http2 = true;
        self
    }

    /// Opens a WebSocket over TCP, or TLS if the URL says `wss`.
    ///
    /// The addresses of the host are tried as RFC 8305 has it: one that does not answer costs a
    /// quarter of a second before the next one is tried as well.
    ///
    /// If the future is dropped, nothing stays open.
    ///
    /// # Errors
    /// See [`ConnectError`].
    pub async fn connect(&self, url: &str) -> Result<ClientStream<NetStream>, ConnectError> {
        self.connect_with_response(url).await.map(|(ws, _)| ws)
    }

    /// The same, with the server's response: its `Set-Cookie`, for example. If the future is dropped, nothing
    /// stays open.
    ///
    /// # Errors
    /// See [`ConnectError`].
    pub async fn connect_with_response(
        &self,
        url: &str,
    ) -> Result<(ClientStream<NetStream>, http::Response<()>), ConnectError> {
        let mut url = Url::parse(url)?;
        let mut redirects = Redirects::new(self.redirects);
        let mut connector = Cow::Borrowed(self);
        loop {
            // The task that awaits this is small, as long as the connection is open.
            let mut response = match Box::pin(connector.hop(&url)).await {
                Err(ConnectError::Refused(response)) => response,
                opened => return opened.map_err(found),
            };
            match redirects.follow(&url, response.status(), response.headers()) {
                Ok(next) => url = next,
                Err(error) => {
                    if self.redirects.max_hops > 0 && error != RedirectError::Status {
                        response.extensions_mut().insert(error);
                    }
                    return Err(ConnectError::Refused(response));
                }
            }
            let kept = &connector.common.headers;
            let names: Vec<_> = (kept.keys())
                .filter(|name| !redirects.keeps_header(name))
                .cloned()
                .collect();
            for name in names {
                connector.to_mut().common.headers.remove(name);
            }
        }
    }

    /// Asks one server.
    async fn hop(
        &self,
        url: &Url,
    ) -> Result<(ClientStream<NetStream>, http::Response<()>), ConnectError> {
        // What is wrong with the request is found before anything is opened [HC02].
        self.request(url)?;
        #[cfg(all(feature = "http2", feature = "tls"))]
        if self.http2 && url.is_secure() {
            return self.hop_http2(url).await;
        }
        let stream = self.reach(url, &[]).await?;
        self.open(stream, url).await
    }

    /// Opens a stream to the server, encrypted if the URL says so, and offers these protocols then.
    pub(super) async fn reach(
        &self,
        url: &Url,
        protocols: &[&[u8]],
    ) -> Result<NetStream, ConnectError> {
        let until = Until::new(self.connect_timeout);
        #[cfg(feature = "tls")]
        let tls = match url.is_secure() {
            true => {
                let config = self.tls.as_ref();
                let tls = crate::tls::Connection::new(config, url.host(), protocols);
                Some(until.limit(tls).await??)
            }
            false => None,
        };
        #[cfg(not(feature = "tls"))]
        if url.is_secure() || !protocols.is_empty() {
            return Err(ConnectError::TlsNotEnabled);
        }
        let stream = net::reach(url, &self.proxy, &self.resolver, until).await?;
        #[cfg(feature = "tls")]
        if let Some(tls) = tls {
            let stream = until.limit(tls.open(stream)).await??;
            return Ok(NetStream::Tls(Box::new(stream)));
        }
        Ok(NetStream::Plain(stream))
    }

    /// Opens a WebSocket over a stream that leads to the server already: a Unix socket, a tunnel, TLS
    /// of your own. `url` says what to ask for; nothing is resolved, and nothing encrypted.
    ///
    /// If the future is dropped, the stream is closed.
    ///
    /// # Errors
    /// See [`ConnectError`].
    pub async fn connect_over<S>(
        &self,
        stream: S,
        url: &str,
    ) -> Result<ClientStream<S>, ConnectError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        self.connect_over_with_response(stream, url)
            .await
            .map(|(ws, _)| ws)
    }

    /// The same, with the server's response. If the future is dropped, the stream is closed.
    ///
    /// # Errors
    /// See [`ConnectError`].
    pub async fn connect_over_with_response<S>(
        &self,
        stream: S,
        url: &str,
    ) -> Result<(ClientStream<S>, http::Response<()>), ConnectError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let url = Url::parse(url)?;
        Box::pin(self.open(stream, &url)).await.map_err(found)
    }

    /// Adopts a stream after an opening handshake that was made elsewhere. `leftover` are bytes that
    /// were read behind it. The settings say what was agreed on: compression, for example.
    pub fn from_upgraded<S>(&self, stream: S, leftover: &[u8]) -> ClientStream<S>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let agreed = self.common.agreement();
        let role = Client::new(OsEntropy);
        WebSocketStream::adopt(stream, role, agreed, &self.common, leftover)
    }

    /// Writes the request.
    pub(super) fn request(&self, url: &Url) -> Result<(Vec<u8>, Key), ConnectError> {
        let key = Key::new(&mut OsEntropy).map_err(ConfigError::from)?;
        let head = self.with_request(url, |_, request| {
            let emit = |offset, piece: &mut [u8]| request.emit_from(offset, piece, &key);
            Ok(written(emit))
        })?;
        Ok((head, key))
    }

    /// Lends the host and the request to `f`.
    pub(super) fn with_request<T>(
        &self,
        url: &Url,
        f: impl FnOnce(&str, &CoreRequest<'_>) -> Result<T, ConfigError>,
    ) -> Result<T, ConnectError> {
        let mut headers = self.common.headers()?;
        if let (Some(credentials), None) = (url.credentials(), headers.get(AUTHORIZATION)) {
            headers.insert(AUTHORIZATION, credentials.basic()?);
        }
        // RFC 6455 §4.1: one of them, the caller's if there is one [HC07]
        if headers.get_all(HOST).iter().count() > 1 {
            return Err(ConfigError::Host.into());
        }
        let host = match headers.remove(HOST) {
            Some(host) => host.to_str().map_err(|_| ConfigError::Host)?.to_owned(),
            None => url.authority(),
        };
        let origin = headers.remove(ORIGIN);
        let origin = origin.as_ref().map(HeaderValue::to_str).transpose();
        let origin = origin.map_err(|_| ConfigError::HeaderValue)?;
        let headers = pairs(&headers);
        Ok(self.common.with_offers(|offers| {
            let mut request = CoreRequest::new(&host, url.target())?
                .offers(offers)?
                .headers(&headers)?;
            if let Some(origin) = origin {
                request = request.origin(origin)?;
            }
            f(&host, &request)
        })?)
    }

    /// Asks a server.
    pub(super) async fn open<S>(
        &self,
        stream: S,
        url: &Url,
    ) -> Result<(ClientStream<S>, http::Response<()>), ConnectError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let mut pipe = Pipe::new(stream, self.common.timeouts());
        let (agreed, subprotocol, response) = self.handshake(&mut pipe, url).await?;
        // RFC 6455 §4.2.2: what follows the response are the first frames [HC22]
        let Pipe {
            stream,
            input,
            pace,
            ..
        } = pipe;
        let agreed = Agreement::new(&agreed, self.common.limits);
        let settings = self.common.settings.clone();
        let role = Client::new(OsEntropy);
        let engine = Engine::new(stream, role, agreed, settings, &input, pace);
        Ok((WebSocketStream::new(engine, subprotocol), response))
    }

    async fn handshake<S>(
        &self,
        pipe: &mut Pipe<S>,
        url: &Url,
    ) -> Result<(Agreed, Option<String>, http::Response<()>), ConnectError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let (head, key) = self.request(url)?;
        let limits = self.common.limits;
        let mut handshake = ClientHandshake::with_limits(&key, line(limits), limits);
        let mut headers = Headers::default();
        // RFC 6455 §4.1: nothing more before the response is found correct [HC12]
        pipe.write(&head).await?;
        loop {
            let mut input = pipe.input.as_slice();
            let read = self.common.with_offers(|offers| {
                let mut agreed = None;
                while let Some(event) = handshake.next_event(&mut input, offers)? {
                    match event {
                        // There may be interim ones before.
                        ResponseEvent::StatusLine { .. } => headers.clear(),
                        ResponseEvent::Header(part) => headers.push(&part),
                        ResponseEvent::Done(done) => {
                            let index = done.subprotocol;
                            let name = index.and_then(|index| offers.subprotocol(index));
                            agreed = Some((done, name.map(str::to_owned)));
                            break;
                        }
                        _ => {}
                    }
                }
                Ok(agreed)
            });
            let taken = pipe.input.len() - input.len();
            pipe.input.drain(..taken);
            match read {
                Ok(Some((agreed, subprotocol))) => {
                    // Whoever wants to may read what else it says [HT15]
                    let response = response(101, &mut headers, ());
                    return Ok((agreed, subprotocol, response));
                }
                Ok(None) => {}
                // RFC 6455 §4.1: another status is handled as HTTP has it [HC13]
                Err(HandshakeError::UnexpectedStatus(status)) => {
                    let head = response(status, &mut headers, ());
                    let headers = head.headers();
                    let framing = Framing::of_response(&Method::GET, head.status(), headers);
                    let body = body(pipe, framing.unwrap_or(Framing::Empty)).await;
                    return Err(ConnectError::Refused(Box::new(head.map(|()| body))));
                }
                Err(error) => return Err(error.into()),
            }
            if pipe.read().await? == 0 {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
        }
    }
}

fn response<T>(status: u16, headers: &mut Headers, body: T) -> http::Response<T> {
    let mut response = http::Response::new(body);
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or_default();
    *response.headers_mut() = headers.take();
    response
}

/// Reads the body of a refusal, as far as it comes in time.
pub(super) async fn body<S: AsyncRead + AsyncWrite + Unpin>(
    pipe: &mut Pipe<S>,
    framing: Framing,
) -> Bytes {
    let mut kept = Vec::new();
    let mut body = Body::new(framing, BODY_MAX);
    let until = Instant::now() + BODY_TIMEOUT;
    loop {
        let mut input = pipe.input.as_slice();
        while let Ok(Some(content)) = body.next_content(&mut input) {
            kept.extend_from_slice(content);
        }
        pipe.input.clear();
        if body.is_complete() {
            break;
        }
        match timeout_at(until, pipe.read()).await {
            Ok(Ok(1..)) => {}
            _ => break,
        }
    }
    kept.into()
}

/// Finds the errors of deadlines and of TLS among those of the transport.
pub(super) fn found(error: ConnectError) -> ConnectError {
    match error {
        ConnectError::Io(error) => ConnectError::from_io(error),
        error => error,
    }
}
