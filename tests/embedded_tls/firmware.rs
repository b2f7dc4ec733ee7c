//! The client over TLS on a Cortex-M3, in QEMU.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;

use motews_tests::firmware::{self, Board, WSS};
use motews_tests::wait_until;
use rcgen::CertificateParams;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use tungstenite::{Message, WebSocket};

use super::payloads;
use super::support::{PATIENCE, authority, localhost};

/// The next client's TLS. Its handshake has not begun.
fn accept(
    listener: &TcpListener,
    config: &Arc<ServerConfig>,
) -> StreamOwned<ServerConnection, std::net::TcpStream> {
    let (stream, _) = listener.accept().expect("a client");
    stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
    let connection = ServerConnection::new(Arc::clone(config)).expect("it is right");
    StreamOwned::new(connection, stream)
}

/// The next message that is not how long the board is up.
fn next<S: std::io::Read + std::io::Write>(ws: &mut WebSocket<S>, ups: &mut u32) -> Message {
    loop {
        match ws.read().expect("it is open") {
            Message::Binary(bytes) if bytes.len() == 8 => *ups += 1,
            message => return message,
        }
    }
}

#[test]
#[ignore = "needs QEMU and defmt-print: bash .ci/install"]
fn firmware_echoes_over_tls_and_refuses_who_has_another_name() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("wss");
    fs::create_dir_all(&folder).expect("the build folder is writable");
    let authority = authority("an authority");
    fs::write(folder.join("authority.der"), &authority.certificate).expect("it is writable");
    let config = authority.issue(localhost()).server(&[]);
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("it is bound").port();
    let board = firmware::boot_client(Board::CortexM3, WSS, &folder, port);

    let mut ws = tungstenite::accept(accept(&listener, &config)).expect("an upgrade");
    let mut ups = 0;
    for payload in payloads() {
        let message = Message::Binary(payload.into());
        ws.send(message.clone()).expect("it is open");
        let echo = next(&mut ws, &mut ups);
        assert!(echo == message, "{} bytes", echo.len());
    }
    // The other arm of the `select`: it speaks by itself, and nothing of it is lost.
    while ups < 3 {
        match ws.read().expect("it is open") {
            Message::Binary(bytes) if bytes.len() == 8 => ups += 1,
            other => panic!("{} bytes", other.len()),
        }
    }
    ws.close(None).expect("it is open");
    while ws.read().is_ok() {}
    let stream = ws.get_mut();
    stream.conn.send_close_notify();
    stream
        .conn
        .complete_io(&mut stream.sock)
        .expect("it goes out");
    drop(ws);

    let params = CertificateParams::new(["elsewhere.example".to_owned()]).expect("a name");
    let config = authority.issue(params).server(&[]);
    let mut stream = accept(&listener, &config);
    assert!(stream.conn.complete_io(&mut stream.sock).is_err() || stream.conn.is_handshaking());
    drop(stream);

    let log = || fs::read_to_string(folder.join("client.txt")).unwrap_or_default();
    let wanted = [
        "open after",
        "the stack at its deepest",
        "the session has ended",
        "TLS has ended: WrongName",
    ];
    let is_there = wait_until(PATIENCE, || wanted.iter().all(|line| log().contains(line)));
    assert!(is_there, "{}\n{}", log(), board.log());
    assert!(!log().contains("panicked"), "{}", log());
    println!("{}", log());
}
