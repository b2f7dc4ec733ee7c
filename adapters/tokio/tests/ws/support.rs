//! A peer that writes and reads frames by an encoding of its own, and streams that count and hold back.

use core::pin::Pin;
use core::sync::atomic::{AtomicUsize, Ordering};
use core::task::{Context, Poll};
use std::io;
use std::sync::Arc;

use motews_testkit::frame::{self, Frame};
use motews_tokio::role::{Client, Server};
use motews_tokio::{Acceptor, Connector, OsEntropy, WebSocketStream};
use tokio::io::{
    AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, DuplexStream, ReadBuf, duplex,
};

pub(crate) type ServerWs = WebSocketStream<DuplexStream, Server>;
pub(crate) type ClientWs = WebSocketStream<DuplexStream, Client<OsEntropy>>;

/// A server's connection and its peer, over a stream that holds so many bytes each way.
pub(crate) fn server(holds: usize) -> (ServerWs, Peer) {
    server_with(&Acceptor::new(), holds)
}

pub(crate) fn server_with(acceptor: &Acceptor, holds: usize) -> (ServerWs, Peer) {
    let (stream, peer) = duplex(holds);
    (acceptor.from_upgraded(stream, b""), Peer::new(peer))
}

/// Both ends of a connection.
pub(crate) fn both(holds: usize) -> (ServerWs, ClientWs) {
    let (one, other) = duplex(holds);
    let server = Acceptor::new().from_upgraded(one, b"");
    (server, Connector::new().from_upgraded(other, b""))
}

/// A client that masks with a fixed key.
pub(crate) struct Peer {
    pub(crate) stream: DuplexStream,
    read: Vec<u8>,
}

impl Peer {
    pub(crate) fn new(stream: DuplexStream) -> Self {
        let read = Vec::new();
        Self { stream, read }
    }

    pub(crate) async fn write(&mut self, frames: &[Frame]) {
        self.stream.write_all(&encode(frames)).await.unwrap();
    }

    /// The next frame; `None` at the end.
    pub(crate) async fn read(&mut self) -> Option<Frame> {
        loop {
            if let Some(frame) = take_frame(&mut self.read) {
                return Some(frame);
            }
            let mut bytes = [0; 4096];
            match self.stream.read(&mut bytes).await {
                Ok(0) | Err(_) => return None,
                Ok(len) => self.read.extend_from_slice(&bytes[..len]),
            }
        }
    }

    /// Puts back what was read by other means.
    pub(crate) fn unread(&mut self, bytes: Vec<u8>) {
        self.read = bytes;
    }

    /// Answers the Close, and reads to the end.
    pub(crate) async fn finish(&mut self) {
        self.write(&[frame::close(1000, "")]).await;
        while self.read().await.is_some() {}
    }
}

/// Frames as a client writes them.
pub(crate) fn encode(frames: &[Frame]) -> Vec<u8> {
    let frames = frames.iter();
    frames
        .flat_map(|frame| frame.encode(Some(frame::KEY)))
        .collect()
}

/// Takes a whole frame off the start of what was read.
pub(crate) fn take_frame(bytes: &mut Vec<u8>) -> Option<Frame> {
    let mut rest = &bytes[..];
    let (frame, _) = Frame::read(&mut rest).ok()?;
    let used = bytes.len() - rest.len();
    bytes.drain(..used);
    Some(frame)
}

/// Bytes that are different everywhere.
pub(crate) fn payload(len: usize) -> Vec<u8> {
    (0..251).cycle().take(len).collect()
}

/// A stream that counts its reads and writes.
pub(crate) struct Counting<S> {
    pub(crate) inner: S,
    pub(crate) counts: Arc<Counts>,
}

#[derive(Default)]
pub(crate) struct Counts {
    pub(crate) writes: AtomicUsize,
}

impl Counts {
    pub(crate) fn writes(&self) -> usize {
        self.writes.load(Ordering::Relaxed)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Counting<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Counting<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write(cx, bytes);
        if written.is_ready() {
            self.counts.writes.fetch_add(1, Ordering::Relaxed);
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
