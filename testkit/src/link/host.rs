//! One end of a link: a session, driven by its documented run loop, and its application.

mod application;

use std::collections::VecDeque;

use motews::{
    ConnectionConfig, DataKind, Ended, Event, MAX_CONTROL_LEN, Role, Session, State, Wants,
};
use motews::{Millis, Timeouts};

use super::Random;
use super::bounds::Bounds;
use super::plan::{Act, Echo, Plan};
use super::wire::{Micros, Wire};

/// More turns in one instant than this are a loop that waits for nothing.
const MAX_TURNS: u32 = 20_000;

/// The longest time between two calls while a deadline is set, in milliseconds.
const MAX_SILENCE: u32 = Timeouts::MAX;

/// What one end has seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// The lengths of the messages that came whole.
    pub messages: Vec<usize>,
    /// The payload that came, those of unfinished messages included, in bytes.
    pub payload: usize,
    /// The payload that the session has accepted for sending, in bytes.
    pub accepted: usize,
    /// The code of the peer's Close, if one came: 1005 if it had none.
    pub close: Option<u16>,
    /// How the session ended, and at what time, in milliseconds from the beginning.
    pub ended: Option<(Ended, u64)>,
    /// When the transport was closed.
    pub dropped_at: Option<u64>,
    /// When the transport took a byte last.
    pub taken_at: u64,
    /// When a byte was received last.
    pub received_at: u64,
    /// How often the session was polled.
    pub polls: u64,
    /// Whether the session refused to send something of the script.
    pub is_refused: bool,
}

/// The bytes of each message.
pub(super) fn pattern(len: usize) -> Vec<u8> {
    (0..251).cycle().take(len).collect()
}

/// One end.
#[derive(Debug)]
pub(super) struct Host<R> {
    session: Session<R>,
    plan: Plan,
    script: VecDeque<Act>,
    me: usize,
    /// The session's clock when the simulated time is 0.
    epoch: u32,
    random: Random,
    /// What waits outside of the transport.
    out: VecDeque<u8>,
    /// What the application sends back, and has found no room for.
    back: VecDeque<(DataKind, Vec<u8>, bool)>,
    /// Whether a message is sent back that has not left the application whole.
    echoes: bool,
    /// The echo of a message that is not whole.
    whole: Vec<u8>,
    /// How much of the next message of the script has left the application.
    begun: usize,
    reads: bool,
    told_reading: bool,
    may_read_at: Micros,
    wants: Wants,
    shut_down: bool,
    got_eof: bool,
    in_message: usize,
    /// How many polls in a row had something due after them.
    due: u8,
    pattern: Vec<u8>,
    /// Whether what comes is what an unbroken peer sends.
    verifies: bool,
    /// Whether this end has sent what the session knows nothing of.
    is_broken: bool,
    bounds: Bounds,
    turns: (Micros, u32),
    pub(super) seen: Seen,
    pub(super) cuts: bool,
}

impl<R: Role + core::fmt::Debug> Host<R> {
    pub(super) fn new(role: R, me: usize, epoch: u32, plan: &Plan, verifies: bool) -> Self {
        Self {
            session: Session::new(role, ConnectionConfig::default(), Millis(epoch)),
            script: plan.script.clone().into(),
            me,
            epoch,
            random: Random(0x9E37_79B9_7F4A_7C15 + me as u64),
            out: VecDeque::new(),
            back: VecDeque::new(),
            echoes: false,
            whole: Vec::new(),
            begun: 0,
            reads: true,
            told_reading: true,
            may_read_at: 0,
            wants: Wants {
                read: true,
                ..Wants::default()
            },
            shut_down: false,
            got_eof: false,
            in_message: 0,
            due: 0,
            pattern: pattern(251 + (64 << 10)),
            verifies,
            is_broken: false,
            bounds: Bounds::default(),
            turns: (0, 0),
            plan: plan.clone(),
            seen: Seen::default(),
            cuts: false,
        }
    }

    fn now(&mut self, now: Micros) -> Millis {
        let back = match self.plan.skew {
            0 => 0,
            skew => self.random.below(skew as usize + 1) as u32,
        };
        let millis = (now / 1000) as u32;
        Millis(self.epoch.wrapping_add(millis).wrapping_sub(back))
    }

    /// The simulated time when a clock that may run behind has certainly reached `at`.
    fn at(&self, now: Micros, at: Millis) -> Micros {
        let millis = now / 1000;
        let clock = Millis(self.epoch.wrapping_add(millis as u32));
        let wait = at.since(clock).min(MAX_SILENCE);
        let at = (millis + u64::from(wait)).saturating_sub(u64::from(clock.since(at)));
        (at + u64::from(self.plan.skew)) * 1000
    }

    // ---- the run loop ----

