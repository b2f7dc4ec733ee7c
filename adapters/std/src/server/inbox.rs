//! How other threads tell a loop which of its connections have something to send.

use core::cell::Cell;
use core::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::id::PeerId;
use super::poll::Waker;

thread_local! {
    /// Whether this thread runs a loop, which must never wait.
    static IN_LOOP: Cell<bool> = const { Cell::new(false) };
}

/// This thread runs a loop from now on, or does not any more.
pub(super) fn set_in_loop(in_loop: bool) {
    IN_LOOP.set(in_loop);
}

/// Returns whether this thread runs a loop.
pub(super) fn is_in_loop() -> bool {
    IN_LOOP.get()
}

/// Which connections of a loop have something in their outboxes, and what holds for all of them.
#[derive(Debug)]
pub(super) struct Inbox {
    /// The most that may wait for one connection, in bytes of memory.
    limit: usize,
    ready: Mutex<Vec<PeerId>>,
    /// There is something in `ready`.
    filled: AtomicBool,
    /// The loop waits, or is about to.
    sleeping: AtomicBool,
    waker: Waker,
}

impl Inbox {
    pub(super) const fn new(waker: Waker, limit: usize) -> Self {
        Self {
            limit,
            ready: Mutex::new(Vec::new()),
            filled: AtomicBool::new(false),
            sleeping: AtomicBool::new(false),
            waker,
        }
    }

    pub(super) const fn limit(&self) -> usize {
        self.limit
    }

    fn lock(&self) -> MutexGuard<'_, Vec<PeerId>> {
        self.ready.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a connection, without waking the loop.
    pub(super) fn push(&self, id: PeerId) {
        self.lock().push(id);
        self.filled.store(true, Ordering::SeqCst);
    }

    /// Wakes the loop if it waits.
    pub(super) fn wake(&self) {
        if self.sleeping.swap(false, Ordering::SeqCst) {
            // It fails only if the loop is gone.
            let _ = self.waker.wake();
        }
    }

    /// The loop is about to wait. Returns false if it must not.
    pub(super) fn fall_asleep(&self) -> bool {
        self.sleeping.store(true, Ordering::SeqCst);
        let empty = !self.filled.load(Ordering::SeqCst);
        if !empty {
            self.sleeping.store(false, Ordering::SeqCst);
        }
        empty
    }

    /// The loop does not wait any more.
    pub(super) fn awake(&self) {
        self.sleeping.store(false, Ordering::SeqCst);
    }

    /// Exchanges what is ready for the empty `list`.
    pub(super) fn take(&self, list: &mut Vec<PeerId>) {
        if self.filled.swap(false, Ordering::SeqCst) {
            core::mem::swap(&mut *self.lock(), list);
        }
    }
}
