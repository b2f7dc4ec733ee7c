//! The client that stays connected, over TLS: it says a reading each second, and comes back whatever
//! ends its connection.
//!
//! The server is at 10.0.2.100:9001, for the name `localhost`, and the authority that the board trusts
//! is in the file `authority.der`, as for `wss`. The pump and its TCP socket are a future of their own
//! beside the WebSocket's, both in one task: each session has the memory of the one before.
#![no_std]
#![no_main]

use core::cell::RefCell;
use core::fmt::Write;
use core::net::Ipv4Addr;
use core::pin::pin;

use embassy_futures::join::join;
use embassy_futures::select::{Either, select};
use embassy_net::tcp::TcpSocket;
use embassy_net::{Runner, Stack, StackResources};
use embassy_sync::blocking_mutex::raw::NoopRawMutex;
use embassy_sync::signal::Signal;
use embassy_time::{Duration, Ticker, with_timeout};
use firmware::board::{self, Board, Ethernet, entry};
use firmware::embassy::{self, end};
use firmware::entropy::Cipher;
use firmware::stack;
use firmware::stay::{BACKOFF, TIMEOUTS};
use heapless::String;
use motews::handshake::Request;
use motews::reconnect::{Backoff, Cause};
use motews::{Backlog, BacklogPolicy, Message, MessageBuffer};
use motews_embedded_io::asynch::{Reconnecting, Task, Update};
use motews_embedded_io::tls::{
    MAX_RECORD, Pump, TlsBuffers, TlsConfig, TlsStream, TlsTime, TlsTunnel, Trust,
};
use motews_embedded_io::{Buffers, Config, Duplex, EmbassyClock};
use semihosting::fs::File;
use semihosting::io::Read;
use static_cell::{ConstStaticCell, StaticCell};

/// Where the server is, as the board sees it.
const SERVER: (Ipv4Addr, u16) = (Ipv4Addr::new(10, 0, 2, 100), 9001);
/// The server's name.
const NAME: &str = "localhost";
/// When this was built, in seconds since 1970: the board has no clock that knows the date.
const BUILT: u64 = 1_795_910_400;
/// How long TCP may take, and then TLS.
const PATIENCE: Duration = Duration::from_secs(10);

static CONFIG: Config<'static> = Config {
    timeouts: TIMEOUTS,
    // The tunnel's waits for the server to acknowledge.
    flush: false,
    ..Config::DEFAULT
};

/// All that the connection needs but for its task.
struct Memory {
    authority: [u8; 1024],
    tcp: [[u8; 1024]; 2],
    read: [u8; MAX_RECORD],
    write: [u8; 1024],
    rings: [[u8; 256]; 2],
    buffers: [[u8; 256]; 2],
    backlog: [u8; 512],
}

static MEMORY: ConstStaticCell<Memory> = ConstStaticCell::new(Memory {
    authority: [0; 1024],
    tcp: [[0; 1024]; 2],
    read: [0; MAX_RECORD],
    write: [0; 1024],
    rings: [[0; 256]; 2],
    buffers: [[0; 256]; 2],
    backlog: [0; 512],
});

#[entry]
fn main() -> ! {
    static RESOURCES: StaticCell<StackResources<1>> = StaticCell::new();

    let Some(board) = Board::take() else {
        board::exit(1)
    };
    let memory = MEMORY.take();
    let Some(len) = authority(&mut memory.authority) else {
        defmt::error!("there is no file authority.der, or it is too long");
        board::exit(1)
    };
    let mut cipher = Cipher::new(board::seed());
    let resources = RESOURCES.init(StackResources::new());
    let (network, runner) = embassy_net::new(
        board.ethernet,
        embassy::config(),
        resources,
        cipher.number(),
    );
    embassy::run(|spawner| {
        // There is one of each.
        if let (Ok(run), Ok(stay)) = (run(runner), stay(network, memory, len, cipher)) {
            spawner.spawn(run);
            spawner.spawn(stay);
        }
        defmt::info!("RAM for the stack: {} bytes", stack::size());
    })
}

/// Reads the certificate of the authority, and returns its length.
fn authority(memory: &mut [u8]) -> Option<usize> {
    let mut file = File::open(c"authority.der").ok()?;
    let len = file.read(memory).ok()?;
    (0 < len && len < memory.len()).then_some(len)
}

/// Has TCP run.
#[embassy_executor::task]
async fn run(mut runner: Runner<'static, Ethernet>) {
    runner.run().await;
}

