//! permessage-deflate at both ends of the engine: what is received and sent where the crate has
//! compression, agreed on or not. `plain` has the same without it.

use core::{fmt, mem};

use motews::deflate::{
    Compressor, Decompressor, DeflateConfig, DeflateContext, DeflateParams, Level, WindowBits,
};
use motews::handshake::{Agreed, Offers};
use motews::{
    Chunk, DataKind, Event, FrameHeader, Message, MessageBuffer, NoRoom, ProtocolViolation, Role,
    SendError, Session, State, Step, Window,
};

use crate::messages::{self, Fragment};

/// Without context takeover, a message shorter than this does not get shorter, in bytes.
const WORTH_IT: usize = 40;

/// The memory for compression. See [the module](crate::deflate) for how much.
#[derive(Debug)]
pub struct Memory<'a> {
    /// What was received before, to which the peer may refer back.
    pub window: &'a mut [u8],
    /// For what is sent: the text of before, an index of it, and the block that is made.
    pub deflater: &'a mut [u8],
    /// Where a part of a message is inflated for `next_event` and `next_chunk`.
    pub parts: &'a mut [u8],
}

/// The compression of one connection, in the caller's memory: see [the module](crate::deflate).
///
/// It is lent to one WebSocket for good. For the next connection make a new one in the same memory.
#[derive(Debug)]
pub struct Deflate<'a> {
    pub(crate) inflating: Inflating<'a>,
    pub(crate) deflating: Deflating<'a>,
}

impl<'a> Deflate<'a> {
    /// Compression as `config` wants it at most, with `level` for what is sent.
    ///
    /// # Errors
    /// [`NoRoom`] if the memory is less than `config` may need.
    pub fn new(config: DeflateConfig, level: Level, memory: Memory<'a>) -> Result<Self, NoRoom> {
        let Memory {
            window,
            deflater,
            parts,
        } = memory;
        // A server may agree to more than it is asked for.
        let bits = window.len().checked_ilog2().unwrap_or(0).min(15);
        let most = match WindowBits::new(bits as u8) {
            Some(window_bits) => DeflateContext {
                window_bits,
                takeover: true,
            },
            None => config.receive,
        };
        Ok(Self {
            inflating: Inflating {
                window: Window::new(&mut []),
                has_room: !window.is_empty() && !parts.is_empty(),
                decompressor: Decompressor::new(window, config.receive, u64::MAX)?,
                parts,
                is_agreed: false,
                in_parts: false,
                discarding: false,
                held: None,
            },
            deflating: Deflating {
                window: Window::new(&mut []),
                compressor: Compressor::new(deflater, config.send, level)?,
                config,
                most,
                agreed: None,
                sending: Sending::Nothing,
            },
        })
    }
}

/// What inflates, and how far it is with a chunk.
pub(crate) struct Inflating<'a> {
    /// The receive buffer: here, so that an [`Input`] is no larger than without compression.
    window: Bytes<'a>,
    decompressor: Decompressor<&'a mut [u8]>,
    parts: &'a mut [u8],
    /// Messages can be inflated in parts.
    has_room: bool,
    is_agreed: bool,
    /// Messages are received in parts now.
    in_parts: bool,
    /// Something was left out, so that what follows cannot be inflated.
    discarding: bool,
    held: Option<Held>,
}

impl fmt::Debug for Inflating<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inflating")
            .field("is_agreed", &self.is_agreed)
            .field("held", &self.held)
            .finish_non_exhaustive()
    }
}

/// A chunk, or what is left of it: at the start of what is unread in the receive window. It may be
/// empty, and something still to come of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Held {
    kind: DataKind,
    len: usize,
    first: bool,
    last: bool,
    compressed: bool,
}

impl Held {
    const fn chunk(self, bytes: &mut [u8]) -> Chunk<'_> {
        let mut chunk = Chunk::compressed(self.kind, bytes, self.first, self.last);
        chunk.compressed = self.compressed;
        chunk
    }
}

/// An event.
#[derive(Debug)]
pub(crate) enum Found {
    /// Nothing to do with compression: in the receive window.
    Step(Step),
    /// A chunk, for a message that is received whole.
    Held(Held),
    /// A part of a message, in the receive window.
    Plain(Held),
    /// A part of a message, inflated.
    Inflated(Held),
}

