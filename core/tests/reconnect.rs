//! When a client comes back, by the table of `motews::reconnect`.
#![expect(clippy::indexing_slicing, reason = "a panic is a failed test")]

use core::time::Duration;

use motews::handshake::{ClientHandshake, HandshakeError, Key, Offers};
use motews::interruption;
use motews::reconnect::{Backoff, Cause, Reconnect, Retry, retry_after};
use motews::{
    CloseCode, Deadline, Ended, Entropy, EntropyError, Millis, ProtocolViolation,
    ReconnectWithBacklog, Side, Timeouts,
};
use proptest::prelude::*;

/// Draws this number again and again.
struct Always(u32);

impl Entropy for Always {
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), EntropyError> {
        for (to, from) in bytes.iter_mut().zip(self.0.to_be_bytes().iter().cycle()) {
            *to = *from;
        }
        Ok(())
    }
}

struct Broken;

impl Entropy for Broken {
    fn fill(&mut self, _: &mut [u8]) -> Result<(), EntropyError> {
        Err(EntropyError)
    }
}

const NOW: Millis = Millis(u32::MAX - 10_000); // the clock wraps in each test
const LEAST: Always = Always(0);
const MOST: Always = Always(u32::MAX);

fn closed(code: CloseCode) -> Ended {
    Ended::Closed {
        code,
        by: Side::Remote,
        clean: true,
    }
}

fn closed_by_this_side(code: CloseCode) -> Ended {
    Ended::Closed {
        code,
        by: Side::Local,
        clean: true,
    }
}

/// The wait before the next attempt.
fn wait(reconnect: &mut Reconnect, cause: impl Into<Cause>, mut random: Always) -> Option<u32> {
    match reconnect.ended(cause, None, NOW, &mut random) {
        Retry::At(at) => Some(at.since(NOW)),
        Retry::Never => None,
    }
}

/// The shortest and the longest wait after a first failure, and after a tenth.
fn waits(backoff: Backoff, cause: Cause) -> Option<[u32; 4]> {
    let after = |failures: usize, random: u32| {
        let mut reconnect = Reconnect::new(backoff);
        for _ in 0..failures {
            wait(&mut reconnect, Ended::Lost, LEAST);
        }
        wait(&mut reconnect, cause, Always(random))
    };
    Some([
        after(0, 0)?,
        after(0, u32::MAX)?,
        after(9, 0)?,
        after(9, u32::MAX)?,
    ])
}

const SOON: Option<[u32; 4]> = Some([0, 5_000, 64_000, 74_000]);
const RESTART: Option<[u32; 4]> = Some([5_000, 30_000, 64_000, 74_000]);
const LONGEST: Option<[u32; 4]> = Some([64_000, 74_000, 64_000, 74_000]);

#[test]
fn each_cause_gives_the_wait_of_the_table() {
    let ended: &[(Ended, _)] = &[
        (closed(CloseCode::NORMAL), None),
        (closed(CloseCode::GOING_AWAY), SOON),
        (closed(CloseCode::PROTOCOL_ERROR), LONGEST),
        (closed(CloseCode::UNSUPPORTED_DATA), LONGEST),
        (closed(CloseCode::NO_STATUS_RECEIVED), SOON),
        (closed(CloseCode::ABNORMAL_CLOSURE), SOON),
        (closed(CloseCode::INVALID_PAYLOAD), LONGEST),
        (closed(CloseCode::POLICY_VIOLATION), None),
        (closed(CloseCode::MESSAGE_TOO_BIG), LONGEST),
        (closed(CloseCode::MANDATORY_EXTENSION), None),
        (closed(CloseCode::INTERNAL_ERROR), SOON),
        (closed(CloseCode::SERVICE_RESTART), RESTART),
        (closed(CloseCode::TRY_AGAIN_LATER), LONGEST),
        (closed(CloseCode::BAD_GATEWAY), SOON),
        (closed(CloseCode::new(4_000)), SOON),
        (Ended::Lost, SOON),
        (Ended::TimedOut(Deadline::Pong), SOON),
        (Ended::NoEntropy, SOON),
        (Ended::Violation(ProtocolViolation::UnexpectedEof), SOON),
        (Ended::Violation(ProtocolViolation::InvalidUtf8), LONGEST),
        (Ended::Handshake(HandshakeError::StartLine), LONGEST),
        (Ended::Refused(408), SOON),
        (Ended::Refused(425), SOON),
        (Ended::Refused(429), SOON),
        (Ended::Refused(500), SOON),
        (Ended::Refused(503), SOON),
        (Ended::Refused(599), SOON),
        (Ended::Refused(200), None),
        (Ended::Refused(302), None),
        (Ended::Refused(401), None),
        (Ended::Refused(403), None),
        (Ended::Refused(404), None),
        (Ended::Refused(499), None),
        (Ended::Aborted, None),
    ];
    for &(ended, expected) in ended {
        assert_eq!(waits(Backoff::DEFAULT, ended.into()), expected, "{ended:?}");
    }
    assert_eq!(waits(Backoff::DEFAULT, Cause::Unreachable), SOON);
    assert_eq!(waits(Backoff::DEFAULT, Cause::Tls), LONGEST);
    assert_eq!(waits(Backoff::DEFAULT, Cause::Local), None);
    // The idle time of this side, and a Close of the application.
    let by_this_side = closed_by_this_side(CloseCode::GOING_AWAY);
    assert_eq!(waits(Backoff::DEFAULT, by_this_side.into()), SOON);
    let by_this_side = closed_by_this_side(CloseCode::NORMAL);
    assert_eq!(waits(Backoff::DEFAULT, by_this_side.into()), None);
}

