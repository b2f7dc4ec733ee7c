//! The server's side of the opening handshake (RFC 6455 §4.2).

use core::future::Future;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use motews::handshake::{ConfigError, HandshakeError, Response as CoreResponse, Upgrade};
use motews::{Limits, Server, Timeouts};
use motews_net::http::header::SEC_WEBSOCKET_PROTOCOL;
use motews_net::http::{self, HeaderName, HeaderValue, StatusCode};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::engine::{Agreement, Engine, now};
use crate::error::AcceptError;
use crate::handle::{Registered, ServerHandle};
use crate::pipe::{Pipe, pairs, written};
use crate::request::{Reading, Request, protocol_headers};
use crate::settings::{Common, setters};
use crate::websocket::WebSocketStream;

/// The answer to a [`Request`]. The status 101 accepts it: see [`accepted`]. Any other one refuses, or is
/// the page that an ordinary request has asked for.
pub type Response = http::Response<Bytes>;

/// Returns the response that accepts. A request for no WebSocket is answered with 426 then (Upgrade
/// Required).
///
/// `Sec-WebSocket-Protocol` chooses one of the subprotocols that the client offers (§4.2.2). Without
/// it, it is the first of the [`Acceptor`]'s that the client offers, if there is one.
#[must_use]
pub fn accepted() -> Response {
    let mut response = Response::default();
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    response
}

/// Accepts WebSockets: what a server sets, once for all its connections.
///
/// ```no_run
/// use motews_tokio::{Acceptor, DEFAULT_LIMITS, Limits};
/// use tokio::net::TcpListener;
///
/// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
/// let limits = Limits { message: 1024 * 1024, ..DEFAULT_LIMITS };
/// let acceptor = Acceptor::new().limits(limits).subprotocols(["chat"]);
/// let listener = TcpListener::bind("127.0.0.1:9001").await?;
/// loop {
///     let (stream, _) = listener.accept().await?;
///     let acceptor = acceptor.clone();
///     tokio::spawn(async move {
///         let mut ws = acceptor.accept(stream).await?;
///         while let Some(message) = ws.recv().await? {
///             ws.send(message).await?;
///         }
///         Ok::<_, Box<dyn std::error::Error + Send + Sync>>(())
///     });
/// }
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct Acceptor {
    pub(crate) common: Common,
    handle: Option<ServerHandle>,
}

impl Default for Acceptor {
    fn default() -> Self {
        Self::new()
    }
}

impl Acceptor {
    /// Returns the defaults.
    pub fn new() -> Self {
        Self {
            common: Common::new(),
            handle: None,
        }
    }

    /// Lets this handle close the connections that are accepted from now on.
    pub fn handle(mut self, handle: &ServerHandle) -> Self {
        self.handle = Some(handle.clone());
        self
    }

    setters!();

