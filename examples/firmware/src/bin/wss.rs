//! The same board on Embassy as a client over TLS, `wss://`: it gives back what it gets, says now and then
//! how long it is up, and comes back after the end.
//!
//! The server is at 10.0.2.100:9001, for the name `localhost`. The authority that the board trusts is
//! read at the start, through the debugger's semihosting, from the file `authority.der` where QEMU
//! runs. A board in the field has it in flash: `include_bytes!`.
//!
//! The TLS session is a future of its own beside the WebSocket's, and both are in one task. The
//! WebSocket's are dropped by a `select` all the time, and by its deadlines.
#![no_std]
#![no_main]

use core::future::poll_fn;
use core::net::Ipv4Addr;
use core::pin::{Pin, pin};
use core::task::Poll;

use embassy_futures::join::join;
use embassy_futures::select::{Either, select};
use embassy_net::tcp::TcpSocket;
use embassy_net::{Runner, Stack, StackResources};
use embassy_time::{Duration, Instant, Ticker, Timer, with_timeout};
use firmware::board::{self, Board, Ethernet, entry};
use firmware::embassy;
use firmware::entropy::Cipher;
use firmware::stack;
use motews::Message;
use motews::handshake::Request;
use motews_embedded_io::asynch::WebSocket;
use motews_embedded_io::tls::{
    MAX_RECORD, TlsBuffers, TlsConfig, TlsError, TlsStream, TlsTime, TlsTunnel, Trust,
};
use motews_embedded_io::{Buffers, Config, Duplex, EmbassyClock, Error};
use semihosting::fs::File;
use semihosting::io::Read;
use static_cell::{ConstStaticCell, StaticCell};

/// Where the server is, as the board sees it.
const SERVER: (Ipv4Addr, u16) = (Ipv4Addr::new(10, 0, 2, 100), 9001);
/// The server's name.
const NAME: &str = "localhost";
/// When this was built, in seconds since 1970: the board has no clock that knows the date.
const BUILT: u64 = 1_795_910_400;
/// How often the board says something by itself.
const PERIOD: Duration = Duration::from_secs(1);

/// Bytes of each of the TCP socket's two rings.
const RING: usize = 2048;
/// Bytes of a record that is sent, 128 of which are for TLS.
const RECORD: usize = 1024;
/// Bytes of each of the WebSocket's two buffers, and of each of the two rings to TLS.
const BUFFER: usize = 512;

/// All that the connection needs but for its task.
struct Memory {
    authority: [u8; 1024],
    tcp: [[u8; RING]; 2],
    read: [u8; MAX_RECORD],
    write: [u8; RECORD],
    rings: [[u8; BUFFER]; 2],
    buffers: [[u8; BUFFER]; 2],
}

static MEMORY: ConstStaticCell<Memory> = ConstStaticCell::new(Memory {
    authority: [0; 1024],
    tcp: [[0; RING]; 2],
    read: [0; MAX_RECORD],
    write: [0; RECORD],
    rings: [[0; BUFFER]; 2],
    buffers: [[0; BUFFER]; 2],
});

static CONFIG: Config<'static> = Config {
    // The tunnel's waits for the server to acknowledge.
    flush: false,
    ..Config::DEFAULT
};

