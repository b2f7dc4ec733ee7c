//! The limit: an event loop that writes back what it reads.
//!
//! Three system calls and nothing else: one wait for all that is ready, one read and one write for
//! each that is. [`Returning`] and [`Unmasking`] do the same, and a little more: they show where the time
//! of others goes.

use core::ops::Range;
use std::io;
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd;

use motews::{FrameHeader, Mask};
use rustix::event::epoll;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};

/// Bytes read at once: the largest message of the workloads with its header, and more.
const BUFFER_LEN: usize = 128 * 1024;

const LISTENER: u64 = u64::MAX;

/// What the loop does with what it has read.
pub(super) trait Echo {
    /// Whether the first thing that comes is a request.
    const OPENS: bool = false;

    /// Makes the answer to all that is whole in `input`, in place. Returns where it lies, and how much
    /// of `input` it answers.
    #[inline]
    fn answer(input: &mut [u8]) -> (Range<usize>, usize) {
        (0..input.len(), input.len())
    }

    #[inline(always)]
    fn write(stream: &TcpStream, bytes: &[u8]) -> Result<usize, Errno> {
        send(stream, bytes, SendFlags::NOSIGNAL)
    }
}

/// The raw echo: its system calls are inlined into its loop.
pub(super) struct Raw;

impl Echo for Raw {}

/// The raw echo, but a function of its own writes, which returns after the system call.
pub(super) struct Returning;

impl Echo for Returning {
    #[inline(never)]
    fn write(stream: &TcpStream, bytes: &[u8]) -> Result<usize, Errno> {
        Raw::write(stream, bytes)
    }
}

/// Lets everybody in, and echoes frames. It unmasks them, and checks nothing: the least that a server
/// of WebSockets does.
pub(super) struct Unmasking;

impl Echo for Unmasking {
    const OPENS: bool = true;

    #[inline]
    fn answer(input: &mut [u8]) -> (Range<usize>, usize) {
        let mut read = 0;
        // The first answer stays where it is, and the others move up to it.
        let start = 4;
        let mut end = start;
        while let Ok(Some((header, len))) = FrameHeader::parse(&input[read..]) {
            let payload = read + len..read + len + header.payload_len as usize;
            let (Some(key), Some(bytes)) = (header.mask, input.get_mut(payload.clone())) else {
                break;
            };
            Mask::new(key).apply(bytes);
            read = payload.end;
            let header = FrameHeader {
                mask: None,
                ..header
            };
            if payload.start > len {
                input.copy_within(payload.clone(), end + header.wire_len());
            }
            end += header.emit(&mut input[end..]).unwrap_or_default() + payload.len();
        }
        (start..end, read)
    }
}

struct Connection {
    stream: TcpStream,
    /// It was let in.
    is_open: bool,
    /// What was read and is not whole.
    unread: Vec<u8>,
    /// What the peer had no room for. Nothing is read until this is written.
    unsent: Vec<u8>,
}

/// Serves whoever connects to `listener`.
pub(super) fn serve<E: Echo>(listener: &TcpListener) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let poll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    let data = epoll::EventData::new_u64(LISTENER);
    epoll::add(&poll, listener.as_fd(), data, epoll::EventFlags::IN)?;
    let mut connections: Vec<Option<Connection>> = Vec::new();
    let mut buffer = vec![0; BUFFER_LEN];
    let mut events = [epoll::Event {
        flags: epoll::EventFlags::empty(),
        data: epoll::EventData::new_u64(0),
    }; 1024];
    loop {
        let count = match epoll::wait(&poll, &mut events, None) {
            Ok(count) => count,
            Err(Errno::INTR) => continue,
            Err(error) => return Err(error.into()),
        };
        for event in &events[..count] {
            let (data, flags) = (event.data, event.flags);
            if data.u64() == LISTENER {
                accept(listener, &poll, &mut connections)?;
                continue;
            }
            let slot = &mut connections[data.u64() as usize];
            let Some(connection) = slot else { continue };
            let ended = flags.contains(epoll::EventFlags::RDHUP);
            match echo::<E>(connection, ended, &mut buffer) {
                Ok(()) | Err(Errno::AGAIN) => {}
                Err(_) => *slot = None,
            }
        }
    }
}

fn accept(
    listener: &TcpListener,
    poll: impl AsFd,
    connections: &mut Vec<Option<Connection>>,
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
        // By edges: each costs the kernel one look at the socket, not two.
        let flags = epoll::EventFlags::ET
            | epoll::EventFlags::IN
            | epoll::EventFlags::OUT
            | epoll::EventFlags::RDHUP;
        epoll::add(&poll, stream.as_fd(), data, flags)?;
        connections.push(Some(Connection {
            stream,
            is_open: false,
            unread: Vec::new(),
            unsent: Vec::new(),
        }));
    }
}

/// Echoes until nothing more is there. An error means that the connection is over.
#[inline(always)] // For `Raw` to return from no system call.
fn echo<E: Echo>(connection: &mut Connection, ended: bool, buffer: &mut [u8]) -> Result<(), Errno> {
    let stream = &connection.stream;
    loop {
        while !connection.unsent.is_empty() {
            let sent = E::write(stream, &connection.unsent)?;
            connection.unsent.drain(..sent);
        }
        let kept = connection.unread.len();
        let (len, _) = recv(stream, &mut buffer[kept..], RecvFlags::empty())?;
        if len == 0 {
            return Err(Errno::CONNRESET);
        }
        if E::OPENS && !connection.is_open {
            connection.is_open = true;
            E::write(stream, b"HTTP/1.1 101 Switching Protocols\r\n\r\n")?;
            continue;
        }
        buffer[..kept].copy_from_slice(&connection.unread);
        connection.unread.clear();
        let end = kept + len;
        let (answer, read) = E::answer(&mut buffer[..end]);
        connection.unread.extend(&buffer[read..end]);
        let answer = &buffer[answer];
        let sent = match answer {
            [] => Ok(0),
            answer => E::write(stream, answer),
        };
        let sent = match sent {
            Ok(sent) => sent,
            Err(Errno::AGAIN) => 0,
            Err(error) => return Err(error),
        };
        connection.unsent.extend(&answer[sent..]);
        // A short read has emptied the socket, but for its end, which an event has told of.
        if sent == answer.len() && end < buffer.len() && !ended {
            return Ok(());
        }
    }
}
