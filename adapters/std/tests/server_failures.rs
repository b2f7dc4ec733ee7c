//! The event-driven server: what fails before a connection is open, or beside it.

#[path = "support/server.rs"]
#[expect(dead_code, reason = "each test file uses a part of this")]
mod server_support;
mod support;
#[cfg(feature = "tls")]
#[path = "support/tls.rs"]
mod tls_support;

use core::net::SocketAddr;
use std::io::{ErrorKind, Write};
use std::sync::{Arc, Mutex, mpsc};

use motews_std::{
    AcceptError, Ended, Handler, MessageRef, Peer, Request, Response, SendError, Server,
    ServerBuilder, Side,
};
use motews_testkit::frame::masked;
use server_support::{read_to_end, start, start_threads, until};
use support::QUICK;

type Failures = Arc<Mutex<Vec<(Option<SocketAddr>, String)>>>;

/// Keeps what failed.
#[derive(Clone, Default)]
struct Failing(Failures);

impl Failing {
    /// Waits for the one failure.
    fn one(&self) -> (Option<SocketAddr>, String) {
        until("it fails", || !self.0.lock().unwrap().is_empty());
        let mut failures = self.0.lock().unwrap();
        assert_eq!(failures.len(), 1);
        failures.pop().unwrap()
    }
}

impl Handler for Failing {
    type Data = ();

    fn on_request(&mut self, request: &Request) -> Response {
        match request.path() {
            "/panic" => panic!("as it was told"),
            "/wrong" => Response::accepted().subprotocol("not offered"),
            "/no" => Response::new(403),
            _ => Response::accepted(),
        }
    }

    fn on_open(&mut self, _: &mut Peer, _: &Request) -> Result<(), SendError> {
        Ok(())
    }

    fn on_message(&mut self, _: &mut Peer, _: MessageRef) -> Result<(), SendError> {
        Ok(())
    }

    fn on_failure(&mut self, address: Option<SocketAddr>, error: &AcceptError) {
        self.0.lock().unwrap().push((address, format!("{error:?}")));
        // It must not matter.
        panic!("as it was told");
    }
}

#[test]
fn request_that_fails_is_told_with_its_address_and_cause() {
    let handler = Failing::default();
    let server = start(Server::builder().timeouts(QUICK), handler.clone());
    let valid = String::from_utf8(support::REQUEST.to_vec()).unwrap();
    for (request, expected) in [
        ("nonsense\r\n\r\n".to_owned(), "Handshake"),
        (valid.replace("13\r\n", "12\r\n"), "Handshake"),
        (valid.replace("/chat", "/panic"), "panicked"),
        (valid.replace("/chat", "/wrong"), "Config"),
        (valid[..50].to_owned(), "TimedOut"),
        (String::new(), "TimedOut"),
    ] {
        let mut stream = server.raw();
        let address = stream.local_addr().unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let (from, error) = handler.one();
        assert_eq!(from, Some(address));
        assert!(error.contains(expected), "{error} instead of {expected}");
    }
    let stream = server.raw();
    let address = stream.local_addr().unwrap();
    drop(stream);
    let (from, error) = handler.one();
    assert_eq!(from, Some(address));
    assert!(error.contains("UnexpectedEof"), "{error}");
    // A refusal is the handler's own answer, and an open connection has not failed.
    let mut stream = server.raw();
    let refused = valid.replace("/chat", "/no");
    stream.write_all(refused.as_bytes()).unwrap();
    assert!(read_to_end(&mut stream).starts_with(b"HTTP/1.1 403 "));
    drop(server.open());
    until("both are gone", || server.handle.connections() == 0);
    assert!(handler.0.lock().unwrap().is_empty());
}

/// How a connection ended, and the error that did it.
type Ending = (Ended, Option<ErrorKind>);

/// Keeps how each connection ended.
#[derive(Clone, Default)]
struct Endings(Arc<Mutex<Vec<Ending>>>);

impl Handler for Endings {
    type Data = ();

    fn on_open(&mut self, _: &mut Peer, _: &Request) -> Result<(), SendError> {
        Ok(())
    }

    fn on_message(&mut self, peer: &mut Peer, message: MessageRef) -> Result<(), SendError> {
        peer.send(message)
    }

    fn on_close(&mut self, peer: &mut Peer, ended: Ended) {
        let error = peer.error().map(std::io::Error::kind);
        self.0.lock().unwrap().push((ended, error));
    }
}

#[test]
fn open_connection_that_is_reset_ends_with_the_error_that_did_it() {
    let handler = Endings::default();
    let server = start(Server::builder(), handler.clone());
    let mut stream = server.open();
    stream.write_all(&masked(0x81, b"unread")).unwrap();
    // Unread input makes the operating system reset the connection when it is closed.
    while stream.peek(&mut [0]).unwrap() == 0 {}
    drop(stream);
    until("it ends", || !handler.0.lock().unwrap().is_empty());
    let (ended, error) = handler.0.lock().unwrap().pop().unwrap();
    assert_eq!(ended, Ended::Lost);
    assert_eq!(error, Some(ErrorKind::ConnectionReset));
}

