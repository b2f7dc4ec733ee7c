//! How a stream is cut into reads makes no difference (RFC 6455 §6.2) [FR16]: from the first byte
//! of the opening handshake to the last one of the Close, the same events, the same answers, and
//! the same error at the same byte.
//!
//! A session is fed whole, in two parts cut at each byte, byte by byte, and in any parts. The
//! properties that the fuzz targets search counterexamples for are tried here too.

use core::ops::Range;
use std::fs;
use std::path::Path;

use motews::handshake::{ClientHandshake, HandshakeError, ServerHandshake};
use motews::{
    Client, CloseCode, Connection, ConnectionConfig, DataKind, MAX_CONTROL_LEN, Message,
    ProtocolViolation, Server,
};
use motews_testkit::frame::{KEY, encode};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::properties::connection::{Side, Tape, Told};
#[cfg(feature = "peers")]
use crate::properties::differential;
use crate::properties::{Sequence, connection, deflate, frame, handshake, net, session as timed};

#[path = "../fuzz/src/lib.rs"]
pub mod properties;

// ---- a session, from the first byte to the last ----

/// An endpoint's session: what it told, and what it answered.
#[derive(Debug, Default, PartialEq, Eq)]
struct Session {
    head: handshake::Tape,
    frames: Tape,
    /// The response, if it is a server; each whole message; what is owed.
    output: Vec<u8>,
}

const CONFIG: ConnectionConfig = ConnectionConfig {
    max_message_len: 1000,
    compression: false,
};

/// A role, with its side of the opening handshake.
trait Endpoint: Side {
    /// Reads the peer's head, in pieces, up to the first frame.
    fn read_head(stream: &[u8], pieces: &[Range<usize>]) -> handshake::Tape;
}

impl Endpoint for Server {
    fn read_head(stream: &[u8], pieces: &[Range<usize>]) -> handshake::Tape {
        let mut handshake = ServerHandshake::new([0; 64]);
        let mut tape = handshake::Tape::default();
        for piece in pieces {
            let piece = &stream[piece.clone()];
            tape.receive(piece, |input| {
                Ok(handshake
                    .next_event(input, &handshake::OFFERS)?
                    .map(Into::into))
            });
        }
        tape
    }
}

impl Endpoint for Client<Sequence> {
    fn read_head(stream: &[u8], pieces: &[Range<usize>]) -> handshake::Tape {
        let mut handshake = ClientHandshake::new(&handshake::sample_key(), [0; 64]);
        let mut tape = handshake::Tape::default();
        for piece in pieces {
            let piece = &stream[piece.clone()];
            tape.receive(piece, |input| {
                Ok(handshake
                    .next_event(input, &handshake::OFFERS)?
                    .map(Into::into))
            });
        }
        tape
    }
}

/// What comes of a stream that arrives in `pieces`.
fn session<R: Endpoint>(stream: &[u8], pieces: &[Range<usize>]) -> Session {
    let head = R::read_head(stream, pieces);
    let mut session = Session {
        head: head.merged(),
        ..Session::default()
    };
    let Some(handshake::Told::Done(response, _)) = session.head.told.last() else {
        return session;
    };
    session.output.extend(response.bytes());

    // The first frames may have come in the same read as the head's end.
    let mut connection = Connection::<R>::with_config(R::new(false), CONFIG);
    let mut stream = stream.to_vec();
    for piece in pieces {
        let frames = piece.start.max(session.head.consumed)..piece.end;
        let mut input = stream.get_mut(frames).unwrap_or_default();
        while session.frames.receive_event(&mut connection, &mut input) {
            answer(&mut connection, &session.frames, &mut session.output);
        }
        answer(&mut connection, &Tape::default(), &mut session.output);
    }
    session
}

/// Echoes a message that is whole now, then what is owed.
fn answer<R: Side>(connection: &mut Connection<R>, tape: &Tape, output: &mut Vec<u8>) {
    let mut out = [0; 2048];
    let mut parts = tape.told.iter().map(|(told, _)| told);
    if let Some(Told::Data { last: true, .. }) = parts.next_back() {
        let (kind, bytes) = last_message(tape);
        let message = match kind {
            DataKind::Text => Message::Text(str::from_utf8(&bytes).expect("it was checked")),
            DataKind::Binary => Message::Binary(&bytes),
        };
        let len = connection.send(message, &mut out).expect("there is room");
        output.extend(&out[..len]);
    }
    while let len @ 1.. = connection
        .poll_transmit(&mut out[..MAX_CONTROL_LEN])
        .expect("keys")
    {
        output.extend(&out[..len]);
    }
}

