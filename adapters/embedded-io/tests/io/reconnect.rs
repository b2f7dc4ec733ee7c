//! A client that comes back, on both faces, with a clock that is moved by hand: futures are dropped at
//! every await, and a blocking transport gives up for now whenever it would wait.

use core::cell::RefCell;
use core::ops::RangeInclusive;
use core::pin::Pin;
use core::task::Poll;
use core::time::Duration;
use std::collections::BTreeSet;
use std::rc::Rc;

use motews::handshake::Request;
use motews::reconnect::{Backoff, Cause};
use motews::{Backlog, BacklogPolicy, CloseCode, Message, MessageBuffer, Millis, NoRoom};
use motews_embedded_io::asynch::{Interruption, Task, Update};
use motews_embedded_io::{Buffers, Clock, Config, Error, asynch, blocking};
use motews_testkit::link::Random;
use motews_testkit::outage::Table;

use crate::support::{Hand, Keys, RESPONSE, buffers};

mod closing;
mod full;
mod waiting;
mod world;

use world::{Fault, Generator, Socket, World, connect, connect_blocking, poll_once};

/// A client on either face.
trait Comes: Sized {
    /// Goes as far as it can without waiting: a new future of `next`, polled once and dropped, or `poll`.
    fn go<'s>(
        &'s mut self,
        messages: &'s mut MessageBuffer<[u8; 64]>,
    ) -> Poll<Option<Update<'s, Fault>>>;
    fn send(&mut self, message: Message<'_>) -> Poll<Result<(), Error<Fault>>>;
    fn queue(&mut self, message: Message<'_>) -> Result<u32, NoRoom>;
    fn backlog(&mut self) -> &mut Backlog<&'static mut [u8]>;
    fn set_request(&mut self, request: Request<'static>);
    fn network_changed(&mut self);
    fn close(&mut self, code: CloseCode) -> Result<(), Error<Fault>>;
    fn is_open(&self) -> bool;
    #[cfg(feature = "deflate")]
    fn with_deflate(
        self,
        deflate: &'static mut motews_embedded_io::deflate::Deflate<'static>,
    ) -> Self;
}

/// What is alike.
macro_rules! alike {
    () => {
        fn queue(&mut self, message: Message<'_>) -> Result<u32, NoRoom> {
            self.queue(message)
        }

        fn backlog(&mut self) -> &mut Backlog<&'static mut [u8]> {
            self.backlog()
        }

        fn set_request(&mut self, request: Request<'static>) {
            self.set_request(request);
        }

        fn network_changed(&mut self) {
            self.network_changed();
        }

        fn close(&mut self, code: CloseCode) -> Result<(), Error<Fault>> {
            self.close(code, "")
        }

        fn is_open(&self) -> bool {
            self.is_open()
        }

        #[cfg(feature = "deflate")]
        fn with_deflate(
            self,
            deflate: &'static mut motews_embedded_io::deflate::Deflate<'static>,
        ) -> Self {
            self.with_deflate(deflate)
        }
    };
}

type Shared = &'static RefCell<Generator>;
type Asynch<F> = asynch::Reconnecting<'static, Socket, Shared, Hand, fn(Socket, Task) -> F, F>;
type Connect = fn(&mut Socket, Task) -> Result<(), Cause>;
type Blocking = blocking::Reconnecting<'static, Socket, Shared, Hand, Connect>;

impl<F: Future<Output = (Socket, Result<(), Cause>)>> Comes for Asynch<F> {
    fn go<'s>(
        &'s mut self,
        messages: &'s mut MessageBuffer<[u8; 64]>,
    ) -> Poll<Option<Update<'s, Fault>>> {
        poll_once(self.next(messages))
    }

    fn send(&mut self, message: Message<'_>) -> Poll<Result<(), Error<Fault>>> {
        poll_once(self.send(message))
    }

    alike!();
}

