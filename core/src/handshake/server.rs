//! The server's side: reads the client's request, writes the response (RFC 6455 §4.2).

use super::accept::{self, Accept, Key};
use super::head::{
    self, ACCEPT, CONNECTION, CONTENT_LENGTH, EXTENSIONS, HOST, HTTP_VERSION, Head, HeadConfig,
    HeadEvent, Header, Judge, KEY, METHOD, OTHER_VERSION, PROTOCOL, Set, TARGET, TRANSFER_ENCODING,
    UPGRADE, VERSION, Writer, check_headers, is_value,
};
use super::tokens::{Ascii, Extensions, List, is_token, split};
use super::{ConfigError, HandshakeError};

/// Reads a client's opening handshake (§4.2.1): bytes in, events out.
///
/// `B` is the buffer, an array or a slice. It holds one line at a time, so its size bounds the
/// request line (method, target and version; the target has no other limit), and each header's name
/// together with a value that the protocol needs whole (`Sec-WebSocket-Key`: 41 bytes). Other values
/// may be of any length: see [`Header`]. 128 bytes serve most firmware, 1 KiB most sites.
///
/// There is no clock in here: whoever owns the connection limits the time that a client may take
/// (see [`deadline`](crate::deadline)).
///
/// See [the module](super) for an example.
#[derive(Clone, Debug)]
pub struct ServerHandshake<'p, B> {
    buffer: B,
    head: Head,
    judge: Requirements<'p>,
}

impl<'p, B: AsMut<[u8]>> ServerHandshake<'p, B> {
    /// A handshake with the default limits.
    pub fn new(buffer: B) -> Self {
        Self::with_config(buffer, HeadConfig::default())
    }

    /// A handshake with other limits.
    pub const fn with_config(buffer: B, config: HeadConfig) -> Self {
        Self {
            buffer,
            head: Head::new(config),
            judge: Requirements::new(),
        }
    }

    /// The subprotocols that the server speaks, the one it likes best first (§1.9). At most 32: any
    /// beyond are never chosen. Without them the response names no subprotocol, unless
    /// [`Upgrade::select_subprotocol`] does.
    #[must_use]
    pub const fn subprotocols(mut self, subprotocols: &'p [&'p str]) -> Self {
        self.judge.subprotocols = subprotocols;
        self
    }

    /// Takes bytes from `input` up to the next event. `None` wants more input; after
    /// [`RequestEvent::Done`] nothing more is taken, and what is left in `input` are the client's
    /// first frames.
    ///
    /// # Errors
    /// What is wrong with the request. Faults of syntax come at once; all others come where the head
    /// ends, so that every header was seen. So [`HandshakeError::NotUpgrade`] is an ordinary HTTP
    /// request, which can be answered as such. The same error comes from every later call.
    pub fn next_event(
        &mut self,
        input: &mut &[u8],
    ) -> Result<Option<RequestEvent<'_, 'p>>, HandshakeError> {
        self.step(input)?;
        Ok(self.event())
    }

    /// The first half of [`next_event`](Self::next_event): tells whether there is an event, without
    /// a borrow, so that an adapter can go round its read loop before it lends the event to its
    /// caller.
    ///
    /// # Errors
    /// As [`next_event`](Self::next_event).
    pub fn step(&mut self, input: &mut &[u8]) -> Result<bool, HandshakeError> {
        self.head.step(self.buffer.as_mut(), input, &mut self.judge)
    }

    /// Whether the head was read to its end, and was correct: [`RequestEvent::Done`] has been told.
    #[must_use]
    pub const fn is_done(&self) -> bool {
        self.head.is_done()
    }

    /// The second half: the event that the last [`step`](Self::step) came to, if there is one.
    pub fn event(&mut self) -> Option<RequestEvent<'_, 'p>> {
        self.judge.event(&self.head, self.buffer.as_mut())
    }
}

