//! What a server bounds.

use core::fmt;
use std::io;

use motews::ConnectionConfig;
use motews::Timeouts;

use super::stream::Tls;
#[cfg(feature = "tls")]
use super::tls::TlsSession;
use crate::handshake::Handshake;

/// What a [`Server`](crate::Server) bounds, beside
/// [time](crate::ServerBuilder::timeouts).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How many connections there may be, those in their opening handshake included. More wait to
    /// be accepted, in the operating system's queue. 100,000 by default; the operating system's own
    /// limit on open files has the same effect. To tell them so instead, count in
    /// [`Handler::on_request`](crate::Handler::on_request), and answer with 503.
    pub max_connections: usize,
    /// The longest head of a request, in bytes, with all line ends. 64 KiB by default. A single
    /// line has 8 KiB at most, but for the values of headers.
    pub max_head_len: u32,
    /// The most headers in a request. 128 by default.
    pub max_headers: u16,
    /// The longest message that is received, in bytes of payload. A longer one fails the
    /// connection with 1009 (§10.4). 16 MiB by default. One in parts takes memory for what has come
    /// of it, and twice as much at most.
    ///
    /// With compression a thousandth of that on the wire fills it, and it is held for as long as the
    /// peer answers pings: allow no more than there is memory for, for each connection.
    pub max_message_len: usize,
    /// How much may wait to be written on one connection, in bytes of the memory that it takes:
    /// beside its bytes, each message takes some. 1 MiB by default. A single message may always
    /// wait, however long it is.
    pub max_backlog: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_connections: 100_000,
            max_head_len: 64 * 1024,
            max_headers: 128,
            max_message_len: 16 * 1024 * 1024,
            max_backlog: 1024 * 1024,
        }
    }
}

/// What all loops know and nobody changes.
pub(super) struct Settings {
    pub(super) limits: Limits,
    pub(super) timeouts: Timeouts,
    /// What the opening handshake needs.
    pub(super) handshake: Handshake,
    #[cfg(feature = "tls")]
    pub(super) tls: Option<std::sync::Arc<rustls::ServerConfig>>,
}

impl Settings {
    /// What a session without compression begins with.
    pub(super) fn config(&self) -> ConnectionConfig {
        ConnectionConfig {
            max_message_len: self.limits.max_message_len as u64,
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
