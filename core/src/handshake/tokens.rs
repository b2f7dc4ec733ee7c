//! Tokens, and lists of them (RFC 2616 §2.1 and §2.2).

use core::{fmt, ops};

use crate::utf8::Utf8Validator;

/// A bit for each ASCII character that may be in a token: visible, and no separator (RFC 2616 §2.2).
#[expect(clippy::indexing_slicing, reason = "while compiling")]
const TOKEN_BYTES: [u32; 4] = {
    let mut bits = [0; 4];
    let mut byte = 0;
    while byte < 128 {
        let is_separator = matches!(
            byte,
            b'(' | b')'
                | b'<'
                | b'>'
                | b'@'
                | b','
                | b';'
                | b':'
                | b'\\'
                | b'"'
                | b'/'
                | b'['
                | b']'
                | b'?'
                | b'='
                | b'{'
                | b'}'
        );
        if byte.is_ascii_graphic() && !is_separator {
            bits[byte as usize / 32] |= 1 << (byte % 32);
        }
        byte += 1;
    }
    bits
};

/// Whether a token may have this byte. A table, for that is smaller on a Cortex-M.
pub(super) fn is_token_byte(byte: u8) -> bool {
    let bits = TOKEN_BYTES.get(usize::from(byte / 32));
    bits.is_some_and(|bits| bits >> (byte % 32) & 1 == 1)
}

/// A space or a tab.
pub(super) const fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

/// Whether `bytes` is a token, which is never empty.
pub(super) fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|byte| is_token_byte(*byte))
}

/// Whether `bytes` are visible ASCII characters and UTF-8 beyond it [HT06].
pub(super) fn is_visible(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| !matches!(byte, 0..=b' ' | 127)) && Utf8Validator::is_text(bytes)
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

/// Text of a head that the peer sent: a method, a target, a name.
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
pub struct HeadText<'a>(&'a [u8]);

impl<'a> HeadText<'a> {
    /// `text` is UTF-8.
    pub(super) const fn new(text: &'a [u8]) -> Self {
        Self(text)
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

impl ops::Deref for HeadText<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl PartialEq<str> for HeadText<'_> {
    fn eq(&self, other: &str) -> bool {
        self.0 == other.as_bytes()
    }
}

impl PartialEq<&str> for HeadText<'_> {
    fn eq(&self, other: &&str) -> bool {
        self.0 == other.as_bytes()
    }
}

impl fmt::Debug for HeadText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl fmt::Display for HeadText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self.as_str(), f)
    }
}

#[cfg(feature = "defmt")]
impl defmt::Format for HeadText<'_> {
    fn format(&self, f: defmt::Formatter<'_>) {
        defmt::write!(f, "{=str}", self.as_str());
    }
}
