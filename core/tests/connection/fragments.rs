//! Messages in fragments, received (§5.4, §5.6, §6.2).

use motews::{DataKind, ProtocolViolation, State};

use crate::support::{Got, binary, both, close, continuation, empty_close, got, ping, pong, text};

/// MS01, MS05: fragments of any size, in order, typed by the first.
#[test]
fn open_fragments_are_told_in_order_with_the_type_of_the_first() {
    both(|mut endpoint| {
        let got = endpoint.receive([
            text("Hel").more(),
            continuation("l").more(),
            continuation("o"),
            binary([0xFF]).more(),
            continuation([0x00]),
        ]);
        let expected = [
            got::text_begins("Hel"),
            got::text_goes_on("l"),
            got::text_ends("o"),
            got::binary_begins([0xFF]),
            got::binary_ends([0x00]),
        ];
        assert_eq!(got, expected);
    });
}

/// MS01, MS15: empty frames; the first and the last of a message are told, those between are not.
#[test]
fn open_empty_fragments_are_told_where_a_message_begins_or_ends() {
    both(|mut endpoint| {
        let got = endpoint.receive([
            text(""),
            binary(""),
            text("").more(),
            continuation(""),
            binary("").more(),
            continuation("").more(),
            continuation("a").more(),
            continuation("").more(),
            continuation(""),
        ]);
        let expected = [
            got::text(""),
            got::binary(""),
            got::text_begins(""),
            got::text_ends(""),
            got::binary_begins(""),
            got::binary_goes_on("a"),
            got::binary_ends(""),
        ];
        assert_eq!(got, expected);
    });
}

/// MS02: a continuation where no message is open: at the start, and after a whole message.
#[test]
fn open_continuation_of_nothing_fails() {
    for before in [
        vec![],
        vec![text("a")],
        vec![text("a").more(), continuation("b")],
        vec![text(""), ping("p")],
    ] {
        for frame in [
            continuation("c"),
            continuation("c").more(),
            continuation(""),
        ] {
            both(|mut endpoint| {
                endpoint.receive(before.clone());
                let wire = endpoint.wire([frame.clone()]);
                endpoint.assert_fails_at(&wire, 1, ProtocolViolation::NothingToContinue);
                assert_eq!(endpoint.transmit(), [close(1002, "")]);
            });
        }
    }
}

/// MS03: a new message while a fragmented one is open, however far that has come.
#[test]
fn open_message_within_a_message_fails() {
    for before in [
        vec![text("a").more()],
        vec![text("").more()],
        vec![binary("a").more(), continuation("b").more()],
        vec![text("a").more(), ping("p")],
    ] {
        for frame in [text("c"), binary("c"), text("c").more(), binary("")] {
            both(|mut endpoint| {
                endpoint.receive(before.clone());
                let wire = endpoint.wire([frame.clone()]);
                endpoint.assert_fails_at(&wire, 1, ProtocolViolation::MessageInterrupted);
                assert_eq!(endpoint.transmit(), [close(1002, "")]);
            });
        }
    }
}

/// MS04, PD16: control frames at every position of a fragmented message, alone and together, are
/// told at once and in order, and change nothing of the message.
#[test]
fn open_control_frames_at_each_position_of_a_message_are_told_at_once() {
    let message = [
        text("Hel").more(),
        continuation("").more(),
        continuation("l").more(),
        continuation("o"),
    ];
    for position in 0..=message.len() {
        for control in [
            vec![ping("p")],
            vec![pong("q")],
            vec![ping(""), pong(""), ping("twice")],
            vec![ping([0xFF; 125])],
        ] {
            both(|mut endpoint| {
                let mut frames = message.to_vec();
                frames.splice(position..position, control.clone());
                let told = endpoint.receive(frames);

                let mut expected = vec![
                    got::text_begins("Hel"),
                    got::text_goes_on("l"),
                    got::text_ends("o"),
                ];
                let at = if position > 1 { position - 1 } else { position };
                let controls = control.iter().map(|frame| match frame.first {
                    0x89 => got::ping(&frame.payload),
                    _ => got::pong(&frame.payload),
                });
                expected.splice(at..at, controls);
                assert_eq!(told, expected, "at {position}");
            });
        }
    }
}

