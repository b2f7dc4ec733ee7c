//! Every future is dropped whenever it waits, and made anew.

use core::future::poll_fn;
use core::pin::pin;
use core::task::Poll;

use motews_testkit::frame::{self, Frame};
use motews_tokio::{Message, SendError};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::Notify;

use crate::support::{ServerWs, encode, payload, server, take_frame};

/// Runs `op` to its end. Each time that it has waited `patience` times, it is dropped and begun anew.
async fn chopped<T>(patience: usize, mut op: impl AsyncFnMut() -> T) -> T {
    loop {
        let mut polls = 0;
        let mut operation = Some(Box::pin(op()));
        let done = poll_fn(|cx| {
            let Some(running) = &mut operation else {
                return Poll::Ready(None); // What was registered has woken this task.
            };
            match running.as_mut().poll(cx) {
                Poll::Ready(done) => Poll::Ready(Some(done)),
                Poll::Pending => {
                    polls += 1;
                    if polls > patience {
                        operation = None;
                    }
                    Poll::Pending
                }
            }
        })
        .await;
        if let Some(done) = done {
            return done;
        }
    }
}

/// How an echo is disturbed.
#[derive(Clone, Copy, Debug)]
enum Disturbed {
    Never,
    /// Dropped after so many waits.
    After(usize),
}

impl Disturbed {
    async fn run<T>(self, mut op: impl AsyncFnMut() -> T) -> T {
        match self {
            Self::Never => op().await,
            Self::After(patience) => chopped(patience, op).await,
        }
    }
}

/// Messages of all kinds, and how many they are; one is longer than a read if so much fits.
fn script(holds: usize) -> (Vec<Frame>, usize) {
    let long = if holds < 100 { 17_000 } else { 70_000 };
    let frames = vec![
        frame::text("Hello"),
        frame::ping("one"),
        frame::binary(payload(long)),
        frame::frame(0x01, "Grü".as_bytes()),
        frame::ping("two"),
        frame::frame(0x00, &"ß".as_bytes()[..1]),
        frame::continuation(&"ß".as_bytes()[1..]),
        frame::binary(""),
        frame::binary(payload(126)),
    ];
    (frames, 5)
}

/// What a peer has read of an echo: data frames, then control frames, each in their order.
async fn transcript(holds: usize, echo: impl AsyncFnOnce(ServerWs)) -> (Vec<Frame>, Vec<Frame>) {
    let (ws, peer) = server(holds);
    let (mut reads, mut writes) = tokio::io::split(peer.stream);
    let (frames, count) = script(holds);
    let all_came = Notify::new();
    let writing = async {
        for part in encode(&frames).chunks(1000) {
            writes.write_all(part).await.unwrap();
        }
        all_came.notified().await;
        let close = encode(&[frame::close(1000, "bye")]);
        writes.write_all(&close).await.unwrap();
    };
    let reading = async {
        let (mut data, mut control) = (Vec::new(), Vec::new());
        let mut bytes = Vec::new();
        while reads.read_buf(&mut bytes).await.unwrap() > 0 {
            while let Some(frame) = take_frame(&mut bytes) {
                match frame.first & 0x08 {
                    0 => data.push(frame),
                    _ => control.push(frame),
                }
                if data.len() == count {
                    all_came.notify_one();
                }
            }
        }
        assert!(bytes.is_empty(), "whole frames");
        (data, control)
    };
    let all = async { tokio::join!(echo(ws), writing, reading).2 };
    let limit = core::time::Duration::from_secs(20);
    tokio::time::timeout(limit, all).await.expect("it ends")
}

async fn echo_by_feed(mut ws: ServerWs, how: Disturbed) {
    while let Some(message) = how.run(async || ws.recv().await).await.unwrap() {
        // A dropped `feed` has not taken the message.
        how.run(async || ws.feed(message.clone()).await)
            .await
            .unwrap();
        how.run(async || ws.flush().await).await.unwrap();
    }
    assert!(how.run(async || ws.closed().await).await.is_clean());
}

async fn echo_by_reserve(mut ws: ServerWs, how: Disturbed) {
    while let Some(message) = how.run(async || ws.recv().await).await.unwrap() {
        how.run(async || ws.reserve().await.map(drop))
            .await
            .unwrap();
        ws.reserve().await.unwrap().send(message).unwrap();
    }
    assert!(ws.ended().unwrap().is_clean());
}

