//! Messages through an echo, both roles.

use motews::Side::{Local, Remote};
use motews::handshake::{Request, ResponseEvent};
use motews::{CloseCode, DataKind, Ended, Event};
use motews_smoltcp::{ClientEvent, ClientSocket, ServerSocket};
use motews_testkit::frame::Frame;
use smoltcp::socket::tcp::Socket;
use smoltcp::time::{Duration, Instant};

use crate::support::{
    ACCEPTED, CONFIG, Faults, Net, REQUEST, Random, Raw, Rig, Server, closed, masked, poll_echo,
};

/// A client that sends messages one after the other, and demands each back whole.
pub(crate) struct Sender {
    pub(crate) messages: Vec<(DataKind, Vec<u8>)>,
    pub(crate) sent: (usize, usize),
    pub(crate) received: Vec<(DataKind, Vec<u8>)>,
    whole: bool,
    pub(crate) end: Option<Ended>,
}

impl Sender {
    pub(crate) fn new(messages: Vec<(DataKind, Vec<u8>)>) -> Self {
        Self {
            messages,
            sent: (0, 0),
            received: Vec::new(),
            whole: true,
            end: None,
        }
    }

    /// How many messages are back.
    pub(crate) fn back(&self) -> usize {
        self.received.len() - usize::from(!self.whole)
    }

    pub(crate) fn poll(
        &mut self,
        client: &mut ClientSocket<'_, Random>,
        tcp: &mut Socket<'_>,
        now: Instant,
    ) {
        while let Some(event) = client.poll(tcp, now, usize::MAX) {
            match event {
                ClientEvent::Received(Event::Data(chunk)) => {
                    assert_eq!(chunk.first, self.whole);
                    if chunk.first {
                        self.received.push((chunk.kind, Vec::new()));
                    }
                    let message = self.received.last_mut().unwrap();
                    message.1.extend_from_slice(chunk.bytes);
                    self.whole = chunk.last;
                    if chunk.last {
                        assert!(self.received.last() == self.messages.get(self.received.len() - 1));
                    }
                }
                ClientEvent::Response(ResponseEvent::Done(agreed)) => {
                    assert_eq!(agreed.subprotocol, None);
                }
                ClientEvent::Ended(end) => self.end = Some(end),
                _ => {}
            }
        }
        while let Some((kind, message)) = self.messages.get(self.sent.0) {
            if !client.is_open() || client.send_room(tcp) == 0 {
                break;
            }
            let rest = &message[self.sent.1..];
            let len = client.send_fragment(tcp, *kind, rest, true).unwrap();
            self.sent.1 += len;
            if self.sent.1 == message.len() {
                self.sent = (self.sent.0 + 1, 0);
            }
        }
        if self.back() == self.messages.len() && client.is_open() {
            client.close(CloseCode::NORMAL, "").unwrap();
        }
    }
}

/// Messages of both kinds and of any length up to `longest`.
pub(crate) fn messages(
    count: usize,
    longest: usize,
    random: &mut Random,
) -> Vec<(DataKind, Vec<u8>)> {
    let message = |i: usize| {
        let len = random.below(longest + 1);
        if i.is_multiple_of(2) {
            let text: String = "aö€𝄞".chars().cycle().skip(i).take(len / 3).collect();
            (DataKind::Text, text.into_bytes())
        } else {
            (
                DataKind::Binary,
                (0..len).map(|j| (i + j * 7) as u8).collect(),
            )
        }
    };
    (0..count).map(message).collect()
}

