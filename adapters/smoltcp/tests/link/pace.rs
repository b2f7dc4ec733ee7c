//! Time: honest slow peers lose nothing, silent ones give way, and a clock may wrap.

use motews::Side::{Local, Remote};
use motews::handshake::{HandshakeError, Request, RequestEvent, Response};
use motews::{CloseCode, DataKind, Ended, Event, Message};
use motews::{Deadline, Timeouts};
use motews_smoltcp::{ClientEvent, ClientSocket, Config, ServerEvent, gives_way};
use smoltcp::iface::SocketHandle;
use smoltcp::socket::tcp::State;
use smoltcp::time::{Duration, Instant};

use crate::support::{
    ACCEPTED, CONFIG, Faults, Net, REQUEST, Random, Raw, Rig, Server, closed, masked,
};

/// So many bytes a second, counted from its start on.
struct Rate {
    bytes: u64,
    since: Instant,
    used: u64,
}

impl Rate {
    const fn new(bytes: u64) -> Self {
        Self {
            bytes,
            since: Instant::ZERO,
            used: 0,
        }
    }

    /// Bytes that may be read now. It reads in sips of at least 20.
    fn room(&mut self, now: Instant) -> usize {
        let due = (now - self.since).total_millis() * self.bytes / 1000;
        let room = due.saturating_sub(self.used) as usize;
        if room < 20 { 0 } else { room }
    }
}

/// A client that reads slowly, a server whose application has a message and a reason to close, and
/// what came of both.
struct Slow {
    net: Net,
    listener: SocketHandle,
    server: Server<'static>,
    socket: SocketHandle,
    client: ClientSocket<'static, Random>,
    rate: Rate,
    received: Vec<u8>,
    /// Bytes of the message that are in the ring.
    sent: usize,
    closes: bool,
    ends: [Option<Ended>; 2],
}

/// The place of each byte shows in it.
const fn byte(place: usize) -> u8 {
    (place ^ (place >> 8)) as u8
}

impl Slow {
    fn new(config: &'static Config<'static>, tx: usize, rate: u64) -> Self {
        let mut net = Net::new(Faults::default(), 3);
        let listener = net.server.listener(1024, tx, 80);
        let socket = net.client.socket(256, 256);
        let address = net.server.address;
        net.client.connect(socket, address, 80);
        let random = Random(7);
        let request = Request::new("10.0.0.1", "/").unwrap();
        // Its own deadlines are not what is tested.
        static PATIENT: Config<'static> = {
            let mut config = Config::DEFAULT;
            config.timeouts = Timeouts::NONE;
            config
        };
        let client = ClientSocket::new(&PATIENT, request, random, net.now).unwrap();
        Self {
            net,
            listener,
            server: Server::new(config),
            socket,
            client,
            rate: Rate::new(rate),
            received: Vec::new(),
            sent: 0,
            closes: false,
            ends: [None; 2],
        }
    }

    /// Sends a message of `len` bytes, closes if it is to, and runs until `done` or for so many seconds.
    fn run(&mut self, len: usize, seconds: u64, mut done: impl FnMut(&mut Self) -> bool) -> bool {
        let until = self.net.now + Duration::from_secs(seconds);
        while self.net.now < until {
            self.poll_server(len);
            self.poll_client();
            if done(self) {
                return true;
            }
            self.net.step();
        }
        false
    }

    fn poll_server(&mut self, len: usize) {
        let (tcp, now) = (self.net.server.tcp(self.listener), self.net.now);
        loop {
            if self.server.is_open() && self.sent < len {
                let rest: Vec<u8> = (self.sent..len).map(byte).collect();
                if let Ok(sent) = (self.server).send_fragment(tcp, DataKind::Binary, &rest, true) {
                    self.sent += sent;
                }
            }
            if self.closes && self.sent == len && self.server.is_open() {
                self.server.close(CloseCode::NORMAL, "").unwrap();
            }
            match self.server.poll(tcp, now, usize::MAX) {
                Some(ServerEvent::Request(RequestEvent::Done(upgrade))) => {
                    self.server.accept(upgrade);
                }
                Some(ServerEvent::Ended(end)) => self.ends[0] = Some(end),
                Some(_) => {}
                None => return,
            }
        }
    }

    fn poll_client(&mut self) {
        let (tcp, now) = (self.net.client.tcp(self.socket), self.net.now);
        loop {
            let room = match self.client.is_open() {
                true => self.rate.room(now),
                false => usize::MAX,
            };
            match self.client.poll(tcp, now, room) {
                Some(ClientEvent::Received(Event::Data(chunk))) => {
                    self.rate.used += chunk.bytes.len() as u64;
                    self.received.extend_from_slice(chunk.bytes);
                }
                Some(ClientEvent::Response(_)) => {
                    (self.rate.since, self.rate.used) = (now, 0);
                }
                Some(ClientEvent::Ended(end)) => self.ends[1] = Some(end),
                Some(_) => {}
                None => return,
            }
        }
    }

    fn has_all(&self, len: usize) -> bool {
        self.received.len() == len && (0..len).map(byte).eq(self.received.iter().copied())
    }
}

