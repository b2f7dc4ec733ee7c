//! What other threads send: one outbox for each connection that has senders, one inbox for each
//! loop.

use core::cell::Cell;
use core::fmt;
use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;
use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use motews::CloseCode;

use super::backlog::{Frame, Packing};
use super::hub::{Broadcast, SlowPolicy};
use super::packing::PeerWindow;
use super::peer::PeerId;
use crate::error::{SendError, TrySendError};
use crate::message::{AsMessage, Message};

thread_local! {
    /// Whether this thread runs a loop, which must never wait.
    static IN_LOOP: Cell<bool> = const { Cell::new(false) };
}

/// This thread runs a loop from now on, or does not any more.
pub(super) fn set_in_loop(in_loop: bool) {
    IN_LOOP.set(in_loop);
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Which connections of a loop have something in their outboxes, and what holds for all of them.
#[derive(Debug)]
pub(super) struct Inbox {
    /// The limit of each backlog, in octets.
    limit: usize,
    write_timeout: Option<Duration>,
    ready: Mutex<Vec<PeerId>>,
    /// There is something in `ready`.
    filled: AtomicBool,
    /// The loop waits, or is about to.
    sleeping: AtomicBool,
    waker: mio::Waker,
}

impl Inbox {
    pub(super) const fn new(
        waker: mio::Waker,
        limit: usize,
        write_timeout: Option<Duration>,
    ) -> Self {
        Self {
            limit,
            write_timeout,
            ready: Mutex::new(Vec::new()),
            filled: AtomicBool::new(false),
            sleeping: AtomicBool::new(false),
            waker,
        }
    }

    fn push(&self, id: PeerId) {
        lock(&self.ready).push(id);
        self.filled.store(true, Ordering::SeqCst);
    }

    /// Wakes the loop if it waits.
    pub(super) fn wake(&self) {
        if self.sleeping.swap(false, Ordering::SeqCst) {
            // It fails only if the loop is gone.
            let _ = self.waker.wake();
        }
    }

    /// The loop is about to wait: `false` if it must not.
    pub(super) fn fall_asleep(&self) -> bool {
        self.sleeping.store(true, Ordering::SeqCst);
        let empty = !self.filled.load(Ordering::SeqCst);
        if !empty {
            self.sleeping.store(false, Ordering::SeqCst);
        }
        empty
    }

    /// The loop does not wait any more.
    pub(super) fn awake(&self) {
        self.sleeping.store(false, Ordering::SeqCst);
    }

    /// Exchanges what is ready for the empty `list`.
    pub(super) fn take(&self, list: &mut Vec<PeerId>) {
        if self.filled.swap(false, Ordering::SeqCst) {
            core::mem::swap(&mut *lock(&self.ready), list);
        }
    }
}

/// What is to be sent on one connection, and how much waits there already. An idle one is small.
#[derive(Debug)]
pub(super) struct Outbox {
    pub(super) id: PeerId,
    pub(super) inbox: Arc<Inbox>,
    /// What a broadcast may be compressed for.
    pub(super) window: Option<PeerWindow>,
    state: Mutex<Outgoing>,
    room: Condvar,
}

#[derive(Debug, Default)]
struct Outgoing {
    /// The oldest, which most often is the only one.
    first: Option<Frame>,
    /// There while there is more to do.
    queue: Option<Box<Queue>>,
    /// Octets that the loop itself has not written yet.
    backlog: usize,
    /// The loop knows that there is something, or will look as soon as it can write.
    scheduled: bool,
    /// Somebody has closed the connection, or it is gone.
    closed: bool,
    /// How many threads wait for room.
    waiting: u16,
}

#[derive(Debug, Default)]
struct Queue {
    /// Those after the first.
    frames: VecDeque<Frame>,
    /// Octets of these frames, and what they cost.
    len: usize,
    cost: usize,
    /// Octets of those among them that the loop itself sends.
    answers: usize,
    /// Written when nothing else waits.
    latest: Option<Frame>,
    close: Option<(CloseCode, String)>,
}

impl Outgoing {
    fn queue(&mut self) -> &mut Queue {
        self.queue.get_or_insert_default()
    }

    /// Whether a frame may wait here: a single one always may.
    fn has_room(&self, cost: usize, limit: usize) -> bool {
        let first = self.first.as_ref().map_or(0, Frame::cost);
        let used = self.backlog + first + self.queue.as_ref().map_or(0, |queue| queue.cost);
        used == 0 || used.saturating_add(cost) <= limit
    }

    fn push(&mut self, frame: Frame) {
        if self.first.is_none() && self.queue.as_ref().is_none_or(|q| q.frames.is_empty()) {
            self.first = Some(frame);
            return;
        }
        let queue = self.queue();
        queue.len += frame.bytes().len();
        queue.cost += frame.cost();
        queue.answers += frame.answer_len();
        queue.frames.push_back(frame);
    }

    fn pop(&mut self) -> Option<Frame> {
        if let Some(first) = self.first.take() {
            return Some(first);
        }
        let queue = self.queue.as_mut()?;
        let frame = queue.frames.pop_front()?;
        queue.len -= frame.bytes().len();
        queue.cost -= frame.cost();
        queue.answers -= frame.answer_len();
        Some(frame)
    }

    /// Drops all that is to be sent, and tells how many messages that are.
    fn clear(&mut self) -> usize {
        let queue = self.queue.take().unwrap_or_default();
        let first = self.first.take();
        queue.frames.len() + usize::from(queue.latest.is_some()) + usize::from(first.is_some())
    }
}

/// What the loop is to do next for a connection.
pub(super) enum Next {
    Send(Frame),
    Close(CloseCode, String),
    /// Nothing more: whoever sends next schedules it again.
    Nothing,
}

impl Outbox {
    pub(super) fn new(id: PeerId, inbox: Arc<Inbox>, window: Option<PeerWindow>) -> Self {
        Self {
            id,
            inbox,
            window,
            state: Mutex::default(),
            room: Condvar::new(),
        }
    }

    /// Tells the loop, unless it knows, but does not wake it.
    fn schedule(&self, state: &mut Outgoing) {
        if !state.scheduled {
            state.scheduled = true;
            self.inbox.push(self.id);
        }
    }

    /// Has the connection closed when all is sent. The loop is told in any case: it does not look
    /// while it cannot write, and the time for closing runs from now on.
    fn schedule_close(&self, state: &mut Outgoing, code: CloseCode, reason: &str) {
        state.closed = true;
        state.queue().close = Some((code, reason.to_owned()));
        state.scheduled = true;
        self.inbox.push(self.id);
    }

    // ---- by the loop ----

    /// The next thing to do, where there is no backlog.
    pub(super) fn next(&self) -> Next {
        let mut state = lock(&self.state);
        if let Some(frame) = state.pop() {
            return Next::Send(frame);
        }
        if let Some(queue) = &mut state.queue {
            if let Some(latest) = queue.latest.take() {
                return Next::Send(latest);
            }
            if let Some((code, reason)) = queue.close.take() {
                return Next::Close(code, reason);
            }
        }
        state.queue = None;
        state.scheduled = false;
        if state.waiting > 0 {
            self.room.notify_all();
        }
        Next::Nothing
    }

    /// Whether somebody wants the connection to be closed.
    pub(super) fn is_closing(&self) -> bool {
        lock(&self.state).closed
    }

    /// Whether there is nothing to send.
    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Appends a message of the loop itself, whatever the limit.
    pub(super) fn append(&self, frame: Frame) {
        let mut state = lock(&self.state);
        state.push(frame);
        self.schedule(&mut state);
    }

    /// Octets in here that the loop itself sends.
    pub(super) fn answers(&self) -> usize {
        let state = lock(&self.state);
        let first = state.first.as_ref().map_or(0, Frame::answer_len);
        first + state.queue.as_ref().map_or(0, |queue| queue.answers)
    }

    /// Tells how much waits beside what is in here.
    pub(super) fn set_backlog(&self, len: usize) {
        let mut state = lock(&self.state);
        state.backlog = len;
        if state.waiting > 0 {
            self.room.notify_all();
        }
    }

    /// The connection is gone.
    pub(super) fn end(&self) {
        let mut state = lock(&self.state);
        state.closed = true;
        state.clear();
        state.backlog = 0;
        self.room.notify_all();
    }

    // ---- by anybody ----

    /// Octets that wait in here.
    pub(super) fn len(&self) -> usize {
        let state = lock(&self.state);
        let queue = state.queue.as_deref();
        let latest = queue.and_then(|queue| queue.latest.as_ref());
        let single = [state.first.as_ref(), latest].into_iter().flatten();
        single.map(|frame| frame.bytes().len()).sum::<usize>() + queue.map_or(0, |queue| queue.len)
    }

    /// Takes a frame if there is room, or waits for it until then.
    fn send(&self, frame: Frame, wait: bool) -> Result<(), SendError> {
        let timeout = self.inbox.write_timeout;
        let until = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let mut state = lock(&self.state);
        loop {
            if state.closed {
                return Err(SendError::Closed);
            }
            if state.has_room(frame.cost(), self.inbox.limit) {
                break;
            }
            if !wait {
                return Err(SendError::Io(io::ErrorKind::WouldBlock.into()));
            }
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                return Err(SendError::TimedOut);
            }
            state.waiting += 1;
            state = match left {
                None => self
                    .room
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner),
                Some(left) => {
                    let waited = self.room.wait_timeout(state, left);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
            };
            state.waiting -= 1;
        }
        state.push(frame);
        self.schedule(&mut state);
        drop(state);
        self.inbox.wake();
        Ok(())
    }

    /// Takes a frame as `policy` wants it, and tells what became of it and of others. Whoever calls
    /// this wakes the loop.
    pub(super) fn offer(&self, frame: &Frame, policy: SlowPolicy) -> Broadcast {
        let mut state = lock(&self.state);
        let mut result = Broadcast::default();
        if state.closed {
            return result;
        }
        if policy == SlowPolicy::KeepNewest {
            let replaced = state.queue().latest.replace(frame.clone());
            result.dropped = usize::from(replaced.is_some());
        } else {
            while !state.has_room(frame.cost(), self.inbox.limit) {
                match policy {
                    SlowPolicy::DropNewest => {
                        result.dropped = 1;
                        return result;
                    }
                    SlowPolicy::Disconnect(code) => {
                        result.dropped = state.clear();
                        result.disconnected = 1;
                        self.schedule_close(&mut state, code, "");
                        return result;
                    }
                    SlowPolicy::DropOldest | SlowPolicy::KeepNewest => {
                        if state.pop().is_none() {
                            // What the loop has begun to write fills the backlog; the newest always
                            // has its place.
                            break;
                        }
                        result.dropped += 1;
                    }
                }
            }
            state.push(frame.clone());
        }
        result.delivered = 1;
        self.schedule(&mut state);
        result
    }
}

