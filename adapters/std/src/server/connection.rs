//! One connection of a loop: what its handler, the loop and other threads do with it.

use core::fmt;
use std::io;
use std::sync::Arc;

use motews::role::Server;
use motews::{
    Chunk, CloseCode, DataFrame, DataKind, FrameHeader, Message, Pace, ProtocolViolation, Session,
    State,
};

use super::context::Context;
use super::control::{OnDemand, check_close};
use super::frame::{Frame, Packing};
use super::id::PeerId;
use super::outbox::{Next, Outbox, Place};
use super::outgoing::{Outgoing, Tail};
use super::packing::Codec;
use super::poll::{TcpStream, Token};
use super::stream::{Stream, Tls};
use crate::error::SendError;
use crate::handshake::Reading;

/// Longer payloads are written from where they are, without a copy, in bytes.
const COPY_LEN: usize = 16 * 1024;

/// How many messages of other threads, and how many bytes of them, are written to one connection
/// before the others have their turn.
const MAX_FRAMES: usize = 64;
const MAX_FRAME_BYTES: usize = 1024 * 1024;

/// How much one connection may have inflated and compressed before the others have their turn, in
/// bytes of messages: a few milliseconds. What was read may stand for a thousand times as much.
pub(super) const MAX_WORK: usize = 256 * 1024;

/// The work charged for each message, or part of one, and for each compressed byte at the least: a
/// block of codes may take as long as that, and produce nothing.
const WORK_OF_ONE: usize = 256;
const WORK_OF_A_BYTE: usize = 16;

/// Where a connection stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// The request is being read.
    Request,
    /// There is a session, which knows more.
    Session,
    /// The last response is being written.
    Response,
    /// That has left, and what the peer still sends is dropped.
    Drain,
    /// It was lost before there was a session.
    Failed,
    /// It is to be removed.
    Over,
}

/// What is known of the socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Link {
    /// All could be written so far, so that no event tells of room to write.
    Free,
    /// Events tell of it.
    Armed,
    /// It has failed.
    Lost,
}

/// What most connections do not have most of the time.
#[derive(Default)]
pub(super) struct ColdState {
    /// The time of a connection that has no session yet, or never will.
    pub(super) pace: Option<Pace>,
    pub(super) reading: Option<Box<Reading>>,
    pub(super) subprotocol: Option<Box<str>>,
    pub(super) codec: Option<Box<Codec>>,
    /// The message that is arriving.
    pub(super) message: Vec<u8>,
    /// What was read and is not decoded yet, from `decoded` on.
    pub(super) input: Vec<u8>,
    pub(super) decoded: usize,
    /// The reason in the peer's Close.
    pub(super) reason: String,
    /// Why the connection is lost.
    pub(super) error: Option<io::Error>,
    /// The handler has failed, and gets no messages any more.
    pub(super) muted: bool,
    /// The peer's half has ended while a response is being written.
    pub(super) ended: bool,
    /// This side's half is to end as soon as TLS has said so.
    pub(super) shuts_down: bool,
}

impl ColdState {
    fn is_empty(&self) -> bool {
        self.pace.is_none()
            && self.reading.is_none()
            && self.subprotocol.is_none()
            && self.codec.is_none()
            && self.message.is_empty()
            && self.input.is_empty()
            && self.reason.is_empty()
            && self.error.is_none()
            && !self.muted
            && !self.ended
            && !self.shuts_down
    }
}

/// A connection without its application's data.
pub(super) struct Core {
    pub(super) session: Session<Server, OnDemand>,
    pub(super) id: PeerId,
    pub(super) cold: Option<Box<ColdState>>,
    pub(super) outgoing: Outgoing,
    pub(super) socket: TcpStream,
    pub(super) tls: Tls,
    pub(super) phase: Phase,
    link: Link,
    /// There may be something to read that no event will tell of.
    pub(super) unread: bool,
    /// It waits for its turn, and is not read before.
    pub(super) queued: bool,
}

/// A connection.
#[derive(Debug)]
pub(super) struct Slot<D> {
    pub(super) core: Core,
    pub(super) data: Option<D>,
}

