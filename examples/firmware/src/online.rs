//! A client's network on Embassy: the board's address by DHCP, its server's by DNS, the time by SNTP, and
//! TCP to the server.

use core::net::SocketAddr;

use embassy_executor::Spawner;
use embassy_net::dns::DnsQueryType;
use embassy_net::tcp::TcpSocket;
use embassy_net::udp::{PacketMetadata, UdpSocket};
use embassy_net::{Config, DhcpConfig, IpAddress, Runner, Stack, StackResources};
use embassy_time::{Duration, Instant, with_timeout};
use motews::reconnect::Cause;
use sntpc::{NtpContext, NtpTimestampGenerator, get_time};
use sntpc_net_embassy::UdpSocketWrapper;
use static_cell::StaticCell;

use crate::board::{self, Ethernet};
use crate::stay::SERVER;

/// Who knows the time, and at which port.
const CLOCK: (&str, u16) = ("time.example", 123);
/// How long one answer of the network's may take.
const PATIENCE: Duration = Duration::from_secs(3);

/// Has the network run, and returns it.
// Not in the frame of who never returns, where it would take 3.5 KB of stack for ever.
#[inline(never)]
pub fn start(spawner: Spawner, ethernet: Ethernet, seed: u64) -> Stack<'static> {
    // DHCP, DNS, TCP, and UDP for the time.
    static RESOURCES: StaticCell<StackResources<4>> = StaticCell::new();

    let mut config = DhcpConfig::default();
    // The MAC does not say whether the cable is in, and behind it may be another network now.
    config.max_lease_duration = Some(Duration::from_secs(10));
    let resources = RESOURCES.init(StackResources::new());
    let (network, runner) = embassy_net::new(ethernet, Config::dhcpv4(config), resources, seed);
    match run(runner) {
        Ok(task) => spawner.spawn(task),
        // There is one.
        Err(_) => board::exit(5),
    }
    network
}

/// Has TCP run.
#[embassy_executor::task]
async fn run(mut runner: Runner<'static, Ethernet>) {
    runner.run().await;
}

/// The address of a name.
async fn look_up(network: Stack<'_>, name: &str) -> Option<IpAddress> {
    let query = network.dns_query(name, DnsQueryType::A);
    let found = with_timeout(PATIENCE, query).await;
    found.ok()?.ok()?.first().copied()
}

/// Waits for the network, and connects the socket to the server.
///
/// # Errors
/// [`Cause::Unreachable`]: nobody knows the server's address, or it does not answer.
pub async fn connect(network: Stack<'_>, tcp: &mut TcpSocket<'_>) -> Result<(), Cause> {
    network.wait_config_up().await;
    let address = look_up(network, SERVER.0).await;
    let connected = tcp.connect((address.ok_or(Cause::Unreachable)?, SERVER.1));
    match with_timeout(PATIENCE, connected).await {
        Ok(Ok(())) => Ok(()),
        _ => Err(Cause::Unreachable),
    }
}

/// The time of day.
#[derive(Clone, Copy, Debug, Default)]
pub struct Clock {
    /// What a server said, in seconds since 1970 (UTC), and when that was.
    told: Option<(u64, Instant)>,
    asked: Option<Instant>,
}

impl Clock {
    /// The time in seconds since 1970 (UTC), as it was asked for within the last day. Asks for it, but
    /// at most once a minute: who does not know it now does not know it in a second.
    pub async fn now(&mut self, network: Stack<'_>) -> Option<u64> {
        let is_asked = |within| self.asked.is_some_and(|asked| asked.elapsed() < within);
        let is_told = self.told.is_some() && is_asked(Duration::from_secs(24 * 3600));
        if !is_told && !is_asked(Duration::from_secs(60)) {
            self.asked = Some(Instant::now());
            match ask(network).await {
                Some(seconds) => {
                    defmt::info!("it is {} s since 1970", seconds);
                    self.told = Some((seconds, Instant::now()));
                }
                None => defmt::info!("nobody knows the time"),
            }
        }
        self.told
            .map(|(seconds, at)| seconds + at.elapsed().as_secs())
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
async fn ask(network: Stack<'_>) -> Option<u64> {
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
    let answer = with_timeout(PATIENCE, asked).await.ok()?.ok()?;
    Some(answer.sec().into())
}
