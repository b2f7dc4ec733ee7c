//! Sending to a peer that is slow, that sends as well, or that leaves.

mod support;

use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, Mutex, mpsc};
use std::time::Instant;

use motews_std::role::{Client, Server};
use motews_std::{
    Acceptor, Agreed, CloseCode, Ended, Interest, Message, OsEntropy, Ready, Received, RecvError,
    SendError, Share, Timeouts, Transport, WebSocket,
};
use motews_testkit::frame::{Frame, close, masked, pong, unmasked};
use support::{tcp_pair, ws_pair, ws_pair_with};

/// How long anything may take that does not depend on a deadline.
const PATIENCE: Duration = Duration::from_secs(20);

/// More than the operating system takes while the peer does not read, in bytes.
const MORE: usize = 20_000_000;

/// Reads a frame after the other, at most so many bytes in a millisecond, answers pings, and begins
/// to close after one binary message.
fn read_slowly(stream: TcpStream, per_millisecond: u64) -> usize {
    struct Slow(TcpStream, u64);
    impl Read for Slow {
        fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
            std::thread::sleep(Duration::from_millis(1));
            (&mut self.0).take(self.1).read(buf)
        }
    }
    let mut writing = stream.try_clone().unwrap();
    let mut stream = Slow(stream, per_millisecond);
    let mut len = 0;
    loop {
        let (frame, _) = Frame::read(&mut stream).unwrap();
        let reply = match frame.first {
            0x89 => pong(frame.payload),
            0x82 => {
                len += frame.payload.len();
                close(1000, "")
            }
            0x88 => return len,
            first => panic!("{first:x}"),
        };
        writing.write_all(&reply.encode(Some([0; 4]))).unwrap();
    }
}

/// All of it fits into buffers below, where it takes the peer longer than any pong may: scaled down
/// by a hundred from the defaults, 3 MiB to a reader of 40 KB/s.
#[test]
fn open_peer_reads_slowly_gets_all() {
    let timeouts = Timeouts {
        keepalive: Some(300),
        pong: Some(100),
        write: Some(300),
        close: Some(50),
        min_rate: 12_800,
        max_grace: 60_000,
        ..Timeouts::NONE
    };
    let (raw, stream) = tcp_pair();
    let reader = std::thread::spawn(move || read_slowly(raw, 4_000));
    let mut server =
        Acceptor::new()
            .timeouts(timeouts)
            .from_upgraded(stream, Server, b"", Agreed::default());
    let message = vec![7; 3 << 20];
    server.send(&message).unwrap();
    assert_eq!(server.recv().unwrap(), None);
    assert!(server.ended().unwrap().is_clean());
    assert_eq!(reader.join().unwrap(), message.len());
}

/// Each reads while it waits to write: no one waits for the other, until the time to write is over.
#[test]
fn open_both_peers_begin_with_a_long_message_both_arrive() {
    const LEN: usize = 32 << 20;
    let (mut client, mut server) = ws_pair();
    let other = std::thread::spawn(move || {
        server.send(vec![2; LEN]).unwrap();
        let received = server.recv().unwrap().unwrap();
        assert_eq!(server.recv().unwrap(), None);
        received
    });
    client.send(vec![1; LEN]).unwrap();
    assert!(client.recv().unwrap() == Some(vec![2; LEN].into()));
    assert!(support::close(&mut client, CloseCode::NORMAL, "").is_clean());
    assert!(other.join().unwrap() == vec![1; LEN].into());
}

/// Many messages to an echo, which are received afterwards: beyond what is kept, the API says so at
/// once, and nothing is lost.
#[test]
fn open_inbound_is_full_send_says_so_and_receiving_goes_on() {
    const COUNT: u8 = 100;
    const LEN: usize = 1 << 20;
    let (mut client, mut server) = ws_pair();
    let echo = std::thread::spawn(move || {
        while let Some(message) = server.recv().unwrap() {
            // Whoever answers waits for the peer, and is told nothing.
            server.send(&message).unwrap();
        }
    });
    let (mut sent, mut received, mut refused) = (0, 0, 0);
    while received < COUNT {
        if sent < COUNT {
            match client.send(vec![sent; LEN]) {
                Ok(()) => {
                    sent += 1;
                    continue;
                }
                Err(SendError::InboundFull) => refused += 1,
                Err(error) => panic!("{error:?}"),
            }
            // Nothing of it was taken, beside the message that was begun.
            assert!(client.buffered_amount() <= 64 * 1024 + LEN + 14);
        }
        let message = client.recv().unwrap().unwrap();
        assert!(message == vec![received; LEN].into());
        received += 1;
    }
    assert!(refused > 0);
    assert!(support::close(&mut client, CloseCode::NORMAL, "").is_clean());
    echo.join().unwrap();
}