/// MS10: the next message begins afresh, of whatever type, after whatever end.
#[test]
fn open_next_message_has_nothing_of_the_last() {
    both(|mut endpoint| {
        let got = endpoint.receive([
            text("a").more(),
            continuation(""),
            binary([0xC3]).more(),
            continuation([0xC3]),
            text("b"),
            text("c").more(),
            continuation("d"),
        ]);
        let expected = [
            got::text_begins("a"),
            got::text_ends(""),
            got::binary_begins([0xC3]),
            got::binary_ends([0xC3]),
            got::text("b"),
            got::text_begins("c"),
            got::text_ends("d"),
        ];
        assert_eq!(got, expected);
    });
}

/// MS16: endless empty fragments, and endless fragments of one byte: the connection is as large
/// as before, and the empty ones are not even told.
#[test]
fn open_endless_fragments_take_no_memory() {
    both(|mut endpoint| {
        let size = size_of_val(&endpoint);
        assert_eq!(
            endpoint.receive([binary("").more()]),
            [got::binary_begins("")]
        );
        let empty = endpoint.wire(vec![continuation("").more(); 1_000]);
        let tiny = endpoint.wire([continuation("x").more()]);
        for _ in 0..1_000 {
            assert_eq!(endpoint.receive_bytes(&empty), []);
            assert_eq!(endpoint.receive_bytes(&tiny), [got::binary_goes_on("x")]);
        }
        assert_eq!(size_of_val(&endpoint), size);
        assert_eq!(
            endpoint.receive([continuation("y")]),
            [got::binary_ends("y")]
        );
    });
}

/// CL04, CL18: a Close in the midst of a message ends it unfinished; nothing is told as its last.
#[test]
fn open_close_within_a_message_leaves_it_unfinished() {
    both(|mut endpoint| {
        let told = endpoint.receive([text("a").more(), empty_close(), continuation("b")]);
        assert_eq!(told, [got::text_begins("a"), got::empty_close()]);
        assert_eq!(endpoint.transmit(), [empty_close()]);
    });
}

/// CL18: nor does the end of input make a message whole.
#[test]
fn open_eof_within_a_message_fails_and_leaves_it_unfinished() {
    both(|mut endpoint| {
        let mut wire = endpoint.wire([binary("abcd")]);
        wire.pop();
        assert_eq!(endpoint.receive_bytes(&wire), [got::binary_begins("abc")]);
        assert_eq!(
            endpoint.receive_eof(),
            Err(ProtocolViolation::UnexpectedEof)
        );
        assert_eq!(
            (endpoint.state(), endpoint.close_code()),
            (State::Failed, 1006)
        );
    });
}

/// Law 1: a frame in parts is told in parts, each as it comes.
#[test]
fn open_frame_in_parts_is_told_in_parts() {
    both(|mut endpoint| {
        let wire = endpoint.wire([binary("abcdef")]);
        let (head, tail) = wire.split_at(wire.len() - 4);
        assert_eq!(endpoint.receive_bytes(head), [got::binary_begins("ab")]);
        assert_eq!(endpoint.receive_bytes(&[]), []);
        assert_eq!(
            endpoint.receive_bytes(&tail[..1]),
            [got::binary_goes_on("c")]
        );
        assert_eq!(
            endpoint.receive_bytes(&tail[1..]),
            [got::binary_ends("def")]
        );
    });
}

/// MS05: the chunk says what the message is, in the words of the public API.
#[test]
fn open_chunk_has_the_kind_of_its_message() {
    both(|mut endpoint| {
        let told = endpoint.receive([binary("a").more(), continuation("b")]);
        let kinds: Vec<_> = told
            .iter()
            .map(|got| match got {
                Got::Data { kind, .. } => *kind,
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(kinds, [DataKind::Binary, DataKind::Binary]);
    });
}