/// Sends on a connection of a [`Server`](crate::Server) from any thread:
/// [`Peer::sender`](crate::Peer::sender). Clone it as you like. It does not keep the connection:
/// when that is gone, the calls fail with [`SendError::Closed`].
///
/// What one thread sends arrives in that order. It waits in the connection's backlog, which has a
/// limit ([`Limits::max_backlog`](crate::Limits::max_backlog)); a single message may always wait,
/// however long it is.
///
/// ```no_run
/// use motews_std::{Handler, MessageRef, Peer, Request, SendError, Server};
///
/// #[derive(Clone)]
/// struct Clock;
///
/// impl Handler for Clock {
///     type Data = ();
///
///     fn on_open(&mut self, peer: &mut Peer, _: &Request) -> Result<(), SendError> {
///         let sender = peer.sender();
///         std::thread::spawn(move || {
///             for n in 0.. {
///                 if sender.send(format!("tick {n}")).is_err() {
///                     break; // the connection is closed
///                 }
///                 std::thread::sleep(std::time::Duration::from_secs(1));
///             }
///         });
///         Ok(())
///     }
///
///     fn on_message(&mut self, _: &mut Peer, _: MessageRef) -> Result<(), SendError> {
///         Ok(())
///     }
/// }
///
/// Server::bind("127.0.0.1:9001")?.run(Clock)?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone)]
pub struct PeerSender(pub(super) Arc<Outbox>);

