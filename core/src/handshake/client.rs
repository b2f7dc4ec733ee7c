//! The client's side: writes the request, reads the server's response (RFC 6455 §4.1).

use super::accept::{Accept, Key};
use super::head::{
    self, ACCEPT, CONNECTION, EXTENSIONS, HEADERS, HTTP_VERSION, Head, HeadEvent, Header, PROTOCOL,
    Rules, STREAM, Set, UPGRADE, Writer, check_headers, is_value,
};
use super::lists::List;
use super::offers::{Agreed, Choice, Offers};
use super::{ConfigError, HandshakeError};
#[cfg(feature = "deflate")]
use crate::deflate::Accepted;
use crate::limits::Limits;

/// A client's opening handshake (§4.1): says what to ask for, and writes it.
///
/// See [the module](super) for an example.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Request<'a> {
    host: &'a str,
    target: &'a str,
    origin: Option<&'a str>,
    offers: Offers<'a>,
    headers: &'a [(&'a str, &'a str)],
}

impl<'a> Request<'a> {
    /// A request for `target` at `host`.
    ///
    /// `host` goes into the `Host` header as it is: a name or an address, an IPv6 address in
    /// brackets, then `:port` only if the port is not the scheme's own, 80 or 443.
    ///
    /// `target` is the resource name of §3: an absolute path, with `?` and a query if there is one,
    /// in ASCII and without a fragment; other characters stand as `%XX`.
    ///
    /// # Errors
    /// [`ConfigError::Host`], [`ConfigError::Target`] if they are not so.
    pub fn new(host: &'a str, target: &'a str) -> Result<Self, ConfigError> {
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
            host,
            target,
            origin: None,
            offers: Offers::new(),
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

    /// The subprotocols and extensions to offer. [`ClientHandshake`] needs the same.
    ///
    /// # Errors
    /// [`ConfigError::Subprotocol`] if a subprotocol is no token or is there twice, or if there are
    /// more than 32; [`ConfigError::Extensions`] if an extension is not as §9.1 has it.
    pub fn offers(self, offers: &Offers<'a>) -> Result<Self, ConfigError> {
        offers.check()?;
        Ok(Self {
            offers: *offers,
            ..self
        })
    }

    /// Adds headers to the request, as pairs of name and value: `Authorization`, `Cookie`.
    ///
    /// # Errors
    /// A name that is no token, a value with a control character, or a header that has a meaning
    /// for the handshake itself: those are set by the other methods only.
    pub fn headers(self, headers: &'a [(&'a str, &'a str)]) -> Result<Self, ConfigError> {
        check_headers(headers, HEADERS)?;
        Ok(Self { headers, ..self })
    }

    /// Calls `each` with the name and the value of each header, for whoever writes the request by other
    /// means than [`emit_from`](Self::emit_from). A list may come in several headers.
    ///
    /// `version` is that of HTTP, major and minor. From HTTP/2 on the request is an extended CONNECT
    /// (RFC 8441, RFC 9220), without `Host`, `Upgrade` and `Connection`, which needs no key.
    pub fn each_header(
        &self,
        version: (u8, u8),
        key: Option<&Key>,
        mut each: impl FnMut(&str, &[u8]),
    ) {
        self.each_element(version, key, |name, value, _| each(name, value));
    }

    /// The same, and whether the value goes on with the list of the header before.
    fn each_element(
        &self,
        version: (u8, u8),
        key: Option<&Key>,
        mut each: impl FnMut(&str, &[u8], bool),
    ) {
        if version < (2, 0) {
            each("Host", self.host.as_bytes(), false);
            // [HC08]
            each("Upgrade", b"websocket", false);
            each("Connection", b"Upgrade", false);
        }
        each("Sec-WebSocket-Version", b"13", false); // [HC10]
        if let Some(key) = key {
            each("Sec-WebSocket-Key", key.as_bytes(), false);
        }
        if let Some(origin) = self.origin {
            each("Origin", origin.as_bytes(), false);
        }
        let mut goes_on = false;
        for subprotocol in self.offers.subprotocols {
            each("Sec-WebSocket-Protocol", subprotocol.as_bytes(), goes_on);
            goes_on = true;
        }
        goes_on = false;
        #[cfg(feature = "deflate")]
        if let Some((config, _)) = &self.offers.deflate {
            each("Sec-WebSocket-Extensions", config.offer().as_bytes(), false);
            goes_on = true;
        }
        for extension in self.offers.extensions {
            each("Sec-WebSocket-Extensions", extension.as_bytes(), goes_on);
            goes_on = true;
        }
        for (name, value) in self.headers {
            each(name, value.as_bytes(), false);
        }
    }

    /// Writes the request from its byte `offset` on into `out`, as much as there is room for, and
    /// returns how many bytes that was: 0 once all is written. Any `out` will do, even one byte.
    ///
    /// Nothing else may be sent until the server's response was read and found correct.
    pub fn emit_from(&self, offset: usize, out: &mut [u8], key: &Key) -> usize {
        let mut writer = Writer::new(offset, out);
        writer.put(b"GET "); // [HC05]
        writer.put(self.target.as_bytes()); // [HC06]
        writer.put(b" HTTP/1.1");
        self.each_element((1, 1), Some(key), |name, value, goes_on| {
            if goes_on {
                writer.put(b", ");
                writer.put(value);
            } else {
                writer.header(name.as_bytes(), value);
            }
        });
        writer.end();
        writer.written()
    }
}

/// Reads the server's response to a [`Request`] (§4.1, §4.2.2): bytes in, events out.
///
/// `B` is the buffer, an array or a slice. It holds one line at a time, so its size bounds the status
/// line, and `Sec-WebSocket-Accept` with its value: 48 bytes. Other values may be of any length: see
/// [`Header`].
///
/// What the client [offers](Offers) is lent to each call, the same as in the request.
///
/// There is no clock in here: whoever owns the connection limits the time that the server may take
/// (see [`session`](crate::session)).
#[derive(Clone, Debug)]
pub struct ClientHandshake<B> {
    buffer: B,
    head: Head,
    rules: Requirements,
}

impl<B: AsMut<[u8]>> ClientHandshake<B> {
    /// Waits for the response to a request with this key, with the default limits.
    pub fn new(key: &Key, buffer: B) -> Self {
        Self::with_limits(key, buffer, Limits::DEFAULT)
    }

