//! What a peer's time is: who is alive, and what is due when.
//!
//! RFC 6455 leaves time to the endpoints: a peer that trickles, goes silent or does not answer must
//! not hold a connection for ever (§7.1.1, §10.4). But neither "accepted by the operating system" nor
//! "acknowledged" means "read": a kernel may hold megabytes that a slow peer reads for minutes, and it
//! may acknowledge in bursts that are a minute apart. So no rule here rests on acknowledgements, and
//! none on "some progress in 30 s". Instead, **each byte that the transport takes buys the peer time**,
//! by one register, `busy`.
//!
//! # The rules
//! `busy` is the time until which the peer counts as busy with what the transport took.
//!
//! 1. **Bytes buy time.** When the transport takes `taken` bytes,
//!    `busy = min(base + taken / min_rate, now + max_grace)`. `base` is `busy` if bytes were waiting
//!    before, and otherwise the later of `busy` and `now`.
//! 2. **Write**: while bytes wait, the connection is due at `busy + write`.
//! 3. **Heard**: a byte received settles an outstanding ping and starts the time to the next one.
//! 4. **Own backpressure**: silence is no evidence against the peer while this side does not read.
//! 5. **Ping**: owed `keepalive` after a byte was heard last, one at a time, behind what waits.
//! 6. **Pong**: due `pong` after the later of `busy` and the time at which the ping has left. Bytes
//!    that are sent after the ping are behind it, and do not move this. Until the ping has left, only
//!    rule 2 holds.
//! 7. **Close**: what was accepted before it goes first. Due `close` after the later of `busy` and the
//!    time at which the Close has left. Nothing renews it. While the Close waits, pongs wait behind it.
//! 8. **Drain**: this side has ended its half, and drops what still comes: for at most [`DRAIN`] if the
//!    peer's Close has come, and otherwise until rule 7's time.
//! 9. **Idle**: due `idle` after a message last moved in either direction, the time that its bytes
//!    bought included. Pings and pongs are no messages.
//! 10. **Handshake**: the request has a fixed time. A response follows rules 2 and 8.
//!
//! # What follows
//! - A peer that reads at `min_rate` or faster loses nothing, if at most `max_grace` times its rate
//!   is hidden in buffers below.
//! - One that reads nothing ends at most `max_grace + write` after it took its last byte.
//! - One that vanished while nothing was sent ends `keepalive + pong` after its last byte. If `n` bytes
//!   were sent before the ping that nobody answered, that is at most `n / min_rate` later: 0.8 s for 100
//!   bytes, `max_grace` from 38 KB on. Raise `min_rate` to notice it sooner.

use crate::log::trace;

/// A point in time: milliseconds since any fixed point, the same for all calls.
///
/// The number wraps every 49.7 days, and may: `Millis(clock.as_millis() as u32)` is right. Two points
/// can be compared if they are less than 24.8 days apart, which is why there is no `Ord`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Millis(pub u32);

impl Millis {
    /// Returns the point in time that is so many milliseconds later.
    #[must_use]
    #[inline]
    pub const fn after(self, millis: u32) -> Self {
        Self(self.0.wrapping_add(millis))
    }

    /// Returns the milliseconds from `earlier` to this point; 0 if `earlier` is the later one.
    #[must_use]
    #[inline]
    pub const fn since(self, earlier: Self) -> u32 {
        let millis = self.0.wrapping_sub(earlier.0);
        if millis > u32::MAX >> 1 { 0 } else { millis }
    }

    /// Returns whether `at` has come at this point in time.
    #[must_use]
    #[inline]
    pub const fn has_reached(self, at: Self) -> bool {
        self.0.wrapping_sub(at.0) <= u32::MAX >> 1
    }

    /// Returns the later of both.
    #[must_use]
    #[inline]
    pub const fn max(self, other: Self) -> Self {
        if self.has_reached(other) { self } else { other }
    }

    /// Returns the earlier of both.
    #[must_use]
    #[inline]
    pub const fn min(self, other: Self) -> Self {
        if self.has_reached(other) { other } else { self }
    }
}

