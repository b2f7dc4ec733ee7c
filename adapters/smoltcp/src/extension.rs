//! What was agreed on beside the upgrade: compression, or nothing.
//!
//! Nothing is larger for it without the feature `deflate`.

use motews::Config;
#[cfg(feature = "deflate")]
use motews::deflate::{Accepted, DeflateConfig, wire_limit};
use motews::handshake::{HandshakeError, Request, ResponseEvent, Upgrade};

/// What a server answers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Extension(#[cfg(feature = "deflate")] pub(crate) Option<Accepted>);

impl Extension {
    /// [`Upgrade::emit_from`], with the extension.
    pub(crate) fn emit_from(&self, upgrade: &Upgrade<'_>, at: usize, out: &mut [u8]) -> usize {
        #[cfg(feature = "deflate")]
        if let Some(accepted) = &self.0
            && let Ok(upgrade) = upgrade.extensions(accepted.response.as_str())
        {
            return upgrade.emit_from(at, out);
        }
        upgrade.emit_from(at, out)
    }

    pub(crate) fn agreed(&self) -> Agreed {
        Agreed(
            #[cfg(feature = "deflate")]
            self.0.as_ref().map(|accepted| accepted.agreed),
        )
    }
}

/// What a client offers, and what the server makes of it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Offer {
    #[cfg(feature = "deflate")]
    pub(crate) offered: Option<DeflateConfig>,
    /// What the response that is arriving says.
    #[cfg(feature = "deflate")]
    agreed: Option<DeflateConfig>,
    #[cfg(feature = "deflate")]
    is_wrong: bool,
}

impl Offer {
    /// [`Request::emit_from`], with the offer.
    pub(crate) fn emit_from(&self, request: &Request<'_>, at: usize, out: &mut [u8]) -> usize {
        #[cfg(feature = "deflate")]
        if let Some(offered) = &self.offered
            && let Ok(request) = request.extensions(&[offered.offer().as_str()])
        {
            return request.emit_from(at, out);
        }
        request.emit_from(at, out)
    }

    /// The request as whoever reads the response must know it.
    pub(crate) fn request<'a>(&self, request: &Request<'a>) -> Request<'a> {
        #[cfg(feature = "deflate")]
        if self.offered.is_some()
            && let Ok(request) = request.extensions(&["permessage-deflate"])
        {
            return request;
        }
        *request
    }

    /// Takes what there is of the response.
    pub(crate) fn push(&mut self, _event: &ResponseEvent<'_, '_>) {
        #[cfg(feature = "deflate")]
        match (_event, &self.offered) {
            // There may be others before the one that counts.
            (ResponseEvent::StatusLine { .. }, _) => {
                (self.agreed, self.is_wrong) = (None, false);
            }
            (ResponseEvent::Header(header), Some(offered))
                if header.is("Sec-WebSocket-Extensions") =>
            {
                match offered.confirm([header.value]) {
                    Ok(None) => {}
                    // RFC 7692 §5: one at most, on however many lines [PD01]
                    Ok(agreed) if self.agreed.is_none() => self.agreed = agreed,
                    _ => self.is_wrong = true,
                }
            }
            _ => {}
        }
    }

    /// What both have agreed on with that response.
    ///
    /// # Errors
    /// The server has answered what was not offered.
    pub(crate) fn agreed(&self) -> Result<Agreed, HandshakeError> {
        #[cfg(feature = "deflate")]
        if self.is_wrong {
            return Err(HandshakeError::Extensions);
        }
        Ok(Agreed(
            #[cfg(feature = "deflate")]
            self.agreed,
        ))
    }
}

/// What both sides have agreed on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Agreed(#[cfg(feature = "deflate")] pub(crate) Option<DeflateConfig>);

impl Agreed {
    /// Nothing.
    pub(crate) const NONE: Self = Self(
        #[cfg(feature = "deflate")]
        None,
    );

    /// What the connection is to know, if messages are limited to so many octets.
    pub(crate) fn config(self, max_message_len: u64) -> Config {
        #[cfg(feature = "deflate")]
        if self.0.is_some() {
            return Config {
                max_message_len: wire_limit(max_message_len),
                compression: true,
            };
        }
        Config {
            max_message_len,
            compression: false,
        }
    }
}
