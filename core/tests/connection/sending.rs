//! Messages sent, whole and in fragments (§5.4, §5.6, §6.1).

use core::slice;

use motews::{CloseCode, DataFrame, DataKind, Mask, Message, OpCode, ProtocolViolation, SendError};
use motews_testkit::frame::{KEY, header};

use crate::support::{
    COMPRESSION, Endpoint, Frame, binary, both, both_with, close, continuation, got, text,
};

/// The ways to be no longer open.
pub(crate) const NOT_OPEN: [fn(&mut Endpoint); 7] = [
    // A Close is queued, then sent, then replied to.
    |endpoint| endpoint.close(1000, "").expect("open"),
    |endpoint| {
        endpoint.close(1000, "").expect("open");
        endpoint.transmit();
    },
    |endpoint| {
        endpoint.close(1000, "").expect("open");
        endpoint.transmit();
        endpoint.receive([close(1000, "")]);
    },
    // The peer's Close came, then was replied to.
    |endpoint| {
        endpoint.receive([close(1000, "")]);
    },
    |endpoint| {
        endpoint.receive([close(1000, "")]);
        endpoint.transmit();
    },
    // The connection failed, or was left.
    |endpoint| {
        endpoint.receive_bytes(&[0x83]);
    },
    |endpoint| {
        let _ = endpoint.receive_eof();
    },
];

/// FR01, FR02, FR07, MS06: a message is one frame; a client's is masked, a server's is not (seen to
/// by the decoding); no reserved bit is set.
#[test]
fn open_message_is_sent_as_one_frame() {
    both(|mut endpoint| {
        assert_eq!(endpoint.send_text("Hello"), Ok(text("Hello")));
        assert_eq!(
            endpoint.send(Message::Binary(&[0, 0xFF])),
            Ok(binary([0, 0xFF]))
        );
        assert_eq!(endpoint.send_text(""), Ok(text("")));
        assert_eq!(endpoint.send(Message::Binary(b"")), Ok(binary("")));
        assert_eq!(endpoint.send_text("你好"), Ok(text("你好")));
    });
}

/// FR01, FR02: the RFC's own examples (§5.7), byte by byte.
#[test]
fn open_message_is_sent_as_in_the_rfc() {
    let mut out = [0; 64];
    let written = Endpoint::server().send_to(Message::Text("Hello"), &mut out);
    assert_eq!(&out[..written.expect("room")], b"\x81\x05Hello");
    let written = Endpoint::client()
        .send_to(Message::Text("Hello"), &mut out)
        .expect("room");
    let key: [u8; 4] = out[2..6].try_into().expect("four octets");
    assert_eq!(out[..written], text("Hello").encode(Some(key)));
}

/// FR10, FR11: messages on both sides of each boundary of the length.
#[test]
fn open_each_boundary_of_the_length_is_sent() {
    for len in [
        0, 1, 124, 125, 126, 127, 128, 65_534, 65_535, 65_536, 65_537,
    ] {
        let payload: Vec<u8> = (0..len).map(|i| (i % 251) as u8).collect();
        both(|mut endpoint| {
            assert_eq!(
                endpoint.send(Message::Binary(&payload)),
                Ok(binary(&payload))
            );
        });
    }
}

/// Law 2: a frame is written whole or not at all, and after that as if nothing had been.
#[test]
fn open_message_without_room_writes_nothing() {
    for len in [0, 1, 125, 126, 300] {
        let payload = vec![b'a'; len];
        both(|mut endpoint| {
            let whole = endpoint.wire_header(0x82, len as u64).len() + len;
            let whole = if endpoint.is_client() {
                whole + 4
            } else {
                whole - 4
            };
            for room in [0, 1, 2, 3, 5, whole / 2, whole - 1] {
                let mut out = vec![0xEE; room.min(whole - 1)];
                let room = out.len();
                let sent = endpoint.send_to(Message::Binary(&payload), &mut out);
                assert_eq!(sent, Err(SendError::NoRoom));
                assert_eq!(out, vec![0xEE; room]);
            }
            let mut out = vec![0; whole];
            assert_eq!(
                endpoint.send_to(Message::Binary(&payload), &mut out),
                Ok(whole)
            );
            assert_eq!(endpoint.frames(&out), [binary(&payload)]);
        });
    }
}

