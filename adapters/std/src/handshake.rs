//! Opening handshakes that can be interrupted (RFC 6455 §4).

use core::fmt;
use core::time::Duration;
use std::io::{self, IoSlice};
use std::time::Instant;

use motews::handshake::{
    Agreed, ClientHandshake, ConfigError, HandshakeError, Key, Offers, Request as CoreRequest,
    RequestEvent, ResponseEvent, ServerHandshake, Upgrade,
};
use motews::{Client, Millis, Pace, Server, Timeouts};
use motews_net::http::Response as HttpResponse;
use motews_net::{RedirectError, Redirects, Url};

use crate::builder::Builder;
use crate::connect::{Refusal, response_head};
use crate::entropy::OsEntropy;
use crate::error::{AcceptError, ConnectError};
use crate::request::{Request, Response, reason};
use crate::socket::WebSocket;
use crate::transport::{Interest, Transport};

/// The longest line that is needed whole, in octets: the request line above all.
const MAX_LINE: usize = 8 * 1024;

/// How long the body of a refusal is waited for: it explains, and is not worth more.
const BODY_TIMEOUT: Duration = Duration::from_secs(3);

/// The stream of a handshake, and its deadline.
struct Pipe<S> {
    stream: S,
    prepared: bool,
    epoch: Instant,
    pace: Pace,
    timeouts: Timeouts,
    /// An end that comes earlier than that of the rules, for what is a courtesy.
    patience: Option<Instant>,
    out: Vec<u8>,
    sent: usize,
    input: Vec<u8>,
}

impl<S: Transport> Pipe<S> {
    fn new(stream: S, builder: &Builder) -> Self {
        Self {
            stream,
            prepared: false,
            epoch: Instant::now(),
            pace: Pace::new(Millis(0)),
            timeouts: builder.timeouts,
            patience: None,
            out: Vec::new(),
            sent: 0,
            input: Vec::new(),
        }
    }

    fn prepare(&mut self) -> io::Result<()> {
        if !self.prepared {
            self.stream.prepare()?;
            self.prepared = true;
        }
        Ok(())
    }

    fn now(&self) -> Millis {
        Millis(self.epoch.elapsed().as_millis() as u32)
    }

    /// Waits no longer than the deadline. That of the opening handshake is not lengthened by what
    /// comes; that of a response is by what the peer takes.
    // [HS22] [HC25]
    fn wait(&self, interest: Interest<'_>) -> io::Result<()> {
        let now = self.now();
        let due = self.pace.poll_at(&self.timeouts);
        let due = due.map(|at| Duration::from_millis(at.since(now).into()));
        let patience = self.patience;
        let patience = patience.map(|until| until.saturating_duration_since(Instant::now()));
        let left = due.into_iter().chain(patience).min();
        let over = left.is_some_and(|left| left.is_zero());
        if over || (self.stream.can_wait() && !self.stream.wait(interest, left)?.any()) {
            return Err(io::ErrorKind::TimedOut.into());
        }
        Ok(())
    }

    /// Writes `out` whole.
    fn send(&mut self) -> io::Result<()> {
        loop {
            let rest = self.out.get(self.sent..).unwrap_or_default();
            let written = if rest.is_empty() {
                self.stream.flush_now().map(|()| None)
            } else {
                self.stream.write_now(&[IoSlice::new(rest)]).map(Some)
            };
            match written {
                Ok(None) => return Ok(()),
                Ok(Some(0)) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(Some(written)) => {
                    self.sent += written;
                    self.report(written);
                }
                Err(error) => {
                    self.report(0);
                    self.interrupted(error, Interest::WRITE)?;
                }
            }
        }
    }

    /// The transport took so many bytes.
    fn report(&mut self, taken: usize) {
        let left = self.out.len().saturating_sub(self.sent);
        self.pace.sent(self.now(), &self.timeouts, taken, left);
    }

    /// Reads some more into `input`; 0 at the end of the stream.
    fn read(&mut self) -> io::Result<usize> {
        let mut buffer = [0; 4096];
        loop {
            self.wait(Interest::READ)?;
            match self.stream.read_now(&mut buffer) {
                Ok(len) => {
                    self.input.extend_from_slice(&buffer[..len]);
                    return Ok(len);
                }
                Err(error) => self.interrupted(error, Interest::READ)?,
            }
        }
    }

