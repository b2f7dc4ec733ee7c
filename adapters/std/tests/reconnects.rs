//! Thousands of reconnects, from every kind of end, in constant memory.

use core::net::SocketAddr;
use core::sync::atomic::{AtomicUsize, Ordering};
use core::time::Duration;
use std::io::{self, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use motews_std::rustls::ServerConfig;
use motews_std::tls::TlsStream;
use motews_std::{
    Backoff, CloseCode, ConnectError, Connector, Ended, Interrupted, Interruption, Message,
    NotSent, Reconnecting, Update,
};
use motews_testkit::authority::Authority;
use motews_testkit::fates::{BUSY, Fate, Usage};
use motews_testkit::head;
use socket2::{Domain, Socket, Type};

mod support;

/// Serves one connection. Messages are numbers that only ever grow: none comes twice.
fn serve(stream: TcpStream, fate: Fate, tls: Arc<ServerConfig>, newest: &mut usize) {
    let socket = stream.try_clone().unwrap();
    let mut stream = TlsStream::server(stream, tls).unwrap();
    if matches!(fate, Fate::Gone | Fate::Busy) {
        head::read(&mut stream);
        if fate == Fate::Busy {
            stream.write_all(BUSY).unwrap();
            stream.flush().unwrap();
        }
        return;
    }
    // A client that does not trust this side ends it.
    let Ok(mut ws) = motews_std::accept(stream) else {
        assert_eq!(fate, Fate::Untrusted);
        return;
    };
    let message = ws.recv().unwrap().unwrap();
    let number = message.as_text().unwrap().parse().unwrap();
    assert!(*newest < number);
    *newest = number;
    ws.send(message).unwrap();
    let code = match fate {
        Fate::Restarts => CloseCode::SERVICE_RESTART,
        Fate::Leaves => CloseCode::GOING_AWAY,
        // Else it would leave with a Close.
        _ => return socket.shutdown(Shutdown::Both).unwrap(),
    };
    ws.close(code, "").unwrap();
    ws.closed().unwrap();
}

/// No wait passes in real time: each is checked, and then ended as by a link that came up.
fn reconnect(turns: usize) {
    // Descriptors, threads and memory are those of the process.
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let (trusted, other) = (Authority::new(), Authority::new());
    let tls = [&trusted, &other].map(|authority| Arc::new(authority.server("server.test", None)));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let open = listener.local_addr().unwrap();
    // It has an address, and does not listen.
    let unused = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    unused
        .bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into())
        .unwrap();
    let refused = unused.local_addr().unwrap().as_socket().unwrap();
    // The resolver is asked once for each attempt.
    let attempts = Arc::new(AtomicUsize::new(0));
    let asked = attempts.clone();
    let reached =
        (0..turns).filter(|turn| !matches!(Fate::of(*turn), Fate::Unresolved | Fate::Refused));
    let reached = reached.count();
    let serving = thread::spawn(move || {
        let mut newest = 0;
        for _ in 0..reached {
            let (stream, _) = listener.accept().unwrap();
            stream.set_nodelay(true).unwrap();
            stream.set_read_timeout(Some(support::PATIENCE)).unwrap();
            let fate = Fate::of(asked.load(Ordering::Relaxed) - 1);
            let tls = tls[usize::from(fate == Fate::Untrusted)].clone();
            serve(stream, fate, tls, &mut newest);
        }
    });
    let resolved = attempts.clone();
    let resolve = move |host: &str, port: u16| {
        assert_eq!((host, port), ("server.test", 443));
        match Fate::of(resolved.fetch_add(1, Ordering::Relaxed)) {
            Fate::Unresolved => Err(io::ErrorKind::NotFound.into()),
            Fate::Refused => Ok(vec![refused]),
            _ => Ok(vec![open]),
        }
    };
    let connector = Connector::new().tls(trusted.client(None)).resolver(resolve);
    let mut client = Reconnecting::new(connector, "wss://server.test/", Backoff::DEFAULT);

    let mut number = 0;
    let mut before = None;
    for turn in 0..turns {
        if turn == turns / 10 {
            before = Some(Usage::now());
        }
        // Nothing of it ever leaves: the server knows no such number.
        let back = client.send("never");
        assert!(matches!(back, Err(NotSent::Unsent(message)) if message == "never".into()));
        let fate = Fate::of(turn);
        let (interruption, sent) = match client.next() {
            Some(Update::Opened(_)) => talk(&mut client, fate, &mut number),
            Some(Update::Ended(interruption)) => (interruption, 0),
            other => panic!("{other:?}"),
        };
        assert_eq!(attempts.load(Ordering::Relaxed), turn + 1);
        assert_eq!(interruption.unconfirmed, sent);
        check(&interruption, fate);
        client.reset();
    }
    let before = before.unwrap();
    // The server has a connection less when it has noticed that it is over, and a thread of the resolver
    // goes after its answer.
    support::until("no descriptor and no thread is left behind", || {
        let now = Usage::now();
        now.descriptors <= before.descriptors && now.threads <= before.threads
    });
    serving.join().unwrap();
    Usage::now().check(&before, turns);
}

/// Sends the next number, and receives it; returns how the connection ended, and how many messages were
/// sent over it.
fn talk(client: &mut Reconnecting, fate: Fate, number: &mut usize) -> (Interruption, u64) {
    let mut sent = 1;
    *number += 1;
    client.send(number.to_string()).unwrap();
    match client.next() {
        Some(Update::Message(echo)) => assert_eq!(echo, number.to_string().into()),
        other => panic!("{other:?}"),
    }
    // Nobody reads these. Each was taken, or comes back.
    if fate == Fate::Lost {
        loop {
            let message = Message::from("0");
            match client.send(message.clone()) {
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
            thread::yield_now();
        }
    }
    match client.next() {
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
            (ConnectError::Refused(refused), Fate::Busy) => refused.status == 503,
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
    // The first after a success, with its random part.
    let wait = match fate {
        Fate::Busy => 120..=130,
        Fate::Untrusted => 64..=74, // the longest
        Fate::Restarts => 5..=30,
        _ => 0..=5,
    };
    let (least, most) = wait.into_inner();
    let wait = Duration::from_secs(least)..=Duration::from_secs(most);
    let retry_in = interruption.retry_in.unwrap();
    assert!(wait.contains(&retry_in), "{fate:?}: {retry_in:?}");
}

#[test]
fn client_that_meets_every_end_comes_back_from_each() {
    reconnect(Fate::ALL.len() * 10);
}

#[test]
#[ignore = "takes 15 s"]
fn client_comes_back_ten_thousand_times_in_constant_memory() {
    reconnect(10_000);
}
