//! The opening handshake, through the public API (RFC 6455 §4). Each test names the requirements of
//! the traceability table that it shows.
#![expect(clippy::indexing_slicing, reason = "a test may panic")]

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use motews::handshake::{
    Answer, ClientHandshake, ConfigError, Extensions, HandshakeError, Key, Offers, Request,
    RequestEvent, Response, ResponseEvent, ServerHandshake, Upgrade, path_and_query,
};
use motews::{Entropy, EntropyError, Limits};
use motews_testkit::head::{ACCEPT, Head, KEY, NONCE, accept};
use proptest::prelude::*;

// ---------------------------------------------------------------------------------- the harness

/// An event that owns what it carries.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Seen {
    RequestLine(String, String, (u8, u8)),
    StatusLine(u16, Vec<u8>),
    Header {
        name: String,
        value: Vec<u8>,
        first: bool,
        last: bool,
    },
}

/// What came of an input.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Outcome<T> {
    seen: Vec<Seen>,
    /// `Ok(None)`: more input is wanted.
    verdict: Result<Option<T>, HandshakeError>,
    /// How many bytes of the input were taken.
    taken: usize,
}

impl<T> Outcome<T> {
    /// The headers, with the parts of each value joined.
    fn headers(&self) -> Vec<(String, Vec<u8>)> {
        let mut headers: Vec<(String, Vec<u8>)> = Vec::new();
        let mut open = false;
        for seen in &self.seen {
            if let Seen::Header {
                name,
                value,
                first,
                last,
            } = seen
            {
                assert_eq!(*first, !open, "first and last frame a value");
                if *first {
                    headers.push((name.clone(), Vec::new()));
                }
                let (joined_name, joined) = headers.last_mut().expect("there is one");
                assert_eq!(name, joined_name);
                joined.extend(value);
                open = !last;
            }
        }
        headers
    }

    fn header(&self, wanted: &str) -> Option<Vec<u8>> {
        let mut headers = self.headers().into_iter();
        headers
            .find(|(name, _)| name.eq_ignore_ascii_case(wanted))
            .map(|(_, value)| value)
    }
}

/// Cuts `input` into chunks of these sizes, again and again.
fn chunks<'a>(input: &'a [u8], sizes: &[usize]) -> Vec<&'a [u8]> {
    let mut sizes = sizes.iter().cycle();
    let mut rest = input;
    let mut chunks = Vec::new();
    while !rest.is_empty() {
        let (chunk, others) = rest.split_at(rest.len().min(*sizes.next().expect("endless")));
        chunks.push(chunk);
        rest = others;
    }
    chunks
}

#[derive(Clone, Copy)]
struct Setup {
    buffer: usize,
    limits: Limits,
    subprotocols: &'static [&'static str],
}

const fn setup() -> Setup {
    let limits = Limits {
        message: 1 << 20,
        head: 64 * 1024,
        headers: 128,
    };
    Setup {
        buffer: 256,
        limits,
        subprotocols: &[],
    }
}

/// A correct request to upgrade, and what it is answered from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Accepted<'a> {
    upgrade: Upgrade,
    answer: Answer<'a>,
}

impl<'a> Accepted<'a> {
    fn select_subprotocol(
        self,
        subprotocol: Option<&'a str>,
        offered: &[&str],
    ) -> Result<Self, ConfigError> {
        let offered = offered.iter().map(|value| value.as_bytes());
        let answer = self.answer.select_subprotocol(subprotocol, offered)?;
        Ok(Self { answer, ..self })
    }

    fn extensions(self, extensions: &'a str) -> Result<Self, ConfigError> {
        let answer = self.answer.extensions(extensions)?;
        Ok(Self { answer, ..self })
    }

    fn headers(self, headers: &'a [(&'a str, &'a str)]) -> Result<Self, ConfigError> {
        let answer = self.answer.headers(headers)?;
        Ok(Self { answer, ..self })
    }

    fn emit_from(&self, offset: usize, out: &mut [u8]) -> usize {
        self.upgrade.emit_from(offset, out, &self.answer)
    }
}

fn serve_in(setup: Setup, input: &[u8], sizes: &[usize]) -> Outcome<Accepted<'static>> {
    let offers = Offers::new().subprotocols(setup.subprotocols);
    let mut handshake = ServerHandshake::with_limits(vec![0; setup.buffer], setup.limits);
    let (mut seen, mut taken) = (Vec::new(), 0);
    for chunk in chunks(input, sizes) {
        let mut rest = chunk;
        let verdict = loop {
            match handshake.next_event(&mut rest, &offers) {
                Ok(None) => break None,
                Ok(Some(RequestEvent::Done(upgrade))) => {
                    let answer = upgrade.answer(&offers);
                    break Some(Ok(Some(Accepted { upgrade, answer })));
                }
                Ok(Some(RequestEvent::RequestLine {
                    method,
                    target,
                    version,
                })) => {
                    seen.push(Seen::RequestLine(
                        method.to_string(),
                        target.to_string(),
                        version,
                    ));
                }
                Ok(Some(RequestEvent::Header(header))) => {
                    assert!(header.is(&header.name.to_uppercase()) && !header.is(""));
                    seen.push(Seen::Header {
                        name: header.name.to_string(),
                        value: header.value.into(),
                        first: header.first,
                        last: header.last,
                    });
                }
                Ok(Some(_)) => unreachable!("no other event"),
                Err(error) => break Some(Err(error)),
            }
        };
        taken += chunk.len() - rest.len();
        let Some(verdict) = verdict else {
            assert!(rest.is_empty(), "all input is taken before more is wanted");
            continue;
        };
        // The end is the end: nothing more is taken, and an error stays.
        let mut more: &[u8] = b"GET / HTTP/1.1\r\n";
        match handshake.next_event(&mut more, &offers) {
            Ok(event) => assert_eq!((event, verdict.is_ok()), (None, true)),
            Err(error) => assert_eq!(verdict, Err(error)),
        }
        assert_eq!(more.len(), 16);
        return Outcome {
            seen,
            verdict,
            taken,
        };
    }
    Outcome {
        seen,
        verdict: Ok(None),
        taken,
    }
}

fn serve(input: &[u8]) -> Outcome<Accepted<'static>> {
    serve_in(setup(), input, &[usize::MAX])
}

const BASE: [(&str, &str); 5] = [
    ("Host", "example.com"),
    ("Upgrade", "websocket"),
    ("Connection", "Upgrade"),
    ("Sec-WebSocket-Key", KEY),
    ("Sec-WebSocket-Version", "13"),
];

/// A head of this first line, the base's headers but for those named in `changes`, and `changes`; one
/// to "-" leaves its header out.
fn head(line: &str, base: &[(&str, &str)], changes: &[(&str, &str)]) -> Vec<u8> {
    Head::new(line).changed(base).changed(changes).to_bytes()
}

fn request(changes: &[(&str, &str)]) -> Vec<u8> {
    head("GET /chat HTTP/1.1", &BASE, changes)
}

fn refusal(changes: &[(&str, &str)]) -> Option<HandshakeError> {
    serve(&request(changes)).verdict.err()
}

/// All that `emit` writes, the same through any buffer.
fn emitted(emit: impl Fn(usize, &mut [u8]) -> usize) -> String {
    let mut whole = vec![0; 1 << 16];
    let len = emit(0, &mut whole);
    whole.truncate(len);
    assert_eq!(emit(len, &mut [0; 8]), 0);
    assert_eq!(emit(len + 1, &mut [0; 8]), 0);
    assert_eq!(emit(usize::MAX, &mut [0; 8]), 0);
    assert_eq!(emit(0, &mut []), 0);
    for size in (1..=40).chain([len - 1, len, len + 1]) {
        let mut pieces = Vec::new();
        let mut out = vec![0; size];
        while let written @ 1.. = emit(pieces.len(), &mut out) {
            pieces.extend_from_slice(&out[..written]);
        }
        assert_eq!(pieces, whole, "through {size} bytes");
    }
    String::from_utf8(whole).expect("text")
}

/// Gives 0x01, 0x02, ...: fit for a test only.
struct Counting(u8);

impl Entropy for Counting {
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), EntropyError> {
        for byte in bytes {
            self.0 += 1;
            *byte = self.0;
        }
        Ok(())
    }
}

/// Gives the nonce of the RFC's sample.
struct Sample;

impl Entropy for Sample {
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), EntropyError> {
        bytes.copy_from_slice(&NONCE);
        Ok(())
    }
}

struct Broken;

impl Entropy for Broken {
    fn fill(&mut self, _: &mut [u8]) -> Result<(), EntropyError> {
        Err(EntropyError)
    }
}

fn sample() -> Request<'static> {
    Request::new("example.com", "/chat").expect("right")
}

fn sample_key() -> Key {
    Key::new(&mut Sample).expect("right")
}

// --------------------------------------------------------------------- the server reads a request

/// The example of §1.2 and §1.3, byte for byte as a browser would send it.
///
/// HS13
/// HS18
/// HS05
#[test]
fn server_reads_the_rfcs_request_accepts() {
    let input = b"GET /chat HTTP/1.1\r\nHost: server.example.com\r\nUpgrade: websocket\r\n\
        Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
        Origin: http://example.com\r\nSec-WebSocket-Protocol: chat, superchat\r\n\
        Sec-WebSocket-Version: 13\r\nX-Unknown: @\xFF\x80\t:\r\n\r\n\x81";
    let outcome = serve(input);
    assert_eq!(outcome.taken, input.len() - 1);
    assert_eq!(
        outcome.seen[0],
        Seen::RequestLine("GET".into(), "/chat".into(), (1, 1)),
    );
    let headers = outcome.headers();
    let names: Vec<_> = headers.iter().map(|(name, _)| name.as_str()).collect();
    let expected = [
        "Host",
        "Upgrade",
        "Connection",
        "Sec-WebSocket-Key",
        "Origin",
        "Sec-WebSocket-Protocol",
        "Sec-WebSocket-Version",
        "X-Unknown",
    ];
    assert_eq!(names, expected);
    assert_eq!(outcome.header("x-unknown"), Some(b"@\xFF\x80\t:".to_vec()));
    let upgrade = outcome.verdict.expect("right").expect("whole");
    assert_eq!(upgrade.answer.subprotocol(), None);
    assert_eq!(
        emitted(|offset, out| upgrade.emit_from(offset, out)),
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n",
    );
}

/// Each header dropped in turn, and each one doubled.
///
/// HS01
/// HS04
/// HS05
/// HS06
/// HS07
/// HS08
#[test]
fn server_misses_a_header_refuses() {
    use HandshakeError::*;
    let table = [
        ("Host", Host, Some(Host)),
        ("Upgrade", NotUpgrade, None),
        ("Connection", Connection, None),
        ("Sec-WebSocket-Key", Key, Some(Key)),
        ("Sec-WebSocket-Version", Version, Some(Version)),
    ];
    for ((name, value), (_, dropped, doubled)) in BASE.into_iter().zip(table) {
        assert_eq!(refusal(&[(name, "-")]), Some(dropped), "without {name}");
        assert_eq!(
            refusal(&[(name, value), (name, value)]),
            doubled,
            "two {name}"
        );
        let three = [(name, value), (name, value), (name, value)];
        assert_eq!(refusal(&three), doubled, "three {name}");
        assert_eq!(
            refusal(&[(&name.to_uppercase(), value), (name, "-")]),
            None,
            "{name} in caps"
        );
        assert_eq!(
            refusal(&[(&name.to_lowercase(), value), (name, "-")]),
            None,
            "{name} small"
        );
    }
    // The order of headers is nothing, and the error does not depend on it.
    let mut reversed = BASE;
    reversed.reverse();
    assert_eq!(
        serve(&head("GET / HTTP/1.1", &reversed, &[])).verdict.err(),
        None
    );
    for base in [BASE, reversed] {
        let changes = [
            ("Sec-WebSocket-Key", "short"),
            ("Sec-WebSocket-Version", "14"),
        ];
        let input = head("GET / HTTP/1.1", &base, &changes);
        assert_eq!(serve(&input).verdict, Err(UnsupportedVersion));
    }
}

