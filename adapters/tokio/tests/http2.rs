//! WebSockets over HTTP/2 (RFC 8441): hyper's server, with hyper's client and with a client that
//! resets its streams.

use core::convert::Infallible;
use std::io;

use bytes::Bytes;
use h2::Reason;
use hyper::body::{Body, Frame, Incoming};
use hyper::ext::Protocol;
use hyper::service::service_fn;
use hyper::upgrade::Upgraded;
use hyper::{Method, Request, Version, client, server};
use hyper_util::rt::{TokioExecutor, TokioIo};
use motews_testkit::frame;
use motews_tokio::role::Client;
use motews_tokio::{
    Acceptor, CloseCode, Connector, Ended, Message, OsEntropy, ProtocolViolation, RecvError, Side,
    WebSocketStream,
};
use tokio::io::{DuplexStream, duplex};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

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

/// How a WebSocket ended at the server.
type Outcome = (Option<RecvError>, Ended);

/// Echoes, and tells how it ended.
async fn answer(
    request: Request<Incoming>,
    outcomes: UnboundedSender<Outcome>,
) -> Result<hyper::Response<Empty>, Infallible> {
    let (mut parts, _) = request.into_parts();
    assert_eq!(parts.version, Version::HTTP_2);
    let acceptor = Acceptor::new().subprotocols(["chat"]);
    let response = match acceptor.upgrade(&mut parts) {
        Ok((response, upgrading)) => {
            tokio::spawn(async move {
                let mut ws = upgrading.open().await.unwrap();
                let error = loop {
                    match ws.recv().await {
                        // If the stream is gone, receiving says why.
                        Ok(Some(message)) => drop(ws.send(message).await),
                        ended => break ended.err(),
                    }
                };
                outcomes.send((error, ws.closed().await)).ok();
            });
            response
        }
        Err(error) => error.response(),
    };
    Ok(response.map(|_| Empty))
}

/// Starts a server with a window of so many bytes for each stream.
fn serve(window: u32) -> (DuplexStream, UnboundedReceiver<Outcome>) {
    let (stream, peer) = duplex(1 << 16);
    let (tell, outcomes) = unbounded_channel();
    tokio::spawn(
        server::conn::http2::Builder::new(TokioExecutor::new())
            .enable_connect_protocol()
            .initial_stream_window_size(window)
            .serve_connection(
                TokioIo::new(stream),
                service_fn(move |request| answer(request, tell.clone())),
            ),
    );
    (peer, outcomes)
}

type SendRequest = client::conn::http2::SendRequest<Empty>;

async fn connect(stream: DuplexStream, window: u32) -> SendRequest {
    let (sender, connection) = client::conn::http2::Builder::new(TokioExecutor::new())
        .initial_stream_window_size(window)
        .handshake(TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(connection);
    sender
}

type Ws = WebSocketStream<TokioIo<Upgraded>, Client<OsEntropy>>;

fn request() -> hyper::http::request::Builder {
    Request::builder()
        .method(Method::CONNECT)
        .uri("http://localhost/chat")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-protocol", "other, chat")
        .extension(Protocol::from_static("websocket"))
}

async fn open(sender: &mut SendRequest) -> Ws {
    let response = sender.send_request(request().body(Empty).unwrap()).await;
    let response = response.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["sec-websocket-protocol"], "chat");
    for name in ["upgrade", "connection", "sec-websocket-accept"] {
        assert!(!response.headers().contains_key(name), "{name}");
    }
    let stream = hyper::upgrade::on(response).await.unwrap();
    Connector::new().from_upgraded(TokioIo::new(stream), b"")
}

const WINDOW: u32 = 65_535;

#[tokio::test]
async fn two_websockets_on_one_connection_echo_while_one_is_unread() {
    let (stream, mut outcomes) = serve(WINDOW);
    let mut sender = connect(stream, WINDOW).await;
    let mut unread = open(&mut sender).await;
    let mut ws = open(&mut sender).await;
    // More than the window of one stream, both ways: the echo stands still.
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
    assert!(outcomes.recv().await.unwrap().1.is_clean());
    assert_eq!(unread.recv().await.unwrap(), Some(message));

    // Another request is no WebSocket.
    let request = Request::builder().uri("http://localhost/").body(Empty);
    let response = sender.send_request(request.unwrap()).await.unwrap();
    assert_eq!(response.status(), 426);
    assert!(!response.headers().contains_key("upgrade"));
}

