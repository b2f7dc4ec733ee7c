//! Two hosts in memory, a wire between them with all its faults, and a clock that jumps from event
//! to event.

use core::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use motews::handshake::RequestEvent;
use motews::{CloseCode, Ended, Entropy, EntropyError, Event, SendError, Side};
use motews_smoltcp::{Config, ServerEvent, ServerSocket};
pub(crate) use motews_testkit::frame::masked;
pub(crate) use motews_testkit::head::{REQUEST, RESPONSE as ACCEPTED};
use smoltcp::iface::{Config as InterfaceConfig, Interface, PollResult, SocketHandle, SocketSet};
use smoltcp::phy::{Device, DeviceCapabilities, FaultInjector, Medium, RxToken, TxToken};
use smoltcp::socket::tcp::{Socket, SocketBuffer, State};
use smoltcp::time::{Duration, Instant};
use smoltcp::wire::{HardwareAddress, IpAddress, IpCidr};

pub(crate) static CONFIG: Config<'static> = Config::DEFAULT;

/// A source of numbers for tests, and of masking keys that are good enough for them.
#[derive(Clone, Debug)]
pub(crate) struct Random(pub u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub(crate) fn below(&mut self, limit: usize) -> usize {
        (self.next() >> 11) as usize % limit
    }
}

impl Entropy for Random {
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), EntropyError> {
        bytes.fill_with(|| self.next() as u8);
        Ok(())
    }
}

/// What a wire does to packets, each way, in percent. smoltcp's own injector, at the server's end,
/// drops and corrupts; the wire does the rest.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Faults {
    pub(crate) drop: u8,
    pub(crate) corrupt: u8,
    pub(crate) duplicate: u8,
    pub(crate) reorder: u8,
    /// How long a packet travels, in milliseconds.
    pub(crate) latency: u64,
}

type Packets = Rc<RefCell<VecDeque<(Instant, Vec<u8>)>>>;

/// One end of a wire.
#[derive(Debug)]
pub(crate) struct Wire {
    incoming: Packets,
    outgoing: Packets,
    faults: Faults,
    random: Random,
    pub(crate) mtu: usize,
}

pub(crate) struct Rx(Vec<u8>);

impl RxToken for Rx {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(&self.0)
    }
}

pub(crate) struct Tx<'a>(&'a mut Wire, Instant);

impl TxToken for Tx<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let Self(wire, now) = self;
        let mut packet = vec![0; len];
        let result = f(&mut packet);
        let mut latency = wire.faults.latency;
        if wire.random.below(100) < usize::from(wire.faults.reorder) {
            latency += wire.random.below(30) as u64;
        }
        let twice = wire.random.below(100) < usize::from(wire.faults.duplicate);
        for _ in 0..=usize::from(twice) {
            let at = now + Duration::from_millis(latency);
            let mut queue = wire.outgoing.borrow_mut();
            let index = queue.partition_point(|(other, _)| *other <= at);
            queue.insert(index, (at, packet.clone()));
        }
        result
    }
}

impl Device for Wire {
    type RxToken<'a> = Rx;
    type TxToken<'a> = Tx<'a>;

    fn receive(&mut self, now: Instant) -> Option<(Rx, Tx<'_>)> {
        let mut queue = self.incoming.borrow_mut();
        let due = queue.front().is_some_and(|(at, _)| *at <= now);
        let packet = due.then(|| queue.pop_front()).flatten()?.1;
        drop(queue);
        Some((Rx(packet), Tx(self, now)))
    }

    fn transmit(&mut self, now: Instant) -> Option<Tx<'_>> {
        Some(Tx(self, now))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ip;
        capabilities.max_transmission_unit = self.mtu;
        capabilities
    }
}

/// A host: an interface and its sockets.
pub(crate) struct Host {
    pub(crate) interface: Interface,
    pub(crate) device: FaultInjector<Wire>,
    pub(crate) sockets: SocketSet<'static>,
    pub(crate) address: IpAddress,
    next_port: u16,
}

impl Host {
    fn new(wire: Wire, last: u8, seed: u64) -> Self {
        let mut device = FaultInjector::new(wire, seed as u32 | 1);
        let mut config = InterfaceConfig::new(HardwareAddress::Ip);
        config.random_seed = seed;
        let mut interface = Interface::new(config, &mut device, Instant::ZERO);
        let address = IpAddress::v4(10, 0, 0, last);
        interface.update_ip_addrs(|addresses| {
            addresses.push(IpCidr::new(address, 24)).unwrap();
        });
        Self {
            interface,
            device,
            sockets: SocketSet::new(Vec::new()),
            address,
            next_port: 49152,
        }
    }

