//! Connections whose opening handshake somebody else has seen through.

use motews::handshake::{Agreed, Offers, RequestEvent, ServerHandshake, Upgrade};
use motews::{
    Client, CloseCode, Deadline, Ended, Limits, Message, MessageBuffer, NoRoom, SendError, Server,
};
use motews_embedded_io::{Config, Error, MIN_BUFFER, asynch, blocking};

use crate::support::{
    Got, Hand, Keys, REQUEST, Script, block_on, buffers, chat_request, frame, poll, read_by_client,
    read_by_server, text,
};

const KEY: Option<[u8; 4]> = Some([1, 2, 3, 4]);

static CHAT: Config<'static> = Config {
    subprotocols: &["superchat", "chat"],
    ..Config::DEFAULT
};

/// What an HTTP server does that reads requests by itself, with what it has read beyond the request.
fn upgrade(mut request: &[u8]) -> (Upgrade, &[u8]) {
    let mut handshake = ServerHandshake::with_limits([0; 256], Limits::DEFAULT);
    let offers = CHAT_OFFERS;
    while let Some(event) = handshake.next_event(&mut request, &offers).expect("right") {
        if let RequestEvent::Done(upgrade) = event {
            return (upgrade, request);
        }
    }
    panic!("the request is whole");
}

const CHAT_OFFERS: Offers<'static> = Offers::new().subprotocols(CHAT.subprotocols);

fn close() -> Got {
    Got::Close(Some((CloseCode::NORMAL, String::new())))
}

/// The handshake is core's, and what was read beyond the request ends in the midst of a frame.
#[test]
fn server_upgraded_by_hand_receives_leftover_first_and_then_the_transport() {
    let frames = [
        frame(0x81, b"in the leftover", KEY),
        frame(0x81, b"in both", KEY),
        frame(0x81, b"in the transport", KEY),
        frame(0x88, &[3, 232], KEY),
    ];
    let (first, all) = (frames[0].len(), frames.concat());
    for cut in [0, 1, first - 1, first, first + 1, first + 7, all.len()] {
        let read = [&chat_request()[..], &all[..cut]].concat();
        let (upgrade, leftover) = upgrade(&read);
        assert_eq!(leftover.len(), cut);
        let script = Script::new(&all[cut..], 1000, false);
        let mut transport = script.clone();
        let mut response = [0; 512];
        let len = upgrade.emit_from(0, &mut response, &upgrade.answer(&CHAT_OFFERS));
        embedded_io::Write::write(&mut transport, &response[..len]).expect("room");

        let (agreed, buffers) = (upgrade.agreed(), buffers(256, 64));
        let ws = blocking::WebSocket::from_upgraded(transport, Server, buffers, leftover, agreed);
        let mut ws = ws.expect("room").with_config(&CHAT);
        assert!(!ws.is_open());
        assert_eq!(ws.ping(b""), Err(Error::Send(SendError::NotOpen)));
        assert_eq!(ws.open(), Ok(()));
        assert!(ws.is_open());
        assert_eq!(ws.subprotocol(), Some("chat"));
        let mut messages = MessageBuffer::new([0; 64]);
        for expected in ["in the leftover", "in both", "in the transport"] {
            let message = Some(Message::Text(expected));
            assert_eq!(ws.recv(&mut messages), Ok(message), "cut at {cut}");
            ws.send(Message::Text(expected)).expect("open");
        }
        assert_eq!(ws.recv(&mut messages), Ok(None));
        assert!(ws.ended().is_some_and(Ended::is_clean));
        let mut told: Vec<_> = ["in the leftover", "in both", "in the transport"]
            .map(text)
            .into();
        told.push(close());
        assert_eq!(read_by_client(&script.written(), len), told);
    }
}

