//! A client that comes back: from each kind of end, with the fate of each message, and other threads.

use core::net::SocketAddr;
use core::time::Duration;
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::Instant;

use motews_std::{
    Aborter, Backoff, CloseCode, ConnectError, Connector, Ended, Interrupted, Interruption,
    Message, NotSent, Reconnecting, SendError, Timeouts, Update, WebSocket, role,
};
use motews_testkit::head;
use socket2::{Domain, Socket, Type};

/// How long anything may take that does not depend on a deadline.
const PATIENCE: Duration = Duration::from_secs(20);

/// Each connection counts as a success.
const BACKOFF: Backoff = Backoff {
    stable: 0,
    ..Backoff::DEFAULT
};

type Accepted = WebSocket<TcpStream, role::Server>;

/// A server that does this with its connections, one after the other; the first gets 0.
fn serve<T: Send + 'static>(
    connections: usize,
    mut each: impl FnMut(usize, TcpStream) -> T + Send + 'static,
) -> (String, JoinHandle<Vec<T>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("ws://{}/", listener.local_addr().unwrap());
    let serving = thread::spawn(move || {
        (0..connections)
            .map(|turn| each(turn, listener.accept().unwrap().0))
            .collect()
    });
    (url, serving)
}

fn accept(stream: TcpStream) -> Accepted {
    motews_std::accept(stream).unwrap()
}

fn refuse(mut stream: TcpStream, answer: &str) {
    head::read(&mut stream);
    stream.write_all(answer.as_bytes()).unwrap();
}

const BUSY: &str = "HTTP/1.1 503 Busy\r\nRetry-After: 120\r\nContent-Length: 0\r\n\r\n";

fn close(ws: &mut Accepted, code: CloseCode) {
    ws.close(code, "").unwrap();
    ws.closed().unwrap();
}

fn opened(client: &mut Reconnecting) {
    match client.next() {
        Some(Update::Opened(response)) => assert_eq!(response.status(), 101),
        other => panic!("{other:?}"),
    }
}

fn interruption(client: &mut Reconnecting) -> Interruption {
    loop {
        match client.next() {
            Some(Update::Ended(interruption)) => return interruption,
            Some(_) => {}
            None => panic!("it has given up"),
        }
    }
}

/// An address where nobody listens, as long as the socket is there.
fn unused() -> (SocketAddr, Socket) {
    let unused = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    unused
        .bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into())
        .unwrap();
    let address = unused.local_addr().unwrap().as_socket().unwrap();
    (address, unused)
}

#[test]
fn port_that_refuses_is_tried_with_longer_and_longer_waits() {
    let backoff = Backoff {
        first: 0,
        minimum: 1,
        range: 0,
        ..Backoff::DEFAULT
    };
    let (address, _unused) = unused();
    let url = format!("ws://{address}/");
    let mut client = Reconnecting::new(Connector::new(), &url, backoff);
    let mut due = Instant::now();
    for expected in [0, 1, 2, 4, 8, 16, 32, 64, 64, 64] {
        let interruption = interruption(&mut client);
        assert!(Instant::now() >= due);
        let wait = Duration::from_millis(expected);
        assert_eq!(interruption.retry_in, Some(wait));
        due = Instant::now() + wait - Duration::from_millis(1);
        let reason = interruption.reason;
        assert!(
            matches!(reason, Interrupted::Attempt(ConnectError::Io(_))),
            "{reason:?}"
        );
        let back = client.send("x");
        assert!(matches!(back, Err(NotSent::Unsent(message)) if message == "x".into()));
    }
}

#[test]
fn server_that_is_busy_is_left_alone_for_as_long_as_it_wants() {
    let (url, serving) = serve(3, |_, stream| refuse(stream, BUSY));
    let mut client = Reconnecting::new(Connector::new(), &url, Backoff::DEFAULT);
    for _ in 0..3 {
        let wait = interruption(&mut client).retry_in.unwrap();
        assert!(wait >= Duration::from_secs(120), "{wait:?}");
        // The link came up: no waiting.
        client.reset();
    }
    serving.join().unwrap();
}

#[test]
fn refusal_that_will_not_change_and_a_normal_close_are_the_end() {
    let forbidden = "HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n";
    for refuses in [true, false] {
        let (url, serving) = serve(1, move |_, stream| match refuses {
            true => refuse(stream, forbidden),
            false => close(&mut accept(stream), CloseCode::NORMAL),
        });
        let mut client = Reconnecting::new(Connector::new(), &url, Backoff::DEFAULT);
        assert_eq!(interruption(&mut client).retry_in, None);
        assert!(client.next().is_none());
        client.reset();
        assert!(client.next().is_none());
        serving.join().unwrap();
    }
}