/// What the peer takes buys it time: a ring of 8 KiB lasts 41 s at this rate, and a ping behind it is
/// answered later still.
#[test]
fn open_reader_of_200_bytes_a_second_gets_all() {
    let mut slow = Slow::new(&CONFIG, 8192, 200);
    assert!(slow.run(20_000, 150, |slow| slow.received.len() == 20_000));
    assert!(slow.has_all(20_000));
    assert_eq!(slow.ends, [None; 2]);
    assert!(slow.net.now.total_millis() > 95_000);
    // And it stays, with its pings and pongs, when there is no more to read.
    slow.run(20_000, 200, |_| false);
    assert_eq!(slow.ends, [None; 2]);
}

#[test]
fn closing_what_was_sent_before_goes_first_however_slowly_it_is_read() {
    let mut slow = Slow::new(&CONFIG, 8192, 200);
    slow.closes = true;
    assert!(slow.run(8000, 100, |slow| slow.ends.iter().all(Option::is_some)));
    assert!(slow.has_all(8000));
    let [server, client] = slow.ends;
    assert_eq!(server, Some(closed(Local, CloseCode::NORMAL)));
    assert_eq!(client, Some(closed(Remote, CloseCode::NORMAL)));
    assert!(slow.net.now.total_millis() > 38_000);
}

/// What arrives after the decision to end is drained: left unread it would make TCP reset the connection,
/// and what was sent would be lost.
#[test]
fn closing_peer_that_goes_on_sending_gets_all() {
    static HASTY: Config<'static> = {
        let mut config = Config::DEFAULT;
        config.timeouts.close = Some(1_000);
        config
    };
    let mut slow = Slow::new(&HASTY, 8192, 500);
    slow.closes = true;
    let mut next = Instant::ZERO;
    let ended = slow.run(8000, 60, |slow| {
        let (tcp, now) = (slow.net.client.tcp(slow.socket), slow.net.now);
        if now >= next && slow.client.send(tcp, Message::Text("word")).is_ok() {
            next = now + Duration::from_millis(200);
        }
        slow.ends.iter().all(Option::is_some)
    });
    assert!(ended);
    assert!(slow.has_all(8000), "{} bytes", slow.received.len());
    assert_eq!(slow.ends[0], Some(closed(Local, CloseCode::NORMAL)));
    assert_eq!(slow.ends[1], Some(closed(Remote, CloseCode::NORMAL)));
}

/// Nothing is idle while bytes flow.
#[test]
fn open_peer_that_is_still_reading_is_not_idle() {
    static IDLE: Config<'static> = {
        let mut config = Config::DEFAULT;
        config.timeouts.idle = Some(1_500);
        config
    };
    let mut slow = Slow::new(&IDLE, 4096, 1000);
    // The time that the message's bytes bought counts, too: 156 s.
    assert!(slow.run(20_000, 200, |slow| slow.ends.iter().all(Option::is_some)));
    assert!(slow.has_all(20_000), "{} bytes", slow.received.len());
    assert_eq!(slow.ends[0], Some(closed(Local, CloseCode::GOING_AWAY)));
}

