//! The way to a server: addresses that do not answer, and proxies that trickle, refuse, or say nothing.

use core::net::SocketAddr;
use core::time::Duration;

use motews_tokio::{Acceptor, ConnectError, Connector, Proxy, TunnelError};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
#[cfg(target_os = "linux")]
use tokio::net::TcpSocket;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout};

/// How long anything may take that does not depend on a deadline.
const PATIENCE: Duration = Duration::from_secs(20);

async fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// Echoes for whoever comes.
async fn echo() -> SocketAddr {
    let (listener, address) = listener().await;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut ws = Acceptor::new().accept(stream).await.unwrap();
                while let Ok(Some(message)) = ws.recv().await {
                    ws.send(message).await.unwrap();
                }
            });
        }
    });
    address
}

async fn assert_echoes(connector: &Connector, url: &str) {
    let mut ws = connector.connect(url).await.unwrap();
    ws.send("Hello").await.unwrap();
    assert_eq!(ws.recv().await.unwrap(), Some("Hello".into()));
}

/// What a proxy answers each time that it was asked.
#[derive(Clone, Debug)]
struct Script {
    answers: Vec<Vec<u8>>,
    /// Byte by byte.
    trickles: bool,
    /// How many connections it refuses before it leads one to the server.
    refuses: usize,
}

impl Script {
    fn new(answers: &[&[u8]]) -> Self {
        let answers = answers.iter().map(|answer| answer.to_vec()).collect();
        Self {
            answers,
            trickles: false,
            refuses: 0,
        }
    }
}

impl Script {
    /// Answers on a connection, and calls `told` with what was asked.
    async fn run(&self, stream: &mut TcpStream, refuses: bool, mut told: impl FnMut(&[u8])) {
        stream.set_nodelay(true).unwrap();
        for (number, answer) in self.answers.iter().enumerate() {
            let mut asked = [0; 1024];
            let len = stream.read(&mut asked).await.unwrap();
            told(&asked[..len]);
            let mut answer = answer.clone();
            if refuses && number + 1 == self.answers.len() {
                answer[1] = 4; // SOCKS5: the host is unreachable
            }
            for part in answer.chunks(if self.trickles { 1 } else { 1024 }) {
                if stream.write_all(part).await.is_err() {
                    return;
                }
                sleep(Duration::from_millis(self.trickles.into())).await;
            }
        }
    }
}

/// Starts a proxy that leads to `server`, and tells what it was asked.
async fn proxy(server: SocketAddr, script: Script) -> (u16, UnboundedReceiver<Vec<u8>>) {
    let (listener, address) = listener().await;
    let (tell, told) = unbounded_channel();
    tokio::spawn(async move {
        let mut count = 0;
        while let Ok((mut stream, _)) = listener.accept().await {
            count += 1;
            let refuses = count <= script.refuses;
            let tell = |asked: &[u8]| tell.send(asked.to_vec()).unwrap();
            script.run(&mut stream, refuses, tell).await;
            if !refuses {
                let mut server = TcpStream::connect(server).await.unwrap();
                let _ = copy_bidirectional(&mut stream, &mut server).await;
            }
        }
    });
    (address.port(), told)
}

fn connector(proxy: &str) -> Connector {
    Connector::new().proxy(Proxy::parse(proxy).unwrap())
}

const CONNECTED: &[u8] = b"HTTP/1.1 200 Connection established\r\nVia: nobody\r\n\r\n";
const SOCKS_CONNECTED: &[u8] = &[5, 0, 0, 1, 0, 0, 0, 0, 0, 0];
/// The same with a name in place of an address, which says nothing.
const SOCKS_CONNECTED_BY_NAME: &[u8] = &[5, 0, 0, 3, 4, b'h', b'o', b's', b't', 0, 0];

