//! WebSockets inside a server on hyper.

use core::fmt;

use bytes::Bytes;
use hyper::upgrade::OnUpgrade;
use motews::handshake::{Answer, ConfigError, HandshakeError, Offers, Upgrade};
use motews::{Limits, Server};
use motews_net::http::request::Parts;
use motews_net::http::{HeaderName, HeaderValue, StatusCode, Version};

use crate::accept::{Acceptor, Response};
use crate::engine::Agreement;
use crate::handle::Registered;
use crate::settings::Common;
use crate::upgraded::UpgradedStream;
use crate::websocket::WebSocketStream;

/// Why a request is not upgraded.
#[derive(Debug)]
#[non_exhaustive]
pub enum UpgradeError {
    /// It is no correct opening handshake.
    Handshake(HandshakeError),
    /// The response that was to be sent is against the protocol.
    Config(ConfigError),
    /// The server does not let go of this connection: the request has no
    /// [`OnUpgrade`](hyper::upgrade::OnUpgrade).
    NotUpgradable,
    /// The server is [shutting down](crate::ServerHandle::shutdown).
    ShuttingDown,
}

impl UpgradeError {
    /// Returns the response that says so.
    #[must_use]
    pub fn response(&self) -> Response {
        let status = match self {
            Self::Handshake(error) => error.status(),
            Self::ShuttingDown => 503,
            Self::Config(_) | Self::NotUpgradable => 500,
        };
        let mut response = Response::new(Bytes::from(format!("{self}\n")));
        *response.status_mut() = StatusCode::from_u16(status).unwrap_or_default();
        let headers = response.headers_mut();
        if let Self::Handshake(HandshakeError::NotUpgrade | HandshakeError::UnsupportedVersion) =
            self
        {
            // RFC 6455 §4.4: the version that is spoken here [HS09]
            headers.insert("Sec-WebSocket-Version", HeaderValue::from_static("13"));
            headers.insert("Upgrade", HeaderValue::from_static("websocket"));
            headers.insert("Connection", HeaderValue::from_static("Upgrade"));
        }
        response
    }
}

impl fmt::Display for UpgradeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Handshake(error) => error.fmt(f),
            Self::Config(error) => write!(f, "the response is not valid: {error}"),
            Self::NotUpgradable => f.write_str("this connection cannot be upgraded"),
            Self::ShuttingDown => f.write_str("the server is shutting down"),
        }
    }
}

impl core::error::Error for UpgradeError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Handshake(error) => Some(error),
            Self::Config(error) => Some(error),
            Self::NotUpgradable | Self::ShuttingDown => None,
        }
    }
}

/// A WebSocket that opens when its response has left: see [`Acceptor::upgrade`].
#[derive(Debug)]
pub struct Upgrading {
    on_upgrade: OnUpgrade,
    version: Version,
    agreed: Agreement,
    common: Common,
    subprotocol: Option<String>,
    registered: Option<Registered>,
}

impl Upgrading {
    /// Waits until the response has left, in a task of its own. If the future is dropped, the connection is
    /// closed.
    ///
    /// # Errors
    /// If the connection has ended before.
    pub async fn open(self) -> Result<WebSocketStream<UpgradedStream, Server>, hyper::Error> {
        let stream = UpgradedStream::new(self.on_upgrade.await?, self.version);
        let ws = WebSocketStream::adopt(stream, Server, self.agreed, &self.common, b"");
        let ws = ws.with_subprotocol(self.subprotocol);
        Ok(ws.registered(self.registered))
    }

    /// Returns the subprotocol that both sides agreed on.
    #[must_use]
    pub fn subprotocol(&self) -> Option<&str> {
        self.subprotocol.as_deref()
    }
}

