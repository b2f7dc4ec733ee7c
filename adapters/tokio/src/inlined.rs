//! `poll_fn`, inlined.

use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};

/// Returns a future that `poll` polls, as [`poll_fn`](core::future::poll_fn) does, but one that is a part of
/// the task that awaits it: a function of its own would return after its system call, which some processors
/// cannot predict.
pub(crate) const fn inlined<T, F: FnMut(&mut Context<'_>) -> Poll<T>>(poll: F) -> Inlined<F> {
    Inlined(poll)
}

pub(crate) struct Inlined<F>(F);

impl<T, F: FnMut(&mut Context<'_>) -> Poll<T> + Unpin> Future for Inlined<F> {
    type Output = T;

    #[inline(always)]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        (self.0)(cx)
    }
}
