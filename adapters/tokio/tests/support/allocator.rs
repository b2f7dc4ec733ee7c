//! The system's allocator, which knows how much one thread holds.

use core::alloc::{GlobalAlloc, Layout};
use core::cell::Cell;
use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::alloc::System;
use std::sync::Mutex;

struct Counting;

static HELD: AtomicUsize = AtomicUsize::new(0);

/// Who counts: one test at a time.
pub(crate) static COUNTS: Mutex<()> = Mutex::new(());

thread_local! {
    /// Whether this thread is counted.
    pub(crate) static IS_COUNTED: Cell<bool> = const { Cell::new(false) };
}

/// Returns how much the threads hold that are counted, in bytes.
pub(crate) fn held() -> usize {
    HELD.load(Relaxed)
}

fn count(change: impl FnOnce(usize) -> usize) {
    if IS_COUNTED.get() {
        HELD.store(change(HELD.load(Relaxed)), Relaxed);
    }
}

// SAFETY: every call goes to `System` unchanged; counting touches no memory of the caller's.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(|held| held.wrapping_add(layout.size()));
        // SAFETY: the caller keeps the contract of `GlobalAlloc::alloc`, which is `System`'s.
        unsafe { System.alloc(layout) }
    }

    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        count(|held| held.wrapping_add(new_size).wrapping_sub(layout.size()));
        // SAFETY: as above.
        unsafe { System.realloc(ptr, layout, new_size) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        count(|held| held.wrapping_sub(layout.size()));
        // SAFETY: as above.
        unsafe { System.dealloc(ptr, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;
