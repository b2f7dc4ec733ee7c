//! Real peers, in both roles: tungstenite here, Python's websockets and Node's ws as scripts.
//!
//! The client of each pair runs the same exchange: texts, binaries of every length class,
//! fragmented messages with pings between the fragments, pings, and a close with a code and a
//! reason. The servers echo, and understand these text messages, so that their own sending is
//! tried too:
//!
//! | message         | the server                                                          |
//! |-----------------|---------------------------------------------------------------------|
//! | `!ping PAYLOAD` | pings with it, awaits the pong, and answers `!pong` and its payload |
//! | `!fragments`    | sends [`FRAGMENTED_BY_SERVER`] in fragments                         |
//! | `!last-close`   | answers with the code and reason of the last close by a client      |
//! | `!close`        | closes with [`CLOSE_BY_SERVER`]                                     |
//!
//! and choose the subprotocol `echo`. The echo example understands none of that and only echoes.

use core::net::SocketAddr;
use core::time::Duration;
use std::env;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

use motews_tests::{Process, ServerProcess, cached_tool, wait_until};

const CLOSE_BY_CLIENT: (u16, &str) = (4001, "client 再见");
const CLOSE_BY_SERVER: (u16, &str) = (4002, "server 再见");
const FRAGMENTED_BY_SERVER: &str = "fragments: 你好, 🎉";

/// How long a peer may take for one answer, and a script for all of them.
const LIMIT: Duration = Duration::from_secs(60);

#[test]
fn tungstenite_client_is_served() {
    let address = serve::<Tungstenite>();
    exchange(|| Tungstenite::connect(address, true), true);
}

#[test]
fn tungstenite_server_serves() {
    let address = serve::<Tungstenite>();
    exchange(|| Tungstenite::connect(address, true), true);
}

#[test]
#[ignore = "builds the echo example"]
fn tungstenite_client_and_echo_example() {
    let server = ServerProcess::example("echo", folder());
    exchange(|| Tungstenite::connect(server.address, false), false);
}

#[test]
#[ignore = "needs Python's websockets: bash .ci/install"]
fn python_client_is_served() {
    run_client("client.py", &serve::<Tungstenite>().to_string(), true);
}

#[test]
#[ignore = "needs Python's websockets: bash .ci/install"]
fn python_client_and_echo_example() {
    let server = ServerProcess::example("echo", folder());
    run_client("client.py", &server.address.to_string(), false);
}

#[test]
#[ignore = "needs Python's websockets: bash .ci/install"]
fn python_server_serves() {
    let server = ServerProcess::start("server.py", &mut script("server.py"), folder());
    exchange(|| Tungstenite::connect(server.address, true), true);
}

#[test]
#[ignore = "needs Node's ws: bash .ci/install"]
fn node_client_is_served() {
    run_client("client.mjs", &serve::<Tungstenite>().to_string(), true);
}

#[test]
#[ignore = "needs Node's ws: bash .ci/install"]
fn node_client_and_echo_example() {
    let server = ServerProcess::example("echo", folder());
    run_client("client.mjs", &server.address.to_string(), false);
}

#[test]
#[ignore = "needs Node's ws: bash .ci/install"]
fn node_server_serves() {
    let server = ServerProcess::start("server.mjs", &mut script("server.mjs"), folder());
    exchange(|| Tungstenite::connect(server.address, true), true);
}

/// What a peer receives, in the order of arrival. Pings are answered and not mentioned.
#[derive(Debug, PartialEq)]
enum Received {
    Text(String),
    Binary(Vec<u8>),
    Pong(Vec<u8>),
    /// The code and the reason of a Close frame, after which the connection has ended.
    Close(u16, String),
}

/// One end of a connection, of whichever implementation.
trait Peer: Sized {
    /// Connects, offering the subprotocols `unknown` and `echo` if `subprotocol` is set, and
    /// demands that the server chooses `echo`.
    fn connect(address: SocketAddr, subprotocol: bool) -> Self;
    /// Accepts, choosing the subprotocol `echo` if it is offered.
    fn accept(stream: TcpStream) -> Self;
    fn send_text(&mut self, text: &str);
    fn send_binary(&mut self, bytes: &[u8]);
    /// Sends a message in these fragments, with a ping before each but the first.
    fn send_fragments(&mut self, text: bool, fragments: &[&[u8]]);
    fn ping(&mut self, payload: &[u8]);
    /// Starts the closing handshake.
    fn close(&mut self, code: u16, reason: &str);
    fn receive(&mut self) -> Received;

    /// The next message, or the close. Pongs are passed over.
    fn receive_message(&mut self) -> Received {
        loop {
            match self.receive() {
                Received::Pong(_) => {}
                received => return received,
            }
        }
    }

