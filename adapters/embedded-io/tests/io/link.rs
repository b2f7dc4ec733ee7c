//! A slow link in simulated time: a pipe of some size each way, and a client at its other end that
//! reads at some rate, answers pings and Closes, and reads no faster for anybody.

use core::cell::RefCell;
use core::future::poll_fn;
use core::pin::pin;
use core::task::{Context, Poll, Waker};
use std::collections::VecDeque;
use std::rc::Rc;

use embedded_io::ErrorType;
use motews::Millis;
use motews::{Client, Connection, ConnectionConfig};
use motews_embedded_io::{Clock, Timer};

use crate::support::{Got, Keys, NotNow, REQUEST};

/// What the server's end of the link sees.
struct State {
    now: Millis,
    /// On its way to the client, and how much may be.
    down: VecDeque<u8>,
    pipe: usize,
    /// On its way to the server.
    up: VecDeque<u8>,
    /// The client's half has ended.
    is_over: bool,
    /// Whether the client says anything: it may have vanished.
    speaks: bool,
    /// Bytes per second, and thousandths of a byte that it may read now.
    rate: u32,
    credit: u32,
    client: Connection<Client<Keys>>,
    head: Vec<u8>,
    is_head: bool,
    has_frames: bool,
    got: Vec<Got>,
    in_message: bool,
}

/// The link, the server's transport, its clock and its timer.
#[derive(Clone)]
pub(crate) struct Link(Rc<RefCell<State>>);

impl Link {
    /// A client that has sent its request.
    pub(crate) fn new(pipe: usize, rate: u32) -> Self {
        Self(Rc::new(RefCell::new(State {
            now: Millis(u32::MAX - 20_000),
            down: VecDeque::new(),
            pipe,
            up: REQUEST.iter().copied().collect(),
            is_over: false,
            speaks: true,
            rate,
            credit: 0,
            client: Connection::with_config(Client::new(Keys::new()), ConnectionConfig::default()),
            head: Vec::new(),
            is_head: true,
            has_frames: true,
            got: Vec::new(),
            in_message: false,
        })))
    }

    /// The client reads at another rate from now on.
    pub(crate) fn set_rate(&self, rate: u32) {
        self.0.borrow_mut().rate = rate;
    }

    /// Nothing comes from the client any more.
    pub(crate) fn vanish(&self) {
        self.0.borrow_mut().speaks = false;
    }

    /// What the client reads is an HTTP response, and no more.
    pub(crate) fn expect_no_frames(&self) {
        self.0.borrow_mut().has_frames = false;
    }

    /// What the client has read before the frames.
    pub(crate) fn head(&self) -> Vec<u8> {
        self.0.borrow().head.clone()
    }

    /// The client says this.
    pub(crate) fn say(&self, bytes: &[u8]) {
        self.0.borrow_mut().up.extend(bytes);
    }

    /// What the client has read, without pings.
    pub(crate) fn got(&self) -> Vec<Got> {
        let got = &self.0.borrow().got;
        let is_ping = |got: &&Got| !matches!(got, Got::Ping(_));
        got.iter().filter(is_ping).cloned().collect()
    }

    pub(crate) fn pings(&self) -> usize {
        let got = &self.0.borrow().got;
        got.iter().filter(|got| matches!(got, Got::Ping(_))).count()
    }

    pub(crate) fn millis(&self) -> Millis {
        self.0.borrow().now
    }

    /// Time passes, and the client reads.
    pub(crate) fn pass(&self, millis: u32) {
        let state = &mut *self.0.borrow_mut();
        state.now = state.now.after(millis);
        state.credit += state.rate * millis;
        let len = state.down.len().min(state.credit as usize / 1000);
        state.credit -= len as u32 * 1000;
        if state.down.len() == len {
            state.credit = 0;
        }
        let mut bytes: Vec<u8> = state.down.drain(..len).collect();
        let mut input = &mut bytes[..];
        while state.is_head && !input.is_empty() {
            state.head.push(input[0]);
            input = &mut input[1..];
            state.is_head = !(state.has_frames && state.head.ends_with(b"\r\n\r\n"));
        }
        let mut out = [0; 256];
        loop {
            let event = state.client.next_event(&mut input).expect("frames");
            let is_last = event.is_none();
            if let Some(event) = event {
                Got::add(&mut state.got, &mut state.in_message, event);
            }
            let len = state.client.poll_transmit(&mut out).expect("keys");
            if state.speaks {
                state.up.extend(&out[..len]);
                state.is_over = state.client.is_clean();
            }
            if is_last {
                return;
            }
        }
    }

    fn take(&self, buffer: &mut [u8]) -> Option<usize> {
        let state = &mut *self.0.borrow_mut();
        let len = buffer.len().min(state.up.len());
        for (to, from) in buffer.iter_mut().zip(state.up.drain(..len)) {
            *to = from;
        }
        (len > 0 || state.is_over).then_some(len)
    }

    fn put(&self, bytes: &[u8]) -> Option<usize> {
        let state = &mut *self.0.borrow_mut();
        let len = bytes.len().min(state.pipe - state.down.len());
        state.down.extend(&bytes[..len]);
        (len > 0).then_some(len)
    }

    /// Waits for `done` for a tenth of a second, as a blocking transport with a time-out does.
    fn block<T>(&self, mut done: impl FnMut() -> Option<T>) -> Result<T, NotNow> {
        for _ in 0..10 {
            if let Some(value) = done() {
                return Ok(value);
            }
            self.pass(10);
        }
        Err(NotNow)
    }

    /// Runs `future` while the time passes: for an hour at most.
    pub(crate) fn run<F: Future>(&self, future: F) -> F::Output {
        let mut future = pin!(future);
        for _ in 0..360_000 {
            let context = &mut Context::from_waker(Waker::noop());
            if let Poll::Ready(output) = future.as_mut().poll(context) {
                return output;
            }
            self.pass(10);
        }
        panic!("it waits for ever");
    }
}

impl ErrorType for Link {
    type Error = NotNow;
}

impl embedded_io::Read for Link {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, NotNow> {
        self.block(|| self.take(buffer))
    }
}

impl embedded_io::Write for Link {
    fn write(&mut self, bytes: &[u8]) -> Result<usize, NotNow> {
        self.block(|| self.put(bytes))
    }

    fn flush(&mut self) -> Result<(), NotNow> {
        Ok(())
    }
}

impl embedded_io_async::Read for Link {
    async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, NotNow> {
        let read = poll_fn(|_| self.take(buffer).map_or(Poll::Pending, Poll::Ready));
        Ok(read.await)
    }
}

impl embedded_io_async::Write for Link {
    async fn write(&mut self, bytes: &[u8]) -> Result<usize, NotNow> {
        let written = poll_fn(|_| self.put(bytes).map_or(Poll::Pending, Poll::Ready));
        Ok(written.await)
    }

    async fn flush(&mut self) -> Result<(), NotNow> {
        Ok(())
    }
}

impl Clock for Link {
    fn now(&mut self) -> Millis {
        self.millis()
    }
}

impl Timer for Link {
    async fn wait(&mut self, millis: u32) {
        let at = self.millis().after(millis);
        poll_fn(|_| match self.millis().has_reached(at) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        })
        .await;
    }
}
