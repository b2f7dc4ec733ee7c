//! Where a server points to, and whether to go there.

use core::fmt;

use http::header::{AUTHORIZATION, COOKIE, HOST, LOCATION, PROXY_AUTHORIZATION};
use http::{HeaderMap, HeaderName, StatusCode};

use crate::authority::Host;
use crate::url::Url;
use crate::url_error::UrlError;

/// Which redirects are followed.
///
/// The subprotocols and the `Origin` are sent to every server of a redirect, whatever is set here: the
/// next server could not agree on a subprotocol, or check the site, otherwise. So a client that
/// follows redirects puts no token among its subprotocols.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RedirectPolicy {
    /// How many are followed, one after another. A loop ends there, too.
    pub max_hops: u8,
    /// Whether one from `wss` to `ws` is followed: what was encrypted would be no more.
    pub allow_downgrade: bool,
    /// Whether another server is sent the headers that the application has added, too. An `X-Api-Key` or
    /// a `X-Session` is as secret as `Authorization`, and no list has all such names: so by default it
    /// is sent none of them. `Authorization`, `Cookie`, `Proxy-Authorization` and `Host` it never is.
    pub keep_headers: bool,
}

impl RedirectPolicy {
    /// None is followed, as in browsers.
    pub const NONE: Self = Self {
        max_hops: 0,
        allow_downgrade: false,
        keep_headers: false,
    };

    /// Five are followed, none of them from `wss` to `ws`.
    pub const DEFAULT: Self = Self {
        max_hops: 5,
        allow_downgrade: false,
        keep_headers: false,
    };
}

impl Default for RedirectPolicy {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// The redirects of one connection: each answer of a server with a 3xx status leads to the next
/// URL, or to the reason why it is not followed (RFC 9110 §15.4).
///
/// Secrets never leave the server that they were meant for. As soon as a redirect leads elsewhere,
/// [`keeps_header`](Self::keeps_header) is false for the headers that the application has added, and
/// stays so: the caller leaves them out. The credentials in the URL are kept or dropped here;
/// credentials in a `Location` are never used.
///
/// ```
/// use http::header::{AUTHORIZATION, LOCATION};
/// use http::{HeaderMap, HeaderValue, StatusCode};
/// use motews_net::{RedirectPolicy, Redirects, Url};
///
/// let mut redirects = Redirects::new(RedirectPolicy::DEFAULT);
/// let url = Url::parse("ws://user:secret@example.com/chat")?;
///
/// let headers = HeaderMap::from_iter([(LOCATION, HeaderValue::from_static("https://example.com/chat"))]);
/// let url = redirects.follow(&url, StatusCode::PERMANENT_REDIRECT, &headers)?;
/// assert_eq!(url.to_string(), "wss://example.com/chat");
/// assert!(redirects.keeps_header(&AUTHORIZATION) && url.credentials().is_some());
///
/// let headers = HeaderMap::from_iter([(LOCATION, HeaderValue::from_static("//cdn.example/chat"))]);
/// let url = redirects.follow(&url, StatusCode::FOUND, &headers)?;
/// assert_eq!(url.to_string(), "wss://cdn.example/chat");
/// assert!(!redirects.keeps_header(&AUTHORIZATION) && url.credentials().is_none());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Redirects {
    policy: RedirectPolicy,
    hops: u8,
    on_first_server: bool,
}

impl Redirects {
    /// No redirect has been followed yet.
    #[must_use]
    pub const fn new(policy: RedirectPolicy) -> Self {
        Self {
            policy,
            hops: 0,
            on_first_server: true,
        }
    }

    /// Returns the URL that the server of `url` points to, if it is to be followed. The request for
    /// it is the same again, a GET.
    ///
    /// # Errors
    /// See [`RedirectError`].
    pub fn follow(
        &mut self,
        url: &Url,
        status: StatusCode,
        headers: &HeaderMap,
    ) -> Result<Url, RedirectError> {
        if !is_redirect(status) {
            return Err(RedirectError::Status);
        }
        if self.hops >= self.policy.max_hops {
            return Err(RedirectError::TooMany);
        }
        let mut locations = headers.get_all(LOCATION).into_iter();
        let (Some(location), None) = (locations.next(), locations.next()) else {
            return Err(RedirectError::Location);
        };
        let location =
            core::str::from_utf8(location.as_bytes()).map_err(|_| RedirectError::Location)?;
        let next = url.join(location).map_err(RedirectError::Url)?;
        if url.is_secure() && !next.is_secure() && !self.policy.allow_downgrade {
            return Err(RedirectError::Downgrade);
        }
        self.hops = self.hops.saturating_add(1);
        self.on_first_server &= may_share_credentials(url, &next);
        let credentials = url.credentials().filter(|_| self.on_first_server);
        Ok(next.with_credentials(credentials.cloned()))
    }

