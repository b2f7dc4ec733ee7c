//! permessage-deflate at both ends of the engine: what [`Memory`] does as an extension.

use core::fmt;

use motews::deflate::{Compressor, Decompressor, DeflateConfig, DeflateContext, DeflateParams};
use motews::handshake::{Agreed, Offers};
use motews::{
    Chunk, DataKind, Event, FrameHeader, Message, MessageBuffer, ProtocolViolation, Role,
    SendError, Session, State, Step, Window,
};

use crate::config::BufferTooSmall;
use crate::deflate::Memory;
use crate::extension::{Fragment, NoExtension, receive, sealed, send_plain};

/// Without context takeover, a message shorter than this does not get shorter, in octets.
const WORTH_IT: usize = 40;

/// What inflates, and how far it is with a chunk.
#[expect(unnameable_types, reason = "the inside of a sealed trait")]
pub struct Incoming<W, P> {
    decompressor: Decompressor<W>,
    parts: P,
    has_window: bool,
    is_agreed: bool,
    /// Messages are received in parts now.
    in_parts: bool,
    /// Something was left out, so that what follows cannot be inflated.
    is_deaf: bool,
    held: Option<Held>,
}

/// A chunk, or what is left of it: at the start of what is unread in the receive window. It may be
/// empty, and something still to come of it.
#[expect(unnameable_types, reason = "the inside of a sealed trait")]
#[derive(Clone, Copy, Debug)]
pub struct Held {
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

/// What was found in the receive window.
#[expect(unnameable_types, reason = "the inside of a sealed trait")]
pub enum Found {
    /// Nothing to do with compression.
    Step(Step),
    /// A chunk, for a message that is received whole.
    Held(Held),
    /// A part of a message, in the receive window.
    Plain(Held),
    /// A part of a message, inflated.
    Inflated(Held),
}

impl<W, P> fmt::Debug for Incoming<W, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Incoming")
            .field("is_agreed", &self.is_agreed)
            .field("held", &self.held)
            .finish_non_exhaustive()
    }
}

impl<W, P> Incoming<W, P>
where
    W: AsRef<[u8]> + AsMut<[u8]>,
    P: AsRef<[u8]> + AsMut<[u8]>,
{
    pub(crate) const fn new(decompressor: Decompressor<W>, parts: P, has_window: bool) -> Self {
        Self {
            decompressor,
            parts,
            has_window,
            is_agreed: false,
            in_parts: false,
            is_deaf: false,
            held: None,
        }
    }

    /// Holds the chunk that a step has found.
    fn hold<Rx: AsRef<[u8]> + AsMut<[u8]>>(
        &mut self,
        step: Step,
        rx: &mut Window<Rx>,
    ) -> Option<Held> {
        let start = step.start();
        let chunk = step.chunk(rx.unread())?;
        let held = Held {
            kind: chunk.kind,
            len: chunk.bytes.len(),
            first: chunk.first,
            last: chunk.last,
            compressed: chunk.compressed,
        };
        rx.take(start);
        self.held = Some(held);
        self.held
    }

    /// The next part of the held chunk; `None`: there is no more.
    fn part<Rx: AsRef<[u8]> + AsMut<[u8]>>(
        &mut self,
        held: Held,
        rx: &mut Window<Rx>,
    ) -> Result<Option<Found>, ProtocolViolation> {
        self.held = None;
        let bytes = rx.unread().get_mut(..held.len).unwrap_or_default();
        let mut chunk = held.chunk(bytes);
        let next = self.decompressor.next(&mut chunk, self.parts.as_mut())?;
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
        rx.take(held.len.saturating_sub(left.len));
        let ended = part.is_none_or(|part| part.last);
        self.held = (!ended).then_some(left);
        Ok(part.map(Found::Inflated))
    }
}

/// What compresses.
#[expect(unnameable_types, reason = "the inside of a sealed trait")]
pub struct Outgoing<D> {
    compressor: Compressor<D>,
    config: DeflateConfig,
    /// What there is memory for to receive.
    memory: DeflateContext,
    /// What was agreed upon.
    agreed: Option<DeflateParams>,
    sending: Sending,
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

impl<D> fmt::Debug for Outgoing<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outgoing")
            .field("config", &self.config)
            .field("agreed", &self.agreed)
            .field("sending", &self.sending)
            .finish_non_exhaustive()
    }
}

impl<D> Outgoing<D> {
    pub(crate) const fn new(
        compressor: Compressor<D>,
        config: DeflateConfig,
        memory: DeflateContext,
    ) -> Self {
        Self {
            compressor,
            config,
            memory,
            agreed: None,
            sending: Sending::Nothing,
        }
    }

    pub(crate) const fn agreed(&self) -> Option<DeflateParams> {
        self.agreed
    }

