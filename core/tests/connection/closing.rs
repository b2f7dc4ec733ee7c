//! The closing handshake and failures (§5.5.1, §7).

use core::slice;

use motews::{CloseCode, DataKind, ProtocolViolation, SendError, State};

use crate::support::{
    Endpoint, both, close, continuation, empty_close, frame, got, ping, pong, text,
};

/// Codes that may be on the wire, from both ends of each range.
const ALLOWED: [u16; 13] = [
    1000, 1001, 1002, 1003, 1007, 1008, 1009, 1011, 1014, 3000, 3999, 4000, 4999,
];

/// Codes that may not.
const FORBIDDEN: [u16; 15] = [
    0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 5001, 10_000, 65_535,
];

/// CL03, CL13: a Close received is replied to with its code and no reason, and closes both.
#[test]
fn open_close_received_is_replied_to_with_its_code() {
    for code in ALLOWED.into_iter().chain([1010, 1012, 1013]) {
        both(|mut endpoint| {
            assert_eq!(endpoint.close_code(), 1006);
            assert_eq!(
                endpoint.receive([close(code, "why")]),
                [got::close(code, "why")]
            );
            assert_eq!(endpoint.state(), State::Closing);
            assert!(!endpoint.is_clean());
            assert_eq!(endpoint.transmit(), [close(code, "")]);
            assert_eq!(endpoint.state(), State::Closed);
            assert!(endpoint.is_clean());
            assert_eq!(endpoint.close_code(), code);
            assert_eq!(endpoint.violation(), None);
        });
    }
}

/// CL03, CL13: an empty Close is replied to with an empty one, and its code is 1005.
#[test]
fn open_empty_close_received_is_replied_to_with_an_empty_one() {
    both(|mut endpoint| {
        assert_eq!(endpoint.receive([empty_close()]), [got::empty_close()]);
        assert_eq!(endpoint.transmit(), [empty_close()]);
        assert_eq!(
            (endpoint.state(), endpoint.close_code()),
            (State::Closed, 1005)
        );
        assert!(endpoint.is_clean());
    });
}

/// CL01: a body of one byte.
#[test]
fn open_close_of_one_octet_fails() {
    both(|mut endpoint| {
        let wire = endpoint.wire([frame(0x88, [0x03])]);
        endpoint.assert_fails_at(&wire, wire.len(), ProtocolViolation::TruncatedCloseCode);
        assert_eq!(endpoint.transmit(), [close(1002, "")]);
        assert_eq!(endpoint.close_code(), 1006);
    });
}

/// CL02: a reason that is not UTF-8.
#[test]
fn open_close_with_a_reason_not_utf8_fails() {
    for reason in [&b"\xff"[..], b"ok\xc3", b"\xed\xa0\x80"] {
        both(|mut endpoint| {
            let body = [&1000_u16.to_be_bytes()[..], reason].concat();
            let wire = endpoint.wire([frame(0x88, body)]);
            endpoint.assert_fails_at(&wire, wire.len(), ProtocolViolation::InvalidUtf8);
            assert_eq!(endpoint.transmit(), [close(1007, "")]);
        });
    }
}

/// CL09, CL10, CL12: codes that may not be on the wire, received.
#[test]
fn open_close_with_a_forbidden_code_fails() {
    for code in FORBIDDEN {
        both(|mut endpoint| {
            let wire = endpoint.wire([close(code, "")]);
            let violation = ProtocolViolation::InvalidCloseCode(CloseCode::new(code));
            endpoint.assert_fails_at(&wire, wire.len(), violation);
            assert_eq!(endpoint.transmit(), [close(1002, "")]);
            assert_eq!(
                (endpoint.state(), endpoint.close_code()),
                (State::Failed, 1006)
            );
        });
    }
}

