//! The clients that are measured over several transports.

use embedded_io::{Read, Write};
use embedded_websocket::framer::{Framer, FramerError, ReadResult, Stream};
use embedded_websocket::{
    WebSocketClient, WebSocketCloseStatusCode, WebSocketOptions, WebSocketSendMessageType,
};
use motews::handshake::Request;
use motews::{CloseCode, Message, MessageBuffer};
use motews_embedded_io::{Buffers, Error, asynch};
use motews_linked::machine::{Generator, bytes, hand, happened, place};
use websocketz::http::Header;
use websocketz::options::ConnectOptions;
use websocketz::{CloseFrame, next, send};

use crate::Random;

/// An async client of motews-embedded-io.
///
/// # Errors
/// How it ended.
pub async fn motews<T>(transport: T) -> Result<(), Error<T::Error>>
where
    T: embedded_io_async::Read + embedded_io_async::Write,
{
    let buffers = Buffers {
        receive: bytes(),
        transmit: bytes(),
    };
    let request = Request::new("example.com", "/chat")?;
    let mut ws = asynch::WebSocket::client(transport, buffers, request, Generator)?;
    ws.connect().await?;
    let mut messages = MessageBuffer::new(bytes());
    loop {
        ws.send(Message::Text("Hello")).await?;
        match ws.recv(&mut messages).await? {
            Some(Message::Text(text)) => hand(text.len()),
            Some(_) => {}
            None => return Ok(()),
        }
        if happened() {
            ws.close(CloseCode::NORMAL, "")?;
        }
    }
}

/// A transport as embedded-websocket wants it.
#[derive(Debug)]
pub struct Transport<T>(pub T);

impl<T: Read + Write> Stream<T::Error> for Transport<T> {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, T::Error> {
        self.0.read(buffer)
    }

    fn write_all(&mut self, bytes: &[u8]) -> Result<(), T::Error> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let taken = self.0.write(rest)?;
            rest = rest.get(taken..).unwrap_or_default();
        }
        self.0.flush()
    }
}

/// Bytes of RAM of a client of embedded-websocket, beside its buffers.
pub const EMBEDDED_WEBSOCKET: usize = size_of::<WebSocketClient<Random>>()
    + size_of::<Framer<'static, Random, embedded_websocket::Client>>()
    + size_of::<usize>();

/// A blocking client of embedded-websocket, with its framer.
///
/// # Errors
/// How it ended.
pub fn embedded_websocket<T: Read + Write>(
    stream: &mut Transport<T>,
) -> Result<(), FramerError<T::Error>> {
    let websocket = place::<WebSocketClient<Random>>();
    *websocket = WebSocketClient::new_client(Random);
    let mut cursor = 0;
    let mut framer = Framer::new(bytes(), &mut cursor, bytes(), websocket);
    let options = WebSocketOptions {
        path: "/chat",
        host: "example.com",
        origin: "",
        sub_protocols: None,
        additional_headers: None,
    };
    framer.connect(stream, &options)?;
    loop {
        framer.write(stream, WebSocketSendMessageType::Text, true, b"Hello")?;
        match framer.read(stream, bytes())? {
            ReadResult::Text(text) => hand(text.len()),
            ReadResult::Closed => return Ok(()),
            _ => {}
        }
        if happened() {
            framer.close(stream, WebSocketCloseStatusCode::NormalClosure, None)?;
        }
    }
}

/// An async client of websocketz.
///
/// # Errors
/// How it ended.
pub async fn websocketz<T>(transport: T) -> Result<(), websocketz::error::Error<T::Error>>
where
    T: embedded_io_async::Read + embedded_io_async::Write,
{
    let headers = &[Header {
        name: "Host",
        value: b"example.com",
    }];
    let mut ws = websocketz::WebSocket::connect::<16>(
        ConnectOptions::new_unchecked("/chat").with_headers(headers),
        transport,
        Random,
        bytes(),
        bytes(),
        bytes(),
    )
    .await?;
    loop {
        send!(ws, websocketz::Message::Text("Hello"))?;
        match next!(ws).transpose()? {
            Some(websocketz::Message::Text(text)) => hand(text.len()),
            Some(_) => {}
            None => return Ok(()),
        }
        if happened() {
            ws.send(websocketz::Message::Close(Some(CloseFrame::no_reason(
                websocketz::CloseCode::Normal,
            ))))
            .await?;
        }
    }
}