#[test]
fn persisting_client_goes_on_unless_this_side_ended_it() {
    let backoff = Backoff {
        persist: true,
        ..Backoff::DEFAULT
    };
    assert_eq!(waits(backoff, Ended::Refused(401).into()), LONGEST);
    assert_eq!(waits(backoff, closed(CloseCode::NORMAL).into()), LONGEST);
    let by_this_side = closed_by_this_side(CloseCode::NORMAL);
    assert_eq!(waits(backoff, by_this_side.into()), None);
    assert_eq!(waits(backoff, Cause::Local), None);
    assert_eq!(waits(backoff, Ended::Aborted.into()), None);
}

#[test]
fn waits_double_up_to_the_limit() {
    let mut reconnect = Reconnect::new(Backoff {
        doublings: 3,
        ..Backoff::DEFAULT
    });
    let waits: Vec<_> = (0..7)
        .map(|_| wait(&mut reconnect, Cause::Unreachable, LEAST).unwrap())
        .collect();
    assert_eq!(waits, [0, 1_000, 2_000, 4_000, 8_000, 8_000, 8_000]);
    assert_eq!(reconnect.failures(), 7);
    reconnect.reset();
    assert_eq!(wait(&mut reconnect, Cause::Unreachable, MOST), Some(5_000));
}

/// OCPP 2.0.1, part 4, §5.3, and its test TC_B_57_CS: the minimum and a random part, from the first attempt
/// on; doubled after each attempt that fails, so often; and the minimum again after each success.
#[test]
fn ocpp_s_variables_give_ocpp_s_waits() {
    let backoff = Backoff::ocpp(10_000, 2, 3_000);
    for (random, range) in [(LEAST.0, 0), (MOST.0, 3_000)] {
        let mut reconnect = Reconnect::new(backoff);
        let mut next = |cause| wait(&mut reconnect, cause, Always(random)).unwrap() - range;
        let doubling = [10_000, 20_000, 40_000, 40_000, 40_000];
        assert_eq!(doubling.map(|_| next(Ended::Lost)), doubling);
        // Nobody restarts a station, so it goes on where repetition is not likely to help.
        assert_eq!(next(closed(CloseCode::NORMAL)), 40_000);
        assert_eq!(next(Ended::Refused(401)), 40_000);
        // It is successful, and lost at once.
        reconnect.opened(NOW);
        let mut next = |cause| wait(&mut reconnect, cause, Always(random)).unwrap() - range;
        assert_eq!([Ended::Lost; 2].map(&mut next), [10_000, 20_000]);
    }
    // The minimum holds after a restart, too, which has a time of its own.
    let restart = closed(CloseCode::SERVICE_RESTART);
    for (minimum, least) in [(1_000, 5_000), (10_000, 10_000), (60_000, 60_000)] {
        let after = |random| {
            let mut reconnect = Reconnect::new(Backoff::ocpp(minimum, 2, 0));
            wait(&mut reconnect, restart, random)
        };
        assert_eq!(after(LEAST), Some(least));
        // Not all at the same moment.
        assert_eq!(after(MOST), Some(least + 25_000));
    }
    let constant = Backoff::ocpp(7_000, 0, 0);
    let lost = Cause::Ended(Ended::Lost);
    assert_eq!(waits(constant, lost), Some([7_000; 4]));
    let most = Backoff::ocpp(u32::MAX, u8::MAX, u32::MAX);
    assert_eq!(waits(most, lost), Some([Timeouts::MAX; 4]));
}

