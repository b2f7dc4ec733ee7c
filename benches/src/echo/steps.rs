//! Experiments: between the raw echo and motews.

use std::io;
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::time::Instant;

use motews::{ConnectionConfig, Connection, Event, Mask, Message, Millis, Server, Session, Timeouts};
use rustix::event::epoll;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};

const BUFFER_LEN: usize = 128 * 1024;
const LISTENER: u64 = u64::MAX;

pub(super) trait Step {
    type State;
    const HTTP: bool = true;
    const OUT: bool = true;
    const TIMEOUT: bool = false;
    const OUTLINE: bool = false;
    fn state(&self) -> Self::State;
    /// Answers in place, or in `out`. Returns the range; true: of the input.
    fn answer(&mut self, state: &mut Self::State, input: &mut [u8], out: &mut [u8]) -> (bool, usize, usize);
    fn sent(&mut self, _state: &mut Self::State, _len: usize) {}
}

struct Conn<S> {
    stream: TcpStream,
    unsent: Vec<u8>,
    open: bool,
    partial: Vec<u8>,
    state: S,
}

pub(super) fn serve<S: Step>(listener: &TcpListener, mut step: S) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let poll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    let data = epoll::EventData::new_u64(LISTENER);
    epoll::add(&poll, listener.as_fd(), data, epoll::EventFlags::IN)?;
    let mut connections: Vec<Option<Conn<S::State>>> = Vec::new();
    let timeout = S::TIMEOUT.then_some(rustix::event::Timespec { tv_sec: 0, tv_nsec: 750_000_000 });
    let mut buffer = vec![0; BUFFER_LEN];
    let mut out = vec![0; BUFFER_LEN];
    let mut events = [epoll::Event {
        flags: epoll::EventFlags::empty(),
        data: epoll::EventData::new_u64(0),
    }; 1024];
    loop {
        let count = match epoll::wait(&poll, &mut events, timeout.as_ref()) {
            Ok(count) => count,
            Err(Errno::INTR) => continue,
            Err(error) => return Err(error.into()),
        };
        for event in &events[..count] {
            let (data, flags) = (event.data, event.flags);
            if data.u64() == LISTENER {
                accept(listener, &poll, &mut connections, &step)?;
                continue;
            }
            let slot = &mut connections[data.u64() as usize];
            let Some(connection) = slot else { continue };
            let ended = flags.contains(epoll::EventFlags::RDHUP);
            match echo(&mut step, connection, ended, &mut buffer, &mut out) {
                Ok(()) | Err(Errno::AGAIN) => {}
                Err(_) => *slot = None,
            }
        }
    }
}

fn accept<S: Step>(
    listener: &TcpListener,
    poll: impl AsFd,
    connections: &mut Vec<Option<Conn<S::State>>>,
    step: &S,
) -> io::Result<()> {
    loop {
        let stream = match listener.accept() {
            Ok((stream, _)) => stream,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        };
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        let data = epoll::EventData::new_u64(connections.len() as u64);
        let mut flags = epoll::EventFlags::ET | epoll::EventFlags::IN | epoll::EventFlags::RDHUP;
        if S::OUT {
            flags |= epoll::EventFlags::OUT;
        }
        epoll::add(&poll, stream.as_fd(), data, flags)?;
        connections.push(Some(Conn {
            stream,
            unsent: Vec::new(),
            open: !S::HTTP,
            partial: Vec::new(),
            state: step.state(),
        }));
    }
}