    /// Whether a message of this length is compressed that begins now.
    // RFC 7692 §6.1: any message may be sent uncompressed [PD15]
    const fn compresses(&self, wanted: bool, len: usize) -> bool {
        match self.agreed() {
            Some(agreed) => wanted && (agreed.send.takeover || len >= WORTH_IT),
            None => false,
        }
    }
}

/// The most octets that a frame takes whose payload is so long before it is compressed.
const fn most(len: usize) -> usize {
    // What does not get shorter is stored in blocks of 45 octets or more, each with 5 octets and 2
    // bits more, or with the fixed codes where these take less.
    len.saturating_add(len / 8)
        .saturating_add(16 + FrameHeader::MAX_LEN)
}

impl<W, D, P> sealed::Extension for Memory<W, D, P>
where
    W: AsRef<[u8]> + AsMut<[u8]>,
    D: AsMut<[u8]>,
    P: AsRef<[u8]> + AsMut<[u8]>,
{
    type Incoming = Incoming<W, P>;
    type Outgoing = Outgoing<D>;
    type Found = Found;

    // ---- the opening handshake ----

    fn offers<'a>(outgoing: &Outgoing<D>, offers: Offers<'a>) -> Offers<'a> {
        let offers = offers.deflate(outgoing.config);
        offers.deflate_memory(outgoing.memory)
    }

    fn open(
        incoming: &mut Incoming<W, P>,
        outgoing: &mut Outgoing<D>,
        agreed: &Agreed,
        max_message_len: u64,
    ) {
        // It is no more than there is memory for.
        if let Some(params) = agreed.deflate
            && incoming.decompressor.reset_with(params.receive).is_ok()
            && outgoing.compressor.reset_with(params.send).is_ok()
        {
            incoming.decompressor.set_max_message_len(max_message_len);
            incoming.is_agreed = true;
            outgoing.agreed = Some(params);
        }
    }

    // ---- receive ----

    fn begin(incoming: &mut Incoming<W, P>, parts: bool) -> Result<(), BufferTooSmall> {
        incoming.in_parts = parts;
        let has_room = incoming.has_window && !incoming.parts.as_ref().is_empty();
        match parts && incoming.is_agreed && !has_room {
            true => Err(BufferTooSmall),
            false => Ok(()),
        }
    }

    fn receive<R: Role, Rx: AsRef<[u8]> + AsMut<[u8]>>(
        incoming: &mut Incoming<W, P>,
        session: &mut Session<R>,
        rx: &mut Window<Rx>,
    ) -> Option<Found> {
        loop {
            let held = match incoming.held {
                Some(held) if session.connection().violation().is_none() => held,
                _ => {
                    incoming.held = None;
                    let step = receive(session, rx)?;
                    if !incoming.is_agreed || !step.is_chunk() {
                        return Some(Found::Step(step));
                    }
                    incoming.hold(step, rx)?
                }
            };
            if incoming.is_deaf {
                incoming.held = None;
                rx.take(held.len);
            } else if incoming.in_parts {
                match incoming.part(held, rx) {
                    Ok(Some(found)) => return Some(found),
                    Ok(None) => {}
                    Err(violation) => {
                        // [PD26] [PD27]
                        session.fail(violation);
                        rx.take(usize::MAX);
                        return None;
                    }
                }
            } else {
                return Some(Found::Held(held));
            }
        }
    }

    fn is_chunk(found: &Found) -> bool {
        match found {
            Found::Step(step) => step.is_chunk(),
            _ => true,
        }
    }

    fn ends_message(found: &Found) -> bool {
        match found {
            Found::Step(step) => step.ends_message(),
            Found::Held(part) => part.last,
            Found::Plain(_) | Found::Inflated(_) => false, // Of interest for whole messages only.
        }
    }

    fn discard<Rx: AsRef<[u8]> + AsMut<[u8]>>(
        incoming: &mut Incoming<W, P>,
        found: Found,
        rx: &mut Window<Rx>,
    ) {
        match found {
            Found::Step(step) => _ = rx.take(step.consumed()),
            Found::Held(part) => {
                Self::discard_all(incoming);
                rx.take(part.len);
            }
            // A part is given to the caller.
            Found::Plain(_) | Found::Inflated(_) => {}
        }
    }

    fn discard_all(incoming: &mut Incoming<W, P>) {
        incoming.held = None;
        incoming.is_deaf = incoming.is_agreed;
    }

    fn lend<'s, R: Role, Rx: AsRef<[u8]> + AsMut<[u8]>>(
        incoming: &'s mut Incoming<W, P>,
        session: &mut Session<R>,
        found: Found,
        rx: &'s mut Window<Rx>,
    ) -> Option<Event<'s>> {
        let (part, bytes) = match found {
            Found::Step(step) => return session.resolve(step, rx.take(step.consumed())),
            Found::Held(_) => return None, // Messages are received in parts now.
            Found::Plain(part) => (part, rx.take(part.len)),
            Found::Inflated(part) => (part, incoming.parts.as_mut()),
        };
        let bytes = bytes.get_mut(..part.len).unwrap_or_default();
        Some(Event::Data(part.chunk(bytes)))
    }

    fn push<'s, Rx, B>(
        incoming: &mut Incoming<W, P>,
        found: Found,
        rx: &'s mut Window<Rx>,
        messages: &'s mut MessageBuffer<B>,
    ) -> Result<Option<Message<'s>>, ProtocolViolation>
    where
        Rx: AsRef<[u8]> + AsMut<[u8]>,
        B: AsRef<[u8]> + AsMut<[u8]>,
    {
        match found {
            Found::Step(step) => NoExtension::push(&mut (), step, rx, messages),
            Found::Held(part) => {
                incoming.held = None;
                let chunk = part.chunk(rx.take(part.len));
                // [FR17] [PD26] [PD27]
                messages.push_inflated(chunk, &mut incoming.decompressor)
            }
            // Messages are not received in parts now.
            Found::Plain(_) | Found::Inflated(_) => Ok(None),
        }
    }

    // ---- send ----

    fn send<R: Role>(
        outgoing: &mut Outgoing<D>,
        session: &mut Session<R>,
        message: Message<'_>,
        compress: bool,
        out: &mut [u8],
        whole: bool,
    ) -> Result<usize, SendError> {
        // RFC 6455 §5.4: fragments of two messages are not mixed [MS07]
        if outgoing.sending != Sending::Nothing && session.connection().state() == State::Open {
            return Err(SendError::MessageInProgress);
        }
        let payload = message.as_bytes();
        let most = most(payload.len());
        if !outgoing.compresses(compress, payload.len()) || (whole && most > out.len()) {
            return session.send(message, out); // [PD15]
        }
        if most > out.len() {
            return Err(SendError::NoRoom);
        }
        let kind = message.kind();
        let compressor = &mut outgoing.compressor;
        let sent = compressor.send_fragment(session.connection_mut(), kind, payload, true, out)?;
        if !sent.done {
            outgoing.sending = Sending::Ending(kind); // There was room for all.
        }
        Ok(sent.written)
    }

    fn send_fragment<R: Role>(
        outgoing: &mut Outgoing<D>,
        session: &mut Session<R>,
        fragment: Fragment<'_>,
        out: &mut [u8],
    ) -> Result<(usize, usize), SendError> {
        let Fragment {
            kind,
            payload,
            fin,
            compress,
        } = fragment;
        let compressed = match outgoing.sending {
            Sending::Nothing if fin => outgoing.compresses(compress, payload.len()),
            Sending::Nothing => outgoing.compresses(compress, usize::MAX),
            Sending::Plain => false,
            Sending::Compressed(begun) if begun == kind => true,
            // What is ending has gone out before.
            Sending::Compressed(_) | Sending::Ending(_) => {
                return Err(SendError::MessageInProgress);
            }
        };
        if !compressed {
            let (consumed, written) = send_plain(session, fragment, out)?;
            outgoing.sending = match fin && consumed == payload.len() {
                true => Sending::Nothing,
                false => Sending::Plain,
            };
            return Ok((consumed, written));
        }
        let compressor = &mut outgoing.compressor;
        let sent = compressor.send_fragment(session.connection_mut(), kind, payload, fin, out)?;
        outgoing.sending = if !fin || sent.consumed < payload.len() {
            Sending::Compressed(kind)
        } else if sent.done {
            Sending::Nothing
        } else {
            Sending::Ending(kind)
        };
        Ok((sent.consumed, sent.written))
    }

    fn is_ending(outgoing: &Outgoing<D>) -> bool {
        matches!(outgoing.sending, Sending::Ending(_))
    }

    fn end<R: Role>(
        outgoing: &mut Outgoing<D>,
        session: &mut Session<R>,
        out: &mut [u8],
    ) -> Result<usize, SendError> {
        let Sending::Ending(kind) = outgoing.sending else {
            return Ok(0);
        };
        let compressor = &mut outgoing.compressor;
        match compressor.send_fragment(session.connection_mut(), kind, &[], true, out) {
            Ok(sent) => {
                if sent.done {
                    outgoing.sending = Sending::Nothing;
                }
                Ok(sent.written)
            }
            Err(error @ (SendError::NoRoom | SendError::Entropy)) => Err(error),
            Err(_) => {
                // There was a Close in between. Nothing is sent after it.
                outgoing.sending = Sending::Nothing;
                Ok(0)
            }
        }
    }
}