/// The limit is the application's: at 0 nothing is read that is not asked for.
#[test]
fn open_inbound_limit_at_its_ends_holds() {
    for (limit, kept) in [(0, 0), (1, 1), (usize::MAX, 50)] {
        let (mut raw, stream) = tcp_pair();
        let mut server = Acceptor::new().max_inbound(limit).from_upgraded(
            stream,
            Server,
            b"",
            Agreed::default(),
        );
        raw.write_all(&masked(0x81, b"x").repeat(50)).unwrap();
        let sending = std::thread::spawn(move || {
            let mut taken = 0;
            let stopped = loop {
                if taken > 4 * MORE {
                    break false;
                }
                match server.send(vec![0; 1 << 20]) {
                    Ok(()) => taken += 1 << 20,
                    Err(SendError::InboundFull) => break true,
                    Err(error) => panic!("{error:?}"),
                }
            };
            // What was kept, and then the rest.
            for _ in 0..50 {
                assert_eq!(server.recv().unwrap(), Some("x".into()));
            }
            stopped
        });
        if kept == 50 {
            // It is not full, so `send` waits until somebody reads.
            io::copy(&mut raw, &mut io::sink()).unwrap();
        }
        assert_eq!(sending.join().unwrap(), kept < 50, "{limit}");
    }
}

/// Sends as much as it receives, with other threads that send as well, and returns when it has
/// received so many messages and sent its own.
fn exchange<R>(mut ws: WebSocket<TcpStream, R>, count: usize) -> WebSocket<TcpStream, R>
where
    R: motews::Role + Send + 'static,
{
    let senders: Vec<_> = (0..3)
        .map(|_| {
            let sender = ws.sender().unwrap();
            std::thread::spawn(move || {
                for _ in 0..count {
                    sender.send(vec![1; 300_000]).unwrap();
                }
            })
        })
        .collect();
    let (mut sent, mut received) = (0, 0);
    while sent < count || received < 4 * count {
        if sent < count {
            match ws.send(vec![2; 300_000]) {
                Ok(()) => sent += 1,
                Err(SendError::InboundFull) => {}
                Err(error) => panic!("{error:?}"),
            }
        }
        if received < 4 * count {
            match ws.recv_timeout(Duration::from_millis(1)).unwrap() {
                Received::Message(_) => received += 1,
                Received::Nothing => {}
                Received::Closed => panic!("closed"),
            }
        }
    }
    for sender in senders {
        sender.join().unwrap();
    }
    ws
}

/// What other threads have sent counts as well: one of two peers that wait for each other is told.
#[test]
fn open_both_peers_send_from_many_threads_all_arrives() {
    let builder = Acceptor::new().max_inbound(10_000);
    let (client, server) = ws_pair_with(&builder);
    let start = Instant::now();
    let other = std::thread::spawn(move || {
        let mut server = exchange(server, 20);
        assert_eq!(server.recv().unwrap(), None);
    });
    let mut client = exchange(client, 20);
    assert!(support::close(&mut client, CloseCode::NORMAL, "").is_clean());
    other.join().unwrap();
    assert!(start.elapsed() < PATIENCE, "{:?}", start.elapsed());
}

/// What comes while a long message is on its way is seen to behind it.
#[test]
fn open_sending_long_pings_and_the_peers_close_are_answered_behind() {
    for (first, payload, answer) in [
        (0x89, &b"there?"[..], unmasked(0x8a, b"there?")),
        (0x88, &[3, 232], unmasked(0x88, &[3, 232])),
    ] {
        let (mut raw, stream) = tcp_pair();
        let mut server = WebSocket::from_upgraded(stream, Server, b"", Agreed::default());
        raw.write_all(&masked(first, payload)).unwrap();
        let sending = std::thread::spawn(move || {
            server.send(vec![1; MORE]).unwrap();
            server.recv().unwrap();
            server.ended().unwrap()
        });
        let mut expected = unmasked(0x82, &vec![1; MORE]);
        expected.extend(answer);
        let mut received = vec![0; expected.len()];
        raw.read_exact(&mut received).unwrap();
        assert!(received == expected);
        if first == 0x89 {
            raw.write_all(&masked(0x88, &[3, 232])).unwrap();
        }
        drop(raw);
        assert!(sending.join().unwrap().is_clean());
    }
}

