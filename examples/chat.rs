//! A chat: rooms, names, who is here. Everyone in a room is in one [`Hub`], so that what is said is
//! framed once, however many hear it, and across all threads of the server.
//!
//! A room is there as long as someone is in it, and remembers the last [`MEMORY`] messages for those
//! who come, or come back. Whoever vanishes without a word (a phone in a tunnel) is asked with a
//! ping and removed when no answer comes.
//!
//! The messages are those of `motews_examples::talk`.

use std::collections::{BTreeMap, VecDeque};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use clap::Parser;
use motews_examples::run::{self, MAX_REFUSALS, Place, Places};
use motews_examples::site;
use motews_examples::talk::{self, Asked, MAX_ROOMS, Member, Pace, RoomTold, Said, Told};
use motews_std::{
    CloseCode, DeflateConfig, DeflateContext, Ended, Handler, Hub, Membership, MessageRef, Peer,
    Request, Response, SendError, Server, ServerLimits, SlowPolicy, Timeouts,
};

/// What a browser gets.
const PAGE: &str = include_str!("web/chat.html");

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
    pace: Pace,
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
            pace: Pace::default(),
        })
    }

    fn on_message(
        &mut self,
        peer: &mut Peer<'_, Visitor>,
        message: MessageRef<'_>,
    ) -> Result<(), SendError> {
        let done = if !peer.data_mut().pace.has_earned() {
            Err(talk::TOO_FAST)
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
            Err(talk::UNKNOWN)
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
        if !talk::is_name(room) || !talk::is_name(name) {
            return Ok(Err(talk::NO_NAME));
        }
        // As long as the house is locked nothing is said: what is remembered and what is heard
        // fit together.
        let mut house = self.house();
        if !house.rooms.contains_key(room) && house.rooms.len() >= MAX_ROOMS {
            return Ok(Err(talk::TOO_MANY_ROOMS));
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
        let name = talk::free_name(name, |name| {
            there.members.values().all(|other| other != name)
        });
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
            return Err(talk::NO_ROOM);
        };
        if !talk::is_said(&text, &key) {
            return Err(talk::NO_TEXT);
        }
        let mut house = self.house();
        let Some(room) = house.rooms.get_mut(room) else {
            return Err(talk::NO_ROOM);
        };
        let said = Said {
            id: *id,
            name: room.members.get(id).cloned().unwrap_or_default(),
            text,
            key,
            time: talk::now(),
        };
        _ = room.hub.broadcast(Told::Said(&said).json());
        talk::remember(&mut room.history, said);
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
        _ = self.everyone.broadcast(Told::rooms(rooms).json());
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
}

fn main() -> ExitCode {
    let options = Options::parse();
    let ping = u32::from(options.ping) * 1000;
    let mut builder = Server::builder()
        .limits(ServerLimits {
            connections: options.max_connections.saturating_add(MAX_REFUSALS),
            message: talk::MAX_MESSAGE_LEN as _,
            backlog: talk::MAX_BACKLOG,
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
