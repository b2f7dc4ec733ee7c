//! The end of the time for an attempt to connect.

use core::future::Future;
use core::time::Duration;

use tokio::time::{Instant, timeout_at};

use crate::error::ConnectError;

/// When an attempt to connect is given up, if ever.
#[derive(Clone, Copy)]
pub(crate) struct Until(Option<Instant>);

impl Until {
    /// So long from now on.
    pub(crate) fn new(limit: Option<Duration>) -> Self {
        Self(limit.and_then(|limit| Instant::now().checked_add(limit)))
    }

    /// Waits for it, and no longer than that.
    pub(crate) async fn limit<T>(self, future: impl Future<Output = T>) -> Result<T, ConnectError> {
        match self.0 {
            Some(at) => {
                let done = timeout_at(at, future).await;
                done.map_err(|_| ConnectError::TimedOut)
            }
            None => Ok(future.await),
        }
    }
}
