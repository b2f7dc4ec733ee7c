//! The blocking WebSocket, over [`embedded_io`].
//!
//! Each method may be called again after [`Error::Io`], and goes on where it stopped: a transport
//! with a time-out of its own, whose `read` fails with
//! [`TimedOut`](embedded_io::ErrorKind::TimedOut) every now and then, makes
//! [`next_event`](WebSocket::next_event) come back without an event, and nothing is lost.
//!
//! With a [`Clock`](crate::Clock) such an error is not told, as long as there is a deadline to wait
//! for. The deadlines can be kept no more precisely than the transport comes back. The sockets of
//! `std` say `WouldBlock` on Unix, which embedded-io does not know: over its adapter for them, wrap
//! the socket, and make that `TimedOut`.

use embedded_io::{Read, Write};
use motews::handshake::{HandshakeError, RequestEvent, ResponseEvent};
use motews::pace::Millis;
use motews::{
    Chunk, Client, CloseCode, DataKind, Entropy, Event, Message, MessageBuffer, Role, SendError,
    Server,
};

use crate::config::Decision;
use crate::engine::{Io, Next};
use crate::error::{Error, is_for_now};
use crate::extension::{Extension, Fragment, NoExtension};
use crate::time::{Time, Untimed};
use crate::websocket;

/// The mode of the blocking [`WebSocket`].
#[derive(Clone, Copy, Debug)]
pub enum Blocking {}

/// The blocking WebSocket.
pub type WebSocket<'a, T, R, Rx, Tx, K = Untimed, X = NoExtension> =
    websocket::WebSocket<'a, T, R, Rx, Tx, K, X, Blocking>;

