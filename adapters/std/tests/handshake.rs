//! The opening handshake through the public API, both roles, against raw bytes and each other.

mod support;

use core::net::SocketAddr;
use core::sync::atomic::{AtomicUsize, Ordering};
use core::time::Duration;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Instant;

use motews_std::{
    AcceptError, Acceptor, ConfigError, ConnectError, Connector, DEFAULT_LIMITS, HandshakeError,
    Limits, Plain, Request, Response, Timeouts, UrlError, WebSocket, role::Server,
};
use motews_testkit::frame::masked;
use motews_testkit::head::{Head, RESPONSE, accept, read as read_head};
use motews_testkit::transport::Script;
use support::{REQUEST, key_of, serve};

/// The request of RFC 6455 §1.2.
fn sample() -> Head {
    Head::request()
        .with("Host", "server.example.com")
        .and("Origin", "http://example.com")
        .and("Sec-WebSocket-Protocol", "chat, superchat")
}

type Accepted = Result<WebSocket<TcpStream, Server>, AcceptError>;

/// Sends `request` to a server, and tells what it answers and what it makes of it.
fn ask(
    request: &[u8],
    builder: Acceptor,
    callback: impl FnMut(&Request) -> Response + Send + 'static,
) -> (String, Accepted) {
    let (addr, server) = serve(move |stream| builder.accept_with(stream, callback));
    let mut client = TcpStream::connect(addr).unwrap();
    client.write_all(request).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let head = read_head(&mut client);
    let mut body = String::new();
    if !head.starts_with("HTTP/1.1 101") {
        client.read_to_string(&mut body).unwrap();
    }
    (head + &body, server.join().unwrap())
}

fn ask_plainly(request: &[u8]) -> (String, Accepted) {
    ask(request, Acceptor::new(), |_| Response::accepted())
}

// ---- server ----

/// HS13, with the RFC's sample key; HS14; HS19
#[test]
fn accepting_sample_request_gets_the_sample_response() {
    let builder = Acceptor::new()
        .subprotocols(["superchat", "chat"])
        .header("Server", "motews");
    let request = [sample().to_bytes(), masked(0x81, b"first frame")].concat();
    let (response, accepted) = ask(&request, builder, |request| {
        assert!(request.is_websocket());
        assert_eq!(request.method(), "GET");
        assert_eq!((request.path(), request.query()), ("/chat", None));
        assert_eq!(request.host(), Some("server.example.com"));
        assert_eq!(request.origin(), Some("http://example.com"));
        let offered: Vec<_> = request.subprotocols().collect();
        assert_eq!(offered, ["chat", "superchat"]);
        Response::accepted().header("Set-Cookie", "a=b")
    });
    assert_eq!(
        response,
        "HTTP/1.1 101 Switching Protocols\r\n\
        Upgrade: websocket\r\n\
        Connection: Upgrade\r\n\
        Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\
        Sec-WebSocket-Protocol: superchat\r\n\
        Server: motews\r\n\
        Set-Cookie: a=b\r\n\
        \r\n"
    );
    let mut server = accepted.unwrap();
    assert_eq!(server.subprotocol(), Some("superchat"));
    assert_eq!(server.recv().unwrap(), Some("first frame".into()));
}

#[test]
fn accepting_callback_sees_everything() {
    let long = "c".repeat(20_000);
    let request = format!(
        "GET http://example.com/a%20b?room=1&x HTTP/1.1\r\n\
        host: example.com\r\n\
        upgrade: WebSocket\r\n\
        connection: keep-alive, Upgrade\r\n\
        sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
        sec-websocket-version: 13\r\n\
        authorization: Bearer 42\r\n\
        cookie: a=b; session={long}\r\n\
        cookie: c=\r\n\
        x-twice: 1\r\n\
        x-twice: 2\r\n\r\n"
    );
    let (response, accepted) = ask(request.as_bytes(), Acceptor::new(), move |request| {
        assert_eq!(
            (request.path(), request.query()),
            ("/a%20b", Some("room=1&x"))
        );
        assert_eq!(request.target(), "http://example.com/a%20b?room=1&x");
        assert_eq!(request.authorization(), Some("Bearer 42"));
        assert_eq!(request.origin(), None);
        assert_eq!(request.subprotocols().count(), 0);
        let cookies: Vec<_> = request.cookies().collect();
        assert_eq!(cookies, [("a", "b"), ("session", long.as_str()), ("c", "")]);
        assert_eq!(
            request.header_all("X-Twice").collect::<Vec<_>>(),
            ["1", "2"]
        );
        assert_eq!(request.headers().count(), 10);
        Response::accepted()
    });
    assert!(response.starts_with("HTTP/1.1 101 "), "{response}");
    accepted.unwrap();
}

