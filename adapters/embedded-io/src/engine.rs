//! Everything between the core and a transport that is not the transport: both WebSockets, the
//! blocking and the async one, do what it says and tell it what came of that. All their state is in
//! here, so none is in a future.

use core::cell::Cell;
use core::mem;

use motews::handshake::{
    Agreed, Answer, ClientHandshake, HandshakeError, Key, Offers, Request, RequestEvent, Response,
    ResponseEvent, ServerHandshake, Upgrade,
};
use motews::{
    Client, CloseCode, Connection, Due, Entropy, FrameHeader, Message, Millis, Role, SendError,
    Server, State, Window,
};

use crate::config::{BufferTooSmall, Config, Decision, MIN_BUFFER};
use crate::error::Failure;
use crate::extension::{Extension, Fragment, NoExtension};
use crate::output::Output;
use crate::time::Time;

/// What the transport is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Io {
    /// To read into the spare room of the receive window, which is empty.
    Read,
    /// To write what is unwritten.
    Write,
    /// To flush.
    Flush,
}

/// What there is for the caller.
pub(crate) enum Next<F> {
    /// An event, at the start of the receive window.
    Event(F),
    /// The connection is closed.
    End,
    /// Nothing yet: first this.
    Io(Io),
}

#[derive(Debug)]
pub(crate) enum Phase<'a, R> {
    /// A server waits for the request.
    Request(ServerHandshake<[u8; 0]>),
    /// A server accepts; so many octets of the response are through.
    Accept(Upgrade, Answer<'a>, usize),
    /// A server responds in another way, likewise; with what it tells then.
    Respond(Response<'a>, usize, Failure),
    /// A client asks; so many octets of it are through.
    Ask(Request<'a>, Key, usize, R),
    /// A client waits for the response.
    Response(ClientHandshake<[u8; 0]>, R),
    Open(Connection<R>),
    /// There is no WebSocket.
    Over(Failure),
}

impl<R> Phase<'_, R> {
    /// The connection, if there is one.
    pub(crate) const fn open(&mut self) -> Result<&mut Connection<R>, Failure> {
        match self {
            Self::Open(connection) => Ok(connection),
            phase => Err(phase.not_open()),
        }
    }

    /// Why there is no connection.
    const fn not_open(&self) -> Failure {
        match self {
            Self::Over(failure) => *failure,
            _ => Failure::Send(SendError::NotOpen),
        }
    }
}

#[derive(Debug)]
pub(crate) struct Engine<'a, R, Tx, K, X: Extension> {
    pub(crate) output: Output<Tx, X>,
    pub(crate) phase: Phase<'a, R>,
    pub(crate) time: K,
    pub(crate) config: &'a Config<'a>,
    pub(crate) subprotocol: Option<&'a str>,
}

/// What waits for a request.
const fn request(config: &Config<'_>) -> ServerHandshake<[u8; 0]> {
    ServerHandshake::with_limits([], config.limits)
}

/// Whether a buffer is large enough.
pub(crate) fn check<B: AsRef<[u8]>>(buffer: &B) -> Result<(), BufferTooSmall> {
    match buffer.as_ref().len() {
        ..MIN_BUFFER => Err(BufferTooSmall),
        _ => Ok(()),
    }
}

impl<'a, R: Role, Tx: AsRef<[u8]> + AsMut<[u8]>, K: Time, X: Extension> Engine<'a, R, Tx, K, X> {
    pub(crate) fn configure(&mut self, config: &'a Config<'a>) {
        self.config = config;
        if let Phase::Request(handshake) = &mut self.phase {
            *handshake = request(config);
        }
    }

    /// When the transport is to be left alone, and [`next`](Self::next) asked again.
    pub(crate) fn wake_at(&self) -> Option<Millis> {
        self.time.next(&self.config.timeouts)
    }

    /// The transport brought so many octets, 0 at its end.
    pub(crate) fn read<Rx: AsRef<[u8]> + AsMut<[u8]>>(&mut self, rx: &mut Window<Rx>, len: usize) {
        if len == 0 {
            match &mut self.phase {
                // A violation, unless a Close came before; `next` tells.
                Phase::Open(connection) => _ = connection.receive_eof(),
                Phase::Over(_) => {}
                phase => *phase = Phase::Over(Failure::Lost),
            }
        } else {
            rx.fill(len);
            self.time.received();
        }
    }

