//! What both roles share: the open connection, and how TCP ends.

#[cfg(feature = "deflate")]
use motews::deflate::DeflateParams;
use motews::handshake::{Agreed, Offers};
use motews::{
    CloseCode, DataKind, Ended, Event, Limits, Message, Pace, ProtocolViolation, Role, SendError,
    Session, State, Wants,
};
use motews::{Deadline, Millis, Timeouts};
use smoltcp::socket::tcp::{RecvError, Socket};
use smoltcp::time::Instant;

use crate::log::debug;
use crate::ring;

/// What is decided once, for any number of sockets.
///
/// ```
/// use motews::handshake::Offers;
/// use motews_smoltcp::Config;
///
/// static CONFIG: Config<'static> = Config {
///     offers: Offers::new().subprotocols(&["chat"]),
///     ..Config::DEFAULT
/// };
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Config<'a> {
    /// How long to wait for what: see [`motews::pace`]. The time for the handshake runs from the peer's
    /// first segment to the end of its request, or of the server's response. What the peer has
    /// acknowledged counts as taken.
    pub timeouts: Timeouts,
    /// What the peer may send. There is no limit on messages by default, for the adapter keeps nothing
    /// of them.
    pub limits: Limits,
    /// The subprotocols and the compression that a client offers, and a server chooses from.
    pub offers: Offers<'a>,
}

impl Config<'_> {
    /// The defaults of the core, no subprotocol, no compression.
    pub const DEFAULT: Self = Self {
        timeouts: Timeouts::DEFAULT,
        limits: Limits::DEFAULT,
        offers: Offers::new(),
    };
}

impl Default for Config<'_> {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// A WebSocket over a TCP socket, which stays with the caller and is lent to each call. See
/// [`ServerSocket`](crate::ServerSocket) and [`ClientSocket`](crate::ClientSocket).
#[derive(Debug)]
pub struct WebSocket<'a, R, H> {
    pub(crate) config: &'a Config<'a>,
    pub(crate) phase: Phase<R, H>,
    /// Bytes that lay in the transmit ring when they were counted last, and those put there since.
    pub(crate) queued: usize,
    /// Of the open connection.
    #[cfg(feature = "deflate")]
    pub(crate) agreed: Option<DeflateParams>,
}

/// The phases follow each other and share their memory.
#[expect(
    clippy::large_enum_variant,
    reason = "without a heap there is no other place, and most of the time it is the largest"
)]
#[derive(Debug)]
pub(crate) enum Phase<R, H> {
    /// There is no WebSocket yet, or no more.
    Outside(Outside<H>, Pace),
    Open(Session<R>),
    /// TCP has ended as well, at that time.
    Over(Millis),
}

/// What there is outside of a WebSocket.
#[derive(Debug)]
pub(crate) enum Outside<H> {
    Opening(H),
    /// TCP has not ended.
    Ending(Ended),
}

impl<'a, R: Role, H> WebSocket<'a, R, H> {
    pub(crate) const fn with_opening(config: &'a Config<'a>, opening: H, now: Millis) -> Self {
        Self {
            config,
            phase: Phase::Outside(Outside::Opening(opening), Pace::new(now)),
            queued: 0,
            #[cfg(feature = "deflate")]
            agreed: None,
        }
    }

    // ---- send ----

    /// Writes a message into the transmit ring, as one frame.
    ///
    /// # Errors
    /// [`SendError::NoRoom`] where the ring has no room for all of it, or while a pong or a Close
    /// waits for room; [`SendError::NotOpen`] before the handshake and after a Close;
    /// [`SendError::MessageInProgress`] or [`SendError::Entropy`]. Nothing has changed then.
    pub fn send(&mut self, socket: &mut Socket<'_>, message: Message<'_>) -> Result<(), SendError> {
        let session = self.session()?;
        // RFC 6455 §5.4: the fragments of two messages are not interleaved [MS07]. The core tells
        // so first, and then that no byte of room is not enough.
        match session.send(Message::Binary(&[]), &mut []) {
            Err(SendError::NoRoom) | Ok(_) => {}
            Err(error) => return Err(error),
        }
        let payload = message.as_bytes();
        let room = ring::data_room(session, socket).ok_or(SendError::NotOpen)?;
        if room == 0 || payload.len() > room {
            return Err(SendError::NoRoom);
        }
        let put = ring::put_data(session, socket, message.kind(), payload, true)?;
        self.queued = self.queued.wrapping_add(put);
        Ok(())
    }