/// HS10, HS11, EX05
#[test]
fn accepting_callback_refuses_with_any_response() {
    let (response, accepted) = ask(REQUEST, Acceptor::new(), |_| {
        Response::new(401)
            .header("WWW-Authenticate", "Basic realm=\"x\"")
            .body("Who are you?\n")
    });
    assert_eq!(
        response,
        "HTTP/1.1 401 Unauthorized\r\n\
        WWW-Authenticate: Basic realm=\"x\"\r\n\
        Connection: close\r\n\
        Content-Length: 13\r\n\
        \r\n\
        Who are you?\n"
    );
    assert!(matches!(accepted, Err(AcceptError::Answered(401))));
}

/// dwebsocket's `accept_websocket`: the same path serves plain HTTP
#[test]
fn accepting_plain_http_is_answered_by_the_callback() {
    let page = |request: &Request| {
        assert!(!request.is_websocket());
        assert_eq!(request.path(), "/chat");
        Response::new(200)
            .header("Content-Type", "text/html")
            .body("<p>Hello")
    };
    let get = b"GET /chat HTTP/1.1\r\nHost: x\r\n\r\n";
    let (response, accepted) = ask(get, Acceptor::new(), page);
    assert!(response.starts_with("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n"));
    assert!(response.ends_with("Content-Length: 8\r\n\r\n<p>Hello"));
    assert!(matches!(accepted, Err(AcceptError::Answered(200))));
    // HEAD has the same head.
    let head = b"HEAD /chat HTTP/1.1\r\nHost: x\r\n\r\n";
    let (response, _) = ask(head, Acceptor::new(), page);
    assert!(
        response.ends_with("Content-Length: 8\r\n\r\n"),
        "{response}"
    );
    // POST as well, and its body does no harm.
    let post = b"POST /chat HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello";
    let (response, _) = ask(post, Acceptor::new(), page);
    assert!(response.starts_with("HTTP/1.1 200 OK\r\n"), "{response}");
    // To accept it is not possible.
    let (response, accepted) = ask_plainly(get);
    assert!(
        response.starts_with("HTTP/1.1 426 Upgrade Required\r\n"),
        "{response}"
    );
    assert!(matches!(
        accepted,
        Err(AcceptError::Handshake(HandshakeError::NotUpgrade))
    ));
}

/// RFC 9110 §6.4.1, §9.3.2: no body where there is none, and a whole head.
#[test]
fn accepting_answers_to_head_and_of_bodiless_statuses_end_with_their_head() {
    let answer = |method: &str, status: u16, body: Vec<u8>| {
        let request = format!("{method} / HTTP/1.1\r\nHost: x\r\n\r\n");
        let callback = move |_: &Request| Response::new(status).body(body.clone());
        ask(request.as_bytes(), Acceptor::new(), callback).0
    };
    for method in ["GET", "HEAD", "POST"] {
        for (status, body) in [
            (204, &b"gone"[..]),
            (304, b"gone"),
            (204, &[0; 1000]),
            (304, b""),
        ] {
            let response = answer(method, status, body.to_vec());
            assert!(
                response.ends_with("\r\nConnection: close\r\n\r\n"),
                "{response}"
            );
        }
        let response = answer(method, 404, vec![b'x'; 1000]);
        let body = if method == "HEAD" {
            String::new()
        } else {
            "x".repeat(1000)
        };
        let end = format!("\r\nContent-Length: 1000\r\n\r\n{body}");
        assert!(response.ends_with(&end), "{response}");
    }
    // So is the answer to a HEAD that asks for a WebSocket.
    let head = sample().to_string().replace("GET ", "HEAD ");
    let (response, _) = ask_plainly(head.as_bytes());
    assert!(response.starts_with("HTTP/1.1 400 "), "{response}");
    assert!(
        response.ends_with("\r\nContent-Length: 6\r\n\r\n"),
        "{response}"
    );
}

