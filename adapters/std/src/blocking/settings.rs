//! What a client and a server of one connection are configured with alike.

use motews::{Limits, Timeouts};

use crate::handshake::Handshake;

/// The default [`Limits`] of the blocking API: messages up to 64 MiB, and otherwise as
/// [`Limits::DEFAULT`].
///
/// ```
/// use motews_std::{Acceptor, DEFAULT_LIMITS, Limits};
///
/// let acceptor = Acceptor::new().limits(Limits { message: 64 * 1024, ..DEFAULT_LIMITS });
/// # drop(acceptor);
/// ```
pub const DEFAULT_LIMITS: Limits = Limits {
    message: 64 * 1024 * 1024,
    ..Limits::DEFAULT
};

/// The settings that [`Connector`](crate::Connector) and [`Acceptor`](crate::Acceptor) share.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) handshake: Handshake,
    pub(crate) timeouts: Timeouts,
    pub(crate) max_backlog: usize,
    pub(crate) max_inbound: usize,
    pub(crate) read_buffer: usize,
}

impl Settings {
    pub(crate) const fn new() -> Self {
        Self {
            handshake: Handshake::new(DEFAULT_LIMITS),
            timeouts: Timeouts::DEFAULT,
            max_backlog: 64 * 1024,
            max_inbound: 1024 * 1024,
            read_buffer: 64 * 1024,
        }
    }
}

/// The setters that both have, for an `impl` of a type with a field `settings`.
macro_rules! setters {
    () => {
        /// Adds a header to the request, or to the responses that accept. It is checked when it is
        /// used: no name or value with a CR, LF or NUL is ever sent (RFC 6455 §10.7).
        ///
        /// A client's `Host` takes the place of the URL's own, for a server that is reached by another
        /// name; TLS still checks the URL's.
        // [HC07] [HC24]
        pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
            let headers = &mut self.settings.handshake.headers;
            headers.push((name.into(), value.into()));
            self
        }

        /// Sets the subprotocols, the best one first (§1.9). A client offers them; a server takes the
        /// first of them that the client offers.
        pub fn subprotocols<T: Into<String>>(mut self, names: impl IntoIterator<Item = T>) -> Self {
            self.settings.handshake.subprotocols = names.into_iter().map(Into::into).collect();
            self
        }

        /// Sets how long to wait for what. They hold for streams that can be waited for (see
        /// [`Transport`](crate::Transport)).
        pub const fn timeouts(mut self, timeouts: motews::Timeouts) -> Self {
            self.settings.timeouts = timeouts;
            self
        }

        /// Sets the longest message that is received, and the longest head of the peer's opening
        /// handshake: [`DEFAULT_LIMITS`](crate::DEFAULT_LIMITS) if this is not called. A single line
        /// of the head has 8 KiB at most, but for the values of headers.
        ///
        /// Take the rest from `DEFAULT_LIMITS`: `..Limits::DEFAULT` has no limit on messages.
        ///
        /// A longer message fails the connection with 1009 (§10.4). A compressed message can expand a
        /// thousandfold, and a peer that does not end it keeps it in memory: budget
        /// [`Limits::message`](crate::Limits::message) bytes for each connection.
        // [FR17] [HC25] [HS21]
        pub const fn limits(mut self, limits: motews::Limits) -> Self {
            self.settings.handshake.limits = limits;
            self
        }

        /// Sets how much may wait to be written before a sender waits, in bytes. A single message
        /// may always wait, however long it is.
        pub const fn max_backlog(mut self, bytes: usize) -> Self {
            self.settings.max_backlog = bytes;
            self
        }

        /// Sets how much is kept of what comes in while this side sends, or counts what is
        /// [`pending`](crate::WebSocket::pending), in bytes of memory. Reading stops with the message
        /// that reaches it, so the longest message comes on top.
        ///
        /// Two peers that send to each other and do not receive would wait for each other. Up to this
        /// limit, a [`send`](crate::WebSocket::send) that waits reads what the peer sends. Beyond it,
        /// it returns [`SendError::InboundFull`](crate::SendError::InboundFull) at once if the
        /// application has sent that much more than it has received. So an application that answers
        /// each message waits for the peer; one that sends everything first has to receive.
        pub const fn max_inbound(mut self, bytes: usize) -> Self {
            self.settings.max_inbound = bytes;
            self
        }

        /// Sets the size of the buffer that is read into, in bytes: more for fewer system calls, less
        /// for less memory. Each WebSocket has one for as long as it lives, also while nothing comes.
        pub const fn read_buffer(mut self, bytes: usize) -> Self {
            self.settings.read_buffer = bytes;
            self
        }

        /// Compresses messages if the peer can as well (RFC 7692). Without this call nothing is
        /// offered or accepted. [`DeflateConfig::DEFAULT`](crate::DeflateConfig::DEFAULT) is for many
        /// connections; [`DeflateConfig::MAX`](crate::DeflateConfig::MAX) compresses best; windows of
        /// your own take less.
        ///
        /// A connection that has agreed on it takes 2 KiB and the window of what it receives, and six
        /// to seven times the window of what it sends (and 2.5 KiB) more: 62 KB by default, 234 KB
        /// with `MAX`. One that has not takes nothing.
        ///
        /// Messages above 2 MiB, which take long to compress, and those of a stream
        /// ([`WebSocket::stream_text`](crate::WebSocket::stream_text)) are sent as they are. So is
        /// [`WebSocket::send_uncompressed`](crate::WebSocket::send_uncompressed): for a message that
        /// holds both a secret and text that an attacker may choose, since its compressed length would
        /// show whether they are alike (RFC 7692 §8; CRIME, BREACH).
        ///
        /// ```no_run
        /// use motews_std::{Connector, DeflateConfig};
        ///
        /// let ws = Connector::new().deflate(DeflateConfig::DEFAULT).connect("ws://example.com/")?;
        /// println!("{:?}", ws.deflate());
        /// # Ok::<(), motews_std::ConnectError>(())
        /// ```
        // [PD30]
        #[cfg(feature = "deflate")]
        pub const fn deflate(mut self, config: motews::deflate::DeflateConfig) -> Self {
            self.settings.handshake.deflate = Some(config);
            self
        }

        /// Adopts a stream whose opening handshake was done elsewhere: see
        /// [`WebSocket::from_upgraded`](crate::WebSocket::from_upgraded). Compression is as `agreed`
        /// says.
        pub fn from_upgraded<S: crate::Transport, R: motews::Role>(
            &self,
            stream: S,
            role: R,
            leftover: &[u8],
            agreed: motews::handshake::Agreed,
        ) -> crate::WebSocket<S, R> {
            crate::WebSocket::adopt(stream, role, leftover, agreed, &self.settings)
        }
    };
}
pub(crate) use setters;
