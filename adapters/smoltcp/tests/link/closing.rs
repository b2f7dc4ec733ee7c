//! How connections end, and when.

use motews::Side::{Local, Remote};
use motews::handshake::Request;
use motews::{CloseCode, DataKind, Deadline, Ended, Event, ProtocolViolation};
use motews_smoltcp::{ClientSocket, Config, ServerEvent};
use smoltcp::socket::tcp::State;
use smoltcp::time::{Duration, Instant};

use crate::echo::Sender;
use crate::support::{
    ACCEPTED, CONFIG, Faults, Net, REQUEST, Random, Raw, Rig, Server, closed, masked, poll_echo,
};

/// CL06: the server's Close, then its FIN; only then the client's.
#[test]
fn open_close_received_is_answered_and_the_server_ends_tcp_first() {
    let mut rig = Rig::open(200, 200);
    rig.raw.closes = false;
    rig.raw.send(masked(0x88, b"\x03\xe8bye"));
    let fin = |rig: &mut Rig| rig.net.client.tcp(rig.raw.handle).state() == State::CloseWait;
    assert!(rig.run(1, fin));
    assert_eq!(rig.raw.take(), b"\x88\x02\x03\xe8");
    assert_eq!(rig.end, None, "it waits for the client's FIN");
    let closed_at = rig.net.now;
    rig.net.client.tcp(rig.raw.handle).close();
    assert_eq!(rig.run_to_end(1), closed(Remote, CloseCode::NORMAL));
    assert!(rig.ended_at - closed_at < Duration::from_millis(50));
}

#[test]
fn open_close_sent_ends_with_the_peer_s() {
    let mut rig = Rig::open(200, 200);
    rig.server.close(CloseCode::GOING_AWAY, "restart").unwrap();
    assert!(rig.run(1, |rig| rig.raw.received == b"\x88\x09\x03\xe9restart"));
    rig.raw.send(masked(0x88, b"\x03\xe9"));
    assert_eq!(rig.run_to_end(1), closed(Local, CloseCode::GOING_AWAY));
}

/// CL21: the deadline of closing is not lengthened by what the peer sends.
#[test]
fn closing_peer_that_never_closes_is_reset() {
    let mut rig = Rig::open(200, 200);
    rig.server.close(CloseCode::NORMAL, "").unwrap();
    let start = rig.net.now;
    let mut next = start;
    let ended = rig.run(20, |rig| {
        if rig.net.now > next {
            rig.raw.send(masked(0x82, b"more"));
            next = rig.net.now + Duration::from_secs(1);
        }
        rig.end.is_some()
    });
    assert!(ended);
    assert_eq!(rig.end, Some(Ended::TimedOut(Deadline::Close)));
    // A second is what the peer may take to read the response and the Close.
    assert!((5_000..6_200).contains(&(rig.net.now - start).total_millis()));
    rig.run(1, |rig| {
        rig.net.client.tcp(rig.raw.handle).state() == State::Closed
    });
    assert_eq!(
        rig.net.client.tcp(rig.raw.handle).state(),
        State::Closed,
        "reset"
    );
}

/// A peer that never sends its FIN: the connection was closed cleanly, and TCP is reset.
#[test]
fn closed_peer_that_never_ends_tcp_is_reset() {
    let mut rig = Rig::open(200, 200);
    rig.raw.closes = false;
    rig.raw.send(masked(0x88, &[]));
    let start = rig.net.now;
    assert_eq!(
        rig.run_to_end(20),
        closed(Remote, CloseCode::NO_STATUS_RECEIVED)
    );
    assert!((1000..1200).contains(&(rig.ended_at - start).total_millis()));
}

/// CL16: a violation is told with its code, and then the server ends TCP.
#[test]
fn open_violation_is_told_and_ends_the_connection() {
    let mut rig = Rig::open(200, 200);
    rig.raw.send(b"\x81\x03abc"); // FR03
    rig.raw.send([0; 5000]);
    assert_eq!(
        rig.run_to_end(3),
        Ended::Violation(ProtocolViolation::Unmasked)
    );
    assert_eq!(rig.raw.take(), b"\x88\x02\x03\xea");
}

/// MS11
#[test]
fn open_invalid_text_in_mid_frame_fails_at_once() {
    let mut rig = Rig::open(200, 200);
    let mut text = masked(0x81, b"abc\xff");
    text[1] |= 0x7D; // 125 octets announced, four sent
    rig.raw.send(&text);
    assert!(rig.run(1, |rig| rig.raw.received.ends_with(b"\x88\x02\x03\xef")));
    assert_eq!(rig.raw.take(), b"\x88\x02\x03\xef");
}

