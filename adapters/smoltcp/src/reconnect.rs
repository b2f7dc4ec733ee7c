//! A client that comes back: [`Reconnecting`].

use core::convert::Infallible;
use core::{fmt, mem};

use motews::handshake::{Agreed, Request, ResponseEvent};
use motews::interruption;
use motews::reconnect::{Backoff, Cause, Retry};
use motews::{
    Backlog, CloseCode, Ended, Entropy, Event, Message, Millis, NoRoom, ReconnectWithBacklog,
    SendError,
};
use smoltcp::iface::{Interface, SocketHandle, SocketSet};
#[cfg(feature = "dns")]
use smoltcp::socket::dns;
use smoltcp::socket::tcp::Socket;
use smoltcp::time::Instant;
#[cfg(feature = "dns")]
use smoltcp::wire::DnsQueryType;
use smoltcp::wire::IpAddress;

use crate::client::{ClientEvent, ClientSocket};
use crate::socket::{Config, instant, millis};

/// Where the server is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Host<'a> {
    /// At this address.
    Address(IpAddress),
    /// At one of the addresses of this name, which the DNS socket of this handle finds out. Each
    /// attempt asks again, and takes the next one. Without the feature `dns` an attempt fails with
    /// [`Cause::Local`].
    Name(&'a str, SocketHandle),
}

/// Why there is no connection any more, and when there is the next attempt.
pub type Interruption = interruption::Interruption<Cause, Infallible>;

/// What a [`Reconnecting`] comes to.
#[derive(Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Update<'s> {
    /// The response to the opening handshake, as it arrives: its status, then each header.
    Response(ResponseEvent<'s>),
    /// A connection is open. What has to be said first, such as a subscription, is sent now, by
    /// [`Reconnecting::socket`]: what [waits](Reconnecting::queue) goes out behind it.
    Opened(Agreed),
    /// What the peer sent.
    Received(Event<'s>),
    /// A connection has ended, or an attempt has failed.
    Ended(Interruption),
}

/// A client that connects again when its connection has ended, by the rules of [`Backoff`], and holds
/// the messages that are to be sent meanwhile.
///
/// It waits for the network, looks the server's name up, connects, and sees the opening handshake
/// through. It sends no message twice: an [`Interruption`] says of how many the fate is unknown.
///
/// - **The network** is there if the interface has an address, and the [link](Self::set_link) is up.
///   An attempt waits for it, and follows soon after it has come back, whatever the backoff was. A
///   connection outlives a cable that is pulled and put back, until one of its deadlines passes; it
///   ends with [`Ended::Lost`] when the address that it came from is not the interface's any more.
/// - **The TCP socket** is this client's alone, and is used again for each connection.
/// - `E` is copied into each connection: a handle to a generator, such as `&RefCell<Generator>`.
///
/// ```no_run
/// # use core::cell::RefCell;
/// # use motews::{Backlog, BacklogPolicy, Entropy, EntropyError, Event, Message, handshake::Request};
/// # use motews::reconnect::Backoff;
/// # use motews_smoltcp::{Config, Host, Reconnecting, Update};
/// # use smoltcp::{iface::{Interface, SocketHandle, SocketSet}, socket::tcp, time::Instant, wire::IpAddress};
/// # struct Hardware;
/// # impl Entropy for Hardware {
/// #     fn fill(&mut self, bytes: &mut [u8]) -> Result<(), EntropyError> { Err(EntropyError) }
/// # }
/// # fn f(interface: &mut Interface, sockets: &mut SocketSet<'_>, handle: SocketHandle, now: Instant) -> Result<(), Box<dyn std::error::Error>> {
/// static CONFIG: Config<'static> = Config::DEFAULT;
///
/// let generator = RefCell::new(Hardware);
/// let mut memory = [0; 1024];
/// let client: Reconnecting<'_, _> = Reconnecting::new(
///     &CONFIG,
///     handle,
///     (Host::Address(IpAddress::v4(192, 168, 1, 2)), 80),
///     Request::new("192.168.1.2", "/")?,
///     &generator,
///     now,
/// );
/// let mut client = client
///     .with_backoff(Backoff { persist: true, ..Backoff::DEFAULT })
///     .with_backlog(Backlog::new(&mut memory, BacklogPolicy::DropOldest));
///
/// // After each poll of the interface, and at `client.poll_at(..)`:
/// while let Some(update) = client.poll(interface, sockets, now, usize::MAX) {
///     match update {
///         Update::Opened(_) => {
///             if let Some((socket, tcp)) = client.socket(sockets) {
///                 socket.send(tcp, Message::Text("subscribe"))?;
///             }
///         }
///         Update::Received(Event::Data(chunk)) => { /* obey */ }
///         Update::Ended(interruption) => { /* log it */ }
///         _ => {}
///     }
/// }
/// // At any time, whether there is a connection or not:
/// client.queue(Message::Text("21.5"))?;
/// # Ok(()) }
/// ```
pub struct Reconnecting<'a, E, const LINE: usize = 128> {
    config: &'a Config<'a>,
    handle: SocketHandle,
    host: Host<'a>,
    port: u16,
    request: Request<'a>,
    course: ReconnectWithBacklog<&'a mut [u8], E>,
    state: State<'a, E, LINE>,
    /// The connection has ended, and this comes next. The caller had its end lent when that was found.
    next: Option<Retry>,
    is_link_up: bool,
    /// Whether the network was there at the last poll; `None`: it never was.
    network: Option<bool>,
}