    /// Returns how many redirects were followed.
    #[must_use]
    pub const fn hops(&self) -> u8 {
        self.hops
    }

    /// Returns true if a header that the application has added is sent to the URL that the last
    /// redirect led to: always, if all URLs so far are on the first one's server.
    #[must_use]
    pub fn keeps_header(&self, name: &HeaderName) -> bool {
        self.on_first_server || self.policy.keep_headers && name != HOST && !is_credential(name)
    }
}

/// Returns true if a header carries credentials, which another host must not see: `Authorization`,
/// `Cookie`, `Proxy-Authorization`.
pub(crate) fn is_credential(name: &HeaderName) -> bool {
    [AUTHORIZATION, COOKIE, PROXY_AUTHORIZATION].contains(name)
}

/// 300 leaves the choice to a person, 304 answers something else, 305 and 306 are history.
const fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

/// The same host and port; or the step from `ws` to `wss` on their own ports, after which the
/// credentials are safer than before.
fn may_share_credentials(from: &Url, to: &Url) -> bool {
    let same_server = from.is_secure() == to.is_secure() && from.port() == to.port();
    let upgrade = !from.is_secure() && to.is_secure() && (from.port(), to.port()) == (80, 443);
    same_host(from.host(), to.host()) && (same_server || upgrade)
}

fn same_host(one: &Host, other: &Host) -> bool {
    match (one, other) {
        (Host::Name(one), Host::Name(other)) => {
            one.strip_suffix('.').unwrap_or(one) == other.strip_suffix('.').unwrap_or(other)
        }
        (one, other) => one == other,
    }
}

/// Why a redirect is not followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RedirectError {
    /// The status is none of 301, 302, 303, 307, 308.
    Status,
    /// As many as [`RedirectPolicy::max_hops`] were followed already.
    TooMany,
    /// There is no `Location`, or more than one, or it is not UTF-8.
    Location,
    /// The `Location` is no URL that a WebSocket can have.
    Url(UrlError),
    /// It leads from `wss` to `ws`.
    Downgrade,
}

impl fmt::Display for RedirectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status => f.write_str("the status is no redirect to follow"),
            Self::TooMany => f.write_str("there are too many redirects"),
            Self::Location => f.write_str("the redirect has no Location, or no valid one"),
            Self::Url(error) => write!(f, "the redirect leads to no WebSocket: {error}"),
            Self::Downgrade => f.write_str("the redirect leads from wss:// to ws://"),
        }
    }
}

