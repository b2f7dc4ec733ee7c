//! From the name of a host to its addresses.

use core::fmt;
use core::future::Future;
use core::net::SocketAddr;
use core::pin::Pin;
use std::io;
use std::sync::Arc;

use motews_net::Host;
use tokio::net::lookup_host;

use crate::error::ConnectError;
use crate::until::Until;

type Found = io::Result<Vec<SocketAddr>>;
type Resolve = dyn Fn(String, u16) -> Pin<Box<dyn Future<Output = Found> + Send>> + Send + Sync;

/// Resolves names: the operating system's resolver, or the application's own.
#[derive(Clone, Default)]
pub(crate) struct Resolver(Option<Arc<Resolve>>);

impl Resolver {
    pub(crate) fn new<F>(resolve: impl Fn(String, u16) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Found> + Send + 'static,
    {
        Self(Some(Arc::new(move |host, port| {
            Box::pin(resolve(host, port))
        })))
    }

    /// Returns the addresses of a host. An address is its own, and is never asked for.
    pub(crate) async fn resolve(
        &self,
        host: &Host,
        port: u16,
        until: Until,
    ) -> Result<Vec<SocketAddr>, ConnectError> {
        let name = match host {
            Host::V4(address) => return Ok(vec![SocketAddr::from((*address, port))]),
            Host::V6(address, None) => return Ok(vec![SocketAddr::from((*address, port))]),
            // The operating system knows the zones of IPv6 addresses.
            host => host.to_string(),
        };
        let found = until.limit(async {
            match (host, &self.0) {
                (Host::Name(name), Some(resolve)) => resolve(name.clone(), port).await,
                _ => Ok(lookup_host((name.as_str(), port)).await?.collect()),
            }
        });
        match found.await {
            Ok(Ok(addresses)) => Ok(addresses),
            // Which name it was, since a proxy has one, too.
            Ok(Err(error)) if error.kind() != io::ErrorKind::TimedOut => {
                Err(io::Error::new(error.kind(), format!("{name}: {error}")).into())
            }
            _ => Err(ConnectError::LookUpTimedOut(name)),
        }
    }
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Some(_) => "Resolver",
            None => "Resolver::default()",
        })
    }
}
