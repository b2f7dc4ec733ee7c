//! A client that comes back, with a clock that is moved by hand, and futures that are dropped at every
//! await.

use core::cell::RefCell;
use core::future::poll_fn;
use core::ops::RangeInclusive;
use core::pin::{Pin, pin};
use core::task::{Context, Poll, Waker};
use core::time::Duration;
use std::collections::BTreeSet;
use std::rc::Rc;

use embedded_io::{ErrorKind, ErrorType};
use embedded_io_async::{Read, Write};
use motews::handshake::Request;
use motews::reconnect::{Backoff, Cause};
use motews::{
    Backlog, BacklogPolicy, CloseCode, Connection, Entropy, EntropyError, Event, Message,
    MessageBuffer, Millis, Server,
};
use motews_embedded_io::asynch::{Interruption, Reconnecting, Task, Update};
use motews_embedded_io::{Clock, Config};
use motews_testkit::link::Random;
use motews_testkit::outage::Table;

use crate::support::{Hand, Keys, RESPONSE, Script, buffers};

/// The transport fails.
#[derive(Clone, Copy, Debug)]
struct Reset;

impl core::fmt::Display for Reset {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("reset")
    }
}

impl core::error::Error for Reset {}

impl embedded_io::Error for Reset {
    fn kind(&self) -> ErrorKind {
        ErrorKind::ConnectionReset
    }
}

/// The device's socket: one, which is connected again and again.
struct Socket {
    near: Option<Script>,
    world: Rc<RefCell<World>>,
}

impl ErrorType for Socket {
    type Error = Reset;
}

impl Socket {
    /// What is done once there is something to do it with, and as long as it was not reset.
    async fn when<V>(&mut self, mut act: impl FnMut(&mut Script) -> Poll<V>) -> Result<V, Reset> {
        let Self { near, world } = self;
        poll_fn(|_| {
            let is_reset = world.borrow().is_reset;
            match near {
                Some(near) if !is_reset => act(near).map(Ok),
                _ => Poll::Ready(Err(Reset)),
            }
        })
        .await
    }
}

impl Read for Socket {
    async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Reset> {
        self.when(|near| poll_once(Read::read(near, buffer)))
            .await
            .map(|read| read.unwrap_or(0))
    }
}

impl Write for Socket {
    async fn write(&mut self, bytes: &[u8]) -> Result<usize, Reset> {
        self.when(|near| poll_once(Write::write(near, bytes)))
            .await
            .map(|written| written.unwrap_or(0))
    }

    async fn flush(&mut self) -> Result<(), Reset> {
        Ok(())
    }
}

fn poll_once<V>(future: impl Future<Output = V>) -> Poll<V> {
    pin!(future).poll(&mut Context::from_waker(Waker::noop()))
}

/// A generator that can break.
struct Generator {
    keys: Keys,
    is_broken: bool,
}

impl Entropy for Generator {
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), EntropyError> {
        match self.is_broken {
            true => Err(EntropyError),
            false => self.keys.fill(bytes),
        }
    }
}

/// The network and the server.
struct World {
    has_link: bool,
    /// What an attempt comes to.
    fate: Result<(), Cause>,
    is_reset: bool,
    /// The head of the response.
    response: Vec<u8>,
    closes: Option<CloseCode>,
    /// The server neither reads nor writes.
    is_gone: bool,
    far: Option<Far>,
    got: Vec<String>,
    /// Tasks that `connect` has begun, and those that it has finished.
    begun: Vec<Task>,
    finished: Vec<Task>,
}

/// The server's end of a connection.
struct Far {
    stream: Script,
    head: Vec<u8>,
    connection: Option<Connection<Server>>,
    part: String,
}

impl World {
    fn new() -> Self {
        Self {
            has_link: true,
            fate: Ok(()),
            is_reset: false,
            response: RESPONSE.to_vec(),
            closes: None,
            is_gone: false,
            far: None,
            got: Vec::new(),
            begun: Vec::new(),
            finished: Vec::new(),
        }
    }

