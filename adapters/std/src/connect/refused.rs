//! What a server answered in place of a WebSocket.

use core::fmt;

use motews_net::http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode};
use motews_net::{Body, BodyError, Framing, RedirectError};

/// How much of the body of a refusal is kept, in bytes.
const MAX_BODY: usize = 16 * 1024;

/// An HTTP response instead of a WebSocket (RFC 6455 §4.1).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Refused {
    /// The status: 301, 401, 200 ...
    pub status: StatusCode,
    /// The headers: `Location`, `WWW-Authenticate` ...
    pub headers: HeaderMap,
    /// The body, decoded if it came in chunks: at most 16 KiB of it, and no more than came within
    /// 3 seconds.
    pub body: Vec<u8>,
    /// Whether the body is whole.
    pub is_whole: bool,
    /// Why the response is not followed, if it is a redirect and
    /// [`Connector::redirects`](crate::Connector::redirects) allows any.
    pub redirect: Option<RedirectError>,
}

impl Refused {
    /// The value of a header, if it is there and text. Names are compared in any case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        core::str::from_utf8(self.headers.get(name)?.as_bytes()).ok()
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let status = self.status.as_u16();
        match (status, self.header("Location")) {
            (200..=299, _) => write!(
                f,
                "this is not a WebSocket, but an ordinary page: the status is {status}"
            )?,
            (_, Some(location)) => {
                write!(f, "the server answered {status} and points to {location}")?;
            }
            _ => write!(f, "the server refused with the status {status}")?,
        }
        match self.redirect {
            Some(error) => write!(f, ": {error}"),
            None => Ok(()),
        }
    }
}

impl core::error::Error for Refused {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match &self.redirect {
            Some(error) => Some(error),
            None => None,
        }
    }
}

/// A head as the `http` crate has it.
pub(crate) fn response_head(status: u16, headers: &[(String, Vec<u8>)]) -> Response<()> {
    let mut response = Response::new(());
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or_default();
    for (name, value) in headers {
        let name = HeaderName::from_bytes(name.as_bytes());
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_bytes(value)) {
            // It has room for 32,768.
            let _ = response.headers_mut().try_append(name, value);
        }
    }
    response
}

/// A refusal whose body is being read.
pub(crate) struct Refusal {
    refused: Refused,
    body: Result<Body, BodyError>,
}

impl Refusal {
    pub(crate) fn new(head: Response<()>, redirect: Option<RedirectError>) -> Self {
        let (head, ()) = head.into_parts();
        let framing = Framing::of_response(&Method::GET, head.status, &head.headers);
        Self {
            refused: Refused {
                status: head.status,
                headers: head.headers,
                body: Vec::new(),
                is_whole: false,
                redirect,
            },
            body: framing.map(|framing| Body::new(framing, MAX_BODY)),
        }
    }

    /// Takes a part of the body. Returns true if no more is wanted.
    pub(crate) fn receive(&mut self, input: &mut &[u8]) -> bool {
        let Ok(body) = &mut self.body else {
            return true;
        };
        loop {
            match body.next_content(input) {
                Ok(Some(content)) => self.refused.body.extend_from_slice(content),
                Ok(None) => return body.is_complete(),
                Err(_) => return true,
            }
        }
    }

    /// Nothing more comes, at the end of the connection if `ended`.
    pub(crate) fn finish(self, ended: bool) -> Refused {
        let is_whole = self.body.is_ok_and(|mut body| {
            let complete = body.is_complete() || ended && body.receive_eof().is_ok();
            complete && !body.is_truncated()
        });
        Refused {
            is_whole,
            ..self.refused
        }
    }
}
