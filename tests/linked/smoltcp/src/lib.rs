//! A stand-in for smoltcp, with as much of its interface as `motews-smoltcp` uses. Each answer comes
//! from a register that nothing has written: the optimizer has to take it for anything the type can
//! hold. So what links against this has no panic path of its own, whatever smoltcp does.
#![no_std]

use core::arch::asm;

/// A comment in the assembler's language, which has a placeholder and makes no instruction.
#[cfg(target_arch = "arm")]
macro_rules! comment {
    () => {
        "@ {}"
    };
}
/// The same.
#[cfg(not(target_arch = "arm"))]
macro_rules! comment {
    () => {
        "# {}"
    };
}

#[inline(always)]
fn register() -> usize {
    let value;
    // SAFETY: no instruction at all, but a comment.
    unsafe { asm!(comment!(), lateout(reg) value, options(nostack)) };
    value
}

/// TCP sockets.
pub mod socket {
    pub use crate::{dhcpv4, dns};

    /// One socket.
    pub mod tcp {
        use core::marker::PhantomData;

        use crate::{any, register};
        use crate::iface::Context;
        use crate::wire::{IpAddress, IpEndpoint, IpListenEndpoint};

        /// TCP's states.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum State {
            /// As in smoltcp.
            Closed,
            /// As in smoltcp.
            SynSent,
            /// As in smoltcp.
            SynReceived,
            /// As in smoltcp.
            Established,
            /// As in smoltcp.
            CloseWait,
        }

        /// Why nothing is received.
        #[derive(Debug)]
        pub enum RecvError {
            /// As in smoltcp.
            InvalidState,
            /// As in smoltcp.
            Finished,
        }
        /// Why nothing is sent.
        #[derive(Debug)]
        pub struct SendError;
        /// Why nothing is listened to.
        #[derive(Debug)]
        pub struct ListenError;

        /// Why there is no connection.
        #[derive(Debug)]
        pub struct ConnectError;

        /// A socket.
        #[derive(Debug)]
        pub struct Socket<'a>(PhantomData<&'a mut [u8]>);

        fn bytes<'b>() -> &'b mut [u8] {
            // SAFETY: never run. To the optimizer it is a slice that assembly code gave.
            unsafe { core::slice::from_raw_parts_mut(register() as *mut u8, register()) }
        }

        macro_rules! tells {
            ($($name:ident)*) => {
                $(
                    /// As in smoltcp.
                    #[inline(always)]
                    pub fn $name(&self) -> bool {
                        register() != 0
                    }
                )*
            };
        }

        impl Socket<'_> {
            tells!(may_send may_recv can_recv is_open is_active is_listening);

            /// As in smoltcp.
            pub fn connect(
                &mut self,
                context: &mut Context,
                remote: (IpAddress, u16),
                local: u16,
            ) -> Result<(), ConnectError> {
                core::hint::black_box((context as *mut _, remote, local));
                match register() {
                    0 => Err(ConnectError),
                    _ => Ok(()),
                }
            }

            /// As in smoltcp.
            pub fn state(&self) -> State {
                match register() {
                    0 => State::Closed,
                    1 => State::SynSent,
                    2 => State::SynReceived,
                    3 => State::CloseWait,
                    _ => State::Established,
                }
            }

            /// As in smoltcp.
            pub fn send_capacity(&self) -> usize {
                register()
            }

            /// As in smoltcp.
            pub fn send_queue(&self) -> usize {
                register()
            }

            /// As in smoltcp, with a part of a ring of any length.
            pub fn send<'b, R>(
                &'b mut self,
                f: impl FnOnce(&'b mut [u8]) -> (usize, R),
            ) -> Result<R, SendError> {
                match register() {
                    0 => Err(SendError),
                    _ => Ok(f(bytes()).1),
                }
            }

            /// As in smoltcp.
            pub fn send_slice(&mut self, data: &[u8]) -> Result<usize, SendError> {
                core::hint::black_box(data);
                match register() {
                    0 => Err(SendError),
                    len => Ok(len),
                }
            }

            /// As in smoltcp, with a part of a ring of any length.
            pub fn recv<'b, R>(
                &'b mut self,
                f: impl FnOnce(&'b mut [u8]) -> (usize, R),
            ) -> Result<R, RecvError> {
                match register() {
                    0 => Err(RecvError::InvalidState),
                    1 => Err(RecvError::Finished),
                    _ => Ok(f(bytes()).1),
                }
            }

            /// As in smoltcp.
            pub fn listen(&mut self, endpoint: IpListenEndpoint) -> Result<(), ListenError> {
                core::hint::black_box(endpoint);
                match register() {
                    0 => Err(ListenError),
                    _ => Ok(()),
                }
            }

            /// As in smoltcp.
            pub fn listen_endpoint(&self) -> IpListenEndpoint {
                IpListenEndpoint
            }

            /// As in smoltcp.
            pub fn local_endpoint(&self) -> Option<IpEndpoint> {
                (register() != 0).then(|| IpEndpoint { addr: any() })
            }

            /// As in smoltcp.
            pub fn close(&mut self) {}

            /// As in smoltcp.
            pub fn abort(&mut self) {}
        }
    }
}

