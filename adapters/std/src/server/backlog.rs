//! What a connection could not write yet.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::sync::Arc;

use motews::{DataKind, FrameHeader, Message, OpCode};

/// How much is copied together into one part, in octets.
const PART_LEN: usize = 64 * 1024;

/// How many parts are written at once.
pub(super) const MAX_SLICES: usize = 32;

/// A whole frame, which many connections may have in their backlogs.
#[derive(Clone, Debug)]
pub(super) struct Frame(Arc<FrameBytes>);

#[derive(Debug)]
struct FrameBytes {
    kind: DataKind,
    packing: Packing,
    /// The loop itself sends it, and not another thread.
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
    /// The one frame of a message.
    pub(super) fn new(message: Message<'_>, packing: Packing) -> Self {
        let payload = message.as_bytes();
        Self::build(message.kind(), packing, payload, payload.len(), false)
    }

    /// The same, of what the loop itself sends.
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

    /// Its octets if the loop itself sends it, and else none.
    pub(super) fn answer_len(&self) -> usize {
        if self.0.answer { self.0.bytes.len() } else { 0 }
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

    /// What the frame takes of a backlog's limit: that of an empty message is not free.
    pub(super) fn cost(&self) -> usize {
        size_of::<Self>() + size_of::<FrameBytes>() + self.0.bytes.len()
    }
}

#[derive(Debug)]
enum Part {
    Own(Vec<u8>),
    Shared(Frame),
}

impl Part {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Own(bytes) => bytes,
            Self::Shared(frame) => frame.bytes(),
        }
    }
}

/// Bytes in the order in which they are to be written.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    parts: VecDeque<Part>,
    /// How much of the first part is written already.
    written: usize,
    len: usize,
}

impl Backlog {
    /// Octets that wait.
    pub(super) const fn len(&self) -> usize {
        self.len
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Appends a copy.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        self.len += bytes.len();
        match self.parts.back_mut() {
            Some(Part::Own(part)) if part.len() + bytes.len() <= PART_LEN => {
                part.extend_from_slice(bytes);
            }
            _ => self.parts.push_back(Part::Own(bytes.to_vec())),
        }
    }

    /// Appends the octets of `frame` from `start` on, which are the first of the backlog if they
    /// are not all.
    pub(super) fn push_frame(&mut self, frame: &Frame, start: usize) {
        let rest = frame.bytes().len() - start;
        if rest == 0 {
            return;
        }
        if self.parts.is_empty() {
            self.written = start;
            self.len = rest;
            self.parts.push_back(Part::Shared(frame.clone()));
        } else if start == 0 {
            self.len += rest;
            self.parts.push_back(Part::Shared(frame.clone()));
        } else {
            self.push(&frame.bytes()[start..]);
        }
    }

    /// The first parts, and how many they are.
    pub(super) fn slices<'a>(&'a self, out: &mut [IoSlice<'a>; MAX_SLICES]) -> usize {
        let mut count = 0;
        let mut skip = self.written;
        for (slice, part) in out.iter_mut().zip(&self.parts) {
            *slice = IoSlice::new(&part.bytes()[skip..]);
            skip = 0;
            count += 1;
        }
        count
    }

    /// The first `len` octets were written.
    pub(super) fn advance(&mut self, len: usize) {
        self.len -= len;
        self.written += len;
        while let Some(part) = self.parts.front()
            && part.bytes().len() <= self.written
        {
            self.written -= part.bytes().len();
            self.parts.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contents(backlog: &Backlog) -> Vec<u8> {
        let mut slices = [IoSlice::new(&[]); MAX_SLICES];
        let count = backlog.slices(&mut slices);
        slices[..count]
            .iter()
            .flat_map(|slice| slice.to_vec())
            .collect()
    }

    #[test]
    fn backlog_of_copies_and_frames_advanced_octet_by_octet_gives_them_in_order() {
        let frame = Frame::new(Message::Text("Hello"), Packing::Allowed);
        let mut backlog = Backlog::default();
        backlog.push_frame(&frame, 3);
        backlog.push(b"abc");
        backlog.push(b"");
        backlog.push(b"d");
        backlog.push_frame(&frame, 0);
        backlog.push_frame(&frame, 5);
        backlog.push_frame(&frame, 7);
        let expected = b"elloabcd\x81\x05Hellolo";
        for start in 0..expected.len() {
            assert_eq!(contents(&backlog), &expected[start..]);
            assert_eq!(backlog.len(), expected.len() - start);
            assert!(!backlog.is_empty());
            backlog.advance(1);
        }
        assert!(backlog.is_empty());
        assert_eq!(contents(&backlog), b"");
    }
}
