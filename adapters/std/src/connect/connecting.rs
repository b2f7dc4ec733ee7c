//! A client's opening handshake that can be interrupted (RFC 6455 §4.1).

use core::fmt;
use core::time::Duration;
use std::io;
use std::time::Instant;

use motews::Client;
use motews::handshake::{
    Agreed, ClientHandshake, ConfigError, HandshakeError, Key, Offers, Request as CoreRequest,
    ResponseEvent,
};
use motews_net::http::Response as HttpResponse;
use motews_net::{RedirectError, Redirects, Url};

use super::connector::Connector;
use super::refused::{Refusal, response_head};
use crate::blocking::pipe::{Pipe, finished};
use crate::blocking::settings::Settings;
use crate::blocking::socket::WebSocket;
use crate::entropy::OsEntropy;
use crate::error::ConnectError;
use crate::handshake::{collect, pairs, written};
use crate::transport::Transport;

/// How long the body of a refusal is waited for: it explains, and is not worth more.
const BODY_TIMEOUT: Duration = Duration::from_secs(3);

impl Connector {
    /// Opens a connection over a stream that leads to the server already: a Unix socket, a tunnel,
    /// TLS of your own. `url` says what to ask for; nothing is resolved.
    ///
    /// # Errors
    /// See [`ConnectError`].
    pub fn connect_over<S: Transport>(
        &self,
        stream: S,
        url: &str,
    ) -> Result<WebSocket<S>, ConnectError> {
        self.connecting(stream, url)?.advance()
    }

    /// The same, step by step, for a non-blocking stream.
    ///
    /// # Errors
    /// [`ConnectError::Url`] and [`ConnectError::Config`]; nothing was sent then.
    pub fn connecting<S: Transport>(
        &self,
        stream: S,
        url: &str,
    ) -> Result<Connecting<S>, ConnectError> {
        Connecting::to(stream, &Url::parse(url)?, self)
    }
}

/// An opening handshake on the client's side that has begun: [`Connector::connecting`]. With a
/// blocking stream, one [`advance`](Self::advance) completes it; with a non-blocking one, each
/// takes it as far as it goes.
pub struct Connecting<S> {
    pipe: Option<Pipe<S>>,
    settings: Settings,
    handshake: ClientHandshake<Vec<u8>>,
    headers: Vec<(String, Vec<u8>)>,
    /// Nothing has come yet.
    fresh: bool,
    refusal: Option<Refusal>,
    response: Option<HttpResponse<()>>,
    /// Whose server is asked, and which redirects are followed.
    pub(super) redirects: Option<(Url, Redirects)>,
    /// Where the server points to, if that is followed.
    pub(super) next: Option<Url>,
}

impl<S: Transport> Connecting<S> {
    pub(super) fn to(stream: S, url: &Url, connector: &Connector) -> Result<Self, ConnectError> {
        let settings = &connector.settings;
        let config = &settings.handshake;
        let mut headers = config.headers.clone();
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
        let mut pipe = Pipe::new(stream, settings.timeouts);
        pipe.out = config.with_offers(|offers| {
            let mut request = CoreRequest::new(&host, url.target())?
                .offers(offers)?
                .headers(&headers)?;
            if let Some(origin) = &connector.origin {
                request = request.origin(origin)?;
            }
            let emit = |offset, piece: &mut [u8]| request.emit_from(offset, piece, &key);
            Ok::<_, ConfigError>(written(emit))
        })?;
        Ok(Self {
            pipe: Some(pipe),
            handshake: ClientHandshake::with_limits(&key, config.line(), config.limits),
            settings: settings.clone(),
            headers: Vec::new(),
            fresh: true,
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
            if let [first, ..] = input
                && core::mem::take(&mut self.fresh)
                && is_tls_record(*first)
            {
                return Err(ConnectError::SpeaksTls);
            }
            let (handshake, headers) = (&mut self.handshake, &mut self.headers);
            let read = self.settings.handshake.with_offers(|offers| {
                let agreed = read_head(handshake, headers, &mut input, offers)?;
                let index = agreed.and_then(|agreed| agreed.subprotocol);
                let subprotocol = index.and_then(|index| offers.subprotocol(index));
                Ok(agreed.map(|agreed| (agreed, subprotocol.map(str::to_owned))))
            });
            let taken = pipe.input.len() - input.len();
            pipe.input.drain(..taken);
            match read {
                Ok(Some((agreed, subprotocol))) => {
                    // Whoever wants to may read what else it says [HT15]
                    self.response = Some(response_head(101, &self.headers));
                    let pipe = self.pipe.take().ok_or_else(finished)?;
                    // RFC 6455 §4.2.2: what follows are the first frames [HC22]
                    return Ok(WebSocket::new(
                        pipe.stream,
                        Client::new(OsEntropy::new()),
                        &pipe.input,
                        agreed,
                        subprotocol,
                        &self.settings,
                    ));
                }
                Ok(None) => {}
                // RFC 6455 §4.1: another status is handled as HTTP has it [HC13]
                Err(HandshakeError::UnexpectedStatus(status)) => {
                    self.refuse(response_head(status, &self.headers));
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

/// Takes events until the handshake is complete; `None` wants more input.
fn read_head(
    handshake: &mut ClientHandshake<Vec<u8>>,
    headers: &mut Vec<(String, Vec<u8>)>,
    input: &mut &[u8],
    offers: &Offers<'_>,
) -> Result<Option<Agreed>, HandshakeError> {
    while let Some(event) = handshake.next_event(input, offers)? {
        match event {
            // There may be interim ones before.
            ResponseEvent::StatusLine { .. } => headers.clear(),
            ResponseEvent::Header(part) => collect(headers, &part.name, part.value, part.first),
            ResponseEvent::Done(agreed) => return Ok(Some(agreed)),
            _ => {}
        }
    }
    Ok(None)
}

/// Returns true for the first byte of TLS's records: an alert, or a part of its handshake. No HTTP
/// begins so.
const fn is_tls_record(first: u8) -> bool {
    matches!(first, 21 | 22)
}