    /// Whether this end has something to do at `now`.
    pub(super) fn is_due(&self, now: Micros, wire: &Wire) -> bool {
        if self.seen.dropped_at.is_some() {
            return false;
        }
        let readable = (self.wants.read && self.may_read(now, wire)) || self.wants.drain;
        let comes = wire.readable(self.me) > 0 || (wire.has_ended(self.me) && !self.got_eof);
        let owes = self.wants.transmit || !self.out.is_empty();
        let waits = owes || !self.back.is_empty() || !self.script.is_empty();
        let writable = wire.news[self.me] && (waits || self.plan.acknowledged);
        (readable && comes)
            || writable
            || wire.is_reset(self.me)
            || self.wake_at(now, wire).is_some_and(|at| at <= now)
            || (self.plan.restless && self.turns.0 < now)
    }

    /// When this end has something to do, whatever the link does.
    pub(super) fn wake_at(&self, now: Micros, wire: &Wire) -> Option<Micros> {
        if self.seen.dropped_at.is_some() {
            return None;
        }
        let poll_at = self.session.poll_at(&self.plan.timeouts);
        let deadline = poll_at.map(|at| self.at(now, at));
        let read =
            (self.wants.read && self.reads && wire.readable(self.me) > 0 && self.may_read_at > now)
                .then_some(self.may_read_at);
        let act = match self.script.front() {
            Some(Act::At(millis)) => Some(Micros::from(*millis) * 1000),
            _ => None,
        };
        [deadline, read, act].into_iter().flatten().min()
    }

    pub(super) fn run(&mut self, now: Micros, wire: &mut Wire) {
        if self.seen.dropped_at.is_some() {
            return;
        }
        self.count_turn(now);
        wire.news[self.me] = false;
        // 1. Read.
        if wire.is_reset(self.me) {
            self.session.lost();
        }
        self.read(now, wire);
        self.act(now, wire);
        loop {
            // 2. Do what is to be done.
            self.poll(now, wire);
            if self.seen.dropped_at.is_some() {
                return;
            }
            // 3. Write.
            let mut taken = wire.write(self.me, &mut self.out, now);
            let mut left = self.out.len();
            if self.plan.acknowledged {
                taken = wire.take_acknowledged(self.me);
                left += wire.send_queue(self.me);
            }
            let sent_at = self.now(now);
            self.session.sent(sent_at, &self.plan.timeouts, taken, left);
            let has_closed = !matches!(self.session.connection().state(), State::Open)
                && !self.session.connection().wants_transmit();
            self.bounds
                .sent(now / 1000, &self.plan.timeouts, taken, left, has_closed);
            if taken > 0 {
                self.seen.taken_at = now / 1000;
            }
            if self.act(now, wire) {
                continue;
            }
            if taken == 0 && !self.changes_reading(now, wire) {
                break;
            }
            self.count_turn(now);
        }
        self.check(now, wire);
    }

    fn count_turn(&mut self, now: Micros) {
        let (at, turns) = &mut self.turns;
        if *at != now {
            *turns = 0;
        }
        *at = now;
        *turns += 1;
        assert!(*turns < MAX_TURNS, "a loop that waits for nothing");
    }

    /// Whether the application would read now.
    fn may_read(&self, now: Micros, wire: &Wire) -> bool {
        self.reads
            && self.may_read_at <= now
            && self.back.is_empty()
            && match self.plan.echo {
                Echo::Nothing => true,
                Echo::Parts(most) | Echo::Messages(most) => {
                    let kernel = if self.plan.acknowledged {
                        wire.send_queue(self.me)
                    } else {
                        0
                    };
                    self.out.len() + kernel <= most
                }
            }
    }

    /// Whether the session is to be told that the application reads again, or does not any more.
    /// A slow reader reads.
    fn changes_reading(&self, now: Micros, wire: &Wire) -> bool {
        let on = self.may_read(now.max(self.may_read_at), wire);
        self.plan.tells_reading && on != self.told_reading
    }

    fn read(&mut self, now: Micros, wire: &mut Wire) {
        loop {
            self.echo(wire);
            let drains = self.wants.drain;
            let reads = self.wants.read && self.may_read(now, wire);
            if !drains && !reads {
                return;
            }
            let most = if drains { usize::MAX } else { self.plan.read };
            let mut bytes = wire.read(self.me, most, now);
            if bytes.is_empty() {
                break;
            }
            if let Some(rate) = self.plan.rate {
                let base = self.may_read_at.max(now);
                self.may_read_at = base + bytes.len() as u64 * 1_000_000 / rate.max(1);
            }
            self.seen.received_at = now / 1000;
            let received_at = self.now(now);
            self.session.received(received_at);
            self.bounds.heard(now / 1000);
            if drains {
                continue;
            }
            let mut input = &mut bytes[..];
            // An error is told by `ended`, and consumes the rest.
            while let Ok(Some(event)) = self.session.next_event(&mut input) {
                match event {
                    Event::Data(chunk) => {
                        let seen = &mut self.seen;
                        let start = self.in_message % 251;
                        for (index, part) in chunk.bytes.chunks(64 << 10).enumerate() {
                            let start = (start + index * (64 << 10)) % 251;
                            let right = &self.pattern[start..start + part.len()];
                            assert!(!self.verifies || part == right, "what was sent is received");
                        }
                        seen.payload += chunk.bytes.len();
                        self.in_message += chunk.bytes.len();
                        if chunk.last {
                            seen.messages.push(self.in_message);
                            self.in_message = 0;
                        }
                        match self.plan.echo {
                            Echo::Nothing => {}
                            Echo::Parts(_) => {
                                let bytes = chunk.bytes.to_vec();
                                self.back.push_back((chunk.kind, bytes, chunk.last));
                            }
                            Echo::Messages(_) => {
                                self.whole.extend(&*chunk.bytes);
                                if chunk.last {
                                    let whole = core::mem::take(&mut self.whole);
                                    self.back.push_back((chunk.kind, whole, true));
                                }
                            }
                        }
                    }
                    Event::Close(close) => {
                        let code = close.map_or(1005, |close| close.code().as_u16());
                        assert_eq!(self.seen.close.replace(code), None, "one Close");
                    }
                    _ => {}
                }
            }
        }
        if wire.has_ended(self.me) && !self.got_eof {
            self.got_eof = true;
            self.session.receive_eof();
        }
    }

