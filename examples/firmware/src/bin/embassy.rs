//! The same board on Embassy: an async echo, with a page to try it.
//!
//! | target | |
//! |---|---|
//! | `GET /` | the page |
//! | WebSocket, anywhere | gives back what it gets, of any length, part by part |
//!
//! Each connection is a task. When all are taken, TCP refuses whoever comes then; but one that has
//! said nothing yet gives way.
#![no_std]
#![no_main]

use embassy_net::tcp::{self, State, TcpSocket};
use embassy_net::{Runner, Stack, StackResources};
use embassy_time::{Duration, with_timeout};
use firmware::board::{self, Board, Ethernet, entry};
use firmware::embassy;
use firmware::entropy::Cipher;
use firmware::{network, stack};
use motews::Timeouts;
use motews::handshake::{HandshakeError, RequestEvent, Response, path_and_query};
use motews::{Ended, NoRoom};
use motews_embedded_io::asynch::WebSocket;
use motews_embedded_io::{Buffers, Config, Decision, EmbassyClock, Error};
use portable_atomic::{AtomicUsize, Ordering};
use static_cell::{ConstStaticCell, StaticCell};

/// Connections at once, and so many tasks.
const CONNECTIONS: usize = 8;
/// Bytes of each of a TCP socket's two rings.
const RING: usize = 2048;
/// Bytes of each of a WebSocket's two buffers. A message may be longer.
const BUFFER: usize = 512;

/// All that a connection needs but for a few hundred bytes: TCP's rings, and the WebSocket's buffers.
struct Memory {
    rx_ring: [u8; RING],
    tx_ring: [u8; RING],
    rx: [u8; BUFFER],
    tx: [u8; BUFFER],
}

static MEMORY: ConstStaticCell<[Memory; CONNECTIONS]> = ConstStaticCell::new(
    [const {
        Memory {
            rx_ring: [0; RING],
            tx_ring: [0; RING],
            rx: [0; BUFFER],
            tx: [0; BUFFER],
        }
    }; CONNECTIONS],
);

/// How long a visitor has for the first byte of its request, if nobody listens for the next one.
const PATIENCE: Duration = Duration::from_millis(250);

/// How long a visitor has to answer the board's SYN, if nobody listens for the next one.
const HALF_OPEN: Duration = Duration::from_millis(100);

/// How many tasks listen.
static LISTENING: AtomicUsize = AtomicUsize::new(0);

/// Headers as they are sent: names and values.
type Headers = &'static [(&'static str, &'static str)];

/// The page and what it loads: where, with which headers, what.
static FILES: [(&str, Headers, &[u8]); 3] = [
    (
        "/",
        &[
            ("Content-Type", "text/html; charset=utf-8"),
            ("Cache-Control", "no-cache"),
        ],
        include_bytes!("../../../web/echo.html"),
    ),
    (
        "/base.css",
        &[("Content-Type", "text/css"), ("Cache-Control", "no-cache")],
        include_bytes!("../../../web/base.css"),
    ),
    (
        "/link.js",
        &[
            ("Content-Type", "text/javascript"),
            ("Cache-Control", "no-cache"),
        ],
        include_bytes!("../../../web/link.js"),
    ),
];

static CONFIG: Config<'static> = Config {
    timeouts: Timeouts {
        // A browser opens connections in advance; one that asks for nothing has to go soon.
        handshake: Some(5_000),
        ..Config::DEFAULT.timeouts
    },
    // That of embassy-net waits for the peer to acknowledge.
    flush: false,
    ..Config::DEFAULT
};

#[entry]
fn main() -> ! {
    static RESOURCES: StaticCell<StackResources<CONNECTIONS>> = StaticCell::new();

    let Some(board) = Board::take() else {
        board::exit(1)
    };
    let seed = Cipher::new(board::seed()).number();
    let resources = RESOURCES.init(StackResources::new());
    let (stack, runner) = embassy_net::new(board.ethernet, embassy::config(), resources, seed);
    embassy::run(|spawner| {
        // There is a task for each: the pools are as large as that.
        if let Ok(task) = run(runner) {
            spawner.spawn(task);
        }
        for memory in MEMORY.take() {
            if let Ok(task) = serve(stack, memory) {
                spawner.spawn(task);
            }
        }
        defmt::info!(
            "RAM for the stack: {} bytes; for a connection's task: {} bytes, its rings and its buffers",
            stack::size(),
            size_of_future(&visits)
        );
        defmt::info!(
            "{=[u8; 4]} listens at port {}",
            network::ADDRESS.octets(),
            network::PORT
        );
    })
}

/// Has TCP run.
#[embassy_executor::task]
async fn run(mut runner: Runner<'static, Ethernet>) {
    runner.run().await;
}

/// Has a connection after the other.
#[embassy_executor::task(pool_size = CONNECTIONS)]
fn serve(stack: Stack<'static>, memory: &'static mut Memory) -> impl Future<Output = ()> {
    visits(stack, memory)
}

