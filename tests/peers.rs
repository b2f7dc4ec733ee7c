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
//! and choose the subprotocol `echo`. The echo example and the event-driven server of the tests
//! understand none of that and only echo.
//!
//! Compression is tried in connections of their own, which agree on windows of all sizes, each with
//! context takeover and then without. That it was compressed, and whether messages refer to those
//! before, is told by what went over the wire.

#[path = "tokio_peers.rs"]
mod tokio;
#[path = "tokio_servers.rs"]
mod tokio_servers;

use core::net::SocketAddr;
use core::time::Duration;
use std::fs;
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex, mpsc};
use std::thread;

use base64::Engine;
use motews::Role;
use motews_std::role::Server;
use motews_std::rustls::ServerConfig;
use motews_std::rustls::pki_types::PrivatePkcs8KeyDer;
use motews_std::{
    Acceptor, Bytes, CloseCode, Connector, DeflateConfig, DeflateContext, DeflateParams, Ended,
    Handler, Message, MessageRef, Request, SendError, ServerHandle, Share, Traffic, WebSocket,
    WindowBits,
};
use motews_tests::{ServerProcess, script, wait_until};
use tungstenite::protocol::frame::Frame;
use tungstenite::protocol::frame::coding::{Data, OpCode};

type Tungstenite = tungstenite::WebSocket<TcpStream>;

const CLOSE_BY_CLIENT: (u16, &str) = (4001, "client 再见");
const CLOSE_BY_SERVER: (u16, &str) = (4002, "server 再见");
const FRAGMENTED_BY_SERVER: &str = "fragments: 你好, 🎉";

/// How long a peer may take for one answer, and a script for all of them.
const LIMIT: Duration = Duration::from_secs(60);

#[test]
fn tungstenite_client_is_served() {
    let address = serve(accept_motews);
    exchange(|| connect_tungstenite(address, true), true);
}

#[test]
fn tungstenite_server_serves() {
    let address = serve(accept_tungstenite);
    exchange(|| connect_motews(address), true);
}

#[test]
fn tungstenite_client_and_event_driven_server() {
    for loops in ["loops=1", "loops=2", "loops=4"] {
        let server = start_event_driven(loops);
        // So many that each loop has some.
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| exchange(|| connect_tungstenite(server.address, false), false));
            }
        });
    }
}

#[test]
#[ignore = "builds the echo example"]
fn tungstenite_client_and_echo_example() {
    let server = ServerProcess::example("echo", folder());
    exchange(|| connect_tungstenite(server.address, false), false);
}

#[test]
#[ignore = "needs Python's websockets: bash .ci/install"]
fn python_client_is_served() {
    run_client("client.py", serve(accept_motews), true);
}

#[test]
#[ignore = "needs Python's websockets: bash .ci/install"]
fn python_client_and_echo_example() {
    let server = ServerProcess::example("echo", folder());
    run_client("client.py", server.address, false);
}

#[test]
#[ignore = "needs Python's websockets: bash .ci/install"]
fn python_client_and_event_driven_server() {
    run_client("client.py", start_event_driven("loops=2").address, false);
}

#[test]
#[ignore = "needs Python's websockets: bash .ci/install"]
fn python_client_and_event_driven_server_over_tls() {
    run_client_over_tls("client.py");
}

#[test]
#[ignore = "needs Python's websockets: bash .ci/install"]
fn python_server_serves() {
    let server = ServerProcess::start("server.py", &mut script("server.py"), folder());
    exchange(|| connect_motews(server.address), true);
    exchange(|| connect_compressing(server.address), true);
}

#[test]
#[ignore = "needs Python's websockets: bash .ci/install"]
fn python_server_serves_compressed() {
    let server = ServerProcess::start("server.py", &mut script("server.py"), folder());
    for wanted in all_windows() {
        // It has no more than 12 bits, and does not compress with less than 9.
        let bits = wanted.receive.window_bits;
        let most = WindowBits::new(12).expect("12 bits");
        let agreed = (bits > WindowBits::MIN).then(|| with_windows(wanted, bits.min(most)));
        exchange_compressed(server.address, wanted, agreed);
    }
}

