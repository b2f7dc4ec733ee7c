//! The halves of a connection in all orders that a scheduler comes up with: a receiver, two senders, a
//! send that is cancelled, and a Close. Built with `RUSTFLAGS='--cfg motews_shuttle'`, and empty otherwise.
#![cfg(motews_shuttle)]

use core::future::poll_fn;
use core::pin::{Pin, pin};
use core::sync::atomic::Ordering;
use core::task::{Context, Poll, Waker};
use core::time::Duration;
use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use motews_testkit::frame::{self, Frame};
use motews_tokio::{Acceptor, CloseCode, ServerHandle, Timeouts};
use shuttle::future::{block_on, spawn, yield_now};
use shuttle::sync::Mutex;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};

/// How many bytes the stream holds each way: less than any message.
const HOLDS: usize = 8;

const RUNS: usize = 2000;

/// One direction of a stream, which the scheduler sees.
#[derive(Default)]
struct Pipe {
    bytes: VecDeque<u8>,
    has_ended: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

struct Reads(Arc<Mutex<Pipe>>);

struct Writes(Arc<Mutex<Pipe>>);

fn pipe() -> (Reads, Writes) {
    let pipe = Arc::<Mutex<Pipe>>::default();
    (Reads(pipe.clone()), Writes(pipe))
}

/// Wakes with the lock let go.
fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}

