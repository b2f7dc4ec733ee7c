//! A client's WebSockets over HTTP/2 (RFC 8441): each is a stream of a connection.

use core::fmt;
use core::future::{Future, poll_fn};
use core::pin::{Pin, pin};
use core::task::{Context, Poll, ready};
use core::time::Duration;
use std::io;
use std::sync::Arc;

use bytes::{Buf as _, Bytes};
use h2::client::{Builder, SendRequest};
use h2::ext::Protocol;
use h2::{Ping, Reason, RecvStream, SendStream};
use motews_net::http::{Method, Request, Response, Version};
use motews_net::{Host, Url};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::timeout;

use crate::error::{ConnectError, Http2Error};

/// How much of what is sent waits inside of the connection, in bytes.
const SEND_BUFFER: usize = 64 * 1024;

/// How much the peer may send over a stream that is not read, in bytes: as the other crates have it for a
/// receive window.
const WINDOW: u32 = 256 * 1024;

/// The same for all streams of a connection: each has its own window, and none may fill that of the others.
const CONNECTION_WINDOW: u32 = (1 << 31) - 1;

/// How long a connection may take to say goodbye when its stream was dropped: a peer that does not read
/// would keep it for ever.
const GOODBYE: Duration = Duration::from_secs(5);

/// A connection of HTTP/2 over TLS whose server takes WebSockets, for several of them:
/// [`Connector::connect_http2`](crate::Connector::connect_http2). It can be cloned.
///
/// It lives as long as there is a clone of it or a WebSocket over it. A task of tokio's runs it.
///
/// # Memory and flow control
/// A peer may send 256 KiB over a WebSocket that nobody reads, then it has to wait; so many WebSockets keep at
/// most so many times that. The connection as a whole has no limit beside this, so one that nobody reads
/// holds none of the others up. Of what is sent, each WebSocket keeps at most 64 KiB that waits for the
/// server's windows. The server's window for the connection is shared by all: a WebSocket that waits to
/// write has to be polled, or what it was granted is missing to the others.
#[derive(Clone)]
pub struct Http2Connection {
    http2: Http2,
    host: Host,
    port: u16,
}

impl Http2Connection {
    pub(crate) fn new(http2: Http2, url: &Url) -> Self {
        Self {
            http2,
            host: url.host().clone(),
            port: url.port(),
        }
    }

    /// The connection, if it leads to the server of the URL.
    pub(crate) fn to(&self, url: &Url) -> Result<&Http2, ConnectError> {
        match url.is_secure() && *url.host() == self.host && url.port() == self.port {
            true => Ok(&self.http2),
            false => Err(Http2Error::OtherServer.into()),
        }
    }
}

impl fmt::Debug for Http2Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Http2Connection")
            .field("host", &self.host)
            .field("port", &self.port)
            .finish_non_exhaustive()
    }
}

/// A connection whose server takes WebSockets.
#[derive(Clone)]
pub(crate) struct Http2 {
    requests: SendRequest<Bytes>,
    /// How many more streams the server takes at once, by its first SETTINGS. Whoever waits here has asked
    /// for nothing, and may go away.
    room: Arc<Semaphore>,
    /// The connection goes when the last of these is dropped.
    alive: Arc<oneshot::Sender<()>>,
}

impl Http2 {
    /// Begins a connection over a stream whose server has chosen HTTP/2. `None` if it takes no WebSockets
    /// there. `max_head` is the longest head of a response, in bytes.
    pub(crate) async fn open<S>(stream: S, max_head: u32) -> Result<Option<Self>, ConnectError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let handshake = Builder::new()
            .enable_push(false)
            .initial_window_size(WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_header_list_size(max_head)
            .max_send_buffer_size(SEND_BUFFER)
            .handshake(stream);
        let (requests, mut connection) = handshake.await.map_err(failed)?;
        let pings = connection.ping_pong();
        let (alive, gone) = oneshot::channel();
        tokio::spawn(drive(connection, gone));
        // RFC 8441 §3: none is asked for before the server's SETTINGS have come. They are the first
        // frame that it sends, and so before the answer to a ping [HT16]
        if let Some(mut pings) = pings {
            pings.ping(Ping::opaque()).await.map_err(failed)?;
        }
        let is_enabled = requests.is_extended_connect_protocol_enabled();
        let room = requests.current_max_send_streams();
        let room = Semaphore::new(room.min(Semaphore::MAX_PERMITS));
        Ok(is_enabled.then(|| Self {
            requests,
            room: Arc::new(room),
            alive: Arc::new(alive),
        }))
    }

