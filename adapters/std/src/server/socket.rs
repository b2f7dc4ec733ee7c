//! What TCP and TLS need of a socket, and of the loop.

#[cfg(not(unix))]
use std::io::Write;
use std::io::{self, IoSlice};

use mio::net::TcpStream;

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

/// Writes what the operating system takes of `parts`. Never raises `SIGPIPE`.
pub(super) fn write_to(socket: &TcpStream, parts: &[IoSlice<'_>]) -> io::Result<usize> {
    #[cfg(unix)]
    return socket.try_io(|| crate::transport::write_without_signal(socket, parts));
    #[cfg(not(unix))]
    {
        let mut socket = socket;
        socket.write_vectored(parts)
    }
}