    /// Waits where that is all there is to do; otherwise gives the error back.
    fn interrupted(&self, error: io::Error, interest: Interest<'_>) -> io::Result<()> {
        match error.kind() {
            io::ErrorKind::Interrupted => Ok(()),
            io::ErrorKind::WouldBlock => {
                self.wait(interest)?;
                if self.stream.can_wait() {
                    Ok(())
                } else {
                    Err(error)
                }
            }
            _ => Err(error),
        }
    }

    /// After a last response: lets the peer read it, before the stream is closed.
    fn linger(&mut self) -> io::Result<()> {
        let mut dropped = [0; 4096];
        loop {
            self.wait(Interest::READ)?;
            match self.stream.read_now(&mut dropped) {
                Ok(0) => return Ok(()),
                Ok(_) => {}
                Err(error) => self.interrupted(error, Interest::READ)?,
            }
        }
    }
}

/// All that a piecewise writer writes.
fn written(mut emit: impl FnMut(usize, &mut [u8]) -> usize) -> Vec<u8> {
    let mut out = Vec::new();
    let mut piece = [0; 1024];
    while let len @ 1.. = emit(out.len(), &mut piece) {
        out.extend_from_slice(&piece[..len]);
    }
    out
}

/// Headers as the core takes them.
fn pairs(headers: &[(String, String)]) -> Vec<(&str, &str)> {
    headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect()
}

/// What this side offers, for as long as `f` takes.
fn with_offers<T>(builder: &Builder, f: impl FnOnce(&Offers<'_>) -> T) -> T {
    let subprotocols: Vec<&str> = builder.subprotocols.iter().map(String::as_str).collect();
    let offers = Offers::new().subprotocols(&subprotocols);
    #[cfg(feature = "deflate")]
    let offers = match builder.deflate {
        // A window of any size can be made when it is needed.
        Some(config) => offers
            .deflate(config)
            .deflate_memory(motews::deflate::DeflateContext::MAX),
        None => offers,
    };
    f(&offers)
}

// ---- server ----

/// An opening handshake on the server's side that has begun: [`Builder::accepting`]. With a
/// blocking stream, one [`advance`](Self::advance) completes it; with a non-blocking one, each
/// takes it as far as it goes.
pub struct Accepting<S, F> {
    pipe: Option<Pipe<S>>,
    builder: Builder,
    callback: F,
    stage: ServerStage,
}

enum ServerStage {
    Read(Box<Reading>),
    Accept(Option<String>),
    /// The last response is written, then its reader is waited for.
    Answer(Option<AcceptError>),
    Linger(Option<AcceptError>),
}

impl<S: Transport, F: FnMut(&Request) -> Response> Accepting<S, F> {
    pub(crate) fn new(stream: S, callback: F, builder: Builder) -> Self {
        Self {
            pipe: Some(Pipe::new(stream, &builder)),
            stage: ServerStage::Read(Box::new(Reading::new(&builder))),
            builder,
            callback,
        }
    }

    /// Goes on with the handshake until the WebSocket is open.
    ///
    /// # Errors
    /// [`AcceptError::Io`] with `WouldBlock` from a non-blocking stream: advance again. All other
    /// errors end it, after the response that they call for was sent; so does a second call after
    /// the first success.
    pub fn advance(&mut self) -> Result<WebSocket<S, Server>, AcceptError> {
        let result = self.try_advance();
        let would_block =
            matches!(&result, Err(AcceptError::Io(e)) if e.kind() == io::ErrorKind::WouldBlock);
        if !would_block {
            self.pipe = None;
        }
        match result {
            Err(AcceptError::Io(e)) if e.kind() == io::ErrorKind::TimedOut => {
                Err(AcceptError::TimedOut)
            }
            result => result,
        }
    }

    fn try_advance(&mut self) -> Result<WebSocket<S, Server>, AcceptError> {
        let pipe = self.pipe.as_mut().ok_or_else(finished)?;
        pipe.prepare()?;
        loop {
            match &mut self.stage {
                ServerStage::Read(reading) => {
                    let mut input = pipe.input.as_slice();
                    let judged = reading.read(&mut input, &self.builder);
                    let taken = pipe.input.len() - input.len();
                    pipe.input.drain(..taken);
                    let Some(judged) = judged else {
                        if pipe.read()? == 0 {
                            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
                        }
                        continue;
                    };
                    let answer =
                        reading.answer(judged, &mut self.callback, &self.builder, &mut pipe.out);
                    pipe.pace.responding(pipe.now());
                    self.stage = match answer {
                        Answer::Accept(subprotocol) => {
                            #[cfg(feature = "deflate")]
                            {
                                self.builder.agreed = reading.agreed;
                            }
                            ServerStage::Accept(subprotocol)
                        }
                        Answer::Last(error) => ServerStage::Answer(Some(error)),
                    };
                }
                ServerStage::Accept(subprotocol) => {
                    pipe.send()?;
                    let subprotocol = subprotocol.take();
                    let pipe = self.pipe.take().ok_or_else(finished)?;
                    return Ok(WebSocket::new(
                        pipe.stream,
                        Server,
                        &pipe.input,
                        subprotocol,
                        &self.builder,
                    ));
                }
                ServerStage::Answer(error) => {
                    pipe.send()?;
                    let _ = pipe.stream.shutdown();
                    pipe.pace.draining(pipe.now(), &pipe.timeouts);
                    self.stage = ServerStage::Linger(error.take());
                }
                ServerStage::Linger(error) => {
                    // Errors no longer matter, but that it is to be called again does.
                    if let Err(error) = pipe.linger()
                        && error.kind() == io::ErrorKind::WouldBlock
                    {
                        return Err(error.into());
                    }
                    return Err(error.take().unwrap_or_else(|| finished().into()));
                }
            }
        }
    }
}

impl<S, F> fmt::Debug for Accepting<S, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Accepting")
    }
}

