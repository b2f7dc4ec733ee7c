//! `wss://` in firmware, on the host: the client of `motews_embedded_io::tls` against rustls, tungstenite
//! and OpenSSL; and embedded-tls as it is below a blocking WebSocket.

#[path = "embedded_tls/blocking.rs"]
mod blocking;
#[path = "embedded_tls/forger.rs"]
mod forger;
#[path = "embedded_tls/hostile.rs"]
mod hostile;
#[path = "embedded_tls/openssl.rs"]
mod openssl;
#[path = "embedded_tls/pump.rs"]
mod pump;
#[path = "embedded_tls/reconnect.rs"]
mod reconnect;
#[path = "embedded_tls/recorded.rs"]
mod recorded;
#[path = "embedded_tls/rules.rs"]
mod rules;
#[path = "embedded_tls/select.rs"]
mod select;
#[path = "embedded_tls/support.rs"]
mod support;
#[path = "embedded_tls/transport.rs"]
mod transport;
#[path = "embedded_tls/verify.rs"]
mod verify;

use std::net::TcpListener;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// An echo for one client: rustls, and the WebSocket of another maker.
fn serve(config: Arc<ServerConfig>) -> (u16, JoinHandle<usize>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("it is bound").port();
    let server = thread::spawn(move || {
        let (stream, _) = listener.accept().expect("a client");
        let connection = ServerConnection::new(config).expect("it is right");
        let stream = StreamOwned::new(connection, stream);
        let mut ws = tungstenite::accept(stream).expect("an upgrade");
        let mut echoed = 0;
        loop {
            match ws.read() {
                Ok(message) if message.is_text() || message.is_binary() => {
                    ws.send(message).expect("it goes out");
                    echoed += 1;
                }
                Ok(_) => {}
                Err(tungstenite::Error::ConnectionClosed) => return echoed,
                Err(error) => panic!("{error}"),
            }
        }
    });
    (port, server)
}

/// What is sent, from nothing to more than a record of TLS.
fn payloads() -> [Vec<u8>; 4] {
    [0, 5, 1000, 40_000].map(|len| (0..=255).cycle().take(len).collect())
}
