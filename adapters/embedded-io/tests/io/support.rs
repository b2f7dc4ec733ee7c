//! Transports out of memory, frames, and a way to poll.

use core::cell::{Cell, RefCell};
use core::future::poll_fn;
use core::pin::pin;
use core::task::{Context, Poll, Waker};
use std::rc::Rc;

use embedded_io::ErrorType;
use motews::{
    Client, CloseCode, Config, Connection, DataKind, Entropy, EntropyError, Event, Message, Millis,
    Server,
};
use motews_embedded_io::{Clock, Timer};

/// What a client asks, and what a server answers.
pub(crate) const REQUEST: &[u8] =
    b"GET /chat HTTP/1.1\r\nHost: example.com\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Sec-WebSocket-Protocol: chat\r\nSec-WebSocket-Version: 13\r\n\r\n";
pub(crate) const RESPONSE: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

/// The nonce of the request above, then keys that are the same in each run.
#[derive(Clone, Debug)]
pub(crate) struct Keys(u8);

impl Keys {
    pub(crate) const fn new() -> Self {
        Self(0)
    }
}

impl Entropy for Keys {
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), EntropyError> {
        if let Ok(nonce) = <&mut [u8; 16]>::try_from(&mut *bytes) {
            *nonce = *b"the sample nonce";
        } else {
            self.0 = self.0.wrapping_add(1);
            bytes.fill(self.0 | 1);
        }
        Ok(())
    }
}

/// A peer whose words are fixed. It takes and gives at most `chunk` octets at a time, and lets each
/// read and write wait once where it `yields`.
#[derive(Clone, Debug)]
pub(crate) struct Script {
    incoming: Rc<RefCell<Vec<u8>>>,
    outgoing: Rc<RefCell<Vec<u8>>>,
    chunk: usize,
    yields: bool,
    waited_to_read: Rc<Cell<bool>>,
    waited_to_write: Rc<Cell<bool>>,
    /// Whether the end of what it says is the end of the transport; otherwise it is silent then.
    pub(crate) ends: bool,
    /// Whether it takes anything.
    pub(crate) takes: Rc<Cell<bool>>,
    /// How often it was written to.
    pub(crate) writes: Rc<Cell<usize>>,
    /// Written, but not flushed yet.
    held: usize,
    /// Only what was flushed goes out.
    pub(crate) holds: bool,
}

impl Script {
    pub(crate) fn new(incoming: impl Into<Vec<u8>>, chunk: usize, yields: bool) -> Self {
        Self {
            incoming: Rc::new(RefCell::new(incoming.into())),
            outgoing: Rc::default(),
            chunk,
            yields,
            waited_to_read: Rc::default(),
            waited_to_write: Rc::default(),
            ends: true,
            takes: Rc::new(Cell::new(true)),
            writes: Rc::default(),
            held: 0,
            holds: false,
        }
    }

    /// What was written to the peer, or flushed where it holds things back.
    pub(crate) fn written(&self) -> Vec<u8> {
        let outgoing = self.outgoing.borrow();
        outgoing[..outgoing.len() - self.held].to_vec()
    }

    /// Says more.
    pub(crate) fn say(&self, bytes: &[u8]) {
        self.incoming.borrow_mut().extend_from_slice(bytes);
    }

    /// `None`: nothing now.
    fn take(&mut self, buffer: &mut [u8]) -> Option<usize> {
        let mut incoming = self.incoming.borrow_mut();
        let len = self.chunk.min(buffer.len()).min(incoming.len());
        buffer[..len].copy_from_slice(&incoming[..len]);
        incoming.drain(..len);
        (len > 0 || self.ends).then_some(len)
    }

    fn put(&mut self, bytes: &[u8]) -> Option<usize> {
        let len = self.chunk.min(bytes.len());
        if !self.takes.get() {
            return None;
        }
        self.outgoing.borrow_mut().extend_from_slice(&bytes[..len]);
        self.writes.set(self.writes.get() + 1);
        self.held += if self.holds { len } else { 0 };
        Some(len)
    }

    /// Waits once, if it does. That it has done so is the transport's to know, not its future's.
    async fn pause(&self, waited: &Cell<bool>) {
        poll_fn(|context| {
            if !self.yields || waited.replace(!waited.get()) {
                return Poll::Ready(());
            }
            context.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
    }
}

/// The transport gave up for now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NotNow;

impl core::fmt::Display for NotNow {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("not now")
    }
}

impl core::error::Error for NotNow {}

impl embedded_io::Error for NotNow {
    fn kind(&self) -> embedded_io::ErrorKind {
        embedded_io::ErrorKind::TimedOut
    }
}

impl ErrorType for Script {
    type Error = NotNow;
}

impl embedded_io::Read for Script {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, NotNow> {
        self.take(buffer).ok_or(NotNow)
    }
}

impl embedded_io::Write for Script {
    fn write(&mut self, bytes: &[u8]) -> Result<usize, NotNow> {
        self.put(bytes).ok_or(NotNow)
    }