fn finished() -> io::Error {
    io::Error::new(io::ErrorKind::NotConnected, "the handshake is over")
}

/// A request that is being read.
pub(crate) struct Reading {
    handshake: ServerHandshake<Vec<u8>>,
    pub(crate) request: Request,
    /// What was agreed upon in the answer that accepts.
    #[cfg(feature = "deflate")]
    pub(crate) agreed: Option<motews::deflate::DeflateParams>,
}

/// What was answered.
pub(crate) enum Answer {
    /// The WebSocket is open, with this subprotocol.
    Accept(Option<String>),
    /// It is not, and nothing comes after the response.
    Last(AcceptError),
}

/// What the head of a request has come to.
pub(crate) type Judged = Result<Upgrade, HandshakeError>;

impl Reading {
    pub(crate) fn new(builder: &Builder) -> Self {
        let limits = builder.limits();
        let line = MAX_LINE.min(limits.head as usize);
        Self {
            handshake: ServerHandshake::with_limits(vec![0; line], limits),
            request: Request {
                method: String::new(),
                target: String::new(),
                headers: Vec::new(),
                websocket: false,
                address: None,
            },
            #[cfg(feature = "deflate")]
            agreed: None,
        }
    }

    /// Takes events until the head ends; `None` wants more input.
    pub(crate) fn read(&mut self, input: &mut &[u8], builder: &Builder) -> Option<Judged> {
        with_offers(builder, |offers| self.read_with(input, offers))
    }

    fn read_with(&mut self, input: &mut &[u8], offers: &Offers<'_>) -> Option<Judged> {
        let request = &mut self.request;
        loop {
            match self.handshake.next_event(input, offers) {
                Ok(None) => return None,
                Ok(Some(RequestEvent::RequestLine { method, target, .. })) => {
                    method.as_str().clone_into(&mut request.method);
                    target.as_str().clone_into(&mut request.target);
                }
                Ok(Some(RequestEvent::Header(part))) => {
                    let headers = &mut request.headers;
                    collect(headers, &part.name, part.value, part.first);
                }
                Ok(Some(RequestEvent::Done(upgrade))) => return Some(Ok(upgrade)),
                Ok(Some(_)) => {}
                Err(error) => return Some(Err(error)),
            }
        }
    }

