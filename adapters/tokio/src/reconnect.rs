//! A client that comes back (RFC 6455 §7.2.3).

use core::fmt;
use core::future::Future;
use core::pin::Pin;
use std::sync::Arc;

use motews::interruption;
use motews::reconnect::{Backoff, Cause, Reconnect};
use motews::role::Client;
use motews::{CloseCode, Ended};
use motews_net::http::Response;
use tokio::time::{Instant, sleep_until};

use crate::connect::Connector;
use crate::engine::{millis, now};
use crate::entropy::OsEntropy;
use crate::error::{ConnectError, RecvError, SendError};
use crate::message::Message;
use crate::net::NetStream;
use crate::websocket::WebSocketStream;

type Ws = WebSocketStream<NetStream, Client<OsEntropy>>;
type Connecting = Pin<Box<dyn Future<Output = Result<(Ws, Response<()>), ConnectError>> + Send>>;

/// A client that connects again when its connection has ended, by the rules of [`Backoff`].
///
/// It sends no message twice: whoever sends learns of each one whether it was taken, and of each
/// connection how many of its messages may be lost.
///
/// ```no_run
/// use motews_tokio::{Backoff, Connector, Reconnecting, Update};
///
/// # async fn run() {
/// let mut client = Reconnecting::new(Connector::new(), "ws://example.com/", Backoff::DEFAULT);
/// while let Some(update) = client.next().await {
///     match update {
///         Update::Opened(_) => _ = client.send("subscribe").await,
///         Update::Message(message) => println!("{message:?}"),
///         Update::Ended(end) => eprintln!("{end}"), // and so it goes on, unless that is hopeless
///         _ => {}
///     }
/// }
/// # }
/// ```
pub struct Reconnecting {
    connector: Arc<Connector>,
    url: Arc<str>,
    reconnect: Reconnect,
    state: State,
    /// Messages that were sent over this connection.
    sent: u64,
}

enum State {
    Waiting(Instant),
    Connecting(Connecting),
    Open(Box<Ws>),
    /// It was closed while there was no connection.
    Closing,
    Over,
}

/// What [`Reconnecting::next`] returns.
pub type Update = interruption::Update<Response<()>, Message, Interruption>;

/// Why there is no connection any more, and when there is the next attempt.
pub type Interruption = interruption::Interruption<ConnectError, RecvError>;

/// What has ended a connection or an attempt.
pub type Interrupted = interruption::Interrupted<ConnectError, RecvError>;

/// Why a message was not sent. After `InboundFull`, call [`Reconnecting::next`] first.
pub type NotSent = interruption::NotSent<Message, SendError>;

impl Reconnecting {
    /// Returns a client that connects as soon as [`next`](Self::next) is called.
    #[must_use]
    pub fn new(connector: Connector, url: &str, backoff: Backoff) -> Self {
        Self {
            connector: Arc::new(connector),
            url: url.into(),
            reconnect: Reconnect::new(backoff),
            state: State::Waiting(Instant::now()),
            sent: 0,
        }
    }

    /// Waits for a message, for the end of a connection, or for the next one. `None` when there will be
    /// none: after an [`Interruption`] without a further attempt.
    ///
    /// Cancel-safe: nothing is lost, and an attempt to connect goes on with the next call.
    pub async fn next(&mut self) -> Option<Update> {
        loop {
            match &mut self.state {
                State::Waiting(at) => {
                    sleep_until(*at).await;
                    let (connector, url) = (self.connector.clone(), self.url.clone());
                    let connecting = async move { connector.connect_with_response(&url).await };
                    self.state = State::Connecting(Box::pin(connecting));
                }
                State::Connecting(connecting) => match connecting.await {
                    Ok((ws, response)) => {
                        self.reconnect.opened(now());
                        self.sent = 0;
                        self.state = State::Open(Box::new(ws));
                        return Some(Update::Opened(response));
                    }
                    Err(error) => {
                        let (cause, retry_after) = (error.cause(), error.retry_after());
                        let reason = Interrupted::Attempt(error);
                        return Some(self.end(cause, retry_after, reason));
                    }
                },
                State::Open(ws) => {
                    let error = match ws.recv().await {
                        Ok(Some(message)) => return Some(Update::Message(message)),
                        received => received.err(),
                    };
                    let ended = ws.ended().unwrap_or(Ended::Lost);
                    let reason = Interrupted::Connection(ended, error);
                    return Some(self.end(ended.into(), None, reason));
                }
                State::Closing => {
                    self.reconnect.close();
                    let error = ConnectError::Aborted;
                    return Some(self.end(error.cause(), None, Interrupted::Attempt(error)));
                }
                State::Over => return None,
            }
        }
    }

    fn end(&mut self, cause: Cause, retry_after: Option<u32>, reason: Interrupted) -> Update {
        let now = Instant::now();
        let at = millis(now);
        let retry = self.reconnect.ended(cause, retry_after, at, &mut OsEntropy);
        let interruption = Interruption::new(reason, retry, at, self.sent);
        let retry_in = interruption.retry_in;
        self.state = retry_in.map_or(State::Over, |wait| State::Waiting(now + wait));
        Update::Ended(interruption)
    }

    /// Ends the wait for the next attempt, and forgets all failures: for a link that came up. Does nothing
    /// while a connection is open, or after the last one.
    pub fn reset(&mut self) {
        self.reconnect.reset();
        if let State::Waiting(at) = &mut self.state {
            *at = Instant::now();
        }
    }

    /// Sends a message over the connection that is open now: see [`WebSocketStream::send`].
    ///
    /// Cancel-safe: the message was taken whole or not at all. If it was taken, it counts as sent.
    ///
    /// # Errors
    /// [`NotSent::Unsent`] if there is no connection, or if it ends before there is room;
    /// [`NotSent::InboundFull`] if messages have to be received before there is room;
    /// [`NotSent::Unknown`] if it ends while the message is being written.
    pub async fn send(&mut self, message: impl Into<Message>) -> Result<(), NotSent> {
        let message = message.into();
        let State::Open(ws) = &mut self.state else {
            return Err(NotSent::Unsent(message));
        };
        let permit = match ws.reserve().await {
            Ok(permit) => permit,
            Err(SendError::InboundFull) => return Err(NotSent::InboundFull(message)),
            Err(_) => return Err(NotSent::Unsent(message)),
        };
        permit.try_feed(message).map_err(NotSent::Unsent)?;
        self.sent += 1;
        match ws.flush().await {
            // It is written by the calls that follow.
            Ok(()) | Err(SendError::InboundFull) => Ok(()),
            Err(error) => Err(NotSent::Unknown(error)),
        }
    }

    /// Returns whether a connection is open.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        matches!(self.state, State::Open(_))
    }

    /// Begins the closing handshake: see [`WebSocketStream::close`]. [`next`](Self::next) sees it through,
    /// and there is no further attempt. If there is no connection, the attempt or the wait for it is given
    /// up, which `next` reports as [`ConnectError::Aborted`].
    ///
    /// # Errors
    /// As [`WebSocketStream::close`]. After [`SendError::Closed`] there is no further attempt either.
    pub fn close(&mut self, code: CloseCode, reason: &str) -> Result<(), SendError> {
        match &mut self.state {
            State::Open(ws) => {
                let closed = ws.close(code, reason);
                if !matches!(closed, Err(SendError::Invalid(_))) {
                    self.reconnect.close();
                }
                closed
            }
            State::Over => Ok(()),
            state => {
                *state = State::Closing;
                Ok(())
            }
        }
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
