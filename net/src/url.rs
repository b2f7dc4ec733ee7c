//! URLs of WebSockets (RFC 6455 §3).

use alloc::borrow::Cow;
use alloc::format;
use alloc::string::{String, ToString};
use core::fmt;
use core::str::FromStr;

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

use crate::authority::{Authority, Credentials, Host};
use crate::url_error::UrlError;

/// What browsers percent-encode in a query (WHATWG URL, "special-query"), and `\`, `^`, `` ` ``,
/// `{`, `}`, `|`, which RFC 3986 does not allow.
const QUERY: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'<')
    .add(b'>')
    .add(b'\'')
    .add(b'\\')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'}')
    .add(b'|');

/// The same for a path, where `'` stands as it is.
const PATH: &AsciiSet = &QUERY.remove(b'\'');

/// The URL of a WebSocket: `ws://host:port/path?query`, or `wss://` with TLS.
///
/// | part | rule |
/// |---|---|
/// | scheme | `ws` and `wss`; `http` and `https` mean the same |
/// | `user:password@` | percent-decoded; see [`Credentials`] |
/// | host | a name, an IPv4 address, or an IPv6 address in brackets, with a zone if need be: `[fe80::1%25eth0]` |
/// | port | 80, or 443 with TLS, if there is none |
/// | path and query | `/` if the path is empty; `.` and `..` are resolved; characters that a request cannot have are percent-encoded as UTF-8 |
/// | fragment | refused (RFC 6455 §3): a `#` elsewhere is written `%23` |
///
/// Control characters are refused everywhere, so a URL never adds a line to a request. A host
/// beyond ASCII is converted with the feature `idna`, and refused without it.
///
/// ```
/// use motews_net::Url;
///
/// let url: Url = "wss://Example.com:9001?room=küche".parse()?;
/// assert!(url.is_secure());
/// assert_eq!(url.host().to_string(), "example.com");
/// assert_eq!(url.port(), 9001);
/// assert_eq!(url.authority(), "example.com:9001"); // the `Host` header
/// assert_eq!(url.target(), "/?room=k%C3%BCche");
/// # Ok::<(), motews_net::UrlError>(())
/// ```
// [HC01]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    secure: bool,
    host: Host,
    port: u16,
    target: String,
    credentials: Option<Credentials>,
}

impl Url {
    /// Parses a URL. Spaces around it are ignored.
    ///
    /// # Errors
    /// See [`UrlError`].
    pub fn parse(url: &str) -> Result<Self, UrlError> {
        let url = checked(url)?;
        let (scheme, rest) = url.split_once("://").ok_or(UrlError::NoScheme)?;
        let secure = is_secure(scheme)?;
        // RFC 6455 §3: no fragment [HC01]
        if rest.contains('#') {
            return Err(UrlError::Fragment);
        }
        Self::after_scheme(secure, rest)
    }

    /// Parses what follows `://`.
    fn after_scheme(secure: bool, rest: &str) -> Result<Self, UrlError> {
        let (authority, target) = split_before(rest, &['/', '?', '\\']);
        let Authority {
            host,
            port,
            credentials,
        } = Authority::parse(authority)?;
        Ok(Self {
            secure,
            host,
            // RFC 6455 §3: the scheme's own port [HC01]
            port: port.unwrap_or(default_port(secure)),
            target: normalized(target)?,
            credentials,
        })
    }

    /// Resolves a reference against this URL (RFC 3986 §5.2), as a `Location` header has it: a
    /// whole URL, `//host/path`, `/path`, `path` or `?query`. A fragment is dropped, for a
    /// `Location` may have one. The credentials of this URL are not part of the result.
    ///
    /// # Errors
    /// See [`UrlError`].
    ///
    /// ```
    /// use motews_net::Url;
    ///
    /// let url = Url::parse("wss://example.com/chat/old?room=1")?;
    /// assert_eq!(url.join("new")?.to_string(), "wss://example.com/chat/new");
    /// assert_eq!(url.join("https://b.example/#top")?.to_string(), "wss://b.example/");
    /// # Ok::<(), motews_net::UrlError>(())
    /// ```
    pub fn join(&self, reference: &str) -> Result<Self, UrlError> {
        let reference = checked(reference)?;
        let (reference, _) = split_before(reference, &['#']);
        if let Some(rest) = reference.strip_prefix("//") {
            return Self::after_scheme(self.secure, rest);
        }
        let (first, _) = split_before(reference, &['/', '?']);
        if first.contains(':') {
            return Self::parse(reference);
        }
        let (path, _) = split_before(&self.target, &['?']);
        let target = match reference.bytes().next() {
            None => Cow::Borrowed(self.target.as_str()),
            Some(b'/') => reference.into(),
            Some(b'?') => format!("{path}{reference}").into(),
            Some(_) => {
                let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
                format!("{folder}/{reference}").into()
            }
        };
        Ok(Self {
            secure: self.secure,
            host: self.host.clone(),
            port: self.port,
            target: normalized(&target)?,
            credentials: None,
        })
    }

