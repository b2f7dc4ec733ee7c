//! One value, set by one thread and awaited by another.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

#[derive(Debug)]
pub(crate) struct Awaited<T> {
    value: Mutex<Option<T>>,
    is_set: Condvar,
}

impl<T> Default for Awaited<T> {
    fn default() -> Self {
        Self {
            value: Mutex::new(None),
            is_set: Condvar::new(),
        }
    }
}

impl<T> Awaited<T> {
    /// Sets the value, unless it is set already.
    pub(crate) fn set(&self, value: T) {
        self.lock().get_or_insert(value);
        self.is_set.notify_all();
    }

    /// Waits for the value until then, for ever without a time, and takes it.
    pub(crate) fn take(&self, until: Option<Instant>) -> Option<T> {
        let mut value = self.lock();
        loop {
            if let Some(value) = value.take() {
                return Some(value);
            }
            value = match until {
                None => {
                    let waited = self.is_set.wait(value);
                    waited.unwrap_or_else(PoisonError::into_inner)
                }
                Some(until) => {
                    let left = until.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return None;
                    }
                    let waited = self.is_set.wait_timeout(value, left);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<T>> {
        self.value.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