impl<'p> ServerHandshake<'p, [u8; 0]> {
    /// The same with a buffer that is lent to each call, for an adapter whose transmit buffer is
    /// idle until then. It must be the same one each time, left as it is in between.
    ///
    /// # Errors
    /// As [`next_event`](Self::next_event).
    pub fn next_event_in<'b>(
        &mut self,
        buffer: &'b mut [u8],
        input: &mut &[u8],
    ) -> Result<Option<RequestEvent<'b, 'p>>, HandshakeError> {
        self.head.step(buffer, input, &mut self.judge)?;
        Ok(self.judge.event(&self.head, buffer))
    }
}

/// What [`ServerHandshake::next_event`] has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum RequestEvent<'a, 'p> {
    /// The request line: the first event.
    RequestLine {
        /// The method. An upgrade has `GET`.
        method: Ascii<'a>,
        /// The target as the client wrote it, in visible ASCII: `/chat?room=1`, or with scheme and
        /// authority before. [`resource_name`] takes those off.
        target: Ascii<'a>,
        /// The HTTP version, major and minor.
        version: (u8, u8),
    },
    /// A header, or a part of one. §4.2.2: `Origin`, `Authorization` and `Cookie` are for the
    /// application to judge, before it accepts.
    Header(Header<'a>),
    /// The request is a correct opening handshake. Accept it with [`Upgrade::emit_from`], or refuse
    /// it with a [`Response`].
    Done(Upgrade<'p>),
}

/// The headers that a request may have once only.
const SINGLE: Set = HOST | KEY | VERSION;
/// The headers that a request must have.
const REQUIRED: Set = HOST | KEY | VERSION | UPGRADE | CONNECTION;

/// The headers with lists in which letters' case is nothing.
const ANY_CASE: Set = UPGRADE | CONNECTION;
/// The headers that a [`Response`] may not be given.
const RESERVED: Set = CONNECTION | CONTENT_LENGTH | TRANSFER_ENCODING | ACCEPT;

#[derive(Clone, Debug)]
struct Requirements<'p> {
    subprotocols: &'p [&'p str],
    /// The header being read.
    field: Set,
    /// Reads its value.
    list: List,
    /// The headers that were seen.
    seen: Set,
    /// What is missing or wrong.
    wrong: Set,
    /// A bit for each subprotocol that was offered.
    offered: u32,
    key: Key,
}

impl Judge for Requirements<'_> {
    fn start_line(&mut self, line: &[u8]) -> Result<(), HandshakeError> {
        let (method, target, version) = request_line(line).ok_or(HandshakeError::StartLine)?;
        // RFC 6455 §4.2.1: GET, HTTP/1.1 or higher [HS02]
        if method != b"GET" {
            self.wrong |= METHOD;
        }
        if version < (1, 1) {
            self.wrong |= HTTP_VERSION;
        }
        // RFC 6455 §4.2.1: a path, or an absolute HTTP URI, both without a fragment [HS03]
        let is_path = target.starts_with(b"/") || authority_and_path(target).is_some();
        if !is_path || split(target, b'#').1.is_some() {
            self.wrong |= TARGET;
        }
        Ok(())
    }

    fn header(&mut self, header: &Header<'_>) -> Result<(), HandshakeError> {
        if header.first {
            self.field = head::field(header.name.as_bytes());
            if SINGLE & self.seen & self.field != 0 {
                self.wrong |= self.field; // once only [HS04] [HS07] [HS08]
            } else {
                self.wrong &= !(SINGLE & self.field);
            }
            self.seen |= self.field;
            self.list = List::new(self.field == EXTENSIONS);
        }
        let value = header.value;
        match self.field {
            KEY | VERSION | CONTENT_LENGTH if !header.is_whole() => {
                return Err(HandshakeError::HeaderTooLong);
            }
            KEY => match accept::parse_key(value) {
                Some(key) => self.key = *key,
                None => self.wrong |= KEY, // [HS07]
            },
            VERSION if value != b"13" => self.wrong |= OTHER_VERSION, // [HS08]
            // A body would be taken for frames, or the frames for a body [HS23]
            CONTENT_LENGTH if value != b"0" => self.wrong |= CONTENT_LENGTH,
            TRANSFER_ENCODING => self.wrong |= TRANSFER_ENCODING,
            UPGRADE => self.list_part(header, &["websocket"]), // [HS05]
            CONNECTION => self.list_part(header, &["upgrade"]), // [HS06]
            PROTOCOL => self.list_part(header, self.subprotocols),
            EXTENSIONS => self.list_part(header, &[]),
            _ => {}
        }
        Ok(())
    }

    fn end(&self) -> Result<bool, HandshakeError> {
        const ERRORS: [(Set, HandshakeError); 12] = [
            (UPGRADE, HandshakeError::NotUpgrade),
            (METHOD, HandshakeError::Method),
            (HTTP_VERSION, HandshakeError::HttpVersion),
            (TARGET, HandshakeError::Target),
            (HOST, HandshakeError::Host),
            (CONTENT_LENGTH | TRANSFER_ENCODING, HandshakeError::Body),
            (CONNECTION, HandshakeError::Connection),
            (VERSION, HandshakeError::Version),
            (OTHER_VERSION, HandshakeError::UnsupportedVersion),
            (KEY, HandshakeError::Key),
            (PROTOCOL, HandshakeError::Subprotocol),
            (EXTENSIONS, HandshakeError::Extensions),
        ];
        head::check(self.wrong, &ERRORS)?; // [HS01]
        Ok(true)
    }
}