    /// Sends an extended CONNECT, and waits for the head of the response and the stream below it; `None` if
    /// the server wants HTTP/1.1 for this. If the server takes no more streams at once
    /// (SETTINGS_MAX_CONCURRENT_STREAMS), waits for one of them to end.
    pub(crate) async fn connect(
        &self,
        mut request: Request<()>,
    ) -> Result<Option<(Response<()>, Http2Stream)>, ConnectError> {
        *request.method_mut() = Method::CONNECT;
        *request.version_mut() = Version::HTTP_2;
        let protocol = Protocol::from_static("websocket");
        request.extensions_mut().insert(protocol);
        // It is never closed.
        let room = self.room.clone().acquire_owned().await;
        let room = room.map_err(|_| Http2Error::GoingAway)?;
        // Nothing was sent if either fails.
        let gone = |error: h2::Error| match error.is_io() || error.is_go_away() {
            true => Http2Error::GoingAway.into(),
            false => failed(error),
        };
        let mut requests = self.requests.clone().ready().await.map_err(gone)?;
        let (response, send) = requests.send_request(request, false).map_err(gone)?;
        let response = match response.await {
            // RFC 9113 §7: "not over HTTP/2".
            Err(error) if error.reason() == Some(Reason::HTTP_1_1_REQUIRED) => {
                return Ok(None);
            }
            // The server has not looked at this stream, and will not.
            Err(error) if error.is_go_away() && error.is_remote() => {
                return Err(Http2Error::GoingAway.into());
            }
            response => response.map_err(failed)?,
        };
        let (head, receive) = response.into_parts();
        let stream = Http2Stream {
            send,
            receive,
            unread: Bytes::new(),
            has_ended: false,
            _alive: (room, self.alive.clone()),
        };
        Ok(Some((Response::from_parts(head, ()), stream)))
    }
}

/// Runs a connection until it has ended, and not for long after its streams were dropped.
async fn drive<S>(connection: h2::client::Connection<S, Bytes>, mut gone: oneshot::Receiver<()>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut connection = pin!(connection);
    // Its errors are those of its streams.
    let is_over = poll_fn(|cx| match connection.as_mut().poll(cx) {
        Poll::Ready(_) => Poll::Ready(true),
        Poll::Pending => Pin::new(&mut gone).poll(cx).map(|_| false),
    });
    if !is_over.await {
        let _ = timeout(GOODBYE, connection).await;
    }
}

/// What has ended a connection before there was a WebSocket.
fn failed(error: h2::Error) -> ConnectError {
    ConnectError::from_io(to_io(error))
}

/// An error as a stream has it: RST_STREAM and GOAWAY are a reset.
fn to_io(error: h2::Error) -> io::Error {
    if error.is_io()
        && let Some(io) = error.get_io()
    {
        // It may hold an error of TLS, which is worth more than its text.
        let kind = io.kind();
        return match error.into_io() {
            Some(io) => io,
            None => kind.into(),
        };
    }
    let kind = match error.is_reset() || error.is_go_away() {
        true => io::ErrorKind::ConnectionReset,
        false => io::ErrorKind::InvalidData,
    };
    io::Error::new(kind, error)
}

/// A stream of a connection of HTTP/2.
pub struct Http2Stream {
    send: SendStream<Bytes>,
    receive: RecvStream,
    /// What has come and is not read.
    unread: Bytes,
    /// This side's half has ended.
    has_ended: bool,
    _alive: (OwnedSemaphorePermit, Arc<oneshot::Sender<()>>),
}

impl Http2Stream {
    /// Why nothing can be sent any more.
    fn poll_failure(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        let reason = ready!(self.send.poll_reset(cx));
        Poll::Ready(match reason {
            Ok(reason) => io::Error::new(io::ErrorKind::ConnectionReset, h2::Error::from(reason)),
            Err(error) => to_io(error),
        })
    }
}

impl AsyncRead for Http2Stream {
    /// END_STREAM is the end of the stream.
    // [HT16]
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        while self.unread.is_empty() && buf.remaining() > 0 {
            match ready!(self.receive.poll_data(cx)) {
                Some(data) => self.unread = data.map_err(to_io)?,
                None => return Poll::Ready(Ok(())),
            }
        }
        let len = self.unread.len().min(buf.remaining());
        buf.put_slice(&self.unread[..len]);
        self.unread.advance(len);
        // It makes room for the next: if the stream is over, nobody needs any.
        let _ = self.receive.flow_control().release_capacity(len);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Http2Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if bytes.is_empty() {
            return Poll::Ready(Ok(0));
        }
        self.send.reserve_capacity(bytes.len().min(SEND_BUFFER));
        while self.send.capacity() == 0 {
            match ready!(self.send.poll_capacity(cx)) {
                Some(Ok(_)) => {}
                None | Some(Err(_)) => return self.poll_failure(cx).map(Err),
            }
        }
        let len = self.send.capacity().min(bytes.len());
        let data = Bytes::copy_from_slice(&bytes[..len]);
        match self.send.send_data(data, false) {
            Ok(()) => Poll::Ready(Ok(len)),
            Err(_) => self.poll_failure(cx).map(Err),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // The connection writes by itself.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.has_ended {
            self.has_ended = true;
            if self.send.send_data(Bytes::new(), true).is_err() {
                return self.poll_failure(cx).map(Err);
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl fmt::Debug for Http2Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Http2Stream")
            .field(&self.send.stream_id().as_u32())
            .finish()
    }
}
