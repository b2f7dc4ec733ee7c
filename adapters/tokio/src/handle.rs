//! A handle of a server: its open connections, and how they are all closed.

use core::future::{Future, poll_fn};
use core::pin::pin;
use core::sync::atomic::{AtomicU32, Ordering};
use core::task::Poll;
use core::time::Duration;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use motews::{CloseCode, ConnectionConfig, Millis, Server, Session};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use crate::error::SendError;
use crate::wakers::Wakers;

/// How long a connection whose time is over may take to notice it.
const GRACE: Duration = Duration::from_millis(500);

/// A time that is longer is none: the session counts 32 bits of milliseconds, and so half of that ahead.
const LONGEST: Duration = Duration::from_millis((u32::MAX / 2) as u64);

/// A handle that closes all WebSockets of a server and waits until they are closed. Give it to each
/// [`Acceptor`](crate::Acceptor) of the server: [`Acceptor::handle`](crate::Acceptor::handle). It can be
/// cloned, for the task of a signal, for example.
///
/// A server on hyper or axum that is shut down gracefully waits for its HTTP connections only: what was
/// upgraded is none any more.
///
/// ```no_run
/// use core::time::Duration;
/// use motews_tokio::{Acceptor, ServerHandle};
///
/// # async fn run(signal: impl Future) -> Result<(), Box<dyn std::error::Error>> {
/// let handle = ServerHandle::new();
/// let acceptor = Acceptor::new().handle(&handle);
/// // ... serve with it until the first Ctrl-C, then accept no more
/// # drop(acceptor);
/// signal.await;
/// handle.shutdown(Duration::from_secs(10));
/// let left = handle.closed().await;
/// println!("{left} WebSockets did not close in time");
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, Default)]
pub struct ServerHandle(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    /// How often shutting down was asked for. It changes behind `State::end`.
    calls: AtomicU32,
    state: Mutex<State>,
    /// Shutting down has begun, or has a closer end.
    begun: Notify,
    /// A connection has gone.
    gone: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// Those that are open, and those in their opening handshake.
    connections: BTreeMap<u64, Option<Arc<Wakers>>>,
    /// How many there ever were.
    count: u64,
    end: Option<End>,
}

/// How a connection is to be closed.
#[derive(Clone, Debug)]
pub(crate) struct End {
    pub(crate) code: CloseCode,
    pub(crate) reason: Arc<str>,
    /// `None`: by the usual deadlines.
    pub(crate) by: Option<Instant>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ServerHandle {
    /// Returns a handle of a server without connections.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Shuts the server down: closes all connections with 1001, behind what was sent before. Requests
    /// that come later are answered with 503. This call does not wait: see [`closed`](Self::closed).
    ///
    /// Until then a peer may read as slowly as it likes: `within` replaces
    /// [`Timeouts::write`](crate::Timeouts::write) and [`Timeouts::close`](crate::Timeouts::close). With
    /// more than 24 days, [`Duration::MAX`] for example, those hold instead. Of several calls the earliest end holds, and the first
    /// code.
    ///
    /// A connection is closed by the task that has it, as soon as it calls any method of it: a task that
    /// waits to receive or to send does so at once. After that its
    /// [`recv`](crate::WebSocketStream::recv) returns what still comes, and `None` in the end.
    ///
    /// It can be called from any thread.
    pub fn shutdown(&self, within: Duration) {
        self.begin(CloseCode::GOING_AWAY, "".into(), within);
    }

    /// The same with another code and reason: 1012 if the server comes back, for example.
    ///
    /// # Errors
    /// [`SendError::Invalid`] if the code or the reason cannot be sent. Nothing is closed then.
    pub fn shutdown_with(
        &self,
        code: CloseCode,
        reason: &str,
        within: Duration,
    ) -> Result<(), SendError> {
        // The rules are core's.
        let mut session = Session::<Server>::new(Server, ConnectionConfig::default(), Millis(0));
        session.close(code, reason)?;
        self.begin(code, reason.into(), within);
        Ok(())
    }

    fn begin(&self, code: CloseCode, reason: Arc<str>, within: Duration) {
        let by = match within <= LONGEST {
            true => Instant::now().checked_add(within),
            false => None,
        };
        let mut state = self.0.lock();
        match &mut state.end {
            None => state.end = Some(End { code, reason, by }),
            Some(end) => end.by = end.by.into_iter().chain(by).min(),
        }
        self.0.calls.fetch_add(1, Ordering::Release);
        let connections: Vec<_> = state.connections.values().flatten().cloned().collect();
        drop(state);
        self.0.begun.notify_waiters();
        for wakers in connections {
            wakers.wake_all();
        }
    }

    /// Returns how many connections there are, with those in their opening handshake.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.0.lock().connections.len()
    }

