//! Who waits for a connection.

use core::task::Waker;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Wake;

/// The tasks that wait for a connection: one that receives, and any number that send.
///
/// The stream and the timer know one waker, which is this, and it wakes all of them: over TLS a read
/// may wait for a write, and whoever waits to send reads, too. Whoever waits registers first and
/// looks at the stream afterwards, so no wake-up is lost: what another task has read or written since
/// then has woken all.
#[derive(Debug, Default)]
pub(crate) struct Wakers(Mutex<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    reader: Option<Waker>,
    writers: Vec<Waker>,
}

/// What a task waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Reader,
    Writer,
}

impl Wakers {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn register(&self, side: Side, waker: &Waker) {
        let mut waiting = self.lock();
        match side {
            Side::Reader => {
                if waiting
                    .reader
                    .as_ref()
                    .is_some_and(|known| known.will_wake(waker))
                {
                    return;
                }
                let before = waiting.reader.replace(waker.clone());
                // It may drop a task: never with the lock held.
                drop(waiting);
                drop(before);
            }
            Side::Writer => {
                if !waiting.writers.iter().any(|known| known.will_wake(waker)) {
                    waiting.writers.push(waker.clone());
                }
            }
        }
    }

    /// There may be a message.
    pub(crate) fn wake_reader(&self) {
        let reader = self.lock().reader.take(); // and let go of the lock
        if let Some(waker) = reader {
            waker.wake();
        }
    }

    /// There may be room.
    pub(crate) fn wake_writers(&self) {
        let writers = core::mem::take(&mut self.lock().writers);
        writers.into_iter().for_each(Waker::wake);
    }

    pub(crate) fn wake_all(&self) {
        self.wake_reader();
        self.wake_writers();
    }
}

impl Wake for Wakers {
    fn wake(self: Arc<Self>) {
        self.wake_all();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.wake_all();
    }
}
