//! TCP between two ends, as far as an application can notice it.

use std::collections::VecDeque;

/// Simulated time, in microseconds.
pub(super) type Micros = u64;

/// One direction of a wire, with the buffers at its two ends.
#[derive(Clone, Copy, Debug)]
pub struct Path {
    /// How many bytes per second travel at most; [`u64::MAX`] for any number.
    pub rate: u64,
    /// How long a byte, an acknowledgement or a reset travels, in milliseconds.
    pub latency: u32,
    /// What the sender's kernel holds, in bytes, until it is acknowledged.
    pub send_buffer: usize,
    /// What the receiver's kernel holds, and whatever else stands in between, in bytes.
    pub receive_buffer: usize,
    /// How many bytes have to be free in the receive buffer before the receiver says so.
    pub window_step: usize,
    /// How many bytes travel together at most.
    pub segment: usize,
    /// Acknowledgements leave at multiples of this time only, in milliseconds; 0 for at once.
    pub acknowledged_every: u32,
}

impl Path {
    /// A fast path between two machines with small buffers.
    pub const DEFAULT: Self = Self {
        rate: u64::MAX,
        latency: 1,
        send_buffer: 64 << 10,
        receive_buffer: 64 << 10,
        window_step: 1,
        segment: 16 << 10,
        acknowledged_every: 0,
    };

    /// The most that can be hidden from the sender, who sees what its kernel has `accepted`, or what
    /// is acknowledged, in bytes.
    #[must_use]
    pub const fn hidden(&self, accepted: bool) -> usize {
        match accepted {
            true => self.send_buffer + self.receive_buffer,
            false => self.receive_buffer,
        }
    }
}

#[derive(Debug)]
enum Packet {
    Data(Vec<u8>),
    Fin,
    Reset,
}

/// How far the end of a direction is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fin {
    None,
    Wanted,
    Sent,
}

/// One direction.
#[derive(Debug)]
struct Way {
    path: Path,
    unsent: VecDeque<u8>,
    /// Bytes that were sent and whose acknowledgement has not come back.
    unacknowledged: usize,
    /// Bytes that the receiver's window still allows.
    credit: usize,
    /// Until when the wire is taken.
    busy_until: Micros,
    flying: VecDeque<(Micros, Packet)>,
    /// Acknowledged bytes, and opened window, on their way back.
    acks: VecDeque<(Micros, usize, usize)>,
    received: VecDeque<u8>,
    /// Window that was given and is not filled.
    granted: usize,
    fin: Fin,
    has_ended: bool,
    /// Acknowledged since the sender has asked.
    acknowledged: usize,
}

impl Way {
    fn new(path: Path) -> Self {
        Self {
            path,
            unsent: VecDeque::new(),
            unacknowledged: 0,
            credit: path.receive_buffer,
            busy_until: 0,
            flying: VecDeque::new(),
            acks: VecDeque::new(),
            received: VecDeque::new(),
            granted: path.receive_buffer,
            fin: Fin::None,
            has_ended: false,
            acknowledged: 0,
        }
    }

    fn latency(&self) -> Micros {
        Micros::from(self.path.latency) * 1000
    }

    fn room(&self) -> usize {
        let held = self.unsent.len() + self.unacknowledged;
        self.path.send_buffer.saturating_sub(held)
    }

    fn sendable(&self) -> usize {
        self.unsent.len().min(self.credit).min(self.path.segment)
    }

    /// Sends what the window and the wire allow.
    fn pump(&mut self, now: Micros) {
        while self.busy_until <= now {
            let len = self.sendable();
            if len > 0 {
                let bytes: Vec<u8> = self.unsent.drain(..len).collect();
                self.credit -= len;
                self.unacknowledged += len;
                self.busy_until = now + len as u64 * 1_000_000 / self.path.rate;
                let at = self.busy_until + self.latency();
                self.flying.push_back((at, Packet::Data(bytes)));
            } else if self.fin == Fin::Wanted && self.unsent.is_empty() {
                self.fin = Fin::Sent;
                self.flying.push_back((now + self.latency(), Packet::Fin));
            } else {
                return;
            }
        }
    }

    fn acknowledge(&mut self, now: Micros, len: usize, credit: usize) {
        let mut leaves = now;
        let every = Micros::from(self.path.acknowledged_every) * 1000;
        if every > 0 && len > 0 {
            leaves = leaves.next_multiple_of(every);
        }
        let mut at = leaves + self.latency();
        if let Some((last, ..)) = self.acks.back() {
            at = at.max(*last); // In order.
        }
        self.acks.push_back((at, len, credit));
    }

    /// Opens the window by what was read, if that is enough.
    fn open_window(&mut self, now: Micros) {
        let free = self.path.receive_buffer - self.received.len() - self.granted;
        let step = self.path.window_step.clamp(1, self.path.receive_buffer);
        if free >= step {
            self.granted += free;
            self.acknowledge(now, 0, free);
        }
    }

    /// When something happens by itself.
    fn next_at(&self) -> Option<Micros> {
        let pumps = self.sendable() > 0 || (self.fin == Fin::Wanted && self.unsent.is_empty());
        let pump = pumps.then_some(self.busy_until);
        let arrival = self.flying.front().map(|(at, _)| *at);
        let ack = self.acks.front().map(|(at, ..)| *at);
        [pump, arrival, ack].into_iter().flatten().min()
    }

    /// Everything that is not at the receiver is destroyed.
    fn destroy(&mut self) {
        self.unsent.clear();
        self.flying.clear();
        self.fin = Fin::Sent;
    }
}

