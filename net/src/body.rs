//! The body of a response (RFC 9112 §6, §7.1).

use core::fmt;

use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, Method, StatusCode};

/// The longest line with the size of a chunk, in bytes, without its extensions.
const MAX_SIZE_DIGITS: u8 = 16;

/// The most bytes of chunk extensions in a body, all together.
const MAX_EXTENSIONS: u32 = 4 * 1024;

/// The most bytes of trailers.
const MAX_TRAILERS: u32 = 8 * 1024;

/// How the end of a body is found (RFC 9112 §6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// There is no body.
    Empty,
    /// `Content-Length`: so many bytes.
    Counted(u64),
    /// `Transfer-Encoding: chunked`.
    Chunked,
    /// All that comes until the server ends the connection.
    UntilEnd,
}

impl Framing {
    /// Returns how the end of the response to a request with `method` is found.
    ///
    /// Responses to HEAD have no body, and neither have those with the status 1xx, 204 or 304, or
    /// 2xx to CONNECT, whatever their headers say. `chunked` goes before a length.
    ///
    /// # Errors
    /// [`BodyError::Length`] and [`BodyError::Coding`].
    ///
    /// ```
    /// use http::{HeaderMap, HeaderValue, Method, StatusCode, header::CONTENT_LENGTH};
    /// use motews_net::Framing;
    ///
    /// let headers = HeaderMap::from_iter([(CONTENT_LENGTH, HeaderValue::from_static("5"))]);
    /// let framing = Framing::of_response(&Method::GET, StatusCode::FORBIDDEN, &headers)?;
    /// assert_eq!(framing, Framing::Counted(5));
    /// # Ok::<(), motews_net::BodyError>(())
    /// ```
    pub fn of_response(
        method: &Method,
        status: StatusCode,
        headers: &HeaderMap,
    ) -> Result<Self, BodyError> {
        let is_tunnel = *method == Method::CONNECT && status.is_success();
        let is_bodiless = matches!(status.as_u16(), 100..=199 | 204 | 304);
        if *method == Method::HEAD || is_bodiless || is_tunnel {
            return Ok(Self::Empty);
        }
        if headers.contains_key(TRANSFER_ENCODING) {
            return Self::of_codings(headers);
        }
        // RFC 9112 §6.3: equal lengths are one, others are an attack or a fault
        let mut length = None;
        for value in elements(headers, &CONTENT_LENGTH) {
            let this = parse_length(value).ok_or(BodyError::Length)?;
            if *length.get_or_insert(this) != this {
                return Err(BodyError::Length);
            }
        }
        match length {
            None => Ok(Self::UntilEnd),
            Some(0) => Ok(Self::Empty),
            Some(length) => Ok(Self::Counted(length)),
        }
    }

    /// `chunked` is the only coding that is decoded; a client that sends no `TE` gets no other.
    fn of_codings(headers: &HeaderMap) -> Result<Self, BodyError> {
        let mut codings = elements(headers, &TRANSFER_ENCODING).filter(|coding| !coding.is_empty());
        match (codings.next(), codings.next()) {
            (Some(coding), None) if coding.eq_ignore_ascii_case(b"chunked") => Ok(Self::Chunked),
            (Some(coding), None) if coding.eq_ignore_ascii_case(b"identity") => Ok(Self::UntilEnd),
            _ => Err(BodyError::Coding),
        }
    }
}

/// The elements of a list, in all headers of that name.
fn elements<'h>(headers: &'h HeaderMap, name: &http::HeaderName) -> impl Iterator<Item = &'h [u8]> {
    let values = headers.get_all(name).into_iter();
    values
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii)
}

fn parse_length(digits: &[u8]) -> Option<u64> {
    let is_number = digits.iter().all(u8::is_ascii_digit);
    let digits = core::str::from_utf8(digits).ok().filter(|_| is_number)?;
    digits.parse().ok()
}

