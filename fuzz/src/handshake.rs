//! The opening handshake, both roles: any head, cut in any way, read through a buffer of any size;
//! and any strings, written through an output of any size.
//!
//! The bytes of an input:
//!
//! | bytes | what |
//! |---|---|
//! | 1 | bit 0: a client, which reads a response, else a server, which reads a request; bit 1: strings to write instead; bit 2: tight limits |
//! | 1 | the buffer's size |
//! | 4 | the sizes of the pieces that the head is cut into, over and over |
//! | the rest | the head, and what follows it; or the strings, with 0xFF between them: see [`Strings`] |

use motews::handshake::{
    ClientHandshake, ConfigError, Extensions, HandshakeError, HeadConfig, Header, Request,
    RequestEvent, Response, ResponseEvent, ServerHandshake, resource_name,
};
use motews::{Entropy, EntropyError};

use super::pieces;

/// The nonce of RFC 6455 §1.3.
#[derive(Debug)]
pub struct SampleNonce;

impl Entropy for SampleNonce {
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), EntropyError> {
        bytes.copy_from_slice(b"the sample nonce");
        Ok(())
    }
}

/// The subprotocols that the server speaks and the client offers.
pub const SUBPROTOCOLS: &[&str] = &["superchat", "chat"];
const OFFERED_EXTENSIONS: &[&str] = &["permessage-deflate; client_max_window_bits", "x-other"];
/// As large as any line here.
const AMPLE: usize = 1 << 16;

/// A request that offers [`SUBPROTOCOLS`], with the sample nonce.
///
/// # Panics
/// Never: there is nothing wrong with it.
#[must_use]
pub fn sample_request() -> Request<'static> {
    Request::new("example.com", "/chat", &mut SampleNonce)
        .and_then(|request| request.subprotocols(SUBPROTOCOLS))
        .and_then(|request| request.extensions(OFFERED_EXTENSIONS))
        .expect("a sound request")
}

/// An event, by value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// A request line.
    RequestLine(String, String, (u8, u8)),
    /// A status line.
    StatusLine(u16, Vec<u8>),
    /// A header, or a part of one.
    Header {
        /// Its name.
        name: String,
        /// Its value, or the part.
        value: Vec<u8>,
        /// It begins here.
        first: bool,
        /// It ends here.
        last: bool,
    },
    /// The end: the response that accepts, or the subprotocol.
    Done(String),
}

impl From<Header<'_>> for Told {
    fn from(header: Header<'_>) -> Self {
        Self::Header {
            name: header.name.to_string(),
            value: header.value.to_vec(),
            first: header.first,
            last: header.last,
        }
    }
}

impl From<RequestEvent<'_, '_>> for Told {
    fn from(event: RequestEvent<'_, '_>) -> Self {
        match event {
            RequestEvent::RequestLine {
                method,
                target,
                version,
            } => {
                assert!(target.ends_with(resource_name(&target)) || resource_name(&target) == "/");
                Self::RequestLine(method.to_string(), target.to_string(), version)
            }
            RequestEvent::Header(header) => header.into(),
            RequestEvent::Done(upgrade) => {
                let response = written(&[64], |offset, out| upgrade.emit_from(offset, out));
                Self::Done(String::from_utf8(response).expect("a head in ASCII"))
            }
            other => panic!("an event of no known kind: {other:?}"),
        }
    }
}

impl From<ResponseEvent<'_, '_>> for Told {
    fn from(event: ResponseEvent<'_, '_>) -> Self {
        match event {
            ResponseEvent::StatusLine { status, reason } => {
                Self::StatusLine(status, reason.to_vec())
            }
            ResponseEvent::Header(header) => header.into(),
            ResponseEvent::Done { subprotocol } => {
                Self::Done(subprotocol.unwrap_or_default().to_owned())
            }
            other => panic!("an event of no known kind: {other:?}"),
        }
    }
}

/// What a handshake has told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tape {
    /// The events.
    pub told: Vec<Told>,
    /// The error that ended it.
    pub error: Option<HandshakeError>,
    /// Octets consumed so far.
    pub consumed: usize,
}

