//! Deadlines in paused time: many connections, and runtimes that go.

use core::time::Duration;

use motews_testkit::frame;
use motews_tokio::{Acceptor, CloseCode, Deadline, Ended, RecvError, Timeouts};
use tokio::runtime::Builder;
use tokio::time::{Instant, sleep, timeout};

use crate::support::{Peer, payload, server, server_with};

/// Each of a thousand connections is pinged when it is due, and one task more than there are
/// connections sees to that.
#[tokio::test(start_paused = true)]
async fn thousand_idle_connections_are_pinged_by_one_task() {
    const COUNT: usize = 1000;
    let start = Instant::now();
    let mut peers = Vec::new();
    for _ in 0..COUNT {
        let (mut ws, peer) = server(256);
        tokio::spawn(async move { ws.recv().await });
        peers.push(peer);
        sleep(Duration::from_millis(1)).await;
    }
    let tasks = tokio::runtime::Handle::current()
        .metrics()
        .num_alive_tasks();
    assert_eq!(tasks, COUNT + 1);
    for (opened, peer) in peers.iter_mut().enumerate() {
        assert_eq!(peer.read().await, Some(frame::ping("")));
        let due = start + Duration::from_millis(opened as u64) + Duration::from_secs(30);
        let late = Instant::now().saturating_duration_since(due);
        assert!(late <= Duration::from_millis(3), "{opened}: {late:?}");
        peer.write(&[frame::pong("")]).await;
    }
}

/// What is received moves the deadline, and the old one passes without a ping.
#[tokio::test(start_paused = true)]
async fn peer_that_talks_every_20_seconds_is_never_pinged() {
    let (mut ws, mut peer) = server(256);
    let receiving = tokio::spawn(async move {
        let mut count = 0;
        while let Ok(Some(_)) = ws.recv().await {
            count += 1;
        }
        count
    });
    for _ in 0..10 {
        sleep(Duration::from_secs(20)).await;
        peer.write(&[frame::text("x")]).await;
    }
    peer.write(&[frame::close(1000, "")]).await;
    assert_eq!(peer.read().await, Some(frame::close(1000, "")));
    drop(peer);
    assert_eq!(receiving.await.unwrap(), 10);
}

/// A connection that was polled in a runtime that is gone finds itself another one.
#[test]
fn connection_whose_runtime_has_gone_keeps_its_deadlines_in_the_next_one() {
    let runtime = || {
        Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap()
    };
    let timeouts = Timeouts {
        keepalive: Some(500),
        pong: Some(500),
        ..Timeouts::DEFAULT
    };
    let first = runtime();
    let (mut ws, mut peer) = {
        let _guard = first.enter();
        server_with(&Acceptor::new().timeouts(timeouts), 256)
    };
    first.block_on(async {
        let waited = timeout(Duration::from_millis(100), ws.recv()).await;
        assert!(waited.is_err());
    });
    drop(first);
    // The clocks of both have nothing to do with each other; the second one goes on from now.
    runtime().block_on(async {
        let pinging = async {
            assert_eq!(peer.read().await, Some(frame::ping("")));
            assert_eq!(peer.read().await, None);
        };
        let (received, ()) = tokio::join!(ws.recv(), pinging);
        assert!(
            matches!(received, Err(RecvError::TimedOut(Deadline::Pong))),
            "{received:?}"
        );
    });
}

/// The application sees it, and not a task of this crate's, again and again.
#[test]
fn runtime_without_a_clock_is_a_panic_of_whoever_waits() {
    let runtime = Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let (mut ws, _peer) = server(256);
        let receiving = tokio::spawn(async move { ws.recv().await });
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        assert!(receiving.is_finished());
        assert!(receiving.await.unwrap_err().is_panic());
    });
}

/// An application that was away for an hour finds a message that has come meanwhile.
#[tokio::test(start_paused = true)]
async fn application_away_for_an_hour_finds_what_has_come() {
    let timeouts = Timeouts {
        idle: Some(60_000),
        ..Timeouts::DEFAULT
    };
    let (mut ws, mut peer) = server_with(&Acceptor::new().timeouts(timeouts), 256);
    peer.write(&[frame::text("early")]).await;
    sleep(Duration::from_secs(3600)).await;
    assert_eq!(ws.recv().await.unwrap(), Some("early".into()));
}

