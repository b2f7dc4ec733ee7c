//! A client on tokio that sends the lines of its standard input and prints what comes back, at the
//! same time: receiving may be given up for a line and taken up again, for it is cancel-safe.

use core::error::Error;
use std::io;

use clap::Parser;
use embedded_io_adapters::tokio_1::FromTokio;
use motews::handshake::Request;
use motews::{Client, CloseCode, Entropy, EntropyError, Message, MessageBuffer};
use motews_embedded_io::asynch::WebSocket;
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
}

/// The operating system's random numbers.
struct Os;

impl Entropy for Os {
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), EntropyError> {
        getrandom::fill(bytes).map_err(|_| EntropyError)
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let Options { address, target } = Options::parse();
    let stream = TcpStream::connect(&address).await?;
    stream.set_nodelay(true)?;
    let request = Request::new(&address, &target, &mut Os)?;
    let (rx, tx) = (vec![0; 4096], vec![0; 4096]);
    let mut ws: WebSocket<'_, _, Client<Os>, _, _> =
        WebSocket::client(FromTokio::new(stream), rx, tx, request, Os)?;
    ws.connect().await?;

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
                Some(line) => ws.send(Message::Text(&line)).await?,
                // What the server still has to say comes before its Close.
                None => {
                    ws.start_close::<io::Error>(CloseCode::NORMAL, "")?;
                    closing = true;
                }
            },
        }
    }
    Ok(())
}