    fn poll(&mut self) {
        let Some(far) = self.far.as_mut().filter(|_| !self.is_gone) else {
            return;
        };
        let mut bytes = [0; 64];
        while let Ok(len @ 1..) = std::io::Read::read(&mut far.stream, &mut bytes) {
            let mut input = &mut bytes[..len];
            if far.connection.is_none() {
                let Some((head, rest)) = split(&mut far.head, input) else {
                    continue;
                };
                assert!(head.starts_with(b"GET "));
                say(&mut far.stream, &self.response);
                if !self.response.starts_with(b"HTTP/1.1 101 ") {
                    self.far = None;
                    return;
                }
                far.connection = Some(Connection::new(Server));
                input = rest;
            }
            let Some(connection) = &mut far.connection else {
                continue;
            };
            while let Some(event) = connection.next_event(&mut input).expect("frames") {
                if let Event::Data(chunk) = event {
                    if chunk.first {
                        far.part.clear();
                    }
                    far.part
                        .push_str(core::str::from_utf8(chunk.bytes).unwrap());
                    if chunk.last {
                        self.got.push(core::mem::take(&mut far.part));
                    }
                }
                let mut out = [0; 200];
                let len = connection.poll_transmit(&mut out).unwrap();
                say(&mut far.stream, &out[..len]);
            }
        }
        if let Some(connection) = &mut far.connection {
            if let Some(code) = self.closes.take() {
                _ = connection.close(code, "");
            }
            let mut out = [0; 200];
            let len = connection.poll_transmit(&mut out).unwrap();
            say(&mut far.stream, &out[..len]);
            if connection.should_shutdown() {
                self.far = None;
            }
        }
    }
}

fn say(stream: &mut Script, bytes: &[u8]) {
    std::io::Write::write_all(stream, bytes).unwrap();
}

/// Adds what has come to the head; returns it when it is whole, and what comes after it.
fn split<'b>(head: &mut Vec<u8>, input: &'b mut [u8]) -> Option<(Vec<u8>, &'b mut [u8])> {
    for at in 0..input.len() {
        head.push(input[at]);
        if head.ends_with(b"\r\n\r\n") {
            return Some((core::mem::take(head), &mut input[at + 1..]));
        }
    }
    None
}

/// Has the socket connected or ended. It takes a few turns, and for the network as long as that is away.
async fn connect(mut socket: Socket, task: Task) -> (Socket, Result<(), Cause>) {
    let world = socket.world.clone();
    world.borrow_mut().begun.push(task);
    let mut turns = 0;
    poll_fn(|_| {
        turns += 1;
        let is_ready = turns > 3 && (task == Task::Disconnect || world.borrow().has_link);
        if is_ready {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    })
    .await;
    let mut world = world.borrow_mut();
    world.finished.push(task);
    socket.near = None;
    world.far = None;
    world.is_reset = false;
    if task == Task::Disconnect {
        return (socket, Ok(()));
    }
    let fate = world.fate;
    if fate.is_ok() {
        let (near, far) = Script::pair(usize::MAX, false);
        socket.near = Some(near);
        world.far = Some(Far {
            stream: far,
            head: Vec::new(),
            connection: None,
            part: String::new(),
        });
    }
    drop(world);
    (socket, fate)
}

type Client<F> =
    Reconnecting<'static, Socket, &'static RefCell<Generator>, Hand, fn(Socket, Task) -> F, F>;

/// A device, its client, and the world.
struct Rig<F: 'static> {
    clock: Hand,
    world: Rc<RefCell<World>>,
    generator: &'static RefCell<Generator>,
    client: Client<F>,
    messages: MessageBuffer<[u8; 64]>,
    opened: u32,
    interruptions: Vec<(Millis, Interruption<Reset>)>,
    is_over: bool,
}

static CONFIG: Config<'static> = Config::DEFAULT;

/// Makes a rig: a macro, for nobody can name the future of `connect`.
macro_rules! rig {
    ($backoff:expr, $policy:expr, $room:expr) => {{
        let clock = Hand::default();
        let world = Rc::new(RefCell::new(World::new()));
        let generator: &'static _ = Box::leak(Box::new(RefCell::new(Generator {
            keys: Keys::new(),
            is_broken: false,
        })));
        let place: Pin<&'static mut Option<_>> = Box::leak(Box::new(Box::pin(None))).as_mut();
        let socket = Socket {
            near: None,
            world: world.clone(),
        };
        let request = Request::new("example.com", "/").unwrap();
        let connect: fn(Socket, Task) -> _ = connect;
        let client = Reconnecting::new(
            place,
            socket,
            connect,
            buffers(64, 128),
            request,
            generator,
            clock.clone(),
        );
        Rig {
            client: client
                .unwrap()
                .with_config(&CONFIG)
                .with_backoff($backoff)
                .with_backlog(Backlog::new(vec![0; $room].leak(), $policy)),
            clock,
            world,
            generator,
            messages: MessageBuffer::new([0; 64]),
            opened: 0,
            interruptions: Vec::new(),
            is_over: false,
        }
    }};
    () => {
        rig!(Backoff::DEFAULT, BacklogPolicy::DropOldest, 256)
    };
}

