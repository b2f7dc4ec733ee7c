//! `Session`, both roles, in time: any two applications, over any wire.
//!
//! The bytes of an input:
//!
//! | bytes | what |
//! |---|---|
//! | 1 | bit 0: a half-close does not get through; bit 1: the clock wraps soon; bits 2 to 4: by how much the clocks run backwards |
//! | 2 x 5 | each path: rate, latency, send buffer, receive buffer and window, segment |
//! | 2 x 8 | each end: its timeouts, and what its application and its adapter are like |
//! | 1 | the length of the server's script |
//! | the rest | the scripts, see [`script`] |
//!
//! [`motews_testkit::link`] checks what has to hold for each session. Here a link is run again with
//! more polls, the ends in the other order, and by another clock, which may not matter.

use motews::MAX_CONTROL_LEN;
use motews::Timeouts;
use motews_testkit::link::{Act, Echo, Link, Path, Plan, Seen};

const TIMES: [Option<u32>; 8] = [
    None,
    Some(0),
    Some(1),
    Some(40),
    Some(1000),
    Some(10_000),
    Some(Timeouts::MAX),
    Some(u32::MAX),
];
const MIN_RATES: [u32; 8] = [128, 0, 1, 100, 1000, 1_000_000, 10_000_000, u32::MAX];
const GRACES: [u32; 4] = [300_000, 0, 1000, u32::MAX];
const RATES: [u64; 4] = [u64::MAX, 100, 2000, 100_000];
const LATENCIES: [u32; 4] = [1, 3, 40, 2000];
const BUFFERS: [usize; 8] = [64 << 10, 1, 14, 100, 140, 1000, 4096, 1 << 20];
const SEGMENTS: [usize; 4] = [16 << 10, 1460, 100, 7];
const WAITS: [u32; 8] = [0, 1, 39, 1000, 30_000, 300_000, 86_400_000, 30 * 86_400_000];
const LENS: [usize; 8] = [0, 1, 125, 126, 1000, 5000, 20_000, 66_000];

/// More turns than this are not looked at.
const TURNS: u64 = 1000;

/// Reads bytes, and zeros behind their end.
struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    fn next(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else {
            return 0;
        };
        self.0 = rest;
        *first
    }

    fn path(&mut self) -> Path {
        let [rate, latency, send, receive, segment] = [(); 5].map(|()| usize::from(self.next()));
        let receive_buffer = BUFFERS[receive % 8];
        Path {
            rate: RATES[rate % 4],
            latency: LATENCIES[latency % 4],
            send_buffer: BUFFERS[send % 8],
            receive_buffer,
            window_step: [1, receive_buffer / 2, receive_buffer][(receive >> 3) % 3],
            segment: SEGMENTS[segment % 4],
            acknowledged_every: [0, 0, 700, 50_000][(segment >> 2) % 4],
        }
    }

    fn plan(&mut self, skew: u32) -> Plan {
        let [a, b, c, d, e, f, g, h] = [(); 8].map(|()| usize::from(self.next()));
        let timeouts = Timeouts {
            handshake: None,
            idle: TIMES[a % 8],
            keepalive: TIMES[(a >> 3) % 8],
            pong: TIMES[b % 8],
            close: TIMES[(b >> 3) % 8],
            write: TIMES[c % 8],
            min_rate: MIN_RATES[(c >> 3) % 8],
            max_grace: GRACES[d % 4],
        };
        Plan {
            // Half of them begin with what everybody has.
            timeouts: if d & 4 == 0 {
                Timeouts::DEFAULT
            } else {
                timeouts
            },
            rate: [None, Some(100), Some(1000), Some(50_000)][e % 4],
            read: [usize::MAX, 1, 100, 5000][(e >> 2) % 4],
            echo: [
                Echo::Nothing,
                Echo::Parts(BUFFERS[(f >> 2) % 8]),
                Echo::Messages(BUFFERS[(f >> 2) % 8]),
                Echo::Nothing,
            ][f % 4],
            queue: [usize::MAX, 0, 200, 8192][g % 4],
            acknowledged: g & 4 != 0 || g % 4 == 1,
            tells_reading: h & 1 != 0,
            skew,
            restless: false,
            script: Vec::new(),
        }
    }
}

