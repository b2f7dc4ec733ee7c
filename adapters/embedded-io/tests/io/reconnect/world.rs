//! A network and a server for a client that comes back: what goes wrong in it, the test decides.

use core::cell::RefCell;
use core::future::poll_fn;
use core::pin::pin;
use core::task::{Context, Poll, Waker};
use std::rc::Rc;

use embedded_io::{ErrorKind, ErrorType};
use embedded_io_async::{Read, Write};
use motews::reconnect::Cause;
use motews::{CloseCode, Connection, Entropy, EntropyError, Event, Millis, Server};
use motews_embedded_io::Clock;
use motews_embedded_io::asynch::Task;

use crate::support::{Hand, Keys, RESPONSE, Script};

/// The transport fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    Reset,
    /// For now only: a blocking one has waited for as long as it does.
    NotNow,
}

impl core::fmt::Display for Fault {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{self:?}")
    }
}

impl core::error::Error for Fault {}

impl embedded_io::Error for Fault {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Reset => ErrorKind::ConnectionReset,
            Self::NotNow => ErrorKind::TimedOut,
        }
    }
}

/// The device's socket: one, which is connected again and again.
pub(crate) struct Socket {
    pub(crate) near: Option<Script>,
    pub(crate) world: Rc<RefCell<World>>,
}

impl ErrorType for Socket {
    type Error = Fault;
}

impl Socket {
    /// What there is to be done, if there is something to do it with, and as long as it was not reset.
    fn act<V>(&mut self, act: impl FnOnce(&mut Script) -> Poll<V>) -> Poll<Result<V, Fault>> {
        match &mut self.near {
            Some(near) if !self.world.borrow().is_reset => act(near).map(Ok),
            _ => Poll::Ready(Err(Fault::Reset)),
        }
    }

    fn read_now(&mut self, buffer: &mut [u8]) -> Poll<Result<usize, Fault>> {
        let read = self.act(|near| poll_once(Read::read(near, buffer)));
        read.map(|read| read.map(|read| read.unwrap_or(0)))
    }

    fn write_now(&mut self, bytes: &[u8]) -> Poll<Result<usize, Fault>> {
        let written = self.act(|near| poll_once(Write::write(near, bytes)));
        written.map(|written| written.map(|written| written.unwrap_or(0)))
    }

    /// It is not over while the network takes nothing.
    fn flush_now(&mut self) -> Poll<Result<(), Fault>> {
        self.act(|near| match near.room() {
            0 => Poll::Pending,
            _ => Poll::Ready(()),
        })
    }

    fn or_not_now<V>(&self, done: Poll<Result<V, Fault>>) -> Result<V, Fault> {
        match done {
            Poll::Ready(done) => done,
            Poll::Pending => {
                let world = self.world.borrow();
                world.clock.pass(world.passes);
                Err(Fault::NotNow)
            }
        }
    }

    /// The network is there, or it is not: it is connected or ended now.
    fn connect(&mut self, task: Task) -> Result<(), Cause> {
        let mut world = self.world.borrow_mut();
        world.finished.push(task);
        self.near = None;
        world.far = None;
        world.is_reset = false;
        if task == Task::Disconnect {
            return Ok(());
        }
        if world.fate.is_ok() {
            let (near, far) = Script::pair(usize::MAX, false);
            near.window(world.window);
            self.near = Some(near.clone());
            world.far = Some(Far {
                near,
                stream: far,
                head: Vec::new(),
                connection: None,
                part: String::new(),
            });
        }
        world.fate
    }
}

impl Read for Socket {
    async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Fault> {
        poll_fn(|_| self.read_now(buffer)).await
    }
}

impl Write for Socket {
    async fn write(&mut self, bytes: &[u8]) -> Result<usize, Fault> {
        poll_fn(|_| self.write_now(bytes)).await
    }

    async fn flush(&mut self) -> Result<(), Fault> {
        poll_fn(|_| self.flush_now()).await
    }
}

impl embedded_io::Read for Socket {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Fault> {
        let read = self.read_now(buffer);
        self.or_not_now(read)
    }
}

impl embedded_io::Write for Socket {
    fn write(&mut self, bytes: &[u8]) -> Result<usize, Fault> {
        let written = self.write_now(bytes);
        self.or_not_now(written)
    }

    fn flush(&mut self) -> Result<(), Fault> {
        let flushed = self.flush_now();
        self.or_not_now(flushed)
    }
}

pub(crate) fn poll_once<V>(future: impl Future<Output = V>) -> Poll<V> {
    pin!(future).poll(&mut Context::from_waker(Waker::noop()))
}

/// A generator that can break.
pub(crate) struct Generator {
    pub(crate) keys: Keys,
    pub(crate) is_broken: bool,
}

impl Entropy for Generator {
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), EntropyError> {
        match self.is_broken {
            true => Err(EntropyError),
            false => self.keys.fill(bytes),
        }
    }
}

