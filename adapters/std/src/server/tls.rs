//! TLS for the connections of a loop. Beside [`TlsStream`](crate::tls::TlsStream) for a blocking
//! WebSocket it has no lock, for only the loop uses it, and no buffer for what is read: all
//! connections of the loop share one.

use std::io::{self, IoSlice, Read, Write};
use std::sync::Arc;

use rustls::{ServerConfig, ServerConnection};

use super::poll::TcpStream;
use super::socket::{Turn, write_to};

/// How much is read from the socket at once, in bytes: one record and its header fit.
const READ_LEN: usize = 16 * 1024 + 512;

/// What each byte that is read and is no content counts as work: a record of 22 bytes may have
/// none, and takes as long to decrypt as some hundred bytes take to inflate.
const WORK_OF_A_BYTE: usize = 16;

/// What the longest record holds, and what it has beside that, in bytes.
const RECORD: usize = 16 * 1024;
const RECORD_OVERHEAD: usize = 22;

#[derive(Debug)]
pub(super) struct TlsSession {
    connection: ServerConnection,
    /// About how many bytes of records are not written yet. rustls knows only whether there are
    /// any; this is 0 if and only if there are none.
    held: usize,
    /// How many bytes of records the socket has taken since that was asked for.
    taken: usize,
    /// The peer has ended its half.
    ended: bool,
}

/// The socket as rustls writes it.
struct Socket<'a>(&'a TcpStream);

impl Write for Socket<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        write_to(self.0, &[IoSlice::new(bytes)])
    }

    fn write_vectored(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        write_to(self.0, parts)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl TlsSession {
    pub(super) fn new(config: Arc<ServerConfig>) -> io::Result<Self> {
        Ok(Self {
            connection: ServerConnection::new(config).map_err(io::Error::other)?,
            held: 0,
            taken: 0,
            ended: false,
        })
    }

    pub(super) fn owes(&self) -> bool {
        self.connection.wants_write()
    }

    pub(super) const fn held(&self) -> usize {
        self.held
    }

    /// Returns how many bytes of records the socket has taken since the last call.
    pub(super) const fn take_taken(&mut self) -> usize {
        core::mem::replace(&mut self.taken, 0)
    }

    /// Reads the socket once, and decrypts that. `buffer` has room for what one read and a record
    /// that was cut in two can hold.
    pub(super) fn read(
        &mut self,
        mut socket: &TcpStream,
        buffer: &mut [u8],
        turn: &mut Turn,
    ) -> io::Result<Option<usize>> {
        if self.ended {
            return Ok(Some(0));
        }
        turn.records.resize(READ_LEN, 0);
        let len = socket.read(&mut turn.records)?;
        let decrypted = self.decrypt(&turn.records[..len], buffer);
        // The handshake's next messages, or the alert that says what is wrong. What is left is
        // written later, when there is room.
        let flushed = self.flush(socket);
        let content = decrypted?;
        turn.work += len.saturating_sub(content) * WORK_OF_A_BYTE;
        match flushed {
            // What was read counts first; the next write fails as well.
            Err(error) if error.kind() != io::ErrorKind::WouldBlock && content == 0 => {
                return Err(error);
            }
            _ => {}
        }
        self.ended |= len == 0;
        Ok((content > 0 || self.ended).then_some(content))
    }

    /// Decrypts `records`, and returns how much content that is.
    fn decrypt(&mut self, mut records: &[u8], buffer: &mut [u8]) -> io::Result<usize> {
        let mut content = 0;
        while !records.is_empty() && !self.ended {
            if self.connection.read_tls(&mut records)? == 0 {
                break;
            }
            let state = self
                .connection
                .process_new_packets()
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
            self.ended = state.peer_has_closed();
            while content < buffer.len() {
                match self.connection.reader().read(&mut buffer[content..]) {
                    Ok(0) | Err(_) => break,
                    Ok(len) => content += len,
                }
            }
        }
        Ok(content)
    }

    /// Encrypts a part of `parts`, if all that was encrypted before has left.
    pub(super) fn write(&mut self, socket: &TcpStream, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        self.flush(socket)?;
        let taken = self.connection.writer().write_vectored(parts)?;
        if taken == 0 && parts.iter().any(|part| !part.is_empty()) {
            // Nothing is encrypted before the handshake is done.
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.held += taken + taken.div_ceil(RECORD) * RECORD_OVERHEAD;
        match self.flush(socket) {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
            _ => Ok(taken),
        }
    }

    /// Writes what is encrypted. `WouldBlock`: some is left.
    pub(super) fn flush(&mut self, socket: &TcpStream) -> io::Result<()> {
        while self.connection.wants_write() {
            match self.connection.write_tls(&mut Socket(socket)) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(len) => {
                    self.taken += len;
                    self.held = self.held.saturating_sub(len);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.held = self.held.max(1);
                    return Err(error);
                }
            }
        }
        self.held = 0;
        Ok(())
    }

    /// Tells the peer that nothing more comes. `WouldBlock`: it is not told yet.
    pub(super) fn close(&mut self, socket: &TcpStream) -> io::Result<()> {
        self.connection.send_close_notify();
        self.flush(socket)
    }
}
