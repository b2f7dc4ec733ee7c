//! The blocking WebSocket over TCP, both roles, against each other and against raw bytes.

mod support;

use core::time::Duration;
use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::time::Instant;

use motews_std::role::{Client, Server};
use motews_std::{
    Acceptor, Agreed, CloseCode, DEFAULT_LIMITS, Ended, Limits, Message, OsEntropy, Plain,
    ProtocolViolation, Received, RecvError, SendError, Side, State, WebSocket,
};
use motews_testkit::frame::{masked, unmasked};
use support::{tcp_pair, ws_pair, ws_pair_with};

/// The operations' errors read well, and suit a function that returns `io::Result`.
#[test]
fn errors_convert_into_those_of_the_standard_library() {
    use motews_std::{AcceptError, ConnectError, Deadline, HandshakeError, UrlError};
    use std::io::{Error, ErrorKind as Kind};
    let eof = RecvError::Protocol(ProtocolViolation::UnexpectedEof);
    let cases: [(Error, Kind, &str); 11] = [
        (eof.into(), Kind::UnexpectedEof, "the peer left"),
        (
            RecvError::Protocol(ProtocolViolation::Masked).into(),
            Kind::InvalidData,
            "the peer broke the protocol",
        ),
        (
            RecvError::TimedOut(Deadline::Pong).into(),
            Kind::TimedOut,
            "does not answer",
        ),
        (
            RecvError::TimedOut(Deadline::Close).into(),
            Kind::TimedOut,
            "did not close",
        ),
        (SendError::Closed.into(), Kind::BrokenPipe, "closed"),
        (SendError::TimedOut.into(), Kind::TimedOut, "does not read"),
        (
            SendError::Invalid(motews::SendError::ControlTooLong).into(),
            Kind::InvalidInput,
            "125",
        ),
        (
            AcceptError::Answered(404).into(),
            Kind::ConnectionRefused,
            "404",
        ),
        (
            AcceptError::Handshake(HandshakeError::Key).into(),
            Kind::InvalidData,
            "Sec-WebSocket-Key",
        ),
        (
            ConnectError::Handshake(HandshakeError::StartLine).into(),
            Kind::InvalidData,
            "not a WebSocket server",
        ),
        (
            ConnectError::Url(UrlError::Scheme).into(),
            Kind::InvalidInput,
            "ws://",
        ),
    ];
    for (error, kind, words) in cases {
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(words), "{error}");
    }
    // The transport's own errors stay as they are.
    let error: Error = RecvError::from(Error::from(Kind::WouldBlock)).into();
    assert_eq!(error.kind(), Kind::WouldBlock);
}

#[test]
fn open_messages_arrive_both_ways() {
    let (mut client, mut server) = ws_pair();
    let messages = [
        Message::from(""),
        Message::from("Hello"),
        Message::from("你好, wörld 👋"),
        Message::from(vec![]),
        Message::from(vec![0, 255, 128]),
        Message::from("x".repeat(125)),
        Message::from("x".repeat(126)),
        Message::from(vec![7; 65535]),
        Message::from(vec![7; 65536]),
    ];
    for message in &messages {
        client.send(message).unwrap();
        assert_eq!(server.recv().unwrap().as_ref(), Some(message));
        server.send(message).unwrap();
        assert_eq!(client.recv().unwrap().as_ref(), Some(message));
    }
}

/// FR02, FR01: large payloads go out from where they are, or masked piece by piece.
#[test]
fn open_large_messages_pass_while_the_peer_reads() {
    let (mut client, mut server) = ws_pair();
    let large: Vec<u8> = (0..3_000_000_u32).map(|n| ((n * 31) >> 3) as u8).collect();
    let expected = large.clone();
    let echo = std::thread::spawn(move || {
        let message = server.recv().unwrap().unwrap();
        server.send(&message).unwrap();
        assert_eq!(server.recv().unwrap(), None);
    });
    client.send(&large).unwrap();
    assert_eq!(client.recv().unwrap(), Some(Message::Binary(expected)));
    assert!(support::close(&mut client, CloseCode::NORMAL, "").is_clean());
    echo.join().unwrap();
}

