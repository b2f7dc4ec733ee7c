//! [`TlsError`]: why there is no TLS, or none any more.

use core::fmt;

use embedded_io::ErrorKind;
use embedded_tls::TlsError as Inner;
use embedded_tls::alert::AlertDescription;
use motews::Ended;
use motews::reconnect::Cause;

/// Why a TLS session did not begin, or how it ended unless in good order.
///
/// A WebSocket on the session returns it as [`Error::Io`](crate::Error::Io), once, and afterwards
/// [`Ended::Lost`](motews::Ended::Lost). [`Pump::run`](super::Pump::run) returns it, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum TlsError {
    /// The certificate is for other names than the server's.
    WrongName,
    /// The certificate has no DNS name among its subject alternative names, and the server goes by one. A
    /// common name does not count (RFC 9525 §6.3).
    NoName,
    /// A certificate of the chain has expired.
    Expired,
    /// A certificate of the chain is not valid yet, or the time that was given in is wrong.
    NotYetValid,
    /// The certificate is signed with its own key, and is no authority that is trusted.
    SelfSigned,
    /// The chain does not lead to an authority that is trusted.
    UnknownIssuer,
    /// A certificate of the chain was issued by one that is not an authority's.
    LeafUsedAsAuthority,
    /// The server's own certificate is an authority's.
    AuthorityUsedAsLeaf,
    /// The certificate is not for servers: a client's, for example.
    WrongPurpose,
    /// The server's key is none of those that are pinned.
    KeyNotPinned,
    /// A key, or a signature in the chain, is of a kind that is not taken: neither ECDSA on P-256 nor on
    /// P-384.
    UnsupportedKey,
    /// A signature is wrong: in the chain, or the server's over the handshake, or the handshake's
    /// checksum.
    BadSignature,
    /// A certificate cannot be read, or breaks another rule.
    BadCertificate,
    /// The server did not prove who it is: it sent no certificate, or no signature.
    Unproven,
    /// The server wants another version of TLS than 1.3, or something else that was not offered.
    Version,
    /// The server ended the session with an alert. Its number is known during the handshake only (RFC
    /// 8446 §6.2): 40 means that nothing offered will do, a server whose only key is RSA for example.
    Alert(Option<u8>),
    /// The transport ended, and TLS had not (RFC 8446 §6.1). Something may be missing.
    Truncated,
    /// The server changed its key (KeyUpdate), which embedded-tls does not support.
    KeyUpdate,
    /// A record is longer than the buffer for it, or a message of the handshake is.
    NoRoom,
    /// The server broke the rules of TLS, or somebody between has changed a byte.
    Protocol,
    /// The transport failed.
    Io(ErrorKind),
    /// The source of random numbers failed. Nothing was sent.
    NoEntropy,
    /// The caller's settings are wrong: the server's name, an authority's certificate, or the client's
    /// key.
    Config,
    /// The session is over, and nothing can be sent any more.
    Closed,
    /// The end of TLS could not be sent in time.
    TimedOut,
    /// The future of [`Pump::run`](super::Pump::run) was dropped before its end.
    PumpDropped,
}

impl TlsError {
    /// What embedded-tls calls `error`, in the handshake or after it.
    pub(super) fn of(error: &Inner, opening: bool) -> Self {
        match error {
            Inner::HandshakeAborted(_, AlertDescription::ProtocolVersion) => Self::Version,
            Inner::HandshakeAborted(_, alert) => Self::Alert(Some(*alert as u8)),
            // The only alert beside `close_notify` that it tells after the handshake.
            Inner::InternalError if !opening => Self::Alert(None),
            Inner::Unimplemented if !opening => Self::KeyUpdate,
            Inner::IoError => Self::Truncated,
            Inner::Io(kind) => Self::Io(*kind),
            Inner::InsufficientSpace | Inner::OutOfMemory => Self::NoRoom,
            Inner::InvalidSupportedVersions
            | Inner::InvalidCipherSuite
            | Inner::InvalidKeyShare
            | Inner::AbortHandshake(..) => Self::Version,
            Inner::InvalidSignature => Self::BadSignature,
            Inner::InvalidPrivateKey => Self::Config,
            Inner::MissingHandshake | Inner::ConnectionClosed => Self::Closed,
            _ => Self::Protocol,
        }
    }
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self {
            Self::WrongName => "the certificate is for another name",
            Self::NoName => "the certificate has no DNS name among its subject alternative names",
            Self::Expired => "a certificate has expired",
            Self::NotYetValid => "a certificate is not valid yet",
            Self::SelfSigned => "the certificate is signed with its own key",
            Self::UnknownIssuer => "the certificate is not from an authority that is trusted",
            Self::LeafUsedAsAuthority => "a certificate was issued by one that is no authority's",
            Self::AuthorityUsedAsLeaf => "the server's certificate is an authority's",
            Self::WrongPurpose => "the certificate is not for servers",
            Self::KeyNotPinned => "the server's key is not the pinned one",
            Self::UnsupportedKey => "a key or signature is neither ECDSA on P-256 nor on P-384",
            Self::BadSignature => "a signature is wrong",
            Self::BadCertificate => "a certificate is wrong",
            Self::Unproven => "the server did not prove who it is",
            Self::Version => "the server wants another version of TLS than 1.3",
            Self::Alert(Some(number)) => {
                return write!(f, "the server sent the TLS alert {number}");
            }
            Self::Alert(None) => "the server sent a TLS alert",
            Self::Truncated => "the transport ended before TLS did",
            Self::KeyUpdate => "the server changed its key, which is not supported",
            Self::NoRoom => "a TLS record is longer than the buffer",
            Self::Protocol => "the server broke the rules of TLS",
            Self::Io(kind) => return write!(f, "the transport failed: {kind:?}"),
            Self::NoEntropy => "no random numbers",
            Self::Config => "the TLS settings are wrong",
            Self::Closed => "the TLS session is over",
            Self::TimedOut => "the end of TLS could not be sent in time",
            Self::PumpDropped => "the pump of TLS was dropped",
        };
        f.write_str(what)
    }
}

impl core::error::Error for TlsError {}

/// What an attempt to connect that has failed so means for the next one.
impl From<TlsError> for Cause {
    fn from(error: TlsError) -> Self {
        match error {
            // The pump was dropped because there was no TCP connection.
            TlsError::PumpDropped => Self::Unreachable,
            TlsError::Config => Self::Local,
            TlsError::NoEntropy => Ended::NoEntropy.into(),
            // The handshake was cut, and not refused.
            TlsError::Io(_) | TlsError::Truncated | TlsError::TimedOut => Ended::Lost.into(),
            _ => Self::Tls,
        }
    }
}

impl embedded_io::Error for TlsError {
    /// Never one that invites to try again: the session is over, whatever ended it.
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Io(ErrorKind::ConnectionReset) => ErrorKind::ConnectionReset,
            Self::Closed => ErrorKind::BrokenPipe,
            _ => ErrorKind::ConnectionAborted,
        }
    }
}
