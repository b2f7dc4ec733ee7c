//! A WebSocket as one value, a `Stream` and a `Sink`.

use core::future::poll_fn;
use core::pin::Pin;
use core::task::{Context, Poll};

use futures_core::Stream;
use futures_sink::Sink;
use motews::{CloseCode, Ended, Pace, Role, Server};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::chunk::Chunk;
use crate::engine::{Agreement, Engine, now};
use crate::error::{RecvError, SendError, TrySendError};
use crate::handle::Registered;
use crate::inlined::inlined;
use crate::message::Message;
use crate::reader::MessageReader;
use crate::settings::Common;
use crate::shared::Access;
use crate::split::{Receiver, Sender, halves};
use crate::wakers::{Side, Slot};
use crate::writer::{BinaryWriter, TextWriter};

/// An open WebSocket over a stream of tokio's. `R` is its role, [`Server`] or
/// [`Client`](crate::role::Client).
///
/// It is a [`Stream`] of messages and a [`Sink`] for them, and has methods of its own that need no
/// further trait. Pongs and the reply to a Close are sent by whichever call reads them:
/// [`recv`](Self::recv) above all, and every call that waits to send.
///
/// # Cancel safety
/// Every future here may be dropped at any point, in a `select!` for example:
/// - [`recv`](Self::recv), `next`, [`next_chunk`](Self::next_chunk): no message is lost, and no part of
///   one.
/// - [`send`](Self::send): the message was taken whole or not at all. If that has to be known, use
///   [`reserve`](Self::reserve), which takes none, or [`try_send`](Self::try_send), which does not wait.
/// - [`feed`](Self::feed): the message was not taken, for it waits for room only.
/// - [`flush`](Self::flush), [`ping`](Self::ping), [`closed`](Self::closed): go on with the next call.
///
/// # When what was sent leaves
/// [`send`](Self::send) returns when the stream has taken everything. There is one exception: while
/// another message has been read and waits to be received, what is sent stays, so that the replies to
/// what came in one read leave in one write. They leave with the next `recv` that finds no message, at
/// the latest. Whoever does something else for long before that calls [`flush`](Self::flush): the reply to
/// the first of sixteen messages that came in one read, and then a pause of 5 s, leaves after the pause
/// with the others, or before it if it is flushed.
///
/// # The end
/// [`recv`](Self::recv) returns `None` once both Closes are through and the transport has ended, or an
/// error before that, once. [`close`](Self::close) queues a Close and returns;
/// [`closed`](Self::closed) waits for the end. A `WebSocketStream` that is dropped just closes its
/// transport.
///
/// # Panics
/// Whatever waits panics outside of a runtime of tokio's, or in one without a clock (`enable_time`).
#[derive(Debug)]
pub struct WebSocketStream<S, R = Server> {
    engine: Box<Engine<S, R>>,
    subprotocol: Option<Box<str>>,
}

impl<S: AsyncRead + AsyncWrite + Unpin, R: Role> WebSocketStream<S, R> {
    pub(crate) fn new(engine: Engine<S, R>, subprotocol: Option<String>) -> Self {
        Self {
            engine: Box::new(engine),
            subprotocol: subprotocol.map(String::into_boxed_str),
        }
    }

    /// Adopts a stream after an opening handshake that was made elsewhere.
    pub(crate) fn adopt(
        stream: S,
        role: R,
        agreed: Agreement,
        common: &Common,
        leftover: &[u8],
    ) -> Self {
        let pace = Pace::new(now());
        let settings = common.settings.clone();
        Self::new(
            Engine::new(stream, role, agreed, settings, leftover, pace),
            None,
        )
    }

    /// Lets its server shut it down.
    pub(crate) fn registered(mut self, registered: Option<Registered>) -> Self {
        if let Some(registered) = registered {
            self.engine.register(registered);
        }
        self
    }

    #[cfg(feature = "hyper")]
    pub(crate) fn with_subprotocol(mut self, subprotocol: Option<String>) -> Self {
        self.subprotocol = subprotocol.map(String::into_boxed_str);
        self
    }

    // ---- receive ----

    /// Waits for the next message; `None` after the end.
    ///
    /// Cancel-safe: no message is lost.
    ///
    /// # Errors
    /// See [`RecvError`]. It is returned once, and `None` after that.
    pub async fn recv(&mut self) -> Result<Option<Message>, RecvError> {
        // Without a future for what is there already: moving a message costs as much as decoding it.
        if let Some(message) = self.engine.next_kept() {
            return Ok(Some(message));
        }
        inlined(|cx| self.engine.poll_recv(cx)).await.transpose()
    }

