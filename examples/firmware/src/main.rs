//! The application: a page that shows the chip's temperature as it is measured, and controls the
//! board.
//!
//! | target | |
//! |---|---|
//! | `GET /` | the page |
//! | WebSocket `/readings` | a JSON text for each reading; takes the commands `rate N`, `led on`, `led off` and `call` |
//! | WebSocket `/echo` | gives back what it gets, of any length, part by part |
//!
//! Two WebSockets of any kind at a time are compressed, and the others are not.
//!
//! So many WebSockets are open at once, and whoever comes then is refused with 503. At the command
//! `call` the board is a client itself: it calls an echo server and compares what comes back.
#![no_std]
#![no_main]

mod caller;
mod codec;
mod visitor;

use core::fmt::Write;

use firmware::board::{self, Board, entry};
use firmware::entropy::Cipher;
use firmware::{network, stack};
use heapless::{String, Vec};
use motews_smoltcp::{ServerSocket, gives_way};
use smoltcp::iface::{PollIngressSingleResult, SocketSet, SocketStorage};
use smoltcp::socket::tcp::{Socket, SocketBuffer};
use smoltcp::time::Duration;
use static_cell::ConstStaticCell;

use caller::Caller;
use codec::Codec;
use visitor::{Command, Visitor};

/// WebSockets at once.
const CONNECTIONS: usize = 4;
/// Sockets that listen: three more, for pages, for refusals, and for the connections that browsers
/// open in advance.
const VISITORS: usize = CONNECTIONS + 3;
/// All sockets: one that calls.
const SOCKETS: usize = VISITORS + 1;
/// Bytes of a socket's receive ring. A request may be longer, and so may a message.
const RX: usize = 2048;
/// Bytes of a socket's transmit ring.
const TX: usize = 2048;
/// Bytes of each of the two rings of the socket that calls.
const CALLING: usize = 1024;

/// Frames read at most before every socket has its turn.
const BURST: usize = 16;

/// The rings: all that a connection needs but for a few hundred bytes.
static RINGS: ConstStaticCell<[([u8; RX], [u8; TX]); VISITORS]> =
    ConstStaticCell::new([([0; RX], [0; TX]); VISITORS]);
static CALLING_RINGS: ConstStaticCell<[[u8; CALLING]; 2]> = ConstStaticCell::new([[0; CALLING]; 2]);

/// Those who use them.
static WHO: ConstStaticCell<Vec<Visitor, VISITORS>> = ConstStaticCell::new(Vec::new());

#[entry]
fn main() -> ! {
    let Some(mut board) = Board::take() else {
        board::exit(1)
    };
    let mut storage = [SocketStorage::EMPTY; SOCKETS];
    let mut sockets = SocketSet::new(&mut storage[..]);

    let mut random = Cipher::new(board::seed());
    let seed = random.number();
    let mut interface = network::interface(&mut board.ethernet, seed);
    let mut add = |rx: &'static mut [u8], tx: &'static mut [u8]| {
        let mut socket = Socket::new(SocketBuffer::new(rx), SocketBuffer::new(tx));
        socket.set_nagle_enabled(false); // A reading does not wait for the one before it.
        sockets.add(socket)
    };
    let [rx, tx] = CALLING_RINGS.take();
    let mut caller = Caller::new(add(rx, tx));
    let visitors = WHO.take();
    for (rx, tx) in RINGS.take() {
        _ = visitors.push(Visitor::new(add(rx, tx))); // There is room for all.
    }
    for visitor in &*visitors {
        visitor.listen(&mut sockets);
    }
    let Some(codecs) = Codec::take() else {
        board::exit(1)
    };
    defmt::info!(
        "RAM for the stack: {} bytes; for a WebSocket: {} bytes and its rings",
        stack::size(),
        size_of::<ServerSocket<'static>>()
    );
    defmt::info!(
        "{=[u8; 4]} listens at port {}",
        network::ADDRESS.octets(),
        network::PORT
    );

    loop {
        let now = network::now();
        interface.poll_maintenance(now);
        // Not as long as frames come: a flood of them would leave no time for anything else.
        for _ in 0..BURST {
            let result = interface.poll_ingress_single(now, &mut board.ethernet, &mut sockets);
            if result == PollIngressSingleResult::None {
                break;
            }
        }
        interface.poll_egress(now, &mut board.ethernet, &mut sockets);

        for index in 0..visitors.len() {
            let open = visitors.iter().filter(|visitor| visitor.is_open()).count();
            let Some(visitor) = visitors.get_mut(index) else {
                continue;
            };
            let command = visitor.poll(&mut sockets, now, open < CONNECTIONS, codecs);
            match command {
                Some(Command::Rate(rate)) => board.thermometer.set_rate(rate),
                Some(Command::Led(on)) => board.led.set(on),
                Some(Command::Call) => caller.call(&mut interface, &mut sockets, &mut random, now),
                None => continue,
            }
            defmt::info!("a visitor's command: {}", command);
        }
        // A browser that has connected in advance, or a scanner, keeps no one out.
        if let Some(index) = gives_way(visitors.iter().map(Visitor::server), now)
            && let Some(visitor) = visitors.get_mut(index)
        {
            visitor.give_way(&mut sockets);
        }
        caller.poll(&mut sockets, now);

        if let Some(millidegrees) = board.thermometer.sample() {
            let open = visitors.iter().filter(|visitor| visitor.is_open()).count();
            let mut text = String::<256>::new();
            // There is room for it all: the outcome of a call is the only part of any length.
            _ = write!(
                text,
                r#"{{"ms":{},"celsius":{}{}.{:03},"led":{},"rate":{},"connections":{open},"most":{CONNECTIONS},"free":{},"stack":{},"calls":{},"call":"{}""#,
                now.total_millis(),
                if millidegrees < 0 { "-" } else { "" },
                millidegrees.unsigned_abs() / 1000,
                millidegrees.unsigned_abs() % 1000,
                board.led.is_on(),
                board.thermometer.rate(),
                stack::untouched(),
                stack::high_water_mark(),
                caller.calls(),
                caller.outcome(),
            );
            for visitor in &mut *visitors {
                visitor.show(&mut sockets, &text, codecs);
            }
        }

        let delay = interface.poll_delay(now, &sockets);
        if delay != Some(Duration::ZERO) && !board.ethernet.has_received() {
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
