//! The conformance kit, over a stream in memory and over TLS, and in paused time: as one value, and as
//! halves in two tasks, in both roles.

use core::future::poll_fn;
use core::pin::Pin;
use core::task::Poll;
use core::time::Duration;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

#[cfg(feature = "tls")]
use motews_testkit::authority::Authority;
use motews_testkit::conformance::{Adapter, Subject, Told};
#[cfg(feature = "deflate")]
use motews_tokio::DeflateConfig;
use motews_tokio::role::Role;
use motews_tokio::{
    Acceptor, CloseCode, Connector, Ended, Message, SendError, Timeouts, WebSocketStream,
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf, duplex};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// How much the transport holds in each direction, in bytes.
const HOLDS: usize = 8192;

fn message(told: Told) -> Message {
    match told {
        Told::Text(text) => text.into(),
        Told::Binary(bytes) => bytes.into(),
    }
}

fn told(message: Message) -> Told {
    match message {
        Message::Text(text) => Told::Text(text.to_string()),
        Message::Binary(bytes) => Told::Binary(bytes.to_vec()),
    }
}

/// A stream of either kind.
trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

type Io = Box<dyn Stream>;

/// What an application is to do.
enum Command {
    Send(Told),
    Close(u16, String),
    Read(bool),
}

/// What an application was told.
#[derive(Default)]
struct Log {
    told: Vec<Told>,
    ended: Option<Ended>,
}

type Shared = Arc<Mutex<Log>>;
type Commands = UnboundedReceiver<Command>;

/// A connection whose application is a task, or two.
struct Tasks {
    runtime: Runtime,
    /// The peer's end.
    peer: Io,
    given: VecDeque<u8>,
    ends: bool,
    has_ended: bool,
    commands: UnboundedSender<Command>,
    log: Shared,
    can_pause: bool,
}

impl Tasks {
    /// Lets the tasks run until they wait.
    fn run(&mut self) {
        self.runtime.block_on(async {
            for _ in 0..20 {
                tokio::task::yield_now().await;
            }
        });
    }

    /// Writes what was given, as far as there is room.
    fn pump(&mut self) {
        loop {
            let (given, peer) = (&mut self.given, &mut self.peer);
            let ends = self.ends && given.is_empty();
            let moved = self.runtime.block_on(poll_fn(|cx| {
                let peer = Pin::new(&mut *peer);
                Poll::Ready(if ends {
                    peer.poll_shutdown(cx).map_ok(|()| 0)
                } else if given.is_empty() {
                    Poll::Ready(Ok(0))
                } else {
                    peer.poll_write(cx, given.as_slices().0)
                })
            }));
            match moved {
                Poll::Ready(Ok(0)) => break,
                Poll::Ready(Ok(len)) => drop(self.given.drain(..len)),
                // One that has left takes nothing.
                Poll::Ready(Err(_)) => self.given.clear(),
                Poll::Pending => break,
            }
            self.flush();
            self.run();
        }
    }

    /// TLS holds what it was given.
    fn flush(&mut self) {
        let peer = &mut self.peer;
        let flush = poll_fn(|cx| Poll::Ready(Pin::new(&mut *peer).poll_flush(cx)));
        let _ = self.runtime.block_on(flush);
    }
}

impl Subject for Tasks {
    fn give(&mut self, bytes: &[u8]) {
        self.given.extend(bytes);
        self.pump();
    }

    fn end(&mut self) {
        self.ends = true;
        self.pump();
    }

    fn take(&mut self, most: usize) -> Vec<u8> {
        let mut bytes = vec![0; most.min(HOLDS)];
        let mut buffer = ReadBuf::new(&mut bytes);
        let peer = &mut self.peer;
        let read = self.runtime.block_on(poll_fn(|cx| {
            Poll::Ready(Pin::new(&mut *peer).poll_read(cx, &mut buffer))
        }));
        let len = buffer.filled().len();
        self.has_ended |= read.is_ready() && len == 0 && most > 0;
        bytes.truncate(len);
        self.flush();
        self.run();
        self.pump();
        bytes
    }

    fn has_ended(&mut self) -> bool {
        self.has_ended
    }