    /// Writes the next frame of a message into the transmit ring, with as much of `payload` as
    /// there is room for, and returns how much that was: send the rest as the next one. With
    /// `fin` the message ends when all of `payload` was taken. It may be of any length, unknown when
    /// it begins.
    ///
    /// # Errors
    /// [`SendError::NoRoom`] where not one byte fits, or while a pong or a Close waits for room;
    /// [`SendError::NotOpen`], [`SendError::MessageInProgress`] where a message of the other kind
    /// is open, or [`SendError::Entropy`]. Nothing has changed then.
    #[inline(never)] // registers enough for it alone: smaller on a Cortex-M
    pub fn send_fragment(
        &mut self,
        socket: &mut Socket<'_>,
        kind: DataKind,
        payload: &[u8],
        fin: bool,
    ) -> Result<usize, SendError> {
        let session = self.session()?;
        let room = ring::data_room(session, socket).ok_or(SendError::NotOpen)?;
        let (part, fin) = match payload.get(..room) {
            _ if room == 0 => return Err(SendError::NoRoom),
            Some(part) if part.len() < payload.len() => (part, false),
            _ => (payload, fin),
        };
        let put = ring::put_data(session, socket, kind, part, fin)?;
        self.queued = self.queued.wrapping_add(put);
        Ok(part.len())
    }

    /// Bytes of payload that [`send_fragment`](Self::send_fragment) takes now. 0 means wait: a pong
    /// or a Close waits for room, or there is room for a sliver only. Where nothing can be sent any
    /// more there is nothing to wait for, and this is `usize::MAX`: a caller that answers what it
    /// reads must read on then, for the peer's Close comes last.
    #[must_use]
    pub fn send_room(&self, socket: &Socket<'_>) -> usize {
        let Phase::Open(session) = &self.phase else {
            return usize::MAX;
        };
        let sliver = motews::MAX_CONTROL_LEN.min(socket.send_capacity() / 2);
        match ring::data_room(session, socket) {
            Some(_) if ring::free(socket) < sliver => 0,
            room => room.unwrap_or(usize::MAX),
        }
    }

    /// Writes a ping with at most 125 bytes of payload into the transmit ring.
    ///
    /// # Errors
    /// [`SendError::NoRoom`], [`SendError::NotOpen`], [`SendError::ControlTooLong`] or
    /// [`SendError::Entropy`]. Nothing has changed then.
    pub fn ping(&mut self, socket: &mut Socket<'_>, payload: &[u8]) -> Result<(), SendError> {
        let session = self.session()?;
        if !socket.may_send() {
            return Err(SendError::NotOpen);
        }
        let put = ring::put_ping(session, socket, payload)?;
        self.queued = self.queued.wrapping_add(put);
        Ok(())
    }

    /// Begins the closing handshake: the Close goes out with the next polls, and then TCP ends in
    /// the order that §7.1.1 asks for.
    ///
    /// # Errors
    /// [`SendError::NotOpen`], [`SendError::InvalidCloseCode`] or [`SendError::ReasonTooLong`].
    pub fn close(&mut self, code: CloseCode, reason: &str) -> Result<(), SendError> {
        self.session()?.close(code, reason)
    }

    /// Fails the connection (§7.1.7) for a violation that the caller found: a message too big for
    /// its [`MessageBuffer`](motews::MessageBuffer), for example.
    pub fn fail(&mut self, violation: ProtocolViolation) {
        if let Phase::Open(session) = &mut self.phase {
            session.fail(violation);
        }
    }

    // ---- look ----

