//! permessage-deflate (RFC 7692) of one connection.

use bytes::Bytes;
use motews::deflate::{
    Compressor, Decompressor, DeflateParams, Deflated, Deflater, Level, WindowBits,
};
use motews::{Chunk, ProtocolViolation};

/// How much is inflated at a time, in bytes.
const INFLATE_CHUNK: usize = 16 * 1024;

/// Without context takeover, a message shorter than this does not get shorter, in bytes.
const WORTH_IT: usize = 40;

/// A longer message is sent as it is, in bytes: to compress it would keep the other tasks of a thread
/// waiting for more than some 20 milliseconds.
const MAX_DEFLATED: usize = 2 << 20;

/// Both directions.
#[derive(Debug)]
pub(crate) struct Deflate {
    compressor: Compressor<Box<[u8]>>,
    agreed: DeflateParams,
    decompressor: Decompressor<Box<[u8]>>,
    max_message_len: u64,
}

/// The memory to compress with a window of this size, in bytes: for a large one, an eighth less
/// than could be used, which would gain 2 %.
const fn memory(bits: WindowBits) -> usize {
    let full = Deflater::<Box<[u8]>>::full_memory(bits);
    if bits.bits() < 12 {
        full
    } else {
        full - bits.size()
    }
}

impl Deflate {
    /// Never `None`: the memory has the negotiated size.
    pub(crate) fn new((agreed, max_message_len): (DeflateParams, u64)) -> Option<Box<Self>> {
        let own = agreed.send;
        let memory = vec![0; memory(own.window_bits)].into_boxed_slice();
        let window = vec![0; agreed.receive.window_bits.size()].into_boxed_slice();
        Some(Box::new(Self {
            compressor: Compressor::new(memory, own, Level::Default).ok()?,
            agreed,
            decompressor: Decompressor::new(window, agreed.receive, max_message_len).ok()?,
            max_message_len,
        }))
    }

    pub(crate) const fn agreed(&self) -> DeflateParams {
        self.agreed
    }

    /// Appends what `chunk` stands for to `message`, which grows by what comes out. Returns whether the
    /// message ends there.
    // [FR17] [PD27]
    pub(crate) fn inflate(
        &mut self,
        mut chunk: Chunk<'_>,
        message: &mut Vec<u8>,
    ) -> Result<bool, ProtocolViolation> {
        let mut ended = false;
        if !chunk.compressed {
            while let Some(part) = self.decompressor.next(&mut chunk, &mut [])? {
                message.extend_from_slice(part.bytes);
                ended |= part.last;
            }
            return Ok(ended);
        }
        let mut len = message.len();
        let room = (4 * chunk.bytes.len()).clamp(256, INFLATE_CHUNK);
        loop {
            message.resize(len + room, 0);
            let Some(part) = self.decompressor.next(&mut chunk, &mut message[len..])? else {
                break;
            };
            ended |= part.last;
            len += part.bytes.len();
        }
        message.truncate(len);
        Ok(ended)
    }

    /// Compresses a whole message; `None` if it is better sent as it is.
    // [PD15]
    pub(crate) fn deflate(&mut self, payload: &[u8]) -> Option<Bytes> {
        let len = payload.len();
        if len > MAX_DEFLATED || (!self.agreed.send.takeover && len < WORTH_IT) {
            return None;
        }
        let deflated = self.deflate_part(payload, true);
        (self.agreed.send.takeover || deflated.len() < len).then_some(deflated)
    }

    /// Compresses a part of a message. Some of it may come out with the next part only.
    pub(crate) fn deflate_part(&mut self, mut payload: &[u8], fin: bool) -> Bytes {
        let mut deflated = Vec::new();
        let mut filled = 0;
        loop {
            deflated.resize(filled + payload.len() / 2 + 64, 0);
            let compressor = &mut self.compressor;
            let done = compressor.compress(&mut payload, fin, &mut deflated, &mut filled);
            if done == Deflated::All {
                break;
            }
        }
        deflated.truncate(filled);
        deflated.into()
    }

    /// Sets whether messages may be of any length.
    pub(crate) const fn unlimit(&mut self, any: bool) {
        let limit = if any { u64::MAX } else { self.max_message_len };
        self.decompressor.set_max_message_len(limit);
    }

    /// No message refers to those before.
    pub(crate) const fn reset(&mut self) {
        self.compressor.reset();
    }
}
