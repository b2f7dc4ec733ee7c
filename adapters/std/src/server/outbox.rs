//! What is to be sent on a connection and is not begun: by other threads, and by its own handler
//! behind them.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use motews::CloseCode;

use super::frame::Frame;
use super::id::PeerId;
use super::inbox::Inbox;
use super::packing::PeerWindow;
use crate::error::SendError;

/// What a [`Hub`](crate::Hub) does with a member for whom as much waits as may
/// ([`ServerLimits::backlog`](crate::ServerLimits::backlog)), because it reads more slowly than is
/// sent.
///
/// What the operating system has taken can be neither dropped nor replaced, and it may be seconds of
/// a video: bound that with [`ServerBuilder::send_buffer`](crate::ServerBuilder::send_buffer).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SlowPolicy {
    /// Drops the oldest messages that wait, until there is room: at most all of them. It begins only
    /// when the operating system's buffer is full, too: see
    /// [`ServerBuilder::send_buffer`](crate::ServerBuilder::send_buffer).
    DropOldest,
    /// Drops the message that is broadcast.
    DropNewest,
    /// Keeps one message only, the newest, whatever the limit: for the frames of a video.
    KeepNewest,
    /// Drops all that waits, and closes the connection with this code; without a Close frame, if
    /// none may have this code (RFC 6455 §7.4.1).
    Disconnect(CloseCode),
}

/// What became of a broadcast.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Broadcast {
    /// To how many members the message will be sent.
    pub delivered: usize,
    /// How many messages were dropped. With [`SlowPolicy::DropNewest`] it is this one, which is not
    /// counted as delivered; else older ones, which were.
    pub dropped: usize,
    /// How many members were disconnected.
    pub disconnected: usize,
}

/// What is to be sent on one connection. An empty one is small.
#[derive(Debug)]
pub(super) struct Outbox {
    pub(super) id: PeerId,
    pub(super) inbox: Arc<Inbox>,
    /// What a broadcast may be compressed for.
    pub(super) window: Option<PeerWindow>,
    state: Mutex<State>,
    room: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// The oldest, which most often is the only one.
    first: Option<Frame>,
    /// There while there is more to do.
    queue: Option<Box<Queue>>,
    /// What waits for the socket already, in bytes of memory.
    begun: usize,
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
    /// What these take, in bytes of memory.
    cost: usize,
    /// The same of those among them that the handler sends.
    answers: usize,
    /// Written when nothing else waits.
    latest: Option<Frame>,
    close: Option<(CloseCode, String)>,
}

impl State {
    fn queue(&mut self) -> &mut Queue {
        self.queue.get_or_insert_default()
    }

    /// What waits in here, in bytes of memory.
    fn cost(&self) -> usize {
        let first = self.first.as_ref().map_or(0, Frame::cost);
        let queue = self.queue.as_deref();
        let latest = queue.and_then(|queue| queue.latest.as_ref());
        first + queue.map_or(0, |queue| queue.cost) + latest.map_or(0, Frame::cost)
    }

    /// The same of what the handler sends.
    fn answers(&self) -> usize {
        let first = self.first.as_ref().map_or(0, Frame::answer_cost);
        first + self.queue.as_ref().map_or(0, |queue| queue.answers)
    }

    /// Whether a frame may wait here. A single one always may; the newest-only one does not count.
    fn has_room(&self, cost: usize, limit: usize) -> bool {
        let first = self.first.as_ref().map_or(0, Frame::cost);
        let used = self.begun + first + self.queue.as_ref().map_or(0, |queue| queue.cost);
        used == 0 || used.saturating_add(cost) <= limit
    }

    fn has_frames(&self) -> bool {
        self.first.is_some()
            || self
                .queue
                .as_ref()
                .is_some_and(|queue| !queue.frames.is_empty() || queue.latest.is_some())
    }

    fn push(&mut self, frame: Frame) {
        if self.first.is_none() && self.queue.as_ref().is_none_or(|q| q.frames.is_empty()) {
            self.first = Some(frame);
            return;
        }
        let queue = self.queue();
        queue.cost += frame.cost();
        queue.answers += frame.answer_cost();
        queue.frames.push_back(frame);
    }

    fn pop(&mut self) -> Option<Frame> {
        if let Some(first) = self.first.take() {
            return Some(first);
        }
        let queue = self.queue.as_mut()?;
        let frame = queue.frames.pop_front()?;
        queue.cost -= frame.cost();
        queue.answers -= frame.answer_cost();
        Some(frame)
    }

    /// Takes out all that is to be sent. Whoever calls this drops it outside of the lock: it may be
    /// very many.
    fn clear(&mut self) -> Dropped {
        Dropped(self.first.take(), self.queue.take())
    }
}

/// What is not sent any more.
struct Dropped(Option<Frame>, Option<Box<Queue>>);

impl Dropped {
    /// How many messages that are.
    fn len(&self) -> usize {
        let Self(first, queue) = self;
        let queue = queue.as_deref();
        usize::from(first.is_some())
            + queue.map_or(0, |queue| {
                queue.frames.len() + usize::from(queue.latest.is_some())
            })
    }
}

/// What the loop is to do next for a connection.
pub(super) enum Next {
    Send(Frame),
    Close(CloseCode, String),
    /// Nothing more: whoever sends next schedules it again.
    Nothing,
}

