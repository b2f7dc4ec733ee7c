//! The async WebSocket in two halves, of which one receives while the other sends.

use core::cell::{Cell, RefCell, RefMut};
use core::future::{pending, poll_fn};
use core::pin::pin;
use core::task::{Poll, Waker};

use embedded_io_async::{ErrorType, Read, Write};
use motews::SendError;

use crate::asynch::WebSocket;
use crate::compression::Found;
use crate::engine::{at_rest, check_ended, check_sending, not_ended, poll, report};
use crate::error::is_gone;
use crate::face::prelude::*;
use crate::output::{Io, Late};
use crate::time::AsyncTime;

/// A transport in two halves: reads from the one, writes to the other. A [`WebSocket`] over it can
/// be split.
///
/// The receiver drops futures of both by itself, also of `flush`: they must be cancel-safe (see
/// [`asynch`](crate::asynch)). The halves of `embedded-tls` are not.
///
/// ```
/// # async fn f(stream: tokio::net::TcpStream) {
/// use embedded_io_adapters::tokio_1::FromTokio;
/// use motews_embedded_io::Duplex;
///
/// let (reader, writer) = stream.into_split();
/// let transport = Duplex { reader: FromTokio::new(reader), writer: FromTokio::new(writer) };
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Duplex<Rd, Wr> {
    /// The half that is read.
    pub reader: Rd,
    /// The half that is written.
    pub writer: Wr,
}

impl<Rd: ErrorType, Wr: ErrorType<Error = Rd::Error>> ErrorType for Duplex<Rd, Wr> {
    type Error = Rd::Error;
}

impl<Rd: Read, Wr: ErrorType<Error = Rd::Error>> Read for Duplex<Rd, Wr> {
    async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Self::Error> {
        self.reader.read(buffer).await
    }
}

impl<Rd: ErrorType, Wr: Write<Error = Rd::Error>> Write for Duplex<Rd, Wr> {
    async fn write(&mut self, bytes: &[u8]) -> Result<usize, Self::Error> {
        self.writer.write(bytes).await
    }

    async fn flush(&mut self) -> Result<(), Self::Error> {
        self.writer.flush().await
    }
}

impl<'a, Rd, Wr, R: Role, K: AsyncTime> WebSocket<'a, Duplex<Rd, Wr>, R, K> {
    /// Splits an open WebSocket into a half that receives and one that sends. When both are gone,
    /// it is whole again, and nothing is lost.
    ///
    /// # Errors
    /// [`Error::Send`] before the handshake, and what it failed with after it did.
    ///
    /// # Example
    /// ```
    /// # use embedded_io_async::{Read, Write};
    /// # use motews::{Ended, Event, Message, Server};
    /// # use motews_embedded_io::{Duplex, Error, asynch::WebSocket};
    /// # async fn push<Rd: Read, Wr: Write<Error = Rd::Error>>(
    /// #     mut ws: WebSocket<'_, Duplex<Rd, Wr>, Server>,
    /// #     mut reading: impl AsyncFnMut() -> String,
    /// # ) -> Result<Ended, Error<Rd::Error>> {
    /// let mut halves = ws.split()?;
    /// let (mut receiver, mut sender) = halves.both();
    /// let receive = async {
    ///     while let Some(event) = receiver.next_event().await? {
    ///         if let Event::Data(command) = event { /* obey */ }
    ///     }
    ///     Ok(())
    /// };
    /// let send = async {
    ///     loop {
    ///         sender.send(Message::Text(&reading().await)).await?;
    ///     }
    /// };
    /// let end: Result<(), _> = tokio::select! { end = receive => end, end = send => end };
    /// drop(halves);
    /// match end {
    ///     // Whichever half found out: the peer has closed, or it is over. See it through.
    ///     Ok(()) | Err(Error::Ended(_)) => {}
    ///     Err(error) => return Err(error),
    /// }
    /// let ended = ws.closed().await?;
    /// // Here a server shuts the transport down for writing.
    /// ws.drain().await?;
    /// Ok(ended) // `ended.is_clean()` if both Closes are through
    /// # }
    /// ```
    pub fn split<E>(&mut self) -> Result<Halves<'_, 'a, Rd, Wr, R, K>, Error<E>> {
        let Engine {
            transport: Duplex { reader, writer },
            phase,
            output,
            time,
            config,
            ..
        } = &mut self.reply.engine;
        let session = phase.open()?;
        Ok(Halves {
            input: &mut self.input,
            reader,
            time,
            shared: Shared {
                session: RefCell::new(session),
                left: Cell::new(output.left(config.flush)),
                ending: Cell::new(output.outgoing.is_ending()),
                writing: RefCell::new(Writing { output, writer }),
                config,
                taken: Cell::new(0),
                receiver: Cell::new(None),
                sender: Cell::new(None),
                news: Cell::new(false),
            },
        })
    }
}

