//! Scenarios of the link model: honest slow peers, who lose nothing, and others, who end in time.

use motews::pace::DRAIN;

use motews::{Deadline, Timeouts};
use motews::{Ended, Side};
use motews_testkit::link::{Act, Echo, Link, Path, Plan, Seen};

const MIB: usize = 1 << 20;

fn messages(count: usize, len: usize) -> Act {
    Act::Send { count, len }
}

/// A path from a server with a large send buffer.
fn path(send_buffer: usize, receive_buffer: usize) -> Path {
    Path {
        send_buffer,
        receive_buffer,
        ..Path::DEFAULT
    }
}

fn with_path(server: Plan, client: Plan, path: Path) -> Link {
    Link {
        paths: [path, Path::DEFAULT],
        ..Link::new(server, client)
    }
}

fn ended(seen: &Seen) -> Ended {
    seen.ended.expect("an end").0
}

/// All that was accepted came, and both ends know that the other does not come back.
#[track_caller]
fn assert_nothing_lost([server, client]: &[Seen; 2]) {
    assert_eq!(client.payload, server.accepted, "{server:?} {client:?}");
    assert_eq!(server.payload, client.accepted, "{server:?} {client:?}");
    assert!(ended(server).is_clean(), "{server:?} {client:?}");
    assert!(ended(client).is_clean(), "{server:?} {client:?}");
    assert!(!server.is_refused && !client.is_refused);
}

// ---- honest peers ----

/// 15 MiB in one message to an echo, and then 200 KB/s without a pause.
#[test]
fn echo_of_15_mib_read_at_200_kb_per_second_comes_whole() {
    let server = Plan {
        echo: Echo::Messages(0),
        ..Plan::READER
    };
    let client = Plan::slow_reader(200_000).with([
        Act::Read(false),
        messages(1, 15 * MIB),
        Act::Flushed,
        Act::Read(true),
        Act::Received(15 * MIB),
        Act::Close,
    ]);
    let seen = with_path(server, client, path(4 * MIB, MIB)).run();
    assert_nothing_lost(&seen);
    assert_eq!(seen[1].messages, [15 * MIB]);
    assert!(seen[1].ended.unwrap().1 > 70_000);
}

/// 3 MiB, all of which fit into the kernel's buffer at once, to a reader of 40 KB/s.
#[test]
fn push_of_3_mib_accepted_at_once_is_read_at_40_kb_per_second() {
    let server = Plan::READER.with([messages(3, MIB), Act::Close]);
    let link = with_path(server, Plan::slow_reader(40_000), path(4 * MIB, MIB));
    let seen = link.run();
    assert_nothing_lost(&seen);
    assert_eq!(seen[0].taken_at, 0);
    assert!(seen[1].received_at > 78_000);
}

/// The adapter writes into a ring of 8 KiB and sees what is acknowledged; 200 B/s are read.
#[test]
fn ring_of_8_kib_is_read_at_200_bytes_per_second() {
    let server = Plan {
        queue: 0,
        acknowledged: true,
        ..Plan::READER
    };
    for receive_buffer in [512, 4096, 32 << 10] {
        let server = server.clone().with([messages(8, 8 << 10), Act::Close]);
        let path = path(8 << 10, receive_buffer);
        let seen = with_path(server, Plan::slow_reader(200), path).run();
        assert_nothing_lost(&seen);
        assert!(seen[1].received_at > 320_000);
    }
}

/// `on_open`: 10,000 messages of 1,000 bytes, then a Close; 500 KB/s are read.
#[test]
fn queue_of_10_000_messages_is_read_before_the_close() {
    let server = Plan::READER.with([messages(10_000, 1000), Act::Close]);
    let link = with_path(
        server,
        Plan::slow_reader(500_000),
        path(5 * MIB / 2, MIB / 2),
    );
    let seen = link.run();
    assert_nothing_lost(&seen);
    assert_eq!(seen[1].messages.len(), 10_000);
}

