//! How a client gets to its server: refusals, redirects, proxies, and what ends it.

use core::net::SocketAddr;
use core::sync::atomic::{AtomicUsize, Ordering};
use core::time::Duration;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::Command;
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use motews_std::{
    Aborter, Cause, ConnectError, Connector, DEFAULT_LIMITS, Ended, Limits, Message, Proxy,
    RecvError, RedirectError, RedirectPolicy, Refused, SocksReply, Timeouts, TunnelError,
    WebSocket,
};
use motews_testkit::head::{accept, read as read_head};

mod support;
use support::{key_of, serve};

#[cfg(feature = "tls")]
#[path = "support/tls.rs"]
mod certificates;

/// How long anything may take that does not depend on a deadline.
const PATIENCE: Duration = Duration::from_secs(20);

fn refused(result: Result<WebSocket, ConnectError>) -> Refused {
    match result {
        Err(ConnectError::Refused(refused)) => *refused,
        other => panic!("{other:?}"),
    }
}

/// The head that accepts a request, with more headers.
fn accepting(request: &str, headers: &str) -> String {
    let accept = accept(key_of(request));
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        {headers}Sec-WebSocket-Accept: {accept}\r\n\r\n"
    )
}

/// What a server answers to the head of a request.
type Answer = Box<dyn FnOnce(&str) -> String + Send>;

/// A server of as many connections as there are answers, which are made from the heads of the
/// requests. It returns those.
fn respond(answers: Vec<Answer>) -> (SocketAddr, JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let thread = thread::spawn(move || {
        let mut heads = Vec::new();
        for answer in answers {
            let (mut stream, _) = listener.accept().unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            let head = read_head(&mut stream);
            stream.write_all(answer(&head).as_bytes()).unwrap();
            // The client may have gone, or ended its half.
            let _ = stream.shutdown(Shutdown::Write);
            let _ = io::copy(&mut stream, &mut io::sink());
            heads.push(head);
        }
        heads
    });
    (address, thread)
}

fn answer(text: impl Into<String>) -> Answer {
    let text = text.into();
    Box::new(move |_| text)
}

fn accept_with(headers: &'static str) -> Answer {
    Box::new(move |request| accepting(request, headers))
}

/// The values of a header in the head of a request.
fn values<'a>(head: &'a str, name: &str) -> Vec<&'a str> {
    let lines = head.lines().filter_map(|line| line.split_once(": "));
    lines
        .filter(|(known, _)| known.eq_ignore_ascii_case(name))
        .map(|(_, value)| value)
        .collect()
}

/// An echo of one connection.
fn echo() -> (SocketAddr, JoinHandle<()>) {
    serve(|stream| {
        let mut ws = motews_std::accept(stream).unwrap();
        while let Ok(Some(message)) = ws.recv() {
            ws.send(message).unwrap();
        }
    })
}

fn assert_echoes(mut ws: WebSocket) {
    ws.send("hello").unwrap();
    assert_eq!(ws.recv().unwrap(), Some(Message::Text("hello".into())));
    support::close(&mut ws, motews_std::CloseCode::NORMAL, "");
}

// ---- what a server answers ----

/// HC13
#[test]
fn refusal_with_a_chunked_body_that_comes_later_is_readable() {
    let (address, server) = serve(|mut stream| {
        read_head(&mut stream);
        let head = b"HTTP/1.1 403 Forbidden\r\nTransfer-Encoding: chunked\r\n\r\n";
        stream.write_all(head).unwrap();
        thread::sleep(Duration::from_millis(200));
        stream.write_all(b"4;x=y\r\nNot \r\n").unwrap();
        thread::sleep(Duration::from_millis(200));
        stream
            .write_all(b"6\r\nbefore\r\n0\r\nX: y\r\n\r\n")
            .unwrap();
        // The client does not wait for the end of the connection.
        assert_eq!(stream.read(&mut [0]).unwrap_or(0), 0);
    });
    let refused = refused(motews_std::connect(&format!("ws://{address}/")));
    assert_eq!(refused.status, 403);
    assert_eq!(refused.body, b"Not before");
    assert!(refused.is_whole);
    server.join().unwrap();
}

