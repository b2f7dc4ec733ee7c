//! A server that is shut down: what its handle closes, and what it waits for.

use core::time::Duration;

use motews_testkit::frame;
use motews_testkit::head::REQUEST;
use motews_tokio::role::Server;
use motews_tokio::{
    AcceptError, Acceptor, CloseCode, ConnectError, Connector, Deadline, Ended, RecvError, Request,
    SendError, ServerHandle, WebSocketStream, accepted,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use crate::support::{Peer, ServerWs, encode, payload, server_with};

const WITHIN: Duration = Duration::from_secs(10);

/// A server's connection and its peer; the handle is its server's.
fn connection(handle: &ServerHandle, holds: usize) -> (ServerWs, Peer) {
    server_with(&Acceptor::new().handle(handle), holds)
}

/// Receives until the end.
fn drained(mut ws: ServerWs) -> JoinHandle<(usize, Option<RecvError>, Ended)> {
    tokio::spawn(async move {
        let mut messages = 0;
        let error = loop {
            match ws.recv().await {
                Ok(Some(_)) => messages += 1,
                ended => break ended.err(),
            }
        };
        (messages, error, ws.closed().await)
    })
}

#[tokio::test(start_paused = true)]
async fn open_shut_down_is_closed_with_1001_and_waited_for() {
    let handle = ServerHandle::new();
    let (one, mut peer) = connection(&handle, 1 << 16);
    let (other, mut other_peer) = connection(&handle, 1 << 16);
    let (one, other) = (drained(one), drained(other));
    assert_eq!(handle.connections(), 2);
    let closed = tokio::spawn({
        let handle = handle.clone();
        async move { handle.closed().await }
    });
    tokio::task::yield_now().await;
    assert!(!closed.is_finished());
    handle.shutdown(WITHIN);
    for peer in [&mut peer, &mut other_peer] {
        assert_eq!(peer.read().await, Some(frame::close(1001, "")));
    }
    // What is still on its way comes.
    peer.write(&[frame::text("late")]).await;
    peer.finish().await;
    let (messages, error, ended) = one.await.unwrap();
    assert!(error.is_none() && ended.is_clean(), "{ended}");
    assert_eq!(messages, 1);
    assert_eq!(handle.connections(), 1);
    assert!(!closed.is_finished());
    other_peer.finish().await;
    assert!(other.await.unwrap().2.is_clean());
    assert_eq!(closed.await.unwrap(), 0);
}

#[tokio::test(start_paused = true)]
async fn open_shut_down_with_a_code_says_so_and_a_wrong_one_closes_nothing() {
    let handle = ServerHandle::new();
    let (ws, mut peer) = connection(&handle, 1 << 16);
    let ws = drained(ws);
    for (code, reason) in [(1005, ""), (1000, &*"x".repeat(124))] {
        let refused = handle.shutdown_with(CloseCode::new(code), reason, WITHIN);
        assert!(matches!(refused, Err(SendError::Invalid(_))), "{code}");
    }
    let quiet = timeout(Duration::from_secs(1), peer.read()).await;
    assert!(quiet.is_err(), "{quiet:?}");
    let restarts = CloseCode::new(1012);
    handle.shutdown_with(restarts, "back soon", WITHIN).unwrap();
    // The first code holds.
    handle.shutdown(WITHIN);
    assert_eq!(peer.read().await, Some(frame::close(1012, "back soon")));
    peer.finish().await;
    assert!(ws.await.unwrap().2.is_clean());
    assert_eq!(handle.closed().await, 0);
}

/// `within` replaces the usual deadlines.
#[tokio::test(start_paused = true)]
async fn slow_peer_gets_all_that_was_sent_before_the_close() {
    let handle = ServerHandle::new();
    let (mut ws, mut peer) = connection(&handle, 64);
    ws.try_send(payload(3_000)).unwrap();
    let ws = drained(ws);
    handle.shutdown(Duration::from_secs(120));
    let mut bytes = Vec::new();
    while bytes.len() < 3_004 + 4 {
        // 64 bytes in 2 s.
        tokio::time::sleep(Duration::from_secs(2)).await;
        let mut some = [0; 64];
        let len = peer.stream.read(&mut some).await.unwrap();
        bytes.extend_from_slice(&some[..len]);
    }
    let expected = [
        frame::binary(payload(3_000)).encode(None),
        frame::close(1001, "").encode(None),
    ];
    assert_eq!(bytes, expected.concat());
    peer.finish().await;
    assert!(ws.await.unwrap().2.is_clean());
    assert_eq!(handle.closed().await, 0);
}

#[tokio::test(start_paused = true)]
async fn peer_that_does_not_close_is_given_up_in_time() {
    for (within, expected) in [
        (Duration::from_secs(2), 2),
        // The usual time for a Close.
        (Duration::MAX, 5),
    ] {
        let handle = ServerHandle::new();
        let (ws, mut peer) = connection(&handle, 1 << 16);
        let ws = drained(ws);
        let start = Instant::now();
        handle.shutdown(within);
        assert_eq!(peer.read().await, Some(frame::close(1001, "")));
        assert_eq!(handle.closed().await, 0);
        assert_eq!(start.elapsed().as_secs(), expected);
        let (_, error, ended) = ws.await.unwrap();
        assert_eq!(ended, Ended::TimedOut(Deadline::Close), "{error:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn second_shutdown_at_once_ends_all_at_once() {
    let handle = ServerHandle::new();
    let (mut ws, mut peer) = connection(&handle, 64);
    ws.try_send(payload(3_000)).unwrap();
    let ws = drained(ws);
    handle.shutdown(Duration::from_secs(3_600));
    let early = timeout(Duration::from_secs(60), handle.closed()).await;
    assert!(early.is_err());
    let start = Instant::now();
    handle.shutdown(Duration::ZERO);
    assert_eq!(handle.closed().await, 0);
    assert!(start.elapsed() < Duration::from_secs(1));
    assert_eq!(ws.await.unwrap().2, Ended::TimedOut(Deadline::Close));
    // The stream has ended.
    while peer.stream.read(&mut [0; 64]).await.unwrap() > 0 {}
}

/// It has the stream, so nobody else can close it.
#[tokio::test(start_paused = true)]
async fn task_that_does_something_else_is_counted() {
    let handle = ServerHandle::new();
    let (mut ws, mut peer) = connection(&handle, 1 << 16);
    let start = Instant::now();
    handle.shutdown(Duration::from_secs(2));
    assert_eq!(handle.closed().await, 1);
    assert_eq!(start.elapsed().as_millis(), 2_500);
    // It is closed when it is looked at.
    let refused = ws.send("more").await;
    assert!(matches!(refused, Err(SendError::Closed)), "{refused:?}");
    assert!(matches!(
        ws.closed().await,
        Ended::TimedOut(Deadline::Close)
    ));
    assert_eq!(handle.closed().await, 0);
    while peer.read().await.is_some() {}

    // So is one that is dropped.
    let handle = ServerHandle::new();
    let (ws, _peer) = connection(&handle, 1 << 16);
    handle.shutdown(WITHIN);
    drop(ws);
    assert_eq!(handle.closed().await, 0);
}

#[tokio::test(start_paused = true)]
async fn task_that_only_sends_learns_of_it() {
    let handle = ServerHandle::new();
    let (mut ws, mut peer) = connection(&handle, 64);
    let sending = tokio::spawn(async move {
        let mut sent = 0;
        let error = loop {
            match ws.send(payload(40)).await {
                Ok(()) => sent += 1,
                Err(error) => break error,
            }
        };
        (sent, error, ws.closed().await)
    });
    for _ in 0..10 {
        assert_eq!(peer.read().await, Some(frame::binary(payload(40))));
    }
    handle.shutdown(WITHIN);
    let mut more = 10;
    let last = loop {
        match peer.read().await {
            Some(data) if data == frame::binary(payload(40)) => more += 1,
            other => break other,
        }
    };
    assert_eq!(last, Some(frame::close(1001, "")));
    peer.finish().await;
    let (sent, error, ended) = sending.await.unwrap();
    assert!(matches!(error, SendError::Closed), "{error}");
    assert!(ended.is_clean(), "{ended}");
    assert_eq!(sent, more);
    assert_eq!(handle.closed().await, 0);
}

#[tokio::test(start_paused = true)]
async fn halves_in_two_tasks_are_closed() {
    let handle = ServerHandle::new();
    let (ws, mut peer) = connection(&handle, 1 << 16);
    let (sender, mut receiver) = ws.split();
    let receiving = tokio::spawn(async move { receiver.recv().await });
    tokio::task::yield_now().await;
    handle.shutdown(WITHIN);
    assert_eq!(peer.read().await, Some(frame::close(1001, "")));
    let refused = sender.send("more").await;
    assert!(matches!(refused, Err(SendError::Closed)), "{refused:?}");
    peer.finish().await;
    assert_eq!(receiving.await.unwrap().unwrap(), None);
    assert!(sender.ended().unwrap().is_clean());
    // The end counts, not that the halves are gone.
    assert_eq!(handle.connections(), 0);
    assert_eq!(handle.closed().await, 0);
}

#[tokio::test(start_paused = true)]
async fn both_sides_close_at_once_is_clean() {
    let handle = ServerHandle::new();
    let (ws, mut peer) = connection(&handle, 1 << 16);
    peer.write(&[frame::close(1000, "bye")]).await;
    handle.shutdown(WITHIN);
    let ws = drained(ws);
    assert_eq!(peer.read().await, Some(frame::close(1001, "")));
    peer.stream.shutdown().await.unwrap();
    while peer.read().await.is_some() {}
    let ended = ws.await.unwrap().2;
    assert!(ended.is_clean(), "{ended}");
    assert_eq!(handle.closed().await, 0);
}

/// A time that is longer than the session can count is not taken for one that is over.
#[tokio::test(start_paused = true)]
async fn open_shut_down_within_a_month_leaves_the_peer_its_time() {
    let handle = ServerHandle::new();
    let (ws, mut peer) = connection(&handle, 1 << 16);
    let ws = drained(ws);
    handle.shutdown(Duration::from_secs(30 * 24 * 3600));
    assert_eq!(peer.read().await, Some(frame::close(1001, "")));
    tokio::time::sleep(Duration::from_secs(1)).await;
    peer.write(&[frame::close(1001, "")]).await;
    peer.stream.shutdown().await.unwrap();
    while peer.read().await.is_some() {}
    let ended = ws.await.unwrap().2;
    assert!(ended.is_clean(), "{ended}");
    assert_eq!(handle.closed().await, 0);
}

type Accepted = Result<WebSocketStream<DuplexStream, Server>, AcceptError>;

/// An opening handshake that is under way.
fn accepting(handle: &ServerHandle) -> (JoinHandle<Accepted>, DuplexStream) {
    let (stream, peer) = duplex(1 << 16);
    let acceptor = Acceptor::new().handle(handle);
    (
        tokio::spawn(async move { acceptor.accept(stream).await }),
        peer,
    )
}

async fn is_refused(accepting: JoinHandle<Accepted>, mut peer: DuplexStream) {
    let mut answer = String::new();
    peer.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    drop(peer);
    let error = accepting.await.unwrap().map(drop).unwrap_err();
    assert!(matches!(error, AcceptError::ShuttingDown), "{error}");
}

#[tokio::test(start_paused = true)]
async fn request_arriving_is_refused_with_503() {
    let handle = ServerHandle::new();
    // Nothing of it, half of it, and all of it.
    for sent in [0, REQUEST.len() / 2, REQUEST.len()] {
        let (silent, mut peer) = accepting(&handle);
        if sent < REQUEST.len() {
            peer.write_all(&REQUEST.as_bytes()[..sent]).await.unwrap();
            tokio::task::yield_now().await;
            assert_eq!(handle.connections(), 1);
            handle.shutdown(WITHIN);
        }
        is_refused(silent, peer).await;
        assert_eq!(handle.closed().await, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn request_being_decided_is_refused_with_503() {
    let handle = ServerHandle::new();
    let (stream, mut peer) = duplex(1 << 16);
    let acceptor = Acceptor::new().handle(&handle);
    let (decide, decided) = oneshot::channel();
    let accepting = tokio::spawn(async move {
        let decide = async |_: &Request| decided.await.unwrap();
        acceptor.accept_with(stream, decide).await
    });
    peer.write_all(REQUEST.as_bytes()).await.unwrap();
    tokio::task::yield_now().await;
    handle.shutdown(WITHIN);
    tokio::task::yield_now().await;
    decide.send(accepted()).unwrap();
    is_refused(accepting, peer).await;
    assert_eq!(handle.closed().await, 0);
}

/// Shut down between the response and the first call.
#[tokio::test(start_paused = true)]
async fn connection_just_opened_is_closed() {
    let handle = ServerHandle::new();
    let (opening, mut peer) = accepting(&handle);
    peer.write_all(REQUEST.as_bytes()).await.unwrap();
    let ws = opening.await.unwrap().unwrap();
    handle.shutdown(WITHIN);
    let ws = drained(ws);
    let mut bytes = vec![0; 1024];
    let len = peer.read(&mut bytes).await.unwrap();
    assert!(bytes[..len].starts_with(b"HTTP/1.1 101 "));
    let mut peer = Peer::new(peer);
    assert_eq!(peer.read().await, Some(frame::close(1001, "")));
    peer.finish().await;
    assert!(ws.await.unwrap().2.is_clean());

    // One that is adopted later, too.
    let (ws, mut peer) = connection(&handle, 1 << 16);
    let ws = drained(ws);
    assert_eq!(peer.read().await, Some(frame::close(1001, "")));
    peer.finish().await;
    assert!(ws.await.unwrap().2.is_clean());
    assert_eq!(handle.closed().await, 0);
}

/// It neither reads nor closes, and there is always something to be read from it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn peer_that_never_stops_sending_is_told_and_given_up_in_time() {
    let handle = ServerHandle::new();
    let (mut ws, peer) = connection(&handle, 4096);
    let (mut read, mut write) = tokio::io::split(peer.stream);
    let flood = tokio::spawn(async move {
        let frames = encode(&vec![frame::binary(payload(1_000)); 100]);
        while write.write_all(&frames).await.is_ok() {}
    });
    assert_eq!(ws.recv().await.unwrap(), Some(payload(1_000).into()));
    let ws = drained(ws);
    let start = Instant::now();
    handle.shutdown(Duration::from_millis(300));
    let mut close = [0; 4];
    read.read_exact(&mut close).await.unwrap();
    assert_eq!(close[..], frame::close(1001, "").encode(None));
    assert_eq!(handle.closed().await, 0);
    assert!(start.elapsed() >= Duration::from_millis(299));
    let (_, _, ended) = ws.await.unwrap();
    assert_eq!(ended, Ended::TimedOut(Deadline::Close));
    flood.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn busy_connections_shut_down_from_another_thread_all_close_clean() {
    for _ in 0..5 {
        let handle = ServerHandle::new();
        let acceptor = Acceptor::new().handle(&handle);
        let (tell, mut echoes) = mpsc::unbounded_channel();
        let mut clients = Vec::new();
        for count in 0..100 {
            if count == 50 {
                // Some are busy then, and some in their opening handshake.
                for _ in 0..200 {
                    echoes.recv().await.unwrap();
                }
            }
            let tell = tell.clone();
            let (server, client) = duplex(512);
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                // It may be too late for it.
                let mut ws = acceptor.accept(server).await?;
                while let Ok(Some(message)) = ws.recv().await {
                    if ws.send(message).await.is_err() {
                        break;
                    }
                }
                ws.closed().await;
                Ok::<_, AcceptError>(())
            });
            clients.push(tokio::spawn(async move {
                let mut ws = match Connector::new().connect_over(client, "ws://h/").await {
                    Ok(ws) => ws,
                    Err(ConnectError::Refused(response)) => {
                        assert_eq!(response.status(), 503);
                        return false;
                    }
                    Err(error) => panic!("{error}"),
                };
                while ws.send(payload(700)).await.is_ok() {
                    match ws.recv().await.unwrap() {
                        Some(_) => drop(tell.send(())),
                        None => break,
                    }
                }
                let ended = ws.closed().await;
                assert!(ended.is_clean(), "{ended}");
                assert_eq!(ended.code(), CloseCode::GOING_AWAY);
                true
            }));
        }
        let outside = handle.clone();
        let thread = std::thread::spawn(move || outside.shutdown(WITHIN));
        thread.join().unwrap();
        let mut open = 0;
        for client in clients {
            open += usize::from(client.await.unwrap());
        }
        assert!(open > 0);
        assert_eq!(handle.closed().await, 0);
    }
}