/// Has the loop wait in the handler until the peer has done what it is to do, and then sends.
struct Held {
    endings: Endings,
    held: mpsc::Sender<()>,
    go_on: mpsc::Receiver<()>,
    len: usize,
}

impl Handler for Held {
    type Data = ();

    fn on_open(&mut self, _: &mut Peer, _: &Request) -> Result<(), SendError> {
        Ok(())
    }

    fn on_message(&mut self, peer: &mut Peer, message: MessageRef) -> Result<(), SendError> {
        if message.as_bytes() == b"hold" {
            self.held.send(()).unwrap();
            self.go_on.recv().unwrap();
        }
        peer.send(vec![0; self.len])
    }

    fn on_close(&mut self, peer: &mut Peer, ended: Ended) {
        self.endings.on_close(peer, ended);
    }
}

#[test]
fn open_peer_that_has_reset_is_sent_nothing_more() {
    let (held, is_held) = mpsc::channel();
    let (goes_on, go_on) = mpsc::channel();
    let (tells, told) = mpsc::channel();
    let server = start(Server::builder(), move |peer: &mut Peer, _: MessageRef| {
        held.send(()).unwrap();
        go_on.recv().unwrap();
        // Each is written at once, and the kernel takes very many.
        until("it is lost", || {
            let _ = peer.send(vec![0; 20_000]);
            !peer.is_open()
        });
        tells.send(peer.send("late")).unwrap();
        Ok(())
    });
    let mut stream = server.open();
    stream.write_all(&masked(0x81, b"hold")).unwrap();
    is_held.recv_timeout(server_support::PATIENCE).unwrap();
    socket2::SockRef::from(&stream)
        .set_linger(Some(core::time::Duration::ZERO))
        .unwrap();
    drop(stream);
    goes_on.send(()).unwrap();
    let late = told.recv_timeout(server_support::PATIENCE).unwrap();
    assert!(matches!(late, Err(SendError::Closed)), "{late:?}");
}

#[test]
fn open_peer_that_closed_and_reset_while_this_side_sent_has_closed() {
    // Short answers leave from the cork, long ones from where they are. The rest of a very long one
    // waits, so that the peer is not read.
    for len in [10, 100_000, 8 << 20] {
        let endings = Endings::default();
        let (held, is_held) = mpsc::channel();
        let (goes_on, go_on) = mpsc::channel();
        let server = start(
            Server::builder(),
            Held {
                endings: endings.clone(),
                held,
                go_on,
                len,
            },
        );
        let mut stream = server.open();
        if len > 1 << 20 {
            stream.write_all(&masked(0x81, b"first")).unwrap();
            // The rest waits when some of it is there.
            while stream.peek(&mut [0]).unwrap() == 0 {}
        } else {
            stream.write_all(&masked(0x81, b"hold")).unwrap();
            is_held.recv_timeout(server_support::PATIENCE).unwrap();
        }
        let mut sent = masked(0x81, b"more");
        sent.extend(masked(0x88, b"\x0f\xa0enough"));
        stream.write_all(&sent).unwrap();
        // Its end is a reset.
        socket2::SockRef::from(&stream)
            .set_linger(Some(core::time::Duration::ZERO))
            .unwrap();
        drop(stream);
        let _ = goes_on.send(());
        until("it ends", || !endings.0.lock().unwrap().is_empty());
        let (ended, _) = endings.0.lock().unwrap().pop().unwrap();
        // Cleanly, if the reset came too late to be met.
        assert!(
            matches!(ended, Ended::Closed { code, by: Side::Remote, .. } if code.as_u16() == 4000),
            "{len}: {ended:?}"
        );
        until("it is gone", || server.handle.connections() == 0);
    }
}

#[cfg(feature = "tls")]
#[test]
fn tls_handshake_that_fails_is_told_with_its_address_and_cause() {
    let (server_config, _) = tls_support::configs();
    let handler = Failing::default();
    let server = start(Server::builder().tls(server_config), handler.clone());
    let mut stream = server.raw();
    stream.write_all(support::REQUEST).unwrap();
    let (from, error) = handler.one();
    assert_eq!(from, Some(stream.local_addr().unwrap()));
    assert!(error.contains("InvalidData"), "{error}");
    // One that knows no root that the server's certificate could have.
    let (_, other_config) = tls_support::configs();
    let url = format!("wss://localhost:{}/", server.addr.port());
    let client = motews_std::Connector::new().tls(other_config).connect(&url);
    assert!(client.is_err());
    let (from, error) = handler.one();
    assert!(from.is_some());
    assert!(error.contains("AlertReceived"), "{error}");
}

#[test]
fn server_on_the_port_of_another_server_is_an_error() {
    let server = Server::bind("127.0.0.1:0").unwrap();
    let addr = server.local_addr();
    let taken = |addr| Server::bind(addr).unwrap_err().kind();
    assert_eq!(taken(addr), ErrorKind::AddrInUse);
    // As soon as it has gone, the port is free.
    drop(server);
    drop(Server::bind(addr).unwrap());
    // Loops that share a port share it with no other server.
    for threads in [1, 2, 4] {
        let handler = Endings::default();
        let server = start_threads(Server::builder(), threads, handler);
        // It runs when it answers.
        drop(server.connect());
        assert_eq!(taken(server.addr), ErrorKind::AddrInUse, "{threads}");
    }
}

