//! Opens connections over the network.

use core::time::Duration;
use std::io::{self, IoSlice, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Instant;

use crate::transport::{Interest, Ready, Share, Transport};

/// What [`connect`](crate::connect) connects: TCP, or TLS over TCP.
#[derive(Debug)]
#[non_exhaustive]
pub enum NetStream {
    /// `ws://`
    Tcp(TcpStream),
    /// `wss://`
    #[cfg(feature = "tls")]
    Tls(Box<crate::tls::TlsStream<TcpStream>>),
}

impl NetStream {
    /// The socket: for its addresses and options.
    #[must_use]
    pub const fn socket(&self) -> &TcpStream {
        match self {
            Self::Tcp(stream) => stream,
            #[cfg(feature = "tls")]
            Self::Tls(stream) => stream.socket(),
        }
    }
}

/// Connects to the first address of the host that answers, within `timeout` for all of them.
pub(crate) fn dial(host: &str, port: u16, timeout: Option<Duration>) -> io::Result<TcpStream> {
    let addrs: Vec<_> = (host, port).to_socket_addrs()?.collect();
    let start = Instant::now();
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
    for (remaining, addr) in (1..=addrs.len() as u32).rev().zip(addrs) {
        let connected = match timeout {
            None => TcpStream::connect(addr),
            Some(timeout) => {
                // An address that says nothing leaves the others their share.
                let share = timeout.saturating_sub(start.elapsed()) / remaining;
                if share.is_zero() {
                    return Err(io::ErrorKind::TimedOut.into());
                }
                TcpStream::connect_timeout(&addr, share)
            }
        };
        match connected {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// One expression for both kinds of stream.
macro_rules! each {
    ($self:expr, $stream:ident => $body:expr) => {
        match $self {
            Self::Tcp($stream) => $body,
            #[cfg(feature = "tls")]
            Self::Tls($stream) => $body,
        }
    };
}

impl Read for NetStream {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        each!(self, stream => stream.read(buf))
    }
}

impl Write for NetStream {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        each!(self, stream => stream.write(buf))
    }

    fn flush(&mut self) -> io::Result<()> {
        each!(self, stream => stream.flush())
    }
}

impl Transport for NetStream {
    fn prepare(&mut self) -> io::Result<()> {
        each!(self, stream => stream.prepare())
    }

    fn can_wait(&self) -> bool {
        each!(self, stream => stream.can_wait())
    }

    fn wait(&self, interest: Interest<'_>, timeout: Option<Duration>) -> io::Result<Ready> {
        each!(self, stream => stream.wait(interest, timeout))
    }

    fn read_now(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        each!(self, stream => stream.read_now(buf))
    }

    fn write_now(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        each!(self, stream => stream.write_now(parts))
    }

    fn flush_now(&mut self) -> io::Result<()> {
        each!(self, stream => stream.flush_now())
    }

    fn shutdown(&mut self) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => Transport::shutdown(stream),
            #[cfg(feature = "tls")]
            Self::Tls(stream) => stream.shutdown(),
        }
    }
}

impl Share for NetStream {
    fn share(&self) -> io::Result<Self> {
        Ok(match self {
            Self::Tcp(stream) => Self::Tcp(stream.share()?),
            #[cfg(feature = "tls")]
            Self::Tls(stream) => Self::Tls(Box::new(stream.share()?)),
        })
    }

    fn write_shared(&self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        each!(self, stream => stream.write_shared(parts))
    }

    fn flush_shared(&self) -> io::Result<()> {
        each!(self, stream => stream.flush_shared())
    }
}
