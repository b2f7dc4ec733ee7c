//! What the owner of a WebSocket and its senders share: the connection and the bytes in flight.
//!
//! Nothing waits while it holds the lock. Frames are appended to `out` whole, and `out` is written
//! without waiting; who has to wait for room lets go of the lock first. A frame too large to copy
//! is written from its sender's own slice: that keeps all others from writing, and
//! what the protocol owes the peer waits in the connection's slots.

use core::time::Duration;
use std::io::{self, IoSlice};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use motews::{
    CloseCode, Connection, DataFrame, DataKind, FrameHeader, MAX_CONTROL_LEN, Mask, Role, State,
};

use crate::error::SendError;
use crate::transport::{Interest, Share, Transport};

/// Payloads up to this length are copied behind their header; longer ones are written from where
/// they are. In octets.
const COPY_MAX: usize = 16 * 1024;

/// How much of a client's payload is masked at a time, in octets.
const MASK_CHUNK: usize = 64 * 1024;

/// A way to write: the owner's stream, or a sender's handle of it.
pub(crate) trait Port {
    fn can_wait(&self) -> bool;
    fn write_now(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize>;
    fn flush_now(&mut self) -> io::Result<()>;
    fn wait_writable(&self, timeout: Option<Duration>) -> io::Result<bool>;
}

pub(crate) struct Own<'a, S> {
    pub(crate) stream: &'a mut S,
    pub(crate) can_wait: bool,
}

impl<S: Transport> Port for Own<'_, S> {
    fn can_wait(&self) -> bool {
        self.can_wait
    }

    fn write_now(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        self.stream.write_now(parts)
    }

    fn flush_now(&mut self) -> io::Result<()> {
        self.stream.flush_now()
    }

    fn wait_writable(&self, timeout: Option<Duration>) -> io::Result<bool> {
        self.stream.wait(Interest::WRITE, timeout)
    }
}

pub(crate) struct Handle<'a, S>(pub(crate) &'a S);

impl<S: Share> Port for Handle<'_, S> {
    fn can_wait(&self) -> bool {
        self.0.can_wait()
    }

    fn write_now(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        self.0.write_shared(parts)
    }

    fn flush_now(&mut self) -> io::Result<()> {
        self.0.flush_shared()
    }

    fn wait_writable(&self, timeout: Option<Duration>) -> io::Result<bool> {
        self.0.wait(Interest::WRITE, timeout)
    }
}

/// How a frame is sent.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct How {
    /// It may stay in `out` for now, since more is about to be written.
    pub(crate) hold: bool,
    /// There must be room at once.
    pub(crate) now: bool,
    /// It belongs to the message that is being streamed.
    pub(crate) streaming: bool,
    /// It is taken although there is no room, where there is no way to wait for it.
    pub(crate) insist: bool,
    /// It is not compressed.
    #[cfg(feature = "deflate")]
    pub(crate) plain: bool,
}

#[derive(Debug)]
pub(crate) struct Shared<R> {
    inner: Mutex<Inner<R>>,
    /// A frame or a streamed message has ended, or the connection has.
    changed: Condvar,
    pub(crate) write_timeout: Option<Duration>,
    max_backlog: usize,
}

#[derive(Debug)]
pub(crate) struct Inner<R> {
    pub(crate) connection: Connection<R>,
    /// Whole frames that are not written yet, from `start` on.
    out: Vec<u8>,
    start: usize,
    /// Octets that ever left `out`.
    left: u64,
    /// Octets that a frame which is being written from its sender's own slice took over from
    /// `out`, its header among them. 0: there is no such frame.
    taken: usize,
    message_open: bool,
    /// The operating system had no room at the last write.
    full: bool,
    /// There was room again since the owner looked: the peer has acknowledged something.
    pub(crate) reads: bool,
    /// Writing has failed for good.
    pub(crate) lost: bool,
    /// It has failed because the peer did not read, and that is what ended the connection.
    pub(crate) stuck: bool,
    #[cfg(feature = "deflate")]
    pub(crate) packing: Option<Box<Packing>>,
}

