//! Messages in parts whose peer goes in their midst, over HTTP/2 and over TLS: what has come is no message.

#[path = "support/http2.rs"]
mod support;

use core::convert::Infallible;
use core::time::Duration;
use std::io;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use h2::Reason;
use hyper::body::Incoming;
use hyper::server::conn::http2::Builder;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use motews_testkit::frame::{self, Frame};
use motews_testkit::head::Head;
use motews_tokio::http::{Method, Request, Response, Version};
use motews_tokio::{
    Acceptor, Connector, ProtocolViolation, RecvError, SendError, WebSocketStream, role,
};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, duplex};
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::support::{BOTH, Stream, serve, speaks_http2};

/// How long anything may take that does not depend on a deadline.
const PATIENCE: Duration = Duration::from_secs(30);

/// How much comes of the message, which has a million bytes.
const SENT: usize = 70_000;

/// The beginning of a message.
fn begun(mask: Option<[u8; 4]>) -> Vec<u8> {
    let mut bytes = frame::binary(vec![7; 1_000_000]).encode(mask);
    bytes.truncate(bytes.len() - 1_000_000 + SENT);
    bytes
}

/// How the peer goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cut {
    /// RST_STREAM.
    Reset(Reason),
    /// END_STREAM, or the end of TLS.
    End,
    /// The connection below is closed.
    Closed,
    /// The connection below is reset.
    Aborted,
}

const RESETS: [Cut; 2] = [
    Cut::Reset(Reason::CANCEL),
    Cut::Reset(Reason::INTERNAL_ERROR),
];

/// Who takes the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Takes {
    Parts,
    Stream,
}

/// What came, and the error behind it.
type Outcome = (usize, io::Error);

/// Takes what comes, and has the peer cut off once some of it is there.
async fn takes<S, R>(mut ws: WebSocketStream<S, R>, how: Takes, cut: oneshot::Sender<()>) -> Outcome
where
    S: AsyncRead + AsyncWrite + Unpin,
    R: role::Role,
{
    let (mut len, mut cut) = (0, Some(cut));
    let outcome = async {
        if how == Takes::Parts {
            let error = loop {
                match ws.next_chunk().await {
                    Ok(Some(chunk)) => {
                        assert!(!chunk.last);
                        len += chunk.bytes.len();
                    }
                    Ok(None) => panic!("the message is not whole"),
                    Err(error) => break error,
                }
                cut.take().map(|cut| cut.send(()));
            };
            return (len, io::Error::from(error));
        }
        let mut reader = ws.recv_stream().await.unwrap().unwrap();
        let mut bytes = [0; 1000];
        let error = loop {
            match reader.read(&mut bytes).await {
                Ok(0) => panic!("the message is not whole"),
                Ok(read) => len += read,
                Err(error) => break error,
            }
            cut.take().map(|cut| cut.send(()));
        };
        (len, error)
    };
    let outcome = timeout(PATIENCE, outcome).await.unwrap();
    // Once, and then nothing.
    assert!(matches!(ws.next_chunk().await, Ok(None)));
    assert!(matches!(ws.recv().await, Ok(None)));
    assert!(!ws.ended().unwrap().is_clean());
    outcome
}

/// Writes until that fails.
async fn writes<S, R>(mut ws: WebSocketStream<S, R>) -> io::Error
where
    S: AsyncRead + AsyncWrite + Unpin,
    R: role::Role,
{
    let mut writer = ws.stream_binary();
    let error = timeout(PATIENCE, async {
        loop {
            if let Err(error) = writer.write_all(&[7; 20_000]).await {
                return error;
            }
        }
    });
    let error = error.await.unwrap();
    assert!(writer.flush().await.is_err());
    assert!(writer.finish().await.is_err());
    let sent = ws.send("behind").await;
    assert!(matches!(sent, Err(SendError::Closed)), "{sent:?}");
    let received = timeout(PATIENCE, ws.recv()).await.unwrap();
    assert!(received.is_err(), "{received:?}");
    error
}

