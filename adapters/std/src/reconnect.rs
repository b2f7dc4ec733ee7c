//! A client that comes back (RFC 6455 §7.2.3).

use core::fmt;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::io;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Instant;

use motews::interruption;
use motews::reconnect::{Backoff, Cause, Reconnect};
use motews::{CloseCode, Ended, Millis};
use motews_net::http::Response;

use crate::blocking::sender::Sender;
use crate::blocking::sending::Failure;
use crate::blocking::socket::WebSocket;
use crate::connect::awaited::Awaited;
use crate::connect::connector::Connector;
use crate::entropy::OsEntropy;
use crate::error::{ConnectError, RecvError, SendError};
use crate::message::Message;

/// A client that connects again when its connection has ended, by the rules of [`Backoff`].
///
/// It sends no message twice: whoever sends learns of each one whether it was taken, and of each
/// connection how many of its messages may be lost.
///
/// ```no_run
/// use motews_std::{Backoff, Connector, Reconnecting, Update};
///
/// let mut client = Reconnecting::new(Connector::new(), "ws://example.com/", Backoff::DEFAULT);
/// while let Some(update) = client.next() {
///     match update {
///         Update::Opened(_) => _ = client.send("subscribe"),
///         Update::Message(message) => println!("{message:?}"),
///         Update::Ended(end) => eprintln!("{end}"), // and so it goes on, unless that is hopeless
///         _ => {}
///     }
/// }
/// ```
///
/// # Other threads
/// They send and close by a [`sender`](Self::sender), whose close ends a wait for the next attempt as
/// well. An [`Aborter`](crate::Aborter) of the [`Connector`] ends everything at once: the wait, the attempt
/// and the connection.
pub struct Reconnecting {
    connector: Connector,
    url: String,
    reconnect: Reconnect,
    state: State,
    link: Arc<Link>,
    epoch: Instant,
}

enum State {
    Waiting(Instant),
    Open(Box<WebSocket>),
    /// It was closed while there was no connection.
    Closing,
    Over,
}

/// What the client and its senders share.
#[derive(Debug, Default)]
struct Link {
    /// The connection that is open now. Who sends over it holds this, so its end is reported when nobody
    /// does any more.
    current: RwLock<Option<Current>>,
    /// The application has closed: there is no other attempt, however this connection ends.
    is_closing: AtomicBool,
    /// Ends a wait for the next attempt.
    wake: Awaited<()>,
}

#[derive(Debug, Default)]
struct Current {
    /// If there are senders.
    sender: Option<Sender>,
    /// Messages that were sent over it.
    sent: AtomicU64,
}

/// What [`Reconnecting::next`] returns.
pub type Update = interruption::Update<Response<()>, Message, Interruption>;

/// Why there is no connection any more, and when there is the next attempt.
pub type Interruption = interruption::Interruption<ConnectError, RecvError>;

/// What has ended a connection or an attempt.
pub type Interrupted = interruption::Interrupted<ConnectError, RecvError>;

/// Why a message was not sent. After `InboundFull`, call [`Reconnecting::next`] first.
pub type NotSent = interruption::NotSent<Message, SendError>;

impl Link {
    fn read(&self) -> RwLockReadGuard<'_, Option<Current>> {
        self.current.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Option<Current>> {
        self.current.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn close(&self) {
        self.is_closing.store(true, Ordering::SeqCst);
        self.wake.set(());
    }

    fn is_closing(&self) -> bool {
        self.is_closing.load(Ordering::SeqCst)
    }

    /// Notes what has become of a Close.
    fn closed(&self, closed: Result<(), SendError>) -> Result<(), SendError> {
        if !matches!(closed, Err(SendError::Invalid(_))) {
            self.close();
        }
        closed
    }
}

impl Current {
    /// Notes what has become of a message.
    fn delivered(&self, message: Message, result: Result<(), Failure>) -> Result<(), NotSent> {
        if result
            .as_ref()
            .map_or_else(|failure| failure.was_taken, |()| true)
        {
            self.sent.fetch_add(1, Ordering::Relaxed);
        }
        result.map_err(|failure| match failure {
            Failure {
                error,
                was_taken: true,
            } => NotSent::Unknown(error),
            Failure {
                error: SendError::InboundFull,
                ..
            } => NotSent::InboundFull(message),
            _ => NotSent::Unsent(message),
        })
    }
}

impl Reconnecting {
    /// Returns a client that connects as soon as [`next`](Self::next) is called.
    #[must_use]
    pub fn new(connector: Connector, url: &str, backoff: Backoff) -> Self {
        let now = Instant::now();
        Self {
            connector,
            url: url.to_owned(),
            reconnect: Reconnect::new(backoff),
            state: State::Waiting(now),
            link: Arc::default(),
            epoch: now,
        }
    }

