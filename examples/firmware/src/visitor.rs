//! Those who call the board: a socket for each, with what its visitor came for.

use core::fmt::Write;

use heapless::{String, Vec};
use motews::Timeouts;
use motews::handshake::{HandshakeError, Header, Offers, RequestEvent, Response, path_and_query};
use motews::{Event, Message, MessageBuffer, ProtocolViolation};
use motews_smoltcp::{Config, ServerEvent, ServerSocket};
use smoltcp::iface::{SocketHandle, SocketSet};
use smoltcp::socket::tcp::Socket;
use smoltcp::time::Instant;

use firmware::network;

use crate::codec::{Codec, Codecs, DEFLATE};

static PAGE: &[u8] = include_bytes!("dashboard.html");
static BUSY: &[u8] = b"<!doctype html><meta charset=utf-8>\
    <meta name=viewport content=\"width=device-width\"><meta name=color-scheme content=\"light dark\">\
    <title>Busy</title><h1>The board is busy</h1>\
    <p>It has memory for four connections, and all are in use. Please try again later.";
static HTML: &[(&str, &str)] = &[
    ("Content-Type", "text/html; charset=utf-8"),
    ("Cache-Control", "no-cache"),
];
static HTML_LATER: &[(&str, &str)] = &[
    ("Content-Type", "text/html; charset=utf-8"),
    ("Retry-After", "10"),
];

static CONFIG: Config<'static> = Config {
    offers: Offers::new().deflate(DEFLATE),
    timeouts: Timeouts {
        // A browser opens connections in advance; one that asks for nothing has to go soon.
        handshake: Some(5_000),
        ..Config::DEFAULT.timeouts
    },
    ..Config::DEFAULT
};

/// Bytes of the longest reading: numbers with all their digits, and the outcome of a call.
const READING: usize = 384;

/// What a visitor has the board do.
#[derive(Clone, Copy, Debug, defmt::Format)]
pub(crate) enum Command {
    /// To take so many readings in a second.
    Rate(u32),
    /// To switch the LED.
    Led(bool),
    /// To call the echo server.
    Call,
}

impl Command {
    fn parse(text: &str) -> Option<Self> {
        Some(match text.split_once(' ') {
            Some(("rate", rate)) => Self::Rate(rate.parse().ok()?),
            Some(("led", "on")) => Self::Led(true),
            Some(("led", "off")) => Self::Led(false),
            None if text == "call" => Self::Call,
            _ => return None,
        })
    }
}

/// A socket that listens, and whoever called it.
pub(crate) struct Visitor {
    handle: SocketHandle,
    server: ServerSocket<'static>,
    purpose: Purpose,
}

/// What a visitor came for.
enum Purpose {
    /// Not known yet, or nothing that lasts.
    Request(Head),
    /// Readings, and these have the memory to compress, if there was one left.
    Readings(MessageBuffer<[u8; 32]>, Option<usize>),
    Echo,
    /// An echo with this memory to compress.
    CompressedEcho(usize),
}

impl Visitor {
    pub(crate) const fn new(handle: SocketHandle) -> Self {
        Self {
            handle,
            server: ServerSocket::new(&CONFIG),
            purpose: Purpose::Request(Head::NEW),
        }
    }

    pub(crate) fn listen(&self, sockets: &mut SocketSet<'_>) {
        let tcp = sockets.get_mut::<Socket<'_>>(self.handle);
        if tcp.listen(network::PORT).is_err() {
            defmt::error!("a socket does not listen");
        }
    }

