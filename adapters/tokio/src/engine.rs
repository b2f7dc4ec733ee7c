//! The run loop of a connection: a session, its stream, and what waits on both sides.
//!
//! Nothing here waits: each call goes as far as the stream lets it, and returns `Pending` when both the
//! stream and the timer know whom to wake.

mod send;

use core::pin::Pin;
use core::task::{Context, Poll, Waker};
use core::time::Duration;
use std::io;
use std::sync::{Arc, LazyLock};

#[cfg(feature = "deflate")]
use motews::deflate::DeflateParams;
use motews::handshake::Agreed;
use motews::{
    Chunk, ConnectionConfig, ControlSlots, ControlStorage, Deadline, Ended, Event, Limits,
    MAX_CONTROL_LEN, Millis, OpCode, Pace, ProtocolViolation, Role, Session, State, Step, Timeouts,
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

#[cfg(feature = "deflate")]
use crate::deflate::Deflate;
use crate::error::{Lost, RecvError};
use crate::handle::Registered;
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

/// What both sides have agreed on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Agreement {
    pub(crate) config: ConnectionConfig,
    /// How messages are compressed, and the longest one.
    #[cfg(feature = "deflate")]
    pub(crate) deflate: Option<(DeflateParams, u64)>,
}

impl Agreement {
    #[cfg_attr(
        not(feature = "deflate"),
        expect(unused_variables, reason = "to inflate")
    )]
    pub(crate) fn new(agreed: &Agreed, limits: Limits) -> Self {
        Self {
            config: agreed.config,
            #[cfg(feature = "deflate")]
            deflate: agreed.deflate.map(|params| (params, limits.message)),
        }
    }
}

/// The session's time. All connections of the process count from the same moment; a runtime whose
/// clock is paused may be before it.
pub(crate) fn millis(instant: Instant) -> Millis {
    static EPOCH: LazyLock<Instant> = LazyLock::new(Instant::now);
    let after = instant.saturating_duration_since(*EPOCH).as_millis() as u32;
    let before = EPOCH.saturating_duration_since(instant).as_millis() as u32;
    // It wraps, as `Millis` may.
    Millis(after.wrapping_sub(before))
}

pub(crate) fn now() -> Millis {
    millis(Instant::now())
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
    /// The session ended before everything was written that was accepted.
    is_cut: bool,
    /// A control frame that is owed waits to be written.
    owes: bool,
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
    /// Its server may shut it down.
    registered: Option<Box<Registered>>,
    #[cfg(feature = "deflate")]
    deflate: Option<Box<Deflate>>,
}

impl<S: AsyncRead + AsyncWrite + Unpin, R: Role> Engine<S, R> {
    /// Takes over a stream after the opening handshake, with what was read behind it.
    pub(crate) fn new(
        stream: S,
        role: R,
        agreed: Agreement,
        settings: Arc<Settings>,
        leftover: &[u8],
        pace: Pace,
    ) -> Self {
        let mut inbox = Inbox::default();
        inbox.keep_bytes(leftover);
        Self {
            session: Session::with_pace(role, agreed.config, pace, now()),
            stream: Some(stream),
            settings,
            timer: Timer::default(),
            wakers: Arc::default(),
            inbox,
            out: Out::default(),
            ahead: 0,
            half: Half::Open,
            is_lost: false,
            is_cut: false,
            owes: false,
            is_eof: false,
            drains: false,
            reads: true,
            is_split: false,
            discards: false,
            late_reads: 0,
            is_told: false,
            end: None,
            registered: None,
            #[cfg(feature = "deflate")]
            deflate: agreed.deflate.and_then(Deflate::new),
        }
    }

    /// Lets its server shut it down.
    pub(crate) fn register(&mut self, mut registered: Box<Registered>) {
        registered.open(&self.wakers);
        self.registered = Some(registered);
    }

    // ---- look ----

    pub(crate) const fn stream(&self) -> Option<&S> {
        self.stream.as_ref()
    }

    #[cfg(feature = "deflate")]
    pub(crate) fn deflate(&self) -> Option<DeflateParams> {
        self.deflate.as_ref().map(|deflate| deflate.agreed())
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
        !self.discards && self.inbox.cost() >= self.settings.max_inbound && self.inbox.len() > 0
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
        if let Some(message) = self.pop_answered() {
            return Poll::Ready(Some(Ok(message)));
        }
        self.wakers.register(Side::Reader, cx.waker());
        let waker = Waker::from(self.wakers.clone());
        let inner = &mut Context::from_waker(&waker);
        loop {
            let turn = self.turn(inner, 1);
            if let Some(message) = self.pop_answered() {
                return Poll::Ready(Some(Ok(message)));
            }
            match turn {
                Turn::Again => {}
                Turn::Pending => {
                    self.inbox.release();
                    self.out.release();
                    return Poll::Pending;
                }
                Turn::Over => return Poll::Ready(self.tell_end().map(Err)),
            }
        }
    }

    /// Takes the next message. If it is the last for now, whoever gets it may not be back for long: the
    /// pongs to the pings before it are written.
    fn pop_answered(&mut self) -> Option<Message> {
        let message = self.pop()?;
        if self.owes && !self.inbox.has_message() {
            let waker = Waker::from(self.wakers.clone());
            self.write(&mut Context::from_waker(&waker));
        }
        Some(message)
    }

