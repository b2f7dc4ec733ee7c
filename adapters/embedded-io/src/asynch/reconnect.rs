//! A client that comes back.

use core::fmt;
use core::future::poll_fn;
use core::pin::Pin;

use embedded_io_async::{ErrorType, Read, Write};
use motews::handshake::{Request, ResponseEvent};
use motews::interruption;
use motews::reconnect::{Backoff, Cause, Retry};
use motews::{
    Backlog, Client, CloseCode, Ended, Entropy, Message, MessageBuffer, Millis, NoRoom,
    ReconnectWithBacklog, SendError,
};

use super::WebSocket;
use crate::compression::Input;
use crate::config::{Buffers, Config};
use crate::engine::{Engine, Phase};
use crate::error::Error;
use crate::time::Timer;

/// What the `connect` of a [`Reconnecting`] is to do with its transport.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    /// To connect it: wait for the network, look the name up, connect TCP, shake hands by TLS. Each
    /// with a time limit, but for the network.
    Connect,
    /// To end it, whatever state it is in: a connection has ended on it, or an attempt has failed. A
    /// [`Connect`](Self::Connect) may follow, after the wait that is due. What comes of it is of no
    /// interest.
    Disconnect,
}

/// What [`Reconnecting::next`] returns, over a transport whose error is `E`. With `Opened` comes the
/// moment for what has to be said first, such as a subscription: by [`Reconnecting::send`], for what
/// [waits](Reconnecting::queue) goes out behind it.
pub type Update<'m, E> = interruption::Update<(), Message<'m>, Interruption<E>>;

/// Why there is no connection any more, and when there is the next attempt.
pub type Interruption<E> = interruption::Interruption<Cause, E>;

/// The transport of a [`Reconnecting`], while it is not at `connect`.
#[derive(Debug)]
pub struct Socket<T>(Option<T>);

impl<T: ErrorType> ErrorType for Socket<T> {
    type Error = T::Error;
}

impl<T: Read> Read for Socket<T> {
    async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, T::Error> {
        match &mut self.0 {
            Some(transport) => transport.read(buffer).await,
            None => Ok(0),
        }
    }
}

impl<T: Write> Write for Socket<T> {
    async fn write(&mut self, bytes: &[u8]) -> Result<usize, T::Error> {
        match &mut self.0 {
            Some(transport) => transport.write(bytes).await,
            None => Ok(0),
        }
    }

    async fn flush(&mut self) -> Result<(), T::Error> {
        match &mut self.0 {
            Some(transport) => transport.flush().await,
            None => Ok(()),
        }
    }
}

