//! Everything between the core and a transport that is not the transport: both WebSockets, the
//! blocking and the async one, do what it says and tell it what came of that. All their state is in
//! here, so none is in a future.

use core::mem;

use motews::handshake::{
    Agreed, Answer, ClientHandshake, HandshakeError, Key, Offers, Request, RequestEvent, Response,
    ResponseEvent, ServerHandshake, Upgrade,
};
use motews::pace::{Millis, Pace, Timeouts};
use motews::{
    Client, CloseCode, Ended, Entropy, FrameHeader, Message, Role, SendError, Server, Session,
    Wants, Window,
};

use crate::config::{BufferTooSmall, Config, Decision, MIN_BUFFER};
use crate::error::{Failure, is_gone};
use crate::extension::{Extension, Fragment, NoExtension};
use crate::output::{Late, Output};
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
    /// The opening handshake.
    Opening(Pace, Opening<'a, R>),
    Open(Session<R>),
    /// There is no WebSocket.
    Over(Pace, Ended),
}

/// How far the opening handshake is.
#[derive(Debug)]
pub(crate) enum Opening<'a, R> {
    /// A server waits for the request, of which something has come if `true`.
    Request(ServerHandshake<[u8; 0]>, bool),
    /// A server accepts; so many bytes of the response are through.
    Accept(Upgrade, Answer<'a>, usize),
    /// A server responds in another way, likewise. With an error, if it is about one.
    Respond(Response<'a>, usize, Option<HandshakeError>),
    /// A client asks; so many bytes of it are through.
    Ask(Request<'a>, Key, usize, R),
    /// A client waits for the response.
    Response(ClientHandshake<[u8; 0]>, R),
}

impl<R> Phase<'_, R> {
    /// The session, if there is one.
    pub(crate) const fn open(&mut self) -> Result<&mut Session<R>, Failure> {
        match self {
            Self::Open(session) => Ok(session),
            phase => Err(phase.not_open()),
        }
    }

    /// Why there is no session.
    const fn not_open(&self) -> Failure {
        match self {
            Self::Over(_, ended) => Failure::Ended(*ended),
            _ => Failure::Send(SendError::NotOpen),
        }
    }

    /// The pace of what is no session.
    pub(crate) const fn pace(&mut self) -> Option<&mut Pace> {
        match self {
            Self::Opening(pace, _) | Self::Over(pace, _) => Some(pace),
            Self::Open(_) => None,
        }
    }
}

#[derive(Debug)]
pub(crate) struct Engine<'a, T, R, Tx, K, X: Extension> {
    pub(crate) transport: T,
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

impl<'a, T, R: Role, Tx: AsRef<[u8]> + AsMut<[u8]>, K: Time, X: Extension>
    Engine<'a, T, R, Tx, K, X>
{
    pub(crate) fn configure(&mut self, config: &'a Config<'a>) {
        self.config = config;
        if let Phase::Opening(_, Opening::Request(handshake, ..)) = &mut self.phase {
            *handshake = request(config);
        }
    }

    // ---- what came of the transport ----

    /// When the transport is to be left alone, and [`next`](Self::next) asked again. To be called
    /// before it is asked for `io`.
    pub(crate) fn wake_at(&mut self, io: Io) -> Option<Millis> {
        if io != Io::Read {
            self.report(0);
        }
        if !K::IS_TIMED {
            return None;
        }
        let timeouts = &self.config.timeouts;
        match &mut self.phase {
            Phase::Open(session) => session.poll_at(timeouts),
            phase => phase.pace()?.poll_at(timeouts),
        }
    }

    /// The transport brought so many bytes, 0 at its end.
    pub(crate) fn read<Rx: AsRef<[u8]> + AsMut<[u8]>>(&mut self, rx: &mut Window<Rx>, len: usize) {
        if len == 0 {
            match &mut self.phase {
                Phase::Open(session) => session.receive_eof(),
                _ => self.over(Ended::Lost),
            }
            return;
        }
        rx.fill(len);
        match &mut self.phase {
            Phase::Open(session) if K::IS_TIMED => session.received(self.time.time()),
            Phase::Opening(_, Opening::Request(.., has_heard)) => *has_heard = true,
            _ => {}
        }
    }

    /// The transport took so many bytes.
    pub(crate) fn written(&mut self, len: usize) -> Result<(), Failure> {
        if len == 0 {
            // It is not meant to do so, and it would go on for ever.
            return self.lost();
        }
        self.output.written(len);
        self.report(len);
        Ok(())
    }

    /// The transport keeps nothing back any more.
    pub(crate) fn flushed(&mut self) {
        self.output.flushed();
        self.report(0);
    }

    /// The transport has taken nothing until [`wake_at`](Self::wake_at), and what it may have
    /// received lies unread.
    pub(crate) fn late(&mut self) -> Result<(), Failure> {
        match &mut self.phase {
            _ if !K::IS_TIMED => Ok(()),
            Phase::Open(session) => {
                _ = session.poll(self.time.time(), &self.config.timeouts, true);
                check_ended(session)
            }
            _ => Ok(()), // The handshake looks at the time by itself.
        }
    }

    /// The transport failed. `Ok`: that is as good an end as any.
    pub(crate) fn failed<E: embedded_io::Error>(&mut self, error: E) -> Result<(), E> {
        match is_gone(&error) && self.lost().is_ok() {
            true => Ok(()),
            false => Err(error),
        }
    }

    /// The transport is gone. `Ok`: the peer's Close had come.
    fn lost(&mut self) -> Result<(), Failure> {
        match &mut self.phase {
            Phase::Open(session) => {
                session.lost();
                check_ended(session)
            }
            _ => {
                self.over(Ended::Lost);
                Err(self.phase.not_open())
            }
        }
    }

    /// There is no WebSocket, for this reason. The first counts.
    fn over(&mut self, ended: Ended) {
        if let Phase::Opening(pace, _) = self.phase {
            self.phase = Phase::Over(pace, ended);
        }
    }

    /// The transport took so many bytes, and others wait.
    fn report(&mut self, taken: usize) {
        let left = self.output.left(self.config.flush);
        let timeouts = &self.config.timeouts;
        match &mut self.phase {
            Phase::Open(session) => report(session, &mut self.time, timeouts, taken, left),
            phase => {
                if K::IS_TIMED
                    && let Some(pace) = phase.pace()
                {
                    pace.sent(self.time.time(), timeouts, taken, left);
                }
            }
        }
    }

    /// How it ended.
    pub(crate) fn ended(&self) -> Option<Ended> {
        match &self.phase {
            Phase::Open(session) => session.ended(),
            Phase::Over(_, ended) => Some(*ended),
            _ => None,
        }
    }

    /// Whether the peer has sent anything.
    pub(crate) const fn has_heard(&self) -> bool {
        !matches!(self.phase, Phase::Opening(_, Opening::Request(.., false)))
    }

    // ---- what is to be done ----

    /// What there is of an open connection.
    pub(crate) fn next<Rx: AsRef<[u8]> + AsMut<[u8]>>(
        &mut self,
        rx: &mut Window<Rx>,
        incoming: &mut X::Incoming,
    ) -> Result<Next<X::Found>, Failure> {
        let session = self.phase.open()?;
        let output = &mut self.output;
        let config = self.config;
        loop {
            let left = output.left(config.flush);
            let has_input = !rx.is_empty();
            if poll(
                session,
                &mut self.time,
                config,
                &mut output.late,
                has_input,
                left,
            )
            .drop
            {
                return at_rest(session, None);
            }
            // Each ping has its pong, as long as the transport takes them; no frame is read
            // before the last pong has found room.
            if !output.put_owed(session)? {
                return Ok(Next::Io(Io::Write));
            }
            if let Some(found) = X::receive(incoming, session, rx) {
                return Ok(Next::Event(found));
            }
            if rx.is_empty() && !session.wants_transmit() {
                let pending = output.pending(config.flush);
                if pending.is_none() {
                    output.late.ask();
                }
                return at_rest(session, pending);
            }
        }
    }

    /// What is left to do until everything is written; `None`: nothing.
    pub(crate) fn next_flush(&mut self) -> Result<Option<Io>, Failure> {
        if let Phase::Open(session) = &mut self.phase {
            check_ended(session)?;
            // What is owed and finds no room does so after the next write.
            self.output.put_owed(session)?;
        }
        Ok(self.output.pending(self.config.flush))
    }

    /// Drops what was received, and returns whether the end of the transport need not be waited for
    /// any more. It was shut down for writing.
    pub(crate) fn next_drain<Rx: AsRef<[u8]> + AsMut<[u8]>>(
        &mut self,
        rx: &mut Window<Rx>,
        incoming: &mut X::Incoming,
    ) -> Result<bool, Failure> {
        rx.take(usize::MAX);
        X::discard_all(incoming);
        match &mut self.phase {
            Phase::Open(session) => {
                // What is not written by now never is, and the peer's time begins.
                _ = session.close(CloseCode::GOING_AWAY, "");
                let drop = poll(
                    session,
                    &mut self.time,
                    self.config,
                    &mut Late::Asked,
                    false,
                    0,
                )
                .drop;
                match session.ended() {
                    Some(Ended::TimedOut(deadline)) => {
                        Err(Failure::Ended(Ended::TimedOut(deadline)))
                    }
                    _ => Ok(drop),
                }
            }
            Phase::Over(pace, _) if K::IS_TIMED => {
                let timeouts = &self.config.timeouts;
                Ok(pace.poll(self.time.time(), timeouts).is_some())
            }
            _ => Ok(false),
        }
    }

    /// Puts a message into the transmit buffer. `false`: not yet, there is something to write
    /// first.
    pub(crate) fn send(&mut self, message: Message<'_>, compress: bool) -> Result<bool, Failure> {
        let (session, output) = self.sending()?;
        Ok(output.put_owed(session)? && output.put_message(session, message, compress)?)
    }

    /// The same with a fragment. How many bytes of it went in; `None`: not yet.
    pub(crate) fn send_fragment(
        &mut self,
        fragment: Fragment<'_>,
    ) -> Result<Option<usize>, Failure> {
        let (session, output) = self.sending()?;
        put_fragment(session, output, fragment)
    }

    /// The same with a ping.
    pub(crate) fn ping(&mut self, payload: &[u8]) -> Result<bool, Failure> {
        let (session, output) = self.sending()?;
        Ok(output.put_owed(session)? && output.put_control(|out| session.ping(payload, out))?)
    }

    /// Begins the closing handshake.
    pub(crate) fn start_close(&mut self, code: CloseCode, reason: &str) -> Result<(), Failure> {
        let session = self.phase.open()?;
        start_close(session, &mut self.output, code, reason)
    }

    fn sending(&mut self) -> Result<(&mut Session<R>, &mut Output<Tx, X>), Failure> {
        let session = self.phase.open()?;
        not_ended(session)?;
        Ok((session, &mut self.output))
    }

    /// Ends a handshake whose time is over.
    fn check_time(&mut self) {
        if K::IS_TIMED
            && let Some(pace) = self.phase.pace()
            && let Some(deadline) = pace.poll(self.time.time(), &self.config.timeouts)
        {
            self.over(Ended::TimedOut(deadline)); // [HS22] [HC25]
        }
    }

    /// Takes the phase, for the next one.
    const fn take_phase(&mut self) -> Phase<'a, R> {
        mem::replace(
            &mut self.phase,
            Phase::Over(Pace::new(Millis(0)), Ended::Lost),
        )
    }

    /// The opening handshake is complete.
    fn open(
        &mut self,
        role: R,
        pace: Pace,
        agreed: &Agreed,
        subprotocol: Option<&'a str>,
        incoming: &mut X::Incoming,
    ) {
        self.subprotocol = subprotocol;
        let outgoing = &mut self.output.outgoing;
        X::open(incoming, outgoing, agreed, self.config.limits.message);
        let now = self.time.time();
        self.phase = Phase::Open(Session::with_pace(role, agreed.config, pace, now));
    }

    /// What is offered, or accepted.
    fn offers(&self) -> Offers<'a> {
        X::offers(&self.output.outgoing, self.config.offers())
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

/// Sees to what is due, and returns what is to be done. `left` bytes wait.
///
/// The user may come back late. So when a deadline has passed, the transport is asked once more for
/// what would have settled it, and all of that is decoded; then the deadline counts, whatever comes.
// [CL21]
pub(crate) fn poll<R: Role, K: Time>(
    session: &mut Session<R>,
    time: &mut K,
    config: &Config<'_>,
    late: &mut Late,
    has_input: bool,
    left: usize,
) -> Wants {
    if !K::IS_TIMED {
        session.sent_untimed(left);
        return session.poll_untimed();
    }
    let now = time.time();
    let timeouts = &config.timeouts;
    session.sent(now, timeouts, 0, left);
    let is_late = session
        .poll_at(timeouts)
        .is_some_and(|at| now.has_reached(at));
    if !is_late {
        *late = Late::No;
    } else if has_input || *late != Late::Asked {
        if *late == Late::No {
            *late = Late::Yes;
        }
        return Wants::default();
    }
    session.poll(now, timeouts, false)
}

/// The transport took so many bytes, and others wait.
pub(crate) fn report<R: Role, K: Time>(
    session: &mut Session<R>,
    time: &mut K,
    timeouts: &Timeouts,
    taken: usize,
    left: usize,
) {
    match K::IS_TIMED {
        true => session.sent(time.time(), timeouts, taken, left),
        false => session.sent_untimed(left),
    }
}

/// Whether the session has failed. That the peer has closed it is no failure.
pub(crate) fn check_ended<R: Role>(session: &Session<R>) -> Result<(), Failure> {
    match session.ended() {
        None | Some(Ended::Closed { .. }) => Ok(()),
        Some(ended) => Err(Failure::Ended(ended)),
    }
}

/// The same for what can be done no more after a clean end, either.
pub(crate) fn not_ended<R: Role>(session: &Session<R>) -> Result<(), Failure> {
    match session.ended() {
        None => Ok(()),
        Some(ended) => Err(Failure::Ended(ended)),
    }
}

/// What is left to do where nothing more is received now, and nothing owed. `pending`: this is to be
/// done first.
pub(crate) fn at_rest<R: Role, F>(
    session: &Session<R>,
    pending: Option<Io>,
) -> Result<Next<F>, Failure> {
    match (pending, session.ended()) {
        (Some(io), _) => Ok(Next::Io(io)),
        (None, None) => Ok(Next::Io(Io::Read)),
        (None, Some(Ended::Closed { .. })) => Ok(Next::End),
        (None, Some(ended)) => Err(Failure::Ended(ended)),
    }
}

/// A frame of a message, whole or the next part of it; `None` where there is not room enough.
pub(crate) fn put_fragment<R: Role, Tx: AsRef<[u8]> + AsMut<[u8]>, X: Extension>(
    session: &mut Session<R>,
    output: &mut Output<Tx, X>,
    fragment: Fragment<'_>,
) -> Result<Option<usize>, Failure> {
    if !output.put_owed(session)? {
        return Ok(None);
    }
    // Better whole after the next write than in parts now.
    if output.pending(false).is_some()
        && output.room() < fragment.payload.len().saturating_add(FrameHeader::MAX_LEN)
    {
        return Ok(None);
    }
    let taken = output.put_fragment(session, fragment)?;
    // The room was needed for what was taken before.
    Ok(taken.filter(|taken| *taken > 0 || fragment.payload.is_empty()))
}

/// Queues a Close.
pub(crate) fn start_close<R: Role, Tx: AsRef<[u8]> + AsMut<[u8]>, X: Extension>(
    session: &mut Session<R>,
    output: &mut Output<Tx, X>,
    code: CloseCode,
    reason: &str,
) -> Result<(), Failure> {
    // RFC 6455 §5.5.1: after a Close there are no frames of a message any more [CL05]
    if X::is_ending(&output.outgoing) && !output.put_owed(session)? {
        return Err(Failure::Send(SendError::MessageInProgress));
    }
    Ok(session.close(code, reason)?)
}

impl<'a, T, Tx: AsRef<[u8]> + AsMut<[u8]>, K: Time> Engine<'a, T, Server, Tx, K, NoExtension> {
    pub(crate) fn server(config: &'a Config<'a>, transport: T, tx: Tx, time: K) -> Self {
        Self {
            transport,
            output: Output::new(tx, ()),
            phase: Phase::Opening(
                Pace::new(Millis(0)),
                Opening::Request(request(config), false),
            ),
            time,
            config,
            subprotocol: None,
        }
    }
}

impl<'a, T, Tx: AsRef<[u8]> + AsMut<[u8]>, K: Time, X: Extension> Engine<'a, T, Server, Tx, K, X> {
    /// What is left to do until the connection is open; `None`: it is.
    pub(crate) fn next_accept<Rx: AsRef<[u8]> + AsMut<[u8]>>(
        &mut self,
        rx: &mut Window<Rx>,
        incoming: &mut X::Incoming,
        judge: &mut impl FnMut(Result<RequestEvent<'_>, HandshakeError>) -> Option<Decision<'a>>,
    ) -> Result<Option<Io>, Failure> {
        let offers = self.offers();
        loop {
            self.check_time();
            let Phase::Opening(pace, opening) = &mut self.phase else {
                return self.phase.open().map(|_| None);
            };
            match opening {
                Opening::Request(handshake, _) => {
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
                    *opening = match (decision, upgrade, error) {
                        (Some(Decision::Respond(response)), ..) => {
                            Opening::Respond(response.head(is_head), 0, None)
                        }
                        (Some(Decision::AcceptWith(upgrade, answer)), ..) => {
                            Opening::Accept(upgrade, answer, 0)
                        }
                        (Some(Decision::Accept(upgrade)), ..) | (None, Some(upgrade), _) => {
                            Opening::Accept(upgrade, upgrade.answer(&offers), 0)
                        }
                        (None, None, Some(error)) => {
                            Opening::Respond(error.response().head(is_head), 0, Some(error))
                        }
                        (None, None, None) if rx.is_empty() => return Ok(Some(Io::Read)),
                        (None, None, None) => continue,
                    };
                    if K::IS_TIMED {
                        pace.responding(self.time.time());
                    }
                }
                Opening::Accept(upgrade, answer, at) => {
                    let (upgrade, answer) = (*upgrade, *answer);
                    let all = Self::emit(&mut self.output, at, |at, out| {
                        upgrade.emit_from(at, out, &answer)
                    });
                    if let Some(io) = self.output.pending(self.config.flush) {
                        return Ok(Some(io));
                    }
                    if all {
                        let (pace, agreed) = (*pace, upgrade.agreed());
                        self.open(Server, pace, &agreed, answer.subprotocol(), incoming);
                    }
                }
                Opening::Respond(response, at, error) => {
                    let ended = match *error {
                        Some(error) => Ended::Handshake(error),
                        None => Ended::Refused(response.status()),
                    };
                    let all =
                        Self::emit(&mut self.output, at, |at, out| response.emit_from(at, out));
                    if let Some(io) = self.output.pending(self.config.flush) {
                        return Ok(Some(io));
                    }
                    if all {
                        if K::IS_TIMED {
                            pace.draining(self.time.time(), &self.config.timeouts);
                        }
                        self.over(ended);
                    }
                }
                _ => return Ok(None),
            }
        }
    }
}

impl<'a, T, E: Entropy, Tx: AsRef<[u8]> + AsMut<[u8]>, K: Time>
    Engine<'a, T, Client<E>, Tx, K, NoExtension>
{
    pub(crate) fn client(
        config: &'a Config<'a>,
        transport: T,
        tx: Tx,
        request: Request<'a>,
        mut entropy: E,
        time: K,
    ) -> Self {
        let pace = Pace::new(Millis(0));
        let phase = match Key::new(&mut entropy) {
            Ok(key) => Phase::Opening(pace, Opening::Ask(request, key, 0, Client::new(entropy))),
            Err(_) => Phase::Over(pace, Ended::NoEntropy),
        };
        Self {
            transport,
            output: Output::new(tx, ()),
            phase,
            time,
            config,
            subprotocol: None,
        }
    }
}

impl<'a, T, E: Entropy, Tx: AsRef<[u8]> + AsMut<[u8]>, K: Time, X: Extension>
    Engine<'a, T, Client<E>, Tx, K, X>
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
            self.check_time();
            let Phase::Opening(_, opening) = &mut self.phase else {
                return self.phase.open().map(|_| None);
            };
            match opening {
                Opening::Ask(request, key, at, _) => {
                    let key = *key;
                    let request = request.offers(&offers).map_err(Failure::Config)?;
                    let all = Self::emit(&mut self.output, at, |at, out| {
                        request.emit_from(at, out, &key)
                    });
                    if let Some(io) = self.output.pending(self.config.flush) {
                        return Ok(Some(io));
                    }
                    if all {
                        let limits = self.config.limits;
                        self.phase = match self.take_phase() {
                            Phase::Opening(pace, Opening::Ask(_, _, _, role)) => {
                                let handshake = ClientHandshake::with_limits(&key, [], limits);
                                Phase::Opening(pace, Opening::Response(handshake, role))
                            }
                            phase => phase,
                        };
                    }
                }
                Opening::Response(handshake, ..) => {
                    let mut input = &*rx.unread();
                    let unread = input.len();
                    let (line, _) = self.output.idle();
                    let found = handshake.next_event_in(line, &mut input, &offers);
                    let (event, error) = match found {
                        Ok(event) => (event, None),
                        Err(error) => (None, Some(error)),
                    };
                    let done = match event {
                        Some(ResponseEvent::Done(agreed)) => Some(agreed),
                        _ => None,
                    };
                    let nothing = event.is_none();
                    event.map(&mut *look);
                    let read = unread.saturating_sub(input.len());
                    rx.take(read);
                    if let Some(error) = error {
                        self.over(error.into());
                    } else if let Some(agreed) = done {
                        if let Phase::Opening(pace, Opening::Response(_, role)) = self.take_phase()
                        {
                            let index = agreed.subprotocol;
                            let subprotocol = index.and_then(|index| offers.subprotocol(index));
                            self.open(role, pace, &agreed, subprotocol, incoming);
                        }
                    } else if nothing {
                        return Ok(Some(Io::Read));
                    }
                }
                _ => return Ok(None),
            }
        }
    }
}