    /// Whether both Closes are through.
    pub(crate) const fn is_clean(&self) -> bool {
        matches!(&self.phase, Phase::Open(connection) if connection.is_clean())
    }

    /// The transport took so many octets.
    pub(crate) fn written(&mut self, len: usize) -> Result<(), Failure> {
        if len == 0 {
            return Err(Failure::Lost); // It is not meant to do so, and it would go on for ever.
        }
        self.output.written(len);
        Ok(())
    }

    /// What was received and what still comes is of no interest.
    pub(crate) fn drop_input<Rx: AsRef<[u8]> + AsMut<[u8]>>(
        &mut self,
        rx: &mut Window<Rx>,
        incoming: &mut X::Incoming,
    ) -> Result<(), Failure> {
        rx.take(usize::MAX);
        X::discard_all(incoming);
        self.time.closing();
        self.check_time()
    }

    /// What there is of an open connection.
    pub(crate) fn next<Rx: AsRef<[u8]> + AsMut<[u8]>>(
        &mut self,
        rx: &mut Window<Rx>,
        incoming: &mut X::Incoming,
    ) -> Result<Next<X::Found>, Failure> {
        let Phase::Open(connection) = &mut self.phase else {
            return Err(self.phase.not_open());
        };
        let output = &mut self.output;
        loop {
            if due(connection, Ok(output), &mut self.time, self.config)? {
                return Ok(Next::End);
            }
            // Each ping has its pong, as long as the transport takes them; no frame is read
            // before the last pong has found room.
            if !output.put_owed(connection)? {
                return Ok(Next::Io(Io::Write));
            }
            if let Some(found) = X::receive(incoming, connection, rx) {
                return Ok(Next::Event(found));
            }
            if rx.is_empty() && !connection.wants_transmit() {
                return at_rest(connection, output, self.config);
            }
        }
    }

    /// What is left to do until everything is written; `None`: nothing.
    pub(crate) fn next_flush(&mut self) -> Result<Option<Io>, Failure> {
        if let Phase::Open(connection) = &mut self.phase {
            due(
                connection,
                Ok(&mut self.output),
                &mut self.time,
                self.config,
            )?;
            // What is owed and finds no room does so after the next write.
            self.output.put_owed(connection)?;
        }
        Ok(self.output.pending(self.config.flush))
    }

    /// Puts a message into the transmit buffer. `false`: not yet, there is something to write
    /// first.
    pub(crate) fn send(&mut self, message: Message<'_>, compress: bool) -> Result<bool, Failure> {
        let (connection, output) = self.sending()?;
        Ok(output.put_owed(connection)? && output.put_message(connection, message, compress)?)
    }

    /// The same with a fragment. How many octets of it went in; `None`: not yet.
    pub(crate) fn send_fragment(
        &mut self,
        fragment: Fragment<'_>,
    ) -> Result<Option<usize>, Failure> {
        let (connection, output) = self.sending()?;
        put_fragment(connection, output, fragment)
    }

    /// The same with a ping.
    pub(crate) fn ping(&mut self, payload: &[u8]) -> Result<bool, Failure> {
        let (connection, output) = self.sending()?;
        Ok(output.put_owed(connection)?
            && output.put_control(|out| connection.ping(payload, out))?)
    }

    /// Begins the closing handshake.
    pub(crate) fn start_close(&mut self, code: CloseCode, reason: &str) -> Result<(), Failure> {
        let connection = self.phase.open()?;
        start_close(connection, &mut self.output, code, reason)
    }

    fn sending(&mut self) -> Result<(&mut Connection<R>, &mut Output<Tx, X>), Failure> {
        match &mut self.phase {
            Phase::Open(connection) => {
                let output = &mut self.output;
                due(connection, Ok(output), &mut self.time, self.config)?;
                Ok((connection, output))
            }
            phase => Err(phase.not_open()),
        }
    }

