//! The peers whose compression is that of zlib-rs, at level 6, as their documentation has them.

use core::error::Error;

use motews_testkit::head::Head;

use super::servers::{Entry, Serve};
use super::{LEVEL, Terms};
use crate::echo::on_tokio::tasks;
use crate::echo::peers::{BUFFER_LEN, accept, batches};

type Failure = Box<dyn Error + Send + Sync>;

const ANY_TERMS: &[Terms] = &[Terms::Alone, Terms::Takeover12, Terms::Takeover15];

pub(super) const ALL: [Entry; 3] = [
    Entry {
        name: "yawc 0.5",
        terms: ANY_TERMS,
        compresses: true,
        serve: Serve::OnTokio(|terms, runtime, tell| {
            // Shared by those that take no context over.
            let pool = yawc::DeflatePool::new(1);
            tasks(runtime, tell, move |stream| {
                yawc(stream, terms, pool.clone())
            })
        }),
    },
    Entry {
        name: "sockudo-ws 3.1",
        terms: ANY_TERMS,
        compresses: true,
        serve: Serve::OnTokio(|terms, runtime, tell| {
            tasks(runtime, tell, move |stream| sockudo_ws(stream, terms))
        }),
    },
    Entry {
        name: "wtx 0.46",
        // It takes no context over.
        terms: &[Terms::Alone],
        compresses: true,
        serve: Serve::OnTokio(|terms, runtime, tell| {
            tasks(runtime, tell, move |stream| wtx(stream, terms))
        }),
    },
];

/// Answers the client's request with what it has offered.
async fn agree(
    stream: tokio::net::TcpStream,
    terms: Terms,
) -> Result<tokio::net::TcpStream, Failure> {
    let agreed = terms.extension().ok_or("no compression")?;
    let response = Head::response().and("Sec-WebSocket-Extensions", agreed);
    Ok(accept(stream, &response.to_bytes()).await?)
}

async fn yawc(
    stream: tokio::net::TcpStream,
    terms: Terms,
    pool: yawc::DeflatePool,
) -> Result<(), Failure> {
    use yawc::{CompressionLevel, Frame, OpCode, Options, Role, WebSocket};

    let stream = agree(stream, terms).await?;
    let options = Options::default()
        .with_utf8()
        .with_read_buffer_capacity(BUFFER_LEN)
        .with_backpressure_boundary(BUFFER_LEN / 2)
        .with_compression_level(CompressionLevel::new(LEVEL.into()))
        .with_deflate_pool(pool);
    let socket =
        WebSocket::from_stream_with_extensions(stream, Role::Server, terms.extension(), options)?;
    batches(socket, |frame: Frame| {
        Ok(matches!(frame.opcode(), OpCode::Text | OpCode::Binary).then_some(frame))
    })
    .await
}

async fn sockudo_ws(stream: tokio::net::TcpStream, terms: Terms) -> Result<(), Failure> {
    use sockudo_ws::deflate::DeflateWindowBits;
    use sockudo_ws::{CompressedWebSocketStream, Config, DeflateConfig, Message};

    let stream = agree(stream, terms).await?;
    let deflate = DeflateConfig {
        server_max_window_bits: DeflateWindowBits::try_from(terms.bits().bits())?,
        server_no_context_takeover: !terms.takeover(),
        client_no_context_takeover: !terms.takeover(),
        compression_level: LEVEL.into(),
        ..DeflateConfig::default()
    };
    let socket = CompressedWebSocketStream::server(stream, Config::default(), deflate);
    batches(socket, |item| {
        item.map(|message| match message {
            Message::Text(_) | Message::Binary(_) => Some(message),
            _ => None,
        })
    })
    .await
}

async fn wtx(stream: tokio::net::TcpStream, terms: Terms) -> Result<(), Failure> {
    use wtx::collection::Vector;
    use wtx::rng::{Xorshift64, simple_seed};
    use wtx::web_socket::compression::{Flate2, WindowBits};
    use wtx::web_socket::{
        Compression, CompressionLevel, DeflateConfig, OpCode, WebSocketBuffer, WebSocketOwned,
        WebSocketPayloadOrigin,
    };

    let stream = agree(stream, terms).await?;
    let config = DeflateConfig {
        client_max_window_bits: WindowBits::Fifteen,
        compression_level: CompressionLevel::try_from(LEVEL)?,
        server_max_window_bits: WindowBits::Fifteen,
    };
    let extension = terms.extension().ok_or("no compression")?.as_bytes();
    let headers = [[&b"Sec-WebSocket-Extensions"[..], extension]];
    let agreed = Compression::<false>::negotiate(Flate2::from(config), headers.into_iter())?;
    let random = Xorshift64::from(simple_seed());
    let mut socket: WebSocketOwned<_, _, _, false> =
        WebSocketOwned::new(agreed, false, random, stream, WebSocketBuffer::new());
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
