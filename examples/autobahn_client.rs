//! The client that the Autobahn test suite's `fuzzingserver` tests.

use std::io;
use std::process::ExitCode;

use clap::Parser;
use motews_std::{CloseCode, Connector, DeflateConfig, Message, WebSocket};

/// Runs all cases of an Autobahn `fuzzingserver` against this client: an echo, case after case. The
/// verdicts are in the server's reports.
#[derive(Parser)]
#[command(name = "autobahn_client")]
struct Options {
    /// The server, such as ws://127.0.0.1:9001
    url: String,

    /// What the reports call this client.
    #[arg(long, default_value = "motews")]
    agent: String,
}

fn main() -> ExitCode {
    let Options { url, agent } = Options::parse();
    match run(url.trim_end_matches('/'), &agent) {
        Ok(count) => {
            println!("{count} cases");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("autobahn_client: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(url: &str, agent: &str) -> io::Result<u32> {
    let mut ws = connect(&format!("{url}/getCaseCount"))?;
    let count = match ws.recv()? {
        Some(Message::Text(count)) => count.parse().ok(),
        _ => None,
    };
    let count = count.ok_or_else(|| io::Error::other("the server tells no number of cases"))?;
    ws.close(CloseCode::NORMAL, "")?;
    ws.closed()?;

    for case in 1..=count {
        // Most cases end with a failure of the connection, which is what they test.
        if let Err(error) = echo(&format!("{url}/runCase?case={case}&agent={agent}")) {
            println!("case {case} of {count}: {error}");
        }
    }

    let mut ws = connect(&format!("{url}/updateReports?agent={agent}"))?;
    while ws.recv()?.is_some() {}
    Ok(count)
}

fn connect(url: &str) -> io::Result<WebSocket> {
    Ok(Connector::new().deflate(DeflateConfig::MAX).connect(url)?)
}

fn echo(url: &str) -> io::Result<()> {
    let mut ws = connect(url)?;
    while let Some(message) = ws.recv()? {
        ws.send(message)?;
    }
    Ok(())
}
