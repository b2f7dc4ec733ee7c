//! Several WebSockets of a client over one connection of HTTP/2 (RFC 8441).

#[path = "support/http2.rs"]
mod support;

use core::convert::Infallible;
use core::future::poll_fn;
use core::sync::atomic::{AtomicUsize, Ordering};
use core::time::Duration;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use h2::Reason;
use hyper::body::Incoming;
use hyper::server::conn::http2::Builder;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use motews_tokio::http::{Request, Response, StatusCode};
use motews_tokio::role::Client;
use motews_tokio::{
    Acceptor, Cause, CloseCode, ConfigError, ConnectError, Connector, Http2Error, NetStream,
    OsEntropy, RecvError, SendError, Timeouts, WebSocketStream,
};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use crate::support::{BOTH, Stream, serve, speaks_http2};

type Ws = WebSocketStream<NetStream, Client<OsEntropy>>;

/// How long anything may take that does not depend on a deadline.
const PATIENCE: Duration = Duration::from_secs(30);

/// An echo; `/flood` sends without end, and `/no` is refused.
async fn answer(request: Request<Incoming>) -> Result<Response<String>, Infallible> {
    let (mut parts, _) = request.into_parts();
    let mut response = Response::new(String::new());
    if parts.uri.path() == "/no" {
        *response.status_mut() = StatusCode::FORBIDDEN;
        return Ok(response);
    }
    let floods = parts.uri.path() == "/flood";
    let acceptor = Acceptor::new().subprotocols(["a", "b"]);
    let (accepted, upgrading) = acceptor.upgrade(&mut parts).unwrap();
    tokio::spawn(async move {
        let mut ws = upgrading.open().await.unwrap();
        while floods && ws.send(vec![0; 10_000]).await.is_ok() {}
        while let Ok(Some(message)) = ws.recv().await {
            if ws.send(message).await.is_err() {
                return;
            }
        }
    });
    Ok(accepted.map(|_| String::new()))
}

/// A server on hyper, with a window of so many bytes for each stream. Counts its connections.
async fn hyper(window: u32) -> (Connector, String, Arc<AtomicUsize>) {
    let connections = Arc::new(AtomicUsize::new(0));
    let counted = connections.clone();
    let (connector, url) = serve(BOTH, move |stream| {
        counted.fetch_add(1, Ordering::Relaxed);
        async move {
            assert!(speaks_http2(&stream));
            let mut server = Builder::new(TokioExecutor::new());
            server.enable_connect_protocol();
            server.initial_stream_window_size(window);
            let served = server.serve_connection(TokioIo::new(stream), service_fn(answer));
            let _ = served.await;
        }
    })
    .await;
    (connector, url, connections)
}

async fn echoes(ws: &mut Ws, len: usize) {
    let message: Vec<u8> = (0..251).cycle().take(len).collect();
    ws.send(message.clone()).await.unwrap();
    assert_eq!(ws.recv().await.unwrap(), Some(message.into()));
}

