//! An async client of motews-embedded-io.
#![no_std]
#![no_main]

use motews_linked::transport::Wire;
use motews_linked_peers::clients::motews;
use motews_linked_peers::{ram, run, size_of_future};

async fn client() {
    _ = motews(Wire::any()).await;
}

fn main() {
    run(client());
}

ram!(size_of_future(&client));
motews_linked::entry!(main);
