//! TLS for the clients on Embassy: its memory, whom it trusts at what time, and the pump beside the
//! WebSocket.
//!
//! The authority that the board trusts is read at the start, through the debugger's semihosting, from the
//! file `authority.der` where QEMU runs. A board in the field has it in flash: `include_bytes!`.

use core::cell::RefCell;
use core::future::poll_fn;
use core::pin::{Pin, pin};
use core::task::Poll;

use embassy_net::Stack;
use embassy_net::tcp::TcpSocket;
use embassy_sync::blocking_mutex::raw::NoopRawMutex;
use embassy_sync::signal::Signal;
use embassy_time::{Duration, with_timeout};
use motews::reconnect::Cause;
use motews_embedded_io::tls::{
    MAX_RECORD, Pump, TlsBuffers, TlsConfig, TlsStream, TlsTime, TlsTunnel, Trust,
};
use motews_embedded_io::{Duplex, EmbassyClock};
use semihosting::fs::File;
use semihosting::io::Read;

use crate::entropy::Cipher;
use crate::stay::SERVER;
use crate::{board, embassy, online};

/// When this was built, in seconds since 1970: it is not before that, whatever anybody says.
const BUILT: u64 = match u64::from_str_radix(env!("MOTEWS_BUILT"), 10) {
    Ok(seconds) => seconds,
    Err(_) => panic!("the build script gives seconds"),
};
/// How long TCP and TLS may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// All that TLS needs but for its task: TCP's two rings, the buffers of a record that is read and of one
/// that is written, and the tunnel's two rings.
#[derive(Debug)]
pub struct Memory<const TCP: usize, const WRITE: usize, const TUNNEL: usize> {
    authority: [u8; 1024],
    tcp: [[u8; TCP]; 2],
    read: [u8; MAX_RECORD],
    write: [u8; WRITE],
    tunnel: [[u8; TUNNEL]; 2],
}

impl<const TCP: usize, const WRITE: usize, const TUNNEL: usize> Memory<TCP, WRITE, TUNNEL> {
    /// For a `static`.
    pub const NEW: Self = Self {
        authority: [0; 1024],
        tcp: [[0; TCP]; 2],
        read: [0; MAX_RECORD],
        write: [0; WRITE],
        tunnel: [[0; TUNNEL]; 2],
    };

    /// The tunnel's rings, and the rest.
    pub fn split(&mut self) -> ([&mut [u8]; 2], Lower<'_>) {
        let Self {
            authority,
            tcp: [rx, tx],
            read,
            write,
            tunnel: [incoming, outgoing],
        } = self;
        let Some(len) = read_authority(authority) else {
            defmt::error!("there is no file authority.der, or it is too long");
            board::exit(1)
        };
        let authority = authority.get(..len).unwrap_or_default();
        let lower = Lower {
            authority,
            rings: [rx, tx],
            records: TlsBuffers { read, write },
        };
        ([incoming, outgoing], lower)
    }
}

/// What the pump needs, and TCP below it.
#[derive(Debug)]
pub struct Lower<'a> {
    authority: &'a [u8],
    rings: [&'a mut [u8]; 2],
    records: TlsBuffers<'a>,
}

/// Reads the certificate of the authority, and returns its length.
fn read_authority(memory: &mut [u8]) -> Option<usize> {
    let mut file = File::open(c"authority.der").ok()?;
    let len = file.read(memory).ok()?;
    (0 < len && len < memory.len()).then_some(len)
}

/// The place where the WebSocket's future hands each session's pump to the future that has TCP. Both are
/// in one task.
pub struct Sessions<'t> {
    tunnel: &'t TlsTunnel<'t>,
    pumps: Signal<NoopRawMutex, Pump<'t>>,
}

impl<'t> Sessions<'t> {
    /// One after the other, in this tunnel.
    pub const fn new(tunnel: &'t TlsTunnel<'t>) -> Self {
        Self {
            tunnel,
            pumps: Signal::new(),
        }
    }

    /// Waits until the session before has ended, and returns a stream at its end: without a pump.
    pub async fn none(&self) -> TlsStream<'t> {
        self.tunnel.next_ends().await.0
    }

    /// The next session, open or not.
    pub async fn next(&self) -> (TlsStream<'t>, Result<(), Cause>) {
        let (stream, pump) = self.tunnel.next_ends().await;
        self.pumps.signal(pump);
        let result = match with_timeout(PATIENCE, self.tunnel.opened()).await {
            Ok(opened) => opened.map_err(Cause::from),
            Err(_) => Err(Cause::Unreachable),
        };
        (stream, result)
    }

    /// Runs each session's pump, and TCP below it, for ever.
    pub async fn pump(&self, network: Stack<'_>, lower: Lower<'_>, generator: &RefCell<Cipher>) {
        let Lower {
            authority,
            rings: [rx, tx],
            records,
        } = lower;
        let authorities = [authority];
        let mut clock = online::Clock::default();
        let mut tcp = TcpSocket::new(network, rx, tx);
        tcp.set_nagle_enabled(false);
        loop {
            let pump = self.pumps.wait().await;
            network.wait_config_up().await;
            let time = match clock.now(network).await {
                Some(now) if now >= BUILT => TlsTime::Now(now),
                _ => TlsTime::Built(BUILT),
            };
            match online::connect(network, &mut tcp).await {
                Ok(()) => {
                    let config = TlsConfig::new(SERVER.0, Trust::Authorities(&authorities), time);
                    let (reader, writer) = tcp.split();
                    let transport = Duplex { reader, writer };
                    let records = TlsBuffers {
                        read: &mut *records.read,
                        write: &mut *records.write,
                    };
                    let run = pump.run(transport, records, &config, generator, EmbassyClock);
                    if let Err(error) = measured(pin!(run)).await {
                        defmt::info!("TLS has ended: {}", error);
                    }
                }
                // `next` hears of it.
                Err(_) => drop(pump),
            }
            embassy::end(&mut tcp, Duration::from_millis(500)).await;
        }
    }
}

/// Awaits a future, and logs how long one step of it takes at most. A watchdog that the idle loop feeds
/// must wait as long.
async fn measured<F: Future>(mut future: Pin<&mut F>) -> F::Output {
    let mut longest = 0;
    poll_fn(move |context| {
        let began = board::millis();
        let poll = future.as_mut().poll(context);
        let took = board::millis().saturating_sub(began);
        if took > longest {
            longest = took;
            defmt::debug!("the longest step of TLS: {} ms", longest);
        }
        match poll {
            Poll::Ready(output) => Poll::Ready(output),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}