    /// Waits for a pong with this payload. A newer ping replaces an unsent pong (RFC 6455 §5.5.3),
    /// so pongs for older pings may come before it, or not at all.
    fn receive_pong(&mut self, payload: &[u8]) {
        loop {
            match self.receive() {
                Received::Pong(pong) if pong == payload => return,
                Received::Pong(_) => {}
                received => panic!("{received:?} instead of a pong"),
            }
        }
    }
}

/// The client's part. `commands`: the server is no mere echo.
fn exchange<P: Peer>(connect: impl Fn() -> P, commands: bool) {
    let mut peer = connect();
    let texts = [
        "",
        "hello",
        "你好，世界",
        "👩‍👩‍👧‍👦🎉",
        &"x".repeat(126),
        &"字".repeat(22_000),
    ];
    for text in texts {
        peer.send_text(text);
        assert_eq!(peer.receive_message(), Received::Text(text.to_owned()));
    }
    for length in [0, 1, 125, 126, 65_535, 65_536, 1 << 20] {
        let bytes: Vec<u8> = (0..=250).cycle().take(length).collect();
        peer.send_binary(&bytes);
        assert!(
            peer.receive_message() == Received::Binary(bytes),
            "binary of {length} bytes"
        );
    }

    // Every byte a fragment of its own: the code points are split too.
    let text = "fragments: 你好 🎉";
    let fragments: Vec<&[u8]> = text.as_bytes().chunks(1).chain([&[][..]]).collect();
    peer.send_fragments(true, &fragments);
    assert_eq!(peer.receive_message(), Received::Text(text.to_owned()));
    let bytes: Vec<u8> = (0..=250).cycle().take(100_000).collect();
    let fragments: Vec<&[u8]> = bytes.chunks(5000).collect();
    peer.send_fragments(false, &fragments);
    assert_eq!(peer.receive_message(), Received::Binary(bytes));

    for payload in [&b""[..], b"hello", &[7; 125]] {
        peer.ping(payload);
        peer.receive_pong(payload);
    }

    if commands {
        peer.send_text("!ping 你好");
        assert_eq!(
            peer.receive_message(),
            Received::Text("!pong 你好".to_owned())
        );
        peer.send_text("!fragments");
        assert_eq!(
            peer.receive_message(),
            Received::Text(FRAGMENTED_BY_SERVER.to_owned())
        );
    }

    let (code, reason) = CLOSE_BY_CLIENT;
    peer.close(code, reason);
    let received = peer.receive_message();
    assert!(
        matches!(received, Received::Close(echoed, _) if echoed == code),
        "{received:?}"
    );

    // Some servers tell of a close only when the stream has ended at both sides.
    drop(peer);

    if commands {
        let mut peer = connect();
        let seen = Received::Text(format!("{code} {reason}"));
        let as_sent = wait_until(LIMIT, || {
            peer.send_text("!last-close");
            peer.receive_message() == seen
        });
        assert!(
            as_sent,
            "the server did not see the close that the client sent"
        );
        peer.send_text("!close");
        let (code, reason) = CLOSE_BY_SERVER;
        assert_eq!(
            peer.receive_message(),
            Received::Close(code, reason.to_owned())
        );
    }
}

/// Starts a server in a thread of its own, which ends with the test.
fn serve<P: Peer>() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener
        .local_addr()
        .expect("a bound listener has an address");
    let last_close = Arc::new(Mutex::new(String::new()));
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let last_close = Arc::clone(&last_close);
            thread::spawn(move || answer(P::accept(stream), &last_close));
        }
    });
    address
}

/// The server's part, for one connection.
fn answer<P: Peer>(mut peer: P, last_close: &Mutex<String>) {
    loop {
        match peer.receive_message() {
            Received::Text(text) => match text.strip_prefix('!') {
                None => peer.send_text(&text),
                Some("fragments") => {
                    let fragments: Vec<&[u8]> = FRAGMENTED_BY_SERVER.as_bytes().chunks(1).collect();
                    peer.send_fragments(true, &fragments);
                }
                Some("last-close") => {
                    let last_close = last_close.lock().expect("no holder panics").clone();
                    peer.send_text(&last_close);
                }
                Some("close") => {
                    peer.close(CLOSE_BY_SERVER.0, CLOSE_BY_SERVER.1);
                    let answer = peer.receive_message();
                    let code = CLOSE_BY_SERVER.0;
                    assert!(
                        matches!(answer, Received::Close(echo, _) if echo == code),
                        "{answer:?}"
                    );
                    return;
                }
                Some(command) => {
                    let payload = command.strip_prefix("ping ").expect("a known command");
                    peer.ping(payload.as_bytes());
                    peer.receive_pong(payload.as_bytes());
                    peer.send_text(&format!("!pong {payload}"));
                }
            },
            Received::Binary(bytes) => peer.send_binary(&bytes),
            Received::Pong(_) => {}
            Received::Close(code, reason) => {
                *last_close.lock().expect("no holder panics") = format!("{code} {reason}");
                return;
            }
        }
    }
}

