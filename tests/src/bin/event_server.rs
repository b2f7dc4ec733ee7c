//! The event-driven server, to be tested from outside: an echo with a hub.
//!
//! Its arguments are the server's settings as `name=value`, times in milliseconds or `never`; see
//! `Settings::parse`. With `join`, each connection is a member of the hub from its start. With
//! `deflate`, messages are compressed; with `deflate=max` in windows of 32 KiB, with `deflate=alone`
//! without context takeover. The handler panics where the path of the request says so:
//! `/on_request`, `/on_open`, `/on_close`.
//! Messages come back, but for these texts:
//!
//! | message                   | the server                                                      |
//! |---------------------------|-----------------------------------------------------------------|
//! | `!join`, `!leave`         | makes this connection a member of the hub or no longer; `!ok`   |
//! | `!broadcast COUNT LENGTH` | sends COUNT numbered messages of LENGTH bytes to the hub; answers `!broadcast DELIVERED DROPPED DISCONNECTED`, the sums |
//! | `!counts`                 | answers `!counts OPENED CLOSED MEMBERS`                         |
//! | `!closes`                 | answers `!closes` and the code of each close since, in any order |
//! | `!close CODE`             | closes this connection                                          |
//! | `!farewell CODE`          | broadcasts one message, and closes this connection              |
//! | `!panic`                  | panics                                                          |
//! | `!shutdown TIME`          | shuts the server down, with this deadline                       |

use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use core::time::Duration;
use std::env;
use std::io;
use std::sync::{Arc, Mutex};

use motews_std::{
    CloseCode, DeflateConfig, Ended, Handler, Hub, Membership, MessageRef, Peer, Request, Response,
    SendError, Server, ServerBuilder, ServerHandle, ServerLimits, SlowPolicy, Timeouts,
};

fn main() -> io::Result<()> {
    let settings = Settings::parse(env::args().skip(1));
    let server = settings.builder.bind("127.0.0.1:0")?;
    println!("ws://{}/", server.local_addr());
    let handle = server.handle();
    let echo = Echo {
        hub: Hub::new(settings.policy),
        joins: settings.joins,
        handle,
        told: Arc::default(),
    };
    server.run_threads(settings.threads, || echo.clone())
}

struct Settings {
    builder: ServerBuilder,
    threads: usize,
    policy: SlowPolicy,
    joins: bool,
}

impl Settings {
    fn parse(arguments: impl Iterator<Item = String>) -> Self {
        let mut builder = Server::builder();
        let mut limits = ServerLimits::DEFAULT;
        let mut timeouts = Timeouts::SERVER;
        let mut threads = 1;
        let (mut policy, mut joins) = (SlowPolicy::DropOldest, false);
        for argument in arguments {
            let (name, value) = argument.split_once('=').unwrap_or((&argument, ""));
            let number = || value.parse::<usize>().expect("a number");
            let time = || (value != "never").then(|| u32::try_from(number()).unwrap_or(u32::MAX));
            match name {
                "join" => joins = true,
                "loops" => threads = number(),
                "send-buffer" => builder = builder.send_buffer(number()),
                "write" => timeouts.write = time(),
                "min-rate" => timeouts.min_rate = number() as u32,
                "max-grace" => timeouts.max_grace = number() as u32,
                "max-connections" => limits.connections = number(),
                "max-head" => limits.head = number() as u32,
                "max-headers" => limits.headers = number() as u16,
                "max-message" => limits.message = number() as u64,
                "max-backlog" => limits.backlog = number(),
                "handshake" => timeouts.handshake = time(),
                "idle" => timeouts.idle = time(),
                "keepalive" => timeouts.keepalive = time(),
                "pong" => timeouts.pong = time(),
                "close" => timeouts.close = time(),
                "deflate" => {
                    let mut config = DeflateConfig::default();
                    match value {
                        "" => {}
                        "max" => config = DeflateConfig::MAX,
                        "alone" => config.send.takeover = false,
                        _ => panic!("no such compression: {value}"),
                    }
                    builder = builder.deflate(config);
                }
                "slow" => {
                    policy = match value {
                        "oldest" => SlowPolicy::DropOldest,
                        "newest" => SlowPolicy::DropNewest,
                        "keep" => SlowPolicy::KeepNewest,
                        _ => SlowPolicy::Disconnect(CloseCode::new(number() as u16)),
                    }
                }
                _ => panic!("no such setting: {argument}"),
            }
        }
        Self {
            builder: builder.limits(limits).timeouts(timeouts),
            threads,
            policy,
            joins,
        }
    }
}

/// So many milliseconds; the most there are is the most that a `Duration` can be.
fn millis(millis: u64) -> Duration {
    match millis {
        u64::MAX => Duration::MAX,
        _ => Duration::from_millis(millis),
    }
}

