//! The blocking WebSocket.

use core::fmt;
use core::time::Duration;
use std::io;
use std::sync::Arc;
use std::time::Instant;

use motews::handshake::Agreed;
use motews::{Client, CloseCode, DataKind, Ended, Role, State};

use super::receive::{Reader, Until};
use super::received::Received;
use super::sender::Sender;
use super::sending::Failure;
use super::settings::Settings;
use super::shared::{SendMode, Shared};
use crate::connect::net::NetStream;
use crate::entropy::OsEntropy;
use crate::error::{RecvError, SendError};
use crate::message::{AsMessage, Message};
use crate::transport::{Share, Transport};

/// An open WebSocket over the stream `S`, in the role `R`.
///
/// It comes from [`connect`](crate::connect), [`accept`](crate::accept),
/// [`accept_with`](crate::accept_with), a [`Connector`](crate::Connector) or an
/// [`Acceptor`](crate::Acceptor).
///
/// # Receiving
/// [`recv`](Self::recv) waits for a message; [`recv_timeout`](Self::recv_timeout) waits for a time;
/// [`try_recv`](Self::try_recv) does not wait; [`messages`](Self::messages) iterates;
/// [`pending`](Self::pending) counts what is there. Each of them also answers pings, sends pings of
/// its own, and replies to a Close: **that happens only while one of them runs**. A message is
/// assembled as it arrives, never by the length that was announced.
///
/// # Sending
/// [`send`](Self::send) waits until the operating system has taken the message, and reads meanwhile
/// what the peer sends ([`Acceptor::max_inbound`](crate::Acceptor::max_inbound)), so that two peers that send at once do not wait
/// for each other. Messages leave in the order in which they were sent. In two cases `send` returns
/// earlier, and the next send or receive writes the rest:
///
/// - The send directly follows a receive, and there is more input to be received already: so what
///   one read brought is answered with one write.
/// - The peer does not read, and as much is kept of what it sends as may be. A message that was begun
///   is finished by the calls that follow. A message that was not is refused with
///   [`SendError::InboundFull`].
///
/// [`flush`](Self::flush) waits for what is left; [`buffered_amount`](Self::buffered_amount)
/// counts it.
/// [`sender`](Self::sender) returns a handle for other threads.
///
/// # Deadlines
/// By default ([`Timeouts`](crate::Timeouts)): 10 s for the opening handshake; a ping after 30 s of
/// silence, and 10 s for its pong; 5 s for the closing handshake; no limit for silence that pongs
/// answer. A peer that takes none of the bytes that wait for it is given up after 30 s, beyond the
/// time that the bytes it took before have bought it: a slow peer loses nothing.
///
/// Deadlines are seen to while one of the methods runs, or a sender's. What the peer sent while none
/// did is read before its silence is held against it.
///
/// # Closing
/// [`close`](Self::close) begins the closing handshake and returns; [`closed`](Self::closed) waits for
/// the end. When the *peer* closes, `recv` replies, ends the stream as RFC 6455 §7.1.1 wants it (the
/// server first), and returns `Ok(None)`. Then [`ended`](Self::ended) returns how it ended, and
/// [`close_reason`](Self::close_reason) the text in the peer's Close.
///
/// Dropping an open WebSocket sends a Close with the code 1001 if that is possible without waiting,
/// and ends the stream without waiting for the reply; bytes that the peer has sent may make the
/// operating system reset the connection then. Close first.
///
/// # Non-blocking streams
/// [`WouldBlock`](io::ErrorKind::WouldBlock) from the stream is passed on, and each method goes on
/// where it was when it is called again. A message that was refused with `WouldBlock` was not taken;
/// one that was taken is written by the calls that follow.
///
/// # Example
/// ```
/// # let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
/// # let addr = listener.local_addr()?;
/// std::thread::spawn(move || -> std::io::Result<()> {
///     let mut ws = motews_std::accept(listener.accept()?.0)?;
///     while let Some(message) = ws.recv()? {
///         ws.send(message)?; // an echo
///     }
///     Ok(())
/// });
///
/// let mut ws = motews_std::connect(&format!("ws://{addr}/"))?;
/// ws.send("Hello")?;
/// assert_eq!(ws.recv()?, Some("Hello".into()));
/// ws.close(motews_std::CloseCode::NORMAL, "done")?;
/// assert!(ws.closed()?.is_clean());
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct WebSocket<S: Transport = NetStream, R: Role = Client<OsEntropy>> {
    reader: Reader<S>,
    shared: Arc<Shared<R>>,
    /// The next send may be held back.
    cork: bool,
    #[cfg(feature = "deflate")]
    deflate: Option<motews::deflate::DeflateParams>,
    subprotocol: Option<String>,
}