/// Rule 9: what this side sends renews the time as well.
#[test]
fn open_idle_is_renewed_by_what_is_sent() {
    let timeouts = Timeouts {
        idle: Some(1_000),
        min_rate: 1_000_000,
        ..Timeouts::NONE
    };
    let (client, mut server) = ws_pair_with(&Acceptor::new().timeouts(timeouts));
    let start = Instant::now();
    while start.elapsed() < Duration::from_millis(1_500) {
        server.send("x").unwrap();
        let received = server.recv_timeout(Duration::from_millis(20)).unwrap();
        assert_eq!(received, Received::Nothing);
    }
    drop(client);
}

/// A source of masking keys that has so many of them.
struct Keys(u32);

impl motews::Entropy for Keys {
    fn fill(&mut self, out: &mut [u8]) -> Result<(), motews::EntropyError> {
        self.0 = self.0.checked_sub(1).ok_or(motews::EntropyError)?;
        out.fill(7);
        Ok(())
    }
}

/// FR05: what was accepted leaves before the failure shows, though the peer does not read for now.
#[test]
fn open_without_a_key_for_the_pong_what_was_accepted_leaves_first() {
    #[derive(Clone, Default)]
    struct Failing(Arc<AtomicBool>);
    impl motews::Entropy for Failing {
        fn fill(&mut self, out: &mut [u8]) -> Result<(), motews::EntropyError> {
            out.fill(7);
            match self.0.load(Ordering::Relaxed) {
                true => Err(motews::EntropyError),
                false => Ok(()),
            }
        }
    }

    let (mut raw, stream) = tcp_pair();
    let fails = Failing::default();
    let role = Client::new(fails.clone());
    let acceptor = Acceptor::new().max_backlog(2000);
    let mut client = acceptor.from_upgraded(stream, role, b"", Agreed::default());
    let input = [unmasked(0x81, b"a"), unmasked(0x89, b"ping")].concat();
    raw.write_all(&input).unwrap();
    assert_eq!(client.recv().unwrap(), Some("a".into()));
    let sender = client.sender().unwrap();
    // The kernel's buffers may grow for a while.
    let (mut accepted, mut refused) = (0, 0);
    while refused < 30 {
        if sender.try_send(vec![5; 1000]).is_ok() {
            (accepted, refused) = (accepted + 1, 0);
        } else {
            refused += 1;
            std::thread::sleep(Duration::from_millis(5));
        }
    }
    assert!(client.buffered_amount() > 0);
    fails.0.store(true, Ordering::Relaxed);
    let (failed, fails) = mpsc::channel();
    let peer = std::thread::spawn(move || {
        // It reads late, and as long as that the failure does not show.
        let early = fails.recv_timeout(Duration::from_millis(300));
        assert_eq!(early, Err(mpsc::RecvTimeoutError::Timeout));
        for _ in 0..accepted {
            assert_eq!(Frame::read(&mut raw).unwrap().0.payload.len(), 1000);
        }
        let mut rest = Vec::new();
        raw.read_to_end(&mut rest).unwrap();
        assert_eq!(rest, b"");
    });
    assert!(matches!(client.recv(), Err(RecvError::Entropy)));
    failed.send(()).ok();
    assert_eq!(client.ended(), Some(Ended::NoEntropy));
    assert!(matches!(client.send("x"), Err(SendError::Entropy)));
    peer.join().unwrap();
}

/// FR05: the same if the failure shows while this side closes, flushes or goes.
#[test]
fn ending_without_a_key_what_was_accepted_leaves_first() {
    type Socket = WebSocket<TcpStream, Client<Keys>>;
    let ends: [fn(Socket); 4] = [
        drop,
        |mut ws| {
            assert!(matches!(
                ws.close(CloseCode::NORMAL, ""),
                Err(SendError::Entropy)
            ));
            assert_eq!(ws.closed().unwrap(), Ended::NoEntropy);
        },
        |mut ws| {
            assert_eq!(ws.pending(), 0);
            assert!(matches!(ws.flush(), Err(SendError::Entropy)));
        },
        |mut ws| {
            assert_eq!(ws.pending(), 0);
            assert!(matches!(ws.send("x"), Err(SendError::Entropy)));
        },
    ];
    for end in ends {
        let (mut raw, stream) = tcp_pair();
        let role = Client::new(Keys(1));
        let mut client = WebSocket::from_upgraded(stream, role, b"", Agreed::default());
        let input = [unmasked(0x81, b"a"), unmasked(0x89, b"ping")].concat();
        raw.write_all(&input).unwrap();
        assert_eq!(client.recv().unwrap(), Some("a".into()));
        client.send("reply").unwrap();
        let peer = std::thread::spawn(move || {
            let mut all = Vec::new();
            raw.read_to_end(&mut all).unwrap();
            all
        });
        end(client);
        assert_eq!(peer.join().unwrap().len(), 6 + 5);
    }
}

