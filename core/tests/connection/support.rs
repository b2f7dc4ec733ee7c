//! What the tests are written with: an [`Endpoint`] of either role that is given frames and tells what
//! it got.

use motews::{
    Client, CloseCode, Connection, ConnectionConfig, DataFrame, DataKind, Entropy, EntropyError,
    Event, FrameHeader, MAX_CONTROL_LEN, Message, ProtocolViolation, SendError, Server, State,
};
use motews_testkit::frame::header;
pub(crate) use motews_testkit::frame::{
    Frame, KEY, binary, close, continuation, empty_close, frame, ping, pong, text,
};

/// What an endpoint was told, by value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Got {
    Data {
        kind: DataKind,
        bytes: Vec<u8>,
        first: bool,
        last: bool,
        compressed: bool,
    },
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<(u16, String)>),
    Failed(ProtocolViolation),
}

impl From<Event<'_>> for Got {
    fn from(event: Event<'_>) -> Self {
        match event {
            Event::Data(chunk) => Self::Data {
                kind: chunk.kind,
                bytes: chunk.bytes.to_vec(),
                first: chunk.first,
                last: chunk.last,
                compressed: chunk.compressed,
            },
            Event::Ping(payload) => Self::Ping(payload.as_bytes().to_vec()),
            Event::Pong(payload) => Self::Pong(payload.as_bytes().to_vec()),
            Event::Close(close) => {
                Self::Close(close.map(|close| (close.code().as_u16(), close.reason().to_owned())))
            }
            _ => unreachable!("there is no other event"),
        }
    }
}

/// What is expected: `got::text("Hello")` is a whole message, and the parts of one say so.
pub(crate) mod got {
    use super::{DataKind, Got, ProtocolViolation};

    fn data(kind: DataKind, bytes: impl AsRef<[u8]>, first: bool, last: bool) -> Got {
        Got::Data {
            kind,
            bytes: bytes.as_ref().to_vec(),
            first,
            last,
            compressed: false,
        }
    }

    pub(crate) fn text(bytes: impl AsRef<[u8]>) -> Got {
        data(DataKind::Text, bytes, true, true)
    }

    pub(crate) fn text_begins(bytes: impl AsRef<[u8]>) -> Got {
        data(DataKind::Text, bytes, true, false)
    }

    pub(crate) fn text_goes_on(bytes: impl AsRef<[u8]>) -> Got {
        data(DataKind::Text, bytes, false, false)
    }

    pub(crate) fn text_ends(bytes: impl AsRef<[u8]>) -> Got {
        data(DataKind::Text, bytes, false, true)
    }

    pub(crate) fn binary(bytes: impl AsRef<[u8]>) -> Got {
        data(DataKind::Binary, bytes, true, true)
    }

    pub(crate) fn binary_begins(bytes: impl AsRef<[u8]>) -> Got {
        data(DataKind::Binary, bytes, true, false)
    }

    pub(crate) fn binary_goes_on(bytes: impl AsRef<[u8]>) -> Got {
        data(DataKind::Binary, bytes, false, false)
    }

    pub(crate) fn binary_ends(bytes: impl AsRef<[u8]>) -> Got {
        data(DataKind::Binary, bytes, false, true)
    }

    pub(crate) fn ping(payload: impl AsRef<[u8]>) -> Got {
        Got::Ping(payload.as_ref().to_vec())
    }

    pub(crate) fn pong(payload: impl AsRef<[u8]>) -> Got {
        Got::Pong(payload.as_ref().to_vec())
    }

    pub(crate) fn close(code: u16, reason: &str) -> Got {
        Got::Close(Some((code, reason.to_owned())))
    }

    pub(crate) fn empty_close() -> Got {
        Got::Close(None)
    }

    pub(crate) fn failed(violation: ProtocolViolation) -> Got {
        Got::Failed(violation)
    }

    /// The same, of a compressed message.
    pub(crate) fn compressed(got: Got) -> Got {
        match got {
            Got::Data {
                kind,
                bytes,
                first,
                last,
                ..
            } => Got::Data {
                kind,
                bytes,
                first,
                last,
                compressed: true,
            },
            other => other,
        }
    }
}

/// Keys that differ, which is all that these tests need of them.
#[derive(Debug, Default)]
pub(crate) struct Keys(u32);

impl Entropy for Keys {
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), EntropyError> {
        for byte in bytes {
            self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            *byte = (self.0 >> 24) as u8;
        }
        Ok(())
    }
}

/// A connection in one of the two roles.
#[derive(Debug)]
pub(crate) enum Endpoint {
    Server(Connection<Server>),
    Client(Connection<Client<Keys>>),
}

macro_rules! either {
    ($endpoint:expr, $connection:ident => $call:expr) => {
        match $endpoint {
            Endpoint::Server($connection) => $call,
            Endpoint::Client($connection) => $call,
        }
    };
}

