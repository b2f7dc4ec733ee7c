//! The event-driven server: what its users see.

#[path = "support/server.rs"]
mod server_support;
mod support;
#[cfg(feature = "tls")]
#[path = "support/tls.rs"]
mod tls_support;

use core::net::SocketAddr;
use core::time::Duration;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use motews_std::{
    CloseCode, ConnectError, Deadline, Ended, Handler, Hub, Membership, Message, MessageRef, Peer,
    PeerId, PeerSender, Peers, ProtocolViolation, Request, Response, SendError, Server,
    ServerBuilder, ServerLimits, Side, SlowPolicy, Timeouts, TrySendError, WebSocket,
};
use motews_testkit::frame::{masked, unmasked};
use motews_testkit::head::{Head, read as read_head};
use server_support::{
    FAST, PATIENCE, Recorder, Running, read_frame, read_to_end, start, start_threads, until,
};
use support::{QUICK, REQUEST};

/// A client whose receives do not take for ever.
fn recv(client: &mut WebSocket) -> Message {
    match client.recv_timeout(PATIENCE).unwrap() {
        motews_std::Received::Message(message) => message,
        other => panic!("{other:?} instead of a message"),
    }
}

fn echo(peer: &mut Peer, message: MessageRef) -> Result<(), SendError> {
    peer.send(message)
}

/// What became of a closing handshake that the peer has begun.
fn closed(code: u16) -> Ended {
    Ended::Closed {
        code: CloseCode::new(code),
        by: Side::Remote,
        clean: true,
    }
}

/// Whether this client was closed like that, and cleanly.
fn was_closed(client: &WebSocket, code: u16, reason: &str) -> bool {
    let ended = client.ended().unwrap();
    (
        ended.code().as_u16(),
        client.close_reason(),
        ended.is_clean(),
    ) == (code, reason, true)
}

// ---- messages ----

#[test]
fn open_message_of_any_kind_and_length_comes_back() {
    for threads in [1, 2] {
        let server = start_threads(Server::builder(), threads, echo);
        let mut client = server.connect();
        for len in [
            0,
            1,
            125,
            126,
            1000,
            16_383,
            16_384,
            16_385,
            65_535,
            65_536,
            65_550,
            131_072,
            1 << 20,
        ] {
            let text = "é".repeat(len / 2);
            client.send(text.as_str()).unwrap();
            assert_eq!(recv(&mut client), text.into());
            let bytes: Vec<u8> = (0..len).map(|n| n as u8).collect();
            client.send(&bytes).unwrap();
            assert_eq!(recv(&mut client), bytes.into());
        }
        client.close(CloseCode::NORMAL, "").unwrap();
        assert!(client.closed().unwrap().is_clean());
    }
}

#[test]
fn open_many_messages_in_one_segment_come_back_in_order() {
    let server = start(Server::builder(), echo);
    let mut stream = server.raw();
    let mut sent = REQUEST.to_vec();
    for n in 0..2000_u32 {
        sent.extend(masked(0x82, &n.to_be_bytes()));
    }
    stream.write_all(&sent).unwrap();
    assert!(read_head(&mut stream).starts_with("HTTP/1.1 101 "));
    for n in 0..2000_u32 {
        assert_eq!(read_frame(&mut stream), (0x82, n.to_be_bytes().to_vec()));
    }
}

#[test]
fn request_and_messages_octet_by_octet_are_served() {
    let server = start(Server::builder(), echo);
    let mut stream = server.raw();
    let mut sent = REQUEST.to_vec();
    sent.extend(masked(0x01, b"Hel"));
    sent.extend(masked(0x89, b"ping"));
    sent.extend(masked(0x80, "lö".as_bytes()));
    sent.extend(masked(0x88, b"\x03\xe8bye"));
    for octet in sent {
        stream.write_all(&[octet]).unwrap();
        std::thread::yield_now();
    }
    assert!(read_head(&mut stream).starts_with("HTTP/1.1 101 "));
    assert_eq!(read_frame(&mut stream), (0x8A, b"ping".to_vec()));
    assert_eq!(read_frame(&mut stream), (0x81, "Hellö".into()));
    // RFC 6455 §7.1.1: the server ends the connection first CL07
    assert_eq!(read_to_end(&mut stream), unmasked(0x88, b"\x03\xe8"));
}

#[test]
fn open_fragments_of_large_messages_of_many_peers_are_not_mixed() {
    let server = start(Server::builder(), echo);
    let mut streams: Vec<_> = (0..8).map(|_| server.open()).collect();
    let part = |n: usize| vec![n as u8; 100_000];
    for first in [0x02, 0x00, 0x80] {
        for (n, stream) in streams.iter_mut().enumerate() {
            stream.write_all(&masked(first, &part(n))).unwrap();
        }
    }
    for (n, stream) in streams.iter_mut().enumerate() {
        let (first, payload) = read_frame(stream);
        assert_eq!((first, payload.len()), (0x82, 300_000));
        assert!(payload.iter().all(|&octet| octet == n as u8));
    }
}

#[test]
fn open_pings_in_one_segment_are_each_answered_in_their_place() {
    let server = start(Server::builder(), echo);
    let mut stream = server.open();
    let mut sent = masked(0x89, b"1");
    sent.extend(masked(0x81, b"text"));
    sent.extend(masked(0x89, b"2"));
    sent.extend(masked(0x89, b"3"));
    stream.write_all(&sent).unwrap();
    for expected in [
        (0x8A, &b"1"[..]),
        (0x81, b"text"),
        (0x8A, b"2"),
        (0x8A, b"3"),
    ] {
        assert_eq!(read_frame(&mut stream), (expected.0, expected.1.to_vec()));
    }
}

// ---- requests ----

#[derive(Clone)]
struct Site;

impl Handler for Site {
    type Data = String;

    fn on_request(&mut self, request: &Request) -> Response {
        match (request.path(), request.is_websocket()) {
            ("/chat", true) => Response::accepted()
                .subprotocol("superchat")
                .header("X-Room", "1"),
            ("/chat", false) => Response::new(200)
                .header("Content-Type", "text/html")
                .body("<p>a page</p>"),
            ("/any", _) => Response::accepted(),
            ("/broken", _) => Response::accepted().subprotocol("not offered"),
            _ => Response::new(403).body("Not here\n"),
        }
    }

    fn on_open(&mut self, peer: &mut Peer, request: &Request) -> Result<String, SendError> {
        assert!(peer.is_open());
        assert_eq!(request.address(), Some(peer.address()));
        peer.send(format!(
            "{} {} {:?}",
            peer.id(),
            peer.address(),
            peer.subprotocol()
        ))?;
        Ok(request.path().to_owned())
    }

    fn on_message(
        &mut self,
        peer: &mut Peer<'_, Self::Data>,
        _: MessageRef<'_>,
    ) -> Result<(), SendError> {
        let path = peer.data().clone();
        peer.send(path)
    }
}

#[test]
fn request_accepted_by_the_handler_has_its_subprotocol_headers_data_and_greeting() {
    let server = start(Server::builder().header("Server", "motews"), Site);
    let mut stream = server.raw();
    let request = Head::request().and("Sec-WebSocket-Protocol", "chat, superchat");
    stream.write_all(&request.to_bytes()).unwrap();
    stream.write_all(&masked(0x81, b"where am I?")).unwrap();
    let head = read_head(&mut stream);
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    for header in [
        "Sec-WebSocket-Protocol: superchat",
        "X-Room: 1",
        "Server: motews",
    ] {
        assert!(head.contains(&format!("\r\n{header}\r\n")), "{head}");
    }
    let greeting = String::from_utf8(read_frame(&mut stream).1).unwrap();
    let expected = format!(" {} Some(\"superchat\")", stream.local_addr().unwrap());
    assert!(greeting.ends_with(&expected), "{greeting}");
    assert_eq!(read_frame(&mut stream), (0x81, b"/chat".to_vec()));
}

