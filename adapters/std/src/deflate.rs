//! permessage-deflate (RFC 7692) of one connection.

use motews::deflate::{Compressor, Context, Decompressor, Deflate, Deflated, Deflater, Level};
use motews::{Chunk, ProtocolViolation};

/// How much is inflated at a time, in octets.
const INFLATE_CHUNK: usize = 16 * 1024;

/// Without context takeover, a message shorter than this does not get shorter, in octets.
const WORTH_IT: usize = 40;

/// Decompresses what is received.
#[derive(Debug)]
pub(crate) struct Inflate(Decompressor<Box<[u8]>>);

impl Inflate {
    /// `None` where there is no room, which there is.
    pub(crate) fn new(agreed: Deflate, max_message_len: usize) -> Option<Box<Self>> {
        let window = vec![0; agreed.receive.window_bits.size()].into_boxed_slice();
        let decompressor = Decompressor::new(window, agreed.receive, max_message_len as u64);
        Some(Box::new(Self(decompressor.ok()?)))
    }

    /// Appends what `chunk` stands for to `message`, which grows by what comes out; tells whether
    /// the message ends there.
    // [FR17] [PD27]
    pub(crate) fn append(
        &mut self,
        mut chunk: Chunk<'_>,
        message: &mut Vec<u8>,
    ) -> Result<bool, ProtocolViolation> {
        let mut ended = false;
        if !chunk.compressed {
            while let Some(part) = self.0.next(&mut chunk, &mut [])? {
                message.extend_from_slice(part.bytes);
                ended |= part.last;
            }
            return Ok(ended);
        }
        let mut len = message.len();
        let room = (4 * chunk.bytes.len()).clamp(256, INFLATE_CHUNK);
        loop {
            message.resize(len + room, 0);
            let Some(part) = self.0.next(&mut chunk, &mut message[len..])? else {
                break;
            };
            ended |= part.last;
            len += part.bytes.len();
        }
        message.truncate(len);
        Ok(ended)
    }
}

/// Compresses what is sent.
#[derive(Debug)]
pub(crate) struct Compress {
    compressor: Compressor<Box<[u8]>>,
    own: Context,
    /// What a message was compressed to.
    packed: Vec<u8>,
}

impl Compress {
    /// `None` where there is no room, which there is.
    pub(crate) fn new(agreed: Deflate) -> Option<Box<Self>> {
        let own = agreed.send;
        let memory = Deflater::<Box<[u8]>>::full_memory(own.window_bits);
        let memory = vec![0; memory].into_boxed_slice();
        Some(Box::new(Self {
            compressor: Compressor::new(memory, own, Level::Default).ok()?,
            own,
            packed: Vec::new(),
        }))
    }

    /// Compresses a whole message; `None` where it is better sent as it is.
    // [PD15]
    pub(crate) fn message(&mut self, mut payload: &[u8]) -> Option<Vec<u8>> {
        let len = payload.len();
        if !self.own.takeover && len < WORTH_IT {
            return None;
        }
        let mut packed = core::mem::take(&mut self.packed);
        let mut filled = 0;
        loop {
            packed.resize(filled + payload.len() / 2 + 64, 0);
            let done = self
                .compressor
                .compress(&mut payload, true, &mut packed, &mut filled);
            if done == Deflated::All {
                break;
            }
        }
        packed.truncate(filled);
        if !self.own.takeover && filled >= len {
            self.recycle(packed);
            return None;
        }
        Some(packed)
    }

    /// No message refers to those before.
    pub(crate) const fn reset(&mut self) {
        self.compressor.reset();
    }

    /// Keeps the buffer for the next message, if it is not all too large.
    pub(crate) fn recycle(&mut self, mut packed: Vec<u8>) {
        packed.clear();
        packed.shrink_to(4 * INFLATE_CHUNK);
        self.packed = packed;
    }
}