/// Decodes a body: bytes in, content out. The content is lent from the input, and nothing is kept.
///
/// The content is bounded by the caller. So are the extensions of chunks (4 KiB in all), which are
/// ignored, and the trailers (8 KiB), which are dropped. Each byte of input is looked at once.
///
/// ```
/// use motews_net::{Body, Framing};
///
/// let mut body = Body::new(Framing::Chunked, 4096);
/// let mut reason = Vec::new();
/// for read in [&b"b;x=1\r\nNot "[..], b"allowed\r\n0\r", b"\n\r\nHTTP/1.1 "] {
///     let mut input = read;
///     while let Some(content) = body.next_content(&mut input)? {
///         reason.extend_from_slice(content);
///     }
///     if body.is_complete() {
///         assert_eq!(input, b"HTTP/1.1 "); // is not the body's
///     }
/// }
/// assert!(body.is_complete() && !body.is_truncated());
/// assert_eq!(reason, b"Not allowed");
/// # Ok::<(), motews_net::BodyError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Body {
    state: State,
    /// Bytes of content that may still come.
    limit: u64,
    extensions: u32,
    trailers: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Content of a known length, then the end.
    Counted(u64),
    UntilEnd,
    /// The digits of a chunk's size.
    Size {
        size: u64,
        digits: u8,
    },
    /// What follows the digits.
    Extension {
        size: u64,
    },
    SizeLf {
        size: u64,
    },
    /// Content of a chunk.
    Chunk(u64),
    ChunkCr,
    ChunkLf,
    /// The start of a line of the trailers, or of the empty line that ends them.
    TrailerStart,
    Trailer,
    TrailerLf,
    LastLf,
    Complete,
    Truncated,
    Failed(BodyError),
}

impl Body {
    /// Expects a body of which at most `limit` bytes of content are wanted.
    #[must_use]
    pub const fn new(framing: Framing, limit: usize) -> Self {
        let state = match framing {
            Framing::Empty | Framing::Counted(0) => State::Complete,
            Framing::Counted(length) => State::Counted(length),
            Framing::Chunked => State::Size { size: 0, digits: 0 },
            Framing::UntilEnd => State::UntilEnd,
        };
        Self {
            state,
            limit: limit as u64,
            extensions: 0,
            trailers: 0,
        }
    }

