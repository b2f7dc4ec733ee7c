//! The run loop of a connection: a session, its stream, and what waits on both sides.
//!
//! Nothing here waits: each call goes as far as the stream lets it, and returns `Pending` when both the
//! stream and the timer know whom to wake.

use core::pin::Pin;
use core::task::{Context, Poll, Waker, ready};
use core::time::Duration;
use std::io;
use std::sync::Arc;

use motews::{
    CloseCode, ConnectionConfig, ControlSlots, ControlStorage, DataFrame, Deadline, Ended, Event,
    MAX_CONTROL_LEN, Millis, OpCode, Pace, Role, Session, State, Step, Timeouts,
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use crate::error::{Lost, RecvError, SendError, TrySendError};
use crate::inbox::{self, Inbox};
use crate::message::Message;
use crate::out::Out;
use crate::timer::Timer;
use crate::wakers::{Side, Wakers};

/// As long as less than this waits, what the protocol owes the peer is appended, in bytes.
const OWED_MAX: usize = 16 * 1024;

/// How many turns may come before the end of the connection that is due already.
const LATE_READS: u8 = 32;

/// What is the same for many connections.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    pub(crate) timeouts: Timeouts,
    pub(crate) max_backlog: usize,
    pub(crate) max_inbound: usize,
}

/// The time of a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock(Instant);

impl Clock {
    pub(crate) fn new() -> Self {
        Self(Instant::now())
    }

    pub(crate) fn at(self, instant: Instant) -> Millis {
        // It wraps, as `Millis` may.
        Millis(instant.saturating_duration_since(self.0).as_millis() as u32)
    }

    pub(crate) fn now(self) -> Millis {
        self.at(Instant::now())
    }
}

/// Control frames in parts and owed ones are rare: an idle connection has no room for them.
#[derive(Debug, Default)]
pub(crate) struct OnDemand(Option<Box<ControlSlots>>);

impl ControlStorage for OnDemand {
    fn slots(&mut self) -> &mut ControlSlots {
        self.0.get_or_insert_default()
    }

    fn release(&mut self) {
        self.0 = None;
    }
}

/// Where this side's half of the stream stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Half {
    Open,
    Ending,
    Ended,
}

/// What a turn of the run loop came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    /// Something has changed.
    Again,
    /// The stream and the timer wake this connection.
    Pending,
    /// The session is over.
    Over,
}

/// What is known of the end.
#[derive(Debug, Default)]
struct End {
    reason: String,
    error: Option<Lost>,
}

/// A connection.
#[derive(Debug)]
pub(crate) struct Engine<S, R> {
    session: Session<R, OnDemand>,
    /// `None`: the session is over.
    stream: Option<S>,
    settings: Arc<Settings>,
    clock: Clock,
    timer: Timer,
    wakers: Arc<Wakers>,
    inbox: Inbox,
    out: Out,
    /// How much more was sent than received, in bytes of memory. Of two peers whose queues are full,
    /// one at the least is ahead by its queue.
    ahead: usize,
    half: Half,
    /// Writing has failed for good.
    is_lost: bool,
    /// Nothing more can be read.
    is_eof: bool,
    /// What was read is of interest to nobody: the session drains.
    drains: bool,
    /// There is room for what is read, as the session knows it.
    reads: bool,
    /// Others may receive while one sends.
    is_split: bool,
    /// The application receives no more.
    discards: bool,
    late_reads: u8,
    /// The end was returned once.
    is_told: bool,
    end: Option<Box<End>>,
}

impl<S: AsyncRead + AsyncWrite + Unpin, R: Role> Engine<S, R> {
    /// Takes over a stream after the opening handshake, with what was read behind it.
    pub(crate) fn new(
        stream: S,
        role: R,
        config: ConnectionConfig,
        settings: Arc<Settings>,
        leftover: &[u8],
        (clock, pace): (Clock, Pace),
    ) -> Self {
        let mut inbox = Inbox::default();
        inbox.keep_bytes(leftover);
        Self {
            session: Session::with_pace(role, config, pace, clock.now()),
            stream: Some(stream),
            settings,
            clock,
            timer: Timer::default(),
            wakers: Arc::default(),
            inbox,
            out: Out::default(),
            ahead: 0,
            half: Half::Open,
            is_lost: false,
            is_eof: false,
            drains: false,
            reads: true,
            is_split: false,
            discards: false,
            late_reads: 0,
            is_told: false,
            end: None,
        }
    }

