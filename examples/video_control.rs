//! Video with control: the server pushes frames while it reads commands, and each viewer has a
//! player of its own.
//!
//! A command that waits behind a second of frames is of no use, and on a slow link there would be
//! many seconds of them: in the operating systems of both sides, and in between. So the viewer
//! acknowledges each frame, and no more than [`IN_FLIGHT`] are ever under way. Every frame names
//! the last command that had taken effect when its picture was made; a picture that a command has
//! overtaken while it was painted is not sent.
//!
//! # The messages
//! Text is JSON. The viewer sends
//!
//! | | |
//! |---|---|
//! | `{"type":"set","command":7,"paused":true}` | a command, with any of `paused` (a truth value), `position` (seconds), `speed` (-4 to 4), `quality` (1 to 100) and `fps` (1 to 60). `command` is its number, from 1 on, one more each time |
//! | `{"type":"ack","number":41}` | the newest frame that has come |
//!
//! and the server
//!
//! | | |
//! |---|---|
//! | `{"type":"state","command":7,"paused":true,"position":12.5,"speed":1.0,"quality":75,"fps":30,"length":60.0}` | after the connection has opened, and after each command: what holds now |
//! | `{"type":"refused","command":7,"why":"..."}` | a command was not followed; why, for people to read |
//!
//! and frames, binary: see [`film::frame`](motews_examples::film::frame). A player that pauses
//! sends no more of them; one that is paused and told of another position or quality sends one.

use core::time::Duration;
use std::process::ExitCode;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Instant;

use clap::Parser;
use motews_examples::film::{Film, Size, frame};
use motews_examples::run::{self, MAX_REFUSALS, Place, Places};
use motews_examples::site;
use motews_std::{
    CloseCode, Ended, Handler, Message, MessageRef, Peer, PeerSender, Request, Response, SendError,
    Server, ServerLimits,
};
use serde::{Deserialize, Serialize};
use serde_json::json;

/// What a browser gets.
const PAGE: &str = include_str!("web/video_control.html");

/// How many frames may be under way to a viewer. Two keep a link busy: one arrives while the
/// acknowledgement of the one before is on its way back.
const IN_FLIGHT: u32 = 2;

/// How long the film is, in seconds. It begins again when it ends.
const LENGTH: f64 = 60.0;

/// A video server that takes commands while the frames flow: pause, seek, speed, quality, frame
/// rate. Each viewer has a player of its own.
///
/// A browser that asks the same port for / gets a page with the controls, which measures how soon
/// they take effect.
#[derive(Parser)]
#[command(name = "video_control")]
struct Options {
    /// Where to listen, as HOST:PORT. Port 0 is any port that is free.
    #[arg(default_value = "127.0.0.1:9001")]
    addr: String,

    /// The size of the pictures.
    #[arg(long, value_name = "WIDTHxHEIGHT", default_value = "640x360")]
    size: Size,

    /// Viewers at a time; one more is answered with the status 503. Each has a thread that paints
    /// for it.
    #[arg(long, value_name = "N", default_value_t = 32)]
    max_connections: usize,
}

/// What a viewer says.
#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum Said {
    Set(Command),
    Ack { number: u32 },
}

#[derive(Deserialize)]
struct Command {
    command: u32,
    paused: Option<bool>,
    position: Option<f64>,
    speed: Option<f64>,
    quality: Option<u8>,
    fps: Option<u8>,
}

/// What holds now.
#[derive(Serialize)]
struct State {
    #[serde(rename = "type")]
    kind: &'static str,
    command: u32,
    paused: bool,
    position: f64,
    speed: f64,
    quality: u8,
    fps: u8,
    length: f64,
}

/// A viewer's player: the connection changes it, a thread plays it.
struct Player {
    play: Mutex<Play>,
    changed: Condvar,
}

struct Play {
    /// The last command that has taken effect.
    command: u32,
    paused: bool,
    speed: f64,
    quality: u8,
    fps: u8,
    /// Where in the film it was, and when.
    from: (f64, Instant),
    /// The newest frame that was sent, and the newest that has come. The first has the number 1.
    sent: u32,
    acknowledged: u32,
    /// When the next frame is due.
    due: Instant,
    /// What is on the viewer's screen is not what it should be, though it is paused.
    stale: bool,
    gone: bool,
}

