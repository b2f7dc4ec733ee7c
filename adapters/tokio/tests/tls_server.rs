//! A server's TLS: what it agrees on, whom it lets in, and what it makes of peers that do not speak it.

use core::time::Duration;
use std::sync::Arc;

use motews_testkit::authority::Authority;
use motews_testkit::head::REQUEST;
use motews_tokio::http::StatusCode;
use motews_tokio::{
    AcceptError, Acceptor, CloseCode, ConnectError, Connector, Request, Response, ServerHandle,
    Timeouts, TlsAcceptor, TlsStream, WebSocketStream, accepted,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// Accepts one connection, with the number of its certificates as the response's header.
async fn accept_one(
    acceptor: TlsAcceptor,
) -> (
    String,
    JoinHandle<Result<WebSocketStream<TlsStream<TcpStream>>, AcceptError>>,
) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("wss://localhost:{}/", listener.local_addr().unwrap().port());
    let accepting = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let decide = async |request: &Request| {
            let mut response = accepted();
            let certificates = request.peer_certificates().len();
            let headers = response.headers_mut();
            headers.insert("x-certificates", certificates.into());
            response
        };
        acceptor.accept_with(stream, decide).await
    });
    (url, accepting)
}

#[tokio::test]
async fn client_over_tls_talks_and_closes_clean() {
    let own = Authority::new();
    let acceptor = Acceptor::new().subprotocols(["chat"]);
    let (url, accepting) = accept_one(acceptor.tls(Arc::new(own.server("localhost", None)))).await;
    let connector = Connector::new()
        .tls(own.client(None))
        .subprotocols(["chat"]);
    let (mut ws, response) = connector.connect_with_response(&url).await.unwrap();
    assert_eq!(response.headers()["x-certificates"], "0");
    let serving = tokio::spawn(async move {
        let mut ws = accepting.await.unwrap().unwrap();
        assert_eq!(ws.subprotocol(), Some("chat"));
        let tls = ws.stream().unwrap().get_ref().1;
        assert_eq!(tls.server_name(), Some("localhost"));
        while let Some(message) = ws.recv().await.unwrap() {
            ws.send(message).await.unwrap();
        }
        ws.ended().unwrap()
    });
    for len in [0, 1, 16_384, 1 << 20] {
        let message: Vec<u8> = (0..251).cycle().take(len).collect();
        ws.send(message.clone()).await.unwrap();
        assert_eq!(ws.recv().await.unwrap(), Some(message.into()));
    }
    ws.close(CloseCode::NORMAL, "").unwrap();
    assert!(ws.closed().await.is_clean());
    assert!(serving.await.unwrap().is_clean());
}

#[tokio::test]
async fn certificate_of_the_client_is_seen_and_one_without_is_not_let_in() {
    let (own, known, stranger) = (Authority::new(), Authority::new(), Authority::new());
    let config = Arc::new(own.server("localhost", Some(&known)));
    let (url, accepting) = accept_one(Acceptor::new().tls(config.clone())).await;
    let (_ws, response) = Connector::new()
        .tls(own.client(Some(&known)))
        .connect_with_response(&url)
        .await
        .unwrap();
    assert_eq!(response.headers()["x-certificates"], "1");
    let ws = accepting.await.unwrap().unwrap();
    let tls = ws.stream().unwrap().get_ref().1;
    assert_eq!(tls.peer_certificates().unwrap().len(), 1);

    for (shown, text) in [
        (None, "has shown no certificate"),
        (Some(&stranger), "the client's certificate is not accepted"),
    ] {
        let (url, accepting) = accept_one(Acceptor::new().tls(config.clone())).await;
        let refused = Connector::new()
            .tls(own.client(shown))
            .connect(&url)
            .await
            .map(drop);
        assert!(
            matches!(refused, Err(ConnectError::Tls(_) | ConnectError::Io(_))),
            "{refused:?}"
        );
        let error = accepting.await.unwrap().map(drop).unwrap_err();
        assert!(matches!(error, AcceptError::Tls(_)), "{error:?}");
        assert!(error.to_string().contains(text), "{error}");
    }
}

#[tokio::test]
async fn client_that_does_not_trust_the_server_says_so() {
    let (own, other) = (Authority::new(), Authority::new());
    let (url, accepting) =
        accept_one(Acceptor::new().tls(Arc::new(own.server("localhost", None)))).await;
    Connector::new()
        .tls(other.client(None))
        .connect(&url)
        .await
        .map(drop)
        .unwrap_err();
    let error = accepting.await.unwrap().map(drop).unwrap_err();
    assert!(matches!(error, AcceptError::Tls(_)), "{error:?}");
    let text = error.to_string();
    assert!(text.contains("the client refused with the alert"), "{text}");
}

