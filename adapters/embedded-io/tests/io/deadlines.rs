//! Deadlines, with a time that passes when the test says so.

use core::task::Poll;

use motews::{CloseCode, Ended, Event, Message, Server};
use motews::{Deadline, Millis, Timeouts};
use motews_embedded_io::{Config, Error, asynch, blocking};

use crate::support::{Got, Hand, NotNow, REQUEST, Script, buffers, frame, poll, read_by_client};

static CONFIG: Config<'static> = Config {
    timeouts: Timeouts {
        handshake: Some(10_000),
        idle: Some(100_000),
        keepalive: Some(30_000),
        pong: Some(5_000),
        close: Some(3_000),
        // Bytes buy nothing here: `slow.rs` has what they buy.
        max_grace: 0,
        ..Timeouts::DEFAULT
    },
    ..Config::DEFAULT
};

type Ws<K> = asynch::WebSocket<'static, Script, Server, K>;

/// A server whose client says `incoming` and is silent then.
fn server(incoming: &[u8]) -> (Ws<Hand>, Script, Hand) {
    let script = Script::new(incoming, 1000, false);
    script.ends(false);
    let hand = Hand::default();
    let ws = asynch::WebSocket::server(script.clone(), buffers(64, 64)).expect("room");
    let ws = ws.with_config(&CONFIG).with_clock(hand.clone());
    (ws, script, hand)
}

fn open() -> (Ws<Hand>, Script, Hand, usize) {
    let (mut ws, script, hand) = server(REQUEST);
    assert_eq!(poll(ws.accept()), Poll::Ready(Ok(())));
    let head = script.written().len();
    (ws, script, hand, head)
}

fn next(ws: &mut Ws<Hand>) -> Poll<Result<bool, Error<NotNow>>> {
    poll(ws.next_event()).map(|event| event.map(|event| event.is_some()))
}

fn late(deadline: Deadline) -> Poll<Result<bool, Error<NotNow>>> {
    Poll::Ready(Err(Error::Ended(Ended::TimedOut(deadline))))
}

#[test]
fn server_awaits_a_request_gives_up_in_time() {
    for len in [0, 20] {
        let (mut ws, _, hand) = server(&REQUEST[..len]);
        assert_eq!(poll(ws.accept()), Poll::Pending);
        hand.pass(9_999);
        assert_eq!(poll(ws.accept()), Poll::Pending);
        hand.pass(1);
        let late = Poll::Ready(Err(Error::Ended(Ended::TimedOut(Deadline::Handshake))));
        assert_eq!(poll(ws.accept()), late);
        assert_eq!(poll(ws.accept()), late, "and so it stays");
    }
}

#[test]
fn server_cannot_write_its_answer_gives_up_in_time() {
    let (mut ws, script, hand) = server(REQUEST);
    script.window(0);
    assert_eq!(poll(ws.accept()), Poll::Pending);
    // From here on it is the client's time to read.
    hand.pass(29_999);
    assert_eq!(poll(ws.accept()), Poll::Pending);
    hand.pass(1);
    let late = Error::Ended(Ended::TimedOut(Deadline::Write));
    assert_eq!(poll(ws.accept()), Poll::Ready(Err(late)));
    assert_eq!(ws.ended(), Some(Ended::TimedOut(Deadline::Write)));
}

#[test]
fn peer_is_silent_is_pinged_and_given_up() {
    let (mut ws, script, hand, head) = open();
    assert_eq!(next(&mut ws), Poll::Pending);
    hand.pass(29_999);
    assert_eq!(next(&mut ws), Poll::Pending);
    assert_eq!(script.written().len(), head);
    hand.pass(1);
    assert_eq!(next(&mut ws), Poll::Pending);
    assert_eq!(read_by_client(&script.written(), head), [Got::Ping(vec![])]);
    hand.pass(4_999);
    script.say(&frame(0x8A, b"", Some([0; 4])));
    assert_eq!(next(&mut ws), Poll::Ready(Ok(true)), "it is there");
    hand.pass(30_000);
    assert_eq!(next(&mut ws), Poll::Pending);
    hand.pass(5_000);
    assert_eq!(next(&mut ws), late(Deadline::Pong));
    assert_eq!(next(&mut ws), late(Deadline::Pong), "and so it stays");
}

