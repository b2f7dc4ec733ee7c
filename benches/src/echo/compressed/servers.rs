//! The servers: motews, and the peers that have compression.

use core::error::Error;
use core::net::SocketAddr;
use std::io::{self, Write};
use std::thread;

use motews_std::{Acceptor, MessageRef, Peer, SendError, Server};

use super::Terms;
use crate::echo::process;
use crate::echo::servers::{ANY, listen};

type Failure = Box<dyn Error + Send + Sync>;

/// Serves on an address, which it tells once it listens.
pub(super) type Serve = fn(Terms, &mut dyn FnMut(SocketAddr)) -> Result<(), Failure>;

/// A server that can be started.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// What the tables call it.
    pub name: &'static str,
    /// The terms that it can agree to.
    pub terms: &'static [Terms],
    pub(super) serve: Serve,
}

impl Entry {
    /// All of them, motews first.
    #[must_use]
    pub fn all() -> Vec<Self> {
        let own = [
            Self {
                name: "motews",
                terms: &Terms::ALL,
                serve: |terms, tell| motews(terms, tell, |peer, message| peer.send(message)),
            },
            Self {
                name: "motews, blocking",
                terms: &Terms::ALL,
                serve: blocking,
            },
            Self {
                name: "motews, answers uncompressed",
                terms: &[Terms::Alone],
                serve: |terms, tell| {
                    motews(terms, tell, |peer, message| peer.send_uncompressed(message))
                },
            },
        ];
        let all = own.into_iter();
        #[cfg(feature = "peers")]
        let all = all.chain(super::peers::ALL);
        #[cfg(feature = "peers-zlib")]
        let all = all.chain(super::zlib_peers::ALL);
        all.collect()
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
    pub fn serve(&self, terms: Terms, processor: usize) -> Result<(), Failure> {
        process::pin(processor)?;
        self.run(terms, &mut |address| {
            // Who asked for it misses it.
            let _ = writeln!(io::stdout(), "{address}");
        })
    }

    /// Serves without end.
    pub(super) fn run(
        &self,
        terms: Terms,
        tell: &mut dyn FnMut(SocketAddr),
    ) -> Result<(), Failure> {
        (self.serve)(terms, tell)
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
