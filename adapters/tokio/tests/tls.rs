//! TLS on both sides, proxies and redirects, over loopback.

use std::sync::Arc;

use motews_testkit::authority::Authority;
use motews_tokio::http::{HeaderValue, StatusCode, header};
use motews_tokio::rustls::{ClientConfig, ServerConfig};
use motews_tokio::{
    Acceptor, Cause, CloseCode, ConnectError, Connector, Message, NetStream, Proxy, RedirectPolicy,
    Request, Response, accepted,
};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

/// A server's configuration for `localhost`, and a client's that trusts its authority alone.
fn configs() -> (Arc<ServerConfig>, Arc<ClientConfig>) {
    let authority = Authority::new();
    let server = authority.server("localhost", None);
    (Arc::new(server), authority.client(None))
}

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
                // A client may find that it is not wanted, or go.
                let Ok(ws) = Acceptor::new().accept(stream).await else {
                    return;
                };
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

/// A server that demands a certificate of its clients, as a station of OCPP's security profile 3 has one.
#[tokio::test]
async fn server_that_demands_a_certificate_accepts_who_has_one_and_no_others() {
    let (servers, clients) = (Authority::new(), Authority::new());
    let config = servers.server("localhost", Some(&clients));
    let port = tls_echo(Arc::new(config)).await;
    let url = format!("wss://localhost:{port}/");
    talk(&Connector::new().tls(servers.client(Some(&clients))), &url).await;
    for config in [servers.client(None), servers.client(Some(&servers))] {
        let connected = Connector::new().tls(config).connect(&url).await;
        let error = connected.map(drop).unwrap_err();
        // With TLS 1.3 the alert comes after this side's part of the handshake.
        assert!(matches!(error, ConnectError::Tls(_)), "{error:?}");
        assert_eq!(error.cause(), Cause::Tls);
        let text = error.to_string();
        assert!(text.starts_with("TLS: the server refused"), "{text}");
    }
}

/// The operating system's roots are a file that is not there, then is, and then is not.
#[cfg(feature = "native-roots")]
#[test]
fn roots_of_the_system_are_loaded_once_and_failures_are_not_kept() {
    const CHILD: &str = "MOTEWS_ROOTS_CHILD";
    let file = std::env::temp_dir().join(format!("motews-roots-{}.pem", std::process::id()));
    if std::env::var_os(CHILD).is_none() {
        // The variable is read by the roots' crate, so it needs a process of its own.
        let test = std::env::current_exe().unwrap();
        let name = "roots_of_the_system_are_loaded_once_and_failures_are_not_kept";
        let child = std::process::Command::new(test)
            .args(["--exact", name])
            .env("SSL_CERT_FILE", &file)
            .env_remove("SSL_CERT_DIR")
            .env(CHILD, &file)
            .output()
            .unwrap();
        let _ = std::fs::remove_file(&file);
        let text = String::from_utf8_lossy(&child.stdout);
        assert!(child.status.success(), "{text}");
        return;
    }
    let file = std::env::var_os(CHILD).unwrap();
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().build().unwrap();
    runtime.block_on(async {
        let authority = Authority::new();
        let port = tls_echo(Arc::new(authority.server("localhost", None))).await;
        let url = format!("wss://localhost:{port}/");
        let connector = Connector::new();
        let error = connector.connect(&url).await.map(drop).unwrap_err();
        assert!(error.to_string().contains("no roots"), "{error}");
        std::fs::write(&file, authority.pem()).unwrap();
        talk(&connector, &url).await;
        std::fs::remove_file(&file).unwrap();
        talk(&Connector::new(), &url).await;
    });
}

/// The operating system's roots are in a file that nobody can read yet: a pipe.
#[cfg(all(feature = "native-roots", target_os = "linux"))]
#[test]
fn roots_of_the_system_that_take_for_ever_cost_the_connect_timeout_and_one_thread() {
    const CHILD: &str = "MOTEWS_SLOW_ROOTS_CHILD";
    let file = std::env::temp_dir().join(format!("motews-roots-{}.pipe", std::process::id()));
    if std::env::var_os(CHILD).is_none() {
        let made = std::process::Command::new("mkfifo").arg(&file).status();
        assert!(made.unwrap().success());
        let test = std::env::current_exe().unwrap();
        let name = "roots_of_the_system_that_take_for_ever_cost_the_connect_timeout_and_one_thread";
        let child = std::process::Command::new(test)
            .args(["--exact", name])
            .env("SSL_CERT_FILE", &file)
            .env_remove("SSL_CERT_DIR")
            .env(CHILD, &file)
            .output()
            .unwrap();
        std::fs::remove_file(&file).unwrap();
        let text = String::from_utf8_lossy(&child.stdout);
        assert!(child.status.success(), "{text}");
        return;
    }
    let file = std::env::var_os(CHILD).unwrap();
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime
        .enable_all()
        .max_blocking_threads(2)
        .build()
        .unwrap();
    runtime.block_on(async {
        let authority = Authority::new();
        let port = tls_echo(Arc::new(authority.server("localhost", None))).await;
        let url = format!("wss://localhost:{port}/");
        let limit = core::time::Duration::from_millis(100);
        let connector = Connector::new().connect_timeout(Some(limit));
        for _ in 0..3 {
            let error = connector.connect(&url).await.map(drop).unwrap_err();
            assert!(matches!(error, ConnectError::TimedOut), "{error:?}");
        }
        // The other thread is free.
        tokio::task::spawn_blocking(move || std::fs::write(&file, authority.pem()))
            .await
            .unwrap()
            .unwrap();
        talk(&Connector::new(), &url).await;
    });
}
