//! A client that comes back, whatever has ended its connection: what it reports, when it tries again,
//! that its socket is usable again, and that no message is lost silently.

use core::cell::RefCell;
use core::ops::RangeInclusive;
use motews::handshake::{Request, RequestEvent, Response};
use motews::interruption::Interrupted;
use motews::reconnect::Backoff;
use motews::{Backlog, BacklogPolicy, CloseCode, DataKind, Entropy, EntropyError, Event, Message};
use motews_smoltcp::{Host, Interruption, Reconnecting, ServerEvent, Update};
use motews_testkit::outage::Table;
use smoltcp::iface::SocketHandle;
use smoltcp::socket::dns;
use smoltcp::time::{Duration, Instant};
use smoltcp::wire::{IpAddress, IpCidr};
use std::collections::BTreeSet;

use crate::support::{CONFIG, Faults, Net, Random, Server};

/// A generator that can break.
pub(crate) struct Generator {
    random: Random,
    pub(crate) is_broken: bool,
}

impl Entropy for Generator {
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), EntropyError> {
        match self.is_broken {
            true => Err(EntropyError),
            false => self.random.fill(bytes),
        }
    }
}

/// What the server does with whoever comes.
#[derive(Clone, Copy)]
pub(crate) enum Serves {
    Accepts,
    Refuses(Response<'static>),
}

/// A device with a client that comes back, and its server.
pub(crate) struct Rig {
    pub(crate) net: Net,
    listeners: Vec<(SocketHandle, Server<'static>)>,
    pub(crate) serves: Serves,
    /// The server reads nothing.
    pub(crate) is_deaf: bool,
    /// The server closes what is open with this code, if it closes cleanly.
    pub(crate) closes: Option<CloseCode>,
    /// Messages that the server has got.
    pub(crate) got: Vec<String>,
    /// And what has come of the next one, over each of its sockets.
    parts: [String; 3],
    pub(crate) generator: &'static RefCell<Generator>,
    pub(crate) client: Reconnecting<'static, &'static RefCell<Generator>>,
    handle: SocketHandle,
    pub(crate) opened: u32,
    pub(crate) interruptions: Vec<(Instant, Interruption)>,
}

impl Rig {
    pub(crate) fn new(
        backoff: Backoff,
        policy: BacklogPolicy,
        room: usize,
        faults: Faults,
        begin: Instant,
    ) -> Self {
        let mut net = Net::new(faults, 0xBAC);
        net.now = begin;
        let listeners = (0..3)
            .map(|_| (net.server.listener(600, 600, 80), Server::new(&CONFIG)))
            .collect();
        let handle = net.client.socket(600, 600);
        let generator: &'static _ = Box::leak(Box::new(RefCell::new(Generator {
            random: Random(0x5EED),
            is_broken: false,
        })));
        let client = Reconnecting::new(
            &CONFIG,
            handle,
            (Host::Address(net.server.address), 80),
            Request::new("10.0.0.1", "/").unwrap(),
            generator,
            net.now,
        );
        let client = client
            .with_backoff(backoff)
            .with_backlog(Backlog::new(vec![0; room].leak(), policy));
        Self {
            net,
            listeners,
            serves: Serves::Accepts,
            is_deaf: false,
            closes: None,
            got: Vec::new(),
            parts: Default::default(),
            generator,
            client,
            handle,
            opened: 0,
            interruptions: Vec::new(),
        }
    }

    pub(crate) fn poll_server(&mut self) {
        let now = self.net.now;
        for ((handle, server), part) in self.listeners.iter_mut().zip(&mut self.parts) {
            let tcp = self.net.server.tcp(*handle);
            if server.is_open()
                && let Some(code) = self.closes.take()
            {
                server.close(code, "").unwrap();
            }
            let limit = if self.is_deaf { 0 } else { usize::MAX };
            while let Some(event) = server.poll(tcp, now, limit) {
                match event {
                    ServerEvent::Request(RequestEvent::Done(upgrade)) => match self.serves {
                        Serves::Accepts => server.accept(upgrade),
                        Serves::Refuses(response) => server.respond(response),
                    },
                    ServerEvent::Received(Event::Data(chunk)) => {
                        if chunk.first {
                            part.clear();
                        }
                        part.push_str(core::str::from_utf8(chunk.bytes).unwrap());
                        if chunk.last {
                            self.got.push(core::mem::take(part));
                        }
                    }
                    _ => {}
                }
            }
        }
    }

    pub(crate) fn poll_client(&mut self) {
        let host = &mut self.net.client;
        while let Some(update) = self.client.poll(
            &mut host.interface,
            &mut host.sockets,
            self.net.now,
            usize::MAX,
        ) {
            match update {
                Update::Opened(_) => self.opened += 1,
                Update::Ended(interruption) => {
                    self.interruptions.push((self.net.now, interruption));
                }
                _ => {}
            }
        }
    }

    pub(crate) fn step(&mut self) {
        self.poll_server();
        self.poll_client();
        self.net.step();
    }

    pub(crate) fn run(&mut self, millis: u64, mut done: impl FnMut(&mut Self) -> bool) -> bool {
        let until = self.net.now + Duration::from_millis(millis);
        while self.net.now < until {
            if done(self) {
                return true;
            }
            self.step();
        }
        done(self)
    }

    /// Waits for an open connection.
    pub(crate) fn open(&mut self) {
        let is_open = self.run(120_000, |rig| rig.client.is_open());
        assert!(is_open, "{:?}", self.interruptions);
    }

    /// Waits for the next interruption, and returns it with how many milliseconds that took.
    pub(crate) fn interrupted(&mut self) -> (Interruption, u64) {
        let (before, since) = (self.interruptions.len(), self.net.now);
        let ended = self.run(600_000, |rig| rig.interruptions.len() > before);
        assert!(ended, "the connection does not end");
        let (at, interruption) = self.interruptions[before];
        (interruption, (at - since).total_millis())
    }

    /// The server resets what is open.
    fn reset(&mut self) {
        for (handle, _) in &self.listeners {
            let tcp = self.net.server.tcp(*handle);
            if tcp.is_active() {
                tcp.abort();
            }
        }
    }

    /// A message gets through, so the socket is usable again.
    pub(crate) fn is_usable(&mut self) {
        self.open();
        let text = format!("usable {}", self.got.len());
        self.client.queue(Message::Text(&text)).unwrap();
        let through = self.run(60_000, |rig| rig.got.last() == Some(&text));
        assert!(through, "no message gets through: {:?}", self.interruptions);
    }

    /// Nothing gets through in either direction, or everything again.
    pub(crate) fn cut(&mut self, is_cut: bool) {
        let chance = if is_cut { 100 } else { 0 };
        self.net.server.device.set_drop_chance(chance);
    }

    pub(crate) fn set_address(&mut self, address: Option<IpAddress>) {
        self.net.client.interface.update_ip_addrs(|addresses| {
            addresses.clear();
            if let Some(address) = address {
                addresses.push(IpCidr::new(address, 24)).unwrap();
            }
        });
    }

    fn tcp_is_open(&mut self) -> bool {
        self.net.client.tcp(self.handle).is_open()
    }
}

