//! The client that the Autobahn test suite's `fuzzingserver` tests: the async WebSocket of the
//! embedded-io adapter on Tokio.

use core::error::Error as StdError;

use clap::Parser;
use embedded_io_adapters::tokio_1::FromTokio;
use motews::deflate::{DeflateConfig, Level};
use motews::handshake::Request;
use motews::{Client, CloseCode, Message, MessageBuffer};
use motews_embedded_io::{Extension, NoExtension, Untimed};
use motews_examples::embedded_io::{Os, Tokio, echo_async, memory};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

type Fallible<T> = Result<T, Box<dyn StdError>>;
type Ws<'a, X = NoExtension> = Tokio<'a, Client<Os>, Untimed, X>;

/// Runs all cases of a fuzzingserver.
#[derive(Parser)]
#[command(name = "tokio_autobahn_client")]
struct Options {
    /// Where the suite is: ws://127.0.0.1:9001
    url: String,

    /// Offer compression.
    #[arg(long)]
    deflate: bool,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Fallible<()> {
    let Options { url, deflate } = Options::parse();
    let address = url.trim_start_matches("ws://");
    let mut messages = MessageBuffer::new([0; 16]);
    let mut ws = client(address, "/getCaseCount").await?;
    ws.connect().await?;
    let count: u32 = match ws.recv(&mut messages).await? {
        Some(Message::Text(count)) => count.parse()?,
        _ => return Err("the server tells no number of cases".into()),
    };
    ws.close(CloseCode::NORMAL, "").await?;

    for case in 1..=count {
        let target = format!("/runCase?case={case}&agent=motews");
        let ws = client(address, &target).await?;
        // Most cases end with a failure of the connection, which is what they test.
        let end = if deflate {
            talk(ws.with_deflate(
                DeflateConfig::MAX,
                Level::Default,
                memory(DeflateConfig::MAX),
            )?)
            .await
        } else {
            talk(ws).await
        };
        if let Err(error) = end {
            println!("case {case} of {count}: {error}");
        }
    }

    let mut ws = client(address, "/updateReports?agent=motews").await?;
    ws.connect().await?;
    while ws.next_event().await?.is_some() {}
    Ok(())
}

async fn client<'a>(address: &'a str, target: &'a str) -> Fallible<Ws<'a>> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let request = Request::new(address, target)?;
    let (rx, tx) = (vec![0; 16 * 1024], vec![0; 16 * 1024]);
    Ok(Ws::client(FromTokio::new(stream), rx, tx, request, Os)?)
}

async fn talk(mut ws: Ws<'_, impl Extension>) -> Fallible<()> {
    ws.connect().await?;
    let end = echo_async(&mut ws).await;
    _ = ws.transport_mut().inner_mut().shutdown().await;
    _ = ws.drain().await;
    Ok(end?)
}
