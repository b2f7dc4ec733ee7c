//! The opening handshake, step by step.

use motews::handshake::{
    Agreed, ClientHandshake, HandshakeError, Key, Request, RequestEvent, ResponseEvent,
    ServerHandshake,
};
use motews::{Client, Ended, Entropy, Millis, Pace, Role, Server};

use crate::compression::Input;
use crate::config::{Config, Decision};
use crate::engine::{Engine, Next, Opening, Phase};
use crate::error::{Error, Failure};
use crate::output::Output;
use crate::time::{Time, Untimed};

static DEFAULT: Config<'static> = Config::DEFAULT;

/// What waits for a request.
const fn request(config: &Config<'_>) -> ServerHandshake<[u8; 0]> {
    ServerHandshake::with_limits([], config.limits)
}

impl<'a, T, R> Engine<'a, T, R, Untimed> {
    fn new(transport: T, transmit: &'a mut [u8], phase: Phase<'a, R>) -> Self {
        Self {
            transport,
            output: Output::new(transmit),
            phase,
            time: Untimed,
            config: &DEFAULT,
            subprotocol: None,
        }
    }

    /// Somebody else has seen the opening handshake through.
    pub(crate) fn upgraded(transport: T, transmit: &'a mut [u8], role: R, agreed: Agreed) -> Self {
        let opening = Opening::Upgraded(role, agreed);
        Self::new(
            transport,
            transmit,
            Phase::Opening(Pace::new(Millis(0)), opening),
        )
    }
}

impl<'a, T> Engine<'a, T, Server, Untimed> {
    pub(crate) fn server(transport: T, transmit: &'a mut [u8]) -> Self {
        let opening = Opening::Request(request(&DEFAULT), false);
        Self::new(
            transport,
            transmit,
            Phase::Opening(Pace::new(Millis(0)), opening),
        )
    }
}

impl<'a, T, E: Entropy> Engine<'a, T, Client<E>, Untimed> {
    pub(crate) fn client(
        transport: T,
        transmit: &'a mut [u8],
        request: Request<'a>,
        entropy: E,
    ) -> Self {
        let phase = ask(request, entropy, Millis(0));
        Self::new(transport, transmit, phase)
    }
}