/// The same with 1 MB and a close timeout of 1 s, and the client says a word each second, also when
/// the server has decided to end.
#[test]
fn close_with_a_short_timeout_waits_for_what_was_accepted_while_the_client_speaks() {
    for (rate, send_buffer) in [(20_000, 64 << 10), (20_000, 4 * MIB), (100_000, 4 * MIB)] {
        let server = Plan {
            timeouts: Timeouts {
                close: Some(1000),
                ..Timeouts::DEFAULT
            },
            ..Plan::READER
        };
        let server = server.with([messages(1000, 1000), Act::Close]);
        let words = (1..100).flat_map(|second| [Act::At(second * 1000), messages(1, 5)]);
        let client = Plan::slow_reader(rate).with(words.collect::<Vec<_>>());
        let [server, client] = with_path(server, client, path(send_buffer, 64 << 10)).run();
        assert_eq!(client.messages.len(), 1000);
        assert_eq!(client.close, Some(1000));
        assert!(ended(&server).is_clean() && ended(&client).is_clean());
        assert!(server.messages.len() as u64 >= 1_000_000 / rate - 1);
    }
}

/// `shutdown(30 s)` with 10 MB queued for a reader of 400 KB/s.
#[test]
fn close_by_a_time_gives_a_slow_reader_that_time() {
    let server = Plan::READER.with([messages(10_000, 1000), Act::Close, Act::CloseBy(30_000)]);
    let link = with_path(server, Plan::slow_reader(400_000), path(MIB, MIB));
    assert_nothing_lost(&link.run());
}

/// The same, and the time is not enough: it counts to the millisecond.
#[test]
fn close_by_a_time_ends_then() {
    let server = Plan::READER.with([messages(10_000, 1000), Act::Close, Act::CloseBy(20_000)]);
    let link = with_path(server, Plan::slow_reader(400_000), path(MIB, MIB));
    let [server, _] = link.run();
    assert_eq!(
        server.ended,
        Some((Ended::TimedOut(Deadline::Close), 20_000))
    );
    assert_eq!(server.dropped_at, Some(20_000));
}

/// Idle 1.5 s, while the peer is still reading a 2 MiB echo.
#[test]
fn idle_connection_is_none_while_an_echo_is_read() {
    let server = Plan {
        timeouts: Timeouts {
            idle: Some(1500),
            ..Timeouts::DEFAULT
        },
        echo: Echo::Messages(usize::MAX),
        ..Plan::READER
    };
    for send_buffer in [64 << 10, 4 * MIB] {
        let client = Plan::slow_reader(300_000).with([messages(1, 2 * MIB)]);
        let [server, client] = with_path(server.clone(), client, path(send_buffer, 64 << 10)).run();
        assert_eq!(client.payload, 2 * MIB);
        assert_eq!(client.close, Some(1001));
        assert!(ended(&server).is_clean());
    }
}

/// `send` with a write timeout of 2 s; the peer reads 400 KB/s steadily.
#[test]
fn write_timeout_of_2_s_is_renewed_by_each_byte_taken() {
    let server = Plan {
        timeouts: Timeouts {
            write: Some(2000),
            ..Timeouts::DEFAULT
        },
        ..Plan::READER
    };
    for send_buffer in [16 << 10, 5 * MIB / 2] {
        let server = server.clone().with([messages(4, 2 * MIB), Act::Close]);
        let link = with_path(
            server,
            Plan::slow_reader(400_000),
            path(send_buffer, 64 << 10),
        );
        assert_nothing_lost(&link.run());
    }
}

/// The application is busy for 41 s, while the peer's data lie in the ring.
#[test]
fn application_that_does_not_read_for_41_s_is_no_evidence_against_the_peer() {
    for tells_reading in [false, true] {
        let server = Plan {
            queue: 0,
            acknowledged: true,
            tells_reading,
            ..Plan::READER
        };
        let server = server.with([Act::Read(false), Act::At(41_000), Act::Read(true)]);
        let client = Plan::READER.with([
            messages(40, 1000),
            Act::Flushed,
            Act::At(45_000),
            Act::Close,
        ]);
        let link = Link {
            paths: [path(8 << 10, 8 << 10); 2],
            ..Link::new(server, client)
        };
        assert_nothing_lost(&link.run());
    }
}