/// CL09, CL10, CL11, CL12, CL20: all 65,536 codes from the API: the same ones go out, but 1010
/// from a client only; what is refused changes nothing.
#[test]
fn open_close_with_each_code_is_queued_or_refused() {
    for code in 0..=u16::MAX {
        both(|mut endpoint| {
            let clients_only = code == 1010;
            let allowed = CloseCode::new(code).is_allowed_on_wire();
            if allowed && (endpoint.is_client() || !clients_only) {
                assert_eq!(endpoint.close(code, ""), Ok(()));
                assert_eq!(endpoint.state(), State::Closing);
                assert_eq!(endpoint.transmit(), [close(code, "")]);
            } else {
                assert_eq!(endpoint.close(code, ""), Err(SendError::InvalidCloseCode));
                assert_eq!(endpoint.state(), State::Open);
                assert!(!endpoint.wants_transmit());
            }
        });
    }
}

/// CL19: a reason of 123 bytes goes out whole; 124 are refused, and change nothing.
#[test]
fn open_close_with_a_reason_beyond_123_octets_is_refused() {
    both(|mut endpoint| {
        assert_eq!(
            endpoint.close(1000, &"r".repeat(124)),
            Err(SendError::ReasonTooLong)
        );
        assert_eq!(endpoint.state(), State::Open);
        assert_eq!(
            endpoint.close(1000, &"é".repeat(62)),
            Err(SendError::ReasonTooLong)
        );
        let longest = "é".repeat(61) + "!";
        assert_eq!(endpoint.close(1000, &longest), Ok(()));
        assert_eq!(endpoint.transmit(), [close(1000, &longest)]);
    });
}

/// CL05, CL15: the own Close is the only one; the peer's is taken for the reply, whatever it says,
/// whether it crosses the own one on the way or answers it.
#[test]
fn closing_peers_close_is_the_reply() {
    for sent_first in [true, false] {
        for (reply, told, code) in [
            (close(1001, "other"), got::close(1001, "other"), 1001),
            (close(3000, ""), got::close(3000, ""), 3000),
            (empty_close(), got::empty_close(), 1005),
        ] {
            both(|mut endpoint| {
                endpoint.close(3000, "mine").expect("open");
                assert_eq!(endpoint.state(), State::Closing);
                let mut out = Vec::new();
                if sent_first {
                    out.extend(endpoint.transmit());
                    assert_eq!(endpoint.state(), State::Closing);
                }
                assert_eq!(endpoint.receive([reply.clone()]), slice::from_ref(&told));
                out.extend(endpoint.transmit());
                assert_eq!(out, [close(3000, "mine")]);
                assert_eq!(
                    (endpoint.state(), endpoint.close_code()),
                    (State::Closed, code)
                );
                assert!(endpoint.is_clean());
            });
        }
    }
}

/// CL05: no second Close, in any state but open.
#[test]
fn not_open_close_is_refused() {
    for prepare in crate::sending::NOT_OPEN {
        both(|mut endpoint| {
            prepare(&mut endpoint);
            let state = endpoint.state();
            let owed = endpoint.transmit();
            assert_eq!(endpoint.close(1000, "again"), Err(SendError::NotOpen));
            assert_eq!(endpoint.transmit(), [], "after {owed:?}");
            if owed.is_empty() {
                assert_eq!(endpoint.state(), state);
            }
        });
    }
}

/// CL04: messages still arrive after the own Close; one that is being sent stays unfinished.
#[test]
fn closing_messages_are_still_received() {
    both(|mut endpoint| {
        endpoint
            .send_fragment(DataKind::Text, b"a", false, 99)
            .expect("room");
        endpoint.close(1000, "").expect("open");
        let more = endpoint.send_fragment(DataKind::Text, b"b", true, 99);
        assert_eq!(more, Err(SendError::NotOpen));
        assert_eq!(endpoint.transmit(), [close(1000, "")]);
        let told = endpoint.receive([text("b").more(), continuation("c"), close(1000, "")]);
        let expected = [
            got::text_begins("b"),
            got::text_ends("c"),
            got::close(1000, ""),
        ];
        assert_eq!(told, expected);
    });
}

