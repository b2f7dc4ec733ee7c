//! The client that stays connected, on Embassy: an address by DHCP, names by DNS, the time by SNTP, and a
//! reading each second, whatever happens to the network and to the server.
//!
//! The time is what a verifier of TLS certificates has to be told.
#![no_std]
#![no_main]

use core::cell::RefCell;
use core::fmt::Write;
use core::net::SocketAddr;
use core::pin::pin;

use embassy_futures::select::{Either, select};
use embassy_net::dns::DnsQueryType;
use embassy_net::tcp::TcpSocket;
use embassy_net::udp::{PacketMetadata, UdpSocket};
use embassy_net::{Config as NetConfig, DhcpConfig, IpAddress, Runner, Stack, StackResources};
use embassy_time::{Duration, Instant, Ticker, with_timeout};
use firmware::board::{self, Board, Ethernet, entry};
use firmware::embassy::{self, end};
use firmware::entropy::Cipher;
use firmware::stack;
use firmware::stay::{BACKOFF, HOST, SERVER, TIMEOUTS};
use heapless::String;
use motews::handshake::Request;
use motews::reconnect::Cause;
use motews::{Backlog, BacklogPolicy, Message, MessageBuffer};
use motews_embedded_io::asynch::{Reconnecting, Task, Update};
use motews_embedded_io::{Buffers, Config, EmbassyClock};
use sntpc::{NtpContext, NtpTimestampGenerator, get_time};
use sntpc_net_embassy::UdpSocketWrapper;
use static_cell::StaticCell;

/// Who knows the time, and at which port.
const CLOCK: (&str, u16) = ("time.example", 123);

static CONFIG: Config<'static> = Config {
    timeouts: TIMEOUTS,
    // That of embassy-net waits for the peer to acknowledge.
    flush: false,
    ..Config::DEFAULT
};

#[entry]
fn main() -> ! {
    static RESOURCES: StaticCell<StackResources<4>> = StaticCell::new();

    let Some(board) = Board::take() else {
        board::exit(1)
    };
    let mut cipher = Cipher::new(board::seed());
    let seed = cipher.number();
    let mut config = DhcpConfig::default();
    // The MAC does not say whether the cable is in, and behind it may be another network now.
    config.max_lease_duration = Some(Duration::from_secs(10));
    let resources = RESOURCES.init(StackResources::new());
    let config = NetConfig::dhcpv4(config);
    let (stack, runner) = embassy_net::new(board.ethernet, config, resources, seed);
    embassy::run(|spawner| {
        // There is one of each.
        if let (Ok(run), Ok(stay)) = (run(runner), stay(stack, cipher)) {
            spawner.spawn(run);
            spawner.spawn(stay);
        }
        defmt::info!("RAM for the stack: {} bytes", stack::size());
    })
}

/// Has TCP run.
#[embassy_executor::task]
async fn run(mut runner: Runner<'static, Ethernet>) {
    runner.run().await;
}

/// The address of a name.
async fn look_up(network: Stack<'static>, name: &str) -> Option<IpAddress> {
    let query = network.dns_query(name, DnsQueryType::A);
    let found = with_timeout(Duration::from_secs(3), query).await;
    found.ok()?.ok()?.first().copied()
}

/// Waits for the network, and brings the socket to the server; or ends it.
async fn connect(
    network: Stack<'static>,
    mut tcp: TcpSocket<'static>,
    task: Task,
) -> (TcpSocket<'static>, Result<(), Cause>) {
    let result = match task {
        Task::Disconnect => {
            end(&mut tcp, Duration::from_millis(500)).await;
            Ok(())
        }
        Task::Connect => {
            network.wait_config_up().await;
            match look_up(network, SERVER.0).await {
                None => Err(Cause::Unreachable),
                Some(address) => {
                    let connected = tcp.connect((address, SERVER.1));
                    match with_timeout(Duration::from_secs(3), connected).await {
                        Ok(Ok(())) => Ok(()),
                        _ => Err(Cause::Unreachable),
                    }
                }
            }
        }
    };
    (tcp, result)
}

