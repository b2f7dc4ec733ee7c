//! Compression: what is agreed on, and messages through rings of any size.

use core::cell::Cell;
use std::rc::Rc;

use motews::Side::{Local, Remote};
use motews::deflate::{
    Compressor, Decompressor, DeflateConfig, DeflateContext, DeflateParams, Level, WindowBits,
};
use motews::handshake::{HandshakeError, Offers, Request, RequestEvent, ResponseEvent};
use motews::{
    Chunk, Client, CloseCode, Connection, ConnectionConfig, DataKind, Ended, Entropy, EntropyError,
    Event, Limits, ProtocolViolation, SendError,
};
use motews_smoltcp::{ClientEvent, ClientSocket, Config, ServerEvent, ServerSocket};
use smoltcp::iface::SocketHandle;
use smoltcp::time::Duration;

use crate::support::{ACCEPTED, Faults, Net, REQUEST, Random, Raw, Rig, closed};

const KIB: DeflateContext = DeflateContext {
    window_bits: WindowBits::new(10).unwrap(),
    takeover: true,
};
const DEFLATE: DeflateConfig = DeflateConfig {
    send: KIB,
    receive: KIB,
};

static PACKED: Config<'static> = Config {
    offers: Offers::new().deflate(DEFLATE),
    ..Config::DEFAULT
};

/// What a browser offers.
const OFFER: &str = "permessage-deflate; client_max_window_bits";

/// The usual request, with these extensions.
fn request(extensions: &str) -> String {
    let header = format!("Sec-WebSocket-Extensions: {extensions}\r\n\r\n");
    REQUEST.replace("\r\n\r\n", &format!("\r\n{header}"))
}

/// An echo as firmware has it: what cannot be sent yet waits in little memory.
struct Echo {
    server: ServerSocket<'static>,
    decompressor: Decompressor<Vec<u8>>,
    compressor: Compressor<Vec<u8>>,
    kind: DataKind,
    /// Compressed bytes, and whether the message begins and ends with them.
    kept: Option<(Vec<u8>, bool, bool)>,
    /// Bytes to send, and whether the message ends with them.
    part: Option<(Vec<u8>, bool)>,
}

impl Echo {
    fn new() -> Self {
        Self {
            server: ServerSocket::new(&PACKED),
            decompressor: Decompressor::new(vec![0; 1024], KIB, u64::MAX).unwrap(),
            compressor: Compressor::new(vec![0; 2700], KIB, Level::Fast).unwrap(),
            kind: DataKind::Binary,
            kept: None,
            part: None,
        }
    }

    fn poll(&mut self, net: &mut Net, listener: SocketHandle) {
        let tcp = net.server.tcp(listener);
        loop {
            while let Some((part, last)) = &mut self.part {
                let compressor = &mut self.compressor;
                match (self.server).send_compressed(tcp, compressor, self.kind, part, *last) {
                    Ok(sent) => {
                        drop(part.drain(..sent.consumed));
                        if sent.done {
                            assert!(part.is_empty(), "all of it is taken");
                            self.part = None;
                        }
                    }
                    Err(SendError::NoRoom) => break,
                    Err(error) => panic!("{error}"),
                }
            }
            if self.part.is_none()
                && let Some((bytes, first, last)) = &mut self.kept
            {
                let mut out = [0; 50];
                let mut chunk = Chunk::compressed(self.kind, bytes, *first, *last);
                let part = self.decompressor.next(&mut chunk, &mut out).unwrap();
                self.part = part.map(|part| (part.bytes.to_vec(), part.last));
                (*first, *last) = (chunk.first, chunk.last);
                let rest = chunk.bytes.len();
                bytes.drain(..bytes.len() - rest);
                if self.part.is_none() {
                    self.kept = None;
                }
                continue;
            }
            let limit = if self.part.is_some() { 0 } else { 64 };
            match self.server.poll(tcp, net.now, limit) {
                None => return,
                Some(ServerEvent::Request(RequestEvent::Done(upgrade))) => {
                    if let Some(agreed) = upgrade.agreed().deflate {
                        self.decompressor.reset_with(agreed.receive).unwrap();
                        self.compressor.reset_with(agreed.send).unwrap();
                    }
                    self.server.accept(upgrade);
                }
                Some(ServerEvent::Received(Event::Data(chunk))) => {
                    self.kind = chunk.kind;
                    let bytes = chunk.bytes.to_vec();
                    if chunk.compressed {
                        self.kept = Some((bytes, chunk.first, chunk.last));
                    } else {
                        self.part = Some((bytes, chunk.last));
                    }
                }
                Some(_) => {}
            }
        }
    }
}

