//! [`WebSocket`]: what the blocking and the async one have in common.

use core::marker::PhantomData;

use motews::handshake::Request;
use motews::{
    Chunk, Client, CloseCode, Connection, Entropy, Event, MessageBuffer, MessageError,
    ProtocolViolation, Role, Server, Step, Window,
};

use crate::config::{BufferTooSmall, Config};
use crate::engine::{Engine, Phase, check};
use crate::error::{Error, Failure};
use crate::time::{Clock, Time, Timed, Untimed};

/// A WebSocket over a transport, from the opening handshake to the end.
///
/// `M` is its mode: see [`blocking::WebSocket`](crate::blocking::WebSocket) and
/// [`asynch::WebSocket`](crate::asynch::WebSocket). `T` is the transport, `R` the role, `Rx` and
/// `Tx` the buffers, `K` the source of time, if there is one.
#[derive(Debug)]
pub struct WebSocket<'a, T, R, Rx, Tx, K, M> {
    pub(crate) rx: Window<Rx>,
    pub(crate) reply: Reply<'a, T, R, Tx, K, M>,
}

/// The sending side of a [`WebSocket`], while an event that lies in its receive buffer is at hand.
#[derive(Debug)]
pub struct Reply<'a, T, R, Tx, K, M> {
    pub(crate) transport: T,
    pub(crate) engine: Engine<'a, R, Tx, K>,
    mode: PhantomData<M>,
}

static DEFAULT: Config<'static> = Config::DEFAULT;

impl<'a, T, Rx, Tx, M> WebSocket<'a, T, Server, Rx, Tx, Untimed, M>
where
    Rx: AsRef<[u8]> + AsMut<[u8]>,
    Tx: AsRef<[u8]> + AsMut<[u8]>,
{
    /// A server on `transport`, to which a client has connected. Nothing is read or written yet.
    ///
    /// The buffers may be arrays, slices, or `heapless` vectors as long as they are to be used.
    /// The transmit buffer bounds one line of the request, and one frame that is sent.
    ///
    /// # Errors
    /// [`BufferTooSmall`] below [`MIN_BUFFER`](crate::MIN_BUFFER) bytes.
    pub fn server(transport: T, rx: Rx, tx: Tx) -> Result<Self, BufferTooSmall> {
        check(&rx).and(check(&tx))?;
        let engine = Engine::server(&DEFAULT, tx, Untimed);
        Ok(Self::new(transport, rx, engine))
    }
}

impl<'a, T, E: Entropy, Rx, Tx, M> WebSocket<'a, T, Client<E>, Rx, Tx, Untimed, M>
where
    Rx: AsRef<[u8]> + AsMut<[u8]>,
    Tx: AsRef<[u8]> + AsMut<[u8]>,
{
    /// A client on `transport`, which is connected to a server. Nothing is read or written yet.
    /// The masking keys are drawn from `entropy`.
    ///
    /// The buffers are as those of a server. The transmit buffer bounds one line of the response
    /// that is needed whole.
    ///
    /// # Errors
    /// [`BufferTooSmall`] below [`MIN_BUFFER`](crate::MIN_BUFFER) bytes.
    pub fn client(
        transport: T,
        rx: Rx,
        tx: Tx,
        request: Request<'a>,
        entropy: E,
    ) -> Result<Self, BufferTooSmall> {
        check(&rx).and(check(&tx))?;
        let engine = Engine::client(&DEFAULT, tx, request, entropy, Untimed);
        Ok(Self::new(transport, rx, engine))
    }
}

impl<'a, T, R: Role, Rx, Tx, M> WebSocket<'a, T, R, Rx, Tx, Untimed, M>
where
    Rx: AsRef<[u8]> + AsMut<[u8]>,
    Tx: AsRef<[u8]> + AsMut<[u8]>,
{
    /// Keeps deadlines, those of [`Config::timeouts`]. The time for the opening handshake begins
    /// now.
    pub fn with_clock<C: Clock>(self, clock: C) -> WebSocket<'a, T, R, Rx, Tx, Timed<C>, M> {
        let engine = self.reply.engine;
        WebSocket {
            rx: self.rx,
            reply: Reply {
                transport: self.reply.transport,
                engine: Engine {
                    output: engine.output,
                    phase: engine.phase,
                    time: Timed::new(clock),
                    config: engine.config,
                    subprotocol: engine.subprotocol,
                },
                mode: PhantomData,
            },
        }
    }
}

