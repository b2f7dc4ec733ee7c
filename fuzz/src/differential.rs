//! motews and tungstenite, given the same stream: the same messages, the same verdict, and each
//! understands what the other answers.
//!
//! The bytes of an input: bit 0 of the first one says client or server; four sizes of pieces; then
//! the stream.

use motews::{
    Client, CloseCode, Connection, ConnectionConfig, DataKind, MAX_CONTROL_LEN, Message,
    ProtocolViolation, Server,
};
use motews_testkit::transport::Script;
use tungstenite::protocol::{Role as TheirRole, WebSocketConfig};
use tungstenite::{Error, Message as TheirMessage, WebSocket};

use super::connection::{Side, Tape, Told};
use super::{Sequence, pieces};

/// The longest message, and frame, in bytes.
const MAX_MESSAGE_LEN: u32 = 70_000;

/// How a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The stream did, without a Close.
    Eof,
    /// With the peer's Close.
    Close,
    /// With a violation; this is the code that tells the peer.
    Violation(CloseCode),
}

/// A whole message or a control frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Whole {
    /// A message.
    Text(Vec<u8>),
    /// A message.
    Binary(Vec<u8>),
    /// A ping.
    Ping(Vec<u8>),
    /// A pong.
    Pong(Vec<u8>),
    /// A Close; 1005 stands for none.
    Close(u16, String),
}

/// What came of a stream.
#[derive(Debug)]
pub struct Outcome {
    received: Vec<Whole>,
    end: End,
    /// What was answered: each message, each ping, the Close.
    answer: Vec<u8>,
}

/// One way in which motews differs on purpose.
pub struct Difference {
    /// Its name.
    pub name: &'static str,
    /// Why motews is right, or may do so.
    pub reason: &'static str,
    applies: fn(Option<ProtocolViolation>, &Outcome, &Outcome) -> bool,
}

/// All intended differences. What is not in here is a fault of one of the two.
pub static DIFFERENCES: [Difference; 7] = [
    Difference {
        name: "early",
        reason: "RFC 6455 lets an endpoint fail the connection as soon as it knows why. motews does \
            so on the octet that proves the violation; tungstenite waits for the rest of the \
            header, and for all but a reserved opcode and a length beyond the limit, for the rest \
            of the frame. A stream that ends before shows no violation to it.",
        applies: |_, ours, theirs| {
            matches!(ours.end, End::Violation(_)) && theirs.end == End::Eof && same(ours, theirs)
        },
    },
    Difference {
        name: "length-not-minimal",
        reason: "RFC 6455 §5.2: \"the minimal number of bytes MUST be used to encode the length\". \
            tungstenite accepts any encoding, and goes on; in a control frame too, where the longer \
            ones are for what a control frame may not have (§5.5).",
        applies: |violation, ours, theirs| {
            matches!(
                violation,
                Some(ProtocolViolation::LengthNotMinimal | ProtocolViolation::ControlTooLong)
            ) && theirs.received.starts_with(&ours.received)
        },
    },
    Difference {
        name: "length-overflow",
        reason: "RFC 6455 §5.2: \"the most significant bit MUST be 0\": a violation (1002). To \
            tungstenite it is a length like others, beyond the limit (1009).",
        applies: |violation, ours, theirs| {
            violation == Some(ProtocolViolation::LengthOverflow)
                && theirs.end == End::Violation(CloseCode::MESSAGE_TOO_BIG)
                && same(ours, theirs)
        },
    },
    Difference {
        name: "limit-first",
        reason: "A frame that is beyond the limit and breaks a rule as well: motews tells the \
            rule, whose octet comes before the length, tungstenite the limit.",
        applies: |violation, ours, theirs| {
            violation.is_some_and(|violation| violation.close_code() == CloseCode::PROTOCOL_ERROR)
                && theirs.end == End::Violation(CloseCode::MESSAGE_TOO_BIG)
                && same(ours, theirs)
        },
    },
    Difference {
        name: "close-code",
        reason: "RFC 6455 §7.4: a code that must not be on the wire, or is not defined, fails the \
            connection (1002). tungstenite takes such a Close for the end; it tells the \
            application, and the peer, 1002 where it minds the code; and a reason that is not \
            UTF-8 it minds first.",
        applies: |violation, ours, theirs| {
            let Some(ProtocolViolation::InvalidCloseCode(code)) = violation else {
                return false;
            };
            match theirs.received.split_last() {
                Some((Whole::Close(told, _), before)) if theirs.end == End::Close => {
                    before == ours.received && (*told == 1002 || *told == code.as_u16())
                }
                _ => theirs.end == End::Violation(CloseCode::INVALID_PAYLOAD) && same(ours, theirs),
            }
        },
    },
    Difference {
        name: "close-code-1014",
        reason: "IANA's registry has 1014 (bad gateway) since after RFC 6455; to motews it is a \
            code like 1012 and 1013, to tungstenite a reserved one.",
        applies: |_, ours, theirs| {
            let (Some((close, before)), Some((told, told_before))) =
                (ours.received.split_last(), theirs.received.split_last())
            else {
                return false;
            };
            matches!(close, Whole::Close(1014, _))
                && matches!(told, Whole::Close(1002, _))
                && before == told_before
                && (ours.end, theirs.end) == (End::Close, End::Close)
        },
    },
    Difference {
        name: "reason-not-echoed",
        reason: "RFC 6455 §5.5.1: the reply to a Close typically echoes the code. tungstenite echoes the \
            reason too; it was of the peer's making, and motews does not keep it. Here only the \
            answers differ: see `answers`.",
        applies: |_, _, _| false,
    },
];