/// What a connection that has agreed on compression sends with.
#[cfg(feature = "deflate")]
#[derive(Debug)]
pub(crate) struct Packing {
    pub(crate) compress: Box<crate::deflate::Compress>,
    pub(crate) sent: crate::deflate::Octets,
}

impl<R: Role> Shared<R> {
    pub(crate) const fn new(
        connection: Connection<R>,
        write_timeout: Option<Duration>,
        max_backlog: usize,
    ) -> Self {
        Self {
            inner: Mutex::new(Inner {
                connection,
                out: Vec::new(),
                start: 0,
                left: 0,
                taken: 0,
                message_open: false,
                full: false,
                reads: false,
                lost: false,
                stuck: false,
                #[cfg(feature = "deflate")]
                packing: None,
            }),
            changed: Condvar::new(),
            write_timeout,
            max_backlog,
        }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Inner<R>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes those that wait for their turn: they will see what has changed.
    pub(crate) fn notify(&self) {
        self.changed.notify_all();
    }

    /// Sends a data frame.
    pub(crate) fn send(
        &self,
        port: &mut impl Port,
        kind: DataKind,
        payload: &[u8],
        fin: bool,
        how: How,
    ) -> Result<(), SendError> {
        let frame = |payload: &[u8], compressed| DataFrame {
            kind,
            fin,
            compressed,
            payload_len: payload.len() as u64,
        };
        #[cfg_attr(not(feature = "deflate"), expect(unused_mut, reason = "to compress"))]
        let mut inner = self.wait_for_room(port, payload.len(), how)?;
        #[cfg(feature = "deflate")]
        if let Some(packing) = &mut inner.packing {
            let packs = fin && !how.streaming && !how.plain;
            let packed = packs.then(|| packing.compress.message(payload)).flatten();
            let on_wire = packed.as_deref().unwrap_or(payload);
            packing.sent.add(payload.len(), on_wire.len());
            if let Some(packed) = packed {
                return self.send_frame(inner, port, frame(&packed, true), &packed, how);
            }
        }
        self.send_frame(inner, port, frame(payload, false), payload, how)
    }

    /// Appends a frame to `out`, and writes what can be written.
    fn send_frame<P: Port>(
        &self,
        mut inner: MutexGuard<'_, Inner<R>>,
        port: &mut P,
        frame: DataFrame,
        payload: &[u8],
        how: How,
    ) -> Result<(), SendError> {
        let fin = frame.fin;
        let header = inner.connection.start_frame(frame).inspect_err(|_| {
            // The peer will never have what later messages could refer to.
            #[cfg(feature = "deflate")]
            if let Some(packing) = &mut inner.packing {
                packing.compress.reset();
            }
        })?;
        inner.message_open = !fin;
        if fin && how.streaming {
            self.changed.notify_all();
        }
        let mut head = [0; FrameHeader::MAX_LEN];
        let len = header.emit(&mut head).map_err(motews::SendError::from)?;
        inner.out.extend_from_slice(&head[..len]);

        // A stream that cannot be waited for takes the message whole, or not at all.
        if payload.len() > COPY_MAX && port.can_wait() && !how.now {
            return self.send_large(inner, port, payload, header.mask);
        }
        inner.append(payload, header.mask.map(Mask::new).as_mut());
        if how.hold && inner.waiting() < self.max_backlog {
            return Ok(());
        }
        self.flush(inner, port, !how.now)
    }

    /// Waits for this frame's turn, and for room in `out`.
    fn wait_for_room<P: Port>(
        &self,
        port: &mut P,
        len: usize,
        how: How,
    ) -> Result<MutexGuard<'_, Inner<R>>, SendError> {
        let mut patience = Patience::new(self.write_timeout);
        let mut inner = self.lock();
        loop {
            inner.check_open()?;
            // RFC 6455 §5.4: the fragments of two messages are not interleaved [MS07]
            if inner.frame_open() || (inner.message_open && !how.streaming) {
                if how.now || !port.can_wait() {
                    return Err(would_block());
                }
                // A frame ends, or the patience of who writes it. A streamed message may not.
                let left = match inner.frame_open() {
                    true => Duration::MAX,
                    false => patience.left().unwrap_or(Duration::MAX),
                };
                if left.is_zero() {
                    return Err(SendError::TimedOut);
                }
                inner = self.wait_for_change(inner, left);
                continue;
            }
            // Room for one message is always there once nothing waits, however long it is.
            let waiting = inner.waiting();
            if waiting == 0 || waiting.saturating_add(len) <= self.max_backlog {
                return Ok(inner);
            }
            let before = inner.left;
            match inner.flush(port) {
                Ok(()) => continue,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(self.lose(inner, error)),
            }
            if inner.waiting().saturating_add(len) <= self.max_backlog {
                continue;
            }
            if how.insist && !port.can_wait() {
                return Ok(inner);
            }
            if how.now || !port.can_wait() {
                return Err(would_block());
            }
            if inner.left != before {
                patience.renew();
            }
            drop(inner);
            let waited = patience.wait(port);
            inner = self.lock();
            waited.map_err(|error| self.lose_ref(&mut inner, error))?;
        }
    }

