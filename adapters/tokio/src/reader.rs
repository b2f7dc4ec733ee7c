//! A message that is read piece by piece.

use core::future::poll_fn;
use core::pin::Pin;
use core::task::{Context, Poll, ready};
use std::io;

use motews::{DataKind, Role, Server};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::error::RecvError;
use crate::shared::Access;

/// A message that is arriving, to be read piece by piece:
/// [`recv_stream`](crate::WebSocketStream::recv_stream). Its bytes end where the message ends. If it does
/// not arrive whole, reading fails, with [`UnexpectedEof`](io::ErrorKind::UnexpectedEof) if the peer
/// closed in the midst of it.
///
/// Dropped before its end, nothing is lost: [`next_chunk`](crate::WebSocketStream::next_chunk) goes on
/// with it, all other ways to receive drop what is left of it.
///
/// ```no_run
/// # async fn f(mut ws: motews_tokio::WebSocketStream<tokio::net::TcpStream>) -> Result<(), Box<dyn std::error::Error>> {
/// # let mut file = tokio::io::sink();
/// if let Some(mut message) = ws.recv_stream().await? {
///     tokio::io::copy(&mut message, &mut file).await?;
/// }
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct MessageReader<'a, S, R = Server> {
    access: Access<'a, S, R>,
    kind: DataKind,
    /// It was read to its end.
    is_done: bool,
}

impl<'a, S: AsyncRead + AsyncWrite + Unpin, R: Role> MessageReader<'a, S, R> {
    /// Waits for the next message.
    pub(crate) async fn begin(mut access: Access<'a, S, R>) -> Result<Option<Self>, RecvError> {
        let kind = poll_fn(|cx| access.with(|engine| engine.poll_begin(cx)));
        let kind = kind.await.transpose()?;
        Ok(kind.map(|kind| Self {
            access,
            kind,
            is_done: false,
        }))
    }

    /// Returns whether the message is text or binary. The bytes of a text are UTF-8 as a whole.
    #[must_use]
    pub const fn kind(&self) -> DataKind {
        self.kind
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin, R: Role> AsyncRead for MessageReader<'_, S, R> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let most = buf.remaining();
        // The last part of a message may be empty, and is not its end if there is no room to ask for it.
        if this.is_done || most == 0 {
            return Poll::Ready(Ok(()));
        }
        let chunk = ready!(this.access.with(|engine| engine.poll_chunk(cx, most)));
        match chunk {
            Some(Ok(chunk)) => {
                buf.put_slice(&chunk.bytes);
                this.is_done = chunk.last;
                Poll::Ready(Ok(()))
            }
            Some(Err(error)) => Poll::Ready(Err(error.into())),
            None => Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
        }
    }
}