/// The last message, of all its parts, whatever came between them.
fn last_message(tape: &Tape) -> (DataKind, Vec<u8>) {
    let mut message = (DataKind::Text, Vec::new());
    for (told, _) in &tape.told {
        if let Told::Data {
            kind, bytes, first, ..
        } = told
        {
            if *first {
                message = (*kind, Vec::new());
            }
            message.1.extend(bytes);
        }
    }
    message
}

fn whole(stream: &[u8]) -> Vec<Range<usize>> {
    pieces(stream, &[])
}

/// The pieces between these cuts, in any order.
fn pieces(stream: &[u8], cuts: &[usize]) -> Vec<Range<usize>> {
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (stream.len() + 1)).collect();
    cuts.extend([0, stream.len()]);
    cuts.sort_unstable();
    cuts.windows(2).map(|ends| ends[0]..ends[1]).collect()
}

/// In two parts cut at each byte, and byte by byte.
fn assert_no_split_matters<R: Endpoint>(stream: &[u8]) -> Session {
    let expected = session::<R>(stream, &whole(stream));
    for cut in 0..=stream.len() {
        let session = session::<R>(stream, &pieces(stream, &[cut]));
        assert_eq!(session, expected, "cut before octet {cut}");
    }
    let octets: Vec<_> = (0..stream.len()).map(|at| at..at + 1).collect();
    assert_eq!(session::<R>(stream, &octets), expected, "octet by octet");
    expected
}

// ---- what is recorded ----

const REQUEST: &[u8] = b"GET /chat?room=1 HTTP/1.1\r\n\
    Host: server.example.com\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0\r\n\
    Sec-WebSocket-Version: 13\r\n\
    Origin: http://example.com\r\n\
    Sec-WebSocket-Protocol: chat, superchat\r\n\
    Sec-WebSocket-Extensions: permessage-deflate\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Connection: keep-alive, Upgrade\r\n\
    Cookie: session=0123456789abcdef0123456789abcdef0123456789abcdef; theme=dark \r\n\
    Upgrade: websocket\r\n\
    \r\n";

const RESPONSE: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\n\
    Upgrade: websocket\r\n\
    Connection: Upgrade\r\n\
    Date: Mon, 01 Jan 2024 00:00:00 GMT\r\n\
    Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\
    Sec-WebSocket-Protocol: chat\r\n\
    \r\n";

/// A frame of one side: its first byte and its payload.
fn frame_of(masked: bool, first: u8, payload: &[u8]) -> Vec<u8> {
    encode(first, payload, masked.then_some(KEY))
}

/// All that a peer may do: code points cut over fragments, pings between them, empty frames, each
/// length form that fits here, a Close, and bytes after it.
fn frames(masked: bool) -> Vec<u8> {
    let euro = "€".as_bytes();
    let long = "Grüße, Jürgen ❤ 😀 ".repeat(8);
    let frames: [(u8, &[u8]); 19] = [
        (0x81, b"Hello"),
        (0x01, "a é ".as_bytes()),
        (0x89, b"between"),
        (0x00, &euro[..1]),
        (0x89, &[0xFF; 125]),
        (0x00, b""),
        (0x8A, b"unasked"),
        (0x80, &euro[1..]),
        (0x82, &[0x00; 125]),
        (0x82, &[0xAA; 126]),
        (0x82, &[0x55; 127]),
        (0x81, long.as_bytes()),
        (0x81, b""),
        (0x02, b""),
        (0x89, b""),
        (0x80, b""),
        (0x02, &[0xC0, 0xFF]),
        (0x80, &[0xED]),
        (0x88, b"\x03\xE9going away"),
    ];
    let mut stream: Vec<u8> = frames
        .iter()
        .flat_map(|(first, payload)| frame_of(masked, *first, payload))
        .collect();
    stream.extend(b"\x81\x05after");
    stream
}

fn request_and_frames() -> Vec<u8> {
    [REQUEST, &frames(true)].concat()
}

