//! `wss://`: rustls on both sides, with certificates made here. EX04

#[path = "support/records.rs"]
mod records;
mod support;
#[path = "support/tls.rs"]
mod tls_support;

use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use core::time::Duration;
use std::io::{self, IoSlice, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Instant;

use motews_std::Share as _;
use motews_std::role::Server;
use motews_std::rustls::{self, RootCertStore};
use motews_std::tls::TlsStream;
use motews_std::{
    AcceptError, Acceptor, CloseCode, ConnectError, Connector, Deadline, Ended, Interest, Message,
    Plain, Ready, Received, SendError, Timeouts, Transport, UrlError, WebSocket,
};
use motews_testkit::authority::Authority;
use motews_testkit::frame::{masked, unmasked};
use motews_testkit::head;
use records::{Records, Secret};
use support::{PATIENCE, QUICK, serve, tcp_pair};
use tls_support::configs;

type TlsServer = WebSocket<TlsStream<TcpStream>, Server>;

/// Connects to a server that does `f` with the accepted WebSocket.
fn session<T: Send + 'static>(
    f: impl FnOnce(TlsServer) -> T + Send + 'static,
) -> (WebSocket, std::thread::JoinHandle<T>) {
    let (server, client) = configs();
    let (addr, thread) = serve(move |stream| {
        f(motews_std::accept(TlsStream::server(stream, server).unwrap()).unwrap())
    });
    let url = format!("wss://localhost:{}/", addr.port());
    (Connector::new().tls(client).connect(&url).unwrap(), thread)
}

#[test]
fn wss_messages_pass_both_ways_and_it_closes_clean() {
    let (mut client, server) = session(|mut server| {
        while let Some(message) = server.recv().unwrap() {
            server.send(message).unwrap();
        }
        server.ended().unwrap()
    });
    for message in [
        Message::from("Hello"),
        Message::from(""),
        Message::from(vec![1; 16_384]),
        Message::from(vec![2; 300_000]),
    ] {
        client.send(&message).unwrap();
        assert_eq!(client.recv().unwrap(), Some(message));
    }
    assert!(support::close(&mut client, CloseCode::NORMAL, "").is_clean());
    assert!(server.join().unwrap().is_clean());
}

#[test]
fn wss_server_speaks_first() {
    let (mut client, server) = session(|mut server| {
        server.send("welcome").unwrap();
        server.recv().unwrap()
    });
    assert_eq!(client.recv().unwrap(), Some("welcome".into()));
    support::close(&mut client, CloseCode::NORMAL, "");
    assert_eq!(server.join().unwrap(), None);
}

/// MS07, over TLS, and both directions at once
#[test]
fn wss_threads_send_while_the_owner_receives() {
    let (mut client, server) = session(|mut server| {
        let sender = server.sender().unwrap();
        let threads: Vec<_> = (0..4_u8)
            .map(|thread| {
                let sender = sender.clone();
                std::thread::spawn(move || {
                    for n in 0..50 {
                        let len = if n % 10 == 0 { 100_000 } else { 10 };
                        sender.send(vec![thread; len]).unwrap();
                    }
                })
            })
            .collect();
        let received = server.messages().map(Result::unwrap).count();
        for thread in threads {
            thread.join().unwrap();
        }
        received
    });
    for _ in 0..200 {
        let bytes = client.recv().unwrap().unwrap().into_bytes();
        assert!(bytes.iter().all(|byte| *byte == bytes[0]));
        client.send(vec![9; 5000]).unwrap();
    }
    assert!(support::close(&mut client, CloseCode::NORMAL, "").is_clean());
    assert_eq!(server.join().unwrap(), 200);
}

