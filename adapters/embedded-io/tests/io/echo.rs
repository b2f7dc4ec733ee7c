//! Messages, in both modes and both roles, through the smallest buffers and the worst transports.

use motews::handshake::Request;
use motews::{Client, DataKind, Message, MessageBuffer, SendError, Server};
use motews_embedded_io::{Config, Error, asynch, blocking};

use crate::support::{
    Got, Keys, NotNow, REQUEST, RESPONSE, Script, binary, block_on, buffers, frame, head_len,
    owned, read_by_client, read_by_server, text,
};

type Blocking<'a, R> = blocking::WebSocket<'a, Script, R>;
type Async<'a, R> = asynch::WebSocket<'a, Script, R>;

/// What a peer says: text in one frame, in three with a long ping between, binary beyond any buffer
/// here, nothing, a pong, and a Close.
fn talk(key: Option<[u8; 4]>) -> Vec<u8> {
    let long: Vec<u8> = (0..=255).cycle().take(700).collect();
    [
        frame(0x81, "Grüße".as_bytes(), key),
        frame(0x01, b"one ", key),
        frame(0x89, &[b'p'; 125], key),
        frame(0x00, b"", key),
        frame(0x80, b"two", key),
        frame(0x82, &long, key),
        frame(0x82, b"", key),
        frame(0x8A, b"unasked", key),
        frame(0x89, b"", key),
        frame(0x88, &[3, 232, b'b', b'y', b'e'], key),
    ]
    .concat()
}

/// What comes back from an echo.
fn expected() -> Vec<Got> {
    let long: Vec<u8> = (0..=255).cycle().take(700).collect();
    vec![
        text("Grüße"),
        text("one two"),
        Got::Pong(vec![b'p'; 125]),
        binary(&long),
        binary(b""),
        Got::Pong(Vec::new()),
        Got::Close(Some((motews::CloseCode::NORMAL, String::new()))),
    ]
}

/// The parts of "one two" go out around the pong: the reader has its message where it began.
fn check(got: &[Got]) {
    assert_eq!(got, expected());
}

fn echo_blocking<R: motews::Role>(ws: &mut Blocking<'_, R>) -> Result<(), Error<NotNow>> {
    while let Some((chunk, reply)) = ws.next_chunk()? {
        let mut rest = &*chunk.bytes;
        loop {
            let taken = reply.send_fragment(chunk.kind, rest, chunk.last)?;
            rest = &rest[taken..];
            if rest.is_empty() {
                break;
            }
        }
    }
    Ok(())
}

async fn echo_async<R: motews::Role>(ws: &mut Async<'_, R>) -> Result<(), Error<NotNow>> {
    while let Some((chunk, reply)) = ws.next_chunk().await? {
        let mut rest = &*chunk.bytes;
        loop {
            let taken = reply.send_fragment(chunk.kind, rest, chunk.last).await?;
            rest = &rest[taken..];
            if rest.is_empty() {
                break;
            }
        }
    }
    Ok(())
}

/// Sizes of the buffers, and of what the transport takes and gives at a time.
const SIZES: [(usize, usize); 6] = [
    (64, 1),
    (64, 7),
    (64, 1000),
    (131, 1),
    (256, 50),
    (4096, 4096),
];

#[test]
fn server_any_buffer_and_any_transport_echoes_all() {
    for (size, chunk) in SIZES {
        let script = Script::new([REQUEST, &talk(Some([1, 2, 3, 4]))].concat(), chunk, false);
        let mut ws = Blocking::server(script.clone(), buffers(size, size)).expect("room");
        ws.accept().expect("a request");
        assert!(ws.is_open());
        echo_blocking(&mut ws).expect("a clean end");
        let blocking = script.written();
        check(&read_by_client(&blocking, head_len(&blocking)));

        let script = Script::new([REQUEST, &talk(Some([1, 2, 3, 4]))].concat(), chunk, true);
        let mut ws = Async::server(script.clone(), buffers(size, size)).expect("room");
        block_on(ws.accept()).expect("a request");
        block_on(echo_async(&mut ws)).expect("a clean end");
        assert_eq!(script.written(), blocking, "both modes do the same");
        assert!(ws.connection().expect("open").is_clean());
    }
}

#[test]
fn client_any_buffer_and_any_transport_echoes_all() {
    for (size, chunk) in SIZES {
        let request = Request::new("example.com", "/").expect("right");
        let talk = [RESPONSE, &talk(None)].concat();
        let script = Script::new(talk.clone(), chunk, false);
        let mut ws: Blocking<'_, Client<Keys>> =
            Blocking::client(script.clone(), buffers(size, size), request, Keys::new())
                .expect("room");
        ws.connect().expect("a response");
        echo_blocking(&mut ws).expect("a clean end");
        let blocking = script.written();
        check(&read_by_server(&blocking, head_len(&blocking)));

        let script = Script::new(talk, chunk, true);
        let mut ws: Async<'_, Client<Keys>> =
            Async::client(script.clone(), buffers(size, size), request, Keys::new()).expect("room");
        block_on(ws.connect()).expect("a response");
        block_on(echo_async(&mut ws)).expect("a clean end");
        assert_eq!(script.written(), blocking, "both modes do the same");
    }
}