    /// The same with other limits.
    pub fn with_limits(key: &Key, buffer: B, limits: Limits) -> Self {
        Self {
            buffer,
            head: Head::new(limits),
            rules: Requirements::new(key.accept(), limits),
        }
    }

    /// Takes bytes from `input` up to the next event. `None` wants more input; after
    /// [`ResponseEvent::Done`] nothing more is taken, and what is left in `input` are the server's
    /// first frames.
    ///
    /// A header comes when the line behind it has begun, for it might go on there.
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
        offers: &Offers<'_>,
    ) -> Result<Option<ResponseEvent<'_>>, HandshakeError> {
        self.step(input, offers)?;
        Ok(self.event())
    }

    /// The first half of [`next_event`](Self::next_event): returns whether there is an event, without
    /// a borrow, so that an adapter can go round its read loop before it lends the event to its
    /// caller.
    ///
    /// # Errors
    /// As [`next_event`](Self::next_event).
    pub fn step(&mut self, input: &mut &[u8], offers: &Offers<'_>) -> Result<bool, HandshakeError> {
        self.head
            .step(self.buffer.as_mut(), input, &mut self.rules, offers)
    }

    /// The second half: the event that the last [`step`](Self::step) came to, if there is one.
    pub fn event(&mut self) -> Option<ResponseEvent<'_>> {
        self.rules.event(&self.head, self.buffer.as_mut())
    }
}

impl ClientHandshake<[u8; 0]> {
    /// The same with a buffer that is lent to each call, for an adapter whose transmit buffer is
    /// idle until then. It must be the same one each time, left as it is in between.
    ///
    /// # Errors
    /// As [`next_event`](Self::next_event).
    pub fn next_event_in<'b>(
        &mut self,
        buffer: &'b mut [u8],
        input: &mut &[u8],
        offers: &Offers<'_>,
    ) -> Result<Option<ResponseEvent<'b>>, HandshakeError> {
        self.head.step(buffer, input, &mut self.rules, offers)?;
        Ok(self.rules.event(&self.head, buffer))
    }
}

