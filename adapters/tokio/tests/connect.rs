//! How a client gets to its server: names, and the bounds of what can be set.

use core::time::Duration;
use std::io;
use std::sync::{Arc, Mutex};

use motews_tokio::http::{StatusCode, header};
use motews_tokio::{
    Acceptor, Cause, ConnectError, Connector, HandshakeError, Limits, Proxy, RedirectError,
    RedirectPolicy, Request, Response, Timeouts, accepted,
};
use tokio::net::TcpListener;
use tokio::time::Instant;

/// Accepts whoever comes, after this many redirects to itself. Returns the URL.
async fn serve(redirects: usize) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let decide = async move |request: &Request| {
                let hop: usize = request.uri().path()[1..].parse().unwrap();
                if hop == redirects {
                    return accepted();
                }
                let mut response = Response::default();
                *response.status_mut() = StatusCode::TEMPORARY_REDIRECT;
                let location = format!("/{}", hop + 1).parse().unwrap();
                response.headers_mut().insert(header::LOCATION, location);
                response
            };
            let acceptor = Acceptor::new().timeouts(Timeouts::NONE);
            tokio::spawn(async move {
                let Ok(mut ws) = acceptor.accept_with(stream, decide).await else {
                    return;
                };
                while let Ok(Some(message)) = ws.recv().await {
                    ws.send(message).await.unwrap();
                }
            });
        }
    });
    format!("ws://{address}/0")
}

#[tokio::test]
async fn names_are_resolved_by_the_given_resolver_and_addresses_are_not() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let asks = asked.clone();
    let connector = Connector::new().resolver(move |host: String, port| {
        asks.lock().unwrap().push((host.clone(), port));
        async move {
            match host.as_str() {
                "sensor.internal" => Ok(vec![address]),
                "nowhere.internal" => Ok(Vec::new()),
                _ => Err(io::ErrorKind::PermissionDenied.into()),
            }
        }
    });
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            Acceptor::new().accept(stream).await.unwrap();
        }
    });
    connector.connect("ws://sensor.internal:7/").await.unwrap();
    let url = format!("ws://{address}/");
    connector.connect(&url).await.unwrap();
    for (name, kind) in [
        ("nowhere.internal", io::ErrorKind::NotFound),
        ("secret.internal", io::ErrorKind::PermissionDenied),
    ] {
        let url = format!("ws://{name}/");
        let error = connector.connect(&url).await.map(drop).unwrap_err();
        assert!(
            matches!(&error, ConnectError::Io(error) if error.kind() == kind),
            "{error:?}"
        );
    }
    let expected = [
        ("sensor.internal", 7),
        ("nowhere.internal", 80),
        ("secret.internal", 80),
    ];
    let expected = expected.map(|(name, port)| (name.to_owned(), port));
    assert_eq!(*asked.lock().unwrap(), expected);
}

