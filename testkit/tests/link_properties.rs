//! What holds for any honest peer on any link, and for any cut of the same inputs.

use motews::{CloseCode, ConnectionConfig, Ended, Event, Message, Server, Session};
use motews::{Millis, Timeouts};
use motews_testkit::frame;
use motews_testkit::link::{Act, Echo, Link, Path, Plan};
use proptest::collection::vec;
use proptest::prelude::*;

/// What the rounding of a clock and the pieces that travel may cost a peer, in milliseconds.
const SLACK: u64 = 500;

/// A reader that is as fast as `min_rate` or faster, on a path that hides at most `max_grace` times
/// its rate; and a sender of more than that.
#[derive(Clone, Debug)]
struct Honest {
    timeouts: Timeouts,
    rate: u64,
    path: Path,
    acknowledged: bool,
    ring: bool,
    echoes: bool,
    messages: usize,
    len: usize,
    epoch: u32,
    /// By how much the clock may run backwards.
    skew: u32,
}

fn honest() -> impl Strategy<Value = Honest> {
    let times = (
        prop_oneof![Just(None), (1..100_000_u32).prop_map(Some)],
        prop_oneof![Just(None), (1..100_000_u32).prop_map(Some)],
        1..5000_u32,
        1..5000_u32,
        1..5000_u32,
    );
    let rates = (1..5000_u32, 0..3000_u64, 1..300_000_u32);
    let path = (
        prop_oneof![Just(u64::MAX), 1..4_u64],
        0..300_u32,
        0..1000_u64,
        0..=1000_u64,
        0..=1000_u64,
    );
    let kind = (any::<bool>(), any::<bool>(), any::<bool>());
    let load = (1..6_usize, 0..=1000_usize, any::<u32>(), 0..50_u32);
    (times, rates, path, kind, load).prop_map(
        |(
            (idle, keepalive, pong, close, write),
            (min_rate, faster, max_grace),
            (wire, latency, sent, received, step),
            (acknowledged, ring, echoes),
            (messages, len, epoch, skew),
        )| {
            // A fifth of it is lost while the window's news travel.
            let rate = u64::from(min_rate) * (1300 + faster) / 1000 + 1;
            // What may be hidden, and at least what a frame takes.
            let hidden = (rate * u64::from(max_grace) / 1000).clamp(300, 200_000);
            let max_grace = max_grace.max((hidden * 1250).div_ceil(rate) as u32);
            let receive_buffer = (hidden * received / 1000).clamp(100, hidden - 150) as usize;
            let send_buffer = (hidden as usize - receive_buffer) * sent as usize / 1000;
            let send_buffer = send_buffer.max(150);
            // So much travels at once that this does not make the path slower.
            let buffer = receive_buffer.min(send_buffer) as u64;
            let latency = latency.min((buffer * 1000 / rate / 16) as u32);
            let segment = (receive_buffer / 4).clamp(50, 16_384);
            let read = (rate / 10).clamp(1, 1000);
            // A piece takes this long, and so does the way to and fro.
            let wire = rate.saturating_mul(wire);
            let slack = 4 * u64::from(latency)
                + 4 * read * 1000 / rate
                + 2 * segment as u64 * 1000 / wire
                + SLACK;
            let slack = slack as u32;
            Honest {
                timeouts: Timeouts {
                    handshake: None,
                    idle: idle.map(|idle| idle + slack),
                    keepalive,
                    pong: Some(pong + slack),
                    close: Some(close + slack),
                    write: Some(write + slack),
                    min_rate,
                    max_grace,
                },
                rate,
                path: Path {
                    rate: wire,
                    latency,
                    send_buffer,
                    receive_buffer,
                    window_step: receive_buffer * step as usize / 1000,
                    segment,
                    acknowledged_every: 0,
                },
                acknowledged,
                ring,
                echoes,
                messages,
                len: hidden as usize * len / 1000,
                epoch,
                skew,
            }
        },
    )
}

impl Honest {
    fn link(&self) -> Link {
        let server = Plan {
            timeouts: self.timeouts,
            skew: self.skew,
            queue: if self.ring { 0 } else { usize::MAX },
            acknowledged: self.ring || self.acknowledged,
            echo: if self.echoes {
                Echo::Messages(usize::MAX)
            } else {
                Echo::Nothing
            },
            ..Plan::READER
        };
        let client = Plan {
            timeouts: Timeouts::NONE,
            rate: Some(self.rate),
            read: (self.rate / 10).clamp(1, 1000) as usize,
            ..Plan::READER
        };
        let messages = Act::Send {
            count: self.messages,
            len: self.len,
        };
        let total = self.messages * self.len;
        let (server, client) = if self.echoes {
            (
                server,
                client.with([messages, Act::Received(total), Act::Close]),
            )
        } else {
            (server.with([messages, Act::Close]), client)
        };
        Link {
            paths: [
                self.path,
                Path {
                    latency: self.path.latency,
                    ..Path::DEFAULT
                },
            ],
            epoch: self.epoch,
            ..Link::new(server, client)
        }
    }
}