fn check((len, error): Outcome, cut: Cut, how: Takes) {
    let cause = error.get_ref().and_then(|cause| cause.downcast_ref());
    match cut {
        Cut::Reset(_) | Cut::Aborted => {
            assert_eq!(
                error.kind(),
                io::ErrorKind::ConnectionReset,
                "{cut:?} {how:?}: {error:?}"
            );
        }
        Cut::End => {
            assert_eq!(len, SENT, "{cut:?} {how:?}");
            assert_eq!(
                error.kind(),
                io::ErrorKind::UnexpectedEof,
                "{cut:?} {how:?}: {error:?}"
            );
            let eof = ProtocolViolation::UnexpectedEof;
            assert!(matches!(cause, Some(RecvError::Protocol(error)) if *error == eof));
        }
        // Over HTTP/2 this is an error of the connection; TLS has not said that it ends.
        Cut::Closed => assert!(
            matches!(
                error.kind(),
                io::ErrorKind::UnexpectedEof
                    | io::ErrorKind::ConnectionReset
                    | io::ErrorKind::BrokenPipe
            ),
            "{cut:?} {how:?}: {error:?}"
        ),
    }
    assert!((1..=SENT).contains(&len), "{cut:?} {how:?}: {len}");
}

/// Closes TCP below TLS, which does not say that it ends.
fn close_below(stream: Stream, aborts: bool) {
    let (tcp, _) = stream.into_inner();
    if aborts {
        tcp.set_zero_linger().unwrap();
    }
}

type Waits = Arc<Mutex<Option<oneshot::Receiver<()>>>>;

/// A server that sends the beginning of a message, and then goes so.
async fn server_that_goes(
    cut: Cut,
    over_http2: bool,
    wait: oneshot::Receiver<()>,
) -> (Connector, String) {
    let wait: Waits = Arc::new(Mutex::new(Some(wait)));
    let protocols = if over_http2 { BOTH } else { &BOTH[1..] };
    let (connector, url) = serve(protocols, move |stream| {
        let wait = wait.lock().unwrap().take().unwrap();
        async move {
            match speaks_http2(&stream) {
                true => goes_by_http2(stream, cut, wait).await,
                false => goes_by_tls(stream, cut, wait).await,
            }
        }
    })
    .await;
    (connector.http2(), url)
}

async fn goes_by_tls(mut stream: Stream, cut: Cut, wait: oneshot::Receiver<()>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    let head = String::from_utf8(head).unwrap();
    let mut bytes = Head::response_to(&head).to_bytes();
    bytes.extend(begun(None));
    stream.write_all(&bytes).await.unwrap();
    stream.flush().await.unwrap();
    wait.await.unwrap();
    match cut {
        Cut::End => {
            stream.shutdown().await.unwrap();
            let mut rest = Vec::new();
            let _ = stream.read_to_end(&mut rest).await;
        }
        cut => close_below(stream, cut == Cut::Aborted),
    }
}

async fn goes_by_http2(stream: Stream, cut: Cut, wait: oneshot::Receiver<()>) {
    let mut server = h2::server::Builder::new();
    server.enable_connect_protocol();
    let mut connection = server.handshake::<_, Bytes>(stream).await.unwrap();
    let (request, mut respond) = connection.accept().await.unwrap().unwrap();
    let mut send = respond.send_response(Response::new(()), false).unwrap();
    send.send_data(begun(None).into(), false).unwrap();
    tokio::select! {
        _ = connection.accept() => panic!("it has ended"),
        wait = wait => wait.unwrap(),
    }
    match cut {
        Cut::Reset(reason) => send.send_reset(reason),
        Cut::End => send.send_data(Bytes::new(), true).unwrap(),
        // Dropped with what it has not read.
        Cut::Closed | Cut::Aborted => return,
    }
    while connection.accept().await.is_some() {}
    drop(request);
}

#[tokio::test]
async fn message_cut_off_by_the_server_is_not_whole() {
    let over_http2 = RESETS.into_iter().chain([Cut::End, Cut::Closed]);
    let over_http2 = over_http2.map(|cut| (cut, true));
    let over_tls = [Cut::End, Cut::Closed, Cut::Aborted].map(|cut| (cut, false));
    for (cut, is_http2) in over_http2.chain(over_tls) {
        for how in [Takes::Parts, Takes::Stream] {
            let (now, wait) = oneshot::channel();
            let (connector, url) = server_that_goes(cut, is_http2, wait).await;
            let ws = connector.connect(&url).await.unwrap();
            check(takes(ws, how, now).await, cut, how);
        }
    }
}

