//! What is wrong with a URL: [`UrlError`].

use core::fmt;

/// What is wrong with a URL (RFC 6455 §3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum UrlError {
    /// It has a control character or a backslash.
    Malformed,
    /// It has no scheme: no `://`.
    NoScheme,
    /// The scheme is none of `ws`, `wss`, `http`, `https`.
    Scheme,
    /// The host is missing, or no host can have that name.
    Host,
    /// The host is not ASCII, and the feature `idna` is off.
    NotAscii,
    /// The port is not in 1..=65535.
    Port,
    /// It has a fragment, which no WebSocket URL has: a `#` elsewhere is written `%23`.
    Fragment,
    /// The user has a colon, or user or password is not UTF-8, or has a `@` that is not written
    /// `%40`.
    UserInfo,
}

impl fmt::Display for UrlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed => "the URL has a control character or a backslash",
            Self::NoScheme => "the URL has no scheme: write ws:// or wss:// before it",
            Self::Scheme => "the URL does not begin with ws:// or wss://",
            Self::Host => "the URL has no host, or one that no host can have",
            Self::NotAscii => {
                "the URL's host is not ASCII: write it in its form with xn--, \
                or enable the feature `idna`"
            }
            Self::Port => "the URL's port is not in 1..=65535",
            Self::Fragment => "a WebSocket's URL has no fragment; write # as %23",
            Self::UserInfo => {
                "the user or the password in the URL is not percent-encoded UTF-8 \
                (@ is written %40), or the user has a colon"
            }
        })
    }
}

impl core::error::Error for UrlError {}
