//! The server's side: reads the client's request, writes the response (RFC 6455 §4.2).

use super::accept::{Accept, Key};
use super::head::{
    self, ACCEPT, CONNECTION, CONTENT_LENGTH, EXTENSIONS, HEADERS, HOST, HTTP_VERSION, Head,
    HeadEvent, Header, KEY, METHOD, OTHER_VERSION, PROTOCOL, Rules, STREAM, Set, TARGET,
    TRANSFER_ENCODING, UPGRADE, VERSION, Writer, check_headers, field_name,
};
use super::lists::{List, subprotocols};
use super::offers::{Agreed, Choice, Offers};
use super::tokens::{HeadText, is_token, is_visible, split};
use super::{ConfigError, Extensions, HandshakeError};
#[cfg(feature = "deflate")]
use crate::deflate::Accepted;
use crate::limits::Limits;

/// Reads a client's opening handshake (§4.2.1): bytes in, events out.
///
/// `B` is the buffer, an array or a slice. It holds one line at a time, so its size bounds the
/// request line (method, target and version; the target has no other limit), and each header's name
/// together with a value that the protocol needs whole (`Sec-WebSocket-Key`: 41 bytes). Other values
/// may be of any length: see [`Header`]. 128 bytes serve most firmware, 1 KiB most sites.
///
/// What the server [offers](Offers) is lent to each call, the same each time.
///
/// There is no clock in here: whoever owns the connection limits the time that a client may take
/// (see [`session`](crate::session)).
///
/// See [the module](super) for an example.
// In this order: firmware reaches what lies in front with shorter instructions.
#[repr(C)]
#[derive(Clone, Debug)]
pub struct ServerHandshake<B> {
    buffer: B,
    head: Head,
    rules: Requirements,
}

impl<B: AsMut<[u8]>> ServerHandshake<B> {
    /// A handshake with the default limits.
    pub fn new(buffer: B) -> Self {
        Self::with_limits(buffer, Limits::DEFAULT)
    }

    /// A handshake with other limits.
    pub const fn with_limits(buffer: B, limits: Limits) -> Self {
        Self {
            buffer,
            head: Head::new(limits),
            rules: Requirements::new(limits),
        }
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
        offers: &Offers<'_>,
    ) -> Result<Option<RequestEvent<'_>>, HandshakeError> {
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
    pub fn event(&mut self) -> Option<RequestEvent<'_>> {
        self.rules.event(&self.head, self.buffer.as_mut())
    }
}

impl<B> ServerHandshake<B> {
    /// Whether the head was read to its end, and was correct: [`RequestEvent::Done`] has come.
    #[must_use]
    pub const fn is_done(&self) -> bool {
        self.head.is_done()
    }

    /// Whether the method is HEAD: for [`Response::head`](super::Response::head).
    #[must_use]
    pub const fn is_head(&self) -> bool {
        self.rules.is_head
    }
}

impl ServerHandshake<[u8; 0]> {
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
    ) -> Result<Option<RequestEvent<'b>>, HandshakeError> {
        self.head.step(buffer, input, &mut self.rules, offers)?;
        Ok(self.rules.event(&self.head, buffer))
    }
}

/// What [`ServerHandshake::next_event`] has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum RequestEvent<'a> {
    /// The request line: the first event.
    RequestLine {
        /// The method. An upgrade has `GET`.
        method: HeadText<'a>,
        /// The target as the client wrote it: `/chat?room=1`, or with scheme and authority before.
        /// [`path_and_query`] takes it apart. It is visible ASCII, or UTF-8 that a client should have
        /// encoded as `%XX` and did not.
        target: HeadText<'a>,
        /// The HTTP version, major and minor.
        version: (u8, u8),
    },
    /// A header, or a part of one. §4.2.2: `Origin`, `Authorization` and `Cookie` are for the
    /// application to check, before it accepts.
    Header(Header<'a>),
    /// The request is a correct opening handshake. Accept it with [`Upgrade::emit_from`], or refuse
    /// it with a [`Response`](super::Response).
    Done(Upgrade),
}

