//! WebSockets over HTTP/2 (RFC 8441), with hyper on both sides: two on one connection.

use core::convert::Infallible;

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming};
use hyper::ext::Protocol;
use hyper::service::service_fn;
use hyper::{Method, Request, Version, client, server};
use hyper_util::rt::{TokioExecutor, TokioIo};
use motews_tokio::role::Client;
use motews_tokio::{
    Acceptor, CloseCode, Connector, Message, OsEntropy, UpgradedStream, WebSocketStream,
};
use tokio::io::duplex;

/// A body without content.
struct Empty;

impl Body for Empty {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: core::pin::Pin<&mut Self>,
        _: &mut core::task::Context<'_>,
    ) -> core::task::Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        core::task::Poll::Ready(None)
    }

    fn is_end_stream(&self) -> bool {
        true
    }
}

async fn answer(request: Request<Incoming>) -> Result<hyper::Response<Empty>, Infallible> {
    let (mut parts, _) = request.into_parts();
    assert_eq!(parts.version, Version::HTTP_2);
    let acceptor = Acceptor::new().subprotocols(["chat"]);
    let response = match acceptor.upgrade(&mut parts) {
        Ok((response, upgrading)) => {
            tokio::spawn(async move {
                let mut ws = upgrading.open().await.unwrap();
                while let Some(message) = ws.recv().await.unwrap() {
                    ws.send(message).await.unwrap();
                }
                assert!(ws.ended().unwrap().is_clean());
            });
            response
        }
        Err(error) => error.response(),
    };
    Ok(response.map(|_| Empty))
}

type Ws = WebSocketStream<UpgradedStream, Client<OsEntropy>>;

async fn open(sender: &mut client::conn::http2::SendRequest<Empty>) -> Ws {
    let request = Request::builder()
        .method(Method::CONNECT)
        .uri("http://localhost/chat")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-protocol", "other, chat")
        .extension(Protocol::from_static("websocket"))
        .body(Empty)
        .unwrap();
    let response = sender.send_request(request).await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["sec-websocket-protocol"], "chat");
    assert!(!response.headers().contains_key("upgrade"));
    let stream = hyper::upgrade::on(response).await.unwrap();
    Connector::new().from_upgraded(TokioIo::new(stream), b"")
}

#[tokio::test]
async fn two_websockets_on_one_connection_echo_while_one_is_unread() {
    let (one, other) = duplex(1 << 16);
    tokio::spawn(
        server::conn::http2::Builder::new(TokioExecutor::new())
            .enable_connect_protocol()
            .serve_connection(TokioIo::new(one), service_fn(answer)),
    );
    let (mut sender, connection) =
        client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(other))
            .await
            .unwrap();
    tokio::spawn(connection);
    let mut unread = open(&mut sender).await;
    let mut ws = open(&mut sender).await;
    // More than the window of one stream.
    let message = Message::from(vec![7; 200_000]);
    unread.feed(message.clone()).await.unwrap();
    unread.try_send("behind").ok();
    for len in [0, 100, 70_000, 1 << 20] {
        let message = Message::from(vec![1; len]);
        ws.send(message.clone()).await.unwrap();
        assert_eq!(ws.recv().await.unwrap(), Some(message));
    }
    ws.close(CloseCode::NORMAL, "").unwrap();
    assert!(ws.closed().await.is_clean());
    assert_eq!(unread.recv().await.unwrap(), Some(message));

    // Another request is no WebSocket.
    let request = Request::builder()
        .uri("http://localhost/")
        .body(Empty)
        .unwrap();
    let response = sender.send_request(request).await.unwrap();
    assert_eq!(response.status(), 426);
    assert!(!response.headers().contains_key("upgrade"));
}
