//! The tasks that wait for a connection: one nearly always, which the stream then wakes itself.

use core::task::Waker;

use super::Engine;
use crate::wakers::Side;

impl<S, R> Engine<S, R> {
    /// Returns the waker that the stream is to know while a task polls this connection whose own is
    /// `waker`: that itself if no other task ever did, and otherwise that of all who wait.
    #[inline(always)]
    pub(super) fn waker<'a>(
        &mut self,
        waker: &'a Waker,
        of_all: &'a mut Option<Waker>,
    ) -> &'a Waker {
        match self.is_alone(waker) {
            true => waker,
            false => of_all.insert(self.waker_of_all()),
        }
    }

    pub(super) fn waker_of_all(&self) -> Waker {
        self.wakers.clone().into()
    }

    /// Whether no other task has ever waited for this connection. Then the stream wakes this one itself,
    /// for the way through [`Wakers`] takes a lock and six atomic operations for each message. They know the
    /// task all the same: the timer and the server wake through them.
    #[inline(always)]
    fn is_alone(&mut self, waker: &Waker) -> bool {
        let is_known = self.task.as_ref().is_some_and(|task| task.will_wake(waker));
        (is_known && self.wakers.has_reader()) || self.meet(waker)
    }

    /// The same for a task that is not known, or no longer.
    #[cold]
    fn meet(&mut self, waker: &Waker) -> bool {
        if self.is_shared {
            return false;
        }
        let known = self.task.as_ref();
        if known.is_some_and(|task| !task.will_wake(waker)) {
            self.share();
            // What the stream knows of it is about to be replaced.
            self.wakers.wake_all();
            return false;
        }
        self.wakers.register(Side::Reader, waker);
        self.task = Some(waker.clone());
        true
    }

    /// From now on several tasks wait.
    pub(super) fn share(&mut self) {
        self.is_shared = true;
        self.task = None;
    }

    /// Lets whoever waits for the connection be woken: as [`Wakers::register`], if that is needed.
    #[inline(always)]
    pub(super) fn wait(&self, side: Side<'_>, waker: &Waker) {
        if self.is_shared {
            self.wakers.register(side, waker);
        }
    }
    /// There may be room for those who wait to send. A task that is alone is known as the one that receives.
    #[cold]
    pub(super) fn wake_writers(&self) {
        match self.is_shared {
            true => self.wakers.wake_writers(),
            false => self.wakers.wake_reader(),
        }
    }
}
