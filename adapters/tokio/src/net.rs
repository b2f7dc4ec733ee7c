//! The way to a server: its addresses, a proxy, and the stream in the end.

use core::net::SocketAddr;
use core::pin::Pin;
use core::task::{Context, Poll};
use core::time::Duration;
use std::io::{self, IoSlice};

use motews_net::{Dial, DialPlan, Host, ProxyChoice, Tunnel, Url};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use crate::error::ConnectError;
use crate::resolve::Resolver;
use crate::until::Until;

/// How long a proxy that has refused may take to say why.
const REASON_TIMEOUT: Duration = Duration::from_secs(3);

/// Opens a stream to the server of `url`, directly or through a proxy.
pub(crate) async fn reach(
    url: &Url,
    proxy: &ProxyChoice,
    resolver: &Resolver,
    until: Until,
) -> Result<TcpStream, ConnectError> {
    let Some(proxy) = proxy.proxy_for(url).map_err(ConnectError::Proxy)? else {
        let addresses = resolver.resolve(url.host(), url.port(), until).await?;
        return Ok(until.limit(dial(addresses)).await??);
    };
    let addresses = (resolver.resolve(proxy.host(), proxy.port(), until)).await?;
    // The server's host as the proxy is told it; each of its addresses if this side resolves the name.
    let hosts = match url.host() {
        Host::Name(_) if !proxy.resolves_names() => {
            let addresses = resolver.resolve(url.host(), url.port(), until).await?;
            let hosts = addresses.iter().map(|address| match address {
                SocketAddr::V4(address) => Host::V4(*address.ip()),
                SocketAddr::V6(address) => Host::V6(*address.ip(), None),
            });
            hosts.collect()
        }
        host => vec![host.clone()],
    };
    let mut refusal = None;
    for host in hosts {
        let tunnel = proxy.tunnel(&host, url.port());
        let tunnel = tunnel.map_err(ConnectError::Tunnel)?;
        let tunneled = async {
            let mut stream = dial(addresses.clone()).await?;
            open(tunnel, &mut stream).await.map(|()| stream)
        };
        match until.limit(tunneled).await? {
            Ok(stream) => return Ok(stream),
            // The proxy may reach the server at another of its addresses.
            Err(ConnectError::Tunnel(error)) if error.is_about_the_address() => {
                refusal = Some(ConnectError::Tunnel(error));
            }
            Err(error) => return Err(error),
        }
    }
    Err(refusal.unwrap_or_else(|| no_address().into()))
}

/// Opens a tunnel. Not a byte that comes from the server is taken.
async fn open(mut tunnel: Tunnel, stream: &mut TcpStream) -> Result<(), ConnectError> {
    let mut buffer = [0; 1024];
    let mut until = None;
    while !tunnel.is_open() {
        if !tunnel.to_send().is_empty() {
            match stream.write(tunnel.to_send()).await? {
                0 => return Err(io::Error::from(io::ErrorKind::WriteZero).into()),
                len => tunnel.sent(len),
            }
            continue;
        }
        let peeked = match until {
            None => stream.peek(&mut buffer).await,
            Some(until) => {
                let peeked = timeout_at(until, stream.peek(&mut buffer)).await;
                peeked.unwrap_or(Ok(0))
            }
        };
        let peeked = match peeked? {
            0 => return tunnel.receive_eof().map_err(ConnectError::Tunnel),
            len => &buffer[..len],
        };
        let mut input = peeked;
        let received = tunnel.receive(&mut input);
        let taken = peeked.len() - input.len();
        stream.read_exact(&mut buffer[..taken]).await?;
        received.map_err(ConnectError::Tunnel)?;
        if tunnel.is_refused() {
            until.get_or_insert_with(|| Instant::now() + REASON_TIMEOUT);
        }
    }
    Ok(())
}

fn no_address() -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, "the host has no address")
}

/// Connects to one of the addresses, by the rules of [`DialPlan`].
async fn dial(addresses: Vec<SocketAddr>) -> io::Result<TcpStream> {
    let start = Instant::now();
    let mut plan = DialPlan::<io::Error>::new(addresses);
    let mut attempts = JoinSet::new(); // which ends them when it is dropped
    let mut connected = None;
    loop {
        let next = match plan.poll(start.elapsed()) {
            Dial::Connect { attempt, address } => {
                attempts.spawn(async move { (attempt, TcpStream::connect(address).await) });
                continue;
            }
            Dial::Wait { until } => until,
            Dial::Connected { .. } => {
                let stream = connected.ok_or_else(no_address)?;
                // Frames leave when they are written.
                TcpStream::set_nodelay(&stream, true)?;
                return Ok(stream);
            }
            Dial::Failed => {
                return Err(match plan.into_errors().pop() {
                    None => no_address(),
                    Some((address, error)) => {
                        io::Error::new(error.kind(), format!("{address}: {error}"))
                    }
                });
            }
        };
        let ended = match next {
            Some(until) => timeout_at(start + until, attempts.join_next()).await,
            None => Ok(attempts.join_next().await),
        };
        match ended {
            Ok(Some(Ok((attempt, Ok(stream))))) if plan.connected(attempt) => {
                connected = Some(stream);
            }
            Ok(Some(Ok((attempt, Err(error))))) => plan.failed(attempt, error),
            _ => {}
        }
    }
}

/// The stream of a WebSocket that [`Connector::connect`](crate::Connector::connect) has opened.
#[derive(Debug)]
#[non_exhaustive]
pub enum NetStream {
    /// TCP.
    Plain(TcpStream),
    /// TLS over TCP.
    #[cfg(feature = "tls")]
    Tls(Box<tokio_rustls::client::TlsStream<TcpStream>>),
    /// HTTP/2 over TLS over TCP: see [`Connector::http2`](crate::Connector::http2).
    #[cfg(all(feature = "http2", feature = "tls"))]
    Http2(Box<crate::http2::Http2Stream>),
}

impl NetStream {
    /// Returns the stream of TCP: for its addresses and options. `None` over HTTP/2, where a task of its own
    /// has it.
    #[must_use]
    pub fn tcp(&self) -> Option<&TcpStream> {
        match self {
            Self::Plain(stream) => Some(stream),
            #[cfg(feature = "tls")]
            Self::Tls(stream) => Some(stream.get_ref().0),
            #[cfg(all(feature = "http2", feature = "tls"))]
            Self::Http2(_) => None,
        }
    }
}

/// Calls a method of the stream inside.
macro_rules! inside {
    ($stream:expr, $inner:ident => $call:expr) => {
        match $stream.get_mut() {
            Self::Plain($inner) => {
                let $inner = Pin::new($inner);
                $call
            }
            #[cfg(feature = "tls")]
            Self::Tls($inner) => {
                let $inner = Pin::new(&mut **$inner);
                $call
            }
            #[cfg(all(feature = "http2", feature = "tls"))]
            Self::Http2($inner) => {
                let $inner = Pin::new(&mut **$inner);
                $call
            }
        }
    };
}

impl AsyncRead for NetStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        inside!(self, stream => stream.poll_read(cx, buf))
    }
}

impl AsyncWrite for NetStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        inside!(self, stream => stream.poll_write(cx, bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        inside!(self, stream => stream.poll_write_vectored(cx, parts))
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_write_vectored(),
            #[cfg(feature = "tls")]
            Self::Tls(stream) => stream.is_write_vectored(),
            #[cfg(all(feature = "http2", feature = "tls"))]
            Self::Http2(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        inside!(self, stream => stream.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        inside!(self, stream => stream.poll_shutdown(cx))
    }
}
