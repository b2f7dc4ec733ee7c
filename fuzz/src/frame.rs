//! `FrameHeader`: any bytes in, any header out.

use motews::{FrameHeader, NoRoom, OpCode, ProtocolViolation};

/// Any bytes as a header, and a header made of any bytes.
///
/// # Panics
/// Where a property of the header does not hold.
pub fn check(data: &[u8]) {
    parse(data);
    emit(data);
}

/// Each prefix says the same as the whole, or that it needs more; what it says is what §5.2 says;
/// and a header that is accepted is written the same way again.
fn parse(data: &[u8]) {
    let whole = FrameHeader::parse(data);
    let needed = (0..=data.len())
        .find(|len| FrameHeader::parse(&data[..*len]) != Ok(None))
        .unwrap_or(data.len() + 1);
    for len in 0..=data.len().min(FrameHeader::MAX_LEN + 2) {
        let expected = if len < needed { Ok(None) } else { whole };
        assert_eq!(
            FrameHeader::parse(&data[..len]),
            expected,
            "of {len} octets"
        );
        assert_eq!(FrameHeader::parse(&data[..len]), by_the_book(&data[..len]));
    }
    match whole {
        Ok(None) => assert!(
            data.len() < FrameHeader::MAX_LEN,
            "a header has at most 14 octets"
        ),
        Err(_) => assert!(
            needed <= 8,
            "the length's first octets prove the last error there is"
        ),
        Ok(Some((header, len))) => {
            assert_eq!((len, header.wire_len()), (needed, needed));
            let mut out = [0xEE; FrameHeader::MAX_LEN];
            for room in 0..len {
                assert_eq!(header.emit(&mut out[..room]), Err(NoRoom));
                assert_eq!(out, [0xEE; FrameHeader::MAX_LEN], "nothing is written");
            }
            assert_eq!(header.emit(&mut out), Ok(len));
            // RFC 6455 §5.2: there is one way to write a header [FR11]
            assert_eq!(out[..len], data[..len]);
            assert!(out[len..].iter().all(|octet| *octet == 0xEE));
        }
    }
}

/// §5.2 and §5.5 as they stand there, byte by byte, with no thought of speed.
fn by_the_book(data: &[u8]) -> Result<Option<(FrameHeader, usize)>, ProtocolViolation> {
    let mut octets = data.iter().copied();
    let Some(first) = octets.next() else {
        return Ok(None);
    };
    let opcode = match first & 0x0F {
        0x0 => OpCode::Continuation,
        0x1 => OpCode::Text,
        0x2 => OpCode::Binary,
        0x8 => OpCode::Close,
        0x9 => OpCode::Ping,
        0xA => OpCode::Pong,
        _ => return Err(ProtocolViolation::ReservedOpCode),
    };
    let is_control = first & 0x0F >= 0x8;
    if is_control && first < 0x80 {
        return Err(ProtocolViolation::FragmentedControl);
    }
    let Some(second) = octets.next() else {
        return Ok(None);
    };
    if is_control && second & 0x7F > 125 {
        return Err(ProtocolViolation::ControlTooLong);
    }
    let (extended, minimum) = match second & 0x7F {
        126 => (2, 126),
        127 => (8, 0x1_0000),
        _ => (0, 0),
    };
    let mut payload_len = if extended == 0 {
        u64::from(second & 0x7F)
    } else {
        0
    };
    for place in (0..extended).rev() {
        let Some(octet) = octets.next() else {
            return Ok(None);
        };
        if place == 7 && octet >= 0x80 {
            return Err(ProtocolViolation::LengthOverflow);
        }
        payload_len = payload_len << 8 | u64::from(octet);
        // The greatest length that can still come
        if payload_len << (8 * place) | ((1 << (8 * place)) - 1) < minimum {
            return Err(ProtocolViolation::LengthNotMinimal);
        }
    }
    let mut mask = None;
    if second >= 0x80 {
        let key: Vec<u8> = octets.take(4).collect();
        let Ok(key) = key.try_into() else {
            return Ok(None);
        };
        mask = Some(key);
    }
    let header = FrameHeader {
        fin: first & 0x80 != 0,
        rsv1: first & 0x40 != 0,
        rsv2: first & 0x20 != 0,
        rsv3: first & 0x10 != 0,
        opcode,
        mask,
        payload_len,
    };
    let mask_len = if mask.is_some() { 4 } else { 0 };
    Ok(Some((header, 2 + extended + mask_len)))
}

/// Each header that can be written is read back, in the fewest bytes.
fn emit(data: &[u8]) {
    let Some((&[flags, kind, shift], data)) = data.split_first_chunk() else {
        return;
    };
    let Some((len, data)) = data.split_first_chunk() else {
        return;
    };
    let Some(opcode) = OpCode::new(kind) else {
        return;
    };
    // Without the shift, nearly all lengths would be longer than 2^56.
    let payload_len = u64::from_be_bytes(*len) >> (shift % 64);
    let header = FrameHeader {
        fin: flags & 1 != 0,
        rsv1: flags & 2 != 0,
        rsv2: flags & 4 != 0,
        rsv3: flags & 8 != 0,
        opcode,
        mask: data.first_chunk().copied(),
        payload_len,
    };
    let mut out = [0; FrameHeader::MAX_LEN];
    let len = header.emit(&mut out).expect("14 octets suffice");
    assert_eq!(len, header.wire_len());
    let expected = if opcode.is_control() && !header.fin {
        Err(ProtocolViolation::FragmentedControl)
    } else if opcode.is_control() && payload_len > 125 {
        Err(ProtocolViolation::ControlTooLong)
    } else if payload_len >= 1 << 63 {
        Err(ProtocolViolation::LengthOverflow)
    } else {
        Ok(Some((header, len)))
    };
    assert_eq!(FrameHeader::parse(&out[..len]), expected);
}
