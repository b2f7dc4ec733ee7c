//! Messages whose length is not known when they begin (RFC 6455 §5.4).

use core::fmt;
use std::io;

use motews::{Client, DataKind, Role};

use super::received::Received;
use super::socket::WebSocket;
use crate::connect::net::NetStream;
use crate::entropy::OsEntropy;
use crate::error::{RecvError, SendError};
use crate::transport::Transport;

impl<S: Transport, R: Role> WebSocket<S, R> {
    /// Begins a text message whose length is not known yet (§5.4). See [`TextWriter`].
    pub const fn stream_text(&mut self) -> TextWriter<'_, S, R> {
        TextWriter(Fragments::new(self, DataKind::Text))
    }

    /// Begins a binary message whose length is not known yet (§5.4). See [`BinaryWriter`].
    pub const fn stream_binary(&mut self) -> BinaryWriter<'_, S, R> {
        BinaryWriter(Fragments::new(self, DataKind::Binary))
    }
}

/// A frame is sent when this much has come together, in bytes.
const FRAGMENT_LEN: usize = 16 * 1024;

struct Fragments<'a, S: Transport, R: Role> {
    socket: &'a mut WebSocket<S, R>,
    kind: DataKind,
    buffer: Vec<u8>,
    /// A frame of the message was sent.
    begun: bool,
    finished: bool,
}

impl<'a, S: Transport, R: Role> Fragments<'a, S, R> {
    const fn new(socket: &'a mut WebSocket<S, R>, kind: DataKind) -> Self {
        Self {
            socket,
            kind,
            buffer: Vec::new(),
            begun: false,
            finished: false,
        }
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), SendError> {
        if self.buffer.len() + bytes.len() < FRAGMENT_LEN {
            self.buffer.extend_from_slice(bytes);
            return Ok(());
        }
        self.flush()?;
        // What is long enough needs no copy.
        if bytes.len() < FRAGMENT_LEN {
            self.buffer.extend_from_slice(bytes);
            return Ok(());
        }
        self.send(bytes, false)
    }

    fn flush(&mut self) -> Result<(), SendError> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let mut buffer = core::mem::take(&mut self.buffer);
        let sent = self.send(&buffer, false);
        if sent.is_ok() {
            buffer.clear();
        }
        self.buffer = buffer;
        sent
    }

    fn send(&mut self, bytes: &[u8], fin: bool) -> Result<(), SendError> {
        self.socket
            .send_fragment(self.kind, bytes, fin, self.begun)?;
        self.begun = true;
        self.finished = fin;
        Ok(())
    }

    fn finish(mut self) -> Result<(), SendError> {
        let buffer = core::mem::take(&mut self.buffer);
        self.send(&buffer, true)
    }
}

impl<S: Transport, R: Role> Drop for Fragments<'_, S, R> {
    fn drop(&mut self) {
        if self.begun && !self.finished {
            self.socket.abandon_message();
        }
    }
}

/// A binary message that is being sent piece by piece: [`WebSocket::stream_binary`].
///
/// It leaves in fragments of 16 KiB or more, or as [`flush`](io::Write::flush) cuts it. Other
/// threads' messages wait until it is finished. Dropped unfinished, it was never begun if nothing
/// of it was sent; otherwise the peer must not take what it has for a message, so the connection
/// closes with the code 1011.
///
/// A write that fails with [`SendError::InboundFull`] has taken nothing:
/// [receive](Self::try_recv), then write the same again.
///
/// ```
/// # fn f(mut ws: motews_std::WebSocket) -> Result<(), Box<dyn std::error::Error>> {
/// let mut file = std::fs::File::open("film.mp4")?;
/// let mut message = ws.stream_binary();
/// std::io::copy(&mut file, &mut message)?;
/// message.finish()?;
/// # Ok(()) }
/// ```
pub struct BinaryWriter<'a, S: Transport = NetStream, R: Role = Client<OsEntropy>>(
    Fragments<'a, S, R>,
);

impl<S: Transport, R: Role> io::Write for BinaryWriter<'_, S, R> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.0.write(buf)?;
        Ok(buf.len())
    }

    /// Sends what has come together so far as a fragment.
    fn flush(&mut self) -> io::Result<()> {
        Ok(self.0.flush()?)
    }
}

/// A text message that is being sent piece by piece: [`WebSocket::stream_text`]. All else is as
/// with a [`BinaryWriter`].
///
/// ```
/// # fn f(mut ws: motews_std::WebSocket) -> Result<(), Box<dyn std::error::Error>> {
/// use core::fmt::Write as _;
///
/// let mut message = ws.stream_text();
/// for n in 0..1_000_000 {
///     write!(message, "{n},")?;
/// }
/// message.finish()?;
/// # Ok(()) }
/// ```
pub struct TextWriter<'a, S: Transport = NetStream, R: Role = Client<OsEntropy>>(
    Fragments<'a, S, R>,
);

impl<S: Transport, R: Role> TextWriter<'_, S, R> {
    /// Adds to the message.
    ///
    /// # Errors
    /// As [`WebSocket::send`].
    pub fn write(&mut self, text: &str) -> Result<(), SendError> {
        self.0.write(text.as_bytes())
    }

    /// Sends what has come together so far as a fragment.
    ///
    /// # Errors
    /// As [`WebSocket::send`].
    pub fn flush(&mut self) -> Result<(), SendError> {
        self.0.flush()
    }
}

/// The error hides its reason; that of [`TextWriter::write`] does not.
impl<S: Transport, R: Role> fmt::Write for TextWriter<'_, S, R> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.write(text).map_err(|_| fmt::Error)
    }
}

/// What both have.
macro_rules! writer {
    ($writer:ident) => {
        impl<S: Transport, R: Role> $writer<'_, S, R> {
            /// Receives a message while this one is being sent: see
            /// [`WebSocket::try_recv`](crate::WebSocket::try_recv).
            ///
            /// # Errors
            /// As [`WebSocket::recv`](crate::WebSocket::recv).
            pub fn try_recv(&mut self) -> Result<Received, RecvError> {
                self.0.socket.try_recv()
            }

            /// Ends the message. The last fragment is taken even if it cannot be written now, as with
            /// a non-blocking stream: so this never fails with `WouldBlock` or
            /// [`SendError::InboundFull`].
            ///
            /// # Errors
            /// As [`WebSocket::send`] otherwise.
            pub fn finish(self) -> Result<(), SendError> {
                self.0.finish()
            }
        }

        impl<S: Transport, R: Role> fmt::Debug for $writer<'_, S, R> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(stringify!($writer))
            }
        }
    };
}
writer!(BinaryWriter);
writer!(TextWriter);
