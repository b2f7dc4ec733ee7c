//! What the tests share: loopback pairs, and an in-memory pair that can be as slow as one likes.
#![expect(dead_code, reason = "each test file uses a part of this")]

use core::net::SocketAddr;
use core::time::Duration;
use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use motews_std::role::{Client, Server};
use motews_std::{Builder, OsEntropy, Timeouts, Transport, WebSocket};

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

/// Reads to the blank line that ends a head.
pub(crate) fn read_head(stream: &mut impl Read) -> String {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap_or(0) == 1 {
        head.push(byte[0]);
    }
    String::from_utf8(head).unwrap()
}

/// The key that stands in a request.
pub(crate) fn key_of(request: &str) -> &str {
    request
        .lines()
        .find_map(|line| line.strip_prefix("Sec-WebSocket-Key: "))
        .unwrap()
}

/// The RFC's sample request and the response to it.
pub(crate) const REQUEST: &[u8] = b"GET /chat HTTP/1.1\r\n\
    Host: server.example.com\r\n\
    Upgrade: websocket\r\n\
    Connection: Upgrade\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Origin: http://example.com\r\n\
    Sec-WebSocket-Protocol: chat, superchat\r\n\
    Sec-WebSocket-Version: 13\r\n\
    \r\n";

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

/// One direction of an in-memory pair.
#[derive(Default)]
pub(crate) struct Pipe {
    pub(crate) bytes: VecDeque<u8>,
    pub(crate) ended: bool,
}

/// One end of an in-memory pair that never blocks. When `trickling`, it gives and takes one byte at
/// a time, and `WouldBlock` after each.
pub(crate) struct End {
    pub(crate) rx: Arc<Mutex<Pipe>>,
    pub(crate) tx: Arc<Mutex<Pipe>>,
    pub(crate) trickling: bool,
    refuse_read: bool,
    refuse_write: bool,
}

pub(crate) fn memory_pair(trickling: bool) -> (End, End) {
    let (a, b) = (
        Arc::new(Mutex::new(Pipe::default())),
        Arc::new(Mutex::new(Pipe::default())),
    );
    let end = |rx: &Arc<_>, tx: &Arc<_>| End {
        rx: Arc::clone(rx),
        tx: Arc::clone(tx),
        trickling,
        refuse_read: trickling,
        refuse_write: trickling,
    };
    (end(&a, &b), end(&b, &a))
}

impl Read for End {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.refuse_read = !self.refuse_read && self.trickling;
        if self.refuse_read {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let mut pipe = self.rx.lock().unwrap();
        let most = if self.trickling { 1 } else { usize::MAX };
        let len = buf.len().min(pipe.bytes.len()).min(most);
        if len == 0 && !pipe.ended {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        for (to, from) in buf.iter_mut().zip(pipe.bytes.drain(..len)) {
            *to = from;
        }
        Ok(len)
    }
}

impl Write for End {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.refuse_write = !self.refuse_write && self.trickling;
        if self.refuse_write {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let mut pipe = self.tx.lock().unwrap();
        if pipe.ended {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let len = if self.trickling {
            buf.len().min(1)
        } else {
            buf.len()
        };
        pipe.bytes.extend(&buf[..len]);
        Ok(len)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Transport for End {
    fn shutdown(&mut self) -> io::Result<()> {
        self.tx.lock().unwrap().ended = true;
        Ok(())
    }
}

impl Drop for End {
    fn drop(&mut self) {
        self.tx.lock().unwrap().ended = true;
    }
}

/// A frame as a client sends it, masked with zeros.
pub(crate) fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    frame(first, payload, true)
}

/// A frame as a server sends it.
pub(crate) fn unmasked(first: u8, payload: &[u8]) -> Vec<u8> {
    frame(first, payload, false)
}

fn frame(first: u8, payload: &[u8], masked: bool) -> Vec<u8> {
    let mask = if masked { 0x80 } else { 0 };
    let mut frame = vec![first];
    match payload.len() {
        len @ 0..126 => frame.push(mask | len as u8),
        len @ 126..65536 => {
            frame.push(mask | 126);
            frame.extend((len as u16).to_be_bytes());
        }
        len => {
            frame.push(mask | 127);
            frame.extend((len as u64).to_be_bytes());
        }
    }
    if masked {
        frame.extend([0; 4]);
    }
    frame.extend(payload);
    frame
}
