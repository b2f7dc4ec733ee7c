//! Halves in two tasks and more.

use core::pin::{Pin, pin};
use core::task::{Context, Waker};
use core::time::Duration;
use std::sync::Arc;
use std::task::Wake;

use futures_util::SinkExt as _;
use motews_testkit::frame::{self, Frame};
use motews_tokio::{Acceptor, CloseCode, Message, SendError, Sender, Timeouts};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};

use crate::support::{both, payload, server, server_with};

/// One half may be sent to another thread, and cloned.
#[test]
fn halves_are_send_and_senders_cloned() {
    fn check<T: Send + 'static>() {}
    type Tcp = tokio::net::TcpStream;
    check::<motews_tokio::Receiver<Tcp>>();
    check::<Sender<Tcp>>();
    check::<motews_tokio::WebSocketStream<Tcp>>();
}

/// A pong leaves though the sender does nothing, and the sender's Close is seen through by the receiver.
#[tokio::test(start_paused = true)]
async fn receiver_answers_pings_and_sees_the_close_of_the_sender_through() {
    let (ws, mut peer) = server(1000);
    let (sender, mut receiver) = ws.split();
    let receiving = tokio::spawn(async move { receiver.recv().await });
    peer.write(&[frame::ping("x")]).await;
    assert_eq!(peer.read().await, Some(frame::pong("x")));
    sender.close(CloseCode::NORMAL, "").unwrap();
    assert_eq!(peer.read().await, Some(frame::close(1000, "")));
    peer.finish().await;
    drop(peer);
    assert!(receiving.await.unwrap().unwrap().is_none());
    assert!(sender.ended().unwrap().is_clean());
    assert!(matches!(sender.send("late").await, Err(SendError::Closed)));
}

/// The timer of a Close that another task has sent.
#[tokio::test(start_paused = true)]
async fn close_of_the_sender_that_nobody_answers_ends_in_its_time() {
    let (ws, mut peer) = server(1000);
    let (sender, mut receiver) = ws.split();
    let receiving = tokio::spawn(async move { receiver.closed().await });
    sleep(Duration::from_secs(1)).await;
    let start = Instant::now();
    sender.close(CloseCode::NORMAL, "").unwrap();
    assert_eq!(peer.read().await, Some(frame::close(1000, "")));
    let ended = receiving.await.unwrap();
    assert!(!ended.is_clean());
    // The Close itself bought 32 ms.
    assert_eq!(start.elapsed(), Duration::from_millis(5_032));
}

/// Each sends a lot before it receives, on both sides: the receivers take what comes.
#[tokio::test(start_paused = true)]
async fn halves_on_both_sides_send_large_messages_at_once_and_all_arrive() {
    let (one, other) = both(4096);
    let (sender, receiver) = one.split();
    let (peer_sender, peer_receiver) = other.split();
    let message = Message::from(payload(1_000_000));
    let send =
        |message: Message| async move { (0..5).map(|_| message.clone()).collect::<Vec<_>>() };
    let messages = send(message.clone()).await;
    let sending = async {
        for message in messages.clone() {
            sender.send(message).await.unwrap();
        }
    };
    let peer_sending = async {
        for message in messages.clone() {
            peer_sender.send(message).await.unwrap();
        }
    };
    let (mut receiver, mut peer_receiver) = (receiver, peer_receiver);
    let receiving = async {
        for _ in 0..5 {
            assert_eq!(receiver.recv().await.unwrap().as_ref(), Some(&message));
        }
    };
    let peer_receiving = async {
        for _ in 0..5 {
            assert_eq!(peer_receiver.recv().await.unwrap().as_ref(), Some(&message));
        }
    };
    let all = async { tokio::join!(sending, peer_sending, receiving, peer_receiving) };
    timeout(Duration::from_secs(25), all)
        .await
        .expect("all arrive");
}

/// Of several senders each one's messages come in order, and none is torn.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn senders_in_several_tasks_send_whole_messages_in_their_order() {
    let (ws, mut peer) = server(512);
    let (sender, mut receiver) = ws.split();
    let (tasks, count) = (4_usize, 200_usize);
    for task in 0..tasks {
        let sender = sender.clone();
        tokio::spawn(async move {
            for index in 0..count {
                let text = format!("{task} {index} {}", "x".repeat(index * 7));
                sender.send(text).await.unwrap();
            }
        });
    }
    let receiving = tokio::spawn(async move { receiver.recv().await });
    let mut next = vec![0; tasks];
    for _ in 0..tasks * count {
        let Some(Frame { payload, .. }) = peer.read().await else {
            panic!("the end")
        };
        let text = String::from_utf8(payload).unwrap();
        let mut words = text.split(' ');
        let mut number = || words.next().unwrap().parse::<usize>().unwrap();
        let (task, index) = (number(), number());
        assert_eq!(index, next[task]);
        assert_eq!(words.next().unwrap(), "x".repeat(index * 7));
        next[task] += 1;
    }
    sender.close(CloseCode::NORMAL, "").unwrap();
    assert_eq!(peer.read().await, Some(frame::close(1000, "")));
    peer.finish().await;
    drop(peer);
    assert!(receiving.await.unwrap().unwrap().is_none());
}

