//! Every future of a server is dropped whenever it waits, and made anew: over streams of several kinds,
//! with compression, whole and in halves. Its client is not disturbed, and gets the echo of all that it
//! sends.

use core::future::poll_fn;
use core::pin::{Pin, pin};
use core::task::{Context, Poll, ready};
use core::time::Duration;
use std::io;

use futures_util::StreamExt as _;
use motews_tokio::{Acceptor, CloseCode, Connector, Message, Utf8Bytes, WebSocketStream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf, duplex};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use crate::support::payload;

/// Runs `op` until it has waited more than `patience` times. It is dropped then.
async fn cut_short<T>(patience: usize, op: impl AsyncFnOnce() -> T) -> Option<T> {
    let mut waits = 0;
    let mut running = pin!(op());
    poll_fn(|cx| match running.as_mut().poll(cx) {
        Poll::Ready(done) => Poll::Ready(Some(done)),
        Poll::Pending if waits >= patience => Poll::Ready(None),
        Poll::Pending => {
            waits += 1;
            Poll::Pending
        }
    })
    .await
}

/// Runs `op` to its end. Each time that it has waited more than `patience` times, it is dropped, and begun
/// anew a little later: a sender that is dropped leaves nothing behind that would wake its task.
async fn chopped<T>(patience: usize, mut op: impl AsyncFnMut() -> T) -> T {
    loop {
        match cut_short(patience, &mut op).await {
            Some(done) => return done,
            None => sleep(Duration::from_millis(1)).await,
        }
    }
}

/// How the server receives.
#[derive(Clone, Copy, Debug)]
enum Receives {
    Recv,
    Next,
    Chunks,
}

/// How the server sends.
#[derive(Clone, Copy, Debug)]
enum Sends {
    Feed,
    Reserve,
    /// What is dropped may have been taken, and is sent again once.
    Send,
}

/// A server's future, which is dropped after so many waits.
#[derive(Clone, Copy, Debug)]
struct How(usize, Receives, Sends);

impl How {
    fn all() -> impl Iterator<Item = Self> {
        let ways = [
            (Receives::Recv, Sends::Feed),
            (Receives::Next, Sends::Reserve),
            (Receives::Chunks, Sends::Send),
        ];
        let with = move |patience| ways.map(|(receives, sends)| Self(patience, receives, sends));
        [0, 1, 3].into_iter().flat_map(with)
    }
}

/// Receives a message of `$ws`.
macro_rules! receive {
    ($ws:expr, $how:expr) => {
        match $how.1 {
            Receives::Recv => chopped($how.0, async || $ws.recv().await).await.unwrap(),
            Receives::Next => {
                let next = chopped($how.0, async || $ws.next().await).await;
                next.map(Result::unwrap)
            }
            Receives::Chunks => {
                let mut bytes = Vec::new();
                loop {
                    let chunk = chopped($how.0, async || $ws.next_chunk().await).await;
                    let Some(chunk) = chunk.unwrap() else {
                        assert!(bytes.is_empty());
                        break None;
                    };
                    assert_eq!(chunk.first, bytes.is_empty());
                    bytes.extend_from_slice(&chunk.bytes);
                    if chunk.last {
                        break Some(match chunk.kind {
                            motews_tokio::DataKind::Text => {
                                Message::Text(Utf8Bytes::from(String::from_utf8(bytes).unwrap()))
                            }
                            motews_tokio::DataKind::Binary => bytes.into(),
                        });
                    }
                }
            }
        }
    };
}

async fn whole<S: AsyncRead + AsyncWrite + Unpin>(mut ws: WebSocketStream<S>, how: How) {
    while let Some(message) = receive!(ws, how) {
        match how.2 {
            Sends::Feed => chopped(how.0, async || ws.feed(message.clone()).await).await,
            Sends::Reserve => {
                let reserved = chopped(how.0, async || ws.reserve().await.map(drop)).await;
                reserved.and(ws.reserve().await.unwrap().send(message))
            }
            Sends::Send => match cut_short(how.0, async || ws.send(message.clone()).await).await {
                Some(sent) => sent,
                None => ws.send(message).await,
            },
        }
        .unwrap();
        chopped(how.0, async || ws.flush().await).await.unwrap();
    }
    assert!(chopped(how.0, async || ws.closed().await).await.is_clean());
}

async fn halves<S: AsyncRead + AsyncWrite + Unpin>(ws: WebSocketStream<S>, how: How) {
    let (sender, mut receiver) = ws.split();
    let (queue, mut queued) = mpsc::unbounded_channel::<Message>();
    let sending = async {
        while let Some(message) = queued.recv().await {
            match how.2 {
                Sends::Send => {
                    match cut_short(how.0, async || sender.send(message.clone()).await).await {
                        Some(sent) => sent,
                        None => sender.send(message).await,
                    }
                }
                _ => {
                    let reserved = chopped(how.0, async || sender.reserve().await.map(drop)).await;
                    reserved.and(sender.reserve().await.unwrap().send(message))
                }
            }
            .unwrap();
            chopped(how.0, async || sender.flush().await).await.unwrap();
        }
        assert!(
            chopped(how.0, async || sender.closed().await)
                .await
                .is_clean()
        );
    };
    let receiving = async {
        while let Some(message) = receive!(receiver, how) {
            queue.send(message).unwrap();
        }
        drop(queue);
    };
    tokio::join!(sending, receiving);
}