impl Found {
    pub(crate) const fn is_chunk(&self) -> bool {
        match self {
            Self::Step(step) => step.is_chunk(),
            _ => true,
        }
    }

    pub(crate) const fn ends_message(&self) -> bool {
        match self {
            Self::Step(step) => step.ends_message(),
            Self::Held(part) => part.last,
            Self::Plain(_) | Self::Inflated(_) => false, // Of interest for whole messages only.
        }
    }
}

type Bytes<'a> = Window<&'a mut [u8]>;

impl Inflating<'_> {
    /// Holds the chunk that a step has found.
    fn hold(&mut self, step: Step) -> Option<Held> {
        let start = step.start();
        let chunk = step.chunk(self.window.unread())?;
        let held = Held {
            kind: chunk.kind,
            len: chunk.bytes.len(),
            first: chunk.first,
            last: chunk.last,
            compressed: chunk.compressed,
        };
        self.window.take(start);
        self.held = Some(held);
        self.held
    }

    /// The next event.
    fn receive<R: Role>(&mut self, session: &mut Session<R>) -> Option<Found> {
        loop {
            let held = match self.held {
                Some(held) if session.connection().violation().is_none() => held,
                _ => {
                    self.held = None;
                    let step = messages::receive(session, &mut self.window)?;
                    if !self.is_agreed || !step.is_chunk() {
                        return Some(Found::Step(step));
                    }
                    self.hold(step)?
                }
            };
            if self.discarding {
                self.held = None;
                self.window.take(held.len);
            } else if self.in_parts {
                match self.part(held) {
                    Ok(Some(found)) => return Some(found),
                    Ok(None) => {}
                    Err(violation) => {
                        // [PD26] [PD27]
                        session.fail(violation);
                        self.window.take(usize::MAX);
                        return None;
                    }
                }
            } else {
                return Some(Found::Held(held));
            }
        }
    }

    /// The next part of the held chunk; `None`: there is no more.
    fn part(&mut self, held: Held) -> Result<Option<Found>, ProtocolViolation> {
        self.held = None;
        let bytes = self.window.unread().get_mut(..held.len).unwrap_or_default();
        let mut chunk = held.chunk(bytes);
        let next = self.decompressor.next(&mut chunk, self.parts)?;
        let part = next.map(|part| Held {
            kind: part.kind,
            len: part.bytes.len(),
            first: part.first,
            last: part.last,
            compressed: false,
        });
        if !held.compressed {
            return Ok(part.map(Found::Plain));
        }
        let left = Held {
            len: chunk.bytes.len(),
            first: chunk.first,
            last: chunk.last,
            ..held
        };
        self.window.take(held.len.saturating_sub(left.len));
        let ended = part.is_none_or(|part| part.last);
        self.held = (!ended).then_some(left);
        Ok(part.map(Found::Inflated))
    }
}

/// The receive buffer, and what inflates.
#[derive(Debug)]
pub(crate) enum Input<'a> {
    Plain(Bytes<'a>),
    Inflating(&'a mut Inflating<'a>),
}

impl<'a> Input<'a> {
    pub(crate) const fn new(buffer: &'a mut [u8]) -> Self {
        Self::Plain(Window::new(buffer))
    }

    /// The same with compression.
    pub(crate) fn inflate(&mut self, inflating: &'a mut Inflating<'a>) {
        inflating.window = mem::take(self.window());
        *self = Self::Inflating(inflating);
    }

