//! Which address of a host to connect to, and when: "happy eyeballs" (RFC 8305).

use alloc::vec::Vec;
use core::net::SocketAddr;
use core::time::Duration;

/// The order and the times in which the addresses of a host are tried (RFC 8305 §4, §5).
///
/// The next attempt starts when one has failed, or [`DialPlan::ATTEMPT_DELAY`] after the last one;
/// the attempts before it go on. The first connection wins, and the others are dropped. IPv6 and IPv4
/// take turns, beginning with the family of the first address. So an address that never answers
/// costs a quarter of a second, and one that refuses costs nothing.
///
/// The plan does no I/O and has no clock. Its owner starts the attempts that [`poll`](Self::poll)
/// asks for, and reports how each of them ended. `E` is the error of an attempt. A limit for all of
/// them together is up to the owner.
///
/// ```
/// use core::time::Duration;
/// use motews_net::{Dial, DialPlan};
///
/// let addresses = ["[2001:db8::1]:80", "[2001:db8::2]:80", "192.0.2.1:80"];
/// let mut plan = DialPlan::<&str>::new(addresses.map(|address| address.parse().unwrap()));
///
/// let started = Duration::ZERO; // of any clock that runs forward
/// let Dial::Connect { attempt: first, address } = plan.poll(started) else { panic!() };
/// assert!(address.is_ipv6());
/// // It says nothing: wait for it, and at most so long.
/// let Dial::Wait { until: Some(until) } = plan.poll(started) else { panic!() };
/// assert_eq!(until, started + DialPlan::<&str>::ATTEMPT_DELAY);
///
/// let Dial::Connect { attempt: second, address } = plan.poll(until) else { panic!() };
/// assert!(address.is_ipv4());
/// assert!(plan.connected(second));
/// assert_eq!(plan.poll(until), Dial::Connected { attempt: second }); // drop the first
/// ```
#[derive(Clone, Debug)]
pub struct DialPlan<E> {
    attempts: Vec<Attempt<E>>,
    /// How many were started.
    started: usize,
    /// When the next one starts: at once if one has failed.
    next: Duration,
    /// The attempts that failed, in that order.
    failed: Vec<usize>,
    winner: Option<usize>,
}

#[derive(Clone, Debug)]
struct Attempt<E> {
    address: SocketAddr,
    error: Option<E>,
}

/// What [`DialPlan::poll`] asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dial {
    /// Start to connect to `address`, without waiting for it, then poll again. The numbers of the
    /// attempts run from 0 up.
    Connect {
        /// The attempt, to report how it ended.
        attempt: usize,
        /// Where to connect to.
        address: SocketAddr,
    },
    /// Wait until one of the attempts has ended, and no longer than `until`.
    Wait {
        /// When to poll again; `None` if there is nothing left to start.
        until: Option<Duration>,
    },
    /// This attempt was the first to connect: drop the others.
    Connected {
        /// The attempt.
        attempt: usize,
    },
    /// Every attempt has failed, or the host has no address: see [`DialPlan::into_errors`].
    Failed,
}

impl<E> DialPlan<E> {
    /// How long an attempt may be silent before the next one starts (RFC 8305 §8).
    pub const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

    /// The most addresses that are tried. A resolver may return thousands.
    pub const MAX_ADDRESSES: usize = 16;