/// MS06, MS09: the opcode on the first frame only, FIN on the last only; then afresh.
#[test]
fn open_fragments_carry_the_opcode_first_and_fin_last() {
    both(|mut endpoint| {
        let mut send = |kind, payload: &str, fin| {
            let sent = endpoint.send_fragment(kind, payload.as_bytes(), fin, 99);
            sent.expect("room").0
        };
        assert_eq!(send(DataKind::Text, "Hel", false), text("Hel").more());
        assert_eq!(send(DataKind::Text, "", false), continuation("").more());
        assert_eq!(send(DataKind::Text, "lo", true), continuation("lo"));
        assert_eq!(send(DataKind::Binary, "a", false), binary("a").more());
        assert_eq!(send(DataKind::Binary, "", true), continuation(""));
        assert_eq!(send(DataKind::Text, "whole", true), text("whole"));
        assert_eq!(send(DataKind::Text, "", true), text(""));
    });
}

/// MS07: no message goes between the fragments of another, nor a fragment of another kind.
#[test]
fn open_message_within_an_outgoing_message_is_refused() {
    both(|mut endpoint| {
        endpoint
            .send_fragment(DataKind::Text, b"a", false, 99)
            .expect("room");
        let refused = Err(SendError::MessageInProgress);
        assert_eq!(endpoint.send_text("b"), refused);
        assert_eq!(endpoint.send(Message::Binary(b"b")), refused);
        let other = endpoint.send_fragment(DataKind::Binary, b"b", true, 99);
        assert_eq!(other, Err(SendError::MessageInProgress));
        let (last, _) = endpoint
            .send_fragment(DataKind::Text, b"c", true, 99)
            .expect("room");
        assert_eq!(last, continuation("c"));
        assert_eq!(endpoint.send(Message::Binary(b"b")), Ok(binary("b")));
    });
}

/// MS08, CL05: no data frame but while open, by whatever method; an error, not a panic.
#[test]
fn not_open_messages_are_refused() {
    for prepare in NOT_OPEN {
        both(|mut endpoint| {
            prepare(&mut endpoint);
            assert_eq!(endpoint.send_text("a"), Err(SendError::NotOpen));
            assert_eq!(
                endpoint.send(Message::Binary(b"a")),
                Err(SendError::NotOpen)
            );
            let fragment = endpoint.send_fragment(DataKind::Text, b"a", true, 99);
            assert_eq!(fragment, Err(SendError::NotOpen));
            let frame = DataFrame {
                kind: DataKind::Text,
                fin: true,
                compressed: false,
                payload_len: 1,
            };
            assert_eq!(endpoint.start_frame(frame), Err(SendError::NotOpen));
            // Not even the fragments of a message that was begun before.
            let mut out = [0xEE; 20];
            assert_eq!(
                endpoint.send_to(Message::Text(""), &mut out),
                Err(SendError::NotOpen)
            );
            assert_eq!(out, [0xEE; 20]);
        });
    }
}

/// The bytes of a frame with this much payload.
fn frame_len(payload: usize, client: bool) -> usize {
    let key = client.then_some(KEY);
    payload + header(0x82, payload as u64, key).len()
}

