//! WebSockets over HTTP/2 (RFC 8441) with real peers: Chromium, Python's h2 and websockets, undici.
//!
//! The server is hyper behind TLS, in this process, so that each test asks the server itself which
//! version of HTTP each WebSocket came by, and on which connection. It echoes, and closes with
//! [`CLOSE_BY_SERVER`] when it is sent `!close`.

use core::convert::Infallible;
use core::net::SocketAddr;
use core::sync::atomic::{AtomicUsize, Ordering};
use core::time::Duration;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response, Version, server};
use hyper_util::rt::{TokioExecutor, TokioIo};
use motews_tests::browser::Browser;
use motews_tests::{run_to_end, script, wait_until};
use motews_tokio::{Acceptor, CloseCode, DeflateConfig, Ended, Message, Upgrading};
use rustls::ServerConfig;
use rustls::pki_types::PrivatePkcs8KeyDer;
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

const CLOSE_BY_CLIENT: (u16, &str) = (4001, "client 再见");
const CLOSE_BY_SERVER: (u16, &str) = (4002, "server 再见");

/// How long a script may take.
const LIMIT: Duration = Duration::from_secs(60);

/// What the server has seen of one WebSocket.
#[derive(Clone, Debug)]
struct Seen {
    version: Version,
    connection: usize,
    is_compressed: bool,
    has_key: bool,
    messages: usize,
    ended: Option<(Ended, String)>,
}

#[derive(Debug)]
struct Server {
    /// Whether it offers extended CONNECT.
    offers: bool,
    connections: AtomicUsize,
    /// The connection that the page came by, and its version.
    page: Mutex<Option<(Version, usize)>>,
    seen: Mutex<Vec<Seen>>,
}

impl Server {
    /// Serves until the process ends.
    fn start(offers: bool) -> (Arc<Self>, SocketAddr) {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a key");
        let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
        let mut config = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key.into())
            .expect("a certificate and its key");
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let server = Arc::new(Self {
            offers,
            connections: AtomicUsize::new(0),
            page: Mutex::default(),
            seen: Mutex::default(),
        });
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0"));
        let listener = listener.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let accepting = server.clone();
        thread::spawn(move || {
            runtime.block_on(async {
                let tls = TlsAcceptor::from(Arc::new(config));
                while let Ok((stream, _)) = listener.accept().await {
                    tokio::spawn(accepting.clone().serve(tls.clone(), stream));
                }
            });
        });
        (server, address)
    }

    async fn serve(self: Arc<Self>, tls: TlsAcceptor, stream: TcpStream) {
        let Ok(stream) = tls.accept(stream).await else {
            return; // a browser that opens more connections than it needs
        };
        let id = self.connections.fetch_add(1, Ordering::Relaxed);
        let is_h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        let service = service_fn(|request| {
            let response = self.clone().respond(id, request);
            async { Ok::<_, Infallible>(response) }
        });
        let stream = TokioIo::new(stream);
        // A client may go whenever it likes.
        let _ = if is_h2 {
            let mut builder = server::conn::http2::Builder::new(TokioExecutor::new());
            if self.offers {
                builder.enable_connect_protocol();
            }
            builder.serve_connection(stream, service).await
        } else {
            let builder = server::conn::http1::Builder::new();
            let connection = builder.serve_connection(stream, service);
            connection.with_upgrades().await
        };
    }

    fn respond(self: Arc<Self>, id: usize, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let (mut parts, _) = request.into_parts();
        if parts.uri.path() != "/chat" {
            let mut page = self.page.lock().expect("no panic");
            page.get_or_insert((parts.version, id));
            let mut response = Response::new(Full::from("<title>page</title>"));
            let headers = response.headers_mut();
            headers.insert("content-type", "text/html".parse().expect("a value"));
            return response;
        }
        let acceptor = Acceptor::new()
            .subprotocols(["echo"])
            .deflate(DeflateConfig::DEFAULT);
        match acceptor.upgrade(&mut parts) {
            Ok((response, upgrading)) => {
                let mut seen = self.seen.lock().expect("no panic");
                seen.push(Seen {
                    version: parts.version,
                    connection: id,
                    is_compressed: response.headers().contains_key("sec-websocket-extensions"),
                    has_key: response.headers().contains_key("sec-websocket-accept"),
                    messages: 0,
                    ended: None,
                });
                let index = seen.len() - 1;
                drop(seen);
                tokio::spawn(self.clone().echo(upgrading, index));
                response.map(Full::from)
            }
            Err(error) => error.response().map(Full::from),
        }
    }

    async fn echo(self: Arc<Self>, upgrading: Upgrading, index: usize) {
        let mut ws = upgrading.open().await.expect("it opens");
        while let Ok(Some(message)) = ws.recv().await {
            self.seen.lock().expect("no panic")[index].messages += 1;
            if message == Message::from("!close") {
                let (code, reason) = CLOSE_BY_SERVER;
                ws.close(CloseCode::new(code), reason).expect("it is open");
            } else {
                ws.send(message).await.expect("it is open");
            }
        }
        let ended = ws.closed().await;
        let ended = (ended, ws.close_reason().to_owned());
        self.seen.lock().expect("no panic")[index].ended = Some(ended);
    }

    /// Waits until so many WebSockets have ended, and returns what was seen of all.
    fn ended(&self, count: usize) -> Vec<Seen> {
        let all = || self.seen.lock().expect("no panic").clone();
        let done = wait_until(Duration::from_secs(10), || {
            all().iter().filter(|seen| seen.ended.is_some()).count() == count
        });
        assert!(done, "{:#?}", all());
        all()
    }
}