/// How far it is.
#[expect(
    clippy::large_enum_variant,
    reason = "without a heap there is no other place, and most of the time it is the largest"
)]
enum State<'a, E, const LINE: usize> {
    /// Until then, and for the network.
    Waiting(Millis),
    /// The name is being looked up by this socket, since then.
    #[cfg(feature = "dns")]
    Resolving(SocketHandle, dns::QueryHandle, Millis),
    /// From TCP's first segment to its last.
    Connected(ClientSocket<'a, E, LINE>),
    Over,
}

impl<'a, E: Entropy + Copy, const LINE: usize> Reconnecting<'a, E, LINE> {
    /// Returns a client that connects with the first [`poll`](Self::poll), if the network is there.
    /// `server` is its host and its port; `handle` is that of a TCP socket.
    pub fn new(
        config: &'a Config<'a>,
        handle: SocketHandle,
        server: (Host<'a>, u16),
        request: Request<'a>,
        entropy: E,
        now: Instant,
    ) -> Self {
        let (host, port) = server;
        Self {
            config,
            handle,
            host,
            port,
            request,
            course: ReconnectWithBacklog::new(entropy),
            state: State::Waiting(millis(now)),
            next: None,
            is_link_up: true,
            network: None,
        }
    }

    /// The same with other times between attempts.
    #[must_use]
    pub fn with_backoff(mut self, backoff: Backoff) -> Self {
        self.course.set_backoff(backoff);
        self
    }

    /// The same with room for messages that wait. There is none by default.
    #[must_use]
    pub fn with_backlog(mut self, backlog: Backlog<&'a mut [u8]>) -> Self {
        self.course.backlog = backlog;
        self
    }

    // ---- what the application decides ----

    /// Puts a message behind those that wait for a connection, or for the peer. Returns how many
    /// older ones were dropped for it, as the [policy](motews::BacklogPolicy) says.
    ///
    /// # Errors
    /// [`NoRoom`] if it is not taken: see [`Backlog::push`].
    pub fn queue(&mut self, message: Message<'_>) -> Result<u32, NoRoom> {
        self.course.backlog.push(message)
    }

    /// Returns the messages that wait.
    pub const fn backlog(&mut self) -> &mut Backlog<&'a mut [u8]> {
        &mut self.course.backlog
    }

