//! The peers, each as its own documentation has it for a server that is to be fast: one thread,
//! and where it can, many answers in one write.

use core::error::Error;
use core::future::Future;
use core::net::SocketAddr;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::fd::AsFd;

use futures_util::{FutureExt, Sink, SinkExt, Stream, StreamExt};
use rustix::event::epoll;
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader, BufWriter};

use super::on_tokio::{Runtime, tasks};
use super::servers::{Loop, OnTokio, listen};

type Failure = Box<dyn Error + Send + Sync>;

/// Those on tokio.
pub(super) const ON_TOKIO: [(&str, OnTokio); 7] = [
    ("fastwebsockets 0.10", |on, tell| {
        each(on, tell, fastwebsockets)
    }),
    ("tokio-websockets 0.13", |on, tell| {
        each(on, tell, tokio_websockets)
    }),
    ("wtx 0.46", |on, tell| each(on, tell, wtx)),
    ("web-socket 0.7", |on, tell| each(on, tell, web_socket)),
    ("yawc 0.5", |on, tell| each(on, tell, yawc)),
    ("sockudo-ws 3.1", |on, tell| each(on, tell, sockudo_ws)),
    (TOKIO_TUNGSTENITE, |on, tell| {
        each(on, tell, tokio_tungstenite)
    }),
];

/// The same as tungstenite, which has an event loop of its own here.
pub(super) const TOKIO_TUNGSTENITE: &str = "tokio-tungstenite 0.30";

pub(super) const TUNGSTENITE: (&str, Loop) = ("tungstenite 0.30", tungstenite);

/// The smaller of the two that its documentation names, in bytes: it clears the buffer before each
/// read, so that with 128 KiB it is three times as slow.
const TUNGSTENITE_READ: usize = 4 * 1024;

/// The answer to the client's request, which is always the same, and so is its key.
const ACCEPTED: &[u8] = motews_testkit::head::RESPONSE.as_bytes();

/// The end of a request.
const END: &[u8] = b"\r\n\r\n";

/// Room for a request.
const REQUEST_LEN: usize = 1024;

/// The buffers of those that ask how long theirs are to be, in bytes.
pub(super) const BUFFER_LEN: usize = 128 * 1024;

/// Serves each connection with a task of its own.
fn each<F>(
    runtime: Runtime,
    tell: &mut dyn FnMut(SocketAddr),
    serve: fn(tokio::net::TcpStream) -> F,
) -> Result<(), Failure>
where
    F: Future<Output = Result<(), Failure>> + Send + 'static,
{
    tasks(runtime, tell, move |stream| async move {
        serve(accept(stream, ACCEPTED).await?).await
    })
}

