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
        if slot != Slot::NONE {
            self.wakers.forget(slot);
        }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Engine<S, R>> {
        lock(&self.engine)
    }

    /// Waits for what `poll` does, as a task that sends. Dropped, it leaves no waker behind.
    pub(crate) async fn wait<T>(
        &self,
        mut poll: impl FnMut(&mut Engine<S, R>, &mut Context<'_>, &mut Slot) -> Poll<T>,
    ) -> T {
        let mut access = Access::half(self);
        poll_fn(|cx| access.with(|engine, slot| poll(engine, cx, slot))).await
    }
}

/// The connection, for something that borrows it and sends or receives.
#[derive(Debug)]
pub(crate) struct Access<'a, S, R> {
    whose: Whose<'a, S, R>,
    slot: Slot,
}

#[derive(Debug)]
enum Whose<'a, S, R> {
    Whole(&'a mut Engine<S, R>),
    Half(&'a Shared<S, R>),
}

impl<'a, S, R> Access<'a, S, R> {
    pub(crate) const fn whole(engine: &'a mut Engine<S, R>) -> Self {
        Self {
            whose: Whose::Whole(engine),
            slot: Slot::whole(),
        }
    }

    pub(crate) const fn half(shared: &'a Shared<S, R>) -> Self {
        Self {
            whose: Whose::Half(shared),
            slot: Slot::NONE,
        }
    }

    pub(crate) fn with<T>(&mut self, f: impl FnOnce(&mut Engine<S, R>, &mut Slot) -> T) -> T {
        match &mut self.whose {
            Whose::Whole(engine) => f(engine, &mut self.slot),
            Whose::Half(shared) => f(&mut shared.lock(), &mut self.slot),
        }
    }
}

impl<S, R> Drop for Access<'_, S, R> {
    fn drop(&mut self) {
        if let Whose::Half(shared) = &self.whose {
            shared.forget(self.slot);
        }
    }
}