impl Tape {
    fn is_done(&self) -> bool {
        matches!(self.told.last(), Some(Told::Done(_)))
    }

    /// Gives `piece` to a handshake, until it wants more.
    ///
    /// # Panics
    /// Where the handshake breaks its own rules.
    pub fn receive(
        &mut self,
        piece: &[u8],
        mut next_event: impl FnMut(&mut &[u8]) -> Result<Option<Told>, HandshakeError>,
    ) {
        let mut input = piece;
        loop {
            let before = input.len();
            let result = next_event(&mut input);
            let consumed = before - input.len();
            self.consumed += consumed;
            if let Some(error) = self.error {
                assert_eq!((result, consumed), (Err(error), 0), "the first error stays");
                return;
            }
            if self.is_done() {
                assert_eq!((result, consumed), (Ok(None), 0), "what follows are frames");
                return;
            }
            match result {
                Ok(Some(told)) => self.told.push(told),
                Ok(None) => {
                    assert!(input.is_empty(), "more is wanted, but not all is consumed");
                    return;
                }
                Err(error) => self.error = Some(error),
            }
        }
    }

    /// The same with each header whole, but for one that was not told to its end.
    #[must_use]
    pub fn merged(self) -> Self {
        let mut told: Vec<Told> = Vec::new();
        for event in self.told {
            if let Told::Header {
                name,
                value,
                first: false,
                last,
            } = &event
            {
                let Some(Told::Header {
                    name: open,
                    value: before,
                    last: done @ false,
                    ..
                }) = told.last_mut()
                else {
                    panic!("the part of a header that was not begun");
                };
                assert_eq!(name, open);
                before.extend(value);
                *done = *last;
            } else {
                told.push(event);
            }
        }
        told.pop_if(|event| matches!(event, Told::Header { last: false, .. }));
        Self { told, ..self }
    }
}

/// Reads a request, cut into pieces, through a buffer of `buffer` octets.
#[must_use]
pub fn read_request(head: &[u8], sizes: &[u8], buffer: usize, config: HeadConfig) -> Tape {
    let mut buffer = vec![0; buffer];
    let mut handshake =
        ServerHandshake::with_config(&mut buffer[..], config).subprotocols(SUBPROTOCOLS);
    let mut tape = Tape::default();
    for piece in pieces(head.len(), sizes) {
        tape.receive(&head[piece], |input| {
            Ok(handshake.next_event(input)?.map(Told::from))
        });
    }
    tape
}

/// Reads a response, cut into pieces, through a buffer of `buffer` octets.
#[must_use]
pub fn read_response(
    request: &Request<'_>,
    head: &[u8],
    sizes: &[u8],
    buffer: usize,
    config: HeadConfig,
) -> Tape {
    let mut buffer = vec![0; buffer];
    let mut handshake = ClientHandshake::with_config(request, &mut buffer[..], config);
    let mut tape = Tape::default();
    for piece in pieces(head.len(), sizes) {
        tape.receive(&head[piece], |input| {
            Ok(handshake.next_event(input)?.map(Told::from))
        });
    }
    tape
}

/// All that `emit_from` writes, through outputs of these sizes.
///
/// # Panics
/// Where it writes more than it tells, or stops in mid-way.
#[must_use]
pub fn written(sizes: &[u8], emit_from: impl Fn(usize, &mut [u8]) -> usize) -> Vec<u8> {
    let mut all = Vec::new();
    // No room is no piece.
    let sizes: Vec<u8> = sizes.iter().map(|size| (*size).max(1)).collect();
    for room in sizes.iter().cycle() {
        let room = usize::from(*room);
        let mut out = vec![0xEE; room + 1];
        let len = emit_from(all.len(), &mut out[..room]);
        assert!(
            out[len..].iter().all(|octet| *octet == 0xEE),
            "more is written than told"
        );
        all.extend(&out[..len]);
        if len < room {
            assert_eq!(emit_from(all.len(), &mut out), 0, "0 once all is written");
            return all;
        }
    }
    unreachable!("there are sizes")
}

