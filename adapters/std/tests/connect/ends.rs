//! What ends an attempt, and a connection: the aborter.

use crate::support::PATIENCE;
use std::net::TcpListener;
use std::sync::mpsc;
use std::thread::{self};
use std::time::Instant;

use motews_std::{Aborter, ConnectError, Connector, Ended, Proxy, RecvError, Timeouts};
use motews_testkit::head::read as read_head;

use crate::support::serve;

/// A listener whose connections come to be, and are told nothing.
fn silent() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("ws://{}/", listener.local_addr().unwrap());
    (listener, url)
}

#[test]
fn connect_to_a_stopped_server_is_aborted_at_once() {
    for through_proxy in [false, true] {
        let (listener, url) = silent();
        let address = listener.local_addr().unwrap();
        let aborter = Aborter::new().unwrap();
        let mut builder = Connector::new().aborter(&aborter).connect_timeout(None);
        if through_proxy {
            builder = builder.proxy(Proxy::parse(&address.to_string()).unwrap());
        }
        let timeouts = Timeouts {
            handshake: None,
            ..Timeouts::default()
        };
        let builder = builder.timeouts(timeouts);
        let again = builder.clone();
        let connecting = thread::spawn(move || builder.connect(&url).map(|_| ()));
        // It has sent its request, and waits.
        let (mut stream, _) = listener.accept().unwrap();
        assert!(!read_head(&mut stream).is_empty());
        assert!(!aborter.is_aborted());
        aborter.abort();
        let connected = connecting.join().unwrap();
        assert!(
            matches!(connected, Err(ConnectError::Aborted)),
            "{connected:?}"
        );
        // And so is every later one.
        let connected = again.connect(&format!("ws://{address}/"));
        assert!(
            matches!(connected, Err(ConnectError::Aborted)),
            "{connected:?}"
        );
    }
}

#[test]
fn open_connection_is_aborted_at_once() {
    let (address, server) = serve(|stream| {
        let mut ws = motews_std::accept(stream).unwrap();
        ws.recv().is_err()
    });
    let aborter = Aborter::new().unwrap();
    let builder = Connector::new().aborter(&aborter);
    let mut ws = builder.connect(&format!("ws://{address}/")).unwrap();
    let sender = ws.sender().unwrap();
    let (waiting, waits) = mpsc::channel();
    let receiving = thread::spawn(move || {
        waiting.send(()).unwrap();
        let error = ws.recv().unwrap_err();
        (error, ws.ended())
    });
    waits.recv().unwrap();
    let start = Instant::now();
    aborter.abort();
    let (error, ended) = receiving.join().unwrap();
    assert!(matches!(error, RecvError::Aborted), "{error:?}");
    assert_eq!(ended, Some(Ended::Aborted));
    assert!(sender.send("too late").is_err());
    assert!(start.elapsed() < PATIENCE);
    assert!(server.join().unwrap(), "it was no clean close");
}

#[test]
fn aborter_does_not_keep_a_connection_open() {
    let aborter = Aborter::new().unwrap();
    let (address, server) = serve(|stream| {
        let mut ws = motews_std::accept(stream).unwrap();
        ws.recv().map(|_| ())
    });
    let builder = Connector::new().aborter(&aborter);
    drop(builder.connect(&format!("ws://{address}/")).unwrap());
    // The read timeout of the server would be another error.
    let ended = server.join().unwrap();
    assert!(
        matches!(ended, Err(RecvError::Protocol(_)) | Ok(())),
        "{ended:?}"
    );
    assert!(!aborter.is_aborted());
}
