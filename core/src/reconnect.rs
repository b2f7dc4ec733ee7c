//! When a client comes back (RFC 6455 §7.2.3): [`Reconnect`].
//!
//! A client that lost its server, and ten thousand others that lost it at the same moment, must not
//! all return at once, nor knock without a pause while the server stays away. [`Reconnect`] computes
//! when the next attempt is due, from what ended the last one. It has no clock, no socket and no
//! generator of its own: time and randomness are given to each call.
//!
//! ```
//! use motews::{Ended, Entropy, EntropyError, Millis};
//! use motews::reconnect::{Backoff, Reconnect, Retry};
//! # struct Hardware;
//! # impl Entropy for Hardware {
//! #     fn fill(&mut self, bytes: &mut [u8]) -> Result<(), EntropyError> { bytes.fill(0); Ok(()) }
//! # }
//!
//! let mut reconnect = Reconnect::new(Backoff::DEFAULT);
//! reconnect.opened(Millis(1_000)); // the opening handshake was successful
//! match reconnect.ended(Ended::Lost, None, Millis(61_000), &mut Hardware) {
//!     Retry::At(at) => assert!(at.since(Millis(61_000)) <= 5_000), // sleep until then, and connect
//!     Retry::Never => unreachable!("a lost transport is worth another attempt"),
//! }
//! ```
//!
//! # What the ends mean
//! | what ended the attempt or the connection | next attempt |
//! |---|---|
//! | 1001, whoever began to close (this side's [idle](Timeouts::idle) time, for example); 1005, 1006, 1011, 1014 and private codes; the transport lost, a timeout, no entropy | [soon](Backoff::first), then [backoff](Backoff) |
//! | [`Cause::Unreachable`]: no address, a refused port, no answer to TCP | backoff; the first time [soon](Backoff::first) |
//! | 1012, service restart | after 5 s, or [`first_minimum`](Backoff::first_minimum) if that is longer, and a random time up to 25 s: by default 5 to 30 s, as the IANA registry asks; then backoff |
//! | status 408, 425, 429, 5xx | backoff, and not before `Retry-After` |
//! | 1013, try again later; [`Cause::Tls`]; a response that is wrong; a protocol violation by either side (1002, 1003, 1007, 1009) | the longest wait of the backoff: the same is likely to happen again |
//! | 1000, if the peer began to close; 1008; 1010; any other status: 401, 403, 404, 3xx, 200 | never, unless [`persist`](Backoff::persist): repeating changes nothing |
//! | any other Close that this side began; [`Ended::Aborted`]; [`Cause::Local`] | never |
//!
//! *Soon* is after [`first_minimum`](Backoff::first_minimum) and a random time up to
//! [`first`](Backoff::first).
//!
//! An application that closes a connection because it wants none does not ask.

use core::fmt;

use crate::close_code::{CloseCode, Side};
use crate::ended::Ended;
use crate::handshake::{ConfigError, ResponseEvent};
use crate::pace::{Millis, Timeouts};
use crate::role::Entropy;

/// The shortest and the longest wait after 1012, if `first_minimum` is no longer, by the
/// [registry of close codes](https://www.iana.org/assignments/websocket/websocket.xhtml).
const RESTART: (u32, u32) = (5_000, 30_000);

/// How long to wait between attempts. Times are in milliseconds; those above
/// [`Timeouts::MAX`](crate::Timeouts::MAX), which is 12 days, count as that.
///
/// The first attempt after a connection that was [`stable`](Self::stable) follows after `first_minimum` and
/// a random time up to [`first`](Self::first). Attempt `n` after that, from 1 on, follows after
/// `minimum` × 2<sup>min(n - 1, doublings)</sup>, and a random time up to `range`.
///
/// OCPP counts in another way: see [`ocpp`](Self::ocpp).
///
/// ```
/// use motews::reconnect::Backoff;
///
/// static METER: Backoff = Backoff { minimum: 10_000, persist: true, ..Backoff::DEFAULT };
/// static STATION: Backoff = Backoff::ocpp(10_000, 5, 30_000);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Backoff {
    /// The longest random part of the wait before the first attempt. 5 s by default.
    pub first: u32,
    /// The wait before the first attempt, without its random part. 0 by default.
    pub first_minimum: u32,
    /// The wait before the second attempt, without its random part. 1 s by default.
    pub minimum: u32,
    /// How often that wait is doubled. 6 times by default: up to 64 s.
    pub doublings: u8,
    /// The longest random part of each wait after the first. 10 s by default.
    pub range: u32,
    /// How long a connection has to have been open to count as a success. One that ends sooner is one
    /// more failed attempt, so a server that accepts and closes at once is not hammered. 30 s by default.
    pub stable: u32,
    /// The longest `Retry-After` that is obeyed. An hour by default.
    pub max_retry_after: u32,
    /// Whether to go on, after the longest wait, where repeating is not likely to help: for a device
    /// that nobody restarts. Off by default.
    pub persist: bool,
}

