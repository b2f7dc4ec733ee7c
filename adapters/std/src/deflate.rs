//! permessage-deflate (RFC 7692) of one connection.

use motews::deflate::{
    Compressor, Decompressor, DeflateContext, DeflateParams, Deflated, Deflater, Level, WindowBits,
};
use motews::{Chunk, ProtocolViolation};

/// How much is inflated at a time, in bytes.
const INFLATE_CHUNK: usize = 16 * 1024;

/// Without context takeover, a message shorter than this does not get shorter, in bytes.
const WORTH_IT: usize = 40;

/// A longer message is sent as it is, in bytes: to compress it would keep others waiting for more
/// than some 30 milliseconds, the connections of a loop or the senders of a WebSocket.
const MAX_PACKED: usize = 2 << 20;

/// What compression saves: what a connection has received and sent so far.
///
/// `None` instead where nothing was agreed upon: nothing is counted there, and it takes no room.
///
/// ```no_run
/// use motews_std::{Connector, DeflateConfig};
///
/// let mut ws = Connector::new().deflate(DeflateConfig::DEFAULT).connect("ws://example.com/")?;
/// ws.send("Hello, hello, hello, hello, hello")?;
/// if let Some(traffic) = ws.traffic() {
///     assert_eq!(traffic.sent.plain, 33);
///     println!("sent {} bytes as {}", traffic.sent.plain, traffic.sent.wire);
/// }
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// What has come. A message that is arriving counts as far as it has arrived.
    pub received: Bytes,
    /// What was sent. What a [`Hub`](crate::Hub) sends to many counts for each of them.
    pub sent: Bytes,
}

/// How long messages were, and how long on the wire, in bytes. One that was not compressed counts
/// the same in both.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bytes {
    /// Messages, as the application has them.
    pub plain: u64,
    /// The payloads of their frames, compressed or not. The headers, 2 to 14 bytes for each frame,
    /// are not counted, nor are control frames.
    pub wire: u64,
}

impl Bytes {
    pub(crate) const fn add(&mut self, plain: usize, wire: usize) {
        self.plain += plain as u64;
        self.wire += wire as u64;
    }
}

/// Decompresses what is received.
#[derive(Debug)]
pub(crate) struct Inflate {
    decompressor: Decompressor<Box<[u8]>>,
    received: Bytes,
}

impl Inflate {
    /// Never `None`: the memory has the negotiated size.
    pub(crate) fn new(agreed: DeflateParams, max_message_len: u64) -> Option<Box<Self>> {
        let window = vec![0; agreed.receive.window_bits.size()].into_boxed_slice();
        let decompressor = Decompressor::new(window, agreed.receive, max_message_len);
        Some(Box::new(Self {
            decompressor: decompressor.ok()?,
            received: Bytes::default(),
        }))
    }

    /// Appends what `chunk` stands for to `message`, which grows by what comes out. Returns
    /// true if the message ends there.
    pub(crate) fn append(
        &mut self,
        chunk: Chunk<'_>,
        message: &mut Vec<u8>,
    ) -> Result<bool, ProtocolViolation> {
        let (before, payload) = (message.len(), chunk.bytes.len());
        let ended = self.inflate(chunk, message)?;
        self.received.add(message.len() - before, payload);
        Ok(ended)
    }

    /// What was received so far.
    pub(crate) const fn received(&self) -> Bytes {
        self.received
    }

    // [FR17] [PD27]
    fn inflate(
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
}

/// Compresses what is sent.
#[derive(Debug)]
pub(crate) struct Compress {
    compressor: Compressor<Box<[u8]>>,
    own: DeflateContext,
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

impl Compress {
    /// Never `None`: the memory has the negotiated size.
    pub(crate) fn new(agreed: DeflateParams) -> Option<Box<Self>> {
        let own = agreed.send;
        let memory = vec![0; memory(own.window_bits)].into_boxed_slice();
        Some(Box::new(Self {
            compressor: Compressor::new(memory, own, Level::Default).ok()?,
            own,
        }))
    }

    /// Compresses a whole message; `None` where it is better sent as it is.
    // [PD15]
    pub(crate) fn message(&mut self, mut payload: &[u8]) -> Option<Vec<u8>> {
        let len = payload.len();
        if len > MAX_PACKED || (!self.own.takeover && len < WORTH_IT) {
            return None;
        }
        let mut packed = Vec::new();
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
        (self.own.takeover || filled < len).then_some(packed)
    }

    /// No message refers to those before.
    pub(crate) const fn reset(&mut self) {
        self.compressor.reset();
    }
}
