//! One connection of a loop.

use core::fmt;
use core::panic::AssertUnwindSafe;
use std::io::{self, IoSlice};
use std::panic::catch_unwind;
use std::sync::Arc;

use mio::{Interest, Registry, Token};
use motews::role::Server;
use motews::{
    Chunk, CloseCode, Connection, ControlSlots, ControlStorage, DataFrame, DataKind, Deadlines,
    Due, Event, FrameHeader, Message, Millis, ProtocolViolation, State,
};

use super::Settings;
use super::backlog::{Backlog, Frame, MAX_SLICES, Packing};
use super::handler::Handler;
use super::outbox::{Inbox, Next, Outbox};
use super::packing::Codec;
use super::peer::{Peer, PeerId};
use super::stream::Stream;
use crate::error::SendError;
use crate::handshake::{Answer, Reading, SERVER_ERROR};
use crate::socket::Outcome;

/// How much is gathered for one write, in octets.
const CORK_LEN: usize = 64 * 1024;

/// Longer payloads are written from where they are, without a copy, in octets.
const COPY_LEN: usize = 16 * 1024;

/// How often in a row one connection is read before the others have their turn.
const MAX_READS: usize = 2;

/// How many messages of other threads are written to one connection before the others have their
/// turn.
const MAX_FRAMES: usize = 64;

/// How much one connection may have inflated and compressed before the others have their turn, in
/// octets of messages: a few milliseconds. What was read may stand for a thousand times as much.
const MAX_WORK: usize = 256 * 1024;

/// What a message, or a part of one, counts as beside its octets, and at the least what each octet
/// that is inflated does: codes can take as long as that, and stand for nothing.
const WORK_OF_ONE: usize = 256;
const WORK_OF_AN_OCTET: usize = 16;

/// Buffers of messages that came in parts are kept for the next ones: so many, and none longer, in
/// octets.
const MAX_SPARE: usize = 4;
const MAX_SPARE_LEN: usize = 256 * 1024;

/// Events tell of both, from the first time on that something could not be written.
const BOTH: Interest = Interest::READABLE.add(Interest::WRITABLE);

/// The slots of a control frame, made when they are needed.
#[derive(Debug, Default)]
pub(super) struct OnDemand(Option<Box<ControlSlots>>);

impl ControlStorage for OnDemand {
    fn slots(&mut self) -> &mut ControlSlots {
        self.0.get_or_insert_default()
    }

    fn release(&mut self) {
        self.0 = None;
    }
}

/// Whether a Close with this code and reason may be sent.
pub(super) fn check_close(code: CloseCode, reason: &str) -> Result<(), SendError> {
    let mut connection: Connection<Server, OnDemand> = Connection::new(Server);
    Ok(connection.close(code, reason)?)
}

/// What is gathered for one write.
#[derive(Debug)]
pub(super) struct Cork {
    bytes: Box<[u8]>,
    len: usize,
}

impl Cork {
    fn new() -> Self {
        Self {
            bytes: vec![0; CORK_LEN].into_boxed_slice(),
            len: 0,
        }
    }

    pub(super) const fn len(&self) -> usize {
        self.len
    }

    #[inline]
    fn spare(&mut self) -> &mut [u8] {
        &mut self.bytes[self.len..]
    }

    fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    /// Appends a copy, and tells whether there was room for it.
    fn push(&mut self, bytes: &[u8]) -> bool {
        let Some(room) = self.spare().get_mut(..bytes.len()) else {
            return false;
        };
        room.copy_from_slice(bytes);
        self.len += bytes.len();
        true
    }
}

/// What the connections of a loop share.
pub(super) struct Context {
    pub(super) cork: Cork,
    pub(super) now: Millis,
    /// What the connection that has its turn had inflated and compressed, in octets. Renewed by the
    /// loop for each turn.
    pub(super) work: usize,
    /// Buffers for messages that come in parts.
    spare: Vec<Vec<u8>>,
    /// Connections that want to be looked at again.
    pub(super) later: Vec<PeerId>,
    pub(super) inbox: Arc<Inbox>,
    pub(super) settings: Arc<Settings>,
    registry: Registry,
}

impl Context {
    pub(super) fn new(inbox: Arc<Inbox>, settings: Arc<Settings>, registry: Registry) -> Self {
        Self {
            cork: Cork::new(),
            now: Millis(0),
            work: 0,
            spare: Vec::new(),
            later: Vec::new(),
            inbox,
            settings,
            registry,
        }
    }

