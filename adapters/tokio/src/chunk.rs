//! A part of a message.

use bytes::Bytes;
use motews::DataKind;

/// A part of a message: see [`WebSocketStream::next_chunk`](crate::WebSocketStream::next_chunk).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Chunk {
    /// What the message is.
    pub kind: DataKind,
    /// The bytes. Those of a text are UTF-8 as far as they go: the last code point may be
    /// continued in the next chunk. May be empty in the last chunk of a message.
    pub bytes: Bytes,
    /// The message begins here.
    pub first: bool,
    /// The message ends here.
    pub last: bool,
}