/// Echoes messages through rings of these sizes, the server's first, and demands a clean end.
fn echo(rings: [usize; 4], messages: Vec<(DataKind, Vec<u8>)>) {
    let mut net = Net::new(Faults::default(), 42);
    let [rx, tx, client_rx, client_tx] = rings;
    let listener = net.server.listener(rx, tx, 80);
    let socket = net.client.socket(client_rx, client_tx);
    let address = net.server.address;
    net.client.connect(socket, address, 80);

    let mut server: ServerSocket<'_> = ServerSocket::new(&CONFIG);
    let random = Random(7);
    let request = Request::new("10.0.0.1", "/echo").unwrap();
    let mut client: ClientSocket<'_, _> =
        ClientSocket::new(&CONFIG, request, random, net.now).unwrap();
    let mut sender = Sender::new(messages);
    let mut end = None;
    let done = net.run(Duration::from_secs(3600), |net| {
        end = end.or(poll_echo(&mut server, net.server.tcp(listener), net.now));
        sender.poll(&mut client, net.client.tcp(socket), net.now);
        end.is_some() && sender.end.is_some()
    });
    assert!(
        done,
        "{rings:?}: {} messages are back, {end:?}, {:?}",
        sender.back(),
        sender.end
    );
    assert_eq!(sender.back(), sender.messages.len());
    assert_eq!(sender.end, Some(closed(Local, CloseCode::NORMAL)));
    assert_eq!(end, Some(closed(Remote, CloseCode::NORMAL)));
}

#[test]
fn open_echo_rings_of_ordinary_size_returns_every_message() {
    echo(
        [1024, 1024, 1024, 1024],
        messages(200, 2000, &mut Random(1)),
    );
}

#[test]
fn open_echo_rings_tiny_and_odd_returns_every_message() {
    for rings in [
        [1, 131, 1, 131],
        [2, 131, 7, 137],
        [13, 149, 11, 139],
        [97, 133, 131, 257],
        [131, 131, 131, 131],
        [255, 191, 61, 301],
    ] {
        echo(rings, messages(40, 400, &mut Random(2)));
    }
}

#[test]
fn open_echo_message_250_times_the_rings_streams_through() {
    let mut random = Random(3);
    let mut message = |len| {
        (
            DataKind::Binary,
            (0..len).map(|_| random.next() as u8).collect(),
        )
    };
    echo([256, 256, 256, 256], vec![message(250 * 1024)]);
}

/// FR16: where TCP cuts the stream makes no difference.
#[test]
fn raw_client_every_split_gets_the_same_answer() {
    let mut stream = REQUEST.as_bytes().to_vec();
    stream.extend(masked(0x81, "Hellö".as_bytes()));
    stream.extend(masked(0x02, &[1; 30]));
    stream.extend(masked(0x89, b"ping"));
    stream.extend(masked(0x80, &[2; 130]));
    stream.extend(masked(0x88, &[0x03, 0xe8]));
    for at in 0..stream.len() {
        let mut rig = Rig::new(300, 512);
        let (one, two) = stream.split_at(at);
        rig.raw.send(one);
        let quiet = rig.net.now + Duration::from_millis(20);
        rig.run(1, |rig| rig.net.now > quiet);
        rig.raw.send(two);
        assert_eq!(rig.run_to_end(2), closed(Remote, CloseCode::NORMAL));
        let answer = rig.raw.take();
        let frames = answer.strip_prefix(ACCEPTED.as_bytes()).unwrap();
        let (messages, pongs) = unframe(frames);
        assert_eq!(
            messages,
            ["Hellö".as_bytes(), &[&[1; 30][..], &[2; 130]].concat()]
        );
        assert_eq!(pongs, [b"ping"]);
    }
}

/// The messages and the pongs in a server's stream that ends with Close 1000.
fn unframe(mut bytes: &[u8]) -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
    let (mut messages, mut pongs) = (vec![Vec::new()], Vec::new());
    while !bytes.is_empty() {
        let (Frame { first, payload }, key) = Frame::decode(&mut bytes);
        assert_eq!(key, None);
        match first & 0x0F {
            0x8 => assert_eq!((&payload[..], bytes), (&[0x03, 0xe8][..], &[][..])),
            0xA => pongs.push(payload),
            _ => {
                messages.last_mut().unwrap().extend(payload);
                if first & 0x80 != 0 {
                    messages.push(Vec::new());
                }
            }
        }
    }
    messages.pop();
    (messages, pongs)
}

