//! What an application does.

use core::net::SocketAddr;
use core::time::Duration;

use motews::Ended;

use super::peer::{Peer, Peers};
use crate::error::{AcceptError, SendError};
use crate::handshake::{Request, Response};

/// A whole message (RFC 6455 §5.6), as it is lent to a [`Handler`]. To send a borrowed text, write the
/// `&str` itself, or `MessageRef::Text(text)`.
pub type MessageRef<'a> = motews::Message<'a>;

/// What an application does with its connections: [`Server::run`](crate::Server::run).
///
/// Its methods are called by one thread, one after the other, so they must not wait: while one of
/// them runs, no other connection of this loop is served. With several loops
/// ([`Server::run_threads`](crate::Server::run_threads)) each has a handler of its own; what they
/// share is in a [`Hub`](crate::Hub) or an [`Arc`](std::sync::Arc).
///
/// A closure is a handler that has nothing but [`on_message`](Self::on_message). Write the types of both
/// of its parameters, and return `Ok(())` where nothing is sent:
///
/// ```no_run
/// use motews_std::{MessageRef, Peer, Server};
///
/// Server::bind("127.0.0.1:9001")?.run(|peer: &mut Peer, message: MessageRef| peer.send(message))?;
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # Testing
/// Bind to port 0, run in a thread, and connect:
///
/// ```
/// use std::time::Duration;
/// use motews_std::{MessageRef, Peer, Server, connect};
///
/// let server = Server::bind("127.0.0.1:0")?;
/// let handle = server.handle();
/// let echo = |peer: &mut Peer, message: MessageRef| peer.send(message);
/// let answer = std::thread::scope(|scope| {
///     scope.spawn(|| server.run(echo));
///     let talk = || {
///         let mut ws = connect(&format!("ws://{}/", handle.local_addr()))?;
///         ws.send("Hello")?;
///         Ok::<_, std::io::Error>(ws.recv()?)
///     };
///     let answer = talk();
///     handle.shutdown(Duration::ZERO); // whatever has happened: the scope waits for the server
///     answer
/// })?;
/// assert_eq!(answer, Some("Hello".into()));
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # Failures
/// An error from [`on_open`](Self::on_open) or [`on_message`](Self::on_message) closes that
/// connection, behind what was sent before: with 1013 if more waits than may
/// ([`SendError::is_would_block`]), and otherwise with 1011. [`SendError::Closed`] does nothing. If a
/// method panics, its connection is closed with 1011, and the others live; a request is answered with
/// 500 then.
pub trait Handler {
    /// What the application keeps for each open connection: [`on_open`](Self::on_open) returns it,
    /// [`Peer::data`] lends it, and it is dropped after [`on_close`](Self::on_close). `()` for
    /// nothing.
    type Data;

    /// Answers a request: accepts it, as it does by default, or refuses it with a status.
    /// It sees ordinary HTTP requests as well ([`Request::is_websocket`]), so that the same port
    /// can serve a page.
    ///
    /// A browser lets any site connect to any server, with the cookies of its user: where that
    /// matters, check the [`Request::origin`] (§10.2).
    fn on_request(&mut self, request: &Request) -> Response {
        let _ = request;
        Response::accepted()
    }

    /// A connection is open. Returns what the application keeps for it. What is sent here comes
    /// first.
    ///
    /// # Errors
    /// See [failures](Self#failures). A connection for which there is no data is closed, and gets no
    /// other call: neither [`on_message`](Self::on_message) nor [`on_close`](Self::on_close).
    fn on_open(&mut self, peer: &mut Peer<'_>, request: &Request) -> Result<Self::Data, SendError>;

    /// A message has come.
    ///
    /// # Errors
    /// See [failures](Self#failures).
    fn on_message(
        &mut self,
        peer: &mut Peer<'_, Self::Data>,
        message: MessageRef<'_>,
    ) -> Result<(), SendError>;

    /// A connection has ended, and why: called once for each that [`on_open`](Self::on_open) returned
    /// data for. Nothing can be sent any more. [`Peer::close_reason`] has the reason in the peer's
    /// Close, and [`Peer::error`] the operating system's error, if there is one.
    ///
    /// Its data is dropped after this call. So it is still a member of its hubs here, and counts in
    /// [`Hub::len`](crate::Hub::len), unless it calls [`Membership::leave`](crate::Membership::leave).
    fn on_close(&mut self, peer: &mut Peer<'_, Self::Data>, ended: Ended) {
        let _ = (peer, ended);
    }

    /// A connection has failed before it was open: its request or TLS handshake was incorrect or
    /// took too long, the peer left in the midst of it, or the operating system did not let the
    /// server accept it; or the response of [`on_request`](Self::on_request) could not be sent. The
    /// peer was answered, if it could be. What [`on_request`](Self::on_request) refused is no
    /// failure. `address` is the peer's, if it is known.
    fn on_failure(&mut self, address: Option<SocketAddr>, error: &AcceptError) {
        let _ = (address, error);
    }

    /// How often [`on_timer`](Self::on_timer) is called, in whole milliseconds, one at least; never
    /// by default. Asked once, when a loop begins.
    fn timer(&self) -> Option<Duration> {
        None
    }

    /// The time of the [`timer`](Self::timer) has come. A loop that was late does not catch up.
    fn on_timer(&mut self, peers: &mut Peers<'_, Self::Data>) {
        let _ = peers;
    }
}

impl<F> Handler for F
where
    F: FnMut(&mut Peer<'_>, MessageRef<'_>) -> Result<(), SendError>,
{
    type Data = ();

    fn on_open(&mut self, _: &mut Peer<'_>, _: &Request) -> Result<(), SendError> {
        Ok(())
    }

    #[inline(always)] // The message would be put together in memory for a call.
    fn on_message(
        &mut self,
        peer: &mut Peer<'_>,
        message: MessageRef<'_>,
    ) -> Result<(), SendError> {
        self(peer, message)
    }
}
