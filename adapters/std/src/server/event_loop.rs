//! The loop: waits for events, and serves the connections that they are about.

use core::net::SocketAddr;
use core::panic::AssertUnwindSafe;
use core::sync::atomic::Ordering;
use core::time::Duration;
use std::io;
use std::panic::catch_unwind;
use std::sync::Arc;
use std::time::Instant;

use motews::pace::DRAIN;

use motews::{Millis, Timeouts};
use slab::Slab;
use socket2::Socket;

use super::connection::Slot;
use super::context::{Context, Held};
use super::cork::HELD_LEN;
use super::handler::Handler;
use super::id::PeerId;
use super::inbox::{Inbox, set_in_loop};
use super::peer::Peers;
use super::poll::{Event, Events, Poll, TcpListener, TcpStream, Token, Waker};
use super::serve::report;
use super::settings::Settings;
use super::shared::{Shared, Stop};
use super::stream::prepare;
use crate::error::AcceptError;

const LISTENER: Token = Token(usize::MAX);
const WAKER: Token = Token(usize::MAX - 1);

/// How much is read at once, in bytes: all connections of a loop share this buffer. It stays in
/// the cache, and holds a message of 64 KiB whole.
const READ_LEN: usize = 128 * 1024;

/// How many connections hold what they send at the most, and for how long: the peer of the first waits
/// for the handlers of the others.
const MAX_HELD: usize = 32;
const MAX_HELD_TIME: Duration = Duration::from_micros(200);

/// How many events are taken at once.
const MAX_EVENTS: usize = 1024;

/// How many connections are accepted before those that are there have their turn.
const MAX_ACCEPTS: usize = 256;

/// How long nothing is accepted after the operating system, or the limit, did not let us.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How often the deadlines are looked at: an eighth of the shortest one, in these bounds. Those of
/// connections that are ending, in an eighth of the time that the peer has to end TCP.
const SWEEPS: (Duration, Duration) = (Duration::from_millis(5), Duration::from_secs(1));
const ENDING_SWEEP: Duration = Duration::from_millis(DRAIN as u64 / 8);

/// The time is counted in milliseconds.
const MIN_TIMER: Duration = Duration::from_millis(1);

/// Whether connections are accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Accepting {
    /// An event tells when there is one.
    Wait,
    /// There may be more.
    Now,
    /// Not before this time: there is no room.
    At(Duration),
    /// The server shuts down.
    Never,
}

pub(super) struct EventLoop<H: Handler> {
    handler: H,
    shared: Arc<Shared>,
    index: usize,
    listener: Option<TcpListener>,
    accepting: Accepting,
    slots: Slab<Slot<H::Data>>,
    /// The number of the next connection.
    number: u32,
    context: Context,
    buffer: Box<[u8]>,
    /// All times of the loop are counted from here.
    epoch: Instant,
    now: Duration,
    /// When the first connection of those that hold something began to.
    held_since: Option<Duration>,
    sweep: Option<Duration>,
    next_sweep: Option<Duration>,
    /// When those that are ending are looked at.
    next_ending: Option<Duration>,
    timer: Option<Duration>,
    next_timer: Option<Duration>,
}

impl<H: Handler> EventLoop<H> {
    pub(super) fn new(
        listener: Socket,
        index: usize,
        shared: Arc<Shared>,
        handler: H,
    ) -> io::Result<Self> {
        let settings = shared.settings.clone();
        let timer = handler.timer().map(|timer| timer.max(MIN_TIMER));
        let mut listener = TcpListener::from_std(listener.into());
        let poll = Poll::new()?;
        poll.add(&mut listener, LISTENER)?;
        let waker = Waker::new(&poll, WAKER)?;
        let inbox = Arc::new(Inbox::new(waker, settings.limits.backlog));
        shared.add(inbox.clone());
        Ok(Self {
            sweep: sweep(&settings),
            context: Context::new(inbox, settings, poll),
            handler,
            shared,
            index,
            listener: Some(listener),
            accepting: Accepting::Now,
            slots: Slab::new(),
            number: 1,
            buffer: vec![0; HELD_LEN + READ_LEN].into_boxed_slice(),
            epoch: Instant::now(),
            now: Duration::ZERO,
            held_since: None,
            next_sweep: None,
            next_ending: None,
            timer,
            next_timer: None,
        })
    }