/// Sends a request with these extensions, and gives the answer's.
fn agree(
    net: &mut Net,
    raw: &mut Raw,
    echo: &mut Echo,
    offer: &str,
    rx: usize,
    tx: usize,
) -> (SocketHandle, String) {
    let listener = net.server.listener(rx, tx, 80);
    raw.send(request(offer));
    let answered = net.run(Duration::from_secs(5), |net| {
        echo.poll(net, listener);
        raw.poll(&mut net.client);
        raw.received.ends_with(b"\r\n\r\n")
    });
    assert!(answered);
    let answer = String::from_utf8(raw.take()).unwrap();
    assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
    let extensions = answer
        .lines()
        .find_map(|line| line.strip_prefix("Sec-WebSocket-Extensions: "));
    (listener, extensions.unwrap_or_default().to_owned())
}

/// Messages of all kinds, and whether to compress them.
fn messages() -> Vec<(DataKind, Vec<u8>, bool)> {
    let prose: String = (0..400)
        .map(|at| format!("{{\"at\":{at},\"grüße\":{}}} ", at * 7919 % 1000))
        .collect();
    let noise: Vec<u8> = (0..5000_u32)
        .map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect();
    vec![
        (DataKind::Text, prose.clone().into_bytes(), true),
        (DataKind::Binary, Vec::new(), true),
        (DataKind::Binary, noise, true),
        (DataKind::Text, b"not compressed".to_vec(), false),
        (DataKind::Binary, vec![7; 50_000], true),
        (DataKind::Text, prose.into_bytes(), true),
    ]
}

#[test]
fn agreed_compression_echoes_through_rings_of_any_size() {
    let messages = messages();
    for (rx, tx) in [
        (64, 40),
        (1, 60),
        (64, 131),
        (200, 150),
        (313, 1000),
        (4096, 4096),
    ] {
        let mut net = Net::new(Faults::default(), 7);
        let mut raw = Raw::connect(&mut net, 4096);
        let mut echo = Echo::new();
        let (listener, answer) = agree(&mut net, &mut raw, &mut echo, OFFER, rx, tx);
        assert_eq!(answer, "permessage-deflate; client_max_window_bits=10");

        let config = ConnectionConfig {
            max_message_len: u64::MAX,
            compression: true,
        };
        let mut client: Connection<Client<Random>> =
            Connection::with_config(Client::new(Random(3)), config);
        let mut compressor = Compressor::new(vec![0; 8192], KIB, Level::Default).unwrap();
        let full = DeflateContext::default();
        let mut decompressor = Decompressor::new(vec![0; 1 << 15], full, u64::MAX).unwrap();
        for (kind, message, compressed) in &messages {
            let mut frame = vec![0; 60_000];
            let len = if *compressed {
                let sent = compressor.send_fragment(&mut client, *kind, message, true, &mut frame);
                let sent = sent.unwrap();
                assert!(sent.done);
                sent.written
            } else {
                let text = core::str::from_utf8(message).unwrap();
                client
                    .send(motews::Message::Text(text), &mut frame)
                    .unwrap()
            };
            raw.send(&frame[..len]);
            let (mut received, mut wire, mut ended) = (Vec::new(), 0, false);
            let came = net.run(Duration::from_secs(60), |net| {
                echo.poll(net, listener);
                raw.poll(&mut net.client);
                let mut bytes = raw.take();
                wire += bytes.len();
                let mut input = &mut bytes[..];
                while let Some(event) = client.next_event(&mut input).unwrap() {
                    let Event::Data(mut chunk) = event else {
                        panic!("{event:?}")
                    };
                    assert!(chunk.compressed);
                    let mut out = [0; 1000];
                    while let Some(part) = decompressor.next(&mut chunk, &mut out).unwrap() {
                        assert_eq!(part.kind, *kind);
                        received.extend_from_slice(part.bytes);
                        ended |= part.last;
                    }
                }
                ended
            });
            assert!(
                came,
                "rings of {rx} and {tx}: {} of {}",
                received.len(),
                message.len()
            );
            assert!(received == *message, "rings of {rx} and {tx}");
            if message.len() == 50_000 {
                assert!(wire < 2_000, "{wire} octets");
            }
        }
    }
}

