//! Compressed messages (RFC 7692 §6): between [`Chunk`]s and [`MessageBuffer`], and between messages
//! and frames.

use core::cell::Cell;

use super::deflater::{Deflated, Deflater};
use super::inflater::{Inflated, Inflater};
use super::matcher::Level;
use super::negotiation::DeflateContext;
use crate::connection::{Connection, payload_room};
use crate::control::ControlStorage;
use crate::error::{NoRoom, ProtocolViolation, SendError};
use crate::event::{Chunk, DataFrame, DataKind};
use crate::mask::Mask;
use crate::message::{Message, MessageBuffer};
use crate::role::Role;
use crate::utf8::Utf8Validator;

/// Decompresses what a peer sends: takes the [`Chunk`]s of a [`Connection`], compressed or not, and
/// returns chunks that are not. It checks text, and limits the length, as it inflates.
///
/// `W` is the window, as for an [`Inflater`]. It may be empty if the peer does not take its context
/// over and messages go into a [`MessageBuffer`]: see [`MessageBuffer::push_inflated`].
///
/// Give the connection a [limit](crate::ConnectionConfig::max_message_len) of [`wire_limit`]: a message
/// may be longer compressed than inflated, and the limit also bounds the work for one that inflates to
/// nothing.
///
/// ```
/// use motews::deflate::{DeflateContext, Decompressor, wire_limit};
/// use motews::{ConnectionConfig, Connection, Event, Server};
///
/// let config = ConnectionConfig { max_message_len: wire_limit(4096), compression: true };
/// let mut connection: Connection<Server> = Connection::with_config(Server, config);
/// let mut decompressor = Decompressor::new([0; 1 << 15], DeflateContext::default(), 4096)?;
/// let mut buffer = [0; 256];
///
/// // "Hello", masked with a key of zeros
/// let mut input = *b"\xc1\x87\0\0\0\0\xf2\x48\xcd\xc9\xc9\x07\x00";
/// let mut input = &mut input[..];
/// while let Some(event) = connection.next_event(&mut input)? {
///     let Event::Data(mut chunk) = event else { continue };
///     while let Some(part) = decompressor.next(&mut chunk, &mut buffer)? {
///         assert_eq!((&*part.bytes, part.first, part.last), (&b"Hello"[..], true, true));
///     }
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Decompressor<W> {
    inflater: Inflater<W>,
    takeover: bool,
    max_message_len: u64,
    /// Bytes of the message so far.
    len: u64,
    utf8: Utf8Validator,
    /// No part of the message has been returned yet.
    first: bool,
}

impl<'a> Chunk<'a> {
    /// Makes a part of a compressed message whose bytes were moved, for an adapter that cannot inflate
    /// all of a chunk while it lies in the input. `first` and `last` are those of the chunk, until
    /// [`Decompressor::next`] has taken them.
    #[must_use]
    pub const fn compressed(kind: DataKind, bytes: &'a mut [u8], first: bool, last: bool) -> Self {
        Self {
            kind,
            bytes,
            first,
            last,
            compressed: true,
        }
    }
}

/// Returns the limit for messages on the wire that goes with this limit for inflated ones, in bytes:
/// twice as much, and 64.
///
/// What cannot be compressed grows: by less than a twentieth if a [`Deflater`] wrote it, by an eighth in
/// the fixed codes of RFC 1951, by 5 bytes each time that its sender flushes. A peer that flushes more
/// often than every 8 bytes needs a greater limit.
#[must_use]
pub const fn wire_limit(max_message_len: u64) -> u64 {
    max_message_len.saturating_mul(2).saturating_add(64)
}

impl<W: AsRef<[u8]> + AsMut<[u8]>> Decompressor<W> {
    /// Makes one for a peer that compresses like `peer`. `max_message_len` is the longest inflated
    /// message, in bytes.
    ///
    /// # Errors
    /// [`NoRoom`] if `window` is shorter than the peer's; it may be empty if the peer does not take its
    /// context over.
    pub fn new(window: W, peer: DeflateContext, max_message_len: u64) -> Result<Self, NoRoom> {
        if peer.takeover && window.as_ref().is_empty() {
            return Err(NoRoom);
        }
        Ok(Self {
            inflater: Inflater::new(window, peer.window_bits)?,
            takeover: peer.takeover,
            max_message_len,
            len: 0,
            utf8: Utf8Validator::new(),
            first: false,
        })
    }