/// A peer that reads nothing ends when what it took is paid for, and the time to write has passed.
#[test]
fn open_peer_that_reads_nothing_ends_at_the_stated_time() {
    let mut rig = Rig::open(200, 1024);
    rig.raw.reads = false;
    let begin = rig.net.now;
    let mut left = 6000;
    let mut ended = None;
    while rig.net.now - begin < Duration::from_secs(200) && ended.is_none() {
        let (tcp, now) = (rig.net.server.tcp(rig.listener), rig.net.now);
        while left > 0 {
            let part = &[7; 500][..left.min(500)];
            match (rig.server).send_fragment(tcp, DataKind::Binary, part, false) {
                Ok(sent) => left -= sent,
                Err(_) => break,
            }
        }
        while let Some(event) = rig.server.poll(tcp, now, usize::MAX) {
            if let ServerEvent::Ended(end) = event {
                ended = Some(end);
            }
        }
        rig.net.step();
    }
    assert_eq!(ended, Some(Ended::TimedOut(Deadline::Write)));
    // The peer's ring of 4 KiB took 4,096 bytes in all, which buy 32 s.
    let seconds = (rig.net.now - begin).total_millis() / 1000;
    assert!((61..=63).contains(&seconds), "{seconds}");
}

/// Own backpressure is no evidence against the peer.
#[test]
fn open_caller_that_does_not_read_for_a_while_keeps_its_peer() {
    let mut rig = Rig::open(512, 512);
    rig.raw.send(masked(0x82, &[9; 3000]));
    let until = rig.net.now + Duration::from_secs(100);
    while rig.net.now < until {
        let (tcp, now) = (rig.net.server.tcp(rig.listener), rig.net.now);
        assert_eq!(rig.server.poll(tcp, now, 0), None);
        if let Some(at) = rig.server.poll_at(now) {
            assert!(at > now, "there is nothing to do until then");
        }
        rig.raw.poll(&mut rig.net.client);
        rig.net.step();
    }
    assert!(rig.raw.received.is_empty(), "and no ping was due");
    assert!(rig.run(5, |rig| rig.raw.received.len() > 3000));
    assert_eq!(rig.end, None);
}

/// What TCP has to say of its end is heard by a caller that does not read.
#[test]
fn open_peer_that_resets_is_noticed_by_a_caller_that_does_not_read() {
    let mut rig = Rig::open(512, 512);
    rig.net.client.tcp(rig.raw.handle).abort();
    let until = rig.net.now + Duration::from_secs(1);
    let mut ended = None;
    while rig.net.now < until && ended.is_none() {
        rig.net.step();
        let (tcp, now) = (rig.net.server.tcp(rig.listener), rig.net.now);
        ended = rig.server.poll(tcp, now, 0);
    }
    assert_eq!(ended, Some(ServerEvent::Ended(Ended::Lost)));
}

/// A page for a peer that reads so many bytes a second, and sends more than its request. Gives what it
/// got, how its connection ended, and after how many seconds.
fn page(rate: u64, stops_after: usize) -> (Vec<u8>, Option<Ended>, u64) {
    static PAGE: [u8; 12_000] = [b'x'; 12_000];
    let mut rig = Rig::new(256, 1024);
    let handle = rig.net.client.socket(256, 4096);
    let address = rig.net.server.address;
    rig.net.client.connect(handle, address, 80);
    rig.net.client.tcp(rig.raw.handle).abort();
    rig.raw = Raw::new(handle);
    rig.raw.reads = false;
    rig.raw.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    rig.raw.send([b'y'; 3000]);
    let mut rate = Rate::new(rate);
    let (mut got, mut ended) = (Vec::new(), None);
    while rig.net.now < Instant::from_millis(300_000) {
        let (tcp, now) = (rig.net.server.tcp(rig.listener), rig.net.now);
        while let Some(event) = rig.server.poll(tcp, now, 0) {
            match event {
                ServerEvent::Http(HandshakeError::NotUpgrade) => {
                    rig.server.respond(Response::new(200).unwrap().body(&PAGE));
                }
                ServerEvent::Ended(end @ (Ended::Refused(_) | Ended::TimedOut(_))) => {
                    ended = Some(end);
                }
                _ => {}
            }
        }
        rig.raw.poll(&mut rig.net.client);
        let tcp = rig.net.client.tcp(handle);
        let room = rate.room(now).min(stops_after - got.len());
        if room > 0 && tcp.can_recv() {
            let part = tcp
                .recv(|bytes| {
                    let part = bytes[..bytes.len().min(room)].to_vec();
                    (part.len(), part)
                })
                .unwrap();
            rate.used += part.len() as u64;
            got.extend(part);
        }
        let has_more = tcp.can_recv() && got.len() < stops_after;
        if ended.is_some() && !has_more {
            break;
        }
        rig.net.step();
    }
    (got, ended, rig.net.now.total_millis() as u64 / 1000)
}

