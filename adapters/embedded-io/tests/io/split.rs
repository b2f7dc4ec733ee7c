//! The two halves, each of which waits, and is dropped, while the other goes on.

use core::pin::pin;
use core::sync::atomic::{AtomicBool, Ordering};
use core::task::{Context, Poll, Waker};
use std::sync::Arc;
use std::task::Wake;

use motews::{
    CloseCode, DataKind, Deadline, Ended, Event, Message, MessageBuffer, ProtocolViolation, Server,
};
use motews_embedded_io::asynch::WebSocket;
use motews_embedded_io::{Config, Duplex, Error};

use crate::support::{
    Got, Hand, REQUEST, Script, binary, block_on, buffers, frame, poll, read_by_client, text,
};

type Ws<'a> = WebSocket<'a, Duplex<Script, Script>, Server>;

const KEY: Option<[u8; 4]> = Some([1, 2, 3, 4]);

fn open(chunk: usize, yields: bool) -> (Ws<'static>, Script, usize) {
    let script = Script::new(REQUEST, chunk, yields);
    script.ends(false);
    let transport = Duplex {
        reader: script.clone(),
        writer: script.clone(),
    };
    let mut ws = WebSocket::server(transport, buffers(64, 64)).expect("room");
    assert_eq!(block_on(ws.accept()), Ok(()));
    let head = script.written().len();
    (ws, script, head)
}

/// What was received, put together.
#[derive(Default)]
struct Received {
    got: Vec<Got>,
    open: bool,
}

impl Received {
    fn add(&mut self, event: Option<Event<'_>>) -> bool {
        let Some(event) = event else {
            return false;
        };
        Got::add(&mut self.got, &mut self.open, event);
        true
    }
}

#[test]
fn halves_send_and_receive_at_once() {
    for (chunk, yields) in [(1, true), (3, true), (1000, false)] {
        let (mut ws, script, head) = open(chunk, yields);
        script.say(&frame(0x82, &[7; 500], KEY));
        script.say(&frame(0x89, b"ping", KEY));
        let mut halves = ws.split::<()>().expect("it is open");
        let (mut receiver, mut sender) = halves.both();
        let mut received = Received::default();
        block_on(async {
            let mut receive = pin!(async {
                while received.add(receiver.next_event().await.expect("no error")) {}
            });
            let mut send = pin!(async {
                for number in 0_u8..20 {
                    sender
                        .send(Message::Binary(&[number; 40]))
                        .await
                        .expect("room");
                }
                let mut rest = &[9; 300][..];
                while !rest.is_empty() {
                    let taken = sender.send_fragment(DataKind::Binary, rest, true).await;
                    rest = &rest[taken.expect("room")..];
                }
                sender.ping(&[b'q'; 125]).await.expect("room");
                sender.flush().await.expect("written");
                script.say(&frame(0x88, &[3, 232], KEY));
            });
            let mut sent = false;
            core::future::poll_fn(|context| {
                sent = sent || send.as_mut().poll(context).is_ready();
                let received = receive.as_mut().poll(context);
                if sent { received } else { Poll::Pending }
            })
            .await;
        });
        let close = Got::Close(Some((CloseCode::NORMAL, String::new())));
        assert_eq!(
            received.got,
            [
                binary(&[7; 500]),
                Got::Ping(b"ping".to_vec()),
                close.clone()
            ]
        );
        let mut told = read_by_client(&script.written(), head);
        let pong = told
            .iter()
            .position(|got| *got == Got::Pong(b"ping".to_vec()));
        told.remove(pong.expect("the pong is somewhere"));
        let mut expected: Vec<_> = (0..20).map(|number| binary(&[number; 40])).collect();
        expected.extend([binary(&[9; 300]), Got::Ping(vec![b'q'; 125]), close]);
        assert_eq!(told, expected);
    }
}

