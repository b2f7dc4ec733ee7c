//! What a client that comes back is on both faces: its [`Course`] from one connection to the next, and in
//! a macro, since the one waits where the other awaits, the methods over it.

use core::fmt;

use motews::handshake::Request;
use motews::interruption;
use motews::reconnect::{Cause, Retry};
use motews::{Client, CloseCode, Ended, Entropy, Message, Millis, ReconnectWithBacklog, SendError};

use crate::engine::{Engine, Phase};
use crate::error::{Error, Failure};
use crate::messages::Fragment;
use crate::time::Time;

/// What the `connect` of a client that comes back is to do with its transport.
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

/// What a client that comes back reports, over a transport whose error is `E`. With `Opened` comes the
/// moment for what has to be said first, such as a subscription: by `send`, for what waits goes out behind
/// it.
pub type Update<'m, E> = interruption::Update<(), Message<'m>, Interruption<E>>;

/// Why there is no connection any more, and when there is the next attempt.
pub type Interruption<E> = interruption::Interruption<Cause, E>;

/// What goes on from one connection to the next.
pub(crate) struct Course<'a, E> {
    pub(crate) kept: ReconnectWithBacklog<&'a mut [u8], E>,
    pub(crate) request: Request<'a>,
    pub(crate) state: State,
    /// The application has closed.
    pub(crate) is_closing: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Waiting(Millis),
    /// Being connected by `connect`.
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

impl<'a, E: Entropy + Copy> Course<'a, E> {
    /// The first attempt is due now.
    pub(crate) fn new(request: Request<'a>, entropy: E, now: Millis) -> Self {
        Self {
            kept: ReconnectWithBacklog::new(entropy),
            request,
            state: State::Waiting(now),
            is_closing: false,
        }
    }

    pub(crate) fn set_request(&mut self, request: Request<'a>, now: Millis) {
        self.request = request;
        match &mut self.state {
            State::Waiting(_) | State::Over => self.state = State::Waiting(now),
            State::Disconnecting(retry) => *retry = Retry::At(now),
            _ => {}
        }
        self.kept.reopen();
        self.is_closing = false;
    }

    pub(crate) fn network_changed<S, K: Time>(&mut self, engine: &mut Engine<'a, S, Client<E>, K>) {
        match (&mut engine.phase, self.state) {
            (Phase::Open(session), State::Open | State::Closing) => session.lost(),
            (_, State::Opening) => {
                engine.over(Ended::Lost);
                self.kept.forget();
            }
            (_, State::Connecting) => self.kept.forget(),
            (_, State::Waiting(_) | State::Disconnecting(Retry::At(_))) => {
                let retry = self.kept.network_changed(engine.time.time());
                match (&mut self.state, retry) {
                    (State::Waiting(at), Retry::At(next)) => *at = next,
                    (State::Disconnecting(then), retry) => *then = retry,
                    _ => {}
                }
            }
            _ => {}
        }
    }

    pub(crate) fn close<S, K: Time>(
        &mut self,
        engine: &mut Engine<'a, S, Client<E>, K>,
        code: CloseCode,
        reason: &str,
    ) -> Result<(), Failure> {
        let closed = match &mut self.state {
            State::Open => engine.close(code, reason),
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
        if let Ok(()) | Err(Failure::Ended(_)) = closed {
            self.kept.close();
            self.is_closing = true;
        }
        closed
    }

    /// Puts what waits into the transmit buffer, as far as there is room now.
    pub(crate) fn put_waiting<S, K: Time>(&mut self, engine: &mut Engine<'a, S, Client<E>, K>) {
        while let Some((kind, payload)) = self.kept.first() {
            let put = engine.put(|session, output| {
                let whole = match Message::new(kind, payload) {
                    Ok(message) => output.send(session, message, true),
                    // A part of a text is cut anywhere.
                    Err(_) => Err(Failure::Send(SendError::NoRoom)),
                };
                match whole {
                    // Its other parts have gone out, or it is longer than the transmit buffer.
                    Err(Failure::Send(SendError::MessageInProgress | SendError::NoRoom)) => {
                        output.send_fragment(session, Fragment::new(kind, payload, true, true))
                    }
                    whole => Ok(whole?.map(|()| payload.len())),
                }
            });
            match put {
                Ok(Some(len)) => self.kept.taken(len),
                _ => break, // Something has to be written first, or receiving finds out why.
            }
        }
    }

    /// Fails unless a connection is open.
    pub(crate) fn check_open(&self) -> Result<(), Failure> {
        match self.state {
            State::Open => Ok(()),
            _ => Err(Failure::Send(SendError::NotOpen)),
        }
    }
}

impl<E: Entropy + Copy> fmt::Debug for Course<'_, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reconnecting")
            .field("state", &self.state)
            .field("reconnect", self.kept.reconnect())
            .field("backlog", &self.kept.backlog.len())
            .finish_non_exhaustive()
    }
}