/// Any bytes as a head, or as strings.
///
/// # Panics
/// Where a property of the handshake does not hold.
pub fn check(data: &[u8]) {
    let Some((&[flags, buffer, ref sizes @ ..], rest)) = data.split_first_chunk::<6>() else {
        return;
    };
    if flags & 2 != 0 {
        Strings::parse(rest).check(sizes);
        return;
    }
    let config = if flags & 4 != 0 {
        HeadConfig {
            max_head_len: 300,
            max_headers: 4,
        }
    } else {
        HeadConfig::default()
    };
    let is_client = flags & 1 != 0;
    let read = |sizes: &[u8], buffer| {
        if is_client {
            read_response(&sample_request(), rest, sizes, buffer, config)
        } else {
            read_request(rest, sizes, buffer, config)
        }
    };
    let whole = read(&[], buffer.into());
    assert_eq!(read(&[1], buffer.into()), whole, "octet by octet");
    assert_eq!(read(sizes, buffer.into()), whole, "in pieces");
    assert!(
        whole.consumed <= config.max_head_len as usize,
        "more is read than the limit allows"
    );

    let ample = read(sizes, AMPLE).merged();
    let is_small = matches!(
        whole.error,
        Some(HandshakeError::StartLineTooLong | HandshakeError::HeaderTooLong)
    );
    let whole = whole.merged();
    if is_small && whole != ample {
        assert!(
            ample.told.starts_with(&whole.told),
            "up to the line that is too long"
        );
        assert!(whole.consumed <= ample.consumed);
    } else {
        assert_eq!(
            whole, ample,
            "a buffer of {buffer} octets, and an ample one"
        );
    }
    if let (Some(error), false) = (ample.error, is_client) {
        refused(error, sizes);
    }
    compare(is_client, rest, &ample);
    extensions(rest);
}

/// The response that tells the peer what was wrong is read back.
fn refused(error: HandshakeError, sizes: &[u8]) {
    let response = error.response();
    let response = written(sizes, |offset, out| response.emit_from(offset, out));
    let tape = read_response(&sample_request(), &response, sizes, 64, UNLIMITED);
    let status = HandshakeError::UnexpectedStatus(error.status());
    assert_eq!((tape.error, tape.consumed), (Some(status), response.len()));
}

/// httparse reads the same in a head that motews has read to its end. It accepts more: line ends of
/// a LF alone, white space in odd places.
fn compare(is_client: bool, head: &[u8], tape: &Tape) {
    let is_ended = tape.is_done() || {
        // What is told of the head as a whole
        use HandshakeError::*;
        matches!(
            tape.error,
            Some(
                NotUpgrade
                    | Method
                    | Target
                    | Host
                    | Body
                    | Upgrade
                    | Connection
                    | Version
                    | UnsupportedVersion
                    | Key
                    | Accept
                    | Subprotocol
                    | Extensions
                    | UnexpectedStatus(_)
            )
        )
    };
    // Of an interim response httparse reads nothing but that.
    let starts = tape
        .told
        .iter()
        .filter(|told| matches!(told, Told::StatusLine(..)));
    if !is_ended || starts.count() > 1 {
        return;
    }
    let mut headers = [httparse::EMPTY_HEADER; 128];
    let start = if is_client {
        let mut response = httparse::Response::new(&mut headers);
        let Ok(status) = response.parse(&head[..tape.consumed]) else {
            // RFC 2616 §3.1: HTTP/1.1 or higher. httparse knows HTTP/1 only, and some octets in a
            // reason it does not like.
            return assert!(!head.starts_with(b"HTTP/1.1") || !plain_reason(tape));
        };
        assert!(status.is_complete(), "the head is whole");
        let reason = response.reason.unwrap_or_default();
        // Where it has other octets, httparse leaves a reason out.
        let reason = match &tape.told[0] {
            Told::StatusLine(_, told) if reason.is_empty() => told.clone(),
            _ => reason.as_bytes().to_vec(),
        };
        Told::StatusLine(response.code.expect("there is one"), reason)
    } else {
        let mut request = httparse::Request::new(&mut headers);
        let Ok(status) = request.parse(&head[..tape.consumed]) else {
            let Some(Told::RequestLine(_, _, version)) = tape.told.first() else {
                panic!("no request line");
            };
            // As above
            assert!(
                version.0 != 1 || version.1 > 1,
                "httparse reads no such head"
            );
            return;
        };
        assert!(status.is_complete(), "the head is whole");
        Told::RequestLine(
            request.method.expect("there is one").to_owned(),
            request.path.expect("there is one").to_owned(),
            (1, request.version.expect("there is one")),
        )
    };
    let told: Vec<&Told> = tape
        .told
        .iter()
        .filter(|told| !matches!(told, Told::Done(_)))
        .collect();
    assert_eq!(told[0], &start);
    let headers: Vec<Told> = headers
        .iter()
        .take_while(|header| !header.name.is_empty())
        .map(|header| Told::Header {
            name: header.name.to_string(),
            value: header.value.to_vec(),
            first: true,
            last: true,
        })
        .collect();
    assert_eq!(told[1..], headers.iter().collect::<Vec<_>>());
}