    pub(crate) const fn window(&mut self) -> &mut Bytes<'a> {
        match self {
            Self::Plain(window) => window,
            Self::Inflating(inflating) => &mut inflating.window,
        }
    }

    /// The opening handshake is complete, and this agreed on.
    /// Returns whether that needs memory, and there is enough.
    pub(crate) fn open(&mut self, agreed: &Agreed) -> bool {
        if let Self::Inflating(inflating) = self
            && let Some(params) = agreed.deflate
            && inflating.decompressor.reset_with(params.receive).is_ok()
        {
            // That on the wire is twice as much, and 64: see `wire_limit`.
            let limit = agreed.config.max_message_len.saturating_sub(64) / 2;
            inflating.decompressor.set_max_message_len(limit);
            inflating.is_agreed = true;
            return true;
        }
        false
    }

    /// Nothing was received yet, over another connection.
    pub(crate) fn restart(&mut self) {
        self.window().take(usize::MAX);
        if let Self::Inflating(inflating) = self {
            inflating.is_agreed = false;
            inflating.discarding = false;
            inflating.held = None;
        }
    }

    /// Messages are received in parts from now on, or whole.
    pub(crate) const fn begin(&mut self, parts: bool) -> Result<(), NoRoom> {
        if let Self::Inflating(inflating) = self {
            inflating.in_parts = parts;
            if parts && inflating.is_agreed && !inflating.has_room {
                return Err(NoRoom);
            }
        }
        Ok(())
    }

    /// The next event; if there is none, the window is empty.
    pub(crate) fn receive<R: Role>(&mut self, session: &mut Session<R>) -> Option<Found> {
        match self {
            Self::Plain(window) => messages::receive(session, window).map(Found::Step),
            Self::Inflating(inflating) => inflating.receive(session),
        }
    }

    pub(crate) fn discard(&mut self, found: Found) {
        match found {
            Found::Step(step) => _ = self.window().take(step.consumed()),
            Found::Held(part) => {
                self.stop_inflating();
                self.window().take(part.len);
            }
            // A part is given to the caller.
            Found::Plain(_) | Found::Inflated(_) => {}
        }
    }

    /// Drops all that was received, and whatever follows.
    pub(crate) fn discard_all(&mut self) {
        self.window().take(usize::MAX);
        self.stop_inflating();
    }

    /// Whatever is received is of no interest any more.
    const fn stop_inflating(&mut self) {
        if let Self::Inflating(inflating) = self {
            inflating.held = None;
            inflating.discarding = inflating.is_agreed;
        }
    }

    pub(crate) fn lend<'s, R: Role>(
        &'s mut self,
        session: &mut Session<R>,
        found: Found,
    ) -> Option<Event<'s>> {
        match found {
            Found::Step(step) => session.resolve(step, self.window().take(step.consumed())),
            found => self.chunk(found).map(Event::Data),
        }
    }

    /// A part of a message.
    pub(crate) fn chunk(&mut self, found: Found) -> Option<Chunk<'_>> {
        let (part, bytes) = match (found, self) {
            (Found::Step(step), input) => {
                return step.chunk(input.window().take(step.consumed()));
            }
            (Found::Plain(part), input) => (part, input.window().take(part.len)),
            (Found::Inflated(part), Self::Inflating(inflating)) => (part, &mut *inflating.parts),
            _ => return None, // Messages are received in parts now.
        };
        Some(part.chunk(bytes.get_mut(..part.len).unwrap_or_default()))
    }

    /// Appends it to a message that is received whole.
    pub(crate) fn push<'s, B: AsRef<[u8]> + AsMut<[u8]>>(
        &'s mut self,
        found: Found,
        messages: &'s mut MessageBuffer<B>,
    ) -> Result<Option<Message<'s>>, ProtocolViolation> {
        match (found, self) {
            (Found::Held(part), Self::Inflating(inflating)) => {
                inflating.held = None;
                let chunk = part.chunk(inflating.window.take(part.len));
                // [FR17] [PD26] [PD27]
                messages.push_inflated(chunk, &mut inflating.decompressor)
            }
            (found @ Found::Step(_), input) => match input.chunk(found) {
                Some(chunk) => Ok(messages.push(chunk)?),
                None => Ok(None),
            },
            _ => Ok(None), // Messages are not received in parts now.
        }
    }
}

/// What compresses.
pub(crate) struct Deflating<'a> {
    /// The transmit buffer: see [`Inflating::window`].
    window: Bytes<'a>,
    compressor: Compressor<&'a mut [u8]>,
    config: DeflateConfig,
    /// What there is memory for to receive.
    most: DeflateContext,
    agreed: Option<DeflateParams>,
    sending: Sending,
}