    pub(super) fn run(&mut self) -> io::Result<()> {
        set_in_loop(true);
        let result = self.turn_around();
        set_in_loop(false);
        // Each connection that was opened is told to be closed.
        let left: Vec<_> = self.slots.iter().map(|(key, _)| key).collect();
        for key in left {
            if let Some(slot) = self.slots.get_mut(key) {
                slot.abort(&mut self.handler, &mut self.context);
            }
            self.remove(key);
        }
        result
    }

    fn turn_around(&mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(MAX_EVENTS);
        let mut ready = Vec::new();
        self.look_at_clock();
        self.next_timer = self.timer.and_then(|timer| self.now.checked_add(timer));
        loop {
            let busy = self.accepting == Accepting::Now || !self.context.later.is_empty();
            // `is_to_stop` comes after `fall_asleep`: a shutdown requested earlier would not have
            // woken this loop.
            let timeout = if !busy && self.context.inbox.fall_asleep() && !self.is_to_stop() {
                self.next_deadline().map(|at| at.saturating_sub(self.now))
            } else {
                Some(Duration::ZERO)
            };
            let waited = self.context.poll.wait(&mut events, timeout);
            self.context.inbox.awake();
            waited?;
            self.look_at_clock();

            // Those that wait have their turn once in a round.
            core::mem::swap(&mut self.context.later, &mut ready);
            for event in events.iter() {
                match event.token() {
                    LISTENER => self.ready_to_accept(),
                    WAKER => {}
                    Token(key) => self.handle(key, &event),
                }
            }
            self.write_held();
            self.context.may_hold = false;
            self.visit(&mut ready, Slot::turn);
            self.context.inbox.take(&mut ready);
            self.visit(&mut ready, Slot::resume);
            self.accept();
            self.keep_time();
            if self.shut_down() {
                return Ok(());
            }
            if self.next_ending.is_none() && !self.context.ending.is_empty() {
                self.next_ending = Some(self.now + ENDING_SWEEP);
            }
        }
    }

    fn look_at_clock(&mut self) {
        self.now = self.epoch.elapsed();
        self.context.now = millis(self.now);
    }

    fn next_deadline(&self) -> Option<Duration> {
        let accept = match self.accepting {
            Accepting::At(at) => Some(at),
            _ => None,
        };
        let stop = self.shared.stop().and_then(|stop| self.stop_at(stop));
        [
            accept,
            self.next_sweep,
            self.next_ending,
            self.next_timer,
            stop,
        ]
        .into_iter()
        .flatten()
        .min()
    }

    fn stop_at(&self, stop: Stop) -> Option<Duration> {
        Some(stop.at?.saturating_duration_since(self.epoch))
    }

    // ---- connections ----

    #[inline(always)] // See `socket`.
    fn handle(&mut self, key: usize, event: &Event) {
        let Some(slot) = self.slots.get_mut(key) else {
            return;
        };
        let (handler, context) = (&mut self.handler, &mut self.context);
        context.turn.work = 0;
        context.may_hold = true;
        if event.is_writable() {
            slot.writable(handler, context, &mut self.buffer);
        }
        if event.is_readable() || event.is_read_closed() {
            slot.readable(handler, context, &mut self.buffer, event.is_read_closed());
        }
        if event.is_error() {
            let error = slot.core.socket.take_error();
            let error = error.and_then(|error| error.map_or(Ok(()), Err));
            let error = error.err().unwrap_or(io::ErrorKind::ConnectionReset.into());
            slot.failed(handler, context, error);
        }
        if slot.core.is_over() {
            self.remove(key);
        }
        if self.is_to_write_held() {
            self.write_held();
        }
    }

    /// Whether what is held is to be written before the end of the round.
    fn is_to_write_held(&mut self) -> bool {
        let held = self.context.held.len();
        if held == 0 {
            return false;
        }
        if self.context.holds_long {
            return true;
        }
        let time = self.epoch.elapsed();
        let since = *self.held_since.get_or_insert(time);
        let context = &self.context;
        held >= MAX_HELD
            || time.saturating_sub(since) > MAX_HELD_TIME
            // So the next one has the room that it would have alone.
            || context.used > HELD_LEN
            || context.cork.held_len() > HELD_LEN
    }

