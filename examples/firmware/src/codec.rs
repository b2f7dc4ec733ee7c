//! Compression, for so many connections at a time as there is memory for. Whoever comes while it is in
//! use is served without.

use heapless::Vec;
use motews::deflate::{
    Compressor, Decompressor, DeflateConfig, DeflateContext, DeflateParams, Deflater, Level,
    WindowBits,
};
use motews::{Chunk, CloseCode, DataKind, Message, MessageBuffer, ProtocolViolation, SendError};
use motews_smoltcp::ServerSocket;
use smoltcp::socket::tcp::Socket;
use static_cell::ConstStaticCell;

/// Connections that compress at once.
pub(crate) const CODECS: usize = 2;
/// A KiB for each direction.
const BITS: WindowBits = match WindowBits::new(10) {
    Some(bits) => bits,
    None => WindowBits::MIN,
};
const CONTEXT: DeflateContext = DeflateContext {
    window_bits: BITS,
    takeover: true,
};
/// What the board agrees to.
pub(crate) const DEFLATE: DeflateConfig = DeflateConfig {
    send: CONTEXT,
    receive: CONTEXT,
};

/// A little more than the least.
const MEMORY: usize = Deflater::<&mut [u8]>::min_memory(BITS) + 384;
/// Bytes that are read at a time, and inflated at a time.
const READ: usize = 64;
const PART: usize = 256;

/// All of a connection's compression, windows and buffers included: at most 6 KiB.
const _: () = assert!(size_of::<Codec>() + BITS.size() + MEMORY <= 6 * 1024);

/// All there are.
pub(crate) type Codecs = Vec<Codec, CODECS>;

/// What a connection needs to compress, and for an echo that does.
#[derive(Debug)]
pub(crate) struct Codec {
    is_used: bool,
    decompressor: Decompressor<&'static mut [u8]>,
    compressor: Compressor<&'static mut [u8]>,
    pub(crate) received: Octets,
    pub(crate) sent: Octets,
    kind: DataKind,
    /// The chunk that is being inflated, which has left the receive ring.
    chunk: Option<Kept>,
    /// What came of it, and is on its way back from `at` on.
    part: [u8; PART],
    at: usize,
    len: usize,
    /// The message ends with this part.
    last: bool,
    /// There is a part.
    pends: bool,
}

/// What compression saves in one direction.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Octets {
    /// Bytes of messages.
    pub(crate) messages: u64,
    /// Bytes of the frames that these were in, without their headers.
    pub(crate) payloads: u64,
}

/// A chunk that was copied.
#[derive(Debug)]
struct Kept {
    bytes: Vec<u8, READ>,
    first: bool,
    last: bool,
}

impl Codec {
    /// All there are. `None` the second time.
    // Not in the caller's frame, where it would take stack for ever.
    #[inline(never)]
    pub(crate) fn take() -> Option<&'static mut Codecs> {
        static ALL: ConstStaticCell<Codecs> = ConstStaticCell::new(Vec::new());
        static MEMORIES: ConstStaticCell<[([u8; BITS.size()], [u8; MEMORY]); CODECS]> =
            ConstStaticCell::new([([0; BITS.size()], [0; MEMORY]); CODECS]);