    /// Waits for the next part of a message, for messages that are longer than there is memory for;
    /// `None` after the end. A message that came whole is one chunk.
    ///
    /// What a message may have in all is not limited: [`Limits::message`](crate::Limits::message) does not
    /// count for messages in parts, since none is kept. A chunk has at most some 64 KiB, if it was
    /// compressed some 320 KiB, and as much as `max_inbound` if it came while something was sent. Text
    /// is UTF-8; if it is not, the connection fails at the byte that shows it.
    ///
    /// It can be mixed with [`recv`](Self::recv), which drops what is left of a message that was begun.
    /// After a `None` or an error in the midst of a message, the message is not whole.
    ///
    /// Cancel-safe: no part is lost.
    ///
    /// # Errors
    /// See [`RecvError`]. It is returned once, and `None` after that.
    // [FR17]
    pub async fn next_chunk(&mut self) -> Result<Option<Chunk>, RecvError> {
        let chunk = poll_fn(|cx| self.engine.poll_chunk(cx, usize::MAX));
        chunk.await.transpose()
    }

    /// Waits for the next message to begin, and returns it as an `AsyncRead`; `None` after the end. As
    /// with [`next_chunk`](Self::next_chunk), it may be of any length. What was begun before and not read
    /// to its end is dropped first.
    ///
    /// Cancel-safe: no message is lost.
    ///
    /// # Errors
    /// See [`RecvError`]. It is returned once, and `None` after that.
    pub async fn recv_stream(&mut self) -> Result<Option<MessageReader<'_, S, R>>, RecvError> {
        MessageReader::begin(Access::Whole(&mut self.engine)).await
    }

    // ---- send ----

    /// Sends a message. Returns when the stream has taken it, or at once if
    /// [another message waits to be answered](Self#when-what-was-sent-leaves). While it waits, it reads. If
    /// `max_inbound` is reached after the message was taken, it returns as well, and the calls that follow
    /// write the rest.
    ///
    /// Cancel-safe: the message was taken whole or not at all.
    ///
    /// # Errors
    /// See [`SendError`].
    pub async fn send(&mut self, message: impl Into<Message>) -> Result<(), SendError> {
        if !self.engine.is_ready() {
            poll_fn(|cx| self.engine.poll_ready(cx, &mut Slot::whole(), true)).await?;
        }
        let accepted = self.engine.accept_open(message.into());
        accepted.map_err(|(_, error)| error)?;
        match self.engine.defers() {
            true => Ok(()),
            false => inlined(|cx| self.engine.poll_written(cx, &mut Slot::whole(), true)).await,
        }
    }

    /// Sends a message as it is, though others are compressed: for secrets, see
    /// [`Acceptor::deflate`](crate::Acceptor::deflate).
    ///
    /// Cancel-safe: the message was taken whole or not at all.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    // [PD30]
    #[cfg(feature = "deflate")]
    pub async fn send_uncompressed(
        &mut self,
        message: impl Into<Message>,
    ) -> Result<(), SendError> {
        let permit = self.reserve().await?;
        let accepted = permit.engine.accept_as(message.into(), None);
        accepted.map_err(|(_, error)| error)?;
        match self.engine.defers() {
            true => Ok(()),
            false => poll_fn(|cx| self.engine.poll_written(cx, &mut Slot::whole(), true)).await,
        }
    }

    /// Takes a message as soon as there is room, which leaves with those that are sent next, with
    /// [`flush`](Self::flush), or with the next `recv` that finds no message.
    ///
    /// Cancel-safe: the message was not taken.
    ///
    /// # Errors
    /// See [`SendError`].
    pub async fn feed(&mut self, message: impl Into<Message>) -> Result<(), SendError> {
        self.reserve().await?.feed(message)
    }

    /// Waits for room for a message. Cancel-safe.
    ///
    /// # Errors
    /// See [`SendError`].
    pub async fn reserve(&mut self) -> Result<Permit<'_, S, R>, SendError> {
        poll_fn(|cx| self.engine.poll_ready(cx, &mut Slot::whole(), true)).await?;
        Ok(Permit {
            engine: &mut self.engine,
        })
    }

    /// Sends a message if there is room for it, without waiting: it is written as far as the stream
    /// takes it now, and the rest with the next calls.
    ///
    /// # Errors
    /// [`TrySendError`], which has the message.
    pub fn try_send(&mut self, message: impl Into<Message>) -> Result<(), TrySendError> {
        self.engine.try_send(message.into())
    }

    /// Begins a text message whose length is not known yet (§5.4). See [`TextWriter`].
    #[must_use]
    pub fn stream_text(&mut self) -> TextWriter<'_, S, R> {
        TextWriter::new(Access::Whole(&mut self.engine))
    }

    /// Begins a binary message whose length is not known yet (§5.4). See [`BinaryWriter`].
    #[must_use]
    pub fn stream_binary(&mut self) -> BinaryWriter<'_, S, R> {
        BinaryWriter::new(Access::Whole(&mut self.engine))
    }

    /// Waits until the stream has taken everything that was sent. Cancel-safe.
    ///
    /// # Errors
    /// See [`SendError`].
    pub async fn flush(&mut self) -> Result<(), SendError> {
        poll_fn(|cx| self.engine.poll_flush(cx, &mut Slot::whole(), true)).await
    }

    /// Sends a ping with at most 125 bytes of payload. Nobody waits for its pong: silent peers are
    /// pinged and given up by [`Timeouts::keepalive`](crate::Timeouts::keepalive) anyway.
    ///
    /// Cancel-safe: the ping was taken or not.
    ///
    /// # Errors
    /// See [`SendError`].
    pub async fn ping(&mut self, payload: &[u8]) -> Result<(), SendError> {
        poll_fn(|cx| self.engine.poll_ready_to_ping(cx, &mut Slot::whole(), true)).await?;
        self.engine.ping(payload)?;
        poll_fn(|cx| self.engine.poll_written(cx, &mut Slot::whole(), true)).await
    }

    /// Returns the bytes that wait to be written.
    #[must_use]
    pub fn buffered_amount(&self) -> usize {
        self.engine.buffered_amount()
    }

    // ---- the end ----

    /// Begins the closing handshake: queues a Close behind what was sent, and returns. To see it
    /// through, call [`closed`](Self::closed), or [`recv`](Self::recv) until it returns `None`.
    ///
    /// # Errors
    /// [`SendError::Closed`] if a Close was sent or received before; [`SendError::Invalid`] if the code
    /// or the reason cannot be sent.
    pub fn close(&mut self, code: CloseCode, reason: &str) -> Result<(), SendError> {
        self.engine.close(code, reason)
    }

    /// Waits until the connection has ended, whoever ends it. Messages that still come are dropped.
    /// Cancel-safe.
    pub async fn closed(&mut self) -> Ended {
        poll_fn(|cx| self.engine.poll_closed(cx, Side::Reader, true)).await
    }

    /// Gives the connection up at once, without a closing handshake.
    pub fn abort(&mut self) {
        self.engine.abort();
    }

    /// Returns how the connection ended, once that is certain.
    #[must_use]
    pub fn ended(&self) -> Option<Ended> {
        self.engine.ended()
    }

    /// Returns the reason in the peer's Close, for people who look for a fault; empty if there was none.
    #[must_use]
    pub fn close_reason(&self) -> &str {
        self.engine.reason()
    }

    // ---- look ----

    /// Returns the subprotocol that both sides agreed on.
    #[must_use]
    pub fn subprotocol(&self) -> Option<&str> {
        self.subprotocol.as_deref()
    }

    /// Returns how messages are compressed, if they are.
    #[cfg(feature = "deflate")]
    #[must_use]
    pub fn deflate(&self) -> Option<motews::deflate::DeflateParams> {
        self.engine.deflate()
    }

    /// Returns the stream, to look at; `None` after the end, when it is closed.
    #[must_use]
    pub fn stream(&self) -> Option<&S> {
        self.engine.stream()
    }

    /// Splits it into halves for two tasks, without a further copy or task. Pongs and the reply to a
    /// Close stay automatic. What was [agreed on](Self::subprotocol) is asked for before.
    #[must_use]
    pub fn split(self) -> (Sender<S, R>, Receiver<S, R>) {
        halves(*self.engine)
    }
}

