//! The run loop of a connection: a session, its stream, and what waits on both sides.
//!
//! Nothing here waits: each call goes as far as the stream lets it, and returns `Pending` when both the
//! stream and the timer know whom to wake.

mod fragments;
mod parts;
mod recv;
mod send;
mod tasks;

use core::pin::Pin;
use core::task::{Context, Poll, Waker};
use core::time::Duration;
use std::io;
use std::sync::{Arc, LazyLock};

#[cfg(feature = "deflate")]
use motews::deflate::DeflateParams;
use motews::handshake::Agreed;
use motews::{
    ConnectionConfig, ControlSlots, ControlStorage, Deadline, Ended, Limits, MAX_CONTROL_LEN,
    Millis, Pace, Role, Session, State, Timeouts,
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

#[cfg(feature = "deflate")]
use crate::deflate::Deflate;
use crate::error::Lost;
use crate::handle::Registered;
use crate::inbox::Inbox;
use crate::out::Out;
use crate::timer::Timer;
use crate::wakers::Wakers;
use fragments::Behind;
pub(crate) use fragments::Fragment;
use parts::Parts;

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
    match instant.checked_duration_since(*EPOCH) {
        Some(after) => Millis(whole_millis(after)),
        None => Millis(0u32.wrapping_sub(whole_millis(EPOCH.saturating_duration_since(instant)))),
    }
}