fn plain_reason(tape: &Tape) -> bool {
    matches!(tape.told.first(), Some(Told::StatusLine(_, reason)) if reason.iter().all(u8::is_ascii))
}

/// A list of extensions is read to its end, or to its first fault.
fn extensions(value: &[u8]) {
    let mut elements = 0;
    for extension in Extensions::parse(value) {
        elements += 1;
        let Ok(extension) = extension else {
            break;
        };
        assert!(!extension.name.is_empty());
        for param in extension.params() {
            assert!(!param.name.is_empty());
            if let Some(value) = param.value {
                assert!(
                    value.bytes().count() > 0 && value.bytes().all(|byte| byte.is_ascii_graphic())
                );
            }
        }
    }
    assert!(elements <= value.split(|byte| *byte == b',').count());
}

/// The strings of an application: what it gives for a request, and for the responses to it.
#[derive(Clone, Debug)]
pub struct Strings {
    strings: Vec<String>,
}

impl Strings {
    fn parse(data: &[u8]) -> Self {
        let strings = data.split(|byte| *byte == 0xFF);
        let strings = strings.map(|string| String::from_utf8_lossy(string).into_owned());
        Self {
            strings: strings.collect(),
        }
    }

    fn nth(&self, index: usize) -> &str {
        self.strings.get(index).map_or("", String::as_str)
    }

