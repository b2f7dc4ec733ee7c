//! The time, which the caller has: [`Clock`] and [`Timer`].

use core::future::{Future, pending};

use motews::{Deadlines, Due, Millis, Timeouts};

/// A source of time. A closure that tells the time is one.
///
/// ```
/// use motews::Millis;
/// # fn milliseconds() -> u64 { 0 }
/// let clock = || Millis(milliseconds());
/// # fn is_clock(_: impl motews_embedded_io::Clock) {}
/// # is_clock(clock);
/// ```
pub trait Clock {
    /// Milliseconds since any fixed point. They must not go backwards.
    fn now(&mut self) -> Millis;
}

impl<F: FnMut() -> Millis> Clock for F {
    fn now(&mut self) -> Millis {
        self()
    }
}

/// A source of time that can wait.
///
/// ```
/// use motews::Millis;
/// use motews_embedded_io::{Clock, Timer};
/// use std::time::{Duration, Instant};
///
/// struct Tokio(Instant);
///
/// impl Clock for Tokio {
///     fn now(&mut self) -> Millis {
///         Millis(self.0.elapsed().as_millis() as u64)
///     }
/// }
///
/// impl Timer for Tokio {
///     async fn wait_until(&mut self, at: Millis) {
///         let at = self.0 + Duration::from_millis(at.0);
///         tokio::time::sleep_until(at.into()).await;
///     }
/// }
/// ```
pub trait Timer: Clock {
    /// Waits until that time has come.
    fn wait_until(&mut self, at: Millis) -> impl Future<Output = ()>;
}

/// No source of time: no deadline is kept.
#[derive(Clone, Copy, Debug, Default)]
pub struct Untimed;

/// A source of time, and what is due when.
#[derive(Clone, Copy, Debug)]
pub struct Timed<K> {
    clock: K,
    deadlines: Deadlines,
}

impl<K: Clock> Timed<K> {
    pub(crate) fn new(mut clock: K) -> Self {
        let deadlines = Deadlines::new(clock.now());
        Self { clock, deadlines }
    }
}

/// What a WebSocket does with the time. Sealed: [`Untimed`] or [`Timed`].
pub trait Time: sealed::Time {}

/// The same where it can wait for it. Sealed.
pub trait AsyncTime: sealed::AsyncTime {}

mod sealed {
    use super::{Due, Future, Millis, Timeouts};

    #[expect(unnameable_types, reason = "sealed by having no other way in")]
    pub trait Time {
        /// When something is due next.
        fn next(&self, timeouts: &Timeouts) -> Option<Millis>;
        /// What is due now.
        fn poll(&mut self, timeouts: &Timeouts) -> Option<Due>;
        fn opened(&mut self);
        fn received(&mut self);
        fn received_message(&mut self);
        fn closing(&mut self);
    }

    #[expect(unnameable_types, reason = "sealed by having no other way in")]
    pub trait AsyncTime: Time {
        /// Waits until that time, or for ever.
        fn wait(&mut self, at: Option<Millis>) -> impl Future<Output = ()>;
    }
}

impl<T: sealed::Time> Time for T {}
impl<T: sealed::AsyncTime> AsyncTime for T {}

impl sealed::Time for Untimed {
    fn next(&self, _: &Timeouts) -> Option<Millis> {
        None
    }
    fn poll(&mut self, _: &Timeouts) -> Option<Due> {
        None
    }
    fn opened(&mut self) {}
    fn received(&mut self) {}
    fn received_message(&mut self) {}
    fn closing(&mut self) {}
}

impl sealed::AsyncTime for Untimed {
    fn wait(&mut self, _: Option<Millis>) -> impl Future<Output = ()> {
        pending()
    }
}

impl<K: Clock> sealed::Time for Timed<K> {
    fn next(&self, timeouts: &Timeouts) -> Option<Millis> {
        self.deadlines.next(timeouts)
    }
    fn poll(&mut self, timeouts: &Timeouts) -> Option<Due> {
        self.deadlines.poll(self.clock.now(), timeouts)
    }
    fn opened(&mut self) {
        self.deadlines.opened(self.clock.now());
    }
    fn received(&mut self) {
        self.deadlines.received(self.clock.now());
    }
    fn received_message(&mut self) {
        self.deadlines.received_message(self.clock.now());
    }
    fn closing(&mut self) {
        self.deadlines.closing(self.clock.now());
    }
}

impl<K: Timer> sealed::AsyncTime for Timed<K> {
    async fn wait(&mut self, at: Option<Millis>) {
        match at {
            Some(at) => self.clock.wait_until(at).await,
            None => pending().await,
        }
    }
}