/// The headers that a request may have once only.
const SINGLE: Set = HOST | KEY | VERSION;
/// The headers that a request must have.
const REQUIRED: Set = HOST | KEY | VERSION | UPGRADE | CONNECTION;
/// The headers that are looked at as a whole.
const WHOLE: Set = KEY | VERSION | CONTENT_LENGTH;
/// The headers that are lists.
const LISTS: Set = UPGRADE | CONNECTION | PROTOCOL | EXTENSIONS;

// In this order: firmware reaches what lies in front with shorter instructions.
#[repr(C)]
#[derive(Clone, Debug)]
struct Requirements {
    max_message_len: u64,
    key: Key,
    /// A bit for each subprotocol that was offered.
    subprotocols: u32,
    /// Reads its value.
    list: List,
    /// The header being read.
    field: Set,
    /// The headers that were seen.
    seen: Set,
    /// What is missing or wrong.
    wrong: Set,
    is_head: bool,
    /// The first of the client's offers that fits.
    #[cfg(feature = "deflate")]
    deflate: Option<Accepted>,
}

impl Rules for Requirements {
    const IS_CLIENT: bool = false;

    fn start_line(&mut self, line: &[u8]) -> Result<(), HandshakeError> {
        let (method, target, version) = request_line(line).ok_or(HandshakeError::StartLine)?;
        self.is_head = method == b"HEAD";
        // RFC 6455 §4.2.1: GET, HTTP/1.1 or higher [HS02]
        if method != b"GET" {
            self.wrong |= METHOD;
        }
        if version < (1, 1) {
            self.wrong |= HTTP_VERSION;
        }
        // RFC 6455 §4.2.1: a path, or an absolute URI, both without a fragment [HS03]
        let is_path = target.starts_with(b"/") || authority_and_path(target).is_some();
        if !is_path || split(target, b'#').1.is_some() {
            self.wrong |= TARGET;
        }
        Ok(())
    }

    fn header(&mut self, header: &Header<'_>, offers: &Offers<'_>) -> Result<(), HandshakeError> {
        if header.first {
            self.field = head::field(header.name.as_bytes());
            if SINGLE & self.seen & self.field != 0 {
                self.wrong |= self.field; // once only [HS04] [HS07] [HS08]
            } else {
                self.wrong &= !(SINGLE & self.field);
            }
            self.seen |= self.field;
        }
        if self.field & WHOLE != 0 && !header.is_whole() {
            return Err(HandshakeError::HeaderTooLong);
        }
        let value = header.value;
        let wrong = match self.field {
            KEY => match Key::parse(value) {
                Some(key) => {
                    self.key = key;
                    0
                }
                None => KEY, // [HS07]
            },
            VERSION if value != b"13" => OTHER_VERSION, // [HS08]
            // A body would be taken for frames, or the frames for a body [HS23]
            CONTENT_LENGTH if value != b"0" => CONTENT_LENGTH,
            TRANSFER_ENCODING => CONTENT_LENGTH,
            _ => 0,
        };
        self.wrong |= wrong;
        if self.field & LISTS != 0 {
            self.list_part(header, offers);
        }
        Ok(())
    }

    fn end(&self) -> Result<(), HandshakeError> {
        match self.wrong & UPGRADE {
            0 => head::check(self.wrong), // [HS01]
            _ => Err(HandshakeError::NotUpgrade),
        }
    }
}

impl Requirements {
    const fn new(limits: Limits) -> Self {
        Self {
            field: 0,
            list: List::new(false),
            seen: 0,
            wrong: REQUIRED,
            is_head: false,
            key: Key::NONE,
            subprotocols: 0,
            max_message_len: limits.message,
            #[cfg(feature = "deflate")]
            deflate: None,
        }
    }

    /// A part of a list.
    #[inline(never)]
    fn list_part(&mut self, header: &Header<'_>, offers: &Offers<'_>) {
        let Self {
            field,
            list,
            wrong,
            subprotocols,
            ..
        } = self;
        let candidates: &[&str] = match *field {
            UPGRADE => &["websocket"],  // [HS05]
            CONNECTION => &["upgrade"], // [HS06]
            PROTOCOL => offers.subprotocols,
            _ => &[],
        };
        list.read(header, *field, candidates, |element| {
            // RFC 6455 §4.3, §9.1: no empty element, nothing but tokens and parameters [HS17]
            if *field == EXTENSIONS && !element.is_well_formed {
                *wrong |= EXTENSIONS;
            }
            // RFC 7692 §5 [PD01]
            #[cfg(feature = "deflate")]
            if let (None, Some((config, _)), Some(asked)) =
                (&self.deflate, &offers.deflate, element.deflate)
            {
                self.deflate = config.accept(&asked);
            }
            // RFC 2616 §2.1: elements that are none of these are not ours to check
            if element.found != 0 {
                *wrong &= !*field;
            }
            // Some clients offer what is no token: it is not chosen, and no reason to refuse. [HT04]
            if *field == PROTOCOL {
                *subprotocols |= element.found;
            }
        });
    }

