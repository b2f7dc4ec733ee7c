//! One whole session of a client over TLS, the same each time, so that it can be recorded once and replayed
//! on any chip: TLS with verification, the upgrade, an echo, the Close.
//!
//! The client's random numbers are always the same. So is its first message then, the keys are, and a
//! server's recorded answers can be decrypted again.

use core::cell::Cell;
use core::convert::Infallible;
use core::future::{pending, poll_fn};
use core::task::Poll;

use embedded_io_async::{ErrorType, Read, Write};
use motews::handshake::Request;
use motews::{CloseCode, Entropy, EntropyError, Message, MessageBuffer, Millis};
use motews_embedded_io::asynch::WebSocket;
use motews_embedded_io::tls::{
    MAX_RECORD, Pump, TlsBuffers, TlsConfig, TlsError, TlsStream, TlsTime, Trust,
};
use motews_embedded_io::{Buffers, Clock, Duplex, Error, Timer};

/// Bytes of the message that is echoed.
const MESSAGE: usize = 400;

/// Random numbers that are always the same.
#[derive(Clone, Copy, Debug)]
pub struct Fixed(pub u32);

impl Entropy for Fixed {
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), EntropyError> {
        for byte in bytes {
            self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            *byte = (self.0 >> 24) as u8;
        }
        Ok(())
    }
}

/// A time that stands still.
#[derive(Clone, Copy, Debug)]
pub struct Stopped;

impl Clock for Stopped {
    fn now(&mut self) -> Millis {
        Millis(0)
    }
}

impl Timer for Stopped {
    async fn wait(&mut self, _: u32) {
        pending().await
    }
}

/// The memory of a session, as `examples/firmware/src/bin/wss.rs` has it.
#[derive(Debug)]
pub struct Memory {
    /// For a record that arrives.
    pub read: [u8; MAX_RECORD],
    /// For a record that is sent.
    pub write: [u8; 1024],
    /// Between TLS and the WebSocket.
    pub rings: [[u8; 512]; 2],
    /// Of the WebSocket.
    pub buffers: [[u8; 512]; 2],
    /// For a message.
    pub message: [u8; MESSAGE],
}

impl Memory {
    /// Empty memory.
    pub const EMPTY: Self = Self {
        read: [0; MAX_RECORD],
        write: [0; 1024],
        rings: [[0; 512]; 2],
        buffers: [[0; 512]; 2],
        message: [0; MESSAGE],
    };
}

/// Returns the settings.
#[must_use]
pub const fn config<'a>(authorities: &'a [&'a [u8]], built: u64) -> TlsConfig<'a> {
    TlsConfig::new(
        "localhost",
        Trust::Authorities(authorities),
        TlsTime::Built(built),
    )
}

/// Returns the session of TLS.
pub fn pump<'a, Rd: Read, Wr: Write<Error = Rd::Error>>(
    pump: Pump<'a>,
    transport: Duplex<Rd, Wr>,
    records: TlsBuffers<'a>,
    config: &'a TlsConfig<'a>,
) -> impl Future<Output = Result<(), TlsError>> {
    pump.run(transport, records, config, Fixed(1), Stopped)
}

/// The WebSocket: opens, has a message echoed, and closes.
///
/// # Errors
/// How it ended otherwise.
pub async fn talk(
    stream: TlsStream<'_>,
    buffers: Buffers<'_>,
    message: &mut [u8],
    opened: impl FnOnce(),
) -> Result<(), Error<TlsError>> {
    let request = Request::new("localhost", "/")?;
    let mut ws = WebSocket::client(stream, buffers, request, Fixed(2))?.with_clock(Stopped);
    ws.connect().await?;
    opened();
    let text = [b'.'; MESSAGE];
    let text = core::str::from_utf8(&text).unwrap_or_default();
    ws.send(Message::Text(text)).await?;
    let mut messages = MessageBuffer::new(message);
    let echo = ws.recv(&mut messages).await?;
    assert!(echo == Some(Message::Text(text)), "no echo");
    ws.close(CloseCode::NORMAL, "")?;
    ws.closed().await.map(|_| ())
}

/// A session's recording: an authority, and when what a server said can be read.
///
/// The file has the time of the build as a `u64`, the length of the authority's certificate as a `u32`,
/// the certificate, and then for each part of what the server said: how many bytes the client must have
/// written before, how many are read then, and those. All numbers are little-endian.
#[derive(Clone, Copy, Debug)]
pub struct Recording<'a> {
    /// Not before this time, in seconds since 1970.
    pub built: u64,
    /// The certificate of the authority.
    pub authority: &'a [u8],
    /// The parts.
    pub parts: &'a [u8],
}

impl<'a> Recording<'a> {
    /// Reads a file.
    #[must_use]
    pub fn read(file: &'a [u8]) -> Option<Self> {
        let (built, file) = file.split_first_chunk()?;
        let (len, file) = file.split_first_chunk()?;
        let (authority, parts) = file.split_at_checked(u32::from_le_bytes(*len) as usize)?;
        Some(Self {
            built: u64::from_le_bytes(*built),
            authority,
            parts,
        })
    }
}

/// What the server said, when it did.
#[derive(Debug)]
pub struct Said<'a> {
    written: &'a Cell<usize>,
    /// What can be read.
    part: &'a [u8],
    /// And what comes after it.
    parts: &'a [u8],
}

/// What the client says, which is counted.
#[derive(Debug)]
pub struct Counted<'a> {
    written: &'a Cell<usize>,
}

/// Returns the transport that replays a recording.
#[must_use]
pub const fn replay<'a>(
    parts: &'a [u8],
    written: &'a Cell<usize>,
) -> Duplex<Said<'a>, Counted<'a>> {
    Duplex {
        reader: Said {
            written,
            part: &[],
            parts,
        },
        writer: Counted { written },
    }
}

impl Said<'_> {
    /// Goes on to the next part, if it is due. `None` if not.
    fn next(&mut self) -> Option<()> {
        if self.part.is_empty()
            && let Some((after, rest)) = self.parts.split_first_chunk()
            && let Some((len, rest)) = rest.split_first_chunk()
        {
            if self.written.get() < u32::from_le_bytes(*after) as usize {
                return None;
            }
            let (part, rest) = rest.split_at_checked(u32::from_le_bytes(*len) as usize)?;
            (self.part, self.parts) = (part, rest);
        }
        Some(())
    }
}

impl ErrorType for Said<'_> {
    type Error = Infallible;
}

impl Read for Said<'_> {
    async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Infallible> {
        poll_fn(|_| {
            if self.next().is_none() {
                return Poll::Pending;
            }
            let len = self.part.len().min(buffer.len());
            let (now, later) = self.part.split_at(len);
            for (place, byte) in buffer.iter_mut().zip(now) {
                *place = *byte;
            }
            self.part = later;
            Poll::Ready(Ok(len))
        })
        .await
    }
}

impl ErrorType for Counted<'_> {
    type Error = Infallible;
}

impl Write for Counted<'_> {
    async fn write(&mut self, bytes: &[u8]) -> Result<usize, Infallible> {
        self.written.set(self.written.get() + bytes.len());
        Ok(bytes.len())
    }

    async fn flush(&mut self) -> Result<(), Infallible> {
        Ok(())
    }
}
