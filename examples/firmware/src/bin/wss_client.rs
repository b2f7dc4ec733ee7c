//! The client that stays connected, over TLS: it says a reading each second, and comes back whatever
//! ends its connection.
//!
//! The authority that the board trusts is in the file `authority.der` where QEMU runs. The pump and its TCP
//! socket are a future of their own beside the WebSocket's, both in one task: each session has the memory
//! of the one before.
#![no_std]
#![no_main]

use core::cell::RefCell;
use core::pin::pin;

use embassy_futures::join::join;
use embassy_net::Stack;
use firmware::board::{self, Board, entry};
use firmware::entropy::Cipher;
use firmware::report::report;
use firmware::secure::{self, Sessions};
use firmware::stay::{self, BACKOFF, TIMEOUTS};
use firmware::{embassy, online, stack};
use motews::reconnect::Backoff;
use motews::{Backlog, BacklogPolicy};
use motews_embedded_io::asynch::{Reconnecting, Task};
use motews_embedded_io::tls::{TlsStream, TlsTunnel};
use motews_embedded_io::{Buffers, Config, EmbassyClock};
use static_cell::ConstStaticCell;

static CONFIG: Config<'static> = Config {
    timeouts: TIMEOUTS,
    // The tunnel's waits for the server to acknowledge.
    flush: false,
    ..Config::DEFAULT
};

/// All that the connection needs but for its task.
struct Memory {
    tls: secure::Memory<1024, 1024, 256>,
    buffers: [[u8; 256]; 2],
    backlog: [u8; 512],
}

static MEMORY: ConstStaticCell<Memory> = ConstStaticCell::new(Memory {
    tls: secure::Memory::NEW,
    buffers: [[0; 256]; 2],
    backlog: [0; 512],
});

#[entry]
fn main() -> ! {
    let Some(board) = Board::take() else {
        board::exit(1)
    };
    let memory = MEMORY.take();
    let mut cipher = Cipher::new(board::seed());
    embassy::run(|spawner| {
        let network = online::start(spawner, board.ethernet, cipher.number());
        // There is one.
        if let Ok(stay) = stay(network, memory, cipher) {
            spawner.spawn(stay);
        }
        defmt::info!("RAM for the stack: {} bytes", stack::size());
    })
}

#[embassy_executor::task]
async fn stay(network: Stack<'static>, memory: &'static mut Memory, cipher: Cipher) {
    let Memory {
        tls,
        buffers: [receive, transmit],
        backlog,
    } = memory;
    let ([incoming, outgoing], lower) = tls.split();
    let generator = &RefCell::new(cipher);
    let tunnel = &TlsTunnel::new(incoming, outgoing);
    let sessions = &Sessions::new(tunnel);

    // A session's stream goes, and with it the session; the next one comes.
    let connect = |stream: TlsStream<'_>, task| {
        drop(stream);
        async move {
            match task {
                Task::Connect => sessions.next().await,
                Task::Disconnect => (sessions.none().await, Ok(())),
            }
        }
    };
    let talking = async {
        let stream = sessions.none().await;
        let buffers = Buffers { receive, transmit };
        let place = pin!(None);
        let client = Reconnecting::new(
            place,
            stream,
            connect,
            buffers,
            stay::request(0),
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
        report(network, &mut client).await
    };
    let talking = pin!(talking);
    let pumping = pin!(sessions.pump(network, lower, generator));
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