    /// Accepts a WebSocket over a stream: waits for the request, and answers it.
    ///
    /// If the future is dropped, the stream is closed.
    ///
    /// # Errors
    /// See [`AcceptError`]. The client has been sent the response that it calls for.
    pub async fn accept<S>(&self, stream: S) -> Result<WebSocketStream<S, Server>, AcceptError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        self.accept_with(stream, async |_: &Request| accepted())
            .await
    }

    /// Accepts or refuses a WebSocket, or answers an ordinary HTTP request: as `decide` says. What it
    /// does may take its time, but no longer than [`Timeouts::handshake`] altogether.
    ///
    /// If the future is dropped, the stream is closed.
    ///
    /// ```no_run
    /// use motews_tokio::http::StatusCode;
    /// use motews_tokio::{Acceptor, Request, Response, accepted};
    /// # async fn look_up(_: &str) -> bool { true }
    ///
    /// async fn decide(request: &Request) -> Response {
    ///     match request.uri().path() {
    ///         "/chat" if request.is_websocket() => accepted(),
    ///         "/" => Response::new("This server speaks WebSocket at /chat.\n".into()),
    ///         path => {
    ///             let mut response = accepted();
    ///             if !look_up(path).await {
    ///                 *response.status_mut() = StatusCode::NOT_FOUND;
    ///             }
    ///             response
    ///         }
    ///     }
    /// }
    ///
    /// # async fn run(stream: tokio::net::TcpStream) -> Result<(), motews_tokio::AcceptError> {
    /// let ws = Acceptor::new().accept_with(stream, decide).await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// See [`AcceptError`]. The client has been sent the response that it calls for.
    pub async fn accept_with<S, F>(
        &self,
        stream: S,
        decide: F,
    ) -> Result<WebSocketStream<S, Server>, AcceptError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
        F: AsyncFnOnce(&Request) -> Response,
    {
        // The task that awaits this is small, as long as the connection is open: it has no room for
        // what only the handshake needs.
        Box::pin(async move {
            let pipe = Pipe::new(stream, self.common.timeouts());
            let decide = async |request: &mut Request| decide(request).await;
            self.open(pipe, self.register(), decide).await
        })
        .await
    }

    /// Adopts a stream after an opening handshake that was made elsewhere. `leftover` are bytes that
    /// were read behind it. The settings say what was agreed on: compression, for example.
    pub fn from_upgraded<S>(&self, stream: S, leftover: &[u8]) -> WebSocketStream<S, Server>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let agreed = self.common.agreement();
        WebSocketStream::adopt(stream, Server, agreed, &self.common, leftover)
            .registered(self.register())
    }

    /// A connection that begins, for the server's handle.
    pub(crate) fn register(&self) -> Option<Registered> {
        self.handle.as_ref().map(ServerHandle::register)
    }

    pub(crate) fn is_shutting_down(&self) -> bool {
        let handle = self.handle.as_ref();
        handle.is_some_and(ServerHandle::is_shutting_down)
    }

    /// Lets a step of the opening handshake go on until the server is shut down.
    pub(crate) async fn unless_shut_down<T>(
        &self,
        step: impl Future<Output = T>,
    ) -> Result<T, AcceptError> {
        match &self.handle {
            None => Ok(step.await),
            Some(handle) => {
                let done = handle.unless_shut_down(step).await;
                done.ok_or(AcceptError::ShuttingDown)
            }
        }
    }

    /// Makes the opening handshake over a stream.
    pub(crate) async fn open<S, F>(
        &self,
        mut pipe: Pipe<S>,
        registered: Option<Registered>,
        decide: F,
    ) -> Result<WebSocketStream<S, Server>, AcceptError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
        F: AsyncFnOnce(&mut Request) -> Response,
    {
        // The task that awaits this is small, as long as the connection is open.
        let (agreed, subprotocol) = Box::pin(self.run(&mut pipe, decide))
            .await
            .map_err(AcceptError::timed_out)?;
        let settings = self.common.settings.clone();
        let engine = Engine::new(
            pipe.stream,
            Server,
            agreed,
            settings,
            &pipe.input,
            pipe.pace,
        );
        Ok(WebSocketStream::new(engine, subprotocol).registered(registered))
    }

    /// Reads the request, and answers it.
    async fn run<S, F>(
        &self,
        pipe: &mut Pipe<S>,
        decide: F,
    ) -> Result<(Agreement, Option<String>), AcceptError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
        F: AsyncFnOnce(&mut Request) -> Response,
    {
        let mut reading = Reading::new(self.common.limits);
        let answer = match self.unless_shut_down(self.read(pipe, &mut reading)).await {
            Ok(head) => self.decide(pipe, &mut reading, head?, decide).await?,
            // Whatever it was going to ask for.
            Err(error) => Err((shutting_down(), error)),
        };
        pipe.pace.responding(now());
        match answer {
            Ok((head, agreed, subprotocol)) => {
                pipe.write(&head).await?;
                Ok((agreed, subprotocol))
            }
            Err((head, error)) => {
                pipe.write(&head).await?;
                // What fails now is of no interest.
                let _ = pipe.linger().await;
                Err(error)
            }
        }
    }

    /// Reads the request.
    async fn read<S>(&self, pipe: &mut Pipe<S>, reading: &mut Reading) -> io::Result<Head>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        loop {
            let mut input = pipe.input.as_slice();
            let head = reading.read(&mut input, &self.common);
            let taken = pipe.input.len() - input.len();
            pipe.input.drain(..taken);
            if let Some(head) = head {
                return Ok(head);
            }
            if pipe.read().await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// Writes the answer.
    async fn decide<S, F>(
        &self,
        pipe: &mut Pipe<S>,
        reading: &mut Reading,
        head: Head,
        decide: F,
    ) -> io::Result<Answer>
    where
        F: AsyncFnOnce(&mut Request) -> Response,
    {
        let is_head = reading.is_head();
        let (head, request) = match head {
            Ok(upgrade) => (Ok(upgrade), reading.request(true)),
            // Seen by the application, so that it can serve plain HTTP here as well.
            Err(error @ HandshakeError::NotUpgrade) => (Err(error), reading.request(false)),
            Err(error) => return Ok(refuse(error, is_head)),
        };
        let mut request = match request {
            Ok(request) => request,
            Err(error) => return Ok(refuse(error, is_head)),
        };
        let response = pipe.limit(decide(&mut request)).await?;
        if self.is_shutting_down() {
            return Ok(Err((shutting_down(), AcceptError::ShuttingDown)));
        }
        Ok(match (response.status(), head) {
            (StatusCode::SWITCHING_PROTOCOLS, Ok(upgrade)) => {
                self.accept_head(&upgrade, &request, response)
            }
            (StatusCode::SWITCHING_PROTOCOLS, Err(error)) => refuse(error, is_head),
            _ => answer(is_head, &response),
        })
    }

    /// Writes the response that accepts.
    fn accept_head(&self, upgrade: &Upgrade, request: &Request, response: Response) -> Answer {
        let (response, _) = response.into_parts();
        let mut headers = match self.common.headers() {
            Ok(headers) => headers,
            Err(error) => return broken(error),
        };
        headers.extend(response.headers);
        let chosen = headers.remove(SEC_WEBSOCKET_PROTOCOL);
        // What is no text is none that a client offers.
        let chosen = chosen
            .as_ref()
            .map(|name| name.to_str().unwrap_or_default());
        let headers = pairs(&headers);
        let accepted = self.common.with_offers(|offers| {
            let mut answer = upgrade.answer(offers).headers(&headers)?;
            if chosen.is_some() {
                answer = answer.select_subprotocol(chosen, protocol_headers(request.headers()))?;
            }
            let subprotocol = answer.subprotocol().map(str::to_owned);
            let head = written(|offset, piece| upgrade.emit_from(offset, piece, &answer));
            let agreed = Agreement::new(&upgrade.agreed(), self.common.limits);
            Ok((head, agreed, subprotocol))
        });
        accepted.or_else(broken)
    }
}