    // ---- look ----

    pub(crate) const fn stream(&self) -> Option<&S> {
        self.stream.as_ref()
    }

    pub(crate) fn ended(&self) -> Option<Ended> {
        self.session.ended()
    }

    pub(crate) fn reason(&self) -> &str {
        self.end.as_ref().map_or("", |end| &end.reason)
    }

    pub(crate) fn buffered_amount(&self) -> usize {
        self.out.waiting()
    }

    fn is_full(&self) -> bool {
        self.inbox.cost() >= self.settings.max_inbound && self.inbox.len() > 0
    }

    fn has_room(&self) -> bool {
        self.out.waiting() < self.settings.max_backlog.max(1)
    }

    // ---- receive ----

    /// Returns the next message; `None` after the end.
    pub(crate) fn poll_recv(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Message, RecvError>>> {
        let mut is_registered = false;
        let waker = Waker::from(self.wakers.clone());
        let inner = &mut Context::from_waker(&waker);
        loop {
            if let Some(message) = self.pop() {
                return Poll::Ready(Some(Ok(message)));
            }
            if !is_registered {
                self.wakers.register(Side::Reader, cx.waker());
                is_registered = true;
            }
            match self.turn(inner, 1) {
                Turn::Again => {}
                Turn::Pending => {
                    self.inbox.release();
                    self.out.release();
                    return Poll::Pending;
                }
                Turn::Over if self.inbox.len() > 0 => {}
                Turn::Over => return Poll::Ready(self.tell_end().map(Err)),
            }
        }
    }

    fn pop(&mut self) -> Option<Message> {
        if self.inbox.len() == 0 && self.inbox.has_bytes() {
            self.decode_kept(1);
        }
        let message = self.inbox.pop()?;
        self.ahead = self.ahead.saturating_sub(message.cost());
        Some(message)
    }

    /// Why there are no more messages, the first time; `None` after a clean end, and each further time.
    fn tell_end(&mut self) -> Option<RecvError> {
        if core::mem::replace(&mut self.is_told, true) {
            return None;
        }
        match self.session.ended() {
            Some(Ended::Violation(violation)) => Some(RecvError::Protocol(violation)),
            Some(Ended::TimedOut(deadline)) => Some(RecvError::TimedOut(deadline)),
            Some(Ended::NoEntropy) => Some(RecvError::Entropy),
            Some(Ended::Lost) => {
                let error = self.end.as_ref().and_then(|end| end.error.as_ref());
                let error = error.map_or(io::ErrorKind::BrokenPipe.into(), Lost::to_io);
                Some(RecvError::Io(error))
            }
            _ => None,
        }
    }

    /// Decodes what was kept, up to so many messages.
    fn decode_kept(&mut self, most: usize) {
        let (mut bytes, mut start) = self.inbox.take_bytes();
        start += self.decode(bytes.get_mut(start..).unwrap_or_default(), most);
        self.inbox.put_bytes(bytes, start);
    }

    /// Decodes what was read as long as less than so many messages wait, and returns how much of it.
    /// A Close behind messages is not decoded before they were received: they may be answered.
    fn decode(&mut self, bytes: &mut [u8], most: usize) -> usize {
        let mut used = 0;
        while used < bytes.len() && self.inbox.len() < most && !self.is_full() {
            let rest = &mut bytes[used..];
            let waits = self.inbox.len() > 0 && self.session.connection().state() == State::Open;
            if waits && self.inbox.is_between && begins_close(rest) {
                break;
            }
            match self.session.step(rest) {
                Ok(step) => {
                    let consumed = step.consumed();
                    self.take_event(step, &mut rest[..consumed]);
                    used += consumed;
                }
                // The Close that says so is owed now.
                Err(_) => return bytes.len(),
            }
        }
        used
    }

    fn take_event(&mut self, step: Step, bytes: &mut [u8]) {
        if step.is_chunk() || !step.is_event() {
            self.inbox.is_between = step.ends_message();
        }
        match step.resolve(bytes) {
            Some(Event::Data(chunk)) => {
                if let Err(error) = self.inbox.push(chunk) {
                    self.session.fail(error.into());
                }
                if self.discards {
                    self.inbox.clear_messages();
                }
            }
            Some(Event::Close(Some(close))) if !close.reason().is_empty() => {
                self.end.get_or_insert_default().reason = close.reason().to_owned();
            }
            // Each of several pings in one read gets its pong, while there is room [CT07].
            Some(Event::Ping(_)) => self.transmit(),
            _ => {}
        }
    }

    // ---- the run loop ----

    /// Goes round the run loop once. Up to so many messages are decoded.
    fn turn(&mut self, cx: &mut Context<'_>, most: usize) -> Turn {
        if self.stream.is_none() {
            return Turn::Over;
        }
        self.write(cx);
        let came = self.read(cx, most).is_ready();
        let now = Instant::now();
        if (came || self.inbox.has_bytes()) && self.is_late(now) {
            return Turn::Again; // What is waited for may lie there.
        }
        let millis = self.clock.at(now);
        let reads = !self.is_full();
        if reads != self.reads {
            self.reads = reads;
            self.session.reading(millis, reads);
        }
        // There may be some that was not looked for.
        let unread = came || self.inbox.has_bytes() || !tokio::task::coop::has_budget_remaining();
        let wants = self.session.poll(millis, &self.settings.timeouts, unread);
        self.drains = wants.drain;
        if wants.shutdown {
            self.half = Half::Ending;
        }
        if wants.transmit {
            self.write(cx);
            if !self.session.wants_transmit() {
                return Turn::Again;
            }
        }
        if self.half == Half::Ending
            && let Some(stream) = &mut self.stream
            // Whatever it fails with: there is nothing more to write.
            && Pin::new(stream).poll_shutdown(cx).is_ready()
        {
            self.half = Half::Ended;
        }
        if wants.drop {
            self.finish();
            return Turn::Over;
        }
        if came {
            return Turn::Again;
        }
        if let Some(at) = self.session.poll_at(&self.settings.timeouts) {
            let left = Duration::from_millis(at.since(millis).into());
            self.timer.arm(now + left, now, cx.waker());
        }
        Turn::Pending
    }

    /// Whether the end of the connection is due already, and may wait for what has come before. That
    /// is so a few times only, for the peer could send for ever.
    fn is_late(&mut self, now: Instant) -> bool {
        let due = self.session.deadline(&self.settings.timeouts);
        let is_due = due.is_some_and(|(at, deadline)| {
            matches!(deadline, Deadline::Close | Deadline::Drain)
                && self.clock.at(now).has_reached(at)
        });
        self.late_reads += u8::from(is_due && self.late_reads < LATE_READS);
        is_due && self.late_reads < LATE_READS
    }

    /// The session is over, and so is the stream.
    fn finish(&mut self) {
        self.stream = None;
        self.timer.disarm();
        self.inbox.clear_rest();
        self.out.clear();
        self.wakers.wake_all();
    }

    /// Reads once, if there is room for what comes, and decodes it. `Ready`: something has come.
    fn read(&mut self, cx: &mut Context<'_>, most: usize) -> Poll<()> {
        if self.is_eof || self.is_full() {
            return Poll::Pending;
        }
        if self.inbox.has_bytes() {
            let before = self.inbox.len();
            self.decode_kept(most);
            if self.inbox.has_bytes() {
                // More messages are there than are wanted.
                return if self.inbox.len() > before {
                    Poll::Ready(())
                } else {
                    Poll::Pending
                };
            }
        }
        let Some(stream) = &mut self.stream else {
            return Poll::Pending;
        };
        if let Some(mut message) = self.inbox.take_message() {
            let len = message.len();
            let read = inbox::poll_read(stream, cx, &mut message);
            let result = self.note_read(read);
            if message.len() > len {
                self.decode_direct(message, len, most);
            } else {
                self.inbox.put_message(message);
            }
            return result;
        }
        let mut buffer = inbox::take_buffer();
        let read = inbox::poll_read(stream, cx, &mut buffer);
        let result = self.note_read(read);
        if !self.drains {
            let used = self.decode(&mut buffer, most);
            self.inbox.keep_bytes(&buffer[used..]);
        }
        inbox::give_buffer(buffer);
        result
    }

    /// Decodes what was read behind the first `len` bytes of the message that is arriving: nearly
    /// always it is more of it.
    fn decode_direct(&mut self, mut message: Vec<u8>, len: usize, most: usize) {
        let read = &mut message[len..];
        let total = read.len();
        let Ok(step) = self.session.step(read) else {
            message.truncate(len);
            return self.inbox.put_message(message);
        };
        if step.is_chunk() && step.start() == 0 && step.consumed() == total {
            self.inbox.is_between = step.ends_message();
            let last = match step.resolve(read) {
                Some(Event::Data(chunk)) if chunk.last => Some(chunk.kind),
                _ => None,
            };
            self.inbox.put_message(message);
            if let Some(kind) = last
                && let Err(error) = self.inbox.finish(kind)
            {
                self.session.fail(error.into());
            }
            return;
        }
        let mut read = message.split_off(len);
        self.inbox.put_message(message);
        let mut used = step.consumed();
        self.take_event(step, &mut read[..used]);
        used += self.decode(&mut read[used..], most);
        self.inbox.keep_bytes(&read[used..]);
    }

    /// Tells the session what a read came to.
    fn note_read(&mut self, read: Poll<io::Result<usize>>) -> Poll<()> {
        match read {
            Poll::Ready(Ok(1..)) => self.session.received(self.clock.now()),
            Poll::Pending if !self.is_lost => return Poll::Pending,
            ended => {
                self.is_eof = true;
                match ended {
                    // If the closing handshake is not complete, this is a failure [CL18].
                    Poll::Ready(Ok(_)) if !self.is_lost => self.session.receive_eof(),
                    Poll::Ready(Err(error)) => {
                        self.lose(error);
                        self.session.lost();
                    }
                    // All that came before writing failed has been read.
                    _ => self.session.lost(),
                }
            }
        }
        Poll::Ready(())
    }

    // ---- write ----

    /// Appends what the protocol owes the peer, once most of what was appended before has left: a
    /// peer that does not read gets no more than the newest pong.
    // [CT07]
    fn transmit(&mut self) {
        while !self.is_lost && self.out.waiting() < OWED_MAX {
            let mut frame = [0; MAX_CONTROL_LEN];
            // Without a key the session ends, which the next poll finds.
            let len = self.session.poll_transmit(&mut frame).unwrap_or(0);
            if len == 0 {
                break;
            }
            self.out.push(&frame[..len]);
        }
    }

    /// Writes what is owed and what waits.
    fn write(&mut self, cx: &mut Context<'_>) {
        self.transmit();
        let Some(stream) = &mut self.stream else {
            return;
        };
        if self.is_lost || self.out.left() == 0 {
            return;
        }
        let (taken, stop) = self.out.poll_write(stream, cx);
        let left = self.out.left();
        let now = self.clock.now();
        self.session.sent(now, &self.settings.timeouts, taken, left);
        if let Poll::Ready(Err(error)) = stop {
            // The peer's Close may still be there to be read.
            self.lose(error);
        }
        if self.is_lost || (taken > 0 && self.has_room()) {
            self.wakers.wake_writers();
        }
    }

    /// Nothing can be written any more.
    fn lose(&mut self, error: io::Error) {
        let end = self.end.get_or_insert_default();
        end.error.get_or_insert_with(|| Lost::new(error));
        self.is_lost = true;
        self.out.clear();
    }

    // ---- send ----

    /// Why nothing can be sent, if nothing can.
    pub(crate) fn check_open(&self) -> Result<(), SendError> {
        // RFC 6455 §6.1: no data unless the connection is open [MS08]
        if self.is_lost || self.session.connection().state() != State::Open {
            return Err(self.refusal());
        }
        Ok(())
    }

    fn refusal(&self) -> SendError {
        let error = self.end.as_ref().and_then(|end| end.error.as_ref());
        match self.session.ended() {
            Some(Ended::TimedOut(Deadline::Write)) => SendError::TimedOut,
            Some(Ended::NoEntropy) => SendError::Entropy,
            _ => match error.map(Lost::to_io) {
                Some(error) if !is_gone(&error) => SendError::Io(error),
                _ => SendError::Closed,
            },
        }
    }

    /// Waits for room to send. While it waits, it reads. If `gives_up`, it fails if that might last for
    /// ever: see [`SendError::InboundFull`].
    pub(crate) fn poll_ready(
        &mut self,
        cx: &mut Context<'_>,
        gives_up: bool,
    ) -> Poll<Result<(), SendError>> {
        self.check_open()?;
        match self.has_room() {
            true => Poll::Ready(Ok(())),
            false => self.poll_out(cx, gives_up, Self::has_room),
        }
    }

    /// Waits until everything is written that waits now.
    pub(crate) fn poll_flush(
        &mut self,
        cx: &mut Context<'_>,
        gives_up: bool,
    ) -> Poll<Result<(), SendError>> {
        self.transmit();
        match self.out.left() == 0 && !self.is_lost {
            true => Poll::Ready(Ok(())),
            false => self.poll_out(cx, gives_up, |engine| engine.out.left() == 0),
        }
    }

    fn poll_out(
        &mut self,
        cx: &mut Context<'_>,
        gives_up: bool,
        is_done: impl Fn(&Self) -> bool,
    ) -> Poll<Result<(), SendError>> {
        let waker = Waker::from(self.wakers.clone());
        let inner = &mut Context::from_waker(&waker);
        self.write(inner);
        let mut is_registered = false;
        loop {
            if self.is_lost || self.stream.is_none() {
                return Poll::Ready(Err(self.refusal()));
            }
            if is_done(self) {
                return Poll::Ready(Ok(()));
            }
            if !core::mem::replace(&mut is_registered, true) {
                self.wakers.register(Side::Writer, cx.waker());
            }
            let before = self.inbox.len();
            let turn = self.turn(inner, usize::MAX);
            if self.inbox.len() > before {
                self.wakers.wake_reader();
            }
            // Whoever answers what it receives waits for the peer. Whoever is ahead may be what the
            // peer waits for, and has to receive.
            if gives_up
                && turn == Turn::Pending
                && self.is_full()
                && self.ahead >= self.settings.max_inbound.max(1)
            {
                return Poll::Ready(Err(SendError::InboundFull));
            }
            if turn == Turn::Pending {
                return Poll::Pending;
            }
        }
    }

    /// Takes the message as soon as there is room, then waits until it is written, unless it
    /// [defers](Self::defers).
    pub(crate) fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        message: &mut Option<Message>,
    ) -> Poll<Result<(), SendError>> {
        let gives_up = !self.is_split;
        if message.is_some() {
            ready!(self.poll_ready(cx, gives_up))?;
            if let Some(message) = message.take() {
                self.accept(message).map_err(|(_, error)| error)?;
            }
            if self.defers() {
                return Poll::Ready(Ok(()));
            }
        }
        match ready!(self.poll_flush(cx, gives_up)) {
            // It was taken, and is written by the calls that follow.
            Err(SendError::InboundFull) => Poll::Ready(Ok(())),
            flushed => Poll::Ready(flushed),
        }
    }