fn response_and_frames() -> Vec<u8> {
    [RESPONSE, &frames(false)].concat()
}

/// The recorded session tells what it was recorded for.
fn assert_is_told(session: &Session, head_len: usize) {
    assert_eq!(
        (session.head.error, session.head.consumed),
        (None, head_len)
    );
    assert_eq!(session.frames.violation, None);
    let told = session.frames.events();
    let is_whole = |told: &&&Told| matches!(told, Told::Data { last: true, .. });
    assert_eq!(told.iter().filter(is_whole).count(), 9);
    let pings = told.iter().filter(|told| matches!(told, Told::Ping(_)));
    assert_eq!(pings.count(), 3);
    let close = Some((CloseCode::GOING_AWAY, "going away".to_owned()));
    assert_eq!(told.last(), Some(&&Told::Close(close)));
}

/// FR16, HS19: the request and the first frames may come in one read, or cut anywhere
#[test]
fn server_any_split_same_session() {
    let session = assert_no_split_matters::<Server>(&request_and_frames());
    assert_is_told(&session, REQUEST.len());
    let response = b"HTTP/1.1 101 Switching Protocols\r\n";
    assert!(session.output.starts_with(response));
    assert!(session.output.ends_with(b"\x88\x02\x03\xE9"));
}

/// FR16, HC22: the 101 and the first frames may come in one read, or cut anywhere
#[test]
fn client_any_split_same_session() {
    let session = assert_no_split_matters::<Client<Sequence>>(&response_and_frames());
    assert_is_told(&session, RESPONSE.len());
}

/// FR16: an interim response before the 101
#[test]
fn client_early_hints_any_split_same_session() {
    let hints = b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n\r\n";
    let stream = [hints, RESPONSE, &frames(false)].concat();
    let session = assert_no_split_matters::<Client<Sequence>>(&stream);
    assert_is_told(&session, hints.len() + RESPONSE.len());
}

// ---- what breaks the protocol ----

/// A violation, the frames that commit it, and the byte of them that proves it, counted from 1:
/// of a server's frames and of a client's.
fn violations() -> Vec<(ProtocolViolation, bool, Vec<u8>, usize)> {
    use ProtocolViolation::*;
    let mut table = Vec::new();
    for masked in [false, true] {
        let one = |first, payload: &[u8]| frame_of(masked, first, payload);
        // Bytes of a header with a length of 7 bits
        let h = if masked { 6 } else { 2 };
        let mask = if masked { 0x80 } else { 0 };
        let not_allowed = InvalidCloseCode(CloseCode::NO_STATUS_RECEIVED);
        let rows = [
            (ReservedBit, one(0xC1, b"x"), 1),
            (ReservedBit, one(0xA2, b"x"), 1),
            (ReservedBit, one(0x98, b""), 1),
            (ReservedOpCode, one(0x83, b""), 1),
            (ReservedOpCode, one(0x8B, b""), 1),
            (FragmentedControl, one(0x09, b""), 1),
            (ControlTooLong, one(0x89, &[0; 126]), 2),
            (ControlTooLong, vec![0x88, mask | 127], 2),
            (LengthNotMinimal, vec![0x82, mask | 126, 0, 125, 0, 0], 4),
            (
                LengthNotMinimal,
                vec![0x82, mask | 127, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF, 0],
                8,
            ),
            (LengthOverflow, vec![0x82, mask | 127, 0x80, 0, 0], 3),
            (
                if masked { Unmasked } else { Masked },
                frame_of(!masked, 0x81, b"x"),
                2,
            ),
            (NothingToContinue, one(0x80, b"x"), 1),
            (NothingToContinue, one(0x00, b""), 1),
            (
                MessageInterrupted,
                [one(0x01, b"x"), one(0x89, b""), one(0x81, b"y")].concat(),
                2 * h + 2,
            ),
            // At the first impossible byte; at the end, where more is due
            (InvalidUtf8, one(0x81, b"ok \xED\xA0\x80 no"), h + 5),
            (InvalidUtf8, one(0x81, b"\xC0\xAF"), h + 1),
            (InvalidUtf8, one(0x81, b"ok \xE2\x82"), h + 5),
            (
                InvalidUtf8,
                [one(0x01, b"a\xE2"), one(0x89, b"p"), one(0x00, b"\x82(")].concat(),
                3 * h + 5,
            ),
            (
                InvalidUtf8,
                [one(0x01, b"\xF0"), one(0x80, b"")].concat(),
                2 * h + 1,
            ),
            (InvalidUtf8, one(0x88, b"\x03\xE8\xCE"), h + 3),
            (TruncatedCloseCode, one(0x88, b"\x03"), h + 1),
            (not_allowed, one(0x88, b"\x03\xEDwhy"), h + 5),
            // On the header that announces it
            (MessageTooBig, one(0x82, &[0; 1001]), h + 2),
            (
                MessageTooBig,
                [one(0x02, &[0; 600]), one(0x00, b""), one(0x80, &[0; 401])].concat(),
                (h + 2) + 600 + h + (h + 2),
            ),
        ];
        table.extend(rows.map(|(violation, frames, octet)| (violation, masked, frames, octet)));
    }
    table
}