#[test]
fn wss_receives_with_a_timeout_and_does_not_wait_for_nothing() {
    let (mut client, server) = session(|mut server| {
        server.recv().unwrap();
        server.send("one").unwrap();
        server.send("two").unwrap();
        server.recv().unwrap()
    });
    assert_eq!(client.try_recv().unwrap(), Received::Nothing);
    assert_eq!(client.pending(), 0);
    let start = Instant::now();
    let received = client.recv_timeout(Duration::from_millis(50)).unwrap();
    assert_eq!(received, Received::Nothing);
    assert!(start.elapsed() >= Duration::from_millis(49));
    client.send("go").unwrap();
    for text in ["one", "two"] {
        let received = client.recv_timeout(Duration::from_secs(5)).unwrap();
        assert_eq!(received, Received::Message(text.into()));
    }
    support::close(&mut client, CloseCode::NORMAL, "");
    assert_eq!(server.join().unwrap(), None);
}

/// HC04: a certificate that is not trusted, or for another name
#[test]
fn wss_untrusted_certificates_fail() {
    let (server, client) = configs();
    let (_, stranger) = configs();
    for (config, host) in [(stranger, "localhost"), (client, "127.0.0.1")] {
        let server = server.clone();
        let (addr, thread) = serve(move |stream| {
            let stream = TlsStream::server(stream, server).unwrap();
            motews_std::accept(stream).map(drop)
        });
        let url = format!("wss://{host}:{}/", addr.port());
        let error = Connector::new().tls(config).connect(&url).unwrap_err();
        match &error {
            ConnectError::Tls(rustls::Error::InvalidCertificate(_)) => {}
            other => panic!("{other:?}"),
        }
        assert!(error.to_string().starts_with("TLS: "), "{error}");
        assert!(matches!(thread.join().unwrap(), Err(AcceptError::Io(_))));
    }
}

#[test]
fn wss_to_a_plain_server_fails() {
    let (_, client) = configs();
    let (addr, thread) = serve(|stream| motews_std::accept(stream).map(drop));
    let url = format!("wss://localhost:{}/", addr.port());
    let result = Connector::new().tls(client).connect(&url);
    assert!(matches!(result, Err(ConnectError::Tls(_))), "{result:?}");
    thread.join().unwrap().unwrap_err();
}

/// HS22: the deadline covers TLS
#[test]
fn wss_silent_peers_time_out() {
    let (server, client) = configs();
    let (a, b) = tcp_pair();
    let quick = Acceptor::new().timeouts(QUICK);
    let start = Instant::now();
    let stream = TlsStream::server(a, server).unwrap();
    let result = quick.accept(stream);
    assert!(matches!(result, Err(AcceptError::TimedOut)), "{result:?}");
    drop(b);
    let (a, _b) = tcp_pair();
    let stream = TlsStream::client(a, client, "localhost").unwrap();
    let quick = Connector::new().timeouts(QUICK);
    let result = quick.connect_over(stream, "wss://localhost/");
    assert!(
        matches!(result, Err(ConnectError::TimedOut(None))),
        "{result:?}"
    );
    assert!(start.elapsed() < Duration::from_secs(3));
}

/// A client and the other end of its TLS, whose records can be put together by hand.
fn raw_session(connector: Connector) -> (WebSocket, rustls::ServerConnection, TcpStream) {
    let (server, client) = configs();
    let (addr, thread) = serve(move |mut stream| {
        let mut tls = rustls::ServerConnection::new(server).unwrap();
        let mut both = rustls::Stream::new(&mut tls, &mut stream);
        let request = head::read(&mut both);
        let response = head::Head::response_to(&request).to_bytes();
        both.write_all(&response).unwrap();
        (tls, stream)
    });
    let url = format!("wss://localhost:{}/", addr.port());
    let ws = connector.tls(client).connect(&url).unwrap();
    let (tls, stream) = thread.join().unwrap();
    (ws, tls, stream)
}

/// The peer's Close and its close_notify come in one read, and TCP stays open: the end of TLS is the
/// end. To wait for the end of TCP takes a second, each time.
#[test]
fn wss_close_and_close_notify_in_one_read_are_the_end_at_once() {
    for client_begins in [false, true] {
        let mut times = (0..5).map(|_| time_to_the_end(client_begins));
        assert!(times.any(|time| time < Duration::from_millis(900)));
    }
}