    /// Takes the next part out of `chunk`, and returns it inflated, in `out`; or as it is, if it is not
    /// compressed. Returns `None` if there is no more. `out` must not be empty; and without a window, a
    /// compressed message must be one chunk and fit into it.
    ///
    /// # Errors
    /// [`ProtocolViolation::Compression`], [`ProtocolViolation::InvalidUtf8`] or
    /// [`ProtocolViolation::MessageTooBig`]: give it to [`Connection::fail`].
    // [PD15] [PD19] [PD22] [PD27]
    pub fn next<'a>(
        &mut self,
        chunk: &'a mut Chunk<'_>,
        out: &'a mut [u8],
    ) -> Result<Option<Chunk<'a>>, ProtocolViolation> {
        let kind = chunk.kind;
        if !chunk.compressed {
            // RFC 7692 §7.2.2: what is not compressed leaves the window as it is [PD23]
            let first = core::mem::take(&mut chunk.first);
            let last = core::mem::take(&mut chunk.last);
            let bytes = core::mem::take(&mut chunk.bytes);
            if bytes.is_empty() && !first && !last {
                return Ok(None);
            }
            self.count(first, bytes)?;
            return Ok(Some(Chunk {
                kind,
                bytes,
                first,
                last,
                compressed: false,
            }));
        }
        let mut filled = 0;
        let inflated = self.inflate(chunk, out, &mut filled)?;
        let last = inflated == Inflated::All && core::mem::take(&mut chunk.last);
        if filled == 0 && !last {
            return match inflated {
                Inflated::All => Ok(None),
                Inflated::Full => Err(ProtocolViolation::MessageTooBig),
            };
        }
        Ok(Some(Chunk {
            kind,
            bytes: out.get_mut(..filled).unwrap_or_default(),
            first: core::mem::take(&mut self.first),
            last,
            compressed: false,
        }))
    }

    /// Begins anew in the same memory, for the next connection, whose peer compresses like `peer`.
    ///
    /// # Errors
    /// As [`new`](Self::new); nothing has changed then.
    pub fn reset_with(&mut self, peer: DeflateContext) -> Result<(), NoRoom> {
        if peer.takeover && self.inflater.has_no_window() {
            return Err(NoRoom);
        }
        self.inflater.reset_with(peer.window_bits)?;
        self.takeover = peer.takeover;
        (self.len, self.first) = (0, false);
        self.utf8 = Utf8Validator::new();
        Ok(())
    }

    /// Sets the longest inflated message, in bytes. A message of which more was inflated already fails
    /// with what follows.
    pub const fn set_max_message_len(&mut self, max_message_len: u64) {
        self.max_message_len = max_message_len;
    }

    /// Counts a part of a message that is not compressed.
    const fn count(&mut self, first: bool, bytes: &[u8]) -> Result<(), ProtocolViolation> {
        let before = if first { 0 } else { self.len };
        self.len = before.saturating_add(bytes.len() as u64);
        match self.len > self.max_message_len {
            true => Err(ProtocolViolation::MessageTooBig),
            false => Ok(()),
        }
    }

    /// Inflates what there is room for into `out`, from `*filled` on, and checks it. With
    /// [`Inflated::All`], the message has ended if the chunk is its last.
    fn inflate(
        &mut self,
        chunk: &mut Chunk<'_>,
        out: &mut [u8],
        filled: &mut usize,
    ) -> Result<Inflated, ProtocolViolation> {
        if core::mem::take(&mut chunk.first) {
            self.first = true;
            self.len = 0;
            self.utf8 = Utf8Validator::new();
            // RFC 7692 §7.1.1 [PD05] [PD08]
            if !self.takeover {
                self.inflater.reset();
            }
        }
        let bytes = core::mem::take(&mut chunk.bytes);
        let mut input = &*bytes;
        let start = *filled;
        // RFC 7692 §8, RFC 6455 §10.4: a small message may inflate to any length [PD27]
        let left = self.max_message_len.saturating_sub(self.len);
        let room = usize::try_from(left).unwrap_or(usize::MAX);
        let end = out.len().min(start.saturating_add(room));
        let limited = out.get_mut(..end).unwrap_or_default();
        let result = self.inflater.inflate(&mut input, limited, filled);
        let taken = bytes.len().saturating_sub(input.len());
        chunk.bytes = bytes.get_mut(taken..).unwrap_or_default();

        let new = out.get(start..*filled).unwrap_or_default();
        self.len = self.len.saturating_add(new.len() as u64);
        // RFC 6455 §8.1: the text is what comes out [PD27]
        let is_text = chunk.kind == DataKind::Text;
        if is_text && self.utf8.validate(new).is_err() {
            return Err(ProtocolViolation::InvalidUtf8);
        }
        // [PD26]
        let Ok(inflated) = result else {
            return Err(ProtocolViolation::Compression);
        };
        match inflated {
            Inflated::Full if self.len >= self.max_message_len => {
                return Err(ProtocolViolation::MessageTooBig);
            }
            Inflated::All if chunk.last => {
                // [PD28]
                if self.inflater.finish().is_err() {
                    return Err(ProtocolViolation::Compression);
                }
                if is_text && !self.utf8.is_complete() {
                    return Err(ProtocolViolation::InvalidUtf8);
                }
            }
            _ => {}
        }
        Ok(inflated)
    }
}