    fn recycle(&mut self, mut buffer: Vec<u8>) {
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

/// Where a connection stands, beside what its WebSocket knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The request is being read.
    Request,
    /// The WebSocket is open, or closing.
    WebSocket,
    /// The last response is being written.
    Response,
    /// This side's half has ended; what the peer still sends is dropped (RFC 6455 §7.1.1).
    Drain,
    /// It is to be removed.
    Over,
}

/// What most connections do not have most of the time.
#[derive(Default)]
pub(super) struct Rare {
    reading: Option<Box<Reading>>,
    pub(super) subprotocol: Option<Box<str>>,
    codec: Option<Box<Codec>>,
    /// The message that is arriving.
    message: Vec<u8>,
    backlog: Backlog,
    /// When the backlog began, or some of it was written last.
    progress: Millis,
    /// What was read and is not decoded yet, from `decoded` on.
    input: Vec<u8>,
    decoded: usize,
    /// Its length that the outbox knows.
    told: usize,
    /// That of the peer's Close.
    reason: String,
}

impl Rare {
    fn is_empty(&self) -> bool {
        self.reading.is_none()
            && self.subprotocol.is_none()
            && self.codec.is_none()
            && self.message.is_empty()
            && self.backlog.is_empty()
            && self.input.is_empty()
            && self.told == 0
            && self.reason.is_empty()
    }
}

/// A connection without its application's data.
pub(super) struct Core {
    pub(super) connection: Connection<Server, OnDemand>,
    deadlines: Deadlines,
    pub(super) id: PeerId,
    pub(super) rare: Option<Box<Rare>>,
    /// What other threads send.
    outbox: Option<Arc<Outbox>>,
    pub(super) stream: Stream,
    phase: Phase,
    /// The stream failed.
    lost: bool,
    /// The peer's half of it has ended.
    ended: bool,
    /// There may be something to read that no event will tell of.
    unread: bool,
    /// It waits for its turn, and is not read before.
    queued: bool,
    /// Events tell when there is room to write.
    armed: bool,
    /// The handler has failed, and gets no messages any more.
    muted: bool,
}

/// All that an idle connection costs. (In debug builds mio's socket is larger.)
const _: () = assert!(
    cfg!(debug_assertions) || cfg!(feature = "tls") || size_of::<Slot<()>>() <= 144,
    "an idle connection costs 144 bytes at most"
);

impl fmt::Debug for Core {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Core({})", self.id)
    }
}

/// What follows the cork in one write.
#[derive(Clone, Copy)]
enum Tail<'a> {
    Nothing,
    Bytes(&'a [u8]),
    Frame(&'a Frame),
}

impl Tail<'_> {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Nothing => &[],
            Self::Bytes(bytes) => bytes,
            Self::Frame(frame) => frame.bytes(),
        }
    }
}

impl Core {
    fn rare(&mut self) -> &mut Rare {
        self.rare.get_or_insert_default()
    }

    /// Whether the application has this connection.
    pub(super) fn is_open(&self) -> bool {
        self.phase == Phase::WebSocket
    }

    pub(super) fn is_over(&self) -> bool {
        self.phase == Phase::Over
    }

    fn backlog(&self) -> usize {
        self.rare.as_ref().map_or(0, |rare| rare.backlog.len())
    }

    /// Octets that wait to be written, but for those in the cork.
    pub(super) fn buffered_amount(&self) -> usize {
        self.backlog() + self.outbox.as_ref().map_or(0, |outbox| outbox.len())
    }

    /// Whether the peer is not listened to, because it does not listen.
    fn is_paused(&self, context: &Context) -> bool {
        self.rare.as_ref().is_some_and(|rare| {
            !rare.input.is_empty()
                || self.waiting_answers() > context.settings.limits.max_backlog / 2
                || self.answers_have_their_turn()
        })
    }

    /// Whether answers wait only for what others have sent before them. They leave in the next
    /// turns; if a Close of the peer was read first, they would not.
    fn answers_have_their_turn(&self) -> bool {
        self.backlog() == 0 && self.outbox.as_ref().is_some_and(|it| it.answers() > 0)
    }

    /// Octets that wait to be written, but for what others have sent and is not begun.
    fn waiting_answers(&self) -> usize {
        self.backlog() + self.outbox.as_ref().map_or(0, |outbox| outbox.answers())
    }

    /// Has its turn after the others, once.
    pub(super) fn queue(&mut self, context: &mut Context) {
        if !self.queued {
            self.queued = true;
            context.later.push(self.id);
        }
    }

    /// Whether there is nothing to do but to wait for the peer.
    pub(super) fn is_quiet(&self) -> bool {
        !self.lost && self.connection.state() == State::Open
    }

