//! Proxies: which one to use, and the way through it.

#[cfg(feature = "std")]
mod choice;
mod env;
mod http_connect;
mod socks5;
mod tunnel;

use alloc::boxed::Box;
use core::fmt;
use core::str::FromStr;

use http::{HeaderMap, HeaderName, HeaderValue};

#[cfg(feature = "std")]
pub use choice::ProxyChoice;
pub use http_connect::ReasonPhrase;
pub use socks5::SocksReply;
pub use tunnel::{Tunnel, TunnelError};

use crate::authority::{Authority, Credentials, Host, is_name};
use crate::redirect::is_credential;
use crate::url::{Url, checked, split_before};
use crate::url_error::UrlError;

/// The port of a proxy whose URL has none, as curl has it.
const DEFAULT_PORT: u16 = 1080;

/// A proxy, as its URL names it.
///
/// | URL | proxy |
/// |---|---|
/// | `http://host:port`, `host:port` | HTTP CONNECT (RFC 9110 §9.3.6); the proxy resolves the server's name |
/// | `socks5h://host:port` | SOCKS5 (RFC 1928); the proxy resolves the server's name |
/// | `socks5://host:port` | SOCKS5; this side resolves the server's name |
///
/// The port is 1080 if there is none, as in curl. `user:password@` before the host becomes HTTP's
/// Basic authentication, or that of RFC 1929. A path is ignored.
///
/// ```
/// use motews_net::{Proxy, Url};
///
/// let proxy = Proxy::parse("http://user:secret@proxy.example:3128")?;
/// let url = Url::parse("wss://example.com/chat")?;
///
/// // Connect to proxy.host() and proxy.port(), then:
/// let mut tunnel = proxy.tunnel(url.host(), url.port())?;
/// let request = tunnel.to_send();
/// assert!(request.starts_with(b"CONNECT example.com:443 HTTP/1.1\r\n"));
/// # let len = request.len();
/// # tunnel.sent(len);
/// let mut input = &b"HTTP/1.1 200 Connection established\r\n\r\nhello"[..];
/// tunnel.receive(&mut input)?;
/// assert!(tunnel.is_open());
/// assert_eq!(input, b"hello"); // comes from the server
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Proxy {
    protocol: Protocol,
    host: Host,
    port: u16,
    credentials: Option<Credentials>,
    headers: HeaderMap,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Protocol {
    Http,
    Socks5,
    Socks5h,
}

impl Proxy {
    /// Parses the URL of a proxy.
    ///
    /// # Errors
    /// See [`ProxyError`].
    pub fn parse(url: &str) -> Result<Self, ProxyError> {
        let url = checked(url)?;
        let (scheme, rest) = url.split_once("://").unwrap_or(("http", url));
        let is = |name| scheme.eq_ignore_ascii_case(name);
        let protocol = match () {
            () if is("http") => Protocol::Http,
            () if is("socks5") => Protocol::Socks5,
            () if is("socks5h") => Protocol::Socks5h,
            () => return Err(ProxyError::Scheme),
        };
        let (authority, _) = split_before(rest, &['/', '?', '#']);
        let authority = Authority::parse(authority)?;
        Ok(Self {
            protocol,
            host: authority.host,
            port: authority.port.unwrap_or(DEFAULT_PORT),
            credentials: authority.credentials,
            headers: HeaderMap::new(),
        })
    }

    /// Chooses the proxy for `url` by the environment, as curl does. `variable` returns the value of
    /// an environment variable; an empty one counts as none. `None` means no proxy.
    ///
    /// 1. `no_proxy` or `NO_PROXY`: `*`, or a list of hosts that are reached without a proxy. A
    ///    name means that host and all below it, with or without a dot before it. For a URL with an
    ///    IP address, addresses and networks (`192.168.0.0/16`) are compared.
    /// 2. For `wss`: `wss_proxy`, `https_proxy`, also in capitals. For `ws`: `ws_proxy`, also in
    ///    capitals, and `http_proxy`, not in capitals: a CGI program's `HTTP_PROXY` is the client's
    ///    `Proxy` header.
    /// 3. `all_proxy` or `ALL_PROXY`.
    ///
    /// # Errors
    /// See [`ProxyError`]: a proxy that is set but cannot be used is never left out silently.
    ///
    /// ```
    /// use motews_net::{Proxy, Url};
    ///
    /// let environment = |name: &str| match name {
    ///     "https_proxy" => Some("http://proxy.example:3128".to_owned()),
    ///     "no_proxy" => Some("localhost, .internal.example".to_owned()),
    ///     _ => None,
    /// };
    /// let url = Url::parse("wss://example.com/")?;
    /// let proxy = Proxy::from_env(&url, environment)?.expect("a proxy");
    /// assert_eq!((proxy.host().to_string(), proxy.port()), ("proxy.example".to_owned(), 3128));
    ///
    /// let url = Url::parse("wss://ci.internal.example/")?;
    /// assert!(Proxy::from_env(&url, environment)?.is_none());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn from_env<T: AsRef<str>>(
        url: &Url,
        variable: impl Fn(&str) -> Option<T>,
    ) -> Result<Option<Self>, ProxyError> {
        match env::proxy_for(url, variable) {
            Some(proxy) => Self::parse(proxy.as_ref()).map(Some),
            None => Ok(None),
        }
    }

    /// Adds a header to the request to an HTTP proxy: `User-Agent`, or a `Proxy-Authorization` of
    /// another kind than Basic. SOCKS5 has no headers.
    #[must_use]
    pub fn with_header(mut self, name: HeaderName, mut value: HeaderValue) -> Self {
        if is_credential(&name) {
            value.set_sensitive(true);
        }
        self.headers.insert(name, value);
        self
    }

    /// Returns the same proxy with other credentials, or none.
    #[must_use]
    pub fn with_credentials(self, credentials: Option<Credentials>) -> Self {
        Self {
            credentials,
            ..self
        }
    }

    /// The proxy's host, to connect to.
    #[must_use]
    pub const fn host(&self) -> &Host {
        &self.host
    }

    /// The proxy's port.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Returns true if the proxy is given the server's name. If not, the name is to be resolved
    /// first, and one of the addresses given to [`tunnel`](Self::tunnel).
    #[must_use]
    pub const fn resolves_names(&self) -> bool {
        !matches!(self.protocol, Protocol::Socks5)
    }

    /// Begins a tunnel through the proxy to a server.
    ///
    /// # Errors
    /// [`TunnelError::Host`] and [`TunnelError::Credentials`], if the proxy's protocol has no room
    /// for them.
    pub fn tunnel(&self, host: &Host, port: u16) -> Result<Tunnel, TunnelError> {
        let can_be_sent = match host {
            // Anyone can make a `Host::Name`: none adds a line to the request.
            Host::Name(name) => is_name(name),
            Host::V4(_) => true,
            // A zone means something on this machine only.
            Host::V6(_, zone) => zone.is_none(),
        };
        if !can_be_sent {
            return Err(TunnelError::Host);
        }
        match self.protocol {
            Protocol::Http => {
                let credentials = self.credentials.as_ref();
                let request = http_connect::request(host, port, credentials, &self.headers)?;
                Ok(Tunnel::http(request))
            }
            Protocol::Socks5 | Protocol::Socks5h => {
                let machine = socks5::Socks5::new(host, port, self.credentials.as_ref())?;
                Ok(Tunnel::socks5(Box::new(machine)))
            }
        }
    }
}

