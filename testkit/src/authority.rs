//! Certificates for tests of TLS, by an authority of their own.

use std::sync::Arc;

use rcgen::{
    BasicConstraints, Certificate, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair,
};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};

/// Signs the certificates of servers and clients.
#[derive(Debug)]
pub struct Authority {
    certificate: Certificate,
    issuer: Issuer<'static, KeyPair>,
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

impl Authority {
    /// Makes one that nobody else knows.
    ///
    /// # Panics
    /// If there is no randomness for a key.
    #[must_use]
    #[expect(
        clippy::new_without_default,
        reason = "each is another one, and none is the default"
    )]
    pub fn new() -> Self {
        let key = KeyPair::generate().expect("a certificate");
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).expect("a certificate");
        let issuer = Issuer::new(params, key);
        Self {
            certificate,
            issuer,
        }
    }

    /// Returns its own certificate, as files have it.
    #[must_use]
    pub fn pem(&self) -> String {
        self.certificate.pem()
    }

    fn sign(
        &self,
        name: &str,
        purpose: ExtendedKeyUsagePurpose,
    ) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        let key = KeyPair::generate().expect("a certificate");
        let mut params = CertificateParams::new([name.to_owned()]).expect("a certificate");
        params.extended_key_usages = vec![purpose];
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        (vec![certificate.der().clone()], key)
    }

    /// Returns roots that trust this authority alone.
    ///
    /// # Panics
    /// If rustls does not take its certificate.
    #[must_use]
    pub fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots
            .add(self.certificate.der().clone())
            .expect("a certificate");
        roots
    }

    /// Makes the configuration of a server that is called `name`, and demands a certificate by `clients`
    /// of its clients.
    ///
    /// # Panics
    /// If `name` is no name of a host.
    #[must_use]
    pub fn server(&self, name: &str, clients: Option<&Self>) -> ServerConfig {
        let builder = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .expect("a certificate");
        let builder = match clients {
            None => builder.with_no_client_auth(),
            Some(clients) => {
                let roots = Arc::new(clients.roots());
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider());
                builder.with_client_cert_verifier(verifier.build().expect("a certificate"))
            }
        };
        let (chain, key) = self.sign(name, ExtendedKeyUsagePurpose::ServerAuth);
        builder.with_single_cert(chain, key).expect("a certificate")
    }

    /// Makes the configuration of a client that trusts this authority alone, and has a certificate by
    /// `own`.
    ///
    /// # Panics
    /// If rustls does not take the certificate.
    #[must_use]
    pub fn client(&self, own: Option<&Self>) -> Arc<ClientConfig> {
        let builder = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .expect("a certificate")
            .with_root_certificates(self.roots());
        Arc::new(match own {
            None => builder.with_no_client_auth(),
            Some(own) => {
                let (chain, key) = own.sign("client", ExtendedKeyUsagePurpose::ClientAuth);
                builder
                    .with_client_auth_cert(chain, key)
                    .expect("a certificate")
            }
        })
    }
}
