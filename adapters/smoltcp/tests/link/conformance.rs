//! The conformance kit: both roles, with rings that hold everything and with rings that hold hardly
//! a control frame.

use std::collections::VecDeque;

use motews::handshake::{Request, RequestEvent};
use motews::pace::Timeouts;
use motews::{CloseCode, DataKind, Ended, Event, SendError};
use motews_smoltcp::{ClientEvent, ClientSocket, Config, ServerEvent, ServerSocket};
use motews_testkit::conformance::{Adapter, Subject, Told};
use motews_testkit::head::{self, Head};
use smoltcp::iface::SocketHandle;
use smoltcp::socket::tcp::Socket;
use smoltcp::time::Duration;

use crate::support::{Faults, Net, Random};

/// The peer's rings.
const PEER: usize = 4096;

/// What an application is to do.
enum Act {
    Send(Told),
    Close(u16, String),
}

/// What it was told, and what it still has to do.
#[derive(Default)]
struct Application {
    acts: VecDeque<Act>,
    /// How much of a message is sent.
    begun: usize,
    message: Vec<u8>,
    told: Vec<Told>,
    ended: Option<Ended>,
    pauses: bool,
}

impl Application {
    /// How many bytes it takes now.
    const fn limit(&self) -> usize {
        if self.pauses { 0 } else { usize::MAX }
    }

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

/// Does what there is room for: the two roles have the same methods.
macro_rules! act {
    ($ws:expr, $tcp:expr, $application:expr) => {
        while $ws.is_open()
            && let Some(act) = $application.acts.pop_front()
        {
            match &act {
                Act::Close(code, reason) => $ws.close(CloseCode::new(*code), reason).unwrap(),
                Act::Send(message) => {
                    let (kind, bytes) = match message {
                        Told::Text(text) => (DataKind::Text, text.as_bytes()),
                        Told::Binary(bytes) => (DataKind::Binary, &bytes[..]),
                    };
                    let rest = &bytes[$application.begun..];
                    match $ws.send_fragment($tcp, kind, rest, true) {
                        Ok(len) if len < rest.len() => $application.begun += len,
                        Ok(_) => {
                            $application.begun = 0;
                            continue;
                        }
                        Err(SendError::NoRoom) => {}
                        Err(error) => panic!("{error}"),
                    }
                    $application.acts.push_front(act);
                    break;
                }
            }
        }
    };
}

/// The side under test.
enum Side {
    Server(ServerSocket<'static>),
    Client(ClientSocket<'static, Random>),
}

impl Side {
    fn poll(
        &mut self,
        tcp: &mut Socket<'_>,
        net: smoltcp::time::Instant,
        application: &mut Application,
    ) {
        while application.ended.is_none() {
            let limit = application.limit();
            let is_more = match self {
                Self::Server(server) => match server.poll(tcp, net, limit) {
                    Some(ServerEvent::Request(RequestEvent::Done(upgrade))) => {
                        server.accept(upgrade);
                        true
                    }
                    Some(ServerEvent::Received(event)) => {
                        application.receive(event);
                        true
                    }
                    Some(ServerEvent::Ended(ended)) => {
                        application.ended = Some(ended);
                        true
                    }
                    event => event.is_some(),
                },
                Self::Client(client) => match client.poll(tcp, net, limit) {
                    Some(ClientEvent::Received(event)) => {
                        application.receive(event);
                        true
                    }
                    Some(ClientEvent::Ended(ended)) => {
                        application.ended = Some(ended);
                        true
                    }
                    event => event.is_some(),
                },
            };
            if is_more {
                continue;
            }
            let acts = (application.acts.len(), application.begun);
            match self {
                Self::Server(server) => act!(server, tcp, application),
                Self::Client(client) => act!(client, tcp, application),
            }
            if acts == (application.acts.len(), application.begun) {
                return;
            }
        }
    }
}

/// A connection in memory, in simulated time.
struct Linked {
    net: Net,
    side: Side,
    socket: SocketHandle,
    peer: SocketHandle,
    application: Application,
    given: VecDeque<u8>,
    given_end: bool,
}

impl Linked {
    fn peer(&mut self) -> &mut Socket<'static> {
        match self.side {
            Side::Server(_) => self.net.client.tcp(self.peer),
            Side::Client(_) => self.net.server.tcp(self.peer),
        }
    }

    fn turn(&mut self) {
        let now = self.net.now;
        let tcp = match self.side {
            Side::Server(_) => self.net.server.tcp(self.socket),
            Side::Client(_) => self.net.client.tcp(self.socket),
        };
        self.side.poll(tcp, now, &mut self.application);
        let mut given = core::mem::take(&mut self.given);
        let peer = self.peer();
        if peer.may_send() {
            let len = peer.send_slice(given.make_contiguous()).unwrap();
            given.drain(..len);
        }
        self.given = given;
        if self.given_end && self.given.is_empty() {
            self.given_end = false;
            self.peer().close();
        }
        self.net.step();
    }

    /// Waits for the peer's part of the opening handshake.
    fn read_head(&mut self) -> String {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            // Nothing comes behind it before the answer, or before a time has passed.
            head.extend(self.take(usize::MAX));
            self.turn();
        }
        String::from_utf8(head).unwrap()
    }
}

impl Subject for Linked {
    fn give(&mut self, bytes: &[u8]) {
        self.given.extend(bytes);
    }

