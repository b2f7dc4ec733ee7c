//! A client on tokio that sends the lines of its standard input and prints what comes back, at the
//! same time: receiving may be given up for a line and taken up again, for it is cancel-safe.

use core::error::Error;
use std::io;

use clap::Parser;
use embedded_io_adapters::tokio_1::FromTokio;
use motews::deflate::{DeflateConfig, Level};
use motews::handshake::Request;
use motews::{Client, CloseCode, Message, MessageBuffer, SendError};
use motews_embedded_io::asynch::WebSocket;
use motews_embedded_io::{Extension, NoExtension};
use motews_examples::embedded_io::{Os, Tokio, TokioTime, memory};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpStream;

/// Sends lines as text messages and prints the messages that come, on tokio.
#[derive(Parser)]
#[command(name = "tokio_client")]
struct Options {
    /// Host and port, such as 127.0.0.1:9001
    address: String,

    /// The resource on the server.
    #[arg(default_value = "/")]
    target: String,

    /// Offer compression, and tell what was agreed upon. It takes 69 KiB more.
    #[arg(long)]
    deflate: bool,
}

type Ws<'a, X = NoExtension> = Tokio<'a, Client<Os>, TokioTime, X>;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let Options {
        address,
        target,
        deflate,
    } = Options::parse();
    let stream = TcpStream::connect(&address).await?;
    stream.set_nodelay(true)?;
    let request = Request::new(&address, &target)?;
    let (rx, tx) = (vec![0; 4096], vec![0; 4096]);
    let ws = WebSocket::client(FromTokio::new(stream), rx, tx, request, Os)?;
    let mut ws: Ws<'_> = ws.with_clock(TokioTime::new());
    if deflate {
        let config = DeflateConfig::default();
        let mut ws = ws.with_deflate(config, Level::Default, memory(config))?;
        ws.connect().await?;
        match ws.deflate() {
            Some(agreed) => eprintln!("compressed: {agreed:?}"),
            None => eprintln!("not compressed"),
        }
        return talk(ws).await;
    }
    ws.connect().await?;
    talk(ws).await
}

async fn talk(mut ws: Ws<'_, impl Extension>) -> Result<(), Box<dyn Error>> {
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    let mut messages = MessageBuffer::new(vec![0; 64 * 1024]);
    let mut closing = false;
    loop {
        tokio::select! {
            message = ws.recv(&mut messages) => match message? {
                Some(Message::Text(text)) => println!("{text}"),
                Some(Message::Binary(bytes)) => println!("{} bytes", bytes.len()),
                None => break,
            },
            line = lines.next_line(), if !closing => match line? {
                Some(line) => match ws.send(Message::Text(&line)).await {
                    // The server is closing the connection: `recv` sees it to its end.
                    Err(motews_embedded_io::Error::Send(SendError::NotOpen)) => closing = true,
                    sent => sent?,
                },
                // What the server still has to say comes before its Close.
                None => {
                    ws.start_close::<io::Error>(CloseCode::NORMAL, "")?;
                    closing = true;
                }
            },
        }
    }
    // RFC 6455 §7.1.1: the server ends TCP first.
    ws.drain().await?;
    Ok(())
}
