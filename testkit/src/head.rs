//! Requests and responses of the opening handshake, right and wrong.

use core::fmt;
use std::io::Read;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha1_smol::Sha1;

/// The key in [`REQUEST`]: RFC 6455's sample.
pub const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

/// The 16 bytes that [`KEY`] is made of.
pub const NONCE: [u8; 16] = *b"the sample nonce";

/// The proof that [`KEY`] was understood, as RFC 6455 §1.3 computes it.
pub const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// A request with all that a server needs (RFC 6455 §4.2.1), and nothing else.
pub const REQUEST: &str = "GET /chat HTTP/1.1\r\n\
    Host: example.com\r\n\
    Upgrade: websocket\r\n\
    Connection: Upgrade\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Sec-WebSocket-Version: 13\r\n\
    \r\n";

/// The response to [`REQUEST`], with all that a client needs, and nothing else.
pub const RESPONSE: &str = "HTTP/1.1 101 Switching Protocols\r\n\
    Upgrade: websocket\r\n\
    Connection: Upgrade\r\n\
    Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\
    \r\n";

/// Returns the proof that a key was understood (RFC 6455 §1.3).
///
/// ```
/// use motews_testkit::head::{ACCEPT, KEY, accept};
///
/// assert_eq!(accept(KEY), ACCEPT);
/// ```
#[must_use]
pub fn accept(key: &str) -> String {
    let digest = Sha1::from(format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11")).digest();
    STANDARD.encode(digest.bytes())
}

/// A head that a test changes to its needs. [`fmt::Display`] writes it.
///
/// ```
/// use motews_testkit::head::Head;
///
/// let head = Head::request()
///     .line("GET /echo HTTP/1.1")
///     .with("Host", "[::1]")
///     .and("Cookie", "a=b")
///     .without("Upgrade");
/// assert_eq!(
///     head.to_string(),
///     "GET /echo HTTP/1.1\r\nHost: [::1]\r\nConnection: Upgrade\r\n\
///      Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
///      Cookie: a=b\r\n\r\n"
/// );
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    line: String,
    headers: Vec<(String, String)>,
}

impl Head {
    /// Makes the [`REQUEST`].
    #[must_use]
    pub fn request() -> Self {
        Self::parse(REQUEST)
    }

    /// Makes the [`RESPONSE`].
    #[must_use]
    pub fn response() -> Self {
        Self::parse(RESPONSE)
    }

    /// Makes the right response to a request, which must have a `Sec-WebSocket-Key`.
    ///
    /// # Panics
    /// If it has none.
    #[must_use]
    pub fn response_to(request: &str) -> Self {
        let key = value(request, "Sec-WebSocket-Key").expect("a key");
        Self::response().with("Sec-WebSocket-Accept", &accept(key))
    }

    /// Makes a head of a line, without any header.
    #[must_use]
    pub fn new(line: &str) -> Self {
        Self {
            line: line.to_owned(),
            headers: Vec::new(),
        }
    }

    /// Takes a head apart. `head` may lack the blank line at its end.
    ///
    /// # Panics
    /// If a line is no `name: value`.
    #[must_use]
    pub fn parse(head: &str) -> Self {
        let mut lines = head.lines();
        let line = lines.next().unwrap_or_default();
        lines
            .take_while(|line| !line.is_empty())
            .map(|line| line.split_once(": ").expect("a header"))
            .fold(Self::new(line), |head, (name, value)| head.and(name, value))
    }

    /// Replaces the first line.
    #[must_use]
    pub fn line(mut self, line: &str) -> Self {
        line.clone_into(&mut self.line);
        self
    }

    /// Adds a header, also where there is one of that name.
    #[must_use]
    pub fn and(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Gives a header this value, in its place; adds it if there is none of exactly that name.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        let mut headers = self.headers.iter_mut();
        match headers.find(|(other, _)| other == name) {
            Some((_, old)) => {
                value.clone_into(old);
                self
            }
            None => self.and(name, value),
        }
    }

    /// Removes all headers of exactly that name.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        self.headers.retain(|(other, _)| other != name);
        self
    }

    /// Removes all headers that `changes` name, and adds the changes but for those to `-`.
    #[must_use]
    pub fn changed(self, changes: &[(&str, &str)]) -> Self {
        let kept = changes
            .iter()
            .fold(self, |head, (name, _)| head.without(name));
        let added = changes.iter().filter(|(_, value)| *value != "-");
        added.fold(kept, |head, (name, value)| head.and(name, value))
    }

    /// Returns the head as it is on the wire.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        self.to_string().into_bytes()
    }
}

impl fmt::Display for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\r\n", self.line)?;
        for (name, value) in &self.headers {
            write!(f, "{name}: {value}\r\n")?;
        }
        f.write_str("\r\n")
    }
}

/// Reads a head, up to and including its blank line, or what there is of it if nothing more comes.
/// Reads byte by byte: what follows is left in the stream.
pub fn read(stream: &mut impl Read) -> String {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|len| len == 1) {
        head.extend(byte);
    }
    String::from_utf8_lossy(&head).into_owned()
}

/// Returns the length of the head at the start of `wire`, its blank line included.
///
/// # Panics
/// If there is no whole head.
#[must_use]
pub fn len(wire: &[u8]) -> usize {
    let end = wire.windows(4).position(|four| four == b"\r\n\r\n");
    end.expect("a whole head") + 4
}

/// Returns the value of the first header of a name, without regard to case.
#[must_use]
pub fn value<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines()
        .skip(1)
        .filter_map(|line| line.split_once(':'))
        .find(|(other, _)| other.eq_ignore_ascii_case(name))
        .map(|(_, value)| value.trim())
}
