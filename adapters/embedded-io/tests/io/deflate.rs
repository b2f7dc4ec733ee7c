//! Compressed messages (RFC 7692), in both modes and both roles.

use core::pin::pin;
use core::task::{Poll, Waker};

use motews::deflate::{
    Compressor, Decompressor, DeflateConfig, DeflateContext, DeflateParams, Deflated, Deflater,
    Level, WindowBits, wire_limit,
};
use motews::handshake::{HandshakeError, Request};
use motews::{
    Client, CloseCode, Connection, ConnectionConfig, DataKind, Ended, Event, Limits, Message,
    MessageBuffer, NoRoom, ProtocolViolation, Role, SendError, Server,
};
use motews_embedded_io::deflate::{Deflate, Memory};
use motews_embedded_io::{Config, Duplex, Error, asynch, blocking};

use crate::support::{
    Got, Hand, Keys, NotNow, REQUEST, RESPONSE, Script, binary, block_on, buffers, frame, head_len,
    owned, poll, text,
};

const KEY: Option<[u8; 4]> = Some([1, 2, 3, 4]);
const HEADER: &str = "Sec-WebSocket-Extensions: ";

type Blocking<'a, R> = blocking::WebSocket<'a, Script, R>;
type Async<'a, R> = asynch::WebSocket<'a, Script, R>;

pub(crate) fn context(bits: u8, takeover: bool) -> DeflateContext {
    DeflateContext {
        window_bits: WindowBits::new(bits).expect("8 to 15"),
        takeover,
    }
}

pub(crate) fn both(bits: u8, takeover: bool) -> DeflateConfig {
    DeflateConfig {
        send: context(bits, takeover),
        receive: context(bits, takeover),
    }
}

/// What a side needs.
pub(crate) struct Owned {
    pub(crate) window: Vec<u8>,
    pub(crate) deflater: Vec<u8>,
    pub(crate) parts: Vec<u8>,
}

impl Owned {
    /// With parts of so many bytes.
    pub(crate) fn new(config: DeflateConfig, parts: usize) -> Self {
        Self {
            window: vec![0; config.receive.window_bits.size()],
            deflater: vec![0; Deflater::<Vec<u8>>::min_memory(config.send.window_bits)],
            parts: vec![0; parts],
        }
    }

    pub(crate) fn try_deflate(&mut self, config: DeflateConfig) -> Result<Deflate<'_>, NoRoom> {
        let memory = Memory {
            window: &mut self.window,
            deflater: &mut self.deflater,
            parts: &mut self.parts,
        };
        Deflate::new(config, Level::Default, memory)
    }

    pub(crate) fn deflate(&mut self, config: DeflateConfig) -> Deflate<'_> {
        self.try_deflate(config).expect("room")
    }
}

/// What a side needs, with parts of so many bytes.
pub(crate) fn memory(config: DeflateConfig, parts: usize) -> Owned {
    Owned::new(config, parts)
}

/// Compression for the rest of the test.
pub(crate) fn deflate(config: DeflateConfig, memory: Owned) -> &'static mut Deflate<'static> {
    let memory = Box::leak(Box::new(memory));
    Box::leak(Box::new(memory.deflate(config)))
}

/// What was agreed upon, to be compared with what was wanted.
pub(crate) fn config(agreed: DeflateParams) -> DeflateConfig {
    let DeflateParams { send, receive } = agreed;
    DeflateConfig { send, receive }
}

/// A head with these extensions in it.
pub(crate) fn extended(head: &[u8], extensions: &[&str]) -> Vec<u8> {
    let mut head = head[..head.len() - 2].to_vec();
    for extension in extensions {
        head.extend(format!("{HEADER}{extension}\r\n").bytes());
    }
    [&head[..], b"\r\n"].concat()
}

/// The head at the start of `wire` as text.
fn head(wire: &[u8]) -> String {
    String::from_utf8(wire[..head_len(wire)].to_vec()).expect("ASCII")
}

/// The payload of a compressed message.
pub(crate) fn deflated(context: DeflateContext, messages: &[&[u8]]) -> Vec<Vec<u8>> {
    let memory = vec![0; Deflater::<Vec<u8>>::full_memory(context.window_bits)];
    let mut compressor = Compressor::new(memory, context, Level::Best).expect("room");
    let deflate = |message: &&[u8]| {
        let (mut out, mut filled) = (vec![0; message.len() + message.len() / 8 + 16], 0);
        let done = compressor.compress(&mut &message[..], true, &mut out, &mut filled);
        assert_eq!(done, Deflated::All);
        out.truncate(filled);
        out
    };
    messages.iter().map(deflate).collect()
}

/// Messages that repeat themselves, that cannot be compressed, none, and a long one.
pub(crate) fn messages() -> Vec<Message<'static>> {
    static LONG: [u8; 1500] = {
        let mut long = [0; 1500];
        let mut n = 0;
        while n < long.len() {
            long[n] = b"{\"value\":"[n % 9].wrapping_add((n / 100) as u8);
            n += 1;
        }
        long
    };
    static NOISE: [u8; 200] = {
        let (mut noise, mut n, mut seed) = ([0; 200], 0, 1_u32);
        while n < noise.len() {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            noise[n] = (seed >> 24) as u8;
            n += 1;
        }
        noise
    };
    vec![
        Message::Text("Grüße, Grüße, und noch einmal viele Grüße"),
        Message::Text("Grüße, Grüße, und noch einmal viele Grüße"),
        Message::Binary(&LONG),
        Message::Text(""),
        Message::Binary(&NOISE),
        Message::Text("kurz"),
    ]
}