/// It reads nothing of it.
#[tokio::test]
async fn message_being_written_to_a_server_that_goes_fails() {
    for (cut, is_http2) in [
        (RESETS[0], true),
        (RESETS[1], true),
        (Cut::Closed, true),
        (Cut::Closed, false),
        (Cut::Aborted, false),
    ] {
        let (now, wait) = oneshot::channel();
        let (connector, url) = server_that_goes(cut, is_http2, wait).await;
        let ws = connector.connect(&url).await.unwrap();
        let (error, _) = tokio::join!(writes(ws), async {
            // In its midst.
            tokio::task::yield_now().await;
            now.send(()).unwrap();
        });
        assert_eq!(
            error.kind(),
            io::ErrorKind::BrokenPipe,
            "{cut:?} {is_http2}: {error:?}"
        );
    }
}

/// What a server on hyper does with its WebSocket.
#[derive(Clone, Copy)]
enum Does {
    Takes(Takes),
    Writes,
}

/// A client by hand, that goes so, of a server on hyper. Returns what came of it there.
async fn client_that_goes(cut: Cut, does: Does) -> Outcome {
    let (stream, peer) = duplex(1 << 16);
    let (now, wait) = oneshot::channel();
    let (tell, told) = oneshot::channel();
    let job = Arc::new(Mutex::new(Some((now, tell))));
    let answer = move |request: Request<Incoming>| {
        let (now, tell) = job.lock().unwrap().take().unwrap();
        async move {
            let (mut parts, _) = request.into_parts();
            let (accepted, upgrading) = Acceptor::new().upgrade(&mut parts).unwrap();
            tokio::spawn(async move {
                let ws = upgrading.open().await.unwrap();
                let outcome = match does {
                    Does::Takes(how) => takes(ws, how, now).await,
                    Does::Writes => {
                        now.send(()).unwrap();
                        (0, writes(ws).await)
                    }
                };
                tell.send(outcome).unwrap();
            });
            Ok::<_, Infallible>(accepted.map(|_| String::new()))
        }
    };
    let mut server = Builder::new(TokioExecutor::new());
    server.enable_connect_protocol();
    tokio::spawn(server.serve_connection(TokioIo::new(stream), service_fn(answer)));

    let (requests, connection) = h2::client::handshake(peer).await.unwrap();
    let connection = tokio::spawn(connection);
    let mut requests = requests.ready().await.unwrap();
    let request = Request::builder()
        .method(Method::CONNECT)
        .version(Version::HTTP_2)
        .uri("https://localhost/")
        .header("sec-websocket-version", "13")
        .extension(h2::ext::Protocol::from_static("websocket"));
    let request = request.body(()).unwrap();
    let (response, mut send) = requests.send_request(request, false).unwrap();
    let body = response.await.unwrap().into_body();
    send.send_data(begun(Some(frame::KEY)).into(), false)
        .unwrap();
    wait.await.unwrap();
    match cut {
        Cut::Reset(reason) => send.send_reset(reason),
        Cut::End => send.send_data(Bytes::new(), true).unwrap(),
        Cut::Closed | Cut::Aborted => connection.abort(),
    }
    let outcome = timeout(PATIENCE, told).await.unwrap().unwrap();
    drop(body);
    outcome
}

#[tokio::test]
async fn message_cut_off_by_a_client_over_http2_is_not_whole() {
    for cut in RESETS.into_iter().chain([Cut::End, Cut::Closed]) {
        for how in [Takes::Parts, Takes::Stream] {
            check(client_that_goes(cut, Does::Takes(how)).await, cut, how);
        }
    }
}

#[tokio::test]
async fn message_being_written_to_a_client_over_http2_that_goes_fails() {
    for cut in RESETS.into_iter().chain([Cut::Closed]) {
        let (_, error) = client_that_goes(cut, Does::Writes).await;
        assert_eq!(
            error.kind(),
            io::ErrorKind::BrokenPipe,
            "{cut:?}: {error:?}"
        );
    }
}

/// The frames of the tests are what they say.
#[test]
fn beginning_of_the_message_is_not_all_of_it() {
    let bytes = begun(None);
    assert!(Frame::read(&mut &bytes[..]).is_err());
    assert_eq!(bytes.len(), 10 + SENT);
}
