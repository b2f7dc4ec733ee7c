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

use motews::deflate::DeflateConfig;
use motews::handshake::{
    Agreed, ClientHandshake, ConfigError, Extensions, HandshakeError, Header, Key, Offers, Request,
    RequestEvent, Response, ResponseEvent, ServerHandshake, Upgrade, path_and_query,
};
use motews::{Entropy, EntropyError, Limits};

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

/// What the server speaks and the client offers.
pub const OFFERS: Offers<'static> = Offers::new()
    .subprotocols(&["superchat", "chat"])
    .extensions(&["x-other; a"])
    .deflate(DeflateConfig::MAX);
/// As large as any line here.
const AMPLE: usize = 1 << 16;

/// The key of the sample nonce.
///
/// # Panics
/// Never: the nonce is there.
#[must_use]
pub fn sample_key() -> Key {
    Key::new(&mut SampleNonce).expect("a nonce")
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
    /// The end: the response that accepts, or the subprotocol; and what was agreed on.
    Done(String, Agreed),
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

impl From<Upgrade> for Told {
    fn from(upgrade: Upgrade) -> Self {
        let answer = upgrade.answer(&OFFERS);
        let response = written(&[64], |offset, out| upgrade.emit_from(offset, out, &answer));
        let response = String::from_utf8(response).expect("a head in ASCII");
        Self::Done(response, upgrade.agreed())
    }
}

impl From<Agreed> for Told {
    fn from(agreed: Agreed) -> Self {
        let chosen = agreed.subprotocol;
        let chosen = chosen.map(|index| OFFERS.subprotocol(index).expect("it was offered"));
        Self::Done(chosen.unwrap_or_default().to_owned(), agreed)
    }
}

impl From<RequestEvent<'_>> for Told {
    fn from(event: RequestEvent<'_>) -> Self {
        match event {
            RequestEvent::RequestLine {
                method,
                target,
                version,
            } => {
                assert!(!target.is_empty(), "a target is text");
                let (path, query) = path_and_query(&target);
                assert!(!path.is_empty());
                let name = query.map_or(path.to_owned(), |query| format!("{path}?{query}"));
                assert!(target.ends_with(&name) || path == "/", "{target}");
                Self::RequestLine(method.to_string(), target.to_string(), version)
            }
            RequestEvent::Header(header) => header.into(),
            RequestEvent::Done(upgrade) => upgrade.into(),
            other => panic!("an event of no known kind: {other:?}"),
        }
    }
}