/// 503, 1012 and a lost transport by turns; each message is echoed, or counted as of unknown fate.
#[test]
fn server_that_restarts_is_found_again_thirty_times() {
    let (url, serving) = serve(30, |turn, stream| {
        if turn % 3 == 0 {
            return refuse(stream, BUSY);
        }
        let mut ws = accept(stream);
        let message = ws.recv().unwrap().unwrap();
        ws.send(message).unwrap();
        match turn % 3 {
            1 => close(&mut ws, CloseCode::SERVICE_RESTART),
            // Without a Close.
            _ => ws.stream().shutdown(std::net::Shutdown::Both).unwrap(),
        }
    });
    let mut client = Reconnecting::new(Connector::new(), &url, BACKOFF);
    for turn in 0..30 {
        let (least, most, sent) = match turn % 3 {
            0 => (120, 130, 0),
            // After a refusal: the second wait, without a random part of 10 s.
            1 => (5, 30, 1),
            _ => (0, 5, 1),
        };
        if sent > 0 {
            opened(&mut client);
            client.send("Hello").unwrap();
            let echo = client.next();
            assert!(matches!(&echo, Some(Update::Message(message)) if *message == "Hello".into()));
        }
        let interruption = interruption(&mut client);
        assert_eq!(interruption.unconfirmed, sent);
        let wait = interruption.retry_in.unwrap();
        let range = Duration::from_secs(least)..=Duration::from_secs(most);
        assert!(range.contains(&wait), "{turn}: {wait:?}");
        let text = interruption.to_string();
        assert!(text.contains("; next attempt in "), "{text}");
        client.reset();
    }
    serving.join().unwrap();
}

#[test]
fn close_of_this_side_is_the_end_and_nothing_is_unconfirmed() {
    let (url, serving) = serve(1, |_, stream| {
        let mut ws = accept(stream);
        while ws.recv().unwrap().is_some() {}
    });
    let mut client = Reconnecting::new(Connector::new(), &url, BACKOFF);
    opened(&mut client);
    client.send("Hello").unwrap();
    let invalid = client.close(CloseCode::NO_STATUS_RECEIVED, "with a reason");
    assert!(matches!(invalid, Err(SendError::Invalid(_))), "{invalid:?}");
    client.close(CloseCode::GOING_AWAY, "").unwrap();
    let back = client.send("late");
    assert!(matches!(back, Err(NotSent::Unsent(message)) if message == "late".into()));
    let interruption = interruption(&mut client);
    assert!(matches!(
        interruption.reason,
        Interrupted::Connection(Ended::Closed { .. }, None)
    ));
    assert_eq!((interruption.retry_in, interruption.unconfirmed), (None, 0));
    assert!(client.next().is_none());
    serving.join().unwrap();
}

/// The peer sends and does not read: the connection is open, and the message comes back.
#[test]
fn message_that_finds_no_room_on_either_side_comes_back_as_such() {
    let (release, held) = mpsc::channel::<()>();
    let (url, serving) = serve(1, move |_, stream| {
        let mut ws = accept(stream);
        for _ in 0..10 {
            ws.send(vec![0; 1000]).unwrap();
        }
        held.recv().unwrap_err();
    });
    let connector = Connector::new().timeouts(Timeouts::NONE).max_inbound(2000);
    let mut client = Reconnecting::new(connector, &url, BACKOFF);
    opened(&mut client);
    let refused = loop {
        if let Err(refused) = client.send(vec![1; 200_000]) {
            break refused;
        }
    };
    assert!(refused.to_string().contains("receive first"), "{refused}");
    assert!(matches!(refused, NotSent::InboundFull(message) if message.len() == 200_000));
    assert!(client.is_open());
    drop(release);
    serving.join().unwrap();
}

/// Runs this in another thread once the client waits for two minutes; returns what came of the client, and
/// how long that took.
fn while_waiting(
    connector: Connector,
    act: impl FnOnce(&motews_std::ReconnectingSender) + Send + 'static,
) -> (Option<Update>, Reconnecting, Duration) {
    let (url, serving) = serve(1, |_, stream| refuse(stream, BUSY));
    let mut client = Reconnecting::new(connector, &url, BACKOFF);
    let sender = client.sender().unwrap();
    assert!(interruption(&mut client).retry_in >= Some(Duration::from_secs(120)));
    serving.join().unwrap();
    let start = Instant::now();
    let acting = thread::spawn(move || act(&sender));
    let update = client.next();
    acting.join().unwrap();
    (update, client, start.elapsed())
}

