//! Certificates for the tests of TLS.

use std::sync::Arc;

use motews_std::rustls::{ClientConfig, ServerConfig};
use motews_std::tls::config_with_roots;
use motews_testkit::authority::Authority;

/// A server's configuration for `localhost`, and a client's that trusts it.
pub(crate) fn configs() -> (Arc<ServerConfig>, Arc<ClientConfig>) {
    let authority = Authority::new();
    let client = config_with_roots(authority.roots()).unwrap();
    (Arc::new(authority.server("localhost", None)), client)
}
