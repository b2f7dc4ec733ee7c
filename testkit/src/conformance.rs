//! The conformance kit: what each transport and each mode of an adapter has to do, as one suite.
//!
//! An adapter implements [`Subject`] for a connection of its own, whose peer is the kit, and
//! [`Adapter`] for what opens one. Then [`conformance!`](crate::conformance!) makes a test of each
//! case:
//!
//! ```ignore
//! motews_testkit::conformance!(MyAdapter);
//! ```
//!
//! The kit writes and reads frames by an encoding of its own. It works in simulated and in real time:
//! it never waits for a time to pass, but for something to happen, and all times are in
//! [ticks](Adapter::tick).

mod cases;
mod socket;

use std::collections::VecDeque;

use motews::Ended;
use motews::Timeouts;

use crate::frame::{self, Frame};

pub use cases::*;
pub use socket::Socket;

/// What an application was told.
#[derive(Clone, PartialEq, Eq)]
pub enum Told {
    /// A text message, whole.
    Text(String),
    /// A binary message, whole.
    Binary(Vec<u8>),
}

impl core::fmt::Debug for Told {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let (kind, bytes) = match self {
            Self::Text(text) => ("text", text.as_bytes()),
            Self::Binary(bytes) => ("binary", &bytes[..]),
        };
        let start = &bytes[..bytes.len().min(32)];
        write!(
            f,
            "{kind} of {} bytes: {}",
            bytes.len(),
            start.escape_ascii()
        )
    }
}

/// An open connection of the adapter under test. No method blocks: what cannot be done at once is done
/// by and by, while the kit [waits](Self::wait).
pub trait Subject {
    // ---- the peer's end of the transport ----

    /// The peer sends these bytes.
    fn give(&mut self, bytes: &[u8]);

    /// The peer sends these bytes, each of which is read by itself, as far as the transport has reads.
    fn trickle(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.give(&[*byte]);
            self.wait(0);
        }
    }

    /// The peer ends its half of the transport.
    fn end(&mut self);

    /// The peer takes at most so many bytes of what the connection has written so far.
    fn take(&mut self, most: usize) -> Vec<u8>;

    /// Whether the connection has ended its half of the transport, and everything was taken.
    fn has_ended(&mut self) -> bool;

    // ---- its application ----

    /// The application sends a message.
    fn send(&mut self, message: Told);

    /// The application closes.
    fn close(&mut self, code: u16, reason: &str);

    /// The application reads from now on, or does not. Returns false if it has no say in that.
    fn read(&mut self, on: bool) -> bool {
        let _ = on;
        false
    }

    /// Returns what the application was told since the last call.
    fn told(&mut self) -> Vec<Told>;

    /// Returns how the connection ended, if it has.
    fn ended(&mut self) -> Option<Ended>;

    // ---- time ----

    /// Lets about so many milliseconds pass.
    fn wait(&mut self, millis: u32);
}

/// What opens connections to be tested.
pub trait Adapter {
    /// Such a connection.
    type Subject: Subject;

    /// Whether it is a client's.
    fn is_client(&self) -> bool;

    /// Opens one, with these times for the open connection.
    fn open(&self, timeouts: Timeouts) -> Self::Subject;

    /// The unit of all times, in milliseconds: long enough for anything to happen that can.
    fn tick(&self) -> u32 {
        1000
    }

    /// Whether it has a clock.
    fn keeps_time(&self) -> bool {
        true
    }

    /// Whether both sides have agreed on permessage-deflate. What it sends is not compressed all the same.
    fn compresses(&self) -> bool {
        false
    }

    /// The longest message that it sends and receives, in bytes.
    fn max_message_len(&self) -> usize {
        70_000
    }

    /// More bytes than the transport hides from a connection whose peer takes none.
    fn more_than_fits(&self) -> usize {
        200_000
    }
}

/// A test of each case, in a module `conformance` of its own: `conformance!(expression)`, or
/// `conformance!(name, expression)` to name the module. The expression makes the [`Adapter`].
#[macro_export]
macro_rules! conformance {
    ($adapter:expr) => {
        $crate::conformance!(conformance, $adapter);
    };
    ($module:ident, $adapter:expr) => {
        mod $module {
            use super::*;

            $crate::conformance!(@cases $adapter,
                open_messages_of_each_length_class_are_told_and_sent,
                open_ping_is_answered_with_its_payload,
                open_pings_in_one_read_the_last_is_answered,
                open_fragments_with_pings_between_are_one_message,
                open_close_by_this_side_goes_through,
                open_close_by_the_peer_is_answered,
                open_close_by_both_at_once_goes_through,
                open_messages_before_a_close_by_this_side_go_first,
                open_messages_before_a_close_by_the_peer_are_told,
                open_violation_is_told_by_a_close_and_ends,
                open_violation_behind_messages_they_are_told,
                open_end_of_input_ends,
                open_end_of_input_within_a_message_ends,
                open_silent_peer_is_pinged_and_given_up,
                open_silent_peer_that_answers_pings_is_kept,
                open_peer_that_takes_nothing_is_given_up,
                open_application_that_does_not_read_gives_nobody_up,
                open_slow_reader_gets_everything,
                open_both_sides_at_once_get_everything,
                open_everything_in_one_read,
                open_each_byte_in_a_read_of_its_own,
                closing_peer_that_does_not_answer_is_given_up,
                closing_peer_that_sends_on_is_heard_until_its_close,
                closing_slow_reader_gets_everything_before_the_close,
            );
        }
    };
    (@cases $adapter:expr, $($case:ident,)*) => {
        $(
            #[test]
            fn $case() {
                $crate::conformance::$case(&$adapter);
            }
        )*
    };
}

