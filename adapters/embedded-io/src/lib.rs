//! WebSocket (RFC 6455) over [`embedded_io`] and [`embedded_io_async`]: drivers, modems, TLS streams
//! and async executors. Without a heap; the caller lends the buffers.
//!
//! ```text
//! cargo add --path motews/adapters/embedded-io
//! cargo add --path motews/core --no-default-features     # messages, roles, requests, close codes
//! ```
//!
//! | | |
//! |---|---|
//! | [`asynch::WebSocket`] | over any async `Read + Write`; every future may be dropped at any time |
//! | [`blocking::WebSocket`] | over any blocking `Read + Write`; the same methods |
//! | [`asynch::Reconnecting`], [`blocking::Reconnecting`] | a client that comes back, and holds what is to be sent meanwhile |
//! | [`asynch::WebSocket::split`] | into a [`Receiver`] and a [`Sender`] |
//! | [`asynch::WebSocket::from_upgraded`] | takes over a connection from another HTTP server or client |
//! | [`Config`] | limits, deadlines, subprotocols: once, for all connections |
//! | [`Clock`], [`Timer`] | the time, from the caller; without it no deadline is kept, and none is linked |
#![cfg_attr(
    feature = "embassy-time",
    doc = "| [`EmbassyClock`] | that of `embassy-time`, with the feature of that name |"
)]
#![cfg_attr(
    feature = "deflate",
    doc = "| [`deflate`] | permessage-deflate: compression (RFC 7692), with the feature of that name |"
)]
#![cfg_attr(
    feature = "tls",
    doc = "| [`tls`] | `wss://` for clients, with the feature of that name |"
)]
//!
//! A WebSocket has three types to name: its transport, its role, and its source of time if there is
//! one. In a struct: `WebSocket<'a, TcpSocket<'a>, Client<Rng>, EmbassyClock>`.
//!
//! # An echo server
//! It copies nothing but its reply. What answers one read leaves in one write.
//!
//! ```
//! use embedded_io_async::{Read, Write};
//! use motews_embedded_io::asynch::WebSocket;
//! use motews_embedded_io::{Buffers, Error};
//!
//! async fn echo<T: Read + Write>(transport: T) -> Result<(), Error<T::Error>> {
//!     let (mut receive, mut transmit) = ([0; 256], [0; 256]);
//!     let buffers = Buffers { receive: &mut receive, transmit: &mut transmit };
//!     let mut ws = WebSocket::server(transport, buffers)?;
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
//! use motews::{CloseCode, Ended, Entropy, Message, MessageBuffer};
//! use motews_embedded_io::blocking::WebSocket;
//! use motews_embedded_io::{Buffers, Error};
//!
//! fn ask<T: Read + Write>(transport: T, entropy: &mut impl Entropy) -> Result<Ended, Error<T::Error>> {
//!     let request = Request::new("example.com", "/chat")?;
//!     let (mut receive, mut transmit) = ([0; 128], [0; 128]);
//!     let buffers = Buffers { receive: &mut receive, transmit: &mut transmit };
//!     let mut ws = WebSocket::client(transport, buffers, request, entropy)?;
//!     ws.connect()?;
//!     ws.send(Message::Text("Hello"))?;
//!     let mut messages = MessageBuffer::new([0; 1024]);
//!     if let Some(Message::Text(answer)) = ws.recv(&mut messages)? {
//!         println!("{answer}");
//!     }
//!     ws.close(CloseCode::NORMAL, "")?;
//!     ws.closed()
//! }
//! ```
//!
//! # Good to know
//! - `send` puts a frame into the transmit buffer. It goes out when the buffer is full, with `flush`,
//!   or when the next call waits for input: whoever sends without receiving must flush.
//! - Someone has to receive, too: pings, the peer's Close and most deadlines are seen then. The caller
//!   may come back late: a deadline counts only after the transport was asked for what it has.
//! - A message longer than the transmit buffer goes out with `send_fragment`.
//!
//! # The end
//! `close` queues this side's Close; `closed` waits for the peer's, and returns how the connection
//! ended. Receiving returns `None` when both are through. embedded-io cannot shut a transport down or
//! close it, so that is the caller's part (RFC 6455 §7.1.1):
//!
//! | | what is left to do |
//! |---|---|
//! | a server | shut the transport down for writing, `drain`, close it |
//! | a client, after a clean end | nothing to shut down: `closed` waits for the server's end, or call `drain`; close it |
//! | a client, after a failure | as a server: without a shutdown the peer would wait for this side |
//! | [`Lost`](motews::Ended::Lost), [`TimedOut`](motews::Ended::TimedOut) | close it at once |
//!
//! On embassy-net a socket that is dropped tells its peer nothing. Whatever it has to be used for next,
//! end it so:
//!
//! ```ignore
//! tcp.close();
//! _ = with_timeout(Duration::from_secs(1), tcp.flush()).await; // until the peer has acknowledged all
//! tcp.abort(); // of no effect if it has
//! _ = with_timeout(Duration::from_secs(1), tcp.flush()).await; // until the reset is sent
//! ```
//!
//! `send` returns [`Error::Ended`] with [`Closed`](motews::Ended::Closed) as soon as the peer's Close
//! has come, also if the receiving arm of a `select` has not returned yet. Call `closed` then.
//!
//! # Both send at once
//! **A WebSocket that is not split does not read while it writes**, for `Read` and `Write` want the
//! same transport. If the peer does the same, and both have sent more than the buffers between them
//! hold, each waits for the other. With a clock that ends with the time for writing
//! ([`Timeouts::write`](motews::Timeouts::write)); without one it does not. A peer that reads
//! while it sends, as browsers do, is never stuck. Nor are two of these if one of them is
//! [`split`](asynch::WebSocket::split), whose halves read while they write, or a client that comes back: its
//! `next` and `poll` read, too, while the transport takes nothing of what waits. Its `send` does not.
#![no_std]
#![forbid(unsafe_code)]

pub mod asynch;
pub mod blocking;
#[cfg(feature = "deflate")]
mod codec;
#[cfg(feature = "deflate")]
use codec as compression;
mod config;
#[cfg(feature = "deflate")]
pub mod deflate;
#[cfg(feature = "embassy-time")]
mod embassy;
mod engine;
mod error;
mod face;
mod messages;
mod opening;
mod output;
#[cfg(not(feature = "deflate"))]
mod plain;
#[cfg(not(feature = "deflate"))]
use plain as compression;
mod reconnect;
mod split;
mod time;
#[cfg(feature = "tls")]
pub mod tls;

pub use config::{Buffers, Config, Decision, MIN_BUFFER};
#[cfg(feature = "embassy-time")]
pub use embassy::EmbassyClock;
pub use error::Error;
pub use split::{Duplex, Halves, Receiver, Sender};
pub use time::{AsyncTime, Clock, Time, Timer, Untimed};
