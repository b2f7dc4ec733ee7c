//! A transport of `embedded-io` and `embedded-io-async` whose every answer is anything at all.

use core::future::poll_fn;
use core::task::Poll;

use motews::Millis;
use motews_embedded_io::{Clock, Timer};

use crate::machine::{any, used};

/// A source of time that tells any time.
#[derive(Clone, Copy, Debug)]
pub struct Watch;

impl Clock for Watch {
    #[inline(always)]
    fn now(&mut self) -> Millis {
        any()
    }
}

impl Timer for Watch {
    async fn wait(&mut self, millis: u32) {
        used(millis);
        wait().await;
    }
}

/// What went wrong.
#[derive(Clone, Copy, Debug)]
pub struct Fault(embedded_io::ErrorKind);

impl core::fmt::Display for Fault {
    fn fmt(&self, _: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        Ok(())
    }
}

impl core::error::Error for Fault {}

impl embedded_io::Error for Fault {
    #[inline(always)]
    fn kind(&self) -> embedded_io::ErrorKind {
        self.0
    }
}

/// The transport: a handle of some kind.
#[derive(Clone, Copy, Debug)]
pub struct Wire(usize);

impl Wire {
    /// Some transport.
    #[inline(always)]
    pub fn any() -> Self {
        Self(any())
    }
}

impl embedded_io::ErrorType for Wire {
    type Error = Fault;
}

/// What a call comes to.
#[inline(always)]
fn done<T: 'static>() -> Result<T, Fault> {
    match any() {
        true => Ok(any()),
        false => Err(Fault(any())),
    }
}

impl embedded_io::Read for Wire {
    #[inline(always)]
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Fault> {
        used((self.0, buffer.as_mut_ptr()));
        done()
    }
}

impl embedded_io::Write for Wire {
    #[inline(always)]
    fn write(&mut self, bytes: &[u8]) -> Result<usize, Fault> {
        used((self.0, bytes.as_ptr()));
        done()
    }

    #[inline(always)]
    fn flush(&mut self) -> Result<(), Fault> {
        done()
    }
}

/// Waits as long as it likes.
async fn wait() {
    poll_fn(|_| any::<Poll<()>>()).await;
}

impl embedded_io_async::Read for Wire {
    async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Fault> {
        wait().await;
        used((self.0, buffer.as_mut_ptr()));
        done()
    }
}

impl embedded_io_async::Write for Wire {
    async fn write(&mut self, bytes: &[u8]) -> Result<usize, Fault> {
        wait().await;
        used((self.0, bytes.as_ptr()));
        done()
    }

    async fn flush(&mut self) -> Result<(), Fault> {
        wait().await;
        done()
    }
}
