//! An echo server on tokio: the async WebSocket over tokio's sockets. What answers one read leaves in
//! one write. Each message is sent back when all of it has come.

use std::io;

use embedded_io_adapters::tokio_1::FromTokio;
use motews::deflate::DeflateConfig;
use motews_embedded_io::asynch::WebSocket;
use motews_embedded_io::{Config, Error};
use motews_examples::embedded_io::{MAX_MESSAGE_LEN, Owned, OwnedDeflate, TokioTime, echo_async};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};

/// Bytes of each connection's receive buffer, and of its transmit buffer.
const BUFFER_LEN: usize = 16 * 1024;

/// `embedded_io_tokio_echo [--deflate] HOST:PORT`
#[tokio::main]
async fn main() -> io::Result<()> {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    let deflate = arguments.iter().any(|argument| argument == "--deflate");
    let address = arguments.pop().unwrap_or_default();
    let listener = TcpListener::bind(address).await?;
    println!("ws://{}", listener.local_addr()?);
    loop {
        let (stream, peer) = listener.accept().await?;
        stream.set_nodelay(true)?;
        tokio::spawn(async move {
            if let Err(error) = serve(stream, deflate).await {
                eprintln!("{peer}: {error}");
            }
        });
    }
}

static CONFIG: Config<'static> = Config {
    limits: motews::Limits {
        message: MAX_MESSAGE_LEN,
        ..motews::Limits::DEFAULT
    },
    ..Config::DEFAULT
};

async fn serve(stream: TcpStream, deflate: bool) -> Result<(), Error<io::Error>> {
    let mut buffers = Owned::new(BUFFER_LEN);
    let mut memory = deflate.then(|| OwnedDeflate::new(DeflateConfig::default()));
    let mut deflate = memory.as_mut().map(OwnedDeflate::lend).transpose()?;
    let ws = WebSocket::server(FromTokio::new(stream), buffers.lend())?;
    let mut ws = ws.with_config(&CONFIG).with_clock(TokioTime::new());
    if let Some(deflate) = &mut deflate {
        ws = ws.with_deflate(deflate);
    }
    ws.accept().await?;
    let end = echo_async(&mut ws).await;
    // RFC 6455 §7.1.1: the server ends TCP, and reads on until the client has done so, too.
    _ = ws.transport_mut().inner_mut().shutdown().await;
    _ = ws.drain().await;
    end
}
