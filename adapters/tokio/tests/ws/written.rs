//! What was sent has left when a call says so, and what is owed leaves in time.

use core::future::Future as _;
use core::pin::Pin;
use core::task::{Context, Poll};
use core::time::Duration;
use std::io;

use futures_util::SinkExt;
use motews_testkit::frame;
use motews_tokio::{
    Acceptor, CloseCode, Ended, Message, ProtocolViolation, RecvError, SendError, Timeouts,
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf, duplex};
use tokio::time::{Instant, Sleep, sleep, timeout};

use crate::support::{payload, server, server_with};

const SOON: Duration = Duration::from_secs(1);

// ---- what was thrown away ----

#[tokio::test(start_paused = true)]
async fn send_and_flush_fail_if_another_sender_has_given_the_connection_up() {
    let (ws, _peer) = server(64);
    let (sender, mut receiver) = ws.split();
    let (other, flusher) = (sender.clone(), sender.clone());
    let sending = tokio::spawn(async move { sender.send(payload(5000)).await });
    let flushing = tokio::spawn(async move { flusher.flush().await });
    sleep(SOON).await;
    other.abort();
    assert!(matches!(sending.await.unwrap(), Err(SendError::Closed)));
    assert!(matches!(flushing.await.unwrap(), Err(SendError::Closed)));
    assert!(matches!(other.flush().await, Err(SendError::Closed)));
    assert!(receiver.recv().await.unwrap().is_none());
}

#[tokio::test(start_paused = true)]
async fn send_fails_if_the_receiver_finds_that_the_peer_does_not_read() {
    let (ws, _peer) = server(64);
    let (sender, mut receiver) = ws.split();
    let receiving = tokio::spawn(async move { receiver.recv().await });
    sleep(SOON).await;
    let sent = sender.send(payload(5000)).await;
    assert!(matches!(sent, Err(SendError::TimedOut)), "{sent:?}");
    assert!(matches!(
        receiving.await.unwrap(),
        Err(RecvError::TimedOut(_))
    ));
}

/// A session that ends with nothing left is no failure of what has left.
#[tokio::test(start_paused = true)]
async fn flush_of_what_has_left_succeeds_after_the_end() {
    let (mut ws, mut peer) = server(1 << 16);
    ws.send("x").await.unwrap();
    ws.close(CloseCode::NORMAL, "").unwrap();
    tokio::join!(ws.closed(), peer.finish());
    ws.flush().await.unwrap();
}

/// The stream has ended for reading, takes 10,000 bytes, and fails a second later.
struct Reset {
    room: usize,
    fails: Pin<Box<Sleep>>,
}