    /// The socket's WebSocket, to look at.
    pub(crate) const fn server(&self) -> &ServerSocket<'static> {
        &self.server
    }

    /// Lets the next one in, if this one has sent nothing.
    pub(crate) fn give_way(&mut self, sockets: &mut SocketSet<'_>) {
        (self.server).give_way(sockets.get_mut::<Socket<'_>>(self.handle));
    }

    /// Whether it has a WebSocket.
    pub(crate) const fn is_open(&self) -> bool {
        !matches!(self.purpose, Purpose::Request(_))
    }

    /// Sends a reading to whoever wants them, a JSON object that lacks its end. One that is slow gets
    /// fewer. There is no secret in it that compression could tell (RFC 7692 §8).
    pub(crate) fn show(&mut self, sockets: &mut SocketSet<'_>, reading: &str, codecs: &mut Codecs) {
        let Purpose::Readings(_, codec) = &self.purpose else {
            return;
        };
        let tcp = sockets.get_mut::<Socket<'_>>(self.handle);
        let mut text = String::<READING>::new();
        // There is room for the longest numbers.
        _ = text.push_str(reading);
        match codec.and_then(|index| codecs.get_mut(index)) {
            Some(codec) => {
                let (received, sent) = (codec.received, codec.sent);
                _ = write!(
                    text,
                    r#","received":[{},{}],"sent":[{},{}]}}"#,
                    received.messages, received.payloads, sent.messages, sent.payloads
                );
                codec.send(&mut self.server, tcp, &text);
            }
            None => {
                _ = text.push('}');
                _ = self.server.send(tcp, Message::Text(&text));
            }
        }
    }

    /// Sees to whatever has happened, up to the next command. `may_open`: there may be one more
    /// WebSocket.
    pub(crate) fn poll(
        &mut self,
        sockets: &mut SocketSet<'_>,
        now: Instant,
        may_open: bool,
        codecs: &mut Codecs,
    ) -> Option<Command> {
        let Self {
            handle,
            server,
            purpose,
        } = self;
        let tcp = sockets.get_mut::<Socket<'_>>(*handle);
        let mut part = [0; 512];
        loop {
            // An echo reads what it has room to answer. Readings read commands.
            let limit = match purpose {
                Purpose::Echo => server.send_room(tcp).min(part.len()),
                Purpose::CompressedEcho(codec) => match codecs.get_mut(*codec) {
                    Some(codec) => {
                        if let Err(violation) = codec.poll(server, tcp) {
                            server.fail(violation);
                        }
                        codec.room()
                    }
                    None => 0,
                },
                _ => usize::MAX,
            };
            match (server.poll(tcp, now, limit)?, &mut *purpose) {
                (ServerEvent::Request(event), Purpose::Request(head)) => match event {
                    RequestEvent::RequestLine { target, .. } => {
                        *head = Head::NEW;
                        head.route = Route::of(target.as_str());
                    }
                    RequestEvent::Header(header) => head.push(&header),
                    RequestEvent::Done(upgrade) => match head.route {
                        Some(_) if !may_open => server.respond(busy()),
                        Some(Route::Readings) if !head.is_same_origin() => {
                            server.respond(response(403, "Forbidden", &[], b""));
                        }
                        Some(route @ (Route::Readings | Route::Echo)) => {
                            let agreed = upgrade.agreed().deflate;
                            let codec = agreed.and_then(|agreed| Codec::begin(codecs, agreed));
                            server.accept(match codec {
                                Some(_) => upgrade,
                                None => upgrade.without_deflate(),
                            });
                            *purpose = match (route, codec) {
                                (Route::Echo, Some(codec)) => Purpose::CompressedEcho(codec),
                                (Route::Echo, None) => Purpose::Echo,
                                (_, codec) => Purpose::Readings(MessageBuffer::new([0; 32]), codec),
                            };
                        }
                        _ => server.respond(response(404, "Not Found", &[], b"")),
                    },
                    _ => {}
                },
                (ServerEvent::Http(HandshakeError::NotUpgrade), Purpose::Request(head)) => {
                    server.respond(match head.route {
                        Some(_) if !may_open => busy(),
                        Some(Route::Page) => response(200, "OK", HTML, PAGE),
                        _ => response(404, "Not Found", &[], b""),
                    });
                }
                (ServerEvent::Received(Event::Data(chunk)), Purpose::Echo) => {
                    let (kind, last) = (chunk.kind, chunk.last);
                    let part = part.get_mut(..chunk.bytes.len()).unwrap_or_default();
                    part.copy_from_slice(chunk.bytes);
                    // There was room for it.
                    _ = server.send_fragment(tcp, kind, part, last);
                }
                (ServerEvent::Received(Event::Data(chunk)), Purpose::CompressedEcho(codec)) => {
                    if let Some(codec) = codecs.get_mut(*codec) {
                        codec.put(chunk);
                    }
                }
                (ServerEvent::Received(Event::Data(chunk)), Purpose::Readings(buffer, codec)) => {
                    let message = match codec.and_then(|index| codecs.get_mut(index)) {
                        Some(codec) => codec.push(buffer, chunk),
                        None => (buffer.push(chunk)).map_err(|_| ProtocolViolation::MessageTooBig),
                    };
                    match message {
                        Ok(Some(Message::Text(text))) => {
                            if let Some(command) = Command::parse(text) {
                                return Some(command);
                            }
                        }
                        Ok(_) => {}
                        Err(violation) => server.fail(violation),
                    }
                }
                (ServerEvent::Ended(end), _) => {
                    let codec = match purpose {
                        Purpose::Readings(_, codec) => *codec,
                        Purpose::CompressedEcho(codec) => Some(*codec),
                        Purpose::Request(_) | Purpose::Echo => None,
                    };
                    if let Some(codec) = codec.and_then(|index| codecs.get_mut(index)) {
                        codec.end();
                    }
                    if !matches!(purpose, Purpose::Request(_)) {
                        defmt::info!("a visitor has left: {}", end);
                    }
                    *purpose = Purpose::Request(Head::NEW);
                    return None;
                }
                _ => {}
            }
        }
    }
}

/// What a request asks for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Route {
    Page,
    Readings,
    Echo,
}

impl Route {
    fn of(target: &str) -> Option<Self> {
        Some(match path_and_query(target).0 {
            "/" => Self::Page,
            "/readings" => Self::Readings,
            "/echo" => Self::Echo,
            _ => return None,
        })
    }
}

/// What is kept of a request.
struct Head {
    route: Option<Route>,
    host: Vec<u8, 64>,
    origin: Vec<u8, 72>,
    /// One of the two has no room.
    is_cut: bool,
}

impl Head {
    const NEW: Self = Self {
        route: None,
        host: Vec::new(),
        origin: Vec::new(),
        is_cut: false,
    };

    fn push(&mut self, header: &Header<'_>) {
        let stored = if header.is("Host") {
            self.host.extend_from_slice(header.value)
        } else if header.is("Origin") {
            self.origin.extend_from_slice(header.value)
        } else {
            Ok(())
        };
        self.is_cut |= stored.is_err();
    }

    /// Whether it comes from the board's own page, or from no browser. RFC 6455 §10.2: another
    /// site's page must not control the board.
    fn is_same_origin(&self) -> bool {
        let authority = self.origin.strip_prefix(b"http://");
        !self.is_cut && (self.origin.is_empty() || authority == Some(&self.host))
    }
}

fn busy() -> Response<'static> {
    response(503, "Service Unavailable", HTML_LATER, BUSY)
}

fn response(
    status: u16,
    reason: &'static str,
    headers: &'static [(&str, &str)],
    body: &'static [u8],
) -> Response<'static> {
    Response::new(status)
        .and_then(|response| response.reason(reason)?.headers(headers))
        .map_or(HandshakeError::NotUpgrade.response(), |response| {
            response.body(body)
        })
}