/// What [`ClientHandshake::next_event`] has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum ResponseEvent<'a> {
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
    Done(Agreed),
}

/// The headers that a response must have.
const REQUIRED: Set = UPGRADE | CONNECTION | ACCEPT;
/// The headers that are lists. Extensions may be spread over several lines, as §4.2.2 says, although
/// §11.3.2 forbids it [HC20].
const LISTS: Set = UPGRADE | CONNECTION | PROTOCOL | EXTENSIONS;

#[derive(Clone, Debug)]
struct Requirements {
    accept: Accept,
    status: u16,
    /// The header being read.
    field: Set,
    /// Reads its value.
    list: List,
    /// The headers that were seen.
    seen: Set,
    /// Those of the headers required that are there and right.
    right: Set,
    /// What is wrong.
    wrong: Set,
    /// The bit of the subprotocol that the server has chosen.
    subprotocols: u32,
    max_message_len: u64,
    #[cfg(feature = "deflate")]
    deflate: Option<Accepted>,
}

impl Rules for Requirements {
    const IS_CLIENT: bool = true;

    fn start_line(&mut self, line: &[u8]) -> Result<(), HandshakeError> {
        let (version, status, _) = status_line(line).ok_or(HandshakeError::StartLine)?; // [HC19]
        self.status = status;
        // What is wrong with an interim response before says nothing about the one that accepts.
        if version < (1, 1) && self.accepts() {
            self.wrong |= HTTP_VERSION;
        }
        Ok(())
    }

    fn header(&mut self, header: &Header<'_>, offers: &Offers<'_>) -> Result<(), HandshakeError> {
        if !self.accepts() {
            return Ok(());
        }
        if header.first {
            self.field = head::field(header.name.as_bytes());
            self.wrong |= ACCEPT & self.seen & self.field; // once only [HC20]
            self.seen |= self.field;
        }
        match self.field {
            ACCEPT if !header.is_whole() => return Err(HandshakeError::HeaderTooLong),
            ACCEPT => match header.value == self.accept {
                true => self.right |= ACCEPT, // [HC16]
                false => self.wrong |= ACCEPT,
            },
            field if field & LISTS != 0 => self.list_part(header, offers),
            _ => {}
        }
        Ok(())
    }

    fn end(&self) -> Result<(), HandshakeError> {
        // Before the end there is no connection to send frames on [HC12]
        if self.accepts() {
            head::check(self.wrong | (REQUIRED & !self.right))
        } else if self.is_interim() {
            Ok(())
        } else {
            Err(HandshakeError::UnexpectedStatus(self.status)) // [HC13] [HC21]
        }
    }

    fn is_interim(&self) -> bool {
        matches!(self.status, 100 | 102..=199)
    }
}

impl Requirements {
    const fn new(accept: Accept, limits: Limits) -> Self {
        Self {
            accept,
            status: 0,
            field: 0,
            list: List::new(false),
            seen: 0,
            right: 0,
            wrong: 0,
            subprotocols: 0,
            max_message_len: limits.message,
            #[cfg(feature = "deflate")]
            deflate: None,
        }
    }

    /// Whether the status is the one that accepts.
    const fn accepts(&self) -> bool {
        match self.seen & STREAM {
            0 => self.status == 101,
            // RFC 8441 §5
            _ => matches!(self.status, 200..=299),
        }
    }