impl<B: AsRef<[u8]> + AsMut<[u8]>> MessageBuffer<B> {
    /// Appends the next chunk, inflated if it is compressed. Returns the message if it is whole now. This
    /// buffer serves as the window: the decompressor needs one of its own only if the peer takes its
    /// context over.
    ///
    /// # Errors
    /// [`ProtocolViolation::Compression`], [`ProtocolViolation::InvalidUtf8`], or
    /// [`ProtocolViolation::MessageTooBig`] if the message is longer than the buffer, or than the
    /// decompressor's limit: give it to [`Connection::fail`].
    pub fn push_inflated<'a, W: AsRef<[u8]> + AsMut<[u8]>>(
        &'a mut self,
        mut chunk: Chunk<'a>,
        decompressor: &mut Decompressor<W>,
    ) -> Result<Option<Message<'a>>, ProtocolViolation> {
        if !chunk.compressed {
            decompressor.count(chunk.first, chunk.bytes)?;
            return Ok(self.push(chunk)?);
        }
        let kind = chunk.kind;
        let begins = chunk.first;
        let last = chunk.last;
        let (buffer, len) = self.parts(begins);
        let inflated = decompressor.inflate(&mut chunk, buffer, len)?;
        decompressor.first = false;
        match inflated {
            Inflated::Full => Err(ProtocolViolation::MessageTooBig),
            Inflated::All if last => Ok(Some(Message::new(kind, self.take())?)),
            Inflated::All => Ok(None),
        }
    }
}

/// Compresses messages as was agreed with the peer (RFC 7692 §7.2.1).
///
/// `M` is the memory, as for a [`Deflater`].
///
/// Do not compress secrets together with what an attacker may choose: the length shows whether they are
/// alike (CRIME, BREACH; RFC 7692 §8). Send such a message with [`Connection::send`]; both kinds may be
/// mixed.
///
/// ```
/// use motews::deflate::{Compressor, DeflateContext, Level};
/// use motews::{ConnectionConfig, Connection, DataKind, Server};
///
/// let config = ConnectionConfig { compression: true, ..ConnectionConfig::default() };
/// let mut connection: Connection<Server> = Connection::with_config(Server, config);
/// let mut compressor = Compressor::new(vec![0; 100_000], DeflateContext::default(), Level::Default)?;
///
/// let mut out = [0; 16];
/// let sent = compressor.send_fragment(&mut connection, DataKind::Text, b"Hello", true, &mut out)?;
/// assert!(sent.done);
/// assert_eq!(out[..sent.written], *b"\xc1\x07\xf2\x48\xcd\xc9\xc9\x07\x00");
/// assert_eq!(sent.compressed, 7);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
// [PD30]
#[derive(Clone, Debug)]
pub struct Compressor<M> {
    deflater: Deflater<M>,
    takeover: bool,
}

/// What [`Compressor::send_fragment`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompressedSent {
    /// Bytes of payload that were taken.
    pub consumed: usize,
    /// Bytes of output that the frame fills. 0: there is no frame yet.
    pub written: usize,
    /// Bytes of these that are the frame's payload; the others are its header.
    pub compressed: usize,
    /// All of the payload was taken, and, if it was the end of the message, is in frames. If not,
    /// call again with the rest of it.
    pub done: bool,
}

