//! Opening handshakes that can be interrupted (RFC 6455 §4).

use core::fmt;
use core::time::Duration;
use std::io::{self, IoSlice};
use std::time::Instant;

use motews::handshake::{
    ClientHandshake, ConfigError, HandshakeError, Request as CoreRequest, RequestEvent,
    ResponseEvent, ServerHandshake, Upgrade,
};
use motews::{Client, Entropy, EntropyError, Server};

use crate::builder::Builder;
use crate::entropy::OsEntropy;
use crate::error::{AcceptError, ConnectError, Refused};
use crate::request::{Request, Response, reason};
use crate::socket::WebSocket;
use crate::transport::{Interest, Transport};
use crate::url::Target;

/// The longest line that is needed whole, in octets: the request line above all.
const MAX_LINE: usize = 8 * 1024;

/// How many interim responses may come before the response. Each of them is judged again with all
/// that follows.
const MAX_INTERIM: usize = 16;

/// How much of the body of a refusal is kept, in octets.
const MAX_BODY: usize = 4 * 1024;

#[cfg(feature = "deflate")]
const EXTENSIONS: &str = "Sec-WebSocket-Extensions";

/// The stream of a handshake, and its deadline.
struct Pipe<S> {
    stream: S,
    prepared: bool,
    until: Option<Instant>,
    out: Vec<u8>,
    sent: usize,
    input: Vec<u8>,
}

