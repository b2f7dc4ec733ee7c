//! Everything between the core and a transport that is not the transport. It says what the transport
//! is to do next, or what there is for the caller, and is told what came of that: the blocking and the
//! async WebSocket are two loops around it. All their state is in here, so none is in a future.

use motews::handshake::{
    Agreed, Answer, ClientHandshake, HandshakeError, Key, Offers, Request, Response,
    ServerHandshake, Upgrade,
};
use motews::{
    CloseCode, Ended, MessageBuffer, Millis, Pace, ProtocolViolation, Role, SendError, Session,
    Timeouts, Wants,
};

use crate::compression::{Found, Input};
use crate::config::Config;
use crate::error::{Error, Failure, is_gone};
use crate::output::{Io, Late, Output};
use crate::time::Time;

/// What comes next.
pub(crate) enum Next<V> {
    /// The call is done.
    Done(V),
    /// Nothing yet: first this.
    Io(Io),
}

impl<V> Next<V> {
    pub(crate) const READ: Self = Self::Io(Io::Read);
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
    /// Somebody else has seen it through.
    Upgraded(R, Agreed),
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

    /// Takes the phase, for the next one.
    pub(crate) const fn take(&mut self) -> Self {
        core::mem::replace(self, Self::Over(Pace::new(Millis(0)), Ended::Lost))
    }
}

#[derive(Debug)]
pub(crate) struct Engine<'a, T, R, K> {
    /// Not for the engine. It is here because there is room for it.
    pub(crate) transport: T,
    pub(crate) output: Output<'a>,
    pub(crate) phase: Phase<'a, R>,
    pub(crate) time: K,
    pub(crate) config: &'a Config<'a>,
    pub(crate) subprotocol: Option<&'a str>,
}

