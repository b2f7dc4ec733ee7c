//! The client over TLS on a Cortex-M3, in QEMU.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;

use motews_tests::firmware::{self, Board, WSS, WSS_CLIENT};
use motews_tests::wait_until;
use rcgen::CertificateParams;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tungstenite::http::StatusCode;
use tungstenite::protocol::CloseFrame;
use tungstenite::protocol::frame::coding::CloseCode;
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

/// How the server ends a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// TCP ends.
    Gone,
    /// The certificate is another authority's.
    WrongCertificate,
    /// The WebSocket is refused.
    Unauthorized,
    /// A Close: the service restarts.
    Restart,
}

const ENDS: [End; 6] = [
    End::Gone,
    End::WrongCertificate,
    End::Restart,
    End::Gone,
    End::Unauthorized,
    End::Restart,
];
/// How many sessions of TLS are refused, or end.
const SESSIONS: usize = 204;

#[test]
#[ignore = "needs QEMU and defmt-print: bash .ci/install"]
fn firmware_over_tls_comes_back_200_times_with_the_stack_as_deep_as_before() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("wss_client");
    fs::create_dir_all(&folder).expect("the build folder is writable");
    let root = authority("an authority");
    fs::write(folder.join("authority.der"), &root.certificate).expect("it is writable");
    let right = root.issue(localhost()).server(&[]);
    let wrong = authority("another").issue(localhost()).server(&[]);
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("it is bound").port();
    let board = firmware::boot_client(Board::CortexM3, WSS_CLIENT, &folder, port);
    let log = || fs::read_to_string(folder.join("client.txt")).unwrap_or_default();

    let (mut open, mut readings) = (0, Vec::new());
    for number in 0..=SESSIONS {
        let end = match number {
            SESSIONS => None,
            number => Some(ENDS[number % ENDS.len()]),
        };
        if end == Some(End::WrongCertificate) {
            let mut stream = accept(&listener, &wrong);
            assert!(
                stream.conn.complete_io(&mut stream.sock).is_err() || stream.conn.is_handshaking()
            );
            continue;
        }
        let stream = accept(&listener, &right);
        if end == Some(End::Unauthorized) {
            #[expect(clippy::result_large_err, reason = "tungstenite's signature")]
            let refuse = |_: &Request, _: Response| {
                let mut response = ErrorResponse::new(None);
                *response.status_mut() = StatusCode::UNAUTHORIZED;
                Err(response)
            };
            assert!(tungstenite::accept_hdr(stream, refuse).is_err());
            continue;
        }
        let mut ws = tungstenite::accept(stream).expect("an upgrade");
        open += 1;
        assert_eq!(ws.read().expect("open"), Message::text("this is the board"));
        // On the last connection for a while: also what waits goes out.
        let wanted = match end {
            None => readings.len() + 3,
            Some(_) => 0,
        };
        while readings.len() < wanted {
            if let Message::Text(text) = ws.read().expect("open") {
                readings.push(text);
            }
        }
        if end == Some(End::Restart) {
            let close = CloseFrame {
                code: CloseCode::Restart,
                reason: "".into(),
            };
            ws.close(Some(close)).expect("it is open");
            loop {
                match ws.read() {
                    Ok(Message::Text(text)) => readings.push(text),
                    Ok(_) => {}
                    Err(_) => break,
                }
            }
        }
    }

    let numbers: Vec<u32> = readings
        .iter()
        .map(|text| {
            text.trim_start_matches("reading ")
                .parse()
                .expect("a number")
        })
        .collect();
    assert!(numbers.is_sorted_by(|one, next| one < next), "{numbers:?}");
    let last = format!("connection {open};");
    assert!(wait_until(PATIENCE, || log().contains(&last)), "{}", log());
    let log = log();
    assert!(!log.contains("panicked"), "{log}\n{}", board.log());
    // What the stack was by the tenth connection, and by the last.
    let depths: Vec<u32> = log
        .lines()
        .filter_map(|line| line.split_once("at its deepest: "))
        .filter_map(|(_, depth)| depth.split(' ').next()?.parse().ok())
        .collect();
    assert_eq!(depths.len(), open, "{log}");
    let (early, late) = (depths[9], depths[open - 1]);
    // One interrupt may have come at a deeper place.
    assert!(late <= early + 200, "{early} and then {late} bytes\n{log}");
    for (end, report) in [
        // With a reset, if a reading was on its way.
        (End::Gone, "Connection(Lost, Some("),
        (End::WrongCertificate, "Attempt(Tls)"),
        (End::Unauthorized, "Attempt(Ended(Refused(401)))"),
        (End::Restart, "Connection(Closed { code: CloseCode(1012)"),
    ] {
        let wanted = (0..SESSIONS).filter(|number| ENDS[number % ENDS.len()] == end);
        let seen = log.lines().filter(|line| line.contains(report)).count();
        println!("{end:?}: {seen} of {}", wanted.clone().count());
        assert_eq!(seen, wanted.count(), "{end:?}\n{log}");
    }
    println!("{SESSIONS} sessions, {open} connections; the stack: {early} and then {late} bytes");
}
