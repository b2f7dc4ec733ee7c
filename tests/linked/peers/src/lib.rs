//! What the programs here share: a generator, and how a future is run.
//!
//! Each is an echo client, or an echo server, over a transport that does anything at all: it opens,
//! gives back each message, and closes. Nothing here is ever run: it is linked and measured.
#![no_std]

pub mod clients;
pub mod tls;

use core::convert::Infallible;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Waker};

use motews_linked::machine::{any, happened, place};

/// Has panics end somewhere, since other crates have some.
#[unsafe(no_mangle)]
extern "C" fn motews_panic_path_survives() -> ! {
    loop {}
}

/// Runs a future, which is in static memory and not on the stack.
pub fn run<F: Future + 'static>(future: F) {
    let place = place::<F>();
    *place = future;
    let mut future = Pin::static_mut(place);
    let mut context = Context::from_waker(Waker::noop());
    while future.as_mut().poll(&mut context).is_pending() && happened() {}
}

/// Bytes of the future that an async function makes.
pub const fn size_of_future<F: Future>(_: &impl Fn() -> F) -> usize {
    size_of::<F>()
}

/// As large as what a connection takes beside its buffers.
#[macro_export]
macro_rules! ram {
    ($size:expr) => {
        #[doc = "As large as what a connection takes beside its buffers."]
        #[unsafe(no_mangle)]
        #[used]
        static RAM: [u8; $size] = [0; $size];
    };
}

/// A random number generator, for those who want one of `rand_core`.
#[derive(Debug)]
pub struct Random;

impl rand_core_0_6::RngCore for Random {
    fn next_u32(&mut self) -> u32 {
        any()
    }

    fn next_u64(&mut self) -> u64 {
        any()
    }

    fn fill_bytes(&mut self, bytes: &mut [u8]) {
        bytes.fill_with(any);
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), rand_core_0_6::Error> {
        bytes.fill_with(any);
        Ok(())
    }
}

impl rand_core_0_6::CryptoRng for Random {}

impl rand_core_0_10::TryRng for Random {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok(any())
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(any())
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        bytes.fill_with(any);
        Ok(())
    }
}
