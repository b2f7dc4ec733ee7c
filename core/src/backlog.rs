//! Messages that wait for a connection: [`Backlog`].

use crate::error::NoRoom;
use crate::event::DataKind;
use crate::message::Message;

/// What a [`Backlog`] does with a message for which there is no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum BacklogPolicy {
    /// Refuses it, and keeps all that waits: for commands and records.
    DropNewest,
    /// Drops the oldest messages that wait, until there is room: for measurements.
    DropOldest,
    /// Keeps one message only, the newest, whether there is room for more or not: for a state.
    KeepNewest,
}

/// Bytes in front of each message: its length, and what it is.
const HEADER: usize = 4;
/// The bit of a text.
const TEXT: u32 = 1 << 31;

/// A bounded queue of messages, in the caller's memory, that outlasts connections.
///
/// Each message takes 4 bytes beside its own. An adapter sends the [`first`](Self::first) one, in
/// as many parts as its transport wants; one of which a part was [`taken`](Self::taken) is never
/// dropped by the policy. When the connection ends meanwhile, nobody knows whether the peer has it:
/// [`interrupted`](Self::interrupted) takes it out, and it is not sent again.
///
/// ```
/// use motews::{Backlog, BacklogPolicy, DataKind, Message};
///
/// let mut backlog = Backlog::new([0; 20], BacklogPolicy::DropOldest);
/// assert_eq!(backlog.push(Message::Text("21.4 °C")), Ok(0));
/// assert_eq!(backlog.push(Message::Text("21.5 °C")), Ok(1)); // and one was dropped for it
/// assert_eq!(backlog.dropped(), 1);
/// assert_eq!(backlog.first(), Some((DataKind::Text, "21.5 °C".as_bytes())));
/// backlog.taken(8);
/// assert!(backlog.is_empty());
/// ```
#[derive(Clone, Debug)]
pub struct Backlog<B> {
    buffer: B,
    policy: BacklogPolicy,
    /// A part of the first message was taken, and its header says how much is left.
    begun: bool,
    /// Where the first message begins, and where the last one ends.
    start: usize,
    end: usize,
    len: usize,
    dropped: u32,
}

impl<B: AsRef<[u8]> + AsMut<[u8]>> Backlog<B> {
    /// Makes an empty queue in `buffer`.
    pub const fn new(buffer: B, policy: BacklogPolicy) -> Self {
        Self {
            buffer,
            policy,
            begun: false,
            start: 0,
            end: 0,
            len: 0,
            dropped: 0,
        }
    }

    /// Appends a message. Returns how many older ones were dropped for it.
    ///
    /// # Errors
    /// [`NoRoom`] if the message is not taken: as the [policy](BacklogPolicy) says, or because even
    /// an empty queue has no room for it, or none beside the message that is being sent. Nothing has
    /// changed then.
    pub fn push(&mut self, message: Message<'_>) -> Result<u32, NoRoom> {
        let payload = message.as_bytes();
        let need = payload.len().checked_add(HEADER).ok_or(NoRoom)?;
        let kind = match message.kind() {
            DataKind::Text => TEXT,
            DataKind::Binary => 0,
        };
        let len = u32::try_from(payload.len()).map_err(|_| NoRoom)?;
        if len & TEXT != 0 {
            return Err(NoRoom);
        }
        let capacity = self.buffer.as_ref().len();
        let kept = match self.begun {
            true => self.size(self.start),
            false => 0,
        };
        let most = match self.policy {
            BacklogPolicy::DropNewest => capacity.saturating_sub(self.bytes()),
            BacklogPolicy::DropOldest | BacklogPolicy::KeepNewest => capacity.saturating_sub(kept),
        };
        if need > most {
            return Err(NoRoom);
        }
        let mut dropped = 0;
        while self.len > usize::from(self.begun)
            && (self.policy == BacklogPolicy::KeepNewest
                || need > capacity.saturating_sub(self.bytes()))
        {
            self.drop_oldest();
            dropped += 1;
        }
        if need > capacity.saturating_sub(self.end) {
            self.shift(self.start, 0);
            self.start = 0;
        }
        let header = (len | kind).to_le_bytes();
        let room = self.buffer.as_mut().get_mut(self.end..).unwrap_or_default();
        for (to, from) in room.iter_mut().zip(header.iter().chain(payload)) {
            *to = *from;
        }
        self.end = self.end.saturating_add(need);
        self.len = self.len.saturating_add(1);
        self.dropped = self.dropped.saturating_add(dropped);
        Ok(dropped)
    }

