//! [`TlsTunnel`]: where a WebSocket and the [`Pump`] meet, and [`TlsStream`], the WebSocket's side of it.

use core::cell::Cell;
use core::fmt;
use core::future::poll_fn;
use core::pin::Pin;
use core::task::{Poll, Waker};

use embedded_io_async::{ErrorType, Read, Write};

use super::error::TlsError;
use super::ring::{Ring, wake};
use crate::Duplex;

/// The place where a WebSocket and the [`Pump`] of its TLS session meet: two small rings of bytes, in
/// memory that is lent.
///
/// 256 bytes each will do. A longer `outgoing` makes longer records of a large message, down to the
/// length of the buffer for a record.
pub struct TlsTunnel<'a> {
    pub(super) incoming: Ring<'a>,
    pub(super) outgoing: Ring<'a>,
    /// Nothing more comes in: the session's end.
    end: Cell<Option<Result<(), TlsError>>>,
    /// Nothing more may be put into `outgoing`.
    refused: Cell<Option<TlsError>>,
    pub(super) sending: Cell<Sending>,
    pub(super) flush_wanted: Cell<bool>,
    /// The handshake of TLS was successful.
    is_open: Cell<bool>,
    /// Who waits for that.
    opening: Cell<Option<Waker>>,
    /// How many halves of the stream there are.
    halves: Cell<u8>,
    /// The pump, which waits for the stream to be dropped.
    pump: Cell<Option<Waker>>,
    has_pump: Cell<bool>,
    /// Who waits for both ends to be dropped.
    next: Cell<Option<Waker>>,
}

/// What became of the bytes that were put into `outgoing`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Sending {
    /// The transport has flushed them.
    Flushed,
    /// The transport has them, or is getting them.
    Written,
    /// Some may wait here, or in a record that is not complete.
    Waiting,
}

/// A WebSocket's transport over TLS: both halves of it, so that the WebSocket can be
/// [`split`](crate::asynch::WebSocket::split).
///
/// Cancel-safe: any future of it may be dropped at any time. Once TLS has ended in good order, reading
/// returns 0; otherwise the [`TlsError`]. Dropping it ends the session: the [`Pump`] sends what was
/// written and the end of TLS, and returns.
pub type TlsStream<'t> = Duplex<TlsReader<'t>, TlsWriter<'t>>;

/// Moves the bytes of a [`TlsTunnel`], and keeps the TLS session: await [`run`](Self::run).
#[derive(Debug)]
pub struct Pump<'t> {
    pub(super) tunnel: &'t TlsTunnel<'t>,
}

impl Drop for Pump<'_> {
    fn drop(&mut self) {
        self.tunnel.drop_pump();
    }
}

/// The half of a [`TlsStream`] that is read.
#[derive(Debug)]
pub struct TlsReader<'t> {
    tunnel: &'t TlsTunnel<'t>,
}

/// The half of a [`TlsStream`] that is written.
#[derive(Debug)]
pub struct TlsWriter<'t> {
    tunnel: &'t TlsTunnel<'t>,
}

impl<'a> TlsTunnel<'a> {
    /// Returns a tunnel in this memory.
    pub fn new(incoming: &'a mut [u8], outgoing: &'a mut [u8]) -> Self {
        Self {
            incoming: Ring::new(incoming),
            outgoing: Ring::new(outgoing),
            end: Cell::new(None),
            refused: Cell::new(None),
            sending: Cell::new(Sending::Flushed),
            flush_wanted: Cell::new(false),
            is_open: Cell::new(false),
            opening: Cell::new(None),
            halves: Cell::new(0),
            pump: Cell::new(None),
            has_pump: Cell::new(false),
            next: Cell::new(None),
        }
    }

    /// Returns the two ends of it: the transport of a WebSocket, and the pump that moves its bytes. What
    /// a session before has left is gone.
    pub fn ends(&mut self) -> (TlsStream<'_>, Pump<'_>) {
        self.begin()
    }

    /// As [`ends`](Self::ends), for the next session in the same place: for who connects again in one
    /// task, and has the pump in another. Waits until both ends of the session before were dropped.
    /// Cancel-safe.
    pub async fn next_ends(&self) -> (TlsStream<'_>, Pump<'_>) {
        poll_fn(|context| match self.is_dropped() && !self.has_pump.get() {
            true => Poll::Ready(self.begin()),
            false => {
                self.next.set(Some(context.waker().clone()));
                Poll::Pending
            }
        })
        .await
    }

    fn begin(&self) -> (TlsStream<'_>, Pump<'_>) {
        self.incoming.clear();
        self.outgoing.clear();
        self.end.set(None);
        self.refused.set(None);
        self.sending.set(Sending::Flushed);
        self.flush_wanted.set(false);
        self.is_open.set(false);
        self.halves.set(2);
        self.has_pump.set(true);
        let stream = Duplex {
            reader: TlsReader { tunnel: self },
            writer: TlsWriter { tunnel: self },
        };
        (stream, Pump { tunnel: self })
    }

