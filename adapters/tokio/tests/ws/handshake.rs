//! Opening handshakes, between both roles and with heads that are given.

use motews_testkit::head::{REQUEST, RESPONSE};
use motews_tokio::http::header::{
    CONTENT_TYPE, COOKIE, LOCATION, SEC_WEBSOCKET_PROTOCOL, SET_COOKIE,
};
use motews_tokio::http::{HeaderValue, StatusCode};
use motews_tokio::{
    AcceptError, Acceptor, CloseCode, ConnectError, Connector, HandshakeError, Limits, Request,
    Response, accepted,
};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, duplex};
use tokio::net::TcpListener;

use crate::support::payload;

/// Over TCP: `connect` finds the server, and both agree.
#[tokio::test]
async fn connect_to_an_acceptor_agrees_on_a_subprotocol_and_talks() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!(
        "ws://user:secret@{}/room?x=1",
        listener.local_addr().unwrap()
    );
    let serving = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let acceptor = Acceptor::new().subprotocols(["b", "a"]);
        let decide = async |request: &Request| {
            assert_eq!(request.uri().path(), "/room");
            assert_eq!(request.uri().query(), Some("x=1"));
            assert_eq!(request.headers()["authorization"], "Basic dXNlcjpzZWNyZXQ=");
            assert_eq!(request.headers()[COOKIE], "a=1");
            assert_eq!(request.headers()["origin"], "http://site.example");
            tokio::task::yield_now().await;
            let mut response = accepted();
            let cookie = HeaderValue::from_static("session=1");
            response.headers_mut().insert(SET_COOKIE, cookie);
            response
        };
        let mut ws = acceptor.accept_with(stream, decide).await.unwrap();
        assert_eq!(ws.subprotocol(), Some("b"));
        while let Some(message) = ws.recv().await.unwrap() {
            ws.send(message).await.unwrap();
        }
        ws.ended().unwrap()
    });
    let connector = Connector::new()
        .subprotocols(["a", "b"])
        .header(COOKIE, "a=1")
        .origin("http://site.example");
    let (mut ws, response) = connector.connect_with_response(&url).await.unwrap();
    assert_eq!(response.status(), 101);
    assert_eq!(response.headers()[SET_COOKIE], "session=1");
    assert_eq!(ws.subprotocol(), Some("b"));
    for len in [0, 100, 1 << 20] {
        ws.send(payload(len)).await.unwrap();
        assert_eq!(ws.recv().await.unwrap(), Some(payload(len).into()));
    }
    ws.close(CloseCode::NORMAL, "").unwrap();
    assert!(ws.closed().await.is_clean());
    assert!(serving.await.unwrap().is_clean());
}

/// What a server answers to these bytes.
async fn answer(
    acceptor: &Acceptor,
    request: &str,
    decide: impl AsyncFnOnce(&Request) -> Response,
) -> (Result<Option<String>, AcceptError>, String) {
    let (stream, mut peer) = duplex(1 << 16);
    peer.write_all(request.as_bytes()).await.unwrap();
    peer.shutdown().await.unwrap();
    let accepted = acceptor.accept_with(stream, decide).await;
    let accepted = accepted.map(|ws| ws.subprotocol().map(str::to_owned));
    let mut answer = String::new();
    peer.read_to_string(&mut answer).await.unwrap();
    (accepted, answer)
}

fn refused(status: u16) -> Response {
    let mut response = Response::new("why".into());
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    response
}

/// A stream that only one thread at a time can use, as hyper's upgraded ones are.
type NotSync = Box<dyn Stream>;

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// So they can be spawned on a runtime of several threads.
#[tokio::test]
async fn futures_over_a_stream_that_is_not_sync_are_send() {
    fn send<F: Future + Send>(future: F) -> F {
        future
    }
    let (one, other) = duplex(1 << 16);
    let (one, other): (NotSync, NotSync) = (Box::new(one), Box::new(other));
    let word = "decided".to_owned();
    let acceptor = Acceptor::new();
    let accepting = send(acceptor.accept_with(one, async |request: &Request| {
        tokio::task::yield_now().await;
        assert_eq!((request.uri().path(), word.as_str()), ("/", "decided"));
        accepted()
    }));
    let connector = Connector::new();
    let connecting = send(connector.connect_over(other, "ws://localhost/"));
    let (server, client) = tokio::join!(accepting, connecting);
    let (mut server, mut client) = (server.unwrap(), client.unwrap());
    send(client.send("a")).await.unwrap();
    send(client.feed("b")).await.unwrap();
    send(client.flush()).await.unwrap();
    send(client.ping(b"c")).await.unwrap();
    send(client.reserve()).await.map(drop).unwrap();
    send(server.recv()).await.unwrap();
    send(server.next_chunk()).await.unwrap();
    let (sender, mut receiver) = client.split();
    send(async {
        let mut message = sender.stream_binary();
        message.write_all(b"d").await.unwrap();
        message.finish().await
    })
    .await
    .unwrap();
    send(async {
        let mut bytes = Vec::new();
        let mut message = server.recv_stream().await.unwrap().unwrap();
        message.read_to_end(&mut bytes).await.unwrap();
        assert_eq!(bytes, b"d");
    })
    .await;
    send(sender.send("e")).await.unwrap();
    send(sender.reserve()).await.map(drop).unwrap();
    server.close(CloseCode::NORMAL, "").unwrap();
    tokio::join!(send(receiver.closed()), send(server.closed()));
    send(sender.closed()).await;
    drop(send(Acceptor::new().accept(duplex(1).0)));
    drop(send(motews_tokio::connect("ws://localhost/")));
}

