//! What the programs over the embedded-io adapter share: an echo in both of its modes, and what it
//! takes to compress.

use core::time::Duration;
use std::time::Instant;

use embedded_io_adapters::std::FromStd;
use embedded_io_adapters::tokio_1::FromTokio;
use embedded_io_async::{Read, Write};
use motews::Millis;
use motews::deflate::{DeflateConfig, Deflater, Level};
use motews::{Chunk, Ended, Entropy, EntropyError, NoRoom, Role};
use motews_embedded_io::deflate::{Deflate, Memory};
use motews_embedded_io::{
    AsyncTime, Buffers, Clock, Error, Time, Timer, Untimed, asynch, blocking,
};

/// The blocking WebSocket over a socket of `std`.
pub type Threaded<'a, R, K = Untimed> = blocking::WebSocket<'a, FromStd<std::net::TcpStream>, R, K>;

/// The async WebSocket over a socket of Tokio.
pub type Tokio<'a, R, K = Untimed> = asynch::WebSocket<'a, FromTokio<tokio::net::TcpStream>, R, K>;

/// The buffers of a connection.
pub struct Owned {
    receive: Vec<u8>,
    transmit: Vec<u8>,
}

impl Owned {
    /// Two of `len` bytes.
    #[must_use]
    pub fn new(len: usize) -> Self {
        Self {
            receive: vec![0; len],
            transmit: vec![0; len],
        }
    }

    /// Lends them to a WebSocket.
    pub fn lend(&mut self) -> Buffers<'_> {
        Buffers {
            receive: &mut self.receive,
            transmit: &mut self.transmit,
        }
    }
}

/// What it takes to compress.
pub struct OwnedDeflate {
    config: DeflateConfig,
    window: Vec<u8>,
    deflater: Vec<u8>,
    parts: Vec<u8>,
}

impl OwnedDeflate {
    /// Enough for `config`.
    #[must_use]
    pub fn new(config: DeflateConfig) -> Self {
        Self {
            config,
            window: vec![0; config.receive.window_bits.size()],
            deflater: vec![0; Deflater::<Vec<u8>>::full_memory(config.send.window_bits)],
            parts: vec![0; 4096],
        }
    }

    /// The compression of a connection.
    ///
    /// # Errors
    /// None: there is memory enough.
    pub fn lend(&mut self) -> Result<Deflate<'_>, NoRoom> {
        let memory = Memory {
            window: &mut self.window,
            deflater: &mut self.deflater,
            parts: &mut self.parts,
        };
        Deflate::new(self.config, Level::Default, memory)
    }
}

/// The time, as Tokio has it.
pub struct TokioTime(Instant);

impl TokioTime {
    /// Begins now.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "two of them are not the same")]
    pub fn new() -> Self {
        Self(Instant::now())
    }
}

impl Clock for TokioTime {
    fn now(&mut self) -> Millis {
        Millis(self.0.elapsed().as_millis() as u32)
    }
}

impl Timer for TokioTime {
    async fn wait(&mut self, millis: u32) {
        tokio::time::sleep(Duration::from_millis(millis.into())).await;
    }
}

/// The operating system's random numbers.
pub struct Os;

impl Entropy for Os {
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), EntropyError> {
        getrandom::fill(bytes).map_err(|_| EntropyError)
    }
}

/// The longest message that an echo takes, in bytes: as long as those of the other echoes.
pub const MAX_MESSAGE_LEN: u64 = 16 << 20;

/// What is kept for the next long message, in bytes.
const KEPT: usize = 64 << 10;

/// Sends back each message when all of it has come, for a client may send all of it before it reads.
/// Short replies are gathered, and written when all of a read is answered.
///
/// # Errors
/// Those of the connection.
pub fn echo(ws: &mut Threaded<'_, impl Role, impl Time>) -> Result<(), Error<std::io::Error>> {
    let mut parts = Vec::new();
    while let Some((chunk, reply)) = ws.next_chunk()? {
        let Some(mut rest) = whole(&mut parts, &chunk) else {
            continue;
        };
        loop {
            match reply.send_fragment(chunk.kind, rest, true) {
                Ok(taken) => _ = rest.split_off(..taken),
                // Receiving comes to the same end.
                Err(Error::Ended(Ended::Closed { .. })) => break,
                Err(error) => return Err(error),
            }
            if rest.is_empty() {
                break;
            }
        }
        parts.clear();
        parts.shrink_to(KEPT);
    }
    Ok(())
}

