//! Which parameters both sides agree upon (RFC 7692 §5, §7.1).

use heapless::String;

use super::WindowBits;
use crate::handshake::{Extension, Extensions, HandshakeError, ParamValue};

const NAME: &str = "permessage-deflate";
const SERVER_NO_CONTEXT_TAKEOVER: &str = "server_no_context_takeover";
const CLIENT_NO_CONTEXT_TAKEOVER: &str = "client_no_context_takeover";
const SERVER_MAX_WINDOW_BITS: &str = "server_max_window_bits";
const CLIENT_MAX_WINDOW_BITS: &str = "client_max_window_bits";

/// The longest offer or response, in octets: the name and all four parameters.
const MAX_LEN: usize = NAME.len()
    + SERVER_NO_CONTEXT_TAKEOVER.len()
    + CLIENT_NO_CONTEXT_TAKEOVER.len()
    + SERVER_MAX_WINDOW_BITS.len()
    + CLIENT_MAX_WINDOW_BITS.len()
    + 4 * "; ".len()
    + 2 * "=15".len();

/// How one side compresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Context {
    /// The farthest it refers back: what the other side must keep (RFC 7692 §7.1.2).
    pub window_bits: WindowBits,
    /// Whether a message may refer to those before it (RFC 7692 §7.1.1). If not, nothing has to be
    /// kept between messages.
    pub takeover: bool,
}

impl Context {
    const MAX: Self = Self {
        window_bits: WindowBits::MAX,
        takeover: true,
    };
}

impl Default for Context {
    /// All that RFC 7692 allows.
    fn default() -> Self {
        Self::MAX
    }
}

/// permessage-deflate as one side wants it at most, and then, as both have agreed.
///
/// What this side [sends](Self::send) is its own to limit. What it [receives](Self::receive) is
/// limited by what the peer can be asked to do; where the peer cannot, there is no compression, and
/// the connection goes on without.
///
/// A server in firmware that keeps a window of 1 KiB for each direction:
/// ```
/// use motews::deflate::{Context, Deflate, WindowBits};
///
/// let kib = Context { window_bits: WindowBits::new(10).unwrap(), takeover: true };
/// let config = Deflate { send: kib, receive: kib };
///
/// // A browser:
/// let accepted = config.accept([&b"permessage-deflate; client_max_window_bits"[..]]).unwrap();
/// assert_eq!(accepted.agreed, config);
/// assert_eq!(accepted.response.as_str(), "permessage-deflate; client_max_window_bits=10");
///
/// // A client that cannot limit its window: declined, for it would not fit.
/// assert!(config.accept([&b"permessage-deflate"[..]]).is_none());
/// ```
///
/// A client:
/// ```
/// use motews::deflate::Deflate;
///
/// let config = Deflate::default();
/// assert_eq!(config.offer().as_str(), "permessage-deflate; client_max_window_bits=12");
/// let response: &[u8] = b"permessage-deflate; server_no_context_takeover";
/// let agreed = config.confirm([response])?.expect("accepted");
/// assert!(!agreed.receive.takeover && agreed.send.takeover);
/// # Ok::<(), motews::handshake::HandshakeError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Deflate {
    /// How this side compresses what it sends.
    pub send: Context,
    /// How the peer compresses what this side receives.
    pub receive: Context,
}

impl Default for Deflate {
    /// What any peer can agree to, and a desktop can afford for many connections: it sends with a
    /// window of 4 KiB and receives with one of 32 KiB, both with context takeover. To compress takes
    /// up to seven times the window, to inflate once: so this is a quarter of [`MAX`](Self::MAX).
    fn default() -> Self {
        Self {
            send: Context {
                window_bits: WindowBits(12),
                takeover: true,
            },
            ..Self::MAX
        }
    }
}

/// An offer that was accepted: [`Deflate::accept`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// What both sides use now.
    pub agreed: Deflate,
    /// The element of `Sec-WebSocket-Extensions` that says so.
    pub response: Parameters,
}

/// An element of `Sec-WebSocket-Extensions`: the extension's name and parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameters(String<MAX_LEN>);

impl Parameters {
    fn new() -> Self {
        let mut text = String::new();
        let _ = text.push_str(NAME); // There is room for all.
        Self(text)
    }

