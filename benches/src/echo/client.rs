//! The load client: it sends frames that were masked beforehand, and looks at every byte of what
//! comes back.
//!
//! It never sleeps while it measures, so that waking it is in no server's time, unless it is told to.

use core::net::SocketAddr;
use core::time::Duration;
use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::fd::AsFd;
use std::rc::Rc;
use std::time::Instant;

use motews_testkit::frame::encode;
use motews_testkit::head::{self, Head};
use rustix::event::{Timespec, epoll};

use super::Workload;

/// Different contents, which connections and turns go through: an echo to the wrong connection, or
/// of an earlier message, is found out.
const BLOCKS: usize = 5;

/// How long a server may take over an echo.
const PATIENCE: Duration = Duration::from_secs(10);

/// What the messages are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Binary messages.
    Binary,
    /// Text, ASCII only.
    Text,
}

/// What the server speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// TCP: what is sent comes back as it is.
    Tcp,
    /// The WebSocket Protocol.
    WebSocket,
}

/// What a connection sends, turn by turn, and what must come back.
pub trait Talk {
    /// What this turn sends.
    fn sent(&self) -> &[u8];

    /// Bytes that may be read now.
    fn due(&self) -> usize;

    /// Looks at what came, `due` bytes at most, and tells whether the turn is over; the next one is
    /// up then.
    ///
    /// # Errors
    /// Where it is not what must come.
    fn receive(&mut self, came: &[u8]) -> io::Result<bool>;
}

/// `depth` messages in one write, and what must come back.
#[derive(Debug)]
struct Block {
    sent: Vec<u8>,
    expected: Vec<u8>,
}

impl Block {
    fn prepare(number: usize, workload: Workload, kind: Kind, protocol: Protocol) -> Self {
        let mut random = Random(0x9E37_79B9_7F4A_7C15 ^ (number as u64 + 1));
        let mut block = Self {
            sent: Vec::new(),
            expected: Vec::new(),
        };
        for _ in 0..workload.depth {
            let payload: Vec<u8> = (0..workload.size)
                .map(|_| match kind {
                    Kind::Binary => random.next() as u8,
                    Kind::Text => b' ' + (random.next() % 95) as u8,
                })
                .collect();
            let key = (random.next() as u32).to_be_bytes();
            let first = if kind == Kind::Text { 0x81 } else { 0x82 };
            block.sent.extend(encode(first, &payload, Some(key)));
            block.expected.extend(encode(first, &payload, None));
        }
        if protocol == Protocol::Tcp {
            block.expected.clone_from(&block.sent);
        }
        block
    }
}

/// Marsaglia's xorshift: contents need no better chance.
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 >> 16
    }
}

/// A talk of blocks, one after the other.
#[derive(Debug)]
pub struct Blocks {
    all: Rc<[Block]>,
    /// The block that is on its way.
    block: usize,
    received: usize,
}

impl Talk for Blocks {
    fn sent(&self) -> &[u8] {
        &self.all[self.block].sent
    }

    fn due(&self) -> usize {
        self.all[self.block].expected.len() - self.received
    }

    fn receive(&mut self, came: &[u8]) -> io::Result<bool> {
        let due = &self.all[self.block].expected[self.received..];
        if came != &due[..came.len()] {
            return Err(wrong());
        }
        if came.len() < due.len() {
            self.received += came.len();
            return Ok(false);
        }
        self.block = (self.block + 1) % self.all.len();
        self.received = 0;
        Ok(true)
    }
}

/// One connection.
#[derive(Debug)]
struct Lane<T> {
    stream: TcpStream,
    talk: T,
    sent: usize,
    /// There was no room for all of it.
    is_sending: bool,
}

/// The client, with its connections open.
#[derive(Debug)]
pub struct Client<T = Blocks> {
    lanes: Vec<Lane<T>>,
    /// Messages in each turn.
    depth: usize,
    poll: std::os::fd::OwnedFd,
    scratch: Vec<u8>,
    received: u64,
    /// Whether it sleeps until there is something to do, so that a server on the same processor has its
    /// turn.
    pub sleeps: bool,
}

