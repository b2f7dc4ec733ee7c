//! The way to a server: addresses, proxies, TLS, redirects.

use core::net::SocketAddr;
use std::io;
use std::time::Instant;

use motews_net::http::{HeaderName, Response, header::HOST};
use motews_net::{Host, Proxy, Redirects, Url, is_credential};

use super::abort::Aborter;
use super::connecting::Connecting;
use super::connector::{Connector, ProxyChoice};
use super::net::NetStream;
use super::{dial, tunnel};
use crate::blocking::socket::WebSocket;
use crate::error::ConnectError;
use crate::transport::Plain;

impl Connector {
    /// Opens a connection: see [`connect`](crate::connect).
    ///
    /// # Errors
    /// See [`ConnectError`].
    pub fn connect(&self, url: &str) -> Result<WebSocket, ConnectError> {
        self.connect_with_response(url).map(|(socket, _)| socket)
    }

    /// The same, with the head of the server's response: its `Set-Cookie`, for example.
    ///
    /// # Errors
    /// See [`ConnectError`].
    ///
    /// ```no_run
    /// let (ws, response) = motews_std::Connector::new().connect_with_response("ws://example.com/")?;
    /// for cookie in response.headers().get_all("Set-Cookie") {
    ///     println!("{cookie:?}");
    /// }
    /// # Ok::<(), motews_std::ConnectError>(())
    /// ```
    pub fn connect_with_response(
        &self,
        url: &str,
    ) -> Result<(WebSocket, Response<()>), ConnectError> {
        open(self, url)
    }
}

impl ProxyChoice {
    fn proxy_for(&self, url: &Url) -> Result<Option<Proxy>, ConnectError> {
        match self {
            Self::Direct => Ok(None),
            Self::Fixed(proxy) => Ok(Some(Proxy::clone(proxy))),
            Self::Environment => {
                // What is no text is no URL either, and reported as such.
                let variable = |name: &str| {
                    let value = std::env::var_os(name)?;
                    Some(value.to_string_lossy().into_owned())
                };
                Proxy::from_env(url, variable).map_err(ConnectError::Proxy)
            }
        }
    }
}

/// What a server has come to.
enum Hop {
    Open(Box<(WebSocket, Response<()>)>),
    /// It points to another one.
    Next(Url),
}

/// Opens a WebSocket, wherever the server of `url` points to.
fn open(connector: &Connector, url: &str) -> Result<(WebSocket, Response<()>), ConnectError> {
    let mut connector = connector.clone();
    let mut url = Url::parse(url)?;
    let mut redirects = Redirects::new(connector.redirects);
    loop {
        let hop = hop(&connector, &url, &mut redirects);
        let is_aborted = connector.aborter.as_ref().is_some_and(Aborter::is_aborted);
        match hop {
            Ok(Hop::Open(opened)) => return Ok(*opened),
            Err(_) if is_aborted => return Err(ConnectError::Aborted),
            Err(error) => return Err(error),
            Ok(Hop::Next(next)) => url = next,
        }
        if !redirects.keeps_credentials() {
            connector
                .settings
                .handshake
                .headers
                .retain(|(name, _)| !is_for_one_host(name));
        }
    }
}

/// What must not be sent to another host than the one that it was meant for.
fn is_for_one_host(name: &str) -> bool {
    let name = HeaderName::from_bytes(name.as_bytes());
    name.is_ok_and(|name| name == HOST || is_credential(&name))
}

/// Asks one server.
fn hop(connector: &Connector, url: &Url, redirects: &mut Redirects) -> Result<Hop, ConnectError> {
    #[cfg(not(feature = "tls"))]
    if url.is_secure() {
        return Err(ConnectError::TlsNotEnabled);
    }
    // What is wrong with the request is found before anything is opened [HC02].
    #[cfg(feature = "tls")]
    let tls = match url.is_secure() {
        true => Some(client_tls(connector, url.host())?),
        false => None,
    };
    Connecting::to(Plain(io::empty()), url, connector)?;
    let proxy = connector.proxy.proxy_for(url)?;

    let aborter = connector.aborter.as_ref();
    let (host, port) = match &proxy {
        Some(proxy) => (proxy.host(), proxy.port()),
        None => (url.host(), url.port()),
    };
    let addresses = dial::resolve(host, port)?;
    let seen = match &proxy {
        Some(proxy) => Some(seen_by(proxy, url)?),
        None => None,
    };
    // The resolver has no time limit, and does not use this one up.
    let timeout = connector.connect_timeout;
    let until = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
    let socket = dial::dial(addresses, until, aborter).map_err(ConnectError::from_io)?;
    let registered = aborter
        .map(|aborter| aborter.register(&socket))
        .transpose()?;
    if let (Some(proxy), Some(host)) = (proxy, seen) {
        let tunnel = proxy.tunnel(&host, url.port());
        tunnel::open(tunnel.map_err(ConnectError::Tunnel)?, &socket, until)?;
    }
    let stream = NetStream::new(
        socket,
        #[cfg(feature = "tls")]
        tls,
        registered,
    );
    let mut connecting = Connecting::to(stream, url, connector)?;
    if connector.redirects.max_hops > 0 {
        connecting.redirects = Some((url.clone(), redirects.clone()));
    }
    let opened = connecting.advance();
    if let Some(next) = connecting.next.take() {
        if let Some((_, followed)) = connecting.redirects {
            *redirects = followed;
        }
        return Ok(Hop::Next(next));
    }
    let socket = opened?;
    let response = connecting.response().cloned().unwrap_or_default();
    Ok(Hop::Open(Box::new((socket, response))))
}

/// The server's host as the proxy is told it.
fn seen_by(proxy: &Proxy, url: &Url) -> Result<Host, ConnectError> {
    if proxy.resolves_names() || !matches!(url.host(), Host::Name(_)) {
        return Ok(url.host().clone());
    }
    let addresses = dial::resolve(url.host(), url.port())?;
    match addresses.first() {
        Some(SocketAddr::V4(address)) => Ok(Host::V4(*address.ip())),
        Some(SocketAddr::V6(address)) => Ok(Host::V6(*address.ip(), None)),
        None => {
            let error = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
            Err(error.into())
        }
    }
}

/// TLS for the server of a URL.
#[cfg(feature = "tls")]
fn client_tls(
    connector: &Connector,
    host: &Host,
) -> Result<rustls::ClientConnection, ConnectError> {
    use crate::tls::{client_connection, default_config, server_name};
    // RFC 6455 §4.1: the name goes into the TLS handshake (SNI), and the certificate must be for
    // it [HC04]
    let name = match host {
        Host::Name(name) => server_name(name)?,
        Host::V4(address) => core::net::IpAddr::V4(*address).into(),
        Host::V6(address, _) => core::net::IpAddr::V6(*address).into(),
    };
    let config = match &connector.tls {
        Some(config) => config.clone(),
        None => default_config()?,
    };
    client_connection(config, name)
}
