//! What a [`WebSocket`](crate::WebSocket) needs of the stream below it.

use core::time::Duration;
use std::io::{self, IoSlice, Read, Write};
use std::net::{Shutdown, TcpStream};

use crate::blocking::wake::Wake;

/// What to wait for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Interest<'a> {
    /// Until there is something to read, or the end.
    pub read: bool,
    /// Until there is room to write.
    pub write: bool,
    /// Until another thread ends the wait.
    pub wake: Option<&'a Wake>,
}

impl Interest<'_> {
    /// Something to read.
    pub const READ: Self = Self {
        read: true,
        write: false,
        wake: None,
    };
    /// Room to write.
    pub const WRITE: Self = Self {
        read: false,
        write: true,
        wake: None,
    };
}

/// What a wait has found. Neither, if the time is over or another thread has ended the wait.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ready {
    /// There is something to read, or the end, or an error that a read returns.
    pub read: bool,
    /// There is room to write, or an error that a write returns.
    pub write: bool,
}

impl Ready {
    /// Returns whether there is either.
    #[must_use]
    pub const fn any(self) -> bool {
        self.read || self.write
    }
}

/// A stream of bytes, both ways.
///
/// All methods have defaults, so any stream becomes a transport with an empty `impl`, or inside
/// [`Plain`]. Such a stream is read and written as it is: if it blocks, so does every method of the
/// WebSocket, without deadlines, for nothing can interrupt it; if it gives
/// [`WouldBlock`](io::ErrorKind::WouldBlock), so do they, and each goes on where it was when it is
/// called again.
///
/// A blocking stream that can be waited for, as the sockets of Unix can, gets more: every deadline,
/// `recv_timeout`, a `try_recv` that never blocks, and reading that does not wait for writing.
///
/// ```
/// use std::io::{self, Read, Write};
/// use motews_std::Transport;
///
/// struct OneByte<S>(S); // reads a byte at a time
///
/// impl<S: Read> Read for OneByte<S> {
///     fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
///         let len = buf.len().min(1);
///         self.0.read(&mut buf[..len])
///     }
/// }
/// # impl<S: Write> Write for OneByte<S> {
/// #     fn write(&mut self, buf: &[u8]) -> io::Result<usize> { self.0.write(buf) }
/// #     fn flush(&mut self) -> io::Result<()> { self.0.flush() }
/// # }
/// impl<S: Read + Write> Transport for OneByte<S> {}
/// ```
pub trait Transport: Read + Write {
    /// Called once, before anything is read or written: for options of the stream. Of a stream
    /// whose opening handshake was done elsewhere, before the WebSocket reads or writes.
    ///
    /// # Errors
    /// Whatever keeps the stream from being used.
    fn prepare(&mut self) -> io::Result<()> {
        Ok(())
    }

    /// Whether [`wait`](Self::wait) waits, and [`read_now`](Self::read_now) and
    /// [`write_now`](Self::write_now) do not. `false`, the default, for a stream that decides by
    /// itself whether it blocks, and for one in non-blocking mode.
    fn can_wait(&self) -> bool {
        false
    }

    /// Waits for one of `interest`, at most `timeout`, and returns what has come of it. It may say
    /// so for nothing. Called only if the stream [can wait](Self::can_wait).
    ///
    /// # Errors
    /// Those of the operating system.
    fn wait(&self, interest: Interest<'_>, timeout: Option<Duration>) -> io::Result<Ready> {
        let _ = timeout;
        let Interest { read, write, .. } = interest;
        Ok(Ready { read, write })
    }

    /// Reads what is there, without waiting if the stream [can wait](Self::can_wait).
    ///
    /// # Errors
    /// As [`Read::read`]: `WouldBlock` if there is nothing.
    fn read_now(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.read(buf)
    }

    /// Writes as much as there is room for, without waiting if the stream
    /// [can wait](Self::can_wait). A stream that cannot is given one part at a time.
    ///
    /// # Errors
    /// As [`Write::write_vectored`]: `WouldBlock` if there is no room.
    fn write_now(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        match parts {
            // The standard library's sockets raise SIGPIPE if they write several, and not for one.
            [one] => self.write(one),
            parts => self.write_vectored(parts),
        }
    }

    /// Passes on what the stream itself still holds, without waiting if it
    /// [can wait](Self::can_wait).
    ///
    /// # Errors
    /// As [`Write::flush`].
    fn flush_now(&mut self) -> io::Result<()> {
        self.flush()
    }

