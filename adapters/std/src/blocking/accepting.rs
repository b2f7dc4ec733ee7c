//! A server's opening handshake that can be interrupted (RFC 6455 §4.2).

use core::fmt;
use std::io;

use motews::Server;
use motews::handshake::Agreed;

use super::acceptor::Acceptor;
use super::pipe::{Pipe, finished};
use super::settings::Settings;
use super::socket::WebSocket;
use crate::error::AcceptError;
use crate::handshake::{Answer, Reading, Request, Response};
use crate::transport::Transport;

impl Acceptor {
    /// Accepts a connection: see [`accept`](crate::accept).
    ///
    /// # Errors
    /// See [`AcceptError`].
    pub fn accept<S: Transport>(&self, stream: S) -> Result<WebSocket<S, Server>, AcceptError> {
        self.accept_with(stream, |_| Response::accepted())
    }

    /// Accepts or refuses a connection: see [`accept_with`](crate::accept_with).
    ///
    /// # Errors
    /// See [`AcceptError`].
    pub fn accept_with<S: Transport>(
        &self,
        stream: S,
        callback: impl FnMut(&Request) -> Response,
    ) -> Result<WebSocket<S, Server>, AcceptError> {
        self.accepting(stream, callback).advance()
    }

    /// The same, step by step, for a non-blocking stream.
    pub fn accepting<S: Transport, F: FnMut(&Request) -> Response>(
        &self,
        stream: S,
        callback: F,
    ) -> Accepting<S, F> {
        Accepting::new(stream, callback, self.settings.clone())
    }
}

/// An opening handshake on the server's side that has begun: [`Acceptor::accepting`]. With a
/// blocking stream, one [`advance`](Self::advance) completes it; with a non-blocking one, each
/// takes it as far as it goes.
pub struct Accepting<S, F> {
    pipe: Option<Pipe<S>>,
    settings: Settings,
    callback: F,
    stage: Stage,
}

enum Stage {
    Read(Box<Reading>),
    Accept(Agreed, Option<String>),
    /// The last response is written, then its reader is waited for.
    Answer(Option<AcceptError>),
    Linger(Option<AcceptError>),
}

impl<S: Transport, F: FnMut(&Request) -> Response> Accepting<S, F> {
    pub(super) fn new(stream: S, callback: F, settings: Settings) -> Self {
        Self {
            pipe: Some(Pipe::new(stream, settings.timeouts)),
            stage: Stage::Read(Box::new(Reading::new(&settings.handshake))),
            settings,
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
                Stage::Read(reading) => {
                    let mut input = pipe.input.as_slice();
                    let head = reading.read(&mut input, &self.settings.handshake);
                    let taken = pipe.input.len() - input.len();
                    pipe.input.drain(..taken);
                    let Some(head) = head else {
                        if pipe.read()? == 0 {
                            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
                        }
                        continue;
                    };
                    let config = &self.settings.handshake;
                    let answer = reading.answer(head, &mut self.callback, config, &mut pipe.out);
                    pipe.responding();
                    self.stage = match answer {
                        Answer::Accept(subprotocol) => {
                            Stage::Accept(reading.agreed.unwrap_or_default(), subprotocol)
                        }
                        Answer::Last(error) => Stage::Answer(Some(error)),
                    };
                }
                Stage::Accept(agreed, subprotocol) => {
                    pipe.send()?;
                    let agreed = *agreed;
                    let subprotocol = subprotocol.take();
                    let pipe = self.pipe.take().ok_or_else(finished)?;
                    return Ok(WebSocket::new(
                        pipe.stream,
                        Server,
                        &pipe.input,
                        agreed,
                        subprotocol,
                        &self.settings,
                    ));
                }
                Stage::Answer(error) => {
                    pipe.send()?;
                    pipe.drain();
                    self.stage = Stage::Linger(error.take());
                }
                Stage::Linger(error) => {
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
