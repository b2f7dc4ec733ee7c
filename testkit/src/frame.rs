//! Frames by an encoding of their own.

use std::io::{self, Read};

/// The masking key of the examples in RFC 6455 §5.7.
pub const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// A masking key that leaves the payload legible.
pub const ZERO_KEY: [u8; 4] = [0; 4];

/// A frame: its first byte, and its payload before masking.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// FIN, RSV1 to RSV3 and the opcode.
    pub first: u8,
    /// The payload, unmasked.
    pub payload: Vec<u8>,
}

/// Makes a frame with this first byte.
#[must_use]
pub fn frame(first: u8, payload: impl AsRef<[u8]>) -> Frame {
    let payload = payload.as_ref().to_vec();
    Frame { first, payload }
}

/// Makes a text message in one frame.
#[must_use]
pub fn text(payload: impl AsRef<[u8]>) -> Frame {
    frame(0x81, payload)
}

/// Makes a binary message in one frame.
#[must_use]
pub fn binary(payload: impl AsRef<[u8]>) -> Frame {
    frame(0x82, payload)
}

/// Makes the last frame of a message.
#[must_use]
pub fn continuation(payload: impl AsRef<[u8]>) -> Frame {
    frame(0x80, payload)
}

/// Makes a Close with a code and a reason.
#[must_use]
pub fn close(code: u16, reason: &str) -> Frame {
    frame(0x88, [&code.to_be_bytes(), reason.as_bytes()].concat())
}

/// Makes a Close without a code.
#[must_use]
pub fn empty_close() -> Frame {
    frame(0x88, "")
}

/// Makes a ping.
#[must_use]
pub fn ping(payload: impl AsRef<[u8]>) -> Frame {
    frame(0x89, payload)
}

/// Makes a pong.
#[must_use]
pub fn pong(payload: impl AsRef<[u8]>) -> Frame {
    frame(0x8A, payload)
}

impl Frame {
    /// Clears FIN: more of the message follows.
    #[must_use]
    pub fn more(mut self) -> Self {
        self.first &= 0x7F;
        self
    }

    /// Sets RSV1: the message is compressed.
    #[must_use]
    pub fn compressed(mut self) -> Self {
        self.first |= 0x40;
        self
    }

    /// Returns the code of a Close; `None` for any other frame, and for a Close without one.
    #[must_use]
    pub fn close_code(&self) -> Option<u16> {
        match (self.first, self.payload.as_slice()) {
            (0x88, [high, low, ..]) => Some(u16::from_be_bytes([*high, *low])),
            _ => None,
        }
    }

    /// Returns the frame as it is on the wire, masked if there is a key.
    #[must_use]
    pub fn encode(&self, key: Option<[u8; 4]>) -> Vec<u8> {
        encode(self.first, &self.payload, key)
    }

    /// Reads one whole frame, and its masking key, from the start of `wire`. Leaves what follows.
    ///
    /// # Panics
    /// If there is no whole frame, or its length is not in the fewest bytes.
    pub fn decode(wire: &mut &[u8]) -> (Self, Option<[u8; 4]>) {
        Self::read(wire).expect("a whole frame")
    }

    /// Reads one whole frame, and its masking key.
    ///
    /// # Errors
    /// Those of the stream, [`UnexpectedEof`](io::ErrorKind::UnexpectedEof) if it ends before the
    /// frame, and [`InvalidData`](io::ErrorKind::InvalidData) if the length is not in the fewest
    /// bytes.
    pub fn read(stream: &mut impl Read) -> io::Result<(Self, Option<[u8; 4]>)> {
        let [first, second] = array(stream)?;
        let (len, fewest) = match second & 0x7F {
            126 => (u16::from_be_bytes(array(stream)?).into(), 126),
            127 => (u64::from_be_bytes(array(stream)?), 65_536),
            len => (len.into(), 0),
        };
        if len < fewest {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let key = if second & 0x80 == 0 {
            None
        } else {
            Some(array(stream)?)
        };
        let mut payload = Vec::new();
        if stream.take(len).read_to_end(&mut payload)? as u64 != len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        mask(&mut payload, key);
        Ok((Self { first, payload }, key))
    }
}

fn array<const N: usize>(stream: &mut impl Read) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    stream.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn mask(payload: &mut [u8], key: Option<[u8; 4]>) {
    for (byte, key) in payload.iter_mut().zip(key.iter().flatten().cycle()) {
        *byte ^= key;
    }
}

/// Returns a header that announces `len` bytes of payload, whether they follow or not.
#[must_use]
pub fn header(first: u8, len: u64, key: Option<[u8; 4]>) -> Vec<u8> {
    let masked = if key.is_some() { 0x80 } else { 0 };
    let mut wire = vec![first];
    match len {
        0..=125 => wire.push(masked | len as u8),
        126..=65_535 => {
            wire.push(masked | 126);
            wire.extend((len as u16).to_be_bytes());
        }
        _ => {
            wire.push(masked | 127);
            wire.extend(len.to_be_bytes());
        }
    }
    wire.extend(key.iter().flatten());
    wire
}

/// Returns a frame as it is on the wire, masked if there is a key.
#[must_use]
pub fn encode(first: u8, payload: &[u8], key: Option<[u8; 4]>) -> Vec<u8> {
    let mut wire = header(first, payload.len() as u64, key);
    let start = wire.len();
    wire.extend(payload);
    mask(&mut wire[start..], key);
    wire
}

/// Returns a frame as a client sends it, masked with [`KEY`].
#[must_use]
pub fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    encode(first, payload, Some(KEY))
}

/// Returns a frame as a server sends it.
#[must_use]
pub fn unmasked(first: u8, payload: &[u8]) -> Vec<u8> {
    encode(first, payload, None)
}