/// The first was closed by the client, the second by the server.
fn check(seen: &[Seen], version: Version, is_compressed: bool, has_key: bool) {
    assert_eq!(seen.len(), 2, "{seen:#?}");
    for seen in seen {
        assert_eq!(seen.version, version, "{seen:#?}");
        assert_eq!(seen.is_compressed, is_compressed, "{seen:#?}");
        assert_eq!(seen.has_key, has_key, "{seen:#?}");
    }
    assert!(seen[0].messages >= 14, "{seen:#?}");
    for (seen, (code, reason)) in seen.iter().zip([CLOSE_BY_CLIENT, CLOSE_BY_SERVER]) {
        let (ended, told) = seen.ended.as_ref().expect("it has ended");
        assert!(ended.is_clean(), "{ended}");
        assert_eq!(ended.code(), CloseCode::new(code), "{ended}");
        if code == CLOSE_BY_CLIENT.0 {
            assert_eq!(told, reason);
        }
    }
}

fn run(name: &str, address: SocketAddr, arguments: &[&str]) {
    let mut command = script(name);
    command
        .arg(format!("wss://localhost:{}/chat", address.port()))
        .args(arguments);
    run_to_end(name, &mut command, LIMIT, folder());
}

#[test]
#[ignore = "needs Python's h2 and websockets: bash .ci/install"]
fn python_client_is_served_over_http2() {
    let (server, address) = Server::start(true);
    run("h2_client.py", address, &[]);
    check(&server.ended(2), Version::HTTP_2, false, false);
}

#[test]
#[ignore = "needs Python's h2 and websockets: bash .ci/install"]
fn python_client_is_served_compressed_over_http2() {
    let (server, address) = Server::start(true);
    run("h2_client.py", address, &["--deflate"]);
    check(&server.ended(2), Version::HTTP_2, true, false);
}

#[test]
#[ignore = "needs Python's h2 and websockets: bash .ci/install"]
fn python_client_without_extended_connect_falls_back_to_http1() {
    let (server, address) = Server::start(false);
    run("h2_client.py", address, &["--deflate"]);
    check(&server.ended(2), Version::HTTP_11, true, true);
}

#[test]
#[ignore = "needs undici: bash .ci/install"]
fn undici_is_served_over_http2_with_its_key_answered() {
    let (server, address) = Server::start(true);
    run("h2_client.mjs", address, &[]);
    check(&server.ended(2), Version::HTTP_2, true, true);
}

#[test]
#[ignore = "needs undici: bash .ci/install"]
fn undici_without_extended_connect_falls_back_to_http1() {
    let (server, address) = Server::start(false);
    run("h2_client.mjs", address, &[]);
    check(&server.ended(2), Version::HTTP_11, true, true);
}

