//! Which parameters both sides agree upon (RFC 7692 §5, §7.1).
//!
//! [`handshake`](crate::handshake) reads and writes them; here is what they mean.

use heapless::Vec;

use super::window_bits::WindowBits;

/// The name of the extension.
pub(crate) const NAME: &str = "permessage-deflate";
const SERVER_NO_CONTEXT_TAKEOVER: &str = "server_no_context_takeover";
const CLIENT_NO_CONTEXT_TAKEOVER: &str = "client_no_context_takeover";
const SERVER_MAX_WINDOW_BITS: &str = "server_max_window_bits";
const CLIENT_MAX_WINDOW_BITS: &str = "client_max_window_bits";

/// The parameters that there are: [`Asked::set`] takes their index.
pub(crate) const PARAMETERS: [&str; 4] = [
    SERVER_NO_CONTEXT_TAKEOVER,
    CLIENT_NO_CONTEXT_TAKEOVER,
    SERVER_MAX_WINDOW_BITS,
    CLIENT_MAX_WINDOW_BITS,
];

/// The longest offer or response, in bytes: the name and all four parameters.
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
pub struct DeflateContext {
    /// The farthest it refers back: what the other side must keep (RFC 7692 §7.1.2).
    pub window_bits: WindowBits,
    /// Whether a message may refer to those before it (RFC 7692 §7.1.1). If not, nothing has to be
    /// kept between messages.
    pub takeover: bool,
}

impl DeflateContext {
    /// All that RFC 7692 allows.
    pub const MAX: Self = Self {
        window_bits: WindowBits::MAX,
        takeover: true,
    };

    /// The window's size, if it is not the largest.
    fn limited(self) -> Option<WindowBits> {
        (self.window_bits < WindowBits::MAX).then_some(self.window_bits)
    }
}

impl Default for DeflateContext {
    fn default() -> Self {
        Self::MAX
    }
}

/// permessage-deflate as one side wants it: a client offers it, a server accepts what fits it.
///
/// What this side [sends](Self::send) is its own to limit. What it [receives](Self::receive) is
/// limited by what the peer can be asked to do; if the peer cannot, there is no compression, and the
/// connection goes on without.
///
/// A server in firmware that keeps a window of 1 KiB for each direction:
/// ```
/// use motews::deflate::{DeflateContext, DeflateConfig, WindowBits};
/// use motews::handshake::{Offers, Upgrade};
/// use motews::Limits;
///
/// let kib = DeflateContext { window_bits: WindowBits::new(10).unwrap(), takeover: true };
/// let offers = Offers::new().deflate(DeflateConfig { send: kib, receive: kib });
///
/// # fn negotiate(extensions: &[u8], offers: &Offers<'_>) -> Upgrade {
/// #     let headers = [
/// #         ("Host", &b"h"[..]), ("Upgrade", b"websocket"), ("Connection", b"Upgrade"),
/// #         ("Sec-WebSocket-Key", b"dGhlIHNhbXBsZSBub25jZQ=="), ("Sec-WebSocket-Version", b"13"),
/// #         ("Sec-WebSocket-Extensions", extensions),
/// #     ];
/// #     Upgrade::from_headers("GET", (1, 1), headers, offers, Limits::DEFAULT).unwrap()
/// # }
/// // A browser:
/// let upgrade = negotiate(b"permessage-deflate; client_max_window_bits", &offers);
/// let agreed = upgrade.agreed().deflate.unwrap();
/// assert_eq!((agreed.send, agreed.receive), (kib, kib));
///
/// // A client that cannot limit its window: declined, for it would not fit.
/// assert_eq!(negotiate(b"permessage-deflate", &offers).agreed().deflate, None);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct DeflateConfig {
    /// How this side compresses what it sends, at most.
    pub send: DeflateContext,
    /// How the peer may compress what this side receives, at most.
    pub receive: DeflateContext,
}

