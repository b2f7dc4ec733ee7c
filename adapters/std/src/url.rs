//! WebSocket URIs (RFC 6455 §3).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::percent_decode_str;
use url::{Host, ParseError, Url};

use crate::error::UrlError;

/// What a URL says.
// [HC01]
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) secure: bool,
    /// Without brackets, for the resolver and for TLS.
    pub(crate) host: String,
    pub(crate) port: u16,
    /// The `Host` header.
    // [HC07]
    pub(crate) authority: String,
    /// Path and query.
    // [HC06]
    pub(crate) resource: String,
    /// The `Authorization` header for the user in the URL.
    pub(crate) authorization: Option<String>,
}

impl Target {
    pub(crate) fn parse(url: &str) -> Result<Self, UrlError> {
        // The parser would leave these out, and go on without a host [HC24] [HC02]
        if url.contains(|c: char| c.is_ascii_control()) || url.contains('\\') {
            return Err(UrlError::Malformed);
        }
        if url
            .split_once("://")
            .is_some_and(|(_, rest)| rest.starts_with('/'))
        {
            return Err(UrlError::Host);
        }
        let url = Url::parse(url).map_err(|error| match error {
            ParseError::InvalidPort => UrlError::Port,
            ParseError::RelativeUrlWithoutBase => UrlError::Malformed,
            _ => UrlError::Host,
        })?;
        let secure = match url.scheme() {
            "ws" => false,
            "wss" => true,
            _ => return Err(UrlError::Scheme),
        };
        // RFC 6455 §3: no fragment [HC01]
        if url.fragment().is_some() {
            return Err(UrlError::Fragment);
        }
        let host = url.host().ok_or(UrlError::Host)?;
        // RFC 6455 §3: the port is the scheme's own where it is left out [HC01]
        let port = url.port_or_known_default().ok_or(UrlError::Port)?;
        if port == 0 {
            return Err(UrlError::Port);
        }
        // RFC 6455 §4.1: the port is in `Host` unless it is the scheme's own [HC07]
        let authority = match url.port() {
            Some(port) => format!("{host}:{port}"),
            None => host.to_string(),
        };
        // RFC 6455 §3: the path, or `/` where it is empty, and the query [HC01]
        let resource = match url.query() {
            Some(query) => format!("{}?{query}", url.path()),
            None => url.path().to_owned(),
        };
        Ok(Self {
            secure,
            host: match host {
                Host::Ipv6(address) => address.to_string(),
                host => host.to_string(),
            },
            port,
            authority,
            resource,
            authorization: authorization(&url)?,
        })
    }
}

/// The user and the password of a URL, as HTTP's Basic authentication has them (RFC 7617).
fn authorization(url: &Url) -> Result<Option<String>, UrlError> {
    if url.username().is_empty() && url.password().is_none() {
        return Ok(None);
    }
    let decode = |part| {
        percent_decode_str(part)
            .decode_utf8()
            .map_err(|_| UrlError::UserInfo)
    };
    let user = decode(url.username())?;
    let password = decode(url.password().unwrap_or_default())?;
    // RFC 7617 §2: a user's name with a colon cannot be told from the password
    if user.contains(':') {
        return Err(UrlError::UserInfo);
    }
    let credentials = STANDARD.encode(format!("{user}:{password}"));
    Ok(Some(format!("Basic {credentials}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> (bool, String, u16, String, String) {
        let target = Target::parse(url).unwrap();
        let Target {
            secure, host, port, ..
        } = target;
        (secure, host, port, target.authority, target.resource)
    }

    fn expect(secure: bool, parts: (&str, u16, &str, &str)) -> (bool, String, u16, String, String) {
        let (host, port, authority, resource) = parts;
        (
            secure,
            host.to_owned(),
            port,
            authority.to_owned(),
            resource.to_owned(),
        )
    }

    /// HC01, HC06, HC07
    #[test]
    fn urls_are_taken_apart() {
        let cases = [
            (
                "ws://example.com",
                false,
                ("example.com", 80, "example.com", "/"),
            ),
            (
                "WSS://Example.COM/a?b=c",
                true,
                ("example.com", 443, "example.com", "/a?b=c"),
            ),
            (
                "ws://example.com:443?q",
                false,
                ("example.com", 443, "example.com:443", "/?q"),
            ),
            (
                "wss://example.com:443/",
                true,
                ("example.com", 443, "example.com", "/"),
            ),
            (
                "ws://[::1]:9001/x",
                false,
                ("::1", 9001, "[::1]:9001", "/x"),
            ),
            ("ws://[::1]", false, ("::1", 80, "[::1]", "/")),
            (
                "ws://u:p@h:81/ü b%23",
                false,
                ("h", 81, "h:81", "/%C3%BC%20b%23"),
            ),
            ("ws://h/a@b:c", false, ("h", 80, "h", "/a@b:c")),
            ("ws://h:/", false, ("h", 80, "h", "/")),
            ("ws://h/\"<>\"", false, ("h", 80, "h", "/%22%3C%3E%22")),
            (
                "ws://bücher.example/",
                false,
                ("xn--bcher-kva.example", 80, "xn--bcher-kva.example", "/"),
            ),
        ];
        for (url, secure, parts) in cases {
            assert_eq!(parse(url), expect(secure, parts), "{url}");
        }
    }

    /// HC02, HC24
    #[test]
    fn wrong_urls_are_refused() {
        let cases = [
            ("", UrlError::Malformed),
            ("example.com", UrlError::Malformed),
            ("http://example.com", UrlError::Scheme),
            ("ws://", UrlError::Host),
            ("ws:///path", UrlError::Host),
            ("ws://:80/", UrlError::Host),
            ("ws://[::1", UrlError::Host),
            ("ws://[::g]/", UrlError::Host),
            ("ws://[::1]80/", UrlError::Host),
            ("ws://::1/", UrlError::Host),
            ("ws://a b/", UrlError::Host),
            ("ws://a\r\nb/", UrlError::Malformed),
            ("ws://h/a\r\nX: y", UrlError::Malformed),
            ("ws://h\\a", UrlError::Malformed),
            ("ws://h:0/", UrlError::Port),
            ("ws://h:65536/", UrlError::Port),
            ("ws://h:+1/", UrlError::Port),
            ("ws://h/#top", UrlError::Fragment),
            ("ws://u%ff@h/", UrlError::UserInfo),
            ("ws://u%3Av@h/", UrlError::UserInfo),
        ];
        for (url, error) in cases {
            assert_eq!(Target::parse(url), Err(error), "{url}");
        }
    }

    #[test]
    fn a_user_becomes_basic_authentication() {
        let target = Target::parse("ws://Aladdin:open%20sesame@h").unwrap();
        let expected = "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==";
        assert_eq!(target.authorization.as_deref(), Some(expected));
    }
}