impl<F: Future<Output = (Socket, Result<(), Cause>)> + 'static> Rig<F> {
    /// Polls a new future of `next` once, and drops it; then `millis` pass.
    fn step(&mut self, millis: u32) {
        self.world.borrow_mut().poll();
        match poll_once(self.client.next(&mut self.messages)) {
            Poll::Ready(Some(Update::Opened(()))) => self.opened += 1,
            Poll::Ready(Some(Update::Ended(interruption))) => {
                self.interruptions.push((self.clock.now(), interruption));
            }
            Poll::Ready(Some(_)) => {}
            Poll::Ready(None) => self.is_over = true,
            Poll::Pending => self.clock.pass(millis),
        }
    }

    fn run(&mut self, millis: u32, mut done: impl FnMut(&mut Self) -> bool) -> bool {
        let until = self.clock.now().after(millis);
        while !self.clock.now().has_reached(until) {
            if done(self) {
                return true;
            }
            self.step(10);
            if self.is_over {
                self.clock.pass(10);
            }
        }
        done(self)
    }

    fn interrupted(&mut self) -> (Interruption<Reset>, u64) {
        let (before, since) = (self.interruptions.len(), self.clock.now());
        let ended = self.run(600_000, |rig| rig.interruptions.len() > before);
        assert!(ended, "the connection does not end");
        let (at, interruption) = self.interruptions[before];
        (interruption, u64::from(at.since(since)))
    }

    /// A message gets through, so the socket is usable again.
    fn is_usable(&mut self) {
        let is_open = self.run(120_000, |rig| rig.client.is_open());
        assert!(is_open, "{:?}", self.interruptions);
        let text = format!("usable {}", self.world.borrow().got.len());
        self.client.queue(Message::Text(&text)).unwrap();
        let through = self.run(60_000, |rig| rig.world.borrow().got.last() == Some(&text));
        assert!(through, "no message gets through: {:?}", self.interruptions);
        // Each attempt was ended before the next, and only those.
        let world = self.world.borrow();
        assert_eq!(world.begun, world.finished);
        let pairs = world.finished.chunks(2);
        assert!(
            pairs
                .rev()
                .skip(1)
                .all(|pair| pair == [Task::Connect, Task::Disconnect])
        );
    }

    fn stable(mut self) -> Self {
        self.is_usable();
        self.run(31_000, |_| false);
        self.is_usable();
        self
    }
}

mod closing;

const SOON: Option<RangeInclusive<u32>> = Some(0..=5_000);

