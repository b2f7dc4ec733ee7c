//! Embassy's time.

use core::future::Future;

use embassy_time::Instant;
use motews::Millis;

use crate::time::{Clock, Timer};

/// The time of `embassy-time`, whatever its driver is: a [`Clock`] for blocking WebSockets, and a
/// [`Timer`] for async ones.
///
/// ```no_run
/// use embedded_io_async::{Read, Write};
/// use motews::Server;
/// use motews_embedded_io::asynch::WebSocket;
/// use motews_embedded_io::{Buffers, EmbassyClock, Error};
///
/// type Socket<'a, T> = WebSocket<'a, T, Server, EmbassyClock>;
///
/// async fn accept<T: Read + Write>(tcp: T, buffers: Buffers<'_>) -> Result<Socket<'_, T>, Error<T::Error>> {
///     let mut ws = WebSocket::server(tcp, buffers)?.with_clock(EmbassyClock);
///     ws.accept().await?;
///     Ok(ws)
/// }
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct EmbassyClock;

impl Clock for EmbassyClock {
    #[inline]
    fn now(&mut self) -> Millis {
        // Wraps, as `Millis` does.
        Millis(Instant::now().as_millis() as u32)
    }
}

impl Timer for EmbassyClock {
    #[inline]
    fn wait(&mut self, millis: u32) -> impl Future<Output = ()> {
        embassy_time::Timer::after_millis(millis.into())
    }
}
