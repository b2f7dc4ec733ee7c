//! Frames received: what each byte of a header may be (§5.1, §5.2, §5.5, §10.4).

use motews::{ConnectionConfig, ProtocolViolation, State};

use crate::support::{
    COMPRESSION, Endpoint, KEY, binary, both, both_with, close, continuation, frame, got, ping,
    text,
};

/// FR03: a server fails on an unmasked frame, by the byte that lacks the bit, whatever it is.
#[test]
fn server_unmasked_frame_fails() {
    for first in [0x81, 0x82, 0x01, 0x88, 0x89, 0x8A] {
        let wire = frame(first, "abc").encode(None);
        Endpoint::server().assert_fails_at(&wire, 2, ProtocolViolation::Unmasked);
    }
    let mut server = Endpoint::server();
    assert_eq!(server.receive([text("a").more()]), [got::text_begins("a")]);
    let wire = continuation("b").encode(None);
    server.assert_fails_at(&wire, 2, ProtocolViolation::Unmasked);
    assert_eq!(server.transmit(), [close(1002, "")]);
}

/// FR04: a client fails on a masked frame.
#[test]
fn client_masked_frame_fails() {
    for first in [0x81, 0x82, 0x01, 0x88, 0x89, 0x8A] {
        let wire = frame(first, "abc").encode(Some(KEY));
        Endpoint::client().assert_fails_at(&wire, 2, ProtocolViolation::Masked);
    }
    let mut client = Endpoint::client();
    client.assert_fails_at(&[0x81, 0x80], 2, ProtocolViolation::Masked);
    assert_eq!(client.transmit(), [close(1002, "")]);
}

/// FR08, FR09, FR13, FR15, EX03, MS02, PD13, PD14: all first bytes, with and without compression
/// negotiated, in and out of a fragmented message: passed, or refused at once.
#[test]
fn open_each_first_octet_is_passed_or_fails_at_once() {
    for compression in [false, true] {
        for in_message in [false, true] {
            for first in 0..=u8::MAX {
                let (fin, rsv, opcode) = (first & 0x80 != 0, first & 0x70, first & 0x0F);
                let rsv_allowed = match opcode {
                    0x1 | 0x2 if compression => 0x40,
                    _ => 0,
                };
                let expected = if rsv & !rsv_allowed != 0 {
                    Some(ProtocolViolation::ReservedBit)
                } else {
                    match opcode {
                        0x0 if !in_message => Some(ProtocolViolation::NothingToContinue),
                        0x1 | 0x2 if in_message => Some(ProtocolViolation::MessageInterrupted),
                        0x3..=0x7 | 0xB..=0xF => Some(ProtocolViolation::ReservedOpCode),
                        0x8..=0xA if !fin => Some(ProtocolViolation::FragmentedControl),
                        _ => None,
                    }
                };
                let config = ConnectionConfig {
                    compression,
                    ..ConnectionConfig::default()
                };
                both_with(config, |mut endpoint| {
                    if in_message {
                        let begin = endpoint.wire([text("").more()]);
                        assert_eq!(endpoint.receive_bytes(&begin), [got::text_begins("")]);
                    }
                    match expected {
                        Some(violation) => endpoint.assert_fails_at(&[first, 0x80], 1, violation),
                        None => assert_eq!(endpoint.receive_bytes(&[first]), []),
                    }
                });
            }
        }
    }
}

/// FR13, FR14: control frames of up to 125 bytes pass; longer ones fail before the payload comes.
#[test]
fn open_control_frame_beyond_125_octets_fails_by_its_second_octet() {
    for first in [0x88, 0x89, 0x8A] {
        for len in [126, 127, 65_535, 65_536, 1 << 40] {
            both(|mut endpoint| {
                let wire = endpoint.wire_header(first, len);
                endpoint.assert_fails_at(&wire, 2, ProtocolViolation::ControlTooLong);
            });
        }
    }
}

