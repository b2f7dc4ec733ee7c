//! The peer's end of a TCP connection that is tested.

use core::time::Duration;
use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::thread;

/// The kit's end of a TCP connection. It never blocks: what the connection under test does not read
/// yet is written when the kit [waits](Self::wait).
#[derive(Debug)]
pub struct Socket {
    stream: TcpStream,
    given: VecDeque<u8>,
    ends: bool,
}

impl Socket {
    /// Takes over a stream on which nothing was received yet that belongs to the open connection.
    ///
    /// # Panics
    /// If the operating system does not let it.
    #[must_use]
    pub fn new(stream: TcpStream) -> Self {
        stream.set_nonblocking(true).expect("a socket");
        stream.set_nodelay(true).expect("a socket");
        Self {
            stream,
            given: VecDeque::new(),
            ends: false,
        }
    }

    /// See [`Subject::give`](super::Subject::give).
    pub fn give(&mut self, bytes: &[u8]) {
        self.given.extend(bytes);
        self.pump();
    }

    /// See [`Subject::end`](super::Subject::end).
    pub fn end(&mut self) {
        self.ends = true;
        self.pump();
    }

    /// Writes what was given, as far as the connection takes it. One that has left takes nothing.
    fn pump(&mut self) {
        while !self.given.is_empty() {
            let (bytes, _) = self.given.as_slices();
            match self.stream.write(bytes) {
                Ok(len) => drop(self.given.drain(..len)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(_) => self.given.clear(),
            }
        }
        if core::mem::take(&mut self.ends) {
            // It may have left.
            let _ = self.stream.shutdown(Shutdown::Write);
        }
    }

    /// See [`Subject::take`](super::Subject::take).
    pub fn take(&mut self, most: usize) -> Vec<u8> {
        self.pump();
        let mut bytes = vec![0; most.min(64 << 10)];
        // That there is nothing, and that it has left, is told by `has_ended`.
        let len = self.stream.read(&mut bytes).unwrap_or(0);
        bytes.truncate(len);
        bytes
    }

    /// See [`Subject::has_ended`](super::Subject::has_ended).
    #[must_use]
    pub fn has_ended(&self) -> bool {
        match self.stream.peek(&mut [0]) {
            Ok(len) => len == 0,
            Err(error) => error.kind() != ErrorKind::WouldBlock,
        }
    }

    /// See [`Subject::wait`](super::Subject::wait).
    pub fn wait(&mut self, millis: u32) {
        self.pump();
        thread::sleep(Duration::from_millis(millis.into()));
        self.pump();
    }
}
