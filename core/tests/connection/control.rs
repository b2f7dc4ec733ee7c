//! Pings and pongs (§5.5.2, §5.5.3), and what of them is owed.

use core::slice;

use motews::{DataKind, MAX_CONTROL_LEN, SendError, State};

use crate::support::{
    Endpoint, Frame, both, close, continuation, empty_close, frame, got, ping, pong, text,
};

/// CT01, CT02: each length of payload, any bytes, comes back.
#[test]
fn open_ping_is_answered_with_its_payload() {
    let bytes: Vec<u8> = (0..125).map(|octet| octet ^ 0xAA).collect();
    for len in 0..=125 {
        let payload = &bytes[..len];
        both(|mut endpoint| {
            assert_eq!(endpoint.receive([ping(payload)]), [got::ping(payload)]);
            assert!(endpoint.wants_transmit());
            assert_eq!(endpoint.transmit(), [pong(payload)]);
            assert!(!endpoint.wants_transmit());
            assert_eq!(endpoint.state(), State::Open);
        });
    }
}

/// CT03, CT07: the newest ping's pong replaces one not sent, whatever their lengths.
#[test]
fn open_second_ping_replaces_the_pong_of_the_first() {
    for (first, second) in [
        ("", "b"),
        ("a", ""),
        ("long payload", "b"),
        ("a", "long payload"),
    ] {
        both(|mut endpoint| {
            let told = endpoint.receive([ping(first), ping(second)]);
            assert_eq!(told, [got::ping(first), got::ping(second)]);
            assert_eq!(endpoint.transmit(), [pong(second)]);
        });
    }
    // One after the other each has its own.
    both(|mut endpoint| {
        for payload in ["a", "", "bc"] {
            endpoint.receive([ping(payload)]);
            assert_eq!(endpoint.transmit(), [pong(payload)]);
        }
    });
}

/// CT07: a million pings from a peer that reads nothing: the connection is as large as before, and
/// owes one pong.
#[test]
fn open_ping_flood_without_reading_owes_one_pong() {
    let mut server = Endpoint::server();
    let size = size_of_val(&server);
    let pings = server.wire((0..1_000_u16).map(|n| ping(n.to_be_bytes())));
    for _ in 0..1_000 {
        assert_eq!(server.receive_bytes(&pings).len(), 1_000);
    }
    assert_eq!(size_of_val(&server), size);
    assert_eq!(server.transmit(), [pong(999_u16.to_be_bytes())]);
}

/// CT04: a pong that nothing asked for is told, and owes nothing.
#[test]
fn open_unsolicited_pong_owes_nothing() {
    both(|mut endpoint| {
        let told = endpoint.receive([pong(""), pong("unasked"), pong([0xFF; 125])]);
        let expected = [got::pong(""), got::pong("unasked"), got::pong([0xFF; 125])];
        assert_eq!(told, expected);
        assert_eq!(endpoint.state(), State::Open);
        assert_eq!(endpoint.transmit(), []);
    });
}

/// CT01: also after this side's Close was queued, and after it was sent.
#[test]
fn closing_ping_is_answered_until_the_peers_close_comes() {
    both(|mut endpoint| {
        endpoint.close(1000, "").expect("open");
        assert_eq!(endpoint.receive([ping("a")]), [got::ping("a")]);
        assert_eq!(endpoint.transmit(), [pong("a"), close(1000, "")]);
        assert_eq!(endpoint.receive([ping("b")]), [got::ping("b")]);
        assert_eq!(endpoint.transmit(), [pong("b")]);
        assert_eq!(endpoint.receive([ping("c"), close(1000, "")]).len(), 2);
        assert_eq!(endpoint.transmit(), []);
    });
}

/// A peer that pings without end, over a transport that has room for one frame at a time: one pong goes
/// before the Close.
#[test]
fn closing_pings_without_end_hold_the_close_back_once() {
    both(|mut endpoint| {
        let room = 2 + 4 + 8;
        endpoint.close(1000, "reason").expect("open");
        let turns = ["a", "b", "c"].map(|payload| {
            endpoint.receive([ping(payload)]);
            let mut out = vec![0; room];
            let len = endpoint.transmit_to(&mut out);
            endpoint.frames(&out[..len])
        });
        assert_eq!(turns, [[pong("a")], [close(1000, "reason")], [pong("c")]]);
    });
}

