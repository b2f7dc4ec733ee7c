//! The blocking client that comes back.

use core::fmt;
use core::hint::spin_loop;

use embedded_io::{Read, Write};

use super::WebSocket;
use crate::error::is_for_now;
use crate::reconnect::prelude::*;
use crate::time::{Clock, Returning};

/// A client that connects again when its connection has ended, by the rules of [`Backoff`], and holds
/// the messages that are to be sent meanwhile.
///
/// How a transport is connected, `connect` knows: a closure that gets the transport and a [`Task`], and
/// returns what has come of it. It may take as long as it likes: meanwhile nothing else happens.
///
/// It sends no message twice: an [`Interruption`](super::Interruption) says of how many the fate is unknown.
///
/// `E` is copied into each connection: a handle to a generator, such as `&RefCell<Generator>`.
///
/// # Waiting
/// [`next`](Self::next) waits for what comes next; whoever has something else to do calls
/// [`poll`](Self::poll), which returns when the transport gives up for now. So **give the transport a
/// time-out for reading and one for writing**, of 100 ms for example. A deadline is noticed at most two of
/// them late: with a transport that waits for ever, none ever is. **So not over `embedded_tls::blocking`**,
/// which loses a session to a time-out inside a record: for TLS there is the
/// [async one](crate::asynch::Reconnecting).
///
/// ```
/// use core::cell::RefCell;
///
/// use embedded_io::{Read, Write};
/// use motews::handshake::Request;
/// use motews::reconnect::{Backoff, Cause};
/// use motews::{Backlog, BacklogPolicy, Entropy, Message, MessageBuffer};
/// use motews_embedded_io::blocking::{Reconnecting, Task, Update};
/// use motews_embedded_io::{Buffers, Clock, Error};
/// # trait Modem: Read + Write { fn connect(&mut self) -> Result<(), ()>; fn hang_up(&mut self); }
///
/// fn run<T: Modem>(
///     modem: T, // whose `read` and `write` fail with `TimedOut` after a while
///     clock: impl Clock,
///     generator: &RefCell<impl Entropy>,
///     mut reading: impl FnMut() -> Option<String>,
/// ) -> Result<(), Error<T::Error>> {
///     let connect = |modem: &mut T, task| match task {
///         Task::Connect => modem.connect().map_err(|()| Cause::Unreachable),
///         Task::Disconnect => Ok(modem.hang_up()),
///     };
///     let (mut receive, mut transmit, mut backlog) = ([0; 256], [0; 256], [0; 1024]);
///     let buffers = Buffers { receive: &mut receive, transmit: &mut transmit };
///     let request = Request::new("example.com", "/")?;
///     let mut client = Reconnecting::new(modem, connect, buffers, request, generator, clock)?
///         .with_backoff(Backoff { persist: true, ..Backoff::DEFAULT })
///         .with_backlog(Backlog::new(&mut backlog, BacklogPolicy::DropOldest));
///
///     let mut messages = MessageBuffer::new([0; 512]);
///     while !client.is_over() {
///         match client.poll(&mut messages) {
///             Some(Update::Opened(())) => {
///                 if let Err(error) = client.send(Message::Text("subscribe")) {
///                     // Log it. If the connection has ended, `poll` says so, and goes on.
///                 }
///             }
///             Some(Update::Message(message)) => { /* obey */ }
///             Some(Update::Ended(interruption)) => { /* log it */ }
///             _ => {}
///         }
///         if let Some(reading) = reading() {
///             client.queue(Message::Text(&reading))?;
///         }
///     }
///     Ok(())
/// }
/// ```
pub struct Reconnecting<'a, T, E, K, C> {
    ws: WebSocket<'a, T, Client<E>, Returning<K>>,
    course: Course<'a, E>,
    link: Link<C>,
}

/// How the transport is connected, and what is to be done with it.
struct Link<C> {
    connect: C,
    task: Task,
}

macro_rules! sent {
    ($call:expr) => {
        loop {
            match $call {
                // Nothing was sent, and there is a deadline for that.
                Err(Error::Io(error)) if is_for_now(&error) => {}
                sent => break sent,
            }
        }
    };
}

