//! Compressed messages from one connection to another, in both roles.
#![cfg(feature = "deflate")]
#![expect(clippy::indexing_slicing, reason = "a test may panic")]

use motews::deflate::{
    Compressor, Decompressor, DeflateContext, Deflater, Inflater, Level, WindowBits, wire_limit,
};
use motews::{
    Chunk, Client, Connection, ConnectionConfig, DataKind, Entropy, EntropyError, Event, Message,
    MessageBuffer, NoRoom, ProtocolViolation, Role, SendError, Server,
};
use motews_testkit::frame::masked as frame;

#[derive(Clone, Debug)]
struct Counter(u8);

impl Entropy for Counter {
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), EntropyError> {
        for byte in bytes {
            self.0 = self.0.wrapping_mul(5).wrapping_add(17);
            *byte = self.0;
        }
        Ok(())
    }
}

fn config(compression: bool) -> ConnectionConfig {
    ConnectionConfig {
        compression,
        ..ConnectionConfig::default()
    }
}

fn server() -> Connection<Server> {
    Connection::with_config(Server, config(true))
}

fn client() -> Connection<Client<Counter>> {
    Connection::with_config(Client::new(Counter(1)), config(true))
}

fn context(bits: u8, takeover: bool) -> DeflateContext {
    DeflateContext {
        window_bits: WindowBits::new(bits).expect("8 to 15"),
        takeover,
    }
}

fn compressor(context: DeflateContext) -> Compressor<Vec<u8>> {
    Compressor::new(
        vec![0; 50_000 + 4 * context.window_bits.size()],
        context,
        Level::Default,
    )
    .expect("there is room")
}

/// The frames of a message, through an output of this size.
fn send<R: Role>(
    compressor: &mut Compressor<Vec<u8>>,
    connection: &mut Connection<R>,
    kind: DataKind,
    payload: &[u8],
    room: usize,
) -> Vec<u8> {
    let mut wire = Vec::new();
    let mut out = vec![0xEE; room];
    let mut rest = payload;
    loop {
        let sent = compressor
            .send_fragment(connection, kind, rest, true, &mut out)
            .expect("it is open");
        rest = &rest[sent.consumed..];
        wire.extend(&out[..sent.written]);
        if sent.done {
            assert!(rest.is_empty());
            return wire;
        }
        assert!(sent.written > 0, "there is room for something");
    }
}

/// The messages that come out, with parts of this size read at a time into so much room.
fn receive<R: Role, W: AsRef<[u8]> + AsMut<[u8]>>(
    connection: &mut Connection<R>,
    decompressor: &mut Decompressor<W>,
    wire: &[u8],
    read: usize,
    room: usize,
) -> Result<Vec<(DataKind, Vec<u8>)>, ProtocolViolation> {
    let mut messages = Vec::new();
    let mut message: Option<Vec<u8>> = None;
    let mut out = vec![0xEE; room];
    for part in wire.chunks(read) {
        let mut part = part.to_vec();
        let mut input = &mut part[..];
        while let Some(event) = connection.next_event(&mut input)? {
            let Event::Data(mut chunk) = event else {
                continue;
            };
            while let Some(part) = decompressor.next(&mut chunk, &mut out)? {
                assert_eq!(
                    part.first,
                    message.is_none(),
                    "first and last frame a message"
                );
                assert!(!part.compressed);
                message.get_or_insert_default().extend(&*part.bytes);
                if part.last {
                    messages.push((part.kind, message.take().expect("it has begun")));
                }
            }
        }
    }
    assert_eq!(message, None);
    Ok(messages)
}

fn text(len: usize) -> String {
    let mut text = String::new();
    for n in 0.. {
        if text.len() > len {
            break;
        }
        text += &format!("{{\"sensor\":{n},\"grüße\":\"{}\"}}, ", n * 7919 % 1000);
    }
    text
}