/// Reads a script: what each byte does.
fn script(data: &[u8]) -> Vec<Act> {
    let mut bytes = Bytes(data);
    let mut acts = Vec::new();
    let mut at = 0_u32;
    while !bytes.0.is_empty() && acts.len() < 64 {
        let byte = bytes.next();
        let argument = usize::from(byte >> 4);
        acts.push(match byte & 15 {
            0 | 1 => {
                at = at.saturating_add(WAITS[argument % 8]);
                Act::At(at)
            }
            2 | 3 => Act::Send {
                count: 1 + argument / 8,
                len: LENS[argument % 8],
            },
            4 => Act::Offer {
                len: LENS[argument % 8].min(1000),
                backlog: 5000,
            },
            5 => Act::Ping,
            6 => Act::Read(argument & 1 != 0),
            7 => Act::Flushed,
            8 => Act::Received(LENS[argument % 8]),
            9 | 10 => Act::Close,
            11 => Act::CloseBy(WAITS[argument % 6]),
            12 => {
                let len = argument.min(bytes.0.len());
                let (raw, rest) = bytes.0.split_at(len);
                bytes.0 = rest;
                Act::Raw(raw.to_vec())
            }
            13 if argument == 0 => Act::Abort,
            14 if argument == 0 => Act::Cut,
            _ => Act::Send { count: 3, len: 10 },
        });
    }
    acts
}

/// Any bytes as a link.
#[must_use]
pub fn parse(data: &[u8]) -> Link {
    let mut bytes = Bytes(data);
    let flags = bytes.next();
    let paths = [bytes.path(), bytes.path()];
    let skew = [0, 0, 0, 0, 1, 2, 7, 50][usize::from(flags >> 2) % 8];
    let [mut server, mut client] = [bytes.plan(skew), bytes.plan(skew)];
    for (plan, path) in [(&mut server, paths[0]), (&mut client, paths[1])] {
        if path.send_buffer < MAX_CONTROL_LEN {
            plan.queue = plan.queue.max(MAX_CONTROL_LEN); // A ring has room for a control frame.
        }
    }
    let len = usize::from(bytes.next()).min(bytes.0.len());
    let (one, two) = bytes.0.split_at(len);
    Link {
        paths,
        half_closes: flags & 1 == 0,
        epoch: if flags & 2 == 0 { 0 } else { u32::MAX - 1500 },
        until: 90 * 86_400_000,
        turns: TURNS,
        ..Link::new(server.with(script(one)), client.with(script(two)))
    }
}

/// What may not depend on how often it was looked at.
fn outcome(link: &Link) -> [Seen; 2] {
    link.run().map(|seen| Seen { polls: 0, ..seen })
}

/// Whether the application never leaves input unread without telling the session.
fn always_reads(plan: &Plan) -> bool {
    let stops = |act: &Act| matches!(act, Act::Read(false));
    let stops = plan.echo != Echo::Nothing || plan.script.iter().any(stops);
    plan.rate.is_none() && (plan.tells_reading || !stops)
}

/// Runs any bytes as a link.
///
/// # Panics
/// If a property does not hold.
pub fn check(data: &[u8]) {
    let link = parse(data);
    let expected = outcome(&link);
    if link.plans[0].skew > 0 {
        return;
    }
    if expected.iter().all(|seen| seen.dropped_at.is_some()) {
        let mut restless = link.clone();
        for plan in &mut restless.plans {
            // Who looks more often at input that it does not read knows more.
            plan.restless = always_reads(plan);
        }
        restless.turns *= 20;
        assert_eq!(outcome(&restless), expected, "with more polls");

        let swapped = Link {
            first: 1,
            ..link.clone()
        };
        assert_eq!(outcome(&swapped), expected, "in the other order");

        let epoch = link.epoch ^ 0x8000_0000;
        let other = Link {
            epoch,
            ..link.clone()
        };
        assert_eq!(outcome(&other), expected, "by another clock");
    }
}