/// HS05
#[test]
fn server_reads_an_upgrade_list_finds_websocket() {
    for good in [
        "websocket",
        "WebSocket",
        "WEBSOCKET",
        "h2c, websocket",
        "websocket,h2c",
        ",websocket,",
        "a/1, \t websocket \t",
    ] {
        assert_eq!(refusal(&[("Upgrade", good)]), None, "{good}");
    }
    for bad in [
        "",
        "websocke",
        "websockets",
        "web socket",
        "websocket/13",
        "h2c",
        "websocket;q=1",
        "\"websocket\"",
        ",",
    ] {
        assert_eq!(
            refusal(&[("Upgrade", bad)]),
            Some(HandshakeError::NotUpgrade),
            "{bad}"
        );
    }
    assert_eq!(
        refusal(&[("Upgrade", "h2c"), ("Upgrade", "websocket")]),
        None
    );
    assert_eq!(
        refusal(&[("Upgrade", "websocket"), ("Upgrade", "h2c")]),
        None
    );
}

/// Firefox sends `keep-alive, Upgrade`.
///
/// HS06
#[test]
fn server_reads_a_connection_list_finds_upgrade() {
    for good in [
        "Upgrade",
        "upgrade",
        "UPGRADE",
        "keep-alive, Upgrade",
        "Upgrade,keep-alive",
        " ,\t, upgrade , ,",
        "@, upgrade",
    ] {
        assert_eq!(refusal(&[("Connection", good)]), None, "{good}");
    }
    for bad in [
        "",
        "upgraded",
        "upgrad",
        "up grade",
        "keep-alive",
        "xupgrade",
        "Upgrade keep-alive",
        "upgrade;",
        ", ,",
    ] {
        assert_eq!(
            refusal(&[("Connection", bad)]),
            Some(HandshakeError::Connection),
            "{bad}"
        );
    }
    assert_eq!(
        refusal(&[("Connection", "keep-alive"), ("Connection", "upgrade")]),
        None
    );
    assert_eq!(
        refusal(&[("Connection", "upgrade"), ("Connection", "keep-alive")]),
        None
    );
}

/// HS02
/// HS03
#[test]
fn server_reads_a_request_line_judges_method_version_and_target() {
    use HandshakeError::*;
    let table = [
        ("GET / HTTP/1.1", None),
        ("GET /a?b=c&d HTTP/1.2", None),
        ("GET / HTTP/2.0", None),
        ("GET http://example.com/chat HTTP/1.1", None),
        ("GET HTTPS://example.com HTTP/1.1", None),
        ("GET http://example.com?query HTTP/1.1", None),
        ("POST / HTTP/1.1", Some(Method)),
        ("get / HTTP/1.1", Some(Method)),
        ("GET / HTTP/1.0", Some(HttpVersion)),
        ("GET / HTTP/0.9", Some(HttpVersion)),
        ("GET * HTTP/1.1", Some(Target)),
        ("GET chat HTTP/1.1", Some(Target)),
        ("GET example.com:80 HTTP/1.1", Some(Target)),
        ("GET ws://example.com/ HTTP/1.1", None),
        ("GET WSS://example.com HTTP/1.1", None),
        ("GET ftp://example.com/ HTTP/1.1", Some(Target)),
        ("GET w://example.com/ HTTP/1.1", Some(Target)),
        ("GET ws:///chat HTTP/1.1", Some(Target)),
        ("GET http:/chat HTTP/1.1", Some(Target)),
        ("GET http:///chat HTTP/1.1", Some(Target)),
        ("GET http:// HTTP/1.1", Some(Target)),
        ("GET http://?a HTTP/1.1", Some(Target)),
        ("GET /chat#top HTTP/1.1", Some(Target)),
        ("GET /", Some(StartLine)),
        ("GET", Some(StartLine)),
        ("GET  HTTP/1.1", Some(StartLine)),
        ("GET  / HTTP/1.1", Some(StartLine)),
        (" GET / HTTP/1.1", Some(StartLine)),
        ("GET / HTTP/1.1 ", Some(StartLine)),
        ("GET / HTTP/1", Some(StartLine)),
        ("GET / HTTP/1.10", Some(StartLine)),
        ("GET / HTTP/a.1", Some(StartLine)),
        ("GET / HTTP/1.a", Some(StartLine)),
        ("GET / http/1.1", Some(StartLine)),
        ("GET / HTTP/1.1x", Some(StartLine)),
        ("G@T / HTTP/1.1", Some(StartLine)),
        ("GET /\u{e9}?\u{20ac}=\u{1f600} HTTP/1.1", None),
        ("GET /a\tb HTTP/1.1", Some(StartLine)),
        ("GET /\0 HTTP/1.1", Some(ControlCharacter)),
        ("GET /\x7F HTTP/1.1", Some(ControlCharacter)),
    ];
    for (line, error) in table {
        assert_eq!(
            serve(&head(line, &BASE, &[])).verdict.err(),
            error,
            "{line:?}"
        );
    }
}

/// Some clients send a line end behind the body of the request before (RFC 9112 §2.2).
///
/// HS02
#[test]
fn server_reads_empty_lines_before_the_request_line_ignores_them() {
    use HandshakeError::*;
    for count in [1, 2, 100] {
        let input = [b"\r\n".repeat(count), request(&[])].concat();
        for size in [usize::MAX, 1, 3] {
            let outcome = serve_in(setup(), &input, &[size]);
            assert!(matches!(outcome.verdict, Ok(Some(_))));
            assert_eq!(outcome.taken, input.len());
            assert_eq!(outcome.seen.len(), 6, "they are no events");
        }
    }
    // They count towards the limit, and nothing else is ignored.
    let endless = b"\r\n".repeat(100_000);
    let outcome = serve(&endless);
    assert_eq!(
        (outcome.verdict, outcome.taken),
        (Err(StartLineTooLong), 65_536)
    );
    for (input, error, at) in [
        (&b"\n"[..], ControlCharacter, 0),
        (b"\r\n\n", ControlCharacter, 2),
        (b"\r\r\n", ControlCharacter, 1),
        (b"\r\n \r\n", StartLine, 5),
    ] {
        let outcome = serve(input);
        assert_eq!((outcome.verdict, outcome.taken), (Err(error), at));
    }
    let response = [b"\r\n".to_vec(), answer(&[])].concat();
    assert_eq!(connect(&response).verdict, Err(StartLine));
}

/// A target is text: UTF-8 that a client should have encoded, and nothing else beyond ASCII.
///
/// HS03
#[test]
fn server_reads_a_target_that_is_no_utf8_refuses() {
    for bad in [
        &b"/\xE9"[..],
        b"/\xC3",
        b"/\xC3\x28",
        b"/\xED\xA0\x80",
        b"/\xF5a",
    ] {
        let input = [b"GET ", bad, b" HTTP/1.1\r\n"].concat();
        let outcome = serve(&input);
        assert_eq!(outcome.verdict, Err(HandshakeError::StartLine), "{bad:?}");
    }
}

/// HS03
#[test]
fn target_in_any_form_has_a_path_and_a_query() {
    let table = [
        ("/", "/", None),
        ("/chat?a=//b", "/chat", Some("a=//b")),
        ("/?", "/", Some("")),
        ("/a?b?c", "/a", Some("b?c")),
        ("http://example.com", "/", None),
        ("http://example.com/", "/", None),
        ("HTTPS://[::1]:8443/a/b?c", "/a/b", Some("c")),
        ("http://example.com?c", "/", Some("c")),
        ("wss://example.com?room=1", "/", Some("room=1")),
        ("ws://example.com/a", "/a", None),
        ("/caf\u{e9}?\u{e9}", "/caf\u{e9}", Some("\u{e9}")),
        ("*", "*", None),
        ("http://", "http://", None),
        ("", "/", None),
    ];
    for (target, path, query) in table {
        assert_eq!(path_and_query(target), (path, query), "{target}");
    }
}

/// The RFC's own sample of a key has pad bits that are not zero.
///
/// HS07
#[test]
fn server_reads_a_key_takes_only_the_base64_of_16_bytes() {
    for good in [
        KEY,
        "AQIDBAUGBwgJCgsMDQ4PEC==",
        "++++++++++//////////9w==",
        "AAAAAAAAAAAAAAAAAAAAAA==",
    ] {
        assert_eq!(refusal(&[("Sec-WebSocket-Key", good)]), None, "{good}");
    }
    let bad = [
        "",
        "AQIDBAUGBwgJCgsMDQ4PEC=",
        "AQIDBAUGBwgJCgsMDQ4PEC",
        "AQIDBAUGBwgJCgsMDQ4PECA=",
        "AQIDBAUGBwgJCgsMDQ4PEC===",
        "AQIDBAUGBwgJCgsMDQ4P====",
        "AQIDBAUGBwgJ=gsMDQ4PEC==",
        "AQIDBAUGBwgJ-gsMDQ4PEC==",
        "AQIDBAUGBwgJ_gsMDQ4PEC==",
        "AQIDBAUGBwgJ gsMDQ4PEC==",
        "AQIDBAUGBwgJCgsMDQ4PECBB",
        "AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRo=",
    ];
    for bad in bad {
        let error = Some(HandshakeError::Key);
        assert_eq!(refusal(&[("Sec-WebSocket-Key", bad)]), error, "{bad}");
    }
    // The second one is the one looked at by no one.
    let two = [("Sec-WebSocket-Key", "bad"), ("Sec-WebSocket-Key", KEY)];
    assert_eq!(refusal(&two), Some(HandshakeError::Key));
}

/// HS08
/// HS09
#[test]
fn server_reads_another_version_answers_426_with_13() {
    for version in [
        "12", "8", "0", "130", "013", "1", "13, 8", "", "abc", "+13", "-13",
    ] {
        let error = refusal(&[("Sec-WebSocket-Version", version)]).expect("refused");
        assert_eq!(error, HandshakeError::UnsupportedVersion, "{version}");
        assert_eq!(error.status(), 426);
        let response = error.response();
        assert_eq!(
            emitted(|offset, out| response.emit_from(offset, out)),
            "HTTP/1.1 426 Upgrade Required\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
        );
    }
    let two = [
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Version", "8"),
    ];
    assert_eq!(refusal(&two), Some(HandshakeError::Version));
}

/// HS23
#[test]
fn server_reads_a_body_header_refuses() {
    let body = Some(HandshakeError::Body);
    assert_eq!(refusal(&[("Content-Length", "0")]), None);
    for length in [
        "1",
        "-1",
        "+0",
        "00",
        "",
        "0, 0",
        "0x0",
        "18446744073709551616",
        "a",
    ] {
        assert_eq!(refusal(&[("Content-Length", length)]), body, "{length}");
    }
    assert_eq!(
        refusal(&[("Content-Length", "0"), ("Content-Length", "5")]),
        body
    );
    assert_eq!(
        refusal(&[("Content-Length", "5"), ("Content-Length", "0")]),
        body
    );
    for coding in ["chunked", "identity", "", "gzip, chunked"] {
        assert_eq!(refusal(&[("Transfer-Encoding", coding)]), body, "{coding}");
    }
}

