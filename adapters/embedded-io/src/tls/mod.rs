//! `wss://` for clients: TLS 1.3 without a heap, with deadlines, `select` and halves.

mod config;
mod error;
mod guard;
mod provider;
mod pump;
mod ring;
mod signatures;
mod tunnel;
mod verifier;

pub use config::{Identity, TlsConfig, TlsTime, Trust};
pub use error::TlsError;
pub use provider::TlsProvider;
pub use pump::{Custom, MAX_RECORD, MIN_RECORD, Pump, TlsBuffers};
pub use tunnel::{TlsReader, TlsStream, TlsWriter, Tunnel};
