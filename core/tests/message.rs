//! Messages assembled in a fixed buffer.

use motews::{
    Connection, ConnectionConfig, DataKind, Event, Message, MessageBuffer, MessageError,
    ProtocolViolation, Server,
};
use motews_testkit::frame::masked as frame;

#[derive(Debug, PartialEq)]
enum Pushed {
    More,
    Text(String),
    Binary(Vec<u8>),
    Failed(MessageError),
}
use Pushed::{Failed, More};

fn text(text: &str) -> Pushed {
    Pushed::Text(text.to_owned())
}

fn binary(bytes: &[u8]) -> Pushed {
    Pushed::Binary(bytes.to_vec())
}

/// What a buffer of `N` bytes makes of the chunks of these frames.
fn push<const N: usize>(messages: &mut MessageBuffer<[u8; N]>, frames: &[Vec<u8>]) -> Vec<Pushed> {
    let config = ConnectionConfig {
        compression: true,
        ..ConnectionConfig::default()
    };
    let mut connection: Connection<Server> = Connection::with_config(Server, config);
    let mut bytes = frames.concat();
    let mut input = &mut bytes[..];
    let mut pushed = Vec::new();
    while let Some(event) = connection.next_event(&mut input).expect("valid frames") {
        let Event::Data(chunk) = event else { continue };
        pushed.push(match messages.push(chunk) {
            Ok(None) => More,
            Ok(Some(Message::Text(message))) => text(message),
            Ok(Some(Message::Binary(message))) => binary(message),
            Err(error) => Failed(error),
        });
    }
    pushed
}

/// MS05: the payloads of the frames in their order, as one message of the first one's type.
#[test]
fn buffer_fragments_become_one_message() {
    let mut messages = MessageBuffer::new([0; 5]);
    let frames = [frame(0x01, b"He"), frame(0x00, b"l"), frame(0x80, b"lo")];
    assert_eq!(push(&mut messages, &frames), [More, More, text("Hello")]);
    let frames = [frame(0x02, b"\xff"), frame(0x80, b"\x00")];
    assert_eq!(push(&mut messages, &frames), [More, binary(b"\xff\x00")]);
}

/// MS12: a code point split over frames is whole in the message.
#[test]
fn buffer_code_point_over_two_frames_is_text() {
    let mut messages = MessageBuffer::new([0; 3]);
    let frames = [frame(0x01, b"\xe2\x82"), frame(0x80, b"\xac")];
    assert_eq!(push(&mut messages, &frames), [More, text("€")]);
}

/// MS10: each message begins afresh.
#[test]
fn buffer_second_message_has_nothing_of_the_first() {
    let mut messages = MessageBuffer::new([0; 4]);
    let frames = [
        frame(0x01, b"ab"),
        frame(0x80, b"cd"),
        frame(0x81, b"ef"),
        frame(0x01, b"g"),
        frame(0x80, b"h"),
    ];
    let expected = [More, text("abcd"), text("ef"), More, text("gh")];
    assert_eq!(push(&mut messages, &frames), expected);
}

/// MS10: of a message whose start was received elsewhere, the rest.
#[test]
fn buffer_message_that_began_elsewhere_has_nothing_of_the_one_before() {
    let mut messages = MessageBuffer::new([0; 4]);
    let whole = [frame(0x01, b"ab"), frame(0x80, b"cd")];
    assert_eq!(push(&mut messages, &whole), [More, text("abcd")]);
    let mut connection: Connection<Server> = Connection::new(Server);
    let mut input = [frame(0x01, b"ef"), frame(0x80, b"gh")].concat();
    let mut input = &mut input[..];
    assert!(matches!(
        connection.next_event(&mut input),
        Ok(Some(Event::Data(_)))
    ));
    let Ok(Some(Event::Data(rest))) = connection.next_event(&mut input) else {
        panic!("the rest of it");
    };
    assert_eq!(messages.push(rest), Ok(Some(Message::Text("gh"))));
}

/// MS15: empty messages are messages.
#[test]
fn buffer_empty_messages_are_delivered() {
    let mut messages = MessageBuffer::new([0; 0]);
    let frames = [
        frame(0x81, b""),
        frame(0x82, b""),
        frame(0x01, b""),
        frame(0x00, b""),
        frame(0x80, b""),
    ];
    let expected = [text(""), binary(b""), More, text("")];
    assert_eq!(push(&mut messages, &frames), expected);
}