/// Opens two WebSockets in the page: one that it closes, and one that the server closes.
const EXCHANGE: &str = r#"
window.exchanged = null;
(async () => {
  const next = (socket, event) => new Promise((done, fail) => {
    socket.addEventListener(event, done, { once: true });
    if (event !== "close") {
      socket.addEventListener("close", ({ code }) => fail(new Error(`closed: ${code}`)), { once: true });
    }
  });
  const open = async () => {
    const socket = new WebSocket(`wss://${location.host}/chat`, ["unknown", "echo"]);
    socket.binaryType = "arraybuffer";
    await next(socket, "open");
    return socket;
  };
  const bytes = (data) => typeof data === "string" ? new TextEncoder().encode(data) : new Uint8Array(data);
  let socket = await open();
  const echo = async (message) => {
    const answer = next(socket, "message");
    socket.send(message);
    const { data } = await answer;
    const [sent, come] = [bytes(message), bytes(data)];
    if (typeof data !== typeof message || come.length !== sent.length || !come.every((byte, at) => byte === sent[at])) {
      throw new Error(`${sent.length} bytes came back as ${come.length}`);
    }
  };
  for (const length of [0, 1, 125, 126, 65535, 65536, 1 << 20]) {
    await echo('{"v":42},'.repeat(length / 9 + 1).slice(0, length));
    await echo(Uint8Array.from({ length }, (_, at) => at % 251));
  }
  await echo("你好，世界 🎉".repeat(9999));
  const { extensions, protocol } = socket;
  let closed = next(socket, "close");
  socket.close(4001, "client 再见");
  const byClient = (await closed).code;
  socket = await open();
  closed = next(socket, "close");
  socket.send("!close");
  const { code, reason, wasClean } = await closed;
  return { extensions, protocol, byClient, byServer: `${code} ${reason} ${wasClean}` };
})().then((all) => { window.exchanged = all; }, (error) => { window.exchanged = { error: String(error) }; });
"#;

/// Has a page of the server, over HTTP/2, exchange messages with it.
fn browse(name: &str, address: SocketAddr) {
    let browser = Browser::start_with(name, folder(), &["--ignore-certificate-errors"]);
    browser.open(&format!("https://localhost:{}/", address.port()));
    let _ = browser.run(EXCHANGE, json!([]));
    browser.expect("the end of the exchange", |browser| {
        !browser.run("return window.exchanged", json!([])).is_null()
    });
    let exchanged = browser.run("return window.exchanged", json!([]));
    assert_eq!(
        exchanged,
        json!({
            "extensions": "permessage-deflate",
            "protocol": "echo",
            "byClient": CLOSE_BY_CLIENT.0,
            "byServer": format!("{} {} true", CLOSE_BY_SERVER.0, CLOSE_BY_SERVER.1),
        })
    );
}

#[test]
#[ignore = "needs Chromium and chromedriver: bash .ci/install"]
fn chromium_opens_its_websockets_on_the_http2_connection_of_the_page() {
    let (server, address) = Server::start(true);
    browse("http2", address);
    let seen = server.ended(2);
    check(&seen, Version::HTTP_2, true, false);
    let page = *server.page.lock().expect("no panic");
    let (version, connection) = page.expect("the page was asked for");
    assert_eq!(version, Version::HTTP_2);
    // Both on the connection that the page came by.
    assert!(
        seen.iter().all(|seen| seen.connection == connection),
        "{connection}: {seen:#?}"
    );
}

#[test]
#[ignore = "needs Chromium and chromedriver: bash .ci/install"]
fn chromium_without_extended_connect_falls_back_to_http1() {
    let (server, address) = Server::start(false);
    browse("http2-fallback", address);
    check(&server.ended(2), Version::HTTP_11, true, true);
    let page = *server.page.lock().expect("no panic");
    let (version, _) = page.expect("the page was asked for");
    assert_eq!(version, Version::HTTP_2);
}

fn folder() -> &'static Path {
    Path::new(env!("CARGO_TARGET_TMPDIR"))
}
