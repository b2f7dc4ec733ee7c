//! An echo server over smoltcp, without smoltcp: the adapter with all that it needs of the core.
#![no_std]
#![no_main]

use motews::Event;
use motews::handshake::{HandshakeError, RequestEvent, Response};
use motews_linked::machine::{any, bytes, hand, place};
use motews_smoltcp::{Config, ServerEvent, ServerSocket};
use smoltcp::socket::tcp::Socket;

fn main() {
    static CONFIG: Config<'static> = Config::DEFAULT;
    let server = place::<ServerSocket<'_>>();
    *server = ServerSocket::new(&CONFIG);
    let tcp = place::<Socket<'_>>();
    let part = bytes();
    loop {
        let room = server.send_room(tcp).min(part.len());
        match server.poll(tcp, any(), room) {
            Some(ServerEvent::Request(RequestEvent::Done(upgrade))) => server.accept(upgrade),
            Some(ServerEvent::Http(HandshakeError::NotUpgrade)) => {
                if let Ok(response) = Response::new(200) {
                    server.respond(response.body(b"Hello"));
                }
            }
            Some(ServerEvent::Received(Event::Data(chunk))) => {
                let (kind, last) = (chunk.kind, chunk.last);
                let part = part.get_mut(..chunk.bytes.len()).unwrap_or_default();
                for (to, from) in part.iter_mut().zip(chunk.bytes) {
                    *to = *from;
                }
                hand(server.send_fragment(tcp, kind, part, last).unwrap_or(0));
            }
            Some(_) => {}
            None => hand(0),
        }
    }
}

motews_linked::entry!(main);
