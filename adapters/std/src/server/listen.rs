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

/// Makes a listener for each of `count` loops, at the same address.
pub(super) fn listen(
    mut addr: SocketAddr,
    count: usize,
    send_buffer: Option<usize>,
) -> io::Result<Vec<Socket>> {
    let mut listeners: Vec<Socket> = Vec::new();
    for index in 0..count {
        if let Some(first) = listeners.first().filter(|_| !SHARED_PORT) {
            listeners.push(first.try_clone()?);
            continue;
        }
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
        if index > 0 {
            share_port(&socket)?;
        }
        socket.bind(&addr.into())?;
        socket.listen(LISTEN_BACKLOG)?;
        if index == 0 && count > 1 {
            // Only now: until it listens, the port must be its own. Otherwise a second server would
            // begin to share the port with this one.
            share_port(&socket)?;
        }
        // Port 0 is any port; the other loops have the same.
        if let Some(bound) = socket.local_addr()?.as_socket() {
            addr = bound;
        }
        listeners.push(socket);
    }
    Ok(listeners)
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
