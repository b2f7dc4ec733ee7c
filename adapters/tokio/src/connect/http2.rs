//! The opening handshake over HTTP/2 (RFC 8441).

use motews::handshake::{Agreed, ConfigError, HandshakeError};
use motews::role::Client;
use motews_net::http::header::TE;
use motews_net::http::{self, HeaderMap, HeaderName, HeaderValue};
use motews_net::{Framing, Url};

use super::{ClientStream, Connector, body, found};
use crate::engine::Agreement;
use crate::entropy::OsEntropy;
use crate::error::{ConnectError, Http2Error};
use crate::http2::{Http2, Http2Connection};
use crate::net::NetStream;
use crate::pipe::Pipe;
use crate::websocket::WebSocketStream;

/// The time of the opening handshake, whatever it is over.
type Time = Pipe<tokio::io::Empty>;

/// A WebSocket, and the response to its request.
type Opened = (ClientStream<NetStream>, http::Response<()>);

/// A stream to a server, or a connection over it if the server takes WebSockets by HTTP/2.
enum Reached {
    Stream(NetStream),
    Http2(Http2, Time),
    /// It speaks HTTP/2, and takes none there.
    None,
}

impl Connector {
    /// Opens a connection of HTTP/2 to the server of this `wss://` URL, for several WebSockets: open them by
    /// [`connect_on`](Self::connect_on). One that fails, or is reset, leaves the others as they are; if the
    /// connection is lost, so are all.
    ///
    /// If the future is dropped, nothing stays open.
    ///
    /// ```no_run
    /// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
    /// use motews_tokio::Connector;
    ///
    /// let connector = Connector::new();
    /// let connection = connector.connect_http2("wss://example.com/").await?;
    /// let prices = connector.connect_on(&connection, "wss://example.com/prices").await?;
    /// let orders = connector.connect_on(&connection, "wss://example.com/orders").await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// See [`ConnectError`]: [`Http2Error::NotOffered`] if the server takes no WebSockets over HTTP/2.
    pub async fn connect_http2(&self, url: &str) -> Result<Http2Connection, ConnectError> {
        let url = Url::parse(url)?;
        if !url.is_secure() {
            return Err(Http2Error::NotOffered.into());
        }
        match Box::pin(self.reach_http2(&url)).await.map_err(found)? {
            Reached::Http2(http2, _) => Ok(Http2Connection::new(http2, &url)),
            _ => Err(Http2Error::NotOffered.into()),
        }
    }

    /// Opens a WebSocket over a connection of HTTP/2, whose server must be that of the URL. If the server
    /// takes no more at once, this waits until one has ended, as long as
    /// [`Timeouts::handshake`](crate::Timeouts::handshake). No redirect is followed.
    ///
    /// The headers may not be `Keep-Alive`, `Proxy-Connection`, or a `TE` other than `trailers`, which
    /// HTTP/2 forbids: that is a [`ConnectError::Config`].
    ///
    /// If the future is dropped, its stream is reset, and the connection stays.
    ///
    /// # Errors
    /// See [`ConnectError`] and [`Http2Error`].
    pub async fn connect_on(
        &self,
        connection: &Http2Connection,
        url: &str,
    ) -> Result<ClientStream<NetStream>, ConnectError> {
        let opened = self.connect_on_with_response(connection, url).await;
        opened.map(|(ws, _)| ws)
    }

    /// The same, with the server's response. If the future is dropped, its stream is reset, and the
    /// connection stays.
    ///
    /// # Errors
    /// See [`ConnectError`] and [`Http2Error`].
    pub async fn connect_on_with_response(
        &self,
        connection: &Http2Connection,
        url: &str,
    ) -> Result<Opened, ConnectError> {
        let url = Url::parse(url)?;
        let http2 = connection.to(&url)?;
        match Box::pin(self.open_http2(http2, &url, &self.time()))
            .await
            .map_err(found)?
        {
            Some(opened) => Ok(opened),
            None => Err(Http2Error::NotOffered.into()),
        }
    }

