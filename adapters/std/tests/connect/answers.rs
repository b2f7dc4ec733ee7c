//! What a server answers, and what the client makes of it.

use core::time::Duration;
use std::io::{Read, Write};
use std::thread::{self};

use motews_std::{
    Aborter, Cause, ConnectError, Connector, DEFAULT_LIMITS, Ended, Limits, RecvError, Timeouts,
};
use motews_testkit::head::read as read_head;

use crate::support::serve;
use crate::{accept_with, accepting, answer, refused, respond, values};

/// HC13
#[test]
fn refusal_with_a_chunked_body_that_comes_later_is_readable() {
    let (address, server) = serve(|mut stream| {
        read_head(&mut stream);
        let head = b"HTTP/1.1 403 Forbidden\r\nTransfer-Encoding: chunked\r\n\r\n";
        stream.write_all(head).unwrap();
        thread::sleep(Duration::from_millis(200));
        stream.write_all(b"4;x=y\r\nNot \r\n").unwrap();
        thread::sleep(Duration::from_millis(200));
        stream
            .write_all(b"6\r\nbefore\r\n0\r\nX: y\r\n\r\n")
            .unwrap();
        // The client does not wait for the end of the connection.
        assert_eq!(stream.read(&mut [0]).unwrap_or(0), 0);
    });
    let refused = refused(motews_std::connect(&format!("ws://{address}/")));
    assert_eq!(refused.status, 403);
    assert_eq!(refused.body, b"Not before");
    assert!(refused.is_whole);
    server.join().unwrap();
}

#[test]
fn refusal_of_each_framing_is_bounded_and_says_whether_it_is_whole() {
    const LIMIT: usize = 16 * 1024;
    let cases = [
        ("Content-Length: 2\r\n\r\nno, and more".into(), "no", true),
        ("Content-Length: 5\r\n\r\nno".into(), "no", false),
        ("Content-Length: x\r\n\r\nno".into(), "", false),
        ("\r\nuntil the end".into(), "until the end", true),
        (
            "Transfer-Encoding: chunked\r\n\r\n2\r\nno\r\nx".into(),
            "no",
            false,
        ),
        (
            "Transfer-Encoding: chunked\r\n\r\n2\r\nno\r\n".into(),
            "no",
            false,
        ),
        (format!("\r\n{}", "x".repeat(LIMIT)), "x", true),
        (format!("\r\n{}", "x".repeat(LIMIT + 1)), "x", false),
    ];
    for (rest, body, is_whole) in cases {
        let expected = match body {
            "x" => "x".repeat(LIMIT),
            body => body.to_owned(),
        };
        let (address, _server) = respond(vec![answer(format!("HTTP/1.1 404 No\r\n{rest}"))]);
        let refused = refused(motews_std::connect(&format!("ws://{address}/")));
        assert_eq!(String::from_utf8(refused.body).unwrap(), expected);
        assert_eq!(refused.is_whole, is_whole, "{rest:.60?}");
    }
}

#[test]
fn refusal_whose_body_never_comes_is_reported_without_it() {
    let (address, server) = serve(|mut stream| {
        read_head(&mut stream);
        let head = b"HTTP/1.1 503 Busy\r\nContent-Length: 10\r\n\r\nstart";
        stream.write_all(head).unwrap();
        assert_eq!(stream.read(&mut [0]).unwrap_or(0), 0);
    });
    let timeouts = Timeouts {
        handshake: Some(300),
        ..Timeouts::default()
    };
    let builder = Connector::new().timeouts(timeouts);
    let refused = refused(builder.connect(&format!("ws://{address}/")));
    assert_eq!((refused.status.as_u16(), refused.is_whole), (503, false));
    assert_eq!(refused.body, b"start");
    server.join().unwrap();
}