/// HS23
/// HS01
#[test]
fn server_reads_a_malformed_line_refuses_at_the_byte() {
    use HandshakeError::*;
    // What follows the request line; the offset of the error's byte, counted from there.
    let table: [(&[u8], _, usize); 20] = [
        (b"Host : a\r\n", HeaderName, 4),
        (b"Host\t: a\r\n", HeaderName, 4),
        (b": a\r\n", HeaderName, 0),
        (b" folded: a\r\n", HeaderName, 0),
        (b"Host: a\r\n folded\r\n", HeaderName, 9),
        (b"Host: a\r\n\tfolded\r\n", HeaderName, 9),
        (b"Host\r\n", HeaderName, 4),
        (b"Ho(st: a\r\n", HeaderName, 2),
        (b"Ho\x80st: a\r\n", HeaderName, 2),
        (b"Ho\0st: a\r\n", HeaderName, 2),
        (b"\n", HeaderName, 0),
        (b"\r\r\n", ControlCharacter, 1),
        (b"Host: a\n", ControlCharacter, 7),
        (b"Host: a\r\r\n", ControlCharacter, 8),
        (b"Host: a\rb\r\n", ControlCharacter, 8),
        (b"Host: \0\r\n", ControlCharacter, 6),
        (b"Host: a\x0Bb\r\n", ControlCharacter, 7),
        (b"Host: a\x1Fb\r\n", ControlCharacter, 7),
        (b"Host: a\x7Fb\r\n", ControlCharacter, 7),
        (b"Host: a\r\n\rX", ControlCharacter, 10),
    ];
    const LINE: &[u8] = b"GET / HTTP/1.1\r\n";
    for (lines, error, at) in table {
        let input = [LINE, lines].concat();
        let text = input.escape_ascii().to_string();
        for size in [usize::MAX, 1, 2, 7] {
            let outcome = serve_in(setup(), &input, &[size]);
            assert_eq!(outcome.verdict, Err(error), "{text}");
            assert_eq!(outcome.taken, LINE.len() + at, "{text}");
        }
        assert_eq!(error.status(), 400);
    }
    for (input, at) in [
        (&b"GET / HTTP/1.1\n"[..], 14),
        (b"GET / HTTP/1.1\rX", 15),
        (b"\n", 0),
    ] {
        let outcome = serve(input);
        assert_eq!(
            (outcome.verdict, outcome.taken),
            (Err(ControlCharacter), at)
        );
    }
}

/// A page is asked for on the same port: every header is seen, then it is no upgrade, and the body
/// stays in the input.
///
/// HS20
/// EX05
#[test]
fn server_reads_a_plain_request_tells_after_all_headers() {
    for line in [
        "GET /page HTTP/1.1",
        "POST /page HTTP/1.1",
        "GET /page HTTP/1.0",
    ] {
        let plain = [
            ("Host", "example.com"),
            ("Authorization", "Basic QTpC"),
            ("Cookie", "a=b"),
            ("Connection", "keep-alive"),
            ("Content-Length", "4"),
        ];
        let mut input = head(line, &plain, &[]);
        let len = input.len();
        input.extend(b"body");
        let outcome = serve(&input);
        assert_eq!(outcome.headers().len(), 5);
        assert_eq!(
            outcome.header("authorization"),
            Some(b"Basic QTpC".to_vec())
        );
        assert_eq!(outcome.taken, len);
        assert_eq!(outcome.verdict, Err(HandshakeError::NotUpgrade));
    }
    assert_eq!(HandshakeError::NotUpgrade.status(), 426);
}

/// HS20
#[test]
fn server_reads_a_method_knows_head() {
    for (method, is_head) in [
        ("HEAD", true),
        ("GET", false),
        ("head", false),
        ("HEADS", false),
    ] {
        let mut handshake = ServerHandshake::new([0; 64]);
        assert!(!handshake.is_head());
        let request = format!("{method} / HTTP/1.1\r\nHost: a\r\n\r\n");
        let mut input = request.as_bytes();
        while let Ok(Some(_)) = handshake.next_event(&mut input, &Offers::new()) {}
        assert_eq!(handshake.is_head(), is_head, "{method}");
    }
}

/// HS10
/// HS12
/// EX05
#[test]
fn server_reads_any_request_surfaces_origin_and_cookies_before_the_end() {
    let extra = [
        ("Origin", "http://evil.example"),
        ("Cookie", "a=b"),
        ("Authorization", "x y"),
    ];
    let outcome = serve(&request(&extra));
    for (name, value) in extra {
        assert_eq!(outcome.header(name), Some(value.into()));
    }
    assert!(matches!(outcome.verdict, Ok(Some(_))));
}

/// HS19
#[test]
fn server_accepts_leaves_the_first_frames_in_the_input() {
    let mut input = request(&[]);
    let len = input.len();
    input.extend([0x81, 0x80, 1, 2, 3, 4, b'\r', b'\n']);
    for sizes in [&[usize::MAX][..], &[1], &[len], &[len - 1], &[len + 1]] {
        let outcome = serve_in(setup(), &input, sizes);
        assert_eq!(outcome.taken, len);
        assert!(matches!(outcome.verdict, Ok(Some(_))));
    }
}

// ---------------------------------------------------------------------------- limits and buffers

/// HS21
#[test]
fn server_reads_2000_headers_refuses_with_431() {
    let mut input = b"GET / HTTP/1.1\r\n".to_vec();
    input.extend(b"a:\r\n".repeat(2000));
    let outcome = serve(&input);
    assert_eq!(outcome.verdict, Err(HandshakeError::TooManyHeaders));
    assert_eq!(outcome.seen.len(), 1 + 128);
    assert_eq!(outcome.taken, 16 + 128 * 4);
    assert_eq!(HandshakeError::TooManyHeaders.status(), 431);

    let limits = Limits {
        headers: u16::MAX,
        ..Limits::DEFAULT
    };
    let outcome = serve_in(Setup { limits, ..setup() }, &input, &[usize::MAX]);
    assert_eq!(outcome.verdict, Ok(None));
    assert_eq!(outcome.seen.len(), 1 + 2000);
}

/// HS21
#[test]
fn server_reads_to_the_limit_of_headers_refuses_one_more() {
    let with = |max_headers| {
        let limits = Limits {
            headers: max_headers,
            ..Limits::DEFAULT
        };
        serve_in(Setup { limits, ..setup() }, &request(&[]), &[usize::MAX])
    };
    assert!(matches!(with(u16::MAX).verdict, Ok(Some(_))));
    assert!(matches!(with(5).verdict, Ok(Some(_))));
    for max in [4, 1, 0] {
        let outcome = with(max);
        assert_eq!(outcome.verdict, Err(HandshakeError::TooManyHeaders));
        assert_eq!(outcome.headers().len(), usize::from(max));
    }
    // No header at all is within a limit of none.
    let limits = Limits {
        headers: 0,
        ..Limits::DEFAULT
    };
    let outcome = serve_in(Setup { limits, ..setup() }, b"GET / HTTP/1.1\r\n\r\n", &[1]);
    assert_eq!(outcome.verdict, Err(HandshakeError::NotUpgrade));
}

/// HS21
#[test]
fn server_has_limits_unless_told_otherwise() {
    let verdict = |request: &[u8]| {
        let mut handshake = ServerHandshake::new([0; 256]);
        let mut input = request;
        loop {
            match handshake.next_event(&mut input, &Offers::new()) {
                Ok(Some(RequestEvent::Done(_))) => return Ok(()),
                Ok(Some(_)) => {}
                Ok(None) => panic!("the head is whole"),
                Err(error) => return Err(error),
            }
        }
    };
    assert_eq!(verdict(&request(&[])), Ok(()));
    let more = [("A", "b"); 123]; // beside the five that there are
    assert_eq!(verdict(&request(&more)), Ok(()));
    let more = [("A", "b"); 124];
    assert_eq!(
        verdict(&request(&more)),
        Err(HandshakeError::TooManyHeaders)
    );
}

/// HS21
#[test]
fn server_reads_to_the_limit_of_bytes_refuses_one_more() {
    use HandshakeError::*;
    let input = request(&[]);
    let len = u32::try_from(input.len()).expect("small");
    let with = |max_head_len, size| {
        let limits = Limits {
            head: max_head_len,
            ..Limits::DEFAULT
        };
        let outcome = serve_in(Setup { limits, ..setup() }, &input, &[size]);
        (outcome.verdict.err(), outcome.taken)
    };
    for size in [usize::MAX, 1] {
        assert_eq!(with(u32::MAX, size), (None, input.len()));
        assert_eq!(with(len, size), (None, input.len()));
        assert_eq!(with(len - 1, size), (Some(HeadTooLong), input.len() - 1));
        // Behind `GET /chat HTTP/1.1\r\n` it is no longer the target that is too long.
        assert_eq!(with(20, size), (Some(HeadTooLong), 20));
        assert_eq!(with(19, size), (Some(StartLineTooLong), 19));
        assert_eq!(with(1, size), (Some(StartLineTooLong), 1));
        assert_eq!(with(0, size), (Some(StartLineTooLong), 0));
    }
    assert_eq!(
        (StartLineTooLong.status(), HeadTooLong.status()),
        (414, 431)
    );
    // The default is 64 KiB, and it holds for a head that never ends.
    let mut endless = b"GET / HTTP/1.1\r\nCookie: ".to_vec();
    endless.resize(100_000, b'a');
    let outcome = serve(&endless);
    assert_eq!((outcome.verdict, outcome.taken), (Err(HeadTooLong), 65_536));
}

/// HS21
#[test]
fn server_reads_into_a_small_buffer_refuses_what_must_be_whole() {
    use HandshakeError::*;
    let with = |buffer, input: &[u8]| {
        serve_in(Setup { buffer, ..setup() }, input, &[usize::MAX])
            .verdict
            .err()
    };
    // The request line is stored without its line end.
    let line = b"GET /chat HTTP/1.1";
    assert_eq!(line.len(), 18);
    assert_eq!(with(41, &request(&[])), None);
    for buffer in 18..41 {
        assert_eq!(with(buffer, &request(&[])), Some(HeaderTooLong), "{buffer}");
    }
    for buffer in 0..18 {
        assert_eq!(
            with(buffer, &request(&[])),
            Some(StartLineTooLong),
            "{buffer}"
        );
    }
    // A name fills the buffer: there is room for an empty value only.
    let name = "n".repeat(41);
    assert_eq!(with(41, &request(&[(&name, " ")])), None);
    assert_eq!(with(41, &request(&[(&name, "v")])), Some(HeaderTooLong));
    assert_eq!(
        with(41, &request(&[(&format!("{name}n"), "")])),
        Some(HeaderTooLong)
    );
    // Those that must be whole:
    let long = "1".repeat(100);
    for name in [
        "Sec-WebSocket-Key",
        "Sec-WebSocket-Version",
        "Content-Length",
    ] {
        assert_eq!(
            with(64, &request(&[(name, &long)])),
            Some(HeaderTooLong),
            "{name}"
        );
    }
    assert_eq!(HeaderTooLong.status(), 431);
}

/// A browser's 16 KB of cookies through 256 bytes; lists that the protocol needs may be long too.
///
/// HS21
#[test]
fn server_reads_long_values_in_parts_loses_nothing() {
    let cookie: String = (0..16_384)
        .map(|i| char::from(b'0' + (i % 75) as u8))
        .collect();
    let list = "none, ".repeat(100);
    let changes = [
        ("Cookie", cookie.as_str()),
        ("Host", &cookie[..1000]),
        ("Upgrade", &format!("{list}websocket")),
        (
            "Connection",
            &format!("{list}Upgrade{}", ", none".repeat(100)),
        ),
        ("Sec-WebSocket-Protocol", &format!("{list}chat")),
        (
            "Sec-WebSocket-Extensions",
            &format!("{list}x; y=\"{}\"", "z".repeat(1000)),
        ),
    ];
    let input = request(&changes);
    for buffer in [60, 61, 64, 100, 256, 257, 20_000] {
        let subprotocols = &["chat"];
        let outcome = serve_in(
            Setup {
                buffer,
                subprotocols,
                ..setup()
            },
            &input,
            &[1000],
        );
        for (name, value) in changes {
            assert_eq!(
                outcome.header(name),
                Some(value.into()),
                "{name} through {buffer}"
            );
        }
        let upgrade = outcome.verdict.expect("right").expect("whole");
        assert_eq!(upgrade.answer.subprotocol(), Some("chat"));
    }
}

