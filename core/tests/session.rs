//! The rules of [`motews::pace`], each by the public API of a [`Session`], in simulated time.
#![expect(
    clippy::indexing_slicing,
    reason = "an index out of bounds fails the test"
)]

use motews::pace::DRAIN;

use motews::{
    Client, CloseCode, ConnectionConfig, DataKind, Ended, Entropy, EntropyError, Message,
    ProtocolViolation, SendError, Server, Session, Side, State, Wants,
};
use motews::{Deadline, Millis, Pace, Timeouts};

const T: &Timeouts = &Timeouts::DEFAULT;

/// What a client sends: frames with a masking key of zeros.
const HELLO: &[u8] = b"\x81\x85\0\0\0\0Hello";
const PING: &[u8] = b"\x89\x80\0\0\0\0";
const PONG: &[u8] = b"\x8A\x80\0\0\0\0";
const CLOSE_1000: &[u8] = b"\x88\x82\0\0\0\0\x03\xe8";
const UNMASKED: &[u8] = b"\x81\x00";

/// A server's session, and what it would write.
struct Peer {
    session: Session<Server>,
    out: Vec<u8>,
}

fn open(now: u32) -> Peer {
    Peer {
        session: Session::new(Server, ConnectionConfig::default(), Millis(now)),
        out: Vec::new(),
    }
}

impl Peer {
    fn receive(&mut self, now: u32, bytes: &[u8]) {
        self.session.received(Millis(now));
        let mut bytes = bytes.to_vec();
        let mut input = &mut bytes[..];
        while let Ok(Some(_)) = self.session.next_event(&mut input) {}
    }

    /// Polls, and puts what is owed into `out`.
    fn poll(&mut self, now: u32, timeouts: &Timeouts) -> Wants {
        let wants = self.session.poll(Millis(now), timeouts, false);
        let mut buffer = [0; 131];
        while let Ok(len @ 1..) = self.session.poll_transmit(&mut buffer) {
            self.out.extend_from_slice(&buffer[..len]);
        }
        wants
    }

    fn send(&mut self, len: usize) {
        let mut buffer = vec![0; len + 14];
        let message = vec![0; len];
        let written = self
            .session
            .send(Message::Binary(&message), &mut buffer)
            .unwrap();
        self.out.extend_from_slice(&buffer[..written]);
    }

    /// The transport takes so many bytes of what waits.
    fn take(&mut self, now: u32, timeouts: &Timeouts, len: usize) {
        let len = len.min(self.out.len());
        self.out.drain(..len);
        self.session
            .sent(Millis(now), timeouts, len, self.out.len());
    }

    fn take_all(&mut self, now: u32, timeouts: &Timeouts) {
        self.take(now, timeouts, usize::MAX);
    }

    fn deadline(&self, timeouts: &Timeouts) -> Option<(u32, Deadline)> {
        let deadline = self.session.deadline(timeouts);
        deadline.map(|(at, deadline)| (at.0, deadline))
    }

    /// `deadline` ends the session at `at`, and not a millisecond earlier.
    #[track_caller]
    fn assert_ends(&mut self, timeouts: &Timeouts, at: u32, deadline: Deadline) {
        assert_eq!(self.deadline(timeouts), Some((at, deadline)));
        let before = self
            .session
            .poll(Millis(at.wrapping_sub(1)), timeouts, false);
        assert!(!before.drop);
        assert_eq!(self.session.ended(), None);
        assert!(self.session.poll(Millis(at), timeouts, false).drop);
        assert_eq!(self.session.ended(), Some(Ended::TimedOut(deadline)));
        assert_eq!(self.session.poll_at(timeouts), None);
    }
}

// ---- rules 1 and 2: bytes buy time ----

#[test]
fn waiting_nothing_taken_ends_after_the_write_timeout() {
    let mut peer = open(0);
    peer.send(1_000);
    peer.take(100, T, 0);
    // Only the write timeout judges: the ping, which waits behind, has no time of its own.
    peer.poll(30_000, T);
    peer.assert_ends(T, 30_100, Deadline::Write);
}

#[test]
fn waiting_bytes_taken_buys_their_number_divided_by_the_rate() {
    let mut peer = open(0);
    peer.send(100_000);
    peer.take(0, T, 0);
    // 128 bytes a second.
    peer.take(10_000, T, 1_280);
    assert_eq!(peer.deadline(T), Some((30_000, Deadline::Keepalive)));
    peer.poll(30_000, T);
    // Counted from the time when bytes began to wait, not from the time of the call.
    peer.assert_ends(T, 40_000, Deadline::Write);
}

#[test]
fn sent_whole_to_a_slow_reader_the_pong_has_the_time_that_the_bytes_buy() {
    let mut peer = open(0);
    peer.send(128_000 - 4);
    peer.take_all(0, T);
    peer.poll(30_000, T);
    assert_eq!(peer.out, b"\x89\x00");
    peer.take_all(30_000, T);
    // 128,000 bytes buy 1,000 s, of which 300 count; the ping buys 16 ms more, from then on.
    peer.assert_ends(T, 300_016 + 10_000, Deadline::Pong);
}

#[test]
fn sent_more_than_the_grace_buys_no_more_than_that_from_now() {
    for taken in [38_401, 5_000_000, u32::MAX as usize, usize::MAX] {
        let mut pace = Pace::new(Millis(0));
        pace.responding(Millis(7));
        pace.sent(Millis(7), T, taken, 1);
        assert_eq!(
            pace.poll_at(T),
            Some(Millis(7 + 300_000 + 30_000)),
            "{taken}"
        );
    }
}

