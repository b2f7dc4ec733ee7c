//! WebSocket over embedded-io
#![no_std]
#![forbid(unsafe_code)]

pub mod asynch;
pub mod blocking;
mod config;
mod engine;
mod error;
mod output;
mod time;
mod websocket;

pub use config::{Answer, BufferTooSmall, Config, MIN_BUFFER};
pub use error::Error;
pub use time::{AsyncTime, Clock, Time, Timed, Timer, Untimed};
pub use websocket::{Reply, WebSocket};