/// FR17: exactly as long as the buffer passes; one byte more does not, in one frame or in many.
#[test]
fn buffer_message_beyond_its_size_is_too_big() {
    let mut messages = MessageBuffer::new([0; 4]);
    assert_eq!(messages.capacity(), 4);
    assert_eq!(push(&mut messages, &[frame(0x81, b"abcd")]), [text("abcd")]);
    let frames = [frame(0x01, b"abc"), frame(0x80, b"d")];
    assert_eq!(push(&mut messages, &frames), [More, text("abcd")]);

    let too_big = Failed(MessageError::TooBig);
    assert_eq!(push(&mut messages, &[frame(0x81, b"abcde")]), [too_big]);
    let frames = [frame(0x01, b"abc"), frame(0x80, b"de")];
    assert_eq!(
        push(&mut messages, &frames),
        [More, Failed(MessageError::TooBig)]
    );
    assert_eq!(messages.assembled(), b"abc");
}

/// FR17: what follows in a message that is too big is refused, even if it would fit; the message
/// after it is not.
#[test]
fn buffer_overflowed_refuses_the_rest_of_the_message() {
    let mut messages = MessageBuffer::new([0; 4]);
    let frames = [
        frame(0x02, b"abc"),
        frame(0x00, b"de"),
        frame(0x00, b"f"),
        frame(0x80, b""),
        frame(0x02, b"wx"),
        frame(0x80, b"yz"),
    ];
    let too_big = || Failed(MessageError::TooBig);
    let expected = [More, too_big(), too_big(), too_big(), More, binary(b"wxyz")];
    assert_eq!(push(&mut messages, &frames), expected);
    // So does one that is too big in its first chunk.
    let frames = [frame(0x02, b"abcde"), frame(0x80, b"f"), frame(0x82, b"g")];
    assert_eq!(
        push(&mut messages, &frames),
        [too_big(), too_big(), binary(b"g")]
    );
}

/// MS11: compressed text is not checked by the connection, so the buffer does.
#[test]
fn buffer_text_not_utf8_is_refused() {
    let invalid = || Failed(MessageError::InvalidUtf8);
    let mut messages = MessageBuffer::new([0; 4]);
    assert_eq!(push(&mut messages, &[frame(0xC1, b"a\xff")]), [invalid()]);
    let frames = [frame(0x41, b"a"), frame(0x80, b"\xff")];
    assert_eq!(push(&mut messages, &frames), [More, invalid()]);
    // MS14: binary is not.
    assert_eq!(
        push(&mut messages, &[frame(0xC2, b"\xff")]),
        [binary(b"\xff")]
    );
}

#[test]
fn message_error_is_a_violation_of_the_same_name() {
    let violation = ProtocolViolation::from;
    assert_eq!(
        [MessageError::TooBig, MessageError::InvalidUtf8].map(violation),
        [
            ProtocolViolation::MessageTooBig,
            ProtocolViolation::InvalidUtf8
        ]
    );
}

/// A message that comes in one chunk is lent, not copied.
#[test]
fn buffer_whole_message_is_not_copied() {
    let mut connection: Connection<Server> = Connection::new(Server);
    let mut messages = MessageBuffer::new([0; 8]);
    let mut bytes = frame(0x82, b"Hello");
    let wire = bytes.as_ptr_range();
    let mut input = &mut bytes[..];
    let Ok(Some(Event::Data(chunk))) = connection.next_event(&mut input) else {
        panic!("no data");
    };
    let Ok(Some(message)) = messages.push(chunk) else {
        panic!("no message");
    };
    assert!(wire.contains(&message.as_bytes().as_ptr()));
    assert_eq!(messages.assembled(), b"");
}

/// FR17, CL16: an adapter tells the peer with 1009.
#[test]
fn buffer_too_big_and_failed_closes_with_1009() {
    let mut connection: Connection<Server> = Connection::new(Server);
    let mut messages = MessageBuffer::new([0; 1]);
    let mut bytes = frame(0x81, b"ab");
    let mut input = &mut bytes[..];
    let Ok(Some(Event::Data(chunk))) = connection.next_event(&mut input) else {
        panic!("no data");
    };
    let Err(error) = messages.push(chunk) else {
        panic!("there is no room");
    };
    connection.fail(ProtocolViolation::from(error));
    let mut out = [0; 4];
    assert_eq!(connection.poll_transmit(&mut out), Ok(4));
    assert_eq!(out, [0x88, 2, 0x03, 0xF1]);
}

#[test]
fn message_tells_its_kind_and_bytes() {
    assert_eq!(Message::Text("é").kind(), DataKind::Text);
    assert_eq!(Message::Text("é").as_bytes(), b"\xc3\xa9");
    assert_eq!(Message::Binary(b"\xff").kind(), DataKind::Binary);
    assert_eq!(Message::Binary(b"\xff").as_bytes(), b"\xff");
}
