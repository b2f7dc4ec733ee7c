//! The client that the Autobahn test suite's `fuzzingserver` wants, on smoltcp over a TAP device.
//!
//! `smoltcp_autobahn_client TAP ADDRESS SERVER:PORT`; see `tap/mod.rs`. It asks how many cases there
//! are, echoes what comes in each of them, and has the reports written. It offers compression with
//! windows of 1 KiB, which only the suite's own cases of compression accept.
#![expect(
    clippy::indexing_slicing,
    reason = "a chunk is no longer than the limit it was polled with"
)]

mod tap;

use core::net::SocketAddrV4;

use motews::deflate::{
    Compressor, Decompressor, DeflateConfig, DeflateContext, DeflateParams, Level, WindowBits,
};
use motews::handshake::{Offers, Request, ResponseEvent};
use motews::{
    Chunk, DataKind, Ended, Entropy, EntropyError, Event, Message, MessageBuffer,
    ProtocolViolation, SendError,
};
use motews_smoltcp::{ClientEvent, ClientSocket, Config};
use smoltcp::iface::SocketHandle;
use smoltcp::socket::tcp::Socket;
use smoltcp::time::Instant;
use std::fs::File;
use std::io::Read;

/// A window of 1 KiB each way.
const KIB: DeflateContext = DeflateContext {
    window_bits: WindowBits::new(10).expect("8 to 15"),
    takeover: true,
};
static CONFIG: Config<'static> = Config {
    offers: Offers::new().deflate(DeflateConfig {
        send: KIB,
        receive: KIB,
    }),
    ..Config::DEFAULT
};

/// The operating system's generator; firmware has its hardware's.
struct System(File);

impl Entropy for System {
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), EntropyError> {
        self.0.read_exact(bytes).map_err(|_| EntropyError)
    }
}

type WebSocket<'a> = ClientSocket<'a, System>;

/// A compressed echo: what waits for room in the transmit ring.
struct Echo {
    decompressor: Decompressor<[u8; 1024]>,
    compressor: Compressor<[u8; 4096]>,
    kind: DataKind,
    /// Compressed bytes, and whether the message begins and ends with them.
    kept: Option<(Vec<u8>, bool, bool)>,
    /// Bytes to send, and whether the message ends with them.
    part: Option<(Vec<u8>, bool)>,
}

impl Echo {
    fn new(agreed: DeflateParams) -> Result<Self, motews::NoRoom> {
        Ok(Self {
            decompressor: Decompressor::new([0; 1024], agreed.receive, u64::MAX)?,
            compressor: Compressor::new([0; 4096], agreed.send, Level::Default)?,
            kind: DataKind::Binary,
            kept: None,
            part: None,
        })
    }

    fn put(&mut self, chunk: &Chunk<'_>) {
        self.kind = chunk.kind;
        let bytes = chunk.bytes.to_vec();
        if chunk.compressed {
            self.kept = Some((bytes, chunk.first, chunk.last));
        } else {
            self.part = Some((bytes, chunk.last));
        }
    }

    /// Sends what there is room for, and tells how many bytes to read then.
    fn poll(
        &mut self,
        client: &mut WebSocket<'_>,
        tcp: &mut Socket<'_>,
    ) -> Result<usize, ProtocolViolation> {
        loop {
            if let Some((part, last)) = &mut self.part {
                match client.send_compressed(tcp, &mut self.compressor, self.kind, part, *last) {
                    Ok(sent) if !sent.done => drop(part.drain(..sent.consumed)),
                    Err(SendError::NoRoom) => return Ok(0),
                    // All of it; or it is no more wanted.
                    _ => self.part = None,
                }
            } else if let Some((bytes, first, last)) = &mut self.kept {
                let mut out = [0; 1024];
                let mut chunk = Chunk::compressed(self.kind, bytes, *first, *last);
                let part = self.decompressor.next(&mut chunk, &mut out)?;
                self.part = part.map(|part| (part.bytes.to_vec(), part.last));
                (*first, *last) = (chunk.first, chunk.last);
                let rest = chunk.bytes.len();
                drop(bytes.drain(..bytes.len() - rest));
                if self.part.is_none() {
                    self.kept = None;
                }
            } else {
                return Ok(1024);
            }
        }
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
        let system = System(File::open("/dev/urandom")?);
        let request = Request::new(&name, target)?;
        let client = ClientSocket::new(&CONFIG, request, system, Instant::now());
        let mut client: WebSocket<'_> = client?;
        let mut compressed: Option<Echo> = None;
        let mut was_open = false;

        let echoes = target.starts_with("/runCase");
        let mut messages = MessageBuffer::new([0; 16]);
        let mut answer = String::new();
        let mut part = [0; 1024];
        loop {
            self.host.poll();
            let tcp = self.host.sockets.get_mut::<Socket<'_>>(self.socket);
            loop {
                let room = match &mut compressed {
                    None => client.send_room(tcp).min(part.len()),
                    Some(echo) => echo.poll(&mut client, tcp).unwrap_or_else(|violation| {
                        client.fail(violation);
                        0
                    }),
                };
                let Some(event) = client.poll(tcp, Instant::now(), room) else {
                    break;
                };
                match event {
                    ClientEvent::Response(ResponseEvent::StatusLine { status, .. }) => {
                        assert_eq!(status, 101);
                    }
                    ClientEvent::Response(ResponseEvent::Done(_)) => {
                        was_open = true;
                        compressed = client.agreed().map(Echo::new).transpose()?;
                    }
                    ClientEvent::Received(Event::Data(chunk)) if echoes => {
                        if let Some(echo) = &mut compressed {
                            echo.put(&chunk);
                            continue;
                        }
                        let (kind, last, len) = (chunk.kind, chunk.last, chunk.bytes.len());
                        part[..len].copy_from_slice(chunk.bytes);
                        _ = client.send_fragment(tcp, kind, &part[..len], last);
                    }
                    ClientEvent::Received(Event::Data(chunk)) => {
                        if let Some(Message::Text(text)) = messages.push(chunk)? {
                            answer = text.to_owned();
                        }
                    }
                    ClientEvent::Ended(end @ (Ended::Handshake(_) | Ended::Refused(_))) => {
                        return Err(end.to_string().into());
                    }
                    ClientEvent::Ended(_) if !was_open => return Err("no connection".into()),
                    ClientEvent::Ended(_) => {
                        self.host.poll();
                        return Ok(answer);
                    }
                    _ => {}
                }
            }
            self.host.wait(client.poll_at(Instant::now()))?;
        }
    }
}
