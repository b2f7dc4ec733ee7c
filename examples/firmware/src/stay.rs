//! What the clients that stay connected have alike: where their server is, and how long they wait for
//! what.

use motews::Timeouts;
use motews::reconnect::Backoff;

/// The server's name, and its port.
pub const SERVER: (&str, u16) = ("server.example", 9001);
/// The same as the request has it.
pub const HOST: &str = "server.example:9001";

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