impl<M: AsMut<[u8]>> Compressor<M> {
    /// Makes one for a side that was agreed to compress like `own`.
    ///
    /// # Errors
    /// [`NoRoom`] if `memory` is shorter than [`Deflater::min_memory`].
    pub fn new(memory: M, own: DeflateContext, level: Level) -> Result<Self, NoRoom> {
        Ok(Self {
            deflater: Deflater::new(memory, own.window_bits, level)?,
            takeover: own.takeover,
        })
    }

    /// Compresses a part of a message into the payload of its frames, as [`Deflater::deflate`] does.
    /// For an adapter that writes the frames itself, with [`Connection::start_frame`].
    // RFC 7692 §7.1.1 [PD05] [PD07]
    pub fn compress(
        &mut self,
        payload: &mut &[u8],
        fin: bool,
        out: &mut [u8],
        filled: &mut usize,
    ) -> Deflated {
        let done = self.deflater.deflate(payload, fin, out, filled);
        if fin && done == Deflated::All && !self.takeover {
            self.deflater.reset();
        }
        done
    }

    /// Begins anew in the same memory, for the next connection, in which this side compresses like
    /// `own`.
    ///
    /// # Errors
    /// As [`new`](Self::new); nothing has changed then.
    pub fn reset_with(&mut self, own: DeflateContext) -> Result<(), NoRoom> {
        self.deflater.reset_with(own.window_bits)?;
        self.takeover = own.takeover;
        Ok(())
    }

    /// Makes the next message refer to nothing before it. Call it, between messages, if the peer was sent
    /// a message that something else has compressed, as in a broadcast: its window has changed.
    pub const fn reset(&mut self) {
        self.deflater.reset();
    }

    /// Writes the next frame of a compressed message to the start of `out`. What there is no room for,
    /// and what waits to be compressed with more, goes into the next one. With `fin`, the message ends
    /// with `payload`.
    ///
    /// # Errors
    /// As [`Connection::start_frame`], and [`SendError::NoRoom`] if `out` has no room for a header and one
    /// byte; nothing has changed then.
    // [PD13] [PD14] [PD17] [PD22]
    pub fn send_fragment<R: Role, C: ControlStorage>(
        &mut self,
        connection: &mut Connection<R, C>,
        kind: DataKind,
        payload: &[u8],
        fin: bool,
        out: &mut [u8],
    ) -> Result<CompressedSent, SendError> {
        let room = payload_room::<R>(out.len());
        if room == 0 {
            return Err(SendError::NoRoom);
        }
        let before = connection.outgoing();
        let mut header = connection.start_frame(DataFrame {
            kind,
            fin: false,
            compressed: true,
            payload_len: room as u64,
        })?;
        // The payload is written where it will be if it fills all the room.
        let start = header.wire_len();
        let mut end = start;
        let mut rest = payload;
        let all = out.get_mut(..start.saturating_add(room));
        let done = self.compress(&mut rest, fin, all.unwrap_or_default(), &mut end);
        let done = done == Deflated::All;
        let consumed = payload.len().saturating_sub(rest.len());
        let len = end.saturating_sub(start);
        if len == 0 {
            connection.set_outgoing(before);
            return Ok(CompressedSent {
                consumed,
                written: 0,
                compressed: 0,
                done,
            });
        }
        header.payload_len = len as u64;
        header.fin = fin && done;
        if header.fin {
            connection.set_outgoing(None);
        }
        let header_len = header.wire_len();
        let written = header_len.saturating_add(len);
        let cells = Cell::from_mut(&mut *out).as_slice_of_cells();
        let from = cells.get(start..end).unwrap_or_default();
        let to = cells.get(header_len..written).unwrap_or_default();
        for (to, from) in to.iter().zip(from) {
            to.set(from.get());
        }
        let frame = out.get_mut(..written).unwrap_or_default();
        header.emit(frame)?;
        if let Some(key) = header.mask {
            // RFC 6455 §5.1: a client masks each frame [FR01]
            Mask::new(key).apply(frame.get_mut(header_len..).unwrap_or_default());
        }
        Ok(CompressedSent {
            consumed,
            written,
            compressed: len,
            done,
        })
    }
}
