//! Close codes and the body of a Close frame (RFC 6455 §5.5.1, §7.4).

use motews::{CloseCode, CloseFrame, ControlPayload, ProtocolViolation, SendError};

fn parse(body: &[u8]) -> Result<Option<CloseFrame>, ProtocolViolation> {
    CloseFrame::parse(ControlPayload::new(body).expect("at most 125 octets"))
}

fn body(code: u16, reason: &[u8]) -> Vec<u8> {
    [&code.to_be_bytes(), reason].concat()
}

/// CL09, CL10, CL11, CL12: all 65,536 codes, against the ranges of §7.4.
#[test]
fn close_code_each_is_allowed_on_the_wire_or_refused() {
    for number in 0..=u16::MAX {
        let code = CloseCode::new(number);
        let allowed = match number {
            0..=999 => false,     // not used
            1000..=1003 => true,  // §7.4.1
            1004..=1006 => false, // reserved; never sent
            1007..=1011 => true,  // §7.4.1
            1012..=1014 => true,  // registered at IANA since
            1015 => false,        // never sent
            1016..=2999 => false, // not defined
            3000..=4999 => true,  // libraries, applications
            5000.. => false,      // not defined
        };
        assert_eq!(code.is_allowed_on_wire(), allowed, "{number}");

        let parsed = parse(&body(number, b"why"));
        if allowed {
            let close = parsed.expect("a valid body").expect("a body");
            assert_eq!((close.code(), close.reason()), (code, "why"));
        } else {
            assert_eq!(parsed, Err(ProtocolViolation::InvalidCloseCode(code)));
        }
    }
}

/// CL11: the names of the codes, and their numbers.
#[test]
fn close_code_each_name_has_its_number() {
    let names = [
        (CloseCode::NORMAL, 1000, "NORMAL"),
        (CloseCode::GOING_AWAY, 1001, "GOING_AWAY"),
        (CloseCode::PROTOCOL_ERROR, 1002, "PROTOCOL_ERROR"),
        (CloseCode::UNSUPPORTED_DATA, 1003, "UNSUPPORTED_DATA"),
        (CloseCode::NO_STATUS_RECEIVED, 1005, "NO_STATUS_RECEIVED"),
        (CloseCode::ABNORMAL_CLOSURE, 1006, "ABNORMAL_CLOSURE"),
        (CloseCode::INVALID_PAYLOAD, 1007, "INVALID_PAYLOAD"),
        (CloseCode::POLICY_VIOLATION, 1008, "POLICY_VIOLATION"),
        (CloseCode::MESSAGE_TOO_BIG, 1009, "MESSAGE_TOO_BIG"),
        (CloseCode::MANDATORY_EXTENSION, 1010, "MANDATORY_EXTENSION"),
        (CloseCode::INTERNAL_ERROR, 1011, "INTERNAL_ERROR"),
        (CloseCode::SERVICE_RESTART, 1012, "SERVICE_RESTART"),
        (CloseCode::TRY_AGAIN_LATER, 1013, "TRY_AGAIN_LATER"),
        (CloseCode::BAD_GATEWAY, 1014, "BAD_GATEWAY"),
        (CloseCode::TLS_HANDSHAKE, 1015, "TLS_HANDSHAKE"),
    ];
    for (code, number, name) in names {
        assert_eq!(code.as_u16(), number);
        assert_eq!(code.name(), Some(name));
        let words = name.to_lowercase().replace('_', " ");
        assert_eq!(code.to_string(), format!("{number} ({words})"));
        assert_eq!(format!("{code:?}"), format!("{number} {name}"));
        assert_eq!(CloseCode::from(number), code);
        assert_eq!(u16::from(code), number);
    }
    let named = (0..=u16::MAX).filter(|&number| CloseCode::new(number).name().is_some());
    assert_eq!(named.count(), names.len());
    assert_eq!(CloseCode::GOING_AWAY.to_string(), "1001 (going away)");
    assert_eq!(format!("{:?} {0:>6}", CloseCode::new(4000)), "4000   4000");
}

/// CL01: no body, or two bytes at least.
#[test]
fn close_body_of_one_octet_fails() {
    assert_eq!(parse(b""), Ok(None));
    for octet in 0..=u8::MAX {
        assert_eq!(parse(&[octet]), Err(ProtocolViolation::TruncatedCloseCode));
    }
}

/// CL13, CL19: a reason of 0 to 123 bytes; its absence is the empty reason.
#[test]
fn close_body_each_length_of_reason_is_read() {
    let reason = "ab\u{e9}\u{4f60}\u{1f600}".repeat(12);
    for len in 0..=CloseFrame::MAX_REASON_LEN {
        let Some(reason) = reason.get(..len) else {
            continue; // within a code point
        };
        let close = parse(&body(1000, reason.as_bytes()))
            .expect("valid")
            .expect("a body");
        assert_eq!((close.code(), close.reason()), (CloseCode::NORMAL, reason));
    }
    assert_eq!(CloseFrame::MAX_REASON_LEN, 123);
}

/// CL09, CL10, CL19: what a Close frame may have; it is the same as one that was read.
#[test]
fn close_frame_new_has_the_codes_and_the_reasons_of_the_wire_only() {
    let longest = "\u{e9}".repeat(61) + "x";
    assert_eq!(longest.len(), CloseFrame::MAX_REASON_LEN);
    for number in 0..=u16::MAX {
        let code = CloseCode::new(number);
        let made = CloseFrame::new(code, &longest);
        match parse(&body(number, longest.as_bytes())) {
            Ok(read) => assert_eq!(made.ok(), read, "{number}"),
            Err(_) => assert_eq!(made, Err(SendError::InvalidCloseCode), "{number}"),
        }
    }
    let too_long = longest + "x";
    assert_eq!(
        CloseFrame::new(CloseCode::NORMAL, &too_long),
        Err(SendError::ReasonTooLong)
    );
    let none = CloseFrame::new(CloseCode::NORMAL, "").expect("allowed");
    assert_eq!((none.code(), none.reason()), (CloseCode::NORMAL, ""));
}

/// CL02: a reason that is not UTF-8, or ends within a code point.
#[test]
fn close_body_with_a_reason_not_utf8_fails() {
    let good = "κόσμε".as_bytes();
    for bad in [
        &b"\xff"[..],
        b"\xed\xa0\x80",
        b"\xc0\xaf",
        b"\xf4\x90\x80\x80",
        b"a\xc3",
        b"\xe2\x82",
        b"\xf0\x9f\x98",
        &[good, b"\xed\xa0\x80", b"edited"].concat(),
    ] {
        assert_eq!(
            parse(&body(1000, bad)),
            Err(ProtocolViolation::InvalidUtf8),
            "{bad:02x?}"
        );
    }
    // The code is judged first.
    assert_eq!(
        parse(&body(999, b"\xff")),
        Err(ProtocolViolation::InvalidCloseCode(CloseCode::new(999))),
    );
}

#[test]
fn close_frame_debug_shows_code_and_reason() {
    let close = parse(&body(1001, b"bye")).expect("valid").expect("a body");
    assert_eq!(
        format!("{close:?}"),
        r#"CloseFrame { code: 1001 GOING_AWAY, reason: "bye" }"#,
    );
    assert_eq!(close.clone(), close);
}
