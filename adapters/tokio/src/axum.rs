//! WebSockets inside a server on axum.

use core::fmt;
use std::borrow::Cow;

use axum_core::body::Body;
use axum_core::extract::FromRequestParts;
use axum_core::response::{IntoResponse, Response};
use hyper::upgrade::OnUpgrade;
use motews::Server;
use motews_net::http::request::Parts;

use crate::accept::Acceptor;
use crate::upgrade::{UpgradeError, Upgrading};
use crate::upgraded::UpgradedStream;
use crate::websocket::WebSocketStream;

/// An extractor for axum: a request to open a WebSocket.
///
/// It has the flow of axum's own, with the settings of an [`Acceptor`]. A request that is no correct
/// opening handshake is rejected with the response that it calls for.
///
/// ```
/// # use axum_core as axum;
/// use axum::response::Response;
/// use motews_tokio::WebSocketUpgrade;
///
/// // Router::new().route("/chat", any(serve))
/// async fn serve(upgrade: WebSocketUpgrade) -> Response {
///     upgrade.protocols(["chat"]).on_upgrade(async |mut ws| {
///         while let Ok(Some(message)) = ws.recv().await {
///             if ws.send(message).await.is_err() {
///                 break;
///             }
///         }
///     })
/// }
/// ```
#[must_use]
pub struct WebSocketUpgrade<F = fn(hyper::Error)> {
    acceptor: Acceptor,
    parts: Parts,
    on_failed_upgrade: F,
}

impl WebSocketUpgrade {
    /// Calls `callback` if the connection ends before the WebSocket is open.
    pub fn on_failed_upgrade<F>(self, callback: F) -> WebSocketUpgrade<F>
    where
        F: FnOnce(hyper::Error) + Send + 'static,
    {
        WebSocketUpgrade {
            acceptor: self.acceptor,
            parts: self.parts,
            on_failed_upgrade: callback,
        }
    }
}

impl<F> WebSocketUpgrade<F> {
    /// Uses the settings of this acceptor: limits, times, compression, subprotocols. Call it before
    /// [`protocols`](Self::protocols), whose names it replaces by its own.
    pub fn acceptor(mut self, acceptor: &Acceptor) -> Self {
        self.acceptor = acceptor.clone();
        self
    }

    /// Sets the subprotocols, the best one first: the first of them that the client offers is agreed
    /// on.
    pub fn protocols<T: Into<String>>(mut self, names: impl IntoIterator<Item = T>) -> Self {
        self.acceptor = self.acceptor.subprotocols(names);
        self
    }

    /// Returns the subprotocol that is agreed on.
    #[must_use]
    pub fn selected_protocol(&self) -> Option<&str> {
        let offered = |name: &&str| Acceptor::offered(&self.parts).any(|offer| offer == *name);
        let mut own = self.acceptor.common.subprotocols.iter().map(String::as_str);
        own.find(offered)
    }

    /// Returns the subprotocols that the client offers, the one it likes best first.
    pub fn requested_protocols(&self) -> impl Iterator<Item = Cow<'_, str>> {
        Acceptor::offered(&self.parts).map(Cow::Borrowed)
    }

    /// Accepts: returns the response, and calls `callback` with the WebSocket, in a task of its own, when
    /// it is open.
    pub fn on_upgrade<C, Fut>(mut self, callback: C) -> Response
    where
        F: FnOnce(hyper::Error) + Send + 'static,
        C: FnOnce(WebSocketStream<UpgradedStream, Server>) -> Fut + Send + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        match self.acceptor.upgrade(&mut self.parts) {
            Ok((response, upgrading)) => {
                let on_failed_upgrade = self.on_failed_upgrade;
                tokio::spawn(async move {
                    match Upgrading::open(upgrading).await {
                        Ok(ws) => callback(ws).await,
                        Err(error) => on_failed_upgrade(error),
                    }
                });
                response.map(Body::from)
            }
            Err(error) => error.into_response(),
        }
    }
}

impl<S: Sync> FromRequestParts<S> for WebSocketUpgrade {
    type Rejection = UpgradeError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, UpgradeError> {
        let acceptor = Acceptor::new();
        acceptor.check(parts)?; // by limits that are not set yet: that is for `on_upgrade`
        let mut own = motews_net::http::Request::new(()).into_parts().0;
        own.method = parts.method.clone();
        own.version = parts.version;
        own.headers = parts.headers.clone();
        let on_upgrade = parts.extensions.remove::<OnUpgrade>();
        own.extensions
            .insert(on_upgrade.ok_or(UpgradeError::NotUpgradable)?);
        #[cfg(feature = "http2")]
        if let Some(protocol) = parts.extensions.get::<hyper::ext::Protocol>() {
            own.extensions.insert(protocol.clone());
        }
        Ok(Self {
            acceptor,
            parts: own,
            on_failed_upgrade: |_| {},
        })
    }
}

impl IntoResponse for UpgradeError {
    fn into_response(self) -> Response {
        self.response().map(Body::from)
    }
}

impl<F> fmt::Debug for WebSocketUpgrade<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("WebSocketUpgrade");
        debug
            .field("headers", &self.parts.headers)
            .finish_non_exhaustive()
    }
}