fn fresh(begin: i64) -> Rig {
    let faults = Faults::default();
    let begin = Instant::from_millis(begin);
    Rig::new(
        Backoff::DEFAULT,
        BacklogPolicy::DropOldest,
        256,
        faults,
        begin,
    )
}

fn response(status: u16) -> Response<'static> {
    Response::new(status).unwrap()
}

const SOON: Option<RangeInclusive<u32>> = Some(0..=5_000);
const RESTART: Option<RangeInclusive<u32>> = Some(5_000..=30_000);

/// Makes one thing after the other go wrong, with a clock that begins at this time, and has the client
/// come back after each.
fn table(begin: i64) -> Table {
    let table = RefCell::new(Table::default());
    let row = |what, rig: &mut Rig, wait: &Option<RangeInclusive<u32>>, note| {
        let seen = rig.interrupted();
        table.borrow_mut().row(what, seen, wait.clone(), note);
    };
    let fresh = || fresh(begin);
    let stable = || {
        let mut rig = fresh();
        rig.open();
        rig.run(31_000, |_| false);
        rig.is_usable();
        rig
    };

    let mut rig = stable();
    rig.cut(true);
    rig.client.set_link(false);
    rig.run(10_000, |_| false);
    rig.cut(false);
    rig.client.set_link(true);
    rig.is_usable();
    assert_eq!((rig.opened, rig.interruptions.len()), (1, 0));
    table.borrow_mut().line(&[
        "the cable, for 10 s",
        "nothing: the connection lives on",
        "",
        "",
    ]);

    rig.cut(true);
    rig.client.set_link(false);
    row(
        "the cable, for 10 minutes",
        &mut rig,
        &SOON,
        "once the link is back",
    );
    rig.run(600_000, |_| false);
    assert_eq!(rig.interruptions.len(), 1, "it tries without a link");
    rig.cut(false);
    rig.client.set_link(true);
    let back = rig.run(5_100, |rig| rig.client.is_open());
    assert!(back, "soon after the link has come back");
    rig.is_usable();

    let mut rig = stable();
    rig.cut(true);
    row("the peer vanishes, the link is up", &mut rig, &SOON, "");
    row(
        "and stays away: no answer to TCP",
        &mut rig,
        &Some(1_000..=11_000),
        "doubling up to 74 s",
    );
    rig.cut(false);
    rig.is_usable();

    let mut rig = stable();
    rig.reset();
    row("the peer restarts: a reset", &mut rig, &SOON, "");
    rig.is_usable();

    let mut rig = stable();
    for (code, what, wait) in [
        (
            CloseCode::SERVICE_RESTART,
            "Close with 1012, service restart",
            &RESTART,
        ),
        (CloseCode::GOING_AWAY, "Close with 1001, going away", &SOON),
    ] {
        rig.closes = Some(code);
        row(what, &mut rig, wait, "");
        rig.is_usable();
        rig.run(31_000, |_| false);
    }
    rig.closes = Some(CloseCode::NORMAL);
    row(
        "Close with 1000",
        &mut rig,
        &None,
        "until the request is set; `persist`: after 64 to 74 s",
    );
    assert!(rig.client.is_over());
    let request = Request::new("10.0.0.1", "/other").unwrap();
    rig.client.set_request(request, rig.net.now);
    rig.is_usable();

    let mut rig = fresh();
    rig.serves = Serves::Refuses(response(401));
    row(
        "401",
        &mut rig,
        &None,
        "until the request is set; `persist`: after 64 to 74 s",
    );
    rig.serves = Serves::Accepts;
    rig.run(600_000, |_| false);
    assert!(
        !rig.tcp_is_open() && rig.opened == 0,
        "it tries all the same"
    );
    let headers = &[("Authorization", "Basic bmV3")];
    let request = Request::new("10.0.0.1", "/")
        .unwrap()
        .headers(headers)
        .unwrap();
    rig.client.set_request(request, rig.net.now);
    rig.is_usable();

    let mut rig = fresh();
    let later = response(503).headers(&[("Retry-After", "40")]).unwrap();
    rig.serves = Serves::Refuses(later);
    row(
        "503 with `Retry-After: 40`",
        &mut rig,
        &Some(40_000..=45_000),
        "",
    );
    rig.serves = Serves::Accepts;
    rig.is_usable();

    let mut rig = fresh();
    rig.generator.borrow_mut().is_broken = true;
    let longest = Some(5_000..=5_000);
    row(
        "the generator fails before the request",
        &mut rig,
        &longest,
        "",
    );
    rig.generator.borrow_mut().is_broken = false;
    rig.is_usable();
    rig.run(31_000, |_| false);
    rig.generator.borrow_mut().is_broken = true;
    row(
        "the generator fails, and a ping is due",
        &mut rig,
        &longest,
        "",
    );
    rig.generator.borrow_mut().is_broken = false;
    rig.is_usable();

    let mut rig = stable();
    rig.set_address(Some(IpAddress::v4(10, 0, 0, 77)));
    row(
        "another address by DHCP",
        &mut rig,
        &SOON,
        "from the new address",
    );
    rig.is_usable();
    let local = rig.net.client.tcp(rig.handle).local_endpoint().unwrap();
    assert_eq!(local.addr, IpAddress::v4(10, 0, 0, 77));

    let mut rig = stable();
    rig.set_address(None);
    row(
        "the lease expires: no address",
        &mut rig,
        &SOON,
        "once there is one",
    );
    rig.run(600_000, |_| false);
    let count = rig.interruptions.len();
    rig.set_address(Some(IpAddress::v4(10, 0, 0, 78)));
    let back = rig.run(5_100, |rig| rig.client.is_open());
    assert!(back && rig.interruptions.len() == count);
    rig.is_usable();

    // A server of names that is not there, and then a name that is an address.
    let mut rig = fresh();
    let server = [IpAddress::v4(10, 0, 0, 3)];
    let dns = rig
        .net
        .client
        .sockets
        .add(dns::Socket::new(&server, vec![None]));
    let now = rig.net.now;
    let by_name = (Host::Name("server.example", dns), 80);
    rig.client
        .set_server(&mut rig.net.client.sockets, by_name, now);
    row("DNS does not answer", &mut rig, &SOON, "");
    let by_address = (Host::Address(rig.net.server.address), 80);
    rig.client
        .set_server(&mut rig.net.client.sockets, by_address, rig.net.now);
    rig.is_usable();
    table.into_inner()
}

