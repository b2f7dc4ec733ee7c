//! What an error of TLS means, for people.

use core::fmt;

/// Writes what is wrong in words for those who do not know rustls.
pub(crate) fn explain(error: &rustls::Error, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    use rustls::CertificateError as Certificate;
    let text = match error {
        rustls::Error::InvalidMessage(_) => {
            "what answered does not speak TLS: should the URL begin with ws://?"
        }
        rustls::Error::AlertReceived(alert) => {
            return write!(f, "TLS: the server refused with the alert {alert:?}");
        }
        rustls::Error::InvalidCertificate(certificate) => match certificate {
            Certificate::UnknownIssuer => {
                "TLS: the server's certificate is not signed by anyone who is trusted"
            }
            Certificate::BadSignature => {
                "TLS: the server's certificate is not signed by those who are trusted, but says so"
            }
            Certificate::Expired | Certificate::ExpiredContext { .. } => {
                "TLS: the server's certificate has expired"
            }
            Certificate::NotValidYet | Certificate::NotValidYetContext { .. } => {
                "TLS: the server's certificate is not valid yet"
            }
            Certificate::NotValidForName | Certificate::NotValidForNameContext { .. } => {
                "TLS: the server's certificate is for another host"
            }
            Certificate::Revoked => "TLS: the server's certificate was revoked",
            _ => return write!(f, "TLS: the server's certificate is not accepted: {error}"),
        },
        error => return write!(f, "TLS: {error}"),
    };
    f.write_str(text)
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