fn time_to_the_end(client_begins: bool) -> Duration {
    let (mut client, mut tls, mut stream) = raw_session(Connector::new());
    let peer = std::thread::spawn(move || {
        if client_begins {
            let mut close = [0; 8];
            let mut both = rustls::Stream::new(&mut tls, &mut stream);
            both.read_exact(&mut close).unwrap();
            assert_eq!(close[..2], [0x88, 0x82]);
        }
        tls.writer().write_all(&unmasked(0x88, &[3, 232])).unwrap();
        tls.send_close_notify();
        let mut end = Vec::new();
        while tls.wants_write() {
            tls.write_tls(&mut end).unwrap();
        }
        stream.write_all(&end).unwrap();
        stream
    });
    let start = Instant::now();
    if client_begins {
        assert!(support::close(&mut client, CloseCode::NORMAL, "").is_clean());
    } else {
        assert_eq!(client.recv().unwrap(), None);
        assert!(client.ended().unwrap().is_clean());
    }
    let elapsed = start.elapsed();
    drop(peer.join().unwrap());
    elapsed
}

/// Records without content keep nobody for longer than was asked.
#[test]
fn wss_peer_sends_records_without_content_calls_take_no_longer_than_asked() {
    let (server_config, client_config) = configs();
    let secret = Arc::new(Secret::default());
    let (client, server) = tcp_pair();
    let accepted = std::thread::spawn(move || {
        let stream = TlsStream::server(server, server_config).unwrap();
        Acceptor::new()
            .timeouts(Timeouts {
                close: Some(300),
                ..Timeouts::DEFAULT
            })
            .accept(stream)
            .unwrap()
    });
    let name = rustls::pki_types::ServerName::try_from("localhost").unwrap();
    let connection = rustls::ClientConnection::new(secret.kept_by(&client_config), name).unwrap();
    let mut flooding = rustls::StreamOwned::new(connection, client);
    flooding.write_all(support::REQUEST).unwrap();
    assert!(head::read(&mut flooding).starts_with("HTTP/1.1 101 "));
    let mut records = Records::after(&secret, &mut flooding.conn);
    flooding.flush().unwrap();
    let mut server = accepted.join().unwrap();
    let mut socket = flooding.sock.try_clone().unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let flood = std::thread::spawn({
        let stop = stop.clone();
        move || {
            while !stop.load(Ordering::SeqCst) {
                let mut flood = Vec::new();
                records.push_data(&mut flood, b"");
                records.push_without_content(&mut flood, 1_000);
                if socket.write_all(&flood).is_err() {
                    break;
                }
            }
        }
    });
    let start = Instant::now();
    for _ in 0..20 {
        assert_eq!(server.try_recv().unwrap(), Received::Nothing);
        let received = server.recv_timeout(Duration::from_millis(20)).unwrap();
        assert_eq!(received, Received::Nothing);
    }
    assert_eq!(server.pending(), 0);
    // The flood has no end, and some calls would have none either.
    assert!(start.elapsed() < PATIENCE);
    let start = Instant::now();
    let outcome = support::close(&mut server, CloseCode::NORMAL, "");
    assert_eq!(outcome, Ended::TimedOut(Deadline::Close));
    let elapsed = start.elapsed();
    assert!(elapsed >= Duration::from_millis(300), "{elapsed:?}");
    assert!(elapsed < PATIENCE, "{elapsed:?}");
    stop.store(true, Ordering::SeqCst);
    drop(server);
    flood.join().unwrap();
}