/// A client that connects again when its connection has ended, by the rules of [`Backoff`], and holds
/// the messages that are to be sent meanwhile.
///
/// How a transport is connected, `connect` knows: a closure that gets the transport and a [`Task`], and
/// gives the transport back with what has come of it. Its future lies at a place of the caller's, and
/// is never dropped half-way: so [`next`](Self::next) is cancel-safe, whatever `connect` awaits.
///
/// It sends no message twice: an [`Interruption`] says of how many the fate is unknown.
///
/// `E` is copied into each connection: a handle to a generator, such as `&RefCell<Generator>`.
///
/// ```
/// use core::cell::RefCell;
/// use core::pin::pin;
///
/// use embedded_io_async::{Read, Write};
/// use motews::handshake::Request;
/// use motews::reconnect::{Backoff, Cause};
/// use motews::{Backlog, BacklogPolicy, Entropy, Message, MessageBuffer};
/// use motews_embedded_io::asynch::{Reconnecting, Task, Update};
/// use motews_embedded_io::{Buffers, Error, Timer};
/// # trait Stack: Read + Write { async fn connect(&mut self) -> Result<(), ()>; async fn close(&mut self); }
///
/// async fn run<T: Stack>(
///     tcp: T,
///     timer: impl Timer,
///     generator: &RefCell<impl Entropy>,
///     mut reading: impl AsyncFnMut() -> String, // to be dropped at any time
/// ) -> Result<(), Error<T::Error>> {
///     let connect = |mut tcp: T, task| async move {
///         let result = match task {
///             Task::Connect => tcp.connect().await.map_err(|_| Cause::Unreachable),
///             Task::Disconnect => Ok(tcp.close().await),
///         };
///         (tcp, result)
///     };
///     let (mut receive, mut transmit, mut backlog) = ([0; 256], [0; 256], [0; 1024]);
///     let buffers = Buffers { receive: &mut receive, transmit: &mut transmit };
///     let request = Request::new("example.com", "/")?;
///     let place = pin!(None);
///     let mut client = Reconnecting::new(place, tcp, connect, buffers, request, generator, timer)?
///         .with_backoff(Backoff { persist: true, ..Backoff::DEFAULT })
///         .with_backlog(Backlog::new(&mut backlog, BacklogPolicy::DropOldest));
///
///     let mut messages = MessageBuffer::new([0; 512]);
///     loop {
///         tokio::select! {
///             update = client.next(&mut messages) => match update {
///                 Some(Update::Opened(())) => client.send(Message::Text("subscribe")).await?,
///                 Some(Update::Message(message)) => { /* obey */ }
///                 Some(Update::Ended(interruption)) => { /* log it */ }
///                 Some(_) => {}
///                 None => return Ok(()),
///             },
///             reading = reading() => { client.queue(Message::Text(&reading))?; }
///         }
///     }
/// }
/// ```
pub struct Reconnecting<'a, T, E, K, C, F> {
    ws: WebSocket<'a, Socket<T>, Client<E>, K>,
    request: Request<'a>,
    /// The application has closed.
    is_closing: bool,
    course: Course<'a, E, C, F>,
}

/// What goes on from one connection to the next.
struct Course<'a, E, C, F> {
    connect: C,
    connecting: Pin<&'a mut Option<F>>,
    kept: ReconnectWithBacklog<&'a mut [u8], E>,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Waiting(Millis),
    /// Being connected by the future that is at its place.
    Connecting,
    /// Being ended by it, with what follows.
    Disconnecting(Retry),
    /// The opening handshake.
    Opening,
    Open,
    /// Both Closes are through.
    Closing,
    Over,
}