#[embassy_executor::task]
async fn stay(network: Stack<'static>, cipher: Cipher) {
    static RINGS: StaticCell<([u8; 1024], [u8; 1024])> = StaticCell::new();

    let (rx, tx) = RINGS.init(([0; 1024], [0; 1024]));
    let mut tcp = TcpSocket::new(network, rx, tx);
    tcp.set_nagle_enabled(false);
    let generator = RefCell::new(cipher);
    let (mut receive, mut transmit, mut waiting) = ([0; 256], [0; 256], [0; 1024]);
    let buffers = Buffers {
        receive: &mut receive,
        transmit: &mut transmit,
    };
    let Ok(request) = Request::new(HOST, "/device") else {
        board::exit(2)
    };
    let place = pin!(None);
    let connect = |tcp, task| connect(network, tcp, task);
    let client = Reconnecting::new(
        place,
        tcp,
        connect,
        buffers,
        request,
        &generator,
        EmbassyClock,
    );
    let Ok(client) = client else { board::exit(3) };
    let mut client = client
        .with_config(&CONFIG)
        .with_backoff(BACKOFF)
        .with_backlog(Backlog::new(&mut waiting, BacklogPolicy::DropOldest));

    let mut messages = MessageBuffer::new([0; 128]);
    let mut ticker = Ticker::every(Duration::from_secs(1));
    let (mut opened, mut number, mut address) = (0_u32, 0_u32, None);
    let (mut clock, mut next_question) = (None, Instant::MIN);
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
                let now = network.config_v4().map(|config| config.address.address());
                if let Some(now) = now.filter(|now| address != Some(*now)) {
                    defmt::info!("the address is {=[u8; 4]}", now.octets());
                    // A connection from the old one is lost; the first one is from this one.
                    if address.replace(now).is_some() {
                        client.network_changed();
                    }
                }
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
                // Who does not know it now does not know it in a second.
                if clock.is_none() && Instant::now() >= next_question {
                    next_question = Instant::now() + Duration::from_secs(60);
                    clock = unix_time(network).await;
                    match clock {
                        Some(clock) => defmt::info!("it is {} s since 1970", clock.now()),
                        None => defmt::info!("nobody knows the time"),
                    }
                }
            }
            Update::Message(Message::Text(text)) => defmt::info!("the server says: {}", text),
            Update::Ended(interruption) => {
                let dropped = client.backlog().dropped();
                defmt::info!("it has ended: {}; {} were dropped", interruption, dropped);
            }
            _ => {}
        }
    }
}

/// The time of day: what a server said, and when that was.
#[derive(Clone, Copy)]
struct Clock {
    seconds: u64,
    at: Instant,
}

impl Clock {
    /// Seconds since 1970 (UTC): `TlsTime::Now`.
    fn now(self) -> u64 {
        self.seconds + self.at.elapsed().as_secs()
    }
}

/// What SNTP measures its round trip by.
#[derive(Clone, Copy)]
struct Uptime(Instant);

impl NtpTimestampGenerator for Uptime {
    fn init(&mut self) {
        self.0 = Instant::now();
    }

    fn timestamp_sec(&self) -> u64 {
        self.0.as_secs()
    }

    fn timestamp_subsec_micros(&self) -> u32 {
        (self.0.as_micros() % 1_000_000) as u32
    }
}

/// Asks for the time (RFC 4330). Nobody has signed what comes: it is as good as the network is.
async fn unix_time(network: Stack<'static>) -> Option<Clock> {
    let (mut rx_meta, mut rx, mut tx_meta, mut tx) = (
        [PacketMetadata::EMPTY; 2],
        [0; 128],
        [PacketMetadata::EMPTY; 2],
        [0; 128],
    );
    let mut socket = UdpSocket::new(network, &mut rx_meta, &mut rx, &mut tx_meta, &mut tx);
    socket.bind(CLOCK.1).ok()?;
    let IpAddress::Ipv4(address) = look_up(network, CLOCK.0).await?;
    let server = SocketAddr::from((address, CLOCK.1));
    let socket = UdpSocketWrapper::new(socket);
    let context = NtpContext::new(Uptime(Instant::now()));
    let asked = get_time(server, &socket, context);
    let answer = with_timeout(Duration::from_secs(3), asked)
        .await
        .ok()?
        .ok()?;
    Some(Clock {
        seconds: answer.sec().into(),
        at: Instant::now(),
    })
}

#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    let line = info.location().map_or(0, |location| location.line());
    let file = info.location().map_or("", |location| location.file());
    defmt::error!("panicked at {}:{}", file, line);
    board::exit(101)
}