#[test]
fn open_whatever_goes_wrong_is_reported_and_the_socket_is_usable_again() {
    let mut table = Table::default();
    let mut rig = rig!().stable();
    rig.world.borrow_mut().is_gone = true;
    rig.world.borrow_mut().has_link = false;
    table.row(
        "the cable, for 10 minutes",
        rig.interrupted(),
        SOON,
        "once `connect` has a link",
    );
    rig.run(600_000, |_| false);
    assert_eq!(rig.interruptions.len(), 1);
    rig.world.borrow_mut().is_gone = false;
    rig.world.borrow_mut().has_link = true;
    rig.is_usable();

    let mut rig = rig!().stable();
    rig.world.borrow_mut().is_gone = true;
    table.row(
        "the peer vanishes, the link is up",
        rig.interrupted(),
        SOON,
        "",
    );
    rig.world.borrow_mut().fate = Err(Cause::Unreachable);
    let doubling = Some(1_000..=11_000);
    table.row(
        "and stays away, or DNS does",
        rig.interrupted(),
        doubling,
        "doubling up to 74 s",
    );
    (rig.world.borrow_mut().fate, rig.world.borrow_mut().is_gone) = (Ok(()), false);
    rig.is_usable();

    let mut rig = rig!().stable();
    rig.world.borrow_mut().is_reset = true;
    table.row("the peer restarts: a reset", rig.interrupted(), SOON, "");
    rig.is_usable();

    let mut rig = rig!();
    rig.world.borrow_mut().fate = Err(Cause::Tls);
    table.row("TLS refused", rig.interrupted(), Some(64_000..=74_000), "");
    rig.world.borrow_mut().fate = Ok(());
    rig.is_usable();

    for (code, what, wait) in [
        (
            CloseCode::SERVICE_RESTART,
            "Close with 1012, service restart",
            Some(5_000..=30_000),
        ),
        (CloseCode::GOING_AWAY, "Close with 1001, going away", SOON),
        (CloseCode::NORMAL, "Close with 1000", None),
    ] {
        let mut rig = rig!().stable();
        rig.world.borrow_mut().closes = Some(code);
        let note = if wait.is_none() {
            "until the request is set"
        } else {
            ""
        };
        let is_over = wait.is_none();
        table.row(what, rig.interrupted(), wait, note);
        if is_over {
            rig.run(600_000, |_| false);
            assert!(rig.is_over && rig.interruptions.len() == 1);
            rig.client
                .set_request(Request::new("example.com", "/other").unwrap());
            rig.is_over = false;
        }
        rig.is_usable();
    }

    let mut rig = rig!();
    rig.world.borrow_mut().response = b"HTTP/1.1 401 No\r\n\r\n".to_vec();
    table.row("401", rig.interrupted(), None, "until the request is set");
    rig.world.borrow_mut().response = RESPONSE.to_vec();
    rig.run(600_000, |_| false);
    assert!(rig.is_over && rig.opened == 0);
    let headers = &[("Authorization", "Basic bmV3")];
    let request = Request::new("example.com", "/")
        .unwrap()
        .headers(headers)
        .unwrap();
    rig.client.set_request(request);
    rig.is_usable();

    let mut rig = rig!();
    rig.world.borrow_mut().response = b"HTTP/1.1 503 Later\r\nRetry-After: 40\r\n\r\n".to_vec();
    table.row(
        "503 with `Retry-After: 40`",
        rig.interrupted(),
        Some(40_000..=45_000),
        "",
    );
    rig.world.borrow_mut().response = RESPONSE.to_vec();
    rig.is_usable();

    let mut rig = rig!();
    let longest = Some(5_000..=5_000);
    rig.generator.borrow_mut().is_broken = true;
    table.row(
        "the generator fails before the request",
        rig.interrupted(),
        longest.clone(),
        "",
    );
    rig.generator.borrow_mut().is_broken = false;
    rig.is_usable();
    rig.run(31_000, |_| false);
    rig.generator.borrow_mut().is_broken = true;
    table.row(
        "the generator fails, and a ping is due",
        rig.interrupted(),
        longest,
        "",
    );
    rig.generator.borrow_mut().is_broken = false;
    rig.is_usable();

    let mut rig = rig!().stable();
    rig.client.network_changed();
    table.row(
        "`network_changed`: another address",
        rig.interrupted(),
        SOON,
        "",
    );
    rig.is_usable();
    table.check("embedded-io");
}

#[test]
fn waiting_network_that_changes_is_an_attempt_soon() {
    let mut rig = rig!();
    rig.world.borrow_mut().fate = Err(Cause::Tls);
    let (interruption, _) = rig.interrupted();
    assert!(interruption.retry_in >= Some(Duration::from_secs(64)));
    rig.world.borrow_mut().fate = Ok(());
    rig.client.network_changed();
    let is_open = rig.run(5_200, |rig| rig.client.is_open());
    assert!(is_open, "within the first wait");
    rig.is_usable();
}

/// What is sent at once overtakes what waits.
#[test]
fn opened_subscription_goes_out_before_what_waits() {
    let mut rig = rig!();
    rig.client.queue(Message::Text("waits")).unwrap();
    assert!(matches!(
        poll_once(rig.client.send(Message::Text("too soon"))),
        Poll::Ready(Err(_))
    ));
    rig.run(1_000, |rig| rig.opened == 1);
    assert!(poll_once(rig.client.send(Message::Text("subscribe"))).is_ready());
    rig.run(1_000, |_| false);
    assert_eq!(rig.world.borrow().got, ["subscribe", "waits"]);
}

