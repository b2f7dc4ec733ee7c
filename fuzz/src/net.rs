//! What proxies and servers answer on the way to a WebSocket, and the URLs that they name.
//!
//! The bytes of an input:
//!
//! | bytes | what |
//! |---|---|
//! | 1 | what is read, modulo 8: see [`check`] |
//! | 1 | the limit on a body's content |
//! | 4 | the sizes of the pieces that the rest is cut into, over and over |
//! | the rest | what is read |

use motews_net::http::header::{CONTENT_LENGTH, LOCATION, TRANSFER_ENCODING};
use motews_net::http::{HeaderMap, HeaderValue, Method, StatusCode};
use motews_net::{
    Body, BodyError, Credentials, Framing, Host, Proxy, RedirectError, RedirectPolicy, Redirects,
    Tunnel, TunnelError, Url,
};

use super::pieces;

/// Checks one input.
///
/// # Panics
/// Where a property does not hold.
pub fn check(data: &[u8]) {
    let [what, limit, rest @ ..] = data else {
        return;
    };
    let Some((sizes, input)) = rest.split_at_checked(4) else {
        return;
    };
    let limit = usize::from(*limit);
    match what % 8 {
        0 => tunnel("proxy", input, sizes),
        1 => tunnel("user:password@proxy", input, sizes),
        2 => tunnel("socks5h://proxy", input, sizes),
        3 => tunnel("socks5://user:password@proxy", input, sizes),
        4 => body(Framing::Chunked, limit, input, sizes),
        5 => {
            let framing = match limit % 3 {
                0 => Framing::Empty,
                1 => Framing::UntilEnd,
                _ => Framing::Counted(input.len() as u64 / 2),
            };
            body(framing, limit, input, sizes);
        }
        6 => framing(limit as u16, input),
        _ => url(limit, input),
    }
}

/// What became of a tunnel.
#[derive(Debug, PartialEq, Eq)]
struct Opened {
    sent: Vec<u8>,
    is_open: bool,
    error: String,
    consumed: usize,
}

fn open(proxy: &str, input: &[u8], sizes: &[u8]) -> Opened {
    let host = Host::Name("server.example".to_owned());
    let proxy = Proxy::parse(proxy).expect("a proxy");
    let mut tunnel: Tunnel = proxy.tunnel(&host, 443).expect("a tunnel");
    let mut opened = Opened {
        sent: Vec::new(),
        is_open: false,
        error: String::new(),
        consumed: 0,
    };
    for piece in pieces(input.len(), sizes) {
        opened.sent.extend_from_slice(tunnel.to_send());
        tunnel.sent(tunnel.to_send().len());
        let piece = &input[piece];
        let mut rest = piece;
        let result = tunnel.receive(&mut rest);
        opened.consumed += piece.len() - rest.len();
        assert_eq!(result.is_ok() && tunnel.is_open(), tunnel.is_open());
        // More is wanted only if all was taken.
        assert!(rest.is_empty() || tunnel.is_open() || result.is_err());
        opened.error = result.as_ref().err().map(describe).unwrap_or_default();
    }
    opened.sent.extend_from_slice(tunnel.to_send());
    opened.is_open = tunnel.is_open();
    let at_the_end = tunnel.receive_eof();
    assert_eq!(at_the_end.is_ok(), opened.is_open);
    opened
}

fn describe(error: &TunnelError) -> String {
    format!("{error}: {error:?}")
}

fn tunnel(proxy: &str, input: &[u8], sizes: &[u8]) {
    let whole = open(proxy, input, &[]);
    assert_eq!(open(proxy, input, sizes), whole);
    let taken = &input[..whole.consumed];
    if proxy.starts_with("socks") {
        check_socks(proxy.contains('@'), taken, &whole);
    } else {
        // A head and a body of 16 KiB each; that may come in chunks of one byte, with extensions and
        // trailers.
        assert!(taken.len() <= (16 + 6 * 16 + 4 + 8 + 1) * 1024);
        assert!(!whole.is_open || is_open_by_httparse(taken));
    }
}