#[test]
fn server_receives_whole_messages_in_any_split() {
    let long: Vec<u8> = (0..=255).cycle().take(700).collect();
    let all = [text("Grüße"), text("one two"), binary(&long), binary(b"")];
    for (size, chunk) in SIZES {
        let script = Script::new([REQUEST, &talk(Some([1, 2, 3, 4]))].concat(), chunk, true);
        let mut ws = Blocking::server(script.clone(), buffers(size, size)).expect("room");
        ws.accept().expect("a request");
        let mut messages = MessageBuffer::new(vec![0; 700]);
        for expected in &all {
            let message = ws.recv(&mut messages).expect("a message").expect("no end");
            assert_eq!(&owned(message), expected);
        }
        assert_eq!(ws.recv(&mut messages), Ok(None));
        assert_eq!(ws.recv(&mut messages), Ok(None), "and so it stays");

        let script = Script::new([REQUEST, &talk(Some([1, 2, 3, 4]))].concat(), chunk, true);
        let mut ws = Async::server(script.clone(), buffers(size, size)).expect("room");
        block_on(ws.accept()).expect("a request");
        for expected in &all {
            let message = block_on(ws.recv(&mut messages)).expect("a message");
            assert_eq!(&owned(message.expect("no end")), expected);
        }
        assert_eq!(block_on(ws.recv(&mut messages)), Ok(None));
    }
}

#[test]
fn server_answers_several_messages_of_a_read_with_one_write() {
    let hello = frame(0x81, b"Hello", Some([1, 2, 3, 4]));
    let script = Script::new(REQUEST, 4096, false);
    let mut ws = Blocking::server(script.clone(), buffers(4096, 4096)).expect("room");
    ws.accept().expect("a request");
    let before = script.writes().len();
    script.say(&[hello.repeat(50), frame(0x88, &[], Some([0; 4]))].concat());
    echo_blocking(&mut ws).expect("a clean end");
    assert_eq!(
        script.writes().len() - before,
        1,
        "fifty replies and the Close"
    );
}

#[test]
fn sender_flushes_the_transport_unless_told_not_to() {
    static KEEP: Config<'static> = Config {
        flush: false,
        ..Config::DEFAULT
    };
    for (config, sent) in [(&Config::DEFAULT, &b"\x82\x02hi"[..]), (&KEEP, b"")] {
        let script = Script::new(REQUEST, 4096, false).holding();
        let ws = Blocking::server(script, buffers(256, 256)).expect("room");
        let mut ws = ws.with_config(config);
        ws.accept().expect("a request");
        let head = ws.transport().written().len();
        ws.send(Message::Binary(b"hi")).expect("room");
        assert_eq!(
            &ws.transport().written()[head..],
            b"",
            "it waits for others"
        );
        ws.flush().expect("written");
        assert_eq!(&ws.transport().written()[head..], sent);
    }
}

#[test]
fn sender_sends_whole_what_fits_and_says_what_never_does() {
    let script = Script::new(REQUEST, 1, false);
    let mut ws = Blocking::server(script.clone(), buffers(64, 64)).expect("room");
    assert_eq!(
        ws.send(Message::Text("too early")),
        Err(Error::Send(SendError::NotOpen))
    );
    ws.accept().expect("a request");
    let head = script.written().len();
    let fits = [b'x'; 62];
    ws.send(Message::Binary(&fits))
        .expect("it fills the buffer");
    ws.send(Message::Binary(&fits))
        .expect("when the first is written");
    assert_eq!(
        ws.send(Message::Binary(&[0; 63])),
        Err(Error::Send(SendError::NoRoom))
    );
    ws.ping(&[b'p'; 125]).expect("a ping fits always");
    assert_eq!(
        ws.ping(&[b'p'; 126]),
        Err(Error::Send(SendError::ControlTooLong))
    );
    assert_eq!(ws.send_fragment(DataKind::Text, b"a", false), Ok(1));
    assert_eq!(
        ws.send(Message::Text("b")),
        Err(Error::Send(SendError::MessageInProgress))
    );
    assert_eq!(ws.send_fragment(DataKind::Text, b"", true), Ok(0));
    ws.flush().expect("written");
    assert_eq!(
        read_by_client(&script.written(), head),
        [
            binary(&fits),
            binary(&fits),
            Got::Ping(vec![b'p'; 125]),
            text("a")
        ]
    );
}

#[test]
fn both_close_and_drop_what_still_comes() {
    let key = Some([9; 4]);
    let rest = [frame(0x81, b"late", key), frame(0x88, &[3, 233], key)].concat();
    let script = Script::new([REQUEST, &rest].concat(), 3, true);
    let mut ws = Async::server(script.clone(), buffers(64, 64)).expect("room");
    block_on(ws.accept()).expect("a request");
    let head = script.written().len();
    let late = Err(Error::Send(SendError::NotOpen));
    ws.close(motews::CloseCode::NORMAL, "done").expect("open");
    assert_eq!(ws.close(motews::CloseCode::NORMAL, "again"), late);
    assert_eq!(block_on(ws.send(Message::Text("late"))), late);
    let ended = block_on(ws.closed()).expect("closed");
    assert!(ended.is_clean());
    assert_eq!(
        read_by_client(&script.written(), head),
        [Got::Close(Some((motews::CloseCode::NORMAL, "done".into())))]
    );
    let connection: &motews::Connection<Server> = ws.connection().expect("it was open");
    assert_eq!(connection.close_code(), motews::CloseCode::GOING_AWAY);
    assert_eq!(block_on(ws.drain()), Ok(()));
    assert_eq!(block_on(ws.closed()), Ok(ended), "and so it stays");
    let closed = Err(Error::Ended(ended));
    assert_eq!(ws.close(motews::CloseCode::NORMAL, "again"), closed);
}
