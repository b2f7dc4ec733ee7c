//! An async client with deadlines, without a transport: what `size_wss` has beside TLS.
#![no_std]
#![no_main]

use motews_linked::client::{client, run, size_of_future};
use motews_linked::transport::Wire;

/// An async function has a way to a panic, where it is polled after its end.
#[unsafe(no_mangle)]
extern "C" fn motews_panic_path_survives() -> ! {
    loop {}
}

fn main() {
    run(client(Wire::any()));
}

motews_linked::sizes! {
    SOCKET "WebSocket": size_of_future(&client::<Wire>),
}
motews_linked::entry!(main);
