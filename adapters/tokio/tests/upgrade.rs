//! Inside of servers: hyper and axum, with clients of this crate.

use core::time::Duration;
use std::sync::Arc;

use axum::Router;
use axum::extract::Extension;
use axum::response::Response;
use axum::routing::any;
use motews_testkit::frame::{self, Frame};
use motews_testkit::head::REQUEST;
use motews_tokio::{
    Acceptor, CloseCode, ConnectError, Connector, Ended, Limits, Message, ServerHandle,
    UpgradedStream, WebSocketStream, WebSocketUpgrade,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, mpsc, oneshot};

async fn echo(mut ws: WebSocketStream<UpgradedStream>) {
    while let Ok(Some(message)) = ws.recv().await {
        if ws.send(message).await.is_err() {
            break;
        }
    }
}

/// The URL of an axum server.
async fn serve(app: Router) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await });
    url
}

#[tokio::test]
async fn axum_upgrade_echoes_with_subprotocol_and_limits() {
    async fn route(upgrade: WebSocketUpgrade, Extension(word): Extension<&str>) -> Response {
        assert_eq!(word, "kept");
        let limits = Limits {
            message: 100_000,
            ..Limits::DEFAULT
        };
        let upgrade = upgrade
            .acceptor(&Acceptor::new().limits(limits))
            .protocols(["v2", "v1"]);
        assert_eq!(upgrade.selected_protocol(), Some("v1"));
        assert_eq!(
            upgrade.requested_protocols().collect::<Vec<_>>(),
            ["v0", "v1"]
        );
        upgrade
            .on_failed_upgrade(|error| panic!("{error}"))
            .on_upgrade(echo)
    }
    let app = Router::new()
        .route("/chat", any(route))
        .layer(Extension("kept"));
    let url = format!("{}/chat", serve(app).await);
    let connector = Connector::new().subprotocols(["v0", "v1"]);
    let mut ws = connector.connect(&url).await.unwrap();
    assert_eq!(ws.subprotocol(), Some("v1"));
    for len in [0, 100, 100_000] {
        let message = Message::from(vec![7; len]);
        ws.send(message.clone()).await.unwrap();
        assert_eq!(ws.recv().await.unwrap(), Some(message));
    }
    ws.send(vec![7; 100_001]).await.unwrap();
    assert!(ws.recv().await.unwrap().is_none());
    assert_eq!(ws.ended().unwrap().code(), CloseCode::MESSAGE_TOO_BIG);
}

/// The head as axum has it: the limits count what is left of it.
#[tokio::test]
async fn axum_limits_of_nothing_one_and_all_hold() {
    async fn route(upgrade: WebSocketUpgrade, Extension(limits): Extension<Limits>) -> Response {
        let acceptor = Acceptor::new().limits(limits);
        upgrade.acceptor(&acceptor).on_upgrade(echo)
    }
    let open = async |limits| {
        let app = Router::new()
            .route("/", any(route))
            .layer(Extension(limits));
        motews_tokio::connect(&serve(app).await).await
    };
    for message in [0, 1, u64::MAX] {
        let limits = Limits {
            message,
            head: u32::MAX,
            headers: u16::MAX,
        };
        let mut ws = open(limits).await.unwrap();
        let longest = message.min(100_000) as usize;
        ws.send(vec![7; longest]).await.unwrap();
        assert_eq!(ws.recv().await.unwrap().unwrap().len(), longest);
        if message < 100_000 {
            ws.send(vec![7; longest + 1]).await.unwrap();
            assert_eq!(ws.recv().await.unwrap(), None);
            assert_eq!(ws.ended().unwrap().code(), CloseCode::MESSAGE_TOO_BIG);
        }
    }
    let (head, headers) = (Limits::DEFAULT.head, Limits::DEFAULT.headers);
    for (head, headers) in [(0, headers), (1, headers), (head, 0), (head, 1)] {
        let limits = Limits {
            head,
            headers,
            ..Limits::DEFAULT
        };
        let error = open(limits).await.map(drop).unwrap_err();
        assert!(
            matches!(&error, ConnectError::Refused(response) if response.status() == 431),
            "{error}"
        );
    }
}