#[test]
fn peer_sends_no_message_is_closed() {
    let (mut ws, script, hand, head) = open();
    for _ in 0..10 {
        assert_eq!(next(&mut ws), Poll::Pending);
        hand.pass(10_000);
        script.say(&frame(0x8A, b"", Some([0; 4])));
        assert_eq!(next(&mut ws), Poll::Ready(Ok(true)));
    }
    assert_eq!(next(&mut ws), Poll::Pending);
    assert_eq!(
        read_by_client(&script.written(), head),
        [Got::Close(Some((CloseCode::GOING_AWAY, String::new())))]
    );
    // Pings do not lengthen the time for closing.
    hand.pass(2_999);
    script.say(&frame(0x89, b"", Some([0; 4])));
    assert_eq!(next(&mut ws), Poll::Ready(Ok(true)));
    hand.pass(1);
    assert_eq!(next(&mut ws), late(Deadline::Close));
}

#[test]
fn peer_does_not_close_is_given_up() {
    let (mut ws, _, hand, _) = open();
    assert_eq!(ws.close(CloseCode::NORMAL, ""), Ok(()));
    assert_eq!(poll(ws.closed()), Poll::Pending);
    hand.pass(3_000);
    let late = Ended::TimedOut(Deadline::Close);
    assert_eq!(poll(ws.closed()), Poll::Ready(Ok(late)));
}

#[test]
fn peer_does_not_end_the_transport_is_given_up() {
    let (mut ws, script, hand, _) = open();
    script.say(&frame(0x88, &[], Some([0; 4])));
    assert_eq!(next(&mut ws), Poll::Ready(Ok(true)));
    assert_eq!(
        next(&mut ws),
        Poll::Ready(Ok(false)),
        "a server is at its end"
    );
    assert!(ws.ended().is_some_and(Ended::is_clean));
    assert_eq!(poll(ws.drain()), Poll::Pending);
    hand.pass(999);
    assert_eq!(poll(ws.drain()), Poll::Pending);
    hand.pass(1);
    assert_eq!(
        poll(ws.drain()),
        Poll::Ready(Ok(())),
        "both Closes are through"
    );
    assert!(ws.ended().is_some_and(Ended::is_clean));
}

#[test]
fn peer_does_not_read_is_given_up() {
    let (mut ws, script, hand, _) = open();
    script.window(0);
    assert_eq!(
        poll(ws.send(Message::Binary(&[0; 60]))),
        Poll::Ready(Ok(()))
    );
    assert_eq!(poll(ws.send(Message::Binary(&[0; 60]))), Poll::Pending);
    hand.pass(29_999);
    assert_eq!(poll(ws.flush()), Poll::Pending);
    hand.pass(1);
    let late = Poll::Ready(Err(Error::Ended(Ended::TimedOut(Deadline::Write))));
    assert_eq!(poll(ws.flush()), late);
    assert_eq!(poll(ws.send(Message::Text(""))), late, "and so it stays");
    assert_eq!(poll(ws.drain()), late, "there is nothing to wait for");
}

#[test]
fn no_clock_keeps_no_deadline() {
    let script = Script::new(REQUEST, 1000, false);
    script.ends(false);
    let ws = asynch::WebSocket::server(script, buffers(64, 64)).expect("room");
    let mut ws = ws.with_config(&CONFIG);
    assert_eq!(poll(ws.accept()), Poll::Ready(Ok(())));
    assert!(poll(ws.next_event()).is_pending());
}

/// A blocking transport comes back now and then; without a clock the caller is told, with one the
/// deadlines are looked at.
#[test]
fn blocking_transport_gives_up_for_now_loses_nothing() {
    let hello = frame(0x81, b"Hello", Some([1, 2, 3, 4]));
    let script = Script::new(&REQUEST[..50], 1000, false);
    script.ends(false);
    let mut ws = blocking::WebSocket::server(script.clone(), buffers(64, 64)).expect("room");
    assert_eq!(ws.accept(), Err(Error::Io(NotNow)));
    script.say(&REQUEST[50..]);
    assert_eq!(ws.accept(), Ok(()));
    let mut got = Vec::new();
    for octet in hello {
        script.say(&[octet]);
        match ws.next_event() {
            Ok(Some(Event::Data(chunk))) => got.extend_from_slice(chunk.bytes),
            Ok(_) => panic!("no data"),
            Err(error) => assert_eq!(error, Error::Io(NotNow)),
        }
    }
    assert_eq!(got, b"Hello");
}