#[test]
fn servers_that_start_on_one_port_at_once_are_one_and_errors() {
    for _ in 0..20 {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = free.local_addr().unwrap();
        drop(free);
        let racing: Vec<_> = (0..4)
            .map(|_| std::thread::spawn(move || Server::bind(addr)))
            .collect();
        let ended: Vec<_> = racing
            .into_iter()
            .map(|each| each.join().unwrap())
            .collect();
        assert!(ended.iter().filter(|each| each.is_ok()).count() <= 1);
    }
}

/// Tests of what concerns a whole process run in one of their own.
#[cfg(unix)]
mod processes {
    use super::*;
    use core::time::Duration;
    use std::process::Command;

    const CHILD: &str = "MOTEWS_TEST_CHILD";

    fn is_child() -> bool {
        std::env::var_os(CHILD).is_some()
    }

    /// Runs the test of this name again, in a process that `shell` makes ready.
    fn run_alone(shell: &str, test: &str) {
        let this = std::env::current_exe().unwrap();
        let output = Command::new("sh")
            .args([
                "-c",
                &format!("{shell} exec \"$0\" --exact \"$1\" --nocapture"),
            ])
            .arg(this)
            .arg(test)
            .env(CHILD, "1")
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{}\n{text}", output.status);
        assert!(text.contains("1 passed"), "{text}");
    }

    /// Sends twice to a peer that has left: the second write would raise the signal.
    #[derive(Clone)]
    struct Late {
        len: usize,
        has_left: Arc<Mutex<mpsc::Receiver<()>>>,
        done: mpsc::Sender<()>,
    }

    impl Handler for Late {
        type Data = ();

        fn on_open(&mut self, _: &mut Peer, _: &Request) -> Result<(), SendError> {
            Ok(())
        }

        fn on_message(&mut self, peer: &mut Peer, _: MessageRef) -> Result<(), SendError> {
            self.has_left.lock().unwrap().recv().unwrap();
            // Vectored, from the cork, and from a thread.
            for _ in 0..3 {
                let _ = peer.send(vec![0; self.len]);
            }
            let _ = peer.sender().try_send("x");
            self.done.send(()).unwrap();
            Ok(())
        }
    }

    fn leave_and_be_written_to(
        builder: ServerBuilder,
        connect: impl Fn(&str) -> motews_std::WebSocket,
    ) {
        for len in [70_000, 1000] {
            let (leave, has_left) = mpsc::channel();
            let (done, is_done) = mpsc::channel();
            let handler = Late {
                len,
                has_left: Arc::new(Mutex::new(has_left)),
                done,
            };
            let server = start(builder.clone(), handler);
            let mut client = connect(&format!("localhost:{}/", server.addr.port()));
            client.send("go").unwrap();
            client.flush().unwrap();
            drop(client);
            leave.send(()).unwrap();
            is_done.recv_timeout(server_support::PATIENCE).unwrap();
            until("it is gone", || server.handle.connections() == 0);
        }
    }

    #[test]
    fn open_peer_that_left_is_written_to_without_a_signal() {
        if !is_child() {
            return run_alone(
                "",
                "processes::open_peer_that_left_is_written_to_without_a_signal",
            );
        }
        sigpipe::reset();
        let builder = Server::builder;
        leave_and_be_written_to(builder(), |rest| {
            motews_std::connect(&format!("ws://{rest}")).unwrap()
        });
        #[cfg(feature = "tls")]
        {
            let (server_config, client_config) = tls_support::configs();
            leave_and_be_written_to(builder().tls(server_config), |rest| {
                let builder = motews_std::Connector::new().tls(client_config.clone());
                builder.connect(&format!("wss://{rest}")).unwrap()
            });
        }
    }

    #[test]
    fn server_without_files_for_a_connection_tells_it_and_serves_later() {
        let name = "processes::server_without_files_for_a_connection_tells_it_and_serves_later";
        if !is_child() {
            return run_alone("ulimit -n 64;", name);
        }
        let handler = Failing::default();
        let server = start(Server::builder(), handler.clone());
        // It runs when it answers, and has its own files.
        drop(server.open());
        until("it is gone", || server.handle.connections() == 0);
        let mut files = Vec::new();
        while let Ok(file) = std::fs::File::open("/dev/null") {
            files.push(file);
        }
        files.pop();
        let client = server.raw();
        until("it fails", || !handler.0.lock().unwrap().is_empty());
        let (from, error) = handler.0.lock().unwrap().pop().unwrap();
        assert_eq!(from, None);
        assert!(error.contains("Too many open files"), "{error}");
        drop(files);
        until("it is accepted", || server.handle.connections() == 1);
        drop(client);
        std::thread::sleep(Duration::from_millis(1));
    }
}
