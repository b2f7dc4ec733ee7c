//! What a connection runs over: TCP, or TLS over TCP.

use std::io::{self, IoSlice, Read};
use std::net::Shutdown;

use mio::net::TcpStream;

use super::socket::{Turn, write_to};
#[cfg(feature = "tls")]
use super::tls::TlsStream;

#[derive(Debug)]
pub(super) enum Stream {
    Tcp(TcpStream),
    #[cfg(feature = "tls")]
    Tls(Box<TlsStream>),
}

impl Stream {
    /// TCP as it is.
    pub(super) fn tcp(socket: TcpStream) -> io::Result<Self> {
        Self::prepare(&socket)?;
        Ok(Self::Tcp(socket))
    }

    /// TLS over a socket.
    #[cfg(feature = "tls")]
    pub(super) fn tls(
        socket: TcpStream,
        config: std::sync::Arc<rustls::ServerConfig>,
    ) -> io::Result<Self> {
        Self::prepare(&socket)?;
        Ok(Self::Tls(Box::new(TlsStream::new(socket, config)?)))
    }

    /// Sets the options that the listener's do not bring along.
    fn prepare(socket: &TcpStream) -> io::Result<()> {
        // Frames are written whole, so nothing is gained by the kernel's waiting for more. Linux
        // hands the listener's option down.
        if cfg!(not(target_os = "linux")) {
            socket.set_nodelay(true)?;
        }
        // There is no flag for it in a call that writes.
        #[cfg(target_vendor = "apple")]
        rustix::net::sockopt::set_socket_nosigpipe(socket, true)?;
        Ok(())
    }

    pub(super) fn socket(&self) -> &TcpStream {
        match self {
            Self::Tcp(stream) => stream,
            #[cfg(feature = "tls")]
            Self::Tls(stream) => stream.socket(),
        }
    }

    pub(super) fn socket_mut(&mut self) -> &mut TcpStream {
        match self {
            Self::Tcp(stream) => stream,
            #[cfg(feature = "tls")]
            Self::Tls(stream) => stream.socket_mut(),
        }
    }

    /// Reads the socket once. Returns 0 bytes at the end, and `None` if there was something to
    /// read, but nothing of it is content: records of TLS's own.
    #[inline]
    pub(super) fn read(&mut self, buffer: &mut [u8], turn: &mut Turn) -> io::Result<Option<usize>> {
        match self {
            Self::Tcp(stream) => {
                let _ = turn;
                stream.read(buffer).map(Some)
            }
            #[cfg(feature = "tls")]
            Self::Tls(stream) => stream.read(buffer, turn),
        }
    }

    /// Takes some bytes, and returns how many. TLS may hold them: see [`held`](Self::held).
    #[inline]
    pub(super) fn write(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => write_to(stream, parts),
            #[cfg(feature = "tls")]
            Self::Tls(stream) => stream.write(parts),
        }
    }

    /// Whether TLS has something to write.
    #[inline]
    pub(super) fn owes(&self) -> bool {
        match self {
            Self::Tcp(_) => false,
            #[cfg(feature = "tls")]
            Self::Tls(stream) => stream.owes(),
        }
    }

    /// Passes on what TLS holds. `WouldBlock`: some is left.
    #[inline]
    pub(super) fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Tcp(_) => Ok(()),
            #[cfg(feature = "tls")]
            Self::Tls(stream) => stream.flush(),
        }
    }

    /// The bytes that TLS holds and the socket has not taken.
    #[inline]
    pub(super) const fn held(&self) -> usize {
        match self {
            Self::Tcp(_) => 0,
            #[cfg(feature = "tls")]
            Self::Tls(stream) => stream.held(),
        }
    }

    /// Returns how many bytes the socket has taken since the last call, if the stream has taken
    /// `written`: TLS makes more of them, and may hold some for longer.
    #[inline]
    pub(super) const fn taken(&mut self, written: usize) -> usize {
        match self {
            Self::Tcp(_) => written,
            #[cfg(feature = "tls")]
            Self::Tls(stream) => stream.take_taken(),
        }
    }

    /// Whether a read that did not fill its buffer has taken all there was: the next event tells of
    /// what comes later. Elsewhere an event comes only after a read that found nothing.
    pub(super) const fn is_drained_by_short_read(&self) -> bool {
        cfg!(any(target_os = "linux", target_os = "android")) && matches!(self, Self::Tcp(_))
    }

    /// Ends this side's half. `WouldBlock`: not yet, since TLS has something to say first.
    pub(super) fn shutdown(&mut self) -> io::Result<()> {
        #[cfg(feature = "tls")]
        if let Self::Tls(stream) = self {
            stream.close()?;
        }
        self.socket().shutdown(Shutdown::Write)
    }
}
