//! The async client that comes back.

use core::fmt;
use core::future::poll_fn;
use core::pin::Pin;

use embedded_io_async::{ErrorType, Read, Write};

use super::WebSocket;
use crate::reconnect::prelude::*;
use crate::time::{Returning, Timer};

/// The transport of a [`Reconnecting`], while it is not at `connect`.
#[derive(Debug)]
pub struct Socket<T>(Option<T>);

impl<T: ErrorType> ErrorType for Socket<T> {
    type Error = T::Error;
}

impl<T: Read> Read for Socket<T> {
    async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, T::Error> {
        match &mut self.0 {
            Some(transport) => transport.read(buffer).await,
            None => Ok(0),
        }
    }
}

impl<T: Write> Write for Socket<T> {
    async fn write(&mut self, bytes: &[u8]) -> Result<usize, T::Error> {
        match &mut self.0 {
            Some(transport) => transport.write(bytes).await,
            None => Ok(0),
        }
    }

    async fn flush(&mut self) -> Result<(), T::Error> {
        match &mut self.0 {
            Some(transport) => transport.flush().await,
            None => Ok(()),
        }
    }
}

/// A client that connects again when its connection has ended, by the rules of [`Backoff`], and holds
/// the messages that are to be sent meanwhile.
///
/// How a transport is connected, `connect` knows: a closure that gets the transport and a [`Task`], and
/// gives the transport back with what has come of it. Its future lies at a place of the caller's, and
/// is never dropped half-way: so [`next`](Self::next) is cancel-safe, whatever `connect` awaits.
///
/// It sends no message twice: an [`Interruption`](super::Interruption) says of how many the fate is unknown.
///
/// `E` is copied into each connection: a handle to a generator, such as `&RefCell<Generator>`.
///
/// ```
/// use core::cell::RefCell;
/// use core::pin::pin;
///
/// use embedded_io_async::{Read, Write};
/// use motews::handshake::Request;
/// use motews::reconnect::{Backoff, Cause};
/// use motews::{Backlog, BacklogPolicy, Entropy, Message, MessageBuffer};
/// use motews_embedded_io::asynch::{Reconnecting, Task, Update};
/// use motews_embedded_io::{Buffers, Error, Timer};
/// # trait Stack: Read + Write { async fn connect(&mut self) -> Result<(), ()>; async fn close(&mut self); }
///
/// async fn run<T: Stack>(
///     tcp: T,
///     timer: impl Timer,
///     generator: &RefCell<impl Entropy>,
///     mut reading: impl AsyncFnMut() -> String, // to be dropped at any time
/// ) -> Result<(), Error<T::Error>> {
///     let connect = |mut tcp: T, task| async move {
///         let result = match task {
///             Task::Connect => tcp.connect().await.map_err(|_| Cause::Unreachable),
///             Task::Disconnect => Ok(tcp.close().await),
///         };
///         (tcp, result)
///     };
///     let (mut receive, mut transmit, mut backlog) = ([0; 256], [0; 256], [0; 1024]);
///     let buffers = Buffers { receive: &mut receive, transmit: &mut transmit };
///     let request = Request::new("example.com", "/")?;
///     let place = pin!(None);
///     let mut client = Reconnecting::new(place, tcp, connect, buffers, request, generator, timer)?
///         .with_backoff(Backoff { persist: true, ..Backoff::DEFAULT })
///         .with_backlog(Backlog::new(&mut backlog, BacklogPolicy::DropOldest));
///
///     let mut messages = MessageBuffer::new([0; 512]);
///     loop {
///         tokio::select! {
///             update = client.next(&mut messages) => match update {
///                 Some(Update::Opened(())) => {
///                     if let Err(error) = client.send(Message::Text("subscribe")).await {
///                         // Log it. If the connection has ended, `next` says so, and goes on.
///                     }
///                 }
///                 Some(Update::Message(message)) => { /* obey */ }
///                 Some(Update::Ended(interruption)) => { /* log it */ }
///                 Some(_) => {}
///                 None => return Ok(()),
///             },
///             reading = reading() => { client.queue(Message::Text(&reading))?; }
///         }
///     }
/// }
/// ```
pub struct Reconnecting<'a, T, E, K, C, F> {
    ws: WebSocket<'a, Socket<T>, Client<E>, Returning<K>>,
    course: Course<'a, E>,
    link: Link<'a, C, F>,
}