/// In one call or in many: the grace is counted from now, and what is bought from when bytes began
/// to wait.
#[test]
fn waiting_taken_at_once_or_in_parts_buys_alike() {
    for parts in [1, 64] {
        let mut pace = Pace::new(Millis(0));
        pace.responding(Millis(0));
        pace.sent(Millis(0), T, 0, 80_000);
        for part in 1..=parts {
            let taken = 40_960 / parts;
            pace.sent(Millis(25_000), T, taken, 80_000 - part * taken);
        }
        // 40,960 bytes buy 320 s.
        assert_eq!(pace.poll_at(T), Some(Millis(320_000 + 30_000)), "{parts}");
    }
}

#[test]
fn rates_and_graces_at_their_limits_buy_what_they_say() {
    let bought = |min_rate, max_grace, taken| {
        let timeouts = Timeouts {
            min_rate,
            max_grace,
            write: Some(0),
            ..*T
        };
        let mut pace = Pace::new(Millis(0));
        pace.responding(Millis(0));
        pace.sent(Millis(0), &timeouts, taken, 1);
        pace.poll_at(&timeouts).unwrap().0
    };
    assert_eq!(bought(0, 300, 1), 300, "no rate: the whole grace");
    assert_eq!(bought(0, 300, 0), 0, "and nothing for nothing");
    assert_eq!(bought(1, 300_000, 1), 1_000);
    assert_eq!(bought(u32::MAX, 300_000, 1), 1, "rounded up");
    assert_eq!(bought(u32::MAX, 300_000, usize::MAX), 300_000);
    assert_eq!(bought(1_000_000, 300_000, 8_000_001), 8_001, "rounded up");
    assert_eq!(bought(128, 0, 1_000), 0, "no grace");
    assert_eq!(bought(128, 1, 1_000), 1);
    assert_eq!(bought(1, u32::MAX, usize::MAX), Timeouts::MAX);
}

#[test]
fn sent_nothing_and_nothing_left_renews_nothing() {
    let mut peer = open(0);
    peer.poll(30_000, T);
    peer.take_all(30_000, T);
    let due = peer.deadline(T);
    assert_eq!(due, Some((40_016, Deadline::Pong)));
    for now in 30_000..40_000 {
        peer.session.sent(Millis(now), T, 0, 0);
    }
    assert_eq!(peer.deadline(T), due);
}

// ---- rules 3 to 6: who is alive ----

#[test]
fn silent_peer_is_pinged_once_and_then_given_up() {
    let mut peer = open(100);
    assert_eq!(peer.deadline(T), Some((30_100, Deadline::Keepalive)));
    assert!(!peer.poll(30_099, T).transmit);
    assert!(peer.poll(30_100, T).transmit);
    assert_eq!(peer.out, b"\x89\x00");
    assert!(!peer.poll(30_101, T).transmit, "one outstanding");
    assert_eq!(
        peer.deadline(T),
        None,
        "until it has left, only writing is judged"
    );
    peer.take_all(30_200, T);
    assert!(!peer.poll(30_300, T).transmit);
    peer.assert_ends(T, 40_216, Deadline::Pong);
}

#[test]
fn pinged_peer_that_sends_any_byte_is_heard() {
    for bytes in [PONG, HELLO, PING, &HELLO[..1]] {
        let mut peer = open(0);
        peer.poll(30_000, T);
        peer.take_all(30_000, T);
        peer.receive(35_000, bytes);
        assert_eq!(peer.deadline(T), Some((65_000, Deadline::Keepalive)));
    }
}

#[test]
fn ping_behind_bytes_that_wait_has_its_time_from_when_it_left() {
    let mut peer = open(0);
    peer.send(12_800 - 4);
    peer.take(0, T, 6_400);
    peer.poll(30_000, T);
    assert!(peer.out.ends_with(b"\x89\x00"));
    // 50 s are bought; the ping has no time of its own as long as it waits.
    assert_eq!(peer.deadline(T), Some((80_000, Deadline::Write)));
    peer.take_all(60_000, T);
    assert_eq!(peer.deadline(T), Some((100_016 + 10_000, Deadline::Pong)));
}

#[test]
fn caller_that_does_not_read_blames_no_one() {
    let mut peer = open(0);
    peer.session.reading(Millis(0), false);
    let wants = peer.poll(1_000_000, T);
    assert!(!wants.read && !wants.transmit && !wants.drop);
    assert_eq!(
        peer.session.poll_at(&Timeouts::SERVER),
        None,
        "neither ping nor idle"
    );
    peer.session.reading(Millis(1_000_000), true);
    assert_eq!(peer.deadline(T), Some((1_030_000, Deadline::Keepalive)));
    // What is read says nothing while the caller pauses again.
    peer.session.reading(Millis(1_000_001), false);
    peer.session.received(Millis(1_000_002));
    assert_eq!(peer.session.poll_at(T), None);
}

#[test]
fn caller_that_reads_on_and_on_renews_nothing() {
    let mut peer = open(0);
    for now in 0..30_000 {
        peer.session.reading(Millis(now), true);
    }
    assert!(peer.poll(30_000, T).transmit);
}

#[test]
fn pinged_peer_with_unread_input_is_not_given_up() {
    let mut peer = open(0);
    peer.poll(30_000, T);
    peer.take_all(30_000, T);
    assert!(!peer.session.poll(Millis(41_000), T, true).drop);
    assert_eq!(peer.deadline(T), Some((71_000, Deadline::Keepalive)));
}

#[test]
fn unread_input_without_any_keepalive_time_is_no_reason_for_a_ping_at_once() {
    let timeouts = &Timeouts {
        keepalive: Some(0),
        ..*T
    };
    let mut peer = open(0);
    for _ in 0..2 {
        assert!(!peer.session.poll(Millis(7), timeouts, true).transmit);
        assert_eq!(peer.deadline(timeouts), Some((8, Deadline::Keepalive)));
    }
}

