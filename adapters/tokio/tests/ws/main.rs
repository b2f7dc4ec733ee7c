//! What the methods of a WebSocket promise, over streams in memory and in paused time.

mod cancel;
mod sending;
mod support;
