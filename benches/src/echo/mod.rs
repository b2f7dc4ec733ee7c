//! Echo over TCP: a load client, the servers that answer it, and a raw TCP echo as the limit.
//!
//! The figure is the processor time that a server spends on a message. Client and servers are
//! processes of their own, each on a processor of its own.

pub mod chart;
pub mod client;
#[cfg(feature = "deflate")]
pub mod compressed;
pub mod on_tokio;
#[cfg(feature = "peers")]
mod peers;
pub mod process;
mod raw;
pub mod servers;
pub mod uws;

use core::fmt;
use core::str::FromStr;

/// What the client asks of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Workload {
    /// Open connections.
    pub connections: usize,
    /// Bytes of payload in each message.
    pub size: usize,
    /// Messages that a connection sends in one write, before it awaits their echoes.
    pub depth: usize,
}

impl Workload {
    /// All that is measured.
    pub const ALL: [Self; 5] = [
        Self::new(32, 16, 1),
        Self::new(256, 1024, 1),
        Self::new(32, 16, 16),
        Self::new(32, 1024, 16),
        Self::new(32, 64 * 1024, 1),
    ];

    /// `connections:size:depth`.
    #[must_use]
    pub const fn new(connections: usize, size: usize, depth: usize) -> Self {
        Self {
            connections,
            size,
            depth,
        }
    }
}

impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            connections,
            size,
            depth,
        } = self;
        if size % 1024 == 0 && *size > 0 {
            write!(f, "{connections}:{}K:{depth}", size / 1024)
        } else {
            write!(f, "{connections}:{size}:{depth}")
        }
    }
}

impl FromStr for Workload {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("a workload is connections:size:depth, as in 32:1K:16, not {text:?}");
        let [connections, size, depth] = text.split(':').collect::<Vec<_>>()[..] else {
            return Err(wrong());
        };
        let (size, unit) = match size.strip_suffix('K') {
            Some(size) => (size, 1024),
            None => (size, 1),
        };
        let number = |text: &str| text.parse().ok();
        match (number(connections), number(size), number(depth)) {
            (
                Some(connections @ 1..=10_000),
                Some(size @ 0..=1_048_576),
                Some(depth @ 1..=1024),
            ) => Ok(Self::new(connections, size * unit, depth)),
            _ => Err(wrong()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_workload_is_read_as_it_is_written() {
        for workload in Workload::ALL {
            assert_eq!(workload.to_string().parse(), Ok(workload));
        }
        assert_eq!("256:1K:1".parse(), Ok(Workload::new(256, 1024, 1)));
        for wrong in ["", "32", "0:16:1", "32:16:0", "32:x:1", "32:16:1:1"] {
            assert!(wrong.parse::<Workload>().is_err(), "{wrong:?}");
        }
    }
}