#[test]
#[ignore = "needs Python's websockets: bash .ci/install"]
fn python_client_is_served_compressed() {
    run_client("client.py", serve(accept_compressing), true);
    run_client("client.py", serve(accept_compressing_little), true);
    serve_compressed("client.py");
}

#[test]
#[ignore = "needs Node's ws: bash .ci/install"]
fn node_client_is_served_compressed() {
    run_client("client.mjs", serve(accept_compressing), true);
    run_client("client.mjs", serve(accept_compressing_little), true);
    serve_compressed("client.mjs");
}

#[test]
#[ignore = "needs Node's ws: bash .ci/install"]
fn node_server_serves_compressed() {
    let server = ServerProcess::start("server.mjs", &mut script("server.mjs"), folder());
    for wanted in all_windows() {
        exchange_compressed(server.address, wanted, Some(wanted));
    }
}

#[test]
#[ignore = "needs Node's ws: bash .ci/install"]
fn node_client_is_served() {
    run_client("client.mjs", serve(accept_motews), true);
}

#[test]
#[ignore = "needs Node's ws: bash .ci/install"]
fn node_client_and_echo_example() {
    let server = ServerProcess::example("echo", folder());
    run_client("client.mjs", server.address, false);
}

#[test]
#[ignore = "needs Node's ws: bash .ci/install"]
fn node_client_and_event_driven_server() {
    run_client("client.mjs", start_event_driven("loops=2").address, false);
}

#[test]
#[ignore = "needs Node's ws: bash .ci/install"]
fn node_client_and_event_driven_server_over_tls() {
    run_client_over_tls("client.mjs");
}

#[test]
#[ignore = "needs Node's ws: bash .ci/install"]
fn node_server_serves() {
    let server = ServerProcess::start("server.mjs", &mut script("server.mjs"), folder());
    exchange(|| connect_motews(server.address), true);
    exchange(|| connect_compressing(server.address), true);
}

/// What a peer receives. Pings are answered and not mentioned.
#[derive(Debug, PartialEq)]
enum Received {
    Text(String),
    Binary(Vec<u8>),
    /// The code and the reason of a Close frame, after which the connection has ended.
    Close(u16, String),
}

/// One end of a connection, of whichever implementation.
trait Peer {
    fn text(&mut self, text: &str);
    fn binary(&mut self, bytes: &[u8]);
    /// Sends a text in many fragments, some of them empty if that is possible, with pings between.
    fn fragmented_text(&mut self, text: &str);
    /// Sends bytes in many fragments, with pings between.
    fn fragmented_binary(&mut self, bytes: &[u8]);
    /// Pings, and waits for the pong if the implementation tells of pongs. A newer ping replaces
    /// an unsent pong (RFC 6455 §5.5.3), so pongs for older pings may come before, or not at all.
    fn ping_pong(&mut self, payload: &[u8]);
    /// Starts the closing handshake.
    fn start_closing(&mut self, code: u16, reason: &str);
    /// Waits for the next message, or the close.
    fn receive(&mut self) -> Received;
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
        peer.text(text);
        assert_eq!(peer.receive(), Received::Text(text.to_owned()));
    }
    for length in [0, 1, 125, 126, 65_535, 65_536, 1 << 20] {
        let bytes: Vec<u8> = (0..=250).cycle().take(length).collect();
        peer.binary(&bytes);
        assert!(
            peer.receive() == Received::Binary(bytes),
            "binary of {length} bytes"
        );
    }

    let text = "fragments: 你好 🎉";
    peer.fragmented_text(text);
    assert_eq!(peer.receive(), Received::Text(text.to_owned()));
    let bytes: Vec<u8> = (0..=250).cycle().take(100_000).collect();
    peer.fragmented_binary(&bytes);
    assert!(
        peer.receive() == Received::Binary(bytes),
        "fragmented binary"
    );

    for payload in [&b""[..], b"hello", &[7; 125]] {
        peer.ping_pong(payload);
    }

    if commands {
        peer.text("!ping 你好");
        assert_eq!(peer.receive(), Received::Text("!pong 你好".to_owned()));
        peer.text("!fragments");
        assert_eq!(
            peer.receive(),
            Received::Text(FRAGMENTED_BY_SERVER.to_owned())
        );
    }

    let (code, reason) = CLOSE_BY_CLIENT;
    peer.start_closing(code, reason);
    let received = peer.receive();
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
            peer.text("!last-close");
            peer.receive() == seen
        });
        assert!(
            as_sent,
            "the server did not see the close that the client sent"
        );
        peer.text("!close");
        let (code, reason) = CLOSE_BY_SERVER;
        assert_eq!(peer.receive(), Received::Close(code, reason.to_owned()));
    }
}

