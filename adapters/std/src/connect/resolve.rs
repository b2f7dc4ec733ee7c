//! From the name of a host to its addresses.

use core::fmt;
use core::net::SocketAddr;
use std::io;
use std::net::ToSocketAddrs;
use std::sync::Arc;
use std::time::Instant;

use motews_net::Host;

use super::abort::Aborter;
use super::awaited::Awaited;

type Found = io::Result<Vec<SocketAddr>>;
type Resolve = dyn Fn(&str, u16) -> Found + Send + Sync;

/// Resolves names: the operating system's resolver, or the application's own.
#[derive(Clone)]
pub(super) struct Resolver(Option<Arc<Resolve>>);

impl Resolver {
    /// The operating system's.
    pub(super) const SYSTEM: Self = Self(None);

    pub(super) fn new(resolve: impl Fn(&str, u16) -> Found + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(resolve)))
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
        interruptible(until, aborter, move || resolver.look_up(&host, port))
    }

    fn look_up(&self, host: &Host, port: u16) -> Found {
        let (name, found) = match (host, &self.0) {
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

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Some(_) => "Resolver",
            None => "Resolver::SYSTEM",
        })
    }
}

/// Returns what `f` returns, unless the time is over before, or it is aborted: then its thread is left
/// behind.
fn interruptible<T: Send + 'static>(
    until: Option<Instant>,
    aborter: Option<&Aborter>,
    f: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    if until.is_none() && aborter.is_none() {
        return f();
    }
    let result = Arc::new(Awaited::default());
    let aborted = aborter.map(|aborter| {
        let result = result.clone();
        aborter.on_abort(move || result.set(Err(io::ErrorKind::ConnectionAborted.into())))
    });
    let _aborted = aborted.transpose()?;
    let found = result.clone();
    let thread = std::thread::Builder::new().name("motews-resolve".to_owned());
    // Nobody may want it any more.
    thread.spawn(move || found.set(f()))?;
    let result = result.take(until);
    result.unwrap_or_else(|| Err(io::ErrorKind::TimedOut.into()))
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
            move || interruptible(None, Some(&aborter), look_up).map_err(|error| error.kind())
        });
        begun.recv().unwrap();
        aborter.abort();
        let aborted = Err(io::ErrorKind::ConnectionAborted);
        assert_eq!(looking.join().unwrap(), aborted);
        drop(ends);
        let found = interruptible(None, Some(&Aborter::new().unwrap()), || Ok(5));
        assert_eq!(found.unwrap(), 5);
    }

    #[test]
    fn look_up_that_never_ends_is_over_at_the_deadline() {
        let (_ends, _begun, look_up) = endless();
        let until = Instant::now() + Duration::from_millis(50);
        let result = interruptible(Some(until), None, look_up);
        assert_eq!(result.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert!(Instant::now() >= until);
    }
}
