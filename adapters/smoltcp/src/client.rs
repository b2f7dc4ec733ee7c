//! The client's side: from a connecting TCP socket to an open connection.

use core::mem;

use motews::handshake::{Agreed, ClientHandshake, ConfigError, Key, Request, ResponseEvent};
use motews::{Client, Ended, Entropy};
use smoltcp::socket::tcp::{Socket, State as Tcp};
use smoltcp::time::Instant;

use crate::ring;
use crate::socket::{Config, Outside, Phase, WebSocket, millis};

/// A client's socket, for one connection.
///
/// The TCP socket is the caller's, who has it connect. `LINE` is the room for one line of the
/// response, in bytes, and lies where the open connection lies later.
///
/// ```no_run
/// # use motews::{Entropy, EntropyError, handshake::{ConfigError, Request}};
/// # use motews_smoltcp::{ClientSocket, Config};
/// # use smoltcp::{iface::Interface, socket::tcp, time::Instant, wire::IpAddress};
/// # struct Hardware;
/// # impl Entropy for Hardware {
/// #     fn fill(&mut self, bytes: &mut [u8]) -> Result<(), EntropyError> { Err(EntropyError) }
/// # }
/// # fn f(interface: &mut Interface, tcp: &mut tcp::Socket<'_>, now: Instant) -> Result<(), Box<dyn std::error::Error>> {
/// static CONFIG: Config<'static> = Config::DEFAULT;
///
/// tcp.connect(interface.context(), (IpAddress::v4(192, 168, 1, 2), 80), 49152)?;
/// let request = Request::new("192.168.1.2", "/")?;
/// let mut client: ClientSocket<'_, _> = ClientSocket::new(&CONFIG, request, Hardware, now)?;
/// # Ok(()) }
/// ```
pub type ClientSocket<'a, E, const LINE: usize = 128> =
    WebSocket<'a, Client<E>, Connecting<'a, E, LINE>>;

/// Where a [`ClientSocket`] stands before the connection is open.
#[derive(Debug)]
pub struct Connecting<'a, E, const LINE: usize> {
    role: Client<E>,
    stage: Stage<'a, LINE>,
}

#[derive(Debug)]
enum Stage<'a, const LINE: usize> {
    /// The request goes out; so many bytes of it are through.
    Request(Request<'a>, Key, usize),
    /// The response is arriving.
    Response(ClientHandshake<[u8; LINE]>),
}

/// What a [`ClientSocket`] comes to.
#[derive(Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClientEvent<'s> {
    /// The response, as it arrives: first the status line, then each header, also those of a
    /// refusal or a redirection. With [`Done`](ResponseEvent::Done) the connection is open.
    Response(ResponseEvent<'s>),
    /// What the peer sent.
    Received(motews::Event<'s>),
    /// The connection has ended, TCP included. Nothing comes after it; for the next connection
    /// make a new [`ClientSocket`], with a new [`Request`].
    Ended(Ended),
}

/// What there is of the response.
enum Found {
    /// Nothing that is worth telling.
    Nothing,
    /// A line, which lies in the handshake.
    Line,
    Done(Agreed),
    Ended(Ended),
}

impl<'a, E: Entropy, const LINE: usize> ClientSocket<'a, E, LINE> {
    /// A client that sends `request` with the [`offers`](Config::offers) of `config` as soon as TCP is
    /// connected, and draws its key and its masking keys from `entropy`.
    ///
    /// # Errors
    /// [`ConfigError::Entropy`] if there is no key, and what is wrong with the offers.
    pub fn new(
        config: &'a Config<'a>,
        request: Request<'a>,
        mut entropy: E,
        now: Instant,
    ) -> Result<Self, ConfigError> {
        let key = Key::new(&mut entropy)?;
        let request = request.offers(&config.offers)?;
        let opening = Connecting {
            role: Client::new(entropy),
            stage: Stage::Request(request, key, 0),
        };
        Ok(Self::with_opening(config, opening, millis(now)))
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
    ) -> Option<ClientEvent<'s>> {
        let now = millis(now);
        self.poll_opening(socket);
        match self.find(socket) {
            Found::Nothing => {}
            Found::Line => return self.lend(),
            Found::Done(agreed) => {
                let before = mem::replace(&mut self.phase, Phase::Over(now));
                if let Phase::Outside(Outside::Opening(opening), pace) = before {
                    self.opened(opening.role, agreed, pace, now);
                }
                return Some(ClientEvent::Response(ResponseEvent::Done(agreed)));
            }
            Found::Ended(ended) => self.end(socket, ended),
        }
        self.poll_open(
            socket,
            now,
            limit,
            ClientEvent::Received,
            ClientEvent::Ended,
        )
    }

    /// When to poll next, unless the TCP socket has something new before; `None`: never.
    #[must_use]
    pub fn poll_at(&self, now: Instant) -> Option<Instant> {
        self.deadline(now)
    }

    fn poll_opening(&mut self, socket: &mut Socket<'_>) {
        let Phase::Outside(Outside::Opening(opening), _) = &mut self.phase else {
            return;
        };
        if !socket.is_active() {
            self.end(socket, Ended::Lost);
            return;
        }
        let Stage::Request(request, key, sent) = &mut opening.stage else {
            return;
        };
        let before = *sent;
        let all = socket.may_send()
            && ring::put_text(socket, sent, |at, out| request.emit_from(at, out, key))
                .is_ok_and(|all| all);
        self.queued = self.queued.wrapping_add(sent.wrapping_sub(before));
        if all {
            let handshake = ClientHandshake::with_limits(key, [0; LINE], self.config.limits);
            opening.stage = Stage::Response(handshake);
        }
    }

    /// Reads on to the next line, without lending it: see the server's.
    fn find(&mut self, socket: &mut Socket<'_>) -> Found {
        let Phase::Outside(Outside::Opening(opening), _) = &mut self.phase else {
            return Found::Nothing;
        };
        let Stage::Response(handshake) = &mut opening.stage else {
            return Found::Nothing;
        };
        if matches!(socket.state(), Tcp::SynSent | Tcp::SynReceived) {
            return Found::Nothing;
        }
        match ring::feed(socket, |input| handshake.step(input, &self.config.offers)) {
            None => Found::Ended(Ended::Lost),
            Some(Ok(false)) => Found::Nothing,
            Some(Ok(true)) => match handshake.event() {
                Some(ResponseEvent::Done(agreed)) => Found::Done(agreed),
                _ => Found::Line,
            },
            Some(Err(error)) => Found::Ended(error.into()),
        }
    }

    /// Lends the line that [`find`](Self::find) found.
    fn lend(&mut self) -> Option<ClientEvent<'_>> {
        match &mut self.phase {
            Phase::Outside(
                Outside::Opening(Connecting {
                    stage: Stage::Response(handshake),
                    ..
                }),
                _,
            ) => handshake.event().map(ClientEvent::Response),
            _ => None,
        }
    }
}