/// The last head is the answer, and interim ones stand before it.
fn is_open_by_httparse(mut heads: &[u8]) -> bool {
    loop {
        // Line ends before the first line are dropped, whole or half.
        let start = heads.iter().position(|byte| !b"\r\n".contains(byte));
        heads = &heads[start.unwrap_or(heads.len())..];
        let mut headers = [httparse::EMPTY_HEADER; 64];
        let mut response = httparse::Response::new(&mut headers);
        let parsed = httparse::ParserConfig::default()
            .allow_obsolete_multiline_headers_in_responses(true)
            .parse_response(&mut response, heads);
        let Ok(httparse::Status::Complete(len)) = parsed else {
            return false;
        };
        match response.code {
            Some(200..=299) => return len == heads.len(),
            Some(100 | 102..=199) => heads = &heads[len..],
            _ => return false,
        }
    }
}

/// RFC 1928 and 1929, read from the whole.
fn check_socks(with_password: bool, taken: &[u8], opened: &Opened) {
    let reply = match taken {
        [5, 0, reply @ ..] => reply,
        [5, 2, _, 0, reply @ ..] if with_password => reply,
        _ => {
            assert!(!opened.is_open);
            return;
        }
    };
    let is_whole = match reply {
        [5, 0, _, 1, rest @ ..] => rest.len() == 6,
        [5, 0, _, 4, rest @ ..] => rest.len() == 18,
        [5, 0, _, 3, len, rest @ ..] => rest.len() == usize::from(*len) + 2,
        _ => false,
    };
    assert_eq!(opened.is_open, is_whole);
    if is_whole {
        assert!(
            opened
                .sent
                .ends_with(b"\x05\x01\0\x03\x0eserver.example\x01\xbb")
        );
    }
}

/// What became of a body.
#[derive(Debug, Default, PartialEq, Eq)]
struct Decoded {
    content: Vec<u8>,
    error: Option<BodyError>,
    complete: bool,
    truncated: bool,
    consumed: usize,
}

fn decode(framing: Framing, limit: usize, input: &[u8], sizes: &[u8]) -> Decoded {
    let mut body = Body::new(framing, limit);
    let mut decoded = Decoded::default();
    for piece in pieces(input.len(), sizes) {
        let piece = &input[piece];
        let mut rest = piece;
        loop {
            match body.next_content(&mut rest) {
                Ok(Some(content)) => {
                    assert!(!content.is_empty());
                    decoded.content.extend_from_slice(content);
                }
                Ok(None) => break,
                Err(error) => {
                    decoded.error = Some(error);
                    break;
                }
            }
        }
        decoded.consumed += piece.len() - rest.len();
        assert!(rest.is_empty() || body.is_complete() || decoded.error.is_some());
    }
    decoded.complete = body.is_complete();
    decoded.truncated = body.is_truncated();
    let ended = body.receive_eof();
    assert_eq!(
        ended.is_ok(),
        decoded.complete || framing == Framing::UntilEnd
    );
    decoded
}

fn body(framing: Framing, limit: usize, input: &[u8], sizes: &[u8]) {
    let whole = decode(framing, limit, input, &[]);
    assert_eq!(decode(framing, limit, input, sizes), whole);
    assert!(whole.content.len() <= limit);
    match framing {
        Framing::Chunked if whole.complete && !whole.truncated => {
            let expected = chunked(&input[..whole.consumed]);
            assert_eq!(expected.as_deref(), Some(whole.content.as_slice()));
        }
        Framing::Chunked => {}
        _ => assert_eq!(whole.content, input[..whole.consumed]),
    }
}

/// RFC 9112 §7.1, read from the whole: nothing follows the body.
fn chunked(mut body: &[u8]) -> Option<Vec<u8>> {
    let mut content = Vec::new();
    loop {
        let line = body.windows(2).position(|end| end == b"\r\n")?;
        let digits = body.iter().take_while(|byte| byte.is_ascii_hexdigit());
        let digits: String = digits.map(|byte| char::from(*byte)).collect();
        let size = usize::from_str_radix(&digits, 16).ok()?;
        body = &body[line + 2..];
        if size == 0 {
            break;
        }
        content.extend_from_slice(body.get(..size)?);
        body = body.get(size..)?.strip_prefix(b"\r\n")?;
    }
    // The trailers, and the empty line.
    (body == b"\r\n" || body.ends_with(b"\r\n\r\n")).then_some(content)
}

