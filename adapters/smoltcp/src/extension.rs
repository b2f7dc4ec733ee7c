//! What was agreed on beside the upgrade: compression, or nothing.

use motews::Config;
#[cfg(feature = "deflate")]
use motews::deflate::{Accepted, wire_limit};
use motews::handshake::Upgrade;

/// Nothing is larger for it without the feature `deflate`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Extension(#[cfg(feature = "deflate")] pub(crate) Option<Accepted>);

impl Extension {
    /// [`Upgrade::emit_from`], with the extension.
    pub(crate) fn emit_from(&self, upgrade: &Upgrade<'_>, at: usize, out: &mut [u8]) -> usize {
        #[cfg(feature = "deflate")]
        if let Some(accepted) = &self.0
            && let Ok(upgrade) = upgrade.extensions(accepted.response.as_str())
        {
            return upgrade.emit_from(at, out);
        }
        upgrade.emit_from(at, out)
    }

    /// What the connection is to know, if messages are limited to so many octets.
    pub(crate) fn config(&self, max_message_len: u64) -> Config {
        #[cfg(feature = "deflate")]
        if self.0.is_some() {
            return Config {
                max_message_len: wire_limit(max_message_len),
                compression: true,
            };
        }
        Config {
            max_message_len,
            compression: false,
        }
    }
}