#[test]
fn refusal_of_each_framing_is_bounded_and_says_whether_it_is_whole() {
    const LIMIT: usize = 16 * 1024;
    let cases = [
        ("Content-Length: 2\r\n\r\nno, and more".into(), "no", true),
        ("Content-Length: 5\r\n\r\nno".into(), "no", false),
        ("Content-Length: x\r\n\r\nno".into(), "", false),
        ("\r\nuntil the end".into(), "until the end", true),
        (
            "Transfer-Encoding: chunked\r\n\r\n2\r\nno\r\nx".into(),
            "no",
            false,
        ),
        (
            "Transfer-Encoding: chunked\r\n\r\n2\r\nno\r\n".into(),
            "no",
            false,
        ),
        (format!("\r\n{}", "x".repeat(LIMIT)), "x", true),
        (format!("\r\n{}", "x".repeat(LIMIT + 1)), "x", false),
    ];
    for (rest, body, is_whole) in cases {
        let expected = match body {
            "x" => "x".repeat(LIMIT),
            body => body.to_owned(),
        };
        let (address, _server) = respond(vec![answer(format!("HTTP/1.1 404 No\r\n{rest}"))]);
        let refused = refused(motews_std::connect(&format!("ws://{address}/")));
        assert_eq!(String::from_utf8(refused.body).unwrap(), expected);
        assert_eq!(refused.is_whole, is_whole, "{rest:.60?}");
    }
}

#[test]
fn refusal_whose_body_never_comes_is_reported_without_it() {
    let (address, server) = serve(|mut stream| {
        read_head(&mut stream);
        let head = b"HTTP/1.1 503 Busy\r\nContent-Length: 10\r\n\r\nstart";
        stream.write_all(head).unwrap();
        assert_eq!(stream.read(&mut [0]).unwrap_or(0), 0);
    });
    let timeouts = Timeouts {
        handshake: Some(300),
        ..Timeouts::default()
    };
    let builder = Connector::new().timeouts(timeouts);
    let refused = refused(builder.connect(&format!("ws://{address}/")));
    assert_eq!((refused.status.as_u16(), refused.is_whole), (503, false));
    assert_eq!(refused.body, b"start");
    server.join().unwrap();
}

/// Each failure says what it means for the next attempt, and so whether there should be one.
#[test]
fn failure_of_each_kind_has_its_cause() {
    let failed = |url: &str| match motews_std::connect(url) {
        Err(error) => (error.cause(), error.retry_after()),
        Ok(_) => panic!("it is open"),
    };
    for url in ["example.com", "ftp://example.com/"] {
        assert_eq!(failed(url), (Cause::Local, None), "{url}");
    }
    let (address, server) = respond(vec![
        answer("HTTP/1.1 503 Busy\r\nRetry-After: 120\r\nContent-Length: 0\r\n\r\n"),
        answer("HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n"),
        answer("nonsense\r\n\r\n"),
    ]);
    let url = format!("ws://{address}/");
    assert_eq!(failed(&url), (Ended::Refused(503).into(), Some(120_000)));
    assert_eq!(failed(&url), (Ended::Refused(403).into(), None));
    assert!(matches!(
        failed(&url),
        (Cause::Ended(Ended::Handshake(_)), None)
    ));
    server.join().unwrap();
    assert_eq!(failed(&url), (Cause::Unreachable, None)); // nobody listens any more
    let aborter = Aborter::new().unwrap();
    aborter.abort();
    let aborted = Connector::new().aborter(&aborter).connect(&url).err();
    assert_eq!(aborted.unwrap().cause(), Ended::Aborted.into());
}

#[test]
fn acceptance_with_cookies_can_be_read() {
    let (address, _server) = respond(vec![accept_with(
        "Set-Cookie: session=42; HttpOnly\r\nX-Trace: one\r\nSet-Cookie: theme=dark\r\n",
    )]);
    let url = format!("ws://{address}/");
    let (_ws, response) = Connector::new().connect_with_response(&url).unwrap();
    assert_eq!(response.status(), 101);
    let cookies = response.headers().get_all("set-cookie").into_iter();
    let cookies: Vec<_> = cookies.map(|cookie| cookie.to_str().unwrap()).collect();
    assert_eq!(cookies, ["session=42; HttpOnly", "theme=dark"]);
    assert_eq!(response.headers()["X-Trace"], "one");
}

/// HC07
#[test]
fn host_of_the_caller_is_the_one_on_the_wire() {
    for name in ["Host", "host", "HOST"] {
        let (address, server) = respond(vec![accept_with("")]);
        let builder = Connector::new()
            .header(name, "example.com")
            .header("A", "b");
        builder.connect(&format!("http://{address}/")).unwrap();
        let heads = server.join().unwrap();
        assert_eq!(values(&heads[0], "Host"), ["example.com"]);
        assert_eq!(values(&heads[0], "A"), ["b"]);
    }
    let (address, server) = respond(vec![accept_with("")]);
    motews_std::connect(&format!("ws://{address}?x=ü")).unwrap();
    let heads = server.join().unwrap();
    assert_eq!(values(&heads[0], "Host"), [address.to_string()]);
    assert!(heads[0].starts_with("GET /?x=%C3%BC HTTP/1.1\r\n"));
}