    /// Returns the open connection and its TCP socket, to send past what waits; `None` if there is none.
    /// What waits also waits for the last part of a message that is sent in parts here.
    /// While a long message of those that wait is under way, this fails with
    /// [`SendError::MessageInProgress`]. Messages that are sent so are not counted as
    /// [unconfirmed](Interruption::unconfirmed).
    pub fn socket<'s, 't>(
        &'s mut self,
        sockets: &'s mut SocketSet<'t>,
    ) -> Option<(&'s mut ClientSocket<'a, E, LINE>, &'s mut Socket<'t>)> {
        match &mut self.state {
            State::Connected(client) if client.is_open() => {
                Some((client, sockets.get_mut(self.handle)))
            }
            _ => None,
        }
    }

    /// Changes the request, with its headers, target and subprotocols, from the next attempt on. That
    /// is made at once if there is no connection, also after [`Retry::Never`]: credentials were
    /// changed, or the application has [closed](Self::close) and wants a connection again. A connection
    /// that is open stays, or the Close that is under way: it is followed by an attempt with the new request,
    /// however it ends.
    pub fn set_request(&mut self, request: Request<'a>, now: Instant) {
        self.request = request;
        self.hurry(now);
    }

    /// Changes the server from the next attempt on, as [`set_request`](Self::set_request) does.
    pub fn set_server(
        &mut self,
        sockets: &mut SocketSet<'_>,
        server: (Host<'a>, u16),
        now: Instant,
    ) {
        (self.host, self.port) = server;
        #[cfg(feature = "dns")]
        if let State::Resolving(..) = self.state {
            self.give_up(sockets, Retry::At(millis(now)));
        }
        #[cfg(not(feature = "dns"))]
        let _ = sockets;
        self.hurry(now);
    }

    /// Says whether the link is up, if the driver knows. It is up until then.
    pub const fn set_link(&mut self, is_up: bool) {
        self.is_link_up = is_up;
    }

    /// Begins the closing handshake, and there is no further attempt. What waits stays.
    ///
    /// # Errors
    /// As [`WebSocket::close`](crate::WebSocket::close), if a connection is open.
    pub fn close(
        &mut self,
        sockets: &mut SocketSet<'_>,
        code: CloseCode,
        reason: &str,
    ) -> Result<(), SendError> {
        self.settle();
        match &mut self.state {
            State::Connected(client) if client.is_open() => client.close(code, reason)?,
            State::Connected(client) => {
                // A closing handshake goes on, whoever began it.
                if client.session().is_err() {
                    sockets.get_mut::<Socket<'_>>(self.handle).abort();
                }
            }
            State::Over => {}
            _ => self.give_up(sockets, Retry::Never),
        }
        self.course.close();
        Ok(())
    }

    /// Returns whether a connection is open.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        matches!(&self.state, State::Connected(client) if client.is_open())
    }

    /// Returns whether there is no further attempt: after [`Retry::Never`].
    #[must_use]
    pub const fn is_over(&self) -> bool {
        matches!(
            (&self.next, &self.state),
            (Some(Retry::Never), _) | (None, State::Over)
        )
    }

    /// The next attempt is made at once, if there is no connection.
    fn hurry(&mut self, now: Instant) {
        self.settle();
        self.course.reopen();
        if let State::Waiting(_) | State::Over = self.state {
            self.state = State::Waiting(millis(now));
        }
    }

    // ---- time ----

