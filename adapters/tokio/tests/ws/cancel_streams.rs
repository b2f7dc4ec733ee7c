//! Every future of one side is dropped whenever it waits, and made anew: a server's and a client's, over
//! streams of several kinds, with compression, whole and in halves. The other side is not disturbed, and
//! gets the echo of all that it sends.

use core::future::poll_fn;
use core::pin::{Pin, pin};
use core::task::{Context, Poll, ready};
use core::time::Duration;
use std::io;

use futures_util::StreamExt as _;
use motews::Role;
use motews_tokio::{Acceptor, CloseCode, Connector, DataKind, Message, Utf8Bytes, WebSocketStream};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf, duplex};
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

/// How the disturbed side receives.
#[derive(Clone, Copy, Debug)]
enum Receives {
    Recv,
    Next,
    Chunks,
    Stream,
}

/// How the disturbed side sends.
#[derive(Clone, Copy, Debug)]
enum Sends {
    Feed,
    Reserve,
    /// What is dropped may have been taken, and is sent again once.
    Send,
    /// The same, as it is.
    Uncompressed,
    Stream,
}

/// A future of the disturbed side, which is dropped after so many waits.
#[derive(Clone, Copy, Debug)]
struct How(usize, Receives, Sends);

impl How {
    fn all() -> impl Iterator<Item = Self> {
        let ways = [
            (Receives::Recv, Sends::Feed),
            (Receives::Next, Sends::Reserve),
            (Receives::Chunks, Sends::Send),
            (Receives::Stream, Sends::Stream),
            (Receives::Recv, Sends::Uncompressed),
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
                        break Some(message(chunk.kind, bytes));
                    }
                }
            }
            Receives::Stream => {
                let reader = loop {
                    match cut_short($how.0, async || $ws.recv_stream().await).await {
                        Some(begun) => break begun.unwrap(),
                        None => sleep(Duration::from_millis(1)).await,
                    }
                };
                match reader {
                    None => None,
                    Some(mut reader) => {
                        let mut bytes = Vec::new();
                        let mut part = [0; 3000];
                        loop {
                            let read = chopped($how.0, async || reader.read(&mut part).await).await;
                            match read.unwrap() {
                                0 => break,
                                len => bytes.extend_from_slice(&part[..len]),
                            }
                        }
                        Some(message(reader.kind(), bytes))
                    }
                }
            }
        }
    };
}

fn message(kind: DataKind, bytes: Vec<u8>) -> Message {
    match kind {
        DataKind::Text => Message::Text(Utf8Bytes::from(String::from_utf8(bytes).unwrap())),
        DataKind::Binary => bytes.into(),
    }
}

/// Sends what may have been taken when it is dropped: once more then.
macro_rules! send_again {
    ($how:expr, $send:expr) => {
        match cut_short($how.0, $send).await {
            Some(sent) => sent,
            None => $send().await,
        }
    };
}

/// Sends a message of `$ws` in fragments. Its end is taken when it is dropped, for no other message is being
/// sent.
macro_rules! stream {
    ($ws:expr, $how:expr, $message:expr) => {
        match $message {
            Message::Text(text) => {
                let mut writer = $ws.stream_text();
                for word in text.split_inclusive(' ') {
                    chopped($how.0, async || writer.write(word).await)
                        .await
                        .unwrap();
                }
                chopped($how.0, async || writer.flush().await)
                    .await
                    .unwrap();
                cut_short($how.0, async || writer.finish().await).await
            }
            Message::Binary(bytes) => {
                let mut writer = $ws.stream_binary();
                let mut rest = &bytes[..];
                while !rest.is_empty() {
                    let written = chopped($how.0, async || writer.write(rest).await).await;
                    rest = &rest[written.unwrap()..];
                }
                chopped($how.0, async || writer.flush().await)
                    .await
                    .unwrap();
                cut_short($how.0, async || writer.finish().await).await
            }
        }
        .unwrap_or(Ok(()))
    };
}

async fn whole<S, R>(mut ws: WebSocketStream<S, R>, how: How)
where
    S: AsyncRead + AsyncWrite + Unpin,
    R: Role + Unpin,
{
    while let Some(message) = receive!(ws, how) {
        match how.2 {
            Sends::Feed => chopped(how.0, async || ws.feed(message.clone()).await).await,
            Sends::Reserve => {
                let reserved = chopped(how.0, async || ws.reserve().await.map(drop)).await;
                reserved.and(ws.reserve().await.unwrap().send(message))
            }
            #[cfg(feature = "deflate")]
            Sends::Uncompressed => {
                send_again!(how, async || ws.send_uncompressed(message.clone()).await)
            }
            Sends::Stream => stream!(ws, how, message),
            _ => send_again!(how, async || ws.send(message.clone()).await),
        }
        .unwrap();
        let _: Option<_> = cut_short(how.0, async || ws.ping(b"between").await).await;
        chopped(how.0, async || ws.flush().await).await.unwrap();
    }
    assert!(chopped(how.0, async || ws.closed().await).await.is_clean());
}