impl<'a, T, E, K, C, F> Reconnecting<'a, T, E, K, C, F>
where
    T: Read + Write,
    E: Entropy + Copy,
    K: Timer,
    C: FnMut(T, Task) -> F,
    F: Future<Output = (T, Result<(), Cause>)>,
{
    /// Returns a client that connects as soon as [`next`](Self::next) is called. `place` is for the
    /// future of `connect`: `pin!(None)`.
    ///
    /// # Errors
    /// [`NoRoom`] if a buffer has less than [`MIN_BUFFER`](crate::MIN_BUFFER) bytes.
    pub fn new(
        place: Pin<&'a mut Option<F>>,
        transport: T,
        connect: C,
        buffers: Buffers<'a>,
        request: Request<'a>,
        entropy: E,
        mut timer: K,
    ) -> Result<Self, NoRoom> {
        let now = timer.now();
        let transport = Socket(Some(transport));
        let ws = WebSocket::client(transport, buffers, request, entropy)?;
        Ok(Self {
            ws: ws.with_clock(timer),
            request,
            is_closing: false,
            course: Course {
                connect,
                connecting: place,
                kept: ReconnectWithBacklog::new(entropy),
                state: State::Waiting(now),
            },
        })
    }

    /// The same with other limits, times and subprotocols.
    #[must_use]
    pub fn with_config(mut self, config: &'a Config<'a>) -> Self {
        self.ws = self.ws.with_config(config);
        self
    }

    /// The same with other times between attempts.
    #[must_use]
    pub fn with_backoff(mut self, backoff: Backoff) -> Self {
        self.course.kept.set_backoff(backoff);
        self
    }

    /// The same with room for messages that wait. There is none by default.
    #[must_use]
    pub fn with_backlog(mut self, backlog: Backlog<&'a mut [u8]>) -> Self {
        self.course.kept.backlog = backlog;
        self
    }

    /// Offers permessage-deflate to the server: see
    /// [`WebSocket::with_deflate`](super::WebSocket::with_deflate).
    #[cfg(feature = "deflate")]
    #[must_use]
    pub fn with_deflate(mut self, deflate: &'a mut crate::compression::Deflate<'a>) -> Self {
        self.ws = self.ws.with_deflate(deflate);
        self
    }

    // ---- what the application decides ----

    /// Puts a message behind those that wait for a connection, or for the peer. It goes out with
    /// [`next`](Self::next). Returns how many older ones were dropped for it, as the
    /// [policy](motews::BacklogPolicy) says.
    ///
    /// # Errors
    /// [`NoRoom`] if it is not taken: see [`Backlog::push`].
    pub fn queue(&mut self, message: Message<'_>) -> Result<u32, NoRoom> {
        self.course.kept.backlog.push(message)
    }

    /// Returns the messages that wait.
    pub const fn backlog(&mut self) -> &mut Backlog<&'a mut [u8]> {
        &mut self.course.kept.backlog
    }

    /// Sends a message over the connection that is open now, past what waits: see
    /// [`WebSocket::send`](super::WebSocket::send). Cancel-safe, as that is.
    ///
    /// # Errors
    /// As that; [`NotOpen`](SendError::NotOpen) if there is no connection, and
    /// [`MessageInProgress`](SendError::MessageInProgress) while a long message of those that wait is
    /// under way. Nothing of the message was sent then.
    pub async fn send(&mut self, message: Message<'_>) -> Result<(), Error<T::Error>> {
        if self.course.state != State::Open {
            return Err(Error::Send(SendError::NotOpen));
        }
        self.ws.send(message).await?;
        self.course.kept.sent();
        Ok(())
    }

    /// Changes the request, with its headers and target, from the next attempt on. That is made at once
    /// if none is under way, also after [`Retry::Never`]: credentials were changed, or the application has
    /// [closed](Self::close) and wants a connection again. A connection that is open stays.
    pub fn set_request(&mut self, request: Request<'a>) {
        self.request = request;
        let now = self.ws.reply.engine.time.now();
        match &mut self.course.state {
            State::Waiting(_) | State::Over => self.course.state = State::Waiting(now),
            State::Disconnecting(retry) => *retry = Retry::At(now),
            _ => return,
        }
        self.course.kept.reopen();
        self.is_closing = false;
    }

    /// Notes that the way to the server is another one: the link was down, or the address has changed.
    /// A connection that is open is lost. The next attempt follows [soon](Backoff::first), whatever the
    /// backoff was.
    pub fn network_changed(&mut self) {
        match (&mut self.ws.reply.engine.phase, self.course.state) {
            (Phase::Open(session), State::Open | State::Closing) => session.lost(),
            (_, State::Waiting(_) | State::Disconnecting(Retry::At(_))) => {
                let now = self.ws.reply.engine.time.now();
                let retry = self.course.kept.network_changed(now);
                match (&mut self.course.state, retry) {
                    (State::Waiting(at), Retry::At(next)) => *at = next,
                    (State::Disconnecting(then), retry) => *then = retry,
                    _ => {}
                }
            }
            _ => {}
        }
    }

    /// Begins the closing handshake, and there is no further attempt: [`next`](Self::next) sees it
    /// through. An attempt that is under way is given up. What waits stays.
    ///
    /// # Errors
    /// As [`WebSocket::close`](super::WebSocket::close), if a connection is open. There is no further
    /// attempt either if the peer has closed it.
    pub fn close(&mut self, code: CloseCode, reason: &str) -> Result<(), Error<T::Error>> {
        let closed = match &mut self.course.state {
            State::Open => self.ws.close(code, reason),
            State::Disconnecting(retry) => {
                *retry = Retry::Never;
                Ok(())
            }
            state @ State::Waiting(_) => {
                *state = State::Over;
                Ok(())
            }
            _ => Ok(()),
        };
        if let Ok(()) | Err(Error::Ended(_)) = closed {
            self.course.kept.close();
            self.is_closing = true;
        }
        closed
    }

    /// Returns whether a connection is open.
    pub const fn is_open(&self) -> bool {
        matches!(self.course.state, State::Open) && self.ws.is_open()
    }

    /// Returns the subprotocol of the connection, if the peers agreed on one.
    pub const fn subprotocol(&self) -> Option<&'a str> {
        self.ws.subprotocol()
    }

    // ---- from one connection to the next ----

    /// Waits for a message, for the end of a connection, or for the next one, and sends what waits.
    /// `None` if there is no further attempt: after [`Retry::Never`].
    ///
    /// `messages` is as in [`WebSocket::recv`](super::WebSocket::recv).
    ///
    /// Cancel-safe: nothing is lost, and an attempt to connect goes on with the next call.
    pub async fn next<'s, B: AsRef<[u8]> + AsMut<[u8]>>(
        &'s mut self,
        messages: &'s mut MessageBuffer<B>,
    ) -> Option<Update<'s, T::Error>> {
        let found = loop {
            let (cause, error) = match self.course.state {
                State::Over => return None,
                State::Waiting(at) => {
                    let time = &mut self.ws.reply.engine.time;
                    let millis = at.since(time.now());
                    if millis > 0 {
                        time.wait(millis).await;
                    }
                    let socket = &mut self.ws.reply.engine.transport;
                    self.course.begin(socket, Task::Connect, State::Connecting);
                    continue;
                }
                State::Connecting => match self
                    .course
                    .connected(&mut self.ws.reply.engine.transport)
                    .await
                {
                    Ok(()) if !self.is_closing => {
                        let (request, entropy) = (self.request, self.course.kept.entropy);
                        let WebSocket { input, reply } = &mut self.ws;
                        reply.engine.restart(input, request, entropy);
                        self.course.state = State::Opening;
                        continue;
                    }
                    Ok(()) => (Ended::Aborted.into(), None),
                    Err(cause) => (cause, None),
                },
                State::Disconnecting(retry) => {
                    _ = self
                        .course
                        .connected(&mut self.ws.reply.engine.transport)
                        .await;
                    self.course.state = match retry {
                        Retry::At(at) => State::Waiting(at),
                        Retry::Never => State::Over,
                    };
                    continue;
                }
                State::Opening if self.is_closing => (Ended::Aborted.into(), None),
                State::Opening => {
                    let kept = &mut self.course.kept;
                    let look = |event: ResponseEvent<'_>| kept.response(&event);
                    match self.ws.connect_with(look).await {
                        Ok(()) => {
                            self.course.kept.opened(self.ws.reply.engine.time.now());
                            self.course.state = State::Open;
                            return Some(Update::Opened(()));
                        }
                        Err(error) => cause_of(error),
                    }
                }
                State::Open => match self.receive(messages).await {
                    Ok(Some(found)) => break found,
                    Ok(None) => {
                        self.course.state = State::Closing;
                        continue;
                    }
                    Err(error) => cause_of(error),
                },
                State::Closing => match self.ws.closed().await {
                    Ok(ended) => (ended.into(), None),
                    // It was closed by then.
                    Err(error) => (
                        self.ws.ended().map_or(cause_of(error).0, Cause::Ended),
                        None,
                    ),
                },
            };
            let engine = &mut self.ws.reply.engine;
            let now = engine.time.now();
            return Some(self.course.end(&mut engine.transport, now, cause, error));
        };
        let violation = match self.ws.input.push(found, messages) {
            Ok(message) => return message.map(Update::Message),
            Err(violation) => violation,
        };
        // The peer is told, and then the application.
        let reply = &mut self.ws.reply;
        reply.engine.fail(violation);
        _ = reply.flush().await;
        let now = reply.engine.time.now();
        let cause = Ended::Violation(violation).into();
        let socket = &mut reply.engine.transport;
        Some(self.course.end(socket, now, cause, None))
    }

    /// Sends what waits, and receives until a message is whole.
    async fn receive<B: AsRef<[u8]> + AsMut<[u8]>>(
        &mut self,
        messages: &mut MessageBuffer<B>,
    ) -> Result<Option<crate::compression::Found>, Error<T::Error>> {
        while let Some((kind, payload)) = self.course.kept.first() {
            let whole = match Message::new(kind, payload) {
                Ok(message) => self.ws.send(message).await.map(|()| payload.len()),
                // A part of a text is cut anywhere.
                Err(_) => Err(Error::Send(SendError::NoRoom)),
            };
            let sent = match whole {
                // Its other parts have gone out, or it is longer than the transmit buffer.
                Err(Error::Send(SendError::MessageInProgress | SendError::NoRoom)) => {
                    self.ws.send_fragment(kind, payload, true).await
                }
                whole => whole,
            };
            match sent {
                Ok(len) => {
                    self.course.kept.taken(len);
                }
                Err(Error::Io(error)) => return Err(Error::Io(error)),
                Err(_) => break, // Receiving finds out why.
            }
        }
        self.ws.input.begin(false)?;
        let next = |engine: &mut Engine<'a, Socket<T>, Client<E>, K>, input: &mut Input<'a>| {
            engine.next_message(input, messages)
        };
        self.ws.drive(next).await
    }
}