/// The beginning of a client's opening handshake.
fn ask<E: Entropy>(request: Request<'_>, mut entropy: E, now: Millis) -> Phase<'_, Client<E>> {
    let pace = Pace::new(now);
    match Key::new(&mut entropy) {
        Ok(key) => Phase::Opening(pace, Opening::Ask(request, key, 0, Client::new(entropy))),
        Err(_) => Phase::Over(pace, Ended::NoEntropy),
    }
}

/// Puts as much as there is room for of what `emit_from(offset, out)` writes into the transmit
/// buffer, and returns whether that was all.
fn emit(
    output: &mut Output<'_>,
    at: &mut usize,
    emit_from: impl Fn(usize, &mut [u8]) -> usize,
) -> bool {
    let mut all = false;
    _ = output.put(|outgoing| {
        let out = outgoing.window().spare();
        let len = emit_from(*at, out);
        *at = at.saturating_add(len);
        all = len < out.len();
        Ok(len)
    });
    all
}

impl<'a, T, R: Role, K: Time> Engine<'a, T, R, K> {
    pub(crate) fn configure(&mut self, config: &'a Config<'a>) {
        self.config = config;
        if let Phase::Opening(_, Opening::Request(handshake, ..)) = &mut self.phase {
            *handshake = request(config);
        }
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

    /// Compression as it was agreed on. It is no more than there is memory for.
    fn open_compression(&mut self, input: &mut Input<'a>, agreed: &Agreed) {
        if input.open(agreed) {
            self.output.outgoing.open(agreed);
        }
    }

    /// Opens a connection that somebody else has upgraded.
    pub(crate) fn open_upgraded<E>(&mut self, input: &mut Input<'a>) -> Result<(), Error<E>> {
        if let Phase::Opening(_, Opening::Upgraded(_, agreed)) = &self.phase {
            let agreed = *agreed;
            self.open_compression(input, &agreed);
            if !self.output.outgoing.is_open(&agreed) {
                return Err(Error::NoRoom); // Nothing would inflate what comes.
            }
            if let Phase::Opening(pace, Opening::Upgraded(role, _)) = self.phase.take() {
                let index = agreed.subprotocol;
                let subprotocol = index.and_then(|index| self.config.offers().subprotocol(index));
                self.open(role, pace, &agreed, subprotocol);
            }
        }
        self.phase.open()?;
        Ok(())
    }
}

impl<'a, T, K: Time> Engine<'a, T, Server, K> {
    /// What is left to do until the connection is open.
    pub(crate) fn next_accept(
        &mut self,
        input: &mut Input<'a>,
        decide: &mut impl FnMut(Result<RequestEvent<'_>, HandshakeError>) -> Option<Decision<'a>>,
    ) -> Result<Next<()>, Failure> {
        let offers = self.offers();
        loop {
            self.check_time();
            let Phase::Opening(pace, opening) = &mut self.phase else {
                break;
            };
            match opening {
                Opening::Request(handshake, _) => {
                    let mut bytes = &*input.window().unread();
                    let unread = bytes.len();
                    // The request's line lies in the transmit buffer, idle until the answer.
                    let found = handshake.next_event_in(self.output.idle(), &mut bytes, &offers);
                    let is_head = handshake.is_head();
                    let (upgrade, error, event) = match found {
                        Ok(None) => (None, None, None),
                        Ok(Some(event @ RequestEvent::Done(upgrade))) => {
                            (Some(upgrade), None, Some(Ok(event)))
                        }
                        Ok(Some(event)) => (None, None, Some(Ok(event))),
                        Err(error) => (None, Some(error), Some(Err(error))),
                    };
                    let decision = event.and_then(&mut *decide);
                    let read = unread.saturating_sub(bytes.len());
                    input.window().take(read);
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
                        (None, None, None) if input.window().is_empty() => return Ok(Next::READ),
                        (None, None, None) => continue,
                    };
                    if K::IS_TIMED {
                        pace.responding(self.time.time());
                    }
                }
                Opening::Accept(upgrade, answer, at) => {
                    let (upgrade, answer) = (*upgrade, *answer);
                    let all = emit(&mut self.output, at, |at, out| {
                        upgrade.emit_from(at, out, &answer)
                    });
                    if let Some(io) = self.output.pending(self.config.flush) {
                        return Ok(Next::Io(io));
                    }
                    if all {
                        let (pace, agreed) = (*pace, upgrade.agreed());
                        self.open_compression(input, &agreed);
                        self.open(Server, pace, &agreed, answer.subprotocol());
                    }
                }
                Opening::Respond(response, at, error) => {
                    let ended = match *error {
                        Some(error) => Ended::Handshake(error),
                        None => Ended::Refused(response.status()),
                    };
                    let all = emit(&mut self.output, at, |at, out| response.emit_from(at, out));
                    if let Some(io) = self.output.pending(self.config.flush) {
                        return Ok(Next::Io(io));
                    }
                    if all {
                        if K::IS_TIMED {
                            pace.draining(self.time.time(), &self.config.timeouts);
                        }
                        self.over(ended);
                    }
                }
                _ => break,
            }
        }
        self.phase.open().map(|_| Next::Done(()))
    }
}

impl<'a, T, E: Entropy, K: Time> Engine<'a, T, Client<E>, K> {
    /// Begins anew, over another connection.
    pub(crate) fn restart(&mut self, input: &mut Input<'a>, request: Request<'a>, entropy: E) {
        input.restart();
        self.output.restart();
        self.subprotocol = None;
        self.phase = ask(request, entropy, self.time.time());
    }

    /// What is left to do until the connection is open.
    pub(crate) fn next_connect(
        &mut self,
        input: &mut Input<'a>,
        look: &mut impl FnMut(ResponseEvent<'_>),
    ) -> Result<Next<()>, Failure> {
        let offers = self.offers();
        loop {
            self.check_time();
            let Phase::Opening(_, opening) = &mut self.phase else {
                break;
            };
            match opening {
                Opening::Ask(request, key, at, _) => {
                    let key = *key;
                    let request = request.offers(&offers).map_err(Failure::Config)?;
                    let all = emit(&mut self.output, at, |at, out| {
                        request.emit_from(at, out, &key)
                    });
                    if let Some(io) = self.output.pending(self.config.flush) {
                        return Ok(Next::Io(io));
                    }
                    if all {
                        let limits = self.config.limits;
                        self.phase = match self.phase.take() {
                            Phase::Opening(pace, Opening::Ask(_, _, _, role)) => {
                                let handshake = ClientHandshake::with_limits(&key, [], limits);
                                Phase::Opening(pace, Opening::Response(handshake, role))
                            }
                            phase => phase,
                        };
                    }
                }
                Opening::Response(handshake, ..) => {
                    let mut bytes = &*input.window().unread();
                    let unread = bytes.len();
                    let found = handshake.next_event_in(self.output.idle(), &mut bytes, &offers);
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
                    let read = unread.saturating_sub(bytes.len());
                    input.window().take(read);
                    if let Some(error) = error {
                        self.over(error.into());
                    } else if let Some(agreed) = done {
                        self.open_compression(input, &agreed);
                        if let Phase::Opening(pace, Opening::Response(_, role)) = self.phase.take()
                        {
                            let index = agreed.subprotocol;
                            let subprotocol = index.and_then(|index| offers.subprotocol(index));
                            self.open(role, pace, &agreed, subprotocol);
                        }
                    } else if nothing {
                        return Ok(Next::READ);
                    }
                }
                _ => break,
            }
        }
        self.phase.open().map(|_| Next::Done(()))
    }
}
