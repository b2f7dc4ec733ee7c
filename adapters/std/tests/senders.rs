//! Senders: other threads send while the owner waits in `recv`.

mod support;

use core::sync::atomic::{AtomicUsize, Ordering};
use core::time::Duration;
use std::io::{self, IoSlice, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Instant;

use motews_std::role::{Client, Server};
use motews_std::{
    Acceptor, Agreed, CloseCode, Interest, Message, OsEntropy, Ready, Received, SendError, Sender,
    Share, Timeouts, Transport, TrySendError, WebSocket,
};
use motews_testkit::frame::{masked, unmasked};
use support::{PATIENCE, tcp_pair, until, ws_pair};

const fn assert_usable_from_threads<T: Clone + Send + Sync>() {}
const _: () = assert_usable_from_threads::<Sender<TcpStream, Server>>();

/// More than the operating system takes while the peer does not read, in bytes.
const MORE: usize = 20_000_000;

/// MS07: dwebsocket's concurrent senders mixed their frames
#[test]
fn four_threads_send_while_the_owner_receives() {
    const EACH: usize = 200;
    let (mut client, mut server) = ws_pair();
    let sender = server.sender().unwrap();
    let threads: Vec<_> = (0..4_u8)
        .map(|thread| {
            let sender = sender.clone();
            std::thread::spawn(move || {
                for n in 0..EACH {
                    // Short ones that are copied, and long ones that are not.
                    let len = if n % 10 == 0 { 100_000 } else { n };
                    let mut message = vec![thread; len + 2];
                    message[1] = n as u8;
                    sender.send(message).unwrap();
                }
            })
        })
        .collect();
    drop(sender);
    let owner = std::thread::spawn(move || {
        let mut pings = 0;
        while let Some(message) = server.recv().unwrap() {
            assert_eq!(message.as_text(), Some("from the client"));
            pings += 1;
        }
        pings
    });
    let mut next = [0_usize; 4];
    for received in 0..4 * EACH {
        let bytes = client.recv().unwrap().unwrap().into_bytes();
        let thread = usize::from(bytes[0]);
        let n = next[thread];
        let len = if n % 10 == 0 { 100_000 } else { n };
        assert_eq!((bytes.len(), bytes[1]), (len + 2, n as u8));
        assert!(bytes[2..].iter().all(|byte| usize::from(*byte) == thread));
        next[thread] += 1;
        if received % 100 == 0 {
            client.ping(b"are you there").unwrap();
            client.send("from the client").unwrap();
        }
    }
    assert_eq!(next, [EACH; 4]);
    for thread in threads {
        thread.join().unwrap();
    }
    assert!(support::close(&mut client, CloseCode::NORMAL, "").is_clean());
    assert_eq!(owner.join().unwrap(), 8);
}

#[test]
fn sender_reaches_the_peer_while_the_owner_waits() {
    let (mut client, mut server) = ws_pair();
    let sender = server.sender().unwrap();
    let owner = std::thread::spawn(move || server.recv().unwrap());
    std::thread::sleep(Duration::from_millis(20));
    sender.send("x").unwrap();
    assert_eq!(client.recv().unwrap(), Some("x".into()));
    sender.close(CloseCode::NORMAL, "enough").unwrap();
    assert!(matches!(sender.send("y"), Err(SendError::Closed)));
    assert_eq!(client.recv().unwrap(), None);
    assert_eq!(owner.join().unwrap(), None);
    assert_eq!(client.close_reason(), "enough");
    assert!(!sender.is_open());
}

/// The peer does not read: `try_send` gives the message back, `send` waits, memory stays.
#[test]
fn full_try_send_gives_the_message_back() {
    let (mut raw, stream) = tcp_pair();
    let mut server = WebSocket::from_upgraded(stream, Server, b"", Agreed::default());
    let sender = server.sender().unwrap();
    let mut taken = 0;
    let message = loop {
        match sender.try_send(vec![7; 10_000]) {
            Ok(()) => taken += 1,
            Err(TrySendError::Full(message)) => break message,
            Err(error) => panic!("{error}"),
        }
        assert!(taken < 100_000);
    };
    assert_eq!(message, Message::Binary(vec![7; 10_000]));
    assert!(
        sender.buffered_amount() <= 64 * 1024,
        "{}",
        sender.buffered_amount()
    );
    let blocked = {
        let sender = sender.clone();
        std::thread::spawn(move || sender.send(vec![8; MORE]))
    };
    std::thread::sleep(Duration::from_millis(30));
    assert!(!blocked.is_finished());

    // The owner, waiting in `recv`, writes the backlog when the peer reads.
    let owner = std::thread::spawn(move || server.recv());
    let mut expected = unmasked(0x82, &[7; 10_000]).repeat(taken);
    expected.extend(unmasked(0x82, &vec![8; MORE]));
    let mut received = vec![0; expected.len()];
    raw.read_exact(&mut received).unwrap();
    assert!(received == expected);
    blocked.join().unwrap().unwrap();
    drop(raw);
    owner.join().unwrap().unwrap_err();
    let error = sender.try_send("x").unwrap_err();
    assert!(matches!(error, TrySendError::Failed(_, SendError::Closed)));
    assert_eq!(error.into_message(), "x".into());
}

/// The backlog is full: `send` waits for room, and gets it as the peer reads.
#[test]
fn full_send_waits_for_room() {
    let (mut raw, stream) = tcp_pair();
    let server =
        Acceptor::new()
            .max_backlog(1000)
            .from_upgraded(stream, Server, b"", Agreed::default());
    let sender = server.sender().unwrap();
    let mut expected = Vec::new();
    while let Ok(()) = sender.try_send(vec![1; 900]) {
        expected.extend(unmasked(0x82, &[1; 900]));
    }
    assert!(
        sender.buffered_amount() <= 1000,
        "{}",
        sender.buffered_amount()
    );
    let waiting = std::thread::spawn(move || {
        sender.send(vec![2; 900]).unwrap();
        sender.send(vec![3; MORE]).unwrap();
    });
    std::thread::sleep(Duration::from_millis(30));
    assert!(!waiting.is_finished());
    expected.extend(unmasked(0x82, &[2; 900]));
    expected.extend(unmasked(0x82, &vec![3; MORE]));
    let mut received = vec![0; expected.len()];
    raw.read_exact(&mut received).unwrap();
    assert!(received == expected);
    waiting.join().unwrap();
}

/// The peer closes and reads nothing, while a thread is stuck in a frame: the deadline holds.
#[test]
fn closed_by_the_peer_a_stuck_sender_is_released() {
    let (mut raw, stream) = tcp_pair();
    // Long enough for the Close to be read before.
    let timeouts = Timeouts {
        write: Some(2_000),
        ..support::QUICK
    };
    let mut server =
        Acceptor::new()
            .timeouts(timeouts)
            .from_upgraded(stream, Server, b"", Agreed::default());
    let sender = server.sender().unwrap();
    let stuck = std::thread::spawn(move || sender.send(vec![0; MORE]));
    let mut header = [0; 10];
    raw.read_exact(&mut header).unwrap();
    assert_eq!(header[..2], [0x82, 127]);
    raw.write_all(&masked(0x88, &[3, 232])).unwrap();
    let start = Instant::now();
    assert_eq!(server.recv().unwrap(), None);
    assert!(start.elapsed() < PATIENCE);
    let outcome = server.ended().unwrap();
    assert_eq!(outcome.code(), CloseCode::NORMAL);
    assert!(!outcome.is_clean()); // the reply could not be sent
    drop(server);
    assert!(matches!(stuck.join().unwrap(), Err(SendError::Closed)));
}

/// Others wait for the end of a streamed message, or of the connection: they have no clock.
#[test]
fn streaming_is_abandoned_others_are_released() {
    let (_client, server) = tcp_pair();
    let mut server = Acceptor::new().timeouts(support::QUICK).from_upgraded(
        server,
        Server,
        b"",
        Agreed::default(),
    );
    let sender = server.sender().unwrap();
    let mut writer = server.stream_text();
    writer.write("for ever").unwrap();
    writer.flush().unwrap();
    let waiting = std::thread::spawn(move || sender.send("x"));
    std::thread::sleep(Duration::from_millis(400));
    assert!(!waiting.is_finished());
    drop(writer);
    assert!(matches!(waiting.join().unwrap(), Err(SendError::Closed)));
}

/// What `try_send` leaves is written although nobody sends any more.
#[test]
fn backlog_is_written_by_an_owner_that_only_receives() {
    let (mut raw, stream) = tcp_pair();
    let mut server = WebSocket::from_upgraded(stream, Server, b"", Agreed::default());
    let sender = server.sender().unwrap();
    let owner = std::thread::spawn(move || server.recv());
    std::thread::sleep(Duration::from_millis(20));
    let mut sent = 0;
    while sender.buffered_amount() == 0 {
        sender.try_send(vec![1; 50_000]).unwrap();
        sent += 1;
    }
    let mut received = vec![0; sent * 50_004];
    raw.read_exact(&mut received).unwrap();
    drop(raw);
    owner.join().unwrap().unwrap_err();
}

/// MS09, MS07: a streamed message keeps other threads' messages out, but no control frames.
#[test]
fn streaming_owner_is_not_interrupted_by_senders() {
    let (mut client, mut server) = ws_pair();
    let sender = server.sender().unwrap();
    let mut writer = server.stream_binary();
    writer.write_all(b"first ").unwrap();
    writer.flush().unwrap();
    assert!(matches!(sender.try_send("no"), Err(TrySendError::Full(_))));
    sender.ping(b"in between").unwrap();
    let waiting = std::thread::spawn(move || sender.send("after"));
    std::thread::sleep(Duration::from_millis(20));
    writer.write_all(b"second").unwrap();
    writer.finish().unwrap();
    waiting.join().unwrap().unwrap();
    assert_eq!(
        client.recv().unwrap(),
        Some(Message::Binary(b"first second".to_vec()))
    );
    assert_eq!(client.recv().unwrap(), Some("after".into()));
}

/// Another thread's frame is stuck, and the peer sends and does not read: nothing could be waited
/// for, so the last fragment is taken at once and leaves behind the frame.
#[test]
fn full_in_another_threads_frame_a_finished_message_leaves_behind_it() {
    let (mut raw, stream) = tcp_pair();
    let acceptor = Acceptor::new().max_inbound(1000);
    let mut server = acceptor.from_upgraded(stream, Server, b"", Agreed::default());
    let sender = server.sender().unwrap();
    let sending = std::thread::spawn(move || sender.send(vec![1; MORE]));
    let mut expected = unmasked(0x82, &vec![1; MORE]);
    let mut header = [0; 10];
    raw.read_exact(&mut header).unwrap();
    assert_eq!(header, expected[..10]);
    raw.write_all(&masked(0x82, &[2; 2000]).repeat(3)).unwrap();

    for text in ["end of a report", "end of another"] {
        let mut writer = server.stream_binary();
        writer.write_all(text.as_bytes()).unwrap();
        writer.finish().unwrap();
        expected.extend(unmasked(0x82, text.as_bytes()));
    }
    let mut writer = server.stream_binary();
    writer.write_all(b"unfinished").unwrap();
    let full = writer.flush().unwrap_err();
    assert_eq!(full.kind(), io::ErrorKind::WouldBlock);
    drop(writer);
    let mut received = vec![0; expected.len() - 10];
    raw.read_exact(&mut received).unwrap();
    assert!(received == expected[10..]);
    sending.join().unwrap().unwrap();
    for _ in 0..3 {
        let message = server.recv().unwrap();
        assert_eq!(message, Some(Message::Binary(vec![2; 2000])));
    }
}

/// What one thread holds back leaves along with the long frame of another: `flush` waits for it.
#[test]
fn held_back_message_is_taken_over_flush_waits_for_it() {
    let (mut raw, stream) = tcp_pair();
    let waits = Arc::new(AtomicUsize::new(0));
    let mut server = Acceptor::new().max_backlog(2 * MORE).from_upgraded(
        Counting(stream, waits.clone()),
        Server,
        b"",
        Agreed::default(),
    );
    let sender = server.sender().unwrap();
    let mut len = 0;
    while sender.buffered_amount() == 0 {
        sender.try_send(vec![1; 50_000]).unwrap();
        len += 50_004;
    }
    raw.write_all(&masked(0x81, b"x").repeat(2)).unwrap();
    assert_eq!(server.recv().unwrap(), Some("x".into()));
    server.send("held back").unwrap();
    let before = server.buffered_amount();
    let other = {
        let sender = sender.clone();
        std::thread::spawn(move || sender.send(vec![2; MORE]))
    };
    until("it is taken over", || sender.buffered_amount() > before);
    let before = waits.load(Ordering::SeqCst);
    let owner = std::thread::spawn(move || {
        server.flush().unwrap();
        server
    });
    until("the owner waits", || {
        assert!(!owner.is_finished());
        waits.load(Ordering::SeqCst) > before
    });
    raw.read_exact(&mut vec![0; len + 11 + 10 + MORE]).unwrap();
    // Only now: a `flush` does not wait for the end of the other's frame, and its end would end that.
    other.join().unwrap().unwrap();
    drop(owner.join().unwrap());
}

#[test]
fn dropped_owner_ends_its_senders() {
    let (mut raw, stream) = tcp_pair();
    let server = WebSocket::from_upgraded(stream, Server, b"", Agreed::default());
    let sender = server.sender().unwrap();
    let stuck = std::thread::spawn(move || sender.send(vec![0; MORE]));
    raw.read_exact(&mut [0; 10]).unwrap();
    std::thread::sleep(Duration::from_millis(20));
    let start = Instant::now();
    drop(server);
    assert!(matches!(stuck.join().unwrap(), Err(SendError::Closed)));
    assert!(start.elapsed() < Duration::from_secs(3));
}

/// CL22: a sender that lives on does not keep the stream open, however far the end has come.
#[test]
fn closing_owner_is_dropped_its_stream_ends() {
    let (mut raw, stream) = tcp_pair();
    let mut client = WebSocket::from_upgraded(
        stream,
        Client::new(OsEntropy::new()),
        b"",
        Agreed::default(),
    );
    let sender = client.sender().unwrap();
    raw.write_all(&unmasked(0x88, &[3, 232])).unwrap();
    // The client has replied, and leaves it to the server to end the stream first.
    while client.ended().is_none() {
        client.recv_timeout(Duration::from_millis(20)).unwrap();
    }
    drop(client);
    raw.set_read_timeout(Some(Duration::from_secs(3))).unwrap();
    let mut rest = Vec::new();
    raw.read_to_end(&mut rest).unwrap();
    assert_eq!((rest.len(), rest[0]), (8, 0x88));
    assert!(!sender.is_open());
}

/// Reading does not wait for writing: a thread is stuck in a frame, and the owner receives.
#[test]
fn owner_receives_while_a_sender_is_stuck() {
    let (mut raw, stream) = tcp_pair();
    let mut server = Acceptor::new().from_upgraded(stream, Server, b"", Agreed::default());
    let sender = server.sender().unwrap();
    let stuck = std::thread::spawn(move || sender.send(vec![0; MORE]));
    let mut header = [0; 10];
    raw.read_exact(&mut header).unwrap();
    assert_eq!(header[..2], [0x82, 127]);
    for _ in 0..10 {
        raw.write_all(&masked(0x89, b"ping")).unwrap();
        raw.write_all(&masked(0x81, b"x")).unwrap();
        assert_eq!(server.recv().unwrap(), Some("x".into()));
    }
    assert!(!stuck.is_finished());
    raw.read_exact(&mut vec![0; MORE]).unwrap();
    // One pong, for the newest ping, right behind the frame [CT03] [CT06].
    let mut pong = [0; 6];
    raw.read_exact(&mut pong).unwrap();
    assert_eq!(pong, *b"\x8a\x04ping");
    stuck.join().unwrap().unwrap();
}

/// A call that must not wait does not, whatever another thread does, and however the connection ends.
#[test]
fn closed_by_the_peer_in_the_midst_of_a_frame_receiving_takes_no_longer_than_asked() {
    let (mut raw, stream) = tcp_pair();
    let mut server = WebSocket::from_upgraded(stream, Server, b"", Agreed::default());
    let sender = server.sender().unwrap();
    let stuck = std::thread::spawn(move || sender.send(vec![0; MORE]));
    raw.read_exact(&mut [0; 10]).unwrap();
    raw.write_all(&masked(0x88, b"\x03\xe8bye")).unwrap();
    let start = Instant::now();
    while server.close_reason().is_empty() {
        assert_eq!(server.try_recv().unwrap(), Received::Nothing);
        assert!(start.elapsed() < PATIENCE);
    }
    for _ in 0..3 {
        let one = Instant::now();
        let received = server.recv_timeout(Duration::from_millis(20)).unwrap();
        assert_eq!(received, Received::Nothing);
        assert!(one.elapsed() >= Duration::from_millis(19));
        // Well below the deadlines, which are what else would end it.
        assert!(one.elapsed() < PATIENCE);
    }
    // The reply has not left, so it is not over.
    assert_eq!(server.ended(), None);
    assert_eq!(server.close_reason(), "bye");
    assert!(!stuck.is_finished());
    // The peer reads the frame, and gets the reply.
    let reader = std::thread::spawn(move || {
        let mut rest = Vec::new();
        raw.read_to_end(&mut rest).unwrap();
        rest
    });
    assert_eq!(server.recv().unwrap(), None);
    // Closed is what has ended.
    assert_eq!(server.try_recv().unwrap(), Received::Closed);
    assert!(server.ended().is_some());
    stuck.join().unwrap().unwrap();
    assert!(server.ended().unwrap().is_clean());
    assert!(reader.join().unwrap().ends_with(&unmasked(0x88, &[3, 232])));
}

/// Counts how often its owner waits for it.
struct Counting(TcpStream, Arc<AtomicUsize>);

impl Read for Counting {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.0.read(buf)
    }
}