/// CL18
#[test]
fn open_tcp_that_ends_without_a_close_is_a_failure() {
    let mut rig = Rig::open(200, 200);
    rig.net.client.tcp(rig.raw.handle).close();
    assert_eq!(
        rig.run_to_end(1),
        Ended::Violation(ProtocolViolation::UnexpectedEof)
    );

    let mut rig = Rig::open(200, 200);
    rig.net.client.tcp(rig.raw.handle).abort();
    assert_eq!(rig.run_to_end(1), Ended::Lost);
}

#[test]
fn open_silent_peer_is_pinged_and_then_reset() {
    let mut rig = Rig::open(200, 200);
    let start = rig.net.now;
    assert!(rig.run(31, |rig| rig.raw.received == b"\x89\x00"));
    assert!((29_900..30_200).contains(&(rig.net.now - start).total_millis()));
    assert_eq!(rig.run_to_end(11), Ended::TimedOut(Deadline::Pong));
}

#[test]
fn open_peer_that_pongs_stays() {
    let mut rig = Rig::open(200, 200);
    for _ in 0..100 {
        assert!(rig.run(31, |rig| rig.raw.received == b"\x89\x00"));
        rig.raw.take();
        rig.raw.send(masked(0x8A, &[]));
    }
    assert_eq!(rig.end, None);
}

#[test]
fn open_peer_without_messages_is_told_that_it_is_idle() {
    static IDLE: Config<'static> = {
        let mut config = Config::DEFAULT;
        config.timeouts.idle = Some(60_000);
        config
    };
    let mut net = Net::new(Faults::default(), 3);
    let listener = net.server.listener(200, 200, 80);
    let socket = net.client.socket(200, 200);
    let address = net.server.address;
    net.client.connect(socket, address, 80);
    let mut server = Server::new(&IDLE);
    let random = Random(7);
    let request = Request::new("10.0.0.1", "/").unwrap();
    let mut client: ClientSocket<'_, _> =
        ClientSocket::new(&CONFIG, request, random, net.now).unwrap();
    // It never has its message back whole, so it never closes.
    let mut sender = Sender::new(Vec::new());
    sender.received.push((DataKind::Text, Vec::new()));
    let mut end = None;
    net.run(Duration::from_secs(100), |net| {
        end = end.or(poll_echo(&mut server, net.server.tcp(listener), net.now));
        sender.poll(&mut client, net.client.tcp(socket), net.now);
        end.is_some() && sender.end.is_some()
    });
    assert_eq!(end, Some(closed(Local, CloseCode::GOING_AWAY)));
    assert_eq!(sender.end, Some(closed(Remote, CloseCode::GOING_AWAY)));
    assert!(
        (60_000..60_500).contains(&net.now.total_millis()),
        "{}",
        net.now
    );
}

/// CL07: a client waits for the server to end TCP, for a limited time only.
#[test]
fn closed_client_waits_for_the_server_s_fin_and_not_for_ever() {
    for server_closes in [true, false] {
        let mut net = Net::new(Faults::default(), 3);
        let listener = net.server.listener(500, 500, 80);
        let socket = net.client.socket(200, 200);
        let address = net.server.address;
        net.client.connect(socket, address, 80);
        let mut server = Server::new(&CONFIG);
        let random = Random(7);
        let request = Request::new("10.0.0.1", "/").unwrap();
        let mut client: ClientSocket<'_, _> =
            ClientSocket::new(&CONFIG, request, random, net.now).unwrap();
        let mut sender = Sender::new(Vec::new());
        let mut stopped = Instant::ZERO;
        net.run(Duration::from_secs(100), |net| {
            if net.server.tcp(listener).state() == State::Established || server_closes {
                _ = poll_echo(&mut server, net.server.tcp(listener), net.now);
            }
            sender.poll(&mut client, net.client.tcp(socket), net.now);
            if stopped == Instant::ZERO && !client.is_open() && net.client.tcp(socket).may_recv() {
                stopped = net.now;
            }
            sender.end.is_some()
        });
        assert_eq!(sender.end, Some(closed(Local, CloseCode::NORMAL)));
        assert!(net.now.total_millis() < 5500);
    }
}

/// What goes out of itself while a message is read takes none of the room that was there for the
/// answer.
#[test]
fn open_message_when_a_ping_is_due_finds_the_room_that_was_told() {
    let mut rig = Rig::open(600, 256);
    let frame = masked(0x82, &[7; 400]);
    rig.raw.send(&frame[..100]);
    assert!(rig.run(1, |rig| rig.raw.received.len() == 2 + 92));
    rig.raw.send(&frame[100..]);
    let late = rig.net.now + Duration::from_secs(31);
    while rig.net.now < late {
        rig.raw.poll(&mut rig.net.client);
        rig.net.step();
    }
    // The echo sends what it had room for, and no less.
    rig.run(1, |_| false);
    let payload = rig.raw.received.iter().filter(|octet| **octet == 7).count();
    assert_eq!((payload, rig.end), (400, None));
}