/// The headers are lines: `l` and a length, or `t` and codings.
fn framing(status: u16, input: &[u8]) {
    let mut headers = HeaderMap::new();
    for line in input.split(|byte| *byte == b'\n') {
        let Some((kind, value)) = line.split_first() else {
            continue;
        };
        let Ok(value) = HeaderValue::from_bytes(value) else {
            continue;
        };
        let name = match kind {
            b'l' => CONTENT_LENGTH,
            _ => TRANSFER_ENCODING,
        };
        headers.append(name, value);
    }
    let status = StatusCode::from_u16(status * 2 + 100).expect("at most 610");
    let of = |method| Framing::of_response(&method, status, &headers);
    assert_eq!(of(Method::HEAD), Ok(Framing::Empty));
    match of(Method::GET) {
        Ok(Framing::Chunked) => assert!(headers.contains_key(TRANSFER_ENCODING)),
        Ok(Framing::Counted(length)) => {
            assert!(!headers.contains_key(TRANSFER_ENCODING));
            for value in headers.get_all(CONTENT_LENGTH) {
                let text = value.to_str().expect("digits");
                let lengths = text.split(',').map(|one| one.trim().parse());
                assert!(lengths.into_iter().all(|one| one == Ok(length)));
            }
        }
        Ok(_) | Err(_) => {}
    }
}

fn url(hops: usize, input: &[u8]) {
    let Ok(text) = core::str::from_utf8(input) else {
        return;
    };
    if let Ok(proxy) = Proxy::parse(text) {
        assert!(is_visible(&proxy.to_string()));
    }
    let secret = Credentials::new("user", "secret");
    let first = Url::parse(text.split('\n').next().unwrap_or_default());
    if let Ok(url) = &first {
        check_url(url);
    }
    // What follows are the places that servers point to.
    let mut url = first
        .or_else(|_| Url::parse("wss://a.example:81/b/c?d"))
        .expect("a URL")
        .with_credentials(Some(secret));
    let start = url.clone();
    let mut redirects = Redirects::new(RedirectPolicy {
        max_hops: hops as u8 % 8,
        allow_downgrade: false,
        keep_headers: hops % 2 == 1,
    });
    for line in text.split('\n') {
        let Ok(value) = HeaderValue::from_str(line) else {
            continue;
        };
        let headers = HeaderMap::from_iter([(LOCATION, value)]);
        let followed = redirects.follow(&url, StatusCode::FOUND, &headers);
        if redirects.hops() == hops as u8 % 8 && followed.is_err() {
            assert_eq!(followed, Err(RedirectError::TooMany));
            break;
        }
        let Ok(next) = followed else {
            continue;
        };
        check_url(&next.clone().with_credentials(None));
        assert!(next.is_secure() || !url.is_secure());
        if next.credentials().is_some() {
            assert_eq!(next.credentials(), start.credentials());
            let bare = |host: &Host| host.to_string().trim_end_matches('.').to_owned();
            assert_eq!(bare(next.host()), bare(start.host()));
        }
        url = next;
    }
    assert!(usize::from(redirects.hops()) <= hops % 8);
}

fn is_visible(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// What a URL puts into a request is one word, and the URL shown is the same one.
fn check_url(url: &Url) {
    assert!(is_visible(&url.authority()), "{url}");
    assert!(
        !url.authority().contains(['/', '?', '#', '@', '\\']),
        "{url}"
    );
    assert!(url.target().starts_with('/'), "{url}");
    assert!(
        is_visible(url.target()) && !url.target().contains('#'),
        "{url}"
    );
    let again = Url::parse(&url.to_string());
    assert_eq!(again, Ok(url.clone().with_credentials(None)));
    if let Some(credentials) = url.credentials() {
        assert!(credentials.basic().is_ok());
    }
    assert_eq!(url.join(""), Ok(url.clone().with_credentials(None)));
    assert_ne!(url.port(), 0);
}