/// A part of a message and who can answer it, if there is one.
pub type ChunkAndReply<'r, 'a, T, R, Tx, K = Untimed, X = NoExtension> =
    Option<(Chunk<'r>, &'r mut Reply<'a, T, R, Tx, K, X>)>;

/// The sending side of the blocking [`WebSocket`], while a part of a message is at hand.
pub type Reply<'a, T, R, Tx, K = Untimed, X = NoExtension> =
    websocket::Reply<'a, T, R, Tx, K, X, Blocking>;

/// `None` if the transport has given up for now, and there is a deadline that judges that.
fn in_time<V, E: embedded_io::Error>(
    result: Result<V, E>,
    deadline: Option<Millis>,
) -> Result<Option<V>, E> {
    match result {
        Err(error) if deadline.is_some() && is_for_now(&error) => Ok(None),
        result => result.map(Some),
    }
}

impl<'a, T, Rx, Tx, K, X> WebSocket<'a, T, Server, Rx, Tx, K, X>
where
    T: Read + Write,
    Rx: AsRef<[u8]> + AsMut<[u8]>,
    Tx: AsRef<[u8]> + AsMut<[u8]>,
    K: Time,
    X: Extension,
{
    /// Accepts the client's opening handshake, whatever it asks for (RFC 6455 §4.2).
    ///
    /// # Errors
    /// As [`accept_with`](Self::accept_with).
    pub fn accept(&mut self) -> Result<(), Error<T::Error>> {
        self.accept_with(|_| None)
    }

    /// The same, and has `judge` see the request as it arrives: its line, each header, then
    /// [`Done`](RequestEvent::Done), or what is wrong with it;
    /// [`NotUpgrade`](HandshakeError::NotUpgrade) is an ordinary HTTP request.
    ///
    /// With a [`Decision`] the request is answered at once. `None` goes on: a correct request is
    /// accepted in the end, and a wrong one is told so.
    ///
    /// # Errors
    /// [`Error::Ended`]: [`Refused`](motews::Ended::Refused) once a response is written that is no
    /// upgrade, [`Handshake`](motews::Ended::Handshake) once the client was told what is wrong, or
    /// the cause if it is gone or too slow. [`Error::Io`].
    pub fn accept_with(
        &mut self,
        mut judge: impl FnMut(Result<RequestEvent<'_>, HandshakeError>) -> Option<Decision<'a>>,
    ) -> Result<(), Error<T::Error>> {
        while let Some(io) =
            self.reply
                .engine
                .next_accept(&mut self.rx, &mut self.incoming, &mut judge)?
        {
            self.perform(io)?;
        }
        Ok(())
    }
}

impl<'a, T, E, Rx, Tx, K, X> WebSocket<'a, T, Client<E>, Rx, Tx, K, X>
where
    T: Read + Write,
    E: Entropy,
    Rx: AsRef<[u8]> + AsMut<[u8]>,
    Tx: AsRef<[u8]> + AsMut<[u8]>,
    K: Time,
    X: Extension,
{
    /// Sends the request and waits for a response that accepts (RFC 6455 §4.1).
    ///
    /// # Errors
    /// [`Error::Ended`]: [`Refused`](motews::Ended::Refused) by another response than an upgrade,
    /// [`Handshake`](motews::Ended::Handshake) if the response is wrong, or the cause if the server is
    /// gone or too slow. [`Error::Io`].
    pub fn connect(&mut self) -> Result<(), Error<T::Error>> {
        self.connect_with(|_| ())
    }

    /// The same, and has `look` see the response as it arrives: the `Location` of a redirection,
    /// for example.
    ///
    /// # Errors
    /// As [`connect`](Self::connect).
    pub fn connect_with(
        &mut self,
        mut look: impl FnMut(ResponseEvent<'_>),
    ) -> Result<(), Error<T::Error>> {
        while let Some(io) =
            self.reply
                .engine
                .next_connect(&mut self.rx, &mut self.incoming, &mut look)?
        {
            self.perform(io)?;
        }
        Ok(())
    }
}

impl<'a, T, R, Rx, Tx, K, X> WebSocket<'a, T, R, Rx, Tx, K, X>
where
    T: Read + Write,
    R: Role,
    Rx: AsRef<[u8]> + AsMut<[u8]>,
    Tx: AsRef<[u8]> + AsMut<[u8]>,
    K: Time,
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
    /// # Errors
    /// [`Error::Ended`] if the connection has failed, and again with each call; if the peer broke the
    /// protocol, it has been told by then. [`Error::Io`], and [`Error::Send`] before the handshake.
    /// With compression also [`Error::BufferTooSmall`], if there is no memory for parts.
    pub fn next_event(&mut self) -> Result<Option<Event<'_>>, Error<T::Error>> {
        self.begin(true)?;
        let found = self.step()?;
        Ok(found.and_then(|found| self.resolve(found)))
    }

    /// The next part of a message, and the means to answer it while it is at hand, without a copy.
    /// `None`: as for [`next_event`](Self::next_event). Pings and pongs are not told.
    ///
    /// # Errors
    /// As [`next_event`](Self::next_event).
    #[expect(clippy::type_complexity, reason = "all that a WebSocket is made of")]
    pub fn next_chunk(&mut self) -> Result<ChunkAndReply<'_, 'a, T, R, Tx, K, X>, Error<T::Error>> {
        self.begin(true)?;
        loop {
            let Some(found) = self.step()? else {
                return Ok(None);
            };
            if X::is_chunk(&found) {
                return Ok(self.resolve_chunk(found));
            }
            self.discard(found);
        }
    }

    /// The next message, whole. One that is in the receive buffer whole is not copied, unless it is
    /// compressed. `None`: as for [`next_event`](Self::next_event). Pings and pongs are not told.
    ///
    /// # Errors
    /// As [`next_event`](Self::next_event), but for [`Error::BufferTooSmall`]; a message longer than
    /// `messages` fails the connection with
    /// [`MessageTooBig`](motews::ProtocolViolation::MessageTooBig).
    pub fn recv<'s, B>(
        &'s mut self,
        messages: &'s mut MessageBuffer<B>,
    ) -> Result<Option<Message<'s>>, Error<T::Error>>
    where
        B: AsRef<[u8]> + AsMut<[u8]>,
    {
        self.begin(false)?;
        let found = loop {
            match self.step()? {
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
        self.reply.flush()?;
        Err(failure.into())
    }

    // ---- send ----

    /// [`Reply::send`].
    ///
    /// # Errors
    /// The same.
    pub fn send(&mut self, message: Message<'_>) -> Result<(), Error<T::Error>> {
        self.reply.send(message)
    }

    /// [`Reply::send_uncompressed`].
    ///
    /// # Errors
    /// The same.
    #[cfg(feature = "deflate")]
    pub fn send_uncompressed(&mut self, message: Message<'_>) -> Result<(), Error<T::Error>> {
        self.reply.send_uncompressed(message)
    }

    /// [`Reply::send_fragment`].
    ///
    /// # Errors
    /// The same.
    pub fn send_fragment(
        &mut self,
        kind: DataKind,
        payload: &[u8],
        fin: bool,
    ) -> Result<usize, Error<T::Error>> {
        self.reply.send_fragment(kind, payload, fin)
    }

    /// [`Reply::send_fragment_uncompressed`].
    ///
    /// # Errors
    /// The same.
    #[cfg(feature = "deflate")]
    pub fn send_fragment_uncompressed(
        &mut self,
        kind: DataKind,
        payload: &[u8],
        fin: bool,
    ) -> Result<usize, Error<T::Error>> {
        self.reply.send_fragment_uncompressed(kind, payload, fin)
    }

    /// [`Reply::ping`].
    ///
    /// # Errors
    /// The same.
    pub fn ping(&mut self, payload: &[u8]) -> Result<(), Error<T::Error>> {
        self.reply.ping(payload)
    }

    /// [`Reply::flush`].
    ///
    /// # Errors
    /// The same.
    pub fn flush(&mut self) -> Result<(), Error<T::Error>> {
        self.reply.flush()
    }

    // ---- end ----

    /// Closes the connection: sends a Close, and drops what the peer still sends until it has sent
    /// its own. A client then waits until the server has ended the transport, for a second at most
    /// if there is a clock.
    ///
    /// # Errors
    /// [`Error::Send`]: [`InvalidCloseCode`](SendError::InvalidCloseCode),
    /// [`ReasonTooLong`](SendError::ReasonTooLong). And as [`next_event`](Self::next_event).
    pub fn close(&mut self, code: CloseCode, reason: &str) -> Result<(), Error<T::Error>> {
        if X::is_ending(&self.reply.engine.output.outgoing) {
            self.reply.flush()?;
        }
        match self.start_close(code, reason) {
            Ok(()) | Err(Error::Send(SendError::NotOpen)) => {}
            Err(error) => return Err(error),
        }
        self.begin(false)?;
        while let Some(found) = self.step()? {
            self.discard(found);
        }
        // RFC 6455 §7.1.1: the server ends the transport first, the client waits for that [CL07]
        match R::IS_CLIENT {
            true => self.drain(),
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
    /// # Errors
    /// [`Error::Io`], and [`Error::Ended`] if the connection was not closed and its time is over.
    pub fn drain(&mut self) -> Result<(), Error<T::Error>> {
        loop {
            let engine = &mut self.reply.engine;
            if engine.next_drain(&mut self.rx, &mut self.incoming)? {
                return Ok(());
            }
            let at = engine.wake_at(Io::Read);
            match in_time(engine.transport.read(self.rx.spare()), at) {
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

    fn step(&mut self) -> Result<Option<X::Found>, Error<T::Error>> {
        loop {
            let engine = &mut self.reply.engine;
            let io = match engine.next(&mut self.rx, &mut self.incoming)? {
                Next::Event(found) => return Ok(Some(found)),
                Next::End => return Ok(None),
                Next::Io(io) => io,
            };
            self.perform(io)?;
        }
    }

    fn perform(&mut self, io: Io) -> Result<(), Error<T::Error>> {
        if io != Io::Read {
            return self.reply.perform(io);
        }
        let engine = &mut self.reply.engine;
        let at = engine.wake_at(io);
        match in_time(engine.transport.read(self.rx.spare()), at) {
            Ok(Some(len)) => engine.read(&mut self.rx, len),
            Ok(None) => {}
            Err(error) => engine.failed(error).map_err(Error::Io)?,
        }
        Ok(())
    }
}

impl<'a, T, R, Tx, K, X> Reply<'a, T, R, Tx, K, X>
where
    T: Write,
    R: Role,
    Tx: AsRef<[u8]> + AsMut<[u8]>,
    K: Time,
    X: Extension,
{
    /// Sends a message as one frame. It is put into the transmit buffer, where it waits for others
    /// to be written with it: until the buffer is full, a [`flush`](Self::flush), or the next wait
    /// for input. While it waits for the transport, nothing is read: see
    /// [both send at once](crate#both-send-at-once).
    ///
    /// # Errors
    /// [`Error::Send`]: [`NoRoom`](SendError::NoRoom) where the frame is longer than the whole
    /// buffer; [`NotOpen`](SendError::NotOpen),
    /// [`MessageInProgress`](SendError::MessageInProgress), [`Entropy`](SendError::Entropy).
    /// [`Error::Ended`], [`Error::Io`]. Nothing of it was sent then.
    pub fn send(&mut self, message: Message<'_>) -> Result<(), Error<T::Error>> {
        self.put_message(message, true)
    }

    /// As [`send`](Self::send), but the message is not compressed: for a secret in one message with
    /// what others may choose (see [secrets](crate::deflate#secrets)).
    ///
    /// # Errors
    /// The same.
    #[cfg(feature = "deflate")]
    pub fn send_uncompressed(&mut self, message: Message<'_>) -> Result<(), Error<T::Error>> {
        self.put_message(message, false)
    }

    fn put_message(&mut self, message: Message<'_>, compress: bool) -> Result<(), Error<T::Error>> {
        while !self.engine.send(message, compress)? {
            self.perform(Io::Write)?;
        }
        Ok(())
    }

    /// Sends the next frame of a message, with as much of `payload` as there is room for, and
    /// tells how much that was: send the rest as the next one. `fin` ends the message with the
    /// last octet of `payload`. The message may be of any length, unknown when it begins.
    ///
    /// # Errors
    /// As [`send`](Self::send), but for `NoRoom`; `MessageInProgress` means one of the other kind.
    pub fn send_fragment(
        &mut self,
        kind: DataKind,
        payload: &[u8],
        fin: bool,
    ) -> Result<usize, Error<T::Error>> {
        self.put_fragment(Fragment {
            kind,
            payload,
            fin,
            compress: true,
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
    ) -> Result<usize, Error<T::Error>> {
        self.put_fragment(Fragment {
            kind,
            payload,
            fin,
            compress: false,
        })
    }

    fn put_fragment(&mut self, fragment: Fragment<'_>) -> Result<usize, Error<T::Error>> {
        loop {
            if let Some(taken) = self.engine.send_fragment(fragment)? {
                return Ok(taken);
            }
            self.perform(Io::Write)?;
        }
    }

    /// Sends a ping with at most 125 octets of payload, as [`send`](Self::send) does.
    ///
    /// # Errors
    /// [`Error::Send`]: [`ControlTooLong`](SendError::ControlTooLong),
    /// [`NotOpen`](SendError::NotOpen), [`Entropy`](SendError::Entropy).
    /// [`Error::Ended`], [`Error::Io`].
    pub fn ping(&mut self, payload: &[u8]) -> Result<(), Error<T::Error>> {
        while !self.engine.ping(payload)? {
            self.perform(Io::Write)?;
        }
        Ok(())
    }

    /// Writes all that was sent, and what the protocol owes the peer.
    ///
    /// # Errors
    /// [`Error::Io`], and [`Error::Ended`] if the connection has failed.
    pub fn flush(&mut self) -> Result<(), Error<T::Error>> {
        while let Some(io) = self.engine.next_flush()? {
            self.perform(io)?;
        }
        Ok(())
    }

    fn perform(&mut self, io: Io) -> Result<(), Error<T::Error>> {
        let engine = &mut self.engine;
        let at = engine.wake_at(io);
        let done = match io {
            Io::Flush => in_time(engine.transport.flush(), at).map(|done| done.map(|()| None)),
            _ => in_time(engine.transport.write(engine.output.unwritten()), at)
                .map(|len| len.map(Some)),
        };
        match done {
            Ok(Some(Some(len))) => engine.written(len)?,
            Ok(Some(None)) => engine.flushed(),
            Ok(None) => engine.late()?,
            Err(error) => engine.failed(error).map_err(Error::Io)?,
        }
        Ok(())
    }
}
