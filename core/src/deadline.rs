//! Deadlines, fed with the time: nothing here has a clock.
//!
//! RFC 6455 leaves time to the endpoints; a peer that trickles, goes silent or does not answer
//! must not hold a connection for ever (§7.1.1, §10.4). The time is a number of [`Millis`] since
//! any fixed point, which must not go backwards.

use core::time::Duration;

/// A point in time: milliseconds since any fixed point, the same for all calls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Millis(pub u64);

impl Millis {
    /// The point in time `duration` later; the end of time where that is beyond it, or where
    /// `duration` is more than 2^32 seconds, 136 years.
    #[must_use]
    #[inline(never)] // 64-bit arithmetic, in two places of a `Deadlines`: smaller on a Cortex-M
    pub const fn after(self, duration: Duration) -> Self {
        let secs = duration.as_secs();
        if secs > u32::MAX as u64 {
            return Self(u64::MAX);
        }
        let millis = secs as u32 as u64 * 1000 + duration.subsec_millis() as u64;
        Self(self.0.saturating_add(millis))
    }

    /// How long it is from `earlier` to here; zero where it is not earlier.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

/// How long a connection waits for what; `None` waits for ever. Fractions of a millisecond are
/// not counted, and zero is due at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// For the whole opening handshake, however much of it trickles in.
    /// 10 seconds by default.
    // [HS22] [HC25]
    pub handshake: Option<Duration>,
    /// For the next message of the peer. Pings and pongs do not count. Off by default.
    pub idle: Option<Duration>,
    /// From the last byte received to the ping that asks whether the peer is still there.
    /// 30 seconds by default.
    pub keepalive: Option<Duration>,
    /// From that ping to the next byte received, whatever it is. 10 seconds by default.
    pub pong: Option<Duration>,
    /// From this side's Close, or a failure, to the end of the connection, whatever is received in
    /// between. 5 seconds by default.
    // [CL21]
    pub close: Option<Duration>,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl Timeouts {
    /// The default of each, for a `const` or a `static`.
    pub const DEFAULT: Self = Self {
        handshake: Some(Duration::from_secs(10)),
        idle: None,
        keepalive: Some(Duration::from_secs(30)),
        pong: Some(Duration::from_secs(10)),
        close: Some(Duration::from_secs(5)),
    };

    /// No deadline at all.
    pub const NONE: Self = Self {
        handshake: None,
        idle: None,
        keepalive: None,
        pong: None,
        close: None,
    };
}

/// What is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Due {
    /// Send a ping. Told once; the time for its pong runs from then on.
    Ping,
    /// The opening handshake took too long: drop the transport.
    Handshake,
    /// No message came: close, with [`GOING_AWAY`](crate::CloseCode::GOING_AWAY) for example.
    Idle,
    /// The peer is not there any more: drop the transport.
    Pong,
    /// The closing handshake took too long: drop the transport.
    Close,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Handshake,
    Open,
    Closing,
}

/// The deadlines of one connection. The [`Timeouts`] stay with the caller, who may have many
/// connections with the same ones.
///
/// ```
/// use core::time::Duration;
/// use motews::{Deadlines, Due, Millis, Timeouts};
///
/// let timeouts = Timeouts { keepalive: Some(Duration::from_secs(30)), ..Timeouts::default() };
/// let mut deadlines = Deadlines::new(Millis(0));
/// deadlines.opened(Millis(100));
/// assert_eq!(deadlines.next(&timeouts), Some(Millis(30_100)));
/// assert_eq!(deadlines.poll(Millis(30_099), &timeouts), None);
/// assert_eq!(deadlines.poll(Millis(30_100), &timeouts), Some(Due::Ping));
/// deadlines.received(Millis(30_150)); // the pong, or anything else
/// assert_eq!(deadlines.next(&timeouts), Some(Millis(60_150)));
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Deadlines {
    phase: Phase,
    /// A ping was sent that nothing has answered yet.
    pinged: bool,
    /// When the phase began, something was received last, or that ping was sent: the newest.
    since: Millis,
    /// When a message was received last.
    message: Millis,
}

impl Deadlines {
    /// The transport is connected; the opening handshake begins.
    #[must_use]
    pub const fn new(now: Millis) -> Self {
        Self {
            phase: Phase::Handshake,
            pinged: false,
            since: now,
            message: now,
        }
    }

    /// The opening handshake is complete.
    pub const fn opened(&mut self, now: Millis) {
        *self = Self {
            phase: Phase::Open,
            ..Self::new(now)
        };
    }

    /// Something was received, no matter what.
    pub const fn received(&mut self, now: Millis) {
        // Other phases end when they must, whatever comes [HS22] [CL21]
        if matches!(self.phase, Phase::Open) {
            self.since = now;
            self.pinged = false;
        }
    }

    /// A message was received, or a part of one.
    pub const fn received_message(&mut self, now: Millis) {
        self.message = now;
    }

    /// The connection is closing or has failed. Only the first call counts.
    // [CL21]
    pub fn closing(&mut self, now: Millis) {
        if self.phase != Phase::Closing {
            *self = Self {
                phase: Phase::Closing,
                ..Self::new(now)
            };
        }
    }

    /// When to call [`poll`](Self::poll) next, unless something is received before; `None`: never.
    #[must_use]
    pub fn next(&self, timeouts: &Timeouts) -> Option<Millis> {
        self.earliest(timeouts).map(|(at, _)| at)
    }

    /// What is due at `now`, if anything is. What ends the connection is told again and again.
    pub fn poll(&mut self, now: Millis, timeouts: &Timeouts) -> Option<Due> {
        let (_, due) = self.earliest(timeouts).filter(|(at, _)| *at <= now)?;
        if due == Due::Ping {
            self.pinged = true;
            self.since = now;
        }
        Some(due)
    }

    fn earliest(&self, timeouts: &Timeouts) -> Option<(Millis, Due)> {
        let (timeout, due) = match (self.phase, self.pinged) {
            (Phase::Handshake, _) => (timeouts.handshake, Due::Handshake),
            (Phase::Closing, _) => (timeouts.close, Due::Close),
            (Phase::Open, true) => (timeouts.pong, Due::Pong),
            (Phase::Open, false) => (timeouts.keepalive, Due::Ping),
        };
        let earliest = timeout.map(|timeout| (self.since.after(timeout), due));
        if self.phase == Phase::Open
            && let Some(idle) = timeouts.idle
        {
            let at = self.message.after(idle);
            if earliest.is_none_or(|(first, _)| at <= first) {
                return Some((at, Due::Idle));
            }
        }
        earliest
    }
}
