//! Deadlines: no peer holds a connection for ever. Times are short, and bounds on them wide.

mod support;

use core::time::Duration;
use std::io::{Read, Write};
use std::time::Instant;

use motews_std::role::Server;
use motews_std::{
    AcceptError, Acceptor, Agreed, CloseCode, ConnectError, Connector, Deadline, Ended, RecvError,
    SendError, State, Timeouts, WebSocket,
};
use motews_testkit::frame::{masked, unmasked};
use support::{PATIENCE, QUICK, REQUEST, serve, tcp_pair, ws_pair_with};

fn quick() -> Acceptor {
    Acceptor::new().timeouts(QUICK)
}

/// About as long as `QUICK` says.
fn assert_quick(start: Instant) {
    let elapsed = start.elapsed();
    assert!(elapsed >= Duration::from_millis(140), "{elapsed:?}");
    assert!(elapsed < Duration::from_secs(3), "{elapsed:?}");
}

/// HS22: a request that trickles
#[test]
fn connecting_client_trickles_handshake_times_out() {
    let (mut client, stream) = tcp_pair();
    let start = Instant::now();
    let slowloris = std::thread::spawn(move || {
        for byte in REQUEST {
            if client.write_all(&[*byte]).is_err() {
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    });
    assert!(matches!(quick().accept(stream), Err(AcceptError::TimedOut)));
    assert_quick(start);
    slowloris.join().unwrap();
}

/// HC25: a server that says nothing
#[test]
fn connecting_server_is_silent_handshake_times_out() {
    let (stream, _server) = tcp_pair();
    let start = Instant::now();
    let result = Connector::new()
        .timeouts(QUICK)
        .connect_over(stream, "ws://h/");
    assert!(matches!(result, Err(ConnectError::TimedOut(None))));
    assert_quick(start);
}

/// CL21: not lengthened by other traffic
#[test]
fn closing_peer_is_silent_close_times_out() {
    for chatty in [false, true] {
        let (mut raw, stream) = tcp_pair();
        let mut server = quick().from_upgraded(stream, Server, b"", Agreed::default());
        let start = Instant::now();
        let peer = std::thread::spawn(move || {
            for _ in 0..100 {
                if chatty && raw.write_all(b"\x89\x80\0\0\0\0").is_err() {
                    break;
                }
                std::thread::sleep(Duration::from_millis(10));
            }
        });
        let outcome = support::close(&mut server, CloseCode::NORMAL, "");
        assert_quick(start);
        assert_eq!(outcome.code(), CloseCode::ABNORMAL_CLOSURE);
        assert!(!outcome.is_clean());
        drop(server);
        peer.join().unwrap();
    }
}

/// CL07: the client does not wait for ever for the server's end of TCP
#[test]
fn closed_server_keeps_tcp_open_client_ends_it() {
    let (stream, mut raw) = tcp_pair();
    let mut client = quick().from_upgraded(
        stream,
        motews_std::role::Client::new(motews_std::OsEntropy::new()),
        b"",
        Agreed::default(),
    );
    raw.write_all(&unmasked(0x88, &[3, 232])).unwrap();
    let start = Instant::now();
    assert_eq!(client.recv().unwrap(), None);
    assert_quick(start);
    assert!(client.ended().unwrap().is_clean());
}

/// CL07: when both Closes are through, the end of TCP is waited for a second at most, however long a
/// closing handshake may take. (Some TLS proxies pass no half-close.)
#[test]
fn closed_peer_keeps_tcp_open_close_returns_soon() {
    let (stream, mut raw) = tcp_pair();
    let mut client = Acceptor::new().from_upgraded(
        stream,
        motews_std::role::Client::new(motews_std::OsEntropy::new()),
        b"",
        Agreed::default(),
    );
    raw.write_all(&unmasked(0x88, &[3, 232])).unwrap();
    let start = Instant::now();
    assert!(support::close(&mut client, CloseCode::NORMAL, "").is_clean());
    let elapsed = start.elapsed();
    assert!(elapsed < Duration::from_secs(3), "{elapsed:?}");
    assert!(elapsed >= Duration::from_millis(900), "{elapsed:?}");
}

/// Who looks away for longer than a deadline finds what has come in the meantime.
#[test]
fn closing_caller_looks_away_the_peers_close_counts() {
    let (mut client, mut server) = ws_pair_with(&quick());
    client.close(CloseCode::NORMAL, "").unwrap();
    assert_eq!(server.recv().unwrap(), None);
    std::thread::sleep(Duration::from_millis(400));
    assert!(support::close(&mut client, CloseCode::NORMAL, "").is_clean());
}

#[test]
fn open_peer_is_dead_is_found_out_by_a_ping() {
    let timeouts = Timeouts {
        keepalive: Some(70),
        pong: Some(80),
        ..QUICK
    };
    let (mut raw, stream) = tcp_pair();
    let start = Instant::now();
    let mut server =
        Acceptor::new()
            .timeouts(timeouts)
            .from_upgraded(stream, Server, b"", Agreed::default());
    for _ in 0..2 {
        assert!(matches!(
            server.recv(),
            Err(RecvError::TimedOut(Deadline::Pong))
        ));
    }
    assert_quick(start);
    let mut ping = [0; 2];
    raw.read_exact(&mut ping).unwrap();
    assert_eq!(ping, [0x89, 0]);
    assert!(!server.ended().unwrap().is_clean());
}

/// An application that only asks for what is there finds out, too; and one that looked away for
/// longer than the deadline does not take the pong that waits for a silence.
#[test]
fn open_polled_dead_peer_is_found_out_by_a_ping() {
    let timeouts = Timeouts {
        keepalive: Some(70),
        pong: Some(80),
        ..QUICK
    };
    let (mut raw, stream) = tcp_pair();
    let mut server =
        Acceptor::new()
            .timeouts(timeouts)
            .from_upgraded(stream, Server, b"", Agreed::default());
    let mut ping = [0; 2];
    std::thread::sleep(Duration::from_millis(80));
    assert_eq!(server.pending(), 0);
    raw.read_exact(&mut ping).unwrap();
    assert_eq!(ping, [0x89, 0]);
    raw.write_all(&masked(0x8a, b"")).unwrap();
    std::thread::sleep(Duration::from_millis(200));
    let start = Instant::now();
    assert_eq!(server.pending(), 0);
    assert_eq!(server.state(), State::Open);

    while server.state() == State::Open && start.elapsed() < Duration::from_secs(3) {
        assert_eq!(server.pending(), 0);
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_quick(start);
    assert!(matches!(
        server.recv(),
        Err(RecvError::TimedOut(Deadline::Pong))
    ));
}

/// Whether something has come shows only by reading, if the stream is non-blocking: silence is not held
/// against the peer before that.
#[test]
fn nonblocking_caller_looks_away_what_has_come_counts() {
    let away = || std::thread::sleep(Duration::from_millis(200));
    let open = |timeouts| {
        let (raw, stream) = tcp_pair();
        stream.set_nonblocking(true).unwrap();
        let acceptor = Acceptor::new().timeouts(timeouts);
        let server = acceptor.from_upgraded(stream, Server, b"", Agreed::default());
        (raw, server)
    };
    // A pong.
    let (mut raw, mut server) = open(Timeouts {
        keepalive: Some(70),
        pong: Some(80),
        ..QUICK
    });
    away();
    assert!(server.recv().unwrap_err().is_would_block());
    let mut ping = [0; 2];
    raw.read_exact(&mut ping).unwrap();
    assert_eq!(ping, [0x89, 0]);
    raw.write_all(&masked(0x8a, b"")).unwrap();
    away();
    assert!(server.recv().unwrap_err().is_would_block());
    assert_eq!(server.state(), State::Open);
    // Silence is found out all the same.
    away();
    assert!(server.recv().unwrap_err().is_would_block());
    away();
    assert!(matches!(
        server.recv(),
        Err(RecvError::TimedOut(Deadline::Pong))
    ));

    // A message, when the connection would have been idle for too long.
    let (mut raw, mut server) = open(Timeouts {
        idle: Some(50),
        keepalive: Some(20),
        ..QUICK
    });
    raw.write_all(&masked(0x81, b"here")).unwrap();
    away();
    assert_eq!(server.recv().unwrap(), Some("here".into()));

    // The peer's Close; what only goes on does not.
    for chatty in [false, true] {
        let (mut raw, mut server) = open(QUICK);
        server.close(CloseCode::NORMAL, "").unwrap();
        let replied = if chatty { 0x81 } else { 0x88 };
        raw.write_all(&masked(replied, b"")).unwrap();
        if !chatty {
            raw.shutdown(std::net::Shutdown::Write).unwrap();
        }
        away();
        away();
        let start = Instant::now();
        let ended = loop {
            match server.closed() {
                Ok(ended) => break ended,
                Err(error) => assert!(error.is_would_block()),
            }
            if chatty {
                raw.write_all(&masked(0x81, b"")).unwrap();
            }
            assert_quick(start);
        };
        assert_eq!(ended.is_clean(), !chatty);
    }
}

/// Each pong counts: the next ping comes, and the connection lives on for longer than a pong may take.
#[test]
fn open_peer_that_answers_pings_stays() {
    const PONG: Duration = Duration::from_secs(1);
    let timeouts = Timeouts {
        keepalive: Some(20),
        pong: Some(PONG.as_millis() as u32),
        ..QUICK
    };
    let (mut raw, stream) = tcp_pair();
    let start = Instant::now();
    let mut server =
        Acceptor::new()
            .timeouts(timeouts)
            .from_upgraded(stream, Server, b"", Agreed::default());
    let peer = std::thread::spawn(move || {
        let mut pings = 0;
        while start.elapsed() < PONG + PONG / 2 {
            let mut ping = [0; 2];
            raw.read_exact(&mut ping).unwrap();
            assert_eq!(ping, [0x89, 0]);
            raw.write_all(&masked(0x8A, b"")).unwrap();
            pings += 1;
        }
        raw.write_all(&masked(0x81, b"here")).unwrap();
        pings
    });
    assert_eq!(server.recv().unwrap(), Some("here".into()));
    assert!(peer.join().unwrap() > 1);
}

/// That the operating system takes what is sent is no sign of life.
#[test]
fn open_peer_that_is_sent_to_and_never_answers_is_found_out() {
    let timeouts = Timeouts {
        keepalive: Some(20),
        pong: Some(140),
        ..QUICK
    };
    let (_raw, stream) = tcp_pair();
    let start = Instant::now();
    let mut server =
        Acceptor::new()
            .timeouts(timeouts)
            .from_upgraded(stream, Server, b"", Agreed::default());
    let error = loop {
        // It may find out as well; `recv_timeout` says what.
        let _ = server.send("x");
        match server.recv_timeout(Duration::from_millis(10)) {
            Err(error) => break error,
            Ok(_) => assert!(start.elapsed() < Duration::from_secs(10)),
        }
    };
    assert_quick(start);
    assert!(
        matches!(error, RecvError::TimedOut(Deadline::Pong)),
        "{error:?}"
    );
}

#[test]
fn open_peer_is_idle_connection_closes() {
    let timeouts = Timeouts {
        idle: Some(150),
        // The peer may take its time.
        close: None,
        ..QUICK
    };
    let (client, stream) = tcp_pair();
    let role = motews_std::role::Client::new(motews_std::OsEntropy::new());
    let mut client = WebSocket::from_upgraded(client, role, b"", Agreed::default());
    let start = Instant::now();
    let acceptor = Acceptor::new().timeouts(timeouts);
    let mut server = acceptor.from_upgraded(stream, Server, b"", Agreed::default());
    // Pings without end do not count.
    let thread = std::thread::spawn(move || {
        while client.ended().is_none() {
            assert!(start.elapsed() < PATIENCE, "the pings keep it open");
            let _ = client.ping(b"");
            client.recv_timeout(Duration::from_millis(10)).unwrap();
        }
        client.ended().unwrap()
    });
    assert_eq!(server.recv().unwrap(), None);
    assert!(start.elapsed() >= Duration::from_millis(150));
    assert_eq!(thread.join().unwrap().code(), CloseCode::GOING_AWAY);
}

/// A peer that does not read: the sender does not wait for ever, and does not grow
#[test]
fn open_peer_does_not_read_send_times_out() {
    for size in [1000, 1_000_000] {
        let (_raw, stream) = tcp_pair();
        let mut server = quick().from_upgraded(stream, Server, b"", Agreed::default());
        let message = vec![0; size];
        let start = Instant::now();
        let error = (0..100_000).find_map(|_| server.send(&message).err());
        assert_quick(start);
        assert!(matches!(error, Some(SendError::TimedOut)), "{error:?}");
        assert!(matches!(server.send("x"), Err(SendError::TimedOut)));
        assert_eq!(server.buffered_amount(), 0);
        assert_eq!(server.state(), State::Failed);
        let ended = Some(Ended::TimedOut(Deadline::Write));
        assert_eq!(server.ended(), ended);
        for _ in 0..2 {
            assert!(matches!(
                server.recv(),
                Err(RecvError::TimedOut(Deadline::Write))
            ));
        }
        assert_eq!(server.ended(), ended);
        assert!(!server.ended().unwrap().is_clean());
    }
}

/// A peer that sends and does not read is not served for ever.
#[test]
fn open_peer_does_not_read_a_sender_ends_its_owner() {
    let (mut raw, stream) = tcp_pair();
    let mut server =
        Acceptor::new()
            .timeouts(QUICK)
            .from_upgraded(stream, Server, b"", Agreed::default());
    let sender = server.sender().unwrap();
    let start = Instant::now();
    let stuck = std::thread::spawn(move || sender.send(vec![0; 20_000_000]));
    let chatter = std::thread::spawn(move || {
        while raw.write_all(&masked(0x81, b"x")).is_ok() {
            assert!(start.elapsed() < Duration::from_secs(10));
            std::thread::sleep(Duration::from_millis(5));
        }
    });
    let error = loop {
        match server.recv() {
            Ok(message) => assert_eq!(message, Some("x".into())),
            Err(error) => break error,
        }
    };
    assert!(
        matches!(error, RecvError::TimedOut(Deadline::Write)),
        "{error:?}"
    );
    assert_quick(start);
    assert!(matches!(stuck.join().unwrap(), Err(SendError::TimedOut)));
    drop(server);
    chatter.join().unwrap();
}

/// Who owns the stream and waits in `recv` notices a sender's close, and its deadline.
#[test]
fn closing_by_a_sender_has_the_deadline_too() {
    let (_raw, stream) = tcp_pair();
    let mut server = quick().from_upgraded(stream, Server, b"", Agreed::default());
    let sender = server.sender().unwrap();
    let thread = std::thread::spawn(move || server.recv());
    std::thread::sleep(Duration::from_millis(20));
    sender.close(CloseCode::NORMAL, "").unwrap();
    assert!(matches!(
        thread.join().unwrap(),
        Err(RecvError::TimedOut(Deadline::Close))
    ));
}

#[test]
fn refused_client_that_stays_is_left_in_time() {
    let (addr, server) = serve(|stream| {
        let start = Instant::now();
        let result = quick().accept_with(stream, |_| motews_std::Response::new(403));
        (result.map(drop), start.elapsed())
    });
    let mut client = std::net::TcpStream::connect(addr).unwrap();
    client.write_all(REQUEST).unwrap();
    let (result, elapsed) = server.join().unwrap();
    assert!(matches!(result, Err(AcceptError::Answered(403))));
    assert!(elapsed < Duration::from_secs(3), "{elapsed:?}");
    let mut response = String::new();
    client.read_to_string(&mut response).unwrap();
    assert!(response.starts_with("HTTP/1.1 403 Forbidden\r\n"));
}
