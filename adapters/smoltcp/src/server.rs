//! The server's side: from a listening TCP socket to an open connection, and back.

use motews::Millis;
use motews::handshake::{Answer, HandshakeError, RequestEvent, Response, ServerHandshake, Upgrade};
use motews::{Ended, Pace, Server};
use smoltcp::socket::tcp::{Socket, State as Tcp};
use smoltcp::time::Instant;

use crate::ring;
use crate::socket::{Config, Outside, Phase, WebSocket, instant, millis};

/// A server's socket: one connection at a time, and then the next.
///
/// The TCP socket is the caller's, who has it listen once; after each connection it listens again
/// at the same endpoint. `LINE` is the room for one line of the request, in bytes: it bounds the
/// request line (method, target, version), and lies where the open connection lies later, so that
/// up to 190 bytes cost nothing.
///
/// ```
/// # use motews_smoltcp::{Config, ServerSocket};
/// # use smoltcp::socket::tcp;
/// static CONFIG: Config<'static> = Config::DEFAULT;
///
/// # let mut storage = ([0; 512], [0; 512]);
/// # let (rx, tx) = (&mut storage.0[..], &mut storage.1[..]);
/// let mut tcp = tcp::Socket::new(tcp::SocketBuffer::new(rx), tcp::SocketBuffer::new(tx));
/// tcp.listen(80)?;
/// let mut server: ServerSocket = ServerSocket::new(&CONFIG);
/// # Ok::<(), tcp::ListenError>(())
/// ```
pub type ServerSocket<'a, const LINE: usize = 128> = WebSocket<'a, Server, Accepting<'a, LINE>>;

/// Where a [`ServerSocket`] stands before the connection is open.
#[derive(Debug)]
pub struct Accepting<'a, const LINE: usize>(Stage<'a, LINE>);

#[derive(Debug)]
enum Stage<'a, const LINE: usize> {
    /// No one has called yet.
    Listening,
    /// A peer has called, and has sent nothing since.
    Silent(Millis),
    /// The request is arriving; or it is done, and the caller's decision is due.
    Request(ServerHandshake<[u8; LINE]>),
    /// The answer goes out; so many bytes of it are through.
    Answering(Decision<'a>, usize),
}

