//! A message in its frame, made once.

use std::sync::Arc;

use motews::{DataKind, FrameHeader, Message, OpCode};

/// A whole frame, which many connections may share.
#[derive(Clone, Debug)]
pub(super) struct Frame(Arc<FrameBytes>);

#[derive(Debug)]
struct FrameBytes {
    kind: DataKind,
    packing: Packing,
    /// The handler of the connection sends it: it counts against what that may send.
    answer: bool,
    /// Where the payload begins.
    start: u8,
    /// How long the message is, which may be compressed here.
    message_len: usize,
    bytes: Vec<u8>,
}

/// What compression means for a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Packing {
    /// It may be compressed before it is sent.
    Allowed,
    /// It is sent as it is.
    Plain,
    /// It is compressed, and refers to no message before.
    Packed,
}

impl Frame {
    /// The bytes of memory that a frame takes beside its own: two places in a queue that grows by
    /// doubling, the counters of an `Arc`, and what an allocator needs for two blocks. So an empty
    /// message is not free.
    pub(super) const OVERHEAD: usize =
        2 * size_of::<Self>() + 2 * size_of::<usize>() + size_of::<FrameBytes>() + 2 * 16;

    /// The one frame of a message.
    pub(super) fn new(message: Message<'_>, packing: Packing) -> Self {
        let payload = message.as_bytes();
        Self::build(message.kind(), packing, payload, payload.len(), false)
    }

    /// The same, of what the handler of the connection sends.
    pub(super) fn answer(kind: DataKind, packing: Packing, payload: &[u8]) -> Self {
        Self::build(kind, packing, payload, payload.len(), true)
    }

    /// The one frame of a message that was compressed to `payload`.
    pub(super) fn packed(message: Message<'_>, payload: &[u8]) -> Self {
        let message_len = message.as_bytes().len();
        Self::build(message.kind(), Packing::Packed, payload, message_len, false)
    }

    /// The one frame of a server's message (RFC 6455 §5.2): not masked.
    // [FR02]
    fn build(
        kind: DataKind,
        packing: Packing,
        payload: &[u8],
        message_len: usize,
        answer: bool,
    ) -> Self {
        let header = FrameHeader {
            fin: true,
            // RFC 7692 §6: the message is compressed [PD13]
            rsv1: packing == Packing::Packed,
            rsv2: false,
            rsv3: false,
            opcode: match kind {
                DataKind::Text => OpCode::Text,
                DataKind::Binary => OpCode::Binary,
            },
            mask: None,
            payload_len: payload.len() as u64,
        };
        let mut bytes = Vec::with_capacity(header.wire_len() + payload.len());
        let mut head = [0; FrameHeader::MAX_LEN];
        // There is room for the longest header.
        let start = header.emit(&mut head).unwrap_or_default();
        bytes.extend_from_slice(&head[..start]);
        bytes.extend_from_slice(payload);
        Self(Arc::new(FrameBytes {
            kind,
            packing,
            answer,
            start: start as u8,
            message_len,
            bytes,
        }))
    }

    pub(super) fn kind(&self) -> DataKind {
        self.0.kind
    }

    pub(super) fn packing(&self) -> Packing {
        self.0.packing
    }

    /// What it costs if the handler of the connection sends it, and otherwise 0.
    pub(super) fn answer_cost(&self) -> usize {
        if self.0.answer { self.cost() } else { 0 }
    }

    pub(super) fn message_len(&self) -> usize {
        self.0.message_len
    }

    pub(super) fn payload(&self) -> &[u8] {
        &self.0.bytes[usize::from(self.0.start)..]
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.0.bytes
    }

    /// The bytes of memory that the frame takes while it waits.
    pub(super) fn cost(&self) -> usize {
        Self::OVERHEAD + self.0.bytes.len()
    }
}
