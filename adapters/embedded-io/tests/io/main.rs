//! Both WebSockets over transports that are as unhelpful as transports may be.
#![expect(clippy::indexing_slicing, reason = "a test may panic")]

mod cancel;
mod conformance;
mod deadlines;
#[cfg(feature = "deflate")]
mod deflate;
mod echo;
#[cfg(feature = "embassy-time")]
mod embassy;
mod ends;
mod handshake;
mod limits;
mod link;
mod reconnect;
mod slow;
mod split;
mod support;
mod upgraded;
