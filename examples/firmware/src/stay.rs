//! What the clients that stay connected have alike: where their server is, and how long they wait for
//! what.

use motews::Timeouts;
use motews::handshake::Request;
use motews::reconnect::Backoff;

use crate::board;

/// The server's name, and its port.
pub const SERVER: (&str, u16) = ("server.example", 9001);
/// The same as the request has it.
const HOST: &str = "server.example:9001";
/// What the board shows to be let in: the key that it uses, and the next one. A server changes over from
/// one to the other while its devices run. Each device has keys of its own.
const KEYS: [&[(&str, &str)]; 2] = [
    &[("Authorization", "Bearer the first key")],
    &[("Authorization", "Bearer the next key")],
];

/// The request, with one of the keys.
#[must_use]
pub fn request(key: usize) -> Request<'static> {
    let headers = KEYS.get(key).copied().unwrap_or_default();
    let request = Request::new(HOST, "/device").and_then(|request| request.headers(headers));
    match request {
        Ok(request) => request,
        // They are right.
        Err(_) => board::exit(2),
    }
}

/// Times that one can watch. A device that pays for its bytes takes longer ones.
pub const TIMEOUTS: Timeouts = Timeouts {
    handshake: Some(3_000),
    keepalive: Some(2_000),
    pong: Some(2_000),
    write: Some(4_000),
    ..Timeouts::DEFAULT
};

/// The same for the waits; and the board goes on whatever the server says, for nobody restarts it.
pub const BACKOFF: Backoff = Backoff {
    first: 300,
    minimum: 250,
    doublings: 3,
    range: 250,
    stable: 0,
    persist: true,
    ..Backoff::DEFAULT
};