/// MS09: a fragment takes as much as there is room for, exactly, at each size of output around
/// the forms of the length; what is left can follow.
#[test]
fn open_fragment_takes_as_much_as_there_is_room_for() {
    let payload = vec![0x42; 65_700];
    both(|mut endpoint| {
        let client = endpoint.is_client();
        let rooms = (0..300).chain(65_530..65_555);
        for room in rooms {
            let most = (0..=room).rev().find(|&len| frame_len(len, client) <= room);
            for (given, fin) in [(&payload[..], true), (&payload[..], false)] {
                let sent = endpoint.send_fragment(DataKind::Binary, given, fin, room);
                match most {
                    None | Some(0) => assert_eq!(sent, Err(SendError::NoRoom)),
                    Some(most) => {
                        let (frame, consumed) = sent.expect("room");
                        assert_eq!(consumed, most, "in {room} octets");
                        assert_eq!(frame.first & 0x80, 0, "there is more to come");
                    }
                }
            }
            // What fits is sent whole, as the last one if it is.
            if let Some(most) = most.filter(|&most| most > 0) {
                for fin in [false, true] {
                    let given = &payload[..most];
                    let sent = endpoint.send_fragment(DataKind::Binary, given, fin, room);
                    let (frame, consumed) = sent.expect("room");
                    assert_eq!((consumed, frame.first & 0x80 != 0), (most, fin));
                }
            }
        }
    });
}

/// MS09: an empty fragment needs the room of its header.
#[test]
fn open_empty_fragment_takes_a_header() {
    both(|mut endpoint| {
        let header = frame_len(0, endpoint.is_client());
        for room in 0..header {
            let sent = endpoint.send_fragment(DataKind::Text, b"", true, room);
            assert_eq!(sent, Err(SendError::NoRoom));
        }
        let sent = endpoint.send_fragment(DataKind::Text, b"", true, header);
        assert_eq!(sent, Ok((text(""), 0)));
    });
}

/// MS09, MS06: a message of any length through an output of a few bytes is the message.
#[test]
fn open_long_message_through_a_tiny_output_arrives_whole() {
    let message: Vec<u8> = (0..5_000).map(|i| (i % 251) as u8).collect();
    for room in [7, 8, 131, 132, 140, 1_000] {
        for client in [true, false] {
            let (mut sender, mut receiver) = if client {
                (Endpoint::client(), Endpoint::server())
            } else {
                (Endpoint::server(), Endpoint::client())
            };
            let mut rest = &message[..];
            let mut frames: Vec<Frame> = Vec::new();
            while !rest.is_empty() {
                let sent = sender.send_fragment(DataKind::Binary, rest, true, room);
                let (frame, consumed) = sent.expect("room");
                frames.push(frame);
                rest = &rest[consumed..];
            }
            let told = receiver.receive(frames);
            let bytes: Vec<u8> = told
                .iter()
                .flat_map(|got| match got {
                    crate::support::Got::Data { bytes, .. } => bytes.clone(),
                    other => panic!("{other:?}"),
                })
                .collect();
            assert_eq!(bytes, message);
            let chunks = told.len();
            for (at, got) in told.iter().enumerate() {
                let crate::support::Got::Data { first, last, .. } = got else {
                    panic!("{got:?}")
                };
                assert_eq!((*first, *last), (at == 0, at == chunks - 1));
            }
        }
    }
}

/// MS09: a frame begun for the caller to write, of any length there is, is the frame that `send`
/// writes.
#[test]
fn open_frame_started_has_the_header_that_send_writes() {
    for payload_len in [0, 1, 125, 126, 65_535, 65_536] {
        let payload = vec![b'x'; payload_len];
        for (kind, message) in [
            (DataKind::Text, text(&payload)),
            (DataKind::Binary, binary(&payload)),
        ] {
            both(|mut endpoint| {
                let frame = DataFrame {
                    kind,
                    fin: true,
                    compressed: false,
                    payload_len: payload_len as u64,
                };
                let header = endpoint.start_frame(frame).expect("open");
                let mut wire = [0; 14];
                let len = header.emit(&mut wire).expect("room");
                let mut wire = wire[..len].to_vec();
                let mut body = payload.clone();
                if let Some(key) = header.mask {
                    Mask::new(key).apply(&mut body);
                }
                wire.extend(body);
                assert_eq!(endpoint.frames(&wire), slice::from_ref(&message));
            });
        }
    }
}

