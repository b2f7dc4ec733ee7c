//! permessage-deflate (RFC 7692), in the caller's memory.
//!
//! `with_deflate` turns it on, before the handshake. A server declines what would not fit its memory,
//! and goes on uncompressed; so does a client whose offer is declined. `deflate` returns what was
//! agreed on. From then on `recv`, `next_event` and `next_chunk` return what was inflated, text and
//! length are checked as it comes out, and what is sent is compressed.
//!
//! ```
//! use embedded_io::{Read, Write};
//! use motews::deflate::{DeflateConfig, DeflateContext, Level, WindowBits};
//! use motews_embedded_io::blocking::WebSocket;
//! use motews_embedded_io::deflate::{Deflate, Memory};
//! use motews_embedded_io::{Buffers, Error};
//!
//! const KIB: DeflateContext = DeflateContext { window_bits: WindowBits::new(10).unwrap(), takeover: true };
//! const DEFLATE: DeflateConfig = DeflateConfig { send: KIB, receive: KIB };
//!
//! fn echo<T: Read + Write>(transport: T) -> Result<(), Error<T::Error>> {
//!     let (mut window, mut deflater, mut parts) = ([0; 1024], [0; 2560], [0; 128]);
//!     let memory = Memory { window: &mut window, deflater: &mut deflater, parts: &mut parts };
//!     let mut deflate = Deflate::new(DEFLATE, Level::Default, memory)?;
//!     let (mut receive, mut transmit) = ([0; 256], [0; 256]);
//!     let buffers = Buffers { receive: &mut receive, transmit: &mut transmit };
//!     let mut ws = WebSocket::server(transport, buffers)?.with_deflate(&mut deflate);
//!     ws.accept()?;
//!     while let Some((chunk, reply)) = ws.next_chunk()? {
//!         let mut rest = &*chunk.bytes;
//!         loop {
//!             let taken = reply.send_fragment(chunk.kind, rest, chunk.last)?;
//!             rest = &rest[taken..];
//!             if rest.is_empty() {
//!                 break;
//!             }
//!         }
//!     }
//!     Ok(())
//! }
//!
//! # struct Browser(&'static [u8], Vec<u8>);
//! # impl embedded_io::ErrorType for Browser {
//! #     type Error = std::convert::Infallible;
//! # }
//! # impl Read for Browser {
//! #     fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Self::Error> {
//! #         Ok(self.0.read(buffer).unwrap())
//! #     }
//! # }
//! # impl Write for Browser {
//! #     fn write(&mut self, bytes: &[u8]) -> Result<usize, Self::Error> {
//! #         self.1.extend_from_slice(bytes);
//! #         Ok(bytes.len())
//! #     }
//! #     fn flush(&mut self) -> Result<(), Self::Error> {
//! #         Ok(())
//! #     }
//! # }
//! # let request = b"GET / HTTP/1.1\r\nHost: example.com\r\nUpgrade: websocket\r\n\
//! #     Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
//! #     Sec-WebSocket-Version: 13\r\n\
//! #     Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\r\n\
//! #     \xc1\x87\0\0\0\0\xf2\x48\xcd\xc9\xc9\x07\0\x88\x80\0\0\0\0";
//! // A browser sends "Hello", compressed, and then a Close:
//! # let mut browser = Browser(request, Vec::new());
//! echo(&mut browser)?;
//! assert!(browser.1.ends_with(b"\xc1\x07\xf2\x48\xcd\xc9\xc9\x07\x00\x88\x00"));
//! # Ok::<(), Error<std::convert::Infallible>>(())
//! ```
//!
//! # Memory
//! A WebSocket is no larger for it. A connection that may compress takes 2.2 KB for [`Deflate`] and what
//! it is given, whether its peer compresses or not; the echo above takes 5.9 KB more than one without.
//! With the feature on, a program that does not compress still has the code of it linked: see the
//! crate's README.
//!
//! | | bytes |
//! |---|---|
//! | [`Memory::window`] | 2^bits of [`DeflateConfig::receive`]: 256 to 32,768; or none |
//! | [`Memory::deflater`] | at least twice 2^bits of [`DeflateConfig::send`] and 192: 704 to 65,728; more compresses better, up to [`full_memory`](motews::deflate::Deflater::full_memory) |
//! | [`Memory::parts`] | any; none if messages are received whole only |
//!
//! [`DeflateConfig::receive`]: motews::deflate::DeflateConfig::receive
//! [`DeflateConfig::send`]: motews::deflate::DeflateConfig::send
//!
//! The window may be empty if the peer does not take its context over (`takeover: false` in
//! [`DeflateConfig::receive`]): then a message is inflated where it will lie, in the buffer given to
//! `recv`, and `next_event` and `next_chunk` return [`NoRoom`](crate::Error::NoRoom).
//!
//! # Secrets
//! If a secret is compressed together with what others may choose, the length of what is sent shows
//! what they have in common (CRIME, BREACH; RFC 7692 §8). Send such messages with `send_uncompressed`.
//!
//! # Streams
//! `send` compresses messages that are sure to fit into the transmit buffer: their length, an
//! eighth of it, and 30 bytes more. Longer ones go out as they are, if they fit so. `send_fragment`
//! compresses messages of any length; how the first fragment is sent decides for all of them. Bytes
//! may wait in the compressor until there are more, or the message ends.

pub use crate::codec::{Deflate, Memory};