    /// What the head has come to.
    fn event<'b>(&self, head: &Head, buffer: &'b [u8]) -> Option<RequestEvent<'b>> {
        Some(match head.event()? {
            HeadEvent::StartLine => {
                let (method, target, version) = request_line(head.line(buffer))?;
                RequestEvent::RequestLine {
                    method: HeadText::new(method),
                    target: HeadText::new(target),
                    version,
                }
            }
            // Every one is seen before the application accepts [HS10] [HS12] [EX05]
            HeadEvent::Part | HeadEvent::Header => RequestEvent::Header(head.header(buffer)),
            HeadEvent::End => RequestEvent::Done(self.upgrade()),
        })
    }

    fn upgrade(&self) -> Upgrade {
        Upgrade {
            accept: self.key.accept(),
            seen: self.seen,
            choice: Choice {
                subprotocols: self.subprotocols,
                max_message_len: self.max_message_len,
                #[cfg(feature = "deflate")]
                deflate: self.deflate,
            },
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
    let is_target = !target.is_empty() && is_visible(target);
    (is_token(method) && is_target).then_some((method, target, version))
}

/// What follows the scheme and `//`, if there is a host. Some clients write `ws` for `http` [HT05].
fn authority_and_path(target: &[u8]) -> Option<&[u8]> {
    let (scheme, rest) = split(target, b':');
    let [b'/', b'/', rest @ ..] = rest? else {
        return None;
    };
    // The last letter may be missing.
    let known: &[u8] = if scheme.len() > 3 { b"https" } else { b"wss" };
    let is_http = known
        .get(..scheme.len().max(2))
        .is_some_and(|known| scheme.eq_ignore_ascii_case(known));
    (is_http && !matches!(rest, [] | [b'/' | b'?', ..])).then_some(rest)
}

/// The path and the query in a request's target, without scheme and authority; the path of a target
/// that has none is `/`.
///
/// ```
/// use motews::handshake::path_and_query;
///
/// assert_eq!(path_and_query("/chat?room=1"), ("/chat", Some("room=1")));
/// assert_eq!(path_and_query("http://example.com/chat"), ("/chat", None));
/// assert_eq!(path_and_query("http://example.com?room=1"), ("/", Some("room=1")));
/// ```
#[must_use]
pub fn path_and_query(target: &str) -> (&str, Option<&str>) {
    let name = match authority_and_path(target.as_bytes()) {
        None => target,
        Some(rest) => {
            let is_path = |byte: &u8| matches!(byte, b'/' | b'?');
            let authority = rest.iter().position(is_path).unwrap_or(rest.len());
            let before = target.len().wrapping_sub(rest.len());
            target
                .get(before.wrapping_add(authority)..)
                .unwrap_or_default()
        }
    };
    let (path, query) = match name.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (name, None),
    };
    // RFC 9110 §4.2.3: an empty path is `/` [HT07]
    (if path.is_empty() { "/" } else { path }, query)
}

/// A correct request to upgrade (§4.2.2), and what both sides agree on if it is accepted.
///
/// [`Upgrade::emit_from`] writes the response. Write no frames before it.
///
/// ```
/// # use motews::handshake::{ConfigError, Offers, Upgrade};
/// # fn f(upgrade: Upgrade, offers: &Offers<'_>, out: &mut [u8]) -> Result<usize, ConfigError> {
/// let answer = upgrade.answer(offers).headers(&[("Set-Cookie", "session=1; HttpOnly")])?;
/// let written = upgrade.emit_from(0, out, &answer);
/// # Ok(written) }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Upgrade {
    accept: Accept,
    seen: Set,
    choice: Choice,
}