/// MS06, MS07, PD13, PD14: frames begun one by one: the opcode and RSV1 on the first only.
#[test]
fn open_frames_started_follow_the_rules_of_fragments() {
    let frame = |kind, fin, compressed| DataFrame {
        kind,
        fin,
        compressed,
        payload_len: 7,
    };
    both_with(COMPRESSION, |mut endpoint| {
        let mut start = |kind, fin, compressed| {
            let header = endpoint.start_frame(frame(kind, fin, compressed))?;
            assert_eq!(
                (header.rsv2, header.rsv3, header.payload_len),
                (false, false, 7)
            );
            Ok((header.opcode, header.fin, header.rsv1))
        };
        let (text, binary) = (DataKind::Text, DataKind::Binary);
        assert_eq!(start(text, false, true), Ok((OpCode::Text, false, true)));
        assert_eq!(
            start(binary, false, true),
            Err(SendError::MessageInProgress)
        );
        assert_eq!(
            start(text, false, true),
            Ok((OpCode::Continuation, false, false))
        );
        assert_eq!(
            start(text, true, true),
            Ok((OpCode::Continuation, true, false))
        );
        assert_eq!(
            start(binary, true, false),
            Ok((OpCode::Binary, true, false))
        );
        assert_eq!(start(binary, true, true), Ok((OpCode::Binary, true, true)));
        assert_eq!(
            endpoint.send_text("plain"),
            Ok(Frame {
                first: 0x81,
                payload: b"plain".into()
            })
        );
    });
    both(|mut endpoint| {
        let started = endpoint.start_frame(frame(DataKind::Text, true, true));
        assert_eq!(started, Err(SendError::CompressionNotNegotiated));
        assert_eq!(endpoint.send_text("a"), Ok(text("a")));
        endpoint
            .start_frame(frame(DataKind::Text, false, false))
            .expect("open");
        assert_eq!(endpoint.send_text("b"), Err(SendError::MessageInProgress));
    });
}

/// FR12: a payload of 2^63 - 1 bytes can be begun, one of 2^63 cannot.
#[test]
fn open_frame_started_beyond_63_bits_is_refused() {
    let frame = |payload_len| DataFrame {
        kind: DataKind::Binary,
        fin: true,
        compressed: false,
        payload_len,
    };
    both(|mut endpoint| {
        for len in [1 << 63, u64::MAX] {
            assert_eq!(endpoint.start_frame(frame(len)), Err(SendError::TooLong));
        }
        let header = endpoint.start_frame(frame((1 << 63) - 1)).expect("open");
        assert_eq!(header.payload_len, (1 << 63) - 1);
    });
}

/// Law 1: an event borrows the input only, so an echo sends from the chunk itself.
#[test]
fn open_echo_sends_while_the_event_lives() {
    use motews::{Connection, Event, Server};

    let mut connection: Connection<Server> = Connection::new(Server);
    let mut bytes = text("echo").encode(Some([1, 2, 3, 4]));
    let mut input = &mut bytes[..];
    let mut out = [0; 16];
    let Ok(Some(Event::Data(chunk))) = connection.next_event(&mut input) else {
        panic!("no data");
    };
    let sent = connection.send(Message::Binary(chunk.bytes), &mut out);
    assert_eq!(sent, Ok(6));
    assert_eq!(out[..6], binary(chunk.bytes).encode(None));
    assert!(input.is_empty());
}

/// FR16: what one side sends the other receives, over whatever path of sending.
#[test]
fn open_pair_exchanges_messages_both_ways() {
    for client in [true, false] {
        let (mut one, mut other) = if client {
            (Endpoint::client(), Endpoint::server())
        } else {
            (Endpoint::server(), Endpoint::client())
        };
        let frame = one.send_text("question").expect("room");
        assert_eq!(other.receive([frame]), [got::text("question")]);
        let (first, _) = other
            .send_fragment(DataKind::Text, b"an", false, 99)
            .expect("room");
        let (last, _) = other
            .send_fragment(DataKind::Text, b"swer", true, 99)
            .expect("room");
        let told = one.receive([first, last]);
        assert_eq!(told, [got::text_begins("an"), got::text_ends("swer")]);
        other.fail(ProtocolViolation::MessageTooBig);
        assert_eq!(one.receive(other.transmit()), [got::close(1009, "")]);
        assert_eq!(one.close_code(), CloseCode::MESSAGE_TOO_BIG.as_u16());
    }
}