#[test]
fn unread_input_is_no_excuse_for_a_peer_that_takes_nothing() {
    let mut peer = open(0);
    peer.send(1_000);
    peer.take(0, T, 0);
    assert!(!peer.session.poll(Millis(29_999), T, true).drop);
    assert!(peer.session.poll(Millis(30_000), T, true).drop);
    assert_eq!(peer.session.ended(), Some(Ended::TimedOut(Deadline::Write)));
}

// ---- rule 7: closing ----

#[test]
fn closing_by_this_side_the_close_has_its_time_from_when_it_left() {
    let mut peer = open(0);
    peer.send(12_800 - 4);
    peer.session.close(CloseCode::NORMAL, "").unwrap();
    assert!(peer.poll(0, T).transmit);
    peer.take(0, T, 6_400);
    // 50 s bought, and 30 s to write on.
    assert_eq!(peer.deadline(T), Some((80_000, Deadline::Write)));
    peer.take_all(70_000, T);
    // From the later of both: what was taken buys time up to 50 + 50.032 s.
    assert_eq!(peer.deadline(T), Some((100_032 + 5_000, Deadline::Close)));
    // Neither messages nor pings renew it, nor do the pongs that answer them.
    for now in (70_000..105_000).step_by(1_000) {
        peer.receive(now, HELLO);
        peer.receive(now, PING);
        peer.poll(now, T);
        assert!(peer.out.ends_with(b"\x8A\x00"));
        peer.take_all(now, T);
    }
    peer.assert_ends(T, 105_032, Deadline::Close);
}

#[test]
fn closing_with_a_pong_that_is_not_taken_ends_by_the_close_timeout() {
    let mut peer = open(0);
    peer.session.close(CloseCode::NORMAL, "").unwrap();
    peer.poll(0, T);
    peer.take_all(0, T);
    let due = peer.deadline(T);
    peer.receive(1_000, PING);
    peer.poll(1_000, T);
    peer.take(1_000, T, 0);
    assert_eq!(peer.deadline(T), due);
}

#[test]
fn closing_both_closes_through_ends_cleanly_and_drains_for_a_second() {
    let mut peer = open(0);
    peer.session.close(CloseCode::GOING_AWAY, "").unwrap();
    peer.poll(0, T);
    peer.take_all(0, T);
    peer.receive(100, CLOSE_1000);
    assert_eq!(
        peer.session.ended(),
        None,
        "not before the poll that says what to do"
    );
    let wants = peer.poll(100, T);
    assert_eq!(
        wants,
        Wants {
            shutdown: true,
            drain: true,
            ..Wants::default()
        }
    );
    let ended = Some(Ended::Closed {
        code: CloseCode::NORMAL,
        by: Side::Local,
        clean: true,
    });
    assert_eq!(peer.session.ended(), ended);
    assert_eq!(peer.deadline(T), Some((100 + DRAIN, Deadline::Drain)));
    assert_eq!(
        peer.poll(101, T),
        Wants {
            drain: true,
            ..Wants::default()
        }
    );
    assert!(peer.poll(1_100, T).drop);
    assert_eq!(peer.session.ended(), ended, "it never changes");
}

/// A Close that waits behind a message has not reached the peer: it cannot be what the peer answers.
#[test]
fn closing_whose_close_has_not_left_the_peer_was_first() {
    let mut peer = open(0);
    peer.send(1_000);
    peer.take(0, T, 0);
    peer.session.close(CloseCode::GOING_AWAY, "").unwrap();
    peer.receive(10, CLOSE_1000);
    peer.poll(10, T);
    peer.take_all(20, T);
    peer.poll(20, T);
    let ended = Ended::Closed {
        code: CloseCode::NORMAL,
        by: Side::Remote,
        clean: true,
    };
    assert_eq!(peer.session.ended(), Some(ended));
}

#[test]
fn closing_by_the_peer_is_answered_behind_what_waits() {
    let mut peer = open(0);
    peer.send(1_000);
    peer.take(0, T, 0);
    peer.receive(10, CLOSE_1000);
    let wants = peer.poll(10, T);
    assert!(wants.transmit && wants.drain && !wants.read && !wants.shutdown);
    assert_eq!(peer.deadline(T), Some((30_000, Deadline::Write)));
    peer.take(20_000, T, 500);
    assert!(!peer.poll(20_000, T).shutdown);
    peer.take_all(20_100, T);
    assert!(peer.poll(20_100, T).shutdown);
    let ended = Ended::Closed {
        code: CloseCode::NORMAL,
        by: Side::Remote,
        clean: true,
    };
    assert_eq!(peer.session.ended(), Some(ended));
    peer.session.receive_eof();
    assert!(peer.poll(20_200, T).drop);
    assert_eq!(peer.session.ended(), Some(ended));
}

#[test]
fn closing_by_the_peer_the_answer_that_never_leaves_is_no_clean_end() {
    let mut peer = open(0);
    peer.send(1_000);
    peer.take(0, T, 0);
    peer.receive(10, CLOSE_1000);
    peer.poll(10, T);
    peer.session.lost();
    let ended = Ended::Closed {
        code: CloseCode::NORMAL,
        by: Side::Remote,
        clean: false,
    };
    assert_eq!(peer.session.ended(), Some(ended));
    // What is reported afterwards does not change it.
    peer.take_all(20, T);
    assert_eq!(peer.session.ended(), Some(ended));
}

#[test]
fn closing_by_a_point_in_time_replaces_the_times_for_writing_and_closing() {
    let mut peer = open(0);
    peer.send(1_000);
    peer.session.close(CloseCode::GOING_AWAY, "").unwrap();
    peer.session.close_by(Millis(100_000));
    peer.poll(0, T);
    peer.take(0, T, 0);
    assert_eq!(peer.deadline(T), Some((100_000, Deadline::Close)));
    peer.take_all(90_000, T);
    peer.assert_ends(T, 100_000, Deadline::Close);
}

