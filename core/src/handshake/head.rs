//! The head of an HTTP message (RFC 2616 §4 to §6), for both roles: the reader of its lines, and
//! the writer of its pieces.

use super::tokens::{HeadText, is_space, is_token, is_token_byte, split};
use super::{ConfigError, HandshakeError, Offers};
use crate::limits::Limits;
use crate::log::debug;

/// A header, or a part of one: a value that is longer than the space the handshake's buffer leaves
/// beside the name arrives in parts, in order, and nothing is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Header<'a> {
    /// The name, as the peer wrote it. Compare it with [`Header::is`].
    pub name: HeadText<'a>,
    /// The value, or the next part of it, without the white space around the whole value. Bytes
    /// beyond ASCII are allowed, and have no meaning of their own.
    pub value: &'a [u8],
    /// This is where the value begins.
    pub first: bool,
    /// This is where the value ends. The last of several parts may be empty.
    pub last: bool,
}

impl Header<'_> {
    /// Whether this is the header `name`, in any case (RFC 2616 §4.2).
    #[must_use]
    pub fn is(&self, name: &str) -> bool {
        self.name.as_bytes().eq_ignore_ascii_case(name.as_bytes())
    }

    /// Whether `value` is the whole value.
    pub(super) const fn is_whole(&self) -> bool {
        self.first && self.last
    }
}

/// A set of things about a head, a bit for each.
pub(super) type Set = u16;

/// What may be missing or wrong in a head, in the order in which it is reported: a bit for each, and the
/// errors have the same order. What is no header has a name all the same.
pub(super) static FIELDS: &[u8] =
    b"Upgrade,method,HTTP version,target,Host,Content-Length,Connection,\
    Sec-WebSocket-Version,Transfer-Encoding,Sec-WebSocket-Key,Sec-WebSocket-Accept,\
    Sec-WebSocket-Protocol,Sec-WebSocket-Extensions,request line,header line,control character";

pub(super) const UPGRADE: Set = 1;
pub(super) const METHOD: Set = 1 << 1;
pub(super) const HTTP_VERSION: Set = 1 << 2;
pub(super) const TARGET: Set = 1 << 3;
pub(super) const HOST: Set = 1 << 4;
pub(super) const CONTENT_LENGTH: Set = 1 << 5;
pub(super) const CONNECTION: Set = 1 << 6;
pub(super) const VERSION: Set = 1 << 7;
/// As a header; as something wrong it is the version, which is another one.
pub(super) const TRANSFER_ENCODING: Set = 1 << 8;
pub(super) const OTHER_VERSION: Set = 1 << 8;
pub(super) const KEY: Set = 1 << 9;
pub(super) const ACCEPT: Set = 1 << 10;
pub(super) const PROTOCOL: Set = 1 << 11;
pub(super) const EXTENSIONS: Set = 1 << 12;
/// The request is a stream of HTTP/2 or later.
pub(super) const STREAM: Set = 1 << 15;

/// The headers that a request, or the answer that accepts, writes itself.
pub(super) const HEADERS: Set = !(METHOD | HTTP_VERSION | TARGET);

/// The bit of the header `name`; 0 for those that the opening handshake does not know [HS18].
pub(super) fn field(name: &[u8]) -> Set {
    let mut rest = Some(FIELDS);
    let mut bit = 1;
    while let Some(names) = rest {
        let (known, others) = split(names, b',');
        if name.eq_ignore_ascii_case(known) {
            break;
        }
        bit <<= 1;
        rest = others;
    }
    bit
}

/// The element of a list with this index.
pub(super) fn element(list: &'static [u8], index: usize) -> &'static [u8] {
    let mut rest = list;
    for _ in 0..index {
        rest = split(rest, b',').1.unwrap_or_default();
    }
    split(rest, b',').0
}

/// The name of the header of this bit.
pub(super) fn field_name(field: Set) -> &'static [u8] {
    element(FIELDS, field.trailing_zeros() as usize)
}