/// CL03, CL06, CL13
#[test]
fn open_client_closes_clean_on_both_sides() {
    let (mut client, mut server) = ws_pair();
    let echo = std::thread::spawn(move || {
        assert_eq!(server.recv().unwrap(), None);
        assert_eq!(server.recv().unwrap(), None);
        assert_eq!(server.close_reason(), "done");
        server.ended().unwrap()
    });
    assert_eq!(client.ended(), None);
    let expected = Ended::Closed {
        code: CloseCode::new(4000),
        by: Side::Remote,
        clean: true,
    };
    let outcome = support::close(&mut client, CloseCode::new(4000), "done");
    assert_eq!(
        (outcome.code(), outcome.is_clean()),
        (expected.code(), true)
    );
    assert_eq!(client.ended(), Some(outcome));
    assert_eq!(echo.join().unwrap(), expected);
    assert_eq!(client.state(), State::Closed);
    // A second close tells the same.
    assert_eq!(support::close(&mut client, CloseCode::NORMAL, ""), outcome);
}

#[test]
fn open_server_closes_clean_and_drops_what_still_comes() {
    let (mut client, mut server) = ws_pair();
    for _ in 0..100 {
        client.send("too late").unwrap();
    }
    let closing =
        std::thread::spawn(move || support::close(&mut server, CloseCode::GOING_AWAY, "bye"));
    assert_eq!(client.recv().unwrap(), None);
    let outcome = client.ended().unwrap();
    assert_eq!(client.close_reason(), "bye");
    assert_eq!(outcome.code(), CloseCode::GOING_AWAY);
    assert!(outcome.is_clean());
    assert!(closing.join().unwrap().is_clean());
}

/// §7.1.1: the server's half ends first, and the Close is not lost by a reset [CL08]
#[test]
fn closing_server_ends_its_half_and_reads_on() {
    let (mut raw, stream) = tcp_pair();
    let mut server = WebSocket::from_upgraded(stream, Server, b"", Agreed::default());
    raw.write_all(&masked(0x88, &[3, 232])).unwrap();
    let thread = std::thread::spawn(move || server.recv().unwrap());
    let mut reply = Vec::new();
    raw.read_to_end(&mut reply).unwrap(); // the end comes although this side is still open
    assert_eq!(reply, unmasked(0x88, &[3, 232]));
    raw.write_all(b"still here").unwrap();
    drop(raw);
    assert_eq!(thread.join().unwrap(), None);
}

/// MS08: no panic, no signal
#[test]
fn open_peer_left_send_is_a_clear_error() {
    let (client, mut server) = ws_pair();
    drop(client);
    let error = (0..1000).find_map(|_| server.send(vec![0; 1000]).err());
    assert!(matches!(error, Some(SendError::Closed)), "{error:?}");
    assert!(matches!(server.send("x"), Err(SendError::Closed)));
    assert!(matches!(server.ping(b""), Err(SendError::Closed)));
    // The Close that the dropped client sent is still there to be received.
    assert!(matches!(server.recv(), Ok(None)));
    assert_eq!(server.ended().unwrap().code(), CloseCode::GOING_AWAY);
}

/// CL18, CL13
#[test]
fn open_stream_ends_without_a_close_is_an_error() {
    let (raw, stream) = tcp_pair();
    let mut server = WebSocket::from_upgraded(stream, Server, b"", Agreed::default());
    raw.shutdown(Shutdown::Write).unwrap();
    for _ in 0..2 {
        assert!(matches!(
            server.recv(),
            Err(RecvError::Protocol(ProtocolViolation::UnexpectedEof))
        ));
    }
    let outcome = server.ended().unwrap();
    assert_eq!(outcome.code(), CloseCode::ABNORMAL_CLOSURE);
    assert!(!outcome.is_clean());
}

