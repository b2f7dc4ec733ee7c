//! Reads one head of the opening handshake after the other, as each adapter does, for an instruction
//! counter: `head_work ADAPTER ROLE TIMES lines|line SIZE`. Prints the bytes of one head.
//!
//! The head has SIZE header lines, one a segment, or one line of SIZE bytes in segments of 1,460.
//! `tests/head_work.rs` runs it under callgrind.

use core::time::Duration;
use std::io::{Read, Write};
use std::net::TcpStream;

use motews::handshake::{
    ClientHandshake, HandshakeError, Key, Offers, Request, RequestEvent, ServerHandshake,
};
use motews::{Ended, Entropy, EntropyError, Limits, Timeouts};
use motews_embedded_io::{Buffers, blocking};
use motews_smoltcp::{ClientEvent, ClientSocket, ServerEvent, ServerSocket};
use motews_std::{AcceptError, Acceptor, ConnectError, Connector, Plain, Server, ServerLimits};
use motews_testkit::head::Head;
use motews_testkit::transport::Script;
use smoltcp::iface::{Interface, SocketSet};
use smoltcp::phy::{Loopback, Medium};
use smoltcp::socket::tcp::{Socket, SocketBuffer};
use smoltcp::time::{Duration as NetDuration, Instant};
use smoltcp::wire::{HardwareAddress, IpAddress, IpCidr};

/// As high as they go.
const LIMITS: Limits = Limits {
    head: 4 << 20,
    headers: u16::MAX,
    ..Limits::DEFAULT
};
/// A counter of instructions is slow.
const TIMEOUTS: Timeouts = Timeouts {
    handshake: None,
    ..Timeouts::DEFAULT
};
/// What a segment carries, in bytes.
const SEGMENT: usize = 1460;

struct Zeros;

impl Entropy for Zeros {
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), EntropyError> {
        bytes.fill(0);
        Ok(())
    }
}

fn segments(role: &str, shape: &str, size: usize) -> Vec<Vec<u8>> {
    let head = match role {
        "server" => Head::request().to_bytes(),
        // It is read to its end like any other, and no key has to be known for it.
        _ => b"HTTP/1.1 404 \r\n\r\n".to_vec(),
    };
    let start = head.strip_suffix(b"\r\n").expect("a blank line").to_vec();
    let middle: Vec<_> = match shape {
        "lines" => (0..size)
            .map(|number| format!("X-{number:05}: {}\r\n", "y".repeat(24)).into_bytes())
            .collect(),
        _ => format!("X-Long: {}\r\n", "y".repeat(size))
            .as_bytes()
            .chunks(SEGMENT)
            .map(<[u8]>::to_vec)
            .collect(),
    };
    [start]
        .into_iter()
        .chain(middle)
        .chain([b"\r\n".to_vec()])
        .collect()
}

// ---- the core ----

fn core_server(segments: &[Vec<u8>]) {
    let mut handshake = ServerHandshake::with_limits([0; 256], LIMITS);
    for segment in segments {
        let mut input = &segment[..];
        while let Some(event) = handshake
            .next_event(&mut input, &Offers::new())
            .expect("right")
        {
            core::hint::black_box(&event);
        }
    }
    assert!(handshake.is_done());
}

fn core_client(segments: &[Vec<u8>]) {
    let key = Key::new(&mut Zeros).expect("never fails");
    let mut handshake = ClientHandshake::with_limits(&key, [0; 256], LIMITS);
    for segment in segments {
        let mut input = &segment[..];
        loop {
            match handshake.next_event(&mut input, &Offers::new()) {
                Ok(None) => break,
                Ok(event) => drop(core::hint::black_box(event)),
                Err(error) => return assert_eq!(error, HandshakeError::UnexpectedStatus(404)),
            }
        }
    }
    panic!("the head has an end");
}

// ---- embedded-io ----

static EMBEDDED: motews_embedded_io::Config<'static> = motews_embedded_io::Config {
    limits: LIMITS,
    ..motews_embedded_io::Config::DEFAULT
};

fn embedded_server(segments: &[Vec<u8>]) {
    let script = Script::of_reads(segments);
    let (mut receive, mut transmit) = ([0; 256], [0; 512]);
    let buffers = Buffers {
        receive: &mut receive,
        transmit: &mut transmit,
    };
    let socket = blocking::WebSocket::server(script, buffers).expect("room");
    socket.with_config(&EMBEDDED).accept().expect("right");
}

fn embedded_client(segments: &[Vec<u8>]) {
    let request = Request::new("h", "/").expect("right");
    let script = Script::of_reads(segments);
    let (mut receive, mut transmit) = ([0; 256], [0; 512]);
    let buffers = Buffers {
        receive: &mut receive,
        transmit: &mut transmit,
    };
    let socket = blocking::WebSocket::client(script, buffers, request, Zeros);
    let result = socket.expect("room").with_config(&EMBEDDED).connect();
    let refused = motews_embedded_io::Error::Ended(Ended::Refused(404));
    assert_eq!(result, Err(refused));
}

// ---- smoltcp ----

