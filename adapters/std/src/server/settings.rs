//! What a server bounds.

use core::fmt;
use std::io;

use motews::{ConnectionConfig, Timeouts};

use super::stream::Tls;
#[cfg(feature = "tls")]
use super::tls::TlsSession;
use crate::handshake::Handshake;

/// What a [`Server`](crate::Server) bounds, beside
/// [time](crate::ServerBuilder::timeouts).
///
/// [`message`](Self::message), [`head`](Self::head) and [`headers`](Self::headers) are those of
/// [`Limits`](motews::Limits), and bounded by default:
///
/// ```
/// use motews_std::ServerLimits;
///
/// static LIMITS: ServerLimits = ServerLimits { message: 64 * 1024, ..ServerLimits::DEFAULT };
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServerLimits {
    /// The longest message that is received, in bytes of payload, inflated if it is compressed. A
    /// longer one fails the connection with 1009 (§10.4). 16 MiB by default. One in parts takes
    /// memory for what has come of it, and twice as much at most.
    ///
    /// A compressed message can expand a thousandfold, and is held for as long as the peer answers
    /// pings: budget this much memory for each connection.
    pub message: u64,
    /// The longest head of a request, in bytes, from the first line to the blank line with all line
    /// ends. 64 KiB by default. A single line has 8 KiB at most, but for the values of headers.
    pub head: u32,
    /// The most header lines in that head. 128 by default.
    pub headers: u16,
    /// The most connections, those in their opening handshake included. More wait to be accepted, in
    /// the operating system's queue. 100,000 by default; the operating system's own limit on open
    /// files has the same effect. To refuse them instead, count in
    /// [`Handler::on_request`](crate::Handler::on_request), and answer with 503.
    pub connections: usize,
    /// How much may wait to be written on one connection, in bytes of the memory that it takes:
    /// beside its bytes, each message takes some. 1 MiB by default. A single message may always
    /// wait, however long it is.
    pub backlog: usize,
}

impl ServerLimits {
    /// The default of each, for a `const` or a `static`.
    pub const DEFAULT: Self = Self {
        message: 16 * 1024 * 1024,
        head: motews::Limits::DEFAULT.head,
        headers: motews::Limits::DEFAULT.headers,
        connections: 100_000,
        backlog: 1024 * 1024,
    };
}

impl Default for ServerLimits {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// What all loops know and nobody changes.
#[derive(Clone)]
pub(super) struct Settings {
    pub(super) limits: ServerLimits,
    pub(super) timeouts: Timeouts,
    pub(super) send_buffer: Option<usize>,
    /// What the opening handshake needs.
    pub(super) handshake: Handshake,
    #[cfg(feature = "tls")]
    pub(super) tls: Option<std::sync::Arc<rustls::ServerConfig>>,
}

impl Settings {
    /// What a session without compression begins with.
    pub(super) fn config(&self) -> ConnectionConfig {
        ConnectionConfig {
            max_message_len: self.limits.message,
            ..ConnectionConfig::default()
        }
    }

    /// The TLS of a new connection.
    #[cfg_attr(
        not(feature = "tls"),
        expect(
            clippy::unnecessary_wraps,
            clippy::unused_self,
            reason = "there is none"
        )
    )]
    pub(super) fn tls(&self) -> io::Result<Tls> {
        #[cfg(feature = "tls")]
        return match &self.tls {
            Some(config) => Ok(Some(Box::new(TlsSession::new(config.clone())?))),
            None => Ok(None),
        };
        #[cfg(not(feature = "tls"))]
        Ok(Tls)
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Settings")
    }
}
