//! A server's settings: [`Acceptor`].

use super::settings::{Settings, setters};

/// The settings of a server's connections, each on a thread of its own. For many connections on one
/// thread there is the event-driven [`Server`](crate::Server).
///
/// | setting | default |
/// |---|---|
/// | [`timeouts`](Self::timeouts): opening handshake | 10 s |
/// | idle | none |
/// | silence until a ping, then until its pong | 30 s, 10 s |
/// | closing handshake | 5 s |
/// | a peer that does not read, beyond the time that the bytes it took have bought it | 30 s |
/// | [`limits`](Self::limits): message, head, headers | 64 MiB, 64 KiB, 128 |
/// | [`max_backlog`](Self::max_backlog) | 64 KiB |
/// | [`max_inbound`](Self::max_inbound) | 1 MiB |
/// | [`read_buffer`](Self::read_buffer) | 64 KiB |
///
/// ```no_run
/// use motews_std::Acceptor;
///
/// let acceptor = Acceptor::new().subprotocols(["chat.v2", "chat.v1"]);
/// for stream in std::net::TcpListener::bind("127.0.0.1:9001")?.incoming() {
///     let (acceptor, stream) = (acceptor.clone(), stream?);
///     std::thread::spawn(move || -> std::io::Result<()> {
///         let mut ws = acceptor.accept(stream)?;
///         ws.send("Hello")?;
///         Ok(())
///     });
/// }
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct Acceptor {
    pub(crate) settings: Settings,
}

impl Default for Acceptor {
    fn default() -> Self {
        Self::new()
    }
}

impl Acceptor {
    /// Returns the defaults.
    pub const fn new() -> Self {
        Self {
            settings: Settings::new(),
        }
    }

    setters!();
}
