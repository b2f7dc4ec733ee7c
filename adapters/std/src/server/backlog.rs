//! What a connection could not write yet.

use std::collections::VecDeque;
use std::io::IoSlice;

use super::frame::Frame;

/// How much is copied together into one part, in bytes.
const PART_LEN: usize = 64 * 1024;

/// How many parts are written at once.
pub(super) const MAX_SLICES: usize = 32;

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
    /// The bytes of memory that they take.
    pub(super) fn cost(&self) -> usize {
        self.len + self.parts.len() * Frame::OVERHEAD
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

    /// Appends the bytes of `frame` from `start` on, which are the first of the backlog if they
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

    /// The first `len` bytes were written.
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
    use motews::Message;

    use super::super::frame::Packing;
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
    fn backlog_of_copies_and_frames_advanced_byte_by_byte_gives_them_in_order() {
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
            assert_eq!(backlog.len, expected.len() - start);
            assert!(!backlog.is_empty());
            backlog.advance(1);
        }
        assert!(backlog.is_empty());
        assert_eq!(contents(&backlog), b"");
    }
}
