//! TLS below a client's WebSocket, with rustls (RFC 6455 §10.6).
// [EX04]

use core::net::IpAddr;
use std::sync::{Arc, OnceLock};

use motews_net::{Host, UrlError};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::error::ConnectError;

/// A configuration and the name of a server.
pub(crate) struct Connection {
    connector: TlsConnector,
    name: ServerName<'static>,
}

impl Connection {
    /// `protocols` are offered (ALPN), if there are any.
    pub(crate) async fn new(
        config: Option<&Arc<ClientConfig>>,
        host: &Host,
        protocols: &[&[u8]],
    ) -> Result<Self, ConnectError> {
        // RFC 6455 §4.1: the name goes into the TLS handshake (SNI), and the certificate must be for
        // it [HC04]
        let name = match host {
            Host::Name(name) => ServerName::try_from(name.clone()).map_err(|_| UrlError::Host)?,
            Host::V4(address) => IpAddr::V4(*address).into(),
            Host::V6(address, _) => IpAddr::V6(*address).into(),
        };
        let mut config = match config {
            Some(config) => config.clone(),
            None => default_config().await?,
        };
        if !protocols.is_empty() {
            let offered = protocols.iter().map(|protocol| protocol.to_vec());
            Arc::make_mut(&mut config).alpn_protocols = offered.collect();
        }
        Ok(Self {
            connector: config.into(),
            name,
        })
    }

    pub(crate) async fn open(
        self,
        stream: TcpStream,
    ) -> Result<TlsStream<TcpStream>, ConnectError> {
        let opened = self.connector.connect(self.name, stream).await;
        opened.map_err(ConnectError::from_io)
    }
}

/// Trusts the roots of the features that are on: one configuration for the whole process, so sessions are
/// resumed. What fails is tried again the next time.
async fn default_config() -> Result<Arc<ClientConfig>, ConnectError> {
    static CONFIG: OnceLock<Arc<ClientConfig>> = OnceLock::new();
    #[cfg(feature = "native-roots")]
    if let Some(config) = CONFIG.get() {
        return Ok(config.clone());
    }
    let load = || match CONFIG.get() {
        Some(config) => Ok(config.clone()),
        None => load().map(|config| CONFIG.get_or_init(|| config).clone()),
    };
    // The operating system's are read from files, which takes its time. However many wait, and give up, one
    // thread reads them.
    #[cfg(feature = "native-roots")]
    {
        static LOADING: tokio::sync::Semaphore = tokio::sync::Semaphore::const_new(1);
        let permit = LOADING.acquire().await;
        let loaded = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            load()
        });
        loaded.await.map_err(std::io::Error::other)?
    }
    #[cfg(not(feature = "native-roots"))]
    load()
}

fn load() -> Result<Arc<ClientConfig>, ConnectError> {
    #[cfg_attr(
        not(any(feature = "webpki-roots", feature = "native-roots")),
        expect(unused_mut, reason = "the features add roots")
    )]
    let mut roots = RootCertStore::empty();
    #[cfg(feature = "webpki-roots")]
    roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    #[cfg(feature = "native-roots")]
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        let message = "there are no roots to trust: neither of the features `webpki-roots` and \
            `native-roots` is on, or the operating system has none; or give a configuration";
        return Err(ConnectError::Tls(rustls::Error::General(message.into())));
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(ConnectError::Tls)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}
