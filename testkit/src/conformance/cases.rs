//! The cases.

use motews::{CloseCode, Ended, ProtocolViolation, Side};
use motews::{Deadline, Timeouts};

use super::{Adapter, Kit, Subject, Told};
use crate::frame::{self, Frame};

/// Bytes that are different everywhere.
fn payload(len: usize) -> Vec<u8> {
    (0..251).cycle().take(len).collect()
}

/// Text of so many bytes, not all of it ASCII.
fn text(len: usize) -> String {
    let mut text = "Grüße ❤ ".repeat(len / 12);
    while text.len() < len {
        text.push('x');
    }
    while text.len() > len {
        text.pop();
    }
    while text.len() < len {
        text.push('x');
    }
    text
}

fn told(frame: &Frame) -> Told {
    match frame.first & 0x0F {
        1 => Told::Text(String::from_utf8(frame.payload.clone()).expect("UTF-8")),
        _ => Told::Binary(frame.payload.clone()),
    }
}

fn closed(code: u16, by: Side) -> Ended {
    Ended::Closed {
        code: CloseCode::new(code),
        by,
        clean: true,
    }
}

// ---- an open connection ----

/// Messages of each form of the length, both ways.
pub fn open_messages_of_each_length_class_are_told_and_sent(adapter: &impl Adapter) {
    let mut kit = Kit::open(adapter);
    let most = adapter.max_message_len();
    for len in [0, 1, 124, 125, 126, 127, 1000, 65_535, 65_536, most] {
        if len > most {
            continue;
        }
        for message in [frame::binary(payload(len)), frame::text(text(len))] {
            kit.give(&message);
            assert_eq!(kit.told(), told(&message));
            kit.subject.send(told(&message));
            assert_eq!(kit.message(), told(&message));
        }
    }
    kit.give(&frame::close(1000, ""));
    assert_eq!(kit.frame(), frame::close(1000, ""));
    assert_eq!(kit.finish(), closed(1000, Side::Remote));
}

/// CT02: the pong has the ping's payload.
pub fn open_ping_is_answered_with_its_payload(adapter: &impl Adapter) {
    let mut kit = Kit::open(adapter);
    for len in [0, 1, 125] {
        kit.give(&frame::ping(payload(len)));
        assert_eq!(kit.frame(), frame::pong(payload(len)));
    }
    // A pong that nobody has asked for is of no interest.
    kit.give(&frame::pong("unasked"));
    kit.give(&frame::text("after"));
    assert_eq!(kit.told(), Told::Text("after".to_owned()));
}

/// CT03: of several pings in one read the last is answered at least.
pub fn open_pings_in_one_read_the_last_is_answered(adapter: &impl Adapter) {
    let mut kit = Kit::open(adapter);
    let pings = ["one", "two", "three"];
    let bytes = kit.encode_all(&pings.map(frame::ping));
    kit.subject.give(&bytes);
    let mut next = 0;
    while next < pings.len() {
        let pong = kit.frame();
        let at = pings.iter().position(|ping| pong == frame::pong(ping));
        let at = at.expect("a pong to one of them");
        assert!(at >= next, "in order, and once");
        next = at + 1;
    }
}

/// MS04: control frames between the fragments of a message, which cut code points.
pub fn open_fragments_with_pings_between_are_one_message(adapter: &impl Adapter) {
    let mut kit = Kit::open(adapter);
    let euro = "€".as_bytes();
    for bytes in [
        frame::frame(0x01, "a "),
        frame::ping("1"),
        frame::frame(0x00, &euro[..1]),
        frame::frame(0x00, ""),
        frame::pong("unasked"),
        frame::ping("2"),
    ] {
        kit.give(&bytes);
    }
    loop {
        let pong = kit.frame();
        if pong == frame::pong("2") {
            break;
        }
        assert_eq!(pong, frame::pong("1"));
    }
    assert_eq!(kit.told, [], "a message that is not whole");
    kit.give(&frame::continuation(&euro[1..]));
    assert_eq!(kit.told(), Told::Text("a €".to_owned()));
}

