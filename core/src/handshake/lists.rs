//! The lists of the opening handshake, as they arrive: of tokens (RFC 2616 §2.1), and of extensions
//! with their parameters (RFC 6455 §9.1).

use super::Header;
use super::head::{CONNECTION, EXTENSIONS, Set, UPGRADE};
use super::tokens::{HeadText, is_space, is_token_byte, split};
#[cfg(feature = "deflate")]
use crate::deflate::{Asked, NAME, PARAMETERS};

/// The lists in which the case of letters is nothing.
const ANY_CASE: Set = UPGRADE | CONNECTION;

/// What the grammar allows next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expect {
    /// The first byte of a token, or white space before it.
    Token,
    /// More of a token, or what follows it.
    Rest,
    /// What follows a token, after white space.
    Separator,
    /// The first byte of a quoted string.
    Quoted,
    /// More of a quoted string, or its end.
    QuotedRest,
    /// The byte after a backslash.
    Escaped,
    /// The next comma: this element is malformed.
    Comma,
}

/// Which token of an element is being read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Name,
    Parameter,
    Value,
}

/// An element of a list.
#[derive(Clone, Copy, Debug)]
pub(super) struct Element {
    /// A bit for each candidate that it is; none if it is malformed.
    pub(super) found: u32,
    /// It has the grammar of the list.
    pub(super) is_well_formed: bool,
    /// It is permessage-deflate, and asks for this.
    #[cfg(feature = "deflate")]
    pub(super) deflate: Option<Asked>,
}

/// Reads the elements of a list byte by byte, in constant space, and finds out which of up to 32
/// candidates they are.
#[derive(Clone, Debug)]
pub(super) struct List {
    /// Elements are extensions, which may have parameters; otherwise bare tokens.
    extensions: bool,
    expect: Expect,
    place: Place,
    /// How many bytes the element's name has so far.
    len: usize,
    /// One bit for each candidate that begins like it.
    alike: u32,
    #[cfg(feature = "deflate")]
    deflate: Deflate,
}

impl List {
    pub(super) const fn new(extensions: bool) -> Self {
        Self {
            extensions,
            expect: Expect::Token,
            place: Place::Name,
            len: 0,
            alike: !0,
            #[cfg(feature = "deflate")]
            deflate: Deflate::new(extensions),
        }
    }

    /// Takes the header `field`, or a part of it, and calls `each` for each element that has ended. A
    /// list may be spread over several headers [HS16]. RFC 2616 §2.1 allows empty elements, RFC 6455
    /// §9.1 does not; but some peers send `Sec-WebSocket-Extensions` with nothing in it, and that is
    /// no extension [HT03].
    pub(super) fn read(
        &mut self,
        header: &Header<'_>,
        field: Set,
        candidates: &[&str],
        mut each: impl FnMut(Element),
    ) {
        if header.first {
            *self = Self::new(field == EXTENSIONS);
        }
        let mut rest = Some(header.value);
        while let Some(bytes) = rest {
            // A comma within quotes is no token either, so each comma ends an element.
            let (element, others) = split(bytes, b',');
            for byte in element {
                let lower = byte.to_ascii_lowercase();
                let byte = if field & ANY_CASE != 0 { lower } else { *byte };
                self.push(byte, candidates);
            }
            rest = others;
            if others.is_none() && !header.last {
                break;
            }
            let is_empty = self.place == Place::Name && self.expect == Expect::Token;
            let may_be_empty = !self.extensions || (header.is_whole() && header.value.is_empty());
            if !(is_empty && may_be_empty) {
                each(self.end(candidates));
            }
            *self = Self::new(self.extensions);
        }
    }

    /// The next byte of an element.
    fn push(&mut self, byte: u8, candidates: &[&str]) {
        let is_token = is_token_byte(byte);
        #[cfg(feature = "deflate")]
        if self.extensions {
            self.deflate.push(self.place, byte);
        }
        self.expect = match self.expect {
            Expect::Token | Expect::Rest if is_token => {
                if self.place == Place::Name {
                    self.compare(byte, candidates);
                }
                Expect::Rest
            }
            Expect::Token if is_space(byte) => Expect::Token,
            Expect::Token if byte == b'"' && self.place == Place::Value => Expect::Quoted,
            Expect::Rest | Expect::Separator if is_space(byte) => Expect::Separator,
            Expect::Rest | Expect::Separator if byte == b';' && self.extensions => {
                self.place = Place::Parameter;
                Expect::Token
            }
            Expect::Rest | Expect::Separator if byte == b'=' && self.place == Place::Parameter => {
                self.place = Place::Value;
                Expect::Token
            }
            // RFC 6455 §9.1: the string without its quotes is a token [HS17]
            Expect::Quoted | Expect::QuotedRest | Expect::Escaped if is_token => Expect::QuotedRest,
            Expect::Quoted | Expect::QuotedRest if byte == b'\\' => Expect::Escaped,
            Expect::QuotedRest if byte == b'"' => Expect::Separator,
            _ => Expect::Comma,
        };
    }

