//! Tokens, lists of tokens and lists of extensions (RFC 2616 §2.1 and §2.2, RFC 6455 §9.1).

use core::{fmt, ops};

use super::HandshakeError;

/// RFC 2616 §2.2: a visible ASCII character that is no separator.
pub(super) const fn is_token_byte(byte: u8) -> bool {
    matches!(byte,
        b'0'..=b'9' | b'A'..=b'Z' | b'^'..=b'z' | b'!' | b'#'..=b'\'' | b'*' | b'+' | b'-' | b'.'
        | b'|' | b'~')
}

/// A space or a tab.
pub(super) const fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

/// Whether `bytes` is a token, which is never empty.
pub(super) fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|byte| is_token_byte(*byte))
}

/// `bytes` up to the first `separator`, and what follows it, if there is one.
pub(super) fn split(bytes: &[u8], separator: u8) -> (&[u8], Option<&[u8]>) {
    let at = bytes
        .iter()
        .position(|byte| *byte == separator)
        .unwrap_or(bytes.len());
    let (before, rest) = bytes.split_at_checked(at).unwrap_or_default();
    (before, rest.get(1..))
}

/// Text in visible ASCII that the peer sent: a method, a target, a name.
///
/// It is a `str` in all but one thing: it compares with strings without the checks that make a
/// `&str` of bytes, and so a firmware that only compares does not carry the half kilobyte of them.
///
/// ```
/// # use motews::handshake::Extensions;
/// let name = Extensions::parse(b"permessage-deflate").next().unwrap()?.name;
/// assert!(name == "permessage-deflate");
/// assert!(name.starts_with("permessage-")); // any method of `str`
/// # Ok::<(), motews::handshake::HandshakeError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Ascii<'a>(&'a [u8]);

impl<'a> Ascii<'a> {
    pub(super) const fn new(ascii: &'a [u8]) -> Self {
        Self(ascii)
    }

    /// The text as bytes.
    #[must_use]
    pub const fn as_bytes(self) -> &'a [u8] {
        self.0
    }

    /// The text as a string.
    #[must_use]
    pub fn as_str(self) -> &'a str {
        core::str::from_utf8(self.0).unwrap_or_default()
    }
}

impl ops::Deref for Ascii<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl PartialEq<str> for Ascii<'_> {
    fn eq(&self, other: &str) -> bool {
        self.0 == other.as_bytes()
    }
}

impl PartialEq<&str> for Ascii<'_> {
    fn eq(&self, other: &&str) -> bool {
        self.0 == other.as_bytes()
    }
}

impl fmt::Debug for Ascii<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl fmt::Display for Ascii<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self.as_str(), f)
    }
}

#[cfg(feature = "defmt")]
impl defmt::Format for Ascii<'_> {
    fn format(&self, f: defmt::Formatter<'_>) {
        defmt::write!(f, "{=str}", self.as_str());
    }
}

/// What the reader of a list expects next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expect {
    /// The first byte of a token, or white space before it.
    Token,
    /// More of a token, or what follows it.
    Rest,
    /// What follows a token, after white space.
    Separator,
    /// The first byte of a quoted string.
    Quoted,
    /// More of a quoted string, or its end.
    QuotedRest,
    /// The byte after a backslash.
    Escaped,
    /// The next comma: this element is malformed.
    Comma,
}

/// Which token of an extension is being read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Name,
    Parameter,
    Value,
}

/// Reads a comma-separated list byte by byte, in constant space: checks its grammar, and finds out
/// which of up to 32 candidates are among its elements.
#[derive(Clone, Debug)]
pub(super) struct List {
    /// Elements are extensions (§9.1), which may have parameters; otherwise bare tokens.
    extensions: bool,
    expect: Expect,
    place: Place,
    /// How many bytes of tokens the element has so far.
    len: usize,
    /// One bit for each candidate that begins like the element.
    alike: u32,
    /// One bit for each candidate that was found.
    pub(super) found: u32,
    /// An element was empty or malformed.
    pub(super) malformed: bool,
}

impl List {
    pub(super) const fn new(extensions: bool) -> Self {
        Self {
            extensions,
            expect: Expect::Token,
            place: Place::Name,
            len: 0,
            alike: !0,
            found: 0,
            malformed: false,
        }
    }

    /// The next byte of the list.
    pub(super) fn push(&mut self, byte: u8, candidates: &[&str]) {
        // A comma within quotes is no token either, so each comma ends an element.
        if byte == b',' {
            return self.end_element(candidates);
        }
        let is_token = is_token_byte(byte);
        self.expect = match self.expect {
            Expect::Token | Expect::Rest if is_token => {
                self.compare(byte, candidates);
                Expect::Rest
            }
            Expect::Token if is_space(byte) => Expect::Token,
            Expect::Token if byte == b'"' && self.place == Place::Value => Expect::Quoted,
            Expect::Rest | Expect::Separator if is_space(byte) => Expect::Separator,
            Expect::Rest | Expect::Separator if byte == b';' && self.extensions => {
                self.place = Place::Parameter;
                Expect::Token
            }
            Expect::Rest | Expect::Separator if byte == b'=' && self.place == Place::Parameter => {
                self.place = Place::Value;
                Expect::Token
            }
            // RFC 6455 §9.1: the string without its quotes is a token [HS17]
            Expect::Quoted | Expect::QuotedRest | Expect::Escaped if is_token => Expect::QuotedRest,
            Expect::Quoted | Expect::QuotedRest if byte == b'\\' => Expect::Escaped,
            Expect::QuotedRest if byte == b'"' => Expect::Separator,
            _ => Expect::Comma,
        };
    }