#[test]
fn offer_that_does_not_fit_the_memory_is_declined() {
    for (offer, answer) in [
        ("permessage-deflate", ""),
        ("permessage-deflate; server_max_window_bits=9", ""),
        (
            "permessage-deflate; client_max_window_bits=9",
            "permessage-deflate; client_max_window_bits=9",
        ),
        (
            "x-other, permessage-deflate; server_max_window_bits=12; client_max_window_bits",
            "permessage-deflate; server_max_window_bits=10; client_max_window_bits=10",
        ),
    ] {
        let mut net = Net::new(Faults::default(), 7);
        let mut raw = Raw::connect(&mut net, 4096);
        let given = agree(&mut net, &mut raw, &mut Echo::new(), offer, 500, 500).1;
        assert_eq!(given, answer, "{offer}");
    }
}

/// An offer that is longer than the line, and one in the next header.
#[test]
fn offer_in_parts_is_accepted() {
    let long = format!("x-other; a={}, {OFFER}", "b".repeat(1000));
    let split = format!("x-other\r\nSec-WebSocket-Extensions: {OFFER}");
    for offer in [long, split] {
        let mut net = Net::new(Faults::default(), 7);
        let mut raw = Raw::connect(&mut net, 4096);
        let given = agree(&mut net, &mut raw, &mut Echo::new(), &offer, 500, 500).1;
        assert_eq!(given, "permessage-deflate; client_max_window_bits=10");
    }
}

#[test]
fn connection_without_an_agreement_refuses_to_compress() {
    let mut rig = Rig::open(500, 500);
    let mut compressor = Compressor::new([0; 2700], KIB, Level::Fast).unwrap();
    let tcp = rig.net.server.tcp(rig.listener);
    let sent = (rig.server).send_compressed(tcp, &mut compressor, DataKind::Text, b"x", true);
    assert_eq!(sent, Err(SendError::CompressionNotNegotiated));
    assert!(rig.server.is_open());
}

/// A server with no memory left goes on without.
#[test]
fn offer_that_is_accepted_without_compression_has_none() {
    let mut rig = Rig::new(500, 500);
    rig.server = ServerSocket::new(&PACKED);
    rig.raw.send(request(OFFER));
    let opened = rig.net.run(Duration::from_secs(1), |net| {
        let tcp = net.server.tcp(rig.listener);
        while let Some(event) = rig.server.poll(tcp, net.now, 0) {
            if let ServerEvent::Request(RequestEvent::Done(upgrade)) = event {
                assert!(upgrade.agreed().deflate.is_some());
                rig.server.accept(upgrade.without_deflate());
            }
        }
        rig.raw.poll(&mut net.client);
        rig.server.is_open() && rig.raw.received.len() >= ACCEPTED.len()
    });
    assert!(opened);
    assert_eq!(rig.server.agreed(), None);
    assert_eq!(rig.raw.take(), ACCEPTED.as_bytes());
    let mut compressor = Compressor::new([0; 2700], KIB, Level::Fast).unwrap();
    let tcp = rig.net.server.tcp(rig.listener);
    let sent = (rig.server).send_compressed(tcp, &mut compressor, DataKind::Text, b"x", true);
    assert_eq!(sent, Err(SendError::CompressionNotNegotiated));
}

