//! The event-driven server in time: an honest slow peer loses nothing, and one that reads nothing
//! ends. The times are scaled to milliseconds. A reader is slow because it sleeps, but no test needs
//! a sleep to be right: it reads at many times the rate that it has to.

#[path = "support/server.rs"]
#[expect(dead_code, reason = "each test file uses a part of this")]
mod server_support;
mod support;
#[cfg(feature = "tls")]
#[path = "support/tls.rs"]
mod tls_support;

use core::time::Duration;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, Mutex, mpsc};
use std::time::Instant;

use motews_std::{
    CloseCode, Deadline, Ended, Handler, Hub, Membership, MessageRef, Peer, PeerSender, Request,
    Response, SendError, Server, ServerBuilder, ServerLimits, SlowPolicy, Timeouts,
};
use motews_testkit::frame::masked;
use motews_testkit::head::read as read_head;
use server_support::{FAST, PATIENCE, Running, read_frame, read_to_end, start, until};

/// Everything is due soon, but for a peer that reads 20 KB/s. The readers here read some 500.
const TIMEOUTS: Timeouts = Timeouts {
    handshake: Some(300),
    idle: None,
    keepalive: Some(250),
    pong: Some(750),
    close: Some(300),
    write: Some(300),
    min_rate: 20_000,
    max_grace: 10_000,
};

/// How much there is to read: a second and a half of it.
const LEN: usize = 3 << 18;

/// Rests after each 16 KiB that it reads.
struct Slow<S> {
    stream: S,
    read: usize,
}

impl<S> Slow<S> {
    const fn new(stream: S) -> Self {
        Self { stream, read: 0 }
    }
}

impl<S: Read> Read for Slow<S> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        const PART: usize = 16 * 1024;
        if self.read >= PART {
            std::thread::sleep(Duration::from_millis(30));
            self.read = 0;
        }
        let most = buf.len().min(PART);
        let len = self.stream.read(&mut buf[..most])?;
        self.read += len;
        Ok(len)
    }
}

impl<S: Write> Write for Slow<S> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.stream.write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

impl<S: Read + Write> motews_std::Transport for Slow<S> {}

/// A socket whose kernel keeps little.
fn socket(server: &Running) -> TcpStream {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(16 * 1024).unwrap();
    socket.connect(&server.addr.into()).unwrap();
    let socket: TcpStream = socket.into();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

fn open_over<S: Read + Write>(mut stream: S, request: &[u8]) -> Slow<S> {
    stream.write_all(request).unwrap();
    let head = read_head(&mut stream);
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    Slow::new(stream)
}

fn open(server: &Running) -> Slow<TcpStream> {
    open_over(socket(server), support::REQUEST)
}

fn builder() -> ServerBuilder {
    Server::builder().timeouts(TIMEOUTS).send_buffer(16 * 1024)
}

/// Bytes that no compression makes shorter.
fn noise(len: usize) -> Vec<u8> {
    let mut state = 1_u32;
    let next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    core::iter::repeat_with(next).take(len).collect()
}

/// Text of which six bits of each byte are noise.
fn text() -> String {
    let noise = noise(LEN);
    noise.iter().map(|n| char::from(n % 64 + 32)).collect()
}

/// Does what the message says, and keeps how it ended.
#[derive(Clone)]
struct Told {
    hub: Hub,
    ended: Arc<Mutex<Vec<Ended>>>,
}

impl Told {
    fn new() -> Self {
        Self {
            hub: Hub::new(SlowPolicy::DropNewest),
            ended: Arc::default(),
        }
    }

    /// Waits for the end.
    fn ended(&self) -> Ended {
        until("it ends", || !self.ended.lock().unwrap().is_empty());
        let ended = self.ended.lock().unwrap();
        assert_eq!(ended.len(), 1);
        ended[0]
    }
}

impl Handler for Told {
    type Data = Membership;

    fn on_request(&mut self, request: &Request) -> Response {
        match request.is_websocket() {
            true => Response::accepted(),
            false => Response::new(200).body(noise(LEN)),
        }
    }

    fn on_open(&mut self, peer: &mut Peer, _: &Request) -> Result<Membership, SendError> {
        Ok(self.hub.join(&peer.sender()))
    }

    fn on_message(
        &mut self,
        peer: &mut Peer<'_, Self::Data>,
        message: MessageRef<'_>,
    ) -> Result<(), SendError> {
        match message {
            MessageRef::Text("many, then close") => {
                for n in 0..LEN / 1000 {
                    peer.send(vec![n as u8; 1000])?;
                }
                peer.close(CloseCode::new(4000), "all of it")
            }
            MessageRef::Text("many") => {
                for n in 0..LEN / 1000 {
                    peer.send(vec![n as u8; 1000])?;
                }
                Ok(())
            }
            MessageRef::Text("broadcast") => {
                assert_eq!(self.hub.broadcast(noise(LEN)).delivered, 1);
                Ok(())
            }
            MessageRef::Text("text") => peer.send(text()),
            MessageRef::Text("word") => Ok(()),
            message => peer.send(message),
        }
    }

    fn on_close(&mut self, _: &mut Peer<'_, Self::Data>, ended: Ended) {
        self.ended.lock().unwrap().push(ended);
    }
}

/// Begins the closing handshake, and reads to the end.
fn close<S: Read + Write>(stream: &mut Slow<S>, told: &Told) {
    stream
        .write_all(&masked(0x88, &1000_u16.to_be_bytes()))
        .unwrap();
    assert_eq!(
        read_until_close(stream, |_| panic!("no message is left")),
        1000
    );
    drop(read_to_end(&mut Part(stream)));
    assert!(told.ended().is_clean(), "{}", told.ended());
}

/// So that a reader can be read to its end and used again.
struct Part<'a, S>(&'a mut Slow<S>);