/// CT01: a Close received drops the pong that is owed.
#[test]
fn open_close_after_ping_owes_the_close_alone() {
    both(|mut endpoint| {
        let told = endpoint.receive([ping("late"), close(1001, "bye")]);
        assert_eq!(told, [got::ping("late"), got::close(1001, "bye")]);
        assert_eq!(endpoint.transmit(), [close(1001, "")]);
    });
    both(|mut endpoint| {
        endpoint.receive([ping("late"), empty_close()]);
        assert_eq!(endpoint.transmit(), [empty_close()]);
    });
    both(|mut endpoint| {
        endpoint.close(3000, "mine").expect("open");
        endpoint.receive([ping("late"), close(1001, "bye")]);
        assert_eq!(endpoint.transmit(), [close(3000, "mine")]);
    });
}

/// CT05: a ping of 0 to 125 bytes is sent as it is; a longer one is refused.
#[test]
fn open_ping_of_up_to_125_octets_is_sent() {
    let bytes = [0xC3; 126];
    both(|mut endpoint| {
        for len in 0..=125 {
            assert_eq!(endpoint.ping(&bytes[..len]), Ok(ping(&bytes[..len])));
        }
        assert_eq!(endpoint.ping(&bytes), Err(SendError::ControlTooLong));
        assert_eq!(endpoint.state(), State::Open);
    });
}

/// CT05, law 2: a ping is written whole or not at all.
#[test]
fn open_ping_without_room_writes_nothing() {
    both(|mut endpoint| {
        let header_len = if endpoint.is_client() { 6 } else { 2 };
        for len in [0, 1, 125] {
            let payload = vec![b'p'; len];
            let whole = header_len + len;
            for room in 0..whole {
                let mut out = vec![0xEE; room];
                assert_eq!(endpoint.ping_to(&payload, &mut out), Err(SendError::NoRoom));
                assert_eq!(out, vec![0xEE; room]);
            }
            assert_eq!(endpoint.ping_to(&payload, &mut vec![0; whole]), Ok(whole));
        }
    });
}

/// CT05, MS08: no ping after a Close of either side, nor after a failure.
#[test]
fn not_open_ping_is_refused() {
    for prepare in crate::sending::NOT_OPEN {
        both(|mut endpoint| {
            prepare(&mut endpoint);
            assert_eq!(endpoint.ping(b"p"), Err(SendError::NotOpen));
        });
    }
}

/// CT06: a pong goes between the fragments of a message that is being sent.
#[test]
fn open_pong_goes_between_outgoing_fragments() {
    both(|mut endpoint| {
        let (first, _) = endpoint
            .send_fragment(DataKind::Text, b"a", false, 99)
            .expect("room");
        endpoint.receive([ping("p")]);
        let between = endpoint.transmit();
        let own = endpoint.ping(b"q").expect("open");
        let (last, _) = endpoint
            .send_fragment(DataKind::Text, b"b", true, 99)
            .expect("room");
        assert_eq!(first, text("a").more());
        assert_eq!((between, own), (vec![pong("p")], ping("q")));
        assert_eq!(last, continuation("b"));
    });
}

/// CT02: the room that always suffices, and no more: a client's header, and 125 bytes.
#[test]
fn owed_at_its_longest_fills_the_room_that_always_suffices() {
    assert_eq!(MAX_CONTROL_LEN, 131);
    let mut client = Endpoint::client();
    client.receive([ping([b'p'; 125])]);
    assert_eq!(client.transmit_to(&mut [0; MAX_CONTROL_LEN - 1]), 0);
    assert_eq!(client.transmit_to(&mut [0; MAX_CONTROL_LEN]), 131);
}

/// Law 2: what is owed is written whole or stays owed.
#[test]
fn owed_without_room_stays_owed() {
    both(|mut endpoint| {
        let header_len = if endpoint.is_client() { 6 } else { 2 };
        endpoint.receive([ping("abc")]);
        endpoint.close(1000, "reason").expect("open");
        for (expected, len) in [(pong("abc"), 3), (close(1000, "reason"), 8)] {
            for room in 0..header_len + len {
                let mut out = vec![0xEE; room];
                assert_eq!(endpoint.transmit_to(&mut out), 0);
                assert_eq!(out, vec![0xEE; room]);
                assert!(endpoint.wants_transmit());
            }
            let mut out = vec![0; header_len + len];
            assert_eq!(endpoint.transmit_to(&mut out), header_len + len);
            assert_eq!(endpoint.frames(&out), [expected]);
        }
        assert_eq!(endpoint.transmit_to(&mut [0; MAX_CONTROL_LEN]), 0);
    });
}