#[test]
fn wait_for_the_next_attempt_is_aborted_from_another_thread_at_once() {
    let aborter = Aborter::new().unwrap();
    let connector = Connector::new().aborter(&aborter);
    let (update, mut client, took) = while_waiting(connector, move |_| aborter.abort());
    match update {
        Some(Update::Ended(end)) => {
            assert!(matches!(
                end.reason,
                Interrupted::Attempt(ConnectError::Aborted)
            ));
            assert_eq!(end.retry_in, None);
        }
        other => panic!("{other:?}"),
    }
    assert!(client.next().is_none());
    assert!(took < PATIENCE);
}

#[test]
fn wait_for_the_next_attempt_ends_when_a_sender_closes() {
    let (update, mut client, took) = while_waiting(Connector::new(), |sender| {
        let back = sender.send("x");
        assert!(matches!(back, Err(NotSent::Unsent(message)) if message == "x".into()));
        sender.close(CloseCode::GOING_AWAY, "").unwrap();
    });
    assert_is_given_up(update);
    assert!(client.next().is_none());
    assert!(took < PATIENCE);
}

fn assert_is_given_up(update: Option<Update>) {
    let Some(Update::Ended(interruption)) = update else {
        panic!("{update:?}")
    };
    let text = interruption.to_string();
    assert_eq!(text, "connecting was aborted; no further attempt");
    assert!(matches!(
        interruption.reason,
        Interrupted::Attempt(ConnectError::Aborted)
    ));
    assert_eq!((interruption.retry_in, interruption.unconfirmed), (None, 0));
}

#[test]
fn close_without_a_connection_is_reported_and_is_the_end() {
    let (address, _unused) = unused();
    let url = format!("ws://{address}/");
    for steps in 0..2 {
        let mut client = Reconnecting::new(Connector::new(), &url, BACKOFF);
        for _ in 0..steps {
            assert!(interruption(&mut client).retry_in.is_some());
        }
        client.close(CloseCode::NORMAL, "").unwrap();
        assert_is_given_up(client.next());
        assert!(client.next().is_none());
        client.close(CloseCode::NORMAL, "").unwrap();
        assert!(client.next().is_none());
    }
}

/// The server answers after the Close, and its connection is not used.
#[test]
fn attempt_that_succeeds_after_a_sender_has_closed_is_reported_as_given_up() {
    let (asked, asks) = mpsc::channel();
    let (closed, closes) = mpsc::channel();
    let (url, serving) = serve(1, move |_, mut stream| {
        let request = head::read(&mut stream);
        asked.send(()).unwrap();
        closes.recv().unwrap();
        let response = head::Head::response_to(&request).to_bytes();
        stream.write_all(&response).unwrap();
    });
    let mut client = Reconnecting::new(Connector::new(), &url, BACKOFF);
    let sender = client.sender().unwrap();
    let closing = thread::spawn(move || {
        asks.recv().unwrap();
        sender.close(CloseCode::NORMAL, "").unwrap();
        closed.send(()).unwrap();
    });
    assert_is_given_up(client.next());
    assert!(client.next().is_none());
    closing.join().unwrap();
    serving.join().unwrap();
}

#[test]
fn open_connection_is_aborted_from_another_thread_and_that_is_the_end() {
    let (url, serving) = serve(1, |_, stream| {
        let ended = accept(stream).closed().unwrap();
        assert!(!ended.is_clean());
    });
    let aborter = Aborter::new().unwrap();
    let mut client = Reconnecting::new(Connector::new().aborter(&aborter), &url, BACKOFF);
    opened(&mut client);
    client.send("x").unwrap();
    let aborting = thread::spawn(move || aborter.abort());
    let interruption = interruption(&mut client);
    assert!(matches!(
        interruption.reason,
        Interrupted::Connection(Ended::Aborted, Some(_))
    ));
    assert_eq!((interruption.retry_in, interruption.unconfirmed), (None, 1));
    aborting.join().unwrap();
    serving.join().unwrap();
}