/// Each future of each half is dropped whenever it waits.
#[test]
fn halves_dropped_at_each_wait_go_on() {
    let (mut ws, script, head) = open(1, true);
    script.say(&[frame(0x81, b"one", KEY), frame(0x89, &[b'p'; 125], KEY)].concat());
    let mut halves = ws.split::<()>().expect("it is open");
    let (mut receiver, mut sender) = halves.both();
    let mut received = Received::default();
    let mut number = 0_u8;
    let mut flushed = false;
    let mut rounds = 0;
    loop {
        rounds += 1;
        assert!(rounds < 100_000, "it waits for ever");
        if number < 10 {
            let sent = poll(sender.send(Message::Binary(&[number; 40])));
            number += u8::from(succeeds(sent));
        } else if !flushed {
            flushed = succeeds(poll(sender.flush()));
            if flushed {
                script.say(&frame(0x88, &[], KEY));
            }
        }
        if let Poll::Ready(event) = poll(receiver.next_event())
            && !received.add(event.expect("no error"))
        {
            break;
        }
    }
    assert!(rounds > 200, "only {rounds} rounds");
    assert_eq!(
        received.got,
        [text("one"), Got::Ping(vec![b'p'; 125]), Got::Close(None)]
    );
    let mut told = read_by_client(&script.written(), head);
    let pong = told
        .iter()
        .position(|got| *got == Got::Pong(vec![b'p'; 125]));
    told.remove(pong.expect("the pong is somewhere"));
    let mut expected: Vec<_> = (0..10).map(|number| binary(&[number; 40])).collect();
    expected.push(Got::Close(None));
    assert_eq!(told, expected);
}

/// Whether a future is ready, and with success.
fn succeeds<E>(poll: Poll<Result<(), E>>) -> bool {
    matches!(poll, Poll::Ready(Ok(())))
}

#[test]
fn receiver_writes_what_the_sender_left() {
    let (mut ws, script, head) = open(1000, false);
    let mut halves = ws.split::<()>().expect("it is open");
    let (mut receiver, mut sender) = halves.both();
    assert!(poll(receiver.next_event()).is_pending());
    assert_eq!(
        poll(sender.send(Message::Text("left"))),
        Poll::Ready(Ok(()))
    );
    assert!(poll(receiver.next_event()).is_pending());
    assert_eq!(read_by_client(&script.written(), head), [text("left")]);
}

/// The sender waits for a peer that reads nothing. The receiver goes on, and the pong goes out as
/// soon as anything does.
#[test]
fn receiver_goes_on_while_the_sender_waits() {
    let (mut ws, script, head) = open(1000, false);
    script.window(0);
    let mut halves = ws.split::<()>().expect("it is open");
    let (mut receiver, mut sender) = halves.both();
    let mut context = Context::from_waker(Waker::noop());
    let mut send = pin!(async {
        sender.send(Message::Binary(&[1; 60])).await.expect("room");
        sender.send(Message::Binary(&[2; 60])).await.expect("room");
    });
    assert!(send.as_mut().poll(&mut context).is_pending());
    let mut received = Received::default();
    for octet in [frame(0x89, b"a", KEY), frame(0x81, b"text", KEY)].concat() {
        script.say(&[octet]);
        while let Poll::Ready(event) = poll(receiver.next_event()) {
            assert!(received.add(event.expect("no error")));
        }
    }
    assert_eq!(received.got, [Got::Ping(b"a".to_vec()), text("text")]);
    script.window(usize::MAX);
    assert!(send.as_mut().poll(&mut context).is_ready());
    assert!(poll(receiver.next_event()).is_pending());
    assert_eq!(
        read_by_client(&script.written(), head),
        [binary(&[1; 60]), Got::Pong(b"a".to_vec()), binary(&[2; 60])]
    );
}

