//! Messages that own their payload.

use motews::DataKind;

/// A whole message (RFC 6455 §5.6).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Message {
    /// UTF-8.
    Text(String),
    /// Any bytes.
    Binary(Vec<u8>),
}

impl Message {
    /// What the message is.
    #[must_use]
    pub const fn kind(&self) -> DataKind {
        match self {
            Self::Text(_) => DataKind::Text,
            Self::Binary(_) => DataKind::Binary,
        }
    }

    /// The payload.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Text(text) => text.as_bytes(),
            Self::Binary(bytes) => bytes.as_slice(),
        }
    }

    /// The text, if it is one.
    #[must_use]
    pub const fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text.as_str()),
            Self::Binary(_) => None,
        }
    }

    /// Bytes of payload.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.as_bytes().len()
    }

    /// Whether the payload is empty, which is a message all the same.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The payload, whatever the kind.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        match self {
            Self::Text(text) => text.into_bytes(),
            Self::Binary(bytes) => bytes,
        }
    }
}

/// Strings are text, bytes are binary.
macro_rules! from {
    ($($from:ty => $kind:ident by $into:ident $(for const $n:ident)?,)*) => {$(
        impl$(<const $n: usize>)? From<$from> for Message {
            fn from(payload: $from) -> Self {
                Self::$kind(payload.$into())
            }
        }
    )*};
}

from! {
    String => Text by into,
    &str => Text by to_owned,
    Vec<u8> => Binary by into,
    &[u8] => Binary by to_vec,
    &[u8; N] => Binary by to_vec for const N,
}

impl From<motews::Message<'_>> for Message {
    fn from(message: motews::Message<'_>) -> Self {
        match message {
            motews::Message::Text(text) => Self::Text(text.to_owned()),
            motews::Message::Binary(bytes) => Self::Binary(bytes.to_owned()),
        }
    }
}

/// What can be sent: strings are text, bytes are binary.
pub trait AsMessage {
    /// The message, borrowed.
    fn as_message(&self) -> motews::Message<'_>;
}

impl AsMessage for Message {
    fn as_message(&self) -> motews::Message<'_> {
        match self {
            Self::Text(text) => motews::Message::Text(text),
            Self::Binary(bytes) => motews::Message::Binary(bytes),
        }
    }
}

impl AsMessage for motews::Message<'_> {
    fn as_message(&self) -> motews::Message<'_> {
        *self
    }
}

macro_rules! as_message {
    ($($payload:ty => $kind:ident $(for const $n:ident)?,)*) => {$(
        impl$(<const $n: usize>)? AsMessage for $payload {
            fn as_message(&self) -> motews::Message<'_> {
                motews::Message::$kind(self)
            }
        }
    )*};
}

as_message! {
    str => Text,
    String => Text,
    [u8] => Binary,
    Vec<u8> => Binary,
    [u8; N] => Binary for const N,
}

impl<T: AsMessage + ?Sized> AsMessage for &T {
    fn as_message(&self) -> motews::Message<'_> {
        (**self).as_message()
    }
}
