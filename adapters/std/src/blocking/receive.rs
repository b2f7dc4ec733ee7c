//! The owner's half of a WebSocket: its stream, and all that is read from it.

use core::cell::Cell;
use core::time::Duration;
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::sync::MutexGuard;
use std::time::Instant;

use motews::{ControlPayload, DataKind, Ended, Event, Role, State, Window};

use super::received::Received;
use super::shared::{FrameWriter, Goal, Inner, Shared, cost, has_input};
use crate::error::{RecvError, SendError, is_abort};
use crate::message::Message;
use crate::transport::{Interest, Ready, Transport};

/// How much a call that must not wait reads at most, in bytes.
const READ_MAX: usize = 1024 * 1024;

/// How many reads without content, as of TLS records that have none, such a call makes at most.
const EMPTY_READS_MAX: u32 = 2;

/// How many reads may come before the end of the connection that is due already.
const LATE_READS_MAX: u32 = 16;

/// How long to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Until {
    Forever,
    At(Instant),
    Now,
}

impl Until {
    fn left(self) -> Option<Duration> {
        match self {
            Self::Forever => None,
            Self::At(at) => Some(at.saturating_duration_since(Instant::now())),
            Self::Now => Some(Duration::ZERO),
        }
    }
}

/// What a receive came to.
pub(super) enum Next {
    /// A message, in [`Reader::message`].
    Message(DataKind),
    /// Nothing that can be waited for any longer.
    Nothing,
    Closed,
}

/// What a turn of the run loop came to.
enum Turn {
    /// So many bytes were read.
    Read(usize),
    /// The stream has taken something and has no content for that.
    Empty,
    /// Something else may have changed.
    Changed,
    /// There is nothing to read, and no time is left.
    Nothing,
    /// The session is over.
    Over,
}

/// What a call has used up.
#[derive(Default)]
struct Used {
    read: usize,
    empty_reads: u32,
}

pub(super) struct Reader<S> {
    pub(super) stream: S,
    /// Whether the stream can be waited for; unknown after the caller had it.
    can_wait: Cell<Option<bool>>,
    /// What was read and is not decoded yet.
    rx: Window<Box<[u8]>>,
    /// The session does not know of it.
    fresh: bool,
    /// The last read filled the window, so there is more.
    more: bool,
    /// Reads since the end of the connection was due.
    late_reads: u32,
    /// The message that is arriving.
    message: Vec<u8>,
    #[cfg(feature = "deflate")]
    pub(super) inflate: Option<Box<crate::deflate::Inflate>>,
    /// Whole messages that were read while something else was asked for.
    queue: VecDeque<Message>,
    /// What they take, in bytes of memory.
    queued: usize,
    max_inbound: usize,
    /// How much more was sent than received, in bytes of memory. Of two peers whose queues are full,
    /// one at the least is ahead by its queue.
    ahead: usize,
    reason: String,
    pub(super) pong: Option<(Instant, ControlPayload)>,
    /// The session is over, and this side's half of the stream has ended.
    pub(super) over: bool,
}

impl<S: Transport> Reader<S> {
    pub(super) fn new(stream: S, leftover: &[u8], read_buffer: usize, max_inbound: usize) -> Self {
        let room = read_buffer.max(leftover.len()).max(1);
        let mut rx = Window::new(vec![0; room].into_boxed_slice());
        rx.spare()[..leftover.len()].copy_from_slice(leftover);
        rx.fill(leftover.len());
        Self {
            stream,
            can_wait: Cell::new(None),
            rx,
            fresh: false,
            more: false,
            late_reads: 0,
            message: Vec::new(),
            #[cfg(feature = "deflate")]
            inflate: None,
            queue: VecDeque::new(),
            queued: 0,
            max_inbound,
            ahead: 0,
            reason: String::new(),
            pong: None,
            over: false,
        }
    }

    pub(super) fn can_wait(&self) -> bool {
        let known = self
            .can_wait
            .get()
            .unwrap_or_else(|| self.stream.can_wait());
        self.can_wait.set(Some(known));
        known
    }

