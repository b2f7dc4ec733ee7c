//! Deadlines, fed with the time.

use core::time::Duration;

use motews::{Deadlines, Due, Millis, Timeouts};

const SECOND: Duration = Duration::from_secs(1);

/// One second for each kind, so that only the rules tell them apart.
const ALL: Timeouts = Timeouts {
    handshake: Some(SECOND),
    idle: Some(SECOND),
    keepalive: Some(SECOND),
    pong: Some(SECOND),
    close: Some(SECOND),
};

const KEEPALIVE: Timeouts = Timeouts { idle: None, ..ALL };

fn opened(now: u64) -> Deadlines {
    let mut deadlines = Deadlines::new(Millis(0));
    deadlines.opened(Millis(now));
    deadlines
}

/// `due` comes at `at`, and not one millisecond earlier.
#[track_caller]
fn assert_due(deadlines: &mut Deadlines, timeouts: &Timeouts, at: u64, due: Due) {
    assert_eq!(deadlines.next(timeouts), Some(Millis(at)));
    assert_eq!(deadlines.poll(Millis(at - 1), timeouts), None);
    assert_eq!(deadlines.poll(Millis(at), timeouts), Some(due));
}

/// HC25, HS22: bytes that trickle in do not lengthen the handshake's deadline.
#[test]
fn handshake_trickled_is_due_at_its_deadline() {
    let mut deadlines = Deadlines::new(Millis(500));
    for now in 500..1_400 {
        deadlines.received(Millis(now));
        deadlines.received_message(Millis(now));
    }
    assert_due(&mut deadlines, &ALL, 1_500, Due::Handshake);
    // It ends the connection, so it is told again and again.
    assert_eq!(deadlines.poll(Millis(9_999), &ALL), Some(Due::Handshake));
    assert_eq!(deadlines.next(&Timeouts::NONE), None);
}

#[test]
fn open_silent_peer_is_pinged_once_and_then_given_up() {
    let mut deadlines = opened(100);
    assert_due(&mut deadlines, &KEEPALIVE, 1_100, Due::Ping);
    assert_eq!(deadlines.poll(Millis(1_100), &KEEPALIVE), None, "told once");
    // The time for the pong runs from the moment the ping was told.
    assert_due(&mut deadlines, &KEEPALIVE, 2_100, Due::Pong);
    assert_eq!(deadlines.poll(Millis(2_101), &KEEPALIVE), Some(Due::Pong));
}

#[test]
fn open_ping_told_late_gives_the_pong_its_whole_time() {
    let mut deadlines = opened(0);
    assert_eq!(deadlines.poll(Millis(5_000), &KEEPALIVE), Some(Due::Ping));
    assert_due(&mut deadlines, &KEEPALIVE, 6_000, Due::Pong);
}

#[test]
fn open_anything_received_counts_as_alive() {
    let mut deadlines = opened(0);
    deadlines.received(Millis(999));
    assert_due(&mut deadlines, &KEEPALIVE, 1_999, Due::Ping);
    deadlines.received(Millis(2_500));
    assert_due(&mut deadlines, &KEEPALIVE, 3_500, Due::Ping);
}

#[test]
fn open_without_messages_is_idle_whatever_else_comes() {
    let mut deadlines = opened(0);
    deadlines.received(Millis(900));
    assert_due(&mut deadlines, &ALL, 1_000, Due::Idle);
    deadlines.received_message(Millis(1_000));
    // The ping comes first now, then idleness: told again and again.
    assert_due(&mut deadlines, &ALL, 1_900, Due::Ping);
    assert_due(&mut deadlines, &ALL, 2_000, Due::Idle);
    assert_eq!(deadlines.poll(Millis(2_001), &ALL), Some(Due::Idle));
}

