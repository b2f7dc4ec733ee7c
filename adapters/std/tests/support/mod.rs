//! What the tests share: loopback pairs, and an in-memory pair that can be as slow as one likes.
#![expect(dead_code, reason = "each test file uses a part of this")]

use core::net::SocketAddr;
use core::time::Duration;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread::JoinHandle;

use motews_std::role::{Client, Server};
use motews_std::{Builder, OsEntropy, Timeouts, Transport, WebSocket};
use motews_testkit::head;
use motews_testkit::transport::Script;

/// Both ends of a TCP connection over loopback.
pub(crate) fn tcp_pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (client, listener.accept().unwrap().0)
}

pub(crate) type TcpClient = WebSocket<TcpStream, Client<OsEntropy>>;
pub(crate) type TcpServer = WebSocket<TcpStream, Server>;

/// An open WebSocket over loopback, with these settings at both ends.
pub(crate) fn ws_pair_with(builder: &Builder) -> (TcpClient, TcpServer) {
    let (client, server) = tcp_pair();
    (
        builder.from_upgraded(client, Client::new(OsEntropy::new()), b""),
        builder.from_upgraded(server, Server, b""),
    )
}

pub(crate) fn ws_pair() -> (TcpClient, TcpServer) {
    ws_pair_with(&Builder::new())
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