/// CL03, CL06, CL07: the Close goes out, the peer answers, and the server ends TCP first.
pub fn open_close_by_this_side_goes_through(adapter: &impl Adapter) {
    for (code, reason) in [(1000, ""), (1001, "away"), (4999, &text(123)[..])] {
        let mut kit = Kit::open(adapter);
        kit.subject.close(code, reason);
        assert_eq!(kit.frame(), frame::close(code, reason));
        kit.give(&frame::close(code, ""));
        assert_eq!(kit.finish(), closed(code, Side::Local));
    }
}

/// CL03, CL06, CL07: the peer's Close is answered with its code, and the server ends TCP first.
pub fn open_close_by_the_peer_is_answered(adapter: &impl Adapter) {
    for code in [1000, 1001, 3000] {
        let mut kit = Kit::open(adapter);
        kit.give(&frame::close(code, "reason"));
        assert_eq!(kit.frame(), frame::close(code, ""));
        assert_eq!(kit.finish(), closed(code, Side::Remote));
    }
    let mut kit = Kit::open(adapter);
    kit.give(&frame::empty_close());
    assert_eq!(kit.frame(), frame::empty_close());
    assert_eq!(kit.finish(), closed(1005, Side::Remote));
}

/// CL15: each side sends one Close, and takes the other's for the answer.
pub fn open_close_by_both_at_once_goes_through(adapter: &impl Adapter) {
    let mut kit = Kit::open(adapter);
    kit.subject.close(1000, "mine");
    kit.give(&frame::close(1001, "yours"));
    let close = kit.frame();
    assert!(
        [frame::close(1000, "mine"), frame::close(1001, "")].contains(&close),
        "{close:?}"
    );
    let ended = kit.finish();
    assert!(ended.is_clean(), "{ended}");
    assert_eq!(ended.code().as_u16(), 1001, "{ended}");
}

/// What was sent before the Close goes first.
pub fn open_messages_before_a_close_by_this_side_go_first(adapter: &impl Adapter) {
    let mut kit = Kit::open(adapter);
    let message = Told::Binary(payload(1000));
    for _ in 0..100 {
        kit.subject.send(message.clone());
    }
    kit.subject.close(1000, "");
    for _ in 0..100 {
        assert_eq!(kit.message(), message);
    }
    assert_eq!(kit.frame(), frame::close(1000, ""));
    kit.give(&frame::close(1000, ""));
    assert_eq!(kit.finish(), closed(1000, Side::Local));
}

/// FR18: what comes before a Close is told, and nothing that comes behind it.
pub fn open_messages_before_a_close_by_the_peer_are_told(adapter: &impl Adapter) {
    let mut kit = Kit::open(adapter);
    let message = frame::binary(payload(1000));
    let mut frames = vec![message.clone(); 20];
    frames.push(frame::close(1000, ""));
    frames.push(frame::text("behind"));
    let bytes = kit.encode_all(&frames);
    kit.subject.give(&bytes);
    for _ in 0..20 {
        assert_eq!(kit.told(), told(&message));
    }
    assert_eq!(kit.frame(), frame::close(1000, ""));
    assert_eq!(kit.finish(), closed(1000, Side::Remote));
}

/// What breaks the protocol, with the code of the Close that says so.
fn violations(adapter: &impl Adapter) -> Vec<(Vec<u8>, u16, ProtocolViolation)> {
    use ProtocolViolation::*;
    let is_client = adapter.is_client();
    // The first reserved bit says that a message is compressed.
    let reserved = if adapter.compresses() { 0xA1 } else { 0xC1 };
    let key = |masks: bool| masks.then_some(frame::KEY);
    let one = |frame: Frame| frame.encode(key(!is_client));
    let wrongly_masked = if is_client { Masked } else { Unmasked };
    vec![
        (
            frame::text("x").encode(key(is_client)),
            1002,
            wrongly_masked,
        ),
        (one(frame::frame(reserved, "x")), 1002, ReservedBit),
        (one(frame::frame(0x83, "")), 1002, ReservedOpCode),
        (one(frame::frame(0x09, "")), 1002, FragmentedControl),
        (one(frame::continuation("x")), 1002, NothingToContinue),
        (one(frame::text(b"\xC0\xAF")), 1007, InvalidUtf8),
        (one(frame::frame(0x88, [3])), 1002, TruncatedCloseCode),
        (
            one(frame::close(1005, "")),
            1002,
            InvalidCloseCode(CloseCode::NO_STATUS_RECEIVED),
        ),
    ]
}