    /// Takes bytes from `input` up to the next piece of content, and lends that. `None` wants more
    /// input, unless the body [is complete](Self::is_complete); then nothing more is taken.
    ///
    /// # Errors
    /// What is wrong with the body. The same error comes from every later call.
    pub fn next_content<'a>(
        &mut self,
        input: &mut &'a [u8],
    ) -> Result<Option<&'a [u8]>, BodyError> {
        loop {
            let length = match self.state {
                State::Counted(length) | State::Chunk(length) => length,
                State::UntilEnd => u64::MAX,
                State::Complete | State::Truncated => return Ok(None),
                State::Failed(error) => return Err(error),
                _ => {
                    let Some((byte, rest)) = input.split_first() else {
                        return Ok(None);
                    };
                    *input = rest;
                    self.frame(*byte).inspect_err(|error| {
                        self.state = State::Failed(*error);
                    })?;
                    continue;
                }
            };
            if input.is_empty() {
                return Ok(None);
            }
            if self.limit == 0 {
                self.state = State::Truncated;
                return Ok(None);
            }
            let wanted = usize::try_from(length.min(self.limit)).unwrap_or(usize::MAX);
            let (content, rest) = input.split_at(wanted.min(input.len()));
            *input = rest;
            let taken = content.len() as u64;
            self.limit = self.limit.saturating_sub(taken);
            let left = length.saturating_sub(taken);
            self.state = match self.state {
                State::Counted(_) if left == 0 => State::Complete,
                State::Counted(_) => State::Counted(left),
                State::Chunk(_) if left == 0 => State::ChunkCr,
                State::Chunk(_) => State::Chunk(left),
                state => state,
            };
            return Ok(Some(content));
        }
    }

    /// Takes a byte of what stands around the chunks (RFC 9112 §7.1). A line ends with CR and LF,
    /// not with one of them: what takes either can be made to see two bodies in one.
    fn frame(&mut self, byte: u8) -> Result<(), BodyError> {
        self.state = match (self.state, byte) {
            (State::Size { size, digits }, byte) if byte.is_ascii_hexdigit() => {
                if digits == MAX_SIZE_DIGITS {
                    return Err(BodyError::Chunk);
                }
                let digit = (byte as char).to_digit(16).unwrap_or_default();
                State::Size {
                    size: size << 4 | u64::from(digit),
                    digits: digits.saturating_add(1),
                }
            }
            (State::Size { digits: 0, .. }, _) => return Err(BodyError::Chunk),
            (State::Size { size, .. } | State::Extension { size }, b'\r') => State::SizeLf { size },
            (State::Size { size, .. }, b';' | b' ' | b'\t') | (State::Extension { size }, _)
                if byte != b'\n' =>
            {
                self.extensions = self.extensions.saturating_add(1);
                if self.extensions > MAX_EXTENSIONS {
                    return Err(BodyError::Extensions);
                }
                State::Extension { size }
            }
            (State::SizeLf { size: 0 }, b'\n') => State::TrailerStart,
            (State::SizeLf { size }, b'\n') => State::Chunk(size),
            (State::ChunkCr, b'\r') => State::ChunkLf,
            (State::ChunkLf, b'\n') => State::Size { size: 0, digits: 0 },
            (State::TrailerStart, b'\r') => State::LastLf,
            (State::Trailer, b'\r') => State::TrailerLf,
            (State::TrailerStart | State::Trailer, byte) if byte != b'\n' => {
                self.trailers = self.trailers.saturating_add(1);
                if self.trailers > MAX_TRAILERS {
                    return Err(BodyError::Trailers);
                }
                State::Trailer
            }
            (State::TrailerLf, b'\n') => State::TrailerStart,
            (State::LastLf, b'\n') => State::Complete,
            _ => return Err(BodyError::Chunk),
        };
        Ok(())
    }

    /// Reports that the server has ended the connection.
    ///
    /// # Errors
    /// [`BodyError::UnexpectedEof`] if more was to come: what came before is a part of the body.
    pub fn receive_eof(&mut self) -> Result<(), BodyError> {
        match self.state {
            State::UntilEnd => self.state = State::Complete,
            State::Complete | State::Truncated => {}
            State::Failed(error) => return Err(error),
            _ => {
                self.state = State::Failed(BodyError::UnexpectedEof);
                return Err(BodyError::UnexpectedEof);
            }
        }
        Ok(())
    }

    /// Returns true if no more content will come: the body has ended, or the limit is reached.
    #[must_use]
    pub const fn is_complete(&self) -> bool {
        matches!(self.state, State::Complete | State::Truncated)
    }

    /// Returns true if there was more content than the limit. The rest of the connection's input is
    /// of no use then.
    #[must_use]
    pub const fn is_truncated(&self) -> bool {
        matches!(self.state, State::Truncated)
    }
}

/// What is wrong with a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BodyError {
    /// `Content-Length` is no number, or there are several of them.
    Length,
    /// `Transfer-Encoding` is something else than `chunked`.
    Coding,
    /// What stands around a chunk is malformed.
    Chunk,
    /// The extensions of the chunks are longer than 4 KiB.
    Extensions,
    /// The trailers are longer than 8 KiB.
    Trailers,
    /// The server ended the connection before the end of the body.
    UnexpectedEof,
}

impl fmt::Display for BodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Length => "the Content-Length is not one number",
            Self::Coding => "the Transfer-Encoding is not chunked",
            Self::Chunk => "a chunk of the body is malformed",
            Self::Extensions => "the chunks of the body have too many extensions",
            Self::Trailers => "the trailers of the body are too long",
            Self::UnexpectedEof => "the body is cut off",
        })
    }
}

