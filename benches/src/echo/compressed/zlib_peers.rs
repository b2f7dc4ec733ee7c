//! The peer whose compression is that of the C library zlib.

use core::error::Error;

use bytes::BytesMut;
use tokio::io::{BufReader, BufWriter};

use super::servers::{Entry, Serve};
use super::{LEVEL, Terms};
use crate::echo::on_tokio::tasks;

type Failure = Box<dyn Error + Send + Sync>;

pub(super) const ALL: [Entry; 1] = [Entry {
    name: "ratchet_rs 1.2",
    terms: &[Terms::Alone, Terms::Takeover12, Terms::Takeover15],
    compresses: true,
    serve: Serve::OnTokio(|terms, runtime, tell| {
        tasks(runtime, tell, move |stream| ratchet(stream, terms))
    }),
}];

async fn ratchet(stream: tokio::net::TcpStream, terms: Terms) -> Result<(), Failure> {
    use ratchet_rs::deflate::{Compression, DeflateConfig, DeflateExtProvider, WindowBits};
    use ratchet_rs::{Message, PayloadType, SubprotocolRegistry, WebSocketConfig};

    let deflate = DeflateConfig {
        server_max_window_bits: WindowBits::try_from(terms.bits().bits())?,
        // It takes this for what was agreed upon, too.
        accept_no_context_takeover: !terms.takeover(),
        compression_level: Compression::new(LEVEL.into()),
        ..DeflateConfig::default()
    };
    let request = ratchet_rs::accept_with(
        BufReader::new(BufWriter::new(stream)),
        WebSocketConfig::default(),
        DeflateExtProvider::with_config(deflate),
        SubprotocolRegistry::default(),
    )
    .await?;
    let mut socket = request.upgrade().await?.websocket;
    let mut buffer = BytesMut::new();
    loop {
        let kind = match socket.read(&mut buffer).await? {
            Message::Text => PayloadType::Text,
            Message::Binary => PayloadType::Binary,
            Message::Close(_) => return Ok(()),
            Message::Ping(_) | Message::Pong(_) => continue,
        };
        socket.write(&mut buffer, kind).await?;
        socket.flush().await?;
        buffer.clear();
    }
}