/// A frame that goes across the wrap is no longer than the room there is.
#[test]
fn send_compressed_at_the_wrap_of_a_tiny_ring_loses_nothing() {
    let mut net = Net::new(Faults::default(), 7);
    let mut raw = Raw::connect(&mut net, 4096);
    let mut echo = Echo::new();
    let (listener, _) = agree(&mut net, &mut raw, &mut echo, OFFER, 200, 40);
    while net.server.tcp(listener).send_queue() > 0 {
        net.step();
    }
    // Of 40 bytes, 19 are acknowledged and 20 are on their way: there is room for 1 and 19 more.
    assert_eq!(net.server.tcp(listener).send_slice(&[0; 19]), Ok(19));
    net.step();
    assert_eq!(net.server.tcp(listener).send_slice(&[0; 20]), Ok(20));
    while net.server.tcp(listener).send_queue() > 20 {
        net.step();
    }
    let noise: Vec<u8> = (0..60_u8).map(|at| at.wrapping_mul(151)).collect();
    let tcp = net.server.tcp(listener);
    assert_eq!(tcp.send_queue(), 20);
    let sent = (echo.server)
        .send_compressed(tcp, &mut echo.compressor, DataKind::Binary, &noise, true)
        .unwrap();
    assert!(!sent.done);
    assert_eq!(tcp.send_queue(), 20 + sent.written);
}

/// A generator that fails once: for the frame after so many others.
struct Failing(Random, Rc<Cell<Option<u8>>>);

impl Entropy for Failing {
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), EntropyError> {
        match self.1.take() {
            Some(0) => return Err(EntropyError),
            left => self.1.set(left.map(|left| left - 1)),
        }
        self.0.fill(bytes)
    }
}

/// A client that offers compression, and sends messages one after the other.
struct Caller {
    client: ClientSocket<'static, Failing>,
    fails: Rc<Cell<Option<u8>>>,
    socket: SocketHandle,
    decompressor: Decompressor<Vec<u8>>,
    compressor: Compressor<Vec<u8>>,
    /// Bytes of the message that are taken.
    sent: usize,
    is_sent: bool,
    received: Vec<u8>,
    /// Bytes of payload, as they came and as they went.
    payload: (usize, usize),
    end: Option<Ended>,
}

impl Caller {
    /// One that calls, with rings of these sizes.
    fn new(net: &mut Net, deflate: DeflateConfig, rx: usize, tx: usize) -> Self {
        let config = Box::leak(Box::new(Config {
            offers: Offers::new().deflate(deflate),
            ..Config::DEFAULT
        }));
        let socket = net.client.socket(rx, tx);
        let address = net.server.address;
        net.client.connect(socket, address, 80);
        let random = Random(7);
        let request = Request::new("10.0.0.1", "/echo").unwrap();
        let fails = Rc::new(Cell::new(None));
        let entropy = Failing(random, Rc::clone(&fails));
        let client = ClientSocket::new(config, request, entropy, net.now).unwrap();
        Self {
            client,
            fails,
            socket,
            decompressor: Decompressor::new(vec![0; 1 << 15], deflate.receive, u64::MAX).unwrap(),
            compressor: Compressor::new(vec![0; 1 << 17], deflate.send, Level::Fast).unwrap(),
            sent: 0,
            is_sent: true,
            received: Vec::new(),
            payload: (0, 0),
            end: None,
        }
    }