    /// A TCP socket with rings of these sizes.
    pub(crate) fn socket(&mut self, rx: usize, tx: usize) -> SocketHandle {
        let rx = SocketBuffer::new(vec![0; rx]);
        let tx = SocketBuffer::new(vec![0; tx]);
        let mut socket = Socket::new(rx, tx);
        socket.set_nagle_enabled(false);
        socket.set_ack_delay(None);
        self.sockets.add(socket)
    }

    /// The same, and it listens.
    pub(crate) fn listener(&mut self, rx: usize, tx: usize, port: u16) -> SocketHandle {
        let handle = self.socket(rx, tx);
        self.tcp(handle).listen(port).unwrap();
        handle
    }

    pub(crate) fn connect(&mut self, handle: SocketHandle, to: IpAddress, port: u16) {
        self.next_port = self.next_port.checked_add(1).unwrap_or(1024);
        let socket = self.sockets.get_mut::<Socket<'_>>(handle);
        socket
            .connect(self.interface.context(), (to, port), self.next_port)
            .unwrap();
    }

    pub(crate) fn tcp(&mut self, handle: SocketHandle) -> &mut Socket<'static> {
        self.sockets.get_mut(handle)
    }
}

/// A server's host and a client's, and the time.
pub(crate) struct Net {
    pub(crate) now: Instant,
    pub(crate) server: Host,
    pub(crate) client: Host,
    wires: [Packets; 2],
    /// How far the clock jumps at most.
    pub(crate) longest_step: Duration,
}

impl Net {
    pub(crate) fn new(faults: Faults, seed: u64) -> Self {
        Self::with_mtu(faults, seed, 1500)
    }

    pub(crate) fn with_mtu(faults: Faults, seed: u64, mtu: usize) -> Self {
        let (one, two) = (Packets::default(), Packets::default());
        let wire = |incoming: &Packets, outgoing: &Packets, seed| Wire {
            incoming: incoming.clone(),
            outgoing: outgoing.clone(),
            faults,
            random: Random(seed),
            mtu,
        };
        let mut server = Host::new(wire(&one, &two, seed | 1), 1, seed);
        server.device.set_drop_chance(faults.drop);
        server.device.set_corrupt_chance(faults.corrupt);
        Self {
            now: Instant::ZERO,
            server,
            client: Host::new(wire(&two, &one, seed ^ 0xABCD | 1), 2, seed + 1),
            wires: [one, two],
            longest_step: Duration::from_millis(100),
        }
    }

    /// Runs both hosts until `poll` says that all is done, or `limit` has passed; tells which.
    pub(crate) fn run(&mut self, limit: Duration, mut poll: impl FnMut(&mut Self) -> bool) -> bool {
        let end = self.now + limit;
        while self.now < end {
            if poll(self) {
                return true;
            }
            self.step();
        }
        false
    }

    /// Has the server receive this packet now, wherever it may come from.
    pub(crate) fn inject(&mut self, packet: Vec<u8>) {
        let [incoming, _] = &self.wires;
        incoming.borrow_mut().push_front((self.now, packet));
    }

    /// Moves packets, and jumps to the next time at which something happens.
    pub(crate) fn step(&mut self) {
        let now = self.now;
        let mut next = now + self.longest_step;
        for host in [&mut self.server, &mut self.client] {
            let result = host
                .interface
                .poll(now, &mut host.device, &mut host.sockets);
            if result == PollResult::SocketStateChanged {
                next = now; // There is something for the caller to do.
            }
        }
        for host in [&mut self.server, &mut self.client] {
            if let Some(at) = host.interface.poll_at(now, &host.sockets) {
                next = next.min(at);
            }
        }
        for packets in &self.wires {
            if let Some((at, _)) = packets.borrow().front() {
                next = next.min(*at);
            }
        }
        // At least a part of a millisecond, so that each host gets its turn.
        self.now = next.max(now + Duration::from_micros(50));
    }
}