/// What an error means for the next attempt.
pub(crate) fn cause_of<E>(error: Error<E>) -> (Cause, Option<E>) {
    match error {
        Error::Ended(ended) => (ended.into(), None),
        Error::Io(error) => (Ended::Lost.into(), Some(error)),
        Error::Config(error) => (error.into(), None),
        Error::Send(_) | Error::NoRoom => (Cause::Local, None),
    }
}

/// The methods of a client that comes back, of the fields `ws`, `course` and `link`: the last begins a
/// [`Task`] and sees it through. Before it `wait!` is defined as for [`websocket`](crate::face::websocket),
/// and so are `sent!(call)`, the result of a call that sends, however long it takes, `told!(call, waits)`, for
/// a call that tells the peer of a failure, and `ended!(error, waits)`, the [`cause_of`] an error that ends a
/// connection. `rest!(time, millis, waits)` waits for the next attempt. The last two may go on with the loop
/// around them; the last three may return.
macro_rules! reconnecting {
    ($dropped:literal) => {
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
        /// [`WebSocket::send`](super::WebSocket::send).
        ///
        /// It does not read while it writes: if all buffers on the way are full, and the peer reads nothing
        /// before it is read from, it waits until the time for writing is over, and the connection ends.
        /// What is [queued](Self::queue) has no such wait.
        #[doc = $dropped]
        ///
        /// # Errors
        /// As that; [`NotOpen`](motews::SendError::NotOpen) if there is no connection, and
        /// [`MessageInProgress`](motews::SendError::MessageInProgress) while a long message of those that
        /// wait is under way. Nothing of the message was sent then.
        pub fn send(&mut self, message: Message<'_>) -> out!(()) {
            body!({
                self.course.check_open()?;
                sent!(self.ws.send(message))?;
                self.course.kept.sent();
                Ok(())
            })
        }

        /// Changes the request, with its headers and target, from the next attempt on. That is made at
        /// once if none is under way, also after [`Retry::Never`](motews::reconnect::Retry::Never):
        /// credentials were changed, or the application has [closed](Self::close) and wants a connection
        /// again. A connection that is open stays, or the Close that is under way: it is followed by an
        /// attempt with the new request, however it ends.
        pub fn set_request(&mut self, request: Request<'a>) {
            let now = self.ws.reply.engine.time.time();
            self.course.set_request(request, now);
        }

        /// Notes that the way to the server is another one: the link was down, or the address has
        /// changed. A connection that is open is lost, and so is an opening handshake. The next attempt
        /// follows [soon](Backoff::first), whatever the backoff was. What `connect` is at goes on.
        pub fn network_changed(&mut self) {
            self.course.network_changed(&mut self.ws.reply.engine);
        }

        /// Begins the closing handshake, and there is no further attempt: [`next`](Self::next) sees it
        /// through. An attempt that is under way is given up. What waits stays.
        ///
        /// # Errors
        /// As [`WebSocket::close`](super::WebSocket::close), if a connection is open. There is no further
        /// attempt either if the peer has closed it.
        pub fn close(&mut self, code: CloseCode, reason: &str) -> Result<(), Error<T::Error>> {
            Ok(self.course.close(&mut self.ws.reply.engine, code, reason)?)
        }

        /// Returns whether a connection is open.
        pub const fn is_open(&self) -> bool {
            matches!(self.course.state, State::Open) && self.ws.is_open()
        }

        /// Returns the subprotocol of the connection, if the peers agreed on one.
        pub const fn subprotocol(&self) -> Option<&'a str> {
            self.ws.subprotocol()
        }

        /// Sends what waits, and receives until a message is whole.
        fn receive<B: AsRef<[u8]> + AsMut<[u8]>>(
            &mut self,
            messages: &mut MessageBuffer<B>,
        ) -> out!(Option<Found>) {
            body!({
                self.ws.input.begin(false)?;
                let course = &mut self.course;
                let next = |engine: &mut Engine<'a, _, Client<E>, _>, input: &mut Input<'a>| {
                    course.put_waiting(engine);
                    engine.next_message(input, messages)
                };
                wait!(self.ws.drive(next))
            })
        }
    };
}