    /// Waits for a message, for the end of a connection, or for the next one. `None` when there will be
    /// none: after an [`Interruption`] without a further attempt.
    #[expect(
        clippy::should_implement_trait,
        reason = "the same name as in the adapters that are no iterators"
    )]
    pub fn next(&mut self) -> Option<Update> {
        loop {
            match &mut self.state {
                State::Waiting(at) => {
                    let at = *at;
                    self.wait(at);
                    match self.connect() {
                        Ok(Some(response)) => return Some(Update::Opened(response)),
                        Ok(None) => self.state = State::Closing,
                        Err(error) => {
                            let (cause, retry_after) = (error.cause(), error.retry_after());
                            let reason = Interrupted::Attempt(error);
                            return Some(self.end(cause, retry_after, reason));
                        }
                    }
                }
                State::Open(ws) => {
                    let error = match ws.recv() {
                        Ok(Some(message)) => return Some(Update::Message(message)),
                        received => received.err(),
                    };
                    let ended = ws.ended().unwrap_or(Ended::Lost);
                    let reason = Interrupted::Connection(ended, error);
                    return Some(self.end(ended.into(), None, reason));
                }
                State::Closing => {
                    self.link.close();
                    let error = ConnectError::Aborted;
                    return Some(self.end(error.cause(), None, Interrupted::Attempt(error)));
                }
                State::Over => return None,
            }
        }
    }

    /// Waits until then, or until a sender closes, or the aborter aborts.
    fn wait(&self, until: Instant) {
        let link = self.link.clone();
        let aborter = self.connector.aborter.as_ref();
        let aborted = aborter.map(|aborter| aborter.on_abort(move || link.wake.set(())));
        // If it was aborted before, so is the attempt.
        if let Ok(_aborted) = aborted.transpose()
            && !self.link.is_closing()
        {
            self.link.wake.take(Some(until));
        }
    }

    /// Opens a connection, unless a sender has closed.
    fn connect(&mut self) -> Result<Option<Response<()>>, ConnectError> {
        if self.link.is_closing() {
            return Ok(None);
        }
        let (ws, response) = self.connector.connect_with_response(&self.url)?;
        let has_senders = Arc::strong_count(&self.link) > 1;
        let sender = has_senders.then(|| ws.sender()).transpose()?;
        let mut current = self.link.write();
        if self.link.is_closing() {
            return Ok(None);
        }
        *current = Some(Current {
            sender,
            ..Current::default()
        });
        drop(current);
        self.reconnect.opened(self.now());
        self.state = State::Open(Box::new(ws));
        Ok(Some(response))
    }

    fn end(&mut self, cause: Cause, retry_after: Option<u32>, reason: Interrupted) -> Update {
        // Those who send over it are told that it has ended.
        self.state = State::Over;
        let current = self.link.write().take();
        if self.link.is_closing() {
            self.reconnect.close();
        }
        let now = self.now();
        let entropy = &mut OsEntropy::new();
        let retry = self.reconnect.ended(cause, retry_after, now, entropy);
        let sent = current.map_or(0, |current| current.sent.into_inner());
        let interruption = Interruption::new(reason, retry, now, sent);
        if let Some(wait) = interruption.retry_in {
            self.state = State::Waiting(Instant::now() + wait);
        }
        Update::Ended(interruption)
    }

    fn now(&self) -> Millis {
        // It wraps, as `Millis` may.
        Millis(self.epoch.elapsed().as_millis() as u32)
    }

    /// Ends the wait for the next attempt, and forgets all failures: for a link that came up. Does nothing
    /// while a connection is open, or after the last one.
    pub fn reset(&mut self) {
        self.reconnect.reset();
        if let State::Waiting(at) = &mut self.state {
            *at = Instant::now();
        }
    }

    /// Sends a message over the connection that is open now: see [`WebSocket::send`]. If it was taken, it
    /// counts as sent.
    ///
    /// # Errors
    /// [`NotSent::Unsent`] if there is no connection, or if it ends before there is room;
    /// [`NotSent::InboundFull`] if messages have to be received before there is room;
    /// [`NotSent::Unknown`] if it ends while the message is being written.
    pub fn send(&mut self, message: impl Into<Message>) -> Result<(), NotSent> {
        let message = message.into();
        let State::Open(ws) = &mut self.state else {
            return Err(NotSent::Unsent(message));
        };
        let result = ws.deliver(&message);
        match &*self.link.read() {
            Some(current) => current.delivered(message, result),
            None => Err(NotSent::Unsent(message)),
        }
    }

    /// Returns whether a connection is open.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        matches!(self.state, State::Open(_))
    }

    /// Begins the closing handshake: see [`WebSocket::close`]. [`next`](Self::next) sees it through,
    /// and there is no further attempt. If there is no connection, `next` reports that the wait for it was
    /// given up, as [`ConnectError::Aborted`].
    ///
    /// # Errors
    /// As [`WebSocket::close`]. After [`SendError::Closed`] there is no further attempt either.
    pub fn close(&mut self, code: CloseCode, reason: &str) -> Result<(), SendError> {
        match &mut self.state {
            State::Open(ws) => self.link.closed(ws.close(code, reason)),
            State::Over => Ok(()),
            state => {
                *state = State::Closing;
                Ok(())
            }
        }
    }

    /// Returns a handle that sends from other threads, over whichever connection is open. It can be cloned.
    ///
    /// # Errors
    /// Those of the operating system, if a connection is open: see [`WebSocket::sender`].
    pub fn sender(&self) -> io::Result<ReconnectingSender> {
        if let State::Open(ws) = &self.state
            && self
                .link
                .read()
                .as_ref()
                .is_some_and(|current| current.sender.is_none())
        {
            let sender = ws.sender()?;
            if let Some(current) = &mut *self.link.write() {
                current.sender = Some(sender);
            }
        }
        Ok(ReconnectingSender {
            link: self.link.clone(),
        })
    }
}

