//! The blocking WebSocket, over [`embedded_io`].
//!
//! Each method may be called again after [`Error::Io`], and goes on where it stopped: a transport
//! with a time-out of its own, whose `read` fails with
//! [`TimedOut`](embedded_io::ErrorKind::TimedOut) every now and then, makes
//! [`next_event`](WebSocket::next_event) come back without an event, and nothing is lost.
//!
//! With a [`Clock`] such an error is not returned, as long as there is a deadline to wait for. The
//! deadlines can be kept no more precisely than the transport comes back. The sockets of `std` say
//! `WouldBlock` on Unix, which embedded-io does not know: over its adapter for them, wrap the socket,
//! and make that `TimedOut`.

use embedded_io::{ErrorType, Read, Write};

use crate::face::prelude::*;
use crate::output::Io;

pub use crate::reconnect::{Interruption, Task, Update};
pub use reconnect::Reconnecting;

macro_rules! out {
    ($value:ty) => {
        Result<$value, Error<T::Error>>
    };
}

macro_rules! body {
    ($body:block) => {
        $body
    };
}

macro_rules! wait {
    ($call:expr) => {
        $call
    };
}

macro_rules! put {
    ($reply:expr, $put:expr) => {
        $reply.put($put)
    };
}

mod reconnect;

websocket!("blocking", Time, "");

impl<'a, T: Read + Write, R: Role, K: Time> WebSocket<'a, T, R, K> {
    /// Does what the engine wants until it is done.
    fn drive<V>(
        &mut self,
        mut next: impl FnMut(&mut Engine<'a, T, R, K>, &mut Input<'a>) -> Result<Next<V>, Failure>,
    ) -> Result<V, Error<T::Error>> {
        loop {
            match next(&mut self.reply.engine, &mut self.input)? {
                Next::Done(value) => return Ok(value),
                Next::Io(Io::Read) => self.read()?,
                Next::Io(io) => match self.reply.write(io) {
                    Err(Error::Io(error)) if self.reads_meanwhile(io) && is_for_now(&error) => {
                        self.read()?;
                    }
                    written => written?,
                },
            }
        }
    }

    /// Whether to read because the transport takes nothing now.
    fn reads_meanwhile(&mut self, io: Io) -> bool {
        K::COMES_BACK && self.reply.engine.reads_meanwhile(&mut self.input, io)
    }

    fn read(&mut self) -> Result<(), Error<T::Error>> {
        let engine = &mut self.reply.engine;
        let at = engine.wake_at(Io::Read);
        match engine.transport.read(self.input.window().spare()) {
            Ok(len) => engine.read(&mut self.input, len),
            // The transport has given up for now, and there is a deadline for that.
            Err(error) if !K::COMES_BACK && at.is_some() && is_for_now(&error) => {}
            Err(error) => engine.failed(error)?,
        }
        Ok(())
    }
}

impl<'a, T: Write, R: Role, K: Time> Reply<'a, T, R, K> {
    /// Does what the engine wants until it is done.
    fn drive<V>(
        &mut self,
        mut next: impl FnMut(&mut Engine<'a, T, R, K>) -> Result<Next<V>, Failure>,
    ) -> Result<V, Error<T::Error>> {
        loop {
            match next(&mut self.engine)? {
                Next::Done(value) => return Ok(value),
                Next::Io(io) => self.write(io)?,
            }
        }
    }

    /// Puts something into the transmit buffer with `put`, as soon as there is room.
    fn put<V>(
        &mut self,
        mut put: impl FnMut(&mut Session<R>, &mut Output<'a>) -> Result<Option<V>, Failure>,
    ) -> Result<V, Error<T::Error>> {
        loop {
            if let Some(value) = self.engine.put(&mut put)? {
                return Ok(value);
            }
            self.write(Io::Write)?;
        }
    }

    /// Writes, or flushes.
    fn write(&mut self, io: Io) -> Result<(), Error<T::Error>> {
        let engine = &mut self.engine;
        let at = engine.wake_at(io);
        let done = match io {
            Io::Flush => engine.transport.flush().map(|()| None),
            _ => engine.transport.write(engine.output.unwritten()).map(Some),
        };
        let error = match done {
            Ok(Some(len)) => return Ok(engine.written(len)?),
            Ok(None) => {
                engine.flushed();
                return Ok(());
            }
            Err(error) => error,
        };
        // Whatever the error is, what waits has its deadline.
        engine.late()?;
        match !K::COMES_BACK && at.is_some() && is_for_now(&error) {
            true => Ok(()),
            false => engine.failed(error),
        }
    }
}
