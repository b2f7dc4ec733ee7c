//! The event-driven server: what waits to be written, and how much of a turn it takes.

#[path = "support/server.rs"]
#[expect(dead_code, reason = "each test file uses a part of this")]
mod server_support;
mod support;

use core::time::Duration;
use std::io::{Read, Write};
use std::sync::mpsc;
use std::sync::{Arc, Mutex};

use motews_std::{
    CloseCode, Handler, Hub, Membership, MessageRef, Peer, PeerSender, Request, SendError, Server,
    ServerLimits, SlowPolicy, Timeouts,
};
use motews_testkit::frame::{masked, unmasked};
use motews_testkit::head::read as read_head;
use server_support::{PATIENCE, read_frame, read_to_end, start, until};

/// A limit that nothing in these tests reaches.
const ROOMY: ServerLimits = ServerLimits {
    connections: 100,
    head: 64 * 1024,
    headers: 128,
    message: 16 << 20,
    backlog: 1 << 30,
};

// ---- closing ----

/// The first message of a connection queues many more, and closes. What another connection sends
/// meanwhile is answered with how much of that waits still.
#[derive(Clone)]
struct ManyThenClose {
    count: usize,
    sender: Arc<Mutex<Option<PeerSender>>>,
    queued: mpsc::SyncSender<()>,
    go_on: Arc<Mutex<mpsc::Receiver<()>>>,
}

impl Handler for ManyThenClose {
    type Data = ();

    fn on_open(&mut self, _: &mut Peer, _: &Request) -> Result<(), SendError> {
        Ok(())
    }

    fn on_message(&mut self, peer: &mut Peer, message: MessageRef) -> Result<(), SendError> {
        if message.as_bytes() == b"?" {
            let sender = self.sender.lock().unwrap().clone().unwrap();
            return peer.send(sender.buffered_amount().to_string());
        }
        let sender = peer.sender();
        for _ in 0..self.count {
            sender.try_send("x").unwrap();
        }
        *self.sender.lock().unwrap() = Some(sender);
        self.queued.send(()).unwrap();
        self.go_on.lock().unwrap().recv().unwrap();
        peer.close(CloseCode::NORMAL, "")
    }
}

#[test]
fn open_close_behind_very_many_messages_leaves_others_their_turns_and_comes_last() {
    const COUNT: usize = 100_000;
    let (queued, is_queued) = mpsc::sync_channel(1);
    let (go_on, goes_on) = mpsc::channel();
    let handler = ManyThenClose {
        count: COUNT,
        sender: Arc::default(),
        queued,
        go_on: Arc::new(Mutex::new(goes_on)),
    };
    let server = start(Server::builder().limits(ROOMY), handler);
    let mut other = server.open();
    let mut stream = server.open();
    stream.write_all(&masked(0x81, b"!")).unwrap();
    is_queued.recv_timeout(PATIENCE).unwrap();
    // It is there before the Close is queued, so its turn is the next one. The kernel would take all
    // of the messages.
    other.write_all(&masked(0x81, b"?")).unwrap();
    go_on.send(()).unwrap();
    let left = String::from_utf8(read_frame(&mut other).1).unwrap();
    assert!(left.parse::<usize>().unwrap() > COUNT, "{left} bytes wait");
    let mut expected = unmasked(0x81, b"x").repeat(COUNT);
    expected.extend(unmasked(0x88, &1000_u16.to_be_bytes()));
    let mut got = vec![0; expected.len()];
    stream.read_exact(&mut got).unwrap();
    assert!(got == expected);
    stream.write_all(&masked(0x88, b"\x03\xe8")).unwrap();
    assert_eq!(read_to_end(&mut stream), b"");
}

