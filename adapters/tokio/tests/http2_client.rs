//! A client's WebSockets over HTTP/2 (RFC 8441), and over HTTP/1.1 where the server takes none there.

#[path = "support/http2.rs"]
mod support;

use core::convert::Infallible;
use core::future::Future;
use core::sync::atomic::{AtomicUsize, Ordering};
use core::time::Duration;
use std::io;
use std::sync::Arc;

use crate::support::{BOTH, Stream, serve, speaks_http2};
use bytes::Bytes;
use h2::Reason;
use hyper::body::Incoming;
use hyper::server::conn::http2::Builder;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use motews_tokio::http::{Request, Response, StatusCode, Version, header};
use motews_tokio::{
    Acceptor, CloseCode, ConnectError, Connector, NetStream, ProtocolViolation, RecvError,
    RedirectPolicy, Timeouts,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::runtime::Handle;

/// An echo by HTTP/1.1.
async fn echo_http1(stream: Stream) {
    let mut ws = Acceptor::new().accept(stream).await.unwrap();
    while let Some(message) = ws.recv().await.unwrap() {
        ws.send(message).await.unwrap();
    }
}

/// An echo by hyper; other paths than `/chat` are refused, or lead there.
async fn answer(request: Request<Incoming>) -> Result<Response<String>, Infallible> {
    let (mut parts, _) = request.into_parts();
    assert_eq!(parts.version, Version::HTTP_2);
    assert_eq!(parts.uri.scheme_str(), Some("https"));
    assert_eq!(parts.headers["x-api-key"], "42");
    let mut response = Response::new(String::new());
    match parts.uri.path() {
        "/chat" => {}
        "/moved" => {
            *response.status_mut() = StatusCode::TEMPORARY_REDIRECT;
            let headers = response.headers_mut();
            headers.insert(header::LOCATION, "/chat".parse().unwrap());
            return Ok(response);
        }
        _ => {
            *response.status_mut() = StatusCode::FORBIDDEN;
            *response.body_mut() = "not here".to_owned();
            return Ok(response);
        }
    }
    let acceptor = Acceptor::new().subprotocols(["chat"]);
    #[cfg(feature = "deflate")]
    let acceptor = acceptor.deflate(motews_tokio::DeflateConfig::DEFAULT);
    let (accepted, upgrading) = acceptor.upgrade(&mut parts).unwrap();
    tokio::spawn(async move {
        let mut ws = upgrading.open().await.unwrap();
        while let Some(message) = ws.recv().await.unwrap() {
            ws.send(message).await.unwrap();
        }
        assert!(ws.ended().unwrap().is_clean());
    });
    Ok(accepted.map(|_| String::new()))
}

/// hyper's server, with a window of so many bytes for each stream.
async fn hyper(stream: Stream, window: u32) {
    assert!(speaks_http2(&stream));
    let mut server = Builder::new(TokioExecutor::new());
    server.enable_connect_protocol();
    server.initial_stream_window_size(window);
    let served = server.serve_connection(TokioIo::new(stream), service_fn(answer));
    let _ = served.await;
}

async fn talk(connector: &Connector, url: &str, lens: &[usize]) {
    let connector = connector.clone().subprotocols(["other", "chat"]);
    let (mut ws, response) = connector.connect_with_response(url).await.unwrap();
    assert!(matches!(ws.stream(), Some(NetStream::Http2(_))));
    assert!(ws.stream().unwrap().tcp().is_none());
    assert_eq!(response.status(), 200);
    assert_eq!(ws.subprotocol(), Some("chat"));
    for &len in lens {
        let message: Vec<u8> = (0..251).cycle().take(len).collect();
        ws.send(message.clone()).await.unwrap();
        assert_eq!(ws.recv().await.unwrap(), Some(message.into()));
    }
    ws.close(CloseCode::NORMAL, "").unwrap();
    assert!(ws.closed().await.is_clean());
}

#[tokio::test]
async fn messages_of_all_sizes_pass_both_ways_and_it_closes_clean() {
    let (connector, url) = serve(BOTH, |stream| hyper(stream, 65_535)).await;
    let connector = connector.http2().header("x-api-key", "42");
    let lens = [0, 1, 125, 65_535, 65_536, 1 << 20];
    talk(&connector, &url, &lens).await;
    #[cfg(feature = "deflate")]
    {
        let connector = connector.deflate(motews_tokio::DeflateConfig::DEFAULT);
        let ws = connector.connect(&url).await.unwrap();
        assert!(ws.deflate().is_some());
        talk(&connector, &url, &lens).await;
    }
}

#[tokio::test]
async fn messages_pass_through_windows_of_one_byte() {
    let (connector, url) = serve(BOTH, |stream| hyper(stream, 1)).await;
    let connector = connector.http2().header("x-api-key", "42");
    talk(&connector, &url, &[0, 1, 1000]).await;
}

#[tokio::test]
async fn refusal_has_its_body_and_a_redirect_is_followed() {
    let (connector, url) = serve(BOTH, |stream| hyper(stream, 65_535)).await;
    let connector = connector.http2().header("x-api-key", "42");
    let other = url.replace("chat", "other");
    match connector.connect(&other).await {
        Err(ConnectError::Refused(response)) => {
            assert_eq!(response.status(), 403);
            assert_eq!(response.body(), "not here");
        }
        other => panic!("{other:?}"),
    }
    let connector = connector.redirects(RedirectPolicy::DEFAULT);
    talk(&connector, &url.replace("chat", "moved"), &[1]).await;
}

/// Servers that speak HTTP/2 and take no WebSockets there, that refuse this one, or that do not speak it.
#[tokio::test]
async fn server_without_websockets_over_http2_is_asked_over_http1() {
    let no_connect = async |stream: Stream| {
        let server = Builder::new(TokioExecutor::new());
        let served = server.serve_connection(TokioIo::new(stream), service_fn(answer));
        let _ = served.await;
    };
    let refuses = async |stream: Stream| {
        let mut server = h2::server::Builder::new();
        let handshake = server
            .enable_connect_protocol()
            .handshake::<_, Bytes>(stream);
        let mut connection = handshake.await.unwrap();
        let (_, mut respond) = connection.accept().await.unwrap().unwrap();
        respond.send_reset(Reason::HTTP_1_1_REQUIRED);
        while connection.accept().await.is_some() {}
    };
    let protocols: [(&[&[u8]], usize, bool); 4] = [
        (BOTH, 2, false),
        (BOTH, 2, true),
        (&[b"http/1.1"], 1, false),
        (&[], 1, false),
    ];
    for (protocols, expected, is_refused) in protocols {
        let connections = Arc::new(AtomicUsize::new(0));
        let counted = connections.clone();
        let (connector, url) = serve(protocols, move |stream| {
            counted.fetch_add(1, Ordering::Relaxed);
            async move {
                match (speaks_http2(&stream), is_refused) {
                    (true, true) => refuses(stream).await,
                    (true, false) => no_connect(stream).await,
                    (false, _) => echo_http1(stream).await,
                }
            }
        })
        .await;
        let mut ws = connector.http2().connect(&url).await.unwrap();
        assert!(matches!(ws.stream(), Some(NetStream::Tls(_))));
        ws.send("Hello").await.unwrap();
        assert_eq!(ws.recv().await.unwrap(), Some("Hello".into()));
        assert_eq!(connections.load(Ordering::Relaxed), expected);
    }
}

/// One who has not asked for it offers nothing.
#[tokio::test]
async fn client_that_was_not_told_to_offers_no_http2() {
    let (connector, url) = serve(BOTH, async |stream| {
        assert!(stream.get_ref().1.alpn_protocol().is_none());
        echo_http1(stream).await;
    })
    .await;
    let mut ws = connector.connect(&url).await.unwrap();
    assert!(matches!(ws.stream(), Some(NetStream::Tls(_))));
    ws.send("Hello").await.unwrap();
    assert_eq!(ws.recv().await.unwrap(), Some("Hello".into()));
}

/// A frame's type and flags, and its payload.
async fn frame(stream: &mut Stream) -> (u8, u8, Vec<u8>) {
    let mut head = [0; 9];
    stream.read_exact(&mut head).await.unwrap();
    let len = u32::from_be_bytes([0, head[0], head[1], head[2]]);
    let mut payload = vec![0; len as usize];
    stream.read_exact(&mut payload).await.unwrap();
    (head[3], head[4], payload)
}

const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const WINDOW_UPDATE: u8 = 8;
const ACK: u8 = 1;

async fn settings_come_late(mut stream: Stream, asked: tokio::sync::mpsc::UnboundedSender<()>) {
    let mut preface = [0; 24];
    stream.read_exact(&mut preface).await.unwrap();
    let ping = loop {
        match frame(&mut stream).await {
            (PING, 0, payload) => break payload,
            (SETTINGS | WINDOW_UPDATE, 0, _) => {}
            (other, ..) => panic!("{other}"),
        }
    };
    // SETTINGS_ENABLE_CONNECT_PROTOCOL = 1.
    stream
        .write_all(&[0, 0, 6, SETTINGS, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 1])
        .await
        .unwrap();
    stream
        .write_all(&[0, 0, 8, PING, ACK, 0, 0, 0, 0])
        .await
        .unwrap();
    stream.write_all(&ping).await.unwrap();
    loop {
        match frame(&mut stream).await {
            (SETTINGS, ACK, _) | (WINDOW_UPDATE, ..) => {}
            (HEADERS, ..) => break,
            (other, ..) => panic!("{other}"),
        }
    }
    asked.send(()).unwrap();
}

/// RFC 8441 §3: a server whose SETTINGS come late has not been asked before.
#[tokio::test]
async fn nothing_is_asked_before_the_settings_have_come() {
    let (asked, mut asks) = tokio::sync::mpsc::unbounded_channel();
    let (connector, url) = serve(BOTH, move |stream| {
        settings_come_late(stream, asked.clone())
    })
    .await;
    let error = connector.http2().connect(&url).await.map(drop).unwrap_err();
    assert!(matches!(error, ConnectError::Io(_)), "{error:?}");
    assert_eq!(asks.try_recv(), Ok(()));
}

#[tokio::test(start_paused = true)]
async fn server_that_never_sends_its_settings_is_given_up_in_time() {
    let (connector, url) = serve(BOTH, async |mut stream| {
        let mut all = Vec::new();
        let _ = stream.read_to_end(&mut all).await;
    })
    .await;
    let timeouts = Timeouts {
        handshake: Some(10_000),
        ..Timeouts::NONE
    };
    let connector = connector.http2().timeouts(timeouts).connect_timeout(None);
    let connected = connector.connect(&url).await;
    assert!(
        matches!(connected, Err(ConnectError::TimedOut)),
        "{connected:?}"
    );
}

/// A server that accepts one WebSocket by hand, and then does this with its halves.
async fn by_hand<F>(
    each: impl Fn(h2::RecvStream, h2::SendStream<Bytes>) -> F + Clone + Send + Sync + 'static,
) -> (Connector, String)
where
    F: Future<Output = ()> + Send + 'static,
{
    serve(BOTH, move |stream| {
        let each = each.clone();
        async move {
            let mut server = h2::server::Builder::new();
            let handshake = server.enable_connect_protocol().handshake(stream);
            let mut connection = handshake.await.unwrap();
            while let Some(Ok((request, mut respond))) = connection.accept().await {
                let protocol = request.extensions().get::<h2::ext::Protocol>();
                assert_eq!(protocol.unwrap().as_str(), "websocket");
                assert_eq!(request.headers()["sec-websocket-version"], "13");
                assert!(!request.headers().contains_key("sec-websocket-key"));
                let send = respond.send_response(Response::new(()), false).unwrap();
                tokio::spawn(each(request.into_body(), send));
            }
        }
    })
    .await
}

#[tokio::test]
async fn stream_that_is_reset_is_a_connection_reset() {
    let (connector, url) = by_hand(async |_receive, mut send| {
        send.send_reset(Reason::CANCEL);
    })
    .await;
    let mut ws = connector.http2().connect(&url).await.unwrap();
    match ws.recv().await {
        Err(RecvError::Io(error)) => assert_eq!(error.kind(), io::ErrorKind::ConnectionReset),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn stream_that_ends_without_a_close_is_an_unexpected_end() {
    let (connector, url) = by_hand(async |_receive, mut send| {
        send.send_data(Bytes::new(), true).unwrap();
        core::future::pending().await
    })
    .await;
    let mut ws = connector.http2().connect(&url).await.unwrap();
    let received = ws.recv().await;
    let is_right = matches!(
        received,
        Err(RecvError::Protocol(ProtocolViolation::UnexpectedEof))
    );
    assert!(is_right, "{received:?}");
}

/// Frames stay masked (RFC 8441 §5.1), and END_STREAM comes behind the Close.
#[tokio::test]
async fn frames_are_masked_and_the_stream_ends_behind_the_close() {
    let (seen, mut frames) = tokio::sync::mpsc::unbounded_channel();
    let (connector, url) = by_hand(move |mut receive, mut send| {
        let seen = seen.clone();
        async move {
            let mut all = Vec::new();
            let mut is_closed = false;
            while let Some(data) = receive.data().await {
                let data = data.unwrap();
                receive.flow_control().release_capacity(data.len()).unwrap();
                all.extend_from_slice(&data);
                // A text of 5 bytes and a Close of 2.
                if all.len() == 11 + 8 && !core::mem::replace(&mut is_closed, true) {
                    let close = Bytes::from_static(&[0x88, 2, 3, 0xe8]);
                    send.send_data(close, true).unwrap();
                }
            }
            seen.send(all).unwrap();
        }
    })
    .await;
    let mut ws = connector.http2().connect(&url).await.unwrap();
    ws.send("Hello").await.unwrap();
    ws.close(CloseCode::NORMAL, "").unwrap();
    assert!(ws.closed().await.is_clean());
    let frames = frames.recv().await.unwrap();
    assert_eq!(frames[..2], [0x81, 0x80 | 5]);
    let text: Vec<u8> = (0..5).map(|n| frames[6 + n] ^ frames[2 + n % 4]).collect();
    assert_eq!(text, b"Hello");
    assert_eq!(frames[11..13], [0x88, 0x80 | 2]);
}

/// A peer that stops reading does not keep the connection's task for ever.
#[tokio::test(start_paused = true)]
async fn connection_that_was_dropped_is_gone_though_the_peer_reads_nothing() {
    let (opened, is_open) = tokio::sync::watch::channel(false);
    let (connector, url) = serve(BOTH, move |stream| {
        let mut is_open = is_open.clone();
        async move {
            // The window is as large as it may be, and nobody reads what is sent into it.
            let mut server = h2::server::Builder::new();
            server.enable_connect_protocol();
            server.initial_window_size((1 << 31) - 1);
            server.initial_connection_window_size((1 << 31) - 1);
            let mut connection = server.handshake::<_, Bytes>(stream).await.unwrap();
            let (request, mut respond) = connection.accept().await.unwrap().unwrap();
            let _send = respond.send_response(Response::new(()), false).unwrap();
            // Until the response has been read, and no longer.
            tokio::select! {
                _ = connection.accept() => panic!("another request"),
                opened = is_open.wait_for(|is_open| *is_open) => drop(opened.unwrap()),
            }
            let _kept = (request, connection);
            core::future::pending().await
        }
    })
    .await;
    let connector = connector
        .http2()
        .timeouts(Timeouts::NONE)
        .connect_timeout(None);
    let mut ws = connector.connect(&url).await.unwrap();
    opened.send(true).unwrap();
    let tasks = Handle::current().metrics().num_alive_tasks();
    let stuck = async {
        loop {
            ws.send(vec![0; 1 << 20]).await.unwrap();
        }
    };
    tokio::time::timeout(Duration::from_secs(60), stuck)
        .await
        .unwrap_err();
    drop(ws);
    tokio::time::sleep(Duration::from_secs(6)).await;
    let left = Handle::current().metrics().num_alive_tasks();
    assert_eq!(left, tasks - 1);
}