/// How the transport is connected, and the place for that.
struct Link<'a, C, F> {
    connect: C,
    connecting: Pin<&'a mut Option<F>>,
}

macro_rules! sent {
    ($call:expr) => {
        $call.await
    };
}

macro_rules! told {
    ($call:expr, $waits:expr) => {
        _ = $call.await
    };
}

macro_rules! ended {
    ($error:expr, $waits:expr) => {
        cause_of($error)
    };
}

macro_rules! rest {
    ($time:expr, $millis:expr, $waits:expr) => {
        $time.0.wait($millis).await
    };
}

impl<'a, T, E, K, C, F> Reconnecting<'a, T, E, K, C, F>
where
    T: Read + Write,
    E: Entropy + Copy,
    K: Timer,
    C: FnMut(T, Task) -> F,
    F: Future<Output = (T, Result<(), Cause>)>,
{
    /// Returns a client that connects as soon as [`next`](Self::next) is called. `place` is for the
    /// future of `connect`: `pin!(None)`.
    ///
    /// # Errors
    /// [`NoRoom`] if a buffer has less than [`MIN_BUFFER`](crate::MIN_BUFFER) bytes.
    pub fn new(
        place: Pin<&'a mut Option<F>>,
        transport: T,
        connect: C,
        buffers: Buffers<'a>,
        request: Request<'a>,
        entropy: E,
        mut timer: K,
    ) -> Result<Self, NoRoom> {
        let now = timer.now();
        let transport = Socket(Some(transport));
        let ws = WebSocket::client(transport, buffers, request, entropy)?;
        Ok(Self {
            ws: ws.with_time(Returning(timer)),
            course: Course::new(request, entropy, now),
            link: Link {
                connect,
                connecting: place,
            },
        })
    }

    reconnecting!("\n\nCancel-safe, as that is.");

    // ---- from one connection to the next ----

    /// Waits for a message, for the end of a connection, or for the next one, and sends what waits.
    /// `None` if there is no further attempt: after [`Retry::Never`](motews::reconnect::Retry::Never).
    ///
    /// `messages` is as in [`WebSocket::recv`](super::WebSocket::recv).
    ///
    /// Cancel-safe: nothing is lost, and an attempt to connect goes on with the next call.
    pub async fn next<'s, B: AsRef<[u8]> + AsMut<[u8]>>(
        &'s mut self,
        messages: &'s mut MessageBuffer<B>,
    ) -> Option<Update<'s, T::Error>> {
        next!(self, messages, true)
    }
}

impl<C, F> Link<'_, C, F> {
    /// Gives the transport to `connect`.
    fn begin<T>(&mut self, socket: &mut Socket<T>, task: Task)
    where
        C: FnMut(T, Task) -> F,
    {
        if let Some(transport) = socket.0.take() {
            let connecting = (self.connect)(transport, task);
            self.connecting.set(Some(connecting));
        }
    }

    /// Waits until the transport is back, and returns what has come of it.
    async fn finish<T>(&mut self, socket: &mut Socket<T>) -> Result<(), Cause>
    where
        F: Future<Output = (T, Result<(), Cause>)>,
    {
        let Some(mut connecting) = self.connecting.as_mut().as_pin_mut() else {
            return Err(Cause::Local);
        };
        let (transport, result) = poll_fn(|context| connecting.as_mut().poll(context)).await;
        self.connecting.set(None);
        socket.0 = Some(transport);
        result
    }
}

impl<T, E: Entropy + Copy, K, C, F> fmt::Debug for Reconnecting<'_, T, E, K, C, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.course.fmt(f)
    }
}