#[tokio::test]
async fn windows_of_one_byte_both_ways_lose_nothing() {
    let (stream, mut outcomes) = serve(1);
    let mut sender = connect(stream, 1).await;
    let mut ws = open(&mut sender).await;
    for len in [0, 1, 125, 126, 3_000] {
        let message = Message::from(vec![9; len]);
        ws.send(message.clone()).await.unwrap();
        assert_eq!(ws.recv().await.unwrap(), Some(message));
    }
    ws.close(CloseCode::new(4001), "a reason").unwrap();
    assert!(ws.closed().await.is_clean());
    let (error, ended) = outcomes.recv().await.unwrap();
    assert!(error.is_none() && ended.is_clean(), "{ended}");
    assert_eq!(ended.code(), CloseCode::new(4001));
}

#[tokio::test]
async fn key_over_http2_is_answered() {
    let (stream, _outcomes) = serve(WINDOW);
    let mut sender = connect(stream, WINDOW).await;
    // The key and the answer of RFC 6455 §1.3.
    let request = request().header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
    let response = sender.send_request(request.body(Empty).unwrap()).await;
    let response = response.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(
        response.headers()["sec-websocket-accept"],
        "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
    );
}

/// A client's stream, with access to what ends it.
async fn open_stream(stream: DuplexStream) -> (h2::SendStream<Bytes>, h2::RecvStream) {
    let (sender, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let mut sender = sender.ready().await.unwrap();
    let mut request = request().uri("https://localhost/chat").body(()).unwrap();
    let extensions = request.extensions_mut();
    extensions.insert(h2::ext::Protocol::from_static("websocket"));
    let (response, send) = sender.send_request(request, false).unwrap();
    let response = response.await.unwrap();
    assert_eq!(response.status(), 200);
    (send, response.into_body())
}

fn bytes(frame: &frame::Frame) -> Bytes {
    frame.encode(Some(frame::KEY)).into()
}

/// RFC 8441 §5: as a TCP connection that is reset.
async fn stream_is_reset(reason: Reason) {
    let (stream, mut outcomes) = serve(WINDOW);
    let (mut send, mut receive) = open_stream(stream).await;
    send.send_data(bytes(&frame::text("Hello")), false).unwrap();
    let echo = receive.data().await.unwrap().unwrap();
    assert_eq!(echo, frame::text("Hello").encode(None));
    send.send_reset(reason);
    let (error, ended) = outcomes.recv().await.unwrap();
    assert_eq!(ended, Ended::Lost, "{reason:?}: {error:?}");
    let Some(RecvError::Io(error)) = error else {
        panic!("{reason:?}: {error:?}");
    };
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset, "{error}");
}

#[tokio::test]
async fn stream_reset_by_the_peer_is_lost() {
    for reason in [
        Reason::CANCEL,
        Reason::NO_ERROR,
        Reason::INTERNAL_ERROR,
        Reason::PROTOCOL_ERROR,
    ] {
        stream_is_reset(reason).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stream_reset_by_the_peer_is_lost_on_several_threads() {
    for _ in 0..50 {
        stream_is_reset(Reason::CANCEL).await;
    }
}

#[tokio::test]
async fn stream_ended_without_a_close_is_the_end_of_input() {
    let (stream, mut outcomes) = serve(WINDOW);
    let (mut send, mut receive) = open_stream(stream).await;
    send.send_data(bytes(&frame::text("Hello")), true).unwrap();
    // What came before it is answered.
    let echo = receive.data().await.unwrap().unwrap();
    assert_eq!(echo, frame::text("Hello").encode(None));
    let (error, ended) = outcomes.recv().await.unwrap();
    assert_eq!(
        ended,
        Ended::Violation(ProtocolViolation::UnexpectedEof),
        "{error:?}"
    );
}

#[tokio::test]
async fn close_with_the_end_of_the_stream_is_answered_and_clean() {
    let (stream, mut outcomes) = serve(WINDOW);
    let (mut send, mut receive) = open_stream(stream).await;
    let close = frame::close(4001, "bye");
    send.send_data(bytes(&close), true).unwrap();
    let answer = receive.data().await.unwrap().unwrap();
    assert_eq!(answer, frame::close(4001, "").encode(None));
    // The server's half ends by END_STREAM, too, in a frame without data.
    while let Some(data) = receive.data().await {
        assert_eq!(data.unwrap(), "");
    }
    assert!(receive.is_end_stream());
    let (error, ended) = outcomes.recv().await.unwrap();
    assert!(error.is_none() && ended.is_clean(), "{ended}");
    assert!(matches!(
        ended,
        Ended::Closed {
            by: Side::Remote,
            ..
        }
    ));
}