/// CL18: a reset is an error of the transport, and stays one
#[test]
fn open_connection_is_reset_is_an_error_that_stays() {
    let (raw, stream) = tcp_pair();
    let mut server = WebSocket::from_upgraded(stream, Server, b"", Agreed::default());
    server.send("never read").unwrap();
    settle();
    drop(raw); // with something unread, this resets
    for _ in 0..2 {
        match server.recv() {
            Err(RecvError::Io(error)) => {
                assert_eq!(error.kind(), ErrorKind::ConnectionReset);
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(matches!(server.send("x"), Err(SendError::Closed)));
    let mut messages = server.messages();
    assert!(messages.next().unwrap().is_err());
    assert!(messages.next().is_none());
    let outcome = server.ended().unwrap();
    assert_eq!(outcome.code(), CloseCode::ABNORMAL_CLOSURE);
}

/// CL16, FR03
#[test]
fn open_violation_tells_the_peer_and_the_caller() {
    let (mut raw, stream) = tcp_pair();
    let mut server = WebSocket::from_upgraded(stream, Server, b"", Agreed::default());
    raw.write_all(&unmasked(0x81, b"Hi")).unwrap();
    raw.shutdown(Shutdown::Write).unwrap();
    for _ in 0..2 {
        assert!(matches!(
            server.recv(),
            Err(RecvError::Protocol(ProtocolViolation::Unmasked))
        ));
    }
    let mut reply = Vec::new();
    raw.read_to_end(&mut reply).unwrap();
    assert_eq!(reply, unmasked(0x88, &[3, 234]));
}

/// §5.7, with ping and fragments, in all sizes of reads
#[test]
fn open_recorded_session_is_the_same_for_any_read_buffer() {
    let mut session = Vec::new();
    session.extend(b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58"); // "Hello"
    session.extend(masked(0x01, b"Hel")); // "Hel" + ping + "lo"
    session.extend(masked(0x89, b"are you there"));
    session.extend(masked(0x80, b"lo"));
    session.extend(masked(0x82, &[9; 70_000]));
    session.extend(masked(0x8A, b"never asked"));
    session.extend(masked(0x02, b""));
    session.extend(masked(0x80, b""));
    session.extend(masked(0x88, b"\x0f\xa1end"));
    for read_buffer in [1, 2, 3, 7, 64, 1000, 100_000] {
        let (mut raw, stream) = tcp_pair();
        let mut server = Acceptor::new().read_buffer(read_buffer).from_upgraded(
            stream,
            Server,
            b"",
            Agreed::default(),
        );
        let bytes = session.clone();
        let writer = std::thread::spawn(move || {
            raw.write_all(&bytes).unwrap();
            let mut reply = Vec::new();
            raw.read_to_end(&mut reply).unwrap();
            reply
        });
        let received: Vec<_> = server.messages().map(Result::unwrap).collect();
        let expected = [
            Message::from("Hello"),
            Message::from("Hello"),
            Message::from(vec![9; 70_000]),
            Message::from(vec![]),
        ];
        assert_eq!(received, expected, "{read_buffer}");
        drop(server);
        let reply = writer.join().unwrap();
        let mut replies = unmasked(0x8A, b"are you there");
        replies.extend(unmasked(0x88, b"\x0f\xa1"));
        assert_eq!(reply, replies, "{read_buffer}");
    }
}

#[test]
fn adopted_stream_begins_with_the_leftover() {
    let (client, stream) = tcp_pair();
    let mut server =
        WebSocket::from_upgraded(stream, Server, &masked(0x81, b"first"), Agreed::default());
    let mut client = WebSocket::from_upgraded(
        client,
        Client::new(OsEntropy::new()),
        b"",
        Agreed::default(),
    );
    client.send("second").unwrap();
    assert_eq!(server.recv().unwrap(), Some("first".into()));
    assert_eq!(server.recv().unwrap(), Some("second".into()));
}

#[test]
fn open_try_recv_tells_nothing_from_closed() {
    let (mut client, mut server) = ws_pair();
    assert_eq!(server.try_recv().unwrap(), Received::Nothing);
    client.send("x").unwrap();
    let message = server.recv_timeout(Duration::from_secs(5)).unwrap();
    assert_eq!(message, Received::Message("x".into()));
    assert_eq!(server.try_recv().unwrap(), Received::Nothing);
    client.close(CloseCode::NORMAL, "").unwrap();
    let closed = server.recv_timeout(Duration::from_millis(50)).unwrap();
    assert_eq!(closed, Received::Closed);
    assert_eq!(server.try_recv().unwrap(), Received::Closed);
    assert_eq!(client.recv().unwrap(), None);
}

#[test]
fn open_recv_timeout_takes_its_time() {
    let (mut client, mut server) = ws_pair();
    let start = Instant::now();
    let received = server.recv_timeout(Duration::from_millis(60)).unwrap();
    assert_eq!(received, Received::Nothing);
    assert!(start.elapsed() >= Duration::from_millis(59));
    // Half a message is no message, and is not lost.
    let frame = masked(0x81, b"Hello");
    client.stream_mut().write_all(&frame[..8]).unwrap();
    let received = server.recv_timeout(Duration::from_millis(20)).unwrap();
    assert_eq!(received, Received::Nothing);
    client.stream_mut().write_all(&frame[8..]).unwrap();
    assert_eq!(server.recv().unwrap(), Some("Hello".into()));
}

/// dwebsocket's `count_messages`, which blocked on half a header
#[test]
fn open_pending_counts_whole_messages_and_never_waits() {
    let (mut raw, stream) = tcp_pair();
    let mut server = WebSocket::from_upgraded(stream, Server, b"", Agreed::default());
    assert_eq!(server.pending(), 0);
    raw.write_all(&masked(0x81, b"a")[..1]).unwrap(); // half a header
    settle();
    assert_eq!(server.pending(), 0);
    raw.write_all(&masked(0x81, b"a")[1..]).unwrap();
    raw.write_all(&masked(0x82, b"b")).unwrap();
    raw.write_all(&masked(0x01, b"c")).unwrap(); // a first fragment
    settle();
    assert_eq!(server.pending(), 2);
    assert_eq!(server.pending(), 2);
    assert_eq!(server.recv().unwrap(), Some("a".into()));
    assert_eq!(server.pending(), 1);
    raw.write_all(&masked(0x80, b"d")).unwrap();
    raw.write_all(&masked(0x88, b"")).unwrap();
    settle();
    assert_eq!(server.pending(), 2);
    drop(raw);
    let rest: Vec<_> = server.messages().map(Result::unwrap).collect();
    assert_eq!(rest, [Message::from(b"b".to_vec()), "cd".into()]);
    assert_eq!(server.pending(), 0);
}

/// FR17: messages without payload take memory, too.
#[test]
fn open_pending_keeps_no_more_than_its_bound_of_empty_messages() {
    const COUNT: usize = 100_000;
    let frames = masked(0x82, b"").repeat(COUNT);
    let stream = Plain(std::io::Cursor::new(frames));
    let mut server = WebSocket::from_upgraded(stream, Server, b"", Agreed::default());
    let pending = server.pending();
    assert!(pending > 1000 && pending * size_of::<Message>() <= 1024 * 1024 + 100);
    for _ in 0..COUNT {
        assert_eq!(server.recv().unwrap(), Some(Message::Binary(Vec::new())));
    }
}

#[test]
fn open_pending_meets_a_reset_receive_tells_it() {
    let (raw, stream) = tcp_pair();
    let mut server = WebSocket::from_upgraded(stream, Server, b"", Agreed::default());
    server.send("unread").unwrap();
    settle();
    drop(raw); // with something unread: a reset
    settle();
    assert_eq!(server.pending(), 0);
    for _ in 0..2 {
        let error = server.recv().unwrap_err();
        assert!(
            matches!(&error, RecvError::Io(error) if error.kind() == ErrorKind::ConnectionReset),
            "{error:?}"
        );
    }
}

/// Loopback delivers what was written before; this is for the scheduler.
fn settle() {
    std::thread::sleep(Duration::from_millis(20));
}

/// One write for one read: replies to what came together leave together
#[test]
fn open_replies_to_one_read_leave_with_one_write() {
    let (mut raw, stream) = tcp_pair();
    let mut server = WebSocket::from_upgraded(stream, Server, b"", Agreed::default());
    let mut three = masked(0x81, b"a");
    three.extend(masked(0x81, b"b"));
    three.extend(masked(0x81, b"c"));
    raw.write_all(&three).unwrap();
    settle();
    for held in [3, 6] {
        let message = server.recv().unwrap().unwrap();
        server.send(message).unwrap();
        assert_eq!(server.buffered_amount(), held);
    }
    let message = server.recv().unwrap().unwrap();
    server.send(message).unwrap();
    assert_eq!(server.buffered_amount(), 0);
    let mut replies = [0; 9];
    assert_eq!(raw.read(&mut replies).unwrap(), 9);
}

#[test]
fn open_second_send_after_a_receive_is_not_held_back() {
    let (mut raw, stream) = tcp_pair();
    let mut server = WebSocket::from_upgraded(stream, Server, b"", Agreed::default());
    let two = [masked(0x81, b"a"), masked(0x81, b"b")].concat();
    raw.write_all(&two).unwrap();
    settle();
    server.recv().unwrap();
    server.send("1").unwrap();
    assert_eq!(server.buffered_amount(), 3);
    server.send("2").unwrap();
    assert_eq!(server.buffered_amount(), 0);
    server.recv().unwrap();
    server.send("3").unwrap();
    assert_eq!(server.buffered_amount(), 0); // no more input was there
}

#[test]
fn open_streamed_messages_arrive_whole() {
    let (mut client, mut server) = ws_pair();
    let receiver = std::thread::spawn(move || {
        let received: Vec<_> = server.messages().map(Result::unwrap).collect();
        received
    });
    let mut text = client.stream_text();
    for n in 0..10_000 {
        core::fmt::Write::write_fmt(&mut text, format_args!("{n},")).unwrap();
    }
    text.finish().unwrap();
    let mut binary = client.stream_binary();
    std::io::copy(&mut std::io::repeat(7).take(100_000), &mut binary).unwrap();
    binary.finish().unwrap();
    client.stream_binary().finish().unwrap(); // an empty one
    drop(client.stream_text()); // none at all
    client.send("after").unwrap();
    support::close(&mut client, CloseCode::NORMAL, "");

    let numbers: String = (0..10_000).map(|n| format!("{n},")).collect();
    let expected = [
        Message::from(numbers),
        Message::from(vec![7; 100_000]),
        Message::from(vec![]),
        Message::from("after"),
    ];
    assert_eq!(receiver.join().unwrap(), expected);
}

/// MS06
#[test]
fn open_streamed_fragments_have_the_opcode_once() {
    let (mut raw, stream) = tcp_pair();
    let mut server = WebSocket::from_upgraded(stream, Server, b"", Agreed::default());
    let mut writer = server.stream_text();
    writer.write("Hel").unwrap();
    writer.flush().unwrap();
    writer.write("lo").unwrap();
    writer.finish().unwrap();
    let mut frames = [0; 9];
    raw.read_exact(&mut frames).unwrap();
    assert_eq!(frames, *b"\x01\x03Hel\x80\x02lo");
}

#[test]
fn open_streamed_message_dropped_unfinished_is_not_delivered() {
    let (mut client, mut server) = ws_pair();
    let mut writer = client.stream_binary();
    writer.write_all(&[1; 100]).unwrap();
    writer.flush().unwrap();
    drop(writer);
    assert!(matches!(client.send("x"), Err(SendError::Closed)));
    let thread = std::thread::spawn(move || (server.recv().unwrap(), server.ended().unwrap()));
    assert_eq!(client.recv().unwrap(), None);
    let (received, outcome) = thread.join().unwrap();
    assert_eq!(received, None);
    assert_eq!(outcome.code(), CloseCode::INTERNAL_ERROR);
}

/// FR17, with the limit at 0, at 1 and above
#[test]
fn open_limit_on_messages_is_exact() {
    for limit in [0_u8, 1, 255] {
        let builder = Acceptor::new().limits(Limits {
            message: limit.into(),
            ..DEFAULT_LIMITS
        });
        let (mut client, mut server) = ws_pair_with(&builder);
        let limit = usize::from(limit);
        client.send(vec![1; limit]).unwrap();
        assert_eq!(server.recv().unwrap().unwrap().len(), limit);
        client.send(vec![1; limit + 1]).unwrap();
        let thread = std::thread::spawn(move || server.recv());
        assert_eq!(client.recv().unwrap(), None);
        assert_eq!(client.ended().unwrap().code(), CloseCode::MESSAGE_TOO_BIG);
        assert!(matches!(
            thread.join().unwrap(),
            Err(RecvError::Protocol(ProtocolViolation::MessageTooBig))
        ));
    }
}

/// FR17: what is announced is not allocated
#[test]
fn open_announced_length_allocates_nothing() {
    let (mut raw, stream) = tcp_pair();
    let mut server = Acceptor::new()
        .limits(Limits {
            message: u64::MAX,
            ..DEFAULT_LIMITS
        })
        .from_upgraded(stream, Server, b"", Agreed::default());
    raw.write_all(b"\x82\xff\x00\x00\x01\x00\x00\x00\x00\x00\0\0\0\0abc") // 2^40 octets
        .unwrap();
    settle();
    assert_eq!(server.try_recv().unwrap(), Received::Nothing);
    drop(raw);
    assert!(server.recv().is_err());
}

/// CT05, CL09, CL19, CL20
#[test]
fn open_what_the_protocol_forbids_is_refused_and_harmless() {
    let (mut client, mut server) = ws_pair();
    assert!(matches!(
        server.ping(&[0; 126]),
        Err(SendError::Invalid(motews::SendError::ControlTooLong))
    ));
    for code in [0, 999, 1004, 1005, 1006, 1010, 1015, 2999, 5000] {
        assert!(matches!(
            server.close(CloseCode::new(code), ""),
            Err(SendError::Invalid(motews::SendError::InvalidCloseCode))
        ));
    }
    assert!(matches!(
        server.close(CloseCode::NORMAL, &"x".repeat(124)),
        Err(SendError::Invalid(motews::SendError::ReasonTooLong))
    ));
    server.ping(&[0; 125]).unwrap();
    server.send("fine").unwrap();
    assert_eq!(client.recv().unwrap(), Some("fine".into()));
}

/// CT02, MS04
#[test]
fn open_ping_is_answered_while_receiving() {
    let (mut client, mut server) = ws_pair();
    server.ping(b"there?").unwrap();
    assert_eq!(
        client.recv_timeout(Duration::from_millis(30)).unwrap(),
        Received::Nothing
    );
    let mut pong = [0; 12];
    let stream = server.stream_mut();
    stream.read_exact(&mut pong).unwrap();
    assert_eq!(pong[..2], [0x8A, 0x86]);
}

/// CT07, RUSTSEC-2020-0043: pings to a peer that never reads the pongs
#[test]
fn open_flood_of_pings_leaves_a_bounded_backlog() {
    let (mut raw, stream) = tcp_pair();
    let mut server = WebSocket::from_upgraded(stream, Server, b"", Agreed::default());
    let pings = masked(0x89, &[b'p'; 125]).repeat(1000);
    let flood = std::thread::spawn(move || {
        for _ in 0..40 {
            raw.write_all(&pings).unwrap(); // 40,000 pings, 5 MB, and nothing is read
        }
        raw.write_all(&masked(0x81, b"end")).unwrap();
        raw
    });
    assert_eq!(server.recv().unwrap(), Some("end".into()));
    assert!(
        server.buffered_amount() < 20_000,
        "{}",
        server.buffered_amount()
    );
    drop(flood.join().unwrap());
}

/// CL22
#[test]
fn open_dropped_socket_says_that_it_goes_away() {
    let (mut client, server) = ws_pair();
    drop(server);
    assert_eq!(client.recv().unwrap(), None);
    assert_eq!(client.ended().unwrap().code(), CloseCode::GOING_AWAY);
}

/// CL22: the Close has its room once the replies have left that were held back.
#[test]
fn open_replies_are_held_back_the_close_leaves_behind_them() {
    for dropped in [false, true] {
        let (mut raw, stream) = tcp_pair();
        let timeout = Some(Duration::from_secs(5));
        raw.set_read_timeout(timeout).unwrap();
        let mut server = WebSocket::from_upgraded(stream, Server, b"", Agreed::default());
        raw.write_all(&masked(0x82, &[2; 9000]).repeat(4)).unwrap();
        settle();
        for _ in 0..2 {
            let message = server.recv().unwrap().unwrap();
            server.send(message).unwrap();
        }
        assert_eq!(server.buffered_amount(), 18_008);
        // All is received, so that the end of the stream is no reset.
        for _ in 0..2 {
            server.recv().unwrap().unwrap();
        }
        let code = if dropped {
            drop(server);
            CloseCode::GOING_AWAY
        } else {
            server.close(CloseCode::NORMAL, "").unwrap();
            assert_eq!(server.buffered_amount(), 0);
            CloseCode::NORMAL
        };
        let mut expected = unmasked(0x82, &[2; 9000]).repeat(2);
        expected.extend(unmasked(0x88, &code.as_u16().to_be_bytes()));
        let mut received = vec![0; expected.len()];
        raw.read_exact(&mut received).unwrap();
        assert!(received == expected);
    }
}

#[cfg(unix)]
#[test]
fn open_unix_sockets_serve_as_well() {
    let (a, b) = std::os::unix::net::UnixStream::pair().unwrap();
    let mut client =
        WebSocket::from_upgraded(a, Client::new(OsEntropy::new()), b"", Agreed::default());
    let mut server = WebSocket::from_upgraded(b, Server, b"", Agreed::default());
    let sender = server.sender().unwrap();
    sender.send("one").unwrap();
    server.send(vec![2; 100_000]).unwrap();
    assert_eq!(client.recv().unwrap(), Some("one".into()));
    assert_eq!(client.recv().unwrap().unwrap().len(), 100_000);
    let thread = std::thread::spawn(move || server.recv().unwrap());
    assert!(support::close(&mut client, CloseCode::NORMAL, "").is_clean());
    assert_eq!(thread.join().unwrap(), None);
}

/// FR05: no key twice, none of zeros
#[test]
fn open_client_masks_with_fresh_keys() {
    let (mut raw, stream) = tcp_pair();
    let mut client = WebSocket::from_upgraded(
        stream,
        Client::new(OsEntropy::new()),
        b"",
        Agreed::default(),
    );
    let mut keys = std::collections::HashSet::new();
    for _ in 0..200 {
        client.send("").unwrap();
        let mut frame = [0; 6];
        raw.read_exact(&mut frame).unwrap();
        assert_eq!(frame[..2], [0x81, 0x80]);
        assert_ne!(frame[2..], [0; 4]);
        keys.insert(frame);
    }
    assert!(keys.len() >= 199);
}

struct NoKeys;

impl motews::Entropy for NoKeys {
    fn fill(&mut self, _: &mut [u8]) -> Result<(), motews::EntropyError> {
        Err(motews::EntropyError)
    }
}

/// FR05: without a masking key there is no reply, and no way to go on.
#[test]
fn open_without_entropy_fails_and_stays_so() {
    let (mut raw, stream) = tcp_pair();
    let mut client = WebSocket::from_upgraded(stream, Client::new(NoKeys), b"", Agreed::default());
    raw.write_all(&unmasked(0x89, b"ping")).unwrap();
    for _ in 0..3 {
        assert!(matches!(client.recv(), Err(RecvError::Entropy)));
    }
}

#[test]
fn adopted_stream_is_prepared() {
    let (client, server) = tcp_pair();
    let server = WebSocket::from_upgraded(server, Server, b"", Agreed::default());
    assert!(server.stream().nodelay().unwrap());
    assert!(!client.nodelay().unwrap());
}

/// A pong carries the payload of its ping, and tells the round trip.
#[test]
fn open_ping_is_answered_the_round_trip_can_be_told() {
    let (mut client, mut server) = ws_pair();
    let peer = std::thread::spawn(move || server.recv().unwrap());
    assert_eq!(client.last_pong(), None);
    let sent = Instant::now();
    client.ping(b"1").unwrap();
    while client.last_pong().is_none() && sent.elapsed() < Duration::from_secs(3) {
        client.recv_timeout(Duration::from_millis(5)).unwrap();
    }
    let (at, payload) = client.last_pong().unwrap();
    assert_eq!(payload, b"1");
    assert!(at >= sent);
    support::close(&mut client, CloseCode::NORMAL, "");
    peer.join().unwrap();
}