    /// Waits until a frame or a streamed message has ended, or the connection has.
    pub(crate) fn wait_for_change<'a>(
        &self,
        inner: MutexGuard<'a, Inner<R>>,
        timeout: Duration,
    ) -> MutexGuard<'a, Inner<R>> {
        self.changed
            .wait_timeout(inner, timeout)
            .unwrap_or_else(PoisonError::into_inner)
            .0
    }

    /// Writes what is in `out` now; waits for it if `wait` and the stream can be waited for.
    pub(crate) fn flush<'a, P: Port>(
        &'a self,
        mut inner: MutexGuard<'a, Inner<R>>,
        port: &mut P,
        wait: bool,
    ) -> Result<(), SendError> {
        let mut patience = Patience::new(self.write_timeout);
        // Others may append behind what is there now: that is theirs to wait for.
        let end = inner.left + (inner.taken + inner.waiting()) as u64;
        loop {
            let before = inner.left;
            match inner.flush(port) {
                Ok(()) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(self.lose(inner, error)),
            }
            let others = inner.left >= end && (inner.frame_open() || inner.waiting() > 0);
            if others || !wait || !port.can_wait() {
                return Ok(());
            }
            if inner.frame_open() {
                // It took over what was to be written here, and ends, or the patience of who writes
                // it does.
                inner = self.wait_for_change(inner, Duration::MAX);
                continue;
            }
            if inner.left != before {
                patience.renew();
            }
            drop(inner);
            let waited = patience.wait(port);
            inner = self.lock();
            waited.map_err(|error| self.lose_ref(&mut inner, error))?;
        }
    }

    /// Writes all there is, and what the stream itself holds. `WouldBlock`: the stream cannot be
    /// waited for, and has not taken everything.
    pub(crate) fn flush_all<P: Port>(&self, port: &mut P) -> Result<(), SendError> {
        let mut inner = self.lock();
        inner.transmit()?;
        if port.can_wait() {
            return self.flush(inner, port, true);
        }
        match inner.flush(port) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(would_block()),
            Err(error) => Err(self.lose(inner, error)),
        }
    }

    /// Writes the payload of a frame whose header ends `out`, from where the payload is.
    fn send_large<P: Port>(
        &self,
        mut inner: MutexGuard<'_, Inner<R>>,
        port: &mut P,
        payload: &[u8],
        key: Option<[u8; 4]>,
    ) -> Result<(), SendError> {
        inner.taken = inner.waiting();
        let mut head = core::mem::take(&mut inner.out);
        let start = core::mem::take(&mut inner.start);
        drop(inner);

        let mut panics = LoseOnPanic(Some(self));
        let mut reads = false;
        let result = match key {
            // RFC 6455 §5.1: a server masks nothing, so nothing is copied [FR02]
            None => {
                let head = head.get(start..).unwrap_or_default();
                self.write_parts(port, head, payload, &mut reads)
            }
            Some(key) => {
                let mut mask = Mask::new(key);
                head.drain(..start);
                payload.chunks(MASK_CHUNK).try_for_each(|chunk| {
                    let at = head.len();
                    head.extend_from_slice(chunk);
                    mask.apply(&mut head[at..]);
                    let written = self.write_parts(port, &head, &[], &mut reads);
                    head.clear();
                    written
                })
            }
        };

        panics.0 = None;
        let mut inner = self.lock();
        inner.left += core::mem::take(&mut inner.taken) as u64;
        inner.reads |= reads | core::mem::take(&mut inner.full);
        head.clear();
        inner.out = head;
        self.changed.notify_all();
        if let Err(error) = result {
            return Err(self.lose(inner, error));
        }
        // What the protocol came to owe in the meantime.
        inner.transmit()?;
        self.flush(inner, port, false)
    }

    /// Writes both parts whole, and waits as long as the peer goes on reading; `reads` becomes true
    /// if it was waited for and did.
    fn write_parts<P: Port>(
        &self,
        port: &mut P,
        mut head: &[u8],
        mut body: &[u8],
        reads: &mut bool,
    ) -> io::Result<()> {
        let mut patience = Patience::new(self.write_timeout);
        while !(head.is_empty() && body.is_empty()) {
            let written = if body.is_empty() {
                port.write_now(&[IoSlice::new(head)])
            } else if head.is_empty() {
                port.write_now(&[IoSlice::new(body)])
            } else {
                port.write_now(&[IoSlice::new(head), IoSlice::new(body)])
            };
            match written {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    let of_head = written.min(head.len());
                    head = &head[of_head..];
                    body = &body[written - of_head..];
                    *reads |= patience.since.is_some();
                    patience.renew();
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => patience.wait(port)?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        loop {
            match port.flush_now() {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => patience.wait(port)?,
                done => return done,
            }
        }
    }

    /// Sends a ping.
    pub(crate) fn ping<P: Port>(
        &self,
        port: &mut P,
        payload: &[u8],
        now: bool,
    ) -> Result<(), SendError> {
        let how = How {
            now,
            streaming: true, // a control frame may stand between fragments (§5.4)
            ..How::default()
        };
        let mut inner = self.wait_for_room(port, MAX_CONTROL_LEN, how)?;
        let mut frame = [0; MAX_CONTROL_LEN];
        let len = inner.connection.ping(payload, &mut frame)?;
        inner.out.extend_from_slice(&frame[..len]);
        self.flush(inner, port, !now)
    }

    /// Begins the closing handshake. The Close goes out as soon as there is room.
    pub(crate) fn start_close<P: Port>(
        &self,
        port: &mut P,
        code: CloseCode,
        reason: &str,
    ) -> Result<(), SendError> {
        let mut inner = self.lock();
        inner.connection.close(code, reason)?;
        self.changed.notify_all();
        inner.transmit()?;
        self.flush(inner, port, false)
    }

    /// A streamed message will not be finished: without its end the peer must not take what it has
    /// for a message, so the connection closes.
    pub(crate) fn abandon_message<P: Port>(&self, port: &mut P) {
        self.lock().message_open = false;
        // An error means that the connection is closing already.
        let _ = self.start_close(port, CloseCode::INTERNAL_ERROR, "unfinished message");
    }

    /// Writing has failed for good, with this error.
    fn lose(&self, mut inner: MutexGuard<'_, Inner<R>>, error: io::Error) -> SendError {
        self.lose_ref(&mut inner, error)
    }

    fn lose_ref(&self, inner: &mut Inner<R>, error: io::Error) -> SendError {
        inner.lose();
        let error = SendError::from_io(error);
        if matches!(error, SendError::TimedOut) {
            // Not only writing ends: a peer that does not read is not served any longer.
            let failed = inner.connection.state() == State::Failed;
            inner.stuck |= inner.connection.receive_eof().is_err() && !failed;
        }
        self.changed.notify_all();
        error
    }
}

fn would_block() -> SendError {
    SendError::Io(io::ErrorKind::WouldBlock.into())
}

impl<R: Role> Inner<R> {
    /// Octets in `out`.
    pub(crate) const fn waiting(&self) -> usize {
        self.out.len() - self.start
    }

    pub(crate) const fn frame_open(&self) -> bool {
        self.taken > 0
    }

    fn check_open(&self) -> Result<(), SendError> {
        // RFC 6455 §6.1: no data unless the connection is open [MS08]
        if self.lost || self.connection.state() != State::Open {
            return Err(SendError::Closed);
        }
        Ok(())
    }

    fn append(&mut self, payload: &[u8], mask: Option<&mut Mask>) {
        let at = self.out.len();
        self.out.extend_from_slice(payload);
        if let Some(mask) = mask {
            mask.apply(&mut self.out[at..]);
        }
    }

    /// Appends what the protocol owes the peer, once what was appended before has left: a peer that
    /// does not read gets no more than the newest pong.
    // [CT07]
    pub(crate) fn transmit(&mut self) -> Result<(), motews::EntropyError> {
        if self.frame_open() || self.lost {
            return Ok(());
        }
        while self.waiting() < COPY_MAX && self.connection.wants_transmit() {
            let mut frame = [0; MAX_CONTROL_LEN];
            let len = self.connection.poll_transmit(&mut frame)?;
            self.out.extend_from_slice(&frame[..len]);
        }
        Ok(())
    }

    /// Writes `out` without waiting. `WouldBlock`: there is some left.
    pub(crate) fn flush<P: Port>(&mut self, port: &mut P) -> io::Result<()> {
        if self.lost {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        if self.frame_open() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        while self.start < self.out.len() {
            match port.write_now(&[IoSlice::new(&self.out[self.start..])]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    self.start += written;
                    self.left += written as u64;
                    self.reads |= core::mem::take(&mut self.full);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.full |= error.kind() == io::ErrorKind::WouldBlock;
                    self.compact();
                    return Err(error);
                }
            }
        }
        self.out.clear();
        self.start = 0;
        // One long message does not keep its room for ever.
        self.out.shrink_to(2 * MASK_CHUNK);
        port.flush_now()
    }

    /// Gives the room at the start back before more is appended behind.
    fn compact(&mut self) {
        if self.start >= self.out.len() / 2 {
            self.out.drain(..self.start);
            self.start = 0;
        }
    }

    /// Nothing can be written any more.
    pub(crate) fn lose(&mut self) {
        self.lost = true;
        self.out = Vec::new();
        self.start = 0;
    }
}

/// A stream that panics in the midst of a frame loses the connection, so that nobody waits for the
/// end of the frame.
struct LoseOnPanic<'a, R: Role>(Option<&'a Shared<R>>);

