//! Through a proxy, over a blocking socket.

use core::time::Duration;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Instant;

use motews_net::Tunnel;

use crate::error::ConnectError;

/// How long a proxy that has refused may take to say why.
const REASON_TIMEOUT: Duration = Duration::from_secs(3);

/// Opens the tunnel. Not a byte that comes from the server is taken.
pub(super) fn open(
    mut tunnel: Tunnel,
    mut socket: &TcpStream,
    mut until: Option<Instant>,
) -> Result<(), ConnectError> {
    let mut buffer = [0; 1024];
    while !tunnel.is_open() {
        let left = until.map(|until| until.saturating_duration_since(Instant::now()));
        if left.is_some_and(|left| left.is_zero()) {
            return match tunnel.is_refused() {
                true => tunnel.receive_eof().map_err(ConnectError::Tunnel),
                false => Err(ConnectError::TimedOut(None)),
            };
        }
        socket.set_read_timeout(left)?;
        socket.set_write_timeout(left)?;
        if !tunnel.to_send().is_empty() {
            match socket.write(tunnel.to_send()) {
                Ok(0) => return Err(io::Error::from(io::ErrorKind::WriteZero).into()),
                Ok(len) => tunnel.sent(len),
                Err(error) => interrupted(error)?,
            }
            continue;
        }
        let peeked = match socket.peek(&mut buffer) {
            Ok(0) => return tunnel.receive_eof().map_err(ConnectError::Tunnel),
            Ok(len) => &buffer[..len],
            Err(error) => {
                interrupted(error)?;
                continue;
            }
        };
        let mut input = peeked;
        let was_refused = tunnel.is_refused();
        let received = tunnel.receive(&mut input);
        let taken = peeked.len() - input.len();
        socket.read_exact(&mut buffer[..taken])?;
        received.map_err(ConnectError::Tunnel)?;
        if tunnel.is_refused() && !was_refused {
            let soon = Instant::now().checked_add(REASON_TIMEOUT);
            until = until.into_iter().chain(soon).min();
        }
    }
    socket.set_read_timeout(None)?;
    socket.set_write_timeout(None)?;
    Ok(())
}

/// A timeout of the socket has either kind, and the deadline decides.
fn interrupted(error: io::Error) -> io::Result<()> {
    match error.kind() {
        io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Ok(()),
        _ => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use motews_net::{Host, Proxy};
    use std::net::TcpListener;
    use std::thread;

    #[test]
    fn what_the_server_sends_first_is_left_in_the_socket() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        server
            .write_all(b"HTTP/1.1 200 Connection established\r\n\r\nhello")
            .unwrap();
        let proxy = Proxy::parse("proxy").unwrap();
        let tunnel = proxy.tunnel(&Host::Name("h".into()), 80).unwrap();
        let until = Instant::now().checked_add(Duration::from_secs(20));
        open(tunnel, &client, until).unwrap();
        let mut first = [0; 5];
        (&client).read_exact(&mut first).unwrap();
        assert_eq!(&first, b"hello");
        assert_eq!(client.read_timeout().unwrap(), None);
    }

    #[test]
    fn proxy_that_trickles_does_not_move_the_deadline() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        let trickling = thread::spawn(move || {
            let head = b"HTTP/1.1 200 OK\r\nX: ".iter();
            for byte in head.chain(core::iter::repeat(&b'x')) {
                if server.write_all(&[*byte]).is_err() {
                    return;
                }
                thread::sleep(Duration::from_millis(5));
            }
        });
        let proxy = Proxy::parse("proxy").unwrap();
        let tunnel = proxy.tunnel(&Host::Name("h".into()), 80).unwrap();
        let until = Instant::now().checked_add(Duration::from_millis(200));
        let result = open(tunnel, &client, until);
        assert!(
            matches!(result, Err(ConnectError::TimedOut(None))),
            "{result:?}"
        );
        drop(client);
        trickling.join().unwrap();
    }
}