/// White space around a value is no part of it, wherever the parts end; white space within is.
#[test]
fn server_reads_white_space_through_any_room_trims_the_ends_only() {
    let alphabet = [b'a', b' ', b'\t'];
    for len in 0..=7_u32 {
        for number in 0..3_usize.pow(len) {
            let value: Vec<u8> = (0..len)
                .map(|i| alphabet[number / 3_usize.pow(i) % 3])
                .collect();
            let trimmed = value.trim_ascii();
            let stored = value.trim_ascii_start();
            let runs = stored.split(|byte| *byte == b'a').map(<[u8]>::len);
            let longest = runs.max().unwrap_or(0);
            let mut input = b"GET / HTTP/1.1\r\nx-fifteen-bytes:".to_vec();
            input.extend(&value);
            input.extend(b"\r\n");
            for room in 0..9 {
                let outcome = serve_in(
                    Setup {
                        buffer: 15 + room,
                        ..setup()
                    },
                    &input,
                    &[3],
                );
                if room == 0 && !trimmed.is_empty() || longest > room {
                    assert_eq!(outcome.verdict, Err(HandshakeError::HeaderTooLong));
                } else {
                    let text = value.escape_ascii();
                    assert_eq!(
                        outcome.header("x-fifteen-bytes"),
                        Some(trimmed.into()),
                        "{text}"
                    );
                    assert_eq!(outcome.verdict, Ok(None));
                }
            }
        }
    }
}

// ------------------------------------------------------------------- subprotocols and extensions

/// HS14
/// HS16
#[test]
fn server_is_offered_subprotocols_takes_its_own_first() {
    let with = |lines: &[&str], subprotocols| {
        let lines: Vec<_> = lines
            .iter()
            .map(|line| ("Sec-WebSocket-Protocol", *line))
            .collect();
        let input = request(&lines);
        let outcome = serve_in(
            Setup {
                subprotocols,
                ..setup()
            },
            &input,
            &[usize::MAX],
        );
        let upgrade = outcome.verdict.expect("right").expect("whole");
        let response = emitted(|offset, out| upgrade.emit_from(offset, out));
        let header = "Sec-WebSocket-Protocol: ";
        match upgrade.answer.subprotocol() {
            Some(name) => assert!(response.contains(&format!("\r\n{header}{name}\r\n"))),
            None => assert!(!response.contains(header)),
        }
        upgrade.answer.subprotocol()
    };
    assert_eq!(
        with(&["chat, superchat"], &["superchat", "chat"]),
        Some("superchat")
    );
    assert_eq!(
        with(&["chat", "superchat"], &["superchat", "chat"]),
        Some("superchat")
    );
    assert_eq!(
        with(&["chat,superchat"], &["chat", "superchat"]),
        Some("chat")
    );
    assert_eq!(
        with(&["chat , chat"], &["chat"]),
        Some("chat"),
        "twice is once"
    );
    assert_eq!(with(&["chat"], &["chat2", "cha", "Chat"]), None);
    assert_eq!(with(&["chat"], &[]), None);
    assert_eq!(with(&[], &["chat"]), None);
    assert_eq!(with(&["a"], &["", "a"]), Some("a"));
    // 32 are looked at, and no more.
    const MANY: &[&str] = &[
        "x", "x", "x", "x", "x", "x", "x", "x", "x", "x", "x", "x", "x", "x", "x", "x", "x", "x",
        "x", "x", "x", "x", "x", "x", "x", "x", "x", "x", "x", "x", "x", "last", "beyond",
    ];
    assert_eq!(with(&["beyond, last"], MANY), Some("last"));
    assert_eq!(with(&["beyond"], MANY), None);
}

/// Deployed clients send an empty header, and names that are no tokens beside good ones: refusing
/// them protects nobody.
///
/// HS14
/// HS16
#[test]
fn server_is_offered_what_is_no_token_chooses_among_the_rest() {
    let with = |lines: &[&str]| {
        let lines: Vec<_> = lines
            .iter()
            .map(|line| ("Sec-WebSocket-Protocol", *line))
            .collect();
        let setup = Setup {
            subprotocols: &["fine", "a", "a b"],
            ..setup()
        };
        let outcome = serve_in(setup, &request(&lines), &[usize::MAX]);
        let accepted = outcome.verdict.expect("right").expect("whole");
        accepted.answer.subprotocol()
    };
    let none = [
        "",
        ",",
        ", ,",
        " ",
        "a b",
        "a;b",
        "a=b",
        "\"a\"",
        "a/b",
        "a\u{e9}",
        "a:compact",
        "YQ==",
    ];
    for list in none {
        assert_eq!(with(&[list]), None, "{list}");
        assert_eq!(with(&["fine", list]), Some("fine"), "{list}");
        assert_eq!(with(&[list, "fine"]), Some("fine"), "{list}");
        assert_eq!(with(&[&format!("{list},fine")]), Some("fine"), "{list}");
        assert_eq!(with(&[&format!("fine , {list}")]), Some("fine"), "{list}");
    }
    for list in ["a,", ",a", "a,,b", "a:compact,a", "\t a\t"] {
        assert_eq!(with(&[list]), Some("a"), "{list}");
    }
}

/// HS14
#[test]
fn application_selects_a_subprotocol_of_those_offered() {
    let upgrade = |changes: &[_]| {
        serve(&request(changes))
            .verdict
            .expect("right")
            .expect("whole")
    };
    // Two headers are one list.
    let values = ["v1.chat, v1:compact", "v2.chat"];
    let offered = upgrade(&values.map(|value| ("Sec-WebSocket-Protocol", value)));
    let chosen = offered
        .select_subprotocol(Some("v2.chat"), &values)
        .expect("offered");
    assert_eq!(chosen.answer.subprotocol(), Some("v2.chat"));
    let response = emitted(|offset, out| chosen.emit_from(offset, out));
    assert!(response.ends_with("\r\nSec-WebSocket-Protocol: v2.chat\r\n\r\n"));
    assert_eq!(
        chosen
            .select_subprotocol(None, &[])
            .expect("right")
            .answer
            .subprotocol(),
        None
    );
    // A client that offered what is no token may have it.
    assert!(
        offered
            .select_subprotocol(Some("v1:compact"), &values)
            .is_ok()
    );
    // It is one of them as a whole, and by its case.
    for other in ["v3.chat", "v2", "v2.chat2", "V2.chat"] {
        let error = offered.select_subprotocol(Some(other), &values);
        assert_eq!(error, Err(ConfigError::NotOffered), "{other}");
    }
    for bad in ["", "a b", "a\r\nb", "a,b", "\u{e9}"] {
        let error = offered
            .select_subprotocol(Some(bad), &[bad])
            .expect_err("no element");
        assert_eq!(error, ConfigError::Subprotocol);
    }
    let bare = upgrade(&[]);
    assert_eq!(
        bare.select_subprotocol(Some("chat"), &["chat"]),
        Err(ConfigError::NotOffered)
    );
    assert_eq!(bare.select_subprotocol(None, &[]), Ok(bare));
}

/// HS15
/// EX03
#[test]
fn application_accepts_an_extension_only_if_some_were_offered() {
    let upgrade = |changes: &[_]| {
        serve(&request(changes))
            .verdict
            .expect("right")
            .expect("whole")
    };
    let offered = upgrade(&[("Sec-WebSocket-Extensions", "permessage-deflate; x=1")]);
    let plain = emitted(|offset, out| offered.emit_from(offset, out));
    assert!(!plain.contains("Extensions"));
    let accepted = offered.extensions("permessage-deflate; x").expect("right");
    let response = emitted(|offset, out| accepted.emit_from(offset, out));
    assert!(response.ends_with("\r\nSec-WebSocket-Extensions: permessage-deflate; x\r\n\r\n"));
    for bad in ["", "a;", "a\r\nb", "a b", "a,"] {
        assert_eq!(
            offered.extensions(bad),
            Err(ConfigError::Extensions),
            "{bad}"
        );
    }
    assert_eq!(upgrade(&[]).extensions("a"), Err(ConfigError::NotOffered));
}

const WELL_FORMED: [&str; 17] = [
    "a",
    "permessage-deflate",
    "permessage-deflate; client_max_window_bits",
    "permessage-deflate; client_max_window_bits; server_max_window_bits=10, permessage-deflate",
    "a;b=\"c\"",
    "a;b=\"\\c\\d\"",
    "a;b=\"c\" ; d",
    "a ; b = c",
    "a\t;\tb\t=\t\"c\"\t",
    "a;b;b;b=1;b",
    "a,b,c",
    "a ,\tb",
    " a ",
    "!#$%&'*+-.^_`|~09AZaz",
    "a;b=c,d;e=\"f\"",
    "a; b=\"9\"",
    "a;a=a;a=a",
];

const MALFORMED: [&str; 31] = [
    "",
    " ",
    ",",
    ", ,",
    "a,",
    ",a",
    "a,,b",
    "a b",
    "a;",
    "a;;b",
    ";a",
    "a;b=",
    "a;b=,c",
    "a;=b",
    "a=b",
    "a;b=c=d",
    "a;b=\"\"",
    "a;b=\"c",
    "a;b=\"",
    "a;b=\"c d\"",
    "a;b=\"c,d\"",
    "a;b=\"c;d\"",
    "a;b=\"c\"d",
    "a;b=c\"d\"",
    "a;b=\"\\",
    "a;b=\"\\\"\"",
    "a;b=\"c\\",
    "\"a\"",
    "a;\"b\"",
    "a/b",
    "a\u{e9}",
];

/// HS17
#[test]
fn server_is_offered_extensions_checks_their_grammar() {
    for value in WELL_FORMED {
        assert_eq!(
            refusal(&[("Sec-WebSocket-Extensions", value)]),
            None,
            "{value}"
        );
        let all_good = Extensions::parse(value.as_bytes()).all(|extension| extension.is_ok());
        assert!(all_good, "{value}");
    }
    for value in MALFORMED {
        // Some clients send the header with nothing in it, where they offer none.
        let is_empty = value.trim().is_empty();
        let error = (!is_empty).then_some(HandshakeError::Extensions);
        assert_eq!(
            refusal(&[("Sec-WebSocket-Extensions", value)]),
            error,
            "{value}"
        );
        let lines = [
            ("Sec-WebSocket-Extensions", value),
            ("Sec-WebSocket-Extensions", "a"),
        ];
        assert_eq!(refusal(&lines), error, "{value}");
        let last = Extensions::parse(value.as_bytes()).last();
        assert_eq!(last, Some(Err(HandshakeError::Extensions)), "{value}");
    }
}

/// HS16
/// HS17
/// EX02
#[test]
fn extensions_parse_yields_names_and_parameters_in_order() {
    let value = b"foo, bar; baz=2 ;qux=\"a\\bc\"\t; flag,foo;x";
    let parsed: Vec<_> = Extensions::parse(value)
        .map(|extension| {
            let extension = extension.expect("well formed");
            let params = extension.params().map(|param| {
                let value = param.value.map(|value| value.bytes().collect());
                (
                    param.name.as_str(),
                    value.map(|value: Vec<_>| String::from_utf8(value).expect("ASCII")),
                )
            });
            (extension.name.as_str(), params.collect::<Vec<_>>())
        })
        .collect();
    let bar = vec![
        ("baz", Some("2".into())),
        ("qux", Some("abc".into())),
        ("flag", None),
    ];
    assert_eq!(
        parsed,
        [("foo", vec![]), ("bar", bar), ("foo", vec![("x", None)])]
    );

    // A name is text, whatever it is compared with.
    let name = Extensions::parse(b"foo")
        .next()
        .expect("one")
        .expect("right")
        .name;
    assert!(name == "foo" && name == *"foo" && name != "fo" && name != *"fo");
    assert_eq!((name.len(), name.as_bytes()), (3, &b"foo"[..]));
    assert_eq!(format!("{name} {name:?} {name:>4}"), "foo \"foo\"  foo");

    // The elements before the malformed one are still seen, those after it are not.
    let mut broken = Extensions::parse(b"a, b c, d");
    assert!(
        broken
            .next()
            .is_some_and(|first| first.is_ok_and(|first| first.name == "a"))
    );
    assert_eq!(broken.next(), Some(Err(HandshakeError::Extensions)));
    assert_eq!(broken.next(), None);

    let mut params = Extensions::parse(b"a;b=\"\\9\"")
        .next()
        .expect("one")
        .expect("right")
        .params();
    let value = params.next().expect("one").value.expect("some");
    assert!(value.is("9") && !value.is("09") && !value.is(""));
}