/// The time for the handshake is the request's. What is drained takes nothing from the page.
#[test]
fn responding_page_that_is_read_slowly_is_finished() {
    let (got, ended, seconds) = page(400, usize::MAX);
    assert_eq!(ended, Some(Ended::Refused(200)));
    assert!(got.ends_with(&[b'x'; 12_000]), "{} bytes", got.len());
    assert!(seconds >= 30, "{seconds}");
}

#[test]
fn responding_page_that_is_no_longer_read_is_given_up() {
    let (got, ended, seconds) = page(1000, 3000);
    assert_eq!(ended, Some(Ended::TimedOut(Deadline::Write)));
    assert_eq!(got.len(), 3000);
    // Some 3,256 bytes were taken in 3 s and buy 25 s; then come 30 s.
    assert!((50..60).contains(&seconds), "{seconds}");
}

/// A request that has come whole, and a response that has not: the time for the request is over.
#[test]
fn clock_that_wraps_changes_nothing() {
    let times = |begin: i64| {
        let mut net = Net::new(Faults::default(), 5);
        net.now = Instant::from_millis(begin);
        let listener = net.server.listener(200, 200, 80);
        let mut raw = Raw::connect(&mut net, 4096);
        let mut server = Server::new(&CONFIG);
        raw.send(REQUEST);
        let mut times = Vec::new();
        while net.now < Instant::from_millis(begin + 60_000) {
            let (tcp, now) = (net.server.tcp(listener), net.now);
            while let Some(event) = server.poll(tcp, now, usize::MAX) {
                let what = match event {
                    ServerEvent::Request(RequestEvent::Done(upgrade)) => {
                        server.accept(upgrade);
                        "accepted".to_owned()
                    }
                    ServerEvent::Ended(end) => format!("{end:?}"),
                    _ => continue,
                };
                times.push((what, now.total_millis() - begin));
            }
            if let Some(at) = server.poll_at(now) {
                let due = at.total_millis() - now.total_millis();
                assert!((1..=50_000).contains(&due), "{due}");
            }
            raw.poll(&mut net.client);
            if raw.received.ends_with(b"\x89\x00") {
                raw.take();
                times.push(("pinged".to_owned(), net.now.total_millis() - begin));
            }
            net.step();
        }
        times
    };
    let expected = times(0);
    assert_eq!(
        expected.len(),
        3,
        "accepted, pinged, given up: {expected:?}"
    );
    let wrap = 1_i64 << 32;
    for begin in [
        wrap - 1,
        wrap - 10,
        wrap - 20_000,
        wrap - 35_000,
        3 * wrap - 30_000,
    ] {
        assert_eq!(times(begin), expected, "{begin}");
    }
}

/// Several sockets at one port, as a board has them.
pub(crate) struct Board {
    pub(crate) net: Net,
    pub(crate) servers: Vec<(SocketHandle, Server<'static>)>,
    ends: Vec<Ended>,
}

impl Board {
    pub(crate) fn new(sockets: usize) -> Self {
        let mut net = Net::new(Faults::default(), 11);
        let servers = (0..sockets)
            .map(|_| (net.server.listener(300, 300, 80), Server::new(&CONFIG)))
            .collect();
        let ends = Vec::new();
        Self { net, servers, ends }
    }

    pub(crate) fn poll(&mut self, raws: &mut [Raw]) {
        let now = self.net.now;
        for (handle, server) in &mut self.servers {
            let tcp = self.net.server.tcp(*handle);
            while let Some(event) = server.poll(tcp, now, usize::MAX) {
                match event {
                    ServerEvent::Request(RequestEvent::Done(upgrade)) => server.accept(upgrade),
                    ServerEvent::Ended(end) => self.ends.push(end),
                    _ => {}
                }
            }
        }
        if let Some(index) = gives_way(self.servers.iter().map(|(_, server)| server), now) {
            let (handle, server) = &mut self.servers[index];
            server.give_way(self.net.server.tcp(*handle));
        }
        for raw in raws {
            raw.poll(&mut self.net.client);
        }
        self.net.step();
    }

