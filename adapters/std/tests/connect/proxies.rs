//! Proxies: HTTP and SOCKS5, and what of them goes wrong.

use core::net::SocketAddr;
use core::time::Duration;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::process::Command;
use std::thread::{self, JoinHandle};
use std::time::Instant;

use motews_std::{ConnectError, Connector, Proxy, SocksReply, TunnelError};
use motews_testkit::head::read as read_head;

use crate::support::serve;
use crate::{answer, assert_echoes, echo, respond, values};

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
pub(crate) fn http_proxy(to: SocketAddr) -> (SocketAddr, JoinHandle<String>) {
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

pub(crate) fn proxy(url: &str, address: SocketAddr) -> Connector {
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
            .args(["--exact", "proxies::environment_of_a_child_names_the_proxy"])
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