    /// Writes the response to `out`, as `callback` decides it.
    pub(crate) fn answer(
        &mut self,
        judged: Judged,
        mut callback: impl FnMut(&Request) -> Response,
        builder: &Builder,
        out: &mut Vec<u8>,
    ) -> Answer {
        let request = &mut self.request;
        let is_head = self.handshake.is_head();
        match judged {
            Ok(upgrade) => {
                request.websocket = true;
                let response = callback(request);
                #[cfg(feature = "deflate")]
                {
                    self.agreed = upgrade.agreed().deflate;
                }
                match response.status {
                    101 => accept(&upgrade, request, response, builder, out),
                    _ => answer(is_head, &response, out),
                }
            }
            // Seen by the application, so that it can serve plain HTTP here as well.
            Err(error @ HandshakeError::NotUpgrade) => {
                let response = callback(request);
                match response.status {
                    101 => refuse(error, is_head, out),
                    _ => answer(is_head, &response, out),
                }
            }
            Err(error) => refuse(error, is_head, out),
        }
    }
}

/// Adds a header, or a further part of the last one.
fn collect(headers: &mut Vec<(String, Vec<u8>)>, name: &str, value: &[u8], first: bool) {
    match headers.last_mut() {
        Some((_, begun)) if !first => begun.extend_from_slice(value),
        _ => headers.push((name.to_owned(), value.to_owned())),
    }
}

/// Writes the response that accepts a correct request.
fn accept(
    upgrade: &Upgrade,
    request: &Request,
    response: Response,
    builder: &Builder,
    out: &mut Vec<u8>,
) -> Answer {
    // RFC 6455 §4.2.2: one of those that the client offers [HS14]
    let chosen = response.subprotocol.as_deref();
    if chosen.is_some_and(|name| !request.subprotocols().any(|offered| offered == name)) {
        let body = "The client does not offer the subprotocol that this server wants here.\n";
        let head = motews::handshake::Response::new(400).and_then(|head| head.reason(reason(400)));
        return match head {
            Ok(head) => {
                let head = head.body(body.as_bytes());
                *out = written(|offset, piece| head.emit_from(offset, piece));
                Answer::Last(AcceptError::Config(ConfigError::NotOffered))
            }
            Err(error) => broken(error, out),
        };
    }
    let headers = [builder.headers.as_slice(), &response.headers].concat();
    let headers = pairs(&headers);
    let accepted = with_offers(builder, |offers| {
        let mut answer = upgrade.answer(offers).headers(&headers)?;
        if chosen.is_some() {
            answer = answer.select_subprotocol(chosen)?;
        }
        let subprotocol = answer.subprotocol().map(str::to_owned);
        let head = written(|offset, piece| upgrade.emit_from(offset, piece, &answer));
        Ok((head, subprotocol))
    });
    match accepted {
        Ok((head, subprotocol)) => {
            *out = head;
            Answer::Accept(subprotocol)
        }
        Err(error) => broken(error, out),
    }
}

/// Writes the application's own response.
fn answer(is_head: bool, response: &Response, out: &mut Vec<u8>) -> Answer {
    let headers = pairs(&response.headers);
    let head = motews::handshake::Response::new(response.status)
        .and_then(|head| head.reason(reason(response.status)))
        .and_then(|head| head.headers(&headers));
    match head {
        Ok(head) => {
            let head = head.body(&response.body).head(is_head);
            *out = written(|offset, piece| head.emit_from(offset, piece));
            Answer::Last(AcceptError::Answered(response.status))
        }
        Err(error) => broken(error, out),
    }
}

/// Writes the response to an incorrect request.
// [HS01] [HS20]
fn refuse(error: HandshakeError, is_head: bool, out: &mut Vec<u8>) -> Answer {
    let response = error.response().head(is_head);
    *out = written(|offset, piece| response.emit_from(offset, piece));
    Answer::Last(AcceptError::Handshake(error))
}

/// The response where the application has none.
pub(crate) const SERVER_ERROR: &[u8] =
    b"HTTP/1.1 500 Internal Server Error\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";

/// The application's response cannot be written.
fn broken(error: ConfigError, out: &mut Vec<u8>) -> Answer {
    *out = SERVER_ERROR.to_vec();
    Answer::Last(AcceptError::Config(error))
}

