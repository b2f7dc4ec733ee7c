//! WebSocket (RFC 6455) over [`embedded_io`] and [`embedded_io_async`]: drivers, modems, TLS streams
//! and async executors. Without a heap; the caller gives the buffers.
//!
//! | | |
//! |---|---|
//! | [`asynch::WebSocket`] | over any async `Read + Write`; every future may be dropped at any time |
//! | [`blocking::WebSocket`] | over any blocking `Read + Write`; the same methods |
//! | [`asynch::WebSocket::split`] | into a [`Receiver`] and a [`Sender`] |
//! | [`Config`] | limits, deadlines, subprotocols: once, for all connections |
//! | [`Clock`], [`Timer`] | the time, from the caller; without it no deadline is kept |
#![cfg_attr(
    feature = "deflate",
    doc = "| [`deflate`] | permessage-deflate: compression (RFC 7692), with the feature of that name |"
)]
//!
//! # An echo server
//! It copies nothing but its reply. What answers one read leaves in one write.
//!
//! ```
//! use embedded_io_async::{Read, Write};
//! use motews::Event;
//! use motews_embedded_io::asynch::WebSocket;
//! use motews_embedded_io::Error;
//!
//! async fn echo<T: Read + Write>(transport: T) -> Result<(), Error<T::Error>> {
//!     let mut ws = WebSocket::server(transport, [0; 256], [0; 256])?;
//!     ws.accept().await?;
//!     while let Some((chunk, reply)) = ws.next_chunk().await? {
//!         let mut rest = &*chunk.bytes;
//!         loop {
//!             let taken = reply.send_fragment(chunk.kind, rest, chunk.last).await?;
//!             rest = &rest[taken..];
//!             if rest.is_empty() {
//!                 break;
//!             }
//!         }
//!     }
//!     Ok(()) // and now: shut the transport down
//! }
//! ```
//!
//! # A client, and whole messages
//! ```
//! use embedded_io::{Read, Write};
//! use motews::handshake::Request;
//! use motews::{CloseCode, Entropy, Message, MessageBuffer};
//! use motews_embedded_io::Error;
//! use motews_embedded_io::blocking::WebSocket;
//!
//! fn ask<T: Read + Write>(transport: T, entropy: &mut impl Entropy) -> Result<(), Error<T::Error>> {
//!     let request = Request::new("example.com", "/chat").expect("they are right");
//!     let mut ws = WebSocket::client(transport, [0; 128], [0; 128], request, entropy)?;
//!     ws.connect()?;
//!     ws.send(Message::Text("Hello"))?;
//!     let mut messages = MessageBuffer::new([0; 1024]);
//!     if let Some(Message::Text(answer)) = ws.recv(&mut messages)? {
//!         println!("{answer}");
//!     }
//!     ws.close(CloseCode::NORMAL, "")
//! }
//! ```
//!
//! # Good to know
//! - `send` puts a frame into the transmit buffer. It goes out when the buffer is full, with `flush`,
//!   or when the next call waits for input: whoever sends without receiving must flush.
//! - Someone has to receive, too: pings, the peer's Close and the deadlines are seen to then. With a
//!   clock, who only sends for longer than `keepalive` and `pong`, or comes back that late, is told
//!   [`TimedOut`](Error::TimedOut), for the pong lies unread.
//! - A message longer than the transmit buffer goes out with `send_fragment`.
//! - embedded-io cannot shut a transport down, so that is the caller's part (RFC 6455 §7.1.1): when
//!   there is nothing more to receive, shut it down for writing, `drain` it, and close it.
#![no_std]
#![forbid(unsafe_code)]

pub mod asynch;
pub mod blocking;
#[cfg(feature = "deflate")]
mod codec;
mod config;
#[cfg(feature = "deflate")]
pub mod deflate;
mod engine;
mod error;
mod extension;
mod output;
mod split;
mod time;
mod websocket;

pub use config::{BufferTooSmall, Config, Decision, MIN_BUFFER};
pub use error::Error;
pub use extension::{Extension, NoExtension};
pub use split::{Duplex, Halves, Receiver, Sender};
pub use time::{AsyncTime, Clock, Time, Timed, Timer, Untimed};
pub use websocket::{Reply, WebSocket};