/// Two sockets on one interface: the second says the segments, each when the one before has been read.
/// `poll` drives the first, and returns whether the head was read.
fn over_smoltcp(
    is_server: bool,
    segments: &[Vec<u8>],
    mut poll: impl FnMut(&mut Socket<'_>, Instant) -> bool,
) {
    let mut device = Loopback::new(Medium::Ip);
    let mut interface = {
        let config = smoltcp::iface::Config::new(HardwareAddress::Ip);
        Interface::new(config, &mut device, Instant::ZERO)
    };
    let address = IpAddress::v4(127, 0, 0, 1);
    interface.update_ip_addrs(|addresses| {
        addresses
            .push(IpCidr::new(address, 8))
            .expect("room for one");
    });
    let mut sockets = SocketSet::new(Vec::new());
    let [one, other] = [(); 2].map(|()| {
        let ring = || SocketBuffer::new(vec![0; 2048]);
        let mut socket = Socket::new(ring(), ring());
        socket.set_ack_delay(None);
        sockets.add(socket)
    });
    let (listener, caller) = if is_server {
        (one, other)
    } else {
        (other, one)
    };
    let listening = sockets.get_mut::<Socket<'_>>(listener).listen(80);
    listening.expect("a free port");
    let calling = sockets.get_mut::<Socket<'_>>(caller);
    let calling = calling.connect(interface.context(), (address, 80), 49_152);
    calling.expect("a route");

    let mut now = Instant::ZERO;
    let mut segments = segments.iter();
    while !poll(sockets.get_mut(one), now) {
        let far = sockets.get_mut::<Socket<'_>>(other);
        while far.can_recv() {
            far.recv(|bytes| (bytes.len(), ()))
                .expect("there is something");
        }
        if far.send_queue() == 0 && far.may_send() {
            match segments.next() {
                Some(segment) => assert_eq!(far.send_slice(segment), Ok(segment.len())),
                None => far.close(),
            }
        }
        interface.poll(now, &mut device, &mut sockets);
        now += NetDuration::from_micros(100);
    }
}

static SMOLTCP: motews_smoltcp::Config<'static> = motews_smoltcp::Config {
    limits: LIMITS,
    timeouts: TIMEOUTS,
    ..motews_smoltcp::Config::DEFAULT
};

fn smoltcp_server(segments: &[Vec<u8>]) {
    let mut server: ServerSocket<'_> = ServerSocket::new(&SMOLTCP);
    over_smoltcp(true, segments, |socket, now| {
        while let Some(event) = server.poll(socket, now, 0) {
            match event {
                ServerEvent::Request(RequestEvent::Done(_)) => return true,
                ServerEvent::Request(event) => drop(core::hint::black_box(event)),
                other => panic!("{other:?}"),
            }
        }
        false
    });
}

fn smoltcp_client(segments: &[Vec<u8>]) {
    let request = Request::new("h", "/").expect("right");
    let mut client: ClientSocket<'_, _> =
        ClientSocket::new(&SMOLTCP, request, Zeros, Instant::ZERO).expect("a key");
    over_smoltcp(false, segments, |socket, now| {
        while let Some(event) = client.poll(socket, now, 0) {
            match event {
                ClientEvent::Ended(ended) => {
                    assert_eq!(ended, Ended::Refused(404));
                    return true;
                }
                event => drop(core::hint::black_box(event)),
            }
        }
        false
    });
}

// ---- std ----

fn blocking_server(segments: &[Vec<u8>]) {
    let stream = Plain(Script::of_reads(segments));
    let acceptor = Acceptor::new().limits(LIMITS);
    let accepted = acceptor.accept_with(stream, |_| motews_std::Response::new(404));
    assert!(
        matches!(accepted, Err(AcceptError::Answered(404))),
        "{accepted:?}"
    );
}

fn blocking_client(segments: &[Vec<u8>]) {
    let stream = Plain(Script::of_reads(segments));
    let connected = Connector::new()
        .limits(LIMITS)
        .connect_over(stream, "ws://h/");
    assert!(
        matches!(connected, Err(ConnectError::Refused(_))),
        "{connected:?}"
    );
}

/// The event-driven server, over loopback; all connections of one server.
fn event_server(segments: &[Vec<u8>], times: usize) {
    let server = Server::builder()
        .limits(ServerLimits {
            head: LIMITS.head,
            headers: LIMITS.headers,
            ..ServerLimits::DEFAULT
        })
        .timeouts(Timeouts {
            handshake: TIMEOUTS.handshake,
            ..Timeouts::SERVER
        })
        .bind("127.0.0.1:0")
        .expect("a free port");
    let (address, handle) = (server.local_addr(), server.handle());
    let server = std::thread::spawn(move || {
        server
            .run(|peer: &mut motews_std::Peer<'_>, message: motews::Message<'_>| peer.send(message))
    });
    for _ in 0..times {
        let mut stream = TcpStream::connect(address).expect("it listens");
        stream.set_nodelay(true).expect("TCP");
        for segment in segments {
            stream.write_all(segment).expect("it reads");
            std::thread::yield_now();
        }
        let mut response = [0; 12];
        stream.read_exact(&mut response).expect("it answers");
        assert_eq!(&response, b"HTTP/1.1 101");
    }
    handle.shutdown(Duration::ZERO);
    server.join().expect("no panic").expect("no error");
}

fn main() {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    let [adapter, role, times, shape, size] = arguments[..] else {
        panic!("head_work ADAPTER ROLE TIMES lines|line SIZE");
    };
    let number = |text: &str| text.parse().expect("a number");
    let segments = segments(role, shape, number(size));
    println!("{}", segments.concat().len());
    let read: fn(&[Vec<u8>]) = match (adapter, role) {
        ("core", "server") => core_server,
        ("core", "client") => core_client,
        ("embedded-io", "server") => embedded_server,
        ("embedded-io", "client") => embedded_client,
        ("smoltcp", "server") => smoltcp_server,
        ("smoltcp", "client") => smoltcp_client,
        ("std-blocking", "server") => blocking_server,
        ("std-blocking", "client") => blocking_client,
        ("std-server", "server") => return event_server(&segments, number(times)),
        other => panic!("no such adapter and role: {other:?}"),
    };
    for _ in 0..number(times) {
        read(&segments);
    }
}