#[test]
fn message_longer_than_the_limit_names_the_limit() {
    let (address, server) = serve(|stream| {
        let mut ws = motews_std::accept(stream).unwrap();
        let _ = ws.send(vec![0; 2 << 20]);
    });
    let builder = Connector::new().limits(Limits {
        message: 1 << 20,
        ..DEFAULT_LIMITS
    });
    let mut ws = builder.connect(&format!("ws://{address}/")).unwrap();
    let error = ws.recv().unwrap_err();
    assert!(matches!(error, RecvError::Protocol(_)));
    let text = error.to_string();
    assert!(
        text.contains("limit") && text.contains("Limits::message"),
        "{text}"
    );
    assert!(!text.contains("broke"), "{text}");
    server.join().unwrap();
}

// ---- redirects ----

fn redirect(status: u16, location: &str) -> Answer {
    answer(format!(
        "HTTP/1.1 {status} Elsewhere\r\nLocation: {location}\r\nContent-Length: 1000\r\n\r\n"
    ))
}

fn following() -> Connector {
    Connector::new().redirects(RedirectPolicy::DEFAULT)
}

#[test]
fn redirect_of_each_status_is_followed() {
    for status in [301, 302, 303, 307, 308] {
        let there = respond(vec![accept_with("")]);
        let here = respond(vec![redirect(status, &format!("http://{}/b", there.0))]);
        following().connect(&format!("ws://{}/a", here.0)).unwrap();
        assert!(here.1.join().unwrap()[0].starts_with("GET /a "));
        assert!(there.1.join().unwrap()[0].starts_with("GET /b "));
    }
    let (address, server) = respond(vec![redirect(302, "../b?c"), accept_with("")]);
    following().connect(&format!("ws://{address}/d/a")).unwrap();
    assert!(server.join().unwrap()[1].starts_with("GET /b?c "));
}

#[test]
fn redirect_without_a_policy_is_a_refusal() {
    let (address, _server) = respond(vec![answer(
        "HTTP/1.1 302 Found\r\nLocation: /b\r\nContent-Length: 2\r\n\r\nno",
    )]);
    let refused = refused(motews_std::connect(&format!("ws://{address}/a")));
    assert_eq!((refused.status.as_u16(), refused.redirect), (302, None));
    assert_eq!(refused.body, b"no");
}

#[test]
fn loop_of_redirects_ends() {
    let answers = (0..6).map(|_| redirect(307, "/")).collect();
    let (address, server) = respond(answers);
    let timeouts = Timeouts {
        handshake: Some(500),
        ..Timeouts::default()
    };
    let connected = following()
        .timeouts(timeouts)
        .connect(&format!("ws://{address}/"));
    let text = connected.as_ref().unwrap_err().to_string();
    assert!(text.contains("too many redirects"), "{text}");
    assert_eq!(refused(connected).redirect, Some(RedirectError::TooMany));
    assert_eq!(server.join().unwrap().len(), 6);
}

#[test]
fn headers_of_the_application_are_not_sent_to_another_host() {
    let builder = following()
        .header("Authorization", "Bearer 42")
        .header("Cookie", "session=1")
        .header("Host", "example.com")
        .header("X-Api-Key", "42");
    let secret = ["Authorization", "Cookie", "X-Api-Key"];

    let (address, server) = respond(vec![redirect(302, "/b"), accept_with("")]);
    builder
        .clone()
        .connect(&format!("ws://{address}/"))
        .unwrap();
    for head in server.join().unwrap() {
        assert!(
            secret.iter().all(|name| values(&head, name).len() == 1),
            "{head}"
        );
        assert_eq!(values(&head, "Host"), ["example.com"]);
    }

    let there = respond(vec![accept_with("")]);
    let here = respond(vec![redirect(302, &format!("ws://{}/", there.0))]);
    builder
        .clone()
        .connect(&format!("ws://user:pw@{}/", here.0))
        .unwrap();
    let head = &there.1.join().unwrap()[0];
    assert!(
        secret.iter().all(|name| values(head, name).is_empty()),
        "{head}"
    );
    assert_eq!(values(head, "Host"), [there.0.to_string()]);

    // The application knows that they are not secret; of some nobody has to ask.
    let there = respond(vec![accept_with("")]);
    let here = respond(vec![redirect(302, &format!("ws://{}/", there.0))]);
    let policy = RedirectPolicy {
        keep_headers: true,
        ..RedirectPolicy::DEFAULT
    };
    builder
        .redirects(policy)
        .connect(&format!("ws://{}/", here.0))
        .unwrap();
    let head = &there.1.join().unwrap()[0];
    let counts = secret.map(|name| values(head, name).len());
    assert_eq!(counts, [0, 0, 1], "{head}");
    assert_eq!(values(head, "Host"), [there.0.to_string()]);

    let there = respond(vec![accept_with("")]);
    let here = respond(vec![redirect(302, &format!("ws://{}/", there.0))]);
    following()
        .connect(&format!("ws://user:pw@{}/", here.0))
        .unwrap();
    assert_eq!(values(&here.1.join().unwrap()[0], "Authorization").len(), 1);
    assert!(values(&there.1.join().unwrap()[0], "Authorization").is_empty());
}

