//! Many connections that get the same messages.

use core::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use motews::Message as MessageRef;
use slab::Slab;

use super::frame::{Frame, Packing};
use super::id::PeerId;
use super::inbox::Inbox;
use super::outbox::{Broadcast, Outbox, SlowPolicy};
use super::packing::{PeerWindow, pack_alone};
use super::sender::PeerSender;
use crate::message::AsMessage;

/// A group of connections that get the same messages: a room of a chat, the viewers of a video.
/// They may be on several loops, and anybody may broadcast, from any thread: clone the hub.
///
/// A message is put into a frame once, however many members there are, and its bytes are shared.
/// Nobody waits for a member that does not read; see [`SlowPolicy`].
///
/// ```no_run
/// use motews_std::{
///     Handler, Hub, Membership, MessageRef, Peer, Request, SendError, Server, SlowPolicy,
/// };
///
/// struct Chat(Hub);
///
/// impl Handler for Chat {
///     type Data = Membership;
///
///     fn on_open(&mut self, peer: &mut Peer, _: &Request) -> Result<Membership, SendError> {
///         Ok(self.0.join(&peer.sender()))
///     }
///
///     fn on_message(
///         &mut self,
///         _: &mut Peer<Self::Data>,
///         message: MessageRef,
///     ) -> Result<(), SendError> {
///         self.0.broadcast(message);
///         Ok(())
///     }
/// }
///
/// Server::bind("127.0.0.1:9001")?.run(Chat(Hub::new(SlowPolicy::DropOldest)))?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone)]
pub struct Hub {
    members: Arc<Mutex<Slab<Arc<Outbox>>>>,
    policy: SlowPolicy,
}

impl Hub {
    /// A hub without members.
    #[must_use]
    pub fn new(policy: SlowPolicy) -> Self {
        Self {
            members: Arc::default(),
            policy,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Slab<Arc<Outbox>>> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a connection a member for as long as the [`Membership`] lives: keep it in the
    /// [`Handler::Data`](crate::Handler::Data) of the connection, which is dropped when that is
    /// closed: after [`on_close`](crate::Handler::on_close), where it still counts as a member unless it
    /// has [left](Membership::leave). Who joins twice gets each message twice.
    pub fn join(&self, sender: &PeerSender) -> Membership {
        let key = Some(self.lock().insert(sender.0.clone()));
        Membership {
            hub: self.clone(),
            key,
        }
    }

    /// How many members there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    /// Whether there are no members.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Sends a message to all members. Never waits for any. For members that have agreed on
    /// compression it is compressed here, once for each size of window, of which there are eight:
    /// each takes some 10 milliseconds for a MiB, and in a handler the connections of this loop wait
    /// meanwhile. Long messages are better broadcast by another thread.
    pub fn broadcast(&self, message: impl AsMessage) -> Broadcast {
        self.send(message.as_message(), Packing::Allowed, |_| true)
    }

    /// Sends a message to all members but one: the one that it came from, for example.
    pub fn broadcast_except(&self, except: PeerId, message: impl AsMessage) -> Broadcast {
        self.send(message.as_message(), Packing::Allowed, |id| id != except)
    }

    /// Sends a message to all members, compressed to none: a JPEG does not get smaller, and see
    /// [`ServerBuilder::deflate`](crate::ServerBuilder::deflate) for secrets.
    // [PD30]
    #[cfg(feature = "deflate")]
    pub fn broadcast_uncompressed(&self, message: impl AsMessage) -> Broadcast {
        self.send(message.as_message(), Packing::Plain, |_| true)
    }

    /// What a message is to be compressed for.
    fn windows(
        &self,
        packing: Packing,
        wanted: &mut impl FnMut(PeerId) -> bool,
    ) -> Vec<PeerWindow> {
        let mut windows = Vec::new();
        if cfg!(feature = "deflate") && packing == Packing::Allowed {
            let members = self.lock();
            for (_, outbox) in members.iter().filter(|(_, outbox)| wanted(outbox.id)) {
                if let Some(window) = outbox.window
                    && !windows.contains(&window)
                {
                    windows.push(window);
                }
            }
        }
        windows
    }

    fn send(
        &self,
        message: MessageRef<'_>,
        packing: Packing,
        mut wanted: impl FnMut(PeerId) -> bool,
    ) -> Broadcast {
        let mut result = Broadcast::default();
        let windows = self.windows(packing, &mut wanted);
        // Nobody waits for this: others may join, leave and broadcast meanwhile.
        let plain = Frame::new(message, Packing::Plain);
        let packed: Vec<_> = windows
            .into_iter()
            .filter_map(|window| Some((window, pack(window, message)?)))
            .collect();
        let mut loops: Vec<Arc<Inbox>> = Vec::new();
        let members = self.lock();
        for (_, outbox) in members.iter().filter(|(_, outbox)| wanted(outbox.id)) {
            let mut fitting = packed.iter();
            let fitting = fitting.find(|(window, _)| outbox.window == Some(*window));
            let frame = fitting.map_or(&plain, |(_, frame)| frame);
            let one = outbox.offer(frame, self.policy);
            result.delivered += one.delivered;
            result.dropped += one.dropped;
            result.disconnected += one.disconnected;
            if one.delivered + one.disconnected == 0 {
                continue;
            }
            if !loops.iter().any(|known| Arc::ptr_eq(known, &outbox.inbox)) {
                loops.push(outbox.inbox.clone());
            }
        }
        drop(members);
        for inbox in loops {
            inbox.wake();
        }
        result
    }
}

/// The frame of a message, compressed for all peers with this window; `None` where it is better
/// sent as it is.
fn pack(window: PeerWindow, message: MessageRef<'_>) -> Option<Frame> {
    let packed = pack_alone(window, message.as_bytes())?;
    Some(Frame::packed(message, &packed))
}

impl fmt::Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hub")
            .field("members", &self.len())
            .field("policy", &self.policy)
            .finish()
    }
}