/// What `next` does: see [`reconnecting`]. It returns an [`Update`], or `None` if there is no further attempt.
macro_rules! next {
    ($client:expr, $messages:expr, $waits:expr) => {{
        let found = loop {
            let (cause, error) = match $client.course.state {
                State::Over => return None,
                State::Waiting(at) => {
                    let time = &mut $client.ws.reply.engine.time;
                    let millis = at.since(time.time());
                    if millis > 0 {
                        rest!(time, millis, $waits);
                    }
                    let socket = &mut $client.ws.reply.engine.transport;
                    $client.link.begin(socket, Task::Connect);
                    $client.course.state = State::Connecting;
                    continue;
                }
                State::Connecting => {
                    let socket = &mut $client.ws.reply.engine.transport;
                    match wait!($client.link.finish(socket)) {
                        Ok(()) if !$client.course.is_closing => {
                            let (request, entropy) =
                                ($client.course.request, $client.course.kept.entropy);
                            let WebSocket { input, reply } = &mut $client.ws;
                            reply.engine.restart(input, request, entropy);
                            $client.course.kept.asked();
                            $client.course.state = State::Opening;
                            continue;
                        }
                        Ok(()) => (Ended::Aborted.into(), None),
                        Err(cause) => (cause, None),
                    }
                }
                State::Disconnecting(retry) => {
                    let socket = &mut $client.ws.reply.engine.transport;
                    _ = wait!($client.link.finish(socket));
                    $client.course.state = match retry {
                        Retry::At(at) => State::Waiting(at),
                        Retry::Never => State::Over,
                    };
                    continue;
                }
                State::Opening if $client.course.is_closing => (Ended::Aborted.into(), None),
                State::Opening => {
                    let kept = &mut $client.course.kept;
                    let look = |event: ResponseEvent<'_>| kept.response(&event);
                    match wait!($client.ws.connect_with(look)) {
                        Ok(()) => {
                            let now = $client.ws.reply.engine.time.time();
                            $client.course.kept.opened(now);
                            $client.course.state = State::Open;
                            return Some(Update::Opened(()));
                        }
                        Err(error) => ended!(error, $waits),
                    }
                }
                State::Open => match wait!($client.receive($messages)) {
                    Ok(Some(found)) => break found,
                    Ok(None) => {
                        $client.course.state = State::Closing;
                        continue;
                    }
                    Err(error) => ended!(error, $waits),
                },
                State::Closing => match wait!($client.ws.closed()) {
                    Ok(ended) => (ended.into(), None),
                    // It was closed by then.
                    Err(error) => {
                        let (cause, _) = ended!(error, $waits);
                        ($client.ws.ended().map_or(cause, Cause::Ended), None)
                    }
                },
            };
            return Some(end!($client, cause, error));
        };
        let violation = match $client.ws.input.push(found, $messages) {
            Ok(message) => return message.map(Update::Message),
            Err(violation) => violation,
        };
        // The peer is told, and then the application.
        let reply = &mut $client.ws.reply;
        reply.engine.fail(violation);
        told!(reply.flush(), $waits);
        Some(end!($client, Ended::Violation(violation).into(), None))
    }};
}

/// Notes that there is no connection: in place, for a message of the client's may be lent out.
macro_rules! end {
    ($client:expr, $cause:expr, $error:expr) => {{
        let engine = &mut $client.ws.reply.engine;
        let now = engine.time.time();
        let (interruption, retry) = $client.course.kept.ended($cause, $error, now);
        $client.link.begin(&mut engine.transport, Task::Disconnect);
        $client.course.state = State::Disconnecting(retry);
        Update::Ended(interruption)
    }};
}

pub(crate) use {end, next, reconnecting};

/// What the macros name.
pub(crate) mod prelude {
    pub(crate) use motews::handshake::{Request, ResponseEvent};
    pub(crate) use motews::reconnect::{Backoff, Cause, Retry};
    pub(crate) use motews::{
        Backlog, Client, CloseCode, Ended, Entropy, Message, MessageBuffer, NoRoom,
    };

    pub(crate) use super::{Course, State, Task, Update, cause_of, end, next, reconnecting};
    pub(crate) use crate::compression::{Found, Input};
    pub(crate) use crate::config::{Buffers, Config};
    pub(crate) use crate::engine::Engine;
    pub(crate) use crate::error::Error;
    pub(crate) use crate::time::sealed::Time as _;
}