/// CL17: the peer is told, and what it still sends is dropped.
pub fn open_violation_is_told_by_a_close_and_ends(adapter: &impl Adapter) {
    for (bytes, code, violation) in violations(adapter) {
        let mut kit = Kit::open(adapter);
        kit.subject.give(&bytes);
        kit.give(&frame::text("behind"));
        assert_eq!(kit.frame().close_code(), Some(code), "{violation}");
        kit.half_ends();
        kit.give(&frame::text("behind it all"));
        kit.subject.end();
        assert_eq!(kit.ended(), Ended::Violation(violation));
    }
}

/// A violation in the same read as messages before it.
pub fn open_violation_behind_messages_they_are_told(adapter: &impl Adapter) {
    let mut kit = Kit::open(adapter);
    let mut bytes = kit.encode(&frame::text("one"));
    bytes.extend(kit.encode(&frame::text("two")));
    bytes.extend(kit.encode(&frame::frame(0x83, "")));
    kit.subject.give(&bytes);
    assert_eq!(kit.told(), Told::Text("one".to_owned()));
    assert_eq!(kit.told(), Told::Text("two".to_owned()));
    assert_eq!(kit.frame().close_code(), Some(1002));
    kit.half_ends();
    kit.subject.end();
    let violation = ProtocolViolation::ReservedOpCode;
    assert_eq!(kit.ended(), Ended::Violation(violation));
}

/// CL18: what came before the end is told.
pub fn open_end_of_input_ends(adapter: &impl Adapter) {
    let mut kit = Kit::open(adapter);
    kit.give(&frame::text("last"));
    kit.subject.end();
    assert_eq!(kit.told(), Told::Text("last".to_owned()));
    kit.half_ends();
    let violation = ProtocolViolation::UnexpectedEof;
    assert_eq!(kit.ended(), Ended::Violation(violation));
}

/// CL18: half a message is none.
pub fn open_end_of_input_within_a_message_ends(adapter: &impl Adapter) {
    let bytes = Kit::open(adapter).encode(&frame::text("a message"));
    for len in [1, 4, bytes.len() - 1] {
        let mut kit = Kit::open(adapter);
        kit.subject.give(&bytes[..len]);
        kit.subject.end();
        kit.half_ends();
        let violation = ProtocolViolation::UnexpectedEof;
        assert_eq!(kit.ended(), Ended::Violation(violation));
    }
}

/// One that says nothing is asked, and given up if it does not answer.
pub fn open_silent_peer_is_pinged_and_given_up(adapter: &impl Adapter) {
    if !adapter.keeps_time() {
        return;
    }
    let tick = adapter.tick();
    let mut kit = Kit::with_timeouts(
        adapter,
        Timeouts {
            keepalive: Some(2 * tick),
            pong: Some(2 * tick),
            ..Timeouts::DEFAULT
        },
    );
    assert_eq!(kit.frame(), frame::ping(""));
    assert_eq!(kit.ended(), Ended::TimedOut(Deadline::Pong));
    kit.half_ends();
}

/// One that says nothing but answers is kept.
pub fn open_silent_peer_that_answers_pings_is_kept(adapter: &impl Adapter) {
    if !adapter.keeps_time() {
        return;
    }
    let tick = adapter.tick();
    let mut kit = Kit::with_timeouts(
        adapter,
        Timeouts {
            keepalive: Some(tick),
            pong: Some(50 * tick),
            ..Timeouts::DEFAULT
        },
    );
    for _ in 0..3 {
        assert_eq!(kit.frame(), frame::ping(""));
        kit.give(&frame::pong(""));
    }
    kit.give(&frame::close(1000, ""));
    assert_eq!(kit.frame_but_pings(), frame::close(1000, ""));
    assert_eq!(kit.finish(), closed(1000, Side::Remote));
}