impl fmt::Debug for Deflating<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deflating")
            .field("config", &self.config)
            .field("agreed", &self.agreed)
            .field("sending", &self.sending)
            .finish_non_exhaustive()
    }
}

/// How the message is sent that has begun and not ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sending {
    /// There is none.
    Nothing,
    Plain,
    Compressed(DataKind),
    /// All of it was taken, but not all is in frames.
    Ending(DataKind),
}

/// The most bytes that a frame takes whose payload is so long before it is compressed.
const fn most(len: usize) -> usize {
    // What does not get shorter is stored in blocks of 45 bytes or more, each with 5 bytes and 2
    // bits more, or with the fixed codes where these take less.
    len.saturating_add(len / 8)
        .saturating_add(16 + FrameHeader::MAX_LEN)
}

/// Whether a message of this length is compressed that begins now.
// RFC 7692 §6.1: any message may be sent uncompressed [PD15]
const fn compresses(agreed: Option<DeflateParams>, wanted: bool, len: usize) -> bool {
    match agreed {
        Some(agreed) => wanted && (agreed.send.takeover || len >= WORTH_IT),
        None => false,
    }
}

impl Deflating<'_> {
    fn send<R: Role>(
        &mut self,
        session: &mut Session<R>,
        message: Message<'_>,
        compress: bool,
    ) -> Result<usize, SendError> {
        let whole = self.window.is_empty();
        let out = self.window.spare();
        // RFC 6455 §5.4: fragments of two messages are not mixed [MS07]
        if self.sending != Sending::Nothing && session.connection().state() == State::Open {
            return Err(SendError::MessageInProgress);
        }
        let payload = message.as_bytes();
        let fits = most(payload.len()) <= out.len();
        // There never is more room than in the whole buffer.
        if !compresses(self.agreed, compress, payload.len()) || (whole && !fits) {
            return session.send(message, out); // [PD15]
        }
        if !fits {
            return Err(SendError::NoRoom);
        }
        let fragment = Fragment::new(message.kind(), payload, true, true);
        // There is room for all.
        Ok(self.compress(session, fragment)?.1)
    }

    fn send_fragment<R: Role>(
        &mut self,
        session: &mut Session<R>,
        fragment: Fragment<'_>,
    ) -> Result<(usize, usize), SendError> {
        let Fragment {
            kind,
            payload,
            fin,
            compress,
        } = fragment;
        let compressed = match self.sending {
            Sending::Nothing if fin => compresses(self.agreed, compress, payload.len()),
            Sending::Nothing => compresses(self.agreed, compress, usize::MAX),
            Sending::Plain => false,
            Sending::Compressed(begun) if begun == kind => true,
            // What is ending has gone out before.
            Sending::Compressed(_) | Sending::Ending(_) => {
                return Err(SendError::MessageInProgress);
            }
        };
        if compressed {
            return self.compress(session, fragment);
        }
        let out = self.window.spare();
        let (consumed, written) = messages::send_fragment(session, fragment, out)?;
        self.sending = match fin && consumed == payload.len() {
            true => Sending::Nothing,
            false => Sending::Plain,
        };
        Ok((consumed, written))
    }

    /// Returns how many bytes were taken, and how many written.
    fn compress<R: Role>(
        &mut self,
        session: &mut Session<R>,
        fragment: Fragment<'_>,
    ) -> Result<(usize, usize), SendError> {
        let Fragment {
            kind, payload, fin, ..
        } = fragment;
        let (connection, out) = (session.connection_mut(), self.window.spare());
        let sent = (self.compressor).send_fragment(connection, kind, payload, fin, out)?;
        self.sending = if !fin || sent.consumed < payload.len() {
            Sending::Compressed(kind)
        } else if sent.done {
            Sending::Nothing
        } else {
            Sending::Ending(kind)
        };
        Ok((sent.consumed, sent.written))
    }

    fn end<R: Role>(
        &mut self,
        session: &mut Session<R>,
        kind: DataKind,
    ) -> Result<usize, SendError> {
        match self.compress(session, Fragment::new(kind, &[], true, true)) {
            Ok((_, written)) => Ok(written),
            Err(error @ (SendError::NoRoom | SendError::Entropy)) => Err(error),
            Err(_) => {
                // There was a Close in between. Nothing is sent after it.
                self.sending = Sending::Nothing;
                Ok(0)
            }
        }
    }
}