    /// Takes a message, whether there is room or not; or gives it back.
    pub(crate) fn accept(&mut self, message: Message) -> Result<(), (Message, SendError)> {
        if let Err(error) = self.check_open() {
            return Err((message, error));
        }
        let frame = DataFrame {
            kind: message.kind(),
            fin: true,
            compressed: false,
            payload_len: message.len() as u64,
        };
        let header = match self.session.start_frame(frame) {
            Ok(header) => header,
            Err(error) => return Err((message, error.into())),
        };
        self.ahead = self.ahead.saturating_add(message.cost());
        self.out.push_frame(&header, message.into_bytes());
        Ok(())
    }

    /// Whether what was sent may wait for what is sent next: another message is there to be answered,
    /// by the same task.
    pub(crate) fn defers(&self) -> bool {
        !self.is_split && self.has_room() && self.inbox.has_message()
    }

    /// Takes a message if there is room, and writes what can be written at once.
    pub(crate) fn try_send(&mut self, message: Message) -> Result<(), TrySendError> {
        if !self.has_room() {
            self.write_now();
            if !self.has_room() && self.check_open().is_ok() {
                return Err(TrySendError::Full(message));
            }
        }
        let accepted = self.accept(message);
        accepted.map_err(|(message, error)| TrySendError::Failed(message, error))?;
        if !self.defers() {
            self.write_now();
        }
        Ok(())
    }