    /// Plans to connect to one of these addresses, which are in the order of the resolver's
    /// preference. Repeated addresses are tried once, and at most
    /// [`MAX_ADDRESSES`](Self::MAX_ADDRESSES) of them, of both families if there are both.
    pub fn new(addresses: impl IntoIterator<Item = SocketAddr>) -> Self {
        // The family of the first address, and the other one.
        let mut families: [Vec<SocketAddr>; 2] = [Vec::new(), Vec::new()];
        let mut first = None;
        for address in addresses {
            let is_ipv6 = address.is_ipv6();
            let [preferred, other] = &mut families;
            let family = match *first.get_or_insert(is_ipv6) == is_ipv6 {
                true => preferred,
                false => other,
            };
            if family.len() < Self::MAX_ADDRESSES && !family.contains(&address) {
                family.push(address);
            }
        }
        let [preferred, other] = families;
        let (mut preferred, mut other) = (preferred.into_iter(), other.into_iter());
        let mut attempts = Vec::new();
        // RFC 8305 §4: the families take turns
        loop {
            let turn: [Option<SocketAddr>; 2] = [preferred.next(), other.next()];
            if turn == [None, None] {
                break;
            }
            let turn = turn.into_iter().flatten();
            attempts.extend(turn.map(|address| Attempt {
                address,
                error: None,
            }));
        }
        attempts.truncate(Self::MAX_ADDRESSES);
        Self {
            attempts,
            started: 0,
            next: Duration::ZERO,
            failed: Vec::new(),
            winner: None,
        }
    }

    /// Returns what to do at the time `now`, which may be counted from any moment.
    pub fn poll(&mut self, now: Duration) -> Dial {
        if let Some(attempt) = self.winner {
            return Dial::Connected { attempt };
        }
        let Some(next) = self.attempts.get(self.started) else {
            return match self.failed.len() == self.started {
                true => Dial::Failed,
                false => Dial::Wait { until: None },
            };
        };
        if now < self.next {
            let until = Some(self.next);
            return Dial::Wait { until };
        }
        let attempt = self.started;
        self.started = attempt.saturating_add(1);
        self.next = now.saturating_add(Self::ATTEMPT_DELAY);
        Dial::Connect {
            attempt,
            address: next.address,
        }
    }

    /// Reports that an attempt has connected. Returns true if it is the first: the connection is to
    /// be used. Otherwise it is to be dropped.
    pub fn connected(&mut self, attempt: usize) -> bool {
        let is_pending = self.is_pending(attempt);
        if self.winner.is_none() && is_pending {
            self.winner = Some(attempt);
        }
        self.winner == Some(attempt)
    }

    /// Reports that an attempt has failed. The next one starts at once (RFC 8305 §5).
    pub fn failed(&mut self, attempt: usize, error: E) {
        if !self.is_pending(attempt) || self.winner == Some(attempt) {
            return;
        }
        if let Some(failed) = self.attempts.get_mut(attempt) {
            failed.error = Some(error);
            self.failed.push(attempt);
            self.next = Duration::ZERO;
        }
    }

    /// Returns the attempts that were started and have neither failed nor won: after
    /// [`Dial::Connected`], those to be dropped.
    pub fn pending(&self) -> impl Iterator<Item = usize> {
        (0..self.started).filter(|attempt| self.is_pending(*attempt))
    }

    /// Returns each address that has failed, with its error, the last one last. An attempt that was
    /// still pending has none.
    #[must_use]
    pub fn into_errors(mut self) -> Vec<(SocketAddr, E)> {
        let order = core::mem::take(&mut self.failed);
        let mut taken = |attempt: usize| {
            let attempt = self.attempts.get_mut(attempt)?;
            Some((attempt.address, attempt.error.take()?))
        };
        order.into_iter().filter_map(&mut taken).collect()
    }

