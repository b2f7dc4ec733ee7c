//! What the owner of a WebSocket and its senders share: the session and the bytes in flight.
//!
//! Nothing waits while it holds the lock. Frames are appended to `out` whole, and `out` is written
//! without waiting; who has to wait for room lets go of the lock first. A frame too large to copy
//! is written from its sender's own slice: that keeps all others from writing, and
//! what the protocol owes the peer waits in the session's slots.
//!
//! Nobody has a clock of its own: whoever writes tells the session, and whoever waits waits until the
//! session's next deadline, which it sees to.

use core::time::Duration;
use std::io::{self, IoSlice};
use std::sync::{Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;

use motews::{
    CloseCode, DataFrame, DataKind, Ended, FrameHeader, MAX_CONTROL_LEN, Mask, Role, Session,
    State, Wants,
};
use motews::{Deadline, Millis, Timeouts};

use crate::error::{Lost, SendError};
use crate::message::Message;
use crate::transport::{Interest, Share};
use crate::wake::Wake;

/// Payloads up to this length are copied behind their header; longer ones are written from where
/// they are. In bytes.
const COPY_MAX: usize = 16 * 1024;

/// How much of a client's payload is masked at a time, in bytes.
const MASK_CHUNK: usize = 64 * 1024;

/// What a sender waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Goal {
    /// Room to write.
    Room,
    /// That no other thread writes a frame, or a message of several. For a frame of such a message
    /// (`true`), that no other thread writes a frame.
    Turn(bool),
}

/// A way to write: the owner's stream, or a sender's handle of it.
pub(crate) trait Port<R> {
    fn can_wait(&self) -> bool;
    fn write_now(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize>;
    fn flush_now(&mut self) -> io::Result<()>;
    /// Whether there is something to read, as far as can be told without reading.
    fn has_input(&self) -> bool;
    /// Whether it is the owner's, who reads while it waits.
    fn reads(&self) -> bool;
    /// Waits until the goal may be reached, or the next deadline has passed and is seen to. Called
    /// only if the stream can be waited for.
    fn wait(&mut self, shared: &Shared<R>, goal: Goal) -> Result<(), SendError>;
}

/// A sender's handle: it never reads, and so leaves all that is read to the owner.
pub(crate) struct Handle<'a, S>(pub(crate) &'a S);

impl<S: Share, R: Role> Port<R> for Handle<'_, S> {
    fn can_wait(&self) -> bool {
        self.0.can_wait()
    }

    fn write_now(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        self.0.write_shared(parts)
    }

    fn flush_now(&mut self) -> io::Result<()> {
        self.0.flush_shared()
    }

    fn has_input(&self) -> bool {
        self.0.can_wait() && has_input(self.0)
    }

    fn reads(&self) -> bool {
        false
    }

    fn wait(&mut self, shared: &Shared<R>, goal: Goal) -> Result<(), SendError> {
        let mut inner = shared.lock();
        let due = shared.clock.left(&inner.session);
        match goal {
            Goal::Room => {
                drop(inner);
                if self.0.wait(Interest::WRITE, due)?.write {
                    return Ok(());
                }
                inner = shared.lock();
            }
            Goal::Turn(streams) => {
                if inner.is_turn(streams) {
                    return Ok(());
                }
                inner = shared.wait_for_change(inner, due);
                if inner.is_turn(streams) {
                    return Ok(());
                }
            }
        }
        shared.keep_time(&mut inner, self);
        Ok(())
    }
}

/// Whether a stream that can be waited for has something to be read.
pub(crate) fn has_input(stream: &impl crate::Transport) -> bool {
    let found = stream.wait(Interest::READ, Some(Duration::ZERO));
    found.is_ok_and(|ready| ready.read)
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
    /// It is taken although there is no room, if nothing can be done to wait for it.
    pub(crate) insist: bool,
    /// It is not compressed.
    #[cfg(feature = "deflate")]
    pub(crate) plain: bool,
}

/// The clock of a connection, and how long it waits for what.
#[derive(Debug)]
pub(crate) struct Clock {
    epoch: Instant,
    pub(crate) timeouts: Timeouts,
}