    /// Appends a ping. There is room.
    pub(crate) fn ping(&mut self, payload: &[u8]) -> Result<(), SendError> {
        self.check_open()?;
        let mut frame = [0; MAX_CONTROL_LEN];
        let len = self.session.ping(payload, &mut frame)?;
        self.out.push(&frame[..len]);
        Ok(())
    }

    /// Writes what can be written at once. What is left wakes whoever waits for the connection.
    pub(crate) fn write_now(&mut self) {
        let waker = Waker::from(self.wakers.clone());
        self.write(&mut Context::from_waker(&waker));
        if self.out.left() > 0 || self.session.connection().state() != State::Open {
            // There is more to wait for, and for less long.
            self.wakers.wake_reader();
        }
    }

    // ---- the end ----

    /// Begins the closing handshake: the Close goes behind what waits.
    pub(crate) fn close(&mut self, code: CloseCode, reason: &str) -> Result<(), SendError> {
        self.session.close(code, reason)?;
        self.write_now();
        Ok(())
    }

    /// Waits for the end. Messages that come are dropped if `drops`, and kept otherwise, as many as
    /// there is room for.
    pub(crate) fn poll_closed(
        &mut self,
        cx: &mut Context<'_>,
        side: Side,
        drops: bool,
    ) -> Poll<Ended> {
        self.wakers.register(side, cx.waker());
        let waker = Waker::from(self.wakers.clone());
        let inner = &mut Context::from_waker(&waker);
        let discards = self.discards;
        self.discards |= drops;
        if self.discards {
            self.inbox.clear_messages();
        }
        let ended = loop {
            let before = self.inbox.len();
            let turn = self.turn(inner, usize::MAX);
            if self.inbox.len() > before && side == Side::Writer {
                self.wakers.wake_reader();
            }
            match turn {
                Turn::Again => {}
                Turn::Pending => break Poll::Pending,
                Turn::Over => break Poll::Ready(self.session.ended().unwrap_or(Ended::Lost)),
            }
        };
        self.discards = discards;
        ended
    }