#[derive(Clone, Debug)]
enum Decision<'a> {
    Accept(Upgrade, Answer<'a>),
    /// And then it has ended so.
    Respond(Response<'a>, Ended),
}

/// What a [`ServerSocket`] comes to.
#[derive(Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ServerEvent<'s> {
    /// The request, as it arrives: first its line, then each header, then
    /// [`Done`](RequestEvent::Done). That is the caller's to decide: [`ServerSocket::accept`] or
    /// [`ServerSocket::respond`], now or later; until then nothing happens, but for the deadline.
    Request(RequestEvent<'s>),
    /// The request's head has ended, and it is not a correct opening handshake.
    /// [`HandshakeError::NotUpgrade`] is an ordinary HTTP request, for which
    /// [`ServerSocket::respond`] has a page, if it is called before the next poll. Otherwise the
    /// error's own response is given.
    Http(HandshakeError),
    /// What the peer sent. Nothing is read before the handshake's answer lies in the transmit ring,
    /// which may leave no room for a reply to the first one.
    Received(motews::Event<'s>),
    /// The connection has ended, TCP included. From the next poll on the socket listens again.
    Ended(Ended),
}

impl<'a, const LINE: usize> ServerSocket<'a, LINE> {
    /// A server for a TCP socket that listens, or will.
    #[must_use]
    pub const fn new(config: &'a Config<'a>) -> Self {
        Self::with_opening(config, Accepting(Stage::Listening), Millis(0))
    }

    /// Takes the connection as far as it goes without the caller, and tells the next thing that
    /// concerns the caller. Call it until it gives `None`, after each poll of the interface that
    /// has changed something, and when [`poll_at`](Self::poll_at) says so.
    ///
    /// Payload lies in the receive ring. At most `limit` bytes of it come at once: what the caller
    /// can take now. With 0 nothing is read: the ring fills up, and TCP tells the peer to wait.
    /// Pongs, Closes and deadlines are seen to all the same.
    #[inline(never)] // registers enough for it alone: a tenth smaller on a Cortex-M
    pub fn poll<'s>(
        &'s mut self,
        socket: &'s mut Socket<'_>,
        now: Instant,
        limit: usize,
    ) -> Option<ServerEvent<'s>> {
        let now = millis(now);
        if let Phase::Over(since) = self.phase {
            if !listen_again(socket, now.since(since)) {
                return None;
            }
            self.queued = 0;
            self.phase = Phase::Outside(
                Outside::Opening(Accepting(Stage::Listening)),
                Pace::new(now),
            );
        }
        if !self.poll_opening(socket, now) {
            return None;
        }
        match self.read_request(socket) {
            Ok(false) => {}
            Ok(true) => return self.request_event(),
            Err(error) => {
                let is_head = self.request().is_some_and(|request| request.is_head());
                if let Phase::Outside(Outside::Opening(Accepting(stage)), _) = &mut self.phase {
                    let response = error.response().head(is_head);
                    *stage = Stage::Answering(Decision::Respond(response, error.into()), 0);
                }
                return Some(ServerEvent::Http(error));
            }
        }
        self.poll_open(
            socket,
            now,
            limit,
            ServerEvent::Received,
            ServerEvent::Ended,
        )
    }

    /// Accepts the upgrade that [`RequestEvent::Done`] told: the answer goes out with the next
    /// polls, and then the connection [is open](WebSocket::is_open). Of no effect when no decision is
    /// due. An upgrade answers its own request only: keep none beyond its connection.
    #[inline(never)] // smaller on a Cortex-M
    pub fn accept(&mut self, upgrade: Upgrade) {
        self.accept_with(upgrade, upgrade.answer(&self.config.offers));
    }

    /// The same with headers of the caller's own, or another subprotocol, in the answer.
    pub fn accept_with(&mut self, upgrade: Upgrade, answer: Answer<'a>) {
        if let Phase::Outside(Outside::Opening(Accepting(stage)), _) = &mut self.phase
            && let Stage::Request(handshake) = stage
            && handshake.is_done()
        {
            *stage = Stage::Answering(Decision::Accept(upgrade, answer), 0);
        }
    }

    /// Answers the request with an HTTP response, and not with an upgrade: refuses it, or gives a
    /// page, of any length, in the parts that the transmit ring has room for. Then the connection
    /// ends. Of no effect when no decision is due.
    ///
    /// ```
    /// # use motews_smoltcp::{ServerEvent, ServerSocket};
    /// # use motews::handshake::{ConfigError, HandshakeError, Response};
    /// # fn f(server: &mut ServerSocket<'_>, error: HandshakeError) -> Result<(), ConfigError> {
    /// static PAGE: &[u8] = b"<!doctype html><title>Hello</title>";
    /// if error == HandshakeError::NotUpgrade {
    ///     let page = Response::new(200)?.headers(&[("Content-Type", "text/html")])?;
    ///     server.respond(page.body(PAGE));
    /// }
    /// # Ok(()) }
    /// ```
    pub fn respond(&mut self, response: Response<'a>) {
        let Phase::Outside(Outside::Opening(Accepting(stage)), _) = &mut self.phase else {
            return;
        };
        // In place of the answer that an error has, too.
        let is_head = match stage {
            Stage::Request(handshake) if handshake.is_done() => handshake.is_head(),
            Stage::Answering(Decision::Respond(response, _), 0) => response.is_head(),
            _ => return,
        };
        let ended = Ended::Refused(response.status());
        *stage = Stage::Answering(Decision::Respond(response.head(is_head), ended), 0);
    }

    /// When to poll next, unless the TCP socket has something new before; `None`: never.
    #[must_use]
    pub fn poll_at(&self, now: Instant) -> Option<Instant> {
        match self.phase {
            Phase::Outside(Outside::Opening(Accepting(Stage::Listening)), _) => None,
            Phase::Over(since) => Some(instant(since.after(RESET_TIME), now)),
            Phase::Outside(Outside::Opening(Accepting(Stage::Silent(since))), _)
                if millis(now).since(since) < SILENCE =>
            {
                let gives_way = instant(since.after(SILENCE), now);
                Some(self.deadline(now).map_or(gives_way, |at| at.min(gives_way)))
            }
            _ => self.deadline(now),
        }
    }

    /// Returns since when a peer is connected that has sent nothing, as of the last
    /// [`poll`](Self::poll), in milliseconds that wrap.
    pub(crate) const fn silent_since(&self) -> Option<Millis> {
        match &self.phase {
            Phase::Outside(Outside::Opening(Accepting(Stage::Silent(since))), _) => Some(*since),
            _ => None,
        }
    }

    /// Resets the connection of a peer that has sent nothing, so that the socket listens again: the
    /// next [`poll`](Self::poll) returns [`Ended::Aborted`], and the first one after the interface has
    /// sent the reset has the socket listen. A peer that has not answered the SYN yet, and may not even be
    /// where it says, is dropped without a word: the socket listens at once. Of no effect if the peer has
    /// sent something by now. See [`gives_way`], which finds the socket.
    pub fn give_way(&mut self, socket: &mut Socket<'_>) {
        if self.silent_since().is_none() || socket.can_recv() {
            return;
        }
        let is_half_open = socket.state() == Tcp::SynReceived;
        socket.abort();
        if is_half_open
            && socket.listen(socket.listen_endpoint()).is_ok()
            && let Phase::Outside(Outside::Opening(Accepting(stage)), _) = &mut self.phase
        {
            *stage = Stage::Listening;
        } else {
            self.end(socket, Ended::Aborted);
        }
    }

    /// Whether no one has called: the socket listens, or will.
    #[must_use]
    pub const fn is_idle(&self) -> bool {
        let listening = matches!(
            self.phase,
            Phase::Outside(Outside::Opening(Accepting(Stage::Listening)), _)
        );
        listening || matches!(self.phase, Phase::Over(_))
    }

    /// From the first segment to the last byte of the answer, but for the request's reading.
    #[inline(never)] // the same
    fn poll_opening(&mut self, socket: &mut Socket<'_>, now: Millis) -> bool {
        let Phase::Outside(Outside::Opening(Accepting(stage)), pace) = &mut self.phase else {
            return true;
        };
        if let Stage::Listening = stage {
            if !socket.is_active() {
                return false;
            }
            *pace = Pace::new(now);
            *stage = Stage::Silent(now);
        }
        if let Stage::Silent(_) = stage
            && (socket.can_recv() || socket.state() == Tcp::CloseWait)
        {
            let handshake = ServerHandshake::with_limits([0; LINE], self.config.limits);
            *stage = Stage::Request(handshake);
        }
        if socket.is_listening() {
            *stage = Stage::Listening; // The connection was reset before it was established.
            return false;
        }
        if !socket.is_active() {
            self.end(socket, Ended::Lost);
        } else if let Stage::Answering(answer, sent) = stage {
            let before = *sent;
            if before == 0 {
                pace.responding(now);
            }
            let all = ring::put_text(socket, sent, |at, out| match &*answer {
                Decision::Accept(upgrade, answer) => upgrade.emit_from(at, out, answer),
                Decision::Respond(response, _) => response.emit_from(at, out),
            });
            self.queued = self.queued.wrapping_add(sent.wrapping_sub(before));
            let pace = *pace;
            match (all, answer) {
                (Ok(false), _) => {}
                (Ok(true), Decision::Accept(upgrade, _)) => {
                    let agreed = upgrade.agreed();
                    self.opened(Server, agreed, pace, now);
                }
                (Ok(true), Decision::Respond(_, ended)) => {
                    let ended = *ended;
                    self.end(socket, ended);
                }
                (Err(_), _) => self.end(socket, Ended::Lost),
            }
        }
        true
    }

    /// Reads on, and tells whether there is an event. It is lent when no more is read: an event that
    /// borrows cannot be returned out of a loop (E0499).
    fn read_request(&mut self, socket: &mut Socket<'_>) -> Result<bool, HandshakeError> {
        let offers = &self.config.offers;
        let Some(handshake) = self.request() else {
            return Ok(false);
        };
        if socket.state() == Tcp::SynReceived {
            return Ok(false);
        }
        match ring::feed(socket, |input| handshake.step(input, offers)) {
            Some(found) => found,
            None => {
                self.end(socket, Ended::Lost);
                Ok(false)
            }
        }
    }

    /// What the request has come to.
    fn request_event(&mut self) -> Option<ServerEvent<'_>> {
        self.request()?.event().map(ServerEvent::Request)
    }

    /// The request that is being read, or that is done.
    #[inline(never)] // smaller on a Cortex-M
    const fn request(&mut self) -> Option<&mut ServerHandshake<[u8; LINE]>> {
        match &mut self.phase {
            Phase::Outside(Outside::Opening(Accepting(Stage::Request(handshake))), _) => {
                Some(handshake)
            }
            _ => None,
        }
    }
}

