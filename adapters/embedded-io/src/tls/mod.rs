//! `wss://` for clients: TLS 1.3 without a heap, with deadlines, `select` and halves. With the feature
//! `tls`, by [`embedded_tls`] 0.19 and [webpki](https://docs.rs/rustls-webpki).
//!
//! Dropping a future of embedded-tls loses bytes, and deadlines and `select` drop futures all the time.
//! So they run in one place and are never dropped, the [`Pump`]; the WebSocket has a [`TlsStream`],
//! whose futures may be dropped at any await. Between them is a [`TlsTunnel`]: two small rings in your
//! memory.
//!
//! ```
//! use embedded_io_async::{Read, Write};
//! use motews::handshake::Request;
//! use motews::{Ended, Entropy};
//! use motews_embedded_io::tls::{TlsBuffers, TlsConfig, TlsError, TlsTime, Trust, TlsTunnel};
//! use motews_embedded_io::{Buffers, Duplex, Error, Timer, asynch::WebSocket};
//!
//! const AUTHORITY: &[u8] = &[]; // include_bytes!("authority.der")
//! const BUILT: u64 = 1_795_910_400; // when this is built, in seconds since 1970
//!
//! async fn stay<Rd: Read, Wr: Write<Error = Rd::Error>>(
//!     tcp: Duplex<Rd, Wr>, // both halves, as of embassy-net's TcpSocket::split
//!     entropy: impl Entropy + Copy,
//!     time: impl Timer + Copy,
//! ) -> Result<Ended, Error<TlsError>> {
//!     let config = TlsConfig::new("example.com", Trust::Authorities(&[AUTHORITY]), TlsTime::Built(BUILT));
//!     let (mut incoming, mut outgoing) = ([0; 512], [0; 512]);
//!     let mut tunnel = TlsTunnel::new(&mut incoming, &mut outgoing);
//!     let (stream, pump) = tunnel.ends();
//!
//!     let (mut read, mut write) = ([0; 16_640], [0; 1024]); // a `static` in firmware
//!     let records = TlsBuffers { read: &mut read, write: &mut write };
//!     let pump = pump.run(tcp, records, &config, entropy, time);
//!     let talk = async {
//!         let (mut receive, mut transmit) = ([0; 512], [0; 512]);
//!         let buffers = Buffers { receive: &mut receive, transmit: &mut transmit };
//!         let request = Request::new("example.com", "/")?;
//!         let mut ws = WebSocket::client(stream, buffers, request, entropy)?.with_clock(time);
//!         ws.connect().await?; // TLS, too, has the time for the handshake
//!         // Here `select` as you like.
//!         ws.closed().await
//!     };
//!     let (ended, _tls) = tokio::join!(talk, pump); // or the pump in a task of its own
//!     ended
//! }
//! ```
//!
//! # The end
//! - TLS ends in good order: reading returns 0. In any other way: the [`TlsError`], as
//!   [`Error::Io`](crate::Error::Io) of the WebSocket, and as what [`Pump::run`] returns.
//! - The WebSocket is dropped: the pump sends what was written and the end of TLS, for
//!   [`TlsConfig::close`] at most, and returns. Then close TCP. That is all the shutting down there is:
//!   call [`closed`](crate::asynch::WebSocket::closed) before, and no `drain`.
//! - The server ends TLS first: embedded-tls cannot answer with this side's end, and what was still to be sent
//!   is not. Then close TCP.
//! - A transport that ends without the end of TLS is [`TlsError::Truncated`]. After a clean end of the
//!   WebSocket that means nothing: many servers do it.
//!
//! # Coming back
//! [`Reconnecting`](crate::asynch::Reconnecting) opens one session after the other in the same memory. The
//! pump is in a future of its own, with TCP: it waits for the next [`Pump`], connects TCP, runs the
//! pump, ends TCP. The `connect` of the client hands it the pump and waits until TLS is
//! [open](TlsTunnel::opened), so that a wrong certificate is not tried again within seconds:
//!
//! ```
//! use core::cell::RefCell;
//! use core::pin::pin;
//!
//! use motews::handshake::Request;
//! use motews::reconnect::Cause;
//! use motews::{Entropy, MessageBuffer};
//! use motews_embedded_io::asynch::{Reconnecting, Task, Update};
//! use motews_embedded_io::tls::{Pump, TlsError, TlsStream, TlsTunnel};
//! use motews_embedded_io::{Buffers, Error, Timer};
//! use tokio::sync::mpsc::Sender; // or a Signal of embassy-sync
//!
//! async fn stay<'t>(
//!     tunnel: &'t TlsTunnel<'t>,
//!     pumps: &Sender<Pump<'t>>, // to the future that has TCP
//!     generator: &RefCell<impl Entropy>,
//!     timer: impl Timer,
//! ) -> Result<(), Error<TlsError>> {
//!     let connect = |stream: TlsStream<'t>, task| {
//!         drop(stream); // and with it the session, if there is one
//!         async move {
//!             let (stream, pump) = tunnel.next_ends().await;
//!             let result = match task {
//!                 Task::Connect => match pumps.send(pump).await {
//!                     Ok(()) => tunnel.opened().await.map_err(Cause::from), // with a time limit
//!                     Err(_) => Err(Cause::Local),
//!                 },
//!                 Task::Disconnect => Ok(()), // without its pump the stream is at its end
//!             };
//!             (stream, result)
//!         }
//!     };
//!     let (mut receive, mut transmit) = ([0; 256], [0; 256]);
//!     let buffers = Buffers { receive: &mut receive, transmit: &mut transmit };
//!     let (place, request) = (pin!(None), Request::new("example.com", "/")?);
//!     let (stream, _) = tunnel.next_ends().await; // `connect` drops it
//!     let mut client = Reconnecting::new(place, stream, connect, buffers, request, generator, timer)?;
//!     let mut messages = MessageBuffer::new([0; 512]);
//!     while let Some(update) = client.next(&mut messages).await {
//!         match update {
//!             Update::Message(message) => { /* obey */ }
//!             Update::Ended(interruption) => { /* log it */ }
//!             _ => {}
//!         }
//!     }
//!     Ok(())
//! }
//! ```
//!
//! If TCP cannot be connected, that future drops the pump, which is [`Cause::Unreachable`] to the client.
//!
//! [`Cause::Unreachable`]: motews::reconnect::Cause::Unreachable
//!
//! # Which servers
//! The server's certificate is verified, by our own verifier: the path to an authority of yours, time,
//! purpose, constraints, and the name or the address; or a [pinned key](Trust::Keys). There is no way to
//! trust any server.
//! - **Only ECDSA.** Keys and signatures on P-256 with SHA-256; with the feature `p384`, which takes 120 KB
//!   of flash, on P-384 and with SHA-384, too. **No RSA, no Ed25519**: embedded-tls's features for them
//!   unwrap what a server sent before it has proven who it is. Public authorities issue ECDSA
//!   certificates if asked, some of whose chains have no RSA in them: Let's Encrypt's to ISRG Root X2, for
//!   example, which is on P-384. embedded-tls offers P-384 and Ed25519 all the same: a server with such a key
//!   beside one on P-256 may choose it, and is refused. Or pin the server's key: then nobody else's counts. Who
//!   cannot do without RSA gives a [`Custom`] provider.
//! - **Only TLS 1.3, and only the group P-256**, which nearly all servers have. A server that asks for
//!   another one (HelloRetryRequest) is refused.
//! - **A KeyUpdate ends the session**, with [`TlsError::KeyUpdate`], for embedded-tls cannot follow. Servers
//!   send one after millions of records. Connect again then.
//! - **No revocation**: neither CRLs nor OCSP. **`keyUsage` is not looked at**, as it is not in webpki and
//!   rustls; `extendedKeyUsage` and `basicConstraints` are. **No resumption**: each session is a full handshake.
//! - **A message of the handshake must fit one record**, and the server's certificates the
//!   [buffer](TlsBuffers::read). Three certificates between the server's and the authority's count, and
//!   none whose issuer has its own name: more orders of them than that take too long to try.
//!
//! # What it does not promise
//! **TLS is outside the claim that no panic is linked**: embedded-tls, the cryptography and webpki have panic
//! paths. Those that we know a peer can reach are shut: records without content, and anything in the
//! clear after the server's first message, which embedded-tls would believe. **One is left, to servers that
//! have proven who they are**: a message of the handshake after it, other than a ticket or a KeyUpdate,
//! panics in embedded-tls.
//!
//! # Blocking
//! [`blocking::WebSocket`](crate::blocking::WebSocket) over `embedded_tls::blocking` works with
//! [`TlsProvider`], **but its transport must have no read timeout**: one that fires inside a record loses
//! what was read of it, and the session with it. So no deadlines and no keepalive. Records are not
//! guarded there, either.

mod config;
mod error;
mod guard;
mod provider;
mod pump;
mod ring;
mod signatures;
mod tunnel;
mod verifier;

pub use config::{Identity, TlsConfig, TlsTime, Trust};
pub use error::TlsError;
pub use provider::TlsProvider;
pub use pump::{Custom, MAX_RECORD, MIN_RECORD, TlsBuffers};
pub use tunnel::{Pump, TlsReader, TlsStream, TlsTunnel, TlsWriter};