/// PD13, PD15, PD22 to PD24: messages of both kinds, compressed and not, in frames and parts of any
/// size, from either role to the other.
#[test]
fn compressed_messages_between_both_roles_arrive_whole() {
    let long = text(3000);
    let messages = [long.as_bytes(), b"", b"Hello", long.as_bytes(), b"Hello"];
    for takeover in [true, false] {
        for bits in [8, 10, 15] {
            let context = context(bits, takeover);
            for (room, read, out) in [
                (6 + 4, 1, 1),
                (30, 7, 5),
                (131, 100, 64),
                (200, 999, 4000),
                (100_000, 100_000, 300),
            ] {
                let (mut a, mut b) = (client(), server());
                let mut compressor = compressor(context);
                let window = vec![0; context.window_bits.size()];
                let mut decompressor =
                    Decompressor::new(window, context, 1 << 20).expect("there is room");
                let mut wire = Vec::new();
                let mut expected = Vec::new();
                for (n, message) in messages.iter().enumerate() {
                    wire.extend(send(&mut compressor, &mut a, DataKind::Text, message, room));
                    expected.push((DataKind::Text, message.to_vec()));
                    // One that is not compressed does not count, and goes out as it is.
                    let mut plain = vec![0; 8000];
                    let len = a
                        .send(Message::Binary(message), &mut plain)
                        .expect("there is room");
                    assert_eq!(plain[0], 0x82);
                    wire.extend(&plain[..len]);
                    expected.push((DataKind::Binary, message.to_vec()));
                    if n == 2 {
                        compressor.reset();
                    }
                }
                let received = receive(&mut b, &mut decompressor, &wire, read, out);
                assert_eq!(received, Ok(expected), "{bits}, {room}, {read}, {out}");
            }
        }
    }
    // The other way, unmasked
    let (mut a, mut b) = (server(), client());
    let mut compressor = compressor(context(15, true));
    let mut decompressor =
        Decompressor::new([0; 1 << 15], context(15, true), 1 << 20).expect("room");
    let wire = send(&mut compressor, &mut a, DataKind::Text, long.as_bytes(), 50);
    let received = receive(&mut b, &mut decompressor, &wire, 3, 70);
    assert_eq!(received, Ok(vec![(DataKind::Text, long.into_bytes())]));
}

/// PD13, PD14: RSV1 stands on the first frame only, and the last has FIN.
#[test]
fn compressed_message_in_many_frames_has_rsv1_on_the_first() {
    let mut connection = server();
    let mut compressor = compressor(context(15, true));
    let message = text(400);
    let mut out = [0; 20];
    let mut rest = message.as_bytes();
    let mut firsts = Vec::new();
    loop {
        let fin = rest.len() <= 100;
        let part = &rest[..rest.len().min(100)];
        let sent = compressor
            .send_fragment(&mut connection, DataKind::Text, part, fin, &mut out)
            .expect("it is open");
        rest = &rest[sent.consumed..];
        if sent.written > 0 {
            assert_eq!(usize::from(out[1]), sent.written - 2, "the shortest length");
            firsts.push(out[0]);
        }
        if sent.done && fin {
            break;
        }
    }
    assert!(firsts.len() > 2);
    assert_eq!(firsts.remove(0), 0x41);
    assert_eq!(firsts.pop(), Some(0x80));
    assert!(firsts.iter().all(|first| *first == 0));
    // And the next begins anew.
    let sent =
        compressor.send_fragment(&mut connection, DataKind::Binary, b"Hello", true, &mut out);
    assert_eq!((out[0], sent.map(|sent| sent.done)), (0xC2, Ok(true)));
}

/// FR10, with compression: each length of a header is the shortest there is.
#[test]
fn compressed_frame_of_any_length_has_the_shortest_header() {
    let noise: Vec<u8> = (0..70_000_u32)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8 ^ (n >> 7) as u8)
        .collect();
    for len in [
        0, 1, 115, 118, 119, 120, 121, 124, 126, 300, 65_000, 65_520, 65_529, 65_530, 65_540,
        70_000,
    ] {
        for room in [len + 100, 100_000] {
            let (mut a, mut b) = (client(), server());
            let mut compressor = compressor(context(15, false));
            let mut decompressor =
                Decompressor::new([0; 1 << 15], context(15, false), 1 << 20).expect("room");
            let wire = send(
                &mut compressor,
                &mut a,
                DataKind::Binary,
                &noise[..len],
                room,
            );
            let received = receive(&mut b, &mut decompressor, &wire, 1 << 20, 1 << 20);
            assert_eq!(
                received,
                Ok(vec![(DataKind::Binary, noise[..len].to_vec())]),
                "{len}"
            );
        }
    }
}

