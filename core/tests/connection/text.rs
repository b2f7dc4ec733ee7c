//! Text is UTF-8, judged as it arrives (§5.6, §8.1).

use motews::ProtocolViolation;

use crate::support::{
    COMPRESSION, Frame, binary, both, both_with, close, continuation, got, ping, text,
};

/// Texts, and the index of the byte that proves them to be none; `None`: their end does.
const INVALID: [(&[u8], Option<usize>); 12] = [
    (b"\xff", Some(0)),
    (b"ab\x80", Some(2)),
    (b"\xc0\xaf", Some(0)),
    (b"\xe0\x80\xaf", Some(1)),
    (b"\xed\xa0\x80", Some(1)),
    (b"\xf4\x90\x80\x80", Some(1)),
    (b"\xf5\x80", Some(0)),
    (b"abcdefgh\xe2\x82a and more", Some(10)),
    (b"\xc3", None),
    (b"\xe2\x82", None),
    (b"\xf0\x9f\x98", None),
    (b"\xce\xba\xcf\x8c\xc3", None),
];

fn header_len(frame: &Frame, client: bool) -> usize {
    assert!(frame.payload.len() < 126);
    if client { 2 } else { 6 }
}

/// MS11, MS13: an impossible byte fails by itself, within its frame; what came before it is told.
#[test]
fn open_text_not_utf8_fails_by_the_octet_that_proves_it() {
    for (bytes, index) in INVALID {
        for fin in [true, false] {
            let (told, last_octet) = match index {
                Some(index) => (index, index + 1),
                None if fin => (bytes.len(), bytes.len()),
                None => continue, // more may come
            };
            let frame = if fin { text(bytes) } else { text(bytes).more() };
            both(|mut endpoint| {
                let wire = endpoint.wire([frame.clone()]);
                let at = header_len(&frame, endpoint.is_client()) + last_octet;
                let mut expected = vec![got::failed(ProtocolViolation::InvalidUtf8)];
                if told > 0 {
                    expected.insert(0, got::text_begins(&bytes[..told]));
                }
                assert_eq!(
                    endpoint.receive_counted(&wire),
                    (expected, at),
                    "{bytes:02x?}"
                );
                assert_eq!(endpoint.transmit(), [close(1007, "")]);
            });
        }
    }
}

/// MS13: the same byte by byte: the failure shows with the impossible byte, not later.
#[test]
fn open_text_not_utf8_octet_by_octet_fails_at_the_same_octet() {
    for (bytes, index) in INVALID {
        both(|mut endpoint| {
            let frame = text(bytes);
            let wire = endpoint.wire([frame.clone()]);
            let at = match index {
                Some(index) => header_len(&frame, endpoint.is_client()) + index,
                None => wire.len() - 1,
            };
            for octet in &wire[..at] {
                let told = endpoint.receive_bytes(&[*octet]);
                assert_eq!(endpoint.violation(), None, "{bytes:02x?}: {told:?}");
            }
            endpoint.receive_bytes(&wire[at..=at]);
            // What ends a text too early is the last byte of it, which is told first.
            let told = endpoint.receive_bytes(&[]);
            assert_eq!(
                told,
                [got::failed(ProtocolViolation::InvalidUtf8)],
                "{bytes:02x?}"
            );
        });
    }
}

/// MS11: an end within a code point, told by an empty last frame, fails by its header.
#[test]
fn open_empty_end_within_a_code_point_fails() {
    both(|mut endpoint| {
        assert_eq!(
            endpoint.receive([text(b"a\xc3").more()]),
            [got::text_begins(b"a\xc3")]
        );
        let wire = endpoint.wire([continuation("")]);
        endpoint.assert_fails_at(&wire, wire.len(), ProtocolViolation::InvalidUtf8);
    });
}

/// MS12, MS04: code points over frames, with control frames between the frames.
#[test]
fn open_code_point_over_frames_is_accepted() {
    for point in ["é", "€", "😀"] {
        let octets = point.as_bytes();
        both(|mut endpoint| {
            let mut frames = vec![text("").more()];
            for octet in octets {
                frames.extend([continuation([*octet]).more(), ping("p")]);
            }
            frames.push(continuation(""));
            let mut expected = vec![got::text_begins("")];
            for octet in octets {
                expected.extend([got::text_goes_on([*octet]), got::ping("p")]);
            }
            expected.push(got::text_ends(""));
            assert_eq!(endpoint.receive(frames), expected);
        });
        both(|mut endpoint| {
            let (head, tail) = octets.split_at(octets.len() - 1);
            let got = endpoint.receive([text(head).more(), continuation(tail)]);
            assert_eq!(got, [got::text_begins(head), got::text_ends(tail)]);
        });
    }
}

/// MS11: ASCII where a continuation byte is due, in the next frame or in the next input.
#[test]
fn open_ascii_within_a_code_point_fails() {
    both(|mut endpoint| {
        assert_eq!(
            endpoint.receive([text(b"\xe2\x82").more()]),
            [got::text_begins(b"\xe2\x82")]
        );
        let wire = endpoint.wire([continuation("a")]);
        endpoint.assert_fails_at(&wire, wire.len(), ProtocolViolation::InvalidUtf8);
    });
    both(|mut endpoint| {
        let wire = endpoint.wire([text(b"\xc3 ab")]);
        let (head, tail) = wire.split_at(wire.len() - 3);
        assert_eq!(endpoint.receive_bytes(head), [got::text_begins(b"\xc3")]);
        endpoint.assert_fails_at(tail, 1, ProtocolViolation::InvalidUtf8);
    });
}

/// MS10: a code point left open by one message is not awaited in the next.
#[test]
fn open_text_after_binary_begins_afresh() {
    both_with(COMPRESSION, |mut endpoint| {
        let got = endpoint.receive([binary(b"\xe2\x82"), text("a"), text(b"\xc3").compressed()]);
        let expected = [
            got::binary(b"\xe2\x82"),
            got::text("a"),
            got::compressed(got::text(b"\xc3")),
        ];
        assert_eq!(got, expected);
        assert_eq!(endpoint.receive([text("b")]), [got::text("b")]);
    });
}

/// MS14: binary is any bytes.
#[test]
fn open_binary_is_passed_unchanged() {
    let all: Vec<u8> = (0..=u8::MAX).collect();
    both(|mut endpoint| {
        assert_eq!(endpoint.receive([binary(&all)]), [got::binary(&all)]);
        for (bytes, _) in INVALID {
            assert_eq!(endpoint.receive([binary(bytes)]), [got::binary(bytes)]);
        }
    });
}