#[derive(Clone)]
struct Echo {
    hub: Hub,
    joins: bool,
    handle: ServerHandle,
    told: Arc<Told>,
}

/// What has happened, in all loops.
#[derive(Default)]
struct Told {
    opened: AtomicUsize,
    closed: AtomicUsize,
    /// The codes of closes that `!closes` has not told yet.
    codes: Mutex<Vec<u16>>,
    /// The number of the next message to the hub.
    number: AtomicU64,
}

/// What is kept for a connection.
struct Seat {
    membership: Option<Membership>,
    panics_at_the_end: bool,
}

impl Handler for Echo {
    type Data = Seat;

    fn on_request(&mut self, request: &Request) -> Response {
        assert_ne!(request.path(), "/on_request", "as you wish");
        Response::accepted()
    }

    fn on_open(&mut self, peer: &mut Peer<'_>, request: &Request) -> Result<Seat, SendError> {
        assert_ne!(request.path(), "/on_open", "as you wish");
        self.told.opened.fetch_add(1, Ordering::Relaxed);
        Ok(Seat {
            membership: self.joins.then(|| self.hub.join(&peer.sender())),
            panics_at_the_end: request.path() == "/on_close",
        })
    }

    fn on_message(
        &mut self,
        peer: &mut Peer<'_, Seat>,
        message: MessageRef<'_>,
    ) -> Result<(), SendError> {
        match message {
            MessageRef::Text(text) if text.starts_with('!') => self.command(peer, text),
            _ => peer.send(message),
        }
    }

    fn on_close(&mut self, peer: &mut Peer<'_, Seat>, ended: Ended) {
        self.told.closed.fetch_add(1, Ordering::Relaxed);
        let mut codes = self.told.codes.lock().expect("no holder panics");
        // For the tests that ask, and in bounded memory for those that do not.
        if codes.len() < 1000 {
            codes.push(ended.code().as_u16());
        }
        drop(codes);
        assert!(!peer.data().panics_at_the_end, "as you wish");
    }
}

impl Echo {
    fn command(&mut self, peer: &mut Peer<'_, Seat>, text: &str) -> Result<(), SendError> {
        let (name, argument) = text.split_once(' ').unwrap_or((text, ""));
        let number = |text: &str| text.parse::<u64>().unwrap_or_default();
        match name {
            "!join" => peer.data_mut().membership = Some(self.hub.join(&peer.sender())),
            "!leave" => peer.data_mut().membership = None,
            "!broadcast" => {
                let (count, length) = argument.split_once(' ').unwrap_or((argument, "8"));
                let sums = self.broadcast(number(count), number(length) as usize);
                return peer.send(format!("!broadcast {} {} {}", sums[0], sums[1], sums[2]));
            }
            "!counts" => {
                let opened = self.told.opened.load(Ordering::Relaxed);
                let closed = self.told.closed.load(Ordering::Relaxed);
                let members = self.hub.len();
                return peer.send(format!("!counts {opened} {closed} {members}"));
            }
            "!closes" => {
                let codes = self
                    .told
                    .codes
                    .lock()
                    .expect("no holder panics")
                    .split_off(0);
                let codes = codes.iter().map(|code| format!(" {code}"));
                return peer.send(format!("!closes{}", codes.collect::<String>()));
            }
            "!close" => return peer.close(CloseCode::new(number(argument) as u16), "as you wish"),
            "!farewell" => {
                self.broadcast(1, 8);
                return peer.close(CloseCode::new(number(argument) as u16), "farewell");
            }
            "!panic" => panic!("as you wish"),
            "!shutdown" => self.handle.shutdown(millis(number(argument))),
            _ => return peer.send("!what"),
        }
        peer.send("!ok")
    }

    /// Sends messages that begin with their number, and returns how many were delivered, dropped,
    /// and how many members were disconnected.
    fn broadcast(&self, count: u64, length: usize) -> [usize; 3] {
        let mut sums = [0; 3];
        for _ in 0..count {
            let number = self.told.number.fetch_add(1, Ordering::Relaxed);
            // It repeats itself after a few bytes, and after more than the smallest window has.
            let octets = (0..length.max(8)).map(|at| at % 300);
            let octets = octets.map(|at| (at % if at < 150 { 10 } else { 7 }) as u8);
            let mut message: Vec<u8> = octets.collect();
            message[..8].copy_from_slice(&number.to_be_bytes());
            let told = self.hub.broadcast(message);
            sums[0] += told.delivered;
            sums[1] += told.dropped;
            sums[2] += told.disconnected;
        }
        sums
    }
}
