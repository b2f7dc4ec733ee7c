//! The opening handshake of headers that someone else has parsed: the same rules as that of bytes, and
//! those of HTTP/2 and HTTP/3 (RFC 8441, RFC 9220). Each test names the requirements of the
//! traceability table that it shows.
#![expect(clippy::indexing_slicing, reason = "a test may panic")]

use motews::handshake::{
    Agreed, ClientHandshake, HandshakeError, Key, Offers, Request, RequestEvent, ResponseEvent,
    ServerHandshake, Upgrade,
};
use motews::{Entropy, EntropyError, Limits};
use motews_testkit::head::{ACCEPT, KEY, NONCE};
use proptest::prelude::*;

struct Sample;

impl Entropy for Sample {
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), EntropyError> {
        bytes.copy_from_slice(&NONCE);
        Ok(())
    }
}

const OFFERS: Offers<'static> = Offers::new()
    .subprotocols(&["superchat", "chat"])
    .extensions(&["foo; x"]);

fn key() -> Key {
    Key::new(&mut Sample).expect("a key")
}

type Headers<'a> = [(&'a str, &'a str)];

fn parsed<'a>(headers: &'a Headers<'a>) -> impl Iterator<Item = (&'a str, &'a [u8])> {
    headers
        .iter()
        .map(|(name, value)| (*name, value.as_bytes()))
}

fn serve(
    method: &str,
    version: (u8, u8),
    headers: &Headers<'_>,
) -> Result<Upgrade, HandshakeError> {
    Upgrade::from_headers(method, version, parsed(headers), &OFFERS, Limits::DEFAULT)
}

fn connect(
    status: u16,
    version: (u8, u8),
    key: Option<&Key>,
    headers: &Headers<'_>,
) -> Result<Agreed, HandshakeError> {
    Agreed::from_headers(
        status,
        version,
        key,
        parsed(headers),
        &OFFERS,
        Limits::DEFAULT,
    )
}

fn written(headers: &Headers<'_>) -> String {
    let lines = headers
        .iter()
        .map(|(name, value)| format!("{name}: {value}\r\n"));
    lines.collect::<String>() + "\r\n"
}

/// The same request, read from its bytes.
fn serve_bytes(method: &str, headers: &Headers<'_>) -> Result<Upgrade, HandshakeError> {
    let head = format!("{method} / HTTP/1.1\r\n{}", written(headers));
    let mut handshake = ServerHandshake::new(vec![0; 256]);
    let mut input = head.as_bytes();
    loop {
        match handshake.next_event(&mut input, &OFFERS)? {
            Some(RequestEvent::Done(upgrade)) => return Ok(upgrade),
            Some(_) => {}
            None => panic!("the head is whole"),
        }
    }
}

/// The same response, read from its bytes.
fn connect_bytes(status: u16, headers: &Headers<'_>) -> Result<Agreed, HandshakeError> {
    let head = format!("HTTP/1.1 {status} \r\n{}", written(headers));
    let mut handshake = ClientHandshake::new(&key(), vec![0; 256]);
    let mut input = head.as_bytes();
    loop {
        match handshake.next_event(&mut input, &OFFERS)? {
            Some(ResponseEvent::Done(agreed)) => return Ok(agreed),
            Some(_) => {}
            None => panic!("the head is whole"),
        }
    }
}

/// The headers of the response.
fn answered(upgrade: &Upgrade) -> Vec<(String, String)> {
    let mut headers = Vec::new();
    upgrade.each_header(&upgrade.answer(&OFFERS), |name, value| {
        let value = String::from_utf8(value.to_vec()).expect("text");
        headers.push((name.to_owned(), value));
    });
    headers
}

fn own(headers: &Headers<'_>) -> Vec<(String, String)> {
    let owned = headers
        .iter()
        .map(|(name, value)| ((*name).into(), (*value).into()));
    owned.collect()
}

const REQUEST: [(&str, &str); 6] = [
    ("host", "example.com"),
    ("upgrade", "websocket"),
    ("connection", "keep-alive, Upgrade"),
    ("sec-websocket-key", KEY),
    ("sec-websocket-version", "13"),
    ("sec-websocket-protocol", "chat"),
];

/// HS13
/// HS14
#[test]
fn request_of_http_1_is_answered_as_its_bytes_are() {
    let upgrade = serve("GET", (1, 1), &REQUEST).expect("right");
    assert_eq!(Ok(upgrade), serve_bytes("GET", &REQUEST));
    assert_eq!(upgrade.status(), 101);
    assert_eq!(upgrade.agreed().subprotocol, Some(1));
    let headers = [
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Accept", ACCEPT),
        ("Sec-WebSocket-Protocol", "chat"),
    ];
    assert_eq!(answered(&upgrade), own(&headers));
    let mut out = [0; 256];
    let len = upgrade.emit_from(0, &mut out, &upgrade.answer(&OFFERS));
    let head = format!("HTTP/1.1 101 Switching Protocols\r\n{}", written(&headers));
    assert_eq!(core::str::from_utf8(&out[..len]), Ok(head.as_str()));
}