impl From<ResponseEvent<'_>> for Told {
    fn from(event: ResponseEvent<'_>) -> Self {
        match event {
            ResponseEvent::StatusLine { status, reason } => {
                Self::StatusLine(status, reason.to_vec())
            }
            ResponseEvent::Header(header) => header.into(),
            ResponseEvent::Done(agreed) => agreed.into(),
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
    /// Bytes consumed so far.
    pub consumed: usize,
}

impl Tape {
    fn is_done(&self) -> bool {
        matches!(self.told.last(), Some(Told::Done(..)))
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

/// Reads a request, cut into pieces, through a buffer of `buffer` bytes.
#[must_use]
pub fn read_request(head: &[u8], sizes: &[u8], buffer: usize, limits: Limits) -> Tape {
    let mut buffer = vec![0; buffer];
    let mut handshake = ServerHandshake::with_limits(&mut buffer[..], limits);
    let mut tape = Tape::default();
    for piece in pieces(head.len(), sizes) {
        tape.receive(&head[piece], |input| {
            Ok(handshake.next_event(input, &OFFERS)?.map(Told::from))
        });
    }
    tape
}

/// Reads a response, cut into pieces, through a buffer of `buffer` bytes.
#[must_use]
pub fn read_response(head: &[u8], sizes: &[u8], buffer: usize, limits: Limits) -> Tape {
    read_answer(&OFFERS, head, sizes, buffer, limits)
}

/// The same where something else was offered.
fn read_answer(
    offers: &Offers<'_>,
    head: &[u8],
    sizes: &[u8],
    buffer: usize,
    limits: Limits,
) -> Tape {
    let mut buffer = vec![0; buffer];
    let mut handshake = ClientHandshake::with_limits(&sample_key(), &mut buffer[..], limits);
    let mut tape = Tape::default();
    for piece in pieces(head.len(), sizes) {
        tape.receive(&head[piece], |input| {
            Ok(handshake
                .next_event(input, offers)?
                .map(|event| match event {
                    ResponseEvent::Done(agreed) => {
                        let chosen = agreed
                            .subprotocol
                            .and_then(|index| offers.subprotocol(index));
                        Told::Done(chosen.unwrap_or_default().to_owned(), agreed)
                    }
                    event => event.into(),
                }))
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
    let limits = if flags & 4 != 0 {
        Limits {
            head: 300,
            headers: 4,
            ..Limits::DEFAULT
        }
    } else {
        Limits::DEFAULT
    };
    let is_client = flags & 1 != 0;
    let read = |sizes: &[u8], buffer| {
        if is_client {
            read_response(rest, sizes, buffer, limits)
        } else {
            read_request(rest, sizes, buffer, limits)
        }
    };
    let whole = read(&[], buffer.into());
    assert_eq!(read(&[1], buffer.into()), whole, "octet by octet");
    assert_eq!(read(sizes, buffer.into()), whole, "in pieces");
    assert!(
        whole.consumed <= limits.head as usize,
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
    compare_parsed(is_client, &ample);
    extensions(rest);
}

/// The response that tells the peer what was wrong is read back.
fn refused(error: HandshakeError, sizes: &[u8]) {
    let response = error.response();
    let response = written(sizes, |offset, out| response.emit_from(offset, out));
    let tape = read_response(&response, sizes, 64, UNLIMITED);
    let status = HandshakeError::UnexpectedStatus(error.status());
    let end = response.windows(4).position(|bytes| bytes == b"\r\n\r\n");
    let head = end.expect("a whole head") + 4;
    assert_eq!((tape.error, tape.consumed), (Some(status), head));
    // A 400 of a server says why.
    let of_responses = {
        use HandshakeError::*;
        matches!(error, Upgrade | Accept | Subprotocol | UnexpectedStatus(_))
    };
    let has_reason = response.len() > head;
    assert_eq!(
        has_reason,
        error.status() == 400 && !of_responses,
        "{error}"
    );
}

/// Whether the head was read to its end: what is right or wrong with it is told of it as a whole.
fn is_ended(tape: &Tape) -> bool {
    use HandshakeError::*;
    tape.is_done()
        || matches!(
            tape.error,
            Some(
                NotUpgrade
                    | Method
                    | HttpVersion
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
}

/// Whoever else has parsed the head, the verdict on it is the same.
fn compare_parsed(is_client: bool, tape: &Tape) {
    let mut lines = tape.told.iter();
    let start = lines
        .rposition(|told| matches!(told, Told::StatusLine(..) | Told::RequestLine(..)))
        .filter(|_| is_ended(tape));
    // Of several heads only the last one is judged; and a target is not in the headers.
    let (Some(start), false) = (start, tape.error == Some(HandshakeError::Target)) else {
        return;
    };
    let headers = tape.told[start..].iter().filter_map(|told| match told {
        Told::Header { name, value, .. } => Some((name.as_str(), value.as_slice())),
        _ => None,
    });
    let verdict = match &tape.told[start] {
        Told::RequestLine(method, _, version) if *version < (2, 0) && !is_client => {
            Upgrade::from_headers(method, *version, headers, &OFFERS, Limits::DEFAULT)
                .map(Told::from)
        }
        // A version before 1.1 in an interim response is told in the end.
        Told::StatusLine(status, _) if tape.error != Some(HandshakeError::HttpVersion) => {
            let key = sample_key();
            Agreed::from_headers(
                *status,
                (1, 1),
                Some(&key),
                headers,
                &OFFERS,
                Limits::DEFAULT,
            )
            .map(Told::from)
        }
        _ => return,
    };
    let expected = match tape.error {
        Some(error) => Err(error),
        None => Ok(tape.told.last().expect("the end").clone()),
    };
    assert_eq!(verdict, expected, "headers that someone else has parsed");
}

/// Values with a space in place of each line end and what is around it (RFC 9112 §5.2): httparse
/// leaves that to its caller.
fn unfolded(value: &[u8]) -> Vec<u8> {
    let lines = value.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    let lines: Vec<&[u8]> = lines.filter(|line| !line.is_empty()).collect();
    lines.join(&b' ')
}

/// httparse reads the same in a head that motews has read to its end. It accepts more: line ends of
/// a LF alone, white space in odd places, empty lines before a response; and less: no version of HTTP
/// but 1.0 and 1.1, no such bytes in a reason, no UTF-8 in a target.
fn compare(is_client: bool, head: &[u8], tape: &Tape) {
    // Of an interim response httparse reads nothing but that.
    let starts = tape
        .told
        .iter()
        .filter(|told| matches!(told, Told::StatusLine(..)));
    if !is_ended(tape) || starts.count() > 1 {
        return;
    }
    let mut headers = [httparse::EMPTY_HEADER; 128];
    let start = if is_client {
        let mut response = httparse::Response::new(&mut headers);
        let mut config = httparse::ParserConfig::default();
        config.allow_obsolete_multiline_headers_in_responses(true);
        let parsed = config.parse_response(&mut response, &head[..tape.consumed]);
        let Ok(status) = parsed else {
            // RFC 2616 §3.1: HTTP/1.1 or higher. httparse knows HTTP/1 only, and some bytes in a
            // reason it does not like.
            return assert!(!head.starts_with(b"HTTP/1.1") || !plain_reason(tape));
        };
        assert!(status.is_complete(), "the head is whole");
        let reason = response.reason.unwrap_or_default();
        // Where it has other bytes, httparse leaves a reason out.
        let reason = match &tape.told[0] {
            Told::StatusLine(_, told) if reason.is_empty() => told.clone(),
            _ => reason.as_bytes().to_vec(),
        };
        Told::StatusLine(response.code.expect("there is one"), reason)
    } else {
        let mut request = httparse::Request::new(&mut headers);
        let Ok(status) = request.parse(&head[..tape.consumed]) else {
            let Some(Told::RequestLine(_, target, version)) = tape.told.first() else {
                panic!("no request line");
            };
            assert!(
                version.0 != 1 || version.1 > 1 || !target.is_ascii(),
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
        .filter(|told| !matches!(told, Told::Done(..)))
        .collect();
    assert_eq!(told[0], &start);
    let headers: Vec<Told> = headers
        .iter()
        .take_while(|header| !header.name.is_empty())
        .map(|header| Told::Header {
            name: header.name.to_string(),
            value: unfolded(header.value),
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
        let Ok(mut request) = Request::new(self.nth(0), self.nth(1)) else {
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
        let mut offers = Offers::new().subprotocols(&offered);
        let mut chosen = "";
        if let Ok(with_subprotocols) = request.offers(&offers) {
            request = with_subprotocols;
            expected.push(header("Sec-WebSocket-Protocol", &offered.join(", ")));
            chosen = offered[0];
        } else {
            offers = Offers::new();
        }
        let extensions = [self.nth(4)];
        let mut has_extensions = false;
        if let Ok(with_extensions) = request.offers(&offers.extensions(&extensions)) {
            offers = offers.extensions(&extensions);
            request = with_extensions;
            expected.push(header("Sec-WebSocket-Extensions", self.nth(4)));
            has_extensions = true;
        }
        let headers = [(self.nth(5), self.nth(6)), ("X-Other", self.nth(7))];
        if let Ok(with_headers) = request.headers(&headers) {
            request = with_headers;
            expected.extend(headers.map(|(name, value)| header(name, value)));
        }

        let key = sample_key();
        let head = written(sizes, |offset, out| request.emit_from(offset, out, &key));
        assert_eq!(
            head,
            written(&[255], |offset, out| request.emit_from(offset, out, &key))
        );
        let mut buffer = vec![0; AMPLE];
        let mut handshake = ServerHandshake::with_limits(&mut buffer[..], UNLIMITED);
        let mut tape = Tape::default();
        let mut upgrade = None;
        tape.receive(&head, |input| {
            let event = handshake.next_event(input, &Offers::new())?;
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

        let upgrade = upgrade.expect("the end was told");
        let mut answer = upgrade.answer(&Offers::new());
        let mut expected = vec![
            header("Upgrade", "websocket"),
            header("Connection", "Upgrade"),
            header("Sec-WebSocket-Accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
        ];
        if !chosen.is_empty() {
            answer = answer
                .select_subprotocol(Some(chosen), [chosen.as_bytes()])
                .expect("it was offered");
            expected.push(header("Sec-WebSocket-Protocol", chosen));
        } else {
            let refused = answer.select_subprotocol(Some("chat"), [&b"chat"[..]]);
            assert_eq!(refused, Err(ConfigError::NotOffered));
        }
        if has_extensions {
            answer = answer.extensions(self.nth(4)).expect("they were offered");
            expected.push(header("Sec-WebSocket-Extensions", self.nth(4)));
        } else {
            let refused = answer.extensions("x-other");
            assert_eq!(refused, Err(ConfigError::NotOffered));
        }
        if let Ok(with_headers) = answer.headers(&headers) {
            answer = with_headers;
            expected.extend(headers.map(|(name, value)| header(name, value)));
        }
        let head = written(sizes, |offset, out| upgrade.emit_from(offset, out, &answer));
        let tape = read_answer(&offers, &head, sizes, AMPLE, UNLIMITED);
        assert_eq!(tape.error, None, "{}", String::from_utf8_lossy(&head));
        assert_eq!(tape.consumed, head.len());
        assert_eq!(tape.told[1..tape.told.len() - 1], expected);
        let Some(Told::Done(subprotocol, _)) = tape.told.last() else {
            panic!("the end was told");
        };
        assert_eq!(subprotocol, chosen);
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
        let head = response.head(true);
        let head = written(sizes, |offset, out| head.emit_from(offset, out));
        let written = written(sizes, |offset, out| response.emit_from(offset, out));
        let len = written.len() - body.len();
        assert_eq!(head, written[..len], "the same without its body");
        let tape = read_response(&written, sizes, AMPLE, UNLIMITED);
        assert_eq!(tape.error, Some(HandshakeError::UnexpectedStatus(status)));
        assert_eq!(
            tape.told[0],
            Told::StatusLine(status, reason.as_bytes().to_vec())
        );
        assert_eq!(tape.told[1..], expected);
        assert!(written.ends_with(body.as_bytes()));
    }
}

const UNLIMITED: Limits = Limits {
    message: u64::MAX,
    head: u32::MAX,
    headers: u16::MAX,
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