impl<S: Transport, R: Role> WebSocket<S, R> {
    /// Adopts a stream whose opening handshake was done elsewhere, by an HTTP server for example, with
    /// the default settings. [`Acceptor::from_upgraded`](crate::Acceptor::from_upgraded) and
    /// [`Connector::from_upgraded`](crate::Connector::from_upgraded) have their own.
    ///
    /// `leftover` is what was read beyond the handshake: the peer's first frames. `agreed` is what the
    /// handshake agreed on: `Agreed::default()` is no compression. This crate makes the limits of the
    /// connection by itself, and cannot know the name of the subprotocol.
    ///
    /// ```
    /// use motews_std::{Agreed, Plain, WebSocket, role::Server};
    ///
    /// # let stream = Plain(std::io::Cursor::new(Vec::new()));
    /// let frame = b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58"; // read along with the request
    /// let mut ws = WebSocket::from_upgraded(stream, Server, frame, Agreed::default());
    /// assert_eq!(ws.recv()?, Some("Hello".into()));
    /// # Ok::<(), motews_std::RecvError>(())
    /// ```
    #[must_use]
    pub fn from_upgraded(stream: S, role: R, leftover: &[u8], agreed: Agreed) -> Self {
        Self::adopt(stream, role, leftover, agreed, &Settings::new())
    }

    pub(crate) fn adopt(
        stream: S,
        role: R,
        leftover: &[u8],
        agreed: Agreed,
        settings: &Settings,
    ) -> Self {
        let mut socket = Self::new(stream, role, leftover, agreed, None, settings);
        // No handshake has prepared the stream. If that fails, so does the first receive.
        if let Err(error) = socket.reader.stream.prepare() {
            socket.shared.lock().lose_both(Some(error));
        }
        socket
    }