impl<'a, T, R: Role, K: Time> Engine<'a, T, R, K> {
    /// The same with this source of time, in whose time the handshake begins now.
    pub(crate) fn with_time<C: Time>(mut self, mut time: C) -> Engine<'a, T, R, C> {
        if let Some(pace) = self.phase.pace() {
            *pace = Pace::new(time.time());
        }
        Engine {
            transport: self.transport,
            output: self.output,
            phase: self.phase,
            time,
            config: self.config,
            subprotocol: self.subprotocol,
        }
    }

    // ---- what came of the transport ----

    /// When the transport is to be left alone, and the engine asked again. To be called before the
    /// transport is asked for `io`.
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

    /// Whether the transport may be read while it is to do `io`: whatever comes has its place.
    pub(crate) fn reads_meanwhile(&self, input: &mut Input<'a>, io: Io) -> bool {
        io != Io::Read && !self.output.at_eof && input.window().is_empty()
    }

    /// The transport brought so many bytes, 0 at its end.
    pub(crate) fn read(&mut self, input: &mut Input<'a>, len: usize) {
        if len == 0 {
            self.output.at_eof = true;
            match &mut self.phase {
                Phase::Open(session) => session.receive_eof(),
                _ => self.over(Ended::Lost),
            }
            return;
        }
        input.window().fill(len);
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
    pub(crate) fn failed<E: embedded_io::Error>(&mut self, error: E) -> Result<(), Error<E>> {
        match is_gone(&error) && self.lost().is_ok() {
            true => Ok(()),
            false => Err(Error::Io(error)),
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
    pub(crate) fn over(&mut self, ended: Ended) {
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
            Phase::Opening(..) => None,
        }
    }

    // ---- what is to be done ----

    /// The opening handshake is complete.
    pub(crate) fn open(
        &mut self,
        role: R,
        pace: Pace,
        agreed: &Agreed,
        subprotocol: Option<&'a str>,
    ) {
        self.subprotocol = subprotocol;
        let now = self.time.time();
        self.phase = Phase::Open(Session::with_pace(role, agreed.config, pace, now));
    }

    /// What there is of an open connection; `None` if both Closes are through.
    pub(crate) fn next(&mut self, input: &mut Input<'a>) -> Result<Next<Option<Found>>, Failure> {
        let session = self.phase.open()?;
        let (output, config) = (&mut self.output, self.config);
        loop {
            let left = output.left(config.flush);
            let has_input = !input.window().is_empty();
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
            // before the last pong has found room. Who comes back reads on all the same, for the
            // peer may read nothing before that: the pong to the newest ping will do.
            let reads_on = K::COMES_BACK && has_input;
            if !output.put_owed(session)? && !reads_on {
                return Ok(Next::Io(Io::Write));
            }
            if let Some(found) = input.receive(session) {
                return Ok(Next::Done(Some(found)));
            }
            if input.window().is_empty() && !session.wants_transmit() {
                let pending = output.pending(config.flush);
                if pending.is_none() {
                    output.late.ask();
                }
                return at_rest(session, pending);
            }
        }
    }

    /// The same, but only parts of messages.
    pub(crate) fn next_chunk(
        &mut self,
        input: &mut Input<'a>,
    ) -> Result<Next<Option<Found>>, Failure> {
        loop {
            match self.next(input)? {
                Next::Done(Some(found)) if !found.is_chunk() => input.discard(found),
                next => return Ok(next),
            }
        }
    }

    /// The same, but only the last part of a message, whose other parts are in `messages` by then.
    pub(crate) fn next_message<B: AsRef<[u8]> + AsMut<[u8]>>(
        &mut self,
        input: &mut Input<'a>,
        messages: &mut MessageBuffer<B>,
    ) -> Result<Next<Option<Found>>, Failure> {
        loop {
            match self.next(input)? {
                Next::Done(Some(found)) if !found.ends_message() => {
                    if let Err(violation) = input.push(found, messages) {
                        self.fail(violation);
                    }
                }
                next => return Ok(next),
            }
        }
    }

    /// The connection fails.
    pub(crate) fn fail(&mut self, violation: ProtocolViolation) {
        if let Ok(session) = self.phase.open() {
            session.fail(violation);
        }
    }

    /// How the connection ends. All that is received until then is dropped.
    pub(crate) fn next_end(&mut self, input: &mut Input<'a>) -> Result<Next<Ended>, Failure> {
        loop {
            let end = match self.next(input) {
                Ok(Next::Done(Some(found))) => {
                    input.discard(found);
                    continue;
                }
                Ok(Next::Io(io)) => return Ok(Next::Io(io)),
                Ok(Next::Done(None)) => self.ended().unwrap_or(Ended::Lost),
                Err(Failure::Ended(ended)) => ended,
                Err(failure) => return Err(failure),
            };
            return Ok(Next::Done(end));
        }
    }

    /// Drops what was received, until the end of the transport has come or need not be waited for any
    /// more. It was shut down for writing.
    pub(crate) fn next_drain(&mut self, input: &mut Input<'a>) -> Result<Next<()>, Failure> {
        input.discard_all();
        let (time, config) = (&mut self.time, self.config);
        let is_over = match &mut self.phase {
            Phase::Open(session) => {
                // What is not written by now never is, and the peer's time begins.
                _ = session.close(CloseCode::GOING_AWAY, "");
                let drop = poll(session, time, config, &mut Late::Asked, false, 0).drop;
                if let Some(Ended::TimedOut(deadline)) = session.ended() {
                    return Err(Failure::Ended(Ended::TimedOut(deadline)));
                }
                drop
            }
            Phase::Over(pace, _) if K::IS_TIMED => {
                pace.poll(time.time(), &config.timeouts).is_some()
            }
            _ => false,
        };
        match is_over || self.output.at_eof {
            true => Ok(Next::Done(())),
            false => Ok(Next::READ),
        }
    }

    /// What is left to do until everything is written.
    pub(crate) fn next_flush(&mut self) -> Result<Next<()>, Failure> {
        if let Phase::Open(session) = &mut self.phase {
            check_ended(session)?;
            // What is owed and finds no room does so after the next write.
            self.output.put_owed(session)?;
        }
        match self.output.pending(self.config.flush) {
            Some(io) => Ok(Next::Io(io)),
            None => Ok(Next::Done(())),
        }
    }

    /// Calls `put`, which puts something into the transmit buffer. `None`: something has to be written
    /// first.
    pub(crate) fn put<V>(
        &mut self,
        put: impl FnOnce(&mut Session<R>, &mut Output<'a>) -> Result<Option<V>, Failure>,
    ) -> Result<Option<V>, Failure> {
        let session = self.phase.open()?;
        check_sending(session)?;
        put(session, &mut self.output)
    }

    /// Queues a Close.
    pub(crate) fn close(&mut self, code: CloseCode, reason: &str) -> Result<(), Failure> {
        let session = self.phase.open()?;
        check_sending(session)?;
        self.output.close(session, code, reason)
    }

    /// What is offered, or accepted.
    pub(crate) fn offers(&self) -> Offers<'a> {
        self.output.outgoing.offers(self.config.offers())
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

/// Fails if the session has failed. That the peer has closed it is no failure.
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

/// The same for what can be done no more once the peer's Close has come.
pub(crate) fn check_sending<R: Role>(session: &Session<R>) -> Result<(), Failure> {
    let connection = session.connection();
    let (code, ended) = (connection.close_code(), session.ended());
    if code == CloseCode::ABNORMAL_CLOSURE && ended.is_none() {
        return Ok(());
    }
    Err(Failure::Ended(ended.unwrap_or(Ended::Closed {
        code,
        by: connection.closed_by(),
        clean: connection.is_clean(),
    })))
}

/// What is left to do if nothing more is received now, and nothing owed. `pending`: this is to be
/// done first.
pub(crate) fn at_rest<R: Role, F>(
    session: &Session<R>,
    pending: Option<Io>,
) -> Result<Next<Option<F>>, Failure> {
    match (pending, session.ended()) {
        (Some(io), _) => Ok(Next::Io(io)),
        (None, None) => Ok(Next::READ),
        (None, Some(Ended::Closed { .. })) => Ok(Next::Done(None)),
        (None, Some(ended)) => Err(Failure::Ended(ended)),
    }
}