#[inline]
fn echo<S: Step>(step: &mut S, connection: &mut Conn<S::State>, ended: bool, buffer: &mut [u8], out: &mut [u8]) -> Result<(), Errno> {
    let stream = &connection.stream;
    loop {
        while !connection.unsent.is_empty() {
            let sent = send(stream, &connection.unsent, SendFlags::NOSIGNAL)?;
            connection.unsent.drain(..sent);
        }
        let had = connection.partial.len();
        if had > 0 {
            buffer[..had].copy_from_slice(&connection.partial);
            connection.partial.clear();
        }
        let (len, _) = match recv(stream, &mut buffer[had..], RecvFlags::empty()) {
            Ok(x) => x,
            Err(e) => {
                connection.partial.extend(&buffer[..had]);
                return Err(e);
            }
        };
        if len == 0 {
            return Err(Errno::CONNRESET);
        }
        let short = len + had < buffer.len();
        if !connection.open {
            connection.open = true;
            {
                send(stream, b"HTTP/1.1 101 Switching\r\n\r\n", SendFlags::NOSIGNAL)?;
            }
            return Ok(());
        }
        let len = len + had;
        let (in_place, start, end) = step.answer(&mut connection.state, &mut buffer[..len], out);
        let what = if in_place { &buffer[start..end] } else { &out[start..end] };
        if in_place && S::HTTP && end == 0 {
            connection.partial.extend(&buffer[..len]);
            if short { return Ok(()); }
            continue;
        }
        let sent = if S::OUTLINE { outline(stream, what) } else { send(stream, what, SendFlags::NOSIGNAL) };
        let sent = match sent {
            Ok(sent) => sent,
            Err(Errno::AGAIN) => 0,
            Err(error) => return Err(error),
        };
        step.sent(&mut connection.state, sent);
        connection.unsent.extend(&what[sent..]);
        if sent == what.len() && short && !ended {
            return Ok(());
        }
    }
}

/// Raw, with a pause.
pub(super) struct Spin(pub(super) u64);
impl Step for Spin {
    type State = ();
    const HTTP: bool = false;
    fn state(&self) {}
    #[inline]
    fn answer(&mut self, (): &mut (), input: &mut [u8], _: &mut [u8]) -> (bool, usize, usize) {
        if self.0 > 0 {
            let start = Instant::now();
            while (start.elapsed().as_nanos() as u64) < self.0 {}
        }
        (true, 0, input.len())
    }
}

pub(super) struct NoOut;
impl Step for NoOut {
    type State = ();
    const HTTP: bool = false;
    const OUT: bool = false;
    fn state(&self) {}
    #[inline]
    fn answer(&mut self, (): &mut (), input: &mut [u8], _: &mut [u8]) -> (bool, usize, usize) {
        (true, 0, input.len())
    }
}

/// Header by hand; returns (header, payload length), if whole.
#[inline]
fn head(input: &[u8]) -> Option<(usize, usize, [u8; 4])> {
    let (at, len) = match input.get(1)? & 0x7F {
        126 => (4, u16::from_be_bytes(*input.get(2..)?.first_chunk()?) as usize),
        127 => (10, u64::from_be_bytes(*input.get(2..)?.first_chunk()?) as usize),
        len => (2, len as usize),
    };
    let key = *input.get(at..)?.first_chunk()?;
    if input.len() < at + 4 + len { return None; }
    Some((at + 4, len, key))
}

/// Unmasks in place.
pub(super) struct Unmask;
impl Step for Unmask {
    type State = ();
    fn state(&self) {}
    #[inline]
    fn answer(&mut self, (): &mut (), input: &mut [u8], _: &mut [u8]) -> (bool, usize, usize) {
        let mut at = 0;
        let mut to = 0;
        let mut start = 0;
        while at < input.len() {
            let Some((header, len, key)) = head(&input[at..]) else {
                // Enough for the experiment: whole turns only.
                return (true, 0, 0);
            };
            Mask::new(key).apply(&mut input[at + header..at + header + len]);
            let (first, second) = (input[at], input[at + 1] & 0x7F);
            let bytes = [input[at + 2], input[at + 3]];
            let long: [u8; 8] = if header == 14 { *input[at + 2..].first_chunk().unwrap() } else { [0; 8] };
            if at == 0 {
                start = 4;
                to = 4;
            } else {
                input.copy_within(at + header..at + header + len, to + header - 4);
            }
            input[to] = first;
            input[to + 1] = second;
            if header == 8 { input[to + 2] = bytes[0]; input[to + 3] = bytes[1]; }
            if header == 14 { input[to + 2..to + 10].copy_from_slice(&long); }
            to += header - 4 + len;
            at += header + len;
        }
        (true, start, to)
    }
}

