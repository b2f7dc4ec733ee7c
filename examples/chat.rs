//! A chat: rooms, names, who is here. Everyone in a room is in one [`Hub`], so that what is said is
//! framed once, however many hear it, and across all threads of the server.
//!
//! A room is there as long as someone is in it, and remembers the last [`MEMORY`] messages for those
//! who come, or come back. Whoever vanishes without a word (a phone in a tunnel) is asked with a
//! ping and removed when no answer comes.
//!
//! # The messages
//! Text, in JSON. A client sends
//!
//! | | |
//! |---|---|
//! | `{"type":"join","room":"kitchen","name":"Ada"}` | first; again to change the room or the name |
//! | `{"type":"say","text":"你好","key":"5f…"}` | `key` is the client's own name for this message: it comes back, and tells it from what others say. One that was under way when a connection was lost may be said again with the same key, and is told apart by it |
//! | `{"type":"traffic"}` | what compression has saved on this connection |
//!
//! and the server
//!
//! | | |
//! |---|---|
//! | `{"type":"joined","id":7,"name":"Ada","room":"kitchen","members":[{"id":7,"name":"Ada"}],"history":[…]}` | the answer to `join`. The name is another one if that one was taken. `history` holds what was said, oldest first, as in `said` |
//! | `{"type":"came","id":8,"name":"小明"}` | someone has joined |
//! | `{"type":"left","id":8,"name":"小明","why":"closed"}` | or has left: `closed`, or `vanished` without a Close frame |
//! | `{"type":"said","id":8,"name":"小明","text":"你好","key":"5f…","time":1767225600000}` | to everyone in the room, whoever said it too. `time` is in milliseconds since 1970 |
//! | `{"type":"rooms","rooms":[{"name":"kitchen","members":2}]}` | where people are, whenever that changes |
//! | `{"type":"traffic","received":{"messages":20000,"payloads":5000},"sent":{…}}` | the answer to `traffic`, as the server sees it: bytes of messages, and of the payloads of their frames |
//! | `{"type":"refused","why":"…"}` | a request was not followed; why, for people to read |

use core::time::Duration;
use std::collections::{BTreeMap, VecDeque};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use clap::Parser;
use motews_examples::compression::TrafficTold;
use motews_examples::run::{self, MAX_REFUSALS, Place, Places};
use motews_examples::site;
use motews_std::{
    CloseCode, DeflateConfig, DeflateContext, Ended, Handler, Hub, Membership, MessageRef, Peer,
    Request, Response, SendError, Server, ServerLimits, SlowPolicy, Timeouts,
};
use serde::{Deserialize, Serialize};

/// What a browser gets.
const PAGE: &str = include_str!("web/chat.html");

/// How many messages a room remembers.
const MEMORY: usize = 50;

/// Rooms at a time.
const MAX_ROOMS: usize = 1000;

/// How many rooms are told of: those where most people are.
const ROOMS_TOLD: usize = 30;

/// The longest name of a member or a room, in characters.
const MAX_NAME: usize = 32;

/// The longest text, in characters.
const MAX_TEXT: usize = 2000;

/// The longest key, in bytes.
const MAX_KEY: usize = 64;

/// What waits for a member who does not read, in bytes. One who is behind by more is closed with
/// the code 1013, "try again later", and finds what was missed in the room's memory.
const MAX_BACKLOG: usize = 512 * 1024;

/// A request takes so long to earn, and no more than [`BURST`] are saved.
const PACE: Duration = Duration::from_millis(200);

/// See [`PACE`].
const BURST: u32 = 20;

/// A chat server: rooms and names, for browsers.
///
/// A browser that asks the same port for / gets the page. Messages are JSON; the head of the source
/// tells which.
#[derive(Parser)]
#[command(name = "chat")]
struct Options {
    /// Where to listen, as HOST:PORT. Port 0 is any port that is free.
    #[arg(default_value = "127.0.0.1:9001")]
    addr: String,

    /// People at a time; one more is answered with the status 503.
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    max_connections: usize,

    /// Ask whoever is silent for so long with a ping, in seconds. Who does not answer within half
    /// of it has vanished.
    #[arg(long, value_name = "SECONDS", default_value_t = 20,
          value_parser = clap::value_parser!(u16).range(1..=3600))]
    ping: u16,

    /// Compress messages for those who can inflate them: once for all in a room. Each of them takes
    /// 34 KiB more.
    #[arg(short = 'z', long)]
    deflate: bool,

    /// Threads, each with an event loop of its own; the people are spread over them.
    #[arg(long, value_name = "N", default_value_t = 1,
          value_parser = clap::value_parser!(u16).range(1..=256))]
    threads: u16,
}

/// What a client asks.
#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum Asked {
    Join { room: String, name: String },
    Say { text: String, key: String },
    Traffic,
}

