//! What a connection has to send, from the handler to the socket.
//!
//! In the order in which it leaves: what TLS holds, the backlog that the socket did not take, the
//! cork of this turn, and the outbox with what other threads send. There is one way out,
//! [`flush`](Outgoing::flush), whoever sends, and one measure of what waits: the memory that it
//! takes.

use std::io::{self, IoSlice};
use std::sync::Arc;

use motews::CloseCode;

use super::backlog::{Backlog, MAX_SLICES};
use super::cork::Cork;
use super::frame::Frame;
use super::outbox::{Next, Outbox, Place};
use super::stream::Stream;

/// What follows the cork in one write, without a copy.
#[derive(Clone, Copy)]
pub(super) enum Tail<'a> {
    Nothing,
    Bytes(&'a [u8]),
    Frame(&'a Frame),
}

impl Tail<'_> {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Nothing => &[],
            Self::Bytes(bytes) => bytes,
            Self::Frame(frame) => frame.bytes(),
        }
    }
}

/// What a connection has to send, but for the cork, which all connections of a loop share.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    /// There while the socket has not taken all.
    waiting: Option<Box<Waiting>>,
    /// There when somebody has asked for it.
    outbox: Option<Arc<Outbox>>,
}

/// What the socket has not taken.
#[derive(Debug, Default)]
struct Waiting {
    backlog: Backlog,
    /// What TLS holds, in bytes.
    held: usize,
}

impl Waiting {
    fn cost(&self) -> usize {
        self.backlog.cost() + self.held
    }
}

impl Outgoing {
    // ---- how much ----

    /// Whether nothing but the cork is to be sent, and nobody but the handler sends.
    #[inline]
    pub(super) const fn is_plain(&self) -> bool {
        self.waiting.is_none() && self.outbox.is_none()
    }

    /// Whether the socket has taken all.
    #[inline]
    pub(super) const fn is_written(&self) -> bool {
        self.waiting.is_none()
    }

    /// What waits for the socket, in bytes of memory.
    pub(super) fn begun(&self) -> usize {
        self.waiting.as_ref().map_or(0, |waiting| waiting.cost())
    }

    /// What waits, in bytes of memory.
    pub(super) fn cost(&self) -> usize {
        self.begun() + self.outbox.as_ref().map_or(0, |outbox| outbox.cost())
    }

    /// Returns true if reading from this peer is to pause: more than `limit` waits, or answers are
    /// queued behind other threads' messages. These leave in the next turns, before the peer's Close
    /// is read: after that they could not be compressed.
    pub(super) fn holds_back(&self, limit: usize) -> bool {
        if self.is_plain() {
            return false;
        }
        let begun = self.begun();
        let answers = self.outbox.as_ref().map_or(0, |outbox| outbox.answers());
        begun + answers > limit || (begun == 0 && answers > 0)
    }

    // ---- the outbox ----

    /// Whether something waits that is not begun.
    pub(super) fn has_queued(&self) -> bool {
        self.outbox
            .as_ref()
            .is_some_and(|outbox| outbox.has_frames())
    }

    pub(super) const fn outbox(&self) -> Option<&Arc<Outbox>> {
        self.outbox.as_ref()
    }

    /// From now on others may send as well.
    pub(super) fn open_outbox(&mut self, outbox: Arc<Outbox>) {
        outbox.set_begun(self.begun());
        self.outbox = Some(outbox);
    }

    /// Finds the place of a message of the handler.
    pub(super) fn place(&self, limit: usize, frame: impl FnOnce() -> Frame) -> Place {
        match &self.outbox {
            Some(outbox) => outbox.answer(self.begun(), frame),
            None if self.begun() > limit => Place::Full,
            None => Place::Now,
        }
    }

    /// Finds the place of a Close: behind all that was accepted.
    pub(super) fn close(&self, code: CloseCode, reason: &str) -> Place {
        match &self.outbox {
            Some(outbox) => outbox.close(code, reason),
            None => Place::Now,
        }
    }

    /// Whether somebody has closed the connection.
    pub(super) fn is_closing(&self) -> bool {
        self.outbox
            .as_ref()
            .is_some_and(|outbox| outbox.is_closing())
    }

    /// Returns what of the outbox comes next, once the socket has taken all before it.
    pub(super) fn next(&self) -> Next {
        match &self.outbox {
            Some(outbox) if self.is_written() => outbox.next(),
            _ => Next::Nothing,
        }
    }

