//! The frame on the wire (RFC 6455 §5.2): what its header means, read and written.

use core::fmt;

use heapless::Vec;

use crate::error::{NoRoom, ProtocolViolation};
use crate::mask::Mask;

/// What a frame is (§5.2, §11.8).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[repr(u8)]
pub enum OpCode {
    /// The message goes on.
    Continuation = 0x0,
    /// A text message begins.
    Text = 0x1,
    /// A binary message begins.
    Binary = 0x2,
    /// The closing handshake.
    Close = 0x8,
    /// Are you there?
    Ping = 0x9,
    /// I am here.
    Pong = 0xA,
}

impl OpCode {
    /// The opcode in the low four bits of a frame's first byte; `None` where it is reserved.
    #[inline]
    #[must_use]
    pub const fn new(octet: u8) -> Option<Self> {
        Some(match octet & 0x0F {
            0x0 => Self::Continuation,
            0x1 => Self::Text,
            0x2 => Self::Binary,
            0x8 => Self::Close,
            0x9 => Self::Ping,
            0xA => Self::Pong,
            _ => return None,
        })
    }

    /// Whether this is a control frame (§5.5): its most significant bit is set.
    #[inline]
    #[must_use]
    pub const fn is_control(self) -> bool {
        self as u8 & 0x8 != 0
    }
}

/// A frame's header.
///
/// ```text
///  0                   1                   2                   3
///  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
/// +-+-+-+-+-------+-+-------------+-------------------------------+
/// |F|R|R|R| opcode|M| Payload len |    Extended payload length    |
/// |I|S|S|S|  (4)  |A|     (7)     |          (16 or 64)           |
/// |N|V|V|V|       |S|             |   (if payload len is 126/127) |
/// | |1|2|3|       |K|             |                               |
/// +-+-+-+-+-------+-+-------------+-------------------------------+
/// |           the masking key, if MASK is set (32)                |
/// +---------------------------------------------------------------+
/// ```
///
/// ```
/// use motews::{FrameHeader, OpCode};
///
/// let (header, len) = FrameHeader::parse(&[0x81, 0x05])?.expect("a whole header");
/// assert_eq!((header.opcode, header.payload_len, len), (OpCode::Text, 5, 2));
///
/// let mut out = [0; FrameHeader::MAX_LEN];
/// assert_eq!(header.emit(&mut out), Ok(2));
/// assert_eq!(FrameHeader::parse(&[0x81])?, None); // needs more
/// # Ok::<(), motews::ProtocolViolation>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct FrameHeader {
    /// The last frame of its message.
    pub fin: bool,
    /// Reserved bit 1; permessage-deflate marks a compressed message with it.
    pub rsv1: bool,
    /// Reserved bit 2.
    pub rsv2: bool,
    /// Reserved bit 3.
    pub rsv3: bool,
    /// What the frame is.
    pub opcode: OpCode,
    /// The masking key, in each frame of a client and in none of a server.
    pub mask: Option<[u8; 4]>,
    /// The payload's length in bytes, less than 2^63.
    pub payload_len: u64,
}

impl FrameHeader {
    /// The longest header, in bytes on the wire.
    pub const MAX_LEN: usize = 14;

    /// Reads the header that `bytes` begin with, and its length in bytes; `None` where it needs
    /// more bytes than these.
    ///
    /// Reserved bits and the masking bit are read, not checked: what they may be is for
    /// the [`Connection`](crate::Connection) to know.
    ///
    /// # Errors
    /// What no frame may have, as soon as `bytes` prove it.
    // [FR15]
    #[inline]
    pub fn parse(bytes: &[u8]) -> Result<Option<(Self, usize)>, ProtocolViolation> {
        let mut reader = FrameReader::new();
        for (index, byte) in bytes.iter().enumerate() {
            reader.push(*byte)?;
            if reader.len == 0 {
                let len = index.wrapping_add(1);
                return Ok(reader.header().map(|header| (header, len)));
            }
        }
        Ok(None)
    }

    /// The header's length in bytes on the wire, 2 to 14.
    #[inline]
    #[must_use]
    pub const fn wire_len(&self) -> usize {
        let len = match self.payload_len {
            0..126 => 2,
            126..=0xFFFF => 4,
            _ => 10,
        };
        if self.mask.is_some() { len + 4 } else { len }
    }

    /// Writes the header to the start of `out` and returns its length in bytes. The length stands
    /// in the fewest bytes possible.
    ///
    /// # Errors
    /// [`NoRoom`] where `out` is shorter than [`wire_len`](Self::wire_len).
    // [FR10] [FR11]
    #[inline]
    pub fn emit(&self, out: &mut [u8]) -> Result<usize, NoRoom> {
        let wire_len = self.wire_len();
        let Some([first, second, rest @ ..]) = out.get_mut(..wire_len) else {
            return Err(NoRoom);
        };
        *first = u8::from(self.fin) << 7
            | u8::from(self.rsv1) << 6
            | u8::from(self.rsv2) << 5
            | u8::from(self.rsv3) << 4
            | self.opcode as u8;
        let (rest, masked) = match (self.mask, rest) {
            (Some(key), [length @ .., a, b, c, d]) => {
                [*a, *b, *c, *d] = key;
                (length, 0x80)
            }
            (_, length) => (length, 0),
        };
        let mut len = self.payload_len;
        *second = masked
            | match rest.len() {
                0 => len as u8,
                2 => 126,
                _ => 127,
            };
        for byte in rest.iter_mut().rev() {
            *byte = len as u8;
            len >>= 8;
        }
        Ok(wire_len)
    }
}