/// The peer says nothing either: the reader is asked only when the application reads again.
#[test]
fn application_that_does_not_read_for_an_hour_asks_for_a_pong_afterwards() {
    let server = Plan {
        tells_reading: true,
        ..Plan::READER
    };
    let server = server.with([Act::Read(false), Act::At(3_600_000), Act::Read(true)]);
    let client = Plan {
        timeouts: Timeouts::NONE,
        ..Plan::READER
    };
    let client = client.with([Act::At(3_500_000), Act::Cut]);
    let [server, _] = Link::new(server, client).run();
    let end = (Ended::TimedOut(Deadline::Pong), 3_640_000 + 16);
    assert_eq!(server.ended, Some(end));
}

/// 2 KB/s are read, and acknowledged in bursts that are 33 to 57 s apart.
#[test]
fn acknowledgements_in_bursts_33_to_57_s_apart_are_no_silence() {
    for acknowledged in [false, true] {
        for window_step in [66_000, 90_000, 114_000] {
            let server = Plan {
                acknowledged,
                ..Plan::READER
            };
            let server = server.with([messages(400, 1000), Act::Close]);
            let path = Path {
                window_step,
                ..path(32 << 10, 128 << 10)
            };
            let link = with_path(server, Plan::slow_reader(2000), path);
            let seen = link.run();
            assert_nothing_lost(&seen);
            assert!(seen[1].received_at > 199_000);
        }
    }
    // All of it lies in the peer's kernel, which says so once in 57 s.
    let server = Plan {
        acknowledged: true,
        ..Plan::READER
    };
    let server = server.with([Act::At(50_000), messages(400, 1000), Act::Close]);
    let path = Path {
        acknowledged_every: 57_000,
        ..path(128 << 10, 256 << 10)
    };
    assert_nothing_lost(&with_path(server, Plan::slow_reader(2000), path).run());
}

/// Two peers that each begin with 32 MiB.
#[test]
fn both_ends_that_begin_with_32_mib_finish() {
    let plan = Plan {
        read: 64 << 10,
        ..Plan::READER
    };
    let server = plan.clone().with([messages(1, 32 * MIB)]);
    let client = plan.with([messages(1, 32 * MIB), Act::Received(32 * MIB), Act::Close]);
    assert_nothing_lost(&Link::new(server, client).run());
}

/// A hub that passes over who has not read what was sent before.
#[test]
fn hub_that_passes_over_a_slow_member_loses_nothing_else() {
    let ticks = (0..600).flat_map(|tick| {
        let backlog = 64 << 10;
        [Act::At(tick * 100), Act::Offer { len: 8000, backlog }]
    });
    let server = Plan::READER.with(ticks.chain([Act::Close]).collect::<Vec<_>>());
    let seen = Link::new(server, Plan::slow_reader(20_000)).run();
    assert_nothing_lost(&seen);
    let count = seen[1].messages.len();
    assert!((140..250).contains(&count), "{count} messages");
}

/// Behind a proxy that passes no half-close: after both Closes 1 s is waited for the end of TCP.
#[test]
fn close_behind_a_proxy_that_passes_no_half_close_returns_after_1_s() {
    let link = Link {
        half_closes: false,
        ..Link::new(Plan::READER, Plan::READER.with([Act::At(5000), Act::Close]))
    };
    let seen = link.run();
    assert_nothing_lost(&seen);
    let [server, client] = seen.map(|seen| seen.dropped_at.expect("an end"));
    assert_eq!(server, 5001 + u64::from(DRAIN));
    assert_eq!(client, 5002 + u64::from(DRAIN));
}