/// Nothing has changed where nothing could be sent.
#[test]
fn compressed_message_that_cannot_be_sent_changes_nothing() {
    let mut compressor = compressor(context(15, true));
    let mut out = [0; 64];
    let mut plain: Connection<Server> = Connection::new(Server);
    let sent = compressor.send_fragment(&mut plain, DataKind::Text, b"Hello", true, &mut out);
    assert_eq!(sent, Err(SendError::CompressionNotNegotiated));
    let mut connection = server();
    let sent = compressor.send_fragment(
        &mut connection,
        DataKind::Text,
        b"Hello",
        true,
        &mut out[..2],
    );
    assert_eq!(sent, Err(SendError::NoRoom));
    connection
        .send_fragment(DataKind::Binary, b"x", false, &mut out)
        .expect("open");
    let sent = compressor.send_fragment(&mut connection, DataKind::Text, b"Hello", true, &mut out);
    assert_eq!(sent, Err(SendError::MessageInProgress));
    connection
        .send_fragment(DataKind::Binary, b"", true, &mut out)
        .expect("open");
    let sent = compressor.send_fragment(&mut connection, DataKind::Text, b"Hello", true, &mut out);
    assert_eq!(sent.map(|sent| sent.written), Ok(9));
    assert_eq!(out[..9], *b"\xc1\x07\xf2\x48\xcd\xc9\xc9\x07\x00");
    // A part that gives no output yet begins no frame.
    let sent = compressor
        .send_fragment(&mut connection, DataKind::Text, b"Hello", false, &mut out)
        .expect("open");
    assert_eq!((sent.consumed, sent.written, sent.done), (5, 0, true));
    connection
        .close(motews::CloseCode::NORMAL, "")
        .expect("open");
    let sent = compressor.send_fragment(&mut connection, DataKind::Text, b"", true, &mut out);
    assert_eq!(sent, Err(SendError::NotOpen));
}

/// MS11, PD27: text is judged as it comes out, at the first part that cannot be right.
#[test]
fn compressed_text_that_is_not_utf8_fails() {
    for (text, is_text) in [
        (&b"caf\xc3\xa9"[..], true),
        (b"caf\xc3", false),
        (b"\xc3caf", false),
        (b"caf\xff....", false),
    ] {
        for (room, out) in [(9, 1), (100, 100)] {
            let (mut a, mut b) = (client(), server());
            let mut compressor = compressor(context(15, true));
            let mut decompressor =
                Decompressor::new([0; 1 << 15], context(15, true), 100).expect("room");
            let wire = send(&mut compressor, &mut a, DataKind::Text, text, room);
            let received = receive(&mut b, &mut decompressor, &wire, 1, out);
            assert_eq!(received.is_ok(), is_text);
            if !is_text {
                assert_eq!(received, Err(ProtocolViolation::InvalidUtf8));
            }
        }
    }
}

/// PD27: a bomb stops at the limit, wherever that is; a message of just that length does not.
#[test]
fn compressed_message_beyond_the_limit_fails_with_1009() {
    let zeros = vec![0; 1 << 20];
    let mut a = client();
    let mut compressor = compressor(context(15, true));
    let wire = send(&mut compressor, &mut a, DataKind::Binary, &zeros, 1 << 20);
    assert!(wire.len() < 4000, "{} octets", wire.len());
    for limit in [0, 1, 1000, (1 << 20) - 1] {
        for out in [1, 999, 5000] {
            let mut b = server();
            let mut decompressor =
                Decompressor::new([0; 1 << 15], context(15, true), limit).expect("room");
            let received = receive(&mut b, &mut decompressor, &wire, 100, out);
            assert_eq!(received, Err(ProtocolViolation::MessageTooBig));
            assert_eq!(ProtocolViolation::MessageTooBig.close_code().as_u16(), 1009);
        }
    }
    let mut decompressor =
        Decompressor::new([0; 1 << 15], context(15, true), 1 << 20).expect("room");
    let received = receive(&mut server(), &mut decompressor, &wire, 100, 5000);
    assert_eq!(received.map(|messages| messages[0].1.len()), Ok(1 << 20));

    // One that is not compressed, within the limit on the wire but not within the other
    let mut decompressor = Decompressor::new([0; 1 << 15], context(15, true), 10).expect("room");
    let received = receive(
        &mut server(),
        &mut decompressor,
        &frame(0x82, &[7; 11]),
        100,
        50,
    );
    assert_eq!(received, Err(ProtocolViolation::MessageTooBig));
    let received = receive(
        &mut server(),
        &mut decompressor,
        &frame(0x82, &[7; 10]),
        100,
        50,
    );
    assert_eq!(received, Ok(vec![(DataKind::Binary, vec![7; 10])]));
    // Nor where it is put together, in a buffer that has room for it.
    let mut buffer = MessageBuffer::new([0; 100]);
    for (parts, fits) in [
        (&[10][..], true),
        (&[11], false),
        (&[5, 6], false),
        (&[5, 5], true),
    ] {
        let (mut connection, mut result) = (server(), Ok(None));
        for (n, len) in parts.iter().enumerate() {
            let first = if n == 0 { 0x02 } else { 0x00 };
            let fin = if n + 1 == parts.len() { 0x80 } else { 0 };
            let mut frame = frame(first | fin, &vec![7; *len]);
            let event = connection.next_event(&mut &mut frame[..]);
            let Ok(Some(Event::Data(chunk))) = event else {
                panic!("a part of a message");
            };
            let message = buffer.push_inflated(chunk, &mut decompressor);
            result = message.map(|message| message.map(|message| message.as_bytes().len()));
        }
        let expected = match fits {
            true => Ok(Some(10)),
            false => Err(ProtocolViolation::MessageTooBig),
        };
        assert_eq!(result, expected, "{parts:?}");
    }
}

