//! When what is sent leaves, what a sender waits for, and what it gets back.

use core::pin::{Pin, pin};
use core::task::{Context, Poll, Waker};
use core::time::Duration;
use std::io;
use std::sync::Arc;

use motews_testkit::frame::{self, Frame};
use motews_tokio::{Acceptor, CloseCode, Limits, Message, SendError, TrySendError};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf, duplex};
use tokio::time::Instant;

use crate::support::{Counting, Counts, Peer, both, encode, payload, server, server_with};

/// Replies to sixteen messages that came in one read.
#[tokio::test(start_paused = true)]
async fn sixteen_messages_in_one_read_answered_leave_in_one_write() {
    let (inner, peer) = duplex(1 << 16);
    let mut peer = Peer::new(peer);
    let counts = Arc::<Counts>::default();
    let stream = Counting {
        inner,
        counts: counts.clone(),
    };
    let mut ws = Acceptor::new().from_upgraded(stream, b"");
    let frames: Vec<Frame> = (0..16)
        .map(|n| frame::text(format!("message {n}")))
        .collect();
    for _ in 0..3 {
        peer.write(&frames).await;
        let before = counts.writes();
        for _ in 0..16 {
            let message = ws.recv().await.unwrap().unwrap();
            ws.send(message).await.unwrap();
        }
        assert_eq!(counts.writes(), before + 1);
        for frame in &frames {
            assert_eq!(peer.read().await.as_ref(), Some(frame));
        }
    }
    // A single one leaves at once.
    peer.write(&frames[..1]).await;
    let message = ws.recv().await.unwrap().unwrap();
    ws.send(message).await.unwrap();
    assert_eq!(counts.writes(), 4);
}

/// The first of sixteen is answered, and nothing more is done.
#[tokio::test(start_paused = true)]
async fn reply_to_the_first_of_sixteen_leaves_with_flush_or_the_next_recv_without_a_message() {
    let frames = vec![frame::text("x"); 16];
    let (mut ws, mut peer) = server(1 << 16);
    peer.write(&frames).await;
    ws.recv().await.unwrap().unwrap();
    ws.send("reply").await.unwrap();
    assert!(ws.buffered_amount() > 0);
    ws.flush().await.unwrap();
    assert_eq!(peer.read().await, Some(frame::text("reply")));

    for _ in 1..16 {
        ws.recv().await.unwrap().unwrap();
        ws.feed("fed").await.unwrap();
    }
    assert!(ws.buffered_amount() > 0);
    tokio::select! {
        biased;
        message = ws.recv() => panic!("{message:?}"),
        fed = peer.read() => assert_eq!(fed, Some(frame::text("fed"))),
    }
}

/// Messages before a Close in the same read can be answered, though a sender that waits reads ahead.
#[tokio::test(start_paused = true)]
async fn messages_and_a_close_in_one_read_are_all_answered() {
    for holds in [16, 1 << 16] {
        // What comes is all there; what goes has little room.
        let (reads, mut given) = duplex(1 << 16);
        let (writes, mut taken) = duplex(holds);
        let stream = tokio::io::join(reads, writes);
        let mut ws = Acceptor::new().max_backlog(1).from_upgraded(stream, b"");
        let mut frames = vec![frame::binary(payload(1000)); 5];
        frames.push(frame::close(1000, ""));
        given.write_all(&encode(&frames)).await.unwrap();
        let echo = async {
            while let Some(message) = ws.recv().await.unwrap() {
                ws.send(message).await.unwrap();
            }
            assert!(ws.ended().unwrap().is_clean());
        };
        let mut read = Vec::new();
        let (_, result) = tokio::join!(echo, taken.read_to_end(&mut read));
        result.unwrap();
        let echoed: Vec<u8> = frames.iter().flat_map(|frame| frame.encode(None)).collect();
        assert_eq!(read, echoed);
    }
}

