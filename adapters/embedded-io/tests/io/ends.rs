//! How connections end, and who is told what.

use core::task::Poll;

use embedded_io::{ErrorKind, ErrorType};
use motews::handshake::{ConfigError, Request};
use motews::{Client, CloseCode, Ended, Event, Message, MessageBuffer, Server, Side};
use motews_embedded_io::{Duplex, Error, asynch, blocking};

use crate::support::{
    Got, Hand, Keys, NotNow, REQUEST, RESPONSE, Script, buffers, frame, poll, text,
};
use crate::support::{block_on, read_by_client, read_by_server};

const KEY: Option<[u8; 4]> = Some([1, 2, 3, 4]);
const CLOSE: [u8; 4] = [0x88, 2, 3, 232];

type AsyncClient<K> = asynch::WebSocket<'static, Script, Client<Keys>, K>;

const CLEAN: Ended = Ended::Closed {
    code: CloseCode::NORMAL,
    by: Side::Remote,
    clean: true,
};

/// The same before this side's Close is in the transmit buffer.
const CLOSING: Ended = Ended::Closed {
    code: CloseCode::NORMAL,
    by: Side::Remote,
    clean: false,
};

/// A client whose server has accepted it, and does not end the transport.
fn client() -> (AsyncClient<Hand>, Script, Hand, usize) {
    let script = Script::new(RESPONSE, 1000, false);
    script.ends(false);
    let request = Request::new("example.com", "/").expect("right");
    let ws = asynch::WebSocket::client(script.clone(), buffers(64, 64), request, Keys::new());
    let hand = Hand::default();
    let mut ws: AsyncClient<Hand> = ws.expect("room").with_clock(hand.clone());
    assert_eq!(block_on(ws.connect()), Ok(()));
    assert_eq!(ws.ended(), None);
    let head = script.written().len();
    (ws, script, hand, head)
}

#[test]
fn peer_closes_client_is_told_at_once_and_not_at_the_end_of_tcp() {
    let (mut ws, script, hand, head) = client();
    let mut messages = MessageBuffer::new([0; 64]);
    assert_eq!(poll(ws.recv(&mut messages)), Poll::Pending);
    script.say(&CLOSE);
    assert_eq!(poll(ws.recv(&mut messages)), Poll::Ready(Ok(None)));
    assert_eq!(ws.ended(), Some(CLEAN));
    let close = Got::Close(Some((CloseCode::NORMAL, String::new())));
    assert_eq!(read_by_server(&script.written(), head), [close]);
    // Whoever sends is told the same.
    let late = Message::Text("late");
    assert_eq!(poll(ws.send(late)), Poll::Ready(Err(Error::Ended(CLEAN))));
    assert_eq!(poll(ws.flush()), Poll::Ready(Ok(())), "there is nothing");
    assert_eq!(poll(ws.recv(&mut messages)), Poll::Ready(Ok(None)));
    // The server has a second to end TCP.
    assert_eq!(poll(ws.drain()), Poll::Pending);
    hand.pass(1_000);
    assert_eq!(poll(ws.drain()), Poll::Ready(Ok(())));
    assert_eq!(ws.ended(), Some(CLEAN), "and so it stays");
}

/// The future of `recv` is dropped while the answer to the Close waits, for the other arm of a
/// `select` has something to send.
#[test]
fn peer_closes_while_something_is_to_be_sent_is_a_clean_end() {
    let (mut ws, script, hand, _) = client();
    let mut messages = MessageBuffer::new([0; 64]);
    script.window(0);
    script.say(&CLOSE);
    assert_eq!(poll(ws.recv(&mut messages)), Poll::Pending);
    assert_eq!(ws.ended(), None, "the answer has not left");
    let closed = Err(Error::Ended(CLEAN));
    assert_eq!(poll(ws.send(Message::Text("late"))), Poll::Ready(closed));
    assert_eq!(ws.close(CloseCode::NORMAL, ""), closed);
    script.window(usize::MAX);
    // `closed` sees it to its end, TCP's included.
    assert_eq!(poll(ws.closed()), Poll::Pending);
    assert_eq!(ws.ended(), Some(CLEAN));
    hand.pass(1_000);
    assert_eq!(poll(ws.closed()), Poll::Ready(Ok(CLEAN)), "within a second");
}

