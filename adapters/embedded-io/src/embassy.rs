//! For the TCP sockets of [`embassy_net`].

use core::future::poll_fn;
use core::pin::pin;
use core::task::Poll;

use embassy_net::tcp::TcpSocket;

use crate::asynch::WebSocket;
use crate::time::{Timer, Untimed};

/// A client over a TCP socket, with a generator `E` and, if there is one, a source of time `K`.
///
/// ```
/// use motews_embedded_io::embassy::Client;
///
/// # struct MyRng;
/// # struct MyTimer;
/// struct Device {
///     ws: Client<'static, MyRng, MyTimer>,
/// }
/// ```
pub type Client<'a, E, K = Untimed> = WebSocket<'a, TcpSocket<'a>, motews::Client<E>, K>;

/// A server over a TCP socket, and its source of time `K`, if there is one.
pub type Server<'a, K = Untimed> = WebSocket<'a, TcpSocket<'a>, motews::Server, K>;

/// Ends a socket, whatever state it is in, so that it can connect or listen again.
///
/// It sends what was written and the end of TCP, and waits until the peer has acknowledged both, or for
/// `millis` milliseconds. If something is left then, it sends a reset, for which it waits as long again at
/// most: a peer that is unplugged has no address on the link any more. A socket that is dropped in place
/// of that tells its peer nothing.
///
/// A WebSocket is over by then: see [the end](crate#the-end). It fits the
/// [`Disconnect`](crate::asynch::Task::Disconnect) of a client that comes back.
pub async fn end(socket: &mut TcpSocket<'_>, timer: &mut impl Timer, millis: u32) {
    socket.close();
    flush(socket, timer, millis).await;
    // Of no effect if TCP has ended.
    socket.abort();
    flush(socket, timer, millis).await;
}

/// Flushes, for so long at most.
async fn flush(socket: &mut TcpSocket<'_>, timer: &mut impl Timer, millis: u32) {
    let mut flush = pin!(socket.flush());
    let mut timer = pin!(timer.wait(millis));
    poll_fn(|context| match flush.as_mut().poll(context) {
        Poll::Ready(_) => Poll::Ready(()),
        Poll::Pending => timer.as_mut().poll(context),
    })
    .await;
}
