//! The same client over TLS, without a transport: the adapter with its pump, its verifier, and all that
//! they need.
#![no_std]
#![no_main]

use motews_embedded_io::Duplex;
use motews_embedded_io::tls::{
    Pump, TlsBuffers, TlsConfig, TlsError, TlsStream, TlsTime, TlsTunnel, Trust,
};
use motews_linked::client::{client, run, size_of_future};
use motews_linked::machine::{Generator, any, bytes, place};
use motews_linked::transport::{Watch, Wire};

/// embedded-tls and the arithmetic have ways to a panic.
#[unsafe(no_mangle)]
extern "C" fn motews_panic_path_survives() -> ! {
    loop {}
}

/// The session of TLS. Its buffers, and the authority's certificate, are elsewhere.
fn pump(pump: Pump<'static>) -> impl Future<Output = Result<(), TlsError>> {
    let authorities = place::<[&'static [u8]; 1]>();
    let config = place::<TlsConfig<'static>>();
    *config = TlsConfig::new(
        "example.com",
        Trust::Authorities(authorities),
        TlsTime::Built(any()),
    );
    let records = TlsBuffers {
        read: bytes(),
        write: bytes(),
    };
    let transport = Duplex {
        reader: Wire::any(),
        writer: Wire::any(),
    };
    pump.run(transport, records, config, Generator, Watch)
}

fn main() {
    let tunnel = place::<TlsTunnel<'static>>();
    *tunnel = TlsTunnel::new(bytes(), bytes());
    let (stream, session) = tunnel.ends();
    run(pump(session));
    run(client(stream));
}

motews_linked::sizes! {
    SOCKET "WebSocket": size_of_future(&client::<TlsStream<'static>>),
    PUMP "pump": size_of_future(&pump),
    TUNNEL "tunnel": size_of::<TlsTunnel<'static>>(),
}
motews_linked::entry!(main);
