//! A hostile afternoon: a server among peers that mean ill, all at once, while honest peers are
//! served. Everything stays on the loopback interface and is bounded in time:
//! `MOTEWS_HOSTILE_SECONDS`, or what the test says.

use core::fmt::Write as _;
use core::net::SocketAddr;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use core::time::Duration;
use std::env;
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::{LazyLock, Mutex};
use std::thread;
use std::time::Instant;

use motews_tests::deflate::{Deflater, Inflater, bomb};
use motews_tests::linux::open_files;
use motews_tests::raw::{REQUEST, RawPeer, frame, read_head, request_with_deflate};
use motews_tests::{ServerProcess, example, wait_until};
use tungstenite::Message;

/// How long the afternoon of the echo example lasts.
const SECONDS: u64 = 45;

/// And that of the event-driven server.
const EVENT_DRIVEN_SECONDS: u64 = 30;

/// The resident memory of the echo example never exceeds this: some 170 connections at a time, a
/// thread and its buffers for each, and a few messages of the largest size, which is set to 1 MiB.
const MEMORY_LIMIT: u64 = 32 << 20;

/// And that of the event-driven server: the messages alone, and 64 KiB for each of some 30 members
/// that do not read.
const EVENT_DRIVEN_MEMORY_LIMIT: u64 = 16 << 20;

/// The highest resident memory of the second half of the time may exceed that of the first by
/// this much: what grows with time, and not with the number of peers, grows further than that.
const MEMORY_DRIFT: u64 = 4 << 20;

/// An honest peer waits this long for an echo, or for a connection and its first echo, at worst,
/// on a machine whose cores the attackers keep busy; and as long again as plain TCP takes there.
const LATENCY_LIMIT: Duration = Duration::from_secs(2);

/// And this long in most cases.
const LATENCY_MEDIAN: Duration = Duration::from_millis(100);

/// How many connections of each of five kinds are held open at a time: fewer than the 256 that the
/// server takes.
const HELD: u64 = 32;

#[test]
#[ignore = "builds the echo example and takes a minute: run by .ci/run"]
fn echo_server_under_attack_stays_small_and_serves() {
    let mut command = Command::new(example("echo_blocking"));
    // Without a heap for each core, which the allocator of glibc fills one after the other.
    command
        .args(["127.0.0.1:0", "--max-message", "1", "--deflate"])
        .env("MALLOC_ARENA_MAX", "1");
    let server = start("echo", &mut command);
    let attacks: Vec<_> = ATTACKS.into_iter().chain(DEFLATE_ATTACKS).collect();
    attack(&server, &attacks, SECONDS, MEMORY_LIMIT, |_| ());
}

#[test]
#[ignore = "takes half a minute: run by .ci/run"]
fn event_driven_server_under_attack_stays_small_and_serves() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_event_server"));
    command
        .args(["loops=2", "max-message=1048576", "max-backlog=65536"])
        .arg("deflate")
        .env("MALLOC_ARENA_MAX", "1")
        // Its handler panics: to tell where from, 60 MiB of debug information would be read.
        .env("RUST_BACKTRACE", "0");
    let attacks: Vec<_> = ATTACKS
        .into_iter()
        .chain(DEFLATE_ATTACKS)
        .chain(HUB_ATTACKS)
        .collect();
    let heard = AtomicU64::new(0);
    attack(
        &start("event_server", &mut command),
        &attacks,
        EVENT_DRIVEN_SECONDS,
        EVENT_DRIVEN_MEMORY_LIMIT,
        |afternoon| heard.store(afternoon.honest_member(), Ordering::Relaxed),
    );
    println!("  {heard:?} broadcasts heard by an honest member");
}

fn start(name: &str, command: &mut Command) -> ServerProcess {
    ServerProcess::start(name, command, Path::new(env!("CARGO_TARGET_TMPDIR")))
}

