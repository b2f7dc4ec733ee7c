//! A client that comes back: from each kind of end, with the fate of each message.

use core::future::poll_fn;
use core::pin::pin;
use core::task::Poll;
use core::time::Duration;

use motews_tokio::{
    Acceptor, Backoff, CloseCode, ConnectError, Connector, Ended, Interrupted, Interruption,
    NotSent, Reconnecting, SendError, Timeouts, Update,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;

/// In paused time nothing may be due while bytes are on their way over loopback.
fn connector() -> Connector {
    Connector::new()
        .timeouts(Timeouts::NONE)
        .connect_timeout(None)
}

async fn listen() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}/", listener.local_addr().unwrap());
    (listener, url)
}

async fn interruption(client: &mut Reconnecting) -> Interruption {
    loop {
        match client.next().await {
            Some(Update::Ended(interruption)) => return interruption,
            Some(_) => {}
            None => panic!("it has given up"),
        }
    }
}

/// What a server does with a connection after the request was read.
async fn request_read(stream: &mut TcpStream) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
}

#[tokio::test(start_paused = true)]
async fn port_that_refuses_is_tried_with_longer_and_longer_waits() {
    let (listener, url) = listen().await;
    drop(listener);
    let backoff = Backoff {
        first: 0,
        range: 0,
        ..Backoff::DEFAULT
    };
    let mut client = Reconnecting::new(connector(), &url, backoff);
    for expected in [0, 1, 2, 4, 8, 16, 32, 64, 64, 64] {
        let interruption = interruption(&mut client).await;
        assert_eq!(interruption.retry_in, Some(Duration::from_secs(expected)));
        let reason = interruption.reason;
        assert!(
            matches!(reason, Interrupted::Attempt(ConnectError::Io(_))),
            "{reason:?}"
        );
        assert!(matches!(client.send("x").await, Err(NotSent::Unsent(_))));
    }
}

#[tokio::test(start_paused = true)]
async fn server_that_is_busy_is_left_alone_for_as_long_as_it_wants() {
    let (listener, url) = listen().await;
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            request_read(&mut stream).await;
            let answer = b"HTTP/1.1 503 Busy\r\nRetry-After: 120\r\nContent-Length: 0\r\n\r\n";
            stream.write_all(answer).await.unwrap();
        }
    });
    let mut client = Reconnecting::new(connector(), &url, Backoff::DEFAULT);
    for _ in 0..5 {
        let start = Instant::now();
        let interruption = interruption(&mut client).await;
        let wait = interruption.retry_in.unwrap();
        assert!(wait >= Duration::from_secs(120), "{wait:?}");
        assert!(start.elapsed() < Duration::from_secs(200));
    }
}

#[tokio::test(start_paused = true)]
async fn refusal_that_will_not_change_and_a_normal_close_are_the_end() {
    for refuses in [true, false] {
        let (listener, url) = listen().await;
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            if refuses {
                request_read(&mut stream).await;
                let answer = b"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n";
                stream.write_all(answer).await.unwrap();
                return;
            }
            let acceptor = Acceptor::new().timeouts(Timeouts::NONE);
            let mut ws = acceptor.accept(stream).await.unwrap();
            ws.close(CloseCode::NORMAL, "").unwrap();
            ws.closed().await;
        });
        let mut client = Reconnecting::new(connector(), &url, Backoff::DEFAULT);
        assert_eq!(interruption(&mut client).await.retry_in, None);
        assert!(client.next().await.is_none());
    }
}

