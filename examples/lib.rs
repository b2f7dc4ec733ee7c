//! Programs that show motews on a desktop. Each has `--help`, and each server a page for browsers.
//!
//! - `cargo run --release --example echo`: one to one
//! - `cargo run --release --example chat`: many to many, with rooms and names
//! - `cargo run --release --example video`: frames without end, and slow viewers that stay live
//! - `cargo run --release --example video_control`: frames, and commands while they flow
//! - `cargo run --release --example echo_blocking`: an echo with a thread for each connection
//! - `cargo run --release --features tls --example client -- URL`: a client for the terminal; without
//!   the feature it has no `wss://`
//! - `cargo run --release --example autobahn_client -- URL`: the client that the Autobahn test
//!   suite tests
//! - with `--features tokio`: `tokio_echo`, `tokio_client`, which comes back, and
//!   `tokio_autobahn_client` for the suite
//! - with `--features tokio-chat`: `tokio_chat`, the chat on axum, over TLS and HTTP/2
//! - with `--features embedded-io`, over that adapter: `embedded_io_threads_echo`, and
//!   `embedded_io_threads_autobahn_client` for the suite
//!
//! This library is what they share.

pub mod compression;
#[cfg(feature = "embedded-io")]
pub mod embedded_io;
pub mod ffmpeg;
pub mod film;
pub mod run;
pub mod site;
pub mod talk;
