//! The time, which the caller has: [`Clock`] and [`Timer`].

use core::future::{Future, pending};

use motews::Millis;

/// A source of time. A closure that returns the time is one, and so is that of `embassy-time`, with the
/// feature of that name: `EmbassyClock`.
///
/// **`embedded-hal` 1.0 has no clock**: its `DelayNs` waits, but nobody can read the time from it. Count
/// milliseconds with a timer's interrupt, or take what your HAL has.
///
/// ```
/// use motews::Millis;
/// # fn milliseconds() -> u64 { 0 }
/// let clock = || Millis(milliseconds() as u32);
/// # fn is_clock(_: impl motews_embedded_io::Clock) {}
/// # is_clock(clock);
/// ```
pub trait Clock {
    /// Returns the milliseconds since any fixed point. They wrap every 49.7 days, and may; they must
    /// not go backwards.
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
///         Millis(self.0.elapsed().as_millis() as u32)
///     }
/// }
///
/// impl Timer for Tokio {
///     async fn wait(&mut self, millis: u32) {
///         tokio::time::sleep(Duration::from_millis(millis.into())).await;
///     }
/// }
/// ```
pub trait Timer: Clock {
    /// Waits for so many milliseconds. The future may be dropped at any time.
    fn wait(&mut self, millis: u32) -> impl Future<Output = ()>;
}

/// No source of time: no deadline is kept, and nothing of them is linked.
#[derive(Clone, Copy, Debug, Default)]
pub struct Untimed;

/// What a WebSocket has of the time. Sealed: [`Untimed`] or a [`Clock`].
pub trait Time: sealed::Time {}

/// The same if it can wait: [`Untimed`] or a [`Timer`]. Sealed.
pub trait AsyncTime: sealed::AsyncTime {}

pub(crate) mod sealed {
    use super::{Future, Millis};

    #[expect(unnameable_types, reason = "sealed by having no other way in")]
    pub trait Time {
        /// Whether deadlines are kept.
        const IS_TIMED: bool;
        /// Whether it is that of a client that comes back, which reads while the transport takes nothing. A
        /// blocking one returns when the transport has given up for now.
        const COMES_BACK: bool = false;

        fn time(&mut self) -> Millis;
    }

    #[expect(unnameable_types, reason = "sealed by having no other way in")]
    pub trait AsyncTime: Time {
        /// Waits until that time, or for ever.
        fn wait_until(&mut self, at: Option<Millis>) -> impl Future<Output = ()>;
    }
}

impl<T: sealed::Time> Time for T {}
impl<T: sealed::AsyncTime> AsyncTime for T {}

impl sealed::Time for Untimed {
    const IS_TIMED: bool = false;

    #[inline]
    fn time(&mut self) -> Millis {
        Millis(0)
    }
}

impl sealed::AsyncTime for Untimed {
    fn wait_until(&mut self, _: Option<Millis>) -> impl Future<Output = ()> {
        pending()
    }
}

impl<K: Clock> sealed::Time for K {
    const IS_TIMED: bool = true;

    #[inline]
    fn time(&mut self) -> Millis {
        self.now()
    }
}

/// The time of a client that comes back.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Returning<K>(pub(crate) K);

impl<K: Clock> sealed::Time for Returning<K> {
    const IS_TIMED: bool = true;
    const COMES_BACK: bool = true;

    #[inline]
    fn time(&mut self) -> Millis {
        self.0.now()
    }
}

impl<K: Timer> sealed::AsyncTime for Returning<K> {
    fn wait_until(&mut self, at: Option<Millis>) -> impl Future<Output = ()> {
        self.0.wait_until(at)
    }
}

impl<K: Timer> sealed::AsyncTime for K {
    async fn wait_until(&mut self, at: Option<Millis>) {
        match at {
            Some(at) => {
                let millis = at.since(self.now());
                self.wait(millis).await;
            }
            None => pending().await,
        }
    }
}