/// A frame that arrives: its header byte by byte, so that an error shows at the first byte that proves
/// it, and then what of its payload is still to come.
#[derive(Clone, Debug)]
pub(crate) struct FrameReader {
    /// Bytes of payload still to come, once the header is whole.
    pub(crate) remaining: u64,
    pub(crate) mask: Mask,
    first: u8,
    /// How many bytes of the header have come; 0 once it is whole.
    pub(crate) len: u8,
    /// The length of the header without the masking key, and with it.
    mask_at: u8,
    header_len: u8,
}

impl FrameReader {
    pub(crate) const fn new() -> Self {
        Self {
            remaining: 0,
            mask: Mask::new([0; 4]),
            first: 0,
            len: 0,
            mask_at: 0,
            header_len: 0,
        }
    }

    /// Takes the next byte of the header. [`len`](Self::len) is 0 then if that was the last one.
    #[cfg_attr(target_pointer_width = "64", inline)]
    #[cfg_attr(not(target_pointer_width = "64"), inline(never))] // smaller on a Cortex-M
    pub(crate) fn push(&mut self, byte: u8) -> Result<(), ProtocolViolation> {
        self.len = self.len.wrapping_add(1);
        if self.len == 1 {
            self.first = byte;
            // RFC 6455 §5.2: an unknown opcode fails the connection [FR09]
            if byte & 0x07 > 2 {
                return Err(ProtocolViolation::ReservedOpCode);
            }
            // RFC 6455 §5.5: control frames are never fragmented [FR13]
            if byte & 0x88 == 0x08 {
                return Err(ProtocolViolation::FragmentedControl);
            }
            return Ok(());
        }
        // RFC 6455 §5.2: a length of 7, 7+16 or 7+64 bits, in network order [FR10]
        if self.len == 2 {
            let short_len = byte & 0x7F;
            // RFC 6455 §5.5: a control frame carries at most 125 bytes [FR14]
            if self.is_control() && short_len > 125 {
                return Err(ProtocolViolation::ControlTooLong);
            }
            (self.mask_at, self.remaining) = match short_len {
                126 => (4, 0),
                127 => (10, 0),
                _ => (2, short_len.into()),
            };
            self.header_len = self.mask_at.wrapping_add(byte >> 7 << 2);
            self.mask = Mask::new([0; 4]);
        } else if self.len > self.mask_at {
            self.mask.push(byte);
        } else {
            self.remaining = self.remaining << 8 | u64::from(byte);
            match (self.len, self.mask_at) {
                // RFC 6455 §5.2: the most significant bit is 0 [FR12]
                (3, 10) if byte & 0x80 != 0 => return Err(ProtocolViolation::LengthOverflow),
                // RFC 6455 §5.2: in the fewest bytes [FR11]
                (4, 4) if self.remaining < 126 => return Err(ProtocolViolation::LengthNotMinimal),
                (8, _) if self.remaining == 0 => return Err(ProtocolViolation::LengthNotMinimal),
                _ => {}
            }
        }
        if self.len == self.header_len {
            self.len = 0;
        }
        Ok(())
    }

    #[inline]
    pub(crate) const fn fin(&self) -> bool {
        self.first & 0x80 != 0
    }

    #[inline]
    pub(crate) const fn rsv1(&self) -> bool {
        self.first & 0x40 != 0
    }

    #[inline]
    pub(crate) const fn is_control(&self) -> bool {
        self.first & 0x08 != 0
    }

    #[inline]
    pub(crate) fn is(&self, opcode: OpCode) -> bool {
        self.first & 0x0F == opcode as u8
    }

    fn header(&self) -> Option<FrameHeader> {
        Some(FrameHeader {
            fin: self.fin(),
            rsv1: self.rsv1(),
            rsv2: self.first & 0x20 != 0,
            rsv3: self.first & 0x10 != 0,
            opcode: OpCode::new(self.first)?,
            mask: (self.header_len > self.mask_at).then_some(self.mask.key()),
            payload_len: self.remaining,
        })
    }
}

/// The payload of a control frame, by value: at most 125 bytes (§5.5).
#[derive(Clone, Default, PartialEq, Eq)]
pub struct ControlPayload(Vec<u8, 125, u8>);

impl ControlPayload {
    /// The greatest length of a control frame's payload, in bytes.
    pub const MAX_LEN: usize = 125;

    /// A payload of these bytes; `None` where they are too many.
    #[must_use]
    pub fn new(bytes: &[u8]) -> Option<Self> {
        let mut payload = Self::default();
        payload.extend(bytes).then_some(payload)
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_slice()
    }

    /// Leaves the first `len` bytes.
    pub(crate) fn truncate(&mut self, len: usize) {
        self.0.truncate(len);
    }

    /// Appends `bytes` if there is room for all of them, and returns whether there was.
    pub(crate) fn extend(&mut self, bytes: &[u8]) -> bool {
        self.0.extend_from_slice(bytes).is_ok()
    }
}

impl AsRef<[u8]> for ControlPayload {
    fn as_ref(&self) -> &[u8] {
        self.as_bytes()
    }
}

impl fmt::Debug for ControlPayload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.as_bytes().escape_ascii())
    }
}
