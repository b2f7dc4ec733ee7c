//! An async client of motews-embedded-io over its pump for embedded-tls, with its own verifier.
#![no_std]
#![no_main]

use motews_embedded_io::tls::{
    Pump, TlsBuffers, TlsConfig, TlsError, TlsStream, TlsTime, TlsTunnel, Trust,
};
use motews_embedded_io::{Duplex, Untimed};
use motews_linked::client::size_of_future;
use motews_linked::machine::{Generator, any, bytes, place};
use motews_linked::transport::Wire;
use motews_linked_peers::clients::motews;
use motews_linked_peers::{ram, run};

/// The session of TLS.
fn pump(pump: Pump<'static>) -> impl Future<Output = Result<(), TlsError>> {
    let authorities = place::<[&'static [u8]; 1]>();
    let config = place::<TlsConfig<'static>>();
    *config = TlsConfig::new(
        "example.com",
        Trust::Authorities(authorities),
        TlsTime::Now(any()),
    );
    let records = TlsBuffers {
        read: bytes(),
        write: bytes(),
    };
    let transport = Duplex {
        reader: Wire::any(),
        writer: Wire::any(),
    };
    pump.run(transport, records, config, Generator, Untimed)
}

async fn client(stream: TlsStream<'static>) {
    _ = motews(stream).await;
}

fn main() {
    let tunnel = place::<TlsTunnel<'static>>();
    *tunnel = TlsTunnel::new(bytes(), bytes());
    let (stream, session) = tunnel.ends();
    run(pump(session));
    run(client(stream));
}

ram!(size_of_future(&client) + size_of_future(&pump) + size_of::<TlsTunnel<'static>>());
motews_linked::entry!(main);