    /// Writes what is held. To read several connections and then to write to all of them keeps the code
    /// of the kernel in the cache.
    #[inline(always)] // See `socket`.
    fn write_held(&mut self) {
        let context = &mut self.context;
        let mut held = core::mem::take(&mut context.held);
        for (id, held) in held.drain(..) {
            let slot = self.slots.get_mut(id.slot());
            let Some(slot) = slot.filter(|slot| slot.core.id == id) else {
                continue;
            };
            let bytes = match &held {
                Held::InCork(range) => context.cork.held(range),
                Held::InBuffer(range) => &self.buffer[range.clone()],
            };
            let len = bytes.len();
            match slot.core.write_held(bytes) {
                Ok(written) if written == len => {
                    let timeouts = &context.settings.timeouts;
                    slot.core.session.sent(context.now, timeouts, len, 0);
                }
                written => (slot.core).write_rest_of_held(context, &self.buffer, held, written),
            }
        }
        context.held = held;
        context.used = 0;
        context.holds_long = false;
        self.held_since = None;
        context.cork.go_back(0..0);
    }

    /// Calls `visit` for each of these that is still there.
    fn visit(
        &mut self,
        ready: &mut Vec<PeerId>,
        visit: fn(&mut Slot<H::Data>, &mut H, &mut Context, &mut [u8]),
    ) {
        for id in ready.drain(..) {
            let key = id.slot();
            let slot = self.slots.get_mut(key);
            let Some(slot) = slot.filter(|slot| slot.core.id == id) else {
                continue;
            };
            self.context.turn.work = 0;
            visit(slot, &mut self.handler, &mut self.context, &mut self.buffer);
            if slot.core.is_over() {
                self.remove(key);
            }
        }
        // After a broadcast to very many.
        if ready.capacity() > MAX_EVENTS {
            *ready = Vec::new();
        }
    }

    fn remove(&mut self, key: usize) {
        if self.slots.try_remove(key).is_some() {
            self.shared.connections.fetch_sub(1, Ordering::Relaxed);
        }
        if self.slots.is_empty() {
            self.next_sweep = None;
        }
    }

    // ---- accepting ----

    fn ready_to_accept(&mut self) {
        if self.accepting == Accepting::Wait {
            self.accepting = Accepting::Now;
        }
    }

    fn accept(&mut self) {
        match self.accepting {
            Accepting::Wait | Accepting::Never => return,
            Accepting::At(at) if self.now < at => return,
            Accepting::At(_) | Accepting::Now => {}
        }
        let pause = Accepting::At(self.now + ACCEPT_PAUSE);
        self.accepting = Accepting::Now;
        for _ in 0..MAX_ACCEPTS {
            let Some(listener) = &self.listener else {
                return;
            };
            // Counted first: the other loops accept as well.
            let before = self.shared.connections.fetch_add(1, Ordering::Relaxed);
            let full = before >= self.shared.settings.limits.connections
                || self.slots.len() >= PeerId::MAX_SLOTS;
            let accepted = if full { None } else { Some(listener.accept()) };
            let Some(accepted) = accepted else {
                self.shared.connections.fetch_sub(1, Ordering::Relaxed);
                self.accepting = pause;
                return;
            };
            let mut address = None;
            let opened = accepted.and_then(|(stream, from)| {
                address = Some(from);
                self.open(stream, from)
            });
            let Err(error) = opened else {
                continue;
            };
            self.shared.connections.fetch_sub(1, Ordering::Relaxed);
            let kind = error.kind();
            if kind != io::ErrorKind::WouldBlock && kind != io::ErrorKind::Interrupted {
                report(&mut self.handler, address, &AcceptError::Io(error));
            }
            match kind {
                io::ErrorKind::WouldBlock => {
                    self.accepting = Accepting::Wait;
                    return;
                }
                // Of this connection only.
                io::ErrorKind::Interrupted
                | io::ErrorKind::ConnectionAborted
                | io::ErrorKind::ConnectionReset => {}
                // Too many open files, or no memory: others must go first.
                _ => {
                    self.accepting = pause;
                    return;
                }
            }
        }
    }