async fn halves<S, R>(ws: WebSocketStream<S, R>, how: How)
where
    S: AsyncRead + AsyncWrite + Unpin,
    R: Role + Unpin,
{
    let (sender, mut receiver) = ws.split();
    let (queue, mut queued) = mpsc::unbounded_channel::<Message>();
    let sending = async {
        while let Some(message) = queued.recv().await {
            match how.2 {
                Sends::Send => send_again!(how, async || sender.send(message.clone()).await),
                #[cfg(feature = "deflate")]
                Sends::Uncompressed => {
                    send_again!(how, async || sender
                        .send_uncompressed(message.clone())
                        .await)
                }
                Sends::Stream => stream!(sender, how, message),
                _ => {
                    let reserved = chopped(how.0, async || sender.reserve().await.map(drop)).await;
                    reserved.and(sender.reserve().await.unwrap().send(message))
                }
            }
            .unwrap();
            let _: Option<_> = cut_short(how.0, async || sender.ping(b"between").await).await;
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

/// The other side: sends all, receives all, and closes.
async fn undisturbed<S, R>(ws: WebSocketStream<S, R>, how: How)
where
    S: AsyncRead + AsyncWrite + Unpin,
    R: Role,
{
    let (sender, mut receiver) = ws.split();
    let messages = messages();
    let sending = async {
        for message in &messages {
            sender.send(message.clone()).await.unwrap();
        }
    };
    let receiving = async {
        let mut received = Vec::new();
        let mut again = 0;
        while received.last() != messages.last() {
            let message = receiver.recv().await.unwrap().unwrap();
            match received.last() == Some(&message) {
                true => again += 1,
                false => received.push(message),
            }
        }
        assert!(received == messages, "{how:?}");
        let may_repeat = matches!(how.2, Sends::Send | Sends::Uncompressed);
        assert!(may_repeat || again == 0, "{how:?}");
        sender.close(CloseCode::NORMAL, "").unwrap();
        // What was sent again.
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

/// What is disturbed.
#[derive(Clone, Copy, Debug)]
struct Disturbed {
    is_client: bool,
    is_split: bool,
}

impl Disturbed {
    fn all() -> impl Iterator<Item = Self> {
        let both = [false, true].into_iter();
        both.flat_map(|is_client| {
            [false, true].map(move |is_split| Self {
                is_client,
                is_split,
            })
        })
    }

    async fn run<S, R>(self, ws: WebSocketStream<S, R>, how: How)
    where
        S: AsyncRead + AsyncWrite + Unpin,
        R: Role + Unpin,
    {
        match self.is_split {
            true => halves(ws, how).await,
            false => whole(ws, how).await,
        }
    }
}

/// The settings of both sides.
struct Settings(Acceptor, Connector);

/// Runs a server and a client over the two ends of a stream.
async fn talk<S, C>(settings: &Settings, server: S, client: C, how: How, disturbed: Disturbed)
where
    S: AsyncRead + AsyncWrite + Unpin,
    C: AsyncRead + AsyncWrite + Unpin,
{
    let url = "ws://localhost/";
    let both = async {
        let (server, client) = tokio::join!(
            settings.0.accept(server),
            settings.1.connect_over(client, url)
        );
        let (server, client) = (server.unwrap(), client.unwrap());
        match disturbed.is_client {
            true => tokio::join!(disturbed.run(client, how), undisturbed(server, how)),
            false => tokio::join!(disturbed.run(server, how), undisturbed(client, how)),
        }
    };
    let done = timeout(Duration::from_secs(25), both).await;
    assert!(done.is_ok(), "{how:?}, {disturbed:?}");
}

fn buffering<S>(inner: S) -> Buffering<S> {
    let buffer = Vec::new();
    Buffering { inner, buffer }
}

async fn over_memory(settings: &Settings) {
    for holds in [300, 3000] {
        for how in How::all() {
            for disturbed in Disturbed::all() {
                let (server, client) = duplex(holds);
                Box::pin(talk(settings, server, client, how, disturbed)).await;
                let (server, client) = duplex(holds);
                // Of two that read nothing before their own has left, each would wait for the other.
                if disturbed.is_client {
                    let client = buffering(client);
                    Box::pin(talk(settings, server, client, how, disturbed)).await;
                } else {
                    let server = buffering(server);
                    Box::pin(talk(settings, server, client, how, disturbed)).await;
                }
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn side_whose_futures_are_dropped_echoes_also_if_a_read_waits_for_a_write() {
    over_memory(&Settings(Acceptor::new(), Connector::new())).await;
}

#[cfg(feature = "deflate")]
fn compressing() -> Settings {
    use motews_tokio::DeflateConfig;

    Settings(
        Acceptor::new().deflate(DeflateConfig::DEFAULT),
        Connector::new().deflate(DeflateConfig::DEFAULT),
    )
}

#[cfg(feature = "deflate")]
#[tokio::test(start_paused = true)]
async fn side_whose_futures_are_dropped_echoes_compressed_messages() {
    over_memory(&compressing()).await;
}

#[cfg(all(feature = "tls", feature = "deflate"))]
#[tokio::test(start_paused = true)]
async fn side_whose_futures_are_dropped_echoes_over_tls_compressed_or_not() {
    use tokio_rustls::{TlsAcceptor, TlsConnector};

    let authority = motews_testkit::authority::Authority::new();
    let server_config = std::sync::Arc::new(authority.server("localhost", None));
    let client_config = authority.client(None);
    for settings in [Settings(Acceptor::new(), Connector::new()), compressing()] {
        for how in How::all() {
            for disturbed in Disturbed::all() {
                let (server, client) = duplex(3000);
                let (server, client) = tokio::join!(
                    TlsAcceptor::from(server_config.clone()).accept(server),
                    TlsConnector::from(client_config.clone())
                        .connect("localhost".try_into().unwrap(), client),
                );
                let (server, client) = (server.unwrap(), client.unwrap());
                Box::pin(talk(&settings, server, client, how, disturbed)).await;
            }
        }
    }
}
