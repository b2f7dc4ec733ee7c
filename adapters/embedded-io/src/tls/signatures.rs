//! ECDSA on P-256 and P-384, for webpki and for the handshake.

use p256::ecdsa::signature::hazmat::PrehashVerifier;
use pki_types::{AlgorithmIdentifier, InvalidSignature, SignatureVerificationAlgorithm, alg_id};
use sha2::{Digest, Sha256, Sha384};

/// What the chain may be signed with.
pub(super) static ALGORITHMS: [&dyn SignatureVerificationAlgorithm; 4] = [
    &Ecdsa {
        key: Curve::P256,
        hash: Hash::Sha256,
    },
    &Ecdsa {
        key: Curve::P384,
        hash: Hash::Sha384,
    },
    &Ecdsa {
        key: Curve::P256,
        hash: Hash::Sha384,
    },
    &Ecdsa {
        key: Curve::P384,
        hash: Hash::Sha256,
    },
];

#[derive(Clone, Copy, Debug)]
enum Curve {
    P256,
    P384,
}

#[derive(Clone, Copy, Debug)]
enum Hash {
    Sha256,
    Sha384,
}

#[derive(Debug)]
struct Ecdsa {
    key: Curve,
    hash: Hash,
}

impl SignatureVerificationAlgorithm for Ecdsa {
    fn verify_signature(
        &self,
        public_key: &[u8],
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), InvalidSignature> {
        let verified = match self.hash {
            Hash::Sha256 => verify(self.key, public_key, &Sha256::digest(message), signature),
            Hash::Sha384 => verify(self.key, public_key, &Sha384::digest(message), signature),
        };
        verified.ok_or(InvalidSignature)
    }

    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        match self.key {
            Curve::P256 => alg_id::ECDSA_P256,
            Curve::P384 => alg_id::ECDSA_P384,
        }
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        match self.hash {
            Hash::Sha256 => alg_id::ECDSA_SHA256,
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
        let key = match (point(alg_id::ECDSA_P256, 65), point(alg_id::ECDSA_P384, 97)) {
            (Some(point), _) => Self::P256(point.try_into().ok()?),
            (_, Some(point)) => Self::P384(point.try_into().ok()?),
            _ => return None,
        };
        let header = [0x30, u8::try_from(info.len()).ok()?];
        let hash = Sha256::new().chain_update(header).chain_update(info);
        Some((key, hash.finalize().into()))
    }

    /// Verifies a signature of the handshake with the scheme of this key (RFC 8446 §4.2.3).
    pub(super) fn verify(&self, message: &[&[u8]], signature: &[u8]) -> Option<()> {
        match self {
            Self::P256(key) => {
                let hash = message.iter().fold(Sha256::new(), Sha256::chain_update);
                verify(Curve::P256, key, &hash.finalize(), signature)
            }
            Self::P384(key) => {
                let hash = message.iter().fold(Sha384::new(), Sha384::chain_update);
                verify(Curve::P384, key, &hash.finalize(), signature)
            }
        }
    }
}