/// How long a connection waits for what. All times are in milliseconds; `None` waits for ever, and
/// 0 is due at once. Times above [`MAX`](Self::MAX), which is 12 days, count as that.
///
/// ```
/// use motews::Timeouts;
///
/// static PATIENT: Timeouts = Timeouts { keepalive: Some(120_000), ..Timeouts::DEFAULT };
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// For the whole opening handshake, which nothing renews. 10 s by default.
    // [HS22] [HC25]
    pub handshake: Option<u32>,
    /// From the last message, sent or received, to a Close with 1001. Pings and pongs are no
    /// messages. Off by default; an hour in [`SERVER`](Self::SERVER).
    pub idle: Option<u32>,
    /// From the last byte received to the ping that asks whether the peer is still there. A peer
    /// that sends anything is not pinged. 30 s by default; 0 counts as 1 ms.
    pub keepalive: Option<u32>,
    /// From that ping to the next byte received, whatever it is. 10 s by default.
    pub pong: Option<u32>,
    /// From when the Close of this side has left to the end of the connection. 5 s by default.
    // [CL21]
    pub close: Option<u32>,
    /// How long bytes may wait before the transport takes one of them, beyond the time that earlier
    /// bytes have bought. 30 s by default.
    pub write: Option<u32>,
    /// The rate at which a peer reads at the least, in bytes per second: each byte that the transport
    /// takes buys the peer `1 / min_rate` seconds. The sum is rounded up to whole milliseconds in each
    /// call of `sent`; on targets of 32 bits no more than 4.3 MB count in one call. 0 means that any
    /// byte buys [`max_grace`](Self::max_grace). 128 by default.
    pub min_rate: u32,
    /// The most time that bytes can buy, counted from now. It bounds how much may be hidden in the
    /// buffers below: `max_grace` times the peer's rate. 300 s by default.
    pub max_grace: u32,
}

impl Timeouts {
    /// The default of each, for a `const` or a `static`.
    pub const DEFAULT: Self = Self {
        handshake: Some(10_000),
        idle: None,
        keepalive: Some(30_000),
        pong: Some(10_000),
        close: Some(5_000),
        write: Some(30_000),
        min_rate: 128,
        max_grace: 300_000,
    };

    /// The defaults of a server with many connections: as [`DEFAULT`](Self::DEFAULT), and a connection
    /// without a message for an hour is closed.
    pub const SERVER: Self = Self {
        idle: Some(3_600_000),
        ..Self::DEFAULT
    };

    /// No deadline at all.
    pub const NONE: Self = Self {
        handshake: None,
        idle: None,
        keepalive: None,
        pong: None,
        close: None,
        write: None,
        min_rate: 128,
        max_grace: 300_000,
    };

    /// The longest time that counts, in milliseconds: 12 days.
    // Two of them, and a clock that runs backwards by hours, are less than half of what wraps.
    pub const MAX: u32 = 12 * 24 * 60 * 60 * 1000;

    /// The time that `taken` bytes buy.
    fn bought(&self, taken: usize) -> u32 {
        if taken == 0 {
            return 0;
        }
        // In words: a Cortex-M0 has no division, and the others none of 64 bits.
        let rate = self.min_rate as usize;
        let millis = taken
            .saturating_mul(1000)
            .saturating_add(rate.wrapping_sub(1))
            .checked_div(rate);
        clamp(millis.map_or(u32::MAX, |millis| millis.min(Self::MAX as usize) as u32))
    }
}

impl Default for Timeouts {
    fn default() -> Self {
        Self::DEFAULT
    }
}

const fn clamp(millis: u32) -> u32 {
    if millis < Timeouts::MAX {
        millis
    } else {
        Timeouts::MAX
    }
}

/// The time that a [`Pace`] or a [`Session`](crate::Session) waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Deadline {
    /// The opening handshake is to be complete ([`Timeouts::handshake`]).
    Handshake,
    /// The transport is to take some of the bytes that wait ([`Timeouts::write`]).
    Write,
    /// A byte is to be received, or a ping is owed ([`Timeouts::keepalive`]).
    Keepalive,
    /// A byte is to be received after that ping ([`Timeouts::pong`]).
    Pong,
    /// A message is to be sent or received ([`Timeouts::idle`]).
    Idle,
    /// The closing handshake is to be complete ([`Timeouts::close`]), or the time given to
    /// [`close_by`](crate::Session::close_by) has come.
    Close,
    /// The peer is to end the transport, after this side has ended its half: within [`DRAIN`], or
    /// [`Timeouts::close`] if that is shorter or if no Close of the peer's has come.
    Drain,
}

impl Deadline {
    /// Returns the name in lower case, for a log.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Handshake => "handshake",
            Self::Write => "write",
            Self::Keepalive => "keepalive",
            Self::Pong => "pong",
            Self::Idle => "idle",
            Self::Close => "close",
            Self::Drain => "drain",
        }
    }
}

impl core::fmt::Display for Deadline {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.name())
    }
}

/// The longest wait for the end of the transport when both Closes are through, in milliseconds.
pub const DRAIN: u32 = 1_000;

/// What is between the session and the transport.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outside {
    Nothing,
    /// A frame was written, and the caller has not reported yet what became of it.
    Unreported,
    /// Bytes wait.
    Waits,
}

/// What of a message is on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sending {
    Nothing,
    /// A part of one was sent since the transport was last written to.
    Begun,
    /// A part of one waits outside of the transport.
    Waits,
}