/// A message of just the limit passes however little its compressor knows: noise in blocks of a
/// window of 256 bytes, in codes of 9 bits, or flushed after every few bytes.
#[test]
fn compressed_message_of_the_limit_that_has_grown_arrives() {
    let noise: Vec<u8> = (0..70_000_u32)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8 ^ (n >> 7) as u8)
        .collect();
    let limited = |len: usize| -> Connection<Server> {
        let max_message_len = wire_limit(len as u64);
        Connection::with_config(
            Server,
            ConnectionConfig {
                max_message_len,
                compression: true,
            },
        )
    };
    let mut grown = Vec::new();
    // By the deflater, in the least memory
    for bits in 8..=15 {
        let context = context(bits, true);
        let least = Deflater::<Vec<u8>>::min_memory(context.window_bits);
        let mut compressor =
            Compressor::new(vec![0; least], context, Level::Default).expect("there is room");
        let (mut wire, mut filled, mut rest) = (vec![0; 80_000], 0, &noise[..]);
        compressor.compress(&mut rest, true, &mut wire, &mut filled);
        assert!(rest.is_empty() && filled < wire.len());
        grown.push((wire[..filled].to_vec(), noise.clone()));
    }
    // As who writes each few bytes out, in a stored block: 5 bytes more
    let flushed = |len: usize| {
        let block = |part: &[u8]| {
            let len = part.len() as u16;
            [&[0][..], &len.to_le_bytes(), &(!len).to_le_bytes(), part].concat()
        };
        let mut wire: Vec<u8> = noise.chunks(len).flat_map(block).collect();
        wire.push(0);
        wire
    };
    grown.push((flushed(5), noise.clone()));
    let octet = |bits: &[bool]| {
        let bits = bits.iter().rev();
        bits.fold(0, |octet, bit| octet << 1 | u8::from(*bit))
    };
    // The same with fixed codes of 9 bits, as zlib does: 15 bytes for 8
    let mut bits: Vec<bool> = Vec::new();
    for _ in 0..70_000 / 8 {
        bits.extend([false, true, false]);
        bits.extend([true; 8 * 9]); // 255
        bits.extend([false; 7 + 3]);
        bits.resize(bits.len().next_multiple_of(8), false);
        bits.extend([[false; 16], [true; 16]].concat());
    }
    bits.extend([false; 3]);
    grown.push((bits.chunks(8).map(octet).collect(), vec![255; 70_000]));
    // Fixed codes of 9 bits: an eighth more
    let mut bits: Vec<bool> = vec![false, true, false];
    for _ in 0..70_000 {
        bits.extend([true; 9]); // 255
    }
    bits.extend([false; 7 + 3]);
    grown.push((bits.chunks(8).map(octet).collect(), vec![255; 70_000]));

    for (wire, message) in grown {
        let mut frame = vec![0xC2, 0x80 | 127];
        frame.extend((wire.len() as u64).to_be_bytes());
        frame.extend([0; 4]);
        frame.extend(&wire);
        let mut decompressor =
            Decompressor::new([0; 1 << 15], context(15, true), message.len() as u64).expect("room");
        let received = receive(
            &mut limited(message.len()),
            &mut decompressor,
            &frame,
            10_000,
            5000,
        );
        assert!(
            received == Ok(vec![(DataKind::Binary, message)]),
            "{}",
            wire.len()
        );
    }
    assert_eq!([0, 1, u64::MAX].map(wire_limit), [64, 66, u64::MAX]);
}