#[test]
fn open_whatever_goes_wrong_is_reported_and_the_socket_is_usable_again() {
    let mut seen = table(0);
    // The clock passes 2^32 ms in one of the waits, whichever.
    for before in [10, 5_000, 20_000, 33_000, 60_000, 300_000] {
        assert_eq!(table((1 << 32) - before), seen);
    }
    let cells = [
        "the clock passes 2^32 ms",
        "nothing: all that is above is the same",
        "",
        "",
    ];
    seen.line(&cells);
    seen.check("smoltcp");
}

/// 10,000 ends of each kind, messages all the while: each one is read by the server once, or was
/// refused, or is counted as dropped, or was in doubt when its connection ended.
#[test]
fn ten_thousand_reconnects_no_message_is_lost_silently_and_the_socket_is_usable() {
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
    let policies = [
        BacklogPolicy::DropNewest,
        BacklogPolicy::DropOldest,
        BacklogPolicy::KeepNewest,
    ];
    let mut total = [0; 3];
    for policy in policies {
        let faults = Faults {
            latency: 3,
            ..Faults::default()
        };
        let mut rig = Rig::new(quick, policy, 2048, faults, Instant::ZERO);
        let mut random = Random(policy as u64 + 77);
        let (mut number, mut refused, mut taken) = (0_u32, 0_u32, 0_u32);
        while rig.interruptions.len() < 10_000 / policies.len() + 1 {
            match random.below(12) {
                0 => rig.closes = Some(CloseCode::GOING_AWAY),
                1 => rig.closes = Some(CloseCode::NORMAL),
                2 => rig.reset(),
                3 if random.below(50) == 0 => {
                    rig.cut(true);
                    rig.run(60_000, |_| false);
                    rig.cut(false);
                }
                4 if random.below(10) == 0 => {
                    rig.serves = Serves::Refuses(response(503));
                }
                5 => rig.serves = Serves::Accepts,
                6 => rig.is_deaf = !rig.is_deaf,
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
            rig.run(random.below(200) as u64, |_| false);
        }
        (rig.serves, rig.is_deaf, rig.closes) = (Serves::Accepts, false, None);
        let idle = rig.run(300_000, |rig| {
            rig.client.is_open() && rig.client.backlog().is_empty()
        });
        assert!(idle);
        rig.is_usable();
        let numbers = rig.got[..rig.got.len() - 1].iter();
        let number_of = |text: &String| text.split(' ').next().unwrap().parse().unwrap();
        let numbers: Vec<u32> = numbers.map(number_of).collect();
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
            "{policy:?}: {} ends, {} connections, {number} messages: {got} read, {dropped} dropped, \
             {refused} refused, {} lost of {in_doubt} in doubt, {:?}",
            rig.interruptions.len(),
            rig.opened,
            taken - got - dropped,
            rig.net.now,
        );
        assert!(
            u64::from(taken - got - dropped) <= in_doubt,
            "some are lost silently"
        );
        assert!(
            got > 1000 && (refused > 0) == (policy != BacklogPolicy::KeepNewest || refused > 0)
        );
        total = [
            total[0] + number,
            total[1] + got,
            total[2] + taken - got - dropped,
        ];
    }
    assert!(total[2] < total[1] / 10, "{total:?}");
}