#[test]
fn closing_queued_close_refuses_what_comes_after_it() {
    let server = start(Server::builder(), |peer: &mut Peer, _: MessageRef| {
        let sender = peer.sender();
        sender.try_send("first").unwrap();
        peer.close(CloseCode::new(4000), "queued").unwrap();
        assert!(!peer.is_open() && !sender.is_open());
        assert!(matches!(peer.send("late"), Err(SendError::Closed)));
        assert!(matches!(sender.send("late"), Err(SendError::Closed)));
        assert!(matches!(
            peer.close(CloseCode::NORMAL, ""),
            Err(SendError::Closed)
        ));
        Ok(())
    });
    let mut client = server.connect();
    client.send("go").unwrap();
    assert_eq!(client.recv().unwrap(), Some("first".into()));
    assert_eq!(client.recv().unwrap(), None);
    assert_eq!(client.ended().unwrap().code(), CloseCode::new(4000));
}

#[test]
fn open_sender_that_closes_ends_an_echo_without_end() {
    // Answers that are accepted after a Close would go before it, for as long as the peer asks.
    let server = start(
        Server::builder(),
        |peer: &mut Peer, message: MessageRef| match message.as_bytes() {
            b"close" => {
                let sender = peer.sender();
                sender.try_send("last").unwrap();
                sender.close(CloseCode::NORMAL, "")
            }
            _ => peer.send(message),
        },
    );
    let mut stream = server.open();
    let mut sent = masked(0x81, b"1");
    sent.extend(masked(0x81, b"close"));
    sent.extend(masked(0x81, b"2"));
    stream.write_all(&sent).unwrap();
    assert_eq!(read_frame(&mut stream).1, b"1");
    assert_eq!(read_frame(&mut stream).1, b"last");
    assert_eq!(read_frame(&mut stream).0, 0x88);
}

#[test]
fn open_handler_that_fails_closes_behind_what_was_accepted_before() {
    let server = start(Server::builder(), |peer: &mut Peer, _: MessageRef| {
        peer.sender().try_send("accepted").unwrap();
        peer.send("and answered")?;
        Err(SendError::Entropy)
    });
    let mut stream = server.open();
    stream.write_all(&masked(0x81, b"go")).unwrap();
    assert_eq!(read_frame(&mut stream).1, b"accepted");
    assert_eq!(read_frame(&mut stream).1, b"and answered");
    assert_eq!(
        read_frame(&mut stream),
        (0x88, 1011_u16.to_be_bytes().to_vec())
    );
}

#[test]
fn open_close_of_a_slow_peer_comes_behind_all_that_was_accepted() {
    // Whoever sent it, and however the connection is closed: by a Close, or by a violation.
    const LEN: usize = 100_000;
    for (last, code) in [
        (masked(0x88, b"\x03\xe8"), 1000_u16),
        (masked(0x83, b""), 1002),
    ] {
        let (handled, is_handled) = mpsc::channel();
        let handler = move |peer: &mut Peer, message: MessageRef| {
            peer.send(message)?;
            if message.as_bytes()[0] == 0 {
                peer.sender().send("by another way")?;
                peer.send(message)?;
            } else if message.as_bytes()[0] == 3 {
                peer.sender().send("at the end")?;
            }
            handled.send(()).unwrap();
            Ok(())
        };
        let server = start(Server::builder().limits(ROOMY).send_buffer(4096), handler);
        let socket =
            socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        socket.connect(&server.addr.into()).unwrap();
        let mut stream: std::net::TcpStream = socket.into();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(support::REQUEST).unwrap();
        assert!(read_head(&mut stream).starts_with("HTTP/1.1 101 "));
        let (mut sent, mut expected) = (Vec::new(), Vec::new());
        for n in 0..4 {
            sent.extend(masked(0x82, &[n; LEN]));
            expected.push((0x82, vec![n; LEN]));
            if n == 0 {
                expected.push((0x81, b"by another way".to_vec()));
                expected.push((0x82, vec![n; LEN]));
            }
        }
        expected.push((0x81, b"at the end".to_vec()));
        expected.push((0x88, code.to_be_bytes().to_vec()));
        sent.extend(last);
        let mut writer = stream.try_clone().unwrap();
        let writing = std::thread::spawn(move || writer.write_all(&sent).unwrap());
        // Nothing is read before the server has read all that it reads without.
        for _ in 0..4 {
            is_handled.recv_timeout(PATIENCE).unwrap();
        }
        for (n, frame) in expected.iter().enumerate() {
            assert!(read_frame(&mut stream) == *frame, "{code}: {n}");
        }
        writing.join().unwrap();
    }
}

