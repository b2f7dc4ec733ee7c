//! Requests and responses of all kinds.

use motews::handshake::{
    ConfigError, HandshakeError, Offers, Request, RequestEvent, Response, ResponseEvent,
};
use motews::{Client, Ended, Entropy, EntropyError, Event, Message};
use motews_embedded_io::{Config, Decision, Error, asynch, blocking};

use crate::support::{
    Keys, NotNow, REQUEST, RESPONSE, Script, block_on, buffers, chat_request, frame, head_len,
};

fn answer<'a>(
    request: &[u8],
    decide: impl FnMut(Result<RequestEvent<'_>, HandshakeError>) -> Option<Decision<'a>>,
) -> (Result<(), Error<NotNow>>, String) {
    let script = Script::new(request, 9, false);
    let mut ws = blocking::WebSocket::server(script.clone(), buffers(64, 64)).expect("room");
    let result = ws.accept_with(decide);
    assert_eq!(ws.is_open(), result.is_ok());
    if let Err(error) = result {
        assert_eq!(ws.accept(), Err(error), "and so it stays");
    }
    (
        result,
        String::from_utf8(script.written()).expect("HTTP is ASCII"),
    )
}

#[test]
fn server_is_asked_for_a_page_gives_one() -> Result<(), ConfigError> {
    let long = [b'x'; 500];
    let page = Response::new(200)?.body(&long);
    let (result, written) = answer(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n", |event| match event {
        Err(HandshakeError::NotUpgrade) => Some(Decision::Respond(page)),
        _ => None,
    });
    assert_eq!(result, Err(Error::Ended(Ended::Refused(200))));
    assert!(written.starts_with("HTTP/1.1 200 \r\n"));
    assert!(written.ends_with(&"x".repeat(500)));
    Ok(())
}

/// RFC 9110 §6.4.1, §9.3.2: no body where there is none, whoever answers; and a whole head.
#[test]
fn server_is_asked_for_a_head_or_answers_without_a_body_ends_with_the_head()
-> Result<(), ConfigError> {
    for method in ["GET", "HEAD"] {
        let request = format!("{method} / HTTP/1.1\r\nHost: h\r\n\r\n");
        let ask = |response: Response<'static>| {
            answer(request.as_bytes(), |event| {
                event.is_err().then_some(Decision::Respond(response))
            })
            .1
        };
        let page = Response::new(200)?.body(b"a page");
        let body = if method == "HEAD" { "" } else { "a page" };
        let text = "HTTP/1.1 200 \r\nConnection: close\r\nContent-Length: 6\r\n\r\n";
        assert_eq!(ask(page), format!("{text}{body}"));
        for status in [204, 304] {
            let response = Response::new(status)?.body(b"gone");
            let text = format!("HTTP/1.1 {status} \r\nConnection: close\r\n\r\n");
            assert_eq!(ask(response), text);
        }
    }
    // The adapter's own answer to what is wrong.
    let wrong = [b"HEAD".to_vec(), REQUEST[3..].to_vec()].concat();
    let (result, written) = answer(&wrong, |_| None);
    assert_eq!(
        result,
        Err(Error::Ended(Ended::Handshake(HandshakeError::Method)))
    );
    assert!(
        written.ends_with("\r\nContent-Length: 6\r\n\r\n"),
        "{written}"
    );
    Ok(())
}

/// A client has no key, or offers what is no token: nothing is sent.
#[test]
fn client_without_a_key_or_with_a_wrong_offer_sends_nothing() {
    struct Broken;
    impl Entropy for Broken {
        fn fill(&mut self, _: &mut [u8]) -> Result<(), EntropyError> {
            Err(EntropyError)
        }
    }
    static WRONG: Config<'static> = Config {
        subprotocols: &["a b"],
        ..Config::DEFAULT
    };
    let request = Request::new("example.com", "/").expect("right");
    let script = Script::new(RESPONSE, 11, false);
    let ws = blocking::WebSocket::client(script.clone(), buffers(64, 64), request, Broken);
    let result = ws.expect("room").connect();
    assert_eq!(result, Err(Error::Ended(Ended::NoEntropy)));
    let ws = blocking::WebSocket::client(script.clone(), buffers(64, 64), request, Keys::new());
    let result = ws.expect("room").with_config(&WRONG).connect();
    assert_eq!(result, Err(Error::Config(ConfigError::Subprotocol)));
    assert!(script.written().is_empty());
}