    /// The caller may change the stream.
    pub(super) fn forget_can_wait(&self) {
        self.can_wait.set(None);
    }

    /// Whether there is something to read, as far as that shows without reading.
    fn has_input(&self) -> bool {
        self.more || !self.rx.is_empty() || self.can_wait() && has_input(&self.stream)
    }

    /// Whether more input is there already, as far as it was read.
    pub(super) fn has_more(&self) -> bool {
        !self.rx.is_empty() || !self.queue.is_empty()
    }

    // ---- receive ----

    pub(super) fn receive<R: Role>(
        &mut self,
        shared: &Shared<R>,
        until: Until,
    ) -> Result<Received, RecvError> {
        let message = if let Some(message) = self.queue.pop_front() {
            self.queued -= cost(message.len());
            message
        } else {
            match self.next(shared, until)? {
                Next::Message(kind) => self.take_message(kind),
                Next::Nothing => return Ok(Received::Nothing),
                Next::Closed => return Ok(Received::Closed),
            }
        };
        self.ahead = self.ahead.saturating_sub(cost(message.len()));
        Ok(Received::Message(message))
    }

    /// Counts what senders have sent.
    fn note_others<R>(&mut self, inner: &mut Inner<R>) {
        let others = core::mem::take(&mut inner.sent_by_others);
        self.ahead = self.ahead.saturating_add(others);
    }

    /// A message of this length was sent, or a part of one.
    pub(super) const fn note_sent(&mut self, len: usize) {
        self.ahead = self.ahead.saturating_add(cost(len));
    }

    /// Reads what is there into the queue, and returns how many messages are in it.
    pub(super) fn pending<R: Role>(&mut self, shared: &Shared<R>) -> usize {
        let mut used = Used::default();
        loop {
            self.enqueue(shared);
            if self.is_full()
                || self.over
                || used.read >= READ_MAX
                || used.empty_reads > EMPTY_READS_MAX
                || !matches!(
                    self.turn(shared, Until::Now, &mut used),
                    Ok(Turn::Read(_) | Turn::Empty)
                )
            {
                return self.queue.len();
            }
        }
    }

    fn is_full(&self) -> bool {
        self.queued >= self.max_inbound
    }

    /// Decodes what was read into the queue, as long as it has room.
    fn enqueue<R: Role>(&mut self, shared: &Shared<R>) {
        while !self.is_full()
            && let Some(kind) = self.decode(shared)
        {
            let message = self.take_message(kind);
            self.queued += cost(message.len());
            self.queue.push_back(message);
        }
    }

