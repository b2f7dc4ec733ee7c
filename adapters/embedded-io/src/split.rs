//! The async WebSocket in two halves, of which one receives while the other sends.
#![expect(
    clippy::type_complexity,
    reason = "the halves name all that they borrow"
)]

use core::cell::{Cell, RefCell, RefMut};
use core::future::poll_fn;
use core::pin::pin;
use core::task::{Poll, Waker};

use embedded_io_async::{ErrorType, Read, Write};
use motews::{
    CloseCode, DataKind, Ended, Event, Message, MessageBuffer, ProtocolViolation, Role, SendError,
    Session, Window,
};

use crate::asynch::WebSocket;
use crate::config::Config;
use crate::engine::{
    Io, Next, at_rest, check_ended, not_ended, poll, put_fragment, report, start_close,
};
use crate::error::{Error, Failure, is_gone};
use crate::extension::{Extension, Fragment, NoExtension};
use crate::output::{Late, Output};
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

impl<'a, Rd, Wr, R, Rx, Tx, K, X> WebSocket<'a, Duplex<Rd, Wr>, R, Rx, Tx, K, X>
where
    R: Role,
    Rx: AsRef<[u8]> + AsMut<[u8]>,
    Tx: AsRef<[u8]> + AsMut<[u8]>,
    K: AsyncTime,
    X: Extension,
{
    /// Splits an open WebSocket into a half that receives and one that sends. When both are gone,
    /// it is whole again, and nothing is lost.
    ///
    /// # Errors
    /// [`Error::Send`] before the handshake, and what it failed with after it did.
    ///
    /// # Example
    /// ```
    /// # use embedded_io_async::{Read, Write};
    /// # use motews::{Event, Message, SendError, Server};
    /// # use core::future::pending;
    /// # use motews_embedded_io::{Duplex, Error, asynch::WebSocket};
    /// # type Ws<'a, Rd, Wr> = WebSocket<'a, Duplex<Rd, Wr>, Server, [u8; 64], [u8; 64]>;
    /// # async fn push<Rd: Read, Wr: Write<Error = Rd::Error>>(
    /// #     mut ws: Ws<'_, Rd, Wr>,
    /// #     mut reading: impl AsyncFnMut() -> String,
    /// # ) -> Result<(), Error<Rd::Error>> {
    /// let mut halves = ws.split()?;
    /// let (mut receiver, mut sender) = halves.both();
    /// let receive = async {
    ///     while let Some(event) = receiver.next_event().await? {
    ///         if let Event::Data(command) = event { /* obey */ }
    ///     }
    ///     Ok::<(), Error<Rd::Error>>(()) // a clean end
    /// };
    /// let send = async {
    ///     loop {
    ///         match sender.send(Message::Text(&reading().await)).await {
    ///             // Someone has sent a Close. The receiver sees it through, and says how it ended.
    ///             Err(Error::Send(SendError::NotOpen) | Error::Ended(_)) => pending().await,
    ///             sent => sent?,
    ///         }
    ///     }
    /// };
    /// let end = tokio::select! { end = receive => end, end = send => end };
    /// drop(halves);
    /// // Here a server shuts the transport down for writing.
    /// end.and(ws.drain().await)
    /// # }
    /// ```
    pub fn split<E>(&mut self) -> Result<Halves<'_, Rd, Wr, R, Rx, Tx, K, X>, Error<E>> {
        let engine = &mut self.reply.engine;
        let ending = X::is_ending(&engine.output.outgoing);
        let Duplex { reader, writer } = &mut engine.transport;
        Ok(Halves {
            rx: &mut self.rx,
            incoming: &mut self.incoming,
            reader,
            time: &mut engine.time,
            shared: Shared {
                session: RefCell::new(engine.phase.open()?),
                left: Cell::new(engine.output.left(engine.config.flush)),
                writing: RefCell::new(Writing {
                    output: &mut engine.output,
                    writer,
                }),
                config: engine.config,
                ending: Cell::new(ending),
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
pub struct Halves<'s, Rd, Wr, R, Rx, Tx, K, X: Extension = NoExtension> {
    rx: &'s mut Window<Rx>,
    incoming: &'s mut X::Incoming,
    reader: &'s mut Rd,
    time: &'s mut K,
    shared: Shared<'s, Wr, R, Tx, X>,
}

/// What both halves use.
struct Shared<'s, Wr, R, Tx, X: Extension> {
    /// Never borrowed over an await.
    session: RefCell<&'s mut Session<R>>,
    /// Borrowed by the half that writes, as long as it does.
    writing: RefCell<Writing<'s, Wr, Tx, X>>,
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

struct Writing<'s, Wr, Tx, X: Extension> {
    output: &'s mut Output<Tx, X>,
    writer: &'s mut Wr,
}

impl<'s, Rd, Wr, R, Rx, Tx, K, X: Extension> Halves<'s, Rd, Wr, R, Rx, Tx, K, X> {
    /// The two halves.
    pub const fn both(
        &mut self,
    ) -> (
        Receiver<'_, 's, Rd, Wr, R, Rx, Tx, K, X>,
        Sender<'_, 's, Wr, R, Tx, X>,
    ) {
        let receiver = Receiver {
            rx: self.rx,
            incoming: self.incoming,
            reader: self.reader,
            time: self.time,
            shared: &self.shared,
            ended: false,
            late: Late::No,
        };
        let sender = Sender {
            shared: &self.shared,
        };
        (receiver, sender)
    }
}

impl<Wr, R: Role, Tx, X: Extension> Shared<'_, Wr, R, Tx, X> {
    /// Has `look` look at the session.
    fn session<V>(
        &self,
        look: impl FnOnce(&mut Session<R>) -> Result<V, Failure>,
    ) -> Result<V, Failure> {
        match self.session.try_borrow_mut() {
            Ok(mut session) => look(&mut session),
            Err(_) => Err(Failure::Ended(Ended::Lost)), // It is never borrowed for longer than this.
        }
    }

    fn ended(&self) -> Option<Ended> {
        self.session(|session| Ok(session.ended())).ok().flatten()
    }

    fn fail(&self, violation: ProtocolViolation) {
        _ = self.session(|session| {
            session.fail(violation);
            Ok(())
        });
    }

    fn tell_receiver(&self) {
        drop(Tell::Receiver(&self.receiver, &self.news));
    }

    /// The transport failed. `Ok`: that is as good an end as any.
    fn failed<E: embedded_io_async::Error>(&self, error: E) -> Result<(), Error<E>> {
        let is_end = is_gone(&error)
            && self
                .session(|session| {
                    session.lost();
                    check_ended(session)
                })
                .is_ok();
        match is_end {
            true => Ok(()),
            false => Err(Error::Io(error)),
        }
    }
}

impl<'s, Wr, R: Role, Tx: AsRef<[u8]> + AsMut<[u8]>, X: Extension> Shared<'s, Wr, R, Tx, X> {
    /// The right to write, for the receiver; `None` while the sender has it.
    fn try_receiver_writes(&self) -> Option<Right<'_, 's, Wr, R, Tx, X>> {
        Some(Right {
            writing: self.writing.try_borrow_mut().ok()?,
            shared: self,
            _tell: Tell::Sender(&self.sender),
        })
    }

    /// The right to write, for the sender, as soon as the receiver has no use for it.
    async fn sender_writes(&self) -> Right<'_, 's, Wr, R, Tx, X> {
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

fn wake(waker: &Cell<Option<Waker>>) {
    if let Some(waker) = waker.take() {
        waker.wake();
    }
}

/// The right to write. When it is given back, the other half is told, in this order.
struct Right<'l, 's, Wr, R: Role, Tx: AsRef<[u8]> + AsMut<[u8]>, X: Extension> {
    writing: RefMut<'l, Writing<'s, Wr, Tx, X>>,
    shared: &'l Shared<'s, Wr, R, Tx, X>,
    _tell: Tell<'l>,
}

impl<Wr, R: Role, Tx: AsRef<[u8]> + AsMut<[u8]>, X: Extension> Right<'_, '_, Wr, R, Tx, X> {
    /// Says how much waits for the transport.
    fn note(&self) {
        let output = &self.writing.output;
        self.shared.left.set(output.left(self.shared.config.flush));
        self.shared.ending.set(X::is_ending(&output.outgoing));
    }
}

impl<Wr, R: Role, Tx: AsRef<[u8]> + AsMut<[u8]>, X: Extension> Drop
    for Right<'_, '_, Wr, R, Tx, X>
{
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

impl<Wr: Write, R: Role, Tx: AsRef<[u8]> + AsMut<[u8]>, X: Extension> Right<'_, '_, Wr, R, Tx, X> {
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
            Ok(Some(0)) => {
                return Ok(self.shared.session(|session| {
                    session.lost();
                    check_ended(session)
                })?);
            }
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
pub struct Receiver<'h, 's, Rd, Wr, R, Rx, Tx, K, X: Extension = NoExtension> {
    rx: &'h mut Window<Rx>,
    incoming: &'h mut X::Incoming,
    reader: &'h mut Rd,
    time: &'h mut K,
    shared: &'h Shared<'s, Wr, R, Tx, X>,
    /// The transport has ended.
    ended: bool,
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

impl<Rd, Wr, R, Rx, Tx, K, X> Receiver<'_, '_, Rd, Wr, R, Rx, Tx, K, X>
where
    Rd: Read,
    Wr: Write<Error = Rd::Error>,
    R: Role,
    Rx: AsRef<[u8]> + AsMut<[u8]>,
    Tx: AsRef<[u8]> + AsMut<[u8]>,
    K: AsyncTime,
    X: Extension,
{
    /// As [`WebSocket::next_event`](crate::asynch::WebSocket::next_event), cancel-safe too.
    ///
    /// # Errors
    /// The same.
    pub async fn next_event(&mut self) -> Result<Option<Event<'_>>, Error<Rd::Error>> {
        X::begin(self.incoming, true)?;
        let found = self.step().await?;
        Ok(found.and_then(|found| self.resolve(found)))
    }

    /// As [`WebSocket::recv`](crate::asynch::WebSocket::recv), cancel-safe too.
    ///
    /// # Errors
    /// The same.
    pub async fn recv<'m, B>(
        &'m mut self,
        messages: &'m mut MessageBuffer<B>,
    ) -> Result<Option<Message<'m>>, Error<Rd::Error>>
    where
        B: AsRef<[u8]> + AsMut<[u8]>,
    {
        X::begin(self.incoming, false)?;
        let found = loop {
            let Some(found) = self.step().await? else {
                return Ok(None);
            };
            if X::ends_message(&found) {
                break found;
            }
            if let Err(violation) = X::push(self.incoming, found, self.rx, messages) {
                self.shared.fail(violation);
            }
        };
        let violation = match X::push(self.incoming, found, self.rx, messages) {
            Ok(message) => return Ok(message),
            Err(violation) => violation,
        };
        self.shared.fail(violation);
        // Tells the peer, and then the error. What is received meanwhile is of no interest.
        let mut failed = Receiver {
            rx: &mut Window::new([0; 16]),
            incoming: self.incoming,
            reader: self.reader,
            time: self.time,
            shared: self.shared,
            ended: self.ended,
            late: self.late,
        };
        failed.step().await.map(|_| None)
    }

    /// As [`WebSocket::ended`](crate::WebSocket::ended).
    pub fn ended(&self) -> Option<Ended> {
        self.shared.ended()
    }

    fn resolve(&mut self, found: X::Found) -> Option<Event<'_>> {
        let mut session = self.shared.session.try_borrow_mut().ok()?;
        X::lend(self.incoming, &mut session, found, self.rx)
    }

    async fn step(&mut self) -> Result<Option<X::Found>, Error<Rd::Error>> {
        loop {
            let next = self.next();
            if !matches!(next, Ok(Next::Io(_) | Next::Event(_))) {
                wake(&self.shared.sender); // It may wait for the transport, in vain.
            }
            match next? {
                Next::Event(found) => return Ok(Some(found)),
                Next::End => return Ok(None),
                Next::Io(io) => self.perform(io).await?,
            }
        }
    }

    fn next(&mut self) -> Result<Next<X::Found>, Failure> {
        let Self {
            shared,
            time,
            rx,
            incoming,
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
                if poll(session, *time, config, late, !rx.is_empty(), left).drop {
                    return at_rest(session, None);
                }
                // Where there is no room, reading goes on: the pong to the newest ping will do.
                let all = match &mut output {
                    Some(output) => output.put_owed(session)?,
                    None => !session.wants_transmit(),
                };
                if let Some(found) = X::receive(incoming, session, rx) {
                    return Ok(Next::Event(found));
                }
                if !rx.is_empty() {
                    continue;
                }
                return match &output {
                    Some(_) if all && session.wants_transmit() => continue,
                    Some(output) => at_rest(session, output.pending(config.flush)),
                    None => Ok(Next::Io(Io::Read)),
                };
            }
        })
    }

    /// Reads, and writes at the same time where there is something to write. Comes back as soon as
    /// something has come of it.
    async fn perform(&mut self, io: Io) -> Result<(), Error<Rd::Error>> {
        let Self {
            rx,
            reader,
            time,
            shared,
            ended,
            late,
            ..
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
            let mut read = pin!(reader.read(rx.spare()));
            let mut right = match io {
                Io::Read => None,
                io => shared.try_receiver_writes().map(|right| (right, io)),
            };
            let mut write = pin!(async {
                match &mut right {
                    Some((right, io)) => right.perform(*io).await,
                    None => core::future::pending().await,
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
                if !*ended && let Poll::Ready(result) = read.as_mut().poll(context) {
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
                *ended = true;
                shared.session(|session| {
                    session.receive_eof();
                    Ok(())
                })?;
            }
            Done::Read(Ok(len)) => {
                late.ask();
                rx.fill(len);
                if K::IS_TIMED {
                    let now = time.time();
                    shared.session(|session| {
                        session.received(now);
                        Ok(())
                    })?;
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
pub struct Sender<'h, 's, Wr, R, Tx, X: Extension = NoExtension> {
    shared: &'h Shared<'s, Wr, R, Tx, X>,
}

impl<Wr, R, Tx, X> Sender<'_, '_, Wr, R, Tx, X>
where
    Wr: Write,
    R: Role,
    Tx: AsRef<[u8]> + AsMut<[u8]>,
    X: Extension,
{
    /// As [`Reply::send`](crate::asynch::Reply), cancel-safe too: a dropped future has sent nothing.
    ///
    /// # Errors
    /// The same.
    pub async fn send(&mut self, message: Message<'_>) -> Result<(), Error<Wr::Error>> {
        self.put_message(message, true).await
    }

    /// As [`Reply::send_uncompressed`](crate::asynch::Reply).
    ///
    /// # Errors
    /// The same.
    #[cfg(feature = "deflate")]
    pub async fn send_uncompressed(
        &mut self,
        message: Message<'_>,
    ) -> Result<(), Error<Wr::Error>> {
        self.put_message(message, false).await
    }

    /// As [`Reply::send_fragment`](crate::asynch::Reply), cancel-safe too.
    ///
    /// # Errors
    /// The same.
    pub async fn send_fragment(
        &mut self,
        kind: DataKind,
        payload: &[u8],
        fin: bool,
    ) -> Result<usize, Error<Wr::Error>> {
        self.put_fragment(Fragment {
            kind,
            payload,
            fin,
            compress: true,
        })
        .await
    }

    /// As [`Reply::send_fragment_uncompressed`](crate::asynch::Reply).
    ///
    /// # Errors
    /// The same.
    #[cfg(feature = "deflate")]
    pub async fn send_fragment_uncompressed(
        &mut self,
        kind: DataKind,
        payload: &[u8],
        fin: bool,
    ) -> Result<usize, Error<Wr::Error>> {
        self.put_fragment(Fragment {
            kind,
            payload,
            fin,
            compress: false,
        })
        .await
    }

    /// As [`Reply::ping`](crate::asynch::Reply), cancel-safe too.
    ///
    /// # Errors
    /// The same.
    pub async fn ping(&mut self, payload: &[u8]) -> Result<(), Error<Wr::Error>> {
        self.put(|session, output| {
            let put = output.put_owed(session)?
                && output.put_control(|out| session.ping(payload, out))?;
            Ok(put.then_some(()))
        })
        .await
    }

    /// Writes all that was sent, and what the protocol owes the peer. Cancel-safe: what was not
    /// written is still there.
    ///
    /// # Errors
    /// [`Error::Io`], and [`Error::Ended`] if the connection has failed.
    pub async fn flush(&mut self) -> Result<(), Error<Wr::Error>> {
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

    /// Begins the closing handshake. The receiver sees to it, and comes to its end.
    ///
    /// # Errors
    /// [`Error::Send`]: [`NotOpen`](motews::SendError::NotOpen),
    /// [`InvalidCloseCode`](motews::SendError::InvalidCloseCode),
    /// [`ReasonTooLong`](motews::SendError::ReasonTooLong). With compression also
    /// [`MessageInProgress`](motews::SendError::MessageInProgress), where the end of a message that
    /// was sent in fragments has not found room yet: flush first.
    pub fn start_close(&mut self, code: CloseCode, reason: &str) -> Result<(), Error<Wr::Error>> {
        let mut writing = self.shared.writing.try_borrow_mut().ok();
        self.shared.session(|session| match &mut writing {
            Some(writing) => start_close(session, writing.output, code, reason),
            None if self.shared.ending.get() => Err(Failure::Send(SendError::MessageInProgress)),
            None => Ok(session.close(code, reason)?),
        })?;
        drop(writing);
        self.shared.tell_receiver();
        Ok(())
    }

    /// As [`WebSocket::ended`](crate::WebSocket::ended).
    pub fn ended(&self) -> Option<Ended> {
        self.shared.ended()
    }

    async fn put_fragment(&mut self, fragment: Fragment<'_>) -> Result<usize, Error<Wr::Error>> {
        self.put(|session, output| put_fragment(session, output, fragment))
            .await
    }

    async fn put_message(
        &mut self,
        message: Message<'_>,
        compress: bool,
    ) -> Result<(), Error<Wr::Error>> {
        self.put(|session, output| {
            let put =
                output.put_owed(session)? && output.put_message(session, message, compress)?;
            Ok(put.then_some(()))
        })
        .await
    }

    /// Has `put` put something into the transmit buffer, as soon as there is room.
    async fn put<V>(
        &mut self,
        mut put: impl FnMut(&mut Session<R>, &mut Output<Tx, X>) -> Result<Option<V>, Failure>,
    ) -> Result<V, Error<Wr::Error>> {
        let mut right = self.shared.sender_writes().await;
        loop {
            let output = &mut *right.writing.output;
            let done = self.shared.session(|session| {
                not_ended(session)?;
                put(session, output)
            })?;
            if let Some(value) = done {
                return Ok(value);
            }
            right.perform_for_sender(Io::Write).await?;
        }
    }
}