impl<S: Read> Read for Part<'_, S> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.0.stream.read(buf)
    }
}

/// Reads to the Close, whose code it returns, and answers the pings that come before it.
fn read_until_close<S: Read + Write>(
    stream: &mut Slow<S>,
    mut message: impl FnMut(Vec<u8>),
) -> u16 {
    loop {
        match read_frame(stream) {
            (0x88, payload) => {
                return u16::from_be_bytes([payload[0], payload[1]]);
            }
            (0x89, payload) => stream.write_all(&masked(0x8A, &payload)).unwrap(),
            (_, payload) => message(payload),
        }
    }
}

/// Reads the next message, and answers the pings that come before it.
fn message<S: Read + Write>(stream: &mut Slow<S>) -> Vec<u8> {
    loop {
        match read_frame(stream) {
            (0x89, payload) => stream.write_all(&masked(0x8A, &payload)).unwrap(),
            (first, payload) => {
                assert!(matches!(first, 0x81 | 0x82), "{first:#x}");
                return payload;
            }
        }
    }
}

// ---- a slow peer ----

fn echo_slowly<S: Read + Write>(open: impl FnOnce() -> Slow<S>, told: &Told) {
    let sent = noise(LEN);
    let frame = masked(0x82, &sent);
    let mut stream = open();
    stream.write_all(&frame).unwrap();
    assert!(message(&mut stream) == sent);
    close(&mut stream, told);
}

#[test]
fn open_slow_peer_gets_all_of_a_long_echo() {
    let told = Told::new();
    let server = start(builder(), told.clone());
    echo_slowly(|| open(&server), &told);
}

#[cfg(feature = "tls")]
#[test]
fn wss_slow_peer_gets_all_of_a_long_echo() {
    use motews_std::rustls::pki_types::ServerName;
    use motews_std::rustls::{ClientConnection, StreamOwned};

    let (server_config, client_config) = tls_support::configs();
    let told = Told::new();
    let server = start(builder().tls(server_config), told.clone());
    let name = ServerName::try_from("localhost").unwrap();
    let connection = ClientConnection::new(client_config, name).unwrap();
    let stream = StreamOwned::new(connection, socket(&server));
    echo_slowly(|| open_over(stream, support::REQUEST), &told);
}

