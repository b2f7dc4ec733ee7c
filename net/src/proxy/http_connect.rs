//! HTTP CONNECT (RFC 9110 §9.3.6): the request, and the head of the response.

use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use http::header::{HOST, PROXY_AUTHORIZATION};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};

use super::tunnel::TunnelError;
use crate::authority::{Credentials, Host};

/// The longest head that is read, in bytes, with all interim responses.
const MAX_HEAD: usize = 16 * 1024;

/// The most headers in it.
const MAX_HEADERS: usize = 64;

/// What every answer in HTTP begins with.
const PROTOCOL: &[u8] = b"HTTP/";

/// The request for a tunnel.
pub(super) fn request(
    host: &Host,
    port: u16,
    credentials: Option<&Credentials>,
    headers: &HeaderMap,
) -> Result<Vec<u8>, TunnelError> {
    let authority = format!("{}:{port}", host.bracketed());
    let mut request = format!("CONNECT {authority} HTTP/1.1\r\n").into_bytes();
    let mut put = |name: &str, value: &[u8]| {
        for part in [name.as_bytes(), b": ", value, b"\r\n"] {
            request.extend_from_slice(part);
        }
    };
    if !headers.contains_key(HOST) {
        put("Host", authority.as_bytes());
    }
    if let Some(credentials) = credentials
        && !headers.contains_key(PROXY_AUTHORIZATION)
    {
        let value = credentials.basic().map_err(|_| TunnelError::Credentials)?;
        put("Proxy-Authorization", value.as_bytes());
    }
    for (name, value) in headers {
        put(name.as_str(), value.as_bytes());
    }
    request.extend_from_slice(b"\r\n");
    Ok(request)
}

/// What a proxy has written behind the status, among the [extensions](http::Extensions) of its response:
/// often why it refuses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReasonPhrase(pub String);

/// Reads the head of a response, up to its empty line and not a byte further.
#[derive(Clone, Default)]
pub(super) struct HeadReader {
    head: Vec<u8>,
    /// Bytes of the line that is being read, without CR and LF.
    line: usize,
    /// Bytes taken so far.
    taken: usize,
}

impl HeadReader {
    /// Takes bytes up to the end of the head. `None` wants more.
    pub(super) fn receive(
        &mut self,
        input: &mut &[u8],
    ) -> Result<Option<Response<()>>, TunnelError> {
        while let Some((byte, rest)) = input.split_first() {
            *input = rest;
            self.taken = self.taken.saturating_add(1);
            if self.taken > MAX_HEAD {
                return Err(TunnelError::HeadTooLong);
            }
            // RFC 9112 §2.2: empty lines before the first line mean nothing
            if self.head.is_empty() && matches!(byte, b'\r' | b'\n') {
                continue;
            }
            self.head.push(*byte);
            // So that something else than HTTP is noticed before it has sent a line.
            if !PROTOCOL.starts_with(&self.head) && !self.head.starts_with(PROTOCOL) {
                return Err(TunnelError::NotHttp);
            }
            match byte {
                b'\n' if self.line == 0 => {
                    let response = parse(&self.head)?;
                    self.head.clear();
                    // RFC 9110 §15.2: the answer is still to come
                    if response.status() != StatusCode::SWITCHING_PROTOCOLS
                        && response.status().is_informational()
                    {
                        continue;
                    }
                    return Ok(Some(response));
                }
                b'\n' => self.line = 0,
                b'\r' => {}
                _ => self.line = self.line.saturating_add(1),
            }
        }
        Ok(None)
    }
}

fn parse(head: &[u8]) -> Result<Response<()>, TunnelError> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut parsed = httparse::Response::new(&mut headers);
    let mut config = httparse::ParserConfig::default();
    config.allow_obsolete_multiline_headers_in_responses(true);
    match config.parse_response(&mut parsed, head) {
        Ok(httparse::Status::Complete(len)) if len == head.len() => {}
        Err(httparse::Error::TooManyHeaders) => return Err(TunnelError::HeadTooLong),
        _ => return Err(TunnelError::NotHttp),
    }
    let mut response = Response::new(());
    if let Some(reason) = parsed.reason.filter(|reason| !reason.is_empty()) {
        response
            .extensions_mut()
            .insert(ReasonPhrase(reason.to_owned()));
    }
    let code = parsed.code.unwrap_or_default();
    *response.status_mut() = StatusCode::from_u16(code).map_err(|_| TunnelError::NotHttp)?;
    for header in parsed.headers {
        // RFC 9112 §5.2: a folded line is one with spaces
        let unfolded: Vec<u8> = header.value.iter().map(unfold).collect();
        let name = HeaderName::from_bytes(header.name.as_bytes());
        let value = HeaderValue::from_bytes(&unfolded);
        if let (Ok(name), Ok(value)) = (name, value) {
            response.headers_mut().append(name, value);
        }
    }
    Ok(response)
}

