//! What can be set, the same for both roles.

use std::sync::Arc;

#[cfg(feature = "deflate")]
use motews::deflate::{DeflateConfig, DeflateContext, DeflateParams, wire_limit};
use motews::handshake::{ConfigError, Offers};
use motews::{ConnectionConfig, Limits, Timeouts};
use motews_net::http::{HeaderMap, HeaderName, HeaderValue};

use crate::engine::{Agreement, Settings};

/// What is set without a call: as [`Limits::DEFAULT`], and messages of up to 64 MiB.
pub const DEFAULT_LIMITS: Limits = Limits {
    message: 64 * 1024 * 1024,
    ..Limits::DEFAULT
};

/// The settings of both roles.
#[derive(Clone, Debug)]
pub(crate) struct Common {
    pub(crate) limits: Limits,
    pub(crate) settings: Arc<Settings>,
    pub(crate) subprotocols: Vec<String>,
    pub(crate) headers: HeaderMap,
    /// What is wrong with one that was given.
    wrong: Option<ConfigError>,
    #[cfg(feature = "deflate")]
    pub(crate) deflate: Option<DeflateConfig>,
}

impl Common {
    pub(crate) fn new() -> Self {
        Self {
            limits: DEFAULT_LIMITS,
            settings: Arc::new(Settings {
                timeouts: Timeouts::DEFAULT,
                max_backlog: 64 * 1024,
                max_inbound: 1024 * 1024,
            }),
            subprotocols: Vec::new(),
            headers: HeaderMap::new(),
            wrong: None,
            #[cfg(feature = "deflate")]
            deflate: None,
        }
    }

    pub(crate) fn timeouts(&self) -> Timeouts {
        self.settings.timeouts
    }

    /// What this side offers, for as long as `f` takes.
    pub(crate) fn with_offers<T>(&self, f: impl FnOnce(&Offers<'_>) -> T) -> T {
        let subprotocols: Vec<&str> = self.subprotocols.iter().map(String::as_str).collect();
        let offers = Offers::new().subprotocols(&subprotocols);
        #[cfg(feature = "deflate")]
        let offers = match self.deflate {
            // A window of any size can be made when it is needed.
            Some(config) => offers.deflate(config).deflate_memory(DeflateContext::MAX),
            None => offers,
        };
        f(&offers)
    }

    /// What holds if the opening handshake was made elsewhere.
    pub(crate) fn agreement(&self) -> Agreement {
        let message = self.limits.message;
        let config = ConnectionConfig {
            max_message_len: message,
            ..ConnectionConfig::default()
        };
        #[cfg(feature = "deflate")]
        if let Some(DeflateConfig { send, receive, .. }) = self.deflate {
            let config = ConnectionConfig {
                max_message_len: wire_limit(message),
                compression: true,
            };
            let deflate = Some((DeflateParams { send, receive }, message));
            return Agreement { config, deflate };
        }
        Agreement {
            config,
            #[cfg(feature = "deflate")]
            deflate: None,
        }
    }

    fn add_header(
        &mut self,
        name: impl TryInto<HeaderName>,
        value: impl TryInto<HeaderValue>,
    ) -> Result<(), ConfigError> {
        let name = name.try_into().map_err(|_| ConfigError::HeaderName)?;
        let value = value.try_into().map_err(|_| ConfigError::HeaderValue)?;
        // It has room for 32,768.
        let _ = self.headers.try_append(name, value);
        Ok(())
    }

    pub(crate) fn header(
        &mut self,
        name: impl TryInto<HeaderName>,
        value: impl TryInto<HeaderValue>,
    ) {
        let added = self.add_header(name, value);
        self.wrong = self.wrong.or(added.err());
    }

    /// The headers, if all that were given can be sent.
    pub(crate) fn headers(&self) -> Result<HeaderMap, ConfigError> {
        match self.wrong {
            Some(error) => Err(error),
            None => Ok(self.headers.clone()),
        }
    }
}

/// The methods that set them.
macro_rules! setters {
    () => {
        /// Sets what the peer may send at most: [`DEFAULT_LIMITS`](crate::DEFAULT_LIMITS) if this is not
        /// called. Take the rest from there: `..Limits::DEFAULT` has no limit on messages.
        // [FR17] [HC25] [HS21]
        pub const fn limits(mut self, limits: Limits) -> Self {
            self.common.limits = limits;
            self
        }

        /// Sets how long to wait for what. By default as [`Timeouts::DEFAULT`] has it.
        pub fn timeouts(mut self, timeouts: Timeouts) -> Self {
            Arc::make_mut(&mut self.common.settings).timeouts = timeouts;
            self
        }

        /// Sets how much may wait to be written before a sender waits, in bytes; the message that
        /// reaches it comes on top, and that of one sender that has waited until all before it had left. 64 KiB
        /// by default.
        pub fn max_backlog(mut self, bytes: usize) -> Self {
            Arc::make_mut(&mut self.common.settings).max_backlog = bytes;
            self
        }

        /// Sets how much is kept of what comes in while this side waits to send, in bytes of memory;
        /// the message that reaches it comes on top. 1 MiB by default.
        pub fn max_inbound(mut self, bytes: usize) -> Self {
            Arc::make_mut(&mut self.common.settings).max_inbound = bytes;
            self
        }

        /// Sets the subprotocols, the best one first (§1.9). A client offers them; a server takes the
        /// first of them that the client offers.
        ///
        /// A client offers them to every server of a redirect, since the next one has to agree on one
        /// as well. So put no token there while redirects are followed.
        pub fn subprotocols<T: Into<String>>(mut self, names: impl IntoIterator<Item = T>) -> Self {
            self.common.subprotocols = names.into_iter().map(Into::into).collect();
            self
        }

        /// Compresses messages, if the peer can as well (RFC 7692). Without this call nothing is offered
        /// or accepted.
        ///
        /// A connection that has agreed on it takes 2 KiB and the window of what it receives, and six
        /// to seven times the window of what it sends (and 2.5 KiB) more: 62 KB by default, 234 KB with
        /// [`DeflateConfig::MAX`](crate::DeflateConfig::MAX). One that has not takes nothing. A message
        /// on the wire may stand for a thousand times its length, up to
        /// [`Limits::message`](crate::Limits::message).
        ///
        /// To compress takes some 10 ms for a MiB, in the task that sends; messages above 2 MiB are sent
        /// as they are. Do not send secrets in one message with what an attacker may choose: its length
        /// would tell whether they are alike (RFC 7692 §8; CRIME, BREACH).
        // [PD30]
        #[cfg(feature = "deflate")]
        pub const fn deflate(mut self, config: crate::DeflateConfig) -> Self {
            self.common.deflate = Some(config);
            self
        }

        /// Adds a header to the request, or to the response that accepts: from strings, or from the types
        /// of [`http`](crate::http). It is checked when it is used: nothing with a CR, LF or NUL is ever
        /// sent (RFC 6455 §10.7).
        ///
        /// A client's `Host` takes the place of the URL's own, for a server that is reached by another
        /// name; TLS still checks the URL's.
        // [HC07] [HC24]
        pub fn header(
            mut self,
            name: impl TryInto<HeaderName>,
            value: impl TryInto<HeaderValue>,
        ) -> Self {
            self.common.header(name, value);
            self
        }
    };
}

pub(crate) use setters;