fn config(cases: u32) -> ProptestConfig {
    ProptestConfig {
        cases,
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(config(64))]

    /// A reader above `min_rate`, from whom at most `max_grace` times its rate is hidden.
    #[test]
    fn honest_reader_loses_nothing(honest in honest()) {
        let [server, client] = honest.link().run();
        let total = honest.messages * honest.len;
        let is_clean = |ended: Option<(Ended, u64)>| ended.is_some_and(|(end, _)| end.is_clean());
        prop_assert_eq!(client.payload, total, "{:?} {:?}", server, client);
        prop_assert!(is_clean(server.ended), "{:?} {:?}", server, client);
        prop_assert!(is_clean(client.ended), "{:?} {:?}", server, client);
    }
}

// ---- the same inputs, cut in any way ----

/// What happens to a session at one time.
#[derive(Clone, Debug)]
enum Input {
    /// The peer's frames arrive.
    Receive(Vec<u8>),
    Eof,
    Lost,
    Send(usize),
    /// The transport takes so many bytes.
    Take(usize),
    Reading(bool),
    Close,
    CloseBy(u32),
    Abort,
}

fn input() -> impl Strategy<Value = Input> {
    let masked = |frame: frame::Frame| Input::Receive(frame.encode(Some(frame::KEY)));
    prop_oneof![
        3 => (0..300_usize).prop_map(move |len| masked(frame::binary(vec![7; len]))),
        2 => (0..126_usize).prop_map(move |len| masked(frame::ping(vec![7; len]))),
        1 => Just(masked(frame::pong("?"))),
        1 => Just(masked(frame::close(3000, "bye"))),
        1 => vec(any::<u8>(), 0..20).prop_map(Input::Receive),
        1 => Just(Input::Eof),
        1 => Just(Input::Lost),
        5 => (0..3000_usize).prop_map(Input::Send),
        8 => prop_oneof![0..200_usize, Just(usize::MAX)].prop_map(Input::Take),
        2 => any::<bool>().prop_map(Input::Reading),
        1 => Just(Input::Close),
        1 => (0..10_000_u32).prop_map(Input::CloseBy),
        1 => Just(Input::Abort),
    ]
}

fn timeouts() -> impl Strategy<Value = Timeouts> {
    let time = || {
        prop_oneof![
            2 => Just(None),
            1 => Just(Some(0)),
            1 => Just(Some(1)),
            6 => (2..5000_u32).prop_map(Some),
            1 => Just(Some(u32::MAX)),
        ]
    };
    let grace = prop_oneof![Just(0), Just(1), 2..5000_u32, Just(u32::MAX)];
    (time(), time(), time(), time(), time(), grace).prop_map(
        |(idle, keepalive, pong, close, write, max_grace)| Timeouts {
            handshake: None,
            idle,
            keepalive,
            pong,
            close,
            write,
            // One millisecond a byte: nothing is rounded.
            min_rate: 1000,
            max_grace,
        },
    )
}

/// A session, and what its adapter holds.
struct Adapter {
    session: Session<Server>,
    timeouts: Timeouts,
    epoch: u32,
    /// How the same inputs are cut; `None`: not at all.
    cuts: Option<u64>,
    out: Vec<u8>,
    written: Vec<u8>,
    ended: Option<(Ended, u64)>,
    dropped_at: Option<u64>,
}

impl Adapter {
    fn now(&self, now: u64) -> Millis {
        Millis(self.epoch.wrapping_add(now as u32))
    }

    /// A choice below `limit`; 0 if nothing is cut.
    fn choose(&mut self, limit: usize) -> usize {
        let Some(state) = &mut self.cuts else {
            return 0;
        };
        *state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (*state >> 33) as usize % limit
    }

    fn transmit(&mut self) {
        let mut frame = [0; 131];
        while let len @ 1.. = self.session.poll_transmit(&mut frame).unwrap() {
            self.out.extend(&frame[..len]);
        }
    }

    fn poll(&mut self, now: u64) {
        for _ in 0..=self.choose(3) {
            if self.dropped_at.is_some() {
                return;
            }
            let at = self.now(now);
            let wants = self.session.poll(at, &self.timeouts, false);
            if wants.transmit {
                self.transmit();
            }
            match (self.ended, self.session.ended()) {
                (None, Some(ended)) => self.ended = Some((ended, now)),
                (seen, ended) => assert_eq!(seen.map(|(seen, _)| seen), ended),
            }
            if wants.drop {
                self.dropped_at = Some(now);
            }
        }
    }

