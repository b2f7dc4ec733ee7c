//! An echo server on tokio. Replies to what came in one read leave in one write.

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
}

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let Options { address, deflate } = Options::parse();
    let acceptor = match deflate {
        true => Acceptor::new().deflate(DeflateConfig::DEFAULT),
        false => Acceptor::new(),
    };
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