impl AsyncRead for Reset {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        _: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Reset {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let taken = bytes.len().min(self.room);
        self.room -= taken;
        if taken > 0 {
            return Poll::Ready(Ok(taken));
        }
        let reset = || Err(io::ErrorKind::ConnectionReset.into());
        self.fails.as_mut().poll(cx).map(|()| reset())
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[tokio::test(start_paused = true)]
async fn end_of_input_stands_as_soon_as_writing_fails() {
    for write in [Some(30_000), None] {
        let stream = Reset {
            room: 10_000,
            fails: Box::pin(sleep(SOON)),
        };
        let timeouts = Timeouts {
            write,
            ..Timeouts::DEFAULT
        };
        let acceptor = Acceptor::new().timeouts(timeouts);
        let mut ws = acceptor.from_upgraded(stream, b"");
        ws.feed(payload(20_000)).await.unwrap();
        let start = Instant::now();
        let received = timeout(10 * SOON, ws.recv()).await.unwrap();
        let eof = ProtocolViolation::UnexpectedEof;
        assert!(matches!(received, Err(RecvError::Protocol(error)) if error == eof));
        assert_eq!(start.elapsed(), SOON);
        assert_eq!(ws.ended(), Some(Ended::Violation(eof)));
    }
}

/// The receiver waits for a peer that is silent, not for its keepalive.
#[tokio::test(start_paused = true)]
async fn receiver_learns_at_once_that_a_sender_could_not_write() {
    let (reads, _peer) = duplex(64);
    // It fails at once, and wakes nobody.
    let mut fails = Box::pin(sleep(SOON));
    fails.as_mut().await;
    let writes = Reset { room: 0, fails };
    let stream = tokio::io::join(reads, writes);
    let (sender, mut receiver) = Acceptor::new().from_upgraded(stream, b"").split();
    let receiving = tokio::spawn(async move { receiver.recv().await });
    tokio::task::yield_now().await;
    assert!(sender.send(payload(20_000)).await.is_err());
    let received = timeout(SOON, receiving).await.unwrap().unwrap();
    assert!(matches!(received, Err(RecvError::Io(_))), "{received:?}");
}

// ---- the Close ----

/// As much as may wait before what is owed is appended, and more.
#[tokio::test(start_paused = true)]
async fn close_behind_much_that_waits_has_left_when_sink_close_or_flush_returns() {
    for len in [1000, 20_000] {
        for by_sink in [true, false] {
            let (mut ws, mut peer) = server(1 << 20);
            ws.feed(payload(len)).await.unwrap();
            if by_sink {
                SinkExt::<Message>::close(&mut ws).await.unwrap();
            } else {
                ws.close(CloseCode::NORMAL, "").unwrap();
                ws.flush().await.unwrap();
            }
            drop(ws);
            assert_eq!(peer.read().await, Some(frame::binary(payload(len))));
            assert_eq!(
                peer.read().await,
                Some(frame::close(1000, "")),
                "{len} {by_sink}"
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn close_by_the_sink_of_a_sender_that_nobody_answers_ends_in_its_time() {
    for keepalive in [Some(30_000), None] {
        let timeouts = Timeouts {
            keepalive,
            ..Timeouts::DEFAULT
        };
        let acceptor = Acceptor::new().timeouts(timeouts);
        let (ws, _peer) = server_with(&acceptor, 1000);
        let (mut sender, mut receiver) = ws.split();
        let receiving = tokio::spawn(async move { receiver.closed().await });
        sleep(SOON).await;
        let start = Instant::now();
        SinkExt::<Message>::close(&mut sender).await.unwrap();
        let ended = timeout(60 * SOON, receiving).await.unwrap().unwrap();
        assert!(!ended.is_clean());
        // The Close itself bought 32 ms.
        assert_eq!(start.elapsed(), Duration::from_millis(5_032));
    }
}

/// Whoever has forwarded to the sink and waits for the peer's Close does not spin.
#[tokio::test(start_paused = true)]
async fn flush_of_a_connection_that_closes_wakes_the_reader_once() {
    let (ws, _peer) = server(1000);
    let (mut sender, mut receiver) = ws.split();
    let mut polls = 0;
    let both = core::future::poll_fn(|cx| {
        polls += 1;
        let received = Pin::new(&mut receiver);
        let ended = futures_util::Stream::poll_next(received, cx);
        let closed = futures_util::Sink::<Message>::poll_close(Pin::new(&mut sender), cx);
        assert!(closed.is_ready());
        ended
    });
    both.await;
    assert!(polls < 20, "{polls}");
}

// ---- pongs ----

#[tokio::test(start_paused = true)]
async fn pong_to_a_ping_before_a_message_in_one_read_leaves_with_that_message() {
    let (mut ws, mut peer) = server(1000);
    let frames = [frame::ping("p"), frame::text("x")];
    peer.write(&frames).await;
    ws.recv().await.unwrap().unwrap();
    let pong = timeout(SOON, peer.read()).await.unwrap();
    assert_eq!(pong, Some(frame::pong("p")));

    let (_sender, mut receiver) = ws.split();
    peer.write(&frames).await;
    receiver.recv().await.unwrap().unwrap();
    let pong = timeout(SOON, peer.read()).await.unwrap();
    assert_eq!(pong, Some(frame::pong("p")));
}
