//! The client that the Autobahn test suite's `fuzzingserver` wants, on smoltcp over a TAP device.
//!
//! `smoltcp_autobahn_client TAP ADDRESS SERVER:PORT`; see `tap/mod.rs`. It asks how many cases there
//! are, echoes what comes in each of them, and has the reports written.
#![expect(
    clippy::indexing_slicing,
    reason = "a chunk is no longer than the limit it was polled with"
)]

mod tap;

use core::net::SocketAddrV4;

use motews::handshake::{Request, ResponseEvent};
use motews::{Entropy, EntropyError, Event, Message, MessageBuffer};
use motews_smoltcp::{ClientEvent, ClientSocket, Config, End};
use smoltcp::iface::SocketHandle;
use smoltcp::socket::tcp::Socket;
use smoltcp::time::Instant;
use std::fs::File;
use std::io::Read;

static CONFIG: Config<'static> = Config::DEFAULT;

/// The operating system's generator; firmware has its hardware's.
struct System(File);

impl Entropy for System {
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), EntropyError> {
        self.0.read_exact(bytes).map_err(|_| EntropyError)
    }
}

/// A host with one socket, and the server it talks to.
struct Client {
    host: tap::Host,
    socket: SocketHandle,
    server: SocketAddrV4,
    next_port: u16,
}

fn main() -> Result<(), tap::Error> {
    let arguments: Vec<_> = std::env::args().collect();
    let [_, tap, address, server] = &arguments[..] else {
        return Err("usage: smoltcp_autobahn_client TAP ADDRESS/PREFIX SERVER:PORT".into());
    };
    let mut host = tap::Host::new(tap, address)?;
    let socket = host.add_socket(4096);
    let mut client = Client {
        host,
        socket,
        server: server.parse()?,
        next_port: 49152,
    };

    let count: usize = client.converse("/getCaseCount")?.parse()?;
    for case in 1..=count {
        client.converse(&format!("/runCase?case={case}&agent=motews"))?;
    }
    client.converse("/updateReports?agent=motews")?;
    println!("{count} cases");
    Ok(())
}

impl Client {
    /// One connection, in which everything is echoed. Returns the text that came, if none is to be echoed.
    fn converse(&mut self, target: &str) -> Result<String, tap::Error> {
        self.next_port = self.next_port.checked_add(1).unwrap_or(49152);
        let tcp = self.host.sockets.get_mut::<Socket<'_>>(self.socket);
        tcp.connect(self.host.interface.context(), self.server, self.next_port)?;
        let name = self.server.to_string();
        let mut system = System(File::open("/dev/urandom")?);
        let request = Request::new(&name, target, &mut system)?;
        let mut client: ClientSocket<'_, _> =
            ClientSocket::new(&CONFIG, request, system, Instant::now());

        let echoes = target.starts_with("/runCase");
        let mut messages = MessageBuffer::new([0; 16]);
        let mut answer = String::new();
        let mut part = [0; 1024];
        loop {
            self.host.poll();
            let tcp = self.host.sockets.get_mut::<Socket<'_>>(self.socket);
            loop {
                let room = client.send_room(tcp).min(part.len());
                let Some(event) = client.poll(tcp, Instant::now(), room) else {
                    break;
                };
                match event {
                    ClientEvent::Response(ResponseEvent::StatusLine { status, .. }) => {
                        assert_eq!(status, 101);
                    }
                    ClientEvent::Received(Event::Data(chunk)) if echoes => {
                        let (kind, last, len) = (chunk.kind, chunk.last, chunk.bytes.len());
                        part[..len].copy_from_slice(chunk.bytes);
                        _ = client.send_fragment(tcp, kind, &part[..len], last);
                    }
                    ClientEvent::Received(Event::Data(chunk)) => {
                        if let Some(Message::Text(text)) = messages.push(chunk)? {
                            answer = text.to_owned();
                        }
                    }
                    ClientEvent::Ended(End::Refused(error)) => return Err(error.into()),
                    ClientEvent::Ended(End::Lost) => return Err("no connection".into()),
                    ClientEvent::Ended(_) => {
                        self.host.poll();
                        return Ok(answer);
                    }
                    _ => {}
                }
            }
            self.host.wait(client.poll_at())?;
        }
    }
}
