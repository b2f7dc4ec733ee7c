//! Lists of extensions (RFC 6455 §9.1), for applications that have some of their own.

use super::HandshakeError;
use super::lists::is_extension;
use super::tokens::{HeadText, split};

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
        if !is_extension(element) {
            self.rest = None;
            return Some(Err(HandshakeError::Extensions)); // RFC 6455 §9.1 [HS17]
        }
        self.rest = rest;
        let (name, params) = split(element, b';');
        Some(Ok(Extension {
            name: HeadText::new(name.trim_ascii()),
            params,
        }))
    }
}

/// One extension of a list: its name and its parameters (§9.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Extension<'a> {
    /// The name, as in IANA's registry: `permessage-deflate`.
    pub name: HeadText<'a>,
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
            name: HeadText::new(name.trim_ascii()),
            value,
        })
    }
}

/// One parameter of an [`Extension`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Param<'a> {
    /// The name, a token.
    pub name: HeadText<'a>,
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
