//! What the tests of motews are written with.
//!
//! | module | what |
//! |---|---|
//! | [`frame`] | frames as RFC 6455 §5.2 draws them, encoded and decoded |
//! | [`head`] | requests and responses of the opening handshake, right and wrong |
//! | [`transport`] | streams in memory: scripted, joined in pairs, trickling, with windows that close |
//! | [`link`] | two sessions over a wire in simulated time |
//! | [`outage`] | a table of what goes wrong and what a client does, checked |
//! | [`fates`] | what a client that comes back meets, and what that costs its process |
//! | [`mod@syn`] | a SYN that nobody follows up |
//! | `authority` | certificates for tests of TLS, by an authority of their own (feature `tls`) |
//! | [`mod@conformance`] | what each transport and each mode of an adapter has to do |
//!
//! Only `link`, `outage` and `conformance` use motews: with the others a mistake cannot be made at both ends.
#![forbid(unsafe_code)]

#[cfg(feature = "tls")]
pub mod authority;
pub mod conformance;
pub mod fates;
pub mod frame;
pub mod head;
pub mod link;
pub mod outage;
pub mod syn;
pub mod transport;