/// Without them the next server could not agree on one, or check the site.
#[test]
fn redirect_to_another_host_subprotocols_and_origin_are_sent_again() {
    let there = respond(vec![accept_with("Sec-WebSocket-Protocol: chat\r\n")]);
    let here = respond(vec![redirect(302, &format!("ws://{}/", there.0))]);
    let ws = following()
        .subprotocols(["chat"])
        .origin("https://example.com")
        .connect(&format!("ws://{}/", here.0))
        .unwrap();
    assert_eq!(ws.subprotocol(), Some("chat"));
    drop(ws);
    for (_, server) in [here, there] {
        let head = &server.join().unwrap()[0];
        assert_eq!(values(head, "Sec-WebSocket-Protocol"), ["chat"]);
        assert_eq!(values(head, "Origin"), ["https://example.com"]);
    }
}

// ---- proxies ----

/// Copies both ways until both ends have ended.
fn relay(client: TcpStream, server: TcpStream) {
    let (mut from, mut to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
    let there = thread::spawn(move || {
        let _ = io::copy(&mut from, &mut to);
        let _ = to.shutdown(Shutdown::Write);
    });
    let (mut from, mut to) = (server, client);
    let _ = io::copy(&mut from, &mut to);
    let _ = to.shutdown(Shutdown::Write);
    there.join().unwrap();
}

/// An HTTP proxy of one connection, which returns the request.
fn http_proxy(to: SocketAddr) -> (SocketAddr, JoinHandle<String>) {
    serve(move |mut stream| {
        let head = read_head(&mut stream);
        stream
            .write_all(b"HTTP/1.1 200 Connection established\r\nVia: 1.1 p\r\n\r\n")
            .unwrap();
        relay(stream, TcpStream::connect(to).unwrap());
        head
    })
}

fn read<const LEN: usize>(stream: &mut TcpStream) -> [u8; LEN] {
    let mut bytes = [0; LEN];
    stream.read_exact(&mut bytes).unwrap();
    bytes
}

fn proxy(url: &str, address: SocketAddr) -> Connector {
    let url = url.replace("PROXY", &address.to_string());
    Connector::new().proxy(Proxy::parse(&url).unwrap())
}

#[test]
fn websocket_through_an_http_proxy_works() {
    let (server, _echo) = echo();
    let (address, proxied) = http_proxy(server);
    let builder = proxy("http://user:pw@PROXY", address);
    // The proxy resolves the name.
    let url = format!("ws://nowhere.invalid:{}/", server.port());
    assert_echoes(builder.connect(&url).unwrap());
    let head = proxied.join().unwrap();
    let target = format!("nowhere.invalid:{}", server.port());
    assert!(
        head.starts_with(&format!("CONNECT {target} HTTP/1.1\r\n")),
        "{head}"
    );
    assert_eq!(values(&head, "Host"), [target]);
    assert_eq!(values(&head, "Proxy-Authorization"), ["Basic dXNlcjpwdw=="]);
}

#[test]
fn proxy_that_refuses_is_reported_as_such() {
    type Expected = fn(&TunnelError) -> bool;
    let cases: [(&str, Expected); 6] = [
        (
            "HTTP/1.1 403 Filtered\r\n\r\nask the administrator",
            |error| {
                error
                    .to_string()
                    .ends_with("403 Filtered: ask the administrator")
            },
        ),
        (
            "HTTP/1.1 407 Who\r\nProxy-Authenticate: Basic\r\n\r\n",
            |error| {
                matches!(error, TunnelError::AuthenticationRequired(response)
                if response.headers()["proxy-authenticate"] == "Basic")
            },
        ),
        (
            "HTTP/1.1 403 No\r\n\r\n",
            |error| matches!(error, TunnelError::Refused(response) if response.status() == 403),
        ),
        ("\x05\0", |error| matches!(error, TunnelError::NotHttp)),
        ("HTTP/1.1 200 OK\r\n", |error| {
            matches!(error, TunnelError::UnexpectedEof)
        }),
        ("", |error| matches!(error, TunnelError::UnexpectedEof)),
    ];
    for (text, is_expected) in cases {
        let (address, _server) = respond(vec![answer(text)]);
        match proxy("PROXY", address).connect("ws://example.invalid/") {
            Err(ConnectError::Tunnel(error)) => assert!(is_expected(&error), "{error:?}"),
            other => panic!("{other:?}"),
        }
    }
}

/// A SOCKS5 proxy of one connection, which wants a password and returns what was asked for.
fn socks_proxy(to: SocketAddr, reply: u8) -> (SocketAddr, JoinHandle<Vec<u8>>) {
    serve(move |mut stream| {
        let [5, methods] = read(&mut stream) else {
            panic!()
        };
        let mut offered = vec![0; methods.into()];
        stream.read_exact(&mut offered).unwrap();
        assert!(offered.contains(&2));
        stream.write_all(&[5, 2]).unwrap();
        assert_eq!(&read::<9>(&mut stream), b"\x01\x04user\x02pw");
        stream.write_all(&[1, 0]).unwrap();
        let head: [u8; 4] = read(&mut stream);
        let mut asked = match head[3] {
            1 => vec![0; 6],
            3 => vec![0; usize::from(read::<1>(&mut stream)[0]) + 2],
            _ => vec![0; 18],
        };
        stream.read_exact(&mut asked).unwrap();
        stream
            .write_all(&[5, reply, 0, 1, 127, 0, 0, 1, 0, 0])
            .unwrap();
        if reply == 0 {
            relay(stream, TcpStream::connect(to).unwrap());
        }
        asked
    })
}

#[test]
fn websocket_through_a_socks_proxy_works() {
    for (scheme, host, expected) in [
        ("socks5h", "nowhere.invalid", &b"nowhere.invalid"[..]),
        ("socks5", "127.0.0.1", &[127, 0, 0, 1]),
        // This side resolves it.
        ("socks5", "localhost", &[127, 0, 0, 1]),
        (
            "socks5h",
            "[::1]",
            &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1],
        ),
    ] {
        let (server, _echo) = echo();
        let (address, proxied) = socks_proxy(server, 0);
        let builder = proxy(&format!("{scheme}://user:pw@PROXY"), address);
        let url = format!("ws://{host}:{}/", server.port());
        assert_echoes(builder.connect(&url).unwrap());
        let asked = proxied.join().unwrap();
        assert_eq!(asked[asked.len() - 2..], server.port().to_be_bytes());
        // A name may have more than one address.
        assert!(asked.starts_with(expected) || host == "localhost");
    }
}