/// One byte beyond ASCII hides nothing but itself.
#[test]
fn accepting_request_with_bytes_beyond_ascii_shows_the_rest() {
    let request = [
        &b"GET http://h?room=1 HTTP/1.1\r\nHost: h\r\nCookie: city=Montr\xe9al; session=42\r\n"[..],
        b"Cookie: name=J\xc3\xbcrgen; \xff=1;; =; a\r\nX-City: Montr\xe9al\r\nX-City: Bern\r\n",
        b"Sec-WebSocket-Protocol: chat.\xe9, chat\r\n\r\n",
    ]
    .concat();
    let (response, _) = ask(&request, Acceptor::new(), |request| {
        assert_eq!((request.path(), request.query()), ("/", Some("room=1")));
        let cookies: Vec<_> = request.cookies().collect();
        assert_eq!(
            cookies,
            [("session", "42"), ("name", "J\u{fc}rgen"), ("", "")]
        );
        assert_eq!(request.header_all("X-City").collect::<Vec<_>>(), ["Bern"]);
        assert_eq!(request.subprotocols().collect::<Vec<_>>(), ["chat"]);
        Response::new(200)
    });
    assert!(response.starts_with("HTTP/1.1 200 OK\r\n"), "{response}");
}

/// What deployed clients send beside what the RFC asks for: refusing it protects nobody.
///
/// HS02, HS03, HS14
#[test]
fn accepting_requests_of_deployed_clients_open() {
    let sample = sample().to_string();
    let requests = [
        format!("\r\n\r\n{sample}"),
        sample.replace("GET /chat", "GET ws://server.example.com/chat"),
        sample.replace("GET /chat", "GET /caf\u{e9}"),
        sample.replace("chat, superchat", ""),
        sample.replace("chat, superchat", "ogmios.v1:compact, YQ==, superchat"),
        sample.replace("Host:", "Sec-WebSocket-Extensions:\r\nHost:"),
    ];
    for request in requests {
        let builder = Acceptor::new().subprotocols(["superchat"]);
        let (response, accepted) = ask(request.as_bytes(), builder, |_| Response::accepted());
        assert!(response.starts_with("HTTP/1.1 101 "), "{request}{response}");
        let offered = request.contains("superchat");
        let chosen = offered.then_some("superchat");
        assert_eq!(accepted.unwrap().subprotocol(), chosen, "{request}");
    }
    // The application may choose what is no token, if it is offered.
    let request = sample.replace("chat, superchat", "ogmios.v1:compact");
    let choose = |name: &'static str| {
        ask(request.as_bytes(), Acceptor::new(), move |_| {
            Response::accepted().subprotocol(name)
        })
    };
    let (response, _) = choose("ogmios.v1:compact");
    assert!(
        response.contains("\r\nSec-WebSocket-Protocol: ogmios.v1:compact\r\n"),
        "{response}"
    );
    let (response, accepted) = choose("ogmios.v1");
    assert!(response.starts_with("HTTP/1.1 400 "), "{response}");
    assert!(response.contains("does not offer the subprotocol"));
    assert!(matches!(
        accepted,
        Err(AcceptError::Config(ConfigError::NotOffered))
    ));
}