    pub(crate) fn run(&mut self, raws: &mut [Raw], time: Duration) {
        let until = self.net.now + time;
        while self.net.now < until {
            self.poll(raws);
        }
    }

    pub(crate) fn is_connected(&mut self, raw: &Raw) -> bool {
        self.net.client.tcp(raw.handle).state() == State::Established
    }
}

/// As many silent connections as there are sockets: the newcomers are served at once, and the silent
/// ones that came first are reset.
#[test]
fn silent_peers_on_every_socket_give_way_to_websockets_at_once() {
    for sockets in [2, 3, 5, 8] {
        let mut board = Board::new(sockets);
        let mut raws = Vec::new();
        for _ in 0..sockets {
            raws.push(Raw::connect(&mut board.net, 500));
            board.run(&mut raws, Duration::from_millis(20));
        }
        let begin = board.net.now;
        for served in 1..sockets {
            let mut newcomer = Raw::connect(&mut board.net, 500);
            newcomer.send(REQUEST);
            raws.push(newcomer);
            board.run(&mut raws, Duration::from_millis(20));
            let newcomer = raws.last().unwrap();
            assert_eq!(
                newcomer.received,
                ACCEPTED.as_bytes(),
                "{served} of {sockets}"
            );
        }
        assert!(board.net.now - begin < Duration::from_secs(1));
        let reset = (raws[..sockets].iter())
            .filter(|raw| board.net.client.tcp(raw.handle).state() == State::Closed)
            .count();
        assert_eq!(reset, board.ends.len());
        assert!(board.ends.iter().all(|end| *end == Ended::Aborted));
        // One socket still listens.
        let idle = board.servers.iter().filter(|(_, server)| server.is_idle());
        assert_eq!(idle.count(), 1);
    }
}

/// The only socket: a silent peer has a second, for its request may be on its way.
#[test]
fn silent_peer_on_the_only_socket_gives_way_after_a_second() {
    let mut board = Board::new(1);
    let mut raws = vec![Raw::connect(&mut board.net, 500)];
    board.run(&mut raws, Duration::from_millis(900));
    assert!(board.is_connected(&raws[0]));
    assert!(
        (board.servers[0].1.poll_at(board.net.now))
            .is_some_and(|at| at <= Instant::from_millis(1_100)),
        "a caller that sleeps wakes for it"
    );
    board.run(&mut raws, Duration::from_millis(300));
    assert!(!board.is_connected(&raws[0]));

    let mut newcomer = Raw::connect(&mut board.net, 500);
    newcomer.send(REQUEST);
    raws.push(newcomer);
    board.run(&mut raws, Duration::from_millis(100));
    assert_eq!(raws[1].received, ACCEPTED.as_bytes());
}

/// Who has sent a part of a request is not silent, nor is a WebSocket.
#[test]
fn peers_that_have_sent_something_do_not_give_way() {
    let mut board = Board::new(2);
    let mut raws = Vec::new();
    for request in [&REQUEST[..20], REQUEST] {
        let mut raw = Raw::connect(&mut board.net, 500);
        raw.send(request);
        raws.push(raw);
        board.run(&mut raws, Duration::from_millis(20));
    }
    board.run(&mut raws, Duration::from_secs(5));
    assert!(board.is_connected(&raws[0]) && board.is_connected(&raws[1]));
    assert!(board.ends.is_empty());
}

/// One that has sent something since the last poll does not give way either.
#[test]
fn silent_peer_whose_request_is_in_the_ring_does_not_give_way() {
    let mut rig = Rig::new(300, 300);
    for _ in 0..50 {
        let (tcp, now) = (rig.net.server.tcp(rig.listener), rig.net.now);
        assert_eq!(rig.server.poll(tcp, now, 0), None);
        rig.net.step();
    }
    rig.raw.send(REQUEST);
    for _ in 0..50 {
        rig.raw.poll(&mut rig.net.client);
        rig.net.step();
    }
    let later = rig.net.now + Duration::from_secs(2);
    assert_eq!(gives_way([&rig.server], later), Some(0));
    rig.server.give_way(rig.net.server.tcp(rig.listener));
    assert!(rig.run(1, |rig| rig.raw.received == ACCEPTED.as_bytes()));
}