impl<'a, T, R: Role, Rx, Tx, K: Time, M> WebSocket<'a, T, R, Rx, Tx, K, M>
where
    Rx: AsRef<[u8]> + AsMut<[u8]>,
    Tx: AsRef<[u8]> + AsMut<[u8]>,
{
    const fn new(transport: T, rx: Rx, engine: Engine<'a, R, Tx, K>) -> Self {
        Self {
            rx: Window::new(rx),
            reply: Reply {
                transport,
                engine,
                mode: PhantomData,
            },
        }
    }

    /// The same with other limits and times. To be called before the handshake.
    #[must_use]
    pub fn with_config(mut self, config: &'a Config<'a>) -> Self {
        self.reply.engine.configure(config);
        self
    }

    // ---- look ----

    /// The connection's state, close code and violation; `None` before it is open.
    pub const fn connection(&self) -> Option<&Connection<R>> {
        match &self.reply.engine.phase {
            Phase::Open(connection) => Some(connection),
            _ => None,
        }
    }

    /// Whether messages can be sent.
    pub const fn is_open(&self) -> bool {
        matches!(
            &self.reply.engine.phase,
            Phase::Open(connection) if matches!(connection.state(), motews::State::Open)
        )
    }

    /// The subprotocol of this connection, if the peers agreed on one.
    pub const fn subprotocol(&self) -> Option<&'a str> {
        self.reply.engine.subprotocol
    }

    /// The transport.
    pub const fn transport(&self) -> &T {
        &self.reply.transport
    }

    /// The transport, to shut it down when the connection has ended. What is read from it or
    /// written to it by others is missing here.
    pub const fn transport_mut(&mut self) -> &mut T {
        &mut self.reply.transport
    }

    /// The transport. What was received but not read, and what was sent but not written, is gone.
    pub fn into_transport(self) -> T {
        self.reply.transport
    }

    // ---- without waiting ----

    /// Begins the closing handshake: the Close goes out with the next flush, or before the next
    /// wait for input. Receive until the end.
    ///
    /// # Errors
    /// [`Error::Send`]: [`NotOpen`](motews::SendError::NotOpen),
    /// [`InvalidCloseCode`](motews::SendError::InvalidCloseCode),
    /// [`ReasonTooLong`](motews::SendError::ReasonTooLong).
    pub fn start_close<E>(&mut self, code: CloseCode, reason: &str) -> Result<(), Error<E>> {
        let connection = self.reply.engine.phase.open()?;
        connection.close(code, reason).map_err(Failure::Send)?;
        Ok(())
    }

    /// Fails the connection (RFC 6455 §7.1.7) for a violation that the caller found.
    pub fn fail(&mut self, violation: ProtocolViolation) {
        if let Phase::Open(connection) = &mut self.reply.engine.phase {
            connection.fail(violation);
        }
    }

    // ---- for both modes ----

    /// What the step found.
    pub(crate) fn resolve(&mut self, step: Step) -> Option<Event<'_>> {
        self.resolve_with_reply(step).map(|(event, _)| event)
    }

    /// The part of a message that the step found, and who can answer it.
    #[expect(
        clippy::type_complexity,
        reason = "a part of a message, and who can answer it"
    )]
    pub(crate) fn resolve_chunk(
        &mut self,
        step: Step,
    ) -> Option<(Chunk<'_>, &mut Reply<'a, T, R, Tx, K, M>)> {
        match self.resolve_with_reply(step)? {
            (Event::Data(chunk), reply) => Some((chunk, reply)),
            _ => None,
        }
    }

    #[expect(clippy::type_complexity, reason = "an event, and who can answer it")]
    fn resolve_with_reply(
        &mut self,
        step: Step,
    ) -> Option<(Event<'_>, &mut Reply<'a, T, R, Tx, K, M>)> {
        let consumed = step.consumed();
        if step.is_chunk() {
            self.reply.engine.time.received_message();
        }
        let event = step.resolve(self.rx.take(consumed))?;
        Some((event, &mut self.reply))
    }

    /// Keeps a part of a message that is received whole.
    pub(crate) fn keep<B>(&mut self, step: Step, messages: &mut MessageBuffer<B>)
    where
        B: AsRef<[u8]> + AsMut<[u8]>,
    {
        if let Some((chunk, reply)) = self.resolve_chunk(step)
            && let Err(error) = messages.push(chunk)
        {
            reply.refuse(error);
        }
    }
}

impl<T, R: Role, Tx, K, M> Reply<'_, T, R, Tx, K, M> {
    /// The message cannot be received whole: the connection fails.
    pub(crate) fn refuse(&mut self, error: MessageError) -> Failure {
        let violation = violation(error);
        if let Phase::Open(connection) = &mut self.engine.phase {
            connection.fail(violation);
        }
        Failure::Protocol(violation)
    }
}

/// What is wrong with a message that cannot be received whole.
pub(crate) const fn violation(error: MessageError) -> ProtocolViolation {
    match error {
        MessageError::TooBig => ProtocolViolation::MessageTooBig,
        MessageError::InvalidUtf8 => ProtocolViolation::InvalidUtf8,
    }
}
