//! Sending, and the end.

use core::task::{Context, Poll, ready};
use std::io;

use bytes::Bytes;
use motews::{CloseCode, DataFrame, Deadline, Ended, MAX_CONTROL_LEN, Role, State};
use tokio::io::{AsyncRead, AsyncWrite};

use super::{Engine, Turn};
use crate::error::{Lost, SendError, TrySendError};
use crate::message::Message;
use crate::wakers::{Mark, Side, Slot};

impl<S: AsyncRead + AsyncWrite + Unpin, R: Role> Engine<S, R> {
    // ---- send ----

    /// Why nothing can be sent, if nothing can.
    #[inline]
    pub(crate) fn check_open(&self) -> Result<(), SendError> {
        // RFC 6455 §6.1: no data unless the connection is open [MS08]
        if self.is_lost || self.session.connection().state() != State::Open {
            return Err(self.refusal());
        }
        Ok(())
    }

    #[cold]
    fn refusal(&self) -> SendError {
        let error = self.end.as_ref().and_then(|end| end.error.as_ref());
        match self.session.ended() {
            Some(Ended::TimedOut(Deadline::Write)) => SendError::TimedOut,
            Some(Ended::NoEntropy) => SendError::Entropy,
            _ => match error.map(Lost::to_io) {
                Some(error) if !is_gone(&error) => SendError::Io(error),
                _ => SendError::Closed,
            },
        }
    }

    /// Whether a message can be taken now.
    #[inline(always)]
    pub(crate) fn is_ready(&mut self) -> bool {
        self.look_for_shutdown();
        self.has_room() && self.check_open().is_ok()
    }

    /// Waits for room to send. While it waits, it reads. If `gives_up`, it fails if that might last for
    /// ever: see [`SendError::InboundFull`].
    #[inline]
    pub(crate) fn poll_ready(
        &mut self,
        cx: &mut Context<'_>,
        slot: &mut Slot,
        gives_up: bool,
    ) -> Poll<Result<(), SendError>> {
        self.poll_room(cx, slot, gives_up, |engine| !engine.streams)
    }

    /// The same, and for `may`. Room is there as well when all has left that was sent before the wait, for
    /// one at a time: else who sends without end could always be there first.
    #[inline]
    pub(super) fn poll_room(
        &mut self,
        cx: &mut Context<'_>,
        slot: &mut Slot,
        gives_up: bool,
        may: impl Fn(&Self) -> bool,
    ) -> Poll<Result<(), SendError>> {
        self.look_for_shutdown();
        self.check_open()?;
        if may(self) && self.has_room_for_fragment() {
            slot.mark = Mark::None;
            return Poll::Ready(Ok(()));
        }
        let before = match slot.mark {
            Mark::Room(before) => before,
            _ => self.out.sent_to(),
        };
        slot.mark = Mark::Room(before);
        let result = self.poll_out(cx, slot, gives_up, |engine| {
            let has_room = engine.has_room_for_fragment() || engine.out.may_pass(before);
            engine.stream.is_some() && may(engine) && has_room
        });
        if result.is_ready() {
            slot.mark = Mark::None;
        }
        if matches!(result, Poll::Ready(Ok(()))) && !self.has_room_for_fragment() {
            self.out.pass();
        }
        result
    }

    /// Waits until everything is written that was sent before.
    #[inline(always)]
    pub(crate) fn poll_flush(
        &mut self,
        cx: &mut Context<'_>,
        slot: &mut Slot,
        gives_up: bool,
    ) -> Poll<Result<(), SendError>> {
        if self.is_written() && !self.is_lost && !self.is_cut {
            slot.mark = Mark::None;
            return Poll::Ready(Ok(()));
        }
        let is_open = self.session.connection().state() == State::Open;
        slot.mark = match (slot.mark, &self.behind) {
            (Mark::Sent(place), _) => Mark::Sent(place),
            _ if !is_open => Mark::None,
            (Mark::Behind(since), Some(behind)) if behind.since == since => Mark::Behind(since),
            (Mark::Behind(_), _) | (_, None) => Mark::Sent(self.out.sent_to()),
            (_, Some(behind)) => Mark::Behind(behind.since),
        };
        match slot.mark {
            Mark::Sent(place) => self.poll_left(cx, slot, gives_up, place),
            _ => self.poll_out(cx, slot, gives_up, Self::is_written),
        }
    }