impl Player {
    fn new() -> Self {
        let now = Instant::now();
        Self {
            play: Mutex::new(Play {
                command: 0,
                paused: false,
                speed: 1.0,
                quality: 75,
                fps: 30,
                from: (0.0, now),
                sent: 0,
                acknowledged: 0,
                due: now,
                stale: false,
                gone: false,
            }),
            changed: Condvar::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Play> {
        self.play.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Plays until the viewer has gone.
    fn run(&self, viewer: &PeerSender, size: Size) {
        let mut film = Film::new(size);
        while let Some((command, position, quality)) = self.next_picture() {
            let jpeg = film.jpeg(position, quality);
            let mut play = self.lock();
            if play.command != command {
                // It was overtaken.
                continue;
            }
            let frame = frame(play.sent + 1, command, position, &jpeg);
            match viewer.try_send(Message::Binary(frame)) {
                Ok(()) => play.sent += 1,
                Err(error) => {
                    // Two frames always have room, unless the viewer is leaving.
                    drop(play);
                    if viewer.is_open() {
                        run::log(format_args!("video_control: {}: {error}", viewer.id()));
                    }
                    return;
                }
            }
        }
    }

    /// Waits until a picture is due. `None`: the viewer has gone.
    fn next_picture(&self) -> Option<(u32, f64, u8)> {
        let mut play = self.lock();
        loop {
            let now = Instant::now();
            let in_flight = play.sent - play.acknowledged;
            if play.gone {
                return None;
            } else if in_flight >= IN_FLIGHT || (play.paused && !play.stale) {
                play = self
                    .changed
                    .wait(play)
                    .unwrap_or_else(PoisonError::into_inner);
            } else if let Some(early) = play.due.checked_duration_since(now)
                && !early.is_zero()
                && !play.stale
            {
                let waited = self.changed.wait_timeout(play, early);
                play = waited.unwrap_or_else(PoisonError::into_inner).0;
            } else {
                // A link that is too slow has fewer frames, and not later ones.
                let period = Duration::from_secs(1) / play.fps.into();
                play.due = (play.due + period).max(now);
                play.stale = false;
                return Some((play.command, play.position(now), play.quality));
            }
        }
    }
}

impl Play {
    fn position(&self, now: Instant) -> f64 {
        let (position, at) = self.from;
        let passed = now.saturating_duration_since(at).as_secs_f64();
        let speed = if self.paused { 0.0 } else { self.speed };
        (position + passed * speed).rem_euclid(LENGTH)
    }

    fn follow(&mut self, command: &Command) -> Result<(), &'static str> {
        let Command {
            command: number,
            paused,
            position,
            speed,
            quality,
            fps,
        } = *command;
        if number <= self.command {
            return Err("The number of a command is larger than that of the one before.");
        }
        if position.is_some_and(|position| !(0.0..=LENGTH).contains(&position)) {
            return Err("The film has no such position.");
        }
        if speed.is_some_and(|speed| !(-4.0..=4.0).contains(&speed)) {
            return Err("The speed is -4 to 4.");
        }
        if quality.is_some_and(|quality| !(1..=100).contains(&quality)) {
            return Err("The quality is 1 to 100.");
        }
        if fps.is_some_and(|fps| !(1..=60).contains(&fps)) {
            return Err("The frame rate is 1 to 60.");
        }
        let now = Instant::now();
        self.from = (position.unwrap_or_else(|| self.position(now)), now);
        self.command = number;
        self.paused = paused.unwrap_or(self.paused);
        self.speed = speed.unwrap_or(self.speed);
        self.quality = quality.unwrap_or(self.quality);
        self.fps = fps.unwrap_or(self.fps);
        // The new picture is wanted at once.
        self.due = now;
        self.stale = position.is_some() || quality.is_some();
        Ok(())
    }

    fn state(&self) -> String {
        let state = State {
            kind: "state",
            command: self.command,
            paused: self.paused,
            position: self.position(Instant::now()),
            speed: self.speed,
            quality: self.quality,
            fps: self.fps,
            length: LENGTH,
        };
        serde_json::to_string(&state).expect("numbers and words are JSON")
    }
}

#[derive(Clone)]
struct Players {
    places: Places,
    size: Size,
}

impl Handler for Players {
    type Data = Option<(Place, Arc<Player>)>;

    fn on_request(&mut self, request: &Request) -> Response {
        site::welcome(request, PAGE, &self.places)
    }

    fn on_open(&mut self, peer: &mut Peer<'_>, _: &Request) -> Result<Self::Data, SendError> {
        let player = Arc::new(Player::new());
        let (playing, viewer, size) = (Arc::clone(&player), peer.sender(), self.size);
        peer.send(player.lock().state())?;
        let spawned = thread::Builder::new().spawn(move || playing.run(&viewer, size));
        if spawned.is_err() {
            peer.close(CloseCode::TRY_AGAIN_LATER, "no thread for another player")?;
            return Ok(None);
        }
        Ok(Some((self.places.take(), player)))
    }

    fn on_message(
        &mut self,
        peer: &mut Peer<'_, Self::Data>,
        message: MessageRef<'_>,
    ) -> Result<(), SendError> {
        let Some((_, player)) = peer.data() else {
            return Ok(());
        };
        let player = Arc::clone(player);
        let MessageRef::Text(text) = message else {
            return peer.close(CloseCode::UNSUPPORTED_DATA, "commands are text");
        };
        let mut play = player.lock();
        let answer = match serde_json::from_str(text) {
            Ok(Said::Ack { number }) => {
                play.acknowledged = number.clamp(play.acknowledged, play.sent);
                None
            }
            Ok(Said::Set(command)) => Some(match play.follow(&command) {
                Ok(()) => play.state(),
                Err(why) => refusal(command.command, why),
            }),
            Err(error) => Some(refusal(0, &error.to_string())),
        };
        drop(play);
        player.changed.notify_one();
        match answer {
            Some(answer) => peer.send(answer),
            None => Ok(()),
        }
    }

    fn on_close(&mut self, peer: &mut Peer<'_, Self::Data>, _: Ended) {
        if let Some((_, player)) = peer.data_mut().take() {
            player.lock().gone = true;
            player.changed.notify_one();
        }
    }
}

fn refusal(command: u32, why: &str) -> String {
    json!({ "type": "refused", "command": command, "why": why }).to_string()
}

fn main() -> ExitCode {
    let options = Options::parse();
    let builder = Server::builder().limits(ServerLimits {
        connections: options.max_connections.saturating_add(MAX_REFUSALS),
        message: 1024,
        backlog: 32 << 20,
        ..ServerLimits::DEFAULT
    });
    let players = Players {
        places: Places::new(options.max_connections),
        size: options.size,
    };
    run::end(
        "video_control",
        run::serve(builder, 1_usize, &options.addr, players),
    )
}
