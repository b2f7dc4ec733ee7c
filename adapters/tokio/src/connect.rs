//! The client's side of the opening handshake (RFC 6455 §4.1), and the way to the server.

use core::net::SocketAddr;
use core::pin::Pin;
use core::task::{Context, Poll};
use core::time::Duration;
use std::io::{self, IoSlice};
use std::sync::Arc;

use bytes::Bytes;
use motews::handshake::{
    Agreed, ClientHandshake, ConfigError, HandshakeError, Key, Request as CoreRequest,
    ResponseEvent,
};
use motews::role::Client;
use motews::{Limits, Timeouts};
use motews_net::http::header::{AUTHORIZATION, HOST};
use motews_net::http::{self, HeaderName, HeaderValue, Method, StatusCode};
use motews_net::{Body, Dial, DialPlan, Framing, Host, Url};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, lookup_host};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout, timeout_at};

use crate::engine::Engine;
use crate::entropy::OsEntropy;
use crate::error::ConnectError;
use crate::pipe::{Headers, Pipe, line, pairs, written};
use crate::settings::{Common, setters};
use crate::websocket::WebSocketStream;

/// How much of the body of a refusal is kept, in bytes.
const BODY_MAX: usize = 16 * 1024;

/// How long it is waited for: it explains, and is not worth more.
const BODY_TIMEOUT: Duration = Duration::from_secs(3);

/// A client's WebSocket over a stream.
type ClientStream<S> = WebSocketStream<S, Client<OsEntropy>>;

/// Opens a WebSocket, with the defaults: see [`Connector::connect`].
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
    common: Common,
    connect_timeout: Option<Duration>,
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
        }
    }

    setters!();

    /// Sets how long it may take to resolve the host's name and to connect, to all of its addresses
    /// together. `None`: as long as the operating system lets it. 10 seconds by default.
    pub const fn connect_timeout(mut self, timeout: Option<Duration>) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// Opens a WebSocket over TCP.
    ///
    /// The addresses of the host are tried as RFC 8305 has it: one that does not answer costs a
    /// quarter of a second before the next one is tried as well.
    ///
    /// # Errors
    /// See [`ConnectError`].
    pub async fn connect(&self, url: &str) -> Result<ClientStream<NetStream>, ConnectError> {
        self.connect_with_response(url).await.map(|(ws, _)| ws)
    }

    /// The same, with the server's response: its `Set-Cookie`, for example.
    ///
    /// # Errors
    /// See [`ConnectError`].
    pub async fn connect_with_response(
        &self,
        url: &str,
    ) -> Result<(ClientStream<NetStream>, http::Response<()>), ConnectError> {
        let url = Url::parse(url)?;
        if url.is_secure() {
            return Err(ConnectError::TlsNotEnabled);
        }
        // What is wrong with the request is found before anything is opened [HC02].
        self.request(&url)?;
        let dialing = dial(&url);
        let stream = match self.connect_timeout {
            Some(limit) => timeout(limit, dialing)
                .await
                .map_err(|_| ConnectError::TimedOut)?,
            None => dialing.await,
        }?;
        // Frames leave when they are written.
        stream.set_nodelay(true)?;
        self.open(NetStream::Plain(stream), &url).await
    }

    /// Opens a WebSocket over a stream that leads to the server already: a Unix socket, a tunnel, TLS
    /// of your own. `url` says what to ask for; nothing is resolved, and nothing encrypted.
    ///
    /// # Errors
    /// See [`ConnectError`].
    pub async fn client<S>(&self, stream: S, url: &str) -> Result<ClientStream<S>, ConnectError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        self.client_with_response(stream, url)
            .await
            .map(|(ws, _)| ws)
    }

    /// The same, with the server's response.
    ///
    /// # Errors
    /// See [`ConnectError`].
    pub async fn client_with_response<S>(
        &self,
        stream: S,
        url: &str,
    ) -> Result<(ClientStream<S>, http::Response<()>), ConnectError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        self.open(stream, &Url::parse(url)?).await
    }

    /// Adopts a stream after an opening handshake that was made elsewhere. `leftover` are bytes that
    /// were read behind it.
    pub fn from_upgraded<S>(&self, stream: S, leftover: &[u8]) -> ClientStream<S>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        WebSocketStream::adopt(stream, Client::new(OsEntropy), &self.common, leftover)
    }

    /// Writes the request.
    fn request(&self, url: &Url) -> Result<(Vec<u8>, Key), ConnectError> {
        let mut headers = self.common.headers.clone();
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
        let headers = pairs(&headers);
        let key = Key::new(&mut OsEntropy).map_err(ConfigError::from)?;
        let head = self.common.with_offers(|offers| {
            let request = CoreRequest::new(&host, url.target())?
                .offers(offers)?
                .headers(&headers)?;
            let emit = |offset, piece: &mut [u8]| request.emit_from(offset, piece, &key);
            Ok::<_, ConfigError>(written(emit))
        })?;
        Ok((head, key))
    }

    /// Asks a server.
    async fn open<S>(
        &self,
        stream: S,
        url: &Url,
    ) -> Result<(ClientStream<S>, http::Response<()>), ConnectError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let mut pipe = Pipe::new(stream, self.common.timeouts());
        let opened = self.handshake(&mut pipe, url).await;
        let (agreed, subprotocol, response) = opened.map_err(timed_out)?;
        let ws = WebSocketStream::new(
            Engine::new(
                pipe.stream,
                Client::new(OsEntropy),
                agreed.config,
                self.common.settings.clone(),
                // RFC 6455 §4.2.2: what follows are the first frames [HC22]
                &pipe.input,
                (pipe.clock, pipe.pace),
            ),
            subprotocol,
        );
        Ok((ws, response))
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
                    let body = body(pipe, &head).await;
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
async fn body<S: AsyncRead + AsyncWrite + Unpin>(
    pipe: &mut Pipe<S>,
    head: &http::Response<()>,
) -> Bytes {
    let mut kept = Vec::new();
    let framing = Framing::of_response(&Method::GET, head.status(), head.headers());
    if let Ok(framing) = framing {
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
    }
    kept.into()
}