/// The transmit buffer, and what messages pass through on their way into it.
#[derive(Debug)]
pub(crate) enum Outgoing<'a> {
    Plain(Bytes<'a>),
    Deflating(&'a mut Deflating<'a>),
}

impl<'a> Outgoing<'a> {
    pub(crate) const fn new(buffer: &'a mut [u8]) -> Self {
        Self::Plain(Window::new(buffer))
    }

    /// The same with compression.
    pub(crate) fn deflate(&mut self, deflating: &'a mut Deflating<'a>) {
        deflating.window = mem::take(self.window());
        *self = Self::Deflating(deflating);
    }

    pub(crate) const fn window(&mut self) -> &mut Bytes<'a> {
        match self {
            Self::Plain(window) => window,
            Self::Deflating(deflating) => &mut deflating.window,
        }
    }

    /// How many bytes wait to be written.
    pub(crate) const fn len(&self) -> usize {
        match self {
            Self::Plain(window) => window.len(),
            Self::Deflating(deflating) => deflating.window.len(),
        }
    }

    /// Nothing was sent yet, over another connection.
    pub(crate) fn restart(&mut self) {
        self.window().take(usize::MAX);
        if let Self::Deflating(deflating) = self {
            deflating.agreed = None;
            deflating.sending = Sending::Nothing;
        }
    }

    /// What is offered, or accepted, beside these.
    pub(crate) fn offers<'o>(&self, offers: Offers<'o>) -> Offers<'o> {
        match self {
            Self::Plain(_) => offers,
            Self::Deflating(deflating) => {
                let offers = offers.deflate(deflating.config);
                offers.deflate_memory(deflating.most)
            }
        }
    }

    /// The opening handshake is complete, and this agreed on.
    pub(crate) fn open(&mut self, agreed: &Agreed) {
        if let Self::Deflating(deflating) = self
            && let Some(params) = agreed.deflate
            && deflating.compressor.reset_with(params.send).is_ok()
        {
            deflating.agreed = Some(params);
        }
    }

    /// Whether what was agreed on can be done.
    pub(crate) const fn is_open(&self, agreed: &Agreed) -> bool {
        self.agreed().is_some() == agreed.deflate.is_some()
    }

    pub(crate) const fn agreed(&self) -> Option<DeflateParams> {
        match self {
            Self::Plain(_) => None,
            Self::Deflating(deflating) => deflating.agreed,
        }
    }

    /// A message as one frame, compressed if it may be. Returns its length.
    pub(crate) fn send<R: Role>(
        &mut self,
        session: &mut Session<R>,
        message: Message<'_>,
        compress: bool,
    ) -> Result<usize, SendError> {
        match self {
            Self::Plain(window) => session.send(message, window.spare()),
            Self::Deflating(deflating) => deflating.send(session, message, compress),
        }
    }

    /// The next frame of a message. Returns how many bytes were taken, and how many written.
    pub(crate) fn send_fragment<R: Role>(
        &mut self,
        session: &mut Session<R>,
        fragment: Fragment<'_>,
    ) -> Result<(usize, usize), SendError> {
        match self {
            Self::Plain(window) => messages::send_fragment(session, fragment, window.spare()),
            Self::Deflating(deflating) => deflating.send_fragment(session, fragment),
        }
    }

    /// The kind of a message of which all was taken, and not all is in frames.
    const fn ending(&self) -> Option<DataKind> {
        match self {
            Self::Deflating(Deflating {
                sending: Sending::Ending(kind),
                ..
            }) => Some(*kind),
            _ => None,
        }
    }

    /// Whether the end of a message, of which all was taken, is still to be put into frames.
    pub(crate) const fn is_ending(&self) -> bool {
        self.ending().is_some()
    }

    /// The next frame of it. Returns its length.
    pub(crate) fn end<R: Role>(&mut self, session: &mut Session<R>) -> Result<usize, SendError> {
        match (self.ending(), self) {
            (Some(kind), Self::Deflating(deflating)) => deflating.end(session, kind),
            _ => Ok(0),
        }
    }
}