#[tokio::test]
async fn page_over_tls_is_answered_by_the_application() {
    let own = Authority::new();
    let (stream, peer) = duplex(1 << 16);
    let acceptor = Acceptor::new().tls(Arc::new(own.server("localhost", None)));
    let accepting = tokio::spawn(async move {
        let decide = async |request: &Request| {
            assert!(!request.is_websocket());
            let mut response = Response::new("over TLS".into());
            *response.status_mut() = StatusCode::NOT_FOUND;
            response
        };
        acceptor.accept_with(stream, decide).await.map(drop)
    });
    let mut peer = tls_client(&own, peer).await;
    let request = b"GET /page HTTP/1.1\r\nHost: h\r\n\r\n";
    peer.write_all(request).await.unwrap();
    let mut answer = String::new();
    peer.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 404 Not Found\r\n"), "{answer}");
    assert!(answer.ends_with("\r\n\r\nover TLS"), "{answer}");
    drop(peer);
    let error = accepting.await.unwrap().unwrap_err();
    assert!(matches!(error, AcceptError::Answered(404)), "{error}");
}

/// A TLS client without a WebSocket.
async fn tls_client(
    server: &Authority,
    stream: DuplexStream,
) -> tokio_rustls::client::TlsStream<DuplexStream> {
    let connector = tokio_rustls::TlsConnector::from(server.client(None));
    let name = "localhost".try_into().unwrap();
    connector.connect(name, stream).await.unwrap()
}

/// What an opening handshake comes to, and after how many seconds.
fn accepting(
    acceptor: Acceptor,
    own: &Authority,
) -> (JoinHandle<(AcceptError, u64)>, DuplexStream) {
    let (stream, peer) = duplex(1 << 16);
    let acceptor = acceptor.tls(Arc::new(own.server("localhost", None)));
    let accepting = tokio::spawn(async move {
        let start = Instant::now();
        let error = acceptor.accept(stream).await.map(drop).unwrap_err();
        (error, start.elapsed().as_secs())
    });
    (accepting, peer)
}

/// HS22: the handshake of TLS and the request have one deadline.
#[tokio::test(start_paused = true)]
async fn silent_peer_is_given_up_at_the_deadline_wherever_it_falls_silent() {
    let own = Authority::new();
    let acceptor = Acceptor::new().timeouts(Timeouts {
        handshake: Some(7_000),
        ..Timeouts::DEFAULT
    });
    // From the beginning.
    let (silent, _peer) = accepting(acceptor.clone(), &own);
    let (error, seconds) = silent.await.unwrap();
    assert!(matches!(error, AcceptError::TimedOut), "{error:?}");
    assert_eq!(seconds, 7);

    // In the middle of its ClientHello, whose bytes trickle.
    let (silent, mut peer) = accepting(acceptor.clone(), &own);
    for byte in [0x16, 3, 1, 2, 0, 1] {
        tokio::time::sleep(Duration::from_secs(1)).await;
        peer.write_all(&[byte]).await.unwrap();
    }
    let (error, seconds) = silent.await.unwrap();
    assert!(matches!(error, AcceptError::TimedOut), "{error:?}");
    assert_eq!(seconds, 7);

    // Behind the handshake of TLS, which takes five seconds.
    let (silent, peer) = accepting(acceptor, &own);
    tokio::time::sleep(Duration::from_secs(5)).await;
    let mut peer = tls_client(&own, peer).await;
    peer.write_all(&REQUEST.as_bytes()[..40]).await.unwrap();
    let (error, seconds) = silent.await.unwrap();
    assert!(matches!(error, AcceptError::TimedOut), "{error:?}");
    assert_eq!(seconds, 7);
}

#[tokio::test(start_paused = true)]
async fn peer_that_speaks_no_tls_is_explained() {
    let own = Authority::new();
    let (plain, mut peer) = accepting(Acceptor::new(), &own);
    peer.write_all(REQUEST.as_bytes()).await.unwrap();
    let (error, seconds) = plain.await.unwrap();
    assert!(matches!(error, AcceptError::Tls(_)), "{error:?}");
    let text = error.to_string();
    assert!(text.contains("does not speak TLS"), "{text}");
    assert_eq!(seconds, 0);
    // It gets an alert, and the end.
    let mut answer = Vec::new();
    peer.read_to_end(&mut answer).await.unwrap();
    assert_eq!(answer[0], 0x15, "{answer:?}");

    // Gone in the middle.
    let (gone, mut peer) = accepting(Acceptor::new(), &own);
    peer.write_all(&[0x16, 3, 1]).await.unwrap();
    drop(peer);
    let (error, _) = gone.await.unwrap();
    assert!(
        matches!(&error, AcceptError::Io(error) if error.kind() == std::io::ErrorKind::UnexpectedEof),
        "{error:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn handshake_of_tls_shut_down_ends_at_once() {
    let own = Authority::new();
    let handle = ServerHandle::new();
    let (silent, _peer) = accepting(Acceptor::new().handle(&handle), &own);
    tokio::task::yield_now().await;
    assert_eq!(handle.connections(), 1);
    handle.shutdown(Duration::from_secs(60));
    assert_eq!(handle.closed().await, 0);
    let (error, seconds) = silent.await.unwrap();
    assert!(matches!(error, AcceptError::ShuttingDown), "{error:?}");
    assert_eq!(seconds, 0);
}
