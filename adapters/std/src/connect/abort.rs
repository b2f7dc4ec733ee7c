//! Ending a connect, or a connection, from another thread.

use core::fmt;
use std::collections::BTreeMap;
use std::io;
#[cfg(unix)]
use std::io::{PipeReader, PipeWriter, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Ends connects and connections at once, from any thread: when the user presses Ctrl-C, or after a
/// time of your own.
///
/// It is given to [`Connector::aborter`](crate::Connector::aborter) first. A connect that is under way
/// returns [`ConnectError::Aborted`](crate::ConnectError::Aborted), and so does every later one. A
/// connection that is open ends without a closing handshake: receiving returns
/// [`RecvError::Aborted`](crate::RecvError::Aborted), sending [`SendError::Closed`](crate::SendError::Closed),
/// and it ended as [`Ended::Aborted`](crate::Ended::Aborted).
/// To leave politely from another thread, take a [`Sender`](crate::Sender) and
/// [close](crate::Sender::close): the owner's `recv` then returns `None`.
///
/// ```
/// # fn f(mut ws: motews_std::WebSocket) -> std::io::Result<()> {
/// use motews_std::CloseCode;
///
/// let sender = ws.sender()?;
/// std::thread::spawn(move || sender.close(CloseCode::GOING_AWAY, "")); // in the handler of Ctrl-C
/// while let Some(message) = ws.recv()? {
///     println!("{message:?}");
/// }
/// # Ok(()) }
/// ```
///
/// **The operating system's resolver cannot be interrupted.** A connect that is looking up a name
/// returns at once all the same, and leaves a thread behind that ends when the resolver has.
///
/// ```
/// use motews_std::{Aborter, Connector, ConnectError};
///
/// # let silent = std::net::TcpListener::bind("127.0.0.1:0")?;
/// # let url = format!("ws://{}/", silent.local_addr()?);
/// let aborter = Aborter::new()?;
/// let on_signal = aborter.clone(); // for the handler of Ctrl-C
/// let connecting = std::thread::spawn(move || Connector::new().aborter(&aborter).connect(&url));
///
/// on_signal.abort();
/// assert!(matches!(connecting.join().unwrap(), Err(ConnectError::Aborted)));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Aborter(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    known: Mutex<Known>,
    /// Readable once it has been aborted, to end a `poll`.
    #[cfg(unix)]
    wake: PipeReader,
    #[cfg(unix)]
    waker: PipeWriter,
}

/// What is to be ended.
#[derive(Default)]
struct Known {
    aborted: bool,
    next: u64,
    ends: BTreeMap<u64, Box<dyn Fn() + Send>>,
}

impl fmt::Debug for Known {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Known");
        debug
            .field("aborted", &self.aborted)
            .field("ends", &self.ends.len())
            .finish_non_exhaustive()
    }
}

impl Aborter {
    /// An aborter that has not aborted anything.
    ///
    /// # Errors
    /// Those of the operating system: too many open files.
    pub fn new() -> io::Result<Self> {
        #[cfg(unix)]
        let (wake, waker) = io::pipe()?;
        Ok(Self(Arc::new(Shared {
            known: Mutex::default(),
            #[cfg(unix)]
            wake,
            #[cfg(unix)]
            waker,
        })))
    }

    /// Ends all that was connected with it, or will be.
    pub fn abort(&self) {
        let mut known = self.lock();
        if known.aborted {
            return;
        }
        known.aborted = true;
        for end in known.ends.values() {
            end();
        }
        drop(known);
        // The one byte that is ever written here: it has room.
        #[cfg(unix)]
        let _ = (&self.0.waker).write(&[0]);
    }

    /// Returns true if [`abort`](Self::abort) was called.
    #[must_use]
    pub fn is_aborted(&self) -> bool {
        self.lock().aborted
    }

    /// Is readable once it has been aborted.
    #[cfg(unix)]
    pub(super) fn wake(&self) -> &PipeReader {
        &self.0.wake
    }

    /// Will abort `socket`, until what is returned is dropped.
    pub(super) fn register(&self, socket: &TcpStream) -> io::Result<Registered> {
        let socket = socket.try_clone()?;
        self.on_abort(move || {
            // It may have ended by itself.
            let _ = socket.shutdown(Shutdown::Both);
        })
    }

    /// Will call `end`, which must not call the aborter, until what is returned is dropped.
    pub(crate) fn on_abort(&self, end: impl Fn() + Send + 'static) -> io::Result<Registered> {
        let mut known = self.lock();
        if known.aborted {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        let id = known.next;
        known.next = id.wrapping_add(1);
        known.ends.insert(id, Box::new(end));
        drop(known);
        Ok(Registered {
            aborter: self.clone(),
            id,
        })
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        let known = &self.0.known;
        known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What an [`Aborter`] knows. Of a socket it has a handle, which would keep the connection open.
#[derive(Debug)]
pub(crate) struct Registered {
    aborter: Aborter,
    id: u64,
}

impl Registered {
    pub(crate) fn is_aborted(&self) -> bool {
        self.aborter.is_aborted()
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        let end = self.aborter.lock().ends.remove(&self.id);
        drop(end);
    }
}
