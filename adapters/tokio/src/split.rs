//! The halves of a connection, for two tasks.

use core::future::poll_fn;
use core::pin::Pin;
use core::sync::atomic::{AtomicBool, Ordering};
use core::task::{Context, Poll};
use std::sync::Arc;

use futures_core::Stream;
use futures_sink::Sink;
use motews::{CloseCode, Ended, Role, Server};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::chunk::Chunk;
use crate::engine::Engine;
use crate::error::{RecvError, SendError, TrySendError};
use crate::message::Message;
use crate::reader::MessageReader;
use crate::shared::{Access, Shared};
use crate::wakers::{Mark, Side, Slot};
use crate::writer::{BinaryWriter, TextWriter};

pub(crate) fn halves<S, R>(mut engine: Engine<S, R>) -> (Sender<S, R>, Receiver<S, R>)
where
    S: AsyncRead + AsyncWrite + Unpin,
    R: Role,
{
    engine.split();
    let shared = Shared::new(engine);
    (Sender::new(shared.clone()), Receiver(shared))
}

/// The half that receives: see [`WebSocketStream::split`](crate::WebSocketStream::split).
///
/// It answers pings and Closes. If it is dropped, what the peer sends is dropped as well, read only
/// while a [`Sender`] waits.
#[derive(Debug)]
pub struct Receiver<S: AsyncRead + AsyncWrite + Unpin, R: Role = Server>(Arc<Shared<S, R>>);

/// The half that sends: see [`WebSocketStream::split`](crate::WebSocketStream::split). It can be
/// cloned, for any number of tasks; they share the room of `max_backlog`.
///
/// The connection stays open as long as one of the halves is there. What was sent before the last one is
/// dropped, and was not taken by the stream, is lost: [`flush`](Self::flush), or close and wait for
/// the end.
#[derive(Debug)]
pub struct Sender<S, R = Server> {
    shared: Arc<Shared<S, R>>,
    /// For the `Sink`, whose calls are no futures.
    slot: Slot,
    /// Something was sent since: what the `Sink` has waited for is not enough.
    has_sent: AtomicBool,
}

impl<S, R> Sender<S, R> {
    const fn new(shared: Arc<Shared<S, R>>) -> Self {
        Self {
            shared,
            slot: Slot::NONE,
            has_sent: AtomicBool::new(false),
        }
    }

    /// As the `Sink`.
    fn poll<T>(&mut self, poll: impl FnOnce(&mut Engine<S, R>, &mut Slot) -> Poll<T>) -> Poll<T> {
        if core::mem::take(self.has_sent.get_mut()) {
            self.slot.mark = Mark::None;
        }
        poll(&mut self.shared.lock(), &mut self.slot)
    }

    /// The connection, to send.
    fn to_send(&self) -> &Arc<Shared<S, R>> {
        self.has_sent.store(true, Ordering::Relaxed);
        &self.shared
    }
}

impl<S, R> Clone for Sender<S, R> {
    fn clone(&self) -> Self {
        Self::new(self.shared.clone())
    }
}

