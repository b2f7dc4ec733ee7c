//! What a server sees of a client's request, and what it answers.

use core::net::SocketAddr;

use motews::handshake::path_and_query;

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
        self.values("Sec-WebSocket-Protocol")
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
///         "/chat" if request.is_websocket() => Response::accept(),
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
    pub const fn accept() -> Self {
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

/// The usual words for a status, for people who read along.
pub(crate) const fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        204 => "No Content",
        301 => "Moved Permanently",
        302 => "Found",
        303 => "See Other",
        304 => "Not Modified",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        410 => "Gone",
        426 => "Upgrade Required",
        429 => "Too Many Requests",
        500 => "Internal Server Error",
        503 => "Service Unavailable",
        _ => "",
    }
}
