//! The blocking WebSocket.

use core::cell::Cell;
use core::fmt;
use core::time::Duration;
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Instant;

use motews::{
    Client, CloseCode, Connection, ControlPayload, DataKind, Deadlines, Due, Event, Millis,
    ProtocolViolation, Role, State, Timeouts, Window,
};

use crate::builder::Builder;
use crate::entropy::OsEntropy;
use crate::error::{RecvError, SendError};
use crate::message::{AsMessage, Message};
use crate::net::NetStream;
use crate::sender::Sender;
use crate::shared::{How, Own, Shared};
use crate::transport::{Interest, Share, Transport};
use crate::writer::{BinaryWriter, TextWriter};

/// How much [`WebSocket::pending`] keeps for later, in octets of memory; and how much is read by a
/// call that must not wait before it gives up to find a message in it, in octets.
const MAX_PENDING: usize = 1024 * 1024;

/// What a message in the queue costs, in octets of memory: an empty one is not free.
const fn cost(message: &Message) -> usize {
    size_of::<Message>() + message.len()
}

/// While there are senders, how long the owner waits at most before it looks what they did.
const LOOK_AROUND: Duration = Duration::from_millis(250);

/// An open WebSocket over the stream `S`, in the role `R`.
///
/// It comes from [`connect`](crate::connect), [`accept`](crate::accept),
/// [`accept_with`](crate::accept_with) or a [`Builder`].
///
/// # Receiving
/// [`recv`](Self::recv) waits for a message; [`recv_timeout`](Self::recv_timeout) waits for a time;
/// [`try_recv`](Self::try_recv) does not wait; [`messages`](Self::messages) iterates;
/// [`pending`](Self::pending) counts what is there. Each of them also answers pings, sends pings of
/// its own, and replies to a Close: **that happens only while one of them runs**. A message is
/// assembled as it arrives, never by the length that was announced.
///
/// # Sending
/// [`send`](Self::send) waits until the operating system has taken the message. One exception: a
/// send that directly follows a receive is held back if there is more input to be received already,
/// so that what one read brought is answered with one write; the next receive or send, or
/// [`flush`](Self::flush), writes it. [`sender`](Self::sender) gives a handle for other threads.
///
/// # Deadlines
/// By default ([`Timeouts`]): 10 s for the opening handshake; a ping after 30 s of silence, and
/// 10 s for its pong; 5 s for the closing handshake; no limit for silence that pongs answer. A peer
/// that does not read for 30 s is given up while it is sent to ([`Builder::write_timeout`]).
///
/// # Closing
/// [`close`](Self::close) performs the closing handshake. When the *peer* closes, `recv` replies,
/// ends the stream as RFC 6455 §7.1.1 wants it (the server first), and gives `Ok(None)`;
/// [`outcome`](Self::outcome) then tells the code and the reason.
///
/// Dropping an open WebSocket sends a Close with the code 1001 if that is possible without waiting,
/// and ends the stream without waiting for the reply; bytes that the peer has sent may make the
/// operating system reset the connection then. Close first.
///
/// # Non-blocking streams
/// [`WouldBlock`](io::ErrorKind::WouldBlock) from the stream is passed on, and each method goes on
/// where it was when it is called again. A message that was refused with `WouldBlock` was not taken;
/// one that was taken is written by the calls that follow.
///
/// # Example
/// ```
/// # let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
/// # let addr = listener.local_addr()?;
/// std::thread::spawn(move || -> std::io::Result<()> {
///     let mut ws = motews_std::accept(listener.accept()?.0)?;
///     while let Some(message) = ws.recv()? {
///         ws.send(message)?; // an echo
///     }
///     Ok(())
/// });
///
/// let mut ws = motews_std::connect(&format!("ws://{addr}/"))?;
/// ws.send("Hello")?;
/// assert_eq!(ws.recv()?, Some("Hello".into()));
/// let outcome = ws.close(motews_std::CloseCode::NORMAL, "done")?;
/// assert!(outcome.clean);
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct WebSocket<S: Transport = NetStream, R: Role = Client<OsEntropy>> {
    stream: S,
    /// Whether the stream can be waited for; unknown after the caller had it.
    can_wait: Cell<Option<bool>>,
    shared: Arc<Shared<R>>,
    /// What was read and is not decoded yet.
    rx: Window<Box<[u8]>>,
    /// The last read filled the window, so there is more.
    more: bool,
    /// The next send may be held back.
    cork: bool,
    /// The message that is arriving.
    message: Vec<u8>,
    /// A part of it came with the last read.
    heard: bool,
    #[cfg(feature = "deflate")]
    inflate: Option<Box<crate::deflate::Inflate>>,
    #[cfg(feature = "deflate")]
    deflate: Option<motews::deflate::DeflateParams>,
    /// Whole messages that [`WebSocket::pending`] has found.
    queue: VecDeque<Message>,
    queued: usize,
    epoch: Instant,
    deadlines: Deadlines,
    timeouts: Timeouts,
    subprotocol: Option<String>,
    reason: String,
    pong: Option<(Instant, ControlPayload)>,
    ending: Ending,
}

