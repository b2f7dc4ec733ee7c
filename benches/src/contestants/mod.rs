//! Those who receive: motews, its peers, and a copy of the same bytes.

mod memcpy;
mod motews;
#[cfg(feature = "peers")]
mod peers;

use core::fmt::{self, Display};
use core::hint::black_box;
use std::rc::Rc;

use crate::frames::{Checksum, Frames};
use crate::source::Source;

/// Takes what a contestant receives.
pub trait Sink {
    /// The next bytes of a message's payload; `last`: the message ends with them.
    fn payload(&mut self, bytes: &[u8], last: bool);
}

/// Something that receives messages, in the role of a server.
pub trait Contestant: Sized {
    /// What the tables call it.
    const NAME: &'static str;

    /// A connection on `source`, past the opening handshake.
    fn new(source: Source) -> Self;

    /// Receives exactly `messages` messages.
    fn receive(&mut self, messages: u64, sink: &mut impl Sink) -> Result<(), Failed>;
}

/// A contestant refused what it received, for the reason in its own words.
#[derive(Debug)]
pub struct Failed(pub String);

impl Failed {
    fn because(reason: impl Display) -> Self {
        Self(reason.to_string())
    }
}

impl Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl core::error::Error for Failed {}

/// Messages and bytes of payload that were received.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Whole messages.
    pub messages: u64,
    /// Bytes of payload.
    pub octets: u64,
}

impl Sink for Tally {
    #[inline]
    fn payload(&mut self, bytes: &[u8], last: bool) {
        self.messages += u64::from(last);
        self.octets += black_box(bytes).len() as u64;
    }
}

impl Sink for Checksum {
    fn payload(&mut self, bytes: &[u8], last: bool) {
        self.chunk(bytes);
        if last {
            self.end();
        }
    }
}

/// A [`Contestant`] that has entered.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// What the tables call it.
    pub name: &'static str,
    open: fn(Rc<Frames>) -> Box<dyn Running>,
}

impl Entry {
    const fn of<C: Contestant + 'static>() -> Self {
        Self {
            name: C::NAME,
            open: |frames| Box::new(C::new(Source::new(frames))),
        }
    }

    /// All of them: the copy first, then motews, then the peers.
    pub fn all() -> Vec<Self> {
        vec![
            Self::of::<memcpy::Memcpy>(),
            Self::of::<motews::Chunks>(),
            Self::of::<motews::Steps>(),
            Self::of::<motews::Messages>(),
            #[cfg(feature = "peers")]
            Self::of::<peers::Tungstenite>(),
            #[cfg(feature = "peers")]
            Self::of::<peers::Fastwebsockets>(),
            #[cfg(feature = "peers")]
            Self::of::<peers::TokioWebsockets>(),
            #[cfg(feature = "peers")]
            Self::of::<peers::EmbeddedWebsocket>(),
            #[cfg(feature = "peers")]
            Self::of::<peers::WebsocketSansIo>(),
        ]
    }

    /// A copy, which receives nothing.
    pub fn is_copy(&self) -> bool {
        self.name == memcpy::Memcpy::NAME
    }

    /// motews itself, not a peer.
    pub fn is_own(&self) -> bool {
        self.name.starts_with("motews")
    }

    /// A connection on an endless stream of `frames`.
    pub fn open(&self, frames: &Rc<Frames>) -> Box<dyn Running> {
        (self.open)(Rc::clone(frames))
    }

    /// Whether it refuses text that is not UTF-8: found out, not claimed.
    pub fn validates(&self) -> bool {
        let broken: [&[u8]; 3] = [
            b"an overlong \xc0\xaf slash",
            b"a surrogate \xed\xa0\x80",
            b"cut short \xf0\x9f\x98",
        ];
        broken.into_iter().all(|payload| {
            let frames = Rc::new(Frames::single(payload));
            self.open(&frames).count(1).is_err()
        })
    }
}

/// A contestant on its stream.
pub trait Running {
    /// Receives exactly `messages` messages.
    ///
    /// # Errors
    /// What the contestant has to say against them.
    fn count(&mut self, messages: u64) -> Result<Tally, Failed>;

    /// The same, with a look at every byte.
    ///
    /// # Errors
    /// What the contestant has to say against them.
    fn checksum(&mut self, messages: u64) -> Result<u64, Failed>;
}

impl<C: Contestant> Running for C {
    #[inline(never)]
    fn count(&mut self, messages: u64) -> Result<Tally, Failed> {
        let mut tally = Tally::default();
        self.receive(messages, &mut tally)?;
        Ok(tally)
    }

    fn checksum(&mut self, messages: u64) -> Result<u64, Failed> {
        let mut checksum = Checksum::new();
        self.receive(messages, &mut checksum)?;
        Ok(checksum.value())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frames::Workload;

    #[test]
    fn each_contestant_receives_every_byte() {
        for workload in Workload::ALL {
            let frames = Rc::new(Frames::prepare(workload));
            let messages = frames.ends.len() as u64;
            for entry in Entry::all().into_iter().filter(|entry| !entry.is_copy()) {
                let mut running = entry.open(&frames);
                for pass in 0..2 {
                    let checksum = running.checksum(messages).expect("valid frames");
                    assert_eq!(
                        checksum, frames.checksum,
                        "{}, {workload}, {pass}",
                        entry.name
                    );
                }
                let tally = running.count(messages).expect("valid frames");
                let octets = messages * workload.len as u64;
                assert_eq!(
                    tally,
                    Tally { messages, octets },
                    "{}, {workload}",
                    entry.name
                );
            }
        }
    }

    #[test]
    fn motews_refuses_text_that_is_not_utf8() {
        for entry in Entry::all().into_iter().filter(Entry::is_own) {
            assert!(entry.validates(), "{}", entry.name);
        }
    }
}