    fn is_pending(&self, attempt: usize) -> bool {
        let attempted = self
            .attempts
            .get(attempt)
            .filter(|_| attempt < self.started);
        attempted.is_some_and(|attempt| attempt.error.is_none()) && self.winner != Some(attempt)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;

    const DELAY: Duration = DialPlan::<u8>::ATTEMPT_DELAY;

    fn v4(last: u8) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, last], 80))
    }

    fn v6(last: u16) -> SocketAddr {
        SocketAddr::from(([0x2001, 0xdb8, 0, 0, 0, 0, 0, last], 80))
    }

    fn order(addresses: impl IntoIterator<Item = SocketAddr>) -> Vec<SocketAddr> {
        let mut plan = DialPlan::<u8>::new(addresses);
        let mut order = Vec::new();
        while let Dial::Connect { attempt, address } = plan.poll(Duration::ZERO) {
            order.push(address);
            plan.failed(attempt, 0);
        }
        order
    }

    #[test]
    fn addresses_of_two_families_take_turns() {
        let addresses = [v6(1), v6(2), v6(3), v4(1), v4(2)];
        assert_eq!(order(addresses), [v6(1), v4(1), v6(2), v4(2), v6(3)]);
        assert_eq!(order([v4(1), v4(2), v6(1)]), [v4(1), v6(1), v4(2)]);
        assert_eq!(order([v4(1), v4(1), v4(2), v4(1)]), [v4(1), v4(2)]);
    }

    #[test]
    fn thousands_of_addresses_are_cut_to_the_limit_with_both_families() {
        let many = (0..5000).map(v6).chain([v4(1), v4(2)]);
        let order = order(many);
        assert_eq!(order.len(), DialPlan::<u8>::MAX_ADDRESSES);
        assert_eq!(order.get(..4), Some(&[v6(0), v4(1), v6(1), v4(2)][..]));
    }

    #[test]
    fn no_address_fails_at_once() {
        let mut plan = DialPlan::<u8>::new([]);
        assert_eq!(plan.poll(Duration::ZERO), Dial::Failed);
        assert!(plan.into_errors().is_empty());
    }

    #[test]
    fn silent_attempt_costs_one_delay() {
        let mut plan = DialPlan::<u8>::new([v6(1), v4(1)]);
        let start = Duration::from_secs(1_000_000);
        let first = plan.poll(start);
        assert_eq!(
            first,
            Dial::Connect {
                attempt: 0,
                address: v6(1)
            }
        );
        let until = Some(start + DELAY);
        assert_eq!(plan.poll(start), Dial::Wait { until });
        let early = start + DELAY - Duration::from_nanos(1);
        assert_eq!(plan.poll(early), Dial::Wait { until });
        let second = plan.poll(start + DELAY);
        assert_eq!(
            second,
            Dial::Connect {
                attempt: 1,
                address: v4(1)
            }
        );
        assert_eq!(plan.poll(start + DELAY), Dial::Wait { until: None });
        assert!(plan.connected(1));
        assert_eq!(plan.poll(start + DELAY), Dial::Connected { attempt: 1 });
        assert_eq!(plan.pending().collect::<Vec<_>>(), [0]);
        // Too late
        assert!(!plan.connected(0));
        plan.failed(0, 9);
        assert_eq!(plan.poll(start + DELAY), Dial::Connected { attempt: 1 });
        assert_eq!(plan.into_errors(), [(v6(1), 9)]);
    }

    #[test]
    fn failed_attempt_starts_the_next_at_once() {
        let mut plan = DialPlan::new([v6(1), v4(1), v6(2)]);
        assert!(matches!(
            plan.poll(Duration::ZERO),
            Dial::Connect { attempt: 0, .. }
        ));
        plan.failed(0, 'a');
        assert!(matches!(
            plan.poll(Duration::ZERO),
            Dial::Connect { attempt: 1, .. }
        ));
        let until = Some(DELAY);
        assert_eq!(plan.poll(Duration::ZERO), Dial::Wait { until });
        plan.failed(1, 'b');
        assert!(matches!(
            plan.poll(Duration::ZERO),
            Dial::Connect { attempt: 2, .. }
        ));
        plan.failed(2, 'c');
        assert_eq!(plan.poll(Duration::ZERO), Dial::Failed);
        let errors = [(v6(1), 'a'), (v4(1), 'b'), (v6(2), 'c')];
        assert_eq!(plan.into_errors(), errors);
    }

    #[test]
    fn earlier_attempt_that_fails_starts_the_next_too() {
        let mut plan = DialPlan::new([v6(1), v4(1), v6(2)]);
        assert!(matches!(
            plan.poll(Duration::ZERO),
            Dial::Connect { attempt: 0, .. }
        ));
        assert!(matches!(plan.poll(DELAY), Dial::Connect { attempt: 1, .. }));
        plan.failed(0, 'a');
        assert!(matches!(plan.poll(DELAY), Dial::Connect { attempt: 2, .. }));
        plan.failed(2, 'c');
        assert_eq!(plan.poll(DELAY), Dial::Wait { until: None });
        plan.failed(1, 'b');
        assert_eq!(plan.poll(DELAY), Dial::Failed);
        // In the order in which they came, so that the last error is the last one.
        let errors = [(v6(1), 'a'), (v6(2), 'c'), (v4(1), 'b')];
        assert_eq!(plan.into_errors(), errors);
    }

    #[test]
    fn report_of_an_attempt_that_is_none_is_ignored() {
        let mut plan = DialPlan::new([v6(1), v4(1)]);
        assert!(!plan.connected(0));
        plan.failed(0, 'a');
        plan.failed(7, 'a');
        assert!(matches!(
            plan.poll(Duration::ZERO),
            Dial::Connect { attempt: 0, .. }
        ));
        plan.failed(0, 'a');
        plan.failed(0, 'b');
        assert!(!plan.connected(0));
        let next = plan.poll(Duration::ZERO);
        assert!(matches!(next, Dial::Connect { attempt: 1, .. }), "{next:?}");
        assert_eq!(plan.into_errors(), [(v6(1), 'a')]);
    }

    /// Whatever happens: each address is tried once, no two attempts without an ending in between
    /// start closer than the delay, and the plan ends.
    #[test]
    fn any_course_of_events_keeps_the_rules() {
        use proptest::prelude::*;
        let addresses = proptest::collection::vec((any::<bool>(), 0..20_u8), 0..40);
        let events = proptest::collection::vec((0..400_u64, 0..20_usize, 0..6_u8), 0..80);
        let rules = |addresses: Vec<(bool, u8)>, events: Vec<(u64, usize, u8)>| {
            let resolve = |(is_v6, last)| if is_v6 { v6(u16::from(last)) } else { v4(last) };
            let mut plan = DialPlan::new(addresses.into_iter().map(resolve));
            let mut now = Duration::ZERO;
            let mut tried = Vec::new();
            let mut last_start: Option<Duration> = None;
            let mut last_failed = true;
            for (later, attempt, event) in events {
                now += Duration::from_millis(later);
                match plan.poll(now) {
                    Dial::Connect { attempt, address } => {
                        prop_assert_eq!(attempt, tried.len());
                        prop_assert!(!tried.contains(&address));
                        let in_time = last_start.is_none_or(|start| now >= start + DELAY);
                        prop_assert!(in_time || last_failed, "{now:?} after {last_start:?}");
                        tried.push(address);
                        (last_start, last_failed) = (Some(now), false);
                    }
                    Dial::Wait { until: Some(until) } => {
                        prop_assert!(until > now && until <= now + DELAY);
                    }
                    Dial::Wait { until: None } => prop_assert!(plan.pending().count() > 0),
                    Dial::Connected { attempt } => {
                        prop_assert!(attempt < tried.len());
                        return Ok(());
                    }
                    Dial::Failed => {
                        prop_assert_eq!(plan.pending().count(), 0);
                        prop_assert_eq!(plan.into_errors().len(), tried.len());
                        return Ok(());
                    }
                }
                match event {
                    0 => _ = plan.connected(attempt),
                    1..=3 => {
                        last_failed |= plan.pending().any(|pending| pending == attempt);
                        plan.failed(attempt, now);
                    }
                    _ => {}
                }
            }
            Ok(())
        };
        proptest!(|(addresses in addresses, events in events)| rules(addresses, events)?);
        assert_eq!(format!("{DELAY:?}"), "250ms");
    }
}
