//! How connections end, and what is told of it.

use core::pin::Pin;
use core::task::{Context, Poll};
use core::time::Duration;
use std::io;

use futures_util::{SinkExt, StreamExt};
use motews_testkit::frame;
use motews_tokio::{
    Acceptor, CloseCode, Ended, Message, ProtocolViolation, RecvError, SendError, Side,
};
use tokio::io::{AsyncRead, AsyncWriteExt as _, ReadBuf};

use crate::support::{both, payload, server};

#[tokio::test(start_paused = true)]
async fn both_that_close_at_once_end_cleanly() {
    for holds in [1, 1 << 16] {
        let (mut server, mut client) = both(holds);
        server.close(CloseCode::NORMAL, "mine").unwrap();
        client.close(CloseCode::GOING_AWAY, "yours").unwrap();
        let (one, other) = tokio::join!(server.closed(), client.closed());
        assert!(one.is_clean() && other.is_clean(), "{one} {other}");
        assert_eq!(
            (one.code(), server.close_reason()),
            (CloseCode::GOING_AWAY, "yours")
        );
        assert_eq!(
            (other.code(), client.close_reason()),
            (CloseCode::NORMAL, "mine")
        );
        assert!(matches!(
            server.close(CloseCode::NORMAL, ""),
            Err(SendError::Closed)
        ));
        assert!(matches!(server.send("late").await, Err(SendError::Closed)));
        assert!(server.recv().await.unwrap().is_none());
    }
}

#[tokio::test(start_paused = true)]
async fn open_end_of_input_is_an_error_once_and_none_after() {
    let (mut ws, mut peer) = server(1000);
    peer.write(&[frame::text("last")]).await;
    peer.stream.shutdown().await.unwrap();
    assert_eq!(ws.recv().await.unwrap(), Some("last".into()));
    let error = ws.recv().await.unwrap_err();
    assert!(matches!(
        error,
        RecvError::Protocol(ProtocolViolation::UnexpectedEof)
    ));
    assert!(ws.recv().await.unwrap().is_none());
    let violation = Ended::Violation(ProtocolViolation::UnexpectedEof);
    assert_eq!(ws.ended(), Some(violation));
    assert_eq!(ws.closed().await, violation);
}

#[tokio::test(start_paused = true)]
async fn stream_and_sink_in_two_tasks_echo_and_close() {
    let (mut peer, ws) = both(300);
    let (mut sink, mut stream) = StreamExt::split(ws);
    let echoing = tokio::spawn(async move {
        while let Some(message) = stream.next().await {
            sink.send(message.unwrap()).await.unwrap();
        }
    });
    for len in [0, 10, 1000, 100_000] {
        let message = Message::from(payload(len));
        peer.feed(message.clone()).await.unwrap();
        assert_eq!(peer.recv().await.unwrap(), Some(message));
    }
    SinkExt::<Message>::close(&mut peer).await.unwrap();
    let ended = peer.closed().await;
    assert_eq!(ended.code(), CloseCode::NORMAL);
    assert!(ended.is_clean(), "{ended}");
    echoing.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn abort_ends_at_once_and_is_told() {
    let (mut server, mut client) = both(1000);
    server.abort();
    assert_eq!(server.ended(), Some(Ended::Aborted));
    assert!(server.recv().await.unwrap().is_none());
    assert!(matches!(client.recv().await, Err(RecvError::Protocol(_))));
}

/// The reply to a Close is not lost to a RST: what comes after it is drained.
#[tokio::test(start_paused = true)]
async fn peer_that_sends_behind_a_close_is_drained_for_a_second() {
    let (mut ws, mut peer) = server(1 << 16);
    peer.write(&[frame::close(1000, ""), frame::binary(payload(1000))])
        .await;
    let start = tokio::time::Instant::now();
    assert!(ws.recv().await.unwrap().is_none());
    assert_eq!(start.elapsed(), Duration::from_secs(1));
    let closed = Ended::Closed {
        code: CloseCode::NORMAL,
        by: Side::Remote,
        clean: true,
    };
    assert_eq!(ws.ended(), Some(closed));
    assert_eq!(peer.read().await, Some(frame::close(1000, "")));
    assert_eq!(peer.read().await, None);
}

#[tokio::test(start_paused = true)]
async fn transport_error_is_the_source_of_what_recv_returns() {
    let stream = tokio::io::join(Broken, tokio::io::sink());
    let mut ws = Acceptor::new().from_upgraded(stream, b"");
    let error = ws.recv().await.unwrap_err();
    assert!(matches!(&error, RecvError::Io(error) if error.to_string() == "the cable was cut"));
    assert_eq!(ws.ended(), Some(Ended::Lost));
}

/// A stream that fails when it is read.
struct Broken;

impl AsyncRead for Broken {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        _: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Poll::Ready(Err(io::Error::other("the cable was cut")))
    }
}
