//! The event-driven server.

mod backlog;
mod connection;
mod context;
mod control;
mod cork;
mod event_loop;
mod frame;
mod handler;
mod hub;
mod id;
mod in_place;
mod inbox;
mod listen;
mod outbox;
mod outgoing;
mod packing;
mod peer;
#[cfg_attr(
    not(any(target_os = "linux", target_os = "android")),
    path = "poll_mio.rs"
)]
mod poll;
mod reply;
mod sender;
mod serve;
mod settings;
mod shared;
mod socket;
mod stream;
#[cfg(feature = "tls")]
mod tls;

use core::net::SocketAddr;
use core::panic::AssertUnwindSafe;
use core::sync::atomic::Ordering;
use core::time::Duration;
use std::io;
use std::net::ToSocketAddrs;
use std::panic::{catch_unwind, resume_unwind};
use std::sync::Arc;
use std::thread;

use motews::Timeouts;
use socket2::Socket;

use crate::handshake::Handshake;
use event_loop::EventLoop;
use listen::{listen, share};
use settings::Settings;
use shared::Shared;

pub use handler::{Handler, MessageRef};
pub use hub::{Hub, Membership};
pub use id::PeerId;
pub use outbox::{Broadcast, SlowPolicy};
pub use peer::{Peer, Peers};
pub use sender::PeerSender;
pub use settings::ServerLimits;

/// The settings of a [`Server`]. All limits and times are on by default:
///
/// | what | default | what happens |
/// |---|---|---|
/// | [`ServerLimits::connections`] | 100,000 | More wait to be accepted. |
/// | [`ServerLimits::head`], [`ServerLimits::headers`] | 64 KiB, 128 | The request is answered with 431. |
/// | [`ServerLimits::message`] | 16 MiB | The connection is closed with 1009 as soon as the announced length exceeds the limit. If compressed: when the inflated length exceeds it, or the wire length exceeds 2 × limit + 64. |
/// | [`ServerLimits::backlog`] | 1 MiB | Beyond half of it, nothing is read of this peer. Beyond all of it, senders wait or get an error; hubs: [`SlowPolicy`]. |
/// | [`Timeouts::handshake`] | 10 s | For the whole request, however it trickles, with TLS's handshake: the peer is dropped. |
/// | [`Timeouts::write`] | 30 s | Bytes wait, and the peer takes none of them for so long beyond the time that it has bought: it is dropped. |
/// | [`Timeouts::min_rate`], [`Timeouts::max_grace`] | 128 B/s, 300 s | Each byte that the peer takes buys it time, up to that much. |
/// | [`Timeouts::idle`] | 1 h | No message has moved either way, and none waits: the connection is closed with 1001. |
/// | [`Timeouts::keepalive`] | 30 s | Nothing came from the peer: it is sent a ping. |
/// | [`Timeouts::pong`] | 10 s | Nothing came after that: the peer is dropped. |
/// | [`Timeouts::close`] | 5 s | The closing handshake was not completed since this side's Close left: the peer is dropped. |
///
/// A slow peer loses nothing as long as it reads at [`Timeouts::min_rate`]: [`motews::pace`] has the
/// rules. A peer that reads nothing is dropped [`Timeouts::max_grace`] and [`Timeouts::write`] after
/// it took its last byte, at the latest.
///
/// Times are looked at every second, and more often if they are short or connections are ending.
///
/// ```no_run
/// use motews_std::{MessageRef, Peer, Server, ServerLimits};
///
/// let server = Server::builder()
///     .limits(ServerLimits { message: 64 * 1024, ..ServerLimits::DEFAULT })
///     .subprotocols(["chat.v2", "chat.v1"])
///     .bind("[::]:9001")?;
/// server.run(|peer: &mut Peer, message: MessageRef| peer.send(message))?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct ServerBuilder(Settings);

impl Default for ServerBuilder {
    fn default() -> Self {
        Self::new()
    }
}

impl ServerBuilder {
    /// The defaults.
    pub fn new() -> Self {
        Self(Settings {
            limits: ServerLimits::DEFAULT,
            timeouts: Timeouts::SERVER,
            send_buffer: None,
            handshake: Handshake::new(motews::Limits::DEFAULT),
            #[cfg(feature = "tls")]
            tls: None,
        })
    }

    /// Sets what is bounded, beside time: [`ServerLimits::DEFAULT`] by default.
    pub const fn limits(mut self, limits: ServerLimits) -> Self {
        self.0.limits = limits;
        self
    }

