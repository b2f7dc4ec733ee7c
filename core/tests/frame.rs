//! The frame's header, read and written (RFC 6455 §5.2), against an encoding written out here.
#![expect(
    clippy::indexing_slicing,
    reason = "an index out of bounds fails the test"
)]

use motews::{ControlPayload, FrameHeader, NoRoom, OpCode, ProtocolViolation};
use motews_testkit::frame::{KEY, header as wire};
use proptest::prelude::*;

/// Both sides of each boundary of the three forms of a length.
const LENGTHS: [u64; 17] = [
    0,
    1,
    124,
    125,
    126,
    127,
    128,
    255,
    256,
    65_534,
    65_535,
    65_536,
    65_537,
    1 << 32,
    1 << 40,
    (1 << 63) - 2,
    (1 << 63) - 1,
];

fn header(first: u8, payload_len: u64, mask: Option<[u8; 4]>) -> FrameHeader {
    FrameHeader {
        fin: first & 0x80 != 0,
        rsv1: first & 0x40 != 0,
        rsv2: first & 0x20 != 0,
        rsv3: first & 0x10 != 0,
        opcode: OpCode::new(first).expect("a known opcode"),
        mask,
        payload_len,
    }
}

/// FR10, FR11: each length on both sides of a boundary, both ways, in the fewest bytes.
#[test]
fn header_each_boundary_of_the_length_reads_and_writes() {
    for payload_len in LENGTHS {
        for mask in [None, Some(KEY)] {
            let header = header(0x82, payload_len, mask);
            let wire = wire(0x82, payload_len, mask);
            let octets = match payload_len {
                0..=125 => 2,
                126..=65_535 => 4,
                _ => 10,
            } + if mask.is_some() { 4 } else { 0 };
            assert_eq!(wire.len(), octets);

            assert_eq!(FrameHeader::parse(&wire), Ok(Some((header, octets))));
            assert_eq!(header.wire_len(), octets);
            let mut out = [0xEE; FrameHeader::MAX_LEN + 1];
            assert_eq!(header.emit(&mut out), Ok(octets));
            assert_eq!(out[..octets], wire);
            assert!(
                out[octets..].iter().all(|&octet| octet == 0xEE),
                "{header:?}"
            );
        }
    }
    assert_eq!(
        header(0x82, u64::MAX, Some(KEY)).wire_len(),
        FrameHeader::MAX_LEN
    );
}

/// FR16: what follows a header is not a part of it, and a part of a header is not one.
#[test]
fn header_cut_or_followed_reads_the_same() {
    for payload_len in LENGTHS {
        for mask in [None, Some(KEY)] {
            let header = header(0x02, payload_len, mask);
            let mut bytes = wire(0x02, payload_len, mask);
            let len = bytes.len();
            for cut in 0..len {
                assert_eq!(FrameHeader::parse(&bytes[..cut]), Ok(None), "{header:?}");
            }
            bytes.extend([0xFF; 20]);
            assert_eq!(FrameHeader::parse(&bytes), Ok(Some((header, len))));
        }
    }
}

/// FR11: a length in more bytes than it needs fails, by the first byte that proves it: in the
/// long form the sixth zero.
#[test]
fn header_length_not_minimal_fails() {
    for masked in [0, 0x80] {
        for len in 0..126_u16 {
            let [high, low] = len.to_be_bytes();
            assert_eq!(FrameHeader::parse(&[0x82, masked | 126, high]), Ok(None));
            assert_eq!(
                FrameHeader::parse(&[0x82, masked | 126, high, low]),
                Err(ProtocolViolation::LengthNotMinimal),
            );
        }
        for len in [0, 125, 126, 65_535_u64] {
            let mut bytes = vec![0x82, masked | 127];
            bytes.extend(len.to_be_bytes());
            for cut in 2..8 {
                assert_eq!(FrameHeader::parse(&bytes[..cut]), Ok(None));
            }
            for cut in 8..=bytes.len() {
                assert_eq!(
                    FrameHeader::parse(&bytes[..cut]),
                    Err(ProtocolViolation::LengthNotMinimal),
                );
            }
        }
    }
}

/// FR12: 2^63 and above fail by the first byte of the length; 2^63 - 1 does not.
#[test]
fn header_length_with_the_most_significant_bit_fails() {
    for masked in [0, 0x80] {
        for len in [1 << 63, (1 << 63) + 1, u64::MAX - 1, u64::MAX] {
            let mut bytes = vec![0x82, masked | 127];
            assert_eq!(FrameHeader::parse(&bytes), Ok(None));
            bytes.extend(u64::to_be_bytes(len));
            for cut in 3..=bytes.len() {
                assert_eq!(
                    FrameHeader::parse(&bytes[..cut]),
                    Err(ProtocolViolation::LengthOverflow),
                );
            }
        }
    }
    let greatest = [0x82, 127, 0x7F, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF];
    assert_eq!(
        FrameHeader::parse(&greatest),
        Ok(Some((header(0x82, i64::MAX as u64, None), 10))),
    );
}