#[test]
fn closing_by_a_point_in_time_without_a_close_ends_an_open_session() {
    let mut peer = open(0);
    peer.session.close_by(Millis(50_000));
    assert!(!peer.poll(40_000, T).transmit, "no ping is owed");
    peer.send(10);
    peer.assert_ends(T, 50_000, Deadline::Close);
}

#[test]
fn draining_close_by_shortens_or_sets_the_time() {
    for (timeouts, by, expected) in [(T, 500, 500), (T, 2_000, 1_100)] {
        let mut peer = open(0);
        peer.receive(100, CLOSE_1000);
        peer.poll(100, timeouts);
        peer.take_all(100, timeouts);
        peer.poll(100, timeouts);
        peer.session.close_by(Millis(by));
        assert_eq!(peer.deadline(timeouts), Some((expected, Deadline::Drain)));
    }
}

#[test]
fn closed_by_timeout_shorter_than_a_second_drains_no_longer() {
    let short = &Timeouts {
        close: Some(300),
        ..*T
    };
    let mut peer = open(0);
    peer.receive(0, CLOSE_1000);
    peer.poll(0, short);
    peer.take_all(0, short);
    peer.poll(0, short);
    assert_eq!(peer.deadline(short), Some((300, Deadline::Drain)));
    let mut peer = open(0);
    peer.receive(0, CLOSE_1000);
    peer.poll(0, &Timeouts::NONE);
    peer.take_all(0, &Timeouts::NONE);
    peer.poll(0, &Timeouts::NONE);
    assert_eq!(
        peer.deadline(&Timeouts::NONE),
        Some((DRAIN, Deadline::Drain))
    );
}

#[test]
fn violated_tells_the_peer_ends_its_half_and_drains_until_the_close_timeout() {
    let mut peer = open(0);
    peer.receive(10, UNMASKED);
    let wants = peer.poll(10, T);
    assert!(wants.transmit && wants.drain && !wants.read);
    assert_eq!(peer.out, b"\x88\x02\x03\xea");
    assert_eq!(peer.session.ended(), None);
    peer.take_all(20, T);
    let wants = peer.poll(20, T);
    assert!(wants.shutdown && wants.drain);
    let ended = Some(Ended::Violation(ProtocolViolation::Unmasked));
    assert_eq!(peer.session.ended(), ended);
    // 4 bytes buy 32 ms.
    assert_eq!(peer.deadline(T), Some((20 + 32 + 5_000, Deadline::Drain)));
    peer.session.lost();
    assert!(peer.poll(30, T).drop);
    assert_eq!(peer.session.ended(), ended);
}

#[test]
fn closing_violated_just_before_the_end_of_its_time_gains_none() {
    let mut peer = open(0);
    peer.session.close(CloseCode::NORMAL, "").unwrap();
    peer.poll(0, T);
    peer.take_all(0, T);
    peer.receive(4_900, UNMASKED);
    peer.poll(4_900, T);
    assert_eq!(peer.deadline(T), Some((5_032, Deadline::Drain)));
}

#[test]
fn left_without_a_close_drops_when_what_was_accepted_is_written() {
    let mut peer = open(0);
    peer.send(100);
    peer.take(0, T, 0);
    peer.session.receive_eof();
    assert!(!peer.poll(1, T).drop);
    assert_eq!(peer.deadline(T), Some((30_000, Deadline::Write)));
    peer.take_all(2, T);
    assert!(peer.poll(2, T).drop);
    let ended = Ended::Violation(ProtocolViolation::UnexpectedEof);
    assert_eq!(peer.session.ended(), Some(ended));
}

/// The end came in the same read as what the caller has answered.
#[test]
fn left_without_a_close_drops_when_an_answer_is_written_that_was_not_reported_yet() {
    for left in [0, 50] {
        let mut peer = open(0);
        peer.receive(0, HELLO);
        peer.send(100);
        peer.session.receive_eof();
        assert_eq!(peer.poll(0, T), Wants::default());
        peer.take(0, T, peer.out.len() - left);
        let wants = peer.poll(0, T);
        assert_eq!((wants.shutdown, wants.drop), (left == 0, left == 0));
    }
}

/// Two who look after one session at the same time.
#[test]
fn violated_polled_again_before_the_close_is_reported_does_not_end_its_half() {
    let mut peer = open(0);
    peer.receive(0, UNMASKED);
    assert!(peer.poll(0, T).transmit);
    assert!(!peer.poll(0, T).shutdown);
    peer.take_all(0, T);
    assert!(peer.poll(0, T).shutdown);
}

#[test]
fn left_without_a_close_after_a_refused_message_drops_at_once() {
    let mut peer = open(0);
    peer.session.receive_eof();
    let refused = peer.session.send(Message::Binary(b""), &mut [0; 9]);
    assert_eq!(refused, Err(SendError::NotOpen));
    assert!(peer.poll(0, T).drop);
}

#[test]
fn lost_or_aborted_ends_at_once_and_sends_nothing_more() {
    for lost in [true, false] {
        let mut peer = open(0);
        peer.receive(0, PING);
        match lost {
            true => peer.session.lost(),
            false => peer.session.abort(),
        }
        let ended = if lost { Ended::Lost } else { Ended::Aborted };
        assert_eq!(peer.session.ended(), Some(ended));
        let wants = peer.poll(0, T);
        assert_eq!(
            wants,
            Wants {
                drop: true,
                ..Wants::default()
            }
        );
        assert!(peer.out.is_empty());
        let refused = peer.session.send(Message::Text("late"), &mut [0; 16]);
        assert_eq!(refused, Err(SendError::NotOpen));
        assert_eq!(
            peer.session.ping(b"", &mut [0; 16]),
            Err(SendError::NotOpen)
        );
        assert_eq!(peer.session.connection().state(), State::Failed);
        peer.session.abort();
        peer.session.lost();
        assert_eq!(peer.session.ended(), Some(ended), "the first cause counts");
    }
}