/// One that takes nothing is given up, though it talks all the time.
pub fn open_peer_that_takes_nothing_is_given_up(adapter: &impl Adapter) {
    if !adapter.keeps_time() {
        return;
    }
    let tick = adapter.tick();
    let mut kit = Kit::with_timeouts(
        adapter,
        Timeouts {
            write: Some(2 * tick),
            max_grace: tick,
            ..Timeouts::DEFAULT
        },
    );
    kit.takes = 0;
    let len = adapter.max_message_len().min(60_000);
    for _ in 0..=adapter.more_than_fits() / len {
        kit.subject.send(Told::Binary(payload(len)));
    }
    let ended = kit.until("an end", |kit| {
        if kit.subject.ended().is_none() {
            kit.give(&frame::pong(""));
        }
        kit.subject.ended()
    });
    assert_eq!(ended, Ended::TimedOut(Deadline::Write));
}

/// The application's own pause is no evidence against the peer.
pub fn open_application_that_does_not_read_gives_nobody_up(adapter: &impl Adapter) {
    if !adapter.keeps_time() {
        return;
    }
    let tick = adapter.tick();
    let mut kit = Kit::with_timeouts(
        adapter,
        Timeouts {
            idle: Some(6 * tick),
            keepalive: Some(tick),
            pong: Some(4 * tick),
            ..Timeouts::DEFAULT
        },
    );
    if !kit.subject.read(false) {
        return;
    }
    kit.give(&frame::text("meanwhile"));
    for _ in 0..20 {
        kit.subject.wait(tick / 2);
        kit.pull();
        assert_eq!(kit.subject.ended(), None);
    }
    kit.subject.read(true);
    assert_eq!(kit.told(), Told::Text("meanwhile".to_owned()));
    kit.subject.close(1000, "");
    kit.give(&frame::close(1000, ""));
    assert_eq!(kit.frame_but_pings(), frame::close(1000, ""));
    assert!(kit.finish().is_clean());
}

/// One that reads slowly loses nothing, and is not pinged to death.
pub fn open_slow_reader_gets_everything(adapter: &impl Adapter) {
    let mut kit = Kit::with_timeouts(adapter, slow(adapter));
    kit.takes = 1000;
    let message = Told::Binary(payload(3000));
    for _ in 0..60 {
        kit.subject.send(message.clone());
    }
    for _ in 0..60 {
        assert_eq!(kit.message(), message);
        kit.subject.wait(adapter.tick() / 50);
    }
    kit.give(&frame::close(1000, ""));
    assert_eq!(kit.frame_but_pings(), frame::close(1000, ""));
    assert_eq!(kit.finish(), closed(1000, Side::Remote));
}

/// Short times, and a rate that each reader in these cases has.
fn slow(adapter: &impl Adapter) -> Timeouts {
    let tick = adapter.tick();
    Timeouts {
        keepalive: Some(tick),
        pong: Some(tick),
        write: Some(tick),
        close: Some(tick),
        max_grace: 300 * tick,
        ..Timeouts::DEFAULT
    }
}

/// Neither side waits for the other one to read.
pub fn open_both_sides_at_once_get_everything(adapter: &impl Adapter) {
    let mut kit = Kit::open(adapter);
    let len = adapter.max_message_len().min(50_000);
    let count = 1 + adapter.more_than_fits() / len;
    let message = frame::binary(payload(len));
    for _ in 0..count {
        kit.subject.send(told(&message));
        kit.give(&message);
    }
    for _ in 0..count {
        assert_eq!(kit.told(), told(&message));
        assert_eq!(kit.message(), told(&message));
    }
    kit.subject.close(1000, "");
    assert_eq!(kit.frame(), frame::close(1000, ""));
    kit.give(&frame::close(1000, ""));
    assert_eq!(kit.finish(), closed(1000, Side::Local));
}