    /// Returns how many bytes the stream itself holds of what it has taken, in bytes that it still
    /// has to hand to the operating system. 0 by default.
    ///
    /// They count as bytes that wait: a peer that does not read buys no time with them.
    fn held(&self) -> usize {
        0
    }

    /// Ends this side's half of the stream: the peer reads to the end. RFC 6455 §7.1.1 wants it
    /// before the stream is closed. Does nothing by default.
    ///
    /// # Errors
    /// `WouldBlock` if the stream has to write something before that, and has no room: it is called
    /// again when there is some. Those of the operating system are not reported further.
    fn shutdown(&mut self) -> io::Result<()> {
        Ok(())
    }

    /// Ends this side's half of the stream now, whatever it still has to write: the time for that is
    /// over. As [`shutdown`](Self::shutdown) by default.
    ///
    /// # Errors
    /// As [`shutdown`](Self::shutdown).
    fn shutdown_now(&mut self) -> io::Result<()> {
        self.shutdown()
    }
}

/// A transport that several threads may use: see [`WebSocket::sender`](crate::WebSocket::sender).
pub trait Share: Transport + Send + Sync + Sized {
    /// Another handle of the same stream.
    ///
    /// # Errors
    /// Those of the operating system: too many open files.
    fn share(&self) -> io::Result<Self>;

    /// As [`Transport::write_now`].
    ///
    /// # Errors
    /// As [`Transport::write_now`].
    fn write_shared(&self, parts: &[IoSlice<'_>]) -> io::Result<usize>;

    /// As [`Transport::flush_now`].
    ///
    /// # Errors
    /// As [`Transport::flush_now`].
    fn flush_shared(&self) -> io::Result<()>;
}

/// Any stream, as a [`Transport`] without further abilities.
#[derive(Clone, Debug, Default)]
pub struct Plain<S>(pub S);

impl<S: Read> Read for Plain<S> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.0.read(buf)
    }
}