/// A sender in another thread, and a server that goes after every tenth message: what came back is sent
/// once more, and nothing else, and nothing comes twice. Each message that was taken and did not come is
/// counted.
#[test]
fn messages_of_another_thread_are_each_taken_or_given_back() {
    const CONNECTIONS: usize = 50;
    let (url, serving) = serve(CONNECTIONS, |turn, stream| {
        let mut ws = accept(stream);
        let mut numbers: Vec<u64> = Vec::new();
        while let Ok(Some(message)) = ws.recv() {
            numbers.push(message.as_text().unwrap().parse().unwrap());
            if numbers.len() == 10 && turn + 1 < CONNECTIONS {
                break;
            }
        }
        numbers
    });
    let mut client = Reconnecting::new(Connector::new(), &url, BACKOFF);
    let sender = client.sender().unwrap();
    let (over, is_over) = mpsc::channel::<()>();
    let sending = thread::spawn(move || {
        let (mut number, mut taken) = (0_u64, 0);
        while let Err(mpsc::TryRecvError::Empty) = is_over.try_recv() {
            match sender.send(number.to_string()) {
                Ok(()) | Err(NotSent::Unknown(_)) => taken += 1,
                Err(NotSent::Unsent(message)) => {
                    assert_eq!(message, Message::from(number.to_string()));
                    thread::yield_now();
                    continue;
                }
                Err(other) => panic!("{other:?}"),
            }
            number += 1;
            if number == 100_000 {
                break;
            }
        }
        (taken, sender)
    });
    let mut unconfirmed = 0;
    for turn in 0..CONNECTIONS {
        opened(&mut client);
        if turn + 1 == CONNECTIONS {
            break;
        }
        let interruption = interruption(&mut client);
        assert!(interruption.unconfirmed >= 10);
        unconfirmed += interruption.unconfirmed;
        client.reset();
    }
    drop(over);
    let (taken, sender) = sending.join().unwrap();
    sender.close(CloseCode::NORMAL, "").unwrap();
    assert_eq!(interruption(&mut client).unconfirmed, 0);
    assert!(client.next().is_none());
    let received = serving.join().unwrap();
    let last = received.last().unwrap().len() as u64;
    assert_eq!(unconfirmed + last, taken);
    let all: Vec<u64> = received.into_iter().flatten().collect();
    assert!(all.is_sorted_by(|one, next| one < next), "{all:?}");
}

/// Another thread waits in `send` for a peer that does not read. It is told when the peer goes, and the
/// end is reported after that.
#[test]
fn sender_that_waits_for_room_is_told_when_the_connection_ends() {
    let (goes, go) = mpsc::channel::<()>();
    let (url, serving) = serve(1, move |_, stream| {
        let ws = accept(stream);
        go.recv().unwrap();
        ws.stream().shutdown(std::net::Shutdown::Both).unwrap();
    });
    let connector = Connector::new().timeouts(Timeouts::NONE);
    let mut client = Reconnecting::new(connector, &url, BACKOFF);
    opened(&mut client);
    // Made after the connection was opened.
    let sender = client.sender().unwrap();
    let sending = thread::spawn(move || {
        let mut taken = 0;
        loop {
            match sender.send(vec![0; 1_000_000]) {
                Ok(()) => taken += 1,
                Err(NotSent::Unknown(_)) => return taken + 1,
                Err(NotSent::Unsent(_)) => return taken,
                Err(other) => panic!("{other:?}"),
            }
            // It holds no more than some megabytes by itself.
            if taken == 1 {
                goes.send(()).unwrap();
            }
        }
    });
    let interruption = interruption(&mut client);
    assert_eq!(interruption.unconfirmed, sending.join().unwrap());
    assert!(interruption.unconfirmed > 0);
    serving.join().unwrap();
}

#[test]
fn client_that_is_dropped_takes_its_senders_with_it() {
    let (url, serving) = serve(1, |_, stream| accept(stream).closed().unwrap());
    let mut client = Reconnecting::new(Connector::new(), &url, BACKOFF);
    let sender = client.sender().unwrap();
    opened(&mut client);
    assert!(sender.is_open());
    sender.send("x").unwrap();
    drop(client);
    assert!(!sender.is_open());
    assert!(matches!(sender.send("x"), Err(NotSent::Unsent(_))));
    let ended = serving.join().unwrap();
    assert!(
        matches!(
            ended[0],
            Ended::Closed {
                code: CloseCode::GOING_AWAY,
                ..
            }
        ),
        "{ended:?}"
    );
}
