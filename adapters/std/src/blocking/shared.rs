//! What the owner of a WebSocket and its senders share: the session and the bytes in flight.
//!
//! Nothing waits while it holds the lock. Frames are appended to `out` whole, and `out` is written
//! without waiting; who has to wait for room lets go of the lock first. A frame too large to copy
//! is written from its sender's own slice: that keeps all others from writing, and
//! what the protocol owes the peer waits in the session's slots.
//!
//! Nobody has a clock of its own: whoever writes reports that to the session, and whoever waits waits until the
//! session's next deadline, which it sees to.

use core::time::Duration;
use std::io::{self, IoSlice};
use std::sync::{Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;

use motews::{Deadline, Ended, MAX_CONTROL_LEN, Millis, Role, Session, State, Timeouts, Wants};

use super::wake::Wake;
use crate::error::{Lost, SendError};
use crate::message::Message;
use crate::transport::{Interest, Share};

/// Payloads up to this length are copied behind their header; longer ones are written from where
/// they are. In bytes.
pub(super) const COPY_MAX: usize = 16 * 1024;

/// How much of a client's payload is masked at a time, in bytes.
pub(super) const MASK_CHUNK: usize = 64 * 1024;

/// What a sender waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Goal {
    /// Room to write.
    Room,
    /// That no other thread writes a frame, or a message of several. For a frame of such a message
    /// (`true`), that no other thread writes a frame.
    Turn(bool),
}

/// A way to write: the owner's stream, or a sender's handle of it.
pub(super) trait FrameWriter<R> {
    fn can_wait(&self) -> bool;
    fn write_now(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize>;
    fn flush_now(&mut self) -> io::Result<()>;
    /// How many bytes of what it took the stream itself holds.
    fn held(&self) -> usize;
    /// Whether there is something to read, as far as that shows without reading.
    fn has_input(&self) -> bool;
    /// Whether it is the owner's, who reads while it waits.
    fn reads(&self) -> bool;
    /// Waits until the goal may be reached, or the next deadline has passed and is seen to. Called
    /// only if the stream can be waited for.
    fn wait(&mut self, shared: &Shared<R>, goal: Goal) -> Result<(), SendError>;
}

/// A sender's handle: it never reads, and so leaves all that is read to the owner.
pub(super) struct Handle<'a, S>(pub(super) &'a S);

impl<S: Share, R: Role> FrameWriter<R> for Handle<'_, S> {
    fn can_wait(&self) -> bool {
        self.0.can_wait()
    }

    fn write_now(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        self.0.write_shared(parts)
    }

    fn flush_now(&mut self) -> io::Result<()> {
        self.0.flush_shared()
    }

    fn held(&self) -> usize {
        self.0.held()
    }

    fn has_input(&self) -> bool {
        self.0.can_wait() && has_input(self.0)
    }

    fn reads(&self) -> bool {
        false
    }

    fn wait(&mut self, shared: &Shared<R>, goal: Goal) -> Result<(), SendError> {
        let mut inner = shared.lock();
        let due = shared.clock.left(&inner);
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
pub(super) fn has_input(stream: &impl crate::Transport) -> bool {
    let found = stream.wait(Interest::READ, Some(Duration::ZERO));
    found.is_ok_and(|ready| ready.read)
}

/// How a frame is sent.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct SendMode {
    /// It may stay in `out` for now, since more is about to be written.
    pub(super) hold: bool,
    /// There must be room at once.
    pub(super) now: bool,
    /// It belongs to the message that is being streamed.
    pub(super) streaming: bool,
    /// It is taken although there is no room, or although another thread writes a frame, if nothing
    /// can be done to wait for that. It leaves behind that frame.
    pub(super) insist: bool,
    /// It is not compressed.
    #[cfg(feature = "deflate")]
    pub(super) plain: bool,
}

/// The clock of a connection, and how long it waits for what.
#[derive(Debug)]
pub(super) struct Clock {
    epoch: Instant,
    pub(super) timeouts: Timeouts,
}

impl Clock {
    pub(super) fn now(&self) -> Millis {
        // It wraps, as `Millis` may.
        Millis(self.epoch.elapsed().as_millis() as u32)
    }