/// FR15, FR16: each violation shows at the same byte in all splits
#[test]
fn open_violation_in_any_split_same_error_at_same_octet() {
    for (violation, masked, frames, octet) in violations() {
        let head = if masked { REQUEST } else { RESPONSE };
        // A sound message before, and one after that must not be heard
        let before = frame_of(masked, 0x81, b"before");
        let after = frame_of(masked, 0x81, b"after");
        let stream = [head, &before, &frames, &after].concat();
        let session = if masked {
            assert_no_split_matters::<Server>(&stream)
        } else {
            assert_no_split_matters::<Client<Sequence>>(&stream)
        };
        let at = before.len() + octet;
        assert_eq!(
            session.frames.violation,
            Some((violation, at)),
            "{frames:02x?}"
        );
        assert_eq!(session.frames.consumed, at);
    }
}

/// CL18, FR16: where the stream ends, in whatever parts it came
#[test]
fn open_stream_ends_anywhere_unexpected_eof() {
    let stream = frames(true);
    let closed_at = stream.len() - b"\x81\x05after".len();
    for end in 0..=stream.len() {
        let outcome = |sizes: &[u8]| {
            let mut connection: Connection<Server> = Connection::new(Server);
            let mut tape = Tape::default();
            let mut input = stream[..end].to_vec();
            for piece in properties::pieces(end, sizes) {
                tape.receive(&mut connection, &mut input[piece]);
            }
            (connection.receive_eof(), connection.close_code(), tape)
        };
        let whole = outcome(&[]);
        assert_eq!(outcome(&[1]), whole);
        assert_eq!(outcome(&[3, 200]), whole);
        let expected = if end < closed_at {
            (
                Err(ProtocolViolation::UnexpectedEof),
                CloseCode::ABNORMAL_CLOSURE,
            )
        } else {
            (Ok(()), CloseCode::GOING_AWAY)
        };
        assert_eq!((whole.0, whole.1), expected, "{end} octets");
    }
}

/// FR16: a head that is wrong shows the same error at the same byte in all splits. Of those that
/// show where the head ends, the frames behind it are left alone.
#[test]
fn handshake_error_in_any_split_same_error_at_same_octet() {
    use HandshakeError::*;
    let line = "GET / HTTP/1.1\r\n";
    let rows: [(HandshakeError, &[&str], usize); 10] = [
        (StartLine, &["GET /\r\n"], 7),
        (ControlCharacter, &["GET / HTTP/1.1\n"], 14),
        (HeaderName, &[line, "Host : a\r\n"], 16 + 4),
        (HeaderName, &[line, "Host: a\r\n b\r\n"], 16 + 9),
        (ControlCharacter, &[line, "Host: a\rb\r\n"], 16 + 8),
        (ControlCharacter, &[line, "Host: a\0\r\n"], 16 + 7),
        (HeaderTooLong, &[line, &"x".repeat(65)], 16 + 64),
        (NotUpgrade, &[line, "Host: a\r\n\r\n"], 16 + 11),
        (Host, &[line, "Upgrade: websocket\r\n\r\n"], 16 + 22),
        (StartLineTooLong, &["GET /", &"x".repeat(65)], 64),
    ];
    for (error, head, octet) in rows {
        let stream = [head.concat().as_bytes(), b"\x81\x80\0\0\0\0"].concat();
        let session = assert_no_split_matters::<Server>(&stream);
        assert_eq!(session.head.error, Some(error), "{head:?}");
        assert_eq!(session.head.consumed, octet, "{head:?}");
    }
    let rows: [(HandshakeError, &[u8], usize); 4] = [
        (StartLine, b"HTTP/1.1 1O1 OK\r\n", 17),
        (
            Accept,
            b"HTTP/1.1 101\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
            57,
        ),
        (
            UnexpectedStatus(404),
            b"HTTP/1.1 404 Not Found\r\nA: b\r\n\r\nbody",
            32,
        ),
        (ControlCharacter, b"HTTP/1.1 101 \x7F\r\n", 13),
    ];
    for (error, stream, octet) in rows {
        let session = assert_no_split_matters::<Client<Sequence>>(stream);
        assert_eq!(
            (session.head.error, session.head.consumed),
            (Some(error), octet)
        );
    }
}