/// The same where no one but the receiver has anything to write: it reads while it writes.
#[test]
fn receiver_reads_while_it_writes() {
    let (mut ws, script, head) = open(1000, false);
    script.window(0);
    let mut halves = ws.split::<()>().expect("it is open");
    let (mut receiver, _) = halves.both();
    let mut received = Received::default();
    for payload in [&[b'a'; 125], &[b'b'; 125], &[b'c'; 125]] {
        script.say(&frame(0x89, payload, KEY));
        while let Poll::Ready(event) = poll(receiver.next_event()) {
            assert!(received.add(event.expect("no error")));
        }
    }
    assert_eq!(received.got.len(), 3);
    script.window(usize::MAX);
    assert!(poll(receiver.next_event()).is_pending());
    // The first was on its way; of the others the newest is answered (RFC 6455 §5.5.3).
    assert_eq!(
        read_by_client(&script.written(), head),
        [Got::Pong(vec![b'a'; 125]), Got::Pong(vec![b'c'; 125])]
    );
}

#[test]
fn sender_closes_the_receiver_ends() {
    let (mut ws, script, head) = open(1000, false);
    let mut halves = ws.split::<()>().expect("it is open");
    let (mut receiver, mut sender) = halves.both();
    assert!(poll(receiver.next_event()).is_pending());
    assert_eq!(sender.close(CloseCode::NORMAL, "bye"), Ok(()));
    assert!(poll(receiver.next_event()).is_pending());
    let close = Got::Close(Some((CloseCode::NORMAL, "bye".into())));
    assert_eq!(read_by_client(&script.written(), head), [close]);
    assert!(matches!(
        poll(sender.send(Message::Text("late"))),
        Poll::Ready(Err(_))
    ));
    script.say(&frame(0x88, &[3, 232], KEY));
    assert!(matches!(
        poll(receiver.next_event()),
        Poll::Ready(Ok(Some(Event::Close(Some(_)))))
    ));
    assert!(matches!(poll(receiver.next_event()), Poll::Ready(Ok(None))));
}

#[test]
fn receiver_receives_whole_messages_and_refuses_what_is_too_big() {
    let (mut ws, script, head) = open(7, false);
    script.say(&[frame(0x81, b"Hello", KEY), frame(0x82, &[0; 101], KEY)].concat());
    let mut halves = ws.split::<()>().expect("it is open");
    let (mut receiver, _) = halves.both();
    let mut messages = MessageBuffer::new([0; 100]);
    let hello = block_on(receiver.recv(&mut messages));
    assert_eq!(hello, Ok(Some(Message::Text("Hello"))));
    let too_big = Error::Ended(Ended::Violation(ProtocolViolation::MessageTooBig));
    assert_eq!(block_on(receiver.recv(&mut messages)), Err(too_big));
    assert_eq!(
        read_by_client(&script.written(), head),
        [Got::Close(Some((
            CloseCode::MESSAGE_TOO_BIG,
            String::new()
        )))]
    );
}

#[test]
fn whole_again_goes_on() {
    let (mut ws, script, head) = open(1, true);
    {
        let mut halves = ws.split::<()>().expect("it is open");
        let (mut receiver, mut sender) = halves.both();
        assert_eq!(block_on(sender.send(Message::Text("half"))), Ok(()));
        script.say(&frame(0x81, b"split", KEY)[..8]);
        for _ in 0..100 {
            _ = poll(receiver.next_event()).is_ready();
        }
    }
    script.say(&frame(0x81, b"split", KEY)[8..]);
    let event = block_on(ws.next_event()).expect("no error");
    let Some(Event::Data(chunk)) = event else {
        panic!("no data");
    };
    assert!(chunk.bytes.len() <= 3, "the rest of it");
    assert_eq!(read_by_client(&script.written(), head), [text("half")]);
}

#[test]
fn split_before_the_handshake_is_refused() {
    let script = Script::new(REQUEST, 1, false);
    let transport = Duplex {
        reader: script.clone(),
        writer: script,
    };
    let mut ws: Ws<'_> = WebSocket::server(transport, buffers(64, 64)).expect("room");
    assert!(ws.split::<()>().is_err());
}

