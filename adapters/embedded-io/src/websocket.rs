//! [`WebSocket`]: what the blocking and the async one have in common.

use core::marker::PhantomData;

use motews::Pace;
use motews::handshake::Request;
use motews::{
    Chunk, Client, CloseCode, Connection, Ended, Entropy, Event, MessageBuffer, ProtocolViolation,
    Role, Server, Window,
};

use crate::config::{BufferTooSmall, Config};
use crate::engine::{Engine, Phase, check};
use crate::error::{Error, Failure};
use crate::extension::{Extension, NoExtension, chunk};
use crate::time::{Clock, Time, Untimed};

/// A WebSocket over a transport, from the opening handshake to the end.
///
/// `M` is its mode: see [`blocking::WebSocket`](crate::blocking::WebSocket) and
/// [`asynch::WebSocket`](crate::asynch::WebSocket). `T` is the transport, `R` the role, `Rx` and
/// `Tx` the buffers, `K` the source of time, if there is one, `X` the extension, likewise.
#[derive(Debug)]
pub struct WebSocket<'a, T, R, Rx, Tx, K, X: Extension, M> {
    pub(crate) rx: Window<Rx>,
    pub(crate) incoming: X::Incoming,
    pub(crate) reply: Reply<'a, T, R, Tx, K, X, M>,
}

/// The sending side of a [`WebSocket`], while an event that lies in its receive buffer is at hand.
#[derive(Debug)]
pub struct Reply<'a, T, R, Tx, K, X: Extension, M> {
    pub(crate) engine: Engine<'a, T, R, Tx, K, X>,
    mode: PhantomData<M>,
}

static DEFAULT: Config<'static> = Config::DEFAULT;

impl<'a, T, Rx, Tx, M> WebSocket<'a, T, Server, Rx, Tx, Untimed, NoExtension, M>
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
        let engine = Engine::server(&DEFAULT, transport, tx, Untimed);
        Ok(Self::new(rx, engine))
    }
}

impl<'a, T, E: Entropy, Rx, Tx, M> WebSocket<'a, T, Client<E>, Rx, Tx, Untimed, NoExtension, M>
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
        let engine = Engine::client(&DEFAULT, transport, tx, request, entropy, Untimed);
        Ok(Self::new(rx, engine))
    }
}

impl<'a, T, R: Role, Rx, Tx, X: Extension, M> WebSocket<'a, T, R, Rx, Tx, Untimed, X, M>
where
    Rx: AsRef<[u8]> + AsMut<[u8]>,
    Tx: AsRef<[u8]> + AsMut<[u8]>,
{
    /// Keeps deadlines, those of [`Config::timeouts`]. To be called before the handshake, whose time
    /// begins now.
    pub fn with_clock<C: Clock>(self, mut clock: C) -> WebSocket<'a, T, R, Rx, Tx, C, X, M> {
        let mut engine = self.reply.engine;
        if let Some(pace) = engine.phase.pace() {
            *pace = Pace::new(clock.now());
        }
        WebSocket {
            rx: self.rx,
            incoming: self.incoming,
            reply: Reply {
                engine: Engine {
                    transport: engine.transport,
                    output: engine.output,
                    phase: engine.phase,
                    time: clock,
                    config: engine.config,
                    subprotocol: engine.subprotocol,
                },
                mode: PhantomData,
            },
        }
    }
}

impl<'a, T, R: Role, Rx, Tx, K: Time, M> WebSocket<'a, T, R, Rx, Tx, K, NoExtension, M>
where
    Rx: AsRef<[u8]> + AsMut<[u8]>,
    Tx: AsRef<[u8]> + AsMut<[u8]>,
{
    const fn new(rx: Rx, engine: Engine<'a, T, R, Tx, K, NoExtension>) -> Self {
        Self {
            rx: Window::new(rx),
            incoming: (),
            reply: Reply {
                engine,
                mode: PhantomData,
            },
        }
    }

    /// The same with this extension.
    #[cfg(feature = "deflate")]
    pub(crate) fn with_extension<X: Extension>(
        self,
        incoming: X::Incoming,
        outgoing: X::Outgoing,
    ) -> WebSocket<'a, T, R, Rx, Tx, K, X, M> {
        let engine = self.reply.engine;
        WebSocket {
            rx: self.rx,
            incoming,
            reply: Reply {
                engine: Engine {
                    transport: engine.transport,
                    output: engine.output.with_extension(outgoing),
                    phase: engine.phase,
                    time: engine.time,
                    config: engine.config,
                    subprotocol: engine.subprotocol,
                },
                mode: PhantomData,
            },
        }
    }
}

