//! The board as a client that stays: an address by DHCP, a server by name, and a reading each second,
//! whatever happens to the network and to the server.
//!
//! Readings for which there is no connection wait, the newest 64 of them. With each connection the
//! board says first who it is. What comes from the server is logged.
#![no_std]
#![no_main]

use core::cell::RefCell;
use core::fmt::Write;

use firmware::board::{self, Board, entry};
use firmware::entropy::Cipher;
use firmware::stay::{self, BACKOFF, SERVER, TIMEOUTS};
use firmware::{network, stack};
use heapless::String;
use motews::{Backlog, BacklogPolicy, Event, Message};
use motews_smoltcp::{Config, Dhcp, Host, Reconnecting, Update};
use smoltcp::iface::{SocketSet, SocketStorage};
use smoltcp::socket::tcp::{Socket, SocketBuffer};
use smoltcp::socket::{dhcpv4, dns};
use smoltcp::time::{Duration, Instant};

static CONFIG: Config<'static> = Config {
    timeouts: TIMEOUTS,
    ..Config::DEFAULT
};

#[entry]
fn main() -> ! {
    let Some(mut board) = Board::take() else {
        board::exit(1)
    };
    let mut cipher = Cipher::new(board::seed());
    let mut interface = network::interface(&mut board.ethernet, cipher.number());
    interface.update_ip_addrs(|addresses| addresses.clear());
    let generator = RefCell::new(cipher);

    let (mut rx, mut tx) = ([0; 1024], [0; 1024]);
    let mut storage = [SocketStorage::EMPTY; 3];
    let mut sockets = SocketSet::new(&mut storage[..]);
    let mut tcp = Socket::new(
        SocketBuffer::new(&mut rx[..]),
        SocketBuffer::new(&mut tx[..]),
    );
    tcp.set_nagle_enabled(false);
    let tcp = sockets.add(tcp);
    let mut queries = [None];
    let dns = sockets.add(dns::Socket::new(&[], &mut queries[..]));
    let mut lease = dhcpv4::Socket::new();
    // The MAC does not say whether the cable is in, and behind it may be another network now: so the
    // board asks every five seconds.
    lease.set_max_lease_duration(Some(Duration::from_secs(10)));
    let mut dhcp = Dhcp::new(sockets.add(lease));

    let request = stay::request(0);
    let mut waiting = [0; 1024];
    let server = (Host::Name(SERVER.0, dns), SERVER.1);
    let client: Reconnecting<'_, _> =
        Reconnecting::new(&CONFIG, tcp, server, request, &generator, network::now());
    let mut client = client
        .with_backoff(BACKOFF)
        .with_backlog(Backlog::new(&mut waiting, BacklogPolicy::DropOldest));
    defmt::info!(
        "RAM for the stack: {} bytes; for a client: {} bytes",
        stack::size(),
        size_of_val(&client)
    );

    let (mut opened, mut number) = (0_u32, 0_u32);
    let mut next_reading = Instant::ZERO;
    loop {
        let now = network::now();
        interface.poll(now, &mut board.ethernet, &mut sockets);
        if dhcp.poll(&mut interface, &mut sockets, Some(dns), true) {
            match interface.ipv4_addr() {
                Some(address) => defmt::info!("the address is {=[u8; 4]}", address.octets()),
                None => defmt::info!("there is no address"),
            }
        }
        if now >= next_reading {
            next_reading = now + Duration::from_secs(1);
            number += 1;
            let mut reading: String<24> = String::new();
            _ = write!(reading, "reading {number}");
            // The oldest one gives way, and is counted.
            _ = client.queue(Message::Text(&reading));
        }
        let mut is_idle = true;
        while let Some(update) = client.poll(&mut interface, &mut sockets, now, usize::MAX) {
            is_idle = false;
            match update {
                Update::Opened(_) => {
                    opened += 1;
                    if let Some((socket, tcp)) = client.socket(&mut sockets) {
                        // There is room: nothing was sent before.
                        _ = socket.send(tcp, Message::Text("this is the board"));
                    }
                    defmt::info!(
                        "connection {}; the stack at its deepest: {} bytes",
                        opened,
                        stack::high_water_mark()
                    );
                }
                Update::Received(Event::Data(chunk)) => {
                    let text = core::str::from_utf8(chunk.bytes).unwrap_or("?");
                    defmt::info!("the server says: {}", text);
                }
                Update::Ended(interruption) => {
                    let dropped = client.backlog().dropped();
                    defmt::info!("it has ended: {}; {} were dropped", interruption, dropped);
                }
                _ => {}
            }
        }
        if is_idle {
            board::sleep();
        }
    }
}

#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    let line = info.location().map_or(0, |location| location.line());
    let file = info.location().map_or("", |location| location.file());
    defmt::error!("panicked at {}:{}", file, line);
    board::exit(101)
}