/// Starts a server in a thread of its own, which ends with the test.
fn serve<P: Peer + 'static>(accept: fn(TcpStream) -> P) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener
        .local_addr()
        .expect("a bound listener has an address");
    let last_close = Arc::new(Mutex::new(String::new()));
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let last_close = Arc::clone(&last_close);
            thread::spawn(move || answer(accept(stream), &last_close));
        }
    });
    address
}

/// Starts the event-driven server, which echoes.
fn start_event_driven(loops: &str) -> ServerProcess {
    let mut command = Command::new(env!("CARGO_BIN_EXE_event_server"));
    ServerProcess::start(
        &format!("event_server-{loops}"),
        command.arg(loops),
        folder(),
    )
}

/// The server's part, for one connection.
fn answer<P: Peer>(mut peer: P, last_close: &Mutex<String>) {
    loop {
        match peer.receive() {
            Received::Text(text) => match text.strip_prefix('!') {
                None => peer.text(&text),
                Some("fragments") => peer.fragmented_text(FRAGMENTED_BY_SERVER),
                Some("last-close") => {
                    let last_close = last_close.lock().expect("no holder panics").clone();
                    peer.text(&last_close);
                }
                Some("close") => {
                    peer.start_closing(CLOSE_BY_SERVER.0, CLOSE_BY_SERVER.1);
                    let answer = peer.receive();
                    let code = CLOSE_BY_SERVER.0;
                    assert!(
                        matches!(answer, Received::Close(echo, _) if echo == code),
                        "{answer:?}"
                    );
                    return;
                }
                Some(command) => {
                    let payload = command.strip_prefix("ping ").expect("a known command");
                    peer.ping_pong(payload.as_bytes());
                    peer.text(&format!("!pong {payload}"));
                }
            },
            Received::Binary(bytes) => peer.binary(&bytes),
            Received::Close(code, reason) => {
                *last_close.lock().expect("no holder panics") = format!("{code} {reason}");
                return;
            }
        }
    }
}

/// Connects with motews, offering the subprotocols `unknown` and `echo`.
fn connect_motews(address: SocketAddr) -> WebSocket {
    let builder = Connector::new().subprotocols(["unknown", "echo"]);
    let socket = builder
        .connect(&format!("ws://{address}/"))
        .expect("motews connects");
    assert_eq!(socket.subprotocol(), Some("echo"));
    socket
}

/// The same, with compression, which the peer must have as well.
fn connect_compressing(address: SocketAddr) -> WebSocket {
    let builder = Connector::new()
        .subprotocols(["unknown", "echo"])
        .deflate(DeflateConfig::default());
    let socket = builder
        .connect(&format!("ws://{address}/"))
        .expect("motews connects");
    assert!(socket.deflate().is_some(), "the server has compression");
    socket
}