impl Upgrade {
    /// Judges a request whose headers someone else has parsed, an HTTP server for example: by the
    /// same rules as [`ServerHandshake`].
    ///
    /// `version` is that of HTTP, major and minor. From HTTP/2 on the request is an extended CONNECT
    /// whose `:protocol` is `websocket` (RFC 8441, RFC 9220): it has no `Upgrade`, no `Connection`
    /// and no `Host`, and may do without a key.
    ///
    /// Whoever has parsed the head had limits of their own before those of `limits`. For these, it has the
    /// length of its header lines in HTTP/1.1 and the blank line.
    ///
    /// ```
    /// use motews::Limits;
    /// use motews::handshake::{Offers, Upgrade};
    ///
    /// let headers = [("sec-websocket-version", &b"13"[..]), ("sec-websocket-protocol", b"chat")];
    /// let offers = Offers::new().subprotocols(&["chat"]);
    /// let upgrade = Upgrade::from_headers("CONNECT", (2, 0), headers, &offers, Limits::DEFAULT)?;
    /// assert_eq!(upgrade.status(), 200);
    /// upgrade.each_header(&upgrade.answer(&offers), |name, value| {
    ///     assert_eq!((name, value), ("Sec-WebSocket-Protocol", &b"chat"[..]));
    /// });
    /// # Ok::<(), motews::handshake::HandshakeError>(())
    /// ```
    ///
    /// # Errors
    /// What is wrong with the request; [`HandshakeError::NotUpgrade`] if it does not ask for a
    /// WebSocket.
    pub fn from_headers<'h>(
        method: &str,
        version: (u8, u8),
        headers: impl IntoIterator<Item = (&'h str, &'h [u8])>,
        offers: &Offers<'_>,
        limits: Limits,
    ) -> Result<Self, HandshakeError> {
        let mut rules = Requirements::new(limits);
        if version >= (2, 0) {
            // RFC 8441 §5: none of these need be there, and another method is another request. [HT16]
            rules.wrong = match method {
                "CONNECT" => VERSION,
                _ => return Err(HandshakeError::NotUpgrade),
            };
            rules.seen = STREAM;
        } else {
            if method != "GET" {
                rules.wrong |= METHOD; // [HS02]
            }
            if version < (1, 1) {
                rules.wrong |= HTTP_VERSION;
            }
        }
        head::check_parsed(&mut rules, headers, offers, limits)?;
        Ok(rules.upgrade())
    }

    /// What both sides agree on, if the response has [`answer`](Self::answer) as it is.
    #[must_use]
    pub fn agreed(&self) -> Agreed {
        self.choice.agreed()
    }

    /// The same upgrade without compression: for want of memory, for example.
    #[cfg(feature = "deflate")]
    #[must_use]
    pub const fn without_deflate(mut self) -> Self {
        self.choice.deflate = None;
        self
    }

    /// What the response says beside that it accepts: for now, which of the subprotocols in `offers`
    /// the server chooses.
    #[must_use]
    pub fn answer<'a>(&self, offers: &Offers<'a>) -> Answer<'a> {
        // The server's first choice among those offered, or none [HS14]
        let index = self.choice.subprotocol();
        Answer {
            seen: self.seen,
            subprotocol: index.and_then(|index| offers.subprotocol(index)),
            extensions: None,
            headers: &[],
        }
    }

    /// The status of the response: 101; or 200 from HTTP/2 on.
    #[must_use]
    pub const fn status(&self) -> u16 {
        if self.seen & STREAM == 0 { 101 } else { 200 }
    }

    /// Calls `each` with the name and the value of each header of the response, for whoever writes the
    /// response by other means than [`emit_from`](Self::emit_from).
    pub fn each_header(&self, answer: &Answer<'_>, mut each: impl FnMut(&str, &[u8])) {
        let name = |field| core::str::from_utf8(field_name(field)).unwrap_or_default();
        if self.seen & STREAM == 0 {
            each("Upgrade", b"websocket");
            each("Connection", b"Upgrade");
        }
        // RFC 8441 §5 has no key, but one that is sent is answered [HS13]
        if self.seen & KEY != 0 {
            each("Sec-WebSocket-Accept", &self.accept);
        }
        self.each_choice(answer, |field, value| each(name(field), value));
        for (name, value) in answer.headers {
            each(name, value.as_bytes());
        }
    }

    /// What both sides agree on.
    fn each_choice(&self, answer: &Answer<'_>, mut each: impl FnMut(Set, &[u8])) {
        if let Some(subprotocol) = answer.subprotocol {
            each(PROTOCOL, subprotocol.as_bytes());
        }
        #[cfg(feature = "deflate")]
        if let Some(accepted) = &self.choice.deflate {
            each(EXTENSIONS, accepted.response().as_bytes());
        }
        if let Some(extensions) = answer.extensions {
            each(EXTENSIONS, extensions.as_bytes());
        }
    }

    /// Writes the response from its byte `offset` on into `out`, as much as there is room for, and
    /// returns how many bytes that was: 0 once all is written. Any `out` will do, even one byte.
    /// `answer` must be the same each time.
    ///
    /// It is for HTTP/1.1 only: if [`status`](Self::status) is 200, use
    /// [`each_header`](Self::each_header).
    ///
    /// The client may be sent frames after it, and is then a [`Connection`](crate::Connection).
    pub fn emit_from(&self, offset: usize, out: &mut [u8], answer: &Answer<'_>) -> usize {
        let mut writer = Writer::new(offset, out);
        writer.put(b"HTTP/1.1 101 Switching Protocols");
        writer.upgrade();
        writer.field(ACCEPT, &self.accept); // [HS13]
        self.each_choice(answer, |field, value| writer.field(field, value));
        writer.headers(answer.headers);
        writer.end();
        writer.written()
    }
}