impl Backoff {
    /// The default of each, for a `const` or a `static`.
    pub const DEFAULT: Self = Self {
        first: 5_000,
        first_minimum: 0,
        minimum: 1_000,
        doublings: 6,
        range: 10_000,
        stable: 30_000,
        max_retry_after: 60 * 60 * 1000,
        persist: false,
    };

    /// Returns OCPP's rules (2.0.1, part 4, §5.3) for the values of its variables `RetryBackOffWaitMinimum`
    /// and `RetryBackOffRandomRange`, in milliseconds here and in seconds there, and
    /// `RetryBackOffRepeatTimes`: before the first attempt the station waits for `wait_minimum` and a random time
    /// up to `random_range`; after each attempt that fails, `wait_minimum` is doubled, `repeat_times` in all. It
    /// goes on for ever, and a connection counts as a success from its opening on.
    ///
    /// The rest is as in the [table](crate::reconnect): after 1000, or a 401, the wait is the longest.
    pub const fn ocpp(wait_minimum: u32, repeat_times: u8, random_range: u32) -> Self {
        // The second attempt is the first that is doubled.
        let (minimum, doublings) = match repeat_times.checked_sub(1) {
            Some(doublings) => (wait_minimum.saturating_mul(2), doublings),
            None => (wait_minimum, 0),
        };
        Self {
            first: random_range,
            first_minimum: wait_minimum,
            minimum,
            doublings,
            range: random_range,
            stable: 0,
            persist: true,
            ..Self::DEFAULT
        }
    }

    /// Returns the wait after so many doublings, without its random part.
    const fn wait(&self, doublings: u8) -> u32 {
        match 1_u32.checked_shl(doublings as u32) {
            Some(factor) => self.minimum.saturating_mul(factor),
            None if self.minimum == 0 => 0,
            None => u32::MAX,
        }
    }
}

impl Default for Backoff {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// What ended an attempt to connect, or a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Cause {
    /// A connection ended, or the opening handshake did.
    Ended(Ended),
    /// There was no TCP connection: the name has no address, the port is closed, or nobody answers.
    Unreachable,
    /// The TLS handshake failed. Certificates are renewed, and clocks are set, so this is not final.
    Tls,
    /// A mistake on this side, which no repetition mends: a malformed URL, TLS that is not compiled in.
    Local,
}

impl From<ConfigError> for Cause {
    fn from(error: ConfigError) -> Self {
        match error {
            ConfigError::Entropy => Self::Ended(Ended::NoEntropy),
            _ => Self::Local,
        }
    }
}

impl From<Ended> for Cause {
    fn from(ended: Ended) -> Self {
        Self::Ended(ended)
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ended(ended) => ended.fmt(f),
            Self::Unreachable => f.write_str("the server cannot be reached"),
            Self::Tls => f.write_str("the TLS handshake failed"),
            Self::Local => f.write_str("a mistake on this side"),
        }
    }
}

/// When to try again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Retry {
    /// At this time.
    At(Millis),
    /// Not until something has changed: a URL, credentials, or the application's mind.
    Never,
}

/// Returns the value of a `Retry-After` header in milliseconds, as [`Reconnect::ended`] takes it. `None`
/// if the event is another one, or the value is no number of seconds. **A date is not understood**, for
/// it takes a clock that knows the date.
#[must_use]
pub fn retry_after(event: &ResponseEvent<'_>) -> Option<u32> {
    let header = match event {
        ResponseEvent::Header(header) if header.is("Retry-After") => header,
        _ => return None,
    };
    if !header.first || !header.last || header.value.is_empty() {
        return None;
    }
    let mut seconds: u32 = 0;
    for digit in header.value {
        let digit = u32::from(digit.wrapping_sub(b'0'));
        if digit > 9 {
            return None;
        }
        seconds = seconds.saturating_mul(10).saturating_add(digit);
    }
    Some(seconds.saturating_mul(1000))
}

/// What a [`Cause`] means for the next attempt.
enum Advice {
    /// After the wait that is due.
    Backoff,
    /// The server restarts: after a wait of its own.
    Restart,
    /// After the longest wait.
    Longest,
    /// Never, but for those who persist.
    Hopeless,
    /// Never: this side wants it so, or has made a mistake.
    Wanted,
}

/// Computes when a client connects again. 12 bytes beside its [`Backoff`].
///
/// Call [`opened`](Self::opened) when an opening handshake was successful, and [`ended`](Self::ended) when an
/// attempt failed or a connection ended. Both may be called in any order, any number of times.
#[derive(Clone, Copy, Debug)]
pub struct Reconnect {
    backoff: Backoff,
    /// Attempts that failed since the last success.
    failures: u8,
    /// There is to be no other attempt.
    is_closing: bool,
    opened: Option<Millis>,
}

impl Reconnect {
    /// A client that has not connected yet. Its first attempt may be made at once.
    #[must_use]
    pub const fn new(backoff: Backoff) -> Self {
        Self {
            backoff,
            failures: 0,
            is_closing: false,
            opened: None,
        }
    }

    /// Notes that a connection is open.
    pub const fn opened(&mut self, now: Millis) {
        self.opened = Some(now);
    }