/// All that a peer may send, and what of it is told.
fn session(kit: &Kit<'_, impl Adapter>) -> (Vec<u8>, Vec<Told>) {
    let euro = "€".as_bytes();
    let frames = [
        frame::text("Hello"),
        frame::frame(0x01, &euro[..2]),
        frame::ping("between"),
        frame::continuation(&euro[2..]),
        frame::binary(""),
        frame::binary(payload(126)),
        frame::text(text(300)),
        frame::frame(0x02, ""),
        frame::continuation("end"),
        frame::close(3000, "bye"),
    ];
    let told = [
        Told::Text("Hello".to_owned()),
        Told::Text("€".to_owned()),
        Told::Binary(Vec::new()),
        Told::Binary(payload(126)),
        Told::Text(text(300)),
        Told::Binary(b"end".to_vec()),
    ];
    (kit.encode_all(&frames), told.into())
}

fn session_is_told<A: Adapter>(mut kit: Kit<'_, A>, expected: Vec<Told>) {
    for expected in expected {
        assert_eq!(kit.told(), expected);
    }
    assert_eq!(kit.frame(), frame::pong("between"));
    assert_eq!(kit.frame(), frame::close(3000, ""));
    assert_eq!(kit.finish(), closed(3000, Side::Remote));
}

/// FR16: a stream that comes at once.
pub fn open_everything_in_one_read(adapter: &impl Adapter) {
    let mut kit = Kit::open(adapter);
    let (bytes, told) = session(&kit);
    kit.subject.give(&bytes);
    session_is_told(kit, told);
}

/// FR16: the same stream byte by byte.
pub fn open_each_byte_in_a_read_of_its_own(adapter: &impl Adapter) {
    let mut kit = Kit::open(adapter);
    let (bytes, told) = session(&kit);
    kit.subject.trickle(&bytes);
    session_is_told(kit, told);
}

// ---- a connection that ends ----

/// CL21: the time for the answer is limited.
pub fn closing_peer_that_does_not_answer_is_given_up(adapter: &impl Adapter) {
    if !adapter.keeps_time() {
        return;
    }
    let mut kit = Kit::with_timeouts(
        adapter,
        Timeouts {
            close: Some(2 * adapter.tick()),
            ..Timeouts::DEFAULT
        },
    );
    kit.subject.close(1000, "");
    assert_eq!(kit.frame(), frame::close(1000, ""));
    assert_eq!(kit.ended(), Ended::TimedOut(Deadline::Close));
    kit.half_ends();
}

/// What is on its way when this side closes is told, and the peer's Close comes behind it.
pub fn closing_peer_that_sends_on_is_heard_until_its_close(adapter: &impl Adapter) {
    let mut kit = Kit::open(adapter);
    kit.subject.close(1000, "");
    assert_eq!(kit.frame(), frame::close(1000, ""));
    for _ in 0..50 {
        kit.give(&frame::binary(payload(1000)));
    }
    kit.give(&frame::close(1000, ""));
    let is_client = adapter.is_client();
    if is_client {
        kit.subject.end();
    }
    kit.half_ends();
    if !is_client {
        kit.subject.end();
    }
    // Whether the application still hears them is the adapter's choice.
    kit.told.clear();
    assert_eq!(kit.ended(), closed(1000, Side::Local));
}

/// The time for the Close begins when it has left, and what was sent before takes what it takes.
pub fn closing_slow_reader_gets_everything_before_the_close(adapter: &impl Adapter) {
    let mut kit = Kit::with_timeouts(adapter, slow(adapter));
    kit.takes = 1000;
    let message = Told::Binary(payload(3000));
    for _ in 0..60 {
        kit.subject.send(message.clone());
    }
    kit.subject.close(1000, "");
    for count in 0..60 {
        assert_eq!(kit.message(), message);
        kit.subject.wait(adapter.tick() / 50);
        if count % 10 == 0 {
            kit.give(&frame::pong("a word"));
        }
    }
    assert_eq!(kit.frame_but_pings(), frame::close(1000, ""));
    kit.give(&frame::close(1000, ""));
    assert_eq!(kit.finish(), closed(1000, Side::Local));
}