/// The same, async.
///
/// # Errors
/// Those of the connection.
pub async fn echo_async<T: Read + Write>(
    ws: &mut asynch::WebSocket<'_, T, impl Role, impl AsyncTime>,
) -> Result<(), Error<T::Error>> {
    let mut parts = Vec::new();
    while let Some((chunk, reply)) = ws.next_chunk().await? {
        let Some(mut rest) = whole(&mut parts, &chunk) else {
            continue;
        };
        loop {
            match reply.send_fragment(chunk.kind, rest, true).await {
                Ok(taken) => _ = rest.split_off(..taken),
                Err(Error::Ended(Ended::Closed { .. })) => break,
                Err(error) => return Err(error),
            }
            if rest.is_empty() {
                break;
            }
        }
        parts.clear();
        parts.shrink_to(KEPT);
    }
    Ok(())
}

/// The message that ends with `chunk`, copied only if it came in parts; `None`: it does not end.
fn whole<'a>(parts: &'a mut Vec<u8>, chunk: &'a Chunk<'_>) -> Option<&'a [u8]> {
    if chunk.first && chunk.last {
        return Some(chunk.bytes);
    }
    parts.extend_from_slice(chunk.bytes);
    chunk.last.then_some(parts.as_slice())
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::thread;

    use embedded_io_adapters::std::FromStd;
    use embedded_io_adapters::tokio_1::FromTokio;
    use motews::Server;

    use super::{Owned, Threaded, Tokio, TokioTime, echo, echo_async};

    const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\n\
        Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
        Sec-WebSocket-Version: 13\r\n\r\n";

    /// Writes a message of 16 MiB and a Close, and reads only then. What comes back, head included.
    fn write_all_then_read(mut stream: TcpStream) -> Vec<u8> {
        let mut wire = REQUEST.to_vec();
        wire.extend([0x82, 0xFF]);
        wire.extend((16_u64 << 20).to_be_bytes());
        wire.extend([0; 4]); // The mask changes nothing.
        wire.extend((0..16_u32 << 20).map(|n| (n >> 8) as u8));
        wire.extend([0x88, 0x80, 0, 0, 0, 0]);
        stream.write_all(&wire).expect("the server reads");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).expect("the server ends");
        answer
    }

    fn check(answer: &[u8]) {
        // In frames of some 16 KiB each, with 4 bytes of header.
        assert!(answer.len() > 16 << 20, "{} bytes", answer.len());
        assert!(answer.ends_with(&[0xFF, 0x88, 0]));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn echo_async_client_writes_all_before_it_reads_is_echoed() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await;
        let listener = listener.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let client = thread::spawn(move || {
            write_all_then_read(TcpStream::connect(address).expect("it listens"))
        });
        let (stream, _) = listener.accept().await.expect("a client");
        let mut buffers = Owned::new(16 << 10);
        let ws = Tokio::<'_, Server>::server(FromTokio::new(stream), buffers.lend());
        let mut ws = ws.expect("room").with_clock(TokioTime::new());
        ws.accept().await.expect("a request");
        echo_async(&mut ws).await.expect("a clean end");
        drop(ws);
        check(&client.join().expect("no panic"));
    }

    #[test]
    fn echo_client_writes_all_before_it_reads_is_echoed() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let client = thread::spawn(move || {
            write_all_then_read(TcpStream::connect(address).expect("it listens"))
        });
        let (stream, _) = listener.accept().expect("a client");
        let mut buffers = Owned::new(16 << 10);
        let ws = Threaded::<'_, Server>::server(FromStd::new(stream), buffers.lend());
        let mut ws = ws.expect("room");
        ws.accept().expect("a request");
        echo(&mut ws).expect("a clean end");
        drop(ws);
        check(&client.join().expect("no panic"));
    }
}