/// CL06: a server shuts the transport down as soon as both Closes are through.
#[test]
fn server_closed_shuts_down_at_once() {
    let mut server = Endpoint::server();
    assert!(!server.should_shutdown());
    server.receive([close(1000, "")]);
    assert!(!server.should_shutdown(), "the reply is still owed");
    server.transmit();
    assert!(server.should_shutdown());

    let mut server = Endpoint::server();
    server.close(1000, "").expect("open");
    server.transmit();
    assert!(!server.should_shutdown(), "the reply has not come");
    server.receive([close(1000, "")]);
    assert!(server.should_shutdown());
}

/// CL07: a client waits for the server to do so.
#[test]
fn client_closed_shuts_down_after_the_server() {
    for client_first in [true, false] {
        let mut client = Endpoint::client();
        if client_first {
            client.close(1000, "").expect("open");
            client.transmit();
        }
        client.receive([close(1000, "")]);
        client.transmit();
        assert_eq!(client.state(), State::Closed);
        assert!(!client.should_shutdown());
        assert_eq!(client.receive_eof(), Ok(()));
        assert!(client.should_shutdown());
        assert!(client.is_clean());
    }
}

/// CL14, CL18: the end of input before the peer's Close is a failure with 1006; there is no one
/// left to tell, and nothing to wait for.
#[test]
fn open_or_closing_eof_without_a_close_fails_with_1006() {
    let prepare: [fn(&mut Endpoint); 4] = [
        |_| {},
        |endpoint| endpoint.close(1000, "").expect("open"),
        |endpoint| {
            endpoint.close(1000, "").expect("open");
            endpoint.transmit();
        },
        |endpoint| {
            endpoint.receive([ping("p")]);
        },
    ];
    for prepare in prepare {
        both(|mut endpoint| {
            prepare(&mut endpoint);
            assert_eq!(
                endpoint.receive_eof(),
                Err(ProtocolViolation::UnexpectedEof)
            );
            assert_eq!(
                (endpoint.state(), endpoint.close_code()),
                (State::Failed, 1006)
            );
            assert_eq!(endpoint.violation(), Some(ProtocolViolation::UnexpectedEof));
            assert!(!endpoint.is_clean());
            assert!(!endpoint.wants_transmit());
            assert_eq!(endpoint.transmit(), []);
            assert!(endpoint.should_shutdown());
            // It is told again.
            assert_eq!(
                endpoint.receive_eof(),
                Err(ProtocolViolation::UnexpectedEof)
            );
            endpoint.assert_fails_at(b"late", 0, ProtocolViolation::UnexpectedEof);
        });
    }
}

/// CL14: after the peer's Close the end of input is what is expected; the reply is still owed.
#[test]
fn closing_eof_after_the_peers_close_is_no_failure() {
    both(|mut endpoint| {
        endpoint.receive([close(1000, "")]);
        assert_eq!(endpoint.receive_eof(), Ok(()));
        assert_eq!(endpoint.state(), State::Closing);
        assert!(!endpoint.should_shutdown());
        assert_eq!(endpoint.transmit(), [close(1000, "")]);
        assert_eq!(endpoint.state(), State::Closed);
        assert!(endpoint.should_shutdown());
        assert_eq!(endpoint.receive_eof(), Ok(()));
    });
}

/// CL16, CL17: a violation from outside, such as a message too big for its buffer, tells the peer
/// with its code, drops the owed pong, and is the last word.
#[test]
fn open_failed_from_outside_tells_the_peer() {
    for (violation, code) in [
        (ProtocolViolation::MessageTooBig, 1009),
        (ProtocolViolation::InvalidUtf8, 1007),
        (ProtocolViolation::ReservedBit, 1002),
    ] {
        both(|mut endpoint| {
            endpoint.receive([ping("dropped")]);
            endpoint.fail(violation);
            assert_eq!(
                (endpoint.state(), endpoint.violation()),
                (State::Failed, Some(violation))
            );
            assert!(!endpoint.should_shutdown(), "the Close is still owed");
            endpoint.fail(ProtocolViolation::Masked);
            endpoint.assert_fails_at(b"late", 0, violation);
            assert_eq!(endpoint.receive_eof(), Err(violation));
            assert_eq!(endpoint.transmit(), [close(code, "")]);
            assert!(endpoint.should_shutdown());
            assert_eq!(endpoint.close_code(), 1006);
        });
    }
}