impl FromStr for Proxy {
    type Err = ProxyError;

    fn from_str(url: &str) -> Result<Self, ProxyError> {
        Self::parse(url)
    }
}

/// The proxy's URL without its credentials, so that it can be logged.
impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.protocol {
            Protocol::Http => "http",
            Protocol::Socks5 => "socks5",
            Protocol::Socks5h => "socks5h",
        };
        write!(f, "{scheme}://{}:{}", self.host.bracketed(), self.port)
    }
}

/// What is wrong with a proxy's URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProxyError {
    /// The scheme is none of `http`, `socks5`, `socks5h`: TLS to the proxy itself and SOCKS4 are
    /// not spoken.
    Scheme,
    /// The rest of the URL.
    Url(UrlError),
}

impl From<UrlError> for ProxyError {
    fn from(error: UrlError) -> Self {
        Self::Url(error)
    }
}

impl fmt::Display for ProxyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Scheme => {
                f.write_str("the proxy's URL does not begin with http://, socks5:// or socks5h://")
            }
            Self::Url(error) => write!(f, "the proxy: {error}"),
        }
    }
}

impl core::error::Error for ProxyError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Scheme => None,
            Self::Url(error) => Some(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;
    use alloc::string::ToString;

    #[test]
    fn proxy_url_parsed_gives_its_parts() {
        let cases = [
            ("proxy", "http://proxy:1080", true),
            ("proxy:3128", "http://proxy:3128", true),
            ("HTTP://u:p@proxy:3128/x?y#z", "http://proxy:3128", true),
            ("[::1]:1", "http://[::1]:1", true),
            ("socks5://127.0.0.1", "socks5://127.0.0.1:1080", false),
            (
                "socks5h://[fe80::1%25eth0]:9",
                "socks5h://[fe80::1]:9",
                true,
            ),
        ];
        for (text, shown, resolves) in cases {
            let proxy = Proxy::parse(text).expect(text);
            assert_eq!(proxy.to_string(), shown, "{text}");
            assert_eq!(proxy.resolves_names(), resolves, "{text}");
        }
        let proxy = Proxy::parse("socks5://u:top%20secret@h").expect("a proxy");
        let expected = Some(Credentials::new("u", "top secret"));
        assert_eq!(proxy.credentials, expected);
        let name = http::header::PROXY_AUTHORIZATION;
        let proxy = proxy.with_header(name, HeaderValue::from_static("Bearer secret"));
        let tunnel = proxy.tunnel(&Host::Name("h".into()), 80).expect("a tunnel");
        assert!(!format!("{proxy:?} {proxy} {tunnel:?}").contains("secret"));
    }

    #[test]
    fn wrong_proxy_url_is_refused() {
        let cases = [
            ("https://proxy", ProxyError::Scheme),
            ("socks4://proxy", ProxyError::Scheme),
            ("ws://proxy", ProxyError::Scheme),
            ("", ProxyError::Url(UrlError::Host)),
            ("http://", ProxyError::Url(UrlError::Host)),
            ("proxy:99999", ProxyError::Url(UrlError::Port)),
            ("a\r\nb", ProxyError::Url(UrlError::Malformed)),
            ("http://a@b@c", ProxyError::Url(UrlError::UserInfo)),
        ];
        for (url, error) in cases {
            assert_eq!(Proxy::parse(url).map(|_| ()), Err(error), "{url}");
        }
    }

    #[test]
    fn address_with_a_zone_is_not_given_to_a_proxy() {
        let url = Url::parse("ws://[fe80::1%25eth0]/").expect("a URL");
        for proxy in ["http://p", "socks5://p"] {
            let proxy = Proxy::parse(proxy).expect("a proxy");
            let tunnel = proxy.tunnel(url.host(), url.port());
            assert!(matches!(tunnel, Err(TunnelError::Host)));
        }
    }

    #[test]
    fn name_that_is_no_host_is_not_written_to_a_proxy() {
        for name in ["h:1 HTTP/1.1\r\nX: y\r\n", "a b", "a\0b", "", "a/b"] {
            for proxy in ["http://p", "socks5://p"] {
                let proxy = Proxy::parse(proxy).expect("a proxy");
                let tunnel = proxy.tunnel(&Host::Name(name.into()), 80);
                assert!(matches!(tunnel, Err(TunnelError::Host)), "{name:?}");
            }
        }
    }
}
