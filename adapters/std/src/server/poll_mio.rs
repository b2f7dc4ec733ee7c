//! How a loop waits where there is no epoll: by [mio](https://docs.rs/mio). `poll` is this on Linux.

use core::time::Duration;
use std::io;

use mio::Interest;
pub(super) use mio::Token;
pub(super) use mio::event::Event;
use mio::event::Source;
pub(super) use mio::net::{TcpListener, TcpStream};

/// The sources that a loop waits for.
#[derive(Debug)]
pub(super) struct Poll(mio::Poll);

impl Poll {
    pub(super) fn new() -> io::Result<Self> {
        mio::Poll::new().map(Self)
    }

    /// Reports when there is something to read from `source`, until that is closed.
    pub(super) fn add(&self, source: &mut impl Source, token: Token) -> io::Result<()> {
        let registry = self.0.registry();
        registry.register(source, token, Interest::READABLE)
    }

    /// Reports room to write as well.
    pub(super) fn add_writing(&self, source: &mut impl Source, token: Token) -> io::Result<()> {
        let both = Interest::READABLE | Interest::WRITABLE;
        self.0.registry().reregister(source, token, both)
    }

    /// Waits for events, for so long at the most. A signal ends it as well.
    pub(super) fn wait(
        &mut self,
        events: &mut Events,
        timeout: Option<Duration>,
    ) -> io::Result<()> {
        match self.0.poll(&mut events.0, timeout) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                events.0.clear();
                Ok(())
            }
            polled => polled,
        }
    }
}

/// What a wait has brought.
pub(super) struct Events(mio::Events);

impl Events {
    pub(super) fn with_capacity(capacity: usize) -> Self {
        Self(mio::Events::with_capacity(capacity))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Event> {
        self.0.iter().cloned()
    }
}

/// Ends a wait, from any thread.
#[derive(Debug)]
pub(super) struct Waker(mio::Waker);

impl Waker {
    pub(super) fn new(poll: &Poll, token: Token) -> io::Result<Self> {
        mio::Waker::new(poll.0.registry(), token).map(Self)
    }

    pub(super) fn wake(&self) -> io::Result<()> {
        self.0.wake()
    }
}

/// Reads or writes. Where it would block, mio asks for the next event.
#[cfg(unix)]
pub(super) fn try_io<T>(socket: &TcpStream, io: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    socket.try_io(io)
}
