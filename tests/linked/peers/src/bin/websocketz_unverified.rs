//! An async client of websocketz over embedded-tls, with no verification.
#![no_std]
#![no_main]

use embedded_tls::{TlsConnection, TlsContext};
use motews_linked::machine::bytes;
use motews_linked::transport::Wire;
use motews_linked_peers::clients::websocketz;
use motews_linked_peers::tls::{Provide, Suite, Unverified, settings};
use motews_linked_peers::{ram, run, size_of_future};

async fn client() {
    let mut provider = Unverified::new();
    let mut tls = TlsConnection::<Wire, Suite>::new(Wire::any(), bytes(), bytes());
    let context = TlsContext::new(settings(), &mut provider);
    if tls.open(context).await.is_ok() {
        _ = websocketz(tls).await;
    }
}

fn main() {
    run(client());
}

ram!(size_of_future(&client));
motews_linked::entry!(main);