/// CL16: a failure replaces the own Close that was not sent, reason and all, and the owed pong.
#[test]
fn closing_violation_replaces_a_close_not_sent() {
    both(|mut endpoint| {
        endpoint.close(1000, "all is well").expect("open");
        endpoint.receive([ping("dropped")]);
        endpoint.assert_fails_at(&[0x83], 1, ProtocolViolation::ReservedOpCode);
        assert_eq!(endpoint.transmit(), [close(1002, "")]);
        assert_eq!(endpoint.state(), State::Failed);
    });
}

/// CL05, CL16: after the own Close was sent, a failure sends no second one.
#[test]
fn closing_violation_after_the_close_was_sent_sends_nothing() {
    both(|mut endpoint| {
        endpoint.close(1000, "sent").expect("open");
        endpoint.transmit();
        endpoint.assert_fails_at(&[0x83], 1, ProtocolViolation::ReservedOpCode);
        assert_eq!(endpoint.transmit(), []);
        assert!(endpoint.should_shutdown());
        assert_eq!(endpoint.close_code(), 1006);
    });
}

/// CL13, CL14: once the peer's Close was received, nothing fails the connection any more.
#[test]
fn closing_failed_from_outside_after_the_peers_close_changes_nothing() {
    both(|mut endpoint| {
        endpoint.receive([close(1001, "")]);
        endpoint.fail(ProtocolViolation::MessageTooBig);
        assert_eq!(endpoint.state(), State::Closing);
        assert_eq!(endpoint.transmit(), [close(1001, "")]);
        endpoint.fail(ProtocolViolation::MessageTooBig);
        assert_eq!(
            (endpoint.state(), endpoint.close_code()),
            (State::Closed, 1001)
        );
        assert_eq!(endpoint.violation(), None);
    });
}

/// CL16: what the peer did decides the code; each violation that can arrive, as it arrives.
#[test]
fn open_violation_is_told_with_its_code() {
    both(|mut endpoint| {
        let wire = endpoint.wire([text(b"\xff")]);
        assert_eq!(
            endpoint.receive_bytes(&wire),
            [got::failed(ProtocolViolation::InvalidUtf8)],
        );
        assert_eq!(endpoint.transmit(), [close(1007, "")]);
        assert_eq!(endpoint.violation(), Some(ProtocolViolation::InvalidUtf8));
    });
}

/// CL04: what is owed when the peer closes in the midst of an outgoing message is only the reply.
#[test]
fn closing_outgoing_message_stays_unfinished() {
    both(|mut endpoint| {
        endpoint
            .send_fragment(DataKind::Binary, b"a", false, 99)
            .expect("room");
        endpoint.receive([close(1000, "")]);
        let more = endpoint.send_fragment(DataKind::Binary, b"b", true, 99);
        assert_eq!(more, Err(SendError::NotOpen));
        assert_eq!(endpoint.transmit(), [close(1000, "")]);
    });
}

/// CL06: the closing handshake between two endpoints, from either side, with a ping on the way.
#[test]
fn open_closing_handshake_from_either_side_is_clean_on_both() {
    for client_first in [true, false] {
        let (mut one, mut other) = if client_first {
            (Endpoint::client(), Endpoint::server())
        } else {
            (Endpoint::server(), Endpoint::client())
        };
        one.close(1001, "bye").expect("open");
        let ping = other.ping(b"on the way").expect("open");
        assert_eq!(other.receive(one.transmit()), [got::close(1001, "bye")]);
        assert_eq!(one.receive([ping]), [got::ping("on the way")]);
        assert_eq!(one.receive(other.transmit()), [got::close(1001, "")]);
        assert_eq!(one.transmit(), [], "no pong after the peer's Close");
        for endpoint in [&one, &other] {
            assert!(endpoint.is_clean());
            assert_eq!(endpoint.close_code(), 1001);
            assert_eq!(endpoint.should_shutdown(), !endpoint.is_client());
        }
        assert_eq!(one.receive([pong("late")]), []);
    }
}