#[tokio::test(start_paused = true)]
async fn peers_that_both_send_first_finish_when_the_one_that_is_told_receives() {
    let (mut server, mut client) = both(4096);
    let count = 40;
    let part = payload(100_000);
    let talk = async |ws: &mut dyn Talk| {
        let mut received = 0;
        for _ in 0..count {
            while let Err(SendError::InboundFull) = ws.send(&part).await {
                assert_eq!(ws.recv().await, part);
                received += 1;
            }
        }
        while received < count {
            assert_eq!(ws.recv().await, part);
            received += 1;
        }
        ws.flush().await;
    };
    let limit = Duration::from_secs(25); // less than the time for writing
    let talks = async { tokio::join!(talk(&mut server), talk(&mut client)) };
    tokio::time::timeout(limit, talks)
        .await
        .expect("both finish");
}

/// Both roles in one function.
trait Talk {
    fn send<'a>(&'a mut self, part: &'a [u8]) -> Pinned<'a, Result<(), SendError>>;
    fn recv(&mut self) -> Pinned<'_, Vec<u8>>;
    fn flush(&mut self) -> Pinned<'_, ()>;
}

type Pinned<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;

macro_rules! talk {
    ($type:ty) => {
        impl Talk for $type {
            fn send<'a>(&'a mut self, part: &'a [u8]) -> Pinned<'a, Result<(), SendError>> {
                Box::pin(self.send(part))
            }

            fn recv(&mut self) -> Pinned<'_, Vec<u8>> {
                Box::pin(async { self.recv().await.unwrap().unwrap().into_bytes().to_vec() })
            }

            fn flush(&mut self) -> Pinned<'_, ()> {
                Box::pin(async {
                    while let Err(SendError::InboundFull) = self.flush().await {
                        panic!("it receives everything");
                    }
                })
            }
        }
    };
}

talk!(crate::support::ServerWs);
talk!(crate::support::ClientWs);

