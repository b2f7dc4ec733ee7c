//! What the examples say of permessage-deflate: on the command line, and when they tell what it has
//! saved.

use core::fmt;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use clap::Args;
use motews_std::{
    Bytes, DeflateConfig, DeflateContext, DeflateParams, Request, Response, Traffic, WindowBits,
};
use serde::Serialize;

use crate::site;

/// Where a page asks what its connection has received and sent.
const TRAFFIC: &str = "/traffic";

/// The longest name of a connection, in bytes.
const MAX_NAME: usize = 64;

/// The options of programs that can compress.
#[derive(Args, Clone, Debug)]
#[group(skip)] // The program's own options have this name, too.
pub struct Options {
    /// Compress messages (permessage-deflate), if the other side can as well. Each connection that
    /// does takes about 62 KB more.
    #[arg(short = 'z', long)]
    deflate: bool,

    /// Let no message refer to those before it, in either direction. That compresses less; on the
    /// event-driven server, one compressor then serves all connections of a thread.
    #[arg(long, requires = "deflate")]
    no_context_takeover: bool,

    /// Look back as far as 2^BITS bytes, in either direction: 8 to 15. By default that is 12 for what
    /// is sent, and 15 for what is received. 15 takes 234 KB for a connection. Below 15, the other
    /// side must be able to limit itself (Firefox is not), or nothing is compressed.
    #[arg(long, value_name = "BITS", requires = "deflate",
          value_parser = clap::value_parser!(u8).range(8..=15))]
    window_bits: Option<u8>,
}

impl Options {
    /// What is wanted, if anything.
    #[must_use]
    pub fn wanted(&self) -> Option<DeflateConfig> {
        let limit = |mut context: DeflateContext| {
            if let Some(bits) = self.window_bits.and_then(WindowBits::new) {
                context.window_bits = bits;
            }
            context.takeover &= !self.no_context_takeover;
            context
        };
        let DeflateConfig { send, receive } = DeflateConfig::default();
        self.deflate.then(|| DeflateConfig {
            send: limit(send),
            receive: limit(receive),
        })
    }
}

/// What a client and its server have agreed on, as an answer in `Sec-WebSocket-Extensions` says it.
#[must_use]
pub fn extension(agreed: DeflateParams) -> String {
    let DeflateParams { send, receive } = agreed;
    let mut text = "permessage-deflate".to_owned();
    for (side, context) in [("server", receive), ("client", send)] {
        if !context.takeover {
            text += &format!("; {side}_no_context_takeover");
        }
        if context.window_bits < WindowBits::MAX {
            let bits = context.window_bits.bits();
            text += &format!("; {side}_max_window_bits={bits}");
        }
    }
    text
}

/// What was saved, in words.
#[derive(Clone, Copy, Debug)]
pub struct Saved(pub Traffic);

impl fmt::Display for Saved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Traffic { received, sent } = self.0;
        let messages = sent.plain + received.plain;
        let payloads = sent.wire + received.wire;
        if messages == 0 {
            return f.write_str("nothing sent yet");
        }
        let told = |bytes: Bytes| format!("{} as {}", size(bytes.plain), size(bytes.wire));
        write!(f, "sent {}, received {}: ", told(sent), told(received))?;
        match messages.saturating_sub(payloads) * 100 / messages {
            0 => f.write_str("nothing saved"),
            percent => write!(f, "{percent} % saved"),
        }
    }
}

/// `512 B`, `12.3 KiB`, `1.0 MiB`
fn size(octets: u64) -> String {
    match octets as f64 / 1024.0 {
        kib if kib < 1.0 => format!("{octets} B"),
        kib if kib < 1024.0 => format!("{kib:.1} KiB"),
        kib => format!("{:.1} MiB", kib / 1024.0),
    }
}

/// What a page is told, in JSON.
#[derive(Debug, Serialize)]
pub struct TrafficTold {
    received: BytesTold,
    sent: BytesTold,
}