impl Client {
    /// Opens the connections to the server at `address`.
    ///
    /// # Errors
    /// What the system says, and a server that refuses.
    pub fn connect(
        address: SocketAddr,
        workload: Workload,
        kind: Kind,
        protocol: Protocol,
    ) -> io::Result<Self> {
        let all: Rc<[_]> = (0..BLOCKS)
            .map(|number| Block::prepare(number, workload, kind, protocol))
            .collect();
        let longest = all.iter().map(|block| block.expected.len()).max();
        let mut client = Self::new(workload.depth, longest.unwrap_or_default())?;
        for number in 0..workload.connections {
            let mut stream = dial(address)?;
            if protocol == Protocol::WebSocket {
                open(&mut stream, None)?;
            }
            let talk = Blocks {
                all: Rc::clone(&all),
                block: number % BLOCKS,
                received: 0,
            };
            client.add(stream, talk)?;
        }
        Ok(client)
    }
}

impl<T: Talk> Client<T> {
    /// `depth` messages are in each turn, and `longest` bytes are read at most at once.
    pub(super) fn new(depth: usize, longest: usize) -> io::Result<Self> {
        Ok(Self {
            lanes: Vec::new(),
            depth,
            poll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            scratch: vec![0; longest],
            received: 0,
            sleeps: false,
        })
    }

    /// Adds a connection, which is open.
    pub(super) fn add(&mut self, stream: TcpStream, talk: T) -> io::Result<()> {
        stream.set_nonblocking(true)?;
        let data = epoll::EventData::new_u64(self.lanes.len() as u64);
        // By edges, which cost the client less: a read that does not fill its buffer has emptied
        // the socket.
        let flags = epoll::EventFlags::ET | epoll::EventFlags::IN | epoll::EventFlags::OUT;
        epoll::add(&self.poll, stream.as_fd(), data, flags)?;
        self.lanes.push(Lane {
            stream,
            talk,
            sent: 0,
            is_sending: false,
        });
        Ok(())
    }

    /// Bytes received since the connections were opened.
    #[must_use]
    pub const fn received(&self) -> u64 {
        self.received
    }

    /// Keeps every connection busy for `time`, awaits the last echoes, and tells how many messages
    /// came back.
    ///
    /// # Errors
    /// An echo that differs from what was sent, or does not come, and what the system says.
    pub fn run(&mut self, time: Duration) -> io::Result<u64> {
        let start = Instant::now();
        let mut turns = 0;
        let mut busy = self.lanes.len();
        let mut running = true;
        let mut news = start;
        let timeout = Timespec {
            tv_sec: self.sleeps.into(),
            tv_nsec: 0,
        };
        for number in 0..self.lanes.len() {
            self.send(number)?;
        }
        let mut events = [epoll::Event {
            flags: epoll::EventFlags::empty(),
            data: epoll::EventData::new_u64(0),
        }; 256];
        while busy > 0 {
            let count = epoll::wait(&self.poll, &mut events, Some(&timeout))?;
            let now = Instant::now();
            running = running && now.duration_since(start) < time;
            if count > 0 {
                news = now;
            } else if now.duration_since(news) > PATIENCE {
                return Err(io::Error::new(ErrorKind::TimedOut, "no echo came"));
            }
            for event in &events[..count] {
                let (number, flags) = (event.data.u64() as usize, event.flags);
                if flags.contains(epoll::EventFlags::OUT) && self.lanes[number].is_sending {
                    self.send(number)?;
                }
                if flags != epoll::EventFlags::OUT && self.receive(number)? {
                    turns += 1;
                    if running {
                        self.send(number)?;
                    } else {
                        busy -= 1;
                    }
                }
            }
        }
        for (number, lane) in self.lanes.iter_mut().enumerate() {
            match lane.stream.read(&mut [0]) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
                Ok(_) => return Err(on(number, wrong())),
            }
        }
        Ok(turns * self.depth as u64)
    }

    /// Sends what is left of the lane's turn.
    fn send(&mut self, number: usize) -> io::Result<()> {
        let lane = &mut self.lanes[number];
        let turn = lane.talk.sent();
        while lane.sent < turn.len() {
            match lane.stream.write(&turn[lane.sent..]) {
                Ok(len) => lane.sent += len,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        lane.is_sending = lane.sent < turn.len();
        Ok(())
    }

    /// Receives what is there, and tells whether the turn is over now; the next one is up then.
    fn receive(&mut self, number: usize) -> io::Result<bool> {
        let lane = &mut self.lanes[number];
        loop {
            let due = lane.talk.due().min(self.scratch.len());
            let room = &mut self.scratch[..due];
            let len = match lane.stream.read(room) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(len) => len,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            };
            self.received += len as u64;
            if lane
                .talk
                .receive(&room[..len])
                .map_err(|error| on(number, error))?
            {
                lane.sent = 0;
                return Ok(true);
            }
            if len < due {
                return Ok(false);
            }
        }
    }
}