#[test]
fn server_is_asked_for_a_page_says_by_itself_that_it_has_none() {
    let (result, written) = answer(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n", |_| None);
    assert_eq!(
        result,
        Err(Error::Ended(Ended::Handshake(HandshakeError::NotUpgrade)))
    );
    assert!(written.starts_with("HTTP/1.1 426 Upgrade Required\r\n"));
}

#[test]
fn server_refuses_at_the_line_or_in_the_end() -> Result<(), ConfigError> {
    let refusal = Response::new(404)?;
    for at_once in [true, false] {
        let mut found = true;
        let (result, written) = answer(REQUEST, |event| match event {
            Ok(RequestEvent::RequestLine { target, .. }) => {
                found = target == "/other";
                (at_once && !found).then_some(Decision::Respond(refusal))
            }
            Ok(RequestEvent::Done(_)) if !found => Some(Decision::Respond(refusal)),
            _ => None,
        });
        assert_eq!(result, Err(Error::Ended(Ended::Refused(404))));
        assert!(written.starts_with("HTTP/1.1 404 \r\n"));
    }
    Ok(())
}

#[test]
fn server_accepts_with_headers_and_a_subprotocol() {
    let (result, written) = answer(&chat_request(), |event| match event {
        Ok(RequestEvent::Done(upgrade)) => {
            let answer = upgrade.answer(&Offers::new());
            let answer = answer
                .select_subprotocol(Some("chat"), [&b"chat"[..]])
                .expect("it is offered");
            let answer = answer
                .headers(&[("Set-Cookie", "session=1")])
                .expect("right");
            Some(Decision::AcceptWith(upgrade, answer))
        }
        _ => None,
    });
    assert_eq!(result, Ok(()));
    assert!(written.contains("\r\nSet-Cookie: session=1\r\n"));
    assert!(written.contains("\r\nSec-WebSocket-Protocol: chat\r\n"));
}

#[test]
fn server_reads_a_line_longer_than_its_buffer_refuses() {
    let target = "/".repeat(64);
    let request = format!("GET {target} HTTP/1.1\r\n");
    let (result, written) = answer(request.as_bytes(), |_| None);
    assert_eq!(
        result,
        Err(Error::Ended(Ended::Handshake(
            HandshakeError::StartLineTooLong
        )))
    );
    assert!(written.starts_with("HTTP/1.1 414 "));
}

#[test]
fn server_skips_a_cookie_of_any_length() {
    let mut request = b"GET / HTTP/1.1\r\nCookie: ".to_vec();
    request.extend([b'c'; 16_000]);
    request.extend_from_slice(
        &REQUEST[REQUEST
            .iter()
            .position(|octet| *octet == b'\r')
            .expect("a line")..],
    );
    assert_eq!(answer(&request, |_| None).0, Ok(()));
}

#[test]
fn server_loses_its_client_in_the_request() {
    for len in [0, 10, REQUEST.len() - 1] {
        let (result, _) = answer(&REQUEST[..len], |_| None);
        assert_eq!(result, Err(Error::Ended(Ended::Lost)));
    }
}

#[test]
fn server_takes_the_subprotocol_it_likes_best() {
    static CONFIG: Config<'static> = Config {
        subprotocols: &["superchat", "chat"],
        ..Config::DEFAULT
    };
    let script = Script::new(chat_request(), 9, true);
    let ws = asynch::WebSocket::server(script, buffers(64, 64)).expect("room");
    let mut ws = ws.with_config(&CONFIG);
    assert_eq!(ws.subprotocol(), None);
    assert_eq!(block_on(ws.accept()), Ok(()));
    assert_eq!(ws.subprotocol(), Some("chat"));
}

