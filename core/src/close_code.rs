//! Close codes (RFC 6455 §7.4), and which side of a connection is meant.

use core::fmt::{self, Write as _};

/// One of the two ends of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Side {
    /// This one.
    Local,
    /// The peer.
    Remote,
}

/// A status code of §7.4. It can hold any `u16`; [`is_allowed_on_wire`](Self::is_allowed_on_wire)
/// returns whether a Close frame may have it. It displays as the number and the name, if it has one:
/// `1001 (going away)`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct CloseCode(u16);

/// One table for the constants and their names.
macro_rules! close_codes {
    ($($(#[$doc:meta])* $name:ident = $code:literal,)*) => {
        impl CloseCode {
            $($(#[$doc])* pub const $name: Self = Self($code);)*

            /// Returns the constant's name, if the code has one.
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
    /// Not 0-999, 1004, 1016-2999 and 5000 and above, which RFC 6455 does not define; not 1005, 1006 and
    /// 1015, which stand for what was *not* received. They are refused both ways.
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
        self.0.fmt(f)?;
        let Some(name) = self.name() else {
            return Ok(());
        };
        f.write_str(" (")?;
        for character in name.chars() {
            f.write_char(match character {
                '_' => ' ',
                letter => letter.to_ascii_lowercase(),
            })?;
        }
        f.write_str(")")
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
