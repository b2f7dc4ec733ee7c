//! The client's side: writes the request, reads the server's response (RFC 6455 §4.1).

use super::accept::{self, Accept, Key};
use super::head::{
    self, ACCEPT, CONNECTION, EXTENSIONS, HTTP_VERSION, Head, HeadConfig, HeadEvent, Header, Judge,
    PROTOCOL, Set, UPGRADE, Writer, check_headers, is_value,
};
use super::tokens::{Extension, Extensions, List, is_token};
use super::{ConfigError, HandshakeError};
use crate::role::Entropy;

/// A client's opening handshake (§4.1): says what to ask for, and writes it.
///
/// See [the module](super) for an example.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Request<'a> {
    key: Key,
    host: &'a str,
    target: &'a str,
    origin: Option<&'a str>,
    subprotocols: &'a [&'a str],
    extensions: &'a [&'a str],
    headers: &'a [(&'a str, &'a str)],
}

impl<'a> Request<'a> {
    /// A request for `target` at `host`, with a new nonce from `entropy`: make one for each
    /// connection.
    ///
    /// `host` goes into the `Host` header as it is: a name or an address, an IPv6 address in
    /// brackets, then `:port` only if the port is not the scheme's own, 80 or 443.
    ///
    /// `target` is the resource name of §3: an absolute path, with `?` and a query if there is one,
    /// in ASCII and without a fragment; other characters stand as `%XX`.
    ///
    /// # Errors
    /// [`ConfigError::Host`], [`ConfigError::Target`] if they are not so, and
    /// [`ConfigError::Entropy`] if no nonce could be had.
    pub fn new(
        host: &'a str,
        target: &'a str,
        entropy: &mut impl Entropy,
    ) -> Result<Self, ConfigError> {
        // RFC 6455 §4.1: 16 random bytes, new for each connection [HC09]
        let mut nonce = [0; 16];
        entropy.fill(&mut nonce)?;
        Self::with_nonce(host, target, &nonce)
    }

    fn with_nonce(host: &'a str, target: &'a str, nonce: &[u8; 16]) -> Result<Self, ConfigError> {
        // RFC 6455 §4.1: nothing that is no part of a valid URI [HC02] [HC07] [HC24]
        let is_host = |byte| matches!(byte, b'!'..=b'~') && !b"#/?@\\".contains(&byte);
        if host.is_empty() || !host.bytes().all(is_host) {
            return Err(ConfigError::Host);
        }
        // RFC 6455 §3: an absolute path and a query, without a fragment [HC01] [HC02] [HC24]
        let is_target = |byte| matches!(byte, b'!'..=b'~') && byte != b'#';
        if !target.starts_with('/') || !target.bytes().all(is_target) {
            return Err(ConfigError::Target);
        }
        Ok(Self {
            key: accept::key(nonce),
            host,
            target,
            origin: None,
            subprotocols: &[],
            extensions: &[],
            headers: &[],
        })
    }

    /// The `Origin` header, for a client that runs what a site gave it (§4.1, §10.2).
    ///
    /// # Errors
    /// [`ConfigError::HeaderValue`] if there is a control character in it.
    pub fn origin(self, origin: &'a str) -> Result<Self, ConfigError> {
        match is_value(origin) {
            true => Ok(Self {
                origin: Some(origin),
                ..self
            }),
            false => Err(ConfigError::HeaderValue),
        }
    }

    /// The subprotocols to offer, the best one first (§1.9).
    ///
    /// # Errors
    /// [`ConfigError::Subprotocol`] if one is no token, or is there twice.
    pub fn subprotocols(self, subprotocols: &'a [&'a str]) -> Result<Self, ConfigError> {
        // RFC 6455 §4.1: tokens, and all of them unique [HC11]
        let mut rest = subprotocols;
        while let Some((first, others)) = rest.split_first() {
            if !is_token(first.as_bytes()) || others.contains(first) {
                return Err(ConfigError::Subprotocol);
            }
            rest = others;
        }
        Ok(Self {
            subprotocols,
            ..self
        })
    }

    /// The extensions to offer, the best one first, each with its parameters:
    /// `permessage-deflate; client_max_window_bits` (§9.1).
    ///
    /// # Errors
    /// [`ConfigError::Extensions`] if one is not as §9.1 has it.
    pub fn extensions(self, extensions: &'a [&'a str]) -> Result<Self, ConfigError> {
        let is_wrong = |offer: &&str| Extensions::parse(offer.as_bytes()).any(|one| one.is_err());
        if extensions.iter().any(is_wrong) {
            return Err(ConfigError::Extensions);
        }
        Ok(Self { extensions, ..self })
    }

    /// Adds headers to the request, as pairs of name and value: `Authorization`, `Cookie`.
    ///
    /// # Errors
    /// A name that is no token, a value with a control character, or a header that has a meaning
    /// for the handshake itself: those are set by the other methods only.
    pub fn headers(self, headers: &'a [(&'a str, &'a str)]) -> Result<Self, ConfigError> {
        check_headers(headers, !0)?;
        Ok(Self { headers, ..self })
    }

    /// Writes the request from its byte `offset` on into `out`, as much as there is room for, and
    /// returns how many bytes that was: 0 once all is written. Any `out` will do, even one byte.
    ///
    /// Nothing else may be sent until the server's response was read and found correct.
    pub fn emit_from(&self, offset: usize, out: &mut [u8]) -> usize {
        let mut writer = Writer::new(offset, out);
        writer.put(b"GET "); // [HC05]
        writer.put(self.target.as_bytes()); // [HC06]
        writer.put(b" HTTP/1.1");
        writer.header("Host", self.host.as_bytes());
        // [HC08] [HC10]
        writer.put(
            b"\r\nUpgrade: websocket\
            \r\nConnection: Upgrade\
            \r\nSec-WebSocket-Version: 13\
            \r\nSec-WebSocket-Key: ",
        );
        writer.put(&self.key);
        writer.list("Origin", self.origin.as_slice());
        writer.list("Sec-WebSocket-Protocol", self.subprotocols);
        writer.list("Sec-WebSocket-Extensions", self.extensions);
        writer.headers(self.headers);
        writer.end();
        writer.written()
    }
}