#[tokio::test(start_paused = true)]
async fn request_is_answered_as_the_application_decides() {
    let acceptor = Acceptor::new();
    let (opened, head) = answer(&acceptor, REQUEST, async |_| accepted()).await;
    assert_eq!(opened.unwrap(), None);
    assert!(
        head.starts_with("HTTP/1.1 101 Switching Protocols\r\n"),
        "{head}"
    );

    let (opened, head) = answer(&acceptor, REQUEST, async |_| refused(403)).await;
    assert!(
        matches!(opened, Err(AcceptError::Answered(403))),
        "{opened:?}"
    );
    assert!(head.starts_with("HTTP/1.1 403 Forbidden\r\n"), "{head}");
    assert!(head.ends_with("\r\n\r\nwhy"), "{head}");

    // One that was not offered. HS14
    let choose = async |_: &Request| {
        let mut response = accepted();
        let name = HeaderValue::from_static("chat");
        response.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, name);
        response
    };
    let (opened, head) = answer(&acceptor, REQUEST, choose).await;
    assert!(matches!(opened, Err(AcceptError::Config(_))), "{opened:?}");
    assert!(head.starts_with("HTTP/1.1 400 "), "{head}");
    assert!(head.contains("does not offer"), "{head}");
    let offers = REQUEST.replace("\r\n\r\n", "\r\nSec-WebSocket-Protocol: talk, chat\r\n\r\n");
    let (opened, _) = answer(&acceptor, &offers, choose).await;
    assert_eq!(opened.unwrap().as_deref(), Some("chat"));
}

#[tokio::test(start_paused = true)]
async fn request_that_is_wrong_is_refused_without_the_application() {
    let never = async |_: &Request| panic!("it is not asked");
    for (request, status) in [
        (
            REQUEST.replace("Sec-WebSocket-Version: 13", "Sec-WebSocket-Version: 8"),
            426,
        ),
        (
            REQUEST.replace("Sec-WebSocket-Key: ", "Sec-WebSocket-Key: !"),
            400,
        ),
        (REQUEST.replace("\r\n\r\n", "\r\nX: 1\r\nX: 2\r\n\r\n"), 431),
    ] {
        let limits = Limits {
            headers: 6,
            ..Limits::DEFAULT
        };
        let (opened, head) = answer(&Acceptor::new().limits(limits), &request, never).await;
        assert!(
            matches!(opened, Err(AcceptError::Handshake(_))),
            "{opened:?}"
        );
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{head}");
    }
    let limits = Limits {
        head: 0,
        ..Limits::DEFAULT
    };
    let (opened, _) = answer(&Acceptor::new().limits(limits), REQUEST, never).await;
    assert!(
        matches!(opened, Err(AcceptError::Handshake(_))),
        "{opened:?}"
    );
}

const PAGE: &str = "GET /page?x HTTP/1.1\r\nHost: h\r\nCookie: a=1\r\n\r\n";

#[tokio::test(start_paused = true)]
async fn ordinary_request_is_answered_by_the_application() {
    let acceptor = Acceptor::new();
    let page = async |request: &Request| {
        assert!(!request.is_websocket());
        assert_eq!(request.uri(), "/page?x");
        assert_eq!(request.headers()[COOKIE], "a=1");
        let mut response = Response::new("a page".into());
        let html = HeaderValue::from_static("text/html");
        response.headers_mut().insert(CONTENT_TYPE, html);
        response
    };
    let (opened, head) = answer(&acceptor, PAGE, page).await;
    assert!(
        matches!(opened, Err(AcceptError::Answered(200))),
        "{opened:?}"
    );
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert!(head.contains("\r\ncontent-type: text/html\r\n"), "{head}");
    assert!(head.ends_with("\r\n\r\na page"), "{head}");

    // Its length, without it.
    let (opened, head) = answer(&acceptor, &PAGE.replace("GET", "HEAD"), page).await;
    assert!(
        matches!(opened, Err(AcceptError::Answered(200))),
        "{opened:?}"
    );
    assert!(head.contains("\r\nContent-Length: 6\r\n"), "{head}");
    assert!(head.ends_with("\r\n\r\n"), "{head}");

    // It cannot be accepted.
    let (opened, head) = answer(&acceptor, PAGE, async |_| accepted()).await;
    assert!(
        matches!(
            opened,
            Err(AcceptError::Handshake(HandshakeError::NotUpgrade))
        ),
        "{opened:?}"
    );
    assert!(head.starts_with("HTTP/1.1 426 "), "{head}");

    let (opened, _) = answer(&acceptor, REQUEST, async |request: &Request| {
        assert!(request.is_websocket());
        assert_eq!(request.subprotocols().next(), None);
        accepted()
    })
    .await;
    opened.unwrap();
}