const fn unfold(byte: &u8) -> u8 {
    match byte {
        b'\r' | b'\n' => b' ',
        byte => *byte,
    }
}

#[cfg(test)]
mod tests {
    use super::super::Proxy;
    use super::*;
    use crate::Tunnel;
    use http::header::{PROXY_AUTHENTICATE, USER_AGENT};

    fn sent(proxy: Proxy, host: &str) -> String {
        let host = Host::parse(host).expect(host);
        let tunnel = proxy.tunnel(&host, 443).expect("a tunnel");
        String::from_utf8(tunnel.to_send().to_vec()).expect("ASCII")
    }

    fn proxy(url: &str) -> Proxy {
        Proxy::parse(url).expect(url)
    }

    #[test]
    fn request_names_the_server_and_its_port() {
        let request = sent(proxy("p"), "example.com");
        let expected = "CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n\r\n";
        assert_eq!(request, expected);
        let request = sent(proxy("p"), "[::1]");
        assert!(request.starts_with("CONNECT [::1]:443 HTTP/1.1\r\nHost: [::1]:443\r\n"));
    }

    #[test]
    fn credentials_become_basic_authentication() {
        let request = sent(proxy("Aladdin:open%20sesame@p"), "h");
        assert!(
            request.contains("\r\nProxy-Authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==\r\n")
        );
        let other = HeaderValue::from_static("Bearer 42");
        let bearer = proxy("u:p@p")
            .with_header(PROXY_AUTHORIZATION, other)
            .with_header(USER_AGENT, HeaderValue::from_static("me"));
        let request = sent(bearer, "h").to_ascii_lowercase();
        assert_eq!(request.matches("proxy-authorization").count(), 1);
        assert!(request.contains("bearer 42\r\n") && request.contains("user-agent: me\r\n"));
        let host = proxy("p").with_header(HOST, HeaderValue::from_static("other"));
        let request = sent(host, "h").to_ascii_lowercase();
        assert_eq!(request.matches("\r\nhost: ").count(), 1);
        let with_colon = proxy("p").with_credentials(Some(Credentials::new("a:b", "")));
        let tunnel = with_colon.tunnel(&Host::Name("h".into()), 80);
        assert!(matches!(tunnel, Err(TunnelError::Credentials)));
    }

    fn answer(response: &[u8]) -> (Tunnel, Result<(), TunnelError>, usize) {
        let host = Host::Name("h".into());
        let mut tunnel = proxy("p").tunnel(&host, 80).expect("a tunnel");
        tunnel.sent(tunnel.to_send().len());
        let mut input = response;
        let result = tunnel.receive(&mut input);
        (tunnel, result, input.len())
    }

    #[test]
    fn success_opens_the_tunnel_and_leaves_the_rest() {
        let heads = [
            "HTTP/1.1 200 Connection established\r\n\r\n",
            "HTTP/1.0 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
            "\r\n\r\nHTTP/1.1 201\r\nVia: a\r\n b\r\n\r\n",
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 \r\nA: b\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
            "HTTP/1.1 200 OK\nA: b\n\n",
        ];
        for head in heads {
            let (tunnel, result, left) = answer(&[head.as_bytes(), b"hello"].concat());
            assert!(result.is_ok() && tunnel.is_open(), "{head:?} {result:?}");
            assert_eq!(left, 5, "{head:?}");
        }
    }

    #[test]
    fn refusal_is_reported_with_its_head_and_its_body() {
        let head = b"HTTP/1.1 407 Proxy Authentication Required\r\n\
            Proxy-Authenticate: Basic realm=\"a\"\r\nContent-Length: 4\r\n\r\nbodyHTTP/1.1";
        let (tunnel, result, left) = answer(head);
        let Err(TunnelError::AuthenticationRequired(response)) = result else {
            panic!("{result:?}");
        };
        let challenge = response.headers().get(PROXY_AUTHENTICATE);
        assert_eq!(
            challenge.map(HeaderValue::as_bytes),
            Some(&b"Basic realm=\"a\""[..])
        );
        assert_eq!(response.body(), b"body");
        assert_eq!(left, 8);
        assert!(!tunnel.is_open() && tunnel.is_refused());
    }