    /// Waits until everything before this place has left.
    #[inline(always)]
    pub(super) fn poll_left(
        &mut self,
        cx: &mut Context<'_>,
        slot: &mut Slot,
        gives_up: bool,
        place: u64,
    ) -> Poll<Result<(), SendError>> {
        let result = match self.out.has_left(place) {
            true => Poll::Ready(Ok(())),
            false => self.poll_out(cx, slot, gives_up, |engine| engine.out.has_left(place)),
        };
        if result.is_ready() {
            slot.mark = Mark::None;
        }
        result
    }

    /// The same for what was taken already: the calls that follow write it.
    #[inline(always)]
    pub(crate) fn poll_written(
        &mut self,
        cx: &mut Context<'_>,
        slot: &mut Slot,
        gives_up: bool,
    ) -> Poll<Result<(), SendError>> {
        let mut of_all = None;
        let waker = self.waker(cx.waker(), &mut of_all);
        if self.write(&mut Context::from_waker(waker)) && !self.is_cut {
            slot.mark = Mark::None;
            return Poll::Ready(Ok(()));
        }
        self.poll_written_slowly(cx, slot, gives_up)
    }

    /// The same if it was not written at once.
    #[cold]
    fn poll_written_slowly(
        &mut self,
        cx: &mut Context<'_>,
        slot: &mut Slot,
        gives_up: bool,
    ) -> Poll<Result<(), SendError>> {
        match ready!(self.poll_flush(cx, slot, gives_up)) {
            Err(SendError::InboundFull) => Poll::Ready(Ok(())),
            flushed => Poll::Ready(flushed),
        }
    }

    /// Goes on until `is_done`.
    #[inline(always)]
    pub(super) fn poll_out(
        &mut self,
        cx: &mut Context<'_>,
        slot: &mut Slot,
        gives_up: bool,
        is_done: impl Fn(&Self) -> bool,
    ) -> Poll<Result<(), SendError>> {
        let result = self.poll_turns(cx, slot, gives_up, is_done);
        if result.is_ready() && self.session.connection().state() != State::Open {
            // It waits for the end now, and for less long.
            self.wakers.wake_reader();
        }
        result
    }

    #[inline(always)]
    fn poll_turns(
        &mut self,
        cx: &mut Context<'_>,
        slot: &mut Slot,
        gives_up: bool,
        is_done: impl Fn(&Self) -> bool,
    ) -> Poll<Result<(), SendError>> {
        let mut of_all = None;
        let waker = self.waker(cx.waker(), &mut of_all);
        let inner = &mut Context::from_waker(waker);
        self.write(inner);
        let mut is_registered = false;
        loop {
            if self.is_lost || self.is_cut {
                return Poll::Ready(Err(self.refusal()));
            }
            if is_done(self) {
                return Poll::Ready(Ok(()));
            }
            if self.stream.is_none() {
                return Poll::Ready(Err(self.refusal()));
            }
            if !core::mem::replace(&mut is_registered, true) {
                self.wait(Side::Writer(slot), cx.waker());
            }
            let turn = self.turn(inner, usize::MAX);
            // Whoever answers what it receives waits for the peer. Whoever is ahead may be what the
            // peer waits for, and has to receive.
            if gives_up
                && turn == Turn::Pending
                && self.is_full()
                && self.ahead >= self.settings.max_inbound.max(1)
            {
                return Poll::Ready(Err(SendError::InboundFull));
            }
            // The turn itself may have written what was waited for, since the peer has just made room: then
            // nothing else wakes this task.
            let is_over = self.is_lost || self.is_cut || is_done(self);
            if turn == Turn::Pending && !is_over {
                self.out.release();
                return Poll::Pending;
            }
        }
    }