/// How a [`Session`](crate::Session) ended, as far as its [`Connection`](crate::Connection) does not
/// know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// The connection knows: by a Close or a violation.
    Known,
    TimedOut(Deadline),
    Lost,
    Aborted,
    NoEntropy,
}

/// Flat, for firmware: one byte to compare, and none to take apart first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// The opening handshake, from `since` on.
    Handshake,
    /// A response is being written.
    Response,
    /// Messages flow, and nothing is asked of the peer.
    Heard,
    /// Messages flow, and a keepalive ping is to be written.
    PingOwed,
    /// The ping waits outside, behind other bytes.
    PingWaits,
    /// The ping has left, at `since`, the time that earlier bytes bought included.
    PingLeft,
    /// The connection is open, and this side does not read.
    Paused,
    /// A Close was queued or received, or the connection failed: seen at `since`. This side's Close
    /// has not left.
    Closing,
    /// This side's Close has left, at `since`, the time that earlier bytes bought included.
    Closed,
    /// The connection ends at `since` at the latest, open or closing.
    ClosingBy,
    /// This side's half has ended. What comes is dropped, for ever.
    Draining,
    /// What comes is dropped, until `since`.
    DrainingBy,
    /// Nothing is waited for.
    Over,
}

impl Phase {
    /// Messages flow, with nothing known of the end.
    pub(crate) const fn is_open(self) -> bool {
        matches!(
            self,
            Self::Heard | Self::PingOwed | Self::PingWaits | Self::PingLeft | Self::Paused
        )
    }

    pub(crate) const fn is_draining(self) -> bool {
        matches!(self, Self::Draining | Self::DrainingBy)
    }
}

/// The time of one connection: 20 bytes, without a clock.
///
/// A [`Session`](crate::Session) has one, and it serves alone for what comes before a session: the
/// opening handshake, and a response that is no upgrade. The [`Timeouts`] stay with the caller, who
/// may have many connections with the same ones.
///
/// # Calls
/// - [`sent`](Self::sent) after each write, also one that took nothing
/// - [`responding`](Self::responding) when a response is to be written instead of an upgrade, or the
///   upgrade is: the request's time is over
/// - [`draining`](Self::draining) when a response has left and this side's half has ended
/// - [`poll`](Self::poll) when [`poll_at`](Self::poll_at) says so: the [`Deadline`] that has passed
///   ends the connection, and comes again at each call
///
/// A `now` that is earlier than one before (two threads, two looks at the clock) is taken for the
/// later one.
///
/// ```
/// use motews::{Deadline, Millis, Pace, Timeouts};
///
/// let mut pace = Pace::new(Millis(0)); // a client has connected
/// assert_eq!(pace.poll_at(&Timeouts::DEFAULT), Some(Millis(10_000)));
/// assert_eq!(pace.poll(Millis(10_000), &Timeouts::DEFAULT), Some(Deadline::Handshake));
///
/// pace.responding(Millis(11_000)); // a page of 10,000 bytes, of which 6,400 are taken
/// pace.sent(Millis(11_000), &Timeouts::DEFAULT, 6_400, 3_600);
/// // They buy 50 s, and then the rest may wait for 30 s.
/// assert_eq!(pace.poll_at(&Timeouts::DEFAULT), Some(Millis(91_000)));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// When a byte was received last.
    pub(crate) heard: Millis,
    /// Until when the peer is busy with what the transport took.
    pub(crate) busy: Millis,
    /// When a message was sent or received last, the time that its bytes bought included.
    pub(crate) message: Millis,
    pub(crate) since: Millis,
    pub(crate) phase: Phase,
    /// Why the session is over.
    pub(crate) cause: Cause,
    pub(crate) outside: Outside,
    pub(crate) sending: Sending,
}

const _: () = assert!(size_of::<Pace>() <= 20, "a pace is at most 20 bytes");

impl Pace {
    /// Returns the pace of a transport that is connected now: the opening handshake begins.
    #[must_use]
    pub const fn new(now: Millis) -> Self {
        Self {
            heard: now,
            busy: now,
            message: now,
            since: now,
            phase: Phase::Handshake,
            cause: Cause::Known,
            outside: Outside::Nothing,
            sending: Sending::Nothing,
        }
    }

    /// Begins a response: from now on rule 2 holds, in place of the fixed time of the request.
    pub const fn responding(&mut self, now: Millis) {
        self.phase = Phase::Response;
        self.busy = self.busy.max(now);
    }

