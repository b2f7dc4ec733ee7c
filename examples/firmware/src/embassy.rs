//! The board as Embassy sees it: a network driver over its Ethernet MAC, a time driver over its clock,
//! and an executor that lets the processor sleep.

use core::cell::RefCell;
use core::ptr;
use core::task::{Context, Waker};

use critical_section::Mutex;
use embassy_executor::{Spawner, raw};
use embassy_net::tcp::TcpSocket;
use embassy_net::{Config, Ipv4Cidr, StaticConfigV4};
use embassy_net_driver::{Capabilities, Driver, HardwareAddress, LinkState, RxToken, TxToken};
use embassy_time::{Duration, with_timeout};
use embassy_time_queue_utils::Queue;
use embedded_io_async::Write;
use motews::{Chunk, Ended, Role};
use motews_embedded_io::asynch::Reply;
use motews_embedded_io::asynch::WebSocket;
use motews_embedded_io::{EmbassyClock, Error};
use portable_atomic::{AtomicBool, Ordering};
use static_cell::StaticCell;

use crate::board::{self, Ethernet};
use crate::network;

/// The board's place in the network.
#[must_use]
pub fn config() -> Config {
    Config::ipv4_static(StaticConfigV4 {
        address: Ipv4Cidr::new(network::ADDRESS, network::PREFIX_LEN),
        gateway: Some(network::GATEWAY),
        dns_servers: Default::default(),
    })
}

impl Driver for Ethernet {
    type RxToken<'a> = board::RxToken<'a>;
    type TxToken<'a> = board::TxToken<'a>;

    fn receive(&mut self, cx: &mut Context<'_>) -> Option<(Self::RxToken<'_>, Self::TxToken<'_>)> {
        if !self.has_received() {
            self.wake_on_frame(cx.waker());
        } else if !self.is_transmitter_free() {
            cx.waker().wake_by_ref();
        }
        self.receive()
    }

    fn transmit(&mut self, cx: &mut Context<'_>) -> Option<Self::TxToken<'_>> {
        if !self.is_transmitter_free() {
            cx.waker().wake_by_ref();
        }
        self.transmit()
    }

    fn link_state(&mut self, _: &mut Context<'_>) -> LinkState {
        LinkState::Up
    }

    fn capabilities(&self) -> Capabilities {
        let mut capabilities = Capabilities::default();
        capabilities.max_transmission_unit = board::MAX_FRAME_LEN;
        capabilities.max_burst_size = Some(1);
        capabilities
    }

    fn hardware_address(&self) -> HardwareAddress {
        HardwareAddress::Ethernet(self.address())
    }
}

impl RxToken for board::RxToken<'_> {
    fn consume<T, F: FnOnce(&mut [u8]) -> T>(self, f: F) -> T {
        self.consume(f)
    }
}

impl TxToken for board::TxToken<'_> {
    fn consume<T, F: FnOnce(&mut [u8]) -> T>(self, len: usize, f: F) -> T {
        self.consume(len, f)
    }
}

/// The time at the start. To be tested, it soon passes what 32 bits of milliseconds hold.
const BEGAN: u64 = match cfg!(feature = "faults") {
    true => u32::MAX as u64 - 12_000,
    false => 0,
};

/// The board's clock and its one alarm, for any number of timers.
struct Timers(Mutex<RefCell<Queue>>);

embassy_time_driver::time_driver_impl!(static TIMERS: Timers = Timers(Mutex::new(RefCell::new(Queue::new()))));

impl embassy_time_driver::Driver for Timers {
    fn now(&self) -> u64 {
        BEGAN + board::millis()
    }

    fn schedule_wake(&self, at: u64, waker: &Waker) {
        let is_changed =
            critical_section::with(|cs| self.0.borrow_ref_mut(cs).schedule_wake(at, waker));
        if is_changed {
            ring();
        }
    }
}

/// Wakes whoever's time has come, and sets the alarm for the next.
fn ring() {
    critical_section::with(|cs| {
        let mut queue = TIMERS.0.borrow_ref_mut(cs);
        let next = queue.next_expiration(BEGAN + board::millis());
        board::set_alarm(next.saturating_sub(BEGAN), ring);
    });
}

/// Gives a part of a message back.
///
/// # Errors
/// Why it cannot. After the peer's Close nothing is answered, and that is none.
pub async fn echo<T: Write, R: Role>(
    chunk: Chunk<'_>,
    reply: &mut Reply<'_, T, R, EmbassyClock>,
) -> Result<(), Error<T::Error>> {
    let mut rest = &*chunk.bytes;
    loop {
        match reply.send_fragment(chunk.kind, rest, chunk.last).await {
            Ok(len) => rest = rest.get(len..).unwrap_or_default(),
            Err(Error::Ended(Ended::Closed { .. })) => return Ok(()),
            Err(error) => return Err(error),
        }
        if rest.is_empty() {
            return Ok(());
        }
    }
}

/// A client over a TCP socket, with these deadlines.
pub type Client<'a, E> = WebSocket<'a, TcpSocket<'a>, motews::Client<E>, EmbassyClock>;

/// A server over a TCP socket, with these deadlines.
pub type Server<'a> = WebSocket<'a, TcpSocket<'a>, motews::Server, EmbassyClock>;

/// Ends a socket, whatever state it is in, so that it can connect or listen again.
///
/// It sends what was written and the end of TCP, and waits until the peer has acknowledged both, or for
/// `limit`. If something is left then, it sends a reset, for which it waits as long again at most: a peer
/// that is unplugged has no address on the link any more. A socket that is dropped in place of that
/// tells its peer nothing.
pub async fn end(socket: &mut TcpSocket<'_>, limit: Duration) {
    socket.close();
    _ = with_timeout(limit, socket.flush()).await;
    // Of no effect if TCP has ended.
    socket.abort();
    _ = with_timeout(limit, socket.flush()).await;
}

/// Whether a task has something to do.
static PENDS: AtomicBool = AtomicBool::new(false);

#[unsafe(export_name = "__pender")]
fn pend(_: *mut ()) {
    PENDS.store(true, Ordering::Relaxed);
}

/// Runs the tasks that `start` spawns, for ever.
///
/// Embassy's own executor for Cortex-M waits for events (`WFE`), which keeps QEMU busy all the time;
/// this one waits for interrupts.
pub fn run(start: impl FnOnce(Spawner)) -> ! {
    static EXECUTOR: StaticCell<raw::Executor> = StaticCell::new();

    let executor = EXECUTOR.init(raw::Executor::new(ptr::null_mut()));
    start(executor.spawner());
    loop {
        // SAFETY: this is the one place that polls, and no task can call it: the executor stays here.
        unsafe { executor.poll() };
        critical_section::with(|_| {
            if !PENDS.swap(false, Ordering::Relaxed) {
                board::sleep();
            }
        });
    }
}