impl Comes for Blocking {
    fn go<'s>(
        &'s mut self,
        messages: &'s mut MessageBuffer<[u8; 64]>,
    ) -> Poll<Option<Update<'s, Fault>>> {
        if self.is_over() {
            assert!(self.poll(messages).is_none());
            return Poll::Ready(None);
        }
        self.poll(messages)
            .map_or(Poll::Pending, |update| Poll::Ready(Some(update)))
    }

    fn send(&mut self, message: Message<'_>) -> Poll<Result<(), Error<Fault>>> {
        Poll::Ready(self.send(message))
    }

    alike!();
}

/// A device, its client, and the world.
struct Rig<C> {
    clock: Hand,
    world: Rc<RefCell<World>>,
    generator: Shared,
    client: C,
    messages: MessageBuffer<[u8; 64]>,
    opened: u32,
    received: Vec<String>,
    interruptions: Vec<(Millis, Interruption<Fault>)>,
    is_over: bool,
}

static CONFIG: Config<'static> = Config::DEFAULT;

fn request() -> Request<'static> {
    Request::new("example.com", "/").unwrap()
}

/// Rigs of either face.
fn awaited(backoff: Backoff, backlog: Backlog<&'static mut [u8]>) -> Rig<impl Comes> {
    Rig::new(|socket, buffers, generator, clock| {
        let place: Pin<&'static mut Option<_>> = Box::leak(Box::new(Box::pin(None))).as_mut();
        let connect: fn(Socket, Task) -> _ = connect;
        asynch::Reconnecting::new(place, socket, connect, buffers, request(), generator, clock)
            .unwrap()
            .with_config(&CONFIG)
            .with_backoff(backoff)
            .with_backlog(backlog)
    })
}

fn waited(backoff: Backoff, backlog: Backlog<&'static mut [u8]>) -> Rig<Blocking> {
    Rig::new(|socket, buffers, generator, clock| {
        let connect: Connect = connect_blocking;
        blocking::Reconnecting::new(socket, connect, buffers, request(), generator, clock)
            .unwrap()
            .with_config(&CONFIG)
            .with_backoff(backoff)
            .with_backlog(backlog)
    })
}

fn backlog(policy: BacklogPolicy, room: usize) -> Backlog<&'static mut [u8]> {
    Backlog::new(vec![0; room].leak(), policy)
}

