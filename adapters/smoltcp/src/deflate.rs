//! permessage-deflate (RFC 7692) on smoltcp, in the caller's memory.
//!
//! The adapter negotiates and puts compressed frames into the transmit ring. The windows are the
//! caller's, who has as many as memory allows, and declines compression to whoever comes when none
//! is left: the connection goes on without.
//!
//! 1. [`Config::offers`](crate::Config::offers) says what is wanted at most: a client offers it, a server
//!    accepts what fits it. A server whose memory is all in use accepts
//!    [`without_deflate`](motews::handshake::Upgrade::without_deflate). What is
//!    [`agreed`](WebSocket::agreed) on shows when the connection is open.
//! 2. Chunks of compressed messages come as they are. A [`Decompressor`] inflates them; where its
//!    output has to wait for room, [keep](motews::Chunk::compressed) the rest of the chunk.
//! 3. Send with [`send_compressed`](WebSocket::send_compressed), or uncompressed with
//!    [`send`](WebSocket::send) as before: what a secret shares with what others may choose must not
//!    be compressed together.
//!
//! With windows of 2^10 bytes both ways that is about 6 KiB for a connection.
//!
//! ```
//! use motews::deflate::{Compressor, DeflateContext, Decompressor, DeflateConfig, Level, WindowBits};
//! use motews::handshake::{Offers, RequestEvent};
//! use motews_smoltcp::{Config, ServerEvent, ServerSocket};
//! use smoltcp::{socket::tcp, time::Instant};
//!
//! const KIB: DeflateContext = DeflateContext { window_bits: WindowBits::new(10).unwrap(), takeover: true };
//! static CONFIG: Config<'static> = Config {
//!     offers: Offers::new().deflate(DeflateConfig { send: KIB, receive: KIB }),
//!     ..Config::DEFAULT
//! };
//! # type Window = [u8; 1024];
//! # type Memory = [u8; 3072];
//!
//! fn poll(
//!     server: &mut ServerSocket<'_>,
//!     tcp: &mut tcp::Socket<'_>,
//!     codec: &mut Option<(Decompressor<Window>, Compressor<Memory>)>,
//! ) {
//!     while let Some(event) = server.poll(tcp, Instant::ZERO, usize::MAX) {
//!         match event {
//!             ServerEvent::Request(RequestEvent::Done(upgrade)) => {
//!                 *codec = upgrade.agreed().deflate.map(|agreed| {
//!                     let decompressor = Decompressor::new([0; 1024], agreed.receive, 65_536);
//!                     let compressor = Compressor::new([0; 3072], agreed.send, Level::Default);
//!                     (decompressor.unwrap(), compressor.unwrap())
//!                 });
//!                 server.accept(upgrade);
//!             }
//!             ServerEvent::Received(motews::Event::Data(mut chunk)) => {
//!                 let mut out = [0; 256];
//!                 let Some((decompressor, _)) = codec else { continue };
//!                 match decompressor.next(&mut chunk, &mut out) {
//!                     Ok(part) => { /* and so on, until there is no part */ }
//!                     Err(violation) => server.fail(violation),
//!                 }
//!             }
//!             _ => {}
//!         }
//!     }
//! }
//! ```
//!
//! [`Decompressor`]: motews::deflate::Decompressor

use motews::deflate::{CompressedSent, Compressor, DeflateParams};
use motews::{DataKind, Role, SendError};
use smoltcp::socket::tcp::Socket;

use crate::ring;
use crate::socket::{Phase, WebSocket};

impl<R: Role, H> WebSocket<'_, R, H> {
    /// The compression that both sides of the open connection have agreed on; `None`: none, or the
    /// connection is not open.
    #[must_use]
    pub const fn agreed(&self) -> Option<DeflateParams> {
        match self.phase {
            Phase::Open(_) => self.agreed,
            _ => None,
        }
    }

    /// Writes frames of a compressed message into the transmit ring, with as much of `payload` as
    /// there is room for, and tells how much that was. Unless it was
    /// [`done`](CompressedSent::done), call it again with the rest. `fin` ends the message with the
    /// last byte of `payload`.
    ///
    /// # Errors
    /// [`SendError::NoRoom`] where there is room for a sliver only, or while a pong or a Close waits
    /// for room; [`SendError::NotOpen`], [`SendError::MessageInProgress`],
    /// [`SendError::CompressionNotNegotiated`] or [`SendError::Entropy`]. Nothing has changed then.
    pub fn send_compressed<M: AsMut<[u8]>>(
        &mut self,
        socket: &mut Socket<'_>,
        compressor: &mut Compressor<M>,
        kind: DataKind,
        payload: &[u8],
        fin: bool,
    ) -> Result<CompressedSent, SendError> {
        let mut total = CompressedSent {
            consumed: 0,
            written: 0,
            compressed: 0,
            done: false,
        };
        while !total.done {
            if self.send_room(socket) == 0 {
                if total.consumed == 0 && total.written == 0 {
                    return Err(SendError::NoRoom);
                }
                break;
            }
            let free = ring::free(socket);
            let connection = self.session()?.connection_mut();
            let rest = payload.get(total.consumed..).unwrap_or_default();
            let mut send =
                |out: &mut [u8]| compressor.send_fragment(connection, kind, rest, fin, out);
            let sent = socket.send(|out| {
                let sent = send(out);
                (sent.map_or(0, |sent| sent.written), sent)
            });
            let sent = match sent {
                // The ring wraps before there is room for a frame.
                Ok(Err(SendError::NoRoom)) => {
                    let mut frame = [0; 32];
                    let room = free.min(frame.len());
                    let sent = send(frame.get_mut(..room).unwrap_or_default());
                    let written = sent.map_or(0, |sent| sent.written);
                    ring::put(socket, frame.get(..written).unwrap_or_default(), None);
                    sent
                }
                Ok(sent) => sent,
                Err(_) => Err(SendError::NotOpen),
            };
            let sent = match sent {
                // What is taken is told; the error comes again.
                Err(_) if total.consumed > 0 || total.written > 0 => break,
                sent => sent?,
            };
            total.consumed = total.consumed.saturating_add(sent.consumed);
            total.written = total.written.saturating_add(sent.written);
            self.queued = self.queued.wrapping_add(sent.written);
            total.compressed = total.compressed.saturating_add(sent.compressed);
            total.done = sent.done;
        }
        Ok(total)
    }
}