/// FR05: what has left whole was sent, whatever else fails then.
#[test]
fn sent_whole_without_a_key_for_the_pong_the_next_send_says_so() {
    for by_sender in [false, true] {
        let (mut raw, stream) = tcp_pair();
        let mut client =
            WebSocket::from_upgraded(stream, Client::new(Keys(1)), b"", Agreed::default());
        let sender = client.sender().unwrap();
        let sending = std::thread::spawn(move || {
            if by_sender {
                let sending = std::thread::spawn({
                    let sender = sender.clone();
                    move || sender.send(vec![1; MORE])
                });
                // Reads the ping in the midst of the frame.
                let received = client.recv();
                assert!(matches!(received, Err(RecvError::Entropy)), "{received:?}");
                sending.join().unwrap().unwrap();
            } else {
                client.send(vec![1; MORE]).unwrap();
            }
            assert!(matches!(sender.send("x"), Err(SendError::Entropy)));
            assert!(matches!(client.send("x"), Err(SendError::Entropy)));
            assert!(matches!(client.recv(), Err(RecvError::Entropy)));
            assert_eq!(client.ended(), Some(Ended::NoEntropy));
        });
        let mut header = [0; 14];
        raw.read_exact(&mut header).unwrap();
        raw.write_all(&unmasked(0x89, b"ping")).unwrap();
        // Gives the ping time to be read. It makes no difference to what is asserted.
        std::thread::sleep(Duration::from_millis(50));
        let mut rest = vec![0; MORE];
        raw.read_exact(&mut rest).unwrap();
        sending.join().unwrap();
    }
}

/// Notes where the bytes lie that it is given.
struct Noting {
    stream: TcpStream,
    places: Arc<Mutex<Vec<usize>>>,
}

impl Noting {
    fn note(&self, parts: &[IoSlice<'_>]) {
        let places = parts.iter().map(|part| part.as_ptr() as usize);
        self.places.lock().unwrap().extend(places);
    }
}

impl Read for Noting {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.stream.read(buf)
    }
}

impl Write for Noting {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.stream.write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

impl Transport for Noting {
    fn can_wait(&self) -> bool {
        true
    }

    fn wait(&self, interest: Interest<'_>, timeout: Option<Duration>) -> io::Result<Ready> {
        self.stream.wait(interest, timeout)
    }

    fn write_now(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        self.note(parts);
        self.stream.write_now(parts)
    }
}

impl Share for Noting {
    fn share(&self) -> io::Result<Self> {
        Ok(Self {
            stream: self.stream.share()?,
            places: self.places.clone(),
        })
    }

    fn write_shared(&self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        self.note(parts);
        self.stream.write_shared(parts)
    }