// ---- client ----

/// An opening handshake on the client's side that has begun: [`Builder::connecting`]. With a
/// blocking stream, one [`advance`](Self::advance) completes it; with a non-blocking one, each
/// takes it as far as it goes.
pub struct Connecting<S> {
    pipe: Option<Pipe<S>>,
    builder: Builder,
    handshake: ClientHandshake<Vec<u8>>,
    head: Head,
    refusal: Option<Refusal>,
    response: Option<HttpResponse<()>>,
    /// Whose server is asked, and which redirects are followed.
    pub(crate) redirects: Option<(Url, Redirects)>,
    /// Where the server points to, if that is followed.
    pub(crate) next: Option<Url>,
}

/// The head of the response that is arriving.
#[derive(Default)]
struct Head {
    headers: Vec<(String, Vec<u8>)>,
}

impl<S: Transport> Connecting<S> {
    pub(crate) fn new(stream: S, url: &str, builder: Builder) -> Result<Self, ConnectError> {
        Self::to(stream, &Url::parse(url)?, builder)
    }

    pub(crate) fn to(stream: S, url: &Url, builder: Builder) -> Result<Self, ConnectError> {
        let mut headers = builder.headers.clone();
        let authorized = headers
            .iter()
            .any(|(name, _)| name.eq_ignore_ascii_case("Authorization"));
        if let Some(credentials) = url.credentials().filter(|_| !authorized) {
            let value = credentials.basic()?;
            let value = value.to_str().map_err(|_| ConfigError::HeaderValue)?;
            headers.push(("Authorization".to_owned(), value.to_owned()));
        }
        // RFC 6455 §4.1: one of them, the caller's if there is one [HC07]
        let is_host = |header: &mut (String, String)| header.0.eq_ignore_ascii_case("Host");
        let mut hosts = headers.extract_if(.., is_host).map(|(_, host)| host);
        let host = hosts.next().unwrap_or_else(|| url.authority());
        if hosts.next().is_some() {
            return Err(ConfigError::Host.into());
        }
        drop(hosts);
        let headers = pairs(&headers);
        let key = Key::new(&mut OsEntropy::new()).map_err(ConfigError::from)?;
        let mut pipe = Pipe::new(stream, &builder);
        pipe.out = with_offers(&builder, |offers| {
            let mut request = CoreRequest::new(&host, url.target())?
                .offers(offers)?
                .headers(&headers)?;
            if let Some(origin) = &builder.origin {
                request = request.origin(origin)?;
            }
            let emit = |offset, piece: &mut [u8]| request.emit_from(offset, piece, &key);
            Ok::<_, ConfigError>(written(emit))
        })?;
        let limits = builder.limits();
        let line = MAX_LINE.min(limits.head as usize);
        Ok(Self {
            pipe: Some(pipe),
            builder,
            handshake: ClientHandshake::with_limits(&key, vec![0; line], limits),
            head: Head::default(),
            refusal: None,
            response: None,
            redirects: None,
            next: None,
        })
    }

    /// Goes on with the handshake until the WebSocket is open.
    ///
    /// # Errors
    /// [`ConnectError::Io`] with `WouldBlock` from a non-blocking stream: advance again. All other
    /// errors end it, and so does a second call after the first success.
    pub fn advance(&mut self) -> Result<WebSocket<S>, ConnectError> {
        let result = self.try_advance();
        let would_block =
            matches!(&result, Err(ConnectError::Io(e)) if e.kind() == io::ErrorKind::WouldBlock);
        if !would_block {
            self.pipe = None;
        }
        result.map_err(|error| match error {
            ConnectError::Io(error) => ConnectError::from_io(error),
            error => error,
        })
    }

    /// Returns the head of the response that accepted, with all its headers (`Set-Cookie`), once
    /// [`advance`](Self::advance) has succeeded.
    #[must_use]
    pub const fn response(&self) -> Option<&HttpResponse<()>> {
        self.response.as_ref()
    }

