//! Futures dropped at every await point: the peer sees the same bytes, the caller the same events.

use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll, Waker};

use motews::handshake::{Request, RequestEvent};
use motews::{Client, DataKind, Ended, Event, Message, MessageBuffer, Role, SendError};
use motews_embedded_io::asynch::WebSocket;
use motews_embedded_io::{Config, Error};

use crate::support::{Got, Keys, REQUEST, RESPONSE, Script, buffers, chat_request, frame, owned};

type Ws<'a, R> = WebSocket<'a, Script, R>;

/// Drops the future that waits, and has it made anew.
struct Dropper {
    /// How often something has waited so far.
    waits: usize,
    /// At which of these the future is dropped: at each, or at one.
    at: At,
}

#[derive(Clone, Copy)]
enum At {
    Never,
    Each,
    Only(usize),
}

impl Dropper {
    /// Polls `future`; `None`: drop it now.
    fn poll<T>(&mut self, mut future: Pin<&mut impl Future<Output = T>>) -> Option<T> {
        loop {
            let poll = future
                .as_mut()
                .poll(&mut Context::from_waker(Waker::noop()));
            if let Poll::Ready(output) = poll {
                return Some(output);
            }
            self.waits += 1;
            assert!(self.waits < 1_000_000, "it waits for ever");
            match self.at {
                At::Never => {}
                At::Each => return None,
                At::Only(wait) if wait + 1 == self.waits => return None,
                At::Only(_) => {}
            }
        }
    }
}

/// What `$future` comes to, however often it has to be made.
macro_rules! call {
    ($dropper:expr, $future:expr, $owned:expr) => {
        loop {
            let future = core::pin::pin!($future);
            if let Some(output) = $dropper.poll(future) {
                break $owned(output);
            }
        }
    };
    ($dropper:expr, $future:expr) => {
        call!($dropper, $future, |output| output)
    };
}

/// Runs `conversation` undisturbed, then with each future dropped whenever it waits, and then with
/// one drop at each place where anything waits. The transcript stays the same.
fn stays_the_same<T: PartialEq + core::fmt::Debug>(
    mut conversation: impl FnMut(&mut Dropper) -> T,
) -> usize {
    let mut run = |at| {
        let mut dropper = Dropper { waits: 0, at };
        let transcript = conversation(&mut dropper);
        (transcript, dropper.waits)
    };
    let (expected, waits) = run(At::Never);
    assert!(waits > 500, "only {waits} places to drop something");
    for wait in 0..waits {
        assert_eq!(run(At::Only(wait)).0, expected, "dropped at wait {wait}");
    }
    let (each, dropped) = run(At::Each);
    assert_eq!(each, expected);
    assert!(dropped > 500, "only {dropped} futures were dropped");
    waits
}

fn talk(key: Option<[u8; 4]>) -> Vec<u8> {
    [
        frame(0x81, "Grüße".as_bytes(), key),
        frame(0x01, b"one ", key),
        frame(0x89, &[b'p'; 125], key),
        frame(0x80, b"two", key),
        frame(0x82, &[7; 200], key),
        frame(0x89, b"", key),
        frame(0x88, &[3, 232], key),
    ]
    .concat()
}

/// Receives chunk by chunk, and sends everything back; pings once.
fn echo<R: Role>(ws: &mut Ws<'_, R>, dropper: &mut Dropper) -> Vec<Got> {
    let (mut got, mut open) = (Vec::new(), false);
    let ping = call!(dropper, ws.ping(&[b'q'; 100]));
    assert_eq!(ping, Ok(()));
    loop {
        let mut chunk = None;
        let more = call!(dropper, ws.next_event(), |event: Result<
            Option<Event<'_>>,
            _,
        >| {
            let Some(event) = event.expect("no error") else {
                return false;
            };
            if let Event::Data(data) = &event {
                chunk = Some((data.kind, data.bytes.to_vec(), data.last));
            }
            Got::add(&mut got, &mut open, event);
            true
        });
        if !more {
            break;
        }
        let Some((kind, bytes, last)) = chunk else {
            continue;
        };
        let mut rest = &bytes[..];
        loop {
            let taken = call!(dropper, ws.send_fragment(kind, rest, last));
            rest = &rest[taken.expect("it is open")..];
            if rest.is_empty() {
                break;
            }
        }
    }
    got
}

#[test]
fn server_echo_dropped_anywhere_goes_on() {
    stays_the_same(|dropper| {
        static CONFIG: Config<'static> = Config {
            subprotocols: &["chat"],
            ..Config::DEFAULT
        };
        let script = Script::new([chat_request(), talk(Some([1, 2, 3, 4]))].concat(), 1, true);
        let ws = WebSocket::server(script.clone(), buffers(64, 64)).expect("room");
        let mut ws: Ws<'_, _> = ws.with_config(&CONFIG);
        let mut seen = Vec::new();
        let accepted = call!(
            dropper,
            ws.accept_with(|event| {
                if let Ok(RequestEvent::Header(header)) = event {
                    seen.push(header.name.to_string());
                }
                None
            })
        );
        assert_eq!(accepted, Ok(()));
        assert_eq!(seen.len(), 6, "each header once");
        assert_eq!(ws.subprotocol(), Some("chat"));
        let got = echo(&mut ws, dropper);
        assert_eq!(call!(dropper, ws.drain()), Ok(()));
        (got, script.written())
    });
}