fn timed_out(error: ConnectError) -> ConnectError {
    match error {
        ConnectError::Io(error) if error.kind() == io::ErrorKind::TimedOut => {
            ConnectError::TimedOut
        }
        error => error,
    }
}

/// Connects to one of the addresses of a host, by the rules of [`DialPlan`].
async fn dial(url: &Url) -> io::Result<TcpStream> {
    let port = url.port();
    let addresses: Vec<SocketAddr> = match url.host() {
        Host::V4(address) => vec![SocketAddr::from((*address, port))],
        Host::V6(address, None) => vec![SocketAddr::from((*address, port))],
        host => {
            let name = host.to_string();
            let found = lookup_host((name.as_str(), port)).await;
            let named = |error: io::Error| io::Error::new(error.kind(), format!("{name}: {error}"));
            found.map_err(named)?.collect()
        }
    };
    let start = Instant::now();
    let mut plan = DialPlan::<io::Error>::new(addresses);
    let mut attempts = JoinSet::new(); // which ends them when it is dropped
    let mut connected = None;
    loop {
        let next = match plan.poll(start.elapsed()) {
            Dial::Connect { attempt, address } => {
                attempts.spawn(async move { (attempt, TcpStream::connect(address).await) });
                continue;
            }
            Dial::Wait { until } => until,
            Dial::Connected { .. } => return connected.ok_or(io::ErrorKind::NotConnected.into()),
            Dial::Failed => {
                let last = plan.into_errors().pop();
                return Err(match last {
                    None => io::Error::new(io::ErrorKind::NotFound, "the host has no address"),
                    Some((address, error)) => {
                        io::Error::new(error.kind(), format!("{address}: {error}"))
                    }
                });
            }
        };
        let ended = match next {
            Some(until) => timeout_at(start + until, attempts.join_next()).await,
            None => Ok(attempts.join_next().await),
        };
        if let Ok(Some(Ok((attempt, result)))) = ended {
            match result {
                Ok(stream) => {
                    if plan.connected(attempt) {
                        connected = Some(stream);
                    }
                }
                Err(error) => plan.failed(attempt, error),
            }
        }
    }
}

/// The stream of a WebSocket that [`Connector::connect`] has opened.
#[derive(Debug)]
#[non_exhaustive]
pub enum NetStream {
    /// TCP.
    Plain(TcpStream),
}

/// Calls a method of the stream inside.
macro_rules! inside {
    ($stream:expr, $inner:ident => $call:expr) => {
        match $stream.get_mut() {
            Self::Plain($inner) => {
                let $inner = Pin::new($inner);
                $call
            }
        }
    };
}

impl AsyncRead for NetStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        inside!(self, stream => stream.poll_read(cx, buf))
    }
}

impl AsyncWrite for NetStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        inside!(self, stream => stream.poll_write(cx, bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        inside!(self, stream => stream.poll_write_vectored(cx, parts))
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        inside!(self, stream => stream.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        inside!(self, stream => stream.poll_shutdown(cx))
    }
}
