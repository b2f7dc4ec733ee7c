//! What the connections of a loop share.

use core::fmt;
use core::net::{Ipv4Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use core::ops::Range;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use motews::Millis;

use super::cork::Cork;
use super::id::PeerId;
use super::inbox::Inbox;
use super::poll::Poll;
use super::reply::Replies;
use super::settings::Settings;
use super::socket::Turn;

/// How many buffers of messages that came in parts are kept for the next ones, and how long they
/// may be, in bytes.
const MAX_SPARE: usize = 4;
const MAX_SPARE_LEN: usize = 256 * 1024;

/// Where what a connection sends is held.
#[derive(Debug)]
pub(super) enum Held {
    InCork(Range<usize>),
    InBuffer(Range<usize>),
}

/// What the connections of a loop share.
pub(super) struct Context {
    pub(super) cork: Cork,
    pub(super) replies: Replies,
    /// What waits for the end of this round of events to be written.
    pub(super) held: Vec<(PeerId, Held)>,
    /// Where what is held ends in the receive buffer: the next connection is read behind it.
    pub(super) used: usize,
    /// Whether it may: not for a connection that does more in this round.
    pub(super) may_hold: bool,
    /// Something of it is long, and is written at once.
    pub(super) holds_long: bool,
    pub(super) now: Millis,
    pub(super) turn: Turn,
    /// Buffers for messages that come in parts.
    spare: Vec<Vec<u8>>,
    /// Connections that want to be looked at again.
    pub(super) later: Vec<PeerId>,
    /// Connections that are ending, whose deadlines are to be looked at soon.
    pub(super) ending: BTreeSet<PeerId>,
    pub(super) inbox: Arc<Inbox>,
    pub(super) settings: Arc<Settings>,
    pub(super) poll: Poll,
    /// Where the peers are, by slot: apart, since few ask for it, and in 6 bytes each.
    addresses: Vec<SocketAddrV4>,
    /// Of those that come by IPv6, until their slot has another.
    addresses_v6: HashMap<usize, SocketAddrV6>,
}

impl Context {
    pub(super) fn new(inbox: Arc<Inbox>, settings: Arc<Settings>, poll: Poll) -> Self {
        Self {
            cork: Cork::new(),
            replies: Replies::default(),
            held: Vec::new(),
            used: 0,
            may_hold: false,
            holds_long: false,
            now: Millis(0),
            turn: Turn::default(),
            spare: Vec::new(),
            later: Vec::new(),
            ending: BTreeSet::new(),
            inbox,
            settings,
            poll,
            addresses: Vec::new(),
            addresses_v6: HashMap::new(),
        }
    }

    /// Keeps the address of the peer of a new connection.
    pub(super) fn set_address(&mut self, id: PeerId, address: SocketAddr) {
        let slot = id.slot();
        let address = match address {
            SocketAddr::V4(address) => {
                self.addresses_v6.remove(&slot);
                address
            }
            SocketAddr::V6(address) => {
                self.addresses_v6.insert(slot, address);
                SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0)
            }
        };
        match self.addresses.get_mut(slot) {
            Some(kept) => *kept = address,
            // Slots are taken in order, until one is free again.
            None => self.addresses.push(address),
        }
    }

    pub(super) fn address(&self, id: PeerId) -> SocketAddr {
        match self.addresses_v6.get(&id.slot()) {
            Some(address) => (*address).into(),
            None => self.addresses[id.slot()].into(),
        }
    }

    /// An empty buffer for a message.
    pub(super) fn spare(&mut self) -> Vec<u8> {
        self.spare.pop().unwrap_or_default()
    }

    /// Keeps a buffer for the next message.
    pub(super) fn recycle(&mut self, mut buffer: Vec<u8>) {
        if buffer.capacity() <= MAX_SPARE_LEN && self.spare.len() < MAX_SPARE {
            buffer.clear();
            self.spare.push(buffer);
        }
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Context")
    }
}