/// Takes any request, and answers it with `response`.
pub(super) async fn accept(
    mut stream: tokio::net::TcpStream,
    response: &[u8],
) -> io::Result<tokio::net::TcpStream> {
    let mut request = Vec::with_capacity(REQUEST_LEN);
    while !request.ends_with(END) {
        if stream.read_buf(&mut request).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    stream.write_all(response).await?;
    Ok(stream)
}

/// Echoes all messages that are there, then flushes. `data` gives what is to be echoed, if it is.
pub(super) async fn batches<I, M, E, S>(
    mut socket: S,
    data: fn(I) -> Result<Option<M>, E>,
) -> Result<(), Failure>
where
    S: Stream<Item = I> + Sink<M, Error = E> + Unpin,
    E: Into<Failure>,
{
    // Fed as they come, tokio-websockets would flush each before it reads the next.
    let mut messages = Vec::new();
    while let Some(item) = socket.next().await {
        let mut next = Some(item);
        while let Some(item) = next {
            messages.extend(data(item).map_err(Into::into)?);
            next = socket.next().now_or_never().flatten();
        }
        for message in messages.drain(..) {
            socket.feed(message).await.map_err(Into::into)?;
        }
        socket.flush().await.map_err(Into::into)?;
    }
    Ok(())
}

async fn fastwebsockets(stream: tokio::net::TcpStream) -> Result<(), Failure> {
    use fastwebsockets::{FragmentCollector, OpCode, Role, WebSocket};

    let mut socket = FragmentCollector::new(WebSocket::after_handshake(stream, Role::Server));
    loop {
        let frame = socket.read_frame().await?;
        match frame.opcode {
            OpCode::Text | OpCode::Binary => socket.write_frame(frame).await?,
            OpCode::Close => return Ok(()),
            _ => {}
        }
    }
}

async fn tokio_websockets(stream: tokio::net::TcpStream) -> Result<(), Failure> {
    use tokio_websockets::{Config, Limits, Message, ServerBuilder};

    let socket = ServerBuilder::new()
        .config(Config::default().frame_size(usize::MAX))
        .limits(Limits::unlimited())
        .serve(stream);
    batches(socket, |item| {
        item.map(|message: Message| (message.is_text() || message.is_binary()).then_some(message))
    })
    .await
}

async fn wtx(stream: tokio::net::TcpStream) -> Result<(), Failure> {
    use wtx::collection::Vector;
    use wtx::rng::{Xorshift64, simple_seed};
    use wtx::web_socket::{OpCode, WebSocketBuffer, WebSocketOwned, WebSocketPayloadOrigin};

    let random = Xorshift64::from(simple_seed());
    let mut socket: WebSocketOwned<_, _, _, false> =
        WebSocketOwned::new((), false, random, stream, WebSocketBuffer::new());
    let mut buffer = Vector::new();
    let (mut common, mut reader, mut writer) = socket.split_mut();
    loop {
        let mut frame = reader
            .read_frame(&mut buffer, &mut common, WebSocketPayloadOrigin::Adaptive)
            .await?;
        match frame.op_code() {
            OpCode::Text | OpCode::Binary => writer.write_frame(&mut common, &mut frame).await?,
            OpCode::Close => return Ok(()),
            _ => {}
        }
    }
}

async fn web_socket(stream: tokio::net::TcpStream) -> Result<(), Failure> {
    use web_socket::{DataType, Event, Frame, MessageType, WebSocket};

    // It has no buffers of its own.
    let stream = BufReader::with_capacity(BUFFER_LEN, BufWriter::with_capacity(BUFFER_LEN, stream));
    let mut socket = WebSocket::server(stream);
    loop {
        match socket.recv().await? {
            Event::Data {
                ty: DataType::Complete(kind),
                data,
            } => {
                let frame = match kind {
                    MessageType::Text => Frame::from(core::str::from_utf8(&data)?),
                    MessageType::Binary => Frame::from(&*data),
                };
                socket.send(frame).await?;
            }
            Event::Data { .. } => return Err("the client sends no fragments".into()),
            Event::Close { .. } | Event::Error(_) => return Ok(()),
            Event::Ping(_) | Event::Pong(_) => {}
        }
        if socket.stream.buffer().is_empty() {
            socket.flash().await?;
        }
    }
}

async fn yawc(stream: tokio::net::TcpStream) -> Result<(), Failure> {
    use yawc::{Frame, OpCode, Options, Role, WebSocket};

    let options = Options::default()
        .with_utf8()
        .with_read_buffer_capacity(BUFFER_LEN)
        .with_backpressure_boundary(BUFFER_LEN / 2);
    let socket = WebSocket::from_stream(stream, Role::Server, options)?;
    batches(socket, |frame: Frame| {
        Ok(matches!(frame.opcode(), OpCode::Text | OpCode::Binary).then_some(frame))
    })
    .await
}

async fn sockudo_ws(stream: tokio::net::TcpStream) -> Result<(), Failure> {
    use sockudo_ws::{Config, Message, WebSocketStream};

    let mut socket = WebSocketStream::server(stream, Config::default());
    while let Some(message) = socket.next().await {
        // `next` writes what was fed before it reads more.
        if let message @ (Message::Text(_) | Message::Binary(_)) = message? {
            socket.feed(message).await?;
        }
    }
    Ok(())
}

async fn tokio_tungstenite(stream: tokio::net::TcpStream) -> Result<(), Failure> {
    use tokio_tungstenite::WebSocketStream;

    let role = tungstenite::protocol::Role::Server;
    let config = tungstenite::protocol::WebSocketConfig::default();
    let config = config.read_buffer_size(TUNGSTENITE_READ);
    let mut socket = WebSocketStream::from_raw_socket(stream, role, Some(config)).await;
    while let Some(item) = socket.next().await {
        let mut next = Some(item);
        while let Some(item) = next {
            let message = item?;
            if message.is_text() || message.is_binary() {
                socket.feed(message).await?;
            }
            next = socket.next().now_or_never().flatten();
        }
        socket.flush().await?;
    }
    Ok(())
}

/// It knows no event loop: this one is like the raw echo's, with a socket of its own for each
/// connection.
fn tungstenite(tell: &mut dyn FnMut(SocketAddr)) -> Result<(), Failure> {
    let listener = listen(tell)?;
    let poll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    let mut connections: Vec<Option<Tungstenite>> = Vec::new();
    let mut events = [epoll::Event {
        flags: epoll::EventFlags::empty(),
        data: epoll::EventData::new_u64(0),
    }; 1024];
    let data = epoll::EventData::new_u64(u64::MAX);
    epoll::add(&poll, listener.as_fd(), data, epoll::EventFlags::IN)?;
    loop {
        let count = epoll::wait(&poll, &mut events, None)?;
        for event in &events[..count] {
            let (data, flags) = (event.data, event.flags);
            if data.u64() == u64::MAX {
                let (stream, _) = listener.accept()?;
                let connection = Tungstenite::accept(stream)?;
                let data = epoll::EventData::new_u64(connections.len() as u64);
                let stream = connection.stream();
                let flags = epoll::EventFlags::ET
                    | epoll::EventFlags::IN
                    | epoll::EventFlags::OUT
                    | epoll::EventFlags::RDHUP;
                epoll::add(&poll, stream.as_fd(), data, flags)?;
                connections.push(Some(connection));
                continue;
            }
            let slot = &mut connections[data.u64() as usize];
            let Some(connection) = slot else { continue };
            let ended = flags.contains(epoll::EventFlags::RDHUP);
            if connection.echo(ended).is_err() {
                *slot = None;
            }
        }
    }
}

struct Tungstenite {
    socket: tungstenite::WebSocket<OneRead>,
}

impl Tungstenite {
    fn accept(mut stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        let mut request = Vec::new();
        let mut octet = [0];
        while !request.ends_with(END) {
            stream.read_exact(&mut octet)?;
            request.extend(octet);
        }
        stream.write_all(ACCEPTED)?;
        stream.set_nonblocking(true)?;
        let stream = OneRead {
            stream,
            ended: false,
            empty: false,
        };
        let role = tungstenite::protocol::Role::Server;
        let config = tungstenite::protocol::WebSocketConfig::default();
        let config = config.read_buffer_size(TUNGSTENITE_READ);
        Ok(Self {
            socket: tungstenite::WebSocket::from_raw_socket(stream, role, Some(config)),
        })
    }

    fn stream(&self) -> &TcpStream {
        &self.socket.get_ref().stream
    }

    /// Echoes all messages that are there, then flushes.
    fn echo(&mut self, ended: bool) -> tungstenite::Result<()> {
        let stream = self.socket.get_mut();
        (stream.ended, stream.empty) = (ended, false);
        loop {
            match self.socket.read() {
                Ok(message) if message.is_text() || message.is_binary() => {
                    self.socket.write(message)?;
                }
                Ok(_) => {}
                Err(error) if would_block(&error) => break,
                Err(error) => return Err(error),
            }
        }
        match self.socket.flush() {
            // An event tells when there is room for the rest.
            Err(error) if would_block(&error) => Ok(()),
            flushed => flushed,
        }
    }
}

fn would_block(error: &tungstenite::Error) -> bool {
    matches!(error, tungstenite::Error::Io(error) if error.kind() == io::ErrorKind::WouldBlock)
}

/// A stream that a short read has emptied, but for its end; asking again would be a system call for
/// nothing.
struct OneRead {
    stream: TcpStream,
    ended: bool,
    empty: bool,
}

impl Read for OneRead {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.empty {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let len = self.stream.read(buffer)?;
        self.empty = len < buffer.len() && !self.ended;
        Ok(len)
    }
}

impl Write for OneRead {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
