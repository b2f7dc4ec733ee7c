//! What the loops and the handles of a server share.

use core::fmt;
use core::net::SocketAddr;
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use core::time::Duration;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use super::inbox::Inbox;
use super::settings::Settings;

/// What the loops and the handles share.
pub(super) struct Shared {
    pub(super) settings: Arc<Settings>,
    pub(super) local_addr: SocketAddr,
    pub(super) connections: AtomicUsize,
    /// Whether `stop` is there: looked at in each round.
    stopping: AtomicBool,
    stop: Mutex<Option<Stop>>,
    /// Those of the loops that run, or are about to.
    inboxes: Mutex<Vec<Arc<Inbox>>>,
}

/// That the server shuts down.
#[derive(Clone, Copy)]
pub(super) struct Stop {
    /// When it is to be gone, if not when the last peer is.
    pub(super) at: Option<Instant>,
}

impl Shared {
    pub(super) fn new(settings: Settings, local_addr: SocketAddr) -> Self {
        Self {
            settings: Arc::new(settings),
            local_addr,
            connections: AtomicUsize::new(0),
            stopping: AtomicBool::new(false),
            stop: Mutex::new(None),
            inboxes: Mutex::default(),
        }
    }

    /// Adds a loop that is to be woken for a shutdown. One that was requested before, the loop sees
    /// without.
    pub(super) fn add(&self, inbox: Arc<Inbox>) {
        let mut inboxes = self.inboxes.lock().unwrap_or_else(PoisonError::into_inner);
        inboxes.push(inbox);
    }

    pub(super) fn stop(&self) -> Option<Stop> {
        if !self.stopping.load(Ordering::SeqCst) {
            return None;
        }
        *self.stop.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has all loops end when this time is over, or earlier.
    pub(super) fn shut_down(&self, within: Duration) {
        let at = Instant::now().checked_add(within);
        let mut stop = self.stop.lock().unwrap_or_else(PoisonError::into_inner);
        let before = stop.and_then(|stop| stop.at);
        *stop = Some(Stop {
            at: before.into_iter().chain(at).min(),
        });
        drop(stop);
        self.stopping.store(true, Ordering::SeqCst);
        for inbox in &*self.inboxes.lock().unwrap_or_else(PoisonError::into_inner) {
            inbox.wake();
        }
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Shared({})", self.local_addr)
    }
}
