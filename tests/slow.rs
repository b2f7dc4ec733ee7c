//! Honest peers that read slowly lose nothing, for as long as it takes; peers that read nothing, or are
//! gone without a word, end when the documentation says so. All over real sockets, with nothing in
//! between that belongs to motews: the peers are made by hand.

use core::net::{Ipv4Addr, SocketAddr};
use core::time::Duration;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex, mpsc};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use motews_std::{
    CloseCode, Deadline, Ended, Handler, Hub, Membership, MessageRef, Peer, Request, SendError,
    Server, ServerBuilder, ServerHandle, ServerLimits, SlowPolicy, Timeouts,
};
use motews_testkit::frame::{self, Frame};
use motews_testkit::head;
use motews_tests::deflate::Inflater;
use motews_tests::namespace::{BOARD, Namespace};
use motews_tests::raw::{REQUEST, RawPeer, request_with_deflate};
use motews_tests::{ServerProcess, example_with};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, StreamOwned};

/// How fast a slow peer reads, in bytes per second.
const RATE: u64 = 20_000;

/// How much it is sent: for three and a half minutes.
const LEN: usize = 4 << 20;

/// The length of each message that is pushed. There are [`LEN`] bytes of them.
const PART: usize = 32 << 10;

/// The masking key of all that a peer sends.
const KEY: Option<[u8; 4]> = Some([1, 2, 3, 4]);

// ---- the peers ----

/// A stream that is read slowly.
struct Slow<S> {
    stream: S,
    start: Option<Instant>,
    taken: u64,
}

impl<S> Slow<S> {
    const fn new(stream: S) -> Self {
        Self {
            stream,
            start: None,
            taken: 0,
        }
    }
}

impl<S: Read> Read for Slow<S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let due = Duration::from_micros(self.taken * 1_000_000 / RATE);
        let start = *self.start.get_or_insert_with(Instant::now);
        thread::sleep(due.saturating_sub(start.elapsed()));
        let len = buffer.len().min(4096);
        let len = self.stream.read(&mut buffer[..len])?;
        self.taken += len as u64;
        Ok(len)
    }
}

impl<S: Write> Write for Slow<S> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

/// Bytes that no compression makes smaller than three quarters.
fn noise(number: usize, len: usize) -> Vec<u8> {
    let mut state = number as u64 ^ 0x9E37_79B9_7F4A_7C15;
    (0..len)
        .map(|_| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 58) as u8
        })
        .collect()
}

/// Reads all parts that are pushed, answers pings, and returns the Close's code.
fn read_parts<S: Read + Write>(
    stream: &mut S,
    mut inflater: Option<Inflater>,
) -> Result<u16, String> {
    let mut number = 0;
    loop {
        let frame = Frame::read(stream);
        let (frame, key) = frame.map_err(|error| format!("after {number} parts: {error}"))?;
        assert_eq!(key, None, "a server masks nothing");
        let payload = match (frame.first, &mut inflater) {
            (0x89, _) => {
                let pong = frame::pong(&frame.payload).encode(KEY);
                stream.write_all(&pong).map_err(|error| error.to_string())?;
                continue;
            }
            (0x88, _) => {
                let parts = LEN / PART;
                if number != parts {
                    return Err(format!("{number} of {parts} parts, and then a Close"));
                }
                return Ok(frame.close_code().unwrap_or(1005));
            }
            (0x82, _) => frame.payload,
            (0xC2, Some(inflater)) => inflater.message(&frame.payload, PART),
            (first, _) => return Err(format!("part {number} is {first:x}")),
        };
        if payload != noise(number, PART) {
            return Err(format!("part {number} is another"));
        }
        number += 1;
    }
}

// ---- the server ----

/// Does what the path of the request says.
#[derive(Clone)]
struct Pusher {
    ends: Arc<Mutex<mpsc::Sender<(SocketAddr, Ended)>>>,
}

impl Handler for Pusher {
    type Data = Option<Membership>;

    fn on_open(&mut self, peer: &mut Peer<'_>, request: &Request) -> Result<Self::Data, SendError> {
        match request.path() {
            // From another thread, then a Close behind it.
            "/sender" => {
                let sender = peer.sender();
                thread::spawn(move || {
                    for number in 0..LEN / PART {
                        sender.send(noise(number, PART))?;
                    }
                    sender.close(CloseCode::NORMAL, "all")
                });
                Ok(None)
            }
            "/hub" => {
                let hub = Hub::new(SlowPolicy::DropNewest);
                let membership = hub.join(&peer.sender());
                for number in 0..LEN / PART {
                    hub.broadcast(noise(number, PART));
                }
                peer.close(CloseCode::NORMAL, "all")?;
                Ok(Some(membership))
            }
            "/nothing" => Ok(None),
            "/some" => peer.send(noise(0, 1_000)).map(|()| None),
            // From the handler itself.
            path => {
                for number in 0..LEN / PART {
                    peer.send(noise(number, PART))?;
                }
                match path {
                    "/kept" => Ok(None),
                    _ => peer.close(CloseCode::NORMAL, "all").map(|()| None),
                }
            }
        }
    }

