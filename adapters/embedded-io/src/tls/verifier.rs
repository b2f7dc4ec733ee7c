//! [`Verifier`]: whether the server is who it should be.
//!
//! embedded-tls asks it when a certificate and a signature come. **It asks nothing if they do not come**,
//! and takes them in any order and number, so [`Verifier::end`] has to be asked when the handshake is
//! over.

use core::array;
use core::time::Duration;

use embedded_tls::{
    Aes128GcmSha256, CertificateEntryRef, CertificateRef, CertificateVerifyRef, TlsError as Inner,
    TlsVerifier,
};
use pki_types::{CertificateDer, ServerName, UnixTime};
use sha2::{Digest, Sha256};
use webpki::{EndEntityCert, Error, KeyUsage, anchor_from_trusted_cert};

use super::config::{TlsConfig, TlsTime, Trust};
use super::error::TlsError;
use super::signatures::{ALGORITHMS, Key};

/// How many certificates between the server's and the authority's are looked at. webpki tries each order
/// of them, and gives up after 100 signatures: with six forged ones of the authority's name that is half
/// a minute of a small processor, without giving way.
const MAX_INTERMEDIATES: usize = 3;

pub(super) struct Verifier<'a> {
    pub(super) config: &'a TlsConfig<'a>,
    name: ServerName<'a>,
    progress: Progress,
}

enum Progress {
    /// Nothing has come.
    Nothing,
    /// The certificate is good. Its key, and the hash of the handshake up to there.
    Certificate(Key, [u8; 32]),
    /// The server has the key, too.
    Proven,
    Failed(TlsError),
}

impl<'a> Verifier<'a> {
    pub(super) fn new(config: &'a TlsConfig<'a>) -> Result<Self, TlsError> {
        Ok(Self {
            config,
            name: ServerName::try_from(config.server).map_err(|_| TlsError::Config)?,
            progress: Progress::Nothing,
        })
    }