/// FR09, FR13, FR15: all first bytes. Reserved opcodes and fragmented control frames fail by it.
#[test]
fn header_each_first_octet_is_read_or_refused_at_once() {
    for first in 0..=u8::MAX {
        let expected = match (first & 0x0F, first & 0x80 != 0) {
            (0x3..=0x7 | 0xB..=0xF, _) => Err(ProtocolViolation::ReservedOpCode),
            (0x8..=0xA, false) => Err(ProtocolViolation::FragmentedControl),
            _ => Ok(None),
        };
        assert_eq!(FrameHeader::parse(&[first]), expected, "{first:#04x}");
        let whole = FrameHeader::parse(&[first, 0]);
        match expected {
            Err(violation) => assert_eq!(whole, Err(violation)),
            Ok(_) => {
                let header = header(first, 0, None);
                assert_eq!(whole, Ok(Some((header, 2))));
                let mut out = [0; 2];
                assert_eq!(header.emit(&mut out), Ok(2));
                assert_eq!(out, [first, 0]);
            }
        }
    }
}

/// FR14, FR15: a control frame of 126 bytes or more fails by the second byte, in either form.
#[test]
fn header_control_frame_beyond_125_octets_fails() {
    for first in [0x88, 0x89, 0x8A] {
        for masked in [0, 0x80] {
            for len in 0..=127 {
                let expected = match (len, masked) {
                    (126.., _) => Err(ProtocolViolation::ControlTooLong),
                    (_, 0) => Ok(Some((header(first, len.into(), None), 2))),
                    _ => Ok(None),
                };
                assert_eq!(FrameHeader::parse(&[first, masked | len]), expected);
            }
        }
    }
}

/// Law 2: a whole header or nothing.
#[test]
fn header_without_room_writes_nothing() {
    for payload_len in LENGTHS {
        for mask in [None, Some(KEY)] {
            let header = header(0x81, payload_len, mask);
            for room in 0..header.wire_len() {
                let mut out = vec![0xEE; room];
                assert_eq!(header.emit(&mut out), Err(NoRoom));
                assert_eq!(out, vec![0xEE; room]);
            }
        }
    }
}

/// FR09: the opcodes of §11.8 and no others; the bits above them do not matter.
#[test]
fn opcode_each_octet_is_known_or_reserved() {
    let known = [
        (0x0, OpCode::Continuation, false),
        (0x1, OpCode::Text, false),
        (0x2, OpCode::Binary, false),
        (0x8, OpCode::Close, true),
        (0x9, OpCode::Ping, true),
        (0xA, OpCode::Pong, true),
    ];
    for octet in 0..=u8::MAX {
        let expected = known.iter().find(|(code, ..)| *code == octet & 0x0F);
        assert_eq!(OpCode::new(octet), expected.map(|(_, opcode, _)| *opcode));
        if let Some((code, opcode, control)) = expected {
            assert_eq!((*opcode as u8, opcode.is_control()), (*code, *control));
        }
    }
}

/// FR14, CT02: up to 125 bytes, whatever they are.
#[test]
fn control_payload_takes_125_octets_at_most() {
    let bytes: Vec<u8> = (0..=126).map(|octet| octet ^ 0xA5).collect();
    for len in 0..=125 {
        let payload = ControlPayload::new(&bytes[..len]).expect("there is room");
        assert_eq!(payload.as_bytes(), &bytes[..len]);
        assert_eq!(payload.as_ref(), &bytes[..len]);
    }
    assert_eq!(ControlPayload::new(&bytes[..126]), None);
    assert_eq!(ControlPayload::MAX_LEN, 125);
    assert_eq!(ControlPayload::default().as_bytes(), b"");
}

#[test]
fn control_payload_debug_is_readable() {
    let payload = ControlPayload::new(b"a\"b\xff").expect("there is room");
    assert_eq!(format!("{payload:?}"), r#""a\"b\xff""#);
}

proptest! {
    /// FR10: what is written is what is read.
    #[test]
    fn header_any_reads_as_written(
        bits in any::<u8>(),
        opcode in prop::sample::select(&[0x0_u8, 0x1, 0x2, 0x8, 0x9, 0xA][..]),
        mask in any::<Option<[u8; 4]>>(),
        len in any::<u64>(),
        shift in 1..64_u32,
    ) {
        let (first, payload_len) = if opcode < 0x8 {
            (bits & 0xF0 | opcode, len >> shift)
        } else {
            (bits & 0xF0 | 0x80 | opcode, len % 126)
        };
        let header = header(first, payload_len, mask);
        let mut out = [0; FrameHeader::MAX_LEN];
        let written = header.emit(&mut out).expect("there is room");
        prop_assert_eq!(&out[..written], wire(first, payload_len, mask));
        prop_assert_eq!(FrameHeader::parse(&out[..written]), Ok(Some((header, written))));
    }

    /// FR15, FR16: an error that a part of a header proves does not change with more of it, and
    /// neither does a header.
    #[test]
    fn header_any_bytes_more_of_them_change_no_verdict(bytes in any::<[u8; 16]>()) {
        let mut verdict = Ok(None);
        for cut in 0..=bytes.len() {
            let now = FrameHeader::parse(&bytes[..cut]);
            if verdict != Ok(None) {
                prop_assert_eq!(now, verdict);
            }
            verdict = now;
        }
        prop_assert_ne!(verdict, Ok(None), "no header is longer than 14 octets");
    }
}