impl Write for Counting {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.0.write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl Transport for Counting {
    fn can_wait(&self) -> bool {
        true
    }

    fn wait(&self, interest: Interest<'_>, timeout: Option<Duration>) -> io::Result<Ready> {
        // No sender can be woken.
        if interest.wake.is_some() {
            self.1.fetch_add(1, Ordering::SeqCst);
        }
        self.0.wait(interest, timeout)
    }

    fn read_now(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.0.read_now(buf)
    }

    fn write_now(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        self.0.write_now(parts)
    }

    fn shutdown(&mut self) -> io::Result<()> {
        Transport::shutdown(&mut self.0)
    }
}

impl Share for Counting {
    fn share(&self) -> io::Result<Self> {
        Ok(Self(self.0.share()?, self.1.clone()))
    }

    fn write_shared(&self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        self.0.write_shared(parts)
    }

    fn flush_shared(&self) -> io::Result<()> {
        self.0.flush_shared()
    }
}

/// An owner wakes if there is something, and for nothing else: not from time to time, and not for
/// each message that a sender has sent.
#[test]
fn owner_with_a_sender_wakes_for_what_concerns_it_alone() {
    let (mut raw, stream) = tcp_pair();
    let waits = Arc::new(AtomicUsize::new(0));
    let stream = Counting(stream, waits.clone());
    let mut server = Acceptor::new().timeouts(Timeouts::NONE).from_upgraded(
        stream,
        Server,
        b"",
        Agreed::default(),
    );
    let sender = server.sender().unwrap();
    let owner = std::thread::spawn(move || {
        let received = server.recv();
        (received, server.ended())
    });
    for _ in 0..20 {
        sender.send("tick").unwrap();
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(waits.load(Ordering::SeqCst), 1);
    raw.read_exact(&mut [0; 20 * 6]).unwrap();
    // Its deadlines are those of the closing handshake now; there are none.
    sender.close(CloseCode::NORMAL, "").unwrap();
    raw.read_exact(&mut [0; 4]).unwrap();
    raw.write_all(&masked(0x88, &[3, 232])).unwrap();
    raw.read_to_end(&mut Vec::new()).unwrap();
    drop(raw);
    let (received, ended) = owner.join().unwrap();
    assert_eq!(received.unwrap(), None);
    assert!(ended.unwrap().is_clean());
    let waits = waits.load(Ordering::SeqCst);
    assert!(waits < 8, "{waits}");
}

/// A stream that panics in the midst of a frame keeps no other sender waiting.
#[test]
fn stream_panics_in_a_frame_senders_are_released() {
    struct Panics;
    impl Read for Panics {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::ErrorKind::WouldBlock.into())
        }
    }
    impl Write for Panics {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            panic!("as expected");
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    impl Transport for Panics {
        fn can_wait(&self) -> bool {
            true
        }
    }
    impl Share for Panics {
        fn share(&self) -> io::Result<Self> {
            Ok(Self)
        }
        fn write_shared(&self, _: &[IoSlice<'_>]) -> io::Result<usize> {
            panic!("as expected");
        }
        fn flush_shared(&self) -> io::Result<()> {
            Ok(())
        }
    }

    let server = WebSocket::from_upgraded(Panics, Server, b"", Agreed::default());
    let sender = server.sender().unwrap();
    let other = sender.clone();
    let panicked = std::thread::spawn(move || sender.send(vec![0; 100_000])).join();
    assert!(panicked.is_err());
    let error = other.try_send("x").unwrap_err();
    assert!(matches!(error, TrySendError::Failed(_, SendError::Closed)));
}
