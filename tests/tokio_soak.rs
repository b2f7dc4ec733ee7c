//! motews-tokio for a long time: 20 seconds for each test, or as many as `MOTEWS_SOAK` says.

use core::net::SocketAddr;
use core::time::Duration;
use std::env;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Instant;

use motews_testkit::frame::encode;
use motews_testkit::head::{self, Head};
use motews_tests::{ServerProcess, example, wait_until};
use motews_tokio::{Acceptor, CloseCode};
use tokio::net::{TcpListener, TcpStream as TokioStream};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};
use tungstenite::Message;

/// How long something may take that should happen at once.
const LIMIT: Duration = Duration::from_secs(30);

fn folder() -> &'static Path {
    Path::new(env!("CARGO_TARGET_TMPDIR"))
}

fn duration() -> Duration {
    let seconds = env::var("MOTEWS_SOAK").ok();
    let seconds = seconds.map(|text| text.parse().expect("MOTEWS_SOAK is a number of seconds"));
    Duration::from_secs(seconds.unwrap_or(20))
}

/// Marsaglia's xorshift.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) % limit
    }
}

// ---- a split echo with `select!` ----

/// Echoes, and sends what a timer and a channel bring, each with a number of its own: `recv` is given up
/// at every one of them. A third task sends by itself.
async fn serve(stream: TokioStream) {
    let ws = Acceptor::new().accept(stream).await.expect("an upgrade");
    let (sender, mut receiver) = ws.split();
    let (numbers, mut channel) = mpsc::channel(16);
    let counting = tokio::spawn(async move {
        let mut number = 0_u64;
        while numbers.send(number).await.is_ok() {
            number += 1;
            tokio::time::sleep(Duration::from_micros(300)).await;
        }
    });
    let (stop, mut is_stopped) = mpsc::channel::<()>(1);
    let other = sender.clone();
    let sending = tokio::spawn(async move {
        let mut number = 0_u64;
        while let Err(mpsc::error::TryRecvError::Empty) = is_stopped.try_recv() {
            let sent = other.send(format!("other {number}")).await;
            sent.expect("it is open");
            number += 1;
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        number
    });
    let mut ticks = interval(Duration::from_millis(1));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut tick, mut from_channel) = (0_u64, 0_u64);
    loop {
        tokio::select! {
            message = receiver.recv() => match message.expect("an honest peer") {
                Some(message) if message.as_text() == Some("stop") => break,
                Some(message) => sender.send(message).await.expect("it is open"),
                None => panic!("the client says when to stop"),
            },
            number = channel.recv() => {
                let number = number.expect("the task goes on");
                assert_eq!(number, from_channel, "the channel");
                sender.send(format!("channel {number}")).await.expect("it is open");
                from_channel += 1;
            }
            _ = ticks.tick() => {
                sender.send(format!("tick {tick}")).await.expect("it is open");
                tick += 1;
            }
        }
    }
    stop.send(()).await.expect("it looks");
    let other = sending.await.expect("no panic");
    counting.abort();
    let sums = format!("sums {tick} {from_channel} {other}");
    sender.send(sums).await.expect("it is open");
    sender.close(CloseCode::NORMAL, "").expect("it is open");
    assert_eq!(receiver.recv().await.expect("a clean end"), None);
    assert!(receiver.ended().is_some_and(|ended| ended.is_clean()));
}

/// What a client has seen of one connection.
#[derive(Default)]
struct Seen {
    ticks: u64,
    channel: u64,
    other: u64,
    echoes: u64,
    sums: Option<String>,
}

impl Seen {
    /// Takes what the server sends by itself; `false`: it is an echo.
    fn takes(&mut self, message: &Message) -> bool {
        let Message::Text(text) = message else {
            return false;
        };
        let Some((kind, rest)) = text.split_once(' ') else {
            return false;
        };
        let count = match kind {
            "tick" => &mut self.ticks,
            "channel" => &mut self.channel,
            "other" => &mut self.other,
            "sums" => {
                self.sums = Some(rest.to_owned());
                return true;
            }
            _ => return false,
        };
        assert_eq!(rest, count.to_string(), "{kind}");
        *count += 1;
        true
    }
}