#[tokio::test(start_paused = true)]
async fn try_send_without_room_gives_the_message_back() {
    let (mut ws, mut peer) = server(100);
    let mut taken = 0;
    let back = loop {
        match ws.try_send(payload(10_000)) {
            Ok(()) => taken += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(&back, TrySendError::Full(_)), "{back:?}");
    assert_eq!(back.into_message(), Message::binary(payload(10_000)));
    // 64 KiB, and the one that reaches it.
    assert_eq!(taken, 7);
    let flushing = async { ws.flush().await.unwrap() };
    let reading = async {
        for _ in 0..taken {
            assert_eq!(peer.read().await, Some(frame::binary(payload(10_000))));
        }
    };
    tokio::join!(flushing, reading);
    ws.close(CloseCode::NORMAL, "").unwrap();
    let back = ws.try_send("late").unwrap_err();
    assert!(
        matches!(&back, TrySendError::Failed(_, SendError::Closed)),
        "{back:?}"
    );
    assert_eq!(back.into_message(), "late".into());
}

/// In each state in which nothing can be sent, or not now.
#[tokio::test(start_paused = true)]
async fn try_send_in_any_state_gives_the_message_back() {
    let assert_back = |result: Result<(), TrySendError>, is_full: bool| {
        let error = result.unwrap_err();
        assert_eq!(matches!(error, TrySendError::Full(_)), is_full, "{error}");
        assert_eq!(error.into_message(), "kept".into());
    };
    // It has sent a Close; it has received one, and its own has left; the end.
    let (mut ws, mut peer) = server(100);
    ws.close(CloseCode::NORMAL, "").unwrap();
    assert_back(ws.try_send("kept"), false);
    tokio::join!(ws.closed(), peer.finish());
    assert_back(ws.try_send("kept"), false);
    let (mut ws, mut peer) = server(100);
    peer.write(&[frame::close(1000, "")]).await;
    tokio::select! {
        biased;
        message = ws.recv() => panic!("{message:?}"),
        () = tokio::task::yield_now() => {}
    }
    assert_back(ws.try_send("kept"), false);
    // It was given up; its peer is gone.
    let (mut ws, _peer) = server(100);
    ws.abort();
    assert_back(ws.try_send("kept"), false);
    let (mut ws, peer) = server(100);
    drop(peer);
    ws.recv().await.unwrap_err();
    assert_back(ws.try_send("kept"), false);
    // Another sender is in the midst of a message, and waits for its peer.
    let (ws, mut peer) = server(100);
    let (sender, receiver) = ws.split();
    let mut message = sender.stream_text();
    message.write("a").await.unwrap();
    message.flush().await.unwrap();
    assert_back(sender.clone().try_send("kept"), true);
    message.finish().await.unwrap();
    sender.try_send("sent").unwrap();
    // A permit that is not used takes no room, and keeps nobody.
    for _ in 0..3 {
        sender.reserve().await.map(drop).unwrap();
    }
    sender.try_send(payload(70_000)).unwrap();
    assert_back(sender.try_send("kept"), true);
    // The other half is gone.
    drop(receiver);
    assert_back(sender.try_send("kept"), true);
    let reading = async {
        while let Some(frame) = peer.read().await {
            if frame == frame::text("last") {
                return;
            }
        }
    };
    let sending = async {
        sender.send("last").await.unwrap();
        sender.flush().await.unwrap();
    };
    tokio::join!(reading, sending);
}

/// A permit is nobody's but its holder's: others that wait for room get it.
#[tokio::test(start_paused = true)]
async fn permits_that_are_dropped_leave_the_room_to_those_who_wait() {
    let (ws, mut peer) = server(100);
    let (sender, _receiver) = ws.split();
    sender.try_send(payload(70_000)).unwrap();
    let one = async {
        for _ in 0..3 {
            sender.reserve().await.map(drop).unwrap();
        }
        core::future::pending::<()>().await;
    };
    let others = async {
        tokio::join!(async { sender.send("one").await.unwrap() }, async {
            sender.send("two").await.unwrap()
        },);
    };
    let reading = async {
        for _ in 0..3 {
            peer.read().await.unwrap();
        }
    };
    let both = async { tokio::join!(others, reading) };
    tokio::select! {
        () = one => {}
        _ = both => {}
        () = tokio::time::sleep(Duration::from_secs(5)) => panic!("the others wait for ever"),
    }
}

/// The method of the trait writes at once, though other messages wait to be answered.
#[tokio::test(start_paused = true)]
async fn reply_by_the_sink_to_the_first_of_sixteen_leaves_at_once() {
    use futures_util::SinkExt;

    let (mut ws, mut peer) = server(1 << 16);
    peer.write(&vec![frame::text("x"); 16]).await;
    let message = ws.recv().await.unwrap().unwrap();
    SinkExt::send(&mut ws, message).await.unwrap();
    assert_eq!(ws.buffered_amount(), 0);
    let start = Instant::now();
    assert_eq!(peer.read().await, Some(frame::text("x")));
    assert_eq!(start.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn backlog_of_no_or_one_byte_takes_one_message_at_a_time() {
    for max_backlog in [0, 1] {
        let acceptor = Acceptor::new()
            .max_backlog(max_backlog)
            .max_inbound(max_backlog);
        let (mut ws, mut peer) = server_with(&acceptor, 64);
        ws.try_send(payload(1000)).unwrap();
        assert!(matches!(ws.try_send("x"), Err(TrySendError::Full(_))));
        let sending = async {
            ws.send(payload(1000)).await.unwrap();
            ws.send("end").await.unwrap();
        };
        let reading = async {
            for _ in 0..2 {
                assert_eq!(peer.read().await, Some(frame::binary(payload(1000))));
            }
            assert_eq!(peer.read().await, Some(frame::text("end")));
        };
        tokio::join!(sending, reading);
    }
}

#[tokio::test(start_paused = true)]
async fn message_at_its_limit_is_received_and_one_byte_more_is_refused() {
    for limit in [0_usize, 1, 125, 126, 70_000] {
        let limits = Limits {
            message: limit as u64,
            ..Limits::DEFAULT
        };
        let acceptor = Acceptor::new().limits(limits);
        let (mut ws, mut peer) = server_with(&acceptor, 1 << 20);
        peer.write(&[
            frame::binary(payload(limit)),
            frame::binary(payload(limit + 1)),
        ])
        .await;
        assert_eq!(ws.recv().await.unwrap().unwrap().len(), limit);
        drop(peer.stream.shutdown().await);
        let error = ws.recv().await.unwrap_err();
        assert!(error.to_string().contains("Limits::message"), "{error}");
        assert_eq!(peer.read().await.unwrap().close_code(), Some(1009));
        assert!(
            ws.recv().await.unwrap().is_none(),
            "an error is returned once"
        );
    }
}

/// A kept message does not keep what it came with.
#[tokio::test(start_paused = true)]
async fn message_kept_takes_at_most_twice_its_length_and_64_bytes() {
    let (mut ws, mut peer) = server(1 << 20);
    let lens = [1, 16, 1000, 30_000, 65_000, 100_000, 200_001];
    for len in lens {
        peer.write(&[frame::binary(payload(len)), frame::text("after")])
            .await;
        // The same in three fragments.
        let (start, rest) = (len / 3, len / 3 * 2);
        let bytes = payload(len);
        peer.write(&[
            frame::frame(0x02, &bytes[..start]),
            frame::frame(0x00, &bytes[start..rest]),
            frame::continuation(&bytes[rest..]),
        ])
        .await;
        let mut kept = Vec::new();
        for _ in 0..3 {
            kept.push(ws.recv().await.unwrap().unwrap());
        }
        for message in kept {
            let (is_text, len) = (message.as_text().is_some(), message.len());
            let bytes = message.into_bytes().try_into_mut().expect("its only owner");
            assert!(
                bytes.capacity() <= 2 * len + 64,
                "{len}: {}",
                bytes.capacity()
            );
            assert!(is_text || bytes[..] == payload(len)[..]);
        }
    }
}

/// A stream that has no room at the first attempt to write, and room at the second.
struct Reluctant(bool);

impl AsyncRead for Reluctant {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        _: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Poll::Pending
    }
}

impl AsyncWrite for Reluctant {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match core::mem::replace(&mut self.0, true) {
            true => Poll::Ready(Ok(bytes.len())),
            false => Poll::Pending,
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// The wake-up for that room may have come before the sender waited.
#[tokio::test(start_paused = true)]
async fn sender_that_writes_everything_while_it_begins_to_wait_does_not_wait() {
    let mut ws = Acceptor::new().from_upgraded(Reluctant(false), b"");
    let mut sending = pin!(ws.send("x"));
    let sent = sending
        .as_mut()
        .poll(&mut Context::from_waker(Waker::noop()));
    assert!(matches!(sent, Poll::Ready(Ok(()))), "{sent:?}");
}

/// Whoever does something else for long after a reply to the first of sixteen flushes it; else it leaves
/// behind the last reply.
#[tokio::test(start_paused = true)]
async fn reply_to_the_first_of_sixteen_before_a_pause_leaves_after_it_unless_it_is_flushed() {
    for flushes in [true, false] {
        let (mut ws, mut peer) = server(1 << 16);
        peer.write(&vec![frame::text("x"); 16]).await;
        let start = Instant::now();
        let echo = async {
            for round in 0..16 {
                let message = ws.recv().await.unwrap().unwrap();
                ws.send(message).await.unwrap();
                if round == 0 {
                    if flushes {
                        ws.flush().await.unwrap();
                    }
                    tokio::time::sleep(Duration::from_secs(5)).await;
                }
            }
        };
        let reading = async {
            peer.read().await.unwrap();
            start.elapsed()
        };
        let ((), elapsed) = tokio::join!(echo, reading);
        let seconds = if flushes { 0 } else { 5 };
        assert_eq!(elapsed, Duration::from_secs(seconds));
    }
}
