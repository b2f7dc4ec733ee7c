//! WebSocket (RFC 6455) without an operating system, a heap or a clock.
//!
//! Bytes go in, and events that borrow them come out. It works in constant memory and never panics.
//! For a server or a client take an adapter: motews-std, motews-tokio, motews-smoltcp or
//! motews-embedded-io. This crate is for who writes another one, and has the types that they share.
//!
//! ```text
//! cargo add --path motews/core                         # on desktops
//! cargo add --path motews/core --no-default-features   # in firmware: 3.3 KB less flash
//! ```
//!
//! # Which type for what
//! | to | use | RFC 6455 |
//! |---|---|---|
//! | run a connection: who is alive, what is due, how it ended | [`Session`], [`Timeouts`], [`Ended`] | §5 to §7 |
//! | run one without a clock | [`Connection`] | §5.4-5.5, §6, §7 |
//! | get from an HTTP request to an open connection | [`handshake`] | §4 |
//! | assemble messages in a fixed buffer | [`MessageBuffer`], [`Window`] | §5.6 |
//! | bound what a peer may send | [`Limits`] | §10.4 |
//! | decide when a client comes back | [`Reconnect`] | §7.2.3 |
//! | keep what is to be sent across connections, and count what is in doubt | [`Backlog`], [`ReconnectWithBacklog`] | |
//! | compress | `deflate`, with the feature of that name | RFC 7692 |
//! | build your own | [`frame`], [`mask`], [`utf8`], [`close`], [`control`], [`event`], [`role`] | §5.2, §5.3, §8.1 |
//! | write an adapter | [`guide`] | |
//!
//! # The laws
//! 1. **The decoder consumes all it is given, up to the next event.** A receive buffer may be one
//!    byte, a ring may wrap anywhere, nothing is compacted, and nothing is unmasked twice.
//! 2. **The encoder writes whole frames or nothing.** What the protocol owes the peer, one pong, one
//!    keepalive ping and one Close, waits in fixed slots, so reading never blocks on writing.
//! 3. **No I/O, no allocation, no clock, no panic.** Bytes and the time come in as values,
//!    randomness as a trait.
//!
//! # Example
//! A client and a server that talk through two arrays:
//!
//! ```
//! use motews::{Client, CloseCode, Connection, Entropy, EntropyError, Event, Message, Server};
//!
//! struct Hardware;
//! impl Entropy for Hardware {
//!     fn fill(&mut self, bytes: &mut [u8]) -> Result<(), EntropyError> {
//!         # fn random() -> u8 { 0x5A }
//!         bytes.fill_with(random); // from the hardware's random number generator
//!         Ok(())
//!     }
//! }
//!
//! let mut client: Connection<_> = Connection::new(Client::new(Hardware));
//! let mut server: Connection<Server> = Connection::new(Server);
//! let mut wire = [0; 256];
//!
//! // The client says hello and closes.
//! let mut len = client.send(Message::Text("Hello"), &mut wire)?;
//! client.close(CloseCode::NORMAL, "done")?;
//! len += client.poll_transmit(&mut wire[len..])?;
//!
//! // The server sees both, and owes a Close.
//! let mut input = &mut wire[..len];
//! let Some(Event::Data(chunk)) = server.next_event(&mut input)? else { panic!("no data") };
//! assert_eq!((&*chunk.bytes, chunk.first, chunk.last), (&b"Hello"[..], true, true));
//! let Some(Event::Close(Some(close))) = server.next_event(&mut input)? else { panic!("no close") };
//! assert_eq!((close.code(), close.reason()), (CloseCode::NORMAL, "done"));
//!
//! let len = server.poll_transmit(&mut wire)?;
//! assert!(server.should_shutdown());
//! client.next_event(&mut &mut wire[..len])?;
//! assert!(client.is_clean());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Features
//! - `crates` (on by default): the handshake hashes and encodes with `sha1_smol` and `base64`. Without
//!   it two small functions do that, and no panic path is left.
//! - `deflate`: permessage-deflate, in memory that the caller sizes.
//! - `log`, `defmt`: trace points, and `defmt::Format` on the public types.
//! - `simdutf8`, `std`: non-ASCII text is validated with SIMD instructions, with `std` chosen at run time.
//! - `rand_core_0_9`, `rand_core_0_10`: a `CryptoRng` is a source of masking keys.
//!
//! # What is not here
//! No transport, no buffer, no timer, no random numbers: an adapter brings them. **No 16-bit targets.**
//! **No HTTP/2 framing**, but its headers: [`handshake::Upgrade::from_headers`].
#![no_std]
#![forbid(unsafe_code)]

#[cfg(target_pointer_width = "16")]
compile_error!("motews needs a `usize` of at least 32 bits: it masks by words of that size");

pub mod backlog;
pub mod close;
pub mod close_code;
pub mod connection;
pub mod control;
#[cfg(feature = "deflate")]
pub mod deflate;
pub mod ended;
pub mod error;
pub mod event;
pub mod frame;
pub mod guide;
pub mod handshake;
pub mod interruption;
pub mod limits;
mod log;
pub mod mask;
pub mod message;
pub mod pace;
pub mod reconnect;
pub mod reconnect_with_backlog;
pub mod role;
pub mod session;
pub mod utf8;
pub mod window;

pub use backlog::{Backlog, BacklogPolicy};
pub use close::CloseFrame;
pub use close_code::{CloseCode, Side};
pub use connection::{Connection, ConnectionConfig, MAX_CONTROL_LEN, State};
pub use control::{ControlSlots, ControlStorage};
pub use ended::Ended;
pub use error::{EntropyError, NoRoom, ProtocolViolation, SendError};
pub use event::{Chunk, DataFrame, DataKind, Event, Sent, Step};
pub use frame::{ControlPayload, FrameHeader, OpCode};
pub use limits::Limits;
pub use mask::Mask;
pub use message::{Message, MessageBuffer, MessageError};
pub use pace::{Deadline, Millis, Pace, Timeouts};
pub use reconnect::Reconnect;
pub use reconnect_with_backlog::ReconnectWithBacklog;
#[cfg(feature = "rand_core_0_9")]
pub use role::RandCore09;
#[cfg(feature = "rand_core_0_10")]
pub use role::RandCore010;
pub use role::{Client, Entropy, Role, Server};
pub use session::{Session, Wants};
pub use utf8::Utf8Validator;
pub use window::Window;
