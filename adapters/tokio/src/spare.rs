//! Buffers that the connections of a thread hand on to each other: one that has nothing to read and
//! nothing to write has none, and one that wakes up need not allocate.

use core::cell::{Cell, RefCell};

use bytes::Bytes;

/// How much is read at once, in bytes: small enough for the cache, and a message of 64 KiB with its
/// header, and something behind it.
pub(crate) const LEN: usize = 64 * 1024 + 64;

/// How many a thread keeps: one to read into, and one to write from, for two connections.
const MOST: usize = 4;

thread_local! {
    static SPARE: Spare = const { Spare::new() };
}

struct Spare {
    /// What was given last, or nothing: an echo of single messages needs no other.
    first: Cell<Vec<u8>>,
    more: RefCell<Vec<Vec<u8>>>,
}

impl Spare {
    const fn new() -> Self {
        Self {
            first: Cell::new(Vec::new()),
            more: RefCell::new(Vec::new()),
        }
    }
}

/// Returns an empty buffer with room for [`LEN`] bytes.
#[inline]
pub(crate) fn take() -> Vec<u8> {
    // A thread that ends has none.
    let spare = SPARE.try_with(|spare| spare.first.take());
    match spare {
        Ok(spare) if spare.capacity() > 0 => spare,
        _ => take_other(),
    }
}

#[inline(never)]
fn take_other() -> Vec<u8> {
    let spare = SPARE.try_with(|spare| spare.more.borrow_mut().pop());
    let spare = spare.ok().flatten();
    spare.unwrap_or_else(|| Vec::with_capacity(LEN))
}

/// Takes a buffer back, whatever is in it. One that has grown or shrunk is freed.
#[inline]
pub(crate) fn give(mut buffer: Vec<u8>) {
    if buffer.capacity() != LEN {
        return;
    }
    buffer.clear();
    let _ = SPARE.try_with(|spare| {
        let other = spare.first.replace(buffer);
        if other.capacity() > 0 {
            give_other(spare, other);
        }
    });
}

#[inline(never)]
fn give_other(spare: &Spare, buffer: Vec<u8>) {
    let more = &mut *spare.more.borrow_mut();
    if more.len() < MOST - 1 {
        more.push(buffer);
    }
}

/// Returns what is in a buffer from `start` on, without a copy. The buffer is given back by whoever lets
/// go of the last of it. If that is much shorter than the buffer, or the buffer is another, it is copied.
pub(crate) fn share(mut buffer: Vec<u8>, start: usize) -> Bytes {
    let len = buffer.len() - start;
    // Whoever keeps it keeps no more than twice that, and 64 bytes.
    let is_long = buffer.capacity() <= 2 * len + 64;
    match buffer.capacity() {
        LEN if is_long => Bytes::from_owner(Shared(buffer)).slice(start..),
        LEN => {
            let bytes = Bytes::copy_from_slice(&buffer[start..]);
            give(buffer);
            bytes
        }
        _ => {
            if !is_long {
                buffer.drain(..start);
                buffer.shrink_to_fit();
                return buffer.into();
            }
            Bytes::from(buffer).slice(start..)
        }
    }
}

struct Shared(Vec<u8>);

impl AsRef<[u8]> for Shared {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        give(core::mem::take(&mut self.0));
    }
}