/// What came back is not what was sent.
pub(super) fn wrong() -> io::Error {
    io::Error::new(
        ErrorKind::InvalidData,
        "something else than was sent came back",
    )
}

/// The connection that an error is about.
fn on(number: usize, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("connection {number}: {error}"))
}

/// A connection to the server at `address`.
pub(super) fn dial(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// The opening handshake, as far as it takes to be let in, with an offer of extensions; gives what
/// the server answered.
pub(super) fn open(stream: &mut TcpStream, offer: Option<&str>) -> io::Result<String> {
    let request = Head::request();
    let request = match offer {
        Some(offer) => request.and("Sec-WebSocket-Extensions", offer),
        None => request,
    };
    stream.write_all(&request.to_bytes())?;
    let head = head::read(stream);
    if head.starts_with("HTTP/1.1 101 ") {
        Ok(head)
    } else {
        Err(io::Error::new(ErrorKind::ConnectionRefused, head))
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::sync::mpsc;
    use std::thread;

    use super::*;
    use crate::echo::on_tokio::Runtime;
    use crate::echo::servers::Entry;

    const TIME: Duration = Duration::from_millis(20);

    /// Where a fault ends it long before.
    const UNTIL_FOUND: Duration = Duration::from_secs(20);

    #[test]
    fn each_server_echoes_every_octet() {
        for entry in Entry::all().into_iter().chain(Entry::limits()) {
            check(entry, Runtime::CurrentThread);
        }
    }

    #[test]
    fn each_server_on_each_runtime_of_tokio_echoes_every_octet() {
        for entry in Entry::on_tokio() {
            for runtime in Runtime::ALL {
                check(entry, runtime);
            }
        }
    }

    fn check(entry: Entry, runtime: Runtime) {
        let (sender, address) = mpsc::channel();
        thread::spawn(move || {
            entry.run(runtime, &mut |address| sender.send(address).unwrap_or(()))
        });
        let address = address.recv().expect("it listens");
        for kind in [Kind::Binary, Kind::Text] {
            for workload in [
                (3, 0, 2),
                (3, 125, 5),
                (2, 126, 3),
                (1, 65_535, 2),
                (2, 65_536, 1),
            ] {
                let workload = Workload::new(workload.0, workload.1, workload.2);
                let of = format!("{}, {runtime}, {workload}", entry.name);
                let mut client = Client::connect(address, workload, kind, entry.protocol)
                    .unwrap_or_else(|error| panic!("{of}: {error}"));
                for _ in 0..2 {
                    let messages = client.run(TIME);
                    let messages = messages.unwrap_or_else(|error| panic!("{of}: {error}"));
                    assert!(messages > 0, "{of}");
                }
            }
        }
    }

    /// What a server makes of a block: given the block, its number on that connection, and the
    /// blocks before.
    type Change = fn(Vec<u8>, usize, &[Vec<u8>]) -> Vec<u8>;

    /// Runs two connections against a server that does `change` to what it echoes.
    fn run_against(time: Duration, change: Change) -> io::Result<u64> {
        let workload = Workload::new(2, 300, 3);
        let len = Block::prepare(0, workload, Kind::Binary, Protocol::Tcp)
            .sent
            .len();
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        thread::spawn(move || {
            for stream in listener.incoming().take(2).flatten() {
                thread::spawn(move || {
                    let mut stream = stream;
                    let mut before = Vec::new();
                    let mut block = vec![0; len];
                    while stream.read_exact(&mut block).is_ok() {
                        let echo = change(block.clone(), before.len(), &before);
                        before.push(block.clone());
                        if stream.write_all(&echo).is_err() {
                            break;
                        }
                    }
                });
            }
        });
        let mut client = Client::connect(address, workload, Kind::Binary, Protocol::Tcp)?;
        client.run(time)
    }

    fn kind_of(result: io::Result<u64>) -> Option<ErrorKind> {
        result.err().map(|error| error.kind())
    }

    #[test]
    fn an_honest_echo_passes() {
        let messages = run_against(TIME, |block, _, _| block).expect("an honest echo");
        assert!(
            messages >= 2 * 3 && messages.is_multiple_of(3),
            "{messages}"
        );
    }

    #[test]
    fn one_wrong_bit_at_the_end_is_found() {
        let result = run_against(UNTIL_FOUND, |mut block, number, _| {
            if number == 2
                && let Some(last) = block.last_mut()
            {
                *last ^= 1;
            }
            block
        });
        assert_eq!(kind_of(result), Some(ErrorKind::InvalidData));
    }

    #[test]
    fn an_earlier_message_is_found() {
        let result = run_against(UNTIL_FOUND, |block, number, before| match number {
            3 => before[number - 1].clone(),
            _ => block,
        });
        assert_eq!(kind_of(result), Some(ErrorKind::InvalidData));
    }

    #[test]
    fn an_octet_too_many_is_found() {
        let result = run_against(UNTIL_FOUND, |mut block, number, _| {
            if number == 1 {
                block.push(0);
            }
            block
        });
        assert_eq!(kind_of(result), Some(ErrorKind::InvalidData));
    }

    #[test]
    fn another_connections_message_is_found() {
        let workload = Workload::new(2, 16, 1);
        let blocks = [0, 1].map(|n| Block::prepare(n, workload, Kind::Binary, Protocol::Tcp));
        assert_ne!(blocks[0].expected, blocks[1].expected);
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("its address");
        thread::spawn(move || -> io::Result<()> {
            let (mut first, mut second) = (listener.accept()?.0, listener.accept()?.0);
            let (mut one, mut other) =
                (vec![0; blocks[0].sent.len()], vec![0; blocks[1].sent.len()]);
            first.read_exact(&mut one)?;
            second.read_exact(&mut other)?;
            first.write_all(&other)?;
            second.write_all(&one)?;
            first.read_exact(&mut one)
        });
        let client = Client::connect(address, workload, Kind::Binary, Protocol::Tcp);
        let result = client.and_then(|mut client| client.run(UNTIL_FOUND));
        assert_eq!(kind_of(result), Some(ErrorKind::InvalidData));
    }

    #[test]
    fn a_server_that_leaves_is_found() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("its address");
        thread::spawn(move || listener.accept().map(drop));
        let workload = Workload::new(1, 16, 1);
        let client = Client::connect(address, workload, Kind::Binary, Protocol::Tcp);
        assert!(
            client
                .and_then(|mut client| client.run(UNTIL_FOUND))
                .is_err()
        );
    }
}
