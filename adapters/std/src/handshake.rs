//! The HTTP of the opening handshake, for both of this crate's servers and its client: what a server
//! sees of a request, what it answers, and what is offered (RFC 6455 §4).

use core::net::SocketAddr;

use motews::Limits;
#[cfg(feature = "deflate")]
use motews::deflate::{DeflateConfig, DeflateContext};
use motews::handshake::{
    Agreed, ConfigError, HandshakeError, Offers, RequestEvent, ServerHandshake, Upgrade,
    path_and_query,
};
use motews_net::http::StatusCode;

use crate::error::AcceptError;

/// The longest line that is needed whole, in bytes: the request line above all.
const MAX_LINE: usize = 8 * 1024;

/// The header that offers subprotocols.
const PROTOCOL: &str = "Sec-WebSocket-Protocol";

/// What this side says in the opening handshake, and what it takes from the peer.
#[derive(Clone, Debug)]
pub(crate) struct Handshake {
    pub(crate) limits: Limits,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) subprotocols: Vec<String>,
    #[cfg(feature = "deflate")]
    pub(crate) deflate: Option<DeflateConfig>,
}

impl Handshake {
    pub(crate) const fn new(limits: Limits) -> Self {
        Self {
            limits,
            headers: Vec::new(),
            subprotocols: Vec::new(),
            #[cfg(feature = "deflate")]
            deflate: None,
        }
    }

    /// What this side offers, for as long as `f` takes.
    pub(crate) fn with_offers<T>(&self, f: impl FnOnce(&Offers<'_>) -> T) -> T {
        let subprotocols: Vec<&str> = self.subprotocols.iter().map(String::as_str).collect();
        let offers = Offers::new().subprotocols(&subprotocols);
        #[cfg(feature = "deflate")]
        let offers = match self.deflate {
            // A window of any size can be made when it is needed.
            Some(config) => offers.deflate(config).deflate_memory(DeflateContext::MAX),
            None => offers,
        };
        f(&offers)
    }

    /// Memory for the longest line.
    pub(crate) fn line(&self) -> Vec<u8> {
        vec![0; MAX_LINE.min(self.limits.head as usize)]
    }
}

/// All that a piecewise writer writes.
pub(crate) fn written(mut emit: impl FnMut(usize, &mut [u8]) -> usize) -> Vec<u8> {
    let mut out = Vec::new();
    let mut piece = [0; 1024];
    while let len @ 1.. = emit(out.len(), &mut piece) {
        out.extend_from_slice(&piece[..len]);
    }
    out
}

/// Headers as the core takes them.
pub(crate) fn pairs(headers: &[(String, String)]) -> Vec<(&str, &str)> {
    headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect()
}

/// Adds a header, or a further part of the last one.
pub(crate) fn collect(headers: &mut Vec<(String, Vec<u8>)>, name: &str, value: &[u8], first: bool) {
    match headers.last_mut() {
        Some((_, begun)) if !first => begun.extend_from_slice(value),
        _ => headers.push((name.to_owned(), value.to_owned())),
    }
}

/// A client's HTTP request, before it is accepted (RFC 6455 §4.2).
///
/// A browser sends the cookies of *its* user along with a request that *another* site made: who
/// trusts cookies compares the [`origin`](Self::origin) with the [`host`](Self::host) (§10.2).
#[derive(Clone, Debug)]
pub struct Request {
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) headers: Vec<(String, Vec<u8>)>,
    pub(crate) websocket: bool,
    pub(crate) address: Option<SocketAddr>,
}

impl Request {
    /// Whether the client asks for a WebSocket, correctly. If not, it is an ordinary HTTP request,
    /// to be answered with a [`Response`] of any status.
    #[must_use]
    pub const fn is_websocket(&self) -> bool {
        self.websocket
    }

    /// The address of the client, or of the last proxy before this server. `None` outside a
    /// `Server`: whoever accepted the stream knows it.
    #[must_use]
    pub const fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// The method; `GET` for a WebSocket.
    #[must_use]
    pub const fn method(&self) -> &str {
        self.method.as_str()
    }

    /// The request's target as the client wrote it.
    #[must_use]
    pub const fn target(&self) -> &str {
        self.target.as_str()
    }

    /// The path, as it was sent: `%XX` stays as it is.
    #[must_use]
    pub fn path(&self) -> &str {
        path_and_query(&self.target).0
    }