/// Does what an echo does, until there is nothing to do, and tells how a connection ended.
pub(crate) fn poll_echo(
    server: &mut ServerSocket<'_>,
    tcp: &mut Socket<'_>,
    now: Instant,
) -> Option<Ended> {
    let mut part = [0; 300];
    loop {
        let room = server.send_room(tcp).min(part.len());
        match server.poll(tcp, now, room)? {
            ServerEvent::Request(RequestEvent::Done(upgrade)) => server.accept(upgrade),
            ServerEvent::Received(Event::Data(chunk)) => {
                let (kind, last, len) = (chunk.kind, chunk.last, chunk.bytes.len());
                part[..len].copy_from_slice(chunk.bytes);
                let sent = server.send_fragment(tcp, kind, &part[..len], last);
                assert!(matches!(sent, Err(SendError::NotOpen)) || sent == Ok(len));
            }
            ServerEvent::Ended(end) => return Some(end),
            _ => {}
        }
    }
}

/// The end of a complete closing handshake that `by` began.
pub(crate) const fn closed(by: Side, code: CloseCode) -> Ended {
    let clean = true;
    Ended::Closed { code, by, clean }
}

/// A server's socket with the usual room for a line.
pub(crate) type Server<'a> = ServerSocket<'a>;

/// A peer that sends and receives bytes, over a socket of its own.
pub(crate) struct Raw {
    pub(crate) handle: SocketHandle,
    /// What is still to be sent.
    pub(crate) out: Vec<u8>,
    pub(crate) received: Vec<u8>,
    /// Whether it reads.
    pub(crate) reads: bool,
    /// Whether it ends TCP when its peer has.
    pub(crate) closes: bool,
}

impl Raw {
    pub(crate) fn new(handle: SocketHandle) -> Self {
        Self {
            handle,
            out: Vec::new(),
            received: Vec::new(),
            reads: true,
            closes: true,
        }
    }

    /// One that connects to the server's port 80.
    pub(crate) fn connect(net: &mut Net, ring: usize) -> Self {
        let handle = net.client.socket(ring, ring);
        let address = net.server.address;
        net.client.connect(handle, address, 80);
        Self::new(handle)
    }

    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.out.extend_from_slice(bytes.as_ref());
    }

    pub(crate) fn poll(&mut self, host: &mut Host) {
        let tcp = host.tcp(self.handle);
        if tcp.may_send() {
            let len = tcp.send_slice(&self.out).unwrap();
            self.out.drain(..len);
        }
        while self.reads && tcp.can_recv() {
            tcp.recv(|bytes| {
                self.received.extend_from_slice(bytes);
                (bytes.len(), ())
            })
            .unwrap();
        }
        if self.closes && tcp.state() == State::CloseWait {
            tcp.close();
        }
    }

    /// What was received since the last time.
    pub(crate) fn take(&mut self) -> Vec<u8> {
        core::mem::take(&mut self.received)
    }
}

/// An echo server and a raw client.
pub(crate) struct Rig {
    pub(crate) net: Net,
    pub(crate) listener: SocketHandle,
    pub(crate) server: ServerSocket<'static>,
    pub(crate) raw: Raw,
    pub(crate) end: Option<Ended>,
    /// When it came to the end, since the last time the clock was set.
    pub(crate) ended_at: Instant,
}

impl Rig {
    pub(crate) fn new(rx: usize, tx: usize) -> Self {
        let mut net = Net::new(Faults::default(), 5);
        let listener = net.server.listener(rx, tx, 80);
        let raw = Raw::connect(&mut net, 4096);
        Self {
            net,
            listener,
            server: ServerSocket::new(&CONFIG),
            raw,
            end: None,
            ended_at: Instant::ZERO,
        }
    }

    /// The same, with the handshake done.
    pub(crate) fn open(rx: usize, tx: usize) -> Self {
        let mut rig = Self::new(rx, tx);
        rig.raw.send(REQUEST);
        let accepted = rig.run(1, |rig| rig.raw.received.len() >= ACCEPTED.len());
        assert!(accepted);
        assert_eq!(rig.raw.take(), ACCEPTED.as_bytes());
        rig
    }

    /// Runs until `done`, or so many seconds.
    pub(crate) fn run(&mut self, seconds: u64, mut done: impl FnMut(&mut Self) -> bool) -> bool {
        let until = self.net.now + Duration::from_secs(seconds);
        while self.net.now < until {
            let end = poll_echo(
                &mut self.server,
                self.net.server.tcp(self.listener),
                self.net.now,
            );
            if end.is_some() {
                (self.end, self.ended_at) = (end, self.net.now);
            }
            self.raw.poll(&mut self.net.client);
            if done(self) {
                return true;
            }
            self.net.step();
        }
        false
    }

    pub(crate) fn run_to_end(&mut self, seconds: u64) -> Ended {
        self.run(seconds, |rig| rig.end.is_some());
        self.end.expect("the connection ends")
    }
}
