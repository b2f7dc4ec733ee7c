//! How to write an adapter: what is left to do around a [`Session`](crate::Session).
//!
//! An adapter has a transport, two buffers and the time. It moves bytes and knows its transport's
//! quirks; everything about the protocol is decided in core. If an adapter needs an `if` about the
//! protocol, core lacks something.
//!
//! | part | the adapter |
//! |---|---|
//! | [`handshake`](crate::handshake) | feeds it what it reads, writes what it emits; what is left over are frames |
//! | [`Session`](crate::Session) | reports what the transport did, and does what [`Wants`](crate::Wants) says |
//! | [`Window`](crate::Window), two of them | reads into the one, writes out of the other |
//!
//! Compression is a fourth, between chunks and messages: the feature `deflate` has a module of that
//! name with a guide of its own.
//!
//! The whole of it: a server that echoes. All but `main` does no I/O and never waits; that is what
//! blocking, async and event-driven adapters have in common.
//!
//! ```
//! use motews::handshake::{Offers, RequestEvent, ServerHandshake, Upgrade};
//! use motews::{Millis, Timeouts};
//! use motews::{Chunk, Ended, Event, Server, Session, Wants, Window};
//!
//! type Failure = Box<dyn std::error::Error>;
//!
//! static OFFERS: Offers<'static> = Offers::new();
//!
//! struct Driver {
//!     rx: Window<[u8; 64]>,
//!     tx: Window<[u8; 256]>, // A pong of a server takes up to 127 bytes, an echo here up to 66.
//!     session: Session<Server>,
//!     timeouts: Timeouts,
//! }
//!
//! impl Driver {
//!     /// 1. Decodes what was read, as long as there is room for an answer. An event is found without
//!     /// a borrow, then lent.
//!     fn decode(&mut self) -> Result<(), Failure> {
//!         while !self.rx.is_empty() {
//!             self.transmit()?; // Each of several pings in one read has its pong.
//!             if self.tx.spare().len() < 128 { break }
//!             match self.session.step(self.rx.unread()) {
//!                 Ok(step) => {
//!                     let bytes = self.rx.take(step.consumed());
//!                     if let Some(Event::Data(chunk)) = self.session.resolve(step, bytes) {
//!                         echo(&mut self.session, &mut self.tx, chunk);
//!                     }
//!                 }
//!                 Err(_) => _ = self.rx.take(usize::MAX), // The Close that says so is owed now.
//!             }
//!         }
//!         Ok(())
//!     }
//!
//!     /// 2. What is to be done now. What is owed goes behind what waits already.
//!     fn poll(&mut self, now: Millis) -> Result<Wants, Failure> {
//!         let wants = self.session.poll(now, &self.timeouts, !self.rx.is_empty());
//!         self.transmit()?;
//!         Ok(wants)
//!     }
//!
//!     fn transmit(&mut self) -> Result<(), Failure> {
//!         let len = self.session.poll_transmit(self.tx.spare())?;
//!         self.tx.fill(len);
//!         Ok(())
//!     }
//!
//!     /// 3. What the transport did.
//!     fn read(&mut self, len: usize, now: Millis) {
//!         match len {
//!             0 => self.session.receive_eof(),
//!             _ => self.session.received(now),
//!         }
//!         self.rx.fill(len);
//!     }
//!
//!     fn written(&mut self, len: usize, now: Millis) {
//!         self.tx.take(len);
//!         self.session.sent(now, &self.timeouts, len, self.tx.unread().len());
//!     }
//! }
//!
//! /// 4. The application. It can send, for a chunk borrows the input only; 64 bytes of it fit.
//! fn echo(session: &mut Session<Server>, tx: &mut Window<[u8; 256]>, chunk: Chunk<'_>) {
//!     if let Ok(sent) = session.send_fragment(chunk.kind, chunk.bytes, chunk.last, tx.spare()) {
//!         tx.fill(sent.written);
//!     }
//! }
//!
//! fn main() -> Result<(), Failure> {
//!     # let wire = b"GET / HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
//!     # Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n\
//!     # \x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58\x89\x80\0\0\0\0\x88\x80\0\0\0\0";
//!     let mut transport = Script { said: wire, heard: Vec::new() };
//!     let now = Millis(0); // Milliseconds since any fixed point.
//!     let mut rx = Window::new([0; 64]);
//!
//!     // 5. The handshake: a line at a time lies in its own buffer, here of 128 bytes. Until it is
//!     // complete, a `Pace` alone has the time.
//!     let mut handshake = ServerHandshake::new([0; 128]);
//!     let upgrade: Upgrade = loop {
//!         if rx.is_empty() {
//!             let len = transport.read(rx.spare());
//!             if len == 0 { return Err("the peer has left".into()) }
//!             rx.fill(len);
//!         }
//!         let mut input = &*rx.unread();
//!         let event = handshake.next_event(&mut input, &OFFERS)?; // Or answer with `error.response()`.
//!         let left = input.len(); // In the end, these are the first frames.
//!         rx.take(rx.len() - left);
//!         if let Some(RequestEvent::Done(upgrade)) = event {
//!             break upgrade; // Before that: the request line and the headers, for the application.
//!         }
//!     };
//!     let (mut response, mut sent) = ([0; 16], 0); // In pieces of any size.
//!     let answer = upgrade.answer(&OFFERS);
//!     while let len @ 1.. = upgrade.emit_from(sent, &mut response, &answer) {
//!         transport.write(&response[..len]);
//!         sent += len;
//!     }
//!
//!     // 6. And then frames, out of the same window.
//!     let session = Session::new(Server, upgrade.agreed().config, now);
//!     let timeouts = Timeouts::DEFAULT;
//!     let mut driver = Driver { rx, tx: Window::new([0; 256]), session, timeouts };
//!     loop {
//!         driver.decode()?;
//!         let wants = driver.poll(now)?;
//!         if wants.shutdown { /* shut the transport down for writing */ }
//!         if wants.drop { break }
//!         if !driver.tx.is_empty() {
//!             let len = transport.write(driver.tx.unread());
//!             driver.written(len, now);
//!         } else if wants.read || wants.drain {
//!             // Or wait until `session.poll_at(..)`.
//!             let len = transport.read(driver.rx.spare());
//!             driver.read(len, now);
//!         }
//!     }
//!     assert!(driver.session.ended().is_some_and(Ended::is_clean));
//!     assert!(transport.heard.ends_with(b"\r\n\r\n\x81\x05Hello\x8A\0\x88\0"));
//!     Ok(())
//! }
//! # struct Script { said: &'static [u8], heard: Vec<u8> }
//! # impl Script {
//! #     fn read(&mut self, to: &mut [u8]) -> usize { std::io::Read::read(&mut self.said, to).unwrap() }
//! #     fn write(&mut self, bytes: &[u8]) -> usize { self.heard.extend(bytes); bytes.len() } }
//! ```
