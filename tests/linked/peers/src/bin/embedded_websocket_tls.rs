//! A blocking client of embedded-websocket over embedded-tls, with its own verifier.
#![no_std]
#![no_main]

use embedded_tls::TlsContext;
use embedded_tls::blocking::TlsConnection;
use motews_linked::machine::{bytes, place};
use motews_linked::transport::Wire;
use motews_linked_peers::clients::{EMBEDDED_WEBSOCKET, Transport, embedded_websocket};
use motews_linked_peers::ram;
use motews_linked_peers::tls::{Provide, Suite, Verified, settings};

type Stream = Transport<TlsConnection<'static, Wire, Suite>>;

fn main() {
    let stream = place::<Stream>();
    *stream = Transport(TlsConnection::new(Wire::any(), bytes(), bytes()));
    let provider = place::<Verified>();
    *provider = Provide::new();
    if stream.0.open(TlsContext::new(settings(), provider)).is_ok() {
        _ = embedded_websocket(stream);
    }
}

ram!(EMBEDDED_WEBSOCKET + size_of::<Stream>() + size_of::<Verified>());
motews_linked::entry!(main);