/// The error of the first thing wrong: it does not depend on the order of the headers.
pub(super) fn check(wrong: Set) -> Result<(), HandshakeError> {
    Err(match wrong.trailing_zeros() {
        0 => HandshakeError::Upgrade,
        1 => HandshakeError::Method,
        2 => HandshakeError::HttpVersion,
        3 => HandshakeError::Target,
        4 => HandshakeError::Host,
        5 => HandshakeError::Body,
        6 => HandshakeError::Connection,
        7 => HandshakeError::Version,
        8 => HandshakeError::UnsupportedVersion,
        9 => HandshakeError::Key,
        10 => HandshakeError::Accept,
        11 => HandshakeError::Subprotocol,
        12 => HandshakeError::Extensions,
        _ => return Ok(()),
    })
}

/// `HTTP/1.1` as (1, 1).
pub(super) fn http_version(bytes: &[u8]) -> Option<(u8, u8)> {
    // An array: to compare slices takes a call.
    let (b"HTTP", [b'/', major @ b'0'..=b'9', b'.', minor @ b'0'..=b'9']) =
        bytes.split_first_chunk()?
    else {
        return None;
    };
    Some((*major - b'0', *minor - b'0'))
}

/// What the reader has come to. The bytes are in the buffer: [`Head::line`], [`Head::header`].
#[derive(Clone, Copy, Debug)]
pub(super) enum HeadEvent {
    StartLine,
    /// A part of a header, and not its last one.
    Part,
    /// A header, or its last part.
    Header,
    End,
}

/// What a role demands of the peer's head.
pub(super) trait Rules {
    /// It reads a response, and not a request.
    const IS_CLIENT: bool;
    /// The request line, or the status line.
    fn start_line(&mut self, line: &[u8]) -> Result<(), HandshakeError>;
    /// A header, or a part of one.
    fn header(&mut self, header: &Header<'_>, offers: &Offers<'_>) -> Result<(), HandshakeError>;
    /// The blank line.
    fn end(&self) -> Result<(), HandshakeError>;
    /// Whether another head follows.
    fn is_interim(&self) -> bool {
        false
    }
}

/// Checks a head whose headers someone else has parsed.
///
/// Its length is that of the lines that the headers are in HTTP/1.1, and of the blank line.
// [HS21] [HC25]
pub(super) fn check_parsed<'h>(
    rules: &mut impl Rules,
    headers: impl IntoIterator<Item = (&'h str, &'h [u8])>,
    offers: &Offers<'_>,
    limits: Limits,
) -> Result<(), HandshakeError> {
    let mut headers = headers.into_iter();
    let mut headers_left = limits.headers;
    let mut bytes_left = limits.head.checked_sub(2);
    let read = headers.try_for_each(|(name, value)| {
        if headers_left == 0 {
            return Err(HandshakeError::TooManyHeaders);
        }
        headers_left -= 1;
        let line = name.len().saturating_add(value.len()).saturating_add(4);
        let line = u32::try_from(line).unwrap_or(u32::MAX);
        bytes_left = bytes_left.and_then(|left| left.checked_sub(line));
        let header = Header {
            name: HeadText::new(name.as_bytes()),
            value: value.trim_ascii(),
            first: true,
            last: true,
        };
        rules.header(&header, offers)
    });
    let too_long = match bytes_left {
        Some(_) => Ok(()),
        None => Err(HandshakeError::HeadTooLong),
    };
    let result = read.and(too_long).and_then(|()| rules.end());
    if let Err(error) = result {
        debug!("the opening handshake failed: {}", error);
    }
    result
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    StartLine,
    Name,
    Value,
    /// Behind the line end of a value, which may go on in the next line.
    ValueLine,
    /// Before the rest of a value, in its next line.
    Fold,
    Done,
}

/// Reads the lines of a head byte by byte into a buffer that has room for one line.
// In this order: firmware reaches what lies in front with shorter instructions.
#[repr(C)]
#[derive(Clone, Debug)]
pub(super) struct Head {
    state: State,
    /// A CR was read, so a LF is due.
    cr: bool,
    /// What the buffer holds. It makes room at the next call.
    event: Option<HeadEvent>,
    /// This is the value's first part.
    first: bool,
    headers_left: u16,
    /// The first error, which comes again and again.
    failed: Option<HandshakeError>,
    bytes_left: u32,
    /// The buffer holds a name of `name_len` bytes and a part of its value up to `len`, of which
    /// `spaces` bytes at the end are white space: within the value or after it is not yet known.
    name_len: usize,
    len: usize,
    spaces: usize,
}