    /// Returns the first message: its kind, and what is left of its payload. It may be empty.
    #[must_use]
    pub fn first(&self) -> Option<(DataKind, &[u8])> {
        if self.is_empty() {
            return None;
        }
        let kind = match self.header(self.start) & TEXT {
            0 => DataKind::Binary,
            _ => DataKind::Text,
        };
        let from = self.start.saturating_add(HEADER);
        let to = self.start.saturating_add(self.size(self.start));
        let payload = self.buffer.as_ref().get(from..to).unwrap_or_default();
        Some((kind, payload))
    }

    /// Returns whether a part of the [`first`](Self::first) message was taken, and the rest was not.
    #[must_use]
    pub const fn is_begun(&self) -> bool {
        self.begun
    }

    /// Notes that the connection has taken the next `len` bytes of the [`first`](Self::first) message.
    /// If that is all of it, the next one is the first. Returns true if it was the first part: count
    /// the message as sent then.
    pub fn taken(&mut self, len: usize) -> bool {
        let Some((kind, payload)) = self.first() else {
            return false;
        };
        let (left, is_first) = (payload.len().saturating_sub(len), !self.begun);
        if left == 0 {
            self.remove_first();
            return is_first;
        }
        // The header moves up to what is left.
        self.start = self.start.saturating_add(len);
        self.begun = true;
        let kind = match kind {
            DataKind::Text => TEXT,
            DataKind::Binary => 0,
        };
        let header = (left as u32 | kind).to_le_bytes();
        let place = self.buffer.as_mut().get_mut(self.start..);
        for (to, from) in place.unwrap_or_default().iter_mut().zip(header) {
            *to = from;
        }
        is_first
    }

    /// Notes that the connection has ended. Returns true if a part of the first message was taken by
    /// then: it is not sent again, for the peer may have it.
    pub fn interrupted(&mut self) -> bool {
        let begun = self.begun;
        if begun {
            self.remove_first();
        }
        begun
    }

    /// Drops all messages of which no part was taken, and returns how many. They count as
    /// [dropped](Self::dropped).
    pub fn clear(&mut self) -> u32 {
        let mut dropped = 0;
        while self.len > usize::from(self.begun) {
            self.drop_oldest();
            dropped += 1;
        }
        self.dropped = self.dropped.saturating_add(dropped);
        dropped
    }

    /// Returns how many messages wait.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Returns true if no message waits.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Returns how many messages were dropped since the beginning. One that was refused is not
    /// counted: its sender has it.
    #[must_use]
    pub const fn dropped(&self) -> u32 {
        self.dropped
    }

    /// Returns how much of the memory is in use.
    const fn bytes(&self) -> usize {
        self.end.saturating_sub(self.start)
    }

    /// Returns the header of the message at this place.
    fn header(&self, at: usize) -> u32 {
        let bytes = self
            .buffer
            .as_ref()
            .get(at..)
            .and_then(|at| at.first_chunk());
        u32::from_le_bytes(*bytes.unwrap_or(&[0; HEADER]))
    }

    /// Returns how many bytes the message at this place takes.
    fn size(&self, at: usize) -> usize {
        ((self.header(at) & !TEXT) as usize).saturating_add(HEADER)
    }

    fn remove_first(&mut self) {
        self.start = self.start.saturating_add(self.size(self.start));
        self.begun = false;
        self.len = self.len.saturating_sub(1);
        if self.is_empty() {
            (self.start, self.end) = (0, 0);
        }
    }

    /// Drops the oldest message of which no part was taken.
    fn drop_oldest(&mut self) {
        if !self.begun {
            self.remove_first();
            return;
        }
        let second = self.start.saturating_add(self.size(self.start));
        self.shift(second.saturating_add(self.size(second)), second);
        self.len = self.len.saturating_sub(1);
    }

    /// Moves what lies at `from` and behind it down to `to`.
    fn shift(&mut self, from: usize, to: usize) {
        let len = self.end.saturating_sub(from);
        let buffer = self.buffer.as_mut();
        for at in 0..len {
            let byte = buffer.get(from.saturating_add(at)).copied();
            if let (Some(byte), Some(place)) = (byte, buffer.get_mut(to.saturating_add(at))) {
                *place = byte;
            }
        }
        self.end = to.saturating_add(len);
    }
}
