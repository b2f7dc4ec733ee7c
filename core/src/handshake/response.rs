//! HTTP responses that do not accept.

use super::head::{
    ACCEPT, CONNECTION, CONTENT_LENGTH, FIELDS, Set, TRANSFER_ENCODING, VERSION, Writer,
    check_headers, element, is_value,
};
use super::{ConfigError, HandshakeError};

/// The headers that a [`Response`] may not be given.
const RESERVED: Set = CONNECTION | CONTENT_LENGTH | TRANSFER_ENCODING | ACCEPT;

/// An HTTP response that is not the upgrade: a refusal, or a page for a request that asked
/// for no more. The connection ends after it: it says `Connection: close`.
///
/// ```
/// use motews::handshake::Response;
///
/// let response = Response::new(403)?.reason("Forbidden")?.body(b"Not from this origin\n");
/// let mut out = [0; 128];
/// let len = response.emit_from(0, &mut out);
/// assert_eq!(
///     core::str::from_utf8(&out[..len]),
///     Ok("HTTP/1.1 403 Forbidden\r\n\
///         Connection: close\r\n\
///         Content-Length: 21\r\n\
///         \r\n\
///         Not from this origin\n"),
/// );
/// # Ok::<(), motews::handshake::ConfigError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Response<'a> {
    status: u16,
    reason: &'a [u8],
    headers: &'a [(&'a str, &'a str)],
    body: &'a [u8],
    is_head: bool,
    /// It says which version is spoken here.
    says_version: bool,
}

impl<'a> Response<'a> {
    /// A response with this status, without a reason phrase, further headers, or a body.
    ///
    /// # Errors
    /// [`ConfigError::Status`] if it is not in 200..=999: below are no final responses.
    pub const fn new(status: u16) -> Result<Self, ConfigError> {
        // 403 for an origin, 404 for a resource, 401 for want of credentials [HS10] [HS11]
        match status {
            200..=999 => Ok(Self {
                status,
                reason: &[],
                headers: &[],
                body: &[],
                is_head: false,
                says_version: false,
            }),
            _ => Err(ConfigError::Status),
        }
    }

    /// Returns the status.
    #[must_use]
    pub const fn status(&self) -> u16 {
        self.status
    }

    /// The words after the status, for human readers.
    ///
    /// # Errors
    /// [`ConfigError::HeaderValue`] if there is a control character in it.
    pub fn reason(self, reason: &'a str) -> Result<Self, ConfigError> {
        match is_value(reason) {
            true => Ok(Self {
                reason: reason.as_bytes(),
                ..self
            }),
            false => Err(ConfigError::HeaderValue),
        }
    }

    /// Adds headers, as pairs of name and value.
    ///
    /// # Errors
    /// A name that is no token, a value with a control character, or one of `Connection`,
    /// `Content-Length`, `Transfer-Encoding` and `Sec-WebSocket-Accept`.
    pub fn headers(self, headers: &'a [(&'a str, &'a str)]) -> Result<Self, ConfigError> {
        check_headers(headers, RESERVED)?;
        Ok(Self { headers, ..self })
    }

    /// The body. `Content-Type` is a header like others: add it. The statuses 204 and 304 have no
    /// body, nor has an answer to [HEAD](Self::head): it is left out.
    #[must_use]
    pub const fn body(self, body: &'a [u8]) -> Self {
        Self { body, ..self }
    }

    /// Answers a HEAD request: the length of the body is there, the body is not. `is_head` is
    /// [`ServerHandshake::is_head`](super::ServerHandshake::is_head).
    #[must_use]
    pub const fn head(self, is_head: bool) -> Self {
        Self { is_head, ..self }
    }

    /// Whether it answers a HEAD request.
    #[must_use]
    pub const fn is_head(&self) -> bool {
        self.is_head
    }

    /// Writes the response from its byte `offset` on into `out`, as much as there is room for, and
    /// returns how many bytes that was: 0 once all is written. Any `out` will do, even one byte.
    pub fn emit_from(&self, offset: usize, out: &mut [u8]) -> usize {
        let mut writer = Writer::new(offset, out);
        writer.put(b"HTTP/1.1 ");
        writer.decimal(usize::from(self.status));
        writer.put(b" ");
        writer.put(self.reason);
        writer.headers(self.headers);
        if self.says_version {
            writer.upgrade();
            writer.field(VERSION, b"13");
        }
        writer.field(CONNECTION, b"close");
        // RFC 9110 §6.4.1, §8.6, §9.3.2: these end with their head [HT12]
        let mut body = self.body;
        if matches!(self.status, 204 | 304) {
            body = &[];
        } else {
            writer.field(CONTENT_LENGTH, &[]);
            writer.decimal(body.len());
            if self.is_head {
                body = &[];
            }
        }
        writer.end();
        writer.put(body);
        writer.written()
    }
}

impl HandshakeError {
    /// The index in [`FIELDS`] of what is wrong with a request that gets a 400. [HT11]
    const fn field(self) -> usize {
        match self {
            Self::Upgrade => 0,
            Self::Method => 1,
            Self::HttpVersion => 2,
            Self::Target => 3,
            Self::Host => 4,
            Self::Body => 5,
            Self::Connection => 6,
            Self::Version => 7,
            Self::UnsupportedVersion => 8,
            Self::Key => 9,
            Self::Accept => 10,
            Self::Subprotocol => 11,
            Self::Extensions => 12,
            Self::StartLine => 13,
            Self::HeaderName => 14,
            Self::ControlCharacter => 15,
            _ => 16,
        }
    }

    /// The response that tells the client what was wrong (§4.2.1, §4.2.2, §10.7): the fitting
    /// status. A 400 has a short body that names what is wrong, and a 426 the version that is spoken
    /// here (§4.4).
    #[must_use]
    pub fn response(self) -> Response<'static> {
        // [HS09] [HS20]
        let status = self.status();
        let kind = match status {
            400 => 0,
            414 => 1,
            426 => 2,
            _ => 3,
        };
        let body = match status {
            400 => element(FIELDS, self.field()),
            _ => &[],
        };
        Response {
            status,
            reason: element(REASONS, kind),
            headers: &[],
            body,
            is_head: false,
            says_version: status == 426,
        }
    }
}

impl ConfigError {
    /// The response that a server sends if its application's own cannot be sent, because this is wrong
    /// with it: 400 with a short body if the client does not offer what was chosen, and 500 otherwise.
    #[must_use]
    pub const fn response(self) -> Response<'static> {
        let (status, reason, body): (_, &'static [u8], &'static [u8]) = match self {
            Self::NotOffered => (
                400,
                b"Bad Request",
                b"The client does not offer the subprotocol that this server wants here.\n",
            ),
            _ => (500, b"Internal Server Error", b""),
        };
        Response {
            status,
            reason,
            headers: &[],
            body,
            is_head: false,
            says_version: false,
        }
    }
}

/// The words for 400, 414, 426 and 431.
static REASONS: &[u8] =
    b"Bad Request,URI Too Long,Upgrade Required,Request Header Fields Too Large";