/// Each failure says what it means for the next attempt, and so whether there should be one.
#[test]
fn failure_of_each_kind_has_its_cause() {
    let failed = |url: &str| match motews_std::connect(url) {
        Err(error) => (error.cause(), error.retry_after()),
        Ok(_) => panic!("it is open"),
    };
    for url in ["example.com", "ftp://example.com/"] {
        assert_eq!(failed(url), (Cause::Local, None), "{url}");
    }
    let (address, server) = respond(vec![
        answer("HTTP/1.1 503 Busy\r\nRetry-After: 120\r\nContent-Length: 0\r\n\r\n"),
        answer("HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n"),
        answer("nonsense\r\n\r\n"),
    ]);
    let url = format!("ws://{address}/");
    assert_eq!(failed(&url), (Ended::Refused(503).into(), Some(120_000)));
    assert_eq!(failed(&url), (Ended::Refused(403).into(), None));
    assert!(matches!(
        failed(&url),
        (Cause::Ended(Ended::Handshake(_)), None)
    ));
    server.join().unwrap();
    assert_eq!(failed(&url), (Cause::Unreachable, None)); // nobody listens any more
    let aborter = Aborter::new().unwrap();
    aborter.abort();
    let aborted = Connector::new().aborter(&aborter).connect(&url).err();
    assert_eq!(aborted.unwrap().cause(), Ended::Aborted.into());
}

#[test]
fn acceptance_with_cookies_can_be_read() {
    let (address, _server) = respond(vec![accept_with(
        "Set-Cookie: session=42; HttpOnly\r\nX-Trace: one\r\nSet-Cookie: theme=dark\r\n",
    )]);
    let url = format!("ws://{address}/");
    let (_ws, response) = Connector::new().connect_with_response(&url).unwrap();
    assert_eq!(response.status(), 101);
    let cookies = response.headers().get_all("set-cookie").into_iter();
    let cookies: Vec<_> = cookies.map(|cookie| cookie.to_str().unwrap()).collect();
    assert_eq!(cookies, ["session=42; HttpOnly", "theme=dark"]);
    assert_eq!(response.headers()["X-Trace"], "one");
}

/// HC07
#[test]
fn host_of_the_caller_is_the_one_on_the_wire() {
    for name in ["Host", "host", "HOST"] {
        let (address, server) = respond(vec![accept_with("")]);
        let builder = Connector::new()
            .header(name, "example.com")
            .header("A", "b");
        builder.connect(&format!("http://{address}/")).unwrap();
        let heads = server.join().unwrap();
        assert_eq!(values(&heads[0], "Host"), ["example.com"]);
        assert_eq!(values(&heads[0], "A"), ["b"]);
    }
    let (address, server) = respond(vec![accept_with("")]);
    motews_std::connect(&format!("ws://{address}?x=ü")).unwrap();
    let heads = server.join().unwrap();
    assert_eq!(values(&heads[0], "Host"), [address.to_string()]);
    assert!(heads[0].starts_with("GET /?x=%C3%BC HTTP/1.1\r\n"));
}

#[test]
fn message_longer_than_the_limit_names_the_limit() {
    let (address, server) = serve(|stream| {
        let mut ws = motews_std::accept(stream).unwrap();
        let _ = ws.send(vec![0; 2 << 20]);
    });
    let builder = Connector::new().limits(Limits {
        message: 1 << 20,
        ..DEFAULT_LIMITS
    });
    let mut ws = builder.connect(&format!("ws://{address}/")).unwrap();
    let error = ws.recv().unwrap_err();
    assert!(matches!(error, RecvError::Protocol(_)));
    let text = error.to_string();
    assert!(
        text.contains("limit") && text.contains("Limits::message"),
        "{text}"
    );
    assert!(!text.contains("broke"), "{text}");
    server.join().unwrap();
}

/// The head of the response is as long as it is: the limits are exact.
#[test]
fn response_is_read_up_to_its_limits_and_not_a_byte_or_a_header_beyond() {
    let request = "GET / HTTP/1.1\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    let len = accepting(request, "").len();
    let (len, headers) = (u32::try_from(len).unwrap(), 3);
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
        let (address, serving) = respond(vec![accept_with("")]);
        let limits = Limits {
            head,
            headers,
            ..DEFAULT_LIMITS
        };
        let connected = Connector::new()
            .limits(limits)
            .connect(&format!("ws://{address}/"))
            .map(drop);
        match connected {
            Ok(()) => assert!(opens, "{limits:?}"),
            Err(ConnectError::Handshake(_)) => assert!(!opens, "{limits:?}"),
            Err(error) => panic!("{error:?}"),
        }
        serving.join().unwrap();
    }
}
