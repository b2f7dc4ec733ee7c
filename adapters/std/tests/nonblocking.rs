//! Streams that do not block: `WouldBlock` comes through unchanged, and everything goes on where it
//! was. The trickling stream gives it after each byte, in both directions.

mod support;

use std::io::{self, Read, Write};

use motews_std::State;
use motews_std::role::{Client, Server};
use motews_std::{
    AcceptError, Acceptor, Agreed, CloseCode, ConnectError, Connector, Message, OsEntropy, Plain,
    Received, RecvError, Response, SendError, WebSocket,
};
use motews_testkit::transport::Trickle;
use support::{End, memory_pair, tcp_pair};

/// Far more than any of it needs.
const STEPS: usize = 10_000_000;

type MemoryClient = WebSocket<End, Client<OsEntropy>>;
type MemoryServer = WebSocket<End, Server>;

/// Performs the opening handshake, both sides by turns.
fn handshake(trickling: bool) -> (MemoryClient, MemoryServer) {
    let (a, b) = memory_pair(trickling);
    let connector = Connector::new().subprotocols(["chat"]);
    let mut connecting = connector.connecting(a, "ws://h/x?y").unwrap();
    let acceptor = Acceptor::new().subprotocols(["chat"]);
    let mut accepting = acceptor.accepting(b, |request| {
        assert_eq!(request.target(), "/x?y");
        Response::accepted()
    });
    let (mut client, mut server) = (None, None);
    for _ in 0..STEPS {
        if client.is_none() {
            client = match connecting.advance() {
                Ok(client) => Some(client),
                Err(ConnectError::Io(e)) if e.kind() == io::ErrorKind::WouldBlock => None,
                Err(error) => panic!("{error}"),
            };
        }
        if server.is_none() {
            server = match accepting.advance() {
                Ok(server) => Some(server),
                Err(AcceptError::Io(e)) if e.kind() == io::ErrorKind::WouldBlock => None,
                Err(error) => panic!("{error}"),
            };
        }
        if client.is_some() && server.is_some() {
            break;
        }
    }
    (client.unwrap(), server.unwrap())
}

fn messages() -> Vec<Message> {
    vec![
        "Hello".into(),
        "".into(),
        "你好".repeat(100).into(),
        vec![0; 126].into(),
        vec![1; 70_000].into(),
        "the last".into(),
    ]
}

/// FR16, HC22, HS19
#[test]
fn trickling_session_loses_nothing_and_repeats_nothing() {
    for trickling in [false, true] {
        let (mut client, mut server) = handshake(trickling);
        assert_eq!(client.subprotocol(), Some("chat"));
        assert_eq!(server.subprotocol(), Some("chat"));

        // The client sends, the server echoes, both without ever waiting.
        let messages = messages();
        let (mut sent, mut due, mut received) = (0, None, Vec::new());
        let mut pinged = false;
        for _ in 0..STEPS {
            if let Some(message) = messages.get(sent) {
                match client.send(message) {
                    Ok(()) => sent += 1,
                    Err(error) => assert!(error.is_would_block(), "{error}"),
                }
            }
            if sent == 3 && !pinged {
                pinged = client.ping(b"in between").is_ok();
            }
            if due.is_none() {
                due = match server.recv() {
                    Ok(message) => Some(message.unwrap()),
                    Err(error) => {
                        assert!(error.is_would_block(), "{error}");
                        None
                    }
                };
            }
            if let Some(message) = &due {
                match server.send(message) {
                    Ok(()) => due = None,
                    Err(error) => assert!(error.is_would_block(), "{error}"),
                }
            }
            match client.try_recv().unwrap() {
                Received::Message(message) => received.push(message),
                Received::Nothing => {}
                Received::Closed => panic!("closed"),
            }
            if received.len() == messages.len() {
                break;
            }
        }
        assert_eq!(received, messages, "trickling: {trickling}");

        // And the closing handshake.
        let (mut outcome, mut ended) = (None, false);
        for _ in 0..STEPS {
            if client.state() == State::Open {
                client.close(CloseCode::NORMAL, "done").unwrap();
            }
            if outcome.is_none() {
                outcome = match client.closed() {
                    Ok(outcome) => Some(outcome),
                    Err(error) => {
                        assert!(error.is_would_block(), "{error}");
                        None
                    }
                };
            }
            if !ended {
                match server.recv() {
                    Ok(message) => {
                        assert_eq!(message, None);
                        ended = true;
                    }
                    Err(error) => assert!(error.is_would_block(), "{error}"),
                }
            }
            if ended && outcome.is_some() {
                break;
            }
        }
        assert!(outcome.unwrap().is_clean());
        let clean = server.ended().unwrap().is_clean();
        assert_eq!((server.close_reason(), clean), ("done", true));
    }
}