/// A client that does not wait for the response before it sends: hyper has read the frames with the
/// request.
#[tokio::test]
async fn axum_frames_behind_the_request_in_one_read_are_echoed() {
    async fn route(upgrade: WebSocketUpgrade) -> Response {
        upgrade.on_upgrade(echo)
    }
    let url = serve(Router::new().route("/chat", any(route))).await;
    let address = url.trim_start_matches("ws://");
    let mut stream = TcpStream::connect(address).await.unwrap();
    let frames = [
        frame::text("Hello"),
        frame::binary(vec![7; 100]),
        frame::close(1000, "bye"),
    ];
    let behind = frames
        .iter()
        .flat_map(|frame| frame.encode(Some(frame::KEY)));
    let bytes: Vec<u8> = REQUEST.bytes().chain(behind).collect();
    stream.write_all(&bytes).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    let end = answer.windows(4).position(|part| part == b"\r\n\r\n");
    let mut rest = &answer[end.unwrap() + 4..];
    for frame in frames {
        let echoed = Frame::decode(&mut rest).0;
        assert_eq!(echoed.first, frame.first);
        match frame.close_code() {
            None => assert_eq!(echoed, frame),
            close => assert_eq!(echoed.close_code(), close),
        }
    }
    assert!(rest.is_empty());
}

#[tokio::test]
async fn axum_wrong_requests_are_rejected_with_their_status() {
    async fn route(upgrade: WebSocketUpgrade) -> Response {
        upgrade.on_upgrade(echo)
    }
    let url = serve(Router::new().route("/", any(route))).await;
    let address = url.trim_start_matches("ws://");
    for (request, status) in [
        (
            "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n".to_owned(),
            426,
        ),
        (
            REQUEST
                .replace("/chat", "/")
                .replace("Version: 13", "Version: 8"),
            426,
        ),
        (
            REQUEST
                .replace("/chat", "/")
                .replace("Sec-WebSocket-Key: ", "Sec-WebSocket-Key: !"),
            400,
        ),
    ] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{answer}"
        );
        let version = answer
            .to_lowercase()
            .contains("sec-websocket-version: 13\r\n");
        assert_eq!(version, status == 426, "{answer}");
    }
}

#[tokio::test]
async fn hyper_upgrade_echoes_with_the_headers_of_the_acceptor() {
    use hyper::service::service_fn;
    use hyper_util::rt::TokioIo;

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}/", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let service = service_fn(|request: hyper::Request<hyper::body::Incoming>| async {
                let (mut parts, _) = request.into_parts();
                let acceptor = Acceptor::new().header("x-served", "yes");
                let response = match acceptor.upgrade(&mut parts) {
                    Ok((response, upgrading)) => {
                        tokio::spawn(async move { echo(upgrading.open().await.unwrap()).await });
                        response
                    }
                    Err(error) => error.response(),
                };
                Ok::<_, core::convert::Infallible>(response.map(axum::body::Body::from))
            });
            let connection = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .with_upgrades();
            tokio::spawn(connection);
        }
    });
    let (mut ws, response) = Connector::new().connect_with_response(&url).await.unwrap();
    assert_eq!(response.headers()["x-served"], "yes");
    ws.send("Hello").await.unwrap();
    assert_eq!(ws.recv().await.unwrap(), Some("Hello".into()));
    ws.close(CloseCode::NORMAL, "").unwrap();
    assert!(ws.closed().await.is_clean());
}

const WITHIN: Duration = Duration::from_secs(20);

/// axum's own graceful shutdown ends while WebSockets are open.
#[tokio::test]
async fn axum_websockets_shut_down_are_closed_and_waited_for() {
    async fn route(
        upgrade: WebSocketUpgrade,
        Extension(handle): Extension<ServerHandle>,
        Extension(ended): Extension<mpsc::UnboundedSender<Ended>>,
    ) -> Response {
        upgrade
            .acceptor(&Acceptor::new().handle(&handle))
            .on_upgrade(async move |mut ws| {
                while let Ok(Some(message)) = ws.recv().await {
                    ws.send(message).await.unwrap();
                }
                ended.send(ws.ended().unwrap()).unwrap();
            })
    }
    let handle = ServerHandle::new();
    let (tell, mut ended) = mpsc::unbounded_channel::<Ended>();
    let app = Router::new()
        .route("/", any(route))
        .layer(Extension(handle.clone()))
        .layer(Extension(tell));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}/", listener.local_addr().unwrap());
    let (stop, stopped) = oneshot::channel::<()>();
    let serving = tokio::spawn(
        axum::serve(listener, app)
            .with_graceful_shutdown(async { drop(stopped.await) })
            .into_future(),
    );
    let mut clients = Vec::new();
    for _ in 0..5 {
        let mut ws = motews_tokio::connect(&url).await.unwrap();
        ws.send("Hello").await.unwrap();
        assert_eq!(ws.recv().await.unwrap(), Some("Hello".into()));
        clients.push(ws);
    }
    assert_eq!(handle.connections(), 5);
    stop.send(()).unwrap();
    serving.await.unwrap().unwrap();
    assert_eq!(handle.connections(), 5);

    handle.shutdown(WITHIN);
    for mut ws in clients {
        assert_eq!(ws.recv().await.unwrap(), None);
        let end = ws.ended().unwrap();
        assert!(end.is_clean(), "{end}");
        assert_eq!(end.code(), CloseCode::GOING_AWAY);
        assert!(ended.recv().await.unwrap().is_clean());
    }
    assert_eq!(handle.closed().await, 0);
}