    /// The end of an element: at a comma, and at the end of the list.
    pub(super) fn end_element(&mut self, candidates: &[&str]) {
        if matches!(self.expect, Expect::Rest | Expect::Separator) {
            let ends = |candidate: &&str| candidate.len() == self.len;
            self.found |= self.alike & bits(candidates, ends);
        } else {
            self.malformed = true;
        }
        let Self {
            extensions,
            found,
            malformed,
            ..
        } = *self;
        *self = Self {
            found,
            malformed,
            ..Self::new(extensions)
        };
    }

    fn compare(&mut self, byte: u8, candidates: &[&str]) {
        let goes_on = |candidate: &&str| candidate.as_bytes().get(self.len) == Some(&byte);
        self.alike &= bits(candidates, goes_on);
        self.len = self.len.wrapping_add(1);
    }
}

/// A bit for each of the candidates that are `like`.
fn bits(candidates: &[&str], like: impl Fn(&&str) -> bool) -> u32 {
    let each = candidates.iter().rev();
    each.fold(0, |bits, candidate| bits << 1 | u32::from(like(candidate)))
}

/// The extensions in the value of a `Sec-WebSocket-Extensions` header (§9.1), in their order: a
/// client's offers, or a server's choice.
///
/// Yields an error in place of the first element that is empty or malformed, and then ends. The
/// work is linear in the value's length.
///
/// ```
/// use motews::handshake::Extensions;
///
/// let value = b"permessage-deflate; client_max_window_bits; server_max_window_bits=\"10\", x-other";
/// let mut extensions = Extensions::parse(value);
///
/// let first = extensions.next().unwrap()?;
/// assert_eq!(first.name, "permessage-deflate");
/// let mut params = first.params();
/// let param = params.next().unwrap();
/// assert_eq!(param.name, "client_max_window_bits");
/// assert!(param.value.is_none());
/// let param = params.next().unwrap();
/// assert_eq!(param.name, "server_max_window_bits");
/// assert!(param.value.is_some_and(|value| value.is("10")));
/// assert!(params.next().is_none());
///
/// assert_eq!(extensions.next().unwrap()?.name, "x-other");
/// assert!(extensions.next().is_none());
/// # Ok::<(), motews::handshake::HandshakeError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Extensions<'a> {
    rest: Option<&'a [u8]>,
}

impl<'a> Extensions<'a> {
    /// The extensions in `value`, a header's whole value.
    #[must_use]
    pub const fn parse(value: &'a [u8]) -> Self {
        Self { rest: Some(value) }
    }
}

impl<'a> Iterator for Extensions<'a> {
    type Item = Result<Extension<'a>, HandshakeError>;

    fn next(&mut self) -> Option<Self::Item> {
        let (element, rest) = split(self.rest?, b',');
        let mut list = List::new(true);
        for byte in element {
            list.push(*byte, &[]);
        }
        list.end_element(&[]);
        if list.malformed {
            self.rest = None;
            return Some(Err(HandshakeError::Extensions)); // RFC 6455 §9.1 [HS17]
        }
        self.rest = rest;
        let (name, params) = split(element, b';');
        Some(Ok(Extension {
            name: Ascii::new(name.trim_ascii()),
            params,
        }))
    }
}

/// One extension of a list: its name and its parameters (§9.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Extension<'a> {
    /// The name, as in IANA's registry: `permessage-deflate`.
    pub name: Ascii<'a>,
    params: Option<&'a [u8]>,
}

impl<'a> Extension<'a> {
    /// The parameters, in their order. One may occur more than once.
    #[must_use]
    pub const fn params(&self) -> Params<'a> {
        Params { rest: self.params }
    }
}

/// The parameters of an [`Extension`].
#[derive(Clone, Debug)]
pub struct Params<'a> {
    rest: Option<&'a [u8]>,
}

impl<'a> Iterator for Params<'a> {
    type Item = Param<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        let (param, rest) = split(self.rest?, b';');
        self.rest = rest;
        let (name, value) = split(param, b'=');
        let value = value.map(|value| ParamValue(value.trim_ascii()));
        Some(Param {
            name: Ascii::new(name.trim_ascii()),
            value,
        })
    }
}

/// One parameter of an [`Extension`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Param<'a> {
    /// The name, a token.
    pub name: Ascii<'a>,
    /// The value, if there is one.
    pub value: Option<ParamValue<'a>>,
}

/// The value of a [`Param`]: a token, which the peer may have written as a quoted string (§9.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct ParamValue<'a>(&'a [u8]);

impl<'a> ParamValue<'a> {
    /// The bytes of the token, without quotes and backslashes.
    pub fn bytes(&self) -> impl Iterator<Item = u8> + use<'a> {
        // Neither character is part of a token, so each that stands here is syntax.
        self.0
            .iter()
            .copied()
            .filter(|byte| !matches!(byte, b'"' | b'\\'))
    }

    /// Whether the token is `text`.
    #[must_use]
    pub fn is(&self, text: &str) -> bool {
        self.bytes().eq(text.bytes())
    }
}