// ---- backpressure ----

#[derive(Clone)]
struct Broadcasts(Hub);

impl Handler for Broadcasts {
    type Data = Membership;

    fn on_open(&mut self, peer: &mut Peer, _: &Request) -> Result<Membership, SendError> {
        Ok(self.0.join(&peer.sender()))
    }

    fn on_message(
        &mut self,
        peer: &mut Peer<'_, Self::Data>,
        message: MessageRef<'_>,
    ) -> Result<(), SendError> {
        self.0.broadcast(message);
        peer.send("done")
    }
}

#[test]
fn open_handler_that_broadcasts_and_answers_is_not_closed_for_a_long_message() {
    for (policy, len) in [
        (SlowPolicy::DropOldest, 2 << 20),
        (SlowPolicy::DropNewest, 2 << 20),
        (SlowPolicy::KeepNewest, 2 << 20),
        (SlowPolicy::DropOldest, 8 << 20),
    ] {
        let server = start(Server::builder(), Broadcasts(Hub::new(policy)));
        let mut stream = server.open();
        for n in 0..2 {
            stream.write_all(&masked(0x82, &vec![n; len])).unwrap();
            let mut got = [read_frame(&mut stream), read_frame(&mut stream)];
            // What is newest-only leaves last.
            got.sort_by_key(|(first, _)| *first);
            assert_eq!(got[0], (0x81, b"done".to_vec()));
            assert!(got[1] == (0x82, vec![n; len]));
        }
    }
}

#[test]
fn open_handler_that_answers_each_message_with_half_the_limit_is_never_closed() {
    let server = start(
        Server::builder().send_buffer(16 * 1024),
        |peer: &mut Peer, _: MessageRef| {
            for _ in 0..4 {
                peer.send(vec![0; 128 * 1024])?;
            }
            Ok(())
        },
    );
    let mut stream = server.open();
    let sent = masked(0x82, b"go").repeat(10);
    stream.write_all(&sent).unwrap();
    for _ in 0..40 {
        let (first, payload) = read_frame(&mut stream);
        assert_eq!((first, payload.len()), (0x82, 128 * 1024));
    }
}

/// Echoes, and keeps what it has seen: how much waited after each message.
#[derive(Clone, Default)]
struct Counting {
    sender: Arc<Mutex<Option<PeerSender>>>,
    waiting: Arc<Mutex<Vec<usize>>>,
}

impl Handler for Counting {
    type Data = ();

    fn on_open(&mut self, peer: &mut Peer, _: &Request) -> Result<(), SendError> {
        *self.sender.lock().unwrap() = Some(peer.sender());
        Ok(())
    }

    fn on_message(&mut self, peer: &mut Peer, message: MessageRef) -> Result<(), SendError> {
        peer.send(message)?;
        self.waiting.lock().unwrap().push(peer.buffered_amount());
        Ok(())
    }
}

#[test]
fn open_empty_messages_behind_others_count_for_what_they_cost_in_memory() {
    const COUNT: usize = 100_000;
    const OTHERS: usize = 300_000;
    let handler = Counting::default();
    let builder = Server::builder().send_buffer(4096);
    let server = start(builder, handler.clone());
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket.connect(&server.addr.into()).unwrap();
    let mut stream: std::net::TcpStream = socket.into();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(support::REQUEST).unwrap();
    assert!(read_head(&mut stream).starts_with("HTTP/1.1 101 "));
    // The kernel takes a part of the first, and the second waits behind it, as long as nothing is
    // read. That is less than what keeps the server from reading.
    let sender = handler.sender.lock().unwrap().clone().unwrap();
    sender.send(vec![7; OTHERS]).unwrap();
    sender.send_latest("latest").unwrap();
    let mut writer = stream.try_clone().unwrap();
    let writing = std::thread::spawn(move || {
        let empty = masked(0x82, b"").repeat(COUNT);
        writer.write_all(&empty).unwrap();
    });
    until("it reads", || !handler.waiting.lock().unwrap().is_empty());
    // Meanwhile the loop has many turns, in which it would read them all.
    let mut other = server.open();
    for _ in 0..50 {
        other.write_all(&masked(0x81, b"turn")).unwrap();
        assert_eq!(read_frame(&mut other).1, b"turn");
    }
    let held = handler.waiting.lock().unwrap().len();
    assert!(held * 64 < ServerLimits::DEFAULT.backlog, "{held} are held");

    let mut lengths = Vec::new();
    for _ in 0..COUNT + 2 {
        lengths.push(read_frame(&mut stream).1.len());
    }
    writing.join().unwrap();
    assert_eq!(lengths[0], OTHERS);
    assert_eq!(lengths[1..].iter().sum::<usize>(), "latest".len());
}