/// What is to become of something that the handler sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Nothing waits here: the loop is to send it now.
    Now,
    /// It waits here, behind the others.
    Queued,
    /// More waits than may.
    Full,
    /// The connection was closed before.
    Closed,
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

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells the loop, unless it knows, but does not wake it.
    fn schedule(&self, state: &mut State) {
        if !state.scheduled {
            state.scheduled = true;
            self.inbox.push(self.id);
        }
    }

    /// Has the connection closed when all is sent. The loop is told in any case: it does not look
    /// while it cannot write.
    fn schedule_close(&self, state: &mut State, code: CloseCode, reason: &str) {
        state.closed = true;
        state.queue().close = Some((code, reason.to_owned()));
        state.scheduled = true;
        self.inbox.push(self.id);
        if state.waiting > 0 {
            self.room.notify_all();
        }
    }

    // ---- by the loop ----

    /// Returns the next thing to do when nothing waits for the socket.
    pub(super) fn next(&self) -> Next {
        let mut state = self.lock();
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

    /// Takes nothing any more, and returns the next message of those that were accepted before.
    pub(super) fn next_of_rest(&self) -> Option<Frame> {
        let mut state = self.lock();
        state.closed = true;
        state.pop().or_else(|| state.queue.as_mut()?.latest.take())
    }

    /// Finds the place of a message of the handler. `begun` is what of the handler's waits for the
    /// socket already.
    pub(super) fn answer(&self, begun: usize, frame: impl FnOnce() -> Frame) -> Place {
        let mut state = self.lock();
        if state.closed {
            return Place::Closed;
        }
        if begun + state.answers() > self.inbox.limit() {
            return Place::Full;
        }
        if !state.has_frames() {
            return Place::Now;
        }
        state.push(frame());
        self.schedule(&mut state);
        Place::Queued
    }

    /// Finds the place of a Close by the handler or the loop: behind all that was accepted.
    pub(super) fn close(&self, code: CloseCode, reason: &str) -> Place {
        let mut state = self.lock();
        if state.closed {
            return Place::Closed;
        }
        if !state.has_frames() {
            return Place::Now;
        }
        self.schedule_close(&mut state, code, reason);
        Place::Queued
    }

    /// Whether something waits in here.
    pub(super) fn has_frames(&self) -> bool {
        self.lock().has_frames()
    }

    /// What the handler sends and waits in here, in bytes of memory.
    pub(super) fn answers(&self) -> usize {
        self.lock().answers()
    }

    /// Takes note of how much waits for the socket, in bytes of memory.
    pub(super) fn set_begun(&self, cost: usize) {
        let mut state = self.lock();
        state.begun = cost;
        if state.waiting > 0 {
            self.room.notify_all();
        }
    }

    /// The connection is gone.
    pub(super) fn end(&self) {
        let mut state = self.lock();
        state.closed = true;
        let dropped = state.clear();
        state.begun = 0;
        self.room.notify_all();
        drop(state);
        drop(dropped);
    }

    // ---- by anybody ----

    /// Whether the connection is closed, or will be.
    pub(super) fn is_closing(&self) -> bool {
        self.lock().closed
    }

    /// What waits in here, in bytes of memory.
    pub(super) fn cost(&self) -> usize {
        self.lock().cost()
    }

    /// The same with what waits for the socket.
    pub(super) fn buffered_amount(&self) -> usize {
        let state = self.lock();
        state.cost() + state.begun
    }

    /// Takes a frame if there is room. If there is none, waits until there is, or the connection
    /// ends: how long a peer may take is for the loop to say.
    pub(super) fn send(&self, frame: Frame, wait: bool) -> Result<(), SendError> {
        let mut state = self.lock();
        loop {
            if state.closed {
                return Err(SendError::Closed);
            }
            if state.has_room(frame.cost(), self.inbox.limit()) {
                break;
            }
            if !wait {
                return Err(SendError::Io(io::ErrorKind::WouldBlock.into()));
            }
            state.waiting += 1;
            state = self
                .room
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
            state.waiting -= 1;
        }
        state.push(frame);
        self.schedule(&mut state);
        drop(state);
        self.inbox.wake();
        Ok(())
    }

    /// Closes the connection behind all that was accepted.
    pub(super) fn send_close(&self, code: CloseCode, reason: &str) -> Result<(), SendError> {
        let mut state = self.lock();
        if state.closed {
            return Err(SendError::Closed);
        }
        self.schedule_close(&mut state, code, reason);
        drop(state);
        self.inbox.wake();
        Ok(())
    }

    /// Takes a frame as `policy` wants it, and returns what became of it and of others. Whoever
    /// calls this wakes the loop.
    pub(super) fn offer(&self, frame: &Frame, policy: SlowPolicy) -> Broadcast {
        let mut state = self.lock();
        let mut result = Broadcast::default();
        if state.closed {
            return result;
        }
        if policy == SlowPolicy::KeepNewest {
            let replaced = state.queue().latest.replace(frame.clone());
            result.dropped = usize::from(replaced.is_some());
        } else {
            while !state.has_room(frame.cost(), self.inbox.limit()) {
                match policy {
                    SlowPolicy::DropNewest => {
                        result.dropped = 1;
                        return result;
                    }
                    SlowPolicy::Disconnect(code) => {
                        let dropped = state.clear();
                        result.dropped = dropped.len();
                        result.disconnected = 1;
                        self.schedule_close(&mut state, code, "");
                        drop(state);
                        drop(dropped);
                        return result;
                    }
                    SlowPolicy::DropOldest | SlowPolicy::KeepNewest => {
                        if state.pop().is_none() {
                            // What the loop has begun to write is all that waits; the newest always
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