#[test]
fn client_echo_dropped_anywhere_goes_on() {
    stays_the_same(|dropper| {
        let request = Request::new("example.com", "/").expect("right");
        let script = Script::new([RESPONSE, &talk(None)].concat(), 1, true);
        let ws = WebSocket::client(script.clone(), buffers(64, 64), request, Keys::new());
        let mut ws: Ws<'_, Client<Keys>> = ws.expect("room");
        assert_eq!(call!(dropper, ws.connect()), Ok(()));
        let got = echo(&mut ws, dropper);
        (got, script.written())
    });
}

#[test]
fn server_receives_whole_and_sends_whole_dropped_anywhere_goes_on() {
    stays_the_same(|dropper| {
        let script = Script::new([REQUEST, &talk(Some([1, 2, 3, 4]))].concat(), 1, true);
        let mut ws: Ws<'_, _> = WebSocket::server(script.clone(), buffers(64, 64)).expect("room");
        assert_eq!(call!(dropper, ws.accept()), Ok(()));
        let mut messages = MessageBuffer::new([0; 200]);
        let mut got = Vec::new();
        loop {
            let message = call!(dropper, ws.recv(&mut messages), |message: Result<
                Option<Message<'_>>,
                _,
            >| message
                .expect("no error")
                .map(owned));
            let Some(message) = message else {
                break;
            };
            got.push(message);
            let sent = call!(
                dropper,
                ws.send(Message::Text("a reply of some length, as they are"))
            );
            assert_eq!(sent, Ok(()));
            assert_eq!(call!(dropper, ws.flush()), Ok(()));
        }
        (got, script.written())
    });
}

#[test]
fn close_dropped_anywhere_goes_on() {
    let key = Some([5; 4]);
    let end = [frame(0x82, &[1; 300], key), frame(0x88, &[], key)].concat();
    stays_the_same(|dropper| {
        let script = Script::new([REQUEST, &end].concat(), 1, true);
        let mut ws: Ws<'_, _> = WebSocket::server(script.clone(), buffers(64, 64)).expect("room");
        assert_eq!(call!(dropper, ws.accept()), Ok(()));
        let reason = "x".repeat(123);
        assert_eq!(ws.close(motews::CloseCode::NORMAL, &reason), Ok(()));
        let closed = call!(dropper, ws.closed());
        assert!(closed.is_ok_and(Ended::is_clean));
        script.written()
    });
}

#[test]
fn failure_dropped_anywhere_tells_the_peer_once() {
    stays_the_same(|dropper| {
        let wrong = [frame(0x82, &[1; 300], Some([5; 4])), vec![0xF1]].concat();
        let script = Script::new([REQUEST, &wrong].concat(), 1, true);
        let mut ws: Ws<'_, _> = WebSocket::server(script.clone(), buffers(64, 64)).expect("room");
        assert_eq!(call!(dropper, ws.accept()), Ok(()));
        let error = loop {
            let event = call!(dropper, ws.next_event(), |event: Result<
                Option<Event<'_>>,
                _,
            >| {
                event.map(|event| event.is_some())
            });
            match event {
                Ok(true) => {}
                Ok(false) => panic!("no end"),
                Err(error) => break error,
            }
        };
        let violation = motews::ProtocolViolation::ReservedBit;
        assert_eq!(error, Error::Ended(Ended::Violation(violation)));
        (error, script.written())
    });
}

/// A future of `send` that is dropped has sent nothing: the message goes out when it is sent again,
/// and then once.
#[test]
fn send_dropped_while_it_waits_has_sent_nothing() {
    let script = Script::new(REQUEST, 1, true);
    let mut ws: Ws<'_, _> = WebSocket::server(script.clone(), buffers(64, 64)).expect("room");
    let mut patient = Dropper {
        waits: 0,
        at: At::Never,
    };
    assert_eq!(call!(patient, ws.accept()), Ok(()));
    let head = script.written().len();
    assert_eq!(call!(patient, ws.send(Message::Binary(&[1; 50]))), Ok(()));
    for _ in 0..10 {
        assert!(crate::support::poll(ws.send(Message::Binary(&[2; 50]))).is_pending());
        let part = ws.send_fragment(DataKind::Text, &[b'3'; 50], true);
        assert!(crate::support::poll(part).is_pending());
    }
    assert_eq!(call!(patient, ws.flush()), Ok(()));
    let one = [&[0x82, 50][..], &[1; 50]].concat();
    assert_eq!(script.written()[head..], one);
    assert_eq!(
        call!(patient, ws.send(Message::Binary(&[0; 100]))),
        Err(Error::Send(SendError::NoRoom))
    );
}