    pub(super) fn outbox(&mut self, context: &Context) -> Arc<Outbox> {
        if let Some(outbox) = &self.outbox {
            return outbox.clone();
        }
        let codec = self.rare.as_ref().and_then(|rare| rare.codec.as_ref());
        let window = codec.map(|codec| codec.window());
        let outbox = Arc::new(Outbox::new(self.id, context.inbox.clone(), window));
        if self.is_open() {
            self.outbox = Some(outbox.clone());
            self.tell_backlog();
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
        if !self.is_open() || self.lost {
            return Err(SendError::Closed);
        }
        // Not the message itself: for a call, it would be put together in memory.
        let (kind, payload) = (message.kind(), message.as_bytes());
        if (self.rare.is_some() || self.outbox.is_some())
            && (self.must_queue(context, kind, payload, packing)?
                || self.send_packed(context, kind, payload, packing)?)
        {
            return Ok(());
        }
        self.deadlines.received_message(context.now);
        if payload.len() <= COPY_LEN {
            if context.cork.spare().len() < FrameHeader::MAX_LEN + payload.len() {
                self.flush(context);
            }
            context.cork.len += self.connection.send(message, context.cork.spare())?;
            return Ok(());
        }
        let header = self.connection.start_frame(DataFrame {
            kind,
            fin: true,
            compressed: false,
            payload_len: payload.len() as u64,
        })?;
        self.put_frame(context, &header, payload)
    }

    /// Writes a frame whose payload is long.
    fn put_frame(
        &mut self,
        context: &mut Context,
        header: &FrameHeader,
        payload: &[u8],
    ) -> Result<(), SendError> {
        if context.cork.spare().len() < header.wire_len() {
            self.flush(context);
        }
        let written = header.emit(context.cork.spare());
        context.cork.len += written.map_err(motews::SendError::from)?;
        self.put(context, payload);
        Ok(())
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
            context.work += payload.len() + WORK_OF_ONE;
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
        let begun = self.connection.start_frame(frame);
        let sent = match begun {
            Ok(header) => self.put_frame(context, &header, &packed),
            Err(error) => Err(error.into()),
        };
        self.deadlines.received_message(context.now);
        if sent.is_err()
            && let Some(codec) = self.codec()
        {
            // The peer never has what later messages could refer to.
            codec.reset();
        }
        sent.map(|()| true)
    }

    #[inline]
    fn has_codec(&self) -> bool {
        self.rare.as_ref().is_some_and(|rare| rare.codec.is_some())
    }

    fn codec(&mut self) -> Option<&mut Codec> {
        self.rare.as_mut()?.codec.as_deref_mut()
    }

    #[cfg(feature = "deflate")]
    pub(super) fn traffic(&self) -> Option<crate::Traffic> {
        Some(self.rare.as_ref()?.codec.as_ref()?.traffic())
    }

    /// Checks the limit; and where other threads' messages wait, this one queues behind them.
    #[inline(never)]
    fn must_queue(
        &mut self,
        context: &Context,
        kind: DataKind,
        payload: &[u8],
        packing: Packing,
    ) -> Result<bool, SendError> {
        if self.connection.state() != State::Open {
            return Err(SendError::Closed);
        }
        let outbox = self.outbox.as_ref().filter(|outbox| !outbox.is_empty());
        let waiting = self.backlog() + outbox.map_or(0, |outbox| outbox.len());
        if waiting > context.settings.limits.max_backlog {
            return Err(SendError::Io(io::ErrorKind::WouldBlock.into()));
        }
        if let Some(outbox) = outbox {
            outbox.append(Frame::answer(kind, packing, payload));
            return Ok(true);
        }
        Ok(false)
    }

    /// Begins the closing handshake, behind what others have sent before. All of that leaves now,
    /// so what is beyond the work of a turn is not compressed.
    pub(super) fn close(
        &mut self,
        context: &mut Context,
        code: CloseCode,
        reason: &str,
    ) -> Result<(), SendError> {
        check_close(code, reason)?;
        if let Some(outbox) = self.outbox.clone() {
            while !outbox.is_empty()
                && let Next::Send(frame) = outbox.next()
            {
                let packing = match frame.packing() {
                    Packing::Allowed if context.work > MAX_WORK => Packing::Plain,
                    packing => packing,
                };
                self.send_frame(context, &frame, packing);
            }
        }
        self.begin_closing(context, code, reason)
    }

    fn begin_closing(
        &mut self,
        context: &Context,
        code: CloseCode,
        reason: &str,
    ) -> Result<(), SendError> {
        if !self.is_open() || self.lost {
            return Err(SendError::Closed);
        }
        self.connection.close(code, reason)?;
        self.deadlines.closing(context.now);
        self.end_outbox();
        Ok(())
    }

    /// The handler has failed.
    pub(super) fn fail(&mut self, context: &Context, code: CloseCode) {
        self.muted = true;
        // It may be closing already.
        let _ = self.begin_closing(context, code, "");
    }

    /// Writes a part of the handshake.
    fn put(&mut self, context: &mut Context, bytes: &[u8]) {
        if !context.cork.push(bytes) {
            self.write_out(context, Tail::Bytes(bytes));
        }
    }

    /// Puts into the cork what the protocol owes, if nothing waits before it.
    fn transmit(&mut self, context: &mut Context) {
        while self.connection.wants_transmit() && self.backlog() == 0 && !self.lost {
            // A server needs no masking key, so this does not fail.
            let written = self.connection.poll_transmit(context.cork.spare());
            match written.unwrap_or_default() {
                0 if context.cork.len == 0 => return,
                0 => self.flush(context),
                written => context.cork.len += written,
            }
        }
    }

    /// Writes what is in the cork.
    pub(super) fn flush(&mut self, context: &mut Context) {
        if context.cork.len > 0 {
            self.write_out(context, Tail::Nothing);
        }
    }

    /// Writes what is in the cork and then `tail`, if nothing waits before it, and keeps what
    /// cannot be written.
    fn write_out(&mut self, context: &mut Context, tail: Tail<'_>) {
        let cork = context.cork.bytes();
        let rest = tail.bytes();
        let mut written = 0;
        if self.backlog() == 0 {
            while written < cork.len() + rest.len() && !self.lost {
                let head = cork.get(written..).unwrap_or_default();
                let from = written.saturating_sub(cork.len());
                let parts = [IoSlice::new(head), IoSlice::new(&rest[from..])];
                let result = match (head, rest) {
                    (head, []) => self.stream.write(head),
                    ([], _) => self.stream.write(&rest[from..]),
                    _ => self.stream.write_vectored(&parts),
                };
                match result {
                    Ok(0) => self.lost = true,
                    Ok(len) => written += len,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(_) => self.lost = true,
                }
            }
        }
        if written < cork.len() + rest.len() && !self.lost {
            let rare = self.rare.get_or_insert_default();
            if rare.backlog.is_empty() {
                rare.progress = context.now;
            }
            rare.backlog.push(cork.get(written..).unwrap_or_default());
            let from = written.saturating_sub(cork.len());
            match tail {
                Tail::Nothing => {}
                Tail::Bytes(bytes) => rare.backlog.push(&bytes[from..]),
                Tail::Frame(frame) => rare.backlog.push_frame(frame, from),
            }
            self.arm(context);
        }
        context.cork.len = 0;
    }

    /// Has an event tell when there is room to write.
    fn arm(&mut self, context: &Context) {
        if self.armed {
            return;
        }
        let token = Token(self.id.slot());
        let socket = self.stream.socket_mut();
        match context.registry.reregister(socket, token, BOTH) {
            Ok(()) => self.armed = true,
            Err(_) => self.lost = true,
        }
    }

    /// Writes the backlog as far as it goes.
    fn write_backlog(&mut self, context: &Context) {
        let Some(rare) = &mut self.rare else {
            return;
        };
        while !rare.backlog.is_empty() {
            let mut slices = [IoSlice::new(&[]); MAX_SLICES];
            let count = rare.backlog.slices(&mut slices);
            match self.stream.write_vectored(&slices[..count]) {
                Ok(0) => {
                    self.lost = true;
                    return;
                }
                Ok(len) => {
                    rare.backlog.advance(len);
                    rare.progress = context.now;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => {
                    self.lost = true;
                    return;
                }
            }
        }
        rare.backlog = Backlog::default();
    }

    /// Writes what other threads send, as far as it goes.
    fn write_outbox(&mut self, context: &mut Context) {
        let Some(outbox) = self.outbox.clone() else {
            return;
        };
        if outbox.is_closing() {
            self.deadlines.closing(context.now);
        }
        for _ in 0..MAX_FRAMES {
            if self.backlog() > 0 || self.lost {
                return;
            }
            if context.work > MAX_WORK {
                break;
            }
            match outbox.next() {
                Next::Nothing => return,
                Next::Close(code, reason) => {
                    // It may come too late.
                    if let Err(SendError::Invalid(_)) = self.close(context, code, &reason) {
                        // A hub's policy, with a code that no Close frame may have.
                        self.lost = true;
                    }
                    return;
                }
                Next::Send(frame) => self.send_frame(context, &frame, frame.packing()),
            }
        }
        self.queue(context);
    }

    /// Sends a frame that was made elsewhere.
    fn send_frame(&mut self, context: &mut Context, frame: &Frame, packing: Packing) {
        let packed = packing == Packing::Packed;
        if !packed
            && self.connection.state() == State::Open
            && self.rare.is_some()
            && let Ok(true) = self.send_packed(context, frame.kind(), frame.payload(), packing)
        {
            return;
        }
        let begun = self.connection.start_frame(DataFrame {
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
        self.deadlines.received_message(context.now);
        if frame.bytes().len() > COPY_LEN {
            self.write_out(context, Tail::Frame(frame));
        } else if !context.cork.push(frame.bytes()) {
            self.flush(context);
            if self.backlog() > 0 || !context.cork.push(frame.bytes()) {
                self.write_out(context, Tail::Frame(frame));
            }
        }
    }

    /// Tells the other threads how much waits here.
    pub(super) fn tell_backlog(&mut self) {
        if let Some(rare) = &mut self.rare
            && let Some(outbox) = &self.outbox
            && rare.told != rare.backlog.len()
        {
            rare.told = rare.backlog.len();
            outbox.set_backlog(rare.told);
        }
    }

    /// RFC 6455 §5.5.1: no message is sent any more, and nobody is to count on it.
    // [CL05]
    fn end_outbox(&self) {
        if let Some(outbox) = &self.outbox {
            outbox.end();
        }
    }

    /// Lets go what is not needed any more.
    fn tidy(&mut self) {
        if self.rare.as_ref().is_some_and(|rare| rare.is_empty()) {
            self.rare = None;
        }
    }

    /// Keeps input for later.
    fn stash(&mut self, input: &[u8]) {
        let rare = self.rare();
        rare.input = input.to_vec();
        rare.decoded = 0;
    }
}

/// A connection.
#[derive(Debug)]
pub(super) struct Slot<D> {
    pub(super) core: Core,
    pub(super) data: Option<D>,
}

impl<D: Default> Slot<D> {
    pub(super) fn new(stream: Stream, id: PeerId, context: &Context) -> Self {
        let config = motews::Config {
            max_message_len: context.settings.limits.max_message_len as u64,
            ..motews::Config::default()
        };
        let core = Core {
            connection: Connection::with_config(Server, config),
            deadlines: Deadlines::new(context.now),
            id,
            rare: None,
            outbox: None,
            stream,
            phase: Phase::Request,
            lost: false,
            ended: false,
            unread: false,
            queued: false,
            armed: false,
            muted: false,
        };
        Self { core, data: None }
    }

    // ---- what happens to it ----

    /// There is something to read. `ended`: the peer's half has ended, behind what is there.
    pub(super) fn readable<H: Handler<Data = D>>(
        &mut self,
        handler: &mut H,
        context: &mut Context,
        buffer: &mut [u8],
        ended: bool,
    ) {
        self.core.unread = true;
        if !self.core.queued {
            self.read(handler, context, buffer, ended);
        }
    }

    /// Reads until nothing is left, or the others have their turn.
    #[inline]
    fn read<H: Handler<Data = D>>(
        &mut self,
        handler: &mut H,
        context: &mut Context,
        buffer: &mut [u8],
        ended: bool,
    ) {
        for _ in 0..MAX_READS {
            if context.work > MAX_WORK {
                break;
            }
            if self.core.is_paused(context) || self.core.is_over() {
                return;
            }
            match self.core.stream.read(buffer) {
                Ok(0) => {
                    self.core.unread = false;
                    self.end(handler, context);
                    return;
                }
                Ok(len) => {
                    let input = &mut buffer[..len];
                    let rest = self.receive(handler, context, input);
                    if rest > 0 {
                        self.core.stash(&input[len - rest..]);
                    }
                    self.settle(handler, context);
                    if len < buffer.len() && !ended && self.core.stream.is_drained_by_short_read() {
                        self.core.unread = false;
                        return;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.core.unread = false;
                    if !self.core.stream.is_flushed() {
                        self.core.arm(context);
                    }
                    return;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => {
                    self.core.lost = true;
                    self.settle(handler, context);
                    return;
                }
            }
        }
        self.core.queue(context);
    }

    /// There is room to write.
    pub(super) fn writable<H: Handler<Data = D>>(
        &mut self,
        handler: &mut H,
        context: &mut Context,
        buffer: &mut [u8],
    ) {
        if self.core.rare.is_none() && self.core.stream.is_flushed() {
            return;
        }
        self.core.write_backlog(context);
        self.resume(handler, context, buffer);
    }

    /// It has its turn again.
    pub(super) fn turn<H: Handler<Data = D>>(
        &mut self,
        handler: &mut H,
        context: &mut Context,
        buffer: &mut [u8],
    ) {
        self.core.queued = false;
        self.resume(handler, context, buffer);
    }

    /// Other threads have sent something, or there is room to write again.
    pub(super) fn resume<H: Handler<Data = D>>(
        &mut self,
        handler: &mut H,
        context: &mut Context,
        buffer: &mut [u8],
    ) {
        // Where it writes much for others, it reads all the same.
        let waits = self.core.queued;
        self.core.write_outbox(context);
        self.settle(handler, context);
        if waits || self.core.answers_have_their_turn() {
            return;
        }
        // What was read before comes first.
        let limit = context.settings.limits.max_backlog / 4;
        if self.core.waiting_answers() <= limit
            && let Some(rare) = &mut self.core.rare
            && !rare.input.is_empty()
        {
            let mut input = core::mem::take(&mut rare.input);
            let decoded = rare.decoded;
            let rest = self.receive(handler, context, &mut input[decoded..]);
            if rest > 0 {
                let rare = self.core.rare();
                rare.decoded = input.len() - rest;
                rare.input = input;
            }
            self.settle(handler, context);
        }
        if self.core.unread && self.core.waiting_answers() <= limit {
            self.read(handler, context, buffer, true);
        }
    }

    /// The stream has failed.
    pub(super) fn failed<H: Handler<Data = D>>(&mut self, handler: &mut H, context: &mut Context) {
        self.core.lost = true;
        self.settle(handler, context);
    }

    /// The peer's half of the stream has ended.
    fn end<H: Handler<Data = D>>(&mut self, handler: &mut H, context: &mut Context) {
        self.core.ended = true;
        match self.core.phase {
            // Behind a Close, what is on its way to the peer still goes out, with the answer.
            // Otherwise it has left.
            Phase::WebSocket => self.core.lost |= self.core.connection.receive_eof().is_err(),
            // It may still read.
            Phase::Response => {}
            _ => self.core.lost = true,
        }
        self.settle(handler, context);
    }

    /// Looks whether a deadline has come.
    pub(super) fn sweep<H: Handler<Data = D>>(&mut self, handler: &mut H, context: &mut Context) {
        let core = &mut self.core;
        let stuck = core.rare.as_ref().is_some_and(|rare| {
            let waited = context.now.since(rare.progress);
            !rare.backlog.is_empty()
                && context
                    .settings
                    .write_timeout
                    .is_some_and(|timeout| waited >= timeout)
        });
        if stuck {
            return self.failed(handler, context);
        }
        if core.phase == Phase::WebSocket && core.is_paused(context) {
            // It cannot be heard now; whether it reads is looked at above.
            core.deadlines.received(context.now);
        }
        match core.deadlines.poll(context.now, &context.settings.timeouts) {
            None => return,
            Some(Due::Ping) => {
                if let Ok(written) = core.connection.ping(&[], context.cork.spare()) {
                    context.cork.len += written;
                }
            }
            Some(Due::Idle) => {
                // RFC 6455 §7.4.1: this endpoint goes away; it may be closing already
                let _ = core.close(context, CloseCode::GOING_AWAY, "idle");
            }
            Some(Due::Handshake | Due::Pong | Due::Close) => core.lost = true,
        }
        self.settle(handler, context);
    }

    /// The server goes down (RFC 6455 §7.4.1).
    pub(super) fn shut_down<H: Handler<Data = D>>(
        &mut self,
        handler: &mut H,
        context: &mut Context,
    ) {
        match self.core.phase {
            Phase::Request => self.core.lost = true,
            Phase::WebSocket => {
                // It may be closing already.
                let _ = self.core.close(context, CloseCode::GOING_AWAY, "");
            }
            _ => {}
        }
        self.settle(handler, context);
    }

    // ---- receiving ----

    /// Takes `input`, and tells how much of it, at its end, is to be taken later.
    #[inline]
    fn receive<H: Handler<Data = D>>(
        &mut self,
        handler: &mut H,
        context: &mut Context,
        input: &mut [u8],
    ) -> usize {
        let mut rest = input;
        if self.core.phase == Phase::Request {
            rest = self.receive_request(handler, context, rest);
        }
        if self.core.phase != Phase::WebSocket {
            return 0;
        }
        self.core.deadlines.received(context.now);
        loop {
            let len = rest.len();
            let mut left = 0;
            let received = catch_unwind(AssertUnwindSafe(|| {
                self.receive_messages(handler, context, &mut *rest, &mut left)
            }));
            if let Ok(left) = received {
                return left;
            }
            // The handler gets nothing more; but the peer's Close may be in what is left.
            self.core.fail(context, CloseCode::INTERNAL_ERROR);
            rest = rest.split_at_mut(len - left).1;
        }
    }

    /// Decodes `input` until its end, or until the answers are not read, and tells how much is left:
    /// in `left`, if the handler panics.
    #[inline]
    fn receive_messages<H: Handler<Data = D>>(
        &mut self,
        handler: &mut H,
        context: &mut Context,
        mut input: &mut [u8],
        left: &mut usize,
    ) -> usize {
        let Some(data) = &mut self.data else {
            return 0;
        };
        let core = &mut self.core;
        while !input.is_empty() {
            match core.connection.next_event(&mut input) {
                // Read where it lies: a chunk that is passed on as a whole is first copied.
                Ok(Some(Event::Data(Chunk {
                    kind,
                    bytes,
                    first: true,
                    last: true,
                    ..
                }))) if !core.has_codec() => {
                    core.deadlines.received_message(context.now);
                    *left = input.len();
                    deliver(handler, core, context, data, kind, bytes);
                }
                Ok(Some(Event::Data(chunk))) => {
                    core.deadlines.received_message(context.now);
                    *left = input.len();
                    deliver_assembled(handler, core, context, data, chunk);
                }
                Ok(Some(Event::Ping(_))) => {
                    core.transmit(context);
                    continue;
                }
                Ok(Some(Event::Close(close))) => {
                    if let Some(close) = close.filter(|close| !close.reason().is_empty()) {
                        core.rare().reason = close.reason().to_owned();
                    }
                    continue;
                }
                Ok(Some(_)) => continue,
                // What is owed after a violation is sent by `settle`.
                Ok(None) | Err(_) => return 0,
            }
            if core.lost {
                return 0;
            }
            if core.rare.is_some() && core.is_paused(context) {
                return input.len();
            }
            if context.work > MAX_WORK && !input.is_empty() {
                core.queue(context);
                return input.len();
            }
        }
        0
    }

    /// Reads a request, and gives what comes after it.
    fn receive_request<'a, H: Handler<Data = D>>(
        &mut self,
        handler: &mut H,
        context: &mut Context,
        input: &'a mut [u8],
    ) -> &'a mut [u8] {
        let settings = context.settings.clone();
        let rare = self.core.rare();
        let mut reading = rare
            .reading
            .take()
            .unwrap_or_else(|| Box::new(Reading::new(&settings.builder)));
        let mut rest = &*input;
        let Some(judged) = reading.read(&mut rest, &settings.builder) else {
            rare.reading = Some(reading);
            return &mut [];
        };
        let start = input.len() - rest.len();
        let mut out = Vec::new();
        let answered = catch_unwind(AssertUnwindSafe(|| {
            let callback = |request: &_| handler.on_request(request);
            reading.answer(judged, callback, &settings.builder, &mut out)
        }));
        let subprotocol = match answered {
            Ok(Answer::Accept(subprotocol)) => subprotocol,
            Ok(Answer::Last(_)) | Err(_) => {
                if answered.is_err() {
                    out = SERVER_ERROR.to_vec();
                }
                self.core.put(context, &out);
                self.core.phase = Phase::Response;
                self.core.deadlines = Deadlines::new(context.now);
                return &mut [];
            }
        };
        self.core.put(context, &out);
        self.core.phase = Phase::WebSocket;
        self.core.deadlines.opened(context.now);
        let limit = settings.limits.max_message_len;
        if let Some((codec, config)) = Codec::agreed(&reading, limit) {
            self.core.connection = Connection::with_config(Server, config);
            self.core.rare().codec = Some(codec);
        }
        if let Some(subprotocol) = subprotocol {
            self.core.rare().subprotocol = Some(subprotocol.into_boxed_str());
        }
        let core = &mut self.core;
        let slot_data = &mut self.data;
        let opened = catch_unwind(AssertUnwindSafe(|| {
            let data = slot_data.insert(D::default());
            let peer = &mut Peer {
                core: &mut *core,
                context: &mut *context,
                data,
            };
            if let Err(error) = handler.on_open(peer, &reading.request) {
                peer.core.judge(peer.context, &error);
            }
        }));
        if opened.is_err() {
            self.core.fail(context, CloseCode::INTERNAL_ERROR);
        }
        &mut input[start..]
    }

    // ---- after each ----

    /// Writes what was gathered, and goes on with the end of the connection where it has begun.
    pub(super) fn settle<H: Handler<Data = D>>(&mut self, handler: &mut H, context: &mut Context) {
        let core = &mut self.core;
        if core.phase == Phase::WebSocket {
            core.transmit(context);
        }
        core.flush(context);
        match core.stream.flush() {
            Ok(true) => {}
            Ok(false) => core.arm(context),
            Err(_) => core.lost = true,
        }
        if core.lost || core.phase != Phase::WebSocket || core.connection.state() != State::Open {
            self.go_on_ending(handler, context);
        }
        if self.core.rare.is_some() {
            self.core.tell_backlog();
            self.core.tidy();
        }
    }

    #[cold]
    fn go_on_ending<H: Handler<Data = D>>(&mut self, handler: &mut H, context: &mut Context) {
        let core = &mut self.core;
        let written = core.backlog() == 0 && core.stream.is_flushed();
        match core.phase {
            Phase::WebSocket => {
                core.deadlines.closing(context.now);
                core.end_outbox();
                if core.lost || (written && core.connection.should_shutdown()) {
                    self.finish(handler, context);
                }
            }
            Phase::Response if written => {
                core.phase = Phase::Drain;
                core.deadlines.closing(context.now);
                core.stream.shutdown();
                core.lost = core.ended;
            }
            _ => {}
        }
        if self.core.lost {
            self.core.phase = Phase::Over;
            self.core.rare = None;
        }
    }

    /// The WebSocket is closed, or lost: tells the application, and ends this side's half.
    fn finish<H: Handler<Data = D>>(&mut self, handler: &mut H, context: &mut Context) {
        let core = &mut self.core;
        // RFC 6455 §7.1.1: the server ends its half first, and the peer the connection [CL07]
        core.phase = Phase::Drain;
        if !core.lost {
            core.stream.shutdown();
            core.lost = core.ended;
        }
        let Some(mut data) = self.data.take() else {
            return;
        };
        let outcome = Outcome {
            code: core.connection.close_code(),
            reason: core::mem::take(&mut core.rare().reason),
            clean: core.connection.is_clean(),
        };
        // Whatever happens there, the connection has ended.
        let _ = catch_unwind(AssertUnwindSafe(|| {
            let peer = &mut Peer {
                core: &mut *core,
                context: &mut *context,
                data: &mut data,
            };
            handler.on_close(peer, &outcome);
            drop(data);
        }));
        // What is left is of no use to anybody.
        self.core.outbox = None;
        self.core.rare = None;
    }
}

/// Takes a part of a message, or a compressed one, and gives the message to the handler when it is
/// whole.
#[inline(never)]
fn deliver_assembled<H: Handler>(
    handler: &mut H,
    core: &mut Core,
    context: &mut Context,
    data: &mut H::Data,
    chunk: Chunk<'_>,
) {
    let kind = chunk.kind;
    match core.assemble(context, chunk) {
        Ok(true) => {
            let bytes = core::mem::take(&mut core.rare().message);
            deliver(handler, core, context, data, kind, &bytes);
            context.recycle(bytes);
        }
        Ok(false) => {}
        // What is owed then is sent by `settle`.
        Err(violation) => core.connection.fail(violation),
    }
}

/// Gives a whole message to the handler.
#[inline(always)] // There are two calls, and what is in between costs more than they do.
fn deliver<H: Handler>(
    handler: &mut H,
    core: &mut Core,
    context: &mut Context,
    data: &mut H::Data,
    kind: DataKind,
    payload: &[u8],
) {
    // The connection has checked what is text.
    let Ok(message) = Message::new(kind, payload) else {
        return;
    };
    if core.muted {
        return;
    }
    let peer = &mut Peer {
        core,
        context,
        data,
    };
    if let Err(error) = handler.on_message(peer, message) {
        peer.core.judge(peer.context, &error);
    }
}

impl Core {
    /// What an error of the handler means.
    fn judge(&mut self, context: &Context, error: &SendError) {
        match error {
            SendError::Closed => {}
            error if error.is_would_block() => self.fail(context, CloseCode::TRY_AGAIN_LATER),
            _ => self.fail(context, CloseCode::INTERNAL_ERROR),
        }
    }

    /// Appends a part of a message, and tells whether it is whole now. Room is made for what has
    /// come, never for what was announced.
    // [FR17]
    fn assemble(
        &mut self,
        context: &mut Context,
        chunk: Chunk<'_>,
    ) -> Result<bool, ProtocolViolation> {
        let rare = self.rare.get_or_insert_default();
        if chunk.first {
            rare.message = context.spare.pop().unwrap_or_default();
        }
        if let Some(codec) = &mut rare.codec {
            let before = rare.message.len();
            let least = match chunk.compressed {
                true => WORK_OF_ONE + WORK_OF_AN_OCTET * chunk.bytes.len(),
                false => 0,
            };
            let appended = codec.append(chunk, &mut rare.message);
            context.work += (rare.message.len() - before).max(least);
            return appended;
        }
        if chunk.first {
            // The next part comes soon, and is often small.
            let len = chunk.bytes.len();
            rare.message.reserve(len + len / 2);
        }
        rare.message.extend_from_slice(chunk.bytes);
        Ok(chunk.last)
    }
}
