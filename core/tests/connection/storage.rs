//! Control slots made on demand, and let go when they hold nothing.

use core::cell::Cell;

use motews::{Connection, ControlSlots, ControlStorage, ProtocolViolation, Server};

use crate::support::{KEY, close, ping, pong, text};

thread_local! {
    static LIVE: Cell<usize> = const { Cell::new(0) };
}

#[derive(Debug, Default)]
struct OnDemand(Option<Box<ControlSlots>>);

impl ControlStorage for OnDemand {
    fn slots(&mut self) -> &mut ControlSlots {
        if self.0.is_none() {
            LIVE.set(LIVE.get() + 1);
        }
        self.0.get_or_insert_default()
    }

    fn release(&mut self) {
        if self.0.take().is_some() {
            LIVE.set(LIVE.get() - 1);
        }
    }
}

type OnServer = Connection<Server, OnDemand>;

fn receive(connection: &mut OnServer, bytes: &[u8]) -> Result<(), ProtocolViolation> {
    let mut bytes = bytes.to_vec();
    let mut input = &mut bytes[..];
    while connection.next_event(&mut input)?.is_some() {}
    Ok(())
}

fn transmit(connection: &mut OnServer) -> Vec<u8> {
    let mut out = [0; motews::MAX_CONTROL_LEN];
    let written = connection
        .poll_transmit(&mut out)
        .expect("a server needs no key");
    out[..written].to_vec()
}

#[test]
fn open_without_control_frames_has_no_slots() {
    let mut connection = OnServer::new(Server);
    assert_eq!(LIVE.get(), 0);
    receive(&mut connection, &text("a").encode(Some(KEY))).expect("valid");
    assert_eq!(connection.poll_transmit(&mut [0; 131]), Ok(0));
    assert_eq!(LIVE.get(), 0);
}

#[test]
fn open_ping_has_slots_until_the_pong_is_sent() {
    let mut connection = OnServer::new(Server);
    receive(&mut connection, &ping("p").encode(Some(KEY))).expect("valid");
    assert_eq!(LIVE.get(), 1);
    assert_eq!(transmit(&mut connection), pong("p").encode(None));
    assert_eq!(LIVE.get(), 0);
}

#[test]
fn open_split_control_frame_has_slots_until_it_is_whole() {
    let mut connection = OnServer::new(Server);
    let wire = pong("in two parts").encode(Some(KEY));
    let (head, tail) = wire.split_at(10);
    receive(&mut connection, head).expect("valid");
    assert_eq!(LIVE.get(), 1);
    assert_eq!(transmit(&mut connection), []);
    assert_eq!(LIVE.get(), 1, "what came of it is kept");
    receive(&mut connection, tail).expect("valid");
    assert_eq!(LIVE.get(), 0);
}

/// A pong that goes out while another control frame is arriving does not take its bytes along.
#[test]
fn open_pong_sent_within_a_split_ping_keeps_what_came_of_it() {
    let mut connection = OnServer::new(Server);
    receive(&mut connection, &ping("first").encode(Some(KEY))).expect("valid");
    let wire = ping("second").encode(Some(KEY));
    let (head, tail) = wire.split_at(9);
    receive(&mut connection, head).expect("valid");
    assert_eq!(transmit(&mut connection), pong("first").encode(None));
    assert_eq!(LIVE.get(), 1);
    receive(&mut connection, tail).expect("valid");
    assert_eq!(transmit(&mut connection), pong("second").encode(None));
    assert_eq!(LIVE.get(), 0);
}

#[test]
fn closing_reason_has_slots_until_it_is_sent() {
    let mut connection = OnServer::new(Server);
    connection
        .close(motews::CloseCode::NORMAL, "reason")
        .expect("open");
    assert_eq!(LIVE.get(), 1);
    receive(&mut connection, &ping("p").encode(Some(KEY))).expect("valid");
    assert_eq!(transmit(&mut connection), pong("p").encode(None));
    assert_eq!(LIVE.get(), 1, "the reason is kept");
    assert_eq!(
        transmit(&mut connection),
        close(1000, "reason").encode(None)
    );
    assert_eq!(LIVE.get(), 0);
}

#[test]
fn closing_without_a_reason_needs_no_slots() {
    let mut connection = OnServer::new(Server);
    connection
        .close(motews::CloseCode::NORMAL, "")
        .expect("open");
    assert_eq!(LIVE.get(), 0);
    assert_eq!(transmit(&mut connection), close(1000, "").encode(None));
    assert_eq!(LIVE.get(), 0);
}

#[test]
fn failed_has_no_slots_once_its_close_is_sent() {
    let mut connection = OnServer::new(Server);
    receive(&mut connection, &ping("p").encode(Some(KEY))).expect("valid");
    receive(&mut connection, &[0x83]).expect_err("a reserved opcode");
    assert_eq!(transmit(&mut connection), close(1002, "").encode(None));
    assert_eq!(LIVE.get(), 0);

    let mut connection = OnServer::new(Server);
    receive(&mut connection, &ping("p").encode(Some(KEY))).expect("valid");
    connection.receive_eof().expect_err("no Close came");
    assert_eq!(LIVE.get(), 0);
}

#[test]
fn closed_by_the_peer_has_no_slots_once_the_reply_is_sent() {
    let mut connection = OnServer::new(Server);
    receive(&mut connection, &ping("p").encode(Some(KEY))).expect("valid");
    receive(&mut connection, &close(1000, "bye").encode(Some(KEY))).expect("valid");
    assert_eq!(transmit(&mut connection), close(1000, "").encode(None));
    assert_eq!(LIVE.get(), 0);
}

/// The hot state fits into a cache line; the slots are two control frames and little more.
#[test]
fn connection_is_small() {
    assert!(size_of::<OnServer>() <= 64 + size_of::<usize>());
    assert!(size_of::<Connection<Server>>() <= 64 + 2 * 128);
}