impl<'p> Requirements<'p> {
    const fn new() -> Self {
        Self {
            subprotocols: &[],
            field: 0,
            list: List::new(false),
            seen: 0,
            wrong: REQUIRED,
            offered: 0,
            key: [0; 24],
        }
    }

    /// A part of a list. Lists may be spread over several header lines [HS16].
    fn list_part(&mut self, header: &Header<'_>, candidates: &[&str]) {
        let any_case = self.field & ANY_CASE != 0;
        for byte in header.value {
            let lower = byte.to_ascii_lowercase();
            self.list
                .push(if any_case { lower } else { *byte }, candidates);
        }
        if !header.last {
            return;
        }
        self.list.end_element(candidates);
        if any_case {
            // RFC 2616 §2.1 allows empty elements, and others are not ours to judge
            if self.list.found != 0 {
                self.wrong &= !self.field;
            }
        } else {
            self.offered |= self.list.found;
            // RFC 6455 §4.3, §9.1: no empty element, nothing but tokens and parameters [HS17]
            if self.list.malformed {
                self.wrong |= self.field;
            }
        }
    }

    /// What the head has come to.
    fn event<'b>(&self, head: &Head, buffer: &'b [u8]) -> Option<RequestEvent<'b, 'p>> {
        Some(match head.event()? {
            HeadEvent::StartLine => {
                let (method, target, version) = request_line(head.line(buffer))?;
                RequestEvent::RequestLine {
                    method: Ascii::new(method),
                    target: Ascii::new(target),
                    version,
                }
            }
            // Every one is seen before the application accepts [HS10] [HS12] [EX05]
            HeadEvent::Header { last } => RequestEvent::Header(head.header(buffer, last)),
            HeadEvent::End => RequestEvent::Done(self.upgrade()),
        })
    }

    fn upgrade(&self) -> Upgrade<'p> {
        // The server's first choice among those offered, or none [HS14]
        let first = match self.offered {
            0 => None,
            offered => self.subprotocols.get(offered.trailing_zeros() as usize),
        };
        Upgrade {
            accept: accept::accept(&self.key),
            seen: self.seen,
            subprotocol: first.copied(),
            extensions: None,
            headers: &[],
        }
    }
}

/// A method, a target and a HTTP version.
type RequestLine<'a> = (&'a [u8], &'a [u8], (u8, u8));

/// What is in a request line, if it is one.
fn request_line(line: &[u8]) -> Option<RequestLine<'_>> {
    let (method, rest) = split(line, b' ');
    let (target, version) = split(rest?, b' ');
    let version = head::http_version(version?)?;
    let is_target = !target.is_empty() && target.iter().all(u8::is_ascii_graphic);
    (is_token(method) && is_target).then_some((method, target, version))
}

