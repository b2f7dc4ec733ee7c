//! Who waits for a connection.

use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use core::task::Waker;
use std::sync::Arc;
use std::task::Wake;

use crate::sync::{Mutex, MutexGuard, lock, wakes_reader_only};

/// The tasks that wait for a connection: one that receives, and any number that send.
///
/// The stream and the timer know one waker, which is this, and it wakes all of them: over TLS a read
/// may wait for a write, and whoever waits to send reads, too. As long as only one task has ever waited,
/// it is registered here as the one that receives, and the stream knows it itself. Whoever waits registers first and
/// looks at the stream afterwards, so no wake-up is lost: what another task has read or written since
/// then has woken all.
///
/// Whoever stops waiting to send takes its waker back: else a loop of cancelled sends would fill
/// the memory while the peer does not read.
#[derive(Debug, Default)]
pub(crate) struct Wakers {
    waiting: Mutex<Waiting>,
    /// The last slot that was given away. It is used with the lock held, and takes less memory beside it.
    last: AtomicU32,
    /// The deadline that was set has passed.
    is_due: AtomicBool,
    /// The task that receives is registered.
    has_reader: AtomicBool,
}

#[derive(Debug, Default)]
struct Waiting {
    reader: Option<Waker>,
    writers: Vec<(u32, Waker)>,
}

/// The place of a task that waits to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Slot {
    id: u32,
    pub(crate) mark: Mark,
}

/// Up to where the output has to leave for a task that waits to send: what others send later is nothing to
/// it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mark {
    /// None is set. If the connection is closing, and nothing more is sent, that is its end.
    None,
    /// Up to here, until there is room.
    Room(u64),
    /// What is not a frame yet, and came since then.
    Behind(u64),
    /// Up to here, until it is flushed.
    Sent(u64),
}

impl Slot {
    /// Of a task that has not waited yet.
    pub(crate) const NONE: Self = Self {
        id: 0,
        mark: Mark::None,
    };

    /// Of a connection that is not split: only one task can send on it, so a mark need not be kept.
    pub(crate) const fn whole() -> Self {
        let id = u32::MAX;
        Self { id, ..Self::NONE }
    }
}

/// What a task waits for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Side<'a> {
    Reader,
    Writer(&'a mut Slot),
}

impl Wakers {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        lock(&self.waiting)
    }

    /// The deadline has passed.
    pub(crate) fn wake_for_deadline(&self) {
        self.is_due.store(true, Ordering::Release);
        self.wake_all();
    }

    /// Whether the deadline that was set has passed.
    pub(crate) fn is_due(&self) -> bool {
        self.is_due.load(Ordering::Acquire)
    }

    /// A new deadline is set.
    pub(crate) fn set_deadline(&self) {
        self.is_due.store(false, Ordering::Release);
    }

    /// Whether the task that registered last to receive was not woken since.
    #[inline]
    pub(crate) fn has_reader(&self) -> bool {
        self.has_reader.load(Ordering::Acquire)
    }

    pub(crate) fn register(&self, side: Side<'_>, waker: &Waker) {
        let mut waiting = self.lock();
        let known = match side {
            Side::Reader => {
                self.has_reader.store(true, Ordering::Release);
                waiting.reader.get_or_insert_with(|| waker.clone())
            }
            Side::Writer(slot) => waiting.writer(slot, waker, &self.last),
        };
        if known.will_wake(waker) {
            return;
        }
        let before = core::mem::replace(known, waker.clone());
        // It may drop a task: never with the lock held.
        drop(waiting);
        drop(before);
    }

    /// Whoever had the slot waits no longer.
    pub(crate) fn forget(&self, slot: Slot) {
        if slot.id == Slot::NONE.id {
            return;
        }
        let mut waiting = self.lock();
        let index = waiting.writers.iter().position(|(of, _)| *of == slot.id);
        let waker = index.map(|index| waiting.writers.swap_remove(index));
        drop(waiting);
        drop(waker);
    }

    fn take_reader(&self, waiting: &mut Waiting) -> Option<Waker> {
        self.has_reader.store(false, Ordering::Release);
        waiting.reader.take()
    }

    /// There may be a message.
    pub(crate) fn wake_reader(&self) {
        let mut waiting = self.lock();
        let reader = self.take_reader(&mut waiting);
        drop(waiting);
        if let Some(waker) = reader {
            waker.wake();
        }
    }

    /// There may be room.
    pub(crate) fn wake_writers(&self) {
        let writers = core::mem::take(&mut self.lock().writers);
        writers.into_iter().for_each(|(_, waker)| waker.wake());
    }

    pub(crate) fn wake_all(&self) {
        let mut waiting = self.lock();
        let reader = self.take_reader(&mut waiting);
        let writers = core::mem::take(&mut waiting.writers);
        drop(waiting);
        reader.into_iter().for_each(Waker::wake);
        writers.into_iter().for_each(|(_, waker)| waker.wake());
    }
}

impl Waiting {
    fn writer(&mut self, slot: &mut Slot, waker: &Waker, last: &AtomicU32) -> &mut Waker {
        if slot.id == Slot::NONE.id {
            // They are taken back long before they come round.
            slot.id = last.load(Ordering::Relaxed) % (u32::MAX - 1) + 1;
            last.store(slot.id, Ordering::Relaxed);
        }
        let index = self.writers.iter().position(|(of, _)| *of == slot.id);
        let index = index.unwrap_or_else(|| {
            self.writers.push((slot.id, waker.clone()));
            self.writers.len() - 1
        });
        &mut self.writers[index].1
    }
}

impl Wake for Wakers {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        match wakes_reader_only() {
            true => self.wake_reader(),
            false => self.wake_all(),
        }
    }
}

/// With the counts of its `Arc`, and what the allocator adds, 80 bytes.
#[cfg(not(motews_shuttle))]
const _: () = assert!(size_of::<Wakers>() <= 56, "wakers take at most 56 bytes");
