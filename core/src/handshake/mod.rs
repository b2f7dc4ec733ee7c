//! The opening handshake: from an HTTP request to an open connection (RFC 6455 §4).
//!
//! It has the shape of the frames that follow it: bytes in, events out, in constant memory. Only the
//! line being read is stored, in a buffer that the caller sizes; a longer value arrives in parts, so
//! a browser's 16 KB of cookies pass through 256 bytes, and nothing is lost. The work is linear in
//! the bytes, however they arrive.
//!
//! | role | reads | writes |
//! |---|---|---|
//! | server | [`ServerHandshake`]: the request | [`Upgrade`] accepts, [`Response`] refuses |
//! | client | [`ClientHandshake`]: the response | [`Request`], with a [`Key`] |
//!
//! What is written is written whole, or in pieces through any buffer: `emit_from(offset, out)`.
//!
//! Nothing is borrowed from one call to the next: the [`Offers`] of this side, its subprotocols and
//! compression, are lent to each call, and what comes of them is an index and some numbers:
//! [`Agreed`]. Extensions are negotiated while they arrive.
//!
//! An HTTP server or client that has parsed the headers already gives them to
//! [`Upgrade::from_headers`] or [`Agreed::from_headers`]: the same rules, for HTTP/1.1 and for the
//! extended CONNECT of HTTP/2 and HTTP/3 (RFC 8441, RFC 9220).
//!
//! # A server
//! The application sees every header before it accepts (§4.2.2). A browser sends the cookies of
//! *its* user along with a request that *another* site made: who trusts cookies checks the `Origin`
//! (§10.2). A request without one does not come from a browser.
//!
//! ```
//! use motews::handshake::{HandshakeError, Offers, RequestEvent, Response, ServerHandshake};
//!
//! static OFFERS: Offers<'static> = Offers::new().subprotocols(&["superchat"]);
//!
//! let mut input: &[u8] = b"GET /chat HTTP/1.1\r\n\
//!     Host: example.com\r\n\
//!     Upgrade: websocket\r\n\
//!     Connection: keep-alive, Upgrade\r\n\
//!     Origin: http://example.com\r\n\
//!     Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
//!     Sec-WebSocket-Protocol: chat, superchat\r\n\
//!     Sec-WebSocket-Version: 13\r\n\
//!     \r\n";
//! let mut handshake = ServerHandshake::new([0; 256]);
//!
//! let (mut found, mut trusted) = (false, true);
//! let accepted = loop {
//!     match handshake.next_event(&mut input, &OFFERS) {
//!         Ok(Some(RequestEvent::RequestLine { target, .. })) => found = target == "/chat",
//!         Ok(Some(RequestEvent::Header(header))) if header.is("Origin") => {
//!             trusted = header.value == b"http://example.com" && header.last;
//!         }
//!         Ok(Some(RequestEvent::Done(upgrade))) => break Ok(upgrade),
//!         Ok(Some(_)) => {} // another header
//!         Ok(None) => unreachable!("read more bytes into `input`"),
//!         Err(error) => break Err(error),
//!     }
//! };
//!
//! let mut out = [0; 512];
//! let len = match accepted {
//!     Ok(_) if !found => Response::new(404)?.emit_from(0, &mut out),
//!     Ok(_) if !trusted => Response::new(403)?.emit_from(0, &mut out),
//!     // And now: Connection::with_config(Server, upgrade.agreed().config)
//!     Ok(upgrade) => upgrade.emit_from(0, &mut out, &upgrade.answer(&OFFERS)),
//!     Err(HandshakeError::NotUpgrade) => {
//!         let page = Response::new(200)?.body(b"Hello").head(handshake.is_head());
//!         page.emit_from(0, &mut out)
//!     }
//!     Err(error) => error.response().head(handshake.is_head()).emit_from(0, &mut out),
//! };
//! assert_eq!(
//!     core::str::from_utf8(&out[..len]),
//!     Ok("HTTP/1.1 101 Switching Protocols\r\n\
//!         Upgrade: websocket\r\n\
//!         Connection: Upgrade\r\n\
//!         Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\
//!         Sec-WebSocket-Protocol: superchat\r\n\
//!         \r\n"),
//! );
//! # Ok::<(), motews::handshake::ConfigError>(())
//! ```
//!
//! # A client
//! ```
//! use motews::handshake::{ClientHandshake, Key, Offers, Request, ResponseEvent};
//! # use motews::{Entropy, EntropyError};
//! # struct Hardware;
//! # impl Entropy for Hardware {
//! #     fn fill(&mut self, bytes: &mut [u8]) -> Result<(), EntropyError> {
//! #         bytes.copy_from_slice(b"the sample nonce");
//! #         Ok(())
//! #     }
//! # }
//!
//! let offers = Offers::new().subprotocols(&["superchat", "chat"]);
//! let key = Key::new(&mut Hardware)?;
//! let request = Request::new("example.com", "/chat")?
//!     .offers(&offers)?
//!     .headers(&[("Authorization", "Bearer 42")])?;
//! let mut out = [0; 16]; // as small as you like
//! let mut sent = 0;
//! while let written @ 1.. = request.emit_from(sent, &mut out, &key) {
//!     // send out[..written]
//!     sent += written;
//! }
//!
//! # let mut input: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\n\
//! #     Upgrade: websocket\r\n\
//! #     Connection: Upgrade\r\n\
//! #     Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\
//! #     Sec-WebSocket-Protocol: chat\r\n\
//! #     \r\n";
//! let mut handshake = ClientHandshake::new(&key, [0; 256]);
//! let agreed = loop {
//!     match handshake.next_event(&mut input, &offers)?.expect("or read more bytes into `input`") {
//!         ResponseEvent::Done(agreed) => break agreed,
//!         ResponseEvent::Header(header) if header.is("Location") => {} // of a 3xx
//!         _ => {}
//!     }
//! };
//! // And now: Connection::with_config(Client::new(Hardware), agreed.config)
//! assert_eq!(agreed.subprotocol.and_then(|index| offers.subprotocol(index)), Some("chat"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! A client has at most one connection to a host in this state at a time (§4.1). One that
//! reconnects by itself waits a random time first, 0 to 5 seconds, and longer after each failure
//! (§7.2.3): [`Reconnect`](crate::Reconnect) computes how long.

