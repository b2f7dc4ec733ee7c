//! What a client without a heap keeps from one connection to the next: [`ReconnectWithBacklog`].

use core::mem;

use crate::backlog::{Backlog, BacklogPolicy};
use crate::ended::Ended;
use crate::event::DataKind;
use crate::handshake::ResponseEvent;
use crate::interruption::{Interrupted, Interruption};
use crate::pace::Millis;
use crate::reconnect::{Backoff, Cause, Reconnect, Retry, is_final, retry_after};
use crate::role::Entropy;

/// The bookkeeping of a client that comes back: when, with which messages, and what is in doubt.
///
/// An adapter tells it what has happened to its connections; `entropy` is for the random part of the
/// waits, and `B` is the memory of the messages that wait.
#[derive(Clone, Debug)]
pub struct ReconnectWithBacklog<B, E> {
    /// The messages that wait.
    pub backlog: Backlog<B>,
    /// Where the random numbers come from.
    pub entropy: E,
    reconnect: Reconnect,
    /// Messages that were sent over this connection.
    sent: u32,
    is_open: bool,
    /// The application has changed what it asks for, since it was asked for last.
    is_changed: bool,
    /// What the response said, in milliseconds.
    retry_after: Option<u32>,
}

impl<B: AsRef<[u8]> + AsMut<[u8]> + Default, E: Entropy> ReconnectWithBacklog<B, E> {
    /// Makes one with the default [`Backoff`], and without room for messages that wait.
    pub fn new(entropy: E) -> Self {
        Self {
            backlog: Backlog::new(B::default(), BacklogPolicy::DropNewest),
            entropy,
            reconnect: Reconnect::new(Backoff::DEFAULT),
            sent: 0,
            is_open: false,
            is_changed: false,
            retry_after: None,
        }
    }
}

impl<B: AsRef<[u8]> + AsMut<[u8]>, E: Entropy> ReconnectWithBacklog<B, E> {
    /// Changes the times between attempts. To be called before the first one.
    pub const fn set_backoff(&mut self, backoff: Backoff) {
        self.reconnect = Reconnect::new(backoff);
    }

    /// Returns when attempts are made.
    pub const fn reconnect(&self) -> &Reconnect {
        &self.reconnect
    }

    /// Looks at the response as it arrives: a refusal may say when to come back.
    pub fn response(&mut self, event: &ResponseEvent<'_>) {
        self.retry_after = retry_after(event).or(self.retry_after);
    }

    /// Notes that a connection is open.
    pub const fn opened(&mut self, now: Millis) {
        self.reconnect.opened(now);
        self.is_open = true;
        self.sent = 0;
        self.retry_after = None;
    }

    /// Notes that one more message was sent over this connection.
    pub const fn sent(&mut self) {
        self.sent = self.sent.saturating_add(1);
    }

    /// Returns what is to be sent next of what waits: see [`Backlog::first`].
    #[must_use]
    pub fn first(&self) -> Option<(DataKind, &[u8])> {
        self.backlog.first()
    }

    /// Notes that the connection has taken the next `len` bytes of that. From its first part on the
    /// message counts as [sent](Self::sent).
    pub fn taken(&mut self, len: usize) {
        if self.backlog.taken(len) {
            self.sent();
        }
    }

    /// Notes that a connection has ended, or that an attempt has failed, with the transport's error if
    /// there was one. Returns what the application is told, and when the next attempt is due.
    pub fn ended<R>(
        &mut self,
        cause: Cause,
        error: Option<R>,
        now: Millis,
    ) -> (Interruption<Cause, R>, Retry) {
        self.backlog.interrupted();
        let reason = match (mem::take(&mut self.is_open), cause) {
            (true, Cause::Ended(ended)) => Interrupted::Connection(ended, error),
            (true, _) => Interrupted::Connection(Ended::Lost, error),
            (false, cause) => Interrupted::Attempt(cause),
        };
        let retry_after = self.retry_after.take();
        // If it has changed, that was what it asked for before.
        let retry = if is_final(cause) && mem::take(&mut self.is_changed) {
            self.network_changed(now)
        } else {
            let entropy = &mut self.entropy;
            self.reconnect.ended(cause, retry_after, now, entropy)
        };
        let sent = mem::take(&mut self.sent).into();
        (Interruption::new(reason, retry, now, sent), retry)
    }

    /// Forgets all failures: the attempt that is under way is the first one.
    pub const fn forget(&mut self) {
        self.reconnect.reset();
    }

    /// Notes that the network has come back, or is another one, while there is no connection. Returns when
    /// the next attempt is due: [soon](Backoff::first), whatever the backoff was, for whoever else has
    /// lost it comes back as well.
    pub fn network_changed(&mut self, now: Millis) -> Retry {
        self.reconnect.reset();
        let cause = Cause::Unreachable;
        self.reconnect.ended(cause, None, now, &mut self.entropy)
    }

    /// Notes that the application has changed its mind, about credentials for example: all failures
    /// are forgotten, and so is that it has [closed](Self::close). If a connection or an attempt is under way,
    /// there is a further attempt after it, however it ends: it is for what was asked [before](Self::asked).
    pub const fn reopen(&mut self) {
        self.reconnect.reopen();
        self.is_changed = true;
    }

    /// Notes that the request is made as the application wants it now.
    pub const fn asked(&mut self) {
        self.is_changed = false;
    }

    /// Notes that the application closes: there is no further attempt.
    pub const fn close(&mut self) {
        self.reconnect.close();
        self.is_changed = false;
    }
}
