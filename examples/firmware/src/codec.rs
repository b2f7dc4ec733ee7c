//! Compression, for one connection at a time: there is memory for no more. Whoever comes while it is
//! in use is served without.

use heapless::Vec;
use motews::deflate::{
    Accepted, Compressor, Context, Decompressor, Deflate, Deflater, Level, WindowBits,
};
use motews::{Chunk, DataKind, ProtocolViolation, SendError};
use motews_smoltcp::ServerSocket;
use smoltcp::socket::tcp::Socket;
use static_cell::{ConstStaticCell, StaticCell};

/// A KiB for each direction.
const BITS: WindowBits = match WindowBits::new(10) {
    Some(bits) => bits,
    None => WindowBits::MIN,
};
const CONTEXT: Context = Context {
    window_bits: BITS,
    takeover: true,
};
/// What the board agrees to.
pub(crate) const DEFLATE: Deflate = Deflate {
    send: CONTEXT,
    receive: CONTEXT,
};

/// A little more than the least.
const MEMORY: usize = Deflater::<&mut [u8]>::min_memory(BITS) + 384;
/// Octets that are read at a time, and inflated at a time.
const READ: usize = 64;
const PART: usize = 256;

/// The compressed echo of the one connection that has it.
#[derive(Debug)]
pub(crate) struct Codec {
    is_used: bool,
    decompressor: Decompressor<&'static mut [u8]>,
    compressor: Compressor<&'static mut [u8]>,
    kind: DataKind,
    /// The chunk that is being inflated, which has left the receive ring.
    chunk: Option<Kept>,
    /// What came of it, and is on its way back from `sent` on.
    part: [u8; PART],
    sent: usize,
    len: usize,
    /// The message ends with this part.
    last: bool,
    /// There is a part.
    pends: bool,
}

/// A chunk that was copied.
#[derive(Debug)]
struct Kept {
    bytes: Vec<u8, READ>,
    first: bool,
    last: bool,
}

impl Codec {
    /// The one there is. `None` the second time.
    // Not in the caller's frame, where it would take stack for ever.
    #[inline(never)]
    pub(crate) fn take() -> Option<&'static mut Self> {
        static CODEC: StaticCell<Codec> = StaticCell::new();
        static WINDOW: ConstStaticCell<[u8; BITS.size()]> = ConstStaticCell::new([0; BITS.size()]);
        static SPARE: ConstStaticCell<[u8; MEMORY]> = ConstStaticCell::new([0; MEMORY]);

        let window: &mut [u8] = WINDOW.try_take()?;
        let memory: &mut [u8] = SPARE.try_take()?;
        Some(CODEC.init(Self {
            is_used: false,
            decompressor: Decompressor::new(window, CONTEXT, u64::MAX).ok()?,
            compressor: Compressor::new(memory, CONTEXT, Level::Fast).ok()?,
            kind: DataKind::Binary,
            chunk: None,
            part: [0; PART],
            sent: 0,
            len: 0,
            last: false,
            pends: false,
        }))
    }

    /// Has a connection use it, as was agreed there. Says whether it may: no one else does.
    pub(crate) fn begin(&mut self, accepted: &Accepted) -> bool {
        let agreed = accepted.agreed;
        let begins = !self.is_used
            && self.decompressor.renew(agreed.receive).is_ok()
            && self.compressor.renew(agreed.send).is_ok();
        if begins {
            self.is_used = true;
            self.chunk = None;
            self.pends = false;
        }
        begins
    }

    /// That connection has ended.
    pub(crate) const fn end(&mut self) {
        self.is_used = false;
    }

    /// Octets of payload that can be taken now.
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
        if chunk.compressed {
            let bytes = Vec::from_slice(chunk.bytes).unwrap_or_default();
            self.chunk = Some(Kept { bytes, first, last });
        } else {
            for (to, from) in self.part.iter_mut().zip(&*chunk.bytes) {
                *to = *from;
            }
            (self.sent, self.len) = (0, chunk.bytes.len());
            (self.last, self.pends) = (last, true);
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
                let rest = self.part.get(self.sent..self.len).unwrap_or_default();
                let sent =
                    server.send_compressed(tcp, &mut self.compressor, self.kind, rest, self.last);
                match sent {
                    Ok(sent) if !sent.done => self.sent += sent.consumed,
                    Err(SendError::NoRoom) => {}
                    // All of it; or it is no more wanted.
                    _ => self.pends = false,
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
                    (self.sent, self.len) = (0, len);
                    (self.last, self.pends) = (last, true);
                }
                None => self.chunk = None,
            }
        }
    }
}
