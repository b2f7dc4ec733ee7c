//! The body of a Close frame (RFC 6455 §5.5.1).

use core::fmt;

use crate::close_code::CloseCode;
use crate::error::{ProtocolViolation, SendError};
use crate::frame::ControlPayload;
use crate::utf8::Utf8Validator;

/// The body of a Close frame: a code, and a reason of at most 123 bytes.
#[derive(Clone, PartialEq, Eq)]
pub struct CloseFrame {
    /// The body as received: two bytes of code, then the reason.
    body: ControlPayload,
}

impl CloseFrame {
    /// The greatest length of a reason, in bytes of UTF-8.
    // [CL19]
    pub const MAX_REASON_LEN: usize = 123;

    /// Makes the body of a Close frame.
    ///
    /// ```
    /// use motews::{CloseCode, CloseFrame};
    ///
    /// let close = CloseFrame::new(CloseCode::GOING_AWAY, "restarting")?;
    /// assert_eq!((close.code(), close.reason()), (CloseCode::GOING_AWAY, "restarting"));
    /// # Ok::<(), motews::SendError>(())
    /// ```
    ///
    /// # Errors
    /// [`SendError::InvalidCloseCode`] if the code is not
    /// [allowed on the wire](CloseCode::is_allowed_on_wire), and [`SendError::ReasonTooLong`] if the
    /// reason has more than [`MAX_REASON_LEN`](Self::MAX_REASON_LEN) bytes.
    // [CL09] [CL10] [CL19]
    pub fn new(code: CloseCode, reason: &str) -> Result<Self, SendError> {
        if !code.is_allowed_on_wire() {
            return Err(SendError::InvalidCloseCode);
        }
        let mut body = ControlPayload::default();
        if body.extend(&code.as_u16().to_be_bytes()) && body.extend(reason.as_bytes()) {
            Ok(Self { body })
        } else {
            Err(SendError::ReasonTooLong)
        }
    }

    /// Reads the body of a Close frame. Returns `None` if it is empty.
    ///
    /// # Errors
    /// A body of one byte, a code not allowed on the wire, or a reason that is not UTF-8.
    // [CL01] [CL09] [CL10] [CL02]
    pub fn parse(body: ControlPayload) -> Result<Option<Self>, ProtocolViolation> {
        Self::check(body.as_bytes())?;
        Ok(Self::checked(body))
    }

    /// The close frame with this body, which was [checked](Self::check).
    #[inline]
    pub(crate) fn checked(body: ControlPayload) -> Option<Self> {
        match body.as_bytes() {
            [] => None,
            _ => Some(Self { body }),
        }
    }

    /// The code in a body; 1005 if it is empty.
    pub(crate) fn check(body: &[u8]) -> Result<CloseCode, ProtocolViolation> {
        let Some((code, reason)) = body.split_first_chunk() else {
            return match body {
                [] => Ok(CloseCode::NO_STATUS_RECEIVED),
                // RFC 6455 §5.5.1: if there is a body, its first two bytes are the code [CL01]
                _ => Err(ProtocolViolation::TruncatedCloseCode),
            };
        };
        let code = CloseCode::new(u16::from_be_bytes(*code));
        if !code.is_allowed_on_wire() {
            return Err(ProtocolViolation::InvalidCloseCode(code));
        }
        // RFC 6455 §5.5.1, §8.1: the reason is UTF-8 [CL02]
        if !Utf8Validator::is_text(reason) {
            return Err(ProtocolViolation::InvalidUtf8);
        }
        Ok(code)
    }

    /// The code.
    #[must_use]
    pub fn code(&self) -> CloseCode {
        let code = self.body.as_bytes().first_chunk().copied();
        CloseCode::new(u16::from_be_bytes(code.unwrap_or_default()))
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
            .field("code", &self.code())
            .field("reason", &self.reason())
            .finish()
    }
}
