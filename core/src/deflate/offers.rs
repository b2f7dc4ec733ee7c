//! What a client offers, for a server that is told its headers as they arrive.

use super::negotiation::{Accepted, Deflate};
use crate::handshake::Header;

/// The extensions that a client offers, in at most `N` bytes: browsers take 43. Where there are more,
/// those that are whole count, which are the ones it likes best.
#[derive(Clone, Debug)]
pub struct Offers<const N: usize = 128> {
    values: [u8; N],
    len: usize,
    /// The first octet that there was no room for.
    beyond: Option<u8>,
}

impl<const N: usize> Default for Offers<N> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const N: usize> Offers<N> {
    /// None yet.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            values: [0; N],
            len: 0,
            beyond: None,
        }
    }

    /// Takes a header, or a part of one. Of no effect if it is not `Sec-WebSocket-Extensions`.
    pub fn push(&mut self, header: &Header<'_>) {
        if !header.is("Sec-WebSocket-Extensions") {
            return;
        }
        // RFC 6455 §9.1: several headers are one list [HS15]
        let separator: &[u8] = if header.first && self.len > 0 {
            b","
        } else {
            b""
        };
        for octet in separator.iter().chain(header.value) {
            match self.values.get_mut(self.len) {
                Some(place) => {
                    *place = *octet;
                    self.len = self.len.wrapping_add(1);
                }
                None => _ = self.beyond.get_or_insert(*octet),
            }
        }
    }

    /// What comes of it: [`Deflate::accept`]. `None`: no compression.
    #[must_use]
    pub fn accept(&self, deflate: &Deflate) -> Option<Accepted> {
        let mut values = self.values.get(..self.len).unwrap_or_default();
        if self.beyond.is_some_and(|octet| octet != b',') {
            let end = values.iter().rposition(|octet| *octet == b',')?;
            values = values.get(..end).unwrap_or_default();
        }
        deflate.accept([values])
    }
}