// ---- a client ----

struct Keys(bool);

impl Entropy for Keys {
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), EntropyError> {
        bytes.fill(9);
        if self.0 { Ok(()) } else { Err(EntropyError) }
    }
}

fn client(has_keys: bool) -> Session<Client<Keys>> {
    Session::new(
        Client::new(Keys(has_keys)),
        ConnectionConfig::default(),
        Millis(0),
    )
}

#[test]
fn client_with_both_closes_through_waits_a_second_for_the_server_to_end_first() {
    for eof in [true, false] {
        let mut client = client(true);
        client.close(CloseCode::NORMAL, "").unwrap();
        assert!(client.poll(Millis(0), T, false).transmit);
        let len = client.poll_transmit(&mut [0; 16]).unwrap();
        client.sent(Millis(0), T, len, 0);
        client.received(Millis(50));
        client
            .next_event(&mut &mut b"\x88\x02\x03\xe8".to_vec()[..])
            .unwrap();
        let wants = client.poll(Millis(50), T, false);
        assert_eq!(
            wants,
            Wants {
                drain: true,
                ..Wants::default()
            },
            "the server first"
        );
        assert!(client.ended().is_some_and(Ended::is_clean));
        if eof {
            client.receive_eof();
            let wants = client.poll(Millis(60), T, false);
            assert_eq!(
                wants,
                Wants {
                    shutdown: true,
                    drop: true,
                    ..Wants::default()
                }
            );
        } else {
            assert_eq!(client.poll_at(T), Some(Millis(1_050)));
            assert!(client.poll(Millis(1_050), T, false).drop);
        }
        assert!(client.ended().is_some_and(Ended::is_clean));
    }
}

#[test]
fn client_without_a_masking_key_for_what_it_owes_ends() {
    for ping in [true, false] {
        let mut client = client(false);
        let now = if ping { 30_000 } else { 0 };
        if !ping {
            client.received(Millis(0));
            client
                .next_event(&mut &mut b"\x89\x00".to_vec()[..])
                .unwrap();
        }
        assert!(client.poll(Millis(now), T, false).transmit);
        assert_eq!(client.poll_transmit(&mut [0; 131]), Err(EntropyError));
        assert_eq!(client.ended(), Some(Ended::NoEntropy));
        assert!(client.poll(Millis(now), T, false).drop);
    }
}

// ---- rule 9: idle ----

const IDLE: &Timeouts = &Timeouts {
    idle: Some(60_000),
    ..Timeouts::DEFAULT
};

#[test]
fn idle_pings_and_pongs_do_not_count() {
    let mut peer = open(0);
    for now in (0..60_000).step_by(500) {
        peer.receive(now, PING);
        assert!(peer.poll(now, IDLE).transmit);
        peer.take_all(now, IDLE);
    }
    assert!(peer.poll(60_000, IDLE).transmit);
    assert_eq!(peer.out, b"\x88\x02\x03\xe9");
    assert_eq!(peer.session.connection().state(), State::Closing);
}

#[test]
fn idle_keepalive_of_its_own_does_not_count() {
    let mut peer = open(0);
    peer.poll(30_000, IDLE);
    peer.take_all(30_000, IDLE);
    peer.receive(30_100, PONG);
    assert_eq!(peer.deadline(IDLE), Some((60_000, Deadline::Idle)));
}

#[test]
fn idle_messages_either_way_count() {
    let mut peer = open(0);
    peer.receive(50_000, HELLO);
    let idle = &Timeouts {
        keepalive: None,
        ..*IDLE
    };
    assert_eq!(peer.deadline(idle), Some((110_000, Deadline::Idle)));
    peer.send(128 - 4);
    peer.take_all(100_000, idle);
    // 126 bytes buy 985 ms.
    assert_eq!(peer.deadline(idle), Some((160_985, Deadline::Idle)));
}

#[test]
fn idle_nothing_is_while_bytes_of_a_message_flow() {
    let idle = &Timeouts {
        idle: Some(1_500),
        keepalive: None,
        ..*T
    };
    let mut peer = open(0);
    peer.send(100_000);
    let mut now = 0;
    while !peer.out.is_empty() {
        peer.take(now, idle, 1_000);
        assert!(!peer.poll(now, idle).transmit, "at {now}");
        now += 1_400;
    }
    assert_eq!(peer.session.connection().state(), State::Open);
}

/// A caller that looks more often changes nothing.
#[test]
fn idle_message_of_which_nothing_is_taken_counts_from_when_it_was_sent() {
    let idle = &Timeouts {
        idle: Some(1_500),
        keepalive: None,
        ..*T
    };
    let mut peer = open(0);
    peer.poll(1_000, idle);
    peer.send(1_000);
    for now in [1_000, 1_001, 2_000] {
        peer.take(now, idle, 0);
        assert_eq!(peer.deadline(idle), Some((2_500, Deadline::Idle)));
    }
    // A part of it is taken; then another one is sent.
    peer.take(2_400, idle, 128);
    peer.take(2_450, idle, 0);
    assert_eq!(peer.deadline(idle), Some((3_900, Deadline::Idle)));
    peer.send(10);
    peer.take(2_460, idle, 0);
    assert_eq!(peer.deadline(idle), Some((3_960, Deadline::Idle)));
}

// ---- the contract ----

#[test]
fn clock_that_wraps_changes_nothing() {
    for start in [
        0,
        u32::MAX - 40_000,
        u32::MAX - 30_000,
        u32::MAX - 1,
        u32::MAX,
    ] {
        let at = |millis: u32| start.wrapping_add(millis);
        let mut peer = open(start);
        assert_eq!(peer.deadline(T), Some((at(30_000), Deadline::Keepalive)));
        assert!(!peer.poll(at(29_999), T).transmit);
        assert!(peer.poll(at(30_000), T).transmit);
        peer.take_all(at(30_000), T);
        peer.assert_ends(T, at(40_016), Deadline::Pong);
    }
}