    /// Asks one server, over HTTP/2 if it takes WebSockets there.
    pub(super) async fn hop_http2(&self, url: &Url) -> Result<Opened, ConnectError> {
        let stream = match self.reach_http2(url).await? {
            Reached::Stream(stream) => stream,
            Reached::Http2(http2, time) => {
                match Box::pin(self.open_http2(&http2, url, &time)).await? {
                    Some(opened) => return Ok(opened),
                    None => self.reach(url, &[b"http/1.1"]).await?,
                }
            }
            Reached::None => self.reach(url, &[b"http/1.1"]).await?,
        };
        self.open(stream, url).await
    }

    /// Opens a stream to a server, and a connection over it if the server has chosen HTTP/2.
    async fn reach_http2(&self, url: &Url) -> Result<Reached, ConnectError> {
        let stream = match self.reach(url, &[b"h2", b"http/1.1"]).await? {
            NetStream::Tls(stream) if stream.get_ref().1.alpn_protocol() == Some(b"h2") => stream,
            stream => return Ok(Reached::Stream(stream)),
        };
        let time = self.time();
        let opened = time.limit(Http2::open(stream, self.common.limits.head));
        Ok(match opened.await?? {
            Some(http2) => Reached::Http2(http2, time),
            None => Reached::None,
        })
    }

    fn time(&self) -> Time {
        Pipe::new(tokio::io::empty(), self.common.timeouts())
    }

    /// Asks a server over HTTP/2. `None` if it wants HTTP/1.1 for this.
    async fn open_http2(
        &self,
        http2: &Http2,
        url: &Url,
        time: &Time,
    ) -> Result<Option<Opened>, ConnectError> {
        let limits = self.common.limits;
        let asked = http2.connect(self.request_http2(url)?);
        let Some((head, stream)) = time.limit(asked).await?? else {
            return Ok(None);
        };
        let judged = self.common.with_offers(|offers| {
            let (status, headers) = (head.status().as_u16(), head.headers().iter());
            let headers = headers.map(|(name, value)| (name.as_str(), value.as_bytes()));
            let agreed = Agreed::from_headers(status, (2, 0), None, headers, offers, limits)?;
            let name = agreed
                .subprotocol
                .and_then(|index| offers.subprotocol(index));
            Ok((agreed, name.map(str::to_owned)))
        });
        let (agreed, subprotocol) = match judged {
            Ok(judged) => judged,
            Err(HandshakeError::UnexpectedStatus(_)) => {
                let mut pipe = Pipe::new(stream, self.common.timeouts());
                let body = body(&mut pipe, Framing::UntilEnd).await;
                return Err(ConnectError::Refused(Box::new(head.map(|()| body))));
            }
            Err(error) => return Err(error.into()),
        };
        let agreed = Agreement::new(&agreed, limits);
        let stream = NetStream::Http2(Box::new(stream));
        let role = Client::new(OsEntropy);
        let ws = WebSocketStream::adopt(stream, role, agreed, &self.common, b"");
        Ok(Some((ws.with_subprotocol(subprotocol), head)))
    }

    /// The request, which needs no key (RFC 8441 §5).
    fn request_http2(&self, url: &Url) -> Result<http::Request<()>, ConnectError> {
        self.with_request(url, |host, request| {
            let uri = http::Uri::builder()
                .scheme("https")
                .authority(host)
                .path_and_query(url.target())
                .build();
            let mut head = http::Request::new(());
            *head.uri_mut() = uri.map_err(|_| ConfigError::Host)?;
            request.each_header((2, 0), None, |name, value| {
                let name = HeaderName::from_bytes(name.as_bytes());
                if let (Ok(name), Ok(value)) = (name, HeaderValue::from_bytes(value)) {
                    // It has room for 32,768.
                    let _ = head.headers_mut().try_append(name, value);
                }
            });
            match is_forbidden(head.headers()) {
                true => Err(ConfigError::ReservedHeader),
                false => Ok(head),
            }
        })
    }
}

/// Whether a header is one of the connection's, which a request over HTTP/2 may not have (RFC 9113 §8.2.2).
fn is_forbidden(headers: &HeaderMap) -> bool {
    ["keep-alive", "proxy-connection"]
        .iter()
        .any(|name| headers.contains_key(*name))
        || headers.get_all(TE).iter().any(|value| value != "trailers")
}
