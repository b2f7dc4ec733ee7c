//! What a connection runs over: TCP, or TLS over TCP.

use std::io::{self, IoSlice, Read, Write};
use std::net::Shutdown;

use mio::net::TcpStream;

use super::Settings;
#[cfg(feature = "tls")]
use crate::tls::TlsStream;
#[cfg(feature = "tls")]
use crate::transport::Transport;

#[derive(Debug)]
pub(super) enum Stream {
    Tcp(TcpStream),
    #[cfg(feature = "tls")]
    Tls(Box<TlsStream<TcpStream>>),
}

/// It never blocks.
#[cfg(feature = "tls")]
impl Transport for TcpStream {
    fn shutdown(&mut self) -> io::Result<()> {
        Self::shutdown(self, Shutdown::Write)
    }
}

impl Stream {
    /// What `settings` make of a socket.
    #[cfg_attr(
        not(feature = "tls"),
        expect(clippy::unnecessary_wraps, reason = "TLS may fail")
    )]
    pub(super) fn new(socket: TcpStream, settings: &Settings) -> io::Result<Self> {
        #[cfg(feature = "tls")]
        if let Some(config) = &settings.tls {
            let stream = TlsStream::server(socket, config.clone()).map_err(io::Error::other)?;
            return Ok(Self::Tls(Box::new(stream)));
        }
        let _ = settings;
        Ok(Self::Tcp(socket))
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

    #[inline]
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read(buffer),
            #[cfg(feature = "tls")]
            Self::Tls(stream) => stream.read(buffer),
        }
    }

    #[inline]
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.write(bytes),
            #[cfg(feature = "tls")]
            Self::Tls(stream) => stream.write(bytes),
        }
    }

    pub(super) fn write_vectored(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.write_vectored(parts),
            #[cfg(feature = "tls")]
            Self::Tls(stream) => stream.write_now(parts),
        }
    }

    /// Passes on what TLS still holds, and tells whether that was all.
    #[inline]
    pub(super) fn flush(&mut self) -> io::Result<bool> {
        match self {
            Self::Tcp(_) => Ok(true),
            #[cfg(feature = "tls")]
            Self::Tls(stream) => match stream.flush_now() {
                Ok(()) => Ok(true),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
                Err(error) => Err(error),
            },
        }
    }

    /// Whether TLS holds nothing that is to be written.
    pub(super) fn is_flushed(&self) -> bool {
        match self {
            Self::Tcp(_) => true,
            #[cfg(feature = "tls")]
            Self::Tls(stream) => stream.is_flushed(),
        }
    }

    /// Whether a read that did not fill its buffer has taken all there was: the next event tells of
    /// what comes later. Elsewhere an event comes only after a read that found nothing.
    pub(super) const fn is_drained_by_short_read(&self) -> bool {
        cfg!(any(target_os = "linux", target_os = "android")) && matches!(self, Self::Tcp(_))
    }

    /// Ends this side's half.
    pub(super) fn shutdown(&mut self) {
        // If it fails, the stream has ended already.
        let _ = match self {
            Self::Tcp(stream) => TcpStream::shutdown(stream, Shutdown::Write),
            #[cfg(feature = "tls")]
            Self::Tls(stream) => Transport::shutdown(&mut **stream),
        };
    }
}