    #[cfg_attr(
        not(feature = "deflate"),
        expect(unused_variables, reason = "only compression was agreed on")
    )]
    pub(crate) fn new(
        stream: S,
        role: R,
        leftover: &[u8],
        agreed: Agreed,
        subprotocol: Option<String>,
        settings: &Settings,
    ) -> Self {
        let max_message_len = settings.handshake.limits.message;
        let config = motews::ConnectionConfig {
            max_message_len,
            ..motews::ConnectionConfig::default()
        };
        #[cfg(feature = "deflate")]
        let config = match agreed.deflate {
            None => config,
            Some(_) => motews::ConnectionConfig {
                max_message_len: motews::deflate::wire_limit(max_message_len),
                compression: true,
            },
        };
        let shared = Shared::new(role, config, settings.timeouts, settings.max_backlog);
        #[cfg_attr(not(feature = "deflate"), expect(unused_mut, reason = "to inflate"))]
        let mut reader = Reader::new(stream, leftover, settings.read_buffer, settings.max_inbound);
        #[cfg(feature = "deflate")]
        if let Some(agreed) = agreed.deflate {
            shared.lock().packing = crate::deflate::Compress::new(agreed).map(|compress| {
                Box::new(super::shared::Packing {
                    compress,
                    sent: crate::deflate::Bytes::default(),
                })
            });
            reader.inflate = crate::deflate::Inflate::new(agreed, max_message_len);
        }
        Self {
            reader,
            shared: Arc::new(shared),
            cork: false,
            #[cfg(feature = "deflate")]
            deflate: agreed.deflate,
            subprotocol,
        }
    }

    // ---- receive ----

    /// Waits for the next message. `None`: the WebSocket was closed, by either side.
    ///
    /// # Errors
    /// [`RecvError::Protocol`] if the peer breaks the protocol, sends a message above
    /// [`Limits::message`](crate::Limits::message), or leaves without a Close; [`RecvError::TimedOut`] if it does
    /// not answer, or does not read what is sent; [`RecvError::Io`]. After an error, the same one comes
    /// again.
    /// `WouldBlock` from a non-blocking stream is the exception: call again.
    pub fn recv(&mut self) -> Result<Option<Message>, RecvError> {
        match self.receive(Until::Forever)? {
            Received::Message(message) => Ok(Some(message)),
            _ => Ok(None),
        }
    }

    /// Waits for the next message, but no longer than `timeout`. With a stream that cannot be
    /// waited for it is as [`try_recv`](Self::try_recv).
    ///
    /// # Errors
    /// As [`recv`](Self::recv), but `WouldBlock` is [`Received::Nothing`].
    pub fn recv_timeout(&mut self, timeout: Duration) -> Result<Received, RecvError> {
        let until = Instant::now().checked_add(timeout);
        self.receive(until.map_or(Until::Forever, Until::At))
    }

    /// The next message, if it is there. Does not wait, unless the stream itself does (see
    /// [`Transport`]): not for another thread that sends, and not for the end of the connection.
    ///
    /// # Errors
    /// As [`recv`](Self::recv), but `WouldBlock` is [`Received::Nothing`].
    pub fn try_recv(&mut self) -> Result<Received, RecvError> {
        self.receive(Until::Now)
    }

    /// Returns how many messages are there, whole, to be received without waiting. Reads what the stream
    /// has, and never waits for more, in the midst of a frame neither (unless the stream itself
    /// does, see [`Transport`]). Beyond [`Acceptor::max_inbound`](crate::Acceptor::max_inbound) it leaves the rest to the stream.
    ///
    /// The end of the WebSocket and errors are returned by the receive that comes to them.
    pub fn pending(&mut self) -> usize {
        self.reader.pending(&self.shared)
    }

    /// The messages, one after the other, until the WebSocket is closed or fails. To send from
    /// within the loop, use a [`sender`](Self::sender).
    ///
    /// ```
    /// # fn f(mut ws: motews_std::WebSocket) -> std::io::Result<()> {
    /// let sender = ws.sender()?;
    /// for message in ws.messages() {
    ///     sender.send(message?)?;
    /// }
    /// # Ok(()) }
    /// ```
    pub const fn messages(&mut self) -> Messages<'_, S, R> {
        Messages {
            socket: self,
            failed: false,
        }
    }

    fn receive(&mut self, until: Until) -> Result<Received, RecvError> {
        self.cork = false;
        let received = self.reader.receive(&self.shared, until)?;
        self.cork = matches!(received, Received::Message(_)) && self.reader.has_more();
        Ok(received)
    }

    // ---- send ----

    /// Sends a message: strings as text, bytes as binary, a [`Message`] as what it is. Waits until
    /// the operating system has taken it; see [Sending](Self#sending) for the exceptions.
    ///
    /// # Errors
    /// [`SendError::Closed`] if the WebSocket is closing or the peer has left,
    /// [`SendError::TimedOut`] if the peer does not read, [`SendError::InboundFull`] if it sends
    /// and does not read, [`SendError::Io`].
    pub fn send(&mut self, message: impl AsMessage) -> Result<(), SendError> {
        let mode = self.mode();
        Ok(self.send_data(message.as_message(), mode)?)
    }

    /// The same, and says whether it was taken.
    pub(crate) fn deliver(&mut self, message: &Message) -> Result<(), Failure> {
        let mode = self.mode();
        self.send_data(message.as_message(), mode)
    }

    /// How a whole message is sent.
    fn mode(&mut self) -> SendMode {
        SendMode {
            hold: core::mem::take(&mut self.cork),
            ..SendMode::default()
        }
    }

    fn send_data(&mut self, message: motews::Message<'_>, mode: SendMode) -> Result<(), Failure> {
        let (kind, bytes) = (message.kind(), message.as_bytes());
        self.shared
            .send(&mut self.reader, kind, bytes, true, mode)?;
        self.reader.note_sent(bytes.len());
        Ok(())
    }

    /// Sends a message as it is, where others are compressed: see
    /// [`Acceptor::deflate`](crate::Acceptor::deflate).
    ///
    /// # Errors
    /// As [`send`](Self::send).
    // [PD30]
    #[cfg(feature = "deflate")]
    pub fn send_uncompressed(&mut self, message: impl AsMessage) -> Result<(), SendError> {
        let mode = SendMode {
            plain: true,
            ..self.mode()
        };
        Ok(self.send_data(message.as_message(), mode)?)
    }

    pub(super) fn send_fragment(
        &mut self,
        kind: DataKind,
        payload: &[u8],
        fin: bool,
        begun: bool,
    ) -> Result<(), SendError> {
        let mode = SendMode {
            streaming: begun,
            insist: fin,
            ..SendMode::default()
        };
        self.shared
            .send(&mut self.reader, kind, payload, fin, mode)?;
        self.reader.note_sent(payload.len());
        Ok(())
    }

    pub(super) fn abandon_message(&mut self) {
        self.shared.abandon_message(&mut self.reader);
    }

    /// Sends a ping with at most 125 bytes of payload (§5.5.2). The pong is received along with
    /// the messages; [`last_pong`](Self::last_pong) returns it. The keepalive of [`Timeouts`](crate::Timeouts) does
    /// without this.
    ///
    /// # Errors
    /// As [`send`](Self::send), and [`SendError::Invalid`] for a longer payload.
    pub fn ping(&mut self, payload: &[u8]) -> Result<(), SendError> {
        self.shared.ping(&mut self.reader, payload)
    }

    /// Writes what was held back, and what earlier sends have left, and waits until the operating
    /// system has taken it.
    ///
    /// # Errors
    /// As [`send`](Self::send). After [`SendError::InboundFull`], receive and flush again.
    pub fn flush(&mut self) -> Result<(), SendError> {
        self.cork = false;
        self.shared.flush_all(&mut self.reader)
    }

    // ---- close ----

    /// Begins the closing handshake and returns: a Close leaves behind all that was sent before.
    /// Messages can be received until the peer's Close comes, and none can be sent.
    /// [`closed`](Self::closed) waits for the end.
    ///
    /// # Errors
    /// [`SendError::Closed`] if it has begun already, [`SendError::Invalid`] for a code that may
    /// not be sent or a reason above 123 bytes, [`SendError::Io`].
    pub fn close(&mut self, code: CloseCode, reason: &str) -> Result<(), SendError> {
        self.shared.close(&mut self.reader, code, reason)
    }

    /// Waits for the end, and returns how the connection ended: drops what the peer still sends until
    /// its Close comes, and ends the stream, the server first (§7.1.1).
    ///
    /// When this side's [Close](Self::close) has left, this takes no longer than
    /// [`Timeouts::close`](crate::Timeouts::close), and when both have come through, a second at most.
    /// If this side has not closed, it waits until the peer does.
    ///
    /// # Errors
    /// Only [`RecvError::Io`] with `WouldBlock` from a non-blocking stream: call again. A peer that
    /// does not reply, or has left, is an end that is not [clean](Ended::is_clean).
    pub fn closed(&mut self) -> Result<Ended, RecvError> {
        loop {
            match self.reader.next(&self.shared, Until::Forever) {
                Err(error) if error.is_would_block() => return Err(error),
                _ => {}
            }
            if let Some(ended) = self.ended() {
                return Ok(ended);
            }
        }
    }

    /// Returns how the connection ended, as soon as that is certain; `None` before.
    #[must_use]
    pub fn ended(&self) -> Option<Ended> {
        self.reader.ended(&self.shared.lock())
    }

    /// Returns the reason in the peer's Close, for people who look for a fault; empty if there is
    /// none.
    #[must_use]
    pub fn close_reason(&self) -> &str {
        self.reader.close_reason()
    }

    /// Returns the transport's error, if that is what ended the connection ([`Ended::Lost`]).
    #[must_use]
    pub fn error(&self) -> Option<io::Error> {
        let inner = self.shared.lock();
        inner.error.as_ref().map(crate::error::Lost::to_io)
    }

    // ---- look ----

    /// The subprotocol that was agreed upon in the opening handshake (§1.9).
    #[must_use]
    pub fn subprotocol(&self) -> Option<&str> {
        self.subprotocol.as_deref()
    }

    /// What was agreed upon for compression (RFC 7692), if anything.
    #[cfg(feature = "deflate")]
    #[must_use]
    pub const fn deflate(&self) -> Option<motews::deflate::DeflateParams> {
        self.deflate
    }

    /// What was received and sent so far, and what it was compressed to; `None` where nothing was
    /// agreed upon for compression.
    #[cfg(feature = "deflate")]
    #[must_use]
    pub fn traffic(&self) -> Option<crate::Traffic> {
        Some(crate::Traffic {
            received: self.reader.inflate.as_ref()?.received(),
            sent: self.shared.lock().packing.as_ref()?.sent,
        })
    }

    /// When the newest pong was received, and its payload: that of the ping that it answers
    /// (§5.5.3). The pings of the keepalive have none. The time since that ping was sent is the
    /// round trip, if a receive was running when the pong came.
    #[must_use]
    pub fn last_pong(&self) -> Option<(Instant, &[u8])> {
        let (at, payload) = self.reader.pong.as_ref()?;
        Some((*at, payload.as_bytes()))
    }

    /// Where the connection stands.
    #[must_use]
    pub fn state(&self) -> State {
        self.shared.lock().session.connection().state()
    }

    /// Returns how many bytes of frames wait to be written.
    #[must_use]
    pub fn buffered_amount(&self) -> usize {
        self.shared.lock().buffered_amount()
    }

    /// The stream: for its addresses and options. It may be set to non-blocking mode and back.
    pub fn stream(&self) -> &S {
        self.reader.forget_can_wait();
        &self.reader.stream
    }

    /// The stream. What is read from it or written to it breaks the connection.
    pub fn stream_mut(&mut self) -> &mut S {
        self.reader.forget_can_wait();
        &mut self.reader.stream
    }
}