    fn flush_shared(&self) -> io::Result<()> {
        self.stream.flush_shared()
    }
}

/// Above 16 KiB, a server's payload is written from where it lies, whoever sends it.
#[test]
fn open_payload_above_16_kib_is_not_copied() {
    for len in [16 * 1024 + 1, 32 * 1024] {
        let (_client, stream) = tcp_pair();
        let places = Arc::new(Mutex::new(Vec::new()));
        let stream = Noting {
            stream,
            places: places.clone(),
        };
        let mut server = WebSocket::from_upgraded(stream, Server, b"", Agreed::default());
        let sender = server.sender().unwrap();
        let payload = vec![1; len];
        let is_given = || {
            let places = core::mem::take(&mut *places.lock().unwrap());
            places.contains(&(payload.as_ptr() as usize))
        };
        server.send(&payload).unwrap();
        assert!(is_given());
        sender.send(&payload).unwrap();
        assert!(is_given());
        server.send(&payload[..16 * 1024]).unwrap();
        assert!(!is_given());
        let place = payload.as_ptr() as usize;
        sender.try_send(Message::Binary(payload)).unwrap();
        assert!(places.lock().unwrap().contains(&place));
    }
}

/// CL18: the error tells what the transport had to say, each time.
#[test]
fn open_connection_is_reset_the_error_has_its_source() {
    let (mut raw, stream) = tcp_pair();
    let mut server = WebSocket::from_upgraded(stream, Server, b"", Agreed::default());
    server.send("never read").unwrap();
    // Here the message has arrived.
    raw.set_read_timeout(Some(PATIENCE)).unwrap();
    raw.peek(&mut [0; 12]).unwrap();
    raw.flush().unwrap();
    drop(raw); // with something unread, this resets
    for _ in 0..2 {
        let error = server.recv().unwrap_err();
        let source = core::error::Error::source(&error).expect("it has a source");
        let source: &io::Error = source.downcast_ref().unwrap();
        assert_eq!(source.kind(), ErrorKind::ConnectionReset);
        assert!(source.raw_os_error().is_some());
        assert_eq!(server.ended(), Some(Ended::Lost));
    }
}

/// An error that the stream made itself comes again with its own source.
#[test]
fn open_stream_fails_the_error_keeps_its_source() {
    struct Fails;
    impl Read for Fails {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::new(ErrorKind::InvalidData, SendError::Closed))
        }
    }
    impl Write for Fails {
        fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
            Ok(buf.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    impl Transport for Fails {}

    let mut server = WebSocket::from_upgraded(Fails, Server, b"", Agreed::default());
    for _ in 0..2 {
        let RecvError::Io(error) = server.recv().unwrap_err() else {
            panic!("another error");
        };
        assert_eq!(error.kind(), ErrorKind::InvalidData);
        let source = core::error::Error::source(&error).unwrap();
        assert!(source.is::<SendError>(), "{source:?}");
    }
}

/// The process has SIGPIPE at its default, as a plugin in a C or Python process: it would be killed.
#[cfg(unix)]
#[test]
fn open_peer_left_writing_raises_no_signal() {
    const CHILD: &str = "MOTEWS_TEST_CHILD";
    if std::env::var_os(CHILD).is_none() {
        let status = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "open_peer_left_writing_raises_no_signal"])
            .env(CHILD, "1")
            .status()
            .unwrap();
        assert!(status.success(), "{status}");
        return;
    }
    sigpipe::reset();
    /// Writes until the stream is broken, and once more.
    fn write_on<S: Share>(stream: S) {
        let mut client = WebSocket::from_upgraded(
            stream,
            Client::new(OsEntropy::new()),
            b"",
            Agreed::default(),
        );
        let sender = client.sender().unwrap();
        let failed = (0..1000).find_map(|_| client.send(vec![0; 70_000]).err());
        assert!(matches!(failed, Some(SendError::Closed)), "{failed:?}");
        sender.send("x").unwrap_err();
        sender.close(CloseCode::NORMAL, "").ok();
    }
    fn serve_on<S: Transport>(stream: S) {
        let mut server = WebSocket::from_upgraded(stream, Server, b"", Agreed::default());
        let failed = (0..1000).find_map(|_| server.send(vec![0; 70_000]).err());
        assert!(matches!(failed, Some(SendError::Closed)), "{failed:?}");
    }
    let left = || tcp_pair().0; // the other end is dropped here
    write_on(left());
    serve_on(left());
    serve_on(motews_std::Plain(left()));
    let (unix, other) = std::os::unix::net::UnixStream::pair().unwrap();
    drop(other);
    write_on(unix);
    #[cfg(feature = "tls")]
    {
        let (server_config, client_config) = tls_support::configs();
        let tls = || {
            let (client, server) = tcp_pair();
            let server_config = server_config.clone();
            let accepted = std::thread::spawn(move || {
                let server = motews_std::tls::TlsStream::server(server, server_config).unwrap();
                motews_std::accept(server).unwrap()
            });
            let stream =
                motews_std::tls::TlsStream::client(client, client_config.clone(), "localhost");
            let connected =
                motews_std::Connector::new().connect_over(stream.unwrap(), "wss://localhost/");
            (connected.unwrap(), accepted.join().unwrap())
        };
        let (mut client, server) = tls();
        drop(server);
        let failed = (0..1000).find_map(|_| client.send(vec![0; 70_000]).err());
        assert!(matches!(failed, Some(SendError::Closed)), "{failed:?}");
        let (client, mut server) = tls();
        drop(client);
        let failed = (0..1000).find_map(|_| server.send(vec![0; 70_000]).err());
        assert!(matches!(failed, Some(SendError::Closed)), "{failed:?}");
    }
}

#[cfg(feature = "tls")]
#[path = "support/tls.rs"]
mod tls_support;