/// A [`WebSocket`] that is split: the place where its halves meet.
///
/// The halves belong to one thread: to one task, as with `join` and `select`, or to two tasks of one
/// executor that does not move them to other threads.
///
/// Poll or drop each future: one that is kept and not polled may hold the right to write, and then
/// the other half waits.
pub struct Halves<'s, 'a, Rd, Wr, R, K = Untimed> {
    input: &'s mut Input<'a>,
    reader: &'s mut Rd,
    time: &'s mut K,
    shared: Shared<'s, 'a, Wr, R>,
}

/// What both halves use.
struct Shared<'s, 'a, Wr, R> {
    /// Never borrowed over an await.
    session: RefCell<&'s mut Session<R>>,
    /// Borrowed by the half that writes, as long as it does.
    writing: RefCell<Writing<'s, 'a, Wr>>,
    config: &'s Config<'s>,
    /// The end of a message waits for room, as whoever wrote last has left it.
    ending: Cell<bool>,
    /// How many bytes the transport has taken since the receiver, which has the clock, was told.
    taken: Cell<usize>,
    /// How many bytes wait for the transport.
    left: Cell<usize>,
    /// The receiver, which waits for input or for `news`.
    receiver: Cell<Option<Waker>>,
    /// The sender, which waits for `writing`, or for the transport.
    sender: Cell<Option<Waker>>,
    /// The sender has done something that the receiver should look at.
    news: Cell<bool>,
}

struct Writing<'s, 'a, Wr> {
    output: &'s mut Output<'a>,
    writer: &'s mut Wr,
}

impl<'s, 'a, Rd, Wr, R, K> Halves<'s, 'a, Rd, Wr, R, K> {
    /// Returns the two halves.
    pub const fn both(
        &mut self,
    ) -> (
        Receiver<'_, 's, 'a, Rd, Wr, R, K>,
        Sender<'_, 's, 'a, Wr, R>,
    ) {
        let receiver = Receiver {
            input: self.input,
            reader: self.reader,
            time: self.time,
            shared: &self.shared,
            at_eof: false,
            late: Late::No,
        };
        let sender = Sender {
            shared: &self.shared,
        };
        (receiver, sender)
    }
}

fn wake(waker: &Cell<Option<Waker>>) {
    if let Some(waker) = waker.take() {
        waker.wake();
    }
}

impl<'s, 'a, Wr, R: Role> Shared<'s, 'a, Wr, R> {
    /// Calls `look` with the session.
    fn session<V>(
        &self,
        look: impl FnOnce(&mut Session<R>) -> Result<V, Failure>,
    ) -> Result<V, Failure> {
        match self.session.try_borrow_mut() {
            Ok(mut session) => look(&mut session),
            Err(_) => Err(Failure::Ended(Ended::Lost)), // It is never borrowed for longer than this.
        }
    }

    /// The same where there is nothing to fail.
    fn change(&self, change: impl FnOnce(&mut Session<R>)) {
        _ = self.session(|session| {
            change(session);
            Ok(())
        });
    }

    fn ended(&self) -> Option<Ended> {
        self.session(|session| Ok(session.ended())).ok().flatten()
    }

    fn tell_receiver(&self) {
        self.news.set(true);
        wake(&self.receiver);
    }

    /// The transport is gone. `Ok`: the peer's Close had come.
    fn lost(&self) -> Result<(), Failure> {
        self.session(|session| {
            session.lost();
            check_ended(session)
        })
    }

    /// The transport failed. `Ok`: that is as good an end as any.
    fn failed<E: embedded_io_async::Error>(&self, error: E) -> Result<(), Error<E>> {
        match is_gone(&error) && self.lost().is_ok() {
            true => Ok(()),
            false => Err(Error::Io(error)),
        }
    }

