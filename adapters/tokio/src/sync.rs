//! The locks of what the halves of a connection share: those of std, or those of a tool that tries
//! which task goes when.

use std::sync::PoisonError;

#[cfg(motews_shuttle)]
pub(crate) use shuttle::sync::{Mutex, MutexGuard};
#[cfg(not(motews_shuttle))]
pub(crate) use std::sync::{Mutex, MutexGuard};

/// Whether the stream wakes only the task that receives: a fault that the tool has to find.
#[cfg(motews_shuttle)]
pub(crate) fn wakes_reader_only() -> bool {
    seeded::WAKES_READER_ONLY.load(core::sync::atomic::Ordering::Relaxed)
}

#[cfg(not(motews_shuttle))]
pub(crate) const fn wakes_reader_only() -> bool {
    false
}

/// Faults, for the test of what finds them.
#[cfg(motews_shuttle)]
pub mod seeded {
    use core::sync::atomic::AtomicBool;

    /// The stream wakes only the task that receives.
    pub static WAKES_READER_ONLY: AtomicBool = AtomicBool::new(false);
}

/// Locks it. Nothing that is done with it leaves it half done.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
