//! The adapter over smoltcp's own TCP, in memory: both roles against each other and against raw
//! bytes, with rings of any size, over good wires and bad ones.
#![expect(clippy::indexing_slicing, reason = "a test may panic")]

mod closing;
mod conformance;
mod crowd;
#[cfg(feature = "deflate")]
mod deflate;
mod echo;
mod faults;
mod handshake;
mod pace;
#[cfg(feature = "dns")]
mod reconnect;
mod support;