// The first of the last two rules is the application's to keep [HC03]; reconnect.rs has the other.

mod accept;
mod client;
mod extensions;
mod head;
mod lists;
mod offers;
mod response;
mod server;
mod tokens;

use core::fmt;

pub use accept::Key;
pub use client::{ClientHandshake, Request, ResponseEvent};
pub use extensions::{Extension, Extensions, Param, ParamValue, Params};
pub use head::Header;
pub use lists::subprotocols;
pub use offers::{Agreed, Offers};
pub use response::Response;
pub use server::{Answer, RequestEvent, ServerHandshake, Upgrade, path_and_query};
pub use tokens::HeadText;

use crate::role::EntropyError;

/// What is wrong with the peer's opening handshake. The connection cannot be used for frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
// From `Upgrade` to `Extensions` in the order of their bits in `head`.
pub enum HandshakeError {
    /// The first line is longer than the buffer, or than [`Limits::head`](crate::Limits::head).
    StartLineTooLong,
    /// A header that is needed whole is longer than the buffer.
    HeaderTooLong,
    /// The head is longer than [`Limits::head`](crate::Limits::head).
    HeadTooLong,
    /// More headers than [`Limits::headers`](crate::Limits::headers).
    TooManyHeaders,
    /// No `Upgrade: websocket`: an ordinary HTTP request, to be answered as one.
    NotUpgrade,
    /// The server's `Upgrade` is missing, or not `websocket` alone.
    Upgrade,
    /// A method other than GET.
    Method,
    /// A HTTP version before 1.1.
    HttpVersion,
    /// The target is no path and no absolute URI of HTTP or WebSocket, or has a fragment.
    Target,
    /// No `Host`, or several.
    Host,
    /// The request announces a body.
    Body,
    /// `Connection` lacks the token `upgrade`.
    Connection,
    /// `Sec-WebSocket-Version` is missing or repeated.
    Version,
    /// `Sec-WebSocket-Version` is not 13 (§4.4).
    UnsupportedVersion,
    /// `Sec-WebSocket-Key` is missing, repeated or not the base64 of 16 bytes.
    Key,
    /// `Sec-WebSocket-Accept` is missing, repeated or not the answer to the key.
    Accept,
    /// The server's `Sec-WebSocket-Protocol` is repeated, or was not offered.
    Subprotocol,
    /// `Sec-WebSocket-Extensions` is malformed, or the server's has one that was not offered.
    Extensions,
    /// The request line or the status line is malformed.
    StartLine,
    /// A header line does not begin with a name and a colon.
    HeaderName,
    /// A CR without LF, a LF without CR, a NUL or another control character.
    ControlCharacter,
    /// The server answered with this status, and not with 101: a redirection, a refusal, a page.
    UnexpectedStatus(u16),
}