/// The network and the server.
pub(crate) struct World {
    pub(crate) clock: Hand,
    /// The cable is pulled until then.
    pub(crate) link_at: Millis,
    /// The time that passes while a blocking transport waits.
    pub(crate) passes: u32,
    /// How many bytes the network takes until the server has read.
    pub(crate) window: usize,
    /// What an attempt comes to.
    pub(crate) fate: Result<(), Cause>,
    pub(crate) is_reset: bool,
    /// The head of the last request.
    pub(crate) head: String,
    /// The head of the response.
    pub(crate) response: Vec<u8>,
    /// What the server sends before it reads anything more, over a network that takes 100 bytes.
    pub(crate) burst: Vec<u8>,
    burst_at: Option<Millis>,
    /// The time that the application takes for a message.
    pub(crate) takes: u32,
    /// Frames.
    pub(crate) says: Vec<u8>,
    pub(crate) closes: Option<CloseCode>,
    /// The server neither reads nor writes.
    pub(crate) is_gone: bool,
    pub(crate) far: Option<Far>,
    pub(crate) got: Vec<String>,
    /// Tasks that `connect` has begun, and those that it has finished.
    pub(crate) begun: Vec<Task>,
    pub(crate) finished: Vec<Task>,
}

/// The server's end of a connection.
pub(crate) struct Far {
    /// The client's, for its window.
    near: Script,
    stream: Script,
    head: Vec<u8>,
    connection: Option<Connection<Server>>,
    part: String,
}

impl World {
    pub(crate) fn new(mut clock: Hand) -> Self {
        Self {
            link_at: clock.now(),
            clock,
            passes: 0,
            window: usize::MAX,
            fate: Ok(()),
            is_reset: false,
            head: String::new(),
            response: RESPONSE.to_vec(),
            burst: Vec::new(),
            burst_at: None,
            takes: 0,
            says: Vec::new(),
            closes: None,
            is_gone: false,
            far: None,
            got: Vec::new(),
            begun: Vec::new(),
            finished: Vec::new(),
        }
    }

    /// The network takes nothing any more.
    pub(crate) fn close_window(&mut self) {
        if let Some(far) = &self.far {
            far.near.window(0);
        }
    }

    fn has_link(&mut self) -> bool {
        self.clock.now().has_reached(self.link_at)
    }

    pub(crate) fn poll(&mut self) {
        let Some(far) = self.far.as_mut().filter(|_| !self.is_gone) else {
            return;
        };
        if far.connection.is_some() && !self.burst.is_empty() {
            let now = self.clock.now();
            if self.takes == 0 && self.burst_at.replace(now) == Some(now) {
                return; // Even a burst takes its time.
            }
            let room = 100_usize.saturating_sub(far.stream.written().len());
            let len = room.min(self.burst.len());
            say(
                &mut far.stream,
                &self.burst.drain(..len).collect::<Vec<_>>(),
            );
            return;
        }
        far.near.window(self.window);
        let mut bytes = [0; 64];
        while let Ok(len @ 1..) = std::io::Read::read(&mut far.stream, &mut bytes) {
            let mut input = &mut bytes[..len];
            if far.connection.is_none() {
                let Some((head, rest)) = split(&mut far.head, input) else {
                    continue;
                };
                assert!(head.starts_with(b"GET "));
                self.head = String::from_utf8(head).unwrap();
                say(&mut far.stream, &self.response);
                if !self.response.starts_with(b"HTTP/1.1 101 ") {
                    self.far = None;
                    return;
                }
                far.connection = Some(Connection::new(Server));
                input = rest;
            }
            let Some(connection) = &mut far.connection else {
                continue;
            };
            while let Some(event) = connection.next_event(&mut input).expect("frames") {
                if let Event::Data(chunk) = event {
                    if chunk.first {
                        far.part.clear();
                    }
                    far.part
                        .push_str(core::str::from_utf8(chunk.bytes).unwrap());
                    if chunk.last {
                        self.got.push(core::mem::take(&mut far.part));
                    }
                }
                let mut out = [0; 200];
                let len = connection.poll_transmit(&mut out).unwrap();
                say(&mut far.stream, &out[..len]);
            }
        }
        if let Some(connection) = &mut far.connection {
            say(&mut far.stream, &core::mem::take(&mut self.says));
            if let Some(code) = self.closes.take() {
                _ = connection.close(code, "");
            }
            let mut out = [0; 200];
            let len = connection.poll_transmit(&mut out).unwrap();
            say(&mut far.stream, &out[..len]);
            if connection.should_shutdown() {
                self.far = None;
            }
        }
    }
}

fn say(stream: &mut Script, bytes: &[u8]) {
    std::io::Write::write_all(stream, bytes).unwrap();
}

/// Adds what has come to the head; returns it when it is whole, and what comes after it.
fn split<'b>(head: &mut Vec<u8>, input: &'b mut [u8]) -> Option<(Vec<u8>, &'b mut [u8])> {
    for at in 0..input.len() {
        head.push(input[at]);
        if head.ends_with(b"\r\n\r\n") {
            return Some((core::mem::take(head), &mut input[at + 1..]));
        }
    }
    None
}

/// Has the socket connected or ended. It takes a few turns, and for the network as long as that is away.
pub(crate) async fn connect(mut socket: Socket, task: Task) -> (Socket, Result<(), Cause>) {
    let world = socket.world.clone();
    world.borrow_mut().begun.push(task);
    let mut turns = 0;
    poll_fn(|_| {
        turns += 1;
        let is_ready = turns > 3 && (task == Task::Disconnect || world.borrow_mut().has_link());
        if is_ready {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    })
    .await;
    let result = socket.connect(task);
    (socket, result)
}

/// The same, and nothing else is done meanwhile.
pub(crate) fn connect_blocking(socket: &mut Socket, task: Task) -> Result<(), Cause> {
    let world = socket.world.clone();
    world.borrow_mut().begun.push(task);
    let mut turns = 0;
    while turns < 3 || (task == Task::Connect && !world.borrow_mut().has_link()) {
        world.borrow().clock.pass(10);
        turns += 1;
    }
    socket.connect(task)
}