#[test]
fn trickling_refusal_reaches_the_client_whole() {
    let (a, b) = memory_pair(true);
    let mut connecting = Connector::new().connecting(a, "ws://h/").unwrap();
    let mut accepting = Acceptor::new().accepting(b, |_| {
        Response::new(401)
            .header("WWW-Authenticate", "Basic")
            .body("Who are you?")
    });
    let (mut refused, mut answered) = (None, false);
    for _ in 0..STEPS {
        match accepting.advance() {
            Err(AcceptError::Answered(401)) => answered = true,
            Err(AcceptError::Io(e)) if e.kind() == io::ErrorKind::WouldBlock => {}
            Err(AcceptError::Io(e)) if answered && e.kind() == io::ErrorKind::NotConnected => {}
            other => panic!("{other:?}"),
        }
        match connecting.advance() {
            Err(ConnectError::Refused(this)) => {
                refused = Some(this);
                break;
            }
            Err(ConnectError::Io(e)) if e.kind() == io::ErrorKind::WouldBlock => {}
            other => panic!("{other:?}"),
        }
    }
    let refused = refused.unwrap();
    assert_eq!(refused.status, 401);
    assert_eq!(refused.header("www-authenticate"), Some("Basic"));
    assert_eq!(refused.body, b"Who are you?");
    drop(connecting);
    for _ in 0..STEPS {
        if matches!(accepting.advance(), Err(AcceptError::Answered(401))) {
            answered = true;
            break;
        }
    }
    assert!(answered);
}

#[test]
fn trickling_stream_of_fragments_resumes() {
    let (mut client, mut server) = handshake(true);
    let body: Vec<u8> = (0..50_000_u32).map(|n| n as u8).collect();
    let mut writer = client.stream_binary();
    let mut rest = &body[..];
    let mut received = None;
    for _ in 0..STEPS {
        if rest.is_empty() {
            break;
        }
        match writer.write(&rest[..rest.len().min(5000)]) {
            Ok(len) => rest = &rest[len..],
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
        }
        assert_eq!(server.try_recv().unwrap(), Received::Nothing);
    }
    writer.finish().unwrap();
    for _ in 0..STEPS {
        let _ = client.flush();
        if let Received::Message(message) = server.try_recv().unwrap() {
            received = Some(message);
            break;
        }
    }
    assert_eq!(received, Some(Message::Binary(body)));
}

#[test]
fn nonblocking_socket_gives_would_block_and_goes_on() {
    let (client, server) = tcp_pair();
    let mut client = WebSocket::from_upgraded(
        client,
        Client::new(OsEntropy::new()),
        b"",
        Agreed::default(),
    );
    let mut server = WebSocket::from_upgraded(server, Server, b"", Agreed::default());
    server.stream().set_nonblocking(true).unwrap();
    match server.recv() {
        Err(RecvError::Io(error)) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
        other => panic!("{other:?}"),
    }
    // The peer does not read: messages are taken until the backlog is full, and none is lost.
    let mut taken = 0;
    let error = loop {
        match server.send(vec![taken as u8; 100_000]) {
            Ok(()) => taken += 1,
            Err(error) => break error,
        }
        assert!(taken < 10_000);
    };
    assert!(matches!(&error, SendError::Io(e) if e.kind() == io::ErrorKind::WouldBlock));
    let backlog = server.buffered_amount();
    assert!(backlog <= 64 * 1024 + 100_010, "{backlog}");
    for n in 0..taken {
        let message = loop {
            match client
                .recv_timeout(core::time::Duration::from_millis(1))
                .unwrap()
            {
                Received::Message(message) => break message,
                _ => assert_eq!(server.try_recv().unwrap(), Received::Nothing),
            }
        };
        assert_eq!(message, Message::Binary(vec![n as u8; 100_000]));
    }
    // Back to blocking.
    server.stream().set_nonblocking(false).unwrap();
    client.send("Hello").unwrap();
    assert_eq!(server.recv().unwrap(), Some("Hello".into()));
}

/// Reads a byte at a time, from a stream that blocks and has no abilities
#[test]
fn one_byte_reads_make_no_difference() {
    let one_byte = |stream| Plain(Trickle::new(stream, 1));
    let (client, server) = tcp_pair();
    let thread = std::thread::spawn(move || {
        let mut server = motews_std::accept(one_byte(server)).unwrap();
        while let Some(message) = server.recv().unwrap() {
            server.send(message).unwrap();
        }
        server.ended().unwrap()
    });
    let mut client = Connector::new()
        .connect_over(one_byte(client), "ws://h/")
        .unwrap();
    for message in ["Hello".into(), Message::from(vec![3; 1000])] {
        client.send(&message).unwrap();
        assert_eq!(client.recv().unwrap(), Some(message));
    }
    // Nothing ends this stream's half, so the server's end is when it drops the stream.
    client.close(CloseCode::NORMAL, "").unwrap();
    drop(client);
    let _ = thread.join().unwrap();
}

/// A stream that takes everything at once, and keeps it for a while.
#[test]
fn flush_tells_that_the_stream_itself_holds_something() {
    struct Holding(Vec<u8>, u32);
    impl Read for Holding {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::ErrorKind::WouldBlock.into())
        }
    }
    impl Write for Holding {
        fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
            self.0.write(buf)
        }
        fn flush(&mut self) -> io::Result<()> {
            if self.1 > 0 {
                self.1 -= 1;
                return Err(io::ErrorKind::WouldBlock.into());
            }
            Ok(())
        }
    }
    impl motews_std::Transport for Holding {}

    let mut server =
        WebSocket::from_upgraded(Holding(Vec::new(), 3), Server, b"", Agreed::default());
    server.send("Hello").unwrap(); // it is taken, and flushed in vain once
    for _ in 0..2 {
        assert!(server.flush().unwrap_err().is_would_block());
    }
    server.flush().unwrap();
    assert_eq!(server.stream().0, b"\x81\x05Hello");
}
