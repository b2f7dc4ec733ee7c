//! Compressed messages over TCP (RFC 7692): what is agreed upon, and what is then on the wire.

mod support;

use core::time::Duration;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;

use motews_std::{
    Acceptor, Bytes, CloseCode, ConnectError, Connector, DEFAULT_LIMITS, DeflateConfig,
    DeflateContext, HandshakeError, Limits, Message, ProtocolViolation, RecvError, Timeouts,
    Traffic, WindowBits,
};
use motews_testkit::frame::Frame;
use motews_testkit::head::{Head, read as read_head};
use support::{REQUEST, serve, tcp_pair, ws_pair_agreed, ws_pair_with};

/// Whoever fails a connection waits for the peer's end of it, here not for long.
fn builder() -> Acceptor {
    let timeouts = Timeouts {
        close: Some(300),
        ..Timeouts::default()
    };
    Acceptor::new()
        .deflate(DeflateConfig::default())
        .timeouts(timeouts)
}

fn small(takeover: bool) -> DeflateConfig {
    let context = DeflateContext {
        window_bits: WindowBits::new(9).unwrap(),
        takeover,
    };
    DeflateConfig {
        send: context,
        receive: context,
    }
}

fn text(len: usize) -> String {
    let numbers = (0..).map(|n: u32| format!("{{\"value\":{}}},", n * 7919 % 1000));
    let mut text = String::new();
    for number in numbers {
        if text.len() + number.len() > len {
            return text;
        }
        text += &number;
    }
    text
}

/// Reads a frame, as it is on the wire.
fn read_frame(stream: &mut TcpStream) -> Vec<u8> {
    let (frame, key) = Frame::read(stream).unwrap();
    frame.encode(key)
}

/// The head of the answer to a request that offers these extensions, and the stream after it.
fn ask(builder: Acceptor, extensions: &str) -> (String, TcpStream) {
    let (mut client, server) = tcp_pair();
    thread::spawn(move || {
        let mut ws = builder.accept(server).unwrap();
        while let Ok(Some(message)) = ws.recv() {
            ws.send(message).unwrap();
        }
    });
    let blank = REQUEST.len() - 2;
    let request = [&REQUEST[..blank], extensions.as_bytes(), &REQUEST[blank..]];
    client.write_all(&request.concat()).unwrap();
    client
        .set_read_timeout(Some(Duration::from_secs(5)))
        .unwrap();
    (read_head(&mut client), client)
}

/// PD01, PD02: the answer to an offer, over any number of headers; or none, and all is as without.
#[test]
fn accepting_an_offer_answers_it_or_goes_on_without() {
    let name = "Sec-WebSocket-Extensions: ";
    let browser = format!("{name}permessage-deflate; client_max_window_bits\r\n");
    let (head, mut stream) = ask(builder(), &browser);
    assert!(
        head.contains("\r\nSec-WebSocket-Extensions: permessage-deflate\r\n"),
        "{head}"
    );
    // "Hello", compressed, masked with a key of zeros; PD24: the second refers to the first.
    stream
        .write_all(b"\xc1\x87\0\0\0\0\xf2\x48\xcd\xc9\xc9\x07\x00")
        .unwrap();
    assert_eq!(
        read_frame(&mut stream),
        b"\xc1\x07\xf2\x48\xcd\xc9\xc9\x07\x00"
    );
    stream
        .write_all(b"\xc1\x85\0\0\0\0\xf2\x00\x11\x00\x00")
        .unwrap();
    assert_eq!(read_frame(&mut stream), b"\xc1\x04\x02\x13\x00\x00");
    // PD15: one that is not compressed
    stream.write_all(b"\x81\x82\0\0\0\0ok").unwrap();
    assert_eq!(read_frame(&mut stream)[0], 0xC1);

    let several = format!("{name}x-other, permessage-deflate; unknown\r\n{browser}");
    let (head, _) = ask(builder().deflate(small(true)), &several);
    let answer = "permessage-deflate; client_max_window_bits=9\r\n";
    assert!(head.contains(&format!("{name}{answer}")), "{head}");

    let plain = format!("{name}permessage-deflate\r\n");
    for (builder, offer) in [
        (builder().deflate(small(true)), plain),
        (Acceptor::new(), browser),
    ] {
        let (head, mut stream) = ask(builder, &offer);
        assert!(!head.contains("Extensions"), "{head}");
        stream.write_all(b"\x81\x82\0\0\0\0ok").unwrap();
        assert_eq!(read_frame(&mut stream), b"\x81\x02ok");
        // FR08: compressed, although that was declined
        stream
            .write_all(b"\xc1\x87\0\0\0\0\xf2\x48\xcd\xc9\xc9\x07\x00")
            .unwrap();
        assert_eq!(read_frame(&mut stream)[..4], *b"\x88\x02\x03\xea");
    }
}

