//! The client that the Autobahn test suite's `fuzzingserver` tests, on tokio.

use core::error::Error;

use clap::Parser;
use motews_tokio::{CloseCode, Connector, DeflateConfig};

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
async fn main() -> Result<(), Box<dyn Error>> {
    let Options { url, deflate } = Options::parse();
    let connector = match deflate {
        true => Connector::new().deflate(DeflateConfig::MAX),
        false => Connector::new(),
    };
    let mut ws = connector.connect(&format!("{url}/getCaseCount")).await?;
    let message = ws
        .recv()
        .await?
        .ok_or("the server tells no number of cases")?;
    let count: u32 = message.as_text().unwrap_or_default().parse()?;
    ws.close(CloseCode::NORMAL, "").ok();
    ws.closed().await;

    for case in 1..=count {
        // Most cases end with a failure of the connection, which is what they test.
        if let Err(error) = run(
            &connector,
            &format!("{url}/runCase?case={case}&agent=motews"),
        )
        .await
        {
            println!("case {case} of {count}: {error}");
        }
    }
    let mut ws = connector
        .connect(&format!("{url}/updateReports?agent=motews"))
        .await?;
    ws.closed().await;
    Ok(())
}

async fn run(connector: &Connector, url: &str) -> Result<(), Box<dyn Error>> {
    let mut ws = connector.connect(url).await?;
    while let Some(message) = ws.recv().await? {
        ws.send(message).await?;
    }
    Ok(())
}
