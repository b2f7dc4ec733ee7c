//! The way to a server: addresses, proxies, TLS, redirects.

mod abort;
mod dial;
mod refused;
mod tunnel;

use core::net::SocketAddr;
use std::io;
use std::time::Instant;

use motews_net::http::{HeaderName, Response, header::HOST};
use motews_net::{Host, Proxy, Redirects, Url, is_credential};

pub use abort::Aborter;
pub(crate) use abort::Registered;
pub use dial::DialError;
pub use refused::Refused;
pub(crate) use refused::{Refusal, response_head};

use crate::builder::Builder;
use crate::error::ConnectError;
use crate::handshake::Connecting;
use crate::net::NetStream;
use crate::socket::WebSocket;
use crate::transport::Plain;

/// Which proxy is used.
#[derive(Clone, Debug)]
pub(crate) enum ProxyChoice {
    /// None.
    Direct,
    Fixed(Box<Proxy>),
    Environment,
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
pub(crate) fn open(
    mut builder: Builder,
    url: &str,
) -> Result<(WebSocket, Response<()>), ConnectError> {
    let mut url = Url::parse(url)?;
    let mut redirects = Redirects::new(builder.redirects);
    loop {
        let hop = hop(&builder, &url, &mut redirects);
        let is_aborted = builder.aborter.as_ref().is_some_and(Aborter::is_aborted);
        match hop {
            Ok(Hop::Open(opened)) => return Ok(*opened),
            Err(_) if is_aborted => return Err(ConnectError::Aborted),
            Err(error) => return Err(error),
            Ok(Hop::Next(next)) => url = next,
        }
        if !redirects.keeps_credentials() {
            builder.headers.retain(|(name, _)| !is_for_one_host(name));
        }
    }
}

/// What must not be sent to another host than the one that it was meant for.
fn is_for_one_host(name: &str) -> bool {
    let name = HeaderName::from_bytes(name.as_bytes());
    name.is_ok_and(|name| name == HOST || is_credential(&name))
}

/// Asks one server.
fn hop(builder: &Builder, url: &Url, redirects: &mut Redirects) -> Result<Hop, ConnectError> {
    #[cfg(not(feature = "tls"))]
    if url.is_secure() {
        return Err(ConnectError::TlsNotEnabled);
    }
    // What is wrong with the request is found before anything is opened [HC02].
    #[cfg(feature = "tls")]
    let tls = match url.is_secure() {
        true => Some(crate::tls::client(builder, url.host())?),
        false => None,
    };
    Connecting::to(Plain(io::empty()), url, builder.clone())?;
    let proxy = builder.proxy.proxy_for(url)?;

    let aborter = builder.aborter.as_ref();
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
    let timeout = builder.connect_timeout;
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
    let mut connecting = Connecting::to(stream, url, builder.clone())?;
    if builder.redirects.max_hops > 0 {
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