    fn pop(&mut self) -> Option<Message> {
        if self.inbox.len() == 0 && self.inbox.has_bytes() {
            self.decode_kept(1);
        }
        let was_full = self.is_full();
        let message = self.inbox.pop()?;
        if was_full && !self.is_full() {
            // Whoever waits to send reads again.
            self.wakers.wake_writers();
        }
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
            if waits && self.inbox.is_between() && begins_close(rest) {
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
            self.inbox.set_between(step.ends_message());
        }
        match self.session.resolve(step, bytes) {
            Some(Event::Data(chunk)) => {
                if let Err(violation) = self.take_chunk(chunk) {
                    self.session.fail(violation);
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

    fn take_chunk(&mut self, chunk: Chunk<'_>) -> Result<(), ProtocolViolation> {
        #[cfg(feature = "deflate")]
        if let Some(deflate) = &mut self.deflate {
            let kind = chunk.kind;
            if deflate.inflate(chunk, self.inbox.message())? {
                self.inbox.finish(kind)?;
            }
            return Ok(());
        }
        Ok(self.inbox.push(chunk)?)
    }

    /// Whether the rest of a message can be read to where it is collected.
    const fn is_plain(&self) -> bool {
        #[cfg(feature = "deflate")]
        return self.deflate.is_none();
        #[cfg(not(feature = "deflate"))]
        true
    }

    // ---- the run loop ----

    /// Goes round the run loop once. Up to so many messages are decoded.
    fn turn(&mut self, cx: &mut Context<'_>, most: usize) -> Turn {
        if self.stream.is_none() {
            return Turn::Over;
        }
        self.look_for_shutdown();
        self.write(cx);
        let came = self.read(cx, most).is_ready();
        let now = Instant::now();
        if (came || self.inbox.has_bytes()) && self.is_late(now) {
            return Turn::Again; // What is waited for may lie there.
        }
        let millis = millis(now);
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

    /// Closes if its server is shutting down.
    pub(crate) fn look_for_shutdown(&mut self) {
        let Some(end) = self.registered.as_mut().and_then(|known| known.take_end()) else {
            return;
        };
        // It may be closing already.
        let _ = self.session.close(end.code, &end.reason);
        if let Some(by) = end.by {
            self.session.close_by(millis(by));
        }
    }

    /// Whether the end of the connection is due already, and may wait for what has come before. That
    /// is so a few times only, for the peer could send for ever.
    fn is_late(&mut self, now: Instant) -> bool {
        let due = self.session.deadline(&self.settings.timeouts);
        let is_due = due.is_some_and(|(at, deadline)| {
            matches!(deadline, Deadline::Close | Deadline::Drain) && millis(now).has_reached(at)
        });
        self.late_reads += u8::from(is_due && self.late_reads < LATE_READS);
        is_due && self.late_reads < LATE_READS
    }

    /// The session is over, and so is the stream.
    fn finish(&mut self) {
        self.stream = None;
        self.registered = None;
        self.timer.disarm();
        self.inbox.clear_rest();
        self.is_cut |= self.out.left() > 0;
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
        let is_plain = self.is_plain();
        let Some(stream) = &mut self.stream else {
            return Poll::Pending;
        };
        if is_plain && let Some(mut message) = self.inbox.take_message() {
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
            self.inbox.set_between(step.ends_message());
            let last = match self.session.resolve(step, read) {
                Some(Event::Data(chunk)) if chunk.last => Some(chunk.kind),
                _ => None,
            };
            self.inbox.put_message(message);
            if let Some(kind) = last
                && let Err(error) = self.inbox.finish(kind)
            {
                self.session.fail(error.into());
            }
            if self.discards {
                self.inbox.clear_messages();
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
        // TLS without its own end: the closing handshake shows whether anything was cut off.
        let read = read.map(|read| match read {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(0),
            read => read,
        });
        match read {
            Poll::Ready(Ok(1..)) => self.session.received(now()),
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
            self.owes = true;
        }
    }

    /// Writes what is owed and what waits.
    fn write(&mut self, cx: &mut Context<'_>) {
        loop {
            self.transmit();
            let Some(stream) = &mut self.stream else {
                return;
            };
            if self.is_lost || self.out.left() == 0 {
                return;
            }
            let (taken, stop) = self.out.poll_write(stream, cx);
            let left = self.out.left();
            let now = now();
            self.session.sent(now, &self.settings.timeouts, taken, left);
            if let Poll::Ready(Err(error)) = stop {
                self.lose(error);
                // Else the peer's Close may still be there to be read.
                if self.is_eof {
                    self.session.lost();
                }
                return;
            }
            if left > 0 {
                return;
            }
            // There may not have been room for all that is owed.
            self.owes = false;
        }
    }

    /// Whether nothing waits to be written, neither what was accepted nor what is owed.
    fn is_written(&self) -> bool {
        self.out.left() == 0 && !self.session.wants_transmit()
    }

    /// Nothing can be written any more.
    fn lose(&mut self, error: io::Error) {
        let end = self.end.get_or_insert_default();
        end.error.get_or_insert_with(|| Lost::new(error));
        self.is_lost = true;
        self.out.clear();
        // It reads what is there, and no longer waits for more.
        self.wakers.wake_reader();
    }
}

/// Whether a Close begins here, between two messages.
fn begins_close(bytes: &[u8]) -> bool {
    let first = bytes.first().copied().unwrap_or_default();
    OpCode::new(first & 0x0F) == Some(OpCode::Close)
}

/// What an idle connection takes, beside its task: this, and its wakers and its deadline, some 130 bytes.
const _: () = assert!(
    size_of::<Engine<tokio::net::TcpStream, motews::Server>>() <= 248,
    "a connection takes at most 248 bytes"
);
