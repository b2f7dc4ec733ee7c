//! The control frames that wait: one that arrives in parts, and what is owed to the peer.

use crate::frame::ControlPayload;

/// The room for two control frames: one that is arriving in parts, and what is owed to the peer.
///
/// What is owed is one pong and one Close. They share the 125 bytes of a control frame: where the
/// pong's payload and the reason for closing do not both fit, the reason is cut short, for a pong
/// is owed and a reason is a courtesy.
#[derive(Clone, Debug, Default)]
pub struct ControlSlots {
    pub(crate) incoming: ControlPayload,
    /// The reason, then the payload of the pong.
    owed: ControlPayload,
    pong_len: u8,
}

impl ControlSlots {
    /// The reason, and the payload of the pong.
    pub(crate) fn owed(&self) -> (&[u8], &[u8]) {
        let owed = self.owed.as_bytes();
        let reason_len = owed.len().wrapping_sub(usize::from(self.pong_len));
        owed.split_at_checked(reason_len).unwrap_or_default()
    }

    /// RFC 6455 §5.5.3: the newest ping's pong replaces one not sent yet.
    // [CT03]
    pub(crate) fn owe_pong(&mut self) {
        let payload = self.incoming.as_bytes();
        let room = ControlPayload::MAX_LEN.wrapping_sub(payload.len());
        let reason_len = cut(self.owed().0, room);
        self.owed.truncate(reason_len);
        self.owed.extend(payload);
        self.pong_len = payload.len() as u8;
    }

    /// The pong was sent.
    pub(crate) fn clear_pong(&mut self) {
        let reason_len = self.owed().0.len();
        self.owed.truncate(reason_len);
        self.pong_len = 0;
    }

    /// Nothing is owed any more.
    pub(crate) fn clear_owed(&mut self) {
        self.owed.truncate(0);
        self.pong_len = 0;
    }

    /// There is no reason yet.
    pub(crate) fn owe_reason(&mut self, reason: &[u8]) {
        let pong = core::mem::take(&mut self.owed);
        let room = ControlPayload::MAX_LEN.saturating_sub(pong.as_bytes().len());
        self.owed
            .extend(reason.get(..cut(reason, room)).unwrap_or_default());
        self.owed.extend(pong.as_bytes());
    }
}

/// The length of as much of `reason` as fits into `room` and ends with a whole code point.
fn cut(reason: &[u8], room: usize) -> usize {
    let mut len = reason.len();
    while len > room || reason.get(len).is_some_and(|byte| byte & 0xC0 == 0x80) {
        len = len.wrapping_sub(1);
    }
    len
}

/// Where a connection keeps its [`ControlSlots`].
///
/// [`ControlSlots`] itself keeps them inline, which suits firmware. An adapter with a heap and
/// thousands of idle connections may make them when they are needed:
///
/// ```
/// use motews::{ControlSlots, ControlStorage};
///
/// #[derive(Default)]
/// struct OnDemand(Option<Box<ControlSlots>>);
///
/// impl ControlStorage for OnDemand {
///     fn slots(&mut self) -> &mut ControlSlots {
///         self.0.get_or_insert_default()
///     }
///     fn release(&mut self) {
///         self.0 = None;
///     }
/// }
/// ```
pub trait ControlStorage: Default {
    /// The slots, made if need be.
    fn slots(&mut self) -> &mut ControlSlots;
    /// Nothing is kept in the slots now: they may be let go, and made anew when needed.
    fn release(&mut self) {}
}

impl ControlStorage for ControlSlots {
    #[inline]
    fn slots(&mut self) -> &mut ControlSlots {
        self
    }
}
