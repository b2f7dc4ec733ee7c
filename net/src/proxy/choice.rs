//! Which proxy a client uses: [`ProxyChoice`].

use alloc::boxed::Box;
use std::env::var_os;

use super::{Proxy, ProxyError};
use crate::url::Url;

/// Which proxy a client uses.
#[derive(Clone, Debug, Default)]
pub enum ProxyChoice {
    /// None.
    #[default]
    Direct,
    /// This one, for every URL.
    Fixed(Box<Proxy>),
    /// The one that the environment of the process names: see [`Proxy::from_env`].
    Environment,
}

impl ProxyChoice {
    /// Returns the proxy for `url`, if there is one.
    ///
    /// # Errors
    /// See [`ProxyError`]: what the environment names is no proxy.
    pub fn proxy_for(&self, url: &Url) -> Result<Option<Proxy>, ProxyError> {
        match self {
            Self::Direct => Ok(None),
            Self::Fixed(proxy) => Ok(Some(Proxy::clone(proxy))),
            // What is no text is no URL either, and reported as such.
            Self::Environment => Proxy::from_env(url, |name| {
                Some(var_os(name)?.to_string_lossy().into_owned())
            }),
        }
    }
}