/// A request that was judged before, and answered after the server began to shut down; and one that
/// comes later.
#[tokio::test]
async fn hyper_request_being_upgraded_is_closed_when_it_opens_and_a_later_one_gets_503() {
    use hyper::service::service_fn;
    use hyper_util::rt::TokioIo;

    let handle = ServerHandle::new();
    let acceptor = Acceptor::new().handle(&handle);
    let (upgraded, answer) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}/", listener.local_addr().unwrap());
    let (has_upgraded, may_answer) = (upgraded.clone(), answer.clone());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            let (upgraded, answer) = (has_upgraded.clone(), may_answer.clone());
            let service = service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
                let acceptor = acceptor.clone();
                let (upgraded, answer) = (upgraded.clone(), answer.clone());
                async move {
                    let (mut parts, _) = request.into_parts();
                    let response = match acceptor.upgrade(&mut parts) {
                        Ok((response, upgrading)) => {
                            tokio::spawn(
                                async move { echo(upgrading.open().await.unwrap()).await },
                            );
                            upgraded.notify_one();
                            answer.notified().await;
                            response
                        }
                        Err(error) => error.response(),
                    };
                    Ok::<_, core::convert::Infallible>(response.map(axum::body::Body::from))
                }
            });
            let connection = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .with_upgrades();
            tokio::spawn(connection);
        }
    });
    let connecting = tokio::spawn({
        let url = url.clone();
        async move { motews_tokio::connect(&url).await }
    });
    upgraded.notified().await;
    assert_eq!(handle.connections(), 1);
    handle.shutdown(WITHIN);

    let late = motews_tokio::connect(&url).await.map(drop).unwrap_err();
    assert!(
        matches!(&late, ConnectError::Refused(response) if response.status() == 503),
        "{late}"
    );
    assert_eq!(handle.connections(), 1);
    answer.notify_one();
    let mut ws = connecting.await.unwrap().unwrap();
    assert_eq!(ws.recv().await.unwrap(), None);
    assert_eq!(ws.ended().unwrap().code(), CloseCode::GOING_AWAY);
    assert_eq!(handle.closed().await, 0);
}

/// A server that never answers requests for an upgrade, whose clients go meanwhile. It tells the steps.
async fn serve_nobody(handle: &ServerHandle) -> (String, mpsc::UnboundedReceiver<String>) {
    async fn route(
        upgrade: WebSocketUpgrade,
        Extension(handle): Extension<ServerHandle>,
        Extension(steps): Extension<mpsc::UnboundedSender<String>>,
    ) -> Response {
        let failed = steps.clone();
        let response = upgrade
            .acceptor(&Acceptor::new().handle(&handle))
            .on_failed_upgrade(move |error| failed.send(error.to_string()).unwrap())
            .on_upgrade(async |_| panic!("nobody is there"));
        steps.send("upgraded".to_owned()).unwrap();
        core::future::pending::<()>().await;
        response
    }
    let (tell, steps) = mpsc::unbounded_channel::<String>();
    let app = Router::new()
        .route("/chat", any(route))
        .layer(Extension(handle.clone()))
        .layer(Extension(tell));
    (serve(app).await.replace("ws://", ""), steps)
}

