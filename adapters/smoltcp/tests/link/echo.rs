//! Messages through an echo, both roles.

use motews::handshake::{Request, ResponseEvent};
use motews::{CloseCode, DataKind, Event};
use motews_smoltcp::{ClientEvent, ClientSocket, End, ServerSocket};
use smoltcp::socket::tcp::Socket;
use smoltcp::time::{Duration, Instant};

use crate::support::{CONFIG, Faults, Net, Random, poll_echo};

/// A client that sends messages one after the other, and demands each back whole.
pub(crate) struct Sender {
    pub(crate) messages: Vec<(DataKind, Vec<u8>)>,
    pub(crate) sent: (usize, usize),
    pub(crate) received: Vec<(DataKind, Vec<u8>)>,
    whole: bool,
    pub(crate) end: Option<End>,
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

    pub(crate) fn poll<const LINE: usize>(
        &mut self,
        client: &mut ClientSocket<'_, Random, LINE>,
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
                ClientEvent::Response(ResponseEvent::Done { subprotocol }) => {
                    assert_eq!(subprotocol, None);
                }
                ClientEvent::Ended(end) => self.end = Some(end),
                _ => {}
            }
        }
        while let Some((kind, message)) = self.messages.get(self.sent.0) {
            if client.send_room(tcp) == 0 {
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
        if i % 2 == 0 {
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
    let mut random = Random(7);
    let request = Request::new("10.0.0.1", "/echo", &mut random).unwrap();
    let mut client: ClientSocket<'_, _> = ClientSocket::new(&CONFIG, request, random, net.now);
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
    assert_eq!(sender.end, Some(End::Closed(CloseCode::NORMAL)));
    assert_eq!(end, Some(End::Closed(CloseCode::NORMAL)));
}

#[test]
fn open_echo_rings_of_ordinary_size_returns_every_message() {
    echo(
        [1024, 1024, 1024, 1024],
        messages(200, 2000, &mut Random(1)),
    );
}