/// Makes a rig of one face.
type Face<C> = fn(Backoff, Backlog<&'static mut [u8]>) -> Rig<C>;

/// A rig with what is usual.
fn usual<C: Comes>(face: Face<C>) -> Rig<C> {
    face(Backoff::DEFAULT, backlog(BacklogPolicy::DropOldest, 256))
}

/// Each of these tests on either face.
macro_rules! on_both {
    ($($(#[$attribute:meta])* $test:ident,)*) => {
        mod on_asynch {
            $($(#[$attribute])* #[test] fn $test() { super::$test($crate::reconnect::awaited); })*
        }
        mod on_blocking {
            $($(#[$attribute])* #[test] fn $test() { super::$test($crate::reconnect::waited); })*
        }
    };
}
use on_both;

impl<C: Comes> Rig<C> {
    fn new(client: impl FnOnce(Socket, Buffers<'static>, Shared, Hand) -> C) -> Self {
        let clock = Hand::default();
        let world = Rc::new(RefCell::new(World::new(clock.clone())));
        let generator: Shared = Box::leak(Box::new(RefCell::new(Generator {
            keys: Keys::new(),
            is_broken: false,
        })));
        let socket = Socket {
            near: None,
            world: world.clone(),
        };
        Self {
            client: client(socket, buffers(64, 128), generator, clock.clone()),
            clock,
            world,
            generator,
            messages: MessageBuffer::new([0; 64]),
            opened: 0,
            received: Vec::new(),
            interruptions: Vec::new(),
            is_over: false,
        }
    }

    /// Goes as far as it can, or `millis` pass.
    fn step(&mut self, millis: u32) {
        self.world.borrow_mut().poll();
        match self.client.go(&mut self.messages) {
            Poll::Ready(Some(Update::Opened(()))) => self.opened += 1,
            Poll::Ready(Some(Update::Ended(interruption))) => {
                self.interruptions.push((self.clock.now(), interruption));
            }
            Poll::Ready(Some(Update::Message(message))) => {
                let text = core::str::from_utf8(message.as_bytes()).unwrap();
                self.received.push(text.to_owned());
                self.clock.pass(self.world.borrow().takes);
            }
            Poll::Ready(Some(_)) => unreachable!("no other update"),
            Poll::Ready(None) => self.is_over = true,
            Poll::Pending => self.clock.pass(millis),
        }
    }

    /// Pulls the cable.
    fn cut(&mut self, millis: u32) {
        self.world.borrow_mut().link_at = self.clock.now().after(millis);
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

    fn interrupted(&mut self) -> (Interruption<Fault>, u64) {
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

const SOON: Option<RangeInclusive<u32>> = Some(0..=5_000);

on_both! {
    open_whatever_goes_wrong_is_reported_and_the_socket_is_usable_again,
    waiting_network_that_changes_is_an_attempt_soon,
    opened_subscription_goes_out_before_what_waits,
    ten_thousand_reconnects_no_message_is_lost_silently_and_the_socket_is_usable,
    reconnects_with_other_policies_keep_what_is_to_be_kept,
    lost_amid_a_message_the_next_one_is_whole,
    #[cfg(feature = "deflate")]
    compressed_connection_that_is_lost_is_followed_by_a_plain_one,
}

fn open_whatever_goes_wrong_is_reported_and_the_socket_is_usable_again<C: Comes>(face: Face<C>) {
    let mut table = Table::default();
    let mut rig = usual(face).stable();
    rig.world.borrow_mut().is_gone = true;
    rig.cut(640_000);
    table.row(
        "the cable, for 10 minutes",
        rig.interrupted(),
        SOON,
        "once `connect` has a link",
    );
    rig.run(600_000, |_| false);
    assert_eq!(rig.interruptions.len(), 1);
    rig.world.borrow_mut().is_gone = false;
    rig.is_usable();

    let mut rig = usual(face).stable();
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

    let mut rig = usual(face).stable();
    rig.world.borrow_mut().is_reset = true;
    table.row("the peer restarts: a reset", rig.interrupted(), SOON, "");
    rig.is_usable();

    let mut rig = usual(face);
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
        let mut rig = usual(face).stable();
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
        let target = if is_over { "GET /other " } else { "GET / " };
        assert!(rig.world.borrow().head.starts_with(target));
    }

    let mut rig = usual(face);
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
    assert!(
        rig.world
            .borrow()
            .head
            .contains("\r\nAuthorization: Basic bmV3\r\n")
    );

    let mut rig = usual(face);
    rig.world.borrow_mut().response = b"HTTP/1.1 503 Later\r\nRetry-After: 40\r\n\r\n".to_vec();
    table.row(
        "503 with `Retry-After: 40`",
        rig.interrupted(),
        Some(40_000..=45_000),
        "",
    );
    rig.world.borrow_mut().response = RESPONSE.to_vec();
    rig.is_usable();

    let mut rig = usual(face);
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
    rig.run(31_050, |_| false);
    rig.generator.borrow_mut().is_broken = true;
    table.row(
        "the generator fails, and a ping is due",
        rig.interrupted(),
        longest,
        "",
    );
    rig.generator.borrow_mut().is_broken = false;
    rig.is_usable();

    let mut rig = usual(face).stable();
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

fn waiting_network_that_changes_is_an_attempt_soon<C: Comes>(face: Face<C>) {
    let mut rig = usual(face);
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
fn opened_subscription_goes_out_before_what_waits<C: Comes>(face: Face<C>) {
    let mut rig = usual(face);
    rig.client.queue(Message::Text("waits")).unwrap();
    assert!(matches!(
        rig.client.send(Message::Text("too soon")),
        Poll::Ready(Err(_))
    ));
    rig.run(1_000, |rig| rig.opened == 1);
    assert!(rig.client.send(Message::Text("subscribe")).is_ready());
    rig.run(1_000, |_| false);
    assert_eq!(rig.world.borrow().got, ["subscribe", "waits"]);
}

/// 10,000 ends of each kind, messages all the while, and each future dropped at its first await: each
/// message is read by the server once, or was refused, or is counted as dropped, or was in doubt.
fn ten_thousand_reconnects_no_message_is_lost_silently_and_the_socket_is_usable<C: Comes>(
    face: Face<C>,
) {
    come_back(face, BacklogPolicy::DropOldest, 10_000);
}

/// The same with the other policies, and what they are for.
fn reconnects_with_other_policies_keep_what_is_to_be_kept<C: Comes>(face: Face<C>) {
    let [refused, dropped] = come_back(face, BacklogPolicy::DropNewest, 2_000);
    assert!(refused > 0 && dropped == 0);
    let [_, dropped] = come_back(face, BacklogPolicy::KeepNewest, 2_000);
    assert!(dropped > 0);
}

/// Comes back so many times. Returns how many messages were refused, and how many dropped.
fn come_back<C: Comes>(face: Face<C>, policy: BacklogPolicy, ends: usize) -> [u32; 2] {
    let quick = Backoff {
        first: 200,
        first_minimum: 0,
        minimum: 100,
        doublings: 2,
        range: 100,
        stable: 0,
        max_retry_after: 1_000,
        persist: true,
    };
    let mut rig = face(quick, backlog(policy, 2048));
    let mut random = Random(77);
    let (mut number, mut taken, mut refused) = (0_u32, 0_u32, 0_u32);
    while rig.interruptions.len() < ends {
        let world = rig.world.clone();
        let mut world = world.borrow_mut();
        match random.below(13) {
            0 => world.closes = Some(CloseCode::GOING_AWAY),
            1 => world.closes = Some(CloseCode::NORMAL),
            2 => world.is_reset = true,
            3 => world.far = None,
            4 if random.below(10) == 0 => world.fate = Err(Cause::Unreachable),
            5 if random.below(10) == 0 => world.response = b"HTTP/1.1 401 No\r\n\r\n".to_vec(),
            6 => (world.fate, world.response) = (Ok(()), RESPONSE.to_vec()),
            8 => world.window = [usize::MAX, 16, 100][random.below(3)],
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
                    let most = match policy {
                        BacklogPolicy::KeepNewest => 2, // one of them under way
                        _ => 2048 / 5,
                    };
                    assert!(rig.client.backlog().len() <= most);
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
        world.window = usize::MAX;
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
    assert!(got as usize > ends / 2 && rig.opened as usize > ends / 2);
    [refused, dropped]
}

/// A message of which a part has come ends with its connection.
fn lost_amid_a_message_the_next_one_is_whole<C: Comes>(face: Face<C>) {
    let mut rig = usual(face);
    assert!(rig.run(1_000, |rig| rig.client.is_open()));
    rig.world.borrow_mut().says = b"\x01\x04lost".to_vec();
    rig.run(100, |_| false);
    rig.world.borrow_mut().is_reset = true;
    rig.interrupted();
    rig.is_usable();
    rig.world.borrow_mut().says = b"\x01\x03who\x80\x02le".to_vec();
    rig.run(100, |_| false);
    assert_eq!(rig.received, ["whole"]);
}

/// What was agreed on with one server, and what was half compressed for it, is nothing to the next.
#[cfg(feature = "deflate")]
fn compressed_connection_that_is_lost_is_followed_by_a_plain_one<C: Comes>(face: Face<C>) {
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
    let mut rig = usual(face);
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