/// The socket at one end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Socket {
    Open,
    /// The application has closed it. The kernel still sends what it has.
    Closed,
    /// A reset came, or was sent.
    Reset,
}

/// A wire, the kernels at its two ends, and their sockets. Way 0 leads from end 0 to end 1.
#[derive(Debug)]
pub(super) struct Wire {
    ways: [Way; 2],
    sockets: [Socket; 2],
    /// Whether the end of one direction gets through alone, which some proxies do not pass on.
    half_closes: bool,
    is_cut: bool,
    /// Whether the kernel at this end has heard of its bytes since its application has looked.
    pub(super) news: [bool; 2],
}

impl Wire {
    pub(super) fn new(paths: [Path; 2], half_closes: bool) -> Self {
        Self {
            ways: paths.map(Way::new),
            sockets: [Socket::Open; 2],
            half_closes,
            is_cut: false,
            news: [false; 2],
        }
    }

    // ---- the sockets ----

    /// The room in the send buffer.
    pub(super) fn room(&self, end: usize) -> usize {
        self.ways[end].room()
    }

    /// What the kernel has and the other end has not acknowledged.
    pub(super) fn send_queue(&self, end: usize) -> usize {
        self.ways[end].unsent.len() + self.ways[end].unacknowledged
    }

    pub(super) fn take_acknowledged(&mut self, end: usize) -> usize {
        core::mem::take(&mut self.ways[end].acknowledged)
    }

    pub(super) fn write(&mut self, end: usize, bytes: &mut VecDeque<u8>, now: Micros) -> usize {
        let way = &mut self.ways[end];
        let len = bytes.len().min(way.room());
        way.unsent.extend(bytes.drain(..len));
        if !self.is_cut {
            way.pump(now);
        }
        len
    }

    pub(super) fn readable(&self, end: usize) -> usize {
        self.ways[1 - end].received.len()
    }

    pub(super) fn has_ended(&self, end: usize) -> bool {
        let way = &self.ways[1 - end];
        way.has_ended && way.received.is_empty()
    }

    pub(super) fn is_reset(&self, end: usize) -> bool {
        self.sockets[end] == Socket::Reset
    }

    pub(super) fn read(&mut self, end: usize, len: usize, now: Micros) -> Vec<u8> {
        let way = &mut self.ways[1 - end];
        let len = len.min(way.received.len());
        let bytes = way.received.drain(..len).collect();
        way.open_window(now);
        bytes
    }

    /// Ends this end's direction, behind what the kernel has.
    pub(super) fn shutdown(&mut self, end: usize, now: Micros) {
        if self.half_closes {
            self.send_fin(end, now);
        }
    }

    fn send_fin(&mut self, end: usize, now: Micros) {
        let way = &mut self.ways[end];
        if way.fin == Fin::None {
            way.fin = Fin::Wanted;
            if !self.is_cut {
                way.pump(now);
            }
        }
    }

    /// Closes the socket. Unread input makes that a reset.
    pub(super) fn close(&mut self, end: usize, now: Micros) {
        if self.sockets[end] != Socket::Open {
            return;
        }
        self.sockets[end] = Socket::Closed;
        if self.readable(end) > 0 {
            self.reset(end, now);
        } else {
            self.send_fin(end, now);
        }
    }

    /// This end's kernel gives the connection up, and tells the other.
    fn reset(&mut self, end: usize, now: Micros) {
        self.sockets[end] = Socket::Reset;
        let way = &mut self.ways[end];
        way.unsent.clear();
        way.fin = Fin::Sent;
        let mut at = now + way.latency();
        if let Some((last, _)) = way.flying.back() {
            at = at.max(*last);
        }
        way.flying.push_back((at, Packet::Reset));
    }

    /// From now on nothing gets through, and nobody is told.
    pub(super) fn cut(&mut self) {
        self.is_cut = true;
    }

    // ---- time ----

    pub(super) fn next_at(&self) -> Option<Micros> {
        if self.is_cut {
            return None;
        }
        self.ways.iter().filter_map(Way::next_at).min()
    }

    /// Does what is due until `now`.
    pub(super) fn advance(&mut self, now: Micros) {
        while self.next_at().is_some_and(|at| at <= now) {
            for from in 0..2 {
                self.ways[from].pump(now);
                self.acknowledgements(from, now);
                self.arrivals(from, now);
            }
        }
    }

    fn acknowledgements(&mut self, from: usize, now: Micros) {
        let way = &mut self.ways[from];
        while let Some((at, len, credit)) = way.acks.front().copied()
            && at <= now
        {
            way.acks.pop_front();
            self.news[from] = true;
            way.unacknowledged -= len;
            way.acknowledged += len;
            way.credit += credit;
        }
    }

    fn arrivals(&mut self, from: usize, now: Micros) {
        let to = 1 - from;
        while self.ways[from]
            .flying
            .front()
            .is_some_and(|(at, _)| *at <= now)
            && let Some((_, packet)) = self.ways[from].flying.pop_front()
        {
            let way = &mut self.ways[from];
            match packet {
                Packet::Data(_) if self.sockets[to] == Socket::Reset => {}
                // Nobody can read it any more.
                Packet::Data(_) if self.sockets[to] == Socket::Closed => self.reset(to, now),
                Packet::Data(bytes) => {
                    way.granted -= bytes.len();
                    way.received.extend(&bytes);
                    way.acknowledge(now, bytes.len(), 0);
                }
                Packet::Fin => way.has_ended = true,
                Packet::Reset => {
                    self.sockets[to] = Socket::Reset;
                    way.received.clear();
                    way.destroy();
                    self.ways[to].destroy();
                }
            }
        }
    }
}
