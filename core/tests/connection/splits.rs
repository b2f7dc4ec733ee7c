//! FR16: how the stream is cut makes no difference but for where messages are cut into chunks.

use motews::ConnectionConfig;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use crate::support::{
    Endpoint, Frame, Got, binary, close, continuation, empty_close, frame, ping, pong, text,
};

/// What was told, with the chunks of a message joined as far as nothing came between.
fn joined(told: Vec<Got>) -> Vec<Got> {
    let mut joined: Vec<Got> = Vec::new();
    for got in told {
        if let Got::Data {
            bytes: more,
            first: false,
            last: ends,
            ..
        } = &got
            && let Some(Got::Data {
                bytes,
                last: last @ false,
                ..
            }) = joined.last_mut()
        {
            bytes.extend(more);
            *last = *ends;
            continue;
        }
        joined.push(got);
    }
    joined
}

/// All that is told of `parts`, one after the other, up to a failure; and the bytes consumed.
fn told<'a>(
    endpoint: &mut Endpoint,
    parts: impl Iterator<Item = &'a [u8]>,
    by_steps: bool,
) -> (Vec<Got>, usize) {
    let (mut all, mut consumed) = (Vec::new(), 0);
    for part in parts {
        let (got, len) = if by_steps && endpoint.violation().is_none() {
            let (got, len) = endpoint.step_counted(part);
            // A step does not tell how far it came before it failed.
            let failed = matches!(got.last(), Some(Got::Failed(_)));
            (got, if failed { part.len() } else { len })
        } else {
            endpoint.receive_counted(part)
        };
        consumed += len;
        all.extend(got);
        if endpoint.violation().is_some() {
            // The failure may follow what came before it by one call.
            if !matches!(all.last(), Some(Got::Failed(_))) {
                all.extend(endpoint.receive_bytes(&[]));
            }
            break;
        }
    }
    (joined(all), consumed)
}

fn any_frame() -> impl Strategy<Value = Frame> {
    let payload = prop_oneof![
        4 => "[a-zé你😀]{0,6}".prop_map(String::into_bytes),
        1 => vec(any::<u8>(), 0..8),
        1 => vec(Just(b'x'), 120..140),
    ];
    let short = vec(any::<u8>(), 0..8);
    prop_oneof![
        8 => (payload, 0..6_u8).prop_map(|(payload, kind)| match kind {
            0 => text(payload),
            1 => text(payload).more(),
            2 => binary(payload),
            3 => binary(payload).more(),
            4 => continuation(payload),
            _ => continuation(payload).more(),
        }),
        4 => (short.clone(), any::<bool>()).prop_map(|(payload, pings)| {
            if pings { ping(payload) } else { pong(payload) }
        }),
        1 => (select(&[1000, 1005, 3000][..]), "[a-z]{0,5}")
            .prop_map(|(code, reason)| close(code, &reason)),
        1 => Just(empty_close()),
        1 => (any::<u8>(), short).prop_map(|(first, payload)| frame(first, payload)),
    ]
}

/// Frames in an order that makes sense, mostly: continuations where a message is open.
fn any_frames() -> impl Strategy<Value = Vec<Frame>> {
    (vec(any_frame(), 1..12), any::<bool>()).prop_map(|(mut frames, mend)| {
        let mut open = false;
        for frame in &mut frames {
            let opcode = frame.first & 0x0F;
            if opcode <= 2 {
                if mend && open {
                    frame.first &= 0xF0;
                } else if mend && opcode == 0 {
                    frame.first |= 2;
                }
                open = frame.first & 0x80 == 0;
            }
        }
        frames
    })
}

fn endpoint(client: bool, config: ConnectionConfig) -> Endpoint {
    if client {
        Endpoint::client_with(config)
    } else {
        Endpoint::server_with(config)
    }
}

fn configs() -> impl Strategy<Value = ConnectionConfig> {
    (select(&[u64::MAX, 40, 0][..]), any::<bool>()).prop_map(|(max_message_len, compression)| {
        ConnectionConfig {
            max_message_len,
            compression,
        }
    })
}

/// The same in one input, in single bytes, in parts, by events and by steps.
fn check(client: bool, config: ConnectionConfig, wire: &[u8], cuts: &[usize]) {
    let mut whole = endpoint(client, config);
    let expected = told(&mut whole, [wire].into_iter(), false);

    let mut parts = Vec::new();
    let mut rest = wire;
    for cut in cuts {
        let (part, after) = rest.split_at((*cut).min(rest.len()));
        parts.push(part);
        rest = after;
    }
    parts.push(rest);

    for by_steps in [false, true] {
        let cut_up: [Vec<&[u8]>; 3] = [vec![wire], wire.chunks(1).collect(), parts.clone()];
        for parts in cut_up {
            let mut endpoint = endpoint(client, config);
            let got = told(&mut endpoint, parts.into_iter(), by_steps);
            assert_eq!(got.0, expected.0, "{wire:02x?}");
            if !by_steps {
                assert_eq!(got.1, expected.1, "{wire:02x?}");
            }
            assert_eq!(endpoint.state(), whole.state());
            assert_eq!(endpoint.close_code(), whole.close_code());
            let owed = whole.transmit();
            assert_eq!(endpoint.transmit(), owed);
            // For the next one, as before.
            whole = self::endpoint(client, config);
            told(&mut whole, [wire].into_iter(), false);
        }
    }
}

/// FR16: a session with everything in it, split in two at every byte.
#[test]
fn open_session_split_at_each_octet_is_the_same() {
    for client in [false, true] {
        let mut once = endpoint(client, ConnectionConfig::default());
        let wire = once.wire([
            text("Hel").more(),
            ping("are you there?"),
            continuation("").more(),
            continuation("lo, 世界"),
            binary([0xA5; 130]),
            pong(""),
            text("😀").more(),
            continuation(""),
            close(1000, "done"),
            text("never told"),
        ]);
        let expected = told(&mut once, [&wire[..]].into_iter(), false);
        assert_eq!(expected.1, wire.len());
        for split in 0..=wire.len() {
            for by_steps in [false, true] {
                let (head, tail) = wire.split_at(split);
                let mut endpoint = endpoint(client, ConnectionConfig::default());
                let got = told(&mut endpoint, [head, tail].into_iter(), by_steps);
                assert_eq!(got, expected, "split at {split}");
            }
        }
    }
}

proptest! {
    /// FR15, FR16: frames, valid and not, in any parts.
    #[test]
    fn open_frames_in_any_parts_are_the_same(
        client in any::<bool>(),
        config in configs(),
        frames in any_frames(),
        cuts in vec(0..40_usize, 0..12),
    ) {
        let wire = Endpoint::wire(&endpoint(client, config), frames);
        check(client, config, &wire, &cuts);
    }

    /// FR15, FR16: any bytes in any parts; and nothing panics.
    #[test]
    fn open_bytes_in_any_parts_are_the_same(
        client in any::<bool>(),
        config in configs(),
        head in select(&[0x01, 0x02, 0x81, 0x82, 0x88, 0x89, 0x8A_u8][..]),
        bytes in vec(any::<u8>(), 0..200),
        cuts in vec(0..40_usize, 0..12),
    ) {
        let mut wire = vec![head];
        wire.extend(bytes);
        check(client, config, &wire, &cuts);
    }
}