    /// Sends what there is room for, receives, and tells whether a message has ended.
    fn poll(&mut self, net: &mut Net, kind: DataKind, message: &[u8], compressed: bool) -> bool {
        let tcp = net.client.tcp(self.socket);
        while let Some(event) = self.client.poll(tcp, net.now, usize::MAX) {
            match event {
                ClientEvent::Response(ResponseEvent::Done(_)) => {
                    let agreed = self.client.agreed().unwrap();
                    self.decompressor.reset_with(agreed.receive).unwrap();
                    self.compressor.reset_with(agreed.send).unwrap();
                }
                ClientEvent::Received(Event::Data(mut chunk)) => {
                    self.payload.0 += chunk.bytes.len();
                    let mut out = [0; 777];
                    while let Some(part) = self.decompressor.next(&mut chunk, &mut out).unwrap() {
                        assert_eq!(part.kind, kind);
                        self.received.extend_from_slice(part.bytes);
                        if part.last {
                            return true;
                        }
                    }
                }
                ClientEvent::Ended(end) => self.end = Some(end),
                _ => {}
            }
        }
        while !self.is_sent && self.client.is_open() {
            let rest = &message[self.sent..];
            if compressed {
                let compressor = &mut self.compressor;
                match (self.client).send_compressed(tcp, compressor, kind, rest, true) {
                    Ok(sent) => {
                        assert!(sent.compressed < sent.written || sent.written == 0);
                        self.payload.1 += sent.compressed;
                        self.sent += sent.consumed;
                        self.is_sent = sent.done;
                    }
                    Err(SendError::NoRoom) => break,
                    Err(error) => panic!("{error}"),
                }
            } else {
                if self.client.send_room(tcp) == 0 {
                    break;
                }
                self.sent += self.client.send_fragment(tcp, kind, rest, true).unwrap();
                self.is_sent = self.sent == message.len();
            }
        }
        false
    }
}

/// Both roles, with rings of each size for each, and each thing that a client can want.
#[test]
fn client_and_server_compress_through_rings_of_any_size() {
    let context = |bits, takeover| DeflateContext {
        window_bits: WindowBits::new(bits).unwrap(),
        takeover,
    };
    let deflate = |send, receive| DeflateConfig { send, receive };
    for (wanted, agreed, (rx, tx)) in [
        (DEFLATE, DEFLATE, (64, 60)),
        (DEFLATE, DEFLATE, (1, 131)),
        (
            DeflateConfig::MAX,
            deflate(KIB, DeflateConfig::MAX.receive),
            (4096, 4096),
        ),
        (
            deflate(context(9, false), context(9, false)),
            deflate(context(9, false), context(9, false)),
            (313, 200),
        ),
        (
            deflate(context(15, false), context(8, true)),
            deflate(context(10, false), context(8, true)),
            (200, 313),
        ),
    ] {
        let mut net = Net::new(Faults::default(), 7);
        let mut echo = Echo::new();
        let listener = net.server.listener(tx, rx.max(40), 80);
        let mut caller = Caller::new(&mut net, wanted, rx, tx);
        assert_eq!(caller.client.agreed(), None);
        for (kind, message, compressed) in messages() {
            (caller.sent, caller.is_sent) = (0, false);
            caller.received.clear();
            caller.payload = (0, 0);
            let came = net.run(Duration::from_secs(60), |net| {
                echo.poll(net, listener);
                caller.poll(net, kind, &message, compressed)
            });
            assert!(
                came,
                "rings of {rx} and {tx}: {} of {} octets, {:?}",
                caller.received.len(),
                message.len(),
                caller.end
            );
            assert!(caller.received == message, "rings of {rx} and {tx}");
            if message.len() == 50_000 {
                assert!(caller.payload.0 < 2_000, "{:?} octets", caller.payload);
                assert!(caller.payload.1 < 2_000, "{:?} octets", caller.payload);
            }
        }
        let DeflateConfig { send, receive } = agreed;
        let own = DeflateParams { send, receive };
        assert_eq!(caller.client.agreed(), Some(own));
        let theirs = DeflateParams {
            send: receive,
            receive: send,
        };
        assert_eq!(
            echo.server.agreed().map(|it| it.receive),
            Some(theirs.receive)
        );

        caller.client.close(CloseCode::NORMAL, "").unwrap();
        net.run(Duration::from_secs(5), |net| {
            echo.poll(net, listener);
            caller.poll(net, DataKind::Text, &[], true);
            caller.end.is_some()
        });
        assert_eq!(caller.end, Some(closed(Local, CloseCode::NORMAL)));
        assert_eq!(caller.client.agreed(), None);
    }
}