/// A slot that a peer by IPv6 leaves has the next one's address.
#[test]
fn peers_by_ipv4_and_ipv6_in_turn_have_their_own_addresses() {
    let server = Server::bind("[::]:0").unwrap();
    let (port, handle) = (server.local_addr().port(), server.handle());
    std::thread::scope(|scope| {
        scope.spawn(|| server.run(Site));
        for host in ["[::1]", "127.0.0.1", "[::1]"] {
            let url = format!("ws://{host}:{port}/any");
            let mut client = motews_std::connect(&url).unwrap();
            let own = client.stream().socket().local_addr().unwrap();
            // A server of both families sees IPv4 as a part of IPv6.
            let seen = match own {
                SocketAddr::V4(own) => {
                    SocketAddr::new(own.ip().to_ipv6_mapped().into(), own.port())
                }
                own => own,
            };
            let greeting = client.recv().unwrap().unwrap();
            let greeting = greeting.as_text().unwrap();
            assert!(greeting.contains(&format!(" {seen} ")), "{greeting}");
            client.close(CloseCode::NORMAL, "").unwrap();
            client.closed().unwrap();
            until("it is gone", || handle.connections() == 0);
        }
        handle.shutdown(Duration::ZERO);
    });
}

#[test]
fn request_refused_by_the_handler_gets_its_status_and_body() {
    let server = start(Server::builder(), Site);
    let url = format!("ws://{}/elsewhere", server.addr);
    match motews_std::connect(&url) {
        Err(ConnectError::Refused(refused)) => {
            assert_eq!(refused.status, 403);
            assert_eq!(refused.body, b"Not here\n");
        }
        other => panic!("{other:?}"),
    }
    // A subprotocol that the client does not offer may not be chosen HS14
    let url = format!("ws://{}/broken", server.addr);
    match motews_std::connect(&url) {
        Err(ConnectError::Refused(refused)) => {
            assert_eq!(refused.status, 400);
            let body = String::from_utf8(refused.body).unwrap();
            assert!(body.contains("subprotocol"), "{body}");
        }
        other => panic!("{other:?}"),
    }
    until("both are gone", || server.handle.connections() == 0);
}

#[test]
fn plain_request_on_the_same_path_gets_a_page_and_the_end_of_the_stream() {
    let server = start(Server::builder(), Site);
    for (request, status, body) in [
        ("GET /chat HTTP/1.1", "200 OK", "<p>a page</p>"),
        ("HEAD /chat HTTP/1.1", "200 OK", ""),
        ("GET /any HTTP/1.1", "426 Upgrade Required", ""),
        ("nonsense", "400 Bad Request", "request line"),
    ] {
        let mut stream = server.raw();
        write!(stream, "{request}\r\nHost: localhost\r\n\r\n").unwrap();
        let head = read_head(&mut stream);
        assert!(
            head.starts_with(&format!("HTTP/1.1 {status}\r\n")),
            "{head}"
        );
        let rest = read_to_end(&mut stream);
        assert!(rest.ends_with(body.as_bytes()), "{rest:?}");
        assert_eq!(rest.is_empty(), body.is_empty() && !rest.ends_with(b"\n"));
    }
    until("all are gone", || server.handle.connections() == 0);
}

#[test]
fn request_for_a_long_page_gets_all_of_it() {
    let page: Arc<[u8]> = (0..5_000_000_u32).map(|n| n as u8).collect();
    #[derive(Clone)]
    struct Page(Arc<[u8]>);
    impl Handler for Page {
        type Data = ();
        fn on_open(&mut self, _: &mut Peer, _: &Request) -> Result<(), SendError> {
            Ok(())
        }
        fn on_request(&mut self, _: &Request) -> Response {
            Response::new(200).body(&*self.0)
        }
        fn on_message(&mut self, _: &mut Peer, _: MessageRef) -> Result<(), SendError> {
            Ok(())
        }
    }
    let server = start(Server::builder(), Page(page.clone()));
    let mut stream = server.raw();
    stream
        .write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .unwrap();
    // Its own half may have ended.
    stream.shutdown(Shutdown::Write).unwrap();
    assert!(read_head(&mut stream).starts_with("HTTP/1.1 200 "));
    assert!(read_to_end(&mut stream) == *page);
    until("it is gone", || server.handle.connections() == 0);
}

// ---- the end ----

#[test]
fn open_close_of_the_peer_is_told_once_with_code_and_reason() {
    let recorder = Recorder::default();
    let server = start(Server::builder(), recorder.clone());
    let mut client = server.connect();
    client.send("Hello").unwrap();
    client.close(CloseCode::new(4000), "enough").unwrap();
    assert!(client.closed().unwrap().is_clean());
    let outcome = recorder.outcome();
    assert_eq!(outcome.ended, closed(4000));
    assert_eq!((outcome.code.as_u16(), &*outcome.reason), (4000, "enough"));
    until("it is gone", || server.handle.connections() == 0);
    assert_eq!(recorder.outcomes().len(), 1);
}

#[test]
fn open_peer_that_leaves_without_a_close_is_told_once_as_abnormal() {
    type Leave = fn(std::net::TcpStream);
    let eof = Ended::Violation(ProtocolViolation::UnexpectedEof);
    let ways: [(&str, Leave, Ended); 4] = [
        ("FIN", |stream| drop(stream), eof),
        (
            "half",
            |stream| {
                stream.shutdown(Shutdown::Write).unwrap();
                read_to_end(&mut &stream);
            },
            eof,
        ),
        ("RST", |stream| drop(reset(stream)), Ended::Lost),
        (
            "in a frame",
            |mut stream| stream.write_all(b"\x81\x85").unwrap(),
            eof,
        ),
    ];
    for (way, leave, ended) in ways {
        let recorder = Recorder::default();
        let server = start(Server::builder(), recorder.clone());
        leave(server.open());
        let outcome = recorder.outcome();
        assert_eq!(outcome.ended, ended, "{way}");
        assert_eq!((outcome.code.as_u16(), &*outcome.reason), (1006, ""));
        until("it is gone", || server.handle.connections() == 0);
    }
}

/// Unread input makes the operating system reset the connection when it is closed.
fn reset(mut stream: std::net::TcpStream) -> std::net::TcpStream {
    stream.write_all(&masked(0x81, b"unread")).unwrap();
    let mut peeked = [0; 1];
    while stream.peek(&mut peeked).unwrap() == 0 {}
    stream
}

#[test]
fn open_violation_of_the_peer_is_answered_with_its_code() {
    for (sent, code) in [
        (masked(0x83, b""), 1002_u16),
        (masked(0x81, b"\xff"), 1007),
        (unmasked(0x81, b"Hello"), 1002),
    ] {
        let recorder = Recorder::default();
        let server = start(Server::builder(), recorder.clone());
        let mut stream = server.open();
        stream.write_all(&sent).unwrap();
        assert_eq!(
            read_to_end(&mut stream),
            unmasked(0x88, &code.to_be_bytes())
        );
        assert!(matches!(recorder.outcome().ended, Ended::Violation(_)));
        assert_eq!(recorder.outcome().code.as_u16(), 1006);
    }
}