    /// The right to write, for the receiver; `None` while the sender has it.
    fn try_receiver_writes(&self) -> Option<Right<'_, 's, 'a, Wr, R>> {
        Some(Right {
            writing: self.writing.try_borrow_mut().ok()?,
            shared: self,
            _tell: Tell::Sender(&self.sender),
        })
    }

    /// The right to write, for the sender, as soon as the receiver has no use for it.
    async fn sender_writes(&self) -> Right<'_, 's, 'a, Wr, R> {
        let writing = poll_fn(|context| match self.writing.try_borrow_mut() {
            Ok(writing) => Poll::Ready(writing),
            Err(_) => {
                self.sender.set(Some(context.waker().clone()));
                Poll::Pending
            }
        });
        Right {
            writing: writing.await,
            shared: self,
            _tell: Tell::Receiver(&self.receiver, &self.news),
        }
    }
}

/// The right to write. When it is given back, the other half is told, in this order.
struct Right<'l, 's, 'a, Wr, R: Role> {
    writing: RefMut<'l, Writing<'s, 'a, Wr>>,
    shared: &'l Shared<'s, 'a, Wr, R>,
    _tell: Tell<'l>,
}

impl<Wr, R: Role> Right<'_, '_, '_, Wr, R> {
    /// Notes how much waits for the transport.
    fn note(&self) {
        let output = &self.writing.output;
        self.shared.left.set(output.left(self.shared.config.flush));
        self.shared.ending.set(output.outgoing.is_ending());
    }
}

impl<Wr, R: Role> Drop for Right<'_, '_, '_, Wr, R> {
    fn drop(&mut self) {
        self.note();
    }
}

enum Tell<'l> {
    Sender(&'l Cell<Option<Waker>>),
    Receiver(&'l Cell<Option<Waker>>, &'l Cell<bool>),
}

impl Drop for Tell<'_> {
    fn drop(&mut self) {
        match self {
            Self::Sender(sender) => wake(sender),
            Self::Receiver(receiver, news) => {
                news.set(true);
                wake(receiver);
            }
        }
    }
}

impl<Wr: Write, R: Role> Right<'_, '_, '_, Wr, R> {
    /// Writes a part, or flushes, and notes what came of it.
    async fn perform(&mut self, io: Io) -> Result<(), Error<Wr::Error>> {
        let Writing { output, writer } = &mut *self.writing;
        let done = match io {
            Io::Flush => writer.flush().await.map(|()| None),
            _ => writer.write(output.unwritten()).await.map(Some),
        };
        match done {
            Ok(None) => output.flushed(),
            // It is not meant to do so, and it would go on for ever.
            Ok(Some(0)) => return Ok(self.shared.lost()?),
            Ok(Some(len)) => {
                output.written(len);
                let taken = &self.shared.taken;
                taken.set(taken.get().saturating_add(len));
            }
            Err(error) => return self.shared.failed(error),
        }
        self.note();
        Ok(())
    }

    /// The same for the sender, who has no clock: the receiver reports it, and ends it in time.
    async fn perform_for_sender(&mut self, io: Io) -> Result<(), Error<Wr::Error>> {
        self.note();
        let shared = self.shared;
        shared.tell_receiver();
        let mut write = pin!(self.perform(io));
        let done = poll_fn(|context| {
            if let Poll::Ready(done) = write.as_mut().poll(context) {
                return Poll::Ready(done);
            }
            shared.sender.set(Some(context.waker().clone()));
            match shared.session(|session| not_ended(session)) {
                Ok(()) => Poll::Pending,
                Err(failure) => Poll::Ready(Err(failure.into())),
            }
        })
        .await;
        shared.tell_receiver();
        done
    }
}

/// The half of a [`WebSocket`] that receives.
///
/// It also answers pings and Closes, writes out what the other half has sent, and keeps the
/// deadlines. All of that happens while one of its methods is being awaited, and goes on while the
/// sender waits for the transport: so two peers that both send more than the buffers between them
/// hold both come to their end.
pub struct Receiver<'h, 's, 'a, Rd, Wr, R, K = Untimed> {
    input: &'h mut Input<'a>,
    reader: &'h mut Rd,
    time: &'h mut K,
    shared: &'h Shared<'s, 'a, Wr, R>,
    /// The transport has ended.
    at_eof: bool,
    late: Late,
}

/// What came of waiting.
enum Done<E> {
    Read(Result<usize, E>),
    Written(Result<(), Error<E>>),
    News,
    /// There was nothing to read until the next deadline.
    Late,
}