/// HS01, HS02, HS04, HS06 to HS09, HS20, HS23
#[test]
fn accepting_incorrect_request_is_refused_with_the_fitting_status() {
    let sample = sample().to_string();
    let cases = [
        (sample.replace("GET ", "POST "), 400, HandshakeError::Method),
        (
            sample.replace("HTTP/1.1", "HTTP/1.0"),
            400,
            HandshakeError::HttpVersion,
        ),
        (
            sample.replace("Host:", "X-Host:"),
            400,
            HandshakeError::Host,
        ),
        (
            sample.replace("Connection: Upgrade", "Connection: close"),
            400,
            HandshakeError::Connection,
        ),
        (
            sample.replace("dGhlIHNhbXBsZSBub25jZQ==", "short"),
            400,
            HandshakeError::Key,
        ),
        (
            sample.replace("Version: 13", "Version: 8"),
            426,
            HandshakeError::UnsupportedVersion,
        ),
        (
            sample.replace("Host: ", "Sec-WebSocket-Extensions: a,, b\r\nHost: "),
            400,
            HandshakeError::Extensions,
        ),
        (
            sample.replace("Host: ", "Host : "),
            400,
            HandshakeError::HeaderName,
        ),
        (
            sample.replace("Host: ", "Content-Length: 5\r\nHost: "),
            400,
            HandshakeError::Body,
        ),
        (
            "nonsense\r\n\r\n".to_owned(),
            400,
            HandshakeError::StartLine,
        ),
        (
            format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(9000)),
            414,
            HandshakeError::StartLineTooLong,
        ),
    ];
    for (request, status, error) in cases {
        let (response, accepted) = ask(request.as_bytes(), Acceptor::new(), |_| {
            panic!("not for the application")
        });
        assert!(
            response.starts_with(&format!("HTTP/1.1 {status} ")),
            "{response}"
        );
        // A 400 has a body that says why.
        let (_, body) = response.split_once("\r\n\r\n").unwrap();
        assert_eq!(body.is_empty(), status != 400, "{response}");
        match accepted {
            Err(AcceptError::Handshake(found)) => assert_eq!(found, error),
            other => panic!("{other:?}"),
        }
    }
}

/// HS21, at 0, at the limit and one below
#[test]
fn accepting_limits_are_exact() {
    let len = REQUEST.len() as u32;
    let limit = |head, headers| {
        Acceptor::new().limits(Limits {
            head,
            headers,
            ..DEFAULT_LIMITS
        })
    };
    ask(REQUEST, limit(len, 5), |_| Response::accepted())
        .1
        .unwrap();
    for builder in [limit(len - 1, 5), limit(0, 5), limit(len, 4), limit(len, 0)] {
        let (response, accepted) = ask(REQUEST, builder, |_| Response::accepted());
        let status = &response[..12];
        assert!(
            ["HTTP/1.1 431", "HTTP/1.1 414"].contains(&status),
            "{response}"
        );
        assert!(matches!(accepted, Err(AcceptError::Handshake(_))));
    }
}

/// HC24's mirror: nothing that a caller gives can break a line
#[test]
fn accepting_response_with_a_line_break_is_not_sent() {
    type Callback = fn() -> Response;
    let cases: [(Callback, ConfigError); 5] = [
        (
            || Response::accepted().header("X", "a\r\nY: b"),
            ConfigError::HeaderValue,
        ),
        (
            || Response::accepted().header("X\r\nY", "b"),
            ConfigError::HeaderName,
        ),
        (
            || Response::accepted().header("Upgrade", "h2c"),
            ConfigError::ReservedHeader,
        ),
        (
            || Response::new(404).header("X", "a\nb"),
            ConfigError::HeaderValue,
        ),
        (|| Response::new(99), ConfigError::Status),
    ];
    for (callback, error) in cases {
        let (response, accepted) = ask(REQUEST, Acceptor::new(), move |_| callback());
        assert!(response.starts_with("HTTP/1.1 500 "), "{response}");
        assert!(!response.contains("Y: b"));
        match accepted {
            Err(AcceptError::Config(found)) => assert_eq!(found, error),
            other => panic!("{other:?}"),
        }
    }
}

/// MS08 for the handshake: the client leaves in its midst
#[test]
fn accepting_client_leaves_is_an_error() {
    let (addr, server) = serve(|stream| motews_std::accept(stream).map(drop));
    TcpStream::connect(addr)
        .unwrap()
        .write_all(&REQUEST[..50])
        .unwrap();
    assert!(matches!(server.join().unwrap(), Err(AcceptError::Io(_))));
}

// ---- client ----

