//! What the servers among the examples share: where they listen, and how they end.

use core::fmt::Display;
use core::sync::atomic::{AtomicUsize, Ordering};
use core::time::Duration;
use std::io::{self, ErrorKind, Write};
use std::process::ExitCode;
use std::sync::Arc;

use motews_std::{Handler, Server, ServerBuilder};

/// How long the clients have to answer the Close when the server is told to stop.
const FAREWELL: Duration = Duration::from_secs(2);

/// How many connections more than there are places may be told so. Those beyond wait.
pub const MAX_REFUSALS: usize = 64;

/// Places for so many WebSockets at a time.
#[derive(Clone, Debug)]
pub struct Places {
    most: usize,
    taken: Arc<AtomicUsize>,
}

/// A place that is taken, until this is dropped.
#[derive(Debug)]
pub struct Place(Arc<AtomicUsize>);

impl Places {
    /// So many.
    #[must_use]
    pub fn new(most: usize) -> Self {
        Self {
            most,
            taken: Arc::default(),
        }
    }

    /// Whether all are taken. Servers with several threads may take one more for each.
    #[must_use]
    pub fn are_full(&self) -> bool {
        self.taken.load(Ordering::Relaxed) >= self.most
    }

    /// Takes one.
    #[must_use]
    pub fn take(&self) -> Place {
        self.taken.fetch_add(1, Ordering::Relaxed);
        Place(Arc::clone(&self.taken))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Listens on `addr`, says so, and serves until the process is told to stop (Ctrl-C, SIGTERM):
/// then every client is closed with 1001, "going away". Each of the `threads` has a clone of
/// `handler`.
///
/// # Errors
/// In words for whoever started the program.
pub fn serve<H: Handler + Clone + Sync>(
    builder: ServerBuilder,
    threads: impl Into<usize>,
    addr: &str,
    handler: H,
) -> Result<(), String> {
    let server: Server = builder.bind(addr).map_err(|error| explain(addr, &error))?;
    let handle = server.handle();
    ctrlc::set_handler(move || handle.shutdown(FAREWELL)).map_err(|error| error.to_string())?;
    announce(server.local_addr());
    let served = server.run_threads(threads.into(), || handler.clone());
    served.map_err(|error| error.to_string())
}

/// The exit status, with the error on standard error.
pub fn end(name: &str, result: Result<(), String>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            log(format_args!("{name}: {message}"));
            ExitCode::FAILURE
        }
    }
}

/// Says where the server listens. Whoever waits for this line may have gone since.
pub fn announce(addr: core::net::SocketAddr) {
    let mut stdout = io::stdout();
    _ = writeln!(stdout, "listening on http://{addr}/ and ws://{addr}/");
    _ = stdout.flush();
}

/// Writes a line to standard error. Whoever reads that may have gone, and the server goes on.
pub fn log(line: impl Display) {
    _ = writeln!(io::stderr(), "{line}");
}

/// Why nothing can listen there, in words for whoever wrote the address.
#[must_use]
pub fn explain(addr: &str, error: &io::Error) -> String {
    match error.kind() {
        ErrorKind::AddrInUse => {
            format!("{addr} is in use: name another port, or port 0 for any that is free")
        }
        ErrorKind::PermissionDenied => format!("{addr}: this port is not for everyone: {error}"),
        ErrorKind::InvalidInput => {
            format!("{addr:?} is no address to listen on: write HOST:PORT, such as 127.0.0.1:9001")
        }
        _ => format!("cannot listen on {addr:?}: {error}"),
    }
}