/// A place in a [`Hub`]. Dropping it leaves.
#[derive(Debug)]
#[must_use = "dropping it leaves the hub"]
pub struct Membership {
    hub: Hub,
    /// `None` once it has left.
    key: Option<usize>,
}

impl Membership {
    /// The hub that this is a place in.
    #[must_use]
    pub const fn hub(&self) -> &Hub {
        &self.hub
    }

    /// Leaves the hub now, and returns how many members remain. In
    /// [`Handler::on_close`](crate::Handler::on_close): `peer.data_mut().leave()`.
    pub fn leave(&mut self) -> usize {
        let mut members = self.hub.lock();
        let left = self.key.take().and_then(|key| members.try_remove(key));
        let remaining = members.len();
        drop(members);
        drop(left);
        remaining
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        self.leave();
    }
}

#[cfg(all(test, feature = "deflate"))]
mod tests {
    use motews::deflate::WindowBits;

    use super::super::outbox::Next;
    use super::super::poll::{Poll, Token, Waker};
    use super::*;

    #[test]
    fn broadcast_to_many_is_compressed_once_for_each_size_of_window() {
        let poll = Poll::new().unwrap();
        let waker = Waker::new(&poll, Token(0)).unwrap();
        let inbox = Arc::new(Inbox::new(waker, 1 << 20));
        let windows = [
            None,
            WindowBits::new(8),
            WindowBits::new(12),
            WindowBits::new(15),
        ];
        let hub = Hub::new(SlowPolicy::DropOldest);
        let members: Vec<(PeerSender, Membership)> = (0..100)
            .map(|slot| {
                let id = PeerId::new(0, 0, slot);
                let outbox = Outbox::new(id, inbox.clone(), windows[slot % windows.len()]);
                let sender = PeerSender(Arc::new(outbox));
                let membership = hub.join(&sender);
                (sender, membership)
            })
            .collect();
        assert_eq!(hub.broadcast("so long ".repeat(100)).delivered, 100);
        // The members share frames: so it has made no more of them.
        let mut frames: Vec<(Option<WindowBits>, Frame)> = Vec::new();
        for (sender, _) in &members {
            let Next::Send(frame) = sender.0.next() else {
                panic!("there is one");
            };
            let window = sender.0.window;
            let packing = window.map_or(Packing::Plain, |_| Packing::Packed);
            assert_eq!(frame.packing(), packing);
            match frames.iter().find(|(known, _)| *known == window) {
                Some((_, known)) => assert_eq!(known.bytes().as_ptr(), frame.bytes().as_ptr()),
                None => frames.push((window, frame)),
            }
        }
        assert_eq!(frames.len(), windows.len());
        // Nobody has this window, and so nothing is compressed for it.
        let packed = hub.windows(Packing::Allowed, &mut |id| id.slot() % 4 != 3);
        assert_eq!(packed.len(), 2);
        assert!(hub.windows(Packing::Plain, &mut |_| true).is_empty());
    }
}