/// Accepts with motews and this compression, which the peer must have as well.
fn accept_with(config: DeflateConfig, stream: TcpStream) -> WebSocket<TcpStream, Server> {
    let builder = Acceptor::new().subprotocols(["echo"]).deflate(config);
    let socket = builder.accept(stream).expect("motews accepts");
    assert!(socket.deflate().is_some(), "the client has compression");
    socket
}

fn accept_compressing(stream: TcpStream) -> WebSocket<TcpStream, Server> {
    accept_with(DeflateConfig::default(), stream)
}

/// The same with windows of 512 bytes, and without context takeover.
fn accept_compressing_little(stream: TcpStream) -> WebSocket<TcpStream, Server> {
    let context = DeflateContext {
        window_bits: WindowBits::new(9).expect("9 bits"),
        takeover: false,
    };
    let config = DeflateConfig {
        send: context,
        receive: context,
    };
    accept_with(config, stream)
}

/// Windows of all sizes, the same for both sides, each with context takeover and without.
fn all_windows() -> impl Iterator<Item = DeflateConfig> {
    let alone = |context: DeflateContext| DeflateContext {
        takeover: false,
        ..context
    };
    let DeflateConfig { send, receive } = DeflateConfig::MAX;
    let both = [
        DeflateConfig::MAX,
        DeflateConfig {
            send: alone(send),
            receive: alone(receive),
        },
    ];
    let all_bits = (8..=15).filter_map(WindowBits::new);
    all_bits.flat_map(move |bits| both.map(|config| with_windows(config, bits)))
}

fn with_windows(config: DeflateConfig, window_bits: WindowBits) -> DeflateConfig {
    let limited = |context: DeflateContext| DeflateContext {
        window_bits,
        ..context
    };
    DeflateConfig {
        send: limited(config.send),
        receive: limited(config.receive),
    }
}

/// Connects with motews, and has messages of all length classes echoed. `agreed`: what the server
/// agrees to of what is wanted.
fn exchange_compressed(address: SocketAddr, wanted: DeflateConfig, agreed: Option<DeflateConfig>) {
    let builder = Connector::new().subprotocols(["echo"]);
    let socket = builder.deflate(wanted).connect(&format!("ws://{address}/"));
    let mut socket = socket.expect("motews connects");
    let as_wanted = |DeflateParams { send, receive }| DeflateConfig { send, receive };
    assert_eq!(socket.deflate().map(as_wanted), agreed);
    let mut account = Account::default();
    let mut echo = |message: Message| {
        socket.send(&message).expect("motews sends");
        let answer = socket.recv().expect("motews receives");
        assert!(answer.as_ref() == Some(&message), "{wanted:?}");
        account.note(message.as_bytes(), socket.traffic());
    };
    for length in [0, 1, 125, 126, 65_535, 65_536, 1 << 20] {
        let telemetry = (0..=length / 8).map(|n| format!("{{\"v\":{}}},", n % 997));
        let mut text: String = telemetry.collect();
        text.truncate(length);
        echo(Message::Text(text));
        echo(Message::Text("字".repeat(length / 3)));
        echo(Message::Binary((0..=250).cycle().take(length).collect()));
    }
    let mut noise = [0; 200];
    getrandom::fill(&mut noise).expect("random bytes");
    for _ in 0..20 {
        echo(Message::Binary(noise.to_vec()));
    }
    match agreed {
        Some(agreed) => account.check(agreed),
        None => assert_eq!(socket.traffic(), None),
    }
}

/// Serves the connections of a client's script, which offers windows of all sizes, with motews: the
/// blocking one, and then the event-driven one.
fn serve_compressed(name: &str) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    let (ended, accounts) = mpsc::channel();
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let builder = Acceptor::new().deflate(DeflateConfig::MAX);
            let mut socket = builder.accept(stream).expect("motews accepts");
            let mut account = Account::default();
            while let Some(message) = socket.recv().expect("motews receives") {
                socket.send(&message).expect("motews sends");
                account.note(message.as_bytes(), socket.traffic());
            }
            _ = ended.send(account);
        }
    });
    run_compressed_client(name, address, &accounts);

    let (ended, accounts) = mpsc::channel();
    let server = motews_std::Server::builder().deflate(DeflateConfig::MAX);
    let server = server.bind("127.0.0.1:0").expect("a free port");
    let handle = server.handle();
    thread::scope(|scope| {
        scope.spawn(|| server.run(CountingEcho(ended)));
        let _shuts_down = ShutsDown(&handle);
        run_compressed_client(name, handle.local_addr(), &accounts);
    });
}