#[test]
fn peer_closes_both_halves_are_told() {
    let script = Script::new(REQUEST, 1000, false);
    script.ends(false);
    let transport = Duplex {
        reader: script.clone(),
        writer: script.clone(),
    };
    let ws = asynch::WebSocket::server(transport, buffers(64, 64));
    let mut ws: asynch::WebSocket<'_, _, Server> = ws.expect("room");
    assert_eq!(block_on(ws.accept()), Ok(()));
    let mut halves = ws.split::<NotNow>().expect("it is open");
    let (mut receiver, mut sender) = halves.both();
    assert!(poll(receiver.next_event()).is_pending());
    assert_eq!((receiver.ended(), sender.ended()), (None, None));
    script.say(&frame(0x88, &[3, 232], KEY));
    assert!(matches!(
        poll(receiver.next_event()),
        Poll::Ready(Ok(Some(Event::Close(Some(_)))))
    ));
    let closing = Err(Error::Ended(CLOSING));
    assert_eq!(
        poll(sender.send(Message::Text("late"))),
        Poll::Ready(closing)
    );
    assert!(matches!(poll(receiver.next_event()), Poll::Ready(Ok(None))));
    let ended = Err(Error::Ended(CLEAN));
    assert_eq!(poll(sender.send(Message::Text("late"))), Poll::Ready(ended));
    assert_eq!(poll(sender.flush()), Poll::Ready(Ok(())));
    assert_eq!(
        (receiver.ended(), sender.ended()),
        (Some(CLEAN), Some(CLEAN))
    );
    drop(halves);
    assert_eq!(ws.ended(), Some(CLEAN));
}

/// The transport's own account of its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Kind(ErrorKind);

