//! The peers, each through its own public API, with its defaults unless said otherwise.

use core::convert::Infallible;
use core::pin::{Pin, pin};
use core::task::{Context, Poll, Waker};
use std::io::Read;

use futures_core::Stream as _;

use super::{Contestant, Failed, Sink};
use crate::source::{READ_LEN, Source};

/// tungstenite, reading 64 KiB at a time instead of its default of 128 KiB.
pub(super) struct Tungstenite(tungstenite::WebSocket<Source>);

impl Contestant for Tungstenite {
    const NAME: &'static str = "tungstenite 0.30";

    fn new(source: Source) -> Self {
        let config = tungstenite::protocol::WebSocketConfig::default().read_buffer_size(READ_LEN);
        let role = tungstenite::protocol::Role::Server;
        Self(tungstenite::WebSocket::from_raw_socket(
            source,
            role,
            Some(config),
        ))
    }

    #[inline]
    fn receive(&mut self, messages: u64, sink: &mut impl Sink) -> Result<(), Failed> {
        for _ in 0..messages {
            match self.0.read().map_err(Failed::because)? {
                tungstenite::Message::Text(text) => sink.payload(text.as_bytes(), true),
                other => return Err(Failed::because(format_args!("not a text: {other:?}"))),
            }
        }
        Ok(())
    }
}

/// fastwebsockets, whose reads are as long as its own buffer has room.
pub(super) struct Fastwebsockets(fastwebsockets::WebSocket<Source>);

impl Contestant for Fastwebsockets {
    const NAME: &'static str = "fastwebsockets 0.10";

    fn new(source: Source) -> Self {
        let role = fastwebsockets::Role::Server;
        Self(fastwebsockets::WebSocket::after_handshake(source, role))
    }

    #[inline]
    fn receive(&mut self, messages: u64, sink: &mut impl Sink) -> Result<(), Failed> {
        let mut context = Context::from_waker(Waker::noop());
        for _ in 0..messages {
            let Poll::Ready(frame) = pin!(self.0.read_frame()).poll(&mut context) else {
                return Err(Failed::because("waits, though the stream is always ready"));
            };
            let frame = frame.map_err(Failed::because)?;
            if frame.opcode != fastwebsockets::OpCode::Text {
                return Err(Failed::because("not a text"));
            }
            sink.payload(&frame.payload, frame.fin);
        }
        Ok(())
    }
}

/// tokio-websockets, whose reads are as long as its own buffer has room.
pub(super) struct TokioWebsockets(tokio_websockets::WebSocketStream<Source>);

impl Contestant for TokioWebsockets {
    const NAME: &'static str = "tokio-websockets 0.13";

    fn new(source: Source) -> Self {
        Self(tokio_websockets::ServerBuilder::new().serve(source))
    }

    #[inline]
    fn receive(&mut self, messages: u64, sink: &mut impl Sink) -> Result<(), Failed> {
        let mut context = Context::from_waker(Waker::noop());
        for _ in 0..messages {
            match Pin::new(&mut self.0).poll_next(&mut context) {
                Poll::Ready(Some(Ok(message))) if message.is_text() => {
                    sink.payload(message.as_payload(), true);
                }
                Poll::Ready(Some(Ok(_))) => return Err(Failed::because("not a text")),
                Poll::Ready(Some(Err(error))) => return Err(Failed::because(error)),
                Poll::Ready(None) => return Err(Failed::because("the stream ended")),
                Poll::Pending => {
                    return Err(Failed::because("waits, though the stream is always ready"));
                }
            }
        }
        Ok(())
    }
}

/// embedded-websocket's framer. It fails on a header that a read has cut, so it alone gets reads
/// that end with a frame.
pub(super) struct EmbeddedWebsocket {
    source: WholeFrames,
    websocket: embedded_websocket::WebSocketServer,
    read_buffer: Vec<u8>,
    frame_buffer: Vec<u8>,
}

struct WholeFrames(Source);

impl embedded_websocket::framer::Stream<Infallible> for WholeFrames {
    #[inline]
    fn read(&mut self, buf: &mut [u8]) -> Result<usize, Infallible> {
        let bytes = self.0.take_whole_frames(buf.len());
        buf[..bytes.len()].copy_from_slice(bytes);
        Ok(bytes.len())
    }

    fn write_all(&mut self, _: &[u8]) -> Result<(), Infallible> {
        Ok(())
    }
}

impl Contestant for EmbeddedWebsocket {
    const NAME: &'static str = "embedded-websocket 0.9.5";

    fn new(source: Source) -> Self {
        let mut websocket = embedded_websocket::WebSocketServer::new_server();
        websocket.state = embedded_websocket::WebSocketState::Open;
        Self {
            source: WholeFrames(source),
            websocket,
            read_buffer: vec![0; READ_LEN],
            // One more than the longest message, or it takes the buffer for too small.
            frame_buffer: vec![0; READ_LEN + 1],
        }
    }

    #[inline]
    fn receive(&mut self, messages: u64, sink: &mut impl Sink) -> Result<(), Failed> {
        use embedded_websocket::framer::{Framer, ReadResult};

        let (mut cursor, mut write_buffer) = (0, [0; 256]);
        let mut framer = Framer::new(
            &mut self.read_buffer,
            &mut cursor,
            &mut write_buffer,
            &mut self.websocket,
        );
        for _ in 0..messages {
            match framer.read(&mut self.source, &mut self.frame_buffer) {
                Ok(ReadResult::Text(text)) => sink.payload(text.as_bytes(), true),
                Ok(_) => return Err(Failed::because("not a text")),
                Err(error) => return Err(Failed(format!("{error:?}"))),
            }
        }
        Ok(())
    }
}

/// websocket-sans-io's frame decoder. It looks at no payload and assembles no message.
pub(super) struct WebsocketSansIo {
    source: Source,
    decoder: websocket_sans_io::WebsocketFrameDecoder,
    buffer: Vec<u8>,
}

impl Contestant for WebsocketSansIo {
    const NAME: &'static str = "websocket-sans-io 0.1";

    fn new(source: Source) -> Self {
        let decoder = websocket_sans_io::WebsocketFrameDecoder::new();
        Self {
            source,
            decoder,
            buffer: vec![0; READ_LEN],
        }
    }

    #[inline]
    fn receive(&mut self, messages: u64, sink: &mut impl Sink) -> Result<(), Failed> {
        use websocket_sans_io::WebsocketFrameEvent;

        let mut received = 0;
        while received < messages {
            let len = self
                .source
                .read(&mut self.buffer)
                .map_err(Failed::because)?;
            let mut input = &mut self.buffer[..len];
            loop {
                let step = self.decoder.add_data(input).map_err(Failed::because)?;
                if step.event.is_none() && step.consumed_bytes == 0 {
                    break;
                }
                let (bytes, rest) = input.split_at_mut(step.consumed_bytes);
                match step.event {
                    Some(WebsocketFrameEvent::PayloadChunk { .. }) => sink.payload(bytes, false),
                    Some(WebsocketFrameEvent::End { frame_info, .. }) if frame_info.fin => {
                        received += 1;
                        sink.payload(&[], true);
                    }
                    _ => {}
                }
                input = rest;
            }
        }
        Ok(())
    }
}