/// It is cancelled, too: nothing of it is left.
#[tokio::test(start_paused = true)]
async fn resolver_that_never_answers_costs_the_connect_timeout() {
    let alive = Arc::new(());
    let held = alive.clone();
    let connector = Connector::new().resolver(move |_, _| {
        let held = held.clone();
        async move {
            core::future::pending::<()>().await;
            drop(held);
            Ok(Vec::new())
        }
    });
    let start = Instant::now();
    let connected = connector.connect("ws://sensor.internal/").await;
    assert_is_look_up(&connected.map(drop).unwrap_err());
    assert_eq!(start.elapsed(), Duration::from_secs(10));
    assert_eq!(Arc::strong_count(&alive), 2);
    // Nor may a proxy's name take longer, and it is named then.
    let proxy = Proxy::parse("socks5://sensor.internal").unwrap();
    let connected = connector.proxy(proxy).connect("ws://127.0.0.1/").await;
    assert_is_look_up(&connected.map(drop).unwrap_err());
    assert_eq!(start.elapsed(), Duration::from_secs(20));
    // A resolver may have a time of its own.
    let connector = Connector::new().resolver(async |_, _| Err(io::ErrorKind::TimedOut.into()));
    let connected = connector.connect("ws://sensor.internal/").await;
    assert_is_look_up(&connected.map(drop).unwrap_err());
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

#[tokio::test(start_paused = true)]
async fn connect_timeout_of_nothing_is_over_at_once_and_the_longest_is_none() {
    let url = serve(0).await;
    for timeout in [Duration::ZERO, Duration::from_nanos(1)] {
        let connector = Connector::new()
            .connect_timeout(Some(timeout))
            .resolver(async |_, _| core::future::pending().await);
        let start = Instant::now();
        let connected = connector.connect("ws://sensor.internal/").await;
        assert_is_look_up(&connected.map(drop).unwrap_err());
        assert!(start.elapsed() <= Duration::from_millis(1));
    }
    let connector = Connector::new()
        .timeouts(Timeouts::NONE)
        .connect_timeout(Some(Duration::MAX));
    connector.connect(&url).await.unwrap();
}

#[tokio::test]
async fn redirects_are_followed_as_often_as_is_allowed_and_no_more() {
    for (max_hops, redirects, opens) in [
        (0, 0, true),
        (0, 1, false),
        (1, 1, true),
        (1, 2, false),
        (u8::MAX, 255, true),
        (u8::MAX, 256, false),
    ] {
        let policy = RedirectPolicy {
            max_hops,
            ..RedirectPolicy::DEFAULT
        };
        let connector = Connector::new().redirects(policy);
        match connector.connect(&serve(redirects).await).await {
            Ok(_) => assert!(opens, "{max_hops}, {redirects}"),
            Err(ConnectError::Refused(response)) => {
                assert!(!opens, "{max_hops}, {redirects}");
                assert_eq!(response.status(), 307);
                let error = response.extensions().get();
                // Who follows none is told of none.
                let expected = (max_hops > 0).then_some(&RedirectError::TooMany);
                assert_eq!(error, expected);
            }
            Err(error) => panic!("{error:?}"),
        }
    }
}

/// The head of the response is as long as it is: the limit is exact.
#[tokio::test]
async fn response_is_read_up_to_its_limits_and_not_a_byte_or_a_header_beyond() {
    let response = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\
        Connection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
    let (len, headers) = (u32::try_from(response.len()).unwrap(), 3);
    let url = serve(0).await;
    for (head, headers, opens) in [
        (0, headers, false),
        (1, headers, false),
        (len - 1, headers, false),
        (len, headers, true),
        (u32::MAX, headers, true),
        (len, 0, false),
        (len, 1, false),
        (len, headers - 1, false),
        (len, u16::MAX, true),
    ] {
        let limits = Limits {
            head,
            headers,
            ..Limits::DEFAULT
        };
        match Connector::new().limits(limits).connect(&url).await {
            Ok(_) => assert!(opens, "{limits:?}"),
            Err(ConnectError::Handshake(error)) => {
                let is_right = matches!(
                    error,
                    HandshakeError::HeadTooLong
                        | HandshakeError::TooManyHeaders
                        | HandshakeError::StartLineTooLong
                        | HandshakeError::HeaderTooLong
                );
                assert!(is_right && !opens, "{limits:?}: {error:?}");
            }
            Err(error) => panic!("{error:?}"),
        }
    }
}

#[tokio::test]
async fn messages_pass_with_no_room_and_with_all_the_room_there_is() {
    let url = serve(0).await;
    for room in [0, 1, usize::MAX] {
        let connector = Connector::new().max_backlog(room).max_inbound(room);
        let mut ws = connector.connect(&url).await.unwrap();
        for len in [0, 1, 100_000] {
            ws.send(vec![7; len]).await.unwrap();
            assert_eq!(ws.recv().await.unwrap(), Some(vec![7; len].into()));
        }
    }
    for (message, len, passes) in [
        (0, 0, true),
        (0, 1, false),
        (1, 1, true),
        (1, 2, false),
        (u64::MAX, 2, true),
    ] {
        let limits = Limits {
            message,
            ..Limits::DEFAULT
        };
        let connector = Connector::new().limits(limits);
        let mut ws = connector.connect(&url).await.unwrap();
        ws.send(vec![7; len]).await.unwrap();
        assert_eq!(ws.recv().await.is_ok(), passes, "{message}, {len}");
    }
}