    /// Whether messages can be sent.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        matches!(&self.phase, Phase::Open(session) if matches!(session.connection().state(), State::Open))
    }

    // ---- for both roles ----

    pub(crate) fn session(&mut self) -> Result<&mut Session<R>, SendError> {
        match &mut self.phase {
            Phase::Open(session) => Ok(session),
            _ => Err(SendError::NotOpen),
        }
    }

    /// Returns the time of the next deadline.
    pub(crate) fn deadline(&self, now: Instant) -> Option<Instant> {
        let timeouts = &self.config.timeouts;
        let at = match &self.phase {
            Phase::Outside(_, pace) => pace.poll_at(timeouts),
            Phase::Open(session) => session.poll_at(timeouts),
            Phase::Over(_) => None,
        };
        Some(instant(at?, now))
    }

    /// The opening handshake is complete.
    pub(crate) fn opened(&mut self, role: R, agreed: Agreed, pace: Pace, now: Millis) {
        #[cfg(feature = "deflate")]
        {
            self.agreed = agreed.deflate;
        }
        self.phase = Phase::Open(Session::with_pace(role, agreed.config, pace, now));
    }

    /// There is no WebSocket. TCP is shut down for writing, behind what waits; then what still comes
    /// is read and dropped until the peer has done the same.
    pub(crate) fn end(&mut self, socket: &mut Socket<'_>, ended: Ended) {
        socket.close();
        if let Phase::Outside(outside, _) = &mut self.phase {
            *outside = Outside::Ending(ended);
        }
    }

    /// Takes an open or ending connection as far as it goes without the caller, and returns what was
    /// `received`, or how it `ended`.
    pub(crate) fn poll_open<'s, T>(
        &mut self,
        socket: &'s mut Socket<'_>,
        now: Millis,
        limit: usize,
        received: impl Fn(Event<'s>) -> T,
        ended: impl Fn(Ended) -> T,
    ) -> Option<T> {
        let timeouts = &self.config.timeouts;
        loop {
            let unread = socket.can_recv();
            let left = socket.send_queue();
            let session = match &mut self.phase {
                Phase::Open(session) => session,
                Phase::Outside(outside, pace) => {
                    let taken = self.queued.wrapping_sub(left);
                    self.queued = left;
                    pace.sent(now, timeouts, taken, left);
                    let end = match outside {
                        Outside::Ending(end) => {
                            // Read and dropped until TCP has ended.
                            while socket.can_recv() && ring::received(socket, usize::MAX).is_ok() {}
                            if left == 0 {
                                pace.draining(now, timeouts);
                            }
                            Some(*end)
                        }
                        Outside::Opening(_) => None,
                    };
                    let end = match end {
                        Some(end) if !socket.is_open() => end,
                        end => {
                            let deadline = pace.poll(now, timeouts)?;
                            socket.abort();
                            match end {
                                Some(end) if deadline == Deadline::Drain => end,
                                // That of the opening handshake [HS22] [HC25], or a response is no
                                // longer read.
                                _ => Ended::TimedOut(deadline),
                            }
                        }
                    };
                    self.phase = Phase::Over(now);
                    return Some(ended(end));
                }
                Phase::Over(_) => return None,
            };
            // What can be read is read first: it may be what a deadline waits for.
            let wants = match unread && limit > 0 {
                true => {
                    session.received(now);
                    Wants::default()
                }
                false => session.poll(now, timeouts, unread),
            };
            // What the protocol owes goes before anything else, however busy the caller is.
            let put = ring::put_owed(session, socket);
            let taken = self.queued.wrapping_sub(left);
            self.queued = left.wrapping_add(put);
            session.sent(now, timeouts, taken, self.queued);
            if taken > 0 {
                continue; // The last byte may have been what the end waited for.
            }
            // smoltcp's FIN goes behind what waits [CL06] [CL07]
            if session.connection().should_shutdown() {
                socket.close();
            }
            if wants.drop {
                let end = session.ended().unwrap_or(Ended::Lost);
                debug!("the connection ended with the code {}", end.code());
                if socket.may_recv() || left > 0 {
                    socket.abort();
                }
                socket.close();
                self.phase = Phase::Outside(Outside::Ending(end), Pace::new(now));
                continue;
            }
            match ring::received(socket, 0) {
                Ok(bytes) => {
                    let len = match wants.drain {
                        true => bytes.len(),
                        false => bytes.len().min(limit),
                    };
                    if len == 0 {
                        return None;
                    }
                    let consumed = match session.step(bytes.get_mut(..len).unwrap_or_default()) {
                        Ok(step) if step.is_event() => {
                            let bytes = ring::received(socket, step.consumed()).unwrap_or_default();
                            return session.resolve(step, bytes).map(received);
                        }
                        Ok(step) => step.consumed(),
                        Err(violation) => {
                            debug!("the peer broke the protocol: {}", violation);
                            len
                        }
                    };
                    _ = ring::received(socket, consumed);
                }
                Err(_) if !wants.read && !wants.drain => return None,
                Err(RecvError::Finished) => session.receive_eof(),
                Err(RecvError::InvalidState) => session.lost(),
            }
        }
    }
}

/// Returns the core's time as smoltcp's, which is the same as `now` or later.
pub(crate) fn instant(at: Millis, now: Instant) -> Instant {
    let millis = at.since(millis(now));
    Instant::from_millis(total_millis(now).wrapping_add(millis.into()).cast_signed())
}

/// Returns smoltcp's time as the core's, which wraps.
pub(crate) fn millis(now: Instant) -> Millis {
    Millis(total_millis(now) as u32)
}

fn total_millis(now: Instant) -> u64 {
    // Unsigned, for that division is in every image that has smoltcp in it.
    now.total_micros().cast_unsigned() / 1000
}