/// A caller that stops reading in between, and a Close in the midst of an echo.
#[test]
fn echo_with_pauses_and_a_close_in_the_middle_ends_cleanly() {
    for tells_reading in [false, true] {
        let server = Plan {
            echo: Echo::Parts(100_000),
            tells_reading,
            ..Plan::slow_reader(1_000_000)
        };
        let client = Plan {
            tells_reading,
            ..Plan::slow_reader(50_000)
        };
        let client = client.with([
            messages(100, 20_000),
            Act::At(1000),
            Act::Read(false),
            Act::At(61_000),
            Act::Read(true),
            Act::Received(1_000_000),
            Act::Close,
        ]);
        let [server, client] = Link::new(server, client).run();
        // The client has closed before all was back: what the server still had was not asked for.
        assert!(ended(&server).is_clean());
        assert!(client.payload >= 1_000_000);
        assert!(ended(&client).code().as_u16() == 1000 || client.close.is_none());
    }
}

// ---- the stated limits ----

/// 15 MiB at 20 KB/s with 10 MB hidden in kernels do not pass: `max_grace` is for 6 MB at this rate.
#[test]
fn hidden_bytes_beyond_max_grace_times_the_rate_do_not_pass() {
    let server = Plan::READER.with([messages(1, 15 * MIB), Act::Close]);
    let hidden = Path {
        window_step: 9_000_000,
        ..path(64 << 10, 10_000_000)
    };
    let [server, client] = with_path(server, Plan::slow_reader(20_000), hidden).run();
    let (end, at) = server.ended.unwrap();
    assert_eq!(end, Ended::TimedOut(Deadline::Write));
    let grace = u64::from(Timeouts::DEFAULT.max_grace);
    assert_eq!(at, server.taken_at + grace + 30_000);
    assert!(client.payload < 15 * MIB);
}

/// The same bytes pass where less is hidden.
#[test]
fn hidden_bytes_within_max_grace_times_the_rate_pass() {
    let server = Plan::READER.with([messages(1, 15 * MIB), Act::Close]);
    let hidden = Path {
        window_step: 5_000_000,
        ..path(64 << 10, 5_900_000)
    };
    assert_nothing_lost(&with_path(server, Plan::slow_reader(20_000), hidden).run());
}

/// One that reads nothing ends `max_grace + write` after it took its last byte, whatever it says.
#[test]
fn peer_that_reads_nothing_ends_in_the_stated_time() {
    for speaks in [false, true] {
        let server = Plan::READER.with([messages(100, 20_000)]);
        let mut script = vec![Act::Read(false)];
        if speaks {
            script.extend((1..600).flat_map(|tick| [Act::At(tick * 1000), messages(1, 5)]));
        }
        let client = Plan::READER.with(script);
        let [server, _] = Link::new(server, client).run();
        let (end, at) = server.ended.unwrap();
        assert_eq!(end, Ended::TimedOut(Deadline::Write));
        assert_eq!(at, server.taken_at + 300_000 + 30_000);
    }
}

/// One that reads less than `min_rate` ends: its bytes do not buy as much time as they take.
#[test]
fn peer_that_reads_below_min_rate_ends() {
    let server = Plan::READER.with([messages(10, 4000)]);
    let path = Path {
        segment: 100,
        ..path(512, 512)
    };
    let [server, _] = with_path(server, Plan::slow_reader(64), path).run();
    let (end, at) = server.ended.unwrap();
    assert_eq!(end, Ended::TimedOut(Deadline::Write));
    // 1024 bytes buy 8 s; from then on it has 0.5 s for each second, and 30 s beyond.
    assert!((70_000..90_000).contains(&at), "{at}");
}

/// The same is served if it asks for less.
#[test]
fn peer_that_reads_a_little_more_than_min_rate_is_served() {
    let server = Plan::READER.with([messages(10, 4000), Act::Close]);
    let path = Path {
        segment: 100,
        ..path(512, 512)
    };
    assert_nothing_lost(&with_path(server, Plan::slow_reader(140), path).run());
}

// ---- peers that are gone ----

