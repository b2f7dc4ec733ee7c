//! Thousands of reconnects, from every kind of end, in constant memory.

use core::net::SocketAddr;
use core::sync::atomic::{AtomicUsize, Ordering};
use core::time::Duration;
use std::io;
use std::sync::Arc;

use motews_testkit::authority::Authority;
use motews_testkit::fates::{BUSY, Fate, Usage};
use motews_tokio::{
    Acceptor, Backoff, CloseCode, ConnectError, Connector, Ended, Interrupted, Interruption,
    Message, NotSent, Reconnecting, Timeouts, Update,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::Mutex;
use tokio_rustls::TlsAcceptor;

/// Serves one connection. Messages are numbers that only ever grow: none comes twice.
async fn serve(stream: TcpStream, fate: Fate, tls: TlsAcceptor, newest: &AtomicUsize) {
    // A client that does not trust this side ends it.
    let Ok(mut stream) = tls.accept(stream).await else {
        assert_eq!(fate, Fate::Untrusted);
        return;
    };
    if matches!(fate, Fate::Gone | Fate::Busy) {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        if fate == Fate::Busy {
            stream.write_all(BUSY).await.unwrap();
            stream.flush().await.unwrap();
        }
        return;
    }
    let acceptor = Acceptor::new().timeouts(Timeouts::NONE);
    let mut ws = acceptor.accept(stream).await.unwrap();
    let message = ws.recv().await.unwrap().unwrap();
    let number = message.as_text().unwrap().parse().unwrap();
    assert!(newest.swap(number, Ordering::Relaxed) < number);
    ws.send(message).await.unwrap();
    let code = match fate {
        Fate::Restarts => CloseCode::SERVICE_RESTART,
        Fate::Leaves => CloseCode::GOING_AWAY,
        _ => return,
    };
    ws.close(code, "").unwrap();
    ws.closed().await;
}

/// What the process uses, and how many tasks there are.
fn usage() -> (Usage, usize) {
    (Usage::now(), Handle::current().metrics().num_alive_tasks())
}

/// In paused time nothing may be due while bytes are on their way over loopback, so there are no times
/// but those of the client that comes back.
async fn reconnect(turns: usize) {
    // Descriptors and memory are those of the process.
    static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());
    let _turn = ONE_AT_A_TIME.lock().await;
    let (trusted, other) = (Authority::new(), Authority::new());
    let tls = [&trusted, &other].map(|authority| {
        let config = authority.server("server.test", None);
        TlsAcceptor::from(Arc::new(config))
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let open = listener.local_addr().unwrap();
    // It has an address, and does not listen.
    let unused = TcpSocket::new_v4().unwrap();
    unused.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let refused = unused.local_addr().unwrap();
    // The resolver is asked once for each attempt.
    let attempts = Arc::new(AtomicUsize::new(0));
    let asked = attempts.clone();
    tokio::spawn(async move {
        let newest = AtomicUsize::new(0);
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            stream.set_nodelay(true).unwrap();
            let fate = Fate::of(asked.load(Ordering::Relaxed) - 1);
            let tls = tls[usize::from(fate == Fate::Untrusted)].clone();
            serve(stream, fate, tls, &newest).await;
        }
    });
    let resolved = attempts.clone();
    let resolve = move |host: String, port: u16| {
        assert_eq!((host.as_str(), port), ("server.test", 443));
        let found: io::Result<Vec<SocketAddr>> =
            match Fate::of(resolved.fetch_add(1, Ordering::Relaxed)) {
                Fate::Unresolved => Err(io::ErrorKind::NotFound.into()),
                Fate::Refused => Ok(vec![refused]),
                _ => Ok(vec![open]),
            };
        async move { found }
    };
    let connector = Connector::new()
        .timeouts(Timeouts::NONE)
        .connect_timeout(None)
        .tls(trusted.client(None))
        .resolver(resolve);
    let mut client = Reconnecting::new(connector, "wss://server.test/", Backoff::DEFAULT);

    let mut number = 0;
    let mut before = None;
    for turn in 0..turns {
        if turn == turns / 10 {
            before = Some(usage());
        }
        // Nothing of it ever leaves: the server knows no such number.
        let back = client.send("never").await;
        assert!(matches!(back, Err(NotSent::Unsent(message)) if message == "never".into()));
        let fate = Fate::of(turn);
        let (interruption, sent) = match client.next().await {
            Some(Update::Opened(_)) => talk(&mut client, fate, &mut number).await,
            Some(Update::Ended(interruption)) => (interruption, 0),
            other => panic!("{other:?}"),
        };
        assert_eq!(attempts.load(Ordering::Relaxed), turn + 1);
        assert_eq!(interruption.unconfirmed, sent);
        check(&interruption, fate);
    }
    let ((before, before_tasks), (after, tasks)) = (before.unwrap(), usage());
    assert_eq!(after.descriptors, before.descriptors);
    assert_eq!(tasks, before_tasks);
    after.check(&before, turns);
}

/// Sends the next number, and receives it; returns how the connection ended, and how many messages were
/// sent over it.
async fn talk(client: &mut Reconnecting, fate: Fate, number: &mut usize) -> (Interruption, u64) {
    let mut sent = 1;
    *number += 1;
    client.send(number.to_string()).await.unwrap();
    match client.next().await {
        Some(Update::Message(echo)) => assert_eq!(echo, number.to_string().into()),
        other => panic!("{other:?}"),
    }
    // Nobody reads these. Each was taken, or comes back.
    if fate == Fate::Lost {
        loop {
            let message = Message::from("0");
            match client.send(message.clone()).await {
                Ok(()) => sent += 1,
                Err(NotSent::Unknown(_)) => {
                    sent += 1;
                    break;
                }
                Err(NotSent::Unsent(back)) => {
                    assert_eq!(back, message);
                    break;
                }
                Err(other) => panic!("{other:?}"),
            }
            tokio::task::yield_now().await;
        }
    }
    match client.next().await {
        Some(Update::Ended(interruption)) => (interruption, sent),
        other => panic!("{other:?}"),
    }
}

/// Each end has its reason, and its wait.
fn check(interruption: &Interruption, fate: Fate) {
    let is_right = match (&interruption.reason, fate) {
        (Interrupted::Attempt(error), fate) => match (error, fate) {
            (ConnectError::Io(error), Fate::Unresolved) => {
                error.kind() == io::ErrorKind::NotFound && error.to_string().contains("server.test")
            }
            (ConnectError::Io(error), Fate::Refused) => {
                error.kind() == io::ErrorKind::ConnectionRefused
            }
            (ConnectError::Tls(_), Fate::Untrusted) => true,
            (ConnectError::Io(_), Fate::Gone) => true,
            (ConnectError::Refused(response), Fate::Busy) => response.status() == 503,
            _ => false,
        },
        (Interrupted::Connection(Ended::Closed { code, .. }, None), Fate::Restarts) => {
            *code == CloseCode::SERVICE_RESTART
        }
        (Interrupted::Connection(Ended::Closed { code, .. }, None), Fate::Leaves) => {
            *code == CloseCode::GOING_AWAY
        }
        (Interrupted::Connection(_, Some(_)), Fate::Lost) => true,
        _ => false,
    };
    assert!(is_right, "{fate:?}: {interruption:?}");
    let wait = interruption.retry_in.unwrap();
    let least = match fate {
        Fate::Busy => 120,
        Fate::Untrusted => 64, // the longest wait
        _ => 0,
    };
    let random = match fate {
        Fate::Busy => 10,
        _ => 64 + 10,
    };
    let (least, random) = (Duration::from_secs(least), Duration::from_secs(random));
    assert!(
        wait >= least && wait <= least + random,
        "{fate:?}: {wait:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn client_that_meets_every_end_comes_back_from_each() {
    reconnect(Fate::ALL.len() * 10).await;
}

#[tokio::test(start_paused = true)]
#[ignore = "takes 15 s"]
async fn client_comes_back_ten_thousand_times_in_constant_memory() {
    reconnect(10_000).await;
}