/// What a peer that compresses like `context` says: each message in fragments of at most
/// `fragment` bytes, with a ping in the midst, each third one uncompressed; and a Close.
pub(crate) fn talk(
    context: Option<DeflateContext>,
    fragment: usize,
    key: Option<[u8; 4]>,
) -> Vec<u8> {
    let messages = messages();
    let mut wire = Vec::new();
    let packed: Vec<_> = match context {
        Some(context) => {
            let those = messages.iter().enumerate().filter(|(n, _)| n % 3 != 2);
            let those: Vec<_> = those.map(|(_, message)| message.as_bytes()).collect();
            deflated(context, &those)
        }
        None => Vec::new(),
    };
    let mut packed = packed.into_iter();
    for (n, message) in messages.iter().enumerate() {
        let mut opcode = match message.kind() {
            DataKind::Text => 0x01,
            DataKind::Binary => 0x02,
        };
        let mut payload = message.as_bytes().to_vec();
        if context.is_some() && n % 3 != 2 {
            opcode |= 0x40;
            payload = packed.next().expect("one for each");
        }
        let mut parts: Vec<_> = payload.chunks(fragment).collect();
        if parts.is_empty() {
            parts.push(&[]);
        }
        let count = parts.len();
        for (part, payload) in parts.into_iter().enumerate() {
            let fin = if part + 1 == count { 0x80 } else { 0 };
            wire.extend(frame(fin | opcode, payload, key));
            opcode = 0;
            if n == 2 && part == 0 {
                wire.extend(frame(0x89, b"ping", key));
            }
        }
    }
    wire.extend(frame(0x88, &[3, 232], key));
    wire
}

/// What a peer reads, and which of its messages were compressed.
pub(crate) fn read<R: Role>(
    role: R,
    wire: &[u8],
    context: Option<DeflateContext>,
) -> (Vec<Got>, Vec<bool>) {
    let config = ConnectionConfig {
        compression: context.is_some(),
        ..ConnectionConfig::default()
    };
    let mut connection: Connection<R> = Connection::with_config(role, config);
    let window = vec![0; context.unwrap_or_default().window_bits.size()];
    let decompressor = Decompressor::new(window, context.unwrap_or_default(), u64::MAX);
    let mut decompressor = decompressor.expect("room");
    let mut wire = wire[head_len(wire)..].to_vec();
    let mut input = &mut wire[..];
    let (mut got, mut open, mut compressed) = (Vec::new(), false, Vec::new());
    while let Some(event) = connection.next_event(&mut input).expect("frames") {
        let Event::Data(mut chunk) = event else {
            Got::add(&mut got, &mut open, event);
            continue;
        };
        if chunk.first {
            compressed.push(chunk.compressed);
        }
        let mut out = [0; 100];
        while let Some(part) = decompressor.next(&mut chunk, &mut out).expect("inflates") {
            Got::add(&mut got, &mut open, Event::Data(part));
        }
    }
    (got, compressed)
}

/// What comes back from an echo, whole and in order; the pong is somewhere.
fn check(mut got: Vec<Got>) {
    let pong = Got::Pong(b"ping".to_vec());
    let at = got.iter().position(|got| *got == pong).expect("a pong");
    got.remove(at);
    let mut expected: Vec<_> = messages().into_iter().map(owned).collect();
    expected.push(Got::Close(Some((CloseCode::NORMAL, String::new()))));
    assert_eq!(got, expected);
}

/// How an operation of each mode is brought to its end.
macro_rules! now {
    ($result:expr) => {
        $result
    };
}
macro_rules! wait {
    ($future:expr) => {
        block_on($future)
    };
}

/// Sends it all back, as it comes.
macro_rules! echo_parts {
    ($ws:expr, $run:ident) => {
        while let Some((chunk, reply)) = $run!($ws.next_chunk()).expect("a part") {
            assert!(!chunk.compressed);
            let mut rest = &*chunk.bytes;
            loop {
                let taken = $run!(reply.send_fragment(chunk.kind, rest, chunk.last));
                rest = &rest[taken.expect("it is open")..];
                if rest.is_empty() {
                    break;
                }
            }
        }
    };
}

/// The same message by message, each second one uncompressed.
macro_rules! echo_whole {
    ($ws:expr, $run:ident) => {
        let mut messages = MessageBuffer::new([0; 1500]);
        let mut number = 0;
        while let Some(message) = $run!($ws.recv(&mut messages)).expect("a message") {
            let (kind, bytes) = (message.kind(), message.as_bytes().to_vec());
            let message = Message::new(kind, &bytes).expect("it was one");
            number += 1;
            let sent = match number % 2 {
                0 => $run!($ws.send_uncompressed(message)),
                _ => $run!($ws.send(message)),
            };
            if sent == Err(Error::Send(SendError::NoRoom)) {
                let mut rest = &bytes[..];
                while !rest.is_empty() {
                    let taken = $run!($ws.send_fragment(kind, rest, true));
                    rest = &rest[taken.expect("it is open")..];
                }
            } else {
                sent.expect("it is open");
            }
        }
    };
}

/// An echo in one mode; what it has written, and what was agreed upon.
macro_rules! served {
    ($mode:ident, $run:ident, $wire:expr, $case:expr) => {{
        let Case {
            ours,
            size,
            chunk,
            parts,
            ..
        } = $case;
        let script = Script::new($wire, chunk, stringify!($run) == "wait");
        let ws: $mode<'_, _> = $mode::server(script.clone(), buffers(size, size)).expect("room");
        let mut ws = ws.with_deflate(deflate(ours, memory(ours, parts.max(1))));
        assert_eq!(ws.deflate(), None);
        $run!(ws.accept()).expect("a request");
        if parts > 0 {
            echo_parts!(ws, $run);
        } else {
            echo_whole!(ws, $run);
        }
        assert!(ws.connection().expect("it was open").is_clean());
        (script.written(), ws.deflate())
    }};
}

macro_rules! asked {
    ($mode:ident, $run:ident, $wire:expr, $case:expr) => {{
        let Case {
            ours,
            size,
            chunk,
            parts,
            ..
        } = $case;
        let script = Script::new($wire, chunk, stringify!($run) == "wait");
        let request = Request::new("example.com", "/").expect("right");
        let ws: $mode<'_, _> =
            $mode::client(script.clone(), buffers(size, size), request, Keys::new()).expect("room");
        let mut ws = ws.with_deflate(deflate(ours, memory(ours, parts.max(1))));
        $run!(ws.connect()).expect("a response");
        if parts > 0 {
            echo_parts!(ws, $run);
        } else {
            echo_whole!(ws, $run);
        }
        assert!(ws.connection().expect("it was open").is_clean());
        (script.written(), ws.deflate())
    }};
}

/// One connection.
#[derive(Clone, Copy)]
struct Case {
    ours: DeflateConfig,
    /// Of each buffer.
    size: usize,
    /// What the transport takes and gives at a time.
    chunk: usize,
    /// Room for a part; 0: messages are received whole.
    parts: usize,
}