/// A peer that vanished while nothing was sent: `keepalive`, then `pong`, and what the ping bought.
#[test]
fn silent_peer_gone_is_noticed_after_keepalive_and_pong() {
    let server = Plan::READER.with([Act::At(1000), Act::Cut]);
    let seen = Link::new(server, Plan::READER).run();
    // A ping of 2 bytes buys 16 ms, and one of 6 bytes 47.
    let ends = [(0, 40_016), (1, 40_047)];
    for (end, at) in ends {
        let timed_out = Ended::TimedOut(Deadline::Pong);
        assert_eq!(seen[end].ended, Some((timed_out, at)));
    }
}

/// A peer that vanished with unanswered bytes: they buy `n / min_rate`, and at most `max_grace`.
#[test]
fn peer_gone_with_unanswered_bytes_is_noticed_after_what_they_bought() {
    for len in [100, 1000, 10_000, 38_000, 50_000] {
        let server = Plan::READER.with([Act::At(1000), Act::Cut, messages(1, len)]);
        let [server, _] = Link::new(server, Plan::READER).run();
        let header = if len < 126 { 2 } else { 4 };
        let busy = 1000 + ((len + header) as u64 * 1000).div_ceil(128);
        // The ping is owed at 30 s; it leaves at once, and buys 16 ms beyond what is bought.
        let busy = busy.clamp(30_000, 301_000) + 16;
        let timed_out = Ended::TimedOut(Deadline::Pong);
        assert_eq!(
            server.ended,
            Some((timed_out, busy + 10_000)),
            "{len} bytes"
        );
    }
}

/// A peer that vanished while bytes wait: the write deadline ends it.
#[test]
fn peer_gone_while_bytes_wait_is_noticed_by_the_write_deadline() {
    let server = Plan::READER.with([Act::At(1000), Act::Cut, messages(4, MIB)]);
    let [server, _] = Link::new(server, Plan::READER).run();
    let timed_out = Ended::TimedOut(Deadline::Write);
    assert_eq!(server.ended, Some((timed_out, 1000 + 300_000 + 30_000)));
}

/// A peer that vanished before the server's Close: the Close's time, beyond what its bytes bought.
#[test]
fn peer_gone_before_the_close_is_noticed_by_the_close_deadline() {
    let server = Plan::READER.with([Act::At(1000), Act::Cut, Act::Close]);
    let [server, _] = Link::new(server, Plan::READER).run();
    // 8 bytes buy 63 ms.
    let timed_out = Ended::TimedOut(Deadline::Close);
    assert_eq!(server.ended, Some((timed_out, 1000 + 63 + 5000)));
    assert_eq!(server.dropped_at, Some(6063));
}

/// A peer that gives up at once: the other end hears it, as a loss or an end without a Close.
#[test]
fn peer_that_aborts_ends_both() {
    let client = Plan::READER.with([Act::At(500), Act::Abort]);
    let [server, client] = Link::new(Plan::READER, client).run();
    assert_eq!(client.ended, Some((Ended::Aborted, 500)));
    let (end, at) = server.ended.unwrap();
    assert!(matches!(end, Ended::Violation(_)), "{end}");
    assert_eq!(at, 501);
    // With unread input it is a reset.
    let client = Plan::READER.with([Act::Read(false), Act::At(500), Act::Abort]);
    let server = Plan::READER.with([messages(1, 10)]);
    let [server, _] = Link::new(server, client).run();
    assert_eq!(server.ended, Some((Ended::Lost, 501)));
}

/// A violation is answered by a Close, which a slow reader gets behind what was sent before.
#[test]
fn violation_of_a_slow_reader_is_told_behind_what_was_sent() {
    let server = Plan::READER.with([messages(100, 10_000)]);
    let garbage = Act::Raw(vec![0xFF; 10]);
    let client = Plan::slow_reader(50_000).with([Act::At(100), garbage]);
    let link = with_path(server, client, path(64 << 10, 64 << 10));
    let [server, client] = link.run();
    assert!(matches!(ended(&server), Ended::Violation(_)));
    assert_eq!(client.payload, 1_000_000);
    assert_eq!(client.close, Some(1002));
    let closed = ended(&client);
    assert!(
        matches!(
            closed,
            Ended::Closed {
                by: Side::Remote,
                ..
            }
        ),
        "{closed}"
    );
}
