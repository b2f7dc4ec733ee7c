//! An echo server on tokio: whole messages, of up to 64 MiB. Replies to what came in one read leave in
//! one write.

use core::error::Error;
use std::sync::Arc;

use clap::Parser;
use motews_tokio::{Acceptor, DeflateConfig};
use tokio::net::{TcpListener, TcpStream};

/// A WebSocket server that sends back what it receives, on tokio.
#[derive(Parser)]
#[command(name = "tokio_echo")]
struct Options {
    /// Where to listen.
    #[arg(default_value = "127.0.0.1:9001")]
    address: String,

    /// Compress messages for clients that can inflate them. Each connection takes 62 KB more.
    #[arg(long)]
    deflate: bool,

    /// How much a client may send without reading what comes back, in MiB; one message more is always
    /// possible.
    #[arg(long, value_name = "MIB", default_value_t = 64)]
    inbound: usize,
}

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let Options {
        address,
        deflate,
        inbound,
    } = Options::parse();
    // A client may write all it has before it reads. What it sends while it does not read waits here.
    let mut acceptor = Acceptor::new().max_inbound(inbound * 1024 * 1024);
    if deflate {
        acceptor = acceptor.deflate(DeflateConfig::DEFAULT);
    }
    let acceptor = Arc::new(acceptor);
    let listener = TcpListener::bind(address).await?;
    println!("ws://{}", listener.local_addr()?);
    loop {
        let (stream, peer) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let acceptor = acceptor.clone();
        tokio::spawn(async move {
            if let Err(error) = serve(&acceptor, stream).await {
                eprintln!("{peer}: {error}");
            }
        });
    }
}

async fn serve(acceptor: &Acceptor, stream: TcpStream) -> Result<(), Box<dyn Error + Send + Sync>> {
    let mut ws = acceptor.accept(stream).await?;
    while let Some(message) = ws.recv().await? {
        ws.send(message).await?;
    }
    Ok(())
}
