//! When a session has to end.

use motews::{Deadline, Timeouts};

/// When a session has to end at the latest: the rules of `motews::pace` again, on a clock that does
/// not wrap.
#[derive(Clone, Debug, Default)]
pub(super) struct Bounds {
    busy: u64,
    waiting: bool,
    /// When nothing waited any more.
    left_at: u64,
    heard: u64,
    closed_at: Option<u64>,
    pub(super) close_by: Option<u64>,
}

fn plus(at: u64, timeout: u32) -> u64 {
    at + u64::from(timeout.min(Timeouts::MAX))
}

impl Bounds {
    pub(super) fn heard(&mut self, now: u64) {
        self.heard = now;
    }

    /// Rule 1.
    pub(super) fn sent(
        &mut self,
        now: u64,
        timeouts: &Timeouts,
        taken: usize,
        left: usize,
        closed: bool,
    ) {
        let waiting = left > 0;
        if self.closed_at.is_none() {
            if taken > 0 || waiting {
                let base = if self.waiting {
                    self.busy
                } else {
                    self.busy.max(now)
                };
                let bought = match (taken, timeouts.min_rate) {
                    (0, _) => 0,
                    (_, 0) => u64::MAX / 2,
                    (taken, rate) => (taken as u64 * 1000).div_ceil(u64::from(rate)) + 1000,
                };
                self.busy = (base + bought).min(plus(now, timeouts.max_grace));
            }
            if closed && !waiting {
                self.closed_at = Some(now.max(self.busy));
            }
        }
        if self.waiting && !waiting {
            self.left_at = now;
        }
        self.waiting = waiting;
    }

    pub(super) fn check(&self, now: u64, timeouts: &Timeouts, is_over: bool, slack: u64) {
        let late = |at: u64, deadline: Deadline| {
            assert!(
                now < at + slack,
                "{deadline} was due at {at}: {self:?}, now {now}"
            );
        };
        if is_over {
            return;
        }
        if let Some(by) = self.close_by {
            late(by, Deadline::Close);
            return;
        }
        match (self.closed_at, timeouts.close) {
            (Some(closed_at), Some(close)) => return late(plus(closed_at, close), Deadline::Close),
            (Some(_), None) => return,
            _ => {}
        }
        if self.waiting {
            if let Some(write) = timeouts.write {
                late(plus(self.busy, write), Deadline::Write);
            }
        } else if let (Some(keepalive), Some(pong)) = (timeouts.keepalive, timeouts.pong) {
            let pinged = plus(self.heard, keepalive).max(self.left_at).max(self.busy);
            late(plus(pinged, pong), Deadline::Pong);
        }
    }
}