/// Names.
pub mod dns {
    use core::marker::PhantomData;

    use crate::iface::Context;
    use crate::wire::{DnsQueryType, IpAddress};
    use crate::{List, any, register};

    /// A socket.
    #[derive(Debug)]
    pub struct Socket<'a>(PhantomData<&'a mut [u8]>);

    /// A query.
    #[derive(Clone, Copy)]
    pub struct QueryHandle(usize);

    /// Why there is no query.
    #[derive(Debug)]
    pub enum StartQueryError {
        /// As in smoltcp.
        NoFreeSlot,
        /// As in smoltcp.
        InvalidName,
        /// As in smoltcp.
        NameTooLong,
    }

    /// Why there is no result.
    #[derive(Debug)]
    pub enum GetQueryResultError {
        /// As in smoltcp.
        Pending,
        /// As in smoltcp.
        Failed,
    }

    impl Socket<'_> {
        /// As in smoltcp.
        pub fn start_query(
            &mut self,
            context: &mut Context,
            name: &str,
            kind: DnsQueryType,
        ) -> Result<QueryHandle, StartQueryError> {
            core::hint::black_box((context as *mut _, name.as_ptr(), kind));
            match register() {
                0 => Err(StartQueryError::NoFreeSlot),
                1 => Err(StartQueryError::InvalidName),
                2 => Err(StartQueryError::NameTooLong),
                _ => Ok(QueryHandle(register())),
            }
        }

        /// As in smoltcp.
        pub fn get_query_result(
            &mut self,
            query: QueryHandle,
        ) -> Result<List<IpAddress>, GetQueryResultError> {
            core::hint::black_box(query.0);
            match register() {
                0 => Err(GetQueryResultError::Pending),
                1 => Err(GetQueryResultError::Failed),
                _ => Ok(any()),
            }
        }

        /// As in smoltcp.
        pub fn cancel_query(&mut self, query: QueryHandle) {
            core::hint::black_box(query.0);
        }

        /// As in smoltcp.
        pub fn update_servers(&mut self, servers: &[IpAddress]) {
            core::hint::black_box(servers);
        }
    }
}

/// Leases.
pub mod dhcpv4 {
    use core::marker::PhantomData;

    use crate::wire::{Ipv4Address, Ipv4Cidr};
    use crate::{List, any, register};

    /// A socket.
    #[derive(Debug)]
    pub struct Socket<'a>(PhantomData<&'a mut [u8]>);

    /// As in smoltcp.
    #[derive(Debug)]
    pub struct Config {
        /// As in smoltcp.
        pub address: Ipv4Cidr,
        /// As in smoltcp.
        pub router: Option<Ipv4Address>,
        /// As in smoltcp.
        pub dns_servers: List<Ipv4Address>,
    }

    /// As in smoltcp.
    #[derive(Debug)]
    pub enum Event {
        /// As in smoltcp.
        Deconfigured,
        /// As in smoltcp.
        Configured(Config),
    }

    impl Socket<'_> {
        /// As in smoltcp.
        pub fn reset(&mut self) {}

        /// As in smoltcp.
        pub fn poll(&mut self) -> Option<Event> {
            match register() {
                0 => None,
                1 => Some(Event::Deconfigured),
                _ => Some(Event::Configured(any())),
            }
        }
    }
}

/// Interfaces.
pub mod iface {
    use core::marker::PhantomData;

    use crate::wire::{IpAddress, IpCidr, Ipv4Address};
    use crate::{List, place, register};

    /// As in smoltcp.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct SocketHandle(usize);