/// Without a window, what cannot be copied from anywhere is refused: it does not hang, and nothing
/// else comes out.
#[test]
fn compressed_message_without_a_window_that_outgrows_its_output_fails() {
    // 900 times "a"
    let wire = frame(0xC2, b"\x4a\x4c\x1c\x05\xa3\x60\x14\x0c\x24\x00\x00");
    let mut whole = Decompressor::new([0; 1 << 15], context(15, true), 5000).expect("room");
    let received = receive(&mut server(), &mut whole, &wire, 100, 5000);
    assert_eq!(received, Ok(vec![(DataKind::Binary, vec![b'a'; 900])]));
    for room in [1, 2, 100, 258, 300] {
        let mut decompressor = Decompressor::new([], context(15, false), 5000).expect("none");
        let received = receive(&mut server(), &mut decompressor, &wire, 100, room);
        assert_eq!(received, Err(ProtocolViolation::Compression), "{room}");
    }
    // Where the peer takes its context over there must be a window.
    assert_eq!(
        Decompressor::new([], context(15, true), 5000).err(),
        Some(NoRoom)
    );
    let mut none = Decompressor::new([], context(15, false), 5000).expect("none");
    assert_eq!(none.reset_with(context(8, true)), Err(NoRoom));
    assert_eq!(none.reset_with(context(8, false)), Ok(()));
}

/// PD26, PD28: what cannot be inflated fails with 1007.
#[test]
fn compressed_message_that_is_malformed_fails_with_1007() {
    for payload in [&b"\xff\xff"[..], b"\xf2\x48\xcd", b"\xf2\x00\x11\x00\x00"] {
        let mut decompressor =
            Decompressor::new([0; 1 << 15], context(15, true), 100).expect("room");
        let received = receive(
            &mut server(),
            &mut decompressor,
            &frame(0xC2, payload),
            1,
            50,
        );
        assert_eq!(received, Err(ProtocolViolation::Compression));
        assert_eq!(ProtocolViolation::Compression.close_code().as_u16(), 1007);
    }
}

/// PD16: control frames between the fragments leave the message alone.
#[test]
fn control_frames_in_a_compressed_message_change_nothing() {
    let payload = b"\xf2\x48\xcd\xc9\xc9\x07\x00";
    let wire = [
        frame(0x41, &payload[..3]),
        frame(0x89, b"ping"),
        frame(0x00, b""),
        frame(0x8A, b""),
        frame(0x80, &payload[3..]),
    ]
    .concat();
    let mut decompressor = Decompressor::new([0; 256], context(8, true), 100).expect("room");
    let received = receive(&mut server(), &mut decompressor, &wire, 1, 50);
    assert_eq!(received, Ok(vec![(DataKind::Text, b"Hello".to_vec())]));
}

/// PD16: and those that are sent between them are not compressed.
#[test]
fn control_frames_are_sent_in_a_compressed_message_as_they_are() {
    let (mut a, mut b) = (server(), client());
    let mut compressor = compressor(context(15, true));
    let mut decompressor =
        Decompressor::new([0; 1 << 15], context(15, true), 1 << 20).expect("room");
    let message = text(3000);
    let (mut wire, mut rest, mut frames) = (Vec::new(), message.as_bytes(), 0);
    let mut out = [0; 100];
    loop {
        let sent = compressor
            .send_fragment(&mut a, DataKind::Text, rest, true, &mut out)
            .expect("it is open");
        rest = &rest[sent.consumed..];
        wire.extend(&out[..sent.written]);
        if sent.done {
            break;
        }
        let len = a.ping(b"ping, ping", &mut out).expect("it is open");
        assert_eq!(out[..len], *b"\x89\x0aping, ping");
        wire.extend(&out[..len]);
        frames += 1;
    }
    assert!(frames > 2);
    let received = receive(&mut b, &mut decompressor, &wire, 7, 50);
    assert_eq!(received, Ok(vec![(DataKind::Text, message.into_bytes())]));
}