impl<'a, T, R, Rx, Tx, K, X, M> WebSocket<'a, T, R, Rx, Tx, K, X, M>
where
    R: Role,
    Rx: AsRef<[u8]> + AsMut<[u8]>,
    Tx: AsRef<[u8]> + AsMut<[u8]>,
    K: Time,
    X: Extension,
{
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
            Phase::Open(session) => Some(session.connection()),
            _ => None,
        }
    }

    /// Whether messages can be sent.
    pub const fn is_open(&self) -> bool {
        matches!(
            &self.reply.engine.phase,
            Phase::Open(session) if matches!(session.connection().state(), motews::State::Open)
        )
    }

    /// Returns how it ended, if the opening handshake failed, or both Closes are through, or the
    /// connection has failed; `None` as long as that is not certain. It does not change any more.
    pub fn ended(&self) -> Option<Ended> {
        self.reply.engine.ended()
    }

    /// The subprotocol of this connection, if the peers agreed on one.
    pub const fn subprotocol(&self) -> Option<&'a str> {
        self.reply.engine.subprotocol
    }

    /// The transport.
    pub const fn transport(&self) -> &T {
        &self.reply.engine.transport
    }

    /// The transport, to shut it down when the connection has ended. What is read from it or
    /// written to it by others is missing here.
    pub const fn transport_mut(&mut self) -> &mut T {
        &mut self.reply.engine.transport
    }

    /// The transport. What was received but not read, and what was sent but not written, is gone.
    pub fn into_transport(self) -> T {
        self.reply.engine.transport
    }

    // ---- without waiting ----

    /// Begins the closing handshake: the Close goes out with the next flush, or before the next
    /// wait for input. Receive until the end.
    ///
    /// # Errors
    /// [`Error::Send`]: [`NotOpen`](motews::SendError::NotOpen),
    /// [`InvalidCloseCode`](motews::SendError::InvalidCloseCode),
    /// [`ReasonTooLong`](motews::SendError::ReasonTooLong). With compression also
    /// [`MessageInProgress`](motews::SendError::MessageInProgress), where the end of a message that
    /// was sent in fragments has not found room yet: flush first.
    pub fn start_close<E>(&mut self, code: CloseCode, reason: &str) -> Result<(), Error<E>> {
        Ok(self.reply.engine.start_close(code, reason)?)
    }

    /// Fails the connection (RFC 6455 §7.1.7) for a violation that the caller found.
    pub fn fail(&mut self, violation: ProtocolViolation) {
        if let Phase::Open(session) = &mut self.reply.engine.phase {
            session.fail(violation);
        }
    }

    // ---- for both modes ----

    /// Messages are received in parts from now on, or whole.
    pub(crate) fn begin<E>(&mut self, parts: bool) -> Result<(), Error<E>> {
        Ok(X::begin(&mut self.incoming, parts)?)
    }

    /// What was found.
    pub(crate) fn resolve(&mut self, found: X::Found) -> Option<Event<'_>> {
        let session = self.reply.engine.phase.open().ok()?;
        X::lend(&mut self.incoming, session, found, &mut self.rx)
    }

    /// The part of a message that was found, and who can answer it.
    #[expect(
        clippy::type_complexity,
        reason = "a part of a message, and who can answer it"
    )]
    pub(crate) fn resolve_chunk(
        &mut self,
        found: X::Found,
    ) -> Option<(Chunk<'_>, &mut Reply<'a, T, R, Tx, K, X, M>)> {
        let session = self.reply.engine.phase.open().ok()?;
        let chunk = chunk(X::lend(&mut self.incoming, session, found, &mut self.rx))?;
        Some((chunk, &mut self.reply))
    }

    /// Leaves out what was found.
    pub(crate) fn discard(&mut self, found: X::Found) {
        X::discard(&mut self.incoming, found, &mut self.rx);
    }

    /// Keeps a part of a message that is received whole.
    pub(crate) fn keep<B>(&mut self, found: X::Found, messages: &mut MessageBuffer<B>)
    where
        B: AsRef<[u8]> + AsMut<[u8]>,
    {
        if let Err(violation) = X::push(&mut self.incoming, found, &mut self.rx, messages) {
            self.reply.refuse(violation);
        }
    }
}

impl<T, Rx, Tx, K, X, M> WebSocket<'_, T, Server, Rx, Tx, K, X, M>
where
    X: Extension,
    Tx: AsRef<[u8]> + AsMut<[u8]>,
    K: Time,
{
    /// Returns whether the client has sent anything yet.
    ///
    /// A device has few sockets, and anyone may open a TCP connection and say nothing. So a listener
    /// that has no socket left for a newcomer drops the future of `accept`, which is cancel-safe,
    /// and if this is `false` drops the WebSocket, too: it has cost the client nothing but a
    /// connection. If it is `true`, `accept` goes on where it was.
    pub const fn has_heard(&self) -> bool {
        self.reply.engine.has_heard()
    }
}

impl<T, R: Role, Tx, K, X: Extension, M> Reply<'_, T, R, Tx, K, X, M> {
    /// The message cannot be received whole: the connection fails.
    pub(crate) fn refuse(&mut self, violation: ProtocolViolation) -> Failure {
        if let Phase::Open(session) = &mut self.engine.phase {
            session.fail(violation);
        }
        violation.into()
    }
}
