//! The event-driven server over TLS: what stays inside of it, and what has no content.

#[path = "support/records.rs"]
mod records;
#[path = "support/server.rs"]
#[expect(dead_code, reason = "each test file uses a part of this")]
mod server_support;
mod support;
#[path = "support/tls.rs"]
mod tls_support;

use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;
use std::io::Write;
use std::net::TcpStream;
use std::sync::Arc;

use motews_std::rustls::pki_types::ServerName;
use motews_std::rustls::{ClientConfig, ClientConnection, StreamOwned};
use motews_std::{Ended, Handler, MessageRef, Peer, Peers, Request, SendError, Server, Timeouts};
use motews_testkit::frame::masked;
use motews_testkit::head;
use records::{Records, Secret};
use server_support::{FAST, PATIENCE, Running, read_frame, start, until};

type Client = StreamOwned<ClientConnection, TcpStream>;

/// A client whose socket holds little that is not read.
fn open(server: &Running, config: Arc<ClientConfig>) -> Client {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket.connect(&server.addr.into()).unwrap();
    let socket: TcpStream = socket.into();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let connection = ClientConnection::new(config, name).unwrap();
    let mut stream = StreamOwned::new(connection, socket);
    stream.write_all(support::REQUEST).unwrap();
    assert!(head::read(&mut stream).starts_with("HTTP/1.1 101 "));
    stream
}

/// Sends 60 KB once, by the timer, to a peer that has asked for it.
#[derive(Clone, Default)]
struct Once {
    has_sent: Arc<AtomicBool>,
    has_closed: Arc<AtomicBool>,
}

const LEN: usize = 60_000;

impl Handler for Once {
    type Data = bool;

    fn on_open(&mut self, _: &mut Peer, _: &Request) -> Result<bool, SendError> {
        Ok(false)
    }

    fn on_message(
        &mut self,
        peer: &mut Peer<'_, bool>,
        _: MessageRef<'_>,
    ) -> Result<(), SendError> {
        *peer.data_mut() = true;
        Ok(())
    }

    fn on_close(&mut self, _: &mut Peer<'_, bool>, _: Ended) {
        self.has_closed.store(true, Ordering::SeqCst);
    }

    fn timer(&self) -> Option<Duration> {
        Some(Duration::from_millis(5))
    }

    fn on_timer(&mut self, peers: &mut Peers<'_, bool>) {
        peers.for_each(|peer| {
            if core::mem::take(peer.data_mut()) {
                peer.send(vec![7; LEN]).unwrap();
                assert!(peer.buffered_amount() > 0, "TLS holds some of it");
                self.has_sent.store(true, Ordering::SeqCst);
            }
        });
    }
}

#[test]
fn wss_message_of_the_timer_to_a_full_window_leaves_when_that_opens() {
    let (server_config, client_config) = tls_support::configs();
    let handler = Once::default();
    let builder = Server::builder().tls(server_config).send_buffer(4096);
    let server = start(builder, handler.clone());
    let mut client = open(&server, client_config);
    client.write_all(&masked(0x81, b"go")).unwrap();
    until("it is sent", || handler.has_sent.load(Ordering::SeqCst));
    assert!(read_frame(&mut client) == (0x82, vec![7; LEN]));
}

#[test]
fn wss_peer_that_reads_nothing_of_what_tls_holds_is_dropped_in_time() {
    let (server_config, client_config) = tls_support::configs();
    let handler = Once::default();
    let builder = Server::builder()
        .tls(server_config)
        .send_buffer(4096)
        .timeouts(Timeouts {
            write: Some(300),
            min_rate: FAST,
            ..Timeouts::SERVER
        });
    let server = start(builder, handler.clone());
    let mut client = open(&server, client_config);
    client.write_all(&masked(0x81, b"go")).unwrap();
    until("it is dropped", || {
        handler.has_closed.load(Ordering::SeqCst)
    });
    drop(client);
}

#[test]
fn wss_peer_that_sends_records_without_content_leaves_others_their_turns() {
    let (server_config, client_config) = tls_support::configs();
    let has_ended = Arc::new(AtomicBool::new(false));
    let ended = has_ended.clone();
    let server = start(
        Server::builder().tls(server_config),
        move |peer: &mut Peer, message: MessageRef| {
            if message.as_bytes() == b"end" {
                ended.store(true, Ordering::SeqCst);
            }
            peer.send(message)
        },
    );
    let secret = Arc::new(Secret::default());
    let mut flooding = open(&server, secret.kept_by(&client_config));
    let mut records = Records::after(&secret, &mut flooding.conn);
    flooding.flush().unwrap();
    let mut flood = Vec::new();
    records.push_without_content(&mut flood, 60_000);
    records.push_data(&mut flood, &masked(0x81, b"end"));

    let mut client = open(&server, client_config);
    let mut socket = flooding.sock.try_clone().unwrap();
    let writing = std::thread::spawn(move || socket.write_all(&flood).unwrap());
    for n in 0..4_u8 {
        client.write_all(&masked(0x82, &[n])).unwrap();
        assert_eq!(read_frame(&mut client), (0x82, vec![n]));
    }
    assert!(!has_ended.load(Ordering::SeqCst), "served beside it");
    writing.join().unwrap();
    assert_eq!(read_frame(&mut flooding), (0x81, b"end".to_vec()));
}