/// How far the end of a connection has come (RFC 6455 §7.1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    /// It has not begun.
    No,
    /// What is owed is being written.
    Flush,
    /// This side's half has ended; what the peer still sends is dropped.
    Drain,
    /// It is over.
    Over(Cause),
}

/// What ended a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cause {
    /// What the connection itself knows: a Close, a violation.
    Known,
    TimedOut(Due),
    Io(io::ErrorKind),
    /// The peer did not read.
    Stuck,
    /// No masking key could be had for what is owed.
    Entropy,
}

/// How long to wait.
#[derive(Clone, Copy, Debug)]
enum Until {
    Forever,
    At(Instant),
    Now,
}

enum Next {
    Message(DataKind),
    Nothing,
    Closed,
}

enum Fill {
    /// So many octets, or something else has changed.
    Something(usize),
    Nothing,
}

/// What [`WebSocket::try_recv`] and [`WebSocket::recv_timeout`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Received {
    /// A message.
    Message(Message),
    /// None yet; there may be one later.
    Nothing,
    /// None, and none will come: the WebSocket is closed.
    Closed,
}

/// How a connection ended (RFC 6455 §7.1.4 to §7.1.6).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The code of the Close that the peer sent; 1005 if it had none; 1006 if no Close came.
    pub code: CloseCode,
    /// The reason in it, for people who look for a fault.
    pub reason: String,
    /// Whether the closing handshake was completed.
    pub clean: bool,
}

impl<S: Transport, R: Role> WebSocket<S, R> {
    /// A WebSocket over a stream whose opening handshake was done elsewhere, by an HTTP server for
    /// example, with the default settings. `leftover` is what was read beyond the handshake: the
    /// peer's first frames.
    ///
    /// ```
    /// use motews_std::{Plain, WebSocket, role::Server};
    ///
    /// # let stream = Plain(std::io::Cursor::new(Vec::new()));
    /// let frame = b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58"; // read along with the request
    /// let mut ws = WebSocket::from_upgraded(stream, Server, frame);
    /// assert_eq!(ws.recv()?, Some("Hello".into()));
    /// # Ok::<(), motews_std::RecvError>(())
    /// ```
    #[must_use]
    pub fn from_upgraded(stream: S, role: R, leftover: &[u8]) -> Self {
        Builder::new().from_upgraded(stream, role, leftover)
    }

    pub(crate) fn new(
        stream: S,
        role: R,
        leftover: &[u8],
        subprotocol: Option<String>,
        builder: &Builder,
    ) -> Self {
        let config = motews::Config {
            max_message_len: builder.max_message_len as u64,
            ..motews::Config::default()
        };
        #[cfg(feature = "deflate")]
        let config = match builder.agreed {
            None => config,
            Some(_) => motews::Config {
                max_message_len: motews::deflate::wire_limit(config.max_message_len),
                compression: true,
            },
        };
        let connection = Connection::with_config(role, config);
        let shared = Shared::new(connection, builder.write_timeout, builder.max_backlog);
        #[cfg(feature = "deflate")]
        if let Some(agreed) = builder.agreed {
            shared.lock().packing = crate::deflate::Compress::new(agreed).map(|compress| {
                Box::new(crate::shared::Packing {
                    compress,
                    sent: crate::deflate::Octets::default(),
                })
            });
        }
        let room = builder.read_buffer.max(leftover.len()).max(1);
        let mut rx = Window::new(vec![0; room].into_boxed_slice());
        rx.spare()[..leftover.len()].copy_from_slice(leftover);
        rx.fill(leftover.len());
        let mut deadlines = Deadlines::new(Millis(0));
        deadlines.opened(Millis(0));
        Self {
            stream,
            can_wait: Cell::new(None),
            shared: Arc::new(shared),
            rx,
            more: false,
            cork: false,
            message: Vec::new(),
            heard: false,
            #[cfg(feature = "deflate")]
            inflate: builder
                .agreed
                .and_then(|agreed| crate::deflate::Inflate::new(agreed, builder.max_message_len)),
            #[cfg(feature = "deflate")]
            deflate: builder.agreed,
            queue: VecDeque::new(),
            queued: 0,
            epoch: Instant::now(),
            deadlines,
            timeouts: builder.timeouts,
            subprotocol,
            reason: String::new(),
            pong: None,
            ending: Ending::No,
        }
    }