/// What follows `http://` or `https://`, if there is a host.
fn authority_and_path(target: &[u8]) -> Option<&[u8]> {
    let (scheme, rest) = split(target, b':');
    let rest = rest?.strip_prefix(b"//")?;
    let is_http = scheme.eq_ignore_ascii_case(b"http") || scheme.eq_ignore_ascii_case(b"https");
    (is_http && !matches!(rest, [] | [b'/' | b'?', ..])).then_some(rest)
}

/// The resource name in a request's target (§3): path and query, without scheme and authority.
///
/// ```
/// use motews::handshake::resource_name;
///
/// assert_eq!(resource_name("/chat?room=1"), "/chat?room=1");
/// assert_eq!(resource_name("http://example.com/chat?room=1"), "/chat?room=1");
/// assert_eq!(resource_name("http://example.com"), "/");
/// ```
#[must_use]
pub fn resource_name(target: &str) -> &str {
    let Some(rest) = authority_and_path(target.as_bytes()) else {
        return target;
    };
    let Some(path) = rest.iter().position(|byte| matches!(byte, b'/' | b'?')) else {
        return "/";
    };
    let before = target.len().wrapping_sub(rest.len());
    target.get(before.wrapping_add(path)..).unwrap_or_default()
}

/// A correct request to upgrade, and the response that accepts it (§4.2.2).
///
/// The response is written by [`Upgrade::emit_from`]. Write no frames before it.
///
/// ```
/// # use motews::handshake::{ConfigError, Upgrade};
/// # fn f(upgrade: Upgrade<'_>, out: &mut [u8]) -> Result<usize, ConfigError> {
/// let response = upgrade.headers(&[("Set-Cookie", "session=1; HttpOnly")])?;
/// let written = response.emit_from(0, out);
/// # Ok(written) }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Upgrade<'p> {
    accept: Accept,
    seen: Set,
    subprotocol: Option<&'p str>,
    extensions: Option<&'p str>,
    headers: &'p [(&'p str, &'p str)],
}