/// 1012, and a lost transport, by turns; each message is echoed, or counted as of unknown fate.
#[tokio::test(start_paused = true)]
async fn server_that_restarts_is_found_again_a_hundred_times() {
    let (listener, url) = listen().await;
    tokio::spawn(async move {
        for turn in 0.. {
            let (stream, _) = listener.accept().await.unwrap();
            let acceptor = Acceptor::new().timeouts(Timeouts::NONE);
            let mut ws = acceptor.accept(stream).await.unwrap();
            let message = ws.recv().await.unwrap().unwrap();
            ws.send(message).await.unwrap();
            if turn % 2 == 0 {
                ws.close(CloseCode::SERVICE_RESTART, "").unwrap();
                ws.closed().await;
            }
        }
    });
    let backoff = Backoff {
        stable: 0,
        ..Backoff::DEFAULT
    };
    let mut client = Reconnecting::new(connector(), &url, backoff);
    for turn in 0..100 {
        let Some(Update::Opened(response)) = client.next().await else {
            panic!("it is not open")
        };
        assert_eq!(response.status(), 101);
        client.send("Hello").await.unwrap();
        let echo = client.next().await;
        assert!(matches!(&echo, Some(Update::Message(message)) if *message == "Hello".into()));
        let interruption = interruption(&mut client).await;
        assert_eq!(interruption.unconfirmed, 1);
        let wait = interruption.retry_in.unwrap();
        if turn % 2 == 0 {
            let range = Duration::from_secs(5)..=Duration::from_secs(30);
            assert!(range.contains(&wait), "{wait:?}");
        } else {
            assert!(wait <= Duration::from_secs(5), "{wait:?}");
        }
        assert!(
            interruption.to_string().contains("; next attempt in "),
            "{interruption}"
        );
    }
}

/// Lets `op` wait twice at most; `None` if it is dropped then.
async fn cut_short<T>(op: impl Future<Output = T>) -> Option<T> {
    let mut op = pin!(op);
    let mut waits = 0;
    poll_fn(|cx| match op.as_mut().poll(cx) {
        Poll::Ready(done) => Poll::Ready(Some(done)),
        Poll::Pending if waits == 1 => Poll::Ready(None),
        Poll::Pending => {
            waits += 1;
            Poll::Pending
        }
    })
    .await
}

