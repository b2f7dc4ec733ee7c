//! What both roles share: the open connection, and how TCP ends.

#[cfg(feature = "deflate")]
use motews::deflate::DeflateParams;
use motews::{
    CloseCode, Connection, DataKind, Deadlines, Due, Event, Limits, Message, Millis,
    ProtocolViolation, Role, SendError, State, Timeouts,
    handshake::{Agreed, HandshakeError, Offers},
};
use smoltcp::socket::tcp::Socket;
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
    /// How long to wait for what. That for the handshake counts from the peer's first segment to
    /// the end of the answer, however long a page that is; that for closing holds until TCP has
    /// ended on both sides.
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

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum End {
    /// The closing handshake was completed (§7.1.4), and the peer's Close had this code; 1005 where
    /// it had none.
    Closed(CloseCode),
    /// The peer broke the protocol, or TCP ended without a closing handshake.
    Failed(ProtocolViolation),
    /// There was no upgrade, but an ordinary HTTP response.
    Answered,
    /// The server's response was wrong, or none that accepts.
    Refused(HandshakeError),
    /// TCP ended before there was a WebSocket.
    Lost,
    /// A deadline passed, and TCP was reset.
    TimedOut(Due),
    /// A client had no masking key, without which nothing may be sent; TCP was reset.
    NoEntropy,
}

/// A WebSocket over a TCP socket, which stays with the caller and is lent to each call. See
/// [`ServerSocket`](crate::ServerSocket) and [`ClientSocket`](crate::ClientSocket).
#[derive(Debug)]
pub struct WebSocket<'a, R, H> {
    pub(crate) config: &'a Config<'a>,
    pub(crate) phase: Phase<R, H>,
    pub(crate) deadlines: Deadlines,
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
    /// Before the connection is open.
    Opening(H),
    Open(Connection<R>),
    /// The WebSocket has ended, and TCP has not.
    Ending(End),
    /// TCP has ended as well, at that time.
    Over(Millis),
}

impl<'a, R: Role, H> WebSocket<'a, R, H> {
    pub(crate) const fn with_opening(config: &'a Config<'a>, opening: H, now: Millis) -> Self {
        Self {
            config,
            phase: Phase::Opening(opening),
            deadlines: Deadlines::new(now),
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
        let connection = self.connection()?;
        // RFC 6455 §5.4: the fragments of two messages are not interleaved [MS07]. The core tells
        // so first, and then that no octet of room is not enough.
        match connection.send(Message::Binary(&[]), &mut []) {
            Err(SendError::NoRoom) | Ok(_) => {}
            Err(error) => return Err(error),
        }
        ring::put_data(connection, socket, message.kind(), message.as_bytes(), true)
    }

    /// Writes the next frame of a message into the transmit ring, with as much of `payload` as
    /// there is room for, and tells how much that was: send the rest as the next one. `fin` ends
    /// the message with the last octet of `payload`. The message may be of any length, unknown
    /// when it begins.
    ///
    /// # Errors
    /// [`SendError::NoRoom`] where not one octet fits, or while a pong or a Close waits for room;
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
        let connection = self.connection()?;
        let room = ring::payload_room(ring::free(socket));
        let (part, fin) = match payload.get(..room) {
            Some([]) if !payload.is_empty() => (payload, fin), // No room, or not open.
            Some(part) if part.len() < payload.len() => (part, false),
            _ => (payload, fin),
        };
        ring::put_data(connection, socket, kind, part, fin)?;
        Ok(part.len())
    }

    /// Octets of payload that [`send_fragment`](Self::send_fragment) takes now. 0 means wait: a pong
    /// or a Close waits for room, or there is room for a sliver only. Where nothing can be sent any
    /// more there is nothing to wait for, and this is `usize::MAX`: a caller that answers what it
    /// reads must read on then, for the peer's Close comes last.
    #[must_use]
    pub fn send_room(&self, socket: &Socket<'_>) -> usize {
        let connection = match &self.phase {
            Phase::Open(connection) if self.is_open() && socket.may_send() => connection,
            _ => return usize::MAX,
        };
        let free = ring::free(socket);
        let sliver = motews::MAX_CONTROL_LEN.min(socket.send_capacity() / 2);
        match connection.wants_transmit() || free < sliver {
            true => 0,
            false => ring::payload_room(free),
        }
    }

    /// Writes a ping with at most 125 octets of payload into the transmit ring.
    ///
    /// # Errors
    /// [`SendError::NoRoom`], [`SendError::NotOpen`], [`SendError::ControlTooLong`] or
    /// [`SendError::Entropy`]. Nothing has changed then.
    pub fn ping(&mut self, socket: &mut Socket<'_>, payload: &[u8]) -> Result<(), SendError> {
        let connection = self.connection()?;
        if !socket.may_send() {
            return Err(SendError::NotOpen);
        }
        ring::put_ping(connection, socket, payload)
    }

    /// Begins the closing handshake: the Close goes out with the next polls, and then TCP ends in
    /// the order that §7.1.1 asks for.
    ///
    /// # Errors
    /// [`SendError::NotOpen`], [`SendError::InvalidCloseCode`] or [`SendError::ReasonTooLong`].
    pub fn close(&mut self, code: CloseCode, reason: &str) -> Result<(), SendError> {
        self.connection()?.close(code, reason)
    }

    /// Fails the connection (§7.1.7) for a violation that the caller found: a message too big for
    /// its [`MessageBuffer`](motews::MessageBuffer), for example.
    pub fn fail(&mut self, violation: ProtocolViolation) {
        if let Phase::Open(connection) = &mut self.phase {
            connection.fail(violation);
        }
    }