#[test]
fn connection_that_was_stable_forgets_failures_and_a_short_one_does_not() {
    let short = |open: u32| {
        let mut reconnect = Reconnect::new(Backoff::DEFAULT);
        for _ in 0..3 {
            wait(&mut reconnect, Ended::Lost, LEAST);
        }
        reconnect.opened(Millis(NOW.0.wrapping_sub(open)));
        wait(&mut reconnect, Ended::Lost, LEAST)
    };
    assert_eq!(short(0), Some(4_000));
    assert_eq!(short(29_999), Some(4_000));
    assert_eq!(short(30_000), Some(0));
    assert_eq!(short(40 * 24 * 60 * 60 * 1000), Some(0)); // longer than two times can be compared
}

#[test]
fn retry_after_is_obeyed_up_to_the_limit() {
    let after = |retry_after, mut random: Always| {
        let mut reconnect = Reconnect::new(Backoff::DEFAULT);
        match reconnect.ended(Ended::Refused(503), Some(retry_after), NOW, &mut random) {
            Retry::At(at) => at.since(NOW),
            Retry::Never => panic!("503 is worth another attempt"),
        }
    };
    assert_eq!(after(0, LEAST), 0);
    assert_eq!(after(120_000, LEAST), 120_000);
    assert_eq!(after(120_000, MOST), 125_000); // not all at the same moment
    assert_eq!(after(u32::MAX, LEAST), 3_600_000);
}

#[test]
fn failing_entropy_waits_the_longest() {
    let mut reconnect = Reconnect::new(Backoff::DEFAULT);
    assert_eq!(
        reconnect.ended(Ended::Lost, None, NOW, &mut Broken),
        Retry::At(NOW.after(5_000))
    );
}

#[test]
fn limits_hold_at_their_ends() {
    let zero = Backoff {
        first: 0,
        first_minimum: 0,
        minimum: 0,
        doublings: u8::MAX,
        range: 0,
        stable: 0,
        max_retry_after: 0,
        persist: true,
    };
    assert_eq!(waits(zero, Ended::Lost.into()), Some([0; 4]));
    assert_eq!(waits(zero, Ended::Refused(404).into()), Some([0; 4]));
    let one = Backoff {
        first: 1,
        minimum: 1,
        doublings: 1,
        range: 1,
        ..zero
    };
    assert_eq!(waits(one, Ended::Lost.into()), Some([0, 1, 2, 3]));
    let most = Backoff {
        first: u32::MAX,
        minimum: u32::MAX,
        doublings: u8::MAX,
        range: u32::MAX,
        ..zero
    };
    let max = Timeouts::MAX;
    assert_eq!(waits(most, Ended::Lost.into()), Some([0, max, max, max]));
}

#[test]
fn ten_thousand_that_lose_their_server_together_spread_over_the_first_wait() {
    let mut seconds = [0_u32; 5];
    for client in 0..10_000_u32 {
        let random = Always(client.wrapping_mul(0x9e37_79b9));
        let wait = wait(&mut Reconnect::new(Backoff::DEFAULT), Ended::Lost, random).unwrap();
        seconds[(wait as usize / 1_000).min(4)] += 1;
    }
    for count in seconds {
        assert!((1_800..2_200).contains(&count), "{seconds:?}");
    }
}

proptest! {
    /// Ten thousand ends in a row, of any kind: no wait above the bound, and always the same twelve bytes.
    #[test]
    fn any_ends_stay_within_the_bound(
        statuses in prop::collection::vec(100..600_u16, 1..200),
        random: u32,
        minimum: u32,
        doublings: u8,
    ) {
        let backoff = Backoff { minimum, doublings, range: 1_000, persist: true, ..Backoff::DEFAULT };
        let bound = u64::from(minimum) * 2_u64.saturating_pow(doublings.min(31).into());
        let bound = bound.max(5_000).min(Timeouts::MAX.into()) as u32;
        let mut reconnect = Reconnect::new(backoff);
        for status in statuses {
            let wait = wait(&mut reconnect, Ended::Refused(status), Always(random)).unwrap();
            prop_assert!(wait <= bound.saturating_add(1_000));
        }
    }
}

#[test]
fn client_that_has_closed_never_comes_back_however_it_ends() {
    let mut reconnect = Reconnect::new(Backoff {
        persist: true,
        ..Backoff::DEFAULT
    });
    reconnect.close();
    for cause in [Cause::Unreachable, Ended::Lost.into(), Cause::Tls] {
        assert_eq!(wait(&mut reconnect, cause, LEAST), None);
    }
    reconnect.reset();
    assert_eq!(wait(&mut reconnect, Ended::Lost, LEAST), None);
}