    /// Sets how long to wait for what: [`Timeouts::SERVER`] by default. Take the rest from there when
    /// you change some: `..Timeouts::default()` would turn the server's idle deadline off.
    ///
    /// ```
    /// use motews_std::{Server, Timeouts};
    ///
    /// let timeouts = Timeouts { keepalive: Some(20_000), ..Timeouts::SERVER };
    /// assert_eq!(timeouts.idle, Some(3_600_000));
    /// assert_eq!(Timeouts::default().idle, None);
    /// let builder = Server::builder().timeouts(timeouts);
    /// # drop(builder);
    /// ```
    pub const fn timeouts(mut self, timeouts: Timeouts) -> Self {
        self.0.timeouts = timeouts;
        self
    }

    /// The subprotocols, the best one first (§1.9): the first of them that the client offers is
    /// taken, unless [`Handler::on_request`] chooses one.
    pub fn subprotocols<T: Into<String>>(mut self, names: impl IntoIterator<Item = T>) -> Self {
        self.0.handshake.subprotocols = names.into_iter().map(Into::into).collect();
        self
    }

    /// Adds a header to each response that accepts.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.0.handshake.headers.push((name.into(), value.into()));
        self
    }

    /// How much the operating system holds for each connection that is not sent yet, in bytes
    /// (`SO_SNDBUF`; Linux takes twice as much). Without it, it decides for itself. On Linux it then
    /// takes 128 KiB beyond what it can send at once (`TCP_NOTSENT_LOWAT`); elsewhere it may hold
    /// megabytes: seconds of a video, for one who reads slowly.
    pub const fn send_buffer(mut self, bytes: usize) -> Self {
        self.0.send_buffer = Some(bytes);
        self
    }

    /// Compresses messages for the peers that ask for it (RFC 7692): see
    /// [`Acceptor::deflate`](crate::Acceptor::deflate). What is not asked for takes nothing.
    ///
    /// A connection takes 61 KiB more with `DeflateConfig::DEFAULT`. Without
    /// [takeover](crate::DeflateContext::takeover) of what is sent it takes 34 KiB, its window for
    /// receiving: then one compressor serves all connections of a loop.
    ///
    /// While a loop compresses, its other connections wait:
    ///
    /// - Compressing 1 MiB takes some 10 milliseconds. A message above 2 MiB is sent as it is.
    /// - After 256 KiB of messages, or 16 KiB of the wire, the other connections have their turn.
    /// - A message that arrives is inflated as it comes, up to [`ServerLimits::message`] in one
    ///   turn if it is a bomb. Budget that much memory for each connection.
    /// - What a handler has a [`Hub`] compress counts against no turn: see [`Hub::broadcast`].
    ///
    /// ```
    /// use motews_std::{DeflateContext, DeflateConfig, Server};
    ///
    /// let each_alone = DeflateContext { takeover: false, ..DeflateContext::default() };
    /// let server = Server::builder()
    ///     .deflate(DeflateConfig { send: each_alone, receive: each_alone })
    ///     .bind("127.0.0.1:0")?;
    /// # drop(server);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    // [PD30]
    #[cfg(feature = "deflate")]
    pub fn deflate(mut self, config: motews::deflate::DeflateConfig) -> Self {
        self.0.handshake.deflate = Some(config);
        self
    }

    /// Serves `wss://`.
    #[cfg(feature = "tls")]
    pub fn tls(mut self, config: Arc<rustls::ServerConfig>) -> Self {
        self.0.tls = Some(config);
        self
    }

    /// Listens at the first of these addresses that can be had. Nothing is accepted before
    /// [`Server::run`].
    ///
    /// # Errors
    /// Those of the operating system: `AddrInUse` if another server listens there.
    pub fn bind(self, addr: impl ToSocketAddrs) -> io::Result<Server> {
        let mut last = io::Error::new(io::ErrorKind::NotFound, "there is no address");
        for addr in addr.to_socket_addrs()? {
            match listen(addr, self.0.send_buffer) {
                Ok(listener) => return self.server(listener),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    fn server(self, listener: Socket) -> io::Result<Server> {
        let mut settings = self.0;
        let limits = settings.limits;
        settings.handshake.limits = motews::Limits {
            message: limits.message,
            head: limits.head,
            headers: limits.headers,
        };
        // Port 0 is any port.
        let local_addr = listener.local_addr()?.as_socket();
        let local_addr = local_addr.ok_or(io::ErrorKind::InvalidInput)?;
        let shared = Arc::new(Shared::new(settings, local_addr));
        Ok(Server { shared, listener })
    }
}

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
    listener: Socket,
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

    /// Returns the address that the server listens at, with its port, also if that was left to the
    /// operating system.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.shared.local_addr
    }

    /// A handle to shut the server down with.
    #[must_use]
    pub fn handle(&self) -> ServerHandle {
        ServerHandle(self.shared.clone())
    }

    /// Serves on this thread until [`ServerHandle::shutdown`]. The handler is moved nowhere, so it
    /// needs to be neither [`Send`] nor [`Clone`].
    ///
    /// # Errors
    /// Those of the operating system that concern the server as a whole. What happens to a single
    /// connection, its [`Handler`] is called with.
    pub fn run<H: Handler>(self, handler: H) -> io::Result<()> {
        EventLoop::new(self.listener, 0, self.shared, handler)?.run()
    }

    /// Serves with so many loops until [`ServerHandle::shutdown`]: the first one on this thread, each
    /// other one on a thread of its own. On Linux they share the port (`SO_REUSEPORT`), with each
    /// other and no one else, and the operating system deals out the connections.
    ///
    /// Each loop calls `handler` on its own thread for a handler of its own, so that no lock is needed
    /// for what a handler keeps. What the loops share, `handler` captures:
    ///
    /// ```no_run
    /// use motews_std::{Handler, MessageRef, Peer, Server};
    ///
    /// # fn chat() -> impl Handler + Clone + Sync { |_: &mut Peer, _: MessageRef| Ok(()) }
    /// let chat = chat(); // with its `Hub`, or an `Arc`
    /// Server::bind("127.0.0.1:9001")?.run_threads(4, || chat.clone())?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`run`](Self::run). `InvalidInput` for a number of threads that is not in 1..=256.
    pub fn run_threads<H: Handler>(
        self,
        threads: usize,
        handler: impl Fn() -> H + Sync,
    ) -> io::Result<()> {
        if !(1..=PeerId::MAX_LOOPS).contains(&threads) {
            let message = "a server has 1 to 256 threads";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
        let shared = &self.shared;
        let send_buffer = shared.settings.send_buffer;
        let listeners = share(self.listener, shared.local_addr, threads, send_buffer)?;
        let serve = |index: usize, listener: Socket| {
            let run = || EventLoop::new(listener, index, shared.clone(), handler())?.run();
            let result = catch_unwind(AssertUnwindSafe(run));
            if !matches!(result, Ok(Ok(()))) {
                // The others would serve on, and be waited for.
                shared.shut_down(Duration::ZERO);
            }
            result.unwrap_or_else(|panic| resume_unwind(panic))
        };
        let mut loops = listeners.into_iter().enumerate();
        let first = loops.next();
        thread::scope(|scope| {
            let others: Vec<_> = loops
                .map(|(index, listener)| {
                    let serve = &serve;
                    thread::Builder::new()
                        .name(format!("motews-{index}"))
                        .spawn_scoped(scope, move || serve(index, listener))
                })
                .collect();
            let mut result = match first {
                Some((index, listener)) if others.iter().all(Result::is_ok) => {
                    serve(index, listener)
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

/// A handle of a [`Server`], for any thread: that of a signal, for example.
///
/// ```
/// use std::time::Duration;
/// use motews_std::{MessageRef, Peer, Server};
///
/// # use std::sync::mpsc::channel;
/// # let (signal, signals) = channel();
/// # signal.send(()).unwrap();
/// let server = Server::bind("127.0.0.1:0")?;
/// let handle = server.handle();
/// std::thread::spawn(move || {
///     signals.recv().unwrap(); // until the first Ctrl-C, by what your program catches signals with
///     handle.shutdown(Duration::from_secs(10));
///     if signals.recv().is_ok() {
///         handle.shutdown(Duration::ZERO); // the second one: at once
///     }
/// });
/// server.run(|_: &mut Peer, _: MessageRef| Ok(()))?; // returns when all connections are closed
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct ServerHandle(Arc<Shared>);

impl ServerHandle {
    /// Shuts the server down: it accepts no more, and closes all connections with 1001, behind what
    /// was sent before. As soon as they are closed, and after `within` at the latest,
    /// [`Server::run`] returns. This call does not wait for it.
    ///
    /// Until then a peer may read as slowly as it likes: `within` replaces [`Timeouts::write`] and
    /// [`Timeouts::close`]. With [`Duration::MAX`] those hold instead. Of several calls the earliest
    /// end holds.
    // [CL08]
    pub fn shutdown(&self, within: Duration) {
        self.0.shut_down(within);
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