    /// Waits until the handshake of TLS is over and the server has proven who it is: for a `connect` of
    /// [`Reconnecting`](crate::asynch::Reconnecting), which is to know why an attempt has failed. A
    /// WebSocket that is opened at once need not wait. Cancel-safe.
    ///
    /// # Errors
    /// How the session ended before it was open; [`TlsError::Closed`] if TLS was ended in good order.
    pub async fn opened(&self) -> Result<(), TlsError> {
        poll_fn(|context| match (self.is_open.get(), self.end.get()) {
            (true, _) => Poll::Ready(Ok(())),
            (false, Some(end)) => Poll::Ready(Err(end.err().unwrap_or(TlsError::Closed))),
            (false, None) => {
                self.opening.set(Some(context.waker().clone()));
                Poll::Pending
            }
        })
        .await
    }

    /// The handshake of TLS was successful.
    pub(super) fn open(&self) {
        self.is_open.set(true);
        wake(&self.opening);
    }

    /// How the session ended: `Ok` if TLS was ended in good order, by whichever side. `None` while it
    /// lives.
    pub const fn end(&self) -> Option<Result<(), TlsError>> {
        self.end.get()
    }

    /// The session has ended so. The first counts.
    pub(super) fn end_with(&self, end: Result<(), TlsError>) {
        if self.end.get().is_none() {
            self.end.set(Some(end));
        }
        self.refuse(end.err().unwrap_or(TlsError::Closed));
        self.incoming.wake();
        wake(&self.opening);
    }

    /// Nothing can be sent any more, for this reason. The first counts.
    pub(super) fn refuse(&self, error: TlsError) {
        if self.refused.get().is_none() {
            self.refused.set(Some(error));
        }
        self.outgoing.wake();
    }

    /// Whether nothing will be put into `outgoing` any more.
    pub(super) const fn is_over(&self) -> bool {
        self.is_dropped() || self.refused.get().is_some()
    }

    /// Whether the stream is gone.
    pub(super) const fn is_dropped(&self) -> bool {
        self.halves.get() == 0
    }

    /// Awaits `future`, unless the stream is dropped before.
    pub(super) async fn unless_dropped<V>(
        &self,
        mut future: Pin<&mut impl Future<Output = V>>,
    ) -> Option<V> {
        poll_fn(move |context| {
            if let Poll::Ready(value) = future.as_mut().poll(context) {
                return Poll::Ready(Some(value));
            }
            self.pump.set(Some(context.waker().clone()));
            match self.is_dropped() {
                true => Poll::Ready(None),
                false => Poll::Pending,
            }
        })
        .await
    }

    /// A half of the stream is gone.
    fn drop_half(&self) {
        self.halves.set(self.halves.get().saturating_sub(1));
        if self.is_dropped() {
            self.incoming.wake();
            self.outgoing.wake();
            wake(&self.pump);
            wake(&self.next);
        }
    }

    /// The pump is gone.
    pub(super) fn drop_pump(&self) {
        self.end_with(Err(TlsError::PumpDropped));
        self.has_pump.set(false);
        wake(&self.next);
    }
}

impl fmt::Debug for TlsTunnel<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsTunnel")
            .field("end", &self.end.get())
            .finish_non_exhaustive()
    }
}

impl ErrorType for TlsReader<'_> {
    type Error = TlsError;
}

impl Read for TlsReader<'_> {
    async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, TlsError> {
        let tunnel = self.tunnel;
        let is_empty = buffer.is_empty();
        let taken = || match tunnel.incoming.take(buffer) {
            0 if !is_empty => tunnel.end.get().map(|end| end.map(|()| 0)),
            len => Some(Ok(len)),
        };
        tunnel.incoming.until_taken(taken).await
    }
}

impl Drop for TlsReader<'_> {
    fn drop(&mut self) {
        self.tunnel.drop_half();
    }
}

impl ErrorType for TlsWriter<'_> {
    type Error = TlsError;
}

impl Write for TlsWriter<'_> {
    async fn write(&mut self, bytes: &[u8]) -> Result<usize, TlsError> {
        let tunnel = self.tunnel;
        let put = || {
            if let Some(error) = tunnel.refused.get() {
                return Some(Err(error));
            }
            let len = tunnel.outgoing.put(bytes);
            if len > 0 {
                tunnel.sending.set(Sending::Waiting);
            }
            (len > 0 || bytes.is_empty()).then_some(Ok(len))
        };
        tunnel.outgoing.until_put(put).await
    }

    /// Waits until the transport has everything, and was flushed.
    async fn flush(&mut self) -> Result<(), TlsError> {
        let tunnel = self.tunnel;
        if tunnel.sending.get() != Sending::Flushed {
            tunnel.flush_wanted.set(true);
            tunnel.outgoing.wake();
        }
        let flushed = || match (tunnel.sending.get(), tunnel.refused.get()) {
            (Sending::Flushed, _) => Some(Ok(())),
            (_, Some(error)) => Some(Err(error)),
            (_, None) => None,
        };
        tunnel.outgoing.until_put(flushed).await
    }
}

impl Drop for TlsWriter<'_> {
    fn drop(&mut self) {
        self.tunnel.drop_half();
    }
}
