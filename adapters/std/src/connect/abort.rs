//! Ending a connect, or a connection, from another thread.

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
/// returns at once all the same, and leaves a thread behind that ends when the resolver has. Outside
/// of Unix it returns only then.
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
    sockets: Mutex<Sockets>,
    /// Readable once it has been aborted, to end a `poll`.
    #[cfg(unix)]
    wake: PipeReader,
    #[cfg(unix)]
    waker: PipeWriter,
}

/// The sockets that are open.
#[derive(Debug, Default)]
struct Sockets {
    aborted: bool,
    next: u64,
    open: BTreeMap<u64, TcpStream>,
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
            sockets: Mutex::default(),
            #[cfg(unix)]
            wake,
            #[cfg(unix)]
            waker,
        })))
    }

    /// Ends all that was connected with it, or will be.
    pub fn abort(&self) {
        let mut sockets = self.lock();
        if sockets.aborted {
            return;
        }
        sockets.aborted = true;
        for socket in sockets.open.values() {
            // It may have ended by itself.
            let _ = socket.shutdown(Shutdown::Both);
        }
        drop(sockets);
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
        let mut sockets = self.lock();
        if sockets.aborted {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        let id = sockets.next;
        sockets.next = id.wrapping_add(1);
        sockets.open.insert(id, socket);
        drop(sockets);
        Ok(Registered {
            aborter: self.clone(),
            id,
        })
    }

    fn lock(&self) -> MutexGuard<'_, Sockets> {
        lock(&self.0.sockets)
    }
}

fn lock(sockets: &Mutex<Sockets>) -> MutexGuard<'_, Sockets> {
    sockets.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A socket that an [`Aborter`] knows. It has a handle of it, which would keep the connection open.
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
        let socket = self.aborter.lock().open.remove(&self.id);
        drop(socket);
    }
}
