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

impl From<String> for Message {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<&str> for Message {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<Vec<u8>> for Message {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Binary(bytes)
    }
}

impl From<&[u8]> for Message {
    fn from(bytes: &[u8]) -> Self {
        Self::Binary(bytes.to_owned())
    }
}

impl<const N: usize> From<&[u8; N]> for Message {
    fn from(bytes: &[u8; N]) -> Self {
        Self::Binary(bytes.to_vec())
    }
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

impl AsMessage for str {
    fn as_message(&self) -> motews::Message<'_> {
        motews::Message::Text(self)
    }
}

impl AsMessage for String {
    fn as_message(&self) -> motews::Message<'_> {
        motews::Message::Text(self)
    }
}

impl AsMessage for [u8] {
    fn as_message(&self) -> motews::Message<'_> {
        motews::Message::Binary(self)
    }
}

impl<const N: usize> AsMessage for [u8; N] {
    fn as_message(&self) -> motews::Message<'_> {
        motews::Message::Binary(self)
    }
}

impl AsMessage for Vec<u8> {
    fn as_message(&self) -> motews::Message<'_> {
        motews::Message::Binary(self)
    }
}

impl<T: AsMessage + ?Sized> AsMessage for &T {
    fn as_message(&self) -> motews::Message<'_> {
        (**self).as_message()
    }
}
