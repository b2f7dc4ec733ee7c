//! A connection that several borrow, or one.

use core::future::poll_fn;
use core::task::{Context, Poll};
use std::sync::Arc;

use crate::engine::Engine;
use crate::sync::{Mutex, MutexGuard, lock};
use crate::wakers::{Slot, Wakers};

/// What the halves share. The lock is held for as long as a call that does not wait takes.
#[derive(Debug)]
pub(crate) struct Shared<S, R> {
    engine: Mutex<Engine<S, R>>,
    wakers: Arc<Wakers>,
}

impl<S, R> Shared<S, R> {
    pub(crate) fn new(engine: Engine<S, R>) -> Arc<Self> {
        let wakers = engine.wakers();
        let engine = Mutex::new(engine);
        Arc::new(Self { engine, wakers })
    }

    /// The task that had the slot waits no longer.
    pub(crate) fn forget(&self, slot: Slot) {
        self.wakers.forget(slot);
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Engine<S, R>> {
        lock(&self.engine)
    }

    /// Waits for what `poll` does, as a task that sends.
    pub(crate) async fn wait<T>(
        &self,
        mut poll: impl FnMut(&mut Engine<S, R>, &mut Context<'_>, &mut Slot) -> Poll<T>,
    ) -> T {
        let mut waits = Waits {
            wakers: &self.wakers,
            slot: Slot::NONE,
        };
        poll_fn(|cx| poll(&mut self.lock(), cx, &mut waits.slot)).await
    }
}

/// A future that waits to send. Dropped, it leaves no waker behind.
struct Waits<'a> {
    wakers: &'a Wakers,
    slot: Slot,
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.wakers.forget(self.slot);
    }
}

/// The connection, for something that borrows it: whole, or one of its halves.
#[derive(Debug)]
pub(crate) enum Access<'a, S, R> {
    Whole(&'a mut Engine<S, R>),
    Half(&'a Shared<S, R>),
}

impl<S, R> Access<'_, S, R> {
    pub(crate) fn with<T>(&mut self, f: impl FnOnce(&mut Engine<S, R>) -> T) -> T {
        match self {
            Self::Whole(engine) => f(engine),
            Self::Half(shared) => f(&mut shared.lock()),
        }
    }

    /// The slot of a task that has not waited yet.
    pub(crate) const fn slot(&self) -> Slot {
        match self {
            Self::Whole(_) => Slot::whole(),
            Self::Half(_) => Slot::NONE,
        }
    }

    /// The task that had the slot waits no longer.
    pub(crate) fn forget(&self, slot: Slot) {
        if let Self::Half(shared) = self {
            shared.forget(slot);
        }
    }
}