/// Runs a test in both roles.
pub(crate) fn both(test: impl FnMut(Endpoint)) {
    both_with(ConnectionConfig::default(), test);
}

pub(crate) fn both_with(config: ConnectionConfig, mut test: impl FnMut(Endpoint)) {
    println!("as a server:");
    test(Endpoint::server_with(config));
    println!("as a client:");
    test(Endpoint::client_with(config));
}

/// With permessage-deflate negotiated.
pub(crate) const COMPRESSION: ConnectionConfig = ConnectionConfig {
    max_message_len: u64::MAX,
    compression: true,
};

impl Endpoint {
    pub(crate) fn server() -> Self {
        Self::server_with(ConnectionConfig::default())
    }

    pub(crate) fn client() -> Self {
        Self::client_with(ConnectionConfig::default())
    }

    pub(crate) fn server_with(config: ConnectionConfig) -> Self {
        Self::Server(Connection::with_config(Server, config))
    }

    pub(crate) fn client_with(config: ConnectionConfig) -> Self {
        Self::Client(Connection::with_config(
            Client::new(Keys::default()),
            config,
        ))
    }

    pub(crate) fn is_client(&self) -> bool {
        matches!(self, Self::Client(_))
    }

    // ---- receive ----

    /// What the peer masks with.
    fn peers_key(&self) -> Option<[u8; 4]> {
        (!self.is_client()).then_some(KEY)
    }

    /// The bytes of these frames as the peer sends them.
    pub(crate) fn wire(&self, frames: impl IntoIterator<Item = Frame>) -> Vec<u8> {
        let key = self.peers_key();
        let frames = frames.into_iter();
        frames.flat_map(|frame| frame.encode(key)).collect()
    }

    /// A frame's header, as the peer sends it, that announces this many bytes of payload.
    pub(crate) fn wire_header(&self, first: u8, payload_len: u64) -> Vec<u8> {
        header(first, payload_len, self.peers_key())
    }

    /// All that is told of these frames, received in one input.
    pub(crate) fn receive(&mut self, frames: impl IntoIterator<Item = Frame>) -> Vec<Got> {
        let wire = self.wire(frames);
        self.receive_bytes(&wire)
    }

    pub(crate) fn receive_bytes(&mut self, bytes: &[u8]) -> Vec<Got> {
        self.receive_counted(bytes).0
    }

    /// The same, and how many bytes were consumed.
    pub(crate) fn receive_counted(&mut self, bytes: &[u8]) -> (Vec<Got>, usize) {
        let bytes_len = bytes.len();
        let mut bytes = bytes.to_vec();
        let mut input = &mut bytes[..];
        let mut got = Vec::new();
        loop {
            match either!(self, connection => connection.next_event(&mut input)) {
                Ok(Some(event)) => {
                    got.push(event.into());
                    assert!(
                        got.len() <= bytes_len + 1,
                        "each event takes a byte, or ends a frame"
                    );
                }
                Ok(None) => {
                    assert!(input.is_empty(), "all is consumed");
                    break;
                }
                Err(violation) => {
                    got.push(Got::Failed(violation));
                    break;
                }
            }
        }
        let left = input.len();
        (got, bytes.len() - left)
    }

    /// The same by [`Connection::step`] and [`Connection::resolve`].
    pub(crate) fn step_counted(&mut self, bytes: &[u8]) -> (Vec<Got>, usize) {
        let mut bytes = bytes.to_vec();
        let mut consumed = 0;
        let mut got = Vec::new();
        loop {
            let input = &mut bytes[consumed..];
            match either!(self, connection => connection.step(input)) {
                Ok(step) => {
                    let (len, is_event) = (step.consumed(), step.is_event());
                    let (is_chunk, ends_message) = (step.is_chunk(), step.ends_message());
                    let is_message = step.is_message();
                    let start = input[step.start()..].as_ptr();
                    let event =
                        either!(self, connection => connection.resolve(step, &mut input[..len]));
                    assert_eq!(event.is_some(), is_event);
                    assert_eq!(matches!(event, Some(Event::Data(_))), is_chunk);
                    let is_last = matches!(&event, Some(Event::Data(chunk)) if chunk.last);
                    assert_eq!(is_last, ends_message);
                    if let Some(Event::Data(chunk)) = &event {
                        assert_eq!(chunk.first && chunk.last, is_message);
                        assert_eq!(chunk.bytes.as_ptr(), start);
                    }
                    let event = event.map(Got::from);
                    consumed += len;
                    match event {
                        Some(event) => got.push(event),
                        None => {
                            assert_eq!(consumed, bytes.len(), "all is consumed");
                            return (got, consumed);
                        }
                    }
                }
                Err(violation) => {
                    got.push(Got::Failed(violation));
                    return (got, consumed);
                }
            }
        }
    }