impl PeerSender {
    /// Sends a message. Waits for room in the backlog, but in a [`Handler`](crate::Handler), which
    /// must not wait, it gives [`WouldBlock`](std::io::ErrorKind::WouldBlock) instead
    /// ([`SendError::is_would_block`]).
    ///
    /// # Errors
    /// [`SendError::Closed`], or [`SendError::TimedOut`] if there was no room for
    /// [`Timeouts::write`](crate::Timeouts::write).
    pub fn send(&self, message: impl AsMessage) -> Result<(), SendError> {
        let frame = Frame::new(message.as_message(), Packing::Allowed);
        self.0.send(frame, !IN_LOOP.get())
    }

    /// The same as it is, where others are compressed: see
    /// [`ServerBuilder::deflate`](crate::ServerBuilder::deflate).
    ///
    /// # Errors
    /// As [`send`](Self::send).
    // [PD30]
    #[cfg(feature = "deflate")]
    pub fn send_uncompressed(&self, message: impl AsMessage) -> Result<(), SendError> {
        let frame = Frame::new(message.as_message(), Packing::Plain);
        self.0.send(frame, !IN_LOOP.get())
    }

    /// Sends a message if there is room, without waiting.
    ///
    /// # Errors
    /// [`TrySendError::Full`] if there is no room now, [`TrySendError::Failed`] if there will never
    /// be. Both give the message back.
    pub fn try_send(&self, message: Message) -> Result<(), TrySendError> {
        match self
            .0
            .send(Frame::new(message.as_message(), Packing::Allowed), false)
        {
            Ok(()) => Ok(()),
            Err(error) if error.is_would_block() => Err(TrySendError::Full(message)),
            Err(error) => Err(TrySendError::Failed(message, error)),
        }
    }

