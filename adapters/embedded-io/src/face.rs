//! What the two faces of the engine have alike, written once: [`blocking`](crate::blocking) and
//! [`asynch`](crate::asynch) each expand these macros, and add how they wait for their transport.
//!
//! Each defines before: `out!(V)`, the type of a call that comes to a `V`; `body!({..})`, what such a
//! call returns; and `wait!(call)`, the result of such a call inside of it. `$dropped` says what it
//! means that a future is dropped, and is empty where there are none.

/// The methods that send, for a type that has `put_close` and `flush`, and with `put!(self, put)`, the
/// future or the result of calling `put` until it has put something into the transmit buffer.
macro_rules! sending {
    ($dropped:literal $(, $reply:ident)?) => {
        /// Sends a message as one frame. It is put into the transmit buffer, where it waits for others
        /// to be written with it: until the buffer is full, a [`flush`](Self::flush), or the next wait
        /// for input.
        #[doc = $dropped]
        ///
        /// # Errors
        /// [`Error::Send`]: [`NoRoom`](motews::SendError::NoRoom) if the frame is longer than the whole
        /// buffer; [`NotOpen`](motews::SendError::NotOpen),
        /// [`MessageInProgress`](motews::SendError::MessageInProgress),
        /// [`Entropy`](motews::SendError::Entropy). [`Error::Ended`] also as soon as the peer's Close
        /// has come. [`Error::Io`]. Nothing of the message was sent then.
        pub fn send(&mut self, message: Message<'_>) -> out!(()) {
            put!(self $(.$reply)?, |session, output| output.send(session, message, true))
        }

        /// As [`send`](Self::send), but the message is not compressed: for a secret in one message with
        /// what others may choose (see [secrets](crate::deflate#secrets)).
        ///
        /// # Errors
        /// The same.
        #[cfg(feature = "deflate")]
        pub fn send_uncompressed(&mut self, message: Message<'_>) -> out!(()) {
            put!(self $(.$reply)?, |session, output| output.send(session, message, false))
        }

        /// Sends the next frame of a message, with as much of `payload` as there is room for. Returns
        /// how many bytes that was: send the rest as the next one. `fin` ends the message with the
        /// last byte of `payload`. The message may be of any length, unknown when it begins.
        #[doc = $dropped]
        ///
        /// # Errors
        /// As [`send`](Self::send), but for `NoRoom`; `MessageInProgress` means one of the other kind.
        pub fn send_fragment(&mut self, kind: DataKind, payload: &[u8], fin: bool) -> out!(usize) {
            put!(self $(.$reply)?, |session, output| {
                output.send_fragment(session, Fragment::new(kind, payload, fin, true))
            })
        }

        /// As [`send_fragment`](Self::send_fragment), but the message is not compressed. Its first
        /// fragment decides.
        ///
        /// # Errors
        /// The same.
        #[cfg(feature = "deflate")]
        pub fn send_fragment_uncompressed(
            &mut self,
            kind: DataKind,
            payload: &[u8],
            fin: bool,
        ) -> out!(usize) {
            put!(self $(.$reply)?, |session, output| {
                output.send_fragment(session, Fragment::new(kind, payload, fin, false))
            })
        }

        /// Sends a ping with at most 125 bytes of payload, as [`send`](Self::send) does.
        #[doc = $dropped]
        ///
        /// # Errors
        /// [`Error::Send`]: [`ControlTooLong`](motews::SendError::ControlTooLong),
        /// [`NotOpen`](motews::SendError::NotOpen), [`Entropy`](motews::SendError::Entropy).
        /// [`Error::Ended`], [`Error::Io`].
        pub fn ping(&mut self, payload: &[u8]) -> out!(()) {
            put!(self $(.$reply)?, |session, output| output.ping(session, payload))
        }

        /// Queues a Close behind what was sent, and returns at once. It goes out with the next
        /// [`flush`](Self::flush), or before the next wait for input. Receive until the end, or call
        /// `closed`.
        ///
        /// # Errors
        /// [`Error::Send`]: [`NotOpen`](motews::SendError::NotOpen) if it was called before,
        /// [`InvalidCloseCode`](motews::SendError::InvalidCloseCode),
        /// [`ReasonTooLong`](motews::SendError::ReasonTooLong). With compression also
        /// [`MessageInProgress`](motews::SendError::MessageInProgress), if the end of a message that
        /// was sent in fragments has not found room yet: flush first. [`Error::Ended`] if the peer's
        /// Close has come: this side's answer goes out without a call.
        pub fn close(&mut self, code: CloseCode, reason: &str) -> Result<(), Error<T::Error>> {
            self $(.$reply)? .put_close(code, reason)
        }
    };
}