#[entry]
fn main() -> ! {
    static RESOURCES: StaticCell<StackResources<1>> = StaticCell::new();

    let Some(board) = Board::take() else {
        board::exit(1)
    };
    let memory = MEMORY.take();
    let Some(authority) = authority(&mut memory.authority) else {
        defmt::error!("there is no file authority.der, or it is too long");
        board::exit(1)
    };
    defmt::info!(
        "trusts an authority whose certificate has {} bytes",
        authority
    );
    let mut cipher = Cipher::new(board::seed());
    let resources = RESOURCES.init(StackResources::new());
    let (network, runner) = embassy_net::new(
        board.ethernet,
        embassy::config(),
        resources,
        cipher.number(),
    );
    embassy::run(|spawner| {
        if let Ok(task) = run(runner) {
            spawner.spawn(task);
        }
        if let Ok(task) = stay(network, memory, authority, cipher) {
            spawner.spawn(task);
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

/// Has a session after the other.
#[embassy_executor::task]
async fn stay(
    network: Stack<'static>,
    memory: &'static mut Memory,
    authority: usize,
    mut cipher: Cipher,
) {
    loop {
        session(network, memory, authority, &mut cipher).await;
        defmt::info!(
            "the stack at its deepest: {} bytes",
            stack::high_water_mark()
        );
        Timer::after_secs(1).await;
    }
}

/// One connection, from TCP's beginning to its end.
async fn session(
    network: Stack<'static>,
    memory: &mut Memory,
    authority: usize,
    cipher: &mut Cipher,
) {
    let [receive, transmit] = &mut memory.tcp;
    let mut tcp = TcpSocket::new(network, receive, transmit);
    tcp.set_nagle_enabled(false);
    tcp.set_timeout(Some(Duration::from_secs(15)));
    if let Err(error) = tcp.connect(SERVER).await {
        defmt::info!("no TCP: {}", error);
        return;
    }
    let authority = memory.authority.get(..authority).unwrap_or_default();
    let authorities = [authority];
    let trust = Trust::Authorities(&authorities);
    let config = TlsConfig::new(NAME, trust, TlsTime::Built(BUILT));

    {
        let [incoming, outgoing] = &mut memory.rings;
        let mut tunnel = TlsTunnel::new(incoming, outgoing);
        let (stream, pump) = tunnel.ends();
        let (reader, writer) = tcp.split();
        let records = TlsBuffers {
            read: &mut memory.read,
            write: &mut memory.write,
        };
        let transport = Duplex { reader, writer };
        let pump = pin!(pump.run(transport, records, &config, cipher.fork(), EmbassyClock));
        let [receive, transmit] = &mut memory.buffers;
        let buffers = Buffers { receive, transmit };
        let talk = pin!(talk(stream, buffers, cipher));
        defmt::info!("the task of TLS: {} bytes", size_of_val(&*pump));
        defmt::info!("the task of the WebSocket: {} bytes", size_of_val(&*talk));
        match join(measured(pump), talk).await {
            (Ok(()), Ok(())) => defmt::info!("the session has ended"),
            (Err(error), _) => defmt::info!("TLS has ended: {}", error),
            (Ok(()), Err(error)) => defmt::info!("the WebSocket has ended: {}", error),
        }
    }
    tcp.close();
    _ = with_timeout(Duration::from_secs(1), tcp.flush()).await;
    tcp.abort();
    _ = with_timeout(Duration::from_secs(1), tcp.flush()).await;
}

/// The WebSocket: gives back what it gets, until the server's Close.
async fn talk(
    stream: TlsStream<'_>,
    buffers: Buffers<'_>,
    cipher: &mut Cipher,
) -> Result<(), Error<TlsError>> {
    let began = Instant::now();
    let request = Request::new(NAME, "/")?;
    let socket = WebSocket::client(stream, buffers, request, cipher)?;
    let mut socket = socket.with_config(&CONFIG).with_clock(EmbassyClock);
    socket.connect().await?;
    defmt::info!("open after {} ms", began.elapsed().as_millis());
    let mut ticker = Ticker::every(PERIOD);
    loop {
        // Either is dropped when the other is ready.
        match select(socket.next_chunk(), ticker.next()).await {
            Either::First(Ok(Some((chunk, reply)))) => embassy::echo(chunk, reply).await?,
            Either::First(Ok(None)) => break,
            Either::First(Err(error)) => return Err(error),
            Either::Second(()) => {
                let up = began.elapsed().as_secs().to_be_bytes();
                match socket.send(Message::Binary(&up)).await {
                    Ok(()) => socket.flush().await?,
                    Err(Error::Ended(_)) => break,
                    Err(_) => {} // In the middle of a message that is given back.
                }
            }
        }
    }
    socket.closed().await.map(|_| ())
}

/// Awaits a future, and tells how long one step of it takes at most. A watchdog that the idle loop
/// feeds must wait as long.
async fn measured<F: Future>(mut future: Pin<&mut F>) -> F::Output {
    let mut longest = 0;
    poll_fn(move |context| {
        let began = board::millis();
        let poll = future.as_mut().poll(context);
        let took = board::millis().saturating_sub(began);
        if took > longest {
            longest = took;
            defmt::info!("the longest step of TLS: {} ms", longest);
        }
        match poll {
            Poll::Ready(output) => Poll::Ready(output),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    let line = info.location().map_or(0, |location| location.line());
    let file = info.location().map_or("", |location| location.file());
    defmt::error!("panicked at {}:{}", file, line);
    board::exit(101)
}