#[test]
fn blocking_peer_is_silent_is_pinged_and_given_up() {
    let script = Script::new(REQUEST, 1000, false);
    script.ends(false);
    let mut time = 0;
    // A tenth of a second for each look at the clock.
    let clock = move || {
        time += 100;
        Millis(time)
    };
    let ws = blocking::WebSocket::server(script.clone(), buffers(64, 64)).expect("room");
    let mut ws = ws.with_config(&CONFIG).with_clock(clock);
    assert_eq!(ws.accept(), Ok(()));
    let head = script.written().len();
    assert_eq!(
        ws.next_event().map(|_| ()),
        Err(Error::Ended(Ended::TimedOut(Deadline::Pong)))
    );
    assert_eq!(read_by_client(&script.written(), head), [Got::Ping(vec![])]);
}

#[test]
fn peer_reads_nothing_is_not_idle_but_given_up() {
    static IDLE: Config<'static> = Config {
        timeouts: Timeouts {
            idle: Some(1_000),
            keepalive: None,
            ..CONFIG.timeouts
        },
        ..CONFIG
    };
    let (ws, script, hand, _) = open();
    let mut ws = ws.with_config(&IDLE);
    script.window(0);
    assert_eq!(
        poll(ws.send(Message::Binary(&[0; 60]))),
        Poll::Ready(Ok(()))
    );
    for _ in 0..30 {
        assert_eq!(next(&mut ws), Poll::Pending);
        hand.pass(1_000);
    }
    assert_eq!(next(&mut ws), late(Deadline::Write));
}

#[test]
fn write_waits_beyond_keepalive_ping_goes_out_after_it() {
    let (mut ws, script, hand, head) = open();
    script.window(0);
    assert_eq!(
        poll(ws.send(Message::Binary(&[0; 62]))),
        Poll::Ready(Ok(()))
    );
    assert_eq!(next(&mut ws), Poll::Pending);
    hand.pass(29_999);
    assert_eq!(next(&mut ws), Poll::Pending);
    assert_eq!(script.written().len(), head);
    script.window(usize::MAX);
    hand.pass(1);
    assert_eq!(next(&mut ws), Poll::Pending);
    assert_eq!(
        read_by_client(&script.written(), head).last(),
        Some(&Got::Ping(vec![]))
    );
}

/// A transport that takes nothing, and says so by an error of another kind than a time-out.
#[test]
fn blocking_write_fails_for_another_reason_each_time_ends_by_the_time_for_writing() {
    use embedded_io::ErrorKind;

    #[derive(Debug, PartialEq, Eq, Clone, Copy)]
    struct Fault(ErrorKind);
    impl core::fmt::Display for Fault {
        fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
            f.write_str("a fault")
        }
    }
    impl core::error::Error for Fault {}
    impl embedded_io::Error for Fault {
        fn kind(&self) -> ErrorKind {
            self.0
        }
    }
    struct Faulty(Script, ErrorKind);
    impl embedded_io::ErrorType for Faulty {
        type Error = Fault;
    }
    impl embedded_io::Read for Faulty {
        fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Fault> {
            embedded_io::Read::read(&mut self.0, buffer).map_err(|_| Fault(self.1))
        }
    }
    impl embedded_io::Write for Faulty {
        fn write(&mut self, bytes: &[u8]) -> Result<usize, Fault> {
            embedded_io::Write::write(&mut self.0, bytes).map_err(|_| Fault(self.1))
        }
        fn flush(&mut self) -> Result<(), Fault> {
            Ok(())
        }
    }

    let late = Err(Error::Ended(Ended::TimedOut(Deadline::Write)));
    for kind in [
        ErrorKind::Other,
        ErrorKind::OutOfMemory,
        ErrorKind::InvalidData,
    ] {
        let script = Script::new(REQUEST, 1000, false);
        let hand = Hand::default();
        let transport = Faulty(script.clone(), kind);
        let ws = blocking::WebSocket::server(transport, buffers(64, 64)).expect("room");
        let mut ws = ws.with_config(&CONFIG).with_clock(hand.clone());
        assert_eq!(ws.accept(), Ok(()));
        script.window(0);
        assert_eq!(ws.send(Message::Binary(&[0; 62])), Ok(()));
        let fault = Err(Error::Io(Fault(kind)));
        assert_eq!(ws.send(Message::Text("waits")), fault);
        hand.pass(29_999);
        assert_eq!(ws.send(Message::Text("waits")), fault);
        hand.pass(1);
        assert_eq!(ws.send(Message::Text("waits")), late, "{kind:?}");
        assert_eq!(ws.flush(), late, "and so it stays");
    }
}