/// Room for a message: see [`WebSocketStream::reserve`].
#[derive(Debug)]
pub struct Permit<'a, S, R = Server> {
    engine: &'a mut Engine<S, R>,
}

impl<S: AsyncRead + AsyncWrite + Unpin, R: Role> Permit<'_, S, R> {
    /// Sends a message: it is written as far as the stream takes it now, and the rest with the next
    /// calls.
    ///
    /// # Errors
    /// See [`SendError`].
    pub fn send(self, message: impl Into<Message>) -> Result<(), SendError> {
        self.engine
            .accept(message.into())
            .map_err(|(_, error)| error)?;
        if !self.engine.defers() {
            self.engine.write_now();
        }
        Ok(())
    }

    /// The same, and gives the message back.
    pub(crate) fn try_feed(self, message: Message) -> Result<(), Message> {
        self.engine.accept(message).map_err(|(message, _)| message)
    }

    fn feed(self, message: impl Into<Message>) -> Result<(), SendError> {
        self.engine
            .accept(message.into())
            .map_err(|(_, error)| error)
    }
}

/// Messages, then an error if the connection did not end by a closing handshake.
impl<S: AsyncRead + AsyncWrite + Unpin, R: Role + Unpin> Stream for WebSocketStream<S, R> {
    type Item = Result<Message, RecvError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.engine.poll_recv(cx)
    }
}

/// Closing it sends a Close with the code 1000, and does not wait for the peer's.
impl<S: AsyncRead + AsyncWrite + Unpin, R: Role + Unpin, M: Into<Message>> Sink<M>
    for WebSocketStream<S, R>
{
    type Error = SendError;

    fn poll_ready(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), SendError>> {
        self.engine.poll_ready(cx, &mut Slot::whole(), false)
    }

    fn start_send(mut self: Pin<&mut Self>, message: M) -> Result<(), SendError> {
        self.engine
            .accept(message.into())
            .map_err(|(_, error)| error)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), SendError>> {
        self.engine.poll_flush(cx, &mut Slot::whole(), false)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), SendError>> {
        self.engine.poll_close(cx, &mut Slot::whole())
    }
}