/// It wraps, as [`Millis`] may. `Duration::as_millis` divides 128 bits.
const fn whole_millis(duration: Duration) -> u32 {
    let seconds = duration.as_secs() as u32;
    seconds
        .wrapping_mul(1000)
        .wrapping_add(duration.subsec_millis())
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

/// What is known of the end, and who may bring it about.
#[derive(Debug, Default)]
struct End {
    reason: String,
    error: Option<Lost>,
    registered: Option<Registered>,
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
    /// The only task that has waited so far: see [`Engine::is_alone`].
    task: Option<Waker>,
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
    /// Something was read, and the session does not know yet: see [`Engine::clock`].
    has_heard: bool,
    /// Nothing more can be read.
    is_eof: bool,
    /// What was read is of interest to nobody: the session drains.
    drains: bool,
    /// There is room for what is read, as the session knows it.
    reads: bool,
    /// Others may receive while one sends.
    is_split: bool,
    /// Several tasks have waited.
    is_shared: bool,
    /// The application receives no more.
    discards: bool,
    /// A message has begun that is sent in fragments.
    streams: bool,
    late_reads: u8,
    /// The end was returned once.
    is_told: bool,
    end: Option<Box<End>>,
    /// The application takes messages in parts.
    parts: Option<Box<Parts>>,
    /// Messages that are not frames yet.
    behind: Option<Box<Behind>>,
    #[cfg(feature = "deflate")]
    deflate: Option<Box<Deflate>>,
}

impl<S, R> Engine<S, R> {
    pub(crate) fn wakers(&self) -> Arc<Wakers> {
        self.wakers.clone()
    }
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
        inbox.keep(leftover.to_vec(), 0);
        Self {
            session: Session::with_pace(role, agreed.config, pace, now()),
            stream: Some(stream),
            settings,
            timer: Timer::default(),
            wakers: Arc::default(),
            task: None,
            inbox,
            out: Out::default(),
            ahead: 0,
            half: Half::Open,
            is_lost: false,
            is_cut: false,
            owes: false,
            has_heard: false,
            is_eof: false,
            drains: false,
            reads: true,
            is_split: false,
            is_shared: false,
            discards: false,
            streams: false,
            late_reads: 0,
            is_told: false,
            end: None,
            parts: None,
            behind: None,
            #[cfg(feature = "deflate")]
            deflate: agreed.deflate.and_then(Deflate::new),
        }
    }

    /// Lets its server shut it down.
    pub(crate) fn register(&mut self, mut registered: Registered) {
        registered.open(&self.wakers);
        self.end.get_or_insert_default().registered = Some(registered);
    }

    /// Looks at the clock. What was read since the last look counts as received now: a look takes 50 ns, and
    /// most messages that come are answered, which takes another one. In between this side does not read,
    /// so the peer's silence means nothing.
    fn clock(&mut self) -> (Instant, Millis) {
        let now = Instant::now();
        let millis = millis(now);
        if core::mem::take(&mut self.has_heard) {
            self.session.received(millis);
        }
        (now, millis)
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
        self.out.waiting() + self.behind.as_ref().map_or(0, |behind| behind.len())
    }

    fn is_full(&self) -> bool {
        let is_full = self.inbox.cost() >= self.settings.max_inbound && self.inbox.len() > 0;
        !self.discards && (is_full || self.is_full_of_parts())
    }

    /// Whether another message may be taken.
    fn has_room(&self) -> bool {
        !self.streams && self.has_room_for_fragment()
    }

    // ---- the run loop ----

    /// Goes round the run loop once. Up to so many messages are decoded.
    ///
    /// It is inlined, and so is all that lies between a read and the write of its reply: an echo of single
    /// messages takes half a percent less.
    #[inline(always)]
    fn turn(&mut self, cx: &mut Context<'_>, most: usize) -> Turn {
        if self.stream.is_none() {
            return Turn::Over;
        }
        self.look_for_shutdown();
        self.write(cx);
        let came = self.read(cx, most).is_ready();
        if self.is_quiet() {
            if came && self.inbox.has_some() {
                return Turn::Again; // Nothing is due that does not wait for the next turn.
            }
            if !came && self.reads && !self.inbox.has_some() && self.is_armed() {
                return Turn::Pending;
            }
        }
        let (now, millis) = self.clock();
        if (came || self.inbox.has_bytes()) && self.is_late(now) {
            return Turn::Again; // What is waited for may lie there.
        }
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
            self.timer.arm(now + left, at, now, &self.wakers);
        }
        Turn::Pending
    }

    /// Whether the session waits for nothing but the peer's messages. If something has just come, no
    /// deadline can have passed.
    #[inline]
    fn is_quiet(&self) -> bool {
        self.is_written() && !self.is_eof && self.session.connection().state() == State::Open
    }

    /// Whether the timer wakes this connection in time. The clock is looked at only if something was read
    /// since it was last.
    #[inline]
    fn is_armed(&mut self) -> bool {
        if self.has_heard {
            self.clock();
        }
        let at = self.session.poll_at(&self.settings.timeouts);
        self.timer.is_armed(at, &self.wakers)
    }

    /// Closes if its server is shutting down.
    #[inline]
    pub(crate) fn look_for_shutdown(&mut self) {
        if self.end.is_some() {
            self.shut_down();
        }
    }

    fn shut_down(&mut self) {
        let registered = self.end.as_mut().and_then(|end| end.registered.as_mut());
        let Some(end) = registered.and_then(Registered::take_end) else {
            return;
        };
        // It may be closing already.
        let _ = self.close_behind(end.code, &end.reason);
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
        if let Some(end) = &mut self.end {
            end.registered = None;
        }
        self.timer.disarm();
        self.inbox.clear_rest();
        self.is_cut |= self.out.left() > 0 || self.behind.is_some();
        self.behind = None;
        self.out.clear();
        self.wakers.wake_all();
    }

    // ---- write ----

    /// Appends what the protocol owes the peer, once most of what was appended before has left: a
    /// peer that does not read gets no more than the newest pong.
    // [CT07]
    #[inline]
    fn transmit(&mut self) {
        if self.session.wants_transmit() {
            self.append_owed();
        }
    }

    #[cold]
    fn append_owed(&mut self) {
        while self.session.wants_transmit() && !self.is_lost && self.out.waiting() < OWED_MAX {
            let mut frame = [0; MAX_CONTROL_LEN];
            // Without a key the session ends, which the next poll finds.
            let len = self.session.poll_transmit(&mut frame).unwrap_or(0);
            if len == 0 {
                break;
            }
            self.out.push_owed(&frame[..len]);
            self.owes = true;
        }
    }

    /// Writes what is owed and what waits. Returns whether it has written everything, and the connection is
    /// open and goes on.
    #[inline(always)]
    fn write(&mut self, cx: &mut Context<'_>) -> bool {
        loop {
            self.transmit();
            self.promote();
            let Some(stream) = &mut self.stream else {
                return false;
            };
            if self.is_lost || self.out.left() == 0 {
                return false;
            }
            let (taken, stop) = self.out.poll_write(stream, cx);
            let left = self.out.left();
            let (_, now) = self.clock();
            self.session.sent(now, &self.settings.timeouts, taken, left);
            if let Poll::Ready(Err(error)) = stop {
                self.lose(error);
                // Else the peer's Close may still be there to be read.
                if self.is_eof {
                    self.session.lost();
                }
                return false;
            }
            if left > 0 {
                return false;
            }
            // There may not have been room for all that is owed.
            self.owes = false;
            // Nobody may look at it for long.
            self.out.release();
            if self.is_quiet() {
                return true;
            }
        }
    }

    /// Whether nothing waits to be written, neither what was accepted nor what is owed.
    #[inline]
    fn is_written(&self) -> bool {
        self.out.left() == 0 && self.behind.is_none() && !self.session.wants_transmit()
    }

    /// Nothing can be written any more.
    fn lose(&mut self, error: io::Error) {
        let end = self.end.get_or_insert_default();
        end.error.get_or_insert_with(|| Lost::new(error));
        self.is_lost = true;
        self.out.clear();
        self.behind = None;
        // It reads what is there, and no longer waits for more.
        self.wakers.wake_reader();
    }
}

/// What an idle connection takes, beside its task: this, its wakers and its deadline, some 110 bytes.
const _: () = assert!(
    size_of::<Engine<tokio::net::TcpStream, motews::Server>>() <= 264,
    "a connection takes at most 264 bytes"
);