/// HS02
/// HS20
#[test]
fn request_of_another_method_or_version_is_refused() {
    use HandshakeError::*;
    assert_eq!(serve("POST", (1, 1), &REQUEST), Err(Method));
    assert_eq!(serve("CONNECT", (1, 1), &REQUEST), Err(Method));
    assert_eq!(serve("GET", (1, 0), &REQUEST), Err(HttpVersion));
    assert_eq!(serve("GET", (0, 9), &REQUEST), Err(HttpVersion));
    let plain = [("host", "example.com")];
    assert_eq!(serve("GET", (1, 1), &plain), Err(NotUpgrade));
    // An ordinary request, or one to be forwarded.
    assert_eq!(serve("GET", (2, 0), &plain), Err(NotUpgrade));
    assert_eq!(serve("connect", (2, 0), &REQUEST), Err(NotUpgrade));
}

/// RFC 8441 §5: no `Upgrade`, no `Connection`, no key; but one that is sent is answered.
///
/// HS13
/// HS08
#[test]
fn request_of_http_2_needs_no_key_and_has_one_answered() {
    use HandshakeError::*;
    for version in [(2, 0), (3, 0)] {
        let bare = [("sec-websocket-version", "13")];
        let upgrade = serve("CONNECT", version, &bare).expect("right");
        assert_eq!(upgrade.status(), 200);
        assert_eq!(answered(&upgrade), []);
        let with_key = [
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", KEY),
            ("sec-websocket-protocol", "superchat, chat"),
        ];
        let upgrade = serve("CONNECT", version, &with_key).expect("right");
        let headers = [
            ("Sec-WebSocket-Accept", ACCEPT),
            ("Sec-WebSocket-Protocol", "superchat"),
        ];
        assert_eq!(answered(&upgrade), own(&headers));
        let refused = [
            (&[][..], Version),
            (&[("sec-websocket-version", "8")], UnsupportedVersion),
            (&[("sec-websocket-version", "13"); 2], Version),
            (&[bare[0], ("sec-websocket-key", "short")], Key),
            (
                &[
                    bare[0],
                    ("sec-websocket-key", KEY),
                    ("sec-websocket-key", KEY),
                ],
                Key,
            ),
            (&[bare[0], ("transfer-encoding", "chunked")], Body),
            (&[bare[0], ("sec-websocket-extensions", "a b")], Extensions),
        ];
        for (headers, error) in refused {
            assert_eq!(
                serve("CONNECT", version, headers),
                Err(error),
                "{headers:?}"
            );
        }
    }
}

const RESPONSE: [(&str, &str); 4] = [
    ("upgrade", "WebSocket"),
    ("connection", "upgrade"),
    ("sec-websocket-accept", ACCEPT),
    ("sec-websocket-protocol", "chat"),
];

/// HC13
/// HC16
#[test]
fn response_of_http_1_is_judged_as_its_bytes_are() {
    use HandshakeError::*;
    let key = key();
    let agreed = connect(101, (1, 1), Some(&key), &RESPONSE);
    assert_eq!(agreed, connect_bytes(101, &RESPONSE));
    assert_eq!(agreed.expect("right").subprotocol, Some(1));
    for status in [100, 103, 200, 302, 404] {
        let refused = connect(status, (1, 1), Some(&key), &RESPONSE);
        assert_eq!(refused, Err(UnexpectedStatus(status)));
    }
    assert_eq!(
        connect(101, (1, 0), Some(&key), &RESPONSE),
        Err(HttpVersion)
    );
    // An answer where there was no key is right for none.
    assert_eq!(connect(101, (1, 1), None, &RESPONSE), Err(Accept));
}

/// RFC 8441 §5: any status of success, and no answer to the key is needed; but a wrong one is wrong, and
/// one where there was no key means nothing.
///
/// HC16
/// HC18
#[test]
fn response_of_http_2_needs_no_accept_and_bears_no_wrong_one() {
    use HandshakeError::*;
    let (key, accept) = (key(), [("sec-websocket-accept", ACCEPT)]);
    for version in [(2, 0), (3, 0)] {
        for status in [200, 204, 299] {
            let agreed = connect(status, version, Some(&key), &[]).expect("right");
            assert_eq!(agreed.subprotocol, None);
            assert!(connect(status, version, None, &[]).is_ok());
            assert!(connect(status, version, Some(&key), &accept).is_ok());
            assert!(connect(status, version, None, &accept).is_ok());
            let wrong = [("sec-websocket-accept", KEY)];
            assert_eq!(connect(status, version, Some(&key), &wrong), Err(Accept));
            let other = [("sec-websocket-protocol", "other")];
            assert_eq!(connect(status, version, None, &other), Err(Subprotocol));
        }
        for status in [101, 300, 404, 501] {
            let refused = connect(status, version, None, &[]);
            assert_eq!(refused, Err(UnexpectedStatus(status)));
        }
    }
}