#[test]
fn silent_peer_is_pinged_and_given_up_by_the_receiver() {
    let script = Script::new(REQUEST, 1000, false);
    script.ends(false);
    let transport = Duplex {
        reader: script.clone(),
        writer: script.clone(),
    };
    let hand = Hand::default();
    let ws = WebSocket::server(transport, buffers(64, 64)).expect("room");
    let mut ws: WebSocket<'_, _, _, Hand> =
        ws.with_config(&Config::DEFAULT).with_clock(hand.clone());
    assert_eq!(block_on(ws.accept()), Ok(()));
    let head = script.written().len();
    let mut halves = ws.split::<()>().expect("it is open");
    let (mut receiver, _) = halves.both();
    let times = Config::DEFAULT.timeouts;
    assert!(poll(receiver.next_event()).is_pending());
    hand.pass(times.keepalive.expect("there is one"));
    assert!(poll(receiver.next_event()).is_pending());
    assert_eq!(read_by_client(&script.written(), head), [Got::Ping(vec![])]);
    // The ping has bought some time: two bytes at 128 bytes per second.
    hand.pass(times.pong.expect("there is one"));
    assert!(poll(receiver.next_event()).is_pending());
    hand.pass(16);
    assert!(matches!(
        poll(receiver.next_event()),
        Poll::Ready(Err(Error::Ended(Ended::TimedOut(Deadline::Pong))))
    ));
}

#[test]
fn halves_polled_only_when_woken_send_all() {
    struct Flag(AtomicBool);
    impl Wake for Flag {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let flags = [(); 2].map(|()| Arc::new(Flag(AtomicBool::new(true))));
    let wakers = flags.clone().map(Waker::from);
    let (mut ws, script, head) = open(1, true);
    let mut halves = ws.split::<()>().expect("it is open");
    let (mut receiver, mut sender) = halves.both();
    let mut receive = pin!(receiver.next_event());
    let mut send = pin!(async {
        for number in 0_u8..20 {
            sender
                .send(Message::Binary(&[number; 40]))
                .await
                .expect("room");
            let mut waited = false; // The receiver's turn.
            core::future::poll_fn(|context| {
                context.waker().wake_by_ref();
                match core::mem::replace(&mut waited, true) {
                    true => Poll::Ready(()),
                    false => Poll::Pending,
                }
            })
            .await;
        }
    });
    let mut sent = false;
    while flags.iter().any(|flag| flag.0.load(Ordering::Relaxed)) {
        if flags[0].0.swap(false, Ordering::Relaxed) && !sent {
            let context = &mut Context::from_waker(&wakers[0]);
            sent = send.as_mut().poll(context).is_ready();
        }
        if flags[1].0.swap(false, Ordering::Relaxed) {
            let context = &mut Context::from_waker(&wakers[1]);
            assert!(receive.as_mut().poll(context).is_pending());
        }
    }
    assert!(sent, "the sender was not woken");
    let got = read_by_client(&script.written(), head);
    assert_eq!(got.len(), 20, "nobody wrote the last");
}

#[test]
fn halves_sender_holds_the_output_ping_goes_out_all_the_same() {
    let hand = Hand::default();
    let script = Script::new(REQUEST, 1000, false);
    script.ends(false);
    let transport = Duplex {
        reader: script.clone(),
        writer: script.clone(),
    };
    let ws = WebSocket::server(transport, buffers(64, 64)).expect("room");
    let mut ws = ws.with_clock(hand.clone());
    assert_eq!(block_on(ws.accept()), Ok(()));
    let head = script.written().len();
    let mut halves = ws.split::<()>().expect("it is open");
    let (mut receiver, mut sender) = halves.both();
    script.window(0);
    {
        let mut send = pin!(async {
            for number in 0_u8..3 {
                let sent = sender.send(Message::Binary(&[number; 40])).await;
                sent.expect("it fits");
            }
        });
        let context = &mut Context::from_waker(Waker::noop());
        assert!(send.as_mut().poll(context).is_pending());
        // The default of `keepalive`.
        hand.pass(30_000);
        assert!(poll(receiver.next_event()).is_pending());
        script.window(usize::MAX);
        assert!(send.as_mut().poll(context).is_ready());
    }
    assert!(poll(receiver.next_event()).is_pending());
    let got = read_by_client(&script.written(), head);
    assert!(got.contains(&Got::Ping(vec![])), "{got:?}");
}
