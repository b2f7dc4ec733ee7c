//! An interface that has its address from a DHCP server: [`Dhcp`].

use smoltcp::iface::{Interface, SocketHandle, SocketSet};
use smoltcp::socket::dhcpv4;
#[cfg(feature = "dns")]
use smoltcp::socket::dns;
#[cfg(feature = "dns")]
use smoltcp::wire::IpAddress;
use smoltcp::wire::IpCidr;

/// Gives the interface what smoltcp's DHCP client has found out: address, router and DNS servers.
///
/// When the link comes up, it asks anew, for that may be another network. The interface keeps its
/// address until there is an answer, so that a connection outlives a cable that is pulled and put back.
/// If there is none, the old address stays. A lease that expires takes the address away.
///
/// ```no_run
/// # use motews_smoltcp::Dhcp;
/// # use smoltcp::{iface::{Interface, SocketSet}, socket::dhcpv4, time::Instant};
/// # fn f(interface: &mut Interface, sockets: &mut SocketSet<'static>, is_link_up: bool) {
/// let mut dhcp = Dhcp::new(sockets.add(dhcpv4::Socket::new()));
/// // After each poll of the interface:
/// dhcp.poll(interface, sockets, None, is_link_up);
/// # }
/// ```
#[derive(Debug)]
pub struct Dhcp {
    handle: SocketHandle,
    is_link_up: bool,
    /// It was asked anew, which takes nothing away.
    is_asking: bool,
}

impl Dhcp {
    /// Makes one of the handle of a DHCP socket.
    #[must_use]
    pub const fn new(handle: SocketHandle) -> Self {
        Self {
            handle,
            is_link_up: true,
            is_asking: false,
        }
    }

    /// Applies what has changed, and returns whether something has. The DNS socket of the handle
    /// `dns` is told its servers, with the feature `dns`.
    pub fn poll(
        &mut self,
        interface: &mut Interface,
        sockets: &mut SocketSet<'_>,
        dns: Option<SocketHandle>,
        is_link_up: bool,
    ) -> bool {
        let socket = sockets.get_mut::<dhcpv4::Socket<'_>>(self.handle);
        if is_link_up && !self.is_link_up {
            socket.reset();
            self.is_asking = true;
        }
        self.is_link_up = is_link_up;
        let (lease, _servers) = match socket.poll() {
            None => return false,
            Some(dhcpv4::Event::Deconfigured) if self.is_asking => return false,
            Some(dhcpv4::Event::Deconfigured) => (None, Default::default()),
            Some(dhcpv4::Event::Configured(config)) => {
                self.is_asking = false;
                (Some((config.address, config.router)), config.dns_servers)
            }
        };
        interface.update_ip_addrs(|addresses| {
            addresses.retain(|address| !matches!(address, IpCidr::Ipv4(_)));
            if let Some((address, _)) = lease {
                // There is room, unless the interface has none but for IPv6.
                _ = addresses.push(IpCidr::Ipv4(address));
            }
        });
        let routes = interface.routes_mut();
        _ = match lease.and_then(|(_, router)| router) {
            Some(router) => routes.add_default_ipv4_route(router),
            None => Ok(routes.remove_default_ipv4_route()),
        };
        #[cfg(feature = "dns")]
        if let Some(handle) = dns {
            let mut servers = [IpAddress::v4(0, 0, 0, 0); 3];
            let count = servers.len().min(_servers.len());
            for (to, from) in servers.iter_mut().zip(&_servers) {
                *to = IpAddress::Ipv4(*from);
            }
            let dns = sockets.get_mut::<dns::Socket<'_>>(handle);
            dns.update_servers(servers.get(..count).unwrap_or_default());
        }
        #[cfg(not(feature = "dns"))]
        let _ = dns;
        true
    }
}