/// HC05 to HC10 have what differs: the rest of a request is the same in all versions.
///
/// HC08
/// HC10
#[test]
fn request_of_http_2_has_no_upgrade_and_needs_no_key() {
    let request = Request::new("example.com", "/chat")
        .and_then(|request| request.offers(&OFFERS))
        .and_then(|request| request.origin("http://example.com"))
        .and_then(|request| request.headers(&[("Cookie", "a=b")]))
        .expect("right");
    let headers = |version, key: Option<&Key>| {
        let mut headers = Vec::new();
        request.each_header(version, key, |name, value| {
            let value = String::from_utf8(value.to_vec()).expect("text");
            headers.push((name.to_owned(), value));
        });
        headers
    };
    let all = [
        ("Host", "example.com"),
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", KEY),
        ("Origin", "http://example.com"),
        ("Sec-WebSocket-Protocol", "superchat"),
        ("Sec-WebSocket-Protocol", "chat"),
        ("Sec-WebSocket-Extensions", "foo; x"),
        ("Cookie", "a=b"),
    ];
    assert_eq!(headers((1, 1), Some(&key())), own(&all));
    assert_eq!(headers((2, 0), Some(&key())), own(&all[3..]));
    let without = [&all[3..4], &all[5..]].concat();
    assert_eq!(headers((3, 0), None), own(&without));
}

/// A header of a request or a response, right, wrong or of no interest.
fn header() -> impl Strategy<Value = (&'static str, String)> {
    let name = prop::sample::select(vec![
        "Host",
        "Upgrade",
        "connection",
        "Sec-WebSocket-Key",
        "sec-websocket-version",
        "Sec-WebSocket-Protocol",
        "Sec-WebSocket-Extensions",
        "Sec-WebSocket-Accept",
        "Content-Length",
        "Transfer-Encoding",
        "X-Other",
    ]);
    let value = prop::sample::select(vec![
        "",
        "websocket",
        "Upgrade",
        "keep-alive, Upgrade",
        KEY,
        "13",
        "8",
        "chat",
        "superchat,chat",
        "foo; x",
        "foo, bar",
        ",",
        "a b",
        ACCEPT,
        "0",
        "5",
        "chunked",
    ]);
    (name, value).prop_map(|(name, value)| (name, value.to_owned()))
}

proptest! {
    /// Whoever has parsed the headers, the verdict and the answer are the same.
    ///
    /// HS01
    /// HC19
    #[test]
    fn any_headers_get_one_verdict(
        base in 0..3_usize,
        others in prop::collection::vec(header(), 0..4),
        dropped in prop::option::of(0..6_usize),
    ) {
        let base: &Headers<'_> = match base {
            0 => &REQUEST,
            1 => &RESPONSE,
            _ => &[],
        };
        let kept = base.iter().enumerate().filter(|(index, _)| Some(*index) != dropped);
        let mut headers: Vec<(&str, &str)> = kept.map(|(_, header)| *header).collect();
        headers.extend(others.iter().map(|(name, value)| (*name, value.as_str())));
        prop_assert_eq!(serve("GET", (1, 1), &headers), serve_bytes("GET", &headers));
        prop_assert_eq!(serve("PUT", (1, 1), &headers), serve_bytes("PUT", &headers));
        for status in [101, 404] {
            let read = connect_bytes(status, &headers);
            prop_assert_eq!(connect(status, (1, 1), Some(&key()), &headers), read);
        }
    }
}

/// [HS21] [HC25]
#[test]
fn headers_to_the_limits_are_read_and_one_or_one_byte_more_is_refused() {
    let request: [(&str, &str); 6] = [
        ("Host", "h"),
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", KEY),
        ("Cookie", "a=b"),
    ];
    let response: [(&str, &str); 3] = [
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Accept", ACCEPT),
    ];
    let serve = |limits| {
        let headers = parsed(&request);
        Upgrade::from_headers("GET", (1, 1), headers, &OFFERS, limits).map(drop)
    };
    let key = key();
    let connect = |limits| {
        let headers = parsed(&response);
        Agreed::from_headers(101, (1, 1), Some(&key), headers, &OFFERS, limits).map(drop)
    };
    type Judge<'a> = &'a dyn Fn(Limits) -> Result<(), HandshakeError>;
    let cases: [(&Headers<'_>, Judge<'_>); 2] = [(&request, &serve), (&response, &connect)];
    for (headers, judge) in cases {
        let exact = Limits {
            head: written(headers).len() as u32,
            headers: headers.len() as u16,
            ..Limits::DEFAULT
        };
        assert_eq!(judge(exact), Ok(()));
        let greatest = Limits {
            head: u32::MAX,
            headers: u16::MAX,
            ..exact
        };
        assert_eq!(judge(greatest), Ok(()));
        for head in [0, 1, exact.head - 1] {
            let limits = Limits { head, ..exact };
            assert_eq!(judge(limits), Err(HandshakeError::HeadTooLong));
        }
        for headers in [0, 1, exact.headers - 1] {
            let limits = Limits { headers, ..exact };
            assert_eq!(judge(limits), Err(HandshakeError::TooManyHeaders));
        }
    }
}