    fn poll(&mut self, now: Micros, wire: &mut Wire) {
        if self.changes_reading(now, wire) {
            self.told_reading = !self.told_reading;
            let told_at = self.now(now);
            self.session.reading(told_at, self.told_reading);
            self.bounds.heard(now / 1000);
        }
        if !self.told_reading {
            self.bounds.heard(now / 1000);
        }
        let unread = wire.readable(self.me) > 0;
        if unread {
            self.bounds.heard(now / 1000);
        }
        let polled_at = self.now(now);
        let wants = self.session.poll(polled_at, &self.plan.timeouts, unread);
        self.seen.polls += 1;
        self.wants = wants;
        let next = self.session.poll_at(&self.plan.timeouts);
        // A step of the end that has no time at all waits for the next poll: the Close, the drain.
        let is_due = next.is_some_and(|at| polled_at.has_reached(at));
        self.due = if is_due { self.due + 1 } else { 0 };
        assert!(
            self.due <= 2,
            "{next:?} is not after {polled_at:?}: {:?}",
            self.session
        );
        self.check_ended(now);
        if wants.transmit {
            let mut frame = [0; MAX_CONTROL_LEN];
            loop {
                let room = self.room(wire).min(frame.len());
                // Without a key the session ends, which `ended` tells.
                let len = self.session.poll_transmit(&mut frame[..room]).unwrap_or(0);
                if len == 0 {
                    break;
                }
                self.out.extend(&frame[..len]);
            }
        }
        if wants.shutdown {
            // Of bytes behind its back the session knows nothing.
            assert!(
                self.out.is_empty() || self.is_broken,
                "what waits goes before the end: {:?}",
                self.session
            );
            assert!(!self.shut_down, "one end");
            self.shut_down = true;
            wire.shutdown(self.me, now);
        }
        if wants.drop {
            assert!(self.seen.ended.is_some(), "an end has a cause");
            wire.close(self.me, now);
            self.seen.dropped_at = Some(now / 1000);
            let again = self.session.poll(polled_at, &self.plan.timeouts, unread);
            assert!(again.drop && !again.shutdown, "an end is final");
        }
    }

    // ---- what has to hold ----

    fn check_ended(&mut self, now: Micros) {
        let ended = self.session.ended();
        match (self.seen.ended, ended) {
            (None, Some(ended)) => self.seen.ended = Some((ended, now / 1000)),
            (seen, ended) => assert_eq!(seen.map(|(seen, _)| seen), ended, "one end, for ever"),
        }
    }

    /// After a turn.
    fn check(&mut self, now: Micros, wire: &Wire) {
        self.check_ended(now);
        let unread = wire.readable(self.me) > 0;
        let timeouts = self.plan.timeouts;
        if self.plan.skew == 0 {
            let millis = self.now(now);
            let at = self.session.poll_at(&timeouts);
            // With a timeout of 0 what has just begun to wait is due already.
            let is_due = at.is_some_and(|at| millis.has_reached(at));
            // A poll before that changes nothing.
            if !is_due && self.random.below(16) == 0 {
                let before = format!("{:?}", self.session);
                let wait = at.map_or(0, |at| at.since(millis).saturating_sub(1));
                for millis in [millis, millis.after(if unread { 0 } else { wait })] {
                    let wants = self.session.poll(millis, &timeouts, unread);
                    let expected = Wants {
                        shutdown: false,
                        transmit: wants.transmit,
                        ..self.wants
                    };
                    assert_eq!(wants, expected, "{:?}", self.session);
                }
                assert_eq!(format!("{:?}", self.session), before);
            }
        }
        let slack = u64::from(self.plan.skew) + 1;
        let is_over = self.session.ended().is_some();
        if self.plan.skew == 0 || !is_over {
            self.bounds.check(now / 1000, &timeouts, is_over, slack);
        }
    }
}