#[test]
fn clock_that_runs_backwards_between_threads_saturates() {
    let mut peer = open(1_000);
    peer.receive(5_000, HELLO);
    peer.session.received(Millis(4_000));
    assert_eq!(peer.deadline(T), Some((35_000, Deadline::Keepalive)));
    peer.send(100);
    peer.session.sent(Millis(4_900), T, 104, 0);
    assert!(!peer.poll(3_000, T).drop);
    assert!(!peer.poll(999, T).drop);
}

#[test]
fn clock_that_runs_backwards_with_the_longest_times_saturates() {
    let max = &Timeouts {
        write: Some(u32::MAX),
        max_grace: u32::MAX,
        min_rate: 0,
        ..Timeouts::NONE
    };
    let mut peer = open(1_000);
    peer.send(1_000);
    peer.take(1_000, max, 1);
    assert!(!peer.poll(0, max).drop);
}

#[test]
fn caller_that_did_not_read_for_a_month_is_asked_for_a_pong_half_a_minute_later() {
    let mut peer = open(0);
    peer.session.reading(Millis(0), false);
    let month = 30 * 86_400_000;
    peer.session.reading(Millis(month), true);
    let deadline = (month + 30_000, Deadline::Keepalive);
    assert_eq!(peer.deadline(T), Some(deadline));
}

#[test]
fn timeouts_of_zero_are_due_at_once_and_of_none_never() {
    let zero = &Timeouts {
        handshake: Some(0),
        idle: Some(0),
        keepalive: Some(0),
        pong: Some(0),
        close: Some(0),
        write: Some(0),
        min_rate: 0,
        max_grace: 0,
    };
    assert_eq!(
        Pace::new(Millis(5)).poll(Millis(5), zero),
        Some(Deadline::Handshake)
    );
    let mut peer = open(5);
    assert!(peer.poll(5, zero).transmit, "idle: a Close");
    peer.take_all(5, zero);
    assert!(peer.poll(5, zero).drop, "and no time for the peer's");
    assert_eq!(peer.session.ended(), Some(Ended::TimedOut(Deadline::Close)));

    let mut peer = open(5);
    peer.send(1_000);
    peer.take(5, &Timeouts::NONE, 0);
    assert_eq!(peer.deadline(&Timeouts::NONE), None);
    assert_eq!(Pace::new(Millis(5)).poll_at(&Timeouts::NONE), None);
}

#[test]
fn timeouts_at_their_maximum_count_as_twelve_days() {
    const MAX: Option<u32> = Some(u32::MAX);
    let max = &Timeouts {
        handshake: MAX,
        idle: MAX,
        keepalive: MAX,
        pong: MAX,
        close: MAX,
        write: MAX,
        min_rate: 1,
        max_grace: u32::MAX,
    };
    for start in [0, 1 << 31, u32::MAX] {
        assert_eq!(Pace::new(Millis(start)).poll(Millis(start), max), None);
        let mut peer = open(start);
        assert!(!peer.poll(start, max).transmit);
        peer.send(2_000_000);
        peer.take(start, max, 1_999_999);
        assert!(!peer.poll(start, max).drop);
        let last = start.wrapping_add(2 * Timeouts::MAX);
        assert!(
            !peer
                .session
                .poll(Millis(start.wrapping_add(Timeouts::MAX - 1)), max, false)
                .drop
        );
        assert!(peer.session.poll(Millis(last), max, false).drop);
    }
}

#[test]
fn no_clock_ends_by_what_the_peer_does() {
    let mut peer = open(0);
    peer.receive(0, CLOSE_1000);
    assert!(peer.session.poll_untimed().transmit);
    assert!(peer.session.poll_transmit(&mut [0; 16]).is_ok());
    for left in [4, 0] {
        let wants = peer.session.poll_untimed();
        assert!(wants.drain && !wants.shutdown);
        peer.session.sent_untimed(left);
    }
    let wants = peer.session.poll_untimed();
    assert!(wants.shutdown && wants.drain);
    peer.session.receive_eof();
    assert!(peer.session.poll_untimed().drop);
    assert!(peer.session.ended().is_some_and(Ended::is_clean));
}

#[test]
fn response_that_is_read_is_finished_and_then_drained() {
    let mut pace = Pace::new(Millis(0));
    pace.responding(Millis(9_000));
    let mut now = 9_000;
    // A page of 6 MiB at 1 MB/s, far beyond the time of the request.
    for left in (0..6).rev() {
        assert_eq!(pace.poll(Millis(now), T), None);
        pace.sent(Millis(now), T, 1 << 20, left << 20);
        now += 1_000;
    }
    pace.draining(Millis(now), T);
    // The bytes that lie in the kernel have their time: the last write was at 14 s.
    assert_eq!(pace.poll_at(T), Some(Millis(14_000 + 300_000 + 5_000)));
    assert_eq!(pace.poll(Millis(319_000), T), Some(Deadline::Drain));
}

#[test]
fn handshake_trickled_is_due_at_its_deadline() {
    let pace = Pace::new(Millis(500));
    assert_eq!(pace.poll_at(T), Some(Millis(10_500)));
    assert_eq!(pace.poll(Millis(10_499), T), None);
    assert_eq!(pace.poll(Millis(10_500), T), Some(Deadline::Handshake));
    assert_eq!(
        pace.poll(Millis(99_999), T),
        Some(Deadline::Handshake),
        "again and again"
    );
}

