//! What happens to a connection, and what its handler is told of it.

use core::net::SocketAddr;
use core::ops::Range;
use core::panic::AssertUnwindSafe;
use std::io;
use std::panic::catch_unwind;

use motews::Millis;
use motews::role::Server;
use motews::{Chunk, CloseCode, DataKind, Event, Message, Pace, Session, State};

use super::connection::{Core, MAX_WORK, Phase, Slot};
use super::context::Context;
use super::handler::Handler;
use super::id::PeerId;
use super::packing::Codec;
use super::peer::Peer;
use super::poll::TcpStream;
use super::reply::{Delivered, MIN_LEN};
use super::stream::Tls;
use crate::error::{AcceptError, SendError};
use crate::handshake::{Answer, Reading};

/// How often in a row one connection is read before the others have their turn.
const MAX_READS: usize = 2;

/// The response where the application has none.
const SERVER_ERROR: &[u8] =
    b"HTTP/1.1 500 Internal Server Error\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";

impl<D> Slot<D> {
    pub(super) fn new(socket: TcpStream, tls: Tls, id: PeerId, context: &Context) -> Self {
        let core = Core::new(socket, tls, id, context);
        Self { core, data: None }
    }

    // ---- what happens to it ----

    /// There is something to read. `ended`: the peer's half has ended, behind what is there.
    #[inline(always)] // See `socket`.
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
    #[inline(always)] // See `socket`.
    fn read<H: Handler<Data = D>>(
        &mut self,
        handler: &mut H,
        context: &mut Context,
        buffer: &mut [u8],
        ended: bool,
    ) {
        for _ in 0..MAX_READS {
            if context.turn.work > MAX_WORK {
                break;
            }
            if self.core.is_paused(context) || self.core.is_over() {
                return;
            }
            let start = context.used;
            let room = &mut buffer[start..];
            match self.core.stream().read(room, &mut context.turn) {
                Ok(Some(0)) => {
                    self.core.unread = false;
                    self.end(handler, context);
                    return;
                }
                Ok(Some(len)) => {
                    let range = start..start + len;
                    let rest = self.receive(handler, context, buffer, range.clone());
                    if rest > 0 {
                        self.core.stash(&buffer[range.end - rest..range.end]);
                    }
                    let is_drained = range.end < buffer.len()
                        && !ended
                        && self.core.stream().is_drained_by_short_read();
                    if is_drained && self.core.may_hold(context) {
                        self.core.hold(context);
                    } else {
                        self.settle_replies(handler, context, buffer);
                    }
                    if is_drained && !self.core.is_lost() {
                        self.core.unread = false;
                        return;
                    }
                }
                // TLS may have to answer.
                Ok(None) => self.settle(handler, context),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.core.unread = false;
                    if self.core.is_lost() {
                        // Nothing more is there, and nothing can be answered.
                        self.end(handler, context);
                    }
                    return;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.core.lose(error);
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
        if self.core.outgoing.is_written() {
            return;
        }
        // What is read now must not be overtaken by what this event lets be read after it.
        context.may_hold = false;
        self.core.write_waiting(context);
        // A ping or a Close may have waited for that.
        self.go_on(handler, context);
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
        // What was read before comes first.
        let limit = context.settings.limits.backlog / 4;
        if waits || self.core.outgoing.holds_back(limit) {
            return;
        }
        if let Some(cold) = &mut self.core.cold
            && !cold.input.is_empty()
        {
            let mut input = core::mem::take(&mut cold.input);
            let decoded = cold.decoded;
            let range = decoded..input.len();
            let rest = self.receive(handler, context, &mut input, range);
            self.settle_replies(handler, context, &input);
            if rest > 0 {
                let cold = self.core.cold();
                cold.decoded = input.len() - rest;
                cold.input = input;
            }
        }
        if self.core.unread && !self.core.outgoing.holds_back(limit) {
            self.read(handler, context, buffer, true);
        }
    }

    /// This side gives it up.
    pub(super) fn abort<H: Handler<Data = D>>(&mut self, handler: &mut H, context: &mut Context) {
        match self.core.phase {
            Phase::Session => self.core.session.abort(),
            _ => self.core.lose(io::ErrorKind::ConnectionAborted.into()),
        }
        self.go_on(handler, context);
    }

    /// An event says that the stream has failed.
    pub(super) fn failed<H: Handler<Data = D>>(
        &mut self,
        handler: &mut H,
        context: &mut Context,
        error: io::Error,
    ) {
        self.core.lose_output(context, error);
        self.settle(handler, context);
    }

    /// The peer's half of the stream has ended.
    fn end<H: Handler<Data = D>>(&mut self, handler: &mut H, context: &mut Context) {
        let core = &mut self.core;
        match core.phase {
            // What was read as the end may be the failure, if writing has met that before.
            Phase::Session if core.is_lost() => core.session.lost(),
            Phase::Session => core.session.receive_eof(),
            // It may still read.
            Phase::Response => core.cold().ended = true,
            _ => core.lose(io::ErrorKind::UnexpectedEof.into()),
        }
        self.settle(handler, context);
    }

    /// Looks whether a deadline has come.
    pub(super) fn sweep<H: Handler<Data = D>>(&mut self, handler: &mut H, context: &mut Context) {
        let core = &mut self.core;
        if core.phase == Phase::Session {
            // Silence is no evidence against a peer that is not read.
            let reads = !core.is_paused(context);
            core.session.reading(context.now, reads);
            let due = core.session.poll_at(&context.settings.timeouts);
            if !core.unread && due.is_some_and(|at| context.now.has_reached(at)) {
                // The event that tells of input may not have been taken yet: after a loop was held
                // up, more connections may be ready than are taken at once.
                core.unread = core.socket.peek(&mut [0]).is_ok();
            }
        }
        self.go_on(handler, context);
        self.tidy();
    }

    /// The server goes down (RFC 6455 §7.4.1), until `by` at the latest.
    pub(super) fn shut_down<H: Handler<Data = D>>(
        &mut self,
        handler: &mut H,
        context: &mut Context,
        by: Option<Millis>,
    ) {
        match self.core.phase {
            Phase::Request => self.core.lose(io::ErrorKind::ConnectionAborted.into()),
            Phase::Session => {
                if let Some(by) = by {
                    self.core.session.close_by(by);
                }
                // It may be closing already.
                let _ = self.core.close(CloseCode::GOING_AWAY, "");
                // Also if there is no time to wait for an answer.
                self.core.transmit(context);
                self.core.flush(context);
            }
            _ => {}
        }
        self.go_on(handler, context);
        self.tidy();
    }

    // ---- receiving ----

    /// Takes what is in the part `range` of `buffer`, and returns how much of it, at its end, is to be
    /// taken later.
    #[inline]
    fn receive<H: Handler<Data = D>>(
        &mut self,
        handler: &mut H,
        context: &mut Context,
        buffer: &mut [u8],
        range: Range<usize>,
    ) -> usize {
        let Range { start: mut at, end } = range;
        if self.core.phase == Phase::Request {
            at = end - self.receive_request(handler, context, &buffer[at..end]);
        }
        if !self.core.is_open() {
            return 0;
        }
        self.core.session.received(context.now);
        let buffer = &mut buffer[..end];
        loop {
            let received = catch_unwind(AssertUnwindSafe(|| {
                self.receive_messages(handler, context, &mut *buffer, &mut at)
            }));
            if received.is_ok() {
                return end - at;
            }
            // The handler gets nothing more; but the peer's Close may be in what is left. What it has
            // sent before it panicked is sent.
            self.core.fail(CloseCode::INTERNAL_ERROR);
            if context.replies.is_sent() {
                context.replies.append(buffer);
            }
        }
    }

    /// Decodes `buffer` from `at` on, until its end or until the answers are not read.
    #[inline]
    fn receive_messages<H: Handler<Data = D>>(
        &mut self,
        handler: &mut H,
        context: &mut Context,
        buffer: &mut [u8],
        at: &mut usize,
    ) {
        let (core, data) = (&mut self.core, &mut self.data);
        while *at < buffer.len() {
            let (before, mut input) = buffer.split_at_mut(*at);
            let len = input.len();
            match core.session.next_event(&mut input) {
                // Read where it lies: a chunk that is passed on as a whole is first copied.
                Ok(Some(Event::Data(Chunk {
                    kind,
                    bytes,
                    first: true,
                    last: true,
                    ..
                }))) if !core.has_codec() => {
                    *at += len - input.len();
                    let in_place;
                    let mut delivered = None;
                    if bytes.len() >= MIN_LEN || context.replies.len() > 0 {
                        let replies = &before[context.replies.range()];
                        let start = *at - bytes.len();
                        context.replies.deliver(start, bytes.len());
                        in_place = Delivered::new(start - before.len(), bytes, replies);
                        delivered = Some(&in_place);
                    }
                    deliver(handler, core, context, data, kind, bytes, delivered);
                    if context.replies.is_sent() {
                        context.replies.append(buffer);
                    }
                }
                Ok(Some(Event::Data(chunk))) => {
                    *at += len - input.len();
                    let delivered = Delivered::after(&before[context.replies.range()]);
                    deliver_assembled(handler, core, context, data, chunk, &delivered);
                }
                Ok(Some(event)) => {
                    *at += len - input.len();
                    match event {
                        Event::Ping(_) => {
                            let replies = &before[context.replies.range()];
                            core.copy_replies(context, &Delivered::after(replies));
                            core.transmit(context);
                        }
                        Event::Close(close) => {
                            if let Some(close) = close.filter(|close| !close.reason().is_empty()) {
                                core.cold().reason = close.reason().to_owned();
                            }
                            let replies = &before[context.replies.range()];
                            core.copy_replies(context, &Delivered::after(replies));
                            core.write_rest(context);
                        }
                        _ => {}
                    }
                    continue;
                }
                Ok(None) => {
                    *at = buffer.len();
                    return;
                }
                // What is owed then is sent by `settle`.
                Err(_) => {
                    let replies = &before[context.replies.range()];
                    core.copy_replies(context, &Delivered::after(replies));
                    core.write_rest(context);
                    *at = buffer.len();
                    return;
                }
            }
            if (core.cold.is_some() || !core.outgoing.is_plain()) && core.is_paused(context) {
                return;
            }
            if context.turn.work > MAX_WORK && *at < buffer.len() {
                core.queue(context);
                return;
            }
        }
    }

    /// Reads a request, and returns how much comes after it.
    #[inline(never)]
    fn receive_request<H: Handler<Data = D>>(
        &mut self,
        handler: &mut H,
        context: &mut Context,
        mut input: &[u8],
    ) -> usize {
        let settings = context.settings.clone();
        let address = context.address(self.core.id);
        let cold = self.core.cold();
        let mut reading = cold
            .reading
            .take()
            .unwrap_or_else(|| Box::new(Reading::new(&settings.handshake)));
        let Some(judged) = reading.read(&mut input, &settings.handshake) else {
            cold.reading = Some(reading);
            return 0;
        };
        reading.request.address = Some(address);
        let pace = cold.pace.take().unwrap_or(Pace::new(context.now));
        let mut out = Vec::new();
        let answered = catch_unwind(AssertUnwindSafe(|| {
            let callback = |request: &_| handler.on_request(request);
            reading.answer(judged, callback, &settings.handshake, &mut out)
        }));
        let subprotocol = match answered {
            Ok(Answer::Accept(subprotocol)) => subprotocol,
            refused => {
                let error = match refused {
                    Ok(Answer::Last(error)) => error,
                    _ => {
                        out = SERVER_ERROR.to_vec();
                        AcceptError::Io(io::Error::other("the handler has panicked"))
                    }
                };
                let mut pace = pace;
                pace.responding(context.now);
                self.core.cold().pace = Some(pace);
                self.core.phase = Phase::Response;
                self.core.put(context, &out);
                // What the handler has answered by itself is no failure.
                if !matches!(error, AcceptError::Answered(_)) {
                    report(handler, Some(address), &error);
                }
                return 0;
            }
        };
        let mut config = settings.config();
        let limit = usize::try_from(settings.limits.message).unwrap_or(usize::MAX);
        if let Some((codec, agreed)) = Codec::agreed(&reading, limit) {
            config = agreed;
            self.core.cold().codec = Some(codec);
        }
        self.core.session = Session::with_pace(Server, config, pace, context.now);
        self.core.phase = Phase::Session;
        self.core.put(context, &out);
        if let Some(subprotocol) = subprotocol {
            self.core.cold().subprotocol = Some(subprotocol.into_boxed_str());
        }
        // The next message takes the short way, if nothing else is kept.
        self.core.tidy();
        let core = &mut self.core;
        let opened = catch_unwind(AssertUnwindSafe(|| {
            let peer = &mut Peer {
                core: &mut *core,
                context: &mut *context,
                data: &mut (),
                delivered: None,
            };
            handler.on_open(peer, &reading.request)
        }));
        match opened {
            Ok(Ok(data)) => self.data = Some(data),
            // There is nothing to give a message with, even if the application closed it by itself.
            Ok(Err(SendError::Closed)) => self.core.fail(CloseCode::NORMAL),
            Ok(Err(error)) => self.core.fail_with(&error),
            Err(_) => self.core.fail(CloseCode::INTERNAL_ERROR),
        }
        input.len()
    }

    // ---- after each ----

    /// Writes the replies that lie in `buffer`, and the rest as [`settle`](Self::settle).
    pub(super) fn settle_replies<H: Handler<Data = D>>(
        &mut self,
        handler: &mut H,
        context: &mut Context,
        buffer: &[u8],
    ) {
        let range = context.replies.range();
        if !range.is_empty() {
            context.replies.clear();
            self.core.write_replies(context, &buffer[range]);
        }
        self.settle(handler, context);
    }

    /// Writes what was gathered, and goes on with the end of the connection if it has begun.
    pub(super) fn settle<H: Handler<Data = D>>(&mut self, handler: &mut H, context: &mut Context) {
        let core = &mut self.core;
        if core.session.connection().wants_transmit() {
            core.transmit(context);
        }
        core.flush(context);
        if !core.is_quiet() {
            self.go_on(handler, context);
        }
        self.tidy();
    }

    fn tidy(&mut self) {
        if self.core.cold.is_some() {
            self.core.tidy();
        }
    }

    /// Does what the time and the state of the connection ask for.
    fn go_on<H: Handler<Data = D>>(&mut self, handler: &mut H, context: &mut Context) {
        self.core.flush(context);
        match self.core.phase {
            Phase::Session => self.go_on_in_session(handler, context),
            _ => self.go_on_without(handler, context),
        }
        let core = &mut self.core;
        if core.is_over() {
            core.cold = None;
            core.outgoing.drop_all();
            return;
        }
        if core.outgoing.is_written() && core.cold.as_ref().is_some_and(|cold| cold.shuts_down) {
            core.end_half(context);
        }
        if matches!(core.phase, Phase::Session | Phase::Drain) && !core.is_quiet() {
            context.ending.insert(core.id);
        }
    }

    fn go_on_in_session<H: Handler<Data = D>>(&mut self, handler: &mut H, context: &mut Context) {
        let core = &mut self.core;
        let wants = loop {
            let mut timeouts = context.settings.timeouts;
            if core.outgoing.has_queued() {
                // Rule 7: what was accepted goes before a Close. Nothing is idle as long as it waits.
                timeouts.idle = None;
            }
            let wants = core.session.poll(context.now, &timeouts, core.unread);
            if !wants.transmit || !core.outgoing.is_written() {
                break wants;
            }
            core.transmit(context);
            if context.cork.len() == 0 {
                // What is owed waits for something else.
                break wants;
            }
            core.flush(context);
        };
        if core.session.connection().state() != State::Open {
            core.outgoing.end_outbox();
        }
        if wants.shutdown {
            // RFC 6455 §7.1.1: the server ends its half first, and the peer the connection [CL07]
            core.end_half(context);
        }
        if wants.drop {
            core.phase = Phase::Over;
        }
        if core.session.ended().is_some() {
            self.finish(handler, context);
        }
    }

    /// The opening handshake, or the response that ends it.
    #[cold]
    fn go_on_without<H: Handler<Data = D>>(&mut self, handler: &mut H, context: &mut Context) {
        let core = &mut self.core;
        let timeouts = &context.settings.timeouts;
        let cold = core.cold.get_or_insert_default();
        if let Some(pace) = &mut cold.pace
            && pace.poll(context.now, timeouts).is_some()
        {
            core.lose(io::ErrorKind::TimedOut.into());
        }
        match core.phase {
            Phase::Response if core.outgoing.is_written() => {
                let cold = core.cold();
                let ended = cold.ended;
                if let Some(pace) = &mut cold.pace {
                    pace.draining(context.now, &context.settings.timeouts);
                }
                core.end_half(context);
                core.phase = if ended { Phase::Over } else { Phase::Drain };
            }
            Phase::Failed => {
                let cold = core.cold();
                let error = match cold.error.take() {
                    Some(error) if error.kind() == io::ErrorKind::TimedOut => AcceptError::TimedOut,
                    Some(error) => AcceptError::Io(error),
                    None => AcceptError::Io(io::ErrorKind::UnexpectedEof.into()),
                };
                let address = context.address(core.id);
                report(handler, Some(address), &error);
                core.phase = Phase::Over;
            }
            _ => {}
        }
    }

    /// The session has ended: the application is called, once.
    #[cold]
    fn finish<H: Handler<Data = D>>(&mut self, handler: &mut H, context: &mut Context) {
        let core = &mut self.core;
        if let (Some(mut data), Some(ended)) = (self.data.take(), core.session.ended()) {
            // Whatever happens there, the connection has ended.
            let _ = catch_unwind(AssertUnwindSafe(|| {
                let peer = &mut Peer {
                    core: &mut *core,
                    context: &mut *context,
                    data: &mut data,
                    delivered: None,
                };
                handler.on_close(peer, ended);
                drop(data);
            }));
        }
        // What is left is of no use to anybody.
        if let Some(cold) = self.core.cold.take()
            && cold.shuts_down
        {
            self.core.cold().shuts_down = true;
        }
    }
}

/// Tells the handler of a connection that was never open.
pub(super) fn report<H: Handler>(
    handler: &mut H,
    address: Option<SocketAddr>,
    error: &AcceptError,
) {
    // It concerns no other connection.
    let _ = catch_unwind(AssertUnwindSafe(|| handler.on_failure(address, error)));
}

/// Takes a part of a message, or a compressed one, and gives the message to the handler when it is
/// whole.
#[inline(never)]
fn deliver_assembled<H: Handler>(
    handler: &mut H,
    core: &mut Core,
    context: &mut Context,
    data: &mut Option<H::Data>,
    chunk: Chunk<'_>,
    delivered: &Delivered<'_>,
) {
    let kind = chunk.kind;
    match core.assemble(context, chunk) {
        Ok(true) => {
            let bytes = core::mem::take(&mut core.cold().message);
            deliver(handler, core, context, data, kind, &bytes, Some(delivered));
            context.recycle(bytes);
        }
        Ok(false) => {}
        // What is owed then is sent by `settle`.
        Err(violation) => {
            core.session.fail(violation);
            core.write_rest(context);
        }
    }
}

/// Gives a whole message to the handler.
#[inline(always)] // There are two calls, and what is in between costs more than they do.
fn deliver<H: Handler>(
    handler: &mut H,
    core: &mut Core,
    context: &mut Context,
    data: &mut Option<H::Data>,
    kind: DataKind,
    payload: &[u8],
    delivered: Option<&Delivered<'_>>,
) {
    // The connection has checked what is text. There is no data if `on_open` has failed.
    let (Ok(message), Some(data)) = (Message::new(kind, payload), data) else {
        return;
    };
    if core.cold.as_ref().is_some_and(|cold| cold.muted) {
        return;
    }
    let peer = &mut Peer {
        core,
        context,
        data,
        delivered,
    };
    if let Err(error) = handler.on_message(peer, message) {
        peer.core.fail_with(&error);
    }
}