#[derive(Debug, Serialize)]
struct BytesTold {
    messages: u64,
    payloads: u64,
}

impl From<Traffic> for TrafficTold {
    fn from(traffic: Traffic) -> Self {
        let told = |bytes: Bytes| BytesTold {
            messages: bytes.plain,
            payloads: bytes.wire,
        };
        Self {
            received: told(traffic.received),
            sent: told(traffic.sent),
        }
    }
}

/// What connections have received and sent, for pages that ask: a browser tells its page nothing of
/// that. A page gives its connection a name that nobody guesses, as the query of its URL, and asks
/// for it with that name at `/traffic`.
#[derive(Clone, Debug, Default)]
pub struct Accounts(Arc<Mutex<BTreeMap<String, Arc<Mutex<Traffic>>>>>);

/// That of one connection, until this is dropped.
#[derive(Debug)]
pub struct Account {
    accounts: Accounts,
    name: String,
    traffic: Arc<Mutex<Traffic>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Accounts {
    /// Opens one for the WebSocket of this request, if it has a name.
    #[must_use]
    pub fn open(&self, request: &Request) -> Option<Account> {
        let name = request.query().filter(|_| request.is_websocket())?;
        if name.len() > MAX_NAME {
            return None;
        }
        let traffic = Arc::default();
        // A page whose connection was lost comes back before the server knows.
        lock(&self.0).insert(name.to_owned(), Arc::clone(&traffic));
        Some(Account {
            accounts: self.clone(),
            name: name.to_owned(),
            traffic,
        })
    }

    /// The answer to a request for an account; `None` if it is for something else.
    #[must_use]
    pub fn answer(&self, request: &Request) -> Option<Response> {
        if request.is_websocket() || request.path() != TRAFFIC {
            return None;
        }
        let account = request
            .query()
            .and_then(|name| lock(&self.0).get(name).cloned());
        let Some(account) = account else {
            return Some(site::refuse(
                404,
                "No such connection, or it is not compressed",
            ));
        };
        let told = TrafficTold::from(*lock(&account));
        let body = serde_json::to_string(&told).expect("this type has no map with odd keys");
        let response = Response::new(200)
            .header("Content-Type", "application/json")
            .header("Cache-Control", "no-store");
        Some(response.body(body))
    }
}

impl Account {
    /// Notes what the connection has received and sent so far.
    pub fn note(&self, traffic: Traffic) {
        *lock(&self.traffic) = traffic;
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        let mut accounts = lock(&self.accounts.0);
        let is_own = |traffic| Arc::ptr_eq(traffic, &self.traffic);
        if accounts.get(&self.name).is_some_and(is_own) {
            accounts.remove(&self.name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn saved_tells_sizes_and_the_share() {
        let octets = |plain, wire| Bytes { plain, wire };
        for (sent, received, told) in [
            ((0, 0), (0, 0), "nothing sent yet"),
            (
                (1, 3),
                (0, 0),
                "sent 1 B as 3 B, received 0 B as 0 B: nothing saved",
            ),
            (
                (1000, 999),
                (1000, 1001),
                "sent 1000 B as 999 B, received 1000 B as 1001 B: nothing saved",
            ),
            (
                (1023, 1024),
                (2048, 512),
                "sent 1023 B as 1.0 KiB, received 2.0 KiB as 512 B: 49 % saved",
            ),
            (
                (12_595, 4608),
                (1 << 20, 1 << 20),
                "sent 12.3 KiB as 4.5 KiB, received 1.0 MiB as 1.0 MiB: nothing saved",
            ),
            (
                (1 << 30, 1),
                (0, 0),
                "sent 1024.0 MiB as 1 B, received 0 B as 0 B: 99 % saved",
            ),
        ] {
            let traffic = Traffic {
                sent: octets(sent.0, sent.1),
                received: octets(received.0, received.1),
            };
            assert_eq!(Saved(traffic).to_string(), told);
        }
    }
}