#[tokio::test]
async fn proxies_of_all_kinds_lead_to_the_server_also_byte_by_byte() {
    let server = echo().await;
    let port = server.port();
    let with_port = |request: &[u8]| [request, &port.to_be_bytes()].concat();
    type Answers = &'static [&'static [u8]];
    let cases: [(&str, &str, Answers, Vec<u8>); 5] = [
        (
            "http://",
            "echo.invalid",
            &[CONNECTED],
            format!("CONNECT echo.invalid:{port} HTTP/1.1\r\n").into(),
        ),
        (
            "http://u:p@",
            "echo.invalid",
            &[CONNECTED],
            format!("CONNECT echo.invalid:{port} HTTP/1.1\r\n").into(),
        ),
        (
            "socks5h://",
            "echo.invalid",
            &[&[5, 0], SOCKS_CONNECTED],
            with_port(b"\x05\x01\x00\x03\x0cecho.invalid"),
        ),
        (
            "socks5h://user:pw@",
            "echo.invalid",
            &[&[5, 2], &[1, 0], SOCKS_CONNECTED_BY_NAME],
            with_port(b"\x05\x01\x00\x03\x0cecho.invalid"),
        ),
        (
            "socks5://",
            "localhost",
            &[&[5, 0], SOCKS_CONNECTED],
            with_port(b"\x05\x01\x00\x01\x7f\x00\x00\x01"),
        ),
    ];
    for (scheme, host, answers, asks) in cases {
        for trickles in [false, true] {
            let script = Script {
                trickles,
                ..Script::new(answers)
            };
            let (proxy, mut told) = proxy(server, script).await;
            let connector = connector(&format!("{scheme}127.0.0.1:{proxy}"))
                .resolver(async |_, port| Ok(vec![([127, 0, 0, 1], port).into()]));
            assert_echoes(&connector, &format!("ws://{host}:{port}/")).await;
            let mut asked = Vec::new();
            while let Ok(request) = told.try_recv() {
                asked = request;
            }
            assert!(asked.starts_with(&asks), "{scheme} {asked:?}");
        }
    }
}

/// This side has resolved the name, so it tries each address.
#[tokio::test]
async fn socks_proxy_that_reaches_another_address_only_is_asked_for_that() {
    let server = echo().await;
    let script = Script {
        refuses: 1,
        ..Script::new(&[&[5, 0], SOCKS_CONNECTED])
    };
    let (proxy, mut told) = proxy(server, script).await;
    let connector = connector(&format!("socks5://127.0.0.1:{proxy}"));
    let connector = connector.resolver(async |_, port| {
        Ok(vec![
            ([192, 0, 2, 1], port).into(),
            ([127, 0, 0, 1], port).into(),
        ])
    });
    assert_echoes(&connector, "ws://echo.invalid:7/").await;
    let mut asked = Vec::new();
    while let Ok(request) = told.try_recv() {
        asked.push(request);
    }
    assert_eq!(asked[1], [5, 1, 0, 1, 192, 0, 2, 1, 0, 7]);
    assert_eq!(asked[3], [5, 1, 0, 1, 127, 0, 0, 1, 0, 7]);
}