/// A stream that is no TCP.
#[cfg(unix)]
#[tokio::test]
async fn websocket_over_a_unix_socket_talks() {
    let path = std::env::temp_dir().join(format!("motews-tokio-{}.sock", std::process::id()));
    let _ = std::fs::remove_file(&path);
    let listener = tokio::net::UnixListener::bind(&path).unwrap();
    let serving = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut ws = motews_tokio::accept(stream).await.unwrap();
        while let Some(message) = ws.recv().await.unwrap() {
            ws.send(message).await.unwrap();
        }
        ws.ended().unwrap()
    });
    let stream = tokio::net::UnixStream::connect(&path).await.unwrap();
    std::fs::remove_file(&path).unwrap();
    let connector = Connector::new();
    let mut ws = connector.connect_over(stream, "ws://h/").await.unwrap();
    for len in [0, 125, 65_536, 300_000] {
        ws.send(payload(len)).await.unwrap();
        assert_eq!(ws.recv().await.unwrap(), Some(payload(len).into()));
    }
    ws.close(CloseCode::NORMAL, "").unwrap();
    assert!(ws.closed().await.is_clean());
    assert!(serving.await.unwrap().is_clean());
}

/// What a client makes of these bytes.
async fn response_read(bytes: &[u8]) -> ConnectError {
    let (stream, mut peer) = duplex(1 << 16);
    peer.write_all(bytes).await.unwrap();
    let connector = Connector::new();
    let connecting = connector.connect_over(stream, "ws://h/");
    let (result, peer) = tokio::join!(connecting, async { peer });
    drop(peer);
    result.expect_err("it is no WebSocket")
}

#[tokio::test(start_paused = true)]
async fn response_of_another_status_is_returned_with_its_body() {
    let moved =
        b"HTTP/1.1 302 Found\r\nLocation: ws://there/\r\nTransfer-Encoding: chunked\r\n\r\n\
        4\r\nover\r\n6\r\n there\r\n0\r\n\r\n";
    let error = response_read(moved).await;
    assert!(
        error
            .to_string()
            .ends_with("302 Found and points to ws://there/"),
        "{error}"
    );
    let ConnectError::Refused(response) = error else {
        panic!("{error}")
    };
    assert_eq!(response.status(), 302);
    assert_eq!(response.headers()[LOCATION], "ws://there/");
    assert_eq!(response.body(), "over there");
}

#[tokio::test(start_paused = true)]
async fn response_with_another_key_or_none_at_all_fails() {
    let error = response_read(RESPONSE.as_bytes()).await;
    assert!(matches!(error, ConnectError::Handshake(_)), "{error}");
    // Nothing comes: the deadline.
    let error = response_read(b"").await;
    assert!(matches!(error, ConnectError::TimedOut), "{error}");
}

#[tokio::test]
async fn connecting_what_is_against_the_protocol_is_not_sent() {
    for (url, expected) in [("http//h", "Url"), ("ws://localhost:1/", "Io")] {
        let error = motews_tokio::connect(url).await.map(drop).unwrap_err();
        assert!(format!("{error:?}").starts_with(expected), "{error:?}");
    }
    #[cfg(not(feature = "tls"))]
    {
        let secure = motews_tokio::connect("wss://localhost:1/").await;
        assert!(matches!(secure, Err(ConnectError::TlsNotEnabled)));
    }
    let header = Connector::new()
        .header("x-name", "a\r\nb")
        .connect("ws://localhost:1/")
        .await;
    assert!(matches!(header, Err(ConnectError::Config(_))));
    let twice = Connector::new()
        .subprotocols(["a", "a"])
        .connect("ws://localhost:1/")
        .await;
    assert!(matches!(twice, Err(ConnectError::Config(_))));
}

/// First frames behind the response, in the same read.
#[tokio::test(start_paused = true)]
async fn frames_behind_the_request_and_the_response_are_received() {
    let (server, client) = duplex(1 << 16);
    let serving = async {
        let mut ws = motews_tokio::accept(server).await.unwrap();
        ws.send("first").await.unwrap();
        ws
    };
    let connecting = async {
        let mut ws = Connector::new()
            .connect_over(client, "ws://h/")
            .await
            .unwrap();
        assert_eq!(ws.recv().await.unwrap(), Some("first".into()));
        ws
    };
    tokio::join!(serving, connecting);

    let (server, mut client) = duplex(1 << 16);
    let mut bytes = REQUEST.as_bytes().to_vec();
    bytes.extend(crate::support::encode(&[motews_testkit::frame::text(
        "early",
    )]));
    client.write_all(&bytes).await.unwrap();
    let mut ws = motews_tokio::accept(server).await.unwrap();
    assert_eq!(ws.recv().await.unwrap(), Some("early".into()));
}