    /// Prepares a stream that no handshake has prepared. If that fails, so does the first receive.
    pub(crate) fn prepare(&mut self) {
        if let Err(error) = self.stream.prepare() {
            self.fail(Cause::Io(error.kind()));
        }
    }

    // ---- receive ----

    /// Waits for the next message. `None`: the WebSocket was closed, by either side.
    ///
    /// # Errors
    /// [`RecvError::Protocol`] if the peer breaks the protocol, sends a message above
    /// [`Builder::max_message_len`], or leaves without a Close; [`RecvError::TimedOut`] if it does
    /// not answer; [`RecvError::NotRead`] if a send timed out; [`RecvError::Io`]. After an error, the same one comes again.
    /// `WouldBlock` from a non-blocking stream is the exception: call again.
    pub fn recv(&mut self) -> Result<Option<Message>, RecvError> {
        match self.receive(Until::Forever)? {
            Received::Message(message) => Ok(Some(message)),
            _ => Ok(None),
        }
    }

    /// Waits for the next message, but no longer than `timeout`. With a stream that cannot be
    /// waited for it is as [`try_recv`](Self::try_recv).
    ///
    /// # Errors
    /// As [`recv`](Self::recv), but `WouldBlock` is [`Received::Nothing`].
    pub fn recv_timeout(&mut self, timeout: Duration) -> Result<Received, RecvError> {
        let until = Instant::now().checked_add(timeout);
        self.receive(until.map_or(Until::Forever, Until::At))
    }

    /// The next message, if it is there. Does not wait, unless the stream itself does (see
    /// [`Transport`]).
    ///
    /// # Errors
    /// As [`recv`](Self::recv), but `WouldBlock` is [`Received::Nothing`].
    pub fn try_recv(&mut self) -> Result<Received, RecvError> {
        self.receive(Until::Now)
    }

    /// How many messages are there, whole, to be received without waiting. Reads what the stream
    /// has, and never waits for more, in the midst of a frame neither (unless the stream itself
    /// does, see [`Transport`]). Beyond 1 MiB of them it leaves the rest to the stream.
    ///
    /// That the WebSocket was closed, or an error, is told by the receive that comes to it.
    pub fn pending(&mut self) -> usize {
        let mut read = 0;
        while self.queued < MAX_PENDING {
            if let Some(kind) = self.decode() {
                let message = self.take_message(kind);
                self.queued += cost(&message);
                self.queue.push_back(message);
                continue;
            }
            if self.is_ending() {
                break;
            }
            self.tick();
            if read >= MAX_PENDING || self.is_ending() {
                break;
            }
            match self.fill(Until::Now) {
                Ok(Fill::Something(len)) => read += len,
                Ok(Fill::Nothing) => break,
                Err(error) => {
                    if error.kind() != io::ErrorKind::WouldBlock {
                        self.fail(Cause::Io(error.kind()));
                    }
                    break;
                }
            }
        }
        self.queue.len()
    }

