//! What this side offers in the opening handshake, and what both have agreed on.

use super::tokens::{is_token, is_token_byte};
use super::{ConfigError, Extensions};
use crate::connection::ConnectionConfig;
#[cfg(feature = "deflate")]
use crate::deflate::{Accepted, DeflateConfig, DeflateContext, DeflateParams, wire_limit};

/// The most subprotocols that are looked at.
const MAX_SUBPROTOCOLS: usize = 32;

/// What this side speaks, lent to each call: a client offers it, a server chooses from it.
///
/// ```
/// use motews::handshake::Offers;
///
/// static OFFERS: Offers<'static> = Offers::new().subprotocols(&["chat.v2", "chat.v1"]);
/// assert_eq!(OFFERS.subprotocol(1), Some("chat.v1"));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Offers<'a> {
    pub(super) subprotocols: &'a [&'a str],
    pub(super) extensions: &'a [&'a str],
    /// What is wanted, and what there is memory for to receive.
    #[cfg(feature = "deflate")]
    pub(super) deflate: Option<(DeflateConfig, DeflateContext)>,
}

impl<'a> Offers<'a> {
    /// No subprotocol, no extension.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            subprotocols: &[],
            extensions: &[],
            #[cfg(feature = "deflate")]
            deflate: None,
        }
    }

    /// The subprotocols, the one that this side likes best first (§1.9); at most 32. A server never
    /// chooses any beyond, and a client's [`Request`](super::Request) refuses them.
    #[must_use]
    pub const fn subprotocols(self, subprotocols: &'a [&'a str]) -> Self {
        Self {
            subprotocols,
            ..self
        }
    }

    /// Extensions of the application's own that a client offers, each with its parameters:
    /// `x-example; a=b` (§9.1). A server answers those that it accepts with
    /// [`Answer::extensions`](super::Answer::extensions).
    #[must_use]
    pub const fn extensions(self, extensions: &'a [&'a str]) -> Self {
        Self { extensions, ..self }
    }

    /// permessage-deflate (RFC 7692): a client offers it, a server accepts the first offer that fits.
    #[cfg(feature = "deflate")]
    #[must_use]
    pub const fn deflate(self, config: DeflateConfig) -> Self {
        Self {
            deflate: Some((config, config.receive)),
            ..self
        }
    }

    /// What a client can receive beyond what it asks for. Some servers agree to permessage-deflate
    /// and leave out the window, or the lack of context takeover, that the offer asks for. As far as
    /// `memory` allows, the client takes that and goes on; otherwise the connection fails, as RFC
    /// 7692 §7.1 has it. Without this call there is no more memory than what is asked for.
    #[cfg(feature = "deflate")]
    #[must_use]
    pub const fn deflate_memory(self, memory: DeflateContext) -> Self {
        match self.deflate {
            Some((config, _)) => Self {
                deflate: Some((config, memory)),
                ..self
            },
            None => self,
        }
    }

    /// The subprotocol with this index, as [`Agreed::subprotocol`] names it.
    #[must_use]
    pub fn subprotocol(&self, index: usize) -> Option<&'a str> {
        self.subprotocols.get(index).copied()
    }

    /// What is wrong with what a client offers.
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        // RFC 6455 §4.1: tokens, and all of them unique [HC11]
        let mut rest = self.subprotocols;
        while let Some((first, others)) = rest.split_first() {
            if !is_token(first.as_bytes()) || others.contains(first) {
                return Err(ConfigError::Subprotocol);
            }
            rest = others;
        }
        if self.subprotocols.len() > MAX_SUBPROTOCOLS {
            return Err(ConfigError::Subprotocol);
        }
        let is_one = |offer: &&str| {
            let mut extensions = Extensions::parse(offer.as_bytes());
            // It begins with its name, for that is what an answer is compared with.
            let begins = offer.bytes().next().is_some_and(is_token_byte);
            begins && matches!(extensions.next(), Some(Ok(_))) && extensions.next().is_none()
        };
        match self.extensions.iter().all(is_one) {
            true => Ok(()),
            false => Err(ConfigError::Extensions),
        }
    }
}

/// What both sides have agreed on. The default is nothing: no subprotocol, no compression.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub struct Agreed {
    /// The index of the subprotocol in [`Offers::subprotocols`]; `None` means no subprotocol.
    pub subprotocol: Option<usize>,
    /// How messages are compressed; `None` means not at all.
    #[cfg(feature = "deflate")]
    pub deflate: Option<DeflateParams>,
    /// What the connection has to know: see
    /// [`Connection::with_config`](crate::Connection::with_config).
    pub config: ConnectionConfig,
}

/// The same, as it is kept until the end of the handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub(super) struct Choice {
    /// A bit for each subprotocol.
    pub(super) subprotocols: u32,
    /// The longest message that is accepted.
    pub(super) max_message_len: u64,
    #[cfg(feature = "deflate")]
    pub(super) deflate: Option<Accepted>,
}

impl Choice {
    /// The first of this side's subprotocols, or none.
    pub(super) fn subprotocol(&self) -> Option<usize> {
        match self.subprotocols {
            0 => None,
            bits => Some(bits.trailing_zeros() as usize),
        }
    }

    pub(super) fn agreed(&self) -> Agreed {
        let config = ConnectionConfig {
            max_message_len: self.max_message_len,
            compression: false,
        };
        #[cfg(feature = "deflate")]
        let config = match self.deflate {
            Some(_) => ConnectionConfig {
                max_message_len: wire_limit(config.max_message_len),
                compression: true,
            },
            None => config,
        };
        Agreed {
            subprotocol: self.subprotocol(),
            #[cfg(feature = "deflate")]
            deflate: self.deflate.map(|accepted| accepted.params),
            config,
        }
    }
}
