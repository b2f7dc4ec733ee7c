//! What goes into a connection and comes out of it: plain values, of events and of frames.

use crate::close::CloseFrame;
use crate::frame::{ControlPayload, OpCode};

/// The two kinds of message (§5.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum DataKind {
    /// UTF-8.
    Text,
    /// Any bytes.
    Binary,
}

impl DataKind {
    pub(crate) const fn opcode(self) -> OpCode {
        match self {
            Self::Text => OpCode::Text,
            Self::Binary => OpCode::Binary,
        }
    }
}

/// A part of a message, as it lies in the caller's input, unmasked.
#[derive(Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Chunk<'a> {
    /// What the message is.
    pub kind: DataKind,
    /// The bytes. Those of a text are UTF-8 as far as they go: the last code point may be
    /// continued in the next chunk. May be empty in the first and in the last chunk of a message.
    pub bytes: &'a mut [u8],
    /// The message begins here.
    pub first: bool,
    /// The message ends here.
    pub last: bool,
    /// The message is compressed (RFC 7692 §6): `bytes` are what its frames carried, and text is
    /// not checked.
    pub compressed: bool,
}

/// What the peer sent.
#[derive(Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event<'a> {
    /// A part of a message.
    Data(Chunk<'a>),
    /// A ping; the pong is owed already (§5.5.2).
    Ping(ControlPayload),
    /// A pong, asked for or not (§5.5.3).
    Pong(ControlPayload),
    /// The peer's Close, the last event of a connection; the reply is owed already (§5.5.1).
    Close(Option<CloseFrame>),
}

/// What [`Connection::step`](crate::Connection::step) found in its input.
#[derive(Clone, Copy, Debug)]
#[must_use = "what is found has been consumed and does not come again"]
pub struct Step {
    /// Where the payload begins.
    pub(crate) start: usize,
    pub(crate) consumed: usize,
    pub(crate) found: Found,
    /// The length of a chunk.
    pub(crate) len: usize,
    pub(crate) incoming: Incoming,
}

impl Step {
    /// Bytes of the input that were consumed, those of the event included.
    #[inline]
    #[must_use]
    pub const fn consumed(&self) -> usize {
        self.consumed
    }

    /// Where in the input the bytes of a [`Chunk`] begin.
    #[inline]
    #[must_use]
    pub const fn start(&self) -> usize {
        self.start
    }

    /// Whether there is an event. If not, all of the input was consumed, and more is needed.
    #[inline]
    #[must_use]
    pub const fn is_event(&self) -> bool {
        !matches!(self.found, Found::Nothing)
    }

    /// Whether the event is a [`Chunk`].
    #[inline]
    #[must_use]
    pub const fn is_chunk(&self) -> bool {
        matches!(self.found, Found::Chunk)
    }

    /// Whether the event is a [`Chunk`] that ends its message.
    #[inline]
    #[must_use]
    pub const fn ends_message(&self) -> bool {
        self.is_chunk() && self.incoming & LAST != 0
    }

    /// Whether the event is a [`Chunk`] that is a whole message.
    #[inline]
    #[must_use]
    pub const fn is_message(&self) -> bool {
        self.is_chunk() && self.incoming & (FIRST | LAST) == FIRST | LAST
    }

    /// The chunk, if the event is one, given the same input again, or as much of it as was consumed.
    #[inline]
    #[must_use]
    pub fn chunk(self, input: &mut [u8]) -> Option<Chunk<'_>> {
        self.is_chunk().then(|| self.lend(input))
    }

    #[inline]
    pub(crate) fn lend(self, input: &mut [u8]) -> Chunk<'_> {
        let bytes = input.get_mut(self.start..).unwrap_or_default();
        Chunk {
            kind: match self.incoming & TEXT {
                0 => DataKind::Binary,
                _ => DataKind::Text,
            },
            bytes: bytes.get_mut(..self.len).unwrap_or_default(),
            first: self.incoming & FIRST != 0,
            last: self.incoming & LAST != 0,
            compressed: self.incoming & COMPRESSED != 0,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    Nothing,
    Chunk,
    /// A control frame, whose payload lies in the connection.
    Control,
}

/// The message that is arriving: a set of these, in one byte.
pub(crate) type Incoming = u8;
pub(crate) const TEXT: Incoming = 1;
pub(crate) const COMPRESSED: Incoming = 1 << 1;
/// No chunk of it has come yet.
pub(crate) const FIRST: Incoming = 1 << 2;
/// It ends with this step.
pub(crate) const LAST: Incoming = 1 << 3;

/// A data frame about to be sent; see [`Connection::start_frame`](crate::Connection::start_frame).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DataFrame {
    /// What the message is, the same for each of its frames.
    pub kind: DataKind,
    /// The last frame of its message.
    pub fin: bool,
    /// The message is compressed, as its first frame says (RFC 7692 §6).
    pub compressed: bool,
    /// Bytes of payload that will follow the header.
    pub payload_len: u64,
}

/// What [`Connection::send_fragment`](crate::Connection::send_fragment) did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent {
    /// Bytes of payload that are in the frame. Fewer than given: send the rest as the next one.
    pub consumed: usize,
    /// Bytes of output that the frame fills.
    pub written: usize,
}