    /// Writes at most `len` bytes, in parts, as the run loop says.
    fn write(&mut self, now: u64, len: usize) {
        let mut len = len.min(self.out.len());
        loop {
            let part = if len > 1 { 1 + self.choose(len) } else { len };
            let part = if self.cuts.is_some() { part } else { len };
            self.written.extend(self.out.drain(..part));
            let (at, left) = (self.now(now), self.out.len());
            self.session.sent(at, &self.timeouts, part, left);
            for _ in 0..self.choose(3) {
                self.session.sent(at, &self.timeouts, 0, left);
            }
            len -= part;
            if part > 0 {
                self.poll(now);
            }
            if len == 0 || self.dropped_at.is_some() {
                return;
            }
        }
    }

    fn turn(&mut self, now: u64) {
        self.poll(now);
        self.write(now, 0);
    }

    fn receive(&mut self, now: u64, mut bytes: Vec<u8>) {
        let mut rest = &mut bytes[..];
        while !rest.is_empty() && self.dropped_at.is_none() {
            let len = match self.cuts {
                None => rest.len(),
                Some(_) => 1 + self.choose(rest.len()),
            };
            let (mut piece, others) = rest.split_at_mut(len);
            rest = others;
            for _ in 0..=self.choose(2) {
                let at = self.now(now);
                self.session.received(at);
            }
            while let Ok(Some(event)) = self.session.next_event(&mut piece) {
                if let Event::Ping(_) = event {
                    self.transmit();
                }
            }
            if !rest.is_empty() && self.choose(2) == 1 {
                self.turn(now);
            }
        }
    }

    /// Time passes until `now`: what is due before is done in time.
    fn wait(&mut self, from: u64, now: u64) {
        let mut time = from;
        while self.dropped_at.is_none() {
            let at = self.session.poll_at(&self.timeouts);
            let clock = self.now(time);
            let next = at.map_or(u64::MAX, |at| time + u64::from(at.since(clock)));
            if self.choose(2) == 1 && next.min(now) > time + 1 {
                let early = time + 1 + self.choose((next.min(now) - time - 1) as usize) as u64;
                self.poll(early);
            }
            if next > now {
                return;
            }
            time = next;
            self.turn(time);
        }
    }
}

/// What came of it: what was written, how it ended and when, and when the transport was closed.
type Outcome = (Vec<u8>, Option<(Ended, u64)>, Option<u64>);

fn run(timeouts: Timeouts, epoch: u32, inputs: &[(u32, Input)], cuts: Option<u64>) -> Outcome {
    let mut adapter = Adapter {
        session: Session::new(Server, ConnectionConfig::default(), Millis(epoch)),
        timeouts,
        epoch,
        cuts,
        out: Vec::new(),
        written: Vec::new(),
        ended: None,
        dropped_at: None,
    };
    let mut now = 0;
    adapter.turn(now);
    for (wait, input) in inputs {
        adapter.wait(now, now + u64::from(*wait));
        now += u64::from(*wait);
        if adapter.dropped_at.is_some() {
            break;
        }
        let at = adapter.now(now);
        match input {
            Input::Receive(bytes) => adapter.receive(now, bytes.clone()),
            Input::Eof => adapter.session.receive_eof(),
            Input::Lost => adapter.session.lost(),
            Input::Send(len) => {
                let mut frame = vec![0; len + 14];
                let payload = vec![9; *len];
                if let Ok(len) = adapter.session.send(Message::Binary(&payload), &mut frame) {
                    adapter.out.extend(&frame[..len]);
                }
            }
            Input::Reading(on) => {
                for _ in 0..=adapter.choose(2) {
                    adapter.session.reading(at, *on);
                }
            }
            Input::Close => {
                let _ = adapter.session.close(CloseCode::NORMAL, "");
            }
            Input::CloseBy(millis) => adapter.session.close_by(at.after(*millis)),
            Input::Abort => adapter.session.abort(),
            Input::Take(_) => {}
        }
        adapter.poll(now);
        if adapter.dropped_at.is_none() {
            adapter.write(
                now,
                if let Input::Take(len) = input {
                    *len
                } else {
                    0
                },
            );
        }
    }
    adapter.wait(now, now + 100_000);
    (adapter.written, adapter.ended, adapter.dropped_at)
}

proptest! {
    #![proptest_config(config(300))]

    /// Reads and writes in any parts, calls that are made twice, polls in between, another clock.
    #[test]
    fn same_inputs_cut_in_any_way_end_alike(
        timeouts in timeouts(),
        inputs in vec((prop_oneof![Just(0), 0..50_u32, 0..4000_u32], input()), 1..30),
        cuts in any::<u64>(),
        epoch in prop_oneof![Just(0), Just(u32::MAX), (u32::MAX - 20_000..u32::MAX), any::<u32>()],
    ) {
        let expected = run(timeouts, 0, &inputs, None);
        prop_assert_eq!(&run(timeouts, epoch, &inputs, None), &expected, "by another clock");
        prop_assert_eq!(&run(timeouts, epoch, &inputs, Some(cuts)), &expected, "cut");
    }
}