/// Runs a client's script, and looks at what went over the wire in each of its connections.
fn run_compressed_client(name: &str, address: SocketAddr, accounts: &mpsc::Receiver<Account>) {
    let mut command = script(name);
    let url = format!("ws://{address}/");
    run_to_end(name, command.arg(url).arg("--deflate"));
    // First it leaves the windows to the server.
    let configs = all_windows().take(2).chain(all_windows());
    for config in configs {
        let account = accounts.recv_timeout(LIMIT).expect("a connection");
        account.check(config);
    }
    assert!(accounts.try_recv().is_err(), "connections without end");
}

/// An echo that tells, when a connection ends, what went over the wire.
#[derive(Clone)]
struct CountingEcho(mpsc::Sender<Account>);

impl Handler for CountingEcho {
    type Data = Account;

    fn on_open(&mut self, _: &mut motews_std::Peer<'_>, _: &Request) -> Result<Account, SendError> {
        Ok(Account::default())
    }

    fn on_message(
        &mut self,
        peer: &mut motews_std::Peer<'_, Account>,
        message: MessageRef<'_>,
    ) -> Result<(), SendError> {
        peer.send(message)?;
        let traffic = peer.traffic();
        peer.data_mut().note(message.as_bytes(), traffic);
        Ok(())
    }

    fn on_close(&mut self, peer: &mut motews_std::Peer<'_, Account>, _: Ended) {
        _ = self.0.send(core::mem::take(peer.data_mut()));
    }
}

/// What went over the wire, each way.
#[derive(Debug, Default)]
struct Account {
    last: Vec<u8>,
    all: Traffic,
    /// For messages that are the same as the one before: received, and sent.
    again: [Bytes; 2],
}

impl Account {
    /// Notes the traffic up to the echo of this message.
    fn note(&mut self, message: &[u8], traffic: Option<Traffic>) {
        let traffic = traffic.unwrap_or_default();
        if self.last == message {
            let both = [
                (traffic.received, self.all.received),
                (traffic.sent, self.all.sent),
            ];
            for (again, (now, before)) in self.again.iter_mut().zip(both) {
                again.plain += now.plain - before.plain;
                again.wire += now.wire - before.wire;
            }
        }
        self.last = message.to_vec();
        self.all = traffic;
    }

    /// Much was saved each way; and what was said just before is short if contexts are taken over,
    /// though it is noise.
    fn check(&self, agreed: DeflateConfig) {
        for Bytes { plain, wire } in [self.all.received, self.all.sent] {
            assert!(wire > 0 && wire < plain / 2, "{self:?}");
        }
        let contexts = [agreed.receive, agreed.send];
        for (again, context) in self.again.iter().zip(contexts) {
            assert_eq!(again.plain, 19 * 200);
            let is_short = again.wire < again.plain / 2;
            assert_eq!(is_short, context.takeover, "{agreed:?}: {self:?}");
        }
    }
}

/// Accepts with motews, choosing the subprotocol `echo` if it is offered.
fn accept_motews(stream: TcpStream) -> WebSocket<TcpStream, Server> {
    let builder = Acceptor::new().subprotocols(["echo"]);
    builder.accept(stream).expect("motews accepts")
}

impl<S: Share, R: Role> Peer for WebSocket<S, R> {
    fn text(&mut self, text: &str) {
        self.send(text).expect("motews sends");
    }

    fn binary(&mut self, bytes: &[u8]) {
        self.send(bytes).expect("motews sends");
    }