    /// The body ends as it says, or with the connection, or where it is wrong.
    #[test]
    fn refusal_says_why() {
        let refused = |head: &str, body: &str| {
            let text = format!("HTTP/1.1 {head}\r\n\r\n{body}");
            let (mut tunnel, mut result, _) = answer(text.as_bytes());
            if result.is_ok() {
                assert!(tunnel.is_refused());
                result = tunnel.receive_eof();
            }
            let Err(TunnelError::Refused(response)) = result else {
                panic!("{result:?}");
            };
            let body = String::from_utf8_lossy(response.body()).into_owned();
            let status = response.status().as_u16();
            (status, body, format!("{}", TunnelError::Refused(response)))
        };
        let prefix = "the proxy refused with the status";
        for (head, body, content, shown) in [
            ("403 Filtered", "", "", "403 Filtered"),
            ("503 ", "", "", "503"),
            ("302 No", "no\n", "no\n", "302 No: no"),
            ("101 No", "x", "", "101 No"),
            (
                "403 No\r\nTransfer-Encoding: chunked",
                "3\r\nwhy\r\n0\r\n\r\n",
                "why",
                "403 No: why",
            ),
            (
                "403 No\r\nTransfer-Encoding: chunked",
                "3\r\nwhy\r\n",
                "why",
                "403 No: why",
            ),
            (
                "403 No\r\nTransfer-Encoding: chunked",
                "3\r\nwhyx",
                "why",
                "403 No: why",
            ),
            ("403 No\r\nContent-Length: a", "why", "", "403 No"),
            ("403 No\r\nContent-Length: 9", "why", "why", "403 No: why"),
            ("403 No", "<html>no</html>", "<html>no</html>", "403 No"),
            ("403 No", "a\nb", "a\nb", "403 No"),
        ] {
            let (status, kept, text) = refused(head, body);
            assert!(head.starts_with(&format!("{status}")));
            assert_eq!(kept, content, "{head:?}");
            assert_eq!(text, format!("{prefix} {shown}"), "{head:?}");
        }
        let long = "x".repeat(20_000);
        let (_, kept, text) = refused("403 No", &long);
        assert_eq!(kept.len(), 16 * 1024);
        assert_eq!(text, format!("{prefix} 403 No"));
    }

    #[test]
    fn answer_that_is_no_head_is_refused() {
        let cases: [&[u8]; 7] = [
            b"\x05\x00",
            b"HTTPS",
            b"SSH-2.0-OpenSSH_9.2\r\n",
            b"HTTP/1.1 2000 OK\r\n\r\n",
            b"HTTP/1.1 099 OK\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nA b\r\n\r\n",
            b"HTTP/2 200\r\n\r\n",
        ];
        for case in cases {
            let (mut tunnel, result, left) = answer(case);
            let text = String::from_utf8_lossy(case);
            assert!(
                matches!(result, Err(TunnelError::NotHttp)),
                "{text:?} {result:?}"
            );
            let mut more = &b"HTTP/1.1 200 OK\r\n\r\n"[..];
            let again = tunnel.receive(&mut more);
            assert!(matches!(again, Err(TunnelError::NotHttp)), "{again:?}");
            assert_eq!(more.len(), 19, "{left}");
        }
    }

    #[test]
    fn head_beyond_its_limits_is_refused() {
        for endless in ["A: b\r\n", "\r\n", "x"] {
            let start = if endless == "\r\n" {
                ""
            } else {
                "HTTP/1.1 200 OK\r\n"
            };
            let head = format!("{start}{}", endless.repeat(MAX_HEAD));
            let (_, result, left) = answer(head.as_bytes());
            assert!(
                matches!(result, Err(TunnelError::HeadTooLong)),
                "{result:?}"
            );
            assert_eq!(left, head.len() - MAX_HEAD - 1);
        }
        let many = "a:b\r\n".repeat(MAX_HEADERS + 1);
        let (_, result, _) = answer(format!("HTTP/1.1 200 OK\r\n{many}\r\n").as_bytes());
        assert!(
            matches!(result, Err(TunnelError::HeadTooLong)),
            "{result:?}"
        );
    }
}