/// 10,000 ends of each kind, messages all the while, and each future dropped at its first await: each
/// message is read by the server once, or was refused, or is counted as dropped, or was in doubt.
#[test]
fn ten_thousand_reconnects_no_message_is_lost_silently_and_the_socket_is_usable() {
    let quick = Backoff {
        first: 200,
        minimum: 100,
        doublings: 2,
        range: 100,
        stable: 0,
        max_retry_after: 1_000,
        persist: true,
    };
    let mut rig = rig!(quick, BacklogPolicy::DropOldest, 2048);
    let mut random = Random(77);
    let (mut number, mut taken, mut refused) = (0_u32, 0_u32, 0_u32);
    while rig.interruptions.len() < 10_000 {
        let world = rig.world.clone();
        let mut world = world.borrow_mut();
        match random.below(12) {
            0 => world.closes = Some(CloseCode::GOING_AWAY),
            1 => world.closes = Some(CloseCode::NORMAL),
            2 => world.is_reset = true,
            3 => world.far = None,
            4 if random.below(10) == 0 => world.fate = Err(Cause::Unreachable),
            5 if random.below(10) == 0 => world.response = b"HTTP/1.1 401 No\r\n\r\n".to_vec(),
            6 => (world.fate, world.response) = (Ok(()), RESPONSE.to_vec()),
            7 => world.is_gone = !world.is_gone,
            _ => {
                for _ in 0..random.below(8) {
                    let len = [0, 3, 30, 300, 1500][random.below(5)];
                    let text = format!("{number} {}", "x".repeat(len));
                    number += 1;
                    match rig.client.queue(Message::Text(&text)) {
                        Ok(_) => taken += 1,
                        Err(_) => refused += 1,
                    }
                }
            }
        }
        drop(world);
        rig.run(random.below(200) as u32, |_| false);
    }
    {
        let mut world = rig.world.borrow_mut();
        (world.fate, world.response) = (Ok(()), RESPONSE.to_vec());
        (world.is_gone, world.closes) = (false, None);
    }
    let idle = rig.run(300_000, |rig| {
        rig.client.is_open() && rig.client.backlog().is_empty()
    });
    assert!(idle);
    rig.is_usable();
    let world = rig.world.borrow();
    let read = world.got[..world.got.len() - 1].iter();
    let numbers: Vec<u32> = read
        .map(|text| text.split(' ').next().unwrap().parse().unwrap())
        .collect();
    let got = numbers.len() as u32;
    let different: BTreeSet<_> = numbers.into_iter().collect();
    assert_eq!(different.len() as u32, got, "some are sent twice");
    let dropped = rig.client.backlog().dropped();
    let in_doubt: u64 = rig
        .interruptions
        .iter()
        .map(|(_, end)| end.unconfirmed)
        .sum();
    println!(
        "{} ends, {} connections, {number} messages: {got} read, {dropped} dropped, {refused} \
         refused, {} lost of {in_doubt} in doubt; connect ran {} times",
        rig.interruptions.len(),
        rig.opened,
        taken - got - dropped,
        world.finished.len(),
    );
    assert!(
        u64::from(taken - got - dropped) <= in_doubt,
        "some are lost silently"
    );
    assert!(got > 10_000 && rig.opened > 5_000);
}

/// What was agreed on with one server, and what was half compressed for it, is nothing to the next.
#[cfg(feature = "deflate")]
#[test]
fn compressed_connection_that_is_lost_is_followed_by_a_plain_one() {
    use motews::deflate::{DeflateConfig, DeflateContext, Level, WindowBits};
    use motews_embedded_io::deflate::{Deflate, Memory};

    const KIB: DeflateContext = DeflateContext {
        window_bits: WindowBits::new(10).unwrap(),
        takeover: true,
    };
    const DEFLATE: DeflateConfig = DeflateConfig {
        send: KIB,
        receive: KIB,
    };
    let memory = Memory {
        window: vec![0; 1024].leak(),
        deflater: vec![0; 2560].leak(),
        parts: vec![0; 128].leak(),
    };
    let deflate = Deflate::new(DEFLATE, Level::Default, memory).unwrap();
    let mut rig = rig!();
    rig.client = rig.client.with_deflate(Box::leak(Box::new(deflate)));
    let agreed = b"Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=10; \
        client_max_window_bits=10\r\n\r\n";
    let head = &RESPONSE[..RESPONSE.len() - 2];
    rig.world.borrow_mut().response = [head, agreed].concat();
    assert!(rig.run(1_000, |rig| rig.client.is_open()));
    rig.world.borrow_mut().is_gone = true;
    let long = "compressed ".repeat(20);
    rig.client.queue(Message::Text(&long)).unwrap();
    rig.run(100, |_| false);
    {
        let mut world = rig.world.borrow_mut();
        (world.is_gone, world.is_reset, world.far) = (false, true, None);
        world.response = RESPONSE.to_vec();
    }
    let (interruption, _) = rig.interrupted();
    assert_eq!(interruption.unconfirmed, 1);
    rig.is_usable();
    assert_eq!(rig.world.borrow().got.len(), 1);
}