/// What the response that accepts says beside that: [`Upgrade::answer`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Answer<'a> {
    /// The headers of the request.
    seen: Set,
    subprotocol: Option<&'a str>,
    extensions: Option<&'a str>,
    headers: &'a [(&'a str, &'a str)],
}

impl<'a> Answer<'a> {
    /// The subprotocol of the connection: the first of the server's that the client offers, or
    /// what [`Answer::select_subprotocol`] said.
    #[must_use]
    pub const fn subprotocol(&self) -> Option<&'a str> {
        self.subprotocol
    }

    /// Answers with this subprotocol, or with none. `offered` are the values of the client's
    /// `Sec-WebSocket-Protocol` headers, as the application has kept them: those that it looked at to
    /// choose. For no subprotocol they are not looked at.
    ///
    /// # Errors
    /// [`ConfigError::Subprotocol`] if it is no element of a list, [`ConfigError::NotOffered`] if the
    /// client does not offer it.
    pub fn select_subprotocol<'h>(
        self,
        subprotocol: Option<&'a str>,
        offered: impl IntoIterator<Item = &'h [u8]>,
    ) -> Result<Self, ConfigError> {
        // RFC 6455 §4.2.2: one that was offered [HS14] [HT04]
        if let Some(name) = subprotocol {
            if self.seen & PROTOCOL == 0 {
                return Err(ConfigError::NotOffered);
            }
            // Some peers offer what is no token, `v1:compact`: then it may be answered, too.
            let is_element = |byte| matches!(byte, b'!'..=b'~') && byte != b',';
            if name.is_empty() || !name.bytes().all(is_element) {
                return Err(ConfigError::Subprotocol);
            }
            let mut offered = offered.into_iter().flat_map(subprotocols);
            if !offered.any(|offer| offer == name) {
                return Err(ConfigError::NotOffered);
            }
        }
        Ok(Self {
            subprotocol,
            ..self
        })
    }

    /// Answers with these extensions of the application's own, each of which the client must have
    /// offered in its `Sec-WebSocket-Extensions` headers (§9.1). Read those with [`Extensions`].
    ///
    /// # Errors
    /// [`ConfigError::Extensions`] if it is no list of extensions, [`ConfigError::NotOffered`] if
    /// the client offered none at all.
    pub fn extensions(self, extensions: &'a str) -> Result<Self, ConfigError> {
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
    pub fn headers(self, headers: &'a [(&'a str, &'a str)]) -> Result<Self, ConfigError> {
        check_headers(headers, HEADERS)?;
        Ok(Self { headers, ..self })
    }
}