/// What attackers do, how often at least in the time meant for it, and how. Who does not finish a
/// handshake is given up, so that more than `HELD` of those connections are opened.
const ATTACKS: [(&str, u64, Attack); 11] = [
    ("connections that say nothing", HELD + 1, |afternoon| {
        afternoon.hold(b"", b"")
    }),
    ("half a request, then nothing", HELD + 1, |afternoon| {
        afternoon.hold(&REQUEST[..90], b"")
    }),
    ("nothing after the 101", HELD, |afternoon| {
        afternoon.hold(REQUEST, b"")
    }),
    ("half a frame, then nothing", HELD, |afternoon| {
        afternoon.hold(REQUEST, b"\x81\xfe\x01")
    }),
    (
        "requests of one byte each 50 ms",
        HELD + 1,
        Afternoon::slow_requests,
    ),
    ("random bytes", 100, Afternoon::random_bytes),
    (
        "pings by a peer that never reads",
        1_000_000,
        Afternoon::pings,
    ),
    ("endless fragments of 0 bytes", 1_000_000, |afternoon| {
        afternoon.fragments(0)
    }),
    ("endless fragments of 1 byte", 1_000_000, |afternoon| {
        afternoon.fragments(1)
    }),
    ("huge lengths, 2,000 headers", 10, Afternoon::huge),
    ("resets", 100, Afternoon::resets),
];

/// What can be done to a server that compresses.
const DEFLATE_ATTACKS: [(&str, u64, Attack); 4] = [
    ("bombs of 16 MiB in 16 KiB", 10, Afternoon::bombs),
    (
        "bombs that never end",
        SLOW_BOMBS as u64,
        Afternoon::slow_bombs,
    ),
    (
        "endless compressed fragments of 1 byte",
        100_000,
        Afternoon::compressed_fragments,
    ),
    (
        "what cannot be inflated, or be compressed",
        100,
        Afternoon::malformed,
    ),
];

/// How many bombs that never end are there at a time.
const SLOW_BOMBS: usize = 4;

/// Frames that each fail a connection that has agreed on compression, and the code.
const MALFORMED: [(&[u8], u16); 7] = [
    // Cut short
    (b"\xc1\x83\0\0\0\0\xf2\x48\xcd", 1007),
    // A distance before the beginning
    (b"\xc2\x83\0\0\0\0\x02\x02\x00", 1007),
    // A block of the kind that there is not
    (b"\xc2\x81\0\0\0\0\x06", 1007),
    // Stored, and no UTF-8
    (b"\xc1\x87\0\0\0\0\x00\x01\x00\xfe\xff\xff\x00", 1007),
    // RSV1 in a ping, in the second fragment, and without an opcode that it is for
    (b"\xc9\x80\0\0\0\0", 1002),
    (b"\x42\x81\0\0\0\0\xf2\xc0\x81\0\0\0\0\x48", 1002),
    (b"\xc0\x81\0\0\0\0\x00", 1002),
];

/// What else can be done to the event-driven server of the tests.
const HUB_ATTACKS: [(&str, u64, Attack); 5] = [
    ("members that never read", HELD, |afternoon| {
        afternoon.hold(REQUEST, &frame(0x81, 5, b"!join"))
    }),
    ("broadcasts of 10,000 bytes", 1000, Afternoon::broadcasts),
    ("panics of the handler", 100, Afternoon::panics),
    ("connects and disconnects", 1000, Afternoon::comes_and_goes),
    (
        "messages of 1 MiB by a peer that never reads",
        10,
        Afternoon::large_messages,
    ),
];