impl Clock {
    pub(crate) fn now(&self) -> Millis {
        // It wraps, as `Millis` may.
        Millis(self.epoch.elapsed().as_millis() as u32)
    }

    /// How long it is until the session's next deadline.
    pub(crate) fn left<R: Role>(&self, session: &Session<R>) -> Option<Duration> {
        let at = session.poll_at(&self.timeouts)?;
        Some(Duration::from_millis(at.since(self.now()).into()))
    }
}

#[derive(Debug)]
pub(crate) struct Shared<R> {
    inner: Mutex<Inner<R>>,
    /// A frame or a streamed message has ended, or the connection has.
    changed: Condvar,
    /// Ends the owner's wait. There is one if there are senders.
    wake: OnceLock<Wake>,
    pub(crate) clock: Clock,
    max_backlog: usize,
}

#[derive(Debug)]
pub(crate) struct Inner<R> {
    pub(crate) session: Session<R>,
    /// Whole frames that are not written yet, from `start` on.
    out: Vec<u8>,
    start: usize,
    /// Bytes that ever left `out`.
    left: u64,
    /// A frame is being written from its sender's own slice.
    frame: Option<OpenFrame>,
    /// The stream itself holds some of what it took.
    held: bool,
    message_open: bool,
    /// Writing has failed for good.
    pub(crate) lost: bool,
    /// What the transport has failed with.
    pub(crate) error: Option<Lost>,
    /// This side's half of the stream is to be ended by the owner.
    pub(crate) shutdown: bool,
    /// The session is over.
    pub(crate) over: bool,
    /// What senders have sent since the owner looked, in bytes of memory.
    pub(crate) sent_by_others: usize,
    /// What the owner waits for, if it waits.
    sleep: Option<Sleep>,
    /// The owner's wait was ended.
    woken: bool,
    #[cfg(feature = "deflate")]
    pub(crate) packing: Option<Box<Packing>>,
}

#[derive(Clone, Copy, Debug)]
struct OpenFrame {
    /// Bytes that it took over from `out`, its header among them.
    taken_over: usize,
    /// Bytes of it that wait to be written.
    rest: usize,
}

/// What the owner waits for, other than something to read.
#[derive(Clone, Copy, Debug)]
struct Sleep {
    room: bool,
    /// It waits to send, for this.
    goal: Option<Goal>,
    due: Option<Millis>,
    state: State,
    lost: bool,
}

/// What a connection that has agreed on compression sends with.
#[cfg(feature = "deflate")]
#[derive(Debug)]
pub(crate) struct Packing {
    pub(crate) compress: Box<crate::deflate::Compress>,
    pub(crate) sent: crate::deflate::Octets,
}