/// PD03: an answer that does not fit the offer.
#[test]
fn connecting_with_a_wrong_answer_fails() {
    let answers = [
        ("", Ok(false)),
        ("permessage-deflate", Ok(true)),
        ("permessage-deflate; client_max_window_bits", Err(())),
        ("permessage-deflate; server_max_window_bits=16", Err(())),
        ("permessage-deflate; unknown", Err(())),
        ("permessage-deflate, permessage-deflate", Err(())),
        ("x-other", Err(())),
    ];
    for (answer, expected) in answers {
        let (addr, server) = serve(move |mut stream| {
            let request = read_head(&mut stream);
            assert!(
                request.contains("Extensions: permessage-deflate; client_max_window_bits=12\r\n")
            );
            let head = match answer {
                "" => Head::response_to(&request),
                answer => Head::response_to(&request).and("Sec-WebSocket-Extensions", answer),
            };
            stream.write_all(&head.to_bytes()).unwrap();
            let _ = stream.read(&mut [0; 64]);
        });
        let opened = Connector::new()
            .deflate(DeflateConfig::default())
            .connect(&format!("ws://{addr}/"));
        match (opened, expected) {
            (Ok(ws), Ok(agreed)) => assert_eq!(ws.deflate().is_some(), agreed, "{answer}"),
            (Err(ConnectError::Handshake(error)), Err(())) => {
                assert_eq!(error, HandshakeError::Extensions, "{answer}");
            }
            (opened, _) => panic!("{answer}: {opened:?}"),
        }
        server.join().unwrap();
    }
}

/// PD05, PD07, PD24: messages of all sizes, both ways, from several threads, with windows of all
/// sizes, with takeover and without.
#[test]
fn open_compressed_messages_arrive_as_they_were() {
    for config in [
        DeflateConfig::default(),
        DeflateConfig::MAX,
        small(true),
        small(false),
    ] {
        let (mut client, mut server) = ws_pair_agreed(&Acceptor::new(), config);
        let echo = thread::spawn(move || {
            while let Some(message) = server.recv().unwrap() {
                server.send(message).unwrap();
            }
            server.ended().unwrap()
        });
        let long = text(300_000);
        for message in ["", "a", "Hello", &long, "Hello", &text(70_000), &text(500)] {
            client.send(message).unwrap();
            assert_eq!(client.recv().unwrap(), Some(message.into()));
            client.send_uncompressed(message).unwrap();
            assert_eq!(client.recv().unwrap(), Some(message.into()));
        }
        let noise: Vec<u8> = (0..100_000_u32)
            .map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8)
            .collect();
        client.send(&noise[..]).unwrap();
        assert_eq!(client.recv().unwrap(), Some(Message::Binary(noise)));
        // A stream is not compressed, and may stand between.
        let mut stream = client.stream_text();
        stream.write(&long).unwrap();
        stream.finish().unwrap();
        assert_eq!(client.recv().unwrap(), Some((&long[..]).into()));

        let senders: Vec<_> = (0..4)
            .map(|_| {
                let sender = client.sender().unwrap();
                thread::spawn(move || (0..50).for_each(|n| sender.send(text(n * 20)).unwrap()))
            })
            .collect();
        let mut received = 0;
        while received < 4 * 50 {
            let Some(Message::Text(message)) = client.recv().unwrap() else {
                panic!("it was closed");
            };
            assert_eq!(message, text(message.len()));
            received += 1;
        }
        for sender in senders {
            sender.join().unwrap();
        }
        assert!(support::close(&mut client, CloseCode::NORMAL, "").is_clean());
        assert!(echo.join().unwrap().is_clean());
    }
}

