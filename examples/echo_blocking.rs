//! An echo server on the blocking [`WebSocket`](motews_std::WebSocket): a thread for each connection,
//! and a page for browsers on the same port. `echo` is the same on the event-driven server.

use core::time::Duration;
use std::io;
use std::net::{TcpListener, TcpStream};
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;

use clap::Parser;
use motews_examples::compression::{self, Accounts, Saved};
use motews_examples::run::{self, MAX_REFUSALS};
use motews_examples::site;
use motews_std::{
    AcceptError, Acceptor, DEFAULT_LIMITS, Ended, Limits, Request, Response, Traffic,
};

/// What a browser gets.
const PAGE: &str = include_str!("web/echo.html");

/// A WebSocket echo server. It sends back each message as it came, text as text and binary as
/// binary.
///
/// A browser that asks the same port for / gets a page to try it with. WebSockets are accepted at
/// any path. A client that falls silent is asked with a ping after 30 seconds, and given up if it
/// does not answer for 10; one that does not finish its request is given up after 10 seconds.
#[derive(Parser)]
#[command(name = "echo_blocking")]
struct Options {
    /// Where to listen, as HOST:PORT. Port 0 is any port that is free.
    #[arg(default_value = "127.0.0.1:9001")]
    addr: String,

    /// Connections at a time; one more is answered with the status 503.
    #[arg(long, value_name = "N", default_value_t = 256)]
    max_connections: usize,

    /// The longest message in MiB; a longer one closes the connection with the code 1009. Each
    /// connection may take as much memory while its message arrives.
    #[arg(long, value_name = "MIB", default_value_t = 16,
          value_parser = clap::value_parser!(u16).range(1..=1024))]
    max_message: u16,

    #[command(flatten)]
    compression: compression::Options,

    /// Write a line to standard error for each connection that ends.
    #[arg(long, short)]
    verbose: bool,
}

fn main() -> ExitCode {
    run::end("echo_blocking", serve_all(&Options::parse()))
}

fn serve_all(options: &Options) -> Result<(), String> {
    let listener =
        TcpListener::bind(&options.addr).map_err(|error| run::explain(&options.addr, &error))?;
    run::announce(listener.local_addr().map_err(|error| error.to_string())?);

    let mut acceptor = Acceptor::new().limits(Limits {
        message: u64::from(options.max_message) * 1024 * 1024,
        ..DEFAULT_LIMITS
    });
    if let Some(wanted) = options.compression.wanted() {
        acceptor = acceptor.deflate(wanted);
    }
    let acceptor = Arc::new(acceptor);
    let accounts = Accounts::default();
    // Each connection holds a clone, and so they are counted.
    let connections = Arc::new(());
    loop {
        let (stream, peer) = match listener.accept() {
            Ok(accepted) => accepted,
            Err(error) => {
                // The client has gone again, or there are too many open files: that may pass.
                if options.verbose {
                    run::log(format_args!("accept: {error}"));
                }
                thread::sleep(Duration::from_millis(10));
                continue;
            }
        };
        let count = Arc::strong_count(&connections) - 1;
        if count >= options.max_connections.saturating_add(MAX_REFUSALS) {
            // They are closed without a word.
            continue;
        }
        let is_full = count >= options.max_connections;
        let connection = Arc::clone(&connections);
        let acceptor = Arc::clone(&acceptor);
        let accounts = accounts.clone();
        let verbose = options.verbose;
        let spawned = thread::Builder::new().spawn(move || {
            let ending = serve(&acceptor, &accounts, stream, is_full);
            drop(connection);
            if verbose {
                run::log(format_args!("{peer}: {}", told(ending)));
            }
        });
        if let Err(error) = spawned
            && verbose
        {
            run::log(format_args!("{peer}: no thread: {error}"));
        }
    }
}

/// How a connection ended, and what compression has saved on it.
type Ending = (Ended, String, Option<Traffic>);

/// The life of a connection. `None`: it was for the page.
fn serve(
    acceptor: &Acceptor,
    accounts: &Accounts,
    stream: TcpStream,
    is_full: bool,
) -> io::Result<Option<Ending>> {
    let mut account = None;
    let answer = |request: &Request| {
        account = accounts.open(request);
        answer(request, accounts, is_full)
    };
    let mut ws = match acceptor.accept_with(stream, answer) {
        Ok(ws) => ws,
        Err(AcceptError::Answered(200)) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    // There if it is compressed, and a page wants to know what that saves.
    let account = account.filter(|_| ws.traffic().is_some());
    while let Some(message) = ws.recv()? {
        ws.send(message)?;
        if let Some(account) = &account
            && let Some(traffic) = ws.traffic()
        {
            account.note(traffic);
        }
    }
    let ended = ws.ended();
    Ok(ended.map(|ended| (ended, ws.close_reason().to_owned(), ws.traffic())))
}

fn answer(request: &Request, accounts: &Accounts, is_full: bool) -> Response {
    if let Some(told) = accounts.answer(request) {
        told
    } else if !request.is_websocket() {
        site::answer(request, PAGE)
    } else if is_full {
        site::full()
    } else {
        Response::accepted()
    }
}

/// How a connection ended, in one line.
fn told(ending: io::Result<Option<Ending>>) -> String {
    match ending {
        Ok(None) => "got the page, or left".to_owned(),
        Ok(Some((ended, reason, traffic))) => {
            let saved = traffic.map(|traffic| format!("; {}", Saved(traffic)));
            let saved = saved.unwrap_or_default();
            format!("closed: {} {reason:?}{saved}", ended.code().as_u16())
        }
        Err(error) => error.to_string(),
    }
}