    /// Keeps those candidates that go on with `byte`, or end if it is 0.
    fn compare(&mut self, byte: u8, candidates: &[&str]) {
        self.alike &= bits(candidates, |candidate| {
            let next = candidate.as_bytes().get(self.len).copied().unwrap_or(0);
            // An extension may have parameters behind its name.
            let ends = self.extensions && !is_token_byte(next);
            byte == if ends { 0 } else { next }
        });
        self.len = self.len.wrapping_add(1);
    }

    /// The end of an element.
    fn end(&mut self, candidates: &[&str]) -> Element {
        let is_well_formed = matches!(self.expect, Expect::Rest | Expect::Separator);
        self.compare(0, candidates);
        Element {
            found: if is_well_formed { self.alike } else { 0 },
            is_well_formed,
            #[cfg(feature = "deflate")]
            deflate: match is_well_formed {
                true => self.deflate.end(self.place),
                false => None,
            },
        }
    }
}

/// A bit for each of the candidates that are `like`.
fn bits(candidates: &[&str], like: impl Fn(&str) -> bool) -> u32 {
    let each = candidates.iter().rev();
    each.fold(0, |bits, candidate| bits << 1 | u32::from(like(candidate)))
}

/// The subprotocols that a `Sec-WebSocket-Protocol` header offers, in their order, without what is no
/// text in visible ASCII.
///
/// ```
/// let mut offered = motews::handshake::subprotocols(b"chat.v2,, chat.v1");
/// assert!(offered.next().is_some_and(|name| name == "chat.v2"));
/// assert!(offered.next().is_some_and(|name| name == "chat.v1"));
/// assert!(offered.next().is_none());
/// ```
pub fn subprotocols(value: &[u8]) -> impl Iterator<Item = HeadText<'_>> {
    let elements = value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
    let is_text = |element: &&[u8]| !element.is_empty() && element.iter().all(u8::is_ascii_graphic);
    elements.filter(is_text).map(HeadText::new)
}

/// Whether `element` is an extension with its parameters.
pub(super) fn is_extension(element: &[u8]) -> bool {
    let mut list = List::new(true);
    for byte in element {
        list.push(*byte, &[]);
    }
    list.end(&[]).is_well_formed
}

/// What is known of an extension that is, or begins like, permessage-deflate, if it is well formed.
#[cfg(feature = "deflate")]
#[derive(Clone, Debug)]
struct Deflate {
    /// It has the name, as far as it goes.
    is_named: bool,
    /// How many bytes the token has so far.
    len: usize,
    /// A bit for each parameter that begins like it.
    alike: u32,
    /// The parameter's value, [`NO_NUMBER`] if it is none.
    value: Option<u8>,
    asked: Asked,
}

#[cfg(feature = "deflate")]
const NO_NUMBER: u8 = u8::MAX;

#[cfg(feature = "deflate")]
impl Deflate {
    const fn new(extensions: bool) -> Self {
        Self {
            is_named: extensions,
            len: 0,
            alike: !0,
            value: None,
            asked: Asked::NONE,
        }
    }

    /// The next byte, which belongs to what stands at `place`.
    fn push(&mut self, place: Place, byte: u8) {
        let goes_on = |text: &str| text.as_bytes().get(self.len) == Some(&byte);
        match byte {
            b';' => {
                self.end_token(place);
                return;
            }
            b'=' => {
                self.value = Some(0);
                return;
            }
            byte if !is_token_byte(byte) => return,
            byte => match place {
                Place::Name => self.is_named &= goes_on(NAME),
                Place::Parameter => self.alike &= bits(&PARAMETERS, goes_on),
                // RFC 7692 §7.1.2: 8 to 15 in decimal, without leading zeros. [PD04]
                Place::Value => {
                    self.value = Some(match (self.value, byte) {
                        (Some(0), b'1'..=b'9') => byte.wrapping_sub(b'0'),
                        (Some(1), b'0'..=b'9') => byte.wrapping_sub(b'0').wrapping_add(10),
                        _ => NO_NUMBER,
                    });
                    return;
                }
            },
        }
        self.len = self.len.wrapping_add(1);
    }

    /// The end of the name, or of a parameter.
    fn end_token(&mut self, place: Place) {
        let len = self.len;
        if place == Place::Name {
            self.is_named &= len == NAME.len();
        } else {
            let found = self.alike & bits(&PARAMETERS, |name| name.len() == len);
            self.asked.set(found.trailing_zeros(), self.value);
        }
        (self.len, self.alike, self.value) = (0, !0, None);
    }

    /// The end of the element: what it asks for.
    fn end(&mut self, place: Place) -> Option<Asked> {
        self.end_token(place);
        self.is_named.then_some(self.asked)
    }
}