fn messages() -> Vec<Message> {
    let text = "Grüße an alle! ".repeat(500);
    vec![
        "Hello".into(),
        payload(5000).into(),
        Message::binary(""),
        text.into(),
        payload(20_000).into(),
        "bye".into(),
    ]
}

/// A client that sends all, receives all, and closes.
async fn client<S: AsyncRead + AsyncWrite + Unpin>(connector: &Connector, stream: S, how: How) {
    let ws = connector
        .connect_over(stream, "ws://localhost/")
        .await
        .unwrap();
    let (sender, mut receiver) = ws.split();
    let messages = messages();
    let sending = async {
        for message in &messages {
            sender.send(message.clone()).await.unwrap();
        }
    };
    let receiving = async {
        let mut received = Vec::new();
        while received.last() != messages.last() {
            let message = receiver.recv().await.unwrap().unwrap();
            if received.last() != Some(&message) {
                received.push(message);
            }
        }
        assert!(received == messages, "{how:?}");
        sender.close(CloseCode::NORMAL, "").unwrap();
        // What the server has sent again.
        assert!(receiver.closed().await.is_clean());
    };
    tokio::join!(sending, receiving);
}

/// A stream that buffers what is written, as TLS does, and reads nothing before that has left.
struct Buffering<S> {
    inner: S,
    buffer: Vec<u8>,
}

impl<S: AsyncWrite + Unpin> Buffering<S> {
    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.buffer.is_empty() {
            let written = ready!(Pin::new(&mut self.inner).poll_write(cx, &self.buffer))?;
            self.buffer.drain(..written);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Buffering<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(self.poll_drain(cx))?;
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Buffering<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.buffer.len() > 100 {
            ready!(self.poll_drain(cx))?;
        }
        let len = bytes.len().min(100);
        self.buffer.extend_from_slice(&bytes[..len]);
        Poll::Ready(Ok(len))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_drain(cx))?;
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_drain(cx))?;
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

/// Runs a server over `stream`, whole or in halves, with its client.
async fn talk<S, C>(acceptor: &Acceptor, stream: S, client: C, how: How, is_split: bool)
where
    S: AsyncRead + AsyncWrite + Unpin,
    C: Future<Output = ()>,
{
    let serving = async {
        let ws = acceptor.accept(stream).await.unwrap();
        match is_split {
            true => halves(ws, how).await,
            false => whole(ws, how).await,
        }
    };
    let both = async { tokio::join!(serving, client) };
    let done = timeout(Duration::from_secs(25), both).await;
    assert!(done.is_ok(), "{how:?}, halves: {is_split}");
}

async fn over_memory(acceptor: &Acceptor, connector: &Connector) {
    for holds in [300, 3000] {
        for how in How::all() {
            for is_split in [false, true] {
                let (server, other) = duplex(holds);
                let client_side = client(connector, other, how);
                talk(acceptor, server, client_side, how, is_split).await;
                let (server, other) = duplex(holds);
                let server = Buffering {
                    inner: server,
                    buffer: Vec::new(),
                };
                let client_side = client(connector, other, how);
                talk(acceptor, server, client_side, how, is_split).await;
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn server_whose_futures_are_dropped_echoes_also_if_a_read_waits_for_a_write() {
    over_memory(&Acceptor::new(), &Connector::new()).await;
}

#[cfg(feature = "deflate")]
#[tokio::test(start_paused = true)]
async fn server_whose_futures_are_dropped_echoes_compressed_messages() {
    use motews_tokio::DeflateConfig;

    let acceptor = Acceptor::new().deflate(DeflateConfig::DEFAULT);
    let connector = Connector::new().deflate(DeflateConfig::DEFAULT);
    over_memory(&acceptor, &connector).await;
}

#[cfg(feature = "tls")]
#[tokio::test(start_paused = true)]
async fn server_whose_futures_are_dropped_echoes_over_tls() {
    use tokio_rustls::{TlsAcceptor, TlsConnector};

    let authority = motews_testkit::authority::Authority::new();
    let server_config = std::sync::Arc::new(authority.server("localhost", None));
    let client_config = authority.client(None);
    for how in How::all() {
        for is_split in [false, true] {
            let (server, other) = duplex(3000);
            let (server, other) = tokio::join!(
                TlsAcceptor::from(server_config.clone()).accept(server),
                TlsConnector::from(client_config.clone())
                    .connect("localhost".try_into().unwrap(), other),
            );
            let connector = Connector::new();
            let client_side = client(&connector, other.unwrap(), how);
            Box::pin(talk(
                &Acceptor::new(),
                server.unwrap(),
                client_side,
                how,
                is_split,
            ))
            .await;
        }
    }
}