/// Has `server` attacked for a while, and demands that honest peers are served and that it stays
/// small. `honest` is one more honest peer.
fn attack(
    server: &ServerProcess,
    attacks: &[(&str, u64, Attack)],
    meant: u64,
    memory_limit: u64,
    honest: impl Fn(&Afternoon) + Sync,
) {
    let seconds = env::var("MOTEWS_HOSTILE_SECONDS")
        .ok()
        .and_then(|text| text.parse().ok());
    let seconds = seconds.unwrap_or(meant);
    let afternoon = Afternoon {
        address: server.address,
        over: AtomicBool::new(false),
    };
    // Where one of its loops answers, the server has begun.
    let mut first = afternoon.honest_peer();
    afternoon.honest_echo(&mut first);
    first.close(None).expect("an honest peer may leave");
    while first.read().is_ok() {}
    // Each of the two loops opens one more when it begins, which may be after this.
    let descriptors = open_files(server.process.id()) + 2;
    let memory = server.resident_bytes();
    let done: Vec<AtomicU64> = attacks.iter().map(|_| AtomicU64::new(0)).collect();
    let echoes = Mutex::new(Vec::new());
    let meetings = Mutex::new(Vec::new());
    let plain = Mutex::new(Vec::new());
    let mut samples = Vec::new();

    thread::scope(|scope| {
        for ((_, _, attack), done) in attacks.iter().zip(&done) {
            let afternoon = &afternoon;
            scope.spawn(move || {
                let _over = EndsWithPanic(afternoon);
                while !afternoon.is_over() {
                    done.fetch_add(attack(afternoon), Ordering::Relaxed);
                    thread::sleep(Duration::from_millis(20));
                }
            });
        }
        scope.spawn(|| afternoon.honest_talk(&echoes));
        scope.spawn(|| afternoon.honest_visits(&meetings));
        scope.spawn(|| afternoon.plain_talk(&plain));
        scope.spawn(|| afternoon.honest_compressed_talk());
        scope.spawn(|| {
            let _over = EndsWithPanic(&afternoon);
            honest(&afternoon);
        });

        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(seconds) && !afternoon.is_over() {
            thread::sleep(Duration::from_millis(100));
            samples.push(server.resident_bytes());
        }
        afternoon.over.store(true, Ordering::Relaxed);
    });

    let mut report = String::new();
    for ((name, _, _), done) in attacks.iter().zip(&done) {
        _ = writeln!(report, "  {name}: {done:?}");
    }
    let (first, second) = samples.split_at(samples.len() / 2);
    let peak = |samples: &[u64]| samples.iter().copied().max().unwrap_or(0);
    let (first, second) = (peak(first), peak(second));
    let kib = |bytes: u64| bytes >> 10;
    let (memory, after) = (kib(memory), kib(server.resident_bytes()));
    println!(
        "hostile afternoon of {seconds} s:\n{report}  resident KiB: {memory} before, peak {} in \
        the first half, {} in the second, {after} after",
        kib(first),
        kib(second)
    );
    let echoes = Latencies::of("echoes to an honest peer", echoes);
    let meetings = Latencies::of("connections by honest peers", meetings);
    let plain = Latencies::of("echoes over plain TCP, without the server", plain);

    assert!(
        first.max(second) <= memory_limit,
        "the server needs more than {memory_limit} bytes"
    );
    assert!(second <= first + MEMORY_DRIFT, "the server grows");
    echoes.judge(&plain);
    meetings.judge(&plain);
    for ((name, least, _), done) in attacks.iter().zip(done) {
        let least = if seconds < meant { 1 } else { *least };
        assert!(done.into_inner() >= least, "too few: {name}");
    }
    let forgotten = wait_until(Duration::from_secs(10), || {
        open_files(server.process.id()) <= descriptors
    });
    assert!(
        forgotten,
        "{} files are open, {descriptors} may be",
        open_files(server.process.id())
    );
}

/// One round of an attack; returns how often it did what it does.
type Attack = fn(&Afternoon) -> u64;

/// What the attackers share.
struct Afternoon {
    address: SocketAddr,
    over: AtomicBool,
}