    fn flush(&mut self) -> Result<(), NotNow> {
        self.held = 0;
        Ok(())
    }
}

impl embedded_io_async::Read for Script {
    async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, NotNow> {
        self.pause(&self.waited_to_read).await;
        poll_fn(|_| {
            self.take(buffer)
                .map_or(Poll::Pending, |len| Poll::Ready(Ok(len)))
        })
        .await
    }
}

impl embedded_io_async::Write for Script {
    async fn write(&mut self, bytes: &[u8]) -> Result<usize, NotNow> {
        self.pause(&self.waited_to_write).await;
        poll_fn(|_| {
            self.put(bytes)
                .map_or(Poll::Pending, |len| Poll::Ready(Ok(len)))
        })
        .await
    }

    async fn flush(&mut self) -> Result<(), NotNow> {
        self.pause(&self.waited_to_write).await;
        self.held = 0;
        Ok(())
    }
}

/// A time that passes when the test says so.
#[derive(Clone, Debug, Default)]
pub(crate) struct Hand(pub(crate) Rc<Cell<u64>>);

impl Hand {
    pub(crate) fn pass(&self, millis: u64) {
        self.0.set(self.0.get() + millis);
    }
}

impl Clock for Hand {
    fn now(&mut self) -> Millis {
        Millis(self.0.get())
    }
}

impl Timer for Hand {
    async fn wait_until(&mut self, at: Millis) {
        poll_fn(|_| {
            if self.0.get() >= at.0 {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        })
        .await;
    }
}

/// Polls once.
pub(crate) fn poll<F: Future>(future: F) -> Poll<F::Output> {
    pin!(future).poll(&mut Context::from_waker(Waker::noop()))
}

/// Polls until it is ready, which must not take for ever.
pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    for _ in 0..10_000_000 {
        let poll = future
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()));
        if let Poll::Ready(output) = poll {
            return output;
        }
    }
    panic!("it waits for ever");
}

/// A frame, masked as a client does, or not as a server does.
pub(crate) fn frame(first: u8, payload: &[u8], key: Option<[u8; 4]>) -> Vec<u8> {
    let masked = if key.is_some() { 0x80 } else { 0 };
    let mut wire = vec![first];
    match payload.len() {
        len @ 0..=125 => wire.push(masked | len as u8),
        len => {
            wire.push(masked | 126);
            wire.extend((len as u16).to_be_bytes());
        }
    }
    wire.extend(key.iter().flatten());
    let key = key.unwrap_or_default();
    let octets = payload.iter().zip(key.iter().cycle());
    wire.extend(octets.map(|(octet, key)| octet ^ key));
    wire
}

/// What the frames in `wire` come to: each message whole, as its reader has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Got {
    Message(DataKind, Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<(CloseCode, String)>),
}

impl Got {
    /// An event by value; the parts of a message are put together.
    pub(crate) fn add(got: &mut Vec<Self>, open: &mut bool, event: Event<'_>) {
        match event {
            Event::Data(chunk) => {
                match got
                    .iter_mut()
                    .rev()
                    .find(|got| matches!(got, Self::Message(..)))
                {
                    Some(Self::Message(_, bytes)) if *open => bytes.extend_from_slice(chunk.bytes),
                    _ => got.push(Self::Message(chunk.kind, chunk.bytes.to_vec())),
                }
                *open = !chunk.last;
            }
            Event::Ping(payload) => got.push(Self::Ping(payload.as_bytes().to_vec())),
            Event::Pong(payload) => got.push(Self::Pong(payload.as_bytes().to_vec())),
            Event::Close(close) => got.push(Self::Close(
                close.map(|close| (close.code(), close.reason().to_owned())),
            )),
            _ => unreachable!("no other event"),
        }
    }
}

/// What a client reads in the frames after `head`.
pub(crate) fn read_by_client(wire: &[u8], head: usize) -> Vec<Got> {
    let mut connection: Connection<Client<Keys>> =
        Connection::with_config(Client::new(Keys::new()), Config::default());
    let mut wire = wire[head..].to_vec();
    let mut input = &mut wire[..];
    let (mut got, mut open) = (Vec::new(), false);
    while let Some(event) = connection.next_event(&mut input).expect("frames") {
        Got::add(&mut got, &mut open, event);
    }
    got
}

/// What a server reads in the frames after the request.
pub(crate) fn read_by_server(wire: &[u8], head: usize) -> Vec<Got> {
    let mut connection: Connection<Server> = Connection::new(Server);
    let mut wire = wire[head..].to_vec();
    let mut input = &mut wire[..];
    let (mut got, mut open) = (Vec::new(), false);
    while let Some(event) = connection.next_event(&mut input).expect("frames") {
        Got::add(&mut got, &mut open, event);
    }
    got
}

/// The octets of the HTTP head at the start of `wire`.
pub(crate) fn head_len(wire: &[u8]) -> usize {
    let end = wire.windows(4).position(|four| four == b"\r\n\r\n");
    end.expect("a whole head") + 4
}

pub(crate) fn text(text: &str) -> Got {
    Got::Message(DataKind::Text, text.as_bytes().to_vec())
}

pub(crate) fn binary(bytes: &[u8]) -> Got {
    Got::Message(DataKind::Binary, bytes.to_vec())
}

/// A message by value.
pub(crate) fn owned(message: Message<'_>) -> Got {
    Got::Message(message.kind(), message.as_bytes().to_vec())
}