impl<'a, Rd, Wr, R, K> Receiver<'_, '_, 'a, Rd, Wr, R, K>
where
    Rd: Read,
    Wr: Write<Error = Rd::Error>,
    R: Role,
    K: AsyncTime,
{
    /// As [`WebSocket::next_event`], cancel-safe too.
    ///
    /// # Errors
    /// The same.
    pub async fn next_event(&mut self) -> Result<Option<Event<'_>>, Error<Rd::Error>> {
        self.input.begin(true)?;
        let Some(found) = self.step().await? else {
            return Ok(None);
        };
        let session = self.shared.session.try_borrow_mut();
        Ok(session
            .ok()
            .and_then(|mut session| self.input.lend(&mut session, found)))
    }

    /// As [`WebSocket::recv`], cancel-safe too.
    ///
    /// # Errors
    /// The same.
    pub async fn recv<'m, B: AsRef<[u8]> + AsMut<[u8]>>(
        &'m mut self,
        messages: &'m mut MessageBuffer<B>,
    ) -> Result<Option<Message<'m>>, Error<Rd::Error>> {
        self.input.begin(false)?;
        let found = loop {
            let Some(found) = self.step().await? else {
                return Ok(None);
            };
            if found.ends_message() {
                break found;
            }
            if let Err(violation) = self.input.push(found, messages) {
                self.shared.change(|session| session.fail(violation));
            }
        };
        let violation = match self.input.push(found, messages) {
            Ok(message) => return Ok(message),
            Err(violation) => violation,
        };
        self.shared.change(|session| session.fail(violation));
        // Tells the peer, and then the error. Nothing is read any more.
        let mut failed = Receiver {
            input: &mut Input::new(&mut []),
            reader: self.reader,
            time: self.time,
            shared: self.shared,
            at_eof: true,
            late: self.late,
        };
        failed.step().await.map(|_| None)
    }

    /// As [`WebSocket::ended`].
    pub fn ended(&self) -> Option<Ended> {
        self.shared.ended()
    }

    async fn step(&mut self) -> Result<Option<Found>, Error<Rd::Error>> {
        loop {
            let next = self.next();
            if !matches!(next, Ok(Next::Io(_) | Next::Done(Some(_)))) {
                wake(&self.shared.sender); // It may wait for the transport, in vain.
            }
            match next? {
                Next::Done(found) => return Ok(found),
                Next::Io(io) => self.perform(io).await?,
            }
        }
    }

    fn next(&mut self) -> Result<Next<Option<Found>>, Failure> {
        let Self {
            shared,
            time,
            input,
            late,
            ..
        } = self;
        let config = shared.config;
        let mut right = shared.try_receiver_writes();
        let mut output = right.as_mut().map(|right| &mut *right.writing.output);
        shared.session(|session| {
            loop {
                let left = match &output {
                    Some(output) => output.left(config.flush),
                    None => shared.left.get(),
                };
                let taken = shared.taken.take();
                if taken > 0 {
                    report(session, *time, &config.timeouts, taken, left);
                }
                if poll(
                    session,
                    *time,
                    config,
                    late,
                    !input.window().is_empty(),
                    left,
                )
                .drop
                {
                    return at_rest(session, None);
                }
                // If there is no room, reading goes on: the pong to the newest ping will do.
                let all = match &mut output {
                    Some(output) => output.put_owed(session)?,
                    None => !session.wants_transmit(),
                };
                if let Some(found) = input.receive(session) {
                    return Ok(Next::Done(Some(found)));
                }
                if !input.window().is_empty() {
                    continue;
                }
                return match &output {
                    Some(_) if all && session.wants_transmit() => continue,
                    Some(output) => at_rest(session, output.pending(config.flush)),
                    None => Ok(Next::READ),
                };
            }
        })
    }

    /// Reads, and writes at the same time if there is something to write. Comes back as soon as
    /// something has come of it.
    async fn perform(&mut self, io: Io) -> Result<(), Error<Rd::Error>> {
        let Self {
            input,
            reader,
            time,
            shared,
            at_eof,
            late,
        } = self;
        let timeouts = &shared.config.timeouts;
        let at = shared.session(|session| {
            report(session, *time, timeouts, 0, shared.left.get());
            Ok(match K::IS_TIMED {
                true => session.poll_at(timeouts),
                false => None,
            })
        })?;
        let done = {
            let mut timer = pin!(time.wait_until(at));
            let mut read = pin!(reader.read(input.window().spare()));
            let mut right = match io {
                Io::Read => None,
                io => shared.try_receiver_writes().map(|right| (right, io)),
            };
            let mut write = pin!(async {
                match &mut right {
                    Some((right, io)) => right.perform(*io).await,
                    None => pending().await,
                }
            });
            poll_fn(|context| {
                if let Poll::Ready(result) = write.as_mut().poll(context) {
                    return Poll::Ready(Done::Written(result));
                }
                if shared.news.take() {
                    return Poll::Ready(Done::News);
                }
                shared.receiver.set(Some(context.waker().clone()));
                if !*at_eof && let Poll::Ready(result) = read.as_mut().poll(context) {
                    return Poll::Ready(Done::Read(result));
                }
                timer.as_mut().poll(context).map(|()| Done::Late)
            })
            .await
        };
        match done {
            Done::Written(result) => result?,
            Done::News => {}
            Done::Late => late.ask(),
            Done::Read(Ok(0)) => {
                late.ask();
                *at_eof = true;
                shared.change(Session::receive_eof);
            }
            Done::Read(Ok(len)) => {
                late.ask();
                input.window().fill(len);
                if K::IS_TIMED {
                    let now = time.time();
                    shared.change(|session| session.received(now));
                }
            }
            Done::Read(Err(error)) => shared.failed(error)?,
        }
        Ok(())
    }
}

