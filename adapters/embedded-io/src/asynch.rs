//! The async WebSocket, over [`embedded_io_async`].
//!
//! # Cancel-safe
//! Any future here may be dropped at any time, by a `select` with a timer or a channel for example:
//! no byte is lost, no frame is torn, and the next call goes on where it stopped. No state is in a
//! future: what was read lies in the receive buffer, what is to be written in the transmit buffer, and
//! each method says what it means that it was dropped.
//!
//! This asks the same of the transport: dropping the future of its `read` has read nothing, of its
//! `write` has written nothing. embedded-io-async calls such a transport side-effect-free on cancel;
//! those of embassy-net and tokio are, `embedded-tls` is not. Over one that is not, drop no future
//! that you want to go on with, and give no timer, which drops them as well.

#![expect(
    clippy::manual_async_fn,
    reason = "an async fn keeps its arguments twice, and these futures lie in RAM"
)]

use core::future::poll_fn;
use core::pin::pin;
use core::task::Poll;

use embedded_io_async::{Read, Write};
use motews::handshake::{HandshakeError, RequestEvent, ResponseEvent};
use motews::{
    Chunk, Client, CloseCode, DataKind, Entropy, Event, Message, MessageBuffer, Role, SendError,
    Server,
};

use crate::config::Decision;
use crate::engine::{Io, Next};
use crate::error::{Error, is_for_now};
use crate::extension::{Extension, Fragment, NoExtension};
use crate::time::{AsyncTime, Untimed};
use crate::websocket;

/// The mode of the async [`WebSocket`].
#[derive(Clone, Copy, Debug)]
pub enum Async {}

/// The async WebSocket.
pub type WebSocket<'a, T, R, Rx, Tx, K = Untimed, X = NoExtension> =
    websocket::WebSocket<'a, T, R, Rx, Tx, K, X, Async>;