impl core::error::Error for BodyError {}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;
    use alloc::vec::Vec;
    use http::{HeaderName, HeaderValue};

    fn framing(
        method: &Method,
        status: u16,
        headers: &[(HeaderName, &'static str)],
    ) -> Result<Framing, BodyError> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(name, HeaderValue::from_static(value));
        }
        let status = StatusCode::from_u16(status).expect("a status");
        Framing::of_response(method, status, &map)
    }

    #[test]
    fn headers_of_a_response_say_how_it_ends() {
        const LENGTH: HeaderName = CONTENT_LENGTH;
        const CODING: HeaderName = TRANSFER_ENCODING;
        let get = |headers: &[_]| framing(&Method::GET, 403, headers);
        assert_eq!(get(&[]), Ok(Framing::UntilEnd));
        assert_eq!(get(&[(LENGTH, "0")]), Ok(Framing::Empty));
        assert_eq!(get(&[(LENGTH, " 12 ")]), Ok(Framing::Counted(12)));
        assert_eq!(
            get(&[(LENGTH, "5, 5"), (LENGTH, "5")]),
            Ok(Framing::Counted(5))
        );
        for wrong in [
            "",
            "-1",
            "+1",
            "1 2",
            "0x1",
            "5,6",
            "5,",
            "99999999999999999999",
        ] {
            assert_eq!(get(&[(LENGTH, wrong)]), Err(BodyError::Length), "{wrong}");
        }
        assert_eq!(get(&[(LENGTH, "5"), (LENGTH, "6")]), Err(BodyError::Length));
        assert_eq!(get(&[(CODING, "Chunked")]), Ok(Framing::Chunked));
        assert_eq!(
            get(&[(CODING, "chunked"), (LENGTH, "5")]),
            Ok(Framing::Chunked)
        );
        assert_eq!(get(&[(CODING, "identity")]), Ok(Framing::UntilEnd));
        for wrong in [
            "gzip",
            "gzip, chunked",
            "chunked, chunked",
            "",
            "chunked;q=1",
        ] {
            assert_eq!(get(&[(CODING, wrong)]), Err(BodyError::Coding), "{wrong}");
        }
    }

    #[test]
    fn response_without_a_body_is_empty_whatever_its_headers_say() {
        let headers = [(CONTENT_LENGTH, "5"), (TRANSFER_ENCODING, "chunked")];
        for status in [101, 103, 204, 304] {
            assert_eq!(framing(&Method::GET, status, &headers), Ok(Framing::Empty));
        }
        assert_eq!(framing(&Method::HEAD, 403, &headers), Ok(Framing::Empty));
        assert_eq!(framing(&Method::CONNECT, 200, &headers), Ok(Framing::Empty));
        assert_eq!(
            framing(&Method::CONNECT, 407, &headers),
            Ok(Framing::Chunked)
        );
        let body = Body::new(Framing::Empty, 10);
        assert!(body.is_complete() && !body.is_truncated());
    }

    type Decoded = (Vec<u8>, Result<(), BodyError>);

    fn decode(body: &mut Body, mut input: &[u8]) -> Decoded {
        let mut content = Vec::new();
        loop {
            match body.next_content(&mut input) {
                Ok(Some(piece)) => content.extend_from_slice(piece),
                Ok(None) => return (content, Ok(())),
                Err(error) => return (content, Err(error)),
            }
        }
    }

    #[test]
    fn chunks_decoded_are_joined() {
        let cases = [
            "5\r\nhello\r\n0\r\n\r\n",
            "2;a=b;c=\"d\"\r\nhe\r\n0003 \r\nllo\r\n0;x\r\nA: b\r\nC: d\r\n\r\n",
            "1\r\nh\r\n1\r\ne\r\n2\t;x\r\nll\r\n1\r\no\r\n00000\r\n\r\n",
        ];
        let long = "x".repeat(0x1ab);
        let mut body = Body::new(Framing::Chunked, 1000);
        let decoded = decode(&mut body, format!("1aB\r\n{long}\r\n0\r\n\r\n").as_bytes());
        assert_eq!(decoded, (long.into_bytes(), Ok(())));
        assert!(body.is_complete());
        for case in cases {
            let mut body = Body::new(Framing::Chunked, 5);
            let decoded = decode(&mut body, case.as_bytes());
            assert_eq!(decoded, (b"hello".to_vec(), Ok(())), "{case}");
            assert!(body.is_complete() && !body.is_truncated(), "{case}");
        }
    }

    #[test]
    fn malformed_chunks_are_refused_and_stay_so() {
        let cases = [
            "\r\n",
            "x\r\n",
            "5\nhello",
            "5\r\nhello!",
            "5\r\nhello\n",
            "5\rx",
            "-1\r\n",
            ";x\r\n",
            " 5\r\n",
            "5 x\n",
            "0\r\n\n",
            "0\r\n\rx",
            "0\r\nA: b\n",
            "0\r\nA: b\rx",
            "00000000000000001\r\n",
            "5\r\nhello\r\r",
        ];
        for case in cases {
            let mut body = Body::new(Framing::Chunked, 100);
            let (_, result) = decode(&mut body, case.as_bytes());
            assert_eq!(result, Err(BodyError::Chunk), "{case:?}");
            assert_eq!(
                decode(&mut body, b"\r\n").1,
                Err(BodyError::Chunk),
                "{case:?}"
            );
            assert_eq!(body.receive_eof(), Err(BodyError::Chunk));
            assert!(!body.is_complete());
        }
    }

    #[test]
    fn flood_around_the_chunks_ends_at_its_limit() {
        let mut body = Body::new(Framing::Chunked, 1_000_000);
        let mut chunks = 0;
        let error = loop {
            match decode(&mut body, b"1;extension\r\nx\r\n") {
                (_, Ok(())) => chunks += 1,
                (_, Err(error)) => break error,
            }
        };
        assert_eq!((error, chunks), (BodyError::Extensions, 4096 / 10));
        // It stays so, and nothing more is taken.
        let mut input = &b"1\r\nx\r\n"[..];
        assert_eq!(body.next_content(&mut input), Err(BodyError::Extensions));
        assert_eq!(input.len(), 6);

        let most = format!("0;{}", "x".repeat(4095));
        let mut body = Body::new(Framing::Chunked, 10);
        assert_eq!(decode(&mut body, most.as_bytes()).1, Ok(()));
        assert_eq!(decode(&mut body, b"x").1, Err(BodyError::Extensions));

        let mut body = Body::new(Framing::Chunked, 10);
        assert_eq!(decode(&mut body, b"0\r\n").1, Ok(()));
        for _ in 0..8192 / 4 {
            assert_eq!(decode(&mut body, b"A: b\r\n").1, Ok(()));
        }
        assert_eq!(decode(&mut body, b"A").1, Err(BodyError::Trailers));
    }

    #[test]
    fn content_beyond_the_limit_is_cut() {
        let cases: [(Framing, &[u8]); 3] = [
            (Framing::Counted(6), b"hello!"),
            (Framing::UntilEnd, b"hello!"),
            (Framing::Chunked, b"3\r\nhel\r\n3\r\nlo!\r\n0\r\n\r\n"),
        ];
        for (framing, input) in cases {
            let mut body = Body::new(framing, 5);
            assert_eq!(decode(&mut body, input), (b"hello".to_vec(), Ok(())));
            assert!(body.is_complete() && body.is_truncated(), "{framing:?}");
            let mut body = Body::new(framing, 6);
            assert_eq!(decode(&mut body, input), (b"hello!".to_vec(), Ok(())));
            assert_eq!(body.receive_eof(), Ok(()), "{framing:?}");
            assert!(body.is_complete() && !body.is_truncated(), "{framing:?}");
        }
    }

    #[test]
    fn end_of_the_connection_ends_the_body_or_cuts_it() {
        for (framing, input) in [
            (Framing::Counted(5), &b"hell"[..]),
            (Framing::Chunked, b"5\r\nhell"),
            (Framing::Chunked, b"5\r\nhello\r\n0\r\n"),
            (Framing::Chunked, b""),
        ] {
            let mut body = Body::new(framing, 100);
            assert_eq!(decode(&mut body, input).1, Ok(()));
            assert_eq!(body.receive_eof(), Err(BodyError::UnexpectedEof));
            assert!(!body.is_complete());
        }
        let mut body = Body::new(Framing::UntilEnd, 100);
        assert_eq!(decode(&mut body, b"hello").0, b"hello");
        assert!(!body.is_complete());
        assert_eq!(body.receive_eof(), Ok(()));
        assert!(body.is_complete());
    }

    #[test]
    fn bytes_behind_the_body_are_left() {
        let mut body = Body::new(Framing::Counted(5), 100);
        let mut input = &b"hello, world"[..];
        assert_eq!(body.next_content(&mut input), Ok(Some(&b"hello"[..])));
        assert_eq!(body.next_content(&mut input), Ok(None));
        assert_eq!(input, b", world");
    }
}