impl core::error::Error for RedirectError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Url(error) => Some(error),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Credentials;
    use alloc::string::ToString;
    use http::HeaderValue;

    fn location(value: &'static [u8]) -> HeaderMap {
        let value = HeaderValue::from_bytes(value).expect("a value");
        HeaderMap::from_iter([(LOCATION, value)])
    }

    fn follow(
        redirects: &mut Redirects,
        from: &str,
        to: &'static str,
    ) -> Result<Url, RedirectError> {
        let from = Url::parse(from).expect(from);
        redirects.follow(&from, StatusCode::FOUND, &location(to.as_bytes()))
    }

    #[test]
    fn redirect_of_each_status_is_followed_or_not() {
        let url = Url::parse("ws://h/a/b").expect("a URL");
        for status in 100..=599 {
            let status = StatusCode::from_u16(status).expect("a status");
            let mut redirects = Redirects::new(RedirectPolicy::DEFAULT);
            let next = redirects.follow(&url, status, &location(b"c"));
            match status.as_u16() {
                301 | 302 | 303 | 307 | 308 => {
                    assert_eq!(next.map(|url| url.to_string()).as_deref(), Ok("ws://h/a/c"));
                    assert_eq!(redirects.hops(), 1);
                }
                _ => assert_eq!(next, Err(RedirectError::Status)),
            }
        }
    }

    #[test]
    fn loop_of_redirects_ends_at_the_limit() {
        let mut redirects = Redirects::new(RedirectPolicy::DEFAULT);
        for _ in 0..5 {
            assert!(follow(&mut redirects, "ws://h/", "/").is_ok());
        }
        let next = follow(&mut redirects, "ws://h/", "/");
        assert_eq!(next, Err(RedirectError::TooMany));
        let mut none = Redirects::new(RedirectPolicy::NONE);
        assert_eq!(
            follow(&mut none, "ws://h/", "/"),
            Err(RedirectError::TooMany)
        );
    }

    #[test]
    fn wss_redirected_to_ws_is_refused_unless_allowed() {
        for to in ["ws://h/", "http://h/"] {
            let mut redirects = Redirects::new(RedirectPolicy::DEFAULT);
            let next = follow(&mut redirects, "wss://u:p@h/", to);
            assert_eq!(next, Err(RedirectError::Downgrade));
            let mut redirects = Redirects::new(RedirectPolicy {
                allow_downgrade: true,
                ..RedirectPolicy::DEFAULT
            });
            let next = follow(&mut redirects, "wss://u:p@h/", to).expect("allowed");
            assert_eq!(next.to_string(), "ws://h/");
            assert_eq!(next.credentials(), None);
            assert!(!redirects.keeps_header(&COOKIE));
        }
    }

    #[test]
    fn credentials_redirected_stay_on_their_host() {
        let user = Credentials::new("u", "p");
        let cases = [
            ("ws://u:p@h/", "/other", true),
            ("ws://u:p@h/", "http://H./other", true),
            ("ws://u:p@h/", "wss://h/", true),
            ("ws://u:p@h:81/", "ws://h:81/", true),
            ("ws://u:p@h/", "ws://x:y@h/", true),
            ("ws://u:p@h/", "ws://h:81/", false),
            ("ws://u:p@h/", "wss://h:81/", false),
            ("ws://u:p@h:81/", "wss://h/", false),
            ("ws://u:p@h/", "ws://sub.h/", false),
            ("ws://u:p@h/", "//x:y@other/", false),
            ("ws://u:p@127.0.0.1/", "ws://[::1]/", false),
        ];
        for (from, to, kept) in cases {
            let mut redirects = Redirects::new(RedirectPolicy::DEFAULT);
            let next = follow(&mut redirects, from, to).expect(to);
            assert_eq!(redirects.keeps_header(&COOKIE), kept, "{from} {to}");
            assert_eq!(next.credentials(), kept.then_some(&user), "{from} {to}");
        }
        // They do not come back.
        let mut redirects = Redirects::new(RedirectPolicy::DEFAULT);
        follow(&mut redirects, "ws://u:p@a/", "ws://b/").expect("followed");
        follow(&mut redirects, "ws://b/", "ws://a/").expect("followed");
        assert!(!redirects.keeps_header(&COOKIE));
    }

    /// A secret may have any name.
    #[test]
    fn headers_of_the_application_redirected_stay_unless_the_policy_keeps_them() {
        let names = [
            "x-api-key",
            "authorization",
            "cookie",
            "proxy-authorization",
            "host",
        ];
        for keep_headers in [false, true] {
            for (to, kept) in [
                ("ws://h/x", [true; 5]),
                ("ws://other/", [keep_headers, false, false, false, false]),
            ] {
                let mut redirects = Redirects::new(RedirectPolicy {
                    keep_headers,
                    ..RedirectPolicy::DEFAULT
                });
                follow(&mut redirects, "ws://h/", to).expect(to);
                let keeps =
                    names.map(|name| redirects.keeps_header(&HeaderName::from_static(name)));
                assert_eq!(keeps, kept, "{to} {keep_headers}");
            }
        }
    }

    #[test]
    fn location_that_is_none_is_refused() {
        let url = Url::parse("ws://h/").expect("a URL");
        let cases = [
            (HeaderMap::new(), RedirectError::Location),
            (location(b"/\xff"), RedirectError::Location),
            (location(b"ftp://h/"), RedirectError::Url(UrlError::Scheme)),
            (location(b"ws://"), RedirectError::Url(UrlError::Host)),
            (location(b"/\x09"), RedirectError::Url(UrlError::Malformed)),
        ];
        for (headers, error) in cases {
            let mut redirects = Redirects::new(RedirectPolicy::DEFAULT);
            let next = redirects.follow(&url, StatusCode::FOUND, &headers);
            assert_eq!(next, Err(error));
            assert_eq!(redirects.hops(), 0);
        }
        let mut twice = location(b"/a");
        twice.append(LOCATION, HeaderValue::from_static("/b"));
        let mut redirects = Redirects::new(RedirectPolicy::DEFAULT);
        let next = redirects.follow(&url, StatusCode::FOUND, &twice);
        assert_eq!(next, Err(RedirectError::Location));
        let next = redirects.follow(&url, StatusCode::FOUND, &location("/ü".as_bytes()));
        assert_eq!(
            next.map(|url| url.target().to_string()).as_deref(),
            Ok("/%C3%BC")
        );
    }
}