// ---- any split of any stream ----

proptest! {
    /// FR16: the recorded session, in any number of parts
    #[test]
    fn server_any_splits_same_session(cuts in vec(any::<usize>(), 0..40)) {
        let stream = request_and_frames();
        let cut = session::<Server>(&stream, &pieces(&stream, &cuts));
        prop_assert_eq!(cut, session::<Server>(&stream, &whole(&stream)));
    }

    /// FR16: the recorded session, in any number of parts
    #[test]
    fn client_any_splits_same_session(cuts in vec(any::<usize>(), 0..40)) {
        let stream = response_and_frames();
        let cut = session::<Client<Sequence>>(&stream, &pieces(&stream, &cuts));
        prop_assert_eq!(cut, session::<Client<Sequence>>(&stream, &whole(&stream)));
    }

    /// FR10, FR11, FR15: any bytes as a header, any header as bytes
    #[test]
    fn frame_any_octets_hold(data in vec(any::<u8>(), 0..24)) {
        frame::check(&data);
    }

    /// Any two applications over any wire, with any timeouts
    #[test]
    fn session_any_link_holds(data in vec(any::<u8>(), 20..80)) {
        timed::check(&data);
    }

    /// FR16: any frames, in any pieces, with anything sent in between
    #[test]
    fn connection_any_frames_hold(data in any_session(0xFF)) {
        connection::check(&data);
    }

    /// The same outcome and the same messages as tungstenite, but for what is meant to differ
    #[cfg(feature = "peers")]
    #[test]
    fn differential_any_frames_hold(data in any_session(0x01)) {
        _ = differential::check(&data);
    }

    /// FR16, HS21: any lines, in any pieces, through any buffer
    #[test]
    fn handshake_any_lines_hold(
        setting in any::<[u8; 6]>(),
        lines in vec(any_line(), 1..12),
        rest in vec(any::<u8>(), 0..20),
    ) {
        let head = lines.concat();
        // A head that is read, not strings that are written
        let data = [&[setting[0] & !2], &setting[1..], head.as_bytes(), b"\r\n", &rest].concat();
        handshake::check(&data);
    }

    /// HC24: any strings that an application gives
    #[test]
    fn handshake_any_strings_hold(sizes in any::<[u8; 4]>(), strings in vec(".{0,20}", 0..9)) {
        let plain = ["example.com", "/chat"].map(str::to_owned);
        for strings in [&strings[..], &[&plain[..], &strings].concat()] {
            let strings = strings.iter().map(|string| string.as_bytes());
            let strings = strings.collect::<Vec<_>>().join(&0xFF);
            handshake::check(&[&[2, 0], &sizes[..], &strings].concat());
        }
    }
}

prop_compose! {
    /// An input of `connection` and `differential`, whose frames are sound for the most part.
    fn any_session(flags_mask: u8)(
        flags in any::<u8>(),
        sizes in any::<[u8; 4]>(),
        script in any::<[u8; 15]>(),
        frames in vec(any_frame(), 0..12),
        rest in vec(any::<u8>(), 0..4),
    ) -> Vec<u8> {
        let flags = flags & flags_mask;
        let mut data = vec![flags];
        data.extend(sizes);
        data.extend(&script[..usize::from(flags >> 4)]);
        for (first, payload) in frames {
            data.extend(frame_of(flags & 1 == 0, first, &payload));
        }
        data.extend(rest);
        data
    }
}

