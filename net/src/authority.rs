//! What stands between `//` and the path of a URL: user and password, host and port.

use alloc::borrow::{Cow, ToOwned};
use alloc::format;
use alloc::string::{String, ToString};
use core::fmt;
use core::net::{Ipv4Addr, Ipv6Addr};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::percent_decode_str;

use crate::url_error::UrlError;

/// The longest host name that a name service can hold, in bytes (RFC 1035 §2.3.4).
const MAX_NAME: usize = 253;

/// A host: what stands between `//` and the port.
///
/// Its `Display` is what a resolver takes: without brackets, and with the zone: `fe80::1%eth0`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Host {
    /// A name, in ASCII and lower case.
    Name(String),
    /// An IPv4 address.
    V4(Ipv4Addr),
    /// An IPv6 address, and the zone in which it is valid: an interface (RFC 4007 §11).
    V6(Ipv6Addr, Option<String>),
}

impl Host {
    /// Parses a host as a URL has it: an IPv6 address stands in brackets.
    ///
    /// # Errors
    /// [`UrlError::Host`] and [`UrlError::NotAscii`].
    pub fn parse(host: &str) -> Result<Self, UrlError> {
        if let Some(literal) = host.strip_prefix('[') {
            return Self::v6(literal.strip_suffix(']').ok_or(UrlError::Host)?);
        }
        if let Ok(address) = host.parse() {
            return Ok(Self::V4(address));
        }
        let host = to_ascii(host)?;
        match is_name(&host) {
            true => Ok(Self::Name(host)),
            false => Err(UrlError::Host),
        }
    }

    /// What stands in brackets. RFC 6874 writes `%25` before the zone; many write `%`.
    fn v6(literal: &str) -> Result<Self, UrlError> {
        let (address, zone) = match literal.split_once('%') {
            None => (literal, None),
            Some((address, zone)) => (address, Some(zone.strip_prefix("25").unwrap_or(zone))),
        };
        let is_zone = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
        if zone.is_some_and(|zone| zone.is_empty() || !zone.bytes().all(is_zone)) {
            return Err(UrlError::Host);
        }
        let address = address.parse().map_err(|_| UrlError::Host)?;
        Ok(Self::V6(address, zone.map(ToOwned::to_owned)))
    }

    /// The host as a URL and a `Host` header have it, without a zone.
    pub(crate) fn bracketed(&self) -> Cow<'_, str> {
        match self {
            Self::Name(name) => name.into(),
            Self::V4(address) => address.to_string().into(),
            Self::V6(address, _) => format!("[{address}]").into(),
        }
    }
}

/// Returns true if a host can have this name.
pub(crate) fn is_name(name: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    let len = name.strip_suffix('.').unwrap_or(name).len();
    (1..=MAX_NAME).contains(&len) && name.bytes().all(is_part)
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::V4(address) => address.fmt(f),
            Self::V6(address, None) => address.fmt(f),
            Self::V6(address, Some(zone)) => write!(f, "{address}%{zone}"),
        }
    }
}

#[cfg(feature = "idna")]
fn to_ascii(host: &str) -> Result<String, UrlError> {
    match host.is_ascii() {
        true => Ok(host.to_ascii_lowercase()),
        false => idna::domain_to_ascii(host).map_err(|_| UrlError::Host),
    }
}

#[cfg(not(feature = "idna"))]
fn to_ascii(host: &str) -> Result<String, UrlError> {
    match host.is_ascii() {
        true => Ok(host.to_ascii_lowercase()),
        false => Err(UrlError::NotAscii),
    }
}

/// A user and a password, of a URL or of a proxy. Its `Debug` does not show the password.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    user: String,
    password: String,
}

impl Credentials {
    /// A user and a password.
    pub fn new(user: impl Into<String>, password: impl Into<String>) -> Self {
        Self {
            user: user.into(),
            password: password.into(),
        }
    }

    /// The user's name.
    #[must_use]
    pub fn user(&self) -> &str {
        &self.user
    }

    /// The password; empty if there is none.
    #[must_use]
    pub fn password(&self) -> &str {
        &self.password
    }

    /// The value of `Authorization` or `Proxy-Authorization` for HTTP's Basic authentication
    /// (RFC 7617), marked as sensitive.
    ///
    /// # Errors
    /// [`UrlError::UserInfo`] if the user's name has a colon, since the server would split the pair
    /// there (§2).
    ///
    /// ```
    /// use motews_net::Credentials;
    ///
    /// let header = Credentials::new("Aladdin", "open sesame").basic()?;
    /// assert_eq!(header, "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
    /// # Ok::<(), motews_net::UrlError>(())
    /// ```
    pub fn basic(&self) -> Result<http::HeaderValue, UrlError> {
        if self.user.contains(':') {
            return Err(UrlError::UserInfo);
        }
        let pair = STANDARD.encode(format!("{}:{}", self.user, self.password));
        let value = http::HeaderValue::try_from(format!("Basic {pair}"));
        let mut value = value.map_err(|_| UrlError::UserInfo)?;
        value.set_sensitive(true);
        Ok(value)
    }

    /// What stands before the `@`.
    fn parse(userinfo: &str) -> Result<Option<Self>, UrlError> {
        let (user, password) = userinfo.split_once(':').unwrap_or((userinfo, ""));
        if user.is_empty() && password.is_empty() {
            return Ok(None);
        }
        let decoded = |part| {
            let decoded = percent_decode_str(part).decode_utf8();
            decoded.map_err(|_| UrlError::UserInfo)
        };
        let credentials = Self::new(decoded(user)?, decoded(password)?);
        credentials.basic()?;
        Ok(Some(credentials))
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

/// What stands between `//` and the path.
pub(crate) struct Authority {
    pub(crate) host: Host,
    pub(crate) port: Option<u16>,
    pub(crate) credentials: Option<Credentials>,
}

impl Authority {
    pub(crate) fn parse(authority: &str) -> Result<Self, UrlError> {
        let (credentials, host) = match authority.split_once('@') {
            None => (None, authority),
            Some((userinfo, host)) => (Credentials::parse(userinfo)?, host),
        };
        // Some take the first `@` for the end of the user, others the last one: they would connect
        // to different hosts.
        if host.contains('@') {
            return Err(UrlError::UserInfo);
        }
        let (host, port) = match host.rfind(']') {
            Some(end) => host.split_at(end.saturating_add(1)),
            None => host.split_at(host.rfind(':').unwrap_or(host.len())),
        };
        let port = match port {
            "" | ":" => None,
            port => {
                let digits = port.strip_prefix(':').ok_or(UrlError::Host)?;
                Some(parse_port(digits)?)
            }
        };
        Ok(Self {
            host: Host::parse(host)?,
            port,
            credentials,
        })
    }
}

fn parse_port(digits: &str) -> Result<u16, UrlError> {
    match digits.parse() {
        Ok(port @ 1..) if digits.bytes().all(|byte| byte.is_ascii_digit()) => Ok(port),
        _ => Err(UrlError::Port),
    }
}
