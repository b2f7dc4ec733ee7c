//! The application's own resolver, and the time that it may take.

use core::sync::atomic::{AtomicUsize, Ordering};
use core::time::Duration;
use std::io;
use std::net::TcpListener;
use std::sync::{Arc, Mutex, RwLock, mpsc};
use std::time::Instant;

use motews_std::{Aborter, Cause, ConnectError, Connector, Proxy, Timeouts};

use crate::support;
use crate::support::PATIENCE;
use crate::{accept_with, respond};

#[test]
fn names_are_resolved_by_the_given_resolver_and_addresses_are_not() {
    let (address, serving) = respond(vec![accept_with(""), accept_with("")]);
    let (asks, asked) = mpsc::channel();
    let connector = Connector::new().resolver(move |host, port| {
        asks.send((host.to_owned(), port)).unwrap();
        match host {
            "sensor.internal" => Ok(vec![address]),
            "nowhere.internal" => Ok(Vec::new()),
            _ => Err(io::ErrorKind::PermissionDenied.into()),
        }
    });
    connector.connect("ws://sensor.internal:7/").unwrap();
    connector.connect(&format!("ws://{address}/")).unwrap();
    serving.join().unwrap();
    for (name, kind) in [
        ("nowhere.internal", io::ErrorKind::NotFound),
        ("secret.internal", io::ErrorKind::PermissionDenied),
    ] {
        let error = connector.connect(&format!("ws://{name}/")).unwrap_err();
        assert_eq!(error.cause(), Cause::Unreachable);
        assert!(
            matches!(&error, ConnectError::Io(error) if error.kind() == kind),
            "{error:?}"
        );
    }
    let asked: Vec<_> = asked.try_iter().collect();
    let expected = [
        ("sensor.internal", 7),
        ("nowhere.internal", 80),
        ("secret.internal", 80),
    ];
    assert_eq!(asked, expected.map(|(name, port)| (name.to_owned(), port)));
}

#[test]
fn resolver_that_never_answers_costs_the_connect_timeout() {
    let (end, never) = mpsc::channel::<()>();
    let never = Mutex::new(never);
    let timeout = Duration::from_millis(50);
    let connector = Connector::new()
        .connect_timeout(Some(timeout))
        .resolver(move |_, _| Err(io::Error::other(never.lock().unwrap().recv().unwrap_err())));
    let start = Instant::now();
    let error = connector.connect("ws://sensor.internal/").unwrap_err();
    assert_is_look_up(&error);
    assert!(start.elapsed() >= timeout && start.elapsed() < PATIENCE);
    drop(end);
}

/// Whoever tries again and again does not leave a thread behind each time.
#[test]
fn resolver_that_never_answers_is_left_behind_eight_times_and_then_not_called() {
    let gate = Arc::new(RwLock::new(()));
    let closed = gate.write().unwrap();
    let calls = Arc::new(AtomicUsize::new(0));
    let connector = Connector::new()
        .connect_timeout(Some(Duration::from_millis(20)))
        .resolver({
            let (gate, calls) = (gate.clone(), calls.clone());
            move |_, _| {
                calls.fetch_add(1, Ordering::SeqCst);
                drop(gate.read());
                Err(io::ErrorKind::PermissionDenied.into())
            }
        });
    let connect = || connector.connect("ws://sensor.internal/").unwrap_err();
    for _ in 0..8 {
        let error = connect();
        assert_is_look_up(&error);
    }
    let kind = |error: &ConnectError| match error {
        ConnectError::Io(error) => Some(error.kind()),
        _ => None,
    };
    for _ in 0..3 {
        let error = connect();
        assert_eq!(kind(&error), Some(io::ErrorKind::ResourceBusy), "{error:?}");
        assert_eq!(error.cause(), Cause::Unreachable);
    }
    // They have begun, or will, and no other.
    support::until("they run", || calls.load(Ordering::SeqCst) == 8);
    drop(closed);
    support::until("they have ended", || {
        kind(&connect()) == Some(io::ErrorKind::PermissionDenied)
    });
}

#[test]
fn resolver_that_panics_is_an_error_and_nobody_waits_for_it() {
    let aborter = Aborter::new().unwrap();
    let connector = Connector::new()
        .connect_timeout(None)
        .aborter(&aborter)
        .resolver(|_, _| panic!("as the test wants it"));
    let error = connector.connect("ws://sensor.internal/").unwrap_err();
    assert!(error.to_string().contains("panicked"), "{error}");
}

fn assert_is_look_up(error: &ConnectError) {
    assert!(
        matches!(error, ConnectError::LookUpTimedOut(name) if name == "sensor.internal"),
        "{error:?}"
    );
    let text = error.to_string();
    assert_eq!(
        text,
        "sensor.internal: the look-up of the name took too long"
    );
    assert_eq!(error.cause(), Cause::Unreachable);
}

/// A resolver may have a time of its own, and a proxy has a name as well.
#[test]
fn resolver_that_times_out_by_itself_is_named_as_such() {
    let connector = Connector::new().resolver(|_, _| Err(io::ErrorKind::TimedOut.into()));
    assert_is_look_up(&connector.connect("ws://sensor.internal/").unwrap_err());
    let proxy = Proxy::parse("socks5://sensor.internal").unwrap();
    let error = connector
        .proxy(proxy)
        .connect("ws://127.0.0.1/")
        .unwrap_err();
    assert_is_look_up(&error);
}

#[test]
fn connect_timeout_of_nothing_is_over_at_once_and_the_longest_is_none() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("ws://{}/", silent.local_addr().unwrap());
    // The kernel answers for the listener; so it is a name that takes for ever.
    let (end, never) = mpsc::channel::<()>();
    let never = Mutex::new(never);
    let endless = Connector::new()
        .connect_timeout(Some(Duration::ZERO))
        .resolver(move |_, _| Err(io::Error::other(never.lock().unwrap().recv().unwrap_err())));
    let error = endless.connect("ws://sensor.internal/").unwrap_err();
    assert_is_look_up(&error);
    drop(end);
    let (address, serving) = respond(vec![accept_with("")]);
    let longest = Connector::new()
        .connect_timeout(Some(Duration::MAX))
        .resolver(move |_, _| Ok(vec![address]));
    longest.connect("ws://sensor.internal/").unwrap();
    serving.join().unwrap();
    // A handshake of no time is over at once as well.
    let none = Timeouts {
        handshake: Some(0),
        ..Timeouts::NONE
    };
    let error = Connector::new().timeouts(none).connect(&url).unwrap_err();
    assert!(matches!(error, ConnectError::TimedOut(None)), "{error:?}");
}