    /// Returns the next message of those that go before the Close that is owed now.
    pub(super) fn next_of_rest(&self) -> Option<Frame> {
        self.outbox.as_ref()?.next_of_rest()
    }

    /// RFC 6455 §5.5.1: no message is sent any more, and nobody is to count on it.
    // [CL05]
    pub(super) fn end_outbox(&self) {
        if let Some(outbox) = &self.outbox {
            outbox.end();
        }
    }

    /// Drops all that waits: the connection is over.
    pub(super) fn drop_all(&mut self) {
        self.end_outbox();
        self.outbox = None;
        self.waiting = None;
    }

    // ---- writing ----

    /// Writes what is in the cork and then `tail`, if nothing waits before it, and keeps what
    /// cannot be written: then [`is_written`](Self::is_written) returns false, and an event has to
    /// tell when there is room. Returns how many bytes the socket has taken.
    ///
    /// # Errors
    /// The connection is lost.
    pub(super) fn flush(
        &mut self,
        cork: &mut Cork,
        tail: Tail<'_>,
        stream: &mut Stream<'_>,
    ) -> io::Result<usize> {
        let result = self.try_flush(cork, tail, stream);
        cork.clear();
        result
    }

    fn try_flush(
        &mut self,
        cork: &Cork,
        tail: Tail<'_>,
        stream: &mut Stream<'_>,
    ) -> io::Result<usize> {
        let (head, rest) = (cork.bytes(), tail.bytes());
        let mut written = 0;
        if self.is_written() {
            written = write(stream, head, rest)?;
        }
        let taken = stream.taken(written);
        if written == head.len() + rest.len() && stream.held() == 0 && self.is_written() {
            return Ok(taken);
        }
        let waiting = self.waiting.get_or_insert_default();
        waiting
            .backlog
            .push(head.get(written..).unwrap_or_default());
        let from = written.saturating_sub(head.len());
        match tail {
            Tail::Nothing => {}
            Tail::Bytes(bytes) => waiting.backlog.push(&bytes[from..]),
            Tail::Frame(frame) => waiting.backlog.push_frame(frame, from),
        }
        waiting.held = stream.held();
        self.tell();
        Ok(taken)
    }

    /// Writes what waits, as far as there is room: an event has told of it. Returns how many bytes
    /// the socket has taken.
    ///
    /// # Errors
    /// The connection is lost.
    pub(super) fn resume(&mut self, stream: &mut Stream<'_>) -> io::Result<usize> {
        let Some(waiting) = &mut self.waiting else {
            return Ok(0);
        };
        let result = write_backlog(&mut waiting.backlog, stream);
        waiting.held = stream.held();
        if waiting.cost() == 0 {
            self.waiting = None;
        }
        self.tell();
        Ok(stream.taken(result?))
    }

    /// Tells others how much waits.
    fn tell(&self) {
        if let Some(outbox) = &self.outbox {
            outbox.set_begun(self.begun());
        }
    }
}

impl Drop for Outgoing {
    /// Whoever waits for room is told, also if the loop has panicked.
    fn drop(&mut self) {
        self.end_outbox();
    }
}

/// Writes `head` and `rest` as far as there is room, and returns how much that was.
#[inline]
fn write(stream: &mut Stream<'_>, head: &[u8], rest: &[u8]) -> io::Result<usize> {
    let len = head.len() + rest.len();
    let mut written = 0;
    while written < len {
        let parts = [
            IoSlice::new(head.get(written..).unwrap_or_default()),
            IoSlice::new(&rest[written.saturating_sub(head.len())..]),
        ];
        let parts = match (&*parts[0], &*parts[1]) {
            (_, []) => &parts[..1],
            ([], _) => &parts[1..],
            _ => &parts,
        };
        match stream.write(parts) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(len) => written += len,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(written),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    // With nothing new, what TLS owes of its own.
    match stream.flush() {
        Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
        _ => Ok(written),
    }
}

/// Writes of `backlog` what there is room for, and returns how much that was.
fn write_backlog(backlog: &mut Backlog, stream: &mut Stream<'_>) -> io::Result<usize> {
    let mut written = 0;
    while !backlog.is_empty() {
        let mut slices = [IoSlice::new(&[]); MAX_SLICES];
        let count = backlog.slices(&mut slices);
        match stream.write(&slices[..count]) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(len) => {
                written += len;
                backlog.advance(len);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(written),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    match stream.flush() {
        Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
        _ => Ok(written),
    }
}
