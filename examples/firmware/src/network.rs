//! The network as QEMU's user networking has it, the board's place in it, and the board as smoltcp
//! sees it.

use core::net::Ipv4Addr;

use smoltcp::iface::{Config, Interface};
use smoltcp::phy::{self, Device, DeviceCapabilities, Medium};
use smoltcp::time::Instant;
use smoltcp::wire::{EthernetAddress, IpAddress, IpCidr};

use crate::board::{self, Ethernet};

/// The board's address.
pub const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 15);
/// Leading bits of it that are the network's.
pub const PREFIX_LEN: u8 = 24;
/// The way out. There is none: QEMU is started so that nothing leaves it.
pub const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 2);
/// Where the board listens.
pub const PORT: u16 = 80;

/// The interface with these addresses. `seed` makes TCP's first sequence numbers hard to guess.
pub fn interface(ethernet: &mut Ethernet, seed: u64) -> Interface {
    let mut config = Config::new(EthernetAddress(ethernet.address()).into());
    config.random_seed = seed;
    let mut interface = Interface::new(config, ethernet, now());
    interface.update_ip_addrs(|addresses| {
        // There is room for one address.
        _ = addresses.push(IpCidr::new(IpAddress::Ipv4(ADDRESS), PREFIX_LEN));
    });
    _ = interface.routes_mut().add_default_ipv4_route(GATEWAY);
    interface
}

/// The time since the start, to the millisecond.
#[must_use]
pub fn now() -> Instant {
    Instant::from_millis(board::millis() as i64)
}

impl Device for Ethernet {
    type RxToken<'a> = board::RxToken<'a>;
    type TxToken<'a> = board::TxToken<'a>;

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = board::MAX_FRAME_LEN;
        capabilities.max_burst_size = Some(1);
        capabilities
    }

    fn receive(&mut self, _: Instant) -> Option<(Self::RxToken<'_>, Self::TxToken<'_>)> {
        self.receive()
    }

    fn transmit(&mut self, _: Instant) -> Option<Self::TxToken<'_>> {
        self.transmit()
    }
}

impl phy::RxToken for board::RxToken<'_> {
    fn consume<T, F: FnOnce(&[u8]) -> T>(self, f: F) -> T {
        self.consume(|frame| f(frame))
    }
}

impl phy::TxToken for board::TxToken<'_> {
    fn consume<T, F: FnOnce(&mut [u8]) -> T>(self, len: usize, f: F) -> T {
        self.consume(len, f)
    }
}