    // ---- look ----

    /// Whether messages can be sent.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        matches!(&self.phase, Phase::Open(connection) if matches!(connection.state(), State::Open))
    }

    // ---- for both roles ----

    /// The next deadline of a connection.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        instant(self.deadlines.next(&self.config.timeouts)?)
    }

    pub(crate) fn connection(&mut self) -> Result<&mut Connection<R>, SendError> {
        match &mut self.phase {
            Phase::Open(connection) => Ok(connection),
            _ => Err(SendError::NotOpen),
        }
    }

    /// The opening handshake is complete.
    pub(crate) fn opened(&mut self, role: R, agreed: Agreed, now: Millis) {
        self.deadlines.opened(now);
        #[cfg(feature = "deflate")]
        {
            self.agreed = agreed.deflate;
        }
        self.phase = Phase::Open(Connection::with_config(role, agreed.config));
    }

    /// The WebSocket has ended. RFC 6455 §7.1.1: TCP is shut down for writing; then what still
    /// comes is read and dropped until the peer has done the same.
    pub(crate) fn end(&mut self, socket: &mut Socket<'_>, end: End, now: Millis) {
        socket.close();
        self.deadlines.closing(now);
        self.phase = Phase::Ending(end);
    }

    /// TCP is reset.
    #[inline(never)] // It is called from many places, and none of them is hot.
    pub(crate) fn abort(&mut self, socket: &mut Socket<'_>, end: End) {
        socket.abort();
        self.phase = Phase::Ending(end);
    }

    /// Sees to the deadlines, takes an open or ending connection as far as it goes without the
    /// caller, and tells what was `received`, or how it `ended`.
    pub(crate) fn poll_open<'s, T>(
        &mut self,
        socket: &'s mut Socket<'_>,
        now: Millis,
        limit: usize,
        received: impl Fn(Event<'s>) -> T,
        ended: impl Fn(End) -> T,
    ) -> Option<T> {
        loop {
            let due = self.deadlines.poll(now, &self.config.timeouts);
            let connection = match &mut self.phase {
                Phase::Open(connection) => connection,
                Phase::Ending(end) => {
                    let end = *end;
                    // Read and dropped until TCP has ended.
                    while socket.can_recv() && ring::received(socket, usize::MAX).is_ok() {}
                    if socket.is_open() {
                        due?;
                        socket.abort();
                    }
                    self.phase = Phase::Over(now);
                    return Some(ended(end));
                }
                Phase::Opening(_) if due.is_some() => {
                    // The deadline of the opening handshake has passed [HS22] [HC25]
                    self.abort(socket, End::TimedOut(due?));
                    continue;
                }
                Phase::Opening(_) | Phase::Over(_) => return None,
            };
            match due {
                // What is read now shows that the peer is there, and needs the room for its answer.
                Some(Due::Ping) if socket.can_recv() => {}
                // No room: the peer has not read for long, and its time runs.
                Some(Due::Ping) => _ = ring::put_ping(connection, socket, &[]),
                Some(Due::Idle) => _ = connection.close(CloseCode::GOING_AWAY, ""),
                Some(due) => {
                    let end = match connection.is_clean() {
                        true => End::Closed(connection.close_code()),
                        false => End::TimedOut(due),
                    };
                    self.abort(socket, end);
                    continue;
                }
                None => {}
            }
            if ring::put_owed(connection, socket).is_err() {
                self.abort(socket, End::NoEntropy);
                continue;
            }
            let state = connection.state();
            if state != State::Open {
                self.deadlines.closing(now);
            }
            if connection.should_shutdown() {
                // RFC 6455 §7.1.1: the server first [CL06], the client after it [CL07]
                let end = match connection.violation() {
                    Some(violation) => End::Failed(violation),
                    None => End::Closed(connection.close_code()),
                };
                debug!(
                    "the connection ended with the code {}",
                    connection.close_code()
                );
                self.end(socket, end, now);
                continue;
            }
            let limit = match state {
                // There is only the end of TCP to wait for.
                State::Closed => usize::MAX,
                State::Failed => 0,
                State::Open | State::Closing => limit,
            };
            if limit == 0 {
                return None;
            }
            let Ok(bytes) = ring::received(socket, 0) else {
                // A violation, unless a Close came before.
                _ = connection.receive_eof();
                if !connection.should_shutdown() {
                    return None;
                }
                continue;
            };
            let len = bytes.len().min(limit);
            if len == 0 {
                return None;
            }
            match connection.step(bytes.get_mut(..len).unwrap_or_default()) {
                Ok(step) => {
                    self.deadlines.received(now);
                    let consumed = step.consumed();
                    if !step.is_event() {
                        _ = ring::received(socket, consumed);
                        continue;
                    }
                    let bytes = ring::received(socket, consumed).unwrap_or_default();
                    let event = step.resolve(bytes)?;
                    if matches!(event, Event::Data(_)) {
                        self.deadlines.received_message(now);
                    }
                    return Some(received(event));
                }
                Err(violation) => debug!("the peer broke the protocol: {}", violation),
            }
        }
    }
}

/// The core's time as smoltcp's; `None` beyond its end.
pub(crate) fn instant(at: Millis) -> Option<Instant> {
    i64::try_from(at.0).ok().map(Instant::from_millis)
}

/// smoltcp's time as the core's.
pub(crate) fn millis(now: Instant) -> Millis {
    // Unsigned, for that division is in every image that has smoltcp in it.
    Millis(u64::try_from(now.total_micros()).unwrap_or_default() / 1000)
}