impl<R: Role> Shared<R> {
    pub(crate) fn new(
        role: R,
        config: motews::ConnectionConfig,
        timeouts: Timeouts,
        max_backlog: usize,
    ) -> Self {
        let clock = Clock {
            epoch: Instant::now(),
            timeouts,
        };
        Self {
            inner: Mutex::new(Inner {
                session: Session::new(role, config, Millis(0)),
                out: Vec::new(),
                start: 0,
                left: 0,
                frame: None,
                held: false,
                message_open: false,
                lost: false,
                error: None,
                shutdown: false,
                over: false,
                sent_by_others: 0,
                sleep: None,
                woken: false,
                #[cfg(feature = "deflate")]
                packing: None,
            }),
            changed: Condvar::new(),
            wake: OnceLock::new(),
            clock,
            max_backlog,
        }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Inner<R>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    // ---- waking ----

    /// Makes sure that the owner's wait can be ended.
    pub(crate) fn prepare_wake(&self) -> io::Result<()> {
        if self.wake.get().is_none() {
            // Of two at once the first counts.
            let _ = self.wake.set(Wake::new()?);
        }
        Ok(())
    }

    /// The owner is about to wait: for room to write if `room`, and to send if there is a `goal`.
    pub(crate) fn fall_asleep(
        &self,
        inner: &mut Inner<R>,
        room: bool,
        goal: Option<Goal>,
    ) -> Option<&Wake> {
        let wake = self.wake.get()?;
        inner.sleep = Some(Sleep {
            room,
            goal,
            due: inner.session.poll_at(&self.clock.timeouts),
            state: inner.session.connection().state(),
            lost: inner.lost,
        });
        Some(wake)
    }

    /// The owner does not wait any more.
    pub(crate) fn wake_up(&self, inner: &mut Inner<R>) {
        inner.sleep = None;
        if core::mem::take(&mut inner.woken)
            && let Some(wake) = self.wake.get()
        {
            wake.clear();
        }
    }

    /// A sender has done what it does. Wakes the owner if it waits for the wrong thing now.
    pub(crate) fn leave(&self) {
        self.wake_owner(&mut self.lock());
    }

    fn wake_owner(&self, inner: &mut Inner<R>) {
        let Some(sleep) = inner.sleep else {
            return;
        };
        let due = match (inner.session.poll_at(&self.clock.timeouts), sleep.due) {
            (Some(due), Some(before)) => !due.has_reached(before),
            (due, _) => due.is_some(),
        };
        let changed = sleep.state != inner.session.connection().state()
            || sleep.lost != inner.lost
            || inner.over;
        let room = !sleep.room && inner.wants_room();
        let turn = matches!(sleep.goal, Some(Goal::Turn(streams)) if inner.is_turn(streams));
        // It may be ahead of the peer now: see `Reader::wait`.
        let ahead = sleep.goal.is_some() && inner.sent_by_others > 0;
        if due || changed || room || turn || ahead {
            inner.sleep = None;
            inner.woken = true;
            if let Some(wake) = self.wake.get() {
                wake.wake();
            }
        }
    }

    /// Something has changed for those that wait for their turn, and for the owner.
    pub(crate) fn notify(&self, inner: &mut Inner<R>) {
        self.changed.notify_all();
        self.wake_owner(inner);
    }

    /// Waits until a frame or a streamed message has ended, or the connection has.
    fn wait_for_change<'a>(
        &self,
        inner: MutexGuard<'a, Inner<R>>,
        timeout: Option<Duration>,
    ) -> MutexGuard<'a, Inner<R>> {
        match timeout {
            None => self
                .changed
                .wait(inner)
                .unwrap_or_else(PoisonError::into_inner),
            Some(timeout) => {
                let waited = self.changed.wait_timeout(inner, timeout);
                waited.unwrap_or_else(PoisonError::into_inner).0
            }
        }
    }

    // ---- time ----

    /// Writes what can be written without waiting, and sees to what is due. `unread` input is looked
    /// for only if something is due.
    pub(crate) fn keep_time<P: Port<R>>(&self, inner: &mut Inner<R>, port: &mut P) -> Wants {
        let was_over = inner.over;
        self.write(inner, port);
        // One look at the clock: what is due for `poll` was looked for here.
        let now = self.clock.now();
        let due = inner.session.poll_at(&self.clock.timeouts);
        let unread = due.is_some_and(|at| now.has_reached(at)) && port.has_input();
        let mut wants = inner.poll(&self.clock, now, unread);
        if wants.transmit {
            self.write(inner, port);
            wants = inner.poll(&self.clock, now, unread);
        }
        if inner.over && !was_over {
            self.notify(inner);
        }
        wants
    }

    /// Whether the end of the connection is due, however much the peer sends.
    pub(crate) fn is_end_due(&self, inner: &Inner<R>) -> bool {
        let due = inner.session.deadline(&self.clock.timeouts);
        due.is_some_and(|(at, deadline)| {
            matches!(deadline, Deadline::Close | Deadline::Drain)
                && self.clock.now().has_reached(at)
        })
    }

    /// Writes what is owed and what waits, without waiting. What fails shows where it is waited for.
    pub(crate) fn write<P: Port<R>>(&self, inner: &mut Inner<R>, port: &mut P) {
        if inner.transmit().is_err() || inner.lost {
            return;
        }
        match inner.flush(port, &self.clock) {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => self.lose(inner, error),
            _ => {}
        }
    }

    // ---- send ----

    /// Sends a data frame.
    pub(crate) fn send(
        &self,
        port: &mut impl Port<R>,
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
    fn send_frame<P: Port<R>>(
        &self,
        mut inner: MutexGuard<'_, Inner<R>>,
        port: &mut P,
        frame: DataFrame,
        payload: &[u8],
        how: How,
    ) -> Result<(), SendError> {
        let fin = frame.fin;
        let header = inner.session.start_frame(frame).inspect_err(|_| {
            // The peer will never have what later messages could refer to.
            #[cfg(feature = "deflate")]
            if let Some(packing) = &mut inner.packing {
                packing.compress.reset();
            }
        })?;
        inner.message_open = !fin;
        if !port.reads() {
            let sent = &mut inner.sent_by_others;
            *sent = sent.saturating_add(cost(payload.len()));
            self.wake_owner(&mut inner);
        }
        let mut head = [0; FrameHeader::MAX_LEN];
        let len = header.emit(&mut head).map_err(motews::SendError::from)?;
        inner.out.extend_from_slice(&head[..len]);

        // A stream that cannot be waited for takes the message whole, or not at all.
        let written = if payload.len() > COPY_MAX && port.can_wait() {
            self.send_large(inner, port, payload, header.mask, !how.now)
        } else {
            inner.append(payload, header.mask.map(Mask::new).as_mut());
            if how.hold && inner.waiting() < self.max_backlog {
                return Ok(());
            }
            self.flush(inner, port, !how.now)
        };
        if fin && how.streaming {
            self.notify(&mut self.lock());
        }
        match written {
            // It was taken, and is written by the calls that follow.
            Err(SendError::InboundFull) => Ok(()),
            written => written,
        }
    }

    /// Waits for this frame's turn, and for room in `out`.
    fn wait_for_room<P: Port<R>>(
        &self,
        port: &mut P,
        len: usize,
        how: How,
    ) -> Result<MutexGuard<'_, Inner<R>>, SendError> {
        let mut inner = self.lock();
        loop {
            inner.check_open()?;
            let can_wait = port.can_wait() && !how.now;
            // RFC 6455 §5.4: the fragments of two messages are not interleaved [MS07]
            let goal = if inner.is_turn(how.streaming) {
                // Room for one message is always there once nothing waits, however long it is.
                let waiting = inner.waiting();
                if waiting == 0 || waiting.saturating_add(len) <= self.max_backlog {
                    return Ok(inner);
                }
                match inner.flush(port, &self.clock) {
                    Ok(()) => continue,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(error) => return Err(self.lose_for(&mut inner, error)),
                }
                let waiting = inner.waiting();
                let has_room = waiting.saturating_add(len) <= self.max_backlog;
                if has_room || (how.insist && !port.can_wait()) {
                    return Ok(inner);
                }
                Goal::Room
            } else {
                Goal::Turn(how.streaming)
            };
            if !can_wait {
                return Err(would_block());
            }
            drop(inner);
            let waited = port.wait(self, goal);
            inner = self.lock();
            match waited {
                Err(SendError::InboundFull) if how.insist && goal == Goal::Room => {
                    inner.check_open()?;
                    return Ok(inner);
                }
                waited => waited?,
            }
        }
    }

    /// Writes what is in `out` now; waits for it if `wait` and the stream can be waited for.
    pub(crate) fn flush<'a, P: Port<R>>(
        &'a self,
        mut inner: MutexGuard<'a, Inner<R>>,
        port: &mut P,
        wait: bool,
    ) -> Result<(), SendError> {
        // Others may append behind what is there now: that is theirs to wait for.
        let end = inner.left + (inner.taken_over() + inner.waiting()) as u64;
        loop {
            match inner.flush(port, &self.clock) {
                Ok(()) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(self.lose_for(&mut inner, error)),
            }
            let others = inner.left >= end && (inner.frame_open() || inner.waiting() > 0);
            if others || !wait || !port.can_wait() {
                return Ok(());
            }
            // A frame that was opened took over what was to be written here.
            let goal = match inner.frame_open() {
                true => Goal::Turn(true),
                false => Goal::Room,
            };
            drop(inner);
            port.wait(self, goal)?;
            inner = self.lock();
        }
    }

    /// Writes all there is, and what the stream itself holds. `WouldBlock`: the stream cannot be
    /// waited for, and has not taken everything.
    pub(crate) fn flush_all<P: Port<R>>(&self, port: &mut P) -> Result<(), SendError> {
        let mut inner = self.lock();
        inner.transmit()?;
        if port.can_wait() {
            return self.flush(inner, port, true);
        }
        match inner.flush(port, &self.clock) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(would_block()),
            Err(error) => Err(self.lose_for(&mut inner, error)),
        }
    }

    /// Writes the payload of a frame whose header ends `out`, from where the payload is. What cannot
    /// be written without waiting is copied to `out` if it is not to be waited for.
    fn send_large<P: Port<R>>(
        &self,
        mut inner: MutexGuard<'_, Inner<R>>,
        port: &mut P,
        payload: &[u8],
        key: Option<[u8; 4]>,
        wait: bool,
    ) -> Result<(), SendError> {
        let taken_over = inner.waiting();
        let total = taken_over + payload.len();
        inner.frame = Some(OpenFrame {
            taken_over,
            rest: total,
        });
        let mut head = core::mem::take(&mut inner.out);
        head.drain(..core::mem::take(&mut inner.start));
        drop(inner);

        let mut panics = LoseOnPanic(Some(self));
        let mut body = payload;
        let mut mask = key.map(Mask::new);
        let result = loop {
            // RFC 6455 §5.1: a server masks nothing, so nothing is copied [FR02]
            if let Some(mask) = &mut mask
                && head.len() < MASK_CHUNK
            {
                let (chunk, rest) = body.split_at(body.len().min(MASK_CHUNK));
                append(&mut head, chunk, Some(mask));
                body = rest;
            }
            let direct = if mask.is_some() { &[][..] } else { body };
            if head.is_empty() && direct.is_empty() {
                break self.flush_frame(port, wait);
            }
            match self.write_parts(port, &head, direct) {
                Ok(written) => {
                    let of_head = written.min(head.len());
                    head.drain(..of_head);
                    body = &body[written - of_head..];
                    continue;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => {
                    break Err(self.lose_for(&mut self.lock(), error));
                }
                Err(_) if !wait => break Ok(()),
                Err(_) => {}
            }
            if let Err(error) = self.wait_in_frame(port) {
                break Err(error);
            }
        };
        panics.0 = None;

        let mut inner = self.lock();
        let rest = inner.frame.take().map_or(0, |frame| frame.rest);
        inner.left += taken_over.min(total - rest) as u64;
        match result {
            Ok(()) | Err(SendError::InboundFull) => {}
            Err(error) => {
                // Half a frame is on its way: nothing can follow it.
                inner.lose();
                self.notify(&mut inner);
                return Err(error);
            }
        }
        append(&mut head, body, mask.as_mut());
        inner.out = head;
        self.notify(&mut inner);
        // What the protocol came to owe in the meantime. The message has been taken, whatever fails.
        self.write(&mut inner, port);
        result
    }

    /// Writes a part of the frame that is open.
    fn write_parts<P: Port<R>>(&self, port: &mut P, head: &[u8], body: &[u8]) -> io::Result<usize> {
        let written = match (head.is_empty(), body.is_empty()) {
            (false, false) => port.write_now(&[IoSlice::new(head), IoSlice::new(body)]),
            (false, true) => port.write_now(&[IoSlice::new(head)]),
            (true, _) => port.write_now(&[IoSlice::new(body)]),
        };
        match written {
            Ok(0) => Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => {
                self.lock().advance_frame(&self.clock, written);
                Ok(written)
            }
            Err(error) => Err(error),
        }
    }

    /// Passes on what the stream itself holds of the frame that is open.
    fn flush_frame<P: Port<R>>(&self, port: &mut P, wait: bool) -> Result<(), SendError> {
        loop {
            let flushed = port.flush_now();
            let mut inner = self.lock();
            match flushed {
                Ok(()) => {
                    inner.held = false;
                    inner.advance_frame(&self.clock, 0);
                    return Ok(());
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => inner.held = true,
                Err(error) => return Err(self.lose_for(&mut inner, error)),
            }
            drop(inner);
            if !wait {
                return Ok(());
            }
            self.wait_in_frame(port)?;
        }
    }

    /// Waits for room for the frame that is open.
    fn wait_in_frame<P: Port<R>>(&self, port: &mut P) -> Result<(), SendError> {
        // The session learns that something waits.
        self.lock().advance_frame(&self.clock, 0);
        port.wait(self, Goal::Room)?;
        let inner = self.lock();
        match inner.lost {
            true => Err(inner.refusal()),
            false => Ok(()),
        }
    }

    /// Sends a ping.
    pub(crate) fn ping<P: Port<R>>(&self, port: &mut P, payload: &[u8]) -> Result<(), SendError> {
        let how = How {
            streaming: true, // a control frame may stand between fragments (§5.4)
            ..How::default()
        };
        let mut inner = self.wait_for_room(port, MAX_CONTROL_LEN, how)?;
        let mut frame = [0; MAX_CONTROL_LEN];
        let len = inner.session.ping(payload, &mut frame)?;
        inner.out.extend_from_slice(&frame[..len]);
        match self.flush(inner, port, true) {
            // It was taken, and is written by the calls that follow.
            Err(SendError::InboundFull) => Ok(()),
            flushed => flushed,
        }
    }

    /// Begins the closing handshake. The Close goes out as soon as there is room.
    pub(crate) fn start_close<P: Port<R>>(
        &self,
        port: &mut P,
        code: CloseCode,
        reason: &str,
    ) -> Result<(), SendError> {
        let mut inner = self.lock();
        inner.session.close(code, reason)?;
        self.changed.notify_all();
        inner.transmit()?;
        self.flush(inner, port, false)
    }

    /// A streamed message will not be finished: without its end the peer must not take what it has
    /// for a message, so the connection closes.
    pub(crate) fn abandon_message<P: Port<R>>(&self, port: &mut P) {
        self.lock().message_open = false;
        // An error means that the connection is closing already.
        let _ = self.start_close(port, CloseCode::INTERNAL_ERROR, "unfinished message");
    }

    /// Writing has failed for good, with this error. The peer's Close may still be there to be read.
    fn lose(&self, inner: &mut Inner<R>, error: io::Error) {
        inner.error.get_or_insert_with(|| Lost::new(error));
        inner.lose();
        self.notify(inner);
    }

    fn lose_for(&self, inner: &mut Inner<R>, error: io::Error) -> SendError {
        if inner.over {
            // It was ended on purpose.
            return inner.refusal();
        }
        let lost = Lost::new(error);
        let told = SendError::from_io(lost.to_io());
        inner.error.get_or_insert(lost);
        inner.lose();
        self.notify(inner);
        told
    }
}

/// What a message costs that is kept, in bytes of memory: an empty one is not free.
pub(crate) const fn cost(len: usize) -> usize {
    size_of::<Message>() + len
}

fn would_block() -> SendError {
    SendError::Io(io::ErrorKind::WouldBlock.into())
}

fn append(out: &mut Vec<u8>, payload: &[u8], mask: Option<&mut Mask>) {
    let at = out.len();
    out.extend_from_slice(payload);
    if let Some(mask) = mask {
        mask.apply(&mut out[at..]);
    }
}

impl<R: Role> Inner<R> {
    /// Bytes in `out`.
    pub(crate) const fn waiting(&self) -> usize {
        self.out.len() - self.start
    }

    /// Bytes that wait outside of the transport.
    pub(crate) fn backlog(&self) -> usize {
        self.waiting() + self.frame.map_or(0, |frame| frame.rest)
    }

    fn frame_open(&self) -> bool {
        self.frame.is_some()
    }

    fn taken_over(&self) -> usize {
        self.frame.map_or(0, |frame| frame.taken_over)
    }

    /// See [`Goal::Turn`].
    pub(crate) fn is_turn(&self, streams: bool) -> bool {
        !self.frame_open() && (streams || !self.message_open)
    }

    /// Whether something waits for room that nobody else writes.
    pub(crate) fn wants_room(&self) -> bool {
        !self.lost && !self.frame_open() && (self.waiting() > 0 || self.held)
    }

    fn check_open(&self) -> Result<(), SendError> {
        // RFC 6455 §6.1: no data unless the connection is open [MS08]
        if self.lost || self.session.connection().state() != State::Open {
            return Err(self.refusal());
        }
        Ok(())
    }

    /// Why nothing is sent any more.
    fn refusal(&self) -> SendError {
        match self.session.ended() {
            Some(Ended::TimedOut(Deadline::Write)) => SendError::TimedOut,
            Some(Ended::NoEntropy) => SendError::Entropy,
            _ => SendError::Closed,
        }
    }

    fn append(&mut self, payload: &[u8], mask: Option<&mut Mask>) {
        append(&mut self.out, payload, mask);
    }

    /// Appends what the protocol owes the peer, once what was appended before has left: a peer that
    /// does not read gets no more than the newest pong.
    // [CT07]
    pub(crate) fn transmit(&mut self) -> Result<(), motews::EntropyError> {
        if self.frame_open() || self.lost {
            return Ok(());
        }
        while self.waiting() < COPY_MAX {
            let mut frame = [0; MAX_CONTROL_LEN];
            let len = self.session.poll_transmit(&mut frame)?;
            if len == 0 {
                break;
            }
            self.out.extend_from_slice(&frame[..len]);
        }
        Ok(())
    }

    /// Writes `out` without waiting. `WouldBlock`: there is some left.
    fn flush<P: Port<R>>(&mut self, port: &mut P, clock: &Clock) -> io::Result<()> {
        if self.lost {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        if self.frame_open() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let waits = self.waiting() > 0 || self.held;
        let before = self.left;
        let flushed = self.write_out(port);
        self.held = self.waiting() == 0 && flushed.is_err();
        if waits || self.held {
            self.report(clock, (self.left - before) as usize);
        }
        flushed
    }

    fn write_out<P: Port<R>>(&mut self, port: &mut P) -> io::Result<()> {
        while self.start < self.out.len() {
            match port.write_now(&[IoSlice::new(&self.out[self.start..])]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    self.start += written;
                    self.left += written as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
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

    /// The stream took this much of the frame that is open.
    fn advance_frame(&mut self, clock: &Clock, written: usize) {
        if let Some(frame) = &mut self.frame {
            frame.rest = frame.rest.saturating_sub(written);
        }
        self.report(clock, written);
    }

    /// Tells the session what the stream took.
    fn report(&mut self, clock: &Clock, taken: usize) {
        let left = self.backlog() + usize::from(self.held);
        self.session.sent(clock.now(), &clock.timeouts, taken, left);
    }

    /// What the session wants, after what is due was seen to.
    fn poll(&mut self, clock: &Clock, now: Millis, unread: bool) -> Wants {
        let wants = self.session.poll(now, &clock.timeouts, unread);
        self.shutdown |= wants.shutdown;
        if wants.drop && !self.over {
            self.over = true;
            self.lose();
        }
        wants
    }

    /// Gives the room at the start back before more is appended behind.
    fn compact(&mut self) {
        if self.start >= self.out.len() / 2 {
            self.out.drain(..self.start);
            self.start = 0;
        }
    }

    /// Nothing can be written any more.
    fn lose(&mut self) {
        self.lost = true;
        self.out = Vec::new();
        self.start = 0;
        self.held = false;
    }

    /// The stream cannot be read any more either, with this error if there was none before.
    pub(crate) fn lose_both(&mut self, error: Option<io::Error>) {
        if let Some(error) = error {
            self.error.get_or_insert_with(|| Lost::new(error));
        }
        self.lose();
        self.session.lost();
    }

    /// Gives the connection up.
    pub(crate) fn abort(&mut self, clock: &Clock) {
        self.session.abort();
        self.poll(clock, clock.now(), false);
    }
}

/// A stream that panics in the midst of a frame loses the connection, so that nobody waits for the
/// end of the frame.
struct LoseOnPanic<'a, R: Role>(Option<&'a Shared<R>>);

impl<R: Role> Drop for LoseOnPanic<'_, R> {
    fn drop(&mut self) {
        if let Some(shared) = self.0 {
            let mut inner = shared.lock();
            inner.frame = None;
            inner.lose();
            shared.notify(&mut inner);
        }
    }
}