fn same(ours: &Outcome, theirs: &Outcome) -> bool {
    ours.received == theirs.received
}

/// Any bytes as a stream, to both. Tells in what they differ, on purpose.
///
/// # Panics
/// Where they differ, and not on purpose.
pub fn check(data: &[u8]) -> Option<&'static Difference> {
    let (flags, data) = data.split_first()?;
    let (sizes, stream) = data.split_at_checked(4)?;
    if flags & 1 == 0 {
        compare::<Server>(TheirRole::Server, TheirRole::Client, stream, sizes)
    } else {
        compare::<Client<Sequence>>(TheirRole::Client, TheirRole::Server, stream, sizes)
    }
}

fn compare<R: Side>(
    role: TheirRole,
    peer: TheirRole,
    stream: &[u8],
    sizes: &[u8],
) -> Option<&'static Difference> {
    let (ours, violation) = listen::<R>(stream, sizes);
    let theirs = their_outcome(role, stream, sizes);
    let difference = differ(violation, &ours, &theirs);

    // Each reads what the other answered, and what it answered itself.
    let (our_answers, violation) = listen::<R::Peer>(&ours.answer, sizes);
    assert_eq!(violation, None, "of what motews answered");
    differ(
        None,
        &our_answers,
        &their_outcome(peer, &ours.answer, sizes),
    );
    let (their_answers, violation) = listen::<R::Peer>(&theirs.answer, sizes);
    assert_eq!(violation, None, "of what tungstenite answered");
    if ours.end == theirs.end && same(&ours, &theirs) {
        return answers(ours.end, &our_answers.received, &their_answers.received);
    }
    difference
}

/// In what two outcomes of a stream differ, on purpose.
fn differ(
    violation: Option<ProtocolViolation>,
    ours: &Outcome,
    theirs: &Outcome,
) -> Option<&'static Difference> {
    if same(ours, theirs) && ours.end == theirs.end {
        return None;
    }
    let difference = DIFFERENCES
        .iter()
        .find(|difference| (difference.applies)(violation, ours, theirs));
    assert!(
        difference.is_some(),
        "motews ({violation:?}):\n{ours:?}\ntungstenite:\n{theirs:?}"
    );
    difference
}

/// The answers to the same events are the same, but for the reason of a Close.
fn answers(end: End, ours: &[Whole], theirs: &[Whole]) -> Option<&'static Difference> {
    match (end, ours.split_last(), theirs.split_last()) {
        // The Close is owed; tungstenite leaves the telling of a violation to its user.
        (End::Violation(expected), Some((Whole::Close(code, _), before)), _) => {
            assert_eq!(*code, expected.as_u16());
            assert_eq!(before, theirs);
        }
        (
            End::Close,
            Some((Whole::Close(code, reason), before)),
            Some((Whole::Close(their_code, their_reason), their_rest)),
        ) => {
            assert_eq!((code, before), (their_code, their_rest));
            let is_echoed = reason == their_reason;
            return DIFFERENCES
                .iter()
                .find(|difference| !is_echoed && difference.name == "reason-not-echoed");
        }
        _ => assert_eq!(ours, theirs),
    }
    None
}