/// Sends bursts of messages of all lengths until `until`, and finds each echo, in order.
fn talk(address: SocketAddr, seed: u64, until: Instant) -> Seen {
    let stream = TcpStream::connect(address).expect("the server listens");
    stream.set_nodelay(true).expect("TCP");
    stream.set_read_timeout(Some(LIMIT)).expect("a limit");
    let (mut ws, _) = tungstenite::client(format!("ws://{address}/"), stream).expect("an upgrade");
    let mut random = Random(seed);
    let mut seen = Seen::default();
    while Instant::now() < until {
        let burst: Vec<Message> = (0..=random.below(32))
            .map(|_| {
                let longest = [8, 200, 3000, 70_000][random.below(4) as usize];
                let len = random.below(longest) as usize;
                match random.below(2) {
                    0 => Message::from("é".repeat(len / 2)),
                    _ => Message::from(vec![random.below(256) as u8; len]),
                }
            })
            .collect();
        for message in &burst {
            ws.write(message.clone()).expect("the server reads");
        }
        ws.flush().expect("the server reads");
        for message in &burst {
            let echo = loop {
                let came = ws.read().expect("an echo");
                if !seen.takes(&came) {
                    break came;
                }
            };
            assert!(&echo == message, "an echo of {} bytes", message.len());
            seen.echoes += 1;
        }
    }
    ws.send(Message::from("stop")).expect("the server reads");
    loop {
        match ws.read() {
            Ok(Message::Close(_)) => {}
            Ok(message) => assert!(seen.takes(&message), "an echo too many"),
            Err(tungstenite::Error::ConnectionClosed) => return seen,
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
#[ignore = "takes 20 seconds, or MOTEWS_SOAK"]
fn split_echo_beside_a_timer_a_channel_and_a_sender_loses_nothing() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0"));
    let listener = listener.expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    let until = Instant::now() + duration();
    let clients: Vec<_> = (1..=4)
        .map(|seed| thread::spawn(move || talk(address, seed * 0x9E37_79B9, until)))
        .collect();
    let servers = runtime.block_on(async {
        let mut servers = Vec::new();
        for _ in &clients {
            let (stream, _) = listener.accept().await.expect("a client");
            servers.push(tokio::spawn(serve(stream)));
        }
        servers
    });
    let mut echoes = 0;
    let mut pushed = 0;
    for client in clients {
        let seen = client.join().expect("the client saw what it expected");
        let counted = format!("{} {} {}", seen.ticks, seen.channel, seen.other);
        assert_eq!(seen.sums, Some(counted), "what the server sent by itself");
        assert!(seen.ticks > 0 && seen.channel > 0 && seen.other > 0 && seen.echoes > 0);
        echoes += seen.echoes;
        pushed += seen.ticks + seen.channel + seen.other;
    }
    for server in servers {
        runtime.block_on(server).expect("no panic");
    }
    println!(
        "{:?}: {echoes} echoes, and {pushed} messages that the server sent by itself",
        duration()
    );
}

// ---- one who does not read ----

/// Connections beside the one that does not read.
const OTHERS: usize = 999;

/// How much more memory the server may have at the end than when the one had filled its queues.
const GROWTH: u64 = 2 * 1024 * 1024;

fn open(address: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(address).expect("the server listens");
    stream.set_nodelay(true).expect("TCP");
    stream.set_read_timeout(Some(LIMIT)).expect("a limit");
    let request = Head::request().to_bytes();
    stream.write_all(&request).expect("the server reads");
    assert!(head::read(&mut stream).starts_with("HTTP/1.1 101 "));
    stream
}

/// Has every connection echo once, one after the other, until `until`; returns the median and the 99th
/// percentile of how long that took.
fn latencies(streams: &mut [TcpStream], until: Instant) -> [Duration; 2] {
    let message = [7; 1000];
    let sent = encode(0x82, &message, Some([1, 2, 3, 4]));
    let expected = encode(0x82, &message, None);
    let mut came = vec![0; expected.len()];
    let mut times = Vec::new();
    while times.is_empty() || Instant::now() < until {
        for stream in &mut *streams {
            let start = Instant::now();
            stream.write_all(&sent).expect("the server reads");
            stream.read_exact(&mut came).expect("an echo");
            times.push(start.elapsed());
            assert!(came == expected);
        }
    }
    times.sort_unstable();
    [times.len() / 2, times.len() * 99 / 100].map(|at| times[at])
}

#[test]
#[ignore = "takes 20 seconds, or MOTEWS_SOAK; builds the examples"]
fn one_of_a_thousand_does_not_read_and_the_others_do_not_notice() {
    let mut server = Command::new(example("tokio_echo"));
    server.args(["--inbound", "1", "127.0.0.1:0"]);
    let server = ServerProcess::start("tokio_echo", &mut server, folder());
    let mut others: Vec<_> = (0..OTHERS).map(|_| open(server.address)).collect();
    let before = latencies(&mut others, Instant::now() + duration() / 4);
    let quiet = server.resident_bytes();

    let mut one = open(server.address);
    one.set_nonblocking(true).expect("TCP");
    let message = encode(0x82, &[7; 16 * 1024], Some([1, 2, 3, 4]));
    let mut written = 0_u64;
    // Until nothing more goes in for a second.
    let mut at = 0;
    let mut progress = Instant::now();
    let is_full = wait_until(LIMIT, || {
        loop {
            match one.write(&message[at..]) {
                Ok(len) => {
                    written += len as u64;
                    at = (at + len) % message.len();
                    progress = Instant::now();
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => panic!("{error}"),
            }
        }
        progress.elapsed() > Duration::from_secs(1)
    });
    assert!(
        is_full,
        "the server takes without end from one who does not read"
    );
    let filled = server.resident_bytes();
    let meanwhile = latencies(&mut others, Instant::now() + duration() * 3 / 4);
    let after = server.resident_bytes();

    println!(
        "{OTHERS} echoes beside one that does not read: median {:?}, 99 % within {:?}; without it {:?} \
         and {:?}. It had sent {written} bytes. The server's memory: {} KiB before, {} KiB with it, {} KiB \
         at the end",
        meanwhile[0],
        meanwhile[1],
        before[0],
        before[1],
        quiet / 1024,
        filled / 1024,
        after / 1024
    );
    assert!(after < filled + GROWTH, "memory grows");
    assert!(filled < quiet + 4 * GROWTH, "one peer takes much memory");
    let bound = before[0] * 3 + Duration::from_millis(1);
    assert!(meanwhile[0] < bound, "the others wait");
}