/// The peer has answered the Close in time, behind more than one read brings, though nobody looked.
#[tokio::test(start_paused = true)]
async fn closing_application_away_for_an_hour_finds_the_close() {
    for receives in [true, false] {
        let (mut ws, mut peer) = server(1 << 20);
        ws.close(CloseCode::NORMAL, "").unwrap();
        assert_eq!(peer.read().await, Some(frame::close(1000, "")));
        let mut frames = vec![frame::binary(payload(20_000)); 10];
        frames.push(frame::close(1000, ""));
        peer.write(&frames).await;
        drop(peer);
        sleep(Duration::from_secs(3600)).await;
        if receives {
            for _ in 0..10 {
                assert_eq!(ws.recv().await.unwrap().unwrap().len(), 20_000);
            }
            assert_eq!(ws.recv().await.unwrap(), None);
        }
        let ended = ws.closed().await;
        assert!(ended.is_clean(), "{ended}");
    }
}

/// 2 MB for a reader of 20 KB/s: each byte that the stream takes buys it time.
#[tokio::test(start_paused = true)]
async fn slow_reader_gets_everything() {
    let (mut ws, peer) = server(16 * 1024);
    let message = payload(2_000_000);
    let sending = async {
        ws.send(message.clone()).await.unwrap();
        ws.close(CloseCode::NORMAL, "").unwrap();
        ws.closed().await
    };
    let reading = async {
        let (mut reads, mut writes) = tokio::io::split(peer.stream);
        let mut bytes = Vec::new();
        let mut part = vec![0; 2000];
        loop {
            let len = tokio::io::AsyncReadExt::read(&mut reads, &mut part)
                .await
                .unwrap();
            if len == 0 {
                break;
            }
            bytes.extend_from_slice(&part[..len]);
            if bytes.ends_with(b"\x88\x02\x03\xe8") {
                let close = frame::close(1000, "").encode(Some(frame::KEY));
                tokio::io::AsyncWriteExt::write_all(&mut writes, &close)
                    .await
                    .unwrap();
            }
            sleep(Duration::from_millis(100)).await;
        }
        bytes.len()
    };
    let start = Instant::now();
    let (ended, len) = tokio::join!(sending, reading);
    assert!(ended.is_clean(), "{ended}");
    // The peer says nothing for so long that it is pinged, once.
    assert_eq!(len, 10 + message.len() + 2 + 4);
    assert!(start.elapsed() > Duration::from_secs(99));
}

/// One that reads nothing is given up, and the sender that waits learns why.
#[tokio::test(start_paused = true)]
async fn reader_that_takes_nothing_is_given_up_and_the_sender_is_told() {
    let (mut ws, peer) = server(1000);
    let start = Instant::now();
    let error = ws.send(payload(1 << 20)).await.unwrap_err();
    assert!(
        matches!(error, motews_tokio::SendError::TimedOut),
        "{error:?}"
    );
    // 1,000 bytes bought 8 s.
    let took = start.elapsed();
    assert!(
        took >= Duration::from_secs(37) && took <= Duration::from_secs(39),
        "{took:?}"
    );
    assert_eq!(ws.ended(), Some(Ended::TimedOut(Deadline::Write)));
    assert!(ws.stream().is_none());
    drop(peer);
}

/// Silence before the request, and a request that trickles.
#[tokio::test(start_paused = true)]
async fn request_that_trickles_ends_at_its_deadline() {
    let (stream, peer) = tokio::io::duplex(256);
    let mut peer = Peer::new(peer);
    let trickling = async {
        for byte in b"GET / HTTP/1.1\r\nHost: h\r\nX: xxxxxxxxxxxxxx" {
            let stream = &mut peer.stream;
            if tokio::io::AsyncWriteExt::write_all(stream, &[*byte])
                .await
                .is_err()
            {
                return;
            }
            sleep(Duration::from_secs(1)).await;
        }
    };
    let start = Instant::now();
    let accepting = async {
        let accepted = motews_tokio::accept(stream).await;
        (accepted.map(drop), start.elapsed())
    };
    let ((accepted, took), ()) = tokio::join!(accepting, trickling);
    assert!(
        matches!(accepted, Err(motews_tokio::AcceptError::TimedOut)),
        "{accepted:?}"
    );
    assert_eq!(took.as_secs(), 10);
}
