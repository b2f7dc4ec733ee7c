//! A client's settings: [`Connector`].

use core::net::SocketAddr;
use core::time::Duration;
use std::io;

use motews_net::{Proxy, ProxyChoice, RedirectPolicy};

use super::abort::Aborter;
use super::resolve::Resolver;
use crate::blocking::settings::{Settings, setters};

/// The settings of a client's connection, and the ways to open it.
///
/// | setting | default |
/// |---|---|
/// | [`connect_timeout`](Self::connect_timeout) | 10 s |
/// | [`proxy`](Self::proxy), [`proxy_from_env`](Self::proxy_from_env) | none |
/// | [`redirects`](Self::redirects) | none is followed |
/// | all others | as those of an [`Acceptor`](crate::Acceptor) |
///
/// ```no_run
/// use motews_std::{Connector, DEFAULT_LIMITS, Limits};
///
/// let mut ws = Connector::new()
///     .subprotocols(["chat.v2", "chat.v1"])
///     .header("Authorization", "Bearer 42")
///     .limits(Limits { message: 1024 * 1024, ..DEFAULT_LIMITS })
///     .connect("ws://example.com/chat")?;
/// assert!(ws.subprotocol().is_some());
/// # Ok::<(), motews_std::ConnectError>(())
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct Connector {
    pub(super) settings: Settings,
    pub(super) connect_timeout: Option<Duration>,
    pub(super) origin: Option<String>,
    pub(super) proxy: ProxyChoice,
    pub(super) redirects: RedirectPolicy,
    pub(super) resolver: Resolver,
    pub(crate) aborter: Option<Aborter>,
    #[cfg(feature = "tls")]
    pub(super) tls: Option<std::sync::Arc<rustls::ClientConfig>>,
}

impl Default for Connector {
    fn default() -> Self {
        Self::new()
    }
}

impl Connector {
    /// Returns the defaults.
    pub const fn new() -> Self {
        Self {
            settings: Settings::new(),
            connect_timeout: Some(Duration::from_secs(10)),
            origin: None,
            proxy: ProxyChoice::Direct,
            redirects: RedirectPolicy::NONE,
            resolver: Resolver::system(),
            aborter: None,
            #[cfg(feature = "tls")]
            tls: None,
        }
    }

    /// The `Origin` header of a client that runs what a site gave it (§10.2).
    pub fn origin(mut self, origin: impl Into<String>) -> Self {
        self.origin = Some(origin.into());
        self
    }

    /// Sets how long it may take to resolve the host's name and to connect, to all of its addresses
    /// together, and through the proxy if there is one. `None`: as long as the operating system lets it.
    /// A resolver that does not answer in time is left behind in a thread of its own. While there are
    /// eight of these, connecting to a name fails with
    /// [`ResourceBusy`](io::ErrorKind::ResourceBusy).
    ///
    /// An address that does not answer costs a quarter of a second before the next one is tried as
    /// well (RFC 8305).
    pub const fn connect_timeout(mut self, timeout: Option<Duration>) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// Resolves names of hosts with this function in place of the operating system's resolver. It is
    /// called with the name and the port, and returns addresses in the order in which they are to be
    /// tried; in a thread of its own, if there is a [time limit](Self::connect_timeout) or an
    /// [`Aborter`]. It is not called for addresses.
    ///
    /// ```
    /// use motews_std::Connector;
    ///
    /// let connector = Connector::new().resolver(|host, port| match host {
    ///     "sensor.internal" => Ok(vec![([10, 0, 0, 7], port).into()]),
    ///     _ => Err(std::io::ErrorKind::NotFound.into()),
    /// });
    /// ```
    ///
    /// # Errors
    /// Its errors are returned as [`ConnectError::Io`](crate::ConnectError::Io); no addresses are
    /// [`NotFound`](io::ErrorKind::NotFound), and [`TimedOut`](io::ErrorKind::TimedOut) is
    /// [`ConnectError::LookUpTimedOut`](crate::ConnectError::LookUpTimedOut).
    pub fn resolver(
        mut self,
        resolve: impl Fn(&str, u16) -> io::Result<Vec<SocketAddr>> + Send + Sync + 'static,
    ) -> Self {
        self.resolver = Resolver::new(resolve);
        self
    }

    /// How `wss://` is encrypted and whom it trusts. Without it, the roots of the features
    /// `webpki-roots` and `native-roots` are trusted: they are loaded once for the process, with the first
    /// attempt and before its [time limit](Self::connect_timeout) begins.
    #[cfg(feature = "tls")]
    pub fn tls(mut self, config: std::sync::Arc<rustls::ClientConfig>) -> Self {
        self.tls = Some(config);
        self
    }

    /// Connects through this proxy, by [`connect`](Self::connect): HTTP CONNECT, with Basic
    /// authentication, or SOCKS5.
    ///
    /// ```no_run
    /// use motews_std::{Connector, Proxy};
    ///
    /// let proxy = Proxy::parse("socks5h://user:password@proxy.example:1080")?;
    /// let ws = Connector::new().proxy(proxy).connect("wss://example.com/")?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn proxy(mut self, proxy: Proxy) -> Self {
        self.proxy = ProxyChoice::Fixed(Box::new(proxy));
        self
    }

    /// Connects through the proxy that the environment names, if it names one for the URL:
    /// `http_proxy`, `https_proxy`, `all_proxy` and `no_proxy`, read as curl reads them. See
    /// [`Proxy::from_env`].
    pub fn proxy_from_env(mut self) -> Self {
        self.proxy = ProxyChoice::Environment;
        self
    }

    /// Which redirects [`connect`](Self::connect) follows. Each has the timeouts anew. Another server
    /// gets neither the [`header`](Self::header)s, unless [`RedirectPolicy::keep_headers`] says so, nor
    /// the user in the URL: see [`Redirects`](motews_net::Redirects).
    ///
    /// ```no_run
    /// use motews_std::{Connector, RedirectPolicy};
    ///
    /// let ws = Connector::new()
    ///     .redirects(RedirectPolicy::DEFAULT)
    ///     .connect("ws://example.com/")?;
    /// # Ok::<(), motews_std::ConnectError>(())
    /// ```
    pub const fn redirects(mut self, policy: RedirectPolicy) -> Self {
        self.redirects = policy;
        self
    }

    /// Lets [`connect`](Self::connect), and the connection that it opens, be ended from another
    /// thread.
    pub fn aborter(mut self, aborter: &Aborter) -> Self {
        self.aborter = Some(aborter.clone());
        self
    }

    setters!();
}