    fn fragmented_text(&mut self, text: &str) {
        let sender = self.sender().expect("motews has another handle");
        let mut message = self.stream_text();
        for (index, c) in text.char_indices() {
            message
                .write(c.encode_utf8(&mut [0; 4]))
                .expect("motews writes");
            message.flush().expect("motews flushes");
            sender.ping(&index.to_be_bytes()).expect("motews pings");
        }
        message.finish().expect("motews finishes");
    }

    fn fragmented_binary(&mut self, bytes: &[u8]) {
        let sender = self.sender().expect("motews has another handle");
        let mut message = self.stream_binary();
        for (index, fragment) in bytes.chunks(5000).enumerate() {
            message.write_all(fragment).expect("motews writes");
            message.flush().expect("motews flushes");
            sender.ping(&index.to_be_bytes()).expect("motews pings");
        }
        message.finish().expect("motews finishes");
    }

    fn ping_pong(&mut self, payload: &[u8]) {
        self.ping(payload).expect("motews pings");
    }

    fn start_closing(&mut self, code: u16, reason: &str) {
        let code = CloseCode::new(code);
        self.close(code, reason).expect("motews closes");
    }

    fn receive(&mut self) -> Received {
        match self.recv().expect("motews receives") {
            Some(Message::Text(text)) => Received::Text(text),
            Some(Message::Binary(bytes)) => Received::Binary(bytes),
            None => {
                let ended = self.ended().expect("motews knows how it ended");
                assert!(ended.is_clean(), "{ended:?}");
                Received::Close(ended.code().as_u16(), self.close_reason().to_owned())
            }
        }
    }
}

/// Connects with tungstenite, offering the subprotocols `unknown` and `echo` if `subprotocol`.
fn connect_tungstenite(address: SocketAddr, subprotocol: bool) -> Tungstenite {
    use tungstenite::client::{IntoClientRequest, client};
    let mut request = format!("ws://{address}/")
        .into_client_request()
        .expect("a request");
    if subprotocol {
        let offer = "unknown, echo".parse().expect("a header's value");
        request
            .headers_mut()
            .insert("Sec-WebSocket-Protocol", offer);
    }
    let (socket, response) = client(request, connect_tcp(address)).expect("tungstenite connects");
    let chosen = response.headers().get("Sec-WebSocket-Protocol");
    let chosen = chosen.map(|value| value.to_str().expect("a token"));
    assert_eq!(chosen, subprotocol.then_some("echo"));
    socket
}

/// Accepts with tungstenite, choosing the subprotocol `echo`.
fn accept_tungstenite(stream: TcpStream) -> Tungstenite {
    use tungstenite::handshake::server::{Request, Response};
    #[expect(clippy::result_large_err, reason = "tungstenite's signature")]
    let choose = |_: &Request, mut response: Response| {
        let chosen = "echo".parse().expect("a header's value");
        response
            .headers_mut()
            .insert("Sec-WebSocket-Protocol", chosen);
        Ok(response)
    };
    tungstenite::accept_hdr(stream, choose).expect("tungstenite accepts")
}

/// Sends a message in these fragments, with a ping after each but the last.
fn send_fragments(socket: &mut Tungstenite, mut kind: Data, fragments: &[&[u8]]) {
    for (index, fragment) in fragments.iter().enumerate() {
        let fin = index + 1 == fragments.len();
        let frame = Frame::message(fragment.to_vec(), OpCode::Data(kind), fin);
        let frame = tungstenite::Message::Frame(frame);
        socket.send(frame).expect("tungstenite sends");
        if !fin {
            let ping = tungstenite::Message::Ping(index.to_be_bytes().to_vec().into());
            socket.send(ping).expect("tungstenite sends");
        }
        kind = Data::Continue;
    }
}

impl Peer for Tungstenite {
    fn text(&mut self, text: &str) {
        self.send(text.into()).expect("tungstenite sends");
    }