    /// Whether the deadline of a handshake has passed.
    fn check_time(&mut self) -> Result<(), Failure> {
        match self.time.poll(&self.config.timeouts) {
            Some(due) => Err(Failure::TimedOut(due)), // [HS22] [HC25]
            None => Ok(()),
        }
    }

    /// What is offered, or accepted.
    fn offers(&self) -> Offers<'a> {
        X::offers(&self.output.outgoing, self.config.offers())
    }

    /// The opening handshake is complete.
    fn open(
        &mut self,
        role: R,
        agreed: &Agreed,
        subprotocol: Option<&'a str>,
        incoming: &mut X::Incoming,
    ) {
        self.time.opened();
        self.subprotocol = subprotocol;
        let outgoing = &mut self.output.outgoing;
        X::open(incoming, outgoing, agreed, self.config.limits.message);
        self.phase = Phase::Open(Connection::with_config(role, agreed.config));
    }

    /// Puts as much as there is room for of what `emit_from(offset, out)` gives into the transmit
    /// buffer, and tells whether that was all.
    fn emit(
        output: &mut Output<Tx, X>,
        at: &mut usize,
        emit_from: impl Fn(usize, &mut [u8]) -> usize,
    ) -> bool {
        let mut all = false;
        _ = output.put(|out, _| {
            let len = emit_from(*at, out);
            *at = at.saturating_add(len);
            all = len < out.len();
            Ok(len)
        });
        all
    }
}

/// Does what is due, and tells whether the connection is at its end. A ping finds its room when the
/// output can be had, if not at once; the peer's time for it runs.
pub(crate) fn due<R: Role, Tx: AsRef<[u8]> + AsMut<[u8]>, X: Extension>(
    connection: &mut Connection<R>,
    output: Result<&mut Output<Tx, X>, &Cell<bool>>,
    time: &mut impl Time,
    config: &Config<'_>,
) -> Result<bool, Failure> {
    if connection.state() != State::Open {
        time.closing();
    }
    match (time.poll(&config.timeouts), output) {
        (None, _) => {}
        (Some(Due::Ping), Ok(output)) => output.owe_ping(),
        (Some(Due::Ping), Err(ping)) => ping.set(true),
        (Some(Due::Idle), output) => {
            // RFC 6455 §5.5.1: after a Close there are no frames of a message any more [CL05]
            if let Ok(output) = output
                && X::is_ending(&output.outgoing)
            {
                _ = output.put_owed(connection); // As far as there is room: the peer may not read.
            }
            _ = connection.close(CloseCode::GOING_AWAY, "");
        }
        // The server has not ended the transport, but all else is done [CL07]
        (Some(_), Ok(output))
            if connection.is_clean() && output.pending(config.flush).is_none() =>
        {
            return Ok(true);
        }
        (Some(due), _) => return Err(Failure::TimedOut(due)),
    }
    Ok(false)
}

/// What is left to do where nothing more is received now, and nothing owed.
pub(crate) fn at_rest<R: Role, Tx: AsRef<[u8]> + AsMut<[u8]>, X: Extension>(
    connection: &Connection<R>,
    output: &Output<Tx, X>,
    config: &Config<'_>,
) -> Result<Next<X::Found>, Failure> {
    Ok(match output.pending(config.flush) {
        Some(io) => Next::Io(io),
        // RFC 6455 §7.1.1: the server ends the transport first, the client after it [CL06] [CL07]
        None if connection.should_shutdown() => match connection.violation() {
            Some(violation) => return Err(Failure::Protocol(violation)),
            None => Next::End,
        },
        None => Next::Io(Io::Read),
    })
}

/// A frame of a message, whole or the next part of it; `None` where there is not room enough.
pub(crate) fn put_fragment<R: Role, Tx: AsRef<[u8]> + AsMut<[u8]>, X: Extension>(
    connection: &mut Connection<R>,
    output: &mut Output<Tx, X>,
    fragment: Fragment<'_>,
) -> Result<Option<usize>, Failure> {
    if !output.put_owed(connection)? {
        return Ok(None);
    }
    // Better whole after the next write than in parts now.
    if output.pending(false).is_some()
        && output.room() < fragment.payload.len().saturating_add(FrameHeader::MAX_LEN)
    {
        return Ok(None);
    }
    let taken = output.put_fragment(connection, fragment)?;
    // The room was needed for what was taken before.
    Ok(taken.filter(|taken| *taken > 0 || fragment.payload.is_empty()))
}

