//! TLS on both sides, proxies and redirects, over loopback.

use std::sync::Arc;

use motews_tokio::http::{HeaderValue, StatusCode, header};
use motews_tokio::rustls::{ClientConfig, ServerConfig};
use motews_tokio::{
    Acceptor, CloseCode, ConnectError, Connector, Message, NetStream, Proxy, RedirectPolicy,
    Request, Response, accepted,
};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use certificates::configs;

mod certificates;

/// An echo over TLS; each connection in halves in two tasks.
async fn tls_echo(config: Arc<ServerConfig>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = TlsAcceptor::from(config.clone());
            tokio::spawn(async move {
                let Ok(stream) = acceptor.accept(stream).await else {
                    return;
                };
                let ws = Acceptor::new().accept(stream).await.unwrap();
                let (sender, mut receiver) = ws.split();
                let (queue, mut queued) = tokio::sync::mpsc::unbounded_channel::<Message>();
                tokio::spawn(async move {
                    while let Some(message) = queued.recv().await {
                        sender.send(message).await.unwrap();
                    }
                });
                while let Some(message) = receiver.recv().await.unwrap() {
                    queue.send(message).unwrap();
                }
            });
        }
    });
    port
}

async fn talk(connector: &Connector, url: &str) {
    let mut ws = connector.connect(url).await.unwrap();
    assert!(matches!(ws.stream(), Some(NetStream::Tls(_))));
    for len in [0, 1, 16_384, 1 << 20] {
        let message: Vec<u8> = (0..251).cycle().take(len).collect();
        ws.send(message.clone()).await.unwrap();
        assert_eq!(ws.recv().await.unwrap(), Some(message.into()));
    }
    ws.close(CloseCode::NORMAL, "").unwrap();
    assert!(ws.closed().await.is_clean());
}

#[tokio::test]
async fn wss_messages_pass_both_ways_and_it_closes_clean() {
    let (server, client) = configs();
    let port = tls_echo(server).await;
    talk(
        &Connector::new().tls(client),
        &format!("wss://localhost:{port}/"),
    )
    .await;
}

#[tokio::test]
async fn wss_certificates_that_are_not_trusted_are_explained() {
    let (server, client) = configs();
    let port = tls_echo(server).await;
    let connect = async |client: &Arc<ClientConfig>, url: String| {
        let connector = Connector::new().tls(client.clone());
        let error = connector.connect(&url).await.map(drop).unwrap_err();
        assert!(matches!(error, ConnectError::Tls(_)), "{error:?}");
        error.to_string()
    };
    let other = connect(&configs().1, format!("wss://localhost:{port}/")).await;
    assert!(other.contains("not signed by"), "{other}");
    let host = connect(&client, format!("wss://127.0.0.1:{port}/")).await;
    assert!(host.ends_with("is for another host"), "{host}");
    let plain = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("wss://localhost:{}/", plain.local_addr().unwrap().port());
    tokio::spawn(async move {
        let (mut stream, _) = plain.accept().await.unwrap();
        let answer = b"HTTP/1.1 400 Bad Request\r\n\r\n";
        tokio::io::AsyncWriteExt::write_all(&mut stream, answer)
            .await
            .unwrap();
    });
    let plain = connect(&client, url).await;
    assert!(plain.contains("does not speak TLS"), "{plain}");
}

/// A proxy that speaks CONNECT, and asks for a password.
async fn proxy() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(stream.read_u8().await.unwrap());
                }
                let head = String::from_utf8(head).unwrap();
                assert!(
                    head.contains("Proxy-Authorization: Basic dTpw\r\n"),
                    "{head}"
                );
                let target = head.split(' ').nth(1).unwrap().to_owned();
                let mut server = TcpStream::connect(target).await.unwrap();
                let answer = b"HTTP/1.1 200 OK\r\n\r\n";
                stream.write_all(answer).await.unwrap();
                let _ = copy_bidirectional(&mut stream, &mut server).await;
            });
        }
    });
    port
}

#[tokio::test]
async fn wss_through_a_proxy_goes_through_a_tunnel() {
    let (server, client) = configs();
    let (port, proxy) = (tls_echo(server).await, proxy().await);
    let proxy = Proxy::parse(&format!("http://u:p@127.0.0.1:{proxy}")).unwrap();
    let connector = Connector::new().tls(client).proxy(proxy);
    talk(&connector, &format!("wss://localhost:{port}/")).await;
}

/// A server that points to itself under another name, and a client that has a cookie for the first.
#[tokio::test]
async fn redirect_to_another_host_is_followed_without_credentials() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let serving = tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let decide = async |request: &Request| {
                let cookie = request.headers().get(header::COOKIE);
                if request.uri().path() != "/there" {
                    assert_eq!(cookie.unwrap(), "a=1");
                    let mut response = Response::default();
                    *response.status_mut() = StatusCode::TEMPORARY_REDIRECT;
                    let location = format!("//localhost:{port}/there").parse().unwrap();
                    response.headers_mut().insert(header::LOCATION, location);
                    return response;
                }
                assert_eq!(cookie, None);
                accepted()
            };
            if let Ok(ws) = Acceptor::new().accept_with(stream, decide).await {
                return drop(ws);
            }
        }
    });
    let cookie = HeaderValue::from_static("a=1");
    let connector = Connector::new().header(header::COOKIE, cookie);
    let url = format!("ws://127.0.0.1:{port}/");
    let error = connector.connect(&url).await.map(drop).unwrap_err();
    assert!(matches!(&error, ConnectError::Refused(response) if response.status() == 307));
    let one = RedirectPolicy {
        max_hops: 0,
        ..RedirectPolicy::DEFAULT
    };
    assert!(
        connector
            .clone()
            .redirects(one)
            .connect(&url)
            .await
            .is_err()
    );
    connector
        .redirects(RedirectPolicy::DEFAULT)
        .connect(&url)
        .await
        .unwrap();
    serving.await.unwrap();
}