#[test]
fn open_close_by_the_handler_reaches_the_peer() {
    let server = start(Server::builder(), |peer: &mut Peer, _: MessageRef| {
        peer.close(CloseCode::new(4001), "go")?;
        assert!(!peer.is_open());
        assert!(matches!(peer.send("more"), Err(SendError::Closed)));
        assert!(matches!(
            peer.close(CloseCode::NORMAL, ""),
            Err(SendError::Closed)
        ));
        Ok(())
    });
    let mut client = server.connect();
    client.send("Hello").unwrap();
    assert_eq!(client.recv().unwrap(), None);
    assert!(was_closed(&client, 4001, "go"));
}

#[test]
fn open_handler_that_panics_closes_this_connection_only() {
    let recorder = Recorder::default();
    let server = start(Server::builder(), recorder.clone());
    let mut other = server.connect();
    let mut client = server.connect();
    client.send("!panic").unwrap();
    client.send("not echoed").unwrap();
    assert_eq!(client.recv().unwrap(), None);
    assert_eq!(client.ended().unwrap().code(), CloseCode::INTERNAL_ERROR);
    assert!(recorder.outcome().is_clean());

    let url = format!("ws://{}/panic-open", server.addr);
    let mut client = motews_std::connect(&url).unwrap();
    assert_eq!(client.recv().unwrap(), None);
    assert_eq!(client.ended().unwrap().code(), CloseCode::INTERNAL_ERROR);

    let url = format!("ws://{}/panic", server.addr);
    assert!(
        matches!(motews_std::connect(&url), Err(ConnectError::Refused(refused)) if refused.status == 500)
    );

    other.send("Hello").unwrap();
    assert_eq!(recv(&mut other), "Hello".into());
    // There is no data for the one whose `on_open` panicked, and so no `on_close` either.
    assert_eq!(recorder.outcomes().len(), 1);
}

#[test]
fn loop_that_panics_before_it_serves_ends_the_server() {
    #[derive(Clone)]
    struct Faulty(Arc<Mutex<bool>>);

    impl Handler for Faulty {
        type Data = ();

        fn timer(&self) -> Option<Duration> {
            let first = core::mem::take(&mut *self.0.lock().unwrap());
            assert!(!first, "as it should");
            None
        }

        fn on_open(&mut self, _: &mut Peer, _: &Request) -> Result<(), SendError> {
            Ok(())
        }

        fn on_message(&mut self, _: &mut Peer, _: MessageRef) -> Result<(), SendError> {
            Ok(())
        }
    }

    let server = Server::bind("127.0.0.1:0").unwrap();
    let faulty = Faulty(Arc::new(Mutex::new(true)));
    let running = std::thread::spawn(move || server.run_threads(2, || faulty.clone()));
    until("the end", || running.is_finished());
    assert!(!matches!(running.join(), Ok(Ok(()))), "it tells of it");
}

#[test]
fn open_handler_that_fails_closes_the_connection() {
    let recorder = Recorder::default();
    let server = start(Server::builder(), recorder.clone());
    let mut client = server.connect();
    client.send("!fail").unwrap();
    assert_eq!(client.recv().unwrap(), None);
    assert_eq!(client.ended().unwrap().code(), CloseCode::INTERNAL_ERROR);
}

// ---- deadlines ----

#[test]
fn request_that_trickles_is_dropped_at_its_deadline() {
    let builder = Server::builder().timeouts(QUICK);
    let server = start(builder, Recorder::default());
    let mut stream = server.raw();
    stream
        .set_read_timeout(Some(Duration::from_millis(10)))
        .unwrap();
    let begun = Instant::now();
    let dropped = REQUEST.iter().cycle().any(|octet| {
        let mut byte = [0];
        stream.write_all(&[*octet & 0x7F]).is_err()
            || matches!(stream.read(&mut byte), Ok(0))
            || begun.elapsed() > PATIENCE
    });
    assert!(dropped && begun.elapsed() < PATIENCE);
    assert!(begun.elapsed() >= Duration::from_millis(150));
    until("it is gone", || server.handle.connections() == 0);
}

#[test]
fn open_silent_peer_is_pinged_and_dropped_without_a_pong() {
    let recorder = Recorder::default();
    let timeouts = Timeouts {
        keepalive: Some(100),
        pong: Some(100),
        ..QUICK
    };
    let server = start(Server::builder().timeouts(timeouts), recorder.clone());
    let mut stream = server.open();
    // It is asked, and lives as long as it answers.
    for _ in 0..4 {
        assert_eq!(read_frame(&mut stream), (0x89, Vec::new()));
        stream.write_all(&masked(0x8A, b"")).unwrap();
    }
    assert!(recorder.outcomes().is_empty());
    assert_eq!(read_frame(&mut stream), (0x89, Vec::new()));
    assert_eq!(recorder.outcome().ended, Ended::TimedOut(Deadline::Pong));
}

#[test]
fn open_idle_peer_is_closed_and_messages_either_way_keep_it() {
    let recorder = Recorder::default();
    const IDLE: Duration = Duration::from_secs(1);
    let timeouts = Timeouts {
        idle: Some(IDLE.as_millis() as u32),
        ..QUICK
    };
    let server = start(Server::builder().timeouts(timeouts), recorder.clone());
    let mut client = server.connect();
    let begun = Instant::now();
    while begun.elapsed() < IDLE + IDLE / 2 {
        client.send("here").unwrap();
        assert_eq!(recv(&mut client), "here".into());
    }
    assert_eq!(client.recv().unwrap(), None);
    assert!(was_closed(&client, 1001, ""));
    assert_eq!(recorder.outcome().code, CloseCode::GOING_AWAY);
}