    /// The query, without its `?`.
    #[must_use]
    pub fn query(&self) -> Option<&str> {
        path_and_query(&self.target).1
    }

    /// All headers, in the client's order. Names are as the client wrote them.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_slice()))
    }

    /// The value of the first header with this name, in any case, if it is UTF-8.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.header_all(name).next()
    }

    /// The values of all headers with this name, in any case; without those that are not UTF-8.
    pub fn header_all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.values(name)
            .filter_map(|value| core::str::from_utf8(value).ok())
    }

    fn values(&self, name: &str) -> impl Iterator<Item = &[u8]> {
        self.headers
            .iter()
            .filter(move |(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_slice())
    }

    /// The `Host` header: the name under which the client found this server.
    #[must_use]
    pub fn host(&self) -> Option<&str> {
        self.header("Host")
    }

    /// The `Origin` header: the site whose page opens the connection. Browsers always send it;
    /// others may leave it out or make it up (§10.2).
    // [HS12]
    #[must_use]
    pub fn origin(&self) -> Option<&str> {
        self.header("Origin")
    }

    /// The `Authorization` header.
    // [EX05]
    #[must_use]
    pub fn authorization(&self) -> Option<&str> {
        self.header("Authorization")
    }

    /// The cookies, as pairs of name and value; without those that are not UTF-8.
    // [HT13]
    pub fn cookies(&self) -> impl Iterator<Item = (&str, &str)> {
        self.values("Cookie")
            .flat_map(|list| list.split(|byte| *byte == b';'))
            .filter_map(|cookie| core::str::from_utf8(cookie).ok())
            .filter_map(|cookie| cookie.trim().split_once('='))
    }

    /// The subprotocols that the client offers, the one it likes best first (§1.9).
    pub fn subprotocols(&self) -> impl Iterator<Item = &str> {
        self.values(PROTOCOL)
            .flat_map(motews::handshake::subprotocols)
            .map(|name| name.as_str())
    }
}

/// The answer to a [`Request`].
///
/// ```
/// use motews_std::{Request, Response};
///
/// fn answer(request: &Request) -> Response {
///     match request.path() {
///         "/chat" if request.is_websocket() => Response::accepted(),
///         "/chat" => Response::new(200)
///             .header("Content-Type", "text/html")
///             .body("<script>socket = new WebSocket(location)</script>"),
///         _ => Response::new(404),
///     }
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// 101 accepts.
    pub(crate) status: u16,
    pub(crate) subprotocol: Option<String>,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Response {
    /// Accepts the WebSocket. A request for none is answered with 426 then (Upgrade Required).
    #[must_use]
    pub const fn accepted() -> Self {
        Self::new(101)
    }

    /// Refuses the WebSocket, or answers an ordinary request, with an HTTP status in 200..=999.
    #[must_use]
    pub const fn new(status: u16) -> Self {
        Self {
            status,
            subprotocol: None,
            headers: Vec::new(),
            body: Vec::new(),
        }
    }

    /// The subprotocol of the connection: one of those that the client offers (§4.2.2), which
    /// [`Request::subprotocols`] has. If the client does not offer it, the request is answered with
    /// 400, whose body says so, and fails with
    /// [`ConfigError::NotOffered`](crate::ConfigError::NotOffered).
    ///
    /// Without this call, it is the first of the configured ones that the client offers, if there is
    /// one.
    #[must_use]
    pub fn subprotocol(mut self, name: impl Into<String>) -> Self {
        self.subprotocol = Some(name.into());
        self
    }

    /// Adds a header. `Content-Length` and those of the opening handshake are there already.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// The body of a response that does not accept.
    #[must_use]
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }
}

/// A request that is being read.
pub(crate) struct Reading {
    handshake: ServerHandshake<Vec<u8>>,
    pub(crate) request: Request,
    /// What was agreed upon in the answer that accepts.
    pub(crate) agreed: Option<Agreed>,
}

/// What was answered.
pub(crate) enum Answer {
    /// The WebSocket is open, with this subprotocol.
    Accept(Option<String>),
    /// It is not, and nothing comes after the response.
    Last(AcceptError),
}

/// What the head of a request has come to.
pub(crate) type Head = Result<Upgrade, HandshakeError>;

impl Reading {
    pub(crate) fn new(config: &Handshake) -> Self {
        Self {
            handshake: ServerHandshake::with_limits(config.line(), config.limits),
            request: Request {
                method: String::new(),
                target: String::new(),
                headers: Vec::new(),
                websocket: false,
                address: None,
            },
            agreed: None,
        }
    }

