//! The event-driven server.

mod backlog;
mod connection;
mod event_loop;
mod handler;
mod hub;
mod outbox;
mod packing;
mod peer;
mod stream;

use core::fmt;
use core::net::SocketAddr;
use core::panic::AssertUnwindSafe;
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use core::time::Duration;
use std::io;
use std::net::ToSocketAddrs;
use std::panic::{catch_unwind, resume_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Instant;

use motews::Timeouts;
use socket2::{Domain, Protocol, Socket, Type};

use crate::builder::Builder;
use event_loop::{EventLoop, Waiting};
use outbox::Inbox;
use peer::PeerId as Id;

pub use handler::{Handler, MessageRef};
pub use hub::{Broadcast, Hub, Membership, SlowPolicy};
pub use outbox::PeerSender;
pub use peer::{Peer, PeerId, Peers};

/// How many connections may wait to be accepted.
const LISTEN_BACKLOG: i32 = 4096;

/// What a [`Server`] bounds, beside [time](ServerBuilder::timeouts).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How many connections there may be, those in their opening handshake included. More wait to
    /// be accepted, in the operating system's queue. 100,000 by default; the operating system's own
    /// limit on open files has the same effect. To tell them so instead, count in
    /// [`Handler::on_request`], and answer with 503.
    pub max_connections: usize,
    /// The longest head of a request, in octets, with all line ends. 64 KiB by default. A single
    /// line has 8 KiB at most, but for the values of headers.
    pub max_head_len: u32,
    /// The most headers in a request. 128 by default.
    pub max_headers: u16,
    /// The longest message that is received, in octets of payload. A longer one fails the
    /// connection with 1009 (§10.4). 16 MiB by default. One in parts takes memory for what has come
    /// of it, and twice as much at most.
    ///
    /// With compression a thousandth of that on the wire fills it, and it is held for as long as the
    /// peer answers pings: allow no more than there is memory for, for each connection.
    pub max_message_len: usize,
    /// How much may wait to be written on one connection, in octets of frames. 1 MiB by default. A
    /// single message may always wait, however long it is.
    pub max_backlog: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_connections: 100_000,
            max_head_len: 64 * 1024,
            max_headers: 128,
            max_message_len: 16 * 1024 * 1024,
            max_backlog: 1024 * 1024,
        }
    }
}

/// What all loops know and nobody changes.
pub(crate) struct Settings {
    limits: Limits,
    timeouts: Timeouts,
    write_timeout: Option<Duration>,
    /// What the opening handshake needs.
    builder: Builder,
    #[cfg(feature = "tls")]
    tls: Option<Arc<rustls::ServerConfig>>,
}

/// What the loops and the handles share.
struct Shared {
    settings: Arc<Settings>,
    local_addr: SocketAddr,
    connections: AtomicUsize,
    /// Whether `stop` is there: looked at in each round.
    stopping: AtomicBool,
    stop: Mutex<Option<Stop>>,
    inboxes: Vec<Arc<Inbox>>,
}

/// That the server shuts down.
#[derive(Clone, Copy)]
struct Stop {
    /// When it is to be gone, if not when the last peer is.
    at: Option<Instant>,
}