#[test]
fn socks_proxy_that_refuses_says_why() {
    let (address, _proxied) = socks_proxy(SocketAddr::from(([127, 0, 0, 1], 1)), 5);
    let builder = proxy("socks5h://user:pw@PROXY", address);
    match builder.connect("ws://example.invalid/") {
        Err(ConnectError::Tunnel(TunnelError::Socks(reply))) => {
            assert_eq!(reply, SocksReply::ConnectionRefused);
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn proxy_that_never_answers_ends_at_the_connect_timeout() {
    let (address, silent) = serve(|mut stream| {
        read_head(&mut stream);
        assert_eq!(stream.read(&mut [0]).unwrap_or(0), 0);
    });
    let timeout = Duration::from_millis(200);
    let start = Instant::now();
    let builder = proxy("PROXY", address).connect_timeout(Some(timeout));
    let connected = builder.connect("ws://example.invalid/");
    assert!(
        matches!(connected, Err(ConnectError::TimedOut(_))),
        "{connected:?}"
    );
    assert!(start.elapsed() >= timeout);
    silent.join().unwrap();
}

const URL_FOR_CHILD: &str = "MOTEWS_URL_FOR_CHILD";

/// Runs in a process of its own, for its environment.
#[test]
fn environment_of_a_child_names_the_proxy() {
    if let Ok(url) = std::env::var(URL_FOR_CHILD) {
        assert_echoes(Connector::new().proxy_from_env().connect(&url).unwrap());
        return;
    }
    for (no_proxy, is_proxied) in [
        ("", true),
        ("localhost, .invalid", true),
        ("127.0.0.0/8", false),
    ] {
        let (server, _echo) = echo();
        let (address, proxied) = http_proxy(server);
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "environment_of_a_child_names_the_proxy"])
            .env(URL_FOR_CHILD, format!("ws://{server}/"))
            .env("http_proxy", address.to_string())
            .env("no_proxy", no_proxy)
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&child.stdout);
        assert!(
            child.status.success() && text.contains("1 passed"),
            "{text}"
        );
        if is_proxied {
            assert!(proxied.join().unwrap().starts_with("CONNECT "));
        } else {
            // Nobody has come: let it end.
            let _ = TcpStream::connect(address).unwrap().write_all(b"\r\n\r\n");
        }
    }
}