/// Quadratic work would take minutes here.
///
/// HS21
#[test]
fn lists_without_end_take_linear_time() {
    let n = 1 << 17;
    let spaces = " ".repeat(n);
    let inputs = [
        format!("b{spaces}"),
        format!("b{spaces},"),
        format!("b;c{spaces}=\"d"),
        format!("b;c=\"{}", "d".repeat(n)),
        format!("b;c=\"{}", "\\d".repeat(n / 2)),
        "b,".repeat(n / 2),
        "b;c=\"".repeat(n / 5),
        format!("b{}", ";c".repeat(n / 2)),
    ];
    for input in &inputs {
        let elements = Extensions::parse(input.as_bytes());
        let params = elements
            .flatten()
            .map(|extension| extension.params().count());
        assert!(params.sum::<usize>() <= n);
        let limits = Limits {
            head: u32::MAX,
            ..Limits::DEFAULT
        };
        for name in [
            "Sec-WebSocket-Extensions",
            "Sec-WebSocket-Protocol",
            "Connection",
            "X",
        ] {
            let value = [(name, input.as_str())];
            let whole = Setup {
                limits,
                buffer: 2 * n,
                ..setup()
            };
            let small = Setup { limits, ..setup() };
            assert!(serve_in(whole, &request(&value), &[1]).verdict != Ok(None));
            assert!(serve_in(small, &request(&value), &[1]).verdict != Ok(None));
        }
    }
}

// ---------------------------------------------------------------------- what the server answers

/// HC24
/// HS11
#[test]
fn application_adds_headers_refuses_what_would_inject() {
    let upgrade = serve(&request(&[])).verdict.expect("right").expect("whole");
    let headers = [
        ("Set-Cookie", "a=b; Path=/"),
        ("X-Empty", ""),
        ("X-Tab", "a\tb \u{e9}"),
    ];
    let accepted = upgrade.headers(&headers).expect("right");
    let response = emitted(|offset, out| accepted.emit_from(offset, out));
    let end = "\r\nSet-Cookie: a=b; Path=/\r\nX-Empty: \r\nX-Tab: a\tb \u{e9}\r\n\r\n";
    assert!(response.ends_with(end));
    let not_found = Response::new(404).and_then(|response| response.headers(&headers));
    let not_found = not_found.expect("right").body(b"No such thing");
    assert_eq!(
        emitted(|offset, out| not_found.emit_from(offset, out)),
        format!(
            "HTTP/1.1 404 {}\r\nConnection: close\r\nContent-Length: 13\r\n\r\nNo such thing",
            end.trim_end()
        ),
    );

    let response = Response::new(200).expect("right");
    let request = sample();
    let table = [
        ("", "a", ConfigError::HeaderName),
        ("a b", "a", ConfigError::HeaderName),
        ("a:", "a", ConfigError::HeaderName),
        ("a\r\nb", "a", ConfigError::HeaderName),
        ("a\0", "a", ConfigError::HeaderName),
        ("\u{e9}", "a", ConfigError::HeaderName),
        ("a", "b\rc", ConfigError::HeaderValue),
        ("a", "b\nc", ConfigError::HeaderValue),
        ("a", "b\r\nSet-Cookie: c", ConfigError::HeaderValue),
        ("a", "b\0c", ConfigError::HeaderValue),
        ("a", "b\x7Fc", ConfigError::HeaderValue),
        ("a", "\x1F", ConfigError::HeaderValue),
        ("Content-Length", "0", ConfigError::ReservedHeader),
        ("Transfer-Encoding", "chunked", ConfigError::ReservedHeader),
        ("connection", "keep-alive", ConfigError::ReservedHeader),
        ("SEC-WEBSOCKET-ACCEPT", "a", ConfigError::ReservedHeader),
    ];
    for (name, value, error) in table {
        let headers = [("Fine", "fine"), (name, value)];
        assert_eq!(upgrade.headers(&headers), Err(error), "{name}: {value}");
        assert_eq!(response.headers(&headers), Err(error), "{name}: {value}");
        assert_eq!(request.headers(&headers), Err(error), "{name}: {value}");
    }
    let own = [
        "Host",
        "Upgrade",
        "Origin",
        "Sec-WebSocket-Key",
        "Sec-WebSocket-Version",
        "Sec-WebSocket-Protocol",
        "Sec-WebSocket-Extensions",
    ];
    for name in own {
        let headers = [(name, "a")];
        assert_eq!(
            upgrade.headers(&headers),
            Err(ConfigError::ReservedHeader),
            "{name}"
        );
        assert_eq!(
            request.headers(&headers),
            Err(ConfigError::ReservedHeader),
            "{name}"
        );
        assert!(response.headers(&headers).is_ok(), "{name}");
    }
}

