//! A client's way to a server: addresses, proxies, TLS, redirects, the opening handshake.

pub(crate) mod abort;
pub(crate) mod awaited;
pub(crate) mod connecting;
pub(crate) mod connector;
pub(crate) mod dial;
pub(crate) mod net;
pub(crate) mod open;
pub(crate) mod refused;
pub(crate) mod resolve;
pub(crate) mod tunnel;
