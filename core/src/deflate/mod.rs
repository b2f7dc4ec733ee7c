//! permessage-deflate (RFC 7692) in memory that the caller sizes.
//!
//! Compression stands between a [`Chunk`](crate::Chunk) and its message, outside the connection, which
//! only polices RSV1. What an adapter does:
//!
//! | | server | client |
//! |---|---|---|
//! | what it wants at most | [`DeflateConfig`], in [`Offers::deflate`] | the same |
//! | what both agree on | [`Agreed::deflate`], of [`Upgrade::agreed`] | [`Agreed::deflate`], of [`ResponseEvent::Done`] |
//! | nothing was agreed upon | goes on without, and without memory for it | the same |
//! | a connection | [`Agreed::config`] | the same |
//! | to receive | [`Decompressor`]: chunks in, chunks out; [`push_inflated`] for whole messages | the same |
//! | to send | [`Compressor::send_fragment`]; or [`Connection::send`], for what is not to be compressed | the same |
//! | the next connection in the same memory | [`Decompressor::reset_with`], [`Compressor::reset_with`] | the same |
//!
//! [`Agreed::config`]: crate::handshake::Agreed::config
//! [`Agreed::deflate`]: crate::handshake::Agreed::deflate
//! [`Offers::deflate`]: crate::handshake::Offers::deflate
//! [`ResponseEvent::Done`]: crate::handshake::ResponseEvent::Done
//! [`Upgrade::agreed`]: crate::handshake::Upgrade::agreed
//! [`push_inflated`]: crate::MessageBuffer::push_inflated
//! [`Connection::send`]: crate::Connection::send
//!
//! ```
//! use motews::deflate::{Compressor, DeflateContext, Decompressor, DeflateConfig, Level, WindowBits};
//! use motews::handshake::{Offers, RequestEvent, ServerHandshake};
//! use motews::{Connection, Event, Limits, Server};
//!
//! const KIB: DeflateContext = DeflateContext { window_bits: WindowBits::new(10).unwrap(), takeover: true };
//! const LIMITS: Limits = Limits { message: 1 << 20, ..Limits::DEFAULT };
//! static OFFERS: Offers<'static> = Offers::new().deflate(DeflateConfig { send: KIB, receive: KIB });
//!
//! let mut request: &[u8] = b"GET / HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\n\
//!     Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
//!     Sec-WebSocket-Version: 13\r\n\
//!     Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\r\n";
//! let mut handshake = ServerHandshake::with_limits([0; 128], LIMITS);
//! let upgrade = loop {
//!     match handshake.next_event(&mut request, &OFFERS)? {
//!         Some(RequestEvent::Done(upgrade)) => break upgrade,
//!         _ => {}
//!     }
//! };
//! # let mut response = [0; 256];
//! # let len = upgrade.emit_from(0, &mut response, &upgrade.answer(&OFFERS));
//! # assert!(response[..len].ends_with(b": permessage-deflate; client_max_window_bits=10\r\n\r\n"));
//! let agreed = upgrade.agreed();
//! let mut connection: Connection<Server> = Connection::with_config(Server, agreed.config);
//! let Some(agreed) = agreed.deflate else { panic!("the connection goes on without") };
//! let mut decompressor = Decompressor::new([0; 1 << 10], agreed.receive, LIMITS.message)?;
//! let mut compressor = Compressor::new([0; 2900], agreed.send, Level::Default)?;
//!
//! // An echo of messages of any length: "Hello", masked with a key of zeros
//! let mut input = *b"\xc1\x87\0\0\0\0\xf2\x48\xcd\xc9\xc9\x07\x00";
//! let (mut input, mut inflated, mut out) = (&mut input[..], [0; 64], [0; 64]);
//! while let Some(event) = connection.next_event(&mut input)? {
//!     let Event::Data(mut chunk) = event else { continue };
//!     while let Some(part) = decompressor.next(&mut chunk, &mut inflated)? { // Or `connection.fail`.
//!         let sent = compressor.send_fragment(
//!             &mut connection, part.kind, part.bytes, part.last, &mut out,
//!         )?; // If it is not `done`: again, with the rest and more room.
//!         assert_eq!(out[..sent.written], *b"\xc1\x07\xf2\x48\xcd\xc9\xc9\x07\x00");
//!     }
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Memory
//! In bytes. Inflating takes the window and 2 KiB; no window if the peer does not take its context over
//! and messages lie in a buffer. Deflating takes between [`min_memory`](Deflater::min_memory) and
//! [`full_memory`](Deflater::full_memory), with which it compresses best, and 130 bytes of state.
//!
//! | window | inflate | deflate, least | deflate, full |
//! |---|--:|--:|--:|
//! | 2^8 | 2,304 | 704 | 4,304 |
//! | 2^9 | 2,560 | 1,216 | 6,096 |
//! | 2^10 | 3,072 | 2,240 | 9,680 |
//! | 2^11 | 4,096 | 4,288 | 16,848 |
//! | 2^12 | 6,144 | 8,384 | 31,184 |
//! | 2^13 | 10,240 | 16,576 | 59,856 |
//! | 2^14 | 18,432 | 32,960 | 117,200 |
//! | 2^15 | 34,816 | 65,728 | 231,888 |
//!
//! # Untrusted input
//! A message may expand 1028-fold, or to nothing. Memory is fixed, the length is limited while it
//! inflates, and the work is linear in what goes in and out: at worst, about 2 µs on a desktop for 11
//! bytes of input (blocks that have codes of their own and nothing else).

mod bits;
mod block;
mod codes;
mod deflater;
mod huffman;
mod inflater;
mod matcher;
mod messages;
mod negotiation;
mod output;
mod symbols;
mod window_bits;

pub use codes::Malformed;
pub use deflater::{Deflated, Deflater};
pub use inflater::{Inflated, Inflater};
pub use matcher::Level;
pub use messages::{CompressedSent, Compressor, Decompressor, wire_limit};
pub(crate) use negotiation::{Accepted, Asked, NAME, PARAMETERS};
pub use negotiation::{DeflateConfig, DeflateContext, DeflateParams};
pub use window_bits::WindowBits;