#[test]
fn open_with_one_timeout_waits_for_it_alone() {
    for (timeouts, expected) in [
        (
            Timeouts {
                idle: Some(SECOND),
                ..Timeouts::NONE
            },
            Some(Due::Idle),
        ),
        (
            Timeouts {
                keepalive: Some(SECOND),
                ..Timeouts::NONE
            },
            Some(Due::Ping),
        ),
        (
            Timeouts {
                pong: Some(SECOND),
                ..Timeouts::NONE
            },
            None,
        ),
        (
            Timeouts {
                handshake: Some(SECOND),
                ..Timeouts::NONE
            },
            None,
        ),
        (
            Timeouts {
                close: Some(SECOND),
                ..Timeouts::NONE
            },
            None,
        ),
        (Timeouts::NONE, None),
    ] {
        let mut deadlines = opened(0);
        assert_eq!(deadlines.next(&timeouts), expected.map(|_| Millis(1_000)));
        assert_eq!(deadlines.poll(Millis(1_000), &timeouts), expected);
    }
    // A ping that need not be answered is not followed by another.
    let mut deadlines = opened(0);
    let pings = Timeouts {
        keepalive: Some(SECOND),
        ..Timeouts::NONE
    };
    assert_due(&mut deadlines, &pings, 1_000, Due::Ping);
    assert_eq!(deadlines.next(&pings), None);
    deadlines.received(Millis(4_000));
    assert_due(&mut deadlines, &pings, 5_000, Due::Ping);
}

/// CL21, CL07: neither other traffic nor a second call lengthens the close deadline.
#[test]
fn closing_with_traffic_is_due_at_its_deadline() {
    let mut deadlines = opened(0);
    deadlines.closing(Millis(200));
    for now in 200..1_200 {
        deadlines.received(Millis(now));
        deadlines.received_message(Millis(now));
        deadlines.closing(Millis(now));
    }
    assert_due(&mut deadlines, &ALL, 1_200, Due::Close);
    assert_eq!(deadlines.poll(Millis(u64::MAX), &ALL), Some(Due::Close));
    assert_eq!(deadlines.next(&Timeouts::NONE), None);
}

#[test]
fn closing_after_a_ping_no_longer_waits_for_the_pong() {
    let mut deadlines = opened(0);
    assert_due(&mut deadlines, &KEEPALIVE, 1_000, Due::Ping);
    deadlines.closing(Millis(1_900));
    assert_due(&mut deadlines, &KEEPALIVE, 2_900, Due::Close);
}

#[test]
fn timeouts_of_zero_are_due_at_once() {
    let zero = Timeouts {
        handshake: Some(Duration::ZERO),
        ..Timeouts::NONE
    };
    assert_eq!(
        Deadlines::new(Millis(7)).poll(Millis(7), &zero),
        Some(Due::Handshake)
    );
    // A fraction of a millisecond is not counted.
    let fraction = Timeouts {
        handshake: Some(Duration::from_nanos(999_999)),
        ..Timeouts::NONE
    };
    assert_eq!(Deadlines::new(Millis(7)).next(&fraction), Some(Millis(7)));
}

#[test]
fn timeouts_default_are_those_documented() {
    let seconds = |seconds| Some(Duration::from_secs(seconds));
    assert_eq!(
        Timeouts::default(),
        Timeouts {
            handshake: seconds(10),
            idle: None,
            keepalive: seconds(30),
            pong: seconds(10),
            close: seconds(5),
        },
    );
}

#[test]
fn millis_reckon_without_overflow() {
    assert_eq!(Millis(5).after(Duration::from_millis(1_234)), Millis(1_239));
    assert_eq!(Millis(5).after(Duration::from_secs(2)), Millis(2_005));
    assert_eq!(Millis(5).after(Duration::MAX), Millis(u64::MAX));
    assert_eq!(Millis(u64::MAX).after(SECOND), Millis(u64::MAX));
    assert_eq!(Millis(1_500).since(Millis(500)), SECOND);
    assert_eq!(Millis(500).since(Millis(1_500)), Duration::ZERO);
}
