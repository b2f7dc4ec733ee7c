//! What the clients on Embassy do that stay connected, with TLS or without: a reading each second,
//! whatever happens to the network and to the server.

use core::cell::RefCell;
use core::fmt::Write as _;

use defmt::Format;
use embassy_futures::select::{Either, select};
use embassy_net::Stack;
use embassy_time::{Duration, Ticker};
use embedded_io_async::{Read, Write};
use heapless::String;
use motews::interruption::Interrupted;
use motews::reconnect::Cause;
use motews::{Ended, Message, MessageBuffer};
use motews_embedded_io::EmbassyClock;
use motews_embedded_io::asynch::{Reconnecting, Task, Update};

use crate::entropy::Cipher;
use crate::{board, stack, stay};

/// Has `client` report, for ever. It says first who it is, and again with each connection; what waits goes
/// out behind that. A server that does not take the key that the board has is shown the other one.
pub async fn report<T, C, F>(
    network: Stack<'_>,
    client: &mut Reconnecting<'_, T, &RefCell<Cipher>, EmbassyClock, C, F>,
) -> !
where
    T: Read<Error: Format> + Write,
    C: FnMut(T, Task) -> F,
    F: Future<Output = (T, Result<(), Cause>)>,
{
    let mut messages = MessageBuffer::new([0; 128]);
    let mut ticker = Ticker::every(Duration::from_secs(1));
    let (mut opened, mut number, mut address) = (0_u32, 0_u32, None);
    // Which of the keys is shown, and whether the other one was refused.
    let (mut key, mut is_other_refused) = (0, false);
    loop {
        let update = match select(client.next(&mut messages), ticker.next()).await {
            Either::First(Some(update)) => update,
            Either::First(None) => board::exit(4),
            Either::Second(()) => {
                number += 1;
                let mut reading: String<24> = String::new();
                _ = write!(reading, "reading {number}");
                // The oldest one gives way, and is counted.
                _ = client.queue(Message::Text(&reading));
                let now = network.config_v4().map(|config| config.address.address());
                if let Some(now) = now.filter(|now| address != Some(*now)) {
                    defmt::info!("the address is {=[u8; 4]}", now.octets());
                    // A connection from the old one is lost; the first one is from this one.
                    if address.replace(now).is_some() {
                        client.network_changed();
                    }
                }
                continue;
            }
        };
        match update {
            Update::Opened(()) => {
                opened += 1;
                is_other_refused = false;
                _ = client.send(Message::Text("this is the board")).await;
                defmt::info!(
                    "connection {}; the stack at its deepest: {} bytes",
                    opened,
                    stack::high_water_mark()
                );
            }
            Update::Message(Message::Text(text)) => defmt::info!("the server says: {}", text),
            Update::Ended(interruption) => {
                let dropped = client.backlog().dropped();
                defmt::info!("it has ended: {}; {} were dropped", interruption, dropped);
                let reason = interruption.reason;
                if let Interrupted::Attempt(Cause::Ended(Ended::Refused(401))) = reason {
                    // The next attempt is at once. If neither is taken, it waits as it would otherwise.
                    if !is_other_refused {
                        key = 1 - key;
                        client.set_request(stay::request(key));
                    }
                    is_other_refused = !is_other_refused;
                }
            }
            _ => {}
        }
    }
}
