//! The async WebSocket, over [`embedded_io_async`].
//!
//! # Cancel-safe
//! Any future here may be dropped at any time, by a `select` with a timer or a channel for example:
//! no byte is lost, no frame is torn, and the next call goes on where it stopped. No state is in a
//! future: what was read lies in the receive buffer, what is to be written in the transmit buffer.
//!
//! This asks the same of the transport: dropping the future of its `read` has read nothing, of its
//! `write` has written nothing. embedded-io-async calls such a transport side-effect-free on cancel;
//! those of embassy-net and tokio are, and a `TlsStream` of the feature `tls`; `embedded-tls` itself is
//! not. Over one that is not, drop no future that you want to go on with, and give no timer, which
//! drops them as well.
//!
//! To receive and send at the same time, see [`WebSocket::split`].

#![expect(
    clippy::manual_async_fn,
    reason = "an async fn keeps its arguments twice, and these futures lie in RAM"
)]

use core::future::poll_fn;
use core::pin::pin;
use core::task::Poll;

use embedded_io_async::{ErrorType, Read, Write};

use crate::face::prelude::*;
use crate::output::Io;
use crate::time::AsyncTime;

pub use crate::reconnect::{Interruption, Task, Update};
pub use reconnect::{Reconnecting, Socket};

macro_rules! out {
    ($value:ty) => {
        impl Future<Output = Result<$value, Error<T::Error>>>
    };
}

macro_rules! body {
    ($body:block) => {
        async move $body
    };
}

macro_rules! wait {
    ($call:expr) => {
        $call.await
    };
}

/// Calls `$put` until it has put something into the transmit buffer.
macro_rules! put {
    ($reply:expr, $put:expr) => {
        async move {
            loop {
                if let Some(value) = $reply.engine.put($put)? {
                    return Ok(value);
                }
                write!($reply, Io::Write);
            }
        }
    };
}

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

/// Writes, or flushes. In place, for a future in a future costs memory.
macro_rules! write {
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
            Err(error) => {
                // Whatever the error is, what waits has its deadline.
                $reply.engine.late()?;
                $reply.engine.failed(error)?;
            }
        }
    }};
}

mod reconnect;

websocket!(
    "asynch",
    AsyncTime,
    "\n\nCancel-safe: if the future is dropped, nothing of it was sent."
);

impl<'a, T: Read + Write, R: Role, K: AsyncTime> WebSocket<'a, T, R, K> {
    /// Does what the engine wants until it is done.
    fn drive<V>(
        &mut self,
        mut next: impl FnMut(&mut Engine<'a, T, R, K>, &mut Input<'a>) -> Result<Next<V>, Failure>,
    ) -> impl Future<Output = Result<V, Error<T::Error>>> {
        async move {
            loop {
                // A statement of its own, or what it finds would lie in the future.
                let io = match next(&mut self.reply.engine, &mut self.input)? {
                    Next::Done(value) => return Ok(value),
                    Next::Io(io) => io,
                };
                if K::COMES_BACK && self.reply.engine.reads_meanwhile(&mut self.input, io) {
                    self.write_or_read(io).await?;
                    continue;
                }
                if io != Io::Read {
                    write!(self.reply, io);
                    continue;
                }
                let engine = &mut self.reply.engine;
                let read = in_time!(
                    engine,
                    io,
                    engine.transport.read(self.input.window().spare())
                );
                match read {
                    Ok(Some(len)) => self.reply.engine.read(&mut self.input, len),
                    Ok(None) => {}
                    Err(error) => self.reply.engine.failed(error)?,
                }
            }
        }
    }
}

/// What a transport has done first.
enum Moved {
    Written(usize),
    Flushed,
    Read(usize),
}

impl<T: Read + Write, R: Role, K: AsyncTime> WebSocket<'_, T, R, K> {
    /// Writes or flushes, and reads if the transport is not ready for that yet.
    async fn write_or_read(&mut self, io: Io) -> Result<(), Error<T::Error>> {
        let engine = &mut self.reply.engine;
        let at = engine.wake_at(io);
        let moved = {
            let mut timer = pin!(engine.time.wait_until(at));
            let (transport, output) = (&mut engine.transport, &mut engine.output);
            let room = self.input.window().spare();
            // Both want the same transport, so they take turns: their futures may be dropped.
            poll_fn(|context| {
                let done = if io == Io::Flush {
                    let flushed = pin!(transport.flush()).poll(context);
                    flushed.map(|flushed| flushed.map(|()| Moved::Flushed))
                } else {
                    let written = pin!(transport.write(output.unwritten())).poll(context);
                    written.map(|written| written.map(Moved::Written))
                };
                if let Poll::Ready(done) = done {
                    return Poll::Ready(Some(done));
                }
                let read = pin!(transport.read(room)).poll(context);
                if let Poll::Ready(read) = read {
                    return Poll::Ready(Some(read.map(Moved::Read)));
                }
                timer.as_mut().poll(context).map(|()| None)
            })
            .await
        };
        match moved {
            Some(Ok(Moved::Written(len))) => engine.written(len)?,
            Some(Ok(Moved::Flushed)) => engine.flushed(),
            Some(Ok(Moved::Read(len))) => {
                engine.read(&mut self.input, len);
                engine.late()?; // Who sends without a pause is not to be spared what is due.
            }
            None => engine.late()?,
            Some(Err(error)) => {
                engine.late()?;
                engine.failed(error)?;
            }
        }
        Ok(())
    }
}

impl<'a, T: Write, R: Role, K: AsyncTime> Reply<'a, T, R, K> {
    /// Does what the engine wants until it is done.
    fn drive<V>(
        &mut self,
        mut next: impl FnMut(&mut Engine<'a, T, R, K>) -> Result<Next<V>, Failure>,
    ) -> impl Future<Output = Result<V, Error<T::Error>>> {
        async move {
            loop {
                let io = match next(&mut self.engine)? {
                    Next::Done(value) => return Ok(value),
                    Next::Io(io) => io,
                };
                write!(self, io);
            }
        }
    }
}