    /// The name to send to the server: an address is not (RFC 6066 §3).
    pub(super) fn name_to_send(&self) -> Option<&'a str> {
        matches!(self.name, ServerName::DnsName(_)).then_some(self.config.server)
    }

    /// Whether the server has proven who it is.
    pub(super) const fn end(&self) -> Result<(), TlsError> {
        match self.progress {
            Progress::Proven => Ok(()),
            Progress::Failed(cause) => Err(cause),
            Progress::Nothing | Progress::Certificate(..) => Err(TlsError::Unproven),
        }
    }

    fn step(&mut self, next: Result<Progress, TlsError>) -> Result<(), Inner> {
        let result = match next {
            Ok(_) => Ok(()),
            Err(_) => Err(Inner::InvalidCertificate),
        };
        self.progress = next.unwrap_or_else(Progress::Failed);
        result
    }

    fn certificate(
        &self,
        transcript: &Sha256,
        chain: &CertificateRef,
    ) -> Result<Progress, TlsError> {
        if !matches!(self.progress, Progress::Nothing) {
            return Err(TlsError::Protocol);
        }
        let mut certificates = chain.entries.iter().map(|entry| match entry {
            CertificateEntryRef::X509(der) | CertificateEntryRef::RawPublicKey(der) => {
                CertificateDer::from(*der)
            }
        });
        let leaf = certificates.next().ok_or(TlsError::Unproven)?;
        if let Trust::Authorities(authorities) = self.config.trust {
            // The root, which some servers send, is of no use; and without any that are of their own
            // name, few orders are left.
            let mut others = certificates.filter(|other| {
                EndEntityCert::try_from(other).is_ok_and(|other| other.issuer() != other.subject())
            });
            let mut count = 0;
            let others: [_; MAX_INTERMEDIATES] = array::from_fn(|_| match others.next() {
                Some(other) => {
                    count += 1;
                    other
                }
                None => CertificateDer::from(&[][..]),
            });
            self.path(&leaf, others.get(..count).unwrap_or_default(), authorities)?;
        }
        // A trust anchor is no more than a certificate that was read, and has its key.
        let read = anchor_from_trusted_cert(&leaf).map_err(|_| TlsError::BadCertificate)?;
        let (key, hash) =
            Key::from_info(&read.subject_public_key_info).ok_or(TlsError::UnsupportedKey)?;
        if let Trust::Keys(pins) = self.config.trust
            && !pins.contains(&hash)
        {
            return Err(TlsError::KeyNotPinned);
        }
        Ok(Progress::Certificate(
            key,
            transcript.clone().finalize().into(),
        ))
    }

    /// Follows the chain to one of the authorities, and checks the name.
    fn path(
        &self,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        authorities: &[&[u8]],
    ) -> Result<(), TlsError> {
        let certificate = EndEntityCert::try_from(leaf).map_err(|error| Self::call(&error))?;
        let mut worst = TlsError::UnknownIssuer;
        for authority in authorities {
            match self.path_to(&certificate, others, authority) {
                Ok(()) => {
                    let name = certificate.verify_is_valid_for_subject_name(&self.name);
                    return name.map_err(|_| match &self.name {
                        ServerName::DnsName(_)
                            if certificate.valid_dns_names().next().is_none() =>
                        {
                            TlsError::NoName
                        }
                        _ => TlsError::WrongName,
                    });
                }
                Err(TlsError::UnknownIssuer) => {}
                Err(error) => worst = error,
            }
        }
        let is_of_itself = certificate.issuer() == certificate.subject();
        Err(match worst {
            TlsError::UnknownIssuer if is_of_itself => TlsError::SelfSigned,
            TlsError::AuthorityUsedAsLeaf
                if is_of_itself && !authorities.contains(&leaf.as_ref()) =>
            {
                TlsError::SelfSigned
            }
            worst => worst,
        })
    }

    fn path_to(
        &self,
        certificate: &EndEntityCert<'_>,
        others: &[CertificateDer<'_>],
        authority: &[u8],
    ) -> Result<(), TlsError> {
        let authority = CertificateDer::from(authority);
        let anchor = anchor_from_trusted_cert(&authority).map_err(|_| TlsError::Config)?;
        let (TlsTime::Now(seconds) | TlsTime::Built(seconds)) = self.config.time;
        let mut time = UnixTime::since_unix_epoch(Duration::from_secs(seconds));
        // Once for each certificate whose beginning moves the time.
        for _ in 0..=MAX_INTERMEDIATES.saturating_add(1) {
            let path = certificate.verify_for_usage(
                ALGORITHMS,
                array::from_ref(&anchor),
                others,
                time,
                KeyUsage::server_auth(),
                None,
                None,
            );
            match path.map(|_| ()) {
                Err(Error::CertNotValidYet { not_before, .. })
                    if matches!(self.config.time, TlsTime::Built(_)) && not_before > time =>
                {
                    time = not_before;
                }
                path => return path.map_err(|error| Self::call(&error)),
            }
        }
        Err(TlsError::NotYetValid)
    }

    /// What webpki calls that.
    const fn call(error: &Error) -> TlsError {
        match error {
            Error::CertExpired { .. } => TlsError::Expired,
            Error::CertNotValidYet { .. } => TlsError::NotYetValid,
            Error::UnknownIssuer => TlsError::UnknownIssuer,
            Error::CaUsedAsEndEntity => TlsError::AuthorityUsedAsLeaf,
            Error::EndEntityUsedAsCa => TlsError::LeafUsedAsAuthority,
            Error::RequiredEkuNotFoundContext(_) | Error::EmptyEkuExtension => {
                TlsError::WrongPurpose
            }
            Error::InvalidSignatureForPublicKey => TlsError::BadSignature,
            Error::UnsupportedSignatureAlgorithmContext(_)
            | Error::UnsupportedSignatureAlgorithmForPublicKeyContext(_) => {
                TlsError::UnsupportedKey
            }
            _ => TlsError::BadCertificate,
        }
    }

    fn signature(&self, verify: &CertificateVerifyRef) -> Result<Progress, TlsError> {
        let Progress::Certificate(key, hash) = &self.progress else {
            return Err(TlsError::Protocol);
        };
        if verify.signature_scheme.as_u16() != key.scheme().as_u16() {
            return Err(TlsError::UnsupportedKey);
        }
        let message: [&[u8]; 3] = [&[b' '; 64], b"TLS 1.3, server CertificateVerify\0", hash];
        match key.verify(&message, verify.signature) {
            Some(()) => Ok(Progress::Proven),
            None => Err(TlsError::BadSignature),
        }
    }
}

impl TlsVerifier<Aes128GcmSha256> for Verifier<'_> {
    /// The name is known already.
    fn set_hostname_verification(&mut self, _: &str) -> Result<(), Inner> {
        Ok(())
    }

    fn verify_certificate(
        &mut self,
        transcript: &Sha256,
        chain: CertificateRef<'_>,
    ) -> Result<(), Inner> {
        let next = self.certificate(transcript, &chain);
        self.step(next)
    }

    fn verify_signature(&mut self, verify: CertificateVerifyRef<'_>) -> Result<(), Inner> {
        let next = self.signature(&verify);
        self.step(next)
    }
}