impl<E: Entropy, C, F> Course<'_, E, C, F> {
    /// Gives the transport to `connect`.
    fn begin<T>(&mut self, socket: &mut Socket<T>, task: Task, state: State)
    where
        C: FnMut(T, Task) -> F,
    {
        if let Some(transport) = socket.0.take() {
            let connecting = (self.connect)(transport, task);
            self.connecting.set(Some(connecting));
        }
        self.state = state;
    }

    /// Waits until the transport is back, and returns what has come of it.
    async fn connected<T>(&mut self, socket: &mut Socket<T>) -> Result<(), Cause>
    where
        F: Future<Output = (T, Result<(), Cause>)>,
    {
        let Some(mut connecting) = self.connecting.as_mut().as_pin_mut() else {
            return Err(Cause::Local);
        };
        let (transport, result) = poll_fn(|context| connecting.as_mut().poll(context)).await;
        self.connecting.set(None);
        socket.0 = Some(transport);
        result
    }

    /// Notes that there is no connection.
    fn end<'m, T: ErrorType>(
        &mut self,
        socket: &mut Socket<T>,
        now: Millis,
        cause: Cause,
        error: Option<T::Error>,
    ) -> Update<'m, T::Error>
    where
        C: FnMut(T, Task) -> F,
    {
        let (interruption, retry) = self.kept.ended(cause, error, now);
        let after = State::Disconnecting(retry);
        self.begin(socket, Task::Disconnect, after);
        Update::Ended(interruption)
    }
}

/// What an error means for the next attempt.
fn cause_of<E>(error: Error<E>) -> (Cause, Option<E>) {
    match error {
        Error::Ended(ended) => (ended.into(), None),
        Error::Io(error) => (Ended::Lost.into(), Some(error)),
        Error::Config(error) => (error.into(), None),
        Error::Send(_) | Error::NoRoom => (Cause::Local, None),
    }
}

impl<T, E: Entropy, K, C, F> fmt::Debug for Reconnecting<'_, T, E, K, C, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reconnecting")
            .field("state", &self.course.state)
            .field("reconnect", self.course.kept.reconnect())
            .field("backlog", &self.course.kept.backlog.len())
            .finish_non_exhaustive()
    }
}