impl core::fmt::Display for Kind {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

impl core::error::Error for Kind {}

impl embedded_io::Error for Kind {
    fn kind(&self) -> ErrorKind {
        self.0
    }
}

/// A peer that says something and then leaves with a reset, which the answer to a Close meets first
/// if `deaf`.
struct Reset {
    script: Script,
    kind: ErrorKind,
    deaf: bool,
}

impl ErrorType for Reset {
    type Error = Kind;
}

impl embedded_io::Read for Reset {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Kind> {
        match embedded_io::Read::read(&mut self.script, buffer) {
            Ok(len @ 1..) => Ok(len),
            _ => Err(Kind(self.kind)),
        }
    }
}

impl embedded_io::Write for Reset {
    fn write(&mut self, bytes: &[u8]) -> Result<usize, Kind> {
        if self.deaf && bytes.first() == Some(&0x88) {
            return Err(Kind(self.kind));
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> Result<(), Kind> {
        Ok(())
    }
}

fn reset(said: &[u8], kind: ErrorKind, deaf: bool) -> blocking::WebSocket<'static, Reset, Server> {
    let incoming = [REQUEST, said].concat();
    let transport = Reset {
        script: Script::new(incoming, 1000, false),
        kind,
        deaf,
    };
    let mut ws = blocking::WebSocket::server(transport, buffers(64, 64)).expect("room");
    ws.accept().expect("a request");
    ws
}

#[test]
fn peer_closes_and_resets_the_close_counts() {
    for kind in [ErrorKind::ConnectionReset, ErrorKind::BrokenPipe] {
        let mut ws = reset(&frame(0x88, &[3, 232], KEY), kind, true);
        let mut messages = MessageBuffer::new([0; 64]);
        assert_eq!(ws.recv(&mut messages), Ok(None));
        let unclean = Ended::Closed {
            code: CloseCode::NORMAL,
            by: Side::Remote,
            clean: false,
        };
        assert_eq!(ws.ended(), Some(unclean), "the answer did not get through");
        assert_eq!(ws.drain(), Ok(()));
    }
}

#[test]
fn peer_resets_without_a_close_is_lost() {
    let mut ws = reset(&[], ErrorKind::ConnectionReset, false);
    let reset = Err(Error::Io(Kind(ErrorKind::ConnectionReset)));
    assert_eq!(
        ws.next_event().map(|_| ()),
        reset,
        "as the transport has it"
    );
    assert_eq!(ws.ended(), Some(Ended::Lost));
    let lost = Err(Error::Ended(Ended::Lost));
    assert_eq!(ws.next_event().map(|_| ()), lost);
    assert_eq!(ws.send(Message::Text("")), lost);
    assert_eq!(ws.flush(), lost);
}

#[test]
fn transport_has_another_fault_the_call_may_be_repeated() {
    let mut ws = reset(&[], ErrorKind::Other, false);
    let fault = Err(Error::Io(Kind(ErrorKind::Other)));
    assert_eq!(ws.next_event().map(|_| ()), fault);
    assert_eq!(ws.ended(), None);
    ws.transport_mut().script.say(&frame(0x81, b"again", KEY));
    let mut messages = MessageBuffer::new([0; 64]);
    assert_eq!(ws.recv(&mut messages), Ok(Some(Message::Text("again"))));
}

/// What a listener does that has no socket left for a newcomer.
#[test]
fn server_has_heard_nothing_may_be_dropped_and_goes_on_otherwise() {
    let script = Script::new(&b""[..], 1000, false);
    script.ends(false);
    let ws = asynch::WebSocket::server(script.clone(), buffers(64, 64));
    let mut ws: asynch::WebSocket<'_, _, Server> = ws.expect("room");
    assert_eq!(poll(ws.accept()), Poll::Pending);
    assert!(!ws.has_heard());
    script.say(&REQUEST[..1]);
    assert_eq!(poll(ws.accept()), Poll::Pending);
    assert!(ws.has_heard());
    script.say(&REQUEST[1..]);
    assert_eq!(poll(ws.accept()), Poll::Ready(Ok(())), "nothing was lost");
    assert!(ws.has_heard());
}

#[test]
fn refusal_with_a_body_is_told_with_its_status() {
    let page = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 4\r\n\r\nbusy";
    let script = Script::new(&page[..], 1000, false);
    let request = Request::new("example.com", "/").expect("right");
    let ws = blocking::WebSocket::client(script, buffers(64, 64), request, Keys::new());
    let mut ws: blocking::WebSocket<'_, _, Client<Keys>> = ws.expect("room");
    let refused = Ended::Refused(503);
    assert_eq!(ws.connect(), Err(Error::Ended(refused)));
    assert_eq!(ws.ended(), Some(refused));
    assert_eq!(ws.send(Message::Text("")), Err(Error::Ended(refused)));
}

/// One `?` for all, in a function that also makes the request.
#[test]
fn wrong_request_is_an_error_of_the_same_type() {
    fn call() -> Result<(), Error<NotNow>> {
        Request::new("example.com", "no path")?;
        Ok(())
    }
    assert_eq!(call(), Err(Error::Config(ConfigError::Target)));
}

#[test]
fn blocking_close_ends_as_the_async_one_does() {
    let script = Script::new(RESPONSE, 1000, false);
    script.ends(false);
    let request = Request::new("example.com", "/").expect("right");
    let mut time = 0;
    // A tenth of a second for each look at the clock.
    let clock = move || {
        time += 100;
        motews::Millis(time)
    };
    let ws = blocking::WebSocket::client(script.clone(), buffers(64, 64), request, Keys::new());
    let mut ws = ws.expect("room").with_clock(clock);
    assert_eq!(ws.connect(), Ok(()));
    script.say(&frame(0x81, b"the last word", None));
    script.say(&CLOSE);
    assert_eq!(ws.close(CloseCode::NORMAL, "bye"), Ok(()));
    let ended = ws.closed();
    let clean = Ended::Closed {
        code: CloseCode::NORMAL,
        by: Side::Local,
        clean: true,
    };
    assert_eq!(ended, Ok(clean));
    assert_eq!(ws.ended(), Some(clean));
}

#[test]
fn server_closes_and_shuts_down_the_rest_is_drained() {
    let script = Script::new(REQUEST, 1000, false);
    script.ends(false);
    let ws = asynch::WebSocket::server(script.clone(), buffers(64, 64));
    let mut ws: asynch::WebSocket<'_, _, Server> = ws.expect("room");
    assert_eq!(block_on(ws.accept()), Ok(()));
    let head = script.written().len();
    assert_eq!(block_on(ws.send(Message::Text("last"))), Ok(()));
    script.say(
        &[
            frame(0x88, &[3, 232], KEY),
            b"and more that nobody reads".to_vec(),
        ]
        .concat(),
    );
    assert_eq!(ws.close(CloseCode::NORMAL, ""), Ok(()));
    assert!(block_on(ws.closed()).is_ok_and(Ended::is_clean));
    let close = Got::Close(Some((CloseCode::NORMAL, String::new())));
    assert_eq!(
        read_by_client(&script.written(), head),
        [text("last"), close]
    );
    assert_eq!(poll(ws.drain()), Poll::Pending);
    assert!(ws.ended().is_some_and(Ended::is_clean));
}