// ---- what ends it ----

/// A listener whose connections come to be, and are told nothing.
fn silent() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("ws://{}/", listener.local_addr().unwrap());
    (listener, url)
}

#[test]
fn connect_to_a_stopped_server_is_aborted_at_once() {
    for through_proxy in [false, true] {
        let (listener, url) = silent();
        let address = listener.local_addr().unwrap();
        let aborter = Aborter::new().unwrap();
        let mut builder = Connector::new().aborter(&aborter).connect_timeout(None);
        if through_proxy {
            builder = builder.proxy(Proxy::parse(&address.to_string()).unwrap());
        }
        let timeouts = Timeouts {
            handshake: None,
            ..Timeouts::default()
        };
        let builder = builder.timeouts(timeouts);
        let again = builder.clone();
        let connecting = thread::spawn(move || builder.connect(&url).map(|_| ()));
        // It has sent its request, and waits.
        let (mut stream, _) = listener.accept().unwrap();
        assert!(!read_head(&mut stream).is_empty());
        assert!(!aborter.is_aborted());
        aborter.abort();
        let connected = connecting.join().unwrap();
        assert!(
            matches!(connected, Err(ConnectError::Aborted)),
            "{connected:?}"
        );
        // And so is every later one.
        let connected = again.connect(&format!("ws://{address}/"));
        assert!(
            matches!(connected, Err(ConnectError::Aborted)),
            "{connected:?}"
        );
    }
}

#[test]
fn open_connection_is_aborted_at_once() {
    let (address, server) = serve(|stream| {
        let mut ws = motews_std::accept(stream).unwrap();
        ws.recv().is_err()
    });
    let aborter = Aborter::new().unwrap();
    let builder = Connector::new().aborter(&aborter);
    let mut ws = builder.connect(&format!("ws://{address}/")).unwrap();
    let sender = ws.sender().unwrap();
    let (waiting, waits) = mpsc::channel();
    let receiving = thread::spawn(move || {
        waiting.send(()).unwrap();
        let error = ws.recv().unwrap_err();
        (error, ws.ended())
    });
    waits.recv().unwrap();
    let start = Instant::now();
    aborter.abort();
    let (error, ended) = receiving.join().unwrap();
    assert!(matches!(error, RecvError::Aborted), "{error:?}");
    assert_eq!(ended, Some(Ended::Aborted));
    assert!(sender.send("too late").is_err());
    assert!(start.elapsed() < Duration::from_secs(5));
    assert!(server.join().unwrap(), "it was no clean close");
}

#[test]
fn aborter_does_not_keep_a_connection_open() {
    let aborter = Aborter::new().unwrap();
    let (address, server) = serve(|stream| {
        let mut ws = motews_std::accept(stream).unwrap();
        ws.recv().map(|_| ())
    });
    let builder = Connector::new().aborter(&aborter);
    drop(builder.connect(&format!("ws://{address}/")).unwrap());
    // The read timeout of the server would be another error.
    let ended = server.join().unwrap();
    assert!(
        matches!(ended, Err(RecvError::Protocol(_)) | Ok(())),
        "{ended:?}"
    );
    assert!(!aborter.is_aborted());
}

// ---- TLS ----

#[cfg(feature = "tls")]
mod tls {
    use super::certificates::configs;
    use super::*;
    use motews_std::tls::TlsStream;

    #[test]
    fn wss_through_a_proxy_works() {
        let (server_config, client_config) = configs();
        let (server, echo) = serve(move |stream| {
            let stream = TlsStream::server(stream, server_config).unwrap();
            let mut ws = motews_std::accept(stream).unwrap();
            while let Ok(Some(message)) = ws.recv() {
                ws.send(message).unwrap();
            }
        });
        let (address, proxied) = http_proxy(server);
        let builder = proxy("PROXY", address).tls(client_config);
        let url = format!("https://localhost:{}/", server.port());
        let ws = builder.connect(&url).unwrap();
        assert_echoes(ws);
        let head = proxied.join().unwrap();
        assert!(head.starts_with(&format!("CONNECT localhost:{} ", server.port())));
        echo.join().unwrap();
    }