#[tokio::test]
async fn proxy_that_refuses_says_why() {
    type Expected = fn(&TunnelError) -> bool;
    let cases: [(&str, &[&[u8]], Expected); 8] = [
        (
            "http://",
            &[b"HTTP/1.1 407 Who\r\nContent-Length: 7\r\n\r\ntell me"],
            |error| matches!(error, TunnelError::AuthenticationRequired(response) if response.body() == b"tell me"),
        ),
        // Its body ends with the connection.
        (
            "http://",
            &[b"HTTP/1.1 502 Bad Gateway\r\n\r\nno such host"],
            |error| matches!(error, TunnelError::Refused(response) if response.body() == b"no such host"),
        ),
        ("http://", &[b"SSH-2.0-OpenSSH\r\n\r\n"], |error| {
            matches!(error, TunnelError::NotHttp)
        }),
        ("socks5h://", &[b"HTTP/1.1 400 Bad\r\n\r\n"], |error| {
            matches!(error, TunnelError::NotSocks5)
        }),
        ("socks5h://", &[&[5, 0xFF]], |error| {
            matches!(error, TunnelError::NoAcceptableMethod)
        }),
        ("socks5h://u:p@", &[&[5, 2], &[1, 1]], |error| {
            matches!(error, TunnelError::AuthenticationFailed)
        }),
        (
            "socks5h://",
            &[&[5, 0], &[5, 5, 0, 1, 0, 0, 0, 0, 0, 0]],
            |error| matches!(error, TunnelError::Socks(_)),
        ),
        // It leaves in the midst of its answer.
        ("socks5h://", &[&[5, 0], &[5, 0, 0, 1]], |error| {
            matches!(error, TunnelError::UnexpectedEof)
        }),
    ];
    for (scheme, answers, expected) in cases {
        for trickles in [false, true] {
            let script = Script {
                trickles,
                ..Script::new(answers)
            };
            // The connection ends behind the last answer.
            let (listener, address) = listener().await;
            let answering = script.clone();
            tokio::spawn(async move {
                let (mut stream, _) = listener.accept().await.unwrap();
                answering.run(&mut stream, false, |_| {}).await;
            });
            let connector = connector(&format!("{scheme}{address}"));
            let connecting = connector.connect("ws://echo.invalid/");
            let connected = timeout(PATIENCE, connecting).await;
            let error = connected.expect("an answer").map(drop).unwrap_err();
            assert!(
                matches!(&error, ConnectError::Tunnel(error) if expected(error)),
                "{script:?} {error:?}"
            );
        }
    }
}

#[tokio::test]
async fn proxy_that_falls_silent_costs_the_connect_timeout() {
    let cases: [(&str, &[&[u8]]); 5] = [
        ("http://", &[]),
        ("http://", &[b"HTTP/1.1 200 O"]),
        ("socks5h://", &[]),
        ("socks5h://", &[&[5, 0]]),
        ("socks5h://", &[&[5, 0], &[5, 0, 0]]),
    ];
    for (scheme, answers) in cases {
        let (listener, address) = listener().await;
        let script = Script::new(answers);
        let (ended, has_ended) = oneshot::channel();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            script.run(&mut stream, false, |_| {}).await;
            while !matches!(stream.read(&mut [0; 1024]).await, Ok(0) | Err(_)) {}
            let _ = ended.send(());
        });
        let connector = connector(&format!("{scheme}{address}"))
            .connect_timeout(Some(Duration::from_millis(200)));
        let connected = connector.connect("ws://echo.invalid/").await;
        assert!(matches!(connected, Err(ConnectError::TimedOut)));
        has_ended.await.expect("the connection is closed");
    }
}

/// An address that answers nothing, as long as the rest is there: a queue that is full drops what comes.
#[cfg(target_os = "linux")]
async fn silent() -> (SocketAddr, (TcpListener, Vec<TcpStream>)) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = socket.local_addr().unwrap();
    let listener = socket.listen(1).unwrap();
    let mut waiting = Vec::new();
    while let Ok(stream) = timeout(Duration::from_millis(300), TcpStream::connect(address)).await {
        waiting.push(stream.unwrap());
    }
    (address, (listener, waiting))
}

/// RFC 8305: it costs a quarter of a second.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn address_that_is_silent_costs_a_quarter_of_a_second_and_one_that_refuses_nothing() {
    let ((silent, _full), (other, _full_too)) = tokio::join!(silent(), silent());
    // It has an address, and does not listen.
    let unused = TcpSocket::new_v4().unwrap();
    unused.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let refuses = unused.local_addr().unwrap();
    let server = echo().await;
    for (addresses, costs) in [
        (vec![silent, server], Duration::from_millis(250)),
        (vec![silent, other, server], Duration::from_millis(500)),
        (vec![refuses, server], Duration::ZERO),
    ] {
        let connector = Connector::new().resolver(move |_, _| {
            let addresses = addresses.clone();
            async move { Ok(addresses) }
        });
        let start = Instant::now();
        assert_echoes(&connector, "ws://echo.invalid/").await;
        let elapsed = start.elapsed();
        assert!(elapsed >= costs, "{elapsed:?}");
        assert!(elapsed < costs + PATIENCE, "{elapsed:?}");
    }
}
