//! A client on tokio that sends the lines of its standard input and prints what comes back, at the
//! same time: receiving may be given up for a line and taken up again, for it is cancel-safe.

use core::error::Error as StdError;

use clap::Parser;
use embedded_io_adapters::tokio_1::FromTokio;
use motews::deflate::DeflateConfig;
use motews::handshake::Request;
use motews::{CloseCode, Ended, Message, MessageBuffer};
use motews_embedded_io::Error;
use motews_embedded_io::asynch::WebSocket;
use motews_examples::embedded_io::{Os, Owned, OwnedDeflate, TokioTime};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpStream;

/// Sends lines as text messages and prints the messages that come, on tokio.
#[derive(Parser)]
#[command(name = "embedded_io_tokio_client")]
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

#[tokio::main]
async fn main() -> Result<(), Box<dyn StdError>> {
    let Options {
        address,
        target,
        deflate,
    } = Options::parse();
    let stream = TcpStream::connect(&address).await?;
    stream.set_nodelay(true)?;
    let request = Request::new(&address, &target)?;
    let mut buffers = Owned::new(4096);
    let mut memory = deflate.then(|| OwnedDeflate::new(DeflateConfig::default()));
    let mut deflate = memory.as_mut().map(OwnedDeflate::lend).transpose()?;
    let ws = WebSocket::client(FromTokio::new(stream), buffers.lend(), request, Os)?;
    let mut ws = ws.with_clock(TokioTime::new());
    if let Some(deflate) = &mut deflate {
        ws = ws.with_deflate(deflate);
    }
    ws.connect().await?;
    match ws.deflate() {
        Some(agreed) => eprintln!("compressed: {agreed:?}"),
        None => eprintln!("not compressed"),
    }

    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    let mut messages = MessageBuffer::new(vec![0; 64 * 1024]);
    let mut closing = false;
    while !closing {
        tokio::select! {
            message = ws.recv(&mut messages) => match message? {
                Some(message) => print(message),
                None => break,
            },
            line = lines.next_line() => match line? {
                Some(line) => match ws.send(Message::Text(&line)).await {
                    // The server has closed the connection: `closed` sees it to its end.
                    Err(Error::Ended(Ended::Closed { .. })) => break,
                    sent => sent?,
                },
                None => {
                    ws.close(CloseCode::NORMAL, "")?;
                    closing = true;
                }
            },
        }
    }
    // What the server still has to say comes before its Close.
    while let Some(message) = ws.recv(&mut messages).await? {
        print(message);
    }
    eprintln!("{}", ws.closed().await?);
    Ok(())
}

fn print(message: Message<'_>) {
    match message {
        Message::Text(text) => println!("{text}"),
        Message::Binary(bytes) => println!("{} bytes", bytes.len()),
    }
}