#[test]
fn server_has_frames_behind_the_request_loses_none() {
    let hello = frame(0x81, b"Hello", Some([1, 2, 3, 4]));
    let all = [REQUEST, &hello].concat();
    for chunk in [1, REQUEST.len(), REQUEST.len() + 3, all.len()] {
        let script = Script::new(&all[..], chunk, false);
        let mut ws = blocking::WebSocket::server(script, buffers(512, 64)).expect("room");
        assert_eq!(ws.accept(), Ok(()));
        let mut hello = Vec::new();
        while hello.len() < 5 {
            let Ok(Some(Event::Data(chunk))) = ws.next_event() else {
                panic!("no data");
            };
            hello.extend_from_slice(chunk.bytes);
        }
        assert_eq!(hello, b"Hello");
    }
}

static CHAT: Config<'static> = Config {
    subprotocols: &["chat"],
    ..Config::DEFAULT
};

fn ask(response: &[u8]) -> (Result<(), Error<NotNow>>, Vec<String>, Vec<u8>) {
    let request = Request::new("example.com", "/chat").expect("right");
    let request = request
        .headers(&[("Authorization", "Bearer 42")])
        .expect("right");
    let script = Script::new(response, 11, true);
    let ws = asynch::WebSocket::client(script.clone(), buffers(64, 64), request, Keys::new());
    let ws: asynch::WebSocket<'_, _, Client<Keys>> = ws.expect("room");
    let mut ws = ws.with_config(&CHAT);
    let mut seen = Vec::new();
    let result = block_on(ws.connect_with(|event| {
        if let ResponseEvent::Header(header) = event {
            seen.push(format!(
                "{}: {}",
                header.name,
                String::from_utf8_lossy(header.value)
            ));
        }
    }));
    assert_eq!(ws.is_open(), result.is_ok());
    if let Err(error) = result {
        assert_eq!(block_on(ws.connect()), Err(error), "and so it stays");
        assert!(block_on(ws.send(Message::Text(""))).is_err());
    }
    (result, seen, script.written())
}

#[test]
fn client_is_accepted_is_open() {
    let (result, seen, written) = ask(RESPONSE);
    assert_eq!(result, Ok(()));
    assert_eq!(seen.len(), 3);
    let request = String::from_utf8(written).expect("HTTP is ASCII");
    assert!(request.starts_with("GET /chat HTTP/1.1\r\nHost: example.com\r\n"));
    assert!(request.contains("\r\nAuthorization: Bearer 42\r\n"));
    assert!(request.contains("\r\nSec-WebSocket-Protocol: chat\r\n"));
    assert_eq!(
        head_len(request.as_bytes()),
        request.len(),
        "and nothing more"
    );
}

#[test]
fn client_is_redirected_sees_where_to() {
    let (result, seen, _) = ask(b"HTTP/1.1 302 Found\r\nLocation: /there\r\n\r\n");
    assert_eq!(result, Err(Error::Ended(Ended::Refused(302))));
    assert_eq!(seen, ["Location: /there"]);
}

#[test]
fn client_gets_a_wrong_accept_fails() {
    let wrong = String::from_utf8_lossy(RESPONSE).replace("s3p", "S3p");
    let (result, ..) = ask(wrong.as_bytes());
    assert_eq!(
        result,
        Err(Error::Ended(Ended::Handshake(HandshakeError::Accept)))
    );
}

#[test]
fn client_loses_its_server_in_the_response() {
    for len in [0, 10, RESPONSE.len() - 1] {
        assert_eq!(ask(&RESPONSE[..len]).0, Err(Error::Ended(Ended::Lost)));
    }
}