    fn on_message(
        &mut self,
        peer: &mut Peer<'_, Self::Data>,
        message: MessageRef<'_>,
    ) -> Result<(), SendError> {
        peer.send(message)
    }

    fn on_close(&mut self, peer: &mut Peer<'_, Self::Data>, ended: Ended) {
        let ends = self.ends.lock().expect("no holder panics");
        _ = ends.send((peer.address(), ended));
    }
}

struct Running {
    address: SocketAddr,
    handle: ServerHandle,
    ends: mpsc::Receiver<(SocketAddr, Ended)>,
    thread: JoinHandle<io::Result<()>>,
}

fn serve(builder: ServerBuilder) -> Running {
    run(builder
        .limits(ServerLimits {
            backlog: 2 * LEN,
            ..ServerLimits::DEFAULT
        })
        .bind("127.0.0.1:0")
        .expect("a port is free"))
}

fn run(server: Server) -> Running {
    let (address, handle) = (server.local_addr(), server.handle());
    let (sender, ends) = mpsc::channel();
    let ends_at = Arc::new(Mutex::new(sender));
    let thread = thread::spawn(move || server.run(Pusher { ends: ends_at }));
    Running {
        address,
        handle,
        ends,
        thread,
    }
}

fn request(path: &str, deflate: bool) -> Vec<u8> {
    let request = match deflate {
        true => request_with_deflate(""),
        false => REQUEST.to_vec(),
    };
    let request = String::from_utf8(request).expect("it is ASCII");
    let (_, rest) = request.split_once(" HTTP/").expect("it has a request line");
    format!("GET {path} HTTP/{rest}").into_bytes()
}

/// A slow peer, from its request to the end: the code of the server's Close.
fn read_slowly<S: Read + Write>(stream: S, path: &str) -> Result<u16, String> {
    read_by_path(&mut Slow::new(stream), path).map_err(|error| format!("{path}: {error}"))
}

fn read_by_path<S: Read + Write>(stream: &mut Slow<S>, path: &str) -> Result<u16, String> {
    let text = |error: io::Error| error.to_string();
    let deflate = path == "/deflate";
    stream.write_all(&request(path, deflate)).map_err(text)?;
    let head = head::read(stream);
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    if path != "/nothing" {
        let code = read_parts(stream, deflate.then(|| Inflater::new(15)))?;
        let close = frame::close(code, "").encode(KEY);
        stream.write_all(&close).map_err(text)?;
        return Ok(code);
    }
    // An echo of one message, which the peer sends before it reads.
    let message: Vec<u8> = (0..LEN / PART)
        .flat_map(|number| noise(number, PART))
        .collect();
    stream
        .write_all(&frame::binary(&message).encode(KEY))
        .map_err(text)?;
    let (echo, _) = Frame::read(stream).map_err(text)?;
    assert!(
        (echo.first, &echo.payload) == (0x82, &message),
        "the echo is another: {:x}, {} bytes",
        echo.first,
        echo.payload.len()
    );
    stream
        .write_all(&frame::close(1000, "").encode(KEY))
        .map_err(text)?;
    read_close(stream)
}

/// Reads the server's Close, and its pings before that.
fn read_close(stream: &mut impl Read) -> Result<u16, String> {
    loop {
        let (frame, _) = Frame::read(stream).map_err(|error| error.to_string())?;
        match frame.first {
            0x89 => {}
            0x88 => return Ok(frame.close_code().unwrap_or(1005)),
            first => return Err(format!("{first:x} for a Close")),
        }
    }
}

/// A TCP connection with a receive buffer of this size.
fn connect(address: SocketAddr, buffer: Option<usize>) -> TcpStream {
    let peer = RawPeer::connect_from(Ipv4Addr::LOCALHOST, buffer, address);
    let stream = peer.expect("the server listens").stream;
    stream
        .set_read_timeout(Some(Duration::from_secs(60)))
        .expect("a time that is none of zero");
    stream
}

/// A small receive buffer, in bytes.
const SMALL: Option<usize> = Some(8 << 10);

/// The server's TLS configuration, and that of a client that trusts it.
fn tls() -> (Arc<ServerConfig>, Arc<ClientConfig>) {
    let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]);
    let certified = certified.expect("a certificate");
    let certificate = certified.cert.der().clone();
    let key = PrivatePkcs8KeyDer::from(certified.signing_key.serialize_der());
    let server = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], key.into());
    let mut roots = RootCertStore::empty();
    roots.add(certificate).expect("it is a root");
    let client = ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    (Arc::new(server.expect("they fit")), Arc::new(client))
}