impl<S, R> Drop for Sender<S, R> {
    fn drop(&mut self) {
        self.shared.forget(self.slot);
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin, R: Role> Receiver<S, R> {
    /// Waits for the next message; `None` after the end.
    ///
    /// Cancel-safe: no message is lost.
    ///
    /// # Errors
    /// See [`RecvError`]. It is returned once, and `None` after that.
    pub async fn recv(&mut self) -> Result<Option<Message>, RecvError> {
        poll_fn(|cx| self.0.lock().poll_recv(cx)).await.transpose()
    }

    /// Waits for the next part of a message: see
    /// [`WebSocketStream::next_chunk`](crate::WebSocketStream::next_chunk).
    ///
    /// Cancel-safe: no part is lost.
    ///
    /// # Errors
    /// See [`RecvError`].
    pub async fn next_chunk(&mut self) -> Result<Option<Chunk>, RecvError> {
        let chunk = poll_fn(|cx| self.0.lock().poll_chunk(cx, usize::MAX));
        chunk.await.transpose()
    }

    /// Waits for the next message to begin, and returns it as an `AsyncRead`: see
    /// [`WebSocketStream::recv_stream`](crate::WebSocketStream::recv_stream). Cancel-safe.
    ///
    /// # Errors
    /// See [`RecvError`].
    pub async fn recv_stream(&mut self) -> Result<Option<MessageReader<'_, S, R>>, RecvError> {
        MessageReader::begin(Access::Half(&self.0)).await
    }

    /// Waits until the connection has ended, whoever ends it. Messages that still come are dropped.
    /// Cancel-safe.
    pub async fn closed(&mut self) -> Ended {
        poll_fn(|cx| self.0.lock().poll_closed(cx, Side::Reader, true)).await
    }

    /// Returns how the connection ended, once that is certain.
    #[must_use]
    pub fn ended(&self) -> Option<Ended> {
        self.0.lock().ended()
    }

    /// Returns the reason in the peer's Close, for people who look for a fault; empty if there was none.
    #[must_use]
    pub fn close_reason(&self) -> String {
        self.0.lock().reason().to_owned()
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin, R: Role> Drop for Receiver<S, R> {
    fn drop(&mut self) {
        self.0.lock().discard();
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin, R: Role> Sender<S, R> {
    /// Sends a message: as [`WebSocketStream::send`](crate::WebSocketStream::send), but it never fails
    /// with [`SendError::InboundFull`], for the other half may be receiving.
    ///
    /// Cancel-safe: the message was taken whole or not at all.
    ///
    /// # Errors
    /// See [`SendError`].
    pub async fn send(&self, message: impl Into<Message>) -> Result<(), SendError> {
        let mut message = Some(message.into());
        self.to_send()
            .wait(|engine, cx, slot| engine.poll_send(cx, slot, &mut message))
            .await
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
    pub async fn send_uncompressed(&self, message: impl Into<Message>) -> Result<(), SendError> {
        let mut message = Some(message.into());
        self.to_send()
            .wait(|engine, cx, slot| engine.poll_send_uncompressed(cx, slot, &mut message))
            .await
    }

    /// Waits for room for a message. Cancel-safe. Several permits at once may go beyond `max_backlog`
    /// by a message each.
    ///
    /// # Errors
    /// See [`SendError`].
    pub async fn reserve(&self) -> Result<SendPermit<'_, S, R>, SendError> {
        self.to_send()
            .wait(|engine, cx, slot| engine.poll_ready(cx, slot, false))
            .await?;
        Ok(SendPermit(self))
    }

    /// Sends a message if there is room for it, without waiting.
    ///
    /// # Errors
    /// [`TrySendError`], which has the message.
    pub fn try_send(&self, message: impl Into<Message>) -> Result<(), TrySendError> {
        self.to_send().lock().try_send(message.into())
    }

    /// Sends a message that is worth sending only if no newer one is there: a frame of a video, a
    /// position. If the stream has taken everything that was sent before, it is sent at once. If not, it
    /// waits in a place of its own until that has left, and takes the place of the message that waits there;
    /// that one is returned, and is not sent. All clones of a sender share this place.
    ///
    /// It does not count for `max_backlog`, so at most one such message is kept for a peer that does not
    /// read. It does not wait; what is left is written as after [`try_send`](Self::try_send), and
    /// [`flush`](Self::flush) waits for it. [`close`](Self::close) sends it before the Close.
    ///
    /// What the operating system has taken cannot be replaced any more, and that may be seconds of a
    /// video: give the socket a small send buffer.
    ///
    /// # Errors
    /// See [`SendError`].
    pub fn send_newest(&self, message: impl Into<Message>) -> Result<Option<Message>, SendError> {
        self.to_send().lock().send_newest(message.into())
    }

    /// Begins a text message whose length is not known yet (§5.4). See [`TextWriter`].
    #[must_use]
    pub fn stream_text(&self) -> TextWriter<'_, S, R> {
        TextWriter::new(Access::Half(self.to_send()))
    }

    /// Begins a binary message whose length is not known yet (§5.4). See [`BinaryWriter`].
    #[must_use]
    pub fn stream_binary(&self) -> BinaryWriter<'_, S, R> {
        BinaryWriter::new(Access::Half(self.to_send()))
    }

    /// Waits until the stream has taken everything that was sent before, by any sender. What is sent
    /// meanwhile may follow it. Cancel-safe.
    ///
    /// # Errors
    /// See [`SendError`].
    pub async fn flush(&self) -> Result<(), SendError> {
        self.shared
            .wait(|engine, cx, slot| engine.poll_flush(cx, slot, false))
            .await
    }

    /// Sends a ping: see [`WebSocketStream::ping`](crate::WebSocketStream::ping).
    ///
    /// Cancel-safe: the ping was taken or not.
    ///
    /// # Errors
    /// See [`SendError`].
    pub async fn ping(&self, payload: &[u8]) -> Result<(), SendError> {
        let mut payload = Some(payload);
        self.to_send()
            .wait(|engine, cx, slot| engine.poll_ping(cx, slot, &mut payload))
            .await
    }

    /// Returns the bytes that wait to be written.
    #[must_use]
    pub fn buffered_amount(&self) -> usize {
        self.shared.lock().buffered_amount()
    }

    /// Begins the closing handshake: queues a Close behind what was sent, and returns. The
    /// [`Receiver`] sees it through, or [`closed`](Self::closed).
    ///
    /// # Errors
    /// [`SendError::Closed`] if a Close was sent or received before; [`SendError::Invalid`] if the code
    /// or the reason cannot be sent.
    pub fn close(&self, code: CloseCode, reason: &str) -> Result<(), SendError> {
        self.to_send().lock().close(code, reason)
    }

    /// Waits until the connection has ended, whoever ends it. Messages that come are the
    /// [`Receiver`]'s. Cancel-safe.
    pub async fn closed(&self) -> Ended {
        self.shared
            .wait(|engine, cx, slot| engine.poll_closed(cx, Side::Writer(slot), false))
            .await
    }

    /// Gives the connection up at once, without a closing handshake.
    pub fn abort(&self) {
        self.shared.lock().abort();
    }

    /// Returns how the connection ended, once that is certain.
    #[must_use]
    pub fn ended(&self) -> Option<Ended> {
        self.shared.lock().ended()
    }
}

/// Room for a message: see [`Sender::reserve`].
#[derive(Debug)]
pub struct SendPermit<'a, S, R = Server>(&'a Sender<S, R>);

impl<S: AsyncRead + AsyncWrite + Unpin, R: Role> SendPermit<'_, S, R> {
    /// Sends a message, without waiting.
    ///
    /// # Errors
    /// See [`SendError`].
    pub fn send(self, message: impl Into<Message>) -> Result<(), SendError> {
        let mut engine = self.0.shared.lock();
        engine.accept(message.into()).map_err(|(_, error)| error)?;
        engine.write_now();
        Ok(())
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin, R: Role> Stream for Receiver<S, R> {
    type Item = Result<Message, RecvError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.lock().poll_recv(cx)
    }
}

/// Closing it sends a Close with the code 1000, and does not wait for the peer's.
impl<S: AsyncRead + AsyncWrite + Unpin, R: Role, M: Into<Message>> Sink<M> for Sender<S, R> {
    type Error = SendError;

    fn poll_ready(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), SendError>> {
        self.get_mut()
            .poll(|engine, slot| engine.poll_ready(cx, slot, false))
    }

    fn start_send(self: Pin<&mut Self>, message: M) -> Result<(), SendError> {
        self.to_send()
            .lock()
            .accept(message.into())
            .map_err(|(_, error)| error)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), SendError>> {
        self.get_mut()
            .poll(|engine, slot| engine.poll_flush(cx, slot, false))
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), SendError>> {
        self.get_mut()
            .poll(|engine, slot| engine.poll_close(cx, slot))
    }
}
