//! Senders beside one that always has more: none waits for what the others have sent later.

use core::time::Duration;

use futures_util::SinkExt;
use motews_testkit::frame;
use motews_tokio::{Acceptor, CloseCode, Message, Sender};
use tokio::io::{
    AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufStream, DuplexStream, duplex,
};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use crate::support::{Peer, encode, payload, server, server_with};

/// Less than what the link takes in it could fill the link.
const STEP: Duration = Duration::from_millis(1);

/// The link takes a hundredth of what the saturating sender has by then.
const PATIENCE: Duration = Duration::from_secs(60);

/// A peer that reads 100 bytes a millisecond.
fn reads_slowly(mut peer: Peer) -> JoinHandle<()> {
    tokio::spawn(async move {
        let mut bytes = [0; 100];
        while peer.stream.read(&mut bytes).await.is_ok_and(|len| len > 0) {
            sleep(STEP).await;
        }
    })
}

#[derive(Clone, Copy, Debug)]
enum Saturates {
    Newest,
    Permits,
}

/// Sends far more than the peer reads, for ever.
fn saturates(sender: Sender<impl Stream>, how: Saturates) -> JoinHandle<()> {
    tokio::spawn(async move {
        loop {
            match how {
                Saturates::Newest => drop(sender.send_newest(payload(5000))),
                Saturates::Permits => {
                    let Ok(permit) = sender.reserve().await else {
                        return;
                    };
                    permit.send(payload(500)).unwrap();
                }
            }
            sleep(STEP).await;
        }
    })
}

trait Stream: tokio::io::AsyncRead + AsyncWrite + Unpin + Send + 'static {}

impl<S: tokio::io::AsyncRead + AsyncWrite + Unpin + Send + 'static> Stream for S {}

#[derive(Clone, Copy, Debug)]
enum Waits {
    Send,
    Flush,
    Ping,
    SinkSend,
    SinkFlush,
    SinkClose,
    Streams,
    Newest,
}

const ALL: [Waits; 8] = [
    Waits::Send,
    Waits::Flush,
    Waits::Ping,
    Waits::SinkSend,
    Waits::SinkFlush,
    Waits::SinkClose,
    Waits::Streams,
    Waits::Newest,
];