#[test]
fn closing_peer_that_does_not_answer_is_dropped_whatever_it_sends() {
    let recorder = Recorder::default();
    let timeouts = Timeouts {
        idle: Some(100),
        ..QUICK
    };
    let server = start(Server::builder().timeouts(timeouts), recorder.clone());
    let mut stream = server.open();
    assert_eq!(read_frame(&mut stream).0, 0x88);
    let begun = Instant::now();
    while recorder.outcomes().is_empty() && begun.elapsed() < PATIENCE {
        // Pings keep nobody.
        let _ = stream.write_all(&masked(0x89, b""));
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(recorder.outcome().ended, Ended::TimedOut(Deadline::Close));
}

// ---- limits ----

#[test]
fn open_message_at_its_limit_passes_and_beyond_fails_with_1009() {
    for max in [0, 1, 70_000] {
        let limits = ServerLimits {
            message: max as u64,
            ..ServerLimits::DEFAULT
        };
        let server = start(Server::builder().limits(limits), echo);
        let mut stream = server.open();
        stream.write_all(&masked(0x82, &vec![7; max])).unwrap();
        assert_eq!(read_frame(&mut stream), (0x82, vec![7; max]));
        // In parts as well.
        stream.write_all(&masked(0x02, &vec![7; max])).unwrap();
        stream.write_all(&masked(0x80, b"")).unwrap();
        assert_eq!(read_frame(&mut stream), (0x82, vec![7; max]));
        // Only the header is sent: nothing more is needed FR17
        let mut header = masked(0x82, &vec![0; max + 1]);
        header.truncate(header.len() - max - 1);
        stream.write_all(&header).unwrap();
        assert_eq!(
            read_to_end(&mut stream),
            unmasked(0x88, &1009_u16.to_be_bytes())
        );
    }
}

#[test]
fn request_beyond_a_limit_is_answered_with_431() {
    let limits = ServerLimits {
        head: REQUEST.len() as u32,
        headers: 7,
        ..ServerLimits::DEFAULT
    };
    let server = start(Server::builder().limits(limits), echo);
    let mut stream = server.open();
    stream.write_all(&masked(0x81, b"Hello")).unwrap();
    assert_eq!(read_frame(&mut stream), (0x81, b"Hello".to_vec()));
    for extra in ["X: y\r\n", &format!("X: {}\r\n", "y".repeat(100))] {
        let mut stream = server.raw();
        let head = &REQUEST[..REQUEST.len() - 2];
        stream.write_all(head).unwrap();
        let _ = stream.write_all(extra.as_bytes());
        let _ = stream.write_all(b"\r\n");
        assert!(read_head(&mut stream).starts_with("HTTP/1.1 431 "));
    }
}

#[test]
fn full_server_accepts_when_another_has_left() {
    for threads in [1, 3] {
        let limits = ServerLimits {
            connections: 1,
            ..ServerLimits::DEFAULT
        };
        let server = start_threads(Server::builder().limits(limits), threads, echo);
        let first = server.open();
        let mut second = server.raw();
        second.write_all(REQUEST).unwrap();
        second
            .set_read_timeout(Some(Duration::from_millis(200)))
            .unwrap();
        assert!(second.read(&mut [0]).is_err());
        assert_eq!(server.handle.connections(), 1);
        drop(first);
        second.set_read_timeout(Some(PATIENCE)).unwrap();
        assert!(read_head(&mut second).starts_with("HTTP/1.1 101 "));
    }
}

// ---- backpressure ----

#[test]
fn open_peer_that_does_not_read_is_not_read_and_nothing_is_lost() {
    // What the server holds for one who asks for 1 MiB with each message of 1 byte.
    static MOST: Mutex<usize> = Mutex::new(0);
    for backlog in [0, 1, 1 << 20] {
        let limits = ServerLimits {
            backlog,
            ..ServerLimits::DEFAULT
        };
        let server = start(
            Server::builder().limits(limits),
            |peer: &mut Peer, message: MessageRef| {
                let answer = vec![message.as_bytes()[0]; 1 << 20];
                peer.send(answer)?;
                let mut most = MOST.lock().unwrap();
                *most = peer.buffered_amount().max(*most);
                Ok(())
            },
        );
        let mut stream = server.open();
        let sent: Vec<u8> = (0..60).flat_map(|n| masked(0x82, &[n])).collect();
        stream.write_all(&sent).unwrap();
        std::thread::sleep(Duration::from_millis(100));
        for n in 0..60 {
            let (first, payload) = read_frame(&mut stream);
            assert_eq!((first, payload.len()), (0x82, 1 << 20));
            assert!(payload.iter().all(|&octet| octet == n));
        }
        assert!(*MOST.lock().unwrap() < 3 << 20);
    }
}

#[test]
fn open_echo_of_long_messages_with_both_sides_writing_does_not_deadlock() {
    let server = start(Server::builder(), echo);
    let mut stream = server.open();
    let mut reader = stream.try_clone().unwrap();
    let long = vec![9; 16 << 20];
    let writer = std::thread::spawn(move || {
        for _ in 0..4 {
            stream.write_all(&masked(0x82, &long)).unwrap();
        }
        stream
    });
    std::thread::sleep(Duration::from_millis(50));
    for _ in 0..4 {
        let (_, payload) = read_frame(&mut reader);
        assert!(payload.len() == 16 << 20 && payload.iter().all(|&octet| octet == 9));
    }
    writer.join().unwrap();
}

#[test]
fn open_handler_that_sends_without_end_is_told_that_the_backlog_is_full() {
    let recorder: Arc<Mutex<Option<usize>>> = Arc::default();
    let told = recorder.clone();
    let server = start(Server::builder(), move |peer: &mut Peer, _: MessageRef| {
        for n in 0.. {
            if let Err(error) = peer.send(vec![0; 100_000]) {
                assert!(error.is_would_block());
                *told.lock().unwrap() = Some(n);
                return Err(error);
            }
        }
        Ok(())
    });
    let mut stream = server.open();
    stream.write_all(&masked(0x81, b"go")).unwrap();
    until("it is full", || recorder.lock().unwrap().is_some());
    let sent = recorder.lock().unwrap().unwrap();
    for _ in 0..sent {
        assert_eq!(read_frame(&mut stream).1.len(), 100_000);
    }
    assert_eq!(
        read_frame(&mut stream),
        (0x88, 1013_u16.to_be_bytes().to_vec())
    );
}

#[test]
fn open_peer_that_reads_nothing_for_too_long_is_dropped() {
    let recorder = Recorder::default();
    let timeouts = Timeouts {
        write: Some(200),
        min_rate: FAST,
        ..Timeouts::SERVER
    };
    let server = start(Server::builder().timeouts(timeouts), recorder.clone());
    let mut stream = server.open();
    let long = vec![0; 16 << 20];
    let _ = stream.write_all(&masked(0x82, &long));
    assert_eq!(recorder.outcome().ended, Ended::TimedOut(Deadline::Write));
}

// ---- other threads ----

/// Hands out senders, and echoes.
#[derive(Clone)]
struct Senders(Arc<Mutex<mpsc::Sender<PeerSender>>>);

impl Senders {
    fn new() -> (Self, mpsc::Receiver<PeerSender>) {
        let (sender, receiver) = mpsc::channel();
        (Self(Arc::new(Mutex::new(sender))), receiver)
    }
}

impl Handler for Senders {
    type Data = ();

    fn on_open(&mut self, peer: &mut Peer, _: &Request) -> Result<(), SendError> {
        self.0.lock().unwrap().send(peer.sender()).unwrap();
        Ok(())
    }

    fn on_message(&mut self, peer: &mut Peer, message: MessageRef) -> Result<(), SendError> {
        // By both ways, in this order.
        peer.send("1")?;
        peer.sender().send("2")?;
        peer.send("3")?;
        peer.sender().send("4")?;
        peer.send(message)
    }
}

#[test]
fn sender_on_other_threads_sends_in_order_until_the_connection_is_gone() {
    let (handler, senders) = Senders::new();
    let server = start_threads(Server::builder(), 2, handler);
    let mut client = server.connect();
    let sender = senders.recv_timeout(PATIENCE).unwrap();
    let threads: Vec<_> = (0..4)
        .map(|thread| {
            let sender = sender.clone();
            std::thread::spawn(move || {
                for n in 0..500 {
                    sender.send(format!("{thread} {n}")).unwrap();
                }
            })
        })
        .collect();
    let mut next = [0; 4];
    for _ in 0..2000 {
        let message = recv(&mut client);
        let (thread, n) = message.as_text().unwrap().split_once(' ').unwrap();
        let (thread, n): (usize, usize) = (thread.parse().unwrap(), n.parse().unwrap());
        assert_eq!(next[thread], n);
        next[thread] += 1;
    }
    for thread in threads {
        thread.join().unwrap();
    }
    client.send("5").unwrap();
    for expected in ["1", "2", "3", "4", "5"] {
        assert_eq!(recv(&mut client), expected.into());
    }
    assert!(sender.is_open());
    client.close(CloseCode::NORMAL, "").unwrap();
    client.closed().unwrap();
    until("it is closed", || !sender.is_open());
    assert!(matches!(sender.send("late"), Err(SendError::Closed)));
    assert!(matches!(
        sender.try_send("late"),
        Err(TrySendError::Failed(message, SendError::Closed)) if message == "late".into()
    ));
    assert!(matches!(sender.send_latest("late"), Err(SendError::Closed)));
    assert!(matches!(
        sender.close(CloseCode::NORMAL, ""),
        Err(SendError::Closed)
    ));
    assert_eq!(sender.buffered_amount(), 0);
}

#[test]
fn sender_to_a_peer_that_does_not_read_gives_the_message_back_or_waits() {
    let (handler, senders) = Senders::new();
    let server = start(Server::builder().send_buffer(64 * 1024), handler);
    let mut stream = server.open();
    let sender = senders.recv_timeout(PATIENCE).unwrap();
    let message = |n: usize| Message::Binary(vec![n as u8; 100_000]);
    let mut taken = 0;
    // The operating system takes some as well, after a while.
    let mut full = 0;
    while full < 20 {
        match sender.try_send(message(taken)) {
            Ok(()) => (taken, full) = (taken + 1, 0),
            Err(TrySendError::Full(back)) => {
                assert_eq!(back, message(taken));
                full += 1;
                std::thread::sleep(Duration::from_millis(2));
            }
            Err(error) => panic!("{error}"),
        }
    }
    let buffered = sender.buffered_amount();
    assert!(buffered > 900_000 && buffered <= 1 << 20, "{buffered}");
    let waiting = std::thread::spawn({
        let sender = sender.clone();
        move || sender.send(message(taken))
    });
    for n in 0..=taken {
        assert_eq!(read_frame(&mut stream), (0x82, message(n).into_bytes()));
    }
    waiting.join().unwrap().unwrap();
    until("nothing waits", || sender.buffered_amount() == 0);
}

#[test]
fn sender_of_the_latest_skips_what_the_peer_was_too_slow_for() {
    let (handler, senders) = Senders::new();
    let server = start(Server::builder().send_buffer(64 * 1024), handler);
    let mut stream = server.open();
    let sender = senders.recv_timeout(PATIENCE).unwrap();
    let mut replaced = 0;
    for n in 0..1000_usize {
        let frame = vec![n as u8; 50_000];
        replaced += usize::from(sender.send_latest(frame).unwrap());
        if n % 50 == 0 {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    sender.close(CloseCode::NORMAL, "").unwrap();
    let mut received = Vec::new();
    while let (0x82, payload) = read_frame(&mut stream) {
        received.push(payload[0]);
    }
    assert_eq!(received.len() + replaced, 1000);
    assert!(replaced > 0);
    assert_eq!(received.last(), Some(&(999_usize as u8)));
}

#[test]
fn sender_that_waits_is_told_when_the_peer_leaves() {
    let (handler, senders) = Senders::new();
    let server = start(Server::builder(), handler);
    let stream = server.open();
    let sender = senders.recv_timeout(PATIENCE).unwrap();
    let waiting = std::thread::spawn(move || {
        loop {
            if let Err(error) = sender.send(vec![0; 1_000_000]) {
                return error;
            }
        }
    });
    std::thread::sleep(Duration::from_millis(100));
    drop(stream);
    assert!(matches!(waiting.join().unwrap(), SendError::Closed));
}

#[test]
fn sender_checks_the_code_and_the_reason() {
    let (handler, senders) = Senders::new();
    let server = start(Server::builder(), handler);
    let mut client = server.connect();
    let sender = senders.recv_timeout(PATIENCE).unwrap();
    for code in [0, 1005, 1006, 1010, 5000] {
        let closed = sender.close(CloseCode::new(code), "");
        assert!(matches!(closed, Err(SendError::Invalid(_))));
    }
    let closed = sender.close(CloseCode::NORMAL, &"x".repeat(124));
    assert!(matches!(closed, Err(SendError::Invalid(_))));
    sender.close(CloseCode::new(4999), "bye").unwrap();
    assert_eq!(client.recv().unwrap(), None);
    assert!(was_closed(&client, 4999, "bye"));
}

// ---- hubs ----

/// Makes everyone a member, and sends messages to all.
#[derive(Clone)]
struct Room {
    hub: Hub,
    senders: Senders,
}

impl Handler for Room {
    type Data = Option<Membership>;

    fn on_open(&mut self, peer: &mut Peer, _: &Request) -> Result<Self::Data, SendError> {
        let sender = peer.sender();
        let membership = self.hub.join(&sender);
        self.senders.0.lock().unwrap().send(sender).unwrap();
        Ok(Some(membership))
    }

    fn on_message(
        &mut self,
        peer: &mut Peer<'_, Self::Data>,
        message: MessageRef<'_>,
    ) -> Result<(), SendError> {
        match message {
            MessageRef::Text("!leave") => *peer.data_mut() = None,
            MessageRef::Text("!leave twice") => {
                let membership = peer.data_mut().as_mut().unwrap();
                assert_eq!(membership.leave(), self.hub.len());
                // Another one takes its place, which it does not leave.
                let other = self.hub.join(&peer.sender());
                let members = self.hub.len();
                let membership = peer.data_mut().replace(other);
                assert_eq!(membership.unwrap().leave(), members);
            }
            MessageRef::Text("!others") => {
                let sent = self.hub.broadcast_except(peer.id(), message);
                assert_eq!(sent.delivered + 1, self.hub.len());
            }
            message => {
                let sent = self.hub.broadcast(message);
                assert_eq!(sent.delivered, self.hub.len());
            }
        }
        peer.send("done")
    }
}

fn room(
    builder: ServerBuilder,
    threads: usize,
    policy: SlowPolicy,
) -> (Running, Hub, mpsc::Receiver<PeerSender>) {
    let (senders, receiver) = Senders::new();
    let hub = Hub::new(policy);
    let handler = Room {
        hub: hub.clone(),
        senders,
    };
    (start_threads(builder, threads, handler), hub, receiver)
}

#[test]
fn hub_across_loops_reaches_its_members_until_they_leave() {
    let (server, hub, _senders) = room(Server::builder(), 3, SlowPolicy::DropOldest);
    assert!(hub.is_empty());
    let mut clients: Vec<_> = (0..12).map(|_| server.connect()).collect();
    until("all are members", || hub.len() == 12);
    clients[0].send("Hello").unwrap();
    for client in &mut clients {
        assert_eq!(recv(client), "Hello".into());
    }
    assert_eq!(recv(&mut clients[0]), "done".into());

    clients[1].send("!leave").unwrap();
    assert_eq!(recv(&mut clients[1]), "done".into());
    assert_eq!(hub.len(), 11);
    clients[0].send("!leave twice").unwrap();
    assert_eq!(recv(&mut clients[0]), "done".into());
    assert_eq!(hub.len(), 11);
    clients[0].send("!others").unwrap();
    assert_eq!(recv(&mut clients[0]), "done".into());
    for client in &mut clients[2..] {
        assert_eq!(recv(client), "!others".into());
    }

    // Those that go in whatever way are members no more.
    clients.pop().unwrap().close(CloseCode::NORMAL, "").unwrap();
    drop(clients.pop());
    until("they have left", || hub.len() == 9);
    let sent = hub.broadcast(b"from outside");
    assert_eq!((sent.delivered, sent.dropped, sent.disconnected), (9, 0, 0));
    assert_eq!(recv(&mut clients[5]), (&b"from outside"[..]).into());
    drop(server);
    until("it is empty", || hub.is_empty());
}

#[test]
fn hub_with_a_member_that_does_not_read_follows_its_policy_and_its_counts_add_up() {
    const MESSAGES: usize = 200;
    const LEN: usize = 50_000;
    let code = CloseCode::new(4008);
    for policy in [
        SlowPolicy::DropOldest,
        SlowPolicy::DropNewest,
        SlowPolicy::KeepNewest,
        SlowPolicy::Disconnect(code),
    ] {
        let builder = Server::builder().send_buffer(64 * 1024);
        let (server, hub, senders) = room(builder, 1, policy);
        let mut slow = server.open();
        let slow_sender = senders.recv_timeout(PATIENCE).unwrap();
        let (mut delivered, mut dropped, mut disconnected) = (0, 0, 0);
        for n in 0..MESSAGES {
            let sent = hub.broadcast(vec![n as u8; LEN]);
            delivered += sent.delivered;
            dropped += sent.dropped;
            disconnected += sent.disconnected;
            let buffered = slow_sender.buffered_amount();
            assert!(buffered <= (1 << 20) + LEN, "{policy:?}: {buffered}");
            if n % 20 == 0 {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        assert!(dropped > 0, "{policy:?}");
        let _ = slow_sender.close(CloseCode::NORMAL, "");
        let mut received = Vec::new();
        let close = loop {
            match read_frame(&mut slow) {
                (0x82, payload) => received.push(payload[0]),
                (0x88, close) => break close,
                other => panic!("{other:?}"),
            }
        };
        let last = received.last().copied();
        let newest = Some((MESSAGES - 1) as u8);
        match policy {
            SlowPolicy::DropNewest => {
                assert_eq!(received.len(), delivered);
                assert_eq!(delivered + dropped, MESSAGES);
                assert!(last < newest);
                assert!(received.is_sorted());
            }
            SlowPolicy::Disconnect(_) => {
                assert_eq!(received.len(), delivered - dropped);
                assert_eq!(disconnected, 1);
                assert_eq!(close, 4008_u16.to_be_bytes());
            }
            _ => {
                assert_eq!(received.len(), delivered - dropped);
                assert_eq!(delivered, MESSAGES);
                assert_eq!(last, newest);
                assert!(received.is_sorted());
            }
        }
    }
}

#[test]
fn hub_with_a_member_that_never_reads_again_disconnects_it_in_time() {
    let timeouts = Timeouts {
        write: Some(1_500),
        min_rate: FAST,
        ..QUICK
    };
    let builder = Server::builder().timeouts(timeouts);
    let policy = SlowPolicy::Disconnect(CloseCode::POLICY_VIOLATION);
    let (server, hub, _senders) = room(builder, 1, policy);
    let slow = server.open();
    until("it is a member", || hub.len() == 1);
    // Before its time for reading is over: then there would be nobody to disconnect.
    let message = vec![0; 1_000_000];
    until("it is disconnected", || {
        hub.broadcast(&message).disconnected == 1
    });
    // It cannot be told: its time for reading is over first.
    until("it has left", || hub.is_empty());
    drop(slow);
}

// ---- TLS ----

#[cfg(feature = "tls")]
#[test]
fn wss_messages_of_any_length_pass_and_it_closes_clean() {
    let (server_config, client_config) = tls_support::configs();
    let recorder = Recorder::default();
    let server = start_threads(Server::builder().tls(server_config), 2, recorder.clone());
    let url = format!("wss://localhost:{}/", server.addr.port());
    let builder = motews_std::Connector::new().tls(client_config);
    let mut clients: Vec<_> = (0..4)
        .map(|_| builder.clone().connect(&url).unwrap())
        .collect();
    for len in [0, 1, 1000, 16_384, 65_536, 200_000, 3 << 20] {
        for (n, client) in clients.iter_mut().enumerate() {
            client.send(vec![n as u8; len]).unwrap();
        }
        for (n, client) in clients.iter_mut().enumerate() {
            assert_eq!(recv(client), vec![n as u8; len].into());
        }
    }
    for client in &mut clients {
        client.close(CloseCode::NORMAL, "").unwrap();
        assert!(client.closed().unwrap().is_clean());
    }
    until("all are gone", || server.handle.connections() == 0);
    assert!(recorder.outcomes().iter().all(|outcome| outcome.is_clean()));
    // One that speaks no TLS gets no WebSocket, and is gone.
    let mut plain = server.raw();
    plain.write_all(REQUEST).unwrap();
    let mut answer = Vec::new();
    let _ = plain.read_to_end(&mut answer);
    assert!(!answer.starts_with(b"HTTP"));
    until("it is gone", || server.handle.connections() == 0);
}

#[cfg(feature = "tls")]
#[test]
fn wss_with_both_sides_writing_does_not_deadlock() {
    let (server_config, client_config) = tls_support::configs();
    let server = start(Server::builder().tls(server_config), echo);
    let url = format!("wss://localhost:{}/", server.addr.port());
    let builder = motews_std::Connector::new().tls(client_config);
    let mut client = builder.connect(&url).unwrap();
    let sender = client.sender().unwrap();
    let writer = std::thread::spawn(move || {
        for n in 0..8 {
            sender.send(vec![n; 4 << 20]).unwrap();
        }
    });
    for n in 0..8 {
        assert_eq!(recv(&mut client), vec![n; 4 << 20].into());
    }
    writer.join().unwrap();
}

// ---- compression ----

#[cfg(feature = "deflate")]
mod deflate {
    use super::*;
    use motews_std::{Connector, DeflateConfig, DeflateContext, Traffic, WindowBits};

    fn context(window_bits: u8, takeover: bool) -> DeflateContext {
        DeflateContext {
            window_bits: WindowBits::new(window_bits).unwrap(),
            takeover,
        }
    }

    /// What servers and clients may agree on.
    fn configs() -> [DeflateConfig; 4] {
        [
            DeflateConfig::default(),
            DeflateConfig::MAX,
            DeflateConfig {
                send: context(10, true),
                receive: context(12, false),
            },
            DeflateConfig {
                send: context(9, false),
                receive: context(15, true),
            },
        ]
    }

    fn connect(server: &Running, config: DeflateConfig) -> WebSocket {
        let client = Connector::new().deflate(config).connect(&server.url());
        let client = client.unwrap();
        assert!(client.deflate().is_some());
        client
    }

    fn text(len: usize) -> String {
        (0..len / 8 + 1).map(|n| format!("{:07} ", n / 3)).collect()
    }

    #[test]
    fn compressed_messages_of_any_length_come_back_beside_plain_ones() {
        for config in configs() {
            let server = start(Server::builder().deflate(config), echo);
            let mut plain = server.connect();
            let mut clients = configs().map(|config| connect(&server, config));
            for len in [0, 1, 30, 126, 5000, 70_000, 200_000] {
                let text = text(len);
                plain.send(text.as_str()).unwrap();
                assert_eq!(recv(&mut plain), text.clone().into());
                for client in &mut clients {
                    for _ in 0..3 {
                        client.send(text.as_str()).unwrap();
                        assert_eq!(recv(client), text.clone().into());
                    }
                    client.send_uncompressed(text.as_bytes()).unwrap();
                    assert_eq!(recv(client), text.clone().into_bytes().into());
                }
            }
        }
    }

    #[test]
    fn compressed_answer_is_short_on_the_wire_and_marked() {
        let server = start(Server::builder().deflate(DeflateConfig::default()), echo);
        let mut stream = server.raw();
        let head = &REQUEST[..REQUEST.len() - 2];
        stream.write_all(head).unwrap();
        let offer = b"Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n";
        stream.write_all(offer).unwrap();
        assert!(read_head(&mut stream).contains("permessage-deflate"));
        let message = vec![b'a'; 10_000];
        stream.write_all(&masked(0x81, &message)).unwrap();
        let (first, payload) = read_frame(&mut stream);
        assert_eq!(first, 0xC1);
        assert!(payload.len() < 100);
    }

    #[test]
    fn message_that_would_take_long_to_compress_is_sent_as_it_is() {
        let each_alone = DeflateConfig {
            send: context(12, false),
            receive: context(15, true),
        };
        for config in [DeflateConfig::default(), each_alone] {
            let server = start(Server::builder().deflate(config), echo);
            let mut client = connect(&server, DeflateConfig::MAX);
            let (mut received, mut sent) = (0, 0);
            for (len, is_packed) in [(2 << 20, true), ((2 << 20) + 1, false), (10_000, true)] {
                let message = vec![b'a'; len];
                client.send(&message[..]).unwrap();
                assert_eq!(recv(&mut client), message.into());
                let traffic = client.traffic().unwrap();
                let ways = [(&mut received, traffic.received), (&mut sent, traffic.sent)];
                for (before, octets) in ways {
                    let payloads = octets.wire - *before;
                    *before = octets.wire;
                    assert_eq!(payloads < len as u64, is_packed);
                }
            }
        }
    }

    /// How many messages, of how many bytes, others send in the tests below: more than is
    /// compressed in one turn.
    const COUNT: usize = 12;
    const LEN: usize = 64 << 10;

    fn send_as_others(peer: &mut Peer) {
        let sender = peer.sender();
        for _ in 0..COUNT {
            sender.try_send(text(LEN)).unwrap();
        }
    }

    #[test]
    fn open_close_by_the_handler_behind_much_that_others_send_is_compressed_in_turns() {
        let builder = Server::builder().deflate(DeflateConfig::default());
        let server = start(builder, |peer: &mut Peer, _: MessageRef| {
            send_as_others(peer);
            peer.close(CloseCode::NORMAL, "")
        });
        let mut client = connect(&server, DeflateConfig::MAX);
        client.send("go").unwrap();
        for _ in 0..COUNT {
            assert_eq!(recv(&mut client), text(LEN).into());
        }
        assert_eq!(client.recv().unwrap(), None);
        let received = client.traffic().unwrap().received;
        assert!(received.wire < received.plain / 2, "{received:?}");
    }

    #[test]
    fn open_answer_behind_much_that_others_send_and_a_close_of_the_peer_leaves_before_it() {
        let builder = Server::builder().deflate(DeflateConfig::default());
        let server = start(builder, |peer: &mut Peer, message: MessageRef| {
            if message.as_bytes() == b"go" {
                send_as_others(peer);
            }
            peer.send(message)
        });
        let mut stream = server.raw();
        let head = &REQUEST[..REQUEST.len() - 2];
        let offer = b"Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n";
        stream.write_all(&[head, offer].concat()).unwrap();
        assert!(read_head(&mut stream).contains("permessage-deflate"));
        let messages = [masked(0x81, b"go"), masked(0x81, b"on"), masked(0x88, b"")];
        stream.write_all(&messages.concat()).unwrap();
        // What others have sent before it, and the answers.
        for number in 0..COUNT + 2 {
            assert_eq!(read_frame(&mut stream).0, 0xC1, "{number}");
        }
        assert_eq!(read_frame(&mut stream), (0x88, Vec::new()));
    }

    #[test]
    fn compressed_message_that_inflates_beyond_the_limit_fails_with_1009() {
        let limits = ServerLimits {
            message: 100_000,
            ..ServerLimits::DEFAULT
        };
        let builder = Server::builder()
            .limits(limits)
            .deflate(DeflateConfig::default());
        let server = start(builder, echo);
        for (len, code) in [
            (100_000, None),
            (100_001, Some(1009)),
            (4_000_000, Some(1009)),
        ] {
            let mut client = connect(&server, DeflateConfig::default());
            client.send("a".repeat(len)).unwrap();
            match code {
                None => assert_eq!(recv(&mut client).len(), len),
                Some(code) => {
                    assert_eq!(client.recv().unwrap(), None);
                    assert_eq!(client.ended().unwrap().code(), CloseCode::new(code));
                }
            }
        }
    }

    #[test]
    fn compressed_garbage_fails_with_1007() {
        let server = start(Server::builder().deflate(DeflateConfig::default()), echo);
        let mut stream = server.raw();
        stream.write_all(&REQUEST[..REQUEST.len() - 2]).unwrap();
        let offer = b"Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n";
        stream.write_all(offer).unwrap();
        read_head(&mut stream);
        stream.write_all(&masked(0xC1, &[0xFF; 20])).unwrap();
        assert_eq!(
            read_to_end(&mut stream),
            unmasked(0x88, &1007_u16.to_be_bytes())
        );
    }

    /// Sends each message in all ways, and tells in the end what went through.
    #[derive(Clone)]
    struct AllWays {
        hub: Hub,
        ended: mpsc::Sender<Option<Traffic>>,
    }

    impl Handler for AllWays {
        type Data = Membership;

        fn on_open(&mut self, peer: &mut Peer, _: &Request) -> Result<Membership, SendError> {
            Ok(self.hub.join(&peer.sender()))
        }

        fn on_message(
            &mut self,
            peer: &mut Peer<Self::Data>,
            message: MessageRef,
        ) -> Result<(), SendError> {
            peer.send(message)?;
            peer.send_uncompressed(message)?;
            self.hub.broadcast(message);
            self.hub.broadcast_uncompressed(message);
            peer.sender().send(message)?;
            // It waits behind those.
            peer.send(message)
        }

        fn on_close(&mut self, peer: &mut Peer<Self::Data>, _: Ended) {
            self.ended.send(peer.traffic()).unwrap();
        }
    }

    #[test]
    fn traffic_of_a_peer_is_what_its_other_side_counts() {
        let (ended, traffic) = mpsc::channel();
        let hub = Hub::new(SlowPolicy::DropOldest);
        let builder = Server::builder().deflate(DeflateConfig::default());
        let server = start(builder, AllWays { hub, ended });
        let mut configs: Vec<_> = configs().map(Some).into();
        configs.push(None);
        for config in configs {
            let mut client = match config {
                Some(config) => connect(&server, config),
                None => server.connect(),
            };
            for len in [0, 5, 5000, 70_000] {
                client.send(text(len).as_str()).unwrap();
                for _ in 0..6 {
                    assert_eq!(recv(&mut client), text(len).into());
                }
            }
            let seen = client.traffic();
            client.close(CloseCode::NORMAL, "").unwrap();
            client.closed().unwrap();
            let told = traffic.recv_timeout(PATIENCE).unwrap();
            assert_eq!(told.is_some(), config.is_some());
            assert_eq!(told.map(|told| told.received), seen.map(|seen| seen.sent));
            assert_eq!(told.map(|told| told.sent), seen.map(|seen| seen.received));
            if let Some(told) = told {
                assert_eq!(told.sent.plain, 6 * told.received.plain);
                assert!(told.received.wire < told.received.plain / 2);
                // A third is sent as it is.
                assert!(told.sent.wire > told.sent.plain / 3);
                assert!(told.sent.wire < told.sent.plain * 2 / 3);
            }
        }
    }

    #[test]
    fn hub_of_members_with_and_without_compression_reaches_all_in_order() {
        let (server, hub, senders) = room(
            Server::builder().deflate(DeflateConfig::default()),
            2,
            SlowPolicy::DropOldest,
        );
        let mut clients: Vec<_> = configs().map(|config| connect(&server, config)).into();
        clients.push(server.connect());
        until("all are members", || hub.len() == clients.len());
        let senders: Vec<_> = senders.try_iter().collect();
        for n in 0..20 {
            // By all ways: compressed for each, for all, and not at all.
            let text = format!("{n} {}", text(1000));
            let sent = hub.broadcast(&text);
            assert_eq!(sent.delivered, clients.len());
            hub.broadcast_uncompressed(&text);
            for sender in &senders {
                sender.send(&text).unwrap();
                sender.send_uncompressed(&text).unwrap();
            }
            for client in &mut clients {
                for _ in 0..4 {
                    assert_eq!(recv(client), text.clone().into());
                }
                client.send("!others").unwrap();
                // It may have been held back, to leave with the answer to what came meanwhile.
                client.flush().unwrap();
            }
            let others = clients.len() - 1;
            for client in &mut clients {
                let mut came = 0;
                for _ in 0..=others {
                    came += usize::from(recv(client) == "!others".into());
                }
                assert_eq!(came, others);
            }
        }
    }
}

// ---- the timer ----

#[test]
fn timer_reaches_all_peers_of_its_loop() {
    #[derive(Clone)]
    struct Ticker;
    impl Handler for Ticker {
        type Data = u32;
        fn on_open(&mut self, _: &mut Peer, _: &Request) -> Result<u32, SendError> {
            Ok(0)
        }
        fn on_message(&mut self, _: &mut Peer<u32>, _: MessageRef) -> Result<(), SendError> {
            Ok(())
        }
        fn timer(&self) -> Option<Duration> {
            Some(Duration::from_millis(10))
        }
        fn on_timer(&mut self, peers: &mut Peers<u32>) {
            let mut count = 0;
            peers.for_each(|_| count += 1);
            assert_eq!(peers.len(), count);
            assert_eq!(peers.is_empty(), count == 0);
            peers.for_each(|peer| {
                *peer.data_mut() += 1;
                let n = *peer.data();
                if n > 3 {
                    peer.close(CloseCode::NORMAL, "").unwrap();
                } else {
                    peer.send(n.to_string()).unwrap();
                }
            });
            // It must not matter.
            panic!("as it was told");
        }
    }
    let server = start(Server::builder(), Ticker);
    let mut clients = [server.connect(), server.connect()];
    for client in &mut clients {
        for n in 1..=3 {
            assert_eq!(recv(client), n.to_string().into());
        }
        assert_eq!(client.recv().unwrap(), None);
    }
}

#[test]
fn timer_that_panics_for_one_peer_closes_that_one_and_mixes_nothing() {
    #[derive(Clone)]
    struct Ticker(Arc<Mutex<bool>>);
    impl Handler for Ticker {
        type Data = Option<String>;
        fn on_open(&mut self, _: &mut Peer, _: &Request) -> Result<Self::Data, SendError> {
            Ok(None)
        }
        fn on_message(
            &mut self,
            peer: &mut Peer<'_, Self::Data>,
            message: MessageRef<'_>,
        ) -> Result<(), SendError> {
            *peer.data_mut() = Some(String::from_utf8_lossy(message.as_bytes()).into_owned());
            peer.send("ready")
        }
        fn timer(&self) -> Option<Duration> {
            Some(Duration::from_millis(5))
        }
        fn on_timer(&mut self, peers: &mut Peers<'_, Self::Data>) {
            if core::mem::take(&mut *self.0.lock().unwrap()) {
                peers.for_each(|peer| {
                    let name = peer.data().clone().unwrap();
                    peer.send(name.as_str()).unwrap();
                    assert_ne!(name, "1", "as it was told");
                });
            }
        }
    }
    let go: Arc<Mutex<bool>> = Arc::default();
    let server = start(Server::builder(), Ticker(go.clone()));
    let mut clients: Vec<_> = (0..3).map(|_| server.connect()).collect();
    for (n, client) in clients.iter_mut().enumerate() {
        client.send(n.to_string()).unwrap();
        assert_eq!(recv(client), "ready".into());
    }
    *go.lock().unwrap() = true;
    for (n, client) in clients.iter_mut().enumerate() {
        assert_eq!(recv(client), n.to_string().into());
    }
    assert_eq!(clients[1].recv().unwrap(), None);
    let ended = clients[1].ended().unwrap();
    assert_eq!(ended.code(), CloseCode::INTERNAL_ERROR);
    for n in [0, 2] {
        clients[n].send("again").unwrap();
        assert_eq!(recv(&mut clients[n]), "ready".into());
    }
}

// ---- shutting down ----

#[test]
fn shutdown_closes_all_with_1001_and_returns() {
    for threads in [1, 4] {
        let recorder = Recorder::default();
        let server = start_threads(Server::builder(), threads, recorder.clone());
        let handle = server.handle.clone();
        let mut clients: Vec<_> = (0..10).map(|_| server.connect()).collect();
        let handshaking = server.raw();
        until("all are there", || handle.connections() == 11);
        handle.shutdown(PATIENCE);
        for client in &mut clients {
            assert_eq!(client.recv().unwrap(), None);
            assert_eq!(client.ended().unwrap().code(), CloseCode::GOING_AWAY);
        }
        let begun = Instant::now();
        let addr = server.addr;
        server.join().unwrap();
        assert!(begun.elapsed() < PATIENCE);
        assert!(recorder.outcomes().iter().all(|outcome| outcome.is_clean()));
        assert_eq!(recorder.outcomes().len(), 10);
        assert_eq!(handle.connections(), 0);
        assert!(std::net::TcpStream::connect(addr).is_err());
        drop(handshaking);
    }
}

#[test]
fn shutdown_with_a_peer_that_does_not_answer_ends_at_its_deadline() {
    let recorder = Recorder::default();
    let server = start(Server::builder(), recorder.clone());
    let silent = server.open();
    until("it is open", || {
        !recorder.story.lock().unwrap().opened.is_empty()
    });
    let begun = Instant::now();
    server.handle.shutdown(Duration::from_millis(100));
    server.join().unwrap();
    assert!(begun.elapsed() >= Duration::from_millis(100));
    assert_eq!(recorder.outcome().ended, Ended::TimedOut(Deadline::Close));
    drop(silent);
}

#[test]
fn server_on_a_port_that_is_taken_is_an_error() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap();
    assert!(Server::bind(addr).is_err());
}

#[test]
fn server_with_a_wrong_number_of_threads_is_an_error() {
    for threads in [0, 257] {
        let server = Server::bind("127.0.0.1:0").unwrap();
        let error = server.run_threads(threads, || echo).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
    }
}

#[test]
fn handler_that_can_be_neither_sent_nor_cloned_serves_on_one_loop_and_on_several() {
    use std::rc::Rc;

    /// Counts what it got, without a lock.
    struct Counter(Rc<core::cell::Cell<u32>>);

    impl Handler for Counter {
        /// It has no default either.
        type Data = core::num::NonZeroU32;

        fn on_open(&mut self, _: &mut Peer, _: &Request) -> Result<Self::Data, SendError> {
            self.0.set(self.0.get() + 1);
            Ok(Self::Data::MIN)
        }

        fn on_message(
            &mut self,
            peer: &mut Peer<'_, Self::Data>,
            _: MessageRef<'_>,
        ) -> Result<(), SendError> {
            *peer.data_mut() = peer.data().saturating_add(1);
            let text = format!("{} {}", self.0.get(), peer.data());
            peer.send(text)
        }
    }

    for threads in [1, 2] {
        let server = Server::bind("127.0.0.1:0").unwrap();
        let (addr, handle) = (server.local_addr(), server.handle());
        let running = std::thread::spawn(move || match threads {
            1 => server.run(Counter(Rc::default())),
            _ => server.run_threads(threads, || Counter(Rc::default())),
        });
        let mut client = motews_std::connect(&format!("ws://{addr}/")).unwrap();
        for n in 2..4 {
            client.send("").unwrap();
            assert_eq!(recv(&mut client), format!("1 {n}").into());
        }
        handle.shutdown(PATIENCE);
        assert_eq!(client.recv().unwrap(), None);
        running.join().unwrap().unwrap();
    }
}

#[test]
fn ids_of_peers_on_several_loops_are_distinct() {
    let recorder = Recorder::default();
    let server = start_threads(Server::builder(), 3, recorder.clone());
    for _ in 0..5 {
        let clients: Vec<_> = (0..20).map(|_| server.open()).collect();
        drop(clients);
    }
    until("all have gone", || recorder.outcomes().len() == 100);
    let mut ids: Vec<PeerId> = recorder.story.lock().unwrap().opened.clone();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 100);
}
