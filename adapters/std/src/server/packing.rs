//! permessage-deflate (RFC 7692) of the server's connections. Without the feature there is none,
//! and all of it is compiled away.

#[cfg(not(feature = "deflate"))]
pub(super) use off::{Codec, PeerWindow, pack_alone};
#[cfg(feature = "deflate")]
pub(super) use on::{Codec, PeerWindow, pack_alone};

#[cfg(feature = "deflate")]
mod on {
    use core::cell::RefCell;
    use std::collections::BTreeMap;
    use std::collections::btree_map::Entry;

    use motews::deflate::{DeflateContext, DeflateParams, WindowBits, wire_limit};
    use motews::{Chunk, ConnectionConfig, ProtocolViolation};

    use crate::deflate::{Bytes, Compress, Inflate, Traffic};
    use crate::handshake::Reading;

    /// The window of a peer that has agreed on compression.
    pub(in super::super) type PeerWindow = WindowBits;

    thread_local! {
        /// What compresses messages that refer to none before: one for each size of window, for all
        /// connections of a loop, and for what this thread broadcasts.
        static ALONE: RefCell<BTreeMap<usize, Box<Compress>>> =
            const { RefCell::new(BTreeMap::new()) };
    }

    /// Compresses a message that refers to none before, for a peer that has this window; `None`
    /// where it is better sent as it is.
    pub(in super::super) fn pack_alone(window: PeerWindow, payload: &[u8]) -> Option<Vec<u8>> {
        let send = DeflateContext {
            window_bits: window,
            takeover: false,
        };
        let agreed = DeflateParams {
            send,
            receive: DeflateContext::default(),
        };
        ALONE.with_borrow_mut(|all| {
            let compress = match all.entry(window.size()) {
                Entry::Occupied(entry) => entry.into_mut(),
                Entry::Vacant(entry) => entry.insert(Compress::new(agreed)?),
            };
            compress.message(payload)
        })
    }

    /// What a connection has that has agreed on compression.
    #[derive(Debug)]
    pub(in super::super) struct Codec {
        inflate: Box<Inflate>,
        /// Not there where no message refers to those before.
        compress: Option<Box<Compress>>,
        window: PeerWindow,
        sent: Bytes,
    }

    impl Codec {
        /// That of a connection, and the connection's settings, if compression was agreed on.
        pub(in super::super) fn agreed(
            reading: &Reading,
            max_message_len: usize,
        ) -> Option<(Box<Self>, ConnectionConfig)> {
            let agreed = reading.agreed?.deflate?;
            let codec = Self {
                inflate: Inflate::new(agreed, max_message_len as u64)?,
                compress: match agreed.send.takeover {
                    true => Some(Compress::new(agreed)?),
                    false => None,
                },
                window: agreed.send.window_bits,
                sent: Bytes::default(),
            };
            let config = ConnectionConfig {
                max_message_len: wire_limit(max_message_len as u64),
                compression: true,
            };
            Some((Box::new(codec), config))
        }

        /// Appends what `chunk` stands for, and tells whether the message ends there.
        pub(in super::super) fn append(
            &mut self,
            chunk: Chunk<'_>,
            message: &mut Vec<u8>,
        ) -> Result<bool, ProtocolViolation> {
            self.inflate.append(chunk, message)
        }

        /// Compresses a message; `None` where it is better sent as it is.
        pub(in super::super) fn pack(&mut self, payload: &[u8]) -> Option<Vec<u8>> {
            match &mut self.compress {
                Some(compress) => compress.message(payload),
                None => pack_alone(self.window, payload),
            }
        }

        /// The peer gets a message that was compressed elsewhere: no later one refers to those
        /// before.
        pub(in super::super) fn reset(&mut self) {
            if let Some(compress) = &mut self.compress {
                compress.reset();
            }
        }

        pub(in super::super) const fn window(&self) -> PeerWindow {
            self.window
        }

        /// Counts a message that is sent, and what it is on the wire.
        pub(in super::super) const fn count(&mut self, message: usize, payload: usize) {
            self.sent.add(message, payload);
        }

        pub(in super::super) const fn traffic(&self) -> Traffic {
            Traffic {
                received: self.inflate.received(),
                sent: self.sent,
            }
        }
    }
}

#[cfg(not(feature = "deflate"))]
mod off {
    use motews::{Chunk, ConnectionConfig, ProtocolViolation};

    use crate::handshake::Reading;

    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(in super::super) enum PeerWindow {}

    pub(in super::super) fn pack_alone(window: PeerWindow, _: &[u8]) -> Option<Vec<u8>> {
        match window {}
    }

    #[derive(Debug)]
    pub(in super::super) enum Codec {}

    impl Codec {
        pub(in super::super) const fn agreed(
            _: &Reading,
            _: usize,
        ) -> Option<(Box<Self>, ConnectionConfig)> {
            None
        }

        pub(in super::super) fn append(
            &mut self,
            _: Chunk<'_>,
            _: &mut Vec<u8>,
        ) -> Result<bool, ProtocolViolation> {
            match *self {}
        }

        pub(in super::super) fn pack(&mut self, _: &[u8]) -> Option<Vec<u8>> {
            match *self {}
        }

        pub(in super::super) fn reset(&mut self) {
            match *self {}
        }

        pub(in super::super) const fn window(&self) -> PeerWindow {
            match *self {}
        }

        pub(in super::super) const fn count(&mut self, _: usize, _: usize) {
            match *self {}
        }
    }
}