impl Default for DeflateConfig {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// permessage-deflate as both sides have agreed on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct DeflateParams {
    /// How this side compresses what it sends.
    pub send: DeflateContext,
    /// How the peer compresses what this side receives.
    pub receive: DeflateContext,
}

/// An offer that a server has accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub(crate) struct Accepted {
    pub(crate) params: DeflateParams,
    /// The client has limited the server's window, so the answer has its size.
    has_window: bool,
}

impl Accepted {
    /// The element of the response that says so.
    pub(crate) fn response(&self) -> Element {
        let DeflateParams { send, receive } = self.params;
        let mut response = Element::new();
        response.flag(SERVER_NO_CONTEXT_TAKEOVER, !send.takeover);
        response.flag(CLIENT_NO_CONTEXT_TAKEOVER, !receive.takeover);
        let window = self.has_window.then_some(send.window_bits);
        response.bits(SERVER_MAX_WINDOW_BITS, window);
        response.bits(CLIENT_MAX_WINDOW_BITS, receive.limited());
        response
    }
}

/// An element of `Sec-WebSocket-Extensions`: the extension's name and parameters.
pub(crate) struct Element(Vec<u8, MAX_LEN>);

impl Element {
    fn new() -> Self {
        let mut text = Vec::new();
        let _ = text.extend_from_slice(NAME.as_bytes()); // There is room for all.
        Self(text)
    }

    fn flag(&mut self, name: &str, is_set: bool) {
        if is_set {
            let _ = self.0.extend_from_slice(b"; ");
            let _ = self.0.extend_from_slice(name.as_bytes());
        }
    }

    fn bits(&mut self, name: &str, bits: Option<WindowBits>) {
        self.flag(name, bits.is_some());
        if let Some(bits) = bits {
            let _ = self.0.push(b'=');
            if bits.bits() >= 10 {
                let _ = self.0.push(b'1');
            }
            let _ = self.0.push(b'0'.wrapping_add(bits.bits() % 10));
        }
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// The parameters of an offer or a response.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked {
    /// A bit for each of [`PARAMETERS`].
    seen: u8,
    server_max_window_bits: Option<WindowBits>,
    /// An offer may have it without a value.
    client_max_window_bits: Option<WindowBits>,
    is_wrong: bool,
}

impl Asked {
    /// RFC 7692 §7.1: wrong if the parameter is unknown, is there twice, or has a value that it may
    /// not have. `index` is that of the parameter in [`PARAMETERS`], or any other. [PD02] [PD03] [PD04]
    pub(crate) fn set(&mut self, index: u32, value: Option<u8>) {
        let bits = value.and_then(WindowBits::new);
        let is_right = match index {
            0 | 1 => value.is_none(),
            2 => bits.is_some(),
            3 => bits.is_some() || value.is_none(),
            _ => false,
        };
        let bit = 1_u8.checked_shl(index).unwrap_or_default();
        self.is_wrong |= !is_right || self.seen & bit != 0;
        self.seen |= bit;
        match index {
            2 => self.server_max_window_bits = bits,
            3 => self.client_max_window_bits = bits,
            _ => {}
        }
    }

    /// An offer without parameters.
    pub(crate) const NONE: Self = Self {
        seen: 0,
        server_max_window_bits: None,
        client_max_window_bits: None,
        is_wrong: false,
    };

    const fn has(&self, index: u8) -> bool {
        self.seen >> (index & 7) & 1 != 0
    }
}

impl DeflateConfig {
    /// What any peer can agree to, and a desktop can afford for many connections: it sends with a
    /// window of 4 KiB and receives with one of 32 KiB, both with context takeover. To compress takes
    /// up to seven times the window, to inflate once: so this is a quarter of [`MAX`](Self::MAX).
    pub const DEFAULT: Self = Self {
        send: DeflateContext {
            window_bits: WindowBits(12),
            takeover: true,
        },
        receive: DeflateContext::MAX,
    };