impl HandshakeError {
    /// The HTTP status that tells a client so: 400, 414, 426 or 431. See
    /// [`HandshakeError::response`].
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::StartLineTooLong => 414,
            Self::NotUpgrade | Self::UnsupportedVersion => 426,
            Self::HeaderTooLong | Self::HeadTooLong | Self::TooManyHeaders => 431,
            _ => 400,
        }
    }
}

impl fmt::Display for HandshakeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::StartLine => "the first line is malformed",
            Self::HeaderName => "a header line does not begin with a name and a colon",
            Self::ControlCharacter => "a control character, or half a line end, in the head",
            Self::StartLineTooLong => "the first line is too long",
            Self::HeaderTooLong => "a header is too long for the buffer",
            Self::HeadTooLong => "the head is too long",
            Self::TooManyHeaders => "too many headers",
            Self::NotUpgrade => "the request does not ask for a WebSocket",
            Self::Method => "the method is not GET",
            Self::HttpVersion => "the HTTP version is before 1.1",
            Self::Target => "the target is no path and no http or ws URI, or has a fragment",
            Self::Host => "Host is missing or repeated",
            Self::Body => "the request announces a body",
            Self::Upgrade => "Upgrade is missing or not `websocket`",
            Self::Connection => "Connection lacks the token `upgrade`",
            Self::Version => "Sec-WebSocket-Version is missing or repeated",
            Self::UnsupportedVersion => "Sec-WebSocket-Version is not 13",
            Self::Key => "Sec-WebSocket-Key is missing, repeated or not base64 of 16 bytes",
            Self::Accept => "Sec-WebSocket-Accept is missing, repeated or wrong",
            Self::Subprotocol => "Sec-WebSocket-Protocol is repeated, or was not offered",
            Self::Extensions => "Sec-WebSocket-Extensions is malformed, or was not offered",
            Self::UnexpectedStatus(status) => {
                return write!(f, "the server answered with the status {status}");
            }
        })
    }
}

impl core::error::Error for HandshakeError {}

/// What is wrong with the strings that the caller gave for a request or a response. No CR, LF or NUL
/// of theirs ever reaches the wire (§10.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum ConfigError {
    /// A host that is empty, or has a character that no host has.
    Host,
    /// A target that is no absolute path in visible ASCII, or has a fragment.
    Target,
    /// A header's name that is no token.
    HeaderName,
    /// A header's value or a reason phrase with a control character.
    HeaderValue,
    /// A header that the handshake itself writes, or may not have.
    ReservedHeader,
    /// A subprotocol that is no token, or is offered twice; or more than 32 of them.
    Subprotocol,
    /// Extensions that are malformed.
    Extensions,
    /// A subprotocol or extensions for a client that offered none.
    NotOffered,
    /// A status that is not in 200..=999.
    Status,
    /// No nonce could be had.
    Entropy,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Host => "the host is empty or has a character that no host has",
            Self::Target => "the target is no absolute path in visible ASCII without a fragment",
            Self::HeaderName => "a header's name is no token",
            Self::HeaderValue => "a header's value or a reason has a control character",
            Self::ReservedHeader => {
                "a header that the handshake itself writes, or may not have: Upgrade, Connection, \
                Origin, Sec-WebSocket-..., one for the body, or, over HTTP/2, Keep-Alive and its like"
            }
            Self::Subprotocol => "a subprotocol is no token, or is offered twice",
            Self::Extensions => "the extensions are malformed",
            Self::NotOffered => "the client does not offer this subprotocol or extension",
            Self::Status => "the status is not in 200..=999",
            Self::Entropy => "the source of nonces failed",
        })
    }
}

impl core::error::Error for ConfigError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        matches!(self, Self::Entropy).then_some(&EntropyError)
    }
}

impl From<EntropyError> for ConfigError {
    fn from(_: EntropyError) -> Self {
        Self::Entropy
    }
}
