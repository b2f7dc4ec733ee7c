//! The stream of a WebSocket inside a server on hyper.

use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll, ready};
use core::time::Duration;
use std::io;

use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use motews_net::http::Version;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

/// How often the end of a stream of HTTP/2 is looked at for a reset: some times at once, then after 1 ms,
/// 2 ms and so on, in total 63 ms.
const LOOKS: u8 = 16;
const LOOKS_AT_ONCE: u8 = 10;

/// The stream of a WebSocket inside a server on hyper: a connection of HTTP/1.1, or a stream of HTTP/2.
///
/// A stream of HTTP/2 that the peer resets (RST_STREAM) ends with
/// [`ConnectionReset`](io::ErrorKind::ConnectionReset), as RFC 8441 §5 has it: it stands for a TCP
/// connection that is reset. END_STREAM is the end of input.
#[derive(Debug)]
pub struct UpgradedStream {
    inner: TokioIo<Upgraded>,
    is_http2: bool,
    /// The end, that may yet turn out to be a reset.
    end: Option<End>,
    /// This side's half has ended: what ends the peer's is of no interest.
    is_shut_down: bool,
}

#[derive(Debug, Default)]
struct End {
    looks: u8,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl UpgradedStream {
    pub(crate) fn new(upgraded: Upgraded, version: Version) -> Self {
        Self {
            inner: TokioIo::new(upgraded),
            is_http2: version == Version::HTTP_2,
            end: None,
            is_shut_down: false,
        }
    }

    /// Waits until it is as good as certain whether the stream has ended or was reset.
    ///
    /// hyper takes a reset with CANCEL or NO_ERROR for the end when it reads. Its task that writes the
    /// stream is woken at the same time, and knows better; but nothing wakes this one after that.
    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(end) = self.end.as_mut().filter(|_| !self.is_shut_down) else {
            return Poll::Ready(Ok(()));
        };
        loop {
            if let Some(sleep) = &mut end.sleep {
                ready!(sleep.as_mut().poll(cx));
                end.sleep = None;
            }
            if let Poll::Ready(Err(error)) = Pin::new(&mut self.inner).poll_flush(cx) {
                return Poll::Ready(explain(true, Err(error)));
            }
            if end.looks == LOOKS {
                return Poll::Ready(Ok(()));
            }
            end.looks += 1;
            match end.looks.checked_sub(LOOKS_AT_ONCE) {
                Some(later) if later > 0 => {
                    let time = Duration::from_millis(1 << (later - 1));
                    end.sleep = Some(Box::pin(sleep(time)));
                }
                _ => {
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
            }
        }
    }

    /// Returns what hyper has given, to look at.
    #[must_use]
    pub fn upgraded(&self) -> &Upgraded {
        self.inner.inner()
    }

    fn inner(self: Pin<&mut Self>) -> Pin<&mut TokioIo<Upgraded>> {
        Pin::new(&mut self.get_mut().inner)
    }
}

/// hyper has no kind for what ends a stream of HTTP/2.
fn explain<T>(is_http2: bool, result: io::Result<T>) -> io::Result<T> {
    result.map_err(|error| match error.kind() {
        io::ErrorKind::Other if is_http2 => io::Error::new(io::ErrorKind::ConnectionReset, error),
        _ => error,
    })
}

impl AsyncRead for UpgradedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.end.is_some() {
            return self.poll_end(cx);
        }
        let is_http2 = self.is_http2;
        let (before, room) = (buf.filled().len(), buf.remaining());
        let read = ready!(self.as_mut().inner().poll_read(cx, buf));
        explain(is_http2, read)?;
        if is_http2 && room > 0 && buf.filled().len() == before {
            self.end = Some(End::default());
            return self.poll_end(cx);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for UpgradedStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let is_http2 = self.is_http2;
        let written = self.inner().poll_write(cx, bytes);
        written.map(|written| explain(is_http2, written))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let is_http2 = self.is_http2;
        let written = self.inner().poll_write_vectored(cx, parts);
        written.map(|written| explain(is_http2, written))
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let is_http2 = self.is_http2;
        let flushed = self.inner().poll_flush(cx);
        flushed.map(|flushed| explain(is_http2, flushed))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let is_http2 = self.is_http2;
        self.is_shut_down = true;
        let ended = self.inner().poll_shutdown(cx);
        ended.map(|ended| explain(is_http2, ended))
    }
}