    /// Records that the transport took `taken` bytes, and that `left` bytes wait outside of it.
    /// To be called after each write, also after one that took nothing.
    ///
    /// `taken` are acknowledged bytes if the transport knows, and accepted ones otherwise.
    pub fn sent(&mut self, now: Millis, timeouts: &Timeouts, taken: usize, left: usize) {
        let was_waiting = self.is_waiting();
        self.leave(left);
        let is_waiting = self.is_waiting();
        if taken > 0 || (is_waiting && !was_waiting) {
            let base = match was_waiting {
                true => self.busy,
                false => self.busy.max(now),
            };
            let busy = base.after(timeouts.bought(taken));
            self.busy = busy.min(now.after(clamp(timeouts.max_grace)));
            if is_waiting {
                trace!(
                    "write: {} until {}",
                    if was_waiting { "renewed" } else { "armed" },
                    self.busy.0
                );
            }
        }
    }

    /// So many bytes wait.
    pub(crate) const fn leave(&mut self, left: usize) {
        self.outside = if left > 0 {
            Outside::Waits
        } else {
            Outside::Nothing
        };
    }

    /// A frame was written to the caller's output.
    pub(crate) const fn write(&mut self) {
        if let Outside::Nothing = self.outside {
            self.outside = Outside::Unreported;
        }
    }

    /// Nothing is between the session and the transport.
    pub(crate) const fn is_flushed(&self) -> bool {
        matches!(self.outside, Outside::Nothing)
    }

    /// Bytes wait outside of the transport.
    pub(crate) const fn is_waiting(&self) -> bool {
        matches!(self.outside, Outside::Waits)
    }

    /// Begins to drain: the response has left, and this side's half has ended (rule 8). Another call
    /// has no effect.
    pub fn draining(&mut self, now: Millis, timeouts: &Timeouts) {
        if self.phase.is_draining() {
            return;
        }
        let by = timeouts
            .close
            .map(|close| now.max(self.busy).after(clamp(close)));
        self.drain_until(by);
    }

    pub(crate) fn drain_until(&mut self, by: Option<Millis>) {
        self.phase = Phase::Draining;
        if let Some(by) = by {
            self.phase = Phase::DrainingBy;
            self.since = by;
            trace!("drain: armed until {}", by.0);
        }
    }

    /// Returns the deadline that has passed at `now`, if one has. The connection ends then.
    #[inline(always)] // smaller on a Cortex-M
    #[must_use]
    pub fn poll(&self, now: Millis, timeouts: &Timeouts) -> Option<Deadline> {
        let (at, deadline) = self.next(timeouts)?;
        now.has_reached(at).then_some(deadline)
    }

    /// Returns when [`poll`](Self::poll) has something to return, unless something is sent or
    /// received before; `None`: never.
    #[must_use]
    pub fn poll_at(&self, timeouts: &Timeouts) -> Option<Millis> {
        self.next(timeouts).map(|(at, _)| at)
    }

    /// What is due next, and when.
    pub(crate) fn next(&self, timeouts: &Timeouts) -> Option<(Millis, Deadline)> {
        let phase = self.phase;
        let (from, timeout, deadline) = match phase {
            Phase::Handshake => (self.since, &timeouts.handshake, Deadline::Handshake),
            Phase::Heard => (self.heard, &timeouts.keepalive, Deadline::Keepalive),
            Phase::PingLeft => (self.since, &timeouts.pong, Deadline::Pong),
            // Rule 7: until the Close has left, only rule 2 holds.
            Phase::Closing if self.is_flushed() => {
                let from = self.since.max(self.busy);
                (from, &timeouts.close, Deadline::Close)
            }
            Phase::Closed => (self.since, &timeouts.close, Deadline::Close),
            Phase::ClosingBy => (self.since, &Some(0), Deadline::Close),
            Phase::DrainingBy => (self.since, &Some(0), Deadline::Drain),
            // Rules 4 and 6: no deadline of silence.
            _ => (self.since, &None, Deadline::Drain),
        };
        let mut next = earlier(None, from, timeout, deadline);
        let is_open = phase.is_open();
        if is_open && phase != Phase::Paused {
            next = earlier(next, self.message, &timeouts.idle, Deadline::Idle);
        }
        if phase == Phase::Response || (self.is_waiting() && (is_open || phase == Phase::Closing)) {
            next = earlier(next, self.busy, &timeouts.write, Deadline::Write);
        }
        next
    }
}

/// `next`, or this deadline if it is earlier. Of two at once the second counts, which ends more.
#[cfg_attr(not(target_pointer_width = "64"), inline(never))] // smaller on a Cortex-M
fn earlier(
    next: Option<(Millis, Deadline)>,
    from: Millis,
    timeout: &Option<u32>,
    deadline: Deadline,
) -> Option<(Millis, Deadline)> {
    let Some(timeout) = *timeout else {
        return next;
    };
    let timeout = match deadline {
        // In no time at all, unread input would call for one ping after the other.
        Deadline::Keepalive => timeout.max(1),
        _ => timeout,
    };
    let at = from.after(clamp(timeout));
    match next {
        Some((first, _)) if !first.has_reached(at) => next,
        _ => Some((at, deadline)),
    }
}