impl<S: Write> Write for Plain<S> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.0.write(buf)
    }

    fn write_vectored(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        self.0.write_vectored(parts)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl<S: Read + Write> Transport for Plain<S> {}

#[cfg(all(unix, feature = "server"))]
pub(crate) use unix::write_now as write_without_signal;

/// The sockets of Unix: `MSG_DONTWAIT` leaves the socket's mode as its owner set it, and `poll`
/// waits for both directions at once.
#[cfg(unix)]
mod unix {
    use super::{Duration, Interest, IoSlice, Ready, io};
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    use rustix::fd::AsFd;
    use std::time::Instant;

    use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags};

    #[cfg(not(target_vendor = "apple"))]
    const FLAGS: SendFlags = SendFlags::DONTWAIT.union(SendFlags::NOSIGNAL);
    /// Here the standard library sets the socket's own option against SIGPIPE.
    #[cfg(target_vendor = "apple")]
    const FLAGS: SendFlags = SendFlags::DONTWAIT;

    pub(super) fn can_wait(socket: &impl AsFd) -> bool {
        let flags = rustix::fs::fcntl_getfl(socket);
        flags.is_ok_and(|flags| !flags.contains(rustix::fs::OFlags::NONBLOCK))
    }

    pub(super) fn wait(
        socket: &impl AsFd,
        interest: Interest<'_>,
        timeout: Option<Duration>,
    ) -> io::Result<Ready> {
        let mut events = PollFlags::empty();
        events.set(PollFlags::IN, interest.read);
        events.set(PollFlags::OUT, interest.write);
        let socket = PollFd::new(socket, events);
        let found = match interest.wake {
            None => {
                let mut fds = [socket];
                poll_for(&mut fds, timeout, poll)?;
                fds[0].revents()
            }
            Some(wake) => {
                let mut fds = [socket, PollFd::new(wake, PollFlags::IN)];
                poll_for(&mut fds, timeout, poll)?;
                fds[0].revents()
            }
        };
        // An error, or the end of both halves, shows to whoever reads or writes.
        let other = found.intersects(PollFlags::ERR | PollFlags::HUP | PollFlags::NVAL);
        Ok(Ready {
            read: interest.read && (other || found.contains(PollFlags::IN)),
            write: interest.write && (other || found.contains(PollFlags::OUT)),
        })
    }

    /// Polls for that time, whatever signals come.
    fn poll_for(
        fds: &mut [PollFd<'_>],
        timeout: Option<Duration>,
        mut poll: impl FnMut(&mut [PollFd<'_>], Option<&Timespec>) -> rustix::io::Result<usize>,
    ) -> io::Result<()> {
        let until = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let mut timeout = timeout;
        loop {
            let left = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
            match poll(fds, left.as_ref()) {
                Ok(_) => return Ok(()),
                Err(rustix::io::Errno::INTR) => {
                    let now = Instant::now();
                    timeout = until.map(|until| until.saturating_duration_since(now));
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    pub(super) fn read_now(socket: &impl AsFd, buf: &mut [u8]) -> io::Result<usize> {
        let (len, _) = rustix::net::recv(socket, buf, RecvFlags::DONTWAIT)?;
        Ok(len)
    }

    pub(crate) fn write_now(socket: &impl AsFd, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        let sent = match parts {
            [one] => rustix::net::send(socket, one, FLAGS),
            parts => {
                let mut none = SendAncillaryBuffer::default();
                rustix::net::sendmsg(socket, parts, &mut none, FLAGS)
            }
        };
        sent.map_err(Into::into)
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        /// A signal is no readiness, and costs none of the time.
        #[test]
        fn poll_interrupted_goes_on_for_what_is_left() {
            let (_, socket) = std::os::unix::net::UnixStream::pair().unwrap();
            let mut fds = [PollFd::new(&socket, PollFlags::OUT)];
            let mut asked = Vec::new();
            let limit = Duration::from_secs(1000);
            poll_for(&mut fds, Some(limit), |fds, left| {
                asked.push(*left.unwrap());
                match asked.len() {
                    1 => Err(rustix::io::Errno::INTR),
                    _ => poll(fds, left),
                }
            })
            .unwrap();
            assert!(fds[0].revents().contains(PollFlags::OUT));
            assert_eq!(asked.len(), 2);
            assert!(
                asked[1].tv_sec <= asked[0].tv_sec && asked[1].tv_sec > 900,
                "{asked:?}"
            );
        }
    }
}

/// One definition for the sockets of Unix, which differ in nothing here.
#[cfg(unix)]
macro_rules! unix_socket {
    ($socket:ty, $prepare:expr) => {
        impl Transport for $socket {
            fn prepare(&mut self) -> io::Result<()> {
                $prepare(self)
            }

            fn can_wait(&self) -> bool {
                unix::can_wait(self)
            }

            fn wait(&self, interest: Interest<'_>, timeout: Option<Duration>) -> io::Result<Ready> {
                unix::wait(self, interest, timeout)
            }

            fn read_now(&mut self, buf: &mut [u8]) -> io::Result<usize> {
                unix::read_now(self, buf)
            }

            fn write_now(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
                unix::write_now(self, parts)
            }

            fn flush_now(&mut self) -> io::Result<()> {
                Ok(())
            }

            fn shutdown(&mut self) -> io::Result<()> {
                <$socket>::shutdown(self, Shutdown::Write)
            }
        }

        impl Share for $socket {
            fn share(&self) -> io::Result<Self> {
                self.try_clone()
            }

            fn write_shared(&self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
                unix::write_now(self, parts)
            }

            fn flush_shared(&self) -> io::Result<()> {
                Ok(())
            }
        }
    };
}

// Frames are written whole, so nothing is gained by the kernel's waiting for more.
#[cfg(unix)]
unix_socket!(TcpStream, |socket: &Self| socket.set_nodelay(true));
#[cfg(unix)]
unix_socket!(std::os::unix::net::UnixStream, |_: &Self| Ok(()));

/// Elsewhere the standard library must do, which can neither wait for both directions nor write
/// without waiting: there are no deadlines but the socket's own timeouts, and the pong that the peer
/// does not read keeps this side from reading.
#[cfg(not(unix))]
impl Transport for TcpStream {
    fn prepare(&mut self) -> io::Result<()> {
        self.set_nodelay(true)
    }

    fn shutdown(&mut self) -> io::Result<()> {
        Self::shutdown(self, Shutdown::Write)
    }
}

#[cfg(not(unix))]
impl Share for TcpStream {
    fn share(&self) -> io::Result<Self> {
        self.try_clone()
    }

    fn write_shared(&self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut stream = self;
        stream.write_vectored(parts)
    }

    fn flush_shared(&self) -> io::Result<()> {
        Ok(())
    }
}
