//! An echo server on the event-driven [`Server`](motews_std::Server): any number of connections on
//! one thread, or on a few, and a page for browsers on the same port.
//!
//! `echo_blocking` is the same with a thread for each connection.

use std::process::ExitCode;

use clap::Parser;
use motews_examples::run::{self, MAX_REFUSALS, Place, Places};
use motews_examples::site;
use motews_std::{
    Context, Deflate, Handler, Limits, MessageRef, Outcome, Peer, Request, Response, SendError,
    Server,
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

    /// Compress messages for clients that can inflate them. One compressor serves all connections of
    /// a thread; each that inflates takes 34 KiB more.
    #[arg(long)]
    deflate: bool,

    /// Write a line to standard error for each connection that ends.
    #[arg(long, short)]
    verbose: bool,
}

#[derive(Clone)]
struct Echo {
    places: Places,
    verbose: bool,
}

impl Handler for Echo {
    type Data = Option<Place>;

    fn on_request(&mut self, request: &Request) -> Response {
        if !request.is_websocket() {
            site::answer(request, PAGE)
        } else if self.places.are_full() {
            site::full()
        } else {
            // From the pages of any site: there is nothing here to be guarded.
            Response::accept()
        }
    }

    fn on_open(&mut self, peer: &mut Peer<'_, Self::Data>, _: &Request) -> Result<(), SendError> {
        *peer.data_mut() = Some(self.places.take());
        Ok(())
    }

    fn on_message(
        &mut self,
        peer: &mut Peer<'_, Self::Data>,
        message: MessageRef<'_>,
    ) -> Result<(), SendError> {
        peer.send(message)
    }

    fn on_close(&mut self, peer: &mut Peer<'_, Self::Data>, outcome: &Outcome) {
        if self.verbose {
            let Outcome { code, reason, .. } = outcome;
            run::log(format_args!("{}: {} {reason:?}", peer.id(), code.as_u16()));
        }
    }
}

fn main() -> ExitCode {
    let options = Options::parse();
    let max_message_len = usize::from(options.max_message) * 1024 * 1024;
    let mut builder = Server::builder()
        .threads(options.threads.into())
        .limits(Limits {
            max_connections: options.max_connections.saturating_add(MAX_REFUSALS),
            max_message_len,
            // An echo waits here while its client sends and does not read.
            max_backlog: 2 * max_message_len,
            ..Limits::default()
        });
    if options.deflate {
        let send = Context {
            takeover: false,
            ..Context::default()
        };
        builder = builder.deflate(Deflate {
            send,
            ..Deflate::default()
        });
    }
    let handler = Echo {
        places: Places::new(options.max_connections),
        verbose: options.verbose,
    };
    run::end("echo", run::serve(builder, &options.addr, handler))
}