    /// The messages, one after the other, until the WebSocket is closed or fails. To send from
    /// within the loop, use a [`sender`](Self::sender).
    ///
    /// ```
    /// # fn f(mut ws: motews_std::WebSocket) -> std::io::Result<()> {
    /// let sender = ws.sender()?;
    /// for message in ws.messages() {
    ///     sender.send(message?)?;
    /// }
    /// # Ok(()) }
    /// ```
    pub const fn messages(&mut self) -> Messages<'_, S, R> {
        Messages {
            socket: self,
            failed: false,
        }
    }

    fn receive(&mut self, until: Until) -> Result<Received, RecvError> {
        self.cork = false;
        let message = if let Some(message) = self.queue.pop_front() {
            self.queued -= cost(&message);
            message
        } else {
            match self.next(until)? {
                Next::Message(kind) => self.take_message(kind),
                Next::Nothing => return Ok(Received::Nothing),
                Next::Closed => return Ok(Received::Closed),
            }
        };
        self.cork = !self.rx.is_empty() || !self.queue.is_empty();
        Ok(Received::Message(message))
    }

    fn take_message(&mut self, kind: DataKind) -> Message {
        let bytes = core::mem::take(&mut self.message);
        match kind {
            DataKind::Binary => Message::Binary(bytes),
            // The connection has checked it, so nothing is ever replaced.
            DataKind::Text => Message::Text(
                String::from_utf8(bytes)
                    .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()),
            ),
        }
    }

    /// The next message, in `self.message`.
    fn next(&mut self, until: Until) -> Result<Next, RecvError> {
        let mut read = 0;
        loop {
            if let Some(kind) = self.decode() {
                return Ok(Next::Message(kind));
            }
            if self.is_ending() {
                return self.end(until);
            }
            self.tick();
            if self.is_ending() {
                continue;
            }
            // Pings without end are no reason to stay.
            let over = match until {
                Until::Forever => false,
                Until::At(at) => read > 0 && Instant::now() >= at,
                Until::Now => read >= MAX_PENDING,
            };
            if over {
                return Ok(Next::Nothing);
            }
            match self.fill(until) {
                Ok(Fill::Something(len)) => read += len,
                Ok(Fill::Nothing) => return Ok(Next::Nothing),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return match until {
                        Until::Forever => Err(error.into()),
                        _ => Ok(Next::Nothing),
                    };
                }
                Err(error) => {
                    self.fail(Cause::Io(error.kind()));
                    return Err(error.into());
                }
            }
        }
    }

    /// Decodes what was read, up to the end of a message. Replies to control frames are written
    /// once, when all is decoded or a message is whole.
    fn decode(&mut self) -> Option<DataKind> {
        if self.rx.is_empty() {
            return None;
        }
        let mut found = None;
        let mut answered = false;
        let mut inner = self.shared.lock();
        while found.is_none() && !self.rx.is_empty() {
            let Ok(step) = inner.connection.step(self.rx.unread()) else {
                self.rx.take(usize::MAX);
                break;
            };
            let consumed = step.consumed();
            match step.resolve(self.rx.take(consumed)) {
                Some(Event::Data(chunk)) => {
                    if chunk.first {
                        self.message.clear();
                    }
                    self.heard = true;
                    #[cfg(feature = "deflate")]
                    if let Some(inflate) = &mut self.inflate {
                        let kind = chunk.kind;
                        match inflate.append(chunk, &mut self.message) {
                            Ok(ended) => found = ended.then_some(kind),
                            // The next step tells it.
                            Err(violation) => inner.connection.fail(violation),
                        }
                        continue;
                    }
                    // Grows by what has arrived [FR17].
                    self.message.extend_from_slice(chunk.bytes);
                    found = chunk.last.then_some(chunk.kind);
                }
                Some(Event::Close(frame)) => {
                    self.reason = frame.map_or(String::new(), |frame| frame.reason().to_owned());
                    self.shared.notify();
                }
                // Each of several pings in one read gets its pong, while there is room [CT07].
                Some(Event::Ping(_)) => answered |= inner.transmit().is_ok(),
                Some(Event::Pong(payload)) => self.pong = Some((Instant::now(), payload)),
                _ => {}
            }
        }
        if answered || inner.connection.wants_transmit() {
            let can_wait = self.can_wait.get().unwrap_or(false);
            let stream = &mut self.stream;
            // What fails here shows again where it is waited for.
            if inner.transmit().is_ok() {
                let _ = self
                    .shared
                    .flush(inner, &mut Own { stream, can_wait }, false);
            }
        }
        found
    }

    /// Reads once, waiting for it as long as `until` and the deadlines allow. Writes what is owed
    /// before, and while it waits.
    fn fill(&mut self, until: Until) -> io::Result<Fill> {
        let can_wait = self.can_wait();
        let blocked = self.flush_owed(can_wait);
        if self.is_over() {
            return Ok(Fill::Something(0)); // which the caller looks at
        }
        if can_wait && !self.more {
            let limit = match until {
                Until::Forever => None,
                Until::At(at) => Some(at.saturating_duration_since(Instant::now())),
                Until::Now => Some(Duration::ZERO),
            };
            let due = self.deadlines.next(&self.timeouts);
            let due = due.map(|due| due.since(self.now()));
            let shared = Arc::strong_count(&self.shared) > 1;
            let look = shared.then_some(LOOK_AROUND);
            let timeout = limit.into_iter().chain(due).chain(look).min();
            let interest = Interest {
                write: blocked,
                ..Interest::READ
            };
            if !self.stream.wait(interest, timeout)? {
                return Ok(match limit {
                    Some(limit) if Some(limit) == timeout => Fill::Nothing,
                    _ => Fill::Something(0), // a deadline, which the caller looks at
                });
            }
        }
        let spare = self.rx.spare();
        let room = spare.len();
        match self.stream.read_now(spare) {
            Ok(0) => {
                self.more = false;
                // Where the closing handshake is not complete, this is a failure [CL18].
                let _ = self.shared.lock().connection.receive_eof();
                self.shared.notify();
                Ok(Fill::Something(0))
            }
            Ok(len) => {
                self.rx.fill(len);
                self.more = len == room;
                let now = self.now();
                self.deadlines.received(now);
                Ok(Fill::Something(len))
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && can_wait => {
                self.more = false;
                Ok(match until {
                    Until::Now => Fill::Nothing,
                    _ => Fill::Something(0),
                })
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(Fill::Something(0)),
            Err(error) => {
                self.more = false;
                Err(error)
            }
        }
    }

    /// Writes what is there to be written, without waiting, and tells whether some is left. Without
    /// a masking key for what is owed, the connection fails.
    fn flush_owed(&mut self, can_wait: bool) -> bool {
        let mut inner = self.shared.lock();
        if inner.transmit().is_err() {
            drop(inner);
            self.fail(Cause::Entropy);
            return false;
        }
        if inner.frame_open() || inner.lost {
            return false; // whoever writes it will go on with the rest
        }
        let stream = &mut self.stream;
        match inner.flush(&mut Own { stream, can_wait }) {
            Ok(()) => false,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => true,
            Err(_) => {
                // There may still be something to read: the peer's Close, for example.
                inner.lose();
                self.shared.notify();
                false
            }
        }
    }

    /// Looks what is due.
    fn tick(&mut self) {
        let now = self.now();
        let mut inner = self.shared.lock();
        // Where nothing can be written any more, what there is to read is not read for ever.
        let ends = inner.lost || inner.connection.state() != State::Open;
        let reads = core::mem::take(&mut inner.reads);
        let frame_open = inner.frame_open();
        drop(inner);
        if core::mem::take(&mut self.heard) {
            self.deadlines.received_message(now);
        }
        // On a slow link, the ping and its pong come behind what was sent before. And in the midst
        // of a frame no ping can be sent, but who sends finds out whether the peer still reads.
        if reads || frame_open {
            self.deadlines.received(now);
        }
        if ends {
            self.deadlines.closing(now);
        }
        match self.deadlines.poll(now, &self.timeouts) {
            Some(Due::Ping) => {
                // If there is no room for it: a peer that reads nothing is found out by its silence.
                let ping = self.own(|shared, own| shared.ping(own, b"", true));
                if let Err(SendError::Entropy) = ping {
                    self.fail(Cause::Entropy);
                }
            }
            Some(Due::Idle) => {
                let close = self.start_close(CloseCode::GOING_AWAY, "idle");
                if let Err(SendError::Entropy) = close {
                    self.fail(Cause::Entropy);
                }
                self.deadlines.closing(now);
            }
            // Where nothing was received for long, the pong may have come in the meantime.
            Some(Due::Pong) if self.has_input() => {}
            Some(due) => self.fail(Cause::TimedOut(due)),
            None => {}
        }
    }

    /// Whether the stream has something to be read, as far as it tells.
    fn has_input(&self) -> bool {
        let now = Some(Duration::ZERO);
        self.can_wait() && self.stream.wait(Interest::READ, now).unwrap_or(false)
    }

    /// The connection ends here, without a closing handshake.
    fn fail(&mut self, cause: Cause) {
        let mut inner = self.shared.lock();
        let _ = inner.connection.receive_eof();
        inner.lose();
        drop(inner);
        self.shared.notify();
        self.ending = Ending::Over(cause);
        let _ = self.stream.shutdown();
    }

    const fn is_over(&self) -> bool {
        matches!(self.ending, Ending::Over(_))
    }

    /// Whether nothing more is received.
    fn is_ending(&self) -> bool {
        if self.ending != Ending::No {
            return true;
        }
        let inner = self.shared.lock();
        match inner.connection.state() {
            State::Open => false,
            State::Closing => inner.connection.close_code() != CloseCode::ABNORMAL_CLOSURE,
            State::Closed | State::Failed => true,
        }
    }

    /// Ends the connection as §7.1.1 wants it: everything owed is written; the server, or who
    /// failed the connection, ends its half first; what still comes is read and dropped.
    // [CL08]
    fn end(&mut self, until: Until) -> Result<Next, RecvError> {
        if !self.is_over() && self.shared.lock().stuck {
            self.fail(Cause::Stuck);
        }
        while !self.is_over() {
            let now = self.now();
            self.deadlines.closing(now);
            if self.deadlines.poll(now, &self.timeouts) == Some(Due::Close) {
                break;
            }
            match self.end_step(until) {
                Ok(Fill::Something(_)) => {}
                Ok(Fill::Nothing) => return self.verdict(Cause::Known),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return match until {
                        Until::Forever => Err(error.into()),
                        _ => self.verdict(Cause::Known),
                    };
                }
                Err(_) => break,
            }
        }
        let cause = match self.ending {
            Ending::Over(cause) => cause,
            _ => {
                let _ = self.stream.shutdown();
                self.ending = Ending::Over(Cause::Known);
                Cause::Known
            }
        };
        self.verdict(cause)
    }

    fn end_step(&mut self, until: Until) -> io::Result<Fill> {
        let can_wait = self.can_wait();
        match self.ending {
            Ending::No => {
                self.message = Vec::new();
                self.more = false;
                self.ending = Ending::Flush;
                Ok(Fill::Something(0))
            }
            Ending::Flush => {
                let blocked = self.flush_owed(can_wait);
                if self.is_over() {
                    return Ok(Fill::Something(0));
                }
                let inner = self.shared.lock();
                if !inner.lost && inner.frame_open() {
                    // Another thread is in the midst of a frame.
                    drop(self.shared.wait_for_change(inner, LOOK_AROUND));
                    return Ok(Fill::Something(0));
                }
                if !inner.lost && blocked {
                    drop(inner);
                    return self.wait_to_end(Interest::WRITE, until);
                }
                // RFC 6455 §7.1.1: the server first; the client when the server has [CL06] [CL07]
                let first = inner.connection.should_shutdown();
                drop(inner);
                if first {
                    let _ = self.stream.shutdown();
                }
                self.ending = Ending::Drain;
                Ok(Fill::Something(0))
            }
            _ => {
                if can_wait && !self.more {
                    let waited = self.wait_to_end(Interest::READ, until)?;
                    if matches!(waited, Fill::Nothing) {
                        return Ok(waited);
                    }
                }
                self.rx.take(usize::MAX);
                match self.stream.read_now(self.rx.spare()) {
                    Ok(0) => {
                        let _ = self.shared.lock().connection.receive_eof();
                        let _ = self.stream.shutdown();
                        self.ending = Ending::Over(Cause::Known);
                    }
                    Ok(_) => {}
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock && can_wait => {}
                    Err(error) => return Err(error),
                }
                Ok(Fill::Something(0))
            }
        }
    }

    /// Waits as long as the closing deadline and `until` allow.
    fn wait_to_end(&self, interest: Interest, until: Until) -> io::Result<Fill> {
        if !self.can_wait() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let due = self.deadlines.next(&self.timeouts);
        let due = due.map(|due| due.since(self.now()));
        let limit = match until {
            Until::Forever => None,
            Until::At(at) => Some(at.saturating_duration_since(Instant::now())),
            Until::Now => Some(Duration::ZERO),
        };
        let timeout = limit.into_iter().chain(due).min();
        let ready = self.stream.wait(interest, timeout)?;
        Ok(match limit {
            Some(limit) if !ready && Some(limit) == timeout => Fill::Nothing,
            _ => Fill::Something(0),
        })
    }

    /// What a connection that ended ended with.
    fn verdict(&self, cause: Cause) -> Result<Next, RecvError> {
        match cause {
            Cause::Known => {}
            Cause::TimedOut(due) => return Err(RecvError::TimedOut(due)),
            Cause::Io(kind) => return Err(RecvError::Io(kind.into())),
            Cause::Stuck => return Err(RecvError::NotRead),
            Cause::Entropy => return Err(RecvError::Entropy),
        }
        match self.shared.lock().connection.violation() {
            Some(violation) => Err(RecvError::Protocol(violation)),
            None => Ok(Next::Closed),
        }
    }

    // ---- send ----

    /// Sends a message: strings as text, bytes as binary, a [`Message`] as what it is. Waits until
    /// the operating system has taken it; see [Sending](Self#sending) for the exception.
    ///
    /// # Errors
    /// [`SendError::Closed`] if the WebSocket is closing or the peer has left,
    /// [`SendError::TimedOut`] if the peer does not read, [`SendError::Io`].
    pub fn send(&mut self, message: impl AsMessage) -> Result<(), SendError> {
        let how = How {
            hold: core::mem::take(&mut self.cork),
            ..How::default()
        };
        let message = message.as_message();
        self.own(|shared, own| shared.send(own, message.kind(), message.as_bytes(), true, how))
    }

    /// Sends a message as it is, where others are compressed: see
    /// [`Builder::deflate`](crate::Builder::deflate).
    ///
    /// # Errors
    /// As [`send`](Self::send).
    // [PD30]
    #[cfg(feature = "deflate")]
    pub fn send_uncompressed(&mut self, message: impl AsMessage) -> Result<(), SendError> {
        let how = How {
            hold: core::mem::take(&mut self.cork),
            plain: true,
            ..How::default()
        };
        let message = message.as_message();
        self.own(|shared, own| shared.send(own, message.kind(), message.as_bytes(), true, how))
    }

    /// Sends a text message.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn send_text(&mut self, text: &str) -> Result<(), SendError> {
        self.send(text)
    }

    /// Sends a binary message.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn send_binary(&mut self, bytes: &[u8]) -> Result<(), SendError> {
        self.send(bytes)
    }

    /// Begins a text message whose length is not known yet (§5.4). See [`TextWriter`].
    pub const fn stream_text(&mut self) -> TextWriter<'_, S, R> {
        TextWriter::new(self)
    }

    /// Begins a binary message whose length is not known yet (§5.4). See [`BinaryWriter`].
    pub const fn stream_binary(&mut self) -> BinaryWriter<'_, S, R> {
        BinaryWriter::new(self)
    }

    pub(crate) fn send_fragment(
        &mut self,
        kind: DataKind,
        payload: &[u8],
        fin: bool,
        begun: bool,
    ) -> Result<(), SendError> {
        let how = How {
            streaming: begun,
            insist: fin,
            ..How::default()
        };
        self.own(|shared, own| shared.send(own, kind, payload, fin, how))
    }

    pub(crate) fn abandon_message(&mut self) {
        let _ = self.own(|shared, own| {
            shared.abandon_message(own);
            Ok(())
        });
    }

    /// Sends a ping with at most 125 octets of payload (§5.5.2). The pong is received along with
    /// the messages; [`last_pong`](Self::last_pong) tells it. The keepalive of [`Timeouts`] does
    /// without this.
    ///
    /// # Errors
    /// As [`send`](Self::send), and [`SendError::Invalid`] for a longer payload.
    pub fn ping(&mut self, payload: &[u8]) -> Result<(), SendError> {
        self.own(|shared, own| shared.ping(own, payload, false))
    }

    /// Writes what was held back, and waits until the operating system has taken it.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn flush(&mut self) -> Result<(), SendError> {
        self.cork = false;
        self.own(|shared, own| shared.flush_all(own))
    }

    fn own<T>(
        &mut self,
        f: impl FnOnce(&Shared<R>, &mut Own<'_, S>) -> Result<T, SendError>,
    ) -> Result<T, SendError> {
        let can_wait = self.can_wait();
        let stream = &mut self.stream;
        f(&self.shared, &mut Own { stream, can_wait })
    }

    // ---- close ----

    /// Begins the closing handshake and returns. Messages can be received until the peer's Close
    /// comes, and none can be sent.
    ///
    /// # Errors
    /// [`SendError::Closed`] if it has begun already, [`SendError::Invalid`] for a code that may
    /// not be sent or a reason above 123 octets, [`SendError::Io`].
    pub fn start_close(&mut self, code: CloseCode, reason: &str) -> Result<(), SendError> {
        self.own(|shared, own| shared.start_close(own, code, reason))
    }

    /// Performs the closing handshake: sends a Close, drops what the peer still sends until its
    /// Close comes, and ends the stream, the server first (§7.1.1). Takes no longer than
    /// [`Timeouts::close`]. If the WebSocket is closing already, waits for the end only.
    ///
    /// # Errors
    /// [`SendError::Invalid`] for a code that may not be sent or a reason above 123 octets;
    /// [`SendError::Io`] with `WouldBlock` from a non-blocking stream: call again. That the peer
    /// does not reply, or has left, is no error, but an [`Outcome`] that is not clean.
    pub fn close(&mut self, code: CloseCode, reason: &str) -> Result<Outcome, SendError> {
        match self.start_close(code, reason) {
            Ok(()) | Err(SendError::Closed) => {}
            Err(SendError::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        loop {
            match self.next(Until::Forever) {
                Ok(Next::Message(_) | Next::Nothing) => {}
                Err(error) if error.is_would_block() => {
                    return Err(io::Error::from(io::ErrorKind::WouldBlock).into());
                }
                Err(RecvError::Entropy) => return Err(SendError::Entropy),
                Ok(Next::Closed) | Err(_) => return Ok(self.current_outcome()),
            }
        }
    }

    /// How the connection ended; `None` while it has not.
    #[must_use]
    pub fn outcome(&self) -> Option<Outcome> {
        self.is_ending().then(|| self.current_outcome())
    }

    fn current_outcome(&self) -> Outcome {
        let inner = self.shared.lock();
        Outcome {
            code: inner.connection.close_code(),
            reason: self.reason.clone(),
            clean: inner.connection.is_clean(),
        }
    }

    // ---- look ----

    /// The subprotocol that was agreed upon in the opening handshake (§1.9).
    #[must_use]
    pub fn subprotocol(&self) -> Option<&str> {
        self.subprotocol.as_deref()
    }

    /// What was agreed upon for compression (RFC 7692), if anything.
    #[cfg(feature = "deflate")]
    #[must_use]
    pub const fn deflate(&self) -> Option<motews::deflate::DeflateParams> {
        self.deflate
    }

    /// What was received and sent so far, and what it was compressed to; `None` where nothing was
    /// agreed upon for compression.
    #[cfg(feature = "deflate")]
    #[must_use]
    pub fn traffic(&self) -> Option<crate::Traffic> {
        Some(crate::Traffic {
            received: self.inflate.as_ref()?.received(),
            sent: self.shared.lock().packing.as_ref()?.sent,
        })
    }

    /// When the newest pong was received, and its payload: that of the ping that it answers
    /// (§5.5.3). The pings of the keepalive have none. The time since that ping was sent is the
    /// round trip, if a receive was running when the pong came.
    #[must_use]
    pub fn last_pong(&self) -> Option<(Instant, &[u8])> {
        let (at, payload) = self.pong.as_ref()?;
        Some((*at, payload.as_bytes()))
    }

    /// Where the connection stands.
    #[must_use]
    pub fn state(&self) -> State {
        self.shared.lock().connection.state()
    }

    /// What failed the connection, if the peer broke the protocol or left.
    #[must_use]
    pub fn violation(&self) -> Option<ProtocolViolation> {
        self.shared.lock().connection.violation()
    }

    /// Octets of frames that wait to be written.
    #[must_use]
    pub fn backlog(&self) -> usize {
        self.shared.lock().waiting()
    }

    /// The stream: for its addresses and options. It may be set to non-blocking mode and back.
    pub fn stream(&self) -> &S {
        self.can_wait.set(None);
        &self.stream
    }

    /// The stream. What is read from it or written to it breaks the connection.
    pub fn stream_mut(&mut self) -> &mut S {
        self.can_wait.set(None);
        &mut self.stream
    }

    fn can_wait(&self) -> bool {
        let known = self
            .can_wait
            .get()
            .unwrap_or_else(|| self.stream.can_wait());
        self.can_wait.set(Some(known));
        known
    }

    fn now(&self) -> Millis {
        Millis(self.epoch.elapsed().as_millis() as u64)
    }
}

impl<S: Share, R: Role> WebSocket<S, R> {
    /// A handle that sends from other threads, while this one receives. It can be cloned.
    ///
    /// # Errors
    /// Those of the operating system: too many open files.
    pub fn sender(&self) -> io::Result<Sender<S, R>> {
        Ok(Sender::new(self.stream.share()?, self.shared.clone()))
    }
}

/// A best effort, without waiting: see [Closing](WebSocket#closing).
impl<S: Transport, R: Role> Drop for WebSocket<S, R> {
    fn drop(&mut self) {
        if !self.is_over() {
            // RFC 6455 §7.3: the peer is told, as far as that needs no waiting [CL22]
            if self.start_close(CloseCode::GOING_AWAY, "").is_err() {
                // The connection was closing already: the reply to the peer's Close may be owed.
                self.flush_owed(self.can_wait());
            }
            // A sender's handle keeps the stream open, so its end is not left to the stream's drop.
            self.fail(Cause::Known);
        }
    }
}

impl<S: Transport, R: Role> fmt::Debug for WebSocket<S, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebSocket")
            .field("state", &self.state())
            .finish_non_exhaustive()
    }
}

/// The messages of a WebSocket: see [`WebSocket::messages`].
pub struct Messages<'a, S: Transport, R: Role> {
    socket: &'a mut WebSocket<S, R>,
    failed: bool,
}

impl<S: Transport, R: Role> Iterator for Messages<'_, S, R> {
    type Item = Result<Message, RecvError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let next = self.socket.recv().transpose();
        if let Some(Err(error)) = &next {
            self.failed = !error.is_would_block();
        }
        next
    }
}

impl<S: Transport, R: Role> fmt::Debug for Messages<'_, S, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Messages")
    }
}
