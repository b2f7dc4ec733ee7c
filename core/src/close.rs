//! Close codes and the body of a Close frame (RFC 6455 §5.5.1, §7.4).

use core::fmt;

use crate::error::ProtocolViolation;
use crate::frame::ControlPayload;
use crate::utf8::Utf8Validator;

/// One of the two ends of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Side {
    /// This one.
    Local,
    /// The peer.
    Remote,
}

/// A status code of §7.4. Any `u16` can be held; which may be on the wire is told by
/// [`is_allowed_on_wire`](Self::is_allowed_on_wire).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct CloseCode(u16);

/// One table for the constants and their names.
macro_rules! close_codes {
    ($($(#[$doc:meta])* $name:ident = $code:literal,)*) => {
        impl CloseCode {
            $($(#[$doc])* pub const $name: Self = Self($code);)*

            /// The constant's name, where the code has one.
            #[must_use]
            pub const fn name(self) -> Option<&'static str> {
                match self.0 {
                    $($code => Some(stringify!($name)),)*
                    _ => None,
                }
            }
        }
    };
}

close_codes! {
    /// The purpose of the connection has been fulfilled.
    NORMAL = 1000,
    /// A server goes down, or a browser leaves the page.
    GOING_AWAY = 1001,
    /// The peer broke the protocol.
    PROTOCOL_ERROR = 1002,
    /// A kind of data that this endpoint does not accept.
    UNSUPPORTED_DATA = 1003,
    /// Never on the wire: the peer's Close had no code.
    NO_STATUS_RECEIVED = 1005,
    /// Never on the wire: the connection ended without a Close.
    ABNORMAL_CLOSURE = 1006,
    /// A payload that does not fit its type: text that is not UTF-8.
    INVALID_PAYLOAD = 1007,
    /// A message against the endpoint's policy.
    POLICY_VIOLATION = 1008,
    /// A message too big to process.
    MESSAGE_TOO_BIG = 1009,
    /// Sent by clients only: the server did not negotiate an extension that is needed.
    MANDATORY_EXTENSION = 1010,
    /// Something unexpected kept the server from fulfilling the request.
    INTERNAL_ERROR = 1011,
    /// The service restarts (IANA registry).
    SERVICE_RESTART = 1012,
    /// The service is overloaded (IANA registry).
    TRY_AGAIN_LATER = 1013,
    /// A gateway received an invalid response (IANA registry).
    BAD_GATEWAY = 1014,
    /// Never on the wire: the TLS handshake failed.
    TLS_HANDSHAKE = 1015,
}

impl CloseCode {
    /// The code with this number.
    #[must_use]
    pub const fn new(code: u16) -> Self {
        Self(code)
    }

    /// The number.
    #[must_use]
    pub const fn as_u16(self) -> u16 {
        self.0
    }

    /// Whether the code may stand in a Close frame: 1000-1003, 1007-1014 and 3000-4999.
    ///
    /// Not 0-999, 1004 and 1016-2999, which are undefined; not 1005, 1006 and 1015, which tell of
    /// what was *not* received; and not 5000 and above, which RFC 6455 does not define: they are
    /// refused both ways.
    // [CL11] [CL10] [CL09] [CL12]
    #[must_use]
    pub const fn is_allowed_on_wire(self) -> bool {
        matches!(self.0, 1000..=1003 | 1007..=1014 | 3000..=4999)
    }
}

impl From<u16> for CloseCode {
    fn from(code: u16) -> Self {
        Self(code)
    }
}

impl From<CloseCode> for u16 {
    fn from(code: CloseCode) -> Self {
        code.0
    }
}

impl fmt::Display for CloseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for CloseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => write!(f, "{} {name}", self.0),
            None => self.0.fmt(f),
        }
    }
}

/// The body of a Close frame: a code, and a reason of at most 123 octets.
#[derive(Clone, PartialEq, Eq)]
pub struct CloseFrame {
    /// The body as received, code included.
    body: ControlPayload,
    code: CloseCode,
}

impl CloseFrame {
    /// The greatest length of a reason, in octets of UTF-8.
    // [CL19]
    pub const MAX_REASON_LEN: usize = 123;

    /// Reads the body of a Close frame; `None` where it is empty.
    ///
    /// # Errors
    /// A body of one octet, a code not allowed on the wire, or a reason that is not UTF-8.
    // [CL01] [CL09] [CL10] [CL02]
    pub fn parse(body: ControlPayload) -> Result<Option<Self>, ProtocolViolation> {
        let Some((code, reason)) = body.as_bytes().split_first_chunk() else {
            return match body.as_bytes() {
                [] => Ok(None),
                // RFC 6455 §5.5.1: if there is a body, its first two octets are the code [CL01]
                _ => Err(ProtocolViolation::TruncatedCloseCode),
            };
        };
        let code = CloseCode(u16::from_be_bytes(*code));
        if !code.is_allowed_on_wire() {
            return Err(ProtocolViolation::InvalidCloseCode(code));
        }
        // RFC 6455 §5.5.1, §8.1: the reason is UTF-8 [CL02]
        let mut validator = Utf8Validator::new();
        if validator.validate(reason).is_err() || !validator.is_complete() {
            return Err(ProtocolViolation::InvalidUtf8);
        }
        Ok(Some(Self { body, code }))
    }

    /// The code.
    #[must_use]
    pub const fn code(&self) -> CloseCode {
        self.code
    }

    /// The reason, empty where none was given. It is for people who look for a fault, not to be
    /// shown to users (§5.5.1).
    #[must_use]
    pub fn reason(&self) -> &str {
        let reason = self.body.as_bytes().get(2..).unwrap_or_default();
        core::str::from_utf8(reason).unwrap_or_default()
    }
}

impl fmt::Debug for CloseFrame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CloseFrame")
            .field("code", &self.code)
            .field("reason", &self.reason())
            .finish()
    }
}
