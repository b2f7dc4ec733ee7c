//! WebSocket (RFC 6455) without an operating system, a heap or a clock.
//!
//! # The laws
//! 1. **The decoder consumes all it is given, up to the next event.** A receive buffer may be one
//!    byte, a ring may wrap anywhere, nothing is compacted, and nothing is unmasked twice.
//! 2. **The encoder writes whole frames or nothing.** What the protocol owes the peer, one pong, one
//!    keepalive ping and one Close, waits in fixed slots, so reading never blocks on writing.
//! 3. **No I/O, no allocation, no clock, no panic.** Bytes and the time come in as values,
//!    randomness as a trait.
//!
//! # Map
//! | module | what | RFC 6455 |
//! |---|---|---|
//! | [`handshake`] | from an HTTP request to an open connection, both roles | §4 |
//! | [`connection`] | **every state transition of an open connection** | §5.4-5.5, §6, §7 |
//! | [`frame`], [`mask`], [`utf8`], [`close`], [`close_code`], [`role`] | what a connection is made of | §5.2, §5.3, §8.1, §7.4, §1.3 |
//! | [`control`], [`event`] | the control frames that wait, and what goes in and comes out | §5.5, §6 |
//! | [`session`], [`pace`], [`ended`] | **a connection in time: who is alive, what is due, how it ended** | §7.1.1, §10.4 |
//! | [`message`], [`window`] | what an adapter is made of | §5.6, - |
//! | [`limits`] | what a peer may send at most | §10.4 |
#![cfg_attr(
    feature = "deflate",
    doc = "| [`deflate`] | permessage-deflate: compression | RFC 7692 |"
)]
#![cfg_attr(
    not(feature = "deflate"),
    doc = "| `deflate` | permessage-deflate: compression, with the feature of that name | RFC 7692 |"
)]
//! | [`guide`] | how to write an adapter | |
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
#![no_std]
#![forbid(unsafe_code)]

#[cfg(target_pointer_width = "16")]
compile_error!("motews needs a `usize` of at least 32 bits: it masks by words of that size");

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
pub mod limits;
mod log;
pub mod mask;
pub mod message;
pub mod pace;
pub mod reconnect;
pub mod role;
pub mod session;
pub mod utf8;
pub mod window;

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
#[cfg(feature = "rand_core_0_9")]
pub use role::RandCore09;
#[cfg(feature = "rand_core_0_10")]
pub use role::RandCore010;
pub use role::{Client, Entropy, Role, Server};
pub use session::{Session, Wants};
pub use utf8::Utf8Validator;
pub use window::Window;
