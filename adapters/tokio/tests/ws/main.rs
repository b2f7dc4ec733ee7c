//! What the methods of a WebSocket promise, over streams in memory and in paused time.

mod cancel;
mod cancel_streams;
mod dropped;
mod ends;
mod fair;
mod handshake;
mod parts;
mod sending;
mod shutdown;
mod split;
mod support;
mod time;
mod wakes;
mod written;