/// The headers come from an HTTP client, and the clock begins when it is given.
#[test]
fn client_upgraded_from_headers_keeps_deadlines_and_closes() {
    let headers = [("sec-websocket-protocol", &b"superchat"[..])];
    let agreed = Agreed::from_headers(200, (2, 0), None, headers, &CHAT_OFFERS, Limits::DEFAULT);
    let agreed = agreed.expect("it accepts");
    let leftover = [frame(0x89, b"early", None), frame(0x81, b"Hello", None)].concat();
    let script = Script::new("", 1000, false);
    script.ends(false);
    let hand = Hand::default();
    let role = Client::new(Keys::new());
    let ws =
        asynch::WebSocket::from_upgraded(script.clone(), role, buffers(64, 64), &leftover, agreed);
    let mut ws = ws
        .expect("room")
        .with_config(&CHAT)
        .with_clock(hand.clone());
    assert_eq!(ws.open(), Ok(()));
    assert_eq!(ws.open(), Ok(()), "it is");
    assert_eq!(ws.subprotocol(), Some("superchat"));
    let mut messages = MessageBuffer::new([0; 16]);
    let hello = block_on(ws.recv(&mut messages));
    assert_eq!(hello, Ok(Some(Message::Text("Hello"))));
    assert!(poll(ws.recv(&mut messages)).is_pending());
    assert_eq!(
        read_by_server(&script.written(), 0),
        [Got::Pong(b"early".to_vec())]
    );
    // The default of `keepalive`, from the moment on when it was opened.
    hand.pass(29_999);
    assert!(poll(ws.recv(&mut messages)).is_pending());
    assert_eq!(read_by_server(&script.written(), 0).len(), 1);
    hand.pass(100);
    assert!(poll(ws.recv(&mut messages)).is_pending());
    assert_eq!(read_by_server(&script.written(), 0).len(), 2, "a ping");
    assert_eq!(ws.close(CloseCode::NORMAL, ""), Ok(()));
    assert!(poll(ws.closed()).is_pending());
    hand.pass(60_000);
    let late = Ended::TimedOut(Deadline::Close);
    assert_eq!(poll(ws.closed()), core::task::Poll::Ready(Ok(late)));
}

#[test]
fn leftover_longer_than_the_buffer_is_refused() {
    let (upgrade, _) = upgrade(REQUEST);
    for (len, fits) in [(0, true), (MIN_BUFFER, true), (MIN_BUFFER + 1, false)] {
        let ws = blocking::WebSocket::from_upgraded(
            Script::new("", 1, false),
            Server,
            buffers(MIN_BUFFER, MIN_BUFFER),
            &vec![0; len],
            upgrade.agreed(),
        );
        assert_eq!(ws.map(|_| ()), if fits { Ok(()) } else { Err(NoRoom) });
    }
}

/// Who has to shake hands first is not opened otherwise.
#[test]
fn server_awaits_a_request_is_not_opened_without_it() {
    let script = Script::new(REQUEST, 1000, false);
    let mut ws = blocking::WebSocket::server(script, buffers(64, 64)).expect("room");
    assert_eq!(ws.open(), Err(Error::Send(SendError::NotOpen)));
    assert_eq!(ws.accept(), Ok(()));
    assert_eq!(ws.open(), Ok(()));
}

#[cfg(feature = "deflate")]
mod compressed {
    use super::*;
    use crate::deflate::{both, deflate, deflated, memory};

    /// What was agreed on by somebody else needs memory here.
    #[test]
    fn server_upgraded_with_compression_inflates_the_leftover_or_has_no_room() {
        let ours = both(9, true);
        let offers = Offers::new().deflate(ours);
        let headers: &[(&str, &[u8])] = &[
            ("Host", b"h"),
            ("Connection", b"Upgrade"),
            ("Upgrade", b"websocket"),
            ("Sec-WebSocket-Version", b"13"),
            ("Sec-WebSocket-Key", b"dGhlIHNhbXBsZSBub25jZQ=="),
            (
                "Sec-WebSocket-Extensions",
                b"permessage-deflate; client_max_window_bits",
            ),
        ];
        let headers = headers.iter().copied();
        let upgrade = Upgrade::from_headers("GET", (1, 1), headers, &offers, Limits::DEFAULT);
        let agreed = upgrade.expect("right").agreed();
        let payload = deflated(ours.receive, &[b"Hello, Hello, Hello"]).concat();
        let leftover = frame(0xC1, &payload, KEY);
        let ws = || {
            let script = Script::new("", 1000, false);
            let buffers = buffers(64, 64);
            blocking::WebSocket::from_upgraded(script, Server, buffers, &leftover, agreed)
                .expect("room")
        };
        assert_eq!(ws().open(), Err(Error::NoRoom));
        // Of another size than was agreed on.
        let other = both(8, true);
        let mut small = ws().with_deflate(deflate(other, memory(other, 10)));
        assert_eq!(small.open(), Err(Error::NoRoom));

        let mut ws = ws().with_deflate(deflate(ours, memory(ours, 10)));
        assert_eq!(ws.open(), Ok(()));
        let mut messages = MessageBuffer::new([0; 32]);
        let hello = ws.recv(&mut messages);
        assert_eq!(hello, Ok(Some(Message::Text("Hello, Hello, Hello"))));
    }
}
