//! The way to a server: addresses, proxies, TLS, redirects.

use core::net::SocketAddr;
use std::io;
use std::net::TcpStream;
use std::time::Instant;

use motews_net::http::{HeaderName, Response};
use motews_net::{Host, Proxy, Redirects, Url};

use super::abort::{Aborter, Registered};
use super::connecting::Connecting;
use super::connector::Connector;
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
        let headers = &mut connector.settings.handshake.headers;
        headers.retain(|(name, _)| {
            let name = HeaderName::from_bytes(name.as_bytes());
            name.is_ok_and(|name| redirects.keeps_header(&name))
        });
    }
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
    let proxy = connector
        .proxy
        .proxy_for(url)
        .map_err(ConnectError::Proxy)?;

    let aborter = connector.aborter.as_ref();
    let (host, port) = match &proxy {
        Some(proxy) => (proxy.host(), proxy.port()),
        None => (url.host(), url.port()),
    };
    // To resolve names takes of the same time.
    let timeout = connector.connect_timeout;
    let until = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
    let resolve = |host: &Host, port| {
        let found = connector.resolver.resolve(host, port, until, aborter);
        found.map_err(|error| match error.kind() {
            io::ErrorKind::TimedOut => ConnectError::LookUpTimedOut(host.to_string()),
            _ => ConnectError::from_io(error),
        })
    };
    let addresses = resolve(host, port)?;
    let seen = match &proxy {
        Some(proxy) => seen_by(proxy, url, resolve)?,
        None => Vec::new(),
    };
    let through = proxy.as_ref().map(|proxy| (proxy, seen, url.port()));
    let (socket, registered) = reach(&addresses, through, until, aborter)?;
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

/// Connects to one of the addresses: the server's, or those of the proxy, which is asked for one of the
/// server's hosts after the other.
fn reach(
    addresses: &[SocketAddr],
    through: Option<(&Proxy, Vec<Host>, u16)>,
    until: Option<Instant>,
    aborter: Option<&Aborter>,
) -> Result<(TcpStream, Option<Registered>), ConnectError> {
    let connect = || {
        let socket = dial::dial(addresses.to_vec(), until, aborter);
        let socket = socket.map_err(ConnectError::from_io)?;
        let registered = aborter.map(|aborter| aborter.register(&socket));
        Ok((socket, registered.transpose()?))
    };
    let Some((proxy, hosts, port)) = through else {
        return connect();
    };
    let mut refusal = None;
    for host in hosts {
        let connected = connect()?;
        let tunnel = proxy.tunnel(&host, port).map_err(ConnectError::Tunnel)?;
        match tunnel::open(tunnel, &connected.0, until) {
            Ok(()) => return Ok(connected),
            // The proxy may reach the server at another of its addresses.
            Err(ConnectError::Tunnel(error)) if error.is_about_the_address() => {
                refusal = Some(ConnectError::Tunnel(error));
            }
            Err(error) => return Err(error),
        }
    }
    let none = || io::Error::new(io::ErrorKind::NotFound, "the host has no address");
    Err(refusal.unwrap_or_else(|| none().into()))
}

/// The server's host as the proxy is told it; each of its addresses if this side resolves the name.
fn seen_by(
    proxy: &Proxy,
    url: &Url,
    resolve: impl Fn(&Host, u16) -> Result<Vec<SocketAddr>, ConnectError>,
) -> Result<Vec<Host>, ConnectError> {
    if proxy.resolves_names() || !matches!(url.host(), Host::Name(_)) {
        return Ok(vec![url.host().clone()]);
    }
    let addresses = resolve(url.host(), url.port())?;
    let hosts = addresses.iter().map(|address| match address {
        SocketAddr::V4(address) => Host::V4(*address.ip()),
        SocketAddr::V6(address) => Host::V6(*address.ip(), None),
    });
    Ok(hosts.collect())
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

#[cfg(test)]
mod tests {
    use super::*;
    use motews_net::{SocksReply, TunnelError};
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;
    use std::thread;

    fn read<const LEN: usize>(stream: &mut TcpStream) -> [u8; LEN] {
        let mut bytes = [0; LEN];
        stream.read_exact(&mut bytes).unwrap();
        bytes
    }

    /// A SOCKS5 proxy that has these replies, one a connection, and is asked for the hosts 127.0.0.1,
    /// 127.0.0.2 and so on: the result, and the last byte of each host it was asked for.
    fn ask(replies: &'static [u8]) -> (Result<(), ConnectError>, Vec<u8>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let proxied = thread::spawn(move || {
            let ask = |reply: &u8| {
                let (mut stream, _) = listener.accept().unwrap();
                assert_eq!(read(&mut stream), [5, 1, 0]);
                stream.write_all(&[5, 0]).unwrap();
                let asked: [u8; 10] = read(&mut stream);
                stream
                    .write_all(&[5, *reply, 0, 1, 0, 0, 0, 0, 0, 0])
                    .unwrap();
                asked[7]
            };
            replies.iter().map(ask).collect()
        });
        let proxy = Proxy::parse("socks5://p").unwrap();
        let hosts = (1..=3).map(|last| Host::V4([127, 0, 0, last].into()));
        let through = Some((&proxy, hosts.collect(), 80));
        let result = reach(&[address], through, None, None).map(|_| ());
        (result, proxied.join().unwrap())
    }

    /// A proxy that refuses one address may reach the server at another one.
    #[test]
    fn socks_proxy_refuses_an_address_is_asked_for_the_next_one() {
        for (replies, last) in [
            (&[0_u8][..], None),
            (&[5, 0], None),
            (&[4, 2, 0], None),
            (&[4, 3, 5], Some(5)),
            (&[8, 7], Some(7)),
        ] {
            let (result, asked) = ask(replies);
            let found = match result {
                Ok(()) => None,
                Err(ConnectError::Tunnel(TunnelError::Socks(reply))) => Some(reply),
                Err(error) => panic!("{error:?}"),
            };
            let expected = last.map(|code| match code {
                5 => SocksReply::ConnectionRefused,
                _ => SocksReply::CommandNotSupported,
            });
            assert_eq!(found, expected, "{replies:?}");
            assert_eq!(asked, (1..=replies.len() as u8).collect::<Vec<_>>());
        }
    }
}