impl Shared {
    fn stop(&self) -> Option<Stop> {
        if !self.stopping.load(Ordering::SeqCst) {
            return None;
        }
        *self.stop.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has all loops end when this time is over, or earlier.
    fn shut_down(&self, deadline: Duration) {
        let at = Instant::now().checked_add(deadline);
        let mut stop = self.stop.lock().unwrap_or_else(PoisonError::into_inner);
        let before = stop.and_then(|stop| stop.at);
        *stop = Some(Stop {
            at: before.into_iter().chain(at).min(),
        });
        drop(stop);
        self.stopping.store(true, Ordering::SeqCst);
        for inbox in &self.inboxes {
            inbox.wake();
        }
    }
}

/// The settings of a [`Server`]. All limits and deadlines are on by default:
///
/// | what | default | what happens |
/// |---|---|---|
/// | [`Limits::max_connections`] | 100,000 | more wait to be accepted |
/// | [`Limits::max_head_len`], [`Limits::max_headers`] | 64 KiB, 128 | the request is answered with 431 |
/// | [`Limits::max_message_len`] | 16 MiB | the connection is closed with 1009, before the message comes; where compression was agreed upon, when so many octets of the message have come, or were inflated, or a frame announces 64 more than twice as many |
/// | [`Limits::max_backlog`] | 1 MiB | beyond half of it, nothing is read of this peer; beyond all of it, senders wait, or are told; hubs: [`SlowPolicy`] |
/// | [`write_timeout`](Self::write_timeout) | 30 s | a peer that reads nothing of its backlog is dropped |
/// | [`Timeouts::handshake`] | 10 s | for the whole request, however it trickles, with TLS's handshake; and again for a response that does not accept: the peer is dropped |
/// | [`Timeouts::idle`] | 1 h | without a message either way: the connection is closed with 1001 |
/// | [`Timeouts::keepalive`] | 30 s | without anything from the peer: it is sent a ping |
/// | [`Timeouts::pong`] | 10 s | without an answer to that: the peer is dropped |
/// | [`Timeouts::close`] | 5 s | for the closing handshake: the peer is dropped |
///
/// Deadlines are looked at every second, and more often if they are short.
///
/// ```no_run
/// use core::time::Duration;
/// use motews_std::{Limits, MessageRef, Peer, Server};
///
/// let server = Server::builder()
///     .threads(4)
///     .limits(Limits { max_message_len: 64 * 1024, ..Limits::default() })
///     .subprotocols(["chat.v2", "chat.v1"])
///     .bind("[::]:9001")?;
/// server.run(|peer: &mut Peer, message: MessageRef| peer.send(message))?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct ServerBuilder {
    threads: usize,
    limits: Limits,
    timeouts: Timeouts,
    write_timeout: Option<Duration>,
    send_buffer: Option<usize>,
    builder: Builder,
    #[cfg(feature = "tls")]
    tls: Option<Arc<rustls::ServerConfig>>,
}

impl Default for ServerBuilder {
    fn default() -> Self {
        Self::new()
    }
}

impl ServerBuilder {
    /// The defaults.
    pub fn new() -> Self {
        let builder = Builder::new();
        Self {
            threads: 1,
            limits: Limits::default(),
            timeouts: Timeouts {
                idle: Some(Duration::from_secs(60 * 60)),
                ..builder.timeouts
            },
            write_timeout: builder.write_timeout,
            send_buffer: None,
            builder,
            #[cfg(feature = "tls")]
            tls: None,
        }
    }

    /// How many loops there are, each on a thread of its own, in 1..=256. Where the operating system
    /// can share a port among sockets (`SO_REUSEPORT` on Linux), it deals out the connections.
    pub const fn threads(mut self, threads: usize) -> Self {
        self.threads = threads;
        self
    }

    /// The limits.
    pub const fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// How long to wait for what. A message in either direction counts against
    /// [`Timeouts::idle`].
    pub const fn timeouts(mut self, timeouts: Timeouts) -> Self {
        self.timeouts = timeouts;
        self
    }

    /// How long a peer may go without reading anything while something waits for it. `None`: for
    /// ever.
    pub const fn write_timeout(mut self, timeout: Option<Duration>) -> Self {
        self.write_timeout = timeout;
        self
    }

    /// The subprotocols, the best one first (§1.9): the first of them that the client offers is
    /// taken, unless [`Handler::on_request`] chooses one.
    pub fn subprotocols<T: Into<String>>(mut self, names: impl IntoIterator<Item = T>) -> Self {
        self.builder = self.builder.subprotocols(names);
        self
    }

