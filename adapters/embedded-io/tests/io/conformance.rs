//! The conformance kit: blocking, async and split, in both roles, with large buffers and with the
//! smallest ones over a transport that moves a byte at a time.

mod asynch;
mod blocking;

use core::cell::RefCell;
use std::collections::VecDeque;
use std::io::Read;
use std::rc::Rc;

use motews::handshake::Request;
use motews::pace::Timeouts;
use motews::{DataKind, Ended, Event};
use motews_embedded_io::{Config, MIN_BUFFER};
use motews_testkit::conformance::{Subject, Told};

use crate::support::{Hand, REQUEST, RESPONSE, Script, head_len};

/// What an application is to do.
enum Act {
    Send(Told),
    Close(u16, String),
}

impl Act {
    /// What is sent.
    fn message(&self) -> Option<(DataKind, &[u8])> {
        match self {
            Self::Send(Told::Text(text)) => Some((DataKind::Text, text.as_bytes())),
            Self::Send(Told::Binary(bytes)) => Some((DataKind::Binary, bytes)),
            Self::Close(..) => None,
        }
    }
}

/// What an application was told, and what it still has to do.
#[derive(Default)]
struct Application {
    acts: VecDeque<Act>,
    pauses: bool,
    message: Vec<u8>,
    told: Vec<Told>,
    ended: Option<Ended>,
}

impl Application {
    fn receive(&mut self, event: Event<'_>) {
        let Event::Data(chunk) = event else { return };
        self.message.extend(&*chunk.bytes);
        if chunk.last {
            let message = core::mem::take(&mut self.message);
            self.told.push(match chunk.kind {
                DataKind::Text => Told::Text(String::from_utf8(message).unwrap()),
                DataKind::Binary => Told::Binary(message),
            });
        }
    }
}

type Shared = Rc<RefCell<Application>>;

/// What goes on inside of a connection when it has its turn.
trait Turn {
    fn turn(&mut self, application: &Shared);
}

/// A connection in memory, in simulated time, and its peer's end of the stream.
struct Linked<T> {
    connection: T,
    application: Shared,
    clock: Hand,
    /// The connection's end of the stream.
    stream: Script,
    /// The other one.
    peer: Script,
    /// How much the transport holds.
    holds: usize,
    /// What has left the transport, and the peer has not taken.
    written: VecDeque<u8>,
    /// Whether the application may stop reading.
    can_pause: bool,
}

impl<T: Turn> Linked<T> {
    fn turn(&mut self) {
        let waits = self.written.len() + self.stream.written().len();
        self.stream.window(self.holds.saturating_sub(waits));
        self.connection.turn(&self.application);
    }
}

impl<T: Turn> Subject for Linked<T> {
    fn give(&mut self, bytes: &[u8]) {
        self.stream.say(bytes);
        self.turn();
    }

    fn end(&mut self) {
        self.stream.ends(true);
        self.turn();
    }

    fn take(&mut self, most: usize) -> Vec<u8> {
        if self.written.len() < most {
            self.written.extend(self.stream.take_written());
        }
        let len = most.min(self.written.len());
        let bytes = self.written.drain(..len).collect();
        self.turn();
        bytes
    }

    fn has_ended(&mut self) -> bool {
        let mut byte = [0];
        match self.peer.read(&mut byte) {
            Ok(0) => self.written.is_empty(),
            Ok(_) => {
                self.written.extend(byte);
                false
            }
            Err(_) => false,
        }
    }

    fn send(&mut self, message: Told) {
        let act = Act::Send(message);
        self.application.borrow_mut().acts.push_back(act);
        self.turn();
    }

    fn close(&mut self, code: u16, reason: &str) {
        let act = Act::Close(code, reason.to_owned());
        self.application.borrow_mut().acts.push_back(act);
        self.turn();
    }

    fn read(&mut self, on: bool) -> bool {
        if self.can_pause {
            self.application.borrow_mut().pauses = !on;
            self.turn();
        }
        self.can_pause
    }

    fn told(&mut self) -> Vec<Told> {
        core::mem::take(&mut self.application.borrow_mut().told)
    }

    fn ended(&mut self) -> Option<Ended> {
        self.application.borrow().ended
    }

    fn wait(&mut self, millis: u32) {
        self.clock.pass(millis);
        self.turn();
    }
}

/// How a mode is tested.
#[derive(Clone, Copy)]
struct Setting {
    is_client: bool,
    buffer: usize,
    /// How many bytes a read or a write moves at most.
    most: usize,
    /// How much the transport holds.
    holds: usize,
}

const fn wide(is_client: bool) -> Setting {
    Setting {
        is_client,
        buffer: 4096,
        most: usize::MAX,
        holds: 8192,
    }
}

const fn narrow(is_client: bool) -> Setting {
    Setting {
        is_client,
        buffer: MIN_BUFFER,
        most: 1,
        holds: 10,
    }
}

impl Setting {
    const fn max_message_len(&self) -> usize {
        if self.holds < 1000 { 2000 } else { 70_000 }
    }

    const fn more_than_fits(&self) -> usize {
        2 * (self.holds + self.buffer)
    }

    fn config(timeouts: Timeouts) -> &'static Config<'static> {
        Box::leak(Box::new(Config {
            timeouts,
            ..Config::DEFAULT
        }))
    }

    /// The ends of a stream, with the peer's part of the opening handshake in it.
    fn streams(&self) -> (Script, Script) {
        let (stream, peer) = Script::pair(self.most, false);
        stream.say(if self.is_client { RESPONSE } else { REQUEST });
        (stream, peer)
    }

    fn request(&self) -> Request<'static> {
        Request::new("example.com", "/chat").unwrap()
    }

    fn linked<T>(&self, connection: T, clock: Hand, stream: Script, peer: Script) -> Linked<T> {
        // What it has written belongs to the opening handshake.
        let written = stream.take_written();
        assert_eq!(head_len(&written), written.len());
        Linked {
            connection,
            application: Shared::default(),
            clock,
            stream,
            peer,
            holds: self.holds,
            written: VecDeque::new(),
            can_pause: true,
        }
    }
}

/// Whether this side ends its half before it drains: a server does, and whoever gives up.
const fn ends_first(is_client: bool, ended: Option<Ended>) -> bool {
    !is_client || !matches!(ended, Some(Ended::Closed { .. }))
}