/// Queues a Close.
pub(crate) fn start_close<R: Role, Tx: AsRef<[u8]> + AsMut<[u8]>, X: Extension>(
    connection: &mut Connection<R>,
    output: &mut Output<Tx, X>,
    code: CloseCode,
    reason: &str,
) -> Result<(), Failure> {
    // RFC 6455 §5.5.1: after a Close there are no frames of a message any more [CL05]
    if X::is_ending(&output.outgoing) && !output.put_owed(connection)? {
        return Err(Failure::Send(SendError::MessageInProgress));
    }
    Ok(connection.close(code, reason)?)
}

impl<'a, Tx: AsRef<[u8]> + AsMut<[u8]>, K: Time> Engine<'a, Server, Tx, K, NoExtension> {
    pub(crate) fn server(config: &'a Config<'a>, tx: Tx, time: K) -> Self {
        Self {
            output: Output::new(tx, ()),
            phase: Phase::Request(request(config)),
            time,
            config,
            subprotocol: None,
        }
    }
}

impl<'a, Tx: AsRef<[u8]> + AsMut<[u8]>, K: Time, X: Extension> Engine<'a, Server, Tx, K, X> {
    /// What is left to do until the connection is open; `None`: it is.
    pub(crate) fn next_accept<Rx: AsRef<[u8]> + AsMut<[u8]>>(
        &mut self,
        rx: &mut Window<Rx>,
        incoming: &mut X::Incoming,
        judge: &mut impl FnMut(Result<RequestEvent<'_>, HandshakeError>) -> Option<Decision<'a>>,
    ) -> Result<Option<Io>, Failure> {
        let offers = self.offers();
        loop {
            match &mut self.phase {
                Phase::Request(handshake) => {
                    let mut input = &*rx.unread();
                    let unread = input.len();
                    // The request's line lies in the transmit buffer, idle until the answer.
                    let (line, _) = self.output.idle();
                    let found = handshake.next_event_in(line, &mut input, &offers);
                    let is_head = handshake.is_head();
                    let (upgrade, error, event) = match found {
                        Ok(None) => (None, None, None),
                        Ok(Some(event @ RequestEvent::Done(upgrade))) => {
                            (Some(upgrade), None, Some(Ok(event)))
                        }
                        Ok(Some(event)) => (None, None, Some(Ok(event))),
                        Err(error) => (None, Some(error), Some(Err(error))),
                    };
                    let decision = event.and_then(&mut *judge);
                    let read = unread.saturating_sub(input.len());
                    rx.take(read);
                    let (accepted, answer) = match decision {
                        Some(Decision::Respond(response)) => {
                            let response = response.head(is_head);
                            self.phase = Phase::Respond(response, 0, Failure::Answered);
                            continue;
                        }
                        Some(Decision::AcceptWith(upgrade, answer)) => (upgrade, answer),
                        Some(Decision::Accept(upgrade)) => (upgrade, upgrade.answer(&offers)),
                        None => match (upgrade, error) {
                            (Some(upgrade), _) => (upgrade, upgrade.answer(&offers)),
                            (None, Some(error)) => {
                                let response = error.response().head(is_head);
                                let failure = Failure::Handshake(error);
                                self.phase = Phase::Respond(response, 0, failure);
                                continue;
                            }
                            (None, None) if rx.is_empty() => {
                                self.check_time()?;
                                return Ok(Some(Io::Read));
                            }
                            (None, None) => continue,
                        },
                    };
                    self.phase = Phase::Accept(accepted, answer, 0);
                }
                Phase::Accept(upgrade, answer, at) => {
                    let (upgrade, answer) = (*upgrade, *answer);
                    let all = Self::emit(&mut self.output, at, |at, out| {
                        upgrade.emit_from(at, out, &answer)
                    });
                    if let Some(io) = self.output.pending(self.config.flush) {
                        self.check_time()?;
                        return Ok(Some(io));
                    }
                    if all {
                        self.open(Server, &upgrade.agreed(), answer.subprotocol(), incoming);
                    }
                }
                Phase::Respond(response, at, failure) => {
                    let failure = *failure;
                    let all =
                        Self::emit(&mut self.output, at, |at, out| response.emit_from(at, out));
                    if let Some(io) = self.output.pending(self.config.flush) {
                        self.check_time()?;
                        return Ok(Some(io));
                    }
                    if all {
                        self.phase = Phase::Over(failure);
                    }
                }
                Phase::Over(failure) => return Err(*failure),
                _ => return Ok(None),
            }
        }
    }
}

impl<'a, E: Entropy, Tx: AsRef<[u8]> + AsMut<[u8]>, K: Time>
    Engine<'a, Client<E>, Tx, K, NoExtension>
{
    pub(crate) fn client(
        config: &'a Config<'a>,
        tx: Tx,
        request: Request<'a>,
        mut entropy: E,
        time: K,
    ) -> Self {
        let phase = match Key::new(&mut entropy) {
            Ok(key) => Phase::Ask(request, key, 0, Client::new(entropy)),
            Err(error) => Phase::Over(Failure::Config(error.into())),
        };
        Self {
            output: Output::new(tx, ()),
            phase,
            time,
            config,
            subprotocol: None,
        }
    }
}

impl<'a, E: Entropy, Tx: AsRef<[u8]> + AsMut<[u8]>, K: Time, X: Extension>
    Engine<'a, Client<E>, Tx, K, X>
{
    /// What is left to do until the connection is open; `None`: it is.
    pub(crate) fn next_connect<Rx: AsRef<[u8]> + AsMut<[u8]>>(
        &mut self,
        rx: &mut Window<Rx>,
        incoming: &mut X::Incoming,
        look: &mut impl FnMut(ResponseEvent<'_>),
    ) -> Result<Option<Io>, Failure> {
        let offers = self.offers();
        loop {
            match &mut self.phase {
                Phase::Ask(request, key, at, _) => {
                    let key = *key;
                    let request = match request.offers(&offers) {
                        Ok(request) => request,
                        Err(error) => {
                            self.phase = Phase::Over(Failure::Config(error));
                            continue;
                        }
                    };
                    let all = Self::emit(&mut self.output, at, |at, out| {
                        request.emit_from(at, out, &key)
                    });
                    if let Some(io) = self.output.pending(self.config.flush) {
                        self.check_time()?;
                        return Ok(Some(io));
                    }
                    if all {
                        let before = mem::replace(&mut self.phase, Phase::Over(Failure::Lost));
                        if let Phase::Ask(_, _, _, role) = before {
                            let limits = self.config.limits;
                            let handshake = ClientHandshake::with_limits(&key, [], limits);
                            self.phase = Phase::Response(handshake, role);
                        }
                    }
                }
                Phase::Response(handshake, _) => {
                    let mut input = &*rx.unread();
                    let unread = input.len();
                    let (line, _) = self.output.idle();
                    let found = handshake.next_event_in(line, &mut input, &offers);
                    let done = match found {
                        Ok(Some(ResponseEvent::Done(agreed))) => Some(agreed),
                        _ => None,
                    };
                    let nothing = matches!(found, Ok(None));
                    let failure = match found {
                        Ok(event) => {
                            event.map(&mut *look);
                            None
                        }
                        Err(error) => Some(Failure::Handshake(error)),
                    };
                    let read = unread.saturating_sub(input.len());
                    rx.take(read);
                    if let Some(failure) = failure {
                        self.phase = Phase::Over(failure);
                    } else if let Some(agreed) = done {
                        let before = mem::replace(&mut self.phase, Phase::Over(Failure::Lost));
                        if let Phase::Response(_, role) = before {
                            let index = agreed.subprotocol;
                            let subprotocol = index.and_then(|index| offers.subprotocol(index));
                            self.open(role, &agreed, subprotocol, incoming);
                        }
                    } else if nothing {
                        self.check_time()?;
                        return Ok(Some(Io::Read));
                    }
                }
                Phase::Over(failure) => return Err(*failure),
                _ => return Ok(None),
            }
        }
    }
}
