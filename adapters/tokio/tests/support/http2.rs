//! A server over TLS that chooses HTTP/2 or not.

use core::future::Future;
use std::sync::Arc;

use motews_tokio::Connector;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use motews_testkit::authority::Authority;

pub(crate) const BOTH: &[&[u8]] = &[b"h2", b"http/1.1"];

pub(crate) type Stream = TlsStream<TcpStream>;

/// A server that offers these protocols (ALPN), and does this with each stream. Returns a client's settings,
/// and the URL.
pub(crate) async fn serve<F>(
    protocols: &[&[u8]],
    each: impl Fn(Stream) -> F + Send + 'static,
) -> (Connector, String)
where
    F: Future<Output = ()> + Send + 'static,
{
    let authority = Authority::new();
    let mut config = authority.server("localhost", None);
    config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
    let tls = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!(
        "wss://localhost:{}/chat",
        listener.local_addr().unwrap().port()
    );
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            stream.set_nodelay(true).unwrap();
            let stream = tls.accept(stream).await.unwrap();
            tokio::spawn(each(stream));
        }
    });
    (Connector::new().tls(authority.client(None)), url)
}

pub(crate) fn speaks_http2(stream: &Stream) -> bool {
    stream.get_ref().1.alpn_protocol() == Some(b"h2")
}