/// Only a clean end that this side began says that the peer has read everything.
#[test]
fn client_that_has_closed_and_reopens_comes_back_and_after_a_reset_it_does_not() {
    let mut reconnect = Reconnect::new(Backoff::DEFAULT);
    wait(&mut reconnect, Ended::Lost, LEAST);
    reconnect.close();
    reconnect.reset();
    assert_eq!(wait(&mut reconnect, Ended::Lost, LEAST), None);
    reconnect.reopen();
    assert_eq!(reconnect.failures(), 0);
    assert_eq!(wait(&mut reconnect, Ended::Lost, LEAST), Some(0));
}

/// Credentials were changed while the old ones were in use: what ends those says nothing of the new ones,
/// which are tried soon, also by who persists.
#[test]
fn request_that_was_changed_is_tried_soon_after_an_end_of_the_old_one() {
    for persist in [false, true] {
        for cause in [
            Ended::Refused(401),
            closed(CloseCode::NORMAL),
            closed(CloseCode::POLICY_VIOLATION),
            closed_by_this_side(CloseCode::NORMAL),
        ] {
            let mut kept = ReconnectWithBacklog::<[u8; 0], _>::new(MOST);
            kept.set_backoff(Backoff {
                persist,
                ..Backoff::DEFAULT
            });
            let ended = |kept: &mut ReconnectWithBacklog<_, _>, cause: Cause| match kept
                .ended::<()>(cause, None, NOW)
                .1
            {
                Retry::At(at) => Some(at.since(NOW)),
                Retry::Never => None,
            };
            for _ in 0..9 {
                ended(&mut kept, Ended::Lost.into());
            }
            kept.reopen();
            let case = format!("{cause:?}, {persist}");
            assert_eq!(ended(&mut kept, cause.into()), Some(5_000), "{case}");
            // It was not tried yet, but a mistake on this side is not mended by that.
            assert_eq!(ended(&mut kept, Cause::Local), None, "{case}");
            // It was tried: the same is hopeless now.
            kept.reopen();
            kept.asked();
            let is_own = cause == closed_by_this_side(CloseCode::NORMAL);
            let expected = (persist && !is_own).then_some(74_000);
            assert_eq!(ended(&mut kept, cause.into()), expected, "{case}");
            // What says nothing of the request has its own wait.
            kept.reopen();
            assert_eq!(ended(&mut kept, Cause::Tls), Some(74_000), "{case}");
            // And the application closes after all.
            kept.reopen();
            kept.close();
            assert_eq!(ended(&mut kept, cause.into()), None, "{case}");
        }
    }
}

#[test]
fn messages_count_as_lost_unless_the_peer_has_answered_this_sides_close() {
    let ends = [
        (closed_by_this_side(CloseCode::NORMAL), 0),
        (closed_by_this_side(CloseCode::GOING_AWAY), 0),
        (closed(CloseCode::NORMAL), 3),
        (Ended::Lost, 3),
        (Ended::Aborted, 3),
        (Ended::TimedOut(Deadline::Close), 3),
    ];
    for (ended, unconfirmed) in ends {
        let reason = interruption::Interrupted::<(), ()>::Connection(ended, None);
        let interruption = interruption::Interruption::new(reason, Retry::At(NOW), NOW, 3);
        assert_eq!(interruption.unconfirmed, unconfirmed, "{ended:?}");
        assert_eq!(interruption.retry_in, Some(Duration::ZERO));
    }
    let reason = interruption::Interrupted::<(), ()>::Attempt(());
    let interruption = interruption::Interruption::new(reason, Retry::Never, NOW, 3);
    assert_eq!((interruption.unconfirmed, interruption.retry_in), (0, None));
}

#[test]
fn retry_after_that_is_no_number_of_seconds_is_none() {
    for (line, millis) in [
        ("Retry-After: 0", Some(0)),
        ("retry-after:  120 ", Some(120_000)),
        ("Retry-After: 99999999999999999999", Some(u32::MAX)),
        ("Retry-After:", None),
        ("Retry-After: -1", None),
        ("Retry-After: 1.5", None),
        ("Retry-After: Fri, 31 Dec 1999 23:59:59 GMT", None),
        ("Retry-Before: 7", None),
    ] {
        let key = Key::new(&mut Always(7)).expect("it never fails");
        let mut client = ClientHandshake::new(&key, [0; 128]);
        let response = format!("HTTP/1.1 503 Later\r\n{line}\r\n\r\n");
        let (mut input, mut found) = (response.as_bytes(), None);
        while let Ok(Some(event)) = client.next_event(&mut input, &Offers::new()) {
            found = retry_after(&event).or(found);
        }
        assert_eq!(found, millis, "{line}");
    }
}