/// A scheme that does not fit the port is named, whichever of the two it is.
#[test]
fn connecting_with_the_wrong_scheme_says_so() {
    let (server, client) = configs();
    let (addr, thread) = serve(move |mut stream| {
        let mut tls = rustls::ServerConnection::new(server).unwrap();
        assert!(tls.complete_io(&mut stream).is_err());
        // The alert.
        tls.write_tls(&mut stream).ok();
    });
    let error = motews_std::connect(&format!("ws://{addr}/")).unwrap_err();
    assert!(matches!(error, ConnectError::SpeaksTls), "{error:?}");
    assert!(error.to_string().contains("wss://"), "{error}");
    thread.join().unwrap();

    // A server that answers what it does not know, and one that leaves.
    for answer in ["HTTP/1.1 400 Bad Request\r\n\r\n", ""] {
        let (addr, thread) = serve(move |mut stream| {
            let _ = stream.read(&mut [0; 2000]).unwrap();
            stream.write_all(answer.as_bytes()).unwrap();
        });
        let url = format!("wss://localhost:{}/", addr.port());
        let error = Connector::new().tls(client.clone()).connect(&url);
        let error = error.unwrap_err();
        assert!(error.to_string().contains("ws://"), "{error}");
        thread.join().unwrap();
    }
}

/// A file with a key holds no certificate.
#[test]
fn config_with_no_roots_is_refused() {
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject;
    let pem = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        roots.add(certificate.unwrap()).unwrap();
    }
    let error = motews_std::tls::config_with_roots(roots).unwrap_err();
    assert!(error.to_string().contains("no certificate"), "{error}");
}

/// A socket that takes no more than it is told to.
struct Valve {
    socket: TcpStream,
    room: Arc<AtomicUsize>,
}

impl Read for Valve {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.socket.read(buf)
    }
}

impl Write for Valve {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.write_now(&[IoSlice::new(buf)])
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Transport for Valve {
    fn can_wait(&self) -> bool {
        true
    }

    fn wait(&self, interest: Interest<'_>, timeout: Option<Duration>) -> io::Result<Ready> {
        // Whoever waits for room looks again.
        let has_room = self.room.load(Ordering::SeqCst) > 0;
        let timeout = match interest.write && !has_room {
            true => timeout.map_or(Duration::from_millis(5), |it| {
                it.min(Duration::from_millis(5))
            }),
            false => return self.socket.wait(interest, timeout),
        };
        let interest = Interest {
            write: false,
            ..interest
        };
        self.socket.wait(interest, Some(timeout))
    }

    fn read_now(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.socket.read_now(buf)
    }

    fn write_now(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        let room = self.room.load(Ordering::SeqCst);
        if room == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let part = &parts[0][..parts[0].len().min(room)];
        let taken = self.socket.write_now(&[IoSlice::new(part)])?;
        self.room.fetch_sub(taken, Ordering::SeqCst);
        Ok(taken)
    }

    fn shutdown(&mut self) -> io::Result<()> {
        Transport::shutdown(&mut self.socket)
    }
}

/// A server behind a valve that is open for now, and a client that does `f`.
fn behind_a_valve<T: Send + 'static>(
    acceptor: &Acceptor,
    f: impl FnOnce(rustls::StreamOwned<rustls::ClientConnection, TcpStream>) -> T + Send + 'static,
) -> (
    WebSocket<TlsStream<Valve>, Server>,
    Arc<AtomicUsize>,
    std::thread::JoinHandle<T>,
) {
    let (server, client) = configs();
    let (raw, socket) = tcp_pair();
    let peer = std::thread::spawn(move || {
        let name = "localhost".try_into().unwrap();
        let connection = rustls::ClientConnection::new(client, name).unwrap();
        let mut tls = rustls::StreamOwned::new(connection, raw);
        tls.write_all(head::REQUEST.as_bytes()).unwrap();
        head::read(&mut tls);
        f(tls)
    });
    let room = Arc::new(AtomicUsize::new(usize::MAX));
    let valve = Valve {
        socket,
        room: room.clone(),
    };
    let stream = TlsStream::server(valve, server).unwrap();
    (acceptor.accept(stream).unwrap(), room, peer)
}