impl<'p> Upgrade<'p> {
    /// The subprotocol of this connection: the first of the server's that the client offered, or
    /// what [`Upgrade::select_subprotocol`] said.
    #[must_use]
    pub const fn subprotocol(&self) -> Option<&'p str> {
        self.subprotocol
    }

    /// Answers with this subprotocol, or with none. For an application that judged the
    /// `Sec-WebSocket-Protocol` headers itself: it must be one that they offer.
    ///
    /// # Errors
    /// [`ConfigError::Subprotocol`] if it is no token, [`ConfigError::NotOffered`] if the client
    /// offered no subprotocol at all.
    pub fn select_subprotocol(self, subprotocol: Option<&'p str>) -> Result<Self, ConfigError> {
        // RFC 6455 §4.2.2: a token that was offered [HS14]
        if let Some(name) = subprotocol {
            if self.seen & PROTOCOL == 0 {
                return Err(ConfigError::NotOffered);
            }
            if !is_token(name.as_bytes()) {
                return Err(ConfigError::Subprotocol);
            }
        }
        Ok(Self {
            subprotocol,
            ..self
        })
    }

    /// Answers with these extensions, each of which the client must have offered in its
    /// `Sec-WebSocket-Extensions` headers (§9.1). Read those with [`Extensions`].
    ///
    /// # Errors
    /// [`ConfigError::Extensions`] if it is no list of extensions, [`ConfigError::NotOffered`] if
    /// the client offered none at all.
    pub fn extensions(self, extensions: &'p str) -> Result<Self, ConfigError> {
        // RFC 6455 §9.1: nothing that was not offered [HS15]
        if self.seen & EXTENSIONS == 0 {
            return Err(ConfigError::NotOffered);
        }
        if Extensions::parse(extensions.as_bytes()).any(|extension| extension.is_err()) {
            return Err(ConfigError::Extensions);
        }
        Ok(Self {
            extensions: Some(extensions),
            ..self
        })
    }

    /// Adds headers to the response, as pairs of name and value.
    ///
    /// # Errors
    /// A name that is no token, a value with a control character, or a header that has a meaning
    /// for the handshake itself.
    pub fn headers(self, headers: &'p [(&'p str, &'p str)]) -> Result<Self, ConfigError> {
        check_headers(headers, !0)?;
        Ok(Self { headers, ..self })
    }

    /// Writes the response from its byte `offset` on into `out`, as much as there is room for, and
    /// returns how many bytes that was: 0 once all is written. Any `out` will do, even one byte.
    ///
    /// The client may be sent frames after it, and is then a [`Connection`](crate::Connection).
    pub fn emit_from(&self, offset: usize, out: &mut [u8]) -> usize {
        let mut writer = Writer::new(offset, out);
        // [HS13]
        writer.put(
            b"HTTP/1.1 101 Switching Protocols\r\n\
            Upgrade: websocket\r\n\
            Connection: Upgrade\r\n\
            Sec-WebSocket-Accept: ",
        );
        writer.put(&self.accept);
        if let Some(subprotocol) = self.subprotocol {
            writer.header("Sec-WebSocket-Protocol", subprotocol.as_bytes());
        }
        if let Some(extensions) = self.extensions {
            writer.header("Sec-WebSocket-Extensions", extensions.as_bytes());
        }
        writer.headers(self.headers);
        writer.end();
        writer.written()
    }
}

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
    reason: &'a str,
    headers: &'a [(&'a str, &'a str)],
    body: &'a [u8],
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
                reason: "",
                headers: &[],
                body: &[],
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
            true => Ok(Self { reason, ..self }),
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
    /// body: it is left out.
    #[must_use]
    pub const fn body(self, body: &'a [u8]) -> Self {
        Self { body, ..self }
    }

    /// Writes the response from its byte `offset` on into `out`, as much as there is room for, and
    /// returns how many bytes that was: 0 once all is written. Any `out` will do, even one byte.
    pub fn emit_from(&self, offset: usize, out: &mut [u8]) -> usize {
        let mut writer = Writer::new(offset, out);
        writer.put(b"HTTP/1.1 ");
        let mut digits = [0; 20];
        writer.put(decimal(usize::from(self.status), &mut digits));
        writer.put(b" ");
        writer.put(self.reason.as_bytes());
        writer.headers(self.headers);
        writer.put(b"\r\nConnection: close");
        // RFC 9110 §6.4.1, §8.6: these end with their head
        if matches!(self.status, 204 | 304) {
            writer.end();
            return writer.written();
        }
        writer.header("Content-Length", decimal(self.body.len(), &mut digits));
        writer.end();
        writer.put(self.body);
        writer.written()
    }
}

/// `number` in decimal digits.
fn decimal(mut number: usize, digits: &mut [u8; 20]) -> &[u8] {
    let mut start = digits.len();
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
        start = start.wrapping_sub(1);
        if number == 0 {
            break;
        }
    }
    digits.get(start..).unwrap_or_default()
}

impl HandshakeError {
    /// The response that tells the client what was wrong (§4.2.1, §4.2.2, §10.7): the fitting
    /// status, and for a version that is not spoken here the one that is (§4.4).
    #[must_use]
    pub const fn response(self) -> Response<'static> {
        // [HS09] [HS20]
        let status = self.status();
        let (reason, headers): (_, &[_]) = match status {
            414 => ("URI Too Long", &[]),
            426 => (
                "Upgrade Required",
                &[
                    ("Upgrade", "websocket"),
                    ("Connection", "Upgrade"),
                    ("Sec-WebSocket-Version", "13"),
                ],
            ),
            431 => ("Request Header Fields Too Large", &[]),
            _ => ("Bad Request", &[]),
        };
        Response {
            status,
            reason,
            headers,
            body: &[],
        }
    }
}