/// What went out before the generator of masking keys failed is told: whoever sends the rest sends
/// nothing twice.
#[test]
fn send_compressed_without_a_key_for_its_second_frame_tells_of_the_first() {
    let mut net = Net::new(Faults::default(), 7);
    let mut echo = Echo::new();
    let listener = net.server.listener(4096, 4096, 80);
    let mut caller = Caller::new(&mut net, DEFLATE, 400, 120);
    net.run(Duration::from_secs(5), |net| {
        echo.poll(net, listener);
        caller.poll(net, DataKind::Text, &[], true);
        caller.client.is_open()
    });
    let socket = caller.socket;
    while net.client.tcp(socket).send_queue() > 0 {
        net.step();
    }
    // Of 120 bytes, 60 are acknowledged and 40 are on their way: there is room for 20 and 60 more.
    assert_eq!(net.client.tcp(socket).send_slice(&[0; 60]), Ok(60));
    net.step();
    assert_eq!(net.client.tcp(socket).send_slice(&[0; 40]), Ok(40));
    while net.client.tcp(socket).send_queue() > 40 {
        net.step();
    }
    let noise: Vec<u8> = (0..60_u8).map(|at| at.wrapping_mul(151)).collect();
    let tcp = net.client.tcp(socket);
    caller.fails.set(Some(1));
    let compressor = &mut caller.compressor;
    let sent = (caller.client)
        .send_compressed(tcp, compressor, DataKind::Binary, &noise, true)
        .unwrap();
    assert_eq!(caller.fails.get(), None, "it has failed");
    assert!(sent.written > 0 && !sent.done);
    assert_eq!(tcp.send_queue(), 40 + sent.written);
}

/// The nonce of RFC 6455 §1.3 first, to which [`ACCEPTED`] is the answer.
struct Sample(Random);

impl Entropy for Sample {
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), EntropyError> {
        match bytes.len() {
            16 => bytes.copy_from_slice(b"the sample nonce"),
            _ => self.0.fill(bytes)?,
        }
        Ok(())
    }
}

/// What a client comes to, whose request offers [`DEFLATE`] or nothing, given an answer with these
/// headers and frames: its request, whether it has opened with what, and its end.
fn answered(
    offer: Option<DeflateConfig>,
    headers: &str,
    frames: &[u8],
) -> (String, Option<Option<DeflateParams>>, Option<Ended>) {
    let offers = Offers::new();
    let config = Config {
        limits: Limits {
            message: 10,
            ..Limits::DEFAULT
        },
        offers: offer.map_or(offers, |offer| offers.deflate(offer)),
        ..Config::DEFAULT
    };
    let mut net = Net::new(Faults::default(), 1);
    let mut raw = Raw::new(net.server.listener(500, 500, 80));
    let socket = net.client.socket(300, 300);
    let address = net.server.address;
    net.client.connect(socket, address, 80);
    let request = Request::new("10.0.0.1", "/").unwrap();
    let entropy = Sample(Random(3));
    let mut client: ClientSocket<'_, _, 48> =
        ClientSocket::new(&config, request, entropy, net.now).unwrap();
    let mut decompressor = Decompressor::new(vec![0; 1 << 15], KIB, 10).unwrap();
    let (mut request, mut opened, mut end) = (String::new(), None, None);
    net.run(Duration::from_secs(30), |net| {
        raw.poll(&mut net.server);
        if raw.received.ends_with(b"\r\n\r\n") {
            request = String::from_utf8(raw.take()).unwrap();
            let head = ACCEPTED.strip_suffix("\r\n").unwrap();
            raw.send(head);
            raw.send(headers);
            raw.send("\r\n");
            raw.send(frames);
        }
        let tcp = net.client.tcp(socket);
        while let Some(event) = client.poll(tcp, net.now, 100) {
            match event {
                ClientEvent::Response(ResponseEvent::Done(_)) => opened = Some(client.agreed()),
                ClientEvent::Received(Event::Data(mut chunk)) => {
                    let result = loop {
                        match decompressor.next(&mut chunk, &mut [0; 20]) {
                            Ok(Some(_)) => {}
                            result => break result.err(),
                        }
                    };
                    if let Some(violation) = result {
                        client.fail(violation);
                    }
                }
                ClientEvent::Ended(ended) => end = Some(ended),
                _ => {}
            }
        }
        end.is_some() || opened.is_some() && frames.is_empty()
    });
    (request, opened, end)
}