/// Buffers, transports, and ways to receive.
fn cases(ours: DeflateConfig, least: usize) -> impl Iterator<Item = Case> {
    let sizes = [
        (least, 1, 0),
        (least, 1, 1),
        (least, 7, 3),
        (300, 50, 0),
        (4096, 4096, 500),
    ];
    sizes.into_iter().map(move |(size, chunk, parts)| Case {
        ours,
        size,
        chunk,
        parts,
    })
}

/// A row: what this side wants, what the peer says, what is agreed upon.
type Row<'a> = (DeflateConfig, &'a [&'a str], Option<DeflateConfig>);

fn differing(send: (u8, bool), receive: (u8, bool)) -> DeflateConfig {
    DeflateConfig {
        send: context(send.0, send.1),
        receive: context(receive.0, receive.1),
    }
}

/// PD01 to PD14, PD15, PD22, PD23, PD24: what is offered, answered and then on the wire.
#[test]
fn server_any_offer_any_buffer_any_transport_echoes_all() {
    let browser = "permessage-deflate; client_max_window_bits";
    let small = both(9, true);
    let none = both(8, false);
    let rows: &[(Row<'_>, &str)] = &[
        (
            (DeflateConfig::MAX, &[browser], Some(DeflateConfig::MAX)),
            "permessage-deflate",
        ),
        (
            (small, &[browser], Some(small)),
            "permessage-deflate; client_max_window_bits=9",
        ),
        (
            (none, &[browser], Some(none)),
            "permessage-deflate; server_no_context_takeover; client_no_context_takeover; \
             client_max_window_bits=8",
        ),
        (
            (
                small,
                &["permessage-deflate; server_max_window_bits=8; client_max_window_bits=8"],
                Some(both(8, true)),
            ),
            "permessage-deflate; server_max_window_bits=8; client_max_window_bits=8",
        ),
        (
            (
                differing((10, true), (15, true)),
                &["permessage-deflate; server_no_context_takeover; client_no_context_takeover"],
                Some(differing((10, false), (15, false))),
            ),
            "permessage-deflate; server_no_context_takeover; client_no_context_takeover",
        ),
        // Several offers, in several headers; some of them are of no use.
        (
            (
                small,
                &[
                    "x-other; a=\"b\", permessage-deflate; server_max_window_bits=7",
                    browser,
                ],
                Some(small),
            ),
            "permessage-deflate; client_max_window_bits=9",
        ),
        // What would not fit is declined, and all is as without.
        ((small, &["permessage-deflate"], None), ""),
        ((small, &[], None), ""),
        (
            (DeflateConfig::MAX, &["permessage-deflate; unknown"], None),
            "",
        ),
    ];
    for ((ours, offers, agreed), answer) in rows {
        for case in cases(*ours, 64) {
            for fragment in [40, 10_000] {
                let talk = talk(agreed.map(|agreed| agreed.receive), fragment, KEY);
                let wire = [extended(REQUEST, offers), talk].concat();
                let (blocking, found) = served!(Blocking, now, wire.clone(), case);
                assert_eq!(found.map(config), *agreed);
                let header = format!("\r\n{HEADER}{answer}\r\n");
                assert_eq!(
                    head(&blocking).contains(&header),
                    agreed.is_some(),
                    "{offers:?}"
                );
                if agreed.is_none() {
                    assert!(!head(&blocking).contains("Sec-WebSocket-Extensions"));
                }
                let send = agreed.map(|agreed| agreed.send);
                let (got, compressed) = read(Client::new(Keys::new()), &blocking, send);
                check(got);
                // Where it might not fit, it is sent as it is.
                let fits = case.parts > 0 || case.size > 64;
                assert_eq!(compressed[0], fits && agreed.is_some());
                let all = compressed.iter().all(|compressed| *compressed);
                assert!(!all || send.is_some_and(|send| send.takeover) && case.parts > 0);

                let (written, found) = served!(Async, wait, wire, case);
                assert_eq!(found.map(config), *agreed);
                assert!(written == blocking, "both modes do the same");
            }
        }
    }
}

#[test]
fn client_any_answer_any_buffer_any_transport_echoes_all() {
    let small = both(9, true);
    let none = both(8, false);
    let rows: &[(Row<'_>, &str)] = &[
        (
            (
                DeflateConfig::MAX,
                &["permessage-deflate"],
                Some(DeflateConfig::MAX),
            ),
            "permessage-deflate; client_max_window_bits",
        ),
        (
            (
                small,
                &["permessage-deflate; server_max_window_bits=9"],
                Some(small),
            ),
            "permessage-deflate; server_max_window_bits=9; client_max_window_bits=9",
        ),
        (
            (
                none,
                &[
                    "permessage-deflate; server_no_context_takeover; client_no_context_takeover; \
                   server_max_window_bits=8; client_max_window_bits=8",
                ],
                Some(none),
            ),
            "permessage-deflate; server_no_context_takeover; client_no_context_takeover; \
             server_max_window_bits=8; client_max_window_bits=8",
        ),
        (
            (
                differing((10, true), (15, true)),
                &[
                    "permessage-deflate; client_no_context_takeover; server_max_window_bits=12; \
                   client_max_window_bits=8",
                ],
                Some(differing((8, false), (12, true))),
            ),
            "permessage-deflate; client_max_window_bits=10",
        ),
        (
            (small, &[], None),
            "permessage-deflate; server_max_window_bits=9; client_max_window_bits=9",
        ),
    ];
    for ((ours, answers, agreed), offer) in rows {
        for case in cases(*ours, 152) {
            let talk = talk(agreed.map(|agreed| agreed.receive), 40, None);
            let wire = [extended(RESPONSE, answers), talk].concat();
            let (blocking, found) = asked!(Blocking, now, wire.clone(), case);
            assert_eq!(found.map(config), *agreed);
            assert!(head(&blocking).contains(&format!("\r\n{HEADER}{offer}\r\n")));
            let send = agreed.map(|agreed| agreed.send);
            let (got, compressed) = read(Server, &blocking, send);
            check(got);
            assert_eq!(compressed[0], agreed.is_some());

            let (written, found) = asked!(Async, wait, wire, case);
            assert_eq!(found.map(config), *agreed);
            assert!(written == blocking, "both modes do the same");
        }
    }
}

/// PD01, PD03, PD09: an answer to something else, or two, fail the connection; of another response
/// before it nothing counts.
#[test]
fn client_is_answered_what_it_has_not_offered_fails() {
    let connect = |ours: DeflateConfig, response: Vec<u8>, tx: usize| {
        let request = Request::new("example.com", "/").expect("right");
        let script = Script::new(response, 7, false);
        let ws: Blocking<'_, _> =
            Blocking::client(script, buffers(64, tx), request, Keys::new()).expect("room");
        let mut ws = ws.with_deflate(deflate(ours, memory(ours, 1)));
        ws.connect().map(|()| ws.deflate().map(config))
    };
    let wrong = Err(Error::Ended(Ended::Handshake(HandshakeError::Extensions)));
    let name = "permessage-deflate";
    for answers in [
        &["permessage-deflate; server_max_window_bits=10"][..],
        &[name],
        &["permessage-deflate; server_max_window_bits=9; client_max_window_bits"],
        &["permessage-deflate; server_max_window_bits=9; unknown"],
        &[
            "permessage-deflate; server_max_window_bits=9",
            "permessage-deflate; server_max_window_bits=9",
        ],
        &["permessage-deflate; server_max_window_bits=9", name],
    ] {
        let response = extended(RESPONSE, answers);
        assert_eq!(connect(both(9, true), response, 64), wrong, "{answers:?}");
    }
    let early = extended(b"HTTP/1.1 103 Early Hints\r\n\r\n", &[name]);
    let response = [early, RESPONSE.to_vec()].concat();
    assert_eq!(connect(both(9, true), response, 64), Ok(None));

    // The longest answer, through the smallest buffer.
    let none = both(10, false);
    let longest = extended(
        RESPONSE,
        &[
            "permessage-deflate; server_no_context_takeover; client_no_context_takeover; \
           server_max_window_bits=10; client_max_window_bits=10",
        ],
    );
    assert_eq!(connect(none, longest, 64), Ok(Some(none)));
}

/// Memory at its least, and one byte below.
#[test]
fn memory_too_small_is_refused() {
    for takeover in [true, false] {
        for bits in 8..=15 {
            let config = both(bits, takeover);
            let try_with = |window: usize, deflater: usize| {
                let mut memory = Owned {
                    window: vec![0; window],
                    deflater: vec![0; deflater],
                    parts: Vec::new(),
                };
                memory.try_deflate(config).map(|_| ())
            };
            let (window, deflater) = (1 << bits, (2 << bits) + 192);
            assert_eq!(try_with(window, deflater), Ok(()));
            assert_eq!(try_with(window - 1, deflater), Err(NoRoom));
            assert_eq!(try_with(window, deflater - 1), Err(NoRoom));
            let without = try_with(0, deflater);
            assert_eq!(without.is_ok(), !takeover);
        }
    }
}

/// A server that compresses, with a client that has said this.
fn open_with(
    ours: DeflateConfig,
    memory: Owned,
    talk: &[u8],
    config: &'static Config<'static>,
) -> (Blocking<'static, Server>, Script) {
    let offer = "permessage-deflate; client_max_window_bits";
    let wire = [extended(REQUEST, &[offer]), talk.to_vec()].concat();
    let script = Script::new(wire, 1000, false);
    let ws: Blocking<'_, _> = Blocking::server(script.clone(), buffers(64, 256)).expect("room");
    let mut ws = ws.with_config(config).with_deflate(deflate(ours, memory));
    ws.accept().expect("a request");
    (ws, script)
}

fn open(ours: DeflateConfig, talk: &[u8]) -> (Blocking<'static, Server>, Script) {
    static CONFIG: Config<'static> = Config::DEFAULT;
    open_with(ours, memory(ours, 10), talk, &CONFIG)
}

/// The peer's own window is the message's buffer; parts have none.
#[test]
fn server_without_a_window_receives_whole_messages() {
    static CONFIG: Config<'static> = Config::DEFAULT;
    let ours = differing((8, true), (10, false));
    let memory = || Owned {
        window: Vec::new(),
        ..memory(ours, 10)
    };
    let talk = talk(Some(ours.receive), 30, KEY);
    let (mut ws, script) = open_with(ours, memory(), &talk, &CONFIG);
    echo_whole!(ws, now);
    let (got, _) = read(Client::new(Keys::new()), &script.written(), Some(ours.send));
    check(got);

    let (mut ws, _) = open_with(ours, memory(), &talk, &CONFIG);
    assert!(matches!(ws.next_chunk(), Err(Error::NoRoom)));
    assert!(matches!(ws.next_event(), Err(Error::NoRoom)));
    let mut messages = MessageBuffer::new([0; 100]);
    let first = ws.recv(&mut messages).expect("no error");
    assert_eq!(first, Some(self::messages()[0]));
}

/// FR08: without an agreement RSV1 is refused, as ever.
#[test]
fn server_declined_receives_a_compressed_message_fails() {
    let wire = [REQUEST, &frame(0xC1, b"\xf2\x48\xcd\xc9\xc9\x07\x00", KEY)].concat();
    let script = Script::new(wire, 1000, false);
    let ws: Blocking<'_, _> = Blocking::server(script, buffers(64, 64)).expect("room");
    let ours = both(8, true);
    let mut ws = ws.with_deflate(deflate(ours, memory(ours, 10)));
    ws.accept().expect("a request");
    let failure = Error::Ended(Ended::Violation(ProtocolViolation::ReservedBit));
    assert_eq!(ws.next_event(), Err(failure));
}

/// What the peer was told in the end.
fn close_code(script: &Script, send: DeflateContext) -> Option<CloseCode> {
    let (got, _) = read(Client::new(Keys::new()), &script.written(), Some(send));
    match got.last() {
        Some(Got::Close(Some((code, _)))) => Some(*code),
        _ => None,
    }
}

/// PD27: a bomb goes off at the limit, wherever that is; a message of just that length does not.
#[test]
fn bomb_fails_with_1009_at_the_limit() {
    const LEN: usize = 300_000;
    static CONFIGS: [Config<'static>; 4] = {
        const fn limited(message: u64) -> Config<'static> {
            Config {
                limits: Limits {
                    message,
                    ..Limits::DEFAULT
                },
                ..Config::DEFAULT
            }
        }
        [
            limited(0),
            limited(1),
            limited(LEN as u64 - 1),
            limited(LEN as u64),
        ]
    };
    let ours = both(15, true);
    let bomb = deflated(ours.receive, &[&[0; LEN]]).concat();
    assert!(bomb.len() * 500 < LEN, "{} octets", bomb.len());
    let wire = [frame(0xC2, &bomb, KEY), frame(0x88, &[3, 232], KEY)].concat();
    let too_big = Error::Ended(Ended::Violation(ProtocolViolation::MessageTooBig));
    for config in &CONFIGS {
        let fits = config.limits.message == LEN as u64;
        let (mut ws, script) = open_with(ours, memory(ours, 1000), &wire, config);
        let mut len = 0;
        let end = loop {
            match ws.next_chunk() {
                Ok(Some((chunk, _))) => len += chunk.bytes.len(),
                Ok(None) => break None,
                Err(error) => break Some(error),
            }
        };
        assert_eq!(end, (!fits).then_some(too_big));
        assert_eq!(len == LEN, fits);
        assert!(len as u64 <= config.limits.message);
        let code = if fits {
            CloseCode::NORMAL
        } else {
            CloseCode::MESSAGE_TOO_BIG
        };
        assert_eq!(close_code(&script, ours.send), Some(code));

        let (mut ws, script) = open_with(ours, memory(ours, 1), &wire, config);
        let mut messages = MessageBuffer::new(vec![0; LEN + 1]);
        match ws.recv(&mut messages) {
            Ok(message) => {
                assert!(fits);
                assert_eq!(message, Some(Message::Binary(&[0; LEN])));
            }
            Err(error) => {
                assert!(!fits);
                assert_eq!(error, too_big);
                assert_eq!(close_code(&script, ours.send), Some(code));
            }
        }
    }
    // The buffer is a limit, too.
    for (room, fits) in [(0, false), (1, false), (LEN - 1, false), (LEN, true)] {
        let (mut ws, script) = open(ours, &wire);
        let mut messages = MessageBuffer::new(vec![0; room]);
        assert_eq!(ws.recv(&mut messages).is_ok(), fits);
        if !fits {
            assert_eq!(
                close_code(&script, ours.send),
                Some(CloseCode::MESSAGE_TOO_BIG)
            );
        }
    }
}

/// FR17: an uncompressed message has the same limit.
#[test]
fn plain_message_beyond_the_limit_fails_with_1009_as_well() {
    static CONFIG: Config<'static> = Config {
        limits: Limits {
            message: 50,
            ..Limits::DEFAULT
        },
        ..Config::DEFAULT
    };
    assert!(wire_limit(50) > 51);
    let ours = both(8, true);
    let too_big = Error::Ended(Ended::Violation(ProtocolViolation::MessageTooBig));
    for (len, fits) in [(50, true), (51, false)] {
        let wire = frame(0x82, &vec![7; len], KEY);
        let (mut ws, _) = open_with(ours, memory(ours, 10), &wire, &CONFIG);
        let mut messages = MessageBuffer::new([0; 100]);
        let message = ws.recv(&mut messages);
        assert_eq!(
            message,
            if fits {
                Ok(Some(Message::Binary(&[7; 50])))
            } else {
                Err(too_big)
            }
        );

        let (mut ws, _) = open_with(ours, memory(ours, 10), &wire, &CONFIG);
        let mut len = 0;
        let end = loop {
            match ws.next_event() {
                Ok(Some(Event::Data(chunk))) => len += chunk.bytes.len(),
                Ok(_) => panic!("no end"),
                Err(error) => break error,
            }
            if len == 50 && fits {
                break too_big;
            }
        };
        assert_eq!(end, too_big);
        assert!(len <= 50);
    }
}

/// PD26, PD27, PD28: what cannot be inflated, is cut short, or is no UTF-8.
#[test]
fn message_that_is_wrong_inside_fails() {
    let ours = both(9, true);
    let text = deflated(ours.receive, &[b"a text of some length, of some length"]).concat();
    let latin = deflated(ours.receive, &["Grüße".as_bytes(), b"Gr\xfc\xdfe"]);
    let cut = deflated(ours.receive, &[&"Grü".as_bytes()[..3]]).concat();
    let (invalid, broken) = (
        ProtocolViolation::InvalidUtf8,
        ProtocolViolation::Compression,
    );
    for (payloads, violation) in [
        (vec![text[..text.len() - 1].to_vec()], broken),
        (vec![text[..3].to_vec()], broken),
        (vec![b"\xff\xff\xff".to_vec()], broken),
        // A distance to before the stream's start
        (vec![b"\x02\x13\x00\x00".to_vec()], broken),
        (latin, invalid),
        (vec![cut], invalid),
    ] {
        let frames: Vec<_> = payloads
            .iter()
            .map(|payload| frame(0xC1, payload, KEY))
            .collect();
        let (mut ws, script) = open(ours, &frames.concat());
        let failure = loop {
            match ws.next_event() {
                Ok(event) => assert!(event.is_some()),
                Err(error) => break error,
            }
        };
        assert_eq!(failure, Error::Ended(Ended::Violation(violation)));
        assert_eq!(close_code(&script, ours.send), Some(violation.close_code()));
        assert_eq!(ws.next_event(), Err(failure), "again with each call");

        let (mut ws, script) = open(ours, &frames.concat());
        let mut messages = MessageBuffer::new([0; 100]);
        let failure = loop {
            match ws.recv(&mut messages) {
                Ok(message) => assert!(message.is_some()),
                Err(error) => break error,
            }
        };
        assert_eq!(failure, Error::Ended(Ended::Violation(violation)));
        assert_eq!(close_code(&script, ours.send), Some(violation.close_code()));
    }
}

/// PD15: the first frame of a message decides for all of it.
#[test]
fn message_begun_uncompressed_stays_so() {
    let ours = both(8, true);
    let (mut ws, script) = open(ours, &[]);
    let (kind, part) = (DataKind::Text, &b"again and again "[..]);
    assert_eq!(ws.send_fragment_uncompressed(kind, part, false), Ok(16));
    let busy = Err(Error::Send(SendError::MessageInProgress));
    assert_eq!(ws.send(Message::Text("not now")), busy);
    assert_eq!(ws.send_fragment(kind, part, false), Ok(16));
    assert_eq!(ws.send_fragment(kind, part, true), Ok(16));
    assert_eq!(ws.send_fragment(kind, part, false), Ok(16));
    assert_eq!(ws.send(Message::Text("not now")), busy);
    assert_eq!(ws.send_uncompressed(Message::Text("not now")), busy);
    assert_eq!(
        ws.send_fragment(DataKind::Binary, part, false),
        busy.map(|()| 0)
    );
    assert_eq!(ws.ping(b""), Ok(()));
    assert_eq!(ws.send_fragment_uncompressed(kind, part, true), Ok(16));
    assert_eq!(ws.send(Message::Text("again")), Ok(()));
    assert_eq!(ws.send_uncompressed(Message::Text("again")), Ok(()));
    assert_eq!(ws.flush(), Ok(()));
    let (mut got, compressed) = read(Client::new(Keys::new()), &script.written(), Some(ours.send));
    got.retain(|got| *got != Got::Ping(Vec::new()));
    let (thrice, twice) = ("again and again ".repeat(3), "again and again ".repeat(2));
    assert_eq!(
        got,
        [text(&thrice), text(&twice), text("again"), text("again")]
    );
    assert_eq!(compressed, [false, true, true, false]);
}

/// A message is never too long for being compressed, whatever is in it.
#[test]
fn send_takes_what_it_would_take_without_compression() {
    let mut seed = 1_u32;
    let mut random = || {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (seed >> 24) as u8
    };
    let ours = both(8, true);
    // The transmit buffer has 256 bytes.
    let (mut ws, script) = open(ours, &[]);
    let mut sent = Vec::new();
    let mut compressed = Vec::new();
    for len in 0..=252 {
        // Noise, literals of 9 bits, and matches that save next to nothing.
        let mut message: Vec<u8> = (0..len).map(|_| random()).collect();
        match len % 3 {
            0 => message.iter_mut().for_each(|octet| *octet |= 0x90),
            1 => message.iter_mut().enumerate().for_each(|(n, octet)| {
                if n % 5 < 3 {
                    *octet = b"abc"[n % 5];
                }
            }),
            _ => {}
        }
        assert_eq!(ws.send(Message::Binary(&message)), Ok(()));
        sent.push(binary(&message));
        compressed.push(len + len / 8 + 30 <= 256);
    }
    let no_room = Err(Error::Send(SendError::NoRoom));
    assert_eq!(ws.send(Message::Binary(&[0; 253])), no_room);
    assert_eq!(ws.send_uncompressed(Message::Binary(&[0; 253])), no_room);
    assert_eq!(ws.flush(), Ok(()));
    let (got, found) = read(Client::new(Keys::new()), &script.written(), Some(ours.send));
    assert_eq!(got, sent);
    assert_eq!(found, compressed);
    // Each of them in one frame.
    let mut wire = &script.written()[head_len(&script.written())..];
    let mut frames = 0;
    while let [first, second, rest @ ..] = wire {
        assert!(first & 0x80 != 0);
        let (len, header) = match second {
            126 => (usize::from(u16::from_be_bytes([rest[0], rest[1]])), 4),
            len => (usize::from(*len), 2),
        };
        wire = &wire[header + len..];
        frames += 1;
    }
    assert_eq!(frames, sent.len());
}

/// Where the peer takes nothing over, what is too short is not worth it.
#[test]
fn short_message_without_takeover_is_sent_as_it_is() {
    let ours = both(8, false);
    let (mut ws, script) = open(ours, &[]);
    let text = "A".repeat(40);
    for len in [0, 1, 39, 40] {
        assert_eq!(ws.send(Message::Text(&text[..len])), Ok(()));
        let fragment = ws.send_fragment(DataKind::Text, &text.as_bytes()[..len], true);
        assert_eq!(fragment, Ok(len));
    }
    assert_eq!(ws.flush(), Ok(()));
    let (_, compressed) = read(Client::new(Keys::new()), &script.written(), Some(ours.send));
    assert_eq!(
        compressed,
        [false, false, false, false, false, false, true, true]
    );
}

/// All of a message is taken, and its end is still in the compressor: nothing overtakes it, and no
/// Close cuts it off.
#[test]
fn end_of_a_message_waits_for_room_and_is_written_first() {
    let ours = both(15, true);
    let noise: Vec<u8> = (0..2000_u32)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect();
    let begin = || {
        let (mut ws, script) = open(ours, &frame(0x88, &[3, 232], KEY));
        assert_eq!(ws.send_fragment(DataKind::Binary, &noise, true), Ok(2000));
        (ws, script)
    };
    let read =
        |script: &Script| read(Client::new(Keys::new()), &script.written(), Some(ours.send)).0;
    let close = Got::Close(Some((CloseCode::NORMAL, String::new())));

    let (mut ws, script) = begin();
    let busy = Err(Error::Send(SendError::MessageInProgress));
    assert_eq!(ws.close(CloseCode::NORMAL, ""), busy);
    assert_eq!(ws.flush(), Ok(()));
    assert_eq!(ws.close(CloseCode::NORMAL, ""), Ok(()));
    while ws.next_event().expect("no error").is_some() {}
    assert_eq!(read(&script), [binary(&noise), close.clone()]);

    let (mut ws, script) = begin();
    assert_eq!(ws.flush(), Ok(()));
    assert_eq!(ws.close(CloseCode::NORMAL, ""), Ok(()));
    assert!(ws.closed().is_ok_and(Ended::is_clean));
    assert_eq!(read(&script), [binary(&noise), close.clone()]);

    // The next wait for input writes it, as what was sent before.
    let (mut ws, script) = begin();
    while ws.next_event().expect("no error").is_some() {}
    assert_eq!(read(&script), [binary(&noise), close.clone()]);

    let (mut ws, script) = begin();
    assert_eq!(ws.send(Message::Text("after it")), Ok(()));
    assert_eq!(ws.ping(b"at any place"), Ok(()));
    assert_eq!(ws.close(CloseCode::NORMAL, ""), Ok(()));
    assert!(ws.closed().is_ok_and(Ended::is_clean));
    let ping = Got::Ping(b"at any place".to_vec());
    assert_eq!(
        read(&script),
        [binary(&noise), text("after it"), ping, close]
    );
}

/// The peer is idle while the last frame before the end is written: the end has room then, and goes
/// out before the Close.
#[test]
fn end_of_a_message_waits_for_room_peer_is_idle_goes_out_before_the_close() {
    static CONFIG: Config<'static> = Config {
        timeouts: motews::Timeouts {
            idle: Some(1_000),
            ..Config::DEFAULT.timeouts
        },
        ..Config::DEFAULT
    };
    type Ws = asynch::WebSocket<'static, Script, Server, Hand>;
    let ours = both(15, true);
    let noise: Vec<u8> = (0..400_u32)
        .map(|n| (n.wrapping_mul(n).wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect();
    let offer = "permessage-deflate; client_max_window_bits";
    let script = Script::new(extended(REQUEST, &[offer]), 1000, false);
    script.ends(false);
    let hand = Hand::default();
    let ws = asynch::WebSocket::server(script.clone(), buffers(64, 256)).expect("room");
    let ws: Ws = ws.with_config(&CONFIG).with_clock(hand.clone());
    let mut ws: Ws = ws.with_deflate(deflate(ours, memory(ours, 3)));
    block_on(ws.accept()).expect("a request");
    script.window(0);
    let taken = poll(ws.send_fragment(DataKind::Binary, &noise, true));
    assert_eq!(taken, Poll::Ready(Ok(400)));
    let busy = Err(Error::Send(SendError::MessageInProgress));
    assert_eq!(ws.close(CloseCode::NORMAL, ""), busy);
    let mut context = core::task::Context::from_waker(Waker::noop());
    {
        let mut flush = pin!(ws.flush());
        assert_eq!(flush.as_mut().poll(&mut context), Poll::Pending);
        hand.pass(1_000);
        script.window(usize::MAX);
        assert_eq!(flush.as_mut().poll(&mut context), Poll::Ready(Ok(())));
    }
    let (got, _) = read(Client::new(Keys::new()), &script.written(), Some(ours.send));
    assert_eq!(got, [binary(&noise)], "nothing is idle while bytes wait");
    assert_eq!(poll(ws.next_event()).map(|_| ()), Poll::Pending);
    hand.pass(4_000_000); // Those bytes have bought some time as well.
    assert_eq!(poll(ws.next_event()).map(|_| ()), Poll::Pending);
    let (got, _) = read(Client::new(Keys::new()), &script.written(), Some(ours.send));
    let close = Got::Close(Some((CloseCode::GOING_AWAY, String::new())));
    assert_eq!(got, [binary(&noise), close]);
}

/// A `closed` that is dropped has left out messages, so none is received any more.
#[test]
fn closed_is_dropped_receiving_goes_on_to_the_end() {
    let ours = both(9, true);
    let payloads = deflated(ours.receive, &[&[7; 300], &[7; 300], b"the last"]);
    let frames: Vec<_> = payloads
        .iter()
        .map(|payload| frame(0xC2, payload, KEY))
        .collect();
    let offer = "permessage-deflate; client_max_window_bits=9";
    let script = Script::new(extended(REQUEST, &[offer]), 5, true);
    script.ends(false);
    let ws: Async<'_, _> = Async::server(script.clone(), buffers(64, 64)).expect("room");
    let mut ws = ws.with_deflate(deflate(ours, memory(ours, 10)));
    block_on(ws.accept()).expect("a request");
    script.say(&frames[0]);
    script.say(&frames[1][..frames[1].len() - 2]);
    assert_eq!(ws.close(CloseCode::NORMAL, ""), Ok(()));
    for _ in 0..100 {
        assert!(poll(ws.closed()).is_pending());
    }
    script.say(&frames[1][frames[1].len() - 2..]);
    script.say(&frames[2]);
    script.say(&frame(0x88, &[3, 232], KEY));
    let mut messages = MessageBuffer::new([0; 300]);
    script.ends(true);
    assert_eq!(block_on(ws.recv(&mut messages)), Ok(None));
}

/// Nothing of a message is told after the caller has failed the connection.
#[test]
fn connection_failed_in_the_midst_of_a_chunk_tells_no_more_of_it() {
    let ours = both(9, true);
    let payload = deflated(ours.receive, &[&[7; 300]]).concat();
    let (mut ws, script) = open(ours, &frame(0xC2, &payload, KEY));
    let first = ws.next_event().expect("no error");
    assert!(matches!(first, Some(Event::Data(chunk)) if chunk.bytes.len() == 10));
    ws.fail(ProtocolViolation::MessageTooBig);
    let failure = Error::Ended(Ended::Violation(ProtocolViolation::MessageTooBig));
    assert_eq!(ws.next_event(), Err(failure));
    let code = close_code(&script, ours.send);
    assert_eq!(code, Some(CloseCode::MESSAGE_TOO_BIG));
}

/// A message that began in parts ends whole, as far as it was not told before.
#[test]
fn message_received_in_parts_goes_on_whole() {
    let ours = both(9, true);
    let message: Vec<u8> = (0..250).cycle().take(1000).collect();
    let payload = deflated(ours.receive, &[&message, &message]);
    let frames: Vec<_> = payload
        .iter()
        .map(|payload| frame(0xC2, payload, KEY))
        .collect();
    let mut messages = MessageBuffer::new([0; 1000]);
    for told in 0..100 {
        let (mut ws, _) = open(ours, &frames.concat());
        let mut got = Vec::new();
        for _ in 0..told {
            match ws.next_event() {
                Ok(Some(Event::Data(chunk))) => got.extend_from_slice(chunk.bytes),
                other => panic!("{other:?}"),
            }
        }
        let rest = ws
            .recv(&mut messages)
            .expect("no error")
            .expect("a message");
        got.extend_from_slice(rest.as_bytes());
        assert!(got == message);
        let next = ws
            .recv(&mut messages)
            .expect("no error")
            .expect("a message");
        assert!(next.as_bytes() == message);
    }
}

/// What it takes beside its memory, in bytes: a WebSocket is no larger for it.
#[test]
fn connection_with_compression_takes_what_is_stated() {
    assert!(
        size_of::<Deflate<'_>>() <= 2304,
        "{}",
        size_of::<Deflate<'_>>()
    );
    #[cfg(target_pointer_width = "64")]
    assert_eq!(size_of::<asynch::WebSocket<'_, (), Server>>(), 496);
}

/// Halves over the same script.
type Halved = asynch::WebSocket<'static, Duplex<Script, Script>, Server>;

fn halved(ours: DeflateConfig, chunk: usize) -> (Halved, Script) {
    let offer = "permessage-deflate; client_max_window_bits";
    halved_with(ours, chunk, &[offer])
}

fn halved_with(ours: DeflateConfig, chunk: usize, offers: &[&str]) -> (Halved, Script) {
    let script = Script::new(extended(REQUEST, offers), chunk, true);
    script.ends(false);
    let transport = Duplex {
        reader: script.clone(),
        writer: script.clone(),
    };
    let ws = asynch::WebSocket::server(transport, buffers(64, 64)).expect("room");
    let mut ws: Halved = ws.with_deflate(deflate(ours, memory(ours, 3)));
    block_on(ws.accept()).expect("a request");
    (ws, script)
}

/// Each future of each half is dropped whenever it waits; both compress.
#[test]
fn halves_with_compression_dropped_at_each_wait_go_on() {
    let ours = both(9, true);
    for chunk in [1, 5, 1000] {
        let (mut ws, script) = halved(ours, chunk);
        script.say(&talk(Some(ours.receive), 40, KEY));
        let mut halves = ws.split::<NotNow>().expect("it is open");
        let (mut receiver, mut sender) = halves.both();
        let to_send = messages();
        let (mut sent, mut taken) = (0, 0);
        let mut buffer = MessageBuffer::new([0; 1500]);
        let mut got = Vec::new();
        let mut ended = false;
        for _ in 0..1_000_000 {
            if let Some(message) = to_send.get(sent) {
                let rest = &message.as_bytes()[taken..];
                let fragment = poll(sender.send_fragment(message.kind(), rest, true));
                if let Poll::Ready(more) = fragment {
                    taken += match more {
                        Ok(more) => more,
                        // After the peer's Close nothing is sent.
                        Err(Error::Send(SendError::NotOpen)) => rest.len(),
                        Err(error) => panic!("{error}"),
                    };
                    if taken == message.as_bytes().len() {
                        (sent, taken) = (sent + 1, 0);
                    }
                }
            }
            if let Poll::Ready(message) = poll(receiver.recv(&mut buffer)) {
                match message.expect("no error") {
                    Some(message) => got.push(owned(message)),
                    None => ended = true,
                }
            }
            if ended {
                break;
            }
        }
        assert!(ended, "it waits for ever");
        let expected: Vec<_> = messages().into_iter().map(owned).collect();
        assert_eq!(got, expected);
        let (got, compressed) = read(Client::new(Keys::new()), &script.written(), Some(ours.send));
        let got: Vec<_> = got
            .into_iter()
            .filter(|got| matches!(got, Got::Message(..)))
            .collect();
        let whole = got.len() - 1; // The Close may have cut off the last.
        assert!(whole >= 2, "{whole} messages");
        assert_eq!(got[..whole], expected[..whole]);
        assert!(compressed.iter().all(|compressed| *compressed));
    }
}

/// The sender may send secrets, and its Close waits until the end of a message is out.
#[test]
fn halves_close_after_the_end_of_a_message() {
    let ours = both(15, true);
    let noise: Vec<u8> = (0..2000_u32)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect();
    let (mut ws, script) = halved(ours, 1000);
    let mut halves = ws.split::<NotNow>().expect("it is open");
    let (mut receiver, mut sender) = halves.both();
    block_on(async {
        sender
            .send_uncompressed(Message::Text("secret"))
            .await
            .expect("room");
        let taken = sender.send_fragment(DataKind::Binary, &noise, true).await;
        assert_eq!(taken, Ok(2000));
        let busy = Error::Send(SendError::MessageInProgress);
        assert_eq!(sender.close(CloseCode::NORMAL, ""), Err(busy));
        sender.flush().await.expect("written");
        assert_eq!(sender.close(CloseCode::NORMAL, ""), Ok(()));
    });
    script.say(&frame(0x88, &[3, 232], KEY));
    let mut buffer = MessageBuffer::new([0; 10]);
    assert_eq!(block_on(receiver.recv(&mut buffer)), Ok(None));
    let (got, compressed) = read(Client::new(Keys::new()), &script.written(), Some(ours.send));
    let close = Got::Close(Some((CloseCode::NORMAL, String::new())));
    assert_eq!(got, [text("secret"), binary(&noise), close]);
    assert_eq!(compressed, [false, true]);
}

/// While the receiver writes, a Close waits for the end of a message, and for nothing else.
#[test]
fn halves_close_while_the_receiver_writes() {
    let ours = both(9, true);
    let noise = messages()[4].as_bytes().to_vec();
    let busy = Err(Error::Send(SendError::MessageInProgress));
    let offers: &[&str] = &["permessage-deflate; client_max_window_bits"];
    for (offers, ending, closes) in [
        (&[][..], false, Ok(())),
        (offers, false, Ok(())),
        (offers, true, busy),
    ] {
        let (mut ws, script) = halved_with(ours, 1000, offers);
        let mut halves = ws.split::<NotNow>().expect("it is open");
        let (mut receiver, mut sender) = halves.both();
        let len = if ending { noise.len() } else { 10 };
        let sent = poll(sender.send_fragment(DataKind::Binary, &noise[..len], true));
        assert_eq!(sent, Poll::Ready(Ok(len)));
        script.window(0);
        let mut context = core::task::Context::from_waker(Waker::noop());
        {
            let mut next = pin!(receiver.next_event());
            for _ in 0..10 {
                assert!(next.as_mut().poll(&mut context).is_pending());
            }
            assert_eq!(sender.close(CloseCode::NORMAL, ""), closes);
            script.window(usize::MAX);
            for _ in 0..100 {
                assert!(next.as_mut().poll(&mut context).is_pending());
            }
            if ending {
                assert_eq!(sender.close(CloseCode::NORMAL, ""), Ok(()));
            }
        }
        script.say(&frame(0x88, &[3, 232], KEY));
        let mut buffer = MessageBuffer::new([0; 10]);
        assert_eq!(block_on(receiver.recv(&mut buffer)), Ok(None));
        let send = (!offers.is_empty()).then_some(ours.send);
        let (got, _) = read(Client::new(Keys::new()), &script.written(), send);
        let close = Got::Close(Some((CloseCode::NORMAL, String::new())));
        assert_eq!(got, [binary(&noise[..len]), close]);
    }
}
