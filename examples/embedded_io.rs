//! What the programs over the embedded-io adapter share: an echo in both of its modes, and what it
//! takes to compress.

use embedded_io_adapters::std::FromStd;
use embedded_io_adapters::tokio_1::FromTokio;
use motews::deflate::{DeflateConfig, Deflater};
use motews::{Entropy, EntropyError, Role, SendError};
use motews_embedded_io::deflate::Memory;
use motews_embedded_io::{AsyncTime, Error, Extension, Time, asynch, blocking};

/// The blocking WebSocket over a socket of `std`.
pub type Threaded<'a, R, K, X> =
    blocking::WebSocket<'a, FromStd<std::net::TcpStream>, R, Vec<u8>, Vec<u8>, K, X>;

/// The async WebSocket over a socket of Tokio.
pub type Tokio<'a, R, K, X> =
    asynch::WebSocket<'a, FromTokio<tokio::net::TcpStream>, R, Vec<u8>, Vec<u8>, K, X>;

/// The operating system's random numbers.
pub struct Os;

impl Entropy for Os {
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), EntropyError> {
        getrandom::fill(bytes).map_err(|_| EntropyError)
    }
}

/// Memory enough for `config`.
#[must_use]
pub fn memory(config: DeflateConfig) -> Memory<Vec<u8>, Vec<u8>, Vec<u8>> {
    Memory {
        window: vec![0; config.receive.window_bits.size()],
        deflater: vec![0; Deflater::<Vec<u8>>::full_memory(config.send.window_bits)],
        parts: vec![0; 4096],
    }
}

/// Sends back what it receives. Replies are gathered, and written when all of a read is answered.
///
/// # Errors
/// Those of the connection.
pub fn echo(
    ws: &mut Threaded<'_, impl Role, impl Time, impl Extension>,
) -> Result<(), Error<std::io::Error>> {
    while let Some((chunk, reply)) = ws.next_chunk()? {
        let mut rest = &*chunk.bytes;
        loop {
            match reply.send_fragment(chunk.kind, rest, chunk.last) {
                Ok(taken) => _ = rest.split_off(..taken),
                // After a Close nothing is sent, but something may still be received.
                Err(Error::Send(SendError::NotOpen)) => break,
                Err(error) => return Err(error),
            }
            if rest.is_empty() {
                break;
            }
        }
    }
    Ok(())
}

/// The same, async.
///
/// # Errors
/// Those of the connection.
pub async fn echo_async(
    ws: &mut Tokio<'_, impl Role, impl AsyncTime, impl Extension>,
) -> Result<(), Error<std::io::Error>> {
    while let Some((chunk, reply)) = ws.next_chunk().await? {
        let mut rest = &*chunk.bytes;
        loop {
            match reply.send_fragment(chunk.kind, rest, chunk.last).await {
                Ok(taken) => _ = rest.split_off(..taken),
                Err(Error::Send(SendError::NotOpen)) => break,
                Err(error) => return Err(error),
            }
            if rest.is_empty() {
                break;
            }
        }
    }
    Ok(())
}