/// What TLS has taken and the socket has not buys the peer no time.
#[test]
fn wss_peer_that_does_not_read_is_given_up_by_what_the_socket_took() {
    let timeouts = Timeouts {
        write: Some(150),
        min_rate: 1000,
        max_grace: 60_000,
        ..Timeouts::default()
    };
    let acceptor = Acceptor::new().timeouts(timeouts);
    let (go, waits) = std::sync::mpsc::channel::<()>();
    let (mut server, room, peer) = behind_a_valve(&acceptor, move |tls| {
        waits.recv().ok();
        drop(tls);
    });
    room.store(500, Ordering::SeqCst);
    let start = Instant::now();
    // TLS takes all of it at once, which would be a minute.
    assert!(matches!(
        server.send(vec![0; 60_000]),
        Err(SendError::TimedOut)
    ));
    assert!(
        start.elapsed() < Duration::from_secs(20),
        "{:?}",
        start.elapsed()
    );
    drop(go);
    peer.join().unwrap();
}

/// The end of TLS is written when there is room, and no later than the session's end.
#[test]
fn wss_socket_is_full_at_the_end_close_notify_waits() {
    for opens in [true, false] {
        let (mut server, room, peer) = behind_a_valve(&Acceptor::new(), |mut tls| {
            tls.write_all(&masked(0x88, &[3, 232])).unwrap();
            let mut frame = [0; 4];
            tls.read_exact(&mut frame).unwrap();
            assert_eq!(frame, [0x88, 2, 3, 232]);
            tls.read(&mut [0; 1]).map_err(|error| error.kind())
        });
        // The reply in its record, and no more.
        room.store(4 + 22, Ordering::SeqCst);
        let opening = room.clone();
        let later = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(300));
            if opens {
                opening.store(usize::MAX, Ordering::SeqCst);
            }
        });
        let start = Instant::now();
        assert_eq!(server.recv().unwrap(), None);
        assert!(server.ended().unwrap().is_clean());
        assert!(start.elapsed() < Duration::from_secs(3));
        drop(server);
        let end = peer.join().unwrap();
        let expected = match opens {
            true => Ok(0),
            false => Err(io::ErrorKind::UnexpectedEof),
        };
        assert_eq!(end, expected);
        later.join().unwrap();
    }
}

/// Over a stream that gives and takes one byte at a time, and `WouldBlock` after each
#[test]
fn wss_over_a_trickling_stream_resumes() {
    let (server, client) = configs();
    let (a, b) = support::memory_pair(true);
    let client = TlsStream::client(a, client, "localhost").unwrap();
    let server = TlsStream::server(b, server).unwrap();
    let mut connecting = Connector::new()
        .connecting(client, "wss://localhost/")
        .unwrap();
    let mut accepting = Acceptor::new().accepting(server, |_| motews_std::Response::accepted());
    let (mut client, mut server) = (None, None);
    for _ in 0..1_000_000 {
        client = client.or_else(|| connecting.advance().ok());
        server = server.or_else(|| accepting.advance().ok());
        if client.is_some() && server.is_some() {
            break;
        }
    }
    let (mut client, mut server) = (client.unwrap(), server.unwrap());
    client.send("a".repeat(2000)).unwrap();
    let mut received = None;
    for _ in 0..1_000_000 {
        let _ = client.flush();
        let _ = client.try_recv().unwrap();
        if let Received::Message(message) = server.try_recv().unwrap() {
            received = Some(message);
            break;
        }
    }
    assert_eq!(received, Some("a".repeat(2000).into()));
}

#[test]
fn wss_over_a_stream_without_abilities_works() {
    let (server, client) = configs();
    let (addr, thread) = serve(move |stream| {
        let stream = TlsStream::server(Plain(stream), server).unwrap();
        let mut server = motews_std::accept(stream).unwrap();
        server.recv().unwrap()
    });
    let stream = Plain(TcpStream::connect(addr).unwrap());
    let stream = TlsStream::client(stream, client, "localhost").unwrap();
    let mut ws = Connector::new()
        .connect_over(stream, "wss://localhost/")
        .unwrap();
    ws.send("Hello").unwrap();
    assert_eq!(thread.join().unwrap(), Some("Hello".into()));
}

