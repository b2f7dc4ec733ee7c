//! WebSocket URIs (RFC 6455 §3).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

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
        // RFC 6455 §3: no fragment [HC01]
        if url.contains('#') {
            return Err(UrlError::Fragment);
        }
        let (scheme, rest) = url.split_once("://").ok_or(UrlError::Malformed)?;
        let secure = match scheme {
            _ if scheme.eq_ignore_ascii_case("ws") => false,
            _ if scheme.eq_ignore_ascii_case("wss") => true,
            _ => return Err(UrlError::Scheme),
        };
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, resource) = rest.split_at(end);
        let (user, host_and_port) = match authority.rsplit_once('@') {
            Some((user, rest)) => (Some(user), rest),
            None => (None, authority),
        };
        let (host, port) = split_port(host_and_port)?;

        // RFC 6455 §3: the port is the scheme's own where it is left out [HC01]
        let default = if secure { 443 } else { 80 };
        let port = match port {
            None | Some("") => default,
            Some(port) if port.bytes().all(|byte| byte.is_ascii_digit()) => {
                let port = port.parse().map_err(|_| UrlError::Port)?;
                if port == 0 {
                    return Err(UrlError::Port);
                }
                port
            }
            Some(_) => return Err(UrlError::Port),
        };
        // RFC 6455 §4.1: the port is in `Host` unless it is the scheme's own [HC07]
        let mut authority = host.to_ascii_lowercase();
        if port != default {
            authority.push(':');
            authority.push_str(&port.to_string());
        }
        Ok(Self {
            secure,
            host: host.trim_matches(['[', ']']).to_ascii_lowercase(),
            port,
            authority,
            resource: resource_name(resource),
            authorization: user.map(basic).transpose()?,
        })
    }
}

/// `example.com:80`, `[::1]:80`.
fn split_port(authority: &str) -> Result<(&str, Option<&str>), UrlError> {
    if let Some(rest) = authority.strip_prefix('[') {
        let (address, after) = rest.split_once(']').ok_or(UrlError::Host)?;
        if address.parse::<core::net::Ipv6Addr>().is_err() {
            return Err(UrlError::Host);
        }
        let port = match after {
            "" => None,
            after => Some(after.strip_prefix(':').ok_or(UrlError::Host)?),
        };
        return Ok((&authority[..address.len() + 2], port));
    }
    let (host, port) = match authority.split_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (authority, None),
    };
    // A registered name (RFC 3986 §3.2.2), without percent-encoding, which no resolver takes.
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=".contains(&byte);
    if host.is_empty() || !host.bytes().all(is_name) {
        return Err(UrlError::Host);
    }
    Ok((host, port))
}

/// RFC 6455 §3: the path, or `/` where it is empty, and the query. What a URI
/// cannot have, spaces and what is not ASCII above all, is percent-encoded.
// [HC01]
fn resource_name(resource: &str) -> String {
    let mut name = String::with_capacity(resource.len() + 1);
    if !resource.starts_with('/') {
        name.push('/');
    }
    for byte in resource.bytes() {
        match byte {
            b'!'..=b'~' if !b"\"<>\\^`{|}".contains(&byte) => name.push(char::from(byte)),
            // Control characters too, so that none can reach the request [HC24]
            _ => name.push_str(&format!("%{byte:02X}")),
        }
    }
    name
}

/// `user:password`, percent-encoded, as HTTP's Basic authentication has it (RFC 7617).
fn basic(user_info: &str) -> Result<String, UrlError> {
    let (user, password) = user_info.split_once(':').unwrap_or((user_info, ""));
    let mut credentials = decode(user)?;
    // RFC 7617 §2: a user's name with a colon cannot be told from the password
    if credentials.contains(':') {
        return Err(UrlError::UserInfo);
    }
    credentials.push(':');
    credentials.push_str(&decode(password)?);
    Ok(format!("Basic {}", STANDARD.encode(credentials)))
}

fn decode(encoded: &str) -> Result<String, UrlError> {
    let mut bytes = Vec::with_capacity(encoded.len());
    let mut rest = encoded.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(if byte == b'%' {
            let mut digit = || char::from(rest.next()?).to_digit(16);
            let (high, low) = (digit(), digit());
            let value = high.zip(low).map(|(high, low)| high * 16 + low);
            value.ok_or(UrlError::UserInfo)? as u8
        } else {
            byte
        });
    }
    String::from_utf8(bytes).map_err(|_| UrlError::UserInfo)
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
            ("ws://h/\"<|>\"", false, ("h", 80, "h", "/%22%3C%7C%3E%22")),
            ("ws://h/a\r\nX: y", false, ("h", 80, "h", "/a%0D%0AX:%20y")),
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
            ("ws://exämple.com/", UrlError::Host),
            ("ws://a b/", UrlError::Host),
            ("ws://a\r\nb/", UrlError::Host),
            ("ws://h:0/", UrlError::Port),
            ("ws://h:65536/", UrlError::Port),
            ("ws://h:+1/", UrlError::Port),
            ("ws://h/#top", UrlError::Fragment),
            ("ws://u%zz@h/", UrlError::UserInfo),
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