/// Unmasks, and copies.
pub(super) struct Copy;
impl Step for Copy {
    type State = ();
    fn state(&self) {}
    #[inline]
    fn answer(&mut self, (): &mut (), input: &mut [u8], out: &mut [u8]) -> (bool, usize, usize) {
        let mut at = 0;
        let mut to = 0;
        while at < input.len() {
            let Some((header, len, key)) = head(&input[at..]) else {
                return (true, 0, 0);
            };
            Mask::new(key).apply(&mut input[at + header..at + header + len]);
            let bare = header - 4;
            out[to..to + bare].copy_from_slice(&input[at..at + bare]);
            out[to + 1] &= 0x7F;
            out[to + bare..to + bare + len].copy_from_slice(&input[at + header..at + header + len]);
            to += bare + len;
            at += header + len;
        }
        (false, 0, to)
    }
}

pub(super) struct Conn1;
impl Step for Conn1 {
    type State = (Connection<Server>, Vec<u8>);
    fn state(&self) -> Self::State {
        (Connection::with_config(Server, ConnectionConfig::default()), Vec::new())
    }
    #[inline]
    fn answer(&mut self, (connection, parts): &mut Self::State, mut input: &mut [u8], out: &mut [u8]) -> (bool, usize, usize) {
        let mut to = 0;
        while let Ok(Some(event)) = connection.next_event(&mut input) {
            if let Event::Data(chunk) = event {
                if chunk.first && chunk.last {
                    to += connection.send(Message::Binary(chunk.bytes), &mut out[to..]).unwrap();
                } else {
                    parts.extend_from_slice(chunk.bytes);
                    if chunk.last {
                        to += connection.send(Message::Binary(parts), &mut out[to..]).unwrap();
                        parts.clear();
                    }
                }
            }
        }
        (false, 0, to)
    }
}

pub(super) struct Sess(pub(super) Instant);
impl Step for Sess {
    type State = (Session<Server>, Vec<u8>);
    fn state(&self) -> Self::State {
        (Session::new(Server, ConnectionConfig::default(), Millis(0)), Vec::new())
    }
    #[inline]
    fn answer(&mut self, (connection, parts): &mut Self::State, mut input: &mut [u8], out: &mut [u8]) -> (bool, usize, usize) {
        let mut to = 0;
        connection.received(Millis(self.0.elapsed().as_millis() as u32));
        while let Ok(Some(event)) = connection.next_event(&mut input) {
            if let Event::Data(chunk) = event {
                if chunk.first && chunk.last {
                    to += connection.send(Message::Binary(chunk.bytes), &mut out[to..]).unwrap();
                } else {
                    parts.extend_from_slice(chunk.bytes);
                    if chunk.last {
                        to += connection.send(Message::Binary(parts), &mut out[to..]).unwrap();
                        parts.clear();
                    }
                }
            }
        }
        (false, 0, to)
    }
    fn sent(&mut self, (session, _): &mut Self::State, len: usize) {
        session.sent(Millis(self.0.elapsed().as_millis() as u32), &Timeouts::DEFAULT, len, 0);
    }
}

pub(super) struct Pages(pub(super) usize, pub(super) Vec<u8>, pub(super) u8);
impl Step for Pages {
    type State = ();
    const HTTP: bool = false;
    fn state(&self) {}
    #[inline]
    fn answer(&mut self, (): &mut (), input: &mut [u8], _: &mut [u8]) -> (bool, usize, usize) {
        for n in 0..self.0 {
            self.2 ^= std::hint::black_box(self.1[n * 4096 + n * 64]);
        }
        (true, 0, input.len())
    }
}

pub(super) struct Timeout;
impl Step for Timeout {
    type State = ();
    const HTTP: bool = false;
    const TIMEOUT: bool = true;
    fn state(&self) {}
    #[inline]
    fn answer(&mut self, (): &mut (), input: &mut [u8], _: &mut [u8]) -> (bool, usize, usize) {
        (true, 0, input.len())
    }
}

#[inline(never)]
fn outline(stream: &TcpStream, what: &[u8]) -> Result<usize, Errno> {
    send(stream, what, SendFlags::NOSIGNAL)
}
pub(super) struct Outline;
impl Step for Outline {
    type State = ();
    const HTTP: bool = false;
    const OUTLINE: bool = true;
    fn state(&self) {}
    #[inline]
    fn answer(&mut self, (): &mut (), input: &mut [u8], _: &mut [u8]) -> (bool, usize, usize) {
        (true, 0, input.len())
    }
}
