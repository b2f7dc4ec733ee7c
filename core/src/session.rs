//! A [`Connection`] in time: who is alive, what is due, how it ends, and why.

use crate::close_code::CloseCode;
use crate::connection::{Connection, ConnectionConfig, State};
use crate::control::{ControlSlots, ControlStorage};
use crate::ended::Ended;
use crate::error::{EntropyError, ProtocolViolation, SendError};
use crate::event::{DataFrame, DataKind, Event, Sent, Step};
use crate::frame::FrameHeader;
use crate::log::{debug, trace};
use crate::message::Message;
use crate::pace::{Cause, DRAIN, Deadline, Millis, Pace, Phase, Sending, Timeouts};
use crate::role::Role;

/// What an adapter is to do: a set, returned by [`Session::poll`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "a set of five, each of which an adapter looks at by itself"
)]
pub struct Wants {
    /// Read, and give what comes to [`step`](Session::step).
    pub read: bool,
    /// Call [`poll_transmit`](Session::poll_transmit), and write what it writes.
    pub transmit: bool,
    /// End this side's half of the transport (§7.1.1). Set at most once in the life of a session, when
    /// the transport has taken everything.
    pub shutdown: bool,
    /// Read, and drop what comes: a socket that is closed with unread input resets the connection,
    /// which destroys what the peer has not read yet.
    pub drain: bool,
    /// Close the transport now, whatever state it is in.
    pub drop: bool,
}

