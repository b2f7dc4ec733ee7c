//! The servers: the raw echo, motews, and its peers.

use core::error::Error;
use core::net::{Ipv4Addr, SocketAddr};
use std::io::{self, Write};
use std::net::TcpListener;

use motews_std::{MessageRef, Peer, Server};

#[cfg(feature = "peers")]
use super::peers;
use super::{client::Protocol, process, raw};

type Failure = Box<dyn Error + Send + Sync>;

/// Serves on an address, which it tells once it listens.
type Serve = fn(&mut dyn FnMut(SocketAddr)) -> Result<(), Failure>;

/// Any port of this machine's own network.
pub(super) const ANY: (Ipv4Addr, u16) = (Ipv4Addr::LOCALHOST, 0);

/// A server that can be started.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// What the tables call it.
    pub name: &'static str,
    /// What it speaks.
    pub protocol: Protocol,
    serve: Serve,
}

impl Entry {
    /// All of them: the raw echo first, then motews, then the peers.
    #[must_use]
    pub fn all() -> Vec<Self> {
        let own = [
            Self {
                name: "raw TCP",
                protocol: Protocol::Tcp,
                serve: |tell| Ok(raw::serve(&listen(tell)?)?),
            },
            Self {
                name: "motews",
                protocol: Protocol::WebSocket,
                serve: motews,
            },
        ];
        #[cfg(feature = "peers")]
        let peers = peers::ALL.map(|(name, serve)| Self {
            name,
            protocol: Protocol::WebSocket,
            serve,
        });
        #[cfg(not(feature = "peers"))]
        let peers = [];
        own.into_iter().chain(peers).collect()
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
    pub fn serve(&self, processor: usize) -> Result<(), Failure> {
        process::pin(processor)?;
        self.run(&mut |address| {
            // Who asked for it misses it.
            let _ = writeln!(io::stdout(), "{address}");
        })
    }

    /// Serves without end.
    pub(super) fn run(&self, tell: &mut dyn FnMut(SocketAddr)) -> Result<(), Failure> {
        (self.serve)(tell)
    }
}

/// Listens, for those that take a listener.
pub(super) fn listen(tell: &mut dyn FnMut(SocketAddr)) -> io::Result<TcpListener> {
    let listener = TcpListener::bind(ANY)?;
    tell(listener.local_addr()?);
    Ok(listener)
}

fn motews(tell: &mut dyn FnMut(SocketAddr)) -> Result<(), Failure> {
    let server = Server::bind(ANY)?;
    tell(server.local_addr());
    Ok(server.run(|peer: &mut Peer, message: MessageRef| peer.send(message))?)
}
