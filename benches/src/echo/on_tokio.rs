//! The servers on tokio that are not peers: a raw echo, the limit of all that run there, and motews.

use core::error::Error;
use core::fmt;
use core::future::Future;
use core::net::SocketAddr;
use core::str::FromStr;
use std::io;
use std::sync::Arc;

use motews_tokio::Acceptor;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::servers::listen;

type Failure = Box<dyn Error + Send + Sync>;

/// Bytes that the raw echo reads at once: as many as motews.
const BUFFER_LEN: usize = 64 * 1024;

/// Threads of the runtime that has several. They share the server's processor, since the client has
/// the other one: what several threads cost is measured, not what they gain.
pub const WORKERS: usize = 2;

/// A runtime of tokio's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Runtime {
    /// Everything on the thread that starts it.
    CurrentThread,
    /// [`WORKERS`] threads, each of which may run any task.
    MultiThread,
}

impl Runtime {
    /// Both.
    pub const ALL: [Self; 2] = [Self::CurrentThread, Self::MultiThread];

    /// What a command line calls it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::CurrentThread => "current-thread",
            Self::MultiThread => "multi-thread",
        }
    }

    fn build(self) -> io::Result<tokio::runtime::Runtime> {
        let mut builder = match self {
            Self::CurrentThread => tokio::runtime::Builder::new_current_thread(),
            Self::MultiThread => tokio::runtime::Builder::new_multi_thread(),
        };
        builder.worker_threads(WORKERS).enable_all().build()
    }
}

impl fmt::Display for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Runtime {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|each| each.name() == text);
        found.ok_or_else(|| format!("no such runtime: {text}"))
    }
}

/// A task for each connection.
pub(super) fn tasks<F>(
    runtime: Runtime,
    tell: &mut dyn FnMut(SocketAddr),
    serve: impl Fn(TcpStream) -> F + Send + 'static,
) -> Result<(), Failure>
where
    F: Future<Output = Result<(), Failure>> + Send + 'static,
{
    let runtime = runtime.build()?;
    let listener = listen(tell)?;
    listener.set_nonblocking(true)?;
    let accept = async move {
        let listener = TcpListener::from_std(listener)?;
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            let task = serve(stream);
            tokio::spawn(tokio::task::unconstrained(async move {
                let _ = task.await; // The client ends it.
            }));
        }
    };
    runtime.block_on(accept)
}

/// Writes back what it reads.
pub(super) fn raw(runtime: Runtime, tell: &mut dyn FnMut(SocketAddr)) -> Result<(), Failure> {
    tasks(runtime, tell, |mut stream| async move {
        let mut buffer = vec![0; BUFFER_LEN];
        loop {
            match stream.read(&mut buffer).await? {
                0 => return Ok(()),
                len => stream.write_all(&buffer[..len]).await?,
            }
        }
    })
}

/// As the front page of its documentation has it.
pub(super) fn motews(runtime: Runtime, tell: &mut dyn FnMut(SocketAddr)) -> Result<(), Failure> {
    let acceptor = Arc::new(Acceptor::new());
    tasks(runtime, tell, move |stream| {
        let acceptor = acceptor.clone();
        async move {
            let mut ws = acceptor.accept(stream).await?;
            while let Some(message) = ws.recv().await? {
                ws.send(message).await?;
            }
            Ok(())
        }
    })
}