        let codecs = ALL.try_take()?;
        for (window, memory) in MEMORIES.try_take()? {
            let codec = Self {
                is_used: false,
                decompressor: Decompressor::new(&mut window[..], CONTEXT, u64::MAX).ok()?,
                compressor: Compressor::new(&mut memory[..], CONTEXT, Level::Fast).ok()?,
                received: Octets::default(),
                sent: Octets::default(),
                kind: DataKind::Binary,
                chunk: None,
                part: [0; PART],
                at: 0,
                len: 0,
                last: false,
                pends: false,
            };
            codecs.push(codec).ok()?;
        }
        Some(codecs)
    }

    /// Has a connection use one, as was agreed there, and tells which. `None`: all are in use.
    pub(crate) fn begin(codecs: &mut Codecs, agreed: DeflateParams) -> Option<usize> {
        let free = codecs.iter().position(|codec| !codec.is_used)?;
        let codec = codecs.get_mut(free)?;
        codec.decompressor.reset_with(agreed.receive).ok()?;
        codec.compressor.reset_with(agreed.send).ok()?;
        codec.is_used = true;
        (codec.received, codec.sent) = (Octets::default(), Octets::default());
        codec.chunk = None;
        codec.pends = false;
        Some(free)
    }

    /// That connection has ended.
    pub(crate) const fn end(&mut self) {
        self.is_used = false;
    }

    // ---- whole messages ----

    /// Takes a chunk, and gives the message where it is whole now.
    pub(crate) fn push<'a, const N: usize>(
        &mut self,
        buffer: &'a mut MessageBuffer<[u8; N]>,
        chunk: Chunk<'a>,
    ) -> Result<Option<Message<'a>>, ProtocolViolation> {
        self.received.payloads += chunk.bytes.len() as u64;
        let message = buffer.push_inflated(chunk, &mut self.decompressor)?;
        if let Some(message) = &message {
            self.received.messages += message.as_bytes().len() as u64;
        }
        Ok(message)
    }

    /// Sends a message, or not: where there is no room for it.
    pub(crate) fn send(
        &mut self,
        server: &mut ServerSocket<'static>,
        tcp: &mut Socket<'_>,
        text: &str,
    ) {
        // Some of it may not be shorter than it was, and the ring may wrap.
        if server.send_room(tcp) < 2 * text.len() {
            return;
        }
        let kind = DataKind::Text;
        match server.send_compressed(tcp, &mut self.compressor, kind, text.as_bytes(), true) {
            Ok(sent) if sent.done => {
                self.sent.messages += sent.consumed as u64;
                self.sent.payloads += sent.compressed as u64;
            }
            // Never: there was room.
            Ok(_) => _ = server.close(CloseCode::INTERNAL_ERROR, ""),
            // It is not open any more.
            Err(_) => {}
        }
    }

    // ---- an echo, part by part ----

    /// Bytes of payload that can be taken now.
    pub(crate) const fn room(&self) -> usize {
        if self.pends || self.chunk.is_some() {
            0
        } else {
            READ
        }
    }

    /// Takes a chunk of as much as there is [`room`](Self::room) for.
    pub(crate) fn put(&mut self, chunk: Chunk<'_>) {
        self.kind = chunk.kind;
        let (first, last) = (chunk.first, chunk.last);
        self.received.payloads += chunk.bytes.len() as u64;
        if chunk.compressed {
            let bytes = Vec::from_slice(chunk.bytes).unwrap_or_default();
            self.chunk = Some(Kept { bytes, first, last });
        } else {
            for (to, from) in self.part.iter_mut().zip(&*chunk.bytes) {
                *to = *from;
            }
            (self.at, self.len) = (0, chunk.bytes.len());
            (self.last, self.pends) = (last, true);
            self.received.messages += self.len as u64;
        }
    }

    /// Sends back what there is room for.
    pub(crate) fn poll(
        &mut self,
        server: &mut ServerSocket<'static>,
        tcp: &mut Socket<'_>,
    ) -> Result<(), ProtocolViolation> {
        loop {
            if self.pends {
                let rest = self.part.get(self.at..self.len).unwrap_or_default();
                let sent =
                    server.send_compressed(tcp, &mut self.compressor, self.kind, rest, self.last);
                match sent {
                    Ok(sent) => {
                        self.sent.messages += sent.consumed as u64;
                        self.sent.payloads += sent.compressed as u64;
                        self.at += sent.consumed;
                        self.pends = !sent.done;
                    }
                    Err(SendError::NoRoom) => {}
                    // It is no more wanted.
                    Err(_) => self.pends = false,
                }
                if self.pends {
                    return Ok(());
                }
            }
            let Some(kept) = &mut self.chunk else {
                return Ok(());
            };
            let before = kept.bytes.len();
            let mut chunk = Chunk::compressed(self.kind, &mut kept.bytes, kept.first, kept.last);
            let part = self.decompressor.next(&mut chunk, &mut self.part)?;
            let part = part.map(|part| (part.bytes.len(), part.last));
            (kept.first, kept.last) = (chunk.first, chunk.last);
            let rest = chunk.bytes.len();
            kept.bytes.rotate_left(before - rest);
            kept.bytes.truncate(rest);
            match part {
                Some((len, last)) => {
                    (self.at, self.len) = (0, len);
                    (self.last, self.pends) = (last, true);
                    self.received.messages += len as u64;
                }
                None => self.chunk = None,
            }
        }
    }
}