/// Each attempt to connect goes on, no message is lost, and none that was taken is sent again.
#[tokio::test(start_paused = true)]
async fn client_whose_futures_are_dropped_loses_nothing() {
    let (listener, url) = listen().await;
    let serving = tokio::spawn(async move {
        let mut received = Vec::new();
        for _ in 0..20 {
            let (stream, _) = listener.accept().await.unwrap();
            let acceptor = Acceptor::new().timeouts(Timeouts::NONE);
            let mut ws = acceptor.accept(stream).await.unwrap();
            for _ in 0..3 {
                let message = ws.recv().await.unwrap().unwrap();
                received.push(message.as_text().unwrap().to_owned());
                ws.send(message).await.unwrap();
            }
            ws.close(CloseCode::SERVICE_RESTART, "").unwrap();
            ws.closed().await;
        }
        received
    });
    let backoff = Backoff {
        stable: 0,
        ..Backoff::DEFAULT
    };
    let mut client = Reconnecting::new(connector(), &url, backoff);
    let (mut sent, mut echoed) = (0, 0);
    let (mut opened, mut ended) = (0, 0);
    while ended < 20 {
        let update = loop {
            match cut_short(client.next()).await {
                Some(update) => break update.unwrap(),
                None => tokio::time::sleep(Duration::from_millis(1)).await,
            }
        };
        match update {
            Update::Opened(_) => {
                opened += 1;
                for _ in 0..3 {
                    // Loopback has room for it, so it was taken before it could be dropped.
                    let done = cut_short(client.send(sent.to_string())).await;
                    assert!(matches!(done, None | Some(Ok(()))), "{done:?}");
                    sent += 1;
                }
            }
            Update::Message(message) => {
                assert_eq!(message, echoed.to_string().into());
                echoed += 1;
            }
            Update::Ended(interruption) => {
                assert_eq!(interruption.unconfirmed, 3);
                ended += 1;
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((opened, echoed), (20, 60));
    let expected: Vec<String> = (0..60).map(|number: u32| number.to_string()).collect();
    assert_eq!(serving.await.unwrap(), expected);
}

/// A close of this side's is the end, and then the peer has read everything.
#[tokio::test(start_paused = true)]
async fn close_of_this_side_is_the_end_and_nothing_is_unconfirmed() {
    let (listener, url) = listen().await;
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let acceptor = Acceptor::new().timeouts(Timeouts::NONE);
        let mut ws = acceptor.accept(stream).await.unwrap();
        while ws.recv().await.unwrap().is_some() {}
    });
    let mut client = Reconnecting::new(connector(), &url, Backoff::DEFAULT);
    // An attempt whose future is dropped goes on.
    while !client.is_open() {
        tokio::select! {
            biased;
            update = client.next() => assert!(matches!(update, Some(Update::Opened(_)))),
            () = tokio::task::yield_now() => {}
        }
    }
    client.send("Hello").await.unwrap();
    client.close(CloseCode::GOING_AWAY, "").unwrap();
    let back = client.send("late").await;
    assert!(matches!(back, Err(NotSent::Unsent(message)) if message == "late".into()));
    let interruption = interruption(&mut client).await;
    assert!(matches!(
        interruption.reason,
        Interrupted::Connection(Ended::Closed { .. }, None)
    ));
    assert_eq!((interruption.retry_in, interruption.unconfirmed), (None, 0));
    assert!(client.next().await.is_none());
}

/// Before the first attempt, in its midst, and in the wait for the next one: the end is reported as such.
#[tokio::test(start_paused = true)]
async fn close_without_a_connection_is_reported_and_is_the_end() {
    let (listener, silent) = listen().await;
    let (refusing, refused) = listen().await;
    drop(refusing);
    for (url, begins) in [(&silent, false), (&silent, true), (&refused, true)] {
        let mut client = Reconnecting::new(connector(), url, Backoff::DEFAULT);
        if begins && url == &silent {
            tokio::select! {
                update = client.next() => panic!("{update:?}"),
                accepted = listener.accept() => drop(accepted.unwrap()),
            }
        } else if begins {
            let wait = interruption(&mut client).await.retry_in;
            assert!(wait.is_some());
        }
        client.close(CloseCode::NORMAL, "").unwrap();
        let interruption = interruption(&mut client).await;
        let text = interruption.to_string();
        assert_eq!(text, "connecting was aborted; no further attempt");
        assert!(matches!(
            interruption.reason,
            Interrupted::Attempt(ConnectError::Aborted)
        ));
        assert_eq!((interruption.retry_in, interruption.unconfirmed), (None, 0));
        assert!(client.next().await.is_none());
        // Once.
        client.close(CloseCode::NORMAL, "").unwrap();
        assert!(client.next().await.is_none());
    }
}

/// The peer's Close was read by a `next` that was dropped: this side's comes too late, and still counts.
#[tokio::test(start_paused = true)]
async fn close_after_the_one_of_the_peer_is_the_end_as_well() {
    let (listener, url) = listen().await;
    let (end, wait) = tokio::sync::oneshot::channel();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let acceptor = Acceptor::new().timeouts(Timeouts::NONE);
        let mut ws = acceptor.accept(&mut stream).await.unwrap();
        ws.close(CloseCode::GOING_AWAY, "").unwrap();
        ws.flush().await.unwrap();
        // It keeps the transport for a while.
        wait.await.unwrap();
    });
    let mut client = Reconnecting::new(connector(), &url, Backoff::DEFAULT);
    assert!(matches!(client.next().await, Some(Update::Opened(_))));
    let invalid = client.close(CloseCode::NO_STATUS_RECEIVED, "with a reason");
    assert!(matches!(invalid, Err(SendError::Invalid(_))), "{invalid:?}");
    // Until the Close is read.
    while client.send("x").await.is_ok() {
        tokio::select! {
            biased;
            update = client.next() => panic!("{update:?}"),
            () = tokio::task::yield_now() => {}
        }
    }
    let closed = client.close(CloseCode::NORMAL, "");
    assert!(matches!(closed, Err(SendError::Closed)), "{closed:?}");
    end.send(()).unwrap();
    let interruption = interruption(&mut client).await;
    assert_eq!(interruption.retry_in, None);
    assert!(client.next().await.is_none());
}

/// The peer sends and does not read: the connection is open, and the message comes back.
#[tokio::test(start_paused = true)]
async fn message_that_finds_no_room_on_either_side_comes_back_as_such() {
    let (listener, url) = listen().await;
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let acceptor = Acceptor::new().timeouts(Timeouts::NONE);
        let mut ws = acceptor.accept(stream).await.unwrap();
        for _ in 0..10 {
            ws.send(vec![0; 1000]).await.unwrap();
        }
        core::future::pending::<()>().await;
    });
    let connector = connector().max_inbound(2000);
    let mut client = Reconnecting::new(connector, &url, Backoff::DEFAULT);
    assert!(matches!(client.next().await, Some(Update::Opened(_))));
    let refused = loop {
        if let Err(refused) = client.send(vec![1; 200_000]).await {
            break refused;
        }
    };
    assert!(refused.to_string().contains("receive first"), "{refused}");
    assert!(matches!(refused, NotSent::InboundFull(message) if message.len() == 200_000));
    assert!(client.is_open());
}