    /// These bytes fail the connection: by which violation, and by which of them (from 1).
    #[track_caller]
    pub(crate) fn assert_fails_at(
        &mut self,
        bytes: &[u8],
        at: usize,
        violation: ProtocolViolation,
    ) {
        let (got, consumed) = self.receive_counted(bytes);
        assert_eq!(got.last(), Some(&Got::Failed(violation)), "{bytes:02x?}");
        assert_eq!(consumed, at, "{bytes:02x?}");
        assert_eq!(self.state(), State::Failed);
        assert_eq!(self.violation(), Some(violation));
    }

    pub(crate) fn receive_eof(&mut self) -> Result<(), ProtocolViolation> {
        either!(self, connection => connection.receive_eof())
    }

    pub(crate) fn fail(&mut self, violation: ProtocolViolation) {
        either!(self, connection => connection.fail(violation));
    }

    // ---- send ----

    /// The frames in `wire`, which this endpoint wrote, masked as its role wants it.
    pub(crate) fn frames(&self, mut wire: &[u8]) -> Vec<Frame> {
        let mut frames = Vec::new();
        while !wire.is_empty() {
            let (frame, key) = Frame::decode(&mut wire);
            assert_eq!(
                key.is_some(),
                self.is_client(),
                "a client masks, a server does not"
            );
            frames.push(frame);
        }
        frames
    }

    pub(crate) fn send(&mut self, message: Message<'_>) -> Result<Frame, SendError> {
        let mut out = vec![0; message.as_bytes().len() + FrameHeader::MAX_LEN];
        let written = either!(self, connection => connection.send(message, &mut out))?;
        Ok(self.frames(&out[..written]).remove(0))
    }

    pub(crate) fn send_text(&mut self, text: &str) -> Result<Frame, SendError> {
        self.send(Message::Text(text))
    }

    pub(crate) fn send_to(
        &mut self,
        message: Message<'_>,
        out: &mut [u8],
    ) -> Result<usize, SendError> {
        either!(self, connection => connection.send(message, out))
    }

    /// The frame, and how much of the payload is in it, with this much room for it.
    pub(crate) fn send_fragment(
        &mut self,
        kind: DataKind,
        payload: &[u8],
        fin: bool,
        room: usize,
    ) -> Result<(Frame, usize), SendError> {
        let mut out = vec![0xEE; room + 1];
        let (out, beyond) = out.split_at_mut(room);
        let result = either!(self, connection => connection.send_fragment(kind, payload, fin, out));
        assert_eq!(beyond, [0xEE]);
        if result.is_err() {
            assert!(out.iter().all(|&octet| octet == 0xEE), "nothing is written");
        }
        let sent = result?;
        let frame = self.frames(&out[..sent.written]).remove(0);
        assert_eq!(frame.payload, payload[..sent.consumed]);
        Ok((frame, sent.consumed))
    }

    pub(crate) fn start_frame(&mut self, frame: DataFrame) -> Result<FrameHeader, SendError> {
        either!(self, connection => connection.start_frame(frame))
    }

    pub(crate) fn ping(&mut self, payload: &[u8]) -> Result<Frame, SendError> {
        let mut out = [0; MAX_CONTROL_LEN];
        let written = self.ping_to(payload, &mut out)?;
        Ok(self.frames(&out[..written]).remove(0))
    }

    pub(crate) fn ping_to(&mut self, payload: &[u8], out: &mut [u8]) -> Result<usize, SendError> {
        either!(self, connection => connection.ping(payload, out))
    }

    pub(crate) fn close(&mut self, code: u16, reason: &str) -> Result<(), SendError> {
        let code = CloseCode::new(code);
        either!(self, connection => connection.close(code, reason))
    }

    // ---- transmit ----

    /// All that is owed to the peer.
    pub(crate) fn transmit(&mut self) -> Vec<Frame> {
        let mut frames = Vec::new();
        loop {
            let mut out = [0; MAX_CONTROL_LEN];
            let wanted = self.wants_transmit();
            let written = self.transmit_to(&mut out);
            assert_eq!(written > 0, wanted, "131 octets always suffice");
            assert!(frames.len() < 3, "a pong and a Close at most");
            if written == 0 {
                return frames;
            }
            frames.extend(self.frames(&out[..written]));
        }
    }

    pub(crate) fn transmit_to(&mut self, out: &mut [u8]) -> usize {
        either!(self, connection => connection.poll_transmit(out)).expect("there are keys")
    }

    // ---- look ----

    pub(crate) fn state(&self) -> State {
        either!(self, connection => connection.state())
    }

    pub(crate) fn wants_transmit(&self) -> bool {
        either!(self, connection => connection.wants_transmit())
    }

    pub(crate) fn should_shutdown(&self) -> bool {
        either!(self, connection => connection.should_shutdown())
    }

    pub(crate) fn close_code(&self) -> u16 {
        either!(self, connection => connection.close_code()).as_u16()
    }

    pub(crate) fn is_clean(&self) -> bool {
        either!(self, connection => connection.is_clean())
    }

    pub(crate) fn violation(&self) -> Option<ProtocolViolation> {
        either!(self, connection => connection.violation())
    }
}
