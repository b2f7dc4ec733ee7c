//! An async client of websocketz.
#![no_std]
#![no_main]

use motews_linked::transport::Wire;
use motews_linked_peers::clients::websocketz;
use motews_linked_peers::{ram, run, size_of_future};

async fn client() {
    _ = websocketz(Wire::any()).await;
}

fn main() {
    run(client());
}

ram!(size_of_future(&client));
motews_linked::entry!(main);
