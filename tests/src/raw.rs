//! A peer made by hand: it sends any bytes at any time, reads or does not, and leaves as it likes.
//!
//! It shares no code with motews, so that a mistake is not made at both ends.

use core::net::{Ipv4Addr, SocketAddr};
use core::time::Duration;
use std::io::{self, Read, Write};
use std::net::TcpStream;

use rustix::net::{AddressFamily, SocketFlags, SocketType, ipproto, sockopt};

/// An opening handshake that any server accepts.
pub const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\n\
    Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// What RFC 6455 §1.3 computes from the key in [`REQUEST`].
pub const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// How long a peer waits for anything, at most.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A client of a WebSocket server, made by hand.
#[derive(Debug)]
pub struct RawPeer {
    /// The connection, to do with as one likes.
    pub stream: TcpStream,
}

/// A frame as a server sends it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawFrame {
    /// FIN, RSV1 to RSV3 and the opcode.
    pub first: u8,
    /// The payload.
    pub payload: Vec<u8>,
}

impl RawFrame {
    /// The code of a Close frame; `None` for all else, and for a Close without one.
    #[must_use]
    pub fn close_code(&self) -> Option<u16> {
        match (self.first, self.payload.as_slice()) {
            (0x88, [high, low, ..]) => Some(u16::from_be_bytes([*high, *low])),
            _ => None,
        }
    }
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

    /// Sends a frame whose first octet is `first`.
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
    pub fn read_frame(&mut self) -> io::Result<RawFrame> {
        let [first, len] = self.read_array()?;
        let len = match len {
            0..126 => u64::from(len),
            126 => u16::from_be_bytes(self.read_array()?).into(),
            127 => u64::from_be_bytes(self.read_array()?),
            _ => return Err(io::ErrorKind::InvalidData.into()),
        };
        let mut payload = vec![0; usize::try_from(len).map_err(io::Error::other)?];
        self.stream.read_exact(&mut payload)?;
        Ok(RawFrame { first, payload })
    }

    fn read_array<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        self.stream.read_exact(&mut bytes)?;
        Ok(bytes)
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
    let offer = format!("Sec-WebSocket-Extensions: permessage-deflate{parameters}\r\n\r\n");
    [&REQUEST[..REQUEST.len() - 2], offer.as_bytes()].concat()
}

/// Reads a response's head, or what there is of it when nothing more comes.
pub fn read_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    let mut byte = [0];
    // Byte by byte: what follows is a frame, and not for this.
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|count| count == 1) {
        head.extend(byte);
    }
    String::from_utf8_lossy(&head).into_owned()
}

/// A client's frame that announces `length` octets, with a masking key of zeros.
#[must_use]
pub fn frame(first: u8, length: u64, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match length {
        0..126 => frame.push(0x80 | length as u8),
        126..65_536 => {
            frame.push(0x80 | 126);
            frame.extend((length as u16).to_be_bytes());
        }
        _ => {
            frame.push(0x80 | 127);
            frame.extend(length.to_be_bytes());
        }
    }
    frame.extend([0; 4]);
    frame.extend(payload);
    frame
}