    /// As in smoltcp.
    #[derive(Debug)]
    pub struct SocketSet<'a>(PhantomData<&'a mut [u8]>);

    impl<'a> SocketSet<'a> {
        /// As in smoltcp.
        pub fn get_mut<T>(&mut self, handle: SocketHandle) -> &mut T {
            core::hint::black_box(handle.0);
            place()
        }
    }

    /// As in smoltcp.
    #[derive(Debug)]
    pub struct Context;

    /// As in smoltcp.
    #[derive(Debug)]
    pub struct Interface;

    /// As in smoltcp.
    #[derive(Debug)]
    pub struct Route;

    /// As in smoltcp.
    #[derive(Debug)]
    pub struct RouteTableFull;

    /// As in smoltcp.
    #[derive(Debug)]
    pub struct Routes;

    impl Routes {
        /// As in smoltcp.
        pub fn add_default_ipv4_route(
            &mut self,
            gateway: Ipv4Address,
        ) -> Result<Option<Route>, RouteTableFull> {
            core::hint::black_box(gateway);
            match register() {
                0 => Err(RouteTableFull),
                _ => Ok(None),
            }
        }

        /// As in smoltcp.
        pub fn remove_default_ipv4_route(&mut self) -> Option<Route> {
            (register() != 0).then_some(Route)
        }
    }

    impl Interface {
        /// As in smoltcp.
        pub fn context(&mut self) -> &mut Context {
            place()
        }

        /// As in smoltcp.
        pub fn ip_addrs(&self) -> &[IpCidr] {
            place::<List<IpCidr>>()
        }

        /// As in smoltcp.
        pub fn has_ip_addr(&self, address: IpAddress) -> bool {
            core::hint::black_box(address);
            register() != 0
        }

        /// As in smoltcp.
        pub fn update_ip_addrs(&mut self, f: impl FnOnce(&mut List<IpCidr>)) {
            f(place());
        }

        /// As in smoltcp.
        pub fn routes_mut(&mut self) -> &mut Routes {
            place()
        }
    }
}

/// A list of anything.
#[derive(Debug)]
pub struct List<T: 'static>(core::marker::PhantomData<T>);

impl<T> Default for List<T> {
    fn default() -> Self {
        Self(core::marker::PhantomData)
    }
}

impl<T> core::ops::Deref for List<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: never run. To the optimizer it is a slice that assembly code gave.
        unsafe { core::slice::from_raw_parts(register() as *const T, register()) }
    }
}

impl<'l, T> IntoIterator for &'l List<T> {
    type Item = &'l T;
    type IntoIter = core::slice::Iter<'l, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<T> List<T> {
    /// As in heapless.
    pub fn push(&mut self, item: T) -> Result<(), T> {
        match register() {
            0 => Err(item),
            _ => Ok(()),
        }
    }

    /// As in heapless.
    pub fn retain(&mut self, mut f: impl FnMut(&mut T) -> bool) {
        core::hint::black_box(f(place()));
    }
}

/// Some value, of which the optimizer knows nothing.
#[inline(always)]
fn any<T: 'static>() -> T {
    // SAFETY: never run.
    unsafe { core::ptr::read_volatile(register() as *const T) }
}

/// Some place.
#[inline(always)]
fn place<'a, T>() -> &'a mut T {
    // SAFETY: as above.
    unsafe { &mut *(register() as *mut T) }
}

/// The time.
pub mod time {
    /// As in smoltcp.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
    pub struct Instant {
        micros: i64,
    }

    impl Instant {
        /// As in smoltcp.
        pub const fn total_micros(&self) -> i64 {
            self.micros
        }

        /// As in smoltcp, but for the overflow, which no one reaches in 292,000 years.
        pub fn from_millis(millis: impl Into<i64>) -> Self {
            Self {
                micros: millis.into().wrapping_mul(1000),
            }
        }
    }
}

/// Addresses.
pub mod wire {
    /// As in smoltcp.
    #[derive(Debug)]
    pub struct IpListenEndpoint;
    /// As in smoltcp.
    #[derive(Debug)]
    pub struct IpEndpoint {
        /// As in smoltcp.
        pub addr: IpAddress,
    }

    pub use core::net::Ipv4Addr as Ipv4Address;

    /// As in smoltcp.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum IpAddress {
        /// As in smoltcp.
        Ipv4(Ipv4Address),
        /// As in smoltcp.
        Ipv6(core::net::Ipv6Addr),
    }

    impl IpAddress {
        /// As in smoltcp.
        pub const fn v4(a: u8, b: u8, c: u8, d: u8) -> Self {
            Self::Ipv4(Ipv4Address::new(a, b, c, d))
        }
    }

    /// As in smoltcp.
    #[derive(Clone, Copy, Debug)]
    pub struct Ipv4Cidr(pub Ipv4Address, pub u8);

    /// As in smoltcp.
    #[derive(Clone, Copy, Debug)]
    pub enum IpCidr {
        /// As in smoltcp.
        Ipv4(Ipv4Cidr),
        /// As in smoltcp.
        Ipv6(u8),
    }

    /// As in smoltcp.
    #[derive(Clone, Copy, Debug)]
    pub enum DnsQueryType {
        /// As in smoltcp.
        A,
    }
}
