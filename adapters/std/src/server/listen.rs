//! The sockets that a server listens at.

use core::net::SocketAddr;
use std::io;

use socket2::{Domain, Protocol, Socket, Type};

/// How many connections may wait to be accepted.
const LISTEN_BACKLOG: i32 = 4096;

/// How much the operating system takes of what it cannot send yet, in bytes: what waits in there can
/// be neither replaced nor timed.
#[cfg(target_os = "linux")]
const NOTSENT_LOWAT: u32 = 128 * 1024;

/// Whether several sockets can share a port, so that each gets some of the connections.
const SHARED_PORT: bool = cfg!(target_os = "linux");

/// Listens at `addr`.
pub(super) fn listen(addr: SocketAddr, send_buffer: Option<usize>) -> io::Result<Socket> {
    let socket = socket(addr, send_buffer)?;
    socket.bind(&addr.into())?;
    socket.listen(LISTEN_BACKLOG)?;
    Ok(socket)
}

/// Makes the listeners of `count` loops of the one that listens at `addr` already. Until then the
/// port was its own: otherwise a second server could have begun to share it.
pub(super) fn share(
    first: Socket,
    addr: SocketAddr,
    count: usize,
    send_buffer: Option<usize>,
) -> io::Result<Vec<Socket>> {
    if SHARED_PORT && count > 1 {
        share_port(&first)?;
    }
    let mut listeners = vec![first];
    while listeners.len() < count {
        if !SHARED_PORT {
            listeners.push(listeners[0].try_clone()?);
            continue;
        }
        let socket = socket(addr, send_buffer)?;
        share_port(&socket)?;
        socket.bind(&addr.into())?;
        socket.listen(LISTEN_BACKLOG)?;
        listeners.push(socket);
    }
    Ok(listeners)
}

fn socket(addr: SocketAddr, send_buffer: Option<usize>) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    // On Windows this would let others take the port.
    #[cfg(unix)]
    socket.set_reuse_address(true)?;
    // Linux hands these options down to what is accepted.
    socket.set_tcp_nodelay(true)?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_notsent_lowat(NOTSENT_LOWAT)?;
    if let Some(bytes) = send_buffer {
        socket.set_send_buffer_size(bytes)?;
    }
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// Lets further sockets, which want it as well, listen at the same address.
#[cfg_attr(
    not(target_os = "linux"),
    expect(
        clippy::unnecessary_wraps,
        reason = "elsewhere there is nothing to share"
    )
)]
fn share_port(socket: &Socket) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    socket.set_reuse_port(true)?;
    let _ = socket;
    Ok(())
}
