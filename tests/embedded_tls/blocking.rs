//! The blocking WebSocket over embedded-tls's blocking session.

use core::time::Duration;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::thread;

use embedded_io_adapters::std::FromStd;
use embedded_tls::blocking::TlsConnection;
use embedded_tls::{Aes128GcmSha256, TlsContext};
use motews::handshake::Request;
use motews::{CloseCode, Message, MessageBuffer};
use motews_embedded_io::tls::{TlsConfig, TlsError, TlsProvider};
use motews_embedded_io::{Buffers, blocking};
use rustls::ServerConnection;

use super::support::{Os, authority, localhost, trusting};
use super::{payloads, serve};

/// A session with a server on this port.
fn open<'a>(
    stream: TcpStream,
    config: &TlsConfig<'_>,
    [read, write]: &'a mut [Vec<u8>; 2],
) -> Result<TlsConnection<'a, FromStd<TcpStream>, Aes128GcmSha256>, TlsError> {
    let mut tls = TlsConnection::new(FromStd::new(stream), read, write);
    let mut provider = TlsProvider::new(config, Os)?;
    let settings = provider.settings();
    let opened = tls.open(TlsContext::new(&settings, &mut provider));
    provider.check(opened)?;
    Ok(tls)
}

fn buffers() -> [Vec<u8>; 2] {
    [vec![0; 16_640], vec![0; 4096]]
}

#[test]
fn wss_blocking_client_echoes_and_closes_clean() {
    let authority = authority("an authority");
    let (port, server) = serve(authority.issue(localhost()).server(&[]));
    let stream = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
    let mut records = buffers();
    let authorities = [&authority.certificate[..]];
    let tls = open(stream, &trusting(&authorities), &mut records).expect("TLS");

    let request = Request::new("localhost", "/").expect("right");
    let (mut receive, mut transmit) = ([0; 64], vec![0; 50_000]);
    let buffers = Buffers {
        receive: &mut receive,
        transmit: &mut transmit,
    };
    let mut ws = blocking::WebSocket::client(tls, buffers, request, Os).expect("room");
    ws.connect().expect("a response");
    let mut messages = MessageBuffer::new(vec![0; 50_000]);
    for payload in payloads() {
        ws.send(Message::Binary(&payload)).expect("it goes out");
        let echo = ws.recv(&mut messages).expect("it comes back");
        assert_eq!(echo, Some(Message::Binary(&payload)));
    }
    ws.close(CloseCode::NORMAL, "").expect("open");
    ws.flush().expect("it goes out");
    // The server answers, and ends TLS and TCP.
    while let Ok(Some(_)) = ws.next_event() {}
    assert!(ws.connection().expect("it was open").is_clean());
    assert_eq!(server.join().expect("no panic"), payloads().len());
}

#[test]
fn wss_blocking_server_of_another_authority_is_not_trusted() {
    let config = authority("another").issue(localhost()).server(&[]);
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a client");
        let mut connection = ServerConnection::new(config).expect("it is right");
        connection.complete_io(&mut stream).is_err()
    });
    let trusted = authority("an authority");
    let authorities = [&trusted.certificate[..]];
    let stream = TcpStream::connect(address).expect("it listens");
    let mut records = buffers();
    let end = open(stream, &trusting(&authorities), &mut records).map(drop);
    assert_eq!(end, Err(TlsError::UnknownIssuer));
    assert!(server.join().expect("no panic"));
}

/// embedded-tls keeps what it has of a record's header in a local variable, and the position in a record
/// nowhere. So a blocking transport must have no timeout: this is why the docs say so.
#[test]
fn wss_blocking_read_timeout_inside_a_record_loses_it() {
    // In the header, and behind it.
    for cut in [3, 10] {
        let authority = authority("an authority");
        let config = authority.issue(localhost()).server(&[]);
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let (timed_out, resume) = std::sync::mpsc::channel();
        let (written, begun) = std::sync::mpsc::channel();
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a client");
            let mut connection = ServerConnection::new(config).expect("it is right");
            // The handshake, and the first record of the client.
            let mut byte = [0];
            while connection.reader().read(&mut byte).is_err() {
                connection.complete_io(&mut stream).expect("a client");
            }
            connection.writer().write_all(b"hello").expect("memory");
            let mut record = Vec::new();
            connection.write_tls(&mut record).expect("memory");
            let (first, rest) = record.split_at(cut);
            stream.write_all(first).expect("it goes out");
            written.send(()).expect("the client waits");
            resume.recv().expect("the client waits no longer");
            // Whether it is gone by then does not matter.
            _ = stream.write_all(rest);
        });
        let stream = TcpStream::connect(address).expect("it listens");
        let timer = stream.try_clone().expect("a file");
        let mut records = buffers();
        let authorities = [&authority.certificate[..]];
        let mut tls = open(stream, &trusting(&authorities), &mut records).expect("TLS");
        tls.write(b"x").expect("it goes out");
        tls.flush().expect("it goes out");
        // Between records a timeout would lose nothing.
        begun.recv().expect("the server writes");
        let timeout = Some(Duration::from_millis(200));
        timer.set_read_timeout(timeout).expect("a socket");
        let mut bytes = [0; 5];
        assert!(tls.read(&mut bytes).is_err());
        timer.set_read_timeout(None).expect("a socket");
        timed_out.send(()).expect("the server waits");
        assert!(
            tls.read(&mut bytes).is_err(),
            "it can be gone on with: {bytes:?}"
        );
        server.join().expect("no panic");
    }
}