    fn take_message(&mut self, kind: DataKind) -> Message {
        let bytes = core::mem::take(&mut self.message);
        match kind {
            DataKind::Binary => Message::Binary(bytes),
            // The connection has checked it, so nothing is ever replaced.
            DataKind::Text => Message::Text(
                String::from_utf8(bytes)
                    .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()),
            ),
        }
    }

    /// The next message, in `self.message`.
    pub(super) fn next<R: Role>(
        &mut self,
        shared: &Shared<R>,
        until: Until,
    ) -> Result<Next, RecvError> {
        let mut used = Used::default();
        loop {
            if let Some(kind) = self.decode(shared) {
                return Ok(Next::Message(kind));
            }
            // Pings without end are no reason to stay.
            let stays = match until {
                Until::Forever => true,
                Until::At(at) => used.read == 0 && used.empty_reads == 0 || Instant::now() < at,
                Until::Now => used.read < READ_MAX && used.empty_reads <= EMPTY_READS_MAX,
            };
            if !stays {
                return self.outcome(shared);
            }
            match self.turn(shared, until, &mut used) {
                Ok(Turn::Nothing | Turn::Over) => return self.outcome(shared),
                Ok(_) => {}
                Err(error) if until == Until::Forever => return Err(error.into()),
                Err(_) => return self.outcome(shared),
            }
        }
    }

    /// Decodes what was read, up to the end of a message. Replies to control frames are written
    /// once, when all is decoded or a message is whole.
    fn decode<R: Role>(&mut self, shared: &Shared<R>) -> Option<DataKind> {
        if self.rx.is_empty() {
            return None;
        }
        let mut found = None;
        let mut answers = false;
        let mut inner = shared.lock();
        self.note_others(&mut inner);
        if core::mem::take(&mut self.fresh) {
            inner.session.received(shared.clock.now());
        }
        while found.is_none() && !self.rx.is_empty() {
            let Ok(step) = inner.session.step(self.rx.unread()) else {
                self.rx.take(usize::MAX);
                break;
            };
            let bytes = self.rx.take(step.consumed());
            match inner.session.resolve(step, bytes) {
                Some(Event::Data(chunk)) => {
                    if chunk.first {
                        self.message.clear();
                    }
                    #[cfg(feature = "deflate")]
                    if let Some(inflate) = &mut self.inflate {
                        let kind = chunk.kind;
                        match inflate.append(chunk, &mut self.message) {
                            Ok(ended) => found = ended.then_some(kind),
                            // The next step fails.
                            Err(violation) => inner.session.fail(violation),
                        }
                        continue;
                    }
                    // Grows by what has arrived [FR17].
                    self.message.extend_from_slice(chunk.bytes);
                    found = chunk.last.then_some(chunk.kind);
                }
                Some(Event::Close(frame)) => {
                    self.reason = frame.map_or(String::new(), |frame| frame.reason().to_owned());
                    shared.notify(&mut inner);
                }
                // Each of several pings in one read gets its pong, while there is room [CT07].
                Some(Event::Ping(_)) => answers |= inner.transmit().is_ok(),
                Some(Event::Pong(payload)) => self.pong = Some((Instant::now(), payload)),
                _ => {}
            }
        }
        if inner.session.connection().state() == State::Failed {
            // Senders that wait for their turn have none any more.
            shared.notify(&mut inner);
        }
        if answers || inner.session.connection().wants_transmit() {
            shared.write(&mut inner, self);
        }
        found
    }

    // ---- the run loop ----

    /// Goes round the run loop once: writes what waits, sees to what is due, waits as long as `until`
    /// and the deadlines allow, and reads once. The window is empty. `WouldBlock` only from a stream
    /// that cannot be waited for.
    fn turn<R: Role>(
        &mut self,
        shared: &Shared<R>,
        until: Until,
        used: &mut Used,
    ) -> io::Result<Turn> {
        if self.over {
            return Ok(Turn::Over);
        }
        let can_wait = self.can_wait();
        let mut inner = shared.lock();
        shared.wake_up(&mut inner);
        // If the caller looked away until the end was due, the peer's Close may lie there.
        let is_end_due = shared.is_end_due(&inner);
        self.late_reads = if is_end_due { self.late_reads + 1 } else { 0 };
        let may_be_late = self.late_reads <= LATE_READS_MAX && used.empty_reads == 0;
        let is_late = is_end_due && may_be_late && can_wait && self.has_input();
        let reads = if is_late {
            shared.write(&mut inner, self);
            true
        } else {
            // Whether something has come shows only by reading, if the stream cannot be waited for.
            let now = match can_wait || is_end_due && !may_be_late {
                true => shared.clock.now(),
                false => shared.before_the_end(&inner),
            };
            let wants = shared.keep_time_at(now, &mut inner, self);
            // What is not of interest is read as well, and dropped [CL08].
            wants.read || wants.drain
        };
        if self.end(&mut inner) {
            return Ok(Turn::Over);
        }
        let blocked = !is_late && inner.wants_room();
        // Where writing has failed, only what is there already is read.
        let waits = can_wait && !is_late && !self.more && !inner.lost && until != Until::Now;
        if waits {
            let limit = until.left();
            let due = shared.clock.left(&inner);
            let interest = Interest {
                read: reads,
                write: blocked,
                wake: shared.fall_asleep(&mut inner, blocked, None),
            };
            drop(inner);
            let ready = self.wait_stream(shared, interest, limit.into_iter().chain(due).min());
            if !ready.read {
                let is_over = !ready.any() && until.left().is_some_and(|left| left.is_zero());
                return Ok(if is_over {
                    Turn::Nothing
                } else {
                    Turn::Changed
                });
            }
        } else if reads {
            drop(inner);
        } else if inner.lost {
            inner.lose_both(None);
            return Ok(Turn::Changed);
        } else if can_wait {
            return Ok(Turn::Nothing);
        } else {
            drop(inner);
        }
        let turn = match reads {
            true => self.read_once(shared),
            false => Err(io::ErrorKind::WouldBlock.into()),
        };
        match turn {
            Ok(Turn::Read(len)) => used.read += len,
            Ok(Turn::Empty) => used.empty_reads += 1,
            Err(_) if can_wait && until == Until::Now => return Ok(Turn::Nothing),
            Err(_) if can_wait => return Ok(Turn::Changed),
            // Nothing has come, so the peer was silent.
            Err(_) => {
                let mut inner = shared.lock();
                shared.keep_time(&mut inner, self);
                if self.end(&mut inner) {
                    return Ok(Turn::Over);
                }
            }
            Ok(_) => {}
        }
        turn
    }

    /// Waits for the stream. An error of that ends the connection.
    fn wait_stream<R: Role>(
        &self,
        shared: &Shared<R>,
        interest: Interest<'_>,
        timeout: Option<Duration>,
    ) -> Ready {
        self.stream.wait(interest, timeout).unwrap_or_else(|error| {
            shared.lock().lose_both(Some(error));
            Ready::default()
        })
    }

    /// Ends this side's half of the stream when the session wants that, and returns whether the
    /// session is over.
    fn end<R: Role>(&mut self, inner: &mut Inner<R>) -> bool {
        if inner.over && !self.over {
            self.over = true;
            self.message = Vec::new();
            // It also ends the waiting of senders.
            inner.shutdown = true;
        }
        // RFC 6455 §7.1.1: the server first, and the client when the server has [CL06] [CL07]
        if core::mem::take(&mut inner.shutdown) {
            let ended = match self.over {
                true => self.stream.shutdown_now(),
                false => self.stream.shutdown(),
            };
            // The stream has to write something before, which has time until the session is over.
            let waits = ended.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock);
            inner.shutdown = waits && !self.over;
        }
        self.over
    }

    /// Reads what is there into the window, which is empty. `WouldBlock`: nothing.
    fn read_once<R: Role>(&mut self, shared: &Shared<R>) -> io::Result<Turn> {
        let spare = self.rx.spare();
        let room = spare.len();
        let read = self.stream.read_now(spare);
        self.more = matches!(read, Ok(len) if len == room);
        match read {
            Ok(0) => {
                let mut inner = shared.lock();
                if inner.lost {
                    inner.lose_both(None);
                } else {
                    // If the closing handshake is not complete, this is a failure [CL18].
                    inner.session.receive_eof();
                }
                shared.notify(&mut inner);
                Ok(Turn::Changed)
            }
            Ok(len) => {
                self.rx.fill(len);
                self.fresh = true;
                Ok(Turn::Read(len))
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(Turn::Empty),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                let mut inner = shared.lock();
                if !inner.lost {
                    return Err(error);
                }
                // All that came before writing failed has been read.
                inner.lose_both(None);
                Ok(Turn::Changed)
            }
            Err(error) => {
                let mut inner = shared.lock();
                match is_abort(&error) {
                    true => inner.abort(&shared.clock),
                    false => inner.lose_both(Some(error)),
                }
                shared.notify(&mut inner);
                Ok(Turn::Changed)
            }
        }
    }

    // ---- how it ended ----

    /// What a receive returns that has no message.
    fn outcome<R: Role>(&self, shared: &Shared<R>) -> Result<Next, RecvError> {
        let inner = shared.lock();
        match self.ended(&inner) {
            None => Ok(Next::Nothing),
            Some(Ended::Violation(violation)) => Err(RecvError::Protocol(violation)),
            Some(Ended::TimedOut(deadline)) => Err(RecvError::TimedOut(deadline)),
            Some(Ended::NoEntropy) => Err(RecvError::Entropy),
            Some(Ended::Aborted) => Err(RecvError::Aborted),
            Some(Ended::Lost) => Err(RecvError::Io(match &inner.error {
                Some(error) => error.to_io(),
                None => io::ErrorKind::BrokenPipe.into(),
            })),
            Some(_) => Ok(Next::Closed),
        }
    }

    /// How the connection ended, as soon as that is certain: what the peer broke stays the cause.
    pub(super) fn ended<R: Role>(&self, inner: &Inner<R>) -> Option<Ended> {
        let violation = inner.session.connection().violation();
        // What was accepted before the masking keys failed leaves first.
        let ended = inner.session.ended();
        let ended = ended.filter(|ended| *ended != Ended::NoEntropy || inner.over);
        ended.or(violation.map(Ended::Violation))
    }

    pub(super) fn close_reason(&self) -> &str {
        &self.reason
    }

    // ---- the end without a closing handshake ----

    /// Gives the connection up, and ends this side's half of the stream.
    pub(super) fn abort<R: Role>(&mut self, shared: &Shared<R>) {
        let mut inner = shared.lock();
        inner.abort(&shared.clock);
        shared.notify(&mut inner);
        self.end(&mut inner);
    }
}