/// The half of a [`WebSocket`] that sends.
///
/// What it sends goes out when the receiver waits for input, or with a [`flush`](Self::flush). It has
/// no clock: the receiver keeps the time for it, and if that is over, ends what it waits for.
pub struct Sender<'h, 's, 'a, T, R> {
    shared: &'h Shared<'s, 'a, T, R>,
}

macro_rules! out {
    ($value:ty) => {
        impl Future<Output = Result<$value, Error<T::Error>>>
    };
}

macro_rules! put {
    ($sender:expr, $put:expr) => {
        async move { $sender.put($put).await }
    };
}

impl<'a, T: Write, R: Role> Sender<'_, '_, 'a, T, R> {
    sending!("\n\nCancel-safe: if the future is dropped, nothing of it was sent.");

    /// Puts something into the transmit buffer with `put`, as soon as there is room.
    async fn put<V>(
        &mut self,
        mut put: impl FnMut(&mut Session<R>, &mut Output<'a>) -> Result<Option<V>, Failure>,
    ) -> Result<V, Error<T::Error>> {
        let mut right = self.shared.sender_writes().await;
        loop {
            let output = &mut *right.writing.output;
            let done = self.shared.session(|session| {
                check_sending(session)?;
                put(session, output)
            })?;
            if let Some(value) = done {
                return Ok(value);
            }
            right.perform_for_sender(Io::Write).await?;
        }
    }

    /// The receiver sees to the Close, and comes to its end.
    fn put_close(&mut self, code: CloseCode, reason: &str) -> Result<(), Error<T::Error>> {
        let mut writing = self.shared.writing.try_borrow_mut().ok();
        self.shared.session(|session| {
            check_sending(session)?;
            match &mut writing {
                Some(writing) => writing.output.close(session, code, reason),
                None if self.shared.ending.get() => {
                    Err(Failure::Send(SendError::MessageInProgress))
                }
                None => Ok(session.close(code, reason)?),
            }
        })?;
        drop(writing);
        self.shared.tell_receiver();
        Ok(())
    }

    /// Writes all that was sent, and what the protocol owes the peer. Cancel-safe: what was not
    /// written is still there.
    ///
    /// # Errors
    /// [`Error::Io`], and [`Error::Ended`] if the connection has failed.
    pub async fn flush(&mut self) -> Result<(), Error<T::Error>> {
        let mut right = self.shared.sender_writes().await;
        loop {
            let output = &mut *right.writing.output;
            self.shared.session(|session| {
                check_ended(session)?;
                Ok(output.put_owed(session)?)
            })?;
            let Some(io) = output.pending(self.shared.config.flush) else {
                return Ok(());
            };
            right.perform_for_sender(io).await?;
        }
    }

    /// As [`WebSocket::ended`].
    pub fn ended(&self) -> Option<Ended> {
        self.shared.ended()
    }
}
