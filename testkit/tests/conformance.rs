//! The conformance kit, for a bare `Session` by its documented run loop: with a fast transport and a
//! narrow one, in both roles.

use std::collections::VecDeque;

use motews::{
    Client, CloseCode, ConnectionConfig, DataKind, Ended, Event, MAX_CONTROL_LEN, Message, Role,
    SendError, Server, Session, Wants,
};
use motews::{Millis, Timeouts};
use motews_testkit::conformance::{Adapter, Subject, Told};
use motews_testkit::link::Random;

/// What an application wants to do, in this order.
#[derive(Debug)]
enum Act {
    Send(Told),
    Close(u16, String),
}

/// A session over a transport in memory, in simulated time.
struct Bare<R> {
    session: Session<R>,
    timeouts: Timeouts,
    now: u32,
    /// How much the transport holds in each direction.
    holds: usize,
    read: usize,
    // The transport.
    given: VecDeque<u8>,
    incoming: VecDeque<u8>,
    given_end: bool,
    outgoing: VecDeque<u8>,
    sent_end: bool,
    is_dropped: bool,
    // The adapter.
    out: VecDeque<u8>,
    wants: Wants,
    got_end: bool,
    // The application.
    reads: bool,
    acts: VecDeque<Act>,
    /// How much of a message is sent.
    begun: usize,
    message: Vec<u8>,
    told: Vec<Told>,
}

impl<R: Role> Bare<R> {
    fn now(&self) -> Millis {
        Millis(self.now)
    }

    fn turn(&mut self) {
        if self.is_dropped {
            return;
        }
        loop {
            self.carry();
            let heard = self.receive();
            self.act();
            let unread = !self.incoming.is_empty();
            let wants = self.session.poll(self.now(), &self.timeouts, unread);
            self.wants = wants;
            let mut frame = [0; MAX_CONTROL_LEN];
            while wants.transmit
                && let len @ 1.. = self.session.poll_transmit(&mut frame).expect("keys")
            {
                self.out.extend(&frame[..len]);
            }
            if wants.shutdown {
                assert!(self.out.is_empty());
                self.sent_end = true;
            }
            if wants.drop {
                self.is_dropped = true;
                self.sent_end = true;
                return;
            }
            let taken = self.out.len().min(self.holds - self.outgoing.len());
            self.outgoing.extend(self.out.drain(..taken));
            let left = self.out.len();
            self.session.sent(self.now(), &self.timeouts, taken, left);
            if taken == 0 && !heard {
                return;
            }
        }
    }

    /// What was given, as far as the transport holds it.
    fn carry(&mut self) {
        let room = self.holds.max(1) - self.incoming.len();
        let len = self.given.len().min(room);
        self.incoming.extend(self.given.drain(..len));
    }

    /// Reads once, and returns whether something came.
    fn receive(&mut self) -> bool {
        let drains = self.wants.drain;
        let reads = self.wants.read && self.reads;
        if !drains && !reads {
            return false;
        }
        let len = self.read.min(self.incoming.len());
        let mut bytes: Vec<u8> = self.incoming.drain(..len).collect();
        if len == 0 {
            if self.given_end && self.given.is_empty() && !self.got_end {
                self.got_end = true;
                self.session.receive_eof();
                return true;
            }
            return false;
        }
        self.session.received(self.now());
        if drains {
            return true;
        }
        let mut input = &mut bytes[..];
        while let Ok(Some(event)) = self.session.next_event(&mut input) {
            match event {
                Event::Data(chunk) => {
                    self.message.extend(&*chunk.bytes);
                    if chunk.last {
                        let message = core::mem::take(&mut self.message);
                        self.told.push(match chunk.kind {
                            DataKind::Text => Told::Text(String::from_utf8(message).unwrap()),
                            DataKind::Binary => Told::Binary(message),
                        });
                    }
                }
                Event::Ping(_) => {
                    let mut frame = [0; MAX_CONTROL_LEN];
                    let len = self.session.poll_transmit(&mut frame).expect("keys");
                    self.out.extend(&frame[..len]);
                }
                _ => {}
            }
        }
        true
    }