/// FR10, FR06: payloads on both sides of each boundary of the length.
#[test]
fn open_each_boundary_of_the_length_is_received() {
    for len in [
        0, 1, 124, 125, 126, 127, 128, 65_534, 65_535, 65_536, 65_537,
    ] {
        let payload: Vec<u8> = (0..len).map(|i| (i % 251) as u8).collect();
        both(|mut endpoint| {
            let got = endpoint.receive([binary(&payload), text("after")]);
            assert_eq!(got, [got::binary(&payload), got::text("after")]);
        });
    }
}

/// FR11: a length that is not in the fewest bytes, by the byte that proves it.
#[test]
fn open_length_not_minimal_fails() {
    both(|endpoint| {
        let masked = if endpoint.is_client() { 0 } else { 0x80 };
        let fails = |wire: &[u8], at| {
            let mut endpoint = if masked == 0 {
                Endpoint::client()
            } else {
                Endpoint::server()
            };
            endpoint.assert_fails_at(wire, at, ProtocolViolation::LengthNotMinimal);
        };
        fails(&[0x82, masked | 126, 0, 125], 4);
        fails(&[0x82, masked | 126, 0, 0], 4);
        fails(&[0x82, masked | 127, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF], 8);
        fails(&[0x82, masked | 127, 0, 0, 0, 0, 0, 0], 8);
    });
}

/// FR12: 2^63 and 2^64 - 1 fail by the first byte of the length. 2^63 - 1 is only long.
#[test]
fn open_length_of_64_bits_fails_by_its_most_significant_bit() {
    for len in [1 << 63, (1 << 63) + 1, u64::MAX] {
        for first in [0x81, 0x82, 0x01, 0x02] {
            both(|mut endpoint| {
                let wire = endpoint.wire_header(first, len);
                endpoint.assert_fails_at(&wire, 3, ProtocolViolation::LengthOverflow);
                assert_eq!(endpoint.transmit(), [close(1002, "")]);
            });
        }
    }
    both(|mut endpoint| {
        let header = endpoint.wire_header(0x82, (1 << 63) - 1);
        assert_eq!(endpoint.receive_bytes(&header), []);
        let mut payload = *b"abcd";
        if !endpoint.is_client() {
            payload
                .iter_mut()
                .zip(KEY)
                .for_each(|(octet, key)| *octet ^= key);
        }
        assert_eq!(
            endpoint.receive_bytes(&payload),
            [got::binary_begins("abcd")]
        );
        assert_eq!(
            endpoint.receive_bytes(&payload),
            [got::binary_goes_on("abcd")]
        );
    });
}

/// FR17: a length announced takes no memory: there is none to take. Its end is awaited for ever,
/// and the end of input is told as such.
#[test]
fn open_announced_terabyte_without_payload_changes_nothing() {
    both(|mut endpoint| {
        let size = size_of_val(&endpoint);
        let header = endpoint.wire_header(0x82, 1 << 40);
        assert_eq!(endpoint.receive_bytes(&header), []);
        assert_eq!(
            (size_of_val(&endpoint), endpoint.state()),
            (size, State::Open)
        );
        assert_eq!(
            endpoint.receive_eof(),
            Err(ProtocolViolation::UnexpectedEof)
        );
    });
}

/// FR17: messages up to the limit pass; one byte more fails by the header that announces it, in
/// one frame or in many. Limits of 0, 1, and at each form of the length.
#[test]
fn open_message_beyond_the_limit_fails_by_its_header() {
    for max_message_len in [0, 1, 125, 126, 65_535, 65_536] {
        let config = ConnectionConfig {
            max_message_len,
            ..ConnectionConfig::default()
        };
        let longest = vec![b'a'; max_message_len as usize];
        both_with(config, |mut endpoint| {
            assert_eq!(endpoint.receive([text(&longest)]), [got::text(&longest)]);
            let parts = endpoint.receive([text(&longest).more(), continuation("")]);
            assert_eq!(parts, [got::text_begins(&longest), got::text_ends("")]);
            // Each message is counted by itself.
            assert_eq!(
                endpoint.receive([binary(&longest)]),
                [got::binary(&longest)]
            );

            let header = endpoint.wire_header(0x82, max_message_len + 1);
            let mut wire = header.clone();
            wire.extend(b"payload");
            endpoint.assert_fails_at(&wire, header.len(), ProtocolViolation::MessageTooBig);
            assert_eq!(endpoint.transmit(), [close(1009, "")]);
        });
        both_with(config, |mut endpoint| {
            let begin = endpoint.receive([text(&longest).more(), ping("does not count")]);
            assert_eq!(
                begin,
                [got::text_begins(&longest), got::ping("does not count")]
            );
            let wire = endpoint.wire([continuation("b")]);
            endpoint.assert_fails_at(&wire, wire.len() - 1, ProtocolViolation::MessageTooBig);
        });
    }
}