/// The owner sends: while it waits, it reads.
impl<S: Transport, R: Role> FrameWriter<R> for Reader<S> {
    fn can_wait(&self) -> bool {
        Self::can_wait(self)
    }

    fn write_now(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        self.stream.write_now(parts)
    }

    fn flush_now(&mut self) -> io::Result<()> {
        self.stream.flush_now()
    }

    fn held(&self) -> usize {
        self.stream.held()
    }

    fn has_input(&self) -> bool {
        Self::has_input(self)
    }

    fn reads(&self) -> bool {
        true
    }

    fn wait(&mut self, shared: &Shared<R>, goal: Goal) -> Result<(), SendError> {
        self.enqueue(shared);
        let mut inner = shared.lock();
        shared.wake_up(&mut inner);
        self.note_others(&mut inner);
        let wants = shared.keep_time(&mut inner, self);
        if self.end(&mut inner) || inner.lost || has_reached(&inner, goal) {
            return Ok(());
        }
        // What is left in the window is a message that has no room.
        let has_unread = !self.rx.is_empty();
        // Whoever answers what it receives waits for the peer. Whoever is ahead may be what the peer
        // waits for, and has to receive.
        let gives_up = self.is_full() && self.ahead >= self.max_inbound.max(1);
        let room = goal == Goal::Room;
        let interest = Interest {
            read: (wants.read || wants.drain) && !has_unread && (gives_up || !self.is_full()),
            write: room,
            wake: shared.fall_asleep(&mut inner, room, Some(goal)),
        };
        let timeout = match has_unread && gives_up {
            true => Some(Duration::ZERO),
            false => shared.clock.left(&inner),
        };
        drop(inner);
        let ready = self.wait_stream(shared, interest, timeout);
        if ready.write {
            return Ok(());
        }
        if gives_up && (has_unread || ready.read) {
            return Err(SendError::InboundFull);
        }
        if ready.read {
            // `WouldBlock`: it came for nothing.
            let _ = self.read_once(shared);
            self.enqueue(shared);
        }
        Ok(())
    }
}

fn has_reached<R: Role>(inner: &MutexGuard<'_, Inner<R>>, goal: Goal) -> bool {
    match goal {
        Goal::Turn(streams) => inner.is_turn(streams),
        Goal::Room => false,
    }
}
