//! Two sessions over a wire, in simulated time: a link model.
//!
//! A [`Link`] has two ends. At each, a [`Session`](motews::Session) is driven by its documented run
//! loop, and an application follows its [`Plan`]. Between them is a wire with a rate, a latency and
//! the buffers of two kernels ([`Path`]), which hides bytes, opens its window in bursts, acknowledges
//! late, resets, or is cut. The clock jumps from event to event.
//!
//! What has to hold for all sessions is checked all along, by panics:
//! - there is exactly one [`Ended`](motews::Ended), which never changes
//! - after a turn `poll_at` is in the future, and a `poll` before it changes nothing
//! - no end loops in vain
//! - this side's half ends once, when all is written
//! - what is received is what was sent
//! - nothing lasts longer than the rules of [`pace`](motews::pace) allow
//!
//! ```
//! use motews_testkit::link::{Act, Link, Plan};
//!
//! // 1 MB for a reader of 100 KB/s, and a Close behind it.
//! let server = Plan::READER.with([Act::Send { count: 1000, len: 1000 }, Act::Close]);
//! let link = Link::new(server, Plan::slow_reader(100_000));
//! let [server, client] = link.run();
//! assert_eq!(client.payload, 1_000_000);
//! assert!(server.ended.is_some_and(|(ended, _)| ended.is_clean()));
//! ```

mod bounds;
mod host;
mod plan;
mod wire;

pub use host::Seen;
pub use plan::{Act, Echo, Plan};
pub use wire::Path;

use motews::{Client, Entropy, EntropyError, Server};

use host::Host;
use wire::{Micros, Wire};

/// Numbers that are the same in each run, for masking keys and choices.
#[derive(Clone, Debug)]
pub struct Random(pub u64);

impl Random {
    /// Returns the next number.
    pub const fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// Returns a number below `limit`, which is not 0.
    pub const fn below(&mut self, limit: usize) -> usize {
        (self.next() >> 11) as usize % limit
    }
}

impl Entropy for Random {
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), EntropyError> {
        bytes.fill_with(|| self.next() as u8);
        Ok(())
    }
}

/// Two ends and a wire: end 0 is the server's.
#[derive(Clone, Debug)]
pub struct Link {
    /// What each end does.
    pub plans: [Plan; 2],
    /// From the server to the client, and back.
    pub paths: [Path; 2],
    /// Whether the end of one direction gets through alone, which some proxies do not pass on.
    pub half_closes: bool,
    /// What the sessions' clock shows at the beginning.
    pub epoch: u32,
    /// How long it is looked at, in milliseconds.
    pub until: u64,
    /// After so many turns of its ends it is not looked at any more.
    pub turns: u64,
    /// Which end acts first if both can.
    pub first: usize,
}

impl Link {
    /// Makes a link with default paths, for at most a day. Its clock wraps after 10 seconds.
    #[must_use]
    pub const fn new(server: Plan, client: Plan) -> Self {
        Self {
            plans: [server, client],
            paths: [Path::DEFAULT; 2],
            half_closes: true,
            epoch: u32::MAX - 10_000,
            until: 86_400_000,
            turns: u64::MAX,
            first: 0,
        }
    }

    /// Runs it until both ends have closed their sockets, nothing happens any more, or the time is
    /// over. Returns what each end has seen.
    ///
    /// # Panics
    /// If something does not hold that has to hold.
    #[must_use]
    pub fn run(&self) -> [Seen; 2] {
        let [one, two] = &self.plans;
        let is_broken = |plan: &Plan| plan.script.iter().any(|act| matches!(act, Act::Raw(_)));
        // An echo sends back what a broken peer has made up.
        let verifies = !is_broken(one) && !is_broken(two);
        let mut server = Host::new(Server, 0, self.epoch, one, verifies);
        let keys = Client::new(Random(0x2545_F491_4F6C_DD1D));
        let mut client = Host::new(keys, 1, self.epoch, two, verifies);
        let mut wire = Wire::new(self.paths, self.half_closes);
        let mut now: Micros = 0;
        server.run(now, &mut wire);
        client.run(now, &mut wire);
        for _ in 0..self.turns {
            wire.advance(now);
            let due = [server.is_due(now, &wire), client.is_due(now, &wire)];
            match due {
                [true, other] if self.first == 0 || !other => server.run(now, &mut wire),
                [_, true] => client.run(now, &mut wire),
                _ => {
                    let next = [
                        wire.next_at(),
                        server.wake_at(now, &wire),
                        client.wake_at(now, &wire),
                    ];
                    match next.into_iter().flatten().min() {
                        Some(at) if at <= self.until * 1000 => now = at.max(now),
                        _ => break,
                    }
                }
            }
        }
        [server.seen, client.seen]
    }
}