    /// Returns true if the connection is to be encrypted: `wss` or `https`.
    #[must_use]
    pub const fn is_secure(&self) -> bool {
        self.secure
    }

    /// The host to connect to.
    #[must_use]
    pub const fn host(&self) -> &Host {
        &self.host
    }

    /// The port to connect to: the URL's, or the scheme's.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// The host and the port as the `Host` header has them: the port only if it is not the
    /// scheme's, an IPv6 address in brackets and without its zone, which means something on this
    /// machine only (RFC 6874 §1).
    // RFC 6455 §4.1 [HC07]
    #[must_use]
    pub fn authority(&self) -> String {
        let host = self.host.bracketed();
        match self.port == default_port(self.secure) {
            true => host.into_owned(),
            false => format!("{host}:{}", self.port),
        }
    }

    /// The path and the query, to be asked for: the "resource name" of RFC 6455 §3.
    // [HC06]
    #[must_use]
    pub fn target(&self) -> &str {
        &self.target
    }

    /// The user and the password, if there are any.
    #[must_use]
    pub const fn credentials(&self) -> Option<&Credentials> {
        self.credentials.as_ref()
    }

    /// The same URL, with other credentials or none.
    #[must_use]
    pub fn with_credentials(self, credentials: Option<Credentials>) -> Self {
        Self {
            credentials,
            ..self
        }
    }
}

/// The URL without its credentials, so that it can be logged.
impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.secure { "wss" } else { "ws" };
        match &self.host {
            Host::V6(address, Some(zone)) => write!(f, "{scheme}://[{address}%25{zone}]")?,
            host => write!(f, "{scheme}://{}", host.bracketed())?,
        }
        if self.port != default_port(self.secure) {
            write!(f, ":{}", self.port)?;
        }
        f.write_str(&self.target)
    }
}

impl FromStr for Url {
    type Err = UrlError;

    fn from_str(url: &str) -> Result<Self, UrlError> {
        Self::parse(url)
    }
}

impl TryFrom<&http::Uri> for Url {
    type Error = UrlError;

    fn try_from(uri: &http::Uri) -> Result<Self, UrlError> {
        Self::parse(&uri.to_string())
    }
}

const fn default_port(secure: bool) -> u16 {
    if secure { 443 } else { 80 }
}

fn is_secure(scheme: &str) -> Result<bool, UrlError> {
    let is = |name| scheme.eq_ignore_ascii_case(name);
    match () {
        () if is("ws") || is("http") => Ok(false),
        () if is("wss") || is("https") => Ok(true),
        () => Err(UrlError::Scheme),
    }
}

/// A URL without the spaces around it, if there are no control characters in it.
// [HC24]
pub(crate) fn checked(url: &str) -> Result<&str, UrlError> {
    match url.contains(|c: char| c.is_ascii_control()) {
        true => Err(UrlError::Malformed),
        false => Ok(url.trim_matches(' ')),
    }
}

/// Splits before the first of `characters`.
pub(crate) fn split_before<'a>(text: &'a str, characters: &[char]) -> (&'a str, &'a str) {
    text.split_at(text.find(characters).unwrap_or(text.len()))
}

/// The path and the query as a request has them.
fn normalized(target: &str) -> Result<String, UrlError> {
    let (path, query) = split_before(target, &['?']);
    // Browsers read it as `/`, RFC 3986 does not allow it: two programs see two paths.
    if path.contains('\\') {
        return Err(UrlError::Malformed);
    }
    // RFC 6455 §3: `/` if the path is empty [HC01]
    let path = resolved(path);
    Ok(format!(
        "{}{}",
        utf8_percent_encode(&path, PATH),
        utf8_percent_encode(query, QUERY)
    ))
}

/// A path without `.` and `..` (RFC 3986 §5.2.4).
fn resolved(path: &str) -> String {
    let mut out = String::with_capacity(path.len().max(1));
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let is_last = segments.peek().is_none();
        match segment {
            "." => {}
            ".." => out.truncate(out.rfind('/').unwrap_or(0)),
            segment => {
                out.push('/');
                out.push_str(segment);
                continue;
            }
        }
        if is_last {
            out.push('/');
        }
    }
    if out.is_empty() {
        out.push('/');
    }
    out
}