macro_rules! told {
    ($call:expr, $waits:expr) => {
        loop {
            match $call {
                // The session has failed, so what is called next goes on with it.
                Err(Error::Io(error)) if is_for_now(&error) && !$waits => return None,
                Err(Error::Io(error)) if is_for_now(&error) => {}
                _ => break,
            }
        }
    };
}

macro_rules! ended {
    ($error:expr, $waits:expr) => {
        match $error {
            Error::Io(error) if is_for_now(&error) => match $waits {
                true => continue,
                false => return None,
            },
            error => cause_of(error),
        }
    };
}

macro_rules! rest {
    ($time:expr, $millis:expr, $waits:expr) => {{
        if !$waits {
            return None;
        }
        spin_loop();
        continue;
    }};
}

impl<'a, T, E, K, C> Reconnecting<'a, T, E, K, C>
where
    T: Read + Write,
    E: Entropy + Copy,
    K: Clock,
    C: FnMut(&mut T, Task) -> Result<(), Cause>,
{
    /// Returns a client that connects as soon as [`next`](Self::next) or [`poll`](Self::poll) is called.
    ///
    /// # Errors
    /// [`NoRoom`] if a buffer has less than [`MIN_BUFFER`](crate::MIN_BUFFER) bytes.
    pub fn new(
        transport: T,
        connect: C,
        buffers: Buffers<'a>,
        request: Request<'a>,
        entropy: E,
        mut clock: K,
    ) -> Result<Self, NoRoom> {
        let now = clock.now();
        let ws = WebSocket::client(transport, buffers, request, entropy)?;
        Ok(Self {
            ws: ws.with_time(Returning(clock)),
            course: Course::new(request, entropy, now),
            link: Link {
                connect,
                task: Task::Connect,
            },
        })
    }

    reconnecting!("");

    // ---- from one connection to the next ----

    /// Waits for a message, for the end of a connection, or for the next one, and sends what waits.
    /// `None` if there is no further attempt: after [`Retry::Never`](motews::reconnect::Retry::Never).
    ///
    /// It looks at the clock all the time while it waits for the next attempt: a device that is to sleep, or
    /// has something else to do, calls [`poll`](Self::poll).
    ///
    /// `messages` is as in [`WebSocket::recv`](super::WebSocket::recv).
    pub fn next<'s, B: AsRef<[u8]> + AsMut<[u8]>>(
        &'s mut self,
        messages: &'s mut MessageBuffer<B>,
    ) -> Option<Update<'s, T::Error>> {
        self.advance(messages, true)
    }

    /// As [`next`](Self::next), but it also returns `None` if the next attempt is not due yet, and as soon
    /// as the transport gives up for now. Call it again, with the same `messages`, until the client
    /// [is over](Self::is_over): the connection goes on where it was.
    pub fn poll<'s, B: AsRef<[u8]> + AsMut<[u8]>>(
        &'s mut self,
        messages: &'s mut MessageBuffer<B>,
    ) -> Option<Update<'s, T::Error>> {
        self.advance(messages, false)
    }

    fn advance<'s, B: AsRef<[u8]> + AsMut<[u8]>>(
        &'s mut self,
        messages: &'s mut MessageBuffer<B>,
        waits: bool,
    ) -> Option<Update<'s, T::Error>> {
        next!(self, messages, waits)
    }

    /// Returns how many milliseconds there are until the next attempt, in which [`poll`](Self::poll) has
    /// nothing to do; `None` if no attempt is waited for.
    pub fn wait(&mut self) -> Option<u32> {
        match self.course.state {
            State::Waiting(at) => Some(at.since(self.ws.reply.engine.time.time())),
            _ => None,
        }
    }

    /// Returns whether there is no further attempt: after
    /// [`Retry::Never`](motews::reconnect::Retry::Never), when the transport was ended.
    pub const fn is_over(&self) -> bool {
        matches!(self.course.state, State::Over)
    }
}

impl<C> Link<C> {
    /// Notes what is to be done.
    fn begin<T>(&mut self, _: &mut T, task: Task) {
        self.task = task;
    }

    /// Does it.
    fn finish<T>(&mut self, transport: &mut T) -> Result<(), Cause>
    where
        C: FnMut(&mut T, Task) -> Result<(), Cause>,
    {
        (self.connect)(transport, self.task)
    }
}

impl<T, E: Entropy + Copy, K, C> fmt::Debug for Reconnecting<'_, T, E, K, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.course.fmt(f)
    }
}