#[test]
fn closed_client_whose_request_is_set_comes_back_again_and_again() {
    let mut rig = fresh(0);
    rig.is_usable();
    let sockets = &mut rig.net.client.sockets;
    rig.client.close(sockets, CloseCode::NORMAL, "").unwrap();
    assert!(rig.run(10_000, |rig| rig.client.is_over()));
    let request = Request::new("10.0.0.1", "/other").unwrap();
    rig.client.set_request(request, rig.net.now);
    rig.is_usable();
    rig.reset();
    let (interruption, _) = rig.interrupted();
    assert!(interruption.retry_in.is_some(), "{interruption:?}");
    rig.is_usable();
}

/// Credentials are changed while the connection lives on, and then it ends for ever, whoever ends it.
#[test]
fn open_request_that_was_set_is_tried_after_an_end_that_ends_all() {
    for (is_own, persist) in [(false, false), (true, false), (false, true), (true, true)] {
        let mut rig = Rig::new(
            Backoff {
                persist,
                ..Backoff::DEFAULT
            },
            BacklogPolicy::DropOldest,
            256,
            Faults::default(),
            Instant::ZERO,
        );
        rig.is_usable();
        if is_own {
            let sockets = &mut rig.net.client.sockets;
            rig.client.close(sockets, CloseCode::NORMAL, "").unwrap();
        }
        let request = Request::new("10.0.0.1", "/other").unwrap();
        rig.client.set_request(request, rig.net.now);
        if !is_own {
            rig.closes = Some(CloseCode::POLICY_VIOLATION);
        }
        let (interruption, _) = rig.interrupted();
        let soon = Duration::from_secs(5).into();
        assert!(interruption.retry_in <= Some(soon), "{interruption:?}");
        assert!(interruption.retry_in.is_some(), "{interruption:?}");
        rig.is_usable();
        // It was tried: the same is hopeless now.
        rig.closes = Some(CloseCode::POLICY_VIOLATION);
        let (interruption, _) = rig.interrupted();
        assert_eq!(interruption.retry_in.is_some(), persist);
        assert!(interruption.retry_in.is_none_or(|wait| wait > soon));
    }
}

