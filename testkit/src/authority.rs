//! Certificates for tests of TLS, by an authority of their own.

use std::sync::Arc;

use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, date_time_ymd,
};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::PrivatePkcs8KeyDer;
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

fn private(key: &KeyPair) -> PrivatePkcs8KeyDer<'static> {
    PrivatePkcs8KeyDer::from(key.serialize_der())
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
        Self::named("an authority")
    }

    /// The same with this name.
    ///
    /// # Panics
    /// If there is no randomness for a key.
    #[must_use]
    pub fn named(name: &str) -> Self {
        let key = KeyPair::generate().expect("a certificate");
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
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

    /// Returns its own certificate, as DER.
    #[must_use]
    pub fn der(&self) -> &[u8] {
        self.certificate.der()
    }

    /// Makes a certificate for a server that is called `name` and its key on P-256, as files have them.
    ///
    /// # Panics
    /// If `name` is no name of a host.
    #[must_use]
    pub fn server_pem(&self, name: &str) -> String {
        let (certificate, key) = self.sign(name, ExtendedKeyUsagePurpose::ServerAuth, None);
        certificate.pem() + &key.serialize_pem()
    }

    /// Signs a certificate, which is good until the year `until` begins.
    fn sign(
        &self,
        name: &str,
        purpose: ExtendedKeyUsagePurpose,
        until: Option<i32>,
    ) -> (Certificate, KeyPair) {
        let key = KeyPair::generate().expect("a certificate");
        let mut params = CertificateParams::new([name.to_owned()]).expect("a certificate");
        params.extended_key_usages = vec![purpose];
        if let Some(year) = until {
            params.not_after = date_time_ymd(year, 1, 1);
        }
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        (certificate, key)
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
        self.server_with(name, clients, None)
    }

    /// Makes the configuration of a server that is called `name`, until the year `until` begins.
    ///
    /// # Panics
    /// If `name` is no name of a host.
    #[must_use]
    pub fn server_until(&self, name: &str, until: i32) -> Arc<ServerConfig> {
        Arc::new(self.server_with(name, None, Some(until)))
    }

    fn server_with(&self, name: &str, clients: Option<&Self>, until: Option<i32>) -> ServerConfig {
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
        let (certificate, key) = self.sign(name, ExtendedKeyUsagePurpose::ServerAuth, until);
        builder
            .with_single_cert(vec![certificate.der().clone()], private(&key).into())
            .expect("a certificate")
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
                let (certificate, key) =
                    own.sign("client", ExtendedKeyUsagePurpose::ClientAuth, None);
                builder
                    .with_client_auth_cert(vec![certificate.der().clone()], private(&key).into())
                    .expect("a certificate")
            }
        })
    }
}
