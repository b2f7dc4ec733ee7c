//! A stream during the opening handshake, and its deadline.

use core::future::Future;
use core::time::Duration;
use std::io;

use motews::handshake::Header;
use motews::{Limits, Pace, Timeouts};
use motews_net::http::{HeaderMap, HeaderName, HeaderValue};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::{Instant, timeout_at};

use crate::engine::{millis, now};

/// The longest line that is needed whole, in bytes: the request line above all.
const MAX_LINE: usize = 8 * 1024;

pub(crate) struct Pipe<S> {
    pub(crate) stream: S,
    pub(crate) pace: Pace,
    /// What was read and not taken.
    pub(crate) input: Vec<u8>,
    timeouts: Timeouts,
}

impl<S> Pipe<S> {
    pub(crate) fn new(stream: S, timeouts: Timeouts) -> Self {
        Self {
            stream,
            pace: Pace::new(now()),
            input: Vec::new(),
            timeouts,
        }
    }

    /// The same over another stream.
    #[cfg(feature = "tls")]
    pub(crate) fn over<T>(self, stream: T) -> Pipe<T> {
        Pipe {
            stream,
            pace: self.pace,
            input: self.input,
            timeouts: self.timeouts,
        }
    }

    /// How long it is until the deadline: that of the opening handshake is not lengthened by what
    /// comes, that of a response is by what the peer takes.
    // [HS22] [HC25]
    fn due(&self) -> io::Result<Option<Instant>> {
        let now = Instant::now();
        let millis = millis(now);
        match self.pace.poll(millis, &self.timeouts) {
            Some(_) => Err(io::ErrorKind::TimedOut.into()),
            None => Ok(self
                .pace
                .poll_at(&self.timeouts)
                .map(|at| now + Duration::from_millis(at.since(millis).into()))),
        }
    }

    /// Lets something else of the handshake take no longer than that. What is returned does not borrow the
    /// stream, which need not be `Sync`.
    pub(crate) fn limit<T, F>(
        &self,
        future: F,
    ) -> impl Future<Output = io::Result<T>> + use<S, T, F>
    where
        F: Future<Output = T>,
    {
        let due = self.due();
        async move { limited(due?, async { Ok(future.await) }).await }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Pipe<S> {
    /// Writes all of it.
    pub(crate) async fn write(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        let mut taken = 0;
        loop {
            let now = now();
            self.pace.sent(now, &self.timeouts, taken, bytes.len());
            let due = self.due()?;
            if bytes.is_empty() {
                return limited(due, self.stream.flush()).await;
            }
            taken = limited(due, self.stream.write(bytes)).await?;
            if taken == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            bytes = &bytes[taken..];
        }
    }

    /// Reads some more into `input`; 0 at the end of the stream.
    pub(crate) async fn read(&mut self) -> io::Result<usize> {
        let due = self.due()?;
        self.input.reserve(1024);
        limited(due, self.stream.read_buf(&mut self.input)).await
    }

    /// After a last response: ends this side's half, and lets the peer read it before the stream is
    /// closed.
    pub(crate) async fn linger(&mut self) -> io::Result<()> {
        let now = now();
        self.pace.draining(now, &self.timeouts);
        limited(self.due()?, self.stream.shutdown()).await?;
        while self.read().await? > 0 {
            self.input.clear();
        }
        Ok(())
    }
}

async fn limited<T>(
    due: Option<Instant>,
    io: impl Future<Output = io::Result<T>>,
) -> io::Result<T> {
    match due {
        Some(at) => timeout_at(at, io)
            .await
            .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?,
        None => io.await,
    }
}

/// The room for one line of a head.
pub(crate) fn line(limits: Limits) -> Vec<u8> {
    vec![0; MAX_LINE.min(limits.head as usize)]
}

/// All that a piecewise writer writes.
pub(crate) fn written(mut emit: impl FnMut(usize, &mut [u8]) -> usize) -> Vec<u8> {
    let mut out = Vec::new();
    let mut piece = [0; 1024];
    while let len @ 1.. = emit(out.len(), &mut piece) {
        out.extend_from_slice(&piece[..len]);
    }
    out
}

/// Headers as core takes them. What is no text is refused by core as a control character is.
pub(crate) fn pairs(headers: &HeaderMap) -> Vec<(&str, &str)> {
    let pairs = headers.iter();
    pairs
        .map(|(name, value)| (name.as_str(), value.to_str().unwrap_or("\0")))
        .collect()
}

/// The headers that are arriving.
#[derive(Default)]
pub(crate) struct Headers {
    map: HeaderMap,
    last: Option<(HeaderName, Vec<u8>)>,
}

impl Headers {
    /// Adds a header, or a further part of the last one.
    pub(crate) fn push(&mut self, part: &Header<'_>) {
        if part.first {
            self.end();
            let name = HeaderName::from_bytes(part.name.as_bytes());
            self.last = name.ok().map(|name| (name, Vec::new()));
        }
        if let Some((_, value)) = &mut self.last {
            value.extend_from_slice(part.value);
        }
    }

    fn end(&mut self) {
        if let Some((name, value)) = self.last.take()
            && let Ok(value) = HeaderValue::from_bytes(&value)
        {
            // It has room for 32,768.
            let _ = self.map.try_append(name, value);
        }
    }

    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    pub(crate) fn take(&mut self) -> HeaderMap {
        self.end();
        core::mem::take(&mut self.map)
    }
}