/// A blocking server for one peer.
fn serve_blocking(len: usize) -> (SocketAddr, JoinHandle<Ended>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = listener.local_addr().expect("it listens");
    let thread = thread::spawn(move || {
        let (stream, _) = listener.accept().expect("a peer comes");
        let mut websocket = motews_std::accept(stream).expect("it upgrades");
        for number in 0..len / PART {
            websocket
                .send(noise(number, PART).as_slice())
                .expect("the peer reads");
        }
        websocket
            .close(CloseCode::NORMAL, "all")
            .expect("it may close");
        websocket.closed().expect("a blocking stream")
    });
    (address, thread)
}

#[test]
#[ignore = "takes four minutes: 4 MiB at 20 KB/s, to sixteen peers at once"]
fn slow_readers_lose_nothing() {
    let (server_config, client_config) = tls();
    let large = serve(Server::builder());
    let small = serve(Server::builder().send_buffer(16 << 10));
    let deflate = serve(Server::builder().deflate(Default::default()));
    let tls = serve(Server::builder().tls(server_config));
    let down = serve(Server::builder());

    let mut readers = Vec::new();
    let mut read = |name: String, run: Box<dyn FnOnce() -> Result<u16, String> + Send>| {
        readers.push((name, thread::spawn(run)));
    };
    for (name, server) in [("large", &large), ("small", &small)] {
        let address = server.address;
        for buffer in [None, SMALL] {
            for path in ["/sender", "/hub", "/handler", "/nothing"] {
                let name = format!("{path}, {name} send buffer, receive buffer {buffer:?}");
                read(
                    name,
                    Box::new(move || read_slowly(connect(address, buffer), path)),
                );
            }
        }
    }
    let address = deflate.address;
    read(
        "/deflate".into(),
        Box::new(move || read_slowly(connect(address, None), "/deflate")),
    );
    for path in ["/sender", "/handler", "/nothing"] {
        let (address, config) = (tls.address, client_config.clone());
        let run = move || {
            let name = "localhost".try_into().expect("a name");
            let client = ClientConnection::new(config, name).expect("it fits");
            read_slowly(StreamOwned::new(client, connect(address, SMALL)), path)
        };
        read(format!("{path} over TLS"), Box::new(run));
    }
    let (address, blocking) = serve_blocking(LEN);
    read(
        "blocking".into(),
        Box::new(move || read_slowly(connect(address, None), "/")),
    );
    // What is queued when the server shuts down has the time that it was given.
    let (address, handle) = (down.address, down.handle.clone());
    let run = move || {
        let mut stream = Slow::new(connect(address, SMALL));
        stream
            .write_all(&request("/kept", false))
            .map_err(|error| error.to_string())?;
        let head = head::read(&mut stream);
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        handle.shutdown(Duration::from_secs(400));
        let code = read_parts(&mut stream, None)?;
        let close = frame::close(code, "").encode(KEY);
        stream
            .write_all(&close)
            .map_err(|error| error.to_string())?;
        Ok(code)
    };
    read("shutdown".into(), Box::new(run));

    // And one that is smoltcp's, whose ring holds 4 KiB.
    let namespace = Namespace::with_tap("slow");
    let board = board(&namespace);
    let address = board.address;
    let stream = inside(&namespace, || {
        TcpStream::connect(address).expect("it listens")
    });
    read(
        "smoltcp".into(),
        Box::new(move || read_echo_while_writing(stream)),
    );

    let mut failed = Vec::new();
    for (name, reader) in readers {
        let expected = if name == "shutdown" { 1001 } else { 1000 };
        match reader.join().expect("a reader does not panic") {
            Ok(code) if code == expected => {}
            other => failed.push(format!("{name}: {other:?}")),
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
    assert!(blocking.join().expect("it does not panic").is_clean());
    down.thread
        .join()
        .expect("it does not panic")
        .expect("it ends");
    for server in [large, small, deflate, tls] {
        server.handle.shutdown(Duration::from_secs(5));
        server
            .thread
            .join()
            .expect("it does not panic")
            .expect("it ends");
        // Each told its handler of a clean end.
        for (_, outcome) in server.ends {
            assert!(outcome.is_clean(), "{outcome:?}");
        }
    }
}

/// A peer that reads nothing ends at most `max_grace + write` after the transport took the last byte.
#[test]
#[ignore = "waits for deadlines in real time: six seconds"]
fn peer_that_reads_nothing_ends_at_the_stated_bound() {
    let timeouts = Timeouts {
        min_rate: 1_000_000,
        max_grace: 2_000,
        write: Some(2_000),
        ..Timeouts::SERVER
    };
    let server = serve(Server::builder().timeouts(timeouts));
    let mut stream = connect(server.address, SMALL);
    stream
        .write_all(&request("/handler", false))
        .expect("it is read");
    let start = Instant::now();
    let (_, outcome) = server
        .ends
        .recv_timeout(Duration::from_secs(20))
        .expect("it ends");
    let took = start.elapsed();
    assert_eq!(outcome, Ended::TimedOut(Deadline::Write));
    // Nothing is taken after the first moment; deadlines are looked at four times a second.
    let bound = Duration::from_millis(2_000 + 2_000 + 1_000);
    assert!(
        took >= Duration::from_secs(2) && took <= bound,
        "after {took:?}"
    );
    server.handle.shutdown(Duration::ZERO);
}

/// An echo on smoltcp, in a namespace with a TAP device.
fn board(namespace: &Namespace) -> ServerProcess {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let mut echo = namespace.command(example_with("motews-smoltcp", "deflate", "smoltcp_echo"));
    echo.args(["tap0", &format!("{BOARD}/24"), "9001"]);
    ServerProcess::start("slow-smoltcp", &mut echo, folder)
}

/// Does something in a namespace: sockets that are made there stay there.
fn inside<T: Send>(namespace: &Namespace, run: impl FnOnce() -> T + Send) -> T {
    let run = || {
        namespace.enter_thread();
        run()
    };
    thread::scope(|scope| scope.spawn(run).join().expect("it does not panic"))
}

/// An echo of one message, by a board that has no room for more than a part of it.
fn read_echo_while_writing(mut stream: TcpStream) -> Result<u16, String> {
    let text = |error: io::Error| error.to_string();
    stream.write_all(REQUEST).map_err(text)?;
    let head = head::read(&mut stream);
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    let message = noise(7, LEN);
    let mut writer = stream.try_clone().map_err(text)?;
    let bytes = frame::binary(&message).encode(KEY);
    let writing = thread::spawn(move || writer.write_all(&bytes));
    let mut slow = Slow::new(stream);
    let mut echo: Vec<u8> = Vec::new();
    loop {
        let (part, _) = Frame::read(&mut slow).map_err(text)?;
        match part.first {
            0x89 => {} // It is heard, for the message still comes.
            _ => echo.extend(&part.payload),
        }
        if part.first & 0x8F == 0x80 || part.first & 0x8F == 0x82 {
            break;
        }
    }
    assert!(echo == message, "the echo is another");
    writing.join().expect("it does not panic").map_err(text)?;
    slow.write_all(&frame::close(1000, "").encode(KEY))
        .map_err(text)?;
    read_close(&mut slow)
}

/// Peers that are gone without a FIN, as behind a cable that is pulled.
#[test]
#[ignore = "needs root: a network namespace at each end of a cable"]
fn peers_behind_a_pulled_cable_are_noticed_as_stated() {
    let ends = [Ipv4Addr::new(10, 8, 0, 1), Ipv4Addr::new(10, 8, 0, 2)];
    let [near, far] = Namespace::pair("cable", ends);
    let timeouts = Timeouts {
        keepalive: Some(1_000),
        pong: Some(1_000),
        ..Timeouts::SERVER
    };
    let builder = Server::builder().timeouts(timeouts);
    let server = inside(&near, || {
        builder.bind("10.8.0.1:0").expect("the address is there")
    });
    let server = run(server);
    // A silent one: a ping after a second, and a second for its pong. One that was sent 1,000 bytes,
    // which buy 7.9 s.
    let streams = ["/nothing", "/some"].map(|path| {
        let connect = || TcpStream::connect(server.address).expect("it listens");
        let mut stream = inside(&far, connect);
        stream.write_all(&request(path, false)).expect("it is read");
        let head = head::read(&mut stream);
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        let address = stream.local_addr().expect("it is connected");
        (stream, address, Instant::now())
    });
    far.ip(&["link", "set", "cable0", "down"]);
    // Deadlines are looked at eight times in the shortest; and the machine may be busy.
    let expected = [(2_000, 3_000), (8_900, 10_000)];
    for ((_, address, since), (least, most)) in streams.iter().zip(expected) {
        let (ended, outcome) = server
            .ends
            .recv_timeout(Duration::from_secs(20))
            .expect("it ends");
        let took = since.elapsed().as_millis();
        assert_eq!(
            (ended, outcome),
            (*address, Ended::TimedOut(Deadline::Pong))
        );
        assert!(
            took >= least && took <= most,
            "after {took} ms, not {least} to {most}"
        );
    }
    server.handle.shutdown(Duration::ZERO);
}
