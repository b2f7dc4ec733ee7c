//! The network as QEMU's user networking has it, and the board's place in it.

use smoltcp::iface::{Config, Interface};
use smoltcp::wire::{EthernetAddress, IpAddress, IpCidr, Ipv4Address};

use smoltcp::phy::Device;
use smoltcp::time::Instant;

/// The board's address.
pub const ADDRESS: Ipv4Address = Ipv4Address::new(10, 0, 2, 15);
/// The way out. There is none: QEMU is started so that nothing leaves it.
pub const GATEWAY: Ipv4Address = Ipv4Address::new(10, 0, 2, 2);
/// Where the board listens.
pub const PORT: u16 = 80;

/// The interface with these addresses. `seed` makes TCP's first sequence numbers hard to guess.
pub fn interface(
    device: &mut impl Device,
    address: EthernetAddress,
    seed: u64,
    now: Instant,
) -> Interface {
    let mut config = Config::new(address.into());
    config.random_seed = seed;
    let mut interface = Interface::new(config, device, now);
    interface.update_ip_addrs(|addresses| {
        // There is room for one address.
        _ = addresses.push(IpCidr::new(IpAddress::Ipv4(ADDRESS), 24));
    });
    _ = interface.routes_mut().add_default_ipv4_route(GATEWAY);
    interface
}