/// Whoever wants TLS without a WebSocket has a stream.
#[test]
fn tls_stream_is_a_stream() {
    use std::io::{Read, Write};
    let (server, client) = configs();
    let (addr, thread) = serve(move |stream| {
        let mut stream = TlsStream::server(stream, server).unwrap();
        let mut bytes = vec![0; 100_000];
        stream.read_exact(&mut bytes).unwrap();
        stream.write_all(&bytes).unwrap();
        stream.flush().unwrap();
        assert_eq!(stream.read(&mut bytes).unwrap(), 0);
        bytes.len()
    });
    let socket = TcpStream::connect(addr).unwrap();
    let mut stream = TlsStream::client(socket, client, "localhost").unwrap();
    assert!(stream.socket().peer_addr().is_ok());
    let sent: Vec<u8> = (0..100_000_u32).map(|n| n as u8).collect();
    // The first read completes the handshake, so not all of it before.
    stream.write_all(&sent[..1000]).unwrap();
    let mut received = vec![0; 100_000];
    let writing = stream.share().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let mut writing = writing;
            let mut rest = &sent[1000..];
            while !rest.is_empty() {
                match writing.write(rest) {
                    Ok(len) => rest = &rest[len..],
                    Err(_) => std::thread::yield_now(), // the handshake goes on elsewhere
                }
            }
            writing.flush().unwrap();
        });
        stream.read_exact(&mut received).unwrap();
    });
    assert!(
        received
            .iter()
            .enumerate()
            .all(|(n, byte)| *byte == n as u8)
    );
    Transport::shutdown(&mut stream).unwrap();
    assert_eq!(thread.join().unwrap(), 100_000);
}

#[test]
fn wss_without_roots_says_so() {
    let result = motews_std::tls::default_config();
    let with_roots = cfg!(feature = "webpki-roots");
    match result {
        Ok(_) => assert!(with_roots || cfg!(feature = "native-roots")),
        Err(error) => {
            assert!(!with_roots);
            assert!(error.to_string().contains("roots"), "{error}");
        }
    }
    let result = motews_std::connect("wss://a b/");
    assert!(matches!(result, Err(ConnectError::Url(UrlError::Host))));
}

/// A server that demands a certificate of its clients, as a station of OCPP's security profile 3 has one.
#[test]
fn wss_server_that_demands_a_certificate_accepts_who_has_one_and_no_others() {
    let [trusted, clients, others] = [(); 3].map(|()| Authority::new());
    let server = Arc::new(trusted.server("localhost", Some(&clients)));
    let connect = |identity: Option<&Authority>| {
        let server = server.clone();
        let (addr, serving) = serve(move |stream| {
            let stream = TlsStream::server(stream, server).unwrap();
            motews_std::accept(stream).map(|mut ws| ws.recv().ok().flatten())
        });
        let url = format!("wss://localhost:{}/", addr.port());
        let connected = Connector::new().tls(trusted.client(identity)).connect(&url);
        let sent = connected.map(|mut ws| ws.send("Hello").unwrap());
        (sent, serving.join().unwrap())
    };
    let (sent, received) = connect(Some(&clients));
    sent.unwrap();
    assert_eq!(received.unwrap(), Some("Hello".into()));
    for identity in [None, Some(&others)] {
        let (sent, received) = connect(identity);
        assert!(received.is_err(), "{received:?}");
        let error = sent.unwrap_err();
        assert!(matches!(error, ConnectError::Tls(_)), "{error:?}");
        let text = error.to_string();
        assert!(text.starts_with("TLS: the server refused"), "{text}");
    }
}
