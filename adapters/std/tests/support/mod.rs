//! What the tests share: loopback pairs, and an in-memory pair that can be as slow as one likes.
#![expect(dead_code, reason = "each test file uses a part of this")]

use core::net::SocketAddr;
use core::time::Duration;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread::JoinHandle;
use std::time::Instant;

use motews_std::role::{Client, Role, Server};
use motews_std::{
    Acceptor, Agreed, CloseCode, Ended, OsEntropy, SendError, Timeouts, Transport, WebSocket,
};
use motews_testkit::head;
use motews_testkit::transport::Script;

/// How long anything may take that does not depend on a deadline.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Asks again and again until it is so.
pub(crate) fn until(what: &str, mut is: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !is() {
        assert!(Instant::now() < end, "never: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Both ends of a TCP connection over loopback.
pub(crate) fn tcp_pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (client, listener.accept().unwrap().0)
}

pub(crate) type TcpClient = WebSocket<TcpStream, Client<OsEntropy>>;
pub(crate) type TcpServer = WebSocket<TcpStream, Server>;

/// An open WebSocket over loopback, with these settings at both ends.
pub(crate) fn ws_pair_with(builder: &Acceptor) -> (TcpClient, TcpServer) {
    pair(builder, Agreed::default())
}

/// The same, compressed.
#[cfg(feature = "deflate")]
pub(crate) fn ws_pair_agreed(
    builder: &Acceptor,
    config: motews_std::DeflateConfig,
) -> (TcpClient, TcpServer) {
    pair(builder, agreed(config))
}

/// What two sides agree on that are configured like that.
#[cfg(feature = "deflate")]
pub(crate) fn agreed(config: motews_std::DeflateConfig) -> Agreed {
    let motews_std::DeflateConfig { send, receive } = config;
    let mut agreed = Agreed::default();
    agreed.deflate = Some(motews_std::DeflateParams { send, receive });
    agreed
}

fn pair(builder: &Acceptor, agreed: Agreed) -> (TcpClient, TcpServer) {
    let (client, server) = tcp_pair();
    (
        builder.from_upgraded(client, Client::new(OsEntropy::new()), b"", agreed),
        builder.from_upgraded(server, Server, b"", agreed),
    )
}

/// Sends a Close if this side has not, and waits for the end.
pub(crate) fn close<S: Transport, R: Role>(
    ws: &mut WebSocket<S, R>,
    code: CloseCode,
    reason: &str,
) -> Ended {
    match ws.close(code, reason) {
        Ok(()) | Err(SendError::Closed) => ws.closed().unwrap(),
        Err(error) => panic!("{error}"),
    }
}

pub(crate) fn ws_pair() -> (TcpClient, TcpServer) {
    ws_pair_with(&Acceptor::new())
}

/// A server of one connection, which may do as it likes.
pub(crate) fn serve<T: Send + 'static>(
    f: impl FnOnce(TcpStream) -> T + Send + 'static,
) -> (SocketAddr, JoinHandle<T>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let thread = std::thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(5)))
            .unwrap();
        f(stream)
    });
    (addr, thread)
}

/// The key that stands in a request.
pub(crate) fn key_of(request: &str) -> &str {
    head::value(request, "Sec-WebSocket-Key").unwrap()
}

pub(crate) const REQUEST: &[u8] = head::REQUEST.as_bytes();

/// Short deadlines, for tests of them.
pub(crate) const QUICK: Timeouts = Timeouts {
    handshake: Some(150),
    idle: None,
    keepalive: None,
    pong: None,
    close: Some(150),
    write: Some(150),
    min_rate: 1_000_000,
    max_grace: 150,
};

/// One end of an in-memory pair that never blocks. When `trickling`, it gives and takes one byte at
/// a time, and `WouldBlock` before each.
pub(crate) struct End(Script);

pub(crate) fn memory_pair(trickling: bool) -> (End, End) {
    let most = if trickling { 1 } else { usize::MAX };
    let (one, other) = Script::pair(most, trickling);
    (End(one), End(other))
}

impl Read for End {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.0.read(buf)
    }
}

impl Write for End {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.0.write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl Transport for End {
    fn shutdown(&mut self) -> io::Result<()> {
        self.0.shutdown();
        Ok(())
    }
}
