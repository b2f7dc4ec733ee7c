//! An echo server on smoltcp, as firmware has it, on a desktop over a TAP device.
//!
//! `smoltcp_echo TAP ADDRESS PORT`; the namespace and the device are told in `tap/mod.rs`. Messages
//! of any length pass through its rings of 4 KiB.
#![expect(
    clippy::indexing_slicing,
    reason = "a chunk is no longer than the limit it was polled with"
)]

mod tap;

use motews::Event;
use motews::handshake::{HandshakeError, RequestEvent, Response};
use motews_smoltcp::{Config, ServerEvent, ServerSocket, gives_way};
use smoltcp::socket::tcp::Socket;
use smoltcp::time::Instant;

/// How many connections there can be at once.
const CONNECTIONS: usize = 4;
/// The size of a ring, in bytes.
const RING: usize = 4096;

static CONFIG: Config<'static> = Config::DEFAULT;

fn main() -> Result<(), tap::Error> {
    let arguments: Vec<_> = std::env::args().collect();
    let [_, tap, address, port] = &arguments[..] else {
        return Err("usage: smoltcp_echo TAP ADDRESS/PREFIX PORT".into());
    };
    let port: u16 = port.parse()?;
    let mut host = tap::Host::new(tap, address)?;

    let mut servers = Vec::new();
    for _ in 0..CONNECTIONS {
        let handle = host.add_socket(RING);
        host.sockets.get_mut::<Socket<'_>>(handle).listen(port)?;
        let server: ServerSocket<'_> = ServerSocket::new(&CONFIG);
        servers.push((handle, server));
    }
    let address = address.split('/').next().unwrap_or_default();
    println!("echo on ws://{address}:{port}/");

    loop {
        host.poll();
        for (handle, server) in &mut servers {
            poll_echo(server, host.sockets.get_mut(*handle))?;
        }
        let now = Instant::now();
        if let Some(index) = gives_way(servers.iter().map(|(_, server)| server), now) {
            let (handle, server) = &mut servers[index];
            server.give_way(host.sockets.get_mut(*handle));
            continue; // The reset goes out, and the socket listens again.
        }
        let deadline = servers.iter().filter_map(|(_, server)| server.poll_at(now));
        host.wait(deadline.min())?;
    }
}

/// Does all there is to do on one socket.
fn poll_echo(server: &mut ServerSocket<'static>, tcp: &mut Socket<'_>) -> Result<(), tap::Error> {
    let mut part = [0; 1024];
    loop {
        // While the transmit ring is full this is 0, and nothing is read.
        let room = server.send_room(tcp).min(part.len());
        let Some(event) = server.poll(tcp, Instant::now(), room) else {
            return Ok(());
        };
        match event {
            ServerEvent::Request(RequestEvent::Done(upgrade)) => server.accept(upgrade),
            ServerEvent::Http(HandshakeError::NotUpgrade) => {
                server.respond(Response::new(200)?.body(b"Connect with a WebSocket.\n"));
            }
            ServerEvent::Received(Event::Data(chunk)) => {
                let (kind, last, len) = (chunk.kind, chunk.last, chunk.bytes.len());
                part[..len].copy_from_slice(chunk.bytes);
                // Not open any more, if this side is closing: then there is no answer.
                _ = server.send_fragment(tcp, kind, &part[..len], last);
            }
            ServerEvent::Ended(end) => eprintln!("ended: {end}"),
            _ => {}
        }
    }
}