impl Afternoon {
    fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    /// A TCP connection on which no call waits for longer than a second.
    fn connect(&self) -> Option<TcpStream> {
        let stream = TcpStream::connect_timeout(&self.address, Duration::from_secs(5)).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(1))).ok()?;
        stream
            .set_write_timeout(Some(Duration::from_secs(1)))
            .ok()?;
        Some(stream)
    }

    /// A connection after its 101.
    fn upgrade(&self) -> Option<TcpStream> {
        let mut stream = self.connect()?;
        stream.write_all(REQUEST).ok()?;
        let head = read_head(&mut stream);
        head.starts_with("HTTP/1.1 101 ").then_some(stream)
    }

    /// Holds connections that have said `first`, and `then` after the answer; replaces those that
    /// the server gives up. Counts connections.
    fn hold(&self, first: &[u8], then: &[u8]) -> u64 {
        let mut held = Vec::new();
        let mut opened = 0;
        while !self.is_over() {
            while (held.len() as u64) < HELD && !self.is_over() {
                let Some(mut stream) = self.connect() else {
                    break;
                };
                _ = stream.write_all(first);
                if first == REQUEST {
                    read_head(&mut stream);
                }
                _ = stream.write_all(then);
                _ = stream.set_nonblocking(true);
                held.push(stream);
                opened += 1;
            }
            thread::sleep(Duration::from_millis(200));
            held.retain(is_open);
        }
        opened
    }

    /// Sends requests one byte each 50 milliseconds, on many connections. Counts connections.
    fn slow_requests(&self) -> u64 {
        let request = [
            &REQUEST[..REQUEST.len() - 2],
            &b"X-Slow: 1\r\n".repeat(1000),
        ]
        .concat();
        let mut held = Vec::new();
        let mut opened = 0;
        while !self.is_over() {
            while (held.len() as u64) < HELD && !self.is_over() {
                let Some(stream) = self.connect() else { break };
                _ = stream.set_nonblocking(true);
                _ = stream.set_nodelay(true);
                held.push((stream, request.iter()));
                opened += 1;
            }
            thread::sleep(Duration::from_millis(50));
            held.retain_mut(|(stream, request)| {
                is_open(stream)
                    && request
                        .next()
                        .is_some_and(|&byte| stream.write(&[byte]).is_ok())
            });
        }
        opened
    }

    /// Noise in place of a request, and in place of frames. Counts connections.
    fn random_bytes(&self) -> u64 {
        let mut random = u64::from(std::process::id()) | 1;
        let mut noise = || {
            let bytes = core::iter::repeat_with(|| {
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                random.to_le_bytes()
            });
            bytes.take(2048).flatten().collect::<Vec<u8>>()
        };
        let mut count = 0;
        while !self.is_over() {
            for stream in [self.connect(), self.upgrade()] {
                let Some(mut stream) = stream else { continue };
                _ = stream.write_all(&noise());
                _ = stream.set_nonblocking(true);
                _ = stream.read(&mut [0; 1024]);
                count += 1;
            }
            thread::sleep(Duration::from_millis(20));
        }
        count
    }

    /// Pings and reads no pong, until the server stops reading for a second. Counts pings.
    fn pings(&self) -> u64 {
        let ping = frame(0x89, 8, b"flooding");
        let pings = ping.repeat(1000);
        let Some(mut stream) = self.upgrade() else {
            return 0;
        };
        let mut sent = 0;
        while !self.is_over() {
            match stream.write(&pings[sent % ping.len()..]) {
                Ok(written) if written > 0 => sent += written,
                _ => break,
            }
        }
        (sent / ping.len()) as u64
    }

    /// Sends fragments of `length` bytes and never the last, until the server has had enough.
    /// Counts fragments.
    fn fragments(&self, length: u64) -> u64 {
        let fragment = frame(0x00, length, &b"x"[..length as usize]);
        let fragments = fragment.repeat(8192);
        let Some(mut stream) = self.upgrade() else {
            return 0;
        };
        let mut sent = 0;
        if stream
            .write_all(&frame(0x02, length, &b"x"[..length as usize]))
            .is_ok()
        {
            while !self.is_over() && stream.write_all(&fragments).is_ok() {
                sent += 8192;
            }
        }
        sent
    }

    /// Announces what is too large. Counts announcements.
    fn huge(&self) -> u64 {
        // RFC 6455 §5.2: the most significant bit of a 64-bit length is 0.
        if let Some(mut stream) = self.upgrade() {
            _ = stream.write_all(&frame(0x82, 1 << 63, b""));
            _ = stream.set_read_timeout(Some(Duration::from_secs(10)));
            let mut answer = [0; 4];
            let answered = stream.read_exact(&mut answer).is_ok();
            assert!(
                answered && answer[0] == 0x88 && answer[2..] == [0x03, 0xea],
                "{answer:x?}"
            );
        }
        if let Some(mut stream) = self.upgrade() {
            _ = stream.write_all(&frame(0x82, 1 << 40, &[0; 65_536]));
            thread::sleep(Duration::from_millis(100));
        }
        if let Some(mut stream) = self.connect() {
            let headers: String = (0..2000)
                .map(|index| format!("X-Header-{index}: x\r\n"))
                .collect();
            // The server may answer and close in the middle of it.
            _ = stream.write_all(&REQUEST[..REQUEST.len() - 2]);
            _ = stream.write_all(format!("{headers}\r\n").as_bytes());
            let head = read_head(&mut stream);
            assert!(head.is_empty() || head.starts_with("HTTP/1.1 4"), "{head}");
        }
        3
    }

    /// A connection that has agreed on compression.
    fn upgrade_with_deflate(&self) -> Option<RawPeer> {
        let mut stream = self.connect()?;
        stream.write_all(&request_with_deflate("")).ok()?;
        let head = read_head(&mut stream);
        head.contains("permessage-deflate")
            .then_some(RawPeer { stream })
    }

    /// Messages that are a thousand times as long as they come. Counts those that were refused.
    fn bombs(&self) -> u64 {
        static BOMB: LazyLock<Vec<u8>> = LazyLock::new(|| {
            let payload = bomb(16 << 20);
            frame(0xC2, payload.len() as u64, &payload)
        });
        let Some(mut peer) = self.upgrade_with_deflate() else {
            return 0;
        };
        _ = peer.stream.write_all(&BOMB);
        self.refused(&mut peer, 1009)
    }

    /// Whether a connection was closed with this code. The end of it may be lost.
    fn refused(&self, peer: &mut RawPeer, expected: u16) -> u64 {
        let code = peer.read_to_close();
        assert!(code == expected || code == 1006, "{code} for {expected}");
        (code == expected).into()
    }

    /// Messages that are as long as the limit allows, and do not end. Counts connections.
    fn slow_bombs(&self) -> u64 {
        let payload = bomb((1 << 20) - 1);
        let mut held = Vec::new();
        let mut opened = 0;
        while !self.is_over() {
            while held.len() < SLOW_BOMBS && !self.is_over() {
                let Some(mut peer) = self.upgrade_with_deflate() else {
                    break;
                };
                _ = peer.send(0x42, &payload);
                _ = peer.stream.set_nonblocking(true);
                held.push(peer.stream);
                opened += 1;
            }
            thread::sleep(Duration::from_millis(200));
            held.retain(is_open);
        }
        opened
    }

    /// Sends fragments that are parts of empty blocks, and stand for nothing, until the server has
    /// had enough. Counts fragments.
    fn compressed_fragments(&self) -> u64 {
        let blocks = [0, 0, 0, 0xFF, 0xFF].map(|byte| frame(0x00, 1, &[byte]));
        let fragments = blocks.concat().repeat(1024);
        let Some(mut peer) = self.upgrade_with_deflate() else {
            return 0;
        };
        let mut sent = 0;
        if peer.send(0x42, b"").is_ok() {
            while !self.is_over() && peer.stream.write_all(&fragments).is_ok() {
                sent += 5 * 1024;
            }
        }
        sent
    }

    /// What is against the rules, and a compressed message where there is no compression. Counts
    /// those that were refused.
    fn malformed(&self) -> u64 {
        let mut count = 0;
        for (frames, code) in MALFORMED {
            if let Some(mut peer) = self.upgrade_with_deflate()
                && peer.stream.write_all(frames).is_ok()
            {
                count += self.refused(&mut peer, code);
            }
        }
        if let Some(stream) = self.upgrade() {
            let mut peer = RawPeer { stream };
            _ = peer.send(0xC1, b"\xf2\x48\xcd\xc9\xc9\x07\x00");
            count += self.refused(&mut peer, 1002);
        }
        count
    }

    /// Exchanges compressed messages, from the first minute to the last.
    fn honest_compressed_talk(&self) {
        let _over = EndsWithPanic(self);
        let mut peer = self.upgrade_with_deflate().expect("an honest peer may");
        let patience = Some(Duration::from_secs(10));
        peer.stream.set_read_timeout(patience).expect("a limit");
        let (mut deflater, mut inflater) = (Deflater::new(15), Inflater::new(15));
        for number in 0.. {
            if self.is_over() {
                break;
            }
            let text = format!("honest, 你好 {number}, ").repeat(200);
            peer.send(0xC1, &deflater.message(text.as_bytes()))
                .expect("an honest peer may send");
            let echo = peer.read_frame().expect("an honest peer is answered");
            let payload = inflater.message(&echo.payload, text.len());
            assert!(echo.first == 0xC1 && payload == text.as_bytes());
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Leaves with an answer unread, which resets the connection. Counts connections.
    fn resets(&self) -> u64 {
        let Some(mut stream) = self.upgrade() else {
            return 0;
        };
        _ = stream.write_all(&frame(0x82, 1000, &[0; 1000]));
        _ = stream.peek(&mut [0]);
        drop(stream);

        // Before the 101 is read, and in the middle of a frame.
        let Some(mut stream) = self.connect() else {
            return 0;
        };
        _ = stream.write_all(REQUEST);
        _ = stream.write_all(&frame(0x82, 1000, &[0; 500]));
        _ = stream.peek(&mut [0]);
        2
    }

    /// Has the hub send to all members, and reads what comes back. Counts broadcasts.
    fn broadcasts(&self) -> u64 {
        let mut count = 0;
        let Some(stream) = self.upgrade() else {
            return 0;
        };
        let mut peer = RawPeer { stream };
        while !self.is_over() && peer.text("!broadcast 10 10000").is_ok() {
            if peer.read_frame().is_err() {
                break;
            }
            count += 10;
            thread::sleep(Duration::from_millis(20));
        }
        count
    }

    /// Makes the handler panic. Counts the connections that were told so.
    fn panics(&self) -> u64 {
        let Some(stream) = self.upgrade() else {
            return 0;
        };
        let mut peer = RawPeer { stream };
        (peer.text("!panic").is_ok() && peer.read_to_close() == 1011).into()
    }

    /// A hundred connections that come and go, without a request or with one. Counts them.
    fn comes_and_goes(&self) -> u64 {
        for index in 0..100 {
            let Some(mut stream) = self.connect() else {
                return index;
            };
            if index % 2 == 0 {
                _ = stream.write_all(REQUEST);
            }
            if index % 4 < 2 {
                RawPeer { stream }.reset();
            }
        }
        100
    }

    /// Sends large messages and reads no echo, until nothing more is taken. Counts messages.
    fn large_messages(&self) -> u64 {
        let message = frame(0x82, 1 << 20, &vec![7; 1 << 20]);
        let Some(mut stream) = self.upgrade() else {
            return 0;
        };
        let mut count = 0;
        while !self.is_over() && stream.write_all(&message).is_ok() {
            count += 1;
        }
        count
    }

    /// Is in the hub, and hears what is said there: numbered messages, some of which may be
    /// missed. Counts them.
    fn honest_member(&self) -> u64 {
        let mut socket = self.honest_peer();
        let mut last = None;
        let mut count = 0;
        socket
            .send(Message::text("!join"))
            .expect("an honest peer may send");
        while !self.is_over() {
            let read = socket.read();
            if read.is_err() && self.is_over() {
                break; // and nobody broadcasts any more
            }
            match read.expect("an honest member hears something") {
                Message::Binary(bytes) => {
                    let number = bytes.first_chunk().map(|bytes| u64::from_be_bytes(*bytes));
                    assert!(
                        number > last && bytes.len() == 10_000,
                        "{number:?}, {last:?}"
                    );
                    last = number;
                    count += 1;
                }
                Message::Text(text) => assert_eq!(text, "!ok"),
                other => assert!(other.is_ping(), "{other:?}"),
            }
        }
        count
    }

    /// Exchanges messages on one connection, from the first minute to the last.
    fn honest_talk(&self, latencies: &Mutex<Vec<Duration>>) {
        let _over = EndsWithPanic(self);
        let mut socket = self.honest_peer();
        while !self.is_over() {
            let latency = self.honest_echo(&mut socket);
            latencies.lock().expect("no holder panics").push(latency);
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Exchanges as much with a thread of this test: what that takes is none of the server's doing.
    fn plain_talk(&self, latencies: &Mutex<Vec<Duration>>) {
        let _over = EndsWithPanic(self);
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let echo = thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("somebody comes");
            let mut bytes = [0; 20];
            while stream.read_exact(&mut bytes).is_ok() && stream.write_all(&bytes).is_ok() {}
        });
        let mut stream = TcpStream::connect(address).expect("it listens");
        stream.set_nodelay(true).expect("no delay");
        while !self.is_over() {
            let start = Instant::now();
            stream.write_all(&[7; 20]).expect("it is open");
            stream.read_exact(&mut [0; 20]).expect("it is open");
            let latency = start.elapsed();
            latencies.lock().expect("no holder panics").push(latency);
            thread::sleep(Duration::from_millis(5));
        }
        drop(stream);
        echo.join().expect("it ends with the stream");
    }

    /// Comes, exchanges a message, and goes.
    fn honest_visits(&self, latencies: &Mutex<Vec<Duration>>) {
        let _over = EndsWithPanic(self);
        while !self.is_over() {
            let start = Instant::now();
            let mut socket = self.honest_peer();
            self.honest_echo(&mut socket);
            latencies
                .lock()
                .expect("no holder panics")
                .push(start.elapsed());
            socket.close(None).expect("an honest peer may leave");
            while socket.read().is_ok() {}
            thread::sleep(Duration::from_millis(20));
        }
    }

    fn honest_peer(&self) -> tungstenite::WebSocket<TcpStream> {
        let stream = TcpStream::connect(self.address).expect("an honest peer may connect");
        stream
            .set_read_timeout(Some(Duration::from_secs(10)))
            .expect("a limit");
        stream.set_nodelay(true).expect("no delay");
        let url = format!("ws://{}/", self.address);
        let (socket, _) = tungstenite::client(url, stream).expect("an honest peer is welcome");
        socket
    }

    fn honest_echo(&self, socket: &mut tungstenite::WebSocket<TcpStream>) -> Duration {
        let message = Message::text("honest, 你好");
        let start = Instant::now();
        socket
            .send(message.clone())
            .expect("an honest peer may send");
        let echo = socket.read().expect("an honest peer is answered");
        assert_eq!(echo, message);
        start.elapsed()
    }
}

/// Ends the afternoon when something is not as it should be.
struct EndsWithPanic<'a>(&'a Afternoon);