    fn try_advance(&mut self) -> Result<WebSocket<S>, ConnectError> {
        let pipe = self.pipe.as_mut().ok_or_else(finished)?;
        pipe.prepare()?;
        // RFC 6455 §4.1: nothing more before the response is found correct [HC12]
        pipe.send()?;
        while self.refusal.is_none() {
            let mut input = pipe.input.as_slice();
            let (handshake, head) = (&mut self.handshake, &mut self.head);
            let read = with_offers(&self.builder, |offers| {
                let agreed = head.read(handshake, &mut input, offers)?;
                let index = agreed.and_then(|agreed| agreed.subprotocol);
                let subprotocol = index.and_then(|index| offers.subprotocol(index));
                Ok(agreed.map(|agreed| (agreed, subprotocol.map(str::to_owned))))
            });
            let taken = pipe.input.len() - input.len();
            pipe.input.drain(..taken);
            match read {
                Ok(Some((agreed, subprotocol))) => {
                    #[cfg(feature = "deflate")]
                    {
                        self.builder.agreed = agreed.deflate;
                    }
                    let _ = agreed;
                    // Whoever wants to may read what else it says [HT15]
                    self.response = Some(response_head(101, &self.head.headers));
                    let pipe = self.pipe.take().ok_or_else(finished)?;
                    // RFC 6455 §4.2.2: what follows are the first frames [HC22]
                    return Ok(WebSocket::new(
                        pipe.stream,
                        Client::new(OsEntropy::new()),
                        &pipe.input,
                        subprotocol,
                        &self.builder,
                    ));
                }
                Ok(None) => {}
                // RFC 6455 §4.1: another status is handled as HTTP has it [HC13]
                Err(HandshakeError::UnexpectedStatus(status)) => {
                    self.refuse(response_head(status, &self.head.headers));
                    break;
                }
                Err(error) => return Err(ConnectError::Handshake(error)),
            }
            if pipe.read()? == 0 {
                return Err(io::Error::new(
                    io::ErrorKind::UnexpectedEof,
                    "the server ended the connection before it answered",
                )
                .into());
            }
        }
        self.read_refusal()
    }

    /// Looks at a response that does not accept.
    fn refuse(&mut self, head: HttpResponse<()>) {
        let redirect = match &mut self.redirects {
            None => None,
            Some((url, redirects)) => {
                let followed = redirects.follow(url, head.status(), head.headers());
                self.next = followed.as_ref().ok().cloned();
                // Most refusals are no redirects.
                followed
                    .err()
                    .filter(|error| *error != RedirectError::Status)
            }
        };
        if let Some(pipe) = &mut self.pipe {
            pipe.patience = Instant::now().checked_add(BODY_TIMEOUT);
        }
        self.refusal = Some(Refusal::new(head, redirect));
    }

    /// Reads the body of a refusal, as far as it comes in time.
    fn read_refusal(&mut self) -> Result<WebSocket<S>, ConnectError> {
        let pipe = self.pipe.as_mut().ok_or_else(finished)?;
        let mut ended = false;
        while let Some(refusal) = &mut self.refusal
            && self.next.is_none()
        {
            let mut input = pipe.input.as_slice();
            let is_complete = refusal.receive(&mut input);
            pipe.input.clear();
            if is_complete {
                break;
            }
            match pipe.read() {
                Ok(len) => ended = len == 0,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Err(error.into());
                }
                Err(_) => break,
            }
            if ended {
                break;
            }
        }
        let refusal = self.refusal.take().ok_or_else(finished)?;
        Err(ConnectError::Refused(Box::new(refusal.finish(ended))))
    }
}

impl<S> fmt::Debug for Connecting<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Connecting")
    }
}

impl Head {
    /// Takes events until the handshake is complete; `None` wants more input.
    fn read(
        &mut self,
        handshake: &mut ClientHandshake<Vec<u8>>,
        input: &mut &[u8],
        offers: &Offers<'_>,
    ) -> Result<Option<Agreed>, HandshakeError> {
        while let Some(event) = handshake.next_event(input, offers)? {
            match event {
                // There may be interim ones before.
                ResponseEvent::StatusLine { .. } => self.headers.clear(),
                ResponseEvent::Header(part) => {
                    collect(&mut self.headers, &part.name, part.value, part.first);
                }
                ResponseEvent::Done(agreed) => return Ok(Some(agreed)),
                _ => {}
            }
        }
        Ok(None)
    }
}
