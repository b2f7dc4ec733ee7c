//! permessage-deflate (RFC 7692) on smoltcp, in the caller's memory.
//!
//! The adapter negotiates and puts compressed frames into the transmit ring. The windows are the
//! caller's, who has as many as memory allows, and declines compression to whoever comes when none
//! is left: the connection goes on without.
//!
//! 1. A server: [`Offers::push`] each header of the request; at [`RequestEvent::Done`] see what
//!    [`Offers::accept`] gives, and [`accept_compressed`](ServerSocket::accept_compressed) it. A
//!    client: [`offer`](ClientSocket::offer) before the request is out; at [`ResponseEvent::Done`] see
//!    what is [`agreed`](WebSocket::agreed).
//! 2. Chunks of compressed messages come as they are. A [`Decompressor`] inflates them; where its
//!    output has to wait for room, [keep](motews::Chunk::compressed) the rest of the chunk.
//! 3. Send with [`send_compressed`](WebSocket::send_compressed), or uncompressed with
//!    [`send`](WebSocket::send) as before: what a secret shares with what others may choose must not
//!    be compressed together.
//!
//! With windows of 2^10 bytes both ways that is about 6 KiB for a connection.
//!
//! ```
//! use motews::deflate::{Compressor, Context, Decompressor, Deflate, Level, WindowBits};
//! use motews::handshake::RequestEvent;
//! use motews_smoltcp::{ServerEvent, ServerSocket, deflate::Offers};
//! use smoltcp::{socket::tcp, time::Instant};
//!
//! const KIB: Context = Context { window_bits: WindowBits::new(10).unwrap(), takeover: true };
//! const DEFLATE: Deflate = Deflate { send: KIB, receive: KIB };
//! # type Window = [u8; 1024];
//! # type Memory = [u8; 3072];
//!
//! fn poll(
//!     server: &mut ServerSocket<'_>,
//!     tcp: &mut tcp::Socket<'_>,
//!     offers: &mut Offers,
//!     codec: &mut Option<(Decompressor<Window>, Compressor<Memory>)>,
//! ) {
//!     while let Some(event) = server.poll(tcp, Instant::ZERO, usize::MAX) {
//!         match event {
//!             ServerEvent::Request(RequestEvent::RequestLine { .. }) => *offers = Offers::new(),
//!             ServerEvent::Request(RequestEvent::Header(header)) => offers.push(&header),
//!             ServerEvent::Request(RequestEvent::Done(upgrade)) => match offers.accept(&DEFLATE) {
//!                 Some(accepted) => {
//!                     let agreed = accepted.agreed;
//!                     let decompressor = Decompressor::new([0; 1024], agreed.receive, 65_536);
//!                     let compressor = Compressor::new([0; 3072], agreed.send, Level::Default);
//!                     *codec = Some((decompressor.unwrap(), compressor.unwrap()));
//!                     server.accept_compressed(upgrade, accepted);
//!                 }
//!                 None => server.accept(upgrade),
//!             },
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
//! [`RequestEvent::Done`]: motews::handshake::RequestEvent::Done
//! [`ResponseEvent::Done`]: motews::handshake::ResponseEvent::Done

pub use motews::deflate::Offers;
use motews::deflate::{Accepted, CompressedSent, Compressor, Deflate};
use motews::handshake::Upgrade;
use motews::{DataKind, Entropy, Role, SendError};
use smoltcp::socket::tcp::Socket;

use crate::client::ClientSocket;
use crate::extension::Extension;
use crate::ring;
use crate::server::ServerSocket;
use crate::socket::{Phase, WebSocket};

impl<'a, E: Entropy, const LINE: usize> ClientSocket<'a, E, LINE> {
    /// Offers compression with the request, in place of the extensions that it has: what this side
    /// has memory for. With [`Done`](motews::handshake::ResponseEvent::Done), [`agreed`](WebSocket::agreed)
    /// tells whether the server has accepted, and what. Of no effect once the request goes out.
    ///
    /// The answer is a header of up to 152 bytes (without its colon), for which `LINE` must have room.
    ///
    /// ```
    /// # use motews::handshake::Request;
    /// # use motews::{Entropy, EntropyError};
    /// # use motews_smoltcp::{ClientSocket, Config};
    /// # use motews::deflate::{Context, Deflate, WindowBits};
    /// # use smoltcp::time::Instant;
    /// # struct Hardware;
    /// # impl Entropy for Hardware {
    /// #     fn fill(&mut self, bytes: &mut [u8]) -> Result<(), EntropyError> { bytes.fill(7); Ok(()) }
    /// # }
    /// # static CONFIG: Config<'static> = Config::DEFAULT;
    /// const KIB: Context = Context { window_bits: WindowBits::new(10).unwrap(), takeover: true };
    ///
    /// let mut hardware = Hardware;
    /// let request = Request::new("192.168.1.2", "/", &mut hardware)?;
    /// let mut client: ClientSocket<'_, _, 160> = ClientSocket::new(&CONFIG, request, hardware, Instant::ZERO);
    /// client.offer(Deflate { send: KIB, receive: KIB });
    /// # Ok::<(), motews::handshake::ConfigError>(())
    /// ```
    pub fn offer(&mut self, deflate: Deflate) {
        if let Some(offer) = self.offer_mut() {
            offer.offered = Some(deflate);
        }
    }
}

impl<'a, const LINE: usize> ServerSocket<'a, LINE> {
    /// As [`accept`](Self::accept), with the compression that was agreed on. The limit
    /// [`Config::max_message_len`](crate::Config::max_message_len) is that of inflated messages:
    /// give it to the [`Decompressor`](motews::deflate::Decompressor) too.
    ///
    /// Where this request offers no extension, `accepted` is another's: nothing is compressed then.
    pub fn accept_compressed(&mut self, upgrade: Upgrade<'a>, accepted: Accepted) {
        // RFC 6455 §9.1: nothing that was not offered [HS15]
        let is_offered = upgrade.extensions(accepted.response.as_str()).is_ok();
        self.accept_with(upgrade, Extension(is_offered.then_some(accepted)));
    }
}

impl<R: Role, H> WebSocket<'_, R, H> {
    /// The compression that both sides of the open connection have agreed on; `None`: none, or the
    /// connection is not open.
    #[must_use]
    pub const fn agreed(&self) -> Option<Deflate> {
        match self.phase {
            Phase::Open(_) => self.agreed.0,
            _ => None,
        }
    }

    /// Writes frames of a compressed message into the transmit ring, with as much of `payload` as
    /// there is room for, and tells how much that was. Unless it was
    /// [`done`](CompressedSent::done), call it again with the rest. `fin` ends the message with the
    /// last octet of `payload`.
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