    #[test]
    fn wss_to_a_plain_port_says_so() {
        let (_, client_config) = configs();
        // As a server answers to what is no HTTP.
        let (address, _server) = serve(|mut stream| {
            stream
                .write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                .unwrap();
            let _ = io::copy(&mut stream, &mut io::sink());
        });
        let builder = Connector::new().tls(client_config);
        let url = format!("wss://localhost:{}/", address.port());
        let text = builder.connect(&url).unwrap_err().to_string();
        assert!(
            text.contains("does not speak TLS") && text.contains("ws://"),
            "{text}"
        );
        assert!(!text.contains("Invalid"), "{text}");
    }

    #[test]
    fn certificate_of_an_unknown_authority_is_explained() {
        let (server_config, _) = configs();
        let (_, other_config) = configs();
        let (address, _server) = serve(move |stream| {
            let stream = TlsStream::server(stream, server_config).unwrap();
            let _ = motews_std::accept(stream);
        });
        let url = format!("wss://localhost:{}/", address.port());
        let error = Connector::new()
            .tls(other_config)
            .connect(&url)
            .unwrap_err();
        let text = error.to_string();
        assert!(matches!(error, ConnectError::Tls(_)));
        assert!(
            text.contains("certificate is not signed by anyone who is trusted")
                || text.contains("signed by those who are trusted"),
            "{text}"
        );
    }

    #[test]
    fn certificate_for_another_host_is_explained() {
        let (server_config, client_config) = configs();
        let (address, _server) = serve(move |stream| {
            let stream = TlsStream::server(stream, server_config).unwrap();
            let _ = motews_std::accept(stream);
        });
        let url = format!("wss://{address}/");
        let error = Connector::new()
            .tls(client_config)
            .connect(&url)
            .unwrap_err();
        let text = error.to_string();
        assert!(text.contains("is for another host"), "{text}");
    }
}

#[test]
fn names_are_resolved_by_the_given_resolver_and_addresses_are_not() {
    let (address, serving) = respond(vec![accept_with(""), accept_with("")]);
    let (asks, asked) = mpsc::channel();
    let connector = Connector::new().resolver(move |host, port| {
        asks.send((host.to_owned(), port)).unwrap();
        match host {
            "sensor.internal" => Ok(vec![address]),
            "nowhere.internal" => Ok(Vec::new()),
            _ => Err(io::ErrorKind::PermissionDenied.into()),
        }
    });
    connector.connect("ws://sensor.internal:7/").unwrap();
    connector.connect(&format!("ws://{address}/")).unwrap();
    serving.join().unwrap();
    for (name, kind) in [
        ("nowhere.internal", io::ErrorKind::NotFound),
        ("secret.internal", io::ErrorKind::PermissionDenied),
    ] {
        let error = connector.connect(&format!("ws://{name}/")).unwrap_err();
        assert_eq!(error.cause(), Cause::Unreachable);
        assert!(
            matches!(&error, ConnectError::Io(error) if error.kind() == kind),
            "{error:?}"
        );
    }
    let asked: Vec<_> = asked.try_iter().collect();
    let expected = [
        ("sensor.internal", 7),
        ("nowhere.internal", 80),
        ("secret.internal", 80),
    ];
    assert_eq!(asked, expected.map(|(name, port)| (name.to_owned(), port)));
}

#[test]
fn resolver_that_never_answers_costs_the_connect_timeout() {
    let (end, never) = mpsc::channel::<()>();
    let never = std::sync::Mutex::new(never);
    let timeout = Duration::from_millis(50);
    let connector = Connector::new()
        .connect_timeout(Some(timeout))
        .resolver(move |_, _| Err(io::Error::other(never.lock().unwrap().recv().unwrap_err())));
    let start = Instant::now();
    let error = connector.connect("ws://sensor.internal/").unwrap_err();
    assert_is_look_up(&error);
    assert!(start.elapsed() >= timeout && start.elapsed() < PATIENCE);
    drop(end);
}