/// What the handler sees of empty answers, of which the first waits behind what another has sent.
#[test]
fn open_empty_answers_in_the_outbox_count_with_their_overhead() {
    const COUNT: usize = 1000;
    let (amount, amounts) = mpsc::channel();
    let server = start(Server::builder(), move |peer: &mut Peer, _: MessageRef| {
        peer.sender().try_send("first").unwrap();
        let before = peer.buffered_amount();
        for _ in 0..COUNT {
            peer.send("")?;
        }
        amount.send(peer.buffered_amount() - before).unwrap();
        Ok(())
    });
    let mut stream = server.open();
    stream.write_all(&masked(0x81, b"go")).unwrap();
    assert_eq!(read_frame(&mut stream), (0x81, b"first".to_vec()));
    for _ in 0..COUNT {
        assert_eq!(read_frame(&mut stream), (0x81, Vec::new()));
    }
    let amount = amounts.recv_timeout(PATIENCE).unwrap();
    assert!(amount >= COUNT * 64, "{amount} bytes for {COUNT} messages");
}

#[test]
fn sender_to_a_slow_peer_waits_as_long_as_that_reads() {
    let handler = Counting::default();
    let builder = Server::builder().send_buffer(16 * 1024).timeouts(Timeouts {
        write: Some(400),
        min_rate: 100_000,
        ..Timeouts::SERVER
    });
    let server = start(builder, handler.clone());
    let mut stream = server.open();
    let sender = handler.sender.lock().unwrap().clone().unwrap();
    let sending = std::thread::spawn(move || {
        for n in 0..4 {
            sender.send(vec![n; 2 << 20])?;
        }
        sender.close(CloseCode::NORMAL, "")
    });
    // So each message takes longer than the write timeout.
    let mut got = Vec::new();
    let mut part = vec![0; 64 * 1024];
    let len = 4 * ((2 << 20) + 10);
    while got.len() < len {
        std::thread::sleep(Duration::from_millis(20));
        let read = stream.read(&mut part).unwrap();
        assert_ne!(read, 0, "the end after {} bytes", got.len());
        got.extend_from_slice(&part[..read]);
    }
    sending.join().unwrap().unwrap();
    assert_eq!(got[len - 1], 3);
}

// ---- copies ----

#[test]
fn open_payload_above_16_kib_is_written_at_once_and_a_shorter_one_is_gathered() {
    let (amount, amounts) = mpsc::channel();
    let server = start(
        Server::builder(),
        move |peer: &mut Peer, message: MessageRef| {
            // Not the message itself, which is answered from where it lies.
            peer.send(message.as_bytes().to_vec())?;
            amount.send(peer.buffered_amount()).unwrap();
            Ok(())
        },
    );
    let mut stream = server.open();
    for (len, waits) in [
        (16 * 1024, true),
        (16 * 1024 + 1, false),
        (32 * 1024, false),
        (60 * 1024, false),
    ] {
        let payload = vec![5; len];
        stream.write_all(&masked(0x82, &payload)).unwrap();
        assert!(read_frame(&mut stream) == (0x82, payload));
        // Nothing waits if it was written from where it lay.
        let amount = amounts.recv_timeout(PATIENCE).unwrap();
        assert_eq!(amount > 0, waits, "{len} bytes: {amount} wait");
    }
}