/// FR17: a limit near the greatest length there is, which no sum overflows.
#[test]
fn open_message_at_the_greatest_limits_is_counted() {
    let greatest = (1 << 63) - 1;
    for (max_message_len, passes) in [
        (u64::MAX, true),
        (greatest + 1, true),
        (greatest, false), // an octet came before
        (greatest - 1, false),
    ] {
        let config = ConnectionConfig {
            max_message_len,
            ..ConnectionConfig::default()
        };
        both_with(config, |mut endpoint| {
            assert_eq!(
                endpoint.receive([binary("a").more()]),
                [got::binary_begins("a")]
            );
            let header = endpoint.wire_header(0x80, greatest);
            let expected = if passes {
                vec![]
            } else {
                vec![got::failed(ProtocolViolation::MessageTooBig)]
            };
            assert_eq!(endpoint.receive_bytes(&header), expected);
        });
    }
}

/// FR18, CL17: after a failure nothing is consumed or told but the same failure.
#[test]
fn failed_later_input_is_not_processed() {
    both(|mut endpoint| {
        endpoint.assert_fails_at(&[0x83], 1, ProtocolViolation::ReservedOpCode);
        let wire = endpoint.wire([text("late"), ping("late"), close(1000, "late")]);
        endpoint.assert_fails_at(&wire, 0, ProtocolViolation::ReservedOpCode);
        endpoint.assert_fails_at(&[], 0, ProtocolViolation::ReservedOpCode);
        // Only the Close for the failure is owed: no pong, no reply.
        assert_eq!(endpoint.transmit(), [close(1002, "")]);
        endpoint.assert_fails_at(&wire, 0, ProtocolViolation::ReservedOpCode);
        assert_eq!(endpoint.transmit(), []);
        assert_eq!(endpoint.close_code(), 1006);
    });
}

/// FR18: after the peer's Close, what comes is consumed and not processed, not even judged.
#[test]
fn closing_later_input_is_consumed_and_not_processed() {
    both(|mut endpoint| {
        let mut wire = endpoint.wire([close(1000, ""), text("late"), ping("late")]);
        wire.extend([0xFF; 30]);
        assert_eq!(
            endpoint.receive_counted(&wire),
            (vec![got::close(1000, "")], wire.len())
        );
        assert_eq!(endpoint.receive_counted(&[0xFF; 9]), (vec![], 9));
        assert_eq!(endpoint.transmit(), [close(1000, "")]);
        assert_eq!(endpoint.receive_counted(&[0xFF; 9]), (vec![], 9));
        assert_eq!(endpoint.state(), State::Closed);
    });
}

/// PD13, PD14: with compression negotiated, RSV1 on the first frame marks the message, each of
/// its chunks says so, and control frames in its midst are what they are. PD15, PD16.
#[test]
fn open_compressed_message_is_marked_in_each_chunk() {
    both_with(COMPRESSION, |mut endpoint| {
        let got = endpoint.receive([
            text("\u{80}").more().compressed(),
            ping("p"),
            continuation("x").more(),
            continuation("y"),
            text("plain"),
            binary("b").compressed(),
        ]);
        let expected = [
            got::compressed(got::text_begins("\u{80}")),
            got::ping("p"),
            got::compressed(got::text_goes_on("x")),
            got::compressed(got::text_ends("y")),
            got::text("plain"),
            got::compressed(got::binary("b")),
        ];
        assert_eq!(got, expected);
    });
}