/// Reads the server's response to a [`Request`] (§4.1, §4.2.2): bytes in, events out.
///
/// `B` is the buffer, an array or a slice. It holds one line at a time, so its size bounds the status
/// line, and each header's name together with a value that the protocol needs whole
/// (`Sec-WebSocket-Accept`: 48 bytes; the chosen subprotocol and extensions). Other values may be of
/// any length: see [`Header`].
///
/// There is no clock in here: whoever owns the connection limits the time that the server may take
/// (see [`deadline`](crate::deadline)).
#[derive(Clone, Debug)]
pub struct ClientHandshake<'p, B> {
    buffer: B,
    head: Head,
    judge: Requirements<'p>,
}

impl<'p, B: AsMut<[u8]>> ClientHandshake<'p, B> {
    /// Waits for the response to `request`, with the default limits.
    pub fn new(request: &Request<'p>, buffer: B) -> Self {
        Self::with_config(request, buffer, HeadConfig::default())
    }

    /// Waits for the response to `request`, with other limits.
    pub fn with_config(request: &Request<'p>, buffer: B, config: HeadConfig) -> Self {
        Self {
            buffer,
            head: Head::new(config),
            judge: Requirements::new(request),
        }
    }

    /// Takes bytes from `input` up to the next event. `None` wants more input; after
    /// [`ResponseEvent::Done`] nothing more is taken, and what is left in `input` are the server's
    /// first frames.
    ///
    /// An interim response, as `103 Early Hints` is, is surfaced like any other, and then the next
    /// status line follows. The limits hold for all of them together.
    ///
    /// # Errors
    /// What is wrong with the response. Faults of syntax come at once; all others come where the
    /// head ends, so that every header was seen: before [`HandshakeError::UnexpectedStatus`] there
    /// were `Location`, `WWW-Authenticate` or `Sec-WebSocket-Version`, and the
    /// response's body is left in `input`. The same error comes from every later call.
    pub fn next_event(
        &mut self,
        input: &mut &[u8],
    ) -> Result<Option<ResponseEvent<'_, 'p>>, HandshakeError> {
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

    /// The second half: the event that the last [`step`](Self::step) came to, if there is one.
    pub fn event(&mut self) -> Option<ResponseEvent<'_, 'p>> {
        self.judge.event(&self.head, self.buffer.as_mut())
    }
}

impl<'p> ClientHandshake<'p, [u8; 0]> {
    /// The same with a buffer that is lent to each call, for an adapter whose transmit buffer is
    /// idle until then. It must be the same one each time, left as it is in between.
    ///
    /// # Errors
    /// As [`next_event`](Self::next_event).
    pub fn next_event_in<'b>(
        &mut self,
        buffer: &'b mut [u8],
        input: &mut &[u8],
    ) -> Result<Option<ResponseEvent<'b, 'p>>, HandshakeError> {
        self.head.step(buffer, input, &mut self.judge)?;
        Ok(self.judge.event(&self.head, buffer))
    }
}

/// What [`ClientHandshake::next_event`] has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum ResponseEvent<'a, 'p> {
    /// The status line.
    StatusLine {
        /// The status: 101 accepts.
        status: u16,
        /// The words after it. They have no meaning, and may be missing.
        reason: &'a [u8],
    },
    /// A header, or a part of one.
    Header(Header<'a>),
    /// The server accepted, and everything about its response is right: the connection is open.
    Done {
        /// The subprotocol that the server chose among those offered.
        subprotocol: Option<&'p str>,
    },
}

/// The headers that a response may have once only. Extensions may be spread over several lines, as
/// §4.2.2 says, although §11.3.2 forbids it.
const SINGLE: Set = UPGRADE | ACCEPT | PROTOCOL;
/// The headers that a response must have.
const REQUIRED: Set = UPGRADE | CONNECTION | ACCEPT;