#[test]
fn response_that_waits_when_the_session_opens_is_judged_by_the_session() {
    let mut pace = Pace::new(Millis(0));
    pace.responding(Millis(100));
    pace.sent(Millis(100), T, 50, 79);
    let mut session: Session<Server> =
        Session::with_pace(Server, ConnectionConfig::default(), pace, Millis(100));
    session.sent(Millis(200), T, 0, 79);
    let _ = session.poll(Millis(30_100), T, false);
    let due = Millis(100 + 391 + 30_000);
    assert_eq!(session.deadline(T), Some((due, Deadline::Write)));
}

#[test]
fn compressor_that_starts_frames_counts_as_sending() {
    let mut peer = open(0);
    let sent =
        peer.session
            .connection_mut()
            .send_fragment(DataKind::Text, b"Hi", true, &mut [0; 8]);
    assert!(sent.is_ok());
    let idle = &Timeouts {
        keepalive: None,
        ..*IDLE
    };
    peer.session.sent(Millis(50_000), idle, 4, 0);
    assert_eq!(peer.deadline(idle), Some((110_032, Deadline::Idle)));
}

// ---- peers and callers that do what nobody expects ----

/// What is sent after the ping is behind it, and does not delay its pong.
#[test]
fn pinged_peer_gone_is_noticed_though_this_side_goes_on_sending() {
    let mut peer = open(0);
    peer.poll(30_000, T);
    peer.take_all(30_000, T);
    for now in (31_000..40_000).step_by(1_000) {
        peer.send(10);
        peer.take_all(now, T);
    }
    peer.assert_ends(T, 40_016, Deadline::Pong);
}

/// It reads 1,000 bytes a second, so each pong would go behind the one before it.
#[test]
fn closing_with_a_peer_that_pings_faster_than_it_reads_ends() {
    let mut peer = open(0);
    peer.send(20_000);
    peer.take(0, T, 0);
    peer.session.close(CloseCode::NORMAL, "").unwrap();
    let ping = [&b"\x89\xFD\0\0\0\0"[..], &[7; 125]].concat();
    let mut now = 0;
    while peer.session.ended().is_none() {
        assert!(now < 400_000, "closing for ever");
        for _ in 0..10 {
            peer.receive(now, &ping);
            peer.poll(now, T);
        }
        peer.take(now, T, 1_000);
        now += 1_000;
    }
    assert_eq!(peer.session.ended(), Some(Ended::TimedOut(Deadline::Close)));
}

#[test]
fn closing_pong_that_is_owed_goes_out_when_the_close_has_left() {
    let mut peer = open(0);
    peer.send(100);
    peer.session.close(CloseCode::NORMAL, "").unwrap();
    peer.poll(0, T);
    peer.take(0, T, 10);
    peer.receive(1, PING);
    assert!(!peer.poll(1, T).transmit);
    assert!(peer.out.ends_with(b"\x88\x02\x03\xe8"));
    peer.take_all(2, T);
    assert!(peer.poll(2, T).transmit);
    assert_eq!(peer.out, b"\x8A\x00");
}

#[test]
fn closed_compressor_that_is_refused_changes_nothing() {
    let mut peer = open(0);
    peer.receive(0, CLOSE_1000);
    peer.poll(0, T);
    peer.take_all(0, T);
    peer.poll(0, T);
    let ended = peer.session.ended();
    let refused =
        peer.session
            .connection_mut()
            .send_fragment(DataKind::Text, b"Hi", true, &mut [0; 8]);
    assert_eq!(refused, Err(SendError::NotOpen));
    assert!(ended.is_some_and(Ended::is_clean));
    assert_eq!(peer.session.ended(), ended);
}

/// The caller makes room for several pongs in between, so the Close is with it already.
#[test]
fn closing_polled_again_before_the_close_is_reported_does_not_shut_down() {
    for (own, rest) in [(false, HELLO), (true, b"")] {
        let mut peer = open(0);
        if own {
            peer.session.close(CloseCode::NORMAL, "").unwrap();
            peer.poll(0, T);
        }
        peer.receive(0, &[CLOSE_1000, rest].concat());
        peer.poll(0, T);
        assert_eq!(
            peer.poll(0, T),
            Wants {
                drain: true,
                ..Wants::default()
            }
        );
        assert_eq!(peer.session.ended(), None);
        peer.take(0, T, 0);
        assert!(!peer.poll(0, T).shutdown);
        peer.take_all(0, T);
        assert!(peer.poll(0, T).shutdown);
    }
}

#[test]
fn closing_by_the_peer_lost_before_the_answer_is_reported_is_no_clean_end() {
    let mut peer = open(0);
    peer.receive(10, CLOSE_1000);
    peer.poll(10, T);
    assert!(!peer.out.is_empty());
    peer.session.lost();
    assert!(peer.session.ended().is_some_and(|ended| !ended.is_clean()));
}

/// The caller looks before it reads, so each of the pings lies unread once.
#[test]
fn idle_pings_that_lie_unread_for_a_moment_do_not_count() {
    let mut peer = open(0);
    for now in (1_000..60_000).step_by(1_000) {
        assert!(!peer.session.poll(Millis(now), IDLE, true).drop);
        peer.receive(now, PING);
        peer.poll(now, IDLE);
        peer.take_all(now, IDLE);
    }
    assert_eq!(peer.deadline(IDLE), Some((60_000, Deadline::Idle)));
    peer.poll(60_000, IDLE);
    assert_eq!(peer.session.connection().state(), State::Closing);
}

#[test]
fn idle_with_unread_input_is_not_closed() {
    let idle = &Timeouts {
        keepalive: None,
        ..*IDLE
    };
    let mut peer = open(0);
    assert!(!peer.session.poll(Millis(60_000), idle, true).transmit);
    assert_eq!(peer.deadline(idle), Some((120_000, Deadline::Idle)));
    assert_eq!(peer.session.connection().state(), State::Open);
}