    /// Sends a message when all others are written; until then a later one takes its place. So a
    /// peer that reads slowly skips some, and what it gets is fresh: for the frames of a video. Never
    /// waits. Tells whether one that was not sent yet has been replaced.
    ///
    /// # Errors
    /// [`SendError::Closed`]
    pub fn send_latest(&self, message: impl AsMessage) -> Result<bool, SendError> {
        let frame = Frame::new(message.as_message(), Packing::Allowed);
        let offered = self.0.offer(&frame, SlowPolicy::KeepNewest);
        self.0.inbox.wake();
        match offered.delivered {
            0 => Err(SendError::Closed),
            _ => Ok(offered.dropped > 0),
        }
    }

    /// Begins the closing handshake, when all that was sent before is written.
    ///
    /// # Errors
    /// [`SendError::Closed`], or [`SendError::Invalid`] for a code or a reason that may not be
    /// sent.
    pub fn close(&self, code: CloseCode, reason: &str) -> Result<(), SendError> {
        super::connection::check_close(code, reason)?;
        let mut state = lock(&self.0.state);
        if state.closed {
            return Err(SendError::Closed);
        }
        self.0.schedule_close(&mut state, code, reason);
        drop(state);
        self.0.inbox.wake();
        Ok(())
    }

    /// The connection's id.
    #[must_use]
    pub fn id(&self) -> PeerId {
        self.0.id
    }

    /// Whether messages can be sent.
    #[must_use]
    pub fn is_open(&self) -> bool {
        !self.0.is_closing()
    }

    /// Octets of frames that wait to be written.
    #[must_use]
    pub fn buffered_amount(&self) -> usize {
        self.0.len() + lock(&self.0.state).backlog
    }
}

impl fmt::Debug for PeerSender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PeerSender({})", self.0.id)
    }
}
