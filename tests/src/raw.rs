//! A peer made by hand: it sends any bytes at any time, reads or does not, and leaves as it likes.
//!
//! It shares no code with motews, so that a mistake is not made at both ends.

use core::net::{Ipv4Addr, SocketAddr};
use core::time::Duration;
use std::io::{self, Read, Write};
use std::net::TcpStream;

use motews_testkit::frame::{Frame, ZERO_KEY, header};
pub use motews_testkit::head::read as read_head;
use motews_testkit::head::{self, ACCEPT, Head};
use rustix::net::{AddressFamily, SocketFlags, SocketType, ipproto, sockopt};

/// An opening handshake that any server accepts.
pub const REQUEST: &[u8] = head::REQUEST.as_bytes();

/// How long a peer waits for anything, at most.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A client of a WebSocket server, made by hand.
#[derive(Debug)]
pub struct RawPeer {
    /// The connection, to do with as one likes.
    pub stream: TcpStream,
}

impl RawPeer {
    /// A TCP connection to `address`. Each call on it waits for [`PATIENCE`] at most.
    ///
    /// # Errors
    /// Those of the operating system.
    pub fn connect(address: SocketAddr) -> io::Result<Self> {
        Self::prepared(TcpStream::connect_timeout(&address, PATIENCE)?)
    }

    /// The same from one address of this machine, with a receive buffer of about `buffer` bytes
    /// if there is one: with many addresses, the ports do not run out; with a small buffer, a peer
    /// that does not read is soon noticed.
    ///
    /// # Errors
    /// Those of the operating system.
    pub fn connect_from(
        source: Ipv4Addr,
        buffer: Option<usize>,
        address: SocketAddr,
    ) -> io::Result<Self> {
        let socket = rustix::net::socket_with(
            AddressFamily::INET,
            SocketType::STREAM,
            SocketFlags::CLOEXEC,
            Some(ipproto::TCP),
        )?;
        if let Some(buffer) = buffer {
            // Linux doubles it, for its own needs.
            sockopt::set_socket_recv_buffer_size(&socket, buffer / 2)?;
        }
        rustix::net::bind(&socket, &SocketAddr::from((source, 0)))?;
        rustix::net::connect(&socket, &address)?;
        Self::prepared(socket.into())
    }

    fn prepared(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self { stream })
    }

    /// A connection after its 101.
    ///
    /// # Errors
    /// Those of the operating system, and [`io::ErrorKind::Other`] with the head of an answer that
    /// is no 101.
    pub fn open(address: SocketAddr) -> io::Result<Self> {
        Self::connect(address)?.upgraded()
    }

    /// The opening handshake.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn upgraded(mut self) -> io::Result<Self> {
        self.stream.write_all(REQUEST)?;
        let head = read_head(&mut self.stream);
        if head.starts_with("HTTP/1.1 101 ") && head.contains(ACCEPT) {
            Ok(self)
        } else {
            Err(io::Error::other(head))
        }
    }

    /// The same with compression: offers `permessage-deflate` with these parameters, each after a
    /// semicolon, and returns those of the server's answer too.
    ///
    /// # Errors
    /// As [`open`](Self::open); also if the server declines.
    pub fn upgraded_with_deflate(mut self, parameters: &str) -> io::Result<(Self, String)> {
        self.stream.write_all(&request_with_deflate(parameters))?;
        let head = read_head(&mut self.stream);
        let agreed = head.split_once("\r\nSec-WebSocket-Extensions: permessage-deflate");
        match agreed.and_then(|(_, rest)| rest.split_once("\r\n")) {
            Some((agreed, _)) if head.starts_with("HTTP/1.1 101 ") => Ok((self, agreed.to_owned())),
            _ => Err(io::Error::other(head)),
        }
    }

    /// Sends a frame whose first byte is `first`.
    ///
    /// # Errors
    /// Those of the operating system.
    pub fn send(&mut self, first: u8, payload: &[u8]) -> io::Result<()> {
        self.stream
            .write_all(&frame(first, payload.len() as u64, payload))
    }

    /// Sends a text message.
    ///
    /// # Errors
    /// Those of the operating system.
    pub fn text(&mut self, text: &str) -> io::Result<()> {
        self.send(0x81, text.as_bytes())
    }

    /// Sends a text message and reads the answer to it.
    ///
    /// # Panics
    /// If the connection fails, or something else than a text comes.
    pub fn ask(&mut self, text: &str) -> String {
        self.text(text).expect("the server reads");
        let answer = self.read_frame().expect("the server answers");
        assert_eq!(answer.first, 0x81, "{text}: {answer:?}");
        String::from_utf8(answer.payload).expect("a text is UTF-8")
    }

    /// Reads a frame.
    ///
    /// # Errors
    /// Those of the operating system, [`io::ErrorKind::UnexpectedEof`] at the end of the stream,
    /// and [`io::ErrorKind::InvalidData`] for a masked frame.
    pub fn read_frame(&mut self) -> io::Result<Frame> {
        let (frame, key) = Frame::read(&mut self.stream)?;
        match key {
            None => Ok(frame),
            Some(_) => Err(io::ErrorKind::InvalidData.into()),
        }
    }

    /// Reads frames until a Close or the end of the stream, and returns the Close's code: 1005
    /// for a Close without one, 1006 for none (RFC 6455 §7.1.5).
    #[must_use]
    pub fn read_to_close(&mut self) -> u16 {
        loop {
            match self.read_frame() {
                Ok(frame) if frame.first == 0x88 => return frame.close_code().unwrap_or(1005),
                Ok(_) => {}
                Err(_) => return 1006,
            }
        }
    }

    /// Whether the server has ended the stream within `limit`. Discards what it has sent.
    #[must_use]
    pub fn is_ended_within(&mut self, limit: Duration) -> bool {
        _ = self.stream.set_nonblocking(true);
        let ended = crate::wait_until(limit, || {
            loop {
                match self.stream.read(&mut [0; 4096]) {
                    Ok(0) => return true,
                    Ok(_) => {}
                    Err(error) => return error.kind() != io::ErrorKind::WouldBlock,
                }
            }
        });
        _ = self.stream.set_nonblocking(false);
        ended
    }

    /// Leaves at once: the server gets a reset and no end of the stream.
    pub fn reset(self) {
        _ = sockopt::set_socket_linger(&self.stream, Some(Duration::ZERO));
    }
}

/// The [`REQUEST`] with an offer of `permessage-deflate` that has these parameters, each after a
/// semicolon.
#[must_use]
pub fn request_with_deflate(parameters: &str) -> Vec<u8> {
    let offer = format!("permessage-deflate{parameters}");
    let request = Head::request().and("Sec-WebSocket-Extensions", &offer);
    request.to_bytes()
}

/// A client's frame that announces `length` bytes, with a masking key of zeros.
#[must_use]
pub fn frame(first: u8, length: u64, payload: &[u8]) -> Vec<u8> {
    [&header(first, length, Some(ZERO_KEY)), payload].concat()
}