#[test]
fn open_traffic_tells_octets_of_messages_and_of_payloads() {
    let agreed = small(true);
    let (mut stream, server) = tcp_pair();
    let mut server = builder().from_upgraded(
        server,
        motews_std::role::Server,
        b"",
        support::agreed(agreed),
    );
    assert_eq!(server.traffic(), Some(Traffic::default()));
    let octets = |plain, wire| Bytes { plain, wire };
    // "Hello", compressed; again, in two frames, referring to the first; and as it is.
    let received = [
        (
            &b"\xc1\x87\0\0\0\0\xf2\x48\xcd\xc9\xc9\x07\x00"[..],
            octets(5, 7),
        ),
        (
            b"\x41\x82\0\0\0\0\xf2\x00\x80\x83\0\0\0\0\x11\x00\x00",
            octets(10, 12),
        ),
        (b"\x81\x85\0\0\0\0Hello", octets(15, 17)),
        (b"\x81\x80\0\0\0\0", octets(15, 17)),
    ];
    for (frames, received) in received {
        stream.write_all(frames).unwrap();
        server.recv().unwrap().unwrap();
        assert_eq!(server.traffic().unwrap().received, received);
        assert_eq!(server.traffic().unwrap().sent, Bytes::default());
    }
    server.send("Hello").unwrap();
    assert_eq!(server.traffic().unwrap().sent, octets(5, 7));
    server.send("Hello").unwrap();
    assert_eq!(server.traffic().unwrap().sent, octets(10, 11));
    server.send_uncompressed("Hello").unwrap();
    assert_eq!(server.traffic().unwrap().sent, octets(15, 16));
    server.sender().unwrap().send("Hello").unwrap();
    assert_eq!(server.traffic().unwrap().sent, octets(20, 20));
    let mut streamed = server.stream_text();
    streamed.write("Hel").unwrap();
    streamed.flush().unwrap();
    streamed.write("lo").unwrap();
    streamed.finish().unwrap();
    assert_eq!(server.traffic().unwrap().sent, octets(25, 25));
    assert!(server.ping(b"Hello").is_ok());
    let sent = [
        &b"\xc1\x07\xf2\x48\xcd\xc9\xc9\x07\x00"[..],
        b"\xc1\x04\x02\x13\x00\x00",
        b"\x81\x05Hello",
        b"\xc1\x04\x02\x13\x00\x00",
    ];
    for frame in sent {
        assert_eq!(read_frame(&mut stream), frame);
    }
    assert_eq!(server.traffic().unwrap().sent, octets(25, 25));

    // Refused, so not sent; and where nothing was agreed upon, nothing is counted.
    server.close(CloseCode::NORMAL, "").unwrap();
    assert!(server.send("Hello").is_err());
    assert_eq!(server.traffic().unwrap().sent, octets(25, 25));
    let (mut client, _server) = ws_pair_with(&Acceptor::new());
    client.send("Hello").unwrap();
    assert_eq!(client.traffic(), None);
}

/// PD27: the limit is on what comes out, and stops a bomb; FR17: and on what was not compressed.
#[test]
fn open_message_beyond_the_limit_when_inflated_fails_with_1009() {
    let limited = builder().limits(Limits {
        message: 1000,
        ..DEFAULT_LIMITS
    });
    for compressed in [true, false] {
        let (mut other, mut server) = ws_pair_agreed(&limited, DeflateConfig::default());
        let exact = text(1000).into_bytes();
        let exact = [&exact[..], &vec![b' '; 1000 - exact.len()]].concat();
        other.send(&exact[..]).unwrap();
        assert_eq!(server.recv().unwrap(), Some(Message::Binary(exact)));
        let bomb = vec![0; if compressed { 1 << 20 } else { 1001 }];
        if compressed {
            other.send(&bomb[..]).unwrap();
        } else {
            other.send_uncompressed(&bomb[..]).unwrap();
        }
        let failed = server.recv();
        assert!(
            matches!(
                failed,
                Err(RecvError::Protocol(ProtocolViolation::MessageTooBig))
            ),
            "{failed:?}"
        );
        drop(server);
        while let Ok(Some(_)) = other.recv() {}
        assert_eq!(other.ended().unwrap().code(), CloseCode::MESSAGE_TOO_BIG);
    }
}

/// PD27: the limit at 0, at 1, and at its maximum.
#[test]
fn open_compressed_message_at_each_limit_is_taken_and_one_more_octet_is_not() {
    for (limit, longest) in [(0, 0), (1, 1), (u64::MAX, 100_000)] {
        let limited = builder().limits(Limits {
            message: limit,
            ..DEFAULT_LIMITS
        });
        let (mut other, mut server) = ws_pair_agreed(&limited, DeflateConfig::default());
        for len in [0, longest] {
            other.send(vec![7; len]).unwrap();
            assert_eq!(server.recv().unwrap(), Some(Message::Binary(vec![7; len])));
        }
        if limit < u64::MAX {
            other.send(vec![7; longest + 1]).unwrap();
            let failed = server.recv();
            assert!(
                matches!(
                    failed,
                    Err(RecvError::Protocol(ProtocolViolation::MessageTooBig))
                ),
                "{limit}: {failed:?}"
            );
        }
    }
}

/// PD26: what cannot be inflated, and text that is not UTF-8 when it is inflated.
#[test]
fn open_message_that_is_malformed_fails_with_1007() {
    for (frame, violation) in [
        (
            &b"\xc2\x82\0\0\0\0\xff\xff"[..],
            ProtocolViolation::Compression,
        ),
        (
            b"\xc2\x83\0\0\0\0\xf2\x48\xcd",
            ProtocolViolation::Compression,
        ),
        (
            b"\xc1\x87\0\0\0\0\x00\x01\x00\xfe\xff\xff\x00",
            ProtocolViolation::InvalidUtf8,
        ),
    ] {
        let (mut client, server) = tcp_pair();
        let mut server = builder().from_upgraded(
            server,
            motews_std::role::Server,
            b"",
            support::agreed(DeflateConfig::default()),
        );
        client.write_all(frame).unwrap();
        let failed = server.recv();
        assert!(
            matches!(failed, Err(RecvError::Protocol(found)) if found == violation),
            "{failed:?}"
        );
        assert_eq!(read_frame(&mut client), b"\x88\x02\x03\xef");
    }
}
