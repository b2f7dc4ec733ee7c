//! Programs that show motews on a desktop. Each has `--help`, and each server a page for browsers.
//!
//! - `cargo run --release --example echo`: one to one
//! - `cargo run --release --example chat`: many to many, with rooms and names
//! - `cargo run --release --example video`: frames without end, and slow viewers that stay live
//! - `cargo run --release --example video_control`: frames, and commands while they flow
//! - `cargo run --release --example echo_blocking`: an echo with a thread for each connection
//! - `cargo run --release --example client -- URL`: a client for the terminal
//! - `cargo run --release --example autobahn_client -- URL`: the client that the Autobahn test
//!   suite tests
//! - `cargo run --release --example tokio_echo` and `tokio_client`: the same over Tokio, with the
//!   embedded-io adapter; `threads_echo`: over the sockets of `std`; `tokio_autobahn_client` and
//!   `threads_autobahn_client`: for the suite
//!
//! This library is what they share.

pub mod compression;
#[cfg(feature = "embedded-io")]
pub mod embedded_io;
pub mod ffmpeg;
pub mod film;
pub mod run;
pub mod site;
