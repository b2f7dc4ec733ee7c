//! What the clients over embedded-tls share: its own verifier, of the feature `rustpki`, or none.

use embedded_tls::pki::CertVerifier;
use embedded_tls::{
    Aes128GcmSha256, Certificate, CryptoProvider, CryptoRngCore, TlsClock, TlsConfig, TlsError,
    TlsVerifier, UnsecureProvider,
};
use motews_linked::machine::{any, bytes, place};

use crate::Random;

/// The one cipher suite.
pub type Suite = Aes128GcmSha256;

/// A clock that tells any time.
#[derive(Debug)]
pub struct Now;

impl TlsClock for Now {
    fn now() -> Option<u64> {
        Some(any())
    }
}

/// A provider whose verifier is embedded-tls's own.
pub struct Verified {
    random: Random,
    verifier: CertVerifier<'static, Suite, Now, 1024>,
}

impl core::fmt::Debug for Verified {
    fn fmt(&self, _: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        Ok(())
    }
}

impl CryptoProvider for Verified {
    type CipherSuite = Suite;
    type Signature = &'static [u8];

    fn rng(&mut self) -> impl CryptoRngCore {
        &mut self.random
    }

    fn verifier(&mut self) -> Result<&mut impl TlsVerifier<Suite>, TlsError> {
        Ok(&mut self.verifier)
    }
}

/// A provider, verified or not.
pub trait Provide: CryptoProvider<CipherSuite = Suite> + Sized + 'static {
    /// Returns one.
    fn new() -> Self;
}

impl Provide for Verified {
    fn new() -> Self {
        Self {
            random: Random,
            verifier: CertVerifier::new(Certificate::X509(bytes())),
        }
    }
}

/// A provider that believes any server.
pub type Unverified = UnsecureProvider<'static, Suite, Random>;

impl Provide for Unverified {
    fn new() -> Self {
        UnsecureProvider::new(Random)
    }
}

/// The settings.
pub fn settings() -> &'static TlsConfig<'static> {
    let settings = place();
    *settings = TlsConfig::new().with_server_name("example.com");
    settings
}