/// A server that answers `response`, whatever it is asked; it tells the request.
fn respond(response: impl Into<Vec<u8>>) -> (SocketAddr, JoinHandle<String>) {
    let response = response.into();
    serve(move |mut stream| {
        let request = read_head(&mut stream);
        let _ = stream.write_all(&response);
        request
    })
}

fn connect(addr: SocketAddr) -> Result<WebSocket, ConnectError> {
    motews_std::connect(&format!("ws://{addr}/path?query"))
}

/// HC05 to HC11
#[test]
fn connecting_request_is_as_the_rfc_has_it() {
    let (addr, server) = respond("");
    let error = Connector::new()
        .header("X-Mine", "yes")
        .origin("http://example.com")
        .subprotocols(["a", "b"])
        .connect(&format!("ws://us%65r:pass@{addr}/path?query"))
        .unwrap_err();
    assert!(matches!(error, ConnectError::Io(_)), "{error}");
    let request = server.join().unwrap();
    let key = key_of(&request);
    assert_eq!((key.len(), &key[22..]), (24, "=="));
    let expected = format!(
        "GET /path?query HTTP/1.1\r\n\
        Host: {addr}\r\n\
        Upgrade: websocket\r\n\
        Connection: Upgrade\r\n\
        Sec-WebSocket-Version: 13\r\n\
        Sec-WebSocket-Key: {key}\r\n\
        Origin: http://example.com\r\n\
        Sec-WebSocket-Protocol: a, b\r\n\
        X-Mine: yes\r\n\
        Authorization: Basic dXNlcjpwYXNz\r\n\
        \r\n"
    );
    assert_eq!(request, expected);
}

/// HC13: 3xx and 401 are surfaced with everything, and nothing is followed
#[test]
fn connecting_refusals_are_surfaced() {
    let (addr, _server) =
        respond("HTTP/1.1 302 Found\r\nLocation: ws://elsewhere/\r\nContent-Length: 4\r\n\r\nbody");
    match connect(addr) {
        Err(error @ ConnectError::Refused(_)) => {
            let text = error.to_string();
            assert!(
                text.contains("302") && text.contains("ws://elsewhere/"),
                "{text}"
            );
            let ConnectError::Refused(refused) = error else {
                unreachable!()
            };
            assert_eq!(refused.status, 302);
            assert_eq!(refused.header("location"), Some("ws://elsewhere/"));
            assert_eq!(refused.body, b"body");
        }
        other => panic!("{other:?}"),
    }
    for status in [200, 301, 401, 404, 500, 503] {
        let (addr, _server) = respond(format!("HTTP/1.1 {status} X\r\nA: b\r\n\r\n"));
        match connect(addr) {
            Err(ConnectError::Refused(refused)) => {
                assert_eq!(refused.status, status);
                assert_eq!(refused.headers.len(), 1);
                assert_eq!(refused.header("A"), Some("b"));
            }
            other => panic!("{other:?}"),
        }
    }
}

/// HC14 to HC20
#[test]
fn connecting_incorrect_response_fails() {
    // A correct one but for the key, which is not ours.
    let sample = RESPONSE;
    let cases = [
        (sample.to_owned(), HandshakeError::Accept),
        (
            sample.replace("Upgrade: websocket", "Upgrade: h2c"),
            HandshakeError::Upgrade,
        ),
        (
            sample.replace("Connection:", "X:"),
            HandshakeError::Connection,
        ),
        (
            sample.replace("HTTP/1.1", "HTTP/1.0"),
            HandshakeError::HttpVersion,
        ),
        (
            sample.replace("HTTP/1.1", "HTTP/x"),
            HandshakeError::StartLine,
        ),
        (
            "SSH-2.0-OpenSSH_9.2p1\r\n".to_owned(),
            HandshakeError::StartLine,
        ),
        (
            "220 mail.example.com ESMTP".to_owned(),
            HandshakeError::StartLine,
        ),
    ];
    for (response, error) in cases {
        let (addr, _server) = respond(response.clone());
        match connect(addr) {
            Err(ConnectError::Handshake(found)) => {
                assert_eq!(found, error, "{response}");
            }
            // Half a line, and the end: there is no more to be known.
            Err(ConnectError::Io(found)) if !response.contains('\n') => {
                assert_eq!(found.kind(), io::ErrorKind::UnexpectedEof);
            }
            other => panic!("{response}: {other:?}"),
        }
    }
}

