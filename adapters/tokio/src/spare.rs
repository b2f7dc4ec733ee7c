//! Buffers that the connections of a thread hand on to each other: one that has nothing to read and
//! nothing to write has none, and one that wakes up need not allocate.

use core::cell::RefCell;

/// How much is read at once, in bytes: small enough for the cache.
pub(crate) const LEN: usize = 64 * 1024;

/// How many a thread keeps: one to read into, and one to write from, for two connections.
const MOST: usize = 4;

thread_local! {
    static SPARE: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// Returns an empty buffer with room for [`LEN`] bytes.
pub(crate) fn take() -> Vec<u8> {
    // A thread that ends has none.
    let spare = SPARE.try_with(|spare| spare.borrow_mut().pop());
    let spare = spare.ok().flatten();
    spare.unwrap_or_else(|| Vec::with_capacity(LEN))
}

/// Takes a buffer back, whatever is in it. One that has grown or shrunk is freed.
pub(crate) fn give(mut buffer: Vec<u8>) {
    if buffer.capacity() != LEN {
        return;
    }
    buffer.clear();
    let _ = SPARE.try_with(|spare| {
        let spare = &mut *spare.borrow_mut();
        if spare.len() < MOST {
            spare.push(buffer);
        }
    });
}