/// An open connection in time, from the first frame until the transport can be dropped.
///
/// It adds to a [`Connection`] what all adapters would otherwise decide by themselves: when a peer
/// counts as alive, what each timeout means, how a connection ends and why. [`pace`](crate::pace) has
/// the rules. It has no clock and does no I/O; the [`Timeouts`] are lent to each call.
///
/// # The methods, by kind
/// - **what happened**: [`received`](Self::received), [`receive_eof`](Self::receive_eof),
///   [`lost`](Self::lost), [`sent`](Self::sent), [`sent_untimed`](Self::sent_untimed),
///   [`reading`](Self::reading)
/// - **decode**: [`next_event`](Self::next_event), or [`step`](Self::step) and [`resolve`](Self::resolve)
/// - **commands**: [`send`](Self::send), [`send_fragment`](Self::send_fragment),
///   [`start_frame`](Self::start_frame), [`ping`](Self::ping), [`close`](Self::close),
///   [`set_max_message_len`](Self::set_max_message_len), [`close_by`](Self::close_by), [`fail`](Self::fail), [`abort`](Self::abort)
/// - **what is to be done**: [`poll`](Self::poll), [`poll_untimed`](Self::poll_untimed),
///   [`poll_transmit`](Self::poll_transmit), [`poll_at`](Self::poll_at)
/// - **look**: [`ended`](Self::ended), [`wants_transmit`](Self::wants_transmit),
///   [`connection`](Self::connection), [`deadline`](Self::deadline)
///
/// # The run loop
/// 1. After a read that brought bytes call [`received`](Self::received) once, then
///    [`step`](Self::step) until all is consumed. After a ping call
///    [`poll_transmit`](Self::poll_transmit), so that each of several in one read has its pong while
///    there is room. At the end of input, when all is decoded, call
///    [`receive_eof`](Self::receive_eof), and after an error of the transport [`lost`](Self::lost).
/// 2. Call [`poll`](Self::poll). Do what is in the set, in this order: `transmit` (write what
///    [`poll_transmit`](Self::poll_transmit) writes behind everything that waits), `shutdown`, `drop`.
/// 3. Write to the transport, and call [`sent`](Self::sent) once, also if nothing was taken. If it
///    took something, go back to 2: the last byte may have been what the end waited for.
/// 4. Wait until there is something to read (if `read` or `drain` is in the set), room to write (if
///    something waits), or [`poll_at`](Self::poll_at) has come. Go to 1.
///
/// # The contract
/// - `received`, `sent`, `reading` and `poll` may be called again with the same arguments and change
///   nothing then; only `taken` of `sent` counts each time.
/// - [`poll`](Self::poll) before [`poll_at`](Self::poll_at) changes nothing unless something else has
///   happened; unread input counts as bytes received. After `poll`, and after what it wants is done,
///   `poll_at` is in the future or `None`: nobody loops in vain.
/// - A `now` that is earlier than one before (two threads, two looks at the clock) is taken for the
///   later one. At least one call in 12 days has to be made while a deadline is set.
/// - [`ended`](Self::ended) is `None` until the end is certain, and never changes after that.
/// - What `poll_transmit`, `send` and the like have written counts as waiting until `sent` reports what
///   became of it. So `shutdown` is not wanted before the transport has the last byte.
/// - A session whose adapter has no clock calls [`sent_untimed`](Self::sent_untimed) and
///   [`poll_untimed`](Self::poll_untimed) in place of `sent` and `poll`, and links none of the
///   deadlines.
///
/// # States
#[doc = include_str!("session.txt")]
/// # Example
/// A server's session that echoes, and a peer that closes:
///
/// ```
/// use motews::{Millis, Timeouts};
/// use motews::{ConnectionConfig, Ended, Event, Server, Session};
///
/// let timeouts = &Timeouts::DEFAULT;
/// let mut now = Millis(0);
/// let mut session: Session<Server> = Session::new(Server, ConnectionConfig::default(), now);
///
/// // 1. A masked "Hello" and a masked Close with the code 1000 arrive in one read.
/// let mut input = *b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58\x88\x82\0\0\0\0\x03\xe8";
/// let (mut input, mut out, mut len) = (&mut input[..], [0; 64], 0);
/// session.received(now);
/// while let Some(event) = session.next_event(&mut input)? {
///     if let Event::Data(chunk) = event {
///         let sent = session.send_fragment(chunk.kind, chunk.bytes, chunk.last, &mut out[len..])?;
///         len += sent.written;
///     }
/// }
///
/// // 2. The reply to the Close is owed, behind the echo.
/// assert!(session.poll(now, timeouts, false).transmit);
/// len += session.poll_transmit(&mut out[len..])?;
/// assert_eq!(&out[..len], b"\x81\x05Hello\x88\x02\x03\xe8");
///
/// // 3. The transport takes it all. Then this side's half ends.
/// session.sent(now, timeouts, len, 0);
/// let wants = session.poll(now, timeouts, false);
/// assert!(wants.shutdown && wants.drain && !wants.drop);
/// assert!(session.ended().is_some_and(Ended::is_clean));
///
/// // 4. The peer does not end its half: a second later this side closes the transport.
/// now = session.poll_at(timeouts).expect("the time to drain is limited");
/// assert_eq!(now, Millis(1_000));
/// assert!(session.poll(now, timeouts, false).drop);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
// In this order: firmware reaches what lies in front with shorter instructions.
#[repr(C)]
#[derive(Debug)]
pub struct Session<R, C = ControlSlots> {
    pace: Pace,
    connection: Connection<R, C>,
}

impl<R: Role, C: ControlStorage> Session<R, C> {
    /// Returns the session of a connection whose opening handshake is complete now.
    #[must_use]
    pub fn new(role: R, config: ConnectionConfig, now: Millis) -> Self {
        Self::with_pace(role, config, Pace::new(now), now)
    }

    /// Returns the session of a connection whose opening handshake is complete now. `pace` was used
    /// for the handshake: bytes of the response may still wait.
    #[must_use]
    pub fn with_pace(role: R, config: ConnectionConfig, pace: Pace, now: Millis) -> Self {
        Self {
            connection: Connection::with_config(role, config),
            pace: Pace {
                heard: now,
                message: now,
                phase: Phase::Heard,
                ..pace
            },
        }
    }

    // ---- what happened ----

    /// Records that bytes were received. To be called once for each read that brought some, before
    /// they are decoded.
    #[inline]
    pub fn received(&mut self, now: Millis) {
        let pace = &mut self.pace;
        if pace.phase.is_open() {
            pace.heard = pace.heard.max(now);
            if pace.phase != Phase::Paused {
                pace.phase = Phase::Heard;
            }
        }
    }

    /// Records that the peer's half of the transport has ended, and that all input before is decoded.
    /// Without a Close before, the connection fails with [`ProtocolViolation::UnexpectedEof`].
    // [CL18]
    pub fn receive_eof(&mut self) {
        // `ended` returns the violation.
        let _ = self.connection.receive_eof();
    }

