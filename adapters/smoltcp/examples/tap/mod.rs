//! A host on a TAP device: smoltcp in the place of the operating system's TCP.
//!
//! A TAP device is a cable whose other end is in this program. To make one, in a network namespace
//! that goes away with it:
//!
//! ```sh
//! ip netns add board
//! ip -n board tuntap add tap0 mode tap
//! ip -n board address add 10.9.0.1/24 dev tap0
//! ip -n board link set tap0 up
//! ip netns exec board target/release/examples/smoltcp_echo tap0 10.9.0.2/24 9001
//! ```

use std::os::fd::AsRawFd;

use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{Medium, TunTapInterface, wait};
use smoltcp::socket::tcp::{Socket, SocketBuffer};
use smoltcp::time::Instant;
use smoltcp::wire::{EthernetAddress, IpCidr};

/// What anything in an example may fail with.
pub(crate) type Error = Box<dyn core::error::Error>;

/// The host.
pub(crate) struct Host {
    pub(crate) interface: Interface,
    pub(crate) sockets: SocketSet<'static>,
    device: TunTapInterface,
}

impl Host {
    /// At a TAP device, with an address like `10.9.0.2/24`.
    pub(crate) fn new(tap: &str, address: &str) -> Result<Self, Error> {
        let address: IpCidr = address.parse().map_err(|()| "not like 10.9.0.2/24")?;
        let mut device = TunTapInterface::new(tap, Medium::Ethernet)?;
        let mut config = Config::new(EthernetAddress([0x02, 0, 0, 0, 0, 0x02]).into());
        config.random_seed = std::process::id().into();
        let mut interface = Interface::new(config, &mut device, Instant::now());
        interface.update_ip_addrs(|addresses| _ = addresses.push(address));
        Ok(Self {
            interface,
            sockets: SocketSet::new(Vec::new()),
            device,
        })
    }

    /// Adds a TCP socket with two rings of this size, in bytes.
    pub(crate) fn add_socket(&mut self, ring: usize) -> SocketHandle {
        let [rx, tx] = [(); 2].map(|()| SocketBuffer::new(vec![0; ring]));
        let mut socket = Socket::new(rx, tx);
        socket.set_nagle_enabled(false);
        socket.set_ack_delay(None);
        self.sockets.add(socket)
    }

    /// Waits for a packet, or until smoltcp or `deadline` wants to be polled.
    pub(crate) fn wait(&mut self, deadline: Option<Instant>) -> Result<(), Error> {
        let now = Instant::now();
        let delay = self.interface.poll_delay(now, &self.sockets);
        let until = deadline.map(|at| {
            if at > now {
                at - now
            } else {
                Default::default()
            }
        });
        wait(
            self.device.as_raw_fd(),
            delay.into_iter().chain(until).min(),
        )?;
        Ok(())
    }

    /// Moves packets both ways.
    pub(crate) fn poll(&mut self) {
        self.interface
            .poll(Instant::now(), &mut self.device, &mut self.sockets);
    }
}
