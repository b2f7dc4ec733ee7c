//! Inside of servers: hyper and axum, with clients of this crate.

use axum::Router;
use axum::extract::Extension;
use axum::response::Response;
use axum::routing::any;
use motews_testkit::head::REQUEST;
use motews_tokio::{
    Acceptor, CloseCode, Connector, Limits, Message, UpgradedStream, WebSocketStream,
    WebSocketUpgrade,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

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