    /// Records that the transport has failed: nothing can be read or written any more.
    pub fn lost(&mut self) {
        self.end(Cause::Lost);
    }

    /// Records that the transport took `taken` bytes, and that `left` bytes wait outside of it. To be
    /// called after each write, also after one that took nothing.
    ///
    /// `taken` are acknowledged bytes if the transport knows, and accepted ones otherwise. `left` is
    /// everything that the caller has accepted for this peer and the transport has not taken.
    pub fn sent(&mut self, now: Millis, timeouts: &Timeouts, taken: usize, left: usize) {
        let pace = &mut self.pace;
        match pace.phase {
            // Rule 7: nothing renews it, the pongs to the peer's pings neither [CL21].
            Phase::Closed => {
                pace.leave(left);
                return;
            }
            // What is reported afterwards does not change how it ended.
            Phase::Draining | Phase::DrainingBy | Phase::Over => return,
            _ => {}
        }
        pace.sent(now, timeouts, taken, left);
        let flows = match pace.sending {
            Sending::Nothing => false,
            Sending::Begun => taken > 0 || left > 0,
            Sending::Waits => taken > 0,
        };
        if flows {
            // Rule 9: nothing is idle while bytes flow.
            pace.message = pace.message.max(now).max(pace.busy);
        }
        if left > 0 {
            if pace.sending == Sending::Begun {
                pace.sending = Sending::Waits;
            }
            return;
        }
        pace.sending = Sending::Nothing;
        match pace.phase {
            phase
                if (phase.is_open() || phase == Phase::Closing)
                    && self.connection.has_sent_close() =>
            {
                pace.since = now.max(pace.busy);
                pace.phase = Phase::Closed;
                trace!("close: armed, the Close has left at {}", now.0);
            }
            Phase::PingWaits => {
                pace.since = now.max(pace.busy);
                pace.phase = Phase::PingLeft;
                trace!("pong: armed, the ping has left at {}", now.0);
            }
            _ => {}
        }
    }

    /// Records that `left` bytes wait outside of the transport, if there is no clock: as
    /// [`sent`](Self::sent), without deadlines.
    #[inline]
    pub const fn sent_untimed(&mut self, left: usize) {
        self.pace.leave(left);
    }

    /// Records whether the caller reads. While it does not (`on` is `false`), the peer's silence
    /// means nothing: no ping is owed, and neither pong nor message is waited for. This has no effect
    /// when the connection is closing or [`close_by`](Self::close_by) was called: then
    /// [`poll`](Self::poll) wants to read in any case, for the peer's Close may be behind other input.
    pub fn reading(&mut self, now: Millis, on: bool) {
        let pace = &mut self.pace;
        let was_on = pace.phase != Phase::Paused;
        if pace.phase.is_open() && !(was_on && on) {
            // Not the later of both: no call was due for as long as this side did not read, so
            // the clock may have wrapped.
            pace.heard = now;
            pace.message = pace.message.max(now);
            pace.phase = if on { Phase::Heard } else { Phase::Paused };
        }
    }

    // ---- decode ----

