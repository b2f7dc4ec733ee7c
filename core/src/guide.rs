//! How to drive the core: a guide for those who write another adapter.
//!
//! An adapter has a transport, two buffers and the time, and needs four parts of the core:
//!
//! | part | the adapter |
//! |---|---|
//! | [`handshake`](crate::handshake) | feeds it what it reads, writes what it gives; what is left over are frames |
//! | [`Connection`](crate::Connection) | asks it what was received, and what to write |
//! | [`Window`](crate::Window), two of them | reads into the one, writes out of the other |
//! | [`Deadlines`](crate::Deadlines) | tells it the time, asks it what is due |
//!
//! Compression is a fifth, between chunks and messages: the feature `deflate` has a module of that name
//! with a guide of its own.
//!
//! The whole of it: a server that echoes. All but `main` does no I/O and never waits; that is what
//! blocking, async and event-driven adapters have in common.
//!
//! ```
//! use motews::handshake::{RequestEvent, ServerHandshake, Upgrade};
//! use motews::{Chunk, Connection, Deadlines, Due, Event, Millis, Server, Timeouts, Window};
//!
//! type Failure = Box<dyn std::error::Error>;
//!
//! /// 1. What the transport is to do next. An adapter does it, and asks again.
//! enum Next { Read, Write, Shutdown }
//!
//! struct Driver {
//!     rx: Window<[u8; 64]>,
//!     tx: Window<[u8; 256]>, // A pong takes up to 131 octets.
//!     connection: Connection<Server>,
//!     deadlines: Deadlines,
//!     timeouts: Timeouts,
//! }
//!
//! impl Driver {
//!     /// 2. The loop. What is owed goes out before anything is read; an event is dealt with when
//!     /// it is found; and the transport has something to do only when nothing else is left.
//!     fn next(&mut self, now: Millis) -> Result<Next, Failure> {
//!         loop {
//!             match self.deadlines.poll(now, &self.timeouts) {
//!                 None => {}
//!                 Some(Due::Ping) => {
//!                     let len = self.connection.ping(b"", self.tx.spare()).unwrap_or(0);
//!                     self.tx.fill(len);
//!                 }
//!                 Some(_) => return Err("the peer took too long: drop the transport".into()),
//!             }
//!             // A pong or a Close; after an error too. Where there is no room it stays owed.
//!             let len = self.connection.poll_transmit(self.tx.spare())?;
//!             self.tx.fill(len);
//!             if self.connection.wants_transmit() {
//!                 return Ok(Next::Write);
//!             }
//!             // First found, then lent: an event that borrows cannot leave a loop (E0499).
//!             match self.connection.step(self.rx.unread()) {
//!                 Ok(step) if step.is_event() => {
//!                     let len = step.consumed();
//!                     if let Some(Event::Data(chunk)) = step.resolve(self.rx.take(len)) {
//!                         self.deadlines.received_message(now);
//!                         echo(&mut self.connection, &mut self.tx, chunk);
//!                     }
//!                     continue;
//!                 }
//!                 Ok(step) => _ = self.rx.take(step.consumed()),
//!                 Err(_) => _ = self.rx.take(usize::MAX), // The Close that tells so is owed now.
//!             }
//!             if self.connection.state() != motews::State::Open {
//!                 self.deadlines.closing(now); // Only the first call counts.
//!             }
//!             return match (self.tx.is_empty(), self.connection.should_shutdown()) {
//!                 _ if self.connection.wants_transmit() => continue,
//!                 (false, _) => Ok(Next::Write), // One write for all that one read brought.
//!                 (true, true) => Ok(Next::Shutdown), // RFC 6455 §7.1.1, also after a failure.
//!                 (true, false) => Ok(Next::Read),
//!             };
//!         }
//!     }
//!
//!     /// 3. What came of a read: so many octets in `rx.spare()`, 0 at the end of the transport.
//!     fn read(&mut self, len: usize, now: Millis) {
//!         match len {
//!             0 => _ = self.connection.receive_eof(), // `violation()` tells whether too early.
//!             _ => self.deadlines.received(now),
//!         }
//!         self.rx.fill(len);
//!     }
//! }
//!
//! /// 4. The application. It can send, for a chunk borrows the input only; 64 octets of it fit.
//! fn echo(connection: &mut Connection<Server>, tx: &mut Window<[u8; 256]>, chunk: Chunk<'_>) {
//!     let out = tx.spare();
//!     if let Ok(sent) = connection.send_fragment(chunk.kind, chunk.bytes, chunk.last, out) {
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
//!     // 5. The handshake: a line at a time lies in its own buffer, here of 128 bytes.
//!     let mut handshake = ServerHandshake::new([0; 128]);
//!     let upgrade: Upgrade = loop {
//!         if rx.is_empty() {
//!             let len = transport.read(rx.spare());
//!             if len == 0 { return Err("the peer has left".into()) }
//!             rx.fill(len);
//!         }
//!         let mut input = &*rx.unread();
//!         let event = handshake.next_event(&mut input)?; // Or answer with `error.response()`.
//!         let left = input.len(); // In the end, these are the first frames.
//!         rx.take(rx.len() - left);
//!         if let Some(RequestEvent::Done(upgrade)) = event {
//!             break upgrade; // Before that: the request line and the headers, for the application.
//!         }
//!     };
//!     let (mut response, mut sent) = ([0; 16], 0); // In pieces of any size.
//!     while let len @ 1.. = upgrade.emit_from(sent, &mut response) {
//!         transport.write(&response[..len]);
//!         sent += len;
//!     }
//!
//!     // 6. And then frames, out of the same window.
//!     let (tx, connection) = (Window::new([0; 256]), Connection::new(Server));
//!     let mut deadlines = Deadlines::new(now); // When the transport is connected.
//!     deadlines.opened(now);
//!     let mut driver = Driver { rx, tx, connection, deadlines, timeouts: Timeouts::default() };
//!     loop {
//!         match driver.next(now)? {
//!             Next::Read => {
//!                 let len = transport.read(driver.rx.spare());
//!                 driver.read(len, now);
//!             }
//!             Next::Write => {
//!                 let len = transport.write(driver.tx.unread());
//!                 driver.tx.take(len);
//!             }
//!             Next::Shutdown => break, // Shut it down for writing, read to its end, close it.
//!         }
//!     }
//!     assert!(driver.connection.is_clean());
//!     assert!(transport.heard.ends_with(b"\r\n\r\n\x81\x05Hello\x8A\0\x88\0"));
//!     Ok(())
//! }
//! # struct Script { said: &'static [u8], heard: Vec<u8> }
//! # impl Script {
//! #     fn read(&mut self, to: &mut [u8]) -> usize { std::io::Read::read(&mut self.said, to).unwrap() }
//! #     fn write(&mut self, bytes: &[u8]) -> usize { self.heard.extend(bytes); bytes.len() } }
//! ```
