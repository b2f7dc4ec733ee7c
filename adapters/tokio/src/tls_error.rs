//! What an error of TLS means, for people.

use core::fmt;

/// Writes what an error of TLS means.
pub(crate) fn explain(error: &rustls::Error, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    use rustls::CertificateError as Certificate;
    let certificate = match error {
        rustls::Error::InvalidMessage(_) => {
            return f
                .write_str("what answered does not speak TLS: should the URL begin with ws://?");
        }
        rustls::Error::InvalidCertificate(certificate) => certificate,
        error => return write!(f, "TLS: {error}"),
    };
    f.write_str("TLS: the server's certificate ")?;
    match certificate {
        Certificate::UnknownIssuer => f.write_str("is not signed by anyone who is trusted"),
        Certificate::BadSignature => {
            f.write_str("is not signed by those who are trusted, but says so")
        }
        Certificate::Expired | Certificate::ExpiredContext { .. } => f.write_str("has expired"),
        Certificate::NotValidForName | Certificate::NotValidForNameContext { .. } => {
            f.write_str("is for another host")
        }
        error => write!(f, "is not accepted: {error}"),
    }
}

/// Writes what an error of TLS with a client means.
pub(crate) fn explain_client(error: &rustls::Error, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match error {
        rustls::Error::InvalidMessage(_) => {
            f.write_str("the client does not speak TLS: does its URL begin with ws:// or http://?")
        }
        rustls::Error::NoCertificatesPresented => {
            f.write_str("TLS: the client has shown no certificate")
        }
        rustls::Error::InvalidCertificate(error) => {
            write!(f, "TLS: the client's certificate is not accepted: {error}")
        }
        rustls::Error::AlertReceived(alert) => {
            write!(f, "TLS: the client refused with the alert {alert:?}")
        }
        error => write!(f, "TLS: {error}"),
    }
}