/// motews as an echo, which also answers what is owed after each event.
fn listen<R: Side>(stream: &[u8], sizes: &[u8]) -> (Outcome, Option<ProtocolViolation>) {
    let config = ConnectionConfig {
        max_message_len: MAX_MESSAGE_LEN.into(),
        ..ConnectionConfig::default()
    };
    let mut connection = Connection::<R>::with_config(R::new(false), config);
    let mut answer = Vec::new();
    let mut received = Vec::new();
    let mut tape = Tape::default();
    let mut input = stream.to_vec();
    let mut message = Vec::new();
    for piece in pieces(input.len(), sizes) {
        // A byte at a time, so that each event is answered before the next.
        for octet in input[piece].chunks_mut(1) {
            tape.receive(&mut connection, octet);
            for (told, _) in tape.told.drain(..) {
                match told {
                    Told::Data {
                        kind, bytes, last, ..
                    } => {
                        message.extend(bytes);
                        if last {
                            let message = core::mem::take(&mut message);
                            echo(&mut connection, kind, &message, &mut answer);
                            received.push(match kind {
                                DataKind::Text => Whole::Text(message),
                                DataKind::Binary => Whole::Binary(message),
                            });
                        }
                    }
                    Told::Ping(payload) => received.push(Whole::Ping(payload)),
                    Told::Pong(payload) => received.push(Whole::Pong(payload)),
                    Told::Close(None) => received.push(Whole::Close(1005, String::new())),
                    Told::Close(Some((code, reason))) => {
                        received.push(Whole::Close(code.as_u16(), reason));
                    }
                }
            }
            let mut out = [0; MAX_CONTROL_LEN];
            while let len @ 1.. = connection.poll_transmit(&mut out).expect("keys are had") {
                answer.extend(&out[..len]);
            }
        }
    }
    let violation = tape.violation.map(|(violation, _)| violation);
    let end = match (violation, received.last()) {
        (Some(violation), _) => End::Violation(violation.close_code()),
        (None, Some(Whole::Close(..))) => End::Close,
        _ => End::Eof,
    };
    let outcome = Outcome {
        received,
        end,
        answer,
    };
    (outcome, violation)
}

fn echo<R: Side>(
    connection: &mut Connection<R>,
    kind: DataKind,
    message: &[u8],
    answer: &mut Vec<u8>,
) {
    let mut out = vec![0; message.len() + 14];
    let message = match kind {
        DataKind::Text => Message::Text(str::from_utf8(message).expect("it was checked")),
        DataKind::Binary => Message::Binary(message),
    };
    // In the midst of which the connection may have failed, or been closed.
    let len = connection.send(message, &mut out).unwrap_or(0);
    answer.extend(&out[..len]);
}

/// tungstenite, likewise.
fn their_outcome(role: TheirRole, stream: &[u8], sizes: &[u8]) -> Outcome {
    let config = WebSocketConfig::default()
        .max_message_size(Some(MAX_MESSAGE_LEN as usize))
        .max_frame_size(Some(MAX_MESSAGE_LEN as usize))
        .read_buffer_size(4096)
        .write_buffer_size(0);
    // A stream that ends after what is given, and keeps what is written.
    let reads = pieces(stream.len(), sizes).into_iter();
    let peer = Script::of_reads(reads.map(|piece| &stream[piece]));
    let mut socket = WebSocket::from_raw_socket(peer.clone(), role, Some(config));
    let mut received = Vec::new();
    let end = loop {
        match socket.read() {
            Ok(message) => {
                let told = match &message {
                    TheirMessage::Text(text) => Whole::Text(text.as_bytes().to_vec()),
                    TheirMessage::Binary(bytes) => Whole::Binary(bytes.to_vec()),
                    TheirMessage::Ping(payload) => Whole::Ping(payload.to_vec()),
                    TheirMessage::Pong(payload) => Whole::Pong(payload.to_vec()),
                    TheirMessage::Close(close) => {
                        received.push(
                            close
                                .as_ref()
                                .map_or(Whole::Close(1005, String::new()), |close| {
                                    Whole::Close(close.code.into(), close.reason.to_string())
                                }),
                        );
                        break End::Close;
                    }
                    TheirMessage::Frame(_) => unreachable!("never read"),
                };
                received.push(told);
                let sent = if matches!(message, TheirMessage::Text(_) | TheirMessage::Binary(_)) {
                    socket.send(message)
                } else {
                    socket.flush()
                };
                sent.expect("the stream takes everything");
            }
            Err(Error::Protocol(
                tungstenite::error::ProtocolError::ResetWithoutClosingHandshake,
            )) => break End::Eof,
            Err(Error::Protocol(_)) => break End::Violation(CloseCode::PROTOCOL_ERROR),
            Err(Error::Utf8(_)) => break End::Violation(CloseCode::INVALID_PAYLOAD),
            Err(Error::Capacity(_)) => break End::Violation(CloseCode::MESSAGE_TOO_BIG),
            Err(other) => panic!("of no class: {other:?}"),
        }
    };
    // Its Close, if it owes one
    match socket.flush() {
        Ok(()) | Err(Error::ConnectionClosed) => {}
        Err(other) => panic!("the stream takes everything: {other:?}"),
    }
    Outcome {
        received,
        end,
        answer: peer.written(),
    }
}