impl AsyncRead for Reads {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut pipe = self.0.lock().unwrap();
        if pipe.bytes.is_empty() && !pipe.has_ended {
            pipe.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        while buf.remaining() > 0
            && let Some(byte) = pipe.bytes.pop_front()
        {
            buf.put_slice(&[byte]);
        }
        let waker = pipe.writer.take();
        drop(pipe);
        wake(waker);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Writes {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut pipe = self.0.lock().unwrap();
        let len = bytes.len().min(HOLDS - pipe.bytes.len());
        if len == 0 {
            pipe.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        pipe.bytes.extend(&bytes[..len]);
        let waker = pipe.reader.take();
        drop(pipe);
        wake(waker);
        Poll::Ready(Ok(len))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut pipe = self.0.lock().unwrap();
        pipe.has_ended = true;
        let waker = pipe.reader.take();
        drop(pipe);
        wake(waker);
        Poll::Ready(Ok(()))
    }
}

impl Drop for Writes {
    fn drop(&mut self) {
        let _ = Pin::new(self).poll_shutdown(&mut Context::from_waker(Waker::noop()));
    }
}

/// Sends, pings, and reads to the end. Returns the messages.
async fn peer(mut reads: Reads, mut writes: Writes) -> Vec<Vec<u8>> {
    let frames = [
        frame::text("to you"),
        frame::ping("?"),
        frame::text("and you"),
    ];
    let bytes: Vec<u8> = frames
        .iter()
        .flat_map(|frame| frame.encode(Some(frame::KEY)))
        .collect();
    let writing = spawn(async move {
        writes.write_all(&bytes).await.unwrap();
        writes
    });
    let (mut bytes, mut messages) = (Vec::new(), Vec::new());
    loop {
        let mut rest = &bytes[..];
        let Ok((frame, _)) = Frame::read(&mut rest) else {
            assert_ne!(reads.read_buf(&mut bytes).await.unwrap(), 0);
            continue;
        };
        bytes.drain(..bytes.len() - rest.len());
        match frame.first {
            0x81 => messages.push(frame.payload),
            0x8A => assert_eq!(frame.payload, b"?"),
            _ => break assert_eq!(frame, frame::close(1000, "")),
        }
    }
    let mut writes = writing.await.unwrap();
    let close = frame::close(1000, "").encode(Some(frame::KEY));
    writes.write_all(&close).await.unwrap();
    while reads.read_buf(&mut bytes).await.unwrap() > 0 {}
    assert!(bytes.is_empty() || bytes == frame::pong("?").encode(None));
    messages
}

fn talk() {
    block_on(async {
        let (reads, peer_writes) = pipe();
        let (peer_reads, writes) = pipe();
        let stream = tokio::io::join(reads, writes);
        let acceptor = Acceptor::new().max_backlog(1).max_inbound(1);
        let (sender, mut receiver) = acceptor.from_upgraded(stream, b"").split();
        let peer = spawn(peer(peer_reads, peer_writes));
        let receiving = spawn(async move {
            for message in ["to you", "and you"] {
                assert_eq!(receiver.recv().await.unwrap(), Some(message.into()));
            }
            assert_eq!(receiver.recv().await.unwrap(), None);
            receiver.ended().unwrap()
        });
        let one = sender.clone();
        let one = spawn(async move {
            one.send("the first of one").await.unwrap();
            one.send("the second of one").await.unwrap();
        });
        let other = sender.clone();
        let other = spawn(async move {
            cancelled(other.send("cancelled")).await;
            cancelled(other.flush()).await;
            other.send("of the other").await.unwrap();
        });
        one.await.unwrap();
        other.await.unwrap();
        sender.close(CloseCode::NORMAL, "").unwrap();
        assert!(sender.closed().await.is_clean());
        assert!(receiving.await.unwrap().is_clean());
        let messages = peer.await.unwrap();
        let of = |text: &str| messages.iter().filter(|of| *of == text.as_bytes()).count();
        assert_eq!((of("the first of one"), of("the second of one")), (1, 1));
        assert_eq!(of("of the other"), 1);
        assert!(messages.len() == 3 + of("cancelled"), "{messages:?}");
    });
}

/// Two send a message in fragments, and one a whole one. None begins in the midst of another.
fn stream() {
    block_on(async {
        let (reads, _peer_writes) = pipe();
        let (mut peer_reads, writes) = pipe();
        let stream = tokio::io::join(reads, writes);
        let acceptor = Acceptor::new().max_backlog(1);
        let (sender, _receiver) = acceptor.from_upgraded(stream, b"").split();
        let sending: Vec<_> = ["one", "two", "whole"]
            .map(|text| {
                let sender = sender.clone();
                spawn(async move {
                    if text == "whole" {
                        return sender.send(text).await.unwrap();
                    }
                    let mut message = sender.stream_text();
                    message.write(text).await.unwrap();
                    message.flush().await.unwrap();
                    message.write(text).await.unwrap();
                    message.finish().await.unwrap();
                })
            })
            .into();
        let (mut bytes, mut message, mut messages) = (Vec::new(), Vec::new(), Vec::new());
        while messages.len() < 3 {
            let mut rest = &bytes[..];
            let Ok((frame, _)) = Frame::read(&mut rest) else {
                assert_ne!(peer_reads.read_buf(&mut bytes).await.unwrap(), 0);
                continue;
            };
            bytes.drain(..bytes.len() - rest.len());
            assert_eq!(frame.first & 0x0F == 0, !message.is_empty());
            message.extend(frame.payload);
            if frame.first & 0x80 != 0 {
                messages.push(core::mem::take(&mut message));
            }
        }
        messages.sort_unstable();
        assert_eq!(messages, [&b"oneone"[..], b"twotwo", b"whole"]);
        for sending in sending {
            sending.await.unwrap();
        }
    });
}

/// One sends only the newest, again and again; the peer reads no more than what the other one has sent.
fn saturate() {
    block_on(async {
        let (reads, _peer_writes) = pipe();
        let (mut peer_reads, writes) = pipe();
        let stream = tokio::io::join(reads, writes);
        let acceptor = Acceptor::new().max_backlog(1);
        let (sender, _receiver) = acceptor.from_upgraded(stream, b"").split();
        let saturating = sender.clone();
        let saturating = spawn(async move {
            for _ in 0..5 {
                saturating.send_newest("and always one more").unwrap();
                yield_now().await;
            }
        });
        let sending = spawn(async move { sender.send("mine").await.unwrap() });
        let mut bytes = Vec::new();
        loop {
            let mut rest = &bytes[..];
            let Ok((frame, _)) = Frame::read(&mut rest) else {
                assert_ne!(peer_reads.read_buf(&mut bytes).await.unwrap(), 0);
                continue;
            };
            bytes.drain(..bytes.len() - rest.len());
            if frame == frame::text("mine") {
                break;
            }
        }
        saturating.await.unwrap();
        sending.await.unwrap();
    });
}

/// The server is shut down while a half goes back to waiting, and no byte comes that would wake it.
fn shut_down() {
    block_on(async {
        let (reads, mut peer_writes) = pipe();
        let (mut peer_reads, writes) = pipe();
        let stream = tokio::io::join(reads, writes);
        let handle = ServerHandle::new();
        let acceptor = Acceptor::new().timeouts(Timeouts::NONE).handle(&handle);
        let (_sender, mut receiver) = acceptor.from_upgraded(stream, b"").split();
        let serving = spawn(async move {
            assert_eq!(receiver.recv().await.unwrap(), Some("x".into()));
            assert_eq!(receiver.recv().await.unwrap(), None);
        });
        yield_now().await;
        let text = frame::text("x").encode(Some(frame::KEY));
        peer_writes.write_all(&text).await.unwrap();
        yield_now().await;
        let (code, reason) = (CloseCode::NORMAL, "");
        let within = Duration::MAX;
        handle.shutdown_with(code, reason, within).unwrap();
        let mut close = [0; 4];
        peer_reads.read_exact(&mut close).await.unwrap();
        assert_eq!(close[..], frame::close(1000, "").encode(None));
        let close = frame::close(1000, "").encode(Some(frame::KEY));
        peer_writes.write_all(&close).await.unwrap();
        drop(peer_writes);
        serving.await.unwrap();
    });
}

/// Polls once, and drops it.
async fn cancelled(future: impl Future) {
    let mut future = pin!(future);
    poll_fn(|cx| {
        let _ = future.as_mut().poll(cx);
        Poll::Ready(())
    })
    .await;
}

/// Both schedulers find nothing, and one that is told to look for it finds the seeded fault. In one test,
/// for the fault is seeded for the whole process.
#[test]
fn halves_in_any_order_lose_nothing_and_a_lost_wake_up_is_found() {
    // For the clock; no deadline comes.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    // What it dropped would wake what was given up in the midst of a run.
    let runtime = Box::leak(Box::new(runtime));
    let _guard = runtime.enter();
    shuttle::check_random(talk, RUNS);
    shuttle::check_pct(talk, RUNS, 3);
    shuttle::check_random(stream, RUNS);
    shuttle::check_pct(stream, RUNS, 3);
    shuttle::check_random(saturate, RUNS / 4);
    shuttle::check_pct(saturate, RUNS / 4, 3);
    shuttle::check_random(shut_down, RUNS);
    shuttle::check_pct(shut_down, RUNS, 3);

    motews_tokio::seeded::WAKES_READER_ONLY.store(true, Ordering::Relaxed);
    // One run in 700 or so: it stops there.
    let found = catch_unwind(AssertUnwindSafe(|| shuttle::check_random(talk, 50 * RUNS)));
    let found = found.expect_err("the scheduler finds the fault that was seeded");
    let said = found.downcast_ref::<String>().expect("a message");
    assert!(said.contains("deadlock"), "{said}");
}
