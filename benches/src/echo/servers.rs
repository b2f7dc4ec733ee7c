//! The servers: the raw echo, motews, and its peers.

use core::error::Error;
use core::net::{Ipv4Addr, SocketAddr};
use std::io::{self, Write};
use std::net::TcpListener;

use motews_std::{MessageRef, Peer, Server};

use super::on_tokio::Runtime;
#[cfg(feature = "peers")]
use super::peers;
use super::{client::Protocol, on_tokio, process, raw};

type Failure = Box<dyn Error + Send + Sync>;

/// Serves on an address, which it tells once it listens, with an event loop of its own.
pub(super) type Loop = fn(&mut dyn FnMut(SocketAddr)) -> Result<(), Failure>;

/// Serves on a runtime of tokio's.
pub(super) type OnTokio = fn(Runtime, &mut dyn FnMut(SocketAddr)) -> Result<(), Failure>;

/// Any port of this machine's own network.
pub(super) const ANY: (Ipv4Addr, u16) = (Ipv4Addr::LOCALHOST, 0);

#[derive(Clone, Copy, Debug)]
enum Serve {
    Loop(Loop),
    OnTokio(OnTokio),
}

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
    const fn tcp(name: &'static str, serve: Serve) -> Self {
        let protocol = Protocol::Tcp;
        Self {
            name,
            protocol,
            serve,
        }
    }

    const fn web_socket(name: &'static str, serve: Serve) -> Self {
        let protocol = Protocol::WebSocket;
        Self {
            name,
            protocol,
            serve,
        }
    }

    /// Each on one thread: the raw echo first, then motews, then the peers.
    #[must_use]
    pub fn all() -> Vec<Self> {
        let own = [
            Self::tcp(
                "raw TCP",
                Serve::Loop(|tell| Ok(raw::serve::<raw::Raw>(&listen(tell)?)?)),
            ),
            Self::web_socket("motews", Serve::Loop(motews)),
        ];
        let all = own.into_iter();
        #[cfg(feature = "peers")]
        let all = all
            .chain([Self::web_socket(
                peers::TUNGSTENITE.0,
                Serve::Loop(peers::TUNGSTENITE.1),
            )])
            .chain(Self::peers_on_tokio().filter(|each| each.name != peers::TOKIO_TUNGSTENITE));
        all.collect()
    }

    /// Those on tokio: the raw echo first, then motews, then the peers.
    #[must_use]
    pub fn on_tokio() -> Vec<Self> {
        let own = [
            Self::tcp("raw tokio", Serve::OnTokio(on_tokio::raw)),
            Self::web_socket("motews-tokio", Serve::OnTokio(on_tokio::motews)),
        ];
        let all = own.into_iter();
        #[cfg(feature = "peers")]
        let all = all.chain(Self::peers_on_tokio());
        all.collect()
    }

    /// What lies between the raw echo and a server.
    #[must_use]
    pub fn limits() -> [Self; 2] {
        [
            Self::tcp(
                "returning TCP",
                Serve::Loop(|tell| Ok(raw::serve::<raw::Returning>(&listen(tell)?)?)),
            ),
            Self::web_socket(
                "only unmasking",
                Serve::Loop(|tell| Ok(raw::serve::<raw::Unmasking>(&listen(tell)?)?)),
            ),
        ]
    }

    #[cfg(feature = "peers")]
    fn peers_on_tokio() -> impl Iterator<Item = Self> {
        let all = peers::ON_TOKIO.into_iter();
        all.map(|(name, serve)| Self::web_socket(name, Serve::OnTokio(serve)))
    }

    /// The one called `name`.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        let all = Self::all().into_iter().chain(Self::on_tokio());
        let mut all = all.chain(Self::limits());
        all.find(|entry| entry.name == name)
    }

    /// Serves on `processor` until it is killed, and writes its address to the standard output.
    ///
    /// # Errors
    /// What the system or the server says.
    pub fn serve(&self, runtime: Runtime, processor: usize) -> Result<(), Failure> {
        process::pin(processor)?;
        self.run(runtime, &mut |address| {
            // Who asked for it misses it.
            let _ = writeln!(io::stdout(), "{address}");
        })
    }

    /// Serves without end. The runtime is for those on tokio.
    pub(super) fn run(
        &self,
        runtime: Runtime,
        tell: &mut dyn FnMut(SocketAddr),
    ) -> Result<(), Failure> {
        match self.serve {
            Serve::Loop(serve) => serve(tell),
            Serve::OnTokio(serve) => serve(runtime, tell),
        }
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