/// PD29: in memory that served another connection, nothing of it can be referred to, wherever that
/// one ended.
#[test]
fn renewed_stream_that_refers_to_the_one_before_fails() {
    let again = frame(0xC2, b"\xf2\x00\x11\x00\x00"); // "H", and 4 bytes from 5 before
    for bits in 8..=15 {
        let context = context(bits, true);
        let mut compressor = compressor(context);
        let wire = send(
            &mut compressor,
            &mut client(),
            DataKind::Binary,
            text(70_000).as_bytes(),
            1 << 20,
        );
        let window = vec![0xEE; context.window_bits.size()];
        let mut decompressor = Decompressor::new(window, context, 1 << 20).expect("room");
        // Up to the midst of a message, or to its end
        for read in [wire.len() / 2, wire.len()] {
            let mut part = wire[..read].to_vec();
            let mut connection = server();
            let Ok(Some(Event::Data(mut chunk))) = connection.next_event(&mut &mut part[..]) else {
                panic!("a part of a message");
            };
            let mut out = [0; 999];
            while let Some(part) = decompressor.next(&mut chunk, &mut out).expect("right") {
                assert!(part.last || !part.bytes.is_empty());
            }
            decompressor.reset_with(context).expect("room");
            let received = receive(&mut server(), &mut decompressor, &again, 1, 50);
            assert_eq!(received, Err(ProtocolViolation::Compression));
            decompressor.reset_with(context).expect("room");
        }
    }
}

/// PD08, PD23: a buffer for whole messages is the window, where the context is not taken over; and
/// with a window of its own beside it, where it is.
#[test]
fn message_buffer_takes_compressed_messages_with_and_without_a_window() {
    let long = text(3000);
    for takeover in [false, true] {
        let context = context(if takeover { 10 } else { 15 }, takeover);
        let window = if takeover { 1 << 10 } else { 0 };
        let (mut a, mut b) = (client(), server());
        let mut compressor = compressor(context);
        let mut decompressor =
            Decompressor::new(vec![0; window], context, 4000).expect("there is room");
        let mut buffer = MessageBuffer::new([0; 3100]);
        let mut wire = Vec::new();
        let mut expected = Vec::new();
        for message in [&long, "Hello", "", &long, "Hello"] {
            wire.extend(send(
                &mut compressor,
                &mut a,
                DataKind::Text,
                message.as_bytes(),
                99,
            ));
            wire.extend(frame(0x81, b"plain"));
            expected.extend([message.to_owned(), "plain".to_owned()]);
        }
        wire.extend(send(
            &mut compressor,
            &mut a,
            DataKind::Text,
            text(3101).as_bytes(),
            5000,
        ));
        let mut received = Vec::new();
        let mut failed = None;
        for part in wire.chunks_mut(17) {
            let mut input = part;
            while let Ok(Some(event)) = b.next_event(&mut input) {
                let Event::Data(chunk) = event else { continue };
                match buffer.push_inflated(chunk, &mut decompressor) {
                    Ok(None) => {}
                    Ok(Some(Message::Text(text))) => received.push(text.to_owned()),
                    Ok(Some(Message::Binary(_))) => panic!("there is no binary message"),
                    Err(violation) => {
                        b.fail(violation);
                        failed = Some(violation);
                    }
                }
            }
        }
        assert_eq!(received, expected);
        assert_eq!(failed, Some(ProtocolViolation::MessageTooBig));
    }
}

/// The start is told once, by whoever receives it.
#[test]
fn message_that_began_in_a_buffer_and_goes_on_in_parts_does_not_begin_again() {
    let context = context(10, true);
    let (mut a, mut b) = (client(), server());
    let mut compressor = compressor(context);
    let mut decompressor = Decompressor::new([0; 1 << 10], context, 4000).expect("there is room");
    let mut buffer = MessageBuffer::new([0; 3000]);
    let message = text(3000);
    let mut wire = send(
        &mut compressor,
        &mut a,
        DataKind::Text,
        message.as_bytes(),
        99,
    );
    let (start, rest) = wire.split_at_mut(150);
    let mut input = start;
    while let Some(Event::Data(chunk)) = b.next_event(&mut input).expect("right") {
        assert_eq!(buffer.push_inflated(chunk, &mut decompressor), Ok(None));
    }
    let mut received = buffer.assembled().to_vec();
    let mut input = rest;
    while let Some(Event::Data(mut chunk)) = b.next_event(&mut input).expect("right") {
        let mut out = [0; 64];
        while let Some(part) = decompressor.next(&mut chunk, &mut out).expect("right") {
            assert!(!part.first);
            received.extend_from_slice(part.bytes);
        }
    }
    assert_eq!(received, message.as_bytes());
}

