//! Messages whose length is not known when they begin (RFC 6455 §5.4).

use core::future::poll_fn;
use core::pin::Pin;
use core::task::{Context, Poll, ready};
use std::io;

use motews::{DataKind, Role, Server};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::engine::Fragment;
use crate::error::SendError;
use crate::shared::Access;
use crate::wakers::Slot;

/// A frame is sent when this much has come together, in bytes.
const FRAGMENT_LEN: usize = 16 * 1024;

#[derive(Debug)]
struct Fragments<'a, S: AsyncRead + AsyncWrite + Unpin, R: Role> {
    access: Access<'a, S, R>,
    slot: Slot,
    kind: DataKind,
    buffer: Vec<u8>,
    /// A fragment of the message was taken.
    has_begun: bool,
    is_finished: bool,
}

impl<'a, S: AsyncRead + AsyncWrite + Unpin, R: Role> Fragments<'a, S, R> {
    const fn new(access: Access<'a, S, R>, kind: DataKind) -> Self {
        Self {
            slot: access.slot(),
            access,
            kind,
            buffer: Vec::new(),
            has_begun: false,
            is_finished: false,
        }
    }

    /// Waits until the buffer has room, then adds to it, `most` bytes of `bytes` at most. Returns how much
    /// was added.
    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &[u8],
        most: usize,
    ) -> Poll<Result<usize, SendError>> {
        if self.is_finished {
            return Poll::Ready(Err(SendError::Closed));
        }
        if self.buffer.len() >= FRAGMENT_LEN {
            ready!(self.poll_send(cx, false))?;
        }
        let len = bytes.len().min(most);
        self.buffer.extend_from_slice(&bytes[..len]);
        Poll::Ready(Ok(len))
    }

    /// Waits for room, then sends what has come together as a fragment. Before the message has begun, none
    /// may be in the midst of its fragments.
    fn poll_send(&mut self, cx: &mut Context<'_>, fin: bool) -> Poll<Result<(), SendError>> {
        let fragment = Fragment {
            kind: self.kind,
            first: !self.has_begun,
            fin,
        };
        let (slot, buffer) = (&mut self.slot, &mut self.buffer);
        ready!(
            self.access
                .with(|engine| engine.poll_fragment(cx, slot, fragment, buffer))
        )?;
        self.has_begun = true;
        self.is_finished = fin;
        Poll::Ready(Ok(()))
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), SendError>> {
        if !self.buffer.is_empty() {
            ready!(self.poll_send(cx, false))?;
        }
        let slot = &mut self.slot;
        self.access
            .with(|engine| engine.poll_flush_fragments(cx, slot))
    }

    /// Ends the message, then waits until it is written.
    fn poll_finish(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), SendError>> {
        if !self.is_finished {
            ready!(self.poll_send(cx, true))?;
        }
        let slot = &mut self.slot;
        self.access.with(|engine| match engine.defers() {
            true => Poll::Ready(Ok(())),
            false => engine.poll_flush(cx, slot, false),
        })
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin, R: Role> Drop for Fragments<'_, S, R> {
    fn drop(&mut self) {
        self.access.forget(self.slot);
        if self.has_begun && !self.is_finished {
            self.access.with(|engine| engine.abandon_message());
        }
    }
}

/// A binary message that is being sent piece by piece:
/// [`stream_binary`](crate::WebSocketStream::stream_binary).
///
/// It leaves in fragments of 16 KiB to 32 KiB, or as [`flush`](tokio::io::AsyncWriteExt::flush) cuts it.
/// `finish` ends it, and so does [`shutdown`](tokio::io::AsyncWriteExt::shutdown). What other
/// [`Sender`](crate::Sender)s send waits until it is finished. Dropped unfinished, it was never begun if
/// nothing of it was sent; otherwise the peer must not take what it has for a message, so the connection
/// closes with the code 1011.
///
/// If messages are compressed, so is this, and what was flushed may still wait to be compressed with
/// more.
///
/// While it waits, it reads, and keeps what comes until it is received: as much as `max_inbound`. A peer
/// that sends more than that before it reads is given up after
/// [`Timeouts::write`](crate::Timeouts::write), unless a [`Receiver`](crate::Receiver) receives meanwhile.
///
/// # Cancel safety
/// `write` was taken as far as it says, or not at all if it is dropped; `flush` goes on with the next
/// call; `finish` has ended the message, or, if it waited for another message to be finished, has
/// dropped this one.
///
/// ```no_run
/// # async fn f(mut ws: motews_tokio::WebSocketStream<tokio::net::TcpStream>) -> Result<(), Box<dyn std::error::Error>> {
/// # let mut file = tokio::io::empty();
/// let mut message = ws.stream_binary();
/// tokio::io::copy(&mut file, &mut message).await?;
/// message.finish().await?;
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct BinaryWriter<'a, S: AsyncRead + AsyncWrite + Unpin, R: Role = Server>(
    Fragments<'a, S, R>,
);

/// A text message that is being sent piece by piece:
/// [`stream_text`](crate::WebSocketStream::stream_text). All else is as with a [`BinaryWriter`].
#[derive(Debug)]
pub struct TextWriter<'a, S: AsyncRead + AsyncWrite + Unpin, R: Role = Server>(Fragments<'a, S, R>);

impl<S: AsyncRead + AsyncWrite + Unpin, R: Role> TextWriter<'_, S, R> {
    /// Adds to the message. Cancel-safe: `text` was taken whole or not at all.
    ///
    /// # Errors
    /// See [`SendError`].
    pub async fn write(&mut self, text: &str) -> Result<(), SendError> {
        poll_fn(|cx| self.0.poll_write(cx, text.as_bytes(), usize::MAX)).await?;
        Ok(())
    }

    /// Sends what has come together so far as a fragment, and waits until the stream has taken it.
    /// Cancel-safe.
    ///
    /// # Errors
    /// See [`SendError`].
    pub async fn flush(&mut self) -> Result<(), SendError> {
        poll_fn(|cx| self.0.poll_flush(cx)).await
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin, R: Role> AsyncWrite for BinaryWriter<'_, S, R> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = self.get_mut().0.poll_write(cx, buf, FRAGMENT_LEN);
        written.map_err(Into::into)
    }

    /// Sends what has come together so far as a fragment.
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().0.poll_flush(cx).map_err(Into::into)
    }

    /// Ends the message.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().0.poll_finish(cx).map_err(Into::into)
    }
}

/// What both have.
macro_rules! writer {
    ($writer:ident: $kind:ident) => {
        impl<'a, S: AsyncRead + AsyncWrite + Unpin, R: Role> $writer<'a, S, R> {
            pub(crate) const fn new(access: Access<'a, S, R>) -> Self {
                Self(Fragments::new(access, DataKind::$kind))
            }

            /// Ends the message, and waits until the stream has taken it. The last fragment is taken at
            /// once, whether there is room or not.
            ///
            /// If the future is dropped, the message has ended; or, if it waited for another message to be
            /// finished, none of it was sent.
            ///
            /// # Errors
            /// See [`SendError`].
            pub async fn finish(mut self) -> Result<(), SendError> {
                poll_fn(|cx| self.0.poll_finish(cx)).await
            }
        }
    };
}
writer!(BinaryWriter: Binary);
writer!(TextWriter: Text);