#[derive(Clone, Debug)]
struct Requirements<'p> {
    accept: Accept,
    subprotocols: &'p [&'p str],
    extensions: &'p [&'p str],
    subprotocol: Option<&'p str>,
    status: u16,
    /// The header being read.
    field: Set,
    /// Reads the value of `Connection`.
    list: List,
    /// The headers that were seen.
    seen: Set,
    /// What is missing or wrong.
    wrong: Set,
}

impl Judge for Requirements<'_> {
    fn start_line(&mut self, line: &[u8]) -> Result<(), HandshakeError> {
        let (version, status, _) = status_line(line).ok_or(HandshakeError::StartLine)?; // [HC19]
        self.status = status;
        if version < (1, 1) {
            self.wrong |= HTTP_VERSION;
        }
        Ok(())
    }

    fn header(&mut self, header: &Header<'_>) -> Result<(), HandshakeError> {
        if self.status != 101 {
            return Ok(());
        }
        if header.first {
            self.field = head::field(header.name.as_bytes());
            if SINGLE & self.seen & self.field != 0 {
                self.wrong |= self.field; // once only [HC20]
            } else {
                self.wrong &= !(SINGLE & self.field);
            }
            self.seen |= self.field;
            self.list = List::new(false);
        }
        let value = header.value;
        let is_wrong = match self.field {
            UPGRADE | ACCEPT | PROTOCOL | EXTENSIONS if !header.is_whole() => {
                return Err(HandshakeError::HeaderTooLong);
            }
            UPGRADE => !value.eq_ignore_ascii_case(b"websocket"), // [HC14]
            ACCEPT => value != self.accept,                       // [HC16]
            PROTOCOL => {
                let mut offered = self.subprotocols.iter().copied();
                self.subprotocol = offered.find(|name| name.as_bytes() == value);
                self.subprotocol.is_none() // [HC18]
            }
            EXTENSIONS => Extensions::parse(value).any(|extension| match extension {
                Ok(extension) => !self.is_offered(&extension), // [HC17]
                Err(_) => true,                                // [HS17]
            }),
            CONNECTION => {
                for byte in value {
                    self.list.push(byte.to_ascii_lowercase(), &["upgrade"]);
                }
                if header.last {
                    self.list.end_element(&["upgrade"]);
                }
                if self.list.found != 0 {
                    self.wrong &= !CONNECTION; // [HC15]
                }
                false
            }
            _ => false,
        };
        if is_wrong {
            self.wrong |= self.field;
        }
        Ok(())
    }

    fn end(&self) -> Result<bool, HandshakeError> {
        const ERRORS: [(Set, HandshakeError); 6] = [
            (HTTP_VERSION, HandshakeError::HttpVersion),
            (UPGRADE, HandshakeError::Upgrade),
            (CONNECTION, HandshakeError::Connection),
            (ACCEPT, HandshakeError::Accept),
            (PROTOCOL, HandshakeError::Subprotocol),
            (EXTENSIONS, HandshakeError::Extensions),
        ];
        match self.status {
            // Before the end there is no connection to send frames on [HC12]
            101 => head::check(self.wrong, &ERRORS).map(|()| true),
            100..=199 => Ok(false),
            status => Err(HandshakeError::UnexpectedStatus(status)), // [HC13] [HC21]
        }
    }
}

impl<'p> Requirements<'p> {
    fn new(request: &Request<'p>) -> Self {
        Self {
            accept: accept::accept(&request.key),
            subprotocols: request.subprotocols,
            extensions: request.extensions,
            subprotocol: None,
            status: 0,
            field: 0,
            list: List::new(false),
            seen: 0,
            wrong: REQUIRED,
        }
    }

    /// What the head has come to.
    fn event<'b>(&self, head: &Head, buffer: &'b [u8]) -> Option<ResponseEvent<'b, 'p>> {
        Some(match head.event()? {
            HeadEvent::StartLine => {
                let (_, status, reason) = status_line(head.line(buffer))?;
                ResponseEvent::StatusLine { status, reason }
            }
            HeadEvent::Header { last } => ResponseEvent::Header(head.header(buffer, last)),
            HeadEvent::End => ResponseEvent::Done {
                subprotocol: self.subprotocol,
            },
        })
    }

    fn is_offered(&self, extension: &Extension<'_>) -> bool {
        self.extensions
            .iter()
            .flat_map(|offer| Extensions::parse(offer.as_bytes()).flatten())
            .any(|offer| offer.name == extension.name)
    }
}

/// The HTTP version, the status and the reason in `HTTP/1.1 101 Switching Protocols`; the space
/// before an empty reason may be missing.
fn status_line(line: &[u8]) -> Option<((u8, u8), u16, &[u8])> {
    let (version, rest) = line.split_at_checked(8)?;
    let version = head::http_version(version)?;
    let (status, reason) = match rest {
        [b' ', a, b, c] => ([a, b, c], &[][..]),
        [b' ', a, b, c, b' ', reason @ ..] => ([a, b, c], reason),
        _ => return None,
    };
    let mut sum = 0;
    for digit in status {
        sum = sum * 10 + u16::from((*digit as char).to_digit(10)? as u8);
    }
    (sum >= 100).then_some((version, sum, reason))
}