    /// Notes that the application closes the connection, and wants none after it: however it ends,
    /// [`ended`](Self::ended) returns [`Retry::Never`], until it [reopens](Self::reopen).
    pub const fn close(&mut self) {
        self.is_closing = true;
    }

    /// Returns how many attempts have failed since the last connection that was
    /// [`stable`](Backoff::stable); at most 255.
    #[must_use]
    pub const fn failures(&self) -> u8 {
        self.failures
    }

    /// Forgets all failures: for a link that came up, or credentials that were changed.
    pub const fn reset(&mut self) {
        self.failures = 0;
        self.opened = None;
    }

    /// Forgets all failures, and that the application has [closed](Self::close): it wants a connection
    /// again.
    pub const fn reopen(&mut self) {
        self.reset();
        self.is_closing = false;
    }

    /// Returns when the next attempt is due after this end. `retry_after` is the value of the
    /// response's `Retry-After` in milliseconds, counted from `now`.
    ///
    /// If `entropy` fails, the random part of the wait is as long as it can be.
    pub fn ended(
        &mut self,
        cause: impl Into<Cause>,
        retry_after: Option<u32>,
        now: Millis,
        entropy: &mut impl Entropy,
    ) -> Retry {
        let backoff = self.backoff;
        if let Some(opened) = self.opened.take()
            // Not `since`: a connection may be open for longer than two points can be compared.
            && now.0.wrapping_sub(opened.0) >= backoff.stable
        {
            self.failures = 0;
        }
        let failures = self.failures;
        self.failures = failures.saturating_add(1);
        let longest = (backoff.wait(backoff.doublings), backoff.range);
        // [HC23]
        let (least, random) = match advice(cause.into()) {
            _ if self.is_closing => return Retry::Never,
            Advice::Wanted => return Retry::Never,
            Advice::Hopeless if !backoff.persist => return Retry::Never,
            Advice::Hopeless | Advice::Longest => longest,
            Advice::Restart if failures == 0 => {
                let (least, most) = RESTART;
                (least.max(backoff.first_minimum), most.saturating_sub(least))
            }
            Advice::Backoff if failures == 0 => (backoff.first_minimum, backoff.first),
            Advice::Restart | Advice::Backoff => {
                let doublings = failures.saturating_sub(1).min(backoff.doublings);
                (backoff.wait(doublings), backoff.range)
            }
        };
        let least = least.max(retry_after.unwrap_or(0).min(backoff.max_retry_after));
        let wait = least.saturating_add(up_to(random, entropy));
        Retry::At(now.after(wait.min(Timeouts::MAX)))
    }
}

/// Returns whether it is an end for what was asked: nothing follows it, but for those who persist.
pub(crate) const fn is_final(cause: Cause) -> bool {
    matches!(advice(cause), Advice::Hopeless | Advice::Wanted)
}

/// Returns what this cause means: the table of the module.
const fn advice(cause: Cause) -> Advice {
    let ended = match cause {
        Cause::Unreachable => return Advice::Backoff,
        Cause::Tls => return Advice::Longest,
        Cause::Local => return Advice::Wanted,
        Cause::Ended(ended) => ended,
    };
    match ended {
        // This side's idle time, or a server that has gone away.
        Ended::Closed {
            code: CloseCode::GOING_AWAY,
            ..
        } => Advice::Backoff,
        Ended::Aborted
        | Ended::Closed {
            by: Side::Local, ..
        } => Advice::Wanted,
        Ended::Closed { code, .. } => match code {
            CloseCode::SERVICE_RESTART => Advice::Restart,
            CloseCode::NORMAL | CloseCode::POLICY_VIOLATION | CloseCode::MANDATORY_EXTENSION => {
                Advice::Hopeless
            }
            CloseCode::TRY_AGAIN_LATER
            | CloseCode::PROTOCOL_ERROR
            | CloseCode::UNSUPPORTED_DATA
            | CloseCode::INVALID_PAYLOAD
            | CloseCode::MESSAGE_TOO_BIG => Advice::Longest,
            _ => Advice::Backoff,
        },
        Ended::Refused(408 | 425 | 429 | 500..=599) => Advice::Backoff,
        Ended::Refused(_) => Advice::Hopeless,
        // A peer that goes without a Close is a transport that was lost.
        Ended::Violation(crate::ProtocolViolation::UnexpectedEof)
        | Ended::TimedOut(_)
        | Ended::Lost
        | Ended::NoEntropy => Advice::Backoff,
        Ended::Violation(_) | Ended::Handshake(_) => Advice::Longest,
    }
}

/// Draws a number from 0 to `most`, all alike likely; `most` itself if there is no entropy.
fn up_to(most: u32, entropy: &mut impl Entropy) -> u32 {
    let mut bytes = [0; 4];
    match entropy.fill(&mut bytes) {
        // The upper half of the product, which is at most `most`.
        Ok(()) => {
            ((u64::from(u32::from_be_bytes(bytes)) * (u64::from(most) + 1)) >> u32::BITS) as u32
        }
        Err(_) => most,
    }
}