/// What a client is told.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum Told<'a> {
    Joined {
        id: u64,
        name: &'a str,
        room: &'a str,
        members: Vec<Member<'a>>,
        history: &'a VecDeque<Said>,
    },
    Came {
        id: u64,
        name: &'a str,
    },
    Left {
        id: u64,
        name: &'a str,
        why: &'static str,
    },
    Said(&'a Said),
    Rooms {
        rooms: Vec<RoomTold<'a>>,
    },
    Traffic(TrafficTold),
    Refused {
        why: &'a str,
    },
}

#[derive(Serialize)]
struct Member<'a> {
    id: u64,
    name: &'a str,
}

#[derive(Serialize)]
struct RoomTold<'a> {
    name: &'a str,
    members: usize,
}

#[derive(Serialize)]
struct Said {
    id: u64,
    name: String,
    text: String,
    key: String,
    time: u64,
}

impl Told<'_> {
    fn json(&self) -> String {
        serde_json::to_string(self).expect("these types have no map with odd keys")
    }
}

/// A room, while someone is in it.
struct Room {
    hub: Hub,
    members: BTreeMap<u64, String>,
    history: VecDeque<Said>,
}

/// All rooms, and what the threads of the server share.
struct House {
    rooms: BTreeMap<String, Room>,
    /// Everyone who is in some room.
    everyone: Hub,
    next_id: u64,
}

/// What is kept for each connection.
struct Visitor {
    _place: Place,
    member: Option<Seat>,
    /// When all that was asked so far is earned. See [`PACE`].
    earned: Option<Instant>,
}

/// A place in a room. Dropping it leaves both hubs.
struct Seat {
    id: u64,
    room: String,
    _in_room: Membership,
    _in_house: Membership,
}

#[derive(Clone)]
struct Chat {
    places: Places,
    house: Arc<Mutex<House>>,
}

impl Handler for Chat {
    type Data = Visitor;

    fn on_request(&mut self, request: &Request) -> Response {
        site::welcome(request, PAGE, &self.places)
    }

    fn on_open(&mut self, _: &mut Peer<'_>, _: &Request) -> Result<Visitor, SendError> {
        Ok(Visitor {
            _place: self.places.take(),
            member: None,
            earned: None,
        })
    }

    fn on_message(
        &mut self,
        peer: &mut Peer<'_, Visitor>,
        message: MessageRef<'_>,
    ) -> Result<(), SendError> {
        let done = if !peer.data_mut().has_earned() {
            Err("Slower, please.")
        } else if let MessageRef::Text(text) = message
            && let Ok(asked) = serde_json::from_str(text)
        {
            match asked {
                Asked::Join { room, name } => self.join(peer, room.trim(), name.trim())?,
                Asked::Say { text, key } => self.say(peer, text, key),
                Asked::Traffic => match peer.traffic() {
                    Some(traffic) => return peer.send(Told::Traffic(traffic.into()).json()),
                    None => Err("Nothing is compressed."),
                },
            }
        } else {
            Err("This is no request that the server knows.")
        };
        match done {
            Ok(()) => Ok(()),
            Err(why) => peer.send(Told::Refused { why }.json()),
        }
    }

    fn on_close(&mut self, peer: &mut Peer<'_, Visitor>, ended: Ended) {
        let why = if ended.is_clean() {
            "closed"
        } else {
            "vanished"
        };
        self.house().leave(peer.data_mut(), why);
    }
}

impl Chat {
    fn house(&self) -> MutexGuard<'_, House> {
        // Each change below is whole before anything can panic.
        self.house.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn join(
        &self,
        peer: &mut Peer<'_, Visitor>,
        room: &str,
        name: &str,
    ) -> Result<Result<(), &'static str>, SendError> {
        if !is_name(room) || !is_name(name) {
            return Ok(Err("A name has 1 to 32 characters, and so has a room."));
        }
        // As long as the house is locked nothing is said: what is remembered and what is heard
        // fit together.
        let mut house = self.house();
        if !house.rooms.contains_key(room) && house.rooms.len() >= MAX_ROOMS {
            return Ok(Err("There are too many rooms. Join one that is there."));
        }
        house.leave(peer.data_mut(), "closed");
        let House {
            rooms,
            everyone,
            next_id,
        } = &mut *house;
        let id = *next_id;
        *next_id += 1;
        let there = rooms.entry(room.to_owned()).or_insert_with(Room::new);
        let name = there.free_name(name);
        there.members.insert(id, name.clone());
        let sender = peer.sender();
        // From here on whatever fails, the seat leaves the room as it should.
        peer.data_mut().member = Some(Seat {
            id,
            room: room.to_owned(),
            _in_room: there.hub.join(&sender),
            _in_house: everyone.join(&sender),
        });
        let members = there.members.iter();
        let joined = Told::Joined {
            id,
            name: &name,
            room,
            members: members.map(|(&id, name)| Member { id, name }).collect(),
            history: &there.history,
        };
        peer.send(joined.json())?;
        let came = Told::Came { id, name: &name };
        _ = there.hub.broadcast_except(peer.id(), came.json());
        house.tell_rooms();
        Ok(Ok(()))
    }

    fn say(&self, peer: &Peer<'_, Visitor>, text: String, key: String) -> Result<(), &'static str> {
        let Some(Seat { id, room, .. }) = &peer.data().member else {
            return Err("Join a room first.");
        };
        let length = text.chars().count();
        if text.trim().is_empty() || length > MAX_TEXT || key.len() > MAX_KEY {
            return Err("A message has 1 to 2,000 characters.");
        }
        let mut house = self.house();
        let Some(room) = house.rooms.get_mut(room) else {
            return Err("Join a room first.");
        };
        let said = Said {
            id: *id,
            name: room.members.get(id).cloned().unwrap_or_default(),
            text,
            key,
            time: now(),
        };
        _ = room.hub.broadcast(Told::Said(&said).json());
        if room.history.len() >= MEMORY {
            room.history.pop_front();
        }
        room.history.push_back(said);
        Ok(())
    }
}