/// Whoever only sends goes on: what comes is dropped.
#[tokio::test(start_paused = true)]
async fn receiver_dropped_the_sender_goes_on() {
    let (ws, mut peer) = server(1000);
    let (sender, receiver) = ws.split();
    drop(receiver);
    let sending = async {
        for _ in 0..20 {
            sender.send(payload(10_000)).await.unwrap();
        }
        sender.close(CloseCode::NORMAL, "").unwrap();
        sender.closed().await
    };
    let talking = async {
        for _ in 0..20 {
            peer.write(&[frame::text("nobody listens")]).await;
            assert_eq!(peer.read().await, Some(frame::binary(payload(10_000))));
        }
        assert_eq!(peer.read().await, Some(frame::close(1000, "")));
        peer.finish().await;
        peer.stream
    };
    let (ended, _) = tokio::join!(sending, async { drop(talking.await) });
    assert!(ended.is_clean(), "{ended}");
}

/// A slow receiver holds up neither the senders nor the pongs' deadline.
#[tokio::test(start_paused = true)]
async fn receiver_that_is_slow_does_not_hold_up_what_others_send() {
    let (ws, mut peer) = server(1 << 16);
    let (sender, mut receiver) = ws.split();
    let (queue, mut queued) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok(Some(message)) = receiver.recv().await {
            sleep(Duration::from_secs(60)).await;
            queue.send(message).unwrap();
        }
    });
    peer.write(&vec![frame::text("slow"); 10]).await;
    sleep(Duration::from_secs(1)).await;
    let start = Instant::now();
    for _ in 0..10 {
        sender.send("tick").await.unwrap();
        assert_eq!(peer.read().await, Some(frame::text("tick")));
    }
    assert_eq!(start.elapsed(), Duration::ZERO);
    for _ in 0..10 {
        assert_eq!(queued.recv().await, Some("slow".into()));
    }
    assert_eq!(sender.ended(), None);
}

/// What a receiver that does not receive leaves unread may be the pong: silence is no evidence then.
#[tokio::test(start_paused = true)]
async fn queue_that_is_full_is_no_evidence_against_the_peer() {
    // What the peer has read buys it no time.
    let timeouts = Timeouts {
        min_rate: 1_000_000,
        ..Timeouts::DEFAULT
    };
    let acceptor = Acceptor::new().max_inbound(1).timeouts(timeouts);
    let (ws, mut peer) = server_with(&acceptor, 512);
    let (sender, mut receiver) = ws.split();
    peer.write(&[frame::text("one")]).await;
    let sending = async {
        for _ in 0..30 {
            sender.send(payload(10_000)).await.unwrap();
            sleep(Duration::from_secs(5)).await;
        }
    };
    let reading = async {
        let mut count = 0;
        while count < 30 {
            let frame = peer.read().await.unwrap();
            match frame.first {
                0x89 => peer.write(&[frame::pong(&frame.payload)]).await,
                _ => count += 1,
            }
            sleep(Duration::from_secs(1)).await;
        }
    };
    tokio::join!(sending, reading);
    assert_eq!(sender.ended(), None);
    assert_eq!(receiver.recv().await.unwrap(), Some("one".into()));
}

/// Futures that are dropped while they wait leave nothing behind, though nobody wakes them.
#[tokio::test(start_paused = true)]
async fn cancelled_sends_to_a_peer_that_does_not_read_leave_no_waker_behind() {
    let (ws, peer) = server(100);
    let (sender, _receiver) = ws.split();
    sender.try_send(payload(100_000)).unwrap();
    let counted = Arc::new(());
    let poll = |future: Pin<&mut dyn Future<Output = ()>>| {
        // Each waker is another task's.
        let waker = Waker::from(Arc::new(Held(counted.clone())));
        assert!(future.poll(&mut Context::from_waker(&waker)).is_pending());
    };
    for round in 0..100_000 {
        let mut other = sender.clone();
        match round % 5 {
            0 => poll(pin!(async { sender.send("x").await.unwrap() })),
            1 => poll(pin!(async { _ = sender.reserve().await.unwrap() })),
            2 => poll(pin!(async { sender.flush().await.unwrap() })),
            3 => poll(pin!(async {
                let _ = sender.closed().await;
            })),
            // The `Sink` waits as long as its sender is there.
            _ => poll(pin!(async {
                other.feed(Message::from("x")).await.unwrap()
            })),
        }
        drop(other);
        assert_eq!(Arc::strong_count(&counted), 1, "{round}");
    }
    assert_eq!(sender.buffered_amount(), 100_004 + 6 - 100);
    drop(peer);

    /// A task that keeps something.
    struct Held(#[expect(dead_code, reason = "it is counted")] Arc<()>);

    impl Wake for Held {
        fn wake(self: Arc<Self>) {}
    }
}
