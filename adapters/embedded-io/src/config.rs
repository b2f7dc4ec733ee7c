//! What the caller decides once: [`Config`], and the buffers.

use motews::Limits;
use motews::NoRoom;
use motews::Timeouts;
use motews::handshake::{Answer, Offers, Response, Upgrade};

/// The least room for the receive buffer and for the transmit buffer, in bytes.
///
/// A header of the handshake that is needed whole takes 48, and a client's frame has a header of 6
/// to 8. A pong of 131 passes through in parts.
pub const MIN_BUFFER: usize = 64;

/// The memory of a WebSocket, lent to it: at least [`MIN_BUFFER`] bytes each.
///
/// ```
/// use motews_embedded_io::Buffers;
///
/// let (mut receive, mut transmit) = ([0; 256], [0; 512]);
/// let buffers = Buffers { receive: &mut receive, transmit: &mut transmit };
/// # _ = buffers;
/// ```
#[derive(Debug)]
pub struct Buffers<'a> {
    /// Holds what one read brings. A message may be longer.
    pub receive: &'a mut [u8],
    /// Holds what waits to be written. It bounds one frame that is sent, and one line of the opening
    /// handshake that is needed whole.
    pub transmit: &'a mut [u8],
}

impl<'a> Buffers<'a> {
    /// Both, if they are large enough.
    pub(crate) const fn checked(self) -> Result<(&'a mut [u8], &'a mut [u8]), NoRoom> {
        match self.receive.len() < MIN_BUFFER || self.transmit.len() < MIN_BUFFER {
            true => Err(NoRoom),
            false => Ok((self.receive, self.transmit)),
        }
    }
}

/// What is the same for all connections. It stays with the caller.
///
/// ```
/// use motews_embedded_io::Config;
///
/// static CONFIG: Config<'static> = Config { subprotocols: &["chat"], ..Config::DEFAULT };
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Config<'a> {
    /// How long to wait for what, if the caller gives a source of time; without one, no deadline is
    /// kept.
    pub timeouts: Timeouts,
    /// What the peer may send. There is no limit on messages by default, for the adapter keeps nothing
    /// of them.
    pub limits: Limits,
    /// The subprotocols that a client offers, and a server chooses from, the one it likes best first.
    pub subprotocols: &'a [&'a str],
    /// Whether the transport's own `flush` is called when everything is written: `true` by default,
    /// because a transport may keep bytes back; a TLS stream does. `false` spares a wait if `flush`
    /// means more than that: embassy-net's waits until the peer has acknowledged.
    pub flush: bool,
}

impl Config<'_> {
    /// The defaults of the core, no subprotocol, and `flush`.
    pub const DEFAULT: Self = Self {
        timeouts: Timeouts::DEFAULT,
        limits: Limits::DEFAULT,
        subprotocols: &[],
        flush: true,
    };
}

impl Default for Config<'_> {
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl<'a> Config<'a> {
    /// What is offered, or accepted, but for compression.
    pub(crate) const fn offers(&self) -> Offers<'a> {
        Offers::new().subprotocols(self.subprotocols)
    }
}

/// What a server does with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Decision<'a> {
    /// Accepts the upgrade that [`Done`](motews::handshake::RequestEvent::Done) has brought.
    Accept(Upgrade),
    /// The same with an answer of the caller's own: with headers, or another subprotocol.
    AcceptWith(Upgrade, Answer<'a>),
    /// An HTTP response: a refusal, or a page. The connection ends after it.
    Respond(Response<'a>),
}