/// A Close for which there is no TCP any more is not waited for.
#[test]
fn failed_reset_before_the_close_is_out_ends_at_once_and_says_why() {
    let mut rig = Rig::open(200, 200);
    rig.raw.reads = false;
    rig.raw.send(masked(0x82, &[9; 20_000]));
    rig.run(2, |_| false);
    let tcp = rig.net.server.tcp(rig.listener);
    tcp.send_slice(&[0; 200]).unwrap(); // There is no room for a Close.
    rig.server.fail(ProtocolViolation::MessageTooBig);
    rig.run(1, |_| false);
    assert_eq!(rig.end, None);
    rig.net.client.tcp(rig.raw.handle).abort();
    assert_eq!(
        rig.run_to_end(1),
        Ended::Violation(ProtocolViolation::MessageTooBig)
    );
}

/// The same where the Close would have been the answer to the peer's.
#[test]
fn closing_reset_before_the_answer_is_out_ends_at_once() {
    let mut rig = Rig::open(200, 200);
    rig.raw.reads = false;
    let end = rig.net.now + Duration::from_secs(2);
    while rig.net.now < end {
        let tcp = rig.net.server.tcp(rig.listener);
        _ = rig
            .server
            .send_fragment(tcp, DataKind::Binary, &[0; 190], false);
        rig.raw.poll(&mut rig.net.client);
        rig.net.step();
    }
    let tcp = rig.net.server.tcp(rig.listener);
    tcp.send_slice(&[0; 200]).unwrap(); // There is no room for a Close.
    rig.raw.send(masked(0x88, b"\x03\xe8"));
    let (mut closed, mut ended) = (false, None);
    let end = rig.net.now + Duration::from_secs(2);
    while rig.net.now < end && ended.is_none() {
        let (tcp, now) = (rig.net.server.tcp(rig.listener), rig.net.now);
        while let Some(event) = rig.server.poll(tcp, now, 100) {
            match event {
                ServerEvent::Received(Event::Close(_)) => closed = true,
                ServerEvent::Ended(end) => ended = Some(end),
                _ => {}
            }
        }
        if closed {
            rig.net.client.tcp(rig.raw.handle).abort();
        }
        rig.raw.poll(&mut rig.net.client);
        rig.net.step();
    }
    let not_clean = Ended::Closed {
        code: CloseCode::NORMAL,
        by: Remote,
        clean: false,
    };
    assert_eq!(ended, Some(not_clean));
}

/// A peer that is unplugged cannot be told of the reset. That is waited for a second, and
/// `poll_at` says when it is over.
#[test]
fn reset_peer_out_of_reach_the_socket_listens_again_when_poll_at_says() {
    let mut rig = Rig::open(200, 200);
    rig.server.close(CloseCode::NORMAL, "").unwrap();
    let (tcp, now) = (rig.net.server.tcp(rig.listener), rig.net.now);
    assert_eq!(poll_echo(&mut rig.server, tcp, now), None);
    let due = rig.server.poll_at(now).unwrap();
    let end = poll_echo(&mut rig.server, tcp, due);
    assert_eq!(end, Some(Ended::TimedOut(Deadline::Write)));
    assert_eq!(poll_echo(&mut rig.server, tcp, due), None);
    assert_eq!(tcp.state(), State::Closed, "the reset is not out");

    let again = rig
        .server
        .poll_at(due)
        .expect("there is something to wait for");
    assert_eq!(again, due + Duration::from_secs(1));
    assert_eq!(poll_echo(&mut rig.server, tcp, again), None);
    assert_eq!(tcp.state(), State::Listen);
    assert_eq!(rig.server.poll_at(now), None);
}

/// A caller who has the socket listen by himself after a connection does no harm.
#[test]
fn ended_socket_that_the_caller_has_listen_serves_the_next_one() {
    let mut rig = Rig::open(300, 300);
    rig.raw.send(masked(0x88, &[]));
    rig.run_to_end(1);
    rig.net.server.tcp(rig.listener).listen(80).unwrap();
    rig.raw = Raw::connect(&mut rig.net, 500);
    rig.raw.send(REQUEST);
    for _ in 0..50 {
        rig.raw.poll(&mut rig.net.client);
        rig.net.step(); // The request arrives before the next poll.
    }
    assert!(rig.run(1, |rig| rig.raw.received == ACCEPTED.as_bytes()));
}