/// A part of a message and who can answer it, if there is one.
pub type ChunkAndReply<'r, 'a, T, R, Tx, K = Untimed, X = NoExtension> =
    Option<(Chunk<'r>, &'r mut Reply<'a, T, R, Tx, K, X>)>;

/// The sending side of the async [`WebSocket`], while a part of a message is at hand.
pub type Reply<'a, T, R, Tx, K = Untimed, X = NoExtension> =
    websocket::Reply<'a, T, R, Tx, K, X, Async>;

/// Awaits the transport for `$io`, but no longer than until the next deadline.
macro_rules! in_time {
    ($engine:expr, $io:expr, $future:expr) => {{
        let at = $engine.wake_at($io);
        let mut timer = pin!($engine.time.wait_until(at));
        let mut future = pin!($future);
        // The transport first: what it has may settle what is due.
        poll_fn(move |context| match future.as_mut().poll(context) {
            Poll::Ready(result) => Poll::Ready(Some(result)),
            Poll::Pending => timer.as_mut().poll(context).map(|()| None),
        })
        .await
        .transpose()
    }};
}

/// Does what the engine asks of the transport. In place, for a future in a future costs memory.
macro_rules! perform {
    ($websocket:expr, $io:expr) => {{
        if $io == Io::Read {
            let read = in_time!(
                $websocket.reply.engine,
                Io::Read,
                $websocket
                    .reply
                    .engine
                    .transport
                    .read($websocket.rx.spare())
            );
            let engine = &mut $websocket.reply.engine;
            match read {
                Ok(Some(len)) => engine.read(&mut $websocket.rx, len),
                Ok(None) => {}
                Err(error) => engine.failed(error).map_err(Error::Io)?,
            }
        } else {
            perform_output!($websocket.reply, $io);
        }
    }};
}

/// The same where there is nothing to read.
macro_rules! perform_output {
    ($reply:expr, $io:expr) => {{
        let done = if $io == Io::Flush {
            in_time!($reply.engine, Io::Flush, $reply.engine.transport.flush())
                .map(|done| done.map(|()| None))
        } else {
            in_time!(
                $reply.engine,
                Io::Write,
                $reply
                    .engine
                    .transport
                    .write($reply.engine.output.unwritten())
            )
            .map(|len| len.map(Some))
        };
        match done {
            Ok(Some(Some(len))) => $reply.engine.written(len)?,
            Ok(Some(None)) => $reply.engine.flushed(),
            Ok(None) => $reply.engine.late()?,
            Err(error) => $reply.engine.failed(error).map_err(Error::Io)?,
        }
    }};
}

impl<'a, T, Rx, Tx, K, X> WebSocket<'a, T, Server, Rx, Tx, K, X>
where
    T: Read + Write,
    Rx: AsRef<[u8]> + AsMut<[u8]>,
    Tx: AsRef<[u8]> + AsMut<[u8]>,
    K: AsyncTime,
    X: Extension,
{
    /// Accepts the client's opening handshake, whatever it asks for (RFC 6455 §4.2).
    ///
    /// Cancel-safe: call it again, and it goes on.
    ///
    /// # Errors
    /// As [`accept_with`](Self::accept_with).
    pub fn accept(&mut self) -> impl Future<Output = Result<(), Error<T::Error>>> {
        self.accept_with(|_| None)
    }

    /// The same, and has `judge` see the request as it arrives: its line, each header, then
    /// [`Done`](RequestEvent::Done), or what is wrong with it;
    /// [`NotUpgrade`](HandshakeError::NotUpgrade) is an ordinary HTTP request.
    ///
    /// With a [`Decision`] the request is answered at once. `None` goes on: a correct request is
    /// accepted in the end, and a wrong one is told so.
    ///
    /// Cancel-safe: call it again, and it goes on with the next event.
    ///
    /// # Errors
    /// [`Error::Ended`]: [`Refused`](motews::Ended::Refused) once a response is written that is no
    /// upgrade, [`Handshake`](motews::Ended::Handshake) once the client was told what is wrong, or
    /// the cause if it is gone or too slow. [`Error::Io`].
    pub fn accept_with(
        &mut self,
        mut judge: impl FnMut(Result<RequestEvent<'_>, HandshakeError>) -> Option<Decision<'a>>,
    ) -> impl Future<Output = Result<(), Error<T::Error>>> {
        async move {
            while let Some(io) =
                self.reply
                    .engine
                    .next_accept(&mut self.rx, &mut self.incoming, &mut judge)?
            {
                perform!(self, io);
            }
            Ok(())
        }
    }
}

impl<'a, T, E, Rx, Tx, K, X> WebSocket<'a, T, Client<E>, Rx, Tx, K, X>
where
    T: Read + Write,
    E: Entropy,
    Rx: AsRef<[u8]> + AsMut<[u8]>,
    Tx: AsRef<[u8]> + AsMut<[u8]>,
    K: AsyncTime,
    X: Extension,
{
    /// Sends the request and awaits a response that accepts (RFC 6455 §4.1).
    ///
    /// Cancel-safe: call it again, and it goes on.
    ///
    /// # Errors
    /// [`Error::Ended`]: [`Refused`](motews::Ended::Refused) by another response than an upgrade,
    /// [`Handshake`](motews::Ended::Handshake) if the response is wrong, or the cause if the server is
    /// gone or too slow. [`Error::Io`].
    pub fn connect(&mut self) -> impl Future<Output = Result<(), Error<T::Error>>> {
        self.connect_with(|_| ())
    }

    /// The same, and has `look` see the response as it arrives: the `Location` of a redirection,
    /// for example.
    ///
    /// Cancel-safe: call it again, and it goes on with the next event.
    ///
    /// # Errors
    /// As [`connect`](Self::connect).
    pub fn connect_with(
        &mut self,
        mut look: impl FnMut(ResponseEvent<'_>),
    ) -> impl Future<Output = Result<(), Error<T::Error>>> {
        async move {
            while let Some(io) =
                self.reply
                    .engine
                    .next_connect(&mut self.rx, &mut self.incoming, &mut look)?
            {
                perform!(self, io);
            }
            Ok(())
        }
    }
}

impl<'a, T, R, Rx, Tx, K, X> WebSocket<'a, T, R, Rx, Tx, K, X>
where
    T: Read + Write,
    R: Role,
    Rx: AsRef<[u8]> + AsMut<[u8]>,
    Tx: AsRef<[u8]> + AsMut<[u8]>,
    K: AsyncTime,
    X: Extension,
{
    // ---- receive ----

    /// What the peer sends next: a part of a message as it lies in the receive buffer, a ping or a
    /// pong, the Close. `None`: both Closes are through. A server now shuts the transport down for
    /// writing; then both [`drain`](Self::drain) it, and close it.
    ///
    /// Before it waits for input, it writes all that was sent and all that the protocol owes the
    /// peer: what answers one read leaves in one write.
    ///
    /// Cancel-safe: what is received before is told by the next call.
    ///
    /// # Errors
    /// [`Error::Ended`] if the connection has failed, and again with each call; if the peer broke the
    /// protocol, it has been told by then. [`Error::Io`], and [`Error::Send`] before the handshake.
    /// With compression also [`Error::BufferTooSmall`], if there is no memory for parts.
    pub fn next_event(
        &mut self,
    ) -> impl Future<Output = Result<Option<Event<'_>>, Error<T::Error>>> {
        async move {
            self.begin(true)?;
            let found = self.step().await?;
            Ok(found.and_then(|found| self.resolve(found)))
        }
    }

    /// The next part of a message, and the means to answer it while it is at hand, without a copy.
    /// `None`: as for [`next_event`](Self::next_event). Pings and pongs are not told.
    ///
    /// Cancel-safe: as [`next_event`](Self::next_event).
    ///
    /// # Errors
    /// As [`next_event`](Self::next_event).
    #[expect(clippy::type_complexity, reason = "all that a WebSocket is made of")]
    pub fn next_chunk(
        &mut self,
    ) -> impl Future<Output = Result<ChunkAndReply<'_, 'a, T, R, Tx, K, X>, Error<T::Error>>> {
        async move {
            self.begin(true)?;
            loop {
                let Some(found) = self.step().await? else {
                    return Ok(None);
                };
                if X::is_chunk(&found) {
                    return Ok(self.resolve_chunk(found));
                }
                self.discard(found);
            }
        }
    }

    /// The next message, whole. One that is in the receive buffer whole is not copied, unless it is
    /// compressed. `None`: as for [`next_event`](Self::next_event). Pings and pongs are not told.
    ///
    /// Cancel-safe, if the next call has the same `messages`: parts that were received are there.
    ///
    /// # Errors
    /// As [`next_event`](Self::next_event), but for [`Error::BufferTooSmall`]; a message longer than
    /// `messages` fails the connection with
    /// [`MessageTooBig`](motews::ProtocolViolation::MessageTooBig).
    pub async fn recv<'s, B>(
        &'s mut self,
        messages: &'s mut MessageBuffer<B>,
    ) -> Result<Option<Message<'s>>, Error<T::Error>>
    where
        B: AsRef<[u8]> + AsMut<[u8]>,
    {
        self.begin(false)?;
        let found = loop {
            match self.step().await? {
                None => return Ok(None),
                Some(found) if X::ends_message(&found) => break found,
                Some(found) => self.keep(found, messages),
            }
        };
        let violation = match X::push(&mut self.incoming, found, &mut self.rx, messages) {
            Ok(message) => return Ok(message),
            Err(violation) => violation,
        };
        let failure = self.reply.refuse(violation);
        self.reply.flush().await?;
        Err(failure.into())
    }

    // ---- send ----

    /// [`Reply::send`].
    ///
    /// # Errors
    /// The same.
    pub fn send<'s>(
        &'s mut self,
        message: Message<'s>,
    ) -> impl Future<Output = Result<(), Error<T::Error>>> {
        self.reply.send(message)
    }

    /// [`Reply::send_uncompressed`].
    ///
    /// # Errors
    /// The same.
    #[cfg(feature = "deflate")]
    pub fn send_uncompressed<'s>(
        &'s mut self,
        message: Message<'s>,
    ) -> impl Future<Output = Result<(), Error<T::Error>>> {
        self.reply.send_uncompressed(message)
    }

    /// [`Reply::send_fragment`].
    ///
    /// # Errors
    /// The same.
    pub fn send_fragment<'s>(
        &'s mut self,
        kind: DataKind,
        payload: &'s [u8],
        fin: bool,
    ) -> impl Future<Output = Result<usize, Error<T::Error>>> {
        self.reply.send_fragment(kind, payload, fin)
    }

    /// [`Reply::send_fragment_uncompressed`].
    ///
    /// # Errors
    /// The same.
    #[cfg(feature = "deflate")]
    pub fn send_fragment_uncompressed<'s>(
        &'s mut self,
        kind: DataKind,
        payload: &'s [u8],
        fin: bool,
    ) -> impl Future<Output = Result<usize, Error<T::Error>>> {
        self.reply.send_fragment_uncompressed(kind, payload, fin)
    }

    /// [`Reply::ping`].
    ///
    /// # Errors
    /// The same.
    pub fn ping<'s>(
        &'s mut self,
        payload: &'s [u8],
    ) -> impl Future<Output = Result<(), Error<T::Error>>> {
        self.reply.ping(payload)
    }

    /// [`Reply::flush`].
    ///
    /// # Errors
    /// The same.
    pub fn flush(&mut self) -> impl Future<Output = Result<(), Error<T::Error>>> {
        self.reply.flush()
    }

    // ---- end ----

    /// Closes the connection: sends a Close, and drops what the peer still sends until it has sent
    /// its own. A client then waits until the server has ended the transport, for a second at most
    /// if there is a clock.
    ///
    /// Cancel-safe: call it again, or receive, and it goes on.
    ///
    /// # Errors
    /// [`Error::Send`]: [`InvalidCloseCode`](SendError::InvalidCloseCode),
    /// [`ReasonTooLong`](SendError::ReasonTooLong). And as [`next_event`](Self::next_event).
    pub async fn close(&mut self, code: CloseCode, reason: &str) -> Result<(), Error<T::Error>> {
        if X::is_ending(&self.reply.engine.output.outgoing) {
            self.reply.flush().await?;
        }
        match self.start_close(code, reason) {
            Ok(()) | Err(Error::Send(SendError::NotOpen)) => {}
            Err(error) => return Err(error),
        }
        self.begin(false)?;
        while let Some(found) = self.step().await? {
            self.discard(found);
        }
        // RFC 6455 §7.1.1: the server ends the transport first, the client waits for that [CL07]
        match R::IS_CLIENT {
            true => self.drain().await,
            false => Ok(()),
        }
    }

    /// Reads and drops what still comes, until the transport ends. To be called when there is
    /// nothing more to receive: by a client at once, by a server after it has shut the transport
    /// down for writing (RFC 6455 §7.1.1). Some transports tell the peer of a reset where something
    /// was left unread, and then it may miss the last frames.
    ///
    /// With a clock it takes a second at most after a clean close, and otherwise
    /// [`Timeouts::close`](motews::pace::Timeouts::close).
    ///
    /// Cancel-safe: call it again.
    ///
    /// # Errors
    /// [`Error::Io`], and [`Error::Ended`] if the connection was not closed and its time is over.
    pub async fn drain(&mut self) -> Result<(), Error<T::Error>> {
        loop {
            let engine = &mut self.reply.engine;
            if engine.next_drain(&mut self.rx, &mut self.incoming)? {
                return Ok(());
            }
            match in_time!(engine, Io::Read, engine.transport.read(self.rx.spare())) {
                Ok(None | Some(1..)) => {}
                Err(error) if engine.ended().is_none() || is_for_now(&error) => {
                    return Err(Error::Io(error));
                }
                Ok(Some(0)) | Err(_) => {
                    engine.read(&mut self.rx, 0);
                    _ = engine.next_drain(&mut self.rx, &mut self.incoming);
                    return Ok(());
                }
            }
        }
    }

    // ---- the transport ----

    fn step(&mut self) -> impl Future<Output = Result<Option<X::Found>, Error<T::Error>>> {
        async move {
            loop {
                let engine = &mut self.reply.engine;
                let io = match engine.next(&mut self.rx, &mut self.incoming)? {
                    Next::Event(found) => return Ok(Some(found)),
                    Next::End => return Ok(None),
                    Next::Io(io) => io,
                };
                perform!(self, io);
            }
        }
    }
}

