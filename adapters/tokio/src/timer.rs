//! Deadlines, without a timer of tokio's for each connection.
//!
//! A `Sleep` takes more than a hundred bytes, and each connection has a deadline nearly always: the
//! next keepalive. So each runtime has one task here, which sleeps until the earliest deadline of all
//! its connections. A connection registers again only when its deadline comes closer; one that has
//! moved away is found out when the old one passes. A connection that is never idle costs one wake-up
//! in 30 s.

use core::fmt;
use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError, Weak};

use motews::Millis;
use tokio::runtime::{Handle, Id};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::wakers::Wakers;

/// The deadlines of a runtime.
struct Timers {
    /// What they count from.
    base: Instant,
    state: Mutex<State>,
    /// The earliest deadline has come closer.
    changed: Notify,
    /// The runtime has gone.
    is_over: AtomicBool,
}

#[derive(Default)]
struct State {
    deadlines: BTreeMap<Key, Arc<Wakers>>,
    /// How many were ever registered.
    count: u64,
}

/// A deadline, in milliseconds, and a number that makes it the only one of its kind: in one word, for it
/// is half of what each idle connection takes here.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Key(u64);

impl Key {
    /// 34 years of milliseconds are left, and 16 million connections that are due at once.
    const NUMBER_BITS: u32 = 24;

    const fn first(millis: u64) -> Self {
        Self(millis << Self::NUMBER_BITS)
    }

    /// The number wraps.
    const fn numbered(millis: u64, number: u64) -> Self {
        let mask = (1 << Self::NUMBER_BITS) - 1;
        Self(Self::first(millis).0 | number & mask)
    }

    const fn millis(self) -> u64 {
        self.0 >> Self::NUMBER_BITS
    }
}

static RUNTIMES: LazyLock<Mutex<HashMap<Id, Weak<Timers>>>> = LazyLock::new(Mutex::default);

impl Timers {
    /// Returns those of the runtime that this is called in.
    ///
    /// # Panics
    /// If it is called in none, or in one without a clock (`enable_time`).
    fn current() -> Arc<Self> {
        let handle = Handle::current();
        // It panics here and not in the task, which nobody would see.
        drop(sleep_until(Instant::now()));
        let mut runtimes = RUNTIMES.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(timers) = runtimes.get(&handle.id()).and_then(Weak::upgrade)
            && !timers.is_over()
        {
            return timers;
        }
        runtimes.retain(|_, timers| timers.strong_count() > 0);
        let timers = Arc::new(Self {
            base: Instant::now(),
            state: Mutex::default(),
            changed: Notify::new(),
            is_over: AtomicBool::new(false),
        });
        runtimes.insert(handle.id(), Arc::downgrade(&timers));
        drop(runtimes);
        handle.spawn(drive(Over(timers.clone())));
        timers
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Acquire)
    }

    /// A waker may drop a task, and that another connection: never with the lock held.
    fn remove(&self, key: Key) {
        let removed = self.lock().deadlines.remove(&key);
        drop(removed);
    }

    /// The whole milliseconds until then.
    fn millis(&self, at: Instant) -> u64 {
        at.saturating_duration_since(self.base).as_millis() as u64
    }

    /// The milliseconds until then, so many that it has come.
    fn millis_up(&self, at: Instant) -> u64 {
        let nanos = at.saturating_duration_since(self.base).as_nanos();
        nanos.div_ceil(1_000_000) as u64
    }
}

/// The task of a runtime.
async fn drive(timers: Over) {
    let timers = &timers.0;
    loop {
        let changed = timers.changed.notified();
        let now = Instant::now();
        let (due, next) = {
            let mut state = timers.lock();
            let later = Key::first(timers.millis(now) + 1);
            let later = state.deadlines.split_off(&later);
            let due = core::mem::replace(&mut state.deadlines, later);
            let next = state.deadlines.keys().next();
            let next = next.map(|key| timers.base + Duration::from_millis(key.millis()));
            (due, next)
        };
        due.into_values()
            .for_each(|wakers| wakers.wake_for_deadline());
        match next {
            None => changed.await,
            // What is earlier of both.
            Some(at) => drop(timeout_at(at, changed).await),
        }
    }
}

/// Ends with the task: whoever waits finds itself another runtime.
struct Over(Arc<Timers>);

impl Drop for Over {
    fn drop(&mut self) {
        self.0.is_over.store(true, Ordering::Release);
        let deadlines = core::mem::take(&mut self.0.lock().deadlines);
        deadlines
            .into_values()
            .for_each(|wakers| wakers.wake_for_deadline());
    }
}

/// The deadline of a connection.
#[derive(Default)]
pub(crate) struct Timer(Option<Armed>);

struct Armed {
    timers: Arc<Timers>,
    key: Key,
    /// The same, as the session counts.
    millis: Millis,
}

impl Timer {
    /// Whether the connection is woken at `at` or before: that takes no clock to know.
    pub(crate) fn is_armed(&self, at: Option<Millis>, wakers: &Wakers) -> bool {
        match (at, &self.0) {
            (None, _) => true,
            (Some(at), Some(armed)) => {
                at.has_reached(armed.millis) && !wakers.is_due() && !armed.timers.is_over()
            }
            (Some(_), None) => false,
        }
    }

    /// Sees to it that the connection is woken at `at` or before; `millis` is the same, as the session
    /// counts. `wakers` are the connection's own, the same each time.
    ///
    /// # Panics
    /// If it is called outside of a runtime, or in one without a clock.
    pub(crate) fn arm(&mut self, at: Instant, millis: Millis, now: Instant, wakers: &Arc<Wakers>) {
        let armed = match &mut self.0 {
            Some(armed) if armed.is_in_time(at, now) => return,
            Some(armed) => {
                armed.timers.remove(armed.key);
                if armed.timers.is_over() {
                    armed.timers = Timers::current();
                }
                armed
            }
            none => none.insert(Armed {
                timers: Timers::current(),
                key: Key::first(0),
                millis,
            }),
        };
        armed.millis = millis;
        let millis = armed.timers.millis_up(at);
        let mut state = armed.timers.lock();
        loop {
            state.count += 1;
            armed.key = Key::numbered(millis, state.count);
            if !state.deadlines.contains_key(&armed.key) {
                break;
            }
        }
        wakers.set_deadline();
        let first = state.deadlines.keys().next().map(|first| first.millis());
        state.deadlines.insert(armed.key, wakers.clone());
        drop(state);
        if first.is_none_or(|first| millis < first) {
            armed.timers.changed.notify_one();
        }
    }

    /// Ends it.
    pub(crate) fn disarm(&mut self) {
        if let Some(armed) = self.0.take() {
            armed.timers.remove(armed.key);
        }
    }
}

impl Armed {
    /// Whether it wakes at `at` or before, and has not done so yet.
    fn is_in_time(&self, at: Instant, now: Instant) -> bool {
        let timers = &self.timers;
        let millis = self.key.millis();
        millis <= timers.millis_up(at) && millis > timers.millis(now) && !timers.is_over()
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        self.disarm();
    }
}

impl fmt::Debug for Timer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Timer")
            .field(&self.0.as_ref().map(|armed| armed.millis))
            .finish()
    }
}