/// `WebSocket` and `Reply`, over a transport with the traits `Read` and `Write`, and with a time that
/// is a `$time`.
macro_rules! websocket {
    ($module:literal, $time:ident, $dropped:literal) => {
        /// A WebSocket over a transport, from the opening handshake to the end.
        ///
        /// `T` is the transport, `R` the role ([`Server`] or [`Client`]), `K` the source of time, if
        /// there is one. It borrows its buffers, its [`Config`] and what it offers.
        #[derive(Debug)]
        pub struct WebSocket<'a, T, R, K = Untimed> {
            pub(crate) input: Input<'a>,
            pub(crate) reply: Reply<'a, T, R, K>,
        }

        /// The sending side of a [`WebSocket`], while a part of a message is at hand that lies in its
        /// receive buffer.
        #[derive(Debug)]
        pub struct Reply<'a, T, R, K = Untimed> {
            pub(crate) engine: Engine<'a, T, R, K>,
        }

        /// A part of a message and who can answer it, if there is one.
        pub type ChunkAndReply<'r, 'a, T, R, K = Untimed> =
            Option<(Chunk<'r>, &'r mut Reply<'a, T, R, K>)>;

        impl<'a, T> WebSocket<'a, T, Server> {
            /// Returns a server on `transport`, to which a client has connected. Nothing is read or
            /// written yet.
            ///
            /// # Errors
            /// [`NoRoom`] if a buffer has less than [`MIN_BUFFER`](crate::MIN_BUFFER) bytes.
            pub fn server(transport: T, buffers: Buffers<'a>) -> Result<Self, NoRoom> {
                let (receive, transmit) = buffers.checked()?;
                Ok(Self::new(receive, Engine::server(transport, transmit)))
            }
        }

        impl<'a, T, E: Entropy> WebSocket<'a, T, Client<E>> {
            /// Returns a client on `transport`, which is connected to a server. Nothing is read or
            /// written yet. The masking keys are drawn from `entropy`.
            ///
            /// # Errors
            /// [`NoRoom`] if a buffer has less than [`MIN_BUFFER`](crate::MIN_BUFFER) bytes.
            pub fn client(
                transport: T,
                buffers: Buffers<'a>,
                request: Request<'a>,
                entropy: E,
            ) -> Result<Self, NoRoom> {
                let (receive, transmit) = buffers.checked()?;
                let engine = Engine::client(transport, transmit, request, entropy);
                Ok(Self::new(receive, engine))
            }
        }

        impl<'a, T, R: Role> WebSocket<'a, T, R> {
            /// Returns a WebSocket whose opening handshake somebody else has seen through: an HTTP
            /// server that hands its connection over, for example. [`open`](Self::open) it in place of
            /// the handshake.
            ///
            /// `leftover` is what was read of the transport beyond the head; it is received first.
            /// `agreed` comes from [`Upgrade::agreed`](motews::handshake::Upgrade::agreed) or
            /// [`Agreed::from_headers`].
            ///
            /// # Errors
            /// [`NoRoom`] if a buffer has less than [`MIN_BUFFER`](crate::MIN_BUFFER) bytes, or if
            /// `leftover` is longer than the receive buffer.
            ///
            /// # Example
            /// ```
            /// use embedded_io::ErrorType;
            /// use motews::handshake::{Offers, Upgrade};
            /// use motews::{Limits, Server};
            #[doc = concat!("use motews_embedded_io::", $module, "::WebSocket;")]
            /// use motews_embedded_io::{Buffers, Config, Error};
            ///
            /// static CONFIG: Config<'static> = Config { subprotocols: &["chat"], ..Config::DEFAULT };
            ///
            /// # fn f<'a, T: ErrorType>(
            /// #     transport: T,
            /// #     buffers: Buffers<'a>,
            /// #     leftover: &[u8],
            /// #     headers: &[(&str, &[u8])],
            /// # ) -> Result<WebSocket<'a, T, Server>, Error<T::Error>> {
            /// // The HTTP server has read the request, and answers with the headers of `upgrade`:
            /// let offers = Offers::new().subprotocols(CONFIG.subprotocols);
            /// let headers = headers.iter().copied();
            /// let upgrade = Upgrade::from_headers("GET", (1, 1), headers, &offers, Limits::DEFAULT)?;
            /// // When that is written:
            /// let agreed = upgrade.agreed();
            /// let ws = WebSocket::from_upgraded(transport, Server, buffers, leftover, agreed)?;
            /// let mut ws = ws.with_config(&CONFIG);
            /// ws.open()?;
            /// # Ok(ws)
            /// # }
            /// ```
            pub fn from_upgraded(
                transport: T,
                role: R,
                buffers: Buffers<'a>,
                leftover: &[u8],
                agreed: Agreed,
            ) -> Result<Self, NoRoom> {
                let (receive, transmit) = buffers.checked()?;
                let engine = Engine::upgraded(transport, transmit, role, agreed);
                let mut ws = Self::new(receive, engine);
                let room = ws.input.window().spare().get_mut(..leftover.len());
                for (to, from) in room.ok_or(NoRoom)?.iter_mut().zip(leftover) {
                    *to = *from;
                }
                ws.input.window().fill(leftover.len());
                Ok(ws)
            }

            const fn new(receive: &'a mut [u8], engine: Engine<'a, T, R, Untimed>) -> Self {
                Self {
                    input: Input::new(receive),
                    reply: Reply { engine },
                }
            }

            /// Keeps deadlines, those of [`Config::timeouts`]. To be called before the handshake, whose
            /// time begins now.
            pub fn with_clock<C: Clock>(self, clock: C) -> WebSocket<'a, T, R, C> {
                self.with_time(clock)
            }

            pub(crate) fn with_time<C: Time>(self, clock: C) -> WebSocket<'a, T, R, C> {
                WebSocket {
                    input: self.input,
                    reply: Reply {
                        engine: self.reply.engine.with_time(clock),
                    },
                }
            }
        }

        impl<'a, T, R: Role, K: Time> WebSocket<'a, T, R, K> {
            /// The same with other limits and times. To be called before the handshake.
            #[must_use]
            pub fn with_config(mut self, config: &'a Config<'a>) -> Self {
                self.reply.engine.configure(config);
                self
            }

            /// Offers permessage-deflate to a server, or accepts it from a client (RFC 7692), in this
            /// memory: see [`deflate`](crate::deflate). To be called before the handshake.
            #[cfg(feature = "deflate")]
            #[must_use]
            pub fn with_deflate(mut self, deflate: &'a mut Deflate<'a>) -> Self {
                let Deflate { inflating, deflating } = deflate;
                self.input.inflate(inflating);
                self.reply.engine.output.outgoing.deflate(deflating);
                self
            }

            /// Opens a connection of [`from_upgraded`](Self::from_upgraded). To be called once, after the
            /// methods that begin with `with`.
            ///
            /// # Errors
            /// [`Error::NoRoom`] if compression was agreed on, and there is no memory for it.
            /// [`Error::Send`] if there has to be an opening handshake.
            pub fn open(&mut self) -> Result<(), Error<T::Error>>
            where
                T: ErrorType,
            {
                self.reply.engine.open_upgraded(&mut self.input)
            }

            // ---- look ----

            /// Returns the connection's state, close code and violation; `None` before it is open.
            pub const fn connection(&self) -> Option<&Connection<R>> {
                match &self.reply.engine.phase {
                    Phase::Open(session) => Some(session.connection()),
                    _ => None,
                }
            }

            /// Returns whether messages can be sent.
            pub const fn is_open(&self) -> bool {
                match &self.reply.engine.phase {
                    Phase::Open(session) => {
                        matches!(session.connection().state(), motews::State::Open)
                    }
                    _ => false,
                }
            }

            /// Returns how it ended, if the opening handshake failed, or both Closes are through, or
            /// the connection has failed; `None` as long as that is not certain. It does not change any
            /// more.
            pub fn ended(&self) -> Option<Ended> {
                self.reply.engine.ended()
            }

            /// Returns the subprotocol of this connection, if the peers agreed on one.
            pub const fn subprotocol(&self) -> Option<&'a str> {
                self.reply.engine.subprotocol
            }

            /// Returns the compression that both sides have agreed on; `None` if there is none, or if
            /// the connection is not open yet.
            #[cfg(feature = "deflate")]
            pub const fn deflate(&self) -> Option<motews::deflate::DeflateParams> {
                self.reply.engine.output.outgoing.agreed()
            }

            /// Returns the transport.
            pub const fn transport(&self) -> &T {
                &self.reply.engine.transport
            }

            /// Returns the transport, to shut it down when the connection has ended. What others read
            /// from it or write to it is missing here.
            pub const fn transport_mut(&mut self) -> &mut T {
                &mut self.reply.engine.transport
            }

            /// Returns the transport. What was received but not read, and what was sent but not
            /// written, is gone.
            pub fn into_transport(self) -> T {
                self.reply.engine.transport
            }

            /// Fails the connection (RFC 6455 §7.1.7) for a violation that the caller found.
            pub fn fail(&mut self, violation: ProtocolViolation) {
                self.reply.engine.fail(violation);
            }
        }

        impl<T, K: Time> WebSocket<'_, T, Server, K> {
            /// Returns whether the client has sent anything yet.
            ///
            /// A device has few sockets, and anyone may open a TCP connection and say nothing. So a
            /// listener that has no socket left for a newcomer gives up its `accept`, and if this is
            /// `false` drops the WebSocket, too: it has cost the client nothing but a connection. If it
            /// is `true`, `accept` goes on where it was.
            pub const fn has_heard(&self) -> bool {
                !matches!(
                    self.reply.engine.phase,
                    Phase::Opening(_, Opening::Request(.., false))
                )
            }
        }

        // ---- the opening handshake ----

        impl<'a, T: Read + Write, K: $time> WebSocket<'a, T, Server, K> {
            /// Accepts the client's opening handshake, whatever it asks for (RFC 6455 §4.2).
            ///
            /// # Errors
            /// As [`accept_with`](Self::accept_with).
            pub fn accept(&mut self) -> out!(()) {
                self.accept_with(|_| None)
            }

            /// Accepts or answers the client's opening handshake. `decide` sees the request as it
            /// arrives: its line, each header, then [`Done`](RequestEvent::Done), or what is wrong with
            /// it; [`NotUpgrade`](HandshakeError::NotUpgrade) is an ordinary HTTP request.
            ///
            /// With a [`Decision`] the request is answered at once. `None` goes on: a correct request
            /// is accepted in the end, and a wrong one is answered with what is wrong.
            /// If it is called again after [`Error::Io`], or if its future is dropped, it goes on with
            /// the next event.
            ///
            /// # Errors
            /// [`Error::Ended`]: [`Refused`](Ended::Refused) once a response is written that is no
            /// upgrade, [`Handshake`](Ended::Handshake) once the client was told what is wrong, or the
            /// cause if it is gone or too slow. [`Error::Io`].
            pub fn accept_with(
                &mut self,
                mut decide: impl FnMut(
                    Result<RequestEvent<'_>, HandshakeError>,
                ) -> Option<Decision<'a>>,
            ) -> out!(()) {
                self.drive(move |engine, input| engine.next_accept(input, &mut decide))
            }
        }

        impl<T: Read + Write, E: Entropy, K: $time> WebSocket<'_, T, Client<E>, K> {
            /// Sends the request and waits for a response that accepts it (RFC 6455 §4.1).
            ///
            /// # Errors
            /// As [`connect_with`](Self::connect_with).
            pub fn connect(&mut self) -> out!(()) {
                self.connect_with(|_| ())
            }

            /// The same, and `look` sees the response as it arrives: the `Location` of a redirection,
            /// for example. If it is called again after [`Error::Io`], or if its future is dropped, it
            /// goes on with the next event.
            ///
            /// # Errors
            /// [`Error::Ended`]: [`Refused`](Ended::Refused) by another response than an upgrade,
            /// [`Handshake`](Ended::Handshake) if the response is wrong, or the cause if the server is
            /// gone or too slow. [`Error::Config`] if the subprotocols are wrong. [`Error::Io`].
            pub fn connect_with(&mut self, mut look: impl FnMut(ResponseEvent<'_>)) -> out!(()) {
                self.drive(move |engine, input| engine.next_connect(input, &mut look))
            }
        }

        impl<'a, T: Read + Write, R: Role, K: $time> WebSocket<'a, T, R, K> {
            // ---- receive ----

            /// Waits for what the peer sends next: a part of a message as it lies in the receive
            /// buffer, a ping or a pong, the Close. Returns `None` when both Closes are through: see
            /// [the end](crate#the-end).
            ///
            /// Before it waits for input, it writes all that was sent and all that the protocol owes
            /// the peer: what answers one read leaves in one write.
            /// What was received when it fails, or when its future is dropped, is there for the next
            /// call.
            ///
            /// # Errors
            /// [`Error::Ended`] if the connection has failed, and again with each call; if the peer
            /// broke the protocol, it has been told by then. [`Error::Io`], and [`Error::Send`] before
            /// the handshake. With compression also [`Error::NoRoom`], if there is no memory for parts.
            pub fn next_event(&mut self) -> out!(Option<Event<'_>>) {
                body!({
                    self.input.begin(true)?;
                    let Some(found) = wait!(self.drive(Engine::next))? else {
                        return Ok(None);
                    };
                    let session = self.reply.engine.phase.open()?;
                    Ok(self.input.lend(session, found))
                })
            }

            /// As [`next_event`](Self::next_event), but returns only parts of messages, each with the
            /// means to answer it while it is at hand, without a copy.
            ///
            /// # Errors
            /// As [`next_event`](Self::next_event).
            pub fn next_chunk(&mut self) -> out!(ChunkAndReply<'_, 'a, T, R, K>) {
                body!({
                    self.input.begin(true)?;
                    let found = wait!(self.drive(Engine::next_chunk))?;
                    let chunk = found.and_then(|found| self.input.chunk(found));
                    Ok(chunk.map(|chunk| (chunk, &mut self.reply)))
                })
            }

            /// Waits for the next message, whole. One that is in the receive buffer whole is not
            /// copied, unless it is compressed. Returns `None` as [`next_event`](Self::next_event)
            /// does. If it fails with [`Error::Io`], or its future is dropped, what has come of the
            /// message is in `messages`: give the same to the next call.
            ///
            /// # Errors
            /// As [`next_event`](Self::next_event), but for [`Error::NoRoom`]; a message longer than
            /// `messages` fails the connection with
            /// [`MessageTooBig`](ProtocolViolation::MessageTooBig).
            pub fn recv<'s, B: AsRef<[u8]> + AsMut<[u8]>>(
                &'s mut self,
                messages: &'s mut MessageBuffer<B>,
            ) -> out!(Option<Message<'s>>) {
                body!({
                    self.input.begin(false)?;
                    let next = |engine: &mut Engine<'a, T, R, K>, input: &mut Input<'a>| {
                        engine.next_message(input, &mut *messages)
                    };
                    let Some(found) = wait!(self.drive(next))? else {
                        return Ok(None);
                    };
                    let violation = match self.input.push(found, messages) {
                        Ok(message) => return Ok(message),
                        Err(violation) => violation,
                    };
                    self.reply.engine.fail(violation);
                    wait!(self.reply.flush())?;
                    Err(Error::Ended(Ended::Violation(violation)))
                })
            }

            // ---- send ----

            sending!($dropped, reply);

            /// Writes all that was sent, and what the protocol owes the peer.
            ///
            /// # Errors
            /// [`Error::Io`], and [`Error::Ended`] if the connection has failed.
            pub fn flush(&mut self) -> out!(()) {
                self.reply.flush()
            }

            // ---- end ----

            /// Waits until the connection has ended, and returns how. What the peer still sends is
            /// dropped, so call [`close`](Self::close) before, if the peer has not.
            ///
            /// After a clean end a client also waits until the server has ended the transport, for a
            /// second at most if there is a clock. See [the end](crate#the-end) for what is left to do.
            /// Call it again after [`Error::Io`], or if its future was dropped.
            ///
            /// # Errors
            /// [`Error::Io`], and [`Error::Send`] before the handshake.
            pub fn closed(&mut self) -> out!(Ended) {
                body!({
                    self.input.begin(false)?;
                    let ended = wait!(self.drive(Engine::next_end))?;
                    // RFC 6455 §7.1.1: the server ends the transport first, the client waits [CL07]
                    if R::IS_CLIENT && matches!(ended, Ended::Closed { .. }) {
                        wait!(self.drain())?;
                    }
                    Ok(ended)
                })
            }

            /// Reads and drops what still comes, until the transport ends. To be called after the
            /// transport was shut down for writing: see [the end](crate#the-end). Some transports send
            /// a reset if something was left unread, and then the peer may miss the last frames.
            ///
            /// With a clock it takes a second at most after a clean close, and otherwise
            /// [`Timeouts::close`](motews::Timeouts::close).
            /// Call it again after [`Error::Io`], or if its future was dropped.
            ///
            /// # Errors
            /// [`Error::Io`], and [`Error::Ended`] if the connection was not closed and its time is
            /// over.
            pub fn drain(&mut self) -> out!(()) {
                body!({
                    match wait!(self.drive(Engine::next_drain)) {
                        // That is as good an end as any.
                        Err(Error::Io(error)) if self.ended().is_some() && !is_for_now(&error) => {
                            Ok(())
                        }
                        drained => drained,
                    }
                })
            }
        }

        impl<'a, T: Write, R: Role, K: $time> Reply<'a, T, R, K> {
            sending!($dropped);

            fn put_close(&mut self, code: CloseCode, reason: &str) -> Result<(), Error<T::Error>> {
                Ok(self.engine.close(code, reason)?)
            }

            /// Writes all that was sent, and what the protocol owes the peer.
            ///
            /// # Errors
            /// [`Error::Io`], and [`Error::Ended`] if the connection has failed.
            pub fn flush(&mut self) -> out!(()) {
                self.drive(Engine::next_flush)
            }
        }
    };
}

pub(crate) use {sending, websocket};

/// What the macros name.
pub(crate) mod prelude {
    pub(crate) use motews::handshake::{
        Agreed, HandshakeError, Request, RequestEvent, ResponseEvent,
    };
    pub(crate) use motews::{
        Chunk, Client, CloseCode, Connection, DataKind, Ended, Entropy, Event, Message,
        MessageBuffer, NoRoom, ProtocolViolation, Role, Server, Session,
    };

    pub(crate) use super::{sending, websocket};
    #[cfg(feature = "deflate")]
    pub(crate) use crate::compression::Deflate;
    pub(crate) use crate::compression::Input;
    pub(crate) use crate::config::{Buffers, Config, Decision};
    pub(crate) use crate::engine::{Engine, Next, Opening, Phase};
    pub(crate) use crate::error::{Error, Failure, is_for_now};
    pub(crate) use crate::messages::Fragment;
    pub(crate) use crate::output::Output;
    pub(crate) use crate::time::{Clock, Time, Untimed};
}
