//! Replies that are written from where the messages lie.
//!
//! A handler often sends the very message that it was given. If that is long it is not copied: its
//! header is written in front of it, into the receive buffer, where the longer header of the masked
//! frame was. The next such reply moves up to the one before, by some bytes that are in the cache. So
//! what one read has brought is answered with one write from the buffer that it was read into.

use core::ops::Range;

use motews::FrameHeader;

/// Shorter messages are copied, in bytes: that takes no longer, as measured at 1 KiB.
pub(super) const MIN_LEN: usize = 4096;

/// The longest header of a frame that is not masked, in bytes.
const MAX_HEADER: usize = 10;

/// The replies of the connection that has its turn, one behind the other in the receive buffer.
#[derive(Debug, Default)]
pub(super) struct Replies {
    start: usize,
    end: usize,
    /// Where the message lies that the handler has.
    payload: usize,
    payload_len: usize,
    /// The header that it is sent with, if the handler has sent it.
    header: [u8; MAX_HEADER],
    header_len: u8,
}

/// What a handler may reply in place to.
#[derive(Debug)]
pub(super) struct Delivered<'a> {
    /// The message, if it can be sent from where it lies.
    pub(super) message: &'a [u8],
    /// The replies before it.
    pub(super) replies: &'a [u8],
}

impl<'a> Delivered<'a> {
    /// A message behind `header` bytes of its own frame, and these replies.
    #[inline]
    pub(super) const fn new(header: usize, message: &'a [u8], replies: &'a [u8]) -> Self {
        // If its header came in an earlier read, there may be no room for the new one.
        let needed = if message.len() > 0xFFFF {
            MAX_HEADER
        } else {
            4
        };
        if message.len() < MIN_LEN || header < needed {
            return Self::after(replies);
        }
        Self { message, replies }
    }

    /// A message that lies elsewhere, behind these replies.
    pub(super) const fn after(replies: &'a [u8]) -> Self {
        Self {
            message: &[],
            replies,
        }
    }

    /// Whether this payload is the message: not one that is equal, but the same memory.
    #[inline]
    pub(super) fn is(&self, payload: &[u8]) -> bool {
        !payload.is_empty() && core::ptr::eq(self.message, payload)
    }
}

impl Replies {
    #[inline]
    pub(super) const fn len(&self) -> usize {
        self.end - self.start
    }

    #[inline]
    pub(super) const fn range(&self) -> Range<usize> {
        self.start..self.end
    }

    /// Forgets the replies: they are written, or copied.
    #[inline]
    pub(super) const fn clear(&mut self) {
        self.start = 0;
        self.end = 0;
    }

    /// The handler gets a message, which lies there.
    #[inline]
    pub(super) const fn deliver(&mut self, payload: usize, len: usize) {
        self.payload = payload;
        self.payload_len = len;
    }

    /// The handler sends it.
    #[inline]
    pub(super) fn send(&mut self, header: &FrameHeader) {
        // There is room for all that is not masked.
        self.header_len = header.emit(&mut self.header).unwrap_or_default() as u8;
    }

    /// Whether the handler has sent it.
    #[inline]
    pub(super) const fn is_sent(&self) -> bool {
        self.header_len > 0
    }

    /// How much it is, with its header, if the handler has sent it.
    pub(super) fn sent_len(&self) -> usize {
        match usize::from(self.header_len) {
            0 => 0,
            header => header + self.payload_len,
        }
    }

    /// Takes its header back: it is copied.
    pub(super) fn take_header(&mut self) -> ([u8; MAX_HEADER], usize) {
        (self.header, core::mem::take(&mut self.header_len).into())
    }

    /// Appends it, when the handler has sent it.
    #[inline]
    pub(super) fn append(&mut self, buffer: &mut [u8]) {
        let (header, len) = self.take_header();
        if self.start == self.end {
            self.end = self.payload - len;
            self.start = self.end;
        } else {
            let payload = self.payload..self.payload + self.payload_len;
            buffer.copy_within(payload, self.end + len);
        }
        if let Some(room) = buffer.get_mut(self.end..self.end + len) {
            match room {
                [a, b, c, d] => [*a, *b, *c, *d] = [header[0], header[1], header[2], header[3]],
                room => room.copy_from_slice(&header[..len]),
            }
        }
        self.end += len + self.payload_len;
    }
}

#[cfg(test)]
mod tests {
    use motews::OpCode;

    use super::*;

    #[test]
    fn messages_that_are_sent_stay_where_they_are_or_move_up_to_those_before() {
        let header = FrameHeader {
            fin: true,
            rsv1: false,
            rsv2: false,
            rsv3: false,
            opcode: OpCode::Binary,
            mask: None,
            payload_len: 5000,
        };
        let mut buffer = Vec::new();
        for n in 1..=3 {
            // A masked header has 8 bytes.
            buffer.extend([n; 8]);
            buffer.extend([10 * n; 5000]);
        }
        let mut replies = Replies::default();
        for n in 0..3 {
            replies.deliver(5008 * n + 8, 5000);
            if n != 1 {
                replies.send(&header);
                assert_eq!(replies.sent_len(), 5004);
                replies.append(&mut buffer);
            }
        }
        // The first one has not moved.
        assert_eq!(replies.range(), 4..4 + 2 * 5004);
        let frame = |n: u8| [&[0x82, 126, 19, 136][..], &[10 * n; 5000]].concat();
        assert!(buffer[replies.range()] == [frame(1), frame(3)].concat());
        replies.clear();
        assert_eq!(replies.len(), 0);
    }
}