    fn binary(&mut self, bytes: &[u8]) {
        self.send(bytes.to_vec().into()).expect("tungstenite sends");
    }

    fn fragmented_text(&mut self, text: &str) {
        // Every byte a fragment of its own: the code points are split too.
        let bytes = text.as_bytes().chunks(1);
        let fragments: Vec<&[u8]> = [&[][..]]
            .into_iter()
            .chain(bytes)
            .chain([&[][..]])
            .collect();
        send_fragments(self, Data::Text, &fragments);
    }

    fn fragmented_binary(&mut self, bytes: &[u8]) {
        let fragments: Vec<&[u8]> = bytes.chunks(5000).collect();
        send_fragments(self, Data::Binary, &fragments);
    }

    fn ping_pong(&mut self, payload: &[u8]) {
        let ping = tungstenite::Message::Ping(payload.to_vec().into());
        self.send(ping).expect("tungstenite sends");
        loop {
            match self.read().expect("tungstenite receives") {
                tungstenite::Message::Pong(pong) if pong == payload => return,
                tungstenite::Message::Pong(_) => {}
                message => panic!("{message:?} instead of a pong"),
            }
        }
    }

    fn start_closing(&mut self, code: u16, reason: &str) {
        let frame = tungstenite::protocol::CloseFrame {
            code: code.into(),
            reason: reason.into(),
        };
        self.close(Some(frame)).expect("tungstenite closes");
    }

    fn receive(&mut self) -> Received {
        loop {
            match self.read().expect("tungstenite receives") {
                tungstenite::Message::Text(text) => return Received::Text(text.to_string()),
                tungstenite::Message::Binary(bytes) => return Received::Binary(bytes.to_vec()),
                tungstenite::Message::Close(frame) => {
                    // Answers the close, and waits for the end of the stream.
                    while self.read().is_ok() {}
                    let frame = frame.expect("every close here has a code");
                    return Received::Close(frame.code.into(), frame.reason.to_string());
                }
                _ => {}
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

/// Runs a client's script to its end.
fn run_client(name: &str, address: SocketAddr, commands: bool) {
    let mut command = script(name);
    command
        .arg(format!("ws://{address}/"))
        .args(commands.then_some("--commands"));
    run_to_end(name, &mut command);
}

fn run_to_end(name: &str, command: &mut Command) {
    motews_tests::run_to_end(name, command, LIMIT, folder());
}

/// Runs a client's script against the event-driven server behind TLS, with two loops.
fn run_client_over_tls(name: &str) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a key");
    let base64 = base64::engine::general_purpose::STANDARD.encode(made.cert.der());
    let ca = folder().join(format!("{name}.pem"));
    let pem = format!("-----BEGIN CERTIFICATE-----\n{base64}\n-----END CERTIFICATE-----\n");
    fs::write(&ca, pem).expect("the folder is writable");
    let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key.into())
        .expect("a certificate and its key");

    let server = motews_std::Server::builder()
        .tls(Arc::new(config))
        .bind("127.0.0.1:0")
        .expect("a free port");
    let handle = server.handle();
    thread::scope(|scope| {
        scope.spawn(|| {
            server.run_threads(2, || {
                |peer: &mut motews_std::Peer<'_>, message: MessageRef<'_>| peer.send(message)
            })
        });
        let _shuts_down = ShutsDown(&handle);
        let mut command = script(name);
        command
            .arg(format!("wss://localhost:{}/", handle.local_addr().port()))
            // What OpenSSL and Node trust.
            .env("SSL_CERT_FILE", &ca)
            .env("NODE_EXTRA_CA_CERTS", &ca);
        run_to_end(name, &mut command);
    });
}

/// Shuts a server down, also when the test fails.
struct ShutsDown<'a>(&'a ServerHandle);

impl Drop for ShutsDown<'_> {
    fn drop(&mut self) {
        self.0.shutdown(Duration::ZERO);
    }
}