/// How long the only peer that has sent nothing is waited for, in milliseconds.
const SILENCE: u32 = 1_000;

/// Returns which of several sockets at one port is to [give way](ServerSocket::give_way), so that one
/// of them listens: smoltcp refuses whoever calls while none does. It is the one whose peer connected
/// first of those that have sent nothing yet. `None` if a socket listens, or if none has to.
///
/// To be called after all have been polled. The only one that is silent has a second, for it may be the
/// newcomer whose request is on its way; [`ServerSocket::poll_at`] knows of that.
///
/// So with `n` sockets, while fewer than `n - 1` are in use by peers that have sent something, one who
/// comes and sends its request is served within 2 s, if it tries again when it is refused: whatever
/// others do that only connect, or only send a SYN. The last socket is one for all: there it is a
/// matter of luck, as long as silent ones keep coming.
///
/// ```
/// # use motews_smoltcp::{ServerSocket, gives_way};
/// # use smoltcp::{iface::{SocketHandle, SocketSet}, socket::tcp, time::Instant};
/// # fn f(servers: &mut [(SocketHandle, ServerSocket<'_>)], sockets: &mut SocketSet<'_>, now: Instant) {
/// if let Some(index) = gives_way(servers.iter().map(|(_, server)| server), now) {
///     let (handle, server) = &mut servers[index];
///     server.give_way(sockets.get_mut::<tcp::Socket<'_>>(*handle));
/// }
/// # }
/// ```
#[must_use]
pub fn gives_way<'s, 'a: 's, const LINE: usize>(
    servers: impl IntoIterator<Item = &'s ServerSocket<'a, LINE>>,
    now: Instant,
) -> Option<usize> {
    let now = millis(now);
    let mut first: Option<(usize, Millis)> = None;
    let mut silent = 0_usize;
    for (index, server) in servers.into_iter().enumerate() {
        if server.is_idle() {
            return None;
        }
        if let Some(since) = server.silent_since() {
            silent = silent.saturating_add(1);
            if first.is_none_or(|(_, at)| now.since(since) > now.since(at)) {
                first = Some((index, since));
            }
        }
    }
    let (index, since) = first?;
    (silent > 1 || now.since(since) >= SILENCE).then_some(index)
}

/// How long a peer is being told that its connection was reset, in milliseconds.
const RESET_TIME: u32 = 1_000;

/// Has the socket listen again where it listened before.
fn listen_again(socket: &mut Socket<'_>, since: u32) -> bool {
    // After a reset the socket first tells the peer so, if it can: a peer that is unplugged has no
    // address on the link any more.
    let resetting = socket.state() == Tcp::Closed && socket.local_endpoint().is_some();
    if resetting && since < RESET_TIME {
        return false;
    }
    let endpoint = socket.listen_endpoint();
    // The caller may have seen to it.
    socket.is_open() || socket.listen(endpoint).is_ok()
}
