//! The locks of what the halves of a connection share: those of std, or those of a tool that tries
//! which task goes when.

use std::sync::PoisonError;

#[cfg(motews_shuttle)]
pub(crate) use shuttle::sync::{Mutex, MutexGuard};
#[cfg(not(motews_shuttle))]
pub(crate) use std::sync::{Mutex, MutexGuard};

/// Locks it. Nothing that is done with it leaves it half done.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