impl Head {
    pub(super) const fn new(limits: Limits) -> Self {
        Self {
            state: State::StartLine,
            cr: false,
            event: None,
            first: false,
            name_len: 0,
            len: 0,
            spaces: 0,
            bytes_left: limits.head,
            headers_left: limits.headers,
            failed: None,
        }
    }

    /// Takes bytes from `input` up to the next event and checks it. Returns whether there is
    /// one. The same error comes from every later call.
    pub(super) fn step(
        &mut self,
        buffer: &mut [u8],
        input: &mut &[u8],
        rules: &mut impl Rules,
        offers: &Offers<'_>,
    ) -> Result<bool, HandshakeError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        let result = self.advance(buffer, input, rules, offers);
        if let Err(error) = result {
            debug!("the opening handshake failed: {}", error); // [HT11]
            self.failed = Some(error);
            self.event = None;
        }
        result
    }

    #[inline(never)] // registers enough for it alone: smaller on a Cortex-M
    fn advance<J: Rules>(
        &mut self,
        buffer: &mut [u8],
        input: &mut &[u8],
        rules: &mut J,
        offers: &Offers<'_>,
    ) -> Result<bool, HandshakeError> {
        loop {
            self.next::<J>(buffer, input)?;
            match self.event {
                None => return Ok(false),
                Some(HeadEvent::StartLine) => rules.start_line(self.line(buffer))?,
                Some(HeadEvent::End) => {
                    rules.end()?;
                    if rules.is_interim() {
                        // The limits hold for both heads together.
                        self.state = State::StartLine;
                        continue;
                    }
                }
                Some(_) => rules.header(&self.header(buffer), offers)?,
            }
            return Ok(true);
        }
    }

    /// Whether nothing more is read, and nothing is wrong.
    pub(super) const fn is_done(&self) -> bool {
        matches!(self.state, State::Done) && self.failed.is_none()
    }

    /// What [`Head::step`] came to.
    pub(super) const fn event(&self) -> Option<HeadEvent> {
        self.event
    }

    /// Takes bytes from `input` up to the next event: just behind a line's end, or before the byte
    /// that finds the buffer full or shows that a value has ended. After an error, `input` begins with
    /// the byte that caused it.
    fn next<J: Rules>(
        &mut self,
        buffer: &mut [u8],
        input: &mut &[u8],
    ) -> Result<(), HandshakeError> {
        if let Some(event) = self.event.take() {
            self.make_room(buffer, event);
        }
        // What follows the blank line stays in the input [HS19] [HC22]
        while self.event.is_none()
            && self.state != State::Done
            && let Some((&byte, rest)) = input.split_first()
        {
            if self.push::<J>(buffer, byte)? {
                self.bytes_left = self.bytes_left.wrapping_sub(1);
                *input = rest;
            }
        }
        Ok(())
    }

    /// Takes the next byte, and returns whether it is taken. If not, it comes again after the event
    /// that it called for.
    #[cfg_attr(target_pointer_width = "64", inline)]
    #[cfg_attr(not(target_pointer_width = "64"), inline(never))] // smaller on a Cortex-M
    fn push<J: Rules>(&mut self, buffer: &mut [u8], byte: u8) -> Result<bool, HandshakeError> {
        if J::IS_CLIENT && self.state == State::ValueLine {
            if !is_space(byte) {
                self.state = State::Name;
                self.event = Some(HeadEvent::Header);
                return Ok(false);
            }
            // RFC 9112 §5.2: a line that begins with white space goes on with the value, and a
            // user agent reads a space in place of the line end and what is around it. [HT02]
            self.len = self.len.wrapping_sub(self.spaces);
            self.spaces = 0;
            let has_begun = !self.first || self.len != self.name_len;
            if has_begun && self.keep(buffer, b' ').is_none() {
                return self.full::<J>();
            }
            self.state = State::Fold;
        }
        // [HS21] [HC25]
        if self.bytes_left == 0 {
            return Err(match self.state {
                State::StartLine => HandshakeError::StartLineTooLong,
                _ => HandshakeError::HeadTooLong,
            });
        }
        if self.cr {
            // Lines end with CR LF and nothing else: no room for request smuggling [HS23]
            if byte != b'\n' {
                return Err(HandshakeError::ControlCharacter);
            }
            self.cr = false;
            self.end_line::<J>();
            return Ok(true);
        }
        if byte == b'\r' && (self.state != State::Name || self.len == 0) {
            self.cr = true;
            return Ok(true);
        }
        if self.state != State::Name {
            if is_control(byte) {
                return Err(HandshakeError::ControlCharacter); // [HS23]
            }
            if J::IS_CLIENT && self.state == State::Fold && !is_space(byte) {
                self.state = State::Value;
            }
            // White space before the value, of which nothing was kept yet
            let is_fold = J::IS_CLIENT && self.state == State::Fold;
            let has_begun = !is_fold && (!self.first || self.len != self.name_len);
            if is_space(byte) && !has_begun {
                return Ok(true);
            }
        } else if is_token_byte(byte) {
            if self.len == 0 {
                if self.headers_left == 0 {
                    return Err(HandshakeError::TooManyHeaders); // [HS21] [HC25]
                }
                self.headers_left -= 1;
            }
        } else if byte == b':' && self.len > 0 {
            self.name_len = self.len;
            self.first = true;
            self.state = State::Value;
            return Ok(true);
        } else {
            // An empty name, white space before the colon, no colon; and for a server a folded
            // line [HS23]
            return Err(HandshakeError::HeaderName);
        }
        match self.keep(buffer, byte) {
            Some(()) => Ok(true),
            None => self.full::<J>(),
        }
    }

    /// Keeps a byte, if there is room.
    #[cfg_attr(target_pointer_width = "64", inline)]
    #[cfg_attr(not(target_pointer_width = "64"), inline(never))] // smaller on a Cortex-M
    fn keep(&mut self, buffer: &mut [u8], byte: u8) -> Option<()> {
        if !is_space(byte) {
            self.spaces = 0;
        }
        *buffer.get_mut(self.len)? = byte;
        self.len = self.len.wrapping_add(1);
        if is_space(byte) {
            self.spaces = self.spaces.wrapping_add(1);
        }
        Some(())
    }

    fn end_line<J: Rules>(&mut self) {
        let (state, event) = match self.state {
            // RFC 9112 §2.2: some clients send an empty line before the request [HT01]
            State::StartLine if !J::IS_CLIENT && self.len == 0 => return,
            State::StartLine => (State::Name, HeadEvent::StartLine),
            State::Value | State::Fold if J::IS_CLIENT => {
                self.state = State::ValueLine;
                return;
            }
            State::Value => (State::Name, HeadEvent::Header),
            _ => (State::Done, HeadEvent::End),
        };
        self.state = state;
        self.event = Some(event);
    }

    /// There is no room for the next byte.
    fn full<J: Rules>(&mut self) -> Result<bool, HandshakeError> {
        let is_value =
            self.state == State::Value || (J::IS_CLIENT && self.state == State::ValueLine);
        match self.state {
            State::StartLine => Err(HandshakeError::StartLineTooLong),
            // The part may not be empty: there is a name that fills the buffer, or a run of white
            // space that fills all beside it, and whether that belongs to the value shows too late.
            _ if is_value && self.len != self.name_len.wrapping_add(self.spaces) => {
                self.event = Some(HeadEvent::Part);
                Ok(false)
            }
            _ => Err(HandshakeError::HeaderTooLong),
        }
    }

    /// Forgets what was surfaced. White space that ended a part stays: it may end the value too.
    fn make_room(&mut self, buffer: &mut [u8], event: HeadEvent) {
        self.first = false;
        let mut spaces = self.len.wrapping_sub(self.spaces)..self.len;
        if !matches!(event, HeadEvent::Part) {
            (self.name_len, spaces.end) = (0, 0);
        }
        (self.len, self.spaces) = (self.name_len, 0);
        for at in spaces {
            if let Some(&space) = buffer.get(at) {
                self.keep(buffer, space);
            }
        }
    }

    /// The start line, after its event.
    pub(super) fn line<'a>(&self, buffer: &'a [u8]) -> &'a [u8] {
        buffer.get(..self.len).unwrap_or_default()
    }

    /// The header, or the part of it, after its event.
    pub(super) fn header<'a>(&self, buffer: &'a [u8]) -> Header<'a> {
        let value = self.name_len..self.len.wrapping_sub(self.spaces);
        Header {
            name: HeadText::new(buffer.get(..self.name_len).unwrap_or_default()),
            value: buffer.get(value).unwrap_or_default(),
            first: self.first,
            last: !matches!(self.event, Some(HeadEvent::Part)),
        }
    }
}

