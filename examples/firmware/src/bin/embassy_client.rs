//! The client that stays connected, on Embassy: an address by DHCP, names by DNS, the time by SNTP, and a
//! reading each second, whatever happens to the network and to the server.
#![no_std]
#![no_main]

use core::cell::{Cell, RefCell};
use core::pin::pin;

use embassy_net::Stack;
use embassy_net::tcp::TcpSocket;
use embassy_time::Duration;
use firmware::board::{self, Board, entry};
use firmware::embassy::{self, end};
use firmware::entropy::Cipher;
use firmware::online::{self, Clock};
use firmware::report::report;
use firmware::stack;
use firmware::stay::{self, BACKOFF, TIMEOUTS};
use motews::reconnect::Cause;
use motews::{Backlog, BacklogPolicy};
use motews_embedded_io::asynch::{Reconnecting, Task};
use motews_embedded_io::{Buffers, Config, EmbassyClock};
use static_cell::StaticCell;

static CONFIG: Config<'static> = Config {
    timeouts: TIMEOUTS,
    // That of embassy-net waits for the peer to acknowledge.
    flush: false,
    ..Config::DEFAULT
};

#[entry]
fn main() -> ! {
    let Some(board) = Board::take() else {
        board::exit(1)
    };
    let mut cipher = Cipher::new(board::seed());
    embassy::run(|spawner| {
        let network = online::start(spawner, board.ethernet, cipher.number());
        // There is one.
        if let Ok(stay) = stay(network, cipher) {
            spawner.spawn(stay);
        }
        defmt::info!("RAM for the stack: {} bytes", stack::size());
    })
}

/// Waits for the network, and brings the socket to the server; or ends it.
async fn connect(
    network: Stack<'static>,
    clock: &Cell<Clock>,
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
            let mut told = clock.get();
            _ = told.now(network).await;
            clock.set(told);
            online::connect(network, &mut tcp).await
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
    let (generator, clock) = (RefCell::new(cipher), Cell::new(Clock::default()));
    let (mut receive, mut transmit, mut waiting) = ([0; 256], [0; 256], [0; 1024]);
    let buffers = Buffers {
        receive: &mut receive,
        transmit: &mut transmit,
    };
    let place = pin!(None);
    let connect = |tcp, task| connect(network, &clock, tcp, task);
    let client = Reconnecting::new(
        place,
        tcp,
        connect,
        buffers,
        stay::request(0),
        &generator,
        EmbassyClock,
    );
    let Ok(client) = client else { board::exit(3) };
    let mut client = client
        .with_config(&CONFIG)
        .with_backoff(BACKOFF)
        .with_backlog(Backlog::new(&mut waiting, BacklogPolicy::DropOldest));
    report(network, &mut client).await
}

#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    let line = info.location().map_or(0, |location| location.line());
    let file = info.location().map_or("", |location| location.file());
    defmt::error!("panicked at {}:{}", file, line);
    board::exit(101)
}