/// tungstenite as a peer.
struct Tungstenite(tungstenite::WebSocket<TcpStream>);

impl Tungstenite {
    fn send(&mut self, message: tungstenite::Message) {
        self.0.send(message).expect("tungstenite sends");
    }
}

impl Peer for Tungstenite {
    fn connect(address: SocketAddr, subprotocol: bool) -> Self {
        use tungstenite::client::{IntoClientRequest, client};
        let stream = connect_tcp(address);
        let mut request = format!("ws://{address}/")
            .into_client_request()
            .expect("a request");
        if subprotocol {
            let offer = "unknown, echo".parse().expect("a header's value");
            request
                .headers_mut()
                .insert("Sec-WebSocket-Protocol", offer);
        }
        let (socket, response) = client(request, stream).expect("tungstenite connects");
        let chosen = response.headers().get("Sec-WebSocket-Protocol");
        let chosen = chosen.map(|value| value.to_str().expect("a token"));
        assert_eq!(chosen, subprotocol.then_some("echo"));
        Self(socket)
    }

    fn accept(stream: TcpStream) -> Self {
        use tungstenite::handshake::server::{Request, Response};
        #[expect(clippy::result_large_err, reason = "tungstenite's signature")]
        let choose = |request: &Request, mut response: Response| {
            let offered = request.headers().get("Sec-WebSocket-Protocol");
            let offered = offered
                .and_then(|value| value.to_str().ok())
                .unwrap_or_default();
            if offered.split(',').any(|token| token.trim() == "echo") {
                let chosen = "echo".parse().expect("a header's value");
                response
                    .headers_mut()
                    .insert("Sec-WebSocket-Protocol", chosen);
            }
            Ok(response)
        };
        Self(tungstenite::accept_hdr(stream, choose).expect("tungstenite accepts"))
    }

    fn send_text(&mut self, text: &str) {
        self.send(text.into());
    }

    fn send_binary(&mut self, bytes: &[u8]) {
        self.send(bytes.to_vec().into());
    }

    fn send_fragments(&mut self, text: bool, fragments: &[&[u8]]) {
        use tungstenite::protocol::frame::Frame;
        use tungstenite::protocol::frame::coding::{Data, OpCode};
        for (index, fragment) in fragments.iter().enumerate() {
            let data = match index {
                0 if text => Data::Text,
                0 => Data::Binary,
                _ => {
                    self.ping(&index.to_be_bytes());
                    Data::Continue
                }
            };
            let fin = index + 1 == fragments.len();
            let frame = Frame::message(fragment.to_vec(), OpCode::Data(data), fin);
            self.send(tungstenite::Message::Frame(frame));
        }
    }

    fn ping(&mut self, payload: &[u8]) {
        self.send(tungstenite::Message::Ping(payload.to_vec().into()));
    }

    fn close(&mut self, code: u16, reason: &str) {
        let frame = tungstenite::protocol::CloseFrame {
            code: code.into(),
            reason: reason.into(),
        };
        self.0.close(Some(frame)).expect("tungstenite closes");
    }

    fn receive(&mut self) -> Received {
        use tungstenite::Message;
        loop {
            match self.0.read().expect("tungstenite receives") {
                Message::Text(text) => return Received::Text(text.to_string()),
                Message::Binary(bytes) => return Received::Binary(bytes.to_vec()),
                Message::Pong(payload) => return Received::Pong(payload.to_vec()),
                Message::Close(frame) => {
                    // Answers the close, and waits for the end of the stream.
                    while self.0.read().is_ok() {}
                    let frame = frame.expect("every close here has a code");
                    return Received::Close(frame.code.into(), frame.reason.to_string());
                }
                Message::Ping(_) | Message::Frame(_) => {}
            }
        }
    }
}

/// Connects, with a limit on how long a read may wait.
fn connect_tcp(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("the server listens");
    stream.set_read_timeout(Some(LIMIT)).expect("a limit");
    stream.set_nodelay(true).expect("no delay");
    stream
}

/// Where the scripts' logs go.
fn folder() -> &'static Path {
    Path::new(env!("CARGO_TARGET_TMPDIR"))
}

/// The command that runs one of the scripts beside this file.
fn script(name: &str) -> Command {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("peers")
        .join(name);
    let mut command = if name.ends_with(".py") {
        Command::new(cached_tool("python/bin/python"))
    } else {
        let mut command = Command::new("node");
        command.env("NODE_MODULES", cached_tool("node/node_modules"));
        command
    };
    command.arg(path);
    command
}

/// Runs a client's script to its end.
fn run_client(name: &str, address: &str, commands: bool) {
    let mut command = script(name);
    command
        .arg(format!("ws://{address}/"))
        .args(commands.then_some("--commands"));
    let mut client = Process::start(name, command.stdout(Stdio::null()), folder());
    let status = client.wait(LIMIT);
    assert!(
        status.success(),
        "{name} ends with {status}\n{}",
        client.log()
    );
}
