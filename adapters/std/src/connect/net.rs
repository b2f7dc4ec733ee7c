//! The stream of a client that was connected over the network.

use core::time::Duration;
use std::io::{self, IoSlice, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use super::abort::Registered;
use crate::transport::{Interest, Ready, Share, Transport};

/// What [`connect`](crate::connect) connects: TCP, or TLS over TCP.
#[derive(Debug)]
pub struct NetStream {
    stream: Kind,
    /// So that an [`Aborter`](crate::Aborter) knows the socket for as long as it is open.
    registered: Option<Arc<Registered>>,
}

#[derive(Debug)]
enum Kind {
    /// `ws://`
    Tcp(TcpStream),
    /// `wss://`
    #[cfg(feature = "tls")]
    Tls(Box<crate::tls::TlsStream<TcpStream>>),
}

impl NetStream {
    pub(crate) fn new(
        socket: TcpStream,
        #[cfg(feature = "tls")] tls: Option<rustls::ClientConnection>,
        registered: Option<Registered>,
    ) -> Self {
        #[cfg(feature = "tls")]
        let stream = match tls {
            None => Kind::Tcp(socket),
            Some(tls) => Kind::Tls(Box::new(crate::tls::TlsStream::new(socket, tls.into()))),
        };
        #[cfg(not(feature = "tls"))]
        let stream = Kind::Tcp(socket);
        Self {
            stream,
            registered: registered.map(Arc::new),
        }
    }

    /// The socket: for its addresses and options.
    #[must_use]
    pub const fn socket(&self) -> &TcpStream {
        match &self.stream {
            Kind::Tcp(stream) => stream,
            #[cfg(feature = "tls")]
            Kind::Tls(stream) => stream.socket(),
        }
    }

    /// What a read came to: its error is another one if the stream was ended by an aborter.
    fn read_result(&self, read: io::Result<usize>) -> io::Result<usize> {
        let is_over = match &read {
            Ok(len) => *len == 0,
            Err(error) => !matches!(
                error.kind(),
                io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
            ),
        };
        let registered = self.registered.as_ref();
        match is_over && registered.is_some_and(|registered| registered.is_aborted()) {
            true => Err(crate::error::abort()),
            false => read,
        }
    }

    /// Returns true if the connection is encrypted: `wss://`.
    #[must_use]
    pub const fn is_tls(&self) -> bool {
        !matches!(self.stream, Kind::Tcp(_))
    }
}

/// One expression for both kinds of stream.
macro_rules! each {
    ($self:expr, $stream:ident => $body:expr) => {
        match $self {
            Kind::Tcp($stream) => $body,
            #[cfg(feature = "tls")]
            Kind::Tls($stream) => $body,
        }
    };
}

impl Read for NetStream {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let read = each!(&mut self.stream, stream => stream.read(buf));
        self.read_result(read)
    }
}

impl Write for NetStream {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        each!(&mut self.stream, stream => stream.write(buf))
    }

    fn flush(&mut self) -> io::Result<()> {
        each!(&mut self.stream, stream => stream.flush())
    }
}

impl Transport for NetStream {
    fn prepare(&mut self) -> io::Result<()> {
        each!(&mut self.stream, stream => stream.prepare())
    }

    fn can_wait(&self) -> bool {
        each!(&self.stream, stream => stream.can_wait())
    }

    fn wait(&self, interest: Interest<'_>, timeout: Option<Duration>) -> io::Result<Ready> {
        each!(&self.stream, stream => stream.wait(interest, timeout))
    }

    fn read_now(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let read = each!(&mut self.stream, stream => stream.read_now(buf));
        self.read_result(read)
    }

    fn write_now(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        each!(&mut self.stream, stream => stream.write_now(parts))
    }

    fn flush_now(&mut self) -> io::Result<()> {
        each!(&mut self.stream, stream => stream.flush_now())
    }

    fn held(&self) -> usize {
        each!(&self.stream, stream => stream.held())
    }

    fn shutdown(&mut self) -> io::Result<()> {
        match &mut self.stream {
            Kind::Tcp(stream) => Transport::shutdown(stream),
            #[cfg(feature = "tls")]
            Kind::Tls(stream) => stream.shutdown(),
        }
    }

    fn shutdown_now(&mut self) -> io::Result<()> {
        each!(&mut self.stream, stream => stream.shutdown_now())
    }
}

impl Share for NetStream {
    fn share(&self) -> io::Result<Self> {
        Ok(Self {
            stream: match &self.stream {
                Kind::Tcp(stream) => Kind::Tcp(stream.share()?),
                #[cfg(feature = "tls")]
                Kind::Tls(stream) => Kind::Tls(Box::new(stream.share()?)),
            },
            registered: self.registered.clone(),
        })
    }

    fn write_shared(&self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        each!(&self.stream, stream => stream.write_shared(parts))
    }

    fn flush_shared(&self) -> io::Result<()> {
        each!(&self.stream, stream => stream.flush_shared())
    }
}
