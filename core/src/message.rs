//! Whole messages: [`Message`], and [`MessageBuffer`] to assemble them in a fixed buffer.

use core::fmt;

use crate::error::ProtocolViolation;
use crate::event::{Chunk, DataKind};

/// A whole message (RFC 6455 §5.6).
///
/// ```
/// use motews::Message;
///
/// assert_eq!(Message::from("Hello"), Message::Text("Hello"));
/// assert_eq!(Message::from(&[1, 2, 3]), Message::Binary(&[1, 2, 3]));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Message<'a> {
    /// UTF-8.
    Text(&'a str),
    /// Any bytes.
    Binary(&'a [u8]),
}

impl<'a> Message<'a> {
    /// Makes the message of this kind with this payload.
    ///
    /// # Errors
    /// [`MessageError::InvalidUtf8`] if a text is not UTF-8.
    #[inline]
    pub fn new(kind: DataKind, payload: &'a [u8]) -> Result<Self, MessageError> {
        Ok(match kind {
            DataKind::Text => Self::Text(text(payload)?),
            DataKind::Binary => Self::Binary(payload),
        })
    }

    /// What the message is.
    #[must_use]
    pub const fn kind(&self) -> DataKind {
        match self {
            Self::Text(_) => DataKind::Text,
            Self::Binary(_) => DataKind::Binary,
        }
    }

    /// The payload.
    #[must_use]
    pub const fn as_bytes(&self) -> &'a [u8] {
        match self {
            Self::Text(text) => text.as_bytes(),
            Self::Binary(bytes) => bytes,
        }
    }
}

impl<'a> From<&'a str> for Message<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(text)
    }
}

impl<'a> From<&'a [u8]> for Message<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Self::Binary(bytes)
    }
}

impl<'a, const N: usize> From<&'a [u8; N]> for Message<'a> {
    fn from(bytes: &'a [u8; N]) -> Self {
        Self::Binary(bytes)
    }
}

/// A buffer of a fixed size in which messages are assembled from their chunks.
///
/// A message that comes in one chunk is not copied at all.
///
/// ```
/// use motews::{Connection, Event, Message, MessageBuffer, Server};
///
/// let mut connection: Connection<Server> = Connection::new(Server);
/// let mut messages = MessageBuffer::new([0; 16]);
///
/// // "Hel" and "lo" in two frames, masked with a key of zeros.
/// let mut input = *b"\x01\x83\0\0\0\0Hel\x80\x82\0\0\0\0lo";
/// let mut input = &mut input[..];
/// while let Some(event) = connection.next_event(&mut input)? {
///     if let Event::Data(chunk) = event
///         && let Some(message) = messages.push(chunk).unwrap()
///     {
///         assert_eq!(message, Message::Text("Hello"));
///     }
/// }
/// # Ok::<(), motews::ProtocolViolation>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct MessageBuffer<B> {
    buffer: B,
    len: usize,
    overflowed: bool,
}

impl<B: AsRef<[u8]> + AsMut<[u8]>> MessageBuffer<B> {
    /// Makes a buffer of `buffer`, whose length is that of the longest message, in bytes.
    pub const fn new(buffer: B) -> Self {
        Self {
            buffer,
            len: 0,
            overflowed: false,
        }
    }

    /// Returns the length of the longest message, in bytes.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.buffer.as_ref().len()
    }

    /// Returns what there is of the unfinished message.
    #[must_use]
    pub fn assembled(&self) -> &[u8] {
        self.buffer.as_ref().get(..self.len).unwrap_or_default()
    }

    /// Appends the next chunk. Returns the message if it is whole now.
    ///
    /// # Errors
    /// [`MessageError::TooBig`] if the message is longer than the buffer, from the first chunk on that
    /// does not fit. What was [`assembled`](Self::assembled) before stays there until the next message
    /// begins. An adapter gives the error to [`Connection::fail`](crate::Connection::fail), or leaves
    /// the message out.
    ///
    /// [`MessageError::InvalidUtf8`] if a text is not UTF-8: only a compressed one, for a
    /// [`Connection`](crate::Connection) has checked the others.
    #[inline]
    pub fn push<'a>(&'a mut self, chunk: Chunk<'a>) -> Result<Option<Message<'a>>, MessageError> {
        let Chunk {
            kind,
            bytes,
            first,
            last,
            ..
        } = chunk;
        if first {
            self.len = 0;
            self.overflowed = false;
        }
        if first && last && bytes.len() <= self.capacity() {
            return Message::new(kind, bytes).map(Some);
        }
        let room = self.buffer.as_mut().get_mut(self.len..).unwrap_or_default();
        let Some(room) = room.get_mut(..bytes.len()).filter(|_| !self.overflowed) else {
            self.overflowed = true;
            return Err(MessageError::TooBig);
        };
        for (to, from) in room.iter_mut().zip(&*bytes) {
            *to = *from;
        }
        self.len += bytes.len();
        if !last {
            return Ok(None);
        }
        Message::new(kind, self.take()).map(Some)
    }

    /// The message that is whole now: what comes next is not added to it.
    pub(crate) fn take(&mut self) -> &[u8] {
        let len = core::mem::take(&mut self.len);
        self.buffer.as_ref().get(..len).unwrap_or_default()
    }

    /// The buffer and how much of it is in use, for what is written into it elsewhere.
    #[cfg(feature = "deflate")]
    pub(crate) fn parts(&mut self, begins: bool) -> (&mut [u8], &mut usize) {
        if begins {
            self.len = 0;
            self.overflowed = false;
        }
        (self.buffer.as_mut(), &mut self.len)
    }
}

#[cfg(feature = "simdutf8")]
fn text(bytes: &[u8]) -> Result<&str, MessageError> {
    simdutf8::basic::from_utf8(bytes).map_err(|_| MessageError::InvalidUtf8)
}

#[cfg(not(feature = "simdutf8"))]
#[inline]
fn text(bytes: &[u8]) -> Result<&str, MessageError> {
    core::str::from_utf8(bytes).map_err(|_| MessageError::InvalidUtf8)
}

/// Why a message could not be assembled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum MessageError {
    /// It is longer than the buffer.
    TooBig,
    /// It is a text, but not UTF-8.
    InvalidUtf8,
}

impl fmt::Display for MessageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooBig => "the message is longer than its buffer",
            Self::InvalidUtf8 => "the text is not UTF-8",
        })
    }
}

impl core::error::Error for MessageError {}

impl From<MessageError> for ProtocolViolation {
    fn from(error: MessageError) -> Self {
        match error {
            MessageError::TooBig => Self::MessageTooBig,
            MessageError::InvalidUtf8 => Self::InvalidUtf8,
        }
    }
}
