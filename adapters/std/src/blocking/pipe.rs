//! The stream of an opening handshake, and its deadlines.

use core::time::Duration;
use std::io::{self, IoSlice};
use std::time::Instant;

use motews::{Millis, Pace, Timeouts};

use crate::transport::{Interest, Transport};

/// How long a peer is waited for that says nothing after a last response.
const DRAIN: Duration = Duration::from_secs(1);

/// The stream of a handshake, and its deadline.
pub(crate) struct Pipe<S> {
    pub(crate) stream: S,
    prepared: bool,
    epoch: Instant,
    pace: Pace,
    timeouts: Timeouts,
    /// An end that comes earlier than that of the rules, for what is a courtesy.
    pub(crate) patience: Option<Instant>,
    /// When draining ends, however much comes.
    drain_by: Option<Instant>,
    /// This side's half of the stream is to be ended.
    ends: bool,
    pub(crate) out: Vec<u8>,
    sent: usize,
    /// What the stream itself holds of that, in bytes.
    held: usize,
    pub(crate) input: Vec<u8>,
}

impl<S: Transport> Pipe<S> {
    pub(crate) fn new(stream: S, timeouts: Timeouts) -> Self {
        Self {
            stream,
            prepared: false,
            epoch: Instant::now(),
            pace: Pace::new(Millis(0)),
            timeouts,
            patience: None,
            drain_by: None,
            ends: false,
            out: Vec::new(),
            sent: 0,
            held: 0,
            input: Vec::new(),
        }
    }

    pub(crate) fn prepare(&mut self) -> io::Result<()> {
        if !self.prepared {
            self.stream.prepare()?;
            self.prepared = true;
        }
        Ok(())
    }

    pub(crate) fn now(&self) -> Millis {
        Millis(self.epoch.elapsed().as_millis() as u32)
    }

    /// Waits no longer than the deadline. That of the opening handshake is not lengthened by what
    /// comes; that of a response is by what the peer takes.
    // [HS22] [HC25]
    fn wait(&self, interest: Interest<'_>) -> io::Result<()> {
        let now = self.now();
        let due = self.pace.poll_at(&self.timeouts);
        let due = due.map(|at| Duration::from_millis(at.since(now).into()));
        let patience = self.patience;
        let patience = patience.map(|until| until.saturating_duration_since(Instant::now()));
        let left = due.into_iter().chain(patience).min();
        let over = left.is_some_and(|left| left.is_zero());
        if over || (self.stream.can_wait() && !self.stream.wait(interest, left)?.any()) {
            return Err(io::ErrorKind::TimedOut.into());
        }
        Ok(())
    }

    /// Writes `out` whole.
    pub(crate) fn send(&mut self) -> io::Result<()> {
        loop {
            let rest = self.out.get(self.sent..).unwrap_or_default();
            let written = if rest.is_empty() {
                self.stream.flush_now().map(|()| None)
            } else {
                self.stream.write_now(&[IoSlice::new(rest)]).map(Some)
            };
            match written {
                Ok(None) => {
                    self.report(0);
                    return Ok(());
                }
                Ok(Some(0)) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(Some(written)) => {
                    self.sent += written;
                    self.report(written);
                }
                Err(error) => {
                    self.report(0);
                    self.interrupted(error, Interest::WRITE)?;
                }
            }
        }
    }

    /// The stream took so many bytes.
    fn report(&mut self, taken: usize) {
        let held = self.stream.held();
        let taken = (taken + self.held).saturating_sub(held);
        self.held = held;
        let left = self.out.len().saturating_sub(self.sent) + held;
        self.pace.sent(self.now(), &self.timeouts, taken, left);
    }

    /// Reads some more into `input`; 0 at the end of the stream.
    pub(crate) fn read(&mut self) -> io::Result<usize> {
        let mut buffer = [0; 4096];
        loop {
            self.wait(Interest::READ)?;
            match self.stream.read_now(&mut buffer) {
                Ok(len) => {
                    self.input.extend_from_slice(&buffer[..len]);
                    return Ok(len);
                }
                Err(error) => self.interrupted(error, Interest::READ)?,
            }
        }
    }

    /// Waits where that is all there is to do; otherwise gives the error back.
    fn interrupted(&self, error: io::Error, interest: Interest<'_>) -> io::Result<()> {
        match error.kind() {
            io::ErrorKind::Interrupted => Ok(()),
            io::ErrorKind::WouldBlock => {
                self.wait(interest)?;
                if self.stream.can_wait() {
                    Ok(())
                } else {
                    Err(error)
                }
            }
            _ => Err(error),
        }
    }

    /// The response begins.
    pub(crate) fn responding(&mut self) {
        self.pace.responding(self.now());
    }

    /// Ends this side's half of the stream after a last response.
    pub(crate) fn drain(&mut self) {
        self.ends = true;
        self.pace.draining(self.now(), &self.timeouts);
        let close = self.timeouts.close;
        let close = close.map(|close| Duration::from_millis(close.into()));
        self.drain_by = close.and_then(|close| Instant::now().checked_add(close));
        self.extend();
    }

    /// The peer is there: something has come from it, or it gets the response only now.
    fn extend(&mut self) {
        let later = Instant::now().checked_add(DRAIN);
        self.patience = self.drain_by.into_iter().chain(later).min();
    }

    /// After [`drain`](Self::drain): drops what the peer still sends, since to close the stream with
    /// unread input would destroy the response. Until its end, as long as something comes, or for a
    /// second.
    pub(crate) fn linger(&mut self) -> io::Result<()> {
        let mut dropped = [0; 4096];
        loop {
            if self.ends {
                // TLS has to write something first.
                let ended = self.stream.shutdown();
                self.ends = ended.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock);
            }
            let interest = Interest {
                write: self.ends,
                ..Interest::READ
            };
            if let Err(error) = self.wait(interest) {
                let _ = self.stream.shutdown_now();
                return Err(error);
            }
            match self.stream.read_now(&mut dropped) {
                Ok(0) => return Ok(()),
                Ok(_) => self.extend(),
                Err(error) => self.interrupted(error, interest)?,
            }
        }
    }
}

/// The error of a handshake that is advanced after its end.
pub(crate) fn finished() -> io::Error {
    io::Error::new(io::ErrorKind::NotConnected, "the handshake is over")
}