    /// Takes a connection.
    fn open(&mut self, mut socket: TcpStream, address: SocketAddr) -> io::Result<()> {
        prepare(&socket)?;
        let tls = self.context.settings.tls()?;
        let entry = self.slots.vacant_entry();
        let token = Token(entry.key());
        self.context.poll.add(&mut socket, token)?;
        let id = PeerId::new(self.number, self.index, entry.key());
        self.number = self.number.wrapping_add(1);
        self.context.set_address(id, address);
        entry.insert(Slot::new(socket, tls, id, &self.context));
        if self.next_sweep.is_none() {
            self.next_sweep = self.sweep.map(|sweep| self.now + sweep);
        }
        Ok(())
    }

    // ---- time ----

    fn keep_time(&mut self) {
        let now = self.now;
        // For all connections together, as in `shut_down`.
        self.context.turn.work = 0;
        if let Some(due) = self.next_timer
            && due <= now
        {
            // From the time that it was due: it does not drift. What was missed is left out.
            self.next_timer = self.timer.and_then(|timer| {
                let next = due.checked_add(timer)?;
                if next > now {
                    Some(next)
                } else {
                    now.checked_add(timer)
                }
            });
            let (handler, context) = (&mut self.handler, &mut self.context);
            let peers = &mut Peers {
                slots: &mut self.slots,
                context,
            };
            // It concerns no connection, so none is closed.
            let _ = catch_unwind(AssertUnwindSafe(|| handler.on_timer(peers)));
        }
        if self.next_sweep.is_some_and(|at| at <= now) {
            self.sweep_all();
            self.next_sweep = if self.slots.is_empty() {
                None
            } else {
                self.sweep.map(|sweep| now + sweep)
            };
        }
        if self.next_ending.is_some_and(|at| at <= now) {
            self.next_ending = None;
            self.sweep_ending();
        }
    }

    /// Looks at the deadlines of those that are ending: the others cost nothing.
    fn sweep_ending(&mut self) {
        for id in core::mem::take(&mut self.context.ending) {
            let key = id.slot();
            let slot = self.slots.get_mut(key);
            let Some(slot) = slot.filter(|slot| slot.core.id == id) else {
                continue;
            };
            slot.sweep(&mut self.handler, &mut self.context);
            if slot.core.is_over() {
                self.remove(key);
            }
        }
    }

    /// Looks at the deadlines of all connections.
    fn sweep_all(&mut self) {
        for key in 0..self.slots.capacity() {
            let Some(slot) = self.slots.get_mut(key) else {
                continue;
            };
            slot.sweep(&mut self.handler, &mut self.context);
            if slot.core.is_over() {
                self.remove(key);
            }
        }
    }

    /// Whether the connections are not told yet that the server goes down.
    fn is_to_stop(&self) -> bool {
        self.accepting != Accepting::Never && self.shared.stop().is_some()
    }

    /// Whether the server has shut down.
    fn shut_down(&mut self) -> bool {
        let Some(stop) = self.shared.stop() else {
            return false;
        };
        let at = self.stop_at(stop);
        if self.accepting != Accepting::Never {
            self.accepting = Accepting::Never;
            self.listener = None;
            // A time that is too far away is none.
            let limit = Duration::from_millis(Timeouts::MAX.into());
            let by = at.filter(|at| at.saturating_sub(self.now) <= limit);
            self.close_all(by.map(millis));
        }
        let is_time = at.is_some_and(|at| at <= self.now);
        if is_time {
            self.close_all(Some(self.context.now));
        }
        is_time || self.slots.is_empty()
    }

    /// Closes all connections, until `by` at the latest.
    fn close_all(&mut self, by: Option<Millis>) {
        // For all connections together.
        self.context.turn.work = 0;
        for key in 0..self.slots.capacity() {
            let Some(slot) = self.slots.get_mut(key) else {
                continue;
            };
            slot.shut_down(&mut self.handler, &mut self.context, by);
            if slot.core.is_over() {
                self.remove(key);
            }
        }
    }
}

/// The same point in time as sessions count it. It wraps, and may.
fn millis(time: Duration) -> Millis {
    Millis(time.as_millis() as u32)
}

/// How often to look at the deadlines.
fn sweep(settings: &Settings) -> Option<Duration> {
    let Timeouts {
        handshake,
        idle,
        keepalive,
        pong,
        close,
        write,
        ..
    } = settings.timeouts;
    let shortest = [handshake, idle, keepalive, pong, close, write]
        .into_iter()
        .flatten()
        .min()?;
    let eighth = Duration::from_millis(u64::from(shortest) / 8);
    Some(eighth.clamp(SWEEPS.0, SWEEPS.1))
}