    fn end(&mut self) {
        self.given_end = true;
    }

    fn take(&mut self, most: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        let peer = self.peer();
        while bytes.len() < most && peer.can_recv() {
            let room = most - bytes.len();
            peer.recv(|data| {
                let len = data.len().min(room);
                bytes.extend_from_slice(&data[..len]);
                (len, ())
            })
            .unwrap();
        }
        bytes
    }

    fn has_ended(&mut self) -> bool {
        !self.peer().may_recv()
    }

    fn send(&mut self, message: Told) {
        self.application.acts.push_back(Act::Send(message));
    }

    fn close(&mut self, code: u16, reason: &str) {
        let act = Act::Close(code, reason.to_owned());
        self.application.acts.push_back(act);
    }

    fn read(&mut self, on: bool) -> bool {
        self.application.pauses = !on;
        true
    }

    fn told(&mut self) -> Vec<Told> {
        core::mem::take(&mut self.application.told)
    }

    fn ended(&mut self) -> Option<Ended> {
        self.application.ended
    }

    fn wait(&mut self, millis: u32) {
        let end = self.net.now + Duration::from_millis(millis.max(1).into());
        while self.net.now < end {
            self.turn();
        }
    }
}

/// A role, with rings of these sizes.
#[derive(Clone, Copy)]
struct Rings {
    is_client: bool,
    rx: usize,
    tx: usize,
}

impl Adapter for Rings {
    type Subject = Linked;

    fn is_client(&self) -> bool {
        self.is_client
    }

    fn max_message_len(&self) -> usize {
        if self.rx < 1000 { 2000 } else { 70_000 }
    }

    fn more_than_fits(&self) -> usize {
        2 * (self.tx + PEER)
    }

    fn open(&self, timeouts: Timeouts) -> Linked {
        let config: &'static Config<'_> = Box::leak(Box::new(Config {
            timeouts,
            ..Config::DEFAULT
        }));
        let mut net = Net::new(Faults::default(), 42);
        let (rx, tx) = if self.is_client {
            (PEER, PEER)
        } else {
            (self.rx, self.tx)
        };
        let listener = net.server.listener(rx, tx, 80);
        let (rx, tx) = if self.is_client {
            (self.rx, self.tx)
        } else {
            (PEER, PEER)
        };
        let caller = net.client.socket(rx, tx);
        let address = net.server.address;
        net.client.connect(caller, address, 80);
        let (side, socket, peer) = if self.is_client {
            let request = Request::new("10.0.0.1", "/").unwrap();
            let client = ClientSocket::new(config, request, Random(7), net.now).unwrap();
            (Side::Client(client), caller, listener)
        } else {
            (Side::Server(ServerSocket::new(config)), listener, caller)
        };
        let mut linked = Linked {
            net,
            side,
            socket,
            peer,
            application: Application::default(),
            given: VecDeque::new(),
            given_end: false,
        };
        if self.is_client {
            let request = linked.read_head();
            linked.give(&Head::response_to(&request).to_bytes());
            while let Side::Client(client) = &linked.side
                && !client.is_open()
            {
                linked.turn();
            }
        } else {
            linked.give(head::REQUEST.as_bytes());
            linked.read_head();
        }
        linked
    }
}

const fn rings(is_client: bool, rx: usize, tx: usize) -> Rings {
    Rings { is_client, rx, tx }
}

motews_testkit::conformance!(server_wide, rings(false, 8192, 8192));
motews_testkit::conformance!(server_narrow, rings(false, 1, 140));
motews_testkit::conformance!(client_wide, rings(true, 8192, 8192));
motews_testkit::conformance!(client_narrow, rings(true, 1, 140));
