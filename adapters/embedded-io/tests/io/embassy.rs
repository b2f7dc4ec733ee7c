//! Embassy's time, of which a driver here decides when it passes.

use core::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use core::task::{Context, Poll, Waker};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::Wake;

use embassy_time_driver::{Driver, TICK_HZ, time_driver_impl};
use motews::{Deadline, Ended, Millis, Server, Timeouts};
use motews_embedded_io::{Clock, Config, EmbassyClock, Error, Timer, asynch, blocking};

use crate::support::{REQUEST, Script, buffers, poll};

/// The driver: ticks since the start, and who wants to be woken, when.
struct Time {
    ticks: AtomicU64,
    alarms: Mutex<Vec<(u64, Waker)>>,
}

time_driver_impl!(static TIME: Time = Time { ticks: AtomicU64::new(0), alarms: Mutex::new(Vec::new()) });

impl Driver for Time {
    fn now(&self) -> u64 {
        self.ticks.load(Ordering::Relaxed)
    }

    fn schedule_wake(&self, at: u64, waker: &Waker) {
        let mut alarms = self.alarms.lock().expect("no test panics here");
        alarms.push((at, waker.clone()));
    }
}

/// Has so many milliseconds pass, and wakes whoever's time has come.
fn pass(millis: u64) {
    let ticks = millis * TICK_HZ / 1000;
    let now = TIME.ticks.fetch_add(ticks, Ordering::Relaxed) + ticks;
    let mut alarms = TIME.alarms.lock().expect("no test panics here");
    for (_, waker) in alarms.extract_if(.., |(at, _)| *at <= now) {
        waker.wake();
    }
}

/// There is one time: a test at a time.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner())
}

#[derive(Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

static CONFIG: Config<'static> = Config {
    timeouts: Timeouts {
        handshake: Some(10_000),
        ..Timeouts::DEFAULT
    },
    ..Config::DEFAULT
};

#[test]
fn clock_time_passes_tells_milliseconds_and_wraps() {
    let _alone = alone();
    let before = EmbassyClock.now();
    pass(1234);
    assert_eq!(EmbassyClock.now().since(before), 1234);
    pass(u64::from(u32::MAX));
    assert_eq!(EmbassyClock.now(), Millis(before.0.wrapping_add(1233)));
}

#[test]
fn timer_its_time_comes_wakes_who_waits() {
    let _alone = alone();
    let count = Arc::new(Count::default());
    let waker = Waker::from(count.clone());
    let mut context = Context::from_waker(&waker);
    let mut clock = EmbassyClock;
    let mut wait = core::pin::pin!(clock.wait(50));
    assert_eq!(wait.as_mut().poll(&mut context), Poll::Pending);
    pass(49);
    assert_eq!(count.0.load(Ordering::Relaxed), 0, "too early");
    assert_eq!(wait.as_mut().poll(&mut context), Poll::Pending);
    pass(1);
    assert!(count.0.load(Ordering::Relaxed) > 0, "nobody is woken");
    assert_eq!(wait.as_mut().poll(&mut context), Poll::Ready(()));
}

#[test]
fn async_server_silent_client_ends_at_the_deadline_and_is_woken_for_it() {
    let _alone = alone();
    let script = Script::new(&REQUEST[..20], 1000, false);
    script.ends(false);
    let ws = asynch::WebSocket::server(script, buffers(64, 64)).expect("room");
    let mut ws: asynch::WebSocket<'_, _, Server, _> =
        ws.with_config(&CONFIG).with_clock(EmbassyClock);
    let count = Arc::new(Count::default());
    let waker = Waker::from(count.clone());
    let mut context = Context::from_waker(&waker);
    let mut accept = core::pin::pin!(ws.accept());
    assert_eq!(accept.as_mut().poll(&mut context), Poll::Pending);
    pass(9_999);
    assert_eq!(accept.as_mut().poll(&mut context), Poll::Pending);
    let before = count.0.load(Ordering::Relaxed);
    pass(1);
    assert!(count.0.load(Ordering::Relaxed) > before, "nobody is woken");
    let late = Error::Ended(Ended::TimedOut(Deadline::Handshake));
    assert_eq!(accept.as_mut().poll(&mut context), Poll::Ready(Err(late)));
}

#[test]
fn async_server_future_dropped_keeps_the_deadline() {
    let _alone = alone();
    let script = Script::new(&REQUEST[..20], 1000, false);
    script.ends(false);
    let ws = asynch::WebSocket::server(script, buffers(64, 64)).expect("room");
    let mut ws = ws.with_config(&CONFIG).with_clock(EmbassyClock);
    for _ in 0..4 {
        assert_eq!(poll(ws.accept()), Poll::Pending);
        pass(2_500);
    }
    let late = Error::Ended(Ended::TimedOut(Deadline::Handshake));
    assert_eq!(poll(ws.accept()), Poll::Ready(Err(late)));
}

#[test]
fn blocking_server_silent_client_ends_at_the_deadline() {
    let _alone = alone();
    let script = Script::new(&REQUEST[..20], 1000, false);
    script.ends(false);
    let ws = blocking::WebSocket::server(script, buffers(64, 64)).expect("room");
    let mut ws = ws.with_config(&CONFIG).with_clock(EmbassyClock);
    let before = EmbassyClock.now();
    let is_over = AtomicBool::new(false);
    // It looks at the clock after each read, and a read here takes no time.
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                pass(100);
                std::thread::yield_now();
            }
        });
        let late = Error::Ended(Ended::TimedOut(Deadline::Handshake));
        let accepted = ws.accept();
        is_over.store(true, Ordering::Relaxed);
        assert_eq!(accepted, Err(late));
    });
    assert!(EmbassyClock.now().since(before) >= 10_000, "too early");
}