    /// Waits until the server was shut down and all its connections are closed, and no longer than half a
    /// second beyond what [`shutdown`](Self::shutdown) allows. Returns how many there are still: those
    /// whose tasks do something else. Cancel-safe.
    pub async fn closed(&self) -> usize {
        loop {
            let begun = self.0.begun.notified();
            let gone = self.0.gone.notified();
            let (left, end) = {
                let state = self.0.lock();
                (state.connections.len(), state.end.clone())
            };
            let Some(end) = end else {
                begun.await;
                continue;
            };
            if left == 0 {
                return 0;
            }
            let changed = either(begun, gone);
            match end.by.and_then(|by| by.checked_add(GRACE)) {
                None => changed.await,
                Some(by) => {
                    if timeout_at(by, changed).await.is_err() {
                        return self.connections();
                    }
                }
            }
        }
    }

    pub(crate) fn is_shutting_down(&self) -> bool {
        self.0.calls.load(Ordering::Acquire) > 0
    }

    /// A connection that begins.
    pub(crate) fn register(&self) -> Registered {
        let mut state = self.0.lock();
        state.count += 1;
        let id = state.count;
        state.connections.insert(id, None);
        drop(state);
        let shared = self.0.clone();
        Registered {
            shared,
            id,
            calls: 0,
        }
    }

    /// Lets a step of the opening handshake go on until shutting down begins; `None` then.
    pub(crate) async fn unless_shut_down<T>(&self, step: impl Future<Output = T>) -> Option<T> {
        let begun = self.0.begun.notified();
        if self.is_shutting_down() {
            return None;
        }
        either(async { Some(step.await) }, async {
            begun.await;
            None
        })
        .await
    }
}

/// A connection that its server knows, as long as this is there.
#[derive(Debug)]
pub(crate) struct Registered {
    shared: Arc<Shared>,
    id: u64,
    /// How many of the calls are known.
    calls: u32,
}

impl Registered {
    /// Says who is to be woken.
    pub(crate) fn open(&mut self, wakers: &Arc<Wakers>) {
        let mut state = self.shared.lock();
        state.connections.insert(self.id, Some(wakers.clone()));
    }

    /// Returns how to close, when that is to be done, and again when it is to be done earlier.
    #[inline]
    pub(crate) fn take_end(&mut self) -> Option<End> {
        let calls = self.shared.calls.load(Ordering::Acquire);
        if calls == self.calls {
            return None;
        }
        self.calls = calls;
        self.shared.lock().end.clone()
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        // A waker may drop a task, and that another connection: never with the lock held.
        let wakers = self.shared.lock().connections.remove(&self.id);
        drop(wakers);
        self.shared.gone.notify_waiters();
    }
}

/// Waits for the first of both.
async fn either<T>(one: impl Future<Output = T>, other: impl Future<Output = T>) -> T {
    let (mut one, mut other) = (pin!(one), pin!(other));
    poll_fn(|cx| match one.as_mut().poll(cx) {
        Poll::Pending => other.as_mut().poll(cx),
        ready => ready,
    })
    .await
}