    fn flag(&mut self, name: &str, is_set: bool) {
        if is_set {
            let _ = self.0.push_str("; ");
            let _ = self.0.push_str(name);
        }
    }

    fn bits(&mut self, name: &str, bits: Option<WindowBits>) {
        self.flag(name, bits.is_some());
        if let Some(bits) = bits {
            let _ = self.0.push('=');
            if bits.bits() >= 10 {
                let _ = self.0.push('1');
            }
            let _ = self.0.push(char::from(b'0'.wrapping_add(bits.bits() % 10)));
        }
    }

    /// The element as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

/// The parameters of an offer or a response.
#[derive(Clone, Copy, Debug, Default)]
struct Asked {
    server_no_context_takeover: bool,
    client_no_context_takeover: bool,
    server_max_window_bits: Option<WindowBits>,
    /// An offer may have it without a value.
    client_max_window_bits: Option<Option<WindowBits>>,
}

impl Asked {
    /// RFC 7692 §7.1: `None` where a parameter is unknown, is there twice, or has a value that it
    /// may not have. [PD02] [PD03] [PD04]
    fn parse(extension: &Extension<'_>) -> Option<Self> {
        let mut asked = Self::default();
        for param in extension.params() {
            let is_new = if param.name == SERVER_NO_CONTEXT_TAKEOVER && param.value.is_none() {
                !core::mem::replace(&mut asked.server_no_context_takeover, true)
            } else if param.name == CLIENT_NO_CONTEXT_TAKEOVER && param.value.is_none() {
                !core::mem::replace(&mut asked.client_no_context_takeover, true)
            } else if param.name == SERVER_MAX_WINDOW_BITS {
                let bits = window_bits(param.value?)?;
                asked.server_max_window_bits.replace(bits).is_none()
            } else if param.name == CLIENT_MAX_WINDOW_BITS {
                let bits = match param.value {
                    Some(value) => Some(window_bits(value)?),
                    None => None,
                };
                asked.client_max_window_bits.replace(bits).is_none()
            } else {
                false
            };
            if !is_new {
                return None;
            }
        }
        Some(asked)
    }
}

/// RFC 7692 §7.1.2: 8 to 15 in decimal, without leading zeros. [PD04]
fn window_bits(value: ParamValue<'_>) -> Option<WindowBits> {
    let mut digits = value.bytes();
    match (digits.next()?, digits.next(), digits.next()) {
        (digit @ b'8'..=b'9', None, None) => WindowBits::new(digit - b'0'),
        (b'1', Some(digit @ b'0'..=b'5'), None) => WindowBits::new(10 + (digit - b'0')),
        _ => None,
    }
}

/// The elements that are about this extension.
fn elements<'a>(values: impl IntoIterator<Item = &'a [u8]>) -> impl Iterator<Item = Extension<'a>> {
    values
        .into_iter()
        .flat_map(|value| Extensions::parse(value).flatten())
        .filter(|extension| extension.name == NAME)
}

impl Deflate {
    /// All that RFC 7692 allows: windows of 32 KiB, and context takeover.
    pub const MAX: Self = Self {
        send: Context::MAX,
        receive: Context::MAX,
    };

