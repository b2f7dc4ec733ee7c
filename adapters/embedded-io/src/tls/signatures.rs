//! ECDSA on P-256 and P-384, for webpki and for the handshake.

use embedded_tls::SignatureScheme;
use p256::ecdsa::signature::hazmat::PrehashVerifier;
use pki_types::{AlgorithmIdentifier, InvalidSignature, SignatureVerificationAlgorithm, alg_id};
use sha2::{Digest, Sha256};

/// What the chain may be signed with.
pub(super) static ALGORITHMS: &[&dyn SignatureVerificationAlgorithm] = &[
    &Ecdsa(Curve::P256, Hash::Sha256),
    #[cfg(feature = "p384")]
    &Ecdsa(Curve::P384, Hash::Sha384),
    #[cfg(feature = "p384")]
    &Ecdsa(Curve::P256, Hash::Sha384),
    #[cfg(feature = "p384")]
    &Ecdsa(Curve::P384, Hash::Sha256),
];

#[derive(Clone, Copy, Debug)]
enum Curve {
    P256,
    #[cfg(feature = "p384")]
    P384,
}

#[derive(Clone, Copy, Debug)]
enum Hash {
    Sha256,
    #[cfg(feature = "p384")]
    Sha384,
}

#[derive(Debug)]
struct Ecdsa(Curve, Hash);

impl SignatureVerificationAlgorithm for Ecdsa {
    fn verify_signature(
        &self,
        public_key: &[u8],
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), InvalidSignature> {
        let verified = match self.1 {
            Hash::Sha256 => verify(self.0, public_key, &Sha256::digest(message), signature),
            #[cfg(feature = "p384")]
            Hash::Sha384 => verify(
                self.0,
                public_key,
                &sha2::Sha384::digest(message),
                signature,
            ),
        };
        verified.ok_or(InvalidSignature)
    }

    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        match self.0 {
            Curve::P256 => alg_id::ECDSA_P256,
            #[cfg(feature = "p384")]
            Curve::P384 => alg_id::ECDSA_P384,
        }
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        match self.1 {
            Hash::Sha256 => alg_id::ECDSA_SHA256,
            #[cfg(feature = "p384")]
            Hash::Sha384 => alg_id::ECDSA_SHA384,
        }
    }
}

fn verify(curve: Curve, key: &[u8], hash: &[u8], signature: &[u8]) -> Option<()> {
    match curve {
        Curve::P256 => {
            let key = p256::ecdsa::VerifyingKey::from_sec1_bytes(key).ok()?;
            let signature = p256::ecdsa::Signature::from_der(signature).ok()?;
            key.verify_prehash(hash, &signature).ok()
        }
        #[cfg(feature = "p384")]
        Curve::P384 => {
            let key = p384::ecdsa::VerifyingKey::from_sec1_bytes(key).ok()?;
            let signature = p384::ecdsa::Signature::from_der(signature).ok()?;
            key.verify_prehash(hash, &signature).ok()
        }
    }
}

/// The public key of a certificate, of one of the kinds that are taken.
#[derive(Clone, Copy, Debug)]
pub(super) enum Key {
    P256([u8; 65]),
    #[cfg(feature = "p384")]
    P384([u8; 97]),
}

impl Key {
    /// Takes it from a SubjectPublicKeyInfo without its outer header, and hashes that with the header,
    /// as a pin is.
    pub(super) fn from_info(info: &[u8]) -> Option<(Self, [u8; 32])> {
        // SEQUENCE { algorithm, BIT STRING { no unused bits, point } }
        let point = |algorithm: AlgorithmIdentifier, len: u8| {
            let algorithm = algorithm.as_ref();
            let header = [0x30, u8::try_from(algorithm.len()).ok()?];
            let rest = info.strip_prefix(&header)?.strip_prefix(algorithm)?;
            rest.strip_prefix(&[0x03, len.checked_add(1)?, 0])
        };
        let p256 = point(alg_id::ECDSA_P256, 65).and_then(|point| point.try_into().ok());
        let key = p256.map(Self::P256);
        #[cfg(feature = "p384")]
        let key = key.or_else(|| {
            let point = point(alg_id::ECDSA_P384, 97)?.try_into().ok();
            point.map(Self::P384)
        });
        let header = [0x30, u8::try_from(info.len()).ok()?];
        let hash = Sha256::new().chain_update(header).chain_update(info);
        Some((key?, hash.finalize().into()))
    }

    /// The scheme that a signature of the handshake with this key must have (RFC 8446 §4.2.3).
    pub(super) const fn scheme(&self) -> SignatureScheme {
        match self {
            Self::P256(_) => SignatureScheme::EcdsaSecp256r1Sha256,
            #[cfg(feature = "p384")]
            Self::P384(_) => SignatureScheme::EcdsaSecp384r1Sha384,
        }
    }

    /// Verifies a signature of the handshake.
    pub(super) fn verify(&self, message: &[&[u8]], signature: &[u8]) -> Option<()> {
        match self {
            Self::P256(key) => {
                let hash = message.iter().fold(Sha256::new(), Sha256::chain_update);
                verify(Curve::P256, key, &hash.finalize(), signature)
            }
            #[cfg(feature = "p384")]
            Self::P384(key) => {
                let hash = message
                    .iter()
                    .fold(sha2::Sha384::new(), sha2::Sha384::chain_update);
                verify(Curve::P384, key, &hash.finalize(), signature)
            }
        }
    }
}