async fn waits(mut sender: Sender<impl Stream>, how: Waits) {
    let message = || Message::text("mine");
    match how {
        Waits::Send => sender.send(message()).await.unwrap(),
        Waits::Flush => {
            sender.reserve().await.unwrap().send(message()).unwrap();
            sender.flush().await.unwrap();
        }
        Waits::Ping => sender.ping(b"?").await.unwrap(),
        Waits::SinkSend => SinkExt::send(&mut sender, message()).await.unwrap(),
        Waits::SinkFlush => {
            sender.feed(message()).await.unwrap();
            SinkExt::<Message>::flush(&mut sender).await.unwrap();
        }
        Waits::SinkClose => SinkExt::<Message>::close(&mut sender).await.unwrap(),
        Waits::Streams => {
            let mut writer = sender.stream_text();
            writer.write("mi").await.unwrap();
            writer.flush().await.unwrap();
            writer.write("ne").await.unwrap();
            writer.finish().await.unwrap();
        }
        Waits::Newest => {
            sender.send_newest(message()).unwrap();
            sender.flush().await.unwrap();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn link_is_saturated_by_one_sender_and_the_others_come_through() {
    for saturating in [Saturates::Newest, Saturates::Permits] {
        for waiting in ALL {
            let acceptor = Acceptor::new().max_backlog(2000);
            let (ws, peer) = server_with(&acceptor, 1000);
            let (sender, _receiver) = ws.split();
            let reading = reads_slowly(peer);
            let saturating_task = saturates(sender.clone(), saturating);
            sleep(100 * STEP).await;
            let waited = timeout(PATIENCE, waits(sender, waiting)).await;
            assert!(waited.is_ok(), "{saturating:?} {waiting:?}");
            saturating_task.abort();
            reading.abort();
        }
    }
}

/// A stream that keeps what it took until it is flushed, as TLS may.
#[tokio::test(start_paused = true)]
async fn stream_that_holds_what_it_took_is_flushed_while_others_send() {
    for waiting in ALL {
        let (stream, peer) = duplex(1000);
        let stream = BufStream::with_capacity(64, 10_000, stream);
        let acceptor = Acceptor::new().max_backlog(2000);
        let (sender, _receiver) = acceptor.from_upgraded(stream, b"").split();
        let reading = reads_slowly(Peer::new(peer));
        let saturating = saturates(sender.clone(), Saturates::Permits);
        sleep(100 * STEP).await;
        let waited = timeout(PATIENCE, waits(sender, waiting)).await;
        assert!(waited.is_ok(), "{waiting:?}");
        saturating.abort();
        reading.abort();
    }
}

/// One whose messages are longer than the backlog leaves room to the others.
#[tokio::test(start_paused = true)]
async fn room_goes_to_the_one_that_has_waited_for_it() {
    let acceptor = Acceptor::new().max_backlog(100);
    let (ws, peer) = server_with(&acceptor, 1000);
    let (sender, _receiver) = ws.split();
    let reading = reads_slowly(peer);
    let greedy = sender.clone();
    let greedy = tokio::spawn(async move { while greedy.send(payload(5000)).await.is_ok() {} });
    sleep(100 * STEP).await;
    for _ in 0..10 {
        timeout(PATIENCE, sender.send("mine"))
            .await
            .unwrap()
            .unwrap();
    }
    greedy.abort();
    reading.abort();
}

/// The frames before the second text, and how much more waits behind it.
async fn three_messages(stream: DuplexStream) -> (Sender<DuplexStream>, JoinHandle<()>) {
    let (sender, receiver) = Acceptor::new().from_upgraded(stream, b"").split();
    let permit = sender.reserve().await.unwrap();
    permit.send(payload(3000)).unwrap();
    let second = sender.clone();
    let sending = tokio::spawn(async move {
        let _receiver = receiver;
        second.send("mine").await.unwrap();
    });
    sleep(STEP).await;
    let permit = sender.reserve().await.unwrap();
    permit.send(payload(3000)).unwrap();
    (sender, sending)
}

/// What lies behind is the business of others, whether or not the peer ever reads it.
#[tokio::test(start_paused = true)]
async fn send_returns_as_soon_as_the_stream_has_taken_its_message_and_not_before() {
    // As many bytes as the first two frames.
    let (held, second) = (1000, 3004 + 6);
    let (stream, mut peer) = duplex(held);
    let (sender, sending) = three_messages(stream).await;
    let mut bytes = vec![0; second - held - 1];
    peer.read_exact(&mut bytes).await.unwrap();
    sleep(PATIENCE / 10).await;
    assert!(!sending.is_finished());
    peer.read_u8().await.unwrap();
    timeout(STEP, sending).await.unwrap().unwrap();
    assert_eq!(sender.buffered_amount(), 3004);
}

/// A flush that was given up is none of what was sent since.
#[tokio::test(start_paused = true)]
async fn flush_of_the_sink_after_one_that_was_dropped_waits_for_what_was_sent_since() {
    let (stream, mut peer) = duplex(1000);
    let (mut sender, _receiver) = Acceptor::new().from_upgraded(stream, b"").split();
    sender.feed(Message::from(payload(3000))).await.unwrap();
    let flushed = timeout(STEP, SinkExt::<Message>::flush(&mut sender)).await;
    assert!(flushed.is_err());
    sender.try_send(payload(3000)).unwrap();
    for (len, is_flushed) in [(3004, false), (2004, true)] {
        let mut bytes = vec![0; len];
        let flushing = timeout(STEP, SinkExt::<Message>::flush(&mut sender));
        let (flushed, read) = tokio::join!(flushing, peer.read_exact(&mut bytes));
        read.unwrap();
        assert_eq!(flushed.is_ok(), is_flushed);
    }
}

/// A peer that pings without end, and reads, holds nobody up.
#[tokio::test(start_paused = true)]
async fn peer_that_pings_without_end_holds_no_send_up() {
    for max_backlog in [1, 64 * 1024] {
        let acceptor = Acceptor::new().max_backlog(max_backlog);
        let (mut ws, peer) = server_with(&acceptor, 1000);
        let (mut reads, mut writes) = tokio::io::split(peer.stream);
        let pings: Vec<_> = (0..8).map(|_| frame::ping("?")).collect();
        let pings = encode(&pings);
        let pinging = tokio::spawn(async move {
            loop {
                writes.write_all(&pings).await.unwrap();
                sleep(STEP / 2).await;
            }
        });
        let reading = tokio::spawn(async move {
            let mut bytes = [0; 10];
            loop {
                reads.read_exact(&mut bytes).await.unwrap();
                sleep(STEP).await;
            }
        });
        let sent = timeout(PATIENCE, ws.send(payload(2000))).await;
        sent.expect("it has left").unwrap();
        let sent = timeout(PATIENCE, ws.ping(b"!")).await;
        sent.expect("it has left").unwrap();
        pinging.abort();
        reading.abort();
    }
}

/// Whoever flushes behind a Close waits for it.
#[tokio::test(start_paused = true)]
async fn flush_behind_a_close_waits_for_the_close() {
    let (ws, mut peer) = server(1000);
    let (sender, _receiver) = ws.split();
    sender.try_send(payload(20_000)).unwrap();
    let flushing = {
        let sender = sender.clone();
        tokio::spawn(async move { sender.flush().await })
    };
    sleep(STEP).await;
    sender.close(CloseCode::NORMAL, "").unwrap();
    let closing = tokio::spawn(async move { sender.flush().await });
    let mut bytes = vec![0; 20_004 - 1000];
    peer.stream.read_exact(&mut bytes).await.unwrap();
    timeout(STEP, flushing).await.unwrap().unwrap().unwrap();
    assert!(!closing.is_finished());
    peer.stream.read_exact(&mut bytes[..4]).await.unwrap();
    timeout(STEP, closing).await.unwrap().unwrap().unwrap();
}

/// However many wait, no more than one of them comes on top of what may wait.
#[tokio::test(start_paused = true)]
async fn many_that_wait_are_let_in_one_by_one() {
    let acceptor = Acceptor::new().max_backlog(1000);
    let (ws, peer) = server_with(&acceptor, 100);
    let (sender, _receiver) = ws.split();
    let reading = reads_slowly(peer);
    let sending: Vec<_> = (0..50)
        .map(|_| {
            let sender = sender.clone();
            tokio::spawn(async move {
                for _ in 0..4 {
                    sender.send(payload(996)).await.unwrap();
                }
            })
        })
        .collect();
    let mut most = 0;
    while !sending.iter().all(JoinHandle::is_finished) {
        most = most.max(sender.buffered_amount());
        sleep(STEP).await;
    }
    // The limit is reached by a message; another one has just been let in, and the one before it has begun to leave.
    assert!((2000..=3000).contains(&most), "{most}");
    reading.abort();
}