/// Whoever asks for an upgrade and does not wait for the response.
#[tokio::test]
async fn axum_client_gone_before_the_upgrade_is_told_and_not_waited_for() {
    let handle = ServerHandle::new();
    let (address, mut steps) = serve_nobody(&handle).await;
    let mut stream = TcpStream::connect(&address).await.unwrap();
    stream.write_all(REQUEST.as_bytes()).await.unwrap();
    assert_eq!(steps.recv().await.unwrap(), "upgraded");
    assert_eq!(handle.connections(), 1);
    drop(stream);
    assert_ne!(steps.recv().await.unwrap(), "");
    handle.shutdown(WITHIN);
    assert_eq!(handle.closed().await, 0);
}

/// The same, but its connection stays.
#[cfg(feature = "http2")]
#[tokio::test]
async fn axum_stream_reset_before_the_upgrade_is_told_and_not_waited_for() {
    let handle = ServerHandle::new();
    let (address, mut steps) = serve_nobody(&handle).await;
    let stream = TcpStream::connect(&address).await.unwrap();
    let (mut requests, mut connection) = h2::client::handshake(stream).await.unwrap();
    let mut pings = connection.ping_pong().unwrap();
    tokio::spawn(connection);
    pings.ping(h2::Ping::opaque()).await.unwrap(); // Its SETTINGS have come.
    let request = hyper::Request::builder()
        .method("CONNECT")
        .uri(format!("http://{address}/chat"))
        .header("sec-websocket-version", "13")
        .extension(h2::ext::Protocol::from_static("websocket"));
    let sent = requests.send_request(request.body(()).unwrap(), false);
    let (_response, mut stream) = sent.unwrap();
    assert_eq!(steps.recv().await.unwrap(), "upgraded");
    assert_eq!(handle.connections(), 1);
    stream.send_reset(h2::Reason::CANCEL);
    assert_ne!(steps.recv().await.unwrap(), "");
    handle.shutdown(WITHIN);
    assert_eq!(handle.closed().await, 0);
}

/// axum serves HTTP/2 with extended CONNECT by itself.
#[cfg(feature = "http2")]
#[tokio::test]
async fn axum_upgrade_over_http2_echoes_with_subprotocol_and_is_shut_down() {
    use hyper::ext::Protocol;
    use hyper_util::rt::{TokioExecutor, TokioIo};

    async fn route(
        upgrade: WebSocketUpgrade,
        Extension(handle): Extension<ServerHandle>,
    ) -> Response {
        let upgrade = upgrade
            .acceptor(&Acceptor::new().handle(&handle))
            .protocols(["v2", "v1"]);
        assert_eq!(upgrade.selected_protocol(), Some("v1"));
        upgrade.on_upgrade(echo)
    }
    let handle = ServerHandle::new();
    let app = Router::new()
        .route("/chat", any(route))
        .layer(Extension(handle.clone()));
    let address = serve(app).await.replace("ws://", "");
    let stream = TcpStream::connect(&address).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
    tokio::spawn(connection);
    let request = |method: &str| {
        hyper::Request::builder()
            .method(method)
            .uri(format!("http://{address}/chat"))
            .header("sec-websocket-version", "13")
            .header("sec-websocket-protocol", "v0, v1")
    };
    let connect = request("CONNECT").extension(Protocol::from_static("websocket"));
    let body = axum::body::Body::empty();
    let response = sender.send_request(connect.body(body).unwrap()).await;
    let response = response.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.version(), hyper::Version::HTTP_2);
    assert_eq!(response.headers()["sec-websocket-protocol"], "v1");
    let stream = hyper::upgrade::on(response).await.unwrap();
    let mut ws = Connector::new().from_upgraded(TokioIo::new(stream), b"");
    for len in [0, 125, 70_000] {
        let message = Message::from(vec![7; len]);
        ws.send(message.clone()).await.unwrap();
        assert_eq!(ws.recv().await.unwrap(), Some(message));
    }
    // A GET is no WebSocket over HTTP/2, and a CONNECT for something else neither.
    let other = request("CONNECT").extension(Protocol::from_static("connect-udp"));
    for request in [request("GET"), other] {
        let body = axum::body::Body::empty();
        let response = sender.send_request(request.body(body).unwrap()).await;
        assert_eq!(response.unwrap().status(), 426);
    }
    handle.shutdown(WITHIN);
    assert_eq!(ws.recv().await.unwrap(), None);
    assert_eq!(ws.ended().unwrap().code(), CloseCode::GOING_AWAY);
    assert_eq!(handle.closed().await, 0);
}
