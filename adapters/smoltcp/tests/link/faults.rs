//! Bad wires: every message comes through whole, or the connection fails and says so.

use motews::Side::Local;
use motews::handshake::Request;
use motews::{CloseCode, DataKind, Ended};
use motews_smoltcp::ClientSocket;
use smoltcp::time::Duration;

use crate::echo::{Sender, messages};
use crate::support::{CONFIG, Faults, Net, Random, Server, closed, poll_echo};

/// So much simulated time of messages over a bad wire, connection after connection. Returns how
/// many messages came back, and how many connections there were, clean and failed.
fn hour(faults: Faults, mtu: usize, rings: [usize; 2], seed: u64) -> (usize, usize, usize) {
    let mut net = Net::with_mtu(faults, seed, mtu);
    let [rx, tx] = rings;
    let listeners = [0; 3].map(|_| net.server.listener(rx, tx, 80));
    let mut servers = listeners.map(|_| Server::new(&CONFIG));
    let mut random = Random(seed);
    let (mut back, mut clean, mut failed) = (0, 0, 0);
    let hour = Duration::from_secs(3600);
    while net.now.total_millis() < hour.total_millis() as i64 {
        let socket = net.client.socket(rx, tx);
        let address = net.server.address;
        net.client.connect(socket, address, 80);
        let request = Request::new("10.0.0.1", "/").unwrap();
        let mut sender = Sender::new(messages(30, 600, &mut random));
        let mut client: ClientSocket<'_, _> =
            ClientSocket::new(&CONFIG, request, random.clone(), net.now).unwrap();
        let done = net.run(Duration::from_secs(600), |net| {
            for (server, listener) in servers.iter_mut().zip(listeners) {
                _ = poll_echo(server, net.server.tcp(listener), net.now);
            }
            // Each message that comes back whole is compared with what was sent.
            sender.poll(&mut client, net.client.tcp(socket), net.now);
            sender.end.is_some()
        });
        assert!(done, "it ends, well or badly");
        back += sender.back();
        match sender.end {
            Some(end) if end.is_clean() => {
                assert_eq!(end, closed(Local, CloseCode::NORMAL));
                assert_eq!(sender.back(), sender.messages.len());
                clean += 1;
            }
            Some(
                Ended::TimedOut(_)
                | Ended::Lost
                | Ended::Violation(motews::ProtocolViolation::UnexpectedEof),
            ) => {
                failed += 1;
            }
            end => panic!("{end:?}: the wire cannot do that"),
        }
        net.client.sockets.remove(socket);
        net.run(Duration::from_secs(5), |net| {
            for (server, listener) in servers.iter_mut().zip(listeners) {
                _ = poll_echo(server, net.server.tcp(listener), net.now);
            }
            false
        });
    }
    (back, clean, failed)
}

/// An hour of messages, with what there is to say about it.
fn judge(faults: Faults, mtu: usize, rings: [usize; 2]) {
    let (back, clean, failed) = hour(faults, mtu, rings, 0x5EED);
    println!("{faults:?}: {back} messages, {clean} connections closed, {failed} failed");
    assert!(clean > 2 * failed && back > 1000);
}

#[test]
fn bad_wire_that_drops_an_hour_of_messages_is_whole_or_cleanly_failed() {
    let faults = Faults {
        drop: 15,
        ..Faults::default()
    };
    judge(faults, 1500, [1024, 1024]);
}

#[test]
fn bad_wire_that_corrupts_an_hour_of_messages_is_whole_or_cleanly_failed() {
    let faults = Faults {
        corrupt: 10,
        ..Faults::default()
    };
    judge(faults, 1500, [1024, 1024]);
}

#[test]
fn bad_wire_that_duplicates_and_reorders_an_hour_of_messages_is_whole() {
    let faults = Faults {
        duplicate: 20,
        reorder: 30,
        ..Faults::default()
    };
    judge(faults, 576, [2048, 2048]);
}

#[test]
fn bad_wire_with_every_fault_an_hour_of_messages_is_whole_or_cleanly_failed() {
    let faults = Faults {
        drop: 15,
        corrupt: 5,
        duplicate: 10,
        reorder: 20,
        latency: 20,
    };
    judge(faults, 576, [700, 300]);
}

#[test]
fn bad_wire_with_tiny_windows_an_hour_of_messages_is_whole_or_cleanly_failed() {
    let faults = Faults {
        drop: 5,
        latency: 5,
        ..Faults::default()
    };
    // Here some fail: the transmit rings are larger than the peer's receive rings, which smoltcp does
    // not bear (the crate's documentation has the reason).
    judge(faults, 1500, [37, 137]);
}

#[test]
fn bad_wire_with_transmit_rings_no_larger_than_the_windows_none_fails() {
    let faults = Faults {
        drop: 5,
        latency: 5,
        ..Faults::default()
    };
    let (back, clean, failed) = hour(faults, 1500, [137, 137], 0x5EED);
    assert!(failed == 0 && back > 1000, "{back}, {clean}, {failed}");
}

/// What no wire changes: an empty message stays one.
#[test]
fn bad_wire_empty_messages_are_counted() {
    let faults = Faults {
        drop: 10,
        duplicate: 10,
        ..Faults::default()
    };
    let mut net = Net::new(faults, 77);
    let listener = net.server.listener(150, 150, 80);
    let socket = net.client.socket(150, 150);
    let address = net.server.address;
    net.client.connect(socket, address, 80);
    let mut server = Server::new(&CONFIG);
    let random = Random(7);
    let request = Request::new("10.0.0.1", "/").unwrap();
    let mut client: ClientSocket<'_, _> =
        ClientSocket::new(&CONFIG, request, random, net.now).unwrap();
    let mut sender = Sender::new(vec![(DataKind::Text, Vec::new()); 50]);
    net.run(Duration::from_secs(600), |net| {
        _ = poll_echo(&mut server, net.server.tcp(listener), net.now);
        sender.poll(&mut client, net.client.tcp(socket), net.now);
        sender.end.is_some()
    });
    assert_eq!(sender.back(), 50);
}