    /// All that RFC 7692 allows: windows of 32 KiB, and context takeover.
    pub const MAX: Self = Self {
        send: DeflateContext::MAX,
        receive: DeflateContext::MAX,
    };

    /// A server: what comes of an offer; `None` declines it.
    // RFC 7692 §5 [PD01]
    pub(crate) fn accept(&self, asked: &Asked) -> Option<Accepted> {
        if asked.is_wrong {
            return None;
        }
        let receive_bits = match asked.client_max_window_bits {
            // RFC 7692 §7.1.2.2: no greater than the offer's [PD11]
            Some(bits) => bits.min(self.receive.window_bits),
            None if asked.has(3) => self.receive.window_bits,
            // RFC 7692 §7.1.2.2: this client cannot be asked to limit its window [PD02] [PD11]
            None if self.receive.window_bits < WindowBits::MAX => return None,
            None => WindowBits::MAX,
        };
        let window = asked.server_max_window_bits;
        let params = DeflateParams {
            send: DeflateContext {
                // RFC 7692 §7.1.2.1: the same, or smaller [PD09]
                window_bits: window.unwrap_or(WindowBits::MAX).min(self.send.window_bits),
                // RFC 7692 §7.1.1.1 [PD05] [PD06]
                takeover: self.send.takeover && !asked.has(0),
            },
            receive: DeflateContext {
                window_bits: receive_bits,
                // RFC 7692 §7.1.1.2: an offer of it is a hint, which is taken [PD08]
                takeover: self.receive.takeover && !asked.has(1),
            },
        };
        Some(Accepted {
            params,
            has_window: window.is_some(),
        })
    }

    /// A client: what it offers, as an element of `Sec-WebSocket-Extensions`.
    pub(crate) fn offer(&self) -> Element {
        let mut offer = Element::new();
        offer.flag(SERVER_NO_CONTEXT_TAKEOVER, !self.receive.takeover);
        offer.flag(CLIENT_NO_CONTEXT_TAKEOVER, !self.send.takeover);
        offer.bits(SERVER_MAX_WINDOW_BITS, self.receive.limited());
        // RFC 7692 §7.1.2.2: without a value, that it can be limited at all
        match self.send.limited() {
            None => offer.flag(CLIENT_MAX_WINDOW_BITS, true),
            bits => offer.bits(CLIENT_MAX_WINDOW_BITS, bits),
        }
        offer
    }

    /// A client that has made its offer: what the server has agreed to. `memory` is what this side
    /// can receive, beyond what it has asked for. `None`: the answer does not fit, and the connection
    /// fails.
    // [PD03]
    pub(crate) fn confirm(&self, answer: &Asked, memory: DeflateContext) -> Option<Accepted> {
        let receive = DeflateContext {
            window_bits: answer.server_max_window_bits.unwrap_or(WindowBits::MAX),
            takeover: !answer.has(0),
        };
        // RFC 7692 §7.1.1.1, §7.1.2: a server that accepts an offer does all of it. Some leave out
        // what they do not know; refusing them protects nobody who has the memory [PD05] [PD09] [HT09]
        let fits = receive.window_bits <= self.receive.window_bits.max(memory.window_bits)
            && (!receive.takeover || self.receive.takeover || memory.takeover);
        let send_bits = match answer.client_max_window_bits {
            // RFC 7692 §7.1.2.2: it bounds the window, and so does this side: a server may ignore the
            // offer's value, which is a hint. [PD04] [PD12] [HT10]
            Some(bits) => bits.min(self.send.window_bits),
            // RFC 7692 §7.1.2.2: in a response it has a value.
            None if answer.has(3) => return None,
            None => self.send.window_bits,
        };
        let send = DeflateContext {
            window_bits: send_bits,
            // RFC 7692 §7.1.1.2: also if it was not offered [PD07]
            takeover: self.send.takeover && !answer.has(1),
        };
        (fits && !answer.is_wrong).then_some(Accepted {
            params: DeflateParams { send, receive },
            has_window: false,
        })
    }
}