impl Drop for Reconnecting {
    fn drop(&mut self) {
        // Those who send over it are told so, and then it is closed for them as well.
        self.state = State::Over;
        *self.link.write() = None;
    }
}

impl fmt::Debug for Reconnecting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Reconnecting");
        debug
            .field("url", &self.url)
            .field("is_open", &self.is_open());
        debug.finish_non_exhaustive()
    }
}

/// Sends from other threads over the connections of a [`Reconnecting`] client: see
/// [`Reconnecting::sender`].
#[derive(Clone, Debug)]
pub struct ReconnectingSender {
    link: Arc<Link>,
}

impl ReconnectingSender {
    /// Sends a message over the connection that is open now: see [`Sender::send`]. If it was taken, it
    /// counts as sent.
    ///
    /// # Errors
    /// As [`Reconnecting::send`], without [`InboundFull`](NotSent::InboundFull).
    pub fn send(&self, message: impl Into<Message>) -> Result<(), NotSent> {
        let message = message.into();
        match &*self.link.read() {
            Some(
                current @ Current {
                    sender: Some(sender),
                    ..
                },
            ) => {
                let result = sender.deliver(&message);
                current.delivered(message, result)
            }
            _ => Err(NotSent::Unsent(message)),
        }
    }

    /// Begins the closing handshake, or ends the wait for the next attempt. There is no further one, and
    /// the client's [`next`](Reconnecting::next) reports the end, then `None`. An attempt that is under way is
    /// not ended by this, but its connection is not used; an [`Aborter`](crate::Aborter) ends it.
    ///
    /// # Errors
    /// As [`Reconnecting::close`].
    pub fn close(&self, code: CloseCode, reason: &str) -> Result<(), SendError> {
        match &*self.link.read() {
            Some(Current {
                sender: Some(sender),
                ..
            }) => self.link.closed(sender.close(code, reason)),
            _ => {
                self.link.close();
                Ok(())
            }
        }
    }

    /// Returns whether a connection is open.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.link.read().is_some()
    }
}
