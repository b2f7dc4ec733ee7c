//! What the tests of the event-driven server share.
use core::net::SocketAddr;
use core::time::Duration;
use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use motews_std::{
    CloseCode, Ended, Handler, MessageRef, Peer, PeerId, Request, Response, SendError, Server,
    ServerBuilder, ServerHandle, WebSocket,
};
use motews_testkit::frame::Frame;
use motews_testkit::head;

pub(crate) use crate::support::{PATIENCE, until};

/// A `min_rate` at which bytes buy no time that counts.
pub(crate) const FAST: u32 = 1 << 30;

/// A server on a thread of its own, which is shut down at the end.
pub(crate) struct Running {
    pub(crate) addr: SocketAddr,
    pub(crate) handle: ServerHandle,
    thread: Option<JoinHandle<io::Result<()>>>,
}

pub(crate) fn start<H>(builder: ServerBuilder, handler: H) -> Running
where
    H: Handler + Send + 'static,
{
    spawn(builder, move |server| server.run(handler))
}

/// The same with several loops, for each of which `handler` is cloned.
pub(crate) fn start_threads<H>(builder: ServerBuilder, threads: usize, handler: H) -> Running
where
    H: Handler + Clone + Send + Sync + 'static,
{
    spawn(builder, move |server| {
        server.run_threads(threads, || handler.clone())
    })
}

fn spawn(
    builder: ServerBuilder,
    run: impl FnOnce(Server) -> io::Result<()> + Send + 'static,
) -> Running {
    let server = builder.bind("127.0.0.1:0").unwrap();
    let (addr, handle) = (server.local_addr(), server.handle());
    let thread = Some(std::thread::spawn(move || run(server)));
    Running {
        addr,
        handle,
        thread,
    }
}

impl Running {
    pub(crate) fn url(&self) -> String {
        format!("ws://{}/", self.addr)
    }

    pub(crate) fn connect(&self) -> WebSocket {
        motews_std::connect(&self.url()).unwrap()
    }

    pub(crate) fn raw(&self) -> TcpStream {
        let stream = TcpStream::connect(self.addr).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        stream
    }

    /// A TCP connection after its opening handshake.
    pub(crate) fn open(&self) -> TcpStream {
        let mut stream = self.raw();
        stream.write_all(crate::support::REQUEST).unwrap();
        let head = head::read(&mut stream);
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        stream
    }

    /// Waits for the server to end.
    pub(crate) fn join(mut self) -> io::Result<()> {
        self.thread.take().unwrap().join().unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.handle.shutdown(Duration::ZERO);
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            if !std::thread::panicking() {
                ended.unwrap().unwrap();
            }
        }
    }
}

/// Reads a frame that a server sent: its first byte, and its payload.
pub(crate) fn read_frame(stream: &mut impl Read) -> (u8, Vec<u8>) {
    let (Frame { first, payload }, key) = Frame::read(stream).unwrap();
    assert_eq!(key, None, "a server does not mask");
    (first, payload)
}

/// All that still comes, to the end of the stream.
pub(crate) fn read_to_end(stream: &mut impl Read) -> Vec<u8> {
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).unwrap();
    rest
}

/// How a connection ended.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    pub(crate) code: CloseCode,
    pub(crate) reason: String,
    pub(crate) ended: Ended,
}

impl Outcome {
    pub(crate) fn is_clean(&self) -> bool {
        self.ended.is_clean()
    }
}

/// What has happened to the connections, for all loops.
#[derive(Default)]
pub(crate) struct Story {
    pub(crate) opened: Vec<PeerId>,
    pub(crate) closed: BTreeMap<PeerId, Vec<Outcome>>,
}

/// An echo that keeps a record. It does as it is told by texts that begin with `!`.
#[derive(Clone, Default)]
pub(crate) struct Recorder {
    pub(crate) story: Arc<Mutex<Story>>,
}

impl Recorder {
    /// The outcomes of all connections that were closed, each of which was opened before.
    pub(crate) fn outcomes(&self) -> Vec<Outcome> {
        let story = self.story.lock().unwrap();
        let mut all = Vec::new();
        for (id, outcomes) in &story.closed {
            assert!(story.opened.contains(id), "{id} was not opened");
            assert_eq!(outcomes.len(), 1, "{id} was closed more than once");
            all.extend(outcomes.iter().cloned());
        }
        all
    }

    /// Waits for the one outcome.
    pub(crate) fn outcome(&self) -> Outcome {
        until("a connection is closed", || !self.outcomes().is_empty());
        let outcomes = self.outcomes();
        assert_eq!(outcomes.len(), 1);
        outcomes[0].clone()
    }
}

impl Handler for Recorder {
    type Data = ();

    fn on_request(&mut self, request: &Request) -> Response {
        assert_ne!(request.path(), "/panic", "as it was told");
        Response::accepted()
    }

    fn on_open(&mut self, peer: &mut Peer, request: &Request) -> Result<(), SendError> {
        self.story.lock().unwrap().opened.push(peer.id());
        assert_ne!(request.path(), "/panic-open", "as it was told");
        Ok(())
    }

    fn on_message(&mut self, peer: &mut Peer, message: MessageRef) -> Result<(), SendError> {
        match message {
            MessageRef::Text("!panic") => panic!("as it was told"),
            MessageRef::Text("!fail") => Err(SendError::Entropy),
            message => peer.send(message),
        }
    }

    fn on_close(&mut self, peer: &mut Peer, ended: Ended) {
        assert!(!peer.is_open());
        assert!(matches!(peer.send("too late"), Err(SendError::Closed)));
        let mut story = self.story.lock().unwrap();
        let outcomes = story.closed.entry(peer.id()).or_default();
        outcomes.push(Outcome {
            code: ended.code(),
            reason: peer.close_reason().to_owned(),
            ended,
        });
    }
}
