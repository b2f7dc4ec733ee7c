//! What the chats have in common: their messages, and what is allowed.
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
use std::collections::VecDeque;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::compression::TrafficTold;

/// How many messages a room remembers.
const MEMORY: usize = 50;

/// Rooms at a time.
pub const MAX_ROOMS: usize = 1000;

/// How many rooms are told of: those where most people are.
const ROOMS_TOLD: usize = 30;

/// The longest name of a member or a room, in characters.
const MAX_NAME: usize = 32;

/// The longest text, in characters.
const MAX_TEXT: usize = 2000;

/// The longest key, in bytes.
const MAX_KEY: usize = 64;

/// The longest message of a client, in bytes.
pub const MAX_MESSAGE_LEN: u64 = 32 * 1024;

/// What waits for a member who does not read, in bytes. One who is behind by more is closed with
/// the code 1013, "try again later", and finds what was missed in the room's memory.
pub const MAX_BACKLOG: usize = 512 * 1024;

/// A request takes so long to earn, and no more than [`BURST`] are saved.
const PACE: Duration = Duration::from_millis(200);

/// See [`PACE`].
const BURST: u32 = 20;

/// Why a request is refused: it is not one.
pub const UNKNOWN: &str = "This is no request that the server knows.";
/// Too many requests.
pub const TOO_FAST: &str = "Slower, please.";
/// A name that is empty, or too long.
pub const NO_NAME: &str = "A name has 1 to 32 characters, and so has a room.";
/// A text that is empty, or too long.
pub const NO_TEXT: &str = "A message has 1 to 2,000 characters.";
/// Whoever says something is in no room.
pub const NO_ROOM: &str = "Join a room first.";
/// There are [`MAX_ROOMS`].
pub const TOO_MANY_ROOMS: &str = "There are too many rooms. Join one that is there.";

/// What a client asks.
#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
#[expect(missing_docs, reason = "the table above has them")]
pub enum Asked {
    Join { room: String, name: String },
    Say { text: String, key: String },
    Traffic,
}

/// What a client is told.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
#[expect(missing_docs, reason = "the table above has them")]
pub enum Told<'a> {
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

/// Someone in a room.
#[derive(Debug, Serialize)]
#[expect(missing_docs, reason = "the table above has them")]
pub struct Member<'a> {
    pub id: u64,
    pub name: &'a str,
}

/// A room, and how many are in it.
#[derive(Debug, Serialize)]
#[expect(missing_docs, reason = "the table above has them")]
pub struct RoomTold<'a> {
    pub name: &'a str,
    pub members: usize,
}

/// What someone has said.
#[derive(Debug, Serialize)]
#[expect(missing_docs, reason = "the table above has them")]
pub struct Said {
    pub id: u64,
    pub name: String,
    pub text: String,
    pub key: String,
    pub time: u64,
}

impl<'a> Told<'a> {
    /// The rooms where most people are.
    pub fn rooms(rooms: impl Iterator<Item = RoomTold<'a>>) -> Self {
        let mut rooms: Vec<_> = rooms.collect();
        rooms.sort_by_key(|room| core::cmp::Reverse(room.members));
        rooms.truncate(ROOMS_TOLD);
        Self::Rooms { rooms }
    }

    /// The message.
    ///
    /// # Panics
    /// Never: these types have no map with odd keys.
    #[must_use]
    pub fn json(&self) -> String {
        serde_json::to_string(self).expect("these types have no map with odd keys")
    }
}

/// How fast someone asks.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pace {
    /// When all that was asked so far is earned. See [`PACE`].
    earned: Option<Instant>,
}

impl Pace {
    /// Whether one more request is not too much, and if so, counts it.
    pub fn has_earned(&mut self) -> bool {
        let now = Instant::now();
        let earned = self.earned.map_or(now, |earned| earned.max(now)) + PACE;
        if earned > now + PACE * BURST {
            return false;
        }
        self.earned = Some(earned);
        true
    }
}

/// Whether someone, or a room, may be called so.
#[must_use]
pub fn is_name(name: &str) -> bool {
    let length = name.chars().count();
    (1..=MAX_NAME).contains(&length) && !name.contains(char::is_control)
}

/// Whether this may be said.
#[must_use]
pub fn is_said(text: &str, key: &str) -> bool {
    !text.trim().is_empty() && text.chars().count() <= MAX_TEXT && key.len() <= MAX_KEY
}

/// The name, or if someone has it, the name with a number.
pub fn free_name(name: &str, is_free: impl Fn(&str) -> bool) -> String {
    if is_free(name) {
        return name.to_owned();
    }
    let numbered = (2..).map(|number| format!("{name} {number}"));
    let mut free = numbered.filter(|name| is_free(name));
    free.next().unwrap_or_default()
}

/// Adds what was said to what a room remembers.
pub fn remember(history: &mut VecDeque<Said>, said: Said) {
    if history.len() >= MEMORY {
        history.pop_front();
    }
    history.push_back(said);
}

/// Milliseconds since 1970.
#[must_use]
pub fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_millis().try_into().unwrap_or(u64::MAX))
}