#[test]
fn client_offers_what_it_has_memory_for() {
    for (offer, line) in [
        (None, ""),
        (
            Some(DEFLATE),
            "permessage-deflate; server_max_window_bits=10; client_max_window_bits=10",
        ),
        (
            Some(DeflateConfig::MAX),
            "permessage-deflate; client_max_window_bits",
        ),
    ] {
        let (request, opened, _) = answered(offer, "", b"");
        let mut lines = request.lines();
        let offered = lines.find_map(|line| line.strip_prefix("Sec-WebSocket-Extensions: "));
        assert_eq!(offered.unwrap_or_default(), line);
        // It is declined, and the connection goes on without.
        assert_eq!(opened, Some(None));
    }
}

/// PD01 PD03 PD07 PD09 PD12
#[test]
fn client_given_an_answer_agrees_or_fails() {
    let bits = |bits| WindowBits::new(bits).unwrap();
    let kib = "Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=10";
    let smaller = DeflateParams {
        send: DeflateContext {
            window_bits: bits(8),
            takeover: false,
        },
        receive: DeflateContext {
            window_bits: bits(9),
            takeover: false,
        },
    };
    for (answer, agreed) in [
        (
            format!("{kib}\r\n"),
            Some(DeflateParams {
                send: KIB,
                receive: KIB,
            }),
        ),
        (
            // The longest there is.
            "Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover; \
             client_no_context_takeover; server_max_window_bits=9; client_max_window_bits=8\r\n"
                .to_owned(),
            Some(smaller),
        ),
        // It keeps a larger window, and does not say that it would not.
        (kib.replace("=10", "=11") + "\r\n", None),
        (
            kib.replace("; server_max_window_bits=10", "") + "\r\n",
            None,
        ),
        (format!("{kib}; client_max_window_bits\r\n"), None),
        (format!("{kib}; unknown\r\n"), None),
        // Twice.
        (format!("{kib}\r\n{kib}\r\n"), None),
        (
            format!("{kib}, permessage-deflate; server_max_window_bits=10\r\n"),
            None,
        ),
        // What was not offered.
        ("Sec-WebSocket-Extensions: x-other\r\n".to_owned(), None),
    ] {
        let (_, opened, end) = answered(Some(DEFLATE), &answer, b"");
        assert_eq!(opened, agreed.map(Some), "{answer}");
        let refused = Ended::Handshake(HandshakeError::Extensions);
        assert_eq!(end, agreed.is_none().then_some(refused), "{answer}");
        // Nothing may be answered that was not offered.
        let (_, opened, end) = answered(None, &answer, b"");
        assert_eq!((opened, end), (None, Some(refused)), "{answer}");
    }
}

/// PD15 PD22 PD27
#[test]
fn client_receiving_polices_what_is_compressed() {
    let kib = "Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=10\r\n";
    let hello = b"\xc1\x07\xf2\x48\xcd\xc9\xc9\x07\x00\x88\x02\x03\xe8";
    let closed = Some(closed(Remote, CloseCode::NORMAL));
    assert_eq!(answered(Some(DEFLATE), kib, hello).2, closed);
    // Declined: the bit has no meaning.
    let failed = |violation| Some(Ended::Violation(violation));
    let reserved = answered(Some(DEFLATE), "", hello).2;
    assert_eq!(reserved, failed(ProtocolViolation::ReservedBit));
    // Not what the codes allow.
    let malformed = answered(Some(DEFLATE), kib, b"\xc1\x01\xff").2;
    assert_eq!(malformed, failed(ProtocolViolation::Compression));
    // 11 bytes, one more than the limit, in 6.
    let bomb = answered(Some(DEFLATE), kib, b"\xc2\x06\xaa\xa8\x80\x03\x00\x00").2;
    assert_eq!(bomb, failed(ProtocolViolation::MessageTooBig));
}