/// The same with compression: what is in the window and in the compressor is as it would be.
#[cfg(feature = "deflate")]
mod compressed {
    use motews::Server;
    use motews::deflate::DeflateConfig;

    use super::*;
    use crate::deflate::{Owned, both, config, context, deflated, extended};
    use crate::support::head_len;

    const OFFER: &str = "permessage-deflate; client_max_window_bits";

    /// Text twice, the second time next to nothing; a ping within it; something long.
    fn talk(ours: DeflateConfig, key: Option<[u8; 4]>) -> Vec<u8> {
        let text = "Grüße, Grüße und viele Grüße".as_bytes();
        let payloads = deflated(ours.receive, &[text, text, &[7; 400]]);
        let (begin, end) = payloads[0].split_at(9);
        [
            frame(0x41, begin, key),
            frame(0x89, b"ping", key),
            frame(0x80, end, key),
            frame(0xC1, &payloads[1], key),
            frame(0x82, b"plain", key),
            frame(0xC2, &payloads[2], key),
            frame(0x88, &[3, 232], key),
        ]
        .concat()
    }

    #[test]
    fn server_echo_with_compression_dropped_anywhere_goes_on() {
        let ours = both(8, true);
        let talk = [extended(REQUEST, &[OFFER]), talk(ours, Some([1, 2, 3, 4]))].concat();
        stays_the_same(|dropper| {
            let script = Script::new(&talk[..], 1, true);
            let ws: Ws<'_, Server> =
                WebSocket::server(script.clone(), buffers(64, 64)).expect("room");
            let mut memory = Owned::new(ours, 5);
            let mut deflate = memory.deflate(ours);
            let mut ws = ws.with_deflate(&mut deflate);
            assert_eq!(call!(dropper, ws.accept()), Ok(()));
            assert_eq!(ws.deflate().map(config), Some(ours));
            (echo(&mut ws, dropper), script.written())
        });
    }

    #[test]
    fn client_echo_with_compression_dropped_anywhere_goes_on() {
        let ours = both(15, true);
        let talk = [
            extended(RESPONSE, &["permessage-deflate"]),
            talk(ours, None),
        ]
        .concat();
        stays_the_same(|dropper| {
            let request = Request::new("example.com", "/").expect("right");
            let script = Script::new(&talk[..], 1, true);
            let ws = WebSocket::client(script.clone(), buffers(64, 64), request, Keys::new());
            let ws: Ws<'_, Client<Keys>> = ws.expect("room");
            let mut memory = Owned::new(ours, 100);
            let mut deflate = memory.deflate(ours);
            let mut ws = ws.with_deflate(&mut deflate);
            assert_eq!(call!(dropper, ws.connect()), Ok(()));
            assert_eq!(ws.deflate().map(config), Some(ours));
            (echo(&mut ws, dropper), script.written())
        });
    }

    #[test]
    fn server_receives_and_sends_whole_with_compression_dropped_anywhere_goes_on() {
        let ours = DeflateConfig {
            send: context(8, true),
            receive: context(8, false),
        };
        let talk = [extended(REQUEST, &[OFFER]), talk(ours, Some([1, 2, 3, 4]))].concat();
        stays_the_same(|dropper| {
            let script = Script::new(&talk[..], 1, true);
            let ws: Ws<'_, Server> =
                WebSocket::server(script.clone(), buffers(64, 64)).expect("room");
            let mut memory = Owned::new(ours, 0);
            memory.window.clear();
            let mut deflate = memory.deflate(ours);
            let mut ws = ws.with_deflate(&mut deflate);
            assert_eq!(call!(dropper, ws.accept()), Ok(()));
            let mut messages = MessageBuffer::new([0; 400]);
            let mut got = Vec::new();
            loop {
                let message = call!(dropper, ws.recv(&mut messages), |message: Result<
                    Option<Message<'_>>,
                    _,
                >| message
                    .expect("no error")
                    .map(owned));
                let Some(message) = message else {
                    break;
                };
                got.push(message);
                let reply = Message::Text("reply, reply, reply, reply");
                assert_eq!(call!(dropper, ws.send(reply)), Ok(()));
                let long = [b'l'; 100];
                let mut rest = &long[..];
                while !rest.is_empty() {
                    let taken = call!(dropper, ws.send_fragment(DataKind::Binary, rest, true));
                    rest = &rest[taken.expect("it is open")..];
                }
                assert_eq!(call!(dropper, ws.flush()), Ok(()));
            }
            let wire = script.written();
            // After the pong, the first reply has RSV1.
            let frames = &wire[head_len(&wire)..];
            assert_eq!((&frames[2..6], frames[6]), (&b"ping"[..], 0xC1));
            (got, wire)
        });
    }
}
