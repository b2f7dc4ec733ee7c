//! What embedded-tls asks for: random numbers, the [`Verifier`], the client's certificate.

use embedded_tls::{
    Aes128GcmSha256, Certificate, CryptoProvider, CryptoRng, CryptoRngCore, SignatureScheme,
    TlsConfig as Settings, TlsError as Inner, TlsVerifier,
};
use motews::Entropy;
use p256::ecdsa::signature::SignerMut;
use p256::ecdsa::{DerSignature, SigningKey};
use p256::elliptic_curve::rand_core::{self, RngCore};
use sha2::{Digest, Sha256};

use super::config::TlsConfig;
use super::error::TlsError;
use super::verifier::Verifier;

/// What embedded-tls needs of a [`TlsConfig`] for one session, for who drives it without a
/// [`Pump`](super::Pump): a blocking client.
///
/// ```
/// # use embedded_io::{Read, Write};
/// # use motews::Entropy;
/// # use motews_embedded_io::tls::{TlsConfig, TlsError, TlsProvider};
/// use embedded_tls::{Aes128GcmSha256, TlsContext, blocking::TlsConnection};
///
/// # fn f<S: Read + Write>(
/// #     tls: &mut TlsConnection<'_, S, Aes128GcmSha256>,
/// #     config: &TlsConfig<'_>,
/// #     entropy: impl Entropy,
/// # ) -> Result<(), TlsError> {
/// let mut provider = TlsProvider::new(config, entropy)?;
/// let settings = provider.settings();
/// let opened = tls.open(TlsContext::new(&settings, &mut provider));
/// // Before anything is sent: embedded-tls goes on if the server shows no certificate at all.
/// provider.check(opened)?;
/// # Ok(())
/// # }
/// ```
pub struct TlsProvider<'a> {
    random: Random,
    verifier: Verifier<'a>,
    identity: Option<(SigningKey, &'a [u8])>,
}

impl<'a> TlsProvider<'a> {
    /// Returns a provider for one session.
    ///
    /// # Errors
    /// [`TlsError::Config`] if the settings are wrong, [`TlsError::NoEntropy`].
    pub fn new(config: &'a TlsConfig<'a>, mut entropy: impl Entropy) -> Result<Self, TlsError> {
        let identity = match config.identity {
            Some(identity) => {
                let key = SigningKey::from_slice(identity.key).map_err(|_| TlsError::Config)?;
                Some((key, identity.certificate))
            }
            None => None,
        };
        Ok(Self {
            verifier: Verifier::new(config)?,
            identity,
            random: Random::new(&mut entropy)?,
        })
    }

    /// Returns embedded-tls's settings: the server's name, and the protocols to offer.
    pub fn settings(&self) -> Settings<'a> {
        let mut settings = Settings::new();
        if let Some(name) = self.verifier.name_to_send() {
            settings = settings.with_server_name(name);
        }
        let protocols = self.verifier.config.alpn;
        match protocols.is_empty() {
            true => settings,
            false => settings.with_alpn(protocols),
        }
    }

    /// Checks what came of the handshake, given what embedded-tls says.
    ///
    /// # Errors
    /// Why the handshake failed, or [`TlsError::Unproven`] though embedded-tls says that it did not.
    pub fn check(&self, opened: Result<(), Inner>) -> Result<(), TlsError> {
        match (opened, self.verifier.end()) {
            (Ok(()), end) => end,
            (Err(error), Ok(()) | Err(TlsError::Unproven)) => Err(TlsError::of(&error, true)),
            (Err(_), Err(cause)) => Err(cause),
        }
    }
}

impl core::fmt::Debug for TlsProvider<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("TlsProvider").finish_non_exhaustive()
    }
}

impl CryptoProvider for TlsProvider<'_> {
    type CipherSuite = Aes128GcmSha256;
    type Signature = DerSignature;

    fn rng(&mut self) -> impl CryptoRngCore {
        &mut self.random
    }

    fn verifier(&mut self) -> Result<&mut impl TlsVerifier<Aes128GcmSha256>, Inner> {
        Ok(&mut self.verifier)
    }

    fn signer(&mut self) -> Result<(impl SignerMut<DerSignature>, SignatureScheme), Inner> {
        match &self.identity {
            Some((key, _)) => Ok((key.clone(), SignatureScheme::EcdsaSecp256r1Sha256)),
            None => Err(Inner::InvalidPrivateKey),
        }
    }

    fn client_cert(&mut self) -> Option<Certificate<impl AsRef<[u8]>>> {
        self.identity
            .as_ref()
            .map(|(_, certificate)| Certificate::X509(*certificate))
    }
}

/// As many random bytes as one handshake needs: the hashes of a seed and a number. embedded-tls draws
/// from a source that cannot fail; [`Entropy`] can, and is asked once, before anything is sent.
struct Random {
    seed: [u8; 32],
    drawn: u64,
}

impl Random {
    fn new(entropy: &mut impl Entropy) -> Result<Self, TlsError> {
        let mut seed = [0; 32];
        entropy.fill(&mut seed).map_err(|_| TlsError::NoEntropy)?;
        Ok(Self { seed, drawn: 0 })
    }
}

impl RngCore for Random {
    fn next_u32(&mut self) -> u32 {
        let mut bytes = [0; 4];
        self.fill_bytes(&mut bytes);
        u32::from_le_bytes(bytes)
    }

    fn next_u64(&mut self) -> u64 {
        let mut bytes = [0; 8];
        self.fill_bytes(&mut bytes);
        u64::from_le_bytes(bytes)
    }

    fn fill_bytes(&mut self, bytes: &mut [u8]) {
        for part in bytes.chunks_mut(32) {
            self.drawn = self.drawn.wrapping_add(1);
            let hash = Sha256::new()
                .chain_update(self.seed)
                .chain_update(self.drawn.to_le_bytes());
            for (byte, random) in part.iter_mut().zip(hash.finalize()) {
                *byte = random;
            }
        }
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), rand_core::Error> {
        self.fill_bytes(bytes);
        Ok(())
    }
}

impl CryptoRng for Random {}