/// As firmware does, which has room for a little of the output at a time; and its memory serves the
/// next connection.
#[test]
fn compressed_chunk_that_was_moved_inflates_bit_by_bit() {
    let first = context(10, true);
    let mut compressor = Compressor::new(vec![0xEE; 4096], first, Level::Default).expect("room");
    let mut decompressor = Decompressor::new([0xEE; 1 << 10], first, u64::MAX).expect("room");
    for (bits, takeover) in [(10, true), (10, false), (9, true), (8, false), (10, true)] {
        let (mut a, mut b) = (client(), server());
        compressor
            .reset_with(context(bits, takeover))
            .expect("room");
        decompressor
            .reset_with(context(bits, takeover))
            .expect("room");
        for message in [text(3000), String::new(), text(100), "a".repeat(3000)] {
            let mut wire = vec![0; 8192];
            let sent = compressor
                .send_fragment(&mut a, DataKind::Text, message.as_bytes(), true, &mut wire)
                .expect("it is open");
            assert!(sent.done);
            let mut received = Vec::new();
            let mut lasts = 0;
            for part in wire[..sent.written].chunks_mut(64) {
                let mut input = part;
                while let Some(event) = b.next_event(&mut input).expect("right") {
                    let Event::Data(chunk) = event else {
                        continue;
                    };
                    let (kind, mut first, mut last) = (chunk.kind, chunk.first, chunk.last);
                    let mut kept = chunk.bytes.to_vec();
                    loop {
                        let mut chunk = Chunk::compressed(kind, &mut kept, first, last);
                        let mut out = [0; 7];
                        let part = decompressor.next(&mut chunk, &mut out).expect("right");
                        let is_end = part.is_none();
                        if let Some(part) = part {
                            assert_eq!(part.first, received.is_empty());
                            received.extend_from_slice(part.bytes);
                            lasts += usize::from(part.last);
                        }
                        (first, last) = (chunk.first, chunk.last);
                        kept = chunk.bytes.to_vec();
                        if is_end {
                            break;
                        }
                    }
                }
            }
            assert_eq!(
                (String::from_utf8(received), lasts),
                (Ok(message), 1),
                "takeover: {takeover}"
            );
        }
        // In the midst of a message.
        let mut out = [0; 64];
        let long = text(5000);
        let sent =
            compressor.send_fragment(&mut a, DataKind::Text, long.as_bytes(), false, &mut out);
        assert!(sent.expect("it is open").written > 0);
        let mut input = &mut out[..];
        let Ok(Some(Event::Data(mut chunk))) = b.next_event(&mut input) else {
            panic!("a part of a message");
        };
        let mut part = [0; 16];
        assert!(decompressor.next(&mut chunk, &mut part).is_ok());
    }
    assert_eq!(compressor.reset_with(context(12, true)), Err(NoRoom));
    assert_eq!(decompressor.reset_with(context(11, true)), Err(NoRoom));
}

/// What a firmware with windows of 1 KiB both ways takes: 6 KiB.
#[test]
fn firmware_with_windows_of_one_kib_takes_six_kib() {
    const BITS: WindowBits = WindowBits::new(10).unwrap();
    const MEMORY: usize = Deflater::<[u8; 0]>::min_memory(BITS) + 700;
    type Window = [u8; 1 << 10];
    let (receives, sends) = (
        size_of::<Decompressor<Window>>(),
        size_of::<Compressor<[u8; MEMORY]>>(),
    );
    assert!(receives + sends <= 6 * 1024, "{receives} and {sends}");
    assert!(size_of::<Inflater<[u8; 0]>>() <= 2048);
    assert!(Compressor::new([0; MEMORY], context(10, true), Level::Default).is_ok());
}
