//! Programs that show motews on a desktop. Each has `--help`.
//!
//! - `cargo run --release --example echo`: an echo server, with a page for a browser
//! - `cargo run --release --example client -- URL`: a client for the terminal
//! - `cargo run --release --example autobahn_client -- URL`: the client that the Autobahn test
//!   suite tests