    /// Takes events until the head ends; `None` wants more input.
    pub(crate) fn read(&mut self, input: &mut &[u8], config: &Handshake) -> Option<Head> {
        config.with_offers(|offers| self.read_with(input, offers))
    }

    fn read_with(&mut self, input: &mut &[u8], offers: &Offers<'_>) -> Option<Head> {
        let request = &mut self.request;
        loop {
            match self.handshake.next_event(input, offers) {
                Ok(None) => return None,
                Ok(Some(RequestEvent::RequestLine { method, target, .. })) => {
                    method.as_str().clone_into(&mut request.method);
                    target.as_str().clone_into(&mut request.target);
                }
                Ok(Some(RequestEvent::Header(part))) => {
                    let headers = &mut request.headers;
                    collect(headers, &part.name, part.value, part.first);
                }
                Ok(Some(RequestEvent::Done(upgrade))) => return Some(Ok(upgrade)),
                Ok(Some(_)) => {}
                Err(error) => return Some(Err(error)),
            }
        }
    }

    /// Writes the response to `out`, as `callback` decides it.
    pub(crate) fn answer(
        &mut self,
        head: Head,
        mut callback: impl FnMut(&Request) -> Response,
        config: &Handshake,
        out: &mut Vec<u8>,
    ) -> Answer {
        let request = &mut self.request;
        let is_head = self.handshake.is_head();
        match head {
            Ok(upgrade) => {
                request.websocket = true;
                let response = callback(request);
                self.agreed = Some(upgrade.agreed());
                match response.status {
                    101 => accept(&upgrade, request, response, config, out),
                    _ => answer(is_head, &response, out),
                }
            }
            // Seen by the application, so that it can serve plain HTTP here as well.
            Err(error @ HandshakeError::NotUpgrade) => {
                let response = callback(request);
                match response.status {
                    101 => refuse(error, is_head, out),
                    _ => answer(is_head, &response, out),
                }
            }
            Err(error) => refuse(error, is_head, out),
        }
    }
}

/// Writes the response that accepts a correct request.
fn accept(
    upgrade: &Upgrade,
    request: &Request,
    response: Response,
    config: &Handshake,
    out: &mut Vec<u8>,
) -> Answer {
    let chosen = response.subprotocol.as_deref();
    let headers = [config.headers.as_slice(), &response.headers].concat();
    let headers = pairs(&headers);
    let accepted = config.with_offers(|offers| {
        let mut answer = upgrade.answer(offers).headers(&headers)?;
        if chosen.is_some() {
            answer = answer.select_subprotocol(chosen, request.values(PROTOCOL))?;
        }
        let subprotocol = answer.subprotocol().map(str::to_owned);
        let head = written(|offset, piece| upgrade.emit_from(offset, piece, &answer));
        Ok((head, subprotocol))
    });
    match accepted {
        Ok((head, subprotocol)) => {
            *out = head;
            Answer::Accept(subprotocol)
        }
        Err(error) => broken(error, out),
    }
}

/// Writes the application's own response.
fn answer(is_head: bool, response: &Response, out: &mut Vec<u8>) -> Answer {
    let headers = pairs(&response.headers);
    let status = StatusCode::from_u16(response.status);
    let reason = status.ok().and_then(|status| status.canonical_reason());
    let head = motews::handshake::Response::new(response.status)
        .and_then(|head| head.reason(reason.unwrap_or_default()))
        .and_then(|head| head.headers(&headers));
    match head {
        Ok(head) => {
            let head = head.body(&response.body).head(is_head);
            *out = written(|offset, piece| head.emit_from(offset, piece));
            Answer::Last(AcceptError::Answered(response.status))
        }
        Err(error) => broken(error, out),
    }
}

/// Writes the response to an incorrect request.
// [HS01] [HS20]
fn refuse(error: HandshakeError, is_head: bool, out: &mut Vec<u8>) -> Answer {
    let response = error.response().head(is_head);
    *out = written(|offset, piece| response.emit_from(offset, piece));
    Answer::Last(AcceptError::Handshake(error))
}

/// The application's response cannot be written.
fn broken(error: ConfigError, out: &mut Vec<u8>) -> Answer {
    let response = error.response();
    *out = written(|offset, piece| response.emit_from(offset, piece));
    Answer::Last(AcceptError::Config(error))
}