/// The peer of a connection under test.
pub(crate) struct Kit<'a, A: Adapter> {
    adapter: &'a A,
    subject: A::Subject,
    taken: Vec<u8>,
    told: VecDeque<Told>,
    /// How many bytes the peer takes at once, while it waits for a frame.
    takes: usize,
}

impl<'a, A: Adapter> Kit<'a, A> {
    /// A connection that waits for nothing.
    fn open(adapter: &'a A) -> Self {
        let hour = Some(3600 * adapter.tick());
        Self::with_timeouts(
            adapter,
            Timeouts {
                handshake: hour,
                idle: None,
                keepalive: None,
                pong: hour,
                close: hour,
                write: hour,
                ..Timeouts::DEFAULT
            },
        )
    }

    fn with_timeouts(adapter: &'a A, timeouts: Timeouts) -> Self {
        Self {
            adapter,
            subject: adapter.open(timeouts),
            taken: Vec::new(),
            told: VecDeque::new(),
            takes: usize::MAX,
        }
    }

    // ---- what the peer does ----

    /// A frame as the peer writes it.
    fn encode(&self, frame: &Frame) -> Vec<u8> {
        // A client's frames are masked.
        frame.encode((!self.adapter.is_client()).then_some(frame::KEY))
    }

    fn encode_all(&self, frames: &[Frame]) -> Vec<u8> {
        frames.iter().flat_map(|frame| self.encode(frame)).collect()
    }

    fn give(&mut self, frame: &Frame) {
        let bytes = self.encode(frame);
        self.subject.give(&bytes);
    }

    // ---- what it waits for ----

    /// Waits until there is something.
    #[track_caller]
    fn until<T>(&mut self, what: &str, mut get: impl FnMut(&mut Self) -> Option<T>) -> T {
        let step = (self.adapter.tick() / 50).max(1);
        for _ in 0..50 * 60 {
            if let Some(thing) = get(self) {
                return thing;
            }
            self.subject.wait(step);
        }
        panic!("{what} did not come; ended: {:?}", self.subject.ended());
    }

    fn pull(&mut self) {
        let bytes = self.subject.take(self.takes);
        self.taken.extend(bytes);
        let told = self.subject.told();
        self.told.extend(told);
    }

    /// The next frame that the connection has sent, if it is whole.
    #[track_caller]
    fn try_frame(&mut self) -> Option<Frame> {
        self.pull();
        let mut rest = &self.taken[..];
        let (frame, key) = Frame::read(&mut rest).ok()?;
        assert_eq!(key.is_some(), self.adapter.is_client(), "who masks");
        self.taken = rest.to_vec();
        Some(frame)
    }

    #[track_caller]
    fn frame(&mut self) -> Frame {
        self.until("a frame", Self::try_frame)
    }

    /// The next frame that is no ping. Pings before it are answered.
    #[track_caller]
    fn frame_but_pings(&mut self) -> Frame {
        loop {
            let frame = self.frame();
            if frame.first != 0x89 {
                return frame;
            }
            self.give(&frame::pong(&frame.payload));
        }
    }

    /// The next message that the connection has sent, in however many frames, with pings between.
    #[track_caller]
    fn message(&mut self) -> Told {
        let first = self.frame_but_pings();
        let (kind, mut is_last) = (first.first & 0x0F, first.first & 0x80 != 0);
        let mut payload = first.payload;
        while !is_last {
            let next = self.frame_but_pings();
            assert_eq!(next.first & 0x7F, 0, "a continuation");
            payload.extend(next.payload);
            is_last = next.first & 0x80 != 0;
        }
        match kind {
            1 => Told::Text(String::from_utf8(payload).expect("UTF-8")),
            2 => Told::Binary(payload),
            kind => panic!("opcode {kind} is no message"),
        }
    }

    /// What the application was told next.
    #[track_caller]
    fn told(&mut self) -> Told {
        self.until("a message", |kit| {
            kit.pull();
            kit.told.pop_front()
        })
    }

    /// The end of the connection's half of the transport, without a byte before it.
    #[track_caller]
    fn half_ends(&mut self) {
        self.until("the end of its half", |kit| {
            kit.pull();
            kit.subject.has_ended().then_some(())
        });
        assert!(
            self.taken.is_empty(),
            "bytes behind the last frame: {:02x?}",
            self.taken
        );
    }

    /// The end of the connection, without a message before that nobody has asked for.
    #[track_caller]
    fn ended(&mut self) -> Ended {
        let ended = self.until("an end", |kit| {
            kit.pull();
            kit.subject.ended()
        });
        assert_eq!(self.told, [], "messages that were not expected");
        ended
    }

    /// Both Closes are through: the server ends its half first.
    #[track_caller]
    fn finish(mut self) -> Ended {
        if self.adapter.is_client() {
            self.subject.end();
            self.half_ends();
        } else {
            self.half_ends();
            self.subject.end();
        }
        self.ended()
    }
}
