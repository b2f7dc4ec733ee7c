//! A client's request, as it arrives and as the application sees it (RFC 6455 §4.2.1).

use core::ops::Deref;

use motews::Limits;
use motews::handshake::{HandshakeError, RequestEvent, ServerHandshake, Upgrade, subprotocols};
use motews_net::http::header::SEC_WEBSOCKET_PROTOCOL;
use motews_net::http::{self, HeaderMap, Method, Uri};
#[cfg(feature = "tls")]
use rustls::pki_types::CertificateDer;

use crate::pipe::{Headers, line};
use crate::settings::Common;

/// A client's HTTP request, before it is accepted: see
/// [`Acceptor::accept_with`](crate::Acceptor::accept_with). It is the [`http::Request`] that it derefs
/// to, and what a server has to know beside that.
///
/// A browser sends the cookies of *its* user along with a request that *another* site made: whoever
/// trusts cookies compares `Origin` with `Host` (RFC 6455 §10.2).
// [HS12]
#[derive(Debug)]
pub struct Request {
    pub(crate) http: http::Request<()>,
    is_websocket: bool,
    #[cfg(feature = "tls")]
    pub(crate) peer_certificates: Vec<CertificateDer<'static>>,
}

impl Request {
    /// Returns true if the client asks for a WebSocket, correctly. If not, it is an ordinary HTTP
    /// request, to be answered with a [`Response`](crate::Response) of any status from 200 on.
    #[must_use]
    pub const fn is_websocket(&self) -> bool {
        self.is_websocket
    }

    /// Returns the subprotocols that the client offers, the one it likes best first (§1.9).
    pub fn subprotocols(&self) -> impl Iterator<Item = &str> {
        offered(self.http.headers())
    }

    /// Returns the certificates that the client has shown, its own first: for what
    /// [`Acceptor::tls`](crate::Acceptor::tls) was given, and has verified. None without TLS, or if
    /// the configuration asks for none.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn peer_certificates(&self) -> &[CertificateDer<'static>] {
        &self.peer_certificates
    }
}

impl Deref for Request {
    type Target = http::Request<()>;

    fn deref(&self) -> &http::Request<()> {
        &self.http
    }
}

/// The subprotocols that a client offers.
pub(crate) fn offered(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let names = protocol_headers(headers).flat_map(subprotocols);
    names.map(|name| name.as_str())
}

/// The values of the headers that offer them.
pub(crate) fn protocol_headers(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    let lists = headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter();
    lists.map(http::HeaderValue::as_bytes)
}

/// A request that is being read.
pub(crate) struct Reading {
    handshake: ServerHandshake<Vec<u8>>,
    method: String,
    target: String,
    headers: Headers,
}

impl Reading {
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            handshake: ServerHandshake::with_limits(line(limits), limits),
            method: String::new(),
            target: String::new(),
            headers: Headers::default(),
        }
    }

    pub(crate) const fn is_head(&self) -> bool {
        self.handshake.is_head()
    }

    /// Takes events until the head ends; `None` wants more input.
    pub(crate) fn read(
        &mut self,
        input: &mut &[u8],
        common: &Common,
    ) -> Option<Result<Upgrade, HandshakeError>> {
        common.with_offers(|offers| {
            loop {
                match self.handshake.next_event(input, offers) {
                    Ok(None) => return None,
                    Ok(Some(RequestEvent::RequestLine { method, target, .. })) => {
                        method.as_str().clone_into(&mut self.method);
                        target.as_str().clone_into(&mut self.target);
                    }
                    Ok(Some(RequestEvent::Header(part))) => self.headers.push(&part),
                    Ok(Some(RequestEvent::Done(upgrade))) => return Some(Ok(upgrade)),
                    Ok(Some(_)) => {}
                    Err(error) => return Some(Err(error)),
                }
            }
        })
    }

    /// The request, as the application sees it.
    pub(crate) fn request(&mut self, is_websocket: bool) -> Result<Request, HandshakeError> {
        let mut http = http::Request::new(());
        *http.method_mut() =
            Method::from_bytes(self.method.as_bytes()).map_err(|_| HandshakeError::Method)?;
        *http.uri_mut() = Uri::try_from(&*self.target).map_err(|_| HandshakeError::Target)?;
        *http.headers_mut() = self.headers.take();
        Ok(Request {
            http,
            is_websocket,
            #[cfg(feature = "tls")]
            peer_certificates: Vec::new(),
        })
    }
}