/// Whoever tries again and again does not leave a thread behind each time.
#[test]
fn resolver_that_never_answers_is_left_behind_eight_times_and_then_not_called() {
    let gate = Arc::new(std::sync::RwLock::new(()));
    let closed = gate.write().unwrap();
    let calls = Arc::new(AtomicUsize::new(0));
    let connector = Connector::new()
        .connect_timeout(Some(Duration::from_millis(20)))
        .resolver({
            let (gate, calls) = (gate.clone(), calls.clone());
            move |_, _| {
                calls.fetch_add(1, Ordering::SeqCst);
                drop(gate.read());
                Err(io::ErrorKind::PermissionDenied.into())
            }
        });
    let connect = || connector.connect("ws://sensor.internal/").unwrap_err();
    for _ in 0..8 {
        let error = connect();
        assert_is_look_up(&error);
    }
    let kind = |error: &ConnectError| match error {
        ConnectError::Io(error) => Some(error.kind()),
        _ => None,
    };
    for _ in 0..3 {
        let error = connect();
        assert_eq!(kind(&error), Some(io::ErrorKind::ResourceBusy), "{error:?}");
        assert_eq!(error.cause(), Cause::Unreachable);
    }
    // They have begun, or will, and no other.
    support::until("they run", || calls.load(Ordering::SeqCst) == 8);
    drop(closed);
    support::until("they have ended", || {
        kind(&connect()) == Some(io::ErrorKind::PermissionDenied)
    });
}

#[test]
fn resolver_that_panics_is_an_error_and_nobody_waits_for_it() {
    let aborter = Aborter::new().unwrap();
    let connector = Connector::new()
        .connect_timeout(None)
        .aborter(&aborter)
        .resolver(|_, _| panic!("as the test wants it"));
    let error = connector.connect("ws://sensor.internal/").unwrap_err();
    assert!(error.to_string().contains("panicked"), "{error}");
}

fn assert_is_look_up(error: &ConnectError) {
    assert!(
        matches!(error, ConnectError::LookUpTimedOut(name) if name == "sensor.internal"),
        "{error:?}"
    );
    let text = error.to_string();
    assert_eq!(
        text,
        "sensor.internal: the look-up of the name took too long"
    );
    assert_eq!(error.cause(), Cause::Unreachable);
}

/// A resolver may have a time of its own, and a proxy has a name as well.
#[test]
fn resolver_that_times_out_by_itself_is_named_as_such() {
    let connector = Connector::new().resolver(|_, _| Err(io::ErrorKind::TimedOut.into()));
    assert_is_look_up(&connector.connect("ws://sensor.internal/").unwrap_err());
    let proxy = Proxy::parse("socks5://sensor.internal").unwrap();
    let error = connector
        .proxy(proxy)
        .connect("ws://127.0.0.1/")
        .unwrap_err();
    assert_is_look_up(&error);
}

#[test]
fn connect_timeout_of_nothing_is_over_at_once_and_the_longest_is_none() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("ws://{}/", silent.local_addr().unwrap());
    // The kernel answers for the listener; so it is a name that takes for ever.
    let (end, never) = mpsc::channel::<()>();
    let never = std::sync::Mutex::new(never);
    let endless = Connector::new()
        .connect_timeout(Some(Duration::ZERO))
        .resolver(move |_, _| Err(io::Error::other(never.lock().unwrap().recv().unwrap_err())));
    let error = endless.connect("ws://sensor.internal/").unwrap_err();
    assert_is_look_up(&error);
    drop(end);
    let (address, serving) = respond(vec![accept_with("")]);
    let longest = Connector::new()
        .connect_timeout(Some(Duration::MAX))
        .resolver(move |_, _| Ok(vec![address]));
    longest.connect("ws://sensor.internal/").unwrap();
    serving.join().unwrap();
    // A handshake of no time is over at once as well.
    let none = Timeouts {
        handshake: Some(0),
        ..Timeouts::NONE
    };
    let error = Connector::new().timeouts(none).connect(&url).unwrap_err();
    assert!(matches!(error, ConnectError::TimedOut(None)), "{error:?}");
}

/// The head of the response is as long as it is: the limits are exact.
#[test]
fn response_is_read_up_to_its_limits_and_not_a_byte_or_a_header_beyond() {
    let request = "GET / HTTP/1.1\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    let len = accepting(request, "").len();
    let (len, headers) = (u32::try_from(len).unwrap(), 3);
    for (head, headers, opens) in [
        (0, headers, false),
        (1, headers, false),
        (len - 1, headers, false),
        (len, headers, true),
        (u32::MAX, headers, true),
        (len, 0, false),
        (len, 1, false),
        (len, headers - 1, false),
        (len, u16::MAX, true),
    ] {
        let (address, serving) = respond(vec![accept_with("")]);
        let limits = Limits {
            head,
            headers,
            ..DEFAULT_LIMITS
        };
        let connected = Connector::new()
            .limits(limits)
            .connect(&format!("ws://{address}/"))
            .map(drop);
        match connected {
            Ok(()) => assert!(opens, "{limits:?}"),
            Err(ConnectError::Handshake(_)) => assert!(!opens, "{limits:?}"),
            Err(error) => panic!("{error:?}"),
        }
        serving.join().unwrap();
    }
}