/// HC18, HC17, HC22: a correct response, with what was not offered, and with a first frame
#[test]
fn connecting_server_chooses_what_was_not_offered_fails() {
    let answer = |extra: &'static str| {
        serve(move |mut stream| {
            let request = read_head(&mut stream);
            let accept = accept(key_of(&request));
            let head = format!(
                "HTTP/1.1 101 x\r\nupgrade: WebSocket\r\nconnection: a, upgrade\r\n\
                sec-websocket-accept: {accept}\r\n{extra}\r\n"
            );
            let mut bytes = head.into_bytes();
            bytes.extend(b"\x81\x05first");
            stream.write_all(&bytes).unwrap();
            let _ = stream.read(&mut [0; 100]);
        })
    };
    let (addr, _server) = answer("");
    assert_eq!(connect(addr).unwrap().recv().unwrap(), Some("first".into()));
    for (extra, error) in [
        (
            "Sec-WebSocket-Protocol: chat\r\n",
            HandshakeError::Subprotocol,
        ),
        (
            "Sec-WebSocket-Extensions: x\r\n",
            HandshakeError::Extensions,
        ),
    ] {
        let (addr, _server) = answer(extra);
        match connect(addr) {
            Err(ConnectError::Handshake(found)) => assert_eq!(found, error),
            other => panic!("{other:?}"),
        }
    }
}

/// HC25
#[test]
fn connecting_endless_response_is_cut_off() {
    for line in ["X: y\r\n", "x"] {
        let (addr, _server) = serve(move |mut stream| {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n");
            while stream.write_all(line.repeat(1000).as_bytes()).is_ok() {}
        });
        assert!(matches!(connect(addr), Err(ConnectError::Handshake(_))));
    }
}

/// Counts what is read of it.
struct Counted(Script, Arc<AtomicUsize>);

impl Read for Counted {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let len = self.0.read(buf)?;
        self.1.fetch_add(len, Ordering::Relaxed);
        Ok(len)
    }
}