/// HS10
/// HS11
/// HS20
/// HC24
#[test]
fn application_refuses_with_any_status() {
    for status in [200, 403, 404, 999] {
        let response = Response::new(status).expect("right");
        let start = format!("HTTP/1.1 {status} \r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
        assert_eq!(
            emitted(|offset, out| response.emit_from(offset, out)),
            start
        );
    }
    for status in [204, 304] {
        let response = Response::new(status).expect("right").body(b"never seen");
        assert_eq!(
            emitted(|offset, out| response.emit_from(offset, out)),
            format!("HTTP/1.1 {status} \r\nConnection: close\r\n\r\n")
        );
    }
    for status in [0, 99, 100, 101, 199, 1000, u16::MAX] {
        assert_eq!(Response::new(status), Err(ConfigError::Status));
    }
    let response = Response::new(403).expect("right");
    for reason in ["a\r\nb", "a\0", "\n"] {
        assert_eq!(response.reason(reason), Err(ConfigError::HeaderValue));
    }
    for status in [200, 204, 304, 404] {
        let response = Response::new(status).expect("right").body(b"never seen");
        let text = |response: Response<'_>| emitted(|offset, out| response.emit_from(offset, out));
        let whole = text(response.head(false));
        let (head, _) = whole.split_once("\r\n\r\n").expect("a head");
        // RFC 9110 §9.3.2: the answer to HEAD tells the length, and ends with its head.
        assert_eq!(text(response.head(true)), format!("{head}\r\n\r\n"));
    }
    let body = vec![b'x'; 12_345];
    let response = response.reason("Keep Out").expect("right").body(&body);
    let text = emitted(|offset, out| response.emit_from(offset, out));
    assert!(text.starts_with("HTTP/1.1 403 Keep Out\r\n"));
    assert!(text.contains("\r\nContent-Length: 12345\r\n\r\nxxx"));
}

/// HS20
#[test]
fn every_error_names_a_status_and_a_response() {
    use HandshakeError::*;
    let table = [
        (StartLine, 400),
        (HeaderName, 400),
        (ControlCharacter, 400),
        (StartLineTooLong, 414),
        (HeaderTooLong, 431),
        (HeadTooLong, 431),
        (TooManyHeaders, 431),
        (NotUpgrade, 426),
        (Method, 400),
        (HttpVersion, 400),
        (Target, 400),
        (Host, 400),
        (Body, 400),
        (Upgrade, 400),
        (Connection, 400),
        (Version, 400),
        (UnsupportedVersion, 426),
        (Key, 400),
        (Accept, 400),
        (Subprotocol, 400),
        (Extensions, 400),
        (UnexpectedStatus(302), 400),
    ];
    let mut texts = std::collections::HashSet::new();
    let mut bodies = std::collections::HashSet::new();
    for (error, status) in table {
        assert_eq!(error.status(), status, "{error}");
        let response = error.response();
        let text = emitted(|offset, out| response.emit_from(offset, out));
        let reason = match status {
            400 => "Bad Request",
            414 => "URI Too Long",
            426 => "Upgrade Required",
            _ => "Request Header Fields Too Large",
        };
        assert!(text.starts_with(&format!("HTTP/1.1 {status} {reason}\r\n")));
        let (head, body) = text.split_once("\r\n\r\n").expect("a head");
        let length = format!("\r\nConnection: close\r\nContent-Length: {}", body.len());
        assert!(head.ends_with(&length), "{head}");
        // A 400 says why: the name of the header that is wrong, or what else it is.
        let has_body = status == 400 && !matches!(error, UnexpectedStatus(_));
        assert_eq!(!body.is_empty(), has_body, "{error}");
        assert!(!has_body || bodies.insert(body.to_owned()), "{body}");
        assert!(texts.insert(error.to_string()));
    }
    assert!(UnexpectedStatus(302).to_string().contains("302"));
}

#[test]
fn every_error_of_the_caller_has_its_words() {
    use ConfigError::*;
    let all = [
        Host,
        Target,
        HeaderName,
        HeaderValue,
        ReservedHeader,
        Subprotocol,
        Extensions,
        NotOffered,
        Status,
        Entropy,
    ];
    let texts: std::collections::HashSet<_> = all.iter().map(ToString::to_string).collect();
    assert_eq!(texts.len(), all.len());
}

// --------------------------------------------------------------------- the client writes a request

/// HC05
/// HC06
/// HC07
/// HC08
/// HC09
/// HC10
/// EX01
#[test]
fn client_writes_all_that_was_asked_for() {
    let plain = sample();
    let start = "GET /chat HTTP/1.1\r\nHost: example.com\r\nUpgrade: websocket\r\n\
        Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==";
    assert_eq!(
        emitted(|offset, out| plain.emit_from(offset, out, &sample_key())),
        format!("{start}\r\n\r\n")
    );
    let full = plain
        .origin("http://example.com")
        .and_then(|request| {
            let offers = Offers::new().subprotocols(&["superchat", "chat"]);
            request.offers(&offers.extensions(&["a; b=1", "c"]))
        })
        .and_then(|request| request.headers(&[("Cookie", "d=e"), ("Authorization", "Basic Zg==")]))
        .expect("right");
    let end = "Origin: http://example.com\r\nSec-WebSocket-Protocol: superchat, chat\r\n\
        Sec-WebSocket-Extensions: a; b=1, c\r\nCookie: d=e\r\nAuthorization: Basic Zg==";
    assert_eq!(
        emitted(|offset, out| full.emit_from(offset, out, &sample_key())),
        format!("{start}\r\n{end}\r\n\r\n"),
    );
}

/// HC09
#[test]
fn client_draws_a_new_nonce_for_each_request() {
    let mut entropy = Counting(0);
    let keys: Vec<_> = (0..2)
        .map(|_| {
            let key = Key::new(&mut entropy).expect("right");
            let request = Request::new("a", "/").expect("right");
            let text = emitted(|offset, out| request.emit_from(offset, out, &key));
            let (_, key) = text.split_once("Key: ").expect("there is one");
            STANDARD.decode(key.trim_end()).expect("base64")
        })
        .collect();
    assert_eq!(keys, [(1..=16).collect::<Vec<u8>>(), (17..=32).collect()]);
    assert_eq!(Key::new(&mut Broken), Err(EntropyError));
    assert_eq!(ConfigError::from(EntropyError), ConfigError::Entropy);
}

/// HC01
/// HC02
/// HC07
/// HC24
#[test]
fn client_is_given_a_bad_host_or_target_refuses() {
    for host in [
        "a",
        "example.com:8080",
        "[::1]",
        "[::1]:80",
        "127.0.0.1:1",
        "a_b-c~d",
    ] {
        assert!(Request::new(host, "/").is_ok(), "{host}");
    }
    let hosts = [
        "", "a b", "a\r\nb", "a\0", "a/b", "a?b", "a#b", "user@a", "a\\b", "\u{e9}", "a\t",
    ];
    for host in hosts {
        let error = Request::new(host, "/").expect_err(host);
        assert_eq!(error, ConfigError::Host);
    }
    for target in ["/", "/a/b?c=d&e", "/%23", "//", "/?", "/a;b,c'(d)*!~"] {
        assert!(Request::new("a", target).is_ok(), "{target}");
    }
    let targets = [
        "",
        "a",
        "*",
        "http://a/",
        "/#",
        "/a#b",
        "/a b",
        "/a\r\nb",
        "/\0",
        "/\u{e9}",
        "/\x7F",
    ];
    for target in targets {
        let error = Request::new("a", target).expect_err(target);
        assert_eq!(error, ConfigError::Target);
    }
}

/// HC11
/// HC24
#[test]
fn client_is_given_bad_offers_refuses() {
    let request = sample();
    for bad in [
        &[""][..],
        &["a b"],
        &["a,b"],
        &["a\r\n"],
        &["a", "a"],
        &["a", "b", "a"],
        &["\0"],
        &["\u{e9}"],
    ] {
        assert_eq!(
            request.offers(&Offers::new().subprotocols(bad)),
            Err(ConfigError::Subprotocol),
            "{bad:?}"
        );
    }
    let good = Offers::new().subprotocols(&["a", "A", "aa"]);
    assert!(request.offers(&good).is_ok());
    let names: Vec<String> = (0..33).map(|number| format!("v{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let offers = |count| Offers::new().subprotocols(&names[..count]);
    assert!(request.offers(&offers(32)).is_ok());
    let many = request.offers(&offers(33));
    assert_eq!(many, Err(ConfigError::Subprotocol));
    for bad in MALFORMED {
        let offers = ["a", bad];
        let error = request.offers(&Offers::new().extensions(&offers));
        assert_eq!(error, Err(ConfigError::Extensions), "{bad}");
    }
    for good in WELL_FORMED {
        let offers = [good];
        let result = request.offers(&Offers::new().extensions(&offers));
        // Each offer is one extension, and begins with its name.
        let is_one = !good.contains(',') && !good.starts_with(' ');
        assert_eq!(result.is_ok(), is_one, "{good}");
    }
    for bad in ["a\r\nb", "\0", "a\n"] {
        assert_eq!(request.origin(bad), Err(ConfigError::HeaderValue));
    }
}

// --------------------------------------------------------------------- the client reads a response

const ANSWER: [(&str, &str); 3] = [
    ("Upgrade", "websocket"),
    ("Connection", "Upgrade"),
    ("Sec-WebSocket-Accept", ACCEPT),
];

fn answer(changes: &[(&str, &str)]) -> Vec<u8> {
    head("HTTP/1.1 101 Switching Protocols", &ANSWER, changes)
}

/// A client that offered subprotocols `chat` and `superchat`, extensions `foo; x`, `bar` and `baz`.
const OFFERS: Offers<'static> = Offers::new()
    .subprotocols(&["chat", "superchat"])
    .extensions(&["foo; x", "bar", "baz"]);

fn connect_in(
    offers: Offers<'static>,
    setup: Setup,
    input: &[u8],
    sizes: &[usize],
) -> Outcome<Option<&'static str>> {
    let key = sample_key();
    let mut handshake = ClientHandshake::with_limits(&key, vec![0; setup.buffer], setup.limits);
    let (mut seen, mut taken) = (Vec::new(), 0);
    for chunk in chunks(input, sizes) {
        let mut rest = chunk;
        let verdict = loop {
            match handshake.next_event(&mut rest, &offers) {
                Ok(None) => break None,
                Ok(Some(ResponseEvent::Done(agreed))) => {
                    assert_eq!(agreed.config.max_message_len, setup.limits.message);
                    let chosen = agreed.subprotocol;
                    let chosen = chosen.map(|index| offers.subprotocol(index).expect("offered"));
                    break Some(Ok(Some(chosen)));
                }
                Ok(Some(ResponseEvent::StatusLine { status, reason })) => {
                    seen.push(Seen::StatusLine(status, reason.into()));
                }
                Ok(Some(ResponseEvent::Header(header))) => seen.push(Seen::Header {
                    name: header.name.to_string(),
                    value: header.value.into(),
                    first: header.first,
                    last: header.last,
                }),
                Ok(Some(_)) => unreachable!("no other event"),
                Err(error) => break Some(Err(error)),
            }
        };
        taken += chunk.len() - rest.len();
        let Some(verdict) = verdict else {
            assert!(rest.is_empty(), "all input is taken before more is wanted");
            continue;
        };
        let mut more: &[u8] = b"HTTP/1.1 101 \r\n";
        match handshake.next_event(&mut more, &offers) {
            Ok(event) => assert_eq!((event, verdict.is_ok()), (None, true)),
            Err(error) => assert_eq!(verdict, Err(error)),
        }
        assert_eq!(more.len(), 15);
        return Outcome {
            seen,
            verdict,
            taken,
        };
    }
    Outcome {
        seen,
        verdict: Ok(None),
        taken,
    }
}

fn connect(input: &[u8]) -> Outcome<Option<&'static str>> {
    connect_in(OFFERS, setup(), input, &[usize::MAX])
}

fn failure(changes: &[(&str, &str)]) -> Option<HandshakeError> {
    connect(&answer(changes)).verdict.err()
}

/// HC14
/// HC15
/// HC16
/// HC22
#[test]
fn client_reads_the_rfcs_response_is_done() {
    let mut input = answer(&[("X-Unknown", "\u{e9}")]);
    let len = input.len();
    input.extend(b"\x81\x05Hello");
    for sizes in [&[usize::MAX][..], &[1], &[len], &[len - 1, 3]] {
        let outcome = connect_in(OFFERS, setup(), &input, sizes);
        assert_eq!(
            outcome.seen[0],
            Seen::StatusLine(101, b"Switching Protocols".to_vec())
        );
        assert_eq!(outcome.header("x-unknown"), Some("\u{e9}".into()));
        assert_eq!((outcome.verdict, outcome.taken), (Ok(Some(None)), len));
    }
    let mut handshake = ClientHandshake::new(&sample_key(), [0; 48]);
    let mut input = &input[..];
    while !matches!(
        handshake.next_event(&mut input, &OFFERS),
        Ok(Some(ResponseEvent::Done(_)))
    ) {}
    assert_eq!(input, b"\x81\x05Hello");
}

/// Each header dropped in turn, and each one doubled.
///
/// HC14
/// HC15
/// HC16
/// HC20
#[test]
fn client_misses_a_header_fails() {
    use HandshakeError::*;
    let table = [Upgrade, Connection, Accept];
    for ((name, value), error) in ANSWER.into_iter().zip(table) {
        assert_eq!(failure(&[(name, "-")]), Some(error), "without {name}");
        // Some servers say `Upgrade`, and so does the proxy before them: nothing to fail for.
        let doubled = (name == "Sec-WebSocket-Accept").then_some(error);
        assert_eq!(
            failure(&[(name, value), (name, value)]),
            doubled,
            "two {name}"
        );
        assert_eq!(
            failure(&[(&name.to_lowercase(), value), (name, "-")]),
            None,
            "{name} small"
        );
    }
}

/// HC14
/// HC15
#[test]
fn client_reads_upgrade_and_connection_judges_their_values() {
    use HandshakeError::*;
    for good in ["websocket", "WebSocket", "WEBSOCKET", "  websocket\t"] {
        assert_eq!(failure(&[("Upgrade", good)]), None, "{good}");
    }
    for good in ["websocket, WebSocket", ",websocket,"] {
        assert_eq!(failure(&[("Upgrade", good)]), None, "{good}");
    }
    for bad in ["", ",", "websockets", "websocket, h2c", "h2c", "web socket"] {
        assert_eq!(failure(&[("Upgrade", bad)]), Some(Upgrade), "{bad}");
    }
    for other in ["h2c", "websocket, h2c"] {
        for two in [["websocket", other], [other, "websocket"]] {
            let two = two.map(|value| ("Upgrade", value));
            assert_eq!(failure(&two), Some(Upgrade), "{two:?}");
        }
    }
    for good in [
        "Upgrade",
        "upgrade",
        "keep-alive, Upgrade",
        "UPGRADE,close",
        ", upgrade",
    ] {
        assert_eq!(failure(&[("Connection", good)]), None, "{good}");
    }
    for bad in ["", "upgraded", "keep-alive", "up grade", "close"] {
        assert_eq!(failure(&[("Connection", bad)]), Some(Connection), "{bad}");
    }
    assert_eq!(
        failure(&[("Connection", "keep-alive"), ("Connection", "upgrade")]),
        None
    );
    assert_eq!(
        failure(&[("Connection", "upgrade"), ("Connection", "keep-alive")]),
        None
    );
    let long = format!("{}upgrade", "none, ".repeat(100));
    assert_eq!(failure(&[("Connection", &long)]), None);
}

/// HC16
#[test]
fn client_reads_a_wrong_accept_fails() {
    assert_eq!(
        failure(&[("Sec-WebSocket-Accept", &format!(" \t{ACCEPT}\t "))]),
        None
    );
    for bad in [
        "",
        "s3pPLMBiTxaQ9kYGzzhZRbK+xOo",
        "s3pPLMBiTxaQ9kYGzzhZRbK+xOo==",
        "S3PPLMBITXAQ9KYGZZHZRBK+XOO=",
        "s3pPLMBiTxaQ9kYGzzhZRbK+xOp=",
        KEY,
    ] {
        let error = Some(HandshakeError::Accept);
        assert_eq!(failure(&[("Sec-WebSocket-Accept", bad)]), error, "{bad}");
        let two = [
            ("Sec-WebSocket-Accept", bad),
            ("Sec-WebSocket-Accept", ACCEPT),
        ];
        assert_eq!(failure(&two), error, "{bad}");
    }
}

/// HC18
/// HC20
#[test]
fn client_reads_a_subprotocol_takes_only_what_it_offered() {
    let with = |lines: &[&str]| {
        let lines: Vec<_> = lines
            .iter()
            .map(|line| ("Sec-WebSocket-Protocol", *line))
            .collect();
        connect(&answer(&lines)).verdict
    };
    let fails = Err(HandshakeError::Subprotocol);
    assert_eq!(with(&["chat"]), Ok(Some(Some("chat"))));
    assert_eq!(with(&[" superchat "]), Ok(Some(Some("superchat"))));
    for bad in [
        "Chat",
        "chats",
        "cha",
        "chat, superchat",
        "chat, chat",
        "other",
        "chat superchat",
        "chat;a",
    ] {
        assert_eq!(with(&[bad]), fails, "{bad}");
    }
    assert_eq!(with(&["chat", "chat"]), fails);
    // Some servers send the header with nothing in it, where they choose none.
    assert_eq!(with(&[""]), Ok(Some(None)));
    assert_eq!(with(&["", "chat"]), Ok(Some(Some("chat"))));
    assert_eq!(with(&["chat, "]), Ok(Some(Some("chat"))));
    assert_eq!(with(&["other", "chat"]), fails);
    // None was offered.
    let input = answer(&[("Sec-WebSocket-Protocol", "chat")]);
    assert_eq!(
        connect_in(Offers::new(), setup(), &input, &[1])
            .verdict
            .err(),
        fails.err()
    );
}

/// Repeated lines of extensions are taken as one list.
///
/// HC17
/// HC20
/// HS17
/// EX01
#[test]
fn client_reads_extensions_takes_only_what_it_offered() {
    for good in ["foo", "foo; y=2", "bar, foo", "baz", "bar;a;b=\"c\""] {
        assert_eq!(
            failure(&[("Sec-WebSocket-Extensions", good)]),
            None,
            "{good}"
        );
    }
    let error = Some(HandshakeError::Extensions);
    // Some servers send the header with nothing in it, where they choose none.
    assert_eq!(failure(&[("Sec-WebSocket-Extensions", "")]), None);
    for bad in ["other", "foo, other", "x", "Foo", "fo", "fooo", "foo x"]
        .into_iter()
        .chain(MALFORMED.into_iter().filter(|bad| !bad.trim().is_empty()))
    {
        assert_eq!(
            failure(&[("Sec-WebSocket-Extensions", bad)]),
            error,
            "{bad}"
        );
    }
    let lines = [
        ("Sec-WebSocket-Extensions", "foo"),
        ("Sec-WebSocket-Extensions", "bar"),
    ];
    assert_eq!(failure(&lines), None);
    let lines = [
        ("Sec-WebSocket-Extensions", "other"),
        ("Sec-WebSocket-Extensions", "bar"),
    ];
    assert_eq!(failure(&lines), error);
    let input = answer(&[("Sec-WebSocket-Extensions", "foo")]);
    assert_eq!(
        connect_in(Offers::new(), setup(), &input, &[1])
            .verdict
            .err(),
        error
    );
}

/// HC19
#[test]
fn client_reads_a_status_line_judges_it_strictly() {
    use HandshakeError::*;
    let table = [
        ("HTTP/1.1 101 Switching Protocols", None),
        ("HTTP/1.1 101 ", None),
        ("HTTP/1.1 101", None),
        ("HTTP/1.1 101 \u{e9}\t ?", None),
        ("HTTP/1.2 101 ", None),
        ("HTTP/1.0 101 Switching Protocols", Some(HttpVersion)),
        ("HTTP/1.1  101 Switching", Some(StartLine)),
        ("HTTP/1.1 1O1 Switching", Some(StartLine)),
        ("HTTP/1.1 1010 Switching", Some(StartLine)),
        ("HTTP/1.1 10 Switching", Some(StartLine)),
        ("HTTP/1.1 001 Switching", Some(StartLine)),
        ("HTTP/1.1 +10 Switching", Some(StartLine)),
        ("HTTP/1.1\t101 Switching", Some(StartLine)),
        ("HTTP/1.1", Some(StartLine)),
        ("HTTP/1 101 Switching", Some(StartLine)),
        ("http/1.1 101 Switching", Some(StartLine)),
        ("ICY 200 OK", Some(StartLine)),
        ("", Some(StartLine)),
        (" HTTP/1.1 101 Switching", Some(StartLine)),
        ("HTTP/1.1 101 Switching\0", Some(ControlCharacter)),
        ("HTTP/1.1 200 OK", Some(UnexpectedStatus(200))),
        ("HTTP/1.0 404 Not Found", Some(UnexpectedStatus(404))),
    ];
    for (line, error) in table {
        assert_eq!(
            connect(&head(line, &ANSWER, &[])).verdict.err(),
            error,
            "{line:?}"
        );
    }
}

/// RFC 9112 §5.2: a user agent reads a space in place of the line end and what is around it.
///
/// HC13
#[test]
fn client_reads_a_folded_value_unfolds_it() {
    let table: [(&[u8], &[u8]); 14] = [
        (b"one\r\n two", b"one two"),
        (b"one\r\n\ttwo", b"one two"),
        (b"one \t\r\n \t two", b"one two"),
        (b"one\r\n two\r\n three", b"one two three"),
        (b"one\r\n two \r\n\tthree  four", b"one two three  four"),
        (b"one\r\n ", b"one"),
        (b"one\r\n \r\n ", b"one"),
        (b"one\r\n \r\n two", b"one two"),
        (b"\r\n one", b"one"),
        (b"\r\n \r\n \tone", b"one"),
        (b"\r\n ", b""),
        (b" \r\n :", b":"),
        (b"a:b\r\n c: d", b"a:b c: d"),
        (b"\xE9\r\n \xE9", b"\xE9 \xE9"),
    ];
    for (folded, value) in table {
        let name = "X-Folded-Value";
        let line = [name.as_bytes(), b":", folded, b"\r\n"].concat();
        let text = folded.escape_ascii();
        let start = b"HTTP/1.1 101 \r\n".to_vec();
        let rest = &answer(&[])[b"HTTP/1.1 101 Switching Protocols\r\n".len()..];
        let input = [&start, &line, rest].concat();
        for buffer in [48, 17, 18, 20, 256] {
            let input = if buffer < 48 {
                &input[..start.len() + line.len() + 1]
            } else {
                &input
            };
            for size in [usize::MAX, 1, 2, 3, 7] {
                let outcome = connect_in(OFFERS, Setup { buffer, ..setup() }, input, &[size]);
                let expected = if buffer < 48 { None } else { Some(None) };
                assert_eq!(outcome.verdict, Ok(expected), "{text} through {buffer}");
                assert_eq!(
                    outcome.header(name),
                    Some(value.to_vec()),
                    "{text} through {buffer}"
                );
            }
        }
    }
    // What the handshake needs may be folded, too; a list, and what must be whole.
    let folded = [
        ("Upgrade", "\r\n websocket"),
        ("Connection", "keep-alive,\r\n\tUpgrade"),
        ("Sec-WebSocket-Accept", &format!("\r\n\t{ACCEPT}\r\n ")),
        ("Sec-WebSocket-Extensions", "foo;\r\n a=\r\n b,\r\n bar"),
        ("Sec-WebSocket-Protocol", "\r\n chat"),
    ];
    let outcome = connect(&answer(&folded));
    assert_eq!(outcome.verdict, Ok(Some(Some("chat"))));
    let split = [("Upgrade", "web\r\n socket")];
    assert_eq!(failure(&split), Some(Upgrade));
    // A line that belongs to no header, and bytes of a line end alone, are no folding.
    use HandshakeError::*;
    for (lines, error) in [
        (&b" one: two\r\n"[..], HeaderName),
        (b"one: two\n three\r\n", ControlCharacter),
        (b"one: two\r\r\n", ControlCharacter),
        (b"one: two\r\n \0\r\n", ControlCharacter),
        (b"one: two\r\n  \n", ControlCharacter),
        (b"one: two\r\nthree\r\n", HeaderName),
    ] {
        let input = [b"HTTP/1.1 101 \r\n", lines].concat();
        for size in [usize::MAX, 1] {
            let outcome = connect_in(OFFERS, setup(), &input, &[size]);
            assert_eq!(outcome.verdict, Err(error), "{}", lines.escape_ascii());
        }
    }
}

/// Folded lines are part of their header: they count as bytes, not as headers.
///
/// HC25
#[test]
fn client_reads_a_value_folded_without_end_stops_at_the_limit_of_bytes() {
    let mut endless = b"HTTP/1.1 101 \r\nA: b".to_vec();
    endless.extend(b"\r\n c".repeat(30_000));
    let outcome = connect(&endless);
    assert_eq!(
        (outcome.verdict, outcome.taken),
        (Err(HandshakeError::HeadTooLong), 65_536)
    );
}

/// HC13
/// HC21
#[test]
fn client_reads_another_status_sees_all_headers_then_fails() {
    let table = [
        ("302 Found", "Location", "http://elsewhere.example/chat"),
        ("401 Unauthorized", "WWW-Authenticate", "Basic realm=\"a\""),
        ("426 Upgrade Required", "Sec-WebSocket-Version", "13, 8, 7"),
        ("200 OK", "Content-Length", "5"),
        // What would be wrong with a 101 is nothing to this.
        ("400 Bad Request", "Sec-WebSocket-Accept", "wrong"),
        ("999 Whatever", "Upgrade", "h2c"),
    ];
    for (status, name, value) in table {
        let line = format!("HTTP/1.1 {status}");
        let mut input = head(
            &line,
            &[(name, value), ("Sec-WebSocket-Protocol", "x")],
            &[],
        );
        let len = input.len();
        input.extend(b"<htm>");
        for (size, buffer) in [(usize::MAX, 256), (1, 32)] {
            let outcome = connect_in(OFFERS, Setup { buffer, ..setup() }, &input, &[size]);
            let code = status[..3].parse().expect("digits");
            assert_eq!(outcome.seen[0], Seen::StatusLine(code, status[4..].into()));
            assert_eq!(outcome.header(name), Some(value.into()));
            let error = HandshakeError::UnexpectedStatus(code);
            assert_eq!((outcome.verdict, outcome.taken), (Err(error), len));
        }
    }
}

/// Interim responses are surfaced and skipped, and count towards the limits.
///
/// HC13
/// HC25
#[test]
fn client_reads_interim_responses_waits_for_the_final_one() {
    let hints = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n";
    let interim = [&b"HTTP/1.1 100 Continue\r\n\r\n"[..], hints].concat();
    let input = [
        interim.clone(),
        answer(&[("Sec-WebSocket-Protocol", "chat")]),
    ]
    .concat();
    for size in [usize::MAX, 1, 5] {
        let outcome = connect_in(OFFERS, setup(), &input, &[size]);
        let lines = outcome
            .seen
            .iter()
            .filter(|seen| matches!(seen, Seen::StatusLine(..)));
        let statuses: Vec<_> = lines.cloned().collect();
        assert_eq!(
            statuses,
            [
                Seen::StatusLine(100, b"Continue".to_vec()),
                Seen::StatusLine(103, b"Early Hints".to_vec()),
                Seen::StatusLine(101, b"Switching Protocols".to_vec()),
            ],
        );
        assert_eq!(
            (outcome.verdict, outcome.taken),
            (Ok(Some(Some("chat"))), input.len())
        );
    }
    assert_eq!(connect(&interim).verdict, Ok(None));
    // A proxy of HTTP/1.0 before a server of HTTP/1.1.
    let old = [&b"HTTP/1.0 100 Continue\r\n\r\n"[..], &answer(&[])].concat();
    assert_eq!(connect(&old).verdict, Ok(Some(None)));
    let endless = hints.repeat(10_000);
    assert_eq!(
        connect(&endless).verdict,
        Err(HandshakeError::TooManyHeaders)
    );
    let bare = b"HTTP/1.1 100 \r\n\r\n".repeat(10_000);
    assert!(matches!(
        connect(&bare).verdict,
        Err(HandshakeError::StartLineTooLong)
    ));
}

/// HC25
#[test]
fn client_reads_beyond_a_limit_fails() {
    use HandshakeError::*;
    let input = answer(&[]);
    let len = u32::try_from(input.len()).expect("small");
    let with = |max_head_len, max_headers| {
        let limits = Limits {
            head: max_head_len,
            headers: max_headers,
            ..Limits::DEFAULT
        };
        connect_in(OFFERS, Setup { limits, ..setup() }, &input, &[9])
            .verdict
            .err()
    };
    assert_eq!(with(u32::MAX, u16::MAX), None);
    assert_eq!(with(len, 3), None);
    assert_eq!(with(len - 1, 3), Some(HeadTooLong));
    assert_eq!(with(len, 2), Some(TooManyHeaders));
    assert_eq!(with(len, 1), Some(TooManyHeaders));
    assert_eq!(with(len, 0), Some(TooManyHeaders));
    assert_eq!(with(1, 3), Some(StartLineTooLong));
    assert_eq!(with(0, 3), Some(StartLineTooLong));
}

/// HC25
#[test]
fn client_reads_into_a_small_buffer_fails_where_a_value_must_be_whole() {
    use HandshakeError::*;
    let with = |buffer, changes: &[_]| {
        connect_in(OFFERS, Setup { buffer, ..setup() }, &answer(changes), &[1])
            .verdict
            .err()
    };
    assert_eq!(with(48, &[]), None);
    assert_eq!(with(47, &[]), Some(HeaderTooLong));
    assert_eq!(with(31, &[]), Some(StartLineTooLong));
    let cookie = "c".repeat(16_384);
    assert_eq!(with(48, &[("Set-Cookie", &cookie)]), None);
    let long = format!("{}chat", " ,".repeat(1000));
    assert_eq!(with(48, &[("Sec-WebSocket-Protocol", &long)]), None);
    let long = format!("{}websocket", "websocket, ".repeat(1000));
    assert_eq!(with(48, &[("Upgrade", &long)]), None);
    let long = format!("foo; x=\"{}\"", "\\y".repeat(1000));
    assert_eq!(with(48, &[("Sec-WebSocket-Extensions", &long)]), None);
    let long = "a".repeat(100);
    let error = with(64, &[("Sec-WebSocket-Accept", &long)]);
    assert_eq!(error, Some(HeaderTooLong));
}

/// The client and the server of this crate understand each other, with every byte through one.
///
/// HC12
/// HC22
/// HS19
#[test]
fn client_and_server_meet_byte_by_byte() {
    let request = sample().offers(&OFFERS).expect("right");
    let mut wire =
        emitted(|offset, out| request.emit_from(offset, out, &sample_key())).into_bytes();
    let request_len = wire.len();
    wire.push(0x81);
    let server = Setup {
        subprotocols: &["superchat"],
        ..setup()
    };
    let outcome = serve_in(server, &wire, &[1]);
    assert_eq!(outcome.taken, request_len);
    let upgrade = outcome.verdict.expect("right").expect("whole");
    let upgrade = upgrade.extensions("foo; x").expect("offered");
    let mut wire = emitted(|offset, out| upgrade.emit_from(offset, out)).into_bytes();
    let response_len = wire.len();
    wire.push(0x82);
    let outcome = connect_in(OFFERS, setup(), &wire, &[1]);
    assert_eq!(outcome.verdict, Ok(Some(Some("superchat"))));
    assert_eq!(outcome.taken, response_len);
}

// -------------------------------------------------------------------------------- any input at all

/// Heads to begin with, each with something of everything.
fn seeds() -> Vec<Vec<u8>> {
    let extra = [
        ("Cookie", "a=b; c=\"d e\"   ;  f"),
        ("Connection", "keep-alive, Upgrade"),
        ("Sec-WebSocket-Protocol", "chat, superchat"),
        ("Sec-WebSocket-Extensions", "foo; x=\"1\", bar"),
        ("Content-Length", "0"),
        ("X-Empty", "  \t "),
    ];
    let answer = [
        ("Sec-WebSocket-Protocol", "chat"),
        ("Sec-WebSocket-Extensions", "foo; x=1"),
    ];
    vec![
        request(&extra),
        request(&[]),
        self::answer(&answer),
        [
            b"HTTP/1.1 103 Hints\r\nA: b\r\n\r\n".to_vec(),
            self::answer(&[]),
        ]
        .concat(),
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(),
        b"HTTP/1.1 404 No\r\nContent-Length: 2\r\n\r\nno".to_vec(),
        b"\r\nGET ws://a/\xC3\xA9 HTTP/1.1\r\nHost: a\r\nSec-WebSocket-Protocol:\r\n\r\n".to_vec(),
        self::answer(&[
            ("Set-Cookie", "a=b;\r\n  c"),
            ("Connection", "\r\n\tUpgrade \r\n "),
        ]),
    ]
}

/// A seed with some bytes changed, removed or put in.
fn mutated() -> impl Strategy<Value = Vec<u8>> {
    let bytes = prop_oneof![
        prop::sample::select(b"\r\n\0 \t:,;=\"\\#/aA1\x7F\x80\xFF".to_vec()),
        any::<u8>(),
    ];
    let change = (any::<prop::sample::Index>(), 0..3_u8, bytes);
    let changes = prop::collection::vec(change, 0..4);
    (prop::sample::select(seeds()), changes).prop_map(|(mut head, changes)| {
        for (index, kind, byte) in changes {
            let at = index.index(head.len());
            match kind {
                0 => head[at] = byte,
                1 => head.insert(at, byte),
                _ => drop(head.remove(at)),
            }
        }
        head
    })
}

/// However the input is cut, the same events and the same error come at the same byte.
fn check_splits(input: &[u8], sizes: &[usize], buffer: usize) {
    let subprotocols = &["superchat", "chat"];
    let with = Setup {
        buffer,
        subprotocols,
        ..setup()
    };
    let whole = serve_in(with, input, &[usize::MAX]);
    assert_eq!(serve_in(with, input, sizes), whole);
    assert_eq!(serve_in(with, input, &[1]), whole);
    let whole = connect_in(OFFERS, with, input, &[usize::MAX]);
    assert_eq!(connect_in(OFFERS, with, input, sizes), whole);
    assert_eq!(connect_in(OFFERS, with, input, &[1]), whole);
}

/// HS21
/// HC22
#[test]
fn any_split_in_two_gives_the_same() {
    for seed in seeds() {
        let input = [seed, b"\x81\x05Hello".to_vec()].concat();
        for at in 1..input.len() {
            check_splits(&input, &[at, usize::MAX], 256);
        }
    }
}

proptest! {
    /// HS21
    #[test]
    fn any_input_in_any_chunks_gives_the_same(
        input in mutated(),
        sizes in prop::collection::vec(1..40_usize, 1..8),
        buffer in 0..300_usize,
    ) {
        check_splits(&input, &sizes, buffer);
    }

    /// HS21
    #[test]
    fn any_buffer_gives_the_same_or_finds_something_too_long(
        input in mutated(),
        buffer in 0..300_usize,
    ) {
        let large = serve_in(Setup { buffer: 4096, ..setup() }, &input, &[usize::MAX]);
        let small = serve_in(Setup { buffer, ..setup() }, &input, &[usize::MAX]);
        match small.verdict {
            Err(HandshakeError::HeaderTooLong | HandshakeError::StartLineTooLong) => {}
            verdict => {
                prop_assert_eq!(verdict, large.verdict);
                prop_assert_eq!(small.taken, large.taken);
                if large.verdict.is_ok() {
                    prop_assert_eq!(small.headers(), large.headers());
                }
            }
        }
    }

    /// Whatever list of extensions: the reader of the head and the parser agree.
    ///
    /// HS17
    #[test]
    fn any_extensions_get_one_verdict(value in "[ab;,=\"\\\\ \t@]{0,12}") {
        let parsed = Extensions::parse(value.as_bytes()).all(|extension| extension.is_ok());
        // A header with nothing in it is no extension.
        let parsed = parsed || value.trim_matches([' ', '\t']).is_empty();
        let refused = refusal(&[("Sec-WebSocket-Extensions", &format!(" {value}"))]);
        prop_assert_eq!(refused, (!parsed).then_some(HandshakeError::Extensions));
        for extension in Extensions::parse(value.as_bytes()).flatten() {
            prop_assert!(!extension.name.is_empty());
            for param in extension.params() {
                prop_assert!(!param.name.is_empty());
                prop_assert!(param.value.is_none_or(|value| value.bytes().next().is_some()));
            }
        }
    }

    /// Against an independent SHA-1 and base64, in both roles.
    ///
    /// HS13
    /// HC09
    /// HC16
    #[test]
    fn any_nonce_gives_the_right_key_and_accept(nonce in any::<[u8; 16]>()) {
        struct Fixed([u8; 16]);
        impl Entropy for Fixed {
            fn fill(&mut self, bytes: &mut [u8]) -> Result<(), EntropyError> {
                bytes.copy_from_slice(&self.0);
                Ok(())
            }
        }
        let expected = STANDARD.encode(nonce);
        let accept = accept(&expected);

        let outcome = serve(&request(&[("Sec-WebSocket-Key", &expected)]));
        let upgrade = outcome.verdict.expect("right").expect("whole");
        let mut out = [0; 200];
        let len = upgrade.emit_from(0, &mut out);
        let response = core::str::from_utf8(&out[..len]).expect("text");
        let line = format!("\r\nSec-WebSocket-Accept: {accept}\r\n");
        prop_assert!(response.contains(&line));

        let key = Key::new(&mut Fixed(nonce)).expect("right");
        let request = Request::new("a", "/").expect("right");
        let mut out = [0; 300];
        let len = request.emit_from(0, &mut out, &key);
        let text = core::str::from_utf8(&out[..len]).expect("text");
        let line = format!("\r\nSec-WebSocket-Key: {expected}\r\n");
        prop_assert!(text.contains(&line));
        let mut handshake = ClientHandshake::new(&key, [0; 64]);
        let mut input = response.as_bytes();
        let offers = Offers::new();
        while !matches!(handshake.next_event(&mut input, &offers), Ok(Some(ResponseEvent::Done(_)))) {}
    }
}

/// What a handshake comes to, byte by byte, as text.
fn told(input: &[u8], mut next: impl FnMut(&mut &[u8]) -> Option<String>) -> Vec<String> {
    let mut told = Vec::new();
    for octet in input {
        let mut input = core::slice::from_ref(octet);
        while let Some(event) = next(&mut input) {
            told.push(event);
        }
    }
    told
}

fn text<T: core::fmt::Debug, E: core::fmt::Debug>(event: Result<Option<T>, E>) -> Option<String> {
    event.transpose().map(|event| format!("{event:?}"))
}

#[test]
fn server_buffer_lent_to_each_call_tells_the_same() {
    let input = b"GET / HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        Cookie: longer than the buffer, so that it comes in two parts\r\nSec-WebSocket-Key: \
        dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
    let mut own = ServerHandshake::new([0; 48]);
    let mut lent = ServerHandshake::new([]);
    let mut buffer = [0; 48];
    let expected = told(input, |input| text(own.next_event(input, &OFFERS)));
    assert_eq!(expected.len(), 9, "{expected:#?}");
    let told = told(input, |input| {
        text(lent.next_event_in(&mut buffer, input, &OFFERS))
    });
    assert_eq!(told, expected);
}

#[test]
fn client_buffer_lent_to_each_call_tells_the_same() {
    let input = b"HTTP/1.1 101 \r\nUpgrade: websocket\r\nConnection: Upgrade\r\nServer: with a \
        name that is longer than the buffer, in two parts\r\nSec-WebSocket-Accept: \
        s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
    let mut own = ClientHandshake::new(&sample_key(), [0; 48]);
    let mut lent = ClientHandshake::new(&sample_key(), []);
    let mut buffer = [0; 48];
    let expected = told(input, |input| text(own.next_event(input, &OFFERS)));
    assert_eq!(expected.len(), 7, "{expected:#?}");
    let told = told(input, |input| {
        text(lent.next_event_in(&mut buffer, input, &OFFERS))
    });
    assert_eq!(told, expected);
}

/// The two halves of `next_event` tell the same as the whole, and nothing when there is nothing.
#[test]
fn step_tells_whether_there_is_an_event() {
    let request = request(&[]);
    let mut whole = ServerHandshake::new([0; 256]);
    let mut halves = ServerHandshake::new([0; 256]);
    assert_eq!(halves.event(), None);
    for byte in request.chunks(1) {
        let (mut one, mut two) = (byte, byte);
        let event = whole.next_event(&mut one, &OFFERS).unwrap();
        assert_eq!(halves.step(&mut two, &OFFERS), Ok(event.is_some()));
        assert_eq!(halves.event(), event);
        assert_eq!(halves.event(), event, "it stays until the next step");
        let done = matches!(event, Some(RequestEvent::Done(_)));
        assert_eq!(halves.is_done(), done);
    }
    assert!(halves.is_done());
    assert_eq!(halves.step(&mut &b"\x81\x80"[..], &OFFERS), Ok(false));
    assert_eq!(halves.event(), None);
    assert!(halves.is_done());

    // After an error there is no event, not even that of the line before it.
    let mut halves = ServerHandshake::new([0; 256]);
    let mut input: &[u8] = b"GET / HTTP/1.1\r\nHost\r\n";
    assert_eq!(halves.step(&mut input, &OFFERS), Ok(true));
    for _ in 0..2 {
        assert_eq!(
            halves.step(&mut input, &OFFERS),
            Err(HandshakeError::HeaderName)
        );
        assert_eq!(halves.event(), None);
        assert!(!halves.is_done());
    }

    let mut client = ClientHandshake::new(&sample_key(), [0; 256]);
    let mut input: &[u8] = b"HTTP/1.1 404 Not Found\r\n\r\n";
    assert_eq!(client.event(), None);
    assert_eq!(client.step(&mut input, &OFFERS), Ok(true));
    assert!(matches!(
        client.event(),
        Some(ResponseEvent::StatusLine { status: 404, .. })
    ));
    let error = HandshakeError::UnexpectedStatus(404);
    assert_eq!(client.step(&mut input, &OFFERS), Err(error));
    assert_eq!(client.event(), None);
}
