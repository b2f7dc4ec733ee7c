//! `wss://`: rustls on both sides, with certificates made here. EX04

#[path = "support/records.rs"]
mod records;
mod support;
#[path = "support/tls.rs"]
mod tls_support;

use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Instant;

use motews_std::Share as _;
use motews_std::role::Server;
use motews_std::rustls;
use motews_std::tls::TlsStream;
use motews_std::{
    AcceptError, Acceptor, CloseCode, ConnectError, Connector, Deadline, Ended, Message, Plain,
    Received, Timeouts, UrlError, WebSocket,
};
use motews_testkit::frame::unmasked;
use motews_testkit::head;
use records::{Records, Secret};
use support::{QUICK, serve, tcp_pair};
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
    assert!(matches!(result, Err(ConnectError::TimedOut)), "{result:?}");
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
/// end.
#[test]
fn wss_close_and_close_notify_in_one_read_are_the_end_at_once() {
    for client_begins in [false, true] {
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
        assert!(elapsed < Duration::from_millis(900), "{elapsed:?}");
        drop(peer.join().unwrap());
    }
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
        let one = Instant::now();
        assert_eq!(server.try_recv().unwrap(), Received::Nothing);
        assert!(
            one.elapsed() < Duration::from_millis(500),
            "{:?}",
            one.elapsed()
        );
        let one = Instant::now();
        let received = server.recv_timeout(Duration::from_millis(20)).unwrap();
        assert_eq!(received, Received::Nothing);
        assert!(
            one.elapsed() < Duration::from_millis(500),
            "{:?}",
            one.elapsed()
        );
    }
    assert_eq!(server.pending(), 0);
    assert!(start.elapsed() < Duration::from_secs(10));
    let start = Instant::now();
    let outcome = support::close(&mut server, CloseCode::NORMAL, "");
    assert_eq!(outcome, Ended::TimedOut(Deadline::Close));
    let elapsed = start.elapsed();
    assert!(elapsed >= Duration::from_millis(300), "{elapsed:?}");
    assert!(elapsed < Duration::from_millis(1_200), "{elapsed:?}");
    stop.store(true, Ordering::SeqCst);
    drop(server);
    flood.join().unwrap();
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
    let mut accepting = Acceptor::new().accepting(server, |_| motews_std::Response::accept());
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
    motews_std::Transport::shutdown(&mut stream).unwrap();
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