#[embassy_executor::task]
async fn stay(
    network: Stack<'static>,
    memory: &'static mut Memory,
    authority: usize,
    cipher: Cipher,
) {
    let Memory {
        authority: certificate,
        tcp: [rx, tx],
        read,
        write,
        rings: [incoming, outgoing],
        buffers: [receive, transmit],
        backlog,
    } = memory;
    let authorities = [certificate.get(..authority).unwrap_or_default()];
    let trust = Trust::Authorities(&authorities);
    let config = TlsConfig::new(NAME, trust, TlsTime::Built(BUILT));
    let generator = &RefCell::new(cipher);
    let tunnel = &TlsTunnel::new(incoming, outgoing);
    // The next session's pump.
    let pumps: &Signal<NoopRawMutex, Pump<'_>> = &Signal::new();

    // The pump, and TCP below it.
    let pumping = async {
        let mut tcp = TcpSocket::new(network, rx, tx);
        tcp.set_nagle_enabled(false);
        loop {
            let pump = pumps.wait().await;
            match with_timeout(PATIENCE, tcp.connect(SERVER)).await {
                Ok(Ok(())) => {
                    let (reader, writer) = tcp.split();
                    let transport = Duplex { reader, writer };
                    let records = TlsBuffers { read, write };
                    let run = pump.run(transport, records, &config, generator, EmbassyClock);
                    if let Err(error) = run.await {
                        defmt::info!("TLS has ended: {}", error);
                    }
                }
                // `tunnel.opened` hears of it.
                _ => drop(pump),
            }
            end(&mut tcp, Duration::from_millis(500)).await;
        }
    };

    // A session's stream goes, and with it the session; the next one comes.
    let connect = |stream: TlsStream<'_>, task| {
        drop(stream);
        async move {
            let (stream, pump) = tunnel.next_ends().await;
            let result = match task {
                Task::Connect => {
                    pumps.signal(pump);
                    match with_timeout(PATIENCE, tunnel.opened()).await {
                        Ok(opened) => opened.map_err(Cause::from),
                        Err(_) => Err(Cause::Unreachable),
                    }
                }
                // Without a pump: a stream at its end.
                Task::Disconnect => Ok(()),
            };
            (stream, result)
        }
    };
    let talking = async {
        let Ok(request) = Request::new(NAME, "/device") else {
            board::exit(2)
        };
        let (stream, _) = tunnel.next_ends().await;
        let buffers = Buffers { receive, transmit };
        let place = pin!(None);
        let client = Reconnecting::new(
            place,
            stream,
            connect,
            buffers,
            request,
            generator,
            EmbassyClock,
        );
        let Ok(client) = client else { board::exit(3) };
        let mut client = client
            .with_config(&CONFIG)
            .with_backoff(Backoff {
                // A service that restarts in the first 30 s is one more failure, and no reason to wait
                // for up to 30 s.
                stable: 30_000,
                doublings: 0,
                ..BACKOFF
            })
            .with_backlog(Backlog::new(backlog, BacklogPolicy::DropOldest));

        let mut messages = MessageBuffer::new([0; 128]);
        let mut ticker = Ticker::every(Duration::from_secs(1));
        let (mut opened, mut number) = (0_u32, 0_u32);
        loop {
            let update = match select(client.next(&mut messages), ticker.next()).await {
                Either::First(Some(update)) => update,
                Either::First(None) => board::exit(4),
                Either::Second(()) => {
                    number += 1;
                    let mut reading: String<24> = String::new();
                    _ = write!(reading, "reading {number}");
                    // The oldest one gives way, and is counted.
                    _ = client.queue(Message::Text(&reading));
                    continue;
                }
            };
            match update {
                Update::Opened(()) => {
                    opened += 1;
                    _ = client.send(Message::Text("this is the board")).await;
                    defmt::info!(
                        "connection {}; the stack at its deepest: {} bytes",
                        opened,
                        stack::high_water_mark()
                    );
                }
                Update::Ended(interruption) => defmt::info!("it has ended: {}", interruption),
                _ => {}
            }
        }
    };
    let (talking, pumping) = (pin!(talking), pin!(pumping));
    defmt::info!("the task of TLS: {} bytes", size_of_val(&*pumping));
    defmt::info!(
        "the task of the WebSocket: {} bytes",
        size_of_val(&*talking)
    );
    join(pumping, talking).await;
}

#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    let line = info.location().map_or(0, |location| location.line());
    let file = info.location().map_or("", |location| location.file());
    defmt::error!("panicked at {}:{}", file, line);
    board::exit(101)
}