/// A frame's first byte and its payload.
fn any_frame() -> impl Strategy<Value = (u8, Vec<u8>)> {
    let text = "[aé€😀]{0,50}".prop_map(String::into_bytes);
    prop_oneof![
        4 => (prop_oneof![Just(0x81), Just(0x01), Just(0x00), Just(0x80)], text.clone()),
        // In the midst of a code point
        2 => (prop_oneof![Just(0x01), Just(0x00)], text, any::<usize>()).prop_map(
            |(first, mut text, cut)| {
                text.truncate(cut % (text.len() + 1));
                (first, text)
            }
        ),
        2 => (prop_oneof![Just(0x82), Just(0x02), Just(0x80)], vec(any::<u8>(), 0..300)),
        2 => (prop_oneof![Just(0x89), Just(0x8A)], vec(any::<u8>(), 0..=125)),
        1 => (any::<u16>(), "[aé€😀]{0,12}").prop_map(|(code, reason)| {
            (0x88, [&code.to_be_bytes(), reason.as_bytes()].concat())
        }),
        1 => (any::<u8>(), vec(any::<u8>(), 0..130)),
    ]
}

fn any_line() -> impl Strategy<Value = String> {
    const SOUND: [&str; 16] = [
        "\r\n",
        "HEAD ws://a?b HTTP/1.1\r\n",
        " folded\r\n",
        "\t\r\n",
        "Upgrade:\r\n",
        "GET / HTTP/1.1\r\n",
        "HTTP/1.1 101 Switching Protocols\r\n",
        "Host: a\r\n",
        "Upgrade: websocket\r\n",
        "Connection: keep-alive, Upgrade\r\n",
        "Sec-WebSocket-Version: 13\r\n",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
        "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n",
        "Sec-WebSocket-Protocol: chat\r\n",
        "Sec-WebSocket-Extensions: permessage-deflate; a=\"b\"\r\n",
        "Content-Length: 0\r\n",
    ];
    prop_oneof![
        10 => proptest::sample::select(SOUND.to_vec()).prop_map(str::to_owned),
        2 => "[A-Za-z-]{1,12}:[ \t]{0,40}[!-~]{0,8}[ \t]{0,40}[ -~é]{0,200}\r\n",
        1 => ".{0,20}(\r\n|\r|\n)",
    ]
}

// ---- the fuzz targets' seeds ----

/// Each seed in `fuzz/corpus` of a target.
fn for_each_seed(target: &str, mut check: impl FnMut(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../fuzz/corpus")
        .join(target);
    let mut seeds = 0;
    for entry in fs::read_dir(folder).expect("the seeds are committed") {
        let path = entry.expect("a readable folder").path();
        // What has no extension was found by a fuzzer, and may be anything.
        if path.extension().is_some() {
            println!("{}", path.display());
            check(&fs::read(path).expect("a readable file"));
            seeds += 1;
        }
    }
    assert!(seeds > 10, "the seeds are committed");
}

/// FR10, FR11, FR15: what the fuzz target starts from
#[test]
fn frame_seeds_hold() {
    for_each_seed("frame", frame::check);
}

/// FR16: what the fuzz target starts from
#[test]
fn connection_seeds_hold() {
    for_each_seed("connection", connection::check);
}

/// FR16: what the fuzz target starts from
#[test]
fn handshake_seeds_hold() {
    for_each_seed("handshake", handshake::check);
}

/// HC01, HC13, HC24: what the fuzz target starts from
#[test]
fn net_seeds_hold() {
    for_each_seed("net", net::check);
}

/// PD26: what the fuzz target starts from
#[test]
fn deflate_seeds_hold() {
    for_each_seed("deflate", deflate::check);
}

/// What the fuzz target starts from
#[test]
fn session_seeds_hold() {
    for_each_seed("session", timed::check);
}

/// What the fuzz target starts from; and each difference that is listed as intended is there.
#[cfg(feature = "peers")]
#[test]
fn differential_seeds_hold_and_show_each_difference() {
    let mut seen = Vec::new();
    for_each_seed("differential", |data| {
        if let Some(difference) = differential::check(data) {
            println!("  {}: {}", difference.name, difference.reason);
            seen.push(difference.name);
        }
    });
    for difference in &differential::DIFFERENCES {
        assert!(
            seen.contains(&difference.name),
            "no seed shows {}",
            difference.name
        );
    }
}
