//! TCP to one of the addresses of a host.

use core::fmt;
use core::net::SocketAddr;
use core::time::Duration;
use std::io;
use std::net::TcpStream;
use std::time::Instant;

use motews_net::{Dial, DialPlan};
use socket2::{Domain, Protocol, Socket, Type};

use super::abort::Aborter;

/// Connects to one of the addresses by the rules of [`DialPlan`], without a thread.
pub(super) fn dial(
    addresses: Vec<SocketAddr>,
    until: Option<Instant>,
    aborter: Option<&Aborter>,
) -> io::Result<TcpStream> {
    let start = Instant::now();
    let mut plan = DialPlan::new(addresses);
    let mut pending: Vec<(usize, Socket)> = Vec::new();
    loop {
        if aborter.is_some_and(Aborter::is_aborted) {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        let now = Instant::now();
        match plan.poll(now - start) {
            Dial::Connect { attempt, address } => match begin(address) {
                Ok(socket) => pending.push((attempt, socket)),
                Err(error) => plan.failed(attempt, error),
            },
            Dial::Wait { until: next } => {
                let left = until.map(|until| until.saturating_duration_since(now));
                if left.is_some_and(|left| left.is_zero()) {
                    for (attempt, _) in pending {
                        plan.failed(attempt, io::ErrorKind::TimedOut.into());
                    }
                    return Err(DialError::from_plan(plan, Some(io::ErrorKind::TimedOut)));
                }
                let next = next.map(|next| (start + next).saturating_duration_since(now));
                let timeout = left.into_iter().chain(next).min();
                wait(&pending, timeout, aborter)?;
            }
            Dial::Connected { attempt } => {
                let mut pending = pending.into_iter();
                let won = pending.find(|(known, _)| *known == attempt);
                let (_, socket) = won.ok_or(io::ErrorKind::NotConnected)?;
                socket.set_nonblocking(false)?;
                return Ok(socket.into());
            }
            Dial::Failed => return Err(DialError::from_plan(plan, None)),
        }
        pending.retain(|(attempt, socket)| match outcome(socket) {
            None => true,
            Some(Ok(())) => plan.connected(*attempt),
            Some(Err(error)) => {
                plan.failed(*attempt, error);
                false
            }
        });
    }
}

/// Begins to connect.
fn begin(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_nonblocking(true)?;
    match socket.connect(&address.into()) {
        Err(error) if !is_under_way(&error) => Err(error),
        _ => Ok(socket),
    }
}

#[cfg(unix)]
fn is_under_way(error: &io::Error) -> bool {
    let errno = rustix::io::Errno::from_io_error(error);
    // After a signal the attempt goes on as well.
    matches!(
        errno,
        Some(rustix::io::Errno::INPROGRESS | rustix::io::Errno::INTR)
    )
}

#[cfg(not(unix))]
fn is_under_way(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock
}

/// What has become of an attempt; `None` if it is under way.
fn outcome(socket: &Socket) -> Option<io::Result<()>> {
    match socket.take_error() {
        Ok(None) => socket.peer_addr().ok().map(|_| Ok(())),
        Ok(Some(error)) | Err(error) => Some(Err(error)),
    }
}

/// Waits until an attempt has ended, or the time is over, or it is aborted.
#[cfg(unix)]
fn wait(
    pending: &[(usize, Socket)],
    timeout: Option<Duration>,
    aborter: Option<&Aborter>,
) -> io::Result<()> {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let sockets = pending.iter();
    let mut fds: Vec<PollFd<'_>> = sockets
        .map(|(_, socket)| PollFd::new(socket, PollFlags::OUT))
        .chain(aborter.map(|aborter| PollFd::new(aborter.wake(), PollFlags::IN)))
        .collect();
    let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
    match poll(&mut fds, timeout.as_ref()) {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// The standard library cannot wait for several sockets: look again soon.
#[cfg(not(unix))]
fn wait(
    _pending: &[(usize, Socket)],
    timeout: Option<Duration>,
    _aborter: Option<&Aborter>,
) -> io::Result<()> {
    const SOON: Duration = Duration::from_millis(5);
    std::thread::sleep(timeout.unwrap_or(SOON).min(SOON));
    Ok(())
}

/// Why no address of a host could be connected to: inside of
/// [`ConnectError::Io`](crate::ConnectError::Io), or in
/// [`ConnectError::TimedOut`](crate::ConnectError::TimedOut). The text and the kind of the error are those
/// of the last one that came.
///
/// ```
/// use motews_std::{ConnectError, DialError};
///
/// # let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
/// if let Err(ConnectError::Io(error)) = motews_std::connect(&format!("ws://127.0.0.1:{port}/"))
///     && let Some(inner) = error.get_ref()
///     && let Some(failed) = inner.downcast_ref::<DialError>()
/// {
///     for (address, error) in failed.errors() {
///         println!("{address}: {error}");
///     }
/// #   assert_eq!(failed.errors().len(), 1);
/// #   return Ok(());
/// }
/// # panic!();
/// # #[expect(unreachable_code, reason = "names the error")]
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct DialError {
    errors: Vec<(SocketAddr, io::Error)>,
}

impl DialError {
    /// That of a plan that has failed: as `kind`, or that of the last error.
    fn from_plan(plan: DialPlan<io::Error>, kind: Option<io::ErrorKind>) -> io::Error {
        let errors = plan.into_errors();
        let last = errors.last().map(|(_, error)| error.kind());
        match kind.or(last) {
            None => io::Error::new(io::ErrorKind::NotFound, "the host has no address"),
            Some(kind) => io::Error::new(kind, Self { errors }),
        }
    }

    /// Each address that was tried, with its error, in the order in which they came.
    #[must_use]
    pub fn errors(&self) -> &[(SocketAddr, io::Error)] {
        &self.errors
    }
}

impl fmt::Display for DialError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.errors.last() {
            Some((address, error)) => write!(f, "{address}: {error}"),
            None => f.write_str("the host has no address"),
        }
    }
}

impl core::error::Error for DialError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self.errors.last() {
            Some((_, error)) => Some(error),
            None => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;
    use std::thread;

    /// A listener whose queue is full, so that it says nothing to who else connects.
    struct Silent {
        address: SocketAddr,
        _listener: Socket,
        _queued: Vec<Socket>,
    }

    fn silent(address: &str) -> Silent {
        let address: SocketAddr = address.parse().unwrap();
        let domain = Domain::for_address(address);
        let listener = Socket::new(domain, Type::STREAM, Some(Protocol::TCP)).unwrap();
        listener.bind(&address.into()).unwrap();
        listener.listen(0).unwrap();
        let address = listener.local_addr().unwrap().as_socket().unwrap();
        let mut queued = Vec::new();
        // The kernel takes one or two more than the queue holds.
        loop {
            let socket = begin(address).unwrap();
            wait(&[], Some(Duration::from_millis(20)), None).unwrap();
            let is_silent = outcome(&socket).is_none();
            queued.push(socket);
            if is_silent {
                break;
            }
        }
        Silent {
            address,
            _listener: listener,
            _queued: queued,
        }
    }

    fn soon(later: Duration) -> Option<Instant> {
        Instant::now().checked_add(later)
    }

    const PATIENCE: Duration = Duration::from_secs(20);

    /// The least that connecting takes, of some tries: a busy machine may delay each of them.
    fn fastest(addresses: &[SocketAddr], expected: SocketAddr, is_fast: Duration) -> Duration {
        let mut fastest = Duration::MAX;
        for _ in 0..20 {
            let start = Instant::now();
            let stream = dial(addresses.to_vec(), soon(PATIENCE), None).unwrap();
            fastest = fastest.min(start.elapsed());
            assert_eq!(stream.peer_addr().unwrap(), expected);
            if fastest < is_fast {
                break;
            }
        }
        fastest
    }

    #[test]
    fn silent_ipv6_address_costs_at_most_300_ms() {
        let silent = silent("[::1]:0");
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let good = listener.local_addr().unwrap();
        let limit = Duration::from_millis(300);
        let took = fastest(&[silent.address, good], good, limit);
        assert!(took >= DialPlan::<io::Error>::ATTEMPT_DELAY, "{took:?}");
        assert!(took < limit, "{took:?}");
    }

    #[test]
    fn address_that_refuses_costs_nothing() {
        let unused = TcpListener::bind("[::1]:0").unwrap().local_addr().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let good = listener.local_addr().unwrap();
        let limit = DialPlan::<io::Error>::ATTEMPT_DELAY;
        assert!(fastest(&[unused, good], good, limit) < limit);
    }

    #[test]
    fn all_that_refuse_are_named_and_the_last_is_told() {
        let unused = |host: &str| {
            let listener = TcpListener::bind((host, 0)).unwrap();
            listener.local_addr().unwrap()
        };
        let addresses = vec![unused("::1"), unused("127.0.0.1")];
        let error = dial(addresses.clone(), soon(PATIENCE), None).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        let inner = error.get_ref().unwrap();
        let inner: &DialError = inner.downcast_ref().unwrap();
        let tried: Vec<_> = inner.errors().iter().map(|(address, _)| *address).collect();
        assert_eq!(tried, addresses);
        assert!(error.to_string().starts_with(&addresses[1].to_string()));
        assert!(dial(Vec::new(), None, None).is_err());
    }

    #[test]
    fn silence_everywhere_ends_at_the_deadline() {
        let silent = silent("127.0.0.1:0");
        let start = Instant::now();
        let deadline = Duration::from_millis(100);
        let error = dial(vec![silent.address], soon(deadline), None).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(start.elapsed() >= deadline);
    }

    /// Which addresses failed and why is not hidden by the time that ran out.
    #[test]
    fn deadline_after_a_refusal_names_each_address() {
        let silent = silent("127.0.0.1:0");
        let unused = TcpListener::bind("127.0.0.1:0").unwrap().local_addr();
        let unused = unused.unwrap();
        let deadline = Duration::from_millis(400);
        let error = dial(vec![unused, silent.address], soon(deadline), None).unwrap_err();
        let crate::ConnectError::TimedOut(Some(failed)) = crate::ConnectError::from_io(error)
        else {
            panic!("it has the addresses");
        };
        let errors = failed.errors().iter();
        let errors: Vec<_> = errors.map(|(at, error)| (*at, error.kind())).collect();
        assert_eq!(
            errors,
            [
                (unused, io::ErrorKind::ConnectionRefused),
                (silent.address, io::ErrorKind::TimedOut)
            ]
        );
    }

    #[test]
    fn dial_aborted_from_another_thread_ends_at_once() {
        let silent = silent("127.0.0.1:0");
        let aborter = Aborter::new().unwrap();
        let (address, other) = (silent.address, aborter.clone());
        let dialing = thread::spawn(move || {
            let error = dial(vec![address], soon(PATIENCE * 10), Some(&other));
            error.map(|_| ()).map_err(|error| error.kind())
        });
        let start = Instant::now();
        aborter.abort();
        let aborted = Err(io::ErrorKind::ConnectionAborted);
        assert_eq!(dialing.join().unwrap(), aborted);
        assert!(start.elapsed() < PATIENCE);
    }
}