impl Drop for EndsWithPanic<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.over.store(true, Ordering::Relaxed);
        }
    }
}

struct Latencies {
    what: &'static str,
    median: Duration,
    worst: Duration,
}

impl Latencies {
    fn of(what: &'static str, latencies: Mutex<Vec<Duration>>) -> Self {
        let mut sorted = latencies.into_inner().expect("no holder panics");
        sorted.sort_unstable();
        let at = |share: f64| {
            let index = (sorted.len() as f64 * share) as usize;
            *sorted
                .get(index)
                .or(sorted.last())
                .expect("honest peers were served")
        };
        let (median, worst) = (at(0.5), at(1.0));
        println!(
            "  {} {what}: median {median:.1?}, 99 % {:.1?}, worst {worst:.1?}",
            sorted.len(),
            at(0.99)
        );
        Self {
            what,
            median,
            worst,
        }
    }

    /// Demands that it took no longer than it may, beside what the machine takes for itself.
    fn judge(&self, plain: &Self) {
        for (which, time, plain, limit) in [
            ("median", self.median, plain.median, LATENCY_MEDIAN),
            ("worst", self.worst, plain.worst, LATENCY_LIMIT),
        ] {
            // A machine that is busy with other things lets each of the two ends wait.
            let limit = limit + 2 * plain;
            assert!(
                time <= limit,
                "{}: {which} {time:?}, {limit:?} allowed",
                self.what
            );
        }
    }
}

/// Whether the peer of a non-blocking stream still keeps it open. Discards what it has sent.
fn is_open(stream: &TcpStream) -> bool {
    let mut discard = [0; 512];
    let mut stream = stream;
    loop {
        match stream.read(&mut discard) {
            Ok(0) => return false,
            Ok(_) => {}
            Err(error) => return error.kind() == ErrorKind::WouldBlock,
        }
    }
}
