//! What is too small, too big, or not there.

use motews::handshake::Request;
use motews::{Client, Ended, Limits, MessageBuffer, NoRoom, ProtocolViolation, SendError, Server};
use motews_embedded_io::{Buffers, Config, Error, MIN_BUFFER, asynch, blocking};

use crate::support::{Keys, REQUEST, Script, buffers, frame};

type Blocking<'a, R> = blocking::WebSocket<'a, Script, R>;

fn open(rest: &[u8], config: &'static Config<'static>) -> Blocking<'static, Server> {
    let script = Script::new([REQUEST, rest].concat(), 5, false);
    let ws = Blocking::server(script, buffers(64, 64)).expect("room");
    let mut ws = ws.with_config(config);
    ws.accept().expect("a request");
    ws
}

#[test]
fn buffers_below_the_minimum_are_refused_and_at_it_taken() {
    let script = || Script::new(REQUEST, 1, false);
    let request = Request::new("h", "/").expect("right");
    for (rx, tx, fits) in [
        (MIN_BUFFER, MIN_BUFFER, true),
        (MIN_BUFFER - 1, MIN_BUFFER, false),
        (MIN_BUFFER, MIN_BUFFER - 1, false),
        (1, 1, false),
        (0, 0, false),
        (4096, 0, false),
    ] {
        let server: Result<Blocking<'_, Server>, _> = Blocking::server(script(), buffers(rx, tx));
        assert_eq!(server.is_ok(), fits);
        let client: Result<Blocking<'_, Client<Keys>>, NoRoom> =
            Blocking::client(script(), buffers(rx, tx), request, Keys::new());
        assert_eq!(client.is_ok(), fits);
        assert_eq!(client.map(|_| ()).is_err(), !fits);
    }
}

#[test]
fn buffers_may_be_of_any_kind() {
    let (mut receive, mut transmit) = (heapless::Vec::<u8, 100>::new(), [0; 80]);
    receive.resize_default(100).expect("its capacity");
    let buffers = Buffers {
        receive: &mut receive,
        transmit: &mut transmit,
    };
    let mut ws = Blocking::server(Script::new(REQUEST, 1000, true), buffers).expect("room");
    assert_eq!(ws.accept(), Ok(()));
}

#[test]
fn message_of_the_buffers_length_is_received_and_one_octet_more_fails() {
    let key = Some([1; 4]);
    for (len, parts) in [
        (0, 1),
        (1, 1),
        (100, 1),
        (100, 2),
        (101, 1),
        (101, 2),
        (2000, 1),
    ] {
        let payload = vec![b'x'; len];
        let (one, two) = payload.split_at(len / parts);
        let wire = match parts {
            1 => frame(0x82, one, key),
            _ => [frame(0x02, one, key), frame(0x80, two, key)].concat(),
        };
        let mut ws = open(&[wire, frame(0x88, &[], key)].concat(), &Config::DEFAULT);
        let head = ws.transport().written().len();
        let mut messages = MessageBuffer::new([0; 100]);
        let received = ws
            .recv(&mut messages)
            .map(|message| message.map(|it| it.as_bytes().len()));
        if len <= 100 {
            assert_eq!(received, Ok(Some(len)));
        } else {
            let too_big = Error::Ended(Ended::Violation(ProtocolViolation::MessageTooBig));
            assert_eq!(received, Err(too_big));
            assert_eq!(ws.transport().written()[head..], [0x88, 2, 3, 241], "1009");
            let again = ws.recv(&mut messages).map(|_| ());
            assert_eq!(again, Err(too_big), "and so it stays");
        }
    }
}

const fn limited(message: u64) -> Limits {
    Limits {
        message,
        ..Limits::DEFAULT
    }
}

#[test]
fn message_of_the_configured_length_is_received_and_one_octet_more_fails() {
    static NONE: Config<'static> = Config {
        limits: limited(0),
        ..Config::DEFAULT
    };
    static ONE: Config<'static> = Config {
        limits: limited(1),
        ..Config::DEFAULT
    };
    static MOST: Config<'static> = Config {
        limits: limited(u64::MAX),
        ..Config::DEFAULT
    };
    for (config, len, fits) in [
        (&NONE, 0, true),
        (&NONE, 1, false),
        (&ONE, 1, true),
        (&ONE, 2, false),
        (&MOST, 5000, true),
    ] {
        let mut ws = open(&frame(0x82, &vec![0; len], Some([1; 4])), config);
        let event = ws.next_event().map(|event| event.is_some());
        let too_big = Error::Ended(Ended::Violation(ProtocolViolation::MessageTooBig));
        assert_eq!(event, if fits { Ok(true) } else { Err(too_big) });
    }
}

#[test]
fn receiver_before_the_handshake_and_after_the_end() {
    let script = Script::new(REQUEST, 10, false);
    let mut ws = Blocking::server(script, buffers(64, 64)).expect("room");
    let not_open = Error::Send(SendError::NotOpen);
    assert_eq!(ws.next_event().map(|_| ()), Err(not_open));
    assert_eq!(
        ws.close(motews::CloseCode::NORMAL, ""),
        Err(Error::Send(SendError::NotOpen))
    );
    assert_eq!(ws.accept(), Ok(()));
    assert_eq!(ws.accept(), Ok(()), "it is open");
    // The peer leaves without a Close.
    let left = Error::Ended(Ended::Violation(ProtocolViolation::UnexpectedEof));
    assert_eq!(ws.next_event().map(|_| ()), Err(left));
    assert_eq!(ws.next_event().map(|_| ()), Err(left));
    assert_eq!(ws.ping(b""), Err(left));
}

#[test]
fn transport_that_takes_nothing_is_lost() {
    struct Full(Script);
    impl embedded_io::ErrorType for Full {
        type Error = crate::support::NotNow;
    }
    impl embedded_io::Read for Full {
        fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Self::Error> {
            self.0.read(buffer)
        }
    }
    impl embedded_io::Write for Full {
        fn write(&mut self, _: &[u8]) -> Result<usize, Self::Error> {
            Ok(0)
        }
        fn flush(&mut self) -> Result<(), Self::Error> {
            Ok(())
        }
    }
    let transport = Full(Script::new(REQUEST, 10, false));
    let mut ws = blocking::WebSocket::server(transport, buffers(64, 64)).expect("room");
    assert_eq!(ws.accept(), Err(Error::Ended(Ended::Lost)));
}

/// What a WebSocket takes beside its buffers, in bytes, with the feature `deflate` and without: what
/// is not turned on takes nothing.
#[test]
#[cfg(target_pointer_width = "64")]
fn connection_without_compression_takes_nothing_for_it() {
    type Ws = asynch::WebSocket<'static, (), Server>;
    assert_eq!(size_of::<Ws>(), 496);
}
