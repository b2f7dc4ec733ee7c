//! Errors: each says something else, and each violation knows its close code.

use core::error::Error;
use std::collections::HashSet;

use motews::handshake::ConfigError;
use motews::{CloseCode, EntropyError, MessageError, NoRoom, ProtocolViolation, SendError};

const VIOLATIONS: [(ProtocolViolation, CloseCode); 15] = {
    use ProtocolViolation::*;
    let forbidden = CloseCode::new(1005);
    [
        (ReservedBit, CloseCode::PROTOCOL_ERROR),
        (ReservedOpCode, CloseCode::PROTOCOL_ERROR),
        (FragmentedControl, CloseCode::PROTOCOL_ERROR),
        (ControlTooLong, CloseCode::PROTOCOL_ERROR),
        (LengthNotMinimal, CloseCode::PROTOCOL_ERROR),
        (LengthOverflow, CloseCode::PROTOCOL_ERROR),
        (Unmasked, CloseCode::PROTOCOL_ERROR),
        (Masked, CloseCode::PROTOCOL_ERROR),
        (NothingToContinue, CloseCode::PROTOCOL_ERROR),
        (MessageInterrupted, CloseCode::PROTOCOL_ERROR),
        (InvalidUtf8, CloseCode::INVALID_PAYLOAD),
        (TruncatedCloseCode, CloseCode::PROTOCOL_ERROR),
        (InvalidCloseCode(forbidden), CloseCode::PROTOCOL_ERROR),
        (MessageTooBig, CloseCode::MESSAGE_TOO_BIG),
        (UnexpectedEof, CloseCode::ABNORMAL_CLOSURE),
    ]
};

/// CL16: the code that tells the peer what it did.
#[test]
fn violation_each_has_a_fitting_close_code() {
    for (violation, code) in VIOLATIONS {
        assert_eq!(violation.close_code(), code, "{violation}");
    }
}

#[test]
fn error_each_says_something_of_its_own() {
    use SendError::*;
    let send = [
        NoRoom,
        NotOpen,
        MessageInProgress,
        ControlTooLong,
        ReasonTooLong,
        InvalidCloseCode,
        CompressionNotNegotiated,
        TooLong,
        Entropy,
    ];
    let mut errors: Vec<&dyn Error> = vec![&motews::NoRoom, &EntropyError];
    errors.extend(
        VIOLATIONS
            .iter()
            .map(|(violation, _)| violation as &dyn Error),
    );
    errors.extend(send.iter().map(|error| error as &dyn Error));
    errors.extend([
        &MessageError::TooBig as &dyn Error,
        &MessageError::InvalidUtf8,
    ]);

    let said: HashSet<String> = errors.iter().map(ToString::to_string).collect();
    assert_eq!(said.len(), errors.len());
    assert!(said.iter().all(|said| said.len() > 10));
    assert!(said.contains("a Close frame with the code 1005, not allowed on the wire"));
}

#[test]
fn error_of_the_source_of_keys_is_a_source() {
    let source = |error: &dyn Error| error.source().map(ToString::to_string);
    let cause = Some(EntropyError.to_string());
    assert_eq!(source(&SendError::Entropy), cause);
    assert_eq!(source(&ConfigError::Entropy), cause);
    assert_eq!(source(&SendError::NotOpen), None);
    assert_eq!(source(&ConfigError::Host), None);
}

#[test]
fn send_error_keeps_its_cause() {
    assert_eq!(SendError::from(EntropyError), SendError::Entropy);
    assert_eq!(SendError::from(NoRoom), SendError::NoRoom);
}