    /// Sends while little waits: whole messages, or parts of them where the transport holds little.
    fn act(&mut self) {
        while self.out.len() < self.holds
            && let Some(act) = self.acts.pop_front()
        {
            match &act {
                Act::Close(code, reason) => {
                    let _ = self.session.close(CloseCode::new(*code), reason);
                }
                Act::Send(message) => {
                    let (kind, whole, bytes) = match message {
                        Told::Text(text) => (DataKind::Text, Message::Text(text), text.as_bytes()),
                        Told::Binary(bytes) => {
                            (DataKind::Binary, Message::Binary(bytes), &bytes[..])
                        }
                    };
                    let rest = &bytes[self.begun..];
                    let mut frame = vec![0; self.holds.min(rest.len() + 14).max(20)];
                    let sent = if frame.len() >= bytes.len() + 14 {
                        let sent = self.session.send(whole, &mut frame);
                        sent.map(|written| (bytes.len(), written))
                    } else {
                        let sent = self.session.send_fragment(kind, rest, true, &mut frame);
                        sent.map(|sent| (sent.consumed, sent.written))
                    };
                    match sent {
                        Ok((consumed, written)) => {
                            self.out.extend(&frame[..written]);
                            self.begun += consumed;
                            if self.begun < bytes.len() {
                                self.acts.push_front(act);
                            } else {
                                self.begun = 0;
                            }
                        }
                        Err(SendError::NotOpen) => self.begun = 0,
                        Err(error) => panic!("{error}"),
                    }
                }
            }
        }
    }
}

impl<R: Role> Subject for Bare<R> {
    fn give(&mut self, bytes: &[u8]) {
        self.given.extend(bytes);
        self.turn();
    }

    fn end(&mut self) {
        self.given_end = true;
        self.turn();
    }

    fn take(&mut self, most: usize) -> Vec<u8> {
        let len = most.min(self.outgoing.len());
        let bytes = self.outgoing.drain(..len).collect();
        self.turn();
        bytes
    }

    fn has_ended(&mut self) -> bool {
        self.sent_end && self.outgoing.is_empty()
    }

    fn send(&mut self, message: Told) {
        self.acts.push_back(Act::Send(message));
        self.turn();
    }

    fn close(&mut self, code: u16, reason: &str) {
        self.acts.push_back(Act::Close(code, reason.to_owned()));
        self.turn();
    }

    fn read(&mut self, on: bool) -> bool {
        self.reads = on;
        self.session.reading(self.now(), on);
        self.turn();
        true
    }

    fn told(&mut self) -> Vec<Told> {
        core::mem::take(&mut self.told)
    }

    fn ended(&mut self) -> Option<Ended> {
        self.session.ended()
    }

    fn wait(&mut self, millis: u32) {
        // From deadline to deadline.
        let end = Millis(self.now).after(millis);
        while !self.is_dropped
            && let Some(at) = self.session.poll_at(&self.timeouts)
            && end.has_reached(at)
        {
            self.now = at.max(self.now()).0;
            self.turn();
        }
        self.now = end.0;
        self.turn();
    }
}

/// A transport that holds so much, and gives so much to a read.
#[derive(Clone, Copy)]
struct Narrow {
    holds: usize,
    read: usize,
}

const WIDE: Narrow = Narrow {
    holds: 100_000,
    read: usize::MAX,
};
const NARROW: Narrow = Narrow {
    holds: 140,
    read: 1,
};

struct Of<R>(R, Narrow, bool);

impl<R: Role + Clone> Adapter for Of<R> {
    type Subject = Bare<R>;

    fn is_client(&self) -> bool {
        self.2
    }

    fn open(&self, timeouts: Timeouts) -> Bare<R> {
        let now = u32::MAX - 3000;
        Bare {
            session: Session::new(self.0.clone(), ConnectionConfig::default(), Millis(now)),
            timeouts,
            now,
            holds: self.1.holds,
            read: self.1.read,
            given: VecDeque::new(),
            incoming: VecDeque::new(),
            given_end: false,
            outgoing: VecDeque::new(),
            sent_end: false,
            is_dropped: false,
            out: VecDeque::new(),
            wants: Wants {
                read: true,
                ..Wants::default()
            },
            got_end: false,
            reads: true,
            acts: VecDeque::new(),
            begun: 0,
            message: Vec::new(),
            told: Vec::new(),
        }
    }
}

fn server(transport: Narrow) -> impl Adapter {
    Of(Server, transport, false)
}

fn client(transport: Narrow) -> impl Adapter {
    Of(Client::new(Random(42)), transport, true)
}

motews_testkit::conformance!(server_wide, server(WIDE));
motews_testkit::conformance!(server_narrow, server(NARROW));
motews_testkit::conformance!(client_wide, client(WIDE));
motews_testkit::conformance!(client_narrow, client(NARROW));
