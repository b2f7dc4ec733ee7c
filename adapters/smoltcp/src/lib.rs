//! WebSocket (RFC 6455) over [smoltcp]: the core of [`motews`] inside the rings of a
//! [`tcp::Socket`](smoltcp::socket::tcp::Socket), without a heap and without a buffer of its own.
//!
//! ```text
//! cargo add --path motews/adapters/smoltcp
//! cargo add --path motews/core --no-default-features     # the types of events and messages
//! ```
//!
//! | | |
//! |---|---|
//! | [`ServerSocket`] | a listening socket: handshake, pages and refusals, the connection, and the next one |
//! | [`ClientSocket`] | a connecting socket: handshake and one connection |
//! | [`Reconnecting`] | a client that comes back: name, TCP, handshake, stay, wait, and again |
//! | [`WebSocket`] | what both have: `send`, `send_fragment`, `ping`, `close` |
//! | [`Config`] | deadlines, limits, subprotocols, compression: once, for all sockets |
//! | `deflate` | compression (RFC 7692), a feature, in memory that is the caller's |
//!
//! What arrives is unmasked in the receive ring and lent from there; what is sent is written and
//! masked in the transmit ring. Both may be of any size and wrap anywhere, but for one thing: a
//! transmit ring of less than [`MAX_CONTROL_LEN`](motews::MAX_CONTROL_LEN) bytes has no room for
//! the pong to a long ping.
//!
//! # An echo
//! The socket is one thing with two rings, and can be borrowed once. So an echo takes as much as it
//! has room to answer, and carries it over in a small array:
//!
//! ```
//! use motews::handshake::RequestEvent;
//! use motews_smoltcp::{ServerEvent, ServerSocket};
//! use smoltcp::{socket::tcp, time::Instant};
//!
//! /// To be called after each poll of the interface.
//! fn poll_echo(server: &mut ServerSocket<'_>, tcp: &mut tcp::Socket<'_>, now: Instant) {
//!     let mut part = [0; 256];
//!     loop {
//!         // When the transmit ring is full, this is 0, and nothing is read.
//!         let room = server.send_room(tcp).min(part.len());
//!         match server.poll(tcp, now, room) {
//!             Some(ServerEvent::Request(RequestEvent::Done(upgrade))) => server.accept(upgrade),
//!             Some(ServerEvent::Received(motews::Event::Data(chunk))) => {
//!                 let (kind, last, len) = (chunk.kind, chunk.last, chunk.bytes.len());
//!                 part[..len].copy_from_slice(chunk.bytes);
//!                 // There is room for it, unless there is no one to answer any more.
//!                 _ = server.send_fragment(tcp, kind, &part[..len], last);
//!             }
//!             Some(_) => {}
//!             None => break,
//!         }
//!     }
//! }
//! ```
//!
//! Whoever wants whole messages pushes the chunks into a
//! [`MessageBuffer`](motews::MessageBuffer), and polls with a `limit` of `usize::MAX`.
//!
//! # Good to know
//! - **Time** follows the rules of [`motews::pace`]. What the peer has acknowledged counts as taken, and
//!   buys it time: a reader of 200 bytes a second gets all of a transmit ring of 8 KiB, and the Close
//!   behind it.
//! - Call `poll` after the interface has changed something, after sending, and when
//!   [`poll_at`](ServerSocket::poll_at) says so. A clock of milliseconds may wrap at 2^32.
//! - With a `limit` of 0 nothing is read. As long as there is something to read then, no silence counts
//!   against the peer, and no ping is sent. That TCP has ended is noticed all the same.
//! - [`Ended`](motews::Ended) comes when TCP has ended too. After [`close`](WebSocket::close) what was
//!   sent before goes first, then the Close, then the FIN; what still arrives is read and dropped, for a
//!   limited time. A response that is no upgrade, a page for example, is finished as long as it is read.
//! - A TCP socket serves one connection at a time, and smoltcp refuses whoever calls while none listens.
//!   Have as many listen at the same port as there may be connections, and one more that answers with
//!   503. With [`gives_way`] a peer that has connected and sent nothing keeps no one out: the first of
//!   them to have come is reset. That may be a peer whose request is on its way, if all sockets are taken
//!   at the same moment.
//! - A small message waits for the acknowledgement of the one before it, unless
//!   [`set_nagle_enabled(false)`](smoltcp::socket::tcp::Socket::set_nagle_enabled) is called.
//! - After a connection the socket listens again at once, and does not wait in TIME-WAIT.
//! - Where packets are lost, a transmit ring should be no larger than the peer's receive window. After
//!   three duplicate acknowledgements smoltcp 0.14 repeats as much of the transmit ring as a segment
//!   holds, whatever the window, and numbers its own acknowledgements from behind that. The peer
//!   must ignore those (RFC 9293 §3.10.7.4), so both sides repeat themselves ever more slowly, and the
//!   connection may end for want of a pong. Desktops have windows of 64 KiB; another board may not.
#![no_std]
#![forbid(unsafe_code)]

mod client;
#[cfg(feature = "deflate")]
pub mod deflate;
#[cfg(feature = "dhcpv4")]
mod dhcp;
mod log;
mod reconnect;
mod ring;
mod server;
mod socket;

pub use client::{ClientEvent, ClientSocket, Connecting};
#[cfg(feature = "dhcpv4")]
pub use dhcp::Dhcp;
pub use reconnect::{Host, Interruption, Reconnecting, Update};
pub use server::{Accepting, ServerEvent, ServerSocket, gives_way};
pub use socket::{Config, WebSocket};
