//! The client that the Autobahn test suite's `fuzzingserver` tests: the async WebSocket of the
//! embedded-io adapter on Tokio.

use core::error::Error as StdError;

use embedded_io_adapters::tokio_1::FromTokio;
use motews::deflate::DeflateConfig;
use motews::handshake::Request;
use motews::{Client, CloseCode, Message, MessageBuffer};
use motews_examples::embedded_io::{Os, Owned, OwnedDeflate, Tokio, echo_async};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

type Fallible<T> = Result<T, Box<dyn StdError>>;
type Ws<'a> = Tokio<'a, Client<Os>>;

/// Runs all cases of a fuzzingserver: `embedded_io_tokio_autobahn_client [--deflate] ws://HOST:PORT`
#[tokio::main(flavor = "current_thread")]
async fn main() -> Fallible<()> {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    let deflate = arguments.iter().any(|argument| argument == "--deflate");
    // The suite's test puts the URL before the options.
    arguments.retain(|argument| argument != "--deflate");
    let url = arguments.pop().unwrap_or_default();
    let address = url.trim_start_matches("ws://");
    let mut buffers = Owned::new(16 * 1024);
    let mut messages = MessageBuffer::new([0; 16]);
    let mut ws = client(address, "/getCaseCount", &mut buffers).await?;
    ws.connect().await?;
    let count: u32 = match ws.recv(&mut messages).await? {
        Some(Message::Text(count)) => count.parse()?,
        _ => return Err("the server tells no number of cases".into()),
    };
    ws.close(CloseCode::NORMAL, "")?;
    ws.closed().await?;

    for case in 1..=count {
        let target = format!("/runCase?case={case}&agent=motews");
        let mut memory = deflate.then(|| OwnedDeflate::new(DeflateConfig::MAX));
        let mut deflate = memory.as_mut().map(OwnedDeflate::lend).transpose()?;
        let mut ws = client(address, &target, &mut buffers).await?;
        if let Some(deflate) = &mut deflate {
            ws = ws.with_deflate(deflate);
        }
        // Most cases end with a failure of the connection, which is what they test.
        let end = talk(ws).await;
        if let Err(error) = end {
            println!("case {case} of {count}: {error}");
        }
    }

    let mut ws = client(address, "/updateReports?agent=motews", &mut buffers).await?;
    ws.connect().await?;
    while ws.next_event().await?.is_some() {}
    Ok(())
}

async fn client<'a>(address: &'a str, target: &'a str, buffers: &'a mut Owned) -> Fallible<Ws<'a>> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let request = Request::new(address, target)?;
    Ok(Ws::client(
        FromTokio::new(stream),
        buffers.lend(),
        request,
        Os,
    )?)
}

async fn talk(mut ws: Ws<'_>) -> Fallible<()> {
    ws.connect().await?;
    let end = echo_async(&mut ws).await;
    _ = ws.transport_mut().inner_mut().shutdown().await;
    _ = ws.drain().await;
    Ok(end?)
}