/// The caller polls late, and two things are due.
#[test]
fn closing_after_the_time_to_write_has_passed_ends_at_once() {
    for idle in [None, Some(29_999)] {
        let timeouts = &Timeouts { idle, ..*T };
        let mut peer = open(0);
        peer.send(1_000);
        peer.take(0, timeouts, 0);
        if idle.is_none() {
            peer.session.close(CloseCode::NORMAL, "").unwrap();
        }
        let wants = peer.session.poll(Millis(30_000), timeouts, false);
        assert!(wants.drop, "{idle:?}");
        assert_eq!(peer.session.poll_at(timeouts), None);
    }
}

#[test]
fn closing_by_a_time_that_has_passed_ends_at_once() {
    let mut peer = open(1_000);
    peer.session.close_by(Millis(500));
    peer.session.close_by(Millis(400));
    assert!(peer.session.poll(Millis(1_000), T, false).drop);
    let ended = Some(Ended::TimedOut(Deadline::Close));
    assert_eq!(peer.session.ended(), ended);
    peer.session.close_by(Millis(90_000));
    assert_eq!(peer.session.poll_at(T), None);
    assert_eq!(peer.session.ended(), ended);
}

/// What waits behind a message is looked at, and not consumed.
#[test]
fn between_messages_the_next_frame_is_seen_to_be_a_whole_message_or_a_close() {
    let mut peer = open(0);
    let connection = |peer: &Peer, input: &[u8]| {
        let connection = peer.session.connection();
        (
            connection.begins_message(input),
            connection.begins_close(input),
        )
    };
    assert_eq!(connection(&peer, HELLO), (true, false));
    assert_eq!(connection(&peer, &[HELLO, b"more"].concat()), (true, false));
    for len in 0..HELLO.len() {
        assert_eq!(connection(&peer, &HELLO[..len]), (false, false), "{len}");
    }
    assert_eq!(connection(&peer, PING), (false, false));
    assert_eq!(connection(&peer, CLOSE_1000), (false, true));
    assert_eq!(connection(&peer, &CLOSE_1000[..1]), (false, true));
    let fragment = b"\x01\x81\0\0\0\0x";
    assert_eq!(connection(&peer, fragment), (false, false));

    // Within a header, or within a payload, nothing begins.
    let step = |peer: &mut Peer, bytes: &[u8]| {
        let _ = peer.session.step(&mut bytes.to_vec()).unwrap();
    };
    step(&mut peer, &fragment[..1]);
    assert_eq!(connection(&peer, HELLO), (false, false));
    assert_eq!(connection(&peer, CLOSE_1000), (false, false));
    step(&mut peer, &fragment[1..]);
    // Between the fragments of a message, a Close may begin, and no message.
    assert_eq!(connection(&peer, HELLO), (false, false));
    assert_eq!(connection(&peer, CLOSE_1000), (false, true));
}

/// What is still to come of a payload is known as soon as its header is whole, whatever comes in between.
#[test]
fn payload_arriving_in_parts_what_is_due_of_it_counts_down() {
    let mut peer = open(0);
    let mut due_after = |bytes: &[u8]| {
        let _ = peer.session.step(&mut bytes.to_vec()).unwrap();
        peer.session.connection().payload_due()
    };
    assert_eq!(due_after(b""), 0);
    // A fragment of 300 bytes: its header in two parts, its payload in three.
    assert_eq!(due_after(b"\x02\xFE\x01"), 0);
    assert_eq!(due_after(b"\x2C\0\0\0\0"), 300);
    assert_eq!(due_after(&[b'x'; 100]), 200);
    assert_eq!(due_after(&[b'x'; 199]), 1);
    assert_eq!(due_after(b"x"), 0);
    // A control frame's payload is kept by the connection: the caller has no room to make for it.
    assert_eq!(due_after(b"\x89\x84\0\0\0\0ab"), 0);
    assert_eq!(due_after(b"cd"), 0);
    assert_eq!(due_after(b"\x80\x83\0\0\0\0a"), 2);
    assert_eq!(due_after(b"bc"), 0);
    // The longest there is.
    assert_eq!(due_after(b"\x82\xFF\0\0\0\x01\0\0\0\0\0\0\0\0"), 1 << 32);
    peer.session.fail(ProtocolViolation::MessageTooBig);
    assert_eq!(peer.session.connection().payload_due(), 0);
}

/// FR17: the limit counts for the message that is arriving as well, by what its frames have announced.
#[test]
fn limit_set_in_the_midst_of_a_message_counts_for_it() {
    let fragment = b"\x02\x83\0\0\0\0abc";
    let last = b"\x80\x83\0\0\0\0def";
    for (limit, fails_at) in [(2, 1), (3, 2), (5, 2), (6, 3)] {
        let config = ConnectionConfig {
            max_message_len: 4,
            ..ConnectionConfig::default()
        };
        let mut session: Session<Server> = Session::new(Server, config, Millis(0));
        assert_eq!(session.set_max_message_len(u64::MAX), 4);
        let _ = session.step(&mut fragment.to_vec()).unwrap();
        assert_eq!(session.set_max_message_len(limit), u64::MAX);
        let ended = |session: &Session<Server>| session.connection().state() == State::Failed;
        assert_eq!(ended(&session), fails_at == 1, "{limit}");
        let stepped = session.step(&mut last.to_vec());
        match fails_at {
            3 => assert!(stepped.unwrap().ends_message()),
            _ => assert_eq!(stepped.unwrap_err(), ProtocolViolation::MessageTooBig),
        }
        // The next one is measured by the same limit.
        if fails_at == 3 {
            let mut long = b"\x82\x87\0\0\0\0abcdefg".to_vec();
            let stepped = session.step(&mut long);
            assert_eq!(stepped.unwrap_err(), ProtocolViolation::MessageTooBig);
        }
    }
}
