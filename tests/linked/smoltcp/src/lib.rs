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
    /// One socket.
    pub mod tcp {
        use core::marker::PhantomData;

        use crate::register;
        use crate::wire::{IpEndpoint, IpListenEndpoint};

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
                (register() != 0).then_some(IpEndpoint)
            }

            /// As in smoltcp.
            pub fn close(&mut self) {}

            /// As in smoltcp.
            pub fn abort(&mut self) {}
        }
    }
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
    pub struct IpEndpoint;
}