/// What an idle connection costs, beside 6 bytes of its address. (In debug builds mio's socket, where there is one, is
/// larger.)
const _: () = assert!(
    cfg!(debug_assertions) || size_of::<Slot<()>>() <= 144 + 8 * cfg!(feature = "tls") as usize,
    "an idle connection costs 144 bytes at most"
);

impl fmt::Debug for Core {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Core({})", self.id)
    }
}

impl Core {
    pub(super) fn new(socket: TcpStream, tls: Tls, id: PeerId, context: &Context) -> Self {
        let cold = ColdState {
            pace: Some(Pace::new(context.now)),
            ..ColdState::default()
        };
        let config = context.settings.config();
        Self {
            session: Session::new(Server, config, context.now),
            id,
            cold: Some(Box::new(cold)),
            outgoing: Outgoing::default(),
            socket,
            tls,
            phase: Phase::Request,
            link: Link::Free,
            unread: false,
            queued: false,
        }
    }

    /// What it is read from and written to.
    #[inline]
    pub(super) fn stream(&mut self) -> Stream<'_> {
        Stream::new(&self.socket, &mut self.tls)
    }

    pub(super) fn cold(&mut self) -> &mut ColdState {
        self.cold.get_or_insert_default()
    }

    /// Lets go what is not needed any more.
    pub(super) fn tidy(&mut self) {
        if self.cold.as_ref().is_some_and(|cold| cold.is_empty()) {
            self.cold = None;
        }
    }

    pub(super) fn is_over(&self) -> bool {
        self.phase == Phase::Over
    }

    /// Whether the application has this connection.
    pub(super) fn is_open(&self) -> bool {
        self.phase == Phase::Session && self.session.ended().is_none()
    }

    /// Whether messages can be sent.
    pub(super) fn can_send(&self) -> bool {
        self.is_quiet() && !self.is_lost() && !self.outgoing.is_closing()
    }

    /// Whether messages flow, so that there is nothing to do but to wait for the peer.
    pub(super) fn is_quiet(&self) -> bool {
        self.phase == Phase::Session && self.session.connection().state() == State::Open
    }

    /// Whether the peer is not listened to, because it does not listen.
    pub(super) fn is_paused(&self, context: &Context) -> bool {
        let limit = context.settings.limits.backlog / 2;
        self.cold
            .as_ref()
            .is_some_and(|cold| !cold.input.is_empty())
            || self.outgoing.holds_back(limit)
    }

    /// Has its turn after the others, once.
    pub(super) fn queue(&mut self, context: &mut Context) {
        if !self.queued {
            self.queued = true;
            context.later.push(self.id);
        }
    }

    /// Nothing can be written any more. What the peer has sent before is read first, in the turns that
    /// it takes: its Close may be there, and is why it does not read.
    pub(super) fn lose_output(&mut self, context: &mut Context, error: io::Error) {
        if !self.is_open() {
            return self.lose(error);
        }
        self.link = Link::Lost;
        self.cold().error.get_or_insert(error);
        self.outgoing.drop_all();
        self.unread = true;
        self.queue(context);
    }

    /// Whether it has failed for writing.
    pub(super) fn is_lost(&self) -> bool {
        self.link == Link::Lost
    }

    /// The stream has failed.
    pub(super) fn lose(&mut self, error: io::Error) {
        self.link = Link::Lost;
        match self.phase {
            Phase::Session => self.session.lost(),
            Phase::Request => self.phase = Phase::Failed,
            Phase::Failed => {}
            Phase::Response | Phase::Drain | Phase::Over => self.phase = Phase::Over,
        }
        self.cold().error.get_or_insert(error);
    }

    /// What others send through.
    pub(super) fn outbox(&mut self, context: &Context) -> Arc<Outbox> {
        if let Some(outbox) = self.outgoing.outbox() {
            return outbox.clone();
        }
        let codec = self.cold.as_ref().and_then(|cold| cold.codec.as_ref());
        let window = codec.map(|codec| codec.window());
        let outbox = Arc::new(Outbox::new(self.id, context.inbox.clone(), window));
        if self.can_send() {
            self.outgoing.open_outbox(outbox.clone());
        } else {
            outbox.end();
        }
        outbox
    }

    // ---- sending ----

    #[inline]
    pub(super) fn send(
        &mut self,
        context: &mut Context,
        message: Message<'_>,
        packing: Packing,
    ) -> Result<(), SendError> {
        if self.phase != Phase::Session {
            return Err(SendError::Closed);
        }
        // Not the message itself: for a call, it would be put together in memory.
        let (kind, payload) = (message.kind(), message.as_bytes());
        if !self.is_plain()
            && (self.must_queue(context, kind, payload, packing)?
                || self.send_packed(context, kind, payload, packing)?)
        {
            return Ok(());
        }
        if payload.len() <= COPY_LEN {
            if context.cork.spare().len() < FrameHeader::MAX_LEN + payload.len() {
                self.flush(context);
            }
            let written = self.session.send(message, context.cork.spare())?;
            context.cork.advance(written);
            return Ok(());
        }
        let header = self.session.start_frame(DataFrame {
            kind,
            fin: true,
            compressed: false,
            payload_len: payload.len() as u64,
        })?;
        self.put_frame(context, &header, payload)
    }

    /// Whether nothing is out of the ordinary.
    #[inline]
    pub(super) const fn is_plain(&self) -> bool {
        self.cold.is_none() && self.outgoing.is_plain()
    }

    /// Checks the limit. Where messages wait in the outbox, this one queues behind them.
    #[inline(never)]
    fn must_queue(
        &mut self,
        context: &Context,
        kind: DataKind,
        payload: &[u8],
        packing: Packing,
    ) -> Result<bool, SendError> {
        if !self.is_quiet() || self.is_lost() {
            return Err(SendError::Closed);
        }
        let limit = context.settings.limits.backlog;
        let frame = || Frame::answer(kind, packing, payload);
        match self.outgoing.place(limit, frame) {
            Place::Now => Ok(false),
            Place::Queued => Ok(true),
            Place::Full => Err(SendError::Io(io::ErrorKind::WouldBlock.into())),
            Place::Closed => Err(SendError::Closed),
        }
    }

    /// Compresses an open connection's message, and sends it if that makes sense. If not, it counts
    /// as sent as it is.
    #[inline(never)]
    fn send_packed(
        &mut self,
        context: &mut Context,
        kind: DataKind,
        payload: &[u8],
        packing: Packing,
    ) -> Result<bool, SendError> {
        let Some(codec) = self.codec() else {
            return Ok(false);
        };
        let mut packed = None;
        if packing == Packing::Allowed {
            packed = codec.pack(payload);
            context.turn.work += payload.len() + WORK_OF_ONE;
        }
        let on_wire = packed.as_deref().unwrap_or(payload);
        codec.count(payload.len(), on_wire.len());
        let Some(packed) = packed else {
            return Ok(false);
        };
        let frame = DataFrame {
            kind,
            fin: true,
            compressed: true,
            payload_len: packed.len() as u64,
        };
        let begun = self.session.start_frame(frame);
        let sent = match begun {
            Ok(header) => self.put_frame(context, &header, &packed),
            Err(error) => Err(error.into()),
        };
        if sent.is_err()
            && let Some(codec) = self.codec()
        {
            // The peer never has what later messages could refer to.
            codec.reset();
        }
        sent.map(|()| true)
    }

    /// Sends a frame that was made elsewhere.
    fn send_frame(&mut self, context: &mut Context, frame: &Frame) {
        let packed = frame.packing() == Packing::Packed;
        if !packed
            && self.cold.is_some()
            && self.is_quiet()
            && let Ok(true) =
                self.send_packed(context, frame.kind(), frame.payload(), frame.packing())
        {
            return;
        }
        let begun = self.session.start_frame(DataFrame {
            kind: frame.kind(),
            fin: true,
            compressed: packed,
            payload_len: frame.payload().len() as u64,
        });
        // RFC 6455 §5.5.1: nothing is sent after a Close [CL05]
        if begun.is_err() {
            return;
        }
        if packed && let Some(codec) = self.codec() {
            codec.reset();
            codec.count(frame.message_len(), frame.payload().len());
        }
        if frame.bytes().len() > COPY_LEN {
            self.write_out(context, Tail::Frame(frame));
            return;
        }
        if context.cork.spare().len() < frame.bytes().len() {
            self.flush(context);
        }
        // There is room for it now.
        context.cork.push(frame.bytes());
    }

    /// Sends a frame.
    fn put_frame(
        &mut self,
        context: &mut Context,
        header: &FrameHeader,
        payload: &[u8],
    ) -> Result<(), SendError> {
        let copied = payload.len() <= COPY_LEN;
        let needed = FrameHeader::MAX_LEN + if copied { payload.len() } else { 0 };
        if context.cork.spare().len() < needed {
            self.flush(context);
        }
        let written = header.emit(context.cork.spare());
        context
            .cork
            .advance(written.map_err(motews::SendError::from)?);
        if copied {
            context.cork.push(payload);
        } else {
            self.write_out(context, Tail::Bytes(payload));
        }
        Ok(())
    }

    #[inline]
    pub(super) fn has_codec(&self) -> bool {
        self.cold.as_ref().is_some_and(|cold| cold.codec.is_some())
    }

    fn codec(&mut self) -> Option<&mut Codec> {
        self.cold.as_mut()?.codec.as_deref_mut()
    }

    #[cfg(feature = "deflate")]
    pub(super) fn traffic(&self) -> Option<crate::Traffic> {
        Some(self.cold.as_ref()?.codec.as_ref()?.traffic())
    }

    /// Begins the closing handshake, behind all that was accepted before. What waits leaves in the
    /// next turns, and then the Close.
    pub(super) fn close(&mut self, code: CloseCode, reason: &str) -> Result<(), SendError> {
        check_close(code, reason)?;
        if !self.can_send() {
            return Err(SendError::Closed);
        }
        match self.outgoing.close(code, reason) {
            Place::Now => self.send_close(code, reason),
            _ => Ok(()),
        }
    }

    /// Nothing waits before the Close any more, but what the socket has not taken.
    fn send_close(&mut self, code: CloseCode, reason: &str) -> Result<(), SendError> {
        self.session.close(code, reason)?;
        self.outgoing.end_outbox();
        Ok(())
    }

    /// The handler has failed.
    pub(super) fn fail(&mut self, code: CloseCode) {
        self.cold().muted = true;
        // It may be closing already.
        let _ = self.close(code, "");
    }

    /// The handler has failed with this error.
    pub(super) fn fail_with(&mut self, error: &SendError) {
        match error {
            SendError::Closed => {}
            error if error.is_would_block() => self.fail(CloseCode::TRY_AGAIN_LATER),
            _ => self.fail(CloseCode::INTERNAL_ERROR),
        }
    }

    // ---- writing ----

    /// Writes bytes that are in their frames already, or need none.
    pub(super) fn put(&mut self, context: &mut Context, bytes: &[u8]) {
        if !context.cork.push(bytes) {
            self.write_out(context, Tail::Bytes(bytes));
        }
    }

    /// Puts into the cork what the protocol owes, if nothing waits before it.
    pub(super) fn transmit(&mut self, context: &mut Context) {
        while self.outgoing.is_written() && self.link != Link::Lost {
            // A server needs no masking key, so this does not fail.
            let written = self.session.poll_transmit(context.cork.spare());
            match written.unwrap_or_default() {
                0 if context.cork.len() == 0 || !self.session.connection().wants_transmit() => {
                    return;
                }
                0 => self.flush(context),
                written => context.cork.advance(written),
            }
        }
    }

    /// Writes what is in the cork.
    #[inline]
    pub(super) fn flush(&mut self, context: &mut Context) {
        if context.cork.len() > 0 || self.stream().owes() {
            self.write_out(context, Tail::Nothing);
        }
    }

    /// Writes what is in the cork and then `tail`, as far as there is room.
    pub(super) fn write_out(&mut self, context: &mut Context, tail: Tail<'_>) {
        if self.link == Link::Lost {
            context.cork.clear();
            return;
        }
        let stream = &mut Stream::new(&self.socket, &mut self.tls);
        let flushed = self.outgoing.flush(&mut context.cork, tail, stream);
        self.note_sent(context, flushed);
    }

    /// There is room: writes what waits.
    pub(super) fn write_waiting(&mut self, context: &mut Context) {
        let stream = &mut Stream::new(&self.socket, &mut self.tls);
        let resumed = self.outgoing.resume(stream);
        self.note_sent(context, resumed);
    }

    /// Tells who watches the time what the socket has taken, and has an event tell when there is
    /// room for what it has not.
    fn note_sent(&mut self, context: &mut Context, sent: io::Result<usize>) {
        let taken = match sent {
            Ok(taken) => taken,
            Err(error) => return self.lose_output(context, error),
        };
        let left = self.outgoing.begun();
        let (now, timeouts) = (context.now, &context.settings.timeouts);
        if self.phase == Phase::Session {
            self.session.sent(now, timeouts, taken, left);
        } else if let Some(pace) = self.cold.as_mut().and_then(|cold| cold.pace.as_mut()) {
            pace.sent(now, timeouts, taken, left);
        }
        if left > 0 && self.link == Link::Free {
            let token = Token(self.id.slot());
            match context.poll.add_writing(&mut self.socket, token) {
                Ok(()) => self.link = Link::Armed,
                Err(error) => self.lose_output(context, error),
            }
        }
    }

    /// Ends this side's half of the stream, as soon as TLS has said what it must.
    pub(super) fn end_half(&mut self, context: &mut Context) {
        match self.stream().shutdown() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.cold().shuts_down = true;
                self.flush(context);
            }
            // If it fails, the stream has ended already.
            _ => {
                if let Some(cold) = &mut self.cold {
                    cold.shuts_down = false;
                }
            }
        }
    }

    /// Writes what is in the outbox, as far as there is room, and as far as one turn goes.
    pub(super) fn write_outbox(&mut self, context: &mut Context) {
        let mut bytes = 0;
        for _ in 0..MAX_FRAMES {
            if context.turn.work > MAX_WORK || bytes > MAX_FRAME_BYTES {
                break;
            }
            match self.outgoing.next() {
                Next::Nothing => return,
                Next::Close(code, reason) => {
                    // It may come too late; or a hub has closed the connection, with a code that no
                    // Close frame may have.
                    if let Err(SendError::Invalid(_)) = self.send_close(code, &reason) {
                        self.session.abort();
                    }
                    return;
                }
                Next::Send(frame) => {
                    bytes += frame.bytes().len();
                    self.send_frame(context, &frame);
                }
            }
        }
        self.queue(context);
    }

    /// Has what was accepted leave before a Close that answers the peer's or a violation, since the
    /// session begins no message any more: as it is, and whether there is room or not.
    pub(super) fn write_rest(&mut self, context: &mut Context) {
        while let Some(frame) = self.outgoing.next_of_rest() {
            if let Some(codec) = self.codec() {
                codec.count(frame.message_len(), frame.payload().len());
            }
            if frame.bytes().len() > COPY_LEN {
                self.write_out(context, Tail::Frame(&frame));
            } else {
                self.put(context, frame.bytes());
            }
        }
    }

    // ---- receiving ----

    /// Keeps input for later.
    pub(super) fn stash(&mut self, input: &[u8]) {
        let cold = self.cold();
        cold.input = input.to_vec();
        cold.decoded = 0;
    }

    /// Appends a part of a message, and returns whether it is whole now. Room is made for what has
    /// come, never for what was announced.
    // [FR17]
    pub(super) fn assemble(
        &mut self,
        context: &mut Context,
        chunk: Chunk<'_>,
    ) -> Result<bool, ProtocolViolation> {
        let cold = self.cold.get_or_insert_default();
        if chunk.first {
            cold.message = context.spare();
        }
        if let Some(codec) = &mut cold.codec {
            let before = cold.message.len();
            let least = match chunk.compressed {
                true => WORK_OF_ONE + WORK_OF_A_BYTE * chunk.bytes.len(),
                false => 0,
            };
            let appended = codec.append(chunk, &mut cold.message);
            context.turn.work += (cold.message.len() - before).max(least);
            return appended;
        }
        if chunk.first {
            // The next part comes soon, and is often small.
            let len = chunk.bytes.len();
            cold.message.reserve(len + len / 2);
        }
        cold.message.extend_from_slice(chunk.bytes);
        Ok(chunk.last)
    }
}