    /// A server: the first of a client's offers that can be accepted, and the answer to it. `values`
    /// are those of its `Sec-WebSocket-Extensions` headers. `None`: the connection goes on without
    /// compression.
    // RFC 7692 §5 [PD01]
    #[must_use]
    pub fn accept<'a>(&self, values: impl IntoIterator<Item = &'a [u8]>) -> Option<Accepted> {
        elements(values).find_map(|offer| self.accept_one(Asked::parse(&offer)?))
    }

    fn accept_one(&self, asked: Asked) -> Option<Accepted> {
        let receive_bits = match asked.client_max_window_bits {
            // RFC 7692 §7.1.2.2: no greater than the offer's [PD11]
            Some(Some(bits)) => bits.min(self.receive.window_bits),
            Some(None) => self.receive.window_bits,
            // RFC 7692 §7.1.2.2: this client cannot be asked to limit its window [PD02] [PD11]
            None if self.receive.window_bits < WindowBits::MAX => return None,
            None => WindowBits::MAX,
        };
        let agreed = Self {
            send: Context {
                // RFC 7692 §7.1.2.1: the same, or smaller [PD09]
                window_bits: asked
                    .server_max_window_bits
                    .map_or(WindowBits::MAX, |bits| bits)
                    .min(self.send.window_bits),
                // RFC 7692 §7.1.1.1 [PD05] [PD06]
                takeover: self.send.takeover && !asked.server_no_context_takeover,
            },
            receive: Context {
                window_bits: receive_bits,
                // RFC 7692 §7.1.1.2: an offer of it is a hint, which is taken [PD08]
                takeover: self.receive.takeover && !asked.client_no_context_takeover,
            },
        };
        let mut response = Parameters::new();
        response.flag(SERVER_NO_CONTEXT_TAKEOVER, !agreed.send.takeover);
        response.flag(CLIENT_NO_CONTEXT_TAKEOVER, !agreed.receive.takeover);
        let told = asked.server_max_window_bits;
        response.bits(
            SERVER_MAX_WINDOW_BITS,
            told.map(|_| agreed.send.window_bits),
        );
        let limited = receive_bits < WindowBits::MAX;
        response.bits(CLIENT_MAX_WINDOW_BITS, limited.then_some(receive_bits));
        Some(Accepted { agreed, response })
    }

    /// A client: what it offers, as an element of `Sec-WebSocket-Extensions`.
    #[must_use]
    pub fn offer(&self) -> Parameters {
        let limited = |context: Context| {
            let limited = context.window_bits < WindowBits::MAX;
            limited.then_some(context.window_bits)
        };
        let mut offer = Parameters::new();
        offer.flag(SERVER_NO_CONTEXT_TAKEOVER, !self.receive.takeover);
        offer.flag(CLIENT_NO_CONTEXT_TAKEOVER, !self.send.takeover);
        offer.bits(SERVER_MAX_WINDOW_BITS, limited(self.receive));
        // RFC 7692 §7.1.2.2: without a value, that it can be limited at all
        match limited(self.send) {
            None => offer.flag(CLIENT_MAX_WINDOW_BITS, true),
            bits => offer.bits(CLIENT_MAX_WINDOW_BITS, bits),
        }
        offer
    }

    /// A client that has made its [`offer`](Self::offer): what the server has agreed to. `values`
    /// are those of its `Sec-WebSocket-Extensions` headers. `None`: it has declined.
    ///
    /// # Errors
    /// [`HandshakeError::Extensions`] where the answer does not fit the offer, or is malformed: the
    /// connection fails.
    // [PD03]
    pub fn confirm<'a>(
        &self,
        values: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<Option<Self>, HandshakeError> {
        let mut elements = elements(values);
        let Some(answer) = elements.next() else {
            return Ok(None);
        };
        // RFC 7692 §5: one at most [PD01]
        if elements.next().is_some() {
            return Err(HandshakeError::Extensions);
        }
        let agreed = Asked::parse(&answer).and_then(|answer| self.confirm_one(answer));
        agreed.map(Some).ok_or(HandshakeError::Extensions)
    }

    fn confirm_one(&self, answer: Asked) -> Option<Self> {
        let receive_bits = answer.server_max_window_bits.unwrap_or(WindowBits::MAX);
        let send_bits = match answer.client_max_window_bits {
            // RFC 7692 §7.1.2.2: in a response it has a value. It bounds the window, and so does this
            // side: a server may ignore the offer's value, which is a hint. [PD04] [PD12]
            Some(bits) => bits?.min(self.send.window_bits),
            None => self.send.window_bits,
        };
        // RFC 7692 §7.1.1.1, §7.1.2: a server that accepts an offer does all of it [PD05] [PD09]
        let is_refused = receive_bits > self.receive.window_bits
            || (!self.receive.takeover && !answer.server_no_context_takeover);
        (!is_refused).then_some(Self {
            send: Context {
                window_bits: send_bits,
                // RFC 7692 §7.1.1.2: also if it was not offered [PD07]
                takeover: self.send.takeover && !answer.client_no_context_takeover,
            },
            receive: Context {
                window_bits: receive_bits,
                takeover: !answer.server_no_context_takeover,
            },
        })
    }
}
