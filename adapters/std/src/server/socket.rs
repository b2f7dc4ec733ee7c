//! What TCP and TLS need of a socket, and of the loop.
//!
//! The two calls that each message takes are inlined into the loop itself, with all that is around them,
//! and so is the wait on Linux.
//! Where the system guards its own returns against speculation, as on AMD's Zen, it leaves nothing to
//! predict ours by: a function that returns after a system call costs as much as a fifth of the call.

use std::io::{self, IoSlice};
#[cfg(not(unix))]
use std::io::{Read, Write};

use super::poll::TcpStream;
#[cfg(unix)]
use super::poll::try_io;

/// What the connection that has its turn may use, and has used.
#[derive(Debug, Default)]
pub(super) struct Turn {
    /// The work that it has caused, in bytes of messages that are compressed or inflated, or what
    /// takes as long. The loop renews it for each turn.
    pub(super) work: usize,
    /// Where records of TLS are read into. Made when it is needed.
    #[cfg(feature = "tls")]
    pub(super) records: Vec<u8>,
}

/// Reads what has come, as far as there is room.
#[inline(always)]
pub(super) fn read_from(socket: &TcpStream, buffer: &mut [u8]) -> io::Result<usize> {
    #[cfg(unix)]
    return try_io(socket, || {
        let (len, _) = rustix::net::recv(socket, buffer, rustix::net::RecvFlags::empty())?;
        Ok(len)
    });
    #[cfg(not(unix))]
    {
        let mut socket = socket;
        socket.read(buffer)
    }
}

/// Writes what the operating system takes of `bytes`. Never raises `SIGPIPE`.
#[inline(always)]
pub(super) fn write_one_to(socket: &TcpStream, bytes: &[u8]) -> io::Result<usize> {
    write_to(socket, &[IoSlice::new(bytes)])
}

/// Writes what the operating system takes of `parts`. Never raises `SIGPIPE`.
#[inline(always)]
pub(super) fn write_to(socket: &TcpStream, parts: &[IoSlice<'_>]) -> io::Result<usize> {
    #[cfg(unix)]
    return try_io(socket, || {
        crate::transport::write_without_signal(socket, parts)
    });
    #[cfg(not(unix))]
    {
        let mut socket = socket;
        socket.write_vectored(parts)
    }
}