impl<R: Role> Drop for LoseOnPanic<'_, R> {
    fn drop(&mut self) {
        if let Some(shared) = self.0 {
            let mut inner = shared.lock();
            inner.taken = 0;
            inner.lose();
            drop(inner);
            shared.notify();
        }
    }
}

/// How long the peer may go on without reading.
struct Patience {
    timeout: Option<Duration>,
    /// When the waiting began.
    since: Option<Instant>,
}

impl Patience {
    const fn new(timeout: Option<Duration>) -> Self {
        Self {
            timeout,
            since: None,
        }
    }

    /// The peer has read something.
    const fn renew(&mut self) {
        self.since = None;
    }

    /// `None`: for ever.
    fn left(&mut self) -> Option<Duration> {
        let since = self.since.get_or_insert_with(Instant::now);
        Some(self.timeout?.saturating_sub(since.elapsed()))
    }

    /// Waits for room. An error of the kind `TimedOut` when the time is over, or `WouldBlock` where
    /// nothing can be waited for.
    fn wait<P: Port>(&mut self, port: &P) -> io::Result<()> {
        if !port.can_wait() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let left = self.left();
        if left.is_some_and(|left| left.is_zero()) || !port.wait_writable(left)? {
            return Err(io::ErrorKind::TimedOut.into());
        }
        Ok(())
    }
}
