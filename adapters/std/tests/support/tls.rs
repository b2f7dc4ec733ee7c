//! Certificates for the tests of TLS.

use std::sync::Arc;

use motews_std::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use motews_std::rustls::{self, ClientConfig, RootCertStore, ServerConfig};
use motews_std::tls::config_with_roots;

/// A server's configuration for `localhost`, and a client's that trusts it.
pub(crate) fn configs() -> (Arc<ServerConfig>, Arc<ClientConfig>) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let certificate = made.cert.der().clone();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let server = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], key)
        .unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(certificate).unwrap();
    (Arc::new(server), config_with_roots(roots).unwrap())
}