    /// What is refused is not written; what is written is read back, and nothing more.
    fn check(&self, sizes: &[u8]) {
        // What goes wrong leaves the request as it was.
        let Ok(mut request) = Request::new(self.nth(0), self.nth(1), &mut SampleNonce) else {
            return self.refuse(sizes);
        };
        let mut expected = vec![
            header("Host", self.nth(0)),
            header("Upgrade", "websocket"),
            header("Connection", "Upgrade"),
            header("Sec-WebSocket-Version", "13"),
            header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ];
        if let Ok(with_origin) = request.origin(self.nth(2)) {
            request = with_origin;
            expected.push(header("Origin", self.nth(2)));
        }
        let offered: Vec<&str> = self.nth(3).split(',').collect();
        let mut chosen = "";
        if let Ok(with_subprotocols) = request.subprotocols(&offered) {
            request = with_subprotocols;
            expected.push(header("Sec-WebSocket-Protocol", &offered.join(", ")));
            chosen = offered[0];
        }
        let extensions = [self.nth(4)];
        let mut has_extensions = false;
        if let Ok(with_extensions) = request.extensions(&extensions) {
            request = with_extensions;
            expected.push(header("Sec-WebSocket-Extensions", self.nth(4)));
            has_extensions = true;
        }
        let headers = [(self.nth(5), self.nth(6)), ("X-Other", self.nth(7))];
        if let Ok(with_headers) = request.headers(&headers) {
            request = with_headers;
            expected.extend(headers.map(|(name, value)| header(name, value)));
        }

        let head = written(sizes, |offset, out| request.emit_from(offset, out));
        assert_eq!(
            head,
            written(&[255], |offset, out| request.emit_from(offset, out))
        );
        let mut buffer = vec![0; AMPLE];
        let mut handshake = ServerHandshake::with_config(&mut buffer[..], UNLIMITED);
        let mut tape = Tape::default();
        let mut upgrade = None;
        tape.receive(&head, |input| {
            let event = handshake.next_event(input)?;
            if let Some(RequestEvent::Done(done)) = event {
                upgrade = Some(done);
            }
            Ok(event.map(Told::from))
        });
        assert_eq!(tape.error, None, "{}", String::from_utf8_lossy(&head));
        assert_eq!(tape.consumed, head.len());
        let line = Told::RequestLine("GET".to_owned(), self.nth(1).to_owned(), (1, 1));
        assert_eq!(tape.told[0], line);
        assert_eq!(tape.told[1..tape.told.len() - 1], expected);

        let mut upgrade = upgrade.expect("the end was told");
        let mut expected = vec![
            header("Upgrade", "websocket"),
            header("Connection", "Upgrade"),
            header("Sec-WebSocket-Accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
        ];
        if !chosen.is_empty() {
            upgrade = upgrade
                .select_subprotocol(Some(chosen))
                .expect("it was offered");
            expected.push(header("Sec-WebSocket-Protocol", chosen));
        } else {
            let answer = upgrade.select_subprotocol(Some("chat"));
            assert_eq!(answer, Err(ConfigError::NotOffered));
        }
        if has_extensions {
            upgrade = upgrade.extensions(self.nth(4)).expect("they were offered");
            expected.push(header("Sec-WebSocket-Extensions", self.nth(4)));
        } else {
            let answer = upgrade.extensions("x-other");
            assert_eq!(answer, Err(ConfigError::NotOffered));
        }
        if let Ok(with_headers) = upgrade.headers(&headers) {
            upgrade = with_headers;
            expected.extend(headers.map(|(name, value)| header(name, value)));
        }
        let head = written(sizes, |offset, out| upgrade.emit_from(offset, out));
        let tape = read_response(&request, &head, sizes, AMPLE, UNLIMITED);
        assert_eq!(tape.error, None, "{}", String::from_utf8_lossy(&head));
        assert_eq!(tape.consumed, head.len());
        assert_eq!(tape.told[1..tape.told.len() - 1], expected);
        assert_eq!(tape.told.last(), Some(&Told::Done(chosen.to_owned())));
    }

    /// A response that refuses, likewise.
    fn refuse(&self, sizes: &[u8]) {
        let status = self.nth(2).parse().unwrap_or(403);
        let Ok(mut response) = Response::new(status) else {
            return;
        };
        let mut reason = "";
        if let Ok(with_reason) = response.reason(self.nth(3)) {
            response = with_reason;
            reason = self.nth(3);
        }
        let mut expected = Vec::new();
        let headers = [(self.nth(5), self.nth(6)), ("X-Other", self.nth(7))];
        if let Ok(with_headers) = response.headers(&headers) {
            response = with_headers;
            expected.extend(headers.map(|(name, value)| header(name, value)));
        }
        let mut body = self.nth(4);
        response = response.body(body.as_bytes());
        expected.push(header("Connection", "close"));
        // RFC 9110 §6.4.1, §8.6: these end with their head.
        if matches!(status, 204 | 304) {
            body = "";
        } else {
            expected.push(header("Content-Length", &body.len().to_string()));
        }
        let written = written(sizes, |offset, out| response.emit_from(offset, out));
        let tape = read_response(&sample_request(), &written, sizes, AMPLE, UNLIMITED);
        assert_eq!(tape.error, Some(HandshakeError::UnexpectedStatus(status)));
        assert_eq!(
            tape.told[0],
            Told::StatusLine(status, reason.as_bytes().to_vec())
        );
        assert_eq!(tape.told[1..], expected);
        assert!(written.ends_with(body.as_bytes()));
    }
}

const UNLIMITED: HeadConfig = HeadConfig {
    max_head_len: u32::MAX,
    max_headers: u16::MAX,
};

/// A header as it is read back: without white space around its value.
fn header(name: &str, value: &str) -> Told {
    Told::Header {
        name: name.to_owned(),
        value: value.trim_matches([' ', '\t']).as_bytes().to_vec(),
        first: true,
        last: true,
    }
}