#[cfg(feature = "deflate")]
#[test]
fn open_slow_peer_with_compression_gets_all_of_a_long_answer() {
    let told = Told::new();
    let builder = builder().deflate(motews_std::DeflateConfig::default());
    let server = start(builder, told.clone());
    let mut client = motews_std::Connector::new()
        .deflate(motews_std::DeflateConfig::default())
        .timeouts(Timeouts::NONE)
        .connect_over(Slow::new(socket(&server)), &server.url())
        .unwrap();
    client.send("text").unwrap();
    assert!(client.recv().unwrap() == Some(text().into()));
    let received = client.traffic().unwrap().received;
    assert!(received.wire < received.plain, "{received:?}");
    client.close(CloseCode::NORMAL, "").unwrap();
    assert!(client.closed().unwrap().is_clean());
    assert!(told.ended().is_clean(), "{}", told.ended());
}

#[test]
fn open_slow_member_gets_all_of_what_a_hub_sends() {
    let told = Told::new();
    let server = start(builder(), told.clone());
    let mut stream = open(&server);
    for _ in 0..2 {
        stream.write_all(&masked(0x81, b"broadcast")).unwrap();
        assert!(message(&mut stream) == noise(LEN));
    }
    close(&mut stream, &told);
}

#[test]
fn open_slow_peer_whose_kernel_has_taken_all_is_not_taken_for_dead() {
    let told = Told::new();
    let server = start(Server::builder().timeouts(TIMEOUTS), told.clone());
    let sent = noise(LEN);
    let frame = masked(0x82, &sent);
    // Its buffers are those of the operating system's choice.
    let mut stream = Slow::new(server.open());
    stream.write_all(&frame).unwrap();
    // The ping lies behind all of that.
    assert!(message(&mut stream) == sent);
    stream.write_all(&masked(0x81, b"alive")).unwrap();
    assert_eq!(message(&mut stream), b"alive");
    close(&mut stream, &told);
}

#[test]
fn open_slow_peer_is_not_idle_while_bytes_flow() {
    let told = Told::new();
    let timeouts = Timeouts {
        idle: Some(300),
        keepalive: None,
        max_grace: 1_500,
        ..TIMEOUTS
    };
    let server = start(builder().timeouts(timeouts), told.clone());
    let mut stream = open(&server);
    let sent = noise(LEN);
    stream.write_all(&masked(0x82, &sent)).unwrap();
    assert!(message(&mut stream) == sent);
    // Then it is.
    assert_eq!(read_until_close(&mut stream, |_| ()), 1001);
    stream
        .write_all(&masked(0x88, &1001_u16.to_be_bytes()))
        .unwrap();
    assert!(told.ended().is_clean());
}