    fn send(&mut self, message: Told) {
        self.commands.send(Command::Send(message)).ok();
        self.run();
    }

    fn close(&mut self, code: u16, reason: &str) {
        self.commands
            .send(Command::Close(code, reason.to_owned()))
            .ok();
        self.run();
    }

    fn read(&mut self, on: bool) -> bool {
        self.commands.send(Command::Read(on)).ok();
        self.run();
        self.can_pause
    }

    fn told(&mut self) -> Vec<Told> {
        core::mem::take(&mut self.log.lock().unwrap().told)
    }

    fn ended(&mut self) -> Option<Ended> {
        self.log.lock().unwrap().ended
    }

    fn wait(&mut self, millis: u32) {
        let time = Duration::from_millis(millis.into());
        self.run();
        self.runtime
            .block_on(async { tokio::time::sleep(time).await });
        self.flush();
        self.run();
        self.pump();
    }
}

// ---- applications ----

/// Whether messages are compressed that are not sent as they are.
fn compresses<R: Role>(ws: &WebSocketStream<Io, R>) -> bool {
    #[cfg(feature = "deflate")]
    return ws.deflate().is_some();
    #[cfg(not(feature = "deflate"))]
    {
        let _ = ws;
        false
    }
}

/// Sends a message as it is: the kit reads no compressed ones.
macro_rules! send {
    ($sender:expr, $message:expr, $compresses:expr) => {
        match $compresses {
            #[cfg(feature = "deflate")]
            true => $sender.send_uncompressed($message).await,
            _ => $sender.send($message).await,
        }
    };
}

/// One task, by the methods of a WebSocket.
async fn one_task<R: Role>(mut ws: WebSocketStream<Io, R>, mut commands: Commands, log: Shared) {
    let mut reads = true;
    loop {
        let received = tokio::select! {
            received = ws.recv(), if reads => received,
            command = commands.recv() => match command {
                None => return,
                Some(Command::Read(on)) => {
                    reads = on;
                    continue;
                }
                Some(Command::Close(code, reason)) => {
                    ws.close(CloseCode::new(code), &reason).ok();
                    continue;
                }
                Some(Command::Send(told)) => {
                    let compresses = compresses(&ws);
                    match send!(ws, message(told), compresses) {
                        Err(SendError::InboundFull) => panic!("the peer reads"),
                        Ok(()) | Err(_) => continue,
                    }
                }
            },
        };
        match received {
            Ok(Some(message)) => log.lock().unwrap().told.push(told(message)),
            Ok(None) | Err(_) => break,
        }
    }
    let ended = ws.ended();
    assert!(ended.is_some() && ws.recv().await.unwrap().is_none());
    log.lock().unwrap().ended = ended;
}

/// Two tasks, with the halves of a WebSocket.
async fn two_tasks<R: Role + Send + 'static>(
    ws: WebSocketStream<Io, R>,
    mut commands: Commands,
    log: Shared,
) {
    let compresses = compresses(&ws);
    let (sender, mut receiver) = ws.split();
    tokio::spawn(async move {
        while let Some(command) = commands.recv().await {
            match command {
                Command::Send(told) => drop(send!(sender, message(told), compresses)),
                Command::Close(code, reason) => {
                    drop(sender.close(CloseCode::new(code), &reason));
                }
                Command::Read(_) => {}
            }
        }
    });
    while let Ok(Some(message)) = receiver.recv().await {
        log.lock().unwrap().told.push(told(message));
    }
    log.lock().unwrap().ended = receiver.ended();
}

// ---- the modes ----

#[derive(Clone, Copy)]
struct Mode {
    is_client: bool,
    is_split: bool,
    /// Both sides have agreed on compression, and send messages as they are.
    agrees: bool,
    /// Opens the two ends of a stream: this side's first.
    streams: fn(&Runtime, bool) -> (Io, Io),
}

impl Mode {
    fn spawn<R: Role + Send + 'static>(
        self,
        runtime: &Runtime,
        ws: WebSocketStream<Io, R>,
        commands: Commands,
        log: Shared,
    ) {
        if self.is_split {
            runtime.spawn(two_tasks(ws, commands, log));
        } else {
            runtime.spawn(one_task(ws, commands, log));
        }
    }
}

