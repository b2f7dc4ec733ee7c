//! A client on tokio that comes back: it sends the lines of its standard input and prints what comes,
//! at the same time. Both may be given up for the other and taken up again, for they are cancel-safe.
//!
//! A line that is typed while there is no connection waits for the next one. A line that was sent over a
//! connection that has ended may have arrived or not: that is said, and nothing is sent twice.

use std::collections::VecDeque;
use std::process::ExitCode;

use clap::Parser;
use motews_tokio::{
    Backoff, CloseCode, Connector, DeflateConfig, Interrupted, Message, NotSent, Reconnecting,
    SendError, Update,
};
use tokio::io::{AsyncBufReadExt, BufReader};

/// How many lines may wait for a connection before no more are read.
const MAX_UNSENT: usize = 1000;

/// Sends lines as text messages and prints the messages that come, over one connection after the other.
///
/// It ends with the input, by a closing handshake, or when there is no use in a further attempt.
#[derive(Parser)]
#[command(name = "tokio_client")]
struct Options {
    /// ws://HOST:PORT/PATH or wss://...
    url: String,

    /// Offer compression.
    #[arg(long)]
    deflate: bool,

    /// How long to wait at most before the first new attempt, in milliseconds; the others wait longer.
    #[arg(long, value_name = "MILLISECONDS", default_value_t = Backoff::DEFAULT.first)]
    first_wait: u32,
}

#[tokio::main]
async fn main() -> ExitCode {
    let options = Options::parse();
    let connector = match options.deflate {
        true => Connector::new().deflate(DeflateConfig::DEFAULT),
        false => Connector::new(),
    };
    let backoff = Backoff {
        first: options.first_wait,
        ..Backoff::DEFAULT
    };
    let mut client = Reconnecting::new(connector, &options.url, backoff);
    let mut input = BufReader::new(tokio::io::stdin()).lines();
    let mut is_at_end = false;
    let mut unsent = VecDeque::new();
    let mut was_open = false;
    let mut is_clean = false;
    loop {
        while client.is_open()
            && let Some(line) = unsent.pop_front()
        {
            match client.send(line).await {
                Ok(()) => {}
                Err(NotSent::Unsent(message)) => {
                    unsent.push_front(message);
                    break; // `next` says why.
                }
                Err(NotSent::InboundFull(message)) => {
                    unsent.push_front(message);
                    break; // What has come is received first.
                }
                Err(error) => eprintln!("{error}"),
            }
        }
        if is_at_end && unsent.is_empty() && was_open {
            match client.close(CloseCode::NORMAL, "") {
                Ok(()) | Err(SendError::Closed) => {}
                Err(error) => eprintln!("{error}"),
            }
        }
        tokio::select! {
            update = client.next() => match update {
                Some(Update::Opened(_)) => {
                    eprintln!("connected");
                    was_open = true;
                }
                Some(Update::Message(Message::Text(text))) => println!("{text}"),
                Some(Update::Message(Message::Binary(bytes))) => println!("{} bytes", bytes.len()),
                Some(Update::Ended(end)) => {
                    eprintln!("{end}");
                    if end.unconfirmed > 0 {
                        eprintln!("of {} lines it is unknown whether they have arrived", end.unconfirmed);
                    }
                    is_clean = matches!(end.reason, Interrupted::Connection(ended, _) if ended.is_clean());
                }
                Some(_) => {}
                None => break,
            },
            line = input.next_line(), if !is_at_end && unsent.len() < MAX_UNSENT => match line {
                Ok(Some(line)) => unsent.push_back(Message::from(line)),
                Ok(None) => is_at_end = true,
                Err(error) => {
                    eprintln!("the input: {error}");
                    is_at_end = true;
                }
            },
        }
    }
    for message in &unsent {
        eprintln!("not sent: {}", message.as_text().unwrap_or_default());
    }
    match is_clean && unsent.is_empty() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}