    /// How long it is until the next deadline.
    pub(super) fn left<R: Role>(&self, inner: &Inner<R>) -> Option<Duration> {
        let at = inner.session.poll_at(&self.timeouts).or(inner.leaves_by)?;
        Some(Duration::from_millis(at.since(self.now()).into()))
    }
}

#[derive(Debug)]
pub(super) struct Shared<R> {
    inner: Mutex<Inner<R>>,
    /// A frame or a streamed message has ended, or the connection has.
    pub(super) changed: Condvar,
    /// Ends the owner's wait. There is one if there are senders.
    wake: OnceLock<Wake>,
    pub(super) clock: Clock,
    pub(super) max_backlog: usize,
}

#[derive(Debug)]
pub(super) struct Inner<R> {
    pub(super) session: Session<R>,
    /// Whole frames that are not written yet, from `start` on.
    pub(super) out: Vec<u8>,
    pub(super) start: usize,
    /// Bytes that ever left `out`.
    pub(super) left: u64,
    /// A frame is being written from its sender's own slice.
    pub(super) frame: Option<OpenFrame>,
    /// The stream itself holds some of what it took.
    pub(super) held: bool,
    /// How much that is, in bytes, as far as it says so.
    hidden: usize,
    pub(super) message_open: bool,
    /// Writing has failed for good.
    pub(super) lost: bool,
    /// What the transport has failed with.
    pub(super) error: Option<Lost>,
    /// This side's half of the stream is to be ended by the owner.
    pub(super) shutdown: bool,
    /// The session is over.
    pub(super) over: bool,
    /// When it is over though something waits that was accepted before the masking keys failed.
    leaves_by: Option<Millis>,
    /// What senders have sent since the owner looked, in bytes of memory.
    pub(super) sent_by_others: usize,
    /// What the owner waits for, if it waits.
    sleep: Option<Sleep>,
    /// The owner's wait was ended.
    woken: bool,
    #[cfg(feature = "deflate")]
    pub(super) packing: Option<Box<Packing>>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct OpenFrame {
    /// Bytes that it took over from `out`, its header among them.
    pub(super) taken_over: usize,
    /// Bytes of it that wait to be written.
    pub(super) rest: usize,
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
pub(super) struct Packing {
    pub(super) compress: Box<crate::deflate::Compress>,
    pub(super) sent: crate::deflate::Bytes,
}

impl<R: Role> Shared<R> {
    pub(super) fn new(
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
                hidden: 0,
                message_open: false,
                lost: false,
                error: None,
                shutdown: false,
                over: false,
                leaves_by: None,
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

    pub(super) fn lock(&self) -> MutexGuard<'_, Inner<R>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    // ---- waking ----

    /// Makes sure that the owner's wait can be ended.
    pub(super) fn prepare_wake(&self) -> io::Result<()> {
        if self.wake.get().is_none() {
            // Of two at once the first counts.
            let _ = self.wake.set(Wake::new()?);
        }
        Ok(())
    }

    /// The owner is about to wait: for room to write if `room`, and to send if there is a `goal`.
    pub(super) fn fall_asleep(
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
    pub(super) fn wake_up(&self, inner: &mut Inner<R>) {
        inner.sleep = None;
        if core::mem::take(&mut inner.woken)
            && let Some(wake) = self.wake.get()
        {
            wake.clear();
        }
    }

    /// A sender has done what it does. Wakes the owner if it waits for the wrong thing now.
    pub(super) fn leave(&self) {
        self.wake_owner(&mut self.lock());
    }

    pub(super) fn wake_owner(&self, inner: &mut Inner<R>) {
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
    pub(super) fn notify(&self, inner: &mut Inner<R>) {
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
    pub(super) fn keep_time<P: FrameWriter<R>>(
        &self,
        inner: &mut Inner<R>,
        writer: &mut P,
    ) -> Wants {
        self.keep_time_at(self.clock.now(), inner, writer)
    }

    /// The same as if it were `now`.
    pub(super) fn keep_time_at<P: FrameWriter<R>>(
        &self,
        now: Millis,
        inner: &mut Inner<R>,
        writer: &mut P,
    ) -> Wants {
        let was_over = inner.over;
        self.write(inner, writer);
        let due = inner.session.poll_at(&self.clock.timeouts);
        let unread = due.is_some_and(|at| now.has_reached(at)) && writer.has_input();
        let mut wants = inner.poll(&self.clock, now, unread);
        if wants.transmit {
            self.write(inner, writer);
            wants = inner.poll(&self.clock, now, unread);
        }
        if inner.over && !was_over {
            self.notify(inner);
        }
        wants
    }

    /// Whether the end of the connection is due, however much the peer sends.
    pub(super) fn is_end_due(&self, inner: &Inner<R>) -> bool {
        let due = inner.session.deadline(&self.clock.timeouts);
        due.is_some_and(|(at, deadline)| {
            matches!(deadline, Deadline::Close | Deadline::Drain)
                && self.clock.now().has_reached(at)
        })
    }

    /// Now, but before the time at which the peer's silence ends the connection, or the time for its
    /// end is over. A ping that is owed before that is not late.
    pub(super) fn before_the_end(&self, inner: &Inner<R>) -> Millis {
        let now = self.clock.now();
        let is_open = inner.session.connection().state() == State::Open;
        match inner.session.deadline(&self.clock.timeouts) {
            Some((at, deadline)) if now.has_reached(at) => match deadline {
                Deadline::Keepalive if is_open => at,
                Deadline::Pong | Deadline::Idle if is_open => Millis(at.0.wrapping_sub(1)),
                Deadline::Close | Deadline::Drain => Millis(at.0.wrapping_sub(1)),
                _ => now,
            },
            _ => now,
        }
    }

    /// Writes what is owed and what waits, without waiting. What fails shows where it is waited for.
    pub(super) fn write<P: FrameWriter<R>>(&self, inner: &mut Inner<R>, writer: &mut P) {
        // The second time is for what had no room behind what waited.
        for _ in 0..2 {
            // Without a masking key, what was accepted before still leaves.
            let _ = inner.transmit();
            if inner.lost {
                return;
            }
            match inner.flush(writer, &self.clock) {
                Ok(()) if inner.session.wants_transmit() => {}
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => {
                    return self.lose(inner, error);
                }
                _ => return,
            }
        }
    }

    /// Writing has failed for good, with this error. The peer's Close may still be there to be read.
    pub(super) fn lose(&self, inner: &mut Inner<R>, error: io::Error) {
        inner.error.get_or_insert_with(|| Lost::new(error));
        inner.lose();
        self.notify(inner);
    }

    pub(super) fn lose_for(&self, inner: &mut Inner<R>, error: io::Error) -> SendError {
        if inner.over {
            // It was ended on purpose.
            return inner.refusal();
        }
        let lost = Lost::new(error);
        let error = SendError::from_io(lost.to_io());
        inner.error.get_or_insert(lost);
        inner.lose();
        self.notify(inner);
        error
    }
}

/// What a message costs that is kept, in bytes of memory: an empty one is not free.
pub(super) const fn cost(len: usize) -> usize {
    size_of::<Message>() + len
}

impl<R: Role> Inner<R> {
    /// Bytes in `out`.
    pub(super) const fn waiting(&self) -> usize {
        self.out.len() - self.start
    }

    /// Bytes that wait outside of the transport.
    pub(super) fn buffered_amount(&self) -> usize {
        self.waiting() + self.frame.map_or(0, |frame| frame.rest)
    }

    pub(super) fn frame_open(&self) -> bool {
        self.frame.is_some()
    }

    pub(super) fn taken_over(&self) -> usize {
        self.frame.map_or(0, |frame| frame.taken_over)
    }

    /// See [`Goal::Turn`].
    pub(super) fn is_turn(&self, streams: bool) -> bool {
        !self.frame_open() && (streams || !self.message_open)
    }

    /// Whether something waits for room that nobody else writes.
    pub(super) fn wants_room(&self) -> bool {
        !self.lost && !self.frame_open() && (self.waiting() > 0 || self.held || self.shutdown)
    }

    pub(super) fn check_open(&self) -> Result<(), SendError> {
        // RFC 6455 §6.1: no data unless the connection is open [MS08]
        let is_open = self.session.connection().state() == State::Open;
        if self.lost || !is_open || self.session.ended().is_some() {
            return Err(self.refusal());
        }
        Ok(())
    }

    /// Why nothing is sent any more.
    pub(super) fn refusal(&self) -> SendError {
        match self.session.ended() {
            Some(Ended::TimedOut(Deadline::Write)) => SendError::TimedOut,
            Some(Ended::NoEntropy) => SendError::Entropy,
            _ => SendError::Closed,
        }
    }

    /// Appends what the protocol owes the peer, once what was appended before has left: a peer that
    /// does not read gets no more than the newest pong.
    // [CT07]
    pub(super) fn transmit(&mut self) -> Result<(), motews::EntropyError> {
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
    pub(super) fn flush<P: FrameWriter<R>>(
        &mut self,
        writer: &mut P,
        clock: &Clock,
    ) -> io::Result<()> {
        if self.lost {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        if self.frame_open() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let waits = self.waiting() > 0 || self.held;
        let before = self.left;
        let flushed = self.write_out(writer);
        self.held = self.waiting() == 0 && flushed.is_err();
        if waits || self.held {
            self.report(clock, (self.left - before) as usize, writer.held());
        }
        flushed
    }

    fn write_out<P: FrameWriter<R>>(&mut self, writer: &mut P) -> io::Result<()> {
        while self.start < self.out.len() {
            match writer.write_now(&[IoSlice::new(&self.out[self.start..])]) {
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
        writer.flush_now()
    }

    /// The stream took this much of the frame that is open, and holds so much.
    pub(super) fn advance_frame(&mut self, clock: &Clock, written: usize, held: usize) {
        if let Some(frame) = &mut self.frame {
            frame.rest = frame.rest.saturating_sub(written);
        }
        self.report(clock, written, held);
    }

    /// Records in the session what the stream took, without what it holds itself.
    fn report(&mut self, clock: &Clock, taken: usize, held: usize) {
        let taken = (taken + self.hidden).saturating_sub(held);
        self.hidden = held;
        let left = self.buffered_amount() + held.max(usize::from(self.held));
        self.session.sent(clock.now(), &clock.timeouts, taken, left);
    }

    /// What the session wants, after what is due was seen to.
    fn poll(&mut self, clock: &Clock, now: Millis, unread: bool) -> Wants {
        let wants = self.session.poll(now, &clock.timeouts, unread);
        self.shutdown |= wants.shutdown;
        if wants.drop && !self.over && !self.leaves(clock, now) {
            self.over = true;
            self.lose();
        }
        wants
    }

    /// Returns true while there is time for what was accepted before the masking keys failed: it can
    /// still leave, as nothing else can.
    fn leaves(&mut self, clock: &Clock, now: Millis) -> bool {
        let waits = self.buffered_amount() > 0 || self.held;
        if !waits || self.lost || self.session.ended() != Some(Ended::NoEntropy) {
            return false;
        }
        let write = clock.timeouts.write.unwrap_or(i32::MAX as u32);
        let by = *self.leaves_by.get_or_insert(now.after(write));
        !now.has_reached(by)
    }

    /// Gives the room at the start back before more is appended behind.
    fn compact(&mut self) {
        if self.start >= self.out.len() / 2 {
            self.out.drain(..self.start);
            self.start = 0;
        }
    }

    /// Nothing can be written any more.
    pub(super) fn lose(&mut self) {
        self.lost = true;
        self.out = Vec::new();
        self.start = 0;
        self.held = false;
    }

    /// The stream cannot be read any more either, with this error if there was none before.
    pub(super) fn lose_both(&mut self, error: Option<io::Error>) {
        if let Some(error) = error {
            self.error.get_or_insert_with(|| Lost::new(error));
        }
        self.lose();
        self.session.lost();
    }

    /// Gives the connection up.
    pub(super) fn abort(&mut self, clock: &Clock) {
        self.session.abort();
        self.poll(clock, clock.now(), false);
    }
}
