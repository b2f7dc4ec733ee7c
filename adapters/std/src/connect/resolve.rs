//! From the name of a host to its addresses.

use core::fmt;
use core::net::SocketAddr;
use core::panic::AssertUnwindSafe;
use std::io;
use std::net::ToSocketAddrs;
use std::panic::catch_unwind;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::Instant;

use motews_net::Host;

use super::abort::Aborter;
use super::awaited::Awaited;

type Found = io::Result<Vec<SocketAddr>>;
type Resolve = dyn Fn(&str, u16) -> Found + Send + Sync;

/// How many look-ups that do not end may be left behind in threads: whoever tries again and again leaves
/// no more.
pub(super) const MAX_LEFT_BEHIND: usize = 8;

/// The look-ups that nobody waits for any more, as long as they run.
type LeftBehind<T> = Mutex<Vec<Weak<Awaited<io::Result<T>>>>>;

/// Resolves names: the operating system's resolver, or the application's own.
pub(super) struct Resolver {
    /// `None` for the operating system's.
    resolve: Option<Arc<Resolve>>,
    left_behind: OnceLock<Arc<LeftBehind<Vec<SocketAddr>>>>,
}

impl Resolver {
    /// The operating system's.
    pub(super) const fn system() -> Self {
        Self {
            resolve: None,
            left_behind: OnceLock::new(),
        }
    }

    pub(super) fn new(resolve: impl Fn(&str, u16) -> Found + Send + Sync + 'static) -> Self {
        Self {
            resolve: Some(Arc::new(resolve)),
            left_behind: OnceLock::new(),
        }
    }

    /// Returns the addresses of a host. An address is its own, and is never asked for.
    pub(super) fn resolve(
        &self,
        host: &Host,
        port: u16,
        until: Option<Instant>,
        aborter: Option<&Aborter>,
    ) -> Found {
        let host = match host {
            Host::V4(address) => return Ok(vec![SocketAddr::from((*address, port))]),
            Host::V6(address, None) => return Ok(vec![SocketAddr::from((*address, port))]),
            host => host.clone(),
        };
        let resolver = self.clone();
        let left_behind = self.left_behind.get_or_init(Arc::default);
        let look_up = move || resolver.look_up(&host, port);
        interruptible(left_behind, until, aborter, look_up)
    }

    fn look_up(&self, host: &Host, port: u16) -> Found {
        let (name, found) = match (host, &self.resolve) {
            (Host::Name(name), Some(resolve)) => (name.clone(), resolve(name, port)),
            // The operating system knows the zones of IPv6 addresses.
            (host, _) => {
                let name = host.to_string();
                let found = (name.as_str(), port).to_socket_addrs();
                (name, found.map(Iterator::collect))
            }
        };
        // Which name it was, since a proxy has one, too.
        found.map_err(|error| io::Error::new(error.kind(), format!("{name}: {error}")))
    }
}

/// A copy counts those that the original has left behind, and the other way round.
impl Clone for Resolver {
    fn clone(&self) -> Self {
        let left_behind = self.left_behind.get_or_init(Arc::default).clone();
        Self {
            resolve: self.resolve.clone(),
            left_behind: left_behind.into(),
        }
    }
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.resolve {
            Some(_) => "Resolver",
            None => "Resolver::system",
        })
    }
}

/// Returns what `f` returns, unless the time is over before, or it is aborted: then its thread is left
/// behind.
fn interruptible<T: Send + 'static>(
    left_behind: &LeftBehind<T>,
    until: Option<Instant>,
    aborter: Option<&Aborter>,
    f: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    if until.is_none() && aborter.is_none() {
        return f();
    }
    let lock = || left_behind.lock().unwrap_or_else(PoisonError::into_inner);
    let left = {
        let mut left_behind = lock();
        left_behind.retain(|running| running.strong_count() > 0);
        left_behind.len()
    };
    if left >= MAX_LEFT_BEHIND {
        let text = format!("{left} look-ups of names before this one have not ended yet");
        return Err(io::Error::new(io::ErrorKind::ResourceBusy, text));
    }
    let result = Arc::new(Awaited::default());
    let aborted = aborter.map(|aborter| {
        let result = result.clone();
        aborter.on_abort(move || result.set(Err(io::ErrorKind::ConnectionAborted.into())))
    });
    let _aborted = aborted.transpose()?;
    let found = result.clone();
    let thread = std::thread::Builder::new().name("motews-resolve".to_owned());
    thread.spawn(move || {
        let panicked = |_| Err(io::Error::other("the resolver has panicked"));
        // Nobody may want it any more.
        found.set(catch_unwind(AssertUnwindSafe(f)).unwrap_or_else(panicked));
    })?;
    result.take(until).unwrap_or_else(|| {
        lock().push(Arc::downgrade(&result));
        Err(io::ErrorKind::TimedOut.into())
    })
}

#[cfg(test)]
mod tests {
    use core::time::Duration;
    use std::sync::mpsc;
    use std::thread;

    use super::*;

    /// A look-up that never ends, as long as the first of these lives; the second says that it has begun.
    fn endless() -> (
        mpsc::Sender<()>,
        mpsc::Receiver<()>,
        impl FnOnce() -> io::Result<()> + Send,
    ) {
        let (ends, never) = mpsc::channel::<()>();
        let (begins, begun) = mpsc::channel();
        let look_up = move || {
            begins.send(()).unwrap();
            never.recv().map_err(io::Error::other)
        };
        (ends, begun, look_up)
    }

    #[test]
    fn look_up_that_never_ends_is_aborted_at_once() {
        let aborter = Aborter::new().unwrap();
        let (ends, begun, look_up) = endless();
        let looking = thread::spawn({
            let aborter = aborter.clone();
            move || {
                interruptible(&LeftBehind::default(), None, Some(&aborter), look_up)
                    .map_err(|error| error.kind())
            }
        });
        begun.recv().unwrap();
        aborter.abort();
        let aborted = Err(io::ErrorKind::ConnectionAborted);
        assert_eq!(looking.join().unwrap(), aborted);
        drop(ends);
        let found = interruptible(
            &LeftBehind::default(),
            None,
            Some(&Aborter::new().unwrap()),
            || Ok(5),
        );
        assert_eq!(found.unwrap(), 5);
    }

    #[test]
    fn look_up_that_never_ends_is_over_at_the_deadline() {
        let (_ends, _begun, look_up) = endless();
        let until = Instant::now() + Duration::from_millis(50);
        let result = interruptible(&LeftBehind::default(), Some(until), None, look_up);
        assert_eq!(result.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert!(Instant::now() >= until);
    }
}
