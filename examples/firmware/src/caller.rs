//! The board as a client: it calls an echo server, and compares what comes back.

use core::fmt::Write;

use heapless::String;
use motews::handshake::Request;
use motews::{CloseCode, DataKind, Ended, Event};
use motews_smoltcp::{ClientEvent, ClientSocket, Config};
use smoltcp::iface::{Interface, SocketHandle, SocketSet};
use smoltcp::socket::tcp::Socket;
use smoltcp::time::Instant;
use smoltcp::wire::Ipv4Address;

use firmware::entropy::Cipher;

/// Where the echo server is: an address of QEMU's that leads to the host, if QEMU is told so.
const SERVER: (Ipv4Address, u16) = (Ipv4Address::new(10, 0, 2, 100), 9001);
const HOST: &str = "10.0.2.100:9001";

/// Bytes of the messages to send, one after the other. The last one is sixteen times the RAM.
const LENGTHS: [usize; 9] = [0, 1, 125, 126, 127, 4096, 65_535, 65_536, 1024 * 1024];

static CONFIG: Config<'static> = Config::DEFAULT;

/// What is at a place of each message.
const fn octet(place: usize) -> u8 {
    (place ^ (place >> 8) ^ (place >> 16)) as u8
}

/// A socket that calls when it is told to.
pub(crate) struct Caller {
    handle: SocketHandle,
    client: Option<ClientSocket<'static, Cipher>>,
    since: Instant,
    /// Messages that came back whole.
    echoed: usize,
    /// Bytes of the next one that are sent, and that came back.
    sent: usize,
    received: usize,
    is_sent: bool,
    /// Calls that have ended, and what came of the last one.
    calls: u32,
    outcome: String<80>,
}

impl Caller {
    pub(crate) const fn new(handle: SocketHandle) -> Self {
        Self {
            handle,
            client: None,
            since: Instant::ZERO,
            echoed: 0,
            sent: 0,
            received: 0,
            is_sent: false,
            calls: 0,
            outcome: String::new(),
        }
    }

    /// How many calls have ended.
    pub(crate) const fn calls(&self) -> u32 {
        self.calls
    }

    /// What came of the last one, for human readers.
    pub(crate) fn outcome(&self) -> &str {
        &self.outcome
    }

    /// Calls the server, unless a call is under way.
    pub(crate) fn call(
        &mut self,
        interface: &mut Interface,
        sockets: &mut SocketSet<'_>,
        random: &mut Cipher,
        now: Instant,
    ) {
        if self.client.is_some() {
            return;
        }
        self.outcome.clear();
        let client = Request::new(HOST, "/")
            .and_then(|request| ClientSocket::new(&CONFIG, request, random.fork(), now));
        let Ok(client) = client else {
            _ = self.outcome.push_str("no seed for masking keys");
            self.calls += 1;
            return;
        };
        let port = 49_152 + (random.number() % 16_384) as u16;
        let tcp = sockets.get_mut::<Socket<'_>>(self.handle);
        if tcp.connect(interface.context(), SERVER, port).is_err() {
            _ = self.outcome.push_str("the last call has not ended");
            self.calls += 1;
            return;
        }
        _ = self.outcome.push_str("calling the host");
        *self = Self {
            client: Some(client),
            since: now,
            calls: self.calls,
            outcome: core::mem::take(&mut self.outcome),
            ..Self::new(self.handle)
        };
    }

    /// Sees to whatever has happened.
    pub(crate) fn poll(&mut self, sockets: &mut SocketSet<'_>, now: Instant) {
        let tcp = sockets.get_mut::<Socket<'_>>(self.handle);
        let Some(client) = &mut self.client else {
            return;
        };
        while let Some(event) = client.poll(tcp, now, usize::MAX) {
            match event {
                ClientEvent::Received(Event::Data(chunk)) => {
                    let places = self.received..;
                    let is_right = chunk.kind == DataKind::Binary
                        && chunk
                            .bytes
                            .iter()
                            .zip(places)
                            .all(|(is, at)| *is == octet(at));
                    self.received += chunk.bytes.len();
                    let is_whole = LENGTHS.get(self.echoed) == Some(&self.received);
                    if !is_right || (chunk.last && !(is_whole && self.is_sent)) {
                        _ = client.close(CloseCode::POLICY_VIOLATION, "not what was sent");
                    } else if chunk.last {
                        self.echoed += 1;
                        (self.sent, self.received, self.is_sent) = (0, 0, false);
                    }
                }
                ClientEvent::Ended(end) => {
                    defmt::info!("the call has ended: {}", end);
                    self.client = None;
                    self.calls += 1;
                    self.outcome.clear();
                    let millis = (now - self.since).total_millis();
                    let octets: usize = LENGTHS.iter().take(self.echoed).sum();
                    _ = match end {
                        Ended::Closed {
                            code: CloseCode::NORMAL,
                            clean: true,
                            ..
                        } => write!(
                            self.outcome,
                            "the host echoed {} messages, {octets} octets, in {millis} ms",
                            self.echoed
                        ),
                        Ended::Lost | Ended::TimedOut(_) => {
                            self.outcome.write_str("the host does not answer")
                        }
                        _ => self.outcome.write_str("the call failed"),
                    };
                    return;
                }
                _ => {}
            }
        }

        let Some(length) = LENGTHS.get(self.echoed) else {
            _ = client.close(CloseCode::NORMAL, ""); // Once: then it is not open.
            return;
        };
        while !self.is_sent {
            let mut part = [0; 512];
            let len = client
                .send_room(tcp)
                .min(part.len())
                .min(length - self.sent);
            if !client.is_open() || (len == 0 && *length > 0) {
                break;
            }
            for (place, to) in (self.sent..).zip(&mut part) {
                *to = octet(place);
            }
            let part = part.get(..len).unwrap_or_default();
            let fin = self.sent + len == *length;
            if client
                .send_fragment(tcp, DataKind::Binary, part, fin)
                .is_err()
            {
                break;
            }
            self.sent += len;
            self.is_sent = fin;
        }
    }
}
