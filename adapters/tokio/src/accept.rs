//! The server's side of the opening handshake (RFC 6455 §4.2).

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use motews::handshake::{
    ConfigError, HandshakeError, RequestEvent, Response as CoreResponse, ServerHandshake, Upgrade,
    subprotocols,
};
use motews::{Limits, Server, Timeouts};
use motews_net::http::header::SEC_WEBSOCKET_PROTOCOL;
use motews_net::http::{self, HeaderName, HeaderValue, Method, StatusCode, Uri};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::engine::{Agreement, Engine, now};
use crate::error::AcceptError;
use crate::pipe::{Headers, Pipe, line, pairs, written};
use crate::settings::{Common, setters};
use crate::websocket::WebSocketStream;

/// A client's request to open a WebSocket.
///
/// A browser sends the cookies of *its* user along with a request that *another* site made: whoever
/// trusts cookies compares `Origin` with `Host` (RFC 6455 §10.2).
// [HS12]
pub type Request = http::Request<()>;

/// The answer to a [`Request`]. The status 101 accepts it: see [`accepted`]. Any other one refuses.
pub type Response = http::Response<Bytes>;

/// Returns the response that accepts.
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
        }
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

    /// Accepts or refuses a WebSocket: as `decide` answers a request that is correct. What it does may
    /// take its time, but no longer than [`Timeouts::handshake`] altogether.
    ///
    /// ```no_run
    /// use motews_tokio::http::StatusCode;
    /// use motews_tokio::{Acceptor, Request, Response, accepted};
    /// # async fn look_up(_: &str) -> bool { true }
    ///
    /// async fn decide(request: &Request) -> Response {
    ///     let mut response = accepted();
    ///     if !look_up(request.uri().path()).await {
    ///         *response.status_mut() = StatusCode::NOT_FOUND;
    ///     }
    ///     response
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
        // The task that awaits this is small, as long as the connection is open.
        let opened = Box::pin(self.open(stream, decide)).await;
        opened.map_err(|error| match error {
            AcceptError::Io(error) if error.kind() == io::ErrorKind::TimedOut => {
                AcceptError::TimedOut
            }
            error => error,
        })
    }

    /// Adopts a stream after an opening handshake that was made elsewhere. `leftover` are bytes that
    /// were read behind it. The settings say what was agreed on: compression, for example.
    pub fn from_upgraded<S>(&self, stream: S, leftover: &[u8]) -> WebSocketStream<S, Server>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let agreed = self.common.agreement();
        WebSocketStream::adopt(stream, Server, agreed, &self.common, leftover)
    }

    async fn open<S, F>(
        &self,
        stream: S,
        decide: F,
    ) -> Result<WebSocketStream<S, Server>, AcceptError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
        F: AsyncFnOnce(&Request) -> Response,
    {
        let mut pipe = Pipe::new(stream, self.common.timeouts());
        let (agreed, subprotocol) = self.run(&mut pipe, decide).await?;
        let settings = self.common.settings.clone();
        let engine = Engine::new(
            pipe.stream,
            Server,
            agreed,
            settings,
            &pipe.input,
            pipe.pace,
        );
        Ok(WebSocketStream::new(engine, subprotocol))
    }

    /// Reads the request, and answers it.
    async fn run<S, F>(
        &self,
        pipe: &mut Pipe<S>,
        decide: F,
    ) -> Result<(Agreement, Option<String>), AcceptError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
        F: AsyncFnOnce(&Request) -> Response,
    {
        let mut reading = Reading::new(self.common.limits);
        let judged = loop {
            let mut input = pipe.input.as_slice();
            let judged = reading.read(&mut input, &self.common);
            let taken = pipe.input.len() - input.len();
            pipe.input.drain(..taken);
            if let Some(judged) = judged {
                break judged;
            }
            if pipe.read().await? == 0 {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
        };
        let is_head = reading.handshake.is_head();
        let answer = match judged.and_then(|upgrade| Ok((upgrade, reading.request()?))) {
            // [HS01] [HS20]
            Err(error) => {
                let response = error.response().head(is_head);
                let head = written(|offset, piece| response.emit_from(offset, piece));
                Err((head, AcceptError::Handshake(error)))
            }
            Ok((upgrade, request)) => {
                let response = pipe.limit(decide(&request)).await?;
                match response.status() {
                    StatusCode::SWITCHING_PROTOCOLS => {
                        self.accept_head(&upgrade, &request, response)
                    }
                    _ => refusal(is_head, &response),
                }
                .map(|(head, subprotocol)| {
                    let agreed = Agreement::new(&upgrade.agreed(), self.common.limits);
                    (head, agreed, subprotocol)
                })
            }
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

    /// Writes the response that accepts.
    fn accept_head(&self, upgrade: &Upgrade, request: &Request, response: Response) -> Answer {
        let (response, _) = response.into_parts();
        let mut headers = match self.common.headers() {
            Ok(headers) => headers,
            Err(error) => return broken(error),
        };
        headers.extend(response.headers);
        let chosen = headers.remove(SEC_WEBSOCKET_PROTOCOL);
        // RFC 6455 §4.2.2: one of those that the client offers [HS14]
        let offers = request.headers().get_all(SEC_WEBSOCKET_PROTOCOL).iter();
        let mut offers = offers.flat_map(|list| subprotocols(list.as_bytes()));
        let chosen = match &chosen {
            None => None,
            Some(name) => match offers.find(|offer| offer.as_str().as_bytes() == name.as_bytes()) {
                None => return broken(ConfigError::NotOffered),
                offer => offer.map(|offer| offer.as_str()),
            },
        };
        let headers = pairs(&headers);
        let accepted = self.common.with_offers(|offers| {
            let mut answer = upgrade.answer(offers).headers(&headers)?;
            if chosen.is_some() {
                answer = answer.select_subprotocol(chosen)?;
            }
            let subprotocol = answer.subprotocol().map(str::to_owned);
            let head = written(|offset, piece| upgrade.emit_from(offset, piece, &answer));
            Ok((head, subprotocol))
        });
        accepted.or_else(broken)
    }
}

/// The head that accepts, and the subprotocol; or the response that does not, and what comes of it.
type Answer = Result<(Vec<u8>, Option<String>), (Vec<u8>, AcceptError)>;

/// Writes a response of the application's that does not accept.
fn refusal(is_head: bool, response: &Response) -> Answer {
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

/// The application's response cannot be written.
fn broken(error: ConfigError) -> Answer {
    const HEAD: &[u8] =
        b"HTTP/1.1 500 Internal Server Error\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
    Err((HEAD.to_vec(), AcceptError::Config(error)))
}

/// A request that is being read.
struct Reading {
    handshake: ServerHandshake<Vec<u8>>,
    method: String,
    target: String,
    headers: Headers,
}

impl Reading {
    fn new(limits: Limits) -> Self {
        Self {
            handshake: ServerHandshake::with_limits(line(limits), limits),
            method: String::new(),
            target: String::new(),
            headers: Headers::default(),
        }
    }

    /// Takes events until the head ends; `None` wants more input.
    fn read(
        &mut self,
        input: &mut &[u8],
        common: &Common,
    ) -> Option<Result<Upgrade, HandshakeError>> {
        common.with_offers(|offers| {
            loop {
                match self.handshake.next_event(input, offers) {
                    Ok(None) => return None,
                    Ok(Some(RequestEvent::RequestLine { method, target, .. })) => {
                        method.as_str().clone_into(&mut self.method);
                        target.as_str().clone_into(&mut self.target);
                    }
                    Ok(Some(RequestEvent::Header(part))) => self.headers.push(&part),
                    Ok(Some(RequestEvent::Done(upgrade))) => return Some(Ok(upgrade)),
                    Ok(Some(_)) => {}
                    Err(error) => return Some(Err(error)),
                }
            }
        })
    }

    /// The request, as the application sees it.
    fn request(&mut self) -> Result<Request, HandshakeError> {
        let mut request = Request::new(());
        *request.method_mut() =
            Method::from_bytes(self.method.as_bytes()).map_err(|_| HandshakeError::Method)?;
        *request.uri_mut() = Uri::try_from(&*self.target).map_err(|_| HandshakeError::Target)?;
        *request.headers_mut() = self.headers.take();
        Ok(request)
    }
}
