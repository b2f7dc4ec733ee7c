//! What a connection runs over: TCP, or TLS over TCP.

use std::io::{self, IoSlice};
use std::net::Shutdown;

use super::poll::TcpStream;
use super::socket::{Turn, read_from, write_one_to, write_to};
#[cfg(feature = "tls")]
use super::tls::TlsSession;

/// Sets the options that the listener's do not bring along.
pub(super) fn prepare(socket: &TcpStream) -> io::Result<()> {
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

/// The TLS of a connection, if it has some.
#[cfg(feature = "tls")]
pub(super) type Tls = Option<Box<TlsSession>>;

/// Without the feature there is none.
#[cfg(not(feature = "tls"))]
#[derive(Debug)]
pub(super) struct Tls;

/// A connection's socket and its TLS, which lie side by side where they take the least room.
#[derive(Debug)]
pub(super) struct Stream<'a> {
    socket: &'a TcpStream,
    #[cfg(feature = "tls")]
    tls: Option<&'a mut TlsSession>,
}

impl<'a> Stream<'a> {
    #[inline]
    pub(super) fn new(socket: &'a TcpStream, tls: &'a mut Tls) -> Self {
        #[cfg(not(feature = "tls"))]
        let _ = tls;
        Self {
            socket,
            #[cfg(feature = "tls")]
            tls: tls.as_deref_mut(),
        }
    }

    /// Reads the socket once. Returns 0 bytes at the end, and `None` if there was something to
    /// read, but nothing of it is content: records of TLS's own.
    #[inline(always)]
    pub(super) fn read(&mut self, buffer: &mut [u8], turn: &mut Turn) -> io::Result<Option<usize>> {
        #[cfg(feature = "tls")]
        if let Some(tls) = &mut self.tls {
            return tls.read(self.socket, buffer, turn);
        }
        let _ = turn;
        read_from(self.socket, buffer).map(Some)
    }

    /// Takes some bytes if there is no TLS, and returns how many: as [`write`](Self::write), for what is
    /// written most.
    #[inline(always)]
    pub(super) fn write_plain(&self, bytes: &[u8]) -> io::Result<usize> {
        #[cfg(feature = "tls")]
        if self.tls.is_some() {
            return Ok(0);
        }
        write_one_to(self.socket, bytes)
    }

    /// Takes some bytes, and returns how many. TLS may hold them: see [`held`](Self::held).
    #[inline]
    pub(super) fn write(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        #[cfg(feature = "tls")]
        if let Some(tls) = &mut self.tls {
            return tls.write(self.socket, parts);
        }
        write_to(self.socket, parts)
    }

    /// Whether TLS has something to write.
    #[inline]
    pub(super) fn owes(&self) -> bool {
        #[cfg(feature = "tls")]
        if let Some(tls) = &self.tls {
            return tls.owes();
        }
        false
    }

    /// Passes on what TLS holds. `WouldBlock`: some is left.
    #[inline]
    #[cfg_attr(
        not(feature = "tls"),
        expect(clippy::unnecessary_wraps, reason = "TLS may fail")
    )]
    pub(super) fn flush(&mut self) -> io::Result<()> {
        #[cfg(feature = "tls")]
        if let Some(tls) = &mut self.tls {
            return tls.flush(self.socket);
        }
        Ok(())
    }

    /// The bytes that TLS holds and the socket has not taken.
    #[inline]
    pub(super) fn held(&self) -> usize {
        #[cfg(feature = "tls")]
        if let Some(tls) = &self.tls {
            return tls.held();
        }
        0
    }

    /// Returns how many bytes the socket has taken since the last call, if the stream has taken
    /// `written`: TLS makes more of them, and may hold some for longer.
    #[inline]
    pub(super) fn taken(&mut self, written: usize) -> usize {
        #[cfg(feature = "tls")]
        if let Some(tls) = &mut self.tls {
            return tls.take_taken();
        }
        written
    }

    /// Whether a read that did not fill its buffer has taken all there was: the next event tells of
    /// what comes later. Elsewhere an event comes only after a read that found nothing.
    pub(super) fn is_drained_by_short_read(&self) -> bool {
        #[cfg(feature = "tls")]
        if self.tls.is_some() {
            return false;
        }
        cfg!(any(target_os = "linux", target_os = "android"))
    }

    /// Ends this side's half. `WouldBlock`: not yet, since TLS has something to say first.
    pub(super) fn shutdown(&mut self) -> io::Result<()> {
        #[cfg(feature = "tls")]
        if let Some(tls) = &mut self.tls {
            tls.close(self.socket)?;
        }
        self.socket.shutdown(Shutdown::Write)
    }
}