impl Adapter for Mode {
    type Subject = Tasks;

    fn is_client(&self) -> bool {
        self.is_client
    }

    fn open(&self, timeouts: Timeouts) -> Tasks {
        let runtime = Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        let (stream, peer) = (self.streams)(&runtime, self.is_client);
        let (commands, receiver) = unbounded_channel();
        let log = Shared::default();
        let guard = runtime.enter();
        if self.is_client {
            let connector = Connector::new().timeouts(timeouts);
            #[cfg(feature = "deflate")]
            let connector = match self.agrees {
                true => connector.deflate(DeflateConfig::DEFAULT),
                false => connector,
            };
            let ws = connector.from_upgraded(stream, b"");
            self.spawn(&runtime, ws, receiver, log.clone());
        } else {
            let acceptor = Acceptor::new().timeouts(timeouts);
            #[cfg(feature = "deflate")]
            let acceptor = match self.agrees {
                true => acceptor.deflate(DeflateConfig::DEFAULT),
                false => acceptor,
            };
            let ws = acceptor.from_upgraded(stream, b"");
            self.spawn(&runtime, ws, receiver, log.clone());
        }
        drop(guard);
        let mut tasks = Tasks {
            runtime,
            peer,
            given: VecDeque::new(),
            ends: false,
            has_ended: false,
            commands,
            log,
            can_pause: !self.is_split,
        };
        tasks.run();
        tasks
    }

    fn compresses(&self) -> bool {
        self.agrees
    }

    fn more_than_fits(&self) -> usize {
        200_000
    }
}

fn in_memory(_: &Runtime, _: bool) -> (Io, Io) {
    let (stream, peer) = duplex(HOLDS);
    (Box::new(stream), Box::new(peer))
}

const fn mode(is_client: bool, is_split: bool) -> Mode {
    Mode {
        is_client,
        is_split,
        agrees: false,
        streams: in_memory,
    }
}

#[cfg(feature = "deflate")]
const fn agreed(is_client: bool, is_split: bool) -> Mode {
    Mode {
        agrees: true,
        ..mode(is_client, is_split)
    }
}

#[cfg(feature = "tls")]
fn over_tls(runtime: &Runtime, is_client: bool) -> (Io, Io) {
    use motews_tokio::rustls::{ClientConfig, ServerConfig};
    use std::sync::LazyLock;
    use tokio_rustls::{TlsAcceptor, TlsConnector};

    static CONFIGS: LazyLock<(Arc<ServerConfig>, Arc<ClientConfig>)> = LazyLock::new(|| {
        let authority = Authority::new();
        let server = authority.server("localhost", None);
        (Arc::new(server), authority.client(None))
    });
    let (server, client) = duplex(HOLDS);
    let (server, client) = runtime.block_on(async {
        tokio::join!(
            TlsAcceptor::from(CONFIGS.0.clone()).accept(server),
            TlsConnector::from(CONFIGS.1.clone()).connect("localhost".try_into().unwrap(), client),
        )
    });
    let (server, client): (Io, Io) = (Box::new(server.unwrap()), Box::new(client.unwrap()));
    match is_client {
        true => (client, server),
        false => (server, client),
    }
}

#[cfg(feature = "tls")]
const fn tls(is_client: bool, is_split: bool) -> Mode {
    Mode {
        streams: over_tls,
        ..mode(is_client, is_split)
    }
}

motews_testkit::conformance!(server, mode(false, false));
motews_testkit::conformance!(client, mode(true, false));
motews_testkit::conformance!(split_server, mode(false, true));
motews_testkit::conformance!(split_client, mode(true, true));

#[cfg(feature = "deflate")]
motews_testkit::conformance!(agreed_client, agreed(true, false));
#[cfg(feature = "deflate")]
motews_testkit::conformance!(agreed_split_server, agreed(false, true));

#[cfg(feature = "tls")]
motews_testkit::conformance!(tls_server, tls(false, false));
#[cfg(feature = "tls")]
motews_testkit::conformance!(tls_client, tls(true, false));
#[cfg(feature = "tls")]
motews_testkit::conformance!(tls_split_server, tls(false, true));
#[cfg(feature = "tls")]
motews_testkit::conformance!(tls_split_client, tls(true, true));