async fn visits(network: Stack<'static>, memory: &'static mut Memory) {
    let mut is_counted = false;
    loop {
        let mut tcp = TcpSocket::new(network, &mut memory.rx_ring, &mut memory.tx_ring);
        tcp.set_nagle_enabled(false);
        // For a peer that is gone while there is something to tell it.
        tcp.set_timeout(Some(Duration::from_secs(15)));
        let is_accepted = accept(&mut tcp, &mut is_counted).await;
        if is_counted {
            LISTENING.fetch_sub(1, Ordering::Relaxed);
            is_counted = false;
        }
        if is_accepted {
            let buffers = Buffers {
                receive: &mut memory.rx,
                transmit: &mut memory.tx,
            };
            match visit(tcp, buffers).await {
                Ok(()) | Err(Error::Ended(Ended::Refused(_))) => {}
                Err(Error::Ended(Ended::Aborted)) => is_counted = true,
                Err(error) => defmt::info!("a visitor has left: {}", error),
            }
            defmt::info!(
                "the stack at its deepest: {} bytes",
                stack::high_water_mark()
            );
        }
    }
}

/// Waits until a peer is connected. `is_counted`: this task is among those who listen.
async fn accept(tcp: &mut TcpSocket<'_>, is_counted: &mut bool) -> bool {
    loop {
        if tcp.state() != State::SynReceived {
            if !*is_counted {
                LISTENING.fetch_add(1, Ordering::Relaxed);
                *is_counted = true;
            }
            // Called again, it goes on where it was.
            if let Ok(accepted) = with_timeout(HALF_OPEN, tcp.accept(network::PORT)).await {
                return accepted.is_ok();
            }
            continue;
        }
        // Somebody has sent a SYN, and may never answer the board's.
        if *is_counted {
            LISTENING.fetch_sub(1, Ordering::Relaxed);
            *is_counted = false;
        }
        let is_connected = with_timeout(HALF_OPEN, tcp.wait_write_ready())
            .await
            .is_ok();
        if is_connected && tcp.state() != State::SynReceived {
            return true;
        }
        if gives_way() {
            *is_counted = true;
            tcp.abort();
        }
    }
}

/// One connection, from the request to the end of TCP.
///
/// An async block, for the future of an async function keeps its arguments twice. And a message is
/// echoed after the event is let go, for it would be kept as well.
fn visit<'s>(
    tcp: TcpSocket<'s>,
    buffers: Buffers<'s>,
) -> impl Future<Output = Result<(), Error<tcp::Error>>> {
    let socket = WebSocket::server(tcp, buffers);
    let mut socket = socket.map(|socket| socket.with_config(&CONFIG).with_clock(EmbassyClock));
    async move {
        let Ok(socket) = &mut socket else {
            return Err(NoRoom.into());
        };
        let mut file = None;
        let mut result = loop {
            // What was received is not lost when the future is dropped.
            match with_timeout(PATIENCE, open(socket, &mut file)).await {
                Ok(result) => break result,
                Err(_) if !socket.has_heard() && gives_way() => {
                    break Err(Error::Ended(Ended::Aborted));
                }
                Err(_) => {}
            }
        };
        while result.is_ok() {
            let (chunk, reply) = match socket.next_chunk().await {
                Ok(Some((chunk, reply))) => (chunk, reply),
                Ok(None) => break,
                Err(error) => {
                    result = Err(error);
                    break;
                }
            };
            result = embassy::echo(chunk, reply).await;
        }
        // RFC 6455 §7.1.1: the server ends TCP first.
        let ended = socket.ended();
        if ended.is_some_and(|ended| !matches!(ended, Ended::Lost | Ended::TimedOut(_))) {
            socket.transport_mut().close();
            if let Err(error) = socket.drain().await {
                result = Err(error);
            }
        }
        let tcp = socket.transport_mut();
        tcp.abort();
        // The peer is told, if it is still there.
        _ = with_timeout(Duration::from_secs(1), tcp.flush()).await;
        result
    }
}

/// Whether this visitor, who has said nothing yet, has to go so that somebody listens. Then this
/// task is counted among those who do, so that no other gives way as well.
fn gives_way() -> bool {
    let listening = LISTENING.compare_exchange(0, 1, Ordering::Relaxed, Ordering::Relaxed);
    listening.is_ok()
}

/// The handshake: accepts an upgrade, and gives the page to whoever wants none. `file` is what is
/// asked for.
fn open<'a>(
    socket: &'a mut embassy::Server<'_>,
    file: &'a mut Option<&'static (&'static str, Headers, &'static [u8])>,
) -> impl Future<Output = Result<(), Error<tcp::Error>>> {
    socket.accept_with(move |event| match event {
        Ok(RequestEvent::RequestLine { target, .. }) => {
            let (path, _) = path_and_query(target.as_str());
            *file = FILES.iter().find(|(name, ..)| *name == path);
            None
        }
        Err(HandshakeError::NotUpgrade) => {
            let response = match *file {
                Some((_, headers, body)) => {
                    let response = Response::new(200).and_then(|page| page.headers(headers));
                    response.ok()?.body(body)
                }
                None => Response::new(404).ok()?,
            };
            Some(Decision::Respond(response))
        }
        _ => None,
    })
}

/// Bytes of the future that an async function makes.
const fn size_of_future<A, B, F>(_: &impl Fn(A, B) -> F) -> usize {
    size_of::<F>()
}

#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    let line = info.location().map_or(0, |location| location.line());
    let file = info.location().map_or("", |location| location.file());
    defmt::error!("panicked at {}:{}", file, line);
    board::exit(101)
}