    /// Waits until this side's Close has left.
    pub(crate) fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), SendError>> {
        if self.session.connection().state() == State::Open {
            self.session.close(CloseCode::NORMAL, "")?;
        }
        match ready!(self.poll_flush(cx, false)) {
            // It has ended already, which is what was wanted.
            Err(SendError::Closed) => Poll::Ready(Ok(())),
            flushed => Poll::Ready(flushed),
        }
    }

    pub(crate) const fn split(&mut self) {
        self.is_split = true;
    }

    /// The application receives no more: what comes is dropped from now on.
    pub(crate) fn discard(&mut self) {
        self.discards = true;
        self.inbox.clear_messages();
    }

    /// Gives the connection up.
    pub(crate) fn abort(&mut self) {
        self.session.abort();
        self.finish();
    }
}

/// Whether a Close begins here, between two messages.
fn begins_close(bytes: &[u8]) -> bool {
    let first = bytes.first().copied().unwrap_or_default();
    OpCode::new(first & 0x0F) == Some(OpCode::Close)
}

/// Whether an error of the transport says no more than that the peer has left.
fn is_gone(error: &io::Error) -> bool {
    use io::ErrorKind as Kind;
    matches!(
        error.kind(),
        Kind::BrokenPipe
            | Kind::ConnectionReset
            | Kind::ConnectionAborted
            | Kind::NotConnected
            | Kind::UnexpectedEof
    )
}
