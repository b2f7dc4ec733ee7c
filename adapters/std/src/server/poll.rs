//! How a loop waits on Linux: by epoll, with the names that [mio](https://docs.rs/mio) has for it.
//! `poll_mio` is this elsewhere.
//!
//! The wait is inlined into the loop: see `socket`.

use core::net::SocketAddr;
use core::time::Duration;
use std::io;
use std::net;
pub(super) use std::net::TcpStream;

use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::event::{EventfdFlags, Timespec, eventfd};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;
use rustix::net::{SocketFlags, acceptfrom_with};

/// Longer waits end early: old kernels count milliseconds in 31 bits.
const MAX_WAIT: Duration = Duration::from_millis(i32::MAX as u64);

/// What is read. By edges: each costs the kernel one look at the socket, not two.
const READABLE: EventFlags = EventFlags::ET
    .union(EventFlags::IN)
    .union(EventFlags::RDHUP);

/// Which source an event is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Token(pub(super) usize);

/// The sources that a loop waits for.
#[derive(Debug)]
pub(super) struct Poll(OwnedFd);

impl Poll {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self(epoll::create(CreateFlags::CLOEXEC)?))
    }

    /// Reports when there is something to read from `source`, until that is closed.
    pub(super) fn add(&self, source: &mut impl AsFd, token: Token) -> io::Result<()> {
        Ok(epoll::add(&self.0, source, data(token), READABLE)?)
    }

    /// Reports room to write as well.
    pub(super) fn add_writing(&self, source: &mut impl AsFd, token: Token) -> io::Result<()> {
        let flags = READABLE | EventFlags::OUT;
        Ok(epoll::modify(&self.0, source, data(token), flags)?)
    }

    /// Waits for events, for so long at the most. A signal ends it as well.
    #[inline(always)] // See `socket`.
    pub(super) fn wait(
        &mut self,
        events: &mut Events,
        timeout: Option<Duration>,
    ) -> io::Result<()> {
        let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout.min(MAX_WAIT)).ok());
        events.len = 0;
        match epoll::wait(&self.0, &mut *events.list, timeout.as_ref()) {
            Ok(len) => events.len = len,
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }
}

fn data(token: Token) -> EventData {
    EventData::new_u64(token.0 as u64)
}

/// What a wait has brought.
pub(super) struct Events {
    list: Box<[epoll::Event]>,
    len: usize,
}

impl Events {
    pub(super) fn with_capacity(capacity: usize) -> Self {
        let none = epoll::Event {
            flags: EventFlags::empty(),
            data: EventData::new_u64(0),
        };
        Self {
            list: vec![none; capacity].into_boxed_slice(),
            len: 0,
        }
    }

    #[inline]
    pub(super) fn iter(&self) -> impl Iterator<Item = Event> {
        self.list.iter().take(self.len).copied().map(Event)
    }
}

#[derive(Clone, Copy)]
pub(super) struct Event(epoll::Event);

impl Event {
    #[inline]
    pub(super) fn token(&self) -> Token {
        Token(self.0.data.u64() as usize)
    }

    #[inline]
    fn has(&self, flags: EventFlags) -> bool {
        // A copy: the kernel's type is packed.
        let found = self.0.flags;
        found.contains(flags)
    }

    #[inline]
    pub(super) fn is_readable(&self) -> bool {
        self.has(EventFlags::IN)
    }

    #[inline]
    pub(super) fn is_writable(&self) -> bool {
        self.has(EventFlags::OUT)
    }

    #[inline]
    pub(super) fn is_read_closed(&self) -> bool {
        self.has(EventFlags::HUP) || self.has(EventFlags::IN | EventFlags::RDHUP)
    }

    #[inline]
    pub(super) fn is_error(&self) -> bool {
        self.has(EventFlags::ERR)
    }
}

/// Ends a wait, from any thread.
#[derive(Debug)]
pub(super) struct Waker(OwnedFd);

impl Waker {
    pub(super) fn new(poll: &Poll, token: Token) -> io::Result<Self> {
        let mut fd = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        poll.add(&mut fd, token)?;
        Ok(Self(fd))
    }

    pub(super) fn wake(&self) -> io::Result<()> {
        // Nobody reads it: each write is an edge, and there is room for 2^64 of them.
        rustix::io::write(&self.0, &1_u64.to_ne_bytes())?;
        Ok(())
    }
}

/// What connections come from.
#[derive(Debug)]
pub(super) struct TcpListener(OwnedFd);

impl TcpListener {
    pub(super) fn from_std(listener: net::TcpListener) -> Self {
        Self(listener.into())
    }

    pub(super) fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let (socket, address) = acceptfrom_with(&self.0, flags)?;
        let address = address.ok_or(Errno::AFNOSUPPORT)?;
        Ok((socket.into(), address.try_into()?))
    }
}

impl AsFd for TcpListener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Reads or writes. Elsewhere this is where the next event is asked for.
#[inline(always)]
pub(super) fn try_io<T>(_: &TcpStream, io: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    io()
}
