//! From the name of a host to its addresses.

use core::fmt;
use core::future::Future;
use core::net::SocketAddr;
use core::pin::Pin;
use std::io;
use std::sync::Arc;

use motews_net::Host;
use tokio::net::lookup_host;

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
    pub(crate) async fn resolve(&self, host: &Host, port: u16) -> Found {
        let name = match (host, &self.0) {
            (Host::V4(address), _) => return Ok(vec![SocketAddr::from((*address, port))]),
            (Host::V6(address, None), _) => return Ok(vec![SocketAddr::from((*address, port))]),
            (Host::Name(name), Some(resolve)) => {
                return resolve(name.clone(), port)
                    .await
                    .map_err(|error| about(name, &error));
            }
            // The operating system knows the zones of IPv6 addresses.
            (host, _) => host.to_string(),
        };
        let found = lookup_host((name.as_str(), port)).await;
        Ok(found.map_err(|error| about(&name, &error))?.collect())
    }
}

/// Which name it was, since a proxy has one, too.
fn about(name: &str, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{name}: {error}"))
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Some(_) => "Resolver",
            None => "Resolver::default()",
        })
    }
}