/// CT01, MS04: a pong goes out in the midst of a message that is longer than the rings, and of its
/// echo.
#[test]
fn open_ping_within_a_large_message_is_answered_at_once() {
    let mut rig = Rig::open(256, 256);
    rig.raw.send(masked(0x02, &[7; 5000]));
    rig.raw.send(masked(0x89, b"now"));
    let answered = rig.run(1, |rig| {
        rig.raw
            .received
            .windows(5)
            .any(|part| part == b"\x8A\x03now")
    });
    assert!(answered);
    rig.raw.take();
    rig.raw.send(masked(0x80, &[8; 5000]));
    rig.raw.send(masked(0x88, &[]));
    assert_eq!(
        rig.run_to_end(1),
        closed(Remote, CloseCode::NO_STATUS_RECEIVED)
    );
}

/// When the transmit ring is full, the receive ring is not drained, and TCP holds the sender back.
#[test]
fn open_peer_that_does_not_read_is_held_back() {
    let mut rig = Rig::open(512, 512);
    rig.raw.reads = false;
    rig.raw.send(masked(0x82, &[9; 100_000]));
    let later = rig.net.now + Duration::from_secs(2);
    rig.run(3, |rig| rig.net.now > later);
    // What is not sent lies in: the server's rings, the client's rings.
    assert!(rig.raw.out.len() > 100_000 - 512 - 512 - 4096 - 4096 - 500);
    let tcp = rig.net.server.tcp(rig.listener);
    assert_eq!(tcp.recv_queue(), 512);
    assert_eq!(rig.server.send_room(rig.net.server.tcp(rig.listener)), 0);

    rig.raw.reads = true;
    rig.raw.send(masked(0x88, &[0x03, 0xe8]));
    assert_eq!(rig.run_to_end(10), closed(Remote, CloseCode::NORMAL));
    let (messages, _) = unframe(&rig.raw.take());
    assert!(messages == [[9; 100_000]]);
}

/// Several sockets on one interface, each with its own connection.
#[test]
fn sockets_side_by_side_do_not_disturb_each_other() {
    let mut net = Net::new(Faults::default(), 9);
    let mut servers = Vec::new();
    let mut clients = Vec::new();
    for i in 0..5 {
        let listener = net.server.listener(300 + i, 200 + i, 80);
        servers.push((listener, Server::new(&CONFIG), None));
        let socket = net.client.socket(200, 200);
        let address = net.server.address;
        net.client.connect(socket, address, 80);
        let mut random = Random(11 + i as u64);
        let request = Request::new("10.0.0.1", "/").unwrap();
        let sender = Sender::new(messages(20, 900, &mut random));
        let client: ClientSocket<'_, _> =
            ClientSocket::new(&CONFIG, request, random, net.now).unwrap();
        clients.push((socket, client, sender));
    }
    let done = net.run(Duration::from_secs(60), |net| {
        for (handle, server, end) in &mut servers {
            *end = end.or(poll_echo(server, net.server.tcp(*handle), net.now));
        }
        for (handle, client, sender) in &mut clients {
            sender.poll(client, net.client.tcp(*handle), net.now);
        }
        clients.iter().all(|(_, _, sender)| sender.end.is_some())
            && servers.iter().all(|(_, _, end)| end.is_some())
    });
    assert!(done);
    for (_, _, sender) in &clients {
        assert_eq!(sender.end, Some(closed(Local, CloseCode::NORMAL)));
        assert_eq!(sender.back(), 20);
    }
}

/// After a connection the socket listens again, hundreds of times.
#[test]
fn ended_socket_listens_again() {
    let mut rig = Rig::open(300, 300);
    for _ in 0..200 {
        rig.raw.send(masked(0x88, &[]));
        assert_eq!(
            rig.run_to_end(1),
            closed(Remote, CloseCode::NO_STATUS_RECEIVED)
        );
        let old = rig.raw.handle;
        rig.raw = Raw::connect(&mut rig.net, 4096);
        rig.net.client.sockets.remove(old);
        rig.end = None;
        rig.raw.send(REQUEST);
        assert!(
            rig.run(5, |rig| rig.raw.received.len() >= ACCEPTED.len()),
            "{}",
            rig.net.now
        );
        assert_eq!(rig.raw.take(), ACCEPTED.as_bytes());
    }
}