#[cfg(test)]
mod tests {
    use alloc::borrow::ToOwned as _;

    use super::*;

    /// HC01, HC06, HC07
    #[test]
    fn url_parsed_gives_its_parts() {
        let cases = [
            (
                "ws://example.com",
                false,
                "example.com",
                80,
                "example.com",
                "/",
            ),
            (
                "WSS://Example.COM/a?b=c",
                true,
                "example.com",
                443,
                "example.com",
                "/a?b=c",
            ),
            ("http://h", false, "h", 80, "h", "/"),
            ("HTTPS://h:80/", true, "h", 80, "h:80", "/"),
            (
                "ws://example.com:443?q",
                false,
                "example.com",
                443,
                "example.com:443",
                "/?q",
            ),
            (
                "wss://example.com:443/",
                true,
                "example.com",
                443,
                "example.com",
                "/",
            ),
            ("ws://h?x", false, "h", 80, "h", "/?x"),
            ("ws://h?", false, "h", 80, "h", "/?"),
            ("ws://h?a=/b/../c?d", false, "h", 80, "h", "/?a=/b/../c?d"),
            ("ws://[::1]:9001/x", false, "::1", 9001, "[::1]:9001", "/x"),
            ("ws://[::1]", false, "::1", 80, "[::1]", "/"),
            (
                "ws://[FE80::1%25eth0]/",
                false,
                "fe80::1%eth0",
                80,
                "[fe80::1]",
                "/",
            ),
            (
                "ws://[fe80::1%eth0]:81/",
                false,
                "fe80::1%eth0",
                81,
                "[fe80::1]:81",
                "/",
            ),
            (
                "ws://[fe80::1%2]/",
                false,
                "fe80::1%2",
                80,
                "[fe80::1]",
                "/",
            ),
            (
                "ws://127.0.0.1:1/",
                false,
                "127.0.0.1",
                1,
                "127.0.0.1:1",
                "/",
            ),
            (
                "ws://u:p@h:81/ü b%23",
                false,
                "h",
                81,
                "h:81",
                "/%C3%BC%20b%23",
            ),
            ("ws://h/a@b:c", false, "h", 80, "h", "/a@b:c"),
            ("ws://h:/", false, "h", 80, "h", "/"),
            ("ws://h/\"<>\"", false, "h", 80, "h", "/%22%3C%3E%22"),
            (
                "ws://h/a%zz[1]?b[]=\\",
                false,
                "h",
                80,
                "h",
                "/a%zz[1]?b[]=%5C",
            ),
            (
                "ws://my_service./",
                false,
                "my_service.",
                80,
                "my_service.",
                "/",
            ),
            ("  ws://h/ ", false, "h", 80, "h", "/"),
            ("ws://h/a/./b/../../c/..", false, "h", 80, "h", "/"),
            ("ws://h/a/b/.", false, "h", 80, "h", "/a/b/"),
            ("ws://h/../..//a", false, "h", 80, "h", "//a"),
        ];
        for (text, secure, host, port, authority, target) in cases {
            let url = Url::parse(text).expect(text);
            let parts = (url.is_secure(), url.host().to_string(), url.port());
            assert_eq!(parts, (secure, host.to_owned(), port), "{text}");
            assert_eq!(url.authority(), authority, "{text}");
            assert_eq!(url.target(), target, "{text}");
            let again = Url::parse(&url.to_string()).expect(text);
            assert_eq!(again, url.with_credentials(None), "{text}");
        }
    }