    /// A part of a list.
    fn list_part(&mut self, header: &Header<'_>, offers: &Offers<'_>) {
        let Self {
            field,
            list,
            right,
            wrong,
            subprotocols,
            ..
        } = self;
        let candidates = match *field {
            UPGRADE => &["websocket"],
            CONNECTION => &["upgrade"],
            PROTOCOL => offers.subprotocols,
            _ => offers.extensions,
        };
        list.read(header, *field, candidates, |element| {
            let is_found = element.found != 0;
            #[cfg(feature = "deflate")]
            let is_found = match (&offers.deflate, &element.deflate) {
                // RFC 7692 §5: one at most, on however many lines [PD01]
                (Some((config, memory)), Some(answer)) => {
                    let is_first = self.deflate.is_none();
                    self.deflate = config.confirm(answer, *memory);
                    is_first && self.deflate.is_some()
                }
                _ => is_found,
            };
            let is_right = match *field {
                // Nothing beside `websocket`: but some servers say that, and so does the proxy before
                // them [HC14] [HT08]
                UPGRADE => is_found,
                CONNECTION => {
                    if !is_found {
                        return; // None of ours [HC15]
                    }
                    true
                }
                // One that was offered, and once only [HC18] [HC20]
                PROTOCOL => {
                    let is_first = core::mem::replace(subprotocols, element.found) == 0;
                    is_first && is_found
                }
                _ => is_found && element.is_well_formed, // [HC17] [HS17]
            };
            *if is_right { &mut *right } else { &mut *wrong } |= *field;
        });
    }

    /// What the head has come to.
    fn event<'b>(&self, head: &Head, buffer: &'b [u8]) -> Option<ResponseEvent<'b>> {
        Some(match head.event()? {
            HeadEvent::StartLine => {
                let (_, status, reason) = status_line(head.line(buffer))?;
                ResponseEvent::StatusLine { status, reason }
            }
            HeadEvent::Part | HeadEvent::Header => ResponseEvent::Header(head.header(buffer)),
            HeadEvent::End => ResponseEvent::Done(self.agreed()),
        })
    }

    fn agreed(&self) -> Agreed {
        let choice = Choice {
            subprotocols: self.subprotocols,
            max_message_len: self.max_message_len,
            #[cfg(feature = "deflate")]
            deflate: self.deflate,
        };
        choice.agreed()
    }
}

impl Agreed {
    /// Judges a response whose headers someone else has parsed, an HTTP client for example: by the same
    /// rules as [`ClientHandshake`].
    ///
    /// `key` is the one that was sent. `version` is that of HTTP, major and minor: from HTTP/2 on any
    /// status of 2xx accepts, and neither `Upgrade` nor `Connection` is there, nor must the key be
    /// answered (RFC 8441 §5).
    ///
    /// ```
    /// use motews::Limits;
    /// use motews::handshake::{Agreed, Offers};
    ///
    /// let offers = Offers::new().subprotocols(&["chat"]);
    /// let headers = [("sec-websocket-protocol", &b"chat"[..])];
    /// let agreed = Agreed::from_headers(200, (2, 0), None, headers, &offers, Limits::DEFAULT)?;
    /// assert_eq!(agreed.subprotocol, Some(0));
    /// # Ok::<(), motews::handshake::HandshakeError>(())
    /// ```
    ///
    /// # Errors
    /// What is wrong with the response; [`HandshakeError::UnexpectedStatus`] if it does not accept.
    pub fn from_headers<'h>(
        status: u16,
        version: (u8, u8),
        key: Option<&Key>,
        headers: impl IntoIterator<Item = (&'h str, &'h [u8])>,
        offers: &Offers<'_>,
        limits: Limits,
    ) -> Result<Self, HandshakeError> {
        // No answer is right where there was no key.
        let accept = key.map_or([0; 28], Key::accept);
        let mut rules = Requirements::new(accept, limits);
        rules.status = status;
        if version >= (2, 0) {
            rules.seen = STREAM; // [HT16]
            rules.right = REQUIRED;
        } else if version < (1, 1) {
            rules.wrong |= HTTP_VERSION;
        }
        // RFC 8441 §5: it is not used there, so one that nobody has asked for means nothing [HT16]
        let is_used = key.is_some() || version < (2, 0);
        let headers = headers
            .into_iter()
            .filter(|(name, _)| is_used || head::field(name.as_bytes()) != ACCEPT);
        head::check_parsed(&mut rules, headers, offers, limits)?;
        match rules.is_interim() {
            true => Err(HandshakeError::UnexpectedStatus(status)),
            false => Ok(rules.agreed()),
        }
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
