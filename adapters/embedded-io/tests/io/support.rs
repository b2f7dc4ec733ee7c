//! What the tests share: a clock, a way to poll, and what a peer reads.

use core::cell::Cell;
use core::future::poll_fn;
use core::pin::pin;
use core::task::{Context, Poll, Waker};
use std::rc::Rc;

use motews::Millis;
use motews::{
    Client, CloseCode, Connection, ConnectionConfig, DataKind, Entropy, EntropyError, Event,
    Message, Server,
};
use motews_embedded_io::{Buffers, Clock, Timer};
pub(crate) use motews_testkit::frame::encode as frame;
use motews_testkit::head;
pub(crate) use motews_testkit::head::len as head_len;
pub(crate) use motews_testkit::transport::{NotNow, Script};

pub(crate) const REQUEST: &[u8] = head::REQUEST.as_bytes();
pub(crate) const RESPONSE: &[u8] = head::RESPONSE.as_bytes();

/// Buffers of these lengths, for the rest of the test.
pub(crate) fn buffers(receive: usize, transmit: usize) -> Buffers<'static> {
    Buffers {
        receive: vec![0; receive].leak(),
        transmit: vec![0; transmit].leak(),
    }
}

/// A request that offers the subprotocol `chat`.
pub(crate) fn chat_request() -> Vec<u8> {
    let request = head::Head::request();
    request.and("Sec-WebSocket-Protocol", "chat").to_bytes()
}

/// The nonce of the request, then keys that are the same in each run.
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
            *nonce = head::NONCE;
        } else {
            self.0 = self.0.wrapping_add(1);
            bytes.fill(self.0 | 1);
        }
        Ok(())
    }
}

/// A time that passes when the test says so. It wraps within most tests.
#[derive(Clone, Debug)]
pub(crate) struct Hand(Rc<Cell<Millis>>);

impl Default for Hand {
    fn default() -> Self {
        Self(Rc::new(Cell::new(Millis(u32::MAX - 20_000))))
    }
}

impl Hand {
    pub(crate) fn pass(&self, millis: u32) {
        self.0.set(self.0.get().after(millis));
    }
}

impl Clock for Hand {
    fn now(&mut self) -> Millis {
        self.0.get()
    }
}

impl Timer for Hand {
    async fn wait(&mut self, millis: u32) {
        let at = self.now().after(millis);
        poll_fn(|_| match self.now().has_reached(at) {
            true => Poll::Ready(()),
            false => Poll::Pending,
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
        Connection::with_config(Client::new(Keys::new()), ConnectionConfig::default());
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