#[tokio::test]
async fn websockets_of_all_settings_share_a_connection() {
    let (connector, url, connections) = hyper(65_535).await;
    let connection = connector.connect_http2(&url).await.unwrap();
    let other = connection.clone();
    let a = connector.clone().subprotocols(["a"]);
    let b = connector.clone().subprotocols(["b"]);
    let (mut a, mut b) = (
        a.connect_on(&connection, &url).await.unwrap(),
        b.connect_on(&other, &url).await.unwrap(),
    );
    assert_eq!((a.subprotocol(), b.subprotocol()), (Some("a"), Some("b")));
    let no = url.replace("chat", "no");
    let refused = connector.connect_on(&connection, &no).await;
    let refused = refused.map(drop).unwrap_err();
    assert!(matches!(&refused, ConnectError::Refused(response) if response.status() == 403));
    drop((connection, other));
    for len in [0, 1, 65_536, 1 << 20] {
        tokio::join!(echoes(&mut a, len), echoes(&mut b, len));
    }
    a.close(CloseCode::NORMAL, "").unwrap();
    assert!(a.closed().await.is_clean());
    echoes(&mut b, 1000).await;
    assert_eq!(connections.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn websockets_share_a_connection_with_windows_of_one_byte() {
    let (connector, url, _) = hyper(1).await;
    let connection = connector.connect_http2(&url).await.unwrap();
    let mut a = connector.connect_on(&connection, &url).await.unwrap();
    let mut b = connector.connect_on(&connection, &url).await.unwrap();
    let both = async { tokio::join!(echoes(&mut a, 1000), echoes(&mut b, 1000)) };
    timeout(PATIENCE, both).await.unwrap();
}

/// More than any window lies there for them.
#[tokio::test]
async fn websockets_that_nobody_reads_do_not_hold_the_others_up() {
    let (connector, url, _) = hyper(65_535).await;
    let connection = connector.connect_http2(&url).await.unwrap();
    let connector = connector.timeouts(Timeouts::NONE);
    let flood = url.replace("chat", "flood");
    let mut unread = Vec::new();
    for _ in 0..10 {
        unread.push(connector.connect_on(&connection, &flood).await.unwrap());
    }
    let mut read = connector.connect_on(&connection, &url).await.unwrap();
    let all = async {
        for _ in 0..100 {
            echoes(&mut read, 100_000).await;
        }
    };
    timeout(PATIENCE, all).await.unwrap();
    for mut ws in unread {
        let message = ws.recv().await.unwrap().unwrap();
        assert_eq!(message.len(), 10_000);
    }
}

#[tokio::test]
async fn url_of_another_server_is_refused_before_anything_is_asked() {
    let (connector, url, _) = hyper(65_535).await;
    let (_, other, _) = hyper(65_535).await;
    let connection = connector.connect_http2(&url).await.unwrap();
    for other in [
        &other,
        &url.replace("wss", "ws"),
        &url.replace("localhost", "127.0.0.1"),
    ] {
        let error = connector.connect_on(&connection, other).await.map(drop);
        let error = error.unwrap_err();
        assert!(
            matches!(error, ConnectError::Http2(Http2Error::OtherServer)),
            "{error:?}"
        );
        assert_eq!(error.cause(), Cause::Local);
    }
}

/// It speaks HTTP/1.1 only, or HTTP/2 without SETTINGS_ENABLE_CONNECT_PROTOCOL, or refuses it there.
#[tokio::test]
async fn server_without_websockets_over_http2_is_an_error() {
    let plain: &[&[u8]] = &[b"http/1.1"];
    for (protocols, enables) in [(plain, false), (BOTH, false), (BOTH, true)] {
        let (connector, url) = serve(protocols, move |stream| async move {
            if !speaks_http2(&stream) {
                return;
            }
            let mut server = h2::server::Builder::new();
            if enables {
                server.enable_connect_protocol();
            }
            let mut connection = server.handshake::<_, Bytes>(stream).await.unwrap();
            while let Some(Ok((_, mut respond))) = connection.accept().await {
                assert!(enables, "it was asked");
                respond.send_reset(Reason::HTTP_1_1_REQUIRED);
            }
        })
        .await;
        let error = match connector.connect_http2(&url).await {
            Ok(connection) => {
                assert!(enables);
                connector.connect_on(&connection, &url).await.map(drop)
            }
            Err(error) => Err(error),
        };
        let error = error.unwrap_err();
        assert!(
            matches!(error, ConnectError::Http2(Http2Error::NotOffered)),
            "{error:?}"
        );
        assert!(error.to_string().contains("no WebSockets over HTTP/2"));
    }
}

/// What a server by hand is told to do with a stream, by its path.
async fn by_hand(
    stream: Stream,
    concurrent: u32,
    mut goes_away: watch::Receiver<bool>,
    asked: mpsc::UnboundedSender<String>,
) {
    let mut server = h2::server::Builder::new();
    server
        .enable_connect_protocol()
        .max_concurrent_streams(concurrent);
    let mut connection = server.handshake::<_, Bytes>(stream).await.unwrap();
    let mut is_going = false;
    loop {
        let accepted = tokio::select! {
            accepted = connection.accept() => accepted,
            _ = goes_away.wait_for(|goes| *goes), if !is_going => {
                is_going = true;
                connection.graceful_shutdown();
                continue;
            }
        };
        let Some(Ok((request, mut respond))) = accepted else {
            return;
        };
        // The test may be over.
        let _ = asked.send(request.uri().path().to_owned());
        let resets = request.uri().path() == "/reset";
        let Ok(mut send) = respond.send_response(Response::new(()), false) else {
            continue; // It was given up.
        };
        let mut receive = request.into_body();
        tokio::spawn(async move {
            // A Close is answered by one; anything else resets the stream, or is left alone.
            let Some(Ok(data)) = receive.data().await else {
                return;
            };
            if resets {
                send.send_reset(Reason::CANCEL);
            } else if data[0] == 0x88 {
                let close = Bytes::from_static(&[0x88, 2, 3, 0xe8]);
                send.send_data(close, true).unwrap();
            } else {
                let answer = Bytes::from_static(b"\x81\x02ok");
                send.send_data(answer, false).unwrap();
                while receive.data().await.is_some() {}
            }
        });
    }
}

struct ByHand {
    connector: Connector,
    url: String,
    goes_away: watch::Sender<bool>,
    asked: mpsc::UnboundedReceiver<String>,
}

async fn serve_by_hand(concurrent: u32) -> ByHand {
    let (goes_away, goes) = watch::channel(false);
    let (asks, asked) = mpsc::unbounded_channel();
    let (connector, url) = serve(BOTH, move |stream| {
        by_hand(stream, concurrent, goes.clone(), asks.clone())
    })
    .await;
    ByHand {
        connector,
        url,
        goes_away,
        asked,
    }
}

#[tokio::test]
async fn stream_that_is_reset_leaves_the_others_alone() {
    let ByHand {
        connector,
        url,
        goes_away: _stays,
        ..
    } = serve_by_hand(100).await;
    let connection = connector.connect_http2(&url).await.unwrap();
    let mut other = connector.connect_on(&connection, &url).await.unwrap();
    let reset = url.replace("chat", "reset");
    let mut ws = connector.connect_on(&connection, &reset).await.unwrap();
    ws.send("x").await.unwrap();
    match ws.recv().await {
        Err(RecvError::Io(error)) => assert_eq!(error.kind(), io::ErrorKind::ConnectionReset),
        other => panic!("{other:?}"),
    }
    assert!(matches!(ws.send("y").await, Err(SendError::Closed)));
    other.send("x").await.unwrap();
    assert_eq!(other.recv().await.unwrap(), Some("ok".into()));
}

/// SETTINGS_MAX_CONCURRENT_STREAMS = 1.
#[tokio::test]
async fn websocket_beyond_what_the_server_takes_at_once_waits_for_another_to_end() {
    let ByHand {
        connector,
        url,
        mut asked,
        goes_away: _stays,
    } = serve_by_hand(1).await;
    let connection = connector.connect_http2(&url).await.unwrap();
    let mut first = connector.connect_on(&connection, &url).await.unwrap();
    assert_eq!(asked.recv().await.unwrap(), "/chat");
    let timeouts = Timeouts {
        handshake: Some(50),
        ..Timeouts::NONE
    };
    let hasty = connector.clone().timeouts(timeouts);
    let gives_up = hasty
        .connect_on(&connection, &url.replace("chat", "hasty"))
        .await;
    assert!(
        matches!(gives_up, Err(ConnectError::TimedOut)),
        "{gives_up:?}"
    );
    let patient = url.replace("chat", "patient");
    let connecting = {
        let (connector, connection) = (connector.clone(), connection.clone());
        tokio::spawn(async move { connector.connect_on(&connection, &patient).await })
    };
    tokio::task::yield_now().await;
    first.close(CloseCode::NORMAL, "").unwrap();
    assert!(first.closed().await.is_clean());
    let mut ws = timeout(PATIENCE, connecting)
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    ws.send("x").await.unwrap();
    assert_eq!(ws.recv().await.unwrap(), Some("ok".into()));
    // The one that was given up was never asked for.
    assert_eq!(asked.recv().await.unwrap(), "/patient");
    assert!(asked.try_recv().is_err());
}

/// GOAWAY: those that are open stay so, and there are no more.
#[tokio::test]
async fn server_that_goes_away_keeps_what_is_open_and_takes_no_more() {
    let ByHand {
        connector,
        url,
        goes_away,
        mut asked,
    } = serve_by_hand(100).await;
    let connection = connector.connect_http2(&url).await.unwrap();
    let mut ws = connector.connect_on(&connection, &url).await.unwrap();
    assert_eq!(asked.recv().await.unwrap(), "/chat");
    goes_away.send(true).unwrap();
    let refused = async {
        loop {
            // Until the GOAWAY has come.
            match connector
                .connect_on(&connection, &url.replace("chat", "late"))
                .await
            {
                Ok(_) => tokio::task::yield_now().await,
                Err(error) => return error,
            }
        }
    };
    let error = timeout(PATIENCE, refused).await.unwrap();
    assert!(
        matches!(error, ConnectError::Http2(Http2Error::GoingAway)),
        "{error:?}"
    );
    assert_eq!(error.cause(), Cause::Unreachable);
    ws.send("x").await.unwrap();
    assert_eq!(ws.recv().await.unwrap(), Some("ok".into()));
}

#[tokio::test]
async fn connection_that_is_lost_takes_no_more() {
    let (connector, url) = serve(BOTH, async |stream| {
        let mut server = h2::server::Builder::new();
        server.enable_connect_protocol();
        let mut connection = server.handshake::<_, Bytes>(stream).await.unwrap();
        // It goes without a word at the first request.
        assert!(matches!(connection.accept().await, Some(Ok(_))));
    })
    .await;
    let connection = connector.connect_http2(&url).await.unwrap();
    let lost = connector.connect_on(&connection, &url).await.map(drop);
    assert!(matches!(lost, Err(ConnectError::Io(_))), "{lost:?}");
    let error = connector.connect_on(&connection, &url).await.map(drop);
    let error = error.unwrap_err();
    assert!(
        matches!(error, ConnectError::Http2(Http2Error::GoingAway)),
        "{error:?}"
    );
    assert_eq!(error.cause(), Cause::Unreachable);
}

/// RFC 9113 §8.2.2. The server is not asked, and the connection stays.
#[tokio::test]
async fn header_that_http2_forbids_is_a_mistake_of_this_side() {
    let (connector, url, _) = hyper(65_535).await;
    let connection = connector.connect_http2(&url).await.unwrap();
    for (name, value) in [
        ("Keep-Alive", "timeout=5"),
        ("Proxy-Connection", "keep-alive"),
        ("TE", "gzip"),
    ] {
        let connector = connector.clone().http2().header(name, value);
        for connected in [
            connector.connect_on(&connection, &url).await,
            connector.connect(&url).await,
        ] {
            let error = connected.map(drop).unwrap_err();
            assert!(
                matches!(error, ConnectError::Config(ConfigError::ReservedHeader)),
                "{error:?}"
            );
            assert_eq!(error.cause(), Cause::Local);
        }
    }
    let connector = connector.header("TE", "trailers");
    let mut ws = connector.connect_on(&connection, &url).await.unwrap();
    echoes(&mut ws, 1000).await;
}

#[tokio::test]
async fn connect_on_that_is_dropped_resets_its_stream_and_keeps_the_connection() {
    let (resets, mut reset) = mpsc::unbounded_channel();
    let (asks, mut asked) = mpsc::unbounded_channel();
    let (connector, url) = serve(BOTH, move |stream| {
        let (asks, resets) = (asks.clone(), resets.clone());
        async move {
            let mut server = h2::server::Builder::new();
            server.enable_connect_protocol().max_concurrent_streams(1);
            let mut connection = server.handshake::<_, Bytes>(stream).await.unwrap();
            while let Some(Ok((_request, mut respond))) = connection.accept().await {
                let (asks, resets) = (asks.clone(), resets.clone());
                tokio::spawn(async move {
                    asks.send(()).unwrap();
                    let reason = poll_fn(|cx| respond.poll_reset(cx)).await;
                    resets.send(reason.unwrap()).unwrap();
                });
            }
        }
    })
    .await;
    let connection = connector.connect_http2(&url).await.unwrap();
    for _ in 0..3 {
        tokio::select! {
            connected = connector.connect_on(&connection, &url) => panic!("{connected:?}"),
            asked = asked.recv() => asked.unwrap(),
        }
        let reason = timeout(PATIENCE, reset.recv()).await.unwrap();
        assert_eq!(reason, Some(Reason::CANCEL));
    }
}

/// The task of the connection goes with the last that needs it, and no sooner.
#[tokio::test]
async fn connection_goes_with_its_last_websocket() {
    let (connector, url, _) = hyper(65_535).await;
    let tasks = || Handle::current().metrics().num_alive_tasks();
    for opens in [true, true, false] {
        let connection = connector.connect_http2(&url).await.unwrap();
        if opens {
            let mut ws = connector.connect_on(&connection, &url).await.unwrap();
            drop(connection);
            let open = tasks();
            echoes(&mut ws, 1000).await;
            ws.close(CloseCode::NORMAL, "").unwrap();
            assert!(ws.closed().await.is_clean());
            assert!(open > 2);
        } else {
            drop(connection);
        }
        // The one that listens, and the one for the deadlines of all.
        let gone = async {
            while tasks() > 2 {
                tokio::task::yield_now().await;
            }
        };
        timeout(PATIENCE, gone).await.unwrap();
    }
}