    /// HC02, HC24
    #[test]
    fn wrong_url_parsed_is_refused() {
        let cases = [
            ("", UrlError::NoScheme),
            ("example.com", UrlError::NoScheme),
            ("localhost:9001", UrlError::NoScheme),
            ("ftp://example.com", UrlError::Scheme),
            ("ws://", UrlError::Host),
            ("ws:///path", UrlError::Host),
            ("ws://:80/", UrlError::Host),
            ("ws://[::1", UrlError::Host),
            ("ws://[::g]/", UrlError::Host),
            ("ws://[::1]80/", UrlError::Host),
            ("ws://[fe80::1%]/", UrlError::Host),
            ("ws://[fe80::1%25]/", UrlError::Host),
            ("ws://[fe80::1%a b]/", UrlError::Host),
            ("ws://[::1]]/", UrlError::Host),
            ("ws://a]b/", UrlError::Host),
            ("ws://::1/", UrlError::Host),
            ("ws://a b/", UrlError::Host),
            ("ws://a%41/", UrlError::Host),
            ("ws://a\r\nb/", UrlError::Malformed),
            ("ws://h/a\r\nX: y", UrlError::Malformed),
            ("ws://h/\0", UrlError::Malformed),
            ("ws://h\\a", UrlError::Malformed),
            ("ws://h/a\\b", UrlError::Malformed),
            ("ws://h:0/", UrlError::Port),
            ("ws://h:65536/", UrlError::Port),
            ("ws://h:+1/", UrlError::Port),
            ("ws://h/#top", UrlError::Fragment),
            ("ws://h#", UrlError::Fragment),
            ("ws://u%ff@h/", UrlError::UserInfo),
            ("ws://u%3Av@h/", UrlError::UserInfo),
            ("ws://a@b@h/", UrlError::UserInfo),
        ];
        for (url, error) in cases {
            assert_eq!(Url::parse(url), Err(error), "{url}");
        }
        let long = "a".repeat(254);
        assert_eq!(Url::parse(&format!("ws://{long}/")), Err(UrlError::Host));
    }

    #[test]
    fn host_beyond_ascii_needs_the_feature() {
        let host = Host::parse("bücher.example").map(|host| host.to_string());
        #[cfg(feature = "idna")]
        assert_eq!(host.as_deref(), Ok("xn--bcher-kva.example"));
        #[cfg(not(feature = "idna"))]
        assert_eq!(host, Err(UrlError::NotAscii));
    }

    #[test]
    fn user_in_the_url_becomes_basic_authentication() {
        let url = Url::parse("ws://Aladdin:open%20sesame@h").expect("a URL");
        let credentials = url.credentials().expect("a user");
        assert_eq!(credentials.password(), "open sesame");
        let header = credentials.basic().expect("no colon");
        assert_eq!(header, "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
        assert!(header.is_sensitive());
        assert!(!format!("{url} {url:?}").contains("sesame"));
        assert_eq!(Url::parse("ws://@h").expect("a URL").credentials(), None);
        let tokens = Url::parse("ws://token@h").expect("a URL");
        assert_eq!(tokens.credentials(), Some(&Credentials::new("token", "")));
    }

    /// RFC 3986 §5.4, as far as a WebSocket can have it.
    #[test]
    fn reference_joined_is_resolved() {
        let base = Url::parse("ws://user@a/b/c/d;p?q").expect("a URL");
        let cases = [
            ("g", "ws://a/b/c/g"),
            ("./g", "ws://a/b/c/g"),
            ("g/", "ws://a/b/c/g/"),
            ("/g", "ws://a/g"),
            ("//g", "ws://g/"),
            ("?y", "ws://a/b/c/d;p?y"),
            ("g?y", "ws://a/b/c/g?y"),
            ("#s", "ws://a/b/c/d;p?q"),
            ("g#s", "ws://a/b/c/g"),
            (";x", "ws://a/b/c/;x"),
            ("", "ws://a/b/c/d;p?q"),
            (".", "ws://a/b/c/"),
            ("..", "ws://a/b/"),
            ("../g", "ws://a/b/g"),
            ("../../../g", "ws://a/g"),
            ("g;x=1/../y", "ws://a/b/c/y"),
            ("https://b:81/x#y", "wss://b:81/x"),
            ("?a:b//c", "ws://a/b/c/d;p?a:b//c"),
            ("ü", "ws://a/b/c/%C3%BC"),
        ];
        for (reference, expected) in cases {
            let joined = base.join(reference).expect(reference);
            assert_eq!(joined.to_string(), expected, "{reference}");
            assert_eq!(joined.credentials(), None);
        }
        assert_eq!(base.join("mailto:x"), Err(UrlError::NoScheme));
        assert_eq!(base.join("ftp://b/"), Err(UrlError::Scheme));
        assert_eq!(base.join("/a\r\nb"), Err(UrlError::Malformed));
    }

    #[test]
    fn uri_of_http_becomes_a_url() {
        let uri = http::Uri::from_static("wss://example.com:9001/chat?room=1");
        let url = Url::try_from(&uri).expect("a URL");
        assert_eq!(url.to_string(), "wss://example.com:9001/chat?room=1");
        let relative = http::Uri::from_static("/chat");
        assert_eq!(Url::try_from(&relative), Err(UrlError::NoScheme));
    }
}