    /// Adds a header to each response that accepts.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.builder = self.builder.header(name, value);
        self
    }

    /// How much the operating system holds for each connection that is not sent yet, in octets
    /// (`SO_SNDBUF`; Linux takes twice as much). Without it, it decides for itself, and may hold
    /// megabytes: seconds of a video, for one who reads slowly.
    pub const fn send_buffer(mut self, octets: usize) -> Self {
        self.send_buffer = Some(octets);
        self
    }

    /// Compresses messages for the peers that ask for it (RFC 7692): see
    /// [`Builder::deflate`](crate::Builder::deflate). What is not asked for takes nothing.
    ///
    /// A connection takes 61 KiB more with `DeflateConfig::DEFAULT`. Without
    /// [takeover](crate::Context::takeover) of what is sent it takes 34 KiB, its window for
    /// receiving: then one compressor serves all connections of a loop.
    ///
    /// To compress takes a loop some 10 milliseconds for a MiB, and its other connections wait. So a
    /// message above 2 MiB is sent as it is, and after each 256 KiB of messages, or 16 KiB of the
    /// wire, the others have their turn. What has waited when a connection is closed leaves at once,
    /// and is compressed up to that only. A message that arrives is inflated as it comes, up to
    /// [`Limits::max_message_len`] in one turn if it is a bomb: set that to what there is memory for,
    /// for each connection. What a handler has a [`Hub`] compress is not counted: see
    /// [`Hub::broadcast`].
    ///
    /// ```
    /// use motews_std::{Context, DeflateConfig, Server};
    ///
    /// let each_alone = Context { takeover: false, ..Context::default() };
    /// let server = Server::builder()
    ///     .deflate(DeflateConfig { send: each_alone, receive: each_alone })
    ///     .bind("127.0.0.1:0")?;
    /// # drop(server);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    // [PD30]
    #[cfg(feature = "deflate")]
    pub fn deflate(mut self, config: motews::deflate::DeflateConfig) -> Self {
        self.builder = self.builder.deflate(config);
        self
    }

    /// Serves `wss://`.
    #[cfg(feature = "tls")]
    pub fn tls(mut self, config: Arc<rustls::ServerConfig>) -> Self {
        self.tls = Some(config);
        self
    }

    /// Listens at the first of these addresses that can be had. Nothing is accepted before
    /// [`Server::run`].
    ///
    /// # Errors
    /// Those of the operating system. `InvalidInput` for a number of threads that is not in 1..=256.
    pub fn bind(self, addr: impl ToSocketAddrs) -> io::Result<Server> {
        if !(1..=Id::MAX_LOOPS).contains(&self.threads) {
            let message = "a server has 1 to 256 threads";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
        let mut last = io::Error::new(io::ErrorKind::NotFound, "there is no address");
        for addr in addr.to_socket_addrs()? {
            match self.listen(addr) {
                Ok(listeners) => return self.server(listeners),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// A listener for each loop.
    fn listen(&self, mut addr: SocketAddr) -> io::Result<Vec<Socket>> {
        let mut listeners: Vec<Socket> = Vec::new();
        for _ in 0..self.threads {
            if let Some(first) = listeners.first().filter(|_| !SHARED_PORT) {
                listeners.push(first.try_clone()?);
                continue;
            }
            let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
            // On Windows this would let others take the port.
            #[cfg(unix)]
            socket.set_reuse_address(true)?;
            #[cfg(target_os = "linux")]
            if self.threads > 1 {
                socket.set_reuse_port(true)?;
            }
            // Linux hands both options down to what is accepted.
            socket.set_tcp_nodelay(true)?;
            if let Some(octets) = self.send_buffer {
                socket.set_send_buffer_size(octets)?;
            }
            socket.set_nonblocking(true)?;
            socket.bind(&addr.into())?;
            socket.listen(LISTEN_BACKLOG)?;
            // Port 0 is any port; the other loops have the same.
            if let Some(bound) = socket.local_addr()?.as_socket() {
                addr = bound;
            }
            listeners.push(socket);
        }
        Ok(listeners)
    }

    fn server(self, listeners: Vec<Socket>) -> io::Result<Server> {
        let limits = self.limits;
        let builder = self
            .builder
            .max_head_len(limits.max_head_len)
            .max_headers(limits.max_headers);
        let settings = Settings {
            limits,
            timeouts: self.timeouts,
            write_timeout: self.write_timeout,
            builder,
            #[cfg(feature = "tls")]
            tls: self.tls,
        };
        let loops = listeners
            .into_iter()
            .map(|socket| {
                let listener = mio::net::TcpListener::from_std(socket.into());
                Waiting::new(listener, &settings)
            })
            .collect::<io::Result<Vec<_>>>()?;
        let first = loops.first().ok_or(io::ErrorKind::InvalidInput)?;
        let shared = Shared {
            local_addr: first.listener().local_addr()?,
            settings: Arc::new(settings),
            connections: AtomicUsize::new(0),
            stopping: AtomicBool::new(false),
            stop: Mutex::new(None),
            inboxes: loops.iter().map(|each| each.inbox().clone()).collect(),
        };
        Ok(Server {
            shared: Arc::new(shared),
            loops,
        })
    }
}

/// Whether several sockets can share a port, so that each gets some of the connections.
const SHARED_PORT: bool = cfg!(target_os = "linux");

/// A server of many connections: a [`Handler`] is called with what happens on each of them.
///
/// An echo:
///
/// ```no_run
/// use motews_std::{MessageRef, Peer, Server};
///
/// Server::bind("127.0.0.1:9001")?.run(|peer: &mut Peer, message: MessageRef| peer.send(message))?;
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// Nothing in it waits for a single peer. All connections of a loop share one buffer for reading and
/// one for writing; a connection that is idle has neither. What one read has brought is answered
/// with one write. [`ServerBuilder`] has a table of its limits and deadlines, all of which are on by
/// default.
///
/// To send at other times than in answer, use [`Peer::sender`], a [`Hub`], or
/// [`Handler::on_timer`].
#[derive(Debug)]
#[must_use = "a server does nothing before it runs"]
pub struct Server {
    shared: Arc<Shared>,
    loops: Vec<Waiting>,
}

impl Server {
    /// Listens at `addr`, with the default settings.
    ///
    /// # Errors
    /// See [`ServerBuilder::bind`].
    pub fn bind(addr: impl ToSocketAddrs) -> io::Result<Self> {
        Self::builder().bind(addr)
    }

    /// A server with other settings.
    pub fn builder() -> ServerBuilder {
        ServerBuilder::new()
    }

    /// The address that it listens at: it tells the port, if that was left to the operating system.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.shared.local_addr
    }

    /// A handle to shut the server down with.
    #[must_use]
    pub fn handle(&self) -> ServerHandle {
        ServerHandle(self.shared.clone())
    }

    /// Serves until [`ServerHandle::shutdown`]. The first loop runs on this thread with `handler`,
    /// each other one on a thread of its own with a clone of it.
    ///
    /// # Errors
    /// Those of the operating system that concern the server as a whole. What happens to a single
    /// connection, its [`Handler`] is told.
    pub fn run<H: Handler + Clone + Send>(self, handler: H) -> io::Result<()> {
        let shared = &self.shared;
        let serve = |index: usize, waiting: Waiting, handler: H| {
            let run = || EventLoop::new(waiting, index, shared.clone(), handler).run();
            let result = catch_unwind(AssertUnwindSafe(run));
            if !matches!(result, Ok(Ok(()))) {
                // The others would serve on, and be waited for.
                shared.shut_down(Duration::ZERO);
            }
            result.unwrap_or_else(|panic| resume_unwind(panic))
        };
        let mut loops = self.loops.into_iter().enumerate();
        let first = loops.next();
        // All of them first: if that panics, no thread runs yet.
        let others: Vec<_> = loops.map(|(n, each)| (n, each, handler.clone())).collect();
        thread::scope(|scope| {
            let others: Vec<_> = others
                .into_iter()
                .map(|(index, waiting, handler)| {
                    let serve = &serve;
                    thread::Builder::new()
                        .name(format!("motews-{index}"))
                        .spawn_scoped(scope, move || serve(index, waiting, handler))
                })
                .collect();
            let mut result = match first {
                Some((index, waiting)) if others.iter().all(Result::is_ok) => {
                    serve(index, waiting, handler)
                }
                _ => {
                    shared.shut_down(Duration::ZERO);
                    Ok(())
                }
            };
            for other in others {
                let ended = other.and_then(|thread| {
                    let panicked = || io::Error::other("a loop has panicked");
                    thread.join().unwrap_or_else(|_| Err(panicked()))
                });
                result = result.and(ended);
            }
            result
        })
    }
}

/// A handle of a [`Server`], for any thread.
#[derive(Clone, Debug)]
pub struct ServerHandle(Arc<Shared>);

impl ServerHandle {
    /// Shuts the server down: it accepts no more, and closes all connections with 1001. As soon as
    /// they are closed, at the latest after `deadline`, [`Server::run`] returns. This call does not
    /// wait for it. Of several deadlines the earliest holds; [`Duration::MAX`] is none.
    // [CL08]
    pub fn shutdown(&self, deadline: Duration) {
        self.0.shut_down(deadline);
    }

    /// How many connections there are, on all loops.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.0.connections.load(Ordering::Relaxed)
    }

    /// The address that the server listens at.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.0.local_addr
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Shared({})", self.local_addr)
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Settings")
    }
}