    /// Goes as far as it can without the caller, and returns the next thing that concerns the caller.
    /// Call it until it returns `None`: after each poll of the interface that has changed something,
    /// after [`queue`](Self::queue), and when [`poll_at`](Self::poll_at) says so.
    ///
    /// `limit` is as in [`ClientSocket::poll`](crate::ClientSocket::poll).
    pub fn poll<'s>(
        &'s mut self,
        interface: &mut Interface,
        sockets: &'s mut SocketSet<'_>,
        now: Instant,
        limit: usize,
    ) -> Option<Update<'s>> {
        self.settle();
        let at = millis(now);
        let ended = self.watch(interface, sockets, at);
        let ended = ended.or_else(|| self.advance(interface, sockets, now));
        if let Some(cause) = ended {
            let (interruption, retry) = self.course.ended(cause, None, at);
            self.give_up(sockets, retry);
            return Some(Update::Ended(interruption));
        }
        self.send_backlog(sockets);
        let State::Connected(client) = &mut self.state else {
            return None;
        };
        let event = client.poll(sockets.get_mut(self.handle), now, limit)?;
        Some(match event {
            ClientEvent::Response(ResponseEvent::Done(agreed)) => {
                self.course.opened(at);
                Update::Opened(agreed)
            }
            ClientEvent::Response(event) => {
                self.course.response(&event);
                Update::Response(event)
            }
            ClientEvent::Received(event) => Update::Received(event),
            ClientEvent::Ended(ended) => {
                let (interruption, retry) = self.course.ended(ended.into(), None, at);
                self.next = Some(retry);
                Update::Ended(interruption)
            }
        })
    }

    /// Returns when to poll next, unless the interface has changed something before; `None`: never.
    #[must_use]
    pub fn poll_at(&self, now: Instant) -> Option<Instant> {
        match (&self.next, &self.state) {
            (Some(_), _) => Some(now),
            (None, State::Waiting(at)) => (self.network == Some(true)).then(|| instant(*at, now)),
            #[cfg(feature = "dns")]
            (None, State::Resolving(.., since)) => {
                let time = self.config.timeouts.handshake?;
                Some(instant(since.after(time), now))
            }
            (None, State::Connected(client)) => client.poll_at(now),
            (None, State::Over) => None,
        }
    }

    /// Does what the last end has left to do.
    fn settle(&mut self) {
        if let Some(next) = self.next.take() {
            self.state = match next {
                Retry::At(at) => State::Waiting(at),
                Retry::Never => State::Over,
            };
        }
    }

    /// Looks whether the network is there. Returns what has ended the connection, if that has.
    fn watch(
        &mut self,
        interface: &Interface,
        sockets: &mut SocketSet<'_>,
        at: Millis,
    ) -> Option<Cause> {
        let before = self.network;
        let is_there = self.is_link_up && !interface.ip_addrs().is_empty();
        if is_there || before.is_some() {
            self.network = Some(is_there);
        }
        match self.state {
            // It has come back, and whoever else has lost it comes back as well.
            State::Waiting(_) if is_there && before == Some(false) => {
                if let Retry::At(at) = self.course.network_changed(at) {
                    self.state = State::Waiting(at);
                }
                None
            }
            State::Connected(_) => {
                let tcp = sockets.get_mut::<Socket<'_>>(self.handle);
                let local = tcp.local_endpoint()?;
                // It may have none while the lease is being renewed.
                let has_moved =
                    !interface.ip_addrs().is_empty() && !interface.has_ip_addr(local.addr);
                has_moved.then_some(Cause::Ended(Ended::Lost))
            }
            _ => None,
        }
    }

    /// Takes the next step towards a connection. Returns what has ended the attempt, if that has.
    fn advance(
        &mut self,
        interface: &mut Interface,
        sockets: &mut SocketSet<'_>,
        now: Instant,
    ) -> Option<Cause> {
        let at = millis(now);
        let address = match self.state {
            State::Waiting(due) if self.network == Some(true) && at.has_reached(due) => match self
                .host
            {
                Host::Address(address) => address,
                #[cfg(feature = "dns")]
                Host::Name(name, handle) => {
                    let dns = sockets.get_mut::<dns::Socket<'_>>(handle);
                    match dns.start_query(interface.context(), name, DnsQueryType::A) {
                        Ok(query) => self.state = State::Resolving(handle, query, at),
                        Err(dns::StartQueryError::NoFreeSlot) => return Some(Cause::Unreachable),
                        Err(_) => return Some(Cause::Local),
                    }
                    return None;
                }
                #[cfg(not(feature = "dns"))]
                Host::Name(..) => return Some(Cause::Local),
            },
            #[cfg(feature = "dns")]
            State::Resolving(handle, query, since) => {
                let dns = sockets.get_mut::<dns::Socket<'_>>(handle);
                match dns.get_query_result(query) {
                    Err(dns::GetQueryResultError::Pending) => {
                        let time = self.config.timeouts.handshake?;
                        return at
                            .has_reached(since.after(time))
                            .then_some(Cause::Unreachable);
                    }
                    result => {
                        // The query's place is free again.
                        self.state = State::Waiting(at);
                        let addresses = result.unwrap_or_default();
                        let failures = usize::from(self.course.reconnect().failures());
                        let index = failures.checked_rem(addresses.len()).unwrap_or(0);
                        match addresses.get(index) {
                            Some(address) => *address,
                            None => return Some(Cause::Unreachable),
                        }
                    }
                }
            }
            _ => return None,
        };
        self.connect(interface, sockets, address, now).err()
    }

    fn connect(
        &mut self,
        interface: &mut Interface,
        sockets: &mut SocketSet<'_>,
        address: IpAddress,
        now: Instant,
    ) -> Result<(), Cause> {
        let mut random = [0; 2];
        let drawn = self.course.entropy.fill(&mut random);
        drawn.map_err(|_| Cause::Ended(Ended::NoEntropy))?;
        let port = FIRST_PORT | u16::from_le_bytes(random);
        let client = ClientSocket::new(self.config, self.request, self.course.entropy, now)?;
        let tcp = sockets.get_mut::<Socket<'_>>(self.handle);
        if tcp.is_open() {
            tcp.abort(); // It was not this client's alone.
        }
        let server = (address, self.port);
        if tcp.connect(interface.context(), server, port).is_err() {
            return Err(Cause::Unreachable);
        }
        self.course.asked();
        self.state = State::Connected(client);
        Ok(())
    }

    /// Leaves off what is under way.
    fn give_up(&mut self, sockets: &mut SocketSet<'_>, next: Retry) {
        let after = match next {
            Retry::At(at) => State::Waiting(at),
            Retry::Never => State::Over,
        };
        match mem::replace(&mut self.state, after) {
            State::Connected(_) => sockets.get_mut::<Socket<'_>>(self.handle).abort(),
            #[cfg(feature = "dns")]
            State::Resolving(handle, query, _) => {
                sockets
                    .get_mut::<dns::Socket<'_>>(handle)
                    .cancel_query(query);
            }
            State::Waiting(_) | State::Over => {}
        }
    }

    /// Sends what waits, as far as there is room.
    fn send_backlog(&mut self, sockets: &mut SocketSet<'_>) {
        let State::Connected(client) = &mut self.state else {
            return;
        };
        if !client.is_open() {
            return;
        }
        let tcp = sockets.get_mut::<Socket<'_>>(self.handle);
        while let Some((kind, payload)) = self.course.first() {
            // A part of a message of the application's own, which it is to end first.
            let session = client.session();
            if session.is_ok_and(|session| session.connection().is_sending_message())
                && !self.course.backlog.is_begun()
            {
                return;
            }
            let room = client.send_room(tcp);
            // What can be sent as one frame is.
            if room == 0 || (room < payload.len() && payload.len() <= tcp.send_capacity() / 2) {
                return;
            }
            match client.send_fragment(tcp, kind, payload, true) {
                Ok(len) => {
                    self.course.taken(len);
                }
                Err(_) => return, // There is no room, or the connection is about to end.
            }
        }
    }
}

impl<E: Entropy, const LINE: usize> fmt::Debug for Reconnecting<'_, E, LINE> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.state {
            State::Waiting(_) => "waiting",
            #[cfg(feature = "dns")]
            State::Resolving(..) => "resolving",
            State::Connected(_) => "connected",
            State::Over => "over",
        };
        f.debug_struct("Reconnecting")
            .field("state", &state)
            .field("reconnect", self.course.reconnect())
            .field("backlog", &self.course.backlog.len())
            .finish_non_exhaustive()
    }
}

/// The first of the ports that are no server's (RFC 6335 §6); the others have the same upper bits.
const FIRST_PORT: u16 = 0xC000;