impl<'a, T, R, Tx, K, X> Reply<'a, T, R, Tx, K, X>
where
    T: Write,
    R: Role,
    Tx: AsRef<[u8]> + AsMut<[u8]>,
    K: AsyncTime,
    X: Extension,
{
    /// Sends a message as one frame. It is put into the transmit buffer, where it waits for others
    /// to be written with it: until the buffer is full, a [`flush`](Self::flush), or the next wait
    /// for input. While it waits for the transport, nothing is read: see
    /// [both send at once](crate#both-send-at-once).
    ///
    /// Cancel-safe: when the future is dropped, nothing of the message was sent.
    ///
    /// # Errors
    /// [`Error::Send`]: [`NoRoom`](SendError::NoRoom) where the frame is longer than the whole
    /// buffer; [`NotOpen`](SendError::NotOpen),
    /// [`MessageInProgress`](SendError::MessageInProgress), [`Entropy`](SendError::Entropy).
    /// [`Error::Ended`], [`Error::Io`]. Nothing of it was sent then.
    pub fn send(
        &mut self,
        message: Message<'_>,
    ) -> impl Future<Output = Result<(), Error<T::Error>>> {
        self.put_message::<true>(message)
    }

    /// As [`send`](Self::send), but the message is not compressed: for a secret in one message with
    /// what others may choose (see [secrets](crate::deflate#secrets)).
    ///
    /// # Errors
    /// The same.
    #[cfg(feature = "deflate")]
    pub fn send_uncompressed(
        &mut self,
        message: Message<'_>,
    ) -> impl Future<Output = Result<(), Error<T::Error>>> {
        self.put_message::<false>(message)
    }

    fn put_message<const COMPRESS: bool>(
        &mut self,
        message: Message<'_>,
    ) -> impl Future<Output = Result<(), Error<T::Error>>> {
        async move {
            while !self.engine.send(message, COMPRESS)? {
                perform_output!(self, Io::Write);
            }
            Ok(())
        }
    }

    /// Sends the next frame of a message, with as much of `payload` as there is room for, and
    /// tells how much that was: send the rest as the next one. `fin` ends the message with the
    /// last octet of `payload`. The message may be of any length, unknown when it begins.
    ///
    /// Cancel-safe: when the future is dropped, nothing of `payload` was sent.
    ///
    /// # Errors
    /// As [`send`](Self::send), but for `NoRoom`; `MessageInProgress` means one of the other kind.
    pub fn send_fragment(
        &mut self,
        kind: DataKind,
        payload: &[u8],
        fin: bool,
    ) -> impl Future<Output = Result<usize, Error<T::Error>>> {
        self.put_fragment::<true>(kind, payload, fin)
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
    ) -> impl Future<Output = Result<usize, Error<T::Error>>> {
        self.put_fragment::<false>(kind, payload, fin)
    }

    fn put_fragment<const COMPRESS: bool>(
        &mut self,
        kind: DataKind,
        payload: &[u8],
        fin: bool,
    ) -> impl Future<Output = Result<usize, Error<T::Error>>> {
        async move {
            loop {
                let fragment = Fragment {
                    kind,
                    payload,
                    fin,
                    compress: COMPRESS,
                };
                if let Some(taken) = self.engine.send_fragment(fragment)? {
                    return Ok(taken);
                }
                perform_output!(self, Io::Write);
            }
        }
    }

    /// Sends a ping with at most 125 octets of payload, as [`send`](Self::send) does.
    ///
    /// Cancel-safe: when the future is dropped, no ping was sent.
    ///
    /// # Errors
    /// [`Error::Send`]: [`ControlTooLong`](SendError::ControlTooLong),
    /// [`NotOpen`](SendError::NotOpen), [`Entropy`](SendError::Entropy).
    /// [`Error::Ended`], [`Error::Io`].
    pub fn ping(&mut self, payload: &[u8]) -> impl Future<Output = Result<(), Error<T::Error>>> {
        async move {
            while !self.engine.ping(payload)? {
                perform_output!(self, Io::Write);
            }
            Ok(())
        }
    }

    /// Writes all that was sent, and what the protocol owes the peer.
    ///
    /// Cancel-safe: what was not written is still there.
    ///
    /// # Errors
    /// [`Error::Io`], and [`Error::Ended`] if the connection has failed.
    pub fn flush(&mut self) -> impl Future<Output = Result<(), Error<T::Error>>> {
        async move {
            while let Some(io) = self.engine.next_flush()? {
                perform_output!(self, io);
            }
            Ok(())
        }
    }
}
