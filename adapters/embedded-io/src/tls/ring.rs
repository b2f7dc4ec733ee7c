//! [`Ring`]: bytes on their way from one task to another of the same thread, in the caller's memory.

use core::cell::Cell;
use core::future::poll_fn;
use core::mem;
use core::task::{Poll, Waker};

/// One direction of a tunnel. One side puts bytes in, the other takes them out, and each can wait for
/// the other. All state is here and none in a future, so any future may be dropped.
pub(super) struct Ring<'a> {
    bytes: &'a [Cell<u8>],
    start: Cell<usize>,
    len: Cell<usize>,
    /// Waits for bytes.
    taker: Cell<Option<Waker>>,
    /// Waits for room.
    putter: Cell<Option<Waker>>,
}

impl<'a> Ring<'a> {
    pub(super) const fn new(memory: &'a mut [u8]) -> Self {
        Self {
            bytes: Cell::from_mut(memory).as_slice_of_cells(),
            start: Cell::new(0),
            len: Cell::new(0),
            taker: Cell::new(None),
            putter: Cell::new(None),
        }
    }

    pub(super) const fn capacity(&self) -> usize {
        self.bytes.len()
    }

    /// Forgets what is in it.
    pub(super) fn clear(&self) {
        self.len.set(0);
        self.wake();
    }

    /// Puts in as much as there is room for, and returns how much that was.
    pub(super) fn put(&self, bytes: &[u8]) -> usize {
        let room = self.bytes.len().saturating_sub(self.len.get());
        let count = room.min(bytes.len());
        let end = self.wrapped(self.len.get());
        let (low, high) = self.bytes.split_at_checked(end).unwrap_or_default();
        for (place, byte) in high.iter().chain(low).zip(bytes.iter().take(count)) {
            place.set(*byte);
        }
        self.len.set(self.len.get().saturating_add(count));
        if count > 0 {
            wake(&self.taker);
        }
        count
    }

    /// Takes out what fits into `bytes`, and returns how much that was.
    pub(super) fn take(&self, bytes: &mut [u8]) -> usize {
        let count = self.len.get().min(bytes.len());
        let (low, high) = (self.bytes.split_at_checked(self.start.get())).unwrap_or_default();
        for (byte, place) in bytes.iter_mut().take(count).zip(high.iter().chain(low)) {
            *byte = place.get();
        }
        self.start.set(self.wrapped(count));
        self.len.set(self.len.get().saturating_sub(count));
        if count > 0 {
            wake(&self.putter);
        }
        count
    }

    /// The index so many bytes behind the first.
    const fn wrapped(&self, count: usize) -> usize {
        let index = self.start.get().saturating_add(count);
        match index.checked_sub(self.bytes.len()) {
            Some(index) => index,
            None => index,
        }
    }

    /// Waits until `taken` is something. It is asked again whenever bytes were put in, or at [`wake`](Self::wake).
    pub(super) async fn until_taken<V>(&self, mut taken: impl FnMut() -> Option<V>) -> V {
        wait(&self.taker, &mut taken).await
    }

    /// Waits until `put` is something. It is asked again whenever bytes were taken out, or at
    /// [`wake`](Self::wake).
    pub(super) async fn until_put<V>(&self, mut put: impl FnMut() -> Option<V>) -> V {
        wait(&self.putter, &mut put).await
    }

    /// Has both sides look again: something has changed beside the bytes.
    pub(super) fn wake(&self) {
        wake(&self.taker);
        wake(&self.putter);
    }
}

async fn wait<V>(waiting: &Cell<Option<Waker>>, mut ready: impl FnMut() -> Option<V>) -> V {
    poll_fn(move |context| match ready() {
        Some(value) => Poll::Ready(value),
        None => {
            waiting.set(Some(context.waker().clone()));
            Poll::Pending
        }
    })
    .await
}

pub(super) fn wake(waker: &Cell<Option<Waker>>) {
    if let Some(waker) = waker.take() {
        waker.wake();
    }
}

/// Has others polled in between.
pub(super) async fn yield_once() {
    let mut is_polled = false;
    poll_fn(move |context| match mem::replace(&mut is_polled, true) {
        true => Poll::Ready(()),
        false => {
            context.waker().wake_by_ref();
            Poll::Pending
        }
    })
    .await;
}