impl Write for Counted {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.0.write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// HC25: the byte that is too much is the last one that is read, however it trickles
#[test]
fn connecting_response_trickles_is_judged_by_the_first_byte_too_many() {
    let early = "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n";
    let line = "HTTP/1.1 200 \r\n";
    let Limits { head, headers, .. } = DEFAULT_LIMITS;
    // What comes before the response counts as well.
    for (response, read) in [
        ("HTTP/1.1 103 \r\n\r\n".repeat(5000), head as usize + 1),
        (
            line.to_owned() + &"a: b\r\n".repeat(4000),
            line.len() + usize::from(headers) * 6 + 1,
        ),
        (
            format!("{line}X: {}", "y".repeat(70_000)),
            head as usize + 1,
        ),
    ] {
        let count = Arc::new(AtomicUsize::new(0));
        let stream = Plain(Counted(Script::new(response, 1, false), count.clone()));
        let result = Connector::new().connect_over(stream, "ws://h/");
        assert!(
            matches!(result, Err(ConnectError::Handshake(_))),
            "{result:?}"
        );
        assert_eq!(count.load(Ordering::Relaxed), read, "{result:?}");
    }
    // A few of them are what HTTP allows.
    let response = early.repeat(3) + "HTTP/1.1 404 \r\nX: y\r\n\r\n";
    let stream = Plain(Script::new(response, 1, false));
    match Connector::new().connect_over(stream, "ws://h/") {
        Err(ConnectError::Refused(refused)) => {
            assert_eq!(refused.status, 404);
            assert_eq!(refused.headers.len(), 1);
            assert_eq!(refused.header("X"), Some("y"));
        }
        other => panic!("{other:?}"),
    }
}

/// HC25, HS21: with limits as high as they go, each byte is looked at once: a line in each segment, and
/// all in one line.
#[test]
fn connecting_and_accepting_long_heads_read_each_byte_once() {
    let limits = Limits {
        head: 4 << 20,
        headers: u16::MAX,
        ..DEFAULT_LIMITS
    };
    let lines = (0..4000).map(|number| format!("X-{number}: y\r\n"));
    let long = "z".repeat(2 << 20);
    let line = [format!("X-Long: {long}\r\n")];
    let line = line.iter().flat_map(|line| line.as_bytes().chunks(1460));
    let line: Vec<String> = line
        .map(|part| String::from_utf8(part.to_vec()).unwrap())
        .collect();
    for middle in [lines.collect::<Vec<_>>(), line] {
        let count = middle.concat().matches(": ").count();
        let reads = |start: &str| {
            let reads = [start.to_owned()].into_iter().chain(middle.clone());
            Script::of_reads(reads.chain(["\r\n".to_owned()]))
        };
        let stream = Plain(reads("HTTP/1.1 404 \r\n"));
        match Connector::new()
            .limits(limits)
            .connect_over(stream, "ws://h/")
        {
            Err(ConnectError::Refused(refused)) => assert_eq!(refused.headers.len(), count),
            other => panic!("{other:?}"),
        }
        let stream = Plain(reads("GET / HTTP/1.1\r\n"));
        let accepted = Acceptor::new()
            .limits(limits)
            .accept_with(stream, |request| {
                assert_eq!(request.headers().count(), count);
                Response::new(404)
            });
        assert!(
            matches!(accepted, Err(AcceptError::Answered(404))),
            "{accepted:?}"
        );
    }
}

/// RFC 9112 §5.2: a user agent unfolds what it reads. What the 101 says beside that it accepts can be
/// read.
#[test]
fn connecting_response_that_accepts_shows_its_headers_unfolded() {
    let (addr, server) = serve(|mut stream| {
        let request = read_head(&mut stream);
        let response = Head::response_to(&request)
            .and("X-Trace", "one\r\n two \r\n\tthree")
            .and("Set-Cookie", "a=b")
            .and("Set-Cookie", "c=d")
            .and("Upgrade", "websocket")
            .and("Sec-WebSocket-Protocol", "")
            .and("Sec-WebSocket-Extensions", "")
            .to_bytes();
        for byte in response.chunks(1) {
            stream.write_all(byte).unwrap();
        }
    });
    let stream = TcpStream::connect(addr).unwrap();
    let mut connecting = Connector::new().connecting(stream, "ws://h/").unwrap();
    let ws = connecting.advance().unwrap();
    assert_eq!(ws.subprotocol(), None);
    let response = connecting.response().unwrap();
    assert_eq!(response.status(), 101);
    assert_eq!(response.headers()["X-Trace"], "one two three");
    let cookies: Vec<_> = response.headers().get_all("Set-Cookie").iter().collect();
    assert_eq!(cookies, ["a=b", "c=d"]);
    server.join().unwrap();
}

/// HC24, HC11, HC02: refused before anything is sent
#[test]
fn connecting_what_is_against_the_protocol_is_not_sent() {
    let url = "ws://127.0.0.1:1/"; // nothing listens there: it would be an I/O error
    let cases = [
        (
            Connector::new().header("X", "a\r\nY: b"),
            ConfigError::HeaderValue,
        ),
        (
            Connector::new().header("X", "a\0"),
            ConfigError::HeaderValue,
        ),
        (
            Connector::new().header("X\r\nY", "b"),
            ConfigError::HeaderName,
        ),
        (Connector::new().header("Host", "b/c"), ConfigError::Host),
        (
            Connector::new().header("Host", "b").header("host", "c"),
            ConfigError::Host,
        ),
        (Connector::new().origin("a\nb"), ConfigError::HeaderValue),
        (
            Connector::new().subprotocols(["a b"]),
            ConfigError::Subprotocol,
        ),
        (
            Connector::new().subprotocols(["a\r\n"]),
            ConfigError::Subprotocol,
        ),
        (
            Connector::new().subprotocols(["a", "a"]),
            ConfigError::Subprotocol,
        ),
    ];
    for (builder, error) in cases {
        match builder.connect(url) {
            Err(ConnectError::Config(found)) => assert_eq!(found, error),
            other => panic!("{other:?}"),
        }
    }
    for (url, error) in [
        ("ftp://x/", UrlError::Scheme),
        ("ws://x/#y", UrlError::Fragment),
        ("ws://x\r\ny/", UrlError::Malformed),
    ] {
        match motews_std::connect(url) {
            Err(ConnectError::Url(found)) => assert_eq!(found, error),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn connecting_to_a_port_where_nothing_listens_is_an_io_error() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    drop(listener);
    match connect(addr) {
        Err(ConnectError::Io(error)) => {
            assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        }
        other => panic!("{other:?}"),
    }
}

/// HC07: an IPv6 address stands in brackets
#[test]
fn connecting_over_ipv6_works_where_there_is_ipv6() {
    let Ok(listener) = std::net::TcpListener::bind("[::1]:0") else {
        return;
    };
    let port = listener.local_addr().unwrap().port();
    let server = std::thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        let mut server = motews_std::accept_with(stream, |request| {
            assert_eq!(request.host(), Some(format!("[::1]:{port}").as_str()));
            Response::accepted()
        });
        server.as_mut().unwrap().recv().unwrap()
    });
    let mut client = motews_std::connect(&format!("ws://[::1]:{port}")).unwrap();
    client.send("Hello").unwrap();
    assert_eq!(server.join().unwrap(), Some("Hello".into()));
}

/// A page that is being read is finished, however short the time for the request is.
#[test]
fn accepting_request_for_a_page_that_is_read_slowly_gets_all_of_it() {
    const LEN: usize = 8 << 20; // More than the operating system keeps for both sides.
    let timeouts = Timeouts {
        handshake: Some(300),
        write: Some(2_000),
        ..Timeouts::DEFAULT
    };
    let builder = Acceptor::new().timeouts(timeouts);
    let (addr, server) = serve(move |stream| {
        builder.accept_with(stream, |_| Response::new(200).body(vec![b'x'; LEN]))
    });
    let mut client = TcpStream::connect(addr).unwrap();
    client
        .write_all(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        .unwrap();
    assert!(read_head(&mut client).starts_with("HTTP/1.1 200 "));
    let (mut part, mut len) = (vec![0; LEN / 20], 0);
    // Twenty times 50 ms: more than three times what the request had.
    loop {
        std::thread::sleep(Duration::from_millis(50));
        match client.read(&mut part).unwrap() {
            0 => break,
            read => len += read,
        }
    }
    assert_eq!(len, LEN);
    drop(client); // The server waits for that, as long as the page may still be on its way.
    let accepted = server.join().unwrap();
    assert!(
        matches!(accepted, Err(AcceptError::Answered(200))),
        "{accepted:?}"
    );
}

/// A peer that has the whole page and keeps TCP open holds the server for a second; one that goes on
/// sending, for as long as a closing handshake may take: whatever the bytes that it took have bought it.
#[test]
fn accepting_peer_keeps_tcp_open_after_a_page_is_not_waited_for_long() {
    for chatty in [false, true] {
        let acceptor = Acceptor::new().timeouts(Timeouts {
            close: Some(2_000),
            ..Timeouts::DEFAULT
        });
        let (addr, server) = serve(move |stream| {
            acceptor.accept_with(stream, |_| Response::new(200).body(vec![b'x'; 60_000]))
        });
        let mut client = TcpStream::connect(addr).unwrap();
        let start = Instant::now();
        client
            .write_all(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
            .unwrap();
        while chatty && !server.is_finished() {
            let _ = client.write_all(b"more");
            std::thread::sleep(Duration::from_millis(20));
            assert!(start.elapsed() < Duration::from_secs(20));
        }
        let accepted = server.join().unwrap();
        assert!(matches!(accepted, Err(AcceptError::Answered(200))));
        let elapsed = start.elapsed();
        let least = if chatty { 1_900 } else { 900 };
        assert!(elapsed >= Duration::from_millis(least), "{elapsed:?}");
        assert!(elapsed < Duration::from_secs(10), "{elapsed:?}");
    }
}