    /// Takes the message as soon as there is room, then waits until it is written, unless it
    /// [defers](Self::defers).
    #[inline(always)]
    pub(crate) fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        slot: &mut Slot,
        message: &mut Option<Message>,
    ) -> Poll<Result<(), SendError>> {
        let gives_up = !self.is_split;
        if message.is_some() {
            ready!(self.poll_ready(cx, slot, gives_up))?;
            if let Some(message) = message.take() {
                self.accept(message).map_err(|(_, error)| error)?;
                slot.mark = Mark::Sent(self.out.sent_to());
            }
            if self.defers() {
                return Poll::Ready(Ok(()));
            }
        }
        self.poll_written(cx, slot, gives_up)
    }

    /// The same for a message that is not to be compressed.
    #[cfg(feature = "deflate")]
    pub(crate) fn poll_send_uncompressed(
        &mut self,
        cx: &mut Context<'_>,
        slot: &mut Slot,
        message: &mut Option<Message>,
    ) -> Poll<Result<(), SendError>> {
        if message.is_some() {
            ready!(self.poll_ready(cx, slot, !self.is_split))?;
            if let Some(message) = message.take() {
                self.accept_as(message, None).map_err(|(_, error)| error)?;
                slot.mark = Mark::Sent(self.out.sent_to());
            }
        }
        self.poll_send(cx, slot, message)
    }

    /// Takes a message, whether there is room or not; or gives it back.
    #[inline(always)]
    pub(crate) fn accept(&mut self, message: Message) -> Result<(), (Message, SendError)> {
        self.look_for_shutdown();
        if let Err(error) = self.check_open() {
            return Err((message, error));
        }
        self.accept_open(message)
    }

    /// The same if the connection was found to be open just now.
    #[inline(always)]
    pub(crate) fn accept_open(&mut self, message: Message) -> Result<(), (Message, SendError)> {
        if self.streams {
            self.accept_behind(message);
            return Ok(());
        }
        #[cfg(feature = "deflate")]
        let deflated = match &mut self.deflate {
            Some(deflate) => deflate.deflate(message.as_bytes()),
            None => None,
        };
        #[cfg(not(feature = "deflate"))]
        let deflated = None;
        self.accept_as(message, deflated)
    }

    /// Takes a message, and sends it as `deflated` if that is there.
    #[inline(always)]
    pub(crate) fn accept_as(
        &mut self,
        message: Message,
        deflated: Option<Bytes>,
    ) -> Result<(), (Message, SendError)> {
        let cost = message.cost();
        let frame = DataFrame {
            kind: message.kind(),
            fin: true,
            compressed: deflated.is_some(),
            payload_len: deflated.as_ref().map_or(message.len(), Bytes::len) as u64,
        };
        let header = match self.session.start_frame(frame) {
            Ok(header) => header,
            Err(error) => {
                // The peer will never have what later messages could refer to.
                #[cfg(feature = "deflate")]
                if let Some(deflate) = &mut self.deflate {
                    deflate.reset();
                }
                return Err((message, error.into()));
            }
        };
        self.ahead = self.ahead.saturating_add(cost);
        let payload = deflated.unwrap_or_else(|| message.into_bytes());
        self.out.push_frame(&header, payload);
        Ok(())
    }

    /// Whether what was sent may wait for what is sent next: another message is there to be answered,
    /// by the same task.
    #[inline]
    pub(crate) fn defers(&self) -> bool {
        !self.is_split && self.has_room() && self.has_message()
    }

    /// Takes a message if there is room, and writes what can be written at once.
    pub(crate) fn try_send(&mut self, message: Message) -> Result<(), TrySendError> {
        if !self.has_room() {
            self.write_now();
            if !self.has_room() && self.check_open().is_ok() {
                return Err(TrySendError::Full(message));
            }
        }
        let accepted = self.accept(message);
        accepted.map_err(|(message, error)| TrySendError::Failed(message, error))?;
        if !self.defers() {
            self.write_now();
        }
        Ok(())
    }

    /// Waits for room for a ping, which may go between the fragments of a message.
    pub(crate) fn poll_ready_to_ping(
        &mut self,
        cx: &mut Context<'_>,
        slot: &mut Slot,
        gives_up: bool,
    ) -> Poll<Result<(), SendError>> {
        self.poll_room(cx, slot, gives_up, |_| true)
    }

    /// Sends a ping as soon as there is room, then waits until it is written.
    pub(crate) fn poll_ping(
        &mut self,
        cx: &mut Context<'_>,
        slot: &mut Slot,
        payload: &mut Option<&[u8]>,
    ) -> Poll<Result<(), SendError>> {
        if let Some(bytes) = payload {
            ready!(self.poll_ready_to_ping(cx, slot, false))?;
            self.ping(bytes)?;
            slot.mark = Mark::Sent(self.out.sent_to());
            *payload = None;
        }
        self.poll_flush(cx, slot, false)
    }

    /// Appends a ping. There is room.
    pub(crate) fn ping(&mut self, payload: &[u8]) -> Result<(), SendError> {
        self.check_open()?;
        let mut frame = [0; MAX_CONTROL_LEN];
        let len = self.session.ping(payload, &mut frame)?;
        self.out.push(&frame[..len]);
        Ok(())
    }

    /// Writes what can be written at once. What is left wakes whoever waits for the connection.
    pub(crate) fn write_now(&mut self) {
        self.write(&mut Context::from_waker(&self.waker_of_all()));
        if self.out.left() > 0 || self.session.connection().state() != State::Open {
            // There is more to wait for, and for less long.
            self.wakers.wake_reader();
        }
    }

    // ---- the end ----

    /// Begins the closing handshake: the Close goes behind what waits.
    pub(crate) fn close(&mut self, code: CloseCode, reason: &str) -> Result<(), SendError> {
        self.close_behind(code, reason)?;
        self.write_now();
        Ok(())
    }

    /// The same, and writes nothing.
    pub(super) fn close_behind(&mut self, code: CloseCode, reason: &str) -> Result<(), SendError> {
        if !self.streams {
            self.accept_newest();
        }
        self.session.close(code, reason)?;
        // Nothing else can follow a message that is not finished.
        self.is_cut |= self.behind.take().is_some();
        // Whoever waits for room need not wait any longer.
        self.wake_writers();
        Ok(())
    }

    /// Waits for the end. Messages that come are dropped if `drops`, and kept otherwise, as many as
    /// there is room for.
    pub(crate) fn poll_closed(
        &mut self,
        cx: &mut Context<'_>,
        side: Side<'_>,
        drops: bool,
    ) -> Poll<Ended> {
        let mut of_all = None;
        let waker = self.waker(cx.waker(), &mut of_all);
        self.wait(side, cx.waker());
        let inner = &mut Context::from_waker(waker);
        let discards = self.discards;
        self.discards |= drops;
        if self.discards {
            self.take_whole();
            self.inbox.clear_messages();
        }
        let ended = loop {
            match self.turn(inner, usize::MAX) {
                Turn::Again => {}
                Turn::Pending => {
                    self.inbox.release();
                    self.out.release();
                    break Poll::Pending;
                }
                Turn::Over => break Poll::Ready(self.session.ended().unwrap_or(Ended::Lost)),
            }
        };
        self.discards = discards;
        ended
    }

    /// Waits until this side's Close has left.
    pub(crate) fn poll_close(
        &mut self,
        cx: &mut Context<'_>,
        slot: &mut Slot,
    ) -> Poll<Result<(), SendError>> {
        if self.session.connection().state() == State::Open {
            self.close_behind(CloseCode::NORMAL, "")?;
        }
        // Nothing is sent behind it, and what was flushed before is not enough.
        slot.mark = Mark::None;
        match ready!(self.poll_flush(cx, slot, false)) {
            // It has ended already, which is what was wanted.
            Err(SendError::Closed) => Poll::Ready(Ok(())),
            // There was no key for the Close.
            Ok(()) if self.session.ended() == Some(Ended::NoEntropy) => {
                Poll::Ready(Err(SendError::Entropy))
            }
            flushed => Poll::Ready(flushed),
        }
    }

    pub(crate) fn split(&mut self) {
        self.is_split = true;
        self.share();
    }

    /// The application receives no more: what comes is dropped from now on.
    pub(crate) fn discard(&mut self) {
        self.discards = true;
        self.take_whole();
        self.inbox.clear_messages();
        // Whoever waits to send reads again.
        self.wake_writers();
    }

    /// Gives the connection up.
    pub(crate) fn abort(&mut self) {
        self.session.abort();
        self.finish();
    }
}

/// Whether an error of the transport says no more than that the peer has left.
fn is_gone(error: &io::Error) -> bool {
    use io::ErrorKind as Kind;
    matches!(
        error.kind(),
        Kind::BrokenPipe
            | Kind::ConnectionReset
            | Kind::ConnectionAborted
            | Kind::NotConnected
            | Kind::UnexpectedEof
    )
}