async fn echo_by_halves(ws: ServerWs, how: Disturbed) {
    let (sender, mut receiver) = ws.split();
    let (queue, mut queued) = tokio::sync::mpsc::unbounded_channel::<Message>();
    let sending = async {
        while let Some(message) = queued.recv().await {
            how.run(async || sender.reserve().await.map(drop))
                .await
                .unwrap();
            sender.reserve().await.unwrap().send(message).unwrap();
            how.run(async || sender.flush().await).await.unwrap();
        }
    };
    let receiving = async {
        while let Some(message) = how.run(async || receiver.recv().await).await.unwrap() {
            queue.send(message).unwrap();
        }
        drop(queue);
    };
    tokio::join!(sending, receiving);
}

#[tokio::test(start_paused = true)]
async fn echo_whose_futures_are_dropped_at_each_await_point_is_the_undisturbed_one() {
    for holds in [1, 7, 300, 100_000] {
        let undisturbed =
            transcript(holds, async |ws| echo_by_feed(ws, Disturbed::Never).await).await;
        assert_eq!(undisturbed.0.len(), 5, "an echo of each message");
        for patience in [0, 1, 2, 5] {
            let how = Disturbed::After(patience);
            let by_feed = transcript(holds, async |ws| echo_by_feed(ws, how).await).await;
            assert_eq!(by_feed.0, undisturbed.0, "{holds} {how:?}");
            assert_eq!(by_feed.1.last(), undisturbed.1.last());
            let by_reserve = transcript(holds, async |ws| echo_by_reserve(ws, how).await).await;
            assert_eq!(by_reserve.0, undisturbed.0, "{holds} {how:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn halves_whose_futures_are_dropped_at_each_await_point_echo_the_same() {
    for holds in [1, 300, 100_000] {
        let how = Disturbed::Never;
        let undisturbed = transcript(holds, async |ws| echo_by_feed(ws, how).await).await;
        for patience in [0, 1, 3] {
            let how = Disturbed::After(patience);
            let by_halves = transcript(holds, async |ws| echo_by_halves(ws, how).await).await;
            assert_eq!(by_halves.0, undisturbed.0, "{holds} {how:?}");
            assert_eq!(by_halves.1.last(), undisturbed.1.last());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn send_dropped_wherever_it_waits_was_taken_whole_or_not_at_all() {
    let message = payload(100_000);
    for patience in 0..40 {
        let (mut ws, mut peer) = server(1000);
        let mut reads = 0;
        // The peer reads one part whenever the sender waits.
        {
            let mut sending = pin!(async {
                ws.send("first").await?;
                ws.send(message.clone()).await?;
                ws.send("last").await
            });
            let mut bytes = [0; 1000];
            let mut part = Vec::new();
            let _: Option<Result<(), SendError>> = poll_fn(|cx| {
                if let Poll::Ready(sent) = sending.as_mut().poll(cx) {
                    return Poll::Ready(Some(sent));
                }
                reads += 1;
                if reads > patience {
                    return Poll::Ready(None);
                }
                let mut buffer = tokio::io::ReadBuf::new(&mut bytes);
                let stream = core::pin::Pin::new(&mut peer.stream);
                let _ = tokio::io::AsyncRead::poll_read(stream, cx, &mut buffer);
                part.extend_from_slice(buffer.filled());
                cx.waker().wake_by_ref();
                Poll::Pending
            })
            .await;
            peer.unread(part);
        }
        ws.close(motews_tokio::CloseCode::NORMAL, "").unwrap();
        let ending = async { ws.closed().await };
        let reading = async {
            let mut frames = Vec::new();
            while let Some(frame) = peer.read().await {
                let is_close = frame.close_code().is_some();
                frames.push(frame);
                if is_close {
                    peer.finish().await;
                    break;
                }
            }
            frames
        };
        let (ended, frames) = tokio::join!(ending, reading);
        assert!(ended.is_clean(), "{ended}");
        let whole = [
            frame::text("first"),
            frame::binary(&message[..]),
            frame::text("last"),
            frame::close(1000, ""),
        ];
        let (close, data) = frames.split_last().unwrap();
        assert_eq!(*close, whole[3]);
        assert_eq!(data, &whole[..data.len()], "{patience}");
    }
}
