//! The servers: motews, and the peers that have compression.

use core::error::Error;
use core::net::SocketAddr;
use std::io::{self, Write};
use std::sync::Arc;
use std::thread;

use motews_std::{Acceptor, MessageRef, Peer, SendError, Server};

use super::Terms;
use crate::echo::on_tokio::{Runtime, tasks};
use crate::echo::process;
use crate::echo::servers::{ANY, listen};

type Failure = Box<dyn Error + Send + Sync>;

/// Serves on an address, which it tells once it listens, with an event loop or threads of its own.
pub(super) type Own = fn(Terms, &mut dyn FnMut(SocketAddr)) -> Result<(), Failure>;

/// Serves on a runtime of tokio's.
pub(super) type OnTokio = fn(Terms, Runtime, &mut dyn FnMut(SocketAddr)) -> Result<(), Failure>;

#[derive(Clone, Copy, Debug)]
pub(super) enum Serve {
    Own(Own),
    OnTokio(OnTokio),
}

/// A server that can be started.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// What the tables call it.
    pub name: &'static str,
    /// The terms that it can agree to.
    pub terms: &'static [Terms],
    /// Whether it compresses what it answers, if that was agreed upon.
    pub compresses: bool,
    pub(super) serve: Serve,
}

impl Entry {
    /// All of them, motews first; those on tokio follow.
    #[must_use]
    pub fn all() -> Vec<Self> {
        let own = [
            Self {
                name: "motews",
                terms: &Terms::ALL,
                compresses: true,
                serve: Serve::Own(|terms, tell| {
                    motews(terms, tell, |peer, message| peer.send(message))
                }),
            },
            Self {
                name: "motews, blocking",
                terms: &Terms::ALL,
                compresses: true,
                serve: Serve::Own(blocking),
            },
            Self {
                name: "motews, answers uncompressed",
                terms: &[Terms::Alone],
                compresses: false,
                serve: Serve::Own(|terms, tell| {
                    motews(terms, tell, |peer, message| peer.send_uncompressed(message))
                }),
            },
            Self {
                name: "motews-tokio",
                terms: &Terms::ALL,
                compresses: true,
                serve: Serve::OnTokio(motews_tokio),
            },
        ];
        let all = own.into_iter();
        #[cfg(feature = "peers")]
        let all = all.chain(super::peers::ALL);
        #[cfg(feature = "peers-zlib")]
        let all = all.chain(super::zlib_peers::ALL);
        all.collect()
    }

    /// Whether it runs on a runtime of tokio's.
    #[must_use]
    pub const fn is_on_tokio(&self) -> bool {
        matches!(self.serve, Serve::OnTokio(_))
    }

    /// The one called `name`.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::all().into_iter().find(|entry| entry.name == name)
    }

    /// Serves on `processor` until it is killed, and writes its address to the standard output.
    ///
    /// # Errors
    /// What the system or the server says.
    pub fn serve(&self, terms: Terms, runtime: Runtime, processor: usize) -> Result<(), Failure> {
        process::pin(processor)?;
        self.run(terms, runtime, &mut |address| {
            // Who asked for it misses it.
            let _ = writeln!(io::stdout(), "{address}");
        })
    }

    /// Serves without end; `runtime` is for those on tokio.
    pub(super) fn run(
        &self,
        terms: Terms,
        runtime: Runtime,
        tell: &mut dyn FnMut(SocketAddr),
    ) -> Result<(), Failure> {
        match self.serve {
            Serve::Own(serve) => serve(terms, tell),
            Serve::OnTokio(serve) => serve(terms, runtime, tell),
        }
    }
}

fn motews(
    terms: Terms,
    tell: &mut dyn FnMut(SocketAddr),
    answer: fn(&mut Peer, MessageRef) -> Result<(), SendError>,
) -> Result<(), Failure> {
    let mut builder = Server::builder();
    if let Some(deflate) = terms.deflate() {
        builder = builder.deflate(deflate);
    }
    let server = builder.bind(ANY)?;
    tell(server.local_addr());
    Ok(server.run(move |peer: &mut Peer, message: MessageRef| answer(peer, message))?)
}

/// A thread for each connection.
fn blocking(terms: Terms, tell: &mut dyn FnMut(SocketAddr)) -> Result<(), Failure> {
    let mut acceptor = Acceptor::new();
    if let Some(deflate) = terms.deflate() {
        acceptor = acceptor.deflate(deflate);
    }
    for stream in listen(tell)?.incoming() {
        let (stream, acceptor) = (stream?, acceptor.clone());
        thread::spawn(move || -> Result<(), Failure> {
            stream.set_nodelay(true)?;
            let mut socket = acceptor.accept(stream)?;
            while let Some(message) = socket.recv()? {
                socket.send(message)?;
            }
            Ok(())
        });
    }
    Ok(())
}

/// As the front page of its documentation has it.
fn motews_tokio(
    terms: Terms,
    runtime: Runtime,
    tell: &mut dyn FnMut(SocketAddr),
) -> Result<(), Failure> {
    let mut acceptor = motews_tokio::Acceptor::new();
    if let Some(deflate) = terms.deflate() {
        acceptor = acceptor.deflate(deflate);
    }
    let acceptor = Arc::new(acceptor);
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
