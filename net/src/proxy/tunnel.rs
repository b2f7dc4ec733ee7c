//! The way through a proxy: bytes in, bytes out.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;

use http::{Method, Response, StatusCode};

use super::http_connect::{HeadReader, ReasonPhrase};
use super::socks5::{Answered, Socks5, SocksReply};
use crate::body::{Body, Framing};

/// How much of the body of a refusal is kept, in bytes.
const MAX_BODY: usize = 16 * 1024;
/// The longest text of a refusal that an error shows, in bytes.
const MAX_SHOWN: usize = 200;

/// A tunnel through a proxy, as it is being opened: made by [`Proxy::tunnel`](super::Proxy::tunnel).
///
/// Write what [`to_send`](Self::to_send) returns, give [`receive`](Self::receive) what comes, and
/// so on until the tunnel [is open](Self::is_open). From then on all bytes are the server's,
/// also those that `receive` has left in its input. How the input is split makes no difference. At
/// most 16 KiB are kept.
///
/// ```
/// # use std::io::{self, Read, Write};
/// use motews_net::Tunnel;
///
/// /// Returns what has come from the server already.
/// fn open(mut tunnel: Tunnel, stream: &mut (impl Read + Write)) -> io::Result<Vec<u8>> {
///     let mut buffer = [0; 1024];
///     loop {
///         let len = tunnel.to_send().len();
///         stream.write_all(tunnel.to_send())?;
///         tunnel.sent(len);
///         let len = stream.read(&mut buffer)?;
///         if len == 0 {
///             return Err(io::ErrorKind::UnexpectedEof.into());
///         }
///         let mut input = &buffer[..len];
///         tunnel.receive(&mut input).map_err(io::Error::other)?;
///         if tunnel.is_open() {
///             return Ok(input.to_vec());
///         }
///     }
/// }
/// # struct Scripted(&'static [u8]);
/// # impl Read for Scripted {
/// #     fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> { self.0.read(&mut buf[..1]) }
/// # }
/// # impl Write for Scripted {
/// #     fn write(&mut self, buf: &[u8]) -> io::Result<usize> { Ok(buf.len()) }
/// #     fn flush(&mut self) -> io::Result<()> { Ok(()) }
/// # }
/// # let proxy = motews_net::Proxy::parse("proxy.example:3128").unwrap();
/// # let url = motews_net::Url::parse("ws://example.com").unwrap();
/// # let tunnel = proxy.tunnel(url.host(), url.port()).unwrap();
/// # let mut stream = Scripted(b"HTTP/1.1 200 OK\r\n\r\nhello");
/// # assert_eq!(open(tunnel, &mut stream).unwrap(), b"");
/// ```
#[derive(Clone)]
pub struct Tunnel {
    machine: Machine,
    out: Vec<u8>,
    sent: usize,
    outcome: Option<Result<(), TunnelError>>,
}

#[derive(Clone)]
enum Machine {
    Http(HeadReader),
    /// The proxy has refused, and says why.
    Refusal(Box<Response<Vec<u8>>>, Body),
    Socks5(Box<Socks5>),
}

impl Tunnel {
    pub(super) fn http(request: Vec<u8>) -> Self {
        Self {
            machine: Machine::Http(HeadReader::default()),
            out: request,
            sent: 0,
            outcome: None,
        }
    }

    pub(super) fn socks5(machine: Box<Socks5>) -> Self {
        Self {
            out: machine.greeting(),
            machine: Machine::Socks5(machine),
            sent: 0,
            outcome: None,
        }
    }

    /// Returns what is to be written to the proxy now.
    #[must_use]
    pub fn to_send(&self) -> &[u8] {
        self.out.get(self.sent..).unwrap_or_default()
    }

    /// Reports that so many bytes of [`to_send`](Self::to_send) were written.
    pub fn sent(&mut self, len: usize) {
        self.sent = self.sent.saturating_add(len).min(self.out.len());
    }

    /// Takes what the proxy sends, up to the end of its answers.
    ///
    /// # Errors
    /// See [`TunnelError`]. A refusal comes when its body has: at most 16 KiB of it. The same error
    /// comes from every later call.
    pub fn receive(&mut self, input: &mut &[u8]) -> Result<(), TunnelError> {
        while self.outcome.is_none() {
            match self.step(input) {
                Ok(Answered::More) => return Ok(()),
                Ok(Answered::Send(out)) => {
                    // The proxy may answer before it has got all of the question.
                    self.out.drain(..self.sent);
                    self.sent = 0;
                    self.out.extend_from_slice(&out);
                }
                Ok(Answered::Open) => self.outcome = Some(Ok(())),
                Err(error) => self.outcome = Some(Err(error)),
            }
        }
        self.outcome.clone().unwrap_or(Ok(()))
    }

