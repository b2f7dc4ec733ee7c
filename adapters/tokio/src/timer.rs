//! Deadlines, without a timer of tokio's for each connection.
//!
//! A `Sleep` takes more than a hundred bytes, and each connection has a deadline nearly always: the
//! next keepalive. So each runtime has one task here, which sleeps until the earliest deadline of all
//! its connections. A connection registers again only when its deadline comes closer; one that has
//! moved away is found out when the old one passes. A connection that is never idle costs one wake-up
//! in 30 s.

use core::fmt;
use core::sync::atomic::{AtomicBool, Ordering};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError, Weak};

use motews::Millis;
use tokio::runtime::{Handle, Id};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::wakers::Wakers;

/// The deadlines of a runtime.
#[derive(Default)]
struct Timers {
    state: Mutex<State>,
    /// The earliest deadline has come closer.
    changed: Notify,
    /// The runtime has gone.
    is_over: AtomicBool,
}

#[derive(Default)]
struct State {
    deadlines: BTreeMap<(Instant, u32), Arc<Wakers>>,
    /// How many were ever registered.
    count: u32,
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
        let timers = Arc::<Self>::default();
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
    fn remove(&self, at: Instant, id: u32) {
        let removed = self.lock().deadlines.remove(&(at, id));
        drop(removed);
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
            let later = state.deadlines.split_off(&(now, u32::MAX));
            let due = core::mem::replace(&mut state.deadlines, later);
            let next = state.deadlines.keys().next().map(|(at, _)| *at);
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
    at: Instant,
    /// The same, as the session counts.
    millis: Millis,
    id: u32,
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
            Some(armed) if armed.at <= at && armed.at > now && !armed.timers.is_over() => {
                return;
            }
            Some(armed) => {
                armed.timers.remove(armed.at, armed.id);
                if armed.timers.is_over() {
                    armed.timers = Timers::current();
                }
                armed
            }
            none => none.insert(Armed {
                timers: Timers::current(),
                at,
                millis,
                id: 0,
            }),
        };
        let mut state = armed.timers.lock();
        state.count = state.count.wrapping_add(1);
        (armed.at, armed.millis, armed.id) = (at, millis, state.count);
        wakers.set_deadline();
        let first = state.deadlines.keys().next().map(|(first, _)| *first);
        state.deadlines.insert((at, armed.id), wakers.clone());
        drop(state);
        if first.is_none_or(|first| at < first) {
            armed.timers.changed.notify_one();
        }
    }

    /// Ends it.
    pub(crate) fn disarm(&mut self) {
        if let Some(armed) = self.0.take() {
            armed.timers.remove(armed.at, armed.id);
        }
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
            .field(&self.0.as_ref().map(|armed| armed.at))
            .finish()
    }
}