    /// Decodes `input` up to and including the next event: see [`Connection::next_event`].
    ///
    /// # Errors
    /// The peer's first violation, and the same again with each later call.
    #[inline]
    pub fn next_event<'a>(
        &mut self,
        input: &mut &'a mut [u8],
    ) -> Result<Option<Event<'a>>, ProtocolViolation> {
        // Not with `?`: the event would be moved, and that is most of its cost.
        let event = self.connection.next_event(input);
        if let Ok(Some(Event::Data(_))) = &event {
            self.pace.message = self.pace.message.max(self.pace.heard);
        }
        event
    }

    /// Returns the event that a step has found: see [`Connection::resolve`].
    #[inline]
    pub fn resolve<'a>(&mut self, step: Step, input: &'a mut [u8]) -> Option<Event<'a>> {
        self.connection.resolve(step, input)
    }

    /// Decodes `input` without a borrow, so that a read loop can go on before it lends the event to
    /// its caller: see [`Connection::step`].
    ///
    /// # Errors
    /// As [`next_event`](Self::next_event).
    #[cfg_attr(target_pointer_width = "64", inline)]
    #[cfg_attr(not(target_pointer_width = "64"), inline(never))] // smaller on a Cortex-M
    pub fn step(&mut self, input: &mut [u8]) -> Result<Step, ProtocolViolation> {
        let step = self.connection.step(input)?;
        if step.is_chunk() {
            self.pace.message = self.pace.message.max(self.pace.heard);
        }
        Ok(step)
    }

    /// Sets the longest message from now on, in bytes, and returns what it was: first
    /// [`ConnectionConfig::max_message_len`]. It counts for the message that is arriving as
    /// well: if its frames have announced more than that, the connection fails with
    /// [`ProtocolViolation::MessageTooBig`].
    ///
    /// An adapter raises it while the application takes messages in parts, and keeps none whole.
    pub fn set_max_message_len(&mut self, max_message_len: u64) -> u64 {
        self.connection.set_max_message_len(max_message_len)
    }

    // ---- commands ----

    /// Writes a message as one frame to the start of `out`, and returns its length in bytes: see
    /// [`Connection::send`].
    ///
    /// # Errors
    /// As [`Connection::send`].
    #[inline]
    pub fn send(&mut self, message: Message<'_>, out: &mut [u8]) -> Result<usize, SendError> {
        let written = self.connection.send(message, out)?;
        self.begin_message();
        Ok(written)
    }

    /// Writes the next frame of a message to the start of `out`: see
    /// [`Connection::send_fragment`].
    ///
    /// # Errors
    /// As [`Connection::send_fragment`].
    #[inline]
    pub fn send_fragment(
        &mut self,
        kind: DataKind,
        payload: &[u8],
        fin: bool,
        out: &mut [u8],
    ) -> Result<Sent, SendError> {
        let sent = self.connection.send_fragment(kind, payload, fin, out)?;
        self.begin_message();
        Ok(sent)
    }

    /// Begins a data frame whose payload the caller writes: see [`Connection::start_frame`].
    ///
    /// # Errors
    /// As [`Connection::start_frame`].
    #[inline]
    pub fn start_frame(&mut self, frame: DataFrame) -> Result<FrameHeader, SendError> {
        let header = self.connection.start_frame(frame)?;
        self.begin_message();
        Ok(header)
    }

    /// Writes a ping of the application's to the start of `out`: see [`Connection::ping`]. Nothing
    /// waits for its pong; [`Timeouts::keepalive`] has pings of its own.
    ///
    /// # Errors
    /// As [`Connection::ping`].
    pub fn ping(&mut self, payload: &[u8], out: &mut [u8]) -> Result<usize, SendError> {
        let written = self.connection.ping(payload, out)?;
        self.pace.write();
        Ok(written)
    }

    /// Begins the closing handshake: see [`Connection::close`]. What was sent before goes first, and
    /// takes the time that rule 2 gives it.
    ///
    /// # Errors
    /// As [`Connection::close`].
    pub fn close(&mut self, code: CloseCode, reason: &str) -> Result<(), SendError> {
        self.connection.close(code, reason)
    }

    /// Gives the connection until `at` to end, however it stands: in place of the times for writing
    /// and for closing. It does not begin the closing handshake: [`close`](Self::close) does, before
    /// or after. A later call replaces `at`, which is at most 12 days from now. If `at` has passed, the
    /// next [`poll`](Self::poll) ends the session, whether a Close has left or not.
    pub fn close_by(&mut self, at: Millis) {
        let pace = &mut self.pace;
        match pace.phase {
            Phase::Over => return,
            Phase::DrainingBy => pace.since = pace.since.min(at),
            Phase::Draining => pace.drain_until(Some(at)),
            _ => {
                pace.since = at;
                pace.phase = Phase::ClosingBy;
            }
        }
        trace!("close: armed until {}", at.0);
    }

    /// Fails the connection for a violation that shows outside of it: see [`Connection::fail`].
    pub fn fail(&mut self, violation: ProtocolViolation) {
        self.connection.fail(violation);
    }

    /// Gives the connection up without a closing handshake. The next [`poll`](Self::poll) wants the
    /// transport to be dropped.
    pub fn abort(&mut self) {
        self.end(Cause::Aborted);
    }

    // ---- what is to be done ----

    /// Writes a control frame that is owed to the peer to the start of `out`, and returns its length in
    /// bytes: a pong, the Close, or a keepalive ping. Returns 0 if nothing is owed, or if `out` has no
    /// room for it; [`MAX_CONTROL_LEN`](crate::MAX_CONTROL_LEN) bytes always suffice.
    ///
    /// # Errors
    /// [`EntropyError`] if a client has no masking key. The session has ended then.
    pub fn poll_transmit(&mut self, out: &mut [u8]) -> Result<usize, EntropyError> {
        if !self.wants_transmit() {
            return Ok(0);
        }
        let ping = !self.connection.wants_transmit();
        let written = self.connection.transmit(out, ping);
        match written {
            Ok(0) => {}
            Ok(_) => {
                self.pace.write();
                if ping {
                    self.pace.phase = Phase::PingWaits;
                }
            }
            Err(_) => self.end(Cause::NoEntropy),
        }
        written
    }

    /// Handles the deadlines that have passed at `now`, and returns what is to be done. `unread` is
    /// true if the caller knows, without reading, that there is input to be read: it may be the pong
    /// or the message that is waited for, so no deadline of silence passes.
    #[must_use]
    pub fn poll(&mut self, now: Millis, timeouts: &Timeouts, unread: bool) -> Wants {
        let is_open = self.pace.phase.is_open();
        let begins = is_open && self.connection.state() != State::Open;
        if begins {
            self.begin_closing(now);
        } else if is_open && unread {
            // Rule 4.
            self.received(now);
        }
        // The Close goes out first, however short the time for it is.
        if !begins || self.pace.is_waiting() {
            self.expire(now, timeouts, unread);
        }
        self.settle(|pace, peer_has_closed| {
            let close = timeouts.close;
            let by = match pace.phase {
                Phase::ClosingBy if peer_has_closed => pace.since.min(now.after(DRAIN)),
                Phase::ClosingBy => pace.since,
                _ if peer_has_closed => now.after(close.unwrap_or(DRAIN).min(DRAIN)),
                // Rule 8: what the Close has left of its time.
                _ => return pace.next(timeouts).map(|(at, _)| at),
            };
            Some(by)
        })
    }

    /// Returns what is to be done if there is no clock: as [`poll`](Self::poll), without deadlines.
    #[must_use]
    pub fn poll_untimed(&mut self) -> Wants {
        self.settle(|_, _| None)
    }

    /// Returns when [`poll`](Self::poll) is to be called next, unless something happens before;
    /// `None`: never. It counts after a call of `poll`.
    #[must_use]
    pub fn poll_at(&self, timeouts: &Timeouts) -> Option<Millis> {
        self.pace.poll_at(timeouts)
    }

    fn begin_closing(&mut self, now: Millis) {
        self.pace.since = now;
        self.pace.phase = Phase::Closing;
    }

    /// Handles the deadlines that have passed.
    fn expire(&mut self, now: Millis, timeouts: &Timeouts, unread: bool) {
        while let Some(deadline) = self.pace.poll(now, timeouts) {
            debug!("the deadline has passed: {}", deadline.name());
            match deadline {
                Deadline::Keepalive => self.pace.phase = Phase::PingOwed,
                // Rule 4: what lies there may be a message.
                Deadline::Idle if unread && self.pace.message != now => self.pace.message = now,
                Deadline::Idle => {
                    // RFC 6455 §7.4.1: this endpoint goes away.
                    let _ = self.connection.close(CloseCode::GOING_AWAY, "");
                    self.begin_closing(now);
                    if !self.pace.is_waiting() {
                        return;
                    }
                }
                deadline => self.end(Cause::TimedOut(deadline)),
            }
        }
    }

    /// Goes on with the end where it has begun, and returns what is to be done.
    fn settle(&mut self, drain_by: impl FnOnce(&Pace, bool) -> Option<Millis>) -> Wants {
        let transmit = self.wants_transmit();
        let connection = &self.connection;
        let ended = connection.has_received_eof();
        let pace = &mut self.pace;
        let is_draining = pace.phase.is_draining();
        let is_done = match connection.state() {
            State::Open | State::Closing => false,
            State::Closed | State::Failed => !transmit && pace.is_flushed(),
        };
        let mut shutdown = false;
        if is_draining || (is_done && pace.phase != Phase::Over) {
            // RFC 6455 §7.1.1: the server ends its half first, the client waits for it [CL06] [CL07]
            shutdown = connection.should_shutdown()
                && (!is_draining || (R::IS_CLIENT && connection.is_clean()));
            if ended {
                // Both halves have ended, or the peer has left.
                pace.phase = Phase::Over;
            } else if !is_draining {
                let by = drain_by(pace, connection.has_received_close());
                pace.drain_until(by);
            }
        }
        let drop = pace.phase == Phase::Over;
        let is_draining = pace.phase.is_draining();
        let reads = connection.is_receiving();
        Wants {
            read: reads && !is_draining && pace.phase != Phase::Paused,
            transmit: transmit && !is_draining && !drop,
            shutdown,
            drain: (is_draining || !reads) && !ended && !drop,
            drop,
        }
    }

    const fn begin_message(&mut self) {
        self.pace.sending = Sending::Begun;
        self.pace.write();
    }

    /// The session ends here: the only place that says why. The first cause counts.
    #[cfg_attr(not(target_pointer_width = "64"), inline(always))] // smaller on a Cortex-M
    fn end(&mut self, cause: Cause) {
        let connection = &mut self.connection;
        let pace = &mut self.pace;
        if pace.phase == Phase::Over {
            return;
        }
        if !pace.phase.is_draining() && connection.is_receiving() {
            pace.cause = cause;
        }
        pace.phase = Phase::Over;
        // Nothing is sent or received any more.
        let _ = connection.receive_eof();
    }

    // ---- look ----

    /// Returns whether [`poll_transmit`](Self::poll_transmit) has something to write.
    #[must_use]
    pub fn wants_transmit(&self) -> bool {
        match self.pace.phase {
            Phase::Over => false,
            // Rule 7: pongs behind the Close would let the peer decide when it has left [CL21].
            Phase::Closing if self.connection.has_sent_close() => false,
            Phase::PingOwed if self.connection.state() == State::Open => true,
            _ => self.connection.wants_transmit(),
        }
    }

    /// Returns how the session ended; `None` as long as that is not certain. The transport may still
    /// have to be drained then: [`poll`](Self::poll) says so.
    #[must_use]
    pub fn ended(&self) -> Option<Ended> {
        if self.pace.phase != Phase::Over && !self.pace.phase.is_draining() {
            return None;
        }
        Some(match (self.pace.cause, self.connection.violation()) {
            (Cause::TimedOut(deadline), _) => Ended::TimedOut(deadline),
            (Cause::Lost, _) => Ended::Lost,
            (Cause::Aborted, _) => Ended::Aborted,
            (Cause::NoEntropy, _) => Ended::NoEntropy,
            (Cause::Known, Some(violation)) => Ended::Violation(violation),
            (Cause::Known, None) => Ended::Closed {
                code: self.connection.close_code(),
                by: self.connection.closed_by(),
                clean: self.connection.is_clean() && self.pace.is_flushed(),
            },
        })
    }

    /// Returns what is due next, and when.
    #[must_use]
    pub fn deadline(&self, timeouts: &Timeouts) -> Option<(Millis, Deadline)> {
        self.pace.next(timeouts)
    }

    /// Returns the connection, to look at.
    #[must_use]
    #[inline]
    pub const fn connection(&self) -> &Connection<R, C> {
        &self.connection
    }

    /// Returns the connection, for what starts data frames on it, as a
    #[cfg_attr(
        feature = "deflate",
        doc = "[`Compressor`](crate::deflate::Compressor) does."
    )]
    #[cfg_attr(not(feature = "deflate"), doc = "compressor does.")]
    /// Call everything else on the session, which would not notice it otherwise.
    #[must_use]
    #[inline]
    pub const fn connection_mut(&mut self) -> &mut Connection<R, C> {
        if matches!(self.connection.state(), State::Open) {
            self.begin_message();
        }
        &mut self.connection
    }
}