    fn step(&mut self, input: &mut &[u8]) -> Result<Answered, TunnelError> {
        loop {
            let reader = match &mut self.machine {
                Machine::Socks5(machine) => return machine.receive(input),
                Machine::Refusal(response, body) => {
                    while let Ok(Some(content)) = body.next_content(input) {
                        response.body_mut().extend_from_slice(content);
                    }
                    // One that is malformed ends where it is.
                    if body.is_complete() || body.next_content(input).is_err() {
                        return Err(TunnelError::refusal(response.clone()));
                    }
                    return Ok(Answered::More);
                }
                Machine::Http(reader) => reader,
            };
            let Some(response) = reader.receive(input)? else {
                return Ok(Answered::More);
            };
            // RFC 9110 §9.3.6: any 2xx opens the tunnel, and has no body
            let status = response.status();
            if status.is_success() {
                return Ok(Answered::Open);
            }
            let framing = Framing::of_response(&Method::CONNECT, status, response.headers());
            let body = Body::new(framing.unwrap_or(Framing::Empty), MAX_BODY);
            self.machine = Machine::Refusal(Box::new(response.map(|()| Vec::new())), body);
        }
    }

    /// Reports that nothing more comes: the proxy has ended the connection, or the time is up.
    ///
    /// # Errors
    /// The refusal, with what has come of its body, or [`TunnelError::UnexpectedEof`], unless the tunnel
    /// is open: then the server has ended.
    pub fn receive_eof(&mut self) -> Result<(), TunnelError> {
        if self.outcome.is_none() {
            self.outcome = Some(Err(match &self.machine {
                Machine::Refusal(response, _) => TunnelError::refusal(response.clone()),
                _ => TunnelError::UnexpectedEof,
            }));
        }
        self.outcome.clone().unwrap_or(Ok(()))
    }

    /// Returns true if the proxy has refused, and only the body that may say why is missing. It is not
    /// worth a long wait.
    #[must_use]
    pub const fn is_refused(&self) -> bool {
        matches!(self.machine, Machine::Refusal(..))
    }

    /// Returns true if the tunnel is open.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        matches!(self.outcome, Some(Ok(())))
    }
}

/// Without what is sent, since credentials are in it.
impl fmt::Debug for Tunnel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tunnel")
            .field("to_send", &self.to_send().len())
            .field("outcome", &self.outcome)
            .finish_non_exhaustive()
    }
}

/// Why a proxy does not open a tunnel.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum TunnelError {
    /// The server's host has a zone, or a name that no host can have.
    Host,
    /// The user has a colon (HTTP), or user or password is longer than 255 bytes (SOCKS5).
    Credentials,
    /// The proxy wants other credentials than it was given: the HTTP status 407, whose
    /// `Proxy-Authenticate` says which.
    AuthenticationRequired(Box<Response<Vec<u8>>>),
    /// The proxy answered with an HTTP status other than 2xx. Its [`ReasonPhrase`] and the body say why;
    /// `Display` shows them if they are short text.
    Refused(Box<Response<Vec<u8>>>),
    /// What answered is no HTTP proxy.
    NotHttp,
    /// The head of the HTTP response is longer than 16 KiB, or has more than 64 headers.
    HeadTooLong,
    /// What answered is no SOCKS5 proxy.
    NotSocks5,
    /// The SOCKS5 proxy wants to know who asks, in a way that was not offered: without credentials
    /// it was offered none.
    NoAcceptableMethod,
    /// The SOCKS5 proxy does not accept the user and the password.
    AuthenticationFailed,
    /// The SOCKS5 proxy does not connect.
    Socks(SocksReply),
    /// The proxy ended the connection before it had answered.
    UnexpectedEof,
}

impl TunnelError {
    fn refusal(response: Box<Response<Vec<u8>>>) -> Self {
        match response.status() {
            StatusCode::PROXY_AUTHENTICATION_REQUIRED => Self::AuthenticationRequired(response),
            _ => Self::Refused(response),
        }
    }

    /// Returns true if the proxy may reach another address of the same server: see
    /// [`SocksReply::is_about_the_address`].
    #[must_use]
    pub const fn is_about_the_address(&self) -> bool {
        matches!(self, Self::Socks(reply) if reply.is_about_the_address())
    }
}

/// A body that is a line of text, and no page.
fn shown(body: &[u8]) -> Option<&str> {
    let text = core::str::from_utf8(body).ok()?.trim();
    let is_line = (1..=MAX_SHOWN).contains(&text.len())
        && !text.starts_with('<')
        && !text.contains(char::is_control);
    is_line.then_some(text)
}

impl fmt::Display for TunnelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Host => "the host cannot be given to the proxy",
            Self::Credentials => "the user or the password cannot be given to the proxy",
            Self::AuthenticationRequired(_) => {
                "the proxy wants a user and a password, or other ones (407)"
            }
            Self::Refused(response) => {
                let status = response.status().as_u16();
                write!(f, "the proxy refused with the status {status}")?;
                if let Some(ReasonPhrase(reason)) = response.extensions().get() {
                    write!(f, " {reason}")?;
                }
                return match shown(response.body()) {
                    Some(text) => write!(f, ": {text}"),
                    None => Ok(()),
                };
            }
            Self::NotHttp => "what answered is no HTTP proxy",
            Self::HeadTooLong => "the head of the proxy's response is too long",
            Self::NotSocks5 => "what answered is no SOCKS5 proxy",
            Self::NoAcceptableMethod => "the proxy wants a user and a password, or something else",
            Self::AuthenticationFailed => "the proxy does not accept the user and the password",
            Self::Socks(reply) => return reply.fmt(f),
            Self::UnexpectedEof => "the proxy ended the connection before it had answered",
        })
    }
}

impl core::error::Error for TunnelError {}
