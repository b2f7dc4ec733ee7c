//! Errors, by who is to blame: the peer ([`ProtocolViolation`]), the caller ([`SendError`]),
//! the source of masking keys ([`EntropyError`]) or the space given ([`NoRoom`]).

use core::fmt;

use crate::close_code::CloseCode;

/// What the peer did wrong. Each violation fails the connection (RFC 6455 §7.1.7), with its
/// [close code](Self::close_code).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum ProtocolViolation {
    /// A reserved bit was set that no negotiated extension gives a meaning (§5.2).
    ReservedBit,
    /// An opcode in 0x3..=0x7 or 0xB..=0xF (§5.2).
    ReservedOpCode,
    /// A control frame with FIN = 0 (§5.5).
    FragmentedControl,
    /// A control frame of more than 125 bytes (§5.5).
    ControlTooLong,
    /// A length that was not written in the fewest possible bytes (§5.2).
    LengthNotMinimal,
    /// A 64-bit length whose most significant bit is set (§5.2).
    LengthOverflow,
    /// A client's frame without a masking key (§5.1).
    Unmasked,
    /// A server's frame with a masking key (§5.1).
    Masked,
    /// A continuation frame while no message is open (§5.4).
    NothingToContinue,
    /// A text or binary frame while a fragmented message is open (§5.4).
    MessageInterrupted,
    /// Text, or the reason of a Close, that is not UTF-8 (§8.1).
    InvalidUtf8,
    /// A Close frame with a body of one byte (§5.5.1).
    TruncatedCloseCode,
    /// A Close frame with a code that may not be on the wire (§7.4).
    InvalidCloseCode(CloseCode),
    /// A message longer than [`ConnectionConfig::max_message_len`](crate::ConnectionConfig::max_message_len) (§10.4).
    MessageTooBig,
    /// A compressed message that cannot be inflated (RFC 7692 §7.2.2).
    Compression,
    /// The stream of bytes ended before the closing handshake was complete (§7.1.5, §7.2.1).
    UnexpectedEof,
}

impl ProtocolViolation {
    /// Returns the code for the Close frame; [`CloseCode::ABNORMAL_CLOSURE`], which is never on the
    /// wire, if the peer has left.
    #[must_use]
    pub const fn close_code(self) -> CloseCode {
        match self {
            // RFC 7692 leaves the code open; the data is not what its type says [PD26]
            Self::InvalidUtf8 | Self::Compression => CloseCode::INVALID_PAYLOAD,
            Self::MessageTooBig => CloseCode::MESSAGE_TOO_BIG,
            Self::UnexpectedEof => CloseCode::ABNORMAL_CLOSURE,
            _ => CloseCode::PROTOCOL_ERROR,
        }
    }
}

impl fmt::Display for ProtocolViolation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ReservedBit => "a reserved bit is set that was not negotiated",
            Self::ReservedOpCode => "a reserved opcode",
            Self::FragmentedControl => "a fragmented control frame",
            Self::ControlTooLong => "a control frame of more than 125 bytes",
            Self::LengthNotMinimal => "a payload length not written in the fewest bytes",
            Self::LengthOverflow => "a payload length with its most significant bit set",
            Self::Unmasked => "a client's frame without a masking key",
            Self::Masked => "a server's frame with a masking key",
            Self::NothingToContinue => "a continuation frame while no message is open",
            Self::MessageInterrupted => "a new message while a fragmented message is open",
            Self::InvalidUtf8 => "text that is not UTF-8",
            Self::TruncatedCloseCode => "a Close frame with a body of one byte",
            Self::InvalidCloseCode(code) => {
                let code = code.as_u16();
                return write!(
                    f,
                    "a Close frame with the code {code}, not allowed on the wire"
                );
            }
            Self::MessageTooBig => "a message longer than the limit",
            Self::Compression => "a compressed message that cannot be inflated",
            Self::UnexpectedEof => "the stream ended without a closing handshake",
        })
    }
}

impl core::error::Error for ProtocolViolation {}

/// Why nothing was sent. The connection and the output are as they were before the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum SendError {
    /// The frame does not fit into the output given. Flush the output, or give a larger one.
    NoRoom,
    /// The connection is closing, closed or failed (§6.1, §5.5.1).
    NotOpen,
    /// A fragmented message of the other kind is open; it must be finished first (§5.4).
    MessageInProgress,
    /// A ping of more than 125 bytes (§5.5).
    ControlTooLong,
    /// A reason for closing of more than 123 bytes (§5.5.1).
    ReasonTooLong,
    /// A code that this role may not send (§7.4).
    InvalidCloseCode,
    /// A compressed frame while no compression was negotiated (RFC 7692 §6).
    CompressionNotNegotiated,
    /// A payload of 2^63 bytes or more (§5.2).
    TooLong,
    /// No masking key could be had, so no frame may be sent (§10.3).
    Entropy,
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoRoom => "the frame does not fit into the output buffer",
            Self::NotOpen => "the connection is not open",
            Self::MessageInProgress => "a fragmented message of the other kind is open",
            Self::ControlTooLong => "a ping carries at most 125 bytes",
            Self::ReasonTooLong => "a reason for closing has at most 123 bytes",
            Self::InvalidCloseCode => "this close code may not be sent by this role",
            Self::CompressionNotNegotiated => "compression was not negotiated",
            Self::TooLong => "a payload has less than 2^63 bytes",
            Self::Entropy => "the source of masking keys failed",
        })
    }
}

impl core::error::Error for SendError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        matches!(self, Self::Entropy).then_some(&EntropyError)
    }
}

impl From<EntropyError> for SendError {
    fn from(_: EntropyError) -> Self {
        Self::Entropy
    }
}

impl From<NoRoom> for SendError {
    fn from(_: NoRoom) -> Self {
        Self::NoRoom
    }
}

/// The output is too small. Nothing was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct NoRoom;

impl fmt::Display for NoRoom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a buffer is too small")
    }
}

impl core::error::Error for NoRoom {}

/// The source of masking keys and nonces has nothing unpredictable to give.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct EntropyError;

impl fmt::Display for EntropyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no unpredictable bytes could be had")
    }
}

impl core::error::Error for EntropyError {}