/// Writes the pieces of a head one after the other, but for the first `skip` bytes, as far as there
/// is room.
pub(super) struct Writer<'a> {
    skip: usize,
    out: &'a mut [u8],
    written: usize,
}

impl<'a> Writer<'a> {
    pub(super) const fn new(skip: usize, out: &'a mut [u8]) -> Self {
        Self {
            skip,
            out,
            written: 0,
        }
    }

    pub(super) fn put(&mut self, piece: &[u8]) {
        let skipped = self.skip.min(piece.len());
        self.skip = self.skip.wrapping_sub(skipped);
        for byte in piece.get(skipped..).unwrap_or_default() {
            let Some(to) = self.out.get_mut(self.written) else {
                break;
            };
            *to = *byte;
            self.written = self.written.wrapping_add(1);
        }
    }

    /// `number` in decimal digits.
    pub(super) fn decimal(&mut self, number: usize) {
        let mut unit = 10_usize.pow(usize::MAX.ilog10());
        while unit > 0 {
            if unit <= number || unit == 1 {
                self.put(&[b'0' + (number / unit % 10) as u8]);
            }
            unit /= 10;
        }
    }

    /// A header, from the line end before it on.
    pub(super) fn header(&mut self, name: &[u8], value: &[u8]) {
        self.put(b"\r\n");
        self.put(name);
        self.put(b": ");
        self.put(value);
    }