#[test]
fn request_for_a_page_that_is_read_slowly_gets_all_of_it() {
    let server = start(builder(), Told::new());
    let mut stream = socket(&server);
    stream
        .write_all(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        .unwrap();
    assert!(read_head(&mut stream).starts_with("HTTP/1.1 200 "));
    let mut stream = Slow::new(stream);
    let mut page = vec![0; LEN];
    stream.read_exact(&mut page).unwrap();
    assert!(page == noise(LEN));
    assert_eq!(read_to_end(&mut stream), b"");
}

#[test]
fn open_idle_time_that_passes_while_messages_of_others_wait_loses_none_of_them() {
    let timeouts = Timeouts {
        idle: Some(100),
        min_rate: FAST,
        ..Timeouts::NONE
    };
    let (sender, senders) = mpsc::channel();
    let server = start(builder().timeouts(timeouts), Sends(sender));
    let mut stream = open(&server);
    let sender = senders.recv_timeout(PATIENCE).unwrap();
    // The kernel takes a part of the first one, so the second one is not begun. It is short enough
    // for the peer to be read.
    sender.send(noise(LEN / 2)).unwrap();
    sender.try_send("behind it").unwrap();
    // Nothing moves for longer than the idle time.
    std::thread::sleep(Duration::from_millis(300));
    assert!(message(&mut stream) == noise(LEN / 2));
    assert_eq!(message(&mut stream), b"behind it");
    assert_eq!(read_until_close(&mut stream, |_| ()), 1001);
}

/// Gives its senders away, and takes what comes.
struct Sends(mpsc::Sender<PeerSender>);

impl Handler for Sends {
    type Data = ();

    fn on_open(&mut self, peer: &mut Peer, _: &Request) -> Result<(), SendError> {
        self.0.send(peer.sender()).unwrap();
        Ok(())
    }

    fn on_message(&mut self, _: &mut Peer, _: MessageRef) -> Result<(), SendError> {
        Ok(())
    }
}

/// Holds up the loop for `idle`, which is the idle time, and awaits an answer to each message that came
/// meanwhile. If peers may have been idle for too long before that, on a machine that is busy, returns how
/// long it took.
fn hold_up(idle: Duration) -> Result<(), Duration> {
    // More than the events that the loop takes at once.
    const PEERS: usize = 1_100;
    let timeouts = Timeouts {
        idle: Some(idle.as_millis() as u32),
        ..Timeouts::NONE
    };
    let (held, is_held) = mpsc::channel();
    let (goes_on, go_on) = mpsc::channel::<()>();
    let server = start(
        Server::builder().timeouts(timeouts),
        move |peer: &mut Peer, message: MessageRef| {
            if message.as_bytes() == b"hold" {
                let _ = held.send(());
                let _ = go_on.recv();
            }
            peer.send(message)
        },
    );
    let begun = Instant::now();
    let mut peers: Vec<_> = (0..PEERS).map(|_| server.open()).collect();
    // Before it has sent, the first may be closed, and then nobody holds up the loop.
    if begun.elapsed() < idle && peers[0].write_all(&masked(0x81, b"hold")).is_ok() {
        let _ = is_held.recv_timeout(idle);
    }
    let took = begun.elapsed();
    if took >= idle {
        return Err(took);
    }
    for peer in &mut peers {
        peer.write_all(&masked(0x81, b"here")).unwrap();
    }
    std::thread::sleep(idle);
    goes_on.send(()).unwrap();
    assert_eq!(read_frame(&mut peers[0]), (0x81, b"hold".to_vec()));
    for (n, peer) in peers.iter_mut().enumerate() {
        assert_eq!(read_frame(peer), (0x81, b"here".to_vec()), "{n}");
    }
    Ok(())
}

#[test]
fn loop_that_is_held_up_for_longer_than_the_idle_time_closes_nobody_who_has_sent() {
    let mut idle = Duration::from_secs(1);
    while let Err(took) = hold_up(idle) {
        assert!(took < PATIENCE, "they never open in time");
        idle = 2 * took;
    }
}

// ---- closing ----

/// Reads all of what was queued, and the Close, while it sends a word now and then.
fn read_many(stream: &mut Slow<TcpStream>) -> u16 {
    let mut writer = stream.stream.try_clone().unwrap();
    let mut count = 0;
    let code = read_until_close(stream, |payload| {
        assert!(payload == vec![count as u8; 1000], "{count}");
        count += 1;
        if count % 100 == 0 {
            writer.write_all(&masked(0x81, b"word")).unwrap();
        }
    });
    assert_eq!(count, LEN / 1000);
    code
}

/// The limits with which [`LEN`] may wait.
const ROOMY: ServerLimits = ServerLimits {
    connections: 100,
    head: 64 * 1024,
    headers: 128,
    message: 16 << 20,
    backlog: 4 * LEN,
};

#[test]
fn closing_slow_peer_that_sends_gets_all_that_was_accepted_and_then_the_close() {
    let told = Told::new();
    let server = start(builder().limits(ROOMY), told.clone());
    let mut stream = open(&server);
    stream
        .write_all(&masked(0x81, b"many, then close"))
        .unwrap();
    assert_eq!(read_many(&mut stream), 4000);
    // What comes late is dropped, and destroys nothing.
    stream.write_all(&masked(0x81, b"late")).unwrap();
    stream
        .write_all(&masked(0x88, &4000_u16.to_be_bytes()))
        .unwrap();
    assert_eq!(read_to_end(&mut stream), b"");
    assert!(told.ended().is_clean(), "{}", told.ended());
}

#[test]
fn shutdown_gives_a_slow_peer_the_time_that_was_given() {
    let told = Told::new();
    let server = start(builder().limits(ROOMY), told.clone());
    let mut stream = open(&server);
    stream.write_all(&masked(0x81, b"many")).unwrap();
    let (first, _) = read_frame(&mut &stream.stream);
    assert_eq!(first, 0x82);
    server.handle.shutdown(PATIENCE);
    let mut count = 1;
    let code = read_until_close(&mut stream, |payload| {
        assert!(payload == vec![count as u8; 1000], "{count}");
        count += 1;
    });
    assert_eq!((code, count), (1001, LEN / 1000));
    stream
        .write_all(&masked(0x88, &1001_u16.to_be_bytes()))
        .unwrap();
    assert_eq!(read_to_end(&mut stream), b"");
    assert!(told.ended().is_clean(), "{}", told.ended());
    server.join().unwrap();
}

#[test]
fn shutdown_ends_at_its_time_for_a_peer_that_reads_too_slowly_for_it() {
    let told = Told::new();
    let server = start(builder().limits(ROOMY), told.clone());
    let mut stream = open(&server);
    stream.write_all(&masked(0x81, b"many")).unwrap();
    assert_eq!(read_frame(&mut &stream.stream).0, 0x82);
    let begun = Instant::now();
    server.handle.shutdown(Duration::from_millis(200));
    server.join().unwrap();
    assert!(begun.elapsed() >= Duration::from_millis(200));
    assert!(begun.elapsed() < PATIENCE);
    assert_eq!(told.ended(), Ended::TimedOut(Deadline::Close));
}

// ---- a peer that does not read ----

#[test]
fn open_peer_that_reads_nothing_ends_when_what_it_took_is_paid_for() {
    // It cannot buy more than `max_grace`.
    let timeouts = Timeouts {
        write: Some(200),
        min_rate: 1,
        max_grace: 400,
        ..Timeouts::NONE
    };
    for closes in [false, true] {
        let told = Told::new();
        let server = start(builder().limits(ROOMY).timeouts(timeouts), told.clone());
        let mut stream = open(&server);
        let text: &[u8] = if closes { b"many, then close" } else { b"many" };
        let begun = Instant::now();
        stream.write_all(&masked(0x81, text)).unwrap();
        assert_eq!(told.ended(), Ended::TimedOut(Deadline::Write));
        assert!(begun.elapsed() >= Duration::from_millis(600));
        // Not the 300 s that the defaults give.
        assert!(begun.elapsed() < PATIENCE);
        drop(stream);
    }
}

#[test]
fn closing_peer_that_reads_the_close_and_does_not_answer_ends_in_its_time() {
    let told = Told::new();
    let timeouts = Timeouts {
        close: Some(200),
        // So it has the time to read what is hidden in the kernel.
        min_rate: 1,
        max_grace: 1_500,
        ..Timeouts::NONE
    };
    let server = start(builder().limits(ROOMY).timeouts(timeouts), told.clone());
    let mut stream = open(&server);
    stream
        .write_all(&masked(0x81, b"many, then close"))
        .unwrap();
    assert_eq!(read_many(&mut stream), 4000);
    assert_eq!(told.ended(), Ended::TimedOut(Deadline::Close));
}

#[test]
fn draining_peer_that_does_not_end_tcp_is_dropped_in_time() {
    let told = Told::new();
    let server = start(builder(), told.clone());
    let mut stream = open(&server);
    stream
        .write_all(&masked(0x88, &1000_u16.to_be_bytes()))
        .unwrap();
    assert_eq!(read_frame(&mut stream).0, 0x88);
    assert!(told.ended().is_clean());
    // It keeps its half open, and sends.
    until("it is dropped", || {
        let _ = stream.write_all(b"more");
        server.handle.connections() == 0
    });
}

// ---- what is hidden below ----

#[cfg(target_os = "linux")]
#[test]
fn open_peer_that_does_not_read_has_little_hidden_in_the_kernel() {
    const MANY: usize = 8 << 20;
    let waiting = Arc::new(Mutex::new(0));
    let seen = waiting.clone();
    let handler = move |peer: &mut Peer, message: MessageRef| {
        if message.as_bytes().is_empty() {
            peer.send(noise(MANY))?;
        }
        *seen.lock().unwrap() = peer.buffered_amount();
        Ok(())
    };
    // With the buffers of the operating system's choice: it would take 4 MiB and more.
    let server = start(Server::builder(), handler);
    let mut stream = socket(&server);
    stream.write_all(support::REQUEST).unwrap();
    read_head(&mut stream);
    stream.write_all(&masked(0x81, b"")).unwrap();
    until("it is sent", || *waiting.lock().unwrap() > 0);
    let waits = *waiting.lock().unwrap();
    assert!(waits > MANY - (1 << 20), "{waits}");
}