impl Acceptor {
    /// Accepts a request that hyper has parsed: returns the response to be sent, and the WebSocket that
    /// opens then. Serve the connection `with_upgrades`.
    ///
    #[cfg_attr(
        feature = "http2",
        doc = "Over HTTP/2 the server has to `enable_connect_protocol` (RFC 8441)."
    )]
    #[cfg_attr(not(feature = "http2"), doc = "HTTP/2 needs the feature `http2`.")]
    /// hyper reads the head by limits of its own; what is within them has to be within the acceptor's
    /// [`Limits`] as well.
    ///
    /// ```
    /// use motews_tokio::http::Response;
    /// use motews_tokio::Acceptor;
    /// use bytes::Bytes;
    ///
    /// async fn serve(request: hyper::Request<hyper::body::Incoming>) -> Response<Bytes> {
    ///     let (mut parts, _) = request.into_parts();
    ///     match Acceptor::new().upgrade(&mut parts) {
    ///         Ok((response, upgrading)) => {
    ///             tokio::spawn(async move {
    ///                 let mut ws = upgrading.open().await.ok()?;
    ///                 ws.send("Hello").await.ok()
    ///             });
    ///             response
    ///         }
    ///         Err(error) => error.response(),
    ///     }
    /// }
    /// ```
    ///
    /// # Errors
    /// See [`UpgradeError`], which has a response.
    pub fn upgrade(&self, parts: &mut Parts) -> Result<(Response, Upgrading), UpgradeError> {
        // Before the look, so that one of both is seen.
        let registered = self.register();
        if self.is_shutting_down() {
            return Err(UpgradeError::ShuttingDown);
        }
        let limits = self.common.limits;
        let (upgrade, response, subprotocol) = self.common.with_offers(|offers| {
            let upgrade = judge(parts, offers, limits)?;
            let headers = self.common.headers().map_err(UpgradeError::Config)?;
            let headers = crate::pipe::pairs(&headers);
            let answer = upgrade.answer(offers).headers(&headers);
            let answer = answer.map_err(UpgradeError::Config)?;
            let response = response(&upgrade, &answer);
            Ok((upgrade, response, answer.subprotocol().map(str::to_owned)))
        })?;
        let on_upgrade = parts.extensions.remove::<OnUpgrade>();
        let upgrading = Upgrading {
            on_upgrade: on_upgrade.ok_or(UpgradeError::NotUpgradable)?,
            version: parts.version,
            agreed: Agreement::new(&upgrade.agreed(), limits),
            common: self.common.clone(),
            subprotocol,
            registered,
        };
        Ok((response, upgrading))
    }

    /// Whether a request is a correct opening handshake, of whatever length.
    #[cfg(feature = "axum")]
    pub(crate) fn check(&self, parts: &Parts) -> Result<(), UpgradeError> {
        let limits = Limits {
            head: u32::MAX,
            headers: u16::MAX,
            ..self.common.limits
        };
        self.common
            .with_offers(|offers| judge(parts, offers, limits).map(drop))
    }

    /// The subprotocols that the client offers.
    #[cfg(feature = "axum")]
    pub(crate) fn offered(parts: &Parts) -> impl Iterator<Item = &str> {
        crate::request::offered(&parts.headers)
    }
}

fn judge(parts: &Parts, offers: &Offers<'_>, limits: Limits) -> Result<Upgrade, UpgradeError> {
    let headers = parts.headers.iter();
    let headers = headers.map(|(name, value)| (name.as_str(), value.as_bytes()));
    let version = version(parts)?;
    Upgrade::from_headers(parts.method.as_str(), version, headers, offers, limits)
        .map_err(UpgradeError::Handshake)
}

/// The version of HTTP. From HTTP/2 on, only an extended CONNECT for a WebSocket counts.
fn version(parts: &Parts) -> Result<(u8, u8), UpgradeError> {
    let not_upgrade = UpgradeError::Handshake(HandshakeError::NotUpgrade);
    match parts.version {
        Version::HTTP_09 => Ok((0, 9)),
        Version::HTTP_10 => Ok((1, 0)),
        Version::HTTP_11 => Ok((1, 1)),
        #[cfg(feature = "http2")]
        Version::HTTP_2 => {
            let protocol = parts.extensions.get::<hyper::ext::Protocol>();
            match protocol.map(hyper::ext::Protocol::as_str) {
                Some("websocket") => Ok((2, 0)),
                _ => Err(not_upgrade),
            }
        }
        _ => Err(not_upgrade),
    }
}

fn response(upgrade: &Upgrade, answer: &Answer<'_>) -> Response {
    let mut response = Response::default();
    *response.status_mut() = StatusCode::from_u16(upgrade.status()).unwrap_or_default();
    upgrade.each_header(answer, |name, value| {
        let name = HeaderName::from_bytes(name.as_bytes());
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_bytes(value)) {
            response.headers_mut().append(name, value);
        }
    });
    response
}
