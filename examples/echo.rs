//! An echo server on the event-driven [`Server`](motews_std::Server): any number of connections on
//! one thread, or on a few, and a page for browsers on the same port.
//!
//! `echo_blocking` is the same with a thread for each connection.

use std::process::ExitCode;

use clap::Parser;
use motews_examples::compression::{self, Account, Accounts, Saved};
use motews_examples::run::{self, MAX_REFUSALS, Place, Places};
use motews_examples::site;
use motews_std::{
    Ended, Handler, MessageRef, Peer, Request, Response, SendError, Server, ServerLimits,
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
#[command(name = "echo")]
struct Options {
    /// Where to listen, as HOST:PORT. Port 0 is any port that is free.
    #[arg(default_value = "127.0.0.1:9001")]
    addr: String,

    /// Threads, each with an event loop of its own; the connections are spread over them.
    #[arg(long, value_name = "N", default_value_t = 1,
          value_parser = clap::value_parser!(u16).range(1..=256))]
    threads: u16,

    /// Connections at a time; one more is answered with the status 503.
    #[arg(long, value_name = "N", default_value_t = 100_000)]
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

#[derive(Clone)]
struct Echo {
    places: Places,
    accounts: Accounts,
    verbose: bool,
}

/// What is kept for a connection.
struct Kept {
    _place: Place,
    /// There if it is compressed, and a page wants to know what that saves.
    account: Option<Account>,
}

impl Handler for Echo {
    type Data = Kept;

    fn on_request(&mut self, request: &Request) -> Response {
        if let Some(told) = self.accounts.answer(request) {
            told
        } else if !request.is_websocket() {
            site::answer(request, PAGE)
        } else if self.places.are_full() {
            site::full()
        } else {
            // From the pages of any site: there is nothing here to be guarded.
            Response::accepted()
        }
    }

    fn on_open(&mut self, peer: &mut Peer<'_>, request: &Request) -> Result<Kept, SendError> {
        let is_compressed = peer.traffic().is_some();
        Ok(Kept {
            _place: self.places.take(),
            account: is_compressed.then(|| self.accounts.open(request)).flatten(),
        })
    }

    fn on_message(
        &mut self,
        peer: &mut Peer<'_, Kept>,
        message: MessageRef<'_>,
    ) -> Result<(), SendError> {
        peer.send(message)?;
        if let Some(account) = &peer.data().account
            && let Some(traffic) = peer.traffic()
        {
            account.note(traffic);
        }
        Ok(())
    }

    fn on_close(&mut self, peer: &mut Peer<'_, Kept>, ended: Ended) {
        if self.verbose {
            let saved = peer
                .traffic()
                .map(|traffic| format!("; {}", Saved(traffic)));
            run::log(format_args!(
                "{}: {} {:?}{}",
                peer.id(),
                ended.code().as_u16(),
                peer.close_reason(),
                saved.unwrap_or_default()
            ));
        }
    }
}

fn main() -> ExitCode {
    let options = Options::parse();
    let longest = usize::from(options.max_message) * 1024 * 1024;
    let mut builder = Server::builder().limits(ServerLimits {
        connections: options.max_connections.saturating_add(MAX_REFUSALS),
        message: longest as u64,
        // An echo waits here while its client sends and does not read.
        backlog: 2 * longest,
        ..ServerLimits::DEFAULT
    });
    if let Some(wanted) = options.compression.wanted() {
        builder = builder.deflate(wanted);
    }
    let handler = Echo {
        places: Places::new(options.max_connections),
        accounts: Accounts::default(),
        verbose: options.verbose,
    };
    run::end(
        "echo",
        run::serve(builder, options.threads, &options.addr, handler),
    )
}