    /// What both answers to a request say that speak of an upgrade.
    pub(super) fn upgrade(&mut self) {
        self.field(UPGRADE, b"websocket");
        self.field(CONNECTION, b"Upgrade");
    }

    /// The header of this bit.
    #[cfg_attr(not(target_pointer_width = "64"), inline(never))] // smaller on a Cortex-M
    pub(super) fn field(&mut self, field: Set, value: &[u8]) {
        self.header(field_name(field), value);
    }

    #[cfg_attr(not(target_pointer_width = "64"), inline(never))] // smaller on a Cortex-M
    pub(super) fn headers(&mut self, headers: &[(&str, &str)]) {
        for (name, value) in headers {
            self.header(name.as_bytes(), value.as_bytes());
        }
    }

    /// The blank line.
    pub(super) fn end(&mut self) {
        self.put(b"\r\n\r\n");
    }

    /// How many bytes were written.
    pub(super) const fn written(&self) -> usize {
        self.written
    }
}

/// A control character, but for the tab, which is white space.
const fn is_control(byte: u8) -> bool {
    matches!(byte, 0..=8 | 10..=31 | 127)
}

/// Whether a caller's string may stand in a header's value: no CR, LF, NUL or other control
/// character but a tab (RFC 6455 §10.7) [HC24].
pub(super) fn is_value(value: &str) -> bool {
    !value.bytes().any(is_control)
}

/// Checks the headers that a caller adds: their syntax [HC24], and that they are none of
/// `reserved`, which the handshake writes itself.
pub(super) fn check_headers(headers: &[(&str, &str)], reserved: Set) -> Result<(), ConfigError> {
    for (name, value) in headers {
        if !is_token(name.as_bytes()) {
            return Err(ConfigError::HeaderName);
        }
        let is_origin = reserved == HEADERS && name.eq_ignore_ascii_case("Origin");
        if is_origin || field(name.as_bytes()) & reserved != 0 {
            return Err(ConfigError::ReservedHeader);
        }
        if !is_value(value) {
            return Err(ConfigError::HeaderValue);
        }
    }
    Ok(())
}
