//! Where a connection keeps control frames, and what may stand in a Close.

use motews::Millis;
use motews::role::Server;
use motews::{CloseCode, ConnectionConfig, ControlSlots, ControlStorage, Session};

use crate::error::SendError;

/// The slots of a control frame, made when they are needed.
#[derive(Debug, Default)]
pub(super) struct OnDemand(Option<Box<ControlSlots>>);

impl ControlStorage for OnDemand {
    fn slots(&mut self) -> &mut ControlSlots {
        self.0.get_or_insert_default()
    }

    fn release(&mut self) {
        self.0 = None;
    }
}

/// Checks whether a Close with this code and reason may be sent.
pub(super) fn check_close(code: CloseCode, reason: &str) -> Result<(), SendError> {
    let mut session: Session<Server, OnDemand> =
        Session::new(Server, ConnectionConfig::default(), Millis(0));
    Ok(session.close(code, reason)?)
}