impl<S: Transport> Pipe<S> {
    fn new(stream: S, builder: &Builder) -> Self {
        let timeout = builder.timeouts.handshake;
        Self {
            stream,
            prepared: false,
            until: timeout.map(|timeout| Instant::now() + Duration::from_millis(timeout.into())),
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

    /// Waits no longer than the deadline, which other traffic does not lengthen.
    // [HS22] [HC25]
    fn wait(&self, interest: Interest<'_>) -> io::Result<()> {
        let left = self
            .until
            .map(|until| until.saturating_duration_since(Instant::now()));
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
                Ok(Some(written)) => self.sent += written,
                Err(error) => self.interrupted(error, Interest::WRITE)?,
            }
        }
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
                    let judged = reading.read(&mut input);
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
                    self.stage = match answer {
                        Answer::Accept(subprotocol) => {
                            #[cfg(feature = "deflate")]
                            {
                                self.builder.deflate = reading.agreed;
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
                    let timeout = self.builder.timeouts.close;
                    pipe.until = timeout
                        .map(|timeout| Instant::now() + Duration::from_millis(timeout.into()));
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
    handshake: ServerHandshake<'static, Vec<u8>>,
    pub(crate) request: Request,
    /// What was agreed upon in the answer that accepts.
    #[cfg(feature = "deflate")]
    pub(crate) agreed: Option<motews::deflate::Deflate>,
}

/// What was answered.
pub(crate) enum Answer {
    /// The WebSocket is open, with this subprotocol.
    Accept(Option<String>),
    /// It is not, and nothing comes after the response.
    Last(AcceptError),
}

/// What the head of a request has come to.
pub(crate) type Judged = Result<Upgrade<'static>, HandshakeError>;

impl Reading {
    pub(crate) fn new(builder: &Builder) -> Self {
        let line = MAX_LINE.min(builder.head.max_head_len as usize);
        Self {
            handshake: ServerHandshake::with_config(vec![0; line], builder.head),
            request: Request {
                method: String::new(),
                target: String::new(),
                headers: Vec::new(),
                websocket: false,
            },
            #[cfg(feature = "deflate")]
            agreed: None,
        }
    }

    /// Takes events until the head ends; `None` wants more input.
    pub(crate) fn read(&mut self, input: &mut &[u8]) -> Option<Judged> {
        let request = &mut self.request;
        loop {
            match self.handshake.next_event(input) {
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
        match judged {
            Ok(upgrade) => {
                request.websocket = true;
                let response = callback(request);
                #[cfg(feature = "deflate")]
                let accepted = builder.deflate.and_then(|config| {
                    config.accept(request.header_all(EXTENSIONS).map(str::as_bytes))
                });
                #[cfg(feature = "deflate")]
                let upgrade = match &accepted {
                    None => upgrade,
                    Some(accepted) => match upgrade.extensions(accepted.response.as_str()) {
                        Ok(upgrade) => upgrade,
                        Err(error) => return broken(error, out),
                    },
                };
                #[cfg(feature = "deflate")]
                {
                    self.agreed = accepted.as_ref().map(|accepted| accepted.agreed);
                }
                accept(&upgrade, request, response, builder, out)
            }
            // Seen by the application, so that it can serve plain HTTP here as well.
            Err(error @ HandshakeError::NotUpgrade) => {
                let response = callback(request);
                if response.status == 101 {
                    refuse(error, out)
                } else {
                    answer(request, &response, out)
                }
            }
            Err(error) => refuse(error, out),
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

/// Writes the response to a correct request.
fn accept(
    upgrade: &Upgrade<'_>,
    request: &Request,
    response: Response,
    builder: &Builder,
    out: &mut Vec<u8>,
) -> Answer {
    if response.status != 101 {
        return answer(request, &response, out);
    }
    let offers = |name: &str| request.subprotocols().any(|offered| offered == name);
    let subprotocol = match response.subprotocol {
        // RFC 6455 §4.2.2: one of those that the client offers [HS14]
        Some(name) if !offers(&name) => return broken(ConfigError::NotOffered, out),
        Some(name) => Some(name),
        None => builder
            .subprotocols
            .iter()
            .find(|name| offers(name))
            .cloned(),
    };
    let headers = [builder.headers.as_slice(), &response.headers].concat();
    let headers = pairs(&headers);
    let accepted = upgrade
        .select_subprotocol(subprotocol.as_deref())
        .and_then(|upgrade| upgrade.headers(&headers))
        .map(|upgrade| written(|offset, piece| upgrade.emit_from(offset, piece)));
    match accepted {
        Ok(head) => {
            *out = head;
            Answer::Accept(subprotocol)
        }
        Err(error) => broken(error, out),
    }
}

/// Writes the application's own response.
fn answer(request: &Request, response: &Response, out: &mut Vec<u8>) -> Answer {
    let headers = pairs(&response.headers);
    let head = motews::handshake::Response::new(response.status)
        .and_then(|head| head.reason(reason(response.status)))
        .and_then(|head| head.headers(&headers));
    match head {
        Ok(head) => {
            let head = head.body(&response.body);
            *out = written(|offset, piece| head.emit_from(offset, piece));
            // RFC 2616 §4.3: the response to HEAD has no body, whatever its headers say
            if request.method == "HEAD" {
                out.truncate(out.len() - response.body.len());
            }
            Answer::Last(AcceptError::Answered(response.status))
        }
        Err(error) => broken(error, out),
    }
}

/// Writes the response to an incorrect request.
// [HS01] [HS20]
fn refuse(error: HandshakeError, out: &mut Vec<u8>) -> Answer {
    let response = error.response();
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
    asked: Asked,
    /// How much of the response was looked at: when a line has come to its end, all is judged anew.
    seen: usize,
    refused: Option<Refused>,
}

/// What a request asks for.
struct Asked {
    target: Target,
    headers: Vec<(String, String)>,
    nonce: [u8; 16],
}

/// Gives the same nonce again.
struct Nonce([u8; 16]);

impl Entropy for Nonce {
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), EntropyError> {
        bytes.copy_from_slice(self.0.get(..bytes.len()).ok_or(EntropyError)?);
        Ok(())
    }
}

impl Asked {
    /// Makes the core's request, which borrows what it says, and uses it.
    fn with<T>(
        &self,
        builder: &Builder,
        f: impl FnOnce(&CoreRequest<'_>) -> T,
    ) -> Result<T, ConfigError> {
        let subprotocols: Vec<&str> = builder.subprotocols.iter().map(String::as_str).collect();
        let headers = pairs(&self.headers);
        let (host, resource) = (&self.target.authority, &self.target.resource);
        let mut request = CoreRequest::new(host, resource, &mut Nonce(self.nonce))?
            .subprotocols(&subprotocols)?
            .headers(&headers)?;
        if let Some(origin) = &builder.origin {
            request = request.origin(origin)?;
        }
        #[cfg(feature = "deflate")]
        let offer = builder.deflate.map(|config| config.offer());
        #[cfg(feature = "deflate")]
        let offers = offer.as_ref().map(|offer| [offer.as_str()]);
        #[cfg(feature = "deflate")]
        if let Some(offers) = &offers {
            request = request.extensions(offers)?;
        }
        Ok(f(&request))
    }
}

/// The head of a response.
#[derive(Default)]
struct Head {
    headers: Vec<(String, Vec<u8>)>,
    /// Octets of input that it takes.
    len: usize,
    subprotocol: Option<String>,
}

#[cfg(feature = "deflate")]
impl Head {
    fn values(&self, name: &str) -> impl Iterator<Item = &[u8]> {
        self.headers
            .iter()
            .filter(move |(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_slice())
    }
}

impl<S: Transport> Connecting<S> {
    pub(crate) fn new(stream: S, url: &str, builder: Builder) -> Result<Self, ConnectError> {
        let target = Target::parse(url)?;
        let mut headers = builder.headers.clone();
        let authorized = headers
            .iter()
            .any(|(name, _)| name.eq_ignore_ascii_case("Authorization"));
        if let Some(credentials) = target.authorization.clone().filter(|_| !authorized) {
            headers.push(("Authorization".to_owned(), credentials));
        }
        let mut nonce = [0; 16];
        OsEntropy::new()
            .fill(&mut nonce)
            .map_err(ConfigError::from)?;
        let asked = Asked {
            target,
            headers,
            nonce,
        };
        let mut pipe = Pipe::new(stream, &builder);
        pipe.out = asked.with(&builder, |request| {
            written(|offset, piece| request.emit_from(offset, piece))
        })?;
        Ok(Self {
            pipe: Some(pipe),
            builder,
            asked,
            seen: 0,
            refused: None,
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

    fn try_advance(&mut self) -> Result<WebSocket<S>, ConnectError> {
        let pipe = self.pipe.as_mut().ok_or_else(finished)?;
        pipe.prepare()?;
        // RFC 6455 §4.1: nothing more before the response is found correct [HC12]
        pipe.send()?;
        while self.refused.is_none() {
            // Judging begins anew each time, so it waits for the end of a line: the work stays
            // within the number of lines times the limit on the head.
            let new = pipe.input.get(self.seen..).unwrap_or_default();
            let limit = self.builder.head.max_head_len as usize;
            let judge_now = new.contains(&b'\n') || pipe.input.len() > limit;
            self.seen = pipe.input.len();
            if judge_now {
                match judge(&self.asked, &self.builder, &pipe.input)? {
                    Err((HandshakeError::UnexpectedStatus(status), head)) => {
                        // RFC 6455 §4.1: another status is handled as HTTP has it [HC13]
                        pipe.input.drain(..head.len);
                        self.refused = Some(Refused {
                            status,
                            headers: head.headers,
                            body: Vec::new(),
                        });
                        break;
                    }
                    Err((error, _)) => return Err(ConnectError::Handshake(error)),
                    Ok(None) => {}
                    Ok(Some(head)) => {
                        #[cfg(feature = "deflate")]
                        if let Some(config) = self.builder.deflate {
                            let agreed = config.confirm(head.values(EXTENSIONS));
                            self.builder.deflate = agreed.map_err(ConnectError::Handshake)?;
                        }
                        let pipe = self.pipe.take().ok_or_else(finished)?;
                        // RFC 6455 §4.2.2: what follows are the first frames [HC22]
                        return Ok(WebSocket::new(
                            pipe.stream,
                            Client::new(OsEntropy::new()),
                            pipe.input.get(head.len..).unwrap_or_default(),
                            head.subprotocol,
                            &self.builder,
                        ));
                    }
                }
            }
            if pipe.read()? == 0 {
                // Half a line may be enough to tell that this is no HTTP.
                if let Err((error, _)) = judge(&self.asked, &self.builder, &pipe.input)? {
                    return Err(ConnectError::Handshake(error));
                }
                return Err(io::Error::new(
                    io::ErrorKind::UnexpectedEof,
                    "the server ended the connection before it answered",
                )
                .into());
            }
        }
        // As much of the body as is announced, or has come along.
        let refused = self.refused.as_ref();
        let length = refused.and_then(|refused| refused.header("Content-Length"));
        let length = length.and_then(|length| length.parse().ok()).unwrap_or(0);
        while pipe.input.len() < MAX_BODY.min(length) {
            match pipe.read() {
                Ok(1..) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Err(error.into());
                }
                Ok(0) | Err(_) => break,
            }
        }
        pipe.input.truncate(MAX_BODY);
        let body = core::mem::take(&mut pipe.input);
        let refused = self.refused.take().ok_or_else(finished)?;
        Err(ConnectError::Refused(Box::new(Refused { body, ..refused })))
    }
}

impl<S> fmt::Debug for Connecting<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Connecting")
    }
}

type Judgement = Result<Option<Head>, (HandshakeError, Head)>;

/// Judges what has come of a response: `Ok(None)` wants more.
fn judge(asked: &Asked, builder: &Builder, response: &[u8]) -> Result<Judgement, ConfigError> {
    asked.with(builder, |request| {
        let mut line = vec![0; MAX_LINE.min(builder.head.max_head_len as usize)];
        let mut handshake =
            ClientHandshake::with_config(request, line.as_mut_slice(), builder.head);
        let mut head = Head::default();
        let mut heads = 0;
        let mut input = response;
        loop {
            let event = handshake.next_event(&mut input);
            head.len = response.len() - input.len();
            match event {
                Ok(None) => return Ok(None),
                Ok(Some(ResponseEvent::StatusLine { .. })) => {
                    head.headers.clear();
                    heads += 1;
                    if heads > MAX_INTERIM {
                        return Err((HandshakeError::HeadTooLong, head));
                    }
                }
                Ok(Some(ResponseEvent::Header(part))) => {
                    collect(&mut head.headers, &part.name, part.value, part.first);
                }
                Ok(Some(ResponseEvent::Done { subprotocol })) => {
                    head.subprotocol = subprotocol.map(str::to_owned);
                    return Ok(Some(head));
                }
                Ok(Some(_)) => {}
                Err(error) => return Err((error, head)),
            }
        }
    })
}