/// What the head of a request has come to.
type Head = Result<Upgrade, HandshakeError>;

/// The head that accepts, and what both agree on; or the response that does not, and what comes of it.
type Answer = Result<(Vec<u8>, Agreement, Option<String>), (Vec<u8>, AcceptError)>;

/// Writes the response to an incorrect request.
// [HS01] [HS20]
fn refuse(error: HandshakeError, is_head: bool) -> Answer {
    let response = error.response().head(is_head);
    let head = written(|offset, piece| response.emit_from(offset, piece));
    Err((head, AcceptError::Handshake(error)))
}

/// Writes a response of the application's that does not accept.
fn answer(is_head: bool, response: &Response) -> Answer {
    let status = response.status();
    let headers = pairs(response.headers());
    let head = CoreResponse::new(status.as_u16())
        .and_then(|head| head.reason(status.canonical_reason().unwrap_or_default()))
        .and_then(|head| head.headers(&headers));
    match head {
        Ok(head) => {
            let head = head.body(response.body()).head(is_head);
            let head = written(|offset, piece| head.emit_from(offset, piece));
            Err((head, AcceptError::Answered(status.as_u16())))
        }
        Err(error) => broken(error),
    }
}

/// The response to a request that comes too late.
fn shutting_down() -> Vec<u8> {
    const HEAD: &[u8] =
        b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
    HEAD.to_vec()
}

/// The application's response cannot be written.
fn broken(error: ConfigError) -> Answer {
    let response = error.response();
    let head = written(|offset, piece| response.emit_from(offset, piece));
    Err((head, AcceptError::Config(error)))
}
