//! The limit: an event loop that writes back what it reads.
//!
//! Three system calls and nothing else: one wait for all that is ready, one read and one write for
//! each that is.

use std::io;
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd;

use rustix::event::epoll;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};

/// Bytes read at once: the largest message of the workloads with its header, and more.
const BUFFER_LEN: usize = 128 * 1024;

const LISTENER: u64 = u64::MAX;

struct Connection {
    stream: TcpStream,
    /// What the peer had no room for. Nothing is read until this is written.
    unsent: Vec<u8>,
}

/// Serves whoever connects to `listener`.
pub(super) fn serve(listener: &TcpListener) -> io::Result<()> {
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
            match echo(connection, ended, &mut buffer) {
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
            unsent: Vec::new(),
        }));
    }
}

/// Echoes until nothing more is there. An error means that the connection is over.
fn echo(connection: &mut Connection, ended: bool, buffer: &mut [u8]) -> Result<(), Errno> {
    let stream = &connection.stream;
    loop {
        while !connection.unsent.is_empty() {
            let sent = send(stream, &connection.unsent, SendFlags::NOSIGNAL)?;
            connection.unsent.drain(..sent);
        }
        let (len, _) = recv(stream, &mut *buffer, RecvFlags::empty())?;
        if len == 0 {
            return Err(Errno::CONNRESET);
        }
        let sent = match send(stream, &buffer[..len], SendFlags::NOSIGNAL) {
            Ok(sent) => sent,
            Err(Errno::AGAIN) => 0,
            Err(error) => return Err(error),
        };
        connection.unsent.extend(&buffer[sent..len]);
        // A short read has emptied the socket, but for its end, which an event has told of.
        if sent == len && len < buffer.len() && !ended {
            return Ok(());
        }
    }
}