/// The reason as it goes out where a pong of this length was owed beside it.
fn cut(reason: &str, pong_len: usize) -> &str {
    let room = 125 - pong_len;
    let fits = |len: &usize| *len <= room && reason.is_char_boundary(*len);
    &reason[..(0..=reason.len()).rev().find(fits).unwrap_or(0)]
}

fn pong_and_close(endpoint: &mut Endpoint) -> (Frame, Frame) {
    let frames = endpoint.transmit();
    let [pong, close] = frames.try_into().expect("a pong and a Close");
    (pong, close)
}

/// CT02, CL19: a pong and a reason share 125 bytes: the pong is whole, and where both do not fit
/// the reason is cut short, with a whole code point. Each length of either, in either order.
#[test]
fn closing_pong_and_reason_share_a_control_frame() {
    let ascii = "r".repeat(123);
    let wide = "ré你😀".repeat(13);
    let payload = [0xFF; 125];
    for long in [&ascii, &wide] {
        for reason_len in (0..=123).filter(|&len| long.is_char_boundary(len)) {
            let reason = &long[..reason_len];
            for pong_len in 0..=125 {
                let payload = &payload[..pong_len];
                let expected = (pong(payload), close(1000, cut(reason, pong_len)));

                let mut endpoint = Endpoint::server();
                endpoint.receive([ping(payload)]);
                endpoint.close(1000, reason).expect("open");
                assert_eq!(pong_and_close(&mut endpoint), expected);

                let mut endpoint = Endpoint::client();
                endpoint.close(1000, reason).expect("open");
                endpoint.receive([ping(payload)]);
                assert_eq!(pong_and_close(&mut endpoint), expected);
            }
        }
    }
}

/// CL19: what was cut does not grow again; a pong that was sent takes no more room.
#[test]
fn closing_reason_is_cut_once_for_the_longest_pong() {
    both(|mut endpoint| {
        endpoint.close(1000, &"r".repeat(123)).expect("open");
        endpoint.receive([ping([b'p'; 25]), ping("short")]);
        let expected = (pong("short"), close(1000, &"r".repeat(100)));
        assert_eq!(pong_and_close(&mut endpoint), expected);
    });
    both(|mut endpoint| {
        endpoint.receive([ping([b'p'; 125])]);
        assert_eq!(endpoint.transmit(), [pong([b'p'; 125])]);
        endpoint.close(1000, &"r".repeat(123)).expect("open");
        assert_eq!(endpoint.transmit(), [close(1000, &"r".repeat(123))]);
    });
}

/// CT02, FR16: a control frame may be split anywhere, and one after it begins afresh.
#[test]
fn open_control_frame_split_anywhere_is_told_whole() {
    for payload_len in [0, 1, 2, 124, 125] {
        let payload: Vec<u8> = (0..payload_len).collect();
        for (first, expected) in [(0x89, got::ping(&payload)), (0x8A, got::pong(&payload))] {
            both(|mut endpoint| {
                let wire = endpoint.wire([frame(first, &payload)]);
                for split in 0..wire.len() {
                    assert_eq!(endpoint.receive_bytes(&wire[..split]), []);
                    assert_eq!(
                        endpoint.receive_bytes(&wire[split..]),
                        slice::from_ref(&expected)
                    );
                }
                for octet in &wire[..wire.len() - 1] {
                    assert_eq!(endpoint.receive_bytes(&[*octet]), []);
                }
                let last = &wire[wire.len() - 1..];
                assert_eq!(endpoint.receive_bytes(last), slice::from_ref(&expected));
            });
        }
    }
}

/// CT02: a control frame that arrives in parts does not disturb the pong that is owed.
#[test]
fn open_half_a_ping_leaves_the_owed_pong_alone() {
    both(|mut endpoint| {
        endpoint.receive([ping("first")]);
        let wire = endpoint.wire([ping("second")]);
        let (head, tail) = wire.split_at(wire.len() - 3);
        assert_eq!(endpoint.receive_bytes(head), []);
        assert_eq!(endpoint.transmit(), [pong("first")]);
        assert_eq!(endpoint.receive_bytes(tail), [got::ping("second")]);
        assert_eq!(endpoint.transmit(), [pong("second")]);
    });
}