impl House {
    /// Takes a member out of the room, and tells the others.
    fn leave(&mut self, visitor: &mut Visitor, why: &'static str) {
        let Some(seat) = visitor.member.take() else {
            return;
        };
        let (id, at) = (seat.id, seat.room.clone());
        // Who leaves is told nothing of it: that would come after the next room was asked for.
        drop(seat);
        if let Some(room) = self.rooms.get_mut(&at) {
            let name = &room.members.remove(&id).unwrap_or_default();
            _ = room.hub.broadcast(Told::Left { id, name, why }.json());
            if room.members.is_empty() {
                self.rooms.remove(&at);
            }
        }
        self.tell_rooms();
    }

    fn tell_rooms(&self) {
        let rooms = self.rooms.iter().map(|(name, room)| RoomTold {
            name,
            members: room.members.len(),
        });
        let mut rooms: Vec<_> = rooms.collect();
        rooms.sort_by_key(|room| core::cmp::Reverse(room.members));
        rooms.truncate(ROOMS_TOLD);
        _ = self.everyone.broadcast(Told::Rooms { rooms }.json());
    }
}

impl Room {
    fn new() -> Self {
        Self {
            hub: Hub::new(SlowPolicy::Disconnect(CloseCode::TRY_AGAIN_LATER)),
            members: BTreeMap::new(),
            history: VecDeque::new(),
        }
    }

    /// The name, or if someone has it, the name with a number.
    fn free_name(&self, name: &str) -> String {
        let is_free = |name: &str| self.members.values().all(|other| other != name);
        if is_free(name) {
            return name.to_owned();
        }
        let numbered = (2..).map(|number| format!("{name} {number}"));
        let mut free = numbered.filter(|name| is_free(name));
        free.next().unwrap_or_default()
    }
}

impl Visitor {
    /// Whether one more request is not too much, and if so, counts it.
    fn has_earned(&mut self) -> bool {
        let now = Instant::now();
        let earned = self.earned.map_or(now, |earned| earned.max(now)) + PACE;
        if earned > now + PACE * BURST {
            return false;
        }
        self.earned = Some(earned);
        true
    }
}

fn is_name(name: &str) -> bool {
    let length = name.chars().count();
    (1..=MAX_NAME).contains(&length) && !name.contains(char::is_control)
}

/// Milliseconds since 1970.
fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_millis().try_into().unwrap_or(u64::MAX))
}

fn main() -> ExitCode {
    let options = Options::parse();
    let ping = u32::from(options.ping) * 1000;
    let mut builder = Server::builder()
        .limits(ServerLimits {
            connections: options.max_connections.saturating_add(MAX_REFUSALS),
            message: 32 * 1024,
            backlog: MAX_BACKLOG,
            ..ServerLimits::DEFAULT
        })
        .timeouts(Timeouts {
            keepalive: Some(ping),
            pong: Some(ping / 2),
            ..Timeouts::SERVER
        });
    if options.deflate {
        // What a room hears is compressed once for all, so nobody needs a context of their own.
        let send = DeflateContext {
            takeover: false,
            ..DeflateContext::default()
        };
        builder = builder.deflate(DeflateConfig {
            send,
            ..DeflateConfig::default()
        });
    }
    let house = House {
        rooms: BTreeMap::new(),
        everyone: Hub::new(SlowPolicy::Disconnect(CloseCode::TRY_AGAIN_LATER)),
        next_id: 1,
    };
    let chat = Chat {
        places: Places::new(options.max_connections),
        house: Arc::new(Mutex::new(house)),
    };
    run::end(
        "chat",
        run::serve(builder, options.threads, &options.addr, chat),
    )
}