impl<S: Share, R: Role> WebSocket<S, R> {
    /// A handle that sends from other threads, while this one receives. It can be cloned.
    ///
    /// # Errors
    /// Those of the operating system: too many open files. The first sender takes two for a pipe
    /// that wakes this thread, beside the stream's.
    pub fn sender(&self) -> io::Result<Sender<S, R>> {
        self.shared.prepare_wake()?;
        Ok(Sender::new(
            self.reader.stream.share()?,
            self.shared.clone(),
        ))
    }
}

/// A best effort, without waiting: see [Closing](WebSocket#closing).
impl<S: Transport, R: Role> Drop for WebSocket<S, R> {
    fn drop(&mut self) {
        if !self.reader.over {
            // RFC 6455 §7.3: a Close, as far as that needs no waiting [CL22]
            if self.close(CloseCode::GOING_AWAY, "").is_err() {
                // The connection was closing already: the reply to the peer's Close may be owed.
                let shared = &self.shared;
                shared.write(&mut shared.lock(), &mut self.reader);
            }
            // A sender's handle keeps the stream open, so its end is not left to the stream's drop.
            self.reader.abort(&self.shared);
        }
    }
}

impl<S: Transport, R: Role> fmt::Debug for WebSocket<S, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebSocket")
            .field("state", &self.state())
            .finish_non_exhaustive()
    }
}

/// As [`WebSocket::messages`].
impl<'a, S: Transport, R: Role> IntoIterator for &'a mut WebSocket<S, R> {
    type Item = Result<Message, RecvError>;
    type IntoIter = Messages<'a, S, R>;

    fn into_iter(self) -> Self::IntoIter {
        self.messages()
    }
}

/// The messages of a WebSocket: see [`WebSocket::messages`].
pub struct Messages<'a, S: Transport = NetStream, R: Role = Client<OsEntropy>> {
    socket: &'a mut WebSocket<S, R>,
    failed: bool,
}

impl<S: Transport, R: Role> Iterator for Messages<'_, S, R> {
    type Item = Result<Message, RecvError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let next = self.socket.recv().transpose();
        if let Some(Err(error)) = &next {
            self.failed = !error.is_would_block();
        }
        next
    }
}

impl<S: Transport, R: Role> fmt::Debug for Messages<'_, S, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Messages")
    }
}