#[test]
fn open_message_of_the_application_in_parts_is_not_mixed_with_what_waits() {
    let mut rig = fresh(0);
    rig.is_usable();
    let part = |rig: &mut Rig, bytes: &[u8], last| {
        let sockets = &mut rig.net.client.sockets;
        let (socket, tcp) = rig.client.socket(sockets).expect("it is open");
        let sent = socket.send_fragment(tcp, DataKind::Text, bytes, last);
        assert_eq!(sent, Ok(bytes.len()));
    };
    part(&mut rig, b"one ", false);
    rig.client.queue(Message::Text("another")).unwrap();
    rig.run(1_000, |_| false);
    part(&mut rig, b"message", true);
    rig.run(1_000, |_| false);
    assert_eq!(rig.got[1..], ["one message", "another"]);
}

#[test]
fn closing_client_that_closes_again_goes_on_closing() {
    let mut rig = fresh(0);
    rig.is_usable();
    let sockets = &mut rig.net.client.sockets;
    rig.client.close(sockets, CloseCode::NORMAL, "").unwrap();
    rig.client.close(sockets, CloseCode::NORMAL, "").unwrap();
    let (interruption, _) = rig.interrupted();
    let Interrupted::Connection(ended, _) = interruption.reason else {
        panic!("{interruption:?}");
    };
    assert!(ended.is_clean(), "{ended:?}");
    assert_eq!(interruption.retry_in, None);
}
